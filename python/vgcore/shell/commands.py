"""The shell: arguments in, calls, words out.

Exit codes: 0 all runs stayed finite, or nothing that counts was found; 1 some run did not, or something was; 2 wrong
usage or input, or a file that could not be written; 130 interrupted, or not begun after all; 141 left by its reader.
"""

from __future__ import annotations

import math
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vgcore._core import MONITORS, OPTIMIZERS, PRETRAININGS, SCHEDULES, __version__
from vgcore.judge.finding import SEVERITIES
from vgcore.model.names import hint, known
from vgcore.shell import benchmark, doctor, estimate, explorer, kinds, outputs, reports, stores, streams
from vgcore.shell.complete import choices, files_of
from vgcore.shell.estimate import Yes
from vgcore.shell.nets import HELP, flag, gather, integers, split
from vgcore.shell.options import DATA, DATA_HELP, OUTPUT, Request, with_net
from vgcore.shell.outputs import INTERRUPTED as INTERRUPTED  # noqa: PLC0414 (with what else commands return)
from vgcore.shell.outputs import (
    REFUSALS,
    Force,
    Format,
    Json,
    Out,
    Outputs,
    Pictures,
    chosen,
    drawn,
    print_json,
    say,
    writing,
)
from vgcore.shell.outputs import USAGE as USAGE  # noqa: PLC0414 (likewise)
from vgcore.train.settings import PER

if TYPE_CHECKING:
    from vgcore.convert.imported import Imported
    from vgcore.judge.depth_limit import DepthLimit
    from vgcore.judge.diagnosis import Diagnosis
    from vgcore.measure.cells import Sweep
    from vgcore.measure.result import Probe
    from vgcore.model.network import Network
    from vgcore.model.spec import Spec
    from vgcore.theory import Memory

app: typer.Typer = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(stores.app, name="store")

DIVERGED = FOUND = 1
#: What is wrong with a command line, in the words of the library that reads it.
WRONG: type[Any] = typer.BadParameter.__mro__[1]
#: More panels of `--help`.
CELLS, TRAINING, JUDGEMENT, SEARCH = "The cells", "Its training", "The judgement", "The search"

#: What a training has that depends on how many steps there are, for one of a few.
OF_STEPS = {"schedule": "constant", "record": None}

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.", rich_help_panel=OUTPUT)]
Brief = Annotated[bool, typer.Option("--summary", help="Print a line a cell, to be searched.", rich_help_panel=OUTPUT)]


@app.command("probe", help="Measure one net, layer by layer.")
@partial(with_net, files=True)
def _probe(
    request: Request,
    out: Out = None,
    pictures: Pictures = None,
    force: Force = False,
    summary: Brief = False,
    as_json: AsJson = False,
    yes: Yes = False,
) -> None:
    request.one("probe")
    _measure(request, out, pictures, force=force, form=chosen(summary=summary, as_json=as_json), layers=True, yes=yes)


def _brought(request: Request) -> Imported | None:
    """The net of a file, with what was noted on the way; None where options say what the net is."""
    if request.file is None:
        return None
    found = request.file()
    for note in found.notes:
        say(f"note: {note}")
    return found


