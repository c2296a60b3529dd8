"""The description of a multilayer perceptron: `MLP`.

Names, parameters and limits are checked by the Rust core alone (`src/spec`), once: a spec keeps what was checked.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from vgcore import _core
from vgcore.model import custom
from vgcore.model.given import LONGEST as LONGEST  # noqa: PLC0414 (of what lists values of fields)
from vgcore.model.given import shown, text
from vgcore.model.kind import Activation, Init, Inits, Kind, Norm, Skip, Transform, tables_of
from vgcore.model.names import LONG
from vgcore.model.versioned import FORMAT, check_format

#: The newest format of the JSON of a spec.
NEWEST = 1
#: The fields that a net need not name, as the core has them.
DEFAULTS = _core.Spec({}).fields()

Given = TypeVar("Given")
Held = TypeVar("Held")


class Field(Generic[Given, Held]):
    """A field that takes text and holds kinds."""

    def __init__(self, kind: type[Kind]) -> None:
        self.kind = kind

    def __set_name__(self, _: type[MLP], name: str) -> None:
        self.name = name

    def __get__(self, spec: MLP | None, _: type[MLP]) -> Held:
        held: Held = DEFAULTS[self.name] if spec is None else spec.__dict__[self.name]
        return held

    if TYPE_CHECKING:
        # What a spec is made with. Without it Python reads and writes the spec's dictionary, without a call.
        def __set__(self, spec: MLP, value: Given) -> None: ...

    def checked(self, value: Any) -> Any:
        """The kinds that a checked value is."""
        of_field = self.kind.of_field
        return tuple(map(of_field, value)) if isinstance(value, tuple) else of_field(value)


class InitField(Field[str | Sequence[str], Init | Inits]):
    """The field that is a method too: `init(seed=0)`. Both names are what people reach for."""

    def __set__(self, spec: MLP, value: str | Sequence[str]) -> None:
        spec.__dict__[self.name] = value

    def __get__(self, spec: MLP | None, owner: type[MLP]) -> Init | Inits:
        held: Any = super().__get__(spec, owner)
        if spec is None or not isinstance(held, Init | tuple):
            return held  # type: ignore[no-any-return]  # a default, or what the core is to check
        inits = Inits(held) if isinstance(held, tuple) else Init.of_field(held)
        inits.spec = spec
        return inits


@dataclass(frozen=True)
class MLP:
    """A deep net: `z_l = W_l h_{l-1} + b_l`, `a_l = phi(N(z_l))`, `h_l` with or without a skip, an optional readout.

    Frozen, hashable, picklable. Kinds are held as strings in canonical spelling, with their `name` and `params`. Two
    specs are equal if their fields are; they have one `id` if they describe the same net.

    Args:
        depth: Number of hidden layers, 1 to 1,000,000.
        width: Units of the hidden layers: one number, or one a layer. Input and output are no hidden layers: 784
            inputs, 30 units and 10 outputs are `depth=1, width=30, in_features=784, out_features=10`, while
            `depth=3, width=[784, 30, 10]` has three hidden layers. Where widths differ, the `repr` begins with `sizes`.
        in_features: Columns of the input; the first width if None.
        out_features: Units of a linear readout; None for no readout.
        activation: Name, call such as `"leaky_relu(0.1)"`, or `Activation`; one, or one a layer. `crelu` gives twice
            the width, `glu`, `swiglu` and `geglu` half of it.
        init: Name, call such as `"xavier_normal(gain=2)"`, or `Init`: one for all weights, the readout's too; or one a
            layer, the last one for the readout unless that has one of its own.
        bias: An init for biases; None for what `init` brings (`mean_field`, `torch_default`), zeros otherwise.
        norm: None, a name of `NORMS`, a call such as `"layer(eps=1e-3)"`, or `Norm`.
        norm_position: `"pre"` or `"post"`: before or after the activation.
        skip: None, a name of `SKIPS`, a call such as `"residual(order=pre)"`, or `Skip`. A first block that changes the
            number of features has none.
        branch_scale: Of `residual` and `rezero`: a number, or `"1/sqrt(L)"` with L the number of blocks.
        block: Layers a skip spans; depth must be a multiple of it.
        weight_transform: What hidden weights go through before they are used; None, `"weight_standardization"`:
            `gain (w - mean) / (std sqrt(fan_in))` of each row, or `"spectral_norm"`: `gain W / s` with s the largest
            singular value. Gradients are those of the weights before it.
        tied: One set of parameters for all layers: a recurrent net, depth its number of steps.
        inputs: `"first"`: x is what the first layer gets. `"every"`: each step of a tied net gets an input of its own,
            `z_t = W h_{t-1} + b + U x_t` from `h_0 = 0`, and x is `(batch, depth, in_features)`.

    Raises:
        ValueError: For a value that is not allowed; names get the nearest match, and what other libraries call a thing
            its name here: `"batchnorm"` is answered by `'batch'`.
        TypeError: For a value of the wrong type, such as `bias=False`, with what to write instead.

    >>> spec = MLP(depth=50, width=256, activation="tanh", init="xavier_normal")
    >>> spec.replace(skip="residual", branch_scale="1/sqrt(L)").skip
    'residual'
    >>> MLP.from_json(spec.to_json()) == spec
    True
    >>> MLP(depth=3, width=[784, 30, 10]).sizes
    '784 -> 784 -> 30 -> 10, no readout'
    """

    depth: int
    _: dataclasses.KW_ONLY
    width: int | Sequence[int]
    in_features: int | None = DEFAULTS["in_features"]
    out_features: int | None = DEFAULTS["out_features"]
    activation: Field[str | Sequence[str], Activation | tuple[Activation, ...]] = Field(Activation)
    init: InitField = InitField(Init)
    bias: Field[str | None, Init | None] = Field(Init)
    norm: Field[str | None, Norm | None] = Field(Norm)
    norm_position: str = DEFAULTS["norm_position"]
    skip: Field[str | None, Skip | None] = Field(Skip)
    branch_scale: float | str = DEFAULTS["branch_scale"]
    block: int = DEFAULTS["block"]
    weight_transform: Field[str | None, Transform | None] = Field(Transform)
    tied: bool = DEFAULTS["tied"]
    inputs: str = DEFAULTS["inputs"]

    def __post_init__(self) -> None:
        given = self.__dict__
        # A subclass may have fields of its own.
        checked = _core.Spec(given if type(self) is MLP else {name: given[name] for name in FIELDS})
        given |= checked.fields()
        for name, field in KINDS.items():
            if (value := given[name]) is not None:
                given[name] = field.checked(value)
        given["_checked"] = checked

    def replace(self, **changes: Any) -> MLP:
        """A copy with some fields changed, checked again."""
        check_names(changes)
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, tuples as lists; and `tables` of activations of your own, if there are any."""
        fields = {name: list(v) if isinstance(v, tuple) else v for name, v in self._checked.fields().items()}
        tables = tables_of([self.activation] if isinstance(self.activation, str) else self.activation)
        return fields | {"tables": tables} if tables else fields

    def __reduce__(self) -> tuple[Callable[[str], MLP], tuple[str]]:
        # As JSON, which brings along what this process knows and another may not.
        return MLP.from_json, (self.to_json(),)

    def to_json(self) -> str:
        """The fields as a JSON object, from which `from_json` makes an equal spec; its format is `vgcore_format`."""
        return json.dumps({FORMAT: NEWEST} | self.to_dict())

    @staticmethod
    def from_json(text: str) -> MLP:
        """The spec that `to_json` wrote.

        Raises:
            ValueError: For what is no JSON, of a format that this version does not know, or has unknown fields, a field
                given twice, or a number that is not finite.
        """
        fields = _object(text)
        check_format("document", fields.pop(FORMAT, 1), NEWEST)
        tables = fields.pop("tables", {})
        check_names(fields)
        if not isinstance(tables, dict):
            raise ValueError(f"tables must be a JSON object, got {type(tables).__name__}")
        known = [custom.restore(table) for table in tables.values()]
        if missing := [name for name in ("depth", "width") if name not in fields]:
            raise ValueError(f"a spec needs {' and '.join(missing)}")
        spec = MLP(**fields)
        del known  # which the spec keeps from here on
        return spec

    @property
    def sizes(self) -> str:
        """The units of input, hidden layers and readout, in order: z's, before an activation that doubles or gates.

        >>> MLP(depth=50, width=256, in_features=784, out_features=10).sizes
        '784 -> 256 (50 layers) -> 10'
        """
        widths = (self.width,) if isinstance(self.width, int) else self.width
        runs = [(width, len(list(run))) for width, run in itertools.groupby(widths)]
        if len(widths) == 1:
            runs = [(widths[0], self.depth)]
        hidden = [str(width) if count == 1 else f"{width} ({count} layers)" for width, count in runs]
        out = ", no readout" if self.out_features is None else f" -> {self.out_features}"
        return " -> ".join([str(self.in_features or widths[0]), *hidden]) + out

    def __repr__(self) -> str:
        fields = ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in dataclasses.fields(self))
        # Widths that differ may have been meant otherwise than they were taken.
        sizes = "" if isinstance(self.width, int) or len(set(self.width)) == 1 else f"{self.sizes}; "
        return f"{type(self).__qualname__}({sizes}{fields})"

    @property
    def id(self) -> str:
        """16 hex digits of what the net is: equal for every way to write it, in every process and version."""
        return hashlib.sha256(self._checked.content().encode()).hexdigest()[:16]

    @property
    def _checked(self) -> _core.Spec:
        """What the core has checked, and reads from then on."""
        checked: _core.Spec = self.__dict__["_checked"]
        return checked


