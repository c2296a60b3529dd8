"""What the rules over time look at, worked out of a run: levels of its loss, and what is typical of its layers.

A loss times a constant changes none of it: losses are compared with the first one or with a blind guess, gradients with
what they could change of the loss, updates with the weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vgcore.judge.blind import blind_guess_of
from vgcore.judge.rule import RuleOf
from vgcore.model.plan import Plan
from vgcore.show.training import moving
from vgcore.train.run import READOUT, Run

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Steps = NDArray[np.int64]

#: Steps that a level of the loss is a mean of, at most a quarter of the run and at least one part in so many of it.
WINDOW, PARTS = 20, 20
#: How much higher than the first batch's loss the first level may be.
EASY = 0.2
#: Times its start that a loss has left all that is learnt behind.
GROWN = 10.0
#: What is left of a fall where a net counts as having arrived.
LEFT = 0.05
#: The least share of its first loss that a net must lose to have learnt anything, and to have learnt much.
SOME, MUCH = 0.03, 0.5


class RunEvidence:
    """What the rules look at, worked out of a run once; arrays have a row a seed."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.seeds: int = len(run.loss)
        #: Indices of the hidden layers among those of the run.
        self.hidden: NDArray[np.int64] = np.array(
            [i for i, name in enumerate(run.layers) if name != READOUT], dtype=np.int64
        )
        #: Whether a layer is to move, `(layers,)`.
        self.moves: NDArray[np.bool_] = moving(run)

    @cached_property
    def at(self) -> tuple[Steps, ...]:
        """The steps of each seed, from 1, whose loss is finite: a skipped step may have none in the midst of a run."""
        return tuple(np.flatnonzero(np.isfinite(row)) + 1 for row in self.run.loss)

    @cached_property
    def curves(self) -> tuple[Floats, ...]:
        """The losses of each seed that are finite, at the steps of `at`."""
        return tuple(self.of("loss", seed) for seed in range(self.seeds))

    def of(self, name: str, seed: int) -> Floats:
        """What is known of each step of a seed, at the steps of `at`."""
        values: Floats = getattr(self.run, name)[seed, self.at[seed] - 1]
        return values

    @cached_property
    def skipped(self) -> tuple[Steps, ...]:
        """The steps of each seed that were skipped, from 1."""
        return tuple(np.flatnonzero(row) + 1 for row in skipped(self.run))

    @cached_property
    def blind(self) -> float | None:
        """The loss of the best constant output; None where there is nothing to guess, or it is 0."""
        run = self.run
        found = blind_guess_of(run.spec, run.loss_name, run.training.rows.y, batch=run.batch)
        return found or None

    @cached_property
    def start(self) -> Floats:
        """The level at which the loss starts, `(seeds,)`; nan where it is not finite.

        That of the first step, or of the first few where it is a little higher: a first batch may be an easy one.
        """

        def level(curve: Floats) -> float:
            first = float(curve[0])
            return max(first, min(float(curve[: max(1, window(len(curve)) // 4)].mean()), first + EASY * abs(first)))

        return self._each(level)

    @cached_property
    def end(self) -> Floats:
        """The level that the loss ends at, `(seeds,)`; nan where it was never finite."""
        return self._each(lambda curve: float(curve[-window(len(curve)) :].mean()))

    @cached_property
    def scale(self) -> Floats:
        """What losses are compared with: the first level, or a blind guess where that is lower, `(seeds,)`."""
        return self.start if self.blind is None else np.minimum(self.start, self.blind)

    @cached_property
    def fell(self) -> Floats:
        """Share of its scale that the loss lost, `(seeds,)`; nan where that says nothing, as of losses below 0."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self.scale > 0, 1 - self.end / self.scale, math.nan)

    @cached_property
    def ends_lost(self) -> Flags:
        """Which seeds were stopped by a value that is not finite, or skipped all of their last steps, `(seeds,)`."""
        return ~np.isfinite(self.run.final_loss)

    @property
    def lost(self) -> bool:
        """Whether at least half of the runs ended at values that are not finite."""
        return 2 * int(self.ends_lost.sum()) >= self.seeds

    @property
    def trained(self) -> bool:
        """Whether most seeds learnt much, and stayed finite."""
        return middle(np.where(self.ends_lost, -math.inf, self.fell)) >= MUCH

    @cached_property
    def falling(self) -> Flags:
        """The recorded steps at which the loss had still to fall, `(seeds, recorded)`.

        Of a net that learnt nothing all of them: its gradients are not small because it has arrived. Of one whose loss
        grew tenfold those before it did: what comes after is no training.
        """
        steps = self.run.steps
        found = np.zeros((self.seeds, len(steps)), dtype=bool)
        for seed, curve in enumerate(self.curves):
            last = len(curve)  # in steps with a loss
            grown = np.flatnonzero(curve > GROWN * abs(self.start[seed]))
            if len(grown) and not self.fell[seed] >= SOME:
                last = int(grown[0]) + 1
            elif last and self.fell[seed] >= SOME:
                goal = self.end[seed] + LEFT * (self.start[seed] - self.end[seed])
                high = np.flatnonzero(smooth(curve) > goal)
                last = int(high[-1]) + 1 if len(high) else 1
            step = int(self.at[seed][last - 1]) if last else 0
            found[seed] = steps <= max(step, int(steps[0]) if len(steps) else 1)
        return found

    def column(self, name: str) -> Floats:
        """A column `(seeds, recorded, layers)`; nan of layers that are not to move."""
        values: Floats = getattr(self.run, name)
        return np.where(self.moves, values, math.nan)

    def typical(self, values: Floats, seed: int | None = None) -> Floats:
        """The median of a column over the steps at which the loss had still to fall, `(layers,)`."""
        chosen = slice(None) if seed is None else slice(seed, seed + 1)
        kept = np.where(self.falling[chosen, :, None], values[chosen], math.nan)
        return np.array([middle(kept[:, :, layer]) for layer in range(values.shape[2])])

    @cached_property
    def elasticity(self) -> Floats:
        """log10 of |g||w|/L, `(seeds, recorded, layers)`: what share of the loss a layer's gradient can take off it.

        To first order, by moving as far as the layer is large. It has no unit: the scale of the loss is not in it.
        """
        at = self.run.steps - 1
        with np.errstate(invalid="ignore", divide="ignore"):
            loss = np.log10(self.run.loss[:, at])[:, :, None]
            return self.column("log10_wgrad_norm") + self.column("log10_weight_norm") - loss

    @cached_property
    def sizes(self) -> Floats:
        """log10 of the root of how many weights a layer has: a norm over a root mean square, `(layers,)`."""
        spec = self.run.spec
        plan = Plan.of(spec)
        maps = dict(zip(spec.row_names, (layer.map for layer in plan.layers), strict=True))
        if plan.readout is not None:
            maps[READOUT] = plan.readout
        drawn = [maps[name] for name in self.run.layers]
        return np.array([math.log10(each.fan_in * each.fan_out) / 2 for each in drawn])

    def params(self) -> tuple[str, dict[str, Any]]:
        """The name of the optimiser, and its numbers; what is true or false as that."""
        flags = {"true": True, "false": False}
        given = self.run.optimizer.params
        return self.run.optimizer.name, {name: flags.get(str(value), value) for name, value in given.items()}

    @property
    def full_batch(self) -> bool:
        """Whether every step sees all rows."""
        return self.run.batch >= self.run.training.count

    def _each(self, level: Callable[[Floats], float]) -> Floats:
        return np.array([level(curve) if len(curve) else math.nan for curve in self.curves])


#: A rule over the steps of a run.
RunRule: TypeAlias = RuleOf[RunEvidence]


def skipped(run: Run) -> Flags:
    """Which steps were taken up and then skipped, as their loss or their gradient was not finite, `(seeds, steps)`."""
    if run.training.nonfinite != "skip":
        return np.zeros(run.loss.shape, dtype=bool)
    begun = np.arange(run.loss.shape[1]) < run.steps_done[:, None]
    # log10 of a gradient that is 0 is -inf.
    return np.asarray(begun & ~(np.isfinite(run.loss) & (run.log10_grad_norm < math.inf)))


def window(steps: int) -> int:
    """Steps that a level of so long a loss is a mean of.

    >>> window(8), window(100), window(10_000)
    (2, 20, 500)
    """
    return max(1, min(max(WINDOW, steps // PARTS), steps // 4))


def smooth(curve: Floats) -> Floats:
    """Mean losses over all windows of a curve, the first of them over its first values.

    A loss more than a million times the first one counts as that: beside it, sums would forget all others.

    >>> smooth(np.array([1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0]))
    array([ 2.,  4.,  6.,  8., 10., 12., 14.])
    """
    most = 1e6 * abs(float(curve[0])) or math.inf
    return means(np.clip(curve, -most, most), window(len(curve)))


def means(values: Floats, width: int) -> Floats:
    """Means over all stretches of so many values.

    >>> means(np.array([1.0, 3.0, 5.0]), 2)
    array([2., 4.])
    """
    sums = np.concatenate([[0.0], np.cumsum(values)])
    found: Floats = (sums[width:] - sums[:-width]) / width
    return found


def middle(values: Floats) -> float:
    """The median of what is known, the upper one of two, which may be infinite; nan where nothing is known.

    >>> middle(np.array([1.0, np.nan, -np.inf, 3.0])), middle(np.array([np.nan]))
    (1.0, nan)
    """
    known = np.sort(values[~np.isnan(values)], axis=None)
    return float(known[len(known) // 2]) if len(known) else math.nan
