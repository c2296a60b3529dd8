"""Every word that is explained: those of `show.glossary`, and the rules, by what they say of themselves."""

from __future__ import annotations

from typing import Any

from vgcore.judge.nonfinite import NONFINITE_RULES
from vgcore.judge.rule import RuleOf
from vgcore.judge.rules import RULES
from vgcore.judge.training.depths import DEPTH_RULES
from vgcore.judge.training.rules import RUN_RULES
from vgcore.show.glossary import WORDS, Word


def glossary() -> tuple[Word, ...]:
    """Every word, the rules last."""
    starting: tuple[RuleOf[Any], ...] = (*RULES, *NONFINITE_RULES)
    trained: tuple[RuleOf[Any], ...] = (*RUN_RULES, *DEPTH_RULES)
    rules = [_of_rule(rule, "rule") for rule in starting]
    return (*WORDS.values(), *rules, *(_of_rule(rule, "training rule") for rule in trained))


def _of_rule(rule: RuleOf[Any], sort: str) -> Word:
    levels = ", ".join(f"{name} from {value:g}" for name, value in rule.thresholds.items())
    return Word(
        name=rule.id,
        sort=sort,
        text=f"Quantity: {rule.quantity}. It speaks as {levels}. {rule.why}",
        formula=rule.formula,
        remedy=f"{rule.remedy[0].upper()}{rule.remedy[1:]}.",
        see=(rule.condition,) if rule.condition else (),
    )
