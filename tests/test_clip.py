"""Clipping: torch's formulas, what is promised beyond them, and its coefficients as columns of a probe."""

import math
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import vgcore as vg
from strategies import over_examples
from vgcore.measure.clip import log10_coef

Array = npt.NDArray[Any]

SPEC = vg.MLP(depth=2, width=(4, 3), in_features=5, out_features=2, activation="tanh", bias="normal(std=0.5)")
ENTRIES = st.floats(-1e6, 1e6) | st.sampled_from([0.0, 1e-30, -1e30, 1e-300, 1e200])
SHAPES = hnp.array_shapes(min_dims=1, max_dims=2, min_side=1, max_side=4)
TENSORS = st.lists(hnp.arrays(np.float64, SHAPES, elements=ENTRIES), min_size=1, max_size=4)
LIMITS = st.floats(0, 1e3) | st.sampled_from([1e-20, 1e20, math.inf])


def gradients(dtype: str = "float64", scale: float = 1.0) -> vg.Gradients:
    rng = np.random.default_rng(0)
    net = SPEC.init(seed=1, dtype=dtype)
    return net.backward(rng.standard_normal((6, 5)), scale * rng.standard_normal((6, 2)))


def parts(g: vg.Gradients) -> dict[str, Array]:
    """Weights and biases by the names of the state dict."""
    names = ["layers.0", "layers.1", "readout"]
    named = zip(names, g.weights, g.biases, strict=True)
    return {key: value for name, w, b in named for key, value in ((f"{name}.weight", w), (f"{name}.bias", b))}


def flat(tensors: Any) -> Array:
    return np.concatenate([np.ravel(tensor) for tensor in tensors])


# --- By global norm ------------------------------------------------------------------------------


def test_all_weights_and_biases_are_judged_by_one_norm() -> None:
    g = gradients()
    total = math.sqrt(sum(float((value**2).sum()) for value in parts(g).values()))
    clipped = vg.clip_grad_norm(g, total / 3)
    assert clipped.total == pytest.approx(total, rel=1e-14)
    assert clipped.coef == pytest.approx(total / 3 / (total + 1e-6), rel=1e-14)
    assert (clipped.fraction, clipped.nonfinite, clipped.layers) == (1.0, (), {})
    for name, value in parts(clipped.grads).items():
        np.testing.assert_array_equal(value, parts(g)[name] * clipped.coef)
    # What is no gradient of a parameter stays.
    assert clipped.grads.input is g.input
    assert clipped.grads.preactivations is g.preactivations


def test_a_result_unpacks_as_gradients_and_the_norm_before() -> None:
    clipped, total = vg.clip_grad_norm([np.array([3.0, 4.0])], 1.0)
    assert total == 5
    assert vg.get_total_norm(clipped) == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize("p", [0.5, 1.0, 2.0, 3.0, math.inf])
def test_any_norm_may_judge(p: float) -> None:
    tensors = [np.array([[1.0, -2.0], [0.5, 4.0]]), np.array([3.0])]
    every = np.abs(flat(tensors))
    expected = every.max() if p == math.inf else (every**p).sum() ** (1 / p)
    assert vg.get_total_norm(tensors, p) == pytest.approx(expected, rel=1e-14)
    clipped = vg.clip_grad_norm(tensors, 1.0, p)
    assert clipped.coef == pytest.approx(1 / (expected + 1e-6), rel=1e-14)
    assert vg.get_total_norm(clipped.grads, p) <= 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [1e-30, 1e-38, 1.0, 1e30, 1e37])
def test_norms_neither_overflow_nor_underflow(dtype: str, size: float) -> None:
    tensors = [(size * np.array([2.0, 3.0])).astype(dtype), (size * np.array([[6.0]])).astype(dtype)]
    exact = math.sqrt(sum((float(v) / size) ** 2 for tensor in tensors for v in tensor.ravel())) * size
    assert vg.get_total_norm(tensors) == pytest.approx(exact, rel=1e-14)
    clipped, _ = vg.clip_grad_norm(tensors, 1.0)
    assert vg.get_total_norm(clipped) == pytest.approx(min(1.0, exact), rel=1e-6)
    assert {tensor.dtype for tensor in clipped} == {np.dtype(dtype)}


