"""Recurrent nets of Keras: which layers are read, and which arrays of theirs stand where."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vgcore.convert.imported import WATCH, Imported, Refusal
from vgcore.convert.proof import Run
from vgcore.convert.sequences import Read, Recurrent, State, blocks, imported
from vgcore.convert.tape import Array

_CHAIN = f"a net here is layers of SimpleRNN, LSTM or GRU, and one Dense behind them; {WATCH}"
#: The layers that are read, and the ones that do nothing in evaluation.
_CELLS, _IDLE = ("SimpleRNN", "LSTM", "GRU"), ("Dropout", "SpatialDropout1D")
#: Layers that may read the last recurrent one.
_READERS = ("Dense", "TimeDistributed")
#: How near outputs and dL/dx must be: Keras's functions compute in float32, whatever type a layer has.
_NEAR = 1e-4
#: Attributes of a recurrent layer or of its cell that ask for what a net here does not do, and what is possible.
_ASKED = {
    "go_backwards": ("it reads sequences from their end", "go_backwards=False is possible"),
    "stateful": ("it keeps its state from batch to batch", "stateful=False is possible"),
    "recurrent_dropout": ("it drops parts of its state in training", "recurrent_dropout=0 is possible"),
    "dropout": ("it drops inputs at every step in training", "dropout=0 is possible"),
}


def holds_recurrence(layers: Sequence[Any]) -> bool:
    """Whether one of these layers is recurrent."""
    return any(type(layer).__name__ in (*_CELLS, "Bidirectional") for layer in layers)


def from_recurrence(model: Any, x: Any) -> Imported:
    """The net of a model of recurrent layers, proved against it.

    Args:
        model: A built `keras.Model`, functional or sequential.
        x: Samples `(batch, steps, features)`, of which the shape counts.

    Raises:
        Refusal: For a model that is no such net: where, what and why.
    """
    shape = np.shape(x)
    if len(shape) != 3:
        raise ValueError(f"x must be sequences, (batch, steps, features), got shape {shape}")
    parts = _Parts(model, int(shape[2]))
    read = Read(net=parts.net, run=parts.run, draw=parts.draw, notes=parts.notes)
    return imported(read, int(shape[1]), tolerance=_NEAR)


class _Parts:
    """The layers of a copy of a model."""

    def __init__(self, model: Any, features: int) -> None:
        import keras

        if not isinstance(model, keras.Sequential) and not hasattr(model, "outputs"):
            reason = "its calls are written by hand, and recurrent layers are read as they are connected"
            raise Refusal(model.name, type(model).__name__, reason, "a functional or sequential model is possible")
        self.features, self.notes = features, list[str]()
        layers = [each for each in model.layers if type(each).__name__ != "InputLayer"]
        parts = [each for each in layers if type(each).__name__ not in _IDLE]
        if idle := [each.path or each.name for each in layers if each not in parts]:
            several = "drops" if len(idle) == 1 else "and others drop"
            self.notes.append(f"{idle[0]} {several} in training: the net is that of evaluation")
        cells = list(itertools.takewhile(lambda each: type(each).__name__ in _CELLS, parts))
        readers = [each for each in parts[len(cells) :][:1] if cells and type(each).__name__ in _READERS]
        for layer in parts[len(cells) + len(readers) :]:
            if type(layer).__name__ == "Bidirectional":
                nearest = f"{type(layer.forward_layer).__name__} itself is possible"
                raise Refusal(layer.path, "Bidirectional", "it reads sequences from both ends", nearest)
            raise Refusal(layer.path, type(layer).__name__, "it has no place in such a net here", _CHAIN)
        _check(cells)
        dense = getattr(readers[0], "layer", readers[0]) if readers else None
        if _ends(dense):
            self.notes.append("the last softmax belongs to the loss: outputs are those before it")
        self.own = _copy(model, features)
        found = [each for each in self.own.layers if type(each).__name__ in (*_CELLS, *_READERS)]
        self.cells = found[: len(cells)]
        self.dense = getattr(found[-1], "layer", found[-1]) if readers else None
        if self.dense is not None:
            self.dense.activation = keras.activations.linear

    def net(self) -> Recurrent:
        """What the layers are, with the numbers of now."""
        last = self.cells[-1]
        readout = None
        if self.dense is not None:
            readout = {"weight": _array(self.dense.kernel).T}
            if self.dense.use_bias:
                readout["bias"] = _array(self.dense.bias)
        return Recurrent(
            cell=_cell(self.cells[0]),
            layers=tuple(map(self._layer, self.cells)),
            readout=readout,
            outputs="every" if last.return_sequences else "last",
        )

    def _layer(self, layer: Any) -> State:
        """The arrays of a layer, in the order of torch: Keras has z, r, h where torch has r, z, n."""
        cell = layer.cell
        order = {"SimpleRNN": (0,), "LSTM": (0, 1, 2, 3), "GRU": (1, 0, 2)}[type(layer).__name__]
        state = {"weight": cell.recurrent_kernel, "inputs.weight": cell.kernel}
        found = {key: blocks(_array(variable).T, order) for key, variable in state.items()}
        if cell.use_bias:
            biases = np.atleast_2d(_array(cell.bias))  # two where the reset gate stands behind the product
            found |= {key: blocks(bias, order) for key, bias in zip(("inputs.bias", "bias"), biases, strict=False)}
        return found

    def draw(self) -> None:
        """Other numbers, in the copy."""
        draw = np.random.default_rng(0)
        for variable in self.own.trainable_variables:
            fan_in = variable.shape[0] if len(variable.shape) > 1 else 4
            variable.assign(draw.standard_normal(variable.shape) / math.sqrt(fan_in))

    def run(self, steps: int) -> Run:
        """The copy on rows of sequences of so many steps, as the proof runs it."""
        import keras

        def f(rows: Any) -> Any:
            return self.own(rows.reshape(len(rows), steps, self.features), training=False).reshape(len(rows), -1)

        def on_torch(rows: Array) -> tuple[Any, Callable[[Array], Any]]:
            import torch

            leaf = torch.tensor(rows, dtype=torch.float32, requires_grad=True)
            out = f(leaf)

            def pull(cotangent: Array) -> Any:
                given = torch.tensor(cotangent, dtype=torch.float32)
                return torch.autograd.grad(out, leaf, given, retain_graph=True)[0]

            return out, pull

        def on_jax(rows: Array) -> tuple[Any, Callable[[Array], Any]]:
            import jax

            out, pull = jax.vjp(f, jax.numpy.asarray(rows, "float32"))
            return out, lambda cotangent: pull(jax.numpy.asarray(cotangent, "float32"))[0]

        differentiated = {"torch": on_torch, "jax": on_jax}[keras.backend.backend()]

        def run(rows: Array, upto: int | None) -> tuple[Array, Callable[[Array], Array]]:
            assert upto is None  # noqa: S101 (there is no tape)
            out, pull = differentiated(rows)
            return _array(out), lambda cotangent: _array(pull(cotangent))

        return run


def _copy(model: Any, features: int) -> Any:
    """A copy of a model for sequences of any length."""
    import keras

    own = keras.models.clone_model(model, input_tensors=keras.Input((None, features)))
    own.set_weights(model.get_weights())
    return own


def _check(layers: Sequence[Any]) -> None:
    """Refuse recurrent layers that no net here has, with what is possible instead."""
    import keras

    for layer in layers:
        path, kind, cell = layer.path, type(layer).__name__, layer.cell
        for name, said in _ASKED.items():
            if getattr(layer, name, False) or getattr(cell, name, False):
                raise Refusal(path, kind, *said)
        if kind != type(layers[0]).__name__ or cell.units != layers[0].cell.units or _cell(layer) != _cell(layers[0]):
            reason = f"it is another cell, or of another width, than {layers[0].path}"
            raise Refusal(path, kind, reason, "layers of one net here have one cell and one width")
        known = (keras.activations.tanh, keras.activations.relu) if kind == "SimpleRNN" else (keras.activations.tanh,)
        if cell.activation not in known or getattr(cell, "recurrent_activation", None) not in (
            None,
            keras.activations.sigmoid,
        ):
            reason = "its activations are not those of a cell here"
            raise Refusal(path, kind, reason, "tanh, relu of SimpleRNN, and sigmoid for gates are possible")


def _cell(layer: Any) -> str:
    """The cell of a layer as `RNN` takes it."""
    match type(layer).__name__:
        case "LSTM":
            return f"lstm(forget_bias={int(layer.cell.unit_forget_bias)})"
        case "GRU":
            return f"gru(reset={'after' if layer.cell.reset_after else 'before'})"
    return str(layer.cell.activation.__name__)


def _ends(dense: Any) -> bool:
    """Whether a readout ends in a softmax, which is the loss's; any other activation is refused."""
    import keras

    if dense is None or dense.activation is keras.activations.linear:
        return False
    if dense.activation is keras.activations.softmax:
        return True
    reason = f"its activation {getattr(dense.activation, '__name__', dense.activation)} has no place in such a net here"
    raise Refusal(dense.path, "Dense", reason, "a readout without one is possible: leave it to the loss")


def _array(value: Any) -> Array:
    """The numbers of a tensor of either backend, or of a variable."""
    value = getattr(value, "value", value)
    return np.array(value.detach().cpu().numpy() if hasattr(value, "detach") else value, np.float64)
