"""What depth does to the loss that is reached: evidence of several runs, and the rule that looks at it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vgcore.judge.rule import Hit, RuleOf
from vgcore.judge.training.evidence import RunEvidence, middle
from vgcore.train.run import Run

Floats = NDArray[np.float64]

#: Standard errors between two means that are no noise.
ERRORS = 3.0


@dataclass(frozen=True, eq=False)
class Level:
    """The losses that nets of one depth reached.

    Attributes:
        depth: Hidden layers.
        losses: The loss at the end, one a run; the scale of its start where it was not finite.
        scale: What the losses are compared with: the loss at the start, or a blind guess where that is lower.
    """

    depth: int
    losses: Floats
    scale: float

    @classmethod
    def of(cls, depth: int, runs: Sequence[RunEvidence]) -> Level:
        """Of runs of one depth, where they ended; what is not finite ended where it started."""
        scales = np.concatenate([np.where(np.isfinite(e.scale), e.scale, e.blind or math.nan) for e in runs])
        ends = np.concatenate([e.end for e in runs])
        lost = np.concatenate([e.ends_lost for e in runs])
        losses = np.where(lost | ~(ends < scales), scales, ends)
        return cls(depth, losses[np.isfinite(losses)], middle(scales))

    @property
    def mean(self) -> float:
        """Mean over the runs; inf where none says anything."""
        if not len(self.losses):
            return math.inf
        return float(self.losses.mean())

    @property
    def error(self) -> float:
        """Standard error of the mean; of one run 2 % of the scale, as nothing else is known."""
        if len(self.losses) < 2:
            return self.scale / 50
        return float(self.losses.std(ddof=1)) / math.sqrt(len(self.losses))


class Depths:
    """Families of nets that differ in depth and rate alone, each depth at its best rate.

    Attributes:
        families: By their words, levels from shallow to deep; of two depths or more.
    """

    def __init__(self, runs: Iterable[Run]) -> None:
        found: dict[str, dict[int, dict[float, list[RunEvidence]]]] = {}
        for run in runs:
            rates = found.setdefault(_family(run), {}).setdefault(run.spec.depth, {})
            rates.setdefault(float(run.optimizer.params["lr"]), []).append(RunEvidence(run))
        self.families: Mapping[str, Sequence[Level]] = {
            family: [
                min((Level.of(depth, own) for own in depths[depth].values()), key=lambda level: level.mean)
                for depth in sorted(depths)
            ]
            for family, depths in found.items()
            if len(depths) > 1
        }


def _family(run: Run) -> str:
    """What runs have in common that differ in depth and rate."""
    fields = {name: str(value) for name, value in run.spec.to_dict().items() if name not in {"depth", "tables"}}
    params = {name: value for name, value in run.optimizer.params.items() if name != "lr"}
    return repr((fields, run.optimizer.name, params, str(run.schedule), run.clip, run.noise, run.loss_name))


def _deeper_is_worse(e: Depths, rule: RuleOf[Depths]) -> Hit | None:
    worst: tuple[float, Level, Level] | None = None
    for levels in e.families.values():
        known = [level for level in levels if len(level.losses) and level.scale > 0]
        for i, deep in enumerate(known):
            shallow = min(known[:i], key=lambda level: level.mean, default=None)
            if shallow is None:
                continue
            excess = deep.mean - shallow.mean
            if excess <= ERRORS * math.hypot(deep.error, shallow.error):
                continue
            value = excess / deep.scale
            if worst is None or value > worst[0]:
                worst = value, shallow, deep
    if worst is None:
        return None
    value, shallow, deep = worst
    text = (
        f"{deep.depth} layers end at a training loss of {deep.mean:.3g} where {shallow.depth} end at "
        f"{shallow.mean:.3g}: the deeper net has all that the shallower one has, and could be it"
    )
    working = (
        f"({deep.mean:.4g} - {shallow.mean:.4g}) / {deep.scale:.4g} = {value:.3f}; standard errors {deep.error:.2g} "
        f"and {shallow.error:.2g}."
    )
    runs = float(np.mean(deep.losses > shallow.mean + rule.least * deep.scale))
    return Hit(value, (), runs, text, working)


DEEPER_IS_WORSE = RuleOf[Depths](
    id="deeper_is_worse",
    quantity="share of its first loss that a deeper net loses less than a shallower one, beyond noise",
    thresholds={"info": 0.02, "warning": 0.1, "critical": 0.5},
    why=(
        "A deeper net can do what a shallower one does, by layers that pass on what they get. Where its training loss "
        "is higher, and by three standard errors, it is the way there that is blocked."
    ),
    reference="He et al. 2016, arXiv:1512.03385, figure 1: degradation; Glorot and Bengio 2010; Srivastava et al. 2015",
    wrong="A deeper net wants another rate, and more steps: compare nets each at its best rate.",
    remedy="a skip, a normalisation, an init that keeps signals over the depth; fewer layers",
    formula="(mean final loss of the deeper net - the least of a shallower one) / first loss",
    picture=("loss",),
    check=_deeper_is_worse,
    condition="deeper is worse",
)

#: All rules over several depths.
DEPTH_RULES: tuple[RuleOf[Depths], ...] = (DEEPER_IS_WORSE,)
