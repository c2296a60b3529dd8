"""Rules of numbers: those that are not finite or out of range, and nets that differ."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from vgcore.judge.evidence import Evidence, Floats, mean_log
from vgcore.judge.rule import Hit, Rule
from vgcore.judge.rules.samples import HANIN
from vgcore.judge.rules.signals import DECADES
from vgcore.show.words import power, spans


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


NON_FINITE = Rule(
    id="non_finite",
    quantity="share of the runs in which a value is not finite",
    thresholds={"critical": 1e-9},
    why="One such value makes every later one useless.",
    reference="IEEE 754",
    wrong="Never: but the layer is that of the dtype that was run; another dtype goes a little further.",
    remedy="smaller weights, a normalisation, or scaled branches; not gradient clipping, which cannot divide inf",
    formula="z_(l+1) = W h_l overflows where |h_l| sigma_w exceeds the largest number of the dtype",
    picture=("log10_z_rms",),
    check=_nonfinite,
    condition="non-finite",
)


def _finite_width(e: Evidence, _: Rule) -> Hit | None:
    drift = e.backward.drift
    runs = e.backward.runs[np.isfinite(e.backward.runs)]
    if not e.steps or len(runs) < 2 or e.probe.network is not None:
        return None  # The runs of given weights are of one net.
    spread = float(np.std(runs, ddof=1))
    widths: Any = e.probe.spec.width
    least = widths if isinstance(widths, int) else min(widths)
    text = (
        f"depth {e.depth} at width {least}: nets of one recipe differ {power(spread)}-fold (1 std), "
        f"and a typical one has a gradient {power(drift)} times smaller than the recipe's"
    )
    working = (
        f"over {len(runs)} runs log10 of the change has the std {spread:.2f}; its root mean square lies {drift:.2f} "
        f"decades above its mean. He ReLU nets: var ln|J|^2 = 5 depth/width = {5 * e.depth / least:.2f}, and the drift "
        "is half of it, 0.217 decades a unit."
    )
    return Hit(drift, tuple(range(e.depth)), math.nan, text, working)


FINITE_WIDTH = Rule(
    id="finite_width",
    quantity="decades by which the gradient of a typical net lies below the root mean square over nets",
    thresholds={"info": 0.5, "warning": 1.0},
    why=(
        "10-fold below: what holds for wide nets no longer says what this one does. 0.5 decades are nets that differ "
        "3-fold either way."
    ),
    reference=HANIN,
    wrong=(
        "Estimated from the spread of 8 seeds, and never far beyond the largest of them: where the spread is wide, "
        "the true drift is larger."
    ),
    remedy="wider layers, fewer of them, or orthogonal weights",
    formula=(
        "ln|J|^2 is nearly normal with variance v: its typical value is exp(-v/2) of its mean, v = 5 depth/width for "
        "He ReLU"
    ),
    picture=("log10_delta_rms",),
    check=_finite_width,
)


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
    # A layer or its gradient may be exactly 0, which no format can help: exponents are carried, nothing underflowed.
    each = {name: np.where(np.isneginf(size), math.nan, size) for name, size in each.items()}
    deltas = np.where(np.isneginf(e.probe.log10_delta_rms), math.nan, e.probe.log10_delta_rms)
    with np.errstate(invalid="ignore"):
        # Of a loss scaled so that the signal is 1 at the last layer; beside a stream, that of the stream.
        each["dL/dz"] = deltas - (e.probe.log10_dh_rms if e.streams else deltas)[:, -1:]
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


FLOAT_RANGE = Rule(
    id="float_range",
    quantity="number formats (float32, float16, bfloat16) that a size leaves; the own dtype decides the severity",
    thresholds={"info": 1.0, "warning": 1.0, "critical": 1.0},
    why=(
        "Below the least normal number digits are lost, below half the least subnormal one all is 0; a loss scale "
        "moves dL/dz as a whole, so it is judged with 1 at the last layer."
    ),
    reference="IEEE 754; Micikevicius et al. 2018, arXiv:1710.03740",
    wrong=(
        "It speaks of the root mean square of a layer: single entries leave the range earlier. Accumulation "
        "in a wider type, which hardware has, is not looked at."
    ),
    remedy="cure the vanishing or exploding; where only float16 is left, bfloat16 or loss scaling",
    formula="rms of z, a and dL/dz (1 at the last layer) against the range of each format",
    picture=("log10_z_rms", "log10_delta_rms"),
    check=_range,
)


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


SEEDS_DISAGREE = Rule(
    id="seeds_disagree",
    quantity="share of the runs whose own end-to-end change has another verdict than most",
    thresholds={"info": 0.1},
    why="With 8 seeds, one of them: one random net proves little.",
    reference="vgcore: a verdict is about the recipe, a run is one draw of it",
    wrong="It also speaks where the net lies close to the limit and nothing else is wrong.",
    remedy="more seeds; a recipe farther from the limit",
    formula="each run's own |dL/dz_1|/|dL/dz_L| against 1/32 and 32",
    picture=("log10_delta_rms",),
    check=_disagree,
)