def test_norms_reach_the_ends_of_float64() -> None:
    assert vg.get_total_norm([np.array([3e-320, 4e-320])]) == pytest.approx(5e-320, rel=1e-3)
    assert vg.get_total_norm([np.array([3e307]), np.array([[4e307]])]) == pytest.approx(5e307, rel=1e-15)
    assert vg.get_total_norm([np.zeros(3)]) == 0
    assert vg.get_total_norm({}) == 0


@over_examples
@given(tensors=TENSORS, limit=LIMITS)
def test_the_norm_after_is_at_most_the_limit_and_the_direction_stays(tensors: list[Array], limit: float) -> None:
    before = [tensor.copy() for tensor in tensors]
    clipped, total = vg.clip_grad_norm(tensors, limit)
    assert total == pytest.approx(vg.get_total_norm(tensors), rel=1e-15)
    assert vg.get_total_norm(clipped) <= limit * (1 + 1e-14)
    for old, kept, new in zip(tensors, before, clipped, strict=True):
        np.testing.assert_array_equal(old, kept)
        assert new.shape == old.shape
        assert not np.shares_memory(old, new)
        assert (np.sign(new) * np.sign(old) >= 0).all()
    if 0 < total <= limit / (1 + 1e-12) - 1e-6:
        np.testing.assert_array_equal(flat(clipped), flat(tensors))
    # What is clipped stays so, but for the 1e-6 that keeps it a little shorter than it may be.
    again, _ = vg.clip_grad_norm(clipped, limit * (1 + 1e-12) + 1e-6)
    np.testing.assert_array_equal(flat(again), flat(clipped))


@over_examples
@given(scale=st.floats(1e-3, 1e3), limit=LIMITS)
def test_every_kind_of_gradients_is_clipped_alike(scale: float, limit: float) -> None:
    g = gradients(scale=scale)
    named = parts(g)
    clips: list[Any] = [vg.clip_grad_norm, vg.clip_grad_value]
    for clip in clips:
        results = [clip(kind, limit) for kind in (g, named, list(named.values()))]
        of_net, of_dict, of_list = (result.grads for result in results)
        assert list(of_dict) == list(named)
        for name, value, other in zip(named, of_list, parts(of_net).values(), strict=True):
            np.testing.assert_array_equal(of_dict[name], value)
            np.testing.assert_array_equal(of_dict[name], other)
        assert len({(result.total, result.fraction, str(result.coef)) for result in results}) == 1


def test_per_layer_each_weight_and_its_bias_have_a_norm_of_their_own() -> None:
    named = {
        "a.weight": np.array([[3.0]]),
        "a.bias": np.array([4.0]),
        "b.c.weight": np.array([[0.1]]),
        "d": np.array([20.0]),
    }
    clipped = vg.clip_grad_norm(named, 1.0, per_layer=True)
    assert clipped.layers == {"a": 1 / (5 + 1e-6), "b.c": 1.0, "d": 1 / (20 + 1e-6)}
    assert (clipped.coef, clipped.fraction) == (1 / (20 + 1e-6), 2 / 3)
    assert clipped.total == pytest.approx(math.sqrt(425.01), rel=1e-15)
    np.testing.assert_array_equal(clipped.grads["a.bias"], [4 / (5 + 1e-6)])
    np.testing.assert_array_equal(clipped.grads["b.c.weight"], [[0.1]])
    assert list(vg.clip_grad_norm(gradients(), 1.0, per_layer=True).layers) == ["layers.0", "layers.1", "readout"]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_gradients_that_are_not_finite_are_left_and_named(bad: float) -> None:
    named = {"a.weight": np.array([[3.0, bad]]), "b.weight": np.array([[4.0]])}
    clipped = vg.clip_grad_norm(named, 1.0)
    assert (clipped.nonfinite, clipped.coef, clipped.fraction) == (("a.weight",), 1.0, 0.0)
    assert not math.isfinite(clipped.total)
    assert math.isnan(clipped.total) == math.isnan(bad)
    for name, value in named.items():
        np.testing.assert_array_equal(clipped.grads[name], value)
    # Layers that are finite are still clipped where each has its own norm.
    layers = vg.clip_grad_norm(named, 1.0, per_layer=True)
    assert (layers.nonfinite, layers.layers) == (("a.weight",), {"a": 1.0, "b": 1 / (4 + 1e-6)})
    with pytest.raises(ValueError, match=r"the norm of the gradients is (nan|inf), for a\.weight"):
        vg.clip_grad_norm(named, 1.0, error_if_nonfinite=True)


