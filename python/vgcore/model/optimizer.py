"""Optimisers and schedules of the learning rate: kinds, and the classes that take torch's arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vgcore.model.given import Bounds, boolean, items, number
from vgcore.model.kind import Kind
from vgcore.model.names import known

if TYPE_CHECKING:
    from typing_extensions import Self

#: What Muon's rate is multiplied with.
ADJUST = ("original", "match_rms_adamw")
BETAS = "two numbers, such as (0.9, 0.999)"


class Optimizer(Kind):
    """An optimiser by name, with its parameters: names, defaults and exact steps of `torch.optim`, which lacks Lion.

    - `sgd(lr=0.001, momentum=0, dampening=0, nesterov=false, weight_decay=0)`: the buffer starts as the gradient, so
      that the first step is undamped, and lr multiplies the whole buffer.
    - `adam(lr=0.001, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0)`: eps stands outside of the root, after the
      correction of bias; weight decay is L2, added to the gradient.
    - `adamw(..., weight_decay=0.01)`: decay first, `w -= lr weight_decay w`, then Adam's step.
    - `rmsprop(lr=0.01, alpha=0.99, eps=1e-8, weight_decay=0, momentum=0, centered=false)`: eps outside of the root.
    - `adagrad(lr=0.01, lr_decay=0, weight_decay=0, initial_accumulator=0, eps=1e-10)`.
    - `lion(lr=0.0001, beta1=0.9, beta2=0.99, weight_decay=0)`: the sign of a mean; decay as in AdamW.
    - `muon(lr=0.001, weight_decay=0.1, momentum=0.95, nesterov=true, ns_steps=5, eps=1e-7, adjust=original)`: of hidden
      weights, by Newton-Schulz; every other tensor takes AdamW's step with the same lr and decay.

    With `scale_free=true`, which all but `sgd` have, eps is relative to the tensor and moments carry an exponent: a
    gradient of 1e-300 moves its layer as one of 1 does. Torch's form, the default, leaves the layer where it is.

    `SGD`, `Adam`, `AdamW`, `RMSprop`, `Adagrad`, `Lion` and `Muon` make the same from torch's arguments.

    >>> Optimizer("sgd", lr=0.1, momentum=0.9)
    Optimizer('sgd(lr=0.1, momentum=0.9)')
    >>> Optimizer("adam(lr=0.01)").lr
    0.01
    """

    _kind = "optimizer"

    @property
    def lr(self) -> float:
        """The learning rate that schedules multiply."""
        return float(self.params["lr"])

    def changed(self, **params: float | str | bool) -> Optimizer:
        """The optimiser with some parameters changed.

        >>> Adam(lr=0.1, scale_free=True).changed(lr=0.01)
        Optimizer('adam(lr=0.01, scale_free=true)')
        """
        return Optimizer(self.name, **(self.params | {name: word(value) for name, value in params.items()}))

    def __repr__(self) -> str:
        return f"Optimizer({str(self)!r})"

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return type(self).of_field, (str(self),)


def word(value: Any) -> Any:
    """A flag as the word that a kind is written with; anything else as it is."""
    return str(bool(value)).lower() if isinstance(value, bool | np.bool_) else value


def _flag(name: str, value: object) -> str:
    """What must be a flag, as a word."""
    return str(word(boolean(name, value)))


def _numbers(**params: object) -> dict[str, float]:
    """What must be numbers, by their names; the core says which."""
    return {name: number(name, value, Bounds()) for name, value in params.items()}


def _betas(value: object) -> dict[str, float]:
    """Two decay rates, by the names that a kind has for them; the core says what they may be."""
    pair = items("betas", value, BETAS)
    if len(pair) != 2:
        raise ValueError(f"betas must be {BETAS}, got {len(pair)} of them")
    return {f"beta{i}": number("betas", each, Bounds()) for i, each in enumerate(pair, 1)}


class SGD(Optimizer):
    """`torch.optim.SGD`.

    >>> SGD(lr=0.1, momentum=0.9, nesterov=True)
    Optimizer('sgd(lr=0.1, momentum=0.9, nesterov=true)')
    """

    def __new__(
        cls,
        lr: float = 1e-3,
        *,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> Self:
        """The optimiser of these arguments."""
        params = _numbers(lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay)
        return super().__new__(cls, "sgd", **params, nesterov=_flag("nesterov", nesterov))


class Adam(Optimizer):
    """`torch.optim.Adam`; with `scale_free=True`, eps is relative and moments carry an exponent.

    >>> Adam(lr=0.01, betas=(0.8, 0.999))
    Optimizer('adam(lr=0.01, beta1=0.8)')
    """

    def __new__(
        cls,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        scale_free: bool = False,
    ) -> Self:
        """The optimiser of these arguments."""
        params = _betas(betas) | _numbers(lr=lr, eps=eps, weight_decay=weight_decay)
        return super().__new__(cls, "adam", **params, scale_free=_flag("scale_free", scale_free))


class AdamW(Optimizer):
    """`torch.optim.AdamW`: Adam with a decay of weights that is not part of the gradient.

    >>> AdamW().params["weight_decay"]
    0.01
    """

    def __new__(
        cls,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        scale_free: bool = False,
    ) -> Self:
        """The optimiser of these arguments."""
        params = _betas(betas) | _numbers(lr=lr, eps=eps, weight_decay=weight_decay)
        return super().__new__(cls, "adamw", **params, scale_free=_flag("scale_free", scale_free))


class RMSprop(Optimizer):
    """`torch.optim.RMSprop`.

    >>> RMSprop(alpha=0.9)
    Optimizer('rmsprop(alpha=0.9)')
    """

    def __new__(
        cls,
        lr: float = 1e-2,
        *,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        scale_free: bool = False,
    ) -> Self:
        """The optimiser of these arguments."""
        params = _numbers(lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum)
        flags = {"centered": _flag("centered", centered), "scale_free": _flag("scale_free", scale_free)}
        return super().__new__(cls, "rmsprop", **params, **flags)


class Adagrad(Optimizer):
    """`torch.optim.Adagrad`: with an accumulator of 0, the first step is lr times the sign of the gradient.

    >>> Adagrad(initial_accumulator_value=0.1)
    Optimizer('adagrad(initial_accumulator=0.1)')
    """

    def __new__(
        cls,
        lr: float = 1e-2,
        *,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        scale_free: bool = False,
    ) -> Self:
        """The optimiser of these arguments."""
        params = _numbers(lr=lr, lr_decay=lr_decay, weight_decay=weight_decay, eps=eps)
        params["initial_accumulator"] = number("initial_accumulator_value", initial_accumulator_value, Bounds())
        return super().__new__(cls, "adagrad", **params, scale_free=_flag("scale_free", scale_free))


class Lion(Optimizer):
    """Lion (Chen et al. 2023, arXiv:2302.06675): lr is 3 to 10 times below Adam's.

    >>> Lion()
    Optimizer('lion')
    """

    def __new__(
        cls,
        lr: float = 1e-4,
        *,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        scale_free: bool = False,
    ) -> Self:
        """The optimiser of these arguments."""
        params = _betas(betas) | _numbers(lr=lr, weight_decay=weight_decay)
        return super().__new__(cls, "lion", **params, scale_free=_flag("scale_free", scale_free))


class Muon(Optimizer):
    """`torch.optim.Muon` of hidden weights; every other tensor takes AdamW's step, with the same lr and decay.

    Hidden are the weights of `layers`, of a transformer the four maps of a block and not its embedding, and in a
    recurrent net also what a layer gets from the one below. Gates, and queries, keys and values, that are stacked in
    one matrix are stepped as one.

    >>> Muon(lr=0.02, adjust_lr_fn="match_rms_adamw")
    Optimizer('muon(lr=0.02, adjust=match_rms_adamw)')
    """

    def __new__(
        cls,
        lr: float = 1e-3,
        *,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_steps: int = 5,
        eps: float = 1e-7,
        adjust_lr_fn: str | None = None,
        scale_free: bool = False,
    ) -> Self:
        """The optimiser of these arguments."""
        params = _numbers(lr=lr, weight_decay=weight_decay, momentum=momentum, ns_steps=ns_steps, eps=eps)
        flags = {"nesterov": _flag("nesterov", nesterov), "scale_free": _flag("scale_free", scale_free)}
        if adjust_lr_fn is not None:
            flags["adjust"] = known("adjust_lr_fn", adjust_lr_fn, ADJUST)
        return super().__new__(cls, "muon", **params, **flags)


class Schedule(Kind):
    """A schedule of the learning rate by name, with its parameters: what multiplies lr at step t = 1, 2, ..., T.

    Names and curves are torch's but for those of the last line; its value at index t - 1 is that of step t here. Step t
    uses lr(t): a warm-up is t/warmup, so that the first update is made with lr/warmup, never with 0.

    - `constant`; `linear(start_factor=1/3, end_factor=1, total=5)`; `step(size, gamma=0.1)`;
      `multistep(first, second, third, fourth, gamma=0.1)`; `exponential(gamma)`.
    - `cosine(eta_min=0, period=0, warmup=0)`: a period of 0 is what the warm-up leaves of T.
    - `one_cycle(pct_start=0.3, div_factor=25, final_div_factor=1e4, low_momentum=0.85, high_momentum=0.95)`: lr is the
      largest, and momentum (or beta1) runs against it.
    - `plateau(factor=0.1, patience=10, threshold=1e-4, cooldown=0, eps=1e-8)`: after patience + 1 readings that are
      no better, as in torch; readings are those of early stopping.
    - `warmup(steps)`; `inverse_sqrt(warmup)`: min(t/w, sqrt(w/t)); `noam(d_model, warmup)`:
      d^-0.5 min(t^-0.5, t w^-1.5); `wsd(warmup, decay)`: up, level, and down over the last `decay` steps.

    >>> Schedule("cosine", warmup=100)
    Schedule('cosine(warmup=100)')
    """

    _kind = "schedule"

    @property
    def knows_steps(self) -> bool:
        """Whether the rate of a step hangs on how many there are.

        >>> Schedule("cosine").knows_steps, Schedule("cosine(period=100)").knows_steps
        (True, False)
        """
        return self.name in {"one_cycle", "wsd"} or (self.name == "cosine" and not self.params["period"])
