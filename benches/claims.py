"""What is claimed of sweeps and of deep nets, measured here: each claim with the limit that it has to keep.

Times of things that are compared are medians of turns that they take one after the other. Everything is float32.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from compare import commit

import vgcore as vg
from vgcore.measure import files
from vgcore.shell import bench

SMOKE = os.environ.get("VGCORE_BENCH") == "smoke"  # only start everything
TURNS = 1 if SMOKE else 3
DEPTHS = range(2, 5 if SMOKE else 101, 2)
ACTIVATIONS = ["relu", "tanh", "sigmoid", "gelu", "silu"]
INITS = ["xavier_normal", "kaiming_normal", "lecun_normal", "orthogonal"]
LAYERS = 10 if SMOKE else 10_000
WIDE = vg.MLP(depth=1, width=128)
# Not getrusage: on Linux a child's peak there is never below what its parent held.
DEEP = """
import re, sys, time, vgcore as vg
depth = int(sys.argv[1])
start = time.perf_counter()
vg.probe(vg.MLP(depth=depth, width=256), batch=64, seeds=1)
seconds = time.perf_counter() - start
print(seconds, re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1])
"""


def seconds(**calls: Callable[[], Any]) -> dict[str, float]:
    """Median seconds of calls that take turns, after one of each that is not timed."""
    turns: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(TURNS + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if turn:
                turns[name].append(time.perf_counter() - start)
    return {name: statistics.median(several) for name, several in turns.items()}


def deep() -> dict[str, Any]:
    """A net of 10,000 layers, in a process of its own: what it takes, and the most memory the process ever held."""
    done = subprocess.run([sys.executable, "-c", DEEP, str(LAYERS)], capture_output=True, text=True, check=False)
    if done.returncode:
        return {"error": (done.stderr.splitlines() or [f"signal {-done.returncode}"])[-1], "limit": "500 MB"}
    took, kibibytes = map(float, done.stdout.split())
    return {"seconds": took, "us_per_layer": 1e6 * took / LAYERS, "peak_MB": kibibytes * 1.024e-3, "limit": "500 MB"}


def grid() -> dict[str, Any]:
    """1000 cells: 50 depths from 2 to 100, 5 activations, 4 inits, width 128, batch 64, 1 seed."""

    def run(threads: int) -> Any:
        return vg.sweep(WIDE, depth=DEPTHS, activation=ACTIVATIONS, init=INITS, batch=64, seeds=1, threads=threads)

    took = seconds(one=lambda: run(1), two=lambda: run(2))
    ratio = took["one"] / took["two"]
    return {"seconds_1_thread": took["one"], "seconds_2_threads": took["two"], "ratio": ratio, "limit": "3 s, 1.8x"}


def prefix() -> dict[str, Any]:
    """50 depths from 2 to 100 in one call, and each in a call of its own: what a shared forward prefix gains."""

    def separate() -> None:
        for depth in DEPTHS:
            vg.probe(WIDE.replace(depth=depth), batch=64, seeds=1, threads=1)

    took = seconds(
        together=lambda: vg.sweep(WIDE, depth=DEPTHS, batch=64, seeds=1, threads=1),
        separate=separate,
    )
    return {**took, "ratio": took["separate"] / took["together"]}


def subnormal() -> dict[str, Any]:
    """1000 layers of sigmoid, whose signal leaves the range of float32, and of ReLU: what a layer costs."""
    calls = {
        name: partial(vg.probe, WIDE.replace(depth=LAYERS // 10, activation=name), batch=64, seeds=4)
        for name in ("sigmoid", "relu")
    }
    took = seconds(**calls)
    layers = {f"{name}_us_per_layer": 1e6 * value / (4 * LAYERS // 10) for name, value in took.items()}
    return {**layers, "ratio": took["sigmoid"] / took["relu"], "limit": "1.2x"}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure what is claimed of sweeps and of deep nets.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write a record")
    args = parser.parse_args()
    record: dict[str, Any] = {"facts": commit() | bench.facts()}
    print(*(f"{name}: {value}" for name, value in record["facts"].items()), sep="\n")
    for claim in (deep, grid, prefix, subnormal):
        record[claim.__name__] = found = claim()
        print(f"\n{claim.__doc__}")
        for name, value in found.items():
            print(f"  {name}: {value:.3g}" if isinstance(value, float) else f"  {name}: {value}", flush=True)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        files.save_text(json.dumps(record, indent=1) + "\n", args.json)


if __name__ == "__main__":
    main()
