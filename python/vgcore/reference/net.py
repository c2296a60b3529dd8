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
    from vgcore.model.spec import Spec
    from vgcore.reference.plan import Part


@dataclass(frozen=True)
class Trace:
    """A forward pass, part by part, as the backward pass needs it."""

    at: Pass
    steps: list[list[Step]]  # of each layer, and of what stands behind the last one

    def each(self, part: str) -> list[Step]:
        """The steps of a part in the layers that have it; what stands behind the last one has none."""
        layers = self.steps[: self.at.plan.depth]
        return [step for steps in layers for step in steps if step.part.name == part]

    @cached_property
    def z(self) -> list[Scaled]:
        """The pre-activations, which are the outputs of the maps; of a GRU its cell makes them of these."""
        made = [step.z for step in self.each("cell") if step.z is not None]
        return made or [step.value for step in self.each("map")]

    @cached_property
    def map_input(self) -> list[Scaled]:
        """The inputs of the maps."""
        return [step.input for step in self.each("map")]

    @cached_property
    def norms(self) -> list[Step]:
        """The steps of all normalisations."""
        return [step for steps in self.steps for step in steps if step.part.name == "norm"]

    @cached_property
    def activation_input(self) -> list[Scaled]:
        """The inputs of the activations, which are z in a plain net."""
        return [step.input for step in self.each("activation")]

    @cached_property
    def slopes(self) -> list[Array]:
        """The slopes phi'(z) of each activation, and those of a cell's gates over the steepest of each."""
        found = [step.slopes for steps in self.steps[: self.at.plan.depth] for step in steps]
        return [slopes for slopes in found if slopes is not None]

    @cached_property
    def a(self) -> list[Scaled]:
        """The outputs of the activations and cells, or of the normalisations right behind them."""
        found = []
        for steps in self.steps[: self.at.plan.depth]:
            at = next(i for i, step in enumerate(steps) if step.part.name in {"activation", "cell"})
            while steps[at + 1 :] and steps[at + 1].part.name == "norm":
                at += 1
            found.append(steps[at].value)
        return found

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
def propagate(spec: Spec, state: State, x: Array, masks: tuple[int, int] | None = None) -> Trace:
    """The forward pass; with the masks of a seed and a step it is one of training."""
    plan = Plan.of(spec)
    # Where phi is a line near 0 and no bias is added, a signal of any size stays in proportion and can
    # carry an exponent. Elsewhere the exponent stays 0.
    unbiased = not any(state[key].any() for key in state if key.endswith("bias"))
    carried = unbiased and not plan.fed and all(proportional(part) for layer in plan.layers for part in layer.parts)

    def settled(h: Scaled) -> Scaled:
        return h.rescaled() if carried else h if h.exponent == 0 else Scaled(h.true())

    first = np.zeros((len(x), plan.layers[0].input)) if plan.fed else x
    h = [settled(Scaled(np.asarray(first, state["layers.0.weight"].dtype)))]
    trace = Trace(Pass(plan, state, x, h, {}, masks, {}), [])
    for l, layer in enumerate(plan.layers):
        v, steps = h[l], list[Step]()
        for part in layer.parts:
            step = PARTS[part.name](trace.at, part, v)
            if part.name == "join":
                step = step._replace(value=settled(step.value))
            v = step.value
            steps.append(step)
        h.append(settled(v))
        trace.steps.append(steps)
    return trace


def proportional(part: Part) -> bool:
    """Does a part without biases pass a small signal in proportion?"""
    if part.name == "activation":
        return straight(part.kind)
    return part.name not in {"norm", "cell"} and part.module != "gates"


@np.errstate(all="ignore")
def backpropagate(trace: Trace, cotangent: Array) -> Signals:
    """The backward pass, from dL/dy to the gradients of everything."""
    plan, count = trace.at.plan, len(trace.steps)
    dy = Scaled(np.asarray(cotangent, np.float64)).rescaled()
    found: list[Found] = [{} for _ in range(count)]
    delta = [dy] * count
    inputs = trace.at.reached
    inputs.clear()
    dh = [Scaled(dy.value.astype(trace.y.value.dtype), dy.exponent)]
    for l in reversed(range(count)):
        g, inner = dh[0], False
        for step in reversed(trace.steps[l]):
            g = g.rescaled()
            if step.part.name == "map":
                # Of a GRU what comes to the map of the step's own input, which is dL/dz of all gates.
                both = step.part.kind == "gru"
                delta[l] = Scaled(g.value[:, : g.value.shape[1] // 2], g.exponent) if both else g
            g, others = step.back(g)
            for name, gradient in others.items():
                reach(found[l] if name in trace.at.state else inputs, name, gradient)
            if step.part.name == "keep" and (around := inputs.pop(f"around.{step.part.stream}", None)) is not None:
                g += around
            if step.part.name == "keep" and not inner:
                dh[0] = g  # what a layer hands on is whole only with what goes around from there
            inner = inner or step.part.name != "keep"
        dh.insert(0, g)
    dx = dh[0]
    if plan.fed:
        fed = [inputs[f"x.{t}"] for t in range(plan.depth // plan.layers_of_step)]
        top = max(each.exponent for each in fed)
        dx = Scaled(np.stack([np.ldexp(each.value, each.exponent - top) for each in fed], axis=1), top)
    return Signals(found, delta[: plan.depth], dx, dh)


def summed(found: list[Found]) -> Found:
    """Gradients of the parameters: sums over the layers that share them."""
    total: Found = {}
    for each in found:
        for name, gradient in each.items():
            reach(total, name, gradient)
    return total


def forward(spec: Spec, state: State, x: Array) -> Array:
    """The readout, or the last hidden output without one: `(batch, out)`."""
    return propagate(spec, state, x).y.true()


def backward(spec: Spec, state: State, x: Array, cotangent: Array) -> Gradients:
    """Gradients of `sum(cotangent * y)`."""
    signals = backpropagate(propagate(spec, state, x), cotangent)
    parameters = summed(signals.found)
    true = {name: parameters[name].true() for name in state}
    return Gradients(true, [delta.true() for delta in signals.delta], signals.dx.true())


@np.errstate(all="ignore")
def gradients(spec: Spec, state: State, x: Array, y: Array | None, loss: str) -> Gradients:
    """Gradients of a loss between the output and the targets y, and its value."""
    value, cotangent = evaluate(loss, forward(spec, state, x).astype(np.float64), y)
    return backward(spec, state, x, cotangent)._replace(loss=value)
