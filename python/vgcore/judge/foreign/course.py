"""What the hooks of other tools see of a training: norms of its layers, and its losses, of one seed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vgcore.model.plan import Plan
from vgcore.train.run import Run

Floats: TypeAlias = NDArray[np.float64]
#: A number, and the layers that it is of.
Value: TypeAlias = tuple[float, tuple[int, ...]]
CourseValues: TypeAlias = Callable[["Course"], Iterator[Value]]


@dataclass(frozen=True, eq=False)
class Course:
    """The course of one seed of a run, of the steps that were finite.

    What tools read off tensors is here read off the norms of layers, weight and bias together, at the recorded steps.
    """

    run: Run
    seed: int

    @cached_property
    def loss(self) -> Floats:
        """The finite losses, one a step that was not skipped."""
        row: Floats = self.run.loss[self.seed]
        return row[np.isfinite(row)]

    @property
    def finite(self) -> bool:
        """Whether every value was finite."""
        return self.run.first_bads[self.seed] is None

    def norms(self, column: str) -> Floats:
        """A column of log10 as it is, `(recorded, layers)`, of the steps at which it is known."""
        values: Floats = getattr(self.run, column)[self.seed]
        with np.errstate(over="ignore"):
            linear: Floats = np.power(10.0, values[~np.isnan(values).all(axis=1)])
        return linear

    @cached_property
    def weights(self) -> Floats:
        """How many weights each layer has, `(layers,)`."""
        plan = Plan.of(self.run.spec)
        maps = [layer.map for layer in plan.layers[: sum(name != "readout" for name in self.run.layers)]]
        maps += [plan.readout] if plan.readout is not None else []
        return np.array([each.fan_in * each.fan_out for each in maps], dtype=np.float64)

    @cached_property
    def readings(self) -> tuple[Floats, Floats]:
        """Validation losses, and the mean training loss between one and the next, where both are known."""
        if not len(self.run.validation_steps):
            return np.array([]), np.array([])
        losses = self.run.validation_loss[self.seed]
        row, there = self.run.loss[self.seed], np.isfinite(losses)
        ends = np.concatenate([[0], self.run.validation_steps[there]])
        parts = [row[a:b][np.isfinite(row[a:b])] for a, b in itertools.pairwise(ends)]
        taken = np.array([len(part) > 0 for part in parts], dtype=bool)
        return losses[there][taken], np.array([part.mean() for part in parts if len(part)])

    @cached_property
    def accuracy(self) -> Floats:
        """Accuracies of the validations; empty where there are none."""
        values = self.run.validation_accuracy
        return np.array([]) if not values.size else values[self.seed][np.isfinite(values[self.seed])]


def each_layer_of(values: Any) -> Iterator[Value]:
    """A number of each layer, where it is known."""
    return ((float(value), (layer,)) for layer, value in enumerate(values) if not math.isnan(value))
