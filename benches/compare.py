"""The same two jobs in vgcore, torch, NumPy and JAX, taking turns in one run.

The net is vgcore's default: ReLU, He normal weights, float32, no readout, every layer as wide as the input. Its biases
are zero, and the rivals leave them out. torch and JAX take part if they are installed. Before a figure is taken, all
must compute the same: the explicit gradients of one net of that shape, and the mean log norm that probes find.
In every round each rival has one turn: a pause, an untimed call (unless it is long), then timed calls. Where a rival
has a choice (threads of torch, form of a JAX program), all are tried and the fastest is kept, for each job and shape.
First calls, in which JAX compiles, are never timed; how long they took is stated. A ratio above 1: vgcore is faster.
"""

import argparse
import inspect
import itertools
import json
import math
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module, util
from pathlib import Path
from typing import Any

import numpy as np

import vgcore as vg

JOBS = {
    "probe": "weights, input and cotangent from a new seed; forward, backward, the norm of every layer's dL/dW",
    "gradients": "of one given net, as arrays: dL/dW, dL/db and dL/dz of every layer, and dL/dx",
}
SHAPES = "16x32,64x32,128x32,256x32,256x256,512x32,1024x256,256x1,256x8"  # width x batch
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
SEEDS = itertools.count()


class Given:
    """A shape, and the net, samples and cotangent of its explicit gradients."""

    def __init__(self, width: int, batch: int, depth: int) -> None:
        self.shape, self.std = (width, batch, depth), math.sqrt(2 / width)
        self.spec = vg.MLP(depth=depth, width=width)
        self.net = self.spec.init(seed=0)
        state, draw = self.net.state_dict(), np.random.default_rng(0).standard_normal
        self.weights = [state[f"layers.{l}.weight"] for l in range(depth)]
        # Where a pre-activation is so near ReLU's kink that rounding decides its slope, rivals rightly differ.
        h = x = draw((4 * batch + 16, width), np.float32)
        clear = np.full(len(x), fill_value=True)
        for w in self.weights:
            z = h @ w.T
            clear &= np.abs(z).min(1) > 1e-5 * np.abs(z).max(1)
            h = np.maximum(z, 0)
        self.x = x[clear][:batch]
        self.cotangent = draw((batch, width), np.float32) / np.float32(math.sqrt(batch))


@dataclass
class Program:
    """One way to do a job, by seed; explicit gradients ignore it."""

    job: str
    run: Callable[[int], Any]
    setting: str = ""
    nets: int = 1  # a call
    first_call: float = math.inf  # seconds
    turns: list[float] = field(default_factory=list)  # microseconds per layer of one net
    seconds: float = 0  # a call, in the last turn

    def turn(self, depth: int) -> float:
        """Microseconds per layer of one net."""
        time.sleep(0.03)  # threads of the rival before may spin for so long
        if self.seconds < 0.1:
            self.run(next(SEEDS))
        start, calls, passed = time.perf_counter(), 0, 0.0
        while passed < 0.02:
            self.run(next(SEEDS))
            calls, passed = calls + 1, time.perf_counter() - start
        self.seconds = passed / calls
        return round(1e6 * self.seconds / (self.nets * depth), 3)


def vgcore(given: Given, nets: int | None = None) -> list[Program]:
    """Probe: vg.probe of 4 nets a thread (1 if huge), which the threads share out. Gradients: net.backward, 1 thread.

    Beside the norm of dL/dW, in float64 and from Gram matrices where that is cheaper, a probe measures eight columns.
    """
    width, batch, depth = given.shape
    nets = nets or int(vg.build_info()["threads"]) * (4 if depth * width**2 < 1e7 else 1)

    def probe(seed: int) -> Any:
        return vg.probe(given.spec, batch=batch, seeds=nets, seed=seed * nets).wgrad_norm[0]

    def gradients(_: int) -> Any:
        g = given.net.backward(given.x, given.cotangent)
        return g.weights, g.biases, g.preactivations, g.input

    return [Program("probe", probe, nets=nets), Program("gradients", gradients)]


def one_net(given: Given) -> list[Program]:
    """Probe: vg.probe of one net a call, as the rivals work; on 1 thread."""
    return vgcore(given, 1)[:1]


