"""The Rust core against the NumPy reference and other libraries' autograd, through the public API."""

import dataclasses
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import vgcore as vg
from rivals import RIVALS, Answer, error, jax_gradients, reference_gradients
from strategies import EVERY_ACTIVATION, EXAMPLES, Problem, nets, over_examples, patient, problems, specs
from vgcore import reference
from vgcore.reference import agreement
from vgcore.reference.agreement import ALLOWED, GRADIENT_NORMS, NORMS
from vgcore.reference.cases import normalises

seeds = st.integers(0, 2**64 - 2)  # a probe of two seeds takes the next one too
NUDGES = 3


def nudged(values: NDArray[Any], random: np.random.Generator) -> NDArray[Any]:
    """The same numbers but for their last digit."""
    moved: NDArray[Any] = values * np.where(random.integers(2, size=values.shape), 1 + 2.0**-51, 1 - 2.0**-51)
    return moved


def kernel_gradients(net: vg.Network, problem: Problem) -> vg.Gradients:
    solve = net.gradients if "loss" in problem.start else net.backward
    return solve(problem.x, **problem.start)


@over_examples
@given(spec=nets(), seed=seeds)
def test_drawn_numbers_are_those_of_the_reference(spec: vg.MLP | vg.Sequential, seed: int) -> None:
    for dtype, allowed in ALLOWED.items():
        drawn = spec.init(seed=seed, dtype=dtype).state_dict()
        expected = reference.init(spec, seed, dtype)
        assert list(drawn) == list(expected)
        assert {value.dtype for value in drawn.values()} == {np.dtype(dtype)}
        # What is scaled by what data make of it has been through a forward pass.
        wider = 10 if str(spec.init).startswith("lsuv") else 1
        assert [each for each in agreement.states(drawn, expected, wider * allowed.drawn) if each.worst > 1] == []


@pytest.mark.parametrize("rival", [reference_gradients, *RIVALS])
@patient
def test_gradients_are_those_of_every_rival(rival: Callable[..., Answer]) -> None:
    # XLA compiles every net for a second.
    @settings(max_examples=max(EXAMPLES // 4, 1) if rival is jax_gradients else EXAMPLES)
    @given(problem=problems() if rival is reference_gradients else problems(specs))
    def each(problem: Problem) -> None:
        net = problem.spec.init(seed=problem.seed, dtype="float64")
        measured = kernel_gradients(net, problem)
        # Behind a batch norm of samples that hardly differ, the last digits of x and of weights are many of the
        # gradients'. Where they move the core's own gradients as far as a rival may be off, these say nothing of
        # either.
        random = np.random.default_rng(problem.seed)
        for _ in range(NUDGES):
            moved = {name: nudged(w, random) for name, w in net.state_dict().items()}
            other = vg.Network.from_state_dict(problem.spec, moved)
            problem_ = dataclasses.replace(problem, x=nudged(problem.x, random))
            assume(error(kernel_gradients(other, problem_), measured) < 1e-11)
        expected = rival(problem.spec, net.state_dict(), problem.x, **problem.start)
        assert error(measured, expected) < 1e-10

    each()


@over_examples
@given(problem=problems())
def test_outputs_are_those_of_the_reference(problem: Problem) -> None:
    net = problem.spec.init(seed=problem.seed, dtype="float64")
    expected = reference.forward(problem.spec, net.state_dict(), problem.x)
    np.testing.assert_allclose(net.forward(problem.x), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("batch", [1, 7, 8, 9, 16, 33, 70, 130])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-4)])
def test_every_edge_of_a_tile_is_computed(batch: int, dtype: str, tolerance: float) -> None:
    widths = (1, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 130, 3, 257, 2)
    spec = vg.MLP(depth=len(widths), width=widths, in_features=5, out_features=11, activation="silu")
    net = spec.init(dtype=dtype)
    rng = np.random.default_rng(batch)
    x, cotangent = (rng.standard_normal((batch, size)) for size in (5, 11))
    state = {key: value.astype(np.float64) for key, value in net.state_dict().items()}
    x, cotangent = (value.astype(dtype).astype(np.float64) for value in (x, cotangent))
    expected = reference_gradients(spec, state, x, cotangent=cotangent)
    assert error(net.backward(x, cotangent), expected) < tolerance