@app.command("sweep", help="Measure every combination of the values given.")
@with_net
def _sweep(
    request: Request,
    store: Annotated[
        Path | None,
        typer.Option(
            help="Keep each cell in this file; the same command again goes on where it stopped.",
            rich_help_panel=CELLS,
            show_default="none",
            autocompletion=files_of(".vg"),
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(help="0/16 to 15/16: only this part of the cells.", rich_help_panel=CELLS, show_default="all"),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again what has failed.", rich_help_panel=CELLS)
    ] = False,
    out: Out = None,
    pictures: Pictures = None,
    force: Force = False,
    summary: Brief = False,
    as_json: AsJson = False,
    yes: Yes = False,
) -> None:
    kept = {"store": store, "shard": shard, "retry_failed": retry_failed}
    form = chosen(summary=summary, as_json=as_json)
    _measure(request, out, pictures, force=force, form=form, layers=False, yes=yes, **kept)


def _measure(
    request: Request,
    out: Path | None,
    pictures: Path | None,
    *,
    force: bool,
    form: str,
    layers: bool,
    yes: bool,
    **kept: Any,
) -> None:
    """Measure cells, write and print what is asked for, and leave with the code that says how it went."""
    from vgcore.measure.cells import Sweep
    from vgcore.measure.probe import probe
    from vgcore.measure.sweep import sweep

    if out is not None and (store := kept.get("store")) is not None and out.absolute() == store.absolute():
        raise ValueError(f"--store and --out must be two files, got '{out}' for both")
    outputs.check(out, pictures, force=force)
    brought = _brought(request)
    if brought is None:
        base: Spec = request.base
        cost = estimate.of_grid(request.base, request.grid, request.measurement, **kept)
    else:
        base, cost = brought.spec, estimate.of_net(brought.network, request.measurement)
    estimate.check(cost, "this sweep" if request.grid else "this probe", yes=yes)
    started, ended = time.perf_counter(), None
    try:
        if brought is not None:
            result = Sweep((probe(brought.network, **request.measurement),), (), 1)
        else:
            result = sweep(request.base, progress=True, **kept, **request.measurement, **request.grid)
    except (KeyboardInterrupt, MemoryError, OSError) as error:
        if not hasattr(error, "sweep"):
            raise
        result, ended = error.sweep, error
    seconds = time.perf_counter() - started

    with writing(_outputs(result, out, pictures, force=force), force=force, only=None if kept.get("store") else out):
        if form == "json":
            from vgcore.measure.cells import judged_row

            print_json([_cell(cell, judged_row(cell, result.varied), columns=layers) for cell in result])
        elif form == "summary":
            from vgcore.measure.cells import judged_row
            from vgcore.shell import summary

            for cell in result:
                print(summary.cell(cell.spec, result.varied, judged_row(cell, result.varied)))
        elif result.cells:
            from vgcore.shell import tables

            tables.show(result, base, source=request.source, seconds=seconds, layers=layers)
        if not result.cells and not result.failed and ended is None:  # which only a shard can be
            unwritten = "".join(f"; '{path}' is not written" for path in (out, pictures) if path is not None)
            say(f"0 of {math.prod(map(len, request.grid.values()))} cells are of shard {kept['shard']}{unwritten}")
        for message, specs in _by_message(result.failed).items():
            say(f"{len(specs)} of {result.planned} cells failed, such as {specs[0]!r}: {message}")
        if ended is not None:
            interrupted = isinstance(ended, KeyboardInterrupt)
            safe = f", and are safe in '{kept['store']}'" if interrupted and kept.get("store") else ""
            word = "interrupted" if interrupted else "stopped"
            say(f"{word}: {len(result)} of {result.planned} cells were finished{safe}")
    if isinstance(ended, KeyboardInterrupt):
        raise typer.Exit(INTERRUPTED)
    if ended is not None:
        raise ended
    if result.failed or any((cell.first_nonfinite >= 0).any() for cell in result):
        raise typer.Exit(DIVERGED)


def _by_message(failed: Mapping[Spec, str]) -> dict[str, list[Spec]]:
    """The specs of cells that failed, by what went wrong."""
    found: dict[str, list[Spec]] = {}
    for spec, message in failed.items():
        found.setdefault(message, []).append(spec)
    return found


def _training(*names: str, **about: Any) -> Any:
    """An option of a training."""
    return typer.Option(*names, rich_help_panel=TRAINING, **about)


@app.command("train", help="Train one net, and say what its layers do: how far each moves, where a value is bad.")
@partial(
    with_net,
    batch=(None, {"help": "Rows of a batch.", "show_default": "64"}),
    seeds=(1, {"help": "Runs, each with weights and batches of its own."}),
    data=("digits", {"help": DATA_HELP, "autocompletion": DATA}),
    without=["steps"],  # which the data have; here they are updates
)
def _train(
    request: Request,
    optimizer: Annotated[
        str, _training(help="Such as adam or 'sgd(lr=0.1, momentum=0.9)'.", autocompletion=choices(*OPTIMIZERS))
    ] = "adam",
    steps: Annotated[int, _training(help="Updates.")] = 1000,
    schedule: Annotated[
        str, _training(help="Of the rate: such as 'cosine(warmup=100)'.", autocompletion=choices(*SCHEDULES))
    ] = "constant",
    clip: Annotated[float | None, _training(help="The largest norm of gradients.", show_default="no clipping")] = None,
    min_norm: Annotated[
        float | None, _training(help="The least norm of a tensor's gradient.", show_default="none")
    ] = None,
    clip_per: Annotated[
        str | None,
        _training(
            help=f"What --clip takes together: {', '.join(PER)}.", show_default=PER[0], autocompletion=choices(*PER)
        ),
    ] = None,
    noise: Annotated[float, _training(help="eta of noise on gradients, of variance eta / t^0.55 at step t.")] = 0.0,
    rate: Annotated[
        list[str] | None,
        _training(help="Multiplier of a module's rate: NAME=VALUE, as often as needed.", show_default="1 for all"),
    ] = None,
    freeze: Annotated[
        list[str] | None,
        _training(help="Modules or tensors that stay: readout,layers.0 (the first layer).", show_default="none"),
    ] = None,
    validation: Annotated[
        float | None, _training(help="Share of the rows to validate on.", show_default="none")
    ] = None,
    early_stopping: Annotated[
        int | None, _training(help="Stop after so many readings no better.", show_default="never")
    ] = None,
    monitor: Annotated[
        str,
        _training(
            help="cheap, full, or columns such as rounded,dead.", autocompletion=choices("cheap", "full", *MONITORS)
        ),
    ] = "cheap",
    record: Annotated[
        str | None,
        _training(
            help="Record every so many steps, those of a list 1,10,100, or log.",
            show_default="log",
            autocompletion=choices("log"),
        ),
    ] = None,
    nonfinite: Annotated[
        str, _training(help="At a step that is not finite: stop or skip.", autocompletion=choices("stop", "skip"))
    ] = "stop",
    out: Out = None,
    pictures: Pictures = None,
    force: Force = False,
    summary: Brief = False,
    as_json: AsJson = False,
    yes: Yes = False,
) -> None:
    from vgcore.judge.diagnose import diagnose
    from vgcore.model.optimizer import Schedule
    from vgcore.train import steps as recorded
    from vgcore.train.fit import train
    from vgcore.train.settings import Clip
    from vgcore.train.training import BATCH

    form = chosen(summary=summary, as_json=as_json)
    spec = request.one("train", several="vg.train_sweep")
    outputs.check(out, pictures, force=force)
    if clip_per is not None and clip is None:
        raise ValueError("--clip-per says what is clipped together; give --clip, the largest norm")
    limits = None
    if clip is not None or min_norm is not None:
        limits = Clip(max_norm=clip, min_norm=min_norm, per=clip_per or "global")
    options: dict[str, Any] = {
        "optimizer": optimizer,
        "steps": steps,
        "schedule": schedule,
        "clip": limits,
        "noise": noise,
    }
    options |= {
        "rates": _numbers("rate", "NAME=VALUE, as in readout=0.1", rate),
        "frozen": gather("freeze", freeze, split),
    }
    options |= {"validation": validation, "early_stopping": early_stopping, "nonfinite": nonfinite}
    options |= {"monitor": monitor if monitor in {"cheap", "full"} else split(monitor)}
    options |= {"record": _recorded(record)}
    Schedule(schedule)  # which are refused before anything is timed
    recorded.checked(options["record"], steps)
    estimate.check(
        estimate.of_training(
            spec,
            steps,
            request.measurement["batch"] or BATCH,
            request.measurement,
            lambda few: train(spec, **request.measurement, **options | {"steps": few, **OF_STEPS}),
        ),
        "this training",
        yes=yes,
    )
    started, ended = time.perf_counter(), None
    try:
        run = train(spec, progress=True, **request.measurement, **options)
    except KeyboardInterrupt as error:
        if not hasattr(error, "run"):
            raise
        run, ended = error.run, error
    seconds = time.perf_counter() - started
    files: Outputs = {} if out is None else {out: run.save}
    if pictures is not None:
        from vgcore.plot.training import training as draw

        files |= drawn({"training": lambda: draw(run).axes[0]}, pictures, force=force)
    judged = diagnose(run)
    with writing(files, force=force, only=out):
        from vgcore.shell import tables

        if form == "json":
            print_json(tables.trained_json(run) | {"diagnosis": judged.to_dict()})
        elif form == "summary":
            from vgcore.shell import summary as brief

            _print_all(brief.training(run, judged))
        else:
            from vgcore.show import training as told

            tables.trained(run, source=request.source, problem=request.problem, seconds=seconds)
            tables.print_lines(told.lines(judged, width=tables.terminal(80).width))
        if ended is not None:
            say(f"interrupted: {int(run.steps_done.min())} of {steps} steps were finished")
    if ended is not None:
        raise typer.Exit(INTERRUPTED)
    if run.first_bad is not None:
        raise typer.Exit(DIVERGED)


@app.command("pretrain", help="Train the hidden layers of one MLP one by one, then all of it, if asked for.")
@partial(
    with_net,
    batch=(None, {"help": "Rows of a batch.", "show_default": "20"}),
    seeds=(1, {"help": "1: one net is pretrained."}),
    data=("digits", {"help": "digits, FILE.csv, FILE.npz or - for CSV from a pipe.", "autocompletion": DATA}),
    takes=["mlp"],
)
def _pretrain(
    request: Request,
    method: Annotated[
        str,
        _training(
            help="rbm, which scales samples to 0 to 1; 'dae(corrupt=0.25)' or supervised.",
            autocompletion=choices(*PRETRAININGS),
        ),
    ] = "rbm",
    epochs: Annotated[int, _training(help="Passes over the rows, for each layer.")] = 30,
    lr: Annotated[float, _training(help="The rate of a layer that learns alone.")] = 0.1,
    train_steps: Annotated[
        int | None, _training(help="Updates of the whole net, pretrained and fresh.", show_default="none")
    ] = None,
    optimizer: Annotated[
        str, _training(help="Of --train-steps.", autocompletion=choices(*OPTIMIZERS))
    ] = "sgd(lr=0.1, momentum=0.9)",
    as_json: AsJson = False,
) -> None:
    from vgcore.pretrain.greedy import pretrain
    from vgcore.pretrain.learn import Method, to_unit_interval
    from vgcore.shell import tables
    from vgcore.train.fit import train

    spec, given = request.one("pretrain"), request.measurement
    if given["seeds"] != 1:
        raise ValueError("--seeds must be 1: one net is pretrained")
    x, y, seed = given["x"], given["y"], given["seed"]
    note = None
    if Method(method).name == "rbm":
        x, note = to_unit_interval(x)
    started = time.perf_counter()
    how: dict[str, Any] = {"method": method, "epochs": epochs, "lr": lr, "batch": given["batch"] or 20, "seed": seed}
    found = pretrain(spec, x, y, loss=given["loss"], progress=True, **how)
    seconds = time.perf_counter() - started
    runs = {}
    if train_steps is not None:
        steps: dict[str, Any] = {"optimizer": optimizer, "steps": train_steps, "seed": seed, "progress": True}
        runs = {
            name: train(net, x, y, loss=given["loss"], **steps)
            for name, net in (("pretrained", found.network), ("fresh", spec))
        }
    if as_json:
        losses = {name: run.final_loss.tolist()[0] for name, run in runs.items()}
        columns = {name: column.tolist() for name, column in found.to_dict().items()}
        print_json({"method": found.method, "ratios": found.ratios.tolist(), "loss": losses, "layers": columns})
    else:
        tables.pretrained(found, runs, source=request.source, note=note, seconds=seconds)


FailOn = Annotated[
    str,
    typer.Option(
        help="The least severity that returns 1: info, warning or critical; never for none.",
        rich_help_panel=JUDGEMENT,
        autocompletion=choices(*SEVERITIES, "never"),
    ),
]


def _rules(incomplete: str) -> list[str]:
    """Whose rules there are."""
    from vgcore.judge.foreign import PRESETS

    return choices("vgcore", *PRESETS)(incomplete)


@app.command("diagnose", help="Judge a net, or every combination of the values given: what is wrong, where, and why.")
@partial(with_net, files=True)
def _diagnose(
    request: Request,
    rules: Annotated[
        str,
        typer.Option(
            help="vgcore, or for comparison those of another tool: sagemaker, autotrainer, dlcheck, torchmortem or "
            "neuroscope.",
            rich_help_panel=JUDGEMENT,
            autocompletion=_rules,
        ),
    ] = "vgcore",
    threshold: Annotated[
        list[str] | None,
        typer.Option(
            help="Of a rule, in place of its warning's: RULE=VALUE, as often as needed. A change is given in decades: "
            "backward_vanishing=1.5 is 10^1.5, 32-fold.",
            rich_help_panel=JUDGEMENT,
            show_default="each rule's own",
        ),
    ] = None,
    fail_on: FailOn = "warning",
    explain: Annotated[
        bool, typer.Option("--explain", help="Say how each finding comes about.", rich_help_panel=JUDGEMENT)
    ] = False,
    summary: Brief = False,
    as_json: Json = False,
    form: Format = "text",
    yes: Yes = False,
) -> None:
    from vgcore.convert.imported import NonFinite
    from vgcore.judge.diagnose import diagnose
    from vgcore.judge.nonfinite import of_error
    from vgcore.measure.sweep import sweep

    form = chosen(form, summary=summary, as_json=as_json)
    known("severity", fail_on, (*SEVERITIES, "never"))
    options: dict[str, Any] = {
        "thresholds": _numbers("threshold", "RULE=VALUE, as in saturation=0.3", threshold),
        "explain": explain,
    }
    if request.file is not None:
        try:
            brought = request.file()
            if rules == "vgcore":
                cost = estimate.of_net(brought.network, request.measurement)
            else:
                cost = estimate.of_rules(brought.network, request.measurement, rules)
            estimate.check(cost, "this diagnosis", yes=yes)
            judged = diagnose(brought, rules=rules, **options, **request.measurement)
        except NonFinite as error:
            judged = of_error(error, explain=explain)
    elif rules == "vgcore":
        cost = estimate.of_grid(request.base, request.grid, request.measurement)
        estimate.check(cost, "this diagnosis", yes=yes)
        judged = diagnose(sweep(request.base, progress=True, **request.measurement, **request.grid), **options)
        judged = judged if request.grid else judged.cells[0]
    else:
        spec = request.one(f"diagnose --rules {rules}")
        estimate.check(estimate.of_rules(spec, request.measurement, rules), "this diagnosis", yes=yes)
        judged = diagnose(spec, rules=rules, **options, **request.measurement)
    if form == "json":
        print_json(judged.to_dict())
    elif form == "github":
        from vgcore.report import github

        _print_all(github.diagnosis(judged, request.path))
    elif form == "summary":
        from vgcore.shell import summary as brief

        _print_all(brief.diagnosis(judged, request.grid))
    else:
        from vgcore.shell import tables
        from vgcore.show import text

        tables.print_lines(text.lines(judged, width=tables.terminal().width))
    _fail(judged, fail_on)


@app.command("advise", help="Find changes that cure a net, by running each of them.")
@partial(with_net, files=True)
def _advise(
    request: Request,
    budget: Annotated[int, typer.Option(help="Most nets to run.", rich_help_panel=SEARCH)] = 150,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            help="What must stay: options such as activation,norm, or x, y, readout.",
            rich_help_panel=SEARCH,
            show_default="nothing",
            autocompletion=choices(*(flag(name).removeprefix("--") for name in HELP), "x", "y", "readout"),
        ),
    ] = None,
    updates: Annotated[
        int | None,
        typer.Option(
            "--train",
            help="Train for so many steps, and put the lowest loss first.",
            rich_help_panel=SEARCH,
            show_default="no training",
        ),
    ] = None,
    optimizer: Annotated[
        str,
        typer.Option(
            help="Of --train: such as 'sgd(lr=0.1)'.", rich_help_panel=SEARCH, autocompletion=choices(*OPTIMIZERS)
        ),
    ] = "adam",
    fail_on: FailOn = "warning",
    summary: Brief = False,
    as_json: Json = False,
    yes: Yes = False,
) -> None:
    from vgcore.cure.search import advise

    form = chosen(summary=summary, as_json=as_json)
    known("severity", fail_on, (*SEVERITIES, "never"))
    spelled = {flag(name).removeprefix("--"): name for name in HELP}
    kept = [spelled.get(name, name.replace("-", "_")) for name in gather("keep", keep, split)]
    how = False if updates is None else {"steps": updates, "optimizer": optimizer}
    brought = _brought(request)
    net = request.one("advise") if brought is None else brought.network
    estimate.check(_searched(net, request.measurement, budget, updates, optimizer), "this search", yes=yes)
    advised = advise(net, budget=budget, keep=kept, train=how, **request.measurement)
    if form == "json":
        print_json(advised.to_dict())
    elif form == "summary":
        from vgcore.shell import summary as brief

        _print_all(brief.advice(advised))
    else:
        from vgcore.shell import tables
        from vgcore.show import text as words

        console = tables.terminal()
        tables.print_lines((kind, words.filled(line, console.width)) for kind, line in words.advice_summary(advised))
        if advised:
            console.print(tables.advice(advised))
            tables.say(console, tables.advised_legend(advised), most=words.WIDTH)
    _fail(advised.before, fail_on)


