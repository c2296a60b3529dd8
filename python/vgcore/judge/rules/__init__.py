"""The rules by which a probe is judged, one row each, beside what measures it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from vgcore.judge.finding import SEVERITIES
from vgcore.judge.rule import Rule, RuleOf
from vgcore.judge.rules import attention, ends, gates, numbers, samples, signals, units
from vgcore.measure.result import Signal
from vgcore.model.given import Bounds, items, number, wrong_type
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
    gates.FORGETTING,
    gates.SATURATED_GATES,
    gates.GATE_SHUT,
    gates.GATE_PATHS,
    gates.HIDDEN_VANISHING,
    attention.ONE_HOT_ATTENTION,
    attention.UNIFORM_ATTENTION,
    attention.NO_FINAL_NORM,
    attention.DEEP_POST_NORM,
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


THRESHOLD = Bounds(above=0)
E = TypeVar("E")


def with_thresholds(thresholds: Mapping[str, float | Mapping[str, float]] | None) -> tuple[Rule, ...]:
    """The rules of a net with some thresholds replaced, as in `changed`."""
    return changed(RULES, thresholds)


def changed(
    rules: Sequence[RuleOf[E]], thresholds: Mapping[str, float | Mapping[str, float]] | None
) -> tuple[RuleOf[E], ...]:
    """Rules of any kind with some thresholds replaced.

    Args:
        rules: All rules that there are.
        thresholds: By rule id: a number for the warning (the rule's only level where it has no warning), which moves
            its other levels in proportion; or a mapping from severities to numbers, in place of all of them.

    Raises:
        ValueError: For an unknown rule or severity, or a threshold that is no positive number.
    """
    if not isinstance(thresholds, Mapping | None):
        raise wrong_type("thresholds", "given by rule, such as {'saturation': 0.7}", thresholds)
    chosen = {rule.id: rule for rule in rules}
    for name, value in _pairs("thresholds", thresholds or {}):
        rule = chosen[known("rule", name, chosen)]
        said = f"a threshold of {name}"
        if not isinstance(value, Mapping):
            decisive = number(said, value, THRESHOLD)
            levels = {s: float(v) * decisive / rule.decisive for s, v in rule.thresholds.items()}
        elif not value:
            raise ValueError(f"{said} must be a number{THRESHOLD}, got none")
        else:
            levels = {known("severity", s, SEVERITIES): number(said, v, THRESHOLD) for s, v in _pairs(said, value)}
        chosen[name] = dataclasses.replace(rule, thresholds=levels)
    return tuple(chosen.values())


def moved(rules: Iterable[RuleOf[E]], own: Iterable[RuleOf[E]]) -> dict[str, dict[str, float]]:
    """The thresholds of rules that are not those that they have by themselves, as `changed` takes them.

    >>> moved(with_thresholds({"dead_units": {"warning": 0.8}}), RULES)
    {'dead_units': {'warning': 0.8}}
    """
    levels = {rule.id: rule.thresholds for rule in own}
    return {rule.id: dict(rule.thresholds) for rule in rules if rule.thresholds != levels[rule.id]}


def _pairs(name: str, given: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return items(name, given.items(), "numbers by name", ordered=False)
