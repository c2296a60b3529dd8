"""Optimisers: one step of each, with the names, the defaults and the formulas of `torch.optim`.

A rule moves one tensor w by its gradient g at step t = 1, 2, ... with the learning rate of that step, and keeps for its
next step what it has to. Where `scale_free` is given, what it keeps has an exponent of its own, and eps is relative to
the denominators of the tensor, so that a gradient of any size makes a step of the same size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from vgcore.reference.kind import Kind, parse
from vgcore.reference.random import Array
from vgcore.reference.scaled import Scaled

Kept = dict[str, Scaled]  # what a rule keeps of a tensor, by the letters of the formulas


class At(NamedTuple):
    """A tensor on its way."""

    t: int  # the number of the step, from 1
    lr: float  # of this step
    kept: Kept

    def average(self, name: str, new: Scaled, beta: float) -> Scaled:
        """The mean of all that has come so far, beta * old + (1 - beta) * new, which starts at 0."""
        old = self.kept.get(name, Scaled(np.zeros_like(new.value)))
        self.kept[name] = old * beta + new * (1 - beta)
        return self.kept[name]


def squared(g: Scaled) -> Scaled:
    """g^2."""
    return Scaled(g.value**2, 2 * g.exponent)


def over_root(m: Scaled, v: Scaled, eps: float, unit: Scaled | None = None) -> Array:
    """Give m / (sqrt(v) + eps), or m / (sqrt(v) + eps * rms(sqrt(unit))), which is 0 where all of the unit is."""
    if unit is None:  # then no exponent is carried
        plain: Array = m.value / (np.sqrt(v.value) + eps)
        return plain
    if not unit.value.any():
        return np.zeros_like(unit.value)
    square, mean, top = v.aligned(Scaled(unit.wide().mean(keepdims=True), unit.rescaled().exponent))
    half = top // 2
    root, rms = (np.sqrt(np.ldexp(value, top - 2 * half)) for value in (square, mean))
    return Scaled(m.value / (root + eps * rms), m.exponent - half).true()


def sgd(
    w: Array,
    g: Scaled,
    at: At,
    *,
    momentum: float = 0,
    dampening: float = 0,
    nesterov: bool = False,
    weight_decay: float = 0,
) -> Array:
    """Give w - lr b, where b = momentum b + (1 - dampening) g starts as g (Polyak 1964).

    Nesterov's form takes g + momentum b for b (Sutskever et al. 2013).
    """
    g += Scaled(weight_decay * w)
    if momentum != 0:
        at.kept["b"] = at.kept["b"] * momentum + g * (1 - dampening) if "b" in at.kept else g
        g = g + at.kept["b"] * momentum if nesterov else at.kept["b"]
    return w - at.lr * g.true()


def adam(
    w: Array,
    g: Scaled,
    at: At,
    *,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0,
    scale_free: bool = False,
) -> Array:
    """Give w - lr m / (sqrt(v) + eps), where m is the mean of g and v that of g^2 (Kingma & Ba 2015).

    Both are divided by what their start at 0 leaves of them.
    """
    g += Scaled(weight_decay * w)
    m = at.average("m", g, beta1) * (1 / (1 - beta1**at.t))
    v = at.average("v", squared(g), beta2) * (1 / (1 - beta2**at.t))
    return w - at.lr * over_root(m, v, eps, v if scale_free else None)


def adamw(
    w: Array,
    g: Scaled,
    at: At,
    *,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 1e-2,
    scale_free: bool = False,
) -> Array:
    """Take Adam's step from (1 - lr weight_decay) w (Loshchilov & Hutter 2019)."""
    return adam(w * (1 - at.lr * weight_decay), g, at, beta1=beta1, beta2=beta2, eps=eps, scale_free=scale_free)


def rmsprop(
    w: Array,
    g: Scaled,
    at: At,
    *,
    alpha: float = 0.99,
    eps: float = 1e-8,
    weight_decay: float = 0,
    momentum: float = 0,
    centered: bool = False,
    scale_free: bool = False,
) -> Array:
    """Give w - lr b, where b = momentum b + g / (sqrt(v) + eps) and v is the mean of g^2 (Tieleman & Hinton 2012).

    Centred, v is the variance of g.
    """
    g += Scaled(weight_decay * w)
    second = at.average("v", squared(g), alpha)
    v = second + squared(at.average("m", g, alpha)) * -1 if centered else second
    b = Scaled(over_root(g, v, eps, second if scale_free else None))
    if momentum != 0:
        at.kept["b"] = at.kept["b"] * momentum + b if "b" in at.kept else b
        b = at.kept["b"]
    return w - at.lr * b.true()


def adagrad(
    w: Array,
    g: Scaled,
    at: At,
    *,
    lr_decay: float = 0,
    weight_decay: float = 0,
    initial_accumulator: float = 0,
    eps: float = 1e-10,
    scale_free: bool = False,
) -> Array:
    """Give w - lr / (1 + (t - 1) lr_decay) g / (sqrt(v) + eps), where v is the sum of all g^2 (Duchi et al. 2011)."""
    g += Scaled(weight_decay * w)
    v = at.kept["v"] = at.kept.get("v", Scaled(np.full_like(w, initial_accumulator))) + squared(g)
    return w - at.lr / (1 + (at.t - 1) * lr_decay) * over_root(g, v, eps, v if scale_free else None)


