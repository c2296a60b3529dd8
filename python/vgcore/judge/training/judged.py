"""The verdict about a run, and about runs of several depths: `judge_run`, `judge_runs`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from vgcore.judge.finding import SEVERITIES, Finding
from vgcore.judge.rule import RuleOf
from vgcore.judge.rules import moved
from vgcore.judge.training.depths import DEPTH_RULES, Depths
from vgcore.judge.training.diagnosis import OUTCOMES, RunDiagnosis
from vgcore.judge.training.evidence import RunEvidence, RunRule, middle
from vgcore.judge.training.rules import RUN_RULES
from vgcore.judge.training.rules.losses import BLIND_GUESS, NOT_TRAINED, RATE_TOO_LARGE
from vgcore.judge.verdict import found_by
from vgcore.train.run import Run, size


@np.errstate(all="ignore")  # losses and norms beyond float64 are what rules are there to find
def judge_run(run: Run, rules: Sequence[RunRule] = RUN_RULES, *, explain: bool = False) -> RunDiagnosis:
    """The diagnosis of a run."""
    e = RunEvidence(run)
    found = found_by(rules, e, explain=explain)
    verdict = _outcome(e, found)
    return RunDiagnosis(
        spec=run.spec,
        run=run,
        verdict=verdict,
        conditions=_conditions(found, rules, verdict),
        findings=found,
        summary=_summary(e, verdict),
        thresholds=moved(rules, RUN_RULES),
    )


def _serious(found: Sequence[Finding]) -> set[str]:
    """The rules that say more than what is worth knowing."""
    return {finding.rule for finding in found if finding.severity != "info"}


def _outcome(e: RunEvidence, found: Sequence[Finding]) -> str:
    serious = _serious(found)
    if e.lost:
        return "non-finite"
    if RATE_TOO_LARGE.id in serious:
        return "diverged"
    if serious & {BLIND_GUESS.id, NOT_TRAINED.id}:
        return "stuck"
    return "trained" if e.trained else "learning"


#: Conditions that the verdict says.
SAID = {
    "non-finite": {"non-finite", "rate too large"},
    "diverged": {"rate too large", "not trained"},
    "stuck": {"not trained"},
}


def _conditions(found: Sequence[Finding], rules: Sequence[RunRule], verdict: str) -> tuple[str, ...]:
    serious, said = _serious(found), SAID.get(verdict, set())
    words = [rule.condition for rule in rules if rule.id in serious and rule.condition]
    return tuple(word for word in dict.fromkeys(words) if word not in said)


def _summary(e: RunEvidence, verdict: str) -> str:
    """The loss at both ends as a run tells it, beside a blind guess; how many runs it is of, and which were skipped."""
    first = middle(np.array([curve[0] for curve in e.curves if len(curve)]))
    last = middle(e.run.final_loss)
    steps = max(int(at[-1]) if len(at) else 0 for at in e.at)
    ends = "never finite" if math.isnan(first) else f"{size(first)} to {size(last)} in {steps} steps"
    blind = "" if e.blind is None else f" (a blind guess: {e.blind:.4g})"
    runs = "" if e.seeds == 1 else f", median of {e.seeds} runs"
    firsts = [int(steps[0]) for steps in e.skipped if len(steps)]
    count, done = sum(map(len, e.skipped)), int(e.run.steps_done.sum())
    skipped = f"; {count} of {done} steps skipped, the first at step {min(firsts)}" if firsts else ""
    return f"{verdict}: loss {ends}{blind}{runs}{skipped}"


def badness(one: RunDiagnosis) -> tuple[int, int, int]:
    """How bad it is beside others, to sort by: what it came to, the worst finding, how many there are."""
    return -OUTCOMES.index(one.verdict), SEVERITIES.index(one.severity or "info"), len(one.findings)


def judge_runs(
    runs: Sequence[Run],
    rules: Sequence[RunRule] = RUN_RULES,
    *,
    depth_rules: Sequence[RuleOf[Depths]] = DEPTH_RULES,
    explain: bool = False,
) -> RunDiagnosis:
    """The diagnosis of several runs: that of the worst, with all of them as its cells, and what depth does to the loss.

    Raises:
        ValueError: For no runs.
    """
    if not runs:
        raise ValueError("there must be at least one run to judge")
    cells = [judge_run(run, rules, explain=explain) for run in runs]
    beside = found_by(depth_rules, Depths(runs), explain=explain)
    worst = max(cells, key=badness)
    counts = {word: sum(cell.verdict == word for cell in cells) for word in OUTCOMES[::-1]}
    listed = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    words = tuple(rule.condition for rule in depth_rules if rule.id in _serious(beside) and rule.condition)
    return dataclasses.replace(
        worst,
        run=None,
        conditions=(*words, *worst.conditions),
        findings=(*beside, *worst.findings),
        summary=f"of {len(cells)} runs {listed}; worst: {worst.summary}",
        cells=tuple(cells),
        thresholds={**worst.thresholds, **moved(depth_rules, DEPTH_RULES)},
    )
