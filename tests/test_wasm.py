"""The core as WebAssembly: the numbers of a page are those of Python's scalar instruction set, bit for bit."""

from __future__ import annotations

import base64
import json
import lzma
import os
import random
import subprocess
import sys
from importlib import resources
from typing import Any

import numpy as np
import pytest

from browser import Browser, needs_browser
from vgcore import _core
from vgcore.explore.page import LZMA
from vgcore.explore.reply import plain
from vgcore.explore.request import CHOICES, CONTROLS, DEFAULTS, MOST_SECONDS, Request

STATIC = resources.files("vgcore.explore") / "static"
WASM = STATIC / "vgcore.wasm"

pytestmark = [
    needs_browser,
    pytest.mark.skipif(not WASM.is_file(), reason="this wheel has no vgcore.wasm: `make wasm` builds it"),
]

#: Starts the engine from its bytes as base64, in what a script of the page may use.
START = """
const bytes = Uint8Array.from(atob(given.wasm), (sign) => sign.charCodeAt(0));
const engine_ = await engine.load(bytes);
const plain = (value) => JSON.parse(JSON.stringify(value, (_, each) =>
  typeof each !== "number" || Number.isFinite(each) ? each : Number.isNaN(each) ? null : each > 0 ? "inf" : "-inf"));
const tried = (call) => { try { return plain(call()); } catch (error) { return { error: error.message }; } };
"""

#: Prints what Python measures of requests, as JSON.
PYTHON = """
import json, sys
from vgcore.explore.reply import columns_of, measured, plain
from vgcore.explore.page import LZMA
from vgcore.explore.reply import plain
from vgcore.explore.request import Request
for given in json.load(sys.stdin):
    found, loss = measured(Request.read(given))
    print(json.dumps({
        "columns": columns_of(found),
        "first_nonfinite": found.first_nonfinite.tolist(),
        "lost_below": found.trace.lost_below.tolist(),
        "loss": None if loss is None else plain(loss),
    }))
"""


def run(browser: Browser, script: str, given: dict[str, Any]) -> Any:
    """What a script finds that has started the engine as `engine_`."""
    sources = {"engine": (STATIC / "engine.js").read_text(encoding="utf-8")}
    given = {**given, "wasm": base64.b64encode(WASM.read_bytes()).decode()}
    return browser.run_modules(sources, START + script, given)


