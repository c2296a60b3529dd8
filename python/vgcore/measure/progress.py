"""The live progress bar, on stderr and only on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def progress_bar(work: Sequence[int], *, show: bool) -> Iterator[Callable[[int], None]]:
    """Yield `advance(cell)`, to be called as each cell ends.

    Args:
        work: Layers of each cell: the time left is estimated from them, since cells differ in depth.
        show: Whether a bar is wanted at all.
    """
    if not (show and sys.stderr.isatty()):
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.fields[cells]}/{task.fields[all]} cells"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} layers"),
        TimeElapsedColumn(),
        TextColumn("elapsed,"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=sum(work), cells=0, all=len(work))
        done = 0

        def advance(cell: int) -> None:
            nonlocal done
            done += 1
            bar.update(task, advance=work[cell], cells=done)

        yield advance
