"""A net with its numbers: drawing, state dicts, outputs, gradients on a caller's data, and what is refused."""

import math
import pickle
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

import vgcore as vg
from strategies import EVERY_ACTIVATION, INITS

Array: TypeAlias = npt.NDArray[Any]

SPEC = vg.MLP(depth=3, width=(6, 5, 7), in_features=4, out_features=2, activation="tanh", init="lecun_normal")
X: Array = np.random.default_rng(0).standard_normal((8, 4))
COTANGENT: Array = np.random.default_rng(1).standard_normal((8, 2))


def arrays(gradients: vg.Gradients) -> list[Array]:
    return [*gradients.weights, *gradients.biases, *gradients.preactivations, gradients.input]


def with_value(value: float, dtype: str = "float64") -> Array:
    x = X.astype(dtype)
    x[1, 2] = value
    return x


# Drawing


def test_the_same_seed_draws_the_same_numbers_and_another_one_others() -> None:
    a, b, c = (SPEC.init(seed=seed).state_dict() for seed in (7, 7, 8))
    for key in a:
        np.testing.assert_array_equal(a[key], b[key])
        assert "bias" in key or (a[key] != c[key]).all()


def test_the_default_seed_is_zero_and_the_default_dtype_float32() -> None:
    net = SPEC.init()
    assert net.dtype == "float32"
    assert net.spec == SPEC
    np.testing.assert_array_equal(net.state_dict()["readout.weight"], SPEC.init(seed=0).state_dict()["readout.weight"])


@pytest.mark.parametrize("init", [init for init in INITS if init not in {"fixup", "depth_mup"}])
def test_a_layers_numbers_do_not_depend_on_depth(init: str) -> None:
    shallow = vg.MLP(depth=3, width=8, out_features=2, init=init, bias="normal").init(seed=3).state_dict()
    deep = vg.MLP(depth=9, width=8, out_features=2, init=init, bias="normal").init(seed=3).state_dict()
    assert len(shallow) == 8
    for key, values in shallow.items():
        # A calibrated readout is scaled by what reaches it.
        if (init, key) != ("lsuv", "readout.weight"):
            np.testing.assert_array_equal(values, deep[key])


def test_a_layers_numbers_do_not_depend_on_other_layers_or_the_activation() -> None:
    one = vg.MLP(depth=3, width=(8, 8, 4), activation="relu", init="lecun_normal").init(seed=3).state_dict()
    other = vg.MLP(depth=3, width=(8, 8, 9), activation="tanh", init="lecun_normal").init(seed=3).state_dict()
    for key in ("layers.0.weight", "layers.1.weight"):
        np.testing.assert_array_equal(one[key], other[key])


@pytest.mark.parametrize("init", INITS)
def test_both_dtypes_draw_the_same_net(init: str) -> None:
    # float32 uniforms are on a grid of 2^-32, so u is off by up to 2^-33 = 1.2e-10; where u is near 0 the normal
    # sqrt(-2 ln u) moves by that over u, u > 1e-4 or so for these 2200 pairs. Rounding to float32 is 6e-8 relative.
    spec = vg.MLP(depth=2, width=64, in_features=6, init=init, bias="normal")
    single, double = (spec.init(seed=1, dtype=dtype).state_dict() for dtype in ("float32", "float64"))
    for key, values in double.items():
        assert values.dtype == "float64"
        assert single[key].dtype == "float32"
        np.testing.assert_allclose(single[key], values, rtol=2e-7, atol=2e-6)
        # Those have no numbers that float32 would round.
        assert init in {"zeros", "ones", "eye", "constant(value=1)"} or (single[key] != values).any()


