"""Models of Keras, on the backend that KERAS_BACKEND names: what they become here, and what is refused."""
# ruff: noqa: E501 (a row of the tables is a line)

import importlib.util
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import vgcore as vg
from vgcore.convert.imported import NonFinite, Refusal

os.environ.setdefault("KERAS_BACKEND", "jax" if importlib.util.find_spec("jax") else "torch")
keras = pytest.importorskip("keras", reason="keras is not installed")
if keras.backend.backend() not in {"jax", "torch"}:
    pytest.skip("KERAS_BACKEND is neither jax nor torch", allow_module_level=True)

from keras import layers as L  # noqa: E402, N812 (only where keras is; short, for the tables)
from keras import ops  # noqa: E402

# Of Keras on torch, which hands tensors to NumPy in a way that is going out of use.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Array = np.ndarray[Any, np.dtype[Any]]
Make = Callable[[], Any]
TORCH = keras.backend.backend() == "torch"


def sequential(*parts: Any, shape: tuple[int, ...] = (5,)) -> Any:
    return keras.Sequential([keras.Input(shape), *parts])


def stack(activation: Any, *, norm: Any = None, depth: int = 3) -> Any:
    """The usual stack of layers."""
    parts = []
    for _ in range(depth):
        parts += [
            L.Dense(8),
            *([norm()] if norm else []),
            activation() if callable(activation) else L.Activation(activation),
        ]
    return sequential(*parts, L.Dense(3))


class Of(keras.Model):  # type: ignore[misc, name-defined]  # Keras may not be there
    """A model of the given layers, with a call written beside it."""

    def __init__(self, call: Callable[..., Any], features: int = 5, **members: Any) -> None:
        super().__init__()
        self.written = call
        for name, member in members.items():
            setattr(self, name, member)
        self(np.zeros((2, features), "float32"))

    def call(self, x: Any, training: bool = False) -> Any:
        return self.written(self, x, training)


class Residual(L.Layer):  # type: ignore[misc]
    """`x + F(x)` as a layer of the user's own."""

    def __init__(self, features: int, **options: Any) -> None:
        super().__init__(**options)
        self.inner = L.Dense(features, activation="tanh")

    def call(self, x: Any) -> Any:
        return x + self.inner(x)


def functional(ends: Callable[[Any], Any] = lambda h: h, blocks: int = 3) -> Any:
    x = keras.Input((5,))
    h = L.Dense(8, activation="relu")(x)
    for _ in range(blocks):
        h = L.Add()([h, L.Dense(8, activation="relu")(h)])
    return keras.Model(x, ends(L.Dense(3)(h)))


def side_by_side() -> Any:
    x = keras.Input((5,))
    h = x
    for _ in range(3):
        h = L.Concatenate()([h, L.Dense(4, activation="relu")(h)])
    return keras.Model(x, L.Dense(3)(h))


def pre_norm(dropout: float = 0.0) -> Any:
    x = keras.Input((5,))
    h = L.Dense(8)(x)
    for _ in range(3):
        branch = L.Dense(8)(L.Dense(32, activation="gelu")(L.LayerNormalization()(h)))
        h = h + (L.Dropout(dropout)(branch) if dropout else branch)
    return keras.Model(x, L.Dense(3)(L.LayerNormalization()(h)))


def gated() -> Any:
    def call(self: Any, x: Any, _: bool) -> Any:
        return self.down(ops.silu(self.gate(x)) * self.up(x))

    return Of(call, gate=L.Dense(8), up=L.Dense(8), down=L.Dense(3))


def again() -> Any:
    def call(self: Any, x: Any, _: bool) -> Any:
        h = x
        for _step in range(3):
            h = ops.tanh(self.cell(h))
        return self.last(h)

    return Of(call, cell=L.Dense(5), last=L.Dense(3))


def half_way() -> Any:
    x = keras.Input((5,))
    h = L.Dense(8, activation="relu")(L.Dense(8, activation="relu")(x))
    h = L.Dense(8, activation="relu")(L.Concatenate()([x, h]))
    return keras.Model(x, L.Dense(3)(h))


def projected() -> Any:
    x = keras.Input((5,))
    h = L.Add()([L.Dense(8)(x), L.Dense(8)(L.Dense(8, activation="relu")(x))])
    return keras.Model(x, L.Dense(3)(L.ReLU()(h)))


