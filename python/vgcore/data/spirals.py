"""Two spirals, each a class: the smallest problem that wants depth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vgcore import _core
from vgcore.model.given import integer

#: The most samples.
MOST = 10_000_000
#: How often a spiral goes around.
TURNS = 1.0
#: Coordinates are multiples of one over this: the sines of two libraries differ less, so the numbers are everywhere the
#: same, and exact in float32.
GRID = 1024


def spirals(n: int = 256) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Points of two spirals around each other, and which of them each is of.

    The first and every other point is of class 0. Point k of m on a spiral lies at the share t = (k + 1/2) / m of its
    way: at the radius sqrt(6) t, one turn from its beginning to its end, and on the other spiral half a turn on. So
    coordinates have a mean square of about 1. They are rounded to multiples of 1/1024; nothing is random.

    Args:
        n: How many points, 2 or more.

    Returns:
        x of shape (n, 2), and class ids of shape (n,), for the loss `cross_entropy`.

    Raises:
        ValueError: For values out of bounds.
        MemoryError: Where the points do not fit into memory.

    The problem is that of Lang and Witbrock 1988, whose spirals turn three times.

    Example:
        >>> x, y = spirals()
        >>> x.shape, y[:4].tolist(), bool((x * 1024 == np.rint(x * 1024)).all())
        ((256, 2), [0, 1, 0, 1], True)
    """
    n = integer("n", n, least=2, most=MOST)
    _core.check_memory(f"{n} points", 8 * 8 * n)
    point = np.arange(n, dtype=np.int64)
    y = point % 2
    t = (point // 2 + 0.5) / (n / 2)
    angle = 2 * np.pi * TURNS * t + np.pi * y
    x = np.sqrt(6) * t[:, np.newaxis] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return np.rint(x * GRID) / GRID + 0.0, y  # without a zero that is negative