@pytest.mark.parametrize("seed", [0, 2**63, 2**64 - 1])
def test_every_seed_of_64_bits_is_its_own_net(seed: int) -> None:
    weight = SPEC.init(seed=seed).state_dict()["layers.0.weight"]
    assert np.isfinite(weight).all()
    assert (weight != SPEC.init(seed=seed ^ 2**32).state_dict()["layers.0.weight"]).all()


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"seed": -1}, ValueError, "seed must be an integer from 0 to 18446744073709551615, got -1"),
        (
            {"seed": 2**64},
            ValueError,
            "seed must be an integer from 0 to 18446744073709551615, got 18446744073709551616",
        ),
        ({"seed": 1.5}, TypeError, "seed must be an integer, got 1.5"),
        ({"seed": "0"}, TypeError, "seed must be an integer, got '0'"),
        ({"dtype": "float16"}, ValueError, "dtype must be 'float32' or 'float64', got 'float16'"),
        ({"dtype": "double precision"}, ValueError, "dtype must be 'float32' or 'float64', got 'double precision'"),
    ],
)
def test_a_bad_draw_is_refused(kwargs: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        SPEC.init(**kwargs)


def test_weights_beyond_memory_are_refused_before_anything_is_allocated() -> None:
    # 10^6 layers of 10^12 weights and 10^6 biases of 4 bytes: 4e18 + 4e12 bytes.
    with pytest.raises(MemoryError, match=r"needs 4000\d{15} bytes .*available; lower depth or width"):
        vg.MLP(depth=10**6, width=10**6).init()


# State dicts


def test_a_state_dict_has_torchs_keys_and_shapes() -> None:
    shapes = {key: values.shape for key, values in SPEC.init().state_dict().items()}
    assert shapes == {
        "layers.0.weight": (6, 4),
        "layers.0.bias": (6,),
        "layers.1.weight": (5, 6),
        "layers.1.bias": (5,),
        "layers.2.weight": (7, 5),
        "layers.2.bias": (7,),
        "readout.weight": (2, 7),
        "readout.bias": (2,),
    }
    bare = vg.MLP(depth=2, width=3).init().state_dict()
    assert list(bare) == ["layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias"]


def test_a_state_dict_is_a_copy() -> None:
    net = SPEC.init()
    before = net.forward(X)
    for values in net.state_dict().values():
        values[...] = 9
    np.testing.assert_array_equal(net.forward(X), before)


def test_a_net_copies_the_numbers_that_it_is_given() -> None:
    state = SPEC.init().state_dict()
    net = vg.Network.from_state_dict(SPEC, state)
    before = net.forward(X)
    for values in state.values():
        values[...] = 9
    np.testing.assert_array_equal(net.forward(X), before)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("again", [lambda n: pickle.loads(pickle.dumps(n)), lambda n: (n.spec, n.state_dict())])
def test_numbers_survive_a_round_trip(dtype: str, again: Callable[[Any], Any]) -> None:
    net = SPEC.init(seed=2, dtype=dtype)
    other = again(net)
    if isinstance(other, tuple):
        other = vg.Network.from_state_dict(*other)
    assert other.dtype == dtype
    assert other.spec == SPEC
    for key, values in net.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[key], values)
    np.testing.assert_array_equal(other.forward(X), net.forward(X))


def test_given_arrays_make_a_float32_net_only_if_all_are_float32() -> None:
    state = SPEC.init().state_dict()
    assert vg.Network.from_state_dict(SPEC, state).dtype == "float32"
    mixed = {**state, "layers.0.bias": state["layers.0.bias"].astype("float64")}
    assert vg.Network.from_state_dict(SPEC, mixed).dtype == "float64"
    lists = {key: values.tolist() for key, values in state.items()}
    assert vg.Network.from_state_dict(SPEC, lists).dtype == "float64"


def test_a_square_weight_is_never_taken_for_its_transpose() -> None:
    weight = np.array([[1.0, 2.0], [30.0, 40.0]])
    spec = vg.MLP(depth=1, width=2, activation="linear")
    net = vg.Network.from_state_dict(spec, {"layers.0.weight": weight, "layers.0.bias": np.array([0.5, 0.25])})
    x = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, -1.0]])
    np.testing.assert_array_equal(net.forward(x), x @ weight.T + [0.5, 0.25])
    gradients = net.backward(x, np.ones((3, 2)))
    np.testing.assert_array_equal(gradients.input, np.ones((3, 2)) @ weight)
    np.testing.assert_array_equal(gradients.weights[0], np.ones((2, 3)) @ x)


