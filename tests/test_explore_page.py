"""The explorer's page in a browser: controls, panels, address and code, with an engine that is made up."""

import contextlib
import io
import json
import random
import re
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from browser import Browser, needs_browser
from vgcore.explore import page
from vgcore.explore.presets import PRESETS
from vgcore.explore.reply import measure
from vgcore.explore.request import CONTROLS, DEFAULTS, Request
from vgcore.report.island import island

#: An engine that answers each request after `window.wait` ms with slopes made of its depth, and remembers all of them.
FAKE = """
window.asked = [];
window.answered = [];
window.under_way = 0;
window.most_under_way = 0;
window.wait ??= 5;
const measure = async (request, signal) => {
  window.asked.push(request);
  window.most_under_way = Math.max(window.most_under_way, ++window.under_way);
  await new Promise((done) => setTimeout(done, window.wait));
  window.under_way--;
  if (window.broken) throw new Error(window.broken);
  if (request.seeds === window.refuse) return { error: "too many" };
  const { depth, seeds } = request;
  const rows = (f) => Array.from({ length: seeds }, (_, s) => Array.from({ length: depth }, (_, i) => f(i, s)));
  window.answered.push(request);
  return {
    engine: "an engine made up", took_ms: 1.25, loss: null, theory: null, theory_why: "nothing is known",
    columns: {
      log10_z_rms: rows((i, s) => 0.01 * s), log10_h_rms: rows((i, s) => 1 + 0.01 * s),
      log10_delta_rms: rows((i, s) => 0.5 * (i - depth) + 0.01 * s), log10_dh_rms: rows(() => 0),
      log10_wgrad_norm: rows(() => 0.25), saturated: rows(() => 0.5), dead: rows(() => 0), correlation: rows(() => 1),
    },
    first_nonfinite: Array(seeds).fill(-1), lost_below: Array(seeds).fill(-1),
    verdict: {
      verdict: "vanishing", word: "vanishing (backward)", depth_limit: `${depth} layers`,
      summary: `vanishing (backward): ${depth} layers deep`,
    },
    ...window.reply,
  };
};
const settings = JSON.parse(document.getElementById("settings").textContent);
mount(document.getElementById("explorer"), { measure, settings, hash: true, ready: window.loaded });
"""
#: A hand at rest, and the last answer on the page.
RESTS = "return window.answered?.length && !window.under_way && Date.now() - (window.moved ?? 0) > 300"
SLIDE = """
const slider = document.querySelector(`.${arguments[0]} input[type=range]`);
slider.value = arguments[1];
slider.dispatchEvent(new Event("input", { bubbles: true }));
window.moved = Date.now();
"""
#: Chooses a word of a list.
CHOOSE = """
const [list, word] = arguments[0];
const select = document.querySelector(`.${list} select`);
select.value = word;
select.onchange();
window.moved = Date.now();
"""

pytestmark = needs_browser


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Callable[..., Browser]:
    """Open the explorer over the engine that is made up, once its first answer is there."""

    def open_it(hash_: str = "", *, before: str = "", rests: bool = True) -> Browser:
        file = tmp_path / "explorer.html"
        script = f"{before}\n{page.module().replace('export default', 'const widget =')}\n{FAKE}"
        file.write_text(
            f"<!doctype html><title>explorer</title><link rel=icon href=data:,><style>{page.style()}</style>"
            f"<main id=explorer></main><script type=application/json id=settings>{island(page.settings())}</script>"
            f"<script type=module>{script}</script>",
            encoding="utf-8",
        )
        browser.open(file.as_uri() + hash_)
        if rests:
            browser.wait(RESTS)
        return browser

    return open_it


def shown(browser: Browser) -> str:
    """All that the page says."""
    return str(browser.js("return document.body.innerText"))


def last(browser: Browser) -> dict[str, Any]:
    """The request that was answered last."""
    return dict(browser.js("return window.answered.at(-1)"))


def found(browser: Browser, selector: str) -> Any:
    """The element that a selector of CSS finds."""
    return browser.driver.find_element("css selector", selector)


