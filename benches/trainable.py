"""Does the verdict at init tell who trains? Random recipes, judged by vgcore and other tools, then trained.

    python benches/trainable.py [--quick] [--seed 0] [--truths FILE.json] [--out FILE.json] [--page docs/trainable.md]

A recipe is trained on the digits (1437 rows, standardised by one mean and deviation; cross-entropy, batches of 64, 250
steps, float32) by SGD, SGD with momentum 0.9 and Adam, from weights that no judge saw. The rate is tuned: a recipe
trains under an optimiser if at any rate of `RATES` the mean of its last 20 losses is below half of the blind guess,
ln 10. Rates are tried in turn, and a recipe that has trained is not trained again. A net that diverges fails.

The judges see the recipe at init, with the same data and loss: vgcore 8 seeds of it, the other tools 3. What they say
is scored as a forecast of "will not train". Precision: of those called so, the share that did not train. Recall: of
those that did not train, the share called so. Beside the words stand the numbers under them, each scored by the chance
that a recipe that fails has more of it than one that trains (the area under the curve; 0.5 says nothing).

Twelve minutes on two cores; `--quick` a tenth of the recipes.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from false_alarms import (
    ACTIVATIONS,
    BARE,
    USUAL,
    Case,
    Dice,
    Fields,
    Floats,
    depth,
    normed,
    others,
    progress,
    score,
    skipped,
)
from false_alarms import INITS as ALL_INITS
from numpy.typing import NDArray

import vgcore as vg
from vgcore import _core
from vgcore.judge.evidence import Evidence
from vgcore.measure import files

ROWS, BATCH, STEPS, LAST = 1437, 64, 250, 20
PART = 100  # recipes that are trained in one call
BLIND = math.log(10)  # the loss of a guess that knows nothing
TRAINED = BLIND / 2
TRAIN_SEED, JUDGE_SEED = 1_000_000, 77

#: The rates that each optimiser may choose from, in the order in which they are tried.
RATES: dict[str, tuple[str, tuple[float, ...]]] = {
    "SGD": ("sgd(lr={})", (0.1, 0.01, 0.001, 0.03, 0.3)),
    "momentum": ("sgd(lr={}, momentum=0.9)", (0.01, 0.001, 0.1, 0.03, 0.003)),
    "Adam": ("adam(lr={})", (0.001, 0.01, 0.0001, 0.003, 0.0003)),
}

#: Numbers that a record has of every recipe.
TOLD = {
    "backward": "change of the backward signal, either way",
    "forward": "change of the forward signal, either way",
    "alike": "samples alike in the last layer, -log10(1 - correlation)",
}

WIDTHS = (16, 24, 32, 48, 64)
INITS = tuple(init for init in ALL_INITS if init not in {"lsuv", "critical"})  # one needs data, one some activations
SKIPS = ("residual", "rezero", "highway")

#: What makes a recipe one of a kind; four in ten are plain.
KINDS: dict[str, Callable[[Dice], Fields]] = {
    "plain": lambda _: {},
    "batch norm": lambda dice: normed(dice, "batch"),
    "plain, ReLU-like": lambda dice: {"activation": dice.choice(["relu", "leaky_relu(0.1)", "elu", "gelu", "silu"])},
    "layer or rms norm": lambda dice: normed(dice, "layer", "rms"),
    "plain, tanh-like": lambda dice: {"activation": dice.choice(["tanh", "erf", "hardtanh", "softsign", "arctan"])},
    "residual": lambda dice: skipped(dice, "residual"),
    "plain, sigmoid-like": lambda dice: {"activation": dice.choice(["sigmoid", "softplus"])},
    "rezero": lambda dice: skipped(dice, "rezero"),
    "highway": lambda dice: skipped(dice, "highway"),
    "norm and skip": lambda dice: normed(dice) | skipped(dice, *SKIPS),
}


class Recipe(Case):
    """A net that may train or not, on the digits."""

    def task(self, _: int) -> Fields:
        """The rows that are trained on and judged with."""
        x, y = vg.data.digits()
        return {"x": x[:ROWS], "y": y[:ROWS], "loss": "cross_entropy", "batch": BATCH}

    def __str__(self) -> str:
        told = [(name, value) for name, value in self.spec.to_dict().items() if value != USUAL[name]]
        return f"MLP({', '.join(f'{name}={value!r}' for name, value in told if not name.endswith('_features'))})"


def recipe(kind: str, dice: Dice) -> Recipe:
    """A random net of a kind, of 2 to 100 layers."""
    init = f"mean_field({dice.uniform(0.4, 3.5):.2f}, {dice.choice([0, 0.1, 0.5])})"
    fields = BARE | {
        "depth": depth(dice, least=2),
        "width": dice.choice(WIDTHS),
        "activation": dice.choice(ACTIVATIONS),
        "init": init if dice.random() < 0.5 else dice.choice(INITS),
    }
    spec = vg.MLP(**fields | KINDS[kind](dice), in_features=64, out_features=10)
    return Recipe(kind, spec, "digits", "cross_entropy", BATCH)


def recipes(count: int, seed: int) -> list[Recipe]:
    """So many, kind after kind."""
    dice, kinds = Dice(seed), list(KINDS)
    return [recipe(kinds[index % len(kinds)], dice) for index in range(count)]


# The truth


def final_losses(drawn: Sequence[Recipe], optimizer: str) -> list[float]:
    """Mean of the last losses of each net, trained side by side; inf where it diverged."""
    task = drawn[0].task(0)
    found = [math.inf] * len(drawn)

    def report(index: int, result: Fields) -> None:
        mean = float(np.mean(result["loss"][0, -LAST:]))
        found[index] = mean if math.isfinite(mean) else math.inf

    steps = {"optimizer": optimizer, "schedule": "constant()", "clip": None, "noise": 0.0, "rates": None}
    none = np.zeros(0, np.int64)
    _core.train(
        [net.spec for net in drawn],
        [steps] * len(drawn),
        report,
        x=task["x"],
        y=task["y"],
        loss=task["loss"],
        validation=None,
        steps=STEPS,
        until=None,
        batch=BATCH,
        record=none,
        columns=[],
        sharpness=none,
        validate=none,
        checkpoints=none,
        nonfinite="stop",
        patience=None,
        keep_weights=False,
        resume=None,
        seeds=1,
        seed=TRAIN_SEED,
        dtype="float32",
        threads=None,
        progress=None,
    )
    return found


@dataclass
class Truth:
    """What became of a recipe under one optimiser: the best of its final losses, and the rate that gave it."""

    loss: float = math.inf
    lr: float = math.nan

    @property
    def trains(self) -> bool:
        """Whether it is well below the blind guess."""
        return self.loss < TRAINED


def truths(drawn: Sequence[Recipe], optimizer: str, known: dict[str, float], keep: Callable[[], None]) -> list[Truth]:
    """Of all recipes: every rate in turn, for those that have not trained at one before.

    Args:
        drawn: The recipes.
        optimizer: A name of `RATES`.
        known: Final losses by optimiser and net; what is there is not trained again, what is new is put there.
        keep: Called when something new is there.
    """
    text, rates = RATES[optimizer]
    found = [Truth() for _ in drawn]
    for lr in rates:
        started = time.perf_counter()
        waiting = [index for index, truth in enumerate(found) if not truth.trains]
        keys = {index: f"{text.format(lr)}: {drawn[index]}" for index in waiting}
        new = [index for index in waiting if keys[index] not in known]
        for part in (new[at : at + PART] for at in range(0, len(new), PART)):
            losses = final_losses([drawn[index] for index in part], text.format(lr))
            known.update(zip((keys[index] for index in part), losses, strict=True))
            keep()
        for index in waiting:
            if known[keys[index]] < found[index].loss:
                found[index] = Truth(known[keys[index]], lr)
        trained = sum(found[index].trains for index in waiting)
        seconds = time.perf_counter() - started
        print(f"{optimizer} lr {lr}: {trained} of {len(waiting)} train, {seconds:.0f} s", file=sys.stderr, flush=True)
    return found


# The judges


def judged(net: Recipe) -> tuple[dict[str, bool], dict[str, float | None], str]:
    """Who says that it will not train, what was measured of it, and vgcore's verdict."""
    said = vg.diagnose(net.spec, seed=JUDGE_SEED, **net.task(JUDGE_SEED))
    limit = said.depth_limit
    words = {
        "vgcore: verdict": said.verdict != "healthy",
        "vgcore: verdict or a warning": said.verdict != "healthy"
        or any(finding.severity != "info" for finding in said.findings),
        "vgcore: a critical finding": any(finding.severity == "critical" for finding in said.findings),
        "vgcore: depth limit below the depth": limit is not None and limit.value < net.spec.depth,
    }
    for name, word in others(net).items():
        tool, _, any_report = name.partition(", ")
        words[f"{tool}: {any_report or 'gradients'}"] = word != "healthy"
    assert said.evidence is not None
    return words, numbers(said.evidence), said.verdict


