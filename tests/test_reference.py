"""The NumPy twin against published numbers, central differences, and itself.

Some of what holds for the twin is shown in other files, through the core: test_parity.py compares the drawn numbers,
outputs, gradients and columns of both, and the gradients of the core with those of JAX and PyTorch. Published standard
deviations of inits are in test_init.py, and laws of drawn nets in facts/: angles of relu nets in test_mean_field.py,
logarithms of narrow ones in test_finite_width.py.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

import vgcore as vg
from rivals import TRUTH, mp
from vgcore import reference
from vgcore.reference import Scaled, Stream
from vgcore.reference.cases import PARTS, targets

# --- Random numbers ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_gives_the_known_answers_of_random123(counter: str, key: str, answer: str) -> None:
    low, high = (int(word, 16) for word in key.split())
    words = np.array([[int(word, 16)] for word in counter.split()])
    result = reference.philox(words, low | high << 32)
    assert [f"{word:08x}" for word in result[:, 0]] == answer.split()


def test_a_block_is_counted_by_index_layer_and_role_under_the_key_of_the_seed() -> None:
    seed = 0x299F31D0A4093822
    words = Stream(seed, role=2, layer=5).words(10, role=2)
    blocks = np.array([[0, 1, 2], [0, 0, 0], [5, 5, 5], [2, 2, 2]])
    assert (words == reference.philox(blocks, seed).T.ravel()[:10]).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_drawn_normals_have_the_moments_of_a_normal(dtype: str) -> None:
    n = Stream(7, reference.WEIGHT, 3, dtype).normal((1000, 1000))
    for power, (moment, variance) in {1: (0, 1), 2: (1, 2), 3: (0, 15), 4: (3, 96)}.items():
        assert abs((n**power).mean() - moment) < 5 * math.sqrt(variance / n.size)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_drawn_uniforms_fill_the_open_interval_evenly(dtype: str) -> None:
    u = Stream(7, reference.WEIGHT, 3, dtype).uniform((100_000,))
    counts, _ = np.histogram(u, bins=100, range=(0, 1))
    assert u.min() > 0
    assert ((counts - 1000) ** 2 / 1000).sum() < 99 + 5 * math.sqrt(2 * 99)


def test_a_uniform_has_32_bits_for_float32_and_21_more_from_the_companion_stream() -> None:
    high, low = (Stream(1, 3).words(10, role) for role in (3, 3 + 16))
    exact = [(int(h) * 2**21 + int(l) // 2**11 + 0.5) / 2**53 for h, l in zip(high, low, strict=True)]
    assert Stream(1, 3).uniform((2, 5)).ravel().tolist() == exact
    single = [(int(h) + 0.5) / 2**32 for h in high]
    assert Stream(1, 3, dtype="float32").uniform((2, 5)).ravel().tolist() == single


def test_normals_are_the_box_muller_pairs_of_the_uniforms() -> None:
    u = Stream(1, 3).uniform((6,))
    pairs = [
        math.sqrt(-2 * math.log(u[i])) * turn(2 * math.pi * u[i + 1])
        for i in (0, 2, 4)
        for turn in (math.cos, math.sin)
    ]
    np.testing.assert_allclose(Stream(1, 3).normal((5,)), pairs[:5], rtol=1e-14)


def test_streams_of_other_seeds_layers_and_roles_are_uncorrelated() -> None:
    streams = [Stream(0, 0), Stream(1, 0), Stream(1 << 32, 0), Stream(0, 0, 1), Stream(0, 1)]
    correlations = np.corrcoef([stream.normal((10_000,)) for stream in streams])
    assert np.abs(correlations - np.eye(len(streams))).max() < 5 / math.sqrt(10_000)


# --- Initial weights -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("init", "bias", "std"),
    [
        ("mean_field(sigma_b=0.3, gain=2)", None, 0.3),
        ("torch_default(gain=2)", None, 1 / math.sqrt(3 * 4)),
        ("kaiming_normal", "torch_default", 1 / math.sqrt(3 * 4)),
        ("mean_field(sigma_b=0.3)", "normal(std=2)", 2),
        ("torch_default", "zeros", 0),
        ("xavier_normal", None, 0),
        ("zeros", "constant(value=3, gain=2)", 0),
    ],
)
def test_biases_come_from_the_bias_init_or_the_init_or_are_zero(init: str, bias: str | None, std: float) -> None:
    spec = vg.MLP(depth=1, width=250_000, in_features=4, init=init, bias=bias)
    drawn = reference.init(spec)["layers.0.bias"]
    assert np.std(drawn) == pytest.approx(std, rel=0.01, abs=1e-15)
    assert drawn.mean() == pytest.approx(6 if bias and "constant" in bias else 0, abs=0.02)


@pytest.mark.parametrize(("fan_out", "fan_in"), [(7, 7), (12, 5), (5, 12), (1, 9)])
def test_orthogonal_weights_are_the_q_of_their_normals_with_a_positive_diagonal_of_r(fan_out: int, fan_in: int) -> None:
    spec = vg.MLP(depth=1, width=fan_out, in_features=fan_in, init="orthogonal(gain=2)")
    w = reference.init(spec, seed=3)["layers.0.weight"]
    q = w / 2 if fan_out >= fan_in else w.T / 2
    r = q.T @ Stream(3, reference.WEIGHT).normal(q.shape)
    assert w.shape == (fan_out, fan_in)
    assert np.abs(q.T @ q - np.eye(len(q.T))).max() < 1e-14
    assert np.abs(np.tril(r, -1)).max() < 1e-13
    assert (np.diag(r) > 0).all()


def test_every_tensor_has_a_stream_of_its_own() -> None:
    spec = vg.MLP(depth=2, width=5, out_features=3, init="normal", bias="normal")
    drawn = reference.init(spec, seed=9, dtype="float32")
    roles = {"layers.0": (0, 1, 0), "layers.1": (0, 1, 1), "readout": (4, 5, 0)}
    for name, (weight, bias, layer) in roles.items():
        for key, role in ((f"{name}.weight", weight), (f"{name}.bias", bias)):
            normals = Stream(9, role, layer, "float32").normal(drawn[key].shape)
            assert (drawn[key] == normals.astype(np.float32)).all()


@pytest.mark.parametrize("init", ["torch_default", "orthogonal"])
def test_a_layer_has_the_same_numbers_at_every_depth(init: str) -> None:
    shallow, deep = (
        reference.init(vg.MLP(depth=depth, width=8, out_features=3, init=init), seed=2**64 - 1) for depth in (2, 20)
    )
    assert shallow.keys() < deep.keys()
    assert all((shallow[key] == deep[key]).all() for key in shallow)


# --- Activations ---------------------------------------------------------------------------------

POINTS = (1e-8, 1e-3, 0.3, 1.0, 1.4, 3.1, 3.6, 8.0, 12.0, 19.0, 21.0, 40.0, 350.0, 700.0)


@cache
def derivatives(truth: Callable[[Any], Any], z: float) -> list[Any]:
    """A function, its slope and the change of the slope."""
    return [mp.diff(truth, z, order) for order in range(3)]


def test_every_activation_has_a_truth() -> None:
    assert {kind.partition("(")[0] for kind in TRUTH} == set(vg.ACTIVATIONS)


@pytest.mark.parametrize("kind", TRUTH)
def test_values_and_slopes_keep_fourteen_digits_into_the_tails(kind: str) -> None:
    z = np.array([-point for point in POINTS] + list(POINTS))
    for order, measured in enumerate(reference.activate(kind, z)):
        for point, value in zip(z, measured, strict=True):
            truth, change = derivatives(TRUTH[kind], float(point))[order : order + 2]
            tolerance = 1e-14 * abs(truth)
            # The rounding of an exponent or of an angle is multiplied.
            if kind.startswith(("gelu", "geglu", "erf", "sin", "snake")):
                tolerance = max(tolerance, 1e-15 * abs(point * change))
            assert abs(value - truth) <= max(tolerance, 1e-307), (point, value, float(truth))


@pytest.mark.parametrize("kind", TRUTH)
def test_values_and_slopes_are_finite_wherever_z_is(kind: str) -> None:
    assert np.isfinite(reference.activate(kind, np.array([-1e300, -1e160, 1e160, 1e300]))).all()


@pytest.mark.parametrize(
    ("kind", "z", "slope"),
    [
        ("relu", 0, 0),
        ("leaky_relu(negative_slope=0.2)", 0, 0.2),
        ("prelu", 0, 0.25),
        ("rrelu", 0, 11 / 48),
        ("elu(alpha=1.7)", 0, 1.7),
        ("celu(alpha=2)", 0, 1),
        ("selu", 0, 1.0507009873554805 * 1.6732632423543772),
        ("hardtanh", -1, 0),
        ("hardtanh", 1, 0),
        ("relu6", 0, 0),
        ("relu6", 6, 0),
        ("hardsigmoid", -3, 0),
        ("hardsigmoid", 3, 0),
        ("hardswish", -3, 0),
        ("hardswish", 3, 1),
        ("softshrink", 0.5, 0),
        ("hardshrink", -0.5, 0),
        ("threshold(threshold=0.5, value=2)", 0.5, 0),
        ("abs", 0, 0),
        ("softsign", 0, 1),
        ("softplus", 20.0, 1 / (1 + math.exp(-20))),
        ("softplus", math.nextafter(20, 21), 1),
    ],
)
def test_slopes_at_kinks_are_those_of_torch(kind: str, z: float, slope: float) -> None:
    assert reference.activate(kind, np.array([z], dtype=np.float64))[1] == slope


@pytest.mark.parametrize(
    ("kind", "largest"),
    [
        ("sigmoid", 0.25),
        ("tanh", 1),
        ("leaky_relu(negative_slope=-1.5)", 1.5),
        ("elu(alpha=2)", 2),
        ("gelu", math.erfc(-1) / 2 + math.exp(-1) / math.sqrt(math.pi)),  # at sqrt(2)
        ("softplus(beta=0.1)", 1),
    ],
)
def test_the_steepest_slope_is_found(kind: str, largest: float) -> None:
    assert reference.steepest(kind) == pytest.approx(largest, rel=1e-5)


# --- Gradients -----------------------------------------------------------------------------------


@pytest.mark.parametrize("fields", PARTS.values(), ids=PARTS)
def test_gradients_of_every_part_are_the_central_differences_of_the_loss(fields: dict[str, Any]) -> None:
    net: dict[str, Any] = {"width": 4, "out_features": 3, "activation": "tanh", "init": "torch_default"} | fields
    spec = vg.MLP(depth=4, **net)
    state, x = reference.init(spec), reference.samples(spec, 0, 5, "float64")
    y = Stream(0, 3).normal((5, 3))
    gradients = reference.gradients(spec, state, x, y, "half_mse")
    check(lambda: value_of(reference.gradients(spec, state, x, y, "half_mse")), state | {"input": x}, gradients)


@pytest.mark.parametrize("activation", ["sigmoid", "elu", "gelu", "silu", "softplus"])
@pytest.mark.parametrize("loss", vg.LOSSES)
def test_gradients_of_every_loss_are_its_central_differences(activation: str, loss: str) -> None:
    spec = vg.MLP(depth=2, width=4, out_features=3, activation=activation, init="torch_default")
    state = reference.init(spec)
    x, y = Stream(0, 2).normal((5, 4)), targets(loss, np.random.default_rng(0), 5, 3)
    gradients = reference.gradients(spec, state, x, y, loss)
    check(lambda: value_of(reference.gradients(spec, state, x, y, loss)), state | {"input": x}, gradients)


def value_of(gradients: reference.Gradients) -> float:
    assert gradients.loss is not None
    return gradients.loss


def check(loss: Callable[[], float], tensors: reference.State, gradients: reference.Gradients) -> None:
    """Every entry of every gradient is the central difference of the loss."""
    assert [*gradients.parameters, "input"] == [*tensors]
    largest = max(np.linalg.norm(gradient) for gradient in gradients.parameters.values())
    for name, gradient in (*gradients.parameters.items(), ("input", gradients.input)):
        numeric, tensor = np.zeros(gradient.shape), tensors[name]
        for index in np.ndindex(tensor.shape):
            kept, sides = tensor[index], []
            for step in (1e-5, -1e-5):
                tensor[index] = kept + step
                sides.append(loss())
            tensor[index] = kept
            numeric[index] = (sides[0] - sides[1]) / 2e-5
        # That of a bias before a batch normalisation is zero.
        floor = 1e-3 * float(largest)
        assert np.linalg.norm(gradient - numeric) < 1e-6 * max(float(np.linalg.norm(numeric)), floor), name


def test_the_sigmoid_chain_has_the_digits_of_the_worked_example() -> None:
    spec = vg.MLP(depth=3, width=1, activation="sigmoid", init="constant(value=0.5)")
    state, x, y = reference.init(spec), np.ones((1, 1)), np.full((1, 1), 0.8)
    trace = reference.propagate(spec, state, x)
    g = reference.gradients(spec, state, x, y, "half_mse")
    measured = [*(z.true() for z in trace.z), *(a.true() for a in trace.a)]
    measured += [*g.preactivations, *(g.parameters[f"layers.{l}.weight"] for l in range(3)), g.input, np.array(g.loss)]
    # By mpmath with 34 digits, and torch.
    expected = [
        *(0.5, 0.3112296656009272823195, 0.2885926900723261478356),
        *(0.6224593312018545646389, 0.5771853801446522956713, 0.5716515653055907656492),
        *(-0.0008016903743109073458734, -0.006822789025759635762993, -0.05591477995556516953149),
        *(-0.0008016903743109073458734, -0.004246908693905695752254, -0.03227319352435746677333),
        *(-0.0004008451871554536729367, 0.02607150381369343946024),
    ]
    assert np.abs(np.hstack([np.ravel(value) for value in measured]) - expected).max() < 1e-15


@pytest.mark.parametrize(
    ("weight", "depth", "gradient"),
    [(0.5, 1001, 2.0**-1000), (0.5, 1501, 0), (2, 1001, 2.0**1000), (2, 1501, math.inf)],
)
def test_gradients_are_true_values_and_end_where_their_dtype_ends(weight: float, depth: int, gradient: float) -> None:
    spec = vg.MLP(depth=depth, width=1, activation="linear", init=f"constant(value={weight})")
    state, one = reference.init(spec), np.ones((1, 1))
    g = reference.backward(spec, state, one, one)
    assert {g.parameters[f"layers.{l}.weight"].item() for l in range(depth)} == {gradient}
    assert reference.forward(spec, state, one).item() == weight * gradient


# --- Exponents and columns -----------------------------------------------------------------------


def test_rescaling_is_exact() -> None:
    rescaled = Scaled(np.array([3.0, -0.7, 0.0]) * 2.0**-900, -200).rescaled()
    assert rescaled.value.tolist() == [1.5, -0.35, 0]
    assert rescaled.exponent == -1099
    assert Scaled(np.zeros(2), 7).rescaled().true().tolist() == [0, 0]


def test_a_sum_of_scaled_arrays_lines_up_their_exponents() -> None:
    total = Scaled(np.array([1.5]), -2000) + Scaled(np.array([1.0]), -2001)
    assert (total.value * 2.0 ** (total.exponent + 2000)).tolist() == [2.0]
    lost = Scaled(np.array([1.0])) + Scaled(np.array([1.0]), -5000)
    assert lost.true().tolist() == [1.0]


def plain_columns(spec: vg.MLP, state: reference.State, x: Any, cotangent: Any) -> dict[str, Any]:
    """The columns of a square tanh net without readout or exponents, from textbook formulas."""
    z, h = [], [x]
    for l in range(spec.depth):
        z.append(h[l] @ state[f"layers.{l}.weight"].T + state[f"layers.{l}.bias"])
        h.append(np.tanh(z[l]))
    delta = [cotangent / np.cosh(z[-1]) ** 2]
    for l in reversed(range(1, spec.depth)):
        delta.insert(0, delta[0] @ state[f"layers.{l}.weight"] / np.cosh(z[l - 1]) ** 2)

    def rms(values: Any) -> list[float]:
        return [math.log10(math.sqrt((v**2).mean())) for v in values]

    def mean_cosine(z: Any) -> Any:
        lengths = np.linalg.norm(z, axis=1)
        return (z @ z.T / np.outer(lengths, lengths))[np.triu_indices(len(z), 1)].mean()

    def participation(h: Any) -> Any:
        eigenvalues = np.linalg.eigvalsh(h @ h.T)
        return eigenvalues.sum() ** 2 / (eigenvalues**2).sum()

    wgrad = [d.T @ h_in for d, h_in in zip(delta, h, strict=False)]
    return {
        "log10_z_rms": rms(z),
        "log10_a_rms": rms(h[1:]),
        "log10_delta_rms": rms(delta),
        "log10_wgrad_norm": [math.log10(np.linalg.norm(w)) for w in wgrad],
        "log10_bgrad_norm": [math.log10(np.linalg.norm(d.sum(axis=0))) for d in delta],
        "log10_sample_wgrad_rms": [
            math.log10(np.mean([np.linalg.norm(np.outer(a, b)) ** 2 for a, b in zip(d, h_in, strict=True)])) / 2
            for d, h_in in zip(delta, h, strict=False)
        ],
        "saturated": [(np.cosh(v) ** -2 < 0.01).mean() for v in z],
        "dead": [0.0] * spec.depth,
        "correlation": [mean_cosine(v) for v in z],
        "gradient_correlation": [mean_cosine(d) for d in delta],
        "effective_rank": [participation(v) for v in h[1:]],
    }


@pytest.mark.parametrize(
    "spec",
    [
        vg.MLP(depth=7, width=6, activation="tanh", init="mean_field(sigma_w=2, sigma_b=0.5)"),
        # Carried forward down to 1e-70, where the squares of the plain computation still are.
        vg.MLP(depth=70, width=6, activation="tanh", init="lecun_normal(gain=0.1)"),
    ],
    ids=["biased", "shrinking"],
)
def test_columns_are_those_of_a_plain_computation_where_nothing_underflows(spec: vg.MLP) -> None:
    measured = reference.probe(spec, batch=5, seeds=3, seed=11)
    assert measured.pop("first_nonfinite").tolist() == [-1, -1, -1]
    for r in range(3):
        x, c = (Stream(11 + r, role).normal((5, 6)) for role in (2, 3))
        expected = plain_columns(spec, reference.init(spec, 11 + r), x, c / math.sqrt(5))
        for name, column in expected.items():
            np.testing.assert_allclose(measured[name][r], column, rtol=1e-12, atol=1e-12)
        # The others are of parts that this net does not have.
        parameters = np.array([expected[name] for name in ("log10_wgrad_norm", "log10_bgrad_norm")])
        total = math.log10((100**parameters).sum()) / 2
        np.testing.assert_allclose(measured["log10_total_grad_norm"][r], total, rtol=1e-12)
        rest = measured.keys() - expected.keys() - {"log10_total_grad_norm", "log10_output_rms"}
        assert len(rest) == 7
        assert all(np.isnan(measured[name]).all() for name in rest)


def test_columns_of_the_stream_are_those_of_a_plain_computation() -> None:
    spec = vg.MLP(
        depth=6,
        width=5,
        out_features=3,
        activation="tanh",
        init="torch_default",
        skip="residual",
        block=2,
        branch_scale=0.7,
    )
    measured = reference.probe(spec, batch=4, seeds=1, seed=11)
    state, x, cotangent = reference.init(spec, 11), Stream(11, 2).normal((4, 5)), Stream(11, 3).normal((4, 3)) / 2
    weights, biases = ([state[f"layers.{l}.{name}"] for l in range(6)] for name in ("weight", "bias"))
    h, slopes = [x], []
    for start in (0, 2, 4):
        v = h[-1]
        for l in (start, start + 1):
            v = np.tanh(v @ weights[l].T + biases[l])
            slopes.append(1 - v**2)
        h.append(h[-1] + 0.7 * v)
    dh = [cotangent @ state["readout.weight"]]
    for start in (4, 2):
        g = 0.7 * dh[0]
        for l in (start + 1, start):
            g = g * slopes[l] @ weights[l]
        dh.insert(0, dh[0] + g)
    for name, values in (("log10_h_rms", h[1:]), ("log10_dh_rms", dh)):
        assert np.isnan(measured[name][0, ::2]).all()
        expected = [math.log10(np.sqrt((value**2).mean())) for value in values]
        np.testing.assert_allclose(measured[name][0, 1::2], expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("fields", "layers"),
    [
        ({}, []),
        ({"skip": "residual"}, [0, 1, 2, 3]),
        ({"skip": "dense"}, [0, 1, 2, 3]),
        ({"skip": "rezero(order=post)", "block": 2}, [1, 3]),
        ({"skip": "highway", "block": 4}, [3]),
        ({"skip": "highway", "tied": True}, [0, 1, 2, 3]),
        # The first block changes the number of features, so no skip goes around it.
        ({"skip": "residual(order=pre)", "block": 2, "in_features": 3}, [0, 1, 3]),
        ({"skip": "residual", "block": 4, "in_features": 3}, [0, 1, 2, 3]),
    ],
)
def test_the_stream_is_measured_where_no_block_is_open(fields: dict[str, Any], layers: list[int]) -> None:
    p = reference.probe(vg.MLP(depth=4, width=6, out_features=2, activation="tanh", **fields), batch=5, seeds=1)
    for name in ("log10_h_rms", "log10_dh_rms"):
        assert np.flatnonzero(np.isfinite(p[name][0])).tolist() == layers


def test_the_gradient_of_the_last_stream_is_the_cotangent_where_there_is_no_readout() -> None:
    p = reference.probe(vg.MLP(depth=3, width=6, activation="tanh", skip="residual"), batch=5, seeds=1)
    cotangent = Stream(0, 3).normal((5, 6)) / math.sqrt(5)
    assert p["log10_dh_rms"][0, -1] == pytest.approx(math.log10(np.sqrt((cotangent**2).mean())), rel=1e-14)


def test_a_power_of_two_on_the_cotangent_changes_exponents_alone() -> None:
    spec = vg.MLP(depth=4, width=6, out_features=3, activation="gelu", skip="residual", block=2)
    state = reference.init(spec)
    trace = reference.propagate(spec, state, Stream(0, 2).normal((5, 6)))
    cotangent = Stream(0, 3).normal((5, 3))

    def scaled(factor: float) -> list[Scaled]:
        signals = reference.backpropagate(trace, factor * cotangent)
        return [*reference.summed(signals.found).values(), *signals.delta, *signals.dh, signals.dx]

    for one, tiny in zip(scaled(1), scaled(2.0**-1000), strict=True):
        assert (one.value == tiny.value).all()
        assert one.exponent == tiny.exponent + 1000


def test_a_thousand_sigmoid_layers_shrink_the_signal_by_the_mean_field_factor() -> None:
    spec = vg.MLP(depth=1000, width=64, activation="sigmoid", init="lecun_normal")
    p = reference.probe(spec, batch=4, seeds=2)
    factor = math.log10(0.055720706770) / 2  # chi_1 is of the squared norm
    slopes = (p["log10_delta_rms"][:, 0] - p["log10_delta_rms"][:, -1]) / 999
    assert np.isfinite(p["log10_delta_rms"]).all()
    assert p["log10_delta_rms"].min() < -620
    np.testing.assert_allclose(slopes, factor, rtol=0.015)


def test_halving_the_weights_of_a_relu_net_halves_every_layer_at_any_depth() -> None:
    depth, layer = 2000, np.arange(2000)
    he, half = (
        reference.probe(vg.MLP(depth=depth, width=16, init=f"kaiming_normal(gain={gain})"), batch=3, seeds=1)
        for gain in (math.sqrt(2), math.sqrt(2) / 2)
    )
    powers = {
        "log10_z_rms": layer + 1,
        "log10_a_rms": layer + 1,
        "log10_delta_rms": depth - 1 - layer,
        "log10_wgrad_norm": depth - 1 + 0 * layer,
    }
    assert half["log10_z_rms"].min() < -600
    for name, power in powers.items():
        np.testing.assert_allclose(he[name][0] - half[name][0], power * math.log10(2), atol=1e-9)


@pytest.mark.parametrize("kind", ["tanh", "elu(alpha=0.5)", "selu", "gelu", "silu"])
@pytest.mark.parametrize("exponent", [-5, -30, -59, -63, -900])
def test_a_z_that_carries_an_exponent_is_bent_like_its_true_value(kind: str, exponent: int) -> None:
    z = Scaled(np.array([-1.9, -1.0, 0.0, 0.1, 1.7]), exponent)
    same, a, slopes = reference.bend(kind, z)
    value, true_slopes = reference.activate(kind, z.true())
    assert (same.true() == z.true()).all()
    np.testing.assert_allclose(a.true(), value, rtol=1e-15)
    np.testing.assert_allclose(slopes, true_slopes, rtol=1e-15)


@pytest.mark.parametrize("activation", ["tanh", "elu(alpha=0.5)", "selu", "gelu", "silu"])
def test_a_signal_too_small_to_bend_passes_in_proportion_at_any_depth(activation: str) -> None:
    spec = vg.MLP(depth=600, width=8, activation=activation, init="lecun_normal(gain=0.1)")
    x = Stream(0, 2).normal((5, 8))
    one, tiny = (reference.probe(spec, x=factor * x, seeds=1) for factor in (2.0**-80, 2.0**-900))
    assert one["log10_z_rms"].min() < -400
    for name in ("log10_z_rms", "log10_a_rms", "log10_wgrad_norm"):
        np.testing.assert_allclose(one[name] - tiny[name], 820 * math.log10(2), rtol=1e-12)
    for name in ("log10_delta_rms", "saturated", "correlation", "effective_rank"):
        assert (one[name] == tiny[name]).all()


def test_a_unit_is_dead_where_it_is_zero_for_every_sample() -> None:
    x = np.array([[1.0, -1.0, 2.0, -0.5], [3.0, -2.0, -1.0, -1.0]])
    spec = vg.MLP(depth=1, width=4, activation="relu", init="orthogonal")
    w = reference.init(spec)["layers.0.weight"]
    p = reference.probe(spec, x=x @ w, seeds=1)  # so that z = x
    assert p["dead"].item() == 0.5
    assert p["saturated"].item() == 5 / 8


def test_a_layer_of_zeros_has_no_size_and_no_rank() -> None:
    p = reference.probe(vg.MLP(depth=2, width=4, bias="constant(value=-20)"), batch=6, seeds=1)
    assert (p["dead"] == 1).all()
    assert (p["saturated"] == 1).all()
    assert (p["log10_a_rms"] == -math.inf).all()
    assert np.isnan(p["effective_rank"]).all()


def test_one_sample_has_rank_one_and_no_correlation() -> None:
    p = reference.probe(vg.MLP(depth=2, width=4, activation="tanh"), batch=1, seeds=2)
    np.testing.assert_allclose(p["effective_rank"], 1, rtol=1e-14)
    assert np.isnan(p["correlation"]).all()


def test_an_orthogonal_linear_net_keeps_an_orthogonal_input() -> None:
    spec = vg.MLP(depth=5, width=8, activation="linear", init="orthogonal")
    p = reference.probe(spec, x=np.eye(8), seeds=2)
    np.testing.assert_allclose(p["effective_rank"], 8, rtol=1e-13)
    np.testing.assert_allclose(p["correlation"], 0, atol=1e-13)
    np.testing.assert_allclose(p["log10_z_rms"], -math.log10(8) / 2, atol=1e-13)


def test_the_first_value_beyond_the_range_is_named_and_what_follows_is_nan() -> None:
    spec = vg.MLP(depth=6, width=8, activation="elu", init="normal(std=1e10)")
    p = reference.probe(spec, batch=4, seeds=1, dtype="float32")
    assert p["first_nonfinite"].tolist() == [3]
    assert np.isfinite(p["log10_z_rms"][0, :3]).all()
    assert np.isnan(p["log10_z_rms"][0, 4:]).all()
    assert np.isnan(p["log10_delta_rms"]).all()
    # The stream ends where z does.
    p = reference.probe(spec.replace(skip="residual"), batch=4, seeds=1, dtype="float32")
    end = p["first_nonfinite"][0]
    assert 0 < end < 5
    assert np.isfinite(p["log10_h_rms"][0, :end]).all()
    assert np.isnan(p["log10_h_rms"][0, end + 1 :]).all()
    assert np.isnan(p["log10_dh_rms"]).all()


def test_a_backward_product_beyond_the_range_is_named_too() -> None:
    # Forward every sum has one term, backward one has 64: only that one leaves float32.
    spec = vg.MLP(depth=2, width=(1, 64), activation="linear", init="constant(value=1e38)")
    p = reference.probe(spec, batch=4, seeds=1, dtype="float32")
    assert p["first_nonfinite"].tolist() == [0]
    assert np.isfinite(p["log10_z_rms"]).all()
    assert np.isfinite(p["log10_delta_rms"][0]).tolist() == [False, True]


def test_a_homogeneous_net_ends_only_at_its_loss() -> None:
    spec = vg.MLP(depth=6, width=8, init="normal(std=1e10)")
    x, y = Stream(0, 2).normal((4, 8)), np.zeros((4, 8))
    endless = reference.probe(spec, x=x, seeds=1, dtype="float32")
    ended = reference.probe(spec, x=x, y=y, loss="mse", seeds=1, dtype="float32")
    assert endless["first_nonfinite"].tolist() == [-1]
    assert endless["log10_z_rms"].max() > 60
    assert ended["first_nonfinite"].tolist() == [6]
    assert (ended["log10_z_rms"] == endless["log10_z_rms"]).all()
    assert np.isnan(ended["log10_delta_rms"]).all()
