"""What a command line asks for: a net, samples, and how it is measured.

What `--help` needs is imported here; what reads data and nets, where it does.
"""

from __future__ import annotations

import functools
import inspect
import json
import re
import zipfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from vgcore._core import BATCH, LOSSES, targets
from vgcore.model.given import shown
from vgcore.model.mlp import MLP
from vgcore.model.names import hint, known
from vgcore.shell import nets
from vgcore.shell.complete import choices, files_of
from vgcore.shell.nets import NETS, USUAL, flag, gather

if TYPE_CHECKING:
    from vgcore.convert.imported import Imported
    from vgcore.data.sequences import Sequences
    from vgcore.data.table import Table
    from vgcore.model.spec import Spec


#: The panels of `--help`, beside those of nets.
MEASURED, OUTPUT = "Its measurement", "Output"

#: Sequences that `--data` makes, by what stands between the colons.
MADE = {
    "adding": "adding:STEPS",
    "copy": "copy:DELAY",
    "temporal_order": "temporal_order:STEPS",
    "sequential_digits": "sequential_digits:pixel or sequential_digits:row",
}
#: How many of them, where nothing else is said.
SEQUENCES = 1000
DATA_TAKES = (
    f"--data takes digits, {', '.join(f'{name}:...' for name in MADE)}, a .csv, .tsv or .npz file, or - for a pipe"
)


def _made(source: str) -> Sequences | None:
    """The sequences that a source such as `adding:100` or `adding:100:5000` names; None where it names a file."""
    from vgcore import data

    name, *given = source.split(":")
    if name not in MADE or Path(source).exists():
        return None
    if name == "sequential_digits" and len(given) == 1 and given[0] in {"pixel", "row"}:
        return data.sequential_digits(by=given[0])  # type: ignore[arg-type]
    if name != "sequential_digits" and len(given) in {1, 2} and all(re.fullmatch(r"\d{1,9}", each) for each in given):
        steps, n = (*map(int, given), SEQUENCES)[:2]
        draw: Callable[[int, int], Sequences] = getattr(data, name)
        return draw(steps, n)
    many = "" if name == "sequential_digits" else f" or {MADE[name]}:HOW_MANY, of which there are {SEQUENCES} otherwise"
    raise ValueError(f"--data {name} is written {MADE[name]}{many}; got {shown(source)}")


def load(
    source: str, target: str | None, series: tuple[str | None, str | None], loss: str | None, dtype: str | None
) -> tuple[Any, Any, Sequences | None]:
    """Samples, targets and the problem that they are of, if any.

    What a loss or a dtype does not take is refused by where it stands in the file.
    """
    from vgcore import data as datasets
    from vgcore.data.read import read_table

    problem = _made(source)
    if source == "digits" or problem:
        if target is not None:
            raise ValueError(f"--target goes with a file; {source} has its own")
        if series != (None, None):
            why = f"{source} has its steps" if problem else "digits are no sequences"
            raise ValueError(f"--sequence and --step go with a file in long form; {why}")
        return (problem.x, problem.y, problem) if problem else (*datasets.digits(), None)
    name = source.partition(":")[0]
    if not Path(source).suffix and not Path(source).exists() and (near := hint(name, ["digits", *MADE])):
        raise ValueError(f"unknown data {shown(source)}{near}; {DATA_TAKES}")
    column: str | int | None = int(target) if target and re.fullmatch(r"-?\d+", target) else target
    try:
        table = read_table(source, column, *series)
    except OSError as error:
        if error.strerror is None:
            raise
        raise unreadable(source, error, DATA_TAKES) from None
    _refuse(table, loss, dtype)
    return table.x, table.y, None


def _refuse(table: Table, loss: str | None, dtype: str | None) -> None:
    """Refuse numbers that a loss or a dtype does not take, in the words of the file."""
    from vgcore.model.kind import Loss

    if dtype == "float32" and (large := np.argwhere(np.abs(table.x) > np.finfo(dtype).max)).size:
        *at, column = large[0].tolist()
        value = table.x[tuple(large[0])]
        raise ValueError(
            f"{table.place(tuple(at), column)}: {value:g} is beyond the range of float32; give --dtype float64"
        )
    if loss is None or not Loss(loss).takes_targets:
        return
    # A target a step, as the core takes it: one after the other.
    each = _each_step(table.x, table.y)
    flat = table.y.reshape(-1, *table.y.shape[2:]) if each else table.y
    try:
        targets(str(Loss(loss)), flat, len(flat), _outputs(table.y, loss))
    except ValueError as error:
        if (found := re.match(r"y\[(\d+)(?:, \d+)?\] (.*)", str(error))) is None:
            raise
        at = tuple(int(i) for i in np.unravel_index(int(found[1]), table.y.shape[: 1 + each]))
        label = np.ravel(table.cells[at]).tolist()[0] if table.cells.size else None
        named = f", the number of class {label!r}" if isinstance(label, str) else ""
        raise ValueError(f"{table.place(at)}: the target {found[2]}{named}") from None


