"""Sweeps in stores: cells kept as they are finished, and `open_sweep`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from vgcore import _core
from vgcore.measure.cells import Cells, Sweep, leaving
from vgcore.measure.progress import progress_bar
from vgcore.measure.result import Probe
from vgcore.measure.store import DONE, FAILED, PLANNED, Grid, Paths, Store, stores
from vgcore.measure.writer import Writer
from vgcore.model.mlp import MLP

#: Measures cells, and hands each on with its index.
Run: TypeAlias = Callable[[Sequence[MLP], Callable[[int, Probe], object]], None]


@dataclass(frozen=True)
class Entry:
    """A cell of a store.

    Attributes:
        store: Where it lies.
        cell: Its number there.
        known: Its spec and its data, where the caller has them: a net may be written in several ways.
    """

    store: Store
    cell: int
    known: tuple[MLP, Any, Any] | None = None

    @property
    def spec(self) -> MLP:
        """What was measured."""
        return self.known[0] if self.known else self.store.spec(self.cell)

    def read(self) -> Probe:
        """The cell."""
        return self.store.read(self.cell, self.known)


def keep(run: Run, grid: Grid, path: Paths, *, retry_failed: bool, show: bool) -> Sweep:
    """The sweep of a grid, each cell of which a store has already or takes as it is finished.

    Args:
        run: Measures cells.
        grid: All cells.
        path: The store.
        retry_failed: Whether those that have failed are measured again.
        show: Whether a bar is wanted.
    """
    lost: dict[bytes, Probe] = {}
    with Store(path, write=True) as store, leaving(lambda: _so_far(path, grid, lost)):
        store.plan(grid)
        known = store.numbers(grid.keys)
        again = (PLANNED, FAILED) if retry_failed else (PLANNED,)
        specs = dict(zip(grid.keys, grid.specs, strict=True))
        todo = {known[key][0]: spec for key, spec in specs.items() if known[key][1] in again}
        place = {cell: index for index, cell in enumerate(todo)}
        try:
            with progress_bar([spec.depth for spec in todo.values()], show=show) as advance:
                writer = Writer(store, lambda cell: advance(place[cell]))
                try:
                    _measure(run, todo, writer.put)
                finally:
                    writer.close()
                    keys = {cell: key for key, (cell, _) in known.items()}
                    lost.update((keys[cell], found) for cell, found, _ in writer.lost if isinstance(found, Probe))
                if writer.error is not None:
                    raise writer.error
        except (TypeError, ValueError):  # the core refuses what it was given
            store.discard()
            raise
        except KeyboardInterrupt:
            store.sign_out()
            raise
        store.sign_out()
    return _of_grid(path, grid, {})


def _measure(run: Run, todo: Mapping[int, MLP], put: Callable[[int, Probe | str], None]) -> None:
    """Measure cells, by their numbers; what fails together is measured in halves, until what fails is one cell."""
    left, numbers = dict(todo), list(todo)

    def finished(index: int, cell: Probe) -> None:
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


def _so_far(path: Paths, grid: Grid, lost: Mapping[bytes, Probe]) -> Sweep:
    """The finished cells of a grid, where the store itself may be what stopped it."""
    try:
        return _of_grid(path, grid, lost)
    except (OSError, ValueError):
        return Sweep(tuple(lost.values()), grid.varied, len(grid.keys))


def _of_grid(path: Paths, grid: Grid, lost: Mapping[bytes, Probe]) -> Sweep:
    """The finished cells of a grid: those of the store, and those that it could not take."""
    store = Store(path)
    known = store.numbers(grid.keys)
    entries: list[Probe | Entry] = []
    failed = {}
    for key, spec in zip(grid.keys, grid.specs, strict=True):
        cell, status = known.get(key, (0, PLANNED))
        if key in lost:
            entries.append(lost[key])
        elif status == DONE:
            entries.append(Entry(store, cell, (spec, grid.how.x, grid.how.y)))
        elif status == FAILED:
            failed[spec] = store.message(cell)
    return Sweep(Cells(entries), grid.varied, len(grid.keys), failed)


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
    opened = [Store(path) for path in stores(paths)]
    if not opened:
        raise ValueError("open_sweep takes a file, a pattern or a list of them, got none")
    grids: dict[bytes, int] = {}
    varied: dict[str, None] = {}
    found: dict[bytes, tuple[int, int, Store, int, bytes | None]] = {}
    failed: dict[bytes, tuple[Store, int]] = {}
    planned: set[bytes] = set()
    for store in opened:
        for grid, names in store.grids():
            grids.setdefault(grid, len(grids))
            varied |= dict.fromkeys(names)
        for key, grid, place, cell, status, digest in store.rows():
            planned.add(key)
            if status == FAILED:
                failed[key] = store, cell
            if digest is None:
                continue
            if (known := found.get(key)) is not None and known[4] != digest:
                raise ValueError(f"{known[2]} and {store} hold other numbers of one cell, {store.spec(cell)!r}")
            found.setdefault(key, (grids[grid], place, store, cell, digest))
    entries = sorted(found.values(), key=lambda row: row[:2])
    return Sweep(
        Cells(Entry(store, cell) for _, _, store, cell, _ in entries),
        tuple(varied),
        len(planned),
        {store.spec(cell): store.message(cell) for key, (store, cell) in failed.items() if key not in found},
    )
