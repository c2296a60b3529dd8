"""Rules of the loss: where it stays, where it jumps, where it rises again."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vgcore.judge.rule import Hit, share
from vgcore.judge.training.evidence import SOME, Floats, RunEvidence, RunRule, means, middle, smooth, window

#: How far from a blind guess a level of the loss may lie to be one, below and above.
BELOW, ABOVE = 0.03, 0.1
#: The least share of its first level that a loss must have to jump: what jumps from 1e-6 to 1e-5 has arrived.
SEEN = 0.05
#: A jump is at least so many standard deviations of the logarithm, which are no less than this.
DEVIATIONS, STEADY = 4.0, 0.1
#: Steps before a jump, and the fewest of them.
BEFORE, FEW = 50, 10
#: Times its lowest level that a loss has risen.
RISEN = 2.0
#: Parts of a run that its level is compared in, to tell a rise from noise.
FIFTHS = 5
#: Standard errors between two levels that are no noise.
ERRORS = 4.0
#: A share that is most of it.
MOST = 0.9


def _whole(e: RunEvidence) -> tuple[int, int]:
    """The first and the last step of the longest run."""
    return 1, _last(e)


def _last(e: RunEvidence) -> int:
    """The last step with a finite loss, of the longest run."""
    return max(int(at[-1]) if len(at) else 0 for at in e.at)


def _not_trained(e: RunEvidence, rule: RunRule) -> Hit | None:
    with np.errstate(invalid="ignore", divide="ignore"):
        left = np.where(e.start > 0, e.end / e.start, math.nan)
    value = middle(left)
    # What starts far below a blind guess was trained before; what is not finite has a rule of its own.
    if math.isnan(value) or value >= RISEN or e.lost or (e.blind is not None and middle(e.start) < e.blind / 2):
        return None
    moved = middle(e.typical(e.column("log10_update_ratio")))
    how = "" if math.isnan(moved) else f"; a typical step moves a layer by 10^{moved:.1f} of its weights"
    text = (
        f"the last {max(window(len(curve)) for curve in e.curves)} steps have a mean loss of {middle(e.end):.4g}, "
        f"{value:.3g} times what it was at the start{how}"
    )
    working = f"{middle(e.end):.5g} / {middle(e.start):.5g} = {value:.4f}; steps of 10^-3 are usual."
    return Hit(value, (), share(left, lambda r: r >= rule.level(value)), text, working, steps=_whole(e))


NOT_TRAINED = RunRule(
    id="not_trained",
    quantity="loss at the end over loss at the start, the median of the runs",
    thresholds={"warning": 1 - SOME, "critical": 0.995},
    why="3 % are what minibatches make of a loss that stays where it is.",
    reference="Karpathy 2019, A recipe for training neural networks: overfit one batch first",
    wrong="A net that was trained before has nothing left to lose; a run of few steps has not yet begun.",
    remedy="diagnose the net as it starts; a larger rate where updates are below 10^-4 of the weights, a smaller one "
    "where they are above 10^-1",
    formula="mean of the last losses / mean of the first ones",
    picture=("loss", "log10_update_ratio"),
    check=_not_trained,
    condition="not trained",
)


def _still_falling(e: RunEvidence, rule: RunRule) -> Hit | None:
    if e.trained:
        return None
    falls = np.array([_fall(curve) for curve in e.curves])
    value = middle(falls)
    if not value > 0:
        return None
    moved = middle(e.typical(e.column("log10_update_ratio")))
    how = "" if math.isnan(moved) else f"; a typical step moves a layer by 10^{moved:.1f} of its weights"
    last = _last(e)
    text = f"the loss still falls at the end, by {value:.0%} over the last quarter of the steps{how}"
    working = f"1 - mean loss of the last quarter / mean loss of the one before = {value:.3f}."
    confidence = share(falls, lambda r: r >= rule.least)
    return Hit(value, (), confidence, text, working, steps=(max(1, last - last // 4), last))


def _fall(curve: Floats) -> float:
    """Share of its level that a loss loses over its last quarter, beyond noise."""
    width = len(curve) // 4
    if width < 2 or curve.min() <= 0:
        return 0.0
    before, after = curve[-2 * width : -width], curve[-width:]
    error = math.hypot(before.std(), after.std()) / math.sqrt(width)
    fell = float(before.mean() - after.mean())
    return fell / float(before.mean()) if fell > ERRORS * error else 0.0


STILL_FALLING = RunRule(
    id="still_falling",
    quantity="share of its level that a loss that has not halved yet loses over the last quarter of the steps",
    thresholds={"info": 0.05},
    why="A loss that falls is not stuck: what is missing is steps, or their length.",
    reference="Goodfellow et al. 2016, Deep Learning, section 11.4: the rate is the first thing to tune",
    wrong="What falls may end anywhere, be it at a blind guess.",
    remedy="more steps; a larger rate where updates are below 10^-3 of the weights; a schedule that ends later",
    formula="1 - mean L over the last quarter / mean L over the third one, beyond four standard errors",
    picture=("loss", "log10_update_ratio"),
    check=_still_falling,
)


@dataclass(frozen=True)
class Plateau:
    """Where a loss stays at a level: places from 1, the share of the curve, and whether it is there at the end."""

    first: int
    last: int
    share: float
    ends: bool


def plateau(curve: Floats, blind: float) -> Plateau | None:
    """The stretch in which a loss is that of a blind guess, the last one if it is there more than once.

    Means over windows may lie 3 % below it and 10 % above; further below where they are noisier, up to 10 %.
    """
    width = window(len(curve))
    levels, squares = smooth(curve), means(np.minimum(curve, 1e6 * blind) ** 2, width)
    noise = np.sqrt(np.maximum(squares - levels**2, 0) / width)
    low = 1 - np.clip(2 * noise / blind, BELOW, ABOVE)
    there = (levels >= low * blind) & (levels <= (1 + ABOVE) * blind)
    if not there.any():
        return None
    last = int(np.flatnonzero(there)[-1])
    shares = np.cumsum(there[last::-1]) / np.arange(1, last + 2)
    first = last - int(np.flatnonzero(shares >= MOST)[-1])
    first += int(np.argmax(there[first:]))
    ends = last == len(levels) - 1
    return Plateau(
        first + 1 + (width // 2 if first else 0),
        last + width if ends else last + 1 + width // 2,
        (last - first + 1) / len(levels),
        ends,
    )


def _blind_guess(e: RunEvidence, rule: RunRule) -> Hit | None:
    if e.blind is None or e.blind < 0:
        return None
    found = [plateau(curve, e.blind) if len(curve) else None for curve in e.curves]
    shares = np.array([0.0 if p is None else p.share for p in found])
    stays = np.array([p is not None and p.ends for p in found])
    if not shares.any():
        return None
    ends = 2 * int(stays.sum()) >= e.seeds
    seed = int(np.argmax(np.where(stays == ends, shares, -1.0)))
    p = found[seed]
    assert p is not None  # noqa: S101 (its share is the largest)
    value = middle(np.where(stays == ends, shares, math.nan))
    first, last = (int(e.at[seed][place - 1]) for place in (p.first, p.last))
    where = f"from step {first} to the end" if p.ends else f"until step {last}"
    text = f"the loss is that of a blind guess, {e.blind:.4g}, {where}: what the net says does not depend on x"
    working = f"blind guess {e.blind:.5g}; mean loss at the end {middle(e.end):.5g}; {100 * value:.0f} % of the steps."
    confidence = share(np.where(stays, shares, 0.0) if ends else shares, lambda r: r >= rule.level(value))
    return Hit(value, (), confidence, text, working, cap="critical" if ends else "info", steps=(first, last))


BLIND_GUESS = RunRule(
    id="blind_guess",
    quantity="share of the steps at which the loss is that of the best output that knows the targets and not x",
    thresholds={"info": 0.1, "warning": 0.4, "critical": 0.8},
    why=(
        "A net whose early layers get no gradient learns the bias of its readout, the class frequencies or the mean "
        "target, in some steps, and then nothing. A plateau that it leaves is worth knowing; one that it ends on is a "
        "failure."
    ),
    reference="Glorot and Bengio 2010, section 3: sigmoid nets stay on a plateau; uvadlc_notebooks#119, CNTK#476, "
    "SqueezeNet#18: stuck at ln(classes)",
    wrong="Targets that do not depend on x, and runs so short that nothing could be learnt.",
    remedy="diagnose the net as it starts: vanishing gradients or inputs that are alike; Adam, a skip, batch norm",
    formula="mean loss over a window within -3 % and +10 % of min over constants c of L(c, y)",
    picture=("loss", "log10_update_ratio"),
    check=_blind_guess,
    condition="blind",
)


@dataclass(frozen=True)
class Spike:
    """A jump of the loss: the place of its top from 1, how many times the level before it that is, and its loss.

    Then whether it lasts, and whether it ends.
    """

    place: int
    height: float
    loss: float
    lasts: bool
    recovers: bool


def spikes(curve: Floats, floor: float, *, sure: bool) -> list[Spike]:
    """The jumps of a loss above what it was in the steps before.

    Args:
        curve: Losses.
        floor: What a loss must reach to be looked at.
        sure: Whether one step is enough, as where all of them see the same samples; else the next two must be high too.
    """
    n = len(curve)
    width = min(BEFORE, max(FEW, n // 10))
    if n <= width or (curve <= 0).any():
        return []
    logs = np.log(curve)
    level, squares = means(logs, width), means(logs**2, width)
    deviation = np.maximum(np.sqrt(np.maximum(squares - level**2, 0)), STEADY)
    rise = logs[width:] - level[:-1]
    high = (rise >= math.log(SPIKE_FROM)) & (rise >= DEVIATIONS * deviation[:-1]) & (curve[width:] >= floor)
    found: list[Spike] = []
    for at in np.flatnonzero(high):
        onset = int(at) + width
        if found and onset <= found[-1].place + width:
            continue
        before = math.exp(level[at])
        top = onset + int(np.argmax(curve[onset : onset + width]))
        after = curve[onset : onset + 3]
        later = curve[top : top + 4 * width]
        recovers = bool((later <= 1.5 * before).any()) and float(np.median(curve[-width:])) <= 1.5 * before
        lasts = sure or (len(after) > 1 and float(np.median(after)) >= 2 * before)
        found.append(Spike(top + 1, float(curve[top] / before), float(curve[top]), lasts, recovers))
    return found


def _order(e: RunEvidence, seed: int, step: int) -> str:
    """Which of update norm, loss and gradient norm rose first before the top of a spike, in words."""
    run, at = e.run, e.at[seed]
    low, high = step - BEFORE, step + 5
    near = (at >= low) & (at <= high)
    series = {"loss": (at[near], np.log10(e.curves[seed][near]))}
    series["gradient norm"] = (at[near], e.of("log10_grad_norm", seed)[near])
    inside = (run.steps >= low) & (run.steps <= high)
    if inside.sum() >= FEW:
        series["update norm"] = (run.steps[inside], _total(e.column("log10_update_norm")[seed, inside]))
    first: dict[str, int] = {}
    for name, (steps, values) in series.items():
        early = values[steps < step - 4]
        if len(early) < 3:
            continue
        with np.errstate(invalid="ignore"):
            over = values > middle(early) + max(math.log10(1.5), 3 * float(np.nanstd(early)))
        rose = steps[over & (steps >= step - 10)]
        if len(rose):
            first[name] = int(rose[0])
    if len(first) < 2:
        return ""
    return ": " + ", then ".join(f"{name} at {at}" for name, at in sorted(first.items(), key=lambda pair: pair[1]))


def _total(values: Floats) -> Floats:
    """log10 of the norm of all layers together, `(recorded,)`."""
    top = np.nanmax(values, axis=1, initial=-300.0)
    with np.errstate(under="ignore"):
        total: Floats = top + np.log10(np.nansum(10 ** (2 * (values - top[:, None])), axis=1)) / 2
    return total


def _loss_spike(e: RunEvidence, rule: RunRule) -> Hit | None:
    heights = np.zeros(e.seeds)
    worst: tuple[bool, float, int, Spike] | None = None
    count = 0
    for seed, curve in enumerate(e.curves):
        if not len(curve):
            continue
        found = spikes(curve, SEEN * e.scale[seed], sure=e.full_batch)
        count += len(found)
        heights[seed] = max((each.height for each in found), default=0.0)
        for each in found:
            if worst is None or (each.lasts, each.height) > worst[:2]:
                worst = (each.lasts, each.height, seed, each)
    if worst is None:
        return None
    lasts, value, seed, top = worst
    step = int(e.at[seed][top.place - 1])
    which = "" if e.seeds == 1 else f" of seed {e.run.seeds[seed]}"
    others = "" if count == 1 else f" ({count} jumps in all)"
    text = (
        f"the loss{which} jumps {value:.3g}-fold at step {step}{others}{_order(e, seed, step)}; "
        f"run.replay({step}) shows that step layer by layer"
    )
    working = f"{value:.4g} times the geometric mean of the steps before; {'' if lasts else 'not '}lasting, " + (
        "recovered." if top.recovers else "not recovered."
    )
    # What is soon forgotten, and took less than half of what was learnt, is worth knowing.
    small = top.recovers and top.loss < e.scale[seed] / 2
    cap = "info" if not lasts or small else "warning" if top.recovers else "critical"
    return Hit(value, (), share(heights, lambda r: r >= rule.least), text, working, cap=cap, steps=(step,))


SPIKE_FROM = 3.0
LOSS_SPIKE = RunRule(
    id="loss_spike",
    quantity="loss over the geometric mean of up to 50 steps before, at the highest jump",
    thresholds={"warning": SPIKE_FROM, "critical": 30.0},
    why=(
        "Three times its moving mean, and four standard deviations, is what runs that are watched by hand are rolled "
        "back for. A single step that is high is a hard batch; where the next ones are high too, the weights are "
        "worse."
    ),
    reference="metaseq PR521 and PR542, ignite PR3623, ml-engineering#32; marin#1368: the update norm rises before the "
    "loss, the gradient norm after it",
    wrong="Losses of few samples, or of heavy tails, jump by themselves. What lies below 5 % of the first loss is "
    "passed over.",
    remedy="replay the step; a smaller rate or a longer warm-up, a smaller beta2, clipping where the gradient rises "
    "first",
    formula="L_t / exp(mean of ln L over the steps before) >= 3, by 4 standard deviations, and L_t >= 5 % of L_1",
    picture=("loss", "log10_grad_norm", "log10_update_norm"),
    check=_loss_spike,
    condition="spikes",
)


def _over_fit(e: RunEvidence, rule: RunRule) -> Hit | None:
    run = e.run
    steps, losses = run.validation_steps, run.validation_loss
    if len(steps) < 4:
        return None
    values = np.full(e.seeds, math.nan)
    best = np.zeros(e.seeds, dtype=np.int64)
    for seed, curve in enumerate(e.curves):
        there = np.isfinite(losses[seed])
        at, own = steps[there], losses[seed][there]
        if len(own) < 4 or not len(curve):
            continue
        place = int(np.argmin(own))
        best[seed] = at[place]
        last = float(np.median(own[-3:]))
        gain = max(float(own[0] - own[place]), 0.1 * float(own[0]))
        until = int(np.searchsorted(e.at[seed], at[place], side="right"))  # losses up to the best reading
        then = smooth(curve)[min(max(until - window(len(curve)), 0), len(smooth(curve)) - 1)]
        falls = e.end[seed] < then
        values[seed] = (last - own[place]) / gain if falls and len(own) - place > 3 and gain > 0 else 0.0
    value = middle(values)
    if math.isnan(value) or value <= 0:
        return None
    seed = int(np.nanargmin(np.abs(values - value)))
    text = (
        f"the validation loss is lowest at step {best[seed]} and loses {value:.0%} of what it had gained, while the "
        f"training loss falls on to {e.end[seed]:.3g}; run.network has the weights of step {best[seed]}"
    )
    own = losses[seed][np.isfinite(losses[seed])]
    working = f"validation {own[0]:.4g}, at best {own.min():.4g}, at the end {float(np.median(own[-3:])):.4g}."
    return Hit(
        value,
        (),
        share(values, lambda r: r >= rule.level(value)),
        text,
        working,
        steps=(int(best[seed]), int(steps[-1])),
    )


OVER_FIT = RunRule(
    id="over_fit",
    quantity="share of what the validation loss had gained that it loses again, while the training loss falls",
    thresholds={"info": 0.05, "warning": 0.2, "critical": 0.5},
    why="A fifth of the gain is more than validation sets of some hundred samples make by chance.",
    reference="Prechelt 1998, Early stopping - but when?",
    wrong="Cross-entropy rises with certainty while accuracy still improves. Fewer than four validations say nothing.",
    remedy="early stopping, weight decay, more data, a smaller net",
    formula="(L_val at the end - min L_val) / (first L_val - min L_val)",
    picture=("loss", "validation_loss"),
    check=_over_fit,
    condition="over-fit",
)


def _rise(curve: Floats, floor: float) -> float:
    """Times its lowest level that a loss ends at; 0 for what is noise, or ends below a floor.

    Levels are means over a fifth of the run, or the first loss.
    """
    width = max(window(len(curve)), len(curve) // FIFTHS)
    most = 1e6 * float(curve[0])
    capped = np.minimum(curve, most)
    levels, squares = means(capped, width), means(capped**2, width)
    errors = np.sqrt(np.maximum(squares - levels**2, 0) / width)
    low = int(np.argmin(levels))
    lowest, noise = float(levels[low]), math.hypot(errors[-1], errors[low])
    if curve[0] < lowest:
        lowest, noise = float(curve[0]), float(errors[-1])
    end = float(curve[-width:].mean())
    if end < floor or end - lowest <= ERRORS * noise:
        return 0.0
    # A lowest level of 0 is one that sums beside large losses have lost.
    return end / lowest if lowest > 0 else math.inf


def _rate_too_large(e: RunEvidence, rule: RunRule) -> Hit | None:
    rose = np.zeros(e.seeds)
    for seed, curve in enumerate(e.curves):
        if len(curve) and curve.min() > 0:
            rose[seed] = _rise(curve, 2 * SEEN * e.scale[seed])
        # What was finite at first and grew until it was not.
        if e.ends_lost[seed] and len(curve) > 1 and curve[-3:].max() >= rule.least * curve.min() > 0:
            rose[seed] = math.inf
    value = middle(rose)
    if not value > 1:
        return None
    seed = int(np.argmax(rose == value))
    curve = e.curves[seed]
    lowest = int(np.argmin(curve))
    at, last = int(e.at[seed][lowest]), int(e.at[seed][-1])
    lr = float(e.of("lr", seed)[lowest])
    what = "until it is no number" if math.isinf(value) else f"to {value:.3g} times its lowest level"
    text = f"the loss rises again, {what}, from step {at} on; the rate is {lr:.3g} there"
    working = f"lowest loss {curve.min():.4g}, at the end {e.end[seed]:.4g}."
    return Hit(value, (), share(rose, lambda r: r >= rule.level(value)), text, working, steps=(at, last))


RATE_TOO_LARGE = RunRule(
    id="rate_too_large",
    quantity="loss at the end over the lowest level that it had, as means over windows; inf where it grew to no number",
    thresholds={"warning": RISEN, "critical": 10.0},
    why=(
        "Means over a fifth of the run, four standard errors apart, are no noise of minibatches. A loss that doubles "
        "and stays there is not the way down."
    ),
    reference=(
        "LeCun et al. 1998, Efficient BackProp, section 4.6.1: beyond twice the best rate descent diverges; "
        "Cohen et al. 2021, arXiv:2103.00065"
    ),
    wrong="Units that have died keep the loss up as well: look at `dying_units`. Below 10 % of the first loss nothing "
    "is said.",
    remedy="a smaller rate, a warm-up, clipping by the global norm",
    formula="mean loss of the last fifth of the run / the least such mean, or the first loss",
    picture=("loss", "lr"),
    check=_rate_too_large,
    condition="rate too large",
)


def _stopped_early(e: RunEvidence, rule: RunRule) -> Hit | None:
    run, planned = e.run, e.run.loss.shape[1]
    words = [word for word in run.stopped_by if word in {"early_stopping", "interrupted"}]
    if not words:
        return None
    left = np.where(
        [word in {"early_stopping", "interrupted"} for word in run.stopped_by], 1 - run.steps_done / planned, 0.0
    )
    value = float(left.max())
    seed = int(np.argmax(left))
    done, best = int(run.steps_done[seed]), int(run.best_step[seed])
    why = (
        f"no reading was better than that of step {best}"
        if run.stopped_by[seed] == "early_stopping"
        else "it was told to"
    )
    text = f"{len(words)} of {e.seeds} runs stopped early, one after step {done} of {planned}: {why}"
    working = f"1 - {done}/{planned} = {value:.3f}."
    return Hit(value, (), share(left, lambda r: r >= rule.least), text, working, steps=(best, done))


STOPPED_EARLY = RunRule(
    id="stopped_early",
    quantity="share of the steps that were not taken, of the run that stopped first",
    thresholds={"info": 1e-9},
    why="What is measured is of the steps that were taken.",
    reference="Prechelt 1998, Early stopping - but when?",
    wrong="Patience that is shorter than a plateau stops a net that was about to learn.",
    remedy="more patience where the loss was still falling; run.resume(steps) goes on for so many steps, and counts "
    "readings anew; run.resume() does what an interrupt has left",
    formula="1 - steps done / steps planned",
    picture=("loss", "validation_loss"),
    check=_stopped_early,
)
