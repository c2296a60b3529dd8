"""What the hooks of other tools see of a net: one forward and one backward pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vgcore import _core
from vgcore.model.kind import Loss
from vgcore.model.network import Network
from vgcore.model.plan import Plan
from vgcore.model.spec import Spec

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Pass:
    """One forward and one backward pass, as a tool's hooks find it: float32 tensors, input side first.

    Attributes:
        parameters: Every parameter by its name.
        gradients: Their gradients, in the same order.
        backward: dL/d(output) of every linear map by its name, the readout's last: what a backward hook on a module
            gets. A tied net has one such module for all layers, whose hook keeps the first step's.
        z: What the maps of the hidden layers give.
        inputs: What their activations get: z, or what a normalisation makes of it.
        a: What their activations give.
        activations: Names of these activations, without parameters.
        loss: Value of the loss; None without one.
    """

    parameters: Mapping[str, Array]
    gradients: Mapping[str, Array]
    backward: Mapping[str, Array]
    z: tuple[Array, ...]
    inputs: tuple[Array, ...]
    a: tuple[Array, ...]
    activations: tuple[str, ...]
    loss: float | None = None


@np.errstate(all="ignore")  # what is beyond float32 is what the tools are there to find
def see(
    net: Network,
    x: npt.ArrayLike,
    *,
    y: npt.ArrayLike | None = None,
    loss: str | Loss | None = None,
    seed: int = 0,
) -> Pass:
    """What tools would see of a net.

    Args:
        net: The net with its numbers.
        x: Samples `(rows, in_features)`.
        y: Targets of the loss.
        loss: A loss as `probe` takes it. Without one, the cotangent at the output is that of `probe`: standard normal
            over sqrt(rows), drawn from a stream of its own.
        seed: The seed of that cotangent.

    Raises:
        ValueError: For a loss without its targets, targets without a loss, or a loss that is not known.
    """
    if (y is not None) != (loss is not None and Loss(str(loss)).takes_targets):
        raise ValueError("a loss needs its targets, and targets a loss that takes them: give both or neither")
    # The core works in float64 and carries exponents, so nothing is lost on the way; the cast at the end says what
    # float32 can hold. A tensor beyond its range is 0 or inf, as in torch, which would lose a little more where a
    # product is in range and one of its factors is not.
    spec, state = net.spec, {name: value.astype(np.float64) for name, value in net.state_dict().items()}
    wide = Network.from_state_dict(spec, state)
    samples = np.asarray(x, np.float64)
    signals = wide._weights.signals(samples)  # noqa: SLF001 (its handle for the core)
    if loss is None:
        value, cotangent = None, _core.cotangent(spec, seed, len(samples), net.dtype)
    else:
        value, cotangent = _core.loss_gradient(loss, wide.forward(samples), y)
    found = wide.backward(samples, cotangent)
    deltas = found.preactivations[:1] if getattr(spec, "tied", False) else found.preactivations
    backward = {f"layers.{l}": delta for l, delta in enumerate(deltas)}
    if spec.out_features is not None:
        backward["readout"] = cotangent
    return Pass(
        parameters=_named(state),
        gradients=_named(found.parameters),
        backward=_named(backward),
        z=_cast(signals["z"]),
        inputs=_cast(signals["inputs"]),
        a=_cast(signals["outputs"]),
        activations=tuple(layer.activation.name for layer in Plan.of(spec).layers),
        loss=value,
    )


def drawn_samples(spec: Spec, seed: int, batch: int, dtype: str) -> npt.NDArray[np.float64]:
    """The samples that a probe of this seed draws, of the shape that the net takes."""
    return Plan.of(spec).folded(_core.samples(spec, seed, batch, dtype))


def _cast(arrays: Iterable[npt.NDArray[Any]]) -> tuple[Array, ...]:
    return tuple(each.astype(np.float32) for each in arrays)


def _named(arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, Array]:
    return dict(zip(arrays, _cast(arrays.values()), strict=True))
