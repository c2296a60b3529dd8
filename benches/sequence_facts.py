"""What recurrent nets and transformers learn, at full size: each claim, what was measured, and whether it holds.

    python benches/sequence_facts.py [--only adding,copy] [--json FILE]

Nets are 32 wide, batches have 32 rows, gradients are clipped to a norm of 1 and Adam takes the steps, where not said
otherwise. The plateau of the adding problem is chance, 1/6; its end is the step at which the mean of 100 losses falls
below 0.1. Exit code 1 where a claim does not hold. Half an hour on one core; the tests of `tests/facts` have those that
take seconds.

Problems and what is known of them: Hochreiter and Schmidhuber 1997, Pascanu et al. 2013, Le et al. 2015, Arjovsky et
al. 2016, Tallec and Ollivier 2018 (chrono), Xiong et al. 2020 (post- and pre-norm).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from compare import commit
from trained_facts import Fact

import vgcore as vg
from vgcore.measure import files
from vgcore.shell import bench

SMOKE = os.environ.get("VGCORE_BENCH") == "smoke"
#: Sequences to train on, and to test with.
COUNT, HELD = (64, 32) if SMOKE else (20_000, 2000)
#: Losses that tell where a plateau ends are means of so many.
WINDOW = 2 if SMOKE else 100
#: Share of chance below which the adding problem has left its plateau.
LEFT = 0.6
#: Cells that add, each with its rate.
ADDERS: dict[str, tuple[dict[str, Any], float]] = {
    "tanh": ({"cell": "tanh"}, 0.001),
    "irnn": ({"cell": "irnn"}, 0.001),
    "lstm, forget bias 1": ({"cell": "lstm(forget_bias=1)"}, 0.005),
    "gru, update bias 1": ({"cell": "gru(update_bias=1)"}, 0.005),
}


def train(spec: vg.RNN | vg.Transformer, problem: vg.data.Sequences, lr: float, steps: int, **settings: Any) -> vg.Run:
    """A run on a problem."""
    given: dict[str, Any] = {"batch": 32, "clip": 1.0, "monitor": [], "checkpoints": 0} | settings
    return vg.train(spec, *problem, loss=problem.loss, optimizer=vg.Adam(lr), steps=3 if SMOKE else steps, **given)


def memory_of(spec: vg.RNN, problem: vg.data.Sequences) -> float:
    """How far back dL/dh, or dL/dc, gets in a fresh net, in steps: at most as many as there are."""
    found = vg.memory_limit(vg.probe(spec, x=problem.x, y=problem.y, loss=problem.loss, seeds=4))
    return round(min(found.value, spec.steps), 1)


def adder(steps: int, lr: float, updates: int, **fields: Any) -> dict[str, Any]:
    """What a net makes of the adding problem."""
    spec = vg.RNN(steps, 32, in_features=2, out_features=1, **fields)
    run = train(spec, vg.data.adding(steps, COUNT), lr, updates)
    level = np.convolve(run.loss[0], np.full(WINDOW, 1 / WINDOW), mode="valid")
    below = np.flatnonzero(level < LEFT / 6)
    return {
        "test mse": round(float(run.evaluate(*vg.data.adding(steps, HELD, seed=1)).loss), 5),
        "plateau ends": int(below[0]) + WINDOW if len(below) else None,
        "clipped": round(float(np.mean(run.clipped[0] > 0)), 3),
    }


def adding() -> Fact:
    """Q2."""
    found = {name: adder(100, lr, 1500, **fields) for name, (fields, lr) in ADDERS.items()}
    found["lstm, forget bias 0, 2500 steps"] = adder(100, 0.005, 2500, cell="lstm(forget_bias=0)")
    found["lstm, chrono(100)"] = adder(100, 0.005, 1500, cell="lstm", bias="chrono(100)")
    gru, tanh = found["gru, update bias 1"]["test mse"], found["tanh"]["test mse"]
    claim = "adding over 100 steps: GRU with update bias 1 below .01 after 1500 updates, tanh at chance (> .15)"
    return Fact(claim, found, gru < 0.01 and tanh > 0.15)


def temporal_order() -> Fact:
    """Q1, from three starts each."""
    found: dict[str, Any] = {}
    for cell, init, lr in (
        ("tanh", "torch_rnn", 0.003),
        ("tanh", "normal(std=0.1)", 0.003),
        ("tanh", "xavier_uniform", 0.003),
        ("lstm(forget_bias=1)", "xavier_uniform", 0.01),
    ):
        spec = vg.RNN(50, 32, in_features=6, out_features=4, cell=cell, init=init)
        run = train(spec, vg.data.temporal_order(50, COUNT), lr, 1500, seeds=3)
        held = vg.data.temporal_order(50, HELD, seed=1)
        found[f"{cell}, inputs {init}"] = {
            "accuracy": [round(run.evaluate(*held, seed=seed).accuracy, 4) for seed in range(3)],
            "memory_limit": memory_of(spec, vg.data.temporal_order(50, 256)),
        }
    small = found["tanh, inputs torch_rnn"]["accuracy"]
    claim = "temporal order over 50 steps: tanh, orthogonal, inputs as in torch, right for more than 99 % of 3 starts"
    return Fact(claim, found, min(small) > 0.99)


def digits() -> Fact:
    """Q3."""
    found = {}
    for name, lr, steps in (("lstm(forget_bias=1)", 0.01, 1500), ("tanh", 0.003, 1500)):
        spec = vg.RNN(64, 32, in_features=1, out_features=10, cell=name)
        run = train(spec, vg.data.sequential_digits(), lr, steps, validation=0.2)
        found[name] = {
            "accuracy": round(float(run.validation_accuracy[0].max()), 4),
            "clipped": round(float(np.mean(run.clipped[0] > 0)), 3),
        }
    claim = "digits pixel by pixel: LSTM with forget bias 1 is right for more than 88 % after 1500 updates"
    return Fact(claim, found, found["lstm(forget_bias=1)"]["accuracy"] > 0.88)


def copy() -> Fact:
    """Ten symbols after 20 steps."""
    problem, found = vg.data.copy(20, COUNT), {"chance": round(vg.data.copy(20, 1).chance, 4)}
    for name, lr in (("lstm(forget_bias=1)", 0.01), ("lstm(forget_bias=3)", 0.01), ("gru(update_bias=2)", 0.01)):
        spec = vg.RNN(40, 32, in_features=10, out_features=9, cell=name, outputs="every")
        held = train(spec, problem, lr, 1500).evaluate(*vg.data.copy(20, HELD, seed=1))
        found[name] = round(held.loss, 4)
    claim = "copying over 20 steps: LSTM with forget bias 3 is below 9 tenths of chance after 1500 updates"
    return Fact(claim, found, found["lstm(forget_bias=3)"] < 0.9 * found["chance"])


def transformer() -> Fact:
    """Digits by row, and temporal order, of which a bag of tokens tells A, B from B, A by chance: 3/4 are right."""
    spec = vg.Transformer(2, 32, tokens=8, in_features=8, out_features=10, pool="mean")
    rows = train(spec, vg.data.sequential_digits(by="row"), 0.003, 600, validation=0.2)
    found = {"digits by row": round(float(rows.validation_accuracy[0].max()), 4)}
    for causal in (True, False):
        spec = vg.Transformer(2, 32, tokens=20, in_features=6, out_features=4, pool="mean", causal=causal)
        run = train(spec, vg.data.temporal_order(20, COUNT), 0.003, 1500)
        held = run.evaluate(*vg.data.temporal_order(20, HELD, seed=1))
        found[f"temporal order of 20, causal={causal}"] = round(held.accuracy, 4)
    told, bag = (found[f"temporal order of 20, causal={causal}"] for causal in (True, False))
    claim = "2 pre-norm blocks: digits by row > .9; order > .99 if a token sees those before it alone, else 3/4 at most"
    return Fact(claim, found, found["digits by row"] > 0.9 and told > 0.99 and bag < 0.77)


def post_norm() -> Fact:
    """Deep post-norm beside pre-norm, with warm-up and without, at the same rates."""
    found = {}
    for rate in (0.001, 0.003, 0.01):
        for position in ("pre", "post"):
            for schedule in ("constant", "warmup(200)"):
                spec = vg.Transformer(
                    12, 32, tokens=8, in_features=8, out_features=10, pool="mean", norm_position=position
                )
                given = {"validation": 0.2, "clip": None, "schedule": schedule}
                run = train(spec, vg.data.sequential_digits(by="row"), rate, 600, **given)
                name = f"{position}, lr {rate:g}{', warm-up of 200' if 'warmup' in schedule else ''}"
                losses = run.loss[0, -50:]
                found[name] = {
                    "last losses": round(float(losses.mean()), 4),
                    "accuracy": round(float(run.validation_accuracy[0, -1]), 4),
                }
    holds = found["pre, lr 0.003"]["accuracy"] > 0.9
    return Fact(
        "12 blocks without warm-up at lr 0.003: pre-norm learns the digits (> .9); post-norm as measured", found, holds
    )


def memory() -> Fact:
    """Memory at init beside what is learnt."""
    found = {}
    for name, (fields, lr) in ADDERS.items():
        for steps in (20, 50, 100, 200):
            spec = vg.RNN(steps, 32, in_features=2, out_features=1, **fields)
            limit = memory_of(spec, vg.data.adding(steps, 256))
            learnt = adder(steps, lr, 1500, **fields)
            found[f"{name}, T={steps}"] = {"memory_limit": limit} | learnt
    return Fact("adding over 20 to 200 steps: memory at init beside what 1500 updates make of it", found, True)


FACTS: dict[str, Callable[[], Fact]] = {
    "adding": adding,
    "temporal_order": temporal_order,
    "digits": digits,
    "copy": copy,
    "transformer": transformer,
    "post_norm": post_norm,
    "memory": memory,
}


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=lambda text: text.split(","), default=[*FACTS], help="some of the facts")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write a record")
    arguments = parser.parse_args()
    record: dict[str, Any] = {"facts": commit() | bench.facts()}
    for name in arguments.only:
        started = time.perf_counter()
        fact = FACTS[name]()
        record[name] = asdict(fact) | {"seconds": round(time.perf_counter() - started, 2)}
        verdict = "holds" if fact.holds else "DOES NOT HOLD"
        print(f"\n{name}, {record[name]['seconds']} s, {verdict}: {fact.claim}")
        print(*(f"  {key}: {value}" for key, value in fact.measured.items()), sep="\n", flush=True)
    if arguments.json:
        files.save_text(json.dumps(record, indent=1, default=str) + "\n", arguments.json)
    sys.exit(not SMOKE and not all(record[name]["holds"] for name in arguments.only))


if __name__ == "__main__":
    main()
