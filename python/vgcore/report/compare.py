"""What is better and what is worse, by how much, and what differs: `compare` -> `Comparison`."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from typing import Any

from vgcore.judge.diagnose import diagnose
from vgcore.judge.diagnosis import Diagnosis
from vgcore.judge.training.diagnosis import RunDiagnosis
from vgcore.measure.cells import Sweep
from vgcore.measure.measurement import Measurement
from vgcore.measure.result import Probe
from vgcore.measure.trace import Trace
from vgcore.model.names import known
from vgcore.model.sorts import FIELDS
from vgcore.model.spec import Spec
from vgcore.report import nets, runs
from vgcore.report.comparison import Comparison, Judged
from vgcore.show.sweep import values
from vgcore.show.words import told
from vgcore.train.many import ARGUMENTS, TrainSweep
from vgcore.train.run import Run

#: How a net is measured that is given as a spec or a `Network`.
OPTIONS = tuple(each.name for each in fields(Measurement))


def compare(a: Any, b: Any, **options: Any) -> Comparison:
    """Say what is better or worse in the second of two results, by how much, and what sets them apart.

    A healthy net is better than another; then counts the most severe finding, then, where neither is healthy, how far a
    signal moves from one end to the other. Of trainings the verdict counts, then the final loss. A difference counts
    where the 95 % intervals over the seeds do not overlap, of losses those of their logarithms, and of a signal from
    two-fold up; less is said to be none.

    Args:
        a: The first: a `Probe`, a `Diagnosis`, a spec, a `Network`, a model of another library or a watch; or a
            `Sweep`; or a `Run`, a `TrainSweep`, a list of runs, or the `RunDiagnosis` of one of these.
        b: The second, of the same kind. Cells of sweeps are paired by what was varied.
        **options: Keywords of `probe` for what is measured first: `x`, `y`, `loss`, `batch`, `seeds`, `seed`, `dtype`,
            `threads`. Both are measured on the same seeds; a spec beside a probe as that probe was.

    Raises:
        ValueError: For two kinds, for sweeps that have no cell in common, for what was judged by another tool's rules,
            and for options where both are measured already.

    >>> import vgcore as vg
    >>> net = vg.MLP(depth=30, width=64, activation="relu", init="xavier_normal")
    >>> found = vg.compare(net, net.replace(init="kaiming_normal"), seeds=4)
    >>> found.verdict, [finding.rule for finding in found.gone if finding.severity == "critical"]
    ('better', ['backward_vanishing', 'forward_vanishing'])
    >>> vg.compare(net, net, seeds=4).summary
    'same: vanishing (both); no difference beyond the noise of the seeds'
    """
    for name in options:
        known("option", name, OPTIONS)
    if options and _is_measured(a) and _is_measured(b):
        raise ValueError(f"{', '.join(options)}: a and b are measured already; give specs, or leave this out")
    before, after = _judged("a", a, b, options), _judged("b", b, a, options)
    if (one := _kind(before)) != (other := _kind(after)):
        raise ValueError(f"a and b must be of one kind: a is {one}, and b is {other}")
    if before.cells:
        varied = dict.fromkeys(name for given in (a, b) for name in _varied(given))
        return _sweeps(before, after, tuple(varied))
    return _pair(before, after)


# What is given


def _judged(name: str, given: Any, other: Any, options: dict[str, Any]) -> Judged:
    """The diagnosis of what is given; of a sweep of one cell, that of the cell."""
    judged: Judged
    if isinstance(given, Diagnosis | RunDiagnosis):
        judged = given
    elif _is_measured(given):
        judged = diagnose(given)
    else:
        try:
            judged = diagnose(given, **_like(given, other) | options)
        except TypeError as error:  # which names no argument of `compare`
            raise TypeError(f"{name}: {error}") from None
    if judged.rules != "vgcore":
        raise ValueError(f"{name} was judged by the rules of {judged.rules}, and compare takes vgcore's: give the net")
    return judged.cells[0] if len(judged.cells) == 1 else judged


def _is_measured(given: object) -> bool:
    """Whether there is nothing to run."""
    if isinstance(given, list | tuple):
        return bool(given) and all(isinstance(each, Run) for each in given)
    if isinstance(given, Probe | Sweep | Trace | Run | TrainSweep | Diagnosis | RunDiagnosis):
        return True
    return isinstance(getattr(given, "trace", None), Trace)


def _like(given: Any, other: Any) -> dict[str, Any]:
    """How to measure a net so that it can be compared: as the other was, or over as many seeds as that will be."""
    if isinstance(other, Sweep) and len(other) == 1:
        other = other[0]
    p = other.probe if isinstance(other, Diagnosis) else other
    if not isinstance(p, Probe):
        return {"seeds": Measurement.seeds} if isinstance(other, Spec) else {}
    found = {"x": p.x, "y": p.y, "loss": p.loss, "batch": p.batch, "seeds": len(p.seeds), "seed": int(p.seeds[0])}
    return found | ({"dtype": p.dtype} if isinstance(given, Spec) else {})  # a network has its own


def _kind(judged: Judged) -> str:
    one = "a training" if isinstance(judged, RunDiagnosis) else "a net"
    return f"a sweep of {one.removeprefix('a ')}s" if judged.cells else one


def _pair(before: Judged, after: Judged) -> Comparison:
    if isinstance(before, Diagnosis):
        assert isinstance(after, Diagnosis)  # noqa: S101 (they are of one kind)
        return nets.compared(before, after)
    assert isinstance(after, RunDiagnosis)  # noqa: S101 (likewise)
    return runs.compared(before, after)


# Sweeps


def _varied(given: Any) -> tuple[str, ...]:
    """What sets the cells of a sweep apart."""
    if isinstance(given, Sweep | TrainSweep):
        return given.varied
    cells = list(given) if isinstance(given, list | tuple) else [_cell(judged) for judged in given.cells]
    names = (*FIELDS, *(ARGUMENTS if isinstance(cells[0], Run) else ()))
    return tuple(name for name in names if len({values(cell, [name])[0] for cell in cells}) > 1)


def _cell(judged: Judged) -> Probe | Run:
    """What was judged of a cell of a sweep."""
    found = judged.probe if isinstance(judged, Diagnosis) else judged.run
    assert found is not None  # noqa: S101 (rules of other tools judge no sweep)
    return found


def _sweeps(before: Judged, after: Judged, varied: tuple[str, ...]) -> Comparison:
    """The cells that both have, each beside its like, and which of them became worse."""
    one, other = _named(before, varied), _named(after, varied)
    shared = [name for name in one if name in other]
    if not shared:
        few = [next(iter(cells)) for cells in (one, other)]
        raise ValueError(
            f"a and b have no cell in common: a has {len(one)}, such as {few[0]}, and b {len(other)}, such as {few[1]}"
        )
    cells = tuple(_pair(one[name], other[name]) for name in shared)
    counts = Counter(cell.verdict for cell in cells)
    verdict = next((word for word in ("worse", "better") if counts[word]), "same")
    differ = [dict(cell.fields) for cell in cells]
    only = tuple(tuple(name for name in mine if name not in theirs) for mine, theirs in ((one, other), (other, one)))
    return Comparison(
        before,
        after,
        verdict,
        _summary(verdict, cells, shared),
        {name: pair for name, pair in differ[0].items() if all(each.get(name) == pair for each in differ)},
        cells=cells,
        names=tuple(shared),
        only=(only[0], only[1]),
        notes=tuple(dict.fromkeys(note for cell in cells for note in cell.notes)),
    )


def _named(judged: Judged, varied: tuple[str, ...]) -> dict[str, Judged]:
    """The cells by what was varied; those that are alike get numbers, in their order."""
    found: dict[str, Judged] = {}
    for each in judged.cells:
        cell = _cell(each)
        name = plain = ", ".join(map(told, varied, values(cell, varied))) or "cell"
        number = 1
        while name in found:
            number += 1
            name = f"{plain} ({number})"
        found[name] = each
    return found


def _summary(verdict: str, cells: tuple[Comparison, ...], names: list[str]) -> str:
    counts = Counter(cell.verdict for cell in cells)
    listed = ", ".join(f"{counts[word]} {word}" for word in ("worse", "better", "same") if counts[word])
    parts = [f"of {len(cells)} cells {listed}"]
    if verdict != "same":
        first = next(i for i, cell in enumerate(cells) if cell.verdict == verdict)
        parts.append(f"such as {names[first]}: {cells[first].summary.removeprefix(f'{verdict}: ')}")
    return f"{verdict}: {'; '.join(parts)}"
