"""The table of targets: `vgcore bench` at every shape in three fresh processes, and the medians over these runs.

A ratio is a rival's time over vgcore's. Floor and aim are ratios to torch; without torch they stand beside the ratio
to the best rival, and nothing is said to be met.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

SMOKE = os.environ.get("VGCORE_BENCH") == "smoke"  # only start everything
RUNS = 1 if SMOKE else 3
TARGETS = {  # width, batch: floor and aim of the probe, floor and aim of the explicit gradients
    (16, 32): (12, 25, 5, 8),
    (32, 32): (12, 25, 5, 8),
    (64, 32): (12, 25, 5, 8),
    (128, 32): (8, 16, 4, 6),
    (256, 32): (8, 14, 3, 4),
    (256, 256): (2.2, 4, 1.5, 1.9),
    (512, 32): (5, 9, 2.5, 4),
    (1024, 256): (2.5, 4, 1.2, 1.4),
    (256, 1): (5, 10, 2, 4),
    (256, 8): (5, 10, 2, 4),
}
if SMOKE:
    TARGETS = {(16, 32): TARGETS[16, 32]}


def run(threads: int | None) -> dict[str, Any]:
    """The record of one run."""
    command = [sys.executable, "-c", "from vgcore.shell.commands import main; main()", "bench", "--json"]
    command += ["--shapes", ",".join(f"{width}x{batch}" for width, batch in TARGETS)]
    command += ["--rounds", "1"] if SMOKE else []
    command += [] if threads is None else ["--threads", str(threads)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def commit() -> dict[str, str]:
    """What an installed package cannot say of itself."""
    here = Path(__file__).parent
    describe = ["git", "-C", str(here), "describe", "--always", "--dirty", "--exclude=*"]
    commands = {"commit": describe, "rustc": ["rustc", "--version"]}
    return {name: subprocess.check_output(command, text=True).strip() for name, command in commands.items()}


def show(runs: list[dict[str, Any]]) -> None:
    """Print a table for each job, a line for each shape."""
    for job, does in runs[0]["jobs"].items():
        print(f"\n{job}: {does}")
        for (width, batch), targets in TARGETS.items():
            floor, aim = targets[:2] if job == "probe" else targets[2:]
            rows: dict[str, list[dict[str, Any]]] = {}
            for row in (row for record in runs for row in record["rows"]):
                if row["job"] == job and row["shape"][:2] == [width, batch]:
                    rows.setdefault(row["rival"], []).append(row)
            times = {name: statistics.median(row["median"] for row in several) for name, several in rows.items()}
            ratios = {name: statistics.median(row["ratio"] for row in several) for name, several in rows.items()}
            rivals = [name for name in ratios if name not in {"vgcore", "one net"}]
            judge = "torch" if "torch" in rivals else min(rivals, key=ratios.__getitem__)
            met = ["below the floor", "floor met", "aim met"][(ratios[judge] >= floor) + (ratios[judge] >= aim)]
            figures = (f"{name} {times[name]:8.1f}" + f" {ratios[name]:6.2f}x" * (name != "vgcore") for name in times)
            verdict = f"{judge} {ratios[judge]:6.2f}x, floor {floor}x, aim {aim}x" + f": {met}" * (judge == "torch")
            print(f"{width:4} x {batch:3} | {' | '.join(figures)} || {verdict}")


def main() -> None:
    """Run, print, keep."""
    parser = argparse.ArgumentParser(description="Compare vgcore with torch, JAX and NumPy at the shapes of the table.")
    parser.add_argument("--threads", type=int, help="keep the runs to so many cores (Linux)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write a record")
    args = parser.parse_args()
    source = commit()
    runs = [run(args.threads) for _ in range(RUNS)]
    facts = source | runs[0]["facts"]
    print(*(f"{name}: {value}" for name, value in [*facts.items(), *runs[0]["rivals"].items()]), sep="\n")
    print(f"\nmicroseconds per layer of one net and ratio to vgcore: medians over {RUNS} runs of medians over rounds")
    if facts["torch"] is None:
        print("torch is not installed: the best rival stands beside floor and aim, which are ratios to torch")
    show(runs)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(source | {"runs": runs}, indent=1) + "\n")


if __name__ == "__main__":
    main()
