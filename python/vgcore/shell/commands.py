"""The shell: arguments in, calls, words out.

Exit codes: 0 all runs stayed finite, or nothing that counts was found; 1 some run did not, or something was; 2 wrong
usage or input, or a file that could not be written; 130 interrupted.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from vgcore import plot
from vgcore._core import COLUMNS, __version__
from vgcore.cure.search import advise
from vgcore.judge.diagnose import diagnose
from vgcore.judge.diagnosis import Diagnosis
from vgcore.judge.finding import SEVERITIES
from vgcore.judge.foreign import PRESETS
from vgcore.measure import files, table
from vgcore.measure.cells import Sweep
from vgcore.measure.probe import probe
from vgcore.measure.result import SIGNALS, Factor, Probe
from vgcore.measure.sweep import sweep
from vgcore.model.mlp import MLP
from vgcore.model.names import known
from vgcore.shell import bench, rivals, stores, tables
from vgcore.shell.options import Request, gather, split, with_net
from vgcore.show import text as words
from vgcore.theory import predict

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

app.add_typer(stores.app, name="store")

DIVERGED = FOUND = 1
USAGE, INTERRUPTED = 2, 130
REFUSALS = (ImportError, MemoryError, OSError, TypeError, ValueError)  # said in one line
SHAPES = "16x32,64x32,256x32,256x256"  # of bench
Outputs = dict[Path, Callable[[], None]]  # what writes each file, in order


Out = Annotated[Path | None, typer.Option(help="Write tidy rows to a .csv, .json or .parquet file.")]
Pictures = Annotated[Path | None, typer.Option("--plot", help="Draw pictures (.png) into this folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@app.command("probe", help="Measure one net, layer by layer.")
@with_net
def _probe(request: Request, out: Out = None, pictures: Pictures = None, as_json: AsJson = False) -> None:
    request.one("probe")
    _measure(request, out, pictures, as_json=as_json, layers=True)


@app.command("sweep", help="Measure every combination of the values given.")
@with_net
def _sweep(
    request: Request,
    out: Out = None,
    pictures: Pictures = None,
    as_json: AsJson = False,
    store: Annotated[
        Path | None, typer.Option(help="Keep each cell in this file; the same command again goes on where it stopped.")
    ] = None,
    shard: Annotated[str | None, typer.Option(help="0/16 to 15/16: only this part of the cells.")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try again what has failed.")] = False,
) -> None:
    kept = {"store": store, "shard": shard, "retry_failed": retry_failed}
    _measure(request, out, pictures, as_json=as_json, layers=False, **kept)


def _measure(
    request: Request, out: Path | None, pictures: Path | None, *, as_json: bool, layers: bool, **kept: Any
) -> None:
    """Measure cells, write and print what is asked for, and leave with the code that says how it went."""
    _check_outputs(out, pictures)
    if out is not None and (store := kept.get("store")) is not None and out.absolute() == store.absolute():
        raise ValueError(f"--store and --out must be two files, got '{out}' for both")
    started, ended = time.perf_counter(), None
    try:
        result = sweep(request.base, progress=True, **kept, **request.measurement, **request.grid)
    except (KeyboardInterrupt, MemoryError, OSError) as error:
        if not hasattr(error, "sweep"):
            raise
        result, ended = error.sweep, error
    seconds = time.perf_counter() - started

    with _writing(_outputs(result, out, pictures), only=None if kept.get("store") else out):
        if as_json:
            _print_json([_cell(cell, row, columns=layers) for cell, row in zip(result, result.table(), strict=True)])
        elif result.cells:
            tables.show(result, request.base, source=request.source, seconds=seconds, layers=layers)
        for message, specs in _by_message(result.failed).items():
            _say(f"{len(specs)} of {result.planned} cells failed, such as {specs[0]!r}: {message}")
        if ended is not None:
            interrupted = isinstance(ended, KeyboardInterrupt)
            safe = f", and are safe in '{kept['store']}'" if interrupted and kept.get("store") else ""
            word = "interrupted" if interrupted else "stopped"
            _say(f"{word}: {len(result)} of {result.planned} cells were finished{safe}")
    if isinstance(ended, KeyboardInterrupt):
        raise typer.Exit(INTERRUPTED)
    if ended is not None:
        raise ended
    if result.failed or any((cell.first_nonfinite >= 0).any() for cell in result):
        raise typer.Exit(DIVERGED)


def _by_message(failed: Mapping[MLP, str]) -> dict[str, list[MLP]]:
    """The specs of cells that failed, by what went wrong."""
    found: dict[str, list[MLP]] = {}
    for spec, message in failed.items():
        found.setdefault(message, []).append(spec)
    return found


FailOn = Annotated[
    str, typer.Option(help="The least severity that returns 1: info, warning or critical; never for none.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@app.command("diagnose", help="Judge a net, or every combination of the values given: what is wrong, where, and why.")
@with_net
def _diagnose(
    request: Request,
    rules: Annotated[
        str, typer.Option(help=f"vgcore, or those of another tool, for comparison: {', '.join(PRESETS)}.")
    ] = "vgcore",
    threshold: Annotated[
        list[str] | None, typer.Option(help="Of a rule, in place of its warning's: RULE=VALUE, as often as needed.")
    ] = None,
    fail_on: FailOn = "warning",
    explain: Annotated[bool, typer.Option("--explain", help="Say how each finding comes about.")] = False,
    as_json: Json = False,
) -> None:
    known("severity", fail_on, (*SEVERITIES, "never"))
    options: dict[str, Any] = {"thresholds": _thresholds(threshold), "explain": explain}
    if rules == "vgcore":
        judged = diagnose(sweep(request.base, progress=True, **request.measurement, **request.grid), **options)
        judged = judged if request.grid else judged.cells[0]
    else:
        judged = diagnose(request.one(f"diagnose --rules {rules}"), rules=rules, **options, **request.measurement)
    if as_json:
        _print_json(judged.to_dict())
    else:
        _print_lines(words.lines(judged, width=tables.terminal().width))
    _fail(judged, fail_on)


@app.command("advise", help="Find changes that cure a net, by running each of them.")
@with_net
def _advise(
    request: Request,
    budget: Annotated[int, typer.Option(help="Most nets to run.")] = 150,
    keep: Annotated[
        list[str] | None, typer.Option(help="What must stay: options such as activation,norm, or x, y, readout.")
    ] = None,
    fail_on: FailOn = "warning",
    as_json: Json = False,
) -> None:
    known("severity", fail_on, (*SEVERITIES, "never"))
    kept = [name.replace("-", "_") for name in gather("keep", keep, split)]
    advised = advise(request.one("advise"), budget=budget, keep=kept, **request.measurement)
    if as_json:
        _print_json(advised.to_dict())
    else:
        console = tables.terminal()
        _print_lines((kind, words.filled(line, console.width)) for kind, line in words.advice_summary(advised))
        if advised:
            console.print(tables.advice(advised, wide=console.width >= tables.ROOMY))
    _fail(advised.before, fail_on)


@app.command("theory", help="What theory says of a wide net of the kind, beside what is measured of this one.")
@with_net
def _theory(
    request: Request,
    pictures: Annotated[Path | None, typer.Option("--plot", help="Draw pictures (.png) into this folder.")] = None,
    as_json: Json = False,
) -> None:
    spec = request.one("theory")
    if request.source is not None:
        raise ValueError("theory is of standard normal samples and a random cotangent; leave out --data")
    if request.measurement["loss"] is not None:
        raise ValueError("theory is of a random cotangent; leave out --loss")
    _check_outputs(None, pictures)
    measured = probe(spec, **request.measurement)
    predicted = predict(spec, batch=measured.batch)
    draw: dict[str, Callable[[], Any]] = {"layers": lambda: plot.layers(measured, theory=predicted)}
    if predicted.scales is not None:
        draw["phase_diagram"] = lambda: plot.phase_diagram(spec.activation)  # type: ignore[arg-type]
    with _writing(_drawn(draw, pictures) if pictures is not None else {}):
        if as_json:
            factors: dict[str, Any] = {signal: vars(measured.factor(signal)) for signal in SIGNALS}
            means = {name: getattr(measured, name).mean(axis=0).tolist() for name in COLUMNS}
            _print_json({"theory": predicted.to_dict(), "measured": {"factors": factors} | means})
        else:
            console = tables.terminal()
            console.print(", ".join(tables.fixed(spec, ())))
            _print_lines(("text", words.filled(line, console.width)) for line in str(predicted).splitlines())
            console.print(tables.beside(predicted, measured))
            console.print(tables.THEORY)
    if (measured.first_nonfinite >= 0).any():
        raise typer.Exit(DIVERGED)


def _thresholds(texts: list[str] | None) -> dict[str, float] | None:
    pairs = [text.partition("=") for text in texts or []]
    try:
        return {name.strip(): float(value) for name, _, value in pairs} or None
    except ValueError:
        raise ValueError(f"--threshold takes RULE=VALUE, as in saturation=0.3, got {' '.join(texts or [])!r}") from None


def _fail(judged: Diagnosis, fail_on: str) -> None:
    """Return 1 where something as severe was found."""
    if fail_on != "never" and judged.reaches(fail_on):
        raise typer.Exit(FOUND)


def _print_lines(lines: Iterable[tuple[str, str]]) -> None:
    console = tables.terminal()
    for kind, line in lines:
        console.print(line, style=tables.STYLES.get(kind), markup=False, soft_wrap=True)


def _print_json(value: Any) -> None:
    print(json.dumps(_plain(value), indent=2))


@app.command("bench", help="Compare with torch, JAX and NumPy, as installed, on this machine: about a minute.")
def _bench(
    shapes: Annotated[
        list[str] | None,
        typer.Option(help="WIDTHxBATCH, such as 64x32,512x8; depth is 64, and 16 from width 512, or as in 64x32x10."),
    ] = None,
    rounds: Annotated[int, typer.Option(help="Turns of each rival.")] = 5,
    threads: Annotated[int | None, typer.Option(help="Keep the whole run to so many cores (Linux).")] = None,
    every: Annotated[
        bool, typer.Option("--every", help="Also stacked torch, torch.compile and JAX vmap: a minute more a shape.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a record in JSON instead of tables.")] = False,
) -> None:
    several = gather("shapes", shapes or [SHAPES], lambda text: [bench.shape(part) for part in split(text)])
    if threads is not None:
        bench.keep_to(threads)
    machine, interrupted = bench.facts(), False
    done: list[list[bench.Row]] = []
    planned = len(rivals.JOBS) * len(several)
    try:
        with Console(stderr=True).status(f"0 of {planned} comparisons") as status:
            for rows in bench.compare(several, rounds=rounds, every=every):
                done.append(rows)
                status.update(f"{len(done)} of {planned} comparisons")
    except KeyboardInterrupt:
        interrupted = True
    record = bench.record(machine, [row for rows in done for row in rows])
    if as_json:
        print(json.dumps(record, indent=1))
    elif done:
        tables.show_comparisons(done, record)
    if interrupted:
        _say(f"interrupted: {len(done)} of {planned} comparisons were finished")
        sys.stdout.flush()
        os._exit(INTERRUPTED)  # the interpreter's own way out crashes where JAX was interrupted


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _check_outputs(out: Path | None, folder: Path | None) -> None:
    """Refuse before any work what could not be written after it."""
    if folder is not None:
        plot.available()
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"--plot must be a folder, got the file '{folder}'")
        files.check_folder(folder)
    if out is not None:
        table.writer(out)
        files.check(out)


def _outputs(result: Sweep, out: Path | None, folder: Path | None) -> Outputs:
    """The file and the pictures asked for, of whatever was finished."""
    outputs: Outputs = {}
    if not result.cells:
        return outputs
    if out is not None:
        outputs[out] = partial(result.save, out)
    if folder is not None:
        deepest = max(cell.spec.depth for cell in result)
        shown: Any = [cell for cell in result if cell.spec.depth == deepest]
        draw: dict[str, Callable[[], Any]] = {"layers": lambda: plot.layers(shown[0] if len(shown) == 1 else shown)}
        if len({cell.spec.depth for cell in result}) > 1:
            draw |= {"depths": lambda: plot.depths(result), "heatmap": lambda: plot.heatmap(result)}
        outputs |= _drawn(draw, folder)
    return outputs


def _drawn(pictures: dict[str, Callable[[], Any]], folder: Path) -> Outputs:
    """Pictures by name, as files in a folder."""

    def draw(path: Path, make: Callable[[], Any]) -> None:
        files.save_picture(make().figure, path, dpi=120, bbox_inches="tight")

    paths = {folder / f"{name}.png": make for name, make in pictures.items()}
    return {path: partial(draw, path, make) for path, make in paths.items()}


@contextmanager
def _writing(outputs: Outputs, *, only: Path | None = None) -> Iterator[None]:
    """Write one file after the other, let the block print, then say what became of them, and leave where any failed.

    A file that fails stops no other, an interrupt does; neither stops what is printed. The first interrupt does not
    stop `only`, the file of numbers that are nowhere else.
    """
    written: list[Path] = []
    errors: list[Exception] = []
    interrupted: Path | None = None
    for path, output in outputs.items():
        try:
            with files.naming(path):
                path.parent.mkdir(parents=True, exist_ok=True)
            try:
                output()
            except KeyboardInterrupt:
                interrupted = path
                if path != only:
                    break
                _say(f"interrupted: '{path}' is written first; Ctrl-C again, and its cells are lost")
                output()
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
            _say(f"wrote {path}")
        for failed in errors:
            _say(f"error: {failed}")
        if interrupted is not None:
            if interrupted not in written:
                _say(f"interrupted: '{interrupted}' was not written")
            raise typer.Exit(INTERRUPTED)
        if errors:
            raise typer.Exit(USAGE)


def _cell(cell: Probe, row: dict[str, Any], *, columns: bool) -> dict[str, Any]:
    row = {name: vars(value) if isinstance(value, Factor) else value for name, value in row.items()}
    row |= {"cell_id": cell.spec.id, "spec": cell.spec.to_dict(), "batch": cell.batch}
    row |= {"loss": cell.loss, "reduction": cell.reduction}
    row |= {"seeds": cell.seeds.tolist(), "dtype": cell.dtype, "first_nonfinite": cell.first_nonfinite.tolist()}
    if columns:
        row |= {name: getattr(cell, name).tolist() for name in COLUMNS}
    return row


def _plain(value: Any) -> Any:
    """JSON has no nan: null instead."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _version(show: bool) -> None:
    if show:
        print(f"vgcore {__version__}")
        raise typer.Exit


@app.callback()
def _app(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Vanishing and exploding gradients in deep MLPs: measured in milliseconds."""


def _print_no_more() -> None:
    """Leave out what could not be printed: the interpreter would try again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main() -> None:
    """The command `vgcore`."""
    # A closed stream is None, which libraries do not expect.
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 (as long as the process)
    try:
        try:
            app()
        finally:
            print(end="", flush=True)
    except BrokenPipeError as error:  # the reader has seen enough: `| head`
        _print_no_more()
        if isinstance(ended := error.__context__, SystemExit):
            raise ended from None
    except REFUSALS as error:
        # An error of the system that names no file is about what is printed.
        if isinstance(error, OSError) and error.filename is None and error.strerror is not None:
            _print_no_more()
            _say(f"error: cannot print: {error.strerror}")
        else:
            _say(f"error: {error}")
        sys.exit(USAGE)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
