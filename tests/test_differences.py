"""Analytic gradients against differences of the loss itself, end to end through the public API.

No second derivation of the backward pass is trusted here: only that the forward pass computes the loss.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vgcore as vg
from strategies import EVERY_ACTIVATION, EXAMPLES, Problem, over_examples, patient, problems, specs
from vgcore import _core, reference
from vgcore.reference.cases import PARTS, targets

Array = npt.NDArray[Any]
State = dict[str, Array]

TOLERANCE = 1e-6
STEPS = (1e-3, 1e-4, 1e-5)  # the first is the best where the loss is smooth, the others fit between kinks
ENTRIES = 3  # of each tensor, the largest gradient among them
EPS = float(np.finfo(np.float64).eps)

seeds = st.integers(0, 2**64 - 1)


# --- Numeric derivatives -------------------------------------------------------------------------


class Difference(NamedTuple):
    """What the loss says about one entry of a gradient."""

    name: str
    entry: tuple[int, ...]
    analytic: Array  # the whole tensor
    numeric: float
    floor: float  # the error that rounding of the loss may leave in `numeric`

    @property
    def scale(self) -> float:
        return max(abs(self.numeric), float(np.sqrt((self.analytic**2).mean())))

    @property
    def resolved(self) -> bool:
        """Do differences see as much as the tolerance asks for?"""
        return self.floor <= TOLERANCE * self.scale


def agrees(difference: Difference) -> bool:
    """Is the entry right to 1e-6 of itself or of the root mean square of its tensor, if that is larger?

    A loss that is a sum of terms of size s is known to a few eps s, a difference of it over 2 h to a few eps s / h. No
    smaller gradient can be asked for: that floor is added.
    """
    gap = abs(float(difference.analytic[difference.entry]) - difference.numeric)
    return gap <= TOLERANCE * difference.scale + difference.floor


def analytic_gradients(problem: Problem, state: State) -> vg.Gradients:
    net = vg.Network.from_state_dict(problem.spec, state)
    solve = net.gradients if "loss" in problem.start else net.backward
    return solve(problem.x, **problem.start)


def loss(problem: Problem, state: State, x: Array) -> float:
    net = vg.Network.from_state_dict(problem.spec, state)
    if "loss" not in problem.start:
        return float((problem.start["cotangent"] * net.forward(x)).sum())
    value = net.gradients(x, **problem.start).loss
    assert value is not None
    return value


def size_of_terms(problem: Problem, state: State) -> float:
    """How large the terms are whose sum is the loss: it is rounded to eps of this, not of itself."""
    y = vg.Network.from_state_dict(problem.spec, state).forward(problem.x)
    if "loss" not in problem.start:
        return float(np.abs(problem.start["cotangent"] * y).sum())
    value, slope = reference.evaluate(problem.start["loss"], y, problem.start["y"])
    return value + float(np.abs(slope * y).sum())


def sides(problem: Problem, state: State, x: Array) -> bytes:
    """Which side of its kink every pre-activation is on, and every output in the loss."""
    layers = reference.Plan.of(problem.spec).layers
    bends = any(_core.kinks(part.kind) for layer in layers for part in layer.parts if part.name == "activation")
    if not bends and vg.Loss(problem.start.get("loss", "mse")).name not in {"mae", "huber", "hinge"}:
        return b""  # without a pass over the net
    trace = reference.propagate(problem.spec, state, x)
    bent = [step for steps in trace.steps for step in steps if step.part.name == "activation"]
    signs = [np.sign(step.input.true() - kink) for step in bent for kink in _core.kinks(step.part.kind)]
    if "loss" in problem.start:
        loss, y, t = vg.Loss(problem.start["loss"]), trace.y.true(), problem.start["y"]
        if loss.name in {"mae", "huber"}:
            delta = float(loss.params.get("delta", 0))
            signs += [np.sign(y - t - delta), np.sign(y - t + delta)]
        elif loss.name == "hinge":
            signs.append(np.sign(1 - t * y))
    return b"".join(sign.astype(np.int8).tobytes() for sign in signs)


def stencils(
    f: Callable[[float], float], side: Callable[[float], bytes], at: float
) -> Iterator[tuple[float, float, float]]:
    """Fourth-order central differences of f by steps of h and of h / 2, and h, where both stay clear of kinks."""

    def stencil(h: float) -> float:
        return (8 * (f(at + h) - f(at - h)) - (f(at + 2 * h) - f(at - 2 * h))) / (12 * h)

    here = side(at)
    for step in STEPS:
        h = step * max(1.0, abs(at))
        if all(side(at + k * h) == here for k in (-2, -1, -0.5, 0.5, 1, 2)):
            yield stencil(h), stencil(h / 2), h


def difference(
    problem: Problem, state: State, name: str, index: tuple[int, ...], analytic: Array, *, size: float
) -> Difference | None:
    """One entry's derivative; None where kinks are too near, or where two steps disagree on it.

    Which entries are left out is a matter of the loss alone, not of what the analytic entry is. The
    loss is known to a few roundings of `size`: see `size_of_terms`.
    """

    def moved(to: float) -> tuple[State, Array]:
        tensors = state | {"input": problem.x}
        tensors[name] = tensors[name].copy()
        tensors[name][index] = to
        return {key: tensors[key] for key in state}, tensors["input"]

    def f(to: float) -> float:
        return loss(problem, *moved(to))

    def side(to: float) -> bytes:
        return sides(problem, *moved(to))

    at = float((problem.x if name == "input" else state[name])[index])
    for coarse, fine, h in stencils(f, side, at):
        found = Difference(name, index, analytic, fine, 32 * EPS * size / h)
        # The error of `fine` is a sixteenth of that of `coarse`.
        if abs(coarse - fine) <= TOLERANCE * found.scale + found.floor:
            return found
    return None


def differences(problem: Problem, state: State) -> Iterator[Difference | None]:
    """Up to three entries of every weight, every bias and the input."""
    gradients = analytic_gradients(problem, state)
    rng, size = np.random.default_rng(problem.seed), size_of_terms(problem, state)
    for name, analytic in {**gradients.parameters, "input": gradients.input}.items():
        drawn = rng.choice(analytic.size, min(ENTRIES, analytic.size), replace=False)
        drawn[0] = np.abs(analytic).argmax()
        for flat in np.unique(drawn):
            index = tuple(int(i) for i in np.unravel_index(flat, analytic.shape))
            yield difference(problem, state, name, index, analytic, size=size)


# --- Tests ---------------------------------------------------------------------------------------


@patient
def test_gradients_are_the_differences_of_the_loss() -> None:
    drawn, checked = [], []

    @settings(max_examples=EXAMPLES)
    @given(problem=problems())
    def each(problem: Problem) -> None:
        state = problem.spec.init(seed=problem.seed, dtype="float64").state_dict()
        for found in differences(problem, state):
            drawn.append(found)
            if found is not None:
                assert agrees(found), found
                checked.append(found)

    each()
    resolved = sum(found.resolved or not found.analytic.any() for found in checked)
    assert len(checked) > 0.8 * len(drawn)  # the rest are at kinks, as the zeros behind a layer of dead units
    assert resolved > 0.7 * len(drawn)


@over_examples
@given(spec=specs(), seed=seeds)
def test_every_net_passes_its_gradcheck(spec: vg.MLP, seed: int) -> None:
    assert max(vg.gradcheck(spec, seed=seed).values()) < TOLERANCE


@pytest.mark.parametrize("activation", EVERY_ACTIVATION)
@pytest.mark.parametrize("skip", [None, "residual(order=pre)"])
def test_two_hundred_layers_pass_their_gradcheck(activation: str, skip: str | None) -> None:
    depth = 8 if activation in {"glu", "swiglu", "geglu", "tanhshrink"} else 200  # these leave every range
    spec = vg.MLP(depth=depth, width=16, activation=activation, init="xavier_normal", skip=skip)
    assert max(vg.gradcheck(spec).values()) < TOLERANCE


@pytest.mark.parametrize("fields", PARTS.values(), ids=PARTS)
def test_two_hundred_layers_with_every_part_pass_their_gradcheck(fields: dict[str, Any]) -> None:
    net: dict[str, Any] = {"width": 16, "out_features": 3, "activation": "tanh", "init": "xavier_normal"} | fields
    depth = 8 if fields.get("skip") == "dense" or fields.get("activation") == "swiglu" else 200
    assert max(vg.gradcheck(vg.MLP(depth=depth, **net), batch=8).values()) < TOLERANCE


SENSITIVE: dict[str, tuple[dict[str, Any], str | None]] = {
    **{name: (fields, None) for name, fields in PARTS.items()},
    **{f"{loss} loss": ({}, loss) for loss in vg.LOSSES},
    **{activation: ({"activation": activation}, None) for activation in EVERY_ACTIVATION},
}


@pytest.mark.parametrize(("fields", "loss"), SENSITIVE.values(), ids=SENSITIVE)
def test_an_entry_that_is_wrong_by_a_ten_thousandth_is_seen(fields: dict[str, Any], loss: str | None) -> None:
    net: dict[str, Any] = {"width": 6, "out_features": 3, "activation": "tanh", "init": "torch_default"} | fields
    spec = vg.MLP(depth=4, **net)
    rng = np.random.default_rng(0)
    x, numbers = reference.samples(spec, 0, 8, "float64"), rng.standard_normal((8, 3))
    start = {"cotangent": numbers} if loss is None else {"y": targets(loss, rng, 8, 3), "loss": loss}
    problem = Problem(spec, 0, x, start)
    state = spec.init(seed=0, dtype="float64").state_dict()
    gradients = analytic_gradients(problem, state)
    seen = set()
    for found in filter(None, differences(problem, state)):
        assert agrees(found), found
        if abs(found.analytic[found.entry]) < max(found.scale / 10, 1e4 * found.floor):
            continue  # a ten-thousandth of an entry far smaller than its tensor is no error of the tensor
        for factor in (1 - 1e-4, 1 + 1e-4):
            wrong = found.analytic.copy()
            wrong[found.entry] *= factor
            assert not agrees(found._replace(analytic=wrong)), found
        seen.add(found.name)
    # Gradients that are zero but for rounding have no entry to be wrong.
    large = 1e-6 * max(np.abs(gradient).max() for gradient in gradients.parameters.values())
    every = gradients.parameters | {"input": gradients.input}
    assert seen == {name for name, g in every.items() if np.abs(g).max() > large}
