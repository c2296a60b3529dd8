"""Activations of a user's own: as exact as they say, wherever a spec goes."""

import gc
import math
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

import vgcore as vg
from vgcore import reference


def bump(z: float) -> float:
    return z * math.exp(-z * z)


def ramp(z: float) -> float:
    return max(z, 0.0) + 0.25


FUNCTIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any] | None, dict[str, Any]]] = {
    "of one number": (bump, None, {"low": -7, "high": 7}),
    "of arrays": (np.tanh, lambda z: 1 / np.cosh(z) ** 2, {}),
    "with a kink": (ramp, None, {"kinks": [0.0]}),
    "with a jump": (lambda z: np.sign(z - 1) + z / 2, None, {"kinks": [1.0], "low": -3.5}),
}


@pytest.mark.parametrize("case", FUNCTIONS)
def test_the_error_bound_holds_between_the_knots(case: str) -> None:
    f, df, options = FUNCTIONS[case]
    made = vg.Activation.custom("mine", f, df, **options)
    assert made.error_bound is not None
    assert max(made.error_bound) <= 1e-9
    low, high = options.get("low", -16), options.get("high", 16)
    z = np.random.default_rng(0).uniform(low, high, 20_000)
    value, slope = reference.activate(str(made), z)
    true = np.array([float(f(number)) for number in z])
    assert np.abs(value - true).max() <= 2 * made.error_bound[0] + 1e-14
    step = 1e-4
    clear = np.abs(z - options.get("kinks", [math.inf])[0]) > 2 * step
    numeric = np.array([(float(f(x + step)) - float(f(x - step))) / (2 * step) for x in z])
    assert np.abs(slope - numeric)[clear].max() < 1e-7


def slopes(activation: vg.Activation, z: Any) -> Any:
    """The slopes of an activation, as a net has them."""
    z = np.atleast_2d(z)
    spec = vg.MLP(depth=1, width=z.size, activation=activation, init="eye", bias=False)
    return spec.init(dtype="float64").trace(z).slopes[0]


Z = np.linspace(-5, 5, 998)
FLAT: dict[str, tuple[Callable[..., Any], list[float], Callable[..., Any]]] = {
    "sign": (np.sign, [0.0], lambda z: 0 * z),
    "hardtanh": (lambda z: np.clip(z, -1, 1), [-1.0, 1.0], lambda z: abs(z) < 1),
    "oblique": (lambda z: 0.3 * np.clip(z, -1.1, 0.7) + 2, [-1.1, 0.7], lambda z: 0.3 * ((z > -1.1) & (z < 0.7))),
    "leaky": (lambda z: np.where(z > 0, z, 0.2 * z), [], lambda z: np.where(z > 0, 1, 0.2)),
    "flat in a part of a piece": (lambda z: np.maximum(z, 0) ** 6 / 1e6, [], lambda z: 6e-6 * np.maximum(z, 0) ** 5),
}


@pytest.mark.parametrize("case", FLAT)
def test_flat_pieces_have_slope_0_and_lines_the_slope_of_the_line(case: str) -> None:
    f, kinks, df = FLAT[case]
    made = vg.Activation.custom("mine", f, kinks=kinks)
    found, true = slopes(made, Z), np.atleast_2d(df(Z)).astype(float)
    np.testing.assert_array_equal(found[true == 0], 0)
    np.testing.assert_allclose(found, true, rtol=0, atol=1e-9 if "part" in case else 0)
    level = vg.MLP(depth=1, width=Z.size, activation=made, init="eye", bias=False).init(dtype="float64").trace([Z]).a[0]
    np.testing.assert_array_equal(level[true == 0], np.atleast_2d(f(Z))[true == 0])


def test_nothing_comes_back_through_a_step() -> None:
    step = vg.Activation.custom("step", np.sign, kinks=[0.0])
    spec = vg.MLP(depth=4, width=16, activation=step)
    assert np.isneginf(vg.probe(spec).log10_delta_rms).all()
    assert "does not arrive at all" in vg.diagnose(spec).summary


def test_constant_samples_have_slope_0() -> None:
    z = np.linspace(-3, 3, 601)
    made = vg.Activation.from_samples("mine", z, np.clip(0.7 * z, -0.7, 0.7))
    np.testing.assert_array_equal(slopes(made, np.array([-9, -3, -1.5, -1.02, 1.02, 1.5, 3, 9])), 0)


