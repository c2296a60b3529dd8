"""The explorer's server and its page in a browser: native numbers on screen, and no other page's business."""

import math
import random
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

pytest.importorskip("uvicorn", reason="the extra explore is not installed")

from browser import Browser, needs_browser
from served import served
from vgcore.explore.reply import measure
from vgcore.explore.request import CHOICES, DEFAULTS

pytestmark = needs_browser

#: The verdict on screen, once the net that the address says is measured.
SUMMARY = "return document.body.innerText.includes(arguments[0])"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a server, without a state."""
    with served() as (_, printed):
        yield printed


def wait_for(browser: Browser, text: str) -> None:
    """Until the page says a text."""
    from selenium.webdriver.support.wait import WebDriverWait

    WebDriverWait(browser.driver, 60, 0.02).until(lambda _: browser.js(SUMMARY, text))


def drawn(rng: random.Random) -> dict[str, Any]:
    """The fields of a net that is quick to measure."""
    chosen: dict[str, Any] = {name: rng.choice(CHOICES[name]) for name in ("activation", "init", "norm", "skip")}
    chosen |= {"depth": rng.randint(2, 40), "width": 2 * rng.randint(2, 24), "sigma_w": round(rng.uniform(0.5, 3), 3)}
    return chosen | rng.choice([{"data": "spirals", "steps": 5}, {"data": "spirals"}, {}])


def test_the_page_shows_what_this_machine_measures(browser: Browser, address: str) -> None:
    browser.open(address)
    told = measure(DEFAULTS)
    wait_for(browser, told["verdict"]["summary"])
    wait_for(browser, f"Measured by {told['engine']}")
    assert {url.partition("?")[0].rstrip("/") for url in browser.requests()} <= {
        address.partition("/?")[0],
        f"{address.partition('/?')[0]}/measure",
    }
    assert browser.console() == []


def test_random_moves_end_in_the_verdicts_of_python(browser: Browser, address: str) -> None:
    browser.open(address)
    rng = random.Random(0)
    for _ in range(10):
        asked = drawn(rng)
        browser.js("location.hash = arguments[0]", urlencode(asked))
        try:
            told = measure({**DEFAULTS, **asked, "theory": False})["verdict"]["summary"]
        except ValueError as error:
            told = str(error)[1:]  # a sentence on screen begins with a capital
        wait_for(browser, told)
    # What cannot be measured is answered with 422, which a browser calls an error of loading.
    assert [entry for entry in browser.console() if "422" not in entry] == []


def test_another_page_gets_nothing(browser: Browser, address: str, tmp_path: Path) -> None:
    from selenium.webdriver.support.wait import WebDriverWait

    page = tmp_path / "another.html"
    page.write_text("<!doctype html><title>another</title><link rel=icon href=data:,>", encoding="utf-8")
    browser.open(page)
    head, _, token = address.partition("/?token=")
    script = """
    const [url, token, done] = arguments;
    const json = { "content-type": "application/json", "x-vgcore-token": token };
    const tries = [
      fetch(`${url}/?token=${token}`),
      fetch(`${url}/measure`, { method: "POST", headers: json, body: "{}" }),
      fetch(`${url}/measure`, { method: "POST", headers: { "content-type": "text/plain" }, body: "{}" }),
    ];
    Promise.allSettled(tries).then((all) => done(all.map((each) => each.status)));
    """
    assert browser.driver.execute_async_script(script, head, token) == ["rejected"] * 3
    browser.js("document.body.append(Object.assign(document.createElement('iframe'), {src: arguments[0]}))", address)
    # The window of a frame is there before its page is refused.
    waiting = WebDriverWait(browser.driver, 60, 0.02)
    waiting.until(lambda _: any("frame-ancestors" in entry for entry in browser.console()))
    assert browser.js("return document.querySelector('iframe').contentWindow.length") == 0


def test_a_server_that_is_gone_or_is_another_is_told_of(browser: Browser) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    move = """
    const select = document.querySelector(".activation select");
    select.value = arguments[0];
    select.dispatchEvent(new Event("change"));
    """
    with served("--port", str(port)) as (_, address):
        browser.open(address)
        wait_for(browser, "Measured by")
    browser.js(move, "relu")
    wait_for(browser, "The server does not answer: was it ended? Any change asks again.")
    with served("--port", str(port)):
        browser.js(move, "tanh")
        wait_for(browser, "The server was started anew: open the address that it has printed now.")


def test_a_page_without_its_token_says_so(browser: Browser, address: str) -> None:
    browser.open(address.partition("?")[0])
    assert "The token is missing or wrong" in browser.js("return document.body.innerText")
    assert not [entry for entry in browser.console() if "favicon" in entry]


def test_a_move_is_on_screen_within_a_second(browser: Browser, address: str) -> None:
    """Far more than it takes on an idle machine; it is for what would queue moves or wait for theory."""
    browser.open(address)
    wait_for(browser, measure(DEFAULTS)["verdict"]["summary"])
    took = []
    for depth in range(30, 50):
        script = """
        const [depth, done] = arguments;
        const slider = document.querySelector(".depth input[type=range]");
        const label = () => document.querySelector("svg.backward").getAttribute("aria-label");
        const started = performance.now();
        slider.value = depth;
        slider.dispatchEvent(new Event("input", { bubbles: true }));
        const look = () => label().includes(`at layer ${depth + 1}, `)
          ? done(performance.now() - started)
          : requestAnimationFrame(look);
        look();
        """
        took.append(browser.driver.execute_async_script(script, depth))
    assert sorted(took)[len(took) // 2] < 1000
    assert all(math.isfinite(each) for each in took)
