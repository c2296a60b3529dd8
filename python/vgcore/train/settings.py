"""What a caller may ask of a training: clipping, early stopping, rates of layers, rows for validation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vgcore import _core
from vgcore.model.given import Bounds, integer, items, number, numbers, shown, text, wrong_type
from vgcore.model.names import hint, known, listing
from vgcore.model.network import Network
from vgcore.model.optimizer import Optimizer, Schedule
from vgcore.model.spec import Spec
from vgcore.model.versioned import Versioned

Floats = NDArray[np.float64]

#: The optimiser and the schedule where none is given.
OPTIMIZER, CONSTANT = "adam", Schedule("constant")
PER = ("global", "layer", "tensor", "value", "agc")
POSITIVE, AT_LEAST_ZERO, AT_LEAST_ONE = Bounds(above=0.0, finite=False), Bounds(least=0.0), Bounds(least=1.0)
#: What can be recorded of every layer, and what is by default.
FULL = _core.MONITORS
CHEAP = ("log10_weight_norm", "log10_wgrad_norm", "log10_update_norm", "log10_update_ratio", "rounded")
MONITORS = {"cheap": CHEAP, "full": FULL}


@dataclass(frozen=True)
class Clip(Versioned):
    """How gradients are kept from being too large, or too small. Boosting comes first, then clipping.

    Args:
        max_norm: The largest norm; None clips nothing. Per value it is the largest entry, and of `agc` the largest
            ratio of a row's gradient to its weights (0.01 in the paper).
        min_norm: The least norm of a tensor's gradient: below it, the gradient is multiplied by `min_norm / norm`.
            None boosts nothing.
        per: What is clipped together: `"global"`, all gradients by one factor, as `torch.nn.utils.clip_grad_norm_`
            does; `"layer"`, `"tensor"`; `"value"`, each entry by itself, which turns the direction; or `"agc"`, each
            row of a weight (Brock et al. 2021, arXiv:2102.06171), the readout excluded, a bias as one row.
        max_boost: The largest factor of a boost.
        eps: Of `agc`, the least norm of a row's weights.

    A factor below 1 is `max_norm / (norm + 1e-6)`, as in torch.

    >>> Clip(max_norm=1.0)
    Clip(max_norm=1.0)
    >>> Clip(max_norm=None, min_norm=1.0)
    Clip(max_norm=None, min_norm=1.0)
    """

    max_norm: float | None = 1.0
    min_norm: float | None = None
    per: str = "global"
    max_boost: float = 1e30
    eps: float = 1e-3

    def __post_init__(self) -> None:
        fields = vars(self)
        for name in ("max_norm", "min_norm"):
            if (given := fields[name]) is not None:
                fields[name] = number(name, given, POSITIVE if name == "max_norm" else Bounds(above=0.0))
        known("per", self.per, PER)
        fields["max_boost"] = number("max_boost", self.max_boost, AT_LEAST_ONE)
        fields["eps"] = number("eps", self.eps, Bounds(above=0.0))
        super().__post_init__()

    def __repr__(self) -> str:
        given = {name: value for name, value in vars(self).items() if value != getattr(Clip, name)}
        given = {"max_norm": self.max_norm} | given
        return f"Clip({', '.join(f'{name}={value!r}' for name, value in given.items())})"


@dataclass(frozen=True)
class EarlyStopping(Versioned):
    """When a run stops before its last step: after more than `patience` readings in a row that are no better.

    A reading is the loss of the validation, or the mean training loss since the last reading where there is none.

    Args:
        patience: Readings that may be no better, 0 or more: as in torch's `ReduceLROnPlateau`, one more is too many.
        min_delta: A reading is better where it lies below the best by more than this; the first one is the best.

    >>> EarlyStopping(patience=3)
    EarlyStopping(patience=3, min_delta=0.0)
    """

    patience: int = 10
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        fields = vars(self)
        fields["patience"] = integer("patience", self.patience, least=0)
        fields["min_delta"] = number("min_delta", self.min_delta, AT_LEAST_ZERO)
        super().__post_init__()


def clip_of(given: object) -> Clip | None:
    """What a caller gave: None, a `Clip`, or a number, which is its `max_norm`."""
    if given is None or isinstance(given, Clip):
        return given
    return Clip(number("clip", given, POSITIVE))


def early_stopping_of(given: Any) -> EarlyStopping | None:
    """What a caller gave: None, an `EarlyStopping`, or a number, which is its patience."""
    if given is None or isinstance(given, EarlyStopping):
        return given
    return EarlyStopping(integer("early_stopping", given, least=0))


@dataclass(frozen=True, eq=False)
class Recipe(Versioned):
    """How a net takes its steps: what may differ between the cells of a sweep.

    Attributes:
        optimizer: The optimiser.
        schedule: What multiplies its rate: a kind, or one number a step.
        clip: How gradients are clipped and boosted; None for not at all.
        noise: eta of Gaussian noise, whose variance is `eta / t^0.55` at step t; it comes before clipping.
        rates: Multipliers of the rate, by the names of modules or tensors.
        frozen: Names of modules or tensors that stay as they are.
    """

    optimizer: Optimizer
    schedule: Schedule | Floats
    clip: Clip | None
    noise: float
    rates: Mapping[str, float]
    frozen: tuple[str, ...]

    def __repr__(self) -> str:
        schedule = f"{len(self.schedule)} rates" if isinstance(self.schedule, np.ndarray) else str(self.schedule)
        more = {"clip": self.clip, "noise": self.noise, "rates": self.rates, "frozen": self.frozen}
        return f"Recipe({self.optimizer}, {schedule}{''.join(f', {k}={v!r}' for k, v in more.items() if v)})"

    @classmethod
    def of(
        cls,
        *,
        optimizer: str = OPTIMIZER,
        schedule: str | ArrayLike | None = None,
        clip: Clip | float | None = None,
        noise: float = 0.0,
        rates: Mapping[str, float] | None = None,
        frozen: str | Iterable[str] = (),
        steps: int,
    ) -> Recipe:
        """What a caller gave, checked."""
        if rates is not None and not isinstance(rates, Mapping):
            raise wrong_type("rates", "multipliers by the names of modules or tensors, such as {'readout': 0.1}", rates)
        every = () if rates is None else rates.items()
        names = [frozen] if isinstance(frozen, str) else items("frozen", frozen, "a list of names", ordered=False)
        return cls(
            optimizer if isinstance(optimizer, Optimizer) else Optimizer(optimizer),
            _schedule(schedule, steps),
            clip_of(clip),
            number("noise", noise, AT_LEAST_ZERO),
            {text("rates", name): number(f"rates[{shown(name)}]", rate, AT_LEAST_ZERO) for name, rate in every},
            tuple(text("frozen", name) for name in names),
        )

    def of_core(self, spec: Spec) -> dict[str, Any]:
        """The recipe as the core takes it."""
        clip = self.clip
        schedule = self.schedule if isinstance(self.schedule, np.ndarray) else str(self.schedule)
        return {
            "optimizer": str(self.optimizer),
            "schedule": schedule,
            "clip": clip and (clip.max_norm, clip.min_norm, clip.per, clip.max_boost, clip.eps),
            "noise": self.noise,
            "rates": multipliers(tensors(spec), self.rates, self.frozen) if self.rates or self.frozen else None,
        }

    def facts(self) -> dict[str, Any]:
        """What it says of the numbers of a run, as JSON has it."""
        return {
            "optimizer": str(self.optimizer),
            "schedule": self.schedule.tolist() if isinstance(self.schedule, np.ndarray) else str(self.schedule),
            "clip": self.clip and dict(vars(self.clip)),
            "noise": self.noise,
            "rates": dict(sorted(self.rates.items())),
            "frozen": sorted(self.frozen),
        }

    @classmethod
    def of_facts(cls, told: Mapping[str, Any]) -> Recipe:
        """The recipe that says this of itself."""
        given = {name: told[name] for name in ("optimizer", "schedule", "noise", "rates", "frozen")}
        return cls.of(**given, clip=told["clip"] and Clip(**told["clip"]), steps=np.size(told["schedule"]))


def _schedule(given: Any, steps: int) -> Schedule | Floats:
    if given is None:
        return CONSTANT
    if isinstance(given, str):
        return given if isinstance(given, Schedule) else Schedule(given)
    found = numbers("schedule", given, AT_LEAST_ZERO)
    if found.shape != (steps,):
        raise ValueError(f"schedule must be a name or {steps} numbers, one a step, got an array of shape {found.shape}")
    return found


@lru_cache(maxsize=64)
def tensors(spec: Spec) -> dict[str, int]:
    """All tensors of a net in the order of its state dict, and their numbers of entries.

    >>> import vgcore as vg
    >>> tensors(vg.MLP(depth=1, width=4, out_features=2))
    {'layers.0.weight': 16, 'layers.0.bias': 4, 'readout.weight': 8, 'readout.bias': 2}
    """
    return dict(_core.tensors(spec))


def multipliers(names: Iterable[str], rates: Mapping[str, float], frozen: Iterable[str]) -> Floats:
    """What multiplies the rate of each tensor: that of the longest name that fits it, and 0 where it is frozen.

    Args:
        names: All tensors.
        rates: Multipliers by the names of modules or tensors: `"layers.0"`, `"layers.0.bias"`, `"norms"`, `"readout"`.
        frozen: Names of those that do not move.

    Raises:
        ValueError: For a name that fits no tensor.

    >>> names = ("layers.0.weight", "layers.0.bias", "layers.1.weight", "readout.weight")
    >>> multipliers(names, {"layers": 2.0, "layers.0.bias": 3.0}, ["readout"])
    array([2., 3., 2., 0.])
    """
    every = list(names)
    found = np.ones(len(every))
    for argument, given in (("rates", sorted(rates.items(), key=lambda pair: len(pair[0]))), ("frozen", frozen)):
        for entry in given:
            name, value = entry if isinstance(entry, tuple) else (entry, 0.0)
            fits = [i for i, tensor in enumerate(every) if tensor == name or tensor.startswith(f"{name}.")]
            if not fits:
                modules = dict.fromkeys(part for tensor in every for part in _prefixes(tensor))
                raise ValueError(
                    f"{argument} must name modules or tensors of the net, got {shown(name)}{hint(name, modules)}; "
                    f"there are: {listing(modules, 12)}"
                )
            found[fits] = value
    return found


def _prefixes(tensor: str) -> Iterable[str]:
    parts = tensor.split(".")
    return (".".join(parts[:count]) for count in range(1, len(parts) + 1))


def monitored(given: Any, name: str = "monitor", words: Mapping[str, tuple[str, ...]] = MONITORS) -> tuple[str, ...]:
    """The columns that are asked for, in their order.

    Args:
        given: One of the words, or a list of columns.
        name: The argument.
        words: Words that stand for several columns.

    >>> monitored(["rounded", "log10_weight_norm"])
    ('log10_weight_norm', 'rounded')
    """
    if isinstance(given, str):
        if given in FULL:
            raise ValueError(f"{name} must be a list of columns, such as [{given!r}], got {given!r}")
        return words[known(name, given, words)]
    allowed = f"{', '.join(map(repr, words))} or a list of columns"
    names = {known(name, each, FULL) for each in items(name, given, allowed, ordered=False)}
    return tuple(each for each in FULL if each in names)


def state_bytes(subject: Spec | Network, dtype: str) -> int:
    """About how many bytes the state of a run takes: weights and two moments.

    >>> import vgcore as vg
    >>> state_bytes(vg.MLP(depth=1, width=9, in_features=9), "float32")
    1080
    """
    spec = subject.spec if isinstance(subject, Network) else subject
    return 3 * (8 if dtype == "float64" else 4) * sum(tensors(spec).values())
