"""Two diagnoses of nets side by side."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from vgcore.judge.diagnosis import Diagnosis
from vgcore.judge.evidence import Evidence, ten_to
from vgcore.judge.finding import SEVERITIES
from vgcore.measure import table
from vgcore.measure.result import Signal
from vgcore.model.spec import Spec
from vgcore.report.comparison import Comparison, Measure
from vgcore.report.noise import Floats, along, beyond, measured
from vgcore.show.words import power, seeds_told

#: In decades, the change that counts: what is less than two-fold keeps its size, as in a diagnosis.
LEAST = math.log10(2)
SIGNALS: tuple[Signal, ...] = ("forward", "backward", "weight")
#: Those that a verdict is about.
JUDGED: tuple[Signal, ...] = ("backward", "forward")
WORDS = {-1: "worse", 0: "same", 1: "better"}
#: What is told of the last layer.
CORRELATION = "correlation at the end"
#: Shares of units that are told of, means over the layers.
SHARES = ("saturated", "dead")


def compared(before: Diagnosis, after: Diagnosis) -> Comparison:
    """The comparison of two nets."""
    one, other = before.evidence, after.evidence
    told: dict[str, Any] = {}
    notes = list(_notes(before, after))
    if one is not None and other is not None:
        places, rows, note = along(one.trace.names, other.trace.names)
        columns = {}
        for signal in SIGNALS:
            both = (e.sizes(signal)[:, at] for e, at in zip((one, other), rows, strict=True))
            pairs = zip(*(sizes.T for sizes in both), strict=True)
            columns[_named(one, other, signal)] = tuple(
                measured(place, *pair, log10=True) for place, pair in zip(places, pairs, strict=True)
            )
        told = {"measures": tuple(_measures(before, after, one, other)), "places": places, "columns": columns}
        notes += filter(None, [note])
    found = Comparison(before, after, "same", "", differing(before.spec, after.spec), **told, notes=tuple(notes))
    alike = bool(found.measures) and not any(each.differs for each in found.measures)
    verdict = WORDS[0 if alike else _sign(before, after)]
    found = replace(found, verdict=verdict)
    return replace(found, summary=f"{verdict}: {'; '.join(_parts(found, one, other))}")


def differing(
    one: Spec | None,
    other: Spec | None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> dict[str, tuple[Any, Any]]:
    """What sets two nets apart, and further facts by name: the values of both."""
    specs = [{} if spec is None else {"net": type(spec).__name__} | spec.to_dict() for spec in (one, other)]
    if not all(specs):
        return {}
    first, second = specs[0] | dict(before or {}), specs[1] | dict(after or {})
    pairs = {name: (first.get(name), second.get(name)) for name in dict.fromkeys((*first, *second)) if name != "tables"}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _notes(before: Diagnosis, after: Diagnosis) -> Iterator[str]:
    """What else was not alike, so that a difference may come from it."""
    one, other = before.probe, after.probe
    if one is not None and other is not None:
        if one.seeds.tolist() != other.seeds.tolist():
            yield f"measured over {seeds_told(one.seeds)} and {seeds_told(other.seeds)}"
        for name in ("batch", "dtype", "loss"):
            pair = [getattr(p, name) or "none" for p in (one, other)]
            if pair[0] != pair[1]:
                yield f"measured with {name} {pair[0]} and {pair[1]}"
        if table.data_id(one.x, one.y) != table.data_id(other.x, other.y):
            yield "measured on different data"
        owned = [p.network is not None for p in (one, other)]
        if all(owned):
            yield "both have weights of their own"
        elif any(owned):
            yield f"the {'first' if owned[0] else 'second'} has weights of its own, the other has them drawn"
    runs = [d.evidence.runs for d in (before, after) if d.evidence is not None]
    if 1 in runs:
        yield "one run has no interval over seeds: every difference counts that is two-fold or more"


# Numbers


def _named(one: Evidence, other: Evidence, signal: Signal) -> str:
    """What a signal is called in both nets."""
    return ", ".join(dict.fromkeys((one.name(signal), other.name(signal))))


def _shown(d: Diagnosis, signal: Signal) -> tuple[float, float]:
    """The change of a signal as a diagnosis tells it, in decades, and half its 95 % interval."""
    told, e = d.told(signal), d.evidence
    if told is None or e is None:
        return math.nan, math.nan
    change = getattr(e, signal)
    # About a change that is held to be 0 the interval does not lie evenly, but it is as wide.
    return told.rms, math.nan if math.isinf(change.rms) else (change.high - change.low) / 2


def _measures(before: Diagnosis, after: Diagnosis, one: Evidence, other: Evidence) -> Iterator[Measure]:
    for signal in ("backward", "forward", "weight"):
        name = _named(one, other, signal)
        (was, half), (now, wide) = _shown(before, signal), _shown(after, signal)
        steps = [max(e.steps_of(signal), 1) / e.per for e in (one, other)]
        units = " or ".join(dict.fromkeys((one.unit, other.unit)))
        each = was / steps[0], now / steps[1]
        noise = beyond(*each, half / steps[0], wide / steps[1])
        yield Measure(f"{name} a {units}", _factor(each[0]), _factor(each[1]), noise)
        yield Measure(f"{name}, end to end", was, now, beyond(was, now, half, wide), log10=True)
    limits = [d.depth_limit for d in (before, after)]
    if any(limits):
        values = [math.nan if limit is None else limit.value for limit in limits]
        ends = [end for limit in limits if limit is not None for end in (limit.low, limit.high)]
        apart = None if len(ends) < 4 or any(map(math.isnan, ends)) else ends[1] < ends[2] or ends[3] < ends[0]
        yield Measure(next(limit.name for limit in limits if limit is not None), values[0], values[1], apart)
    for name in SHARES:
        yield measured(name, *(_mean_share(e.values(name)) for e in (one, other)))
    yield measured(CORRELATION, *(e.values("correlation")[:, -1] for e in (one, other)))
    if all(d.probe is not None and d.probe.loss is not None for d in (before, after)):
        yield measured("first loss", *(d.probe.loss_value for d in (before, after) if d.probe is not None))


def _mean_share(values: Floats) -> Floats:
    """The mean over the layers that have it, of each run."""
    there = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        found: Floats = np.where(there, values, 0).sum(axis=1) / there.sum(axis=1)
    return found


def _factor(decades: float) -> float:
    return math.nan if not math.isfinite(decades) else ten_to(decades)


# Better or worse


def _sign(before: Diagnosis, after: Diagnosis) -> int:
    """1 where the second is better, -1 where it is worse, 0 where neither can be said."""

    def rank(d: Diagnosis) -> tuple[bool, bool, int]:
        finite = "non-finite" not in {d.verdict, *d.conditions}
        return finite, d.verdict == "healthy", -SEVERITIES.index(d.severity or SEVERITIES[0])

    if rank(before) != rank(after):
        return 1 if rank(after) > rank(before) else -1
    if before.verdict == "healthy":  # as far as it may move in a healthy net
        return 0
    (was, half), (now, wide) = _farthest(before), _farthest(after)
    if beyond(was, now, half, wide) is False or not abs(now - was) >= LEAST:
        return 0
    return 1 if now < was else -1


def _farthest(d: Diagnosis) -> tuple[float, float]:
    """The decades of the signal that moves most, either way, and half their interval."""
    moved = [(abs(rms), half) for rms, half in (_shown(d, signal) for signal in JUDGED) if not math.isnan(rms)]
    return max(moved, default=(math.nan, math.nan), key=lambda each: each[0])


# Words


def _parts(found: Comparison, one: Evidence | None, other: Evidence | None) -> Iterator[str]:
    before, after = found.before, found.after
    assert isinstance(before, Diagnosis)  # noqa: S101 (nets are compared)
    assert isinstance(after, Diagnosis)  # noqa: S101 (likewise)
    yield before.word if before.word == after.word else f"{before.word} -> {after.word}"
    severities = list(_severities(found)) if found.verdict != WORDS[0] and before.verdict == after.verdict else []
    yield from severities
    told = len(severities)
    for signal in JUDGED:
        (was, half), (now, wide) = _shown(before, signal), _shown(after, signal)
        if one is None or other is None or beyond(was, now, half, wide) is False or not abs(now - was) >= LEAST:
            continue
        told += 1
        nearer = abs(was) - abs(now)
        by = f", {abs(nearer):.1f} decades {'less' if nearer > 0 else 'more'}" if math.isfinite(nearer) else ""
        again = "" if one.name(signal) == other.name(signal) else f"{other.name(signal)} "
        yield f"{one.name(signal)} {_way(was)} before and {again}{_way(now)} after{by}"
    limits = [d.depth_limit for d in (before, after)]
    for each in found.measures:
        if each.name.endswith("limit") and each.differs:
            yield f"{each.name} {' -> '.join('unknown' if limit is None else limit.units for limit in limits)}"
    if not told and one is not None and other is not None:
        some = any(each.differs for each in found.measures)
        yield "no signal differs two-fold" if some else "no difference beyond the noise of the seeds"


def _severities(found: Comparison) -> Iterator[str]:
    """The findings that are more or less severe than they were, or new, or gone; not what is only worth knowing."""
    ranks = [{finding.rule: finding.severity for finding in d.findings} for d in (found.before, found.after)]
    for rule in dict.fromkeys((*ranks[0], *ranks[1])):
        was, now = (each.get(rule) for each in ranks)
        if was != now and {was, now} - {None, SEVERITIES[0]}:
            yield f"{rule} {'not found' if was is None else was} -> {'not found' if now is None else now}"


def _way(decades: float) -> str:
    """What a signal does on its way, by the decades of its change."""
    if math.isnan(decades):
        return "is not known"
    if math.isinf(decades):
        return "does not arrive"
    if abs(decades) < LEAST:
        return "keeps its size"
    return f"{'grows' if decades > 0 else 'shrinks'} {power(abs(decades))}-fold"
