"""An LSTM and a block of a transformer: vgcore beside torch, which take turns in one process.

    python benches/sequences.py [--rounds 21] [--isa avx2] [--json FILE]

The LSTM has 64 units, the batch 32 sequences of 100 steps, of one column and of 64, and a readout of the last step. The
block is pre-LN with 64 features, 4 heads, relu and 256 features within, on 32 samples of 16 tokens. `gradients` is the
loss, every gradient of the parameters and, of vgcore alone, dL/dx and dL/dz of every row; `step` is a step of training
with SGD, in which vgcore shuffles and gathers the batch too. A probe is of a net that is drawn, with all columns.

Before a figure is taken, torch has to find vgcore's gradients from vgcore's weights. Its fastest spelling counts, on
one thread or on all: `nn.LSTM`, a loop over `nn.LSTMCell`, `nn.TransformerEncoderLayer`, a block by hand. Figures are
microseconds, medians and minima over rounds, and the ratios of both to vgcore's; above 1, vgcore is faster. Behind them
stands the least time of processors, of all threads together, which neighbours on a shared machine change least. Without
torch, vgcore's own figures are all there is.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
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
STEPS, WIDTH, BATCH, TOKENS, HEADS = (5, 8, 4, 4, 2) if SMOKE else (100, 64, 32, 16, 4)
LR = 1e-3
LONG = 2 if SMOKE else 50  # steps of a training, which draws the weights too
ONCE = 1  # a call is of one net: what `Program.turn` divides by


@dataclass(frozen=True)
class Task:
    """A net to differentiate or to train, and what is wanted of it."""

    name: str
    spec: Any
    targets: dict[str, float]  # by rival: how many times faster vgcore is to be

    @property
    def data(self) -> tuple[Any, Any]:
        """Samples and targets."""
        draw = np.random.default_rng(0).standard_normal
        shape = (BATCH, STEPS if isinstance(self.spec, vg.RNN) else TOKENS, self.spec.in_features or WIDTH)
        net = self.spec.init(seed=1)
        x = draw(shape, np.float32)
        return x, net.forward(x) + draw(net.forward(x).shape, np.float32)


def lstm(columns: int) -> Task:
    """The LSTM, of so many columns."""
    spec = vg.RNN(steps=STEPS, width=WIDTH, cell="lstm", in_features=columns, out_features=1, init="torch_rnn")
    return Task(f"LSTM, {columns} columns", spec, {"torch": 3, "LSTMCell loop": 10})


def block() -> Task:
    """The block."""
    spec = vg.Transformer(
        depth=1, width=WIDTH, heads=HEADS, tokens=TOKENS, activation="relu", final_norm=None, init="torch_encoder"
    )
    return Task("block", spec, {"torch": 4})


TASKS = [lstm(1), lstm(WIDTH), block()]


def ours(task: Task) -> dict[str, Program]:
    """What vgcore does, by job."""
    x, y = task.data
    net = task.spec.init(seed=0)
    settings = {"loss": "half_mse", "optimizer": vg.SGD(lr=LR), "batch": BATCH, "monitor": (), "checkpoints": 0}

    def gradients(_: int) -> Any:
        return net.gradients(x, y, loss="half_mse").parameters

    def train(_: int) -> Any:
        return vg.train(task.spec, x, y, steps=LONG, **settings).loss

    def probe(seed: int) -> Any:
        return vg.probe(task.spec, x=x, y=y, loss="half_mse", seeds=1, seed=seed)

    return {
        "gradients": Program("gradients", gradients),
        "step": Program("step", train, nets=LONG),
        "probe": Program("probe", probe),
    }


def spellings(task: Task) -> Iterator[tuple[str, str, Any]]:
    """The modules of torch: rival, spelling, module. Each has the numbers of vgcore."""
    torch = import_module("torch")
    nn, functional = torch.nn, torch.nn.functional
    net = task.spec.init(seed=0)
    if isinstance(task.spec, vg.RNN):
        whole = net.to_torch()
        # (step, batch, columns) lies as torch's loops want it.

        class First(nn.Module):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.rnn = nn.LSTM(task.spec.in_features, WIDTH)
                self.rnn.load_state_dict(whole.rnn.state_dict())
                self.readout = whole.readout

            def forward(self, x: Any) -> Any:
                return self.readout(self.rnn(x.transpose(0, 1))[0][-1])

        class Cells(nn.Module):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.cell = nn.LSTMCell(task.spec.in_features, WIDTH)
                numbers = whole.rnn.state_dict()
                self.cell.load_state_dict({name.removesuffix("_l0"): numbers[name] for name in numbers})
                self.readout = net.to_torch().readout

            def forward(self, x: Any) -> Any:
                state = None
                for step in x.unbind(1):
                    state = self.cell(step, state)
                return self.readout(state[0])

        yield "torch", "nn.LSTM batch_first", net.to_torch()
        yield "torch", "nn.LSTM", First()
        yield "LSTMCell loop", "", Cells()
        return

    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, dropout=0.0, batch_first=True, norm_first=True)
    numbers = {name.removeprefix("layers.0."): t for name, t in net.to_torch().state_dict().items()}
    layer.load_state_dict(numbers)

    class ByHand(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.all = nn.ParameterDict({name.replace(".", "_"): t.clone() for name, t in numbers.items()})

        def forward(self, h: Any) -> Any:
            p = self.all
            split = (*h.shape[:2], 3, HEADS, WIDTH // HEADS)
            z = functional.layer_norm(h, (WIDTH,), p["norm1_weight"], p["norm1_bias"])
            z = functional.linear(z, p["self_attn_in_proj_weight"], p["self_attn_in_proj_bias"])
            q, k, v = z.view(split).permute(2, 0, 3, 1, 4)
            z = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(h.shape)
            h = h + functional.linear(z, p["self_attn_out_proj_weight"], p["self_attn_out_proj_bias"])
            z = functional.layer_norm(h, (WIDTH,), p["norm2_weight"], p["norm2_bias"])
            z = torch.relu(functional.linear(z, p["linear1_weight"], p["linear1_bias"]))
            return h + functional.linear(z, p["linear2_weight"], p["linear2_bias"])

    yield "torch", "TransformerEncoderLayer", layer
    yield "torch", "by hand", ByHand()


def theirs(task: Task, job: str) -> Iterator[tuple[str, Program]]:
    """What torch does at a job, in every spelling on one and on all threads."""
    torch = import_module("torch")
    x, y = map(torch.as_tensor, task.data)
    for rival, spelling, module in spellings(task):
        optimizer = torch.optim.SGD(module.parameters(), lr=LR, foreach=True)

        rows = BATCH * (1 if isinstance(task.spec, vg.RNN) else TOKENS)

        def passes(module: Any = module, rows: int = rows) -> Any:
            loss = (module(x).flatten(1) - y).square().sum() / (2 * rows)
            loss.backward()
            return loss

        for threads in sorted({1, CORES}):

            def gradients(_: int, *, module: Any = module, passes: Any = passes, threads: int = threads) -> Any:
                torch.set_num_threads(threads)
                module.zero_grad()
                passes()
                return [p.grad.numpy() for p in module.parameters() if p.requires_grad]

            def step(_: int, *, optimizer: Any = optimizer, passes: Any = passes, threads: int = threads) -> Any:
                torch.set_num_threads(threads)
                optimizer.zero_grad()
                passes()
                optimizer.step()

            run = step if job == "step" else gradients
            yield rival, Program(job, run, f"{spelling} {threads} thr".strip())


def norm(arrays: Any) -> float:
    """Of all of them together."""
    return float(np.sqrt(sum(float(np.square(np.asarray(a, np.float64)).sum()) for a in arrays)))


def race(task: Task, job: str, mine: Program, rounds: int) -> list[dict[str, Any]]:
    """A row for each rival, vgcore first."""
    chosen, first = {"vgcore": mine}, mine.run(0)
    programs: dict[str, list[Program]] = {}
    if util.find_spec("torch") and job != "probe":
        for rival, program in theirs(task, job):
            found = program.run(0)
            # torch has a second bias, whose gradient is that of the first.
            if job == "gradients" and not np.isclose(
                own := norm(first.values()), other := unique_norm(found, first), rtol=1e-3
            ):
                raise ValueError(f"{rival} {program.setting}: gradients of norm {other}, not {own}")
            programs.setdefault(rival, []).append(program)
    for rival, several in programs.items():
        tried = {each.setting: min(each.turn(ONCE) for _ in range(5)) for each in several}
        chosen[rival] = min(several, key=lambda each: tried[each.setting])
        chosen[rival].tried = tried
    used: dict[str, float] = dict.fromkeys(chosen, np.inf)
    for name, each in rounds * list(chosen.items()):
        each.turns.append(each.turn(ONCE))
        used[name] = min(used[name], processors(each))
    return [
        {
            "task": task.name,
            "job": job,
            "rival": name,
            "target": task.targets.get(name),
            "setting": each.setting,
            "us": each.turns,
            "median": statistics.median(each.turns),
            "min": min(each.turns),
            "ratio": statistics.median(each.turns) / statistics.median(mine.turns),
            "ratio_min": min(each.turns) / min(mine.turns),
            "cpu": used[name],
            "ratio_cpu": used[name] / used["vgcore"],
            "tried": each.tried,
        }
        for name, each in chosen.items()
    ]


def processors(program: Program) -> float:
    """Microseconds of all threads of a call."""
    started = time.process_time()
    program.run(0)
    return round(1e6 * (time.process_time() - started) / program.nets, 3)


def unique_norm(found: list[Any], first: dict[str, Any]) -> float:
    """The norm of arrays, those that vgcore has none of left out: one of each two equal ones."""
    kept: list[Any] = []
    for array in found:
        if len(found) > len(first) and any(a.shape == array.shape and np.array_equal(a, array) for a in kept):
            continue
        kept.append(array)
    return norm(kept)


def tell(rows: list[dict[str, Any]]) -> None:
    """Print the rows of a task and a job."""
    print(f"\n{rows[0]['task']}, {rows[0]['job']}")
    for row in rows:
        target = f"target {row['target']}x" if row["target"] and not SMOKE else ""
        times = f"{row['median']:9.1f} {row['ratio']:7.2f}x {row['min']:9.1f} {row['ratio_min']:7.2f}x"
        times += f" {row['cpu']:9.1f} {row['ratio_cpu']:7.2f}x"
        print(f"  {row['rival']:14}{times}  {row['setting']:32} {target}", flush=True)


def main() -> None:
    """Race, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1 if SMOKE else 21, help="turns of each rival")
    parser.add_argument("--only", default="", help="tasks and jobs whose name holds this")
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
    print(f"\nmicroseconds, and ratios to vgcore: medians of {arguments.rounds} rounds, minima, processors")
    rows: list[dict[str, Any]] = []
    for task in TASKS:
        for job, mine in ours(task).items():
            if arguments.only in f"{task.name} {job}":
                rows += (found := race(task, job, mine, arguments.rounds))
                tell(found)
    if arguments.json:
        record = {"facts": facts | {"load_after": os.getloadavg()[0], "limits": limits}, "rows": rows}
        files.save_text(json.dumps(record, indent=1) + "\n", arguments.json)


if __name__ == "__main__":
    main()
