"""What a call does with odd values: it takes them, or says in one line which argument was wrong.

Every function that Python checks stands in `CALLS`, with arguments that are right; each argument in turn is replaced by
each odd value. What the core checks (samples, seeds, fields of a spec) is the fuzzer's.
"""

import copy
import dataclasses
import inspect
import itertools
import json
import math
import pickle
import re
import sys
import zipfile
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest

import vgcore as vg
from vgcore import data, plot, testing, theory
from vgcore.model import given, names
from vgcore.model.versioned import FORMAT

SPEC = vg.MLP(depth=4, width=8, activation="tanh", init="mean_field(1.5, 0.1)")
SERIES = vg.RNN(6, 8, cell="gru", recurrent_init="xavier_normal")
DEPTHS = vg.sweep(SPEC, depth=[2, 4], seeds=2, batch=8)
PROBE, JACOBIAN = DEPTHS[1], vg.jacobian(SPEC)
JUDGED = vg.diagnose(PROBE)
X, Y = np.eye(8), np.arange(8) % 3
CLASSES = SPEC.replace(out_features=3)
RUN = vg.train(CLASSES, X, Y, steps=4, batch=4, optimizer="sgd", seeds=2, monitor="full", validation=0.25)
TRAININGS = vg.train_sweep(CLASSES, X, Y, steps=2, lr=[0.1, 0.01])
MAPPED: dict[str, Any] = {"depth": [1, 2], "x": X, "y": Y, "steps": 2}
WEIGHED = vg.trainability("tanh", sigma_w=[1.0, 1.5], width=4, **MAPPED)
RATED = vg.rate_map(CLASSES, lr=[0.1, 1.0], **MAPPED)
FRACTAL = vg.rate_fractal([1.0, 2.0], [1.0, 2.0], width=2, steps=20)
GREEDY = CLASSES.replace(activation="sigmoid", init="xavier_normal")
MACHINE = vg.RBM.drawn(8, 5)
GRADS = {"layers.0.weight": np.array([[3.0, 4.0]]), "layers.0.bias": np.array([12.0])}


class OwnError(Exception):
    """An error of the caller's own."""


class Raising:
    """An object that raises in whatever is asked of it."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def raised(self, *_: Any, **__: Any) -> Any:
        raise self.error

    __array__ = __index__ = __float__ = __iter__ = __len__ = __getitem__ = raised


class Silent:
    """An object without a repr."""

    def __repr__(self) -> str:
        raise OwnError


class Endless:
    """A sequence that says it has three entries and has more."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, _: int) -> float:
        return 1.0


def within_itself() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


def nested(levels: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(levels):
        found = [found]
    return found


#: What is given in place of an argument, made anew for each call.
ODD: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "no text": lambda: "",
    "text": lambda: "x",
    "digits": lambda: "1",
    "bytes": lambda: b"x",
    "long text": lambda: "x" * 10_000_000,
    "markup": lambda: "[/red] [bold",
    "control characters": lambda: "a\0b\x1b[31m\n",
    "a lone surrogate": lambda: "\ud800",
    "a huge integer": lambda: 10**400,
    "minus one": lambda: -1,
    "zero": lambda: 0,
    "a half": lambda: 0.5,
    "nan": lambda: math.nan,
    "inf": lambda: math.inf,
    "-inf": lambda: -math.inf,
    "True": lambda: True,
    "np.True_": lambda: np.True_,
    "np.float64": lambda: np.float64(1.5),
    "np.uint64": lambda: np.uint64(1),
    "np.longdouble": lambda: np.longdouble("1e4000"),
    "np.str_": lambda: np.str_("1"),
    "np.datetime64": lambda: np.datetime64("NaT"),
    "datetime": lambda: datetime(2026, 1, 1),  # noqa: DTZ001
    "Decimal": lambda: Decimal("1.5"),
    "a Decimal that signals": lambda: Decimal("sNaN"),
    "a huge Decimal": lambda: Decimal("1e4000"),
    "Fraction": lambda: Fraction(3, 2),
    "a huge Fraction": lambda: Fraction(10**400, 3),
    "a huge index": type("Huge", (), {"__index__": lambda _: 10**400}),
    "complex": lambda: 1 + 0j,
    "np.complex64": lambda: np.complex64(1),
    "an empty list": list,
    "a list in a list": lambda: [[]],
    "a ragged list": lambda: [[1.0], [1.0, 2.0]],
    "a list within itself": within_itself,
    "lists within lists": lambda: nested(3000),
    "an endless iterator": itertools.count,
    "an endless sequence": Endless,
    "a long range": lambda: range(10**12),
    "a dict": lambda: {"a": 1.0},
    "a set": lambda: {1.0},
    "a masked array": lambda: np.ma.masked_array([1.0, 2.0], [True, False]),
    "masked": lambda: np.ma.masked,
    "a list with a mask": lambda: [1.0, np.ma.masked],
    "an array of objects": lambda: np.array([1.0, None], dtype=object),
    "a matrix": lambda: np.eye(3),
    "a huge array": lambda: np.broadcast_to(np.float32(1), 10**13),
    "an array of many axes": lambda: np.ones((1,) * 32),
    "an array of words": lambda: np.array(["a", "b"]),
    "a function": lambda: math.sqrt,
    "an object without a repr": Silent,
}

