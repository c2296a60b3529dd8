"""What the rules of several tools look at: numbers of tensors, with the hidden layers that they are of."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import numpy as np

from vgcore.judge.foreign.rule import Value, Values
from vgcore.judge.foreign.seen import Array, Pass


def layers_of(name: str) -> tuple[int, ...]:
    """The hidden layer that a parameter or module belongs to, if it does to one."""
    found = re.match(r"\w+\.(\d+)", name)
    return (int(found[1]),) if found else ()


def norm(v: Array) -> float:
    """The norm, of squares taken in float32 as the tools do: of values below 1e-23 it is 0, above 1e19 inf."""
    return math.sqrt(np.square(v).sum(dtype=np.float64))


def mean_abs(v: Array) -> float:
    """Mean of the magnitudes."""
    return float(np.abs(v).mean(dtype=np.float64))


def lost(v: Array) -> float:
    """How many values are not finite."""
    return float(v.size - np.isfinite(v).sum())


def spread(v: Array) -> float:
    """From the 5th to the 95th percentile."""
    low, high = np.percentile(v, [5, 95])
    return float(high - low)


def kernels(tensors: Mapping[str, Array]) -> dict[str, Array]:
    """The matrices of the layers and of the readout."""
    return {name: v for name, v in tensors.items() if re.fullmatch(r"(layers\.\d+|readout)\.weight", name)}


def of_each(statistic: Callable[[Array], float], tensors: Mapping[str, Array]) -> Iterator[Value]:
    """A number of every tensor."""
    return ((statistic(v), layers_of(name)) for name, v in tensors.items())


def each_gradient(statistic: Callable[[Array], float]) -> Values:
    """A number of the gradient of every parameter."""
    return lambda p: of_each(statistic, p.gradients)


def each_layer(
    statistic: Callable[[Array], float], signal: Literal["z", "inputs", "a"], applies: Callable[[str], bool]
) -> Values:
    """A number of the z, the inputs or the outputs of every hidden layer whose activation it applies to."""

    def values(p: Pass) -> Iterator[Value]:
        tensors: tuple[Array, ...] = getattr(p, signal)
        for l, (name, tensor) in enumerate(zip(p.activations, tensors, strict=True)):
            if applies(name):
                yield statistic(tensor), (l,)

    return values


def is_one_of(*names: str) -> Callable[[str], bool]:
    """Whether an activation has one of these names."""
    return lambda name: name in names


def is_relu(name: str) -> bool:
    """Would a tensor of it match `.*relu_input`?"""
    return "relu" in name


def lost_anywhere(p: Pass) -> Iterator[Value]:
    """How many values are not finite, of gradients, parameters, signals and the loss."""
    for tensors in (p.gradients, p.parameters):
        yield from of_each(lost, tensors)
    for signal in (p.z, p.a):
        yield from ((lost(v), (l,)) for l, v in enumerate(signal))
    if p.loss is not None:
        yield float(not math.isfinite(p.loss)), ()
