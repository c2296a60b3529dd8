"""What was judged: `Diagnosis`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from vgcore.judge.depth_limit import DepthLimit
from vgcore.judge.evidence import Change, Evidence
from vgcore.judge.finding import SEVERITIES, Finding
from vgcore.judge.verdict import Verdict
from vgcore.measure.result import SIGNALS, Probe, Signal
from vgcore.measure.trace import Trace
from vgcore.model.names import known
from vgcore.model.shown import Reported
from vgcore.model.versioned import Versioned
from vgcore.show import text
from vgcore.show.words import own, row


@dataclass(frozen=True, eq=False)
class Diagnosis(Versioned, Reported):
    """A verdict with its evidence.

    Attributes:
        spec: What was judged, of any kind; None where nothing but sizes or weights was known of it.
        probe: What was measured; None where another tool's rules judged, or where a trace was.
        verdict: `"vanishing"` or `"exploding"`: about dL/dz (dL/dh of a stream, dL/dc of an LSTM) if that moves, else
            about z (or h). Where no signal moves, `"symmetric"` (units stay equal) or `"collapsed"` (samples, or the
            tokens of a sample, have become one), if that is critical; else `"healthy"`. `"non-finite"` where
            weights are not finite, or values are not that have not outgrown their range.
        direction: `"forward"`, `"backward"` or `"both"`; None where no signal moves.
        conditions: Those of `"saturated"`, `"dead"`, `"symmetric"`, `"collapsed"`, `"off-scale"` (the first loss
            is far above that of a blind guess, and no signal moves) and `"non-finite"` that hold.
        confidence: Share of the runs that have the verdict by themselves; nan where there is no such share.
        depth_limit: How deep this recipe can go; None where it depends on the depth itself or nothing was finite.
        findings: The most severe first.
        summary: One sentence.
        typical: Whether sizes are told of a typical net, as the root mean square over nets is another.
        rules: Whose rules: `"vgcore"`, or another tool's.
        cells: The diagnosis of every cell of a sweep, whose other attributes are those of the worst cell; else empty.
        measured: The trace that was judged, where there is no probe.
        not_judged: The rules that could not judge, each with what it needs.
        notes: What a reader has to know of how it was measured, or of how the net was brought in.
        thresholds: By rule id, those that are not the rule's own.

    >>> import vgcore as vg
    >>> d = vg.diagnose(vg.MLP(depth=20, width=64, activation="sigmoid"), seeds=4)
    >>> d.verdict, d.direction, d.depth_limit.value, d.reaches("critical")
    ('vanishing', 'backward', 3.0, True)
    """

    spec: Any
    probe: Probe | None
    verdict: str
    direction: str | None
    conditions: tuple[str, ...]
    confidence: float
    depth_limit: DepthLimit | None
    findings: tuple[Finding, ...]
    summary: str
    typical: bool = False
    rules: str = "vgcore"
    cells: tuple[Diagnosis, ...] = ()
    measured: Trace | None = None
    not_judged: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    thresholds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

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
        found = self.probe or self.measured
        return None if found is None else Evidence(found)

    @property
    def names(self) -> tuple[str, ...]:
        """The layers by name; empty where they have numbers alone."""
        return own(self._rows)

    @property
    def row(self) -> str:
        """What that is called which `Finding.layers` count: `"layer"`, or `"step"` of a recurrent net."""
        return row(self._rows)

    @property
    def _rows(self) -> tuple[str, ...]:
        found = self.probe or self.measured
        return () if found is None else found.trace.names

    def told(self, signal: Signal) -> Change | None:
        """The change of a signal as the summary tells it; None where another tool's rules judged."""
        known("signal", signal, SIGNALS)
        if self.evidence is None:
            return None
        change: Change = getattr(self.evidence, signal)
        return dataclasses.replace(change, rms=change.typical if self.typical else change.shown)

    @property
    def word(self) -> str:
        """Verdict, direction and conditions: `"vanishing (both), collapsed"`."""
        return str(Verdict(self.verdict, self.direction, self.conditions))

    def to_dict(self) -> dict[str, Any]:
        """All but what was measured, as plain values."""
        limit = self.depth_limit
        plain: dict[str, Any] = {
            "spec": None if self.spec is None else self.spec.to_dict(),
            "rules": self.rules,
            "verdict": self.verdict,
            "direction": self.direction,
            "conditions": list(self.conditions),
            "confidence": self.confidence,
            "depth_limit": None if limit is None else dataclasses.asdict(limit),
            "findings": [finding.to_dict() for finding in self.findings],
            "summary": self.summary,
        }
        if self.thresholds:
            plain["thresholds"] = {rule: dict(levels) for rule, levels in self.thresholds.items()}
        if self.not_judged:
            plain["not_judged"] = dict(self.not_judged)
        if self.notes:
            plain["notes"] = list(self.notes)
        if self.names:
            plain["layers"] = list(self.names)
        return plain | ({"cells": [cell.to_dict() for cell in self.cells]} if self.cells else {})

    def __repr__(self) -> str:
        return f"Diagnosis({self.word!r}, {len(self.findings)} findings, {self.spec or self.measured!r})"

    def __str__(self) -> str:
        return text.diagnosis(self)
