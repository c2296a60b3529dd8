"""What was judged of a training: `RunDiagnosis`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vgcore.judge.finding import SEVERITIES, Finding
from vgcore.model.names import known
from vgcore.model.shown import Reported
from vgcore.model.spec import Spec
from vgcore.model.versioned import Versioned
from vgcore.show import training
from vgcore.train.run import Run

#: What a training can come to, from the worst to the best.
OUTCOMES = ("non-finite", "diverged", "stuck", "learning", "trained")


@dataclass(frozen=True, eq=False)
class RunDiagnosis(Versioned, Reported):
    """What came of a training, with its evidence.

    Attributes:
        spec: What was trained.
        run: The run; None of a sweep.
        verdict: `"trained"`, where the loss fell by half of what it was or of a blind guess; `"learning"`, where it
            fell by less; `"stuck"`, where it did not, or ended at a blind guess; `"diverged"`, where it rose again; or
            `"non-finite"`.
        conditions: What holds beside it, in words of the rules: `"early layers slow"`, `"gradients near zero"`,
            `"updates rounded away"`, `"epsilon rules"`, `"dying"`, `"spikes"`, `"clipped"`, `"boosted"`, `"unstable"`,
            `"over-fit"`, `"deeper is worse"` and others.
        findings: The most severe first.
        summary: One sentence.
        rules: Whose rules: `"vgcore"`, or another tool's.
        cells: The diagnosis of every run, where several were judged together, whose other attributes are those of the
            worst of them, and what shows only beside the others.
        thresholds: By rule id, those that are not the rule's own.

    >>> import vgcore as vg
    >>> x, y = vg.data.digits()
    >>> spec = vg.MLP(depth=8, width=32, in_features=64, out_features=10, activation="sigmoid")
    >>> judged = vg.diagnose(vg.train(spec, x, y, optimizer=vg.SGD(lr=0.1), steps=100))
    >>> judged.verdict, judged.findings[0].rule
    ('stuck', 'blind_guess')
    """

    spec: Spec
    run: Run | None
    verdict: str
    conditions: tuple[str, ...]
    findings: tuple[Finding, ...]
    summary: str
    rules: str = "vgcore"
    cells: tuple[RunDiagnosis, ...] = ()
    thresholds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def severity(self) -> str | None:
        """The highest severity of a finding, in any run; None without one."""
        found = [finding.severity for one in (self, *self.cells) for finding in one.findings]
        return max(found, key=SEVERITIES.index, default=None)

    def reaches(self, severity: str) -> bool:
        """Whether a finding is as severe as this or more, in any run.

        Raises:
            ValueError: For anything but `"info"`, `"warning"` and `"critical"`.
        """
        level = SEVERITIES.index(known("severity", severity, SEVERITIES))
        return self.severity is not None and SEVERITIES.index(self.severity) >= level

    @property
    def word(self) -> str:
        """Verdict and conditions: `"stuck, early layers slow"`."""
        return ", ".join((self.verdict, *self.conditions))

    def to_dict(self) -> dict[str, Any]:
        """All but the run, as plain values."""
        plain: dict[str, Any] = {
            "spec": self.spec.to_dict(),
            "rules": self.rules,
            "verdict": self.verdict,
            "conditions": list(self.conditions),
            "findings": [finding.to_dict() for finding in self.findings],
            "summary": self.summary,
        }
        if self.thresholds:
            plain["thresholds"] = {rule: dict(levels) for rule, levels in self.thresholds.items()}
        return plain | ({"cells": [cell.to_dict() for cell in self.cells]} if self.cells else {})

    def __repr__(self) -> str:
        return f"RunDiagnosis({self.word!r}, {len(self.findings)} findings, {self.spec!r})"

    def __str__(self) -> str:
        return training.diagnosis(self)