def drawn(model: Any) -> Any:
    """Other numbers than zeros and ones, so that they count."""
    draw = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(variable + 0.1 * draw.standard_normal(variable.shape))
    return model


def nested() -> Any:
    return sequential(sequential(L.Dense(8, activation="elu"), L.Dense(8, activation="elu")), L.Dense(3))


ACCEPTED: dict[str, tuple[Make, dict[str, Any]]] = {
    "tanh": (lambda: stack("tanh"), {"depth": 3, "activation": "tanh", "norm": None}),
    "relu": (lambda: stack("relu"), {"activation": "relu"}),
    "relu as a layer": (lambda: stack(L.ReLU), {"activation": "relu"}),
    "a leak of 0.3": (lambda: stack(L.LeakyReLU), {"activation": "leaky_relu(negative_slope=0.3)"}),
    "a leak of 0.2": (lambda: stack("leaky_relu"), {"activation": "leaky_relu(negative_slope=0.2)"}),
    "elu": (lambda: stack(L.ELU), {"activation": "elu"}),
    "selu": (lambda: stack("selu"), {"activation": "selu"}),
    "gelu": (lambda: stack("gelu"), {"activation": "gelu"}),
    "gelu by tanh": (
        lambda: stack(lambda: L.Activation(lambda z: keras.activations.gelu(z, approximate=True))),
        {"activation": "gelu(approximate=tanh)"},
    ),
    "silu": (lambda: stack("silu"), {"activation": "silu"}),
    "mish": (lambda: stack("mish"), {"activation": "mish"}),
    "softplus": (lambda: stack("softplus"), {}),
    "softsign": (lambda: stack("softsign"), {"activation": "softsign"}),
    "sigmoid": (lambda: stack("sigmoid"), {"activation": "sigmoid"}),
    "hard sigmoid": (lambda: stack("hard_sigmoid"), {"activation": "hardsigmoid"}),
    "relu6": (lambda: stack("relu6"), {"activation": "relu6"}),
    "without biases": (
        lambda: sequential(L.Dense(8, "tanh", use_bias=False), L.Dense(3, use_bias=False)),
        {"bias": False, "depth": 1},
    ),
    "no readout": (lambda: sequential(L.Dense(8, "tanh"), L.Dense(8, "tanh")), {"out_features": None}),
    "layer norm": (lambda: drawn(stack("relu", norm=L.LayerNormalization)), {"depth": 3}),
    "rms norm": (lambda: drawn(stack("relu", norm=L.RMSNormalization)), {"norm": "rms(eps=0.000001)"}),
    "batch norm": (lambda: drawn(stack("relu", norm=L.BatchNormalization)), {"norm": "batch(eps=0.001)"}),
    "dropout": (
        lambda: sequential(L.Dense(8, "relu"), L.Dropout(0.2), L.Dense(8, "relu"), L.Dropout(0.2), L.Dense(3)),
        {"dropout": 0.2},
    ),
    "noise of training": (
        lambda: sequential(L.Dense(8, "relu"), L.GaussianNoise(0.1), L.Dense(8, "relu"), L.Dense(3)),
        {"activation": "relu"},
    ),
    "a functional graph": (functional, {}),
    "features side by side": (side_by_side, {"skip": "dense"}),
    "pre-norm blocks": (pre_norm, {"stem": 1, "block": 2, "skip": "residual(order=linear)"}),
    "pre-norm blocks with dropout": (lambda: pre_norm(0.1), {"stem": 1}),
    "a layer of the user's own": (lambda: sequential(L.Dense(8), Residual(8), Residual(8), L.Dense(3)), {}),
    "a subclass": (
        lambda: Of(lambda s, x, _: s.b(ops.relu(s.a(x))), a=L.Dense(8), b=L.Dense(3)),
        {"depth": 1, "activation": "relu"},
    ),
    "one layer used again": (again, {"tied": True}),
    "two maps that gate": (gated, {"activation": "swiglu"}),
    "an input that joins half-way": (half_way, {}),
    "a projection around": (projected, {}),
    "a model in a model": (nested, {"activation": "elu", "depth": 2}),
    "softmax at the end": (lambda: functional(L.Softmax()), {}),
    "a matrix as a sample": (
        lambda: sequential(L.Flatten(), L.Dense(8, "tanh"), L.Dense(3), shape=(2, 3)),
        {"in_features": 6, "depth": 1},
    ),
}
# Of each: the model, x if it needs one, and words of the refusal.
REFUSED: dict[str, tuple[Make, str]] = {
    "a convolution": (lambda: sequential(L.Conv1D(4, 3), L.Flatten(), L.Dense(3), shape=(6, 1)), "a convolution shares"),
    "an LSTM among maps": (lambda: sequential(L.Dense(4), L.LSTM(4), L.Dense(3), shape=(6, 1)), "no place"),
    "a recurrent net both ways": (lambda: sequential(L.Bidirectional(L.LSTM(4)), L.Dense(3), shape=(6, 1)), ""),
    "an embedding": (lambda: sequential(L.Embedding(10, 4), L.Flatten(), L.Dense(3)), "embedding|index"),
    "softmax inside": (lambda: sequential(L.Dense(8, "softmax"), L.Dense(3)), "features"),
    "slopes of channels": (lambda: drawn(sequential(L.Dense(8), L.PReLU(), L.Dense(3))), "feature"),
    "a pool": (lambda: sequential(L.MaxPooling1D(2), L.Flatten(), L.Dense(3), shape=(6, 1)), "pool"),
    "an average over positions": (lambda: sequential(L.Dense(8), L.GlobalAveragePooling1D(), L.Dense(3), shape=(6, 2)), ""),
    "positions": (lambda: sequential(L.Dense(8, "relu"), L.Flatten(), L.Dense(3), shape=(6, 2)), "positions|shares|axes|axis"),
    "features permuted": (lambda: sequential(L.Permute((2, 1)), L.Flatten(), L.Dense(3), shape=(3, 2)), ""),
    "two branches multiplied": (
        lambda: Of(lambda s, x, _: s.c(s.a(x) * s.b(x)), a=L.Dense(8), b=L.Dense(8), c=L.Dense(3)),
        "",
    ),
    "samples that are mixed": (
        lambda: Of(lambda s, x, _: s.b((h := s.a(x)) - ops.mean(h, 0)), a=L.Dense(8), b=L.Dense(3)),
        "",
    ),
    "a stopped gradient": (
        lambda: Of(lambda s, x, _: s.b(ops.stop_gradient(s.a(x))), a=L.Dense(8), b=L.Dense(3)),
        "",
    ),
    "sorted features": (lambda: Of(lambda s, x, _: s.b(ops.sort(s.a(x))), a=L.Dense(8), b=L.Dense(3)), "sort"),
    "features flipped": (lambda: Of(lambda s, x, _: s.b(ops.flip(s.a(x), 1)), a=L.Dense(8), b=L.Dense(3)), ""),
    "features picked": (lambda: Of(lambda s, x, _: s.b(s.a(x)[:, :4]), a=L.Dense(8), b=L.Dense(3)), ""),
    "two outputs": (lambda: Of(lambda s, x, _: (s.a(x), s.b(x)), a=L.Dense(8), b=L.Dense(3)), ""),
    "outputs by name": (lambda: Of(lambda s, x, _: {"y": s.a(x)}, a=L.Dense(8)), ""),
    "sums along the features": (lambda: Of(lambda s, x, _: s.b(ops.cumsum(s.a(x), 1)), a=L.Dense(8), b=L.Dense(3)), ""),
    "norms of groups": (lambda: sequential(L.Dense(8), L.GroupNormalization(2), L.Dense(3)), ""),
    "attention": (
        lambda: Of(lambda s, x, _: s.b(s.a(h := ops.reshape(x, (-1, 2, 3)), h)[:, 0]), 6, a=L.MultiHeadAttention(1, 4), b=L.Dense(3)),
        "",
    ),
    "a unit norm by the largest": (lambda: Of(lambda s, x, _: s.b((h := s.a(x)) / ops.max(ops.abs(h), 1, keepdims=True)), a=L.Dense(8), b=L.Dense(3)), ""),
    "dropout that never rests": (lambda: Of(lambda s, x, _: s.b(s.d(s.a(x), training=True)), a=L.Dense(8), d=L.GaussianNoise(0.5), b=L.Dense(3)), "random"),
    "maxout": (lambda: Of(lambda s, x, _: s.b(ops.max(ops.reshape(s.a(x), (-1, 4, 2)), 2)), a=L.Dense(8), b=L.Dense(3)), ""),
    "complex numbers": (lambda: Of(lambda s, x, _: s.b(ops.fft((h := s.a(x), ops.zeros_like(h)))[0]), a=L.Dense(8), b=L.Dense(3)), ""),
    "steps": (lambda: Of(lambda s, x, _: s.b(ops.one_hot(ops.argmax(s.a(x), 1), 8)), a=L.Dense(8), b=L.Dense(3)), ""),
    "factors of features made of the samples": (lambda: Of(lambda s, x, _: s.b(s.a(x) * ops.sigmoid(s.c(x))), a=L.Dense(8), c=L.Dense(1), b=L.Dense(3)), ""),
    "products along the features": (lambda: Of(lambda s, x, _: s.b(ops.cumprod(s.a(x), 1)), a=L.Dense(8), b=L.Dense(3)), ""),
    "padding": (lambda: Of(lambda s, x, _: s.b(ops.pad(s.a(x), ((0, 0), (1, 1)))), a=L.Dense(8), b=L.Dense(3)), ""),
    "features repeated": (lambda: Of(lambda s, x, _: s.b(ops.repeat(s.a(x), 2, 1)), a=L.Dense(8), b=L.Dense(3)), ""),
}  # fmt: skip