def test_slopes_of_a_curve_are_not_touched_by_the_rule_of_lines() -> None:
    # The spelling is a hash of the samples: it is that of earlier versions.
    made = vg.Activation.custom("mine", lambda z: z / (1 + z * z), low=-4, high=4)
    assert made.error_bound is not None
    assert str(made) == "custom(table=mine_x11f7dc67b4030e46)"


@pytest.mark.parametrize(
    ("f", "df", "error", "message"),
    [
        (lambda z: z**2, lambda z: 3 * z, ValueError, "df is not the slope of f: at z = .* it is .*, differences of f"),
        (lambda z: np.sin(z) + z, np.cos, ValueError, "df is not the slope of f"),
        (np.sin, lambda z: np.where(z > 12, 0, np.cos(z)), ValueError, "df is not the slope of f"),
        (np.sum, None, ValueError, "f must return an array of z's shape, .*, got one number, "),
        (np.sin, np.mean, ValueError, "df must return an array of z's shape, .*, got one number"),
        (lambda z: z[:3], None, ValueError, "f must return an array of z's shape, .*, got shape"),
        (lambda z: z[:, None], None, ValueError, "f must return an array of z's shape, .*, got shape"),
        ("z**2", None, TypeError, r"f must be a function of an array, such as lambda z: z\*\*2, got 'z\*\*2'"),
        (np.sin, "cos", TypeError, "df must be a function of an array"),
        (lambda z: np.maximum(z - 0.1, 0), lambda z: z > 0.1, ValueError, "name the places where it bends or jumps"),
    ],
)
def test_a_function_that_is_none_or_a_slope_that_is_another_is_named(
    f: Any, df: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        vg.Activation.custom("mine", f, df)


def test_a_function_that_gives_one_number_for_all_is_constant() -> None:
    np.testing.assert_array_equal(slopes(vg.Activation.custom("mine", lambda z: 2 * z, lambda _: 2.0), Z), 2)
    np.testing.assert_array_equal(slopes(vg.Activation.custom("mine", lambda _: 0.5), Z), 0)


def test_a_function_that_bends_where_nobody_says_is_refused_with_the_error_reached() -> None:
    with pytest.raises(ValueError, match=r"'mine'.* reach an error of .* in slopes.*kinks"):
        vg.Activation.custom("mine", lambda z: np.maximum(z - 0.1, 0), low=-1, high=1)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"low": 2, "high": 1}, "low must be below high"),
        ({"tolerance": 0}, "tolerance must be above 0"),
        ({"kinks": [99]}, "kinks must lie between"),
        ({"name": "2x"}, "a letter first"),
        ({"f": lambda z: math.nan * z}, "must be finite"),
    ],
)
def test_bad_arguments_say_what_is_allowed(change: dict[str, Any], part: str) -> None:
    given: dict[str, Any] = {"name": "mine", "f": np.tanh} | change
    with pytest.raises(ValueError, match=part):
        vg.Activation.custom(given.pop("name"), given.pop("f"), **given)


def test_a_net_of_ones_own_tanh_is_a_net_of_tanh() -> None:
    mine = vg.Activation.custom("mine", np.tanh)
    spec = vg.MLP(depth=40, width=32, out_features=3, activation=mine, init="xavier_normal")
    ours, known = (vg.probe(s, seeds=2, dtype="float64") for s in (spec, spec.replace(activation="tanh")))
    for column in ("log10_z_rms", "log10_delta_rms", "log10_wgrad_norm"):
        assert np.abs(getattr(ours, column) - getattr(known, column)).max() < 1e-8
    twin = reference.probe(spec, seeds=2, dtype="float64")
    assert np.abs(ours.log10_delta_rms - twin["log10_delta_rms"]).max() < 1e-12
    assert max(vg.gradcheck(spec).values()) < 1e-6


def test_a_tiny_signal_passes_through_a_table_in_proportion() -> None:
    mine = vg.Activation.custom("mine", np.tanh)
    spec = vg.MLP(depth=900, width=9, activation=mine, init="lecun_normal(gain=0.2)")
    columns = vg.probe(spec, seeds=2).log10_a_rms - vg.probe(spec.replace(activation="tanh"), seeds=2).log10_a_rms
    assert np.abs(columns).max() < 1e-5


