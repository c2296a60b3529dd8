"""How cells are measured: `Measurement`, handed on whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from vgcore import _core
from vgcore.measure.result import Probe
from vgcore.model.kind import Loss
from vgcore.model.network import Network
from vgcore.model.spec import Spec


@dataclass(frozen=True, eq=False)
class Measurement:
    """The keywords of `probe`, which says what they mean; nothing is checked before the core runs."""

    x: ArrayLike | None = None
    y: ArrayLike | None = None
    loss: str | Loss | None = None
    batch: int | None = None
    seeds: int = 8
    seed: int = 0
    dtype: str = "float32"
    threads: int | None = None

    def run(
        self, specs: Sequence[Spec], finished: Callable[[int, Probe], object], *, network: Network | None = None
    ) -> None:
        """Run cells on the core; `finished(index, probe)` is called for each as it ends, in any order.

        With a network there is one cell, of its weights.
        """

        def report(index: int, columns: dict[str, Any]) -> None:
            finished(index, Probe(specs[index], **columns, network=network, x=self.x, y=self.y))

        self.columns(specs if network is None else network._weights, report)  # noqa: SLF001 (its handle for the core)

    def columns(self, cells: Sequence[Spec] | _core.Weights, report: Callable[[int, dict[str, Any]], object]) -> None:
        """Run cells, as the core knows them; `report(index, columns)` is called for each as it ends."""
        _core.probe(cells, report, **vars(self))

    # On an executor

    def sent(self) -> Measurement:
        """What goes to the workers: one thread a batch, unless it says how many, and x as an array."""
        return replace(self, threads=self.threads or 1, x=None if self.x is None else np.asarray(self.x))

    def landed(self, cells: Sequence[Spec]) -> list[dict[str, Any]]:
        """In a worker: what is sent back of each cell."""
        found: dict[int, dict[str, Any]] = {}
        self.columns(cells, found.__setitem__)
        return [found[index] for index in range(len(cells))]

    def result(self, cell: Spec, columns: dict[str, Any]) -> Probe:
        """A cell of what came back."""
        return Probe(cell, **columns, x=self.x, y=self.y)

    def cost(self, cell: Spec) -> float:
        """Multiply-adds of a cell, about."""
        batch = self.batch or (128 if self.x is None else len(np.asarray(self.x)))
        return 3.0 * multiplications(cell) * batch * self.seeds

    @staticmethod
    def alike(cell: Spec) -> tuple[str, int]:
        """What cells have in common that share a forward pass, and where a cell stands among them."""
        return json.dumps(cell.to_dict() | {"depth": 0, "tables": None}), cell.depth


#: Multiply-adds in the time that a unit takes beside them: its activation, and its share of the columns.
UNIT = 64


def multiplications(spec: Spec) -> float:
    """Multiply-adds in the time of a sample's way through a net, about."""
    widest = spec.width if isinstance(spec.width, int) else max(spec.width)
    return float(spec.rows * widest * (widest + UNIT))
