"""What a rule found: `Finding`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from vgcore.model.shown import Shown
from vgcore.model.versioned import Versioned
from vgcore.show.words import indices

#: From what is worth knowing to what stops training.
SEVERITIES = ("info", "warning", "critical")


@dataclass(frozen=True, repr=False)
class Finding(Versioned, Shown):
    """What one rule found in one net, or in one run of its training.

    Attributes:
        rule: The rule's id.
        severity: `"info"`, `"warning"` or `"critical"`.
        layers: Indices of the layers where it shows, 0 at the input: they index columns of a probe or a run. In a run
            the readout's is the last.
        value: The quantity that the rule tests, in the unit that the rule names.
        threshold: The number that the value was compared with.
        evidence: What was measured, in a sentence.
        remedy: What helps, in a sentence; `advise` runs it.
        reference: Where the rule and its threshold come from.
        confidence: Share of the runs that show it by themselves, 0 to 1; nan where one run alone cannot.
        explanation: The formula, and this run's numbers put into it, for a student; empty unless asked for.
        picture: Columns of the probe or the run that show it; empty unless asked for.
        steps: Steps of a run where it shows, first and last or the one step; empty for a net that was not trained.

    >>> import vgcore as vg
    >>> finding = vg.diagnose(vg.MLP(depth=20, width=64, activation="sigmoid"), seeds=4).findings[0]
    >>> finding.rule, finding.severity, finding.layers[0]  # the first layer: an index
    ('backward_vanishing', 'critical', 0)
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
    steps: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The attributes by name."""
        return dataclasses.asdict(self)

    def __repr__(self) -> str:
        layers = f", {indices(self.layers)}" if self.layers else ""  # of which the last may be a readout
        return f"Finding({self.rule!r}, {self.severity!r}{layers}, value={self.value:.4g})"

    def __str__(self) -> str:
        return f"{self.severity}: {self.rule}: {self.evidence}"
