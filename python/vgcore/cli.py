"""The shell: arguments in, calls, words out.

Exit codes: 0 all runs stayed finite, or nothing that counts was found; 1 some run did not, or something was; 2 wrong
usage or input; 130 interrupted.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vgcore import bench, compat, plot, report, table
from vgcore._core import COLUMNS, __version__
from vgcore.advise import Advised, advise
from vgcore.diagnose import Diagnosis, diagnose
from vgcore.finding import SEVERITIES, known
from vgcore.options import Request, gather, split, with_net
from vgcore.probe import SIGNALS, Factor, Probe, probe
from vgcore.spec import MLP
from vgcore.sweep import Sweep, sweep
from vgcore.theory import Prediction, predict

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

DIVERGED = FOUND = 1
USAGE, INTERRUPTED = 2, 130
WIDE = 1000  # columns that no table needs
ROOMY = 130  # columns from which on advice has a line a net
SHAPES = "16x32,64x32,256x32,256x256"  # of bench
LEGEND = """\
x per layer: geometric mean, 1 = preserved; in brackets its 95 % interval over seeds. forward: z, toward the output;
backward: dL/dz and weight: dL/dW, toward the input. first-layer gradient: norm of dL/dW, of a tied net summed over its
steps. vanishing, exploding: dL/dz changes 32-fold or more from end to end, or z 100-fold: see `vgcore diagnose`."""
THEORY = """\
x per layer: geometric mean, 1 = preserved; in brackets its 95 % interval over seeds. Theory is of infinitely wide nets
and of their root mean square: in narrow and deep nets typical gradients are smaller than that."""
COMPARED = """\
Microseconds a layer of one net, median over rounds; in brackets as a multiple of vgcore's: above 1, vgcore is faster.
spread: slowest round over fastest, of the rival where it is worst; far above 1, the machine was busy otherwise.
"""
ALWAYS = ("depth", "width", "activation", "init")  # fields that are named also where they are the default
# Columns that only some nets have.
SOME = ("log10_affine_grad_norm", "log10_slope_grad_norm", "log10_gate_grad_norm", "log10_summed_wgrad_norm")
STYLES = {"healthy": "green", "vanishing": "blue", "exploding": "red"}
STYLES |= {"critical": "red", "warning": "yellow", "info": "cyan", "remedy": "dim", "text": "default"}


@with_net
def _measure(
    request: Request,
    context: typer.Context,
    out: Annotated[Path | None, typer.Option(help="Write tidy rows to a .csv, .json or .parquet file.")] = None,
    pictures: Annotated[Path | None, typer.Option("--plot", help="Draw pictures (.png) into this folder.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure how signals pass deep nets at initialisation."""
    if single := context.info_name == "probe":
        request.one("probe")
    _check_outputs(out, pictures)
    started, interrupted = time.perf_counter(), False
    try:
        result = sweep(request.base, progress=True, **request.measurement, **request.grid)
    except KeyboardInterrupt as interrupt:
        result, interrupted = interrupt.sweep, True  # type: ignore[attr-defined]
    seconds = time.perf_counter() - started

    written = _write(result, out, pictures)
    if as_json:
        _print_json([_cell(cell, row, columns=single) for cell, row in zip(result, result.table(), strict=True)])
    elif result.cells:
        _show(result, request.base, source=request.source, seconds=seconds, layers=single)
    for path in written:
        _say(f"wrote {path}")
    if interrupted:
        _say(f"interrupted: {len(result)} of {result.planned} cells were finished")
        raise typer.Exit(INTERRUPTED)
    if any((cell.first_nonfinite >= 0).any() for cell in result):
        raise typer.Exit(DIVERGED)


app.command("probe", help="Measure one net, layer by layer.")(_measure)
app.command("sweep", help="Measure every combination of the values given.")(_measure)


