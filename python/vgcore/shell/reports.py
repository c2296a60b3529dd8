"""The shell's commands for what is handed on: reports, and two results compared."""

from __future__ import annotations

import functools
import inspect
import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from vgcore.model.given import shown
from vgcore.model.names import known
from vgcore.shell import estimate, nets, options, outputs
from vgcore.shell.complete import choices, files_of
from vgcore.shell.estimate import Yes
from vgcore.shell.options import DATA, DATA_HELP, OUTPUT, Request, measured, net_file, unreadable
from vgcore.shell.outputs import Force, Format, Json
from vgcore.show.page import wrapped

WORSE = 1
#: What two results are read from, beside files of nets.
SAVED = (".csv", ".json", ".parquet")
STORE = ".vg"
TAKES = (
    f"what probe and sweep wrote by --out ({', '.join(SAVED)}), stores ({STORE}), or files of nets ({options.FILES})"
)
#: Files of nets that hold arrays alone, of which it has to be said what net they are.
ARRAYS = (".npz", ".safetensors")
#: What a report is written as, where the ending of its file does not say so.
FORMS = ("html", "md")
#: What stdout is called as a file.
STDOUT = Path("-")

_result = files_of(*SAVED, STORE, *options.SUFFIXES)


def compare(
    before: Annotated[
        Path,
        typer.Argument(
            metavar="A",
            help="The first: what probe or sweep wrote by --out, a store, the JSON of a spec, or a net in a file "
            f"{options.FILES}.",
            show_default=False,
            autocompletion=_result,
        ),
    ],
    after: Annotated[Path, typer.Argument(metavar="B", help="The second.", show_default=False, autocompletion=_result)],
    *,
    activation: Annotated[
        str | None,
        typer.Option(
            help="Of nets in arrays, .npz or .safetensors: between their layers.",
            rich_help_panel=nets.PANEL,
            show_default="none given",
        ),
    ] = None,
    spec: Annotated[
        Path | None,
        typer.Option(
            help="What the arrays of such files are: a JSON file, as spec.to_json() gives it.",
            rich_help_panel=nets.PANEL,
            show_default="none given",
            autocompletion=files_of(".json"),
        ),
    ] = None,
    data: Annotated[
        str | None,
        measured(help=DATA_HELP, show_default="standard normal samples", autocompletion=DATA),
    ] = None,
    target: Annotated[
        str | None,
        measured(help="The target's column: its name, or its index from 0.", show_default="the last column"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write the comparison to an .html or .md file.",
            rich_help_panel=OUTPUT,
            show_default="no file",
            autocompletion=files_of(".html", ".md"),
        ),
    ] = None,
    force: Force = False,
    as_json: Json = False,
    form: Format = "text",
) -> None:
    """Compare two results, and return 1 where the second is worse."""
    from vgcore.report.compare import compare as compared
    from vgcore.report.write import form_of

    form = outputs.chosen(form, as_json=as_json)
    outputs.check(out, force=force, form=form_of)
    if (activation or spec) and not any(path.suffix.lower() in ARRAYS for path in (before, after)):
        raise ValueError(
            f"--activation and --spec go with arrays, {' or '.join(ARRAYS)}; these files say what they hold"
        )
    samples = _samples(data, target)
    given = [_read("compare", path, activation, spec, samples) for path in (before, after)]
    to_measure = any(is_net for _, is_net in given)
    found = compared(given[0][0], given[1][0], **(samples if to_measure else {}))
    found = replace(found, notes=(f"the first is {before}, the second {after}", *found.notes))
    with outputs.writing({} if out is None else {out: found.report}, force=force, only=out):
        if form == "json":
            outputs.print_json(found.to_dict())
        elif form == "github":
            from vgcore.report import github

            for line in github.comparison(found, after):
                print(line)
        else:
            from vgcore.shell import tables
            from vgcore.show import comparison as words

            console = tables.terminal(words.WIDTH)
            for kind, part in words.parts(found):
                if isinstance(part, str):
                    tables.print_lines([(kind, "\n".join(wrapped(part, console.width, indent=4)))])
                else:
                    console.print(part)
    if found.verdict == "worse":
        raise typer.Exit(WORSE)


