"""The explorer's page as Python makes it: one file with a policy of its own, and the settings in it."""

import base64
import hashlib
import html
import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from browser import Browser, needs_browser
from vgcore.explore import page
from vgcore.explore.presets import PRESETS
from vgcore.explore.reply import measure
from vgcore.explore.request import CONTROLS, DEFAULTS
from vgcore.report.island import island
from vgcore.show.html.style import GROUNDS, TEXTS

#: For what needs the engine of pages.
needs_engine = pytest.mark.skipif(
    not (resources.files("vgcore.explore") / "static" / page.ENGINE).is_file(),
    reason=f"this build has no {page.ENGINE}: `make wasm` builds it",
)
#: Prints the replies of Python to requests, as JSON.
PYTHON = """
import json, sys
from vgcore.explore.reply import measure
print(json.dumps([measure(request) for request in json.load(sys.stdin)]))
"""
SAID = """
const text = (selector) => document.querySelector(selector).textContent;
const labels = [...document.querySelectorAll(".panel svg")].map((svg) => svg.getAttribute("aria-label"));
return { said: text(".said"), limit: text(".limit"), training: text(".training"), labels, note: text(".note"),
  engine: text(".engine"), hash: location.hash };
"""
#: Whether the page has answered what its address asks for, and rests.
RESTS = """
return document.querySelector(".engine")?.textContent && !document.querySelector(".waits")
  && performance.now() - (window.moved ?? 0) > 600
"""
MOVE = """
const [name, share] = arguments;
const input = document.querySelector(`.${name} :is(select, input[type=range])`);
if (input.disabled) return;
if (input.options) input.selectedIndex = Math.floor(share * input.options.length);
else input.value = Math.round(share * input.max);
input.dispatchEvent(new Event(input.options ? "change" : "input", { bubbles: true }));
window.moved = performance.now();
"""


