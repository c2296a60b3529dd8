"""The catalogue of inits: what each row draws, by its formula, and what is refused."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import vgcore as vg

Array = npt.NDArray[Any]

# The standard deviation of a unit normal that lies between -2 and 2.
LEFT = math.sqrt(1 - 4 * math.exp(-2) / math.sqrt(2 * math.pi) / math.erf(math.sqrt(2)))


def weight(init: str | vg.Init, fan_in: int = 300, fan_out: int = 200, **fields: Any) -> Array:
    """The weights of a net's first hidden layer."""
    net: dict[str, Any] = {"depth": 1, "width": fan_out, "in_features": fan_in, "init": init}
    state: dict[str, Array] = vg.MLP(**net | fields).init(seed=3, dtype="float64").state_dict()
    return state["layers.0.weight"]


def state(dtype: str = "float64", **fields: Any) -> dict[str, Array]:
    found: dict[str, Array] = vg.MLP(**fields).init(seed=3, dtype=dtype).state_dict()
    return found


# What each row promises of 200 x 300 weights: the standard deviation, and the largest entry if there is one.
ROWS: dict[str, tuple[float, float]] = {
    "zeros": (0, 0),
    "ones(gain=2)": (0, 2),
    "constant(value=3, gain=2)": (0, 6),
    "uniform(a=-1, b=1)": (1 / math.sqrt(3), 1),
    "uniform(a=-1, b=2, gain=0.5)": (0.5 * 3 / math.sqrt(12), 1),
    "normal(std=0.3)": (0.3, math.inf),
    "normal(std=0.3, gain=2)": (0.6, math.inf),
    "trunc_normal": (LEFT, 2),
    "trunc_normal(std=0.02, gain=3)": (0.06, 6),
    "trunc_normal(a=-1, b=1)": (0.539560, 1),
    "xavier_uniform": (math.sqrt(2 / 500), math.sqrt(6 / 500)),
    "xavier_uniform(gain=2)": (2 * math.sqrt(2 / 500), 2 * math.sqrt(6 / 500)),
    "glorot_uniform": (math.sqrt(2 / 500), math.sqrt(6 / 500)),
    "xavier_normal": (math.sqrt(2 / 500), math.inf),
    "xavier_normal(gain=2)": (2 * math.sqrt(2 / 500), math.inf),
    "glorot_normal": (math.sqrt(2 / 500), 2 * math.sqrt(2 / 500) / LEFT),
    "kaiming_uniform": (math.sqrt(2 / 300), math.sqrt(6 / 300)),
    "kaiming_uniform(a=2)": (math.sqrt(2 / 5 / 300), math.sqrt(6 / 5 / 300)),
    "kaiming_normal": (math.sqrt(2 / 300), math.inf),
    "kaiming_normal(a=2)": (math.sqrt(2 / 5 / 300), math.inf),
    "kaiming_normal(a=2, gain=0.7)": (0.7 / math.sqrt(300), math.inf),
    "kaiming_normal(mode=fan_out)": (math.sqrt(2 / 200), math.inf),
    "kaiming_normal(nonlinearity=tanh)": (5 / 3 / math.sqrt(300), math.inf),
    "kaiming_normal(nonlinearity=selu)": (3 / 4 / math.sqrt(300), math.inf),
    "kaiming_normal(nonlinearity=linear, mode=fan_out)": (1 / math.sqrt(200), math.inf),
    "kaiming_normal(nonlinearity=relu, a=2)": (math.sqrt(2 / 300), math.inf),  # as in torch, where relu has no slope
    "he_normal": (math.sqrt(2 / 300), 2 * math.sqrt(2 / 300) / LEFT),
    "he_normal(gain=2)": (math.sqrt(8 / 300), 2 * math.sqrt(8 / 300) / LEFT),
    "lecun_uniform": (1 / math.sqrt(300), math.sqrt(3 / 300)),
    "lecun_normal": (1 / math.sqrt(300), math.inf),
    "lecun_normal(gain=2)": (2 / math.sqrt(300), math.inf),
    "variance_scaling": (1 / math.sqrt(300), 2 / math.sqrt(300) / LEFT),
    "variance_scaling(scale=2, mode=fan_out)": (0.1, 0.2 / LEFT),
    "variance_scaling(mode=fan_avg, distribution=uniform)": (1 / math.sqrt(250), math.sqrt(3 / 250)),
    "variance_scaling(distribution=untruncated_normal)": (1 / math.sqrt(300), math.inf),
    "sparse(sparsity=0.5)": (0.01 * math.sqrt(0.5), math.inf),
    "orthogonal": (1 / math.sqrt(300), math.inf),
    "orthogonal(gain=2)": (2 / math.sqrt(300), math.inf),
    "scaled_uniform_orthogonal": (1 / math.sqrt(300), math.inf),
    "looks_linear": (1 / math.sqrt(300), math.inf),
    "fixup": (math.sqrt(2 / 300), math.inf),
    "mean_field(sigma_w=1.5)": (1.5 / math.sqrt(300), math.inf),
    "mean_field(sigma_w=1.5, sigma_b=0.3, gain=2)": (3 / math.sqrt(300), math.inf),
    "critical": (math.sqrt(2 / 300), math.inf),
    "mup": (1 / math.sqrt(300), math.inf),
    "depth_mup": (1 / math.sqrt(300), math.inf),
    "torch_default": (1 / math.sqrt(900), 1 / math.sqrt(300)),
    "torch_default(gain=2)": (2 / math.sqrt(900), 2 / math.sqrt(300)),
    "torch_rnn": (1 / math.sqrt(600), 1 / math.sqrt(200)),
    "torch_transformer": (1 / math.sqrt(900), 1 / math.sqrt(300)),
    "torch_encoder": (1 / math.sqrt(900), 1 / math.sqrt(300)),
    "gpt2": (0.02, math.inf),
    "gpt2(std=0.1, gain=2)": (0.2, math.inf),
    "deepnorm": (math.sqrt(2 / 500), math.inf),
}