def test_the_first_net_is_that_of_the_defaults(opened: Callable[..., Browser]) -> None:
    browser = opened()
    assert last(browser) == DEFAULTS
    assert browser.js("return location.hash") == ""
    assert "vanishing (backward): 20 layers deep" in shown(browser)
    assert "Measured by an engine made up in 1.25 ms." in shown(browser)
    assert browser.console() == []


def test_of_fifty_moves_in_a_tenth_of_a_second_the_last_one_stays(opened: Callable[..., Browser]) -> None:
    browser = opened(before="window.wait = 60;")
    before = browser.js("return window.asked.length")
    browser.driver.execute_async_script(
        """
        const done = arguments[0];
        const slider = document.querySelector(".depth input[type=range]");
        let moves = 0;
        const timer = setInterval(() => {
          slider.value = 30 + 2 * ++moves;
          slider.dispatchEvent(new Event("input", { bubbles: true }));
          if (moves === 50) { clearInterval(timer); window.moved = Date.now(); done(); }
        }, 2);
        """
    )
    browser.wait(RESTS)
    assert last(browser) == browser.js("return window.asked.at(-1)") == {**DEFAULTS, "depth": 131}
    assert browser.js("return window.asked.length") - before < 25
    assert browser.js("return window.most_under_way") <= 2  # a sharp pass that was given up may still run
    assert browser.js("return location.hash") == "#depth=131"
    assert browser.js("return document.querySelector('.depth input[type=text]').value") == "131"
    assert "131 layers deep" in shown(browser)
    assert "depth=131," in shown(browser)
    label = browser.js("return document.querySelector('svg.backward').getAttribute('aria-label')")
    assert "at layer 131, " in label
    assert "mean of 4 seeds" in label


def test_a_slow_engine_is_asked_for_few_seeds_until_the_hand_rests(opened: Callable[..., Browser]) -> None:
    browser = opened(before="window.wait = 120;")
    browser.js("window.asked.length = 0")
    browser.js(SLIDE, "depth", 9)
    browser.wait(RESTS)
    asked = browser.js("return window.asked")
    assert [each["seeds"] for each in asked] == [2, 4]
    assert [each.get("theory", True) for each in asked] == [False, True]
    assert {each["depth"] for each in asked} == {10}


def test_a_fast_engine_is_asked_once_a_move(opened: Callable[..., Browser]) -> None:
    browser = opened(before="performance.now = () => 0;")  # fast however busy this machine is
    browser.js("window.asked.length = 0")
    browser.js(SLIDE, "depth", 9)
    browser.wait(RESTS)
    assert [each["seeds"] for each in browser.js("return window.asked")] == [4]


@pytest.mark.parametrize(
    "changed",
    [
        {"depth": 50, "activation": "relu", "init": "kaiming_normal"},
        {"norm": "layer", "norm_position": "post", "skip": "residual", "branch_scale": 0.18},
        {"data": "spirals", "steps": 100, "lr": 0.02, "seed": 7, "batch": 64},
        {"sigma_w": 0.123, "sigma_b": 0.0, "seeds": 1, "width": 511},
    ],
)
def test_an_address_is_the_net_that_it_was_written_for(
    opened: Callable[..., Browser], changed: Mapping[str, Any]
) -> None:
    hash_ = "#" + "&".join(f"{name}={value}" for name, value in changed.items())
    browser = opened(hash_)
    assert last(browser) == {**DEFAULTS, **changed}
    written = browser.js("return location.hash")
    assert last(opened(written)) == {**DEFAULTS, **changed}


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: str(preset.id))
def test_a_preset_is_a_link_and_a_button(opened: Callable[..., Browser], preset: Any) -> None:
    net = {**DEFAULTS, **preset.request}
    browser = opened(f"#preset={preset.id}")
    assert last(browser) == net
    assert preset.text in shown(browser)
    pressed = "return document.querySelectorAll('.preset[aria-pressed=true]').length"
    assert browser.js(pressed) == 1
    found(browser, ".look button").click()
    browser.wait(RESTS)
    assert last(browser) == {**net, **preset.then}
    assert browser.js(pressed) == 0  # another net than the preset's
    assert browser.js("return location.hash").startswith(f"#preset={preset.id}&")
    assert preset.text in shown(browser)
    found(browser, ".again").click()
    browser.wait(RESTS)
    assert last(browser) == DEFAULTS
    assert "#" not in browser.js("return location.href")
    browser.driver.find_element("xpath", f"//button[text()={json.dumps(preset.title)}]").click()
    browser.wait(RESTS)
    assert last(browser) == net


