"""The bundled digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vgcore.model.given import boolean


def digits(*, standardize: bool = True) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return 1797 handwritten digits, images of 8 x 8 pixels, bundled with the package.

    Args:
        standardize: Shift and scale all pixels by one mean and one (population) standard
            deviation. Pixels that are the same in every image stay constant. If false, the
            pixels are the counts 0 to 16 of the source.

    Returns:
        Pixels, float64 of shape (1797, 64), row by row of the image, and the digit of each
        image, int64 of shape (1797,).

    Example:
        >>> x, y = digits()
        >>> x.shape, y.shape
        ((1797, 64), (1797,))
        >>> y[:10].tolist()
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """
    standardize = boolean("standardize", standardize)
    with np.load(Path(__file__).with_name("digits.npz"), allow_pickle=False) as archive:
        x = archive["x"].astype(np.float64)
        y = archive["y"].astype(np.int64)
    if standardize:
        x = (x - x.mean()) / x.std()
    return x, y