@pytest.mark.parametrize("init", ROWS)
def test_weights_have_the_standard_deviation_and_the_bound_of_their_formula(init: str) -> None:
    w, (std, bound) = weight(init), ROWS[init]
    assert w.shape == (200, 300)
    # The samples that lsuv looks at are 128: half a percent is their standard error.
    assert w.std() == pytest.approx(std, rel=0.02 if init == "lsuv" else 0.01, abs=1e-12)
    largest = np.abs(w).max()
    assert largest <= bound * (1 + 1e-15)
    if bound < 3 * std or std == 0:
        assert largest >= 0.99 * bound  # 60,000 entries come near
    elif "uniform" not in init and vg.Init(init).name != "sparse":
        assert largest > 3 * std


def test_every_row_is_in_this_file() -> None:
    named = {vg.Init(init).name for init in ROWS} | {"lsuv"}
    assert {*vg.INITS} - named == {"eye"}


def test_biases_have_them_too_where_a_vector_can() -> None:
    for text, expected in (("ones", 1.0), ("ones(gain=0.5)", 0.5)):
        assert (state(depth=1, width=5, bias=text)["layers.0.bias"] == expected).all()
    b = state(depth=1, width=100_000, in_features=1, bias="trunc_normal(a=-1, b=0.5)")["layers.0.bias"]
    assert -1 <= b.min() < -0.99
    assert 0.49 < b.max() <= 0.5


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("low", "high"), [(-2.0, 2.0), (-0.5, 3.0), (1.0, 4.0)])
def test_a_truncated_normal_is_a_normal_between_its_bounds(dtype: str, low: float, high: float) -> None:
    init = vg.Init("trunc_normal", a=low, b=high)
    x = np.sort(state(dtype, depth=1, width=300, in_features=300, init=init)["layers.0.weight"].ravel())
    cdf = np.vectorize(lambda z: math.erfc(-z / math.sqrt(2)) / 2, otypes=[np.float64])
    below, above = cdf([low, high])
    expected = (cdf(x) - below) / (above - below)
    # Kolmogorov and Smirnov: beyond 2.23 / sqrt(n) once in ten thousand.
    assert np.abs(expected - (np.arange(x.size) + 0.5) / x.size).max() < 2.23 / math.sqrt(x.size)


def test_keras_truncates_what_torch_does_not() -> None:
    for keras, torch in (("he_normal", "kaiming_normal"), ("glorot_normal", "xavier_normal")):
        cut, whole = weight(keras), weight(torch)
        assert cut.std() == pytest.approx(whole.std(), rel=0.01)
        assert np.abs(cut).max() < 2.3 * cut.std()
        assert np.abs(whole).max() > 3.5 * whole.std()
    np.testing.assert_array_equal(weight("he_uniform"), weight("kaiming_uniform"))
    same = "variance_scaling(scale=2)"
    np.testing.assert_allclose(weight(same), weight("he_normal"), rtol=1e-14)


