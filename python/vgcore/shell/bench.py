"""`vgcore bench`: the rivals take turns at the same jobs in one process.

torch and JAX take part where they are installed, and what stacks many nets or compiles for minutes where it is asked
for. Before a figure is taken, all must compute the same: the explicit gradients of one net of that shape, and the mean
log norm that probes find.
In every round each rival has one turn: a wait until the process is idle, an untimed call (unless it is long), then
timed calls. Where a rival has a choice (spelling and threads of torch, form of a JAX program), all are tried and the
fastest is kept, for each job and shape.
First calls, in which JAX and torch.compile compile, are never timed; how long they took is on record.
"""

from __future__ import annotations

import inspect
import itertools
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from importlib import import_module, util
from typing import Any, TypeAlias

import numpy as np

from vgcore._core import build_info, cost
from vgcore.model.mlp import MLP
from vgcore.shell import machine
from vgcore.shell.rivals import CORES, JOBS, OPTIONAL, RIVALS, SLOW, WORKLOAD, Given, Program, Shape

Row: TypeAlias = dict[str, Any]  # as it stands in a record; see `compare`
#: The most turns of a rival: each is kept, and stands in the record.
MOST_ROUNDS = 1000
#: Of a record; raised where an older vgcore could not read one any more.
LAYOUT = 1


def shape(text: str) -> Shape:
    """The shape that a word names.

    Raises:
        ValueError: If it is no WIDTHxBATCH or WIDTHxBATCHxDEPTH, each 1 or more.

    >>> shape("64x32"), shape("512x32"), shape("8x4x3")
    ((64, 32, 64), (512, 32, 16), (8, 4, 3))
    """
    if (match := re.fullmatch(r"([1-9]\d*)x([1-9]\d*)(?:x([1-9]\d*))?", text)) is None:
        raise ValueError(f"'{text}' is no shape such as 64x32 (width x batch) or 64x32x10 (with a depth)")
    width, batch = int(match[1]), int(match[2])
    return width, batch, int(match[3] or (16 if width >= 512 else 64))


def installed(*, every: bool = False) -> list[str]:
    """The rivals that this Python can run, vgcore first; those of `SLOW` where every one is asked for."""
    needs = OPTIONAL | SLOW
    names = [name for name in RIVALS if every or name not in SLOW]
    return [name for name in names if name not in needs or util.find_spec(needs[name])]


def compare(shapes: Sequence[Shape], *, rounds: int = 5, every: bool = False) -> Iterator[list[Row]]:
    """Measure every job at every shape.

    Args:
        shapes: Width, batch and depth of each net; see `shape`.
        rounds: Turns of each rival.
        every: Let the rivals of `SLOW` take part too.

    Yields:
        For a job and a shape, a row for each rival, vgcore first: `job`, `shape`, `rival`, `setting`, `nets` (a call),
        `us_per_layer` (one a round, of one net), `median` and `min` (of these), `ratio` and `ratio_min` (of medians and
        of minima, to vgcore; above 1, vgcore is faster), `tried` (what its settings took before one was chosen) and
        `first_call_s`.

    Raises:
        MemoryError: Before anything is measured, where the machine has too little for a shape.
        ValueError: If a rival does not compute what vgcore does, or for rounds that are not 1 to 1000.

    >>> import vgcore.shell.bench
    >>> rows = next(vgcore.shell.bench.compare([(8, 4, 3)], rounds=1))
    >>> rows[0]["rival"], rows[0]["job"], rows[0]["ratio"]
    ('vgcore', 'probe', 1.0)
    """
    if not 1 <= rounds <= MOST_ROUNDS:
        raise ValueError(f"rounds must be 1 to {MOST_ROUNDS}, got {rounds}")
    for sizes in shapes:
        _check_memory(*sizes)
    rivals = installed(every=every)
    _check_probes(rivals)
    for job, sizes in itertools.product(JOBS, shapes):
        programs = _measure(job, sizes, rivals, rounds)
        ours = programs["vgcore"].turns
        yield [
            {
                "job": job,
                "shape": list(sizes),
                "rival": name,
                "setting": program.setting,
                "nets": program.nets,
                "us_per_layer": program.turns,
                "median": (median := statistics.median(program.turns)),
                "min": min(program.turns),
                "ratio": median / statistics.median(ours),
                "ratio_min": min(program.turns) / min(ours),
                "tried": program.tried,
                "first_call_s": program.first_call,
            }
            for name, program in programs.items()
        ]


