"""`callback` for `fit` of Keras on the torch backend, which is the one whose gradients can be seen on their way."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

from vgcore.model.given import items
from vgcore.model.names import known
from vgcore.watch.callback import Watching, made
from vgcore.watch.watch import Watch


def callback(*, every: int = 100, layers: Any = "auto") -> Any:
    """A callback that watches the model in training, for `model.fit(callbacks=[...])`.

    A step is a batch. Signals are those of what a layer gives: after its activation, if it has one of its own.

    Args:
        every: Steps from one sample to the next.
        layers: `"auto"`: every layer without layers inside that has a matrix or a kernel, such as Dense and
            convolutions, and every recurrent layer. `"all"`: every layer without layers inside. A list of names.

    Raises:
        ImportError: If `keras` is not imported.
        ValueError: For another backend than torch, or a name that the model does not have: at the begin of training.
    """
    return made(Hooks, ("keras.callbacks",), "Callback", every=every, layers=layers)


class Hooks(Watching):
    """What Keras calls."""

    model: Any

    def start(self, model: Any, scaler: Any) -> None:
        """Watch this model from now on."""
        backend = sys.modules["keras"].backend.backend()
        if backend != "torch":
            raise ValueError(f"a callback sees gradients with KERAS_BACKEND=torch only, not with {backend!r}")
        self.watch: Watch | None = Watch(
            model, layers_of(model, self.layers), every=self.every, scaler=scaler, attach=Called
        )

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """The optimiser scales the loss of a model in half precision."""
        self.start(self.model, SimpleNamespace(scale=self.model.optimizer.scale_loss))

    def on_train_batch_begin(self, *_: Any, **__: Any) -> None:
        """Before the forward pass."""
        self.begin()

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        """After the step of the optimiser."""
        self.end()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """The last one."""
        self.close()


class Called:
    """A hook on a layer: Keras calls layers by `call`, past the hooks of torch."""

    def __init__(self, layer: Any, hook: Callable[..., None]) -> None:
        self.layer = layer
        plain = layer.call

        def call(*args: Any, **given: Any) -> Any:
            output = plain(*args, **given)
            hook(layer, args, output)
            return output

        vars(layer)["call"] = call

    def remove(self) -> None:
        """Take it away."""
        vars(self.layer).pop("call", None)


def layers_of(model: Any, which: Any) -> dict[str, Any]:
    """The layers to watch, by their names, with those of the layers that they are inside of: `encoder/dense_1`."""
    sorts = sys.modules["keras"].layers

    def inside(layer: Any, path: str) -> Iterator[tuple[str, Any]]:
        """The innermost layers; the cell of a recurrent layer is not one, as it runs once for each moment."""
        parts = [] if isinstance(layer, sorts.RNN) else layer._flatten_layers(include_self=False, recursive=False)  # noqa: SLF001
        for part in parts:
            yield from inside(part, f"{path}{part.name}/")
        if not parts and not isinstance(layer, sorts.InputLayer):
            yield path[:-1], layer

    every = dict(inside(model, ""))
    if isinstance(which, str):
        if known("layers", which, ("auto", "all")) == "all":
            return every
        # A table of embeddings is a matrix that maps nothing.
        maps = {
            name: layer
            for name, layer in every.items()
            if any(len(weight.shape) > 1 for weight in layer.trainable_weights) and not hasattr(layer, "embeddings")
        }
        if not maps:
            raise ValueError("the model has no layers to watch: name them by layers=")
        return maps
    return {known("layer", name, every): every[name] for name in items("layers", which, "'auto', 'all' or names")}
