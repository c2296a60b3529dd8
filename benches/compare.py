"""The table of targets: `vgcore bench --every` at every shape in three fresh processes, and medians over these runs.

A ratio is a rival's time over vgcore's. Floor and aim are ratios to torch in its fastest eager spelling, of one net a
call; the best rival of all stands beside them. Without torch nothing is said to be met.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from vgcore.measure import files

SMOKE = os.environ.get("VGCORE_BENCH") == "smoke"  # only start everything
RUNS = 1 if SMOKE else 3
TARGETS = {  # width, batch: floor and aim of the probe, floor and aim of the explicit gradients
    (16, 32): (20, 40, 6, 12),
    (64, 32): (9, 12, 6, 10),
    (128, 32): (6, 9, 4, 6),
    (256, 32): (5, 7, 2.6, 4),
    (256, 256): (2, 2.7, 1.3, 1.7),
    (512, 32): (4, 6, 2, 3),
    (1024, 256): (1.9, 2.4, 1.3, 1.6),
    (256, 1): (4, 7, 1.5, 2.5),
    (256, 8): (4, 7, 1.5, 2.5),
}
if SMOKE:
    TARGETS = {(16, 32): TARGETS[16, 32]}
OURS = {"vgcore", "one net"}
# Most laptops have no AVX-512. These variables keep vgcore and every library that a rival computes with to AVX2 on a
# machine that has it. A limit for vgcore alone would flatter the rivals, and none at all would flatter vgcore.
AVX2 = {
    "VGCORE_ISA": "avx2",
    "ATEN_CPU_CAPABILITY": "avx2",  # torch's own loops, and the vectors that torch.compile writes
    "TORCHINDUCTOR_CPP_MARCH": "x86-64-v3",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4",
    "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
}
ISAS: dict[str, dict[str, str]] = {"best": {}, "avx2": AVX2}


def run(threads: int | None, limits: dict[str, str]) -> dict[str, Any]:
    """The record of one run, in a process that sees these limits."""
    command = [sys.executable, "-c", "from vgcore.shell.commands import main; main()", "bench", "--json", "--every"]
    depth = "x4" if SMOKE else ""  # unrolled nets of the usual depth compile for a minute
    command += ["--shapes", ",".join(f"{width}x{batch}{depth}" for width, batch in TARGETS)]
    command += ["--rounds", "1"] if SMOKE else []
    command += [] if threads is None else ["--threads", str(threads)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, env=os.environ | limits).stdout)


def commit() -> dict[str, str]:
    """What an installed package cannot say of itself."""
    here = Path(__file__).parent
    describe = ["git", "-C", str(here), "describe", "--always", "--dirty", "--exclude=*"]
    commands = {"commit": describe, "rustc": ["rustc", "--version"]}
    return {name: subprocess.check_output(command, text=True).strip() for name, command in commands.items()}


def figures(runs: list[dict[str, Any]], job: str, width: int, batch: int) -> dict[str, dict[str, Any]]:
    """Of every rival at one job and shape: medians over the runs, the least of all times, the settings chosen."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in (row for record in runs for row in record["rows"]):
        if row["job"] == job and row["shape"][:2] == [width, batch]:
            rows.setdefault(row["rival"], []).append(row)
    least = {name: min(row["min"] for row in several) for name, several in rows.items()}
    return {
        name: {
            "median": statistics.median(row["median"] for row in several),
            "ratio": statistics.median(row["ratio"] for row in several),
            "min": least[name],
            "ratio_min": least[name] / least["vgcore"],
            "setting": " or ".join(dict.fromkeys(row["setting"] for row in several)),
        }
        for name, several in rows.items()
    }


def verdict(found: dict[str, dict[str, Any]], floor: float, aim: float) -> str:
    """How torch stands to floor and aim, by medians, and who is the best of all."""
    ratios = {name: row["ratio"] for name, row in found.items() if name not in OURS}
    best = min(ratios, key=ratios.__getitem__)
    words = f"floor {floor}x, aim {aim}x"
    if "torch" in ratios:
        met = ["below the floor", "floor met", "aim met"][(ratios["torch"] >= floor) + (ratios["torch"] >= aim)]
        words += f", torch {ratios['torch']:.2f}x: {met}"
    return f"{words}; best rival: {best} {ratios[best]:.2f}x"


def show(runs: list[dict[str, Any]]) -> None:
    """Print for each job and shape what was aimed at and found, and a line for each rival."""
    for job in ("probe", "gradients"):  # those that rivals do
        print(f"\n{job}: {runs[0]['jobs'][job]}")
        for (width, batch), targets in TARGETS.items():
            found = figures(runs, job, width, batch)
            print(f"\n{width} x {batch}: {verdict(found, *(targets[:2] if job == 'probe' else targets[2:]))}")
            for name, row in found.items():
                median, least = (
                    f"{row['median']:9.1f} {row['ratio']:7.2f}x",
                    f"{row['min']:9.1f} {row['ratio_min']:7.2f}x",
                )
                print(f"  {name:14}{median}{least}  {row['setting']}")


def main() -> None:
    """Run, print, keep."""
    parser = argparse.ArgumentParser(description="Compare vgcore with torch, JAX and NumPy at the shapes of the table.")
    parser.add_argument("--threads", type=int, help="keep the runs to so many cores (Linux)")
    parser.add_argument(
        "--isa", choices=[*ISAS], default="best", help="keep vgcore and all rivals to AVX2, as a laptop"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write a record")
    args = parser.parse_args()
    source = commit()
    limits = ISAS[args.isa]
    runs = [run(args.threads, limits) for _ in range(RUNS)]
    facts = (
        source | runs[0]["facts"] | {"limits": " ".join(f"{name}={value}" for name, value in limits.items()) or None}
    )
    print(*(f"{name}: {value}" for name, value in [*facts.items(), *runs[0]["rivals"].items()]), sep="\n")
    print(f"\nmicroseconds per layer of one net and ratio to vgcore: medians over {RUNS} runs of medians over rounds,")
    print("then the least of all rounds; above 1, vgcore is faster")
    if facts["torch"] is None:
        print("torch is not installed: floor and aim are ratios to it, and nothing is said to be met")
    show(runs)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        files.save_text(json.dumps(source | {"limits": limits, "runs": runs}, indent=1) + "\n", args.json)


if __name__ == "__main__":
    main()
