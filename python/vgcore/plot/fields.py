"""What cells of sweeps are drawn against and what is drawn of them: fields as numbers and words, and quantities."""

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from vgcore.judge.depth_limit import depth_limit
from vgcore.judge.evidence import Evidence
from vgcore.judge.rules import RULES, of_change
from vgcore.judge.verdict import VERDICTS, findings, verdict
from vgcore.measure import table
from vgcore.measure.cells import Sweep
from vgcore.measure.result import SIGNALS, Floats, Probe, Signal, log10_factors
from vgcore.model.custom import named
from vgcore.model.given import items, wrong_type
from vgcore.model.kind import Kind
from vgcore.model.mlp import MLP
from vgcore.model.names import known, listing
from vgcore.model.network import Network
from vgcore.model.rnn import RNN
from vgcore.model.sequential import Sequential
from vgcore.model.sorts import FIELDS, fields_of
from vgcore.model.spec import Spec
from vgcore.model.transformer import Transformer
from vgcore.train.many import ARGUMENTS, TrainSweep, parameters_of, told_of
from vgcore.train.run import Run

#: What is measured of a net, or trained.
Cell: TypeAlias = Probe | Run
#: What can be drawn as cells.
Cells: TypeAlias = Probe | Sweep | Sequence[Probe]
AnyCells: TypeAlias = Cells | Run | TrainSweep | Sequence[Run]

LABELS: dict[Signal, str] = {
    "forward": "forward scale z (rms)",
    "backward": "backward signal dL/dz (rms)",
    "weight": "weight gradient dL/dW (norm)",
}
CHANGES: dict[Signal, str] = {
    "forward": "forward change of z",
    "backward": "backward change of dL/dz",
    "weight": "change of dL/dW",
}
#: What axes say of fields that have a unit.
AXES = {"depth": "depth (hidden layers)", "width": "width (units)", "optimizer_lr": "learning rate"}
GAPS = {
    "diverged": "diverged: a value of a run is not finite",
    "dead": "dead: the signal of a run is exactly 0",
    "one layer": "one layer: nothing is passed on",
    "no limit": "no limit: dL/dz stays within it at any depth",
    "not known": "not known: nets of other depths are other nets",
    "not validated": "not validated: train with validation=0.2",
    "without classes": "without classes: targets have no accuracy",
    "0 or below": "0 or below: a loss without a logarithm",
    "missing": "not measured: the sweep has no such cell",
}
HATCHES = {
    "diverged": "////",
    "dead": "....",
    "one layer": "--",
    "no limit": "oo",
    "not known": "**",
    "not validated": "||",
    "without classes": "++",
    "0 or below": "\\\\\\\\",
    "missing": "xxxx",
}
#: What of a training a reading of it goes by, and no name of a cell says.
READINGS = ("validation", "validate_every", "early_stopping", "nonfinite")
TITLE = ("activation", "init", "depth", "width")
#: The main fields of a net of each kind that has fields, and one of which no more is said.
TITLES: dict[str, tuple[tuple[str, ...], Spec]] = {
    "MLP": (TITLE, MLP(depth=1, width=1)),
    "RNN": (("cell", "init", "steps", "width"), RNN(1, 1)),
    "Transformer": (("init", "depth", "width"), Transformer(1, 4)),
}
PROBES = "a Probe, a Sweep or a list of Probes"
RUNS = f"{PROBES}, or the same of Runs"
NAMED = 10  # values that an error lists
LABEL = 60  # characters of a line of a label
LONG = re.compile(r"(?<![\w.])\d{7,}(?:\.\d+)?(?![\w.])|(?<![\w.])\d+\.\d{6,}(?![\w.])")  # a number of many digits
RUNNING = 6  # stretches of equal values that a label lists


# Axes


def along(cells: Sequence[Cell]) -> str:
    """The field that cells are drawn along if none is asked for."""
    recurrent = all(isinstance(cell, Probe) and isinstance(cell.spec, RNN) for cell in cells)
    return "steps" if recurrent else "depth"


