"""The core beside its twin on this very machine: what `vgcore doctor` runs.

The tests compare both on the machines of those who build vgcore. Here a machine that nobody has seen does so, with its
own instruction set: first one net of every kind, then random ones until the time is up.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from vgcore import _core
from vgcore import reference as twin
from vgcore.measure.probe import probe
from vgcore.measure.result import columns_of
from vgcore.model.network import Network
from vgcore.model.rnn import RNN
from vgcore.reference import COTANGENT, Array, State, Stream, agreement, init, samples
from vgcore.reference.agreement import ALLOWED, Compared
from vgcore.reference.cases import Case, drawn, first, targets
from vgcore.train.fit import train

#: Numbers of the first net that is drawn, the next one's, and so on: other ones on every day would test more, and no
#: second run could tell whether the first was right.
SEED = 0
#: What rounding may do is told by what moves the twin's own answer: its last digits are moved so often, so far, and
#: what comes of it may be so many times as much.
NUDGES, DIGITS, TIMES = 6, 4, 10


@dataclass(frozen=True)
class Difference:
    """Numbers that are not the twin's.

    Attributes:
        case: The net, and how it was measured.
        name: The column, gradient or weight.
        place: Index of the number in it, from 0: (seed, layer) of a column.
        ours: The core's number there.
        theirs: The twin's.
        units: How far they are apart, in units of what is allowed.
    """

    case: Case
    name: str
    place: tuple[int, ...]
    ours: float
    theirs: float
    units: float


@dataclass
class SelfTest:
    """What a self-test has compared so far.

    Attributes:
        planned: How many nets the first round has, of every kind one.
        nets: How many were compared, those of the first round first.
        numbers: How many numbers.
        unclear: How many nets have numbers that rounding alone moves as far.
        largest: The largest difference, in units of what is allowed; 1 is the most.
        seconds: How long it took.
        differences: What is not the twin's, of each net the first number.
    """

    planned: int
    nets: int = 0
    numbers: int = 0
    unclear: int = 0
    largest: float = 0.0
    seconds: float = 0.0
    differences: list[Difference] = field(default_factory=list)


def run(seconds: float = 10.0, tell: Callable[[SelfTest], object] = lambda _: None) -> SelfTest:
    """Compare the core with its twin until the time is up; the net at hand then is finished.

    Args:
        seconds: About how long it may take.
        tell: Is called after every net.

    >>> found = run(0.1)
    >>> found.nets >= 1, found.differences
    (True, [])
    """
    began, round_ = time.perf_counter(), [*first()]
    result = SelfTest(len(round_))
    for case in _endless(round_):
        _note(result, case, *compare(case))
        result.seconds = time.perf_counter() - began
        tell(result)
        if result.seconds >= seconds:
            break
    return result


def _endless(round_: list[Case]) -> Iterator[Case]:
    yield from round_
    seed = SEED
    while True:
        yield drawn(seed)
        seed += 1


def _note(result: SelfTest, case: Case, found: list[Compared], unclear: list[str]) -> None:
    result.nets += 1
    result.unclear += bool(unclear)
    clear = [each for each in found if each.name not in unclear]
    result.numbers += sum(each.theirs.size for each in clear)
    result.largest = max(result.largest, *(each.worst for each in clear))
    # In the order in which they are computed: what follows from a wrong number is wrong too.
    wrong = next((each for each in clear if each.worst > 1), None)
    if wrong is not None:
        result.differences.append(_difference(case, wrong))


def _difference(case: Case, wrong: Compared) -> Difference:
    """The first number that is wrong, or where all are judged together that which is farthest off."""
    ours, theirs = (np.asarray(each, np.float64) for each in (wrong.ours, wrong.theirs))
    if ours.shape != theirs.shape:
        return Difference(case, f"{wrong.name} of shape {ours.shape}", (), np.nan, np.nan, wrong.worst)
    each = wrong.units.shape == theirs.shape
    off = wrong.units > 1 if each else np.nan_to_num(np.abs(ours - theirs), nan=np.inf)
    place = np.unravel_index(int(off.argmax()), off.shape)
    units = float(wrong.units[place]) if each else wrong.worst
    return Difference(case, wrong.name, tuple(map(int, place)), float(ours[place]), float(theirs[place]), units)


@dataclass(frozen=True)
class _Given:
    """What both compute with."""

    state: State
    x: Array
    y: Array | None
    cotangent: Array


class _Answer(NamedTuple):
    """What comes of them: columns, gradients, and the weights and the loss of a step, if there is one."""

    columns: Any
    gradients: Any
    after: State
    loss: float | None


def compare(case: Case) -> tuple[list[Compared], list[str]]:
    """All numbers of a case, and the names of those that rounding moves as far as they are apart.

    The twin computes in float64, from the very numbers that the core has.
    """
    spec, batch, seed, dtype = case.spec, case.batch, case.seed, case.dtype
    net, allowed = spec.init(seed=seed, dtype=dtype), ALLOWED[dtype]
    state, by_twin = net.state_dict(), samples(spec, seed, batch, dtype)
    x, cotangent = _core.samples(spec, seed, batch, dtype), _core.cotangent(spec, seed, batch, dtype)
    y = None
    if case.loss is not None:
        y = targets(case.loss, np.random.default_rng(seed), batch, spec.out_features)
    # What is made of many drawn numbers, or of what data make of them, has the rounding of all.
    inits = f"{getattr(spec, 'init', '')} {getattr(spec, 'recurrent_init', '')}"
    made = re.search("orthogonal|looks_linear|lsuv", inits)
    wider = max(10, *(side for w in state.values() for side in w.shape)) if made else 1
    found = agreement.states(state, init(spec, seed, dtype), wider * allowed.drawn)
    others = Stream(seed, COTANGENT, dtype=dtype).normal(cotangent.shape) / np.sqrt(batch)
    drawn_ = {"x": x.reshape(by_twin.shape), "cotangent": cotangent}
    found += agreement.states(drawn_, {"x": by_twin, "cotangent": others}, allowed.drawn)

    wide = {name: w.astype(np.float64) for name, w in state.items()}
    given = _Given(wide, drawn_["x"].astype(np.float64), y, cotangent.astype(np.float64))
    ours, theirs = _core_answer(case, net, given), _twin_answer(case, given)
    compared = _compared(case, ours, theirs, given.state)
    found += compared
    if case.threads:
        found += _threads(case, given)
    off = {each.name: each.worst for each in compared if each.worst > 1}
    unclear = set(off)
    if off:
        random = np.random.default_rng(seed)
        for _ in range(NUDGES):
            moved = _twin_answer(case, _nudged(given, random, dtype))
            far = {each.name: TIMES * each.worst for each in _compared(case, moved, theirs, given.state)}
            off = {name: units for name, units in off.items() if units > far[name]}
    return found, sorted(unclear - set(off))


def _core_answer(case: Case, net: Network, given: _Given) -> _Answer:
    columns = probe(net, x=given.x, y=given.y, loss=case.loss, seeds=1, seed=case.seed)
    if case.loss is None:
        return _Answer(columns, net.backward(given.x, given.cotangent), {}, None)
    slopes = net.gradients(given.x, given.y, loss=case.loss)
    if case.optimizer is None:
        return _Answer(columns, slopes, {}, None)
    how: dict[str, Any] = {"loss": case.loss, "steps": 1, "optimizer": case.optimizer, "seed": case.seed}
    done = train(net, given.x, given.y, **how, batch=case.batch, schedule="constant")
    return _Answer(columns, slopes, done.network.state_dict(), float(done.loss[0, 0]))


def _twin_answer(case: Case, given: _Given) -> _Answer:
    how: dict[str, Any] = {"seeds": 1, "seed": case.seed, "dtype": case.dtype}
    found = twin.probe(case.spec, x=given.x, y=given.y, loss=case.loss, state=given.state, **how)
    if isinstance(case.spec, RNN) and case.spec.cell.startswith("gru"):
        del found["log10_sample_wgrad_rms"]  # the twin has that of the inputs' map, whose candidate is another
    columns = SimpleNamespace(**found, dtype=case.dtype)
    if case.loss is None:
        return _Answer(columns, twin.backward(case.spec, given.state, given.x, given.cotangent), {}, None)
    slopes = twin.gradients(case.spec, given.state, given.x, given.y, case.loss)
    if case.optimizer is None:
        return _Answer(columns, slopes, {}, None)
    trainer = twin.Trainer(case.spec, given.state, loss=case.loss, steps=1, optimizer=case.optimizer, seed=case.seed)
    stepped = trainer.step(given.x, given.y)
    return _Answer(columns, slopes, dict(stepped.state), stepped.loss)


def _compared(case: Case, ours: _Answer, theirs: _Answer, start: State) -> list[Compared]:
    allowed = ALLOWED[case.dtype]
    found = agreement.columns(ours.columns, vars(theirs.columns), allowed.norms, allowed.shares)
    found += agreement.gradients(ours.gradients, theirs.gradients, allowed.gradients)
    if theirs.loss is not None:
        steps = agreement.steps(ours.after, theirs.after, start)
        found += [each._replace(name=f"{each.name} after a step") for each in steps]
        pair = np.array(ours.loss), np.array(theirs.loss)
        found.append(Compared("loss of a step", *pair, agreement.apart(*pair, allowed.gradients * (1 + abs(pair[1])))))
    return found


def _nudged(given: _Given, random: np.random.Generator, dtype: str) -> _Given:
    """Weights, samples and cotangent with other last digits."""
    most = DIGITS * float(np.finfo(dtype).eps)

    def nudge(values: Array) -> Array:
        moved: Array = values * (1 + random.uniform(-most, most, values.shape))
        return moved

    return _Given({name: nudge(w) for name, w in given.state.items()}, nudge(given.x), given.y, given.cotangent)


def _threads(case: Case, given: _Given) -> list[Compared]:
    """The columns of some seeds by one thread and by several, to the last bit."""
    how: dict[str, Any] = {"x": given.x, "y": given.y, "loss": case.loss, "dtype": case.dtype}
    several = max(2, _core.build_info()["threads"])
    one, all_ = (columns_of(probe(case.spec, **how, seeds=16, threads=count)) for count in (1, several))
    return [
        Compared(f"{name} by {several} threads", all_[name], column, agreement.apart(all_[name], column, 1e-300))
        for name, column in one.items()
    ]
