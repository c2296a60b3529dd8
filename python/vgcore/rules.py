"""The rules by which a probe is judged, one row each, and the verdict that follows from them."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from vgcore.evidence import LN10, Change, Evidence, Floats, mean_log
from vgcore.finding import SEVERITIES, Finding, known
from vgcore.gain import calculate_gain
from vgcore.probe import Signal, probe
from vgcore.spec import MLP

#: Thresholds in decades of end-to-end change: 5.6-, 32- and 1000-fold.
DECADES = {"info": 0.75, "warning": 1.5, "critical": 3.0}
#: The same for z, of which less depends: 10-, 100- and 10,000-fold.
FORWARD_DECADES = {"info": 1.0, "warning": 2.0, "critical": 4.0}


@lru_cache
def responsive(activation: str) -> float:
    """Share of standard normal pre-activations where an activation is not flat: measured, as in any probe."""
    return 1 - float(
        probe(MLP(depth=1, width=1024, activation=activation, init="lecun_normal"), seeds=1).saturated[0, 0]
    )


@dataclass(frozen=True)
class Hit:
    """What a rule measured.

    Attributes:
        value: The rule's quantity; it is compared with the thresholds.
        layers: Where.
        confidence: Share of runs that show it by themselves; nan where one run alone cannot.
        evidence: In a sentence.
        working: The rule's formula with this run's numbers.
        cap: The highest severity that it may have here.
    """

    value: float
    layers: tuple[int, ...]
    confidence: float
    evidence: str
    working: str
    cap: str = "critical"


@dataclass(frozen=True)
class Rule:
    """One row: what is measured, from where on it counts, why, and what helps.

    Attributes:
        id: Its name.
        quantity: What `value` is, and its unit; larger is worse.
        thresholds: The least value for each severity that it can have.
        why: Why these thresholds.
        reference: Where they come from.
        wrong: When it speaks without need, or is silent when it should not be.
        remedy: What helps.
        formula: What is computed, for a student.
        picture: Columns of the probe that show it.
        check: Measures it; None where there is nothing to compare.
    """

    id: str
    quantity: str
    thresholds: Mapping[str, float]
    why: str
    reference: str
    wrong: str
    remedy: str
    formula: str
    picture: tuple[str, ...]
    check: Callable[[Evidence, Rule], Hit | None]

    @property
    def least(self) -> float:
        """From where on it speaks at all."""
        return min(self.thresholds.values())

    @property
    def decisive(self) -> float:
        """From where on it is more than worth knowing; its only threshold if that is all it is."""
        return self.thresholds.get("warning", max(self.thresholds.values()))

    def reached(self, value: float) -> list[str]:
        """The severities whose thresholds a value reaches, the highest last."""
        return [s for s in SEVERITIES if value >= self.thresholds.get(s, math.inf)]

    def level(self, value: float) -> float:
        """What a run must reach to show it by itself: what the value reaches, at most the warning."""
        reached = self.reached(value)
        return min(self.thresholds[reached[-1]] if reached else self.least, self.decisive)


# Words


def power(log10: float) -> str:
    """A size whose logarithm is given, readable at any size."""
    if math.isnan(log10):
        return "unknown"
    if math.isinf(log10):
        return "0" if log10 < 0 else "inf"
    return f"{10**log10:.3g}" if abs(log10) < 3 else f"10^{log10:.1f}"


def count(layers: float) -> str:
    """A number of layers, which may have no end."""
    return "no limit" if math.isinf(layers) else f"{layers:.0f}" if layers < 1e6 else f"{layers:.0e}"


def spans(layers: Sequence[int]) -> str:
    """Layers as people count them, from 1: `1-5, 8`."""
    parts: list[list[int]] = []
    for layer in sorted(layers):
        if parts and layer == parts[-1][1] + 1:
            parts[-1][1] = layer
        else:
            parts.append([layer, layer])
    return ", ".join(str(a + 1) if a == b else f"{a + 1}-{b + 1}" for a, b in parts)


# Checks


def _share(runs: Floats, shows: Callable[[Floats], Any]) -> float:
    """Share of the runs with a value that show something."""
    seen = runs[~np.isnan(runs)]
    return float(np.mean(shows(seen))) if len(seen) else 0.0


def _moves(signal: Signal, sign: int) -> Callable[[Evidence, Rule], Hit | None]:
    name = {"forward": "z", "backward": "dL/dz"}[signal]
    verb = "grows" if sign > 0 else "shrinks"

    def check(e: Evidence, rule: Rule) -> Hit | None:
        change: Change = getattr(e, signal)
        if not e.steps or math.isnan(change.rms):
            return None
        if change.rms > 0 > change.typical and not (change.runs >= rule.decisive).any():
            return None  # Nets that nobody drew make the mean, and most shrink: `finite_width` says so.
        value = sign * change.rms
        f = e.factor(change)
        ends = (1, e.depth) if signal == "forward" else (e.depth, 1)
        way = f"from layer {ends[0]} to layer {ends[1]}"
        if math.isinf(change.rms):
            text = f"{name} does not arrive: it is exactly 0 at layer {ends[1]} in most runs"
            working = f"|{name}| at layer {ends[1]} = 0: no factor is left to take a root of."
        else:
            text = f"{name} {verb} {power(abs(change.rms))}-fold {way}, x{f:.3g} a layer"
            interval = "" if math.isnan(change.low) else f", 95 % interval 10^{change.low:.2f} to 10^{change.high:.2f}"
            working = (
                f"F = 10^{change.rms:.2f}{interval}; f = 10^({change.rms:.2f}/{e.steps}) = {f:.4g} a layer. "
                f"One layer says little, all of them {f:.4g}^{e.steps} = {power(change.rms)}."
            )
            if e.probe.spec.norm is None and e.probe.spec.skip is None:
                working += (
                    f" Weights {power(-change.rms / e.steps)} times as large would make f = 1, if phi were a line."
                )
        own = _share(change.runs, lambda runs: sign * runs >= rule.level(value))
        return Hit(value, e.beyond(signal, sign, rule.least), own, text, working)

    return check


def _mismatch(e: Evidence, rule: Rule) -> Hit | None:
    back, forth = e.backward.rms, e.forward.rms
    if not e.steps or not (math.isfinite(back) and math.isfinite(forth)):
        return None
    value = abs(back - forth)
    text = (
        f"a layer multiplies z by {e.factor(e.forward):.3g} on the way forward and dL/dz by "
        f"{e.factor(e.backward):.3g} on the way back: no gain keeps both at this size of z"
    )
    working = f"|log10 F_back - log10 F_forth| = |{back:.2f} - {forth:.2f}| = {value:.2f} decades."
    kinds = e.probe.spec.activation
    if isinstance(kinds, str) and e.probe.spec.norm is None and e.probe.spec.skip is None:
        try:
            gains = [calculate_gain(kinds, mode=mode) for mode in ("forward", "backward")]
        except ValueError:  # It lets nothing pass, or has no gain.
            gains = []
        if gains:
            working += (
                f" At unit z, {kinds} needs the gain {gains[0]:.4g} to keep z and {gains[1]:.4g} to keep dL/dz: "
                f"whoever keeps z multiplies dL/dz by {gains[0] / gains[1]:.4g} a layer."
            )
    with np.errstate(invalid="ignore"):  # -inf - -inf: where neither arrives, nothing is apart
        apart = e.backward.runs - e.forward.runs
    own = _share(apart, lambda runs: np.abs(runs) >= rule.least)
    return Hit(value, tuple(range(e.depth)), own, text, working)


def _flat(e: Evidence, rule: Rule) -> Hit | None:
    back, weight = e.backward.rms, e.weight.rms
    if not e.steps or not (math.isfinite(back) and math.isfinite(weight)) or abs(weight) > DECADES["info"]:
        return None
    text = (
        f"dL/dW changes only {power(abs(weight))}-fold from end to end while dL/dz changes {power(abs(back))}-fold: "
        "a plot of weight gradients by layer looks healthy"
    )
    working = (
        f"log10 |dL/dW_1|/|dL/dW_L| = {weight:.2f} although log10 |dL/dz_1|/|dL/dz_L| = {back:.2f}: "
        f"h_(l-1) and dL/dz_l change by opposite powers of ten along the layers and cancel."
    )
    own = _share(e.backward.runs, lambda runs: np.abs(runs) >= rule.least)
    return Hit(abs(back), tuple(range(e.depth)), own, text, working)


def _kinds(spec: MLP) -> list[str]:
    kinds: Any = spec.activation
    return [kinds] * spec.depth if isinstance(kinds, str) else list(kinds)


def _saturation(e: Evidence, rule: Rule) -> Hit | None:
    ideal = np.array([responsive(kind) for kind in _kinds(e.probe.spec)])
    with np.errstate(divide="ignore", invalid="ignore"):
        lost = np.where(e.closed, math.nan, 1 - (1 - e.column("saturated")) / ideal)
        runs = np.nanmax(1 - (1 - e.probe.saturated) / ideal, axis=1, initial=-math.inf)
    if not np.isfinite(lost).any():
        return None
    worst = int(np.nanargmax(lost))
    layers = tuple(np.flatnonzero(lost >= rule.least).tolist())
    share = e.column("saturated")[worst]
    text = f"{share:.0%} of the units of layer {worst + 1} are flat, where {1 - ideal[worst]:.0%} would be at unit z"
    working = (
        f"flat: |phi'(z)| < 0.01 max|phi'|. At layer {worst + 1} {share:.3f} are flat, {1 - ideal[worst]:.3f} for "
        f"standard normal z; lost = 1 - {1 - share:.3f}/{ideal[worst]:.3f} = {lost[worst]:.3f}. "
        f"z has the rms {power(e.column('log10_z_rms')[worst])} there."
    )
    value = float(lost[worst])
    return Hit(value, layers, _share(runs, lambda r: r >= rule.level(value)), text, working)


def _dead(e: Evidence, rule: Rule) -> Hit | None:
    dead = np.where(e.closed, math.nan, e.column("dead"))
    if np.isnan(dead).all():
        return None
    worst = int(np.nanargmax(dead))
    text = f"{dead[worst]:.0%} of the units of layer {worst + 1} are 0 for all {e.probe.batch} samples"
    working = (
        f"over {len(e.probe.seeds)} runs: {dead[worst]:.3f} of the units of layer {worst + 1} give exactly 0 for every "
        f"one of {e.probe.batch} samples. Symmetric weights alone leave at most half of them off, once all samples "
        "look alike."
    )
    runs = np.where(np.isnan(e.probe.dead), -math.inf, e.probe.dead).max(axis=1)
    layers = tuple(np.flatnonzero(dead >= rule.least).tolist())
    value = float(dead[worst])
    return Hit(value, layers, _share(runs, lambda r: r >= rule.level(value)), text, working)


#: Cosines closer to 1 than this are rounding of the dtype.
RESOLUTION = {"float32": 1e-6, "float64": 1e-13}


def _collapse(e: Evidence, rule: Rule) -> Hit | None:
    floor = RESOLUTION[e.probe.dtype]
    apart = np.maximum(1 - e.probe.correlation, floor)  # (seeds, depth)
    mean = np.maximum(1 - e.column("correlation"), floor)
    if not e.steps or not np.isfinite(mean[[0, -1]]).all():
        return None
    # Samples that were alike from the start cannot collapse.
    folds = math.log(mean[0] / mean[-1])
    with np.errstate(invalid="ignore"):
        runs = np.log(apart[:, 0] / apart[:, -1])
    c = 1 - mean
    layers = tuple(np.flatnonzero(np.log(mean[0] / mean) >= rule.least).tolist())
    shown = f"1 - {mean[-1]:.1g}" if mean[-1] < 1e-3 else f"{c[-1]:.4f}"
    text = f"all samples look alike at layer {e.depth}: their mean cosine goes from {c[0]:.2f} to {shown}"
    working = (
        f"c_1 = {c[0]:.4f}, c_L = {shown}: ln((1 - c_1)/(1 - c_L)) = ln({mean[0]:.3g}/{mean[-1]:.3g}) = {folds:.1f}"
        " depth scales."
    )
    return Hit(folds, layers, _share(runs, lambda r: r >= rule.level(folds)), text, working)


def _rank(e: Evidence, rule: Rule) -> Hit | None:
    batch = e.probe.batch
    if e.depth < 2 or batch < 4:
        return None
    # The rank of h_l and the cosines of z_(l+1) = W h_l are of the same samples.
    rank, c = e.probe.effective_rank[:, :-1], e.probe.correlation[:, 1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = (batch / rank - 1) / (batch - 1) - c**2
        runs = spread.max(axis=1, initial=-math.inf)
    known_ = ~np.isnan(spread)
    means = np.where(known_, spread, 0).sum(axis=0) / np.maximum(known_.sum(axis=0), 1)
    worst = int(means.argmax())
    ranks = e.column("effective_rank")
    text = f"the samples lie on few lines at layer {worst + 1}: effective rank {ranks[worst]:.2f} of {batch} samples"
    working = (
        f"rank = (tr G)^2/|G|^2 = {ranks[worst]:.3f}; mean squared cosine (B/rank - 1)/(B - 1) less the squared mean "
        f"cosine = {means[worst]:.3f}. It starts at {means[0]:.3f}."
    )
    layers = tuple(np.flatnonzero(means >= rule.least).tolist())
    return Hit(float(means[worst]), layers, _share(runs, lambda r: r >= rule.least), text, working)


def _nonfinite(e: Evidence, _: Rule) -> Hit | None:
    total = len(e.probe.seeds)
    if not len(e.nonfinite):
        return None
    first = int(np.median(e.nonfinite))
    runs = np.flatnonzero(e.probe.first_nonfinite >= 0)
    at = min(first, e.depth - 1)
    forward_ran = bool(np.isfinite(e.probe.log10_z_rms[runs, -1]).any())
    before = e.probe.log10_z_rms[runs, max(at - 1, 0)]
    size = power(float(np.max(before[np.isfinite(before)], initial=-math.inf)))
    if first == e.depth:
        text = f"the readout or the loss is not finite, on a last hidden layer whose z has the rms {size}"
    elif forward_ran:
        text = f"dL/dz is not finite at layer {first + 1}, on its way back"
    else:
        text = f"z or a is not finite at layer {first + 1}; a layer before, z has the rms {size}"
    share = len(e.nonfinite) / total
    working = (
        f"{len(e.nonfinite)} of {total} runs stop: {text}. The largest {e.probe.dtype} is {power(_top(e.probe.dtype))}."
    )
    return Hit(share, () if first == e.depth else (first,), share, text, working)


def _finite_width(e: Evidence, _: Rule) -> Hit | None:
    drift = e.backward.drift
    if not e.steps or not math.isfinite(drift):
        return None
    spread = math.sqrt(max(drift, 0) / LN10)
    widths: Any = e.probe.spec.width
    least = widths if isinstance(widths, int) else min(widths)
    text = (
        f"depth {e.depth} at width {least}: nets of one recipe differ {power(spread)}-fold (1 std), "
        f"and a typical one has a gradient {power(drift)} times smaller than the recipe's"
    )
    working = (
        f"the variance of log10 of the {e.steps} factors adds up to {spread**2:.3f}, so std = {spread:.2f} decades and "
        f"drift = ln(10) {spread**2:.3f} = {drift:.2f} decades. He ReLU nets: var ln|J|^2 = 5 depth/width = "
        f"{5 * e.depth / least:.2f}."
    )
    return Hit(drift, tuple(range(e.depth)), math.nan, text, working)


#: log10 of the largest, the least normal and half the least subnormal number of a format.
FORMATS = {
    "float32": (math.log10(3.4028235e38), math.log10(2.0**-126), -150 * math.log10(2)),
    "float16": (math.log10(65504.0), math.log10(2.0**-14), -25 * math.log10(2)),
    "bfloat16": (math.log10(3.3895314e38), math.log10(2.0**-126), -134 * math.log10(2)),
}


def _top(dtype: str) -> float:
    return math.log10(float(np.finfo(dtype).max))


def _outside(size: Floats, form: str) -> dict[str, Any]:
    """Where a log10 size would be infinite, 0 or subnormal in a format."""
    top, normal, bottom = FORMATS[form]
    with np.errstate(invalid="ignore"):
        return {"inf": size > top, "0": size < bottom, "subnormal": (size < normal) & (size >= bottom)}


def _range(e: Evidence, _: Rule) -> Hit | None:
    each = {"z": e.probe.log10_z_rms, "a": e.probe.log10_a_rms}
    # A layer may be exactly 0, which no format can help.
    each = {name: np.where(np.isneginf(size), math.nan, size) for name, size in each.items()}
    each["dL/dz"] = e.profile("backward")  # of a loss scaled so that it is 1 at the last layer
    sizes = {name: mean_log(size) for name, size in each.items()}
    found = [
        (form, name, kind, np.flatnonzero(there).tolist())
        for form in FORMATS
        for name, size in sizes.items()
        for kind, there in _outside(size, form).items()
        if there.any()
    ]
    if not found:
        return None
    ours = [hit for hit in found if hit[0] == e.probe.dtype]
    words: dict[tuple[str, str, str], list[str]] = {}
    for form, name, kind, layers in found:
        words.setdefault((name, kind, spans(layers)), []).append(form)
    text = "; ".join(
        f"{name} would be {kind} in {' and '.join(forms)} at layer{'s' if '-' in where or ',' in where else ''} {where}"
        for (name, kind, where), forms in words.items()
    )
    smallest = min(float(np.nanmin(size, initial=math.inf)) for size in sizes.values())
    working = (
        f"with dL/dz = 1 at layer {e.depth}, sizes (rms) go down to {power(smallest)}; float16 ends at 65504 and 6e-8, "
        "float32 at 3.4e38 and 1.4e-45, bfloat16 at 3.4e38 and 9.2e-41."
    )
    lost = any(kind != "subnormal" for _, _, kind, _ in ours)
    layers = sorted({layer for hit in (ours or found) for layer in hit[3]})
    cap = "critical" if lost else "warning" if ours else "info"
    # Run by run: those that leave one of these formats somewhere.
    forms = {form for form, *_ in ours or found}
    runs = np.zeros(len(e.probe.seeds), dtype=bool)
    for size, form in itertools.product(each.values(), forms):
        runs |= np.any([there.any(axis=1) for there in _outside(size, form).values()], axis=0)
    return Hit(float(len({form for form, *_ in found})), tuple(layers), float(runs.mean()), text, working, cap)


def _disagree(e: Evidence, _: Rule) -> Hit | None:
    runs = e.backward.runs[~np.isnan(e.backward.runs)]
    if len(runs) < 2:
        return None
    words = np.where(runs <= -DECADES["warning"], -1, np.where(runs >= DECADES["warning"], 1, 0))
    names = {-1: "vanish", 0: "are healthy", 1: "explode"}
    counts = {name: int((words == word).sum()) for word, name in names.items()}
    value = 1 - max(counts.values()) / len(runs)
    text = "of the runs, " + ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    finite = runs[np.isfinite(runs)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (-math.inf, -math.inf)
    working = f"run by run, dL/dz changes between {power(low)} and {power(high)} from end to end; limits: 1/32 and 32."
    return Hit(value, (), 1 - value, text, working)


SCHOENHOLZ = "Schoenholz et al. 2017, arXiv:1611.01232"
HANIN = "Hanin 2018, arXiv:1801.03744; Hanin and Nica 2018, arXiv:1812.05994"
LIMITS = (
    "A constant factor a layer compounds; 32-fold from end to end leaves no learning rate that is within 6-fold of "
    "right for both ends; half and twice as many decades, 5.6- and 1000-fold, are worth knowing and hopeless."
)
FORWARD_LIMITS = (
    "The size of z matters where it meets something that has a size: data, the bend of phi, the loss, the range of a "
    "number. 100-fold leaves the loss where it is a line or flat."
)

RULES: tuple[Rule, ...] = (
    Rule(
        "backward_vanishing",
        "decades that dL/dz loses from the last layer to the first, root mean square over nets",
        DECADES,
        LIMITS,
        "Bengio et al. 1994; Hochreiter 1991; Glorot and Bengio 2010; " + SCHOENHOLZ,
        "It sees an average sample, not every unit: a skip around a dead block hides the block. Optimisers that divide "
        "by the size of a gradient, as Adam does, train through some of it.",
        "weights at the activation's critical scale, an activation with slope 1, a residual skip, or fewer layers",
        "|dL/dz_1|/|dL/dz_L| = F = f^(L-1), with f = sigma_w sqrt(E phi'(z)^2) a layer in a plain net",
        ("log10_delta_rms",),
        _moves("backward", -1),
    ),
    Rule(
        "backward_exploding",
        "decades that dL/dz gains from the last layer to the first, root mean square over nets",
        DECADES,
        LIMITS,
        "Bengio et al. 1994; Pascanu et al. 2013, arXiv:1211.5063; " + SCHOENHOLZ,
        "Adam and clipping survive much of it; a learning rate chosen for the first layers does not reach the last.",
        "smaller weights (the critical scale), branches scaled by 1/sqrt(L), or layer norm within residual branches",
        "|dL/dz_1|/|dL/dz_L| = F = f^(L-1), with f = sigma_w sqrt(E phi'(z)^2) a layer in a plain net",
        ("log10_delta_rms",),
        _moves("backward", 1),
    ),
    Rule(
        "forward_vanishing",
        "decades that z loses from the first layer to the last, beyond what its first layers do to the data's scale",
        FORWARD_DECADES,
        FORWARD_LIMITS,
        "Glorot and Bengio 2010; He et al. 2015, arXiv:1502.01852",
        "Before a normalisation z may have any size, and nothing depends on it.",
        "the gain of the activation, or a normalisation",
        "|z_L|/|z_1| = F = f^(L-1), with f = sigma_w sqrt(E phi(z)^2 / E z^2) a layer in a plain net",
        ("log10_z_rms",),
        _moves("forward", -1),
    ),
    Rule(
        "forward_exploding",
        "decades that z gains from the first layer to the last, beyond what its first layers do to the data's scale",
        FORWARD_DECADES,
        FORWARD_LIMITS,
        "He et al. 2015, arXiv:1502.01852; Hanin and Rolnick 2018, arXiv:1803.01719",
        "Sums along residual branches grow without harm where every branch starts with a normalisation; the "
        "readout then gets larger numbers, no more.",
        "the gain of the activation, a normalisation, or branches scaled by 1/sqrt(L)",
        "|z_L|/|z_1| = F = f^(L-1), with f = sigma_w sqrt(E phi(z)^2 / E z^2) a layer in a plain net",
        ("log10_z_rms",),
        _moves("forward", 1),
    ),
    Rule(
        "forward_backward_mismatch",
        "decades between the end-to-end changes of z (forward) and of dL/dz (backward)",
        {"info": DECADES["warning"]},
        "As far apart as a change that counts by itself: a forward check alone would not see it.",
        "Glorot and Bengio 2010, equations 5 to 12; the factor is sqrt(E phi'^2 / E phi^2)",
        "A normalisation on the way forward makes the two differ by design; then the backward rules alone say "
        "whether that is bad.",
        "an activation whose two gains agree (relu, linear), a skip, or weights at the critical scale with biases",
        "log10 F_back - log10 F_forth; sigma_w cancels, and sqrt(E phi'(z)^2 E z^2 / E phi(z)^2) a layer is left",
        ("log10_z_rms", "log10_delta_rms"),
        _mismatch,
    ),
    Rule(
        "weight_gradient_flat",
        "decades that dL/dz changes while dL/dW changes by less than 0.75",
        {"info": DECADES["warning"]},
        "The shape of the usual plot of weight gradients, and every rule on their ratio, says nothing here.",
        "dL/dW_l = dL/dz_l h_(l-1)^T: one grows where the other shrinks",
        "It describes a plot, not an illness: the illness is in the other findings.",
        "look at dL/dz (log10_delta_rms), not at dL/dW",
        "|dL/dW_l| = |dL/dz_l| |h_(l-1)| for one sample: F_W = F_back / F_forth",
        ("log10_wgrad_norm", "log10_delta_rms"),
        _flat,
    ),
    Rule(
        "saturation",
        "share of responsive (sample, unit) pairs lost in the worst layer, against standard normal z; 0 to 1",
        {"warning": 0.5, "critical": 0.9},
        "Half of the slopes are gone. ReLU's flat half is there at unit z too and does not count.",
        "Glorot and Bengio 2010; |phi'| below 1 % of its maximum, as in a probe's `saturated`",
        "Softmax-like and gated nets saturate on purpose; at the start of training it still means lost gradient.",
        "smaller weights or biases, normalised inputs, a normalisation before the activation",
        "lost = 1 - P(|phi'(z)| >= 0.01 max|phi'|) / the same for standard normal z",
        ("saturated",),
        _saturation,
    ),
    Rule(
        "dead_units",
        "share of units of the worst layer that are exactly 0 for every sample; 0 to 1",
        {"warning": 0.75, "critical": 0.99},
        "Once samples look alike, half of all ReLU units are off for all of them by chance; three quarters are not.",
        "Lu et al. 2019, arXiv:1903.06733",
        "With few samples many units are off by chance: for 4 samples one in 16 is. Judge it on 100 samples "
        "or more. Activations that are 0 on an interval, such as hardshrink, count as dead there.",
        "biases from 0 up, an activation with a slope below 0 (leaky_relu), a normalisation, wider layers",
        "dead = share of units j with phi(z_bj) = 0 for every sample b",
        ("dead",),
        _dead,
    ),
    Rule(
        "correlation_collapse",
        "depth scales: e-folds by which 1 - cosine of two samples shrinks from the first layer to the last",
        {"warning": 6.0},
        "Nets of more than 6 depth scales did not train: what distinguishes two inputs is e^-6 = 1/400 of what it was.",
        SCHOENHOLZ + ", section 5",
        "It is relative to the first layer: data that are all alike from the start cannot collapse. A "
        "regression on a smooth target may want little more than the mean. Cosines closer to 1 than 1e-6 are "
        "rounding in float32.",
        "smaller biases, weights at the critical scale, batch norm, or a residual skip",
        "folds = ln((1 - c_1)/(1 - c_L)), with c_l the mean cosine between z of two samples",
        ("correlation",),
        _collapse,
    ),
    Rule(
        "rank_collapse",
        "mean squared cosine of two samples less their squared mean cosine, in the worst layer; 0 to 1",
        {"info": 0.5},
        "Beyond one half the samples have an effective rank below 2 beside what they have in common.",
        "Daneshmand et al. 2020, arXiv:2003.01652; " + HANIN,
        "Fewer than 4 samples say nothing. One sample far larger than the others lowers the rank too: "
        "normalise the data.",
        "wider layers, orthogonal weights, batch norm, or a residual skip",
        "(B/rank - 1)/(B - 1) - c^2, with rank = (tr G)^2/|G|^2 of the Gram matrix of B samples",
        ("effective_rank",),
        _rank,
    ),
    Rule(
        "non_finite",
        "share of the runs in which a value is not finite",
        {"critical": 1e-9},
        "One such value makes every later one useless.",
        "IEEE 754",
        "Never: but the layer is that of the dtype that was run; another dtype goes a little further.",
        "smaller weights, a normalisation, or scaled branches; not gradient clipping, which cannot divide inf",
        "z_(l+1) = W h_l overflows where |h_l| sigma_w exceeds the largest number of the dtype",
        ("log10_z_rms",),
        _nonfinite,
    ),
    Rule(
        "finite_width",
        "decades by which the gradient of a typical net lies below the root mean square over nets",
        {"info": 0.5, "warning": 1.0},
        "10-fold below: what holds for wide nets no longer says what this one does. 0.5 decades are nets that differ "
        "3-fold either way.",
        HANIN,
        "Estimated from the spread of 8 seeds; the drift of nets of equal weights (`tied`) is larger than its "
        "steps say.",
        "wider layers, fewer of them, or orthogonal weights",
        "ln|J|^2 is nearly normal with variance v: its typical value is exp(-v/2) of its mean, v = 5 depth/width for "
        "He ReLU",
        ("log10_delta_rms",),
        _finite_width,
    ),
    Rule(
        "float_range",
        "number formats (float32, float16, bfloat16) that a size leaves; the own dtype decides the severity",
        {"info": 1.0, "warning": 1.0, "critical": 1.0},
        "Below the least normal number digits are lost, below half the least subnormal one all is 0; a loss scale "
        "moves dL/dz as a whole, so it is judged with 1 at the last layer.",
        "IEEE 754; Micikevicius et al. 2018, arXiv:1710.03740",
        "It speaks of the root mean square of a layer: single entries leave the range earlier. Accumulation "
        "in a wider type, which hardware has, is not looked at.",
        "cure the vanishing or exploding; where only float16 is left, bfloat16 or loss scaling",
        "rms of z, a and dL/dz (1 at the last layer) against the range of each format",
        ("log10_z_rms", "log10_delta_rms"),
        _range,
    ),
    Rule(
        "seeds_disagree",
        "share of the runs whose own end-to-end change has another verdict than most",
        {"info": 0.1},
        "With 8 seeds, one of them: one random net proves little.",
        "vgcore: a verdict is about the recipe, a run is one draw of it",
        "It also speaks where the net lies close to the limit and nothing else is wrong.",
        "more seeds; a recipe farther from the limit",
        "each run's own |dL/dz_1|/|dL/dz_L| against 1/32 and 32",
        ("log10_delta_rms",),
        _disagree,
    ),
)


NUMBERS = int | float | np.integer | np.floating


def with_thresholds(thresholds: Mapping[str, float | Mapping[str, float]] | None) -> tuple[Rule, ...]:
    """The rules with some thresholds replaced.

    Args:
        thresholds: By rule id: a number for the warning (the rule's only level where it has no warning), which moves
            its other levels in proportion; or a mapping from severities to numbers, in place of all of them.

    Raises:
        ValueError: For an unknown rule or severity, or a threshold that is no positive number.
    """
    if not isinstance(thresholds, Mapping | None):
        raise ValueError(f"thresholds must be given by rule, such as {{'saturation': 0.7}}, got {thresholds!r}")
    chosen = {rule.id: rule for rule in RULES}
    for name, value in (thresholds or {}).items():
        rule = chosen[known("rule", name, chosen)]
        given: Mapping[str, Any] = value if isinstance(value, Mapping) else {"warning": value}
        if not given or not all(isinstance(v, NUMBERS) and 0 < v < math.inf for v in given.values()):
            raise ValueError(f"a threshold of {name} must be a positive number, got {value!r}")
        if isinstance(value, Mapping):
            levels = {known("severity", s, SEVERITIES): float(v) for s, v in value.items()}
        else:
            levels = {s: float(v) * float(value) / rule.decisive for s, v in rule.thresholds.items()}
        chosen[name] = dataclasses.replace(rule, thresholds=levels)
    return tuple(chosen.values())


def findings(e: Evidence, rules: Sequence[Rule] = RULES, *, explain: bool = False) -> tuple[Finding, ...]:
    """What the rules find, the most severe first."""
    found: list[Finding] = []
    for rule in rules:
        hit = rule.check(e, rule)
        if hit is None or not (reached := rule.reached(hit.value)):
            continue
        severity = min(reached[-1], hit.cap, key=SEVERITIES.index)
        opened: dict[str, Any] = {}
        if explain:
            text = f"{rule.formula}.\n{hit.working}\n{rule.why}\nWhen this is wrong: {rule.wrong}"
            opened = {"explanation": text, "picture": rule.picture}
        threshold = rule.thresholds.get(severity, rule.least)
        found.append(
            Finding(
                rule.id,
                severity,
                hit.layers,
                hit.value,
                threshold,
                hit.evidence,
                rule.remedy,
                rule.reference,
                hit.confidence,
                **opened,
            )
        )
    return tuple(sorted(found, key=lambda finding: -SEVERITIES.index(finding.severity)))


#: What holds beside a verdict, by the rule that says so.
CONDITIONS = {
    "saturation": "saturated",
    "dead_units": "dead",
    "correlation_collapse": "collapsed",
    "non_finite": "non-finite",
}


@dataclass(frozen=True)
class Verdict:
    """What the findings come to.

    Attributes:
        word: `"healthy"`, `"vanishing"` or `"exploding"`: about dL/dz if that moves, else about z.
        direction: `"forward"`, `"backward"` or `"both"`; None for healthy.
        conditions: Of `CONDITIONS`.
        typical: Whether only a typical net fades while the root mean square over nets does not.
    """

    word: str
    direction: str | None
    conditions: tuple[str, ...]
    typical: bool = False

    def __str__(self) -> str:
        first = self.word if self.direction is None else f"{self.word} ({self.direction})"
        return ", ".join((first, *self.conditions))


def verdict(e: Evidence, found: Sequence[Finding], rules: Sequence[Rule] = RULES) -> Verdict:
    """The verdict, from the findings that are more than worth knowing."""
    by_id = {rule.id: rule for rule in rules}
    counts = {finding.rule for finding in found if finding.value >= by_id[finding.rule].decisive}
    conditions = tuple(word for rule, word in CONDITIONS.items() if rule in counts)
    signals = ("backward", "forward")
    words = {s: word for s in signals for word in ("vanishing", "exploding") if f"{s}_{word}" in counts}
    faded = "finite_width" in counts and e.backward.typical <= -by_id["backward_vanishing"].decisive
    typical = faded and "backward" not in words
    if typical:
        words["backward"] = "vanishing"
    if 2 * len(e.nonfinite) >= len(e.probe.seeds):
        # Where z was finite up to the end, it was the way back that was not.
        back = np.isfinite(e.probe.log10_z_rms[e.probe.first_nonfinite >= 0, -1]) & (e.nonfinite < e.depth)
        words = {signal: word for signal, word in words.items() if word == "exploding"}
        words |= {s: "exploding" for s, there in (("backward", back.any()), ("forward", not back.all())) if there}
    if not words:
        return Verdict("healthy", None, conditions)
    word = words.get("backward") or words["forward"]
    directions = [signal for signal, each in words.items() if each == word]
    return Verdict(word, "both" if len(directions) == 2 else directions[0], conditions, typical)
