"""Optimisers and clipping: the twin against published numbers and other libraries, and the core against the twin."""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import product
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vgcore as vg
from rivals import torch_gradients
from strategies import over_examples
from vgcore import _core, reference
from vgcore.reference import Clip, Scaled
from vgcore.reference.optimizer import is_hidden_map
from vgcore.reference.train import adaptive, boost, by_norm, by_value, noise, rows, shrink

Array = npt.NDArray[Any]
State = dict[str, Array]


def iterates(optimizer: str, rates: list[float], slope: Callable[[Array], Array], start: Array) -> list[Array]:
    """Where an optimiser goes from a point, with a rate for each step."""
    state, found = {"w": start}, list[Array]()
    kept: dict[str, Any] = {}
    for t, lr in enumerate(rates, 1):
        state = reference.updated(optimizer, state, {"w": Scaled(slope(state["w"]))}, kept, t=t, lr=lr)
        found.append(state["w"])
    return found


def valley(w: Array) -> Array:
    """The slope of (w_1^2 + 10 w_2^2) / 2."""
    return np.array([1.0, 10.0]) * w


START = np.array([1.0, -2.0])


# --- Published iterates --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("optimizer", "lr", "third"),
    [
        ("sgd", 0.05, (0.857375, -0.25)),
        ("sgd(momentum=0.9)", 0.05, (0.731375, 1.46)),
        ("sgd(momentum=0.9, nesterov=true)", 0.05, (0.631462625, 0.80975)),
        ("sgd(momentum=0.9, dampening=0.9)", 0.05, (0.85097375, 0.8075)),
        ("sgd(momentum=0.9, weight_decay=0.1)", 0.05, (0.705803625, 1.47543525)),
        ("adam", 0.1, (0.701586274504, -1.70062339143)),
        ("adam(weight_decay=0.1)", 0.1, (0.701586274221, -1.70062339143)),
        ("adam(eps=0.1)", 0.1, (0.729687567828, -1.70214670274)),
        ("adamw(weight_decay=0.1)", 0.1, (0.675101223189, -1.64436868295)),
        ("rmsprop", 0.1, (5.0885e-12, -0.309687370167)),
        ("rmsprop(momentum=0.9)", 0.1, (-1.03732721286, 1.40754203577)),
        ("rmsprop(eps=1)", 0.1, (0.757370448655, -0.676584235015)),
        ("adagrad", 0.1, (0.780456181366, -1.77582151501)),
        ("adagrad(initial_accumulator=0.1, eps=1e-07)", 0.1, (0.787512784166, -1.77584059027)),
        ("lion", 0.1, (0.7, -1.7)),
    ],
)
def test_the_third_iterate_in_a_valley_is_the_published_one(
    optimizer: str, lr: float, third: tuple[float, float]
) -> None:
    found = iterates(optimizer, [lr] * 3, valley, START)[2]
    np.testing.assert_allclose(found, third, rtol=0, atol=1e-10)


def test_the_rate_multiplies_the_whole_buffer_of_momentum() -> None:
    # Keras, which keeps the rate within, ends at (.7699625, 1.64).
    found = iterates("sgd(momentum=0.9)", [0.05, 0.05, 0.005], valley, START)[2]
    np.testing.assert_allclose(found, [0.8448875, 0.506], rtol=0, atol=1e-10)


@pytest.mark.parametrize("optimizer", ["adam(eps=0)", "adamw(weight_decay=0, eps=0)", "adagrad(eps=0)", "lion"])
def test_the_first_step_is_the_rate_times_the_sign(optimizer: str) -> None:
    w = iterates(optimizer, [0.1], lambda _: np.array([1e-3, -7.0, 1e5]), np.zeros(3))[0]
    np.testing.assert_allclose(w, [-0.1, 0.1, -0.1], rtol=1e-14)


def test_the_first_step_of_rmsprop_is_a_tenfold_sign_and_that_of_momentum_is_undamped() -> None:
    first = iterates("rmsprop(eps=0)", [0.1], lambda _: np.array([3.0, -1e-4]), np.zeros(2))[0]
    np.testing.assert_allclose(first, [-1, 1], rtol=1e-14)  # 1 / sqrt(1 - 0.99) = 10
    damped = iterates("sgd(momentum=0.9, dampening=0.9)", [0.1], valley, START)[0]
    np.testing.assert_array_equal(damped, iterates("sgd", [0.1], valley, START)[0])


@pytest.mark.parametrize("b", [0.0, 0.5, 0.9])
@pytest.mark.parametrize(("share", "stable"), [(0.99, True), (1.01, False)])
def test_momentum_is_stable_on_a_parabola_up_to_two_and_two_betas(b: float, share: float, *, stable: bool) -> None:
    a = 3.0
    lr = share * (2 + 2 * b) / a
    path = iterates(f"sgd(momentum={b})", [lr] * 2000, lambda w: a * w, np.ones(1))
    assert (abs(path[-1][0]) < 1) == stable


def quintic(x: Array) -> Array:
    """What five steps of Muon's polynomial make of singular values."""
    for _ in range(5):
        x = 3.4445 * x - 4.775 * x**3 + 2.0315 * x**5
    return x


def test_newton_and_schulz_bring_singular_values_near_one_but_not_to_it() -> None:
    for least, low, high in ((0.01, 0.6818, 1.1344), (0.003, 0.6818, 1.2024)):
        x = quintic(np.geomspace(least, 1, 100_000))
        np.testing.assert_allclose((x.min(), x.max()), (low, high), rtol=0, atol=1e-4)
    assert quintic(np.array([0.001]))[0] == pytest.approx(0.4705, abs=1e-4)


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 4)])
def test_newton_and_schulz_keep_singular_vectors(shape: tuple[int, int]) -> None:
    m = np.random.default_rng(1).standard_normal(shape)
    left, values, right = np.linalg.svd(m, full_matrices=False)
    expected = left * quintic(values / np.linalg.norm(m)) @ right
    np.testing.assert_allclose(reference.orthogonalised(m), expected, rtol=0, atol=1e-12)


