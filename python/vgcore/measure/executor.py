"""Cells measured by an executor of the caller's: a pool of processes, a cluster."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future
from dataclasses import replace
from typing import Any

import numpy as np

from vgcore.measure.measurement import Measurement
from vgcore.measure.result import Probe
from vgcore.model.mlp import MLP

#: What a batch is worth, in seconds: less would be spent on the way to a worker and back.
LEAST, USUAL = 0.2, 0.5
#: Multiply-adds a second, before any batch has told.
GUESS = 5e9
#: How long it is before Ctrl-C is seen, where it does not interrupt a wait by itself.
SLICE = 0.05

Batch = list[int]
Columns = dict[str, Any]


def run(executor: Any, specs: Sequence[MLP], finished: Callable[[int, Probe], object], *, how: Measurement) -> None:
    """Measure cells on an executor; `finished(index, probe)` is called for each, in any order.

    Args:
        executor: What has `submit`, as those of `concurrent.futures` do, or `get_executor()`, as a Dask `Client` does.
        specs: The cells.
        finished: Called on the calling thread.
        how: How they are measured; on one thread a batch, unless it says how many.

    Raises:
        TypeError: For what is no executor, and for pools of sub-interpreters.
        BrokenExecutor: A pool that broke twice.
    """
    pool = pool_of(executor)
    most = 2 * _workers(executor, pool)
    sent = replace(how, threads=how.threads or 1, x=None if how.x is None else np.asarray(how.x))
    costs = [_cost(spec, how) for spec in specs]
    waiting, broken = deque(_together(specs)), deque[Batch]()
    flying: dict[Future[tuple[float, list[Columns]]], tuple[Batch, bool]] = {}
    landed: queue.SimpleQueue[Future[tuple[float, list[Columns]]]] = queue.SimpleQueue()
    done, spent, left = GUESS * USUAL, USUAL, sum(costs)

    def take(future: Future[tuple[float, list[Columns]]]) -> float:
        batch, _ = flying.pop(future)
        seconds, results = future.result()
        for index, columns in zip(batch, results, strict=True):
            finished(index, Probe(specs[index], **columns, x=how.x, y=how.y))
        return seconds

    try:
        while waiting or broken or flying:
            while (waiting or broken) and len(flying) < most:
                again = bool(broken)
                # The last ones are shared out.
                worth = max(LEAST * done / spent, min(USUAL * done / spent, left / most))
                batch = broken.popleft() if again else _batch(waiting, costs, worth)
                left -= sum(costs[i] for i in batch)
                future = pool.submit(measured, [specs[i] for i in batch], sent)
                flying[future] = batch, again
                future.add_done_callback(landed.put)
            try:
                future = landed.get(timeout=SLICE)
            except queue.Empty:
                continue
            batch, again = flying[future]
            try:
                seconds = take(future)
            except BrokenExecutor:
                if again:
                    raise
                broken.append(batch)
            else:
                done, spent = done + sum(costs[i] for i in batch), spent + seconds
    except BaseException:
        for future in flying:
            future.cancel()
        # What came in the meantime is kept.
        for future in [future for future in flying if future.done() and not future.cancelled()]:
            with contextlib.suppress(Exception):
                take(future)
        raise


def measured(specs: Sequence[MLP], how: Measurement) -> tuple[float, list[Columns]]:
    """In the worker: the seconds that it took, and the columns of each cell."""
    started, found = time.perf_counter(), dict[int, Columns]()
    how.columns(specs, found.__setitem__)
    return time.perf_counter() - started, [found[index] for index in range(len(specs))]


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
            f"got {type(executor).__name__}"
        )
    return pool


def _workers(executor: Any, pool: Any) -> int:
    """How many batches run at once, as far as the executor tells."""
    if callable(threads := getattr(executor, "nthreads", None)):  # a Dask client, with several workers
        return max(1, sum(int(count) for count in threads().values()))
    told = getattr(pool, "_max_workers", None) or getattr(pool, "num_workers", None)
    return told if isinstance(told, int) and told > 0 else os.cpu_count() or 1


def _cost(spec: MLP, how: Measurement) -> float:
    """Multiply-adds of a cell, about."""
    widest = spec.width if isinstance(spec.width, int) else max(spec.width)
    batch = how.batch or (128 if how.x is None else len(np.asarray(how.x)))
    return 3.0 * spec.depth * widest * widest * batch * how.seeds


def _together(specs: Sequence[MLP]) -> Iterator[int]:
    """The cells, those beside each other that differ in depth alone: in one batch they share a forward pass."""

    def kind(index: int) -> str:
        return json.dumps(specs[index].to_dict() | {"depth": 0, "tables": None})

    first: dict[str, int] = {}
    order = [first.setdefault(kind(index), index) for index in range(len(specs))]
    return iter(sorted(range(len(specs)), key=lambda index: (order[index], specs[index].depth)))


def _batch(waiting: deque[int], costs: Sequence[float], worth: float) -> Batch:
    """The next cells that are worth so much."""
    batch: Batch = []
    total = 0.0
    while waiting and (not batch or total + costs[waiting[0]] <= worth):
        batch.append(waiting.popleft())
        total += costs[batch[-1]]
    return batch
