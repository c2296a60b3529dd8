"""Training of small nets: vgcore beside torch and JAX, which take turns in one process, and the jobs of the targets.

    python benches/training.py [--rounds 7] [--isa avx2] [--json FILE]

Many nets: ReLU nets of the digits, He normal weights, cross-entropy, SGD or Adam, each net with its own weights. One
net: the same, alone. Before a figure is taken every rival has to reach vgcore's losses from vgcore's weights. A net of
a rival trains on one batch that lies there, vgcore shuffles the digits, gathers each batch and draws the weights of
every call: it does more. The fastest spelling of a rival counts, on one thread or on all; a record says what the
others took.

Figures are microseconds a net and step, medians and minima over rounds, and the ratios of both to vgcore's; above 1,
vgcore is faster. Jobs are seconds. On a machine that is shared, minima say more than medians.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module, util
from pathlib import Path
from typing import Any

import numpy as np
from compare import ISAS, commit

import vgcore as vg
from vgcore.measure import files
from vgcore.shell import bench
from vgcore.shell.rivals import CORES, Program

SMOKE = os.environ.get("VGCORE_BENCH") == "smoke"  # only start everything
LR = 1e-3
OPTIMIZERS = {"SGD": vg.SGD(lr=LR), "Adam": vg.Adam(lr=LR)}
NETS = 4 if SMOKE else 64
DEEP, SMALL = ((2, 8, 8), (1, 4, 4)) if SMOKE else ((8, 64, 64), (4, 16, 32))  # depth, width, batch
CHECKED = 10  # steps that all rivals take before their losses are compared
LONG = 2 if SMOKE else 4  # a call of vgcore has so many times more steps, as it draws the weights too
TARGETS = {  # microseconds a net and step, and ratios to rivals
    (NETS, *DEEP): "120 us; torch stacked 2x, JAX lax.map and vmap 2.5x, torch eager 15x",
    (NETS, *SMALL): "8 us; the best rival 4x",
    (1, *DEEP): "torch eager 6x, JAX jit 2x",
}


@dataclass(frozen=True)
class Task:
    """Nets to train, and what all rivals begin from.

    Attributes:
        nets: How many, each with weights of its own.
        shape: Depth, width, batch.
        optimizer: A name of `OPTIMIZERS`.
    """

    nets: int
    shape: tuple[int, int, int]
    optimizer: str

    def __str__(self) -> str:
        depth, width, batch = self.shape
        return f"{self.nets} x depth {depth}, width {width}, batch {batch}, {self.optimizer}"

    @property
    def spec(self) -> vg.MLP:
        """The net."""
        depth, width, _ = self.shape
        return vg.MLP(depth=depth, width=width, in_features=64, out_features=10, init="kaiming_normal")

    @property
    def batches(self) -> tuple[Any, Any]:
        """Of each net the samples of every step of a rival, `(nets, batch, 64)`, and their digits, `(nets, batch)`."""
        x, y = vg.data.digits()
        rows = 8 * np.arange(self.nets)[:, None] + np.arange(self.shape[2])
        return x[rows].astype(np.float32), y[rows]

    def weights(self) -> list[Any]:
        """Of all nets: `(nets, fan_in, fan_out)` and `(nets, 1, fan_out)` in turn, the readout's last."""
        states = [self.spec.init(seed=seed).state_dict() for seed in range(self.nets)]
        stacked = [np.stack([state[name] for state in states]) for name in states[0]]
        return [np.ascontiguousarray(t.swapaxes(1, 2)) if t.ndim == 3 else t[:, None] for t in stacked]


def program(task: Task, setting: str, run: Callable[[int], Any], *, steps: int = CHECKED) -> Program:
    """A way to train: `run(seed)` takes so many steps of all nets and gives the losses of the last one."""
    return Program("train", run, setting, task.nets * steps)