@pytest.mark.parametrize(("fan_in", "fan_out"), [(4, 4), (3, 5), (5, 3)])
def test_eye_has_ones_on_its_diagonal(fan_in: int, fan_out: int) -> None:
    for name in ("eye", "identity"):
        np.testing.assert_array_equal(weight(f"{name}(gain=2)", fan_in, fan_out), 2 * np.eye(fan_out, fan_in))


@pytest.mark.parametrize(("sparsity", "zeros"), [(0.0, 0), (0.1, 1), (0.5, 4), (0.51, 4), (0.72, 6), (1.0, 7)])
def test_sparse_zeroes_as_many_entries_of_each_column(sparsity: float, zeros: int) -> None:
    drawn = {
        dtype: state(dtype, depth=1, width=7, in_features=400, init=vg.Init("sparse", sparsity=sparsity))
        for dtype in ("float32", "float64")
    }
    single, double = (drawn[dtype]["layers.0.weight"] == 0 for dtype in ("float32", "float64"))
    assert (double.sum(axis=0) == zeros).all()
    np.testing.assert_array_equal(single, double)
    # No row is preferred: five standard errors of a share of 400 columns.
    share = zeros / 7
    assert np.abs(double.mean(axis=1) - share).max() <= 5 * math.sqrt(share * (1 - share) / 400)


def test_scaled_uniform_orthogonal_keeps_the_mean_square_either_way() -> None:
    # Of a map to fewer units the mean over directions, of one to more units every single one.
    wide, tall = (weight("scaled_uniform_orthogonal", *fans) for fans in ((60, 20), (20, 60)))
    np.testing.assert_allclose(wide @ wide.T, np.eye(20), atol=1e-13)
    np.testing.assert_allclose(tall.T @ tall, 3 * np.eye(20), atol=1e-13)


@pytest.mark.parametrize(("activation", "slope"), [("relu", 0.0), ("leaky_relu(0.2)", 0.2), ("linear", 1.0)])
@pytest.mark.parametrize("width", [12, (8, 12, 6, 10, 14)])
def test_looks_linear_nets_are_linear(activation: str, slope: float, width: Any) -> None:
    spec = vg.MLP(depth=5, width=width, in_features=7, out_features=3, activation=activation, init="looks_linear")
    net = spec.init(seed=2, dtype="float64")
    rng = np.random.default_rng(0)
    x, other = rng.standard_normal((2, 9, 7))
    y = net.forward(x)
    np.testing.assert_allclose(net.forward(-x), -y, atol=1e-14)
    np.testing.assert_allclose(net.forward(x - 3 * other), y - 3 * net.forward(other), atol=1e-12)
    if width == 12:
        # The product of orthogonal blocks: as long as the input, times 1 + slope a layer, as far as 6 of 7 go.
        bare = spec.replace(out_features=None, in_features=6).init(seed=2, dtype="float64")
        pairs = bare.forward(x[:, :6])
        v = pairs[:, :6] - pairs[:, 6:]
        expected = (1 + slope) ** 5 * np.linalg.norm(x[:, :6], axis=1)
        np.testing.assert_allclose(np.linalg.norm(v, axis=1), expected, rtol=1e-13)


def test_looks_linear_weights_are_mirrored_blocks() -> None:
    drawn = state(depth=2, width=6, in_features=5, out_features=4, init="looks_linear")
    first, hidden, readout = (drawn[f"{name}.weight"] for name in ("layers.0", "layers.1", "readout"))
    np.testing.assert_array_equal(first[:3], -first[3:])
    np.testing.assert_array_equal(hidden, np.kron([[1, -1], [-1, 1]], hidden[:3, :3]))
    np.testing.assert_allclose(hidden[:3, :3] @ hidden[:3, :3].T, np.eye(3), atol=1e-14)
    np.testing.assert_array_equal(readout[:, :3], -readout[:, 3:])


