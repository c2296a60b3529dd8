"""The command `bench`: measures, keeps a record, and compares it with another of its like."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vgcore.measure import files
from vgcore.shell.complete import files_of
from vgcore.shell.nets import gather, split
from vgcore.shell.options import OUTPUT
from vgcore.shell.outputs import INTERRUPTED, Force, check, print_json, say, writing

if TYPE_CHECKING:
    from vgcore.shell.records import Record
    from vgcore.shell.rivals import Shape

SHAPES = "16x32,64x32,256x32,256x256"
SLOWER = 1


def bench(
    record: Annotated[
        Path | None,
        typer.Argument(
            metavar="RECORD",
            help="A record, to be shown in place of a measurement.",
            show_default=False,
            autocompletion=files_of(".json"),
        ),
    ] = None,
    shapes: Annotated[
        list[str] | None,
        typer.Option(
            help="WIDTHxBATCH, such as 64x32,512x8; depth is 64, and 16 from width 512, or as in 64x32x10.",
            show_default=f"those of --against, else {SHAPES}",
        ),
    ] = None,
    rounds: Annotated[int | None, typer.Option(help="Turns of each rival, 1 to 1000.", show_default="5")] = None,
    threads: Annotated[
        int | None, typer.Option(help="Keep the whole run to so many cores (Linux).", show_default="all")
    ] = None,
    every: Annotated[
        bool, typer.Option("--every", help="Also stacked torch, torch.compile and JAX vmap: a minute more a shape.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--record",
            help="Write a record: every round, and all that it depends on.",
            show_default="no file",
            rich_help_panel=OUTPUT,
            autocompletion=files_of(".json"),
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            help="A record of the same machine and work: say what is slower or faster now; return 1 where vgcore is "
            "slower.",
            show_default="none",
            rich_help_panel=OUTPUT,
            autocompletion=files_of(".json"),
        ),
    ] = None,
    force: Force = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print JSON instead of tables: the record, or what --against found.", rich_help_panel=OUTPUT
        ),
    ] = False,
) -> None:
    """Measure, or read, then print."""
    from vgcore.shell import records, timings

    def show(found: Record) -> None:
        print(_text(found), end="") if as_json else timings.show(found)

    before = None if against is None else records.read(against)
    names = (str(against), "this run" if record is None else str(record))
    if record is None:
        check(out, force=force, form=_ending, option="--record")
        after = _measured(_shapes(shapes, before), rounds, threads, before, names, show, every=every)
    else:
        given = {
            "--shapes": shapes,
            "--rounds": rounds,
            "--threads": threads,
            "--every": every or None,
            "--record": out,
            "--force": force or None,
        }
        if wrong := [name for name, value in given.items() if value is not None]:
            raise ValueError(f"{record} is measured already; leave out {', '.join(wrong)}")
        after = records.read(record)
    rows, notes = ([], []) if before is None else records.compare(before, after, names)
    with writing({} if out is None else {out: partial(files.save_text, _text(after))}, force=force, only=out):
        if before is None:
            show(after)
        elif as_json:
            print_json({"before": names[0], "after": names[1], "rows": rows, "notes": notes})
        else:
            timings.show_against(before, after, rows, notes, names)
    if any(records.slower(row) and row["rival"] in records.OURS for row in rows):
        raise typer.Exit(SLOWER)


def _text(record: Record) -> str:
    """A record as a file holds it."""
    return f"{json.dumps(record, indent=1)}\n"


def _ending(out: Path) -> None:
    if out.suffix.lower() != ".json" and files.is_ordinary(out):
        raise ValueError(f"--record must name a .json file, got '{out}'")


def _shapes(given: list[str] | None, before: Record | None) -> list[Shape]:
    """What to measure: what is asked for, else what it will be compared with."""
    from vgcore.shell import bench

    known = [] if before is None else list(dict.fromkeys(tuple(row["shape"]) for row in before["rows"]))
    if given is None and known:
        return known
    asked = gather("shapes", given or [SHAPES], lambda text: [bench.shape(part) for part in split(text)])
    if len({*asked}) < len(asked):
        twice = next(shape for i, shape in enumerate(asked) if shape in asked[:i])
        raise ValueError(f"--shapes has {_named(twice)} twice; give each shape once")
    if known and not {*asked} & {*known}:
        told = ", ".join(map(_named, known))
        raise ValueError(f"the record holds none of these --shapes, but {told}")
    return asked


def _named(shape: Shape) -> str:
    return "x".join(map(str, shape))


def _measured(
    shapes: list[Shape],
    rounds: int | None,
    threads: int | None,
    before: Record | None,
    names: tuple[str, str],
    show: Callable[[Record], None],
    *,
    every: bool,
) -> Record:
    """The record of a run; an interrupt shows what was finished, and ends the command."""
    from rich.console import Console

    from vgcore.shell import bench, records, rivals

    if threads is not None:
        bench.keep_to(threads)
    facts = bench.facts()
    if before is not None:
        records.check_alike(before, bench.record(facts, []), names)
    if every and bench.installed(every=True) == bench.installed():
        say("note: neither torch nor JAX is installed, so nothing more takes part with --every")
    done: list[list[bench.Row]] = []
    planned = len(rivals.JOBS) * len(shapes)

    def found() -> Record:
        return bench.record(facts, [row for rows in done for row in rows])

    try:
        with Console(stderr=True).status(f"0 of {planned} comparisons") as status:
            for rows in bench.compare(shapes, rounds=5 if rounds is None else rounds, every=every):
                done.append(rows)
                status.update(f"{len(done)} of {planned} comparisons")
    except KeyboardInterrupt:
        if done:
            show(found())
        say(f"interrupted: {len(done)} of {planned} comparisons were finished; no record is written")
        sys.stdout.flush()
        os._exit(INTERRUPTED)  # the interpreter's own way out crashes where JAX was interrupted
    return found()