def vgcore(task: Task, monitor: Any = ()) -> Program:
    """vg.train of all nets in one call, which draws their weights, shuffles the digits and gathers the batches."""
    x, y = vg.data.digits()
    steps = CHECKED * LONG * (1 if task.nets > 1 else 4)
    settings = {"optimizer": OPTIMIZERS[task.optimizer], "batch": task.shape[2], "seeds": task.nets}
    # Without monitors no states are kept either, as no rival keeps any.
    settings |= {"loss": "cross_entropy", "monitor": monitor, "checkpoints": None if monitor else 0}

    def run(_: int) -> Any:
        return vg.train(task.spec, x, y, steps=steps, **settings).loss[:, -1]

    return program(task, "", run, steps=steps)


def expected(task: Task) -> Any:
    """The losses that all have to find at the last step, one a net."""
    settings = {"optimizer": OPTIMIZERS[task.optimizer], "batch": task.shape[2], "loss": "cross_entropy"}
    runs = [
        vg.train(task.spec.init(seed=seed), x, y, steps=CHECKED, **settings)
        for seed, (x, y) in enumerate(zip(*task.batches, strict=True))
    ]
    return np.array([run.loss[0, -1] for run in runs])


def torch_optimizers(task: Task, tensors: Sequence[Any]) -> dict[str, Any]:
    """Torch's own optimiser in its two fast forms."""
    kind = getattr(import_module("torch").optim, task.optimizer)
    return {form: kind(tensors, lr=LR, **{form: True}) for form in ("foreach", "fused")}


def torch_programs(task: Task, make: Callable[[], tuple[list[Any], Callable[[], Any]]]) -> Iterator[Program]:
    """Every form of the optimiser on 1 and on all threads.

    Args:
        task: What is trained.
        make: Gives tensors, and a function that puts gradients into them and gives the losses.
    """
    torch = import_module("torch")
    for form in ("foreach", "fused"):
        for threads in sorted({1, CORES}):
            tensors, passes = make()
            optimizer = torch_optimizers(task, tensors)[form]

            def run(_: int, *, threads: int = threads, optimizer: Any = optimizer, passes: Any = passes) -> Any:
                torch.set_num_threads(threads)
                for _step in range(CHECKED):
                    optimizer.zero_grad()
                    losses = passes()
                    optimizer.step()
                return losses.detach().numpy()

            yield program(task, f"{form} {threads} thr", run)


def torch_stacked(task: Task) -> list[Program]:
    """Nets stacked by hand: one baddbmm a layer, autograd, torch.optim over the stacked tensors."""
    torch = import_module("torch")
    x, y = map(torch.as_tensor, task.batches)
    targets = y.flatten()

    def make() -> tuple[list[Any], Callable[[], Any]]:
        tensors = [torch.tensor(t, requires_grad=True) for t in task.weights()]

        def passes() -> Any:
            h = x
            for l in range(0, len(tensors) - 2, 2):
                h = torch.relu(torch.baddbmm(tensors[l + 1], h, tensors[l]))
            z = torch.baddbmm(tensors[-1], h, tensors[-2])
            each = torch.nn.functional.cross_entropy(z.flatten(0, 1), targets, reduction="none")
            losses = each.view(task.nets, -1).mean(1)
            losses.sum().backward()
            return losses

        return tensors, passes

    return list(torch_programs(task, make))


def torch_vmap(task: Task) -> list[Program]:
    """torch.func: vmap of grad_and_value of one net, torch.optim over the stacked tensors."""
    torch = import_module("torch")
    x, y = map(torch.as_tensor, task.batches)

    def loss(tensors: Any, x: Any, y: Any) -> Any:
        h = x
        for l in range(0, len(tensors) - 2, 2):
            h = torch.relu(h @ tensors[l] + tensors[l + 1])
        return torch.nn.functional.cross_entropy(h @ tensors[-2] + tensors[-1], y)

    every = torch.func.vmap(torch.func.grad_and_value(loss))

    def make() -> tuple[list[Any], Callable[[], Any]]:
        tensors = [torch.tensor(t) for t in task.weights()]

        def passes() -> Any:
            gradients, losses = every(tuple(tensors), x, y)
            for tensor, gradient in zip(tensors, gradients, strict=True):
                tensor.grad = gradient
            return losses

        return tensors, passes

    return list(torch_programs(task, make))