def python(requests: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What Python replies with the instruction set whose bits are those of the page."""
    env = {**os.environ, "VGCORE_ISA": "scalar"}
    command = [sys.executable, "-c", PYTHON]
    done = subprocess.run(command, env=env, input=json.dumps(requests), capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout))


@pytest.fixture
def saved(browser: Browser, tmp_path: Path) -> Browser:
    """The page as a file, once its first answer is there."""
    file = tmp_path / "explorer.html"
    file.write_text(page.saved(), encoding="utf-8")
    browser.open(file)
    browser.wait(RESTS)
    return browser


@needs_browser
@needs_engine
def test_the_page_measures_by_itself_and_asks_for_nothing(saved: Browser) -> None:
    found = saved.js(SAID)
    assert found["note"] == ""
    assert re.fullmatch(r"Measured by vgcore [^,]*, WebAssembly in [0-9.]+ ms\.", found["engine"])
    assert [url for url in saved.requests() if not url.startswith("file:")] == []
    assert len(saved.requests()) == 1
    assert saved.console() == []


@needs_browser
@needs_engine
def test_a_page_begins_with_the_net_that_it_was_saved_for(browser: Browser, tmp_path: Path) -> None:
    start = {"init": "xavier_normal", "depth": 7}
    file = tmp_path / "explorer.html"
    file.write_text(page.saved(start), encoding="utf-8")
    code = "return document.querySelector('.program code').textContent"
    for hash_, depth, init in (
        ("", 7, "xavier_normal"),
        ("#depth=9", 9, "xavier_normal"),
        ("#init=orthogonal", 7, "orthogonal"),
    ):
        browser.open(file.as_uri() + hash_)
        browser.wait(RESTS)
        assert browser.js("return location.hash") == hash_
        assert f"depth={depth}," in browser.js(code)
        assert f'init="{init}"' in browser.js(code)
    # Presets are the same on every page.
    browser.open(f"{file.as_uri()}#preset=chaos")
    browser.wait(RESTS)
    assert "depth=50," in browser.js(code)
    browser.js("document.querySelector('.again').click()")
    assert "depth=7," in browser.js(code)


@needs_engine
def test_the_page_is_small() -> None:
    assert len(page.saved().encode()) <= 400_000


@needs_browser
@needs_engine
def test_a_hundred_moves_end_in_what_python_says(saved: Browser) -> None:
    draw = random.Random(21)
    # Nets that are measured in a moment: others wait for their turn, and are told so.
    names = [name for name in CONTROLS if name not in {"seed", "seeds", "batch", "steps", "lr"}]
    ends, seen = [], []
    for move in range(1, 101):
        name = draw.choice(names)
        saved.js(MOVE, name, draw.random() * (0.5 if name in {"depth", "width"} else 1))
        if move % 10 == 0:
            saved.wait(RESTS)
            seen.append(saved.js(SAID))
            values = dict(pair.split("=") for pair in seen[-1]["hash"].lstrip("#").split("&") if pair)
            ends.append({name: type(DEFAULTS[name])(value) for name, value in values.items()})
    for request, reply, found in zip(ends, python(ends), seen, strict=True):
        assert found["note"] == "", request
        assert found["said"] == reply["verdict"]["summary"], request
        assert found["limit"].removeprefix("Depth limit: ") == reply["verdict"]["depth_limit"], request


@needs_browser
@needs_engine
def test_what_the_engine_refuses_is_said(saved: Browser) -> None:
    saved.js("location.hash = 'norm=batch&batch=1'")
    saved.wait("return document.querySelector('.note').textContent")
    assert saved.js(SAID)["note"].startswith("norm='batch' needs a batch of at least 2 samples")
    saved.js("location.hash = 'norm=batch&batch=2'")
    saved.wait("return !document.querySelector('.note').textContent")
    assert saved.console() == []


@needs_browser
@needs_engine
def test_of_what_is_chosen_while_the_engine_works_the_last_alone_is_measured(saved: Browser) -> None:
    saved.js(
        """
        window.posted = 0;
        const post = Worker.prototype.postMessage;
        Worker.prototype.postMessage = function (...of) { window.posted++; return post.apply(this, of); };
        const select = document.querySelector(".activation select");
        for (const option of select.options) {
          select.value = option.value;
          select.dispatchEvent(new Event("change"));
        }
        window.moved = performance.now();
        """
    )
    saved.wait(RESTS)
    assert saved.js("return window.posted") == 2  # the first one, and the last
    chosen = saved.js("return document.querySelector('.activation select').value")
    assert saved.js(SAID)["hash"] == f"#activation={chosen}"


def test_the_page_of_the_server_holds_to_its_own_policy() -> None:
    text = page.served("a token")
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1])  # type: ignore[index]
    scripts = re.findall(r"<script type=\"module\">(.*?)</script>", text, re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}' " in policy
    assert "default-src 'none'" in policy
    assert set(re.findall(r"https?://[^\s\"'`]+", text)) == {"http://www.w3.org/2000/svg"}
    assert re.findall(r"<(?:link|img|iframe|script)[^>]*(?:src|href)=\"(?!data:)", text) == []
    assert not re.search(r"\beval\(|innerHTML|insertAdjacentHTML|document\.write", text)
    assert len(text.encode()) < 80_000


@needs_browser
def test_the_page_of_the_server_shows_what_python_measures(browser: Browser) -> None:
    pytest.importorskip("uvicorn", reason="needs the extra explore")
    command = [sys.executable, "-m", "vgcore", "explore", "--depth", "12", "--skip", "residual"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            browser.open(server.stdout.readline().strip())
            browser.wait(RESTS)
            found = browser.js(SAID)
        finally:
            server.terminate()
    reply = measure({"depth": 12, "skip": "residual"})
    assert found["note"] == ""
    assert found["said"] == reply["verdict"]["summary"]
    assert found["engine"].startswith(f"Measured by {reply['engine']} in ")
    assert browser.console() == []


@needs_browser
def test_the_page_of_the_server_says_that_its_server_is_gone(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "served.html"
    file.write_text(page.served("a token"), encoding="utf-8")
    browser.open(file)
    browser.wait("return document.querySelector('.note').textContent")
    assert "The server does not answer: was it ended? Any change asks again." in browser.js(
        "return document.body.innerText"
    )


def test_a_build_without_an_engine_for_pages_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "ENGINE", "none.wasm")
    page._engine.cache_clear()
    with pytest.raises(ValueError, match=r"has no none\.wasm, .* `vgcore explore` shows the same page"):
        page.saved()


def test_the_settings_are_what_python_has() -> None:
    found = json.loads(island(page.settings()))
    assert list(found["controls"]) == list(DEFAULTS) == list(found["defaults"])
    assert found["limits"]["backward"] == 1.5
    assert [preset["id"] for preset in found["presets"]] == [preset.id for preset in PRESETS]


def test_colours_are_those_of_all_pages_of_vgcore() -> None:
    static = resources.files("vgcore.explore") / "static"
    css = (static / "explore.css").read_text(encoding="utf-8")
    html_ = (static / "page.html").read_text(encoding="utf-8")
    for text in (css, html_):
        assert not re.search(r"#[0-9a-f]{3,8}\b|\brgba?\(|\bhsl|: (?:black|white|red|blue|green|gr[ae]y)\b", text)
    assert {*re.findall(r"var\(--(\w+)\)", css + html_)} - {"rim"} <= {*TEXTS, *GROUNDS, "line"}
