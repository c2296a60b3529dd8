"""The description of a net: `MLP`, and the kinds that it is made of.

Names, parameters and limits are checked by the Rust core alone (`src/spec.rs`).
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vgcore import _core

if TYPE_CHECKING:
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

    def __reduce__(self) -> tuple[type[_Kind], tuple[str]]:
        return type(self), (self._text,)


class Activation(_Kind):
    """An activation function by name, with its parameters (names and defaults of `torch.nn.functional`).

    >>> Activation("leaky_relu", negative_slope=0.1)
    Activation('leaky_relu(negative_slope=0.1)')
    >>> Activation("leaky_relu(0.1)").params
    {'negative_slope': 0.1}
    """

    _kind = "activation"


class Init(_Kind):
    """A weight or bias initialisation by name, with its parameters (names and meanings of `torch.nn.init`).

    `he_normal`, `glorot_normal` and `variance_scaling` are Keras's, truncated at two standard deviations;
    `lecun_normal` is not, and `variance_scaling` without parameters is what Keras calls so.

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
        """The fields by name, tuples as lists."""
        return {name: list(v) if isinstance(v := getattr(self, name), tuple) else v for name in FIELDS}

    def to_json(self) -> str:
        """The fields as a JSON object, from which `from_json` makes an equal spec."""
        return json.dumps(self.to_dict())

    @staticmethod
    def from_json(text: str) -> MLP:
        """The spec that `to_json` wrote. Unknown fields are refused."""
        fields = json.loads(text)
        if not isinstance(fields, dict):
            raise ValueError(f"a spec must be a JSON object, got {type(fields).__name__}")
        check_names(fields)
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