#: Functions with arguments that are right.
THEORY: dict[str, dict[str, Any]] = {
    "c_map": {"activation": "tanh", "c": 0.5, "q": 1.0, "sigma_w": 1.0},
    "c_star": {"activation": "tanh", "sigma_w": 1.5},
    "chi": {"activation": "tanh", "q": 1.0, "sigma_w": 1.0},
    "critical_line": {"activation": "tanh", "q": [0.5, 1.0]},
    "critical_point": {"activation": "tanh"},
    "depth_scales": {"activation": "tanh", "sigma_w": 1.5},
    "fuss_catalan": {"k": 2, "depth": 2},
    "gradient_noise": {"activation": "tanh", "sigma_w": 1.5, "width": 64, "depth": 10},
    "half_stable_points": {"activation": "silu"},
    "hermite": {"activation": "tanh", "q": 1.0, "count": 4},
    "jacobian_variance": {"activation": "tanh", "q": 1.0, "depth": 3},
    "lyapunov_exponents": {"width": 4},
    "memory": {"spec": SERIES},
    "moments": {"activation": "tanh", "q": 1.0},
    "norm_chi": {"activation": "tanh", "norm": "batch", "batch": 8},
    "participation": {"spread": 0.5, "tokens": 8},
    "pair_moments": {"activation": "tanh", "q": 1.0, "c": 0.5},
    "phase_diagram": {"activation": "tanh", "sigma_w": [1.0, 1.5], "sigma_b": [0.0, 0.1]},
    "predict": {"spec": SPEC},
    "q_map": {"activation": "tanh", "q": 1.0, "sigma_w": 1.0},
    "q_star": {"activation": "tanh", "sigma_w": 1.5},
    "spectrum_edge": {"depth": 3},
    "tied_growth": {"a": 0.5, "rho": 0.1, "steps": 4},
    "time_constant": {"bias": 1.0},
    "token_collapse": {"spec": vg.Transformer(2, 8, tokens=4)},
}
CALLS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    **{f"theory.{name}": (getattr(theory, name), arguments) for name, arguments in THEORY.items()},
    "theory.Prediction.factor": (theory.predict(SPEC).factor, {"signal": "forward"}),
    "plot.columns": (plot.columns, {"probe": PROBE, "names": ["dead"], "layers": [0]}),
    "plot.depth_limit": (plot.depth_limit, {"activation": "tanh", "sigma_w": [1.0, 1.5], "sigma_b": 0.1}),
    "plot.depths": (plot.depths, {"sweep": DEPTHS}),
    "plot.heatmap": (plot.heatmap, {"sweep": DEPTHS}),
    "plot.layers": (plot.layers, {"probes": PROBE}),
    "plot.lines": (plot.lines, {"sweep": DEPTHS}),
    "plot.phase_diagram": (plot.phase_diagram, {"activation": theory.phase_diagram("tanh", sigma_w=[1.0, 1.5])}),
    "plot.rate_fractal": (plot.rate_fractal, {"found": FRACTAL}),
    "plot.rate_map": (plot.rate_map, {"found": RATED}),
    "plot.spectrum": (plot.spectrum, {"jacobians": JACOBIAN}),
    "plot.trainability": (plot.trainability, {"found": WEIGHED}),
    "plot.training": (plot.training, {"run": RUN}),
    "plot.training_svg": (plot.training_svg, {"run": RUN}),
    "data.adding": (data.adding, {"steps": 4, "n": 2}),
    "data.copy": (data.copy, {"delay": 4, "n": 2}),
    "data.digits": (data.digits, {}),
    "data.read": (data.read, {"path": Path(data.__file__).with_name("digits.npz")}),
    "data.sequential_digits": (data.sequential_digits, {}),
    "data.spirals": (data.spirals, {}),
    "data.temporal_order": (data.temporal_order, {"steps": 10, "n": 2}),
    "testing.assert_trainable": (testing.assert_trainable, {"subject": PROBE, "fail_on": "critical"}),
    "advise": (vg.advise, {"subject": PROBE, "budget": 1}),
    "pretrain": (vg.pretrain, {"spec": GREEDY, "x": X, "epochs": 1}),
    "RBM.drawn": (vg.RBM.drawn, {"visible": 3, "hidden": 2}),
    "RBM.fit": (MACHINE.fit, {"x": X, "epochs": 1}),
    "RBM.sample": (MACHINE.sample, {"n": 2, "steps": 3}),
    "RBM.free_energy_gap": (MACHINE.free_energy_gap, {"x": X, "held_out": X}),
    "RBM.pseudo_likelihood": (MACHINE.pseudo_likelihood, {"x": X}),
    "DBN.sample": (vg.DBN((MACHINE,)).sample, {"n": 2, "steps": 3}),
    "clip_adaptive": (vg.clip_adaptive, {"grads": GRADS, "params": GRADS}),
    "clip_grad_norm": (vg.clip_grad_norm, {"grads": GRADS, "max_norm": 1.0}),
    "clip_grad_value": (vg.clip_grad_value, {"grads": GRADS, "clip_value": 1.0}),
    "compare": (vg.compare, {"a": PROBE, "b": JUDGED}),
    "diagnose": (vg.diagnose, {"subject": PROBE}),
    "explain": (vg.explain, {"net": CLASSES.init(), "x": X, "y": Y}),
    "get_total_norm": (vg.get_total_norm, {"grads": GRADS}),
    "jacobian": (vg.jacobian, {"subject": SPEC}),
    "rate_fractal": (vg.rate_fractal, {"lr0": [1.0, 2.0], "lr1": [1.0, 2.0], "width": 2, "steps": 20}),
    "rate_map": (vg.rate_map, {"spec": CLASSES, "lr": [0.1, 1.0], **MAPPED}),
    "trainability": (vg.trainability, {"activation": "tanh", "sigma_w": [1.0, 1.5], "width": 4, **MAPPED}),
    "train": (vg.train, {"subject": CLASSES, "x": X, "y": Y, "steps": 2}),
    "train_sweep": (vg.train_sweep, {"spec": CLASSES, "x": X, "y": Y, "steps": 2}),
    "Run.replay": (RUN.replay, {"step": 2}),
    "RunDiagnosis.reaches": (vg.diagnose(RUN).reaches, {"severity": "info"}),
    "Run.resume": (RUN.resume, {"steps": 1}),
    "Run.evaluate": (RUN.evaluate, {"x": X, "y": Y}),
    "Run.to_dict": (RUN.to_dict, {"rows": "steps"}),
    "Clip": (vg.Clip, {}),
    "EarlyStopping": (vg.EarlyStopping, {}),
    **{kind.__name__: (kind, {}) for kind in (vg.SGD, vg.Adam, vg.AdamW, vg.RMSprop, vg.Adagrad, vg.Lion, vg.Muon)},
    "Diagnosis.reaches": (JUDGED.reaches, {"severity": "info"}),
    "Diagnosis.told": (JUDGED.told, {"signal": "forward"}),
    "Jacobian.moment": (JACOBIAN.moment, {"k": 2}),
    "MLP.from_json": (vg.MLP.from_json, {"text": SPEC.to_json()}),
    "RNN.from_json": (vg.RNN.from_json, {"text": vg.RNN(2, 3).to_json()}),
    "Sequential.from_json": (vg.Sequential.from_json, {"text": vg.Sequential(["linear(2)"], in_features=2).to_json()}),
    "Transformer.from_json": (vg.Transformer.from_json, {"text": vg.Transformer(1, 4).to_json()}),
    "Probe.clip_coef": (PROBE.clip_coef, {"max_norm": 1.0}),
    "Probe.end_to_end": (PROBE.end_to_end, {"signal": "forward"}),
    "Probe.factor": (PROBE.factor, {"signal": "forward"}),
    "Probe.log10_clip_coef": (PROBE.log10_clip_coef, {"max_norm": 1.0}),
}
#: What the core checks.
OF_THE_CORE = {"activation", "batch", "data", "dtype", "loss", "seeds", "threads", "x", "y"}
FIELDS_OF_A_SPEC = {("theory.predict", "depth")}
#: What an error calls an argument, where that is not its name.
CALLED = {
    ("plot.depths", "sweep"): "to draw",
    ("plot.heatmap", "sweep"): "to draw",
    ("plot.layers", "probes"): "to draw",
    ("plot.lines", "sweep"): "to draw",
    ("plot.columns", "layers"): "layer",
    ("plot.columns", "names"): "column|names",
    ("plot.spectrum", "jacobians"): "jacobians|Jacobian|a label",
    ("data.read", "path"): "path|unknown extension",
    ("testing.assert_trainable", "fail_on"): "severity",
    ("advise", "keep"): "keep|spec",
    ("pretrain", "method"): "method|pretraining",
    ("data.read", "target"): "target|array",
    ("plot.layers", "theory"): "theory|prediction",
    ("clip_adaptive", "params"): "params|gradients|'",
    ("diagnose", "rules"): "rule set",
    ("diagnose", "thresholds"): "thresholds|rule",
    ("MLP.from_json", "text"): "text|spec",
    ("RNN.from_json", "text"): "text|spec|net",
    ("Sequential.from_json", "text"): "text|spec",
    ("Transformer.from_json", "text"): "text|spec",
    ("train", "rates"): "rates|the optimizer|a parameter",
    ("train_sweep", "store"): "store",
    ("Adagrad", "initial_accumulator_value"): "initial_accumulator",
    **{(kind, "betas"): "beta" for kind in ("Adam", "AdamW", "Lion")},
}
TRIALS = [
    (name, argument)
    for name, (call, _) in CALLS.items()
    for argument, parameter in inspect.signature(call).parameters.items()
    if parameter.kind not in {parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL}
    and (argument not in OF_THE_CORE or (name.startswith("theory.") and argument == "batch"))
    and (name, argument) not in FIELDS_OF_A_SPEC
]
#: How a call may fail.
ALLOWED = (TypeError, ValueError, MemoryError, ImportError)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written by the odd name of a file is written where nobody sees it."""
    monkeypatch.chdir(tmp_path)


def fault_of(name: str, argument: str, value: Any) -> str | None:
    """What is wrong with what a call makes of an odd value."""
    call, right = CALLS[name]
    try:
        call(**right | {argument: value})
    except OSError:
        return None
    except Exception as error:  # noqa: BLE001 (to be told)
        said = str(error)
        if type(error) not in ALLOWED and not isinstance(error, MemoryError):
            return f"{type(error).__name__}: {said[:200]}"
        if len(said) > 700 or not said.isprintable():
            return f"{len(said)} characters: {said[:200]!r}"
        words = CALLED.get((name, argument), "grad|'" if argument == "grads" else argument)
        if not isinstance(error, MemoryError) and re.search(words, said) is None:
            return f"does not name {argument}: {said}"
    finally:
        plt.close("all")
    return None


@pytest.mark.parametrize(("name", "argument"), TRIALS)
def test_an_odd_value_is_taken_or_refused_in_one_line_that_names_the_argument(name: str, argument: str) -> None:
    faults = {odd: fault_of(name, argument, make()) for odd, make in ODD.items()}
    assert {odd: fault for odd, fault in faults.items() if fault} == {}


@pytest.mark.parametrize("module", [theory, plot, data, testing])
def test_every_public_function_of_python_is_tried(module: ModuleType) -> None:
    short = module.__name__.rpartition(".")[2]
    listed = getattr(module, "__all__", ["assert_trainable"])
    functions = {f"{short}.{name}" for name in listed if inspect.isfunction(getattr(module, name))}
    assert functions - {*CALLS} == {"plot.available"} & functions


NUMBERS: dict[str, Any] = {
    "a truth value": True,
    "NumPy's truth value": np.True_,
    "digits": "1",
    "bytes": b"1",
    "complex": 1 + 0j,
    "a complex number of NumPy": np.complex64(1),
    "masked": np.ma.masked,
    "a list": [1.0],
    "an array": np.ones(1),
    "a date": np.datetime64(1, "s"),
}


@pytest.mark.parametrize("value", NUMBERS.values(), ids=NUMBERS)
def test_what_is_no_number_is_taken_for_none(value: Any) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: vg.clip_grad_norm(GRADS, value),
        lambda: vg.clip_grad_norm(GRADS, 1.0, value),
        lambda: vg.clip_grad_value(GRADS, value),
        lambda: vg.clip_adaptive(GRADS, GRADS, value),
        lambda: PROBE.clip_coef(value),
        lambda: JACOBIAN.moment(value),
        lambda: vg.advise(PROBE, budget=value),
        lambda: vg.jacobian(SPEC, seed=value),
        lambda: vg.diagnose(PROBE, thresholds={"saturation": value}),
        lambda: theory.critical_point("tanh", sigma_b=value),
        lambda: theory.spectrum_edge(value),
        lambda: theory.predict(SPEC, batch=value),
        lambda: theory.norm_chi("tanh", "batch", batch=value),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=r"must be (a number|an integer)"):
            call()


@pytest.mark.parametrize("value", ["no", "", 0, 1, None, [], np.int64(1), np.array([True])], ids=repr)
def test_only_true_and_false_are_truth_values(value: Any) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: vg.clip_grad_norm(GRADS, 1.0, per_layer=value),
        lambda: vg.clip_grad_norm(GRADS, 1.0, error_if_nonfinite=value),
        lambda: PROBE.clip_coef(1.0, per_layer=value),
        lambda: vg.diagnose(PROBE, explain=value),
        lambda: data.digits(standardize=value),
        lambda: theory.jacobian_variance("tanh", q=1.0, depth=3, orthogonal=value),
    ]
    for call in calls:
        with pytest.raises(TypeError, match="must be True or False, got"):
            call()
    assert vg.clip_grad_norm(GRADS, 1.0, per_layer=np.True_).layers.keys() == {"layers.0"}  # type: ignore[arg-type]


def test_an_unsigned_limit_does_not_wrap() -> None:
    clipped = vg.clip_grad_value([np.array([-3.0, 0.5, 3.0])], np.uint64(1))  # type: ignore[arg-type]
    assert clipped.grads[0].tolist() == [-1.0, 0.5, 1.0]


def test_a_limit_beyond_the_dtype_clips_nothing() -> None:
    clipped = vg.clip_grad_value([np.array([-3, 3], np.float32)], 1e300)
    assert (clipped.fraction, clipped.grads[0].tolist()) == (0.0, [-3.0, 3.0])


def test_large_gradients_are_clipped_as_small_ones_are(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    grads = [rng.standard_normal(shape).astype(np.float32) for shape in ((), (7,), (5, 4), (3, 2, 4))]
    grads[1][2] = math.nan
    calls: list[Callable[[], vg.Clipped[Any]]] = [
        lambda: vg.clip_grad_norm(grads[2:], 1.0),
        lambda: vg.clip_grad_norm(grads, 1.0, per_layer=True),
        lambda: vg.clip_grad_value(grads, 0.5),
        lambda: vg.clip_adaptive(grads, grads, 0.5),
    ]
    whole = [call() for call in calls]
    monkeypatch.setattr(sys.modules["vgcore.measure.clip"], "BLOCK", 3)
    for call, before in zip(calls, whole, strict=True):
        after = call()
        assert after.total == pytest.approx(before.total, rel=1e-14, nan_ok=True)
        assert (after.fraction, after.nonfinite) == (before.fraction, before.nonfinite)
        for one, two in zip(before.grads, after.grads, strict=True):
            assert one.dtype == two.dtype
            np.testing.assert_allclose(one, two, rtol=1e-6)


MASKED = np.ma.masked_array([3.0, 4.0], [True, False])


@pytest.mark.parametrize(
    "call",
    [
        lambda: vg.get_total_norm([MASKED]),
        lambda: vg.get_total_norm([[MASKED, MASKED]]),
        lambda: vg.clip_grad_norm({"a": MASKED}, 1.0),
        lambda: vg.clip_grad_value([MASKED], 1.0),
        lambda: vg.clip_adaptive([np.ones(2)], [MASKED]),
        lambda: theory.moments("tanh", MASKED),
        lambda: theory.q_star("tanh", sigma_w=[1.0, np.ma.masked]),  # type: ignore[arg-type]
        lambda: theory.phase_diagram("tanh", sigma_w=np.ma.masked_array([1.0, 2.0], [False, True])),
        lambda: plot.depth_limit("tanh", sigma_w=MASKED),
    ],
)
def test_a_mask_is_refused_with_what_to_do(call: Callable[[], Any]) -> None:
    with pytest.raises(TypeError, match="without a mask: fill or drop"):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: vg.jacobian(SPEC, np.ones(8), seed=-1), "seed must be an integer from 0"),
        (lambda: vg.jacobian(SPEC.init(), np.ones(8), seed=2**64), "seed must be an integer from 0"),
        (lambda: vg.clip_adaptive(GRADS, GRADS, skip=b"readout"), "skip must be a name or a list of names"),  # type: ignore[arg-type]
        (lambda: vg.clip_adaptive(GRADS, GRADS, skip={"layers.0": 1}), "skip must be a name or a list"),
        (lambda: vg.get_total_norm({1: np.ones(2)}), "the name of a gradient must be a string"),  # type: ignore[dict-item]
        (lambda: vg.advise(PROBE, keep={"width": 1}), "keep must be a name or a list of names"),
        (lambda: vg.advise(PROBE, keep=itertools.repeat("width")), "keep must be a name or a list.*at most"),  # type: ignore[arg-type]
        (lambda: plot.columns(PROBE, "dead"), "names must be a list of columns, got 'dead'"),
        (lambda: plot.columns(PROBE, ["dead"], layers=[0.0]), "a layer must be an integer"),  # type: ignore[list-item]
        (lambda: plot.columns(PROBE, ["dead"], layers=[4]), "a layer must be an integer from 0 to 3, got 4"),
        (lambda: plot.layers(itertools.repeat(PROBE)), "what to draw must be a Probe, a Sweep.*at most"),  # type: ignore[arg-type]
        (lambda: plot.phase_diagram("tanh", points=itertools.repeat(PROBE)), "points must be a list.*at most"),
        (lambda: JUDGED.told("probe"), "unknown signal 'probe'"),  # type: ignore[arg-type]
        (lambda: data.read("a.csv\0"), r"unknown extension '.csv\\x00'"),
    ],
)
def test_what_would_be_silently_wrong_is_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def test_only_plain_axes_are_drawn_on() -> None:
    figure = plt.figure()
    for ax in (figure.add_subplot(projection="polar"), figure.add_subplot(projection="3d"), figure):
        with pytest.raises(TypeError, match="ax must be plain matplotlib Axes"):
            plot.layers(PROBE, ax=ax)  # type: ignore[arg-type]
    plt.close(figure)


def test_numbers_of_other_libraries_are_numbers() -> None:
    for half in (Fraction(1, 2), Decimal("0.5"), np.float16(0.5), np.array(0.5), np.longdouble(0.5)):
        value: Any = half
        assert vg.clip_grad_norm(GRADS, value).coef == vg.clip_grad_norm(GRADS, 0.5).coef


def test_theory_of_many_points_is_that_of_few(monkeypatch: pytest.MonkeyPatch) -> None:
    sigma_w, sigma_b = np.linspace(0.5, 3, 7)[:, None], np.linspace(0, 1, 3)
    calls: list[Callable[[], Any]] = [
        lambda: theory.q_star("tanh", sigma_w=sigma_w, sigma_b=sigma_b),
        lambda: theory.c_map("tanh", c=0.5, q=sigma_w, sigma_w=1.0, sigma_b=sigma_b),
        lambda: theory.hermite("tanh", q=sigma_w, count=4),
    ]
    whole = [call() for call in calls]
    monkeypatch.setattr("vgcore.theory.maps.CHUNK", 8)
    monkeypatch.setattr("vgcore.theory.fixed.POINTS", 2)
    for call, before in zip(calls, whole, strict=True):
        np.testing.assert_allclose(call(), before, rtol=1e-13)


# What a caller's own object raises


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, OSError, OwnError])
@pytest.mark.parametrize(
    "call",
    [
        lambda bad: vg.clip_grad_norm(GRADS, bad),
        lambda bad: vg.clip_grad_value([bad], 1.0),
        lambda bad: vg.clip_grad_value([[1.0, bad]], 1.0),
        lambda bad: vg.clip_adaptive(GRADS, GRADS, skip=bad),
        lambda bad: vg.advise(PROBE, keep=bad),
        lambda bad: vg.advise(PROBE, budget=bad),
        lambda bad: vg.jacobian(SPEC, seed=bad),
        JACOBIAN.moment,
        lambda bad: theory.moments("tanh", bad),
        lambda bad: theory.moments("tanh", [1.0, bad]),
        lambda bad: theory.c_map("tanh", c=0.5, q=1.0, sigma_w=bad),
        theory.spectrum_edge,
        plot.layers,
        lambda bad: plot.phase_diagram("tanh", points=bad),
        lambda bad: plot.columns(PROBE, ["dead"], layers=bad),
        lambda bad: vg.diagnose(PROBE, thresholds={"saturation": bad}),
    ],
)
def test_what_a_callers_object_raises_passes_as_it_is(call: Callable[[Any], Any], error: type[BaseException]) -> None:
    with pytest.raises(error) as passed:
        call(Raising(error))
    assert type(passed.value) is error


# Words


def test_a_value_is_shown_in_a_line_of_eighty_characters() -> None:
    for value in (*(make() for make in ODD.values()), np.eye(100), "a\nb", {"a": "b" * 1000}, Raising(OSError)):
        said = given.shown(value)
        assert 0 < len(said) <= given.SHOWN
        assert said.isprintable()
        said.encode()
    assert given.shown([1, "a"]) == "[1, 'a']"


def test_nothing_is_near_a_long_name() -> None:
    assert names.hint("backward_vanishin", ["backward_vanishing"]) == " (did you mean 'backward_vanishing'?)"
    assert names.hint("x" * 10_000_000, ["x" * 99, "y" * 10_000_000]) == ""
    with pytest.raises(ValueError, match=r"unknown severity 'x+ \.\.\.; choose from: info") as refusal:
        JUDGED.reaches("x" * 10_000_000)
    assert len(str(refusal.value)) < 200


# JSON


JSON = SPEC.to_json()


def test_json_says_its_format_and_what_says_none_is_of_the_first() -> None:
    fields = json.loads(JSON)
    assert fields.pop(FORMAT) == 1
    assert fields == SPEC.to_dict()
    assert vg.MLP.from_json(json.dumps(fields)) == vg.MLP.from_json(JSON) == SPEC


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (JSON.replace(f'"{FORMAT}": 1', f'"{FORMAT}": 2'), "document has format 2, this vgcore reads up to 1; upgrade"),
        (JSON.replace(f'"{FORMAT}": 1', f'"{FORMAT}": true'), "no format of vgcore"),
        (JSON.replace(f'"{FORMAT}": 1', f'"{FORMAT}": 0'), "no format of vgcore"),
        (JSON.replace("{", '{"depth": 9, ', 1), "each field once, got 'depth' twice"),
        (JSON.replace('"depth": 4', '"depth": NaN'), "finite numbers, got NaN"),
        (JSON.replace('"depth": 4', '"depth": -Infinity'), "finite numbers, got -Infinity"),
        ("[" * 100_000, "nesting has no end"),
        ("", "text must be the JSON of a spec, got ''"),
        (b"{}", "text must be a string"),
    ],
)
def test_json_that_is_not_what_was_written_is_refused(document: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message) as refusal:
        vg.MLP.from_json(document)
    assert type(refusal.value) in {TypeError, ValueError}


# Results


RESULTS: dict[str, Any] = {
    "Probe": PROBE,
    "Factor": PROBE.factor("backward"),
    "Jacobian": JACOBIAN,
    "Clipped": vg.clip_grad_norm(GRADS, 1.0, per_layer=True),
    "Gradients": SPEC.init().gradients(np.ones((2, 8)), np.ones((2, 8)), loss="mse"),
    "Diagnosis": JUDGED,
    "DepthLimit": JUDGED.depth_limit,
    "Finding": vg.diagnose(vg.MLP(depth=20, width=8, activation="sigmoid"), seeds=2, batch=8).findings[0],
    "Change": JUDGED.told("backward"),
    "Advised": vg.advise(vg.MLP(depth=9, width=8, init="kaiming_normal(gain=0.5)"), seeds=2, batch=8, budget=9),
    "Prediction": theory.predict(SPEC),
    "Memory": theory.memory(SERIES),
    "DepthScales": theory.depth_scales("tanh", sigma_w=[1.0, 1.5]),
    "PhaseDiagram": theory.phase_diagram("tanh", sigma_w=[1.0, 1.5], sigma_b=[0.0, 0.1]),
    "CriticalLine": theory.critical_line("tanh"),
    "CriticalPoint": theory.critical_point("tanh"),
    "Run": RUN,
    "Replay": RUN.replay(2),
    "RunDiagnosis": vg.diagnose(RUN),
    "TrainSweep": TRAININGS,
}
RESULTS["Advice"] = RESULTS["Advised"][0]
each_result = pytest.mark.parametrize("result", RESULTS.values(), ids=RESULTS)


def arrays_of(result: Any) -> Iterator[np.ndarray[Any, Any]]:
    """The arrays that a result holds itself, but for what was given."""
    for name, value in vars(result).items():
        if isinstance(value, np.ndarray) and name not in type(result)._callers:
            yield value


def same(one: Any, two: Any) -> bool:
    """Whether two results hold the same, arrays bit for bit."""
    if isinstance(one, np.ndarray):
        return one.dtype == two.dtype and np.array_equal(one, two, equal_nan=one.dtype.kind == "f")
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(same, one, two))
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, vg.Network):
        return same(one.state_dict(), two.state_dict())
    if dataclasses.is_dataclass(one) and not isinstance(one, vg.MLP | vg.Sequential | vg.RNN | vg.Transformer):
        return all(same(getattr(one, field.name), getattr(two, field.name)) for field in dataclasses.fields(one))
    return bool(one == two) or (one != one and two != two)  # noqa: PLR0124 (nan)


@each_result
def test_a_result_survives_pickling_and_copying(result: Any) -> None:
    for again in (pickle.loads(pickle.dumps(result)), copy.copy(result), copy.deepcopy(result)):
        assert type(again) is type(result)
        assert same(result, again)
        assert all(not array.flags.writeable for array in arrays_of(again))


@each_result
def test_the_arrays_of_a_result_are_read_only(result: Any) -> None:
    for array in arrays_of(result):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_explicit_gradients_are_the_callers_own_to_write_to() -> None:
    net, x = SPEC.init(), np.ones((2, 8))
    grads = net.gradients(x, x, loss="mse")
    clipped = vg.clip_grad_norm(grads, 1e-3).grads
    for array in (grads.input, *grads.weights, *clipped.weights, *net.state_dict().values()):
        array[...] = 0.5 * array  # as a step of gradient descent does


def test_an_array_that_a_result_is_made_of_stays_writeable() -> None:
    sigma_w = np.array([1.0, 1.5])
    line = dataclasses.replace(theory.critical_line("tanh", q=[0.5, 1.0]), sigma_w=sigma_w)
    assert sigma_w.flags.writeable
    assert not line.sigma_w.flags.writeable


def test_what_was_given_to_a_probe_stays_writeable() -> None:
    x, y = np.ones((4, 8)), np.arange(4) % 2
    p = vg.probe(SPEC, x=x, y=y, seeds=1)
    assert p.x is x
    assert x.flags.writeable
    assert y.flags.writeable


@each_result
def test_a_pickle_of_another_version_is_read_or_refused(result: Any) -> None:
    state, blank = result.__getstate__(), object.__new__(type(result))
    assert state[FORMAT] == 1
    old = {name: value for name, value in state.items() if name != FORMAT}
    blank.__setstate__(old)
    assert same(result, blank)
    for fields, message in (
        (state | {FORMAT: 2}, f"pickle of a {type(result).__name__} has format 2, this vgcore reads up to 1; upgrade"),
        (state | {"colour": 1}, "has colour, which this vgcore does not know"),
        ({FORMAT: 1}, "lacks .*another version"),
        ([1], "is broken"),
    ):
        with pytest.raises(ValueError, match=message):
            object.__new__(type(result)).__setstate__(fields)


def test_what_an_older_pickle_had_worked_out_is_worked_out_again() -> None:
    older = object.__new__(vg.Diagnosis)
    older.__setstate__(JUDGED.__getstate__() | {"evidence": "of an older version"})
    assert older.evidence is not None
    assert older.evidence.backward.rms == JUDGED.told("backward").rms  # type: ignore[union-attr]


def test_a_field_that_an_older_pickle_lacks_has_its_default() -> None:
    state = JUDGED.__getstate__()
    for name in ("cells", "rules", "typical"):
        del state[name]
    older = object.__new__(vg.Diagnosis)
    older.__setstate__(state)
    assert (older.cells, older.rules, older.typical) == ((), "vgcore", False)


# Files


def member(header: bytes, body: bytes = b"") -> bytes:
    """A stored array of version 1.0 with this header."""
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + body


def zipped(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"{",
        b"{'descr': (), 'fortran_order': False, 'shape': (1, 2)}\n",
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 2)}\n",
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 2)}\n",
        b"{'descr': '<f8', 'fortran_order': 1, 'shape': 'x'}\n",
        b"(" * 3000,
        b"'''",
        b"\xff\xfe",
        b"{'descr': '|O', 'fortran_order': False, 'shape': (1, 2)}\n",
    ],
)
def test_an_array_with_a_broken_header_is_refused(tmp_path: Path, header: bytes) -> None:
    path = zipped(tmp_path / "t.npz", x=member(header, bytes(16)), y=member(b""))
    with pytest.raises(ValueError, match=re.escape(str(path))) as refusal:
        data.read(path)
    assert type(refusal.value) is ValueError


def test_an_archive_is_measured_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.npz"
    np.savez_compressed(path, x=np.zeros((1000, 1000)), y=np.zeros(1000))
    asked = []

    def refuse(what: str, needed: int) -> None:
        asked.append((what, needed))
        raise MemoryError

    monkeypatch.setattr("vgcore._core.check_memory", refuse)
    monkeypatch.setattr("numpy.lib.format.read_array", lambda *_, **__: pytest.fail("it was unpacked"))
    with pytest.raises(MemoryError):
        data.read(path)
    assert asked == [(f"array 'x' of {path}", 16_000_000)]


def test_what_there_is_no_memory_for_is_refused_with_its_bytes() -> None:
    wide: Any = np.broadcast_to(np.float32(1), 10**7)
    with pytest.raises(MemoryError, match="theory of 10000000000000 points needs"):
        theory.q_star("tanh", sigma_w=wide[:, None], sigma_b=wide[: 10**6])


@pytest.mark.parametrize("content", ["1" * 200_000 + ",2\n", "\n" * 10 + "a,b\n" + "x" * 200_000 + ",1\n"])
def test_a_cell_without_end_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"line \d+: field larger than field limit") as refusal:
        data.read(path)
    assert type(refusal.value) is ValueError


def test_no_standard_input_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(ValueError, match="no standard input"):
        data.read("-")


def test_samples_of_any_size_are_judged() -> None:
    for size in (1e-300, 1e300):
        x = size * np.random.default_rng(0).standard_normal((16, 8))
        judged = vg.diagnose(SPEC, x=x, dtype="float64", seeds=2)
        assert judged.evidence is not None
        assert judged.evidence.inputs.size == pytest.approx(math.log10(size), abs=0.2)
