"""How near a net is to a verdict: `nearness`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vgcore.judge.evidence import Evidence
from vgcore.judge.rule import Rule, lacks
from vgcore.judge.rules import RULES, of_change
from vgcore.judge.rules.numbers import FINITE_WIDTH
from vgcore.judge.verdict import MOST


def ratios(e: Evidence, rules: Sequence[Rule] = RULES) -> dict[str, float]:
    """By rule, its value over the threshold from which on it makes a verdict or a condition.

    Of all rules that can make one: 0 for what is not there, above 1 where one is made, inf where nothing arrives.

    >>> import vgcore as vg
    >>> d = vg.diagnose(vg.MLP(depth=30, width=64, activation="relu", init="xavier_normal"))
    >>> found = ratios(d.evidence)
    >>> found["backward_vanishing"] > 1 > found["saturation"]
    True
    """
    found: dict[str, float] = {}
    for rule in rules:
        counts = rule.signal or rule.condition or rule.id == FINITE_WIDTH.id
        if counts and rule.concerns(e.kind) and not lacks(e, rule) and (hit := rule.check(e, rule)):
            found[rule.id] = max(0.0, hit.value / rule.decisive)
    limit = of_change(rules, "backward", -1).decisive
    # A typical net that fades makes a verdict where nets differ, or where most of them fade.
    if e.backward.typical < 0:
        typical = -e.backward.typical / limit
        most = np.mean(e.backward.runs <= -limit) >= MOST
        found[FINITE_WIDTH.id] = typical if most else min(found.get(FINITE_WIDTH.id, 0.0), typical)
    elif FINITE_WIDTH.id in found:
        found[FINITE_WIDTH.id] = 0.0
    return found


def nearness(e: Evidence, rules: Sequence[Rule] = RULES) -> float:
    """The largest of the `ratios`: below 1 for a healthy net, and the nearer to 1 the less there is to spare."""
    return max(ratios(e, rules).values(), default=0.0)
