"""Dropout, and nets that are lists of parts: the core against the twin in NumPy."""

from typing import Any

import numpy as np
import pytest

import vgcore as vg
from vgcore import reference

ROWS, SEED = 12, 7
Y = np.arange(ROWS) % 3
DROPPING: list[dict[str, Any]] = [
    {"dropout": 0.3},
    {"dropout": [0.5, 0.0, 0.2], "activation": "tanh"},
    {"dropout": 0.1, "skip": "residual(order=post)"},
    {"dropout": 0.4, "skip": "residual(order=pre)", "norm": "layer"},
    {"dropout": 0.2, "skip": "highway", "activation": "gelu"},
    {"dropout": 0.2, "skip": "dense", "activation": "prelu", "norm": "batch"},
    {"dropout": 0.3, "tied": True},
]
LISTS = [
    "dropout(0.2) | linear(7) | tanh | keep(a) | linear(4) | gelu | dropout(0.5) | linear(3) | project(a, 0.7)",
    "linear(6) | keep(a) | layer | linear(9) | prelu | linear(6) | dropout(0.3) | rezero(a) | rms | linear(3)",
    "keep(x) | linear(5) | relu | concat(x) | keep(y) | linear(4) | silu | project(y) | project(x) | linear(3)",
    "linear(6) | keep(a) | keep(b) | linear(6) | tanh | add(b, 0.5) | batch | dropout(0.1) | add(a) | linear(3)",
]
SPECS = [
    *(vg.MLP(depth=3, width=6, in_features=6, out_features=3, **fields) for fields in DROPPING),
    *(vg.Sequential(parts.split(" | "), in_features=6, bias="normal(std=0.3)") for parts in LISTS),
]


def samples(columns: int) -> reference.Array:
    """Standard normal rows."""
    return reference.Stream(1, reference.INPUT).normal((ROWS, columns))


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_steps_with_masks_are_those_of_the_twin(spec: Any) -> None:
    net = spec.init(seed=2, dtype="float64")
    optimizer = "sgd(lr=0.1, momentum=0.9)"
    twin = reference.Trainer(spec, net.state_dict(), loss="cross_entropy", steps=4, optimizer=optimizer, seed=SEED)
    x = samples(6)
    expected = reference.train(twin, x, Y)
    how: dict[str, Any] = {"loss": "cross_entropy", "steps": 4, "batch": ROWS, "optimizer": optimizer}
    run = vg.train(net, x, Y, schedule="constant", seed=SEED, **how)
    np.testing.assert_allclose(run.loss[0], [step.loss for step in expected], rtol=1e-10)
    found = run.network.state_dict()
    for name, value in expected[-1].state.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-9, atol=1e-11, err_msg=name)
    other = vg.train(net, x, Y, schedule="constant", seed=SEED + 1, **how)
    drops = isinstance(spec, vg.MLP) or any("dropout" in part for part in spec.parts)
    assert np.array_equal(run.loss, other.loss) != drops


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_outside_of_training_nothing_is_dropped_and_gradients_are_those_of_the_twin(
    spec: Any,
) -> None:
    net = spec.init(seed=2, dtype="float64")
    x, cotangent = samples(6), samples(3)
    state = net.state_dict()
    np.testing.assert_allclose(net.forward(x), reference.forward(spec, state, x), rtol=1e-12, atol=1e-13)
    expected, found = reference.backward(spec, state, x, cotangent), net.backward(x, cotangent)
    assert found.parameters.keys() == expected.parameters.keys()
    for name, value in expected.parameters.items():
        np.testing.assert_allclose(found.parameters[name], value, rtol=1e-10, atol=1e-12, err_msg=name)
    np.testing.assert_allclose(found.input, expected.input, rtol=1e-10, atol=1e-12)
    assert max(vg.gradcheck(spec, seed=3).values()) < 1e-6