def _searched(
    net: Spec | Network, measurement: Mapping[str, Any], budget: int, steps: int | None, optimizer: str
) -> estimate.Cost | None:
    """What advice takes at most: so many nets are run, of which some are trained."""
    from vgcore.cure.search import TWICE
    from vgcore.train.fit import train
    from vgcore.train.training import BATCH

    one = estimate.of_net(net, measurement)
    if one is None:
        return None
    seconds = one.seconds * (budget + 1)
    if steps is not None:
        how = {**measurement, "seeds": 2, "batch": None}
        run = partial(train, net, optimizer=optimizer, **how)
        trained = estimate.of_training(net, steps, BATCH, how, lambda few: run(steps=few))
        seconds += 0.0 if trained is None else trained.seconds * (TWICE + 1)
    return estimate.Cost(seconds, one.bytes, one.share)


@app.command("theory", help="What theory says of a wide net of the kind, beside what is measured of this one.")
@with_net
def _theory(
    request: Request,
    pictures: Pictures = None,
    force: Force = False,
    summary: Brief = False,
    as_json: Json = False,
    yes: Yes = False,
) -> None:
    from vgcore.measure.probe import probe
    from vgcore.measure.result import SIGNALS, columns_of
    from vgcore.model.mlp import MLP
    from vgcore.theory import predict

    form = chosen(summary=summary, as_json=as_json)
    spec = request.one("theory")
    if request.source is not None:
        raise ValueError("theory is of standard normal samples and a random cotangent; leave out --data")
    if request.measurement["loss"] is not None:
        raise ValueError("theory is of a random cotangent; leave out --loss")
    outputs.check(None, pictures, force=force)
    estimate.check(estimate.of_grid(spec, {}, request.measurement), "this measurement", yes=yes)
    measured = probe(spec, **request.measurement)
    predicted = predict(spec, batch=measured.batch)
    theirs, ours = _memory(measured)
    files: Outputs = {}
    if pictures is not None:
        from vgcore import plot

        draw: dict[str, Callable[[], Any]] = {"layers": lambda: plot.layers(measured, theory=predicted)}
        if predicted.scales is not None and isinstance(spec, MLP):
            draw["phase_diagram"] = lambda: plot.phase_diagram(spec)
        files = drawn(draw, pictures, force=force)
    with writing(files, force=force):
        if form == "json":
            factors: dict[str, Any] = {signal: vars(measured.factor(signal)) for signal in SIGNALS}
            means = {name: column.mean(axis=0).tolist() for name, column in columns_of(measured).items()}
            limits = {"theory": theirs and theirs.memory_limit, "measured": ours and ours.value}
            memory = {"memory_limit": limits} if theirs or ours else {}
            print_json({"theory": predicted.to_dict(), "measured": {"factors": factors} | means} | memory)
        elif form == "summary":
            from vgcore.shell import summary as brief

            _print_all(brief.theory(predicted, measured, theirs, ours))
        else:
            from vgcore.shell import tables
            from vgcore.show import text as words

            console = tables.terminal()
            tables.say(console, ", ".join(tables.fixed(spec, ())))
            tables.print_lines(("text", words.filled(line, console.width)) for line in str(predicted).splitlines())
            if theirs is not None:
                tables.print_lines(("text", words.filled(line, console.width)) for line in str(theirs).splitlines())
            if ours is not None:
                tables.say(console, f"measured: {ours}")
            console.print(tables.beside(predicted, measured))
            tables.say(console, tables.THEORY.format(row=tables.row_word(spec)), most=words.WIDTH)
    if (measured.first_nonfinite >= 0).any():
        raise typer.Exit(DIVERGED)


