"""How long a command will take, and how much memory: told before it starts, and asked about where it is much.

The core guesses both from the sizes of nets. Processors differ, and what else runs on them, so that where it may be
long, some cells are timed, smaller ones where they are too long for that, and the guess is corrected by what they took.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from vgcore import _core
from vgcore.model.given import LONGEST
from vgcore.model.rnn import RNN
from vgcore.model.spec import Spec
from vgcore.model.transformer import Transformer
from vgcore.shell.outputs import INTERRUPTED, say

if TYPE_CHECKING:
    from vgcore.measure.measurement import Measurement
    from vgcore.model.network import Network

Yes = Annotated[
    bool, typer.Option("--yes", "-y", help="Go on without asking where it will take minutes, or most of the memory.")
]
#: Seconds from which on a command says how long it will take, and from which on it asks.
TOLD, ASKED = 5.0, 60.0
#: The share of the memory from which on it asks.
MOST = 0.8
#: Seconds that timing cells may take.
TRIAL = 0.8
#: Cells that are timed, the longest.
TIMED = 3
#: What work took at most over what the core guesses, with a processor that others use too; so gates and attention, of
#: which the guess knows little more than the maps; and so the rules of others, which look at all gradients of all runs.
SLOWEST, SEQUENCES, FOREIGN = 8.0, 40.0, 100.0
#: The field that says how many layers a net has, where it is not its depth.
LENGTHS: dict[type[Spec], str] = {RNN: "steps"}
#: The most cells that a guess is made of, and the most layers that these have together, of 16 cells or more.
SAMPLE, LAYERS = 1000, 100_000


@dataclass(frozen=True)
class Cost:
    """Seconds, bytes at most, and the share of the memory that these are, as far as it is known."""

    seconds: float
    bytes: int = 0
    share: float = 0.0

    def __str__(self) -> str:
        memory = f" and up to {_size(self.bytes)} of memory" if self.bytes >= 1 << 20 else ""
        return f"about {_duration(self.seconds)}{memory}"


def _duration(seconds: float) -> str:
    """A time as people say it.

    >>> _duration(0.1), _duration(8.4), _duration(200), _duration(9000), _duration(400_000)
    ('a second', '8 seconds', '3.3 minutes', '2.5 hours', '4.6 days')
    """
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.2g} {unit}"
    return "a second" if seconds < 1.5 else f"{seconds:.0f} seconds"


def _size(count: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def check(cost: Cost | None, what: str, *, yes: bool) -> None:
    """Say what it will take, and ask where it is much: a no ends as Ctrl-C does; where nobody can be asked, refuse."""
    if cost is None or (cost.seconds < TOLD and cost.share < MOST):
        return
    much = cost.seconds >= ASKED or cost.share >= MOST
    if yes or not much:
        say(f"{what}: {cost}")
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise ValueError(f"{what} would take {cost}; add --yes to go on, or measure less")
    say(f"{what} will take {cost}; go on? [y/N] ", end="")
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise typer.Exit(INTERRUPTED)


#: Does the work on a net, with so many samples a run and so many runs.
Work = Callable[["Spec", int, int], object]


def of_cells(
    specs: Sequence[Spec],
    measurement: Mapping[str, Any],
    *,
    count: int | None = None,
    trial: bool = True,
    work: Work | None = None,
    slowest: float = SLOWEST,
) -> Cost | None:
    """What measuring cells takes; None where they cannot be measured, which will be said in its place.

    Args:
        specs: The cells, or some of them.
        measurement: How they are measured.
        count: How many there are.
        trial: Whether some are timed, where it may be long.
        work: What is done with a cell, where it is more than to measure it.
        slowest: What this takes at most over the guess.
    """
    from vgcore.measure.measurement import Measurement

    if not specs:
        return None
    slowest = max(slowest, _slowest(specs[0]))
    how = Measurement(**measurement)
    batch = how.batch or (_core.BATCH if how.x is None else len(how.x))  # type: ignore[arg-type]
    if how.x is not None:
        batch = min(batch, len(how.x))  # type: ignore[arg-type]
    more = (len(specs) if count is None else count) / len(specs)

    def guess(cells: Sequence[Spec], batch: int, seeds: int) -> tuple[float, int, int | None]:
        return _core.cost(cells, batch=batch, seeds=seeds, dtype=how.dtype, threads=how.threads)

    def measured(spec: Spec, batch: int, seeds: int) -> None:
        replace(how, batch=batch, seeds=seeds).run([spec], lambda *_: None)

    with suppress(MemoryError, TypeError, ValueError):
        seconds, taken, free = guess(specs, batch, how.seeds)
        seconds *= more
        numbers = sum(spec.rows * (len(_core.COLUMNS) + len(spec.extra_columns)) for spec in specs)
        taken += int((more - 1) * numbers * how.seeds * 8)
        if trial and seconds >= TOLD / slowest:
            threads = int(_core.build_info()["threads"]) if how.threads is None else how.threads
            seeds = min(how.seeds, threads)
            limit = min(TRIAL, seconds * slowest)
            seconds *= _speed(
                specs, batch, seeds, work or measured, lambda *cell: guess(*cell)[0], limit=limit, slowest=slowest
            )
        return Cost(seconds, taken, taken / free if free else 0.0)
    return None


def _slowest(spec: Spec) -> float:
    """What a net took at most over the guess."""
    return SEQUENCES if isinstance(spec, RNN | Transformer) else SLOWEST


def _speed(
    specs: Sequence[Spec],
    batch: int,
    seeds: int,
    work: Work,
    guess: Callable[[Sequence[Spec], int, int], float],
    *,
    limit: float,
    slowest: float,
) -> float:
    """What cells take over what the core guesses: the largest of what those find that would take longest."""

    def one(spec: Spec, batch: int) -> float:
        return guess([spec], batch, seeds)

    longest = sorted(((one(specs[i], batch), i) for i in _some(len(specs), 16)), reverse=True)[:TIMED]
    expected = slowest
    found: list[float] = []
    begun = time.perf_counter()
    for _, place in [longest[0], *longest]:  # the longest twice: what it took at first says how large it may be
        left, whole = begun + limit - time.perf_counter(), specs[place]
        cell = _within(left / 2 / expected, whole, batch, one) or _within(left / 4, whole, batch, one)
        if cell is None:
            continue
        guessed, start = one(*cell), time.perf_counter()
        with suppress(MemoryError, TypeError, ValueError):  # a smaller net may be none
            work(*cell, seeds)
            expected = (time.perf_counter() - start) / guessed
            found.append(expected)
    return max(found[1:] or found, default=slowest)


def _within(seconds: float, spec: Spec, batch: int, guess: Callable[[Spec, int], float]) -> tuple[Spec, int] | None:
    """A net and a batch that are guessed to take no longer: the net's own, or less of one; None where none is so small.

    Layers or steps are left out first, then samples, then units: so a layer takes what it does in the whole net.
    """
    while guess(spec, batch) > seconds:
        smaller = _halved(spec, LENGTHS.get(type(spec), "depth"), least=4)
        if smaller is not None:
            spec = smaller
        elif batch > 16:
            batch //= 2
        elif (smaller := _halved(spec, "width", least=16)) is not None:
            spec = smaller
        else:
            return None
    return spec, batch


def _halved(spec: Spec, field: str, *, least: int) -> Spec | None:
    """The net with half of its layers or units; None where these are few, or not all alike."""
    size = getattr(spec, field, None)
    if isinstance(size, int) and size > least:
        with suppress(TypeError, ValueError):
            return spec.replace(**{field: size // 2})
    return None


def of_grid(base: Any, grid: Mapping[str, Sequence[Any]], measurement: Mapping[str, Any], **kept: Any) -> Cost | None:
    """What a sweep takes: of those cells that its store does not have, and that are of its shard."""
    from vgcore.measure.measurement import Measurement
    from vgcore.measure.sweep import shard_of

    with suppress(OSError, TypeError, ValueError):
        if (count := math.prod(map(len, grid.values()))) > LONGEST:
            return None
        apart = kept.get("store") is not None or kept.get("shard") is not None
        # Very deep nets are guessed from less deep ones: to plan all of their layers takes seconds.
        length = LENGTHS.get(type(base), "depth")
        lengths = grid.get(length, [getattr(base, length)])
        rows = max(lengths) * base.rows // getattr(base, length)
        shorter = 1 if apart else max(1, 8 * rows // LAYERS)
        if shorter > 1:
            grid = {**grid, length: [max(1, each // shorter) for each in lengths]}
        axes = [list(values) for values in grid.values()]

        def cell(place: int) -> Spec:
            at = np.unravel_index(place, [len(values) for values in axes]) if axes else ()
            spec: Spec = base.replace(**{name: axis[int(i)] for name, axis, i in zip(grid, axes, at, strict=True)})
            return spec

        if apart:
            left = _left([*map(cell, range(count))], Measurement(**measurement), shard_of(kept.get("shard")), **kept)
            chosen = _sample(count := len(left), lambda place: left[place])
        else:
            chosen = _sample(count, cell)
        cost = of_cells(chosen, measurement, count=count)
        return cost and Cost(cost.seconds * shorter, cost.bytes * shorter, cost.share * shorter)
    return None


def _sample(count: int, cell: Callable[[int], Spec]) -> list[Spec]:
    """Some cells of so many, not too many layers together."""
    found: list[Spec] = []
    layers = 0
    for place in np.random.default_rng(0).permutation(_some(count, SAMPLE)).tolist():
        if layers > LAYERS and len(found) >= 16:
            break
        found.append(cell(place))
        layers += found[-1].rows
    return found


def of_net(net: Spec | Network, measurement: Mapping[str, Any], **work: Any) -> Cost | None:
    """What measuring one net takes, which may have numbers of its own; with the arguments of `of_cells`."""
    from vgcore.measure.probe import how
    from vgcore.model.network import Network

    network, spec = (net, net.spec) if isinstance(net, Network) else (None, net)
    return of_cells([spec], vars(how(network, **measurement)), **work)


def of_rules(net: Spec | Network, measurement: Mapping[str, Any], rules: str) -> Cost | None:
    """What the rules of another tool take, which look at all weights, signals and gradients of every run."""
    from vgcore.judge.diagnose import diagnose
    from vgcore.measure.measurement import multiplications
    from vgcore.model.network import Network

    def work(smaller: Spec, batch: int, seeds: int) -> None:
        diagnose(smaller, rules=rules, **{**measurement, "batch": batch, "seeds": seeds})

    cost = of_net(net, measurement, work=work, slowest=FOREIGN)
    # Of every run they keep weights and their gradients, in float32.
    kept = 8 * int(multiplications(net.spec if isinstance(net, Network) else net)) * (measurement["seeds"] or 1)
    return cost and Cost(cost.seconds, cost.bytes + kept, cost.share)


def _some(count: int, most: int) -> list[int]:
    """The places of some cells of so many: drawn, for steps of one length might meet one value of an axis alone."""
    if count <= most:
        return list(range(count))
    found: list[int] = np.sort(np.random.default_rng(0).choice(count, most, replace=False)).tolist()
    return found


def _left(
    cells: Sequence[Spec],
    how: Measurement,
    shard: tuple[int, int],
    *,
    store: Any = None,
    retry_failed: bool = False,
    **_: Any,
) -> Sequence[Spec]:
    """The cells of a shard that a store does not have."""
    from vgcore.measure.store import DONE, FAILED, Store, planned

    ours = planned(cells, (), how, shard)
    if store is None or not store.exists():
        return ours.specs
    finished = {DONE} if retry_failed else {DONE, FAILED}
    with Store(store) as kept:
        known = kept.numbers(ours.keys)
    return [spec for spec, key in zip(ours.specs, ours.keys, strict=True) if known.get(key, (0, ""))[1] not in finished]


def of_training(
    net: Spec | Network, steps: int, batch: int, measurement: Mapping[str, Any], run: Callable[[int], object]
) -> Cost | None:
    """What a training takes.

    Args:
        net: The net.
        steps: Its steps.
        batch: The rows of a step.
        measurement: How it is measured.
        run: Trains for so many steps, to be timed.
    """
    how = {**measurement, "batch": batch}
    guessed = of_net(net, how, trial=False)
    spec = net if isinstance(net, Spec) else net.spec
    if guessed is None or guessed.seconds * steps < TOLD / _slowest(spec):
        return guessed and Cost(guessed.seconds * steps, guessed.bytes, guessed.share)
    if 4 * guessed.seconds > TRIAL:  # One step is too long.
        step = of_net(net, how)
        return step and Cost(step.seconds * steps, step.bytes, step.share)

    def timed(few: int) -> float:
        start = time.perf_counter()
        run(few)
        return time.perf_counter() - start

    few, spent = 1, (beginning := timed(1))  # which has the cost of the beginning
    took = beginning
    while 2 * few < steps and spent + 2 * took < 1.2 * TRIAL:
        few *= 2
        spent += (took := timed(few))
    each = took if few == 1 else max(took - beginning, 0.0) / (few - 1)
    return Cost(beginning + each * (steps - 1), guessed.bytes, guessed.share)
