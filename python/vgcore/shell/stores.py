"""The shell's commands for whole stores."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from vgcore.measure import files, table, upkeep
from vgcore.measure.store import Store, stores
from vgcore.measure.stored import open_sweep

app = typer.Typer(no_args_is_help=True, help="Look after the files that `vgcore sweep --store` makes.")

Stores = Annotated[list[str], typer.Argument(metavar="FILES", help="Stores, or patterns such as 'runs-*.vg'.")]
Made = Annotated[Path, typer.Argument(metavar="STORE", help="The store that takes the cells; made if not there.")]
FAULTY = 1


@app.command("check", help="Look at every number of stores, and say what they hold; 1 where something is damaged.")
def _check(paths: Stores) -> None:
    faulty = False
    for path in stores(paths):
        try:
            with Store(path) as store:
                faults, writers = upkeep.faults(store), upkeep.writers(store)
                found = upkeep.counts(store)
        except (OSError, ValueError) as error:  # The others are looked at all the same.
            print(f"{path}: {error}")
            faulty = True
            continue
        print(f"{path}: {found['done']} of {sum(found.values())} cells, {found['failed']} failed")
        for host, pid, started, ended, version, isa in writers:
            left = f"to {ended}" if ended else "and has not signed out"
            print(f"  written by {host}, process {pid}, vgcore {version} ({isa}), from {started} {left}")
        for fault in faults:
            print(f"  {fault}")
        faulty |= bool(faults)
    if faulty:
        raise typer.Exit(FAULTY)


@app.command("merge", help="Add the cells of stores to one; cells that both have must be equal to the last bit.")
def _merge(store: Made, paths: Stores) -> None:
    found = upkeep.merge(store, stores(paths))
    print(f"{store}: {found['done']} of {sum(found.values())} cells, {found['failed']} failed")


@app.command("export", help="Write the cells of stores as tidy rows to a .csv, .json or .parquet file.")
def _export(
    paths: Stores, out: Annotated[Path, typer.Option(help="The .csv, .json or .parquet file to write.")]
) -> None:
    table.writer(out)
    files.check(out)
    result = open_sweep(paths)
    result.save(out)
    print(f"wrote {out}: {len(result)} of {result.planned} cells", file=sys.stderr)


@app.command("gc", help="Forget cells that were planned or failed, and give their space back.")
def _gc(paths: Stores) -> None:
    for path in stores(paths):
        print(f"{path}: {upkeep.collect(path):,} bytes smaller")