def axis_words(name: str, cells: Sequence[Cell]) -> str:
    """What an axis says of a field."""
    if name == "depth" and all(isinstance(cell.spec, Transformer) for cell in cells):
        return "depth (blocks)"
    return AXES.get(name, name)


# Cells


def cells_of(given: object, *, runs: bool = False) -> list[Any]:
    """The cells, all probes, or all runs where these will do too."""
    allowed = RUNS if runs else PROBES
    cells = [given] if isinstance(given, Probe | Run) else items("what to draw", given, allowed)
    kinds = (Probe, Run) if runs else (Probe,)
    if not any(all(isinstance(cell, kind) for cell in cells) for kind in kinds):
        raise wrong_type("what to draw", allowed, given)
    if not cells:
        raise ValueError("there is nothing to draw: no cell was measured")
    return cells


def facts_of(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """What each cell is and how its numbers came about, by the names of frames: cells are alike where all facts are."""
    return [_facts(cell) | origin for cell, origin in zip(cells, origins_of(cells), strict=True)]


def _facts(cell: Cell) -> dict[str, Any]:
    spec = cell.spec
    found = {name: getattr(spec, name) for name in fields_of(spec)} or spec.to_dict()
    found |= {"depth": spec.depth, "width": spec.width}
    if weights_of(cell) is not None:
        found |= {"init": table.OWN}
    if isinstance(cell, Run):
        told = told_of(0, cell)
        found |= parameters_of(cell) | {name: told[name] for name in (*ARGUMENTS, "loss", "steps")}
        found |= {"optimizer": cell.optimizer.name}
    else:
        found |= table.parameters(cell) | {"loss": table.start(cell)}
    return found | {"batch": cell.batch, "dtype": cell.dtype, "seeds": len(cell.seeds)}


def weights_of(cell: Cell) -> Network | None:
    """The net that was given; None where weights were drawn."""
    return cell.network0 if isinstance(cell, Run) else cell.network


def origins_of(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """What tells apart cells that are called the same: the ids of their data and own weights, their seeds and readings.

    What cells share is looked at once: it may be large.
    """
    networks = {id(network): network for network in map(weights_of, cells) if network is not None}
    weights = {key: table.weights_id(network) for key, network in networks.items()}
    trainings = {id(cell.training): cell.training for cell in cells if isinstance(cell, Run)}
    trained = {key: training.facts() for key, training in trainings.items()}
    data = table.data_ids([cell for cell in cells if isinstance(cell, Probe)])
    found = []
    for i, cell in enumerate(cells):
        network = weights_of(cell)
        seeds = cell.seeds.tolist()
        row = {"weights": "drawn" if network is None else weights[id(network)]}
        row |= {"seed": seeds[0] if seeds == [*range(seeds[0], seeds[0] + len(seeds))] else str(seeds)}
        if isinstance(cell, Run):
            told = trained[id(cell.training)]
            row |= {"data": told["x"], "targets": told["y"] or "none", **{name: told[name] for name in READINGS}}
        else:
            row |= {"data": data[i]}
        found.append(row)
    return found


def is_number(value: object) -> bool:
    """Whether it has a place on an axis of numbers."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_field(argument: str, name: str, told: Sequence[Mapping[str, Any]]) -> str:
    """The name of a field of all cells, as frames have it: `lr` is `optimizer_lr`."""
    fields = dict.fromkeys(field for each in told for field in each)
    short = {field.removeprefix("optimizer_"): field for field in fields if field.startswith("optimizer_")}
    name = short.get(known(argument, name, fields | short), name)
    if lacking := sum(name not in each for each in told):
        values = listing(map(repr, dict.fromkeys(each[name] for each in told if name in each)), NAMED)
        do = f"leave them out: sweep.select({name}=[{values}])"
        raise ValueError(f"{argument}={name!r}: {lacking} of {len(told)} cells have no {name}; {do}")
    return name


def apart(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The fields in which two cells differ: parameters where both have the same kind, else the kind."""
    names = [name for name in {**one, **other} if str(one.get(name)) != str(other.get(name))]
    told = list(names)
    for kind in names:
        params = [name for name in names if name.startswith(f"{kind}_") and name not in FIELDS]
        left = params if any(name not in one or name not in other for name in params) else [kind] if params else []
        told = [name for name in told if name not in left]
    return told


def varying(told: Sequence[Mapping[str, Any]], *, numbers: bool = False) -> list[str]:
    """The fields in which cells differ, those of all cells."""
    names = [name for name in told[0] if all(name in each for each in told)]
    found = [name for name in names if len({str(each[name]) for each in told}) > 1]
    return [name for name in found if all(is_number(each[name]) for each in told)] if numbers else found


# Words


def words_of(cell: Cell, without: Iterable[str] = ()) -> dict[str, str]:
    """What a cell is and how it was measured, by field; without some fields, or parameters FIELD_PARAM of kinds."""
    seeds, left_out = len(cell.seeds), {*without}
    words = of_spec(cell.spec, left_out)
    if weights_of(cell) is not None:
        words |= {"init": table.OWN, "bias": "own biases"}
    loss = table.start(cell) if isinstance(cell, Probe) else f"{cell.loss_name} loss"
    if isinstance(cell, Run):
        recipe = cell.recipe.facts()
        words["optimizer"] = spelled(_without("optimizer", str(cell.optimizer), left_out))
        words["schedule"] = spelled(f"schedule {_without('schedule', str(recipe['schedule']), left_out)}")
        words["clip"] = spelled(_without("clip", repr(cell.clip), left_out)) if cell.clip else "no clip"
        for name in ("noise", "rates", "frozen"):
            words[name] = spelled(f"{name} {recipe[name]}") if recipe[name] else f"no {name}"
        words["steps"] = f"{cell.training.steps} steps"
    words |= {"seeds": f"{seeds} seeds" if seeds > 1 else "1 seed", "batch": f"batch {cell.batch}"}
    words |= {"dtype": cell.dtype, "loss": _without("loss", loss, left_out)}
    return {name: word for name, word in words.items() if name not in left_out}


def of_spec(spec: Spec, without: Iterable[str] = ()) -> dict[str, str]:
    """A net in words, by field."""
    if isinstance(spec, Sequential):
        fields = {name: " ".join(map(str, v)) if isinstance(v, list) else str(v) for name, v in spec.to_dict().items()}
        return {
            "depth": f"depth {spec.depth}",
            "parts": shortened(spelled(fields["parts"])),
            "init": spelled(fields["init"]),
        }
    return {name: _word(name, getattr(spec, name), {*without}) for name in fields_of(spec)}


def net_words(common: dict[str, str], spec: Spec) -> list[str]:
    """What is worth saying of a net, of what all have in common: the main fields, and others that are not as usual."""
    if isinstance(spec, Sequential):
        return [common[name] for name in ("depth", "init") if name in common]
    title, plain = next(TITLES[kind.__name__] for kind in type(spec).__mro__ if kind.__name__ in TITLES)
    fields = [name for name in fields_of(spec) if name not in title and getattr(spec, name) != getattr(plain, name)]
    return [common[name] for name in (*title, *fields) if name in common and not name.endswith("_features")]


def _word(name: str, value: object, without: set[str]) -> str:
    if value is None:
        return {"bias": "bias of init", "out_features": "no readout"}.get(name, f"no {name}")
    if name == "tied":
        return "tied" if value else "untied"
    if isinstance(value, tuple):
        runs = [(_kind(name, item, without), len(list(group))) for item, group in itertools.groupby(value)]
        kinds = [f"{item} x{n}" if n > 1 else item for item, n in runs]
        if len(kinds) > RUNNING:
            kinds = [*kinds[: RUNNING - 2], "...", kinds[-1], f"({len(value)} layers)"]
        value = " ".join(kinds)
    else:
        value = _kind(name, value, without)
    if name == "norm":
        return f"{value} norm"
    return str(value) if name in {"activation", "cell", "init", "skip", "weight_transform"} else f"{name} {value}"


def _kind(name: str, value: object, without: set[str]) -> str:
    return spelled(_without(name, str(value), without) if isinstance(value, Kind) else str(value))


def spelled(text: str) -> str:
    """What people read of a text: own activations by their names, and numbers of many zeros as 1e-30."""
    return LONG.sub(lambda found: min(found[0], repr(float(found[0])), key=len), named(text))


def _without(field: str, text: str, left_out: set[str]) -> str:
    """A text that begins with a call, without some of its parameters: `elu(alpha=2)` without `alpha` is `elu`."""
    params = {name.removeprefix(f"{field}_") for name in left_out if name.startswith(f"{field}_")}
    call, end, rest = text.partition(")")
    name, start, inside = call.partition("(")
    if not params or not start or " " in name:
        return text
    kept = [each for each in inside.split(", ") if each.partition("=")[0] not in params]
    return f"{name}({', '.join(kept)}{end}{rest}" if kept else f"{name}{rest}"


def shortened(text: str) -> str:
    """A long list in one line."""
    return text if len(text) <= LABEL else f"{text[: LABEL - 20].rstrip()} ... {text[-15:].lstrip()}"


def varied_words(cells: Sequence[Cell], without: Iterable[str] = ()) -> list[dict[str, str]]:
    """The words of each cell that are not those of all, with the ids of data and own weights where these differ."""
    words = [words_of(cell, without) for cell in cells]
    for row, origin in zip(words, origins_of(cells), strict=True):
        told = {name: f"{name} {origin[name]}" for name in ("weights", "data", "targets") if name in origin}
        told |= {"weights": ""} if origin["weights"] == "drawn" else {}
        told |= {"data": "drawn data"} if origin["data"] == table.DRAWN else {}
        row |= {name: word for name, word in told.items() if name not in {*without}}
    names = dict.fromkeys(name for row in words for name in row)
    fields = [name for name in names if len({row.get(name, "") for row in words}) > 1]
    return [{name: row.get(name, "") for name in fields} for row in words]


def label_of(words: Mapping[str, str]) -> str:
    """The words of a configuration, in several lines where they are many."""
    label = ", ".join(word.replace(" ", "\xa0") for word in words.values() if word)
    return textwrap.fill(label, LABEL, break_long_words=False, break_on_hyphens=False).replace("\xa0", " ")


# Quantities


@dataclass(frozen=True)
class Quantity:
    """What is drawn of a cell.

    Attributes:
        label: What an axis says of it.
        of: log10 of it, one a seed; of a share, itself.
        scale: `"change"`, a power of ten that is 0 where nothing changes; `"factor"`, the same a layer; `"size"`, a
            number above 0; `"share"`, one of 0 to 1; `"word"`, the place of a word in `VERDICTS`.
        lacks: Why a cell has no such number, as a key of `GAPS`.
        signal: Whose change it is.
    """

    label: str
    of: Callable[[Any], Floats]
    scale: str
    lacks: Callable[[Any], str]
    signal: Signal | None = None

    @property
    def diverging(self) -> bool:
        """Whether it has a middle, where nothing changes."""
        return self.scale in {"change", "factor"}


def _change(signal: Signal) -> Callable[[Probe], Floats]:
    return lambda cell: cell.end_to_end(signal)


def _factor(signal: Signal) -> Callable[[Probe], Floats]:
    return lambda cell: log10_factors(cell, signal)


def _lost(cell: Probe) -> str:
    """Why a signal has no logarithm."""
    return "diverged" if (cell.first_nonfinite >= 0).any() else "dead"


def _no_factor(cell: Probe) -> str:
    lost = _lost(cell)
    return "one layer" if cell.spec.rows == 1 and lost == "dead" else lost


def _limit(cell: Probe) -> Floats:
    limit = depth_limit(Evidence(cell), RULES)
    return np.array([np.nan if limit is None else np.log10(limit.value)])


def _no_limit(cell: Probe) -> str:
    """A limit of inf is none; where a diagnosis has no limit it is not known, most often of a signal that is lost."""
    if depth_limit(Evidence(cell), RULES) is not None:
        return "no limit"
    if not np.isfinite(cell.log10_delta_rms).all():
        return _lost(cell)
    return "one layer" if cell.spec.rows == 1 else "not known"


def _log10(values: Any) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = np.log10(values)
    return found


def _best(values: Floats, *, least: bool) -> Floats:
    """The best reading of each seed; nan where there is none."""
    worst = np.inf if least else -np.inf
    ends = np.where(np.isfinite(values), values, worst)
    best = (ends.min if least else ends.max)(axis=1, initial=worst)
    return np.where(np.isfinite(best), best, np.nan)


def _loss(label: str, of: Callable[[Run], Floats], *, validated: bool = False) -> Quantity:
    """A loss that a training came to."""

    def lacks(run: Run) -> str:
        if validated and not run.validation_loss.size:
            return "not validated"
        return "0 or below" if np.isfinite(of(run)).all() else "diverged"

    return Quantity(label, lambda run: _log10(of(run)), "size", lacks)


def _no_accuracy(run: Run) -> str:
    if not run.validation_loss.size:
        return "not validated"
    return "without classes" if np.isfinite(_best(run.validation_loss, least=True)).all() else "diverged"


def _verdict(cell: Probe) -> Floats:
    evidence = Evidence(cell)
    return np.array([VERDICTS.index(verdict(evidence, findings(evidence)).verdict)], dtype=np.float64)


MEASURED: dict[str, Quantity] = {
    **{
        signal: Quantity(f"end-to-end {CHANGES[signal]}", _change(signal), "change", _lost, signal)
        for signal in SIGNALS
    },
    **{
        f"{signal}_factor": Quantity(
            f"{CHANGES[signal]}, factor a layer", _factor(signal), "factor", _no_factor, signal
        )
        for signal in SIGNALS
    },
    "depth_limit": Quantity("depth limit (hidden layers)", _limit, "size", _no_limit),
}
TRAINED: dict[str, Quantity] = {
    "final_loss": _loss("loss at the end", lambda run: run.final_loss),
    "best_loss": _loss("least loss", lambda run: run.best_loss),
    "validation_loss": _loss(
        "least validation loss", lambda run: _best(run.validation_loss, least=True), validated=True
    ),
    "validation_accuracy": Quantity(
        "best validation accuracy", lambda run: _best(run.validation_accuracy, least=False), "share", _no_accuracy
    ),
}
MAPPED = MEASURED | {"verdict": Quantity("verdict", _verdict, "word", _lost)}
#: What a picture of nothing but such cells is refused with.
REFUSED = {
    "not validated": "none of the nets was validated; train with validation=0.2, or draw value='final_loss'",
    "without classes": "targets that are no classes have no accuracy; draw value='validation_loss'",
}


def quantity_of(name: str | None, cells: Sequence[Cell], measured: Mapping[str, Quantity]) -> Quantity:
    """What is asked for of these cells, of trained ones among what came of them.

    Raises:
        ValueError: Where no cell can have it, as it was trained.
    """
    trained = isinstance(cells[0], Run)
    choices = TRAINED if trained else measured
    if name is None:
        return choices["final_loss" if trained else "backward"]
    quantity = choices[known("value", name, choices)]
    if trained and not any(np.isfinite(quantity.of(cell)).any() for cell in cells):
        reasons = {quantity.lacks(cell) for cell in cells}
        for reason, words in REFUSED.items():
            if reasons == {reason}:
                raise ValueError(f"value={name!r}: {words}")
    return quantity


def allowed_change(signal: Signal | None) -> float | None:
    """The decades from which on a verdict counts a change of a signal; None where none does."""
    if signal is None or not any(rule.signal == signal for rule in RULES):
        return None
    return min(of_change(RULES, signal, sign).decisive for sign in (-1, 1))