def test_fixup_begins_as_the_identity_and_damps_what_is_inside_of_branches() -> None:
    fields: dict[str, Any] = {"width": 100, "out_features": 10, "init": "fixup", "skip": "residual"}
    for block in (1, 2, 3):
        drawn = state(depth=12, block=block, **fields)
        plain = state(depth=12, width=100, out_features=10, init="kaiming_normal")
        for layer in range(12):
            w = drawn[f"layers.{layer}.weight"]
            if layer % block == block - 1:
                assert (w == 0).all()
            else:
                damped = (12 / block) ** (-1 / (2 * block - 2)) * plain[f"layers.{layer}.weight"]
                np.testing.assert_allclose(w, damped, rtol=1e-14)
        assert (drawn["readout.weight"] == 0).all()
    # A first block that changes width has no skip, and He's weights.
    first = state(depth=4, block=2, in_features=50, **fields)
    assert (first["layers.1.weight"] != 0).all()
    assert first["layers.0.weight"].std() == pytest.approx(0.2, rel=0.05)
    assert (first["layers.3.weight"] == 0).all()


def test_mup_weights_shrink_with_width_as_in_its_table() -> None:
    units = state(depth=2, width=64, in_features=9, out_features=5, init="normal")
    drawn = state(depth=2, width=64, in_features=9, out_features=5, init="mup(gain=2)")
    for key, std in (("layers.0", 2 / 3), ("layers.1", 2 / 8), ("readout", 2 / 64)):
        np.testing.assert_allclose(drawn[f"{key}.weight"], std * units[f"{key}.weight"], rtol=1e-14)


def test_depth_mup_divides_the_last_map_of_a_branch_by_the_root_of_their_number() -> None:
    fields: dict[str, Any] = {"depth": 18, "width": 8, "out_features": 3, "skip": "residual", "block": 2}
    mup, deep = state(init="mup", **fields), state(init="depth_mup", **fields)
    for key in mup:
        ends = key.startswith("layers") and int(key.split(".")[1]) % 2 == 1
        np.testing.assert_allclose(deep[key], mup[key] / 3 if ends else mup[key], rtol=1e-14)


def test_the_first_layers_of_an_init_that_counts_layers_are_not_shared() -> None:
    fields: dict[str, Any] = {"width": 8, "skip": "residual", "block": 2, "init": "depth_mup"}
    specs = [vg.MLP(depth=depth, **fields) for depth in (2, 8)]
    together = vg.sweep(specs[0], depth=[2, 8], seeds=2, dtype="float64")
    for cell, spec in zip(together, specs, strict=True):
        np.testing.assert_array_equal(cell.log10_z_rms, vg.probe(spec, seeds=2, dtype="float64").log10_z_rms)


# sigma_b^2 and the sigma_w^2 that go with it, for tanh.
EDGE = {
    0.01: 1.424205290,
    0.04: 1.700796372,
    0.05: 1.760954640,
    0.1: 1.986072641,
    0.2: 2.285152474,
    0.3: 2.505127190,
    0.5: 2.843167460,
    1.0: 3.443210912,
}


def sigma_w(activation: str, sigma_b: float = 0.0) -> float:
    """By which the weights differ from those of variance 1 / fan_in."""
    spec = vg.MLP(depth=1, width=4, activation=activation, init=vg.Init("critical", sigma_b=sigma_b))
    ratio = state(**spec.to_dict())["layers.0.weight"] / weight("lecun_normal", 4, 4)
    assert np.ptp(ratio) < 1e-14 * ratio.max()
    return float(ratio.mean())


@pytest.mark.parametrize("variance", EDGE)
def test_critical_tanh_nets_are_on_the_published_edge_of_chaos(variance: float) -> None:
    assert sigma_w("tanh", math.sqrt(variance)) ** 2 == pytest.approx(EDGE[variance], rel=1e-8)


@pytest.mark.parametrize(
    ("activation", "variance"),
    [("tanh", 1.0), ("relu", 2.0), ("leaky_relu(0.5)", 2 / 1.25), ("linear", 1.0), ("elu", 1.0)],
)
def test_without_biases_the_edge_is_where_the_slopes_at_zero_are_kept(activation: str, variance: float) -> None:
    assert sigma_w(activation) ** 2 == pytest.approx(variance, rel=1e-14)


