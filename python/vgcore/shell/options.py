"""The net of a command line: its options, and what they come to.

What `--help` needs is imported here; what reads data and nets, where it does.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from vgcore._core import ACTIVATIONS, BATCH, INITS, LOSSES, NORMS, SKIPS, WEIGHT_TRANSFORMS, targets
from vgcore.model.given import LONGEST, shown
from vgcore.model.mlp import DEFAULTS, MLP
from vgcore.model.names import hint
from vgcore.shell.complete import choices, files_of

if TYPE_CHECKING:
    from vgcore.convert.imported import Imported
    from vgcore.data.table import Table
    from vgcore.model.spec import Spec


def split(text: str) -> list[str]:
    """The parts between commas, except those within parentheses: `relu,leaky_relu(0.1)`."""
    parts, depth = [""], 0
    for piece in re.split(r"([(),])", text):
        depth += (piece == "(") - (piece == ")")
        if depth < 0:
            break
        if piece == "," and not depth:
            parts.append("")
        else:
            parts[-1] += piece
    if depth:
        raise ValueError(f"the parentheses of {shown(text)} do not match")
    return [part.strip() for part in parts if part.strip()]


RANGE = "a range START:END or START:END:STEP, its end included, such as 2:128:2"


def integers(text: str) -> list[int]:
    """`4,16,64` or `2:128:2`, the end included."""
    numbers: list[int] = []
    for part in split(text):
        if (match := re.fullmatch(r"(-?\d+)(?::(-?\d+)(?::(-?\d+))?)?", part)) is None:
            raise ValueError(f"{shown(part)} is neither a number nor {RANGE}")
        start, stop, step = (int(number) for number in (match[1], match[2] or match[1], match[3] or "1"))
        if step < 1:
            raise ValueError(f"the step of {shown(part)} must be 1 or more in {RANGE}")
        if stop < start:
            raise ValueError(f"the range {shown(part)} is empty; write {RANGE}")
        if len(numbers) + (stop - start) // step >= LONGEST:
            raise ValueError(f"{shown(text)} has more than {LONGEST} numbers")
        numbers += range(start, stop + 1, step)
    return numbers


def _scales(text: str) -> list[float | str]:
    def scale(part: str) -> float | str:
        try:
            return float(part)
        except ValueError:
            return part

    return [scale(part) for part in split(text)]


def _names(text: str) -> list[str | None]:
    return [None if part == "none" else part for part in split(text)]


def _biases(text: str) -> list[str | bool | None]:
    return [False if name == "false" else name for name in _names(text)]


def gather(name: str, texts: list[str] | None, parse: Callable[[str], list[Any]]) -> list[Any]:
    """All values of an option, which may be given several times; an error names the option."""
    try:
        values = [value for text in texts or [] for value in parse(text)]
    except ValueError as error:
        raise ValueError(f"--{name.replace('_', '-')}: {error}") from None
    if texts and not values:
        raise ValueError(f"--{name.replace('_', '-')} has no values in {' '.join(map(repr, texts))}")
    return values


#: The panels of `--help`.
NET, MEASURED, OUTPUT = "The net", "Its measurement", "Output"
#: What `--help` says of the fields of a net, in its order.
HELP = {
    "depth": "Hidden layers: 64, a list 4,16,64 or a range 2:128:2.",
    "width": "Units a hidden layer.",
    "activation": "Such as tanh or 'leaky_relu(0.1)'.",
    "init": "Such as xavier_normal or 'mean_field(1.5, 0.05)'.",
    "bias": "Init of the biases; none: what init brings, or zeros; false: no biases.",
    "norm": "none, batch, layer or rms.",
    "norm_position": "pre or post: before or after phi; input: before the map.",
    "final_norm": "none, batch, layer or rms: before the readout.",
    "dropout": "Share of what a layer gives that training drops.",
    "skip": "none, residual, 'residual(order=pre)', rezero, highway or dense.",
    "branch_scale": "Factor of a skip's branch, or 1/sqrt(L).",
    "block": "Layers a skip spans.",
    "stem": "Layers before the first block.",
    "weight_transform": "none, weight_standardization or spectral_norm.",
    "tied": "One set of weights for all layers: a recurrent net.",
    "inputs": "first or every: which steps of a tied net get one.",
    "in_features": "Columns of the input.",
    "out_features": "Units of the readout.",
}
#: The fields that a net must name, as they are where the command line does not.
NET_DEFAULTS = {"depth": 32, "width": 128}
#: What a field that is None means.
UNSAID = {"in_features": "those of the data, or the width", "out_features": "those of the targets, or no readout"}
#: What the shell completes for a field.
VALUES = {
    "activation": ACTIVATIONS,
    "init": INITS,
    "bias": ("none", "false", *INITS),
    "norm": ("none", *NORMS),
    "norm_position": ("pre", "post", "input"),
    "final_norm": ("none", *NORMS),
    "skip": ("none", *SKIPS),
    "branch_scale": ("1/sqrt(L)",),
    "weight_transform": ("none", *WEIGHT_TRANSFORMS),
    "inputs": ("first", "every"),
}


#: What reads the values of a field, by the first type of its annotation; the others are names.
READERS: dict[str, Callable[[str], list[Any]]] = {"int": integers, "float": _scales}
METAVARS: dict[Any, str] = {integers: "INT,...", _scales: "FLOAT,..."}
FLAGS = tuple(field.name for field in dataclasses.fields(MLP) if field.type == "bool")
PARSERS = {
    field.name: READERS.get(str(field.type).partition(" ")[0], _names)
    for field in dataclasses.fields(MLP)
    if field.name not in FLAGS
} | {"bias": _biases}


def _option(name: str) -> inspect.Parameter:
    """The option of a field: a flag, or values."""
    about: dict[str, Any] = {"help": HELP[name], "rich_help_panel": NET}
    if name in FLAGS:
        flag = typer.Option(f"--{name}", **about)
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, flag])
    meant = NET_DEFAULTS.get(name, DEFAULTS.get(name))
    about["show_default"] = UNSAID.get(name, "none" if meant is None else str(meant))
    about["metavar"] = METAVARS.get(PARSERS[name], "TEXT,...")
    if name in VALUES:
        about["autocompletion"] = choices(*VALUES[name])
    annotation = Annotated[list[str] | None, typer.Option(**about)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


DATA_TAKES = "--data takes digits, a .csv, .tsv or .npz file, or - for a pipe"


def _load(
    source: str, target: str | None, series: tuple[str | None, str | None], loss: str | None, dtype: str | None
) -> tuple[Any, Any]:
    """Samples and targets; what a loss or a dtype does not take is refused by where it stands in the file."""
    from vgcore import data as datasets
    from vgcore.data.read import read_table

    if source == "digits":
        if target is not None:
            raise ValueError("--target goes with a file; digits has its classes")
        if series != (None, None):
            raise ValueError("--sequence and --step go with a file in long form; digits are no sequences")
        return datasets.digits()
    if not Path(source).suffix and not Path(source).exists() and (near := hint(source, ["digits"])):
        raise ValueError(f"unknown data {shown(source)}{near}; {DATA_TAKES}")
    column: str | int | None = int(target) if target and re.fullmatch(r"-?\d+", target) else target
    try:
        table = read_table(source, column, *series)
    except OSError as error:
        if error.strerror is None:
            raise
        raise unreadable(source, error, DATA_TAKES) from None
    _refuse(table, loss, dtype)
    return table.x, table.y


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


def _check_fed(fields: Mapping[str, list[Any]], shape: tuple[int, ...]) -> None:
    """Refuse sequences for nets that do not take them."""
    if fields.get("inputs", []) != ["every"]:
        raise ValueError(
            f"--data has sequences, {shape[1]} steps of {shape[2]}; a net takes them with --tied --inputs every"
        )


@dataclass(frozen=True)
class Request:
    """What is to be measured.

    Attributes:
        base: The net, with the first of several values.
        grid: The fields with several values.
        measurement: The arguments of `probe` besides the net.
        source: Where the data come from; None for random samples.
        file: What reads the net from a file, in place of `base`; None where options say what it is.
    """

    base: MLP
    grid: Mapping[str, Any]
    measurement: Mapping[str, Any]
    source: str | None
    file: Callable[[], Imported] | None = None

    def one(self, command: str, *, several: str = "vgcore sweep") -> MLP:
        """The one net there is.

        Raises:
            ValueError: Where there are several, which another command takes.
        """
        if self.grid:
            raise ValueError(f"{command} takes one value for {', '.join(self.grid)}; use {several} to try several")
        return self.base


STDIN_NAME = "standard input"
#: What a file is that a net is read from, by its suffix.
FILES = ".onnx, .npz or .safetensors"
NETS = (".onnx", ".npz", ".safetensors")
#: Runs of a cell where nothing else is said.
SEEDS = 8


def _file(
    net: Path, spec: Path | None, fields: Mapping[str, list[Any]], flags: Mapping[str, bool]
) -> Callable[[], Imported]:
    """What reads a net from a file, whose arrays may need a spec, or activations between them."""
    from vgcore.convert.arrays import from_arrays
    from vgcore.convert.which import imported_of

    if net.suffix not in NETS:
        raise ValueError(f"a net is read from a file {FILES}, got {shown(str(net))}")
    if not net.is_file():
        instead = f"give the path of a net {FILES}, or say what it is by --depth, --width and others"
        raise unreadable(str(net), FileNotFoundError(), instead)
    if net.suffix == ".npz" and not zipfile.is_zipfile(net):
        raise ValueError(f"cannot read {shown(str(net))}: it is no .npz file, as numpy.savez writes them")
    arrays = net.suffix != ".onnx"
    allowed = {"activation"} if arrays and spec is None else set()
    if said := [name for name in (*fields, *(name for name, on in flags.items() if on)) if name not in allowed]:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in said)
        raise ValueError(f"{net} says what the net is; leave out {names}")
    if not arrays:
        if spec is not None:
            raise ValueError(f"--spec goes with arrays, .npz or .safetensors; {net} says what the net is")
        return lambda: _found(imported_of(net))
    if spec is not None:
        what = _spec(spec)
        return lambda: from_arrays(net, spec=what)
    activations = fields.get("activation", [])
    return lambda: from_arrays(net, activation=activations[0] if len(activations) == 1 else activations or None)


def _spec(path: Path) -> Spec:
    """The spec of a JSON file: an MLP, or a list of parts."""
    from vgcore.model.sequential import Sequential

    try:
        text = path.read_text(encoding="utf-8")
        parts = "parts" in json.loads(text)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"--spec must be the JSON of a spec, as spec.to_json() gives it, got {path}: {error}"
        ) from None
    except OSError as error:
        raise unreadable(str(path), error, "--spec takes a file that spec.to_json() was written to") from None
    return Sequential.from_json(text) if parts else MLP.from_json(text)


def _found(imported: Imported | None) -> Imported:
    assert imported is not None  # noqa: S101 (the suffix has a front end)
    return imported


def _measured(*names: str, **about: Any) -> Any:
    """An option of how a net is measured."""
    return typer.Option(*names, rich_help_panel=MEASURED, **about)


DATA = files_of(".csv", ".tsv", ".npz", words=("digits", "-"))


def _request(
    given: Mapping[str, Any],
    *,
    net: Annotated[
        Path | None,
        typer.Argument(
            help=f"A file with the net, {FILES}, in place of its options.",
            show_default=False,
            autocompletion=files_of(*NETS),
        ),
    ] = None,
    spec: Annotated[
        Path | None,
        typer.Option(
            help="What the arrays of such a file are: a JSON file, as spec.to_json() gives it.",
            rich_help_panel=NET,
            autocompletion=files_of(".json"),
        ),
    ] = None,
    data: Annotated[
        str | None,
        _measured(
            help="digits, FILE.csv, FILE.npz or - for CSV from a pipe.",
            show_default="standard normal samples",
            autocompletion=DATA,
        ),
    ] = None,
    target: Annotated[
        str | None,
        _measured(
            help="The target's column: its name, or its index from 0, from -1 at the right.",
            show_default="the last column",
        ),
    ] = None,
    sequence: Annotated[
        str | None, _measured(help="The column of the sequence, of CSV in long form.", show_default="none")
    ] = None,
    step: Annotated[
        str | None, _measured(help="The column of the step, of CSV in long form.", show_default="none")
    ] = None,
    loss: Annotated[
        str | None,
        _measured(
            help=f"{', '.join(LOSSES)}; such as 'huber(0.5)' or 'mse(reduction=sum)'.",
            show_default="that of the targets; without any, a random cotangent",
            autocompletion=choices(*LOSSES),
        ),
    ] = None,
    batch: Annotated[
        int | None, _measured(help="Samples of a run.", show_default=f"all of the data, or {BATCH}")
    ] = None,
    seeds: Annotated[int, _measured(help="Runs a cell.")] = SEEDS,
    seed: Annotated[int, _measured(help="The first seed.")] = 0,
    dtype: Annotated[
        str, _measured(help="float32 or float64.", autocompletion=choices("float32", "float64"))
    ] = "float32",
    threads: Annotated[int | None, _measured(help="At most this many.", show_default="as many as cores")] = None,
) -> Request:
    """The request that the options make, those of the fields given by name."""
    from vgcore.data.read import STDIN
    from vgcore.model.kind import Loss

    fields = {name: gather(name, given[name], parse) for name, parse in PARSERS.items()}
    fields = {name: values for name, values in fields.items() if values}
    flags = {name: given[name] for name in FLAGS}
    if net is None and spec is not None:
        raise ValueError(f"--spec says what the arrays of a file are; give the file, {FILES}")
    file = None if net is None else _file(net, spec, fields, flags)
    fields = {} if file else fields
    x = y = None
    if data is not None:
        x, y = _load(data, target, (sequence, step), loss, None if file else dtype)
        if file is None:
            if x.ndim == 3:
                _check_fed(fields, x.shape)
                fields.setdefault("depth", [x.shape[1]])
            fields.setdefault("in_features", [x.shape[-1]])
            fields.setdefault("out_features", [_outputs(y, loss)])
        y = y if loss is None or Loss(loss).takes_targets else None
    elif sequence is not None or step is not None:
        raise ValueError("--sequence and --step name columns of a file in long form; give --data")
    elif target is not None or (loss is not None and Loss(loss).takes_targets):
        raise ValueError(f"{'--loss' if loss else '--target'} needs targets; give --data")
    fields = {name: [value] for name, value in NET_DEFAULTS.items()} | fields
    measurement = {"x": x, "y": y, "loss": loss, "batch": batch, "seeds": seeds, "seed": seed}
    measurement |= {"dtype": dtype, "threads": threads}
    if file is not None:  # which has a dtype of its own, and gives the same in every run of the same samples
        measurement |= {"dtype": None, "seeds": None if seeds == SEEDS else seeds}
        return Request(MLP(depth=1, width=1), {}, measurement, STDIN_NAME if data == STDIN else data, file)
    base = MLP(**flags, **{name: values[0] for name, values in fields.items()})
    grid = {name: values for name, values in fields.items() if len(values) > 1}
    return Request(base, grid, measurement, STDIN_NAME if data == STDIN else data)


def with_net(
    command: Callable[..., None], *, files: bool = False, **other: tuple[Any, dict[str, Any]]
) -> Callable[..., None]:
    """A command whose first argument is a `Request`, as one that has the options of a net before its own.

    Args:
        command: The command.
        files: Whether the net may come from a file.
        **other: Options of how it is measured that mean something else here: their default, and what differs in their
            help.
    """
    fields = {name: _option(name) for name in HELP}
    rest = dict(list(inspect.signature(_request, eval_str=True).parameters.items())[1:])
    if not files:
        del rest["net"], rest["spec"]
    for name, (default, about) in other.items():
        sort: Any = rest[name].annotation.__origin__
        rest[name] = rest[name].replace(default=default, annotation=Annotated[sort, _measured(**about)])
    own = dict(list(inspect.signature(command, eval_str=True).parameters.items())[1:])

    @functools.wraps(command)
    def run(**given: Any) -> None:
        net, measurement = ({name: given.pop(name) for name in names} for names in (fields, rest))
        command(_request(net, **measurement), **given)

    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (fields | rest | own).values()]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run
