"""The measurement of a net with given numbers: what its spec's probe says where that draws them, its own otherwise."""

import re
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vgcore as vg
from strategies import Problem, over_examples, problems, specs
from vgcore import _core
from vgcore.reference.cases import PARTS, targets

Array: TypeAlias = npt.NDArray[Any]

SPEC = vg.MLP(depth=5, width=16, activation="tanh", init="lecun_normal", out_features=3)
X: Array = np.random.default_rng(0).standard_normal((12, 16))

seeds = st.integers(0, 2**64 - 1)
dtypes = st.sampled_from(["float32", "float64"])


def bits(p: vg.Probe) -> dict[str, bytes]:
    return {
        name: getattr(p, name).tobytes()
        for name in (*_core.COLUMNS, "first_nonfinite", "log10_total_grad_norm", "log10_output_rms", "loss_value")
    }


def with_part(part: str, **fields: Any) -> vg.MLP:
    plain: dict[str, Any] = {"depth": 4, "width": 8, "activation": "silu", "out_features": 3}
    return vg.MLP(**plain | fields | PARTS[part])


def edited(net: vg.Network, seed: int) -> vg.Network:
    """The net with every number changed."""
    rng, state = np.random.default_rng(seed), net.state_dict()
    for name, value in state.items():
        factor, summand = rng.standard_normal((2, *value.shape)).astype(value.dtype)
        state[name] = value * (1 + 0.3 * factor) + 0.05 * summand
    return vg.Network.from_state_dict(net.spec, state)


# The bits of a spec's probe


@over_examples
@given(spec=specs(), seed=seeds, dtype=dtypes, threads=st.integers(1, 3))
def test_what_a_spec_draws_has_the_bits_of_the_spec(spec: vg.MLP, seed: int, dtype: str, threads: int) -> None:
    net = spec.init(seed=seed, dtype=dtype)
    p = vg.probe(net, seeds=1, seed=seed, threads=threads)
    expected = vg.probe(spec, seeds=1, seed=seed, dtype=dtype)
    assert bits(p) == bits(expected)
    assert (p.spec, p.dtype, p.batch, p.loss) == (spec, dtype, 128, None)
    assert p.seeds.tolist() == [seed]


@over_examples
@given(problem=problems(), dtype=dtypes, data=st.data())
def test_on_the_data_of_a_caller_too(problem: Problem, dtype: str, data: st.DataObject) -> None:
    # Some of the rows, unless the weights are scaled by all of them.
    calibrates = "lsuv" in str(problem.spec.init)
    rows = len(problem.x)
    batch = None if calibrates else data.draw(st.integers(min(rows, 2), rows))
    start = problem.start if "loss" in problem.start else {}
    arguments: dict[str, Any] = {"x": problem.x, **start, "batch": batch, "seeds": 1, "seed": problem.seed}
    net = problem.spec.init(seed=problem.seed, dtype=dtype, x=problem.x if calibrates else None)
    assert bits(vg.probe(net, **arguments)) == bits(vg.probe(problem.spec, **arguments, dtype=dtype))


