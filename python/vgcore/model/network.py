"""A net with its numbers: outputs and explicit gradients on a caller's data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vgcore import _core
from vgcore.model.kind import Loss
from vgcore.model.shown import Shown
from vgcore.model.spec import Spec
from vgcore.model.versioned import Versioned

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Gradients(Versioned, Shown):
    """Every gradient of one backward pass, as true values: 0 or infinite where the dtype ends.

    Entries of dL/dz below 2^-100 of the batch's largest (2^-500 in float64) are flushed to 0, and so is what follows
    from them: subnormal arithmetic is up to a hundred times slower.

    Attributes:
        parameters: Of every parameter by its name in `state_dict()`, of its shape and in its order; of a tied net
            summed over the steps.
        preactivations: dL/dz of the hidden layers, `(batch, width)` each.
        input: dL/dx, of the shape of x.
        loss: The loss; None after `backward`.

    >>> import numpy as np
    >>> from vgcore import MLP
    >>> net = MLP(depth=2, width=4, in_features=3, out_features=1).init(seed=0)
    >>> g = net.gradients(np.ones((5, 3)), np.zeros((5, 1)), loss="mse")
    >>> [w.shape for w in g.weights], g.preactivations[0].shape, g.input.shape
    ([(4, 3), (4, 4), (1, 4)], (5, 4), (5, 3))
    """

    parameters: dict[str, Array]
    preactivations: list[Array]
    input: Array
    loss: float | None

    _callers: ClassVar[frozenset[str]] = frozenset({"input"})

    def __repr__(self) -> str:
        loss = "" if self.loss is None else f", loss {self.loss:.6g}"
        batch, layers = len(self.input), len(self.preactivations)
        return f"Gradients({len(self.parameters)} tensors, {layers} layers, batch {batch}{loss})"

    @property
    def weights(self) -> list[Array]:
        """dL/dW of layers and readout, `(out, in)` each, input side first, the readout's last."""
        return self._of("weight")

    @property
    def biases(self) -> list[Array]:
        """dL/db, `(out,)` each, in the same order."""
        return self._of("bias")

    def _of(self, part: str) -> list[Array]:
        return [g for name, g in self.parameters.items() if re.fullmatch(rf"(layers\.\d+|readout)\.{part}", name)]


@dataclass(frozen=True, eq=False)
class Forward(Versioned, Shown):
    """What a forward pass computes of every layer, as true values: 0 or infinite where the dtype ends.

    Each list has an array a hidden layer, input side first, of the net's dtype: entry 0 is layer 1. In a plain layer
    `z = W h + b`, `a = phi(z)` and `h = a`.

    Attributes:
        z: What the map gives, `(batch, width)`.
        slopes: phi' of what the activation gets: z, or N(z) with a norm between them, or with `order="pre"` what the
            layer gets. Of its shape, but for two kinds of activation, whose entries are the two factors of the chain
            rule: `[g(gate), value * g'(gate)]` of a gated one, da by the value and da by the gate, `(batch, width)`;
            `[phi'(z), -phi'(-z)]` of `crelu`, `(batch, 2 width)`.
        a: What the activation gives, or what a norm behind it makes of that.
        h: What the layer hands on: a or, at the end of a block, what the skip makes of it. With `order="pre"`, which
            puts the map behind the activation, that is z or its sum with what went around.
        output: The readout or, without one, the last h, `(batch, out_features)`.

    >>> import vgcore as vg
    >>> net = vg.MLP(depth=2, width=1, activation="tanh", init="constant(0.5)").init(dtype="float64")
    >>> forward = net.trace([[1.0]])
    >>> forward.z[0], forward.a[0].round(6), forward.slopes[0].round(6)
    (array([[0.5]]), array([[0.462117]]), array([[0.786448]]))
    """

    z: list[Array]
    slopes: list[Array]
    a: list[Array]
    h: list[Array]
    output: Array

    def __post_init__(self) -> None:
        super().__post_init__()
        given: tuple[Any, ...] = (self.z, self.slopes, self.a, self.h)
        for arrays in given:
            for array in arrays if isinstance(arrays, list) else ():
                if isinstance(array, np.ndarray):
                    array.setflags(write=False)

    def __repr__(self) -> str:
        batch, outputs = self.output.shape
        return f"Forward({len(self.z)} layers, batch={batch}, outputs={outputs}, dtype={str(self.output.dtype)!r})"