def test_critical_nets_take_weights_by_layer_and_biases_but_in_the_readout() -> None:
    init = vg.Init("critical", sigma_b=0.5)
    drawn = state(depth=2, width=900, out_features=900, activation=("tanh", "elu"), init=init)
    for key, activation in (("layers.0", "tanh"), ("layers.1", "elu")):
        assert drawn[f"{key}.weight"].std() * 30 == pytest.approx(sigma_w(activation, 0.5), rel=0.01)
        assert drawn[f"{key}.bias"].std() == pytest.approx(0.5, rel=0.1)
    assert drawn["readout.weight"].std() * 30 == pytest.approx(1, rel=0.01)
    assert (drawn["readout.bias"] == 0).all()


@pytest.mark.parametrize(("activation", "sigma_b"), [("tanh", 0.3), ("sigmoid", 0.0), ("elu", 0.2), ("gelu", 0.5)])
def test_gradients_keep_their_size_on_the_edge_of_chaos(activation: str, sigma_b: float) -> None:
    spec = vg.MLP(depth=20, width=300, activation=activation, init=vg.Init("critical", sigma_b=sigma_b))
    assert vg.probe(spec, seeds=6).factor("backward").value == pytest.approx(1, abs=0.03)


# Gains at unit variance: forward, backward.
GAINS = {
    "relu": (1.4142, 1.4142),
    "tanh": (1.5925, 1.4674),
    "sigmoid": (1.8462, 4.7226),
    "elu": (1.2452, 1.2234),
    "selu": (1.0000, 0.9660),
    "gelu": (1.5335, 1.4811),
    "silu": (1.6765, 1.6233),
    "softplus": (1.0419, 1.8462),
}


@pytest.mark.parametrize("activation", GAINS)
def test_derived_gains_are_the_published_ones(activation: str) -> None:
    found = tuple(vg.calculate_gain(activation, mode=mode) for mode in ("forward", "backward"))
    assert found == pytest.approx(GAINS[activation], abs=5.1e-5)


@pytest.mark.parametrize(
    "activation", [f"{a}(threshold=0.25, value=0.1)" if a == "threshold" else a for a in vg.ACTIVATIONS]
)
def test_derived_gains_are_those_of_another_quadrature(activation: str) -> None:
    x, w = np.polynomial.legendre.leggauss(60)
    ends = np.linspace(-12, 12, 97)  # kinks are at whole numbers
    z = ((ends[1:] + ends[:-1])[:, None] / 2 + x / 8).ravel()
    density = np.tile(w / 8, 96) * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    forward, backward = (float(density @ values**2) for values in vg.reference.activate(activation, z))
    if activation in {"glu", "swiglu", "geglu"}:  # a unit value times g(gate) has the slopes g and value * g'
        backward += forward
    for mode, second in (("forward", forward), ("backward", backward)):
        assert vg.calculate_gain(activation, mode=mode) == pytest.approx(1 / math.sqrt(second), rel=1e-13)


def test_gains_without_a_mode_are_torchs() -> None:
    table = {"linear": 1, "sigmoid": 1, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4}
    assert {name: vg.calculate_gain(name) for name in table} == table
    assert vg.calculate_gain("identity") == 1
    assert vg.calculate_gain("leaky_relu") == math.sqrt(2 / (1 + 0.01**2))
    slope = math.sqrt(2 / 1.25)
    for same in (vg.calculate_gain("leaky_relu", 0.5), vg.calculate_gain("leaky_relu(0.5)")):
        assert same == pytest.approx(slope, rel=1e-15)
    assert vg.calculate_gain(vg.Activation("leaky_relu", negative_slope=0.5), mode="forward") == pytest.approx(slope)
    for name, gain in table.items():
        assert vg.Init("kaiming_normal", nonlinearity=name).params["gain"] == gain


def test_specs_of_earlier_versions_keep_their_text_and_id() -> None:
    assert str(vg.Init("kaiming_normal", nonlinearity="leaky_relu", mode="fan_in", a=0)) == "kaiming_normal"
    assert str(vg.Init("kaiming_normal", a=1, gain=2)) == "kaiming_normal(a=1, gain=2)"
    assert vg.MLP(depth=3, width=4, init="kaiming_normal").id == "bdbcc9989239c86e"


