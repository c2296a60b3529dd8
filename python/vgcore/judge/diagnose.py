"""Is it bad, where, and how deep can it go: `diagnose` -> `Diagnosis`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from vgcore import _core
from vgcore.judge import foreign
from vgcore.judge.depth_limit import DepthLimit, depth_limit
from vgcore.judge.diagnosis import Diagnosis
from vgcore.judge.evidence import Change, Evidence
from vgcore.judge.finding import SEVERITIES
from vgcore.judge.foreign.seen import drawn_samples, see
from vgcore.judge.rule import Rule
from vgcore.judge.rules import RULES, of_change, with_thresholds
from vgcore.judge.verdict import SAMENESS, VERDICTS, Verdict, findings, verdict
from vgcore.measure.cells import Sweep
from vgcore.measure.probe import probe
from vgcore.measure.result import Probe, Signal
from vgcore.model.given import boolean, wrong_type
from vgcore.model.kind import Loss
from vgcore.model.mlp import MLP
from vgcore.model.names import known
from vgcore.model.network import Network
from vgcore.model.plan import Plan
from vgcore.show.words import power

#: Up to this share of the runs, a verdict is not decided.
MOST = 0.5
Thresholds = Mapping[str, float | Mapping[str, float]] | None


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
        rules: `"vgcore"`, or the rule set of another tool, for comparison: one of `vgcore.judge.foreign.PRESETS`.
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
        raise wrong_type("subject", "a Probe, a Sweep, an MLP or a Network", subject)
    explain = boolean("explain", explain)
    if known("rule set", rules, ("vgcore", *foreign.PRESETS)) != "vgcore":
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
    said = verdict(evidence, found, rules)
    limit = depth_limit(evidence, rules)
    confidence = _confidence(evidence, said, rules)
    judged = Diagnosis(
        spec=cell.spec,
        probe=cell,
        verdict=said.verdict,
        direction=said.direction,
        conditions=said.conditions,
        confidence=confidence,
        depth_limit=limit,
        findings=found,
        summary=_summary(evidence, said, limit, confidence),
        typical=_typical(evidence, said),
    )
    vars(judged)["evidence"] = evidence  # A cached property, worked out already.
    return judged


def _confidence(e: Evidence, said: Verdict, rules: Sequence[Rule]) -> float:
    """Share of the runs whose own change has the verdict; those that were not finite have exploded.

    Where the verdict is about no change, all runs have it.
    """
    if said.verdict in SAMENESS or (not e.steps and said.direction == "backward" and not math.isinf(e.backward.rms)):
        return 1.0
    signal: Signal = "forward" if said.direction == "forward" else "backward"
    low, high = (of_change(rules, signal, sign).decisive for sign in (-1, 1))
    change: Change = getattr(e, signal)
    runs = np.where(e.probe.first_nonfinite >= 0, math.inf, change.runs)
    own = np.where(runs <= -low, "vanishing", np.where(runs >= high, "exploding", "healthy"))
    return float(np.mean(own == said.verdict))


def _typical(e: Evidence, said: Verdict) -> bool:
    """Whether a typical net is told of: where it is what fades, or the mean of a healthy one grows by few nets."""
    return said.typical or (said.verdict == "healthy" and e.backward.rms > 0 > e.backward.typical)


def _summary(
    e: Evidence,
    said: Verdict,
    limit: DepthLimit | None,
    confidence: float,
) -> str:
    def moved(name: str, change: Change) -> str:
        if math.isinf(change.rms):
            passes = name == e.name("backward") and e.passes
            return "no hidden layer has a gradient" if passes else f"{name} does not arrive at all"
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
    told = not math.isnan(e.backward.rms) and (e.steps or math.isinf(e.backward.rms))
    if told and (said.direction != "forward" or not parts):
        typical = _typical(e, said)
        change = dataclasses.replace(e.backward, rms=e.backward.typical if typical else e.backward.shown)
        parts.append(moved(e.name("backward"), change) + " in a typical net" * typical)
    if e.steps and said.direction in {"forward", "both"} and not math.isnan(e.forward.rms):
        parts.append(moved(e.name("forward"), dataclasses.replace(e.forward, rms=e.forward.shown)))
    if said.direction == "backward" and not e.steps and not told:
        parts.append("its one layer is flat")
    if "symmetric" in said.conditions:
        parts.append("units are equal and stay equal")
    if "collapsed" in said.conditions:
        alike = any(rule.id == "correlation_collapse" for rule in said.decisive)
        parts.append("all inputs end up alike" if alike else "all inputs end up on one line")
    if e.waits:
        what = "the readout" if e.zero_layer is None else f"layer {e.zero_layer + 1}"
        parts.append(f"{what} starts at 0, and one step opens it")
    if not parts:
        parts.append("nothing to compare" if e.steps else "one layer has no factor")
    if limit is not None and said.verdict != "healthy" and limit.value < e.depth:
        layers = "1 layer" if limit.value == 1 else f"{limit.value:.0f} layers"
        parts.append(f"{layers} would stay within {limit.factor:.0f}-fold")
    if confidence <= MOST:
        parts.append(f"not decided: {round(confidence * len(e.probe.seeds))} of {len(e.probe.seeds)} runs")
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
    words = ("healthy", *VERDICTS.values(), *SAMENESS)
    counts = {word: sum(cell.verdict == word for cell in cells) for word in words}
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
    preset, spec, batch = foreign.PRESETS[rules], checked.spec, checked.batch
    if y is not None:
        # Of all rows, which alone tell what classes there are.
        y = _core.targets(str(checked.loss), y, len(np.asarray(x)), Plan.of(spec).outputs)
    passes = []
    for each in checked.seeds.tolist():
        samples = drawn_samples(spec, each, batch, checked.dtype) if x is None else np.asarray(x)
        targets = y
        if x is not None and batch < len(samples):
            rows = np.random.default_rng(each).choice(len(samples), batch, replace=False)
            samples, targets = samples[rows], None if y is None else np.asarray(y)[rows]
        net = subject
        if isinstance(net, MLP):
            looks = x is not None and Plan.of(spec).calibrates
            net = net.init(seed=each, dtype=checked.dtype, x=samples if looks else None)
        passes.append(see(net, samples, y=targets, loss=checked.loss, seed=each))
    found = foreign.fired(rules, passes)
    word = foreign.of_gradients(found)
    said = foreign.concluded(found)
    fired = f"{len(found)} of its {len(preset.rules)} rules fire" if found else "none of its rules fires"
    return Diagnosis(
        spec=spec,
        probe=None,
        verdict=word,
        direction=None if word == "healthy" else "backward",
        conditions=tuple(
            rule.condition for rule in RULES if rule.condition and rule.condition.replace("-", "") in said
        ),
        confidence=math.nan,
        depth_limit=None,
        findings=found,
        summary=f"{preset.title} would say {word}: {fired}",
        rules=rules,
    )