@pytest.fixture(autouse=True)
def drawn_alike() -> None:
    keras.utils.set_random_seed(0)


def numbers(model: Any) -> list[Array]:
    return [np.array(keras.ops.convert_to_numpy(variable.value)) for variable in model.variables]


def differentiated(model: Any, x: Array, cotangent: Array | None) -> tuple[Array, Array]:
    """The model's outputs in float32, and dL/dx."""
    modes = {"training": False}
    if TORCH:
        import torch

        leaf = torch.tensor(x, dtype=torch.float32, requires_grad=True)
        y = model(leaf, **modes)
        (y * torch.tensor(cotangent if cotangent is not None else np.ones(y.shape))).sum().backward()
        return y.detach().numpy(), leaf.grad.numpy()
    import jax

    y, pull = jax.vjp(lambda x: model(x, **modes), jax.numpy.asarray(x, "float32"))
    return np.asarray(y), np.asarray(
        pull(jax.numpy.asarray(np.ones(y.shape) if cotangent is None else cotangent, y.dtype))[0]
    )


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_model_becomes_a_net_that_computes_the_same(name: str) -> None:
    make, expected = ACCEPTED[name]
    model = make()
    before, policies = numbers(model), [layer.dtype_policy.name for layer in model._flatten_layers()]
    found = vg.from_keras(model)
    assert {field: getattr(found.spec, field) for field in expected} == expected
    assert all(np.array_equal(one, two) for one, two in zip(before, numbers(model), strict=True))
    assert policies == [layer.dtype_policy.name for layer in model._flatten_layers()]
    if name == "batch norm":  # which Keras runs here with running statistics: those of training are held to below
        return
    x = np.random.default_rng(1).standard_normal(
        (6, *model.input_shape[1:]) if hasattr(model, "input_shape") else (6, 5)
    )
    theirs, dx = differentiated(model, x, None)
    ours = found.network.forward(x.reshape(6, -1))
    if name == "softmax at the end":
        powers = np.exp(ours)
        ours = powers / powers.sum(1, keepdims=True)
    else:
        ours_dx = found.network.backward(x.reshape(6, -1), np.ones(ours.shape)).input
        assert np.abs(ours_dx - dx.reshape(6, -1)).max() < 1e-5 * np.abs(dx).max()
    assert np.abs(ours - theirs).max() < 1e-5 * np.abs(theirs).max()


