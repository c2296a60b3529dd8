"""Trainings as HTML: runs, sweeps of them, replays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from vgcore.show.html.blocks import Html, folded, joined, quiet, table, titled
from vgcore.show.html.charts import curve
from vgcore.show.html.measured import probe, sweep
from vgcore.show.words import exponent
from vgcore.train.run import ended, labels_of, size, told_of

if TYPE_CHECKING:
    from vgcore.train.many import TrainSweep
    from vgcore.train.run import Replay, Run

#: Norms of a layer, and what they are called.
NORMS = {
    "log10_weight_norm": "log10 weights",
    "log10_wgrad_norm": "log10 gradient",
    "log10_update_ratio": "log10 update / weights",
}
SEEDS = (
    *("seed", "steps", "stopped by", "first loss", "final loss", "least loss"),
    *("validation", "accuracy", "first bad", "loss by step"),
)
#: Those that are words, or pictures.
WORDS = ("stopped by", "first bad", "loss by step")


def run(trained: Run) -> Html:
    """A run: what was trained, and a row a seed."""
    head, *_ = trained.summary()
    return joined(
        titled("Run", head),
        seeds(trained),
        *norms(trained),
        quiet("vg.diagnose(run) says what came of it, run.report('run.html') writes a page."),
    )


def seeds(trained: Run) -> Html:
    """What came of each seed, without the columns in which no seed has anything."""
    rows = [*_seeds(trained)]
    kept = [i for i in range(len(SEEDS)) if any(row[i] for row in rows)]
    words = [at for at, i in enumerate(kept) if SEEDS[i] in WORDS]
    return table([SEEDS[i] for i in kept], ([row[i] for i in kept] for row in rows), words=words)


def _seeds(trained: Run) -> Iterator[Sequence[str]]:
    """A row a seed, as `SEEDS` names it."""
    for i, seed in enumerate(trained.seeds.tolist()):
        bad, scores = trained.first_bads[i], ["", ""]
        for at, values in enumerate((trained.validation_loss[i], trained.validation_accuracy[i])):
            there = values[np.isfinite(values)]
            scores[at] = f"{there[-1]:.4g}" if len(there) else ""
        losses = (trained.first_loss[i], trained.final_loss[i], trained.best_loss[i])
        words = map(size, losses)
        what = (str(seed), str(trained.steps_done[i]), ended(trained.stopped_by[i]))
        broken = "" if bad is None else told_of(bad, trained.labels)
        yield (*what, *words, *scores, broken, curve(trained.loss[i], "loss"))


def norms(trained: Run) -> Iterable[Html]:
    """Norms of each layer at the first recorded step and at the last one that is known, of the first seed."""
    shown = {name: words for name, words in NORMS.items() if name in trained.monitor}
    known = [~np.isnan(getattr(trained, name)[0]).all(axis=1) for name in shown]
    if not np.any(known):
        return
    at = np.flatnonzero(np.any(known, axis=0))
    ends = [at[0], at[-1]] if len(at) > 1 else [at[0]]
    head = ["layer", *(f"{words}, step {trained.steps[i]}" for words in shown.values() for i in ends)]
    rows = [
        [label, *(exponent(getattr(trained, column)[0, i, layer]) for column in shown for i in ends)]
        for layer, label in enumerate(trained.labels)
    ]
    yield folded(f"norms of the layers of seed {trained.seeds[0]}", table(head, rows))


def train_sweep(s: TrainSweep) -> Html:
    """A sweep of trainings: a row a cell."""
    return sweep(s)


def replay(r: Replay) -> Html:
    """One step of a run again."""
    rows = [
        (label, *(exponent(float(r.columns[column][i])) for column in NORMS if column in r.columns))
        for i, label in enumerate(labels_of(r.network.spec, r.layers))
    ]
    head = ("layer", *(words for column, words in NORMS.items() if column in r.columns))
    return joined(titled(repr(r)), folded("norms of the layers", table(head, rows)), probe(r.probe))
