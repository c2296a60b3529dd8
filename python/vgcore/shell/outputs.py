"""What a command writes: a file of numbers and pictures, none over another unless that is asked for.

A file of the user's naming is refused before anything is measured where there is one already. Pictures have names of
vgcore's, and many commands share a folder: where one is there, theirs get a number, `layers-2.png`.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from vgcore.measure import files
from vgcore.model.names import known
from vgcore.shell.complete import choices, files_of
from vgcore.shell.options import OUTPUT
from vgcore.shell.streams import fitted

USAGE, INTERRUPTED = 2, 130
REFUSALS = (ImportError, MemoryError, OSError, TypeError, ValueError)  # said in one line
Outputs = dict[Path, Callable[[Path], None]]  # what writes each file, in order

Out = Annotated[
    Path | None,
    typer.Option(
        help="Write tidy rows to a .csv, .json or .parquet file.",
        rich_help_panel=OUTPUT,
        autocompletion=files_of(".csv", ".json", ".parquet"),
    ),
]
Pictures = Annotated[
    Path | None,
    typer.Option(
        "--plot",
        help="Draw pictures (.png) into this folder; a number is added to names that are taken.",
        rich_help_panel=OUTPUT,
        autocompletion=files_of(),
    ),
]
#: What is printed beside text.
FORMATS = ("text", "json", "github")
Format = Annotated[
    str,
    typer.Option(
        "--format",
        help="text, json, or github: annotations of a workflow of GitHub Actions.",
        rich_help_panel=OUTPUT,
        autocompletion=choices(*FORMATS),
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.", rich_help_panel=OUTPUT)]
Force = Annotated[bool, typer.Option("--force", help="Write over files that are there.", rich_help_panel=OUTPUT)]


def say(text: str, *, end: str = "\n") -> None:
    """Tell the user, beside what is printed."""
    print(fitted(text, sys.stderr), file=sys.stderr, end=end, flush=True)


def chosen(form: str = "text", *, summary: bool = False, as_json: bool = False) -> str:
    """What is printed: text, a summary, JSON or annotations."""
    asked = {"--summary": summary, "--json": as_json, f"--format {known('format', form, FORMATS)}": form != "text"}
    given = [name for name, wanted in asked.items() if wanted]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} are forms of one thing; give one of them")
    return "summary" if summary else "json" if as_json else form


def print_json(value: Any) -> None:
    """Print a result as JSON, which has no nan: null instead."""
    print(json.dumps(plain(value), indent=2))


def plain(value: Any) -> Any:
    """A result without what JSON has not: null instead.

    >>> plain({"a": (1.5, float("nan"))})
    {'a': [1.5, None]}
    """
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def check(
    out: Path | None,
    folder: Path | None = None,
    *,
    force: bool,
    form: Callable[[Path], object] | None = None,
    option: str = "--out",
) -> None:
    """Refuse before any work what could not be written after it; `form` refuses an ending, if it is no table's."""
    if folder is not None:
        from vgcore.plot.measured import available

        available()
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"--plot must be a folder, got the file '{folder}'")
        files.check_folder(folder)
    if out is not None:
        from vgcore.measure import table

        (form or table.writer)(out)
        files.check(out)
        if not force and files.would_replace(out):
            raise FileExistsError(
                f"'{out}' is there already; write over it with --force, or give {option} another name"
            )


def drawn(pictures: Mapping[str, Callable[[], Any]], folder: Path, *, force: bool) -> Outputs:
    """Pictures by name, as files in a folder; those of one command get one number."""

    def draw(make: Callable[[], Any], path: Path) -> None:
        files.save_picture(make().figure, path, dpi=120, bbox_inches="tight")

    number = 1
    while not force and any(files.would_replace(folder / _numbered(f"{name}.png", number)) for name in pictures):
        number += 1
    return {folder / _numbered(f"{name}.png", number): partial(draw, make) for name, make in pictures.items()}


def _numbered(name: str, number: int) -> str:
    """A name with its number, from 2 on."""
    path = Path(name)
    return name if number == 1 else f"{path.stem}-{number}{path.suffix}"


def _write(output: Callable[[Path], None], wanted: Path, *, force: bool) -> Path:
    """Write a file, beside one that came while its numbers were measured or written; gives the name that it got."""
    if force or not files.is_ordinary(wanted):
        output(wanted)
        return wanted
    # With the ending of the file, which says what it is.
    target = Path(os.path.realpath(wanted))
    temporary = target.with_name(f".vgcore-{os.getpid()}-{secrets.token_hex(8)}{wanted.suffix}")
    try:
        with files.naming(wanted):
            output(temporary)
            for number in itertools.count(1):
                free = wanted.with_name(_numbered(wanted.name, number))
                with suppress(FileExistsError):
                    files.place(temporary, free)
                    break
        return free
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def writing(outputs: Outputs, *, force: bool, only: Path | None = None) -> Iterator[None]:
    """Write one file after the other, let the block print, then say what became of them, and leave where any failed.

    A file that fails stops no other, an interrupt does; neither stops what is printed. The first interrupt does not
    stop `only`, the file of numbers that are nowhere else.
    """
    written: list[Path] = []
    errors: list[Exception] = []
    interrupted: Path | None = None
    for wanted, output in outputs.items():
        path = wanted
        try:
            with files.naming(path):
                path.parent.mkdir(parents=True, exist_ok=True)
            try:
                path = _write(output, wanted, force=force)
            except KeyboardInterrupt:
                interrupted = wanted
                if wanted != only:
                    break
                say(f"interrupted: '{wanted}' is written first; Ctrl-C again, and its cells are lost")
                interrupted = path = _write(output, wanted, force=force)
        except REFUSALS as error:
            errors.append(error)
        except KeyboardInterrupt:
            break
        else:
            written.append(path)
        if interrupted is not None:
            break
    try:
        yield
    finally:  # Also where no one reads what is printed any more.
        for path in written:
            say(f"wrote {path}")
        for failed in errors:
            say(f"error: {failed}")
        if interrupted is not None:
            if interrupted not in written:
                say(f"interrupted: '{interrupted}' was not written")
            raise typer.Exit(INTERRUPTED)
        if errors:
            raise typer.Exit(USAGE)
