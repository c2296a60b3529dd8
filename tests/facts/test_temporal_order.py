"""What nets learn of the order of two symbols among others (Hochreiter and Schmidhuber 1997, Pascanu et al. 2013)."""

import pytest

import vgcore as vg
from vgcore.model.spec import Spec


def accuracy(spec: Spec, steps: int, lr: float, updates: int, *, seed: int = 0) -> float:
    """Share of held-out sequences of so many steps whose order is told."""
    problem, held = vg.data.temporal_order(steps, 20_000), vg.data.temporal_order(steps, 2000, seed=1)
    how = {"batch": 32, "optimizer": vg.Adam(lr), "clip": 1.0, "monitor": (), "seed": seed}
    return vg.train(spec, *problem, steps=updates, **how).evaluate(*held).accuracy  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(3))
def test_a_plain_orthogonal_net_with_small_inputs_tells_an_order_fifty_steps_long(seed: int) -> None:
    spec = vg.RNN(50, 32, in_features=6, out_features=4, cell="tanh", init="torch_rnn")
    assert accuracy(spec, 50, 0.003, 1500, seed=seed) > 0.99


def test_attention_tells_an_order_only_if_a_token_does_not_see_those_behind_it() -> None:
    """There are no positions: a bag of tokens has both symbols, and half of its sequences have two different ones."""
    spec = vg.Transformer(1, 16, tokens=10, in_features=6, out_features=4, pool="mean")
    assert accuracy(spec.replace(causal=True), 10, 0.003, 500) > 0.99
    assert accuracy(spec, 10, 0.003, 500) == pytest.approx(0.75, abs=0.03)
