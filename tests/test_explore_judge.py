"""The judge of the page says what Python's judge says, letter by letter, of nets from all over the request space."""

from __future__ import annotations

import contextlib
import copy
import math
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import pytest

from browser import Browser, needs_browser
from vgcore.explore.reply import measure
from vgcore.explore.request import CHOICES, NOISE, NONE, SPIRALS, Request
from vgcore.explore.rules import SILENT, rules
from vgcore.judge.rules import RULES
from vgcore.judge.verdict import SAMENESS
from vgcore.model.plan import Plan
from vgcore.show.words import count, fold, power

NETS = 500
STATIC = files("vgcore.explore") / "static"
MODULES = {name: (STATIC / f"{name}.js").read_text(encoding="utf-8") for name in ("numbers", "judge")}
#: Of a reply, what the judge is given.
GIVEN = ("request", "columns", "first_nonfinite")
#: Judges all nets by the true rules, and then by changed ones, until one net is told in other words.
SCRIPT = """
const told = (net, rules) => JSON.stringify(judge.judge(net, rules));
const shows = (rules) => given.nets.findIndex((net, at) => told(net, rules) !== JSON.stringify(answers[at]));
const answers = given.nets.map((net) => judge.judge(net, given.rules));
return { answers, shown: given.changed.map(shows) };
"""
#: Sentences that are told of some nets, by how they begin or what they say.
SENTENCES = (
    "keeps its size over",
    "grows 10^",
    "shrinks 10^",
    "does not arrive at all",
    "no hidden layer has a gradient",
    "its one layer is flat",
    "one layer has no factor",
    "in a typical net",
    "not finite from layer",
    "not finite from the readout",
    "all inputs end up alike",
    "all inputs end up on one line",
    "would stay within 32-fold",
    "not decided: ",
)
LIMITS = (
    "no limit",
    "carried on from the depth measured",
    "1 layer (1 to 1) keeps",
    "layers keep dL/dz",
    "to no limit)",
)


#: Nets that a draw seldom meets: one layer that is flat or 0, signals that move on their way forward alone, runs that
#: break on both ways, and the ends of what a request may say.
ENDS: tuple[dict[str, Any], ...] = (
    {"depth": 1, "width": 1, "activation": "softsign", "sigma_w": 20.0, "batch": 1, "seeds": 1, "seed": 1},
    {"depth": 1, "width": 1, "sigma_b": 0.0, "norm": "layer", "norm_position": "input"},
    {
        "depth": 30,
        "width": 38,
        "activation": "abs",
        "init": "mup",
        "norm": "batch",
        "data": SPIRALS,
        "steps": 5,
        "lr": 10.0,
    }
    | {"seeds": 3, "batch": 4, "seed": 716},
    {"depth": 4, "width": 14, "activation": "geglu", "sigma_w": 1.0, "sigma_b": 0.090864356629761, "data": SPIRALS}
    | {"steps": 5, "seeds": 3, "batch": 8, "seed": 108},
    {"depth": 200, "width": 4, "activation": "linear", "sigma_w": 20.0, "sigma_b": 0.0},
    {"depth": 200, "width": 4, "activation": "linear", "sigma_w": 0.05, "sigma_b": 0.0},
    {"depth": 200, "width": 8, "seeds": 16, "batch": 4},
    {"depth": 2, "width": 512, "seeds": 1, "batch": 256},
)


def drawn(rng: np.random.Generator) -> dict[str, Any]:
    """A request: deep or not, narrow or wide, of any kind, at any scale of its weights."""

    def one(*choices: Any) -> Any:
        return choices[rng.integers(len(choices))]

    def log_uniform(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(math.log(low), math.log(high))))

    request: dict[str, Any] = {
        "depth": one(1, int(rng.integers(2, 6)), int(rng.integers(5, 20)), int(rng.integers(10, 50)), 30, 80),
        "width": one(1, 2, int(rng.integers(3, 9)), int(rng.integers(8, 33)), int(rng.integers(16, 49)), 48),
        "activation": one("tanh", "relu", "sigmoid", *CHOICES["activation"]),
        "init": one(*CHOICES["init"]) if rng.random() < 0.5 else "mean_field",
        "sigma_w": one(1.0, log_uniform(0.3, 4), log_uniform(0.7, 2), log_uniform(0.05, 20)),
        "sigma_b": one(0.0, 0.05, 0.5, log_uniform(0.01, 5)),
        "norm": one(*CHOICES["norm"]) if rng.random() < 0.4 else NONE,
        "norm_position": one(*CHOICES["norm_position"]),
        "skip": one(*CHOICES["skip"]) if rng.random() < 0.4 else NONE,
        "branch_scale": one(1.0, 1.0, 0.3, 0.0, 3.0),
        "seeds": one(1, 2, 3, 4, 4, 6, 12),
        "batch": one(1, 2, 3, 4, 8, 16, 32),
        "seed": int(rng.integers(1000)),
        "theory": False,
    }
    if rng.random() < 0.4:
        steps = one(0, 0, 1, 5, 20)
        request |= {"data": SPIRALS, "steps": steps, "lr": one(0.1, log_uniform(1e-3, 10), 10.0)}
        if steps:
            request |= {"seeds": min(request["seeds"], 3), "depth": min(request["depth"], 30)}
    return request


@cache
def replies() -> list[dict[str, Any]]:
    """Nets as Python measures and judges them; one that does not exist is drawn anew."""
    rng, found = np.random.default_rng(21), [measure(each | {"theory": False}) for each in ENDS]
    while len(found) < NETS:
        with contextlib.suppress(ValueError):
            found.append(measure(drawn(rng)))
    return found