def test_a_spec_takes_its_tables_to_another_process() -> None:
    mine = vg.Activation.custom("mine", bump, low=-7, high=7)
    spec = vg.MLP(depth=2, width=4, activation=[mine, "relu"])
    assert vg.MLP.from_json(spec.to_json()) == spec == pickle.loads(pickle.dumps(spec))
    assert pickle.loads(pickle.dumps(mine)) == mine
    assert "tables" not in vg.MLP(depth=2, width=4).to_dict()
    code = "import sys, pickle, vgcore as vg; s = {}; print(s.id, s.init(0).forward([[1, 2, 3, 4]]).tolist())"
    out = f"{spec.id} {spec.init(0).forward(np.array([[1.0, 2, 3, 4]])).tolist()}\n"
    for load, data in [
        ("vg.MLP.from_json(sys.stdin.buffer.read().decode())", spec.to_json().encode()),
        ("pickle.load(sys.stdin.buffer)", pickle.dumps(spec)),
    ]:
        found = subprocess.run([sys.executable, "-c", code.format(load)], input=data, capture_output=True, check=True)
        assert found.stdout.decode() == out
    unknown = f"import vgcore as vg; vg.Activation({str(mine)!r})"
    message = subprocess.run([sys.executable, "-c", unknown], capture_output=True, check=False).stderr.decode()
    assert "no table 'mine_x" in message
    assert "from_json" in message


def test_samples_are_joined_and_go_on_as_lines() -> None:
    z = np.linspace(-3, 3, 601)
    made = vg.Activation.from_samples("mine", z, np.sin(z))
    assert made.error_bound is None
    value, slope = reference.activate(str(made), np.array([0.0, 0.505, 5.0]))
    assert np.abs(value[:2] - np.sin([0, 0.505])).max() < 1e-9
    assert np.abs(slope[:2] - np.cos([0, 0.505])).max() < 1e-6
    assert abs(value[2] - (math.sin(3) + 2 * math.cos(3))) < 1e-6
    for bad, part in [(([0, 1, 3], [0, 0, 0]), "even steps"), (([0, 1], [0]), "one length")]:
        with pytest.raises(ValueError, match=part):
            vg.Activation.from_samples("mine", *bad)


# The name that its owner gave


def test_a_sweep_names_an_activation_of_ones_own() -> None:
    mine = vg.Activation.custom("mine", np.tanh)
    swept = vg.sweep(vg.MLP(depth=2, width=4), activation=["relu", mine], seeds=1)
    assert str(mine) in {cell.spec.activation for cell in swept}
    assert "tables" not in swept.to_dict()
    assert [row["activation"] for row in swept.table()] == ["relu", "mine"]
    assert set(swept.to_dict()["activation"]) == {"relu", "mine"}
    assert [cell.spec.activation for cell in swept.select(activation="mine")] == [mine]


def test_two_of_one_name_and_one_of_a_known_name_can_be_told_apart() -> None:
    first, second = vg.Activation.custom("twice", np.tanh), vg.Activation.custom("twice", np.sin)
    assert [first.label, second.label] == ["twice", "twice (2)"]
    assert vg.Activation.custom("twice", np.sin).label == "twice (2)"  # the same one
    assert vg.Activation.custom("relu", np.arctan).label == "relu (custom)"
    assert vg.Activation.custom("swish", np.arctan).label == "swish (custom)"  # what others call silu
    assert vg.Activation("leaky_relu").label == "leaky_relu"
    del second
    gc.collect()
    assert vg.Activation.custom("twice", np.arctan).label == "twice (2)"  # nobody has the other one any more


def texts(result: Any) -> str:
    """All that a person reads of a picture."""
    figure = result if isinstance(result, Figure) else result.figure
    try:
        return "\n".join(text.get_text() for text in figure.findobj(Text))
    finally:
        plt.close(figure)


