"""How far nets get in a short training: `Trainer`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vgcore.cure.candidates import Candidate
from vgcore.cure.scaling import Data
from vgcore.judge.blind import blind_guess_of
from vgcore.measure.result import Probe
from vgcore.model.given import wrong_type
from vgcore.model.names import known
from vgcore.model.network import Network
from vgcore.model.spec import Spec
from vgcore.train.fit import train

#: What may be said of a training, with what it is unless it is said; of the others `train` knows.
DEFAULTS: Mapping[str, Any] = {"steps": 300, "seeds": 2}
#: The norm that the gradients of a net are clipped to whose gradients explode (Pascanu et al. 2013).
CLIP = 1.0
SETTINGS = ("steps", "optimizer", "batch", "schedule", "clip", "noise", "seeds")


@dataclass(frozen=True)
class Reached:
    """What a net got to.

    Attributes:
        loss: The loss at the end, the median of the runs; inf where they did not stay finite.
        relative: The same in blind guesses, or as it is where there is nothing to guess: what nets are compared by.
    """

    loss: float
    relative: float


class Trainer:
    """Trains nets, all in the same way, on the samples and targets of a probe.

    Args:
        cell: The net as it is.
        settings: Keywords of `train`, of those in `SETTINGS`.
        threads: At most this many.

    Raises:
        ValueError: For a probe without samples or targets, or a setting that is not known.
    """

    def __init__(self, cell: Probe, settings: Mapping[str, Any], threads: int | None) -> None:
        if cell.x is None or cell.y is None or cell.loss is None:
            raise ValueError("train needs samples and targets: give x and y, or probe with them")
        self.cell = cell
        self.threads = threads
        self.settings: dict[str, Any] = {**DEFAULTS, "seed": int(cell.seeds[0]), **settings}

    def before(self) -> Reached:
        """What the net as it is reaches."""
        return self._reached(self.cell.network or self.cell.spec, Data(self.cell.x, self.cell.y))

    def after(self, candidate: Candidate) -> Reached:
        """What a changed net reaches."""
        if candidate.pretrained is not None:
            return self._reached(candidate.pretrained.network, candidate.data)
        own = None if candidate.drawn else self.cell.network
        return self._reached(own or candidate.spec, candidate.data)

    def clipped(self) -> Reached | None:
        """What the net as it is reaches where norms of gradients are bounded; None where they were already."""
        if "clip" in self.settings:
            return None
        return self._reached(self.cell.network or self.cell.spec, Data(self.cell.x, self.cell.y), clip=CLIP)

    def _reached(self, subject: Spec | Network, data: Data, **more: Any) -> Reached:
        cell = self.cell
        assert data.x is not None  # noqa: S101 (as the probe has samples)
        dtype = None if isinstance(subject, Network) else cell.dtype
        run = train(
            subject, data.x, data.y, loss=cell.loss, dtype=dtype, monitor=(), checkpoints=0, threads=self.threads,
            **self.settings, **more,
        )  # fmt: skip
        loss = float(np.median(run.final_loss))
        loss = math.inf if math.isnan(loss) else loss
        assert cell.loss is not None  # noqa: S101 (as the trainer was made)
        blind = blind_guess_of(run.spec, cell.loss, data.y, batch=run.batch)
        return Reached(loss, loss / blind if blind else loss)


def settings_of(given: object) -> dict[str, Any] | None:
    """What a caller gave for `train`: None for no training.

    >>> settings_of(True), settings_of({"steps": 50}), settings_of(False)
    ({}, {'steps': 50}, None)
    """
    if isinstance(given, bool | np.bool_):
        return {} if given else None
    if not isinstance(given, Mapping):
        raise wrong_type("train", "True, False or keywords of train such as {'steps': 300}", given)
    return {known("setting of train", name, SETTINGS): value for name, value in given.items()}
