"""How often a verdict is wrong: nets of many kinds drawn at random, judged by vgcore and, if asked, by other tools.

    python benches/false_alarms.py [--nets 1000] [--seed 0] [--others 0] [--truths FILE.json] [--out FILE.json]

Healthy and sick are defined by measurement alone, without any rule: float64, 32 random nets of each recipe on data of
their own, and the median over them of what a signal does from end to end, in powers of ten.

- Backward: the norm of dL/dz of the first hidden layer over that of the last; in nets with skips, whose branches may be
  scaled or closed, of dL/dh of the stream. Sick where it moves 32-fold either way. A net whose signal is exactly 0, or
  moves no parameter of any hidden layer, has lost it. Behind a readout that starts at exactly 0, the net without it.
- Forward: the rms of z, or of the stream's h, from the first hidden layer to the last, beyond the entrance: where the
  second half of the layers changes less than the first, twice the second half. Sick where it moves 100-fold.

A net is sick if either is, or if most of its nets are not finite. It is called sick where the verdict is vanishing or
exploding. "Collapsed" and "symmetric" speak of samples and units, not of the size of a signal: they are counted apart.
Nets are drawn kind by kind in turn, as they fall: none is drawn again because it is hard. Those within 2-fold of a
limit are in every number, and have a row of their own.

Every judge sees other seeds than the truth: other weights, other normal samples, and other batches of 64 rows, one for
each run. Digits, one-hot rows and the columns of a table are the same rows for all. vgcore sees its usual 8 seeds in
float32, the other tools, on every N-th net, 3, a rule of theirs counting where at least half of them show it; they know
no forward signal, so they are scored on the backward one alone. With `--truths` what was measured is kept in a file, by
net, and what the file has is not measured again: delete it when the study changes. Ten minutes on two cores, two of
them vgcore's own.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import itertools
import json
import math
import platform
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import vgcore as vg
from vgcore.judge import foreign
from vgcore.judge.foreign.seen import see
from vgcore.measure import files
from vgcore.model.plan import Plan

Floats = NDArray[np.float64]
Fields = dict[str, Any]
Dice = random.Random

BACKWARD, FORWARD = 1.5, 2.0  # decades: 32- and 100-fold
NEAR = math.log10(2)
ROWS, BATCH, CLASSES, PIXELS = 1024, 64, 10, 64  # every run draws its batch of the rows
TRUTH_SEED, JUDGE_SEED = 1_000_000, 77

WIDTHS = (32, 48, 64, 96, 128, 192)
NARROW = (2, 3, 4, 6, 8, 12, 16)
ACTIVATIONS = (
    *("relu", "leaky_relu(0.1)", "elu", "selu", "gelu", "silu", "mish", "tanh", "sigmoid", "softplus", "softsign"),
    *("erf", "sin", "hardtanh", "linear", "relu6", "celu", "hardswish", "squareplus", "arctan", "abs", "prelu"),
)
SHRINKING = ("tanhshrink", "softshrink(0.1)", "hardshrink(0.1)")
GATED = ("crelu", "glu", "swiglu", "geglu")
INITS = (
    *("kaiming_normal", "kaiming_uniform", "xavier_normal", "xavier_uniform", "lecun_normal", "orthogonal"),
    *("torch_default", "critical", "orthogonal(gain=1.4)", "xavier_normal(gain=1.6667)", "lsuv"),
)
ORDERS = ("after", "linear", "post", "pre")
SCALES = (1.0, 0.5, 0.1, 0.02, "1/sqrt(L)")


def depth(dice: Dice, least: int = 1, most: int = 100) -> int:
    """Any size of depth alike, and the deeper of two."""
    return round(math.exp(max(dice.uniform(math.log(least), math.log(most)) for _ in range(2))))


def init(dice: Dice) -> str:
    """A usual init, or a scale of weights and biases that may be anything."""
    if dice.random() < 0.6:
        return f"mean_field({dice.uniform(0.4, 3.5):.2f}, {dice.choice([0, 0.1, 0.5])})"
    return dice.choice(INITS)


def normed(dice: Dice, *norms: str) -> Fields:
    """A normalisation before or after the activation."""
    return {"norm": dice.choice(norms or tuple(vg.NORMS)), "norm_position": dice.choice(["pre", "post"])}


def skipped(dice: Dice, *skips: str) -> Fields:
    """A skip of some order, over one or two layers, with branches at full size or less."""
    name = dice.choice(skips or tuple(vg.SKIPS))
    if name == "dense":
        return {"skip": name, "width": dice.choice([4, 8, 16, 32]), "depth": depth(dice, most=32)}
    block = dice.choice([1, 1, 2])
    found: Fields = {"skip": name, "block": block, "depth": block * depth(dice, most=100 // block)}
    if name == "highway":
        return found | {"skip": f"highway(gate_bias={dice.choice([-1, -2, -6])})"}
    if name in {"residual", "rezero"}:
        alpha = f", alpha={dice.choice([0, 0, 0.01, 1])}" if name == "rezero" else ""
        found["skip"] = f"{name}(order={dice.choice(ORDERS)}{alpha})"
    return found | {"branch_scale": dice.choice(SCALES)}


def pyramid(dice: Dice) -> list[int]:
    """From wide to narrow or back, by the same factor a layer."""
    steps, ends = depth(dice, least=2, most=40), (dice.choice([128, 256, 512]), dice.choice([2, 4, 8, 16]))
    widths = np.geomspace(*ends, steps).round().astype(int).tolist()
    return widths if dice.random() < 0.7 else widths[::-1]


def bottleneck(dice: Dice) -> list[int]:
    """One width but for a narrow layer in the middle."""
    side = depth(dice, most=20)
    wide = [dice.choice(WIDTHS)] * side
    return [*wide, dice.choice(NARROW), *wide]


def coder(dice: Dice) -> list[int]:
    """Narrower and wider again, as an autoencoder."""
    down = np.geomspace(dice.choice([64, 128, 256]), dice.choice([2, 4, 8]), depth(dice, least=2, most=20))
    half = down.round().astype(int).tolist()
    return [*half, *half[-2::-1]]


def uneven(dice: Dice) -> list[int]:
    """Any width in any layer."""
    return [round(math.exp(dice.uniform(math.log(2), math.log(256)))) for _ in range(depth(dice, least=2, most=60))]


def varied(widths: Sequence[int]) -> Fields:
    """Widths that differ go with no skip that adds."""
    return {"depth": len(widths), "width": list(widths), "skip": None, "block": 1, "branch_scale": 1.0}


BARE: Fields = {"norm": None, "skip": None, "block": 1, "branch_scale": 1.0}
PLAIN: Fields = BARE | {"data": "normal", "in_features": None, "out_features": None, "loss": None}

#: What makes a net one of a kind; all else is drawn from the mixture.
KINDS: dict[str, Callable[[Dice], Fields]] = {
    "plain": lambda _: PLAIN,
    "mixture": lambda _: {},
    "shallow": lambda dice: BARE | {"depth": dice.randint(1, 4)},
    "in_features": lambda dice: {"in_features": dice.choice([1, 2, 8, 300, 784]), "data": "normal"},
    "pyramid": lambda dice: varied(pyramid(dice)),
    "bottleneck": lambda dice: varied(bottleneck(dice)),
    "encoder-decoder": lambda dice: varied(coder(dice)),
    "widths at random": lambda dice: varied(uneven(dice)),
    "readout of 1": lambda dice: BARE | {"out_features": 1, "loss": dice.choice(["mse", None])},
    "readout of 10": lambda _: BARE | {"out_features": 10},
    "digits 0..16": lambda _: {"data": "digits"},
    "digits 0..1": lambda _: {"data": "digits/16"},
    "digits 0..255": lambda _: {"data": "digits*16"},
    "one-hot": lambda dice: {"data": "one-hot", "in_features": dice.choice([8, 32, 100])},
    "regression": lambda dice: {
        "data": "columns",
        "in_features": dice.choice([3, 8, 20]),
        "out_features": 1,
        "loss": "mse",
    },
    "cross_entropy": lambda _: {"loss": "cross_entropy", "out_features": CLASSES},
    "mse": lambda dice: {"loss": "mse", "out_features": dice.choice([1, 10])},
    **{
        f"residual {order}": lambda dice, order=order: skipped(dice, "residual") | {"skip": f"residual(order={order})"}
        for order in ORDERS
    },
    **{
        f"branch_scale {scale}": lambda dice, scale=scale: skipped(dice, "residual") | {"branch_scale": scale}
        for scale in SCALES[1:]
    },
    "rezero 0": lambda dice: skipped(dice, "rezero") | {"skip": f"rezero(order={dice.choice(ORDERS)})"},
    "rezero 0.01": lambda dice: skipped(dice, "rezero") | {"skip": f"rezero(order={dice.choice(ORDERS)}, alpha=0.01)"},
    "highway -2": lambda dice: skipped(dice, "highway") | {"skip": "highway(gate_bias=-2)"},
    "highway -6": lambda dice: skipped(dice, "highway") | {"skip": "highway(gate_bias=-6)"},
    "fixup": lambda dice: (
        skipped(dice, "residual")
        | {"block": 2, "depth": 2 * depth(dice, most=50), "init": "fixup", "out_features": dice.choice([1, 10])}
    ),
    "dense": lambda dice: skipped(dice, "dense") | {"block": 1, "branch_scale": 1.0},
    **{f"{norm} norm": lambda dice, norm=norm: BARE | normed(dice, norm) for norm in vg.NORMS},
    "norm and skip": lambda dice: normed(dice) | skipped(dice),
    "batch norm of few": lambda dice: normed(dice, "batch") | {"batch": dice.choice([2, 4, 8])},
    "tied": lambda _: {"tied": True, "in_features": None, "data": "normal"},
    "tied, an input a step": lambda dice: (
        BARE | {"tied": True, "inputs": "every", "in_features": dice.choice([1, 4, 32]), "data": "normal"}
    ),
    "narrow": lambda dice: {"width": dice.choice(NARROW)},
    "narrow, std 1": lambda dice: {"width": dice.choice(NARROW), "init": f"normal(std={dice.choice([0.3, 1, 2])})"},
    "prelu": lambda dice: {"activation": f"prelu({dice.choice([0.05, 0.25, 0.5])})"},
    "shrinking": lambda dice: {"activation": dice.choice(SHRINKING)},
    "gated": lambda dice: {"activation": dice.choice(GATED)},
}


def mixture(dice: Dice) -> Fields:
    """A net with a little of everything, most of it plain."""
    fields = PLAIN | {"depth": depth(dice), "width": dice.choice(WIDTHS), "batch": BATCH}
    fields |= {"activation": dice.choice(ACTIVATIONS), "init": init(dice)}
    if dice.random() < 0.25:
        fields |= normed(dice)
    if dice.random() < 0.25:
        fields |= skipped(dice)
    if dice.random() < 0.25:
        fields |= {"data": dice.choice(tuple(DATA)), "in_features": dice.choice([8, 64])}
    fields["out_features"] = dice.choice([None, 1, CLASSES])
    fields["loss"] = dice.choice([None, "mse", "cross_entropy"]) if fields["out_features"] else None
    return fields


def pixels(rng: np.random.Generator, columns: int) -> Floats:
    """Digits as they come, 0 to 16."""
    return rng.permutation(vg.data.digits(standardize=False)[0])[:ROWS, :columns]


def tabled(rng: np.random.Generator, columns: int) -> Floats:
    """Columns of a table in units of their own: each has its mean and its scale, over six powers of ten."""
    units = np.random.default_rng(columns)  # of the recipe: the same for all samples
    means, scales = units.standard_normal(columns), 10 ** units.uniform(-3, 3, columns)
    return (means + rng.standard_normal((ROWS, columns))) * scales


DATA: dict[str, Callable[[np.random.Generator, int], Floats]] = {
    "normal": lambda rng, columns: rng.standard_normal((ROWS, columns)),
    "digits": pixels,
    "digits/16": lambda rng, columns: pixels(rng, columns) / 16,
    "digits*16": lambda rng, columns: pixels(rng, columns) * 16,
    "one-hot": lambda rng, columns: np.eye(columns)[rng.integers(0, columns, ROWS)],
    "columns": tabled,
}


#: What a net need not say of itself; no net is so small.
USUAL = vg.MLP(depth=1, width=1).to_dict() | {"depth": None, "width": None}


@dataclass(frozen=True)
class Case:
    """A net, and what it is given."""

    kind: str
    spec: vg.MLP
    data: str
    loss: str | None
    batch: int

    def task(self, seed: int) -> Fields:
        """Samples, targets and loss, as `probe` takes them; whoever has data has the same ones for every seed."""
        rng = np.random.default_rng(seed if self.data == "normal" else 0)
        columns = Plan.of(self.spec).columns
        x = DATA[self.data](rng, columns)
        if self.spec.inputs == "every":
            x = x.reshape(ROWS, self.spec.depth, -1)
        given = {"x": x, "batch": self.batch}
        if self.loss == "cross_entropy":
            return given | {"loss": self.loss, "y": rng.integers(0, self.spec.out_features, ROWS)}
        if self.loss == "mse":
            return given | {"loss": self.loss, "y": rng.standard_normal((ROWS, self.spec.out_features))}
        return given

    def __str__(self) -> str:
        told = [(name, value) for name, value in self.spec.to_dict().items() if value != USUAL[name]]
        fields = ", ".join(f"{name}={value!r}" for name, value in told)
        return f"MLP({fields}) on {self.batch} {self.data}, loss {self.loss}"


def case(kind: str, dice: Dice) -> Case | None:
    """A random net of a kind, or None where the draw is no net."""
    fields = mixture(dice) | KINDS[kind](dice)
    if str(fields["data"]).startswith("digits"):
        fields["in_features"] = PIXELS
    if fields["loss"] == "cross_entropy":
        fields["out_features"] = CLASSES
    data, loss, batch = (fields.pop(name) for name in ("data", "loss", "batch"))
    try:
        return Case(kind, vg.MLP(**fields), data, loss if fields["out_features"] else None, batch)
    except ValueError:
        return None


def cases(count: int, seed: int) -> Iterator[Case]:
    """So many nets, kind after kind."""
    dice = Dice(seed)
    for kind in itertools.islice(itertools.cycle(KINDS), count):
        yield next(net for net in iter(lambda kind=kind: case(kind, dice), 0) if net is not None)  # type: ignore[misc]


@dataclass(frozen=True)
class Truth:
    """Decades by which the signals of a typical net change from end to end; inf where it is not finite, -inf lost."""

    backward: float
    forward: float

    @property
    def sick(self) -> dict[str, bool]:
        """By either signal, and by any."""
        way = {"backward": abs(self.backward) >= BACKWARD, "forward": abs(self.forward) >= FORWARD}
        return way | {"any": any(way.values())}

    @property
    def near(self) -> bool:
        """Within 2-fold of a limit, and nothing else decides."""
        ways = ((self.backward, BACKWARD), (self.forward, FORWARD))
        return any(abs(abs(v) - limit) < NEAR for v, limit in ways) and all(abs(v) < limit + NEAR for v, limit in ways)

    @property
    def word(self) -> str:
        """What a right verdict would be."""
        if not self.sick["any"]:
            return "healthy"
        return "exploding" if (self.backward if self.sick["backward"] else self.forward) > 0 else "vanishing"


@np.errstate(invalid="ignore")  # -inf - -inf: what is lost is known apart
def truth(case: Case) -> Truth:
    """Measure a net without any rule."""
    spec, given = case.spec, case.task(TRUTH_SEED)
    measured = vg.probe(spec, seeds=32, seed=TRUTH_SEED, dtype="float64", **given)
    readout, back = Plan.of(spec).readout, measured
    if readout is not None and readout.weight_mean == readout.weight_variance == 0:
        bare = {"x": given["x"], "batch": case.batch}
        back = vg.probe(spec.replace(out_features=None), seeds=32, seed=TRUTH_SEED, dtype="float64", **bare)
    return Truth(backward(back), forward(measured))


def backward(cell: vg.Probe) -> float:
    """What the norm of the backward signal does from the last layer to the first."""
    layers, streams = Plan.of(cell.spec).layers, cell.spec.skip is not None
    units = [layer.output if streams else layer.width for layer in layers]
    norms = ends(cell.log10_dh_rms if streams else cell.log10_delta_rms, np.log10(units) / 2)
    learned = (cell.log10_wgrad_norm, cell.log10_bgrad_norm, cell.log10_gate_grad_norm)
    moves = np.any([np.isfinite(norm).any(axis=1) for norm in learned], axis=0)
    return median(cell, norms[:, 0] - norms[:, -1], lost=np.isneginf(norms[:, 0]) | ~moves)


def forward(cell: vg.Probe) -> float:
    """What the rms of the forward signal does from the first layer to the last, beyond the entrance."""
    sizes = ends(cell.log10_z_rms if cell.spec.skip is None else cell.log10_h_rms)
    steps, lost = sizes.shape[1] - 1, np.isneginf(sizes[:, -1])
    whole = median(cell, sizes[:, -1] - sizes[:, 0], lost=lost)
    if steps < 4:
        return whole
    half = median(cell, sizes[:, -1] - sizes[:, steps // 2], lost=lost)
    steady = half * steps / (steps - steps // 2)
    return 0.0 if whole * steady <= 0 else min(whole, steady, key=abs)


def ends(values: Floats, units: Floats | float = 0.0) -> Floats:
    """The layers at which a signal is: in a stream the ends of blocks, all others."""
    return (values + units)[:, ~np.isnan(values).all(axis=0)] if not np.isnan(values).all() else values


def median(cell: vg.Probe, change: Floats, *, lost: NDArray[np.bool_]) -> float:
    """Over the nets; those that are not finite have exploded, and lost is what arrives nowhere."""
    decades = np.where(cell.first_nonfinite >= 0, math.inf, np.where(lost, -math.inf, change))
    middle = float(np.median(decades))
    return math.inf if math.isnan(middle) else middle


@dataclass(frozen=True)
class Word:
    """What vgcore says of a net."""

    verdict: str
    ways: dict[str, bool]
    measured: dict[str, float]
    text: str


def judged(case: Case) -> Word:
    """The verdict of vgcore, and of which signals it speaks."""
    said = vg.diagnose(case.spec, seed=JUDGE_SEED, **case.task(JUDGE_SEED))
    e = said.evidence
    assert e is not None
    loud = {finding.rule for finding in said.findings if finding.severity != "info"}
    stopped = said.verdict == "exploding" and "non-finite" in said.conditions
    ways = {
        "any": said.verdict in {"vanishing", "exploding"},
        "backward": stopped or said.direction in {"backward", "both"},
        "forward": stopped or said.direction == "forward" or bool(loud & {"forward_vanishing", "forward_exploding"}),
    }
    seen = e.backward.runs[~np.isnan(e.backward.runs)]
    middle = float(np.median(seen)) if len(seen) else math.nan
    measured = {"backward": e.backward.rms, "median of the runs": middle, "forward": e.forward.rms}
    return Word(said.verdict, ways, measured, said.summary)


def others(case: Case) -> dict[str, str]:
    """The words of other tools: healthy, vanishing or exploding; and whether they report anything."""
    given = case.task(JUDGE_SEED)
    rows = slice(0, case.batch)
    x, y = given["x"][rows], given["y"][rows] if "y" in given else None
    passes = []
    for seed in range(JUDGE_SEED, JUDGE_SEED + 3):
        net = case.spec.init(seed=seed, x=x if case.spec.init == "lsuv" else None)
        passes.append(see(net, x, y=y, loss=case.loss, seed=seed))
    words = {}
    for preset in foreign.PRESETS:
        found = foreign.fired(preset, passes)
        words[preset] = foreign.of_gradients(found)
        words[f"{preset}, any report"] = "sick" if foreign.flagged(found) else "healthy"
    return words


def score(flagged: Iterable[bool], sick: Iterable[bool]) -> dict[str, Any]:
    """Precision and recall of a judge, and its errors."""
    counts = collections.Counter(zip(flagged, sick, strict=True))
    right, false, missed = (counts[pair] for pair in ((True, True), (True, False), (False, True)))
    return {
        "nets": counts.total(),
        "sick": right + missed,
        "precision": right / (right + false) if right + false else math.nan,
        "recall": right / (right + missed) if right + missed else math.nan,
        "false_alarms": false,
        "missed": missed,
    }


def show(title: str, rows: dict[str, dict[str, Any]]) -> None:
    """A table of scores."""
    print(f"\n{title:28s}  nets  sick  precision  recall  false alarms  missed")
    for name, row in rows.items():
        print(
            f"{name:28s} {row['nets']:5d} {row['sick']:5d}  {row['precision']:9.3f} {row['recall']:7.3f}"
            f" {row['false_alarms']:13d} {row['missed']:7d}"
        )


def truths(drawn: Sequence[Case], path: Path | None) -> list[Truth]:
    """Of all nets; those that a file has are not measured again."""
    known = json.loads(path.read_text(encoding="utf-8")) if path and path.exists() else {}
    for net in progress("truth", drawn):
        if str(net) not in known:
            known[str(net)] = dataclasses.astuple(truth(net))
    if path:
        files.save_text(json.dumps(known, indent=0), path)
    return [Truth(*known[str(net)]) for net in drawn]


def progress(what: str, drawn: Sequence[Case]) -> Iterator[Case]:
    """Each net in turn, with a line for every fiftieth."""
    started = time.perf_counter()
    for done, net in enumerate(drawn, 1):
        yield net
        if done % 50 == 0 or done == len(drawn):
            print(f"{what}: {done} of {len(drawn)}, {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)


def table(drawn: Sequence[Case], true: Sequence[Truth], words: Sequence[Word]) -> dict[str, dict[str, dict[str, Any]]]:
    """Scores of vgcore: all in all, by signal and by distance from a limit; and by kind."""

    def of(chosen: Iterable[bool], way: str = "any") -> dict[str, Any]:
        kept = [(w.ways[way], t.sick[way]) for w, t, c in zip(words, true, chosen, strict=True) if c]
        return score(*(zip(*kept, strict=True) if kept else ((), ())))

    every = [True] * len(drawn)
    total = {
        "all": of(every),
        "within 2-fold of a limit": of(t.near for t in true),
        "others": of(not t.near for t in true),
    }
    total |= {f"{way} alone": of(every, way) for way in ("backward", "forward")}
    return {"total": total, "kinds": {kind: of(net.kind == kind for net in drawn) for kind in KINDS}}


def mistakes(drawn: Sequence[Case], true: Sequence[Truth], words: Sequence[Word]) -> list[Fields]:
    """Every net that vgcore calls what it is not, false alarms first, kind by kind."""
    found = [
        {
            "error": "missed" if t.sick["any"] else "false alarm",
            "kind": net.kind,
            "near": t.near,
            "true": dataclasses.asdict(t),
            "measured": w.measured,
            "said": w.text,
            "net": str(net),
        }
        for net, t, w in zip(drawn, true, words, strict=True)
        if w.ways["any"] != t.sick["any"]
    ]
    return sorted(found, key=lambda each: (each["error"], list(KINDS).index(each["kind"])))


def tell(errors: Sequence[Fields]) -> None:
    """Print errors."""
    print("\nvgcore's errors, in decades:")
    for each in errors:
        where = f"{each['error']}, {each['kind']}{', near a limit' * each['near']}"
        true, measured = (", ".join(f"{k} {v:.2f}" for k, v in each[of].items()) for of in ("true", "measured"))
        print(f"  {where}\n    true: {true}; measured: {measured}\n    {each['said']}\n    {each['net']}")


def rivals(drawn: Sequence[Case], true: Sequence[Truth], words: Sequence[Word]) -> dict[str, dict[str, Any]]:
    """Scores of all judges on the backward signal alone."""
    heard = [others(net) for net in progress("others", drawn)]
    sick = [t.sick["backward"] for t in true]
    scores = {"vgcore": score((w.ways["backward"] for w in words), sick)}
    return scores | {judge: score((each[judge] != "healthy" for each in heard), sick) for judge in heard[0]}


def main() -> None:
    """Draw, measure, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", type=int, default=1000, help="how many, of all kinds in turn")
    parser.add_argument("--seed", type=int, default=0, help="of the draw of nets")
    parser.add_argument("--others", type=int, default=0, metavar="N", help="other tools judge every N-th net; 0: none")
    parser.add_argument("--truths", type=Path, help="a .json file of what was measured, read if it is there")
    parser.add_argument("--out", type=Path, help="a .json file for the scores and the errors")
    arguments = parser.parse_args()

    drawn = list(cases(arguments.nets, arguments.seed))
    true = truths(drawn, arguments.truths)
    words = [judged(net) for net in progress("vgcore", drawn)]
    scores = table(drawn, true, words)
    show("vgcore", scores["total"])
    show("kind", {kind: row for kind, row in scores["kinds"].items() if row["nets"]})
    signed = sum(w.verdict == t.word for w, t in zip(words, true, strict=True) if w.ways["any"] and t.sick["any"])
    print(f"\n{signed} rightly called sick, and in the right direction")
    apart = collections.Counter((w.verdict, t.sick["any"]) for w, t in zip(words, true, strict=True))
    same = {word: {"healthy": apart[word, False], "missed": apart[word, True]} for word in ("collapsed", "symmetric")}
    for word, row in same.items():
        print(f"{word}: {row['healthy']} nets whose signals are healthy, {row['missed']} whose are not")
    errors = mistakes(drawn, true, words)
    tell(errors)
    beside: dict[str, dict[str, Any]] = {}
    if arguments.others:
        beside = rivals(*(each[:: arguments.others] for each in (drawn, true, words)))
        show("backward", beside)
    if arguments.out:
        record = {
            "machine": {"system": platform.platform(), "vgcore": vg.build_info()},
            "arguments": {"nets": arguments.nets, "seed": arguments.seed, "others": arguments.others},
            "right_direction": signed,
            "apart": same,
            "vgcore": scores,
            "others": beside,
            "errors": errors,
        }
        files.save_text(json.dumps(record, indent=1), arguments.out)


if __name__ == "__main__":
    main()