def test_what_people_read_calls_it_by_its_name() -> None:
    mine, other = vg.Activation.custom("mine", np.tanh), vg.Activation.custom("mine", np.sin)
    spec = vg.MLP(depth=4, width=8, out_features=2, activation=mine, init="lecun_normal(gain=0.3)")
    s = vg.sweep(spec, depth=[2, 4], activation=[mine, other, "relu"], seeds=2)
    x, y = np.random.default_rng(0).standard_normal((16, 8)), np.arange(16) % 2
    runs = vg.train_sweep(spec, x, y, steps=4, activation=[mine, other])
    d, judged = vg.diagnose(s, explain=True), vg.diagnose(runs)
    shown = {
        "specs": repr(
            [
                vg.Sequential(["linear(3)", mine], in_features=2),
                spec,
                s[0],
                s[0].spec,
                spec.init(0),
                vg.theory.predict(spec),
            ]
        ),
        "text": f"{d}",
        "HTML": d._repr_html_() + runs._repr_html_(),
        "trained": f"{judged}",
        "table": str(s.table()) + str(runs.table()),
        "frames": s.to_pandas().to_string() + str(runs.to_polars("cells").to_dicts()),
        "pictures": texts(vg.plot.layers(list(s))) + texts(vg.plot.depths(s)) + texts(vg.plot.training(runs[0])),
        "phases": texts(vg.plot.phase_diagram(vg.theory.phase_diagram(mine, sigma_w=[1, 2], sigma_b=[0, 1]))),
    }
    for what, text in shown.items():
        assert "custom(" not in text, what
        assert "mine" in text, what
    for what in ("text", "HTML", "table", "frames", "pictures"):
        assert "mine (2)" in shown[what], what


def test_errors_call_it_by_its_name() -> None:
    flat = vg.Activation.custom("flat", lambda z: 0 * z)
    spec = vg.MLP(depth=2, width=4, activation=flat)
    for call in (
        lambda: vg.calculate_gain(flat),
        lambda: vg.calculate_gain(flat, mode="forward"),
        lambda: vg.advise(spec.replace(depth=30, activation=vg.Activation.custom("flat", np.tanh)))[0].code("torch"),
    ):
        with pytest.raises(ValueError, match="flat") as caught:
            call()
        assert "custom(" not in str(caught.value)


def test_its_name_comes_back_from_json_pickles_stores_and_files(tmp_path: Path) -> None:
    mine, other = vg.Activation.custom("mine", np.tanh), vg.Activation.custom("mine", np.sin)
    base = vg.MLP(depth=2, width=4)
    s = vg.sweep(base, activation=["relu", mine, other, (other, mine), ("tanh", other)], seeds=1)
    for cell in s:
        for again in (vg.MLP.from_json(cell.spec.to_json()), pickle.loads(pickle.dumps(cell.spec))):
            assert repr(again) == repr(cell.spec)
    kept = vg.sweep(base, activation=["relu", mine, other], seeds=1, store=tmp_path / "runs.vg")
    assert [row["activation"] for row in vg.open_sweep(tmp_path / "runs.vg").table()] == ["relu", "mine", "mine (2)"]
    assert [row["activation"] for row in kept.table()] == ["relu", "mine", "mine (2)"]
    for ending in ("csv", "json", "parquet"):
        s.save(path := tmp_path / f"runs.{ending}")
        assert [cell.spec for cell in vg.read_sweep(path)] == [cell.spec for cell in s]


def test_a_file_is_read_by_ids_where_another_process_has_numbered_names_in_another_order(tmp_path: Path) -> None:
    code = (
        "import numpy as np, vgcore as vg; fs = [vg.Activation.custom('elsewhere', f) for f in (np.sin, np.tanh)]; "
        f"vg.sweep(vg.MLP(depth=2, width=4), activation=fs, seeds=1).save({str(tmp_path / 'runs.csv')!r})"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(ValueError, match="cell 0: unknown activation 'elsewhere'"):
        vg.read_sweep(tmp_path / "runs.csv")
    another = vg.Activation.custom("elsewhere", np.arctan)
    words = "cell 0: what is known here as activation 'elsewhere' is not what was measured"
    with pytest.raises(ValueError, match=words):
        vg.read_sweep(tmp_path / "runs.csv")
    made = [vg.Activation.custom("elsewhere", f) for f in (np.tanh, np.sin)]
    assert [each.label for each in (another, *made)] == ["elsewhere", "elsewhere (2)", "elsewhere (3)"]
    assert [cell.spec.activation for cell in vg.read_sweep(tmp_path / "runs.csv")] == made[::-1]
