"""How far work has come: a bar in a notebook, or on stderr where that is a terminal."""

from __future__ import annotations

import html
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

#: Seconds from one drawing of a notebook's bar to the next: each is a message to the browser.
PAUSE = 0.2
#: Columns of a terminal from which on the time that has passed stands beside the time that is left.
ROOMY = 100


class Tell(Protocol):
    """Says how far a training has come."""

    def __call__(self, cell: int, seed: int, step: int, loss: float, why: str = "") -> None:
        """This seed of this cell is at this step, and has ended there if it says why."""


class Draw(Protocol):
    """Shows how far work has come."""

    def __call__(self, done: float, words: str) -> None:
        """So much is done, and how much that is in words."""


@contextmanager
def progress_bar(
    layers: Sequence[int], costs: Sequence[float] | None = None, *, show: bool
) -> Iterator[Callable[[int], None]]:
    """Yield `advance(cell)`, to be called as each cell ends.

    Args:
        layers: Of each cell.
        costs: What each takes, in any unit: the time left is estimated from them; if None, as much as its layers.
        show: Whether a bar is wanted at all.
    """
    costs = layers if costs is None else costs
    with _bar(sum(costs), show=show) as draw:
        cells, passed, spent = 0, 0, 0.0

        def advance(cell: int) -> None:
            nonlocal cells, passed, spent
            cells, passed, spent = cells + 1, passed + layers[cell], spent + costs[cell]
            if draw is not None:
                draw(spent, f"{cells}/{len(layers)} cells, {passed:,} layers")

        if draw is not None:
            draw(0, f"0/{len(layers)} cells")
        yield advance


@contextmanager
def training_line(steps: int, seeds: int, *, show: bool) -> Iterator[Tell | None]:
    """Yield what is told of a training: now and then, and at the end of each seed, which nothing else tells.

    Nothing is shown before there are steps: what is refused says so without a line of their progress.

    Args:
        steps: Steps of a seed.
        seeds: Seeds, which run side by side.
        show: Whether a line is wanted at all; None is yielded where there is none.
    """
    with _bar(steps * seeds, show=show) as draw:
        if draw is None:
            yield None
            return
        done = [0] * seeds

        def told(cell: int, seed: int, step: int, loss: float, why: str = "") -> None:  # noqa: ARG001 (there is one)
            done[seed] = step
            whose = f" of seed {seed + 1}/{seeds}" if seeds > 1 else ""
            size = f"{loss:.4g}" if math.isfinite(loss) else "not finite"
            draw(sum(done), f"step {step:,}/{steps:,}{whose}, loss {size}{why and ', '}{why}")

        yield told


@contextmanager
def epochs_line(layers: int, epochs: int, *, show: bool) -> Iterator[Callable[[int, int, float], None] | None]:
    """Yield what is told of layers that learn one after the other: layer and epoch, from 0, and what is left of it.

    Args:
        layers: Layers.
        epochs: Epochs of each.
        show: Whether a line is wanted at all; None is yielded where there is none.
    """
    with _bar(layers * epochs, show=show) as draw:
        if draw is None:
            yield None
            return

        def told(layer: int, epoch: int, error: float) -> None:
            where = f"layer {layer + 1}/{layers}, epoch {epoch + 1}/{epochs}"
            draw(layer * epochs + epoch + 1, f"{where}, error {error:.4g}")

        yield told


def _bar(total: float, *, show: bool) -> AbstractContextManager[Draw | None]:
    """What draws, where somebody sees it."""
    if show and (display := _notebook()) is not None:
        return _in_notebook(display, total)
    return _on_terminal(total) if show and sys.stderr.isatty() else _nowhere()


@contextmanager
def _nowhere() -> Iterator[None]:
    yield None


@contextmanager
def _on_terminal(total: float) -> Iterator[Draw]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True)
    passed = (TimeElapsedColumn(), TextColumn("elapsed,")) if console.width >= ROOMY else ()
    left = (TimeRemainingColumn(), TextColumn("left"))
    # The pace is that of all the time since the start: cells that are measured side by side end nearly together, and
    # from the first end on, or in the last seconds alone, it would be that of a burst.
    bar = Progress(
        *(TextColumn("{task.description}"), BarColumn(), *passed, *left),
        console=console,
        speed_estimate_period=math.inf,
    )
    task = bar.add_task("", total=total)
    bar.advance(task, 0)

    def draw(done: float, words: str) -> None:
        bar.update(task, completed=done, description=words)
        bar.start()

    try:
        yield draw
    finally:
        bar.stop()


def _notebook() -> Any:
    """What displays in the notebook that this is the kernel of; None elsewhere. Nothing is imported for it."""
    ipython = sys.modules.get("IPython")
    # Another thread may be in the middle of importing it: then no kernel runs this.
    shell = getattr(ipython, "get_ipython", lambda: None)()
    return None if ipython is None or getattr(shell, "kernel", None) is None else ipython.display.display


@contextmanager
def _in_notebook(display: Any, total: float) -> Iterator[Draw]:
    """A bar as one output, which is written anew: plain HTML, for which no widget need be installed.

    rich draws in a notebook by ipywidgets. Where they are missing it shows nothing until the end, and warns.
    """
    began = drawn = time.monotonic()
    handle: Any = None
    newest = ""

    def write(words: str, bar: str = "") -> None:
        nonlocal handle
        page = f'<div style="font-family:system-ui,sans-serif">{bar}{html.escape(words)}</div>'
        shown = {"text/plain": words, "text/html": page}
        if handle is None:
            handle = display(shown, raw=True, display_id=True)
        else:
            handle.update(shown, raw=True)

    def draw(done: float, words: str) -> None:
        nonlocal drawn, newest
        newest, now = words, time.monotonic()
        if handle is not None and now < drawn + PAUSE:
            return
        drawn, spent = now, now - began
        left = f", {_clock(spent * (total - done) / done)} left" if done else ""
        bar = f'<progress value="{done}" max="{total}" style="vertical-align:middle;width:16em"></progress> '
        write(f"{words}, {_clock(spent)} elapsed{left}", bar)

    ended = "stopped"
    try:
        yield draw
        ended = "done"
    finally:
        if handle is not None:
            write(f"{newest}, {ended} after {_clock(time.monotonic() - began)}")


def _clock(seconds: float) -> str:
    """A time as a clock shows it.

    >>> _clock(7.4), _clock(125), _clock(3700)
    ('0:07', '2:05', '1:01:40')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
