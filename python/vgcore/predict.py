"""What a probe would measure, without drawing a net: `theory.predict`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgcore import reference, theory
from vgcore.spec import MLP

Floats = NDArray[np.float64]

COVERED = (
    "wide untied nets of weights with independent entries or orthogonal ones, biases with mean 0, any element-wise "
    "activation, no normalisation or rms or layer before the activation, no skip, standard normal samples and a random "
    "cotangent"
)


@dataclass(frozen=True, eq=False)
class Prediction:
    """Columns of a probe as mean field has them: log10 of root mean squares over nets, each `(depth,)`.

    Attributes:
        spec: What it is of.
        batch: Samples that norms are of.
        log10_z_rms: As in a `Probe`; so are the next four.
        log10_a_rms: Activations.
        log10_delta_rms: Backward signal.
        log10_wgrad_norm: Weight gradients.
        correlation: Mean cosine of two samples' z.
        delta_drift: Decades by which dL/dz of one sample lies below in a typical net, from the width: negative. The
            mean square over samples lies less below, the more they differ.
        delta_std: Decades by which nets differ in it, 1 std.
        covers: What predictions cover.
    """

    spec: MLP
    batch: int
    log10_z_rms: Floats
    log10_a_rms: Floats
    log10_delta_rms: Floats
    log10_wgrad_norm: Floats
    correlation: Floats
    delta_drift: Floats
    delta_std: Floats
    covers: str = COVERED

    def __repr__(self) -> str:
        return f"Prediction({self.spec!r}, batch={self.batch})"


def _refuse(why: str) -> ValueError:
    return ValueError(f"theory does not cover {why}; it covers {COVERED}")


def _check(spec: MLP, plan: reference.Plan) -> None:
    if spec.tied:
        raise _refuse("tied weights, whose layers depend on each other")
    if spec.skip is not None:
        raise _refuse(f"skip={spec.skip}")
    if spec.weight_transform is not None:
        raise _refuse(f"weight_transform={spec.weight_transform}")
    if spec.norm is not None and (str(spec.norm).startswith("batch") or spec.norm_position == "post"):
        raise _refuse(f"norm={spec.norm} at norm_position={spec.norm_position}")
    for layer in plan.layers:
        if layer.output != layer.width:
            raise _refuse(f"activation={layer.kind}, which changes the number of features")
        if reference.parse(layer.kind)[0] == "prelu":
            raise _refuse("prelu, whose slope is learned; leaky_relu is the same at the start")


def _weights(kind: reference.Kind, at: reference.Place) -> float:
    """fan_in times the variance of a weight."""
    name, p = kind
    if name == "orthogonal":
        # Rows or columns of unit length, whichever are fewer.
        return float(p.get("gain", 1.0)) ** 2 * min(1.0, at.fan_in / at.fan_out) if at.fan_out else 1.0
    if name == "normal" and p.get("mean", 0.0) == 0:
        return at.fan_in * (p.get("gain", 1.0) * p.get("std", 1.0)) ** 2
    try:
        return float(at.fan_in * reference.scale(kind, at)[1] ** 2)
    except ValueError:
        raise _refuse(f"init={name}") from None


def _biases(spec: MLP, kind: reference.Kind, at: reference.Place) -> float:
    """The variance of a bias."""
    name, p = reference.bias_kind(spec, kind, at)
    if name == "zeros":
        return 0.0
    if name == "uniform" and p.get("a", 0.0) == -p.get("b", 1.0):
        return float(p.get("b", 1.0) ** 2 / 3)
    if name == "normal" and p.get("mean", 0.0) == 0:
        return float(p.get("std", 1.0) ** 2)
    raise _refuse(f"biases {name}, whose mean is not 0")


def predict(spec: MLP, *, depth: int | None = None, batch: int = 128) -> Prediction:
    """What `probe(spec, batch=batch)` measures in the limit of wide layers, and what a finite width does to it.

    Args:
        spec: The net.
        depth: In place of the spec's own.
        batch: Samples that norms are of.

    Raises:
        ValueError: For what mean field as it stands here does not cover, with the reason.

    >>> import vgcore as vg
    >>> p = vg.theory.predict(vg.MLP(depth=30, width=512, activation="sigmoid", init="xavier_normal"))
    >>> round(10 ** float(p.log10_delta_rms[4] - p.log10_delta_rms[5]), 4)  # sqrt(0.0557)
    0.2361
    """
    if depth is not None:
        spec = spec.replace(depth=depth)
    plan = reference.Plan.of(spec)
    _check(spec, plan)
    layers, places = plan.layers, [reference.Place.of(spec, plan, l) for l in range(spec.depth)]
    ww = [_weights(kind, at) for kind, at in zip(plan.inits, places, strict=False)]
    bb = [_biases(spec, kind, at) for kind, at in zip(plan.inits, places, strict=False)]

    q, value, slope, c = (np.full(spec.depth, math.nan) for _ in range(4))
    drift, noise = np.zeros(spec.depth), np.zeros(spec.depth)
    size, cosine = 1.0, 0.0  # of the samples
    for l, layer in enumerate(layers):
        q[l] = ww[l] * size + bb[l]
        c[l] = (ww[l] * size * cosine + bb[l]) / q[l] if q[l] > 0 else math.nan
        inner = 1.0 if spec.norm is not None else q[l]
        m = theory.moments(layer.kind, inner)
        value[l], slope[l] = float(m["value"]), float(m["slope"])
        # Behind rms or layer norm the slope of n = z / |z| is 1 / |z| for all but one of its directions.
        slope[l] /= q[l] / inner
        together = float(theory._pairs(layer.kind, np.asarray(inner), np.clip(c[l], -1, 1))[0])
        size, cosine = value[l], together / value[l] if value[l] > 0 else math.nan
        orthogonal = plan.inits[l][0] == "orthogonal"
        beta = float(m["fourth"] / m["slope"] ** 2) * (1 if orthogonal else 3) - 1
        noise[l] = beta / layer.width
        drift[l] = -noise[l] / 2

    back = np.empty(spec.depth)
    out = 1.0 / batch
    if spec.out_features is not None:
        at = reference.Place.of(spec, plan, None)
        out *= spec.out_features * _weights(plan.inits[spec.depth], at) / at.fan_in
    for l in reversed(range(spec.depth)):
        back[l] = slope[l] * out
        out = back[l] * layers[l].width * ww[l] / layers[l].fan_in
    inputs = np.append(1.0, value[:-1])
    fans = np.array([layer.fan_in for layer in layers], dtype=float)
    widths = np.array([layer.width for layer in layers], dtype=float)
    with np.errstate(divide="ignore"):
        columns: dict[str, Any] = {
            "log10_z_rms": np.log10(q) / 2,
            "log10_a_rms": np.log10(value) / 2,
            "log10_delta_rms": np.log10(back) / 2,
            "log10_wgrad_norm": np.log10(batch * fans * inputs * widths * back) / 2,
        }
    behind = np.append(drift[::-1].cumsum()[::-1][1:], 0.0) / math.log(100)
    spread = np.sqrt(np.append(noise[::-1].cumsum()[::-1][1:], 0.0)) / math.log(100)
    return Prediction(spec, batch, **columns, correlation=c, delta_drift=behind, delta_std=spread)
