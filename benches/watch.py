"""`vg.watch` and `vg.measure`: parity with vgcore's own backward pass, six verdicts, and what a sampled step costs.

    python benches/watch.py [--json FILE] [--rounds N]

Without torch it says so and ends. All runs on one thread. What a sampled step costs is by minima of processor times.
What a watch costs is timed over whole loops of training: several copies of one net, each of which takes the same 400
steps, take turns of 5 steps, in an order that rotates. One copy has a watch, two have none, and the ratio of these two
says what the clock can tell. Of each round there is one ratio; told is their median.
"""

import argparse
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import vgcore as vg
from vgcore.measure import files
from vgcore.shell import bench

try:
    import torch
    from torch import nn
except ImportError:
    print("watch: torch is not installed; pip install torch")
    sys.exit()

SMOKE = os.environ.get("VGCORE_BENCH") == "smoke"
SEEDS, STEPS_TIMED = (2, 2) if SMOKE else (8, 30)
EVERY, STEPS, TURN = (2, 4, 2) if SMOKE else (100, 400, 5)
#: What a watch may cost at that, per cent: the target. Four steps are no loop, and have none.
MOST = math.inf if SMOKE else 1.0
#: What is claimed of each net: the verdict, and its factor a layer toward the input within so much.
CLAIMS = {
    "sigmoid CNN, 20 layers": ("vanishing", 0.138, 0.02),
    "ReLU CNN at torch's init, 20 layers": ("vanishing", 0.40, 0.03),
    "ReLU CNN at He's init, 20 layers": ("healthy", 0.96, 0.05),
    "ResNet-20, 9 blocks": ("healthy", 1.23, 0.05),
    "transformer, 24 blocks, norms before": ("healthy", 1.02, 0.02),
    "transformer, 24 blocks, norms behind": ("healthy", 0.99, 0.02),
    "the same, norms before, loss of the mean": ("healthy", 1.055, 0.02),
    "the same, norms behind, loss of the mean": ("healthy", 1.03, 0.02),
}


