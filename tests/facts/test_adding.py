"""What recurrent nets learn of sums over a hundred steps: the adding problem (Hochreiter and Schmidhuber 1997)."""

from typing import Any

import numpy as np
import pytest

import vgcore as vg

Array = np.ndarray[Any, Any]


def adding(steps: int, count: int, seed: int) -> tuple[Array, Array]:
    """Numbers in a column, marks of two of them in another, one in each half, and the sum of these two."""
    draw = np.random.default_rng(seed)
    values, marks = draw.uniform(size=(count, steps)), np.zeros((count, steps))
    rows, first, second = np.arange(count), draw.integers(0, steps // 2, count), draw.integers(steps // 2, steps, count)
    marks[rows, first] = marks[rows, second] = 1
    return np.stack([values, marks], axis=2), (values[rows, first] + values[rows, second])[:, None]


@pytest.mark.parametrize(
    ("cell", "lr", "least", "most"), [("gru(update_bias=1)", 0.005, 0, 0.01), ("tanh", 0.001, 0.15, 0.2)]
)
def test_a_gru_adds_two_numbers_a_hundred_steps_apart_and_a_plain_net_does_not(
    cell: str, lr: float, least: float, most: float
) -> None:
    x, y = adding(100, 20_000, seed=0)
    spec = vg.RNN(100, 32, in_features=2, out_features=1, cell=cell)
    run = vg.train(spec, x, y, steps=1500, batch=32, optimizer=vg.Adam(lr), clip=1.0)
    x, y = adding(100, 2000, seed=1)
    # Chance, the variance of a sum of two uniforms, is 1/6.
    assert least <= np.mean((run.network.forward(x) - y) ** 2) < most
