"""What to change, each change run: `advise` -> `Advised`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike

from vgcore import reference
from vgcore.diagnose import Diagnosis, judge
from vgcore.gain import calculate_gain
from vgcore.probe import Probe, measure
from vgcore.spec import FIELDS, MLP, Init, Loss


@dataclass(frozen=True, eq=False)
class Advice:
    """One change, with the measurement before and after it.

    Attributes:
        spec: The changed net.
        change: What is different, as `spec.replace` takes it.
        before: The diagnosis of the net as it was.
        after: The diagnosis of the changed net, measured on the same seeds and data.
    """

    spec: MLP
    change: str
    before: Diagnosis
    after: Diagnosis

    @property
    def cures(self) -> bool:
        """Whether the changed net is healthy and nothing that counts holds beside it."""
        return self.after.word == "healthy"

    def to_dict(self) -> dict[str, Any]:
        """As plain values, with the changed spec whole."""
        return {"change": self.change, "cures": self.cures, "after": self.after.to_dict()}

    def __repr__(self) -> str:
        return f"Advice({self.change!r}, {self.before.word!r} -> {self.after.word!r})"


@dataclass(frozen=True, eq=False)
class Advised(Sequence[Advice]):
    """Changes, the best first; empty where nothing that counts was found or nothing helped.

    Attributes:
        before: The diagnosis of the net as it was.
        items: What was run and helped.
        tried: How many nets were run.
    """

    before: Diagnosis
    items: tuple[Advice, ...]
    tried: int

    @overload
    def __getitem__(self, index: int) -> Advice: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Advice, ...]: ...
    def __getitem__(self, index: int | slice) -> Advice | tuple[Advice, ...]:
        return self.items[index]

    def __len__(self) -> int:
        return len(self.items)

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "before": self.before.to_dict(),
            "tried": self.tried,
            "advice": [advice.to_dict() for advice in self.items],
        }

    def __repr__(self) -> str:
        return f"Advised({self.before.word!r}, {list(self.items)!r}, {self.tried} nets tried)"

    def __str__(self) -> str:
        from vgcore import report

        return report.advice_text(self)

    def _repr_html_(self) -> str:
        from vgcore import report

        return report.advice_html(self)


# What may be changed, one row a kind of change, what changes a net least first.


@dataclass(frozen=True)
class Remedy:
    """One row: a kind of change.

    Attributes:
        name: What is changed.
        cost: How much of a net it changes: its numbers (1), its layers (2), its structure (3), its size (4).
        propose: Fields to replace, one mapping a candidate; those that make no net are passed over.
        best_only: Whether only the best candidate of the row is shown.
        slow: Whether such a net takes as long as ten others: run where nothing else cures.
    """

    name: str
    cost: int
    propose: Callable[[MLP, Diagnosis], Iterable[Mapping[str, Any]]]
    best_only: bool = False
    slow: bool = False


Fields = dict[str, Any]


def _gains(spec: MLP, before: Diagnosis) -> Iterator[Fields]:
    """The init as it is, scaled: by what would keep dL/dz if phi were a line, and by steps around 1."""
    if not isinstance(spec.init, str):
        return
    init = Init(str(spec.init))
    evidence = before.evidence
    assert evidence is not None  # noqa: S101 (a diagnosis by vgcore's own rules)
    factor = evidence.factor(evidence.backward)
    exact = [1 / factor] if math.isfinite(factor) and factor > 0 else []
    for step in (*exact, 0.25, 0.35, 0.5, 0.6, 0.7, 0.85, 1.2, 1.4, 2.0, 2.8):
        gain = float(f"{float(init.params['gain']) * step:.4g}")
        yield {"init": str(Init(init.name, **init.params | {"gain": gain}))}


def _inits(_: MLP, __: Diagnosis) -> Iterator[Fields]:
    """Other scales, and the edge of chaos."""
    names = ("kaiming_normal", "xavier_normal", "lecun_normal", "critical", "critical(sigma_b=0.2)")
    yield from ({"init": init, "bias": None} for init in names)


def _slow_inits(spec: MLP, _: Diagnosis) -> Iterator[Fields]:
    """Orthogonal weights with the gain of the activation, and a look at the data."""
    if isinstance(spec.activation, str):
        try:
            gain = calculate_gain(spec.activation, mode="backward")
        except ValueError:  # It lets nothing pass, or has no derived gain.
            gain = 1.0
        yield {"init": str(Init("orthogonal", gain=float(f"{gain:.4g}"))), "bias": None}
    yield {"init": "lsuv", "bias": None}


def _biases(_: MLP, __: Diagnosis) -> Iterator[Fields]:
    yield {"bias": "zeros"}


def _activations(_: MLP, __: Diagnosis) -> Iterator[Fields]:
    """Another activation with the weights that suit it."""
    yield from (
        {"activation": "relu", "init": "kaiming_normal", "bias": None},
        {"activation": "leaky_relu(0.1)", "init": "kaiming_normal(a=0.1)", "bias": None},
        {"activation": "tanh", "init": "critical", "bias": None},
        {"activation": "selu", "init": "lecun_normal", "bias": None},
    )


def _norms(_: MLP, __: Diagnosis) -> Iterator[Fields]:
    yield from ({"norm": norm} for norm in ("layer", "rms", "batch", None))


def _branches(spec: MLP, _: Diagnosis) -> Iterator[Fields]:
    if spec.skip is not None:
        yield from ({"branch_scale": scale} for scale in ("1/sqrt(L)", 0.1))


def _skips(_: MLP, __: Diagnosis) -> Iterator[Fields]:
    yield from (
        {"skip": "residual", "branch_scale": "1/sqrt(L)"},
        {"skip": "residual(order=linear)", "branch_scale": "1/sqrt(L)"},
        {"skip": "residual(order=pre)", "norm": "layer"},
        {"skip": "rezero", "branch_scale": 1.0},
        {"skip": "highway(gate_bias=-2)", "branch_scale": 1.0},
    )


def _widths(spec: MLP, before: Diagnosis) -> Iterator[Fields]:
    """Wider layers, where their width is what is wrong."""
    if any(finding.rule == "finite_width" for finding in before.findings) and isinstance(spec.width, int):
        yield from ({"width": factor * spec.width} for factor in (2, 4))


def _depths(spec: MLP, before: Diagnosis) -> Iterator[Fields]:
    """As deep as the recipe goes."""
    limit = before.depth_limit
    uniform = all(isinstance(value, str | int) for value in (spec.width, spec.activation, spec.init))
    if limit is not None and uniform and 1 < limit.value < spec.depth:
        depth = int(limit.value) // spec.block * spec.block
        yield {"depth": depth}


REMEDIES = (
    Remedy("gain", 1, _gains, best_only=True),
    Remedy("init", 1, _inits),
    Remedy("slow init", 1, _slow_inits, slow=True),
    Remedy("bias", 1, _biases),
    Remedy("branch scale", 1, _branches),
    Remedy("activation", 2, _activations),
    Remedy("norm", 2, _norms),
    Remedy("skip", 3, _skips),
    Remedy("width", 4, _widths),
    Remedy("depth", 4, _depths),
)


@dataclass(frozen=True)
class _Candidate:
    """A net that might do, the kinds of changes that it has, and how many fields they change."""

    spec: MLP
    remedies: tuple[Remedy, ...]
    fields: int

    @property
    def cost(self) -> int:
        return sum(remedy.cost for remedy in self.remedies)


def _candidates(spec: MLP, before: Diagnosis, *, keep_input: bool) -> Iterator[_Candidate]:
    """Single changes that make a net, each net once; with the same input where data are given, which do not change."""
    known = {spec.id}
    for remedy in REMEDIES:
        for fields in remedy.propose(spec, before):
            if keep_input and "width" in fields and spec.in_features is None:
                fields = {**fields, "in_features": spec.width}  # noqa: PLW2901
            try:
                changed = spec.replace(**fields)
            except ValueError:  # This net cannot have it, such as a skip around blocks that do not divide the depth.
                continue
            if changed.id not in known:
                known.add(changed.id)
                yield _Candidate(changed, (remedy,), len(_changed(spec, changed)))


def _pairs(spec: MLP, singles: Sequence[_Candidate], known: set[str]) -> Iterator[_Candidate]:
    """Two changes at once, of different kinds that do not touch the same field."""
    for one, two in itertools.combinations(singles, 2):
        ours, theirs = _changed(spec, one.spec), _changed(spec, two.spec)
        if one.remedies == two.remedies or ours.keys() & theirs.keys():
            continue
        try:
            changed = spec.replace(**ours, **theirs)
        except ValueError:  # Each goes alone, not both.
            continue
        if changed.id not in known:
            known.add(changed.id)
            yield _Candidate(changed, one.remedies + two.remedies, len(ours) + len(theirs))


def _changed(spec: MLP, changed: MLP) -> Fields:
    """The fields that differ."""
    return {name: getattr(changed, name) for name in FIELDS if getattr(changed, name) != getattr(spec, name)}


def _shapes(spec: MLP) -> tuple[Any, ...]:
    """What a net takes and gives: its features, its steps with an input of their own, and its outputs."""
    layers = reference.Plan.of(spec).layers
    steps = spec.depth if spec.inputs == "every" else None
    return spec.in_features or layers[0].width, steps, spec.out_features or layers[-1].output


def _words(spec: MLP, changed: MLP) -> str:
    return ", ".join(f"{name}={value}" for name, value in _changed(spec, changed).items())


def badness(d: Diagnosis) -> float:
    """Decades that dL/dz and, half as much, z move from end to end, and one more for every condition that holds."""
    evidence = d.evidence
    if evidence is None or "non-finite" in d.conditions:
        return math.inf
    moved = [abs(evidence.backward.rms), abs(evidence.forward.rms) / 2]
    if d.direction == "backward" or d.verdict == "vanishing":
        moved[0] = max(moved[0], abs(evidence.backward.typical))
    return sum(size for size in moved if not math.isnan(size)) + len(d.conditions)


def _rank(candidate: _Candidate, d: Diagnosis) -> tuple[Any, ...]:
    """Cured or not, then how little is changed, then what is left, as far as it is more than noise."""
    left = math.ceil(2 * min(badness(d), 1e6))
    return d.verdict != "healthy", bool(d.conditions), candidate.cost, left, candidate.fields


#: Of the screening, which orders candidates; what is advised was measured as the net before it.
SCREEN = {"seeds": 4, "batch": 32}
SHOWN = 6
ENOUGH = 2  # cures, for not to look further


def advise(
    spec: MLP,
    data: ArrayLike | tuple[ArrayLike, ArrayLike] | None = None,
    *,
    loss: str | Loss | None = None,
    batch: int | None = None,
    seeds: int = 8,
    seed: int = 0,
    dtype: str = "float32",
    threads: int | None = None,
    budget: int = 150,
) -> Advised:
    """Find changes that cure a net, by running each of them.

    Proposes gains and inits (the edge of chaos among them), biases, scales of branches, activations, norms, skips,
    widths and depths; runs all of them on a few seeds, and the best again as the net itself was run. Where no single
    change suffices, pairs of the best ones are run. Cured nets come first, and among them those that change least: the
    numbers a net starts from (cost 1), its layers (2), its structure (3), its size (4); then what moves least.

    Args:
        spec: The net.
        data: Samples `(rows, in_features)`, or a pair of those and targets; standard normal samples if None.
        loss: Of the targets, as in `probe`; if None, cross-entropy of class ids, mse of numbers.
        batch: Samples of a run of what is advised, as in `probe`.
        seeds: Number of such runs.
        seed: The first seed.
        dtype: `"float32"` or `"float64"`.
        threads: At most this many.
        budget: Most nets to run.

    Returns:
        At most 6 changes, each measured, that cure the net or halve what is wrong with it. Empty for a net without
        anything to cure.

    Raises:
        ValueError: For data that do not fit the spec, or a budget below 1.

    >>> import vgcore as vg
    >>> a = vg.advise(vg.MLP(depth=30, width=64, activation="relu", init="xavier_normal"))
    >>> a[0].change, a[0].after.verdict
    ('init=xavier_normal(gain=1.411)', 'healthy')
    """
    if not isinstance(spec, MLP):
        raise TypeError(f"advise takes an MLP, which it can change, got {type(spec).__name__}")
    if not isinstance(budget, int):
        raise TypeError(f"budget must be an integer, got {budget!r} ({type(budget).__name__})")
    if budget < 1:
        raise ValueError(f"budget must be 1 or more nets, got {budget}")
    if isinstance(data, tuple) and len(data) != 2:
        raise ValueError(f"data must be samples, or a pair of samples and targets, got a tuple of {len(data)}")
    x, y = data if isinstance(data, tuple) else (data, None)
    if y is not None and loss is None:
        loss = "cross_entropy" if np.ndim(y) == 1 else "mse"
    common: dict[str, Any] = {"x": x, "y": y, "loss": loss, "seed": seed, "dtype": dtype, "threads": threads}

    def run(specs: Sequence[MLP], **options: Any) -> list[Diagnosis]:
        cells: dict[int, Probe] = {}
        measure(list(specs), cells.__setitem__, **common | options)
        return [judge(cells[i]) for i in range(len(specs))]

    full = {"seeds": seeds, "batch": batch}
    (before,) = run([spec], **full)
    if before.word == "healthy":
        return Advised(before, (), 1)
    rows = min(SCREEN["batch"], batch or SCREEN["batch"], SCREEN["batch"] if x is None else len(np.asarray(x)))
    quick = {"seeds": min(SCREEN["seeds"], seeds), "batch": rows}

    judged: list[tuple[_Candidate, Diagnosis]] = []
    given = 0 if x is None else 2 if y is None else 3  # of the shapes of a net, those that the data have

    def suits(changed: MLP) -> bool:
        """Whether a changed net can be run on what the net was run on."""
        if rows == 1 and str(changed.norm).startswith("batch"):
            return False
        return not given or _shapes(changed)[:given] == _shapes(spec)[:given]

    def screen(candidates: Iterable[_Candidate]) -> None:
        suitable = (candidate for candidate in candidates if suits(candidate.spec))
        more = list(itertools.islice(suitable, budget - len(judged)))
        judged.extend(zip(more, run([candidate.spec for candidate in more], **quick), strict=True))

    def cures() -> int:
        return sum(d.word == "healthy" for _, d in judged)

    def helps(after: Diagnosis) -> bool:
        return after.word == "healthy" or badness(after) < badness(before) / 2

    singles = list(_candidates(spec, before, keep_input=x is not None))
    screen(candidate for candidate in singles if not candidate.remedies[0].slow)
    if cures() < ENOUGH:
        screen(candidate for candidate in singles if candidate.remedies[0].slow)
    if cures() < ENOUGH:
        left = sorted((pair for pair in judged if pair[1].word != "healthy"), key=lambda pair: badness(pair[1]))
        best = [candidate for candidate, _ in left[:12]]
        screen(_pairs(spec, best, {spec.id, *(candidate.spec.id for candidate in singles)}))
    judged.sort(key=lambda pair: _rank(*pair))

    chosen: list[_Candidate] = []
    seen: set[float] = set()  # of nets that are the same under another name, but for rounding
    for candidate, d in judged:
        rival = any(remedy.best_only and remedy in other.remedies for remedy in candidate.remedies for other in chosen)
        bad = round(badness(d), 4)
        if len(chosen) < SHOWN and not rival and helps(d) and bad not in seen:
            chosen.append(candidate)
            seen.add(bad)
    confirmed = list(zip(chosen, run([c.spec for c in chosen], **full), strict=True))
    confirmed.sort(key=lambda pair: _rank(*pair))
    items = tuple(
        Advice(candidate.spec, _words(spec, candidate.spec), before, after)
        for candidate, after in confirmed
        if helps(after)
    )
    return Advised(before, items, 1 + len(judged))
