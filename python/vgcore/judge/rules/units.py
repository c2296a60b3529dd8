"""Rules of units: those that are flat, and those that are 0."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from vgcore.judge.evidence import Evidence
from vgcore.judge.replay import STEPS
from vgcore.judge.rule import Hit, Rule, share
from vgcore.measure.probe import probe
from vgcore.model.mlp import MLP
from vgcore.model.plan import Plan
from vgcore.show.words import power


@lru_cache
def responsive(activation: str) -> float:
    """Share of standard normal pre-activations where an activation is not flat: measured, as in any probe."""
    return 1 - float(
        probe(MLP(depth=1, width=1024, activation=activation, init="lecun_normal"), seeds=1).saturated[0, 0]
    )


def _saturation(e: Evidence, rule: Rule) -> Hit | None:
    assert e.facts is not None  # noqa: S101 (as the rule needs)
    if not e.facts.activations:
        return None  # Gates have a rule of their own.
    ideal = np.array([responsive(kind) for kind in e.facts.activations])
    with np.errstate(divide="ignore", invalid="ignore"):
        lost = np.where(e.closed, math.nan, 1 - (1 - e.column("saturated")) / ideal)
        runs = np.nanmax(1 - (1 - e.values("saturated")) / ideal, axis=1, initial=-math.inf)
    if not np.isfinite(lost).any():
        return None
    worst = int(np.nanargmax(lost))
    layers = tuple(np.flatnonzero(lost >= rule.least).tolist())
    flat = e.column("saturated")[worst]
    text = f"{flat:.0%} of the units of {e.layer(worst)} are flat, where {1 - ideal[worst]:.0%} would be at unit z"
    working = (
        f"flat: |phi'(z)| < 0.01 max|phi'|. At {e.layer(worst)} {flat:.3f} are flat, {1 - ideal[worst]:.3f} for "
        f"standard normal z; lost = 1 - {1 - flat:.3f}/{ideal[worst]:.3f} = {lost[worst]:.3f}. "
        f"z has the rms {power(e.column('log10_z_rms')[worst])} there."
    )
    value = float(lost[worst])
    return Hit(value, layers, share(runs, lambda r: r >= rule.level(value)), text, working)


SATURATION = Rule(
    id="saturation",
    quantity="share of responsive (sample, unit) pairs lost in the worst layer, against standard normal z; 0 to 1",
    thresholds={"warning": 0.5, "critical": 0.9},
    why="Half of the slopes are gone. ReLU's flat half is there at unit z too and does not count.",
    reference="Glorot and Bengio 2010; |phi'| below 1 % of its maximum, as in a probe's `saturated`",
    wrong="Softmax-like and gated nets saturate on purpose; at the start of training it still means lost gradient.",
    remedy="smaller weights or biases, normalised inputs, a normalisation before the activation",
    formula="lost = 1 - P(|phi'(z)| >= 0.01 max|phi'|) / the same for standard normal z",
    picture=("saturated",),
    check=_saturation,
    needs=("saturated", "spec"),
    condition="saturated",
)


def _dead(e: Evidence, rule: Rule) -> Hit | None:
    # A unit that is 0 on a slope, as tanh's, learns.
    dead = np.where(e.closed, math.nan, np.minimum(e.column("dead"), e.column("saturated")))
    if np.isnan(dead).all():
        return None
    worst = int(np.nanargmax(dead))
    samples = "samples" if e.trace.batch is None else f"{e.trace.batch} samples"
    text = f"{dead[worst]:.0%} of the units of {e.layer(worst)} are 0 for all {samples}"
    working = (
        f"over {e.runs} runs: {dead[worst]:.3f} of the units of {e.layer(worst)} give exactly 0 for every "
        f"one of {samples}. Symmetric weights alone leave at most half of them off, once all samples "
        "look alike."
    )
    flat = np.minimum(e.values("dead"), e.values("saturated"))
    runs = np.where(np.isnan(flat), -math.inf, flat).max(axis=1)
    layers = tuple(np.flatnonzero(dead >= rule.least).tolist())
    value = float(dead[worst])
    return Hit(value, layers, share(runs, lambda r: r >= rule.level(value)), text, working)


DEAD_UNITS = Rule(
    id="dead_units",
    quantity="share of units of the worst layer that are exactly 0 for every sample; 0 to 1",
    thresholds={"warning": 0.75, "critical": 0.99},
    why="Once samples look alike, half of all ReLU units are off for all of them by chance; three quarters are not.",
    reference="Lu et al. 2019, arXiv:1903.06733",
    wrong=(
        "With few samples many units are off by chance: for 4 samples one in 16 is. Judge it on 100 samples "
        "or more. Activations that are 0 on an interval, such as hardshrink, count as dead there."
    ),
    remedy="biases from 0 up, an activation with a slope below 0 (leaky_relu), a normalisation, wider layers",
    formula="dead = share of units j with phi(z_bj) = 0 for every sample b",
    picture=("dead",),
    check=_dead,
    needs=("saturated", "dead"),
    condition="dead",
)


def _twins(e: Evidence, rule: Rule) -> Hit | None:
    equal = e.equal_units
    worst = int(equal.argmax())
    text = (
        f"{equal[worst]:.0%} of the units of {e.layer(worst)} have a twin: they have the same weights and bias, get "
        "the same gradients, and stay equal for ever, as one unit"
    )
    working = (
        f"after {STEPS} steps of gradient descent W_j = W_k and b_j = b_k for some k: a share of {equal[worst]:.3f} of "
        f"the units j of {e.layer(worst)}."
    )
    layers = tuple(np.flatnonzero(equal >= rule.least).tolist())
    return Hit(float(equal[worst]), layers, math.nan, text, working)


EQUAL_UNITS = Rule(
    id="equal_units",
    quantity="share of units of the worst layer that learn and stay equal to another; 0 to 1",
    thresholds={"warning": 0.5, "critical": 0.9},
    why="Gradient descent never parts them: a layer of them is as wide as it has different units.",
    reference="Goodfellow et al. 2016, Deep Learning, section 8.4: initialisation must break symmetry",
    wrong=(
        "Noise in training, such as dropout, parts them. It looks at one run, and only at weights that are not drawn "
        "at random."
    ),
    remedy="weights drawn at random: an init such as kaiming_normal or orthogonal",
    formula="rows of (W, b) that occur more than once after some steps of gradient descent",
    picture=("effective_rank",),
    check=_twins,
    needs=("weights",),
    condition="symmetric",
)


def _flat_rows(e: Evidence, _: Rule) -> Hit | None:
    assert e.probe is not None  # noqa: S101 (as the rule needs)
    transform = getattr(e.probe.spec, "weight_transform", None)
    if transform is None or transform.name != "weight_standardization":
        return None
    maps = [layer.map for layer in Plan.of(e.probe.spec).layers]
    fans = np.array([drawn.fan_in for drawn in maps])
    if e.probe.network is None:
        equal = np.array([drawn.weight_variance == 0 and drawn.law != "eye" for drawn in maps])
    else:
        state = e.probe.network.state_dict()
        rows = [state.get(f"layers.{layer}.weight", state["layers.0.weight"]) for layer in range(e.depth)]
        equal = np.array([bool((weight == weight[:, :1]).all()) for weight in rows])
    layers = tuple(np.flatnonzero((fans <= 2) | equal).tolist())
    if not layers:
        return None
    two = fans[layers[0]] == 2 and not equal[layers[0]]
    what = "of two weights" if two else "of one weight" if fans[layers[0]] == 1 else "of equal weights"
    become = "1 and -1 times a number, whatever the weights are" if two else "0 for ever"
    text = f"weight_standardization takes mean and spread off each row, and rows {what} become {become}"
    working = f"gain (w - mean) / (std sqrt(fan_in)) does not depend on a row {what}: 1, in every run."
    return Hit(1.0, layers, 1.0, text, working)


FLAT_ROWS = Rule(
    id="flat_rows",
    quantity="1 where a standardised layer has rows of one or two weights, or of equal weights",
    thresholds={"critical": 1.0},
    why="Such rows do not depend on the size of their weights, and their gradient is 0.",
    reference="Qiao et al. 2019, arXiv:1903.10520",
    wrong="Never: biases still reach what comes behind.",
    remedy="three or more inputs to every standardised layer, and weights that are drawn at random",
    formula="w - mean = 0",
    picture=("log10_z_rms",),
    check=_flat_rows,
    needs=("weights",),
)
