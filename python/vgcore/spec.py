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

    `he_normal`, `glorot_normal` and `variance_scaling` are Keras's, truncated at two standard deviations;
    `lecun_normal` is not, and `variance_scaling` without parameters is what Keras calls so.

    `gain` is the number in the formula of the standard deviation: `gain * sqrt(2 / (fan_in + fan_out))` for
    `xavier_normal`, `gain / sqrt(fan)` for `kaiming_normal`, where it defaults to `sqrt(2 / (1 + a^2))`.

    >>> Init("mean_field", sigma_w=1.5, sigma_b=0.05)
    Init('mean_field(sigma_w=1.5, sigma_b=0.05)')
    """

    _kind = "init"


class Norm(_Kind):
    """A normalisation by name: `batch`, `layer` or `rms`, each with `eps` (1e-5).

    `xhat = (z - mean) / sqrt(var + eps)`, then times a weight (1) plus a bias (0), one a feature. `batch` takes mean
    and biased variance over the samples of the batch at hand, as in training; `layer` over the features of a sample;
    `rms` leaves the mean and has no bias.

    >>> Norm("layer_norm", eps=1e-3)
    Norm('layer(eps=0.001)')
    """

    _kind = "norm"


class Skip(_Kind):
    """A skip connection by name, with its parameters. x is the input of a block, F(x) what its layers make of it.

    - `residual`: `x + branch_scale F(x)`. `order="after"`: every layer is activated, what is added too;
      `"linear"`: the last layer of a block is not, `x + V phi(W x)`; `"post"`: the sum is, `phi(x + W x)` (He et al.
      2015); `"pre"`: activations come before maps, `x + W phi(x)` (He et al. 2016).
    - `rezero` (alias `skipinit`): the same with a learnable number, `x + branch_scale alpha F(x)`, `alpha=0` at first.
    - `highway`: `(1 - T) x + T F(x)` with a gate `T = sigmoid(W_T x + b_T)` a feature; `gate_bias=-1` is where `b_T`
      starts, and `W_T` is drawn like the layer's weights, times `gate_gain=1`.
    - `dense`: x and F(x) side by side, so that features grow.

    >>> Skip("residual", order="pre")
    Skip('residual(order=pre)')
    """

    _kind = "skip"


class Loss(_Kind):
    """A loss function by name, with its parameters (names, defaults and reductions of `torch.nn.functional`).

    Targets are numbers of the output's shape, class ids for `cross_entropy`, or none for `output_sum`:

    - `mse`: (y - t)^2; `half_mse`: half of it, summed over the outputs; `mae` or `l1`: |y - t|;
      `huber(delta=1)`: (y - t)^2 / 2 up to |y - t| = delta, and straight on from there.
    - `cross_entropy(label_smoothing=0)`: of class ids, -log softmax(y)[t].
    - `bce_with_logits`: binary cross-entropy of each output with a target from 0 to 1.
    - `hinge`: max(0, 1 - t y) of each output with a target of -1 or 1.
    - `output_sum`: the outputs themselves, summed; with `reduction="sum"` what `model(x).sum().backward()` starts from
      in torch. dL/dy is the same for every sample, so that only the net tells their gradients apart.

    `reduction="mean"` averages over all elements, for `half_mse`, `cross_entropy` and `output_sum` over the batch;
    `"sum"` adds up.
    Slopes at kinks are 0: of `mae` at y = t, of `hinge` at t y = 1.

    >>> Loss("huber", delta=0.5, reduction="sum")
    Loss('huber(delta=0.5, reduction=sum)')
    >>> Loss("cross_entropy").reduction
    'mean over the batch'
    """

    _kind = "loss"

    @property
    def takes_targets(self) -> bool:
        """Are there targets?"""
        return _core.loss_facts(self._text)[0]

    @property
    def takes_classes(self) -> bool:
        """Are targets class ids?"""
        return _core.loss_facts(self._text)[1]

    @property
    def reduction(self) -> str:
        """How one number is made of all, and over what."""
        return _core.loss_facts(self._text)[2]


def as_text(value: object) -> Any:
    """Kinds as text, sequences as tuples; the core rejects what is left."""
    if isinstance(value, _Kind):
        return str(value)
    # A longer one than any depth is left for the core to refuse.
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value) <= LONGEST:
        return tuple(as_text(item) for item in value)
    return value


class _Draws:
    """Calling the inits of a spec draws the net's numbers: `spec.init(seed=0)`."""

    spec: MLP | None = None

    def __call__(self, seed: int = 0, *, dtype: str = "float32", x: ArrayLike | None = None) -> Network:
        """Draw weights and biases.

        Args:
            seed: 0 to 2^64 - 1. Layer k's numbers depend on the seed and k alone, not on depth or threads.
            dtype: `"float32"` or `"float64"`.
            x: Samples `(rows, in_features)` for `init="lsuv"`, which looks at data; if None, the standard normal ones
                that a probe of this seed draws.

        >>> MLP(depth=3, width=8).init(seed=1).state_dict()["layers.0.weight"].shape
        (8, 8)
        """
        from vgcore.network import Network

        if self.spec is None:
            raise TypeError("this init belongs to no spec; draw a net by MLP(...).init(seed=0)")
        return Network(self.spec, _core.Weights.draw(self.spec, seed, dtype, x))


class InitText(_Draws, str):  # noqa: SLOT000 (it holds its spec)
    """The init of a spec in canonical spelling."""


class InitTexts(_Draws, tuple[str, ...]):  # noqa: SLOT001 (the same)
    """The inits of the layers of a spec in canonical spelling."""


class _InitField:
    """Lets `init` be a field and `init(seed=0)` a method: both names are what people reach for."""

    def __get__(self, spec: MLP | None, owner: type[MLP]) -> InitText | InitTexts:
        if spec is None:
            return InitText("kaiming_normal")
        stored = spec.__dict__["_init"]
        if not isinstance(stored, str | tuple):
            return stored  # type: ignore[no-any-return]  # Neither text nor texts: for the core to refuse.
        inits = InitText(stored) if isinstance(stored, str) else InitTexts(stored)
        inits.spec = spec
        return inits

    def __set__(self, spec: MLP, value: str | Init | Sequence[str | Init]) -> None:
        spec.__dict__["_init"] = value


@dataclass(frozen=True)
class MLP:
    """A deep net: `z_l = W_l h_{l-1} + b_l`, `a_l = phi(N(z_l))`, `h_l` with or without a skip, an optional readout.

    Frozen, hashable, picklable; kinds are stored in canonical spelling. Two specs are equal if their fields are; they
    have one `id` if they describe the same net.

    Args:
        depth: Number of hidden layers, 1 to 1,000,000.
        width: Units of the hidden layers: one number, or one a layer.
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
    norm: str | Norm | None = None
    norm_position: str = "pre"
    skip: str | Skip | None = None
    branch_scale: float | str = 1.0
    block: int = 1
    weight_transform: str | None = None
    tied: bool = False
    inputs: str = "first"

    def __post_init__(self) -> None:
        for name in ("width", "activation", "bias", "norm", "skip"):
            object.__setattr__(self, name, as_text(getattr(self, name)))
        object.__setattr__(self, "init", as_text(self.__dict__["_init"]))
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
