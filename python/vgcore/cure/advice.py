"""What is advised: `Advice`, of which `Advised` is a list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from vgcore.convert.source import with_data
from vgcore.judge.diagnosis import Diagnosis
from vgcore.model.mlp import MLP
from vgcore.model.shown import Reported, Shown
from vgcore.model.spec import Spec
from vgcore.model.versioned import Versioned
from vgcore.pretrain.pretrained import Pretrained
from vgcore.show import text

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Advice(Versioned, Shown):
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
        loss_before: The loss that the net as it was reached, the median of its runs; None where nothing was trained.
        loss_after: The loss that the changed net reached; inf where it did not stay finite. Of targets that are changed
            it is in their units.
        data: By `"x"` and `"y"`, what was done to it, as in `change`.
        pretrained: Where layers were trained one by one, what came of it: `train` goes on from its `network`. The spec
            is the net's own.

    >>> import vgcore as vg
    >>> best = vg.advise(vg.MLP(depth=20, width=32, activation="sigmoid"), seeds=2)[0]
    >>> best.after.verdict, vg.diagnose(best.spec, seeds=2).verdict
    ('healthy', 'healthy')
    """

    spec: Spec
    change: str
    before: Diagnosis
    after: Diagnosis
    cures: bool
    nearness: float
    first_loss: float | None = None
    x: Floats | None = None
    y: Floats | None = None
    loss_before: float | None = None
    loss_after: float | None = None
    data: Mapping[str, str] = field(default_factory=dict)
    pretrained: Pretrained | None = None

    def code(self, framework: str) -> str:
        """The changed net as source, and behind it what is done to the samples `x` and targets `y`.

        Args:
            framework: `"torch"`, `"keras"` or `"flax"`.

        Returns:
            At most 25 lines, blank ones apart, that build `model`. Its weights are drawn anew, also where those of a
            given net stay.

        Raises:
            ValueError: For what cannot be written in this framework, or not in so many lines, and for a net that is no
                `MLP`: `spec.to_torch()` makes a module of it.

        >>> import vgcore as vg
        >>> net = vg.MLP(depth=30, width=32, in_features=8, out_features=2, activation="tanh", init="normal(std=0.05)")
        >>> print(vg.advise(net)[0].code("torch"))  # doctest: +ELLIPSIS
        from torch import nn
        ...
        model = nn.Sequential(*layers, linear(32, 2))
        """
        if not isinstance(self.spec, MLP):
            kind = type(self.spec).__name__
            raise ValueError(
                f"code is written of an MLP, and this is of a {kind}: spec.to_torch() makes a module of it"
            )
        return with_data(self.spec, framework, [line for name in self.data for line in self._scaled(name, framework)])

    def _scaled(self, name: str, framework: str) -> list[str]:
        """What is done to samples or targets, in the words of NumPy and torch."""
        values: Floats | None = getattr(self, name)
        assert values is not None  # noqa: S101 (what was changed is kept)
        std = f"{name}.std(0, correction=0)" if framework == "torch" else f"{name}.std(0)"
        lines = []
        if "std" in self.data[name] and (np.ptp(values.reshape(len(values), -1), axis=0) == 0).any():
            lines = [f"std = {std}", "std[std == 0] = 1  # columns that do not vary"]
            std = "std"
        return [*lines, f"{name} = " + self.data[name].replace("mean", f"{name}.mean(0)").replace("std", std)]

    def to_dict(self) -> dict[str, Any]:
        """The advice as plain values, with the changed spec whole; data are left out."""
        return {
            "change": self.change,
            "cures": self.cures,
            "nearness": self.nearness,
            "first_loss": self.first_loss,
            "loss_before": self.loss_before,
            "loss_after": self.loss_after,
            "after": self.after.to_dict(),
        }

    def __repr__(self) -> str:
        trained = "" if self.loss_after is None else f", loss {self.loss_before:.3g} -> {self.loss_after:.3g}"
        return f"Advice({self.change!r}, {self.before.word!r} -> {self.after.word!r}{trained})"


@dataclass(frozen=True, eq=False)
class Advised(Versioned, Reported, Sequence[Advice]):
    """Changes, the best first; empty where nothing that counts was found or nothing helped.

    Attributes:
        before: The diagnosis of the net as it was.
        items: What was run and helped.
        tried: How many nets were run.
        first_loss: The loss as the net starts over that of a blind guess; None without targets.
        final_loss: The loss that the net as it is reached; None where nothing was trained.

    >>> import vgcore as vg
    >>> advised = vg.advise(vg.MLP(depth=20, width=32, activation="sigmoid"), seeds=2)
    >>> advised.before.verdict, {advice.after.verdict for advice in advised}
    ('vanishing', {'healthy'})
    """

    before: Diagnosis
    items: tuple[Advice, ...]
    tried: int
    first_loss: float | None = None
    final_loss: float | None = None

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
            "final_loss": self.final_loss,
            "advice": [advice.to_dict() for advice in self.items],
        }

    def __repr__(self) -> str:
        best = f", best {self.items[0].change!r} -> {self.items[0].after.word!r}" if self.items else ""
        return f"Advised({self.before.word!r}, {len(self.items)} changes of {self.tried} nets tried{best})"

    def __str__(self) -> str:
        return text.advice(self)
