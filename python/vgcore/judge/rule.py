"""What a rule is, and what it measures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np

from vgcore.judge.evidence import Evidence, Floats
from vgcore.judge.finding import SEVERITIES
from vgcore.measure.result import Signal

E = TypeVar("E")


@dataclass(frozen=True)
class Hit:
    """What a rule measured.

    Attributes:
        value: The rule's quantity; it is compared with the thresholds.
        layers: Where.
        confidence: Share of runs that show it by themselves; nan where one run alone cannot.
        sentence: What was measured, for the finding.
        working: The rule's formula with this run's numbers.
        cap: The highest severity that it may have here.
        steps: When, of a run that was trained: first and last step, or the one step.
    """

    value: float
    layers: tuple[int, ...]
    confidence: float
    sentence: str
    working: str
    cap: str = "critical"
    steps: tuple[int, ...] = ()


@dataclass(frozen=True)
class RuleOf(Generic[E]):
    """One row: what is measured in evidence of a kind, from where on it counts, why, and what helps.

    Attributes:
        id: The name of the rule.
        quantity: What `value` is, and its unit; larger is worse.
        thresholds: The least value for each severity that it can have.
        why: Why these thresholds.
        reference: Where they come from.
        wrong: When it speaks without need, or is silent when it should not be.
        remedy: What helps.
        formula: What is computed, for a student.
        picture: Columns of the probe, or of the run, that show it.
        check: Measures it; None where there is nothing to compare.
        signal: The signal whose change is the quantity, if one is.
        sign: 1 where the rule speaks of growth of the signal, -1 of loss.
        condition: What holds beside a verdict where the rule speaks, in a word; None for nothing.
        needs: What must be known: columns of a trace, or what else `NEEDS` names.
        nets: The kinds of specs that it is about, `"RNN"` and so on; empty for all.
        spares: The kinds of specs of which it says nothing.
        remedies: What helps nets of a kind, where that is something else.
        formulas: What is computed of nets of a kind, where that is something else.
        pictures: Columns that show it of nets of a kind, where these are others.
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
    check: Callable[[E, RuleOf[E]], Hit | None]
    signal: Signal | None = None
    sign: int = 0
    condition: str | None = None
    needs: tuple[str, ...] = ()
    nets: tuple[str, ...] = ()
    spares: tuple[str, ...] = ()
    remedies: Mapping[str, str] = field(default_factory=dict)
    formulas: Mapping[str, str] = field(default_factory=dict)
    pictures: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def concerns(self, kind: str) -> bool:
        """Whether it says something of nets of a kind."""
        return kind not in self.spares and (not self.nets or kind in self.nets)

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
        return [s for s in SEVERITIES if s in self.thresholds and value >= self.thresholds[s]]

    def level(self, value: float) -> float:
        """What a run must reach to show it by itself: what the value reaches, at most the warning."""
        reached = self.reached(value)
        return min(self.thresholds[reached[-1]] if reached else self.least, self.decisive)


#: A rule about a net as it starts, or as it stands.
Rule: TypeAlias = RuleOf[Evidence]

#: What rules need of a net, in words.
NEEDS = {
    "log10_forward": "sizes of signals on their way forward",
    "log10_backward": "sizes of gradients on their way back",
    "log10_weight": "sizes of the gradients of weights",
    "nonfinite": "a record of values that are not finite",
    "saturated": "slopes of the activation",
    "dead": "units that are 0 for every sample",
    "correlation": "cosines between samples",
    "effective_rank": "the Gram matrix of the samples",
    "spec": "a spec",
    "weights": "weights and a spec",
    "samples": "the samples",
    "targets": "outputs and targets",
    "nets": "nets of several seeds",
}


def lacks(e: Evidence, rule: Rule) -> tuple[str, ...]:
    """What a rule needs and evidence lacks, in words; of a probe nothing."""
    if e.probe is not None:
        return ()
    there = {
        *e.trace.columns,
        *(["spec"] if e.facts is not None else []),
        *(["nets"] if e.trace.draws else []),
        *(["nonfinite"] if len(e.nonfinite) else []),
    }
    return tuple(words for need, words in NEEDS.items() if need in rule.needs and need not in there)


def share(runs: Floats, shows: Callable[[Floats], Any]) -> float:
    """Share of the runs with a value that show something."""
    seen = runs[~np.isnan(runs)]
    return float(np.mean(shows(seen))) if len(seen) else 0.0