def lion(
    w: Array,
    g: Scaled,
    at: At,
    *,
    beta1: float = 0.9,
    beta2: float = 0.99,
    weight_decay: float = 0,
    scale_free: bool = False,  # noqa: ARG001 (a sign has no scale; what is kept of a scaled g is scaled)
) -> Array:
    """Give (1 - lr weight_decay) w - lr sign(beta1 m + (1 - beta1) g), where m is the mean of earlier g.

    That mean has a beta of its own, beta2 (Chen et al. 2023).
    """
    m = at.kept.get("m", Scaled(np.zeros_like(w)))
    at.average("m", g, beta2)
    return w * (1 - at.lr * weight_decay) - at.lr * np.sign((m * beta1 + g * (1 - beta1)).value)


def muon(
    w: Array,
    g: Scaled,
    at: At,
    *,
    weight_decay: float = 0.1,
    momentum: float = 0.95,
    nesterov: bool = True,
    ns_steps: float = 5,
    eps: float = 1e-7,
    adjust: str = "original",
    scale_free: bool = False,
) -> Array:
    """Give (1 - lr weight_decay) w - lr c O, where O is near the orthogonal matrix that is closest to the mean b of g.

    c is sqrt(max(1, rows / columns)), or 0.2 sqrt(max(rows, columns)), which gives a step the rms of AdamW's (Jordan et
    al. 2024; Liu et al. 2025).
    """
    b = at.average("b", g, momentum)
    if nesterov:
        b = g * (1 - momentum) + b * momentum
    rows, columns = w.shape
    c = math.sqrt(max(1, rows / columns)) if adjust == "original" else 0.2 * math.sqrt(max(rows, columns))
    o = orthogonalised(b.wide(), int(ns_steps), 0) if scale_free else orthogonalised(b.value, int(ns_steps), eps)
    return w * (1 - at.lr * weight_decay) - at.lr * c * o


def orthogonalised(m: Array, steps: int = 5, eps: float = 1e-7) -> Array:
    """Bring the singular values of M near 1, by X <- a X + (b X X^T + c (X X^T)^2) X from M / |M|_F on.

    The quintic of Newton and Schulz has here the coefficients of Muon, which are steep at 0 and leave values between
    0.68 and 1.2 rather than 1.
    """
    x = m.T if m.shape[0] > m.shape[1] else m
    norm = max(float(np.linalg.norm(x)), eps)
    x = x / norm if norm > 0 else x
    for _ in range(steps):
        a = x @ x.T
        x = 3.4445 * x + (-4.775 * a + 2.0315 * a @ a) @ x
    return x.T if m.shape[0] > m.shape[1] else x


RULES: dict[str, Callable[..., Array]] = {
    "sgd": sgd,
    "adam": adam,
    "adamw": adamw,
    "rmsprop": rmsprop,
    "adagrad": adagrad,
    "lion": lion,
    "muon": muon,
}


LR = {"sgd": 1e-3, "adam": 1e-3, "adamw": 1e-3, "rmsprop": 1e-2, "adagrad": 1e-2, "lion": 1e-4, "muon": 1e-3}


def rule(optimizer: str) -> Kind:
    """The name and the parameters, lr always, of an optimiser such as `"sgd(lr=0.1, nesterov=true)"`."""
    name, given = parse(optimizer)
    flags = {"true": True, "false": False}
    return name, {"lr": LR[name]} | {key: flags.get(value, value) for key, value in given.items()}


def is_hidden_map(name: str) -> bool:
    """Is this tensor of a state dict the weight matrix of a hidden layer, which Muon is for?

    So is what a layer of a recurrent net gets from the one below, `inputs.1.weight` and on; norms and factors of the
    blocks of a transformer are no matrices.

    >>> [is_hidden_map(f"{name}.weight") for name in ("layers.0", "inputs.0", "inputs.1", "layers.0.norm1", "readout")]
    [True, False, True, False, False]
    """
    module, _, of = name.rpartition(".")
    head, *rest = module.split(".")
    between = head == "layers" or (head == "inputs" and rest not in ([], ["0"]))
    return between and of == "weight" and not rest[-1].startswith(("norm", "alpha"))


@np.errstate(all="ignore")  # a value that is not finite is a result
def updated(
    optimizer: str,
    state: Mapping[str, Array],
    gradients: Mapping[str, Scaled],
    kept: dict[str, Kept],
    *,
    t: int,
    lr: float,
    rates: Mapping[str, float] | None = None,
    momentum: float | None = None,
) -> dict[str, Array]:
    """All tensors after step t.

    Args:
        optimizer: A name with parameters, whose lr is not looked at.
        state: The tensors by name.
        gradients: Their gradients; a tensor without one stays as it is.
        kept: What the rules keep of every tensor; it is changed.
        t: The number of the step, from 1.
        lr: The learning rate of the step.
        rates: What to multiply it by, for some tensors.
        momentum: Of this step, or its beta1, where a schedule moves it; an optimiser without momentum gets none.
    """
    name, params = rule(optimizer)
    moved = dict(state)
    for key, gradient in gradients.items():
        ours, given = name, {p: value for p, value in params.items() if p != "lr"}
        if name == "muon" and not is_hidden_map(key):
            ours = "adamw"
            given = {"weight_decay": 0.1} | {p: v for p, v in given.items() if p in {"weight_decay", "scale_free"}}
        if momentum is not None and ours in {"adam", "adamw", "lion"}:
            given["beta1"] = momentum
        elif momentum is not None and given.get("momentum", ours == "muon"):
            given["momentum"] = momentum
        g = gradient.rescaled() if given.get("scale_free") else Scaled(gradient.true())
        at = At(t, lr * (rates or {}).get(key, 1.0), kept.setdefault(key, {}))
        moved[key] = RULES[ours](state[key], g, at, **given)
    return moved
