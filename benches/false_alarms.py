"""How often a verdict is wrong: 200 healthy and 200 sick nets drawn at random, judged by vgcore and by other tools.

    python benches/false_alarms.py [--nets 200] [--seed 0] [--json FILE]

Healthy and sick are defined by measurement alone, without any rule: float64, 64 random nets of 64 samples each, and the
median over nets of |dL/dz_1| / |dL/dz_L|. A net is sick where that is above 32 or below 1/32 (or where most nets give no
finite value), else healthy. Every judge then sees other seeds than those.
"""

from __future__ import annotations

import random

import numpy as np

import vgcore as vg

LIMIT = 1.5  # decades: 32-fold
TRUTH = {"seeds": 64, "batch": 64, "dtype": "float64", "seed": 1_000_000}

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
SKIPS = (None, None, None, "residual", "residual(order=pre)", "rezero", "highway(gate_bias=-2)", "dense")


def draw(dice: random.Random) -> vg.MLP | None:
    """A random net, or None where the draw is no net."""
    init = (
        dice.choice(INITS)
        if dice.random() < 0.6
        else f"mean_field({dice.uniform(0.5, 3):.2f}, {dice.choice([0, 0.1, 0.5])})"
    )
    skip = dice.choice(SKIPS)
    try:
        return vg.MLP(
            depth=round(np.exp(dice.uniform(np.log(4), np.log(100)))),
            width=dice.choice(WIDTHS),
            activation=dice.choice(ACTIVATIONS),
            init=init,
            norm=dice.choice(NORMS),
            norm_position=dice.choice(["pre", "post"]),
            skip=skip,
            branch_scale=dice.choice([1.0, 0.5, "1/sqrt(L)"]) if skip and skip.startswith("residual") else 1.0,
        )
    except ValueError:
        return None


def truth(spec: vg.MLP) -> float:
    """log10 of the median end-to-end ratio; inf where most nets are not finite, -inf where most signals die."""
    change = vg.probe(spec, **TRUTH).end_to_end("backward")
    return float(np.median(np.where(np.isnan(change), np.inf, change)))


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


def score(flagged: list[bool], sick: list[bool]) -> dict[str, float]:
    """Precision and recall of a judge."""
    right = sum(f and s for f, s in zip(flagged, sick, strict=True))
    return {
        "precision": right / max(sum(flagged), 1),
        "recall": right / sum(sick),
        "false_alarms": sum(flagged) - right,
        "missed": sum(sick) - right,
    }