def test_an_infinite_limit_changes_nothing_even_for_infinite_gradients() -> None:
    g = [np.array([math.inf, 1e300]), np.array([-2.0])]
    clipped = vg.clip_grad_norm(g, math.inf)
    np.testing.assert_array_equal(flat(clipped.grads), flat(g))
    assert clipped.coef == 1


def test_a_limit_of_zero_leaves_zeros() -> None:
    assert not flat(vg.clip_grad_norm([np.array([3.0])], 0.0).grads).any()


# --- By value ------------------------------------------------------------------------------------


def test_entries_are_clamped_and_counted() -> None:
    g = [np.array([-3.0, 0.5, math.inf, math.nan]), np.array([[1.0]])]
    clipped = vg.clip_grad_value(g, 1.0)
    np.testing.assert_array_equal(clipped.grads[0], [-1.0, 0.5, 1.0, math.nan])
    np.testing.assert_array_equal(clipped.grads[1], [[1.0]])
    assert (clipped.fraction, clipped.nonfinite) == (2 / 5, ("0",))
    assert math.isnan(clipped.coef)
    np.testing.assert_array_equal(vg.clip_grad_value(g, math.inf).grads[0], g[0])


@over_examples
@given(tensors=TENSORS, limit=LIMITS)
def test_no_entry_is_left_beyond_the_limit(tensors: list[Array], limit: float) -> None:
    clipped = vg.clip_grad_value(tensors, limit)
    np.testing.assert_array_equal(flat(clipped.grads), np.clip(flat(tensors), -limit, limit))
    assert clipped.fraction == np.mean(np.abs(flat(tensors)) > limit)


# --- Adaptive ------------------------------------------------------------------------------------


def plain_adaptive(g: Array, w: Array, clipping: float, eps: float) -> Array:
    """Brock et al. 2021, eq. 3, unit by unit."""
    if g.ndim == 1:
        return plain_adaptive(g[None], w[None], clipping, eps).ravel()
    rows = []
    for row, weights in zip(g, w, strict=True):
        size, limit = np.linalg.norm(row), clipping * max(float(np.linalg.norm(weights)), eps)
        rows.append(row * limit / size if size > limit else row)
    return np.array(rows)


@pytest.mark.parametrize("clipping", [0.0, 0.01, 0.3, 100.0])
def test_units_are_clipped_by_their_weights(clipping: float) -> None:
    net, g = SPEC.init(seed=1, dtype="float64"), gradients()
    clipped = vg.clip_adaptive(g, net, clipping)
    state = net.state_dict()
    over = units = 0
    for name, value in parts(g).items():
        found = parts(clipped.grads)[name]
        if name.startswith("readout"):
            np.testing.assert_array_equal(found, value)
            continue
        np.testing.assert_allclose(found, plain_adaptive(value, state[name], clipping, 1e-3), rtol=1e-14)
        rows = np.atleast_2d(found != value)
        over, units = over + int(rows.any(axis=1).sum()), units + len(rows)
    assert clipped.fraction == over / units
    # By arrays and by names, the same.
    names = [name for name in state if not name.startswith("readout")]
    grads, params = [parts(g)[name] for name in names], [state[name] for name in names]
    in_order = vg.clip_adaptive(grads, params, clipping).grads
    for name, value in zip(names, in_order, strict=True):
        np.testing.assert_array_equal(value, parts(clipped.grads)[name])