def numbers(e: Evidence) -> dict[str, float | None]:
    """What was measured at init, in decades where not said; more of it should be worse. None: does not apply."""
    cell, norms = e.probe, e.column("log10_wgrad_norm")
    backward, forward, total = e.backward.rms, e.forward.rms, float(np.mean(cell.log10_total_grad_norm))
    spread = float(np.nanmax(norms) - np.nanmin(norms)) if np.isfinite(norms).any() else None
    last = cell.correlation[:, -1]
    alike = -math.log10(max(1 - float(np.nanmean(last)), 1e-9)) if not np.isnan(last).all() else math.inf
    found: dict[str, float | None] = {
        "depth, layers": e.depth,
        "change of the backward signal, either way": abs(backward),
        "its decay, where it decays": -backward if backward < 0 else None,
        "its growth, where it grows": backward if backward > 0 else None,
        "change of the forward signal, either way": abs(forward),
        "samples alike in the last layer, -log10(1 - correlation)": alike,
        "the larger of backward change and alike": max(abs(backward), alike),
        "the largest of backward change, forward change and alike": max(abs(backward), abs(forward), alike),
        "spread of dL/dW over the layers": spread,
        "size of the whole gradient, either way": abs(total),
        "first loss over the blind guess": float(np.log10(np.mean(cell.loss_value) / BLIND)),
    }
    return {name: math.inf if value is not None and math.isnan(value) else value for name, value in found.items()}


