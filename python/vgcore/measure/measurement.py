"""How cells are measured: `Measurement`, handed on whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import ArrayLike

from vgcore import _core
from vgcore.measure.result import Probe
from vgcore.model.kind import Loss
from vgcore.model.mlp import MLP
from vgcore.model.network import Network


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
        self, specs: Sequence[MLP], finished: Callable[[int, Probe], object], *, network: Network | None = None
    ) -> None:
        """Run cells on the core; `finished(index, probe)` is called for each as it ends, in any order.

        With a network there is one cell, of its weights.
        """

        def report(index: int, columns: dict[str, Any]) -> None:
            finished(index, Probe(specs[index], **columns, network=network, x=self.x, y=self.y))

        self.columns(specs if network is None else network._weights, report)  # noqa: SLF001 (its handle for the core)

    def columns(self, cells: Sequence[MLP] | _core.Weights, report: Callable[[int, dict[str, Any]], object]) -> None:
        """Run cells, as the core knows them; `report(index, columns)` is called for each as it ends."""
        _core.probe(cells, report, **vars(self))