@pytest.mark.parametrize(
    "spec",
    [
        # Beyond 200 MB a spec's layers are drawn again on the way back.
        vg.MLP(depth=230, width=512, activation="tanh", out_features=10),
        vg.MLP(depth=6, width=(7, 33, 64, 5, 17, 100), in_features=3, activation="gelu", bias="normal"),
        vg.MLP(depth=40, width=24, activation="silu", init="normal(std=30)"),  # it overflows
        vg.MLP(depth=3, width=8, activation=vg.Activation.custom("bump", lambda z: z * np.exp(-z * z), low=-6, high=6)),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_deep_nets_and_nets_that_diverge_have_the_bits_of_their_spec(spec: vg.MLP, dtype: str) -> None:
    expected = vg.probe(spec, seeds=1, seed=3, dtype=dtype)
    assert bits(vg.probe(spec.init(seed=3, dtype=dtype), seeds=1, seed=3)) == bits(expected)
    assert (expected.first_nonfinite[0] >= 0) == ("std=30" in spec.init and dtype == "float32")


@pytest.mark.parametrize("part", PARTS)
def test_numbers_that_went_through_a_state_dict_have_the_same_bits(part: str) -> None:
    net = with_part(part).init(seed=5, dtype="float64")
    again = vg.Network.from_state_dict(net.spec, net.state_dict())
    assert bits(vg.probe(again, seeds=2)) == bits(vg.probe(net, seeds=2))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seeds", [1, 5])
@pytest.mark.parametrize("part", ["plain", "batch pre", "gate", "tied", "spectral norm"])
def test_the_number_of_threads_changes_no_bit(part: str, seeds: int, dtype: str) -> None:
    net = edited(with_part(part, depth=6, width=40).init(dtype=dtype), 0)
    one, *others = (bits(vg.probe(net, seeds=seeds, threads=threads)) for threads in (1, 2, 4, None))
    assert others == [one] * 3


# What a seed is


def test_a_run_is_numbered_by_its_seed() -> None:
    net = SPEC.init(seed=9)
    many = vg.probe(net, seed=4, seeds=3)
    assert many.seeds.tolist() == [4, 5, 6]
    for i, seed in enumerate((4, 5, 6)):
        alone = vg.probe(net, seed=seed, seeds=1)
        for name in _core.COLUMNS:
            np.testing.assert_array_equal(getattr(many, name)[i], getattr(alone, name)[0])


def test_seeds_vary_the_samples_and_the_cotangent_but_not_the_weights() -> None:
    net = SPEC.init()
    random = vg.probe(net, seeds=4)
    assert len(set(random.log10_z_rms[:, 0])) == len(set(random.log10_delta_rms[:, 0])) == 4
    # On given samples the forward passes are one, and only the cotangents differ.
    on_data = vg.probe(net, x=X, seeds=4)
    assert len(set(on_data.log10_z_rms[:, 0])) == 1
    assert len(set(on_data.log10_delta_rms[:, 0])) == 4
    # With targets nothing is left to vary, but for the rows of a batch.
    with_loss: dict[str, Any] = {"x": X, "y": X[:, :3], "loss": "mse", "seeds": 4}
    assert len(set(vg.probe(net, **with_loss).log10_delta_rms[:, 0])) == 1
    assert len(set(vg.probe(net, **with_loss, batch=5).log10_delta_rms[:, 0])) == 4


def test_the_samples_are_those_of_the_specs_run_with_that_seed() -> None:
    # The same constant weights whatever the seed: all that is left are samples and cotangents.
    spec = SPEC.replace(init="eye", bias="constant(0.1)")
    assert bits(vg.probe(spec.init(seed=0), seed=7, seeds=3)) == bits(vg.probe(spec, seed=7, seeds=3))
    x = np.random.default_rng(1).standard_normal((40, 16))
    arguments: dict[str, Any] = {"x": x, "batch": 6, "seed": 7, "seeds": 3}
    assert bits(vg.probe(spec.init(seed=0), **arguments)) == bits(vg.probe(spec, **arguments))


# The weights that are given


def norm(*arrays: Array) -> float:
    return float(np.sqrt(sum((array.astype("float64") ** 2).sum() for array in arrays)))


def assert_measures(p: vg.Probe, gradients: vg.Gradients) -> None:
    """The norms of the first run are those of these gradients."""
    found = gradients.parameters

    def agrees(log10: float, *gradients: Array) -> bool:
        # float64 sums of a few hundred terms, and a log10 and its inverse.
        return 10**log10 == pytest.approx(norm(*gradients), rel=1e-10, abs=1e-13)

    for l, delta in enumerate(gradients.preactivations):
        assert agrees(p.log10_delta_rms[0, l], delta / np.sqrt(delta.size))
    assert agrees(p.log10_total_grad_norm[0], *found.values())
    if p.spec.tied:  # the columns are shares of its steps
        assert agrees(p.log10_summed_wgrad_norm[0, 0], found["layers.0.weight"])
        return
    for l in range(p.spec.depth):
        assert agrees(p.log10_wgrad_norm[0, l], found[f"layers.{l}.weight"])
        if f"layers.{l}.bias" in found:
            assert agrees(p.log10_bgrad_norm[0, l], found[f"layers.{l}.bias"])
        else:
            assert np.isnan(p.log10_bgrad_norm[0, l])
        for column, modules in (("affine", "norms"), ("slope", "activations"), ("gate", "gates|skips")):
            parts = [gradient for name, gradient in found.items() if re.match(rf"({modules})\.{l}\.", name)]
            log10 = getattr(p, f"log10_{column}_grad_norm")[0, l]
            assert agrees(log10, *parts) if parts else np.isnan(log10)


@pytest.mark.parametrize("loss", ["mse", "huber(reduction=sum)", "cross_entropy(label_smoothing=0.1)"])
@pytest.mark.parametrize("part", PARTS)
def test_edited_numbers_are_measured_as_explicit_gradients_have_them(part: str, loss: str) -> None:
    drawn = with_part(part).init(seed=1, dtype="float64")
    net, rng = edited(drawn, 2), np.random.default_rng(3)
    columns = drawn.state_dict()["inputs.weight" if drawn.spec.inputs == "every" else "layers.0.weight"].shape[1]
    x = rng.standard_normal((9, 4, columns) if drawn.spec.inputs == "every" else (9, columns))
    y = targets(loss, rng, 9, 3)
    p, before = (vg.probe(each, x=x, y=y, loss=loss, seeds=1) for each in (net, drawn))
    assert_measures(p, net.gradients(x, y, loss=loss))
    assert_measures(before, drawn.gradients(x, y, loss=loss))
    assert (p.log10_delta_rms != before.log10_delta_rms).all()


def test_a_random_cotangent_starts_the_backward_pass_of_the_given_numbers() -> None:
    # One linear layer passes the cotangent on, whatever its weights: what it was can be read off its gradients.
    spec = vg.MLP(depth=1, width=2, activation="linear", in_features=1)
    x = np.ones((2, 1))
    known = vg.probe(
        vg.Network.from_state_dict(spec, {"layers.0.weight": [[1.0], [2.0]], "layers.0.bias": [0, 0]}), x=x
    )
    other = vg.probe(
        vg.Network.from_state_dict(spec, {"layers.0.weight": [[5.0], [0.0]], "layers.0.bias": [1, 1]}), x=x
    )
    np.testing.assert_array_equal(known.log10_delta_rms, other.log10_delta_rms)
    np.testing.assert_array_equal(known.log10_wgrad_norm, other.log10_wgrad_norm)
    np.testing.assert_allclose(known.z_rms, np.sqrt(2.5), rtol=1e-12)
    np.testing.assert_allclose(other.z_rms, np.sqrt(37 / 2), rtol=1e-12)


def test_given_numbers_are_not_calibrated_again() -> None:
    spec = vg.MLP(depth=3, width=16, activation="linear", init="lsuv", out_features=2)
    state = spec.init(dtype="float64").state_dict()
    tripled = {name: 3 * value for name, value in state.items()}
    p, q = (vg.probe(vg.Network.from_state_dict(spec, numbers), seeds=2) for numbers in (state, tripled))
    # Unit variance on the samples that they were drawn with, whose mean is about 0; on others nearly so.
    np.testing.assert_allclose(p.z_rms[0], 1, rtol=1e-3)
    assert (np.abs(p.z_rms[1] - 1) > 1e-3).all()
    np.testing.assert_allclose(q.z_rms / p.z_rms, [[3, 9, 27]] * 2, rtol=1e-12)
    np.testing.assert_allclose(q.delta_rms / p.delta_rms, [[27, 9, 3]] * 2, rtol=1e-12)


def test_a_unit_is_saturated_by_the_slope_that_it_has_learned() -> None:
    # One side of this prelu gets a slope of 300, and the other side's 1 is below a hundredth of that.
    spec = vg.MLP(depth=2, width=8, activation="prelu")
    state = spec.init().state_dict()
    assert not vg.probe(vg.Network.from_state_dict(spec, state), seeds=1).saturated.any()
    state["activations.0.weight"][:] = 300
    p = vg.probe(vg.Network.from_state_dict(spec, state), x=X[:, :8], seeds=1)
    positive = X[:, :8].astype("float32") @ state["layers.0.weight"].T > 0
    assert p.saturated[0].tolist() == [positive.mean(), 0]


def test_biases_that_are_given_count() -> None:
    # This net is drawn without any, and may carry an exponent only as long as it has none.
    spec = vg.MLP(depth=30, width=1, activation="relu", init="constant(1e-3)")
    state = spec.init().state_dict()
    assert vg.probe(vg.Network.from_state_dict(spec, state), x=[[1.0]], seeds=1).log10_z_rms[0, -1] < -80
    state["layers.29.bias"][:] = 0.25
    p = vg.probe(vg.Network.from_state_dict(spec, state), x=[[1.0]], seeds=1)
    assert p.z_rms[0, -1] == pytest.approx(0.25, rel=1e-12)


def test_a_probe_leaves_the_net_as_it_is() -> None:
    net = SPEC.init()
    before = {name: value.copy() for name, value in net.state_dict().items()}
    vg.probe(net, x=X, seeds=3)
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


# Dtypes and what is refused


def test_the_dtype_is_the_networks() -> None:
    for dtype in ("float32", "float64"):
        net = SPEC.init(dtype=dtype)
        named: Any
        for named in (dtype, np.dtype(dtype), getattr(np, dtype)):
            assert bits(vg.probe(net, dtype=named)) == bits(vg.probe(net))
        assert vg.probe(net, seeds=1).dtype == dtype
    assert vg.probe(SPEC, seeds=1).dtype == "float32"


@pytest.mark.parametrize(("own", "other"), [("float32", "float64"), ("float64", "float32")])
def test_another_dtype_than_the_networks_is_refused(own: str, other: str) -> None:
    message = (
        f"dtype must be the network's, '{own}', got '{other}'; leave it out, or make the network anew in the dtype"
    )
    with pytest.raises(ValueError, match=message):
        vg.probe(SPEC.init(dtype=own), dtype=other)


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"dtype": "float16"}, ValueError, "dtype must be 'float32' or 'float64', got 'float16'"),
        ({"seeds": 0}, ValueError, "seeds must be an integer from 1 to .*, got 0"),
        ({"x": X[:, :3]}, ValueError, r"x must be of shape .*= \(batch, 16\), got \(12, 3\)"),
        ({"x": X, "y": X, "loss": "mse"}, ValueError, r"y must be of shape .*= \(12, 3\), got \(12, 16\)"),
        ({"x": X, "loss": "mse"}, ValueError, "loss='mse' needs targets; give y"),
    ],
)
def test_bad_arguments_are_refused_by_name(kwargs: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        vg.probe(SPEC.init(), **kwargs)


def test_a_batch_that_a_net_cannot_take_is_refused() -> None:
    with pytest.raises(ValueError, match="norm='batch' needs a batch of at least 2 samples, got 1"):
        vg.probe(SPEC.replace(norm="batch").init(), batch=1)
    fed = vg.MLP(depth=4, width=8, in_features=3, tied=True, inputs="every").init()
    with pytest.raises(
        ValueError, match=r"x must be of shape \(batch, depth, in_features\) = \(batch, 4, 3\), or flat"
    ):
        vg.probe(fed, x=X)


def test_a_probe_beyond_memory_is_refused_before_anything_is_allocated() -> None:
    # The passes over 10^6 samples keep 300 layers of 100 numbers of 4 bytes of each, and as many slopes.
    net = vg.MLP(depth=300, width=100).init()
    with pytest.raises(MemoryError, match=r"needs 2\d{11} bytes .*available; lower depth, width, batch or seeds"):
        vg.probe(net, batch=10**6)