def test_a_step_of_muon_has_the_size_that_its_rule_says() -> None:
    m = np.random.default_rng(2).standard_normal((12, 3))
    o = reference.orthogonalised(m)
    for adjust, factor in (("original", 2.0), ("match_rms_adamw", 0.2 * math.sqrt(12))):
        state = {"layers.0.weight": np.zeros((12, 3))}
        kind = f"muon(adjust={adjust}, nesterov=false, momentum=0)"
        moved = reference.updated(kind, state, {"layers.0.weight": Scaled(m)}, {}, t=1, lr=0.1)
        np.testing.assert_allclose(moved["layers.0.weight"], -0.1 * factor * o, rtol=1e-13)


def test_muon_moves_all_but_hidden_maps_as_adamw_does() -> None:
    rng = np.random.default_rng(3)
    names = ["layers.0.bias", "norms.0.weight", "gates.0.weight", "inputs.weight", "readout.weight"]
    state = {name: rng.standard_normal((4, 3) if "gates" in name or "readout" in name else 4) for name in names}
    slopes = {name: Scaled(rng.standard_normal(w.shape)) for name, w in state.items()}
    muon, adamw = (
        reference.updated(kind, state, slopes, {}, t=1, lr=0.1)
        for kind in ("muon(momentum=0.5, ns_steps=3, eps=1)", "adamw(weight_decay=0.1)")
    )
    for name in names:
        np.testing.assert_array_equal(muon[name], adamw[name])


# --- Without scale -------------------------------------------------------------------------------

SCALE_FREE = ["adam", "adamw", "rmsprop", "rmsprop(centered=true, momentum=0.9)", "adagrad", "lion", "muon"]


def scale_free(optimizer: str) -> str:
    """The form of an optimiser with exponents."""
    return f"{optimizer[:-1]}, scale_free=true)" if optimizer.endswith(")") else f"{optimizer}(scale_free=true)"


def tensors(seed: int) -> tuple[State, list[dict[str, Scaled]]]:
    """A matrix and a vector, and gradients of three steps."""
    rng = np.random.default_rng(seed)
    shapes = {"layers.0.weight": (4, 3), "layers.0.bias": (4,)}
    state = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    return state, [{name: Scaled(rng.standard_normal(shape)) for name, shape in shapes.items()} for _ in range(3)]


def after(optimizer: str, state: State, slopes: list[dict[str, Scaled]], **given: Any) -> State:
    """Where these gradients lead."""
    kept: dict[str, Any] = {}
    for t, slope in enumerate(slopes, 1):
        state = reference.updated(optimizer, state, slope, kept, t=t, lr=0.1, **given)
    return state


@over_examples
@given(st.sampled_from(SCALE_FREE), st.integers(-4000, 4000), st.integers(0, 5))
def test_a_gradient_of_any_size_makes_the_same_step_without_scale(optimizer: str, exponent: int, seed: int) -> None:
    state, slopes = tensors(seed)
    scaled = [{name: Scaled(g.value, exponent) for name, g in slope.items()} for slope in slopes]
    one, other = (after(scale_free(optimizer), state, each) for each in (slopes, scaled))
    for name in state:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-12)
        assert np.abs(other[name] - state[name]).max() > 0.01


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "rmsprop", "adagrad"])
def test_a_vanished_gradient_moves_nothing_where_eps_has_a_scale(optimizer: str) -> None:
    state, slopes = tensors(0)
    tiny = [{name: Scaled(g.value, -1000) for name, g in slope.items()} for slope in slopes]
    decay = "(weight_decay=0)" if optimizer == "adamw" else ""
    plain = after(optimizer + decay, state, tiny)
    assert max(np.abs(plain[name] - state[name]).max() for name in state) == 0
    assert np.abs(after(scale_free(optimizer), state, tiny)["layers.0.bias"] - state["layers.0.bias"]).min() > 0


@pytest.mark.parametrize("optimizer", [o for o in SCALE_FREE if not o.startswith("muon")])
def test_the_form_without_scale_is_the_plain_one_where_eps_is_zero(optimizer: str) -> None:
    state, slopes = tensors(1)
    zero = (
        optimizer if optimizer == "lion" else optimizer[:-1] + ", eps=0)" if "(" in optimizer else optimizer + "(eps=0)"
    )
    one, other = after(zero, state, slopes), after(scale_free(zero), state, slopes)
    for name in state:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-12)


@pytest.mark.parametrize("optimizer", SCALE_FREE)
def test_a_gradient_of_zero_is_no_direction(optimizer: str) -> None:
    state, slopes = tensors(2)
    nothing = [{name: Scaled(0 * g.value) for name, g in slope.items()} for slope in slopes]
    kind = scale_free(optimizer)
    kind = f"{kind[:-1]}, weight_decay=0)" if optimizer in {"adamw", "muon"} else kind
    for name, w in after(kind, state, nothing).items():
        np.testing.assert_array_equal(w, state[name])


@pytest.mark.parametrize("optimizer", ["sgd(weight_decay=0.1)", *SCALE_FREE])
def test_a_tensors_own_rate_of_half_halves_its_first_step_and_leaves_others_alone(optimizer: str) -> None:
    state, slopes = tensors(3)
    moved = after(optimizer, state, slopes, rates={"layers.0.weight": 0.0})
    np.testing.assert_array_equal(moved["layers.0.weight"], state["layers.0.weight"])
    np.testing.assert_array_equal(moved["layers.0.bias"], after(optimizer, state, slopes)["layers.0.bias"])
    whole, half = (after(optimizer, state, slopes[:1], rates={"layers.0.bias": rate}) for rate in (1.0, 0.5))
    step, part = (each["layers.0.bias"] - state["layers.0.bias"] for each in (whole, half))
    np.testing.assert_allclose(part, step / 2, rtol=1e-12)


