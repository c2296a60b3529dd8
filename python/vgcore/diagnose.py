"""Is it bad, where, and how deep can it go: `diagnose` -> `Diagnosis`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vgcore import compat, reference
from vgcore.evidence import Change, Evidence, Floats, drifts, ten_to
from vgcore.finding import SEVERITIES, Finding, known
from vgcore.network import Network
from vgcore.probe import Probe, probe, student
from vgcore.rules import CONDITIONS, RULES, Rule, Verdict, count, findings, power, verdict, with_thresholds
from vgcore.spec import MLP, Loss
from vgcore.sweep import Sweep

Thresholds = Mapping[str, float | Mapping[str, float]] | None

#: Inits whose layers know the depth of the net: a shallower net is not the beginning of a deeper one.
KNOW_DEPTH = ("fixup", "depth_mup")


@dataclass(frozen=True)
class DepthLimit:
    """How many layers a recipe can have before dL/dz has changed by a factor from end to end.

    Attributes:
        value: The largest depth that stays within the factor; inf where nothing limits it.
        low: Lower end of its 95 % interval over seeds; nan for one seed.
        high: Its upper end.
        factor: Of the change, either way.
        measured: Whether the net was that deep; otherwise the change a layer is carried on.
    """

    value: float
    low: float
    high: float
    factor: float
    measured: bool

    def __str__(self) -> str:
        interval = "" if math.isnan(self.low) else f" ({count(self.low)} to {count(self.high)})"
        layers = "" if math.isinf(self.value) else " layer" if self.value == 1 else " layers"
        how = "" if self.measured or math.isinf(self.value) else ", carried on from the depth measured"
        keep = "keeps" if self.value == 1 else "keep"
        return f"{count(self.value)}{layers}{interval} {keep} dL/dz within {self.factor:.0f}-fold{how}"


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """A verdict with its evidence.

    Attributes:
        spec: What was judged.
        probe: What was measured; None where another tool's rules judged.
        verdict: `"healthy"`, `"vanishing"` or `"exploding"`: about dL/dz if that moves, else about z.
        direction: `"forward"`, `"backward"` or `"both"`; None for healthy.
        conditions: Those of `"saturated"`, `"dead"`, `"collapsed"` and `"non-finite"` that hold.
        confidence: Share of the runs that have the verdict by themselves; nan where there is no such share.
        depth_limit: How deep this recipe can go; None where it depends on the depth itself or nothing was finite.
        findings: The most severe first.
        summary: One sentence.
        rules: Whose rules: `"vgcore"`, or another tool's.
        cells: Of a sweep, the diagnosis of every cell; the others are then those of the worst cell.
    """

    spec: MLP
    probe: Probe | None
    verdict: str
    direction: str | None
    conditions: tuple[str, ...]
    confidence: float
    depth_limit: DepthLimit | None
    findings: tuple[Finding, ...]
    summary: str
    rules: str = "vgcore"
    cells: tuple[Diagnosis, ...] = ()

    @property
    def severity(self) -> str | None:
        """The highest severity of a finding, in any cell; None without one."""
        found = [finding.severity for one in (self, *self.cells) for finding in one.findings]
        return max(found, key=SEVERITIES.index, default=None)

    def reaches(self, severity: str) -> bool:
        """Whether a finding is as severe as this or more, in any cell.

        Raises:
            ValueError: For anything but `"info"`, `"warning"` and `"critical"`.
        """
        known("severity", severity, SEVERITIES)
        return self.severity is not None and SEVERITIES.index(self.severity) >= SEVERITIES.index(severity)

    @cached_property
    def evidence(self) -> Evidence | None:
        """What the rules looked at; None where another tool's rules judged."""
        return None if self.probe is None else Evidence(self.probe)

    @property
    def word(self) -> str:
        """Verdict, direction and conditions: `"vanishing (both), collapsed"`."""
        return str(Verdict(self.verdict, self.direction, self.conditions))

    def to_dict(self) -> dict[str, Any]:
        """All but the probe, as plain values."""
        limit = self.depth_limit
        plain: dict[str, Any] = {
            "spec": self.spec.to_dict(),
            "rules": self.rules,
            "verdict": self.verdict,
            "direction": self.direction,
            "conditions": list(self.conditions),
            "confidence": self.confidence,
            "depth_limit": None if limit is None else dataclasses.asdict(limit),
            "findings": [finding.to_dict() for finding in self.findings],
            "summary": self.summary,
        }
        return plain | ({"cells": [cell.to_dict() for cell in self.cells]} if self.cells else {})

    def __repr__(self) -> str:
        return f"Diagnosis({self.word!r}, {len(self.findings)} findings, {self.spec!r})"

    def __str__(self) -> str:
        from vgcore import report

        return report.text(self)

    def _repr_html_(self) -> str:
        from vgcore import report

        return report.html(self)


