"""The description of a multilayer perceptron: `MLP`.

Names, parameters and limits are checked by the Rust core alone (`src/spec`), once: a spec keeps what was checked.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from vgcore import _core
from vgcore.model.given import LONGEST as LONGEST  # noqa: PLC0414 (of what lists values of fields)
from vgcore.model.kind import Activation, Init, Inits, Kind, Norm, Skip, Transform
from vgcore.model.spec import Spec, check_fields, documented, in_order, in_runs

if TYPE_CHECKING:
    from vgcore.explore.widget import Explorer

#: The fields that a net need not name, as the core has them.
DEFAULTS = _core.Spec({}).fields()

Given = TypeVar("Given")
Held = TypeVar("Held")


class Field(Generic[Given, Held]):
    """A field that takes text and holds kinds."""

    def __init__(self, kind: type[Kind], *default: Any) -> None:
        self.kind = kind
        self.default: tuple[Any, ...] = default  # empty: that of an MLP

    def __set_name__(self, _: type[Spec], name: str) -> None:
        self.name = name

    def __get__(self, spec: Spec | None, _: type[Spec]) -> Held:
        if spec is not None:
            held: Held = spec.__dict__[self.name]
            return held
        default: Held = self.default[0] if self.default else DEFAULTS[self.name]
        return default

    if TYPE_CHECKING:
        # What a spec is made with. Without it Python reads and writes the spec's dictionary, without a call.
        def __set__(self, spec: Spec, value: Given) -> None: ...

    def checked(self, value: Any) -> Any:
        """The kinds that a checked value is."""
        if isinstance(value, tuple):
            return tuple(map(self.checked, value))
        return self.kind.of_field(value) if isinstance(value, str) else value


class InitField(Field[str | Sequence[str], Init | Inits]):
    """The field that is a method too: `init(seed=0)`. Both names are what people reach for."""

    def __set__(self, spec: Spec, value: str | Sequence[str]) -> None:
        spec.__dict__[self.name] = value

    def __get__(self, spec: Spec | None, owner: type[Spec]) -> Init | Inits:
        held: Any = super().__get__(spec, owner)
        if spec is None or not isinstance(held, Init | tuple):
            return held  # type: ignore[no-any-return]  # a default, or what the core is to check
        inits = Inits(held) if isinstance(held, tuple) else Init.of_field(held)
        inits.spec = spec
        return inits


@dataclass(frozen=True, repr=False)
class MLP(Spec):
    """A deep net: `z_l = W_l h_{l-1} + b_l`, `a_l = phi(N(z_l))`, `h_l` with or without a skip, an optional readout.

    Frozen, hashable, picklable. Kinds are held as strings in canonical spelling, with their `name` and `params`. Two
    specs are equal if their fields are; they have one `id` if they describe the same net.

    Args:
        depth: Number of hidden layers, 1 to 1,000,000.
        width: Units of the hidden layers: one number, or one a layer. Input and output are no hidden layers: 784
            inputs, 30 units and 10 outputs are `depth=1, width=30, in_features=784, out_features=10`, while
            `depth=3, width=[784, 30, 10]` has three hidden layers; `sizes` tells how they were taken.
        in_features: Columns of the input; the first width if None.
        out_features: Units of a linear readout; None for no readout.
        activation: Name, call such as `"leaky_relu(0.1)"`, or `Activation`; one, or one a layer. `crelu` gives twice
            the width, `glu`, `swiglu` and `geglu` half of it.
        init: Name, call such as `"xavier_normal(gain=2)"`, or `Init`: one for all weights, the readout's too; or one a
            layer, the last one for the readout unless that has one of its own.
        bias: An init for biases; None for what `init` brings (`mean_field`, `torch_default`), zeros otherwise; False
            for no biases at all. One, or one a layer, as `init`.
        norm: None, a name of `NORMS`, a call such as `"layer(eps=1e-3)"`, or `Norm`; one, or one a layer.
        norm_position: `"pre"` or `"post"`: before or after the activation; `"input"`: before the layer's map. One, or
            one a layer.
        skip: None, a name of `SKIPS`, a call such as `"residual(order=pre)"`, or `Skip`. A first block that changes the
            number of features has none.
        branch_scale: Of `residual` and `rezero`: a number, or `"1/sqrt(L)"` with L the number of blocks.
        block: Layers a skip spans; depth less the stem must be a multiple of it.
        weight_transform: What hidden weights go through before they are used; None, `"weight_standardization"`:
            `gain (w - mean) / (std sqrt(fan_in))` of each row, or `"spectral_norm"`: `gain W / s` with s the largest
            singular value. Gradients are those of the weights before it.
        tied: One set of parameters for all layers: a recurrent net, depth its number of steps.
        inputs: `"first"`: x is what the first layer gets. `"every"`: each step of a tied net gets an input of its own,
            `z_t = W h_{t-1} + b + U x_t` from `h_0 = 0`, and x is `(batch, depth, in_features)`.
        stem: So many of the layers stand before the first block, without a skip.
        final_norm: A normalisation of what the last hidden layer gives, before the readout; None for none.
        dropout: The share of what a layer gives, before a skip joins it, that is set to 0 in training; what is left is
            divided by 1 minus that share. Nothing is dropped elsewhere. One, or one a layer.

    A list of `stem + block` values is a pattern: one for each layer of the stem, then one for each layer of a block,
    which repeat to the depth. So the depth can be changed and swept.

    Raises:
        ValueError: For a value that is not allowed; names get the nearest match, and what other libraries call a thing
            its name here: `"batchnorm"` is answered by `'batch'`.
        TypeError: For a value of the wrong type, such as `norm=False`, with what to write instead.

    >>> spec = MLP(depth=50, width=256, activation="tanh", init="xavier_normal")
    >>> spec.replace(skip="residual", branch_scale="1/sqrt(L)").skip
    'residual'
    >>> MLP.from_json(spec.to_json()) == spec
    True
    >>> MLP(depth=3, width=[784, 30, 10]).sizes
    '784 -> 784 -> 30 -> 10, no readout'

    What is left out is:

    >>> for name, value in MLP(depth=3, width=16).to_dict().items():
    ...     print(name, "=", repr(value))
    depth = 3
    width = 16
    in_features = None
    out_features = None
    activation = 'relu'
    init = 'kaiming_normal'
    bias = None
    norm = None
    norm_position = 'pre'
    final_norm = None
    skip = None
    branch_scale = 1.0
    block = 1
    stem = 0
    dropout = 0.0
    weight_transform = None
    tied = False
    inputs = 'first'

    Blocks `x + V gelu(U LN(x))` between a stem and a readout behind a norm, four times as wide inside:

    >>> spec = MLP(
    ...     depth=1 + 2 * 12, stem=1, block=2, in_features=10, out_features=3, width=[64, 256, 64],
    ...     activation=["linear", "gelu", "gelu"], norm=[None, "layer", None], norm_position="input",
    ...     skip="residual(order=linear)", final_norm="layer",
    ... )
    >>> spec.replace(depth=1 + 2 * 48).sizes
    '10 -> 64 -> 256 -> 64 (47 times more) -> 3'
    """

    depth: int
    _: dataclasses.KW_ONLY
    width: int | Sequence[int]
    in_features: int | None = DEFAULTS["in_features"]
    out_features: int | None = DEFAULTS["out_features"]
    activation: Field[str | Sequence[str], Activation | tuple[Activation, ...]] = Field(Activation)
    init: InitField = InitField(Init)
    bias: Field[
        str | bool | Sequence[str | bool | None] | None, Init | bool | tuple[Init | bool | None, ...] | None
    ] = Field(Init)
    norm: Field[str | Sequence[str | None] | None, Norm | tuple[Norm | None, ...] | None] = Field(Norm)
    norm_position: str | Sequence[str] = DEFAULTS["norm_position"]
    skip: Field[str | None, Skip | None] = Field(Skip)
    branch_scale: float | str = DEFAULTS["branch_scale"]
    block: int = DEFAULTS["block"]
    weight_transform: Field[str | None, Transform | None] = Field(Transform)
    tied: bool = DEFAULTS["tied"]
    inputs: str = DEFAULTS["inputs"]
    stem: int = DEFAULTS["stem"]
    final_norm: Field[str | None, Norm | None] = Field(Norm)
    dropout: float | Sequence[float] = DEFAULTS["dropout"]

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

    @staticmethod
    def from_json(text: str) -> MLP:
        """The spec that `to_json` wrote.

        Raises:
            ValueError: For what is no JSON, of a format that this version does not know, or has unknown fields, a field
                given twice, or a number that is not finite.
        """
        fields, known = documented(text, "MLP")
        check_names(fields)
        if missing := [name for name in ("depth", "width") if name not in fields]:
            raise ValueError(f"a spec needs {' and '.join(missing)}")
        spec = MLP(**fields)
        del known  # which the spec keeps from here on
        return spec

    def explore(self) -> Explorer:
        """The net under sliders, in a notebook: measured anew with every move; `Explorer.spec` is the one on screen.

        It takes the extra `notebook`. `vgcore explore` shows the same in a browser, without a notebook.

        Raises:
            ImportError: Without anywidget.
            ValueError: For a net that the controls cannot show, with what is in the way.
        """
        from vgcore.explore.widget import Explorer

        return Explorer(self)

    def _texts(self) -> Iterable[str]:
        return [self.activation] if isinstance(self.activation, str) else self.activation

    @property
    def sizes(self) -> str:
        """The units of input, hidden layers and readout, in order: z's, before an activation that doubles or gates.

        >>> MLP(depth=50, width=256, in_features=784, out_features=10).sizes
        '784 -> 256 (50 layers) -> 10'
        """
        widths = [self.width] * self.depth if isinstance(self.width, int) else self.width
        hidden = in_runs(widths)
        if len(widths) < self.depth:
            hidden[-1] += f" ({(self.depth - self.stem) // self.block - 1} times more)"
        return in_order(self.in_features or widths[0], hidden, self.out_features)


FIELDS = tuple(field.name for field in dataclasses.fields(MLP))
#: The fields that hold kinds.
KINDS: dict[str, Field[Any, Any]] = {name: field for name, field in vars(MLP).items() if isinstance(field, Field)}


def check_names(fields: Mapping[str, object]) -> None:
    """Refuse what is no field of `MLP`."""
    check_fields(fields, FIELDS)