def _measure(job: str, sizes: Shape, rivals: list[str], rounds: int) -> dict[str, Program]:
    """Check, choose, then let the rivals take turns."""
    given, depth = Given(*sizes), sizes[2]
    chosen: dict[str, Program] = {}
    expected: list[Any] = []
    for name in rivals:
        programs = [program for program in RIVALS[name](given) if program.job == job]
        for program in programs:
            start = time.perf_counter()
            result = program.run(0)
            program.first_call = time.perf_counter() - start
            if job == "gradients":
                parts = [np.stack([np.asarray(value) for value in part]) for part in result]
                expected = expected or parts
                for a, b in zip(parts, expected, strict=True):
                    if a.shape != b.shape or not np.linalg.norm(a - b) <= given.tolerance * np.linalg.norm(b):
                        raise ValueError(f"{name} {program.setting}, {sizes}: its gradients are not vgcore's")
        if len(programs) > 1:
            tried = {program.setting: min(program.turn(depth), program.turn(depth)) for program in programs}
            programs.sort(key=lambda program: tried[program.setting])
            programs[0].tried = tried
        chosen |= {name: programs[0]} if programs else {}
    for program in rounds * list(chosen.values()):
        program.turns.append(program.turn(depth))
    return chosen


def _check_memory(width: int, batch: int, depth: int) -> None:
    """Refuse a shape whose weights and explicit gradients would not fit: at most six of each are held at a time."""
    spec = MLP(depth=depth, width=width)
    _, probe, available = cost([spec], batch=batch, seeds=1, dtype="float32", threads=None)
    needed = max(probe, 6 * 4 * (depth + 2) * width * (width + batch))
    if available is not None and needed > available:
        told = f"about {needed / 2**30:.1f} GiB but {available / 2**30:.1f} GiB are available"
        raise MemoryError(f"the shape {width}x{batch}x{depth} needs {told}; lower width, batch or depth")


def _check_probes(rivals: list[str]) -> None:
    """Random nets agree in the mean log norm of dL/dW only, which scatters by about 0.03 here."""
    given = Given(64, 32, 4)
    means: list[float] = []
    for name, run in [(rival, p.run) for rival in rivals for p in RIVALS[rival](given) if p.job == "probe"]:
        means.append(float(np.mean([np.log(np.asarray(run(seed))).mean() for seed in range(16)])))
        if not abs(means[-1] - means[0]) < 0.2:
            raise ValueError(f"{name}: its probes find a mean log norm of {means[-1]:.2f}, vgcore's {means[0]:.2f}")


def facts() -> dict[str, Any]:
    """What the figures depend on, but for the name of the machine; None for a rival that is not installed."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    here = installed()
    versions = {
        module: import_module(module).__version__ if name in here else None for name, module in OPTIONAL.items()
    }
    return {
        "date": time.strftime("%Y-%m-%d"),
        **machine.facts(),
        "cores": CORES,
        "load": machine.load(),
        "build": build_info(),
        **machine.installed_as(),
        "python": platform.python_version(),
        "numpy": f"{np.__version__} with {blas['name']} {blas['version']}",
        **versions,
        "torch_isa": import_module("torch").backends.cpu.get_cpu_capability() if versions["torch"] else None,
    }


def record(facts_before: dict[str, Any], rows: list[Row]) -> dict[str, Any]:
    """Rows of `compare` with all that is needed to read them, `facts` from before the run first; plain JSON.

    The load after the run, which the run itself is part of, joins the facts.
    """
    took_part = {row["rival"] for row in rows}
    does = {name: inspect.getdoc(RIVALS[name]) for name in RIVALS if name in took_part}
    return {
        "vgcore_bench": LAYOUT,
        "workload": WORKLOAD,
        "facts": facts_before | {"load_after": machine.load()},
        "jobs": JOBS,
        "rivals": does,
        "shape": "width, batch, depth",
        "rows": rows,
    }


def keep_to(threads: int) -> None:
    """Keep this command to so many cores, by starting it again: libraries count cores when they are loaded (Linux).

    Raises:
        ValueError: If there are not so many, or the system cannot do it.
    """
    if not hasattr(os, "sched_setaffinity"):
        raise ValueError("threads can be chosen on Linux only")
    if not 1 <= threads <= CORES:
        raise ValueError(f"threads must be 1 to {CORES}, got {threads}")
    if threads < CORES:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 (this very command)
