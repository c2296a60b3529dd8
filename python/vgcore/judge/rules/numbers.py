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
from vgcore.show.words import power


def overflows(e: Evidence) -> bool:
    """Whether values that are not finite have outgrown the dtype, of a probe always.

    What a trace is of may have been given a nan, or made one of 0/0. Half of the largest exponent is near: a layer's
    largest numbers are far above their root mean square, and squares are taken of them.
    """
    if e.probe is not None:
        return True
    bad = e.trace.first_nonfinite >= 0
    sizes = [e.values(name)[bad] for name in ("log10_forward", "log10_backward", "log10_largest")]
    return any(bool((size >= _top(e.trace.dtype) / 2).any()) for size in sizes)


def _nonfinite(e: Evidence, _: Rule) -> Hit | None:
    total = e.runs
    if not len(e.nonfinite):
        return None
    first = int(np.median(e.nonfinite))
    runs = np.flatnonzero(e.trace.first_nonfinite >= 0)
    at = min(first, e.depth - 1)
    forward_ran = bool(np.isfinite(e.reached[runs, -1]).any())
    before = e.reached[runs, max(at - 1, 0)]
    z, values, back = ("z", "z or a", "dL/dz") if e.probe is not None else ("h", "h", "dL/dh")
    size = power(float(np.max(before[np.isfinite(before)], initial=-math.inf)))
    if first == e.depth:
        text = f"the readout or the loss is not finite, on a last hidden layer whose {z} has the rms {size}"
    elif forward_ran:
        text = f"{back} is not finite at {e.layer(first)}, on its way back"
    else:
        text = f"{values} is not finite at {e.layer(first)}; a layer before, {z} has the rms {size}"
    if not overflows(e):
        text += "; no size is near the end of its range: a nan came in by samples or weights, or was made of 0/0"
    share = len(e.nonfinite) / total
    working = (
        f"{len(e.nonfinite)} of {total} runs stop: {text}. The largest {e.trace.dtype} is {power(_top(e.trace.dtype))}."
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
    needs=("nonfinite",),
    condition="non-finite",
)


def _finite_width(e: Evidence, _: Rule) -> Hit | None:
    drift = e.backward.drift
    runs = e.backward.runs[np.isfinite(e.backward.runs)]
    if not e.steps or len(runs) < 2 or (e.probe is not None and e.probe.network is not None):
        return None  # The runs of given weights are of one net.
    spread = float(np.std(runs, ddof=1))
    least = e.facts and e.facts.least
    at = f" at width {least}" if least else ""
    example = f" = {5 * e.depth / least:.2f}" if least and e.per == 1 else ""
    text = (
        f"depth {e.depth // e.per}{at}: nets of one recipe differ {power(spread)}-fold (1 std), "
        f"and a typical one has a gradient {power(drift)} times smaller than the recipe's"
    )
    working = (
        f"over {len(runs)} runs log10 of the change has the std {spread:.2f}; its root mean square lies {drift:.2f} "
        f"decades above its mean. He ReLU nets: var ln|J|^2 = 5 depth/width{example}, and the drift "
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
    needs=("log10_backward", "nets"),
    spares=("RNN",),
)


#: log10 of the largest, the least normal and half the least subnormal number of a format.
FORMATS = {
    "float32": (math.log10(3.4028235e38), math.log10(2.0**-126), -150 * math.log10(2)),
    "float16": (math.log10(65504.0), math.log10(2.0**-14), -25 * math.log10(2)),
    "bfloat16": (math.log10(3.3895314e38), math.log10(2.0**-126), -134 * math.log10(2)),
}


def _top(dtype: str) -> float:
    return FORMATS[dtype][0] if dtype in FORMATS else math.log10(float(np.finfo(dtype).max))


def _outside(size: Floats, form: str) -> dict[str, Any]:
    """Where a log10 size would be infinite, 0 or subnormal in a format."""
    top, normal, bottom = FORMATS[form]
    with np.errstate(invalid="ignore"):
        return {"inf": size > top, "0": size < bottom, "subnormal": (size < normal) & (size >= bottom)}


def lost_below(e: Evidence) -> str:
    """That the backward signal is lost, and where."""
    if e.lost == e.depth - 1:
        return f"{e.name('backward')} is lost at every layer: it lies below the least {e.trace.dtype}"
    at = e.layers(range(e.lost + 1))
    return f"{e.name('backward')} is lost below {e.layer(e.lost + 1)}, at {at}: it ends under the least {e.trace.dtype}"


def _range(e: Evidence, _: Rule) -> Hit | None:
    if e.probe is None:
        each, back = {"h": e.values("log10_forward")}, "dL/dh"
        deltas = start = e.sizes("backward")
    else:
        each, back = {"z": e.probe.log10_z_rms, "a": e.probe.log10_a_rms}, "dL/dz"
        deltas = e.probe.log10_delta_rms
        start = e.probe.log10_dh_rms if e.streams else deltas
    # A layer or its gradient may be exactly 0, which no format can help: exponents are carried, nothing underflowed.
    each = {name: np.where(np.isneginf(size), math.nan, size) for name, size in each.items()}
    with np.errstate(invalid="ignore"):
        # Of a loss scaled so that the signal is 1 at the last layer; beside a stream, that of the stream.
        each[back] = np.where(np.isneginf(deltas), math.nan, deltas) - start[:, -1:]
    sizes = {name: mean_log(size) for name, size in each.items()}
    found = [
        (form, name, kind, np.flatnonzero(there).tolist())
        for form in FORMATS
        for name, size in sizes.items()
        for kind, there in _outside(size, form).items()
        if there.any()
    ]
    if not found and e.lost < 0:
        return None
    ours = [hit for hit in found if hit[0] == e.trace.dtype]
    words: dict[tuple[str, str, str], list[str]] = {}
    for form, name, kind, layers in found:
        words.setdefault((name, kind, e.layers(layers)), []).append(form)
    told = [f"{name} would be {kind} in {' and '.join(forms)} at {at}" for (name, kind, at), forms in words.items()]
    if e.lost >= 0:
        told.insert(0, lost_below(e))
    text = "; ".join(told)
    smallest = min(float(np.nanmin(size, initial=math.inf)) for size in sizes.values())
    working = (
        f"with {back} = 1 at {e.layer(e.depth - 1)}, sizes (rms) go down to {power(smallest)}; float16 ends at 65504 "
        "and 6e-8, float32 at 3.4e38 and 1.4e-45, bfloat16 at 3.4e38 and 9.2e-41."
    )
    lost = e.lost >= 0 or any(kind != "subnormal" for _, _, kind, _ in ours)
    layers = sorted({layer for hit in (ours or found) for layer in hit[3]} | {*range(e.lost + 1)})
    cap = "critical" if lost else "warning" if ours else "info"
    # Run by run: those that leave one of these formats somewhere.
    forms = {form for form, *_ in ours or found}
    runs = e.trace.lost_below >= 0
    for size, form in itertools.product(each.values(), forms):
        runs = runs | np.any([there.any(axis=1) for there in _outside(size, form).values()], axis=0)
    value = float(max(len({form for form, *_ in found}), 1))
    return Hit(value, tuple(layers), float(runs.mean()), text, working, cap)


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
    needs=("log10_forward", "log10_backward"),
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
    needs=("log10_backward", "nets"),
)
