"""Sweeps in stores: cells kept as they are finished, and `open_sweep`."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

from vgcore import _core
from vgcore.measure.block import PROBES, unpack
from vgcore.measure.cells import Cells, Measured, Stored, Sweep, leaving
from vgcore.measure.measurement import multiplications
from vgcore.measure.progress import progress_bar
from vgcore.measure.result import Probe
from vgcore.measure.store import DONE, FAILED, PLANNED, Grid, Paths, Store, stores
from vgcore.measure.writer import Writer
from vgcore.model.spec import Spec

#: Measures cells, and hands each on with its index.
Run: TypeAlias = Callable[[Sequence[Any], Callable[[int, Any], object]], None]
Held = TypeVar("Held", bound=Measured)
#: What a sweep makes of its cells: those that are there, and what went wrong with the others.
Made = TypeVar("Made")
Make: TypeAlias = Callable[[Sequence[Any], Mapping[Any, str]], Made]


@dataclass(frozen=True)
class Entry(Stored[Held]):
    """A cell of a store.

    Attributes:
        store: Where it lies.
        cell: Its number there.
        known: Its spec, and what makes it of its bytes, where the caller has them: a net may be written in several
            ways.
    """

    store: Store
    cell: int
    known: tuple[Spec, Callable[[bytes], Held]] | None = None

    @property
    def spec(self) -> Spec:
        """What was measured."""
        return self.known[0] if self.known else self.store.spec(self.cell)

    def read(self) -> Held:
        """The cell."""
        found: Held = self.store.read(self.cell, self.known and self.known[1])
        return found


class Kept(Generic[Made]):
    """Cells of grids that a store has already, or takes as they are finished.

    Args:
        path: The store.
        grids: All cells.
        entry: The entry of a cell: its store, its number there, and what is measured.
        make: What they are together.
    """

    def __init__(
        self, path: Paths, grids: Sequence[Grid], entry: Callable[[Store, int, Any, Grid], Any], make: Make[Made]
    ) -> None:
        self._path, self._grids, self._entry, self._make = path, grids, entry, make
        self._keys = [key for grid in grids for key in grid.keys]
        self._lost: dict[bytes, Any] = {}

    def measured(self, run: Run, *, retry_failed: bool, show: bool) -> Made:
        """All of them.

        Args:
            run: Measures cells.
            retry_failed: Whether those that have failed are measured again.
            show: Whether a bar is wanted.
        """
        with Store(self._path, write=True) as store, leaving(self._so_far):
            for grid in self._grids:
                store.plan(grid)
            known = store.numbers(self._keys)
            again = (PLANNED, FAILED) if retry_failed else (PLANNED,)
            cells = {
                key: (cell, layers, layers / spec.rows * multiplications(spec))
                for grid in self._grids
                for key, cell, layers, spec in zip(grid.keys, grid.cells, grid.layers, grid.specs, strict=True)
            }
            todo = {known[key][0]: cell for key, cell in cells.items() if known[key][1] in again}
            place = {cell: index for index, cell in enumerate(todo)}
            try:
                layers, costs = [each[1] for each in todo.values()], [each[2] for each in todo.values()]
                with progress_bar(layers, costs, show=show) as advance:
                    writer = Writer(store, lambda cell: advance(place[cell]))
                    try:
                        _measure(run, {number: each[0] for number, each in todo.items()}, writer.put)
                    finally:
                        writer.close()
                        keys = {cell: key for key, (cell, _) in known.items()}
                        self._lost |= {keys[cell]: found for cell, found, _ in writer.lost if not _is_words(found)}
                    if writer.error is not None:
                        raise writer.error
            except (TypeError, ValueError):  # the core refuses what it was given
                store.discard()
                raise
            except KeyboardInterrupt:
                store.sign_out()
                raise
            store.sign_out()
        self._lost = {}
        return self.held()

    def held(self) -> Made:
        """Those that are finished: those of the store, and those that it could not take."""
        store = Store(self._path)
        known = store.numbers(self._keys)
        entries: list[tuple[int, Any]] = []
        failed = {}
        for grid in self._grids:
            for key, place, cell in zip(grid.keys, grid.places, grid.cells, strict=True):
                number, status = known.get(key, (0, PLANNED))
                if key in self._lost:
                    entries.append((place, self._lost[key]))
                elif status == DONE:
                    entries.append((place, self._entry(store, number, cell, grid)))
                elif status == FAILED:
                    failed[cell] = store.message(number)
        entries.sort(key=lambda entry: entry[0])
        return self._make(Cells(entry for _, entry in entries), failed)

    def _so_far(self) -> Made:
        """Those that are finished, where the store itself may be what stopped the others."""
        try:
            return self.held()
        except (OSError, ValueError):
            return self._make(tuple(self._lost.values()), {})


def _is_words(found: object) -> bool:
    """Whether a result says what went wrong."""
    return isinstance(found, str)


def keep(run: Run, grid: Grid, path: Paths, *, retry_failed: bool, show: bool) -> Sweep:
    """The sweep of a grid of probes, each cell of which a store has already or takes as it is finished."""

    def entry(store: Store, number: int, spec: Spec, _: Grid) -> Entry[Probe]:
        return Entry(store, number, (spec, lambda packed: Probe(spec, **unpack(packed), x=grid.how.x, y=grid.how.y)))

    def made(cells: Sequence[Probe], failed: Mapping[Spec, str]) -> Sweep:
        return Sweep(cells, grid.varied, len(grid.keys), failed)

    return Kept(path, [grid], entry, made).measured(run, retry_failed=retry_failed, show=show)


def _measure(run: Run, todo: Mapping[int, Any], put: Callable[[int, Any], None]) -> None:
    """Measure cells, by their numbers; what fails together is measured in halves, until what fails is one cell."""
    left, numbers = dict(todo), list(todo)

    def finished(index: int, cell: Any) -> None:
        put(numbers[index], cell)
        del left[numbers[index]]

    try:
        run(list(todo.values()), finished)
    except (MemoryError, _core.InternalError) as error:
        if not left:
            raise
        if len(todo) == 1:
            put(numbers[0], str(error))
            return
        cells = list(left.items())
        middle = len(cells) // 2
        for half in filter(None, (cells[:middle], cells[middle:])):
            _measure(run, dict(half), put)


def open_sweep(paths: Paths | Iterable[Paths]) -> Sweep:
    """Open stores, as one sweep: the cells of all of them, in the order of their grids.

    Cells are read from their files each time that they are asked for, one by one, so that a store may be larger than
    memory. One that is being written can be opened: it has the cells that are safe.

    Args:
        paths: A file, a pattern such as `"runs-*.vg"`, or a list of them.

    Raises:
        FileNotFoundError: There is no such file, or the pattern fits none.
        OSError: The system does not let it be read.
        ValueError: A file is no store, is torn or damaged, or is one of another version; or two stores hold other
            numbers of one cell.

    >>> import vgcore as vg
    >>> made = vg.sweep(vg.MLP(depth=1, width=8), depth=[2, 4], seeds=1, store="runs.vg")
    >>> [cell.spec.depth for cell in vg.open_sweep("runs.vg")]
    [2, 4]
    """
    found = opened("open_sweep", paths, PROBES)
    entries: Cells[Probe] = Cells(Entry[Probe](store, cell) for store, cell in found.done)
    failed = {store.spec(cell): store.message(cell) for store, cell in found.failed}
    return Sweep(entries, found.varied, found.planned, failed)


class Opened(NamedTuple):
    """What stores hold of one sort.

    Attributes:
        done: Measured cells, each by its store and its number there, in the order of their grids.
        failed: Those that could not be measured.
        varied: The fields that any grid varied.
        planned: How many cells were asked for.
    """

    done: list[tuple[Store, int]]
    failed: list[tuple[Store, int]]
    varied: tuple[str, ...]
    planned: int


def opened(caller: str, paths: Paths | Iterable[Paths], sort: str, *, apart: Collection[str] = ()) -> Opened:
    """What stores hold of one sort, all of them together.

    Args:
        caller: Who opens them.
        paths: The stores.
        sort: Of results.
        apart: Facts that may differ between grids of one call, whose cells are in one order.
    """
    files = [Store(path) for path in stores(paths)]
    if not files:
        raise ValueError(f"{caller} takes a file, a pattern or a list of them, got none")
    grids: dict[bytes, int] = {}
    calls: dict[str, int] = {}
    varied: dict[str, None] = {}
    found: dict[bytes, tuple[int, int, Store, int, bytes]] = {}
    failed: dict[bytes, tuple[Store, int]] = {}
    planned: set[bytes] = set()
    for store in files:
        for grid, names, facts in store.grids(sort):
            call = json.dumps([names, {name: value for name, value in facts.items() if name not in apart}])
            grids[grid] = calls.setdefault(call, len(calls))
            varied |= dict.fromkeys(names)
        for key, grid, place, cell, status, digest in store.rows():
            if grid not in grids:
                continue
            planned.add(key)
            if status == FAILED:
                failed[key] = store, cell
            if digest is None:
                continue
            if (known := found.get(key)) is not None and known[4] != digest:
                raise ValueError(f"{known[2]} and {store} hold other numbers of one cell, {store.spec(cell)!r}")
            found.setdefault(key, (grids[grid], place, store, cell, digest))
    return Opened(
        [row[2:4] for row in sorted(found.values(), key=lambda row: row[:2])],
        [where for key, where in failed.items() if key not in found],
        tuple(varied),
        len(planned),
    )
