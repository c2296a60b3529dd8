"""What to change, each change run: `advise` -> `Advised`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from vgcore.cure.advice import Advice, Advised
from vgcore.cure.candidates import KEPT, OTHERS, Candidate, Candidates
from vgcore.cure.remedies import FAR
from vgcore.cure.trained import CLIP, Reached, Trainer, settings_of
from vgcore.judge.blind import blind_guess_of
from vgcore.judge.diagnose import judge
from vgcore.judge.diagnosis import Diagnosis
from vgcore.judge.margin import ratios
from vgcore.measure.brought import brought
from vgcore.measure.measurement import Measurement
from vgcore.measure.probe import probe
from vgcore.measure.result import Probe
from vgcore.model.given import boolean, integer, items
from vgcore.model.kind import Loss
from vgcore.model.names import known
from vgcore.model.network import Network
from vgcore.model.plan import Plan
from vgcore.model.sorts import fields_of
from vgcore.model.spec import Spec

#: Runs and samples of the screening, which orders candidates; what is advised was measured as the net before it.
SCREEN = {"seeds": 4, "batch": 32}
SHOWN = 6
ENOUGH = 2  # cures, for not to look further
TWICE = 12  # candidates that are changed once more
#: Runs of what is drawn in place of weights that were those of the one run there was.
RUNS = 8
#: The largest ratio that is no grazing of a threshold.
GRAZING = 0.8
#: A ratio that is no part of what is wrong.
HARMLESS = 0.5
#: Growth that is noise of drawn weights.
NOISE = 1.1


@dataclass(frozen=True, eq=False)
class _Judged:
    """What a net came to.

    Attributes:
        d: The diagnosis.
        first_loss: The first loss in blind guesses; None where there is none.
        ratios: What is wrong, by rule: from 1 on it counts.
        before: What the net as it is came to; None for that net.
    """

    d: Diagnosis
    first_loss: float | None
    ratios: Mapping[str, float]
    before: _Judged | None

    @classmethod
    def of(
        cls, cell: Probe, blind: float | None, before: _Judged | None = None, *, threads: int | None = None
    ) -> _Judged:
        d = judge(cell, threads=threads)
        assert d.evidence is not None  # noqa: S101 (it has a probe)
        first = None if blind is None else float(np.mean(cell.loss_value)) / blind
        return cls(d, first, ratios(d.evidence), before)

    @property
    def nearness(self) -> float:
        return max(self.ratios.values(), default=0.0)

    @property
    def wrong(self) -> float:
        """All that is wrong, in thresholds."""
        return sum(max(0.0, ratio - HARMLESS) for ratio in self.ratios.values())

    @property
    def well(self) -> bool:
        return self.d.word == "healthy" and self.nearness < 1

    @cached_property
    def cured(self) -> bool:
        """Whether nothing is wrong, and nothing grazes its threshold that was wrong or has grown."""
        assert self.before is not None  # noqa: S101 (of a changed net)
        old = {rule: ratio for rule, ratio in self.before.ratios.items() if ratio < 1}
        return self.well and all(
            ratio <= max(GRAZING, NOISE * old.get(rule, 0.0)) for rule, ratio in self.ratios.items()
        )

    @property
    def barred(self) -> bool:
        """Whether the first loss is too far above a blind guess to be advised."""
        assert self.before is not None  # noqa: S101 (of a changed net)
        return self.first_loss is not None and not self.first_loss <= max(FAR, NOISE * (self.before.first_loss or 0.0))

    @property
    def helps(self) -> bool:
        assert self.before is not None  # noqa: S101 (of a changed net)
        return not self.barred and (self.cured or self.wrong < self.before.wrong / 2)


Trial = tuple[Candidate, _Judged]


def _rank(trial: Trial) -> tuple[Any, ...]:
    """Cured or not; then of cures what is changed, of others what is left; each as far as it is more than noise."""
    candidate, after = trial
    left = math.ceil(5 * min(after.nearness, 1e6))
    changed = candidate.cost, len(candidate.kinds)
    order = (*changed, left) if after.cured else (left, *changed)
    state = 0 if after.cured else 1 if after.well else 2 if after.d.verdict == "healthy" else 3
    return state, *order, len(candidate.changes)


class _Bench:
    """Runs candidates as the net was run, or on fewer seeds and samples."""

    def __init__(self, cell: Probe, threads: int | None) -> None:
        self.cell = cell
        runs = len(cell.seeds)
        self.full = Measurement(
            loss=cell.loss, batch=cell.batch, seeds=runs, seed=int(cell.seeds[0]), dtype=cell.dtype, threads=threads
        )
        self.drawn_runs = RUNS if cell.network is not None and runs == 1 else runs
        self.rows = min(SCREEN["batch"], cell.batch)
        self.shape = _shape(cell.spec)
        self.given = 0 if cell.x is None else 2 if cell.y is None else 3  # of the shape, what the data have
        self.before = _Judged.of(cell, self.blind(cell.y, cell.batch), threads=threads)

    def suits(self, candidate: Candidate) -> bool:
        """Whether it can be run on what the net was run on."""
        spec = candidate.spec
        norms = (*(spec.norm if isinstance(spec.norm, tuple) else (spec.norm,)), getattr(spec, "final_norm", None))
        if self.rows == 1 and any(getattr(norm, "name", None) == "batch" for norm in norms):
            return False
        return not self.given or _shape(spec)[: self.given] == self.shape[: self.given]

    def run(self, candidates: Sequence[Candidate], *, quick: bool = False) -> list[Trial]:
        """Run and judge them, all of the same data at once."""
        found: dict[int, _Judged] = {}
        groups: dict[tuple[Any, ...], list[int]] = {}
        for i, candidate in enumerate(candidates):
            groups.setdefault((candidate.drawn, *candidate.data.changes.items()), []).append(i)
        for members in groups.values():
            first = candidates[members[0]]
            fixed = self.cell.network is not None and not first.drawn
            how = replace(self.full, x=first.data.x, y=first.data.y)
            how = replace(how, seeds=how.seeds if fixed else self.drawn_runs)
            if quick:
                how = replace(how, seeds=min(SCREEN["seeds"], how.seeds), batch=self.rows)
            cells: dict[int, Probe] = {}
            network = self.cell.network if fixed else None
            how.run([candidates[i].spec for i in members], cells.__setitem__, network=network)
            blind = self.blind(first.data.y, how.batch)
            found |= {i: _Judged.of(cells[j], blind, self.before, threads=how.threads) for j, i in enumerate(members)}
        return [(candidate, found[i]) for i, candidate in enumerate(candidates)]

    def pretrained(self, candidate: Candidate) -> Trial:
        """Measure and judge a net whose weights are there already, on the samples that they were learnt from."""
        assert candidate.pretrained is not None  # noqa: S101 (it is what there is to measure)
        cell, found = self.cell, candidate.pretrained.network
        after = probe(found, x=cell.x, y=cell.y, loss=cell.loss, batch=cell.batch, threads=self.full.threads)
        return candidate, _Judged.of(after, self.blind(cell.y, cell.batch), self.before)

    def blind(self, y: ArrayLike | None, batch: int | None) -> float | None:
        """A blind guess at targets."""
        return None if self.cell.loss is None else blind_guess_of(self.cell.spec, self.cell.loss, y, batch=batch)


def _shape(spec: Spec) -> tuple[Any, ...]:
    """What a net takes and gives: its features, its steps or tokens with an input of their own, and its outputs."""
    plan = Plan.of(spec)
    steps = 1 if plan.series is None else plan.series[0]
    return plan.columns // steps, steps, plan.outputs


def advise(
    subject: Any,
    data: ArrayLike | tuple[ArrayLike, ArrayLike] | None = None,
    *,
    x: ArrayLike | None = None,
    y: ArrayLike | None = None,
    loss: str | Loss | None = None,
    batch: int | None = None,
    seeds: int | None = None,
    seed: int | None = None,
    dtype: str | None = None,
    threads: int | None = None,
    budget: int = 150,
    keep: str | Collection[str] = (),
    train: bool | Mapping[str, Any] = False,
    pretrain: bool = False,
) -> Advised:
    """Find changes that cure a net, an `MLP`, an `RNN` or a `Transformer`, by running each of them.

    Proposes other scales of given samples and targets, gains and inits (the edge of chaos among them), smaller
    readouts, biases, scales of branches, activations, norms, skips, widths and depths; of an `RNN` biases of gates
    (chrono among them), recurrent inits, norms, cells and steps; of a `Transformer` inits, norms, where they stand, one
    behind the last block, norms of queries and keys, skips and depths. Runs all of them on a few seeds, and the best
    again as the net itself was run. Where no single change suffices, pairs of the best ones are run.

    Cured nets come first, and among them those that change least: the data alone (cost 0), the numbers a net starts
    from (1), its layers (2), its structure (3), its size (4); then those farthest from any threshold. A change that
    takes a rule to more than 0.8 of its threshold, from above or from below, is no cure. Nothing is advised whose first
    loss is more than 3 times that of a blind guess, unless that of the net as it is was as large.

    Args:
        subject: What to change: a spec; a `Network`, whose own weights are the net as it is, and which is drawn anew
            for every change but those of the data; or a `Probe` or a `Diagnosis`, whose samples, targets, loss, batch,
            seeds and dtype are used again; or a model of another library, which is brought in as a `Network`.
        data: Samples, or a pair of samples and targets, in place of `x` and `y`.
        x: Samples `(rows, in_features)`, as in `probe`; so are the next seven.
        y: Targets of `loss`.
        loss: One of `LOSSES`, a call, or a `Loss`; if None, the one that `probe` takes for such targets.
        batch: Samples of a run of what is advised.
        seeds: Number of such runs. A network on fixed data has one, and what is drawn in its place 8.
        seed: The first seed.
        dtype: `"float32"` or `"float64"`; a network has its own.
        threads: At most this many.
        budget: Most nets to run.
        keep: What must stay: names of fields of the spec, `"x"`, `"y"` or `"readout"`, its init; one, or several.
        train: Train the net and what would be advised, and put what reaches the lowest loss first: True for 300 steps
            of two runs, else as `train` does it; or keywords of `train` in their place, of `steps`, `optimizer`,
            `batch`, `schedule`, `clip`, `noise` and `seeds`. What does not get below the net as it is is left out.
            A net whose gradients explode is also trained as it is with `clip=1`, which may be advised too.
        pretrain: Propose the net with its hidden layers trained one by one as well, on `x`: by Boltzmann machines where
            layers are sigmoid and x is from 0 to 1, else by denoising autoencoders; of nets that `vg.pretrain` takes.
            It costs as much as a training, and the advice has the network that was measured, in `pretrained`.

    Returns:
        At most 6 changes, each measured, that cure the net or halve what is wrong with it. Empty for a net without
        anything to cure.

    Raises:
        ValueError: For data that do not fit the spec, or are given beside what has been measured already; for unknown
            names to keep, or a budget below 1; for training without samples or targets.

    >>> import vgcore as vg
    >>> a = vg.advise(vg.MLP(depth=30, width=64, activation="relu", init="xavier_normal"))
    >>> a[0].change, a[0].after.verdict
    ('init=xavier_normal(gain=1.411)', 'healthy')

    Samples of another scale than the net takes:

    >>> images = np.random.default_rng(0).integers(256, size=(100, 64))
    >>> spec = vg.MLP(depth=2, width=64, activation="sigmoid", init="xavier_normal")
    >>> a = vg.advise(spec, x=images, keep=("activation", "norm"))
    >>> a[0].change, float(a[0].x.max())
    ('x=x / 255', 1.0)

    A net that does not learn, and what does in its place:

    >>> x, y = vg.data.digits()
    >>> spec = vg.MLP(depth=8, width=32, in_features=64, out_features=10, activation="sigmoid")
    >>> a = vg.advise(spec, x=x, y=y, train={"steps": 200, "optimizer": "sgd(lr=0.1)"})
    >>> a.final_loss > 2 > a[0].loss_after
    True
    """
    budget = integer("budget", budget, least=1)
    kept = [keep] if isinstance(keep, str) else items("keep", keep, "a name or a list of names", ordered=False)
    there = fields_of(subject) if isinstance(subject, Spec) else KEPT
    for name in kept:
        known("name to keep", name, dict.fromkeys((*there, *OTHERS)))
    if data is not None:
        if x is not None or y is not None:
            raise ValueError("data stand for x, or for x and y: give them or data, not both")
        if isinstance(data, tuple) and len(data) != 2:
            raise ValueError(f"data must be samples, or a pair of samples and targets, got a tuple of {len(data)}")
        x, y = data if isinstance(data, tuple) else (data, None)
    settings, allowed = settings_of(train), boolean("pretrain", pretrain)
    options = {"x": x, "y": y, "loss": loss, "batch": batch, "seeds": seeds, "seed": seed, "dtype": dtype}
    cell = _measured(subject, {name: value for name, value in options.items() if value is not None}, threads)
    for name in kept:
        known("name to keep", name, (*fields_of(cell.spec), *OTHERS))
    candidates = Candidates(cell, kept)
    bench = _Bench(cell, threads)
    before = bench.before
    trainer = None if settings is None else Trainer(cell, settings, threads)
    reached = None if trainer is None else trainer.before()
    if before.well:
        return Advised(before.d, (), 1, before.first_loss, None if reached is None else reached.loss)

    trials: list[Trial] = []

    def screen(several: Iterable[Candidate]) -> None:
        more = itertools.islice(filter(bench.suits, several), budget - len(trials))
        trials.extend(bench.run(list(more), quick=True))

    def cures() -> int:
        return sum(after.cured and not after.barred for _, after in trials)

    singles = list(candidates.singles(before.d))
    screen(candidate for candidate in singles if not candidate.kinds[0].slow)
    if cures() < ENOUGH:
        screen(candidate for candidate in singles if candidate.kinds[0].slow)
    if cures() < ENOUGH:
        far = sorted((trial for trial in trials if trial[1].barred), key=_rank)[:TWICE]
        screen([smaller for candidate, after in far for smaller in candidates.toned(candidate, after.d)])
    if cures() < ENOUGH:
        left = sorted((trial for trial in trials if not trial[1].cured), key=lambda trial: trial[1].wrong)
        screen(candidates.pairs([candidate for candidate, _ in left[:TWICE]]))

    shown = SHOWN if trainer is None else TWICE
    confirmed = bench.run(_best(trials, shown))
    if allowed and (learnt := candidates.pretrained()) is not None:
        confirmed.append(bench.pretrained(learnt))
    confirmed.sort(key=_rank)
    helpful = [(_advice(trial, before.d), trial[0]) for trial in confirmed if trial[1].helps]
    if trainer is None:
        helpful = helpful[:SHOWN]
    if trainer is None or reached is None:
        return Advised(before.d, tuple(advice for advice, _ in helpful), 1 + len(trials), before.first_loss)
    best = _by_loss(helpful, trainer, reached, _clipped(before, trainer, cell))
    return Advised(before.d, best, 1 + len(trials), before.first_loss, reached.loss)


def _measured(subject: Any, options: dict[str, Any], threads: int | None) -> Probe:
    """The net as it is."""
    if not isinstance(subject, Spec | Network | Probe | Diagnosis):
        subject, _ = brought(subject, options.get("x"), "a spec, a Network, a Probe or a Diagnosis")
    if isinstance(subject, Spec | Network):
        _check(subject if isinstance(subject, Spec) else subject.spec)
        return probe(subject, **options, threads=threads)
    if options:
        raise ValueError(f"{', '.join(options)}: this is measured already; give them to probe or diagnose, or a spec")
    if isinstance(subject, Probe):
        _check(subject.spec)
        return subject
    if subject.cells:
        raise ValueError("this diagnosis is of a sweep: give one of its cells")
    if subject.probe is None and subject.spec is None:
        raise ValueError("this diagnosis is of sizes alone, and no net is known that could be changed: give a model")
    if subject.probe is None:
        raise ValueError(f"a diagnosis by {subject.rules} keeps no probe: give the spec")
    cell: Probe = subject.probe
    _check(cell.spec)
    return cell


def _check(spec: Spec) -> None:
    """Refuse a net whose layers follow no rule that could be changed as a whole."""
    if not fields_of(spec):
        raise TypeError("advise changes the fields of a spec, and this is a list of parts: vg.diagnose names remedies")


def _clipped(before: _Judged, trainer: Trainer, cell: Probe) -> tuple[Advice, Reached] | None:
    """The net as it is, whose gradients explode, with clipping, which leaves the net as it is and bounds its steps."""
    after = trainer.clipped() if before.d.verdict == "exploding" else None
    if after is None:
        return None
    change = f"clip={CLIP:g} in training"
    return Advice(cell.spec, change, before.d, before.d, cures=False, nearness=before.nearness), after


def _by_loss(
    helpful: Sequence[tuple[Advice, Candidate]],
    trainer: Trainer,
    before: Reached,
    clipped: tuple[Advice, Reached] | None,
) -> tuple[Advice, ...]:
    """What gets below the net as it is, in the order of the loss that it reaches; equals stay as they are."""
    found = []
    trained = [(advice, trainer.after(candidate)) for advice, candidate in helpful]
    for advice, after in (*trained, *filter(None, [clipped])):
        if after.relative < before.relative:
            found.append((after.relative, replace(advice, loss_before=before.loss, loss_after=after.loss)))
    # Two significant digits: what is nearer together is noise.
    found.sort(key=lambda pair: float(f"{pair[0]:.2g}"))
    return tuple(advice for _, advice in found[:SHOWN])


def _best(trials: Sequence[Trial], shown: int) -> list[Candidate]:
    """What is worth a full run, the best first."""
    chosen: list[Candidate] = []
    seen: set[tuple[float, ...]] = set()  # of nets that are the same under another name, but for rounding
    for candidate, after in sorted(trials, key=_rank):
        rival = any(kind.best_only and kind in other.kinds for kind in candidate.kinds for other in chosen)
        e = after.d.evidence
        assert e is not None  # noqa: S101 (it has a probe)
        looks = tuple(round(value, 4) for value in (e.backward.rms, e.forward.rms, *after.ratios.values()))
        if len(chosen) < shown and not rival and looks not in seen and after.helps:
            chosen.append(candidate)
            seen.add(looks)
    return chosen


def _advice(trial: Trial, before: Diagnosis) -> Advice:
    candidate, after = trial
    changed = {name: getattr(candidate.data, name) for name in candidate.data.changes}
    measured: dict[str, Any] = {"cures": after.cured, "nearness": after.nearness, "first_loss": after.first_loss}
    told = dict(candidate.data.changes)
    measured["pretrained"] = candidate.pretrained
    return Advice(candidate.spec, candidate.words, before, after.d, data=told, **measured, **changed)