@pytest.mark.parametrize(
    "laid_out", [np.asfortranarray, lambda a: np.repeat(a, 2, axis=0)[::2], lambda a: a[::-1][::-1]]
)
def test_given_weights_may_lie_in_memory_as_they_like(laid_out: Callable[[Array], Array]) -> None:
    net = SPEC.init()
    state = {key: laid_out(values) for key, values in net.state_dict().items()}
    np.testing.assert_array_equal(vg.Network.from_state_dict(SPEC, state).forward(X), net.forward(X))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"layers.1.bias": None}, ValueError, r"lacks 'layers\.1\.bias'"),
        ({"readout.weight": None}, ValueError, r"lacks 'readout\.weight'"),
        ({"layers.3.weight": np.ones((7, 7))}, ValueError, r"unknown key .*'layers\.3\.weight'"),
        ({"layer.0.weight": np.ones((7, 7))}, ValueError, r"'layer\.0\.weight'.*layers\.0\.weight, "),
        (
            {"layers.0.weight": np.ones((4, 6))},
            ValueError,
            r"layers\.0\.weight must be of shape \(6, 4\), got \(4, 6\)",
        ),
        ({"readout.weight": np.ones((7, 2))}, ValueError, r"readout\.weight must be of shape \(2, 7\), got \(7, 2\)"),
        ({"layers.0.weight": np.ones(24)}, ValueError, r"layers\.0\.weight must be of shape \(6, 4\), got \(24,\)"),
        ({"layers.0.bias": np.ones((6, 1))}, ValueError, r"layers\.0\.bias must be of shape \(6,\), got \(6, 1\)"),
        ({"layers.0.bias": 1.0}, ValueError, r"layers\.0\.bias must be of shape \(6,\), got \(\)"),
        ({"layers.0.bias": np.full(6, np.nan)}, ValueError, r"layers\.0\.bias must be finite"),
        ({"layers.0.weight": np.full((6, 4), np.inf)}, ValueError, r"layers\.0\.weight must be finite"),
        (
            {"layers.0.bias": np.ones(6, complex)},
            TypeError,
            r"layers\.0\.bias must .* real numbers, got dtype complex128",
        ),
        ({"layers.0.bias": np.array(["a"] * 6)}, TypeError, r"layers\.0\.bias must .* real numbers, got dtype <U1"),
        ({1: np.ones(6)}, TypeError, "key of state_dict must be a string, got 1"),
    ],
)
def test_a_state_dict_that_is_not_the_nets_is_refused(
    change: dict[Any, Any], error: type[Exception], message: str
) -> None:
    changed = {**SPEC.init().state_dict(), **change}
    state = {key: values for key, values in changed.items() if values is not None}
    with pytest.raises(error, match=message):
        vg.Network.from_state_dict(SPEC, state)


# Forward and backward, against a NumPy computation that is written out


def by_hand(net: vg.Network, x: Array, cotangent: Array) -> tuple[Array, list[Array], list[Array], list[Array], Array]:
    """Output, dL/dz, dL/dW, dL/db and dL/dx of a tanh net with a readout."""
    state = net.state_dict()
    hs = [x]
    for l in range(net.spec.depth):
        hs.append(np.tanh(hs[-1] @ state[f"layers.{l}.weight"].T + state[f"layers.{l}.bias"]))
    y = hs[-1] @ state["readout.weight"].T + state["readout.bias"]
    weights, biases = [cotangent.T @ hs[-1]], [cotangent.sum(axis=0)]
    deltas: list[Array] = []
    back = cotangent @ state["readout.weight"]
    for l in reversed(range(net.spec.depth)):
        delta = back * (1 - hs[l + 1] ** 2)
        deltas.insert(0, delta)
        weights.insert(0, delta.T @ hs[l])
        biases.insert(0, delta.sum(axis=0))
        back = delta @ state[f"layers.{l}.weight"]
    return y, deltas, weights, biases, back


def test_a_pass_is_the_one_on_paper() -> None:
    net = SPEC.replace(bias="normal").init(seed=4, dtype="float64")
    y, deltas, weights, biases, dx = by_hand(net, X, COTANGENT)
    gradients = net.backward(X, COTANGENT)
    # Sums of at most 8 terms in another order, through 4 layers.
    np.testing.assert_allclose(net.forward(X), y, rtol=1e-12, atol=1e-14)
    for got, expected in zip(arrays(gradients), [*weights, *biases, *deltas, dx], strict=True):
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-14)
    assert gradients.loss is None


def test_without_a_readout_the_last_hidden_output_comes_out() -> None:
    net = vg.MLP(depth=2, width=(5, 3), in_features=4, activation="sigmoid", init="lecun_normal").init(dtype="float64")
    state = net.state_dict()
    h = X
    for l in range(2):
        h = 1 / (1 + np.exp(-(h @ state[f"layers.{l}.weight"].T + state[f"layers.{l}.bias"])))
    np.testing.assert_allclose(net.forward(X), h, rtol=1e-13)
    gradients = net.backward(X, np.ones((8, 3)))
    assert [w.shape for w in gradients.weights] == [(5, 4), (3, 5)]
    np.testing.assert_allclose(gradients.preactivations[-1], h * (1 - h), rtol=1e-13)


