"""Cells on their way into a store: a thread commits what has come, so that nobody waits for the disk."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeAlias

from vgcore.measure.store import Store

#: What came of a cell: its number in the store, what was measured or, in words, went wrong, and its seconds.
Row: TypeAlias = tuple[int, Any, float]
#: A commit takes some hundredths of a second, whatever it holds.
SECONDS, CELLS = 0.25, 200


class Writer:
    """Takes cells, and commits them every quarter of a second, or as soon as there are 200.

    Args:
        store: Where to; no other thread writes it from now on.
        committed: Called for each cell, by its number, once it is safe.
    """

    def __init__(self, store: Store, committed: Callable[[int], object]) -> None:
        self._store = store
        self._committed = committed
        self._changed = threading.Condition()
        self._waiting: list[Row] = []
        self._closing = False
        self._last = time.perf_counter()
        #: Why the store takes no more cells, and those that it has not taken.
        self.error: Exception | None = None
        self.lost: list[Row] = []
        self._thread = threading.Thread(target=self._work, name="vgcore store", daemon=True)
        self._thread.start()

    def put(self, cell: int, found: Any) -> None:
        """Take a cell; an error of the store where it has not taken an earlier one."""
        now = time.perf_counter()
        with self._changed:
            self._waiting.append((cell, found, now - self._last))
            self._last = now
            if len(self._waiting) >= CELLS:
                self._changed.notify_all()
            # Memory holds no more than the disk keeps up with.
            while len(self._waiting) >= 2 * CELLS and self.error is None:
                self._changed.wait(SECONDS)
            if self.error is not None:
                raise self.error

    def close(self) -> None:
        """Commit what is left."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        self.lost += self._waiting
        self._waiting = []

    def _work(self) -> None:
        while self.error is None:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or len(self._waiting) >= CELLS, timeout=SECONDS)
                rows, closing = self._waiting[:CELLS], self._closing
            if not rows and closing:
                return
            if rows:
                self._commit(rows)

    def _commit(self, rows: list[Row]) -> None:
        error = None
        try:
            self._store.put(rows)
        except Exception as found:  # noqa: BLE001 (it is raised where cells come from)
            error = found
        with self._changed:
            self.error = error
            if error is None:
                self._waiting = self._waiting[len(rows) :]
            self._changed.notify_all()
        if error is None:
            for cell, _, _ in rows:
                self._committed(cell)
