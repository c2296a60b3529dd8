"""What `vgcore bench` prints: the times of a run, and what is slower or faster than in another one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

from rich.console import Console

from vgcore.shell import rivals
from vgcore.shell.bench import Row
from vgcore.shell.records import Record, busy, slower
from vgcore.shell.tables import counted, say, terminal
from vgcore.show.columns import Column, Columns
from vgcore.show.comparison import NONE
from vgcore.show.text import WIDTH

UNKNOWN = "-"  # a difference
TIMES = (
    "Microseconds a layer of one net, median and minimum over rounds; ratio: to vgcore's, above 1, vgcore is faster. "
    "spread: slowest round over fastest; far above 1, the machine was busy otherwise."
)
AGAINST = (
    "Microseconds a layer of one net, geometric means over rounds. now over then: below 1, it is faster now; in "
    "brackets how far the noise of the rounds may have moved it. difference: none where noise explains it, - where one "
    "round says nothing of noise. Where a rival of the same version is slower too, the machine is."
)


def show(record: Record) -> None:
    """Print a record, a table a job."""
    console, facts, build = terminal(), record["facts"], record["facts"]["build"]
    say(console, f"{counted(facts['cores'], 'core')} of {facts['cpu']}, {build['isa']}{_load(record)}")
    others = [f"{name} {facts[module] or 'is not installed'}" for name, module in rivals.OPTIONAL.items()]
    say(console, f"vgcore {build['version']}, NumPy {facts['numpy']}, {', '.join(others)}")
    _warn(console, record, "note")
    for rows in _by_job(console, record, record["rows"]):
        columns = [
            *_of_what(rows),
            Column("setting", [row["setting"] for row in rows], left=True, rank=1),
        ]
        for time, ratio, rank in (("median", "ratio", 0), ("min", "ratio_min", 2)):
            columns.append(Column(time, [f"{row[time]:.1f}" for row in rows], rank=rank))
            columns.append(Column(f"ratio of\n{time}s", [f"{row[ratio]:.2f}x" for row in rows], rank=rank))
        spreads = [f"{max(row['us_per_layer']) / row['min']:.1f}" for row in rows]
        columns.append(Column("spread", spreads, rank=3))
        console.print(Columns(columns, sections=_ends(rows)))
    say(console, TIMES, most=WIDTH)
    for name, does in record["rivals"].items():
        say(console, f"\n{name}: {' '.join(does.split())}", most=WIDTH)


def show_against(before: Record, after: Record, rows: list[Row], notes: list[str], names: tuple[str, str]) -> None:
    """Print what `records.compare` found, a table a job."""
    console = terminal()
    for word, record, name in (("then", before, names[0]), ("now", after, names[1])):
        facts = record["facts"]
        told = f"vgcore {facts['build']['version']}, Python {facts['python']}, {facts['date']}{_load(record)}"
        say(console, f"{word}: {name}, {told}")
        _warn(console, record, word)
    for note in notes:
        say(console, note)
    for of_job in _by_job(console, after, rows):
        columns = [
            *_of_what(of_job),
            Column("then", [f"{row['before']:.1f}" for row in of_job]),
            Column("now", [f"{row['after']:.1f}" for row in of_job]),
            Column(
                "now over then",
                [_ratio(row, spread=True) for row in of_job],
                brief=[_ratio(row, spread=False) for row in of_job],
                details="noise of the rounds",
            ),
            Column("difference", [_difference(row) for row in of_job], left=True),
        ]
        console.print(Columns(columns, sections=_ends(of_job)))
    say(console, AGAINST, most=WIDTH)
    console.print()
    for rival in dict.fromkeys(row["rival"] for row in rows):
        found = [_difference(row) for row in rows if row["rival"] == rival]
        words = {"slower": "slower", "faster": "faster", UNKNOWN: "not known"}
        counts = [f"{found.count(word)} {told}" for word, told in words.items() if word in found]
        say(console, f"{rival}: {len(found)} compared, {', '.join(counts) or 'no difference'}")


def _warn(console: Console, record: Record, name: str) -> None:
    if busy(record):
        say(console, f"{name}: the machine was busy with something else, and times say little; measure when it is idle")


def _by_job(console: Console, record: Record, rows: list[Row]) -> Iterator[list[Row]]:
    """The rows of each job, below a line that says what it is."""
    for job, text in record["jobs"].items():
        if found := [row for row in rows if row["job"] == job]:
            say(console, f"\n{job}: {text}")
            yield found


def _shape(row: Row) -> str:
    return "x".join(map(str, row["shape"]))


def _of_what(rows: list[Row]) -> list[Column]:
    """The columns that say what a time is of."""
    return [
        Column("shape", [_shape(row) for row in rows], left=True),
        Column("rival", [row["rival"] for row in rows], left=True),
    ]


def _ends(rows: list[Row]) -> frozenset[int]:
    """The last row of each shape, where some shape has several."""
    shapes = [_shape(row) for row in rows]
    if len({*shapes}) == len(shapes):
        return frozenset()
    return frozenset(i for i, pair in enumerate(itertools.pairwise(shapes)) if pair[0] != pair[1])


def _load(record: Record) -> str:
    """How busy the machine was."""
    facts = record["facts"]
    return "" if facts["load"] is None else f", load {facts['load']:.1f} before and {facts['load_after']:.1f} after"


def _ratio(row: Row, *, spread: bool) -> str:
    interval = f" ({row['low']:.2f}-{row['high']:.2f})" if spread and not math.isnan(row["low"]) else ""
    return f"{row['ratio']:.2f}{interval}"


def _difference(row: Row) -> str:
    if row["beyond"] is None:
        return UNKNOWN
    return ("slower" if slower(row) else "faster") if row["beyond"] else NONE