# --- Clipping and boosting -----------------------------------------------------------------------


def slopes_of(seed: int = 0, size: float = 1.0) -> dict[str, Scaled]:
    """Gradients of two layers and a readout."""
    rng = np.random.default_rng(seed)
    shapes = {"layers.0.weight": (4, 3), "layers.0.bias": (4,), "layers.1.weight": (4, 4), "readout.weight": (2, 4)}
    return {name: Scaled(size * rng.standard_normal(shape)) for name, shape in shapes.items()}


def plain(slopes: Mapping[str, Scaled]) -> State:
    return {name: g.true() for name, g in slopes.items()}


def test_clipping_shrinks_to_the_norm_less_torchs_millionth() -> None:
    assert shrink(3.0, 1.0) == 1 / (3 + 1e-6)
    assert shrink(0.5, 1.0) == 1
    # A norm that is the limit itself is shrunk a little.
    assert shrink(1.0, 1.0) == 1 / (1 + 1e-6)
    slopes = slopes_of()
    total = math.sqrt(sum(float((g.value**2).sum()) for g in slopes.values()))
    for name, g in plain(by_norm(slopes, 0.3, lambda _: "")).items():
        np.testing.assert_allclose(g, slopes[name].value * (0.3 / (total + 1e-6)), rtol=1e-14)


@pytest.mark.parametrize(("per", "alike"), [("global", None), ("layer", True), ("tensor", None)])
def test_the_twin_clips_as_the_functions_of_the_package(per: str, *, alike: bool | None) -> None:
    slopes = slopes_of(1, 3.0)
    clipped = plain(Clip(0.5, per=per)(slopes, {}))
    if per == "tensor":
        expected = {name: vg.clip_grad_norm([g], 0.5).grads[0] for name, g in plain(slopes).items()}
    else:
        expected = vg.clip_grad_norm(plain(slopes), 0.5, per_layer=bool(alike)).grads
    for name, g in clipped.items():
        np.testing.assert_allclose(g, expected[name], rtol=1e-14)


def test_the_twin_clips_values_and_units_as_the_functions_of_the_package() -> None:
    slopes, state = slopes_of(2, 3.0), {name: 0.1 * g.value for name, g in slopes_of(3).items()}
    state["layers.0.bias"] = np.zeros(4)
    values, units = vg.clip_grad_value(plain(slopes), 0.5).grads, vg.clip_adaptive(plain(slopes), state, 0.01).grads
    for name in slopes:
        np.testing.assert_array_equal(plain(by_value(slopes, 0.5))[name], values[name])
        np.testing.assert_allclose(plain(adaptive(slopes, state, 0.01))[name], units[name], rtol=1e-14)


def test_adaptive_clipping_keeps_a_units_gradient_below_a_share_of_its_weights() -> None:
    state = {"layers.0.weight": np.array([[0.6, 0.8], [0.0, 2.0]]), "layers.0.bias": np.zeros(2)}
    state["readout.weight"] = np.ones((1, 2))
    slopes = {
        "layers.0.weight": Scaled(np.array([[3.0, 4.0], [0.0, 0.01]])),
        "layers.0.bias": Scaled(np.array([0.3, 0.4])),
        "readout.weight": Scaled(np.array([[9.0, 9.0]])),
    }
    clipped = plain(adaptive(slopes, state, 0.01))
    np.testing.assert_allclose(clipped["layers.0.weight"], [[0.006, 0.008], [0.0, 0.01]], rtol=1e-14)
    np.testing.assert_allclose(clipped["layers.0.bias"], [0.6e-5, 0.8e-5], rtol=1e-14)  # one vector, weights of 0
    np.testing.assert_array_equal(clipped["readout.weight"], [[9.0, 9.0]])


def test_boosting_brings_small_tensors_to_a_norm_and_leaves_large_ones() -> None:
    g = Scaled(np.array([3e-9, 4e-9]))
    assert boost(g, 1.0) == pytest.approx(2e8, rel=1e-14)
    assert boost(g, 1e-12) == 1
    assert boost(g, 1.0, max_boost=100) == 100
    assert boost(Scaled(np.zeros(2)), 1.0) == 1
    assert boost(Scaled(np.array([3.0, 4.0]), -2000), 1.0) == 1e30
    slopes = slopes_of(4) | {"layers.0.bias": Scaled(np.array([1e-20, 0, 0, 0]))}
    boosted = plain(Clip(min_norm=0.5)(slopes, {}))
    np.testing.assert_allclose(boosted["layers.0.bias"], [0.5, 0, 0, 0], rtol=1e-14)
    np.testing.assert_array_equal(boosted["layers.1.weight"], slopes["layers.1.weight"].value)


def test_what_is_boosted_is_clipped_after() -> None:
    slopes = {"layers.0.weight": Scaled(np.array([[1e-9]])), "layers.1.weight": Scaled(np.array([[4.0]]))}
    done = plain(Clip(max_norm=1.0, min_norm=3.0)(slopes, {}))
    np.testing.assert_allclose(done["layers.0.weight"], 3 / (5 + 1e-6), rtol=1e-14)
    np.testing.assert_allclose(done["layers.1.weight"], 4 / (5 + 1e-6), rtol=1e-14)


# --- Runs ------------------------------------------------------------------------------------------

LOSS = "cross_entropy"