class Basic(nn.Module):
    """A block of a ResNet for small pictures."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(outside), nn.BatchNorm2d(outside)
        self.around: nn.Module = nn.Identity()
        if inside != outside:
            self.around = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))

    def forward(self, x: Any) -> Any:
        """Of pictures."""
        h = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(h)) + self.around(x))


class Transformer(nn.Module):
    """A classifier of words, or of sequences by the mean over their positions.

    The two differ in dL/dh. That of a mean is the same at all positions. Attention at init averages over positions, and
    hands on in full what they have in common; of what is theirs alone the average leaves one part in sqrt(positions).
    """

    def __init__(self, *, before: bool, mean: bool = False) -> None:
        super().__init__()
        self.mean = mean
        self.embed = nn.Embedding(50, 64)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(64, 4, 256, 0.0, batch_first=True, norm_first=before) for _ in range(24)
        )
        self.norm, self.head = nn.LayerNorm(64), nn.Linear(64, 10)

    def forward(self, x: Any) -> Any:
        """Of words, as their numbers."""
        h = self.embed(x)
        for block in self.blocks:
            h = block(h)
        h = self.norm(h)
        return self.head(h.mean(1)) if self.mean else self.head(h).flatten(0, 1)


def cnn(activation: type[nn.Module], *, he: bool = False) -> nn.Module:
    """Twenty convolutions of 16 channels."""
    parts: list[nn.Module] = []
    for i in range(20):
        conv = nn.Conv2d(16 if i else 3, 16, 3, padding=1)
        if he:
            nn.init.kaiming_normal_(conv.weight)
            nn.init.zeros_(conv.bias)
        parts += [conv, activation()]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))


def resnet() -> nn.Module:
    """ResNet-20 of He et al. (2016), with projections where the width changes."""
    stages, inside = [], 16
    for outside, stride in ((16, 1), (32, 2), (64, 2)):
        stages.append(
            nn.Sequential(*(Basic(inside if not i else outside, outside, 1 if i else stride) for i in range(3)))
        )
        inside = outside
    stem = (nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
    return nn.Sequential(*stem, *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


BUILDS: dict[str, Callable[[], nn.Module]] = dict(
    zip(
        CLAIMS,
        [
            lambda: cnn(nn.Sigmoid),
            lambda: cnn(nn.ReLU),
            lambda: cnn(nn.ReLU, he=True),
            resnet,
            lambda: Transformer(before=True),
            lambda: Transformer(before=False),
            lambda: Transformer(before=True, mean=True),
            lambda: Transformer(before=False, mean=True),
        ],
        strict=True,
    )
)


def verdicts() -> dict[str, Any]:
    """What fresh nets are said to be, at 16 samples of noise."""
    rng = np.random.default_rng(0)
    pictures, words = rng.standard_normal((16, 3, 16, 16)), rng.integers(0, 50, (16, 32))
    one, each, found = rng.integers(0, 10, 16), rng.integers(0, 10, words.size), {}
    for name, build in BUILDS.items():
        x = words if "norms" in name else pictures
        y = each if "transformer" in name else one
        measured = vg.measure(build, x, y, "cross_entropy", seeds=SEEDS)
        backward = measured.trace.columns["log10_backward"]
        decades = float((backward[:, 0] - backward[:, -1]).mean())
        factor = 10 ** (decades / (measured.trace.depth - 1))
        verdict = vg.diagnose(measured).verdict
        word, expected, within = CLAIMS[name]
        holds = verdict == word and abs(factor - expected) <= within
        found[name] = {"verdict": verdict, "factor": factor, "decades": decades, "holds": holds}
        print(
            f"{name:<42} {verdict:<10} x{factor:.3f} a layer, {decades:+.2f} decades: {'holds' if holds else 'FAILS'}"
        )
    return found


def parity() -> float:
    """The largest difference in log10 of dL/dz to vgcore's own backward pass: tanh, 40 layers of 64."""
    spec = vg.MLP(depth=40, width=64, in_features=64, out_features=10, activation="tanh", init="xavier_normal")
    ours, model = spec.init(seed=0), nn.Sequential()
    state = {name: torch.tensor(value) for name, value in ours.state_dict().items()}
    for i in range(40):
        linear = nn.Linear(64, 64)
        linear.load_state_dict({part: state[f"layers.{i}.{part}"] for part in ("weight", "bias")})
        model.extend([linear, nn.Tanh()])
    readout = nn.Linear(64, 10)
    readout.load_state_dict({part: state[f"readout.{part}"] for part in ("weight", "bias")})
    model.append(readout)
    rng = np.random.default_rng(0)
    x, cotangent = (rng.standard_normal((32, count)).astype(np.float32) for count in (64, 10))
    with vg.watch(model) as w:
        model(torch.tensor(x)).backward(torch.tensor(cotangent))
    gradients = ours.backward(x, cotangent).preactivations
    norms = [np.sqrt(np.square(each, dtype=float).sum(axis=1).mean()) for each in gradients]
    return float(np.abs(w.trace.columns["log10_backward"][0] - np.log10(norms)).max())


@contextmanager
def counted() -> Iterator[list[str]]:
    """The names of calls that wait for a device."""
    calls: list[str] = []
    plain = {name: getattr(torch.Tensor, name) for name in ("tolist", "item", "cpu", "numpy", "__float__", "__bool__")}
    for name, call in plain.items():
        setattr(torch.Tensor, name, lambda *args, name=name, call=call: (calls.append(name), call(*args))[1])
    try:
        yield calls
    finally:
        for name, call in plain.items():
            setattr(torch.Tensor, name, call)


def mlp() -> nn.Module:
    """Fifty layers of 256."""
    return nn.Sequential(*(part for _ in range(50) for part in (nn.Linear(256, 256), nn.ReLU())))


def costs() -> dict[str, float]:
    """Of a sampled step, and of those between: 50 layers of 256, 256 samples."""
    model, x = mlp(), torch.randn(256, 256)

    def step() -> float:
        start = time.process_time()
        model.zero_grad()
        model(x).square().mean().backward()
        return time.process_time() - start

    step()
    found: dict[str, float] = {}
    for layers in ("auto", "all"):
        plain, sampled, between = [], [], []
        for _ in range(STEPS_TIMED):
            plain.append(step())
            with vg.watch(model, every=EVERY, layers=layers):
                sampled.append(step())
                between.append(step())
        least = min(plain)
        found[f"{layers}: a step, ms"] = 1e3 * least
        found[f"{layers}: a sampled step, times a step"] = min(sampled) / least
        found[f"{layers}: a step between, times a step"] = min(between) / least
    with counted() as calls, vg.watch(model, every=1) as w:
        step()
        step()
    found["waits for the device a sampled step"] = len(calls) / w.history.runs
    # What a call costs that is not sampled, where nothing else takes time.
    small, one, count = nn.Sequential(nn.Linear(1, 1)), torch.ones(1, 1), 200 if SMOKE else 20_000

    def calls_of_small() -> float:
        start = time.process_time()
        for _ in range(count):
            small(one)
        return (time.process_time() - start) / count * 1e6

    less = min(calls_of_small() for _ in range(3))
    with vg.watch(small, every=10**6, layers=["0"]):
        small(one).sum().backward()  # the step that is sampled
        found["a call between, microseconds more"] = min(calls_of_small() for _ in range(3)) - less
    return found


