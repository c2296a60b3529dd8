"""Rules of layers: which of them move, which get a gradient, which die."""

from __future__ import annotations

import math

import numpy as np

from vgcore.judge.rule import Hit, share
from vgcore.judge.rules.signals import DECADES
from vgcore.judge.training.evidence import Floats, RunEvidence, RunRule, middle
from vgcore.show.training import names
from vgcore.show.words import power

#: log10 of the share of the loss that a gradient could take off it, below which it is near zero.
NEAR_ZERO = -4.0
#: log10 of the least number of each dtype.
LEAST = {"float32": -44.85, "float64": -323.3}
#: The least growth of a share of dead units that is growth.
GROWTH = 0.1


def _thirds(ratios: Floats) -> float:
    """Decades from the first third of layers to the last; nan for fewer than three that are known."""
    known = ratios[~np.isnan(ratios)]
    if len(known) < 3:
        return math.nan
    third = len(known) // 3
    first, last = middle(known[:third]), middle(known[-third:])
    return math.nan if last == first else last - first


def _ratios(e: RunEvidence, seed: int | None = None) -> Floats:
    """The typical update ratio of the hidden layers; nan of those whose weights are 0."""
    values = e.typical(e.column("log10_update_ratio"), seed)[e.hidden]
    return np.where(values == math.inf, math.nan, values)


def _slow_early_layers(e: RunEvidence, rule: RunRule) -> Hit | None:
    ratios = _ratios(e)
    value = _thirds(ratios)
    if math.isnan(value) or value <= 0:
        return None
    runs = np.array([_thirds(_ratios(e, seed)) for seed in range(e.seeds)])
    third = len(ratios[~np.isnan(ratios)]) // 3
    with np.errstate(invalid="ignore"):
        fast = middle(ratios[-third:])
        layers = tuple(int(l) for l in e.hidden[ratios <= fast - rule.least])
    first = middle(ratios[~np.isnan(ratios)][:third])
    text = (
        f"a typical step moves the first layers by {power(first)} of their weights and the last ones by {power(fast)}: "
        f"{power(value)}-fold"
    )
    working = f"log10 of the update ratios: first third {first:.3f}, last third {fast:.3f}, {value:.3f} decades apart."
    cap = "warning" if e.trained else "critical"
    return Hit(value, layers, share(runs, lambda r: r >= rule.level(value)), text, working, cap=cap, steps=_span(e))


SLOW_EARLY_LAYERS = RunRule(
    id="slow_early_layers",
    quantity="decades by which the update ratio |dw|/|w| of the first third of hidden layers lies below the last "
    "third's",
    thresholds={**DECADES, "info": 1.0},
    why=(
        "Medians over the steps at which the loss had still to fall. Where the first layers take steps 32 times "
        "smaller, they stay about what they were drawn as while the last ones fit to it."
    ),
    reference="Glorot and Bengio 2010; lczero-training#42; the factor is that of `backward_vanishing`",
    wrong="Nets of fewer than three hidden layers say nothing; layers with rates of their own are meant to differ.",
    remedy="diagnose the net as it starts: an init or a skip that keeps dL/dz; Adam, or min_norm, moves all layers "
    "alike",
    formula="median log10 |dw|/|w| of the last third of layers - that of the first third",
    picture=("log10_update_ratio",),
    check=_slow_early_layers,
    condition="early layers slow",
)


def _span(e: RunEvidence) -> tuple[int, ...]:
    """The first and the last recorded step at which the loss had still to fall."""
    steps = e.run.steps[e.falling.any(axis=0)]
    return (int(steps[0]), int(steps[-1])) if len(steps) else ()


def _gradients_near_zero(e: RunEvidence, rule: RunRule) -> Hit | None:
    values = np.where(e.falling[:, :, None], e.elasticity, math.nan)
    known = ~np.isnan(values)
    # A layer at 0 can take nothing off the loss by a change of its size, and learns all the same.
    known &= e.column("log10_weight_norm") > -math.inf
    if not known.any():
        return None
    near = known & (values < NEAR_ZERO)
    value = float(near.sum() / known.sum())
    if not value:
        return None
    shares = near.sum(axis=(0, 1)) / np.maximum(known.sum(axis=(0, 1)), 1)
    layers = tuple(np.flatnonzero(shares >= 0.5).tolist())
    runs = near.sum(axis=(1, 2)) / np.maximum(known.sum(axis=(1, 2)), 1)
    typical = e.typical(e.column("log10_wgrad_norm"))
    least = float(np.nanmin(typical))
    lost = ", which the dtype cannot hold in single entries" if least < LEAST[e.run.dtype] else ""
    text = (
        f"{value:.0%} of the gradients of layers, while the loss had still to fall, could take less than 10^-4 of it "
        f"off by moving a layer by its own size; the smallest has a norm of {power(least)}{lost}"
    )
    working = (
        f"log10 |g||w|/L: median {middle(values):.3f}, least {float(np.nanmin(values)):.3f}; {int(near.sum())} of "
        f"{int(known.sum())} lie below {NEAR_ZERO:g}."
    )
    # What trains all the same is moved by its optimiser.
    cap = "info" if e.trained else "critical"
    return Hit(value, layers, share(runs, lambda r: r >= rule.level(value)), text, working, cap=cap, steps=_span(e))


