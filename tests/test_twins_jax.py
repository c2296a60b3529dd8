"""Recurrent nets and transformers against twins in JAX, written from the formulas: outputs, and gradients by JAX."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import vgcore as vg

jax = pytest.importorskip("jax", reason="jax is not installed: `make test-foreign` installs it")

import jax.numpy as jnp  # noqa: E402 (only where jax is)

import twins  # noqa: E402

Array = np.ndarray[Any, np.dtype[Any]]

RECURRENT: dict[str, dict[str, Any]] = {
    "tanh": {"cell": "tanh"},
    "relu of two layers": {"cell": "relu", "layers": 2},
    "irnn": {"cell": "irnn"},
    "lstm": {"cell": "lstm"},
    "lstm with two biases and layers": {"cell": "lstm", "layers": 2, "biases": 2},
    "lstm without biases": {"cell": "lstm(forget_bias=0)", "bias": False},
    "lstm at every step": {"cell": "lstm", "outputs": "every"},
    "gru": {"cell": "gru", "biases": 2},
    "gru with one bias": {"cell": "gru"},
    "gru of two layers": {"cell": "gru", "layers": 2, "biases": 2},
    "gru with the reset before": {"cell": "gru(reset=before)"},
    "gru with the reset before, two layers": {"cell": "gru(reset=before)", "layers": 2, "biases": 2},
    "gru without a readout": {"cell": "gru", "out_features": None},
}
BLOCKS: dict[str, dict[str, Any]] = {
    "pre": {},
    "post": {"norm_position": "post"},
    "causal": {"causal": True},
    "one head, gelu": {"heads": 1, "activation": "gelu"},
    "attention alone": {"norm": None, "skip": None, "ffn": 1, "activation": "linear", "depth": 1},
    "embedded and pooled": {"in_features": 3, "pool": "mean"},
    "the last token": {"pool": "last", "causal": True},
    "without a readout": {"out_features": None},
}
PHI = {"relu": jax.nn.relu, "linear": lambda z: z, "gelu": lambda z: jax.nn.gelu(z, approximate=False)}


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    """JAX computes in float64 here, and nowhere else."""
    with jax.enable_x64(True):
        yield


def drawn(spec: Any) -> Any:
    """A net of which every number counts."""
    state = spec.init(seed=1, dtype="float64").state_dict()
    draw = np.random.default_rng(2)
    return vg.Network.from_state_dict(
        spec, {name: a + 0.2 * draw.standard_normal(a.shape) for name, a in state.items()}
    )


def compare(net: Any, twin: Any, x: Array) -> None:
    """Outputs, dL/dx and the gradients of all parameters of a random cotangent."""
    state = {name: jnp.asarray(array) for name, array in net.state_dict().items()}
    expected, pull = jax.vjp(twin, state, jnp.asarray(x))
    flat = x.reshape(len(x), -1)
    outputs = net.forward(flat)
    cotangent = np.random.default_rng(4).standard_normal(outputs.shape)
    found, (parameters, dx) = net.backward(flat, cotangent), pull(jnp.asarray(cotangent))

    def near(ours: Array, theirs: Any, largest: float = 0.0) -> bool:
        theirs = np.asarray(theirs)
        error = float(np.abs(ours.reshape(theirs.shape) - theirs).max())
        return error < 1e-10 * max(float(np.abs(theirs).max()), largest)

    assert near(outputs, expected)
    assert near(found.input, dx)
    assert parameters.keys() == found.parameters.keys()
    # A bias of keys has a gradient of 0, but for rounding.
    largest = max(float(np.abs(g).max()) for g in found.parameters.values())
    for name, gradient in parameters.items():
        assert near(found.parameters[name], gradient, 1e-2 * largest), name


@pytest.mark.parametrize("name", RECURRENT)
def test_a_recurrent_net_computes_what_its_twin_does(name: str) -> None:
    fields = RECURRENT[name]
    spec = vg.RNN(9, 6, in_features=3, **{"out_features": 2} | fields)
    cell = twins.CELLS[fields["cell"].replace("(forget_bias=0)", "")]
    every = fields.get("outputs") == "every"

    def twin(state: Any, x: Any) -> Any:
        return twins.recurrent(state, x, cell=cell, layers=fields.get("layers", 1), every=every)

    compare(drawn(spec), twin, np.random.default_rng(3).standard_normal((5, 9, 3)))


@pytest.mark.parametrize("name", BLOCKS)
def test_a_transformer_computes_what_its_twin_does(name: str) -> None:
    fields: dict[str, Any] = {"depth": 2, "heads": 2, "activation": "relu", "ffn": 2, "out_features": 3} | BLOCKS[name]
    spec = vg.Transformer(width=8, tokens=5, **fields)

    def twin(state: Any, x: Any) -> Any:
        return twins.encoder(
            state,
            x,
            depth=fields["depth"],
            heads=fields["heads"],
            activation=PHI[fields["activation"]],
            eps=None if "norm" in fields else 1e-5,
            pre=fields.get("norm_position", "pre") == "pre",
            skip="skip" not in fields,
            causal=fields.get("causal", False),
            pool=fields.get("pool"),
        )

    compare(drawn(spec), twin, np.random.default_rng(3).standard_normal((4, 5, fields.get("in_features", 8))))


# --- The golden steps: all weights 0.5, x = 1 ----------------------------------------------------


def step(cell: Any, gates: int, h: float, c: float, bias: Any = 0.0) -> tuple[Any, Any]:
    """A step of one unit by a twin."""
    half = 0.5 * jnp.ones((gates,))
    next_h, next_c = cell(jnp.full((1, 1), h), jnp.full((1, 1), c), lambda h: h * half + bias, half[None])
    return next_h[0, 0], next_c[0, 0]


def test_the_twin_of_an_lstm_takes_the_golden_step() -> None:
    h, c = step(twins.lstm, 4, 0.1, 0.2)
    assert c == pytest.approx(0.444224798138131, abs=1e-13)
    assert h == pytest.approx(0.264523472720401, abs=1e-13)
    dh, dc = jax.grad(lambda h, c: step(twins.lstm, 4, h, c)[0], (0, 1))(0.1, 0.2)
    assert dh == pytest.approx(0.215426589040934, abs=1e-13)
    assert dc == pytest.approx(0.332155280166557, abs=1e-13)


@pytest.mark.parametrize(
    ("cell", "expected"), [(twins.gru_after, 0.289559528462981), (twins.gru_before, 0.312710421482051)]
)
def test_the_twins_of_a_gru_take_the_golden_step(cell: Any, expected: float) -> None:
    assert step(cell, 3, 0.1, 0.0, jnp.array([0.0, 0.0, 0.3]))[0] == pytest.approx(expected, abs=1e-13)
