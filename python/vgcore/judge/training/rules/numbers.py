"""Rules of numbers: what is not finite, what clipping and boosting do, how sharp the loss is, what epsilon does."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from vgcore.judge.rule import Hit, share
from vgcore.judge.training.evidence import Flags, RunEvidence, RunRule, Steps, middle
from vgcore.show.training import names
from vgcore.show.words import power
from vgcore.train.run import FirstBad, place_of

#: Share of the groups (tensors, rows, entries) that are clipped from which on clipping acts.
ACTS = 0.1
#: A share of steps that is most of them.
MOST = 0.9
#: Standard deviations beyond which no entry of noise lies.
DEVIATIONS = 6.0
#: What is not finite first, in words.
PHASES = {
    "forward": "{} on the way forward",
    "loss": "the loss itself",
    "backward": "{} on the way back",
    "moment": "a moment of {} in the optimiser",
    "update": "the update of {}",
}
CAUSES = {
    "forward": "signals overflow: weights have grown, or start too large",
    "loss": "outputs are beyond what the loss can take",
    "backward": "signals were finite on the way forward, so it is the way back that explodes",
    "moment": "the gradient is finite and its square is not: scale_free=true carries the exponent",
    "update": "the step is too large for the dtype: a rate, a boost or a division by epsilon",
}
#: Optimisers whose steps a constant factor of the gradient leaves as they are, but for eps.
ADAPTIVE = ("adam", "adamw", "rmsprop", "adagrad", "lion", "muon")
#: Those of them that divide by a running root mean square plus eps.
DIVIDING = ("adam", "adamw", "rmsprop")


def _not_finite(e: RunEvidence, _: RunRule) -> Hit | None:
    run = e.run
    bad = [(seed, first) for seed, first in enumerate(run.first_bads) if first is not None]
    if not bad:
        return None
    seed, first = min(bad, key=lambda pair: pair[1].step)
    value = len(bad) / e.seeds
    before = e.curves[seed][e.at[seed] < first.step][-10:]
    grown = before[-1] / before[0] if len(before) > 1 and before[0] > 0 else 1.0
    how = f"; the loss had grown {grown:.3g}-fold in {len(before)} steps" if grown >= 2 else ""
    drowned = _drowned(e, first)
    start = "" if drowned else ": it is the net as it starts"
    when = f"at the first step{start}" if first.step == 1 else f"at step {first.step}"
    layer, part = place_of(first, run.labels)
    part = f"the {part}" if "." in first.tensor else part
    tensor = " of ".join(filter(None, (part, f"the {layer}" if layer == "readout" else layer)))
    which = "" if e.seeds == 1 else f"{len(bad)} of {e.seeds} runs; of seed {run.seeds[seed]} "
    what = f"the noise on {tensor}" if drowned else PHASES[first.phase].format(tensor)
    skipped = e.skipped[seed]
    left = ""
    if len(skipped):
        done = int(run.steps_done[seed])
        left = f"; {len(skipped)} of {done} steps were skipped, the last of them step {skipped[-1]}"
    text = f"{which}{what} is the first that is not finite, {when}{drowned}{how}{left}"
    working = f"{first.phase}: {'the noise is too large' if drowned else CAUSES[first.phase]}. " + (
        "What is skipped is left out of all that is judged." if left else "What comes after it is propagated."
    )
    # A step that is left out has harmed nothing by itself.
    cap = "warning" if e.trained and not e.ends_lost.any() else "critical"
    steps = (first.step, *(int(step) for step in skipped[-1:] if step > first.step))
    return Hit(value, (first.layer,), value, text, working, cap=cap, steps=steps)


def _drowned(e: RunEvidence, first: FirstBad) -> str:
    """What is wrong with the noise, in words, where it is by itself more than the dtype can hold; else nothing."""
    deviation = math.sqrt(e.run.noise) / first.step**0.275  # its variance falls with step^0.55
    if first.phase != "backward" or DEVIATIONS * deviation < np.finfo(e.run.dtype).max:
        return ""
    return f": its standard deviation, {power(math.log10(deviation))}, is more than {e.run.dtype} can hold"


NOT_FINITE = RunRule(
    id="not_finite",
    quantity="share of the runs in which a value is not finite",
    thresholds={"critical": 1e-9},
    why="One such value makes every later one useless. The producer is named, not what it propagates to.",
    reference="IEEE 754; pytorch#182156, lightning PR1097: which step and which module",
    wrong="Never: but a step that is skipped is reported as well, and training may go on; a run that trained all the "
    "same is no more than warned of.",
    remedy="run.replay of that step; a smaller rate or a warm-up; the net as it starts, where it is the first step; "
    "less noise, where it is the noise; other rows, where single steps are skipped. Clipping cannot divide inf",
    formula="the first of forward, loss, backward, moment, update, and of tensors in that order, with a value not "
    "finite",
    picture=("loss", "log10_grad_norm"),
    check=_not_finite,
    condition="non-finite",
)


def _clipping(e: RunEvidence) -> list[tuple[Steps, Flags]]:
    """The steps of each run at which it is known what clipping did, and whether it acts at them."""
    found = []
    for seed in range(e.seeds):
        clipped = e.of("clipped", seed)
        known = ~np.isnan(clipped)
        found.append((e.at[seed][known], clipped[known] >= ACTS))
    return found


def _stretch(acts: Flags) -> int:
    """How many of the first steps it nearly always acts at, up to one at which it does; 0 for less than a tenth."""
    shares = np.cumsum(acts) / np.arange(1, len(acts) + 1)
    there = np.flatnonzero(acts & (shares >= MOST))
    return int(there[-1]) + 1 if len(there) and there[-1] >= len(acts) // 10 else 0


def _clipping_binding(e: RunEvidence, rule: RunRule) -> Hit | None:
    clip = e.run.clip
    if clip is None or clip.max_norm is None:
        return None
    known = _clipping(e)
    shares = np.array([acts.mean() if len(acts) else 0.0 for _, acts in known])
    value = middle(shares)
    if not value > 0:
        return None
    seed = int(np.argmin(np.abs(shares - value)))
    at, acts = known[seed]
    since, until = int(at[acts][0]), int(at[acts][-1])
    late, early = _stretch(acts[::-1]), _stretch(acts)
    if late:
        when = f"from step {at[-late]} to the end"
    elif early:
        when = f"up to step {at[early - 1]}, and seldom after it"
    else:
        when = f"between steps {since} and {until}"
    norms = e.run.log10_grad_norm[seed, at - 1]
    norms = norms[np.isfinite(norms)]
    coef = middle(e.run.clip_coef[seed, at[acts] - 1])
    size = ""
    if len(norms):
        low, high = np.percentile(norms, [50, 95])
        before = "before clipping" if clip.min_norm is None else "before boosts and clipping"
        size = f"; {before} the norm has the median {power(low)} and the 95th percentile {power(high)}"
    if clip.min_norm is not None and e.run.log10_boost[seed, at[acts] - 1].max() > 0:
        raised = f" to {power(math.log10(clip.max_norm / coef))}" if clip.per == "global" and coef > 0 else ""
        size += f"; it is min_norm={clip.min_norm:g} that raises it{raised} before it is clipped"
    name = e.params()[0]
    same = f"; {name} undoes a factor that stays the same" if name in ADAPTIVE else ""
    limits = "it is the step limiter, not the safety net" if value >= rule.decisive else "it is a safety net"
    text = f"clipping by {clip.max_norm:g} acts at {value:.0%} of the steps, {when}: {limits}{size}{same}"
    working = f"{int(acts.sum())} of {len(acts)} steps; where it acts, the median coefficient is {coef:.3g}."
    return Hit(value, (), share(shares, lambda r: r >= rule.level(value)), text, working, steps=(since, until))


CLIPPING_BINDING = RunRule(
    id="clipping_binding",
    quantity="share of the steps at which clipping acts (on a tenth of its groups or more); 0 to 1",
    thresholds={"info": 0.1, "warning": 0.5},
    why=(
        "A safety net is seldom touched. What acts at every other step sets the length of steps: the rate and the norm "
        "together are a rate of their own, max_norm x lr, and a change of the loss silently changes it."
    ),
    reference="flood-forecasting#298: how often, and since when; Pascanu et al. 2013, arXiv:1211.5063",
    wrong="Recurrent nets are trained well with clipping that always acts; say so by a threshold of your own.",
    remedy="a smaller rate, or max_norm at the 90th to 95th percentile of the norm before clipping; of gradients that "
    "min_norm raises, a smaller min_norm, or a max_norm above what they are raised to",
    formula="share of t with |g_t| > max_norm",
    picture=("clip_coef", "log10_grad_norm"),
    check=_clipping_binding,
    condition="clipped",
)


def _boost_binding(e: RunEvidence, rule: RunRule) -> Hit | None:
    clip = e.run.clip
    if clip is None or clip.min_norm is None:
        return None
    rows = [row[~np.isnan(row)] for row in (e.of("log10_boost", seed) for seed in range(e.seeds))]
    boosted = [row[row > 0] for row in rows]
    if not any(len(row) for row in boosted):
        return None
    sizes = np.array([middle(row) if len(row) else 0.0 for row in boosted])
    cap = math.log10(clip.max_boost)
    at_cap = np.array([np.mean(row >= cap - 1e-9) if len(row) else 0.0 for row in rows])
    often = middle(np.array([len(b) / max(len(row), 1) for b, row in zip(boosted, rows, strict=True)]))
    capped = middle(at_cap)
    value = math.inf if capped >= 0.05 else middle(sizes)
    ends = f"; at {capped:.0%} of the steps it wanted more than the {power(cap)} that it may" if capped else ""
    text = (
        f"min_norm={clip.min_norm:g} raises a tensor's gradient at {often:.0%} of the steps, the most raised one "
        f"typically {power(middle(sizes))}-fold{ends}: noise in it is raised as much"
    )
    working = f"largest boost of a tensor: median {middle(sizes):.2f} decades; cap {cap:.3g} decades."
    severity = "info" if e.trained else "critical"
    confidence = share(sizes, lambda r: r >= min(rule.level(value), value))
    return Hit(value, (), confidence, text, working, cap=severity)


BOOST_BINDING = RunRule(
    id="boost_binding",
    quantity="decades by which the most raised tensor is typically raised by min_norm; inf where max_boost ends it",
    thresholds={"info": 0.3, "warning": 8.0},
    why=(
        "A gradient that is small because layers above shrink it has a direction, and boosting helps: a sigmoid net "
        "of 6 layers trains by it. Beyond 10^8 all samples have mostly become one, and the direction is empty."
    ),
    reference="measured with vgcore: sigmoid nets of 6, 10 and 20 layers; kin of LARS, You et al. 2017, "
    "arXiv:1708.03888",
    wrong="A gradient is small as well where it has converged, or where units are dead: then noise is raised.",
    remedy="an init, a skip or a normalisation that keeps gradients; batch norm where samples become equal",
    formula="max(1, min_norm / |g|) of each tensor, at most max_boost",
    picture=("log10_boost", "log10_wgrad_norm"),
    check=_boost_binding,
    condition="boosted",
)


def steepest(name: str, params: dict[str, Any], lr: Any) -> Any:
    """The largest curvature that steps of this rate are stable on; None for optimisers that have none.

    Of a quadratic of curvature a: heavy ball is stable iff `lr (1 - dampening) a < 2 + 2 momentum`, Nesterov iff
    `lr a < (2 + 2 momentum) / (1 + 2 momentum)` (Cohen et al. 2021, arXiv:2103.00065, appendix B).

    >>> round(steepest("sgd", {"momentum": 0.9, "dampening": 0, "nesterov": False}, 0.05), 6)
    76.0
    """
    if name != "sgd":
        return None
    beta = float(params["momentum"])
    damped = float(params["dampening"]) if beta else 0.0
    limit = (2 + 2 * beta) / (lr * (1 - damped))
    return limit / (1 + 2 * beta) if params["nesterov"] else limit


def _edge_of_stability(e: RunEvidence, rule: RunRule) -> Hit | None:
    run = e.run
    name, params = e.params()
    sharp = run.sharpness
    if np.isnan(sharp).all():
        return _oscillates(e, name, params)
    with np.errstate(invalid="ignore", divide="ignore"):
        limit = steepest(name, params, run.lr[:, run.sharpness_steps - 1])
        if limit is None:
            return None
        ratios = (sharp + float(params["weight_decay"])) / limit
    runs = np.full(e.seeds, math.nan)
    for seed in range(e.seeds):
        known = ratios[seed][np.isfinite(ratios[seed])]
        if len(known):
            runs[seed] = middle(known[len(known) // 2 :])
    value = middle(runs)
    if math.isnan(value):
        return None
    seed = int(np.nanargmin(np.abs(runs - value)))
    reached = np.flatnonzero(ratios[seed] >= rule.least)
    since = int(run.sharpness_steps[reached[0] if len(reached) else 0])
    text = (
        f"the sharpness of the loss is {value:.3g} times the largest on which such steps are stable, reached at step "
        f"{since}: a larger rate diverges or finds a flatter place"
    )
    working = (
        f"sharpness {middle(sharp[seed]):.4g}, limit {middle(limit[seed]):.4g} "
        f"= (2 + 2 x {float(params['momentum']):g}) / lr{' / (1 + 2b)' if params['nesterov'] else ''}."
    )
    cap = "info" if e.trained else "critical"
    return Hit(value, (), share(runs, lambda r: r >= rule.level(value)), text, working, cap=cap, steps=(since,))


def _oscillates(e: RunEvidence, name: str, params: dict[str, Any]) -> Hit | None:
    """Plain descent on all rows can only raise the loss where it is sharper than 2/lr."""
    run = e.run
    if name != "sgd" or params["momentum"] or run.noise or not e.full_batch:
        return None
    shares = np.array([_rising(curve) for curve in e.curves])
    value = middle(shares)
    if not value >= ACTS:
        return None
    text = (
        f"the loss of all rows rises at {value:.0%} of the steps: plain descent does that only where it is sharper "
        "than 2/lr; sharpness=10 would measure it"
    )
    return Hit(
        1.0, (), share(shares, lambda r: r >= ACTS), text, f"{value:.3f} of the steps raise the loss.", cap="info"
    )


def _rising(curve: Any) -> float:
    """Share of the steps that raise a loss by more than rounding."""
    if len(curve) < 2:
        return 0.0
    return float(np.mean(np.diff(curve) > 1e-5 * np.abs(curve[:-1])))


EDGE_OF_STABILITY = RunRule(
    id="edge_of_stability",
    quantity="sharpness over the largest that steps of this rate are stable on, the median of the second half of the "
    "run",
    thresholds={"info": 0.9, "warning": 1.2, "critical": 2.0},
    why=(
        "Full-batch descent raises the sharpness until it is 2/lr, and then hovers there while the loss still falls: "
        "worth knowing, no illness. A net that starts far above it diverges."
    ),
    reference="Cohen et al. 2021, arXiv:2103.00065: 2/lr, with momentum (2+2b)/lr, Nesterov (2+2b)/(lr (1+2b))",
    wrong="Minibatches are unstable at less. Adaptive optimisers have an edge of another, preconditioned sharpness: "
    "nothing is said of them.",
    remedy="a smaller rate or a warm-up where the loss does not fall",
    formula="lambda_max(H) lr / (2 + 2b)",
    picture=("sharpness", "loss"),
    check=_edge_of_stability,
    condition="unstable",
)


def _epsilon_rules(e: RunEvidence, rule: RunRule) -> Hit | None:
    name, params = e.params()
    if name not in DIVIDING or params.get("scale_free"):
        return None
    size = e.typical(e.column("log10_wgrad_norm")) - e.sizes
    if np.isnan(size).all():
        return None
    eps = float(params["eps"])
    with np.errstate(over="ignore", under="ignore"):
        shares = eps / (eps + 10.0**size)
    worst = int(np.nanargmax(shares))
    value = float(shares[worst])
    text = (
        f"a typical gradient of {names(e.run.labels, (worst,))} is {power(float(size[worst]))}, where {name} divides "
        f"by its size plus eps = {eps:g}: its steps are {power(math.log10(max(1 - value, 1e-300)))} of what they are "
        "elsewhere"
    )
    working = f"eps / (eps + rms g) = {value:.4g} with rms g = {power(float(size[worst]))}."
    layers = tuple(np.flatnonzero(np.nan_to_num(shares) >= rule.least).tolist())
    cap = "info" if e.trained else "critical"
    return Hit(value, layers, math.nan, text, working, cap=cap)


EPSILON_RULES = RunRule(
    id="epsilon_rules",
    quantity="share that eps has in what the steps of the worst layer are divided by; 0 to 1",
    thresholds={"info": 0.1, "warning": 0.5, "critical": 0.99},
    why=(
        "An adaptive step is lr g/(|g| + eps). A layer whose gradients lie below eps gets lr g/eps: it vanishes as "
        "under plain descent. In float32 the square of a gradient below 10^-23 is 0."
    ),
    reference="Kingma and Ba 2015, arXiv:1412.6980; training in float32: g^2 ends at |g| = 3e-23",
    wrong="A large eps on purpose makes the method more like momentum.",
    remedy="scale_free=true, where eps is relative and moments carry an exponent; a smaller eps; gradients that do "
    "not vanish",
    formula="eps / (eps + rms of the layer's gradient)",
    picture=("log10_wgrad_norm", "log10_update_ratio"),
    check=_epsilon_rules,
    condition="epsilon rules",
)