def test_back_and_forward_go_from_net_to_net(opened: Callable[..., Browser]) -> None:
    browser = opened()
    # Of a page that nobody has touched a browser with a long history drops the entry.
    found(browser, ".verdict").click()
    for value in (9, 39):
        browser.js(SLIDE, "depth", value)
        browser.wait(RESTS)
    browser.js("history.back()")
    browser.wait("return window.answered.at(-1).depth === 10")
    browser.js("history.back()")
    browser.wait("return window.answered.at(-1).depth === 20")
    browser.js("history.forward()")
    browser.wait("return window.answered.at(-1).depth === 10")
    assert browser.js("return document.querySelector('.depth input[type=text]').value") == "10"


def test_keys_that_move_a_control_are_one_step_back(opened: Callable[..., Browser]) -> None:
    from selenium.webdriver import Keys

    browser = opened()
    browser.js("window.entries = 0")
    browser.js("history.pushState = (...of) => { window.entries++; History.prototype.pushState.apply(history, of); }")
    for name in ("width", "depth"):
        for _ in range(3):
            found(browser, f".{name} input[type=range]").send_keys(Keys.ARROW_LEFT)
            browser.js("window.moved = Date.now()")
            browser.wait(RESTS)
    assert browser.js("return window.entries") == 2
    assert browser.js("return location.hash").startswith("#depth=17&width=")
    browser.js("history.back()")
    browser.wait("return window.answered.at(-1).depth === 20")
    assert last(browser)["width"] < DEFAULTS["width"]


def test_a_step_back_does_not_end_at_an_address_that_is_written_anew(opened: Callable[..., Browser]) -> None:
    browser = opened("#depth=30")
    found(browser, ".verdict").click()
    browser.js("location.hash = 'width=64&depth=40'")  # a default, which the page's own way to say it leaves out
    browser.wait("return window.answered.at(-1).depth === 40")
    assert browser.js("return location.hash") == "#depth=40"
    browser.js("history.back()")
    browser.wait("return window.answered.at(-1).depth === 30")
    browser.wait(RESTS)
    assert browser.js("return location.hash") == "#depth=30"


def test_a_move_stands_that_comes_before_the_address_is_told_of(opened: Callable[..., Browser]) -> None:
    browser = opened()
    browser.js(CHOOSE + SLIDE.replace("arguments", "arguments[1]"), ["activation", "relu"], ["depth", 9])
    browser.wait(RESTS)
    assert last(browser) == {**DEFAULTS, "activation": "relu", "depth": 10}
    assert browser.js("return location.hash") == "#depth=10&activation=relu"


def test_an_address_of_no_net_is_said_and_the_rest_of_it_counts(opened: Callable[..., Browser]) -> None:
    browser = opened("#depth=30&width=0&shape=round&activation=<b>")
    assert last(browser) == {**DEFAULTS, "depth": 30}
    said = shown(browser)
    assert "The address says width=0. width must be a whole number from 1 to 512." in said
    assert "The address says shape=round, activation=<b>, which this page does not know." in said


@pytest.mark.parametrize(
    "hash_",
    ["__proto__=1", "constructor=x", "depth=NaN", "depth=1e999", "depth=", "depth=2.5", "preset=__proto__", "%"],
)
def test_no_word_of_an_address_is_more_than_a_word(opened: Callable[..., Browser], hash_: str) -> None:
    browser = opened(f"#{hash_}")
    assert last(browser) == DEFAULTS
    assert re.search(rf"The address says {re.escape(hash_)}(, which|\. depth must be a whole number)", shown(browser))
    assert browser.js("return ({}).x === undefined && location.hash === ''")


def test_a_long_address_is_said_in_short(opened: Callable[..., Browser]) -> None:
    browser = opened("#" + "&".join(f"{name}={name * 5_000}" for name in "abcdefghij"))
    browser.emulate(width=400)
    assert len(browser.js("return document.querySelector('.note').textContent")) < 300
    assert browser.js("return document.documentElement.scrollWidth") <= 400