def _memory(measured: Probe) -> tuple[Memory | None, DepthLimit | None]:
    """How far back a recurrent net sees, in theory and as it was measured, as far as that is known."""
    from vgcore.judge.memory_limit import memory_limit
    from vgcore.model.rnn import RNN
    from vgcore.theory import memory

    theirs = ours = None
    if isinstance(measured.spec, RNN):
        with suppress(ValueError):  # of some nets it is not told
            theirs = memory(measured.spec)
        with suppress(ValueError):
            ours = memory_limit(measured)
    return theirs, ours


def _numbers(option: str, form: str, texts: list[str] | None) -> dict[str, float] | None:
    """Numbers by name, as in NAME=VALUE."""
    pairs = [text.partition("=") for text in texts or []]
    try:
        return {name.strip(): float(value) for name, _, value in pairs} or None
    except ValueError:
        raise ValueError(f"--{option} takes {form}, got {' '.join(texts or [])!r}") from None


def _recorded(text: str | None) -> int | str | list[int] | None:
    """The steps to record: every so many, those listed, or a word."""
    if text is None or not re.fullmatch(r"[\d,:\s]+", text):
        return text
    return int(text) if text.strip().isdecimal() else gather("record", [text], integers)


def _fail(judged: Diagnosis, fail_on: str) -> None:
    """Return 1 where something as severe was found."""
    if fail_on != "never" and judged.reaches(fail_on):
        raise typer.Exit(FOUND)