def core(
    spec: vg.MLP,
    state: State,
    x: Array,
    y: Array,
    optimizer: str,
    *,
    steps: int,
    schedule: str = "constant",
    clip: Clip | None = None,
    rates: Array | None = None,
    noise: float = 0.0,
    seed: int = 0,
    batch: int | None = None,
    dtype: str = "float64",
    loss: str = LOSS,
    columns: Sequence[str] = (),
) -> dict[str, Any]:
    """What the core reports of a run of these weights, which reads its loss behind every step."""
    found: list[dict[str, Any]] = []
    every = range(1, steps + 1)
    _core.train(
        _core.Weights.given(spec, {name: w.astype(dtype) for name, w in state.items()}),
        [{"optimizer": optimizer, "schedule": schedule, "clip": clip and tuple(clip), "noise": noise, "rates": rates}],
        lambda _, result: found.append(result),
        x=x,
        y=y,
        loss=loss,
        validation=None,
        steps=steps,
        until=None,
        batch=batch or len(x),
        record=every,
        columns=columns,
        sharpness=[],
        validate=every,
        checkpoints=[],
        nonfinite="stop",
        patience=None,
        keep_weights=True,
        resume=None,
        seeds=1,
        seed=seed,
        dtype=dtype,
        threads=1,
        progress=None,
    )
    return found[0]


# --- Other libraries -----------------------------------------------------------------------------

LONG = 300
NET = vg.MLP(depth=3, width=(7, 5, 6), in_features=4, out_features=3, activation="tanh", bias="normal(std=0.3)")
X, Y = np.random.default_rng(5).standard_normal((12, 4)), np.arange(12) % 3

# torch's class, its arguments, and ours.
OF_TORCH: list[tuple[str, dict[str, Any], str]] = [
    ("SGD", {}, "sgd(lr=0.1)"),
    ("SGD", {"momentum": 0.9}, "sgd(lr=0.1, momentum=0.9)"),
    ("SGD", {"momentum": 0.9, "nesterov": True}, "sgd(lr=0.1, momentum=0.9, nesterov=true)"),
    (
        "SGD",
        {"momentum": 0.8, "dampening": 0.5, "weight_decay": 1e-3},
        "sgd(lr=0.1, momentum=0.8, dampening=0.5, weight_decay=0.001)",
    ),
    ("Adam", {}, "adam(lr=0.01)"),
    ("Adam", {"betas": (0.8, 0.95), "eps": 1e-3}, "adam(lr=0.01, beta1=0.8, beta2=0.95, eps=0.001)"),
    ("Adam", {"weight_decay": 1e-3}, "adam(lr=0.01, weight_decay=0.001)"),
    ("AdamW", {}, "adamw(lr=0.01)"),
    ("RMSprop", {}, "rmsprop(lr=0.002)"),
    (
        "RMSprop",
        {"alpha": 0.9, "momentum": 0.9, "centered": True, "eps": 1e-3, "weight_decay": 1e-3},
        "rmsprop(lr=0.002, alpha=0.9, momentum=0.9, centered=true, eps=0.001, weight_decay=0.001)",
    ),
    ("Adagrad", {}, "adagrad(lr=0.05)"),
    (
        "Adagrad",
        {"lr_decay": 0.01, "initial_accumulator_value": 0.1, "weight_decay": 1e-3},
        "adagrad(lr=0.05, lr_decay=0.01, initial_accumulator=0.1, weight_decay=0.001)",
    ),
    ("Muon", {}, "muon(lr=0.01)"),
    (
        "Muon",
        {"nesterov": False, "momentum": 0.8, "ns_steps": 3},
        "muon(lr=0.01, nesterov=false, momentum=0.8, ns_steps=3)",
    ),
    ("Muon", {"adjust_lr_fn": "match_rms_adamw"}, "muon(lr=0.01, adjust=match_rms_adamw)"),
]


def assert_ours(theirs: State, optimizer: str, schedule: str = "constant", clip: Clip | None = None) -> None:
    """The twin and the core come to the same weights as others do."""
    start = NET.init(seed=1, dtype="float64").state_dict()
    given: dict[str, Any] = {"optimizer": optimizer, "schedule": schedule, "clip": clip, "steps": LONG}
    twin = reference.train(reference.Trainer(NET, start, loss=LOSS, **given), X, Y)[-1].state
    assert farthest(theirs, twin) < 1e-9
    assert farthest(theirs, core(NET, start, X, Y, **given)["weights"][0].state_dict()) < 1e-9


def farthest(one: State, other: Mapping[str, Array]) -> float:
    """The largest difference of two states, as a share of a tensor's norm."""
    return max(float(np.linalg.norm(w - other[name]) / np.linalg.norm(w)) for name, w in one.items())


@pytest.mark.parametrize(("name", "given", "ours"), OF_TORCH, ids=[ours for *_, ours in OF_TORCH])
def test_three_hundred_steps_are_those_of_torch(
    name: str, given: dict[str, Any], ours: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    # Its Muon multiplies in bfloat16, of three digits: in float64 here.
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)
    lr = float(reference.parse(ours)[1]["lr"])
    state = NET.init(seed=1, dtype="float64").state_dict()
    leaves = {key: torch.tensor(value, dtype=torch.float64, requires_grad=True) for key, value in state.items()}
    rest = [leaf for key, leaf in leaves.items() if name == "Muon" and not is_hidden_map(key)]
    others = [leaf for key, leaf in leaves.items() if name != "Muon" or is_hidden_map(key)]
    optimizers = [getattr(torch.optim, name)(others, lr=lr, **given)]
    if rest:
        optimizers.append(torch.optim.AdamW(rest, lr=lr, weight_decay=0.1))
    for _ in range(LONG):
        now = {key: leaf.detach().numpy().copy() for key, leaf in leaves.items()}
        slopes = torch_gradients(NET, now, X, y=Y, loss=LOSS).parameters
        for key, leaf in leaves.items():
            leaf.grad = torch.tensor(slopes[key])
        for optimizer in optimizers:
            optimizer.step()
    assert_ours({key: leaf.detach().numpy() for key, leaf in leaves.items()}, ours)


