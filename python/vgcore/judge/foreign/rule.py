"""What a rule of another tool is."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, Literal, TypeAlias, TypeVar

import numpy as np

from vgcore.judge.foreign.course import Course
from vgcore.judge.foreign.seen import Pass

S = TypeVar("S")
Value = tuple[float, tuple[int, ...]]  # a number, and the hidden layers that it is of
Values: TypeAlias = Callable[[Pass], Iterable[Value]]


@dataclass(frozen=True)
class ForeignRuleOf(Generic[S]):
    """One rule of another tool, of what it sees.

    Attributes:
        id: What the tool calls it; behind a dot, the parameter whose clause it is.
        says: What the rule concludes, a key of `SAYS`.
        quantity: What the rule tests, in words.
        sign: How the quantity compares with the threshold where the rule fires.
        threshold: The tool's default.
        values: The quantity of what is seen: one number, or one a tensor, of which any suffices.
        read: "doc" if the tool's documentation was read, "src" if its source.
        reference: Where in the tool's documentation or source it stands.
        severity: The severity of its findings.
    """

    id: str
    says: str
    quantity: str
    sign: Literal["<", ">", ">="]
    threshold: float
    values: Callable[[S], Iterable[Value]]
    read: Literal["doc", "src"]
    reference: str
    severity: str = "warning"

    @np.errstate(all="ignore")
    def test(self, seen: S) -> Value | None:
        """The value farthest beyond the threshold and the hidden layers that are beyond it; None if none is."""
        beyond = {"<": operator.lt, ">": operator.gt, ">=": operator.ge}[self.sign]  # never of NaN
        hits = [(value, layers) for value, layers in self.values(seen) if beyond(value, self.threshold)]
        if not hits:
            return None
        worst = (min if self.sign == "<" else max)(value for value, _ in hits)
        return worst, tuple(sorted({l for _, layers in hits for l in layers}))


#: A rule that sees one pass, and one that sees the course of a training.
ForeignRule: TypeAlias = ForeignRuleOf[Pass]
TimeRule: TypeAlias = ForeignRuleOf[Course]


@dataclass(frozen=True)
class Preset:
    """The rules of one tool.

    Attributes:
        title: The tool's name.
        source: Where the tool is found.
        rules: The tool's rules about one pass, one row each.
        left_out: What the tool has besides, and what is read differently here.
        over_time: The tool's rules about the course of a training.
        unlike: What differs in how these are read here.
    """

    title: str
    source: str
    rules: tuple[ForeignRule, ...]
    left_out: str
    over_time: tuple[TimeRule, ...] = ()
    unlike: str = ""
