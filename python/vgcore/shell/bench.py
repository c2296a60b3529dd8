"""Two jobs, the same in vgcore, torch, JAX and NumPy, taking turns in one process: what `vgcore bench` prints.

The net is vgcore's default: ReLU, He normal weights, float32, no readout, every layer as wide as the input. Its biases
are zero, and the rivals leave them out. torch and JAX take part where they are installed. Before a figure is taken, all
must compute the same: the explicit gradients of one net of that shape, and the mean log norm that probes find.
In every round each rival has one turn: a wait until the process is idle, an untimed call (unless it is long), then
timed calls. Where a rival has a choice (threads of torch, form of a JAX program), all are tried and the fastest is
kept, for each job and shape.
First calls, in which JAX compiles, are never timed; how long they took is on record.
"""

from __future__ import annotations

import inspect
import itertools
import math
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module, util
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from vgcore._core import build_info
from vgcore.measure.probe import probe as vgcore_probe
from vgcore.model.mlp import MLP

Shape: TypeAlias = tuple[int, int, int]  # width, batch, depth
Row: TypeAlias = dict[str, Any]  # as it stands in a record; see `compare`

JOBS = {
    "probe": "weights, input and cotangent from a new seed; forward, backward, the norm of every layer's dL/dW",
    "gradients": "of one given net, as arrays: dL/dW, dL/db and dL/dz of every layer",
}
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
SEEDS = itertools.count()


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


class Given:
    """A shape, and the net, samples and cotangent of its explicit gradients.

    Attributes:
        shape: Width, batch, depth.
        std: Standard deviation of the weights.
        spec: The net.
        net: The spec with the weights of seed 0.
        weights: These weights, `(width, width)` each, input side first.
        x: Samples, `(batch, width)`.
        cotangent: dL/dy, `(batch, width)`.
        tolerance: How far gradients may differ, relative to their norm.
    """

    def __init__(self, width: int, batch: int, depth: int) -> None:
        self.shape, self.std = (width, batch, depth), math.sqrt(2 / width)
        self.spec = MLP(depth=depth, width=width)
        self.net = self.spec.init(seed=0)
        state, draw = self.net.state_dict(), np.random.default_rng(0).standard_normal
        self.weights = [state[f"layers.{l}.weight"] for l in range(depth)]
        # Where a pre-activation is so near ReLU's kink that rounding decides its slope, rivals rightly differ: of many
        # samples take those that stay clear of it, and where a net is so large that none does, allow for it.
        h = x = draw((4 * batch + 16, width), np.float32)
        clear = np.full(len(x), np.inf, np.float32)
        for w in self.weights:
            z = h @ w.T
            clear = np.minimum(clear, np.abs(z).min(1) / np.abs(z).max(1))
            h = np.maximum(z, 0)
        clearest = np.argsort(-clear)[:batch]
        self.x = x[clearest]
        self.tolerance = 1e-4 if clear[clearest].min() > 1e-5 else 0.05
        self.cotangent = draw((batch, width), np.float32) / np.float32(math.sqrt(batch))


@dataclass
class Program:
    """One way to do a job.

    Attributes:
        job: One of `JOBS`.
        run: Do it, for a seed; explicit gradients ignore it.
        setting: What this way is, where there are several.
        nets: Nets a call.
        first_call: Seconds.
        tried: Microseconds per layer of one net of every setting there is, if this one was chosen of several.
        turns: Microseconds per layer of one net, one a round.
        seconds: Duration of a call, in the last turn.
    """

    job: str
    run: Callable[[int], Any]
    setting: str = ""
    nets: int = 1
    first_call: float = math.inf
    tried: dict[str, float] = field(default_factory=dict)
    turns: list[float] = field(default_factory=list)
    seconds: float = 0

    def turn(self, depth: int) -> float:
        """Microseconds per layer of one net."""
        _wait_for_silence()
        if self.seconds < 0.1:
            self.run(next(SEEDS))
        start, calls, passed = time.perf_counter(), 0, 0.0
        while passed < 0.02:
            self.run(next(SEEDS))
            calls, passed = calls + 1, time.perf_counter() - start
        self.seconds = passed / calls
        return round(1e6 * self.seconds / (self.nets * depth), 3)


def _wait_for_silence() -> None:
    """Return when no thread of this process works, or after 2 s.

    Threads of the rival before may go on: those of OpenBLAS spin for 0.1 s and more after their last product, on a core
    that the next rival needs.
    """
    deadline = time.perf_counter() + 2
    while time.perf_counter() < deadline:
        used = time.process_time()
        time.sleep(0.01)
        if time.process_time() - used < 0.001:
            return


# The rivals. What a docstring says is printed beside the figures.