def torch_eager(task: Task) -> list[Program]:
    """One net: nn.Sequential, autograd, torch.optim, as one writes it."""
    torch = import_module("torch")
    one = Task(1, task.shape, task.optimizer)
    x, y = (torch.as_tensor(t[0]) for t in one.batches)

    def make() -> tuple[list[Any], Callable[[], Any]]:
        tensors = [torch.tensor(t[0]) for t in one.weights()]
        modules: list[Any] = []
        for weight, bias in zip(tensors[::2], tensors[1::2], strict=True):
            modules += [torch.nn.Linear(*weight.shape), torch.nn.ReLU()]
            modules[-2].load_state_dict({"weight": weight.T, "bias": bias[0]})
        net = torch.nn.Sequential(*modules[:-1])

        def passes() -> Any:
            loss = torch.nn.functional.cross_entropy(net(x), y)
            loss.backward()
            return loss[None]

        return list(net.parameters()), passes

    return list(torch_programs(one, make))


def jax_train(task: Task) -> tuple[Any, Callable[..., Any]]:
    """What training keeps, at its start and of all nets, and a step of one: `(state, (x, y))` to a state and a loss."""
    jax = import_module("jax")
    jnp, tree = jax.numpy, jax.tree
    weights = [jnp.asarray(t) for t in task.weights()]

    def loss(tensors: Any, x: Any, y: Any) -> Any:
        h = x
        for l in range(0, len(tensors) - 2, 2):
            h = jax.nn.relu(h @ tensors[l] + tensors[l + 1])
        z = h @ tensors[-2] + tensors[-1]
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], 1))

    def sgd(tensors: Any, batch: Any) -> Any:
        found, gradients = jax.value_and_grad(loss)(tensors, *batch)
        return tree.map(lambda w, g: w - LR * g, tensors, gradients), found

    def adam(state: Any, batch: Any) -> Any:
        tensors, m, v, t = state
        found, gradients = jax.value_and_grad(loss)(tensors, *batch)
        t += 1
        m = tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, gradients)
        v = tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, gradients)
        first, second = 1 - 0.9**t, 1 - 0.999**t
        tensors = tree.map(lambda w, m, v: w - LR * (m / first) / (jnp.sqrt(v / second) + 1e-8), tensors, m, v)
        return (tensors, m, v, t), found

    if task.optimizer == "SGD":
        return weights, sgd
    zeros = tree.map(jnp.zeros_like, weights)
    return (weights, zeros, tree.map(jnp.copy, zeros), jnp.zeros(task.nets, jnp.float32)), adam


def jax_scan(step: Callable[..., Any], state: Any, batch: Any) -> Any:
    """So many steps in one program; gives the state and the losses of the last one."""
    state, losses = import_module("jax").lax.scan(lambda state, _: step(state, batch), state, None, CHECKED)
    return state, losses[-1]


def jax_program(task: Task, setting: str, call: Callable[[Any, Any], Any], calls: int = 1) -> Program:
    """A jitted program, whose state is given back to it; so many calls are one turn's run."""
    jax = import_module("jax")
    jitted, batches = jax.jit(call, donate_argnums=0), tuple(map(jax.numpy.asarray, task.batches))
    kept = [jax_train(task)[0]]
    if task.nets == 1:
        kept[0], batches = jax.tree.map(lambda t: t[0], (kept[0], batches))

    def run(_: int) -> Any:
        for _call in range(calls):
            kept[0], losses = jitted(kept[0], batches)
        return np.atleast_1d(np.asarray(losses))

    return program(task, setting, run)


