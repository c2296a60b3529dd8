"""A spec as nested parts, which is how people write nets: layers in a row, and branches around which an input goes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from vgcore import _core
from vgcore.model.kind import Activation, Init, Norm
from vgcore.model.mlp import MLP
from vgcore.model.plan import Map, Plan, Step
from vgcore.model.sequential import Sequential


def rounded(value: float) -> float:
    """To twelve digits, as it is written: a variance that was worked out from a root is the number it came from."""
    return float(f"{value:.12g}")


@dataclass(frozen=True)
class Law:
    """What the numbers of a tensor are drawn from.

    Attributes:
        shape: `"constant"`, `"uniform"`, `"normal"`, `"truncated_normal"` (at two of its own standard deviations where
            it has a fan), `"eye"`, `"orthogonal"` or `"sparse"`.
        values: The numbers that it takes: the constant; low and high; mean and std, and low and high where it is cut;
            the gain; share of zeros and std.
        fan: `"fan_in"`, `"fan_out"` or `"fan_avg"` where the variance is `values[0] / fan`, and the mean 0.
    """

    shape: str
    values: tuple[float, ...]
    fan: str | None = None

    def std(self, fan_in: int, fan_out: int) -> float:
        """The standard deviation of a law with a fan."""
        return rounded(math.sqrt(self.values[0] / _size(self.fan or "fan_in", fan_in, fan_out)))


def _size(fan: str, fan_in: int, fan_out: int) -> float:
    return {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[fan]


ZEROS = Law("constant", (0.0,))
#: What `torch.nn.Linear` draws both of its tensors from: U(-1, 1) / sqrt(fan_in).
TORCH = Law("uniform", (rounded(1 / 3),), "fan_in")


@dataclass(frozen=True)
class Linear:
    """A linear map, with what it is drawn from; `bias` is None where it has none."""

    fan_in: int
    fan_out: int
    weight: Law
    bias: Law | None
    transform: str | None = None


@dataclass(frozen=True)
class Normal:
    """A normalisation of so many features."""

    kind: str
    eps: float
    features: int


@dataclass(frozen=True)
class Phi:
    """An activation of so many features."""

    kind: Activation
    features: int


@dataclass(frozen=True)
class Drop:
    """Dropout with this probability."""

    p: float


@dataclass(frozen=True)
class Branch:
    """Layers, and how their output joins what went around them.

    Attributes:
        way: `"residual"`, `"rezero"`, `"highway"`, `"dense"` or `"project"`.
        body: The layers.
        scale: The factor of what they give.
        alpha: Where a learned factor starts.
        gate: The map of a highway's gate, or of what goes around.
    """

    way: str
    body: tuple[Unit, ...]
    scale: float = 1.0
    alpha: float = 0.0
    gate: Linear | None = None


Part = Linear | Normal | Phi | Drop | Branch
#: What is written on one line: a layer, or a block.
Unit = tuple[Part, ...]


@dataclass(frozen=True)
class Outline:
    """A net in nested parts.

    Attributes:
        units: The layers and blocks in order.
        ends: What stands behind them, before the readout.
        readout: The last map, if any.
        tied: Whether all hidden layers share their parameters.
        in_features: Columns of the input.
    """

    units: tuple[Unit, ...]
    ends: tuple[Unit, ...]
    readout: Linear | None
    tied: bool
    in_features: int


def outline(spec: MLP | Sequential, *, fans: bool = True) -> Outline:
    """The nested parts of a spec.

    Args:
        spec: The net.
        fans: Whether the law of a bias may follow a fan of its map; else it has the numbers that come of it.

    Raises:
        ValueError: Where its weights follow no law that can be written without the data or the rest of the net, and
            where ways around cross each other, so that they cannot be nested.
    """
    if isinstance(spec, MLP) and spec.inputs == "every":
        raise ValueError('no source for inputs="every": a step that gets an input of its own is a loop over time')
    return _Walk(spec, fans).outline()


class _Frame:
    """What is between a keep and its join, or the whole."""

    def __init__(self, stream: int | None) -> None:
        self.stream = stream
        self.units: list[list[Part]] = []
        self.layer = -1

    def add(self, part: Part, layer: int) -> None:
        """A part of a layer, which is a unit."""
        if layer != self.layer:
            self.units.append([])
        self.units[-1].append(part)
        self.layer = layer

    def body(self) -> tuple[Unit, ...]:
        return tuple(map(tuple, self.units))


class _Walk:
    """Goes through the steps of a plan, input side first."""

    def __init__(self, spec: MLP | Sequential, fans: bool) -> None:  # noqa: FBT001
        self.spec, self.fans = spec, fans
        self.plan = Plan.of(spec)
        self.tensors = {name for name, _ in _core.tensors(spec)}
        self.maps = 0  # so many are behind
        self.frames = [_Frame(None)]

    def outline(self) -> Outline:
        for l, layer in enumerate(self.plan.layers):
            for step in layer.steps:
                self.step(step, l)
        whole = self.frames[0]
        count, readout = len(whole.units), None
        for step in self.plan.ends:
            if step.part == "map":
                readout = self.linear(step, self.spec.depth)
            else:
                self.step(step, self.spec.depth)
        tied = isinstance(self.spec, MLP) and self.spec.tied
        units = whole.body()
        return Outline(units[:count], units[count:], readout, tied, self.plan.columns)

    def step(self, step: Step, l: int) -> None:
        """One step of a layer."""
        match step.part:
            case "keep":
                self.frames.append(_Frame(step.stream))
            case "map":
                self.frames[-1].add(self.linear(step, l), l)
            case "norm":
                kind = Norm(step.kind)
                self.frames[-1].add(Normal(kind.name, float(kind.params["eps"]), step.inputs), l)
            case "dropout":
                self.frames[-1].add(Drop(step.dropped), l)
            case "activation" if step.kind != "linear":
                self.frames[-1].add(Phi(Activation.of_field(step.kind), step.inputs), l)
            case "join":
                frame = self.frames.pop()
                if frame.stream != step.stream:
                    raise ValueError("no source for ways around that cross or end more than once; take spec.to_torch()")
                self.frames[-1].add(self.branch(step, frame.body(), l), l)

    def branch(self, step: Step, body: tuple[Unit, ...], l: int) -> Branch:
        if step.kind == "gate":
            assert step.map is not None  # noqa: S101 (of a gate)
            start = Law("constant", (step.map.bias_mean,))
            weight = _weight(self.init(l), step.map)
            return Branch("highway", body, gate=Linear(step.map.fan_in, step.map.fan_out, weight, start))
        if step.kind == "concat":
            return Branch("dense", body)
        if step.kind == "project":
            return Branch("project", body, step.scale, gate=self.linear(step, l))
        if step.kind == "rezero":
            return Branch("rezero", body, rounded(step.scale), step.start)
        return Branch("residual", body, rounded(step.scale))

    def at(self, field: Any, l: int) -> Any:
        """The value of a layer or of the readout, of a field that may list one a map, one a layer, or a pattern."""
        if not isinstance(field, tuple):
            return field
        spec = self.spec
        if not isinstance(spec, MLP):
            return field[self.maps]
        pattern = spec.stem + spec.block
        if len(field) not in {spec.depth, pattern}:
            if l == spec.depth:
                return field[-1]
            field = field[:-1]
        l = min(l, spec.depth - 1)
        return field[l if l < len(field) else spec.stem + (l - spec.stem) % (len(field) - spec.stem)]

    def init(self, l: int) -> Init:
        """The init of a layer's map, or of the readout's."""
        return Init(str(self.at(tuple(self.spec.init) if isinstance(self.spec.init, tuple) else self.spec.init, l)))

    def linear(self, step: Step, l: int) -> Linear:
        """The map of a step."""
        at, init, law = step.map, self.init(l), None
        assert at is not None  # noqa: S101 (of maps and projections)
        if f"{step.key}.bias" in self.tensors:
            law = _bias(init, at, self.at(self.spec.bias, l), fans=self.fans)
        self.maps += 1
        return Linear(at.fan_in, at.fan_out, _weight(init, at), law, at.transform)


def _weight(init: Init, at: Map) -> Law:
    """The law of weights: the numbers are the core's, and the name says which fan they follow."""
    if init.name in {"lsuv", "looks_linear"}:
        why = "scales weights by data" if init.name == "lsuv" else "draws units in mirrored pairs"
        raise ValueError(f"no source for init={str(init)!r}, which {why}; take another init, or hand over the weights")
    if at.law == "constant" or at.weight_variance == 0:
        return Law("constant", (at.weight_mean,))
    if at.law == "orthogonal":
        return Law("orthogonal", (rounded(math.sqrt(at.weight_variance * max(at.fan_in, at.fan_out))),))
    if (own := _own(init)) is not None:
        return own
    mode = str(init.params.get("mode", "fan_avg" if init.name.startswith(("xavier", "glorot")) else "fan_in"))
    return Law(at.law, (rounded(at.weight_variance * _size(mode, at.fan_in, at.fan_out)),), mode)


