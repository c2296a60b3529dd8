"""What a store costs: sweeps of a thousand small cells with one and without, in turns, and how fast it is opened.

`python benches/store.py` takes two minutes on two cores. Ratios are of minima of all rounds.
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import vgcore as vg

SMOKE = os.environ.get("VGCORE_BENCH") == "smoke"
CELLS, ROUNDS = (20, 1) if SMOKE else (1000, 5)
#: Layers, so that a cell of width 64 on 64 samples over 8 seeds takes about 0.5, 1 and 4 ms on two cores.
DEPTHS = (4, 8, 32)


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Seconds of wall time and of processor time."""
    wall, processor = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - processor


def main() -> None:
    """Print a line a depth."""
    scales = [i / (2 * CELLS) for i in range(1, CELLS + 1)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "runs.vg")
        for depth in DEPTHS:
            spec = vg.MLP(depth=depth, width=64, skip="residual")
            without, kept = [], []
            for _ in range(ROUNDS):
                without.append(timed(lambda: vg.sweep(spec, batch=64, branch_scale=scales)))  # noqa: B023 (run at once)
                path.unlink(missing_ok=True)
                kept.append(timed(lambda: vg.sweep(spec, batch=64, branch_scale=scales, store=path)))  # noqa: B023
            least = [min(times) for times in zip(*without, strict=True)]
            ratios = [min(times) / fewest for times, fewest in zip(zip(*kept, strict=True), least, strict=True)]
            size = path.stat().st_size / CELLS
            opened, _ = timed(lambda: len(vg.open_sweep(path)))
            print(
                f"{least[0] / CELLS * 1e3:6.2f} ms and {size / 1e3:5.1f} kB a cell: with a store {ratios[0]:.3f} of "
                f"the wall time, {ratios[1]:.3f} of the processor time; {CELLS} cells opened in {opened * 1e3:.0f} ms"
            )


if __name__ == "__main__":
    main()