def test_what_is_typed_is_taken_or_refused_with_a_sentence(opened: Callable[..., Browser]) -> None:
    from selenium.webdriver import Keys

    browser = opened()
    box = found(browser, ".sigma_w input[type=text]")
    box.send_keys(Keys.CONTROL, "a")
    box.send_keys("1.2345", Keys.ENTER)
    browser.wait(RESTS)
    assert last(browser)["sigma_w"] == 1.2345
    box.send_keys(Keys.CONTROL, "a")
    box.send_keys("99", Keys.ENTER)
    browser.wait("return document.querySelector('.note').textContent")
    assert "sigma_w must be a number from 0.05 to 20." in shown(browser)
    assert box.get_attribute("aria-invalid") == "true"
    assert last(browser)["sigma_w"] == 1.2345


HOSTILE = "</script><img src=x onerror='window.hit = 1'><b>"


def test_hostile_texts_stay_texts(opened: Callable[..., Browser]) -> None:
    verdict = {"verdict": HOSTILE, "word": HOSTILE, "summary": f"{HOSTILE} grows", "depth_limit": HOSTILE}
    reply = {"engine": HOSTILE, "theory_why": HOSTILE, "verdict": verdict}
    browser = opened(f"#preset={HOSTILE}", before=f"window.reply = {island(reply)};")
    assert shown(browser).count(HOSTILE) >= 5
    browser.js("window.reply = { error: arguments[0] }", HOSTILE)
    browser.js(SLIDE, "depth", 9)
    browser.wait(RESTS)
    assert HOSTILE in browser.js("return document.querySelector('.note').textContent")
    assert browser.js("return document.querySelectorAll('main img, main script, main .said b b').length") == 0
    assert browser.js("return window.hit") is None


