"""What a rule is, and what it measures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vgcore.judge.evidence import Evidence, Floats
from vgcore.judge.finding import SEVERITIES
from vgcore.measure.result import Signal


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
    """

    value: float
    layers: tuple[int, ...]
    confidence: float
    sentence: str
    working: str
    cap: str = "critical"


@dataclass(frozen=True)
class Rule:
    """One row: what is measured, from where on it counts, why, and what helps.

    Attributes:
        id: The name of the rule.
        quantity: What `value` is, and its unit; larger is worse.
        thresholds: The least value for each severity that it can have.
        why: Why these thresholds.
        reference: Where they come from.
        wrong: When it speaks without need, or is silent when it should not be.
        remedy: What helps.
        formula: What is computed, for a student.
        picture: Columns of the probe that show it.
        check: Measures it; None where there is nothing to compare.
        signal: The signal whose change is the quantity, if one is.
        sign: 1 where the rule speaks of growth of the signal, -1 of loss.
        condition: What holds beside a verdict where the rule speaks, in a word; None for nothing.
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
    signal: Signal | None = None
    sign: int = 0
    condition: str | None = None

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


def share(runs: Floats, shows: Callable[[Floats], Any]) -> float:
    """Share of the runs with a value that show something."""
    seen = runs[~np.isnan(runs)]
    return float(np.mean(shows(seen))) if len(seen) else 0.0
