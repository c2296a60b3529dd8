"""What is advised: `Advice`, of which `Advised` is a list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from vgcore.judge.diagnosis import Diagnosis
from vgcore.model.mlp import MLP
from vgcore.model.versioned import Versioned
from vgcore.show import html, text

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Advice(Versioned):
    """One change, with the measurement before and after it.

    Attributes:
        spec: The changed net.
        change: What is different: fields as `spec.replace` takes them, `readout init` for the last entry of `init`, and
            samples or targets as in `x=x / 255`, with mean and std those of each column. `drawn anew` where the weights
            of a `Network` gave way to drawn ones.
        before: The diagnosis of the net as it was.
        after: The diagnosis of the changed net, measured on the same seeds, and on the same data but for their change.
        cures: Whether the changed net is healthy, and no rule is above 0.8 of its threshold that was above all of it or
            has grown.
        nearness: How near the changed net is to a verdict: the largest value of a rule over the threshold from which
            on it counts. 0 is far away, 1 is there.
        first_loss: The loss as the changed net starts over that of a blind guess, the best output that is the same for
            every sample; None without targets.
        x: The changed samples, of the shape of those given; None where they stay.
        y: The changed targets; None where they stay.
    """

    spec: MLP
    change: str
    before: Diagnosis
    after: Diagnosis
    cures: bool
    nearness: float
    first_loss: float | None = None
    x: Floats | None = None
    y: Floats | None = None

    def to_dict(self) -> dict[str, Any]:
        """The advice as plain values, with the changed spec whole; data are left out."""
        return {
            "change": self.change,
            "cures": self.cures,
            "nearness": self.nearness,
            "first_loss": self.first_loss,
            "after": self.after.to_dict(),
        }

    def __repr__(self) -> str:
        return f"Advice({self.change!r}, {self.before.word!r} -> {self.after.word!r})"


@dataclass(frozen=True, eq=False)
class Advised(Versioned, Sequence[Advice]):
    """Changes, the best first; empty where nothing that counts was found or nothing helped.

    Attributes:
        before: The diagnosis of the net as it was.
        items: What was run and helped.
        tried: How many nets were run.
        first_loss: The loss as the net starts over that of a blind guess; None without targets.
    """

    before: Diagnosis
    items: tuple[Advice, ...]
    tried: int
    first_loss: float | None = None

    @overload
    def __getitem__(self, index: int) -> Advice: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Advice, ...]: ...
    def __getitem__(self, index: int | slice) -> Advice | tuple[Advice, ...]:
        return self.items[index]

    def __len__(self) -> int:
        return len(self.items)

    def to_dict(self) -> dict[str, Any]:
        """All of the advice as plain values."""
        return {
            "before": self.before.to_dict(),
            "tried": self.tried,
            "first_loss": self.first_loss,
            "advice": [advice.to_dict() for advice in self.items],
        }

    def __repr__(self) -> str:
        return f"Advised({self.before.word!r}, {list(self.items)!r}, {self.tried} nets tried)"

    def __str__(self) -> str:
        return text.advice(self)

    def _repr_html_(self) -> str:
        return html.advice(self)
