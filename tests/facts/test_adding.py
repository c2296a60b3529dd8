"""What recurrent nets learn of sums over a hundred steps: the adding problem (Hochreiter and Schmidhuber 1997)."""

import pytest

import vgcore as vg


@pytest.mark.parametrize(
    ("cell", "lr", "least", "most"), [("gru(update_bias=1)", 0.005, 0, 0.01), ("tanh", 0.001, 0.15, 0.2)]
)
def test_a_gru_adds_two_numbers_a_hundred_steps_apart_and_a_plain_net_does_not(
    cell: str, lr: float, least: float, most: float
) -> None:
    spec = vg.RNN(100, 32, in_features=2, out_features=1, cell=cell)
    run = vg.train(spec, *vg.data.adding(100, 20_000), steps=1500, batch=32, optimizer=vg.Adam(lr), clip=1.0)
    # Chance, the variance of a sum of two uniforms, is 1/6.
    assert least <= run.evaluate(*vg.data.adding(100, 2000, seed=1)).loss < most
