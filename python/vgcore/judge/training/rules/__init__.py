"""The rules by which a run is judged, one row each, beside what measures it."""

from __future__ import annotations

from vgcore.judge.training.evidence import RunRule
from vgcore.judge.training.rules import layers, losses, numbers

#: All rules over the steps of a run, in the order in which they speak.
RUN_RULES: tuple[RunRule, ...] = (
    numbers.NOT_FINITE,
    losses.NOT_TRAINED,
    losses.BLIND_GUESS,
    losses.STILL_FALLING,
    layers.SLOW_EARLY_LAYERS,
    layers.GRADIENTS_NEAR_ZERO,
    layers.ROUNDED_UPDATES,
    numbers.EPSILON_RULES,
    layers.DYING_UNITS,
    losses.RATE_TOO_LARGE,
    numbers.EDGE_OF_STABILITY,
    losses.LOSS_SPIKE,
    numbers.CLIPPING_BINDING,
    numbers.BOOST_BINDING,
    losses.OVER_FIT,
    losses.STOPPED_EARLY,
)