def _report(
    request: Request,
    out: Annotated[
        Path,
        typer.Option(
            help="The .html or .md file to write; - is stdout.",
            rich_help_panel=OUTPUT,
            autocompletion=files_of(".html", ".md"),
        ),
    ],
    *,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="html or md, for a file of another ending, such as that of $GITHUB_STEP_SUMMARY.",
            rich_help_panel=OUTPUT,
            show_default="what the ending says",
            autocompletion=choices(*FORMS),
        ),
    ] = None,
    append: Annotated[
        bool,
        typer.Option(
            "--append",
            help="Put Markdown behind what the file holds, as a summary of several steps.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    force: Force = False,
    yes: Yes = False,
) -> None:
    """Judge a net, or every combination of the values given, and write what comes of it."""
    from vgcore.judge.diagnose import diagnose
    from vgcore.measure.sweep import sweep

    to = _target(out, form, append=append, force=force)
    if request.file is not None:
        brought = request.file()
        estimate.check(estimate.of_net(brought.network, request.measurement), "this report", yes=yes)
        _write(diagnose(brought, explain=True, **request.measurement), to)
        return
    estimate.check(estimate.of_grid(request.base, request.grid, request.measurement), "this report", yes=yes)
    ended: BaseException | None = None
    try:
        found = sweep(request.base, progress=True, **request.measurement, **request.grid)
    except (KeyboardInterrupt, MemoryError, OSError) as error:
        if not hasattr(error, "sweep"):
            raise
        found, ended = error.sweep, error
    if found.cells:
        _write(found if request.grid else diagnose(found[0], explain=True), to)
    if ended is not None:
        word = "interrupted" if isinstance(ended, KeyboardInterrupt) else "stopped"
        unwritten = "" if found.cells else f"; '{to.out}' is not written"
        outputs.say(f"{word}: {len(found)} of {found.planned} cells were finished{unwritten}")
        if isinstance(ended, KeyboardInterrupt):
            raise typer.Exit(outputs.INTERRUPTED)
        raise ended


_of_net = options.with_net(_report, files=True)
_options = dict(inspect.signature(_of_net).parameters)
_source = typer.Argument(
    metavar="SOURCE",
    help=f"What probe and sweep wrote by --out, a store, or a file with a net, {options.FILES}; without one, options "
    "say what the net is.",
    show_default=False,
    autocompletion=_result,
)
_options["file"] = _options["file"].replace(annotation=Annotated[Path | None, _source])


@functools.wraps(_of_net)
def report(**given: Any) -> None:
    """The report of a net, or of a result that was written: then no option says what is measured."""
    path = given["file"]
    if path is None or path.suffix.lower() not in {*SAVED, STORE}:
        _of_net(**given)
        return
    own = {"file", "data", "target", *inspect.signature(_report).parameters}
    if said := [name for name, each in _options.items() if name not in own and given[name] != each.default]:
        raise ValueError(f"{path} is measured already; leave out {', '.join(map(nets.flag, said))}")
    to = _target(given["out"], given["form"], append=given["append"], force=given["force"])
    found, is_net = _read("report", path, None, None, _samples(given["data"], given["target"]))
    if is_net:
        raise ValueError(f"{path} is a spec; say what the net is by --depth, --width and others")
    _write(found[0] if len(found) == 1 else found, to)


report.__signature__ = inspect.Signature(list(_options.values()))  # type: ignore[attr-defined]
report.__annotations__ = {name: each.annotation for name, each in _options.items()}


class _Target(NamedTuple):
    """Where a report goes to.

    Attributes:
        out: The file; `STDOUT` for stdout.
        form: `"html"` or `"md"`; what the ending says if None.
        append: Whether it is put behind what the file holds.
        force: Whether another file is written over.
    """

    out: Path
    form: str | None
    append: bool
    force: bool


def _target(out: Path, form: str | None, *, append: bool, force: bool) -> _Target:
    """Where a report goes to; what could not be written after the work is refused before it."""
    from vgcore.report.write import form_of

    def named(path: Path) -> str:
        if form is not None:
            return known("format", form, FORMS)
        if path == STDOUT:
            raise ValueError(f"--out - is stdout, which has no ending: give --format {' or '.join(FORMS)}")
        try:
            return form_of(path)
        except ValueError as error:
            raise ValueError(f"{error}; for another ending give --format {' or '.join(FORMS)}") from None

    chosen = named(out)
    if append and (out == STDOUT or chosen != "md"):
        raise ValueError("--append puts Markdown behind what a file holds: give an .md file, or --format md")
    if out != STDOUT:
        outputs.check(out, force=force or append, form=named)
    return _Target(out, form, append, force)


def _write(result: Any, to: _Target) -> None:
    from vgcore.report.write import save, text

    if to.out == STDOUT:
        print(text(result, str(to.form)), end="")
        return
    with outputs.writing(
        {to.out: lambda path: save(result, path, to.form, append=to.append)}, force=to.force or to.append, only=to.out
    ):
        pass


def _samples(data: str | None, target: str | None) -> dict[str, Any]:
    """The samples and targets of a file."""
    if data is not None:
        x, y, problem = options.load(data, target, (None, None), None, None)
        return {"x": x, "y": y} | ({"loss": problem.loss} if problem else {})
    if target is not None:
        raise ValueError("--target is a column of --data; give the file")
    return {}


def _read(
    command: str, path: Path, activation: str | None, spec: Path | None, samples: dict[str, Any]
) -> tuple[Any, bool]:
    """A result of a file, and whether it is a net that has not been measured."""
    from vgcore.measure.saved import read_sweep
    from vgcore.measure.stored import open_sweep
    from vgcore.measure.table import Unkept
    from vgcore.train.many import open_train_sweep

    ending = path.suffix.lower()
    if ending not in {*SAVED, STORE, *options.SUFFIXES}:
        raise ValueError(f"cannot {command} {shown(str(path))}: {command} takes {TAKES}")
    if not path.is_file():
        raise unreadable(str(path), FileNotFoundError(), f"{command} takes {TAKES}")
    if ending in options.SUFFIXES:
        arrays = ending in ARRAYS
        fields = {"activation": nets.gather("activation", [activation], nets.split)} if activation and arrays else {}
        return net_file(path, spec if arrays else None, None, fields)(), True
    if ending == STORE:
        probes = open_sweep(path)
        return (probes if len(probes) else open_train_sweep(path)), False
    if ending == ".json" and (net := _spec(path)) is not None:
        return net, True
    given = {name: values for name, values in samples.items() if name != "loss"}
    try:
        found = read_sweep(path, **given)
    except ValueError as error:
        raise ValueError(f"{error}; {command} takes {TAKES}") from None
    if any(isinstance(cell.x, Unkept) for cell in found):
        raise ValueError(f"{path} was measured on data, which no such file holds: give --data, as it was measured")
    return found, False


def _spec(path: Path) -> Any:
    """The spec of a JSON file; None where it holds something else."""
    from vgcore.model.read import read_spec

    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text)
    except ValueError:  # which a text that is no UTF-8 is too
        return None
    if not isinstance(found, dict) or isinstance(found.get("depth"), list) or "cell" in found:
        return None
    try:
        return read_spec(text)
    except ValueError as error:
        raise ValueError(f"{path} holds no spec: {error}; spec.to_json() writes one") from None
