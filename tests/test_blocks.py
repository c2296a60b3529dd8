"""Blocks of rows of one weight are drawn each by itself: the gates of a cell, or queries, keys and values.

The core's own tests assert the same of the core (`part::map`).
"""

from __future__ import annotations

import numpy as np
import pytest

import vgcore as vg
from vgcore.reference.init import weight
from vgcore.reference.kind import parse
from vgcore.reference.plan import Place
from vgcore.reference.random import WEIGHT, Stream


def place(init: str, rows: int, factors: tuple[float, ...] = (1.0,)) -> Place:
    """A map of five columns in a hidden layer."""
    return Place(5, rows, 1, "tanh", 3, 0, False, parse(str(vg.Init(init))), None, 1, factors=factors)


STREAM = Stream(7, WEIGHT, 2)


def test_each_block_is_orthogonal_times_its_factor() -> None:
    w = weight(place("orthogonal(gain=2)", 12, (0.5, 1.5, 0.0)), STREAM).reshape(3, 4, 5)
    for block, factor in zip(w, (1.0, 3.0, 0.0), strict=True):
        np.testing.assert_allclose(block @ block.T, factor**2 * np.eye(4), atol=1e-14)
    assert np.abs(w[1] - 3 * w[0]).max() > 0.1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_blocks_follow_each_other_in_one_stream(dtype: str) -> None:
    stream = Stream(7, WEIGHT, 2, dtype)
    whole = weight(place("normal(mean=0.1, std=0.3)", 12), stream)
    assert np.array_equal(weight(place("normal(mean=0.1, std=0.3)", 12, (1.0, 1.0, 1.0)), stream), whole)
    ragged = weight(place("normal(mean=0.1, std=0.3)", 6, (1.0, 1.0)), stream).ravel()
    assert np.array_equal(ragged[:15], whole.ravel()[:15])
    assert np.array_equal(ragged[15:], whole.ravel()[20:35])


def test_a_sparse_block_has_its_own_zeros() -> None:
    w = weight(place("sparse(sparsity=0.5, std=1)", 6, (1.0, 1.0)), STREAM).reshape(2, 3, 5)
    assert ((w == 0).sum(axis=1) == 2).all()
    assert not np.array_equal(w[0] == 0, w[1] == 0)


def test_a_block_has_the_variance_of_a_map_of_its_own_shape() -> None:
    """Glorot's 2 / (fan_in + fan_out), of the rows of the block."""
    w = weight(place("xavier_uniform", 3 * 4000, (1.0, 1.0, 1.0)), STREAM)
    assert np.abs(w).max() == pytest.approx(np.sqrt(6 / 4005), rel=1e-3)
