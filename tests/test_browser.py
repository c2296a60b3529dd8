"""The browser that tests of pages drive: it sees what a page does wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from browser import Browser, needs_browser

pytestmark = needs_browser

PAGE = """<!doctype html><title>page</title><style>
body { color: rgb(1, 1, 1) } @media (prefers-color-scheme: dark) { body { color: rgb(2, 2, 2) } }
@media print { body { color: rgb(3, 3, 3) } } @media (max-width: 500px) { body { margin: 7px } }
</style><p style="height: 2000px">text</p>"""
COLOUR = "return getComputedStyle(document.body).color"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.html"
    path.write_text(PAGE, encoding="utf-8")
    return path


def test_a_quiet_page_asks_for_itself_alone(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.requests() == [page.as_uri()]
    assert browser.console() == []
    assert browser.hosts() == []


def test_a_page_that_asks_for_more_and_fails_is_seen(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "loud.html"
    path.write_text(PAGE + '<img src="none.png"><script>throw Error("aloud")</script>', encoding="utf-8")
    browser.open(path)
    assert [url.rsplit("/", 1)[-1] for url in browser.requests()] == ["loud.html", "none.png"]
    assert any("aloud" in message for message in browser.console())
    assert any("none.png" in message for message in browser.console())


def test_what_a_worker_asks_of_other_machines_is_seen(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "worker.html"
    ask = "fetch('http://one.example').finally(() => fetch('https://two.example')).catch(() => postMessage(1))"
    url = f'URL.createObjectURL(new Blob(["{ask}"]))'
    path.write_text(
        f"<script>new Worker({url}).onmessage = () => {{ document.title = 'told' }}</script>", encoding="utf-8"
    )
    browser.open(path)
    browser.wait("return document.title === 'told'")
    assert set(browser.hosts()) == {"one.example", "two.example"}


def test_readers_are_played(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.js(COLOUR) == "rgb(1, 1, 1)"
    browser.emulate(dark=True)
    assert browser.js(COLOUR) == "rgb(2, 2, 2)"
    browser.emulate(printed=True)
    assert browser.js(COLOUR) == "rgb(3, 3, 3)"
    browser.emulate(width=400)
    assert browser.js("return getComputedStyle(document.body).marginTop") == "7px"


def test_a_picture_shows_the_whole_page(browser: Browser, page: Path, tmp_path: Path) -> None:
    browser.open(page)
    png = browser.screenshot(tmp_path / "page.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    assert int.from_bytes(png[20:24], "big") >= 2000


def test_modules_run_and_import_each_other(browser: Browser) -> None:
    sources = {
        "second": "export const add = (x) => x + 1;",
        "first": 'import { add } from "./second.js"; export const twice = async (x) => add(add(x));',
    }
    assert browser.run_modules(sources, "return [second.add(given), await first.twice(given), NaN]", 1.5) == [
        2.5,
        3.5,
        None,
    ]


def test_an_error_of_a_module_fails_the_test(browser: Browser) -> None:
    with pytest.raises(AssertionError, match="ReferenceError: nothing is not defined"):
        browser.run_modules({"one": "export const one = () => nothing;"}, "return one.one()")
