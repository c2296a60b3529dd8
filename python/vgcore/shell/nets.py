"""The nets that a command line may name, `--net mlp|rnn|transformer`, and their fields as options."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from vgcore._core import ACTIVATIONS, CELLS, INITS, NORMS, SKIPS, WEIGHT_TRANSFORMS
from vgcore.model import mlp, rnn, transformer
from vgcore.model.given import LONGEST, shown
from vgcore.model.mlp import MLP
from vgcore.model.rnn import RNN
from vgcore.model.spec import Spec
from vgcore.model.transformer import Transformer
from vgcore.shell.complete import choices


@dataclass(frozen=True)
class Net:
    """A net that `--net` names.

    Attributes:
        spec: What it is.
        needed: The fields that it must name, as they are where the command line does not.
        defaults: The fields that it need not name.
        panel: Where `--help` tells of the options that it alone has.
    """

    spec: type[Spec]
    needed: Mapping[str, int]
    defaults: Mapping[str, Any]
    panel: str

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of its fields."""
        return tuple(field.name for field in dataclasses.fields(self.spec))  # type: ignore[arg-type]


NETS = {
    "mlp": Net(MLP, {"depth": 32, "width": 128}, mlp.DEFAULTS, "An MLP alone"),
    "rnn": Net(RNN, {"steps": 100, "width": 64}, rnn.DEFAULTS, "A recurrent net alone: --net rnn"),
    "transformer": Net(
        Transformer, {"depth": 6, "width": 64}, transformer.DEFAULTS, "A transformer alone: --net transformer"
    ),
}
#: The net that is meant where none is named.
USUAL = "mlp"
#: What a net has in place of an option of others.
INSTEAD = {
    ("mlp", "layers"): "--depth",
    ("mlp", "cell"): "--activation",
    ("rnn", "depth"): "--steps and --layers",
    ("rnn", "tokens"): "--steps",
    ("rnn", "activation"): "--cell",
    ("transformer", "steps"): "--tokens",
    ("transformer", "layers"): "--depth",
    ("transformer", "cell"): "--activation",
}


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


def _integers_or_none(text: str) -> list[int | None]:
    return [number for part in split(text) for number in ([None] if part == "none" else integers(part))]


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


#: The panel of `--help` for the options that more than one net has.
PANEL = "The net"
#: What `--help` says of the fields of nets, in its order.
HELP = {
    "depth": "Hidden layers: 64, a list 4,16,64 or a range 2:128:2.",
    "width": "Units a hidden layer.",
    "activation": "Such as tanh or 'leaky_relu(0.1)'.",
    "init": "Such as xavier_normal or 'mean_field(1.5, 0.05)'.",
    "bias": "Init of the biases; none: what init brings, or zeros; false: no biases.",
    "norm": "none, batch, layer or rms.",
    "norm_position": "pre or post: before or after phi; input: before the map.",
    "final_norm": "none, batch, layer or rms: before the readout.",
    "skip": "none, residual, 'residual(order=pre)', rezero, highway or dense.",
    "in_features": "Columns of the input.",
    "out_features": "Units of the readout.",
    "dropout": "Share of what a layer gives that training drops.",
    "branch_scale": "Factor of a skip's branch, or 1/sqrt(L).",
    "block": "Layers a skip spans.",
    "stem": "Layers before the first block.",
    "weight_transform": "none, weight_standardization or spectral_norm.",
    "tied": "One set of weights for all layers.",
    "inputs": "first or every: which steps of a tied net get one.",
    "steps": "Steps of a sequence: 100, a list or a range 10:200:10.",
    "cell": "tanh, relu, irnn, lstm, 'gru(reset=before)', ...",
    "layers": "Layers, each fed by the one below.",
    "recurrent_init": "Of the weights from state to state.",
    "biases": "1 or 2 of each gate.",
    "outputs": "last or every: the steps that have a readout.",
    "truncate": "Cut the gradient every so many steps.",
    "tokens": "Tokens of a sample: 16, a list or a range.",
    "heads": "Heads of attention.",
    "ffn": "Features between the two maps of a token, in widths.",
    "causal": "A token sees none behind it.",
    "qk_norm": "Normalise queries and keys.",
    "scale": "standard or mup: of the logits.",
    "pool": "none, mean or last: what becomes of the tokens at the end.",
}
#: What it says of these beside, where there are other nets than the usual one.
MORE = {
    "depth": "Of a transformer: blocks.",
    "width": "Of a transformer: features of a token.",
    "activation": "An rnn has --cell.",
    "norm_position": "Of a transformer: pre or post.",
    "final_norm": "Of a transformer: auto too.",
    "skip": "Of a transformer: none, residual, rezero or deepnorm.",
    "in_features": "Of sequences: of a step or token.",
}
#: Options that are called otherwise than their fields.
SPELLED = {"scale": "attention-scale"}
#: What a field that is None means, or one that the data say.
UNSAID = {
    "in_features": "those of the data, or the width",
    "out_features": "those of the targets, or no readout",
    "truncate": "no cut",
}
#: What the shell completes for a field.
VALUES = {
    "activation": ACTIVATIONS,
    "init": INITS,
    "bias": ("none", "false", "chrono", *INITS),
    "norm": ("none", *NORMS),
    "norm_position": ("pre", "post", "input"),
    "final_norm": ("none", "auto", *NORMS),
    "skip": ("none", *SKIPS, "deepnorm"),
    "branch_scale": ("1/sqrt(L)",),
    "weight_transform": ("none", *WEIGHT_TRANSFORMS),
    "inputs": ("first", "every"),
    "cell": CELLS,
    "recurrent_init": INITS,
    "outputs": ("last", "every"),
    "pool": ("none", "mean", "last"),
    "scale": ("standard", "mup"),
}
#: The annotation of each field, of the first net that has it.
TYPES = {
    field.name: str(field.type)
    for net in reversed(NETS.values())
    for field in dataclasses.fields(net.spec)  # type: ignore[arg-type]
}
FLAGS = tuple(name for name in HELP if TYPES[name] == "bool")
#: What reads the values of a field, by the first word of its annotation; the others are names.
READERS: dict[str, Callable[[str], list[Any]]] = {"int": integers, "float": _scales}
METAVARS: dict[Any, str] = {integers: "INT,...", _integers_or_none: "INT,...", _scales: "FLOAT,..."}
PARSERS = {name: READERS.get(TYPES[name].partition(" ")[0], _names) for name in HELP if name not in FLAGS} | {
    "bias": _biases,
    "truncate": _integers_or_none,
}