class Network(Shown):
    """A spec with numbers, made by `spec.init(seed=...)` or `Network.from_state_dict`. Immutable.

    Large nets are drawn and differentiated on as many threads as `VGCORE_NUM_THREADS` says, else as the machine has;
    the bits do not depend on it.

    >>> import numpy as np
    >>> import vgcore as vg
    >>> net = vg.MLP(depth=3, width=8, out_features=2, activation="tanh").init(seed=0)
    >>> net.forward(np.ones((5, 8))).shape
    (5, 2)
    """

    def __init__(self, spec: Spec, weights: _core.Weights) -> None:
        if not isinstance(weights, _core.Weights):
            raise TypeError(f"weights must be what the core has drawn or been given, got {type(weights).__name__}")
        weights.check_spec(spec)
        self._spec = spec
        self._weights = weights

    @property
    def spec(self) -> Spec:
        """What the net is."""
        return self._spec

    @property
    def dtype(self) -> str:
        """`"float32"` or `"float64"`."""
        return self._weights.dtype

    def __repr__(self) -> str:
        return f"Network({self._spec!r}, dtype={self.dtype!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _joined, (self._spec, self.dtype, [_Part(numbers) for numbers in self._weights.parts()])

    def state_dict(self) -> dict[str, Array]:
        """Copies of all numbers: `layers.0.weight` `(out, in)`, `layers.0.bias` ..., and the `readout`'s.

        Where the net has them, beside those of its layer: `norms.0.weight` and `.bias`, `activations.0.weight` (a
        learnable slope), `skips.0.weight` (a learnable factor of a branch), `gates.0.weight` and `.bias`; and
        `inputs.weight` of a recurrent net. A tied net has those of `layers.0` only.
        """
        return self._weights.state_dict()

    @staticmethod
    def from_state_dict(spec: Spec, state: Mapping[str, ArrayLike]) -> Network:
        """The net with given numbers.

        Args:
            spec: What the net is.
            state: Exactly the keys of `state_dict()`, every shape as there; nothing is transposed or guessed. The net
                computes in float32 if all arrays are float32, in float64 otherwise.

        Raises:
            ValueError: For a missing, unknown or misshapen entry, or one that is not finite.
            TypeError: For an entry that is no array of real numbers.
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"state must be a mapping from names to arrays, got {type(state).__name__}")
        return Network(spec, _core.Weights.given(spec, dict(state)))

    def to_torch(self) -> Any:
        """The net as a `torch.nn.Module` with its numbers, in its dtype, by the names of `state_dict()`.

        Raises:
            ImportError: Without torch.
        """
        from vgcore.convert.to_torch import to_torch

        return to_torch(self)

    def forward(self, x: ArrayLike, *, threads: int | None = None) -> Array:
        """The output `(batch, out_features)`, or the last hidden output where there is no readout.

        Args:
            x: Real and finite, `(batch, in_features)`, of any memory layout; rounded to the net's dtype. With
                `inputs="every"` it is `(batch, depth, in_features)`, or flat, here and below.
            threads: At most this many; else VGCORE_NUM_THREADS, else all that the process may use. The numbers do not
                depend on it, here and below.
        """
        return self._weights.forward(x, threads)

    def trace(self, x: ArrayLike) -> Forward:
        """The z, a, phi' and h of every layer, beside the output: what `forward` computes on its way, on one thread.

        Args:
            x: `(batch, in_features)`.
        """
        signals = self._weights.signals(x)
        return Forward(**{name: signals[name] for name in ("z", "slopes", "a", "h", "output")})

    def backward(self, x: ArrayLike, cotangent: ArrayLike, *, threads: int | None = None) -> Gradients:
        """Gradients of `sum(cotangent * forward(x))`.

        Args:
            x: `(batch, in_features)`.
            cotangent: dL/dy, of the output's shape.
            threads: At most this many.
        """
        return Gradients(**self._weights.backward(x, cotangent, threads))

    def gradients(
        self, x: ArrayLike, y: ArrayLike | None = None, *, loss: str | Loss | None = None, threads: int | None = None
    ) -> Gradients:
        """Gradients of a loss.

        Args:
            x: `(batch, in_features)`.
            y: Targets, as in `probe`: classes for `cross_entropy`, numbers of the output's shape for the others; None
                for `output_sum`, which takes no targets.
            loss: One of `LOSSES`, a call such as `"huber(delta=0.5)"`, or a `Loss`, which says what each of them is; if
                None, the one that `probe` would take for such targets.
            threads: At most this many.

        >>> import vgcore as vg
        >>> net = vg.MLP(depth=3, width=1, activation="sigmoid", init="constant(0.5)").init(dtype="float64")
        >>> round(net.gradients([[1.0]], [[0.8]], loss="half_mse").loss, 12)
        0.026071503814
        """
        return Gradients(**self._weights.gradients(x, y, loss, threads))


class _Part:
    """Some numbers of a pickled net. Python code runs before and after each, where Ctrl-C is heard."""

    def __init__(self, numbers: Array) -> None:
        self.numbers = numbers

    def __reduce__(self) -> tuple[Any, ...]:
        return _Part, (self.numbers,)


def _joined(spec: Spec, dtype: str, parts: list[_Part]) -> Network:
    """The net that was pickled in these parts."""
    return Network(spec, _core.Weights.joined(spec, [part.numbers for part in parts], dtype))


def gradcheck(spec: Spec, *, seed: int = 0, batch: int = 4, loss: str | Loss | None = None) -> dict[str, float]:
    """Analytic gradients against central differences, in float64, at any depth.

    The differences are taken of each activation at each pre-activation, of normalisations and weight transforms, and of
    the loss at each output (fourth order, never across a kink) and chained forward with the exponent carried, because
    the difference of two outputs of a deep net drowns a gradient of 1e-30 in rounding. What comes out is compared with
    the gradient along one random direction a tensor.

    Args:
        spec: What to check; drawn with `seed`, on standard normal samples.
        seed: 0 to 2^64 - 1.
        batch: Samples.
        loss: What starts the backward pass, on drawn targets that it takes: one of `LOSSES`, a call such as
            `"huber(delta=0.5)"`, or a `Loss`; None for a standard normal cotangent.

    Returns:
        The relative error `|<g, v> - numeric| / |g|` by state-dict name, and `input`; below 1e-6 for a right gradient.
        A slope that agrees with its difference to within that difference's rounding counts as right: in saturation
        the slope lies far below it. A gradient that is zero because its terms cancel, as that of a bias before a batch
        normalisation, is rounding alone: below 1e-5 of the size of those terms, that share of it is the scale.

    Raises:
        ValueError: Where the forward pass itself or the loss leaves the range of float64: the plain twin carries no
            exponent.

    >>> import vgcore as vg
    >>> max(vg.gradcheck(vg.MLP(depth=300, width=8, activation="sigmoid")).values()) < 1e-6
    True
    >>> max(vg.gradcheck(vg.MLP(depth=3, width=8, norm="batch"), loss="cross_entropy").values()) < 1e-6
    True
    """
    return _core.gradcheck(spec, seed, batch, loss)
