"""No cliffs: what a layer costs per flop at every width from 16 to 300 and every batch from 1 to 130, as a picture.

A layer counts as 6 B W^2 flops, for W x, W^T delta and dW, whatever is really done: a probe draws W too, and takes the
norm of dW without dW. Everything runs on one thread, unless VGCORE_NUM_THREADS says otherwise. All points take turns,
several times over, and the fastest call counts, so that whatever else the machine does makes no cliffs of its own.
"""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("VGCORE_NUM_THREADS", "1")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import LogLocator, NullLocator

import vgcore as vg
from vgcore.measure import files
from vgcore.plot.axes import COLORS

SMOKE = os.environ.get("VGCORE_BENCH") == "smoke"  # only start everything
PASSES = 1 if SMOKE else 6
DEPTH = 16
LABELS = {"gradients": "explicit gradients of one net", "probe": "probe of several nets, drawing their weights"}


class Scan(NamedTuple):
    """What varies, and by how much one of the judged values may cost more than the cheaper of its neighbours."""

    name: str
    values: range
    judged: slice
    limit: float
    shape: Callable[[int], tuple[int, int]]  # width and batch


SCANS = [
    Scan("width, at batch 32", range(16, 20 if SMOKE else 301), slice(None), 1.3, lambda width: (width, 32)),
    Scan(
        "batch, at width 128 (odd ones are judged)",
        range(1, 5 if SMOKE else 131),
        slice(0, None, 2),
        1.5,
        lambda batch: (128, batch),
    ),
]


def calls(width: int, batch: int) -> dict[str, tuple[int, Callable[[], Any]]]:
    """For each job the nets of a call, and the call."""
    spec = vg.MLP(depth=DEPTH, width=width)
    net, nets = spec.init(seed=0), min(max(2, 10**5 // width**2), 32)
    x, cotangent = np.random.default_rng(0).standard_normal((2, batch, width), np.float32)
    return {
        "gradients": (1, lambda: net.backward(x, cotangent)),
        "probe": (nets, lambda: vg.probe(spec, batch=batch, seeds=nets)),
    }


def fastest(call: Callable[[], Any]) -> float:
    """Seconds of the fastest of three calls or more."""
    seconds: list[float] = []
    while len(seconds) < 3 or (sum(seconds) < 0.012 and not SMOKE):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def measure(shapes: Sequence[tuple[int, int]]) -> dict[str, np.ndarray]:
    """Picoseconds per flop of each job at each shape."""
    costs = {job: np.full(len(shapes), np.inf) for job in LABELS}
    for _ in range(PASSES):
        for i, (width, batch) in enumerate(shapes):
            for job, (nets, call) in calls(width, batch).items():
                costs[job][i] = min(costs[job][i], 1e12 * fastest(call) / (nets * DEPTH * 6 * batch * width**2))
    return costs


def cliffs(costs: np.ndarray) -> np.ndarray:
    """The cost of each point over that of the cheaper of its neighbours."""
    around = np.pad(costs, 1, constant_values=np.inf)
    return costs / np.minimum(around[:-2], around[2:])


def main() -> None:
    """Measure, draw, print."""
    parser = argparse.ArgumentParser(description="Scan widths and batches for cliffs.")
    here = Path(__file__).parents[1] / "docs" / "scan.png"
    parser.add_argument("--out", type=Path, default=here, help="the picture (default: docs/scan.png)")
    out = parser.parse_args().out
    figure, axes = plt.subplots(len(SCANS), figsize=(10, 8), layout="constrained")
    for ax, scan in zip(axes, SCANS, strict=True):
        values, costs = np.array(scan.values), measure([scan.shape(value) for value in scan.values])
        for (job, label), color in zip(LABELS.items(), COLORS, strict=False):
            ax.plot(values, costs[job], color=color, linewidth=1.2, marker=".", markersize=3, label=label)
            judged, steps = values[scan.judged], cliffs(costs[job])[scan.judged]
            over, worst = steps > scan.limit, np.argsort(-steps)[:3]
            ax.plot(judged[over], costs[job][scan.judged][over], "o", color=color, markersize=9, fillstyle="none")
            found = ", ".join(f"{steps[i]:.2f}x at {judged[i]}" for i in worst)
            print(f"{job} by {scan.name}: limit {scan.limit}x, worst {found}", flush=True)
        ax.plot([], [], "o", color="0.5", markersize=9, fillstyle="none", label=f"over {scan.limit}x a neighbour")
        ax.set_xlabel(scan.name)
        ax.set_ylabel("picoseconds per flop of 6 B W² a layer")
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_locator(NullLocator())
        ax.grid(axis="y", color="0.9", linewidth=0.6)
        ax.set_xticks([values[0], *range(32, values[-1], 32)])
        ax.margins(x=0.02)
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False, fontsize="small")
    build = vg.build_info()
    title = f"Cost per flop, fastest call: ReLU, float32, depth {DEPTH}, {build['isa']}, threads: {build['threads']}"
    axes[0].set_title(title, loc="left", fontsize="medium")
    files.save_picture(figure, out, dpi=120)
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