def flag(name: str) -> str:
    """The option of a field.

    >>> flag("qk_norm"), flag("scale")
    ('--qk-norm', '--attention-scale')
    """
    return f"--{SPELLED.get(name, name).replace('_', '-')}"


def owners(name: str) -> list[str]:
    """The nets that have a field."""
    return [called for called, net in NETS.items() if name in net.fields]


def gather(name: str, texts: list[str] | None, parse: Callable[[str], list[Any]]) -> list[Any]:
    """All values of an option, which may be given several times; an error names the option."""
    try:
        values = [value for text in texts or [] for value in parse(text)]
    except ValueError as error:
        raise ValueError(f"{flag(name)}: {error}") from None
    if texts and not values:
        raise ValueError(f"{flag(name)} has no values in {' '.join(map(repr, texts))}")
    return values


def options(nets: Collection[str] = tuple(NETS), without: Collection[str] = ()) -> dict[str, inspect.Parameter]:
    """`--net`, and the options of the fields of some nets: flags, or values."""
    about = typer.Option(
        "--net",
        help=f"{', '.join(nets)}: what the net is.",
        rich_help_panel=PANEL,
        show_default=USUAL,
        autocompletion=choices(*nets),
    )
    net = inspect.Parameter(
        "net", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[str | None, about]
    )
    named = [name for name in HELP if name not in without and set(owners(name)) & set(nets)]
    return {"net": net} | {name: _option(name, [net for net in owners(name) if net in nets]) for name in named}


def _option(name: str, nets: list[str]) -> inspect.Parameter:
    own = owners(name)
    words = f"{HELP[name]} {MORE[name]}" if name in MORE and nets != [USUAL] else HELP[name]
    about: dict[str, Any] = {"help": words, "rich_help_panel": NETS[own[0]].panel if len(own) == 1 else PANEL}
    if name in FLAGS:
        option = typer.Option(flag(name), **about)
        return inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, option]
        )
    about["show_default"] = _told_default(name, nets)
    about["metavar"] = METAVARS.get(PARSERS[name], "TEXT,...")
    if name in VALUES:
        about["autocompletion"] = choices(*VALUES[name])
    annotation = Annotated[list[str] | None, typer.Option(flag(name), **about)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _told_default(name: str, nets: list[str]) -> str:
    """What a field is where it is not given: of the first net that has it, and of those where it is something else."""
    each: dict[str, list[str]] = {}
    for called in nets:
        net = NETS[called]
        value = net.needed.get(name, net.defaults.get(name))
        unsaid = "none" if value is None else str(value)
        each.setdefault(UNSAID.get(name, unsaid) if value is None else unsaid, []).append(called)
    first, *others = each
    return "; ".join([first, *(f"{', '.join(each[other])}: {other}" for other in others)])


def check_fields(net: str | None, given: Iterable[str]) -> None:
    """Refuse the options that are those of other nets."""
    called = net or USUAL
    for name in given:
        if name not in NETS[called].fields:
            goes = " or ".join(f"--net {each}" for each in owners(name))
            instead = f", which has {INSTEAD[called, name]}" if (called, name) in INSTEAD else ""
            here = f"not with --net {called}{instead}" if net else f"and without --net the net is an {USUAL}"
            raise ValueError(f"{flag(name)} goes with {goes}, {here}")


#: The most cells that are looked at for options without an effect.
LOOKED_AT = 1000


def idle(net: str, base: Spec, grid: Mapping[str, list[Any]], given: Mapping[str, Any]) -> list[str]:
    """The fields, of those given with one value, without which every cell would be the same net."""
    axes = [[(name, value) for value in values] for name, values in grid.items()]
    if math.prod(map(len, axes)) > LOOKED_AT:
        return []
    defaults = NETS[net].defaults

    def does_nothing(name: str) -> bool:
        if name in grid or name not in defaults or str(given[name]) == str(defaults[name]):
            return False
        cells = (base.replace(**dict(changes) | {name: given[name]}) for changes in itertools.product(*axes))
        try:
            return all(cell.replace(**{name: defaults[name]}).id == cell.id for cell in cells)
        except (TypeError, ValueError):  # there is no such net without it
            return False

    return [name for name in given if does_nothing(name)]