def vgcore(given: Given) -> list[Program]:
    """Probe: vg.probe of many seeds a call, up to 16 a thread and fewer of large nets. Gradients: net.backward.

    It does more than the job asks: a probe measures nine columns beside the norm, backward returns dL/dx too.
    """
    width, _, depth = given.shape
    threads = int(build_info()["threads"])

    def gradients(_: int) -> Any:
        g = given.net.backward(given.x, given.cotangent)
        return g.weights, g.biases, g.preactivations

    nets = threads * min(max(1, int(2e7 / (depth * width**2))), 16)
    return [_probes(given, nets, f"{threads} thr"), Program("gradients", gradients, f"{threads} thr")]


def one_net(given: Given) -> list[Program]:
    """Probe: vg.probe of one seed a call, as the rivals work."""
    return [_probes(given, 1, "")]


def _probes(given: Given, nets: int, setting: str) -> Program:
    def probe(seed: int) -> Any:
        return vgcore_probe(given.spec, batch=given.shape[1], seeds=nets, seed=seed * nets).wgrad_norm[0]

    return Program("probe", probe, setting, nets)


def torch(given: Given) -> list[Program]:
    """Eager, no modules, the faster of 1 and all threads; one normal_, mm, relu_, autograd.grad, _foreach_norm."""
    torch = import_module("torch")
    width, batch, depth = given.shape
    # As (in, out): mm then needs no transpose, which autograd would have to record.
    weights = [torch.tensor(w.T.copy(), requires_grad=True) for w in given.weights]
    x, cotangent = torch.tensor(given.x), torch.tensor(given.cotangent)

    def probe(threads: int, seed: int) -> Any:
        torch.set_num_threads(threads)
        torch.manual_seed(seed)
        fresh = [w.requires_grad_() for w in torch.empty(depth, width, width).normal_(0, given.std).unbind()]
        h, start = torch.randn(batch, width), torch.randn(batch, width) / math.sqrt(batch)
        for w in fresh:
            h = torch.mm(h, w).relu_()
        return torch._foreach_norm(torch.autograd.grad(h, fresh, start))  # noqa: SLF001 (as clip_grad_norm_ does)

    def gradients(threads: int, _: int) -> Any:
        torch.set_num_threads(threads)
        h, zs = x, []
        for w in weights:
            zs.append(torch.mm(h, w))
            h = torch.relu(zs[-1])
        g = torch.autograd.grad(h, [*weights, *zs], cotangent)
        return [dw.t() for dw in g[:depth]], [dz.sum(0) for dz in g[depth:]], g[depth:]

    runs = itertools.product((probe, gradients), sorted({1, CORES}))
    return [Program(run.__name__, partial(run, threads), f"{threads} thr") for run, threads in runs]


def jax(given: Given) -> list[Program]:
    """One jitted program a job, the faster of lax.scan and unrolled layers; jax.random (threefry), vjp, norms."""
    jax = import_module("jax")
    jnp, normal, norm = jax.numpy, jax.random.normal, jax.numpy.linalg.norm
    width, batch, depth = given.shape

    def forward(layers: Any, h: Any) -> Any:
        def layer(h: Any, values: Any) -> Any:
            return jax.nn.relu(sum(values[1:], h @ values[0].T)), None

        if not isinstance(layers[0], list):
            return jax.lax.scan(layer, h, layers)[0]
        for values in zip(*layers, strict=True):
            h, _ = layer(h, values)
        return h

    def probe(unrolled: Any, seed: Any) -> Any:
        def draw(key: Any) -> Any:
            return normal(key, (width, width)) * given.std

        keys = jax.random.split(jax.random.key(seed), 2 + depth)
        x, cotangent = normal(keys[0], (batch, width)), normal(keys[1], (batch, width)) / math.sqrt(batch)
        weights = list(jax.lax.map(draw, keys[2:])) if unrolled else jax.vmap(draw)(keys[2:])
        (dw,) = jax.vjp(lambda w: forward((w,), x), weights)[1](cotangent)
        return jnp.stack([norm(g) for g in dw]) if unrolled else norm(dw, axis=(1, 2))

    def gradients(weights: Any, x: Any, cotangent: Any, _: int) -> Any:
        # dL/dz is the gradient by zeros that are added to z.
        zeros = jnp.zeros((depth, batch, width))
        layers = weights, list(zeros) if isinstance(weights, list) else zeros
        dw, dz = jax.vjp(lambda layers: forward(layers, x), layers)[1](cotangent)[0]
        return dw, [d.sum(0) for d in dz] if isinstance(dz, list) else dz.sum(1), dz

    def ready(run: Any, *values: Any) -> Any:
        return jax.block_until_ready(run(*values))

    one_shot, explicit = jax.jit(probe, static_argnums=0), jax.jit(gradients)
    x, start, stacked = (jnp.asarray(value) for value in (given.x, given.cotangent, np.stack(given.weights)))
    forms = {"scan": stacked, "unrolled": list(stacked)}.items()
    probes = [Program("probe", partial(ready, one_shot, form == "unrolled"), form) for form, _ in forms]
    return probes + [Program("gradients", partial(ready, explicit, w, x, start), form) for form, w in forms]


