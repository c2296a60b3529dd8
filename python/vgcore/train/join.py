"""A run and what went on from it, as one."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vgcore.model.network import Network
from vgcore.train.settings import FULL
from vgcore.train.training import Columns

if TYPE_CHECKING:
    from vgcore.train.run import Run

Steps = NDArray[np.int64]

#: Of each step, of each validation.
STEPWISE = ("loss", "lr", "log10_grad_norm", "clip_coef", "log10_boost", "clipped")
VALIDATED = ("validation_loss", "validation_accuracy")


def every_seed(run: Run, late: list[tuple[list[int], Columns]]) -> Columns:
    """What the core says of some seeds that went on, as of all seeds of a run; the others are as they were.

    Seeds that an interrupt has kept from going on may lack; there is one at least that has.
    """
    weights = [network._weights for network in run.networks]  # noqa: SLF001 (the core's handles)
    before: Columns = {"steps_done": run.steps_done, "best_step": run.best_step, "stopped_by": run.stopped_by}
    before |= {"first_bad": run.first_bads, "weights": weights, "statistics": run.statistics, "last": run.states}
    before["checkpoints"] = [[] for _ in run.seeds]
    found: Columns = {}
    for places, columns in late:
        for name, value in columns.items():
            if isinstance(value, np.ndarray):
                first = before[name].copy() if name in before else np.full((len(run.seeds), *value.shape[1:]), math.nan)
                found.setdefault(name, first)[places] = value
            elif name in before:
                every = found.setdefault(name, list(before[name]))
                for place, one in zip(places, value, strict=True):
                    every[place] = one
            else:
                found[name] = value
    return found


def joined(early: Run, late: Run) -> Run:
    """A run and what went on from it, as one: of each seed the early one up to where it ended."""
    # What is known of a bad step is known, though it is not done.
    bad = np.array([word == "non_finite" for word in early.stopped_by])
    done, planned = early.steps_done + bad, early.loss.shape[1]
    everything = np.arange(1, late.loss.shape[1] + 1)
    found: dict[str, Any] = {}

    def put(names: tuple[str, ...], old_at: Steps, new_at: Steps) -> Steps:
        at = np.union1d(old_at, new_at[new_at > done.min()])
        for name in names:
            old, new = getattr(early, name), getattr(late, name)
            both = np.full((len(done), len(at), *old.shape[2:]), math.nan)
            for seed, last in enumerate(done.tolist()):
                for values, steps, its in ((old, old_at, old_at <= last), (new, new_at, new_at > last)):
                    both[seed, np.searchsorted(at, steps[its])] = values[seed, its]
            found[name] = both
        return at

    put(STEPWISE, everything[:planned], everything)
    found["steps"] = put(early.monitor, early.steps, late.steps)
    shape = (len(done), len(found["steps"]), len(early.layers))
    found |= {name: np.broadcast_to(np.float64(math.nan), shape) for name in FULL if name not in early.monitor}
    found["sharpness_steps"] = put(("sharpness",), early.sharpness_steps, late.sharpness_steps)
    found["validation_steps"] = put(VALIDATED, early.validation_steps, late.validation_steps)
    found["first_bads"] = tuple(old or new for old, new in zip(early.first_bads, late.first_bads, strict=True))
    kept = zip(early.checkpoints, late.checkpoints, strict=True)
    found["checkpoints"] = tuple(tuple(dict((*old, *new)).items()) for old, new in kept)
    return _best(early, replace(late, **found))


def _best(early: Run, both: Run) -> Run:
    """The run of both, with the weights of the early one where no later reading was better."""
    stopping = both.training.early_stopping
    if both.training.validation is None and stopping is None:
        return both
    least = stopping.min_delta if stopping else 0.0
    at = both.training.validated
    best, networks, statistics = both.best_step.copy(), list(both.networks), list(both.statistics)
    chosen = both.steps_done >= both.training.steps
    for seed in range(len(best)):
        value, step = math.inf, 0
        for each in at[at <= both.steps_done[seed]].tolist():
            reading = _reading(both, seed, each, at)
            if reading < value - least or (not step and math.isfinite(reading)):
                value, step = reading, each
        if 0 < step <= early.steps_done[seed]:
            best[seed], networks[seed], statistics[seed] = step, early.networks[seed], early.statistics[seed]
        elif step and step != best[seed] and both.stopped_by[seed] == "steps" and not chosen[seed]:
            # The core keeps the last weights of a run that is to end before its last planned step.
            again = both._again(seed, early.states[seed], step)  # noqa: SLF001 (as in a replay)
            best[seed], statistics[seed] = step, again["statistics"][0]
            networks[seed] = Network(both.spec, again["weights"][0])
    return replace(both, best_step=best, networks=tuple(networks), statistics=tuple(statistics))


def _reading(run: Run, seed: int, step: int, at: Steps) -> float:
    """What early stopping looks at behind a step: the validation, or the mean loss since the last reading."""
    if run.training.validation is not None:
        return float(run.validation_loss[seed, np.searchsorted(run.validation_steps, step)])
    before = at[at < step]
    losses = run.loss[seed, (int(before[-1]) if len(before) else 0) : step]
    taken = losses[np.isfinite(losses)]
    return float(taken.mean()) if taken.size else math.nan
