"""When the cells of a sweep come: the first, a tenth, half of them, and the longest wait, as shares of the whole time.

A cell is finished when its last seed is, and cells of one kind share their forward passes: what is measured together
comes together. The promise is a first cell within 2 % of the time or one second, wherever there are several cells.
"""

import os
import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

import vgcore as vg
from vgcore import _core

SMOKE = os.environ.get("VGCORE_BENCH") == "smoke"  # only start everything
ROUNDS = 1 if SMOKE else 3


def nets(depths: Iterable[int], width: int, activations: str, inits: str = "he_normal") -> list[vg.MLP]:
    """Every depth of every kind."""
    kinds = [{"activation": activation, "init": init} for activation in activations.split() for init in inits.split()]
    depths = [int(depth) for depth in depths][: 2 if SMOKE else None]
    return [vg.MLP(depth=depth, width=width, **kind) for kind in kinds for depth in depths]


SWEEPS = {
    "200 cells: 4 kinds to depth 200, width 128": (nets(range(4, 201, 4), 128, "relu tanh gelu sigmoid"), 8),
    "the same, one seed": (nets(range(4, 201, 4), 128, "relu tanh gelu sigmoid"), 1),
    "1000 cells: 10 kinds to depth 100, width 64": (
        nets(range(1, 101), 64, "relu tanh gelu sigmoid silu", "he_normal xavier_uniform"),
        8,
    ),
    "one kind to depth 200, width 64": (nets(range(1, 201), 64, "relu"), 8),
    "one kind of depths 190 to 200, width 128": (nets(range(190, 201), 128, "relu"), 8),
    "6 kinds of depths 10 to 10,000, width 32": (
        nets(np.unique(np.geomspace(10, 100 if SMOKE else 10_000, 16).round()), 32, "relu tanh gelu sigmoid silu elu"),
        2,
    ),
}


def arrivals(specs: Sequence[vg.MLP], seeds: int) -> tuple[list[float], float]:
    """Seconds until each cell came, and until all was done."""
    came = list[float]()
    start = time.perf_counter()

    def report(_index: int, _columns: dict[str, Any]) -> None:
        came.append(time.perf_counter() - start)

    how: dict[str, Any] = dict.fromkeys(("x", "y", "loss", "batch", "threads"))
    _core.probe(specs, report, seeds=seeds, seed=0, dtype="float32", **how)
    return came, time.perf_counter() - start


def main() -> None:
    """Print a line a sweep: of several rounds the fastest."""
    print(f"{'':45} {'seconds':>8} {'first':>7} {'10 %':>7} {'50 %':>7} {'longest wait':>13}")
    for name, (specs, seeds) in SWEEPS.items():
        came, total = min((arrivals(specs, seeds) for _ in range(ROUNDS)), key=lambda round_: round_[1])
        wait = max(np.diff([0.0, *came]))
        marks = [came[0], came[len(came) // 10], came[len(came) // 2], wait]
        first, tenth, half, longest = (f"{100 * mark / total:.1f} %" for mark in marks)
        print(f"{name:45} {total:8.2f} {first:>7} {tenth:>7} {half:>7} {longest:>13}")


if __name__ == "__main__":
    main()