FailOn = Annotated[
    str, typer.Option(help="The least severity that returns 1: info, warning or critical; never for none.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@app.command("diagnose", help="Judge a net, or every combination of the values given: what is wrong, where, and why.")
@with_net
def _diagnose(
    request: Request,
    rules: Annotated[
        str, typer.Option(help=f"vgcore, or those of another tool, for comparison: {', '.join(compat.PRESETS)}.")
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
        _print_lines(report.lines(judged, width=_console().width))
    _fail(judged, fail_on)


@app.command("advise", help="Find changes that cure a net, by running each of them.")
@with_net
def _advise(
    request: Request,
    budget: Annotated[int, typer.Option(help="Most nets to run.")] = 150,
    fail_on: FailOn = "warning",
    as_json: Json = False,
) -> None:
    known("severity", fail_on, (*SEVERITIES, "never"))
    given = dict(request.measurement)
    x, y, batch = (given.pop(name) for name in ("x", "y", "batch"))
    advised = advise(request.one("advise"), x if y is None else (x, y), batch=batch, budget=budget, **given)
    if as_json:
        _print_json(advised.to_dict())
    else:
        console = _console()
        _print_lines((kind, report.filled(line, console.width)) for kind, line in report.advice_summary(advised))
        if advised:
            console.print(_advice(advised, wide=console.width >= ROOMY))
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
    written = _draw(draw, pictures) if pictures is not None else []
    if as_json:
        factors: dict[str, Any] = {signal: vars(measured.factor(signal)) for signal in SIGNALS}
        means = {name: getattr(measured, name).mean(axis=0).tolist() for name in COLUMNS}
        _print_json({"theory": predicted.to_dict(), "measured": {"factors": factors} | means})
    else:
        console = _console()
        console.print(", ".join(_fixed(spec, ())))
        _print_lines(("text", report.filled(line, console.width)) for line in str(predicted).splitlines())
        console.print(_beside(predicted, measured))
        console.print(THEORY)
    for path in written:
        _say(f"wrote {path}")
    if (measured.first_nonfinite >= 0).any():
        raise typer.Exit(DIVERGED)


def _beside(predicted: Prediction, measured: Probe) -> Table:
    """A row a signal: theory and measurement."""
    rows = Table(box=box.SIMPLE_HEAD)
    sides = ("theory", "measured")
    ends = (f"{side}\n{end} layer" for end in ("first", "last") for side in sides)
    for name in ("signal", *(f"{side}\nx per layer" for side in sides), *ends):
        rows.add_column(name, justify="left" if name == "signal" else "right", no_wrap=True)
    for signal, (column, _) in SIGNALS.items():
        theory, values = getattr(predicted, column), getattr(measured, column).mean(axis=0)
        factor = predicted.factor(signal)
        both = ["-" if math.isnan(factor) else f"{factor:.3f}", _factor(measured.factor(signal), spread=True)]
        sizes = [each[at] for at in (0, -1) for each in (theory, values)]
        rows.add_row(signal, *both, *(f"10^{end:.2f}" if math.isfinite(end) else _power(end) for end in sizes))
    return rows


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
    console = _console()
    for kind, line in lines:
        console.print(line, style=STYLES.get(kind), markup=False, soft_wrap=True)


def _advice(advised: Advised, *, wide: bool) -> Table:
    """Before and after, a row a net; where it is narrow, the verdict stands under the change, a factor under its whole.

    What is changed may take several lines.
    """
    lines = report.advice_rows(advised)
    if not wide:
        pairs = [(0,), (1, 2), (3, 4), (5, 6), (7,), (8,)]
        lines = [tuple("\n".join(line[i] for i in pair) for pair in pairs) for line in lines]
    head, *body = lines
    rows = Table(box=box.SIMPLE_HEAD)
    for name in head:
        words = name.startswith("change") or name == "verdict"
        rows.add_column(
            name if wide else name.replace("depth ", "depth\n").replace("correlation", "corre-\nlation"),
            justify="left" if words else "right",
            no_wrap=not words,
            overflow="fold",
        )
    for judged, row in zip((advised.before, *(advice.after for advice in advised)), body, strict=True):
        rows.add_row(*map(escape, row), style=STYLES[judged.verdict])
    return rows


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
    as_json: Annotated[bool, typer.Option("--json", help="Print a record in JSON instead of tables.")] = False,
) -> None:
    several = gather("shapes", shapes or [SHAPES], lambda text: [bench.shape(part) for part in split(text)])
    if threads is not None:
        bench.keep_to(threads)
    machine, interrupted = bench.facts(), False
    done: list[list[bench.Row]] = []
    planned = len(bench.JOBS) * len(several)
    try:
        with Console(stderr=True).status(f"0 of {planned} comparisons") as status:
            for rows in bench.compare(several, rounds=rounds):
                done.append(rows)
                status.update(f"{len(done)} of {planned} comparisons")
    except KeyboardInterrupt:
        interrupted = True
    record = bench.record(machine, [row for rows in done for row in rows])
    if as_json:
        print(json.dumps(record, indent=1))
    elif done:
        _show_comparisons(done, record)
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
    if out is not None:
        table.writer(out)
    for path in (out, folder):
        if path is not None:
            there = next(p for p in (path, *path.absolute().parents) if p.exists())
            if (path is out and path.is_dir()) or not os.access(there, os.W_OK):
                raise ValueError(f"cannot write '{path}'")


def _write(result: Sweep, out: Path | None, folder: Path | None) -> list[Path]:
    """Write the file and the pictures asked for; whatever was finished is kept."""
    written: list[Path] = []
    if not result.cells:
        return written
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        result.save(out)
        written.append(out)
    if folder is not None:
        deepest = max(cell.spec.depth for cell in result)
        shown: Any = [cell for cell in result if cell.spec.depth == deepest]
        draw: dict[str, Callable[[], Any]] = {"layers": lambda: plot.layers(shown[0] if len(shown) == 1 else shown)}
        if len({cell.spec.depth for cell in result}) > 1:
            draw |= {"depths": lambda: plot.depths(result), "heatmap": lambda: plot.heatmap(result)}
        written += _draw(draw, folder)
    return written


def _draw(pictures: dict[str, Callable[[], Any]], folder: Path) -> list[Path]:
    """Pictures by name, as files in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / f"{name}.png" for name in pictures]
    for path, make in zip(written, pictures.values(), strict=True):
        make().figure.savefig(path, dpi=120, bbox_inches="tight")
    return written


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


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _power(log10: float) -> str:
    if math.isfinite(log10):
        return f"10^{round(log10, 1) + 0:.1f}"  # + 0 makes -0.0 plain 0.0
    return "0" if log10 < 0 else "inf" if log10 > 0 else "-"


def _factor(factor: Factor, *, spread: bool) -> str:
    if math.isnan(factor.value):
        return "-"
    interval = f" ({factor.low:.3f}-{factor.high:.3f})" if spread and not math.isnan(factor.low) else ""
    return f"{factor.value:.3f}{interval}"


def _console(width: int = 160) -> Console:
    """The terminal, or what has so many columns."""
    return Console(width=None if sys.stdout.isatty() else width, highlight=False)


def _show(result: Sweep, base: MLP, *, source: str | None, seconds: float, layers: bool) -> None:
    console = _console(WIDE)  # a table in a file is as wide as it needs to be
    first = result[0]
    samples = "standard normal samples" if source is None else f"samples of {source}"
    runs = f"{_count(len(result), 'cell')} x {_count(len(first.seeds), 'seed')}"
    console.print(f"{runs}, {first.batch} {samples} a run, {table.start(first)}, {first.dtype}, {seconds:.1f} s")
    console.print("all: " + ", ".join(_fixed(base, result.varied)))
    rows = _cells(result, spread=True)
    if console.measure(rows, options=console.options.update(width=WIDE)).maximum > console.width:
        rows = _cells(result, spread=False)
    console.print(rows)
    if layers:
        console.print(_layers(first))
    console.print(LEGEND)


def _cells(result: Sweep, *, spread: bool) -> Table:
    """A row a cell; what it is may take several lines, what was measured may not."""
    rows = Table(box=box.SIMPLE_HEAD)
    for name in result.varied:
        rows.add_column(name, justify="right" if name == "depth" else "left", no_wrap=name == "depth", overflow="fold")
    for name in ("forward", "backward", "weight"):
        rows.add_column(f"{name}\nx per layer" if spread else f"{name}\nx per\nlayer", justify="right", no_wrap=True)
    rows.add_column("first-layer\ngradient" if spread else "first\nlayer\ngradient", justify="right", no_wrap=True)
    rows.add_column("verdict", no_wrap=spread)
    for row in result.table():
        values = ["none" if row[name] is None else str(row[name]) for name in result.varied]
        factors = [_factor(row[name], spread=spread) for name in ("forward", "backward", "weight")]
        words = ", ".join((row["verdict"], *row["conditions"]))
        rows.add_row(*values, *factors, _power(row["first_gradient"]), f"[{STYLES[row['verdict']]}]{words}[/]")
    return rows


def _fixed(base: MLP, varied: tuple[str, ...]) -> list[str]:
    """What all cells have in common: what any net has, and what is not as it is by default."""
    fields, plain = base.to_dict(), MLP(depth=1, width=1).to_dict()
    shown = [name for name in fields if name not in varied and (name in ALWAYS or fields[name] != plain[name])]
    return [name if fields[name] is True else f"{name} {fields[name]}" for name in shown]


def _layers(cell: Probe, most: int = 16) -> Table:
    """The seeds' mean of every column that the net has; in a deep net, of evenly spread layers.

    Random cotangents are as good as orthogonal, and so is all that comes of them: `gradient_correlation` needs a loss.
    """
    depth = cell.spec.depth
    chosen = sorted({round(i * (depth - 1) / max(most - 1, 1)) for i in range(most)}) if depth > most else range(depth)
    rows = Table(box=box.SIMPLE_HEAD)
    means = {name: getattr(cell, name).mean(axis=0) for name in COLUMNS}
    absent = {name for name in SOME if np.isnan(means[name]).all()}
    absent |= {"gradient_correlation"} if cell.loss is None else set()
    means = {name: mean for name, mean in means.items() if name not in absent}
    for name in ("layer", *(name.removeprefix("log10_") for name in means)):
        rows.add_column(name.replace("_", "\n"), justify="right", no_wrap=True)
    for layer in chosen:
        values = [
            _power(means[name][layer]) if name.startswith("log10_") else f"{means[name][layer]:.3g}" for name in means
        ]
        rows.add_row(str(layer + 1), *values)
    return rows


def _show_comparisons(done: list[list[bench.Row]], record: dict[str, Any]) -> None:
    console, facts, build = _console(), record["facts"], record["facts"]["build"]
    load = "" if facts["load"] is None else f", load {facts['load']:.1f}"
    console.print(f"{_count(facts['cores'], 'core')} of {facts['cpu']}, {build['isa']}{load}")
    others = [f"{name} {facts[module] or 'is not installed'}" for name, module in bench.OPTIONAL.items()]
    console.print(f"vgcore {build['version']}, NumPy {facts['numpy']}, {', '.join(others)}")
    for job, text in record["jobs"].items():
        parts = [rows for rows in done if rows[0]["job"] == job]
        if not parts:
            continue
        console.print(f"\n{job}: {text}")
        lines = Table(box=box.SIMPLE_HEAD)
        for name in ("width", "batch", "depth", *(row["rival"] for row in parts[0]), "spread"):
            lines.add_column(name, justify="right", no_wrap=True)
        for rows in parts:
            times = [f"{row['median']:.1f} ({row['ratio']:.2f}x)" for row in rows]
            spread = max(max(row["us_per_layer"]) / min(row["us_per_layer"]) for row in rows)
            lines.add_row(*map(str, rows[0]["shape"]), f"{rows[0]['median']:.1f}", *times[1:], f"{spread:.1f}")
        console.print(lines)
    console.print(COMPARED)
    for name, does in record["rivals"].items():
        console.print(f"{name}: {does}".replace("\n\n", " "))


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


def main() -> None:
    """The command `vgcore`."""
    try:
        app()
    except BrokenPipeError:  # the reader has seen enough: `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ImportError, MemoryError, OSError, TypeError, ValueError) as error:
        _say(f"error: {error}")
        sys.exit(USAGE)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