def assert_columns(measured: vg.Probe, expected: dict[str, Any], norms: float, shares: float) -> None:
    assert [each for each in agreement.columns(measured, expected, norms, shares) if each.worst > 1] == []


def enough(spec: vg.MLP | vg.Sequential, batch: int) -> int:
    """A batch that says something about this net."""
    return batch + 5 if normalises(spec) else batch


@pytest.mark.parametrize("norm", [{"final_norm": "batch"}, {"norm": "batch", "out_features": 2}])
def test_a_bias_whose_gradient_is_rounding_alone_is_compared_with_what_it_is_the_sum_of(norm: dict[str, Any]) -> None:
    # One step from a state of zeros: W has no gradient, and what the bias adds a batch normalisation takes away.
    spec = vg.MLP(depth=1, width=6, activation="linear", tied=True, inputs="every", **norm)
    net, rng = spec.init(dtype="float64"), np.random.default_rng(0)
    x, cotangent = rng.standard_normal((6, 1, 6)), rng.standard_normal((6, spec.out_features or 6))
    found = net.backward(x, cotangent)
    sizes = {name: np.linalg.norm(gradient) for name, gradient in found.parameters.items()}
    assert sizes["layers.0.weight"] == 0
    assert sizes["layers.0.bias"] < 1e-14 * sizes["inputs.weight"]
    assert error(found, reference_gradients(spec, net.state_dict(), x, cotangent=cotangent)) < 1e-10
    given: dict[str, Any] = {"batch": 6, "seeds": 2, "dtype": "float64"}
    assert_columns(vg.probe(spec, **given), reference.probe(spec, **given), 1e-9, 1e-9)


def test_a_norm_whose_gradient_is_rounding_alone_is_compared_with_all_gradients() -> None:
    # Every unit of the last layer is dead in one run, and the norm behind its norm takes away what is alike.
    norms: dict[str, Any] = {"norm": "batch(eps=0.1)", "norm_position": ("pre", "post"), "final_norm": "batch(eps=0.1)"}
    net = vg.MLP(depth=2, width=6, init="uniform(a=-0.31, b=0.1)", **norms).init(seed=1, dtype="float64")
    measured = vg.probe(net, batch=6, seeds=2, seed=0)
    assert measured.dead[1, 1] == 1
    assert measured.log10_affine_grad_norm[1, 1] < -14 < measured.log10_total_grad_norm[1]
    expected = reference.probe(net.spec, batch=6, seeds=2, seed=0, state=net.state_dict())
    assert_columns(measured, expected, 1e-9, 1e-9)


@over_examples
@given(spec=nets(), seed=seeds, batch=st.integers(1, 9))
def test_columns_are_those_of_the_reference(spec: vg.MLP | vg.Sequential, seed: int, batch: int) -> None:
    given: dict[str, Any] = {"batch": enough(spec, batch), "seeds": 2, "seed": seed, "dtype": "float64"}
    assert_columns(vg.probe(spec, **given), reference.probe(spec, **given), 1e-9, 1e-9)