def _print_all(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


app.command("bench", help="Time vgcore on this machine, beside torch, JAX and NumPy as installed: about a minute.")(
    benchmark.bench
)
app.command("doctor", help="Say what is installed, and test it on this machine; 1 where it computes what is wrong.")(
    doctor.doctor
)
app.command("explore", help="Put a net under sliders, in a browser, measured anew at every move.")(explorer.explore)
app.command("report", help="Write a page, or its Markdown, about a net, about every combination, or what was written.")(
    reports.report
)
app.command("compare", help="Say what is better or worse in the second of two results; 1 where it is worse.")(
    reports.compare
)
app.command("kinds", help="List what one may name, with formulas, parameters and sources.")(kinds.list_kinds)
app.command("explain", help="Say what a word means that vgcore prints: a verdict, a rule, a column.")(kinds.explain)


def _outputs(result: Sweep, out: Path | None, folder: Path | None, *, force: bool) -> Outputs:
    """The file and the pictures asked for, of whatever was finished."""
    found: Outputs = {}
    if not result.cells:
        return found
    if out is not None:
        found[out] = result.save
    if folder is not None:
        from vgcore import plot

        deepest, length = max(cell.spec.rows for cell in result), estimate.LENGTHS.get(type(result[0].spec), "depth")
        shown: Any = [cell for cell in result if cell.spec.rows == deepest]
        draw: dict[str, Callable[[], Any]] = {"layers": lambda: plot.layers(shown[0] if len(shown) == 1 else shown)}
        if len({getattr(cell.spec, length) for cell in result}) > 1:
            draw |= {
                "depths" if length == "depth" else length: lambda: plot.lines(result, x=length),
                "heatmap": lambda: plot.heatmap(result, x=length),
            }
        found |= drawn(draw, folder, force=force)
    return found


def _cell(cell: Probe, row: dict[str, Any], *, columns: bool) -> dict[str, Any]:
    from vgcore.measure.result import SIGNALS, columns_of

    row = row | {signal: vars(row[signal]) for signal in SIGNALS}
    row |= {"cell_id": cell.spec.id, "spec": cell.spec.to_dict(), "batch": cell.batch}
    row |= {"loss": cell.loss, "reduction": cell.reduction}
    row |= {"seeds": cell.seeds.tolist(), "dtype": cell.dtype, "first_nonfinite": cell.first_nonfinite.tolist()}
    if columns:
        row |= {name: column.tolist() for name, column in columns_of(cell).items()}
    return row


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
    """Vanishing and exploding gradients in deep nets: measured in milliseconds."""


def main() -> None:
    """The command `vgcore`."""
    streams.prepare()
    try:
        code = _run(sys.argv[1:])
    except (BrokenPipeError, SystemExit) as error:
        if not streams.is_unread(error):
            raise
        streams.print_no_more()
        code = streams.UNREAD
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    """Run a command; gives what it returns."""
    if arguments in ([], ["store"]):
        arguments.append("--help")
    try:
        try:
            with warnings.catch_warnings():
                warnings.showwarning = lambda message, *_, **__: say(f"warning: {message}")  # without a line of code
                code: int | None = app(arguments, prog_name="vgcore", standalone_mode=False)
        finally:
            print(end="", flush=True)
    except WRONG as error:
        say(f"error: {_wrong(error)}")
        return USAGE
    except BrokenPipeError:
        raise
    except REFUSALS as error:
        # An error of the system that names no file is about what is printed.
        if isinstance(error, OSError) and error.filename is None and error.strerror is not None:
            streams.print_no_more()
            say(f"error: cannot print: {error.strerror}")
        else:
            say(f"error: {str(error) or 'the memory does not suffice'}")  # Python says nothing of it
        return USAGE
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    return code or 0


def _wrong(error: Any) -> str:
    """What is wrong with a command line, in a sentence."""
    text = re.sub(r"\. Did you mean (.*)\?$", r" (did you mean \1?)", error.format_message()).rstrip(".")
    if hasattr(error, "option_name") and hasattr(error, "possibilities"):
        text = error.message + hint(error.option_name, error.possibilities or ())
    where = f"; see '{error.ctx.command_path} -h'" if error.ctx else ""
    return f"{text[:1].lower()}{text[1:]}{where}"