@pytest.mark.parametrize(
    ("name", "given", "ours"),
    [
        ("SGD", {"momentum": 0.9}, "sgd(lr=0.1, momentum=0.9)"),
        ("Adam", {}, "adam(lr=0.01)"),
        ("AdamW", {}, "adamw(lr=0.01)"),
        ("RMSprop", {"momentum": 0.5}, "rmsprop(lr=0.002, momentum=0.5)"),
    ],
)
def test_three_hundred_clipped_steps_of_one_cycle_are_those_of_torch(
    name: str, given: dict[str, Any], ours: str
) -> None:
    torch = pytest.importorskip("torch")
    lr = float(reference.parse(ours)[1]["lr"])
    state = NET.init(seed=1, dtype="float64").state_dict()
    leaves = {key: torch.tensor(value, dtype=torch.float64, requires_grad=True) for key, value in state.items()}
    optimizer = getattr(torch.optim, name)(leaves.values(), lr=lr, **given)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=lr, total_steps=LONG)
    for t in range(1, LONG + 1):
        now = {key: leaf.detach().numpy().copy() for key, leaf in leaves.items()}
        slopes = torch_gradients(NET, now, X, y=Y, loss=LOSS).parameters
        for key, leaf in leaves.items():
            leaf.grad = torch.tensor(slopes[key])
        torch.nn.utils.clip_grad_norm_(leaves.values(), 0.2)
        optimizer.step()
        if t < LONG:
            scheduler.step()
    assert_ours({key: leaf.detach().numpy() for key, leaf in leaves.items()}, ours, "one_cycle", Clip(0.2))


# optax's function, its arguments, and ours, where it has the same form. Its Adagrad has eps within the root, its
# RMSprop the rate within the buffer; its Muon adds eps to a norm and makes up for a mean's start at 0.
OF_OPTAX: list[tuple[str, dict[str, Any], str]] = [
    ("sgd", {"momentum": 0.9}, "sgd(lr=0.1, momentum=0.9)"),
    ("sgd", {"momentum": 0.9, "nesterov": True}, "sgd(lr=0.1, momentum=0.9, nesterov=true)"),
    ("adam", {}, "adam(lr=0.01)"),
    ("adamw", {"weight_decay": 1e-2}, "adamw(lr=0.01)"),
    ("rmsprop", {"decay": 0.99, "eps_in_sqrt": False}, "rmsprop(lr=0.002)"),
    (
        "rmsprop",
        {"decay": 0.9, "eps": 1e-3, "eps_in_sqrt": False, "centered": True, "momentum": 0.5},
        "rmsprop(lr=0.002, alpha=0.9, eps=0.001, centered=true, momentum=0.5)",
    ),
    ("adagrad", {"initial_accumulator_value": 0.1, "eps": 0.0}, "adagrad(lr=0.05, initial_accumulator=0.1, eps=0)"),
    ("lion", {"weight_decay": 0.0}, "lion(lr=0.002)"),
    ("lion", {"weight_decay": 0.1, "b1": 0.8, "b2": 0.95}, "lion(lr=0.002, weight_decay=0.1, beta1=0.8, beta2=0.95)"),
    (
        "contrib.muon",
        {"beta": 0.95, "nesterov": False, "eps": 0.0, "weight_decay": 0.1},
        "muon(lr=0.01, nesterov=false, eps=0)",
    ),
]


@pytest.fixture
def float64() -> Iterator[None]:
    """JAX in float64, for one test alone."""
    with pytest.importorskip("jax").enable_x64(True):
        yield


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("name", "given", "ours"), OF_OPTAX, ids=[ours for *_, ours in OF_OPTAX])
def test_three_hundred_steps_are_those_of_optax(name: str, given: dict[str, Any], ours: str) -> None:
    optax, jax = pytest.importorskip("optax"), pytest.importorskip("jax")
    lr = float(reference.parse(ours)[1]["lr"])
    state = NET.init(seed=1, dtype="float64").state_dict()
    maps = {key for key in state if is_hidden_map(key)}
    rules = [(attrgetter(name)(optax)(lr, **given), {*state})]
    if name == "contrib.muon":  # it wants to know which axis is the input's
        axes = optax.contrib.MuonDimensionNumbers(reduction_axis=1, output_axis=0)
        muon = optax.contrib.muon(lr, **given, muon_weight_dimension_numbers=dict.fromkeys(maps, axes))
        rules = [(muon, maps), (optax.adamw(lr, weight_decay=0.1), {*state} - maps)]

    def some(of: Mapping[str, Array], keys: Collection[str]) -> State:
        return {key: of[key] for key in keys}

    kept = [rule.init(some(state, keys)) for rule, keys in rules]
    moves = [jax.jit(rule.update) for rule, _ in rules]
    for _ in range(LONG):
        slopes = reference.gradients(NET, state, X, Y, LOSS).parameters
        for i, (move, (_, keys)) in enumerate(zip(moves, rules, strict=True)):
            steps, kept[i] = move(some(slopes, keys), kept[i], some(state, keys))
            state |= {key: state[key] + np.asarray(step) for key, step in steps.items()}
    assert_ours(state, ours)


# --- The core ------------------------------------------------------------------------------------


def problem(name: str) -> tuple[vg.MLP, State, Array, Array]:
    """A small net with weights, and its data."""
    fields: dict[str, Any] = {"depth": 3, "width": 5, "in_features": 4, "out_features": 3}
    spec: Any = vg.Sequential(LISTS[name], in_features=4) if name in LISTS else vg.MLP(**fields | NETS[name])
    rng = np.random.default_rng(11)
    return (
        spec,
        spec.init(seed=2, dtype="float64").state_dict(),
        rng.standard_normal((9, spec.in_features or 5)),
        np.arange(9) % 3,
    )


