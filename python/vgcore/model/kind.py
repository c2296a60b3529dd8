"""The kinds that a net is made of: names with parameters, which are strings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from vgcore import _core
from vgcore.model import custom
from vgcore.model.given import text, wrong_type

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from typing_extensions import Self

    from vgcore.model.network import Network
    from vgcore.model.spec import Spec


class Kind(str):  # noqa: SLOT000 (a kind keeps its name and parameters)
    """A named kind with parameters: a string, its canonical spelling.

    Attributes:
        name: The name alone, `"leaky_relu"`.
        params: All parameters by name, those at their default too.
    """

    _kind = ""
    _called = False

    def __new__(cls, name: str, **params: float | str | None) -> Self:
        """The kind of a name or call, with further parameters."""
        kind = super().__new__(cls, _core.resolve(cls._kind, text(cls._kind, name), params)[2])
        kind._called = True
        return kind

    @classmethod
    def of_field(cls, name: str) -> Self:
        """The kind that a checked spec holds, in canonical spelling; as its representation a string's suffices."""
        return super().__new__(cls, text(cls._kind, name))

    @cached_property
    def _resolved(self) -> tuple[str, dict[str, float | str], str]:
        return _core.resolve(self._kind, str(self), {})

    @property
    def name(self) -> str:
        """The name without parameters."""
        return self._resolved[0]

    @property
    def params(self) -> dict[str, float | str]:
        """All parameters by name."""
        return self._resolved[1]

    @property
    def label(self) -> str:
        """What people read: the spelling, with numbers such as 1e20 by their power of ten."""
        return custom.named(str(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})" if self._called else repr(str(self))

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return type(self) if self._called else type(self).of_field, (str(self),)


class Activation(Kind):
    """An activation function by name, with its parameters (names and defaults of `torch.nn.functional`).

    >>> Activation("leaky_relu", negative_slope=0.1)
    Activation('leaky_relu(negative_slope=0.1)')
    >>> Activation("leaky_relu(0.1)").params
    {'negative_slope': 0.1}
    """

    _kind = "activation"
    _known: custom.Known | None = None

    def __new__(cls, name: str, **params: float | str | None) -> Self:
        """The activation of a name or call, with further parameters."""
        activation = super().__new__(cls, name, **params)
        activation._known = custom.KNOWN.get(str(activation))
        return activation

    @classmethod
    def of_field(cls, text: str) -> Self:
        """The activation that a checked spec holds."""
        activation = str.__new__(cls, text)
        if activation.startswith("custom("):
            activation._known = custom.KNOWN.get(str(activation))  # noqa: SLF001 (of its own class)
        return activation

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
            name: Letters, digits and underscores. It is what tables, pictures and messages call the function (`label`);
                two functions of one name are `mine` and `mine (2)`. Its spelling has a hash of the samples beside it.
            f: A function of one number, or of arrays element by element.
            df: The slope of `f`, as a function of the same sort; found by differences of `f` if None, which are exact
                where `f` is constant or a line.
            low: The least z sampled; below, the function goes on as a line.
            high: The largest z sampled; above, the function goes on as a line.
            tolerance: The largest error of values and slopes between `low` and `high`, measured in every cell of the
                grid where that of a cubic is largest; `error_bound` says what was reached.
            kinks: Where `f` or its slope jumps. There the slope is that of the left side.

        Raises:
            ValueError: If no grid is fine enough, with the error reached: most often a kink that is not named. If `df`
                is not the slope of `f`, with a place where it is not. If `f` gives an array of another shape.
            TypeError: If `f` or `df` is no function.

        >>> import math
        >>> bump = Activation.custom("odd_bump", lambda z: z * math.exp(-z * z), low=-6, high=6)
        >>> max(bump.error_bound) < 1e-9
        True
        >>> bump.label
        'odd_bump'
        >>> import vgcore as vg
        >>> vg.MLP.from_json(vg.MLP(depth=2, width=4, activation=bump).to_json()).activation == bump
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
        return self._known.table.error_bound if self._known else None

    @property
    def label(self) -> str:
        """What people read: the spelling; of an activation of your own the name that you gave it."""
        return self._known.label if self._known else custom.named(str(self))

    def __repr__(self) -> str:
        if not self._known:
            return super().__repr__()
        # A spec shows it as the variable that it most likely is.
        return f"Activation({self.label!r}, error_bound={self.error_bound})" if self._called else self.label

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        tables = tables_of([self])
        return (_restored, (str(self), tables)) if tables else super().__reduce__()


def tables_of(texts: Iterable[str]) -> dict[str, Any]:
    """The tables of those activations that are a user's own: they travel with a spec."""
    return {str(text): custom.definition(text) for text in dict.fromkeys(texts) if text in custom.KNOWN}


def _restored(name: str, tables: Mapping[str, Any]) -> Activation:
    if not isinstance(tables, Mapping):
        raise wrong_type("tables", "tables of activations by name", tables)
    known = [custom.restore(table) for table in tables.values()]
    activation = Activation(name)
    del known  # which the activation keeps from here on
    return activation


