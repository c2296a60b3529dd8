"""How far work has come, and how long the rest will take."""

from __future__ import annotations

import io
import re
import sys
from typing import Any

import pytest

import vgcore as vg
from vgcore.measure import progress, sweep


class Terminal(io.StringIO):
    """A terminal, as far as it is asked."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which stands still until it is set."""
    now = [0.0]
    monkeypatch.setattr("rich.console.monotonic", lambda: now[0])
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    return now


def left(monkeypatch: pytest.MonkeyPatch, clock: list[float], layers: list[int], ends: list[float]) -> str:
    """The time that is left, as it is told where some cells have ended at these times."""
    terminal = Terminal()
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", terminal)
        with progress.progress_bar(layers, show=True) as advance:
            for cell, at in enumerate(ends):
                clock[0] = at
                advance(cell)
    plain = re.sub(r"\x1b\[[^A-Za-z]*[A-Za-z]", "", terminal.getvalue())
    return str(re.findall(r"(\S+) left", plain)[-1])


def test_cells_that_end_together_are_not_taken_for_a_faster_pace(
    monkeypatch: pytest.MonkeyPatch, clock: list[float]
) -> None:
    # Half of the layers took 10 s, 0.02 s of them from the first end to the last.
    assert left(monkeypatch, clock, [50, 50, 100, 200], [10.0, 10.01, 10.02]) == "0:00:11"


def test_the_time_left_is_known_from_the_first_cell_on_however_long_it_took(
    monkeypatch: pytest.MonkeyPatch, clock: list[float]
) -> None:
    assert left(monkeypatch, clock, [1, 1, 1], [100.0]) == "0:03:20"
    clock[0] = 0.0
    assert left(monkeypatch, clock, [1, 1, 1, 1], [100.0, 200.0]) == "0:03:20"


def test_a_wide_net_is_more_work_than_a_narrow_one_of_as_many_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    bar = progress.progress_bar

    def spied(*work: Any, show: bool) -> Any:
        seen.extend(work)
        return bar(*work, show=show)

    monkeypatch.setattr(sweep, "progress_bar", spied)
    vg.sweep(vg.MLP(depth=2, width=8), width=[8, 256], seeds=1, progress=True)
    layers, costs = seen
    assert layers == [2, 2]
    assert 30 < costs[1] / costs[0] < 32**2  # activations go with the width, products with its square