def diagnose(
    subject: Probe | Sweep | MLP | Network,
    *,
    x: ArrayLike | None = None,
    y: ArrayLike | None = None,
    loss: str | Loss | None = None,
    batch: int | None = None,
    seeds: int | None = None,
    seed: int | None = None,
    dtype: str | None = None,
    threads: int | None = None,
    rules: str = "vgcore",
    thresholds: Thresholds = None,
    explain: bool = False,
) -> Diagnosis:
    """Judge a net: do its signals vanish or explode, where, how surely, and what helps.

    Decided on factors, correlation, saturation and dead units, never on the size of a gradient: the verdict is the same
    for the loss times any constant, for any dtype, for any batch size but under batch norm, where the batch is part of
    the net, and for widths from 32 up as long as depth/width alone does not make single nets fade (`finite_width`).
    `docs/diagnosis.md` shows every rule with its evidence.

    Args:
        subject: What to judge: a `Probe` or a `Sweep` as measured, or a spec or a `Network`, which is measured first.
        x: Samples, as in `probe`; so are the next seven, of a spec or a network.
        y: Targets of `loss`.
        loss: One of `LOSSES`, a call, or a `Loss`.
        batch: Samples of a run.
        seeds: Number of runs.
        seed: The first seed.
        dtype: `"float32"` or `"float64"`; a network has its own.
        threads: At most this many.
        rules: `"vgcore"`, or the rule set of another tool, for comparison: one of `compat.PRESETS`.
        thresholds: By rule id, a number in place of the warning's threshold, other levels in proportion; or a mapping
            from severities to numbers.
        explain: Open each finding into its formula, this run's numbers, and the columns that show it.

    Raises:
        ValueError: For unknown rules or thresholds, or data beside what has been measured already.

    >>> import vgcore as vg
    >>> d = vg.diagnose(vg.MLP(depth=30, width=64, activation="relu", init="xavier_normal"), seeds=4)
    >>> d.verdict, d.direction, [f.rule for f in d.findings if f.severity == "critical"]
    ('vanishing', 'both', ['backward_vanishing', 'forward_vanishing'])
    """
    options: dict[str, Any] = {"x": x, "y": y, "loss": loss, "batch": batch, "seeds": seeds, "seed": seed}
    options |= {"dtype": dtype, "threads": threads}
    options = {name: value for name, value in options.items() if value is not None}
    if not isinstance(subject, Probe | Sweep | MLP | Network):
        raise TypeError(f"diagnose takes a Probe, a Sweep, an MLP or a Network, got {type(subject).__name__}")
    if known("rule set", rules, ("vgcore", *compat.PRESETS)) != "vgcore":
        if isinstance(subject, Probe | Sweep):
            raise ValueError(f"{rules} looks at single gradients, which a probe does not keep: give the spec")
        if thresholds is not None:
            raise ValueError(f"thresholds are those of vgcore's rules, not of {rules}")
        return _foreign(subject, rules, **options)
    chosen = with_thresholds(thresholds)
    if isinstance(subject, MLP | Network):
        return judge(probe(subject, **options), chosen, explain=explain)
    if options:
        raise ValueError(f"{', '.join(options)}: this is measured already; give them to probe or sweep, or a spec")
    if isinstance(subject, Sweep):
        return _worst([judge(cell, chosen, explain=explain) for cell in subject])
    return judge(subject, chosen, explain=explain)


def judge(cell: Probe, rules: Sequence[Rule] = RULES, *, explain: bool = False) -> Diagnosis:
    """The diagnosis of what has been measured."""
    evidence = Evidence(cell)
    found = findings(evidence, rules, explain=explain)
    by_id = {rule.id: rule for rule in rules}
    said = verdict(evidence, found, rules)
    limit = _depth_limit(evidence, by_id)
    return Diagnosis(
        spec=cell.spec,
        probe=cell,
        verdict=said.word,
        direction=said.direction,
        conditions=said.conditions,
        confidence=_confidence(evidence, said, by_id),
        depth_limit=limit,
        findings=found,
        summary=_summary(evidence, said, limit),
    )


