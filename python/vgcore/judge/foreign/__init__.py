"""Rules of other tools, by their published thresholds: why tools disagree about one net.

These are their rules, not ours, and are shown for comparison. `PRESETS` holds five sets. Each row says what a tool
looks at, the number it compares with and what it concludes, and whether its documentation ("doc") or its source ("src")
was read.

All of them watch a training run. Here they see what they would see before its first step: one forward and one backward
pass at initialisation (`see`). A clause such as "sustained over half of the steps" is judged by that one step, and
rules that need several (update ratios, a loss that does not decrease, tensors that do not change) look at the course
of a training (`trained`). What is left out stands in each preset. The tools themselves are not run.

Most of their thresholds are absolute, made for the gradient of a training loss: a constant that multiplies the loss
moves the gradient past them. So measure a net with its readout and its loss where they are to be judged fairly.

>>> import numpy as np
>>> import vgcore as vg
>>> from vgcore.judge.foreign.seen import see
>>> spec = vg.MLP(depth=10, width=64, init="mean_field(sigma_w=0.577)", out_features=10)
>>> x, y = np.random.default_rng(0).standard_normal((128, 64)), np.arange(128) % 10
>>> seen = [see(spec.init(seed=s), x, y=y, loss="cross_entropy") for s in range(3)]
>>> {preset: of_gradients(fired(preset, seen)) for preset in ("dlcheck", "neuroscope")}
{'dlcheck': 'healthy', 'neuroscope': 'vanishing'}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import numpy as np

from vgcore.judge.finding import Finding
from vgcore.judge.foreign.autotrainer import AUTOTRAINER
from vgcore.judge.foreign.course import Course
from vgcore.judge.foreign.dlcheck import DLCHECK
from vgcore.judge.foreign.neuroscope import NEUROSCOPE
from vgcore.judge.foreign.rule import ForeignRuleOf, Preset
from vgcore.judge.foreign.sagemaker import SAGEMAKER
from vgcore.judge.foreign.seen import Pass
from vgcore.judge.foreign.torchmortem import TORCHMORTEM
from vgcore.judge.training.diagnosis import RunDiagnosis
from vgcore.model.names import known
from vgcore.train.run import Run

#: The tools by their short names.
PRESETS: dict[str, Preset] = {
    "sagemaker": SAGEMAKER,
    "autotrainer": AUTOTRAINER,
    "torchmortem": TORCHMORTEM,
    "neuroscope": NEUROSCOPE,
    "dlcheck": DLCHECK,
}

#: What a rule can conclude, in the words of a finding. The first four are about gradients, and make a net `flagged`.
SAYS = {
    "vanishing": "vanishing gradients",
    "exploding": "exploding gradients",
    "nonfinite": "values that are not finite",
    "init": "a poor initialisation",
    "dead": "dead units",
    "saturated": "saturated units",
    "stuck": "no progress",
    "unstable": "unstable training",
    "overfit": "over-fitting",
    "overtrained": "over-training",
    "edge": "the edge of stability",
}

WORDS = {"<": "below", ">": "above", ">=": "not below"}

S = TypeVar("S")
_RULES: dict[str, ForeignRuleOf[Any]] = {
    f"{name}.{rule.id}": rule for name, preset in PRESETS.items() for rule in preset.rules
}


def fired(preset: str, passes: Sequence[Pass]) -> tuple[Finding, ...]:
    """What one tool would say of a net.

    Args:
        preset: A key of `PRESETS`.
        passes: One for each seed.

    Returns:
        A finding for each rule that fires in at least half of the passes, in the order of the preset. Its value is the
        median of them, its layers those that show in at least half of them, its confidence their share.

    Raises:
        ValueError: For a preset that is not known, or no passes.
    """
    tool = PRESETS[known("preset", preset, PRESETS)]
    if not passes:
        raise ValueError("there must be at least one pass to judge")
    return _findings(preset, tool.rules, passes)


def trained(run: Run, preset: str) -> RunDiagnosis:
    """What one tool would say of the course of a training, by its rules over time."""
    tool = PRESETS[known("preset", preset, PRESETS)]
    found = _findings(preset, tool.over_time, [Course(run, seed) for seed in range(len(run.loss))])
    rules = {f"{preset}.{rule.id}": rule for rule in tool.over_time}
    told = [rules[each.rule].says for each in found]
    says = set(told)
    word = "trained"
    for outcome, words in OUTCOMES.items():
        if says & words:
            word = outcome
            break
    return RunDiagnosis(
        spec=run.spec,
        run=run,
        verdict=word,
        conditions=("over-fit",) if "overfit" in says else (),
        findings=found,
        summary=summed(tool, word, told, f"{len(rules)} rules over time"),
        rules=preset,
    )


#: What a tool would say of a net or a training in which none of its rules for the word of it fires.
WELL = {"healthy": "nothing of vanishing or exploding gradients", "trained": "trained"}


def summed(tool: Preset, word: str, says: Sequence[str], rules: str) -> str:
    """One sentence: a word, and how many of so many rules fire; where the word says that all is well, what they say.

    Args:
        tool: Whose rules.
        word: The verdict.
        says: What the rules conclude that fire, each by a key of `SAYS`.
        rules: How many there are, and of what sort.
    """
    if not says:
        return f"{tool.title} would say {word}: none of its {rules} fires"
    fire = f"{len(says)} of its {rules} {'fires' if len(says) == 1 else 'fire'}"
    if word not in WELL:
        return f"{tool.title} would say {word}: {fire}"
    return f"{tool.title} would say {WELL[word]}, but {fire}: {', '.join(SAYS[each] for each in dict.fromkeys(says))}"


#: What a tool makes of a training, by what its rules say; the first that fits.
OUTCOMES = {"non-finite": {"nonfinite"}, "diverged": {"unstable", "exploding"}, "stuck": {"stuck", "vanishing"}}


def _findings(preset: str, rules: Sequence[ForeignRuleOf[S]], seen: Sequence[S]) -> tuple[Finding, ...]:
    """A finding for each rule that fires in at least half of what was seen."""
    tool, findings = PRESETS[preset], []
    for rule in rules:
        hits = [hit for hit in map(rule.test, seen) if hit is not None]
        if not hits or 2 * len(hits) < len(seen):
            continue
        value = float(np.median([value for value, _ in hits]))
        shown = Counter(l for _, layers in hits for l in layers)
        often = "" if len(seen) == 1 else f", in {len(hits)} of {len(seen)} runs"
        findings.append(
            Finding(
                rule=f"{preset}.{rule.id}",
                severity=rule.severity,
                layers=tuple(sorted(l for l, count in shown.items() if 2 * count >= len(hits))),
                value=value,
                threshold=rule.threshold,
                evidence=f"{tool.title} would report {SAYS[rule.says]}: {rule.quantity} is {value:.3g}, "
                f"{WORDS[rule.sign]} its {rule.threshold:.3g}{often}.",
                remedy=f"None of ours: a rule of {tool.title}, shown for comparison. See vgcore's own diagnosis.",
                reference=f"{tool.source}, {rule.reference} [{rule.read}]",
                confidence=len(hits) / len(seen),
            )
        )
    return tuple(findings)


def of_gradients(findings: Iterable[Finding]) -> str:
    """What a tool says of the gradients, in one word: "exploding", "vanishing" or "healthy".

    What is not finite counts as exploding, and exploding comes before vanishing. Rules of dead or saturated units and
    of the initialisation name no direction, and do not count: a net can be "healthy" here and still `flagged`.

    To compare a tool with the true change of the backward signal from end to end, judge the direction by this, and
    whether the tool warns at all by `flagged`; apply the one chosen to healthy and sick nets alike.

    >>> of_gradients([])
    'healthy'
    """
    says = concluded(findings)
    return "exploding" if says & {"exploding", "nonfinite"} else "vanishing" if "vanishing" in says else "healthy"


def flagged(findings: Iterable[Finding]) -> bool:
    """Does a tool report anything about gradients or the initialisation?

    That is any finding that says vanishing, exploding, not finite or a poor initialisation: all that would make its
    user look at the gradients before training. Dead and saturated units are no such report: half of all ReLU outputs
    are 0 in every healthy net.

    >>> flagged([])
    False
    """
    return bool(concluded(findings) & {"vanishing", "exploding", "nonfinite", "init"})


def concluded(findings: Iterable[Finding]) -> set[str]:
    """What findings say: of "vanishing", "exploding", "nonfinite", "init", "dead" and "saturated"."""
    return set(said(findings))


def said(findings: Iterable[Finding]) -> list[str]:
    """What each finding says."""
    return [_RULES[known("foreign rule", finding.rule, _RULES)].says for finding in findings]
