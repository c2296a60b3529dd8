"""Two trainings side by side."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from vgcore.judge.training.diagnosis import OUTCOMES, RunDiagnosis
from vgcore.measure import table
from vgcore.report.comparison import Comparison, Measure
from vgcore.report.nets import LEAST, WORDS, differing
from vgcore.report.noise import Floats, along, measured
from vgcore.show.words import fold, seeds_told
from vgcore.train.many import told_of
from vgcore.train.run import Run, size

#: Steps over which a loss is averaged before it is said to be reached, as the final loss is at most.
WINDOW = 20
#: What is compared of each layer, at the last step that both recorded something of.
COLUMNS = {"dL/dW": "log10_wgrad_norm", "update/weight": "log10_update_ratio"}
#: What is told of a recipe, beside the net.
RECIPE = ("optimizer", "schedule", "clip", "noise", "rates", "frozen", "loss", "dtype", "batch", "steps")
FINAL = "final loss"
#: Outcomes of which the final loss says all.
ENDED = {"stuck", "learning", "trained"}


def compared(before: RunDiagnosis, after: RunDiagnosis) -> Comparison:
    """The comparison of two trainings."""
    one, other = before.run, after.run
    assert one is not None  # noqa: S101 (only what was judged of a sweep has no run)
    assert other is not None  # noqa: S101 (likewise)
    facts = [told_of(0, run) for run in (one, other)]
    recipes = [{name: told[name] for name in RECIPE} for told in facts]
    places, rows, note = along(one.labels, other.labels)
    columns = {}
    for name, column in COLUMNS.items():
        if not all(column in run.monitor for run in (one, other)):
            continue
        both = (_last(getattr(run, column))[:, at] for run, at in zip((one, other), rows, strict=True))
        pairs = zip(*(values.T for values in both), strict=True)
        columns[name] = tuple(measured(place, *pair, log10=True) for place, pair in zip(places, pairs, strict=True))
    notes = (*_notes(one, other), *filter(None, [note]))
    comparable = one.loss_name == other.loss_name and _data(one) == _data(other)
    found = Comparison(
        before,
        after,
        "same",
        "",
        differing(one.spec, other.spec, *recipes),
        measures=tuple(_measures(one, other, comparable=comparable)),
        places=places if columns else (),
        columns=columns,
        notes=notes,
    )
    final = next(each for each in found.measures if each.name == FINAL)
    sign = _sign(before, after, final if comparable else None)
    return replace(
        found, verdict=WORDS[sign], summary=f"{WORDS[sign]}: {'; '.join(_parts(found, comparable=comparable))}"
    )


def _data(run: Run) -> str:
    return table.data_id(run.x, run.y)


def _notes(one: Run, other: Run) -> Iterator[str]:
    """What else was not alike, so that a difference may come from it."""
    if one.seeds.tolist() != other.seeds.tolist():
        yield f"trained with {seeds_told(one.seeds)} and {seeds_told(other.seeds)}"
    if _data(one) != _data(other):
        yield "trained on different data: their losses are not compared"
    if one.loss_name != other.loss_name:
        yield f"the losses are {one.loss_name} and {other.loss_name}, which are not compared"
    if 1 in {len(run.seeds) for run in (one, other)}:
        yield "one seed has no interval: every difference of the final loss counts that is two-fold or more"


# Numbers


def _measures(one: Run, other: Run, *, comparable: bool) -> Iterator[Measure]:
    yield _losses(FINAL, one.final_loss, other.final_loss)
    yield _losses("best loss", one.best_loss, other.best_loss)
    if one.validation_loss.size and other.validation_loss.size:
        yield _losses("best validation loss", *(_least(run.validation_loss) for run in (one, other)))
    # The loss that every seed reaches says which learns faster, if it is lower than what all begin with.
    goal = max(float(run.final_loss.max()) for run in (one, other))
    if comparable and math.isfinite(goal) and goal < min(float(run.first_loss.min()) for run in (one, other)):
        yield measured(f"steps to a loss of {goal:.3g}", _reached(one, goal), _reached(other, goal))
    yield measured("steps done", *(run.steps_done.astype(float) for run in (one, other)))


def _losses(name: str, before: Floats, after: Floats) -> Measure:
    """Losses of both, whose noise is that of their logarithms where they have any: one seed may diverge far."""
    found = measured(name, before, after)
    both = np.concatenate([before, after])
    if not (np.isfinite(both) & (both > 0)).all():
        return found
    return found._replace(beyond=measured(name, np.log10(before), np.log10(after)).beyond)


def _least(losses: Floats) -> Floats:
    """The least loss of each seed; inf where none is known."""
    found: Floats = np.where(np.isnan(losses), math.inf, losses).min(axis=1)
    return found


def _reached(run: Run, goal: float) -> Floats:
    """The step at which each seed's loss, averaged over the steps before it, is first as low; inf for never."""
    found = np.full(len(run.seeds), math.inf)
    for i, (losses, done) in enumerate(zip(run.loss, run.steps_done.tolist(), strict=True)):
        window = max(1, min(WINDOW, -(-done // WINDOW)))  # as of the final loss
        if done >= window:
            means = np.convolve(losses[:done], np.full(window, 1 / window), "valid")
            low = np.flatnonzero(means <= goal * (1 + 1e-9))  # a mean is rounded
            found[i] = low[0] + window if len(low) else math.inf
    return found


def _last(column: Floats) -> Floats:
    """A column at the last recorded step of which anything is known, `(seeds, layers)`."""
    there = np.flatnonzero(np.isfinite(column).any(axis=(0, 2)))
    values: Floats = column[:, there[-1]] if len(there) else np.full((column.shape[0], column.shape[2]), math.nan)
    return values


# Better or worse


def _sign(before: RunDiagnosis, after: RunDiagnosis, final: Measure | None) -> int:
    """1 where the second is better, -1 where it is worse, 0 where neither can be said."""
    within = final is not None and final.beyond is False
    if within and {before.verdict, after.verdict} <= ENDED:
        return 0
    ranks = [OUTCOMES.index(judged.verdict) for judged in (before, after)]
    if ranks[0] != ranks[1]:
        return 1 if ranks[1] > ranks[0] else -1
    if final is None or not _counts(final):
        return 0
    return 1 if final.after < final.before else -1


def _counts(loss: Measure) -> bool:
    """Whether a loss is another beyond the noise of the seeds; without any, by two-fold."""
    if loss.beyond is not None or not min(loss.before, loss.after) > 0:
        return bool(loss.beyond)
    return abs(math.log10(loss.after / loss.before)) >= LEAST


# Words


def _parts(found: Comparison, *, comparable: bool) -> Iterator[str]:
    one, other = found.before.word, found.after.word
    yield one if one == other else f"{one} -> {other}"
    final, *others = found.measures
    if not comparable:
        return
    if not _counts(final):
        yield (
            "the final loss differs by no more than the noise of the seeds"
            if final.beyond is False
            else ("the final loss differs less than two-fold")
        )
    else:
        low, high = sorted((final.before, final.after))
        by = (
            f", {fold(high / low)} {'less' if final.after < final.before else 'more'}"
            if 0 < low < high < math.inf
            else ""
        )
        yield f"final loss {size(final.before)} before and {size(final.after)} after{by}"
    for each in others:
        if each.name.startswith("steps to") and each.differs:
            was, now = (f"{value:.0f}" if math.isfinite(value) else "no" for value in (each.before, each.after))
            yield f"{each.name.removeprefix('steps to ')} is reached in {now} steps instead of {was}"
