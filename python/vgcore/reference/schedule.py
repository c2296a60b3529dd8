"""Schedules: the learning rate of step t = 1, 2, ..., T.

The names and formulas are those of `torch.optim.lr_scheduler`, where it has them: its value at index i = t - 1 is that
of step t. A warm-up is t / warmup, so that no first step is 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from vgcore.reference.kind import parse


def constant(_: int, __: int, lr: float) -> float:
    """Lr."""
    return lr


def linear(t: int, _: int, lr: float, *, start_factor: float = 1 / 3, end_factor: float = 1, total: float = 5) -> float:
    """From start_factor to end_factor of lr, in so many steps."""
    return lr * (start_factor + (end_factor - start_factor) * (min(1, (t - 1) / total) if total else 1))


def step(t: int, _: int, lr: float, *, size: float, gamma: float = 0.1) -> float:
    """Times gamma after every so many steps."""
    return lr * math.pow(gamma, (t - 1) // size)


def multistep(
    t: int,
    _: int,
    lr: float,
    *,
    first: float,
    second: float = 0,
    third: float = 0,
    fourth: float = 0,
    gamma: float = 0.1,
) -> float:
    """Times gamma after each of these numbers of steps."""
    return lr * math.pow(gamma, sum(0 < at < t for at in (first, second, third, fourth)))


def exponential(t: int, _: int, lr: float, *, gamma: float) -> float:
    """Times gamma after every step."""
    return lr * math.pow(gamma, t - 1)


def cosine(t: int, steps: int, lr: float, *, eta_min: float = 0, period: float = 0, warmup: float = 0) -> float:
    """Down half a wave of a cosine to eta_min, after a warm-up (Loshchilov & Hutter 2017)."""
    if t <= warmup:
        return lr * t / warmup
    period = period or steps - warmup
    return between(lr, eta_min, (t - 1 - warmup) / period)


def one_cycle(
    t: int,
    steps: int,
    lr: float,
    *,
    pct_start: float = 0.3,
    div_factor: float = 25,
    final_div_factor: float = 1e4,
    **_: float,
) -> float:
    """Up to lr from lr / div_factor, and down to a final_div_factor of that (Smith & Topin 2019)."""
    share, rises = cycled(t, steps, pct_start)
    start = lr / div_factor
    return between(start, lr, share) if rises else between(lr, start / final_div_factor, share)


def between(start: float, end: float, share: float) -> float:
    """From start to end along half a wave of a cosine."""
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


def cycled(t: int, steps: int, pct_start: float) -> tuple[float, bool]:
    """How much of the first or of the second phase of one_cycle is over, and whether it is the first."""
    peak = pct_start * steps - 1
    rises = t - 1 <= peak
    if rises:
        return (t - 1) / peak if peak > 0 else 1, True
    return (t - 1 - peak) / (steps - 1 - peak), False


def warmup(t: int, _: int, lr: float, *, steps: float) -> float:
    """Lr times t / steps, up to all of it."""
    return lr * min(1, t / steps)


def inverse_sqrt(t: int, _: int, lr: float, *, warmup: float) -> float:
    """Lr after a warm-up, and then as 1 / sqrt(t)."""
    return lr * min(t / warmup, math.sqrt(warmup / t))


def noam(t: int, _: int, lr: float, *, d_model: float, warmup: float) -> float:
    """Lr times d^-1/2 min(t^-1/2, t warmup^-3/2) (Vaswani et al. 2017)."""
    return lr / math.sqrt(d_model) * min(1 / math.sqrt(t), t / math.pow(warmup, 1.5))


def wsd(t: int, steps: int, lr: float, *, warmup: float = 0, decay: float = 0) -> float:
    """Warm up, stay, and decay by a line within the last steps (Hu et al. 2024)."""
    return lr * min(1, t / warmup if warmup else 1, (steps - t + 1) / decay if decay else 1)


SCHEDULES: dict[str, Callable[..., float]] = {
    "constant": constant,
    "linear": linear,
    "step": step,
    "multistep": multistep,
    "exponential": exponential,
    "cosine": cosine,
    "one_cycle": one_cycle,
    "warmup": warmup,
    "inverse_sqrt": inverse_sqrt,
    "noam": noam,
    "wsd": wsd,
}


def rate(schedule: str, lr: float, t: int, steps: int) -> float:
    """The learning rate of step t of so many, by a schedule such as `"step(size=30)"`, for an optimiser's lr."""
    name, params = parse(schedule)
    found: float = SCHEDULES[name](t, steps, lr, **params)
    return found


def momentum(schedule: str, t: int, steps: int) -> float | None:
    """The momentum, or beta1, of step t: one_cycle lowers it while the rate rises; others do not move it."""
    name, params = parse(schedule)
    return cycled_momentum(t, steps, **params) if name == "one_cycle" else None


def cycled_momentum(
    t: int,
    steps: int,
    *,
    pct_start: float = 0.3,
    low_momentum: float = 0.85,
    high_momentum: float = 0.95,
    **_: float,
) -> float:
    """Down to low_momentum from high_momentum, and up again."""
    share, rises = cycled(t, steps, pct_start)
    return between(high_momentum, low_momentum, share) if rises else between(low_momentum, high_momentum, share)


@dataclass
class Plateau:
    """Times factor after more than `patience` readings that are not better than the best, as `ReduceLROnPlateau`.

    Better is below (1 - threshold) of the best. For `cooldown` readings after that none counts as bad. A step of less
    than eps is not made.
    """

    lr: float
    factor: float = 0.1
    patience: float = 10
    threshold: float = 1e-4
    cooldown: float = 0
    eps: float = 1e-8
    best: float = math.inf
    bad: float = 0
    cooling: float = 0

    def read(self, loss: float) -> float:
        """The learning rate after one more reading."""
        if loss < self.best * (1 - self.threshold):
            self.best, self.bad = loss, 0
        else:
            self.bad += 1
        if self.cooling > 0:
            self.cooling, self.bad = self.cooling - 1, 0
        if self.bad > self.patience:
            self.cooling, self.bad = self.cooldown, 0
            if self.lr * (1 - self.factor) > self.eps:
                self.lr *= self.factor
        return self.lr