NETS: dict[str, dict[str, Any]] = {
    "relu": {"activation": "relu", "bias": "normal(std=0.3)"},
    "batch norm": {"activation": "tanh", "norm": "batch"},
    "highway": {"activation": "tanh", "skip": "highway"},
    "prelu": {"activation": "prelu", "bias": "normal(std=0.3)"},
    "rezero": {"activation": "tanh", "skip": "rezero(alpha=0.3)", "depth": 4, "block": 2},
    "weight standardisation": {"activation": "silu", "weight_transform": "weight_standardization"},
    "tied": {"activation": "tanh", "in_features": 5, "tied": True},
    "dropout": {"activation": "tanh", "dropout": [0.3, 0.0, 0.5], "bias": [False, None, "normal", False]},
    "blocks": {
        "depth": 5,
        "stem": 1,
        "block": 2,
        "width": [5, 7, 5],
        "activation": ["linear", "gelu", "gelu"],
        "norm": [None, "layer", None],
        "norm_position": "input",
        "skip": "residual(order=linear)",
        "final_norm": "rms",
        "dropout": [0.0, 0.0, 0.2],
    },
}
LISTS = {
    "list": [
        *("keep(x)", "linear(5)", "tanh", "dropout(0.2)", "keep(a)", "rms", "linear(7)", "prelu", "linear(5)"),
        *("rezero(a)", "dropout(0.4)", "concat(x)", "layer", "linear(6)", "gelu", "project(a, 0.5)", "linear(3)"),
    ],
}
OPTIMIZERS = [
    *("sgd(lr=0.1)", "sgd(lr=0.1, momentum=0.9, dampening=0.3, weight_decay=0.01)"),
    "sgd(lr=0.1, momentum=0.9, nesterov=true)",
    *("adam(lr=0.01)", "adam(lr=0.01, beta1=0.5, beta2=0.9, eps=0.01, weight_decay=0.1)"),
    *("adam(lr=0.01, scale_free=true)", "adamw(lr=0.01)", "adamw(lr=0.01, weight_decay=0.3, scale_free=true)"),
    *("rmsprop(lr=0.01)", "rmsprop(lr=0.01, momentum=0.5, centered=true, weight_decay=0.1)"),
    *("rmsprop(lr=0.01, scale_free=true)", "rmsprop(lr=0.01, momentum=0.5, centered=true, eps=0.1, scale_free=true)"),
    *("adagrad(lr=0.05)", "adagrad(lr=0.05, lr_decay=0.1, weight_decay=0.1, initial_accumulator=0.1)"),
    *("adagrad(lr=0.05, scale_free=true)", "adagrad(lr=0.05, initial_accumulator=0.1, scale_free=true)"),
    *("lion(lr=0.01, weight_decay=0.1)", "lion(lr=0.01, scale_free=true)"),
    *("muon(lr=0.02)", "muon(lr=0.02, nesterov=false, adjust=match_rms_adamw, ns_steps=3, scale_free=true)"),
]
CLIPS = [
    None,
    Clip(max_norm=0.1),
    Clip(max_norm=0.05, per="layer"),
    Clip(max_norm=0.02, per="tensor"),
    Clip(max_norm=0.01, per="value"),
    Clip(max_norm=0.005, per="agc"),
    Clip(min_norm=0.2),
    Clip(max_norm=0.3, min_norm=0.4, max_boost=3.0),
    Clip(max_norm=0.01, min_norm=0.5, per="value"),
]
SCHEDULES = [
    *("constant", "linear(total=4)", "step(size=2)", "multistep(first=1, second=3)", "exponential(gamma=0.7)"),
    *("cosine(warmup=1)", "one_cycle(pct_start=0.5)", "plateau(patience=0, threshold=0.5)", "warmup(steps=3)"),
    *("inverse_sqrt(warmup=2)", "noam(d_model=2, warmup=2)", "wsd(warmup=1, decay=2)"),
]
PAIRS = list(product(CLIPS, SCHEDULES))


def assert_same(core_state: State, twin_state: State, start: State, skipped: Collection[str] = ()) -> None:
    """Equal to 1e-10 of the way that a tensor has come, or to rounding of the tensor."""
    for name, w in twin_state.items():
        if name not in skipped:
            way, size = (float(np.abs(v).max()) for v in (w - start[name], w))
            np.testing.assert_allclose(core_state[name], w, rtol=0, atol=1e-10 * way + 1e-14 * size, err_msg=name)


def rounding(spec: vg.MLP, state: State) -> set[str]:
    """Biases that a norm over samples takes off again: their gradient is rounding alone."""
    return {
        name for name in state if getattr(spec, "norm", None) and name.startswith("layers") and name.endswith("bias")
    }


@pytest.mark.parametrize("net", [*NETS, *LISTS])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_steps_of_the_core_are_those_of_the_twin(optimizer: str, net: str) -> None:
    # Every net takes its share of all pairs of a clip and a schedule.
    spec, start, x, y = problem(net)
    place, count = [*NETS, *LISTS].index(net), len(NETS) + len(LISTS)
    for clip, schedule in PAIRS[place::count]:
        for steps in (1, 3):
            given: dict[str, Any] = {"optimizer": optimizer, "schedule": schedule, "clip": clip, "steps": steps}
            twin = reference.Trainer(spec, start, loss=LOSS, **given)
            expected = reference.train(twin, x, y)
            found = core(spec, start, x, y, **given)
            for key, values in {
                "loss": [each.loss for each in expected],
                "lr": [each.lr for each in expected],
                "log10_grad_norm": [math.log10(each.norm) for each in expected],
            }.items():
                np.testing.assert_allclose(found[key], [values], rtol=1e-10, atol=1e-10, err_msg=f"{key} {given}")
            state = found["weights"][0].state_dict()
            assert_same(state, expected[-1].state, start, rounding(spec, start))