@pytest.mark.parametrize("loss", ["mse", "half_mse", "cross_entropy"])
def test_a_loss_is_its_formula_and_starts_the_backward_pass_with_its_gradient(loss: str) -> None:
    net = SPEC.init(seed=4, dtype="float64")
    y = net.forward(X)
    ids = np.array([0, 1, 1, 0, 0, 0, 1, 0])
    t = COTANGENT
    exp = np.exp(y - y.max(axis=1, keepdims=True))
    softmax = exp / exp.sum(axis=1, keepdims=True)
    value, cotangent, target = {
        "mse": (((y - t) ** 2).mean(), 2 * (y - t) / y.size, t),
        "half_mse": (((y - t) ** 2).sum() / 2 / 8, (y - t) / 8, t),
        "cross_entropy": (-np.log(softmax[np.arange(8), ids]).mean(), (softmax - np.eye(2)[ids]) / 8, ids),
    }[loss]
    got = net.gradients(X, target, loss=loss)
    assert got.loss == pytest.approx(value, rel=1e-13)
    # The one rounding of the cotangent passes 4 layers of sums.
    for a, b in zip(arrays(got), arrays(net.backward(X, cotangent)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-15)


def test_class_ids_may_be_of_any_integer_dtype() -> None:
    net = SPEC.init(dtype="float64")
    ids = [0, 1, 1, 0, 0, 0, 1, 0]
    expected = net.gradients(X, ids, loss="cross_entropy")
    for dtype in ("int8", "uint8", "int32", ">i4", "uint64"):
        got = net.gradients(X, np.array(ids, dtype), loss="cross_entropy")
        assert got.loss == expected.loss
        np.testing.assert_array_equal(got.input, expected.input)


def test_cross_entropy_of_a_single_output_is_zero() -> None:
    net = SPEC.replace(out_features=1).init()
    got = net.gradients(X, [0] * 8, loss="cross_entropy")
    assert got.loss == 0
    assert not got.input.any()


def test_outputs_and_gradients_have_the_nets_dtype() -> None:
    for dtype in ("float32", "float64"):
        net = SPEC.init(dtype=dtype)
        assert net.forward(X).dtype == dtype
        assert {a.dtype for a in arrays(net.backward(X, COTANGENT))} == {np.dtype(dtype)}


def test_gradients_are_true_values_that_end_where_the_dtype_ends() -> None:
    # Identity nets: every layer multiplies by the constant, forward and back.
    for constant, end in ((1e-30, 0.0), (1e30, np.inf)):
        net = vg.MLP(depth=3, width=1, activation="linear", init=vg.Init("constant", value=constant)).init()
        got = net.backward([[1.0]], [[1.0]])
        assert got.input.item() == end
        np.testing.assert_allclose(got.preactivations[1].item(), constant, rtol=1e-6)


# Skips


@pytest.mark.parametrize(("branch_scale", "factor"), [(1.0, 1.0), (0.3, 0.3), ("1/sqrt(L)", 1 / math.sqrt(3))])
@pytest.mark.parametrize("in_features", [5, 4])
def test_a_residual_block_adds_its_input_to_its_scaled_branch(
    branch_scale: float | str, factor: float, in_features: int
) -> None:
    spec = vg.MLP(
        depth=6,
        width=5,
        in_features=in_features,
        activation="tanh",
        skip="residual",
        branch_scale=branch_scale,
        block=2,
    )
    net = spec.init(seed=1, dtype="float64")
    state = net.state_dict()
    x = np.random.default_rng(3).standard_normal((7, in_features))
    hs, kept = [x], []
    for l in range(6):
        a = np.tanh(hs[-1] @ state[f"layers.{l}.weight"].T)
        # A first block that changes the width has no skip, and its output no factor.
        skips = l % 2 == 1 and (l > 1 or in_features == 5)
        kept.append((skips, 1 - a**2))
        hs.append(hs[l - 1] + factor * a if skips else a)
    np.testing.assert_allclose(net.forward(x), hs[-1], rtol=1e-12, atol=1e-13)

    cotangent = np.random.default_rng(4).standard_normal((7, 5))
    got = net.backward(x, cotangent)
    dhs = [np.zeros_like(h) for h in hs]
    dhs[-1] = cotangent
    for l in reversed(range(6)):
        skips, slope = kept[l]
        delta = dhs[l + 1] * (factor if skips else 1) * slope
        if skips:
            dhs[l - 1] = dhs[l - 1] + dhs[l + 1]
        dhs[l] = dhs[l] + delta @ state[f"layers.{l}.weight"]
        np.testing.assert_allclose(got.preactivations[l], delta, rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(got.weights[l], delta.T @ hs[l], rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(got.input, dhs[0], rtol=1e-11, atol=1e-13)


def test_a_branch_of_scale_zero_passes_signals_bit_for_bit() -> None:
    net = vg.MLP(depth=8, width=4, activation="tanh", skip="residual", branch_scale=0, block=2).init()
    x = X.astype("float32")
    cotangent = X[::-1].astype("float32")
    np.testing.assert_array_equal(net.forward(x), x)
    got = net.backward(x, cotangent)
    np.testing.assert_array_equal(got.input, cotangent)
    assert not any(w.any() for w in got.weights)


# Memory layouts


@pytest.mark.parametrize(
    "laid_out",
    [
        np.asfortranarray,
        lambda a: np.repeat(np.repeat(a, 2, axis=0), 3, axis=1)[::2, ::3],
        lambda a: np.ascontiguousarray(a[::-1, ::-1])[::-1, ::-1],
        lambda a: a.astype(a.dtype.newbyteorder()),
        lambda a: a.tolist(),
        lambda a: np.broadcast_to(a, (2, *a.shape))[1],
        # Its numbers begin at an odd address.
        lambda a: np.frombuffer(b"-" + a.tobytes(), "uint8")[1:].view(a.dtype).reshape(a.shape),
        np.ma.masked_array,
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_layout_of_an_array_changes_no_bit(laid_out: Callable[[Array], Any], dtype: str) -> None:
    net = SPEC.init(dtype=dtype)
    plain, start = X.astype(dtype), COTANGENT.astype(dtype)
    np.testing.assert_array_equal(net.forward(laid_out(plain)), net.forward(plain))
    expected = arrays(net.backward(plain, start))
    for a, b in zip(arrays(net.backward(laid_out(plain), laid_out(start))), expected, strict=True):
        np.testing.assert_array_equal(a, b)
    expected = arrays(net.gradients(plain, start, loss="mse"))
    for a, b in zip(arrays(net.gradients(laid_out(plain), laid_out(start), loss="mse")), expected, strict=True):
        np.testing.assert_array_equal(a, b)


# The first is what a call does on the caller's thread, the second what it does on threads of its own.
SHORT, LONG = (16, 16), (16 * 700, 16)


@pytest.mark.parametrize("part", [{}, {"skip": "residual"}, {"tied": True}, {"norm": "layer"}, {"activation": "gelu"}])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_short_call_has_the_bits_of_a_long_one(part: dict[str, Any], dtype: str) -> None:
    net = vg.MLP(depth=4, width=16, **part).init(seed=3, dtype=dtype)
    # The same rows again and again: the sizes that numbers are scaled by stay what they are.
    x, cotangent = (np.resize(np.random.default_rng(seed).standard_normal(SHORT), LONG) for seed in (0, 1))
    rows = slice(SHORT[0])
    np.testing.assert_array_equal(net.forward(x[rows]), net.forward(x)[rows])
    short, long = net.backward(x[rows], cotangent[rows]), net.backward(x, cotangent)
    for a, b in zip([short.input, *short.preactivations], [long.input, *long.preactivations], strict=True):
        np.testing.assert_array_equal(a, b[rows])


@pytest.mark.parametrize("rows", [SHORT[0], LONG[0]])
def test_the_number_of_threads_changes_no_bit(rows: int) -> None:
    net = vg.MLP(depth=6, width=40, out_features=2).init()
    x, y = (np.random.default_rng(0).standard_normal((rows, columns)) for columns in (40, 2))

    def everything(threads: int | None) -> list[Array]:
        of_cotangent, of_loss = net.backward(x, y, threads=threads), net.gradients(x, y, loss="mse", threads=threads)
        return [net.forward(x, threads=threads), *arrays(of_cotangent), *arrays(of_loss)]

    one, *others = map(everything, (1, 2, 4, None))
    for other in others:
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("call", ["forward", "backward", "gradients"])
@pytest.mark.parametrize(
    ("threads", "error", "message"),
    [
        (0, ValueError, "threads must be an integer from 1 to .*, got 0"),
        (10**9, ValueError, "threads must be an integer from 1 to .*, got 1000000000"),
        (1.5, TypeError, "threads must be an integer, got 1.5"),
        ("2", TypeError, "threads must be an integer, got '2'"),
    ],
)
def test_a_bad_number_of_threads_is_refused(call: str, threads: Any, error: type[Exception], message: str) -> None:
    arguments: dict[str, Any] = {"forward": {}, "backward": {"cotangent": COTANGENT}, "gradients": {"loss": "mse"}}
    with pytest.raises(error, match=message):
        getattr(SPEC.init(), call)(X, threads=threads, **arguments[call])


@pytest.mark.parametrize("depth", [2, 5000])
def test_what_the_work_itself_refuses_is_the_same_in_a_short_call_and_a_long_one(depth: int) -> None:
    net = vg.MLP(depth=depth, width=4, norm="batch", init="zeros").init()
    for call in (net.forward, lambda x: net.backward(x, x), lambda x: vg.probe(net, x=x, seeds=1)):
        with pytest.raises(ValueError, match=r"^norm='batch.*' needs a batch of at least 2 samples, got 1: one sample"):
            call(np.ones((1, 4)))


@pytest.mark.parametrize("width", [4, 300])
def test_every_gradient_is_an_array_of_its_own(width: int) -> None:
    net = vg.MLP(depth=2, width=width).init()
    x: Array = np.random.default_rng(0).standard_normal((5, width))
    found, again = arrays(net.backward(x, x)), arrays(net.backward(x, x))
    for i, a in enumerate(found):
        assert a.flags.c_contiguous
        assert not any(np.shares_memory(a, b) for b in found[:i])
        a[...] = 7
    for a, b in zip(again, arrays(net.backward(x, x)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_arrays_are_only_read() -> None:
    net = SPEC.init(dtype="float64")
    x, cotangent, ids = X.copy(), COTANGENT.copy(), np.zeros(8, int)
    for array in (x, cotangent, ids):
        array.setflags(write=False)
    net.forward(x)
    net.backward(x, cotangent)
    net.gradients(x, ids, loss="cross_entropy")
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(cotangent, COTANGENT)


@pytest.mark.parametrize("dtype", ["int8", "uint64", "float16", "bool"])
def test_numbers_of_any_real_dtype_are_taken(dtype: str) -> None:
    net = SPEC.init(dtype="float64")
    x = (X > 0).astype(dtype)
    np.testing.assert_array_equal(net.forward(x), net.forward(x.astype("float64")))


def test_a_row_does_not_depend_on_the_rows_beside_it() -> None:
    # Another number of rows may take another path through the kernel, which may add in another order: 4 layers of
    # sums over at most 7 terms.
    net = SPEC.init(dtype="float64")
    many = np.random.default_rng(5).standard_normal((67, 4))
    together = net.forward(many)
    for i, row in enumerate(many):
        np.testing.assert_allclose(net.forward(row[None])[0], together[i], rtol=1e-12, atol=1e-14)


# What is refused

BAD_X: list[tuple[Any, type[Exception], str]] = [
    (with_value(np.nan), ValueError, r"x must be finite in float32, but x\[1, 2\]"),
    (with_value(-np.inf), ValueError, r"x must be finite in float32, but x\[1, 2\]"),
    (with_value(1e300), ValueError, r"x must be finite in float32, but x\[1, 2\] .* beyond its range"),
    (with_value(np.nan, "float32"), ValueError, r"x must be finite in float32, but x\[1, 2\]"),
    (with_value(np.nan, "float16"), ValueError, r"x must be finite in float32, but x\[1, 2\]"),
    (X[0], ValueError, r"x must be of shape \(batch, in_features\).*got .*4"),
    (X[None], ValueError, r"x must be of shape \(batch, in_features\).*got .*1, 8, 4"),
    (np.array(1.0), ValueError, r"x must be of shape \(batch, in_features\)"),
    (X[:, :3], ValueError, r"x must be of shape \(batch, in_features\) = \(batch, 4\), got \(8, 3\)"),
    (X[:0], ValueError, r"x must be a batch of at least one sample, got shape \(0, 4\)"),
    (X.astype(complex), TypeError, "x must be an array of real numbers, got dtype complex128"),
    (X.astype(object), TypeError, "x must be an array of real numbers, got dtype object"),
    (X.astype(str), TypeError, "x must be an array of real numbers, got dtype <U"),
    (X.astype(bytes), TypeError, "x must be an array of real numbers, got dtype .S"),
    (np.zeros((8, 4), "M8[s]"), TypeError, r"x must be an array of real numbers, got dtype datetime64"),
    (np.zeros((8, 4), [("a", "f4")]), TypeError, "x must be an array of real numbers, got dtype "),
    ("abc", TypeError, "x must be an array of real numbers, got dtype <U3"),
    (None, TypeError, "x must be an array of real numbers, got dtype object"),
    ([[1.0, 2.0], [3.0]], ValueError, "x must be an array of numbers"),
]


@pytest.mark.parametrize(("x", "error", "message"), BAD_X)
def test_bad_samples_are_refused_by_every_call(x: Any, error: type[Exception], message: str) -> None:
    net = SPEC.init()
    with pytest.raises(error, match=message):
        net.forward(x)
    with pytest.raises(error, match=message):
        net.backward(x, COTANGENT)
    with pytest.raises(error, match=message):
        net.gradients(x, COTANGENT, loss="mse")


@pytest.mark.parametrize(
    ("cotangent", "error", "message"),
    [
        (np.ones((8, 3)), ValueError, r"cotangent must be of shape \(batch, .*\) = \(8, 2\), got \(8, 3\)"),
        (np.ones((7, 2)), ValueError, r"cotangent must be of shape \(batch, .*\) = \(8, 2\), got \(7, 2\)"),
        (np.ones(8), ValueError, r"cotangent must be of shape \(batch, .*\), got .*8"),
        (np.full((8, 2), np.nan), ValueError, r"cotangent must be finite .*cotangent\[0, 0\]"),
        (np.ones((8, 2), complex), TypeError, "cotangent must be an array of real numbers, got dtype complex128"),
    ],
)
def test_a_bad_cotangent_is_refused(cotangent: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        SPEC.init().backward(X, cotangent)


IDS = [0, 1, 1, 0, 0, 0, 1]


@pytest.mark.parametrize(
    ("y", "loss", "error", "message"),
    [
        ([*IDS, 2], "cross_entropy", ValueError, r"y\[7\] must be a class id below 2.*got 2"),
        ([*IDS, -1], "cross_entropy", ValueError, r"y\[7\] must be an integer from 0.*got -1"),
        (np.array([*IDS, 2**63], "u8"), "cross_entropy", ValueError, r"y\[7\] must be .*got 9223372036854775808"),
        ([*IDS, 1.5], "cross_entropy", ValueError, r"y must be class ids, whole numbers, .* y\[7\] is 1.5"),
        ([*IDS, "a"], "cross_entropy", TypeError, "y must be an array of integer class ids, got dtype <U"),
        (IDS, "cross_entropy", ValueError, r"y must be of shape \(8,\).*got \(7,\)"),
        ([[*IDS, 1]], "cross_entropy", ValueError, r"y must be of shape \(batch,\).*got .*1, 8"),
        (np.ones((8, 3)), "mse", ValueError, r"y must be of shape .*= \(8, 2\), got \(8, 3\)"),
        ([*IDS, 1], "half_mse", ValueError, r"y must be of shape \(batch, .*\), got .*8"),
        (np.full((8, 2), np.inf), "mse", ValueError, r"y must be finite .*y\[0, 0\]"),
        (np.full((8, 2), np.nan), "half_mse", ValueError, r"y must be finite .*y\[0, 0\]"),
        (None, "mse", ValueError, "loss='mse' needs targets; give y"),
        (COTANGENT, "output_sum", ValueError, "loss='output_sum' takes no targets; leave y out"),
        (np.ones((8, 2), object), "mse", TypeError, "y must be an array of real numbers, got dtype object"),
        (
            COTANGENT,
            "mes",
            ValueError,
            r"loss 'mes' \(did you mean 'mse'\?\).*mse, half_mse, mae, huber, cross_entropy",
        ),
        (None, None, ValueError, "gradients start from a loss: give y, or loss='output_sum'"),
        (COTANGENT, 3, TypeError, "loss must be .*3"),
    ],
)
def test_bad_targets_are_refused(y: Any, loss: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        SPEC.init().gradients(X, y, loss=loss)


def test_a_pass_beyond_memory_is_refused_before_anything_is_allocated() -> None:
    # The outputs of the first layer alone are 10^7 x 10^5 numbers of 4 bytes.
    net = vg.MLP(depth=2, width=(10**5, 1), in_features=1, init="zeros").init()
    with pytest.raises(MemoryError, match=r"needs \d{13,} bytes .*available; lower .*batch"):
        net.forward(np.ones((10**7, 1), "float32"))


# The gradient check


@pytest.mark.parametrize("skip", [None, *vg.SKIPS])
@pytest.mark.parametrize("activation", EVERY_ACTIVATION)
def test_gradients_agree_with_central_differences(activation: str, skip: str | None) -> None:
    spec = vg.MLP(
        depth=4, width=8, out_features=3, activation=activation, init="lecun_normal", bias="normal(std=0.1)", skip=skip
    )
    errors = vg.gradcheck(spec, seed=3)
    assert set(errors) == {*spec.init().state_dict(), "input"}
    assert max(errors.values()) < 1e-6


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"seed": -1}, "seed must be an integer from 0 to 18446744073709551615, got -1"),
        ({"batch": 0}, "batch must be an integer from 1 to .*, got 0"),
        ({"loss": "cross_entropi"}, "unknown loss 'cross_entropi' .did you mean 'cross_entropy'"),
    ],
)
def test_a_bad_gradient_check_is_refused(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        vg.gradcheck(SPEC, **kwargs)


@pytest.mark.parametrize("spec", ["tanh", None])
def test_what_is_no_spec_is_refused(spec: Any) -> None:
    with pytest.raises(TypeError, match=r"^spec must be "):
        vg.Network.from_state_dict(spec, {})
    with pytest.raises(TypeError, match=r"^spec must be "):
        vg.gradcheck(spec)


# Skips whose branch has another size


def test_a_branch_of_weight_0_leaves_the_skip_alone_however_large_it_is() -> None:
    spec = vg.MLP(depth=40, width=64, init="normal(std=8)", skip="residual", block=40, branch_scale=0.0)
    x = np.ones((1, 64))
    for dtype in ("float32", "float64"):
        net = spec.init(dtype=dtype)
        np.testing.assert_array_equal(net.forward(x), x)
        np.testing.assert_array_equal(net.backward(x, x).input, x)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_branch_that_dies_far_from_1_leaves_the_skip_alone(dtype: str) -> None:
    spec = vg.MLP(depth=4, width=3, init="zeros", skip="residual", block=4)
    state = {key: value.astype(dtype) for key, value in spec.init().state_dict().items()}
    for layer, gain in enumerate((1e30, 1e30, 1e30, -1.0)):
        state[f"layers.{layer}.weight"] = gain * np.eye(3, dtype=dtype)
    x = np.array([[1.0, 2.0, 3.0]])
    np.testing.assert_array_equal(vg.Network.from_state_dict(spec, state).forward(x), x)
    state["layers.0.weight"] *= 0  # now dL/dz of the first layer is huge, and nothing of it reaches x
    np.testing.assert_array_equal(vg.Network.from_state_dict(spec, state).backward(x, x).input, x)


@pytest.mark.parametrize("scale", [1e-100, 1e50])
def test_a_branch_scale_outside_float32_is_measured_as_in_float64(scale: float) -> None:
    spec = vg.MLP(depth=3, width=16, skip="residual", branch_scale=scale)
    single, double = (vg.probe(spec, seeds=2, dtype=dtype) for dtype in ("float32", "float64"))
    assert double.first_nonfinite.tolist() == [-1, -1]
    for name in ("log10_z_rms", "log10_a_rms", "log10_delta_rms", "log10_wgrad_norm"):
        assert np.isfinite(getattr(double, name)).all()
        np.testing.assert_allclose(getattr(single, name), getattr(double, name), rtol=0, atol=1e-3)


def test_a_sample_s_output_does_not_depend_on_a_far_larger_one_in_its_batch() -> None:
    net = vg.MLP(depth=6, width=4).init(seed=1)
    large, small = [1e30] * 4, [1e-3] * 4
    np.testing.assert_array_equal(net.forward([large, small])[1:], net.forward([small]))
    assert net.forward([small]).any()