def _confidence(e: Evidence, said: Verdict, rules: Mapping[str, Rule]) -> float:
    """Share of the runs whose own change has the verdict; those that were not finite have exploded."""
    runs = (e.forward if said.direction == "forward" else e.backward).runs
    runs = np.where(e.probe.first_nonfinite >= 0, math.inf, runs)
    signal = "forward" if said.direction == "forward" else "backward"
    low, high = (rules[f"{signal}_{word}"].decisive for word in ("vanishing", "exploding"))
    own = np.where(runs <= -low, "vanishing", np.where(runs >= high, "exploding", "healthy"))
    return float(np.mean(own == said.word))


def _depth_limit(e: Evidence, rules: Mapping[str, Rule]) -> DepthLimit | None:
    """Each net is the beginning of a deeper one, so the signal's rise from layer 1 says what shallower nets would see.

    As in the verdict, a net is too deep where the root mean square has changed too much, or where a typical net has
    lost as much and the drift counts.
    """
    spec = e.probe.spec
    inits: Any = spec.init
    names = [inits] if isinstance(inits, str) else inits
    if spec.branch_scale == "1/sqrt(L)" or any(str(name).partition("(")[0] in KNOW_DEPTH for name in names):
        return None
    deltas = e.probe.log10_delta_rms
    deltas = deltas[np.isfinite(deltas).all(axis=1)]
    if not e.steps or not len(deltas):
        return None
    runs = deltas[:, :1] - deltas
    mean, drift = runs.mean(axis=0), drifts(runs) if len(runs) > 1 else np.zeros(e.depth)
    down, up = (rules[f"backward_{word}"].decisive for word in ("vanishing", "exploding"))
    faded = np.maximum(mean, -drift * down / rules["finite_width"].decisive)
    ways = [_reach(curve, runs, down, up) for curve in (mean + drift, np.minimum(faded, 0))]
    value, low, high = (min(ends) for ends in zip(*ways, strict=True))
    factor = ten_to(up if mean[-1] + drift[-1] > 0 else down)
    return DepthLimit(value, low, high, factor=factor, measured=value < e.depth)


def _reach(curve: Floats, runs: Floats, down: float, up: float) -> tuple[float, float, float]:
    """The largest depth before a change passes a limit, and the ends of its 95 % interval.

    `curve` is the change at every depth measured. Beyond, the pace of the second half of the layers is carried on: the
    first layers take the data to the scale of the net and tell less of what comes.
    """
    depth, count = len(curve), len(runs)
    middle = (depth - 1) // 2
    pace = float(curve[-1] - curve[middle]) / (depth - 1 - middle)

    def ahead(at: float, pace: float) -> float:
        """Where a line from here meets the limit that it runs toward."""
        if pace == 0:
            return math.inf
        return depth + math.floor(max((up - at) / pace if pace > 0 else -(at + down) / pace, 0))

    def first(beyond: NDArray[np.bool_], *lines: tuple[float, float]) -> float:
        return float(np.flatnonzero(beyond)[0]) if beyond.any() else min(ahead(*line) for line in lines)

    last = float(curve[-1])
    value = first((curve >= up) | (curve <= -down), (last, pace))
    if count < 2:
        return value, math.nan, math.nan
    wide = student(count - 1) / math.sqrt(count)
    half = wide * runs.std(axis=0, ddof=1)
    doubt = wide * float(np.std(runs[:, -1] - runs[:, middle], ddof=1)) / (depth - 1 - middle)
    above, below = (last + float(half[-1]), pace + doubt), (last - float(half[-1]), pace - doubt)
    low = first((curve + half >= up) | (curve - half <= -down), above, below)
    # Where it is open to which side the signal runs, it may run to neither.
    high = first((curve - half >= up) | (curve + half <= -down), (last, 0.0))
    if math.isinf(high) and abs(pace) > doubt:
        high = max(value, ahead(*above), ahead(*below))
    return value, min(low, value), max(high, value)


