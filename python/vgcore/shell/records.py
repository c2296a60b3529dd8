"""Records of `vgcore bench`: read from files, and compared with their like alone.

A time says something of another one only where the machine and the work are the same. What has to be is named in
`ALIKE`; a rival is compared where its version is the same too, since it then shows whether the machine is as fast as it
was.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from vgcore.model.given import shown
from vgcore.report.noise import beyond, half_width, mean
from vgcore.shell.bench import LAYOUT, Row
from vgcore.shell.options import unreadable
from vgcore.shell.rivals import OPTIONAL, SLOW

Record = dict[str, Any]  # as `bench.record` makes it

WRITES = "`vgcore bench --record FILE.json` writes one"
#: What must be the same, by what it is called: from a record.
ALIKE: dict[str, Callable[[Record], object]] = {
    "workload": lambda record: record["workload"],
    "processor": lambda record: record["facts"]["cpu"],
    "system": lambda record: f"{record['facts']['system']} on {record['facts']['architecture']}",
    "instruction set": lambda record: record["facts"]["build"]["isa"],
    "cores": lambda record: record["facts"]["cores"],
    "threads": lambda record: record["facts"]["build"]["threads"],
    "limits of libraries": lambda record: _limits(record["facts"]["limits"]),
}
#: How to make a run like a record, where the user can.
CURES = {
    "instruction set": "VGCORE_ISA chooses it",
    "cores": "--threads chooses them",
    "threads": "VGCORE_NUM_THREADS chooses them",
    "limits of libraries": "set the same variables",
}
#: The fact that has the version of a rival. vgcore has another one in each release: that is what is compared.
VERSIONS = OPTIONAL | SLOW | {"NumPy": "numpy"}
#: Of a load, a number of cores, or microseconds, which are eleven days; the intervals of such times are finite too.
MOST = 1e12
#: Rivals that are vgcore.
OURS = ("vgcore", "one net")


def read(path: Path) -> Record:
    """The record of a file.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it holds no record, a broken one, or one of a newer vgcore.
    """
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise unreadable(str(path), error, WRITES) from None
    except (ValueError, RecursionError):  # also a text that is no UTF-8
        raise ValueError(f"{shown(str(path))} holds no JSON: it is no record of vgcore bench; {WRITES}") from None
    layout = found.get("vgcore_bench") if isinstance(found, dict) else None
    if isinstance(layout, bool) or not isinstance(layout, int):
        raise ValueError(f"{shown(str(path))} is no record of vgcore bench; {WRITES}")
    if layout > LAYOUT:
        raise ValueError(
            f"{shown(str(path))} is a record of layout {layout}, of a newer vgcore; this one reads {LAYOUT}"
        )
    try:
        _check_facts(found)
        for row in found["rows"]:
            _check_row(row)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{shown(str(path))} is a broken record of vgcore bench: {what}") from None
    return dict(found)


def _check_facts(record: Record) -> None:
    """Refuse a record without what is printed and compared of its machine and its jobs."""
    for what in ALIKE.values():
        what(record)
    facts = record["facts"]
    texts = [facts[name] for name in ("cpu", "date", "python", "numpy")] + [facts["build"]["version"]]
    texts += [text for name in ("jobs", "rivals") for text in record[name].values()]
    texts += [facts[name] for name in OPTIONAL.values() if facts[name] is not None]
    loads = [facts[name] for name in ("load", "load_after") if facts["load"] is not None]
    if not all(isinstance(text, str) for text in texts) or not all(_number(load, 0, MOST) for load in loads):
        raise TypeError("a fact is of a wrong type")
    if type(facts["cores"]) is not int or not _number(facts["cores"], 1, MOST):
        raise TypeError("it has no number of cores")
    if not isinstance(record["rows"], list) or not record["rows"]:
        raise TypeError("it has no rows")


def _check_row(row: Row) -> None:
    """Refuse a row that does not say of what it is, or has no times."""
    texts, counts = [row[name] for name in ("job", "rival", "setting")], [*row["shape"], row["nets"]]
    times = [*row["us_per_layer"], row["median"], row["min"], row["ratio"], row["ratio_min"]]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a row does not say of what it is")
    if len(counts) != 4 or not all(type(count) is int and count > 0 for count in counts):
        raise ValueError("a row has no shape")
    if not row["us_per_layer"] or not all(_number(time, 1 / MOST, MOST) for time in times):
        raise ValueError("a row has no times")


def _number(value: object, low: float, high: float) -> bool:
    """Whether it is a number of this range, which nan is not."""
    return type(value) in {int, float} and low <= cast("float", value) <= high


def _limits(variables: Mapping[str, str]) -> str:
    """Those that keep libraries to less, in words; what vgcore is kept to, its own facts say."""
    others = [f"{name}={value}" for name, value in sorted(variables.items()) if not name.startswith("VGCORE_")]
    return " ".join(others) or "none"


def check_alike(before: Record, after: Record, names: tuple[str, str]) -> None:
    """Refuse what must not be compared; `after` needs no rows.

    Raises:
        ValueError: With every fact that differs.
    """
    told = []
    for fact, of in ALIKE.items():
        one, other = of(before), of(after)
        if one != other:
            cure = f" ({CURES[fact]})" if fact in CURES else ""
            told.append(f"{fact} {one} in {names[0]} and {other} in {names[1]}{cure}")
    if told:
        raise ValueError(f"times of unlike runs say nothing of each other: {'; '.join(told)}")


def compare(before: Record, after: Record, names: tuple[str, str]) -> tuple[list[Row], list[str]]:
    """What the second run took of the time of the first one, job by job.

    Returns:
        A row for each job, shape and rival that both have: `before` and `after` (geometric means over rounds, in
        microseconds a layer of one net), `ratio` (of these; below 1, the second is faster), `low` and `high` (how far
        noise may have moved it: by the 95 % intervals of both, nan for a single round) and `beyond` (whether these
        intervals do not overlap, None where that is not known). And what a reader has to know: which rivals are left
        out.

    Raises:
        ValueError: If the runs are not alike, or have nothing in common.
    """
    check_alike(before, after, names)
    notes, apart = [], set()
    for rival in dict.fromkeys(row["rival"] for row in after["rows"] if row["rival"] in before["rivals"]):
        versions = [record["facts"][VERSIONS[rival]] for record in (before, after) if rival in VERSIONS]
        if versions and versions[0] != versions[1]:
            apart.add(rival)
            notes.append(f"{rival} is left out: {versions[0]} in {names[0]}, {versions[1]} in {names[1]}")
    known = {_key(row): row for row in before["rows"] if row["rival"] not in apart}
    rows = [_difference(known[_key(row)], row) for row in after["rows"] if _key(row) in known]
    if not rows:
        raise ValueError(f"{names[0]} and {names[1]} have no job at a shape in common")
    return rows, notes


def _key(row: Row) -> tuple[object, ...]:
    return row["job"], *row["shape"], row["rival"]


def _difference(before: Row, after: Row) -> Row:
    """The same job of two runs. Times scatter by factors, so their logarithms are compared."""
    logs = [np.log(row["us_per_layer"]) for row in (before, after)]
    (one, other), halves = map(mean, logs), [half_width(log) for log in logs]
    wide = sum(halves)
    return {
        **{name: after[name] for name in ("job", "shape", "rival")},
        "before": math.exp(one),
        "after": math.exp(other),
        "ratio": math.exp(other - one),
        "low": math.exp(other - one - wide),
        "high": math.exp(other - one + wide),
        "beyond": beyond(one, other, *halves),
    }


def busy(record: Record) -> bool:
    """Whether other work took more than half of the cores before the run began: its times say little then."""
    load = record["facts"]["load"]
    return load is not None and bool(load > record["facts"]["cores"] / 2)


def slower(row: Row) -> bool:
    """Whether the second run took longer, beyond the noise of the rounds."""
    return bool(row["beyond"]) and row["ratio"] > 1
