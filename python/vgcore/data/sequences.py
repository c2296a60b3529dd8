"""Problems that ask a net to remember: `adding`, `copy`, `temporal_order` and `sequential_digits`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from vgcore import _core
from vgcore.data.digits import digits
from vgcore.model.given import integer
from vgcore.model.names import known
from vgcore.model.shown import Shown
from vgcore.model.versioned import Versioned

Sum: TypeAlias = Literal["sum", "mean"]
Convention: TypeAlias = Literal["code", "paper"]
Step: TypeAlias = Literal["pixel", "row"]

#: The most steps of a sequence.
LONGEST = 100_000
#: The most sequences.
MOST = 10_000_000
#: The first seed that there is none of.
SEEDS = 2**64
#: Symbols to remember, how many of them there are to choose from, and the ids of the two others.
COPIED, SYMBOLS, BLANK, DELIMITER = 10, 8, 8, 9
#: Where marks may stand, as tenths of a sequence that each window of a tenth begins at, by their number.
WINDOWS: dict[tuple[int, str], tuple[int, ...]] = {
    (2, "code"): (1, 5),
    (2, "paper"): (1, 4),
    (3, "code"): (1, 3, 6),
    (3, "paper"): (1, 3, 6),
}
#: Of temporal order: the first ids are marks, the others distract.
MARKS, DISTRACTORS = 2, 4


@dataclass(frozen=True, eq=False, repr=False)
class Sequences(Versioned, Shown):
    """Sequences with their targets, the loss that they are for, and what a net that does not look comes to.

    `x, y = ...` takes it apart, and `vg.train(spec, *sequences, loss=sequences.loss)` takes it whole.

    Attributes:
        name: What the problem is called.
        x: The sequences, float64 of shape (n, steps, features).
        y: The targets: class ids, int64 of shape (n,), or (n, steps) where each step has one; or numbers, float64 of
            shape (n, 1).
        loss: The loss that `chance` is of.
        chance: The expected loss, in nats for `cross_entropy`, of the best outputs that do not depend on x: the same
            for every sequence, though not for every step. It is exact: of the law that sequences are drawn from, or of
            the digits that there are.
        outputs: The outputs that a net needs, at each step where each step has a target.
        source: Where the problem is from.

    Example:
        >>> import vgcore as vg
        >>> problem = vg.data.adding(8, 100)
        >>> problem
        Sequences(adding: 100 of 8 steps of 2, mse, chance 0.1667)
        >>> spec = vg.MLP(depth=8, width=16, in_features=2, out_features=1, tied=True, inputs="every")
        >>> x, y = problem
        >>> vg.probe(spec, x=x, y=y, loss=problem.loss).loss
        'mse'
    """

    name: str
    x: NDArray[np.float64]
    y: NDArray[Any]
    loss: str
    chance: float
    outputs: int
    source: str

    @property
    def steps(self) -> int:
        """Steps of a sequence."""
        return int(self.x.shape[1])

    @property
    def features(self) -> int:
        """Numbers of a step."""
        return int(self.x.shape[2])

    def __iter__(self) -> Iterator[NDArray[Any]]:
        yield from (self.x, self.y)

    def __repr__(self) -> str:
        shape = f"{len(self.x)} of {self.steps} steps of {self.features}"
        return f"Sequences({self.name}: {shape}, {self.loss}, chance {self.chance:.4g})"


def adding(steps: int, n: int, seed: int = 0, *, target: Sum = "sum") -> Sequences:
    """Add the two numbers that are marked.

    A step has a number from U(0, 1) and a mark, which is 1 at two steps and 0 elsewhere: one in the first half, one in
    the second, each place as likely.

    Args:
        steps: Steps of a sequence, 2 or more.
        n: How many sequences. The first of them are the same for every n.
        seed: A seed of NumPy's PCG64, whose 64-bit words alone are used.
        target: `"sum"` of the two numbers, as in most papers: chance is 1/6. Or their `"mean"`, as in Pascanu's code:
            chance is 1/24.

    Returns:
        x of shape (n, steps, 2), the number first, and y of shape (n, 1), for the loss `mse`.

    Raises:
        ValueError: For values out of bounds.
        MemoryError: Where the sequences do not fit into memory.

    The problem is that of Hochreiter and Schmidhuber 1997 (section 5.4), with numbers and marks as in Arjovsky et al.
    2016, arXiv:1511.06464. Pascanu's code has the first mark in the first tenth, and the second before the middle.

    Example:
        >>> x, y = adding(100, 2)
        >>> x.shape, (x[..., 0] * x[..., 1]).sum(axis=1, keepdims=True).tolist() == y.tolist()
        ((2, 100, 2), True)
    """
    steps = integer("steps", steps, least=2, most=LONGEST)
    summed = known("target", target, get_args(Sum)) == "sum"
    words = _words(n, seed, steps + 2, 2 * steps)
    half, rows = steps // 2, np.arange(len(words))
    first, second = _below(half, words[:, 0]), half + _below(steps - half, words[:, 1])
    x = np.zeros((len(words), steps, 2))
    x[..., 0] = _uniform(words[:, 2:])
    x[rows, first, 1] = x[rows, second, 1] = 1.0
    y = x[rows, first, 0] + x[rows, second, 0]
    y, chance = (y, 1 / 6) if summed else (y / 2, 1 / 24)
    source = "Hochreiter and Schmidhuber 1997, section 5.4, as in Arjovsky et al. 2016"
    return Sequences("adding", x, y[:, np.newaxis], "mse", chance, 1, source)


def copy(delay: int, n: int, seed: int = 0) -> Sequences:
    """Say ten symbols again after a delay.

    A sequence has `delay + 20` steps, each one-hot of ten ids: ten symbols, 0 to 7, each as likely; `delay - 1` blanks,
    8; a delimiter, 9; and ten blanks. The targets are blanks, and the ten symbols in the last ten steps.

    Args:
        delay: Steps from the last symbol to the delimiter, 1 or more: the T of the paper.
        n: How many sequences. The first of them are the same for every n.
        seed: A seed of NumPy's PCG64, whose 64-bit words alone are used.

    Returns:
        x of shape (n, delay + 20, 10) and y, class ids of 9 classes, of shape (n, delay + 20), for the loss
        `cross_entropy` at every step. Chance is 10 ln 8 / (delay + 20): blanks are known by their steps, and the last
        ten symbols are guessed.

    Raises:
        ValueError: For values out of bounds.
        MemoryError: Where the sequences do not fit into memory.

    The problem is that of Arjovsky et al. 2016, arXiv:1511.06464 (section 4.1), after Hochreiter and Schmidhuber 1997.

    Example:
        >>> problem = copy(100, 3)
        >>> problem.x.shape, problem.y.shape, round(problem.chance, 6)
        ((3, 120, 10), (3, 120), 0.173287)
        >>> bool((problem.y[:, -10:] == problem.x[:, :10].argmax(axis=2)).all())
        True
    """
    delay = integer("delay", delay, least=1, most=LONGEST)
    steps = delay + 2 * COPIED
    symbols = _below(SYMBOLS, _words(n, seed, COPIED, (DELIMITER + 2) * steps))
    ids = np.full((len(symbols), steps), BLANK)
    y = ids.copy()
    ids[:, :COPIED] = y[:, -COPIED:] = symbols
    ids[:, COPIED + delay - 1] = DELIMITER
    chance = COPIED * math.log(SYMBOLS) / steps
    source = "Arjovsky et al. 2016, section 4.1"
    return Sequences("copy", _one_hot(ids, DELIMITER + 1), y, "cross_entropy", chance, BLANK + 1, source)


def temporal_order(
    steps: int, n: int, seed: int = 0, *, bits: Literal[2, 3] = 2, convention: Convention = "code"
) -> Sequences:
    """Say in which order marks came.

    A step is one-hot of six symbols: at two steps (or three) one of A and B, ids 0 and 1, each as likely; at all others
    one of c, d, e, f, ids 2 to 5, each as likely. The class is that of the marks in their order, a bit each, the first
    the lowest.

    Args:
        steps: Steps of a sequence, T, 10 or more.
        n: How many sequences. The first of them are the same for every n.
        seed: A seed of NumPy's PCG64, whose 64-bit words alone are used.
        bits: Marks. Each has a window of T/10 steps, in which every place is as likely; those of three begin at T/10,
            3T/10 and 6T/10.
        convention: Where the windows of two marks begin: T/10 and 5T/10 in Pascanu's `"code"`, T/10 and 4T/10 in the
            `"paper"`.

    Returns:
        x of shape (n, steps, 6) and y, class ids of 4 or 8 classes, of shape (n,), for the loss `cross_entropy`. Chance
        is ln 4 or ln 8.

    Raises:
        ValueError: For values out of bounds.
        MemoryError: Where the sequences do not fit into memory.

    The problem is that of Pascanu et al. 2013, arXiv:1211.5063, after Hochreiter and Schmidhuber 1997 (section 5.6),
    who have symbols of their own for the first and the last step, and lengths that differ.

    Example:
        >>> problem = temporal_order(50, 4, bits=3)
        >>> problem.x.shape, problem.outputs, round(problem.chance, 5)
        ((4, 50, 6), 8, 2.07944)
    """
    steps = integer("steps", steps, least=10, most=LONGEST)
    windows = WINDOWS[integer("bits", bits, least=2, most=3), known("convention", convention, get_args(Convention))]
    words = _words(n, seed, steps + 2 * bits, (MARKS + DISTRACTORS + 1) * steps)
    rows = np.arange(len(words))
    ids, marks = MARKS + _below(DISTRACTORS, words[:, 2 * bits :]), _below(MARKS, words[:, :bits])
    for bit, tenth in enumerate(windows):
        ids[rows, tenth * steps // 10 + _below(steps // 10, words[:, bits + bit])] = marks[:, bit]
    y = marks @ (1 << np.arange(bits))
    source = f"Pascanu et al. 2013, their {convention}"
    name = f"temporal order of {bits}"
    return Sequences(name, _one_hot(ids, MARKS + DISTRACTORS), y, "cross_entropy", bits * math.log(2), 2**bits, source)


def sequential_digits(*, by: Step = "pixel", permuted: int | None = None, standardize: bool = True) -> Sequences:
    """The bundled digits, read pixel by pixel or row by row.

    Args:
        by: `"pixel"`: 64 steps of one pixel, row by row of the image. `"row"`: 8 steps of 8 pixels.
        permuted: A seed of NumPy's PCG64 for an order of the 64 pixels that all images share, drawn before steps are
            made of them; None leaves them in order.
        standardize: As for `digits`.

    Returns:
        x of shape (1797, 64, 1) or (1797, 8, 8) and y, class ids of 10 classes, of shape (1797,), for the loss
        `cross_entropy`. Chance is the entropy of the classes, which are not all as many: 2.3024, where ln 10 is 2.3026.

    Raises:
        ValueError: For values out of bounds.

    The problem is that of Le et al. 2015, arXiv:1504.00941 (section 4.2), on smaller images.

    Example:
        >>> sequential_digits(permuted=0)
        Sequences(permuted digits by pixel: 1797 of 64 steps of 1, cross_entropy, chance 2.302)
    """
    width = 1 if known("by", by, get_args(Step)) == "pixel" else 8
    x, y = digits(standardize=standardize)
    if permuted is not None:
        seed = integer("permuted", permuted, least=0, most=SEEDS - 1)
        x = x[:, np.argsort(np.random.PCG64(seed).random_raw(x.shape[1]), kind="stable")]
    shares = np.bincount(y) / len(y)
    chance = -float(shares @ np.log(shares))
    series = np.ascontiguousarray(x).reshape(len(x), -1, width)
    name = f"{'sequential' if permuted is None else 'permuted'} digits by {by}"
    return Sequences(name, series, y, "cross_entropy", chance, len(shares), "Le et al. 2015, section 4.2, at 8 x 8")


def _words(n: int, seed: int, each: int, numbers: int) -> NDArray[np.uint64]:
    """Random words of 64 bits, `each` a sequence, where what is made of a sequence takes so many numbers.

    A bit generator's words stay as they are in all versions of NumPy; what is drawn from them may not.
    """
    n = integer("n", n, least=1, most=MOST)
    seed = integer("seed", seed, least=0, most=SEEDS - 1)
    _core.check_memory(f"{n} sequences", 8 * n * (3 * each + numbers))
    words: NDArray[np.uint64] = np.random.PCG64(seed).random_raw(n * each)
    return words.reshape(n, each)


def _uniform(words: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Numbers of U[0, 1), of 53 bits each."""
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _below(end: int, words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Whole numbers from 0 to below an end, each as likely to 1 part in 2^32 / end."""
    return ((words >> np.uint64(32)) * np.uint64(end) >> np.uint64(32)).astype(np.int64)


def _one_hot(ids: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    return np.eye(count)[ids]