@pytest.mark.parametrize("name", REFUSED)
def test_a_model_without_an_equal_is_refused(name: str) -> None:
    make, words = REFUSED[name]
    with pytest.raises(Refusal, match=f"(?i){words}") as refused:
        vg.from_keras(make())
    assert refused.value.operation
    assert refused.value.reason
    assert refused.value.nearest


def test_there_are_thirty_of_each() -> None:
    assert min(len(ACCEPTED), len(REFUSED)) >= 30


def test_a_batch_norm_takes_the_statistics_of_its_batch() -> None:
    model = drawn(stack("tanh", norm=L.BatchNormalization))
    found = vg.from_keras(model)
    x = np.random.default_rng(2).standard_normal((9, 5))
    theirs = keras.ops.convert_to_numpy(model(x.astype("float32"), training=True))
    assert np.abs(found.network.forward(x) - theirs).max() < 1e-5 * np.abs(theirs).max()
    assert any("statistics of the batch" in note for note in found.notes)


def test_a_frozen_batch_norm_is_a_line_with_its_running_statistics() -> None:
    model = drawn(sequential(L.Dense(8), L.BatchNormalization(), L.ReLU(), L.Dense(3)))
    norm = model.layers[1]
    norm.moving_mean.assign(np.linspace(-1, 1, 8))
    norm.moving_variance.assign(np.linspace(1, 2, 8))
    norm.trainable = False
    found = vg.from_keras(model)
    assert found.spec.norm is None
    assert any("keeps its running statistics in training too" in note for note in found.notes)
    x = np.random.default_rng(0).standard_normal((4, found.spec.in_features or 0)).astype("float32")
    theirs = keras.ops.convert_to_numpy(model(x, training=False))
    np.testing.assert_allclose(found.network.forward(x), theirs, rtol=0, atol=1e-5)


