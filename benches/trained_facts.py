"""Facts of training, at full size: each with its claim, what was measured, and whether it holds.

    python benches/trained_facts.py [--only T1,D3] [--json FILE]

Digits are standardised by one mean and deviation, 1437 of 1797 rows are trained on. Where not said otherwise nets are
64 wide with N(0, 1/n) readouts and zero biases, batches have 64 rows, the loss is cross-entropy, whose blind guess is
ln 10 = 2.303, SGD has momentum 0.9, and a final loss is the mean of the last 50. Claims are inequalities, as numbers of
one run move with the seed, and hold if they do for the median of three. Exit code 1 where one does not. Two minutes on
two cores; `tests/test_trained_facts.py` has the same claims at the smallest size at which they hold for every seed.

Numbers and where they come from: T and P of He 2015, Glorot and Bengio 2010, Yang 2019, De and Smith 2020, Klambauer
2017, Pascanu 2013, Schoenholz 2017, Sohl-Dickstein 2024, Bachlechner 2020; D of Cohen 2021 and of runs in NumPy.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from compare import commit

import vgcore as vg
from vgcore.measure import files
from vgcore.shell import bench

ROWS, LAST = 1437, 50


@dataclass(frozen=True)
class Fact:
    """A claim, what was measured of it, and whether it holds."""

    claim: str
    measured: dict[str, Any]
    holds: bool


def digits() -> tuple[Any, Any, Any, Any]:
    """Samples and classes to train on, then those to test with."""
    x, y = vg.data.digits()
    order = np.random.default_rng(0).permutation(len(x))
    return x[order[:ROWS]], y[order[:ROWS]], x[order[ROWS:]], y[order[ROWS:]]


def net(depth: int, activation: str, init: str, **fields: Any) -> vg.MLP:
    """A net of the digits whose readout is N(0, 1/n)."""
    given = {"width": 64, "in_features": 64, "out_features": 10} | fields
    return vg.MLP(depth=depth, activation=activation, init=[init] * depth + ["lecun_normal"], **given)


def train(spec: vg.MLP, optimizer: str, steps: int, **settings: Any) -> vg.Run:
    """Three runs on the digits."""
    x, y, *_ = digits()
    given = {"loss": "cross_entropy", "monitor": [], "seeds": 3} | settings
    return vg.train(spec, x, y, optimizer=optimizer, steps=steps, **given)


def final(run: vg.Run) -> list[float]:
    """Mean of the last losses, seed by seed; nan where a run diverged."""
    return [round(float(mean), 4) for mean in run.loss[:, -LAST:].mean(axis=1)]


def typical(losses: list[float]) -> float:
    """The median over seeds; inf where it diverged."""
    return float(np.median(np.nan_to_num(losses, nan=math.inf)))


momentum = partial(vg.SGD, momentum=0.9)


def t1() -> Fact:
    """He against Xavier."""
    runs = {
        init: train(net(30, "relu", f"{init}_normal"), momentum(lr=0.002), 400, monitor=["log10_wgrad_norm"])
        for init in ("kaiming", "xavier")
    }
    losses = {name: final(run) for name, run in runs.items()}
    first = {f"log10 dL/dW_1 of {name}": run.log10_wgrad_norm[:, 0, 0].round(2).tolist() for name, run in runs.items()}
    holds = typical(losses["kaiming"]) < 0.8 and typical(losses["xavier"]) > 2.2
    return Fact("ReLU, 30 layers: He's weights train (< 0.8), Xavier's stall (> 2.2)", losses | first, holds)


def t2() -> Fact:
    """Sigmoid by depth."""
    by = {
        f"L={d}": final(train(net(d, "sigmoid", "xavier_normal"), momentum(lr=0.1), 600)) for d in (1, 2, 3, 4, 5, 6, 8)
    }
    by["tanh L=5"] = final(train(net(5, "tanh", "xavier_normal"), momentum(lr=0.1), 600))
    holds = typical(by["L=3"]) < 0.2 and typical(by["L=6"]) > 2.2 and typical(by["tanh L=5"]) < 0.2
    return Fact("sigmoid, Xavier: 3 layers train (< 0.2), 6 are stuck (> 2.2), 5 of tanh train", by, holds)


def t5() -> Fact:
    """Batch norm needs a skip."""

    def run(depth: int, lr: float, **fields: Any) -> list[float]:
        return final(train(net(depth, "relu", "kaiming_normal", norm="batch", **fields), momentum(lr=lr), 300))

    rates = (1e-4, 1e-2, 1e-1)
    deep = {f"L=50, lr {lr}": run(50, lr) for lr in rates}
    short = {f"L=20, lr {lr}": run(20, lr) for lr in rates}
    skip = {f"L=50 with skips, lr {lr}": run(50, lr, skip="residual(order=linear)", block=2) for lr in rates}
    best = [min(map(typical, losses.values())) for losses in (deep, short, skip)]
    claim = "batch norm, ReLU: 50 layers fail at every rate (> 1.5), 20 train (< 0.6), and 50 with skips (< 0.2)"
    return Fact(claim, deep | short | skip, best[0] > 1.5 and best[1] < 0.6 and best[2] < 0.2)


def t7() -> Fact:
    """SELU."""
    losses = final(train(net(32, "selu", "lecun_normal"), momentum(lr=0.005), 300))
    return Fact("SELU, LeCun, 32 layers trains without a norm (< 0.5)", {"loss": losses}, typical(losses) < 0.5)


def t9() -> Fact:
    """Clipping."""
    spec = net(30, "relu", "mean_field(sigma_w=2)")
    free, clipped = (train(spec, momentum(lr=0.02), 400, clip=clip) for clip in (None, 1.0))
    bad = [where and (where.step, where.layer, where.tensor, where.phase) for where in free.first_bads]
    losses = final(clipped)
    measured = {
        "first bad": bad,
        "clipped": losses,
        "steps that were clipped": (clipped.clip_coef < 1).mean(axis=1).tolist(),
    }
    holds = set(free.stopped_by) == {"non_finite"} and set(clipped.stopped_by) == {"steps"}
    claim = "ReLU, sigma_w^2 = 4, 30 layers: not finite at the second step; with clipping at norm 1 finite to the end"
    return Fact(claim, measured, holds)


def p1() -> Fact:
    """Trainability."""

    def run(square: float, depth: int) -> list[float]:
        init = f"mean_field(sigma_w={math.sqrt(square)}, sigma_b={math.sqrt(0.05)})"
        return final(train(net(depth, "tanh", init), momentum(lr=0.005), 250))

    by = {(s, depth): run(s, depth) for s in (1.0, 1.5, 1.7) for depth in (5, 10, 20, 40, 80)}
    low = typical(by[1.5, 40]) < 0.8 and typical(by[1.0, 10]) < 0.4
    holds = low and typical(by[1.5, 80]) > 2.2 and typical(by[1.0, 40]) > 1.5
    measured = {f"sigma_w^2={s}, L={depth}": losses for (s, depth), losses in by.items()}
    claim = "tanh: sigma_w^2 1.5 trains 40 layers (< 0.8) and not 80 (> 2.2), 1.0 trains 10 (< 0.4) and not 40 (> 1.5)"
    return Fact(claim, measured, holds)


def p2() -> Fact:
    """The fractal of two rates."""
    rates = np.geomspace(1, 1e5, 128), np.geomspace(5, 100, 128)
    found, again = (vg.rate_fractal(*rates, threads=threads) for threads in (2, 1))
    measured = {
        "dimension of the boundary": found.dimension,
        "share that converges": float(found.converged.mean()),
        "one thread finds the same bits": bool(np.array_equal(found.measure, again.measure)),
    }
    holds = 1.1 < found.dimension < 2 and measured["one thread finds the same bits"]
    claim = "tanh, one hidden layer, rate by rate, 128 x 128: the boundary of those that train is between line and area"
    return Fact(claim, measured, bool(holds))


def p5() -> Fact:
    """The plateau of deep sigmoid nets."""
    losses = final(train(net(6, "sigmoid", "xavier_normal"), vg.SGD(lr=0.1), 600))
    return Fact("sigmoid, 6 layers, SGD: stays at the blind guess (> 2.29)", {"loss": losses}, typical(losses) > 2.29)


def d1() -> Fact:
    """The edge of stability."""
    x, y, *_ = digits()
    spec = vg.MLP(depth=2, width=48, in_features=64, out_features=10, activation="tanh", init="lecun_normal")

    def run(lr: float, steps: int, beta: float = 0.0) -> vg.Run:
        settings = {"loss": "half_mse", "optimizer": vg.SGD(lr=lr, momentum=beta), "batch": 500, "monitor": []}
        return vg.train(spec, x[:500], np.eye(10)[y[:500]], steps=steps, sharpness=25, dtype="float64", **settings)

    edge, large, heavy = run(0.1, 3000), run(0.3, 200), run(0.05, 1000, 0.9)
    ratio = edge.sharpness[0] * 0.1 / 2
    late = ratio[len(ratio) // 2 :]
    measured = {
        "sharpness, from the first step, every 25": edge.sharpness[0, :12].round(1).tolist(),
        "second half, ratio to 2/lr: median, least, most": [float(f(late)) for f in (np.median, np.min, np.max)],
        "loss: first, middle, last": edge.loss[0, [0, 1500, -1]].round(5).tolist(),
        "lr 0.3": [large.stopped_by[0], large.first_bad],
        "lr 0.05, momentum 0.9, last sharpness of 76": float(heavy.sharpness[0, -1]),
    }
    holds = 0.97 < np.median(late) < 1.03 and edge.loss[0, -1] < edge.loss[0, 1500] and large.first_bad is not None
    claim = (
        "tanh, full batch: sharpness rises to 2/lr and stays (median of the second half within 3 %); lr 0.3 diverges"
    )
    return Fact(claim, measured, bool(holds and heavy.sharpness[0, -1] < 38))


def d2() -> Fact:
    """Momentum on a quadratic."""

    def last(share: float, beta: float) -> float:
        return quadratic([[1.0]], [1.0], vg.SGD(lr=share * (2 + 2 * beta), momentum=beta), 2000)[0]

    by = {f"beta {b}, lr a = {s} (2 + 2 beta)": abs(last(s, b)) for b in (0.0, 0.5, 0.9, 0.99) for s in (0.999, 1.001)}
    holds = all((w > 1) == ("1.001" in name) for name, w in by.items())
    return Fact("momentum on a quadratic of curvature a: shrinks if lr a < 2 + 2 beta, else grows", by, holds)


def quadratic(rows: Any, start: Any, optimizer: str, steps: int) -> list[float]:
    """Where an optimiser is after so many steps on the mean over rows of (w . row)^2 / 2, in float64."""
    rows, start = np.array(rows), np.array([start])
    spec = vg.MLP(depth=1, width=1, in_features=rows.shape[1], activation="linear")
    network = vg.Network.from_state_dict(spec, {"layers.0.weight": start, "layers.0.bias": np.zeros(1)})
    settings = {"loss": "half_mse", "frozen": "layers.0.bias", "monitor": []}
    run = vg.train(network, rows, np.zeros(len(rows)), optimizer=optimizer, steps=steps, **settings)
    return run.network.state_dict()["layers.0.weight"][0].tolist()


#: Third iterates of torch's optimisers on (w1^2 + 10 w2^2) / 2 from (1, -2).
ITERATES: dict[str, tuple[float, float]] = {
    "sgd(lr=0.05)": (0.857375, -0.25),
    "sgd(lr=0.05, momentum=0.9)": (0.731375, 1.46),
    "sgd(lr=0.05, momentum=0.9, nesterov=true)": (0.631462625, 0.80975),
    "sgd(lr=0.05, momentum=0.9, dampening=0.9)": (0.85097375, 0.8075),
    "sgd(lr=0.05, momentum=0.9, weight_decay=0.1)": (0.705803625, 1.47543525),
    "adam(lr=0.1)": (0.701586274504, -1.70062339143),
    "adam(lr=0.1, weight_decay=0.1)": (0.701586274221, -1.70062339143),
    "adam(lr=0.1, eps=0.1)": (0.729687567828, -1.70214670274),
    "adamw(lr=0.1, weight_decay=0.1)": (0.675101223189, -1.64436868295),
    "rmsprop(lr=0.1)": (5.0885e-12, -0.309687370167),
    "rmsprop(lr=0.1, momentum=0.9)": (-1.03732721286, 1.40754203577),
    "rmsprop(lr=0.1, eps=1)": (0.757370448655, -0.676584235015),
    "adagrad(lr=0.1)": (0.780456181366, -1.77582151501),
    "adagrad(lr=0.1, initial_accumulator=0.1, eps=1e-7)": (0.787512784166, -1.77584059027),
    "lion(lr=0.1)": (0.7, -1.7),
}


def n1() -> Fact:
    """Digits of optimisers."""
    rows = [[math.sqrt(2), 0], [0, math.sqrt(20)]]
    off = {
        name: float(np.abs(np.subtract(quadratic(rows, [1.0, -2.0], name, 3), iterate)).max())
        for name, iterate in ITERATES.items()
    }
    return Fact("every optimiser takes torch's third iterate within 1e-10", off, max(off.values()) < 1e-10)


def d3() -> Fact:
    """What rescues a deep sigmoid net."""
    boost = vg.Clip(max_norm=None, min_norm=1.0)
    ways: dict[str, tuple[str, Any]] = {
        "SGD 0.1": (momentum(lr=0.1), None),
        "Adam 1e-3": (vg.Adam(lr=1e-3), None),
        "Adam 1e-2": (vg.Adam(lr=1e-2), None),
        "boost, SGD 0.03": (momentum(lr=0.03), boost),
    }
    by = {
        f"L={depth}: {name}": final(train(net(depth, "sigmoid", "xavier_normal"), optimizer, 600, clip=clip))
        for depth in (6, 10, 20)
        for name, (optimizer, clip) in ways.items()
    }
    sgd, boosted, adam = (typical(by[f"L=6: {name}"]) for name in ("SGD 0.1", "boost, SGD 0.03", "Adam 1e-2"))
    holds = sgd > 2.25 and boosted < 0.6 and adam < 0.5
    return Fact("sigmoid, 6 layers: SGD is stuck (> 2.25), boosting (< 0.6) and Adam 1e-2 (< 0.5) train", by, holds)


def p3() -> Fact:
    """ReZero."""
    spec = vg.MLP(depth=1000, width=32, in_features=64, out_features=10, skip="rezero")
    started = time.perf_counter()
    run = train(spec, vg.Adagrad(lr=0.01), 60, batch=100, seeds=2)
    seconds = time.perf_counter() - started
    accuracy = [run.evaluate(*digits()[2:], seed=seed)[1] for seed in run.seeds.tolist()]
    ends = {"first loss": run.loss[:, 0].tolist(), "last loss": run.loss[:, -1].tolist(), "test accuracy": accuracy}
    holds = max(run.loss[:, -1]) < 0.5 and min(accuracy) > 0.85
    claim = "ReZero, 1000 layers, width 32: below 0.5 in 60 steps of Adagrad, and right for 85 % of the test rows"
    return Fact(claim, ends | {"seconds, 2 seeds": seconds}, bool(holds))


FACTS: dict[str, Callable[[], Fact]] = {
    "T1": t1,
    "T2": t2,
    "T5": t5,
    "T7": t7,
    "T9": t9,
    "P1": p1,
    "P2": p2,
    "P3": p3,
    "P5": p5,
    "D1": d1,
    "D2": d2,
    "D3": d3,
    "optimisers": n1,
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
    sys.exit(not all(record[name]["holds"] for name in arguments.only))


if __name__ == "__main__":
    main()
