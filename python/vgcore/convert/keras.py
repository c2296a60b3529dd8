"""A Keras model as a net here: `from_keras`.

Functional, sequential and subclassed models are one thing to a recording, so Keras has no front end of its own. On its
torch backend a model is torch code, which is heard as it runs; on its JAX backend it is a function of its variables,
which is traced.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from types import FrameType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgcore.convert.imported import Imported, NonFinite, Refusal
from vgcore.convert.jax import from_jax, marked
from vgcore.convert.keras_sequences import from_recurrence, holds_recurrence
from vgcore.convert.tape import RUNNING
from vgcore.convert.torch import Subject, converted
from vgcore.model.given import wrong_type


def from_keras(model: Any, x: Any = None) -> Imported:
    """A Keras model as a net here, proved to compute the same outputs and the same dL/dx.

    The model runs as with `training=False`, except that a batch normalisation takes the statistics of its batch, unless
    its `trainable` is off; variables are left as they are, and computed with in float64. The model must not train in
    another thread meanwhile, for its layers of dropout and batch normalisation run otherwise until this returns.

    Args:
        model: A built `keras.Model`: functional, sequential or subclassed, on the torch or the JAX backend. It takes
            one tensor of samples and gives one.
        x: Samples of the shape that the model takes, `(batch, ...)`: only their shape counts. If None, the shape that
            the model was built with.

    Returns:
        The network, and notes of what was taken as identity, dropped or left to the loss.

    Raises:
        Refusal: For a model that has no equal here: where, what, why, and what comes near.
        NonFinite: For variables that are not finite.
        TypeError: For what is no Keras model.
        ValueError: For a model that is not built.
        ImportError: Without Keras.

    Example::

        import keras
        import vgcore as vg

        layers = [keras.Input((20,)), keras.layers.Dense(64, activation="tanh"), keras.layers.Dense(3)]
        net = vg.from_keras(keras.Sequential(layers))
        net.spec  # MLP(depth=1, width=64, in_features=20, out_features=3, activation="tanh", ...)
        vg.diagnose(net.network)
    """
    try:
        import keras
    except ImportError:
        raise ImportError("from_keras needs Keras, and torch or JAX under it: pip install keras torch") from None

    if not isinstance(model, keras.Model):
        raise wrong_type("model", "a keras.Model", model)
    if not model.built:
        raise ValueError(f"model must be built, got {model.name!r} without variables; call it on some samples first")
    variables = {variable.path: _array(variable.value) for variable in model.variables}
    if bad := NonFinite.of({name: array for name, array in variables.items() if array.dtype.kind == "f"}):
        raise bad
    x = _samples(model) if x is None else x
    if x is None:
        raise ValueError(f"x must be given, for {model.name!r} does not say what shape of samples it takes")
    match keras.backend.backend():
        case "torch" | "jax" if holds_recurrence(_layers(model)):
            return from_recurrence(model, x)
        case "torch":
            found = _on_torch(model, x)
        case "jax":
            found = _on_jax(model, x)
        case backend:
            reason = f"it runs on the backend {backend}, which is not read"
            raise Refusal("", "keras.backend", reason, "load the model under KERAS_BACKEND=torch or KERAS_BACKEND=jax")
    return replace(found, notes=(*found.notes, *_of_training(_layers(model))))


def _layers(model: Any) -> list[Any]:
    """The model and all layers within it."""
    return list(model._flatten_layers())  # noqa: SLF001 (it has no public name)


def _of_training(layers: Sequence[Any]) -> list[str]:
    """Notes on layers that do in training what a net here does not."""
    from keras.layers import BatchNormalization, Dropout

    notes = []
    for layer in layers:
        if isinstance(layer, BatchNormalization):
            if not layer.trainable:
                notes.append(
                    f"{layer.path} keeps its running statistics in training too: it is a factor and a shift here"
                )
            continue
        kind, module = type(layer).__name__, type(layer).__module__
        # Other layers of Keras's own take the word, and do the same.
        may = "regularization" in module or not module.startswith("keras.")
        alone = may and not isinstance(layer, Dropout) and len(_layers(layer)) == 1
        if alone and "training" in inspect.signature(layer.call).parameters:
            place = layer.path or layer.name
            notes.append(f"{place} does something else in training (at {kind}): the net is that of evaluation")
    return notes


def _array(value: Any) -> NDArray[Any]:
    """The numbers of a tensor of either backend."""
    return np.asarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value)


def _samples(model: Any) -> Any:
    """Samples of the shape that the model was built with, if that is known."""
    shape = getattr(model, "input_shape", None) if hasattr(model, "inputs") else None
    if shape is None:
        config = model.get_build_config() or {}
        shape = config.get("input_shape")
    if isinstance(shape, tuple | list) and shape and all(isinstance(size, int) for size in shape[1:]):
        return np.zeros((2, *shape[1:]))
    return None


def _on_torch(model: Any, x: Any) -> Imported:
    """The model as torch code: Keras calls torch for each of its operations."""
    from torch.nn import functional

    def dropped(rows: Any, rate: float) -> Any:
        return functional.dropout(rows, rate, training=False)

    def normalised(layer: Any, rows: Any) -> Any:
        running = layer.moving_mean.value, layer.moving_variance.value
        affine = [None if each is None else each.value for each in (layer.gamma, layer.beta)]
        return functional.batch_norm(rows, *running, *affine, eps=layer.epsilon)

    def forward(rows: Any) -> Any:
        with _modes(model, dropped, normalised):
            return model(rows, training=False)

    learned, others = (
        {v.path: v.value for v in each} for each in (model.trainable_variables, model.non_trainable_variables)
    )
    eps = float(np.finfo(np.float32).eps)
    subject = Subject(forward, parameters=learned, buffers=others, modules={}, eps=eps, notes=[], place=_place)
    return converted(subject, x)


def _on_jax(model: Any, x: Any) -> Imported:
    """The model as a function of its variables."""
    from keras import ops

    learned, others = model.trainable_variables, model.non_trainable_variables

    def normalised(layer: Any, rows: Any) -> Any:
        centre = rows - ops.mean(rows, 0, keepdims=True)
        found = centre / ops.sqrt(ops.mean(centre * centre, 0, keepdims=True) + layer.epsilon)
        found = found if layer.gamma is None else found * layer.gamma
        return found if layer.beta is None else found + layer.beta

    def f(params: dict[str, Any], rows: Any) -> Any:
        values = [[params[variable.path] for variable in each] for each in (learned, others)]
        with _modes(model, marked, normalised), _wide(model):
            return model.stateless_call(*values, rows, training=False)[0]

    rows = np.zeros((2, *np.shape(x)[1:]), "float32")
    if not hasattr(out := model(rows, training=False), "shape"):
        reason = f"it returns a {type(out).__name__}, and a net here gives one array"
        raise Refusal("", "call", reason, "pass a model that returns the one tensor that matters")
    found = from_jax(f, {variable.path: variable.value for variable in [*learned, *others]}, x)
    normal = [layer for layer in _layers(model) if type(layer).__name__ == "BatchNormalization" and layer.trainable]
    # All layers cast to float32, which is their own type.
    notes = [note for note in found.notes if not note.startswith("it computes in float32")]
    return replace(found, notes=(*notes, RUNNING) if normal else tuple(notes))


@contextlib.contextmanager
def _modes(model: Any, dropped: Callable[[Any, float], Any], normalised: Callable[[Any, Any], Any]) -> Iterator[None]:
    """Dropout that is told, and batch normalisation as in training without its running statistics.

    A model of Keras says by one word, `training`, what both do; so its own layers are given other calls meanwhile.
    """
    from keras.layers import BatchNormalization, Dropout

    def drops(layer: Any) -> Any:
        return lambda inputs, training=False: dropped(inputs, layer.rate)  # noqa: ARG005 (as Keras calls it)

    def normalises(layer: Any) -> Any:
        normalise = layer.call

        def call(inputs: Any, training: Any = None, mask: Any = None) -> Any:
            if mask is not None or len(inputs.shape) != 2:  # statistics of positions, too: said by what it does
                return normalise(inputs, training=training, mask=mask)
            return normalised(layer, inputs)

        return call

    with contextlib.ExitStack() as stack:
        for layer in dict.fromkeys(_layers(model)):
            if isinstance(layer, Dropout):
                object.__setattr__(layer, "call", drops(layer))
            elif isinstance(layer, BatchNormalization) and layer.trainable:
                object.__setattr__(layer, "call", normalises(layer))
            else:
                continue
            stack.callback(object.__delattr__, layer, "call")
        yield


@contextlib.contextmanager
def _wide(model: Any) -> Iterator[None]:
    """Layers compute in float64 where Keras can, or a trace would hold their constants as float32."""
    with contextlib.ExitStack() as stack:
        for layer in _layers(model):
            stack.callback(setattr, layer, "dtype_policy", layer.dtype_policy)
            layer.dtype_policy = "float64"
        yield


def _place() -> str:
    """The layer that is at work, from the calls in progress."""
    from keras import Layer

    frame: FrameType | None = sys._getframe()  # noqa: SLF001 (its documented name)
    while frame is not None:
        if isinstance(layer := frame.f_locals.get("self"), Layer):
            return str(layer.path)
        frame = frame.f_back
    return ""
