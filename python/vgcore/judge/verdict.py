"""What the rules find, and the verdict that follows from it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from vgcore.judge.evidence import Evidence
from vgcore.judge.finding import SEVERITIES, Finding
from vgcore.judge.rule import Rule, RuleOf, lacks
from vgcore.judge.rules import RULES, of_change
from vgcore.judge.rules.ends import FIRST_LOSS
from vgcore.judge.rules.numbers import FINITE_WIDTH, overflows
from vgcore.judge.rules.units import SATURATION

#: Conditions in which there is nothing to tell apart, units or samples: no size of a gradient helps.
SAMENESS = ("symmetric", "collapsed")
#: A share of slopes lost that lets nothing through a net of one layer.
FLAT = 0.9999
#: A share of the runs that is most of them.
MOST = 0.6
#: What a signal does, by the sign of its change.
MOVES = {-1: "vanishing", 1: "exploding"}
#: Every word that a verdict of a net can be, the mildest first.
VERDICTS = ("healthy", *MOVES.values(), *SAMENESS, "non-finite")

E = TypeVar("E")


def findings(e: Evidence, rules: Sequence[Rule] = RULES, *, explain: bool = False) -> tuple[Finding, ...]:
    """What the rules find that have what they need, the most severe first."""
    judges = [_pictured(e, rule) for rule in rules if rule.concerns(e.kind) and not lacks(e, rule)]
    return found_by(judges, e, explain=explain, kind=e.kind)


def not_judged(e: Evidence, rules: Sequence[Rule] = RULES) -> tuple[tuple[str, str], ...]:
    """The rules that lack something, each with what it needs."""
    missing = {rule.id: lacks(e, rule) for rule in rules if rule.concerns(e.kind)}
    return tuple((name, f"needs {', '.join(words)}") for name, words in missing.items() if words)


#: What a trace of any net has in place of a probe's columns.
INSTEAD = {"log10_z_rms": "log10_forward", "log10_delta_rms": "log10_backward", "log10_wgrad_norm": "log10_weight"}


def _pictured(e: Evidence, rule: Rule) -> Rule:
    """A rule whose picture is of columns that are there, and of a signal those of what it is here."""
    columns = e.trace.columns
    if (picture := rule.pictures.get(e.kind)) is not None:
        return dataclasses.replace(rule, picture=picture)
    if rule.signal and e.facts is not None and e.unit != "layer":
        return dataclasses.replace(rule, picture=("log10_h_rms" if rule.signal == "forward" else e.facts.backward,))
    if e.probe is not None or all(name in columns for name in rule.picture):
        return rule
    names = (name if name in columns else INSTEAD.get(name, "") for name in rule.picture)
    return dataclasses.replace(rule, picture=tuple(name for name in names if name in columns))


def found_by(rules: Sequence[RuleOf[E]], e: E, *, explain: bool = False, kind: str = "") -> tuple[Finding, ...]:
    """What rules of any kind find in evidence of their kind, the most severe first; `kind` is that of the spec."""
    found: list[Finding] = []
    for rule in rules:
        hit = rule.check(e, rule)
        if hit is None or not (reached := rule.reached(hit.value)):
            continue
        severity = min(reached[-1], hit.cap, key=SEVERITIES.index)
        opened: dict[str, Any] = {}
        if explain:
            text = (
                f"{rule.formulas.get(kind, rule.formula)}.\n{hit.working}\n{rule.why}\nWhen this is wrong: {rule.wrong}"
            )
            opened = {"explanation": text, "picture": rule.picture}
        threshold = rule.thresholds.get(severity, rule.least)
        found.append(
            Finding(
                rule=rule.id,
                severity=severity,
                layers=hit.layers,
                value=hit.value,
                threshold=threshold,
                evidence=hit.sentence,
                remedy=rule.remedies.get(kind, rule.remedy),
                reference=rule.reference,
                confidence=hit.confidence,
                steps=hit.steps,
                **opened,
            )
        )
    return tuple(sorted(found, key=lambda finding: -SEVERITIES.index(finding.severity)))


@dataclass(frozen=True)
class Verdict:
    """What the findings come to.

    Attributes:
        verdict: `"vanishing"` or `"exploding"`: about the backward signal if that moves, else about the forward one.
            Where neither moves, what stops training all the same: `"symmetric"` or `"collapsed"`; else `"healthy"`.
            `"non-finite"` where values are not and none has outgrown its range.
        direction: `"forward"`, `"backward"` or `"both"`; None where no signal moves.
        conditions: Those of the rules that speak.
        decisive: The rules that speak for it.
        typical: Whether only a typical net fades while the root mean square over nets does not.
    """

    verdict: str
    direction: str | None
    conditions: tuple[str, ...]
    decisive: tuple[Rule, ...] = ()
    typical: bool = False

    def __str__(self) -> str:
        first = self.verdict if self.direction is None else f"{self.verdict} ({self.direction})"
        return ", ".join((first, *(word for word in self.conditions if word != self.verdict)))


def verdict(e: Evidence, found: Sequence[Finding], rules: Sequence[Rule] = RULES) -> Verdict:
    """The verdict, from the findings that are more than worth knowing."""
    values = {finding.rule: finding.value for finding in found}
    decisive = [rule for rule in rules if values.get(rule.id, -math.inf) >= rule.decisive]
    conditions = tuple(dict.fromkeys(rule.condition for rule in decisive if rule.condition))
    words: dict[str, str] = {rule.signal: MOVES[rule.sign] for rule in decisive if rule.signal}
    limit = -of_change(rules, "backward", -1).decisive
    wide = any(rule.id == FINITE_WIDTH.id for rule in decisive) and e.backward.typical <= limit
    typical = "backward" not in words and (wide or bool(np.mean(e.backward.runs <= limit) >= MOST))
    if typical:
        words["backward"] = "vanishing"
    if 2 * int((e.trace.lost_below >= 0).sum()) >= e.runs:
        words["backward"] = "vanishing"
    stops = 2 * len(e.nonfinite) >= e.runs
    if stops and not overflows(e):
        return Verdict("non-finite", None, conditions, tuple(decisive))
    if stops:
        # Where z was finite up to the end, it was the way back that was not.
        back = np.isfinite(e.reached[e.trace.first_nonfinite >= 0, -1]) & (e.nonfinite < e.depth)
        words = {signal: word for signal, word in words.items() if word == "exploding"}
        words |= {s: "exploding" for s, there in (("backward", back.any()), ("forward", not back.all())) if there}
    if not words and not e.steps and values.get(SATURATION.id, 0) >= FLAT:
        words["backward"] = "vanishing"  # No factor from layer to layer is there to tell it.
    if not words:
        critical = {finding.rule for finding in found if finding.severity == "critical"}
        same = [rule.condition for rule in rules if rule.id in critical and rule.condition in SAMENESS]
        return Verdict(next((word for word in same if word), "healthy"), None, conditions, tuple(decisive))
    # An output that has grown or faded on its way is what the verdict says.
    conditions = tuple(word for word in conditions if word != FIRST_LOSS.condition)
    word = words.get("backward") or words["forward"]
    directions = [signal for signal, each in words.items() if each == word]
    direction = "both" if len(directions) == 2 else directions[0]
    return Verdict(word, direction, conditions, tuple(decisive), typical)
