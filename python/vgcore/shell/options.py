"""The net of a command line: its options, and what they come to."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from vgcore import data as datasets
from vgcore._core import LOSSES
from vgcore.data.read import STDIN
from vgcore.model.given import LONGEST, shown
from vgcore.model.kind import Loss
from vgcore.model.mlp import MLP


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


def integers(text: str) -> list[int]:
    """`4,16,64` or `2:128:2`, the end included."""
    numbers: list[int] = []
    for part in split(text):
        if (match := re.fullmatch(r"(-?\d+)(?::(-?\d+)(?::(-?\d+))?)?", part)) is None:
            raise ValueError(f"{shown(part)} is neither a number nor a range such as 2:128:2")
        start, stop, step = (int(number) for number in (match[1], match[2] or match[1], match[3] or "1"))
        if step < 1:
            raise ValueError(f"the step of {shown(part)} must be 1 or more")
        if stop < start:
            raise ValueError(f"the range {shown(part)} is empty")
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


def gather(name: str, texts: list[str] | None, parse: Callable[[str], list[Any]]) -> list[Any]:
    """All values of an option, which may be given several times; an error names the option."""
    try:
        values = [value for text in texts or [] for value in parse(text)]
    except ValueError as error:
        raise ValueError(f"--{name.replace('_', '-')}: {error}") from None
    if texts and not values:
        raise ValueError(f"--{name.replace('_', '-')} has no values in {' '.join(map(repr, texts))}")
    return values


#: What `--help` says of the fields of a net, in its order.
HELP = {
    "depth": "Hidden layers: 64, a list 4,16,64 or a range 2:128:2.",
    "width": "Units a hidden layer.",
    "activation": "Such as tanh or 'leaky_relu(0.1)'.",
    "init": "Such as xavier_normal or 'mean_field(1.5, 0.05)'.",
    "bias": "Init of the biases; none: what init brings, or zeros.",
    "norm": "none, batch, layer or rms.",
    "norm_position": "pre or post: before or after phi.",
    "skip": "none, residual, 'residual(order=pre)', rezero, highway or dense.",
    "branch_scale": "Factor of a skip's branch, or 1/sqrt(L).",
    "block": "Layers a skip spans.",
    "weight_transform": "none, weight_standardization or spectral_norm.",
    "tied": "One set of weights for all layers: a recurrent net.",
    "inputs": "first or every: which steps of a tied net get one.",
    "in_features": "Columns of the input; from the data if given.",
    "out_features": "Units of the readout; from the data if given.",
}


#: What reads the values of a field, by the first type of its annotation; the others are names.
READERS: dict[str, Callable[[str], list[Any]]] = {"int": integers, "float": _scales}
FLAGS = tuple(field.name for field in dataclasses.fields(MLP) if field.type == "bool")
PARSERS = {
    field.name: READERS.get(str(field.type).partition(" ")[0], _names)
    for field in dataclasses.fields(MLP)
    if field.name not in FLAGS
}


def _option(name: str) -> inspect.Parameter:
    """The option of a field: a flag, or values."""
    flag, values = Annotated[bool, typer.Option(f"--{name}", help=HELP[name])], typer.Option(help=HELP[name])
    default, annotation = (False, flag) if name in FLAGS else (None, Annotated[list[str] | None, values])
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _load(source: str, target: str | None) -> tuple[Any, Any]:
    if source == "digits":
        if target is not None:
            raise ValueError("--target goes with a file; digits has its classes")
        return datasets.digits()
    column: str | int | None = int(target) if target and re.fullmatch(r"-?\d+", target) else target
    return datasets.read(source, target=column)


def _outputs(y: Any, loss: str | None) -> int:
    """How many outputs the targets are for; without a loss, whole numbers are classes where they can be."""
    if y.ndim > 1:
        return int(y.shape[1])
    if loss is not None and not Loss(loss).takes_classes:
        return 1
    if loss is None and not (y.min() >= 0 and y.max() < len(y)):
        raise ValueError(f"the target ranges from {y.min()} to {y.max()}, so it names no classes; give --loss mse")
    return int(y.max()) + 1


@dataclass(frozen=True)
class Request:
    """What is to be measured.

    Attributes:
        base: The net, with the first of several values.
        grid: The fields with several values.
        measurement: The arguments of `probe` besides the net.
        source: Where the data come from; None for random samples.
    """

    base: MLP
    grid: Mapping[str, Any]
    measurement: Mapping[str, Any]
    source: str | None

    def one(self, command: str) -> MLP:
        """The one net there is.

        Raises:
            ValueError: Where there are several.
        """
        if self.grid:
            raise ValueError(f"{command} takes one value for {', '.join(self.grid)}; use vgcore sweep to try several")
        return self.base


def _request(
    given: Mapping[str, Any],
    *,
    data: Annotated[
        str | None,
        typer.Option(help="digits, FILE.csv, FILE.npz or - for CSV from a pipe; standard normal samples otherwise."),
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="The target's column, by name or index; the last one otherwise.")
    ] = None,
    loss: Annotated[
        str | None, typer.Option(help=f"{', '.join(LOSSES)}; such as 'huber(0.5)' or 'mse(reduction=sum)'.")
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Samples of a run; all of the data, or 128, otherwise.")] = None,
    seeds: Annotated[int, typer.Option(help="Runs a cell.")] = 8,
    seed: Annotated[int, typer.Option(help="The first seed.")] = 0,
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    threads: Annotated[int | None, typer.Option(help="At most this many.")] = None,
) -> Request:
    """The request that the options make, those of the fields given by name."""
    fields = {name: gather(name, given[name], parse) for name, parse in PARSERS.items()}
    fields = {name: values for name, values in fields.items() if values}
    fields = {"depth": [32], "width": [128]} | fields
    x = y = None
    if data is not None:
        x, y = _load(data, target)
        fields.setdefault("in_features", [x.shape[1]])
        fields.setdefault("out_features", [_outputs(y, loss)])
        y = y if loss is None or Loss(loss).takes_targets else None
    elif target is not None or (loss is not None and Loss(loss).takes_targets):
        raise ValueError(f"{'--loss' if loss else '--target'} needs targets; give --data")
    measurement = {"x": x, "y": y, "loss": loss, "batch": batch, "seeds": seeds, "seed": seed}
    measurement |= {"dtype": dtype, "threads": threads}
    flags = {name: given[name] for name in FLAGS}
    base = MLP(**flags, **{name: values[0] for name, values in fields.items()})
    grid = {name: values for name, values in fields.items() if len(values) > 1}
    return Request(base, grid, measurement, "standard input" if data == STDIN else data)


def with_net(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose first argument is a `Request`, as one that has the options of a net before its own."""
    fields = {name: _option(name) for name in HELP}
    rest = dict(list(inspect.signature(_request, eval_str=True).parameters.items())[1:])
    own = dict(list(inspect.signature(command, eval_str=True).parameters.items())[1:])

    @functools.wraps(command)
    def run(**given: Any) -> None:
        net, measurement = ({name: given.pop(name) for name in names} for names in (fields, rest))
        command(_request(net, **measurement), **given)

    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (fields | rest | own).values()]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run
