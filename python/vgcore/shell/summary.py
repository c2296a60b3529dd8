"""A line a cell, for `grep` and `awk`: the verdict, what was varied or chosen as `name=value`, and the numbers.

What has no number is `nan`; a value with spaces or brackets stands in quotes, as a shell reads it.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from vgcore.measure.result import SIGNALS
from vgcore.shell.tables import common
from vgcore.show.words import said
from vgcore.train.run import LOSS_COLUMNS

if TYPE_CHECKING:
    from vgcore.cure.advice import Advised
    from vgcore.judge.depth_limit import DepthLimit
    from vgcore.judge.diagnosis import Diagnosis
    from vgcore.judge.training.diagnosis import RunDiagnosis
    from vgcore.measure.result import Probe
    from vgcore.model.spec import Spec
    from vgcore.theory import Memory, Prediction
    from vgcore.train.run import Run


def _pairs(**values: Any) -> Iterator[str]:
    for name, value in values.items():
        yield f"{name}={shlex.quote(f'{value:.4g}' if isinstance(value, float) else said(value))}"


def _net(spec: Spec, varied: Iterable[str] = ()) -> Iterator[str]:
    """The fields of a net: the usual ones, those that are not as they are by default, and those that are varied."""
    told = common(spec, ()) | {name: getattr(spec, name) for name in varied}
    return _pairs(**{name: said(value) for name, value in told.items()})


def _conditions(verdict: str, words: Iterable[str]) -> Iterator[str]:
    """What holds beside the verdict."""
    others = ",".join(word for word in words if word != verdict)
    return _pairs(**({"conditions": others} if others else {}))


def _line(verdict: str, *parts: Iterable[str]) -> str:
    return " ".join((verdict.replace(", ", ","), *(text for part in parts for text in part)))


def cell(spec: Spec, varied: Iterable[str], row: Mapping[str, Any]) -> str:
    """A measured cell, by its row of `judged_row`."""
    numbers = {signal: float(row[signal].value) for signal in SIGNALS}
    return _line(
        row["verdict"],
        _net(spec, varied),
        _conditions(row["verdict"], row["conditions"]),
        _pairs(**numbers, first_gradient=row["first_gradient"]),
    )


def diagnosis(judged: Diagnosis, varied: Iterable[str]) -> Iterator[str]:
    """A judged net or each of several: its verdict and the rules that spoke, by severity."""
    for one in judged.cells or (judged,):
        found: dict[str, list[str]] = {}
        for finding in one.findings:
            found.setdefault(finding.severity, []).append(finding.rule)
        net = () if one.spec is None else _net(one.spec, varied)
        yield _line(
            one.verdict,
            net,
            _conditions(one.verdict, one.conditions),
            _pairs(**{name: ",".join(rules) for name, rules in found.items()}),
        )


def advice(advised: Advised) -> Iterator[str]:
    """The net as it was, then what is advised, the best first."""
    yield _line(advised.before.verdict, _pairs(change=None, tried=advised.tried))
    for each in advised:
        loss = {} if each.loss_after is None else {"loss": float(each.loss_after)}
        numbers = {"cures": each.cures, "nearness": float(each.nearness)} | loss
        yield _line(each.after.verdict, _pairs(change=each.change, **numbers))


def training(run: Run, judged: RunDiagnosis) -> Iterator[str]:
    """A line a seed; the verdict is that of all."""
    for index, seed in enumerate(run.seeds.tolist()):
        losses = {name: float(getattr(run, name)[index]) for name in LOSS_COLUMNS}
        steps = {"steps": int(run.steps_done[index]), "stopped_by": run.stopped_by[index]}
        yield _line(judged.verdict, _net(run.spec), _pairs(seed=seed, **losses, **steps))


def theory(
    predicted: Prediction, measured: Probe, theirs: Memory | None = None, ours: DepthLimit | None = None
) -> Iterator[str]:
    """A line a signal, after one of the phase; of a recurrent net the steps that it remembers too."""
    scales = predicted.scales
    if scales is not None:
        numbers = {name: float(getattr(scales, name)) for name in ("q_star", "c_star", "chi_1", "xi_c", "xi_q")}
        yield _line("phase", _net(predicted.spec), _pairs(phase=scales.phase, **numbers))
    for signal in SIGNALS:
        sides = {"theory": float(predicted.factor(signal)), "measured": float(measured.factor(signal).value)}
        yield _line(signal, _pairs(**sides))
    if theirs is not None or ours is not None:
        limits = {"theory": theirs and float(theirs.memory_limit), "measured": ours and float(ours.value)}
        yield _line("memory", _pairs(**limits))