def unreadable(path: str, error: OSError, instead: str) -> OSError:
    """What is said of a file that cannot be read, with what to do where there is none."""
    reason = f"there is no such file; {instead}" if isinstance(error, FileNotFoundError) else str(error.strerror)
    return type(error)(f"cannot read {shown(path)}: {reason}")


def _each_step(x: Any, y: Any) -> bool:
    """Whether sequences have a target for each of their steps."""
    return bool(x.ndim == 3 and y.ndim > 1 and x.shape[:2] == y.shape[:2] and (y.ndim == 3 or y.dtype.kind == "i"))


def _outputs(y: Any, loss: str | None) -> int:
    """How many outputs the targets are for; without a loss, whole numbers are classes where they can be."""
    from vgcore.model.kind import Loss

    if y.dtype.kind == "f":
        return int(y.shape[-1])
    if loss is not None and not Loss(loss).takes_classes:
        return 1
    if loss is None and not (y.min() >= 0 and y.max() < len(y)):
        raise ValueError(f"the target ranges from {y.min()} to {y.max()}, so it names no classes; give --loss mse")
    return int(y.max()) + 1


#: The field that says how long a sequence is.
LENGTHS = {"rnn": "steps", "transformer": "tokens"}


def _fitted(net: str, fields: dict[str, list[Any]], x: Any, y: Any, loss: str | None) -> dict[str, list[Any]]:
    """The fields with what the data say of them: steps or tokens, columns and outputs."""
    found = {"in_features": [x.shape[-1]], "out_features": [_outputs(y, loss)]}
    if net == "mlp":
        if x.ndim == 3:
            if fields.get("inputs", []) != ["every"]:
                raise ValueError(
                    f"--data has sequences, {x.shape[1]} steps of {x.shape[2]}; a net takes them with --net rnn, --net "
                    "transformer, or --tied --inputs every"
                )
            found["depth"] = [x.shape[1]]
        return found | fields
    length = LENGTHS[net]
    if x.ndim == 3:
        found |= {length: [x.shape[1]]}
        if other := [name for name in (length, "in_features") if fields.get(name, found[name]) != found[name]]:
            raise ValueError(f"--data has sequences, {x.shape[1]} steps of {x.shape[2]}; leave out {flag(other[0])}")
    else:
        found |= _cut(length, fields, x.shape[1])
    each = _each_step(x, y)
    if net == "rnn":
        found["outputs"] = ["every" if each else "last"]
    elif not each:
        found["pool"] = ["mean"]
    return found | fields


def _cut(length: str, fields: Mapping[str, list[Any]], columns: int) -> dict[str, list[Any]]:
    """Rows as sequences: so many columns a step, one where nothing else is said."""
    name = "in_features" if "in_features" in fields or length not in fields else length
    number = fields.get(name, [1])[0]
    if number < 1 or columns % number or len(fields.get(name, [])) > 1:
        given = ",".join(map(str, fields[name]))
        raise ValueError(f"--data has {columns} columns; {flag(name)} takes one divisor of these, got {given}")
    other = columns // number
    return {"in_features": [number], length: [other]} if name == "in_features" else {"in_features": [other]}


@dataclass(frozen=True)
class Request:
    """What is to be measured.

    Attributes:
        base: The net, with the first of several values.
        grid: The fields with several values.
        measurement: The arguments of `probe` besides the net.
        source: Where the data come from; None for random samples.
        file: What reads the net from a file, in place of `base`; None where options say what it is.
        path: That file.
        problem: The problem that the data are of, if they are made.
        notes: What is told before anything is measured.
    """

    base: Spec
    grid: Mapping[str, Any]
    measurement: Mapping[str, Any]
    source: str | None
    file: Callable[[], Imported] | None = None
    path: Path | None = None
    problem: Sequences | None = None
    notes: tuple[str, ...] = ()

    def one(self, command: str, *, several: str = "vgcore sweep") -> Spec:
        """The one net there is.

        Raises:
            ValueError: Where there are several, which another command takes.
        """
        if self.grid:
            raise ValueError(
                f"{command} takes one value for {', '.join(map(flag, self.grid))}; use {several} to try several"
            )
        return self.base