@pytest.mark.parametrize(
    ("call", "parts"),
    [
        (lambda: vg.Init("rezero"), ['skip="rezero"', "no init"]),
        (lambda: vg.MLP(depth=2, width=4, init="skipinit"), ['skip="rezero"', "'skipinit'"]),
        (lambda: vg.Init("trunc_normal", a=2, b=-2), ["trunc_normal", "a must be below b", "a=2", "b=-2"]),
        (lambda: vg.Init("trunc_normal", a=50, b=51), ["within 30 std", "from a=50 to b=51"]),
        (lambda: vg.Init("trunc_normal", std=0), ["std", "above 0"]),
        (lambda: vg.Init("sparse"), ["sparse needs sparsity"]),
        (lambda: vg.Init("sparse", sparsity=1.5), ["sparsity", "from 0 to 1", "1.5"]),
        (lambda: vg.Init("variance_scaling", mode="fan"), ["mode", "fan_avg", "'fan'"]),
        (lambda: vg.Init("kaiming_normal", nonlinearity="gelu"), ["nonlinearity", "leaky_relu", "'gelu'"]),
        (lambda: vg.MLP(depth=2, width=7, init="looks_linear"), ["hidden layer 1", "even", "mirror", "7"]),
        (lambda: vg.MLP(depth=2, width=(4, 7), init="looks_linear"), ["hidden layer 2", "7"]),
        (lambda: vg.MLP(depth=2, width=4, init="critical(0.1)"), ["critical", "relu", "sigma_b=0.1", "use sigma_b=0"]),
        (lambda: vg.MLP(depth=2, width=4, activation="softplus", init="critical"), ["softplus", "no edge of chaos"]),
        (lambda: vg.MLP(depth=2, width=4, activation="glu", init="critical(0.3)"), ["glu", "multiplies two signals"]),
        (lambda: vg.MLP(depth=2, width=4, activation=("relu", "gelu"), init="critical"), ["gelu", "from about 0.4"]),
        (lambda: vg.MLP(depth=2, width=4, bias="eye"), ["bias", "trunc_normal", "'eye'", "matrices"]),
        (lambda: vg.calculate_gain("gelu"), ["gelu", "tanh", 'mode="forward"', 'mode="backward"']),
        (lambda: vg.calculate_gain("conv1d"), ["unknown activation 'conv1d'"]),
        (lambda: vg.calculate_gain("tanh", 0.1), ["tanh takes 0 parameter"]),
        (lambda: vg.calculate_gain("tanh", mode="sideways"), ["mode", "'forward'", "'sideways'"]),
        (lambda: vg.calculate_gain("leaky_relu(0.1)", 0.2), ["takes 1 parameter"]),
    ],
)
def test_what_an_init_cannot_do_is_said(call: Any, parts: list[str]) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        call()
    for part in parts:
        assert part in str(caught.value)


def test_lsuv_gives_every_layer_unit_variance_on_the_data_and_leaves_biases_alone() -> None:
    spec = vg.MLP(
        depth=5, width=12, in_features=7, out_features=3, activation="tanh", init="lsuv", bias="normal(std=0.3)"
    )
    x = 3 * np.random.default_rng(0).standard_normal((40, 7)) + 1
    state = spec.init(seed=4, dtype="float64", x=x).state_dict()
    plain = spec.replace(init="orthogonal").init(seed=4, dtype="float64").state_dict()
    h = x
    for module in (*(f"layers.{l}" for l in range(5)), "readout"):
        z = h @ state[f"{module}.weight"].T + state[f"{module}.bias"]
        assert z.var() == pytest.approx(1, rel=1e-10)
        np.testing.assert_array_equal(state[f"{module}.bias"], plain[f"{module}.bias"])
        ratio = state[f"{module}.weight"] / plain[f"{module}.weight"]
        np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-12)
        h = np.tanh(z)


def test_lsuv_without_data_takes_the_samples_of_a_probe() -> None:
    spec = vg.MLP(depth=4, width=16, activation="relu", init="lsuv")
    p = vg.probe(spec, seeds=2, seed=5, dtype="float64")
    state = spec.init(seed=6, dtype="float64").state_dict()
    x = vg.reference.samples(spec, 6, 128, "float64")
    z = x @ state["layers.0.weight"].T
    assert np.log10(np.sqrt((z**2).mean())) == pytest.approx(p.log10_z_rms[1, 0], abs=1e-12)


def test_samples_are_for_inits_that_look_at_them() -> None:
    with pytest.raises(ValueError, match="only init='lsuv'"):
        vg.MLP(depth=2, width=4).init(x=np.ones((3, 4)))
