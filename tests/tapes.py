"""Nets written as tapes by hand, in plain NumPy: what the matcher is tested on, free of any recording.

Their derivatives are taken by a complex step, Im f(x + ih) / h with h = 1e-200, which is exact to rounding (Squire and
Trapp 1998, SIAM Review 40): so functions here take complex numbers, and decide by the real part.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from vgcore.convert import tape

Array = Any
STEP = 1e-200


def relu(x: Array) -> Array:
    return np.where(x.real > 0, x, 0)


def sigmoid(x: Array) -> Array:
    small = np.exp(np.where(x.real > 0, -x, x))
    return np.where(x.real > 0, 1, small) / (1 + small)


def silu(x: Array) -> Array:
    return x * sigmoid(x)


def softplus(x: Array) -> Array:
    small = np.where(x.real > 0, -x, x)
    return np.where(x.real > 0, x, 0) + np.log1p(np.exp(small))


def gelu_tanh(x: Array) -> Array:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def gelu(x: Array) -> Array:
    erfc = np.vectorize(math.erfc, otypes=[np.float64])(-x.real / math.sqrt(2)) / 2
    if np.iscomplexobj(x):  # to first order
        erfc = erfc + 1j * x.imag * np.exp(-(x.real**2) / 2) / math.sqrt(2 * math.pi)
    return x * erfc


def softmax(x: Array) -> Array:
    e = np.exp(x - x.real.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def log_softmax(x: Array) -> Array:
    return np.log(softmax(x))


class Net:
    """A net under construction: each method adds an operation and gives the number of the value that it makes."""

    def __init__(self, in_features: int, seed: int = 0) -> None:
        self.in_features = in_features
        self.draw = np.random.default_rng(seed)
        self.ops: list[tape.Op] = []
        self.steps: list[tuple[int, Callable[..., Array], tuple[int, ...]]] = []
        self.widths = {0: in_features}
        self.x = self.at = 0

    def _new(
        self, sort: type, args: tuple[int, ...], width: int, step: Callable[..., Array], name: str, **fields: Any
    ) -> int:
        out = len(self.ops) + 1
        self.ops.append(sort(out=out, args=args, path=f"body.{out}", name=name, shape=(2, width), **fields))
        self.steps.append((out, step, args))
        self.widths[out] = width
        self.at = out
        return out

    def linear(
        self, width: int, v: int | None = None, *, bias: bool = True, key: str = "", weight: Any = None, b: Any = None
    ) -> int:
        v = self.at if v is None else v
        fan_in = self.widths[v]
        weight = self.draw.normal(0, fan_in**-0.5, (width, fan_in)) if weight is None else weight
        b = self.draw.normal(0, 0.3, width) if bias and b is None else b
        key = key or f"w{len(self.ops)}"
        return self._new(
            tape.Linear,
            (v,),
            width,
            lambda x: x @ weight.T + (0 if b is None else b),
            "linear",
            weight=weight,
            bias=b,
            key=key,
        )

    def map(self, f: Callable[..., Array], *vs: int, width: int | None = None, name: str = "map", **fields: Any) -> int:
        vs = vs or (self.at,)

        return self._new(tape.Map, vs, width or self.widths[vs[0]], f, name, f=f, **fields)

    def norm(self, kind: str = "layer", v: int | None = None, eps: float = 1e-5) -> int:
        v = self.at if v is None else v
        width = self.widths[v]
        weight, shift = self.draw.normal(1, 0.2, width), self.draw.normal(0, 0.2, width)
        bias = None if kind == "rms" else shift
        axis = 0 if kind == "batch" else 1

        def f(x: Array) -> Array:
            centre = x if kind == "rms" else x - x.mean(axis, keepdims=True)
            return centre / np.sqrt((centre**2).mean(axis, keepdims=True) + eps) * weight + (
                0 if bias is None else bias
            )

        return self._new(
            tape.Norm,
            (v,),
            width,
            f,
            f"{kind}_norm",
            kind=kind,
            eps=eps,
            weight=weight,
            bias=bias,
            f=f,
            key=f"n{len(self.ops)}",
        )

    def add(self, a: int, b: int | None = None, alpha: float = 1.0, beta: float = 1.0) -> int:
        b = self.at if b is None else b
        return self._new(
            tape.Add, (a, b), self.widths[a], lambda x, y: alpha * x + beta * y, "add", alpha=alpha, beta=beta
        )

    def scale(self, factor: float, *, learned: bool = False, v: int | None = None) -> int:
        v = self.at if v is None else v
        return self._new(tape.Scale, (v,), self.widths[v], lambda x: factor * x, "mul", factor=factor, learned=learned)

    def concat(self, *vs: int) -> int:
        width = sum(self.widths[v] for v in vs)
        return self._new(tape.Concat, vs, width, lambda *x: np.concatenate(x, axis=1), "cat")

    def drop(self, p: float) -> int:
        return self._new(tape.Drop, (self.at,), self.widths[self.at], lambda x: x, "dropout", p=p)

    def reshape(self) -> int:
        return self._new(tape.Reshape, (self.at,), self.widths[self.at], lambda x: x, "view")

    def unknown(self, reason: str) -> int:
        return self._new(tape.Unknown, (self.at,), self.widths[self.at], lambda x: x, "attention", reason=reason)

    def tape(self) -> tape.Tape:
        return tape.Tape(tuple(self.ops), 0, self.at, self.in_features, (self.in_features,))

    def run(self, rows: Any, upto: int | None) -> tuple[Any, Callable[[Any], Any]]:
        def f(x: Array) -> Array:
            values = {0: x}
            for out, step, args in self.steps:
                values[out] = step(*(values[arg] for arg in args))
            return values[self.at if upto is None else upto]

        def pull(cotangent: Array) -> Array:
            dx = np.zeros_like(rows)
            for place in np.ndindex(*rows.shape):  # one at a time: a batch norm mixes rows
                moved = rows.astype(complex)
                moved[place] += 1j * STEP
                dx[place] = (cotangent * f(moved).imag).sum() / STEP
            return dx

        return f(rows), pull
