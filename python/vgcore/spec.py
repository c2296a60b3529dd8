"""The description of a net: `MLP`, and the kinds that it is made of.

Names, parameters and limits are checked by the Rust core alone (`src/spec.rs`).
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vgcore import _core, custom

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from typing_extensions import Self

    from vgcore.network import Network


#: The most values that one argument may list.
LONGEST = 1_000_000


class _Kind:
    """A named kind with parameters; `str()` of it is its canonical spelling."""

    _kind = ""

    def __init__(self, name: str, **params: float | str | None) -> None:
        if not isinstance(name, str):
            raise TypeError(f"{self._kind} must be a name, got {name!r}")
        self.name, self.params, self._text = _core.resolve(self._kind, name, params)

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._text!r})"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash((self._kind, self._text))

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return type(self), (self._text,)


class Activation(_Kind):
    """An activation function by name, with its parameters (names and defaults of `torch.nn.functional`).

    >>> Activation("leaky_relu", negative_slope=0.1)
    Activation('leaky_relu(negative_slope=0.1)')
    >>> Activation("leaky_relu(0.1)").params
    {'negative_slope': 0.1}
    """

    _kind = "activation"

    @classmethod
    def custom(
        cls,
        name: str,
        f: Callable[..., Any],
        df: Callable[..., Any] | None = None,
        *,
        low: float = -16.0,
        high: float = 16.0,
        tolerance: float = 1e-9,
        kinks: Iterable[float] = (),
    ) -> Self:
        """A function of your own, sampled until cubics through the samples follow it: the net never calls it again.

        Args:
            name: Letters, digits and underscores; a hash of the samples is added to it.
            f: A function of one number, or of arrays element by element.
            df: Its slope, likewise; found by differences of `f` if None.
            low: Below it the function goes on as a line.
            high: Above it too.
            tolerance: The largest error of values and slopes between `low` and `high`, measured in every cell of the
                grid where that of a cubic is largest; `error_bound` says what was reached.
            kinks: Where `f` or its slope jumps. There the slope is that of the left side.

        Raises:
            ValueError: If no grid is fine enough, with the error reached: most often a kink that is not named.

        >>> import math
        >>> bump = Activation.custom("bump", lambda z: z * math.exp(-z * z), low=-6, high=6)
        >>> max(bump.error_bound) < 1e-9
        True
        >>> MLP.from_json(MLP(depth=2, width=4, activation=bump).to_json()).activation == str(bump)
        True
        """
        return cls(
            custom.register(custom.of_function(name, f, df, low=low, high=high, tolerance=tolerance, kinks=kinks))
        )

    @classmethod
    def from_samples(cls, name: str, z: ArrayLike, values: ArrayLike, slopes: ArrayLike | None = None) -> Self:
        """A function of your own by its values at ascending, evenly spaced `z`, and its slopes there if you have them.

        Cubics go through them, lines beyond the ends. Nothing is known between samples: `error_bound` is None.

        >>> ramp = Activation.from_samples("ramp", [-1, 0, 1], [0, 0, 1], slopes=[0, 0, 1])
        >>> ramp.error_bound is None
        True
        """
        return cls(custom.register(custom.of_samples(name, z, values, slopes)))

    @property
    def error_bound(self) -> tuple[float, float] | None:
        """The largest measured errors of value and slope of a function of your own; None for all others."""
        table = custom.KNOWN.get(str(self))
        return table and table.error_bound

    def __repr__(self) -> str:
        bound = self.error_bound
        return super().__repr__() if bound is None else f"Activation({str(self)!r}, error_bound={bound})"

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        tables = _tables([str(self)])
        return (_restored, (str(self), tables)) if tables else super().__reduce__()


def _tables(texts: Iterable[str]) -> dict[str, Any]:
    """The tables of those activations that are a user's own: they travel with a spec."""
    return {text: custom.definition(text) for text in dict.fromkeys(texts) if text in custom.KNOWN}


def _restored(text: str, tables: Mapping[str, Any]) -> Activation:
    for table in tables.values():
        custom.restore(table)
    return Activation(text)


class Init(_Kind):
    """A weight or bias initialisation by name, with its parameters (names and meanings of `torch.nn.init`).

    `gain` is the number in the formula of the standard deviation: `gain * sqrt(2 / (fan_in + fan_out))` for
    `xavier_normal`, `gain / sqrt(fan)` for `kaiming_normal`, where it defaults to `sqrt(2 / (1 + a^2))`.

    >>> Init("mean_field", sigma_w=1.5, sigma_b=0.05)
    Init('mean_field(sigma_w=1.5, sigma_b=0.05)')
    """

    _kind = "init"


def _text(value: object) -> Any:
    """Kinds as text, sequences as tuples; the core rejects what is left."""
    if isinstance(value, _Kind):
        return str(value)
    # A longer one than any depth is left for the core to refuse.
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value) <= LONGEST:
        return tuple(_text(item) for item in value)
    return value


class InitText(str):
    """The init of a spec in canonical spelling; calling it draws the net's numbers: `spec.init(seed=0)`."""

    __slots__ = ("_spec",)
    _spec: MLP | None

    def __new__(cls, text: str, spec: MLP | None = None) -> Self:
        """The text, and the spec that it is of."""
        self = super().__new__(cls, text)
        self._spec = spec
        return self

    def __call__(self, seed: int = 0, *, dtype: str = "float32") -> Network:
        """Draw weights and biases.

        Args:
            seed: 0 to 2^64 - 1. Layer k's numbers depend on the seed and k alone, not on depth or threads.
            dtype: `"float32"` or `"float64"`.

        >>> MLP(depth=3, width=8).init(seed=1).state_dict()["layers.0.weight"].shape
        (8, 8)
        """
        from vgcore.network import Network

        if self._spec is None:
            raise TypeError("this init belongs to no spec; draw a net by MLP(...).init(seed=0)")
        return Network(self._spec, _core.Weights.draw(self._spec, seed, dtype))