def jax_vmap(task: Task) -> list[Program]:
    """Vmap over nets of a scan of the steps, and a scan of the vmapped step."""
    jax = import_module("jax")
    step = jax_train(task)[1]
    inside, outside = jax.vmap(partial(jax_scan, step)), partial(jax_scan, jax.vmap(step))
    return [jax_program(task, "vmap of scan", inside), jax_program(task, "scan of vmap", outside)]


def jax_map(task: Task) -> list[Program]:
    """lax.map over nets of a scan of the steps: one net after the other inside one program."""
    jax = import_module("jax")
    step = jax_train(task)[1]
    return [jax_program(task, "", lambda *given: jax.lax.map(lambda each: jax_scan(step, *each), given))]


def jax_jit(task: Task) -> list[Program]:
    """One net: a jitted step a call, or a jitted scan of the steps."""
    one = Task(1, task.shape, task.optimizer)
    step = jax_train(one)[1]
    return [jax_program(one, "a step a call", step, CHECKED), jax_program(one, "scan", partial(jax_scan, step))]


MANY = {
    "torch stacked": torch_stacked,
    "torch vmap": torch_vmap,
    "JAX vmap": jax_vmap,
    "JAX lax.map": jax_map,
}
ONE = {"torch eager": torch_eager, "JAX jit": jax_jit}
NEEDS = {name: name.split()[0].lower() for name in (*MANY, *ONE)}  # the module of each


def checked(name: str, programs: list[Program], losses: Any) -> Program:
    """The fastest of a rival's programs, if all find the losses."""
    for each in programs:
        start = time.perf_counter()
        found = each.run(0)
        each.first_call = time.perf_counter() - start
        if not np.allclose(found, losses[: len(found)], rtol=1e-2):
            raise ValueError(f"{name} {each.setting}: it does not train as vgcore does: {found[:3]}, not {losses[:3]}")
    tried = {each.setting: min(each.turn(1), each.turn(1)) for each in programs}
    best = min(programs, key=lambda each: tried[each.setting])
    best.tried = tried if len(programs) > 1 else {}
    return best


def race(task: Task, rounds: int) -> list[dict[str, Any]]:
    """A row for each rival at one task, vgcore first: `us` (one a round), `median`, `min`, and ratios of both."""
    losses = expected(task)
    ours = {"vgcore": vgcore(task), "vgcore, default monitors": vgcore(task, "cheap")}
    for each in ours.values():
        each.run(0)
    names = {
        name: make for name, make in ({**MANY, **ONE} if task.nets > 1 else ONE).items() if util.find_spec(NEEDS[name])
    }
    chosen = ours | {name: checked(name, make(task), losses) for name, make in names.items()}
    for each in rounds * list(chosen.values()):
        each.turns.append(each.turn(1))
    first = chosen["vgcore"].turns
    return [
        {
            "task": str(task),
            "target": TARGETS[(task.nets, *task.shape)],
            "rival": name,
            "setting": each.setting,
            "us": each.turns,
            "median": statistics.median(each.turns),
            "min": min(each.turns),
            "ratio": statistics.median(each.turns) / statistics.median(first),
            "ratio_min": min(each.turns) / min(first),
            "tried": each.tried,
            "first_call_s": each.first_call,
        }
        for name, each in chosen.items()
    ]


def seconds(turns: int, call: Callable[[], Any]) -> tuple[list[float], Any]:
    """Of so many calls, and what the last one gave."""
    took = []
    for _ in range(turns):
        started = time.perf_counter()
        found = call()
        took.append(round(time.perf_counter() - started, 3))
    return took, found


def trainability() -> Any:
    """400 tanh nets of 5 to 100 layers, width 32, batch 64, 250 steps, on the digits (target 40 s, aim 20)."""
    depth, sigma_w = (np.linspace(5, 20, 2), [1, 2]) if SMOKE else (np.linspace(5, 100, 20), np.linspace(1, 3, 20))
    return vg.trainability("tanh", sigma_w=sigma_w, depth=depth, width=32, batch=64, steps=20 if SMOKE else 250)