GRADIENTS_NEAR_ZERO = RunRule(
    id="gradients_near_zero",
    quantity="share of recorded steps and layers at which the gradient is near zero while the loss had still to fall; "
    "0 to 1",
    thresholds={"info": 0.05, "warning": 0.2, "critical": 0.5},
    why=(
        "|g||w|/L is the share of the loss that a layer could take off it, to first order, by moving as far as it is "
        "large. It knows neither the scale of the loss nor a rate. Nets that learn have 0.01 to 10; below 10^-4 no "
        "rate that the other layers bear moves this one."
    ),
    reference="He et al. 2015, arXiv:1502.01852, figure 3: a net of 30 layers stalls as its gradients diminish",
    wrong="A loss with a large part that nothing can take away, such as noise in targets, hides what is left to learn.",
    remedy="diagnose the net as it starts: an init that keeps signals, a skip, a normalisation; Adam with "
    "scale_free=true",
    formula="|g||w|/L < 10^-4",
    picture=("log10_wgrad_norm", "log10_weight_norm", "loss"),
    check=_gradients_near_zero,
    condition="gradients near zero",
)


def _dying_units(e: RunEvidence, rule: RunRule) -> Hit | None:
    dead = e.column("dead")[:, :, e.hidden]
    if not dead.size or np.isnan(dead).all():
        return None
    steps = dead.shape[1]
    part = max(1, steps // 10)
    runs = np.full((e.seeds, len(e.hidden)), math.nan)
    before = np.full_like(runs, math.nan)
    for seed in range(e.seeds):
        there = np.flatnonzero(~np.isnan(dead[seed]).all(axis=1))
        if len(there):
            runs[seed] = dead[seed, there[-part:]].mean(axis=0)
            before[seed] = dead[seed, there[0]]
    grown = np.where(runs - before >= GROWTH, runs, 0.0)
    mean = np.array([middle(grown[:, l]) for l in range(len(e.hidden))])
    worst = int(np.argmax(mean))
    value = float(mean[worst])
    if not value > 0:
        return None
    at = int(e.hidden[worst])
    counts = [_sum(e, name, at) for name in ("births", "revivals")]
    text = (
        f"{value:.0%} of the units of layer {worst + 1} are 0 for every sample at the end, "
        f"{middle(before[:, worst]):.0%} at the start; over the recorded steps a share of {counts[0]:.2f} died and "
        f"{counts[1]:.2f} came back"
    )
    working = (
        f"dead {middle(before[:, worst]):.3f} -> {value:.3f} in layer {worst + 1}, on the same samples throughout."
    )
    layers = tuple(int(e.hidden[l]) for l in np.flatnonzero(mean >= rule.least))
    ends = (int(e.run.steps[0]), int(e.run.steps[-1]))
    confidence = share(grown[:, worst], lambda r: r >= rule.level(value))
    return Hit(value, layers, confidence, text, working, steps=ends)


def _sum(e: RunEvidence, name: str, layer: int) -> float:
    """What a column of a layer adds up to over the steps, the median of the runs."""
    return middle(np.nansum(e.column(name)[:, :, layer], axis=1))


DYING_UNITS = RunRule(
    id="dying_units",
    quantity="share of units of the worst layer that are 0 for every sample at the end, where it has grown by a "
    "tenth; 0 to 1",
    thresholds={"info": 0.25, "warning": 0.5, "critical": 0.9},
    why=(
        "It is counted on the same samples at every step, so births and revivals are no noise of minibatches. Half of "
        "a layer is more than training switches off on purpose."
    ),
    reference="keras#7057, n2p2#25; transfuser#146: 0 to 74 % through a stack; Lu et al. 2019, arXiv:1903.06733",
    wrong="Units that no sample needs are dead in wide nets; layers below move, and some come back.",
    remedy="a smaller rate or a warm-up, leaky_relu, a normalisation",
    formula="dead = share of units j with phi(z_bj) = 0 for all b of a fixed set of samples",
    picture=("dead", "births", "revivals"),
    check=_dying_units,
    condition="dying",
)


def _rounded_updates(e: RunEvidence, rule: RunRule) -> Hit | None:
    values = e.typical(e.column("rounded"))
    if np.isnan(values).all():
        return None
    worst = int(np.nanargmax(values))
    value = float(values[worst])
    if not value:
        return None
    ratio = e.typical(e.column("log10_update_ratio"))[worst]
    name = names(e.run.labels, (worst,))
    runs = np.array([e.typical(e.column("rounded"), seed)[worst] for seed in range(e.seeds)])
    text = (
        f"{value:.0%} of the weights of {name} that have a gradient are the same number after a typical step, in "
        f"{e.run.dtype}; its updates are {power(ratio)} of its weights"
    )
    working = (
        f"rounded {value:.3f}; |dw|/|w| = {power(ratio)}; half a unit of the last place is 3e-8 to 6e-8 in float32."
    )
    layers = tuple(np.flatnonzero(np.nan_to_num(values) >= rule.least).tolist())
    confidence = share(runs, lambda r: r >= rule.level(value))
    return Hit(value, layers, confidence, text, working, steps=_span(e))


ROUNDED_UPDATES = RunRule(
    id="rounded_updates",
    quantity="share of the weights of the worst layer with a gradient that a typical step leaves as they are; 0 to 1",
    thresholds={"info": 0.2, "warning": 0.5, "critical": 0.9},
    why="A step below half a unit of the last place is no step. An unchanged tensor has two causes, and this is the "
    "second.",
    reference="IEEE 754; Gupta et al. 2015, arXiv:1502.02551",
    wrong="Where the loss has arrived steps are small; those are not counted.",
    remedy="float64 for the weights, a larger rate, an optimiser that scales updates (Adam), gradients that do not "
    "vanish",
    formula="share of i with g_i != 0 and fl(w_i + dw_i) = w_i",
    picture=("rounded", "log10_update_ratio"),
    check=_rounded_updates,
    condition="updates rounded away",
)