STDIN_NAME = "standard input"
#: What a file is that a net is read from, by its suffix.
FILES = ".onnx, .npz or .safetensors"
SUFFIXES = (".onnx", ".npz", ".safetensors")
#: Runs of a cell where nothing else is said.
SEEDS = 8


def net_file(path: Path, spec: Path | None, net: str | None, fields: Mapping[str, list[Any]]) -> Callable[[], Imported]:
    """What reads a net from a file, whose arrays may need a spec, or activations between them."""
    from vgcore.convert.arrays import from_arrays
    from vgcore.convert.which import imported_of

    if path.suffix not in SUFFIXES:
        raise ValueError(f"a net is read from a file {FILES}, got {shown(str(path))}")
    if not path.is_file():
        instead = f"give the path of a net {FILES}, or say what it is by --depth, --width and others"
        raise unreadable(str(path), FileNotFoundError(), instead)
    if path.suffix == ".npz" and not zipfile.is_zipfile(path):
        raise ValueError(f"cannot read {shown(str(path))}: it is no .npz file, as numpy.savez writes them")
    arrays = path.suffix != ".onnx"
    allowed = {"activation"} if arrays and spec is None else set()
    if said := [*(["net"] if net else []), *(name for name in fields if name not in allowed)]:
        raise ValueError(f"{path} says what the net is; leave out {', '.join(map(flag, said))}")
    if not arrays:
        if spec is not None:
            raise ValueError(f"--spec goes with arrays, .npz or .safetensors; {path} says what the net is")
        return lambda: _found(imported_of(path))
    if spec is not None:
        what = _spec(spec)
        return lambda: from_arrays(path, spec=what)
    activations = fields.get("activation", [])
    return lambda: from_arrays(path, activation=activations[0] if len(activations) == 1 else activations or None)


def _spec(path: Path) -> Spec:
    """The spec of a JSON file, of any sort."""
    from vgcore.model.read import read_spec

    try:
        text = path.read_text(encoding="utf-8")
        json.loads(text)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"--spec must be the JSON of a spec, as spec.to_json() gives it, got {path}: {error}"
        ) from None
    except OSError as error:
        raise unreadable(str(path), error, "--spec takes a file that spec.to_json() was written to") from None
    return read_spec(text)


def _found(imported: Imported | None) -> Imported:
    assert imported is not None  # noqa: S101 (the suffix has a front end)
    return imported


def measured(*names: str, **about: Any) -> Any:
    """An option of how a net is measured."""
    return typer.Option(*names, rich_help_panel=MEASURED, **about)


DATA = files_of(".csv", ".tsv", ".npz", words=("digits", *(f"{name}:" for name in MADE), "-"))
DATA_HELP = (
    "digits, adding:100, copy:100, temporal_order:100, sequential_digits:row, FILE.csv, FILE.npz or - for CSV from a "
    "pipe."
)


