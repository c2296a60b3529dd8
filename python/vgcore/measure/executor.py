"""Cells measured by an executor of the caller's: a pool of processes, a cluster."""

from __future__ import annotations

import contextlib
import os
import queue
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Future
from typing import Any, Protocol

from vgcore.model.given import shown, wrong_type

#: What a batch is worth, in seconds: less would be spent on the way to a worker and back.
LEAST, USUAL = 0.2, 0.5
#: Multiply-adds a second, before any batch has told.
GUESS = 5e9
#: How long it is before Ctrl-C is seen, where it does not interrupt a wait by itself.
SLICE = 0.05

Batch = list[int]
#: What a worker sends back: its seconds, and what came of each cell.
Landed = tuple[float, list[Any]]


class Work(Protocol):
    """How cells are measured by workers: `Measurement` says it of probes."""

    def sent(self) -> Work:
        """What goes to the workers."""

    def landed(self, cells: Sequence[Any]) -> list[Any]:
        """In a worker: what is sent back of each cell."""

    def result(self, cell: Any, landed: Any) -> Any:
        """A cell of what came back."""

    def cost(self, cell: Any) -> float:
        """Multiply-adds of a cell, about."""

    def alike(self, cell: Any) -> tuple[str, int]:
        """What cells have in common that belong together, and where a cell stands among them."""


def run(executor: Any, cells: Sequence[Any], finished: Callable[[int, Any], object], *, how: Work) -> None:
    """Measure cells on an executor; `finished(index, result)` is called for each, in any order.

    Args:
        executor: What has `submit`, as those of `concurrent.futures` do, or `get_executor()`, as a Dask `Client` does.
        cells: The cells.
        finished: Called on the calling thread.
        how: How they are measured.

    Raises:
        TypeError: For what is no executor, and for pools of sub-interpreters.
        BrokenExecutor: A pool that broke twice.
    """
    pool = pool_of(executor)
    flight = _Flight(pool, 2 * _workers(executor, pool), cells, how, finished)
    try:
        flight.run()
    except BaseException:
        flight.cancel()
        raise


class _Flight:
    """Batches on their way to the workers and back, so many at a time."""

    def __init__(
        self, pool: Any, most: int, cells: Sequence[Any], how: Work, finished: Callable[[int, Any], object]
    ) -> None:
        self._pool, self._most, self._cells, self._how, self._finished = pool, most, cells, how, finished
        self._sent = how.sent()
        self._costs = [how.cost(cell) for cell in cells]
        self._waiting, self._broken = deque(_together([how.alike(cell) for cell in cells])), deque[Batch]()
        #: Each with its batch, and whether it is there for the second time.
        self._flying: dict[Future[Landed], tuple[Batch, bool]] = {}
        self._landed: queue.SimpleQueue[Future[Landed]] = queue.SimpleQueue()
        self._taken: set[int] = set()
        self._done, self._spent, self._left = GUESS * USUAL, USUAL, sum(self._costs)

    def run(self) -> None:
        """Measure all cells."""
        while self._waiting or self._broken or self._flying:
            while (self._waiting or self._broken) and len(self._flying) < self._most:
                self._send()
            with contextlib.suppress(queue.Empty):
                self._land(self._landed.get(timeout=SLICE))

    def cancel(self) -> None:
        """Let no batch begin that has not, and keep what came in the meantime."""
        for future in self._flying:
            future.cancel()
        for future, (batch, _) in self._flying.items():
            if future.done() and not future.cancelled() and future.exception() is None:
                self._take(batch, future.result())

    def _send(self) -> None:
        again = bool(self._broken)
        second = self._done / self._spent
        # The last ones are shared out.
        worth = max(LEAST * second, min(USUAL * second, self._left / self._most))
        batch = self._broken.popleft() if again else _batch(self._waiting, self._costs, worth)
        self._left -= sum(self._costs[i] for i in batch)
        future = self._pool.submit(measured, [self._cells[i] for i in batch], self._sent)
        if not callable(getattr(future, "add_done_callback", None)):
            raise wrong_type("what executor.submit() gives", "a future", future)
        self._flying[future] = batch, again
        future.add_done_callback(self._landed.put)

    def _land(self, future: Future[Landed]) -> None:
        batch, again = self._flying[future]
        try:
            landed = future.result()
        except (BrokenExecutor, CancelledError) as error:
            if again:
                said = str(error) or "the executor cancelled a batch twice"
                raise error if isinstance(error, BrokenExecutor) else BrokenExecutor(said) from error
            self._broken.append(batch)
        else:
            self._take(batch, landed)
            self._done, self._spent = self._done + sum(self._costs[i] for i in batch), self._spent + landed[0]
        del self._flying[future]

    def _take(self, batch: Batch, landed: Any) -> None:
        if not (isinstance(landed, tuple) and len(landed) == 2 and len(landed[1]) == len(batch)):
            raise wrong_type("what a future of executor gives", "what its work gave", landed)
        for index, found in zip(batch, landed[1], strict=True):
            if index not in self._taken:
                self._taken.add(index)
                self._finished(index, self._how.result(self._cells[index], found))


def measured(cells: Sequence[Any], how: Work) -> Landed:
    """In the worker: the seconds that it took, and what came of each cell."""
    started = time.perf_counter()
    found = how.landed(cells)
    return time.perf_counter() - started, found


def pool_of(executor: Any) -> Any:
    """What takes the batches."""
    if any(kind.__name__ == "InterpreterPoolExecutor" for kind in type(executor).__mro__):
        raise TypeError(
            "executor must not be a pool of sub-interpreters, where no extension in Rust can be loaded; "
            "use a pool of processes or threads"
        )
    pool = executor.get_executor() if callable(getattr(executor, "get_executor", None)) else executor
    if not callable(getattr(pool, "submit", None)) or isinstance(executor, type):
        raise TypeError(
            "executor must have submit(), as those of concurrent.futures do, or get_executor(), as a Dask Client does, "
            f"got {shown(executor)} ({type(executor).__name__})"
        )
    return pool


def _workers(executor: Any, pool: Any) -> int:
    """How many batches run at once, as far as the executor tells."""
    if callable(threads := getattr(executor, "nthreads", None)):  # a Dask client, with several workers
        return max(1, sum(int(count) for count in threads().values()))
    told = getattr(pool, "_max_workers", None) or getattr(pool, "num_workers", None)
    return told if isinstance(told, int) and told > 0 else os.cpu_count() or 1


def _together(cells: Sequence[tuple[str, int]]) -> Iterator[int]:
    """The cells, those that are alike beside each other, as `Work.alike` says it."""
    first: dict[str, int] = {}
    order = [first.setdefault(kind, index) for index, (kind, _) in enumerate(cells)]
    return iter(sorted(range(len(cells)), key=lambda index: (order[index], cells[index][1])))


def _batch(waiting: deque[int], costs: Sequence[float], worth: float) -> Batch:
    """The next cells that are worth so much together, or a little more."""
    batch: Batch = []
    total = 0.0
    while waiting and total < worth:
        batch.append(waiting.popleft())
        total += costs[batch[-1]]
    return batch