class Draws:
    """Calling the inits of a spec draws the net's numbers: `spec.init(seed=0)`."""

    spec: Spec | None = None

    def __call__(self, seed: int = 0, *, dtype: str = "float32", x: ArrayLike | None = None) -> Network:
        """Draw weights and biases.

        Args:
            seed: 0 to 2^64 - 1. Layer k's numbers depend on the seed and k alone, not on depth or threads.
            dtype: `"float32"` or `"float64"`.
            x: Samples `(rows, in_features)` for `init="lsuv"`, which looks at data; if None, the standard normal ones
                that a probe of this seed draws.

        >>> import vgcore as vg
        >>> vg.MLP(depth=3, width=8).init(seed=1).state_dict()["layers.0.weight"].shape
        (8, 8)
        """
        from vgcore.model.network import Network

        if self.spec is None:
            raise TypeError("this init belongs to no spec; draw a net by MLP(...).init(seed=0)")
        return Network(self.spec, _core.Weights.draw(self.spec, seed, dtype, x))


class Init(Draws, Kind):
    """A weight or bias initialisation by name, with its parameters (names and meanings of `torch.nn.init`).

    `he_normal`, `glorot_normal` and `variance_scaling` are Keras's, truncated at two standard deviations;
    `lecun_normal` is not, and `variance_scaling` without parameters is what Keras calls so.

    `gain` is the number in the formula of the standard deviation: `gain * sqrt(2 / (fan_in + fan_out))` for
    `xavier_normal`, `gain / sqrt(fan)` for `kaiming_normal`, where it defaults to `sqrt(2 / (1 + a^2))`.

    >>> Init("mean_field", sigma_w=1.5, sigma_b=0.05)
    Init('mean_field(sigma_w=1.5, sigma_b=0.05)')
    """

    _kind = "init"


class Inits(Draws, tuple[Init, ...]):  # noqa: SLOT001 (they know their spec)
    """The inits of the layers of a spec."""


class Norm(Kind):
    """A normalisation by name: `batch`, `layer` or `rms`, each with `eps` (1e-5).

    `xhat = (z - mean) / sqrt(var + eps)`, then times a weight (1) plus a bias (0), one a feature. `batch` takes mean
    and biased variance over the samples of the batch at hand, as in training; `layer` over the features of a sample;
    `rms` leaves the mean and has no bias.

    >>> Norm("layer_norm", eps=1e-3)
    Norm('layer(eps=0.001)')
    """

    _kind = "norm"


class Skip(Kind):
    """A skip connection by name, with its parameters. x is the input of a block, F(x) what its layers make of it.

    - `residual`: `x + branch_scale F(x)`. `order="after"`: every layer is activated, what is added too;
      `"linear"`: the last layer of a block is not, `x + V phi(W x)`; `"post"`: the sum is, `phi(x + W x)` (He et al.
      2015); `"pre"`: activations come before maps, `x + W phi(x)` (He et al. 2016).
    - `rezero` (alias `skipinit`): a residual skip with a learnable number, `x + branch_scale alpha F(x)`, which starts
      at `alpha=0`.
    - `highway`: `(1 - T) x + T F(x)` with a gate `T = sigmoid(W_T x + b_T)` a feature; `gate_bias=-1` is where `b_T`
      starts, and `W_T` is drawn like the layer's weights, times `gate_gain=1`.
    - `dense`: x and F(x) side by side, so that features grow.

    >>> Skip("residual", order="pre")
    Skip('residual(order=pre)')
    """

    _kind = "skip"


class Cell(Kind):
    """A recurrent cell by name, with its parameters: `tanh`, `relu`, `irnn`, `lstm` or `gru`.

    - `tanh`, `relu`: `h' = phi(W h + U x + b)`; `irnn`: `relu` that starts with W = I and tiny U (Le et al. 2015).
    - `lstm`: `c' = f c + i g`, `h' = o tanh(c')`; `forget_bias=1` is added to the biases of f at first.
    - `gru`: `h' = (1 - z) n + z h`, so that z keeps; `reset="after"`: `n = tanh(U x + b + r (W h + b'))`, as in torch
      and cuDNN; `"before"`: `n = tanh(U x + b + W (r h) + b')`, as in Cho et al. 2014. `update_bias=0` is added to the
      biases of z at first.

    >>> Cell("gru", reset="before").params
    {'reset': 'before', 'update_bias': 0.0}
    """

    _kind = "cell"


class Transform(Kind):
    """A weight transform by name, with its parameters."""

    _kind = "weight_transform"


class Loss(Kind):
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
        return _core.loss_facts(self)[0]

    @property
    def takes_classes(self) -> bool:
        """Are targets class ids?"""
        return _core.loss_facts(self)[1]

    @property
    def reduction(self) -> str:
        """How one number is made of all, and over what."""
        return _core.loss_facts(self)[2]