def _bias(init: Init, at: Map, named: str | None, *, fans: bool) -> Law:
    """The law of biases: the spec's, or what the weights' init brings."""
    if at.bias_variance == 0:
        return Law("constant", (at.bias_mean,))
    kind = init if named is None else Init(str(named))
    if kind.name.startswith("torch_"):
        if fans:
            return Law("uniform", (rounded(at.bias_variance * at.fan_in),), "fan_in")
        bound = rounded(math.sqrt(3 * at.bias_variance))
        return Law("uniform", (-bound, bound))
    return (None if named is None else _own(kind)) or Law("normal", (0.0, rounded(math.sqrt(at.bias_variance))))


def _own(init: Init) -> Law | None:
    """The law of an init that asks for no fan."""
    gain = float(init.params.get("gain", 1.0))

    def scaled(*names: str) -> tuple[float, ...]:
        return tuple(rounded(gain * float(init.params[name])) for name in names)

    match init.name:
        case "uniform":
            return Law("uniform", scaled("a", "b"))
        case "normal":
            return Law("normal", scaled("mean", "std"))
        case "trunc_normal":
            return Law("truncated_normal", scaled("mean", "std", "a", "b"))
        case "eye":
            return Law("eye", (gain,))
        case "sparse":
            return Law("sparse", (float(init.params["sparsity"]), *scaled("std")))
    return None
