"""A net as a graph of maps, norms, joins and functions by name, which can be run, with its own numbers or with others.

A net can be read in more than one way where its numbers hide the difference: a last map of zeros, a factor of 0, units
that never open. So a net is compared with its graph once more, with other numbers in both: in these nothing is zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from vgcore import _core
from vgcore.convert.chain import activated, normalised
from vgcore.convert.imported import Refusal
from vgcore.convert.tape import Array, Concat, Drop, Linear, Norm, Op, Scale, Tape
from vgcore.convert.values import Affine, Curve, Normal, Paired, Piece
from vgcore.model import kind


@dataclass(eq=False)
class Node:
    """What makes a value: a map, a norm, dropout, a join, a factor that learns, or a piece that was recognised.

    Attributes:
        op: The operation of the tape that made the value.
        inputs: The numbers of the values that it reads.
        what: What it computes.
        factors: Of a sum: what each of its two inputs is multiplied by.
        gate: Of a highway: the map of its gate.
        keys: What its parameters are.
        learned: How many numbers of a recognised piece training changes.
    """

    op: Op
    inputs: tuple[int, ...]
    what: Op | Piece
    factors: tuple[float, ...] = ()
    gate: Linear | None = None
    keys: frozenset[str] = frozenset()
    learned: int = 0

    @property
    def map(self) -> Linear | None:
        """The map that it is."""
        return self.what if isinstance(self.what, Linear) else None

    @property
    def where(self) -> str:
        """The place in the user's model, or what stands there."""
        return self.op.path or self.op.name or "the model"


@dataclass(eq=False)
class Graph:
    """Nodes by the number of the value that each makes, in the order in which they ran.

    Attributes:
        tape: What they were read from.
        nodes: The nodes.
        output: The value that the net gives.
        notes: What was read otherwise than it stands in the user's model.
    """

    tape: Tape
    nodes: dict[int, Node]
    output: int
    notes: list[str]

    @property
    def exact(self) -> bool:
        """Whether nothing was sampled."""
        return not any(isinstance(node.what, Curve) and node.what.note for node in self.nodes.values())

    def copy(self) -> Graph:
        """A graph of its own with the same numbers."""
        return Graph(self.tape, {value: replace(node) for value, node in self.nodes.items()}, self.output, [])

    def width(self, value: int) -> int:
        """How many features a value has."""
        return self.tape.in_features if value == self.tape.inputs else width(self.nodes[value].op) or 0

    def readers(self, value: int) -> list[Node]:
        """The nodes that read a value."""
        return [node for node in self.nodes.values() if value in node.inputs]

    def run(self, x: Array, at: Callable[[Node, list[Array]], None] | None = None) -> Array:
        """What the net gives for rows.

        Args:
            x: The rows.
            at: Called with each node and what it reads before it runs; it may change the node.
        """
        values = {self.tape.inputs: x}
        for value, node in self.nodes.items():
            read = [values[arg] for arg in node.inputs]
            if at is not None:
                at(node, read)
            values[value] = _made(node, read)
        return values[self.output]

    def drawn(self, size: float) -> Graph:
        """The same net with other numbers in all that learns, the same ones where a parameter is used again.

        Args:
            size: What the root mean square of every map's output is on standard normal rows, so that a net of any depth
                passes on what it reads.
        """
        draw = _Draw(size)
        other = self.copy()
        rows = np.random.default_rng(1).standard_normal((16, self.tape.in_features))
        other.run(rows, draw.renew)
        return other


