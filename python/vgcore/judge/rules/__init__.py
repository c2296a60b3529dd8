"""The rules by which a probe is judged, one row each, beside what measures it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from vgcore.judge.finding import SEVERITIES
from vgcore.judge.rule import Rule
from vgcore.judge.rules import ends, numbers, samples, signals, units
from vgcore.measure.result import Signal
from vgcore.model.names import known

#: All rules, in the order in which they speak.
RULES: tuple[Rule, ...] = (
    signals.BACKWARD_VANISHING,
    signals.BACKWARD_EXPLODING,
    signals.FORWARD_VANISHING,
    signals.FORWARD_EXPLODING,
    signals.FORWARD_BACKWARD_MISMATCH,
    signals.WEIGHT_GRADIENT_FLAT,
    signals.ZERO_READOUT,
    units.SATURATION,
    units.DEAD_UNITS,
    units.EQUAL_UNITS,
    units.FLAT_ROWS,
    samples.CORRELATION_COLLAPSE,
    samples.RANK_COLLAPSE,
    ends.FIRST_LOSS,
    ends.SMALL_OUTPUTS,
    ends.INPUTS,
    numbers.NON_FINITE,
    numbers.FINITE_WIDTH,
    numbers.FLOAT_RANGE,
    numbers.SEEDS_DISAGREE,
)


def of_change(rules: Iterable[Rule], signal: Signal, sign: int) -> Rule:
    """The rule of a signal's growth (sign 1) or loss (-1)."""
    return next(rule for rule in rules if (rule.signal, rule.sign) == (signal, sign))


NUMBERS = int | float | np.integer | np.floating


def with_thresholds(thresholds: Mapping[str, float | Mapping[str, float]] | None) -> tuple[Rule, ...]:
    """The rules with some thresholds replaced.

    Args:
        thresholds: By rule id: a number for the warning (the rule's only level where it has no warning), which moves
            its other levels in proportion; or a mapping from severities to numbers, in place of all of them.

    Raises:
        ValueError: For an unknown rule or severity, or a threshold that is no positive number.
    """
    if not isinstance(thresholds, Mapping | None):
        raise ValueError(f"thresholds must be given by rule, such as {{'saturation': 0.7}}, got {thresholds!r}")
    chosen = {rule.id: rule for rule in RULES}
    for name, value in (thresholds or {}).items():
        rule = chosen[known("rule", name, chosen)]
        given: Mapping[str, Any] = value if isinstance(value, Mapping) else {"warning": value}
        if not given or not all(isinstance(v, NUMBERS) and 0 < v < math.inf for v in given.values()):
            raise ValueError(f"a threshold of {name} must be a positive number, got {value!r}")
        if isinstance(value, Mapping):
            levels = {known("severity", s, SEVERITIES): float(v) for s, v in value.items()}
        else:
            levels = {s: float(v) * float(value) / rule.decisive for s, v in rule.thresholds.items()}
        chosen[name] = dataclasses.replace(rule, thresholds=levels)
    return tuple(chosen.values())
