"""What a rule found: `Finding`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from vgcore.model.versioned import Versioned

#: From what is worth knowing to what stops training.
SEVERITIES = ("info", "warning", "critical")


@dataclass(frozen=True)
class Finding(Versioned):
    """What one rule found in one net.

    Attributes:
        rule: The rule's id.
        severity: `"info"`, `"warning"` or `"critical"`.
        layers: Indices of the hidden layers where it shows, 0 at the input: they index a probe's columns.
        value: The quantity that the rule tests, in the unit that the rule names.
        threshold: The number that the value was compared with.
        evidence: What was measured, in a sentence.
        remedy: What helps, in a sentence; `advise` runs it.
        reference: Where the rule and its threshold come from.
        confidence: Share of the runs that show it by themselves, 0 to 1; nan where one run alone cannot.
        explanation: The formula, and this run's numbers put into it, for a student; empty unless asked for.
        picture: Columns of the probe that show it, layer by layer; empty unless asked for.
    """

    rule: str
    severity: str
    layers: tuple[int, ...]
    value: float
    threshold: float
    evidence: str
    remedy: str
    reference: str
    confidence: float = 1.0
    explanation: str = ""
    picture: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The attributes by name."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        return f"{self.severity}: {self.rule}: {self.evidence}"
