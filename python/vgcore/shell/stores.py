"""The shell's commands for whole stores."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from vgcore.shell import outputs
from vgcore.shell.complete import files_of
from vgcore.shell.outputs import Force
from vgcore.shell.streams import fitted

app: typer.Typer = typer.Typer(no_args_is_help=True, help="Look after the files that `vgcore sweep --store` makes.")

STORES = files_of(".vg")
Stores = Annotated[
    list[str], typer.Argument(metavar="FILES", help="Stores, or patterns such as 'runs-*.vg'.", autocompletion=STORES)
]
Made = Annotated[
    Path,
    typer.Argument(metavar="STORE", help="The store that takes the cells; made if not there.", autocompletion=STORES),
]
FAULTY = 1


def _print(text: str) -> None:
    print(fitted(text, sys.stdout))


@app.command("check", help="Look at every number of stores, and say what they hold; 1 where something is damaged.")
def _check(paths: Stores) -> None:
    from vgcore.measure import upkeep
    from vgcore.measure.store import CHECK, Store, stores

    faulty = False
    for path in stores(paths):
        try:
            with Store(path) as store:
                faults, writers = upkeep.faults(store), upkeep.writers(store)
                found = upkeep.counts(store)
        except (OSError, ValueError) as error:  # The others are looked at all the same.
            _print(f"{path}: {str(error).removesuffix(CHECK)}")
            faulty = True
            continue
        damaged = f"damaged, {len(faults)} fault{'s' * (len(faults) != 1)} below; " if faults else ""
        _print(f"{path}: {damaged}{found['done']} of {sum(found.values())} cells, {found['failed']} failed")
        for host, pid, started, ended, version, isa in writers:
            left = f"to {ended}" if ended else "and has not signed out"
            _print(f"  written by {host}, process {pid}, vgcore {version} ({isa}), from {started} {left}")
        for fault in faults:
            _print(f"  {fault}")
        faulty |= bool(faults)
    if faulty:
        raise typer.Exit(FAULTY)


@app.command("merge", help="Add the cells of stores to one; cells that both have must be equal to the last bit.")
def _merge(store: Made, paths: Stores) -> None:
    from vgcore.measure import upkeep
    from vgcore.measure.store import stores

    found = upkeep.merge(store, stores(paths))
    _print(f"{store}: {found['done']} of {sum(found.values())} cells, {found['failed']} failed")


@app.command("export", help="Write the cells of stores as tidy rows to a .csv, .json or .parquet file.")
def _export(
    paths: Stores,
    out: Annotated[
        Path,
        typer.Option(
            help="The .csv, .json or .parquet file to write.", autocompletion=files_of(".csv", ".json", ".parquet")
        ),
    ],
    force: Force = False,
) -> None:
    from vgcore.measure.stored import open_sweep

    outputs.check(out, force=force)
    result = open_sweep(paths)
    result.save(out)
    outputs.say(f"wrote {out}: {len(result)} of {result.planned} cells")


@app.command("gc", help="Forget cells that were planned or failed, and give their space back.")
def _gc(paths: Stores) -> None:
    from vgcore.measure import upkeep
    from vgcore.measure.store import stores

    for path in stores(paths):
        _print(f"{path}: {upkeep.collect(path):,} bytes smaller")
