"""A whole net: forward through the list of parts, and backward through the list reversed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vgcore.reference.activation import straight
from vgcore.reference.loss import evaluate
from vgcore.reference.part import PARTS, Found, Pass, State, Step, reach
from vgcore.reference.plan import Plan
from vgcore.reference.random import Array
from vgcore.reference.scaled import Scaled

if TYPE_CHECKING:
    from vgcore.model.mlp import MLP


@dataclass(frozen=True)
class Trace:
    """A forward pass, part by part, as the backward pass needs it."""

    at: Pass
    steps: list[list[Step]]  # of each layer, and of the readout

    def each(self, part: str) -> list[Step]:
        """The steps of a part in the layers that have it, the readout apart."""
        layers = self.steps[: self.at.spec.depth]
        return [step for steps in layers for step in steps if step.part == part]

    @cached_property
    def z(self) -> list[Scaled]:
        """The pre-activations, which are the outputs of the maps."""
        return [step.value for step in self.each("map")]

    @cached_property
    def map_input(self) -> list[Scaled]:
        """The inputs of the maps."""
        return [step.input for step in self.each("map")]

    @cached_property
    def norm_input(self) -> list[Scaled]:
        """The inputs of the normalisations."""
        return [step.input for step in self.each("norm")]

    @cached_property
    def activation_input(self) -> list[Scaled]:
        """The inputs of the activations, which are z in a plain net."""
        return [step.input for step in self.each("activation")]

    @cached_property
    def slopes(self) -> list[Array]:
        """The slopes phi'(z) of each activation."""
        return [step.slopes for step in self.each("activation") if step.slopes is not None]

    @cached_property
    def a(self) -> list[Scaled]:
        """The outputs of the activations, or of the normalisations behind them."""
        behind = self.at.spec.norm is not None and self.at.spec.norm_position == "post"
        return [step.value for step in self.each("norm" if behind else "activation")]

    @cached_property
    def h(self) -> list[Scaled]:
        """The input, and what each layer hands on."""
        return self.at.h

    @cached_property
    def y(self) -> Scaled:
        """The output of the net."""
        return self.h[-1]


class Signals(NamedTuple):
    """The gradients that a backward pass finds, with exponents."""

    found: list[Found]  # gradients of the parameters, by layer; the readout's last
    delta: list[Scaled]  # dL/dz of each layer
    dx: Scaled  # dL/dx
    dh: list[Scaled]  # dL/dh_0, dL/dh_1, ..., dL/dy: whole gradients, through the next block and around it


class Gradients(NamedTuple):
    """True gradients: of the parameters by name, and of the pre-activations, input side first."""

    parameters: State
    preactivations: list[Array]
    input: Array
    loss: float | None = None


@np.errstate(all="ignore")  # a value that is not finite is a result
def propagate(spec: MLP, state: State, x: Array) -> Trace:
    """The forward pass."""
    plan = Plan.of(spec)
    # Where phi is a line near 0 and no bias is added, a signal of any size stays in proportion and can
    # carry an exponent. Elsewhere the exponent stays 0.
    unbiased = not any(state[key].any() for key in state if key.endswith("bias"))
    bends = spec.norm is not None or spec.inputs == "every" or plan.skip[0] == "highway"
    carried = unbiased and not bends and all(straight(layer.kind) for layer in plan.layers)

    def settled(h: Scaled) -> Scaled:
        return h.rescaled() if carried else h if h.exponent == 0 else Scaled(h.true())

    first = np.zeros((len(x), plan.layers[0].input)) if spec.inputs == "every" else x
    h = [settled(Scaled(np.asarray(first, state["layers.0.weight"].dtype)))]
    trace = Trace(Pass(spec, plan, state, x, h), [])
    for l, layer in enumerate(plan.layers):
        v, steps = h[l], list[Step]()
        for part in layer.parts:
            step = PARTS[part](trace.at, l, v)
            if part == "join":
                step = step._replace(value=settled(step.value))
            v = step.value
            steps.append(step)
        h.append(settled(v))
        trace.steps.append(steps)
    return trace


@np.errstate(all="ignore")
def backpropagate(trace: Trace, cotangent: Array) -> Signals:
    """The backward pass, from dL/dy to the gradients of everything."""
    spec, count = trace.at.spec, len(trace.steps)
    dy = Scaled(np.asarray(cotangent, np.float64)).rescaled()
    found: list[Found] = [{} for _ in range(count)]
    delta = [dy] * count
    inputs: Found = {f"h.{count}": Scaled(dy.value.astype(trace.y.value.dtype), dy.exponent)}
    for l in reversed(range(count)):
        g = inputs[f"h.{l + 1}"]
        for step in reversed(trace.steps[l]):
            g = g.rescaled()
            if step.part == "map":
                delta[l] = g
            g, others = step.back(g)
            for name, gradient in others.items():
                reach(found[l] if name in trace.at.state else inputs, name, gradient)
        reach(inputs, f"h.{l}", g)
    dx = inputs["h.0"]
    if spec.inputs == "every":
        fed = [inputs[f"x.{l}"] for l in range(spec.depth)]
        top = max(each.exponent for each in fed)
        dx = Scaled(np.stack([np.ldexp(each.value, each.exponent - top) for each in fed], axis=1), top)
    return Signals(found, delta[: spec.depth], dx, [inputs[f"h.{l}"] for l in range(count + 1)])


def summed(found: list[Found]) -> Found:
    """Gradients of the parameters: sums over the layers that share them."""
    total: Found = {}
    for each in found:
        for name, gradient in each.items():
            reach(total, name, gradient)
    return total


def forward(spec: MLP, state: State, x: Array) -> Array:
    """The readout, or the last hidden output without one: `(batch, out)`."""
    return propagate(spec, state, x).y.true()


def backward(spec: MLP, state: State, x: Array, cotangent: Array) -> Gradients:
    """Gradients of `sum(cotangent * y)`."""
    signals = backpropagate(propagate(spec, state, x), cotangent)
    parameters = summed(signals.found)
    true = {name: parameters[name].true() for name in state}
    return Gradients(true, [delta.true() for delta in signals.delta], signals.dx.true())


@np.errstate(all="ignore")
def gradients(spec: MLP, state: State, x: Array, y: Array | None, loss: str) -> Gradients:
    """Gradients of a loss between the output and the targets y, and its value."""
    value, cotangent = evaluate(loss, forward(spec, state, x).astype(np.float64), y)
    return backward(spec, state, x, cotangent)._replace(loss=value)