def area(values: Floats, fails: NDArray[np.bool_]) -> float:
    """Chance that one that fails has more of it than one that trains, ties as half."""
    bad, good = values[fails], values[~fails]
    if not len(bad) or not len(good):
        return math.nan
    return float(np.mean((bad[:, None] > good) + (bad[:, None] == good) / 2))


def best_limit(values: Floats, fails: NDArray[np.bool_]) -> Fields:
    """The limit that parts these recipes best, and its accuracy: chosen with hindsight, so an upper line."""
    order = np.argsort(values, kind="stable")
    v, bad = values[order], fails[order]
    # Everything from position i on is called a failure.
    right = np.concatenate([[bad.sum()], bad.sum() + np.cumsum(np.where(bad, -1, 1))])
    allowed = np.concatenate([[True], v[1:] != v[:-1], [True]])
    at = int(np.argmax(np.where(allowed, right, -1)))
    return {"limit": float(v[at]) if at < len(v) else math.inf, "accuracy": float(right[at] / len(v))}


# The tables


def accuracy(row: Fields) -> float:
    """Share of recipes that were called right."""
    return 1 - (row["false_alarms"] + row["missed"]) / row["nets"]


def tables(drawn: Sequence[Recipe], fails: dict[str, list[bool]], heard: Sequence[Any]) -> Fields:
    """Scores of all judges and numbers under every optimiser, and of vgcore's verdict by kind."""
    words, measured, verdicts = zip(*heard, strict=True)
    told: Fields = {"judges": {}, "numbers": {}, "kinds": {}, "verdicts": {}}
    for name in words[0]:
        rows = {optimizer: score((w[name] for w in words), sick) for optimizer, sick in fails.items()}
        told["judges"][name] = {optimizer: row | {"accuracy": accuracy(row)} for optimizer, row in rows.items()}
    for name in measured[0]:
        of = [index for index, each in enumerate(measured) if each[name] is not None]
        values = np.array([measured[index][name] for index in of], float)
        told["numbers"][name] = {"recipes": len(of)}
        for optimizer, sick in fails.items():
            there = np.array([sick[index] for index in of], bool)
            told["numbers"][name][optimizer] = {"area": area(values, there)} | best_limit(values, there)
    for kind in KINDS:
        of = [index for index, net in enumerate(drawn) if net.kind == kind]
        told["kinds"][kind] = {
            optimizer: score((words[i]["vgcore: verdict"] for i in of), (sick[i] for i in of))
            for optimizer, sick in fails.items()
        }
    for verdict in sorted(set(verdicts)):
        of = [index for index, word in enumerate(verdicts) if word == verdict]
        told["verdicts"][verdict] = {"nets": len(of)} | {
            optimizer: sum(sick[i] for i in of) for optimizer, sick in fails.items()
        }
    return told