FIELDS = tuple(field.name for field in dataclasses.fields(MLP))
#: The fields that hold kinds.
KINDS: dict[str, Field[Any, Any]] = {name: field for name, field in vars(MLP).items() if isinstance(field, Field)}


def check_names(fields: Mapping[str, object]) -> None:
    """Refuse what is no field of `MLP`."""
    for name in fields:
        if name not in FIELDS:
            hint = _core.hint(text("a field", name), FIELDS) if len(name) <= LONG else ""
            raise ValueError(f"unknown field {shown(name)}{hint}; choose from: {', '.join(FIELDS)}")


def _object(document: str) -> dict[str, Any]:
    """The JSON object that a document holds."""
    try:
        found = json.loads(text("text", document), object_pairs_hook=_once, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"text must be the JSON of a spec, got {shown(document)}: {error}") from None
    except RecursionError:
        raise ValueError(f"text must be the JSON of a spec, got {shown(document)}, whose nesting has no end") from None
    if not isinstance(found, dict):
        raise ValueError(f"a spec must be a JSON object, got {type(found).__name__}")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, whose keys stand in it once."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"the JSON of a spec must have each field once, got {shown(twice)} twice or more")
    return found


def _no_constant(word: str) -> Any:
    raise ValueError(f"the JSON of a spec must have finite numbers, got {word}")