def torch(given: Given) -> list[Program]:
    """Eager, no modules, the faster of 1 and all threads; normal_, mm, relu_, autograd.grad, torch._foreach_norm."""
    torch = import_module("torch")
    width, batch, depth = given.shape
    weights = [torch.tensor(w, requires_grad=True) for w in given.weights]
    x, cotangent = torch.tensor(given.x, requires_grad=True), torch.tensor(given.cotangent)

    def probe(threads: int, seed: int) -> Any:
        torch.set_num_threads(threads)
        torch.manual_seed(seed)
        fresh = [w.requires_grad_() for w in torch.empty(depth, width, width).normal_(0, given.std).unbind()]
        h, start = torch.randn(batch, width), torch.randn(batch, width) / math.sqrt(batch)
        for w in fresh:
            h = torch.mm(h, w.t()).relu_()
        return torch._foreach_norm(torch.autograd.grad(h, fresh, start))  # noqa: SLF001 (as clip_grad_norm_ does)

    def gradients(threads: int, _: int) -> Any:
        torch.set_num_threads(threads)
        h, zs = x, []
        for w in weights:
            zs.append(torch.mm(h, w.t()))
            h = torch.relu(zs[-1])
        g = torch.autograd.grad(h, [*weights, *zs, x], cotangent)
        return g[:depth], [dz.sum(0) for dz in g[depth:-1]], g[depth:-1], g[-1]

    runs = itertools.product((probe, gradients), sorted({1, CORES}))
    return [Program(run.__name__, partial(run, threads), f"{threads} thr") for run, threads in runs]


def numpy(given: Given) -> list[Program]:
    """By hand, on as many threads as its BLAS likes; standard_normal in float32 times std, matmul, np.linalg.norm."""
    width, batch, depth = given.shape

    def passes(weights: Any, x: Any, dh: Any) -> Iterator[tuple[Any, Any, Any]]:
        hs = [x]
        for w in weights:
            z = hs[-1] @ w.T
            hs.append(np.maximum(z, 0, out=z))
        for l in reversed(range(depth)):
            dz = dh * (hs[l + 1] > 0)
            dh = dz @ weights[l]
            yield dz.T @ hs[l], dz, dh

    def probe(seed: int) -> Any:
        draw = np.random.default_rng(seed).standard_normal
        weights = draw((depth, width, width), np.float32)
        weights *= np.float32(given.std)
        x, start = draw((2, batch, width), np.float32)
        return [np.linalg.norm(dw) for dw, _, _ in passes(weights, x, start / np.float32(math.sqrt(batch)))][::-1]

    def gradients(_: int) -> Any:
        dw, dz, dh = zip(*passes(given.weights, given.x, given.cotangent), strict=True)
        return dw[::-1], [d.sum(0) for d in reversed(dz)], dz[::-1], dh[-1]

    return [Program("probe", probe), Program("gradients", gradients)]


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
        zeros = jnp.zeros((depth, batch, width))
        layers = weights, list(zeros) if isinstance(weights, list) else zeros
        (dw, dz), dx = jax.vjp(forward, layers, x)[1](cotangent)
        return dw, [d.sum(0) for d in dz] if isinstance(dz, list) else dz.sum(1), dz, dx

    def ready(run: Any, *values: Any) -> Any:
        return jax.block_until_ready(run(*values))

    one_shot, explicit = jax.jit(probe, static_argnums=0), jax.jit(gradients)
    x, start, stacked = (jnp.asarray(value) for value in (given.x, given.cotangent, given.weights))
    forms = {"scan": stacked, "unrolled": list(stacked)}.items()
    probes = [Program("probe", partial(ready, one_shot, form == "unrolled"), form) for form, _ in forms]
    return probes + [Program("gradients", partial(ready, explicit, w, x, start), form) for form, w in forms]


RIVALS = {"vgcore": vgcore, "one net": one_net, "torch": torch, "NumPy": numpy, "JAX": jax}