def test_weights_of_zero_may_still_move() -> None:
    (g,) = vg.clip_adaptive([np.array([[3.0, 4.0]])], [np.zeros((1, 2))], 0.01, 1e-3).grads
    np.testing.assert_allclose(g, [[0.6e-5, 0.8e-5]], rtol=1e-14)


def test_a_unit_that_is_not_finite_is_left_and_its_tensor_named() -> None:
    g, w = np.array([[math.nan, 1.0], [3.0, 4.0]]), np.ones((2, 2))
    clipped = vg.clip_adaptive({"a.weight": g}, {"a.weight": w}, 0.1)
    np.testing.assert_array_equal(clipped.grads["a.weight"][0], g[0])
    assert np.linalg.norm(clipped.grads["a.weight"][1]) == pytest.approx(0.1 * math.sqrt(2), rel=1e-14)
    assert clipped.nonfinite == ("a.weight",)


def test_what_is_left_alone_is_the_callers_choice() -> None:
    net, g = SPEC.init(seed=1, dtype="float64"), gradients(scale=1e3)
    for skip, untouched in (((), []), (("readout", "layers.0.bias"), ["layers.0.bias", "readout.weight"])):
        clipped = parts(vg.clip_adaptive(g, net, skip=skip).grads)
        same = [name for name, value in parts(g).items() if np.array_equal(clipped[name], value)]
        assert set(untouched) <= set(same)
        assert len(same) == (3 if untouched else 0)


