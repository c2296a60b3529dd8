"""The theory of the page: its numbers and its sentences are those of Python, on random requests."""

from __future__ import annotations

import base64
import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browser import Browser, needs_browser
from vgcore import _core
from vgcore.explore import reply
from vgcore.explore.presets import PRESETS
from vgcore.explore.reply import plain
from vgcore.explore.request import CHOICES, Request
from vgcore.theory.maps import BatchRates

pytestmark = needs_browser

STATIC = Path(reply.__file__).with_name("static")
#: Numbers that JSON has none for, as a reply has them.
TOLD = """
function told(value) {
  if (Array.isArray(value)) return value.map(told);
  const entries = (object) => Object.entries(object).map(([name, each]) => [name, told(each)]);
  if (value && typeof value === "object") return Object.fromEntries(entries(value));
  if (Number.isNaN(value)) return null;
  return Math.abs(value) === Infinity ? String(value).toLowerCase().replace("inity", "") : value;
}
"""
#: What the page does with `given`: the core answers by what Python's core has answered, at the nearest point.
RECORDED = """
const number = (value) => value === null ? NaN : value === "inf" ? Infinity : value === "-inf" ? -Infinity : value;
function nearest(calls, phi, at) {
  const known = calls.filter((call) => call.phi === phi);
  const apart = (here, there, i) => Math.abs(here - there) / (i ? 1 : Math.max(there, 1e-300));
  const distance = (call) => Math.max(...at.map((value, i) => apart(value, call.at[i], i)));
  const best = known.reduce((a, b) => distance(b) < distance(a) ? b : a);
  if (distance(best) > 1e-9) throw new Error(`Python did not ask for ${phi} at ${at}`);
  return best.row.map(number);
}
return given.requests.map(({ request, plan, calls }) => told(theory.predict(request, {
  MOMENTS: given.moments,
  plan: () => plan,
  activation_outputs: (phi) => given.outputs[phi],
  moments: (phi, q) => [nearest(calls.moments, phi, q)],
  pair_moments: (phi, q, c) => [nearest(calls.pair_moments, phi, [...q, ...c])],
  batch_moments: (phi, batch) => nearest(calls.batch_moments, phi, [batch]),
  activate: (phi, z) => z.map((each) => {
    if (phi !== "sigmoid") return nearest(calls.activate, phi, [each]).map(number);
    const value = 1 / (1 + Math.exp(-each));
    return [value, value * (1 - value)];
  }),
})));
"""
#: The same with the core of the page.
ENGINE = """
const bytes = await (await fetch(`data:application/wasm;base64,${given.wasm}`)).arrayBuffer();
const { core } = await engine.load(bytes);
return given.requests.map((request) => told(theory.predict(request, core)));
"""
#: Corners that random requests miss, each with what theory says of it.
CORNERS: list[tuple[dict[str, Any], str]] = [
    ({"depth": 200, "activation": "relu", "sigma_w": 20.0, "sigma_b": 0.0}, ""),
    ({"depth": 200, "activation": "relu", "sigma_w": 0.05, "sigma_b": 0.0}, ""),
    ({"depth": 200, "activation": "relu", "sigma_w": 20.0}, "leave the range of numbers, as at layer"),
    ({"depth": 200, "activation": "relu", "init": "kaiming_normal", "skip": "residual"}, ""),
    ({"depth": 200, "activation": "relu", "sigma_w": 20.0, "skip": "residual"}, "leave the range of numbers"),
    ({"depth": 30, "activation": "tanhshrink", "sigma_w": 0.2, "sigma_b": 0.0, "width": 512}, "squares what nets"),
    ({"depth": 30, "activation": "hardshrink", "sigma_w": 0.05, "sigma_b": 0.0}, ""),
    ({"depth": 3, "init": "lsuv"}, "init=lsuv, whose variance it does not know"),
    ({"depth": 3, "norm": "batch", "batch": 5}, "a batch of 5"),
    ({"depth": 3, "norm": "batch", "sigma_w": 0.06, "sigma_b": 0.0}, "beside a variance of 0.0036"),
    ({"depth": 3, "norm": "batch", "norm_position": "post"}, "without an activation right behind it"),
    ({"depth": 3, "norm": "batch", "activation": "swiglu"}, "swiglu, which multiplies two signals"),
    ({"depth": 9, "skip": "highway", "activation": "gelu", "init": "kaiming_normal"}, ""),
    ({"depth": 5, "skip": "dense", "norm": "layer"}, ""),
    ({"depth": 4, "data": "spirals"}, "not of spirals"),
    ({"depth": 4, "theory": False}, ""),
]