def changed_rules() -> dict[str, dict[str, Any]]:
    """The rules with one number of them changed, by its name."""
    changed = {}
    for at, rule in enumerate(rules()["rules"]):
        if rule["id"] != "non_finite":  # A share of the runs, of which one is enough.
            for factor in (0.2, 5):
                one = copy.deepcopy(rules())
                one["rules"][at]["decisive"] *= factor
                changed[f"{rule['id']} x {factor}"] = one
        if rule["condition"] in SAMENESS:
            one = copy.deepcopy(rules())
            one["rules"][at]["thresholds"]["critical"] *= 0.5
            changed[f"{rule['id']} critical"] = one
    numbers = {"flat": 0.5, "most_runs": 0.9, "undecided": 0.8, "resolution": 1e-3, "longest": 50}
    for name, value in numbers.items():
        changed[name] = rules() | {name: value}
    changed["student"] = rules() | {"student": [2.0] * len(rules()["student"])}
    of_samples = [(NOISE, "correlation", -1e4), (SPIRALS, "correlation", -1e4), (SPIRALS, "alignment", 0.9)]
    for data, name, value in (*of_samples, (SPIRALS, "blind", 0.01)):
        one = changed[f"{name} of {data}"] = copy.deepcopy(rules())
        one["data"][data][name] = value
    for name, value in {"responsive": 0.5, "outputs": 4}.items():
        one = changed[name] = copy.deepcopy(rules())
        for kind in one["activations"].values():
            kind[name] = value
    changed["knows_depth"] = rules() | {"inits": {name: {"knows_depth": False} for name in rules()["inits"]}}
    return changed


@pytest.fixture(scope="module")
def judged(browser: Browser) -> dict[str, Any]:
    """What the browser says of all nets, and for each changed number the first net of which it says something else."""
    nets = [{name: reply[name] for name in GIVEN} for reply in replies()]
    given = {"nets": nets, "rules": rules(), "changed": list(changed_rules().values())}
    found: dict[str, Any] = browser.run_modules(MODULES, SCRIPT, given)
    return found


@needs_browser
def test_the_page_judges_500_nets_as_python_does(judged: dict[str, Any]) -> None:
    different = [
        f"net {i}, {reply['request']}: {name} is {ours!r} in Python and {answer.get(name)!r} in the page"
        for i, (reply, answer) in enumerate(zip(replies(), judged["answers"], strict=True))
        for name, ours in reply["verdict"].items()
        if answer.get(name) != ours
    ]
    assert not different, f"{len(different)} fields differ:\n" + "\n".join(different[:20])
    assert all(
        answer.keys() == reply["verdict"].keys() for reply, answer in zip(replies(), judged["answers"], strict=True)
    )


@needs_browser
def test_every_number_that_python_hands_over_shows_in_some_net(judged: dict[str, Any]) -> None:
    unseen = [name for name, net in zip(changed_rules(), judged["shown"], strict=True) if net < 0]
    assert not unseen


def test_the_nets_show_every_word_and_sentence() -> None:
    said = [reply["verdict"] for reply in replies()]
    assert {(each["verdict"], each["direction"]) for each in said} >= {
        ("healthy", None),
        ("collapsed", None),
        *((verdict, way) for verdict in ("vanishing", "exploding") for way in ("forward", "backward", "both")),
    }
    conditions = {rule["condition"] for rule in rules()["rules"]} - {None}
    assert {word for each in said for word in each["conditions"]} == conditions
    summaries, limits = ("\n".join(each[name] for each in said) for name in ("summary", "depth_limit"))
    assert [sentence for sentence in SENTENCES if sentence not in summaries] == []
    assert [sentence for sentence in LIMITS if sentence not in limits] == []
    assert any(not each["depth_limit"] for each in said)


def test_rules_that_are_not_handed_over_find_nothing() -> None:
    handed = {rule["id"] for rule in rules()["rules"]}
    assert {rule.id for rule in RULES} > SILENT
    assert handed.isdisjoint(SILENT)
    # What stands at its start or is the same in all units would be judged by steps of training.
    for init in CHOICES["init"]:
        for skip in CHOICES["skip"]:
            plan = Plan.of(Request(depth=4, width=8, init=init, skip=skip, data=SPIRALS).spec)
            maps = [*(layer.map for layer in plan.layers), plan.readout]
            assert all(each is not None and each.weight_variance > 0 for each in maps), (init, skip)


@needs_browser
def test_numbers_are_written_as_python_writes_them(browser: Browser) -> None:
    rng = np.random.default_rng(3)
    sizes = [
        *rng.uniform(-400, 400, 500),
        *rng.uniform(-4, 4, 500),
        0.0,
        -0.0,
        3.0,
        -3.0,
        12.25,
        12.75,
        math.log10(1.125),
    ]
    factors = [*10 ** rng.uniform(0, 300, 500), *rng.uniform(1, 40, 500), 1.125, 2.5, 10.5, 11.5, 99.5, 9.995, 1e5]
    layers = [*rng.integers(0, 2_000_000, 200), 1, 999_999, 1_000_000, 1_500_000, 2_500_000]
    given = {
        name: [float(value) for value in values]
        for name, values in {"sizes": sizes, "factors": factors, "layers": layers}.items()
    }
    script = """return [given.sizes.map(numbers.powerText), given.factors.map(numbers.foldText),
                       given.layers.map(numbers.countText)];"""
    ours = [
        [write(value) for value in values] for write, values in zip((power, fold, count), given.values(), strict=True)
    ]
    assert browser.run_modules({"numbers": MODULES["numbers"]}, script, given) == ours