def test_every_control_has_a_name_and_can_be_reached(opened: Callable[..., Browser]) -> None:
    from selenium.webdriver import ActionChains, Keys

    browser = opened("#norm=layer&skip=residual&data=spirals&steps=5")
    browser.js("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    tree = browser.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = ("slider", "textbox", "combobox", "button", "image", "status", "DisclosureTriangle")
    named = [
        (node["role"]["value"], node["name"]["value"]) for node in tree if node.get("role", {}).get("value") in roles
    ]
    assert [role for role, name in named if not name and role != "status"] == []
    for name, control in CONTROLS.items():
        role = "combobox" if control.choices else "textbox" if name == "seed" else "slider"
        assert (role, control.label) in named
    visited = set()
    for _ in range(60):
        ActionChains(browser.driver).send_keys(Keys.TAB).perform()
        visited.add(browser.js("const at = document.activeElement; return at.id || at.classList[0] || at.tagName"))
    missed = browser.js(
        "return [...document.querySelectorAll('button, input, select, svg[tabindex], pre, summary')].filter("
        "(each) => !each.disabled && each.checkVisibility())"
        ".map((each) => each.id || each.classList[0] || each.tagName)"
    )
    assert set(missed) - visited == set()


def test_keys_move_sliders_and_read_panels(opened: Callable[..., Browser]) -> None:
    from selenium.webdriver import Keys

    browser = opened()
    slider = found(browser, ".width input[type=range]")
    for _ in range(3):
        before = last(browser)["width"]
        slider.send_keys(Keys.ARROW_LEFT)
        browser.js("window.moved = Date.now()")
        browser.wait(RESTS)
        assert last(browser)["width"] < before
    panel = found(browser, "svg.backward")
    panel.send_keys(Keys.HOME, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    readout = "return document.querySelector('.panel.backward .readout').textContent"
    assert browser.js(readout).startswith("layer 3: 10^-9.0 (10^-9.0 to 10^-9.0)")
    # All panels show the same layer.
    assert browser.js("return document.querySelector('.panel.forward .readout').textContent").startswith("layer 3: 1.0")
    panel.send_keys(Keys.END)
    assert browser.js(readout).startswith("layer 20: 0.3")  # all of a line is near 1, so that it is in plain numbers
    panel.send_keys(Keys.ALT, Keys.ARROW_LEFT)  # the browser's
    assert browser.js(readout).startswith("layer 20: 0.3")
    panel.send_keys(Keys.ESCAPE)
    assert browser.js(readout) == "layer 20: 10^-0.5 → layer 1: 10^-10.0"


def test_a_control_that_does_nothing_is_off_and_says_why(opened: Callable[..., Browser]) -> None:
    browser = opened("#init=xavier_normal")
    off = browser.js(
        "return [...document.querySelectorAll('.control :disabled')].map((each) => [each.closest('.control')"
        ".querySelector('label').textContent, document.getElementById(each.getAttribute('aria-describedby'))"
        ".textContent])"
    )
    assert dict(off) == {
        "sigma_w": "xavier_normal has its own scale",
        "sigma_b": "xavier_normal has its own scale",
        "norm position": "there is no norm",
        "branch scale": "only a residual skip has one",
        "steps": "noise has nothing to learn",
        "learning rate": "the net is not trained",
    }


def test_what_is_lost_zero_and_not_finite_is_marked_and_told(opened: Callable[..., Browser]) -> None:
    rows = [[0.0, 1.0, "inf", None], [0.0, "-inf", 1.0, 2.0]]
    reply = {
        "columns": dict.fromkeys(
            ("log10_z_rms", "log10_delta_rms", "log10_wgrad_norm", "saturated", "dead", "correlation"), rows
        ),
        "first_nonfinite": [2, -1],
        "lost_below": [0, 1],
    }
    browser = opened("#depth=4&seeds=2", before=f"window.reply = {json.dumps(reply)};")
    label = {
        name: browser.js(f"return document.querySelector('svg.{name}').getAttribute('aria-label')")
        for name in ("forward", "backward")
    }
    assert "Seed 1 is not finite from layer 3 on." in label["forward"]
    assert "Exactly 0 at layer 2 in 1 of 2 seeds." in label["forward"]
    assert "Lost below the range of float32 at layers 1 to 2." in label["backward"]
    count = "return document.querySelectorAll(arguments[0]).length"
    assert browser.js(count, "svg.forward path.nonfinite") == 1
    assert browser.js(count, "svg.forward path.zero") == 1
    assert [browser.js(count, f"svg.{name} rect.lost") for name in ("forward", "backward", "weight")] == [0, 1, 1]
    assert "NaN" not in browser.js("return document.querySelector('.panels').outerHTML")


def test_of_a_net_with_skips_the_stream_is_drawn(opened: Callable[..., Browser]) -> None:
    browser = opened("#skip=residual")
    assert "Forward h, rms by layer, mean of 4 seeds: 10.4 at layer 1" in browser.js(
        "return document.querySelector('svg.forward').getAttribute('aria-label')"
    )
    assert browser.js("return document.querySelector('svg.backward').getAttribute('aria-label')").startswith(
        "Backward dL/dh"
    )
    assert "dL/dz in the branches" in shown(browser)


def test_an_engine_that_is_lost_is_said_and_asked_again(opened: Callable[..., Browser]) -> None:
    browser = opened()
    browser.js("window.broken = 'it went away'")
    browser.js(SLIDE, "depth", 9)
    browser.wait("return document.querySelector('.note').textContent")
    assert "It went away. Any change asks again." in shown(browser)
    browser.js("window.broken = ''")
    browser.js(SLIDE, "depth", 8)
    browser.wait("return !document.querySelector('.note').textContent")
    browser.wait(RESTS)
    assert last(browser)["depth"] == 9


def test_of_a_trained_net_the_page_says_that_engines_differ(opened: Callable[..., Browser]) -> None:
    apart = "Training amplifies rounding"
    assert apart in shown(opened("#data=spirals&steps=5"))
    assert apart not in shown(opened("#data=spirals"))


def test_a_wait_is_marked_when_it_is_long(opened: Callable[..., Browser]) -> None:
    browser = opened(
        before="""
        window.marks = [];
        new MutationObserver(() => window.marks.push(document.querySelector(".waits") !== null))
          .observe(document, { subtree: true, attributeFilter: ["class"] });
    """
    )
    browser.js("window.marks.length = 0; window.wait = 30")
    browser.js(SLIDE, "depth", 9)
    browser.wait(RESTS)
    assert not any(browser.js("return window.marks"))
    browser.js("window.wait = 400")
    browser.js(SLIDE, "depth", 10)
    browser.wait("return document.querySelector('.waits[aria-busy=true]')")
    browser.wait(RESTS)
    browser.wait("return !document.querySelector('.waits')")


def test_the_verdict_is_told_to_those_who_do_not_see_it(opened: Callable[..., Browser]) -> None:
    browser = opened()
    live = found(browser, "[role=status][aria-live=polite]")
    assert live.get_attribute("textContent") == "vanishing (backward): 20 layers deep"
    assert browser.js("return document.querySelector('.said b').className") == "cold"


def test_of_a_move_only_the_net_at_its_end_is_told(opened: Callable[..., Browser]) -> None:
    browser = opened(before="window.wait = 120;")  # so slow that a move is answered by few seeds, and then by all
    browser.js(
        """
        window.told = [];
        const live = document.querySelector("[role=status]");
        new MutationObserver(() => window.told.push(live.textContent)).observe(live, { childList: true });
        """
    )
    browser.js(CHOOSE, ["init", "orthogonal"])
    browser.js(SLIDE, "depth", 8)
    browser.js(SLIDE, "depth", 9)
    browser.wait(RESTS)
    assert browser.js("return window.told") == ["vanishing (backward): 10 layers deep"]


def test_a_panel_that_was_read_by_keys_is_silent_again_when_it_is_left(opened: Callable[..., Browser]) -> None:
    from selenium.webdriver import Keys

    browser = opened()
    live = "return document.querySelector('.panel.backward .readout').getAttribute('aria-live')"
    found(browser, "svg.backward").send_keys(Keys.HOME)
    assert browser.js(live) == "polite"
    found(browser, "svg.backward").send_keys(Keys.TAB)
    assert browser.js(live) == "off"


#: The colour of a text.
TONE = "return getComputedStyle(document.querySelector(arguments[0])).color"


def test_of_a_net_that_is_too_much_with_all_seeds_the_few_are_its_own(opened: Callable[..., Browser]) -> None:
    browser = opened(before="window.wait = 120;")
    browser.js("window.refuse = 4")
    browser.js(SLIDE, "depth", 9)
    browser.wait("return document.querySelector('.note').textContent")
    assert "Too many.\n\nOf this net with 2 seeds:\n\nvanishing (backward): 10 layers deep" in shown(browser)


def test_what_an_engine_takes_to_load_is_no_time_of_measuring(opened: Callable[..., Browser]) -> None:
    browser = opened(before="window.loaded = new Promise((done) => setTimeout(done, 300));")
    browser.js("window.asked.length = 0; performance.now = () => 0;")
    browser.js(SLIDE, "depth", 9)
    browser.wait(RESTS)
    assert [each["seeds"] for each in browser.js("return window.asked")] == [4]


def test_an_engine_that_cannot_be_loaded_is_not_asked_again(opened: Callable[..., Browser]) -> None:
    browser = opened(before="window.loaded = Promise.reject(new Error('no room for it'));", rests=False)
    browser.wait("return document.querySelector('.note')?.textContent")
    assert "No room for it. Load this page anew." in shown(browser)
    assert "Measuring the first net" not in browser.js("return document.querySelector('.said').textContent")
    names = browser.js("return [...document.querySelectorAll('.panel svg')].map((e) => e.getAttribute('aria-label'))")
    assert names[0] == "Forward: not measured yet"


def test_what_is_refused_is_said_once_and_whose_net_is_shown(opened: Callable[..., Browser]) -> None:
    browser = opened(before="window.reply = { error: 'this is too much' };")
    assert "This is too much." in shown(browser)
    assert "Measuring the first net" not in browser.js("return document.querySelector('.said').textContent")
    assert "one seed" not in shown(browser)
    assert "Measured by" not in shown(browser)
    browser.js("window.reply = {}")
    browser.js(SLIDE, "depth", 9)
    browser.wait(RESTS)
    browser.js("window.reply = { error: 'this is too much' }; window.said = 0;")
    browser.js(
        "new MutationObserver(() => window.said++).observe(document.querySelector('.note'), { childList: true })"
    )
    for depth in (19, 29, 39):
        browser.js(SLIDE, "depth", depth)
        browser.wait(RESTS)
    assert "This is too much.\n\nOf the net before:\n\nvanishing (backward): 10 layers deep" in shown(browser)
    for part in (".said", ".limit", ".panels", ".legend", ".engine"):
        assert browser.js("return getComputedStyle(document.querySelector(arguments[0])).opacity", part) == "0.5"
    assert browser.js(TONE, ".said b") == browser.js(TONE, ".said")
    assert browser.js("return window.said") == 1
    browser.js("window.reply = {}")
    browser.js(SLIDE, "depth", 9)
    browser.wait(RESTS)
    room = "const top = (of) => document.querySelector(of).getBoundingClientRect().top;"
    assert browser.js(f"{room} return top('.said') - top('.verdict')") < 15  # what is not said takes no line


def test_nothing_jumps_while_a_slider_moves(opened: Callable[..., Browser]) -> None:
    browser = opened()
    places = (
        "return [...document.querySelectorAll('.panel, .control')]"
        ".map((each) => Math.round(each.getBoundingClientRect().top))"
    )
    before = browser.js(places)
    for name, value in (("depth", 149), ("width", 3), ("sigma_w", 20), ("sigma_b", 0)):
        browser.js(SLIDE, name, value)
        browser.wait(RESTS)
        assert browser.js(places) == before
    panels = "return [...document.querySelectorAll('.panel')].map((each) => each.getBoundingClientRect().top)"
    before = browser.js(panels)
    browser.js(CHOOSE, ["init", "orthogonal"])
    browser.wait(RESTS)
    assert browser.js(panels) == before


def test_a_control_that_is_off_takes_one_line(opened: Callable[..., Browser]) -> None:
    browser = opened("#init=xavier_normal")
    high = browser.js(
        "return [...document.querySelectorAll('.control.off')].map((each) => each.getBoundingClientRect().height)"
    )
    assert max(high) < 30
    cut = "return [...document.querySelectorAll('.off .why')].filter((e) => e.scrollWidth > e.clientWidth)"
    assert browser.js(f"{cut}.map((each) => each.textContent)") == []


def test_the_legend_is_of_what_is_on_screen(opened: Callable[..., Browser]) -> None:
    told = "return document.querySelector('.legend').innerText"
    browser = opened()
    assert "one seed" in browser.js(told)
    assert "theory" not in browser.js(told)
    assert "exactly 0" not in browser.js(told)
    theory = {"forward": {"mean": [0.0] * 20}}
    browser = opened("#skip=residual", before=f"window.reply = {json.dumps({'theory': theory})};")
    assert "theory of the branches" in browser.js(told)
    assert browser.js("return document.querySelectorAll('.panel .theory.inner').length") == 1


def test_on_a_narrow_screen_panels_begin_in_sight(opened: Callable[..., Browser]) -> None:
    opened().emulate(width=400, height=800)
    browser = opened()
    assert browser.js("return document.querySelector('.panel').getBoundingClientRect().top") < 800


@pytest.mark.parametrize("width", [400, 700, 1000, 1600])
def test_the_page_fits_its_window(opened: Callable[..., Browser], width: int) -> None:
    browser = opened("#preset=batch")
    browser.emulate(width=width)
    assert browser.js("return document.documentElement.scrollWidth") <= width
    wide = browser.js(
        "return [...document.querySelectorAll('.panel svg')].map((each) => each.getBoundingClientRect().width)"
    )
    assert min(wide) > 200
    browser.wait(
        "return [...document.querySelectorAll('.panel svg')].every("
        "(each) => Math.abs(each.viewBox.baseVal.width - each.getBoundingClientRect().width) < 1)"
    )


#: A notebook's model of the widget: traits, and messages to and from a kernel that never has more than one answer.
NOTEBOOK = """
const heard = {};
const traits = { settings: given.settings, request: { ...given.settings.defaults, depth: 7 } };
const sent = [];
const fire = (event, ...of) => (heard[event] ?? []).forEach((each) => each(...of));
const model = {
  get: (name) => traits[name],
  set: (name, value) => {
    traits[name] = value;
    fire(`change:${name}`);
  },
  save_changes() {},
  on: (event, each) => (heard[event] ??= []).push(each),
  off: (event, each) => (heard[event] = heard[event].filter((other) => other !== each)),
  send: (message) => sent.push(message),
};
const el = document.body.appendChild(document.createElement("div"));
const end = explore.default.render({ model, el });
const moment = () => new Promise((done) => setTimeout(done, 50));
fire("msg:custom", { id: sent[0].id, reply: { error: "told by the kernel" } });
await moment();
const note = el.querySelector(".note").textContent;
model.set("request", { ...traits.request, depth: 9 });
await moment();
const select = el.querySelector(".activation select");
select.value = "relu";
select.onchange();
const answer = { depths: sent.map(({ request }) => request.depth), note, told: traits.request };
end();
return { ...answer, left: el.children.length, ears: Object.values(heard).flat().length };
"""


def test_a_notebook_asks_its_kernel_and_tells_it_the_net(browser: Browser) -> None:
    found = browser.run_modules({"explore": page.module()}, NOTEBOOK, {"settings": json.loads(island(page.settings()))})
    assert found["note"] == "Told by the kernel."
    assert found["depths"] == [7, 9]
    assert found["told"] == {**DEFAULTS, "depth": 9, "activation": "relu"}
    assert found["left"] == found["ears"] == 0


def test_views_of_one_widget_do_not_take_each_other_s_replies(browser: Browser) -> None:
    script = """
    const sent = [];
    const traits = { settings: given, request: given.defaults };
    const model = { get: (name) => traits[name], set() {}, save_changes() {}, on() {} };
    model.send = ({ id }) => sent.push(id);
    for (let i = 0; i < 2; i++) explore.default.render({ model, el: document.createElement("div") });
    return sent;
    """
    ids = browser.run_modules({"explore": page.module()}, script, json.loads(island(page.settings())))
    assert len(ids) == len(set(ids)) == 2


NETS: list[dict[str, Any]] = [
    {},
    {"depth": 5, "width": 16, "norm": "batch", "norm_position": "input", "batch": 7},
    {"depth": 5, "width": 16, "skip": "residual", "branch_scale": 0.25, "init": "orthogonal", "activation": "relu"},
    {"depth": 5, "width": 16, "skip": "dense", "sigma_w": 1e-1, "sigma_b": 0.0, "seed": 3},
    {"depth": 3, "width": 16, "data": "spirals", "seeds": 2},
    {"depth": 3, "width": 16, "data": "spirals", "steps": 3, "lr": 0.05, "seeds": 1, "seed": 2, "batch": 16},
]


def test_the_code_of_a_net_at_random_makes_its_spec(browser: Browser) -> None:
    rng = random.Random(3)
    asked: list[dict[str, Any]] = []
    specs: list[Any] = []
    while len(asked) < 200:
        words = {name: rng.choice(control.choices) for name, control in CONTROLS.items() if control.choices}
        sizes = {"sigma_w": rng.uniform(0.05, 20), "sigma_b": rng.choice([0.0, rng.random()])}
        request = {**DEFAULTS, **words, **sizes, "branch_scale": rng.uniform(0, 10), "lr": 10 ** rng.uniform(-5, 1)}
        with contextlib.suppress(ValueError):  # A combination that does not exist.
            specs.append(Request.read(request).spec)
            asked.append(request)
    source = (resources.files("vgcore.explore") / "static" / "state.js").read_text(encoding="utf-8")
    programs = browser.run_modules({"state": source}, "return given.map((each) => state.code(each));", asked)
    for program, spec in zip(programs, specs, strict=True):
        names: dict[str, Any] = {}
        exec(program.partition("\n)\n")[0] + "\n)", names)
        assert names["spec"] == spec


@pytest.mark.parametrize("changed", NETS)
def test_the_code_makes_this_very_net(opened: Callable[..., Browser], changed: Mapping[str, Any]) -> None:
    browser = opened("#" + "&".join(f"{name}={value}" for name, value in changed.items()))
    program = browser.js("return document.querySelector('.program code').textContent")
    names: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(program, names)
    assert names["spec"] == Request.read(changed).spec
    reply = measure(changed)
    assert names["probe"].log10_delta_rms.tolist() == reply["columns"]["log10_delta_rms"]
    assert reply["verdict"]["summary"] in " ".join(printed.getvalue().split())
