"""Recurrent nets of Keras, on the backend that KERAS_BACKEND names: what they become here, and what is refused."""

import importlib.util
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import vgcore as vg
from vgcore.convert.imported import Refusal

os.environ.setdefault("KERAS_BACKEND", "jax" if importlib.util.find_spec("jax") else "torch")
keras = pytest.importorskip("keras", reason="keras is not installed")
if keras.backend.backend() not in {"jax", "torch"}:
    pytest.skip("KERAS_BACKEND is neither jax nor torch", allow_module_level=True)

from keras import layers as L  # noqa: E402, N812 (only where keras is; short, for the tables)

# Of Keras on torch, which hands tensors to NumPy in a way that is going out of use.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Make = Callable[[], Any]
STEPS, FEATURES, WIDTH = 5, 3, 4


def sequential(*parts: Any, steps: int | None = STEPS) -> Any:
    return keras.Sequential([keras.Input((steps, FEATURES)), *parts])


def functional() -> Any:
    inputs = keras.Input((STEPS, FEATURES))
    return keras.Model(inputs, L.Dense(2)(L.LSTM(WIDTH)(inputs)))


def written() -> Any:
    class Written(keras.Model):  # type: ignore[misc, name-defined]  # Keras may not be there
        def __init__(self) -> None:
            super().__init__()
            self.cell = L.LSTM(WIDTH)

        def call(self, x: Any) -> Any:
            return self.cell(x)

    model = Written()
    model(np.zeros((2, STEPS, FEATURES), "float32"))
    return model


ACCEPTED: dict[str, tuple[Make, dict[str, Any]]] = {
    "an LSTM": (
        lambda: sequential(L.LSTM(WIDTH), L.Dense(2)),
        {"cell": "lstm", "biases": 1, "steps": STEPS, "width": WIDTH, "out_features": 2},
    ),
    "a GRU": (lambda: sequential(L.GRU(WIDTH), L.Dense(2)), {"cell": "gru", "biases": 2}),
    "a GRU with the reset before": (
        lambda: sequential(L.GRU(WIDTH, reset_after=False)),
        {"cell": "gru(reset=before)", "biases": 1, "out_features": None},
    ),
    "a GRU without biases": (lambda: sequential(L.GRU(WIDTH, use_bias=False)), {"bias": False}),
    "an LSTM without biases": (lambda: sequential(L.LSTM(WIDTH, use_bias=False)), {"cell": "lstm(forget_bias=0)"}),
    "tanh": (lambda: sequential(L.SimpleRNN(WIDTH), L.Dense(2)), {"cell": "tanh"}),
    "relu": (lambda: sequential(L.SimpleRNN(WIDTH, activation="relu"), L.Dense(2)), {"cell": "relu"}),
    "two layers": (
        lambda: sequential(L.LSTM(WIDTH, return_sequences=True), L.Dropout(0.2), L.LSTM(WIDTH), L.Dense(2)),
        {"layers": 2},
    ),
    "every step": (lambda: sequential(L.GRU(WIDTH, return_sequences=True), L.Dense(2)), {"outputs": "every"}),
    "a map of every step": (
        lambda: sequential(L.SimpleRNN(WIDTH, return_sequences=True), L.TimeDistributed(L.Dense(2))),
        {"outputs": "every", "out_features": 2},
    ),
    "softmax at the end": (lambda: sequential(L.LSTM(WIDTH), L.Dense(2, activation="softmax")), {}),
    "a functional model": (functional, {"cell": "lstm"}),
}


