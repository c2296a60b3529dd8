"""`python -m fuzz --calls 5000 --seed 0`, or `--replay SEED:INDEX` for one call."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from fuzz.draw import call
from fuzz.judge import explain, run
from fuzz.watch import Report, fuzz


def main() -> int:
    """Fuzz, or replay one call; 1 where a fault was found."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--calls", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", metavar="FILE", help="write every fault, one a line")
    parser.add_argument("--replay", metavar="SEED:INDEX")
    given = parser.parse_args()
    return _replay(given.replay) if given.replay else _fuzz(given.calls, given.seed, given.jobs, given.json)


def _replay(where: str) -> int:
    made = call(*map(int, where.split(":")))
    sys.stdout.write(f"from fuzz.odd import *  # PYTHONPATH=tests\n{made.source()}\n\n")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        explain(made)
        fault = run(made)
        os.chdir("/")
    sys.stdout.write("\nno fault\n" if fault is None else f"\n{fault.kind} [{fault.place}]: {fault.detail}\n")
    return int(fault is not None)


def _fuzz(calls: int, seed: int, jobs: int, out: str | None) -> int:
    begun = last = time.monotonic()

    def progress(report: Report) -> None:
        nonlocal last
        if time.monotonic() - last > 5:
            last = time.monotonic()
            sys.stderr.write(f"{report.calls} of {calls} calls, {len(report.faults)} faults, {last - begun:.0f} s\n")

    report = fuzz(calls, seed, jobs=jobs, progress=progress)
    if out:
        lines = [json.dumps(dataclasses.asdict(fault)) + "\n" for fault in report.faults]
        Path(out).write_text("".join(lines), encoding="utf-8")
    for (name, kind, place), faults in report.groups():
        first = faults[0]
        sys.stdout.write(f"\n{len(faults)} x {name}: {kind} [{place or '_core'}]\n    {first.source[:400]}\n")
        sys.stdout.write(f"    --replay {first.where}   {first.detail[-300:]!r}\n")
    sys.stdout.write(
        f"\n{report.calls} calls of seed {seed}, {len(report.faults)} faults, {time.monotonic() - begun:.0f} s\n"
    )
    return int(bool(report.faults))


if __name__ == "__main__":
    raise SystemExit(main())