def _request(
    given: Mapping[str, Any],
    *,
    file: Annotated[
        Path | None,
        typer.Argument(
            help=f"A file with the net, {FILES}, in place of its options.",
            show_default=False,
            autocompletion=files_of(*SUFFIXES),
        ),
    ] = None,
    spec: Annotated[
        Path | None,
        typer.Option(
            help="What the arrays of such a file are: a JSON file, as spec.to_json() gives it.",
            rich_help_panel=nets.PANEL,
            autocompletion=files_of(".json"),
        ),
    ] = None,
    data: Annotated[
        str | None,
        measured(
            help=DATA_HELP,
            show_default="standard normal samples",
            autocompletion=DATA,
        ),
    ] = None,
    target: Annotated[
        str | None,
        measured(
            help="The target's column: its name, or its index from 0, from -1 at the right.",
            show_default="the last column",
        ),
    ] = None,
    sequence: Annotated[
        str | None, measured(help="The column of the sequence, of CSV in long form.", show_default="none")
    ] = None,
    step: Annotated[
        str | None, measured(help="The column of the step, of CSV in long form.", show_default="none")
    ] = None,
    loss: Annotated[
        str | None,
        measured(
            help=f"{', '.join(LOSSES)}; such as 'huber(0.5)' or 'mse(reduction=sum)'.",
            show_default="that of the targets; without any, a random cotangent",
            autocompletion=choices(*LOSSES),
        ),
    ] = None,
    batch: Annotated[
        int | None, measured(help="Samples of a run.", show_default=f"all of the data, or {BATCH}")
    ] = None,
    seeds: Annotated[int, measured(help="Runs a cell.")] = SEEDS,
    seed: Annotated[int, measured(help="The first seed.")] = 0,
    dtype: Annotated[
        str, measured(help="float32 or float64.", autocompletion=choices("float32", "float64"))
    ] = "float32",
    threads: Annotated[int | None, measured(help="At most this many.", show_default="as many as cores")] = None,
) -> Request:
    """The request that the options make, those of the fields given by name."""
    from vgcore.data.read import STDIN
    from vgcore.model.kind import Loss

    net = given["net"]
    called = USUAL if net is None else net
    fields: dict[str, Any] = {name: gather(name, given.get(name), parse) for name, parse in nets.PARSERS.items()}
    fields |= {name: [True] for name in nets.FLAGS if given.get(name)}
    fields = {name: values for name, values in fields.items() if values}
    if file is None and spec is not None:
        raise ValueError(f"--spec says what the arrays of a file are; give the file, {FILES}")
    brought = None if file is None else net_file(file, spec, net, fields)
    if file is None:
        nets.check_fields(net, fields)
    asked = {name: values[0] for name, values in fields.items()}
    notes: list[str] = []
    x = y = problem = None
    if data is not None:
        x, y, problem = load(data, target, (sequence, step), loss, None if brought else dtype)
        loss = problem.loss if problem and loss is None else loss
        if brought is None:
            fields = _fitted(called, fields, x, y, loss)
            if called in LENGTHS and x.ndim == 2 and not {LENGTHS[called], "in_features"} & {*asked}:
                length = LENGTHS[called]
                notes.append(f"a row of {data} is taken as {fields[length][0]} {length} of 1; see --in-features")
        y = y if loss is None or Loss(loss).takes_targets else None
    elif sequence is not None or step is not None:
        steps = "; the steps of a net are --steps" if step is not None and step.isdecimal() else ""
        raise ValueError(f"--sequence and --step name columns of a file in long form; give --data{steps}")
    elif target is not None or (loss is not None and Loss(loss).takes_targets):
        raise ValueError(f"{'--loss' if loss else '--target'} needs targets; give --data")
    measurement = {"x": x, "y": y, "loss": loss, "batch": batch, "seeds": seeds, "seed": seed}
    measurement |= {"dtype": dtype, "threads": threads}
    source = STDIN_NAME if data == STDIN else data
    if brought is not None:  # which has a dtype of its own, and gives the same in every run of the same samples
        measurement |= {"dtype": None, "seeds": None if seeds == SEEDS else seeds}
        return Request(MLP(depth=1, width=1), {}, measurement, source, brought, file)
    fields = {name: [value] for name, value in NETS[called].needed.items()} | fields
    base = NETS[called].spec(**{name: values[0] for name, values in fields.items()})
    grid = {name: values for name, values in fields.items() if len(values) > 1}
    if idle := nets.idle(called, base, grid, asked):
        notes.append(f"{', '.join(map(flag, idle))} changes nothing: the net is the same without")
    return Request(base, grid, measurement, source, problem=problem, notes=tuple(notes))


def with_net(
    command: Callable[..., None],
    *,
    files: bool = False,
    takes: Collection[str] = tuple(NETS),
    without: Collection[str] = (),
    **other: tuple[Any, dict[str, Any]],
) -> Callable[..., None]:
    """A command whose first argument is a `Request`, as one that has the options of a net before its own.

    Args:
        command: The command.
        files: Whether the net may come from a file.
        takes: The nets that it takes.
        without: Fields of nets that the data say here, and no option.
        **other: Options of how it is measured that mean something else here: their default, and what differs in their
            help.
    """
    fields = nets.options(takes, without)
    rest = dict(list(inspect.signature(_request, eval_str=True).parameters.items())[1:])
    if not files:
        del rest["file"], rest["spec"]
    for name, (default, about) in other.items():
        sort: Any = rest[name].annotation.__origin__
        rest[name] = rest[name].replace(default=default, annotation=Annotated[sort, measured(**about)])
    own = dict(list(inspect.signature(command, eval_str=True).parameters.items())[1:])

    @functools.wraps(command)
    def run(**given: Any) -> None:
        net, measurement = ({name: given.pop(name) for name in names} for names in (fields, rest))
        if (named := net["net"]) is not None and known("net", named, NETS) not in takes:
            raise ValueError(f"this command takes --net {' or '.join(takes)}, got --net {named}")
        request = _request(net, **measurement)
        if request.notes:
            from vgcore.shell.outputs import say

            for note in request.notes:
                say(f"note: {note}")
        command(request, **given)

    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (fields | rest | own).values()]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run