def _summary(e: Evidence, said: Verdict, limit: DepthLimit | None) -> str:
    def moved(name: str, change: Change) -> str:
        if math.isinf(change.rms):
            return f"{name} does not arrive at all"
        if abs(change.rms) < math.log10(2):
            return f"{name} keeps its size over {e.depth} layers"
        verb = "grows" if change.rms > 0 else "shrinks"
        return f"{name} {verb} {power(abs(change.rms))}-fold over {e.depth} layers (x{e.factor(change):.3g} a layer)"

    parts: list[str] = []
    if len(e.nonfinite):
        first = e.nonfinite.min() + 1
        verb = "is" if len(e.nonfinite) == 1 else "are"
        where = f"layer {first}" if first <= e.depth else "the readout"
        parts.append(f"{len(e.nonfinite)} of {len(e.probe.seeds)} runs {verb} not finite from {where} on")
    if e.steps and not math.isnan(e.backward.rms) and (said.direction != "forward" or not parts):
        typical = said.typical or (said.word == "healthy" and e.backward.rms > 0 > e.backward.typical)
        change = dataclasses.replace(e.backward, rms=e.backward.typical) if typical else e.backward
        parts.append(moved("dL/dz", change) + " in a typical net" * typical)
    if e.steps and said.direction in {"forward", "both"} and not math.isnan(e.forward.rms):
        parts.append(moved("z", e.forward))
    if "collapsed" in said.conditions:
        parts.append("all inputs end up alike")
    if not parts:
        parts.append("nothing to compare" if e.steps else "one layer has no factor")
    if limit is not None and said.word != "healthy" and limit.value < e.depth:
        layers = "1 layer" if limit.value == 1 else f"{limit.value:.0f} layers"
        parts.append(f"{layers} would stay within {limit.factor:.0f}-fold")
    return f"{said}: {'; '.join(parts)}"


def _worst(cells: Sequence[Diagnosis]) -> Diagnosis:
    """The diagnosis of a sweep: that of the cell whose dL/dz moves most, with all of them as its cells."""
    if not cells:
        raise ValueError("a sweep without cells has nothing to diagnose")

    def rank(one: Diagnosis) -> tuple[bool, int, float]:
        rms = one.evidence.backward.rms if one.evidence else 0.0
        size = math.inf if math.isnan(rms) else abs(rms)
        return one.verdict != "healthy", SEVERITIES.index(one.severity or "info"), size

    worst = max(cells, key=rank)
    counts = {word: sum(cell.verdict == word for cell in cells) for word in ("healthy", "vanishing", "exploding")}
    listed = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    summary = f"of {len(cells)} cells {listed}; worst: {worst.summary}"
    return dataclasses.replace(worst, summary=summary, cells=tuple(cells))


def _foreign(
    subject: MLP | Network,
    rules: str,
    *,
    x: ArrayLike | None = None,
    y: ArrayLike | None = None,
    **options: Any,
) -> Diagnosis:
    """What another tool would say, on the weights and samples that a probe would draw."""
    checked = probe(subject, x=x, y=y, **options)  # which refuses what is not allowed
    preset, spec, batch = compat.PRESETS[rules], checked.spec, checked.batch
    passes = []
    for each in checked.seeds.tolist():
        samples = reference.samples(spec, each, batch, checked.dtype) if x is None else np.asarray(x)
        targets = y
        if x is not None and batch < len(samples):
            rows = np.random.default_rng(each).choice(len(samples), batch, replace=False)
            samples, targets = samples[rows], None if y is None else np.asarray(y)[rows]
        net = subject
        if isinstance(net, MLP):
            looks = x is not None and "lsuv" in str(spec.init)
            net = net.init(seed=each, dtype=checked.dtype, x=samples if looks else None)
        passes.append(compat.measure(spec, net.state_dict(), samples, y=targets, loss=checked.loss, seed=each))
    found = compat.judge(rules, passes)
    word = compat.verdict(found)
    said = compat.words(found)
    fired = f"{len(found)} of its {len(preset.rules)} rules fire" if found else "none of its rules fires"
    return Diagnosis(
        spec=spec,
        probe=None,
        verdict=word,
        direction=None if word == "healthy" else "backward",
        conditions=tuple(name for name in CONDITIONS.values() if name.replace("-", "") in said),
        confidence=math.nan,
        depth_limit=None,
        findings=found,
        summary=f"{preset.title} would say {word}: {fired}",
        rules=rules,
    )
