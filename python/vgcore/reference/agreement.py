"""How far the core's numbers are from the twin's, in units of what rounding may do.

A number of 1 is the most that is allowed; inf is where one of two numbers is finite and the other is not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from vgcore.reference.net import Gradients
from vgcore.reference.part import State
from vgcore.reference.random import Array

NORMS = (
    *("log10_z_rms", "log10_a_rms", "log10_delta_rms", "log10_sample_wgrad_rms"),
    *("log10_h_rms", "log10_dh_rms", "log10_total_grad_norm", "log10_output_rms"),
)
GRADIENT_NORMS = (
    *("log10_wgrad_norm", "log10_bgrad_norm", "log10_affine_grad_norm", "log10_slope_grad_norm"),
    *("log10_gate_grad_norm", "log10_summed_wgrad_norm"),
)
SHARES = ("saturated", "dead", "correlation", "effective_rank", "gradient_correlation")

# Of a gradient that is zero but for rounding, as that of a bias before a batch normalisation, so much of the layer's
# largest is what errors are measured against.
CANCELLED = 1e-3


class Allowed(NamedTuple):
    """What rounding may do in a net of a few layers whose signals stay within a few orders of magnitude."""

    drawn: float  # of a weight, beside 1
    norms: float  # of a log10
    shares: float  # of a share, a correlation or a rank
    gradients: float  # of a tensor, as a share of its norm


#: The kernel makes float32 normals in float32, to 2.5e-7 of their radius; the twin in float64, rounded.
ALLOWED = {"float64": Allowed(1e-14, 1e-9, 1e-9, 1e-10), "float32": Allowed(5e-7, 1e-4, 5e-3, 1e-4)}


class Compared(NamedTuple):
    """Numbers of one name, as the core and the twin have them."""

    name: str
    ours: Array
    theirs: Array
    units: Array  # of each number, or of all of them together

    @property
    def worst(self) -> float:
        """The largest of the units."""
        return float(self.units.max(initial=0))


def apart(ours: Array, theirs: Array, allowed: Any) -> Array:
    """|ours - theirs| in units of what is allowed; numbers that are not finite must be the same."""
    ours, theirs = (np.asarray(each, np.float64) for each in (ours, theirs))
    if ours.shape != theirs.shape:
        return np.array(math.inf)
    with np.errstate(invalid="ignore", over="ignore"):
        units = np.abs(ours - theirs) / allowed
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    found: Array = np.where(same, 0.0, np.where(np.isfinite(units), units, math.inf))
    return found


def states(measured: Mapping[str, Array], expected: State, allowed: float) -> list[Compared]:
    """Weights that were drawn: each to so much of itself, or of 1."""
    return [
        Compared(name, measured[name], value, apart(measured[name], value, allowed * (1 + np.abs(value))))
        for name, value in expected.items()
    ]


@np.errstate(all="ignore")
def columns(measured: Any, expected: Mapping[str, Array], norms: float, shares: float) -> list[Compared]:
    """The columns of a probe beside those of the twin.

    A gradient that is zero but for rounding is compared with the layer's largest; that of a bias with what it is the
    sum of too, for at the first step of a tied net that is fed no column has another gradient. That of a norm is
    compared with all gradients: where every unit is dead, its sum of what a batch norm behind it gives back is 0 and
    the layer has no other.
    """

    def plain(name: str, allowed: Any) -> Compared:
        ours, theirs = getattr(measured, name), expected[name]
        return Compared(name, ours, theirs, apart(ours, theirs, allowed))

    found = [plain("first_nonfinite", 0.5)]
    found += [plain(name, norms) for name in NORMS if name in expected]
    found += [plain(name, shares) for name in SHARES]
    found.append(plain("loss_value", norms * (1 + 5 * np.abs(expected["loss_value"]))))
    each = np.array([expected[name] for name in GRADIENT_NORMS])
    largest = np.fmax.reduce(each)
    cancelled = CANCELLED if measured.dtype == "float64" else 10 * CANCELLED
    beside = {
        "log10_bgrad_norm": expected["log10_delta_rms"],
        "log10_affine_grad_norm": expected["log10_total_grad_norm"][:, None],
    }
    for name, column in zip(GRADIENT_NORMS, each, strict=True):
        top = np.fmax(largest, beside[name]) if name in beside else largest
        top = np.where(np.isfinite(top), top, 0)
        ours, theirs = (10.0 ** (values - top) for values in (getattr(measured, name), column))
        slack = np.where(np.isnan(theirs), 1, np.maximum(theirs, cancelled))
        units = apart(ours / slack, theirs / slack, 3 * norms)
        found.append(Compared(name, getattr(measured, name), column, units))
    return found


def gradients(measured: Any, expected: Gradients, allowed: float = 1.0) -> list[Compared]:
    """Explicit gradients and the loss: each tensor by the norm of its difference, |a - b|_F / |b|_F.

    Raises:
        ValueError: If the core's gradients have other names.
    """
    names = [list(each.parameters) for each in (measured, expected)]
    if names[0] != names[1] or len(measured.preactivations) != len(expected.preactivations):
        raise ValueError(f"the core has gradients of {names[0]}, the twin of {names[1]}")

    def compared(name: str, a: Array, b: Array, least: float = 0) -> Compared:
        # Below the floor a plain backward pass has met subnormal numbers, which have fewer digits.
        size = max(float(np.linalg.norm(b)), least, 1e-290)
        off = float(np.linalg.norm(a - b)) / size if a.shape == b.shape else math.inf
        return Compared(name, a, b, np.array(off / allowed if math.isfinite(off) else math.inf))

    def layer(name: str) -> str:
        # What every step of a tied net is fed goes into its one layer. Of a net of one step, which gets nothing else,
        # no other gradient says how large what cancels in that of a bias is.
        if name == "inputs.weight":
            return "0"
        return name.split(".")[1] if name.count(".") > 1 else name

    norms = {name: float(np.linalg.norm(gradient)) for name, gradient in expected.parameters.items()}
    largest = {name: max(norms[other] for other in norms if layer(other) == layer(name)) for name in norms}
    found = [
        compared(f"dL/d {name}", measured.parameters[name], gradient, CANCELLED * largest[name])
        for name, gradient in expected.parameters.items()
    ]
    pairs = zip(measured.preactivations, expected.preactivations, strict=True)
    # Of a transformer the twin has a row for every token.
    found += [compared(f"dL/dz {l}", a.reshape(b.shape) if a.ndim > b.ndim else a, b) for l, (a, b) in enumerate(pairs)]
    found.append(compared("dL/dx", measured.input, expected.input))
    if expected.loss is not None:
        found.append(compared("loss", np.array(measured.loss), np.array(expected.loss)))
    return found


def steps(measured: Mapping[str, Array], expected: State, start: State) -> list[Compared]:
    """Weights after some steps: each to 1e-10 of the way that its tensor has come, or to rounding of the tensor."""
    found = []
    for name, w in expected.items():
        way, size = (float(np.abs(v).max()) for v in (w - start[name], w))
        allowed = 1e-10 * way + 1e-14 * size
        found.append(Compared(name, measured[name], w, apart(measured[name], w, allowed)))
    return found
