"""What to change, each change run: `advise` -> `Advised`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike

from vgcore.cure.remedies import REMEDIES, Fields, Remedy
from vgcore.judge.diagnose import judge
from vgcore.judge.diagnosis import Diagnosis
from vgcore.measure.measurement import Measurement
from vgcore.measure.result import Probe
from vgcore.model.kind import Loss
from vgcore.model.mlp import FIELDS, MLP
from vgcore.model.plan import Plan
from vgcore.show import html, text


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
        """The advice as plain values, with the changed spec whole."""
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
        """All of the advice as plain values."""
        return {
            "before": self.before.to_dict(),
            "tried": self.tried,
            "advice": [advice.to_dict() for advice in self.items],
        }

    def __repr__(self) -> str:
        return f"Advised({self.before.word!r}, {list(self.items)!r}, {self.tried} nets tried)"

    def __str__(self) -> str:
        return text.advice(self)

    def _repr_html_(self) -> str:
        return html.advice(self)


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
    plan = Plan.of(spec)
    steps = spec.depth if spec.inputs == "every" else 1
    return plan.columns // steps, steps, plan.outputs


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


#: Runs and samples of the screening, which orders candidates; what is advised was measured as the net before it.
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
        loss: A loss of the targets, as in `probe`; if None, the one that `probe` takes for such targets.
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
    full = Measurement(x=x, y=y, loss=loss, batch=batch, seeds=seeds, seed=seed, dtype=dtype, threads=threads)

    def run(specs: Sequence[MLP], how: Measurement) -> list[Diagnosis]:
        cells: dict[int, Probe] = {}
        how.run(specs, cells.__setitem__)
        return [judge(cells[i]) for i in range(len(specs))]

    (before,) = run([spec], full)
    if before.word == "healthy":
        return Advised(before, (), 1)
    rows = min(SCREEN["batch"], batch or SCREEN["batch"], SCREEN["batch"] if x is None else len(np.asarray(x)))
    quick = replace(full, seeds=min(SCREEN["seeds"], seeds), batch=rows)

    judged: list[tuple[_Candidate, Diagnosis]] = []
    given = 0 if x is None else 2 if y is None else 3  # of the shapes of a net, those that the data have

    def suits(changed: MLP) -> bool:
        """Whether a changed net can be run on what the net was run on."""
        if rows == 1 and changed.norm is not None and changed.norm.name == "batch":
            return False
        return not given or _shapes(changed)[:given] == _shapes(spec)[:given]

    def screen(candidates: Iterable[_Candidate]) -> None:
        suitable = (candidate for candidate in candidates if suits(candidate.spec))
        more = list(itertools.islice(suitable, budget - len(judged)))
        judged.extend(zip(more, run([candidate.spec for candidate in more], quick), strict=True))

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
    confirmed = list(zip(chosen, run([c.spec for c in chosen], full), strict=True))
    confirmed.sort(key=lambda pair: _rank(*pair))
    items = tuple(
        Advice(candidate.spec, _words(spec, candidate.spec), before, after)
        for candidate, after in confirmed
        if helps(after)
    )
    return Advised(before, items, 1 + len(judged))
