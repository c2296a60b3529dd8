"""What `static/judge.js` judges by, out of the judge's own tables: `rules`. No number of a rule stands twice."""

from __future__ import annotations

from functools import cache
from typing import Any

from vgcore.explore.reply import samples
from vgcore.explore.request import CHOICES, CLASSES, CONTROLS, FEATURES, LOSS, NOISE, NONE, SPIRALS, Request
from vgcore.judge import verdict
from vgcore.judge.blind import blind_guess
from vgcore.judge.diagnose import MOST as UNDECIDED
from vgcore.judge.inputs import Inputs
from vgcore.judge.rules import RULES
from vgcore.judge.rules.ends import SMALL_OUTPUTS
from vgcore.judge.rules.numbers import FINITE_WIDTH
from vgcore.judge.rules.samples import RESOLUTION
from vgcore.judge.rules.units import EQUAL_UNITS, responsive
from vgcore.measure.result import student
from vgcore.measure.trace import Facts
from vgcore.model.given import LONGEST
from vgcore.model.plan import Plan

#: Rules that find nothing in the nets of a request: weights are drawn at random, and targets are classes.
SILENT = {EQUAL_UNITS.id, SMALL_OUTPUTS.id}
#: The most nets of a request.
SEEDS = int(CONTROLS["seeds"].bounds[1])


@cache
def rules() -> dict[str, Any]:
    """Thresholds, constants and facts for the judge in a browser, as JSON.

    Of rules those that can change a verdict, its conditions or its sentence, in the order in which they speak.

    >>> found = rules()
    >>> [rule["decisive"] for rule in found["rules"] if rule["id"] == "backward_vanishing"]
    [1.5]
    """
    x, y = samples()
    given = Inputs.of(x)
    return {
        "rules": [
            {
                "id": rule.id,
                "thresholds": dict(rule.thresholds),
                "decisive": rule.decisive,
                "condition": rule.condition,
                "signal": rule.signal,
                "sign": rule.sign,
            }
            for rule in RULES
            if rule.concerns("MLP") and (rule.signal or rule.condition or rule.id == FINITE_WIDTH.id)
            if rule.id not in SILENT
        ],
        "sameness": list(verdict.SAMENESS),
        "flat": verdict.FLAT,
        "most_runs": verdict.MOST,
        "undecided": UNDECIDED,
        "resolution": RESOLUTION["float32"],
        "longest": LONGEST,
        "student": [student(df) for df in range(1, SEEDS)],
        "activations": {name: _of_activation(name) for name in CHOICES["activation"]},
        "inits": {name: {"knows_depth": _facts(init=name).knows_depth} for name in CHOICES["init"]},
        "data": {
            NOISE: {"correlation": 0.0},
            SPIRALS: {
                "columns": FEATURES,
                "correlation": given.correlation,
                "alignment": given.alignment,
                "blind": blind_guess(LOSS, y, CLASSES),
            },
        },
    }


def _of_activation(name: str) -> dict[str, float]:
    """The share of slopes of an activation that are not flat at unit z, and what it hands on of a unit."""
    wide = _facts(activation=name)
    return {"responsive": responsive(str(wide.activations[0])), "outputs": wide.outputs[0] / wide.least}


def _facts(**fields: Any) -> Facts:
    spec = Request(depth=2, width=8, skip=NONE, **fields).spec
    return Facts.of(spec, Plan.of(spec))