@pytest.mark.parametrize("per", ["global", "layer", "tensor", "value", "agc"])
@pytest.mark.parametrize("optimizer", ["sgd(lr=0.1)", "adamw(lr=0.01)", "muon(lr=0.02)"])
def test_what_is_frozen_stays_and_counts_in_no_norm(optimizer: str, per: str) -> None:
    spec, start, x, y = problem("prelu")
    rates = {"layers.0.weight": 0.0, "layers.1.bias": 0.0, "activations.2.weight": 0.0, "readout.weight": 0.5}
    clip = Clip(max_norm=0.01, min_norm=0.1, per=per)
    twin = reference.Trainer(spec, start, loss=LOSS, steps=3, optimizer=optimizer, clip=clip, rates=rates)
    expected = reference.train(twin, x, y)
    factors = np.array([rates.get(name, 1.0) for name in start])
    found = core(spec, start, x, y, optimizer, steps=3, clip=clip, rates=factors)
    state = found["weights"][0].state_dict()
    assert_same(state, expected[-1].state, start)
    np.testing.assert_allclose(10 ** found["log10_grad_norm"], [[each.norm for each in expected]], rtol=1e-10)
    for name, rate in rates.items():
        assert np.array_equal(state[name], start[name]) == (rate == 0), name


@pytest.mark.parametrize("net", ["relu", "batch norm", "tied", "dropout", "blocks", "list"])
def test_batches_and_noise_are_drawn_as_the_twin_draws_them(net: str) -> None:
    spec, start, x, y = problem(net)
    given: dict[str, Any] = {"steps": 7, "optimizer": "adam(lr=0.01, eps=0.01)", "clip": Clip(0.3)}
    twin = reference.Trainer(spec, start, loss=LOSS, seed=5, **given)
    found = core(spec, start, x, y, **given, noise=0.1, seed=5, batch=4)
    for t in range(1, 8):
        some = rows(5, len(x), 4, t)
        stepped = twin.step(x[some], y[some], noise(5, start, 0.1, t))
        assert found["loss"][0, t - 1] == pytest.approx(stepped.loss, rel=1e-10)
        assert 10 ** found["log10_grad_norm"][0, t - 1] == pytest.approx(stepped.norm, rel=1e-10)
    assert_same(found["weights"][0].state_dict(), twin.state, start, rounding(spec, start))


def test_running_statistics_are_those_of_torch() -> None:
    spec, start, x, y = problem("batch norm")
    twin = reference.Trainer(spec, start, loss=LOSS, steps=4, optimizer="sgd(lr=0.1)")
    reference.train(twin, x, y)
    found = core(spec, start, x, y, "sgd(lr=0.1)", steps=4)["statistics"][0]
    assert_same_statistics(found, twin.moments)


def test_running_statistics_of_drawn_weights_begin_with_0_and_1_as_torchs() -> None:
    spec, _, x, y = problem("batch norm")
    start = {name: np.asarray(w) for name, w in spec.init(0, dtype="float64").state_dict().items()}
    twin = reference.Trainer(spec, start, loss=LOSS, steps=4, optimizer="sgd(lr=0.1)")
    for name in [name.removesuffix(".weight") for name in start if name.startswith("norms") and "weight" in name]:
        twin.moments[name] = np.zeros(len(start[f"{name}.weight"])), np.ones(len(start[f"{name}.weight"]))
    reference.train(twin, x, y)
    run = vg.train(spec, x, y, loss=LOSS, steps=4, optimizer="sgd(lr=0.1)", batch=len(x), dtype="float64")
    assert_same_statistics(run.statistics[0], twin.moments)


def assert_same_statistics(found: Any, expected: Any) -> None:
    assert {*found} == {*expected}
    for name, moments in expected.items():
        for ours, theirs in zip(found[name], moments, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "optimizer", ["adamw(lr=0.1, scale_free=true)", "lion(lr=0.1, weight_decay=0.1)", "muon(lr=0.1)"]
)
def test_weights_without_a_gradient_decay(optimizer: str) -> None:
    spec = vg.MLP(depth=2, width=3, out_features=2, activation="relu")
    start = spec.init(seed=0, dtype="float64").state_dict()
    start["layers.1.bias"] -= 5.0  # all units of the second layer are dead
    x, y = np.random.default_rng(0).standard_normal((4, 3)), np.arange(4) % 2
    twin = reference.Trainer(spec, start, loss=LOSS, steps=2, optimizer=optimizer)
    expected = reference.train(twin, x, y)[-1].state
    shares = expected["layers.0.weight"] / start["layers.0.weight"]
    np.testing.assert_allclose(shares, shares[0, 0], rtol=1e-14)
    assert shares[0, 0] < 1
    assert_same(core(spec, start, x, y, optimizer, steps=2)["weights"][0].state_dict(), expected, start)


def test_clipping_says_what_it_has_done() -> None:
    spec, start, x, y = problem("relu")
    slopes = reference.gradients(spec, start, x, y, LOSS).parameters
    norms = {name: float(np.linalg.norm(g)) for name, g in slopes.items()}
    total = math.hypot(*norms.values())

    def said(**given: Any) -> tuple[float, ...]:
        found = core(spec, start, x, y, "sgd", steps=1, clip=Clip(**given))
        assert 10 ** found["log10_grad_norm"][0, 0] == pytest.approx(total, rel=1e-12)
        return tuple(float(found[name][0, 0]) for name in ("clip_coef", "log10_boost", "clipped"))

    limit = float(np.median([*norms.values()]))
    assert said() == (1, 0, 0)
    assert said(max_norm=2 * total) == (1, 0, 0)
    assert said(max_norm=total / 2) == pytest.approx((shrink(total, total / 2), 0, 1), rel=1e-12)
    over = np.mean([norm + 1e-6 > limit for norm in norms.values()])
    assert said(max_norm=limit, per="tensor") == pytest.approx((shrink(max(norms.values()), limit), 0, over), rel=1e-12)
    coef, boosted, clipped = said(max_norm=0.01, per="value")
    assert (math.isnan(coef), boosted) == (True, 0)
    assert clipped == np.mean(np.concatenate([np.abs(g).ravel() > 0.01 for g in slopes.values()]))
    assert said(min_norm=limit) == pytest.approx((1, math.log10(limit / min(norms.values())), 0), rel=1e-12)
    assert said(min_norm=limit, max_boost=1.01)[1] == pytest.approx(math.log10(1.01), rel=1e-12)


