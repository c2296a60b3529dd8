"""How often a verdict is wrong: 200 healthy and 200 sick nets drawn at random, judged by vgcore and by other tools.

    python benches/false_alarms.py [--nets 200] [--seed 0] [--out FILE.json]

Healthy and sick are defined by measurement alone, without any rule: float64, 32 random nets of each recipe, and the
median over them of |dL/dz_1| / |dL/dz_L|. A recipe is sick where that is 32 or more, or 1/32 or less (or where most
nets give no finite value), else healthy. All have a readout of 10 classes, cross-entropy, and 64 standard normal
samples with random classes, since the other tools look at gradients of a loss. Every judge sees other seeds than those
of the truth: vgcore its usual 8 seeds in float32, the other tools 3, a rule of theirs counting where at least half of
them show it. Some minutes.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import random
import time
from pathlib import Path
from typing import Any

import numpy as np

import vgcore as vg
from vgcore.judge import foreign
from vgcore.judge.foreign.seen import see

LIMIT = 1.5  # decades: 32-fold
SAMPLES, CLASSES = 64, 10
TRUTH_SEED, JUDGE_SEED = 1_000_000, 77

WIDTHS = (32, 48, 64, 96, 128, 192, 256)
ACTIVATIONS = (
    *("relu", "leaky_relu(0.1)", "elu", "selu", "gelu", "silu", "mish", "tanh", "sigmoid", "softplus", "softsign"),
    *("erf", "sin", "hardtanh", "linear", "relu6", "celu", "hardswish", "squareplus", "arctan", "abs"),
)
INITS = (
    *("kaiming_normal", "kaiming_uniform", "xavier_normal", "xavier_uniform", "lecun_normal", "orthogonal"),
    *("torch_default", "critical", "orthogonal(gain=1.4)", "xavier_normal(gain=1.6667)", "lsuv"),
)
NORMS = (None, None, None, "batch", "layer", "rms")
# No rezero: its branches begin switched off, so dL/dz within them is 0 at both ends, and there is no truth to measure.
SKIPS = (None, None, None, "residual", "residual(order=pre)", "highway(gate_bias=-2)", "dense")


def draw(dice: random.Random) -> vg.MLP | None:
    """A random net, or None where the draw is no net."""
    init = dice.choice(INITS)
    if dice.random() < 0.4:
        init = f"mean_field({dice.uniform(0.5, 3):.2f}, {dice.choice([0, 0.1, 0.5])})"
    skip = dice.choice(SKIPS)
    try:
        return vg.MLP(
            depth=round(math.exp(dice.uniform(math.log(4), math.log(100)))),
            width=dice.choice(WIDTHS),
            out_features=CLASSES,
            activation=dice.choice(ACTIVATIONS),
            init=init,
            norm=dice.choice(NORMS),
            norm_position=dice.choice(["pre", "post"]),
            skip=skip,
            branch_scale=dice.choice([1.0, 0.5, "1/sqrt(L)"]) if skip and skip.startswith("residual") else 1.0,
        )
    except ValueError:
        return None


def task(spec: vg.MLP, seed: int) -> dict[str, Any]:
    """Samples, classes and the loss."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((SAMPLES, spec.width))
    return {"x": x, "y": rng.integers(0, CLASSES, SAMPLES), "loss": "cross_entropy"}


def truth(spec: vg.MLP) -> float:
    """log10 of the median end-to-end ratio; inf where most nets are not finite, -inf where most signals die."""
    cell = vg.probe(spec, seeds=32, seed=TRUTH_SEED, dtype="float64", **task(spec, TRUTH_SEED))
    change = cell.end_to_end("backward")
    lost = np.isneginf(cell.log10_delta_rms[:, 0])
    return float(np.median(np.where(lost, -np.inf, np.where(np.isnan(change), np.inf, change))))