class Loop:
    """A training of its own, timed."""

    def __init__(self, build: Callable[[], nn.Module], x: Any, *, watched: bool) -> None:
        torch.manual_seed(0)
        self.model, self.x = build(), x
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-3)
        self.processor = self.wall = 0.0
        self.watch = vg.watch(self.model, every=EVERY) if watched else None

    def turn(self) -> None:
        """Some steps more."""
        processor, wall = time.process_time(), time.perf_counter()
        for _ in range(TURN):
            self.optimizer.zero_grad()
            self.model(self.x).square().mean().backward()
            self.optimizer.step()
        self.processor += time.process_time() - processor
        self.wall += time.perf_counter() - wall


def loops(rounds: int) -> dict[str, Any]:
    """What a watch adds to whole loops of training, per cent, and by how much two loops without one differ."""
    nets: dict[str, tuple[Callable[[], nn.Module], Any]] = {
        "MLP, 50 layers of 256, 256 samples": (mlp, torch.randn(256, 256)),
        "ReLU CNN, 20 layers, 16 samples": (lambda: cnn(nn.ReLU, he=True), torch.randn(16, 3, 16, 16)),
    }
    found: dict[str, Any] = {}
    for name, (build, x) in nets.items():
        Loop(build, x, watched=True).turn()  # not timed: what is imported and found out once
        more: dict[str, list[float]] = {}
        for i in range(rounds):
            each = [Loop(build, x, watched=watched) for watched in (False, True, False)]
            for turn in range(STEPS // TURN):
                for k in range(3):
                    each[(turn + i + k) % 3].turn()
            plain, watched, again = each
            assert watched.watch is not None
            assert watched.watch.history.steps == tuple(range(0, STEPS, EVERY))
            watched.watch.close()
            for clock in ("processor", "wall"):
                # Of two loops without, their mean, so that no order of the three is better than another.
                first, second = getattr(plain, clock), getattr(again, clock)
                ratio = 2 * getattr(watched, clock) / (first + second)
                more.setdefault(f"watched, {clock}", []).append(100 * (ratio - 1))
                more.setdefault(f"not watched, {clock}", []).append(100 * (second / first - 1))
        told = {key: {"median": statistics.median(each), "rounds": each} for key, each in more.items()}
        holds = told["watched, processor"]["median"] < MOST
        found[name] = {**told, "load": os.getloadavg()[0], "holds": holds}
        for key, figures in told.items():
            print(f"{name}: {key:<22} {figures['median']:+.2f} % ({min(more[key]):+.2f} to {max(more[key]):+.2f})")
        print(f"{name}: under {MOST:g} % at every={EVERY}: {'holds' if holds else 'FAILS'}")
    return found


def main() -> None:
    """Print all, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write a record")
    parser.add_argument("--rounds", type=int, default=1 if SMOKE else 5, metavar="N", help="of loops of training")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    counts = {"seeds": SEEDS, "steps timed": STEPS_TIMED, "rounds": arguments.rounds, "steps": STEPS, "every": EVERY}
    record: dict[str, Any] = {"facts": bench.facts(), "arguments": counts}
    record["parity, log10"] = parity()
    print(f"largest difference to vgcore's backward pass: {record['parity, log10']:.1e} in log10")
    record["verdicts"] = verdicts()
    record["costs"] = costs()
    for name, value in record["costs"].items():
        print(f"{name:<45} {value:.3f}")
    record["loops"] = loops(arguments.rounds)
    if arguments.json:
        files.save_text(json.dumps(record, indent=1) + "\n", arguments.json)


if __name__ == "__main__":
    main()
