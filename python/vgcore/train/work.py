"""Cells that are trained: here, by the workers of an executor, or kept in a store."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from vgcore.measure.cells import Stored
from vgcore.measure.measurement import multiplications
from vgcore.measure.store import DONE, Grid, Paths, Store, grid_of
from vgcore.measure.stored import Entry
from vgcore.model.given import array as as_array
from vgcore.model.network import Network
from vgcore.model.spec import Spec
from vgcore.train import kept
from vgcore.train.run import Run, run_of
from vgcore.train.settings import Recipe
from vgcore.train.training import Columns, Progress, Training


class Cell(NamedTuple):
    """A net and how it takes its steps."""

    spec: Spec
    recipe: Recipe


@dataclass(frozen=True, eq=False)
class Trainer:
    """How cells are trained, and with what.

    Attributes:
        training: What they are trained on, and how.
        network0: The weights of the only cell; None where each seed draws its own.
        threads: At most this many.
        keep_weights: Whether the weights at the end are wanted.
    """

    training: Training
    network0: Network | None = None
    threads: int | None = None
    keep_weights: bool = True

    def run(
        self,
        cells: Sequence[Cell],
        finished: Callable[[int, Run], object],
        *,
        progress: Progress | None = None,
        interrupted: bool = False,
    ) -> None:
        """Train cells on the core; `finished(index, run)` is called for each, in any order.

        Args:
            cells: The cells.
            finished: Called on the calling thread.
            progress: Called about ten times a second.
            interrupted: Whether a run that was interrupted is one too.
        """

        def report(index: int, columns: Columns) -> None:
            run = run_of(*cells[index], self.training, self.network0, columns)
            if interrupted or "interrupted" not in run.stopped_by:
                finished(index, run)

        if not cells:  # whose data have been looked at before
            return
        self.training.run(
            self.network0 or [cell.spec for cell in cells],
            [cell.recipe for cell in cells],
            report,
            threads=self.threads,
            progress=progress,
            keep_weights=self.keep_weights,
        )

    # On an executor

    def sent(self) -> Trainer:
        """What goes to the workers: one thread a batch, unless it says how many, and x as an array."""
        training = replace(self.training, x=as_array("x", self.training.x))
        return replace(self, training=training, threads=self.threads or 1)

    def landed(self, cells: Sequence[Cell]) -> list[bytes]:
        """In a worker: what is sent back of each cell."""
        found: dict[int, bytes] = {}
        self.run(cells, lambda index, run: found.__setitem__(index, kept.pack(run)))
        return [found[index] for index in range(len(cells))]

    def result(self, cell: Cell, packed: bytes) -> Run:
        """A cell of what came back."""
        return kept.unpack(packed, cell.spec, self.training, cell.recipe, self.network0)

    def cost(self, cell: Cell) -> float:
        """Multiply-adds of a cell, about."""
        training = self.training
        return 3.0 * multiplications(cell.spec) * training.batch_rows * training.steps * training.seeds

    @staticmethod
    def alike(cell: Cell) -> tuple[str, int]:
        """Cells have nothing in common that would make them cheaper; the shallow ones come first."""
        return "", cell.spec.depth

    # In a store

    def grids(self, cells: Iterable[Cell], varied: tuple[str, ...], shard: tuple[int, int]) -> list[Grid]:
        """The cells of a shard as a store takes them: a grid holds those of one recipe."""
        found: dict[str, tuple[dict[str, Any], list[tuple[Any, ...]]]] = {}
        for place, cell in enumerate(cells):
            facts = kept.facts(self.training, cell.recipe, self.network0)
            _, rows = found.setdefault(json.dumps(facts), (facts, []))
            rows.append((cell, cell.spec, place, cell.spec.rows * self.training.steps))
        grids = []
        for facts, rows in found.values():
            cells_, specs, places, layers = zip(*rows, strict=True)
            grids.append(grid_of(varied, (cells_, specs, places, layers), self.training, facts, shard))
        return grids

    def entry(self, store: Store, number: int, cell: Cell, _: Grid | None = None) -> RunEntry:
        """A cell of a store."""
        return RunEntry(store, number, (cell.spec, lambda packed: self.result(cell, packed)), cell.recipe)

    def kept(self, path: Paths, cell: Cell, train: Callable[[], Run]) -> Run:
        """The run of a cell, which a store has already or takes when it is finished."""
        (grid,) = self.grids([cell], (), (0, 1))
        run: Run | None = None
        with Store(path, write=True) as store:
            store.plan(grid)
            ((number, status),) = store.numbers(grid.keys).values()
            started = time.perf_counter()

            def put(run: Run) -> None:
                store.put([(number, run, time.perf_counter() - started)])

            try:
                run = self.entry(store, number, cell).read() if status == DONE else None
                if run is None or "interrupted" in run.stopped_by:
                    run = train() if run is None else run.resume(threads=self.threads)
                    put(run)
            except KeyboardInterrupt as error:
                if hasattr(error, "run"):  # from which the same call goes on
                    put(error.run)
                elif run is not None:  # within the store's own commit
                    error.run = run  # type: ignore[attr-defined]
                raise
            except BaseException:
                store.discard()
                raise
            finally:
                store.sign_out()
        return run


@dataclass(frozen=True)
class RunEntry(Entry[Run]):
    """A run of a store.

    Attributes:
        given: Its recipe, where the caller has it.
    """

    given: Recipe | None = None

    @property
    def recipe(self) -> Recipe:
        """How it took its steps."""
        return self.given or Recipe.of_facts(self.store.facts(self.cell))


def recipe_of(cell: Run | Stored[Run]) -> Recipe:
    """How a cell took its steps, without reading it."""
    recipe: Recipe = cell.recipe if isinstance(cell, Run | RunEntry) else cell.read().recipe
    return recipe