def drawn(model: Any) -> Any:
    """Other numbers, so that all of them count."""
    draw = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign(draw.standard_normal(variable.shape) / 2)
    return model


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_recurrent_model_becomes_a_net_with_its_outputs(name: str) -> None:
    make, expected = ACCEPTED[name]
    model = drawn(make())
    found = vg.from_keras(model)
    spec: Any = found.spec
    assert {field: getattr(spec, field) for field in expected} == expected
    x = np.random.default_rng(5).standard_normal((8, STEPS, FEATURES))
    theirs = keras.ops.convert_to_numpy(model(x.astype("float32"), training=False)).reshape(8, -1)
    ours = found.network.forward(x.reshape(8, -1))
    if name == "softmax at the end":
        ours = np.exp(ours) / np.exp(ours).sum(1, keepdims=True)
        assert "the last softmax belongs to the loss" in found.notes[0]
    assert np.abs(ours - theirs).max() < 1e-5  # Keras computes in float32
    assert all(np.isin(array.astype(np.float32), array).all() for array in found.network.state_dict().values())


def test_the_model_stays_as_it_was() -> None:
    model = ACCEPTED["softmax at the end"][0]()
    before = [np.array(each) for each in model.get_weights()]
    vg.from_keras(model)
    assert all(np.array_equal(one, two) for one, two in zip(before, model.get_weights(), strict=True))
    assert model.layers[-1].activation is keras.activations.softmax


def test_the_shape_of_samples_says_how_many_steps_there_are() -> None:
    model = sequential(L.LSTM(WIDTH), L.Dense(2), steps=None)
    spec: Any = vg.from_keras(model, x=np.zeros((2, 40, FEATURES))).spec
    assert spec.steps == 40
    with pytest.raises(ValueError, match="x must be given"):
        vg.from_keras(model)


# Of each: the model, and what operation, reason and the nearest say.
REFUSED: dict[str, tuple[Make, tuple[str, str, str]]] = {
    "both directions": (
        lambda: sequential(L.Bidirectional(L.LSTM(WIDTH))),
        ("Bidirectional", "both ends", "LSTM itself is possible"),
    ),
    "from the end": (
        lambda: sequential(L.LSTM(WIDTH, go_backwards=True)),
        ("LSTM", "from their end", "go_backwards=False"),
    ),
    "a state that is kept": (
        lambda: keras.Sequential([keras.Input(batch_shape=(2, STEPS, FEATURES)), L.GRU(WIDTH, stateful=True)]),
        ("GRU", "from batch to batch", "stateful=False"),
    ),
    "dropped inputs": (lambda: sequential(L.LSTM(WIDTH, dropout=0.1)), ("LSTM", "drops inputs", "dropout=0")),
    "dropped states": (
        lambda: sequential(L.GRU(WIDTH, recurrent_dropout=0.1)),
        ("GRU", "parts of its state", "recurrent_dropout=0"),
    ),
    "other activations": (
        lambda: sequential(L.LSTM(WIDTH, activation="relu")),
        ("LSTM", "activations are not those", "sigmoid for gates"),
    ),
    "two maps": (lambda: sequential(L.LSTM(WIDTH), L.Dense(4), L.Dense(2)), ("Dense", "no place", "one Dense")),
    "a map before": (lambda: sequential(L.Dense(4), L.LSTM(WIDTH)), ("Dense", "no place", "one Dense")),
    "an activation behind": (
        lambda: sequential(L.LSTM(WIDTH), L.Dense(1, activation="sigmoid")),
        ("Dense", "activation sigmoid", "leave it to the loss"),
    ),
    "two widths": (
        lambda: sequential(L.LSTM(WIDTH, return_sequences=True), L.LSTM(2)),
        ("LSTM", "another width", "one width"),
    ),
    "a call written by hand": (written, ("Written", "by hand", "functional or sequential")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_recurrent_model_without_an_equal_is_refused_with_what_is_possible(name: str) -> None:
    make, (operation, reason, nearest) = REFUSED[name]
    with pytest.raises(Refusal) as refused:
        vg.from_keras(make(), x=np.zeros((2, STEPS, FEATURES)))
    assert refused.value.operation == operation
    assert reason in refused.value.reason
    assert nearest in refused.value.nearest
    assert "\n" not in str(refused.value)