# --- Refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [-1.0, math.nan, -math.inf])
def test_a_bad_limit_is_refused(limit: float) -> None:
    g = [np.ones(2)]
    with pytest.raises(ValueError, match=r"max_norm must be a number of 0 or more, or inf, got (-|nan)"):
        vg.clip_grad_norm(g, limit)
    with pytest.raises(ValueError, match="clip_value must be a number of 0 or more"):
        vg.clip_grad_value(g, limit)
    with pytest.raises(ValueError, match="clipping must be a number of 0 or more"):
        vg.clip_adaptive(g, g, limit)
    with pytest.raises(ValueError, match="eps must be a number above 0"):
        vg.clip_adaptive(g, g, 0.01, limit)
    for call in (lambda: vg.clip_grad_norm(g, 1.0, limit), lambda: vg.get_total_norm(g, limit)):
        with pytest.raises(ValueError, match="norm_type must be a number above 0"):
            call()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: vg.get_total_norm(cast("Any", np.ones(3))),
            TypeError,
            r"must be a Gradients, a dict or a list.*\(ndarray\)",
        ),
        (lambda: vg.get_total_norm([np.array(["a"])]), TypeError, "'0' must be a number or an array of numbers.*<U1"),
        (lambda: vg.clip_adaptive([np.ones(2)], []), ValueError, r"hold '0' of shape \(2,\), got only nothing"),
        (lambda: vg.clip_adaptive([np.ones(2)], [np.ones(3)]), ValueError, r"shape \(2,\), got shape \(3,\)"),
        (lambda: vg.clip_adaptive(gradients(), {}, skip=["readuot"]), ValueError, "skip names readuot, .*readout"),
    ],
)
def test_what_is_no_gradient_is_refused(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


# --- As a column of a probe ----------------------------------------------------------------------


def with_total(log10_total: Any) -> Any:
    """A probe of which only the total norm is known."""
    probe: Any = SimpleNamespace(log10_total_grad_norm=np.asarray(log10_total, dtype=np.float64))
    probe.log10_clip_coef = lambda *args, **more: vg.Probe.log10_clip_coef(probe, *args, **more)
    return probe


@over_examples
@given(log10=st.floats(-290, 290), limit=st.floats(1e-9, 1e9))
def test_coefficients_from_logarithms_are_torchs(log10: float, limit: float) -> None:
    expected = min(1.0, limit / (10.0**log10 + 1e-6))
    (found,) = vg.Probe.clip_coef(with_total([log10]), limit)
    # A logarithm of size 290 is known to 6e-14.
    assert found == pytest.approx(expected, rel=1e-12)


def test_no_norm_is_too_large_or_small_for_its_coefficient() -> None:
    logs = np.array([-4000.0, -math.inf, 4000.0, 400.0, 0.0])
    np.testing.assert_allclose(log10_coef(logs, 0.1), [0, 0, -4001, -401, math.log10(0.1 / (1 + 1e-6))], rtol=1e-14)
    np.testing.assert_array_equal(vg.Probe.clip_coef(with_total(logs), 0.1)[:3], [1, 1, 0])
    np.testing.assert_array_equal(log10_coef(logs, math.inf), np.zeros(5))
    np.testing.assert_array_equal(log10_coef(logs, 0.0), np.full(5, -math.inf))
    np.testing.assert_allclose(10 ** log10_coef(np.array([-4000.0]), 1e-8), 1e-2)  # the 1e-6 alone is too much


def test_a_norm_that_is_not_finite_has_no_coefficient() -> None:
    assert np.isnan(log10_coef(np.array([math.nan, math.inf]), 1.0)).all()
    with pytest.raises(ValueError, match="max_norm must be a number of 0 or more"):
        log10_coef(np.zeros(1), -1.0)


def test_a_probes_coefficients_per_layer_are_those_of_its_gradients() -> None:
    x, y = np.random.default_rng(2).standard_normal((6, 5)), np.arange(6) % 2
    p = vg.probe(SPEC, x=x, y=y, loss="cross_entropy(reduction=sum)", seeds=2, dtype="float64")
    found = p.clip_coef(0.5, per_layer=True)
    assert found.shape == (2, 2)
    for seed, row in enumerate(found):
        g = SPEC.init(seed=seed, dtype="float64").gradients(x, y, loss="cross_entropy(reduction=sum)")
        layers = vg.clip_grad_norm(g, 0.5, per_layer=True).layers
        np.testing.assert_allclose(row, [layers["layers.0"], layers["layers.1"]], rtol=1e-12)
        assert row.min() < 1


def test_a_deep_nets_coefficients_per_layer_stay_in_range() -> None:
    p = vg.probe(vg.MLP(depth=3000, width=8, activation="linear", init="normal(std=3)"), seeds=1)
    logs = p.log10_clip_coef(1.0, per_layer=True)
    assert logs.min() < -1000
    np.testing.assert_allclose(logs, -np.maximum(p.log10_wgrad_norm, p.log10_bgrad_norm), atol=0.16)


@pytest.mark.parametrize("p", [499.0, 501.0, 1e4, 1e9])
def test_a_norm_of_a_high_power_is_nearly_the_largest_entry(p: float) -> None:
    for size in (1e-300, 1.0, 1e300):
        total = vg.get_total_norm([size * np.array([3.0, -4.0]), np.zeros(2)], p)
        assert total == pytest.approx(4 * size, rel=1e-12)
    assert vg.get_total_norm([np.array([1.0, np.inf])], p) == np.inf


def test_one_name_to_skip_needs_no_list() -> None:
    grads = {"layers.0.weight": np.ones((2, 2)), "readout.weight": np.ones((1, 2))}
    params = {name: np.zeros_like(grad) for name, grad in grads.items()}
    assert vg.clip_adaptive(grads, params, skip="readout").fraction == 1
    assert vg.clip_adaptive(grads, params, skip="layers.0").fraction == 1
    assert vg.clip_adaptive([np.zeros((0, 3))], [np.zeros((0, 3))]).fraction == 0