def nets(count: int, seed: int) -> list[tuple[vg.MLP, float]]:
    """So many healthy nets and as many sick ones, each with its measured ratio."""
    dice = random.Random(seed)
    kept: dict[bool, list[tuple[vg.MLP, float]]] = {True: [], False: []}
    while any(len(each) < count for each in kept.values()):
        spec = draw(dice)
        if spec is None:
            continue
        ratio = truth(spec)
        sick = abs(ratio) >= LIMIT
        if len(kept[sick]) < count:
            kept[sick].append((spec, ratio))
    return kept[False] + kept[True]


def said(spec: vg.MLP) -> dict[str, str]:
    """The word of every judge: healthy, vanishing or exploding; of other tools also whether they report anything."""
    given = task(spec, JUDGE_SEED)
    words = {"vgcore": vg.diagnose(spec, seed=JUDGE_SEED, **given).verdict}
    passes = []
    for seed in range(JUDGE_SEED, JUDGE_SEED + 3):
        net = spec.init(seed=seed, x=given["x"] if spec.init == "lsuv" else None)
        passes.append(see(net, given["x"], y=given["y"], loss=given["loss"], seed=seed))
    for preset in foreign.PRESETS:
        found = foreign.fired(preset, passes)
        words[preset] = foreign.of_gradients(found)
        words[f"{preset}, any report"] = "sick" if foreign.flagged(found) else "healthy"
    return words


def score(words: list[str], ratios: list[float]) -> dict[str, float | int]:
    """Precision and recall of a judge, and how often the direction of what it rightly calls sick is right."""
    flagged = [word != "healthy" for word in words]
    sick = [abs(ratio) >= LIMIT for ratio in ratios]
    right = sum(f and s for f, s in zip(flagged, sick, strict=True))
    true = ["exploding" if ratio > 0 else "vanishing" for ratio in ratios]
    signed = sum(f and s and w == t for f, s, w, t in zip(flagged, sick, words, true, strict=True))
    return {
        "precision": right / sum(flagged) if any(flagged) else math.nan,
        "recall": right / sum(sick),
        "false_alarms": sum(flagged) - right,
        "missed": sum(sick) - right,
        "right_direction": signed,
    }


def main() -> None:
    """Draw, measure, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", type=int, default=200, help="of either kind")
    parser.add_argument("--seed", type=int, default=0, help="of the draw of nets")
    parser.add_argument("--out", type=Path, help="a .json file for the scores")
    arguments = parser.parse_args()

    started = time.perf_counter()
    drawn = nets(arguments.nets, arguments.seed)
    ratios = [ratio for _, ratio in drawn]
    near = sum(abs(abs(ratio) - LIMIT) < math.log10(2) for ratio in ratios)
    seconds = time.perf_counter() - started
    print(f"{len(drawn)} nets, {near} of them within 2-fold of the limit; truth took {seconds:.0f} s", flush=True)
    judged = [said(spec) for spec, _ in drawn]
    scores = {judge: score([words[judge] for words in judged], ratios) for judge in judged[0]}
    print(f"{'judge':28s} precision  recall  false alarms  missed  right direction")
    for judge, row in scores.items():
        print(
            f"{judge:28s} {row['precision']:9.3f} {row['recall']:7.3f} {row['false_alarms']:13d} {row['missed']:7d}"
            f" {row['right_direction']:16d}"
        )
    print("\nvgcore's errors:")
    for (spec, ratio), words in zip(drawn, judged, strict=True):
        if (words["vgcore"] != "healthy") != (abs(ratio) >= LIMIT):
            print(f"  10^{ratio:.2f} called {words['vgcore']}: {spec}")
    if arguments.out:
        record = {
            "machine": {"system": platform.platform(), "vgcore": vg.build_info()},
            "arguments": {"nets": arguments.nets, "seed": arguments.seed},
            "near_the_limit": near,
            "scores": scores,
        }
        arguments.out.write_text(json.dumps(record, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