@pytest.mark.parametrize("clip", [clip for clip in CLIPS if clip is not None])
@pytest.mark.parametrize("optimizer", ["sgd(lr=0.1)", "adam(lr=0.01)"])
def test_the_recorded_norms_are_those_of_the_gradient_before_and_of_the_step_after(optimizer: str, clip: Clip) -> None:
    spec, start, x, y = problem("relu")
    slopes = reference.gradients(spec, start, x, y, LOSS).parameters
    columns = ["log10_weight_norm", "log10_wgrad_norm", "log10_update_norm", "log10_update_ratio"]
    found = core(spec, start, x, y, optimizer, steps=1, clip=clip, columns=columns)
    state = found["weights"][0].state_dict()
    for i, layer in enumerate(found["layers"]):
        name = f"{layer}.weight"
        norms = [float(np.linalg.norm(v)) for v in (start[name], slopes[name], state[name] - start[name])]
        norms.append(norms[2] / norms[0])
        said = [10 ** found[column][0, 0, i] for column in columns]
        np.testing.assert_allclose(said, norms, rtol=1e-9, err_msg=name)


@pytest.mark.parametrize(
    ("limit", "per"), [(1.0, "global"), (1.0, "layer"), (1.0, "tensor"), (1.0, "value"), (0.01, "agc")]
)
def test_a_gradient_beyond_float32_is_clipped_to_one_within_it(limit: float, per: str) -> None:
    # |dL/dW| is 1e43.
    spec = vg.MLP(depth=1, width=2, in_features=2, out_features=1, activation="linear")
    start = {name: 1e14 * (w != 0) for name, w in spec.init(seed=0, dtype="float64").state_dict().items()}
    x, y = np.ones((1, 2)), np.zeros((1, 1))
    # agc leaves readouts alone, and so this one stays.
    rates = np.array([1.0, 1.0, 0.0, 0.0]) if per == "agc" else None
    given: dict[str, Any] = {"steps": 1, "clip": Clip(limit, per=per), "loss": "mse", "rates": rates}
    single, double = (core(spec, start, x, y, "sgd(lr=1e9)", dtype=dtype, **given) for dtype in ("float32", "float64"))
    assert double["log10_grad_norm"][0, 0] > 43
    for name, w in double["weights"][0].state_dict().items():
        np.testing.assert_allclose(single["weights"][0].state_dict()[name], w, rtol=1e-6, err_msg=name)


def stepped(optimizer: str) -> float:
    """The root mean square of the first step, in float32, of the first layer of a net whose gradient ends at 1e-300."""
    spec = vg.MLP(depth=433, width=4, out_features=2, activation="sigmoid", init="xavier_normal")
    start = spec.init(seed=0, dtype="float32").state_dict()
    x, y = np.random.default_rng(0).standard_normal((4, 4)), np.arange(4) % 2
    found = core(spec, start, x, y, optimizer, steps=1, dtype="float32", columns=["log10_wgrad_norm"])
    assert -305 < found["log10_wgrad_norm"][0, 0, 0] < -295
    name = "layers.0.weight"
    return float(np.sqrt(np.mean((found["weights"][0].state_dict()[name] - start[name]) ** 2)))


@pytest.mark.parametrize(
    ("optimizer", "size"),
    [
        *(("adam(lr=0.01)", 1), ("adamw(lr=0.01, weight_decay=0)", 1), ("adagrad(lr=0.01)", 1), ("lion(lr=0.01)", 1)),
        ("rmsprop(lr=0.01)", 10),  # 1 / sqrt(1 - 0.99)
        ("muon(lr=0.01, weight_decay=0)", 0.3),  # one or two singular values between 0.68 and 1.2, over 16 entries
    ],
)
def test_a_gradient_of_1e_300_moves_its_layer_without_scale_and_not_with_one(optimizer: str, size: float) -> None:
    tolerance = 0.45 if optimizer.startswith("muon") else 1e-3
    assert stepped(scale_free(optimizer)) == pytest.approx(0.01 * size, rel=tolerance)
    assert stepped(optimizer) == 0


@pytest.mark.parametrize("net", [net for net in NETS if net != "batch norm"])
@pytest.mark.parametrize("optimizer", SCALE_FREE)
def test_a_multiple_of_the_loss_makes_the_same_steps_without_scale(optimizer: str, net: str) -> None:
    spec, start, x, y = problem(net)
    mean, total = (
        core(spec, start, x, y, scale_free(optimizer), steps=4, loss=loss)["weights"][0].state_dict()
        for loss in (LOSS, "cross_entropy(reduction=sum)")
    )
    assert_same(mean, total, start)


@pytest.mark.parametrize(("total", "batch"), [(9, 4), (10, 5), (7, 7), (3, 8), (64, 1)])
def test_the_core_tells_the_rows_of_every_step(total: int, batch: int) -> None:
    for seed in (0, 2**40 + 3):
        for t in range(1, 20):
            np.testing.assert_array_equal(_core.batch_rows(seed, total, batch, t), rows(seed, total, batch, t))


def test_a_trained_net_is_judged_by_its_running_statistics() -> None:
    spec, start, x, y = problem("batch norm")
    found = core(spec, start, x, y, "sgd(lr=0.1)", steps=4)
    state, moments = found["weights"][0].state_dict(), found["statistics"][0]
    h = x
    for l in range(spec.depth):
        z = h @ state[f"layers.{l}.weight"].T + state[f"layers.{l}.bias"]
        mean, var = moments[f"norms.{l}"]
        h = np.tanh(state[f"norms.{l}.weight"] * (z - mean) / np.sqrt(var + 1e-5) + state[f"norms.{l}.bias"])
    out = h @ state["readout.weight"].T + state["readout.bias"]
    loss, accuracy = _core.evaluate(found["weights"][0], moments, x, y, LOSS)
    assert loss == pytest.approx(reference.evaluate(LOSS, out, y)[0], rel=1e-10)
    assert accuracy == np.mean(out.argmax(axis=1) == y)