def numpy(given: Given) -> list[Program]:
    """By hand, on as many threads as its BLAS likes; standard_normal in float32 times std, matmul, np.linalg.norm."""
    width, batch, depth = given.shape

    def passes(weights: Any, x: Any, dh: Any) -> Iterator[tuple[Any, Any]]:
        hs = [x]
        for w in weights:
            z = hs[-1] @ w.T
            hs.append(np.maximum(z, 0, out=z))
        for l in reversed(range(depth)):
            dz = dh * (hs[l + 1] > 0)
            dh = dz @ weights[l] if l else None
            yield dz.T @ hs[l], dz

    def probe(seed: int) -> Any:
        draw = np.random.default_rng(seed).standard_normal
        weights = draw((depth, width, width), np.float32)
        weights *= np.float32(given.std)
        x, start = draw((2, batch, width), np.float32)
        return [np.linalg.norm(dw) for dw, _ in passes(weights, x, start / np.float32(math.sqrt(batch)))][::-1]

    def gradients(_: int) -> Any:
        dw, dz = zip(*passes(given.weights, given.x, given.cotangent), strict=True)
        return dw[::-1], [d.sum(0) for d in reversed(dz)], dz[::-1]

    return [Program("probe", probe), Program("gradients", gradients)]


RIVALS: dict[str, Callable[[Given], list[Program]]] = {
    "vgcore": vgcore,
    "one net": one_net,
    "torch": torch,
    "JAX": jax,
    "NumPy": numpy,
}
OPTIONAL = {"torch": "torch", "JAX": "jax"}  # and the module that it needs


def installed() -> list[str]:
    """The rivals that this Python can run, vgcore first."""
    return [name for name in RIVALS if name not in OPTIONAL or util.find_spec(OPTIONAL[name])]


def compare(shapes: Sequence[Shape], *, rounds: int = 5) -> Iterator[list[Row]]:
    """Measure every job at every shape.

    Args:
        shapes: Width, batch and depth of each net; see `shape`.
        rounds: Turns of each rival.

    Yields:
        For a job and a shape, a row for each rival, vgcore first: `job`, `shape`, `rival`, `setting`, `us_per_layer`
        (one a round, of one net), `median` and `min` (of these), `ratio` and `ratio_min` (of medians and of minima, to
        vgcore; above 1, vgcore is faster), `tried` (what its settings took before one was chosen) and `first_call_s`.

    Raises:
        ValueError: If a rival does not compute what vgcore does, or for fewer rounds than 1.

    >>> import vgcore.shell.bench
    >>> rows = next(vgcore.shell.bench.compare([(8, 4, 3)], rounds=1))
    >>> rows[0]["rival"], rows[0]["job"], rows[0]["ratio"]
    ('vgcore', 'probe', 1.0)
    """
    if rounds < 1:
        raise ValueError(f"rounds must be 1 or more, got {rounds}")
    rivals = installed()
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
                    if a.shape != b.shape or not np.linalg.norm(a - b) < given.tolerance * np.linalg.norm(b):
                        raise ValueError(f"{name} {program.setting}, {sizes}: its gradients are not vgcore's")
        if len(programs) > 1:
            tried = {program.setting: min(program.turn(depth), program.turn(depth)) for program in programs}
            programs.sort(key=lambda program: tried[program.setting])
            programs[0].tried = tried
        chosen |= {name: programs[0]} if programs else {}
    for program in rounds * list(chosen.values()):
        program.turns.append(program.turn(depth))
    return chosen


def _check_probes(rivals: list[str]) -> None:
    """Random nets agree in the mean log norm of dL/dW only, which scatters by about 0.03 here."""
    given = Given(64, 32, 4)
    means: list[float] = []
    for name, run in [(rival, p.run) for rival in rivals for p in RIVALS[rival](given) if p.job == "probe"]:
        means.append(statistics.fmean(math.log(norm) for seed in range(16) for norm in run(seed)))
        if not abs(means[-1] - means[0]) < 0.2:
            raise ValueError(f"{name}: its probes find a mean log norm of {means[-1]:.2f}, vgcore's {means[0]:.2f}")


def facts() -> dict[str, Any]:
    """What the figures depend on, but for the name of the machine; None for a rival that is not installed."""
    cpuinfo = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.*)", cpuinfo.read_text(encoding="utf-8")) if cpuinfo.exists() else None
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    here = installed()
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cpu": model[1] if model else platform.processor(),
        "cores": CORES,
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "build": build_info(),
        "python": platform.python_version(),
        "numpy": f"{np.__version__} with {blas['name']} {blas['version']}",
        **{module: import_module(module).__version__ if name in here else None for name, module in OPTIONAL.items()},
    }


def record(machine: dict[str, Any], rows: list[Row]) -> dict[str, Any]:
    """Rows of `compare` with all that is needed to read them, `facts` from before the run first; plain JSON."""
    does = {name: inspect.getdoc(RIVALS[name]) for name in installed()}
    return {"facts": machine, "jobs": JOBS, "rivals": does, "shape": "width, batch, depth", "rows": rows}


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