def random_requests(count: int) -> Iterator[Request]:
    drawn = random.Random(21)

    def between(least: float, most: float) -> float:
        return float(math.exp(drawn.uniform(math.log(least), math.log(most))))

    while count:
        fields: dict[str, Any] = {name: drawn.choice(choices) for name, choices in CHOICES.items() if name != "data"}
        fields |= {"init": drawn.choice(("mean_field", "mean_field", fields["init"]))}
        fields |= {name: drawn.choice(("none", fields[name])) for name in ("norm", "skip")}
        fields |= {"sigma_w": between(0.05, 20), "sigma_b": drawn.choice((0.0, between(1e-3, 5)))}
        fields |= {"depth": drawn.randint(1, 12), "width": 2 * drawn.randint(1, 256)}
        fields |= {"branch_scale": drawn.choice((1.0, between(0.05, 10))), "batch": drawn.choice((2, 6, 8, 32, 256))}
        try:
            request = Request(**fields)
            request.spec  # noqa: B018 (is there such a net?)
        except ValueError:
            continue
        count -= 1
        yield request


class Recorded:
    """The core's answers while Python predicts, for the page to get the same."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: dict[str, list[dict[str, Any]]] = {}
        for name in ("moments", "pair_moments", "activate", "batch_moments"):
            monkeypatch.setattr(_core, name, self.watched(name, getattr(_core, name)))

    def watched(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(activation: str, *columns: Any) -> Any:
            found = function(activation, *columns)
            alone = not isinstance(columns[0], list)
            points = [columns] if alone else zip(*columns, strict=True)
            if (name, str(activation)) != ("activate", "sigmoid"):  # thousands of points of gates, which are a formula
                for at, row in zip(points, [found] if alone else found, strict=True):
                    answer = {"phi": str(activation), "at": list(at), "row": plain(np.asarray(row, dtype=float))}
                    self.calls[name].append(answer)
            return found

        return call

    def predict(self, request: Request) -> tuple[Any, str]:
        self.calls = {name: [] for name in ("moments", "pair_moments", "activate", "batch_moments")}
        BatchRates._known.cache_clear()
        reply._predicted.cache_clear()
        return reply._theory(request)


def assert_same(found: Any, expected: Any, where: str) -> None:
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for name, value in expected.items():
            assert_same(found[name], value, f"{where}: {name}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for i, value in enumerate(expected):
            assert_same(found[i], value, f"{where}, layer {i + 1}")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-9), where
    else:
        assert found == expected, where


def source(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")


def test_the_page_predicts_what_python_predicts(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded, given, expected = Recorded(monkeypatch), [], []
    taught = [fields for each in PRESETS for fields in (each.request, {**each.request, **each.then})]
    requests = [Request(**fields) for fields in (*(corner for corner, _ in CORNERS), *taught)]
    for request in (*requests, *random_requests(200)):
        expected.append(recorded.predict(request))
        given.append({"request": request.to_dict(), "plan": _core.plan(request.spec), "calls": recorded.calls})
    for (fields, words), (theory, why) in zip(CORNERS, expected, strict=False):
        assert words in why, fields
        assert bool(theory) == (not words and fields.get("theory", True)), fields
    outputs = {name: _core.activation_outputs(name) for name in CHOICES["activation"]}
    sources = {name: source(f"{name}.js") for name in ("numbers", "theory")}
    about = {"requests": given, "moments": list(_core.MOMENTS), "outputs": outputs}
    found = browser.run_modules(sources, TOLD + RECORDED, about)
    for one, (theory, why), each in zip(found, expected, given, strict=True):
        assert_same(one, {"theory": theory, "theory_why": why}, str(each["request"]))
    told = [theory for theory, _ in expected if theory]
    assert len(told) > 120
    assert sum(not theory["why"] for theory in told) > 40


@pytest.mark.skipif(not (STATIC / "vgcore.wasm").exists(), reason="needs the core as WebAssembly, which is not built")
def test_the_page_predicts_it_with_its_own_core(browser: Browser) -> None:
    sources = {name: source(f"{name}.js") for name in ("engine", "numbers", "theory")}
    requests = [Request(**each.request) for each in PRESETS] + list(random_requests(40))
    wasm = base64.b64encode((STATIC / "vgcore.wasm").read_bytes()).decode()
    about = {"requests": [request.to_dict() for request in requests], "wasm": wasm}
    for one, request in zip(browser.run_modules(sources, TOLD + ENGINE, about), requests, strict=True):
        theory, why = reply._theory(request)
        assert_same(one, {"theory": theory, "theory_why": why}, str(request))