class _InitField:
    """Lets `init` be a field and `init(seed=0)` a method: both names are what people reach for."""

    def __get__(self, spec: MLP | None, owner: type[MLP]) -> InitText:
        if spec is None:
            return InitText("kaiming_normal")
        stored = spec.__dict__["_init"]
        if not isinstance(stored, str):
            return stored  # type: ignore[no-any-return]  # Not a text: for the core to refuse.
        return InitText(stored, spec)

    def __set__(self, spec: MLP, value: str | Init) -> None:
        spec.__dict__["_init"] = value


@dataclass(frozen=True)
class MLP:
    """A deep net: `z_l = W_l h_{l-1} + b_l`, `a_l = phi(z_l)`, `h_l` with or without a skip, and an optional readout.

    Frozen, hashable, picklable; kinds are stored in canonical spelling. Two specs are equal if their fields are; they
    have one `id` if they describe the same net.

    Args:
        depth: Number of hidden layers, 1 to 1,000,000.
        width: Units of the hidden layers: one number, or one a layer.
        in_features: Columns of the input; the first width if None.
        out_features: Units of a linear readout; None for no readout.
        activation: Name, call such as `"leaky_relu(0.1)"`, or `Activation`; one, or one a layer.
        init: Name, call such as `"xavier_normal(gain=2)"`, or `Init`; for all weights, the readout's too.
        bias: An init for biases; None for what `init` brings (`mean_field`, `torch_default`), zeros otherwise.
        norm: None; this version has no normalisations.
        norm_position: `"pre"` or `"post"`.
        skip: None or `"residual"`: a block whose two ends have one width gets `h_l = h_{l-block} + branch_scale a_l`.
        branch_scale: A number, or `"1/sqrt(L)"` with L the number of blocks.
        block: Layers a skip spans; depth must be a multiple of it.
        tied: False; this version has no tied weights.

    Raises:
        ValueError: For a value that is not allowed; names get the nearest match.
        TypeError: For a value of the wrong type.

    >>> spec = MLP(depth=50, width=256, activation="tanh", init="xavier_normal")
    >>> spec.replace(skip="residual", branch_scale="1/sqrt(L)").skip
    'residual'
    >>> MLP.from_json(spec.to_json()) == spec
    True
    """

    depth: int
    _: dataclasses.KW_ONLY
    width: int | Sequence[int]
    in_features: int | None = None
    out_features: int | None = None
    activation: str | Activation | Sequence[str | Activation] = "relu"
    init: _InitField = _InitField()
    bias: str | Init | None = None
    norm: str | None = None
    norm_position: str = "pre"
    skip: str | None = None
    branch_scale: float | str = 1.0
    block: int = 1
    tied: bool = False

    def __post_init__(self) -> None:
        for name in ("width", "activation", "bias"):
            object.__setattr__(self, name, _text(getattr(self, name)))
        object.__setattr__(self, "init", _text(self.__dict__["_init"]))
        for name, value in _core.canonical(self).items():
            object.__setattr__(self, "_content" if name == "content" else name, value)

    def replace(self, **changes: Any) -> MLP:
        """A copy with some fields changed, checked again."""
        check_names(changes)
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, tuples as lists; and `tables` of activations of your own, if there are any."""
        fields = {name: list(v) if isinstance(v := getattr(self, name), tuple) else v for name in FIELDS}
        kinds: Any = self.activation
        tables = _tables([kinds] if isinstance(kinds, str) else kinds)
        return fields | {"tables": tables} if tables else fields

    def __reduce__(self) -> tuple[Callable[[str], MLP], tuple[str]]:
        # As JSON, which brings along what this process knows and another may not.
        return MLP.from_json, (self.to_json(),)

    def to_json(self) -> str:
        """The fields as a JSON object, from which `from_json` makes an equal spec."""
        return json.dumps(self.to_dict())

    @staticmethod
    def from_json(text: str) -> MLP:
        """The spec that `to_json` wrote. Unknown fields are refused."""
        fields = json.loads(text)
        if not isinstance(fields, dict):
            raise ValueError(f"a spec must be a JSON object, got {type(fields).__name__}")
        tables = fields.pop("tables", {})
        check_names(fields)
        if not isinstance(tables, dict):
            raise ValueError(f"tables must be a JSON object, got {type(tables).__name__}")
        for table in tables.values():
            custom.restore(table)
        if missing := [name for name in ("depth", "width") if name not in fields]:
            raise ValueError(f"a spec needs {' and '.join(missing)}")
        return MLP(**fields)

    @property
    def id(self) -> str:
        """16 hex digits of what the net is: equal for every way to write it, in every process and version."""
        content: str = self._content  # type: ignore[attr-defined]
        return hashlib.sha256(content.encode()).hexdigest()[:16]


FIELDS = tuple(field.name for field in dataclasses.fields(MLP))


def check_names(fields: Mapping[str, object]) -> None:
    """Refuse what is no field of `MLP`."""
    for name in fields:
        if name not in FIELDS:
            near = difflib.get_close_matches(name, FIELDS, n=1)
            hint = f" (did you mean '{near[0]}'?)" if near else ""
            raise ValueError(f"unknown field '{name}'{hint}; choose from: {', '.join(FIELDS)}")