def measure(job: str, shape: tuple[int, int, int], rivals: list[str], rounds: int) -> dict[str, Program]:
    """Check, choose, then let the rivals take turns."""
    given, depth, chosen, expected = Given(*shape), shape[2], dict[str, Program](), None
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
                    if a.shape != b.shape or not np.linalg.norm(a - b) < 1e-4 * np.linalg.norm(b):
                        sys.exit(f"{name} {program.setting}, {shape}: its gradients are not vgcore's")
        if len(programs) > 1:
            programs.sort(key=lambda program: min(program.turn(depth), program.turn(depth)))
        chosen |= {name: programs[0]} if programs else {}
    for program in rounds * list(chosen.values()):
        program.turns.append(program.turn(depth))
    return chosen


def check_probes(rivals: list[str]) -> None:
    """Random nets agree in the mean log norm of dL/dW only, which scatters by about 0.03 here."""
    given, means = Given(256, 32, 4), []
    for name, run in [(rival, p.run) for rival in rivals for p in RIVALS[rival](given) if p.job == "probe"]:
        means.append(statistics.fmean(math.log(norm) for seed in range(8) for norm in run(seed)))
        if not abs(means[-1] - means[0]) < 0.2:
            sys.exit(f"{name}: the mean log norm is {means[-1]:.2f}, and {means[0]:.2f} in vgcore")


def facts() -> dict[str, Any]:
    """What the figures depend on, but for the name of the machine."""
    run = subprocess.getoutput
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {
        "date": time.strftime("%Y-%m-%d"),
        "commit": run(f"git -C '{Path(__file__).parent}' describe --always --dirty --exclude='*'"),
        "cpu": "".join(re.findall(r"model name\s*: (.*)", run("cat /proc/cpuinfo"))[:1]) or platform.processor(),
        "cores": CORES,
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "build": vg.build_info(),
        "rustc": run("rustc --version"),
        "python": platform.python_version(),
        "numpy": f"{np.__version__} with {blas['name']} {blas['version']}",
        **{name: import_module(name).__version__ if util.find_spec(name) else None for name in ("torch", "jax")},
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Compare vgcore with torch, NumPy and JAX.")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each rival (default: 5)")
    parser.add_argument("--shapes", default=SHAPES, help="WIDTHxBATCH[xDEPTH],...; depth is 64, and 16 from width 512")
    parser.add_argument("--threads", type=int, help="keep the whole run on so many cores (Linux)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write a record")
    args = parser.parse_args()
    if args.threads and args.threads < CORES:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.threads])
        os.execv(sys.executable, sys.orig_argv)  # libraries count cores when they are loaded
    machine, rows = facts(), list[dict[str, Any]]()
    does = {name: inspect.getdoc(f) for name, f in RIVALS.items() if machine.get(name.lower(), "") is not None}
    print(*(f"{name}: {value}" for name, value in [*machine.items(), *does.items()]), sep="\n")
    check_probes(list(does))
    for job, text in JOBS.items():
        print(f"\n{job}: {text}\nmicroseconds per layer of one net: median (fastest..slowest round), ratio to vgcore")
        for sizes in (list(map(int, text.split("x"))) for text in args.shapes.split(",")):
            width, batch, depth = sizes if sizes[2:] else (*sizes, 16 if sizes[0] >= 512 else 64)
            programs = measure(job, (width, batch, depth), list(does), args.rounds)
            line, ours = f"{width:4} {batch:3} {depth:3}", statistics.median(programs["vgcore"].turns)
            for name, p in programs.items():
                median, spread = statistics.median(p.turns), f"({min(p.turns):.1f}..{max(p.turns):.1f})"
                line += f" | {name} {p.setting}".ljust(15 if p.setting else 10)
                line += f"{median:9.1f} {spread:20}{median / ours:6.2f}x"
                row = {"job": job, "shape": [width, batch, depth], "rival": name, "setting": p.setting}
                rows.append({**row, "us_per_layer": p.turns, "ratio": median / ours, "first_call_s": p.first_call})
            print(line, flush=True)
    slow = {name: max(row["first_call_s"] for row in rows if row["rival"] == name) for name in does}
    print("\nslowest first calls:", *(f"{name} {seconds:.2f} s" for name, seconds in slow.items()))
    record = {"facts": machine, "jobs": JOBS, "rivals": does, "shape": "width, batch, depth", "rows": rows}
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