@over_examples
@given(spec=nets(), seed=seeds, batch=st.integers(1, 9))
def test_columns_of_given_weights_are_those_of_the_reference(
    spec: vg.MLP | vg.Sequential, seed: int, batch: int
) -> None:
    # Weights of one seed, samples and cotangents of two that need not be it.
    net = spec.init(seed=seed, dtype="float64")
    given: dict[str, Any] = {"batch": enough(spec, batch), "seeds": 2, "seed": seed // 2}
    expected = reference.probe(spec, **given, state=net.state_dict())
    assert_columns(vg.probe(net, **given), expected, 1e-9, 1e-9)


@over_examples
@given(problem=problems().filter(lambda problem: "loss" in problem.start))
def test_columns_on_the_data_of_a_caller_are_those_of_the_reference(problem: Problem) -> None:
    given: dict[str, Any] = {"x": problem.x, **problem.start, "seeds": 1, "dtype": "float64"}
    spec = problem.spec
    assert_columns(vg.probe(spec, **given), reference.probe(spec, **given), 1e-9, 1e-9)


# A gated net about squares its signal at every layer, and so doubles its relative rounding.
STEADY = [activation for activation in EVERY_ACTIVATION if not activation.endswith("glu")]


@pytest.mark.parametrize("skip", [None, "residual"])
@pytest.mark.parametrize(
    ("activation", "init"),
    [
        (activation, init)
        for activation, init in product(STEADY, ["xavier_uniform", "kaiming_normal", "orthogonal", "torch_default"])
        if (activation, init) != ("snake", "kaiming_normal")  # chaotic: differences double a layer
    ],
)
def test_float32_columns_follow_the_reference_to_a_thousandth(activation: str, skip: str | None, init: str) -> None:
    spec = vg.MLP(
        depth=24,
        width=33,
        in_features=20,
        out_features=4,
        activation=activation,
        init=init,
        skip=skip,
        block=2,
    )
    # A z within float32's rounding of a kink may fall to either side of it, and a whole slope with it.
    clear = (seed for seed in range(0, 100, 2) if min(nearest_to_zero(spec, seed + run) for run in (0, 1)) > 1e-5)
    seed = next(clear) if activation in {"relu", "leaky_relu", "selu"} else 0
    given: dict[str, Any] = {"batch": 17, "seeds": 2, "seed": seed, "dtype": "float32"}
    assert_columns(vg.probe(spec, **given), reference.probe(spec, **given), 1e-3, 5e-3)


def nearest_to_zero(spec: vg.MLP | vg.Sequential, seed: int) -> float:
    """The least |z| of a run on 17 samples, as a share of its layer's largest."""
    x = reference.Stream(seed, reference.INPUT, dtype="float32").normal((17, 20))
    trace = reference.propagate(spec, reference.init(spec, seed, "float32"), x)
    return min(float(np.abs(z.value).min() / np.abs(z.value).max()) for z in trace.z)


# z - tanh z is no line near 0: it cubes its signal at every layer, and leaves every range.
# Each leaves the range fast; one does so by more layers, in steps that a float has room for many of.
@pytest.mark.parametrize(
    ("activation", "depth", "gain"),
    [*((activation, 230, 0.02) for activation in STEADY if activation != "tanhshrink"), ("relu", 600, 0.2)],
)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-9), ("float32", 5e-3)])
def test_columns_far_beyond_the_range_of_a_float_are_those_of_the_reference(
    activation: str, depth: int, gain: float, dtype: str, tolerance: float
) -> None:
    spec = vg.MLP(depth=depth, width=9, activation=activation, init=f"lecun_normal(gain={gain})")
    given: dict[str, Any] = {"batch": 5, "seeds": 2, "dtype": dtype}
    measured = vg.probe(spec, **given)
    assert measured.log10_delta_rms.min() < -330
    assert measured.first_nonfinite.tolist() == [-1, -1]
    assert_columns(measured, reference.probe(spec, **given), tolerance, tolerance)


ENDS = {
    "at z": (vg.MLP(depth=6, width=8, activation="elu", init="normal(std=1e10)"), 3),
    "at a": (
        vg.MLP(
            depth=2,
            width=4,
            activation="leaky_relu(negative_slope=1e30)",
            init="constant(value=-1e10)",
            bias="constant(value=1)",
        ),
        0,
    ),
    "at the readout": (
        vg.MLP(
            depth=1,
            width=64,
            in_features=1,
            out_features=1,
            activation="sigmoid",
            init="constant(value=1e38)",
        ),
        1,
    ),
    # Every forward sum has one term; the backward sum over 64 leaves float32.
    "at delta": (
        vg.MLP(depth=2, width=(1, 64), activation="linear", init="constant(value=1e38)"),
        0,
    ),
    "never": (vg.MLP(depth=6, width=8, activation="relu", init="normal(std=1e10)"), -1),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("spec", "float32_ends_at"), ENDS.values(), ids=ENDS)
def test_a_run_that_leaves_the_range_ends_where_the_reference_ends(
    spec: vg.MLP, float32_ends_at: int, dtype: str
) -> None:
    given: dict[str, Any] = {"batch": 4, "seeds": 1, "dtype": dtype}
    measured, expected = vg.probe(spec, **given), reference.probe(spec, **given)
    assert measured.first_nonfinite.tolist() == [float32_ends_at if dtype == "float32" else -1]
    for name in (*NORMS, *GRADIENT_NORMS):
        column, finite = getattr(measured, name), np.isfinite(expected[name])
        assert (np.isfinite(column) == finite).all(), name
        np.testing.assert_allclose(column[finite], expected[name][finite], rtol=0, atol=1e-3)