def measured(browser: Browser, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the engine of a page gives for each request."""
    return list(
        run(browser, "return given.asked.map((one) => tried(() => engine_.measure(one)));", {"asked": requests})
    )


def scalar(requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What Python gives for each request with the scalar instruction set."""
    done = subprocess.run(
        [sys.executable, "-c", PYTHON],
        input=json.dumps(requests),
        env={**os.environ, "VGCORE_ISA": "scalar"},
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def drawn(seed: int, **fixed: Any) -> dict[str, Any]:
    """A request at random: every choice, and sizes that take milliseconds."""
    rng = random.Random(seed)
    while True:
        request = DEFAULTS | {name: rng.choice(words) for name, words in CHOICES.items()}
        request |= {
            "depth": rng.randint(1, 60),
            "width": rng.randint(1, 80),
            "sigma_w": 10 ** rng.uniform(-1, 1),
            "sigma_b": rng.choice([0.0, rng.uniform(0, 2)]),
            "branch_scale": rng.uniform(0.01, 2),
            "seeds": rng.randint(1, 3),
            "batch": rng.randint(2, 70),
            "seed": rng.randint(0, 2**32 - 20),
            "steps": 0,
        } | fixed
        try:
            Request.read(request)
        except ValueError:
            continue  # A combination that does not exist.
        return request


def test_a_page_measures_the_bits_of_the_scalar_set(browser: Browser) -> None:
    requests = [drawn(seed) for seed in range(120)]
    found, expected = measured(browser, requests), scalar(requests)
    for request, ours, theirs in zip(requests, found, expected, strict=True):
        assert ours == theirs, request
    assert {request["data"] for request in requests} == {"noise", "spirals"}
    assert {request["activation"] for request in requests} >= {"tanh", "relu", "gelu", "sigmoid"}


def test_a_page_trains_to_the_bits_of_the_scalar_set(browser: Browser) -> None:
    sizes = {"data": "spirals", "width": 12, "depth": 4}
    requests = [drawn(seed, **sizes, steps=20 + seed, lr=10 ** (seed / 10 - 2)) for seed in range(24)]
    # Deep and eager enough to break on the way.
    requests += [drawn(seed, **sizes | {"depth": 30}, steps=60, lr=10.0, activation="relu") for seed in range(6)]
    found, expected = measured(browser, requests), scalar(requests)
    broke = 0
    for request, ours, theirs in zip(requests, found, expected, strict=True):
        # The last losses are averaged in another order; all else has equal bits.
        losses, expected_losses = (np.array(each.pop("loss"), dtype=np.float64) for each in (ours, theirs))
        np.testing.assert_allclose(losses, expected_losses, rtol=1e-12, err_msg=str(request))
        broke += int(np.isinf(losses).any())
        assert ours == theirs, request
    assert 3 <= broke <= 25


def test_what_is_refused_is_refused_in_a_sentence(browser: Browser) -> None:
    changes: list[dict[str, Any]] = [
        {"depth": 0},
        {"depth": 201},
        {"width": 1.5},
        {"seeds": 17},
        {"activation": "tahn"},
        {"norm": "batch", "batch": 1},
        {"sigma_w": -1},
        {"data": "moons"},
        {"steps": 3},
        {"depth": 200, "width": 512, "batch": 256, "seeds": 16},
    ]
    found = measured(browser, [DEFAULTS | change for change in changes])
    for change, reply in zip(changes, found, strict=True):
        assert set(reply) == {"error"}, change
        assert 15 < len(reply["error"]) < 1500, reply
    assert found[0]["error"] == "depth must be an integer from 1 to 200, got 0"
    assert found[4]["error"].startswith("unknown activation 'tahn'; choose from: ")


def test_the_engine_has_the_bounds_of_python(browser: Browser) -> None:
    names = [name for name, control in CONTROLS.items() if control.whole]
    bounds = {name: [int(end) for end in CONTROLS[name].bounds] for name in names}
    beyond = [DEFAULTS | {name: value} for name in names for value in (bounds[name][0] - 1, bounds[name][1] + 1)]
    for reply, name in zip(measured(browser, beyond), [name for name in names for _ in range(2)], strict=True):
        least, most = bounds[name]
        assert reply["error"].startswith(f"{name} must be an integer from {least} to {most}, got "), name


def test_the_engine_knows_the_limit_and_the_version_of_python(browser: Browser) -> None:
    script = "return [engine_.version, engine_.most_seconds, engine_.core.MOMENTS];"
    assert run(browser, script, {}) == [_core.__version__, MOST_SECONDS, list(_core.MOMENTS)]


def test_the_integrals_of_theory_are_those_of_python(browser: Browser) -> None:
    script = """
    const core = engine_.core, q = [0.1, 1, 7.5], c = [-0.5, 0.2, 0.99];
    return plain(given.names.map((name) => [
      core.activate(name, q), core.moments(name, q), core.pair_moments(name, q, c),
      core.hermite(name, q, 5), core.batch_moments(name, 16), core.activation_outputs(name),
    ]));
    """
    names = ["tanh", "relu", "gelu", "swiglu", "crelu", "sin", "softplus"]
    q, c = [0.1, 1.0, 7.5], [-0.5, 0.2, 0.99]
    for name, found in zip(names, run(browser, script, {"names": names}), strict=True):
        assert found == [
            plain(_core.activate(name, q)),
            plain(_core.moments(name, q)),
            plain(_core.pair_moments(name, q, c)),
            plain(_core.hermite(name, q, 5)),
            plain(np.array(_core.batch_moments(name, 16))),
            _core.activation_outputs(name),
        ], name


def test_what_lzma_has_packed_comes_out_as_it_was(browser: Browser) -> None:
    rng = random.Random(5)
    runs = b"".join(bytes([rng.randrange(3)]) * rng.randrange(600) for _ in range(99))
    contents = [b"", b"a", b"abc" * 1000, rng.randbytes(5000), runs, WASM.read_bytes()]
    script = """
    const bytes = (text) => Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
    return given.map(([packed, content]) => {
      const [found, expected] = [unpack.unpack(bytes(packed)), bytes(content)];
      return found.length === expected.length && expected.every((byte, i) => byte === found[i]);
    });
    """
    packed = [lzma.compress(content, format=lzma.FORMAT_ALONE, filters=LZMA) for content in contents]
    given = [[base64.b64encode(one).decode() for one in pair] for pair in zip(packed, contents, strict=True)]
    assert browser.run_modules({"unpack": (STATIC / "unpack.js").read_text()}, script, given) == [True] * len(given)


def test_a_net_has_the_layers_that_python_plans(browser: Browser) -> None:
    requests = [drawn(seed) for seed in range(200, 240)]
    found = run(browser, "return given.asked.map((one) => tried(() => engine_.core.plan(one)));", {"asked": requests})
    for request, plan in zip(requests, found, strict=True):
        theirs = _core.plan(Request.read(request).spec)
        assert plan == _common(theirs, plan), request


def _common(theirs: Any, ours: Any) -> Any:
    """What Python says of that which the page says too."""
    if isinstance(ours, dict):
        # A factor that is not learned starts at 1, of which Python says nothing.
        return {name: _common(theirs.get(name, 1.0), value) for name, value in ours.items()}
    if isinstance(ours, list):
        assert len(theirs) == len(ours)
        return [_common(one, other) for one, other in zip(theirs, ours, strict=True)]
    return theirs