def test_what_training_alone_does_is_noted() -> None:
    model = drawn(sequential(L.Dense(8), L.GaussianNoise(0.1), L.Dropout(0.2), L.ReLU(), L.Dense(3)))
    noted = [note for note in vg.from_keras(model).notes if "something else in training" in note]
    assert len(noted) == 1
    assert "GaussianNoise" in noted[0]


def test_layers_of_other_models_and_those_of_a_model_that_fails_stay_as_they_are() -> None:
    calls = L.Dropout.call, L.BatchNormalization.call

    class Failing(L.Layer):  # type: ignore[misc]  # Keras may not be there
        def call(self, x: Any) -> Any:
            assert (L.Dropout.call, L.BatchNormalization.call) == calls
            if any("call" in vars(layer) for layer in model.layers):
                raise RuntimeError("out of order")
            return x

    model = keras.Sequential([])
    for layer in (keras.Input((5,)), L.Dense(8), L.Dropout(0.2), L.BatchNormalization(), Failing()):
        model.add(layer)
    before = [(layer.dtype_policy, "call" in vars(layer)) for layer in model.layers]
    with pytest.raises((ValueError, RuntimeError), match=r"RuntimeError|out of order"):
        vg.from_keras(model)
    assert [(layer.dtype_policy, "call" in vars(layer)) for layer in model.layers] == before


def test_fresh_weights_are_known_by_the_default_of_keras() -> None:
    assert (
        vg.from_keras(sequential(L.Dense(60, "relu"), L.Dense(60, "relu"), L.Dense(3), shape=(40,))).init
        == "xavier_uniform"
    )


def test_a_place_is_the_path_of_a_layer() -> None:
    with pytest.raises(Refusal) as refused:
        vg.from_keras(sequential(L.Dense(8, "softmax", name="odd"), L.Dense(3)))
    assert refused.value.path.endswith("odd")


def test_variables_that_are_not_finite_are_named() -> None:
    model = sequential(L.Dense(8, name="first"), L.Dense(3))
    kernel = numbers(model)[0]
    kernel[0, 0] = np.nan
    model.variables[0].assign(kernel)
    with pytest.raises(NonFinite) as bad:
        vg.from_keras(model)
    assert list(bad.value.tensors.values()) == [((5, 8), 1, 0, 40)]


def test_a_model_that_is_not_built_is_an_error() -> None:
    with pytest.raises(ValueError, match="call it on some samples first"):
        vg.from_keras(keras.Sequential([L.Dense(3)]))


@pytest.mark.parametrize("given", [3, "model.keras", keras.Model])
def test_what_is_no_model_is_a_type_error(given: Any) -> None:
    with pytest.raises(TypeError, match=r"model must be a keras\.Model"):
        vg.from_keras(given)
