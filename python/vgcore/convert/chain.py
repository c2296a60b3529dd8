"""A straight chain of maps, norms and activations in plain NumPy: what arrays without a model are proved against.

It is a recording and its run at once: `tape()` says what stands there, `run` computes it and its way back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from vgcore import _core
from vgcore.convert import tape
from vgcore.convert.tape import Array

#: From rows to what a step makes of them, and the way back of a gradient.
Step = Callable[[Array], tuple[Array, Callable[[Array], Array]]]


@dataclass(eq=False)
class Chain:
    """Steps one after the other, each with the operation that a tape has for it."""

    in_features: int
    ops: list[tape.Op] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def features(self) -> int:
        """What the last step gives."""
        return self.ops[-1].shape[1] if self.ops else self.in_features

    def linear(self, path: str, name: str, weight: Array, bias: Array | None) -> None:
        """`x W^T + b`."""
        at, args = len(self.ops) + 1, (len(self.ops),)
        self.ops.append(
            tape.Linear(
                out=at,
                args=args,
                path=path,
                name=name,
                shape=(1, len(weight)),
                weight=weight,
                bias=bias,
                key=f"{path}.{at}",
            )
        )
        self.steps.append(lambda x: (x @ weight.T + (0 if bias is None else bias), lambda g: g @ weight))

    def map(self, path: str, name: str, step: Step, features: int) -> None:
        """A function, by what it computes."""
        at, args = len(self.ops) + 1, (len(self.ops),)
        self.ops.append(tape.Map(out=at, args=args, path=path, name=name, shape=(1, features), f=lambda x: step(x)[0]))
        self.steps.append(step)

    def activation(self, path: str, text: str) -> None:
        """An activation of the catalogue."""
        features = self.features
        outputs = int(features * _core.activation_outputs(text))
        self.map(path, text, lambda x: activated(text, x), outputs)

    def norm(self, path: str, kind: str, eps: float, weight: Array, bias: Array | None) -> None:
        """A normalisation with the statistics of the rows at hand."""
        at, args = len(self.ops) + 1, (len(self.ops),)

        def step(x: Array) -> tuple[Array, Callable[[Array], Array]]:
            return normalised(kind, eps, weight, bias, x)

        self.ops.append(
            tape.Norm(
                out=at,
                args=args,
                path=path,
                name=f"{kind}_norm",
                shape=(1, self.features),
                kind=kind,
                eps=eps,
                weight=weight,
                bias=bias,
                f=lambda x: step(x)[0],
                key=f"{path}.{at}",
            )
        )
        self.steps.append(step)

    def tape(self) -> tape.Tape:
        """The recording."""
        ops = tuple(self.ops)
        return tape.Tape(ops, 0, len(ops), self.in_features, (self.in_features,), tuple(self.notes))

    def run(self, rows: Array, upto: int | None) -> tuple[Array, Callable[[Array], Array]]:
        """The chain up to a value, and its way back."""
        value, backs = rows, []
        for step in self.steps[:upto]:
            value, back = step(value)
            backs.append(back)

        def pull(cotangent: Array) -> Array:
            for back in reversed(backs):
                cotangent = back(cotangent)
            return cotangent

        return value, pull


def activated(text: str, x: Array) -> tuple[Array, Callable[[Array], Array]]:
    """An activation of rows and its way back, those that halve or double the features too."""
    outputs = _core.activation_outputs(text)

    def phi(z: Array) -> tuple[Array, Array]:
        pairs = _core.activate(text, z.ravel())
        return pairs[:, 0].reshape(z.shape), pairs[:, 1].reshape(z.shape)

    if outputs == 1:
        value, slope = phi(x)
        return value, lambda g: g * slope
    if outputs == 2:
        (one, up), (two, down) = phi(x), phi(-x)
        return np.hstack([one, two]), lambda g: g[:, : x.shape[1]] * up - g[:, x.shape[1] :] * down
    half = x.shape[1] // 2
    opening, slope = phi(x[:, half:])
    return x[:, :half] * opening, lambda g: np.hstack([g * opening, g * x[:, :half] * slope])


def normalised(
    kind: str, eps: float, weight: Array, bias: Array | None, x: Array
) -> tuple[Array, Callable[[Array], Array]]:
    """`weight (x - mean) / sqrt(variance + eps) + bias` and its way back; the mean stays in `rms`."""
    axis, centred = (0 if kind == "batch" else 1), kind != "rms"
    centre = x - x.mean(axis, keepdims=True) if centred else x
    inverse = 1 / np.sqrt((centre**2).mean(axis, keepdims=True) + eps)
    hat = centre * inverse

    def back(g: Array) -> Array:
        g = g * weight
        mean = g.mean(axis, keepdims=True) if centred else 0.0
        return np.asarray((g - hat * (g * hat).mean(axis, keepdims=True) - mean) * inverse)

    return hat * weight + (0 if bias is None else bias), back
