"""Activations of a user's own: as exact as they say, wherever a spec goes."""

import math
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

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


def test_a_sweep_names_an_activation_of_ones_own() -> None:
    mine = vg.Activation.custom("mine", np.tanh)
    swept = vg.sweep(vg.MLP(depth=2, width=4), activation=["relu", mine], seeds=1)
    assert str(mine) in {cell.spec.activation for cell in swept}
    assert "tables" not in swept.to_dict()
