"""Training: a step is a forward and a backward pass, what is done to the gradients, and the step of the optimiser.

Noise is added to the gradients first. Then tensors whose gradients are too small are boosted, then gradients that are
too large are clipped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vgcore.reference.kind import parse
from vgcore.reference.loss import evaluate
from vgcore.reference.net import Trace, backpropagate, propagate, summed
from vgcore.reference.optimizer import Kept, rule, updated
from vgcore.reference.part import State
from vgcore.reference.random import Array, Stream
from vgcore.reference.scaled import Scaled
from vgcore.reference.schedule import Plateau, momentum, rate

if TYPE_CHECKING:
    from vgcore.model.spec import Spec

EPOCH, NOISE = 11, 12  # roles of a stream

Slopes = Mapping[str, Scaled]  # gradients by the names of the tensors that they are of
Moments = tuple[Array, Array]  # the mean and the variance of each feature


def norm(*gradients: Scaled) -> float:
    """The norm of some gradients as one vector."""
    top = max(g.rescaled().exponent for g in gradients)
    parts = [np.ldexp(g.rescaled().value, g.rescaled().exponent - top) for g in gradients]
    return float(np.ldexp(np.sqrt(sum(float((part**2).sum()) for part in parts)), top))


# --- Too small -----------------------------------------------------------------------------------


def boost(g: Scaled, min_norm: float, max_boost: float = 1e30) -> float:
    """The factor that brings a gradient to at least this norm, as far as max_boost goes; zeros stay."""
    if not g.value.any():
        return 1.0
    with np.errstate(divide="ignore"):  # a norm below the range of a float is boosted as far as it goes
        return min(max(1.0, float(np.float64(min_norm) / norm(g))), max_boost)


# --- Too large -----------------------------------------------------------------------------------


def shrink(size: float, max_norm: float) -> float:
    """The factor of `torch.nn.utils.clip_grad_norm_`, at most 1."""
    return min(1.0, max_norm / (size + 1e-6))


def by_norm(gradients: Slopes, max_norm: float, group: Callable[[str], str]) -> dict[str, Scaled]:
    """Shrink together what is of a group, by the norm of all of it."""
    groups: dict[str, list[str]] = {}
    for name in gradients:
        groups.setdefault(group(name), []).append(name)
    factors = {one: shrink(norm(*(gradients[name] for name in names)), max_norm) for one, names in groups.items()}
    return {name: g * factors[group(name)] for name, g in gradients.items()}


def by_value(gradients: Slopes, limit: float) -> dict[str, Scaled]:
    """No entry is larger than this, which turns the direction."""
    return {name: Scaled(np.clip(g.true(), -limit, limit)) for name, g in gradients.items()}


def adaptive(gradients: Slopes, state: Mapping[str, Array], ratio: float, eps: float = 1e-3) -> dict[str, Scaled]:
    """No unit's gradient is larger than `ratio * max(|w|, eps)` (Brock et al. 2021, eq. 3).

    A unit is a row of a matrix; a vector is one unit. The readout is left alone.
    """

    def unit_norms(v: Array) -> Array:
        size: Array = np.linalg.norm(v.reshape(len(v) if v.ndim > 1 else 1, -1), axis=1)
        return size.reshape(-1, *[1] * (v.ndim - 1))

    clipped = dict(gradients)
    for name, given in gradients.items():
        if not name.startswith("readout."):
            g = given.rescaled()
            size, limit = unit_norms(g.value), ratio * np.maximum(unit_norms(state[name]), eps)
            limit = np.ldexp(limit, -g.exponent)
            clipped[name] = g * np.where(size > limit, limit / np.where(size > limit, size, 1), 1)
    return clipped


class Clip(NamedTuple):
    """What is done to gradients that are too small or too large."""

    max_norm: float | None = None
    min_norm: float | None = None
    per: str = "global"
    max_boost: float = 1e30
    eps: float = 1e-3

    @np.errstate(all="ignore")
    def __call__(self, gradients: Slopes, state: Mapping[str, Array]) -> Slopes:
        """The gradients, boosted and then clipped."""
        if self.min_norm is not None:
            gradients = {name: g * boost(g, self.min_norm, self.max_boost) for name, g in gradients.items()}
        if self.max_norm is None:
            return gradients
        if self.per == "value":
            return by_value(gradients, self.max_norm)
        if self.per == "agc":
            return adaptive(gradients, state, self.max_norm, self.eps)
        return by_norm(gradients, self.max_norm, GROUPS[self.per])


GROUPS: dict[str, Callable[[str], str]] = {
    "global": lambda _: "",
    "layer": lambda name: name.rpartition(".")[0],  # a weight and its bias
    "tensor": lambda name: name,
}


# --- What is drawn -------------------------------------------------------------------------------


def rows(seed: int, total: int, batch: int, t: int) -> Array:
    """The rows of the batch of step t: whole batches of a new order of all rows in every epoch (Fisher & Yates 1938).

    A batch that has room for all rows takes them as they come.
    """
    if batch >= total:
        return np.arange(total)
    epoch, place = divmod(t - 1, total // batch)
    order = np.arange(total)
    for i, u in enumerate(Stream(seed, EPOCH, epoch).uniform((total,))):
        j = min(i + int(u * (total - i)), total - 1)
        order[i], order[j] = order[j], order[i]
    return order[place * batch :][:batch]


def noise(seed: int, state: State, variance: float, t: int) -> State:
    """Normals for every tensor, of a variance that falls as t^-0.55 (Neelakantan et al. 2015)."""
    std, found = np.sqrt(variance / t**0.55), {}
    for place, (name, w) in enumerate(state.items()):
        room = -(-w.size // 4) * 4  # numbers of a step: every step has blocks of its own
        found[name] = std * Stream(seed, NOISE, place).normal(((t + 1) * room,))[t * room :][: w.size].reshape(w.shape)
    return found


# --- Steps ---------------------------------------------------------------------------------------


class Stepped(NamedTuple):
    """The step t of a run."""

    state: State  # after the step
    loss: float  # before it
    lr: float
    norm: float  # of all gradients, before boosting and clipping
    gradients: Slopes  # that the optimiser got


class Trainer:
    """A net on its way through T steps: its tensors, and what the optimiser keeps of them."""

    def __init__(
        self,
        spec: Spec,
        state: State,
        *,
        loss: str,
        steps: int,
        optimizer: str,
        schedule: str = "constant",
        clip: Clip | None = None,
        rates: Mapping[str, float] | None = None,
        seed: int = 0,
    ) -> None:
        self.spec = spec
        self.state: State = dict(state)
        self.loss = loss
        self.steps = steps
        self.seed = seed  # of the masks of dropout
        self.optimizer = optimizer
        self.schedule = schedule
        self.clip: Clip = clip or Clip()
        self.rates: Mapping[str, float] = rates or {}
        self.kept: dict[str, Kept] = {}
        self.t: int = 0
        self.lr: float = rule(optimizer)[1]["lr"]
        name, params = parse(schedule)
        self.plateau: Plateau | None = Plateau(self.lr, **params) if name == "plateau" else None
        self.moments: dict[str, Moments] = {}

    @np.errstate(all="ignore")
    def step(self, x: Array, y: Array | None, added: Mapping[str, Array] | None = None) -> Stepped:
        """One step on a batch; noise is added to the gradients, if any is given by the names of the tensors."""
        self.t += 1
        trace = propagate(self.spec, self.state, x, (self.seed, self.t))
        loss, cotangent = evaluate(self.loss, trace.y.true().astype(np.float64), y)
        found = summed(backpropagate(trace, cotangent).found)
        gradients: Slopes = {name: found[name] for name in self.state if self.rates.get(name, 1) != 0}
        if added is not None:
            gradients = {name: g + Scaled(added[name]) for name, g in gradients.items()}
        size = norm(*gradients.values())  # where what is frozen does not count
        gradients = self.clip(gradients, self.state)
        lr = self.plateau.lr if self.plateau else rate(self.schedule, self.lr, self.t, self.steps)
        self.state = updated(
            self.optimizer,
            self.state,
            gradients,
            self.kept,
            t=self.t,
            lr=lr,
            rates=self.rates,
            momentum=momentum(self.schedule, self.t, self.steps),
        )
        follow(self.moments, trace)
        if self.plateau:
            self.plateau.read(loss)
        return Stepped(self.state, loss, lr, size, gradients)


def follow(moments: dict[str, Moments], trace: Trace) -> None:
    """What `torch.nn.BatchNorm1d` keeps: a tenth of the moments of this batch, and nine tenths of those so far.

    Before the first batch torch has 0 and 1; weights that were given bring none, and begin with those of the batch.

    The variance of a batch is the unbiased one.
    """
    for step in trace.norms:
        if parse(step.part.kind)[0] == "batch":
            got = step.input.true()
            mean, var = got.mean(axis=0), got.var(axis=0, ddof=1)
            so_far = moments.get(step.part.key, (mean, var))
            moments[step.part.key] = 0.9 * so_far[0] + 0.1 * mean, 0.9 * so_far[1] + 0.1 * var


def train(trainer: Trainer, x: Array, y: Array | None) -> list[Stepped]:
    """All steps of a run, each on all of the data."""
    return [trainer.step(x, y) for _ in range(trainer.steps)]