class _Draw:
    """Draws the numbers of nodes as they run."""

    def __init__(self, size: float) -> None:
        self.size, self.draw = size, np.random.default_rng(2)
        self.known: dict[tuple[str, tuple[int, ...]], Array] = {}

    def renew(self, node: Node, read: list[Array]) -> None:
        """Give a node other numbers."""
        if node.gate is not None:
            node.gate = self.map(node.gate, read[0])
        match node.what:
            case Linear():
                node.what = self.map(node.what, read[0])
            case Norm(weight=weight, bias=bias, key=key):
                node.what = replace(
                    node.what,
                    weight=None if weight is None else self.normal(f"{key} weight", weight, 1.0),
                    bias=None if bias is None else self.normal(f"{key} bias", bias, 0.0),
                )
            case Normal(text=text, weight=weight, bias=bias):
                shift = bias if text.startswith("rms") else self.normal("", bias, 0.0)
                node.what = Normal(text, self.normal("", weight, 1.0), shift)
            case Affine(scale=scale, shift=shift) if node.learned > 1:
                node.what = Affine(np.where(scale == 0, self.normal("", scale, 1.0), scale), shift)
            case Scale(key=key):
                node.what = replace(node.what, factor=float(self.normal(key, np.ones(1), 1.0)[0]))

    def map(self, linear: Linear, x: Array) -> Linear:
        """A map of the same shape that gives numbers of the size."""
        key = linear.key, linear.weight.shape
        weight = self.known.get(key) if linear.key else None
        if weight is None:
            weight = self.draw.standard_normal(linear.weight.shape)
            root = math.sqrt(float(((x @ weight.T) ** 2).mean()))
            weight *= self.size / root if root > 0 and math.isfinite(root) else linear.weight.shape[1] ** -0.5
            self.known[key] = weight
        bias = linear.bias
        bias = None if bias is None else self.size * self.normal(linear.bias_key or f"{linear.key} bias", bias, 0.0)
        return replace(linear, weight=weight, bias=bias)

    def normal(self, key: str, like: Array, mean: float) -> Array:
        """Normal numbers about a mean; the same ones for the same key."""
        if (found := self.known.get((key, like.shape))) is None:
            found = mean + 0.3 * self.draw.standard_normal(like.shape)
            if key.strip() not in {"", "weight", "bias"}:
                self.known[key, like.shape] = found
        return found


def _made(node: Node, read: list[Array]) -> Array:
    """What a node makes of what it reads."""
    if node.gate is not None:
        x, through = read
        opened = _core.activate("sigmoid", _mapped(node.gate, x).ravel())[:, 0].reshape(x.shape)
        return (1 - opened) * x + opened * through
    if node.factors:
        return node.factors[0] * read[0] + node.factors[1] * read[1]
    match node.what:
        case Linear():
            return _mapped(node.what, read[0])
        case Norm() | Normal():
            norm = normal_of(node.what, read[0].shape[1])
            parsed = kind.Norm(norm.text)
            return normalised(parsed.name, float(parsed.params["eps"]), norm.weight, norm.bias, read[0])[0]
        case Affine(scale=scale, shift=shift):
            return read[0] * scale + shift
        case Curve(text=text):
            return activated(text, read[0])[0]
        case Paired(text=text, order=order):
            return activated(text, read[0][:, list(order)])[0]
        case Scale(factor=factor):
            return factor * read[0]
        case Concat():
            return np.concatenate(read, axis=1)
        case Drop():
            return read[0]
    raise Refusal(node.op.path, node.op.name, "it joins two values in another way than a sum")


def _mapped(linear: Linear, x: Array) -> Array:
    return np.asarray(x @ linear.weight.T + (0 if linear.bias is None else linear.bias))


def width(op: Op) -> int | None:
    """How many features the value of an operation has, where that is known."""
    if isinstance(op, Linear):
        return len(op.weight)
    return int(np.prod(op.shape[1:])) if len(op.shape) > 1 else None


def bias_of(op: Linear) -> Array:
    """The bias of a map, zeros where it has none."""
    return np.zeros(len(op.weight)) if op.bias is None else op.bias


def normal_of(norm: Norm | Normal, features: int) -> Normal:
    """A normalisation by its text, with a weight and a bias of every feature."""
    if isinstance(norm, Normal):
        return norm
    weight = np.ones(features) if norm.weight is None else np.asarray(norm.weight, np.float64).reshape(-1)
    bias = np.zeros(features) if norm.bias is None else np.asarray(norm.bias, np.float64).reshape(-1)
    if len(weight) != features or len(bias) != features:
        raise Refusal(norm.path, norm.name, f"it has {len(weight)} weights for {features} features")
    if norm.kind not in {"layer", "rms", "batch"}:
        raise Refusal(norm.path, norm.name, f"a {norm.kind} normalisation is none of layer, rms and batch")
    if norm.kind == "rms" and bias.any():
        raise Refusal(norm.path, norm.name, "an rms normalisation has no bias here")
    return Normal(f"{norm.kind}(eps={norm.eps!r})", weight, bias)
