"""Which steps of a run are recorded, validated or kept: rules as a caller gives them, as step numbers 1, 2, ..."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vgcore.model.given import integer, items, wrong_type

Steps: TypeAlias = NDArray[np.int64]
#: How recorded steps are given: every so many, a list, `"log"`, or None for what suits the length of the run.
Rule: TypeAlias = int | str | Iterable[int] | None

#: Runs up to so many steps record each of them; of longer ones about so many are recorded, and the first few.
WHOLE, THINNED, FIRST = 256, 200, 16
#: Validations of a run, unless it is said how often; checkpoints likewise.
VALIDATED, KEPT = 100, 16
#: Steps between two states, at least, unless it is said how many: a state takes as long as some steps, and a short run
#: is soon run again.
APART = 25
#: Bytes that the checkpoints of a run may take.
MEMORY = 256 << 20
RECORD = "None, a number of steps, a list of steps or 'log'"


def checked(rule: Any, steps: int) -> int | str | tuple[int, ...] | None:
    """A rule of what is recorded, as it can be kept.

    >>> checked([5, 1, 5], steps=10)
    (1, 5)
    """
    if rule is None or (isinstance(rule, str) and rule == "log"):
        return rule
    if isinstance(rule, str):
        raise wrong_type("record", RECORD, rule)
    if isinstance(rule, Iterable):
        listed = items("record", rule, RECORD, ordered=False)
        if not listed:
            raise ValueError("record must list one step or more, got none; monitor=[] records nothing of layers")
        return tuple(sorted({integer("record", step, least=1, most=steps) for step in listed}))
    return integer("record", rule, least=1)


def recorded(rule: int | str | tuple[int, ...] | None, steps: int) -> Steps:
    """The steps that are recorded; the first and the last are among them, unless they are listed.

    Args:
        rule: Every so many; those listed; `"log"` for about 200 that are denser at the beginning; or None for each of
            them up to 256, and of a longer run the first 16, where nets break, and about 200 evenly spread.
        steps: Steps of the run.

    >>> recorded(4, 10), recorded("log", 1000)[:4], len(recorded(None, 256)), len(recorded(None, 10_000))
    (array([ 1,  5,  9, 10]), array([1, 2, 3, 4]), 256, 216)
    """
    if isinstance(rule, tuple):
        return np.array(rule, dtype=np.int64)
    if rule == "log":
        return np.unique(np.rint(np.geomspace(1, steps, THINNED)).astype(np.int64))
    if isinstance(rule, int):
        return ends(np.arange(1, steps + 1, rule), steps)
    if steps <= WHOLE:
        return np.arange(1, steps + 1)
    return np.union1d(np.arange(1, FIRST + 1), recorded(-(-steps // THINNED), steps))


def ends(found: Steps, steps: int) -> Steps:
    """Steps, the last one of the run among them."""
    return np.append(found, steps) if not len(found) or found[-1] < steps else found


def validated(every: int | None, steps: int, epoch: int) -> Steps:
    """The steps after which a run is validated: at the end of each epoch, at most 100 times; or every so many.

    >>> validated(None, 10, epoch=4), len(validated(None, 1000, epoch=1)), validated(3, 7, epoch=4)
    (array([ 4,  8, 10]), 100, array([3, 6, 7]))
    """
    each = every or max(epoch, -(-steps // VALIDATED))
    return ends(np.arange(each, steps + 1, each), steps)


def kept(count: int | None, steps: int, size: int) -> Steps:
    """The steps before which the state of a run is kept, evenly spread from the first one on.

    Args:
        count: How many; None for about 16, at most one in 25 steps, and no more than 256 MB hold.
        steps: Steps of the run.
        size: Bytes of a state, of all seeds.

    >>> kept(4, 100, 1), kept(None, 100, 64 << 20), kept(0, 100, 1)
    (array([ 1, 26, 51, 76]), array([ 1, 26, 51, 76]), array([], dtype=int64))
    """
    if count is None:
        count = min(KEPT, MEMORY // max(size, 1), -(-steps // APART))
    count = min(count, steps)
    if not count:
        return np.array([], dtype=np.int64)
    return 1 + np.arange(count, dtype=np.int64) * steps // count


def every(rule: int | None, steps: int) -> Steps:
    """Every so many steps from the first one on, and the last; none where there is no rule."""
    return np.array([], dtype=np.int64) if rule is None else recorded(rule, steps)