def grid(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *body])


def page(record: Fields) -> str:
    """All tables in Markdown."""
    scores, names = record["scores"], list(RATES)
    cell = "{precision:.2f} / {recall:.2f} / {accuracy:.2f}".format_map
    limits = "{area:.2f} ({limit:.2g}: {accuracy:.2f})".format_map
    parts = {
        "What vgcore says, and how many of these do not train": grid(
            ["verdict", "recipes", *names],
            [[word, *(str(row[name]) for name in ("nets", *names))] for word, row in scores["verdicts"].items()]
            + [["all", str(len(record["recipes"])), *(str(record["failures"][name]) for name in names)]],
        ),
        "Who foretells that a recipe will not train: precision / recall / accuracy": grid(
            ["judge", *names],
            [[judge, *(cell(row[name]) for name in names)] for judge, row in scores["judges"].items()],
        ),
        "Which number at init parts those that fail from those that train: area (best limit: its accuracy)": grid(
            ["number", "recipes", *names],
            [
                [number, str(row["recipes"]), *(limits(row[name]) for name in names)]
                for number, row in scores["numbers"].items()
            ],
        ),
        "vgcore's errors by kind: false alarms + missed, of the recipes that fail": grid(
            ["kind", "recipes", *names],
            [
                [kind, str(row[names[0]]["nets"])]
                + ["{false_alarms} + {missed} of {sick}".format_map(row[name]) for name in names]
                for kind, row in scores["kinds"].items()
            ],
        ),
    }
    return "\n\n".join(f"### {title}\n\n{table}" for title, table in parts.items())


def filled(text: str, tables: str) -> str:
    """A page with new tables between its marks."""
    first, last = "<!-- tables -->", "<!-- end of tables -->"
    return f"{text.split(first, maxsplit=1)[0]}{first}\n\n{tables}\n\n{last}{text.split(last)[1]}"


def save(known: dict[str, float], path: Path | None) -> None:
    """Keep what is known, if there is a file for it."""
    if path:
        files.save_text(json.dumps(known, indent=0), path)


def main() -> None:
    """Draw, judge, train, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", type=int, default=1000, help="how many, of all kinds in turn")
    parser.add_argument("--quick", action="store_true", help="a tenth of them")
    parser.add_argument("--seed", type=int, default=0, help="of the draw of recipes")
    parser.add_argument("--truths", type=Path, help="a .json file of final losses: what it has is not trained again")
    parser.add_argument("--out", type=Path, help="a .json file for the record")
    parser.add_argument("--page", type=Path, help="a page whose tables are filled")
    arguments = parser.parse_args()

    drawn = recipes(arguments.nets // 10 if arguments.quick else arguments.nets, arguments.seed)
    heard = [judged(net) for net in progress("judged", drawn)]
    path = arguments.truths
    known = json.loads(path.read_text(encoding="utf-8")) if path and path.exists() else {}
    keep = partial(save, known, path)
    found = {optimizer: truths(drawn, optimizer, known, keep) for optimizer in RATES}
    fails = {optimizer: [not truth.trains for truth in truths] for optimizer, truths in found.items()}
    record = {
        "machine": {"system": platform.platform(), "vgcore": vg.build_info()},
        "arguments": {"nets": len(drawn), "seed": arguments.seed, "train_seed": TRAIN_SEED, "judge_seed": JUDGE_SEED},
        "trained": {"steps": STEPS, "batch": BATCH, "rates": RATES, "loss_below": TRAINED},
        "failures": {optimizer: sum(sick) for optimizer, sick in fails.items()},
        "scores": tables(drawn, fails, heard),
        "recipes": [
            f"{net.kind}: {net}, {verdict} ("
            + ", ".join(f"{told} {measured[name]:.3g}" for told, name in TOLD.items())
            + "); best loss "
            + ", ".join(f"{name} {truths[index].loss:.3g} at {truths[index].lr:g}" for name, truths in found.items())
            for index, (net, (_, measured, verdict)) in enumerate(zip(drawn, heard, strict=True))
        ],
    }
    print(page(record))
    if arguments.out:
        files.save_text(json.dumps(record, indent=1), arguments.out)
    if arguments.page:
        files.save_text(filled(arguments.page.read_text(encoding="utf-8"), page(record)), arguments.page)


if __name__ == "__main__":
    main()
