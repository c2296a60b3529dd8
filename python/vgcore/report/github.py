"""What was judged as annotations of a workflow of GitHub Actions: lines that it shows beside the log and the files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from vgcore.show.text import labels, where

if TYPE_CHECKING:
    from vgcore.judge.diagnosis import Diagnosis
    from vgcore.report.comparison import Comparison

#: What an annotation is, by the severity of what it tells.
LEVELS = {"critical": "error", "warning": "warning", "info": "notice"}
#: What would end a line, or begin an escape.
ESCAPES = {"%": "%25", "\r": "%0D", "\n": "%0A"}
#: What would end a property, too.
IN_PROPERTIES = ESCAPES | {":": "%3A", ",": "%2C"}


def annotation(severity: str, title: str, sentence: str, file: str | os.PathLike[str] | None = None) -> str:
    r"""A line that a workflow takes for an annotation, whatever stands in its texts.

    Args:
        severity: Of what it tells.
        title: What stands over it.
        sentence: What it says.
        file: The file that it is about.

    >>> annotation("critical", "vgcore: dead_units", "100 % of\nlayer 3", "a,b.onnx")
    '::error file=a%2Cb.onnx,title=vgcore%3A dead_units::100 %25 of%0Alayer 3'
    """
    properties = {} if file is None else {"file": os.fspath(file).replace(os.sep, "/")}
    given = [f"{name}={_escaped(text, IN_PROPERTIES)}" for name, text in (properties | {"title": title}).items()]
    return f"::{LEVELS[severity]} {','.join(given)}::{_escaped(sentence, ESCAPES)}"


def _escaped(text: str, escapes: Mapping[str, str]) -> str:
    return text.translate({ord(sign): escape for sign, escape in escapes.items()})


def diagnosis(d: Diagnosis, file: str | os.PathLike[str] | None = None) -> Iterator[str]:
    """The verdict, then what was found with what helps; of a sweep a line for each cell that has a finding."""
    yield annotation(d.severity or "info", f"vgcore: {d.word}", d.summary, file)
    for cell, name in zip(d.cells, labels(d.cells), strict=True):
        if cell.severity is not None:
            yield annotation(cell.severity, f"vgcore: {name}", cell.summary, file)
    for finding in () if d.cells else d.findings:
        told = f"{finding.evidence}{where(d, finding)}\nremedy: {finding.remedy}"
        yield annotation(finding.severity, f"vgcore: {finding.rule}", told, file)


def comparison(c: Comparison, file: str | os.PathLike[str] | None = None) -> Iterator[str]:
    """What is better or worse; of sweeps also each cell that is worse."""
    told = "\n".join([c.summary, *(f"{name}: {before} -> {after}" for name, (before, after) in c.fields.items())])
    yield annotation(_severity(c), f"vgcore compare: {c.verdict}", told, file)
    for name, cell in zip(c.names, c.cells, strict=True):
        if cell.verdict == "worse":
            yield annotation(_severity(cell), f"vgcore compare: {name}", cell.summary, file)


def _severity(c: Comparison) -> str:
    return "critical" if c.verdict == "worse" else "info"
