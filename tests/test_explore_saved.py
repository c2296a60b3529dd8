"""The explorer's page as Python makes it: one file with a policy of its own, and the settings in it."""

import base64
import hashlib
import html
import json
import re
from pathlib import Path

import pytest

from browser import Browser, needs_browser
from vgcore.explore import page
from vgcore.explore.presets import PRESETS
from vgcore.explore.request import DEFAULTS
from vgcore.report.island import island


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
def test_the_page_of_the_server_says_that_its_server_is_gone(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "served.html"
    file.write_text(page.served("a token"), encoding="utf-8")
    browser.open(file)
    browser.wait("return document.querySelector('.note').textContent")
    assert "The engine does not answer" in browser.js("return document.body.innerText")


def test_a_build_without_an_engine_for_pages_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "ENGINE", "none.wasm")
    page.saved.cache_clear()
    with pytest.raises(ValueError, match=r"has no none\.wasm, .* `vgcore explore` shows the same page"):
        page.saved()


def test_the_settings_are_what_python_has() -> None:
    found = json.loads(island(page.settings()))
    assert list(found["controls"]) == list(DEFAULTS) == list(found["defaults"])
    assert found["limits"]["backward"] == 1.5
    assert [preset["id"] for preset in found["presets"]] == [preset.id for preset in PRESETS]