def fractal(side: int) -> Any:
    """Nets of one hidden layer of 8, 72 samples, 100 steps, with every pair of so many rates, in float64."""
    return vg.rate_fractal(np.geomspace(1, 1e5, side), np.geomspace(5, 100, side))


def rezero() -> Any:
    """A ReZero net of 1000 layers, width 32, batch 100, 60 steps of Adagrad (target 3 s, and a loss below 0.5)."""
    spec = vg.MLP(depth=10 if SMOKE else 1000, width=32, in_features=64, out_features=10, skip="rezero")
    return vg.train(spec, *vg.data.digits(), loss="cross_entropy", optimizer=vg.Adagrad(lr=0.01), steps=60, batch=100)


JOBS: dict[str, tuple[str, int, Callable[[], Any], Callable[[Any], str]]] = {
    "trainability map": (
        "400 nets, target 40 s, aim 20",
        1,
        trainability,
        lambda found: f"{np.mean(found.final_loss < 0.5 * found.first_loss):.2f} of the nets train",
    ),
    "fractal 128 x 128": (
        "target 3 s",
        3,
        partial(fractal, 16 if SMOKE else 128),
        lambda found: f"dimension {found.dimension:.3f}",
    ),
    "fractal 512 x 512": (
        "target 30 s",
        1,
        partial(fractal, 32 if SMOKE else 512),
        lambda found: f"dimension {found.dimension:.3f}",
    ),
    "ReZero": (
        "1000 layers, target 3 s and below 0.5",
        3,
        rezero,
        lambda run: f"loss {run.loss[0, 0]:.3f}, at the end {run.loss[0, -1]:.3f}",
    ),
}


def jobs() -> Iterator[dict[str, Any]]:
    """A row for each of the other jobs."""
    print()
    for name, (target, turns, call, words) in JOBS.items():
        took, found = seconds(1 if SMOKE else turns, call)
        print(f"{name} ({target}): {min(took)} s; {words(found)}", flush=True)
        yield {"job": name, "target": target, "seconds": took, "found": words(found)}


def tell(rows: Sequence[dict[str, Any]]) -> None:
    """Print a task's rows."""
    print(f"\n{rows[0]['task']} (target {rows[0]['target']})")
    for row in rows:
        times = f"{row['median']:9.1f} {row['ratio']:7.2f}x {row['min']:9.1f} {row['ratio_min']:7.2f}x"
        print(f"  {row['rival']:26}{times}  {row['setting']}", flush=True)


def main() -> None:
    """Race, do the jobs, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1 if SMOKE else 7, help="turns of each rival")
    parser.add_argument(
        "--isa", choices=[*ISAS], default="best", help="keep vgcore and all rivals to AVX2, as a laptop"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write a record")
    arguments = parser.parse_args()
    limits = ISAS[arguments.isa]
    if any(os.environ.get(name) != value for name, value in limits.items()):  # libraries read them when they are loaded
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | limits)

    facts = commit() | bench.facts()
    print(*(f"{name}: {value}" for name, value in facts.items()), sep="\n")
    print(f"\nmicroseconds a net and step, and ratios to vgcore: medians of {arguments.rounds} rounds, then minima")
    tasks = [Task(nets, tuple(shape), optimizer) for nets, *shape in TARGETS for optimizer in OPTIMIZERS]
    rows = []
    for task in tasks:
        rows += race(task, arguments.rounds)
        tell([row for row in rows if row["task"] == str(task)])
    others = list(jobs())
    if arguments.json:
        record = {"facts": facts | {"load_after": os.getloadavg()[0], "limits": limits}, "rows": rows, "jobs": others}
        files.save_text(json.dumps(record, indent=1) + "\n", arguments.json)


if __name__ == "__main__":
    main()
