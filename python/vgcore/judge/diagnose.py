"""Is it bad, where, and how deep can it go: `diagnose` -> `Diagnosis`; did it train: -> `RunDiagnosis`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike

from vgcore import _core
from vgcore.convert.imported import NonFinite
from vgcore.judge import foreign
from vgcore.judge.depth_limit import DepthLimit, depth_limit
from vgcore.judge.diagnosis import Diagnosis
from vgcore.judge.evidence import Change, Evidence
from vgcore.judge.finding import SEVERITIES
from vgcore.judge.foreign.seen import drawn_samples, see
from vgcore.judge.nonfinite import of_error, of_weights
from vgcore.judge.rule import Rule, RuleOf
from vgcore.judge.rules import RULES, changed, moved, of_change, with_thresholds
from vgcore.judge.rules.numbers import lost_below
from vgcore.judge.rules.signals import waiting_for
from vgcore.judge.training.depths import DEPTH_RULES
from vgcore.judge.training.diagnosis import RunDiagnosis
from vgcore.judge.training.judged import judge_run, judge_runs
from vgcore.judge.training.rules import RUN_RULES
from vgcore.judge.verdict import SAMENESS, VERDICTS, Verdict, findings, not_judged, verdict
from vgcore.measure.brought import brought
from vgcore.measure.cells import Sweep
from vgcore.measure.probe import probe
from vgcore.measure.result import Probe, Signal
from vgcore.measure.trace import Trace
from vgcore.model.given import boolean
from vgcore.model.kind import Loss
from vgcore.model.names import known
from vgcore.model.network import Network
from vgcore.model.plan import Plan
from vgcore.model.spec import Spec
from vgcore.show.words import fold, power
from vgcore.train.many import TrainSweep
from vgcore.train.run import Run

#: What is judged as it is.
KNOWN = (Probe, Sweep, Spec, Network, Trace)
SUBJECTS = "a Probe, a Sweep, a Trace, a spec, a Network, a Run, a TrainSweep or runs"
#: Where the trace of a probe keeps its diagnosis, beside its fields: no pickle and no copy has it.
KEPT = "_diagnosis"
#: Up to this share of the runs, a verdict is not decided.
MOST = 0.5
Thresholds = Mapping[str, float | Mapping[str, float]] | None


@overload
def diagnose(
    subject: Run | TrainSweep | Sequence[Run],
    *,
    rules: str = "vgcore",
    thresholds: Thresholds = None,
    explain: bool = False,
) -> RunDiagnosis: ...
@overload
def diagnose(
    subject: Any,
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
) -> Diagnosis: ...
def diagnose(
    subject: Any,
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
) -> Diagnosis | RunDiagnosis:
    """Judge a net: do its signals vanish or explode, where, how surely, and what helps. Of a run: did it train.

    Decided on factors, correlation, saturation and dead units, never on the size of a gradient: the verdict is the same
    for the loss times any constant, for any dtype, for any batch size but under batch norm, where the batch is part of
    the net, and for widths from 32 up as long as depth/width alone does not make single nets fade (`finite_width`).
    `docs/diagnosis.md` shows every rule with its evidence. An `RNN` with `outputs="every"` is probed once more with the
    readout of its last step alone, on all threads, for the rule `hidden_vanishing`.

    Args:
        subject: What to judge: a `Probe` or a `Sweep` as measured, or a spec or a `Network`, which is measured first.
            Or a `Trace` or what has one, such as a watch, by the rules that have what they need. Or the `Run` of a
            training, by rules over its steps; or a `TrainSweep` or a list of runs, of which the worst is told of, and
            what depth does to the loss. Or a model of another library, which is brought in first; its weights, or a
            state dict, that are not finite are told of by themselves.
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
        ValueError: For unknown rules or thresholds, data beside what has been measured already, or a model that cannot
            be brought in: where, what, why, and what to do instead.

    >>> import vgcore as vg
    >>> d = vg.diagnose(vg.MLP(depth=30, width=64, activation="relu", init="xavier_normal"), seeds=4)
    >>> d.verdict, d.direction, [f.rule for f in d.findings if f.severity == "critical"]
    ('vanishing', 'both', ['backward_vanishing', 'forward_vanishing'])

    A sigmoid net of six layers learns the class frequencies, and no more:

    >>> x, y = vg.data.digits()
    >>> spec = vg.MLP(depth=6, width=64, out_features=10, activation="sigmoid", init="xavier_normal")
    >>> d = vg.diagnose(vg.train(spec, x, y, optimizer="sgd(lr=0.1)", steps=300))
    >>> d.verdict, [f.rule for f in d.findings if f.severity == "critical"]
    ('stuck', ['blind_guess'])
    """
    options: dict[str, Any] = {"x": x, "y": y, "loss": loss, "batch": batch, "seeds": seeds, "seed": seed}
    options |= {"dtype": dtype, "threads": threads}
    options = {name: value for name, value in options.items() if value is not None}
    # All arguments, before a subject that is told of by itself: a word that nobody knows never passes in silence.
    runs = _runs(subject)
    explain = boolean("explain", explain)
    rules = known("rule set", rules, ("vgcore", *foreign.PRESETS))
    if rules != "vgcore" and thresholds is not None:
        raise ValueError(f"thresholds are those of vgcore's rules, not of {rules}")
    if runs is not None:
        if options:
            raise ValueError(f"{', '.join(options)}: this is trained already; give them to train")
        return _trained(runs, rules, thresholds, explain=explain, one=isinstance(subject, Run))
    chosen = with_thresholds(thresholds)
    notes: tuple[str, ...] = ()
    if not isinstance(subject, KNOWN):
        if isinstance(trace := getattr(subject, "trace", None), Trace):
            subject = trace
        elif (broken := of_weights(subject, explain=explain)) is not None:
            return broken
        else:
            try:
                subject, notes = brought(subject, x, SUBJECTS)
            except NonFinite as error:
                return of_error(error, explain=explain)
    if rules != "vgcore":
        if not isinstance(subject, Spec | Network):
            raise ValueError(f"{rules} looks at single gradients, which a probe does not keep: give the spec")
        return _foreign(subject, rules, **options)
    if isinstance(subject, Spec | Network):
        judged = judge(probe(subject, **options), chosen, explain=explain, threads=threads)
        return dataclasses.replace(judged, notes=notes) if notes else judged
    if options:
        raise ValueError(f"{', '.join(options)}: this is measured already; give them to probe or sweep, or a spec")
    if isinstance(subject, Sweep):
        return worst([judge(cell, chosen, explain=explain) for cell in subject])
    return judge(subject, chosen, explain=explain)


def _runs(subject: object) -> list[Run] | None:
    """The runs that were given; None for what is something else."""
    if isinstance(subject, Run | TrainSweep):
        return [subject] if isinstance(subject, Run) else list(subject)
    if isinstance(subject, list | tuple) and subject and all(isinstance(each, Run) for each in subject):
        return list(subject)
    return None


def _trained(runs: list[Run], rules: str, thresholds: Thresholds, *, explain: bool, one: bool) -> RunDiagnosis:
    """The diagnosis of a run or of several."""
    if rules != "vgcore":
        if not one:
            raise ValueError(f"{rules} judges one run at a time")
        return foreign.trained(runs[0], rules)
    every: tuple[RuleOf[Any], ...] = changed((*RUN_RULES, *DEPTH_RULES), thresholds)
    chosen, beside = every[: len(RUN_RULES)], every[len(RUN_RULES) :]
    if one:
        return judge_run(runs[0], chosen, explain=explain)
    return judge_runs(runs, chosen, depth_rules=beside, explain=explain)


def judge(
    cell: Probe | Trace, rules: Sequence[Rule] = RULES, *, explain: bool = False, threads: int | None = None
) -> Diagnosis:
    """The diagnosis of what has been measured; `threads` are for what a rule has to measure besides.

    The trace of a probe keeps what the rules as they are said of it: pages, tables and comparisons all ask for that.
    """
    if not isinstance(cell, Probe) or explain or tuple(rules) != RULES:
        return _judged(cell, rules, explain=explain, threads=threads)
    kept: Diagnosis | None = vars(cell.trace).get(KEPT)
    if kept is None:
        vars(cell.trace)[KEPT] = kept = _judged(cell, RULES, explain=False, threads=threads)
    return kept


def _judged(cell: Probe | Trace, rules: Sequence[Rule], *, explain: bool, threads: int | None) -> Diagnosis:
    evidence = Evidence(cell, threads)
    found = findings(evidence, rules, explain=explain)
    said = verdict(evidence, found, rules)
    limit = depth_limit(evidence, rules)
    confidence = _confidence(evidence, said, rules)
    judged = Diagnosis(
        spec=cell.spec if isinstance(cell, Probe) else None,
        probe=cell if isinstance(cell, Probe) else None,
        verdict=said.verdict,
        direction=said.direction,
        conditions=said.conditions,
        confidence=confidence,
        depth_limit=limit,
        findings=found,
        summary=_summary(evidence, said, limit, confidence),
        typical=_typical(evidence, said),
        measured=None if isinstance(cell, Probe) else cell,
        not_judged=not_judged(evidence, rules),
        notes=cell.notes if isinstance(cell, Trace) else (),
        thresholds=moved(rules, RULES),
    )
    vars(judged)["evidence"] = evidence  # A cached property, worked out already.
    return judged


def _confidence(e: Evidence, said: Verdict, rules: Sequence[Rule]) -> float:
    """Share of the runs whose own change has the verdict; those that were not finite have exploded.

    Where the verdict is about no change, all runs have it.
    """
    if said.verdict in SAMENESS or (not e.steps and said.direction == "backward" and not math.isinf(e.backward.rms)):
        return 1.0
    if said.verdict == "non-finite":
        return len(e.nonfinite) / e.runs
    signal: Signal = "forward" if said.direction == "forward" else "backward"
    low, high = (of_change(rules, signal, sign).decisive for sign in (-1, 1))
    change: Change = getattr(e, signal)
    runs = np.where(e.trace.first_nonfinite >= 0, math.inf, change.runs)
    if signal == "backward":
        runs = np.where(e.trace.lost_below >= 0, -math.inf, runs)
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
    def told_of(signal: Signal, change: Change) -> str:
        name, back = e.name(signal), signal == "backward"
        if math.isinf(change.rms):
            return "no hidden layer has a gradient" if back and e.passes else f"{name} does not arrive at all"
        layers = e.units(e.steps_of(signal))
        lost = e.ends if back else ""
        if abs(change.rms) < math.log10(2):
            return f"{name} keeps its size over {layers}{lost}"
        verb = "grows" if change.rms > 0 else "shrinks"
        factor = e.factor(change, e.steps_of(signal))
        return f"{name} {verb} {power(abs(change.rms))}-fold over {layers} (x{factor:.3g} a {e.unit}){lost}"

    parts: list[str] = []
    if len(e.nonfinite):
        verb = "is" if len(e.nonfinite) == 1 else "are"
        ends = dict.fromkeys((int(e.nonfinite.min()), int(e.nonfinite.max())))
        where = " to ".join(e.layer(at) if at < e.depth else "the readout" for at in ends)
        parts.append(f"{len(e.nonfinite)} of {e.runs} runs {verb} not finite from {where} on")
    told = not math.isnan(e.backward.rms) and (e.steps or math.isinf(e.backward.rms))
    if told and (said.direction != "forward" or not parts):
        typical = _typical(e, said)
        change = dataclasses.replace(e.backward, rms=e.backward.typical if typical else e.backward.shown)
        parts.append(told_of("backward", change) + " in a typical net" * typical)
    elif e.lost == e.depth - 1:
        parts.append(lost_below(e))
    if (
        said.direction in {"forward", "both"}
        and (e.steps or math.isinf(e.forward.rms))
        and not math.isnan(e.forward.rms)
    ):
        parts.append(told_of("forward", dataclasses.replace(e.forward, rms=e.forward.shown)))
    if said.direction == "backward" and not e.steps and not told and e.lost < 0:
        parts.append("its one layer is flat")
    if "symmetric" in said.conditions:
        parts.append("units are equal and stay equal")
    if "collapsed" in said.conditions:
        alike = any(rule.id == "correlation_collapse" for rule in said.decisive)
        what = "all tokens of a sample" if not alike and e.tokens > 1 else "all inputs"
        parts.append(f"{what} end up {'alike' if alike else 'on one line'}")
    if e.waits:
        opens = e.probe is not None or e.zero_layer is not None
        parts.append(waiting_for(e) + (" starts at 0, and one step opens it" if opens else " gives nothing back"))
    if not parts:
        parts.append("nothing to compare" if e.steps else "one layer has no factor")
    if limit is not None and said.verdict != "healthy" and limit.value * e.per < e.depth - e.cut:
        parts.append(f"{limit.units} would stay within {fold(limit.factor)}")
    if confidence <= MOST:
        parts.append(f"not decided: {round(confidence * e.runs)} of {e.runs} runs")
    return f"{said}: {'; '.join(parts)}"


def badness(one: Diagnosis) -> tuple[bool, int, float]:
    """How bad it is beside others, to sort by: whether it is healthy, the worst finding, how far dL/dz moves."""
    rms = one.evidence.backward.rms if one.evidence else 0.0
    size = math.inf if math.isnan(rms) else abs(rms)
    return one.verdict != "healthy", SEVERITIES.index(one.severity or "info"), size


def worst(cells: Sequence[Diagnosis]) -> Diagnosis:
    """The diagnosis of a sweep: that of the cell whose dL/dz moves most, with all of them as its cells."""
    if not cells:
        raise ValueError("a sweep without cells has nothing to diagnose")
    found = max(cells, key=badness)
    counts = {word: sum(cell.verdict == word for cell in cells) for word in VERDICTS}
    listed = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    summary = f"of {len(cells)} cells {listed}; worst: {found.summary}"
    return dataclasses.replace(found, summary=summary, cells=tuple(cells))


def _foreign(
    subject: Spec | Network,
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
        net: Any = subject  # whose init is a field and a method
        if isinstance(subject, Spec):
            looks = x is not None and Plan.of(spec).calibrates
            net = net.init(seed=each, dtype=checked.dtype, x=samples if looks else None)
        passes.append(see(net, samples, y=targets, loss=checked.loss, seed=each))
    found = foreign.fired(rules, passes)
    word = foreign.of_gradients(found)
    said = foreign.concluded(found)
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
        summary=foreign.summed(preset, word, foreign.said(found), f"{len(preset.rules)} rules"),
        rules=rules,
    )
