"""`callback` for the Trainer of Lightning, in either of its namespaces."""

from __future__ import annotations

from typing import Any

from vgcore.watch.callback import Watching, made


def callback(*, every: int = 100, layers: Any = "auto") -> Any:
    """A callback that watches the module in training, for `Trainer(callbacks=[...])`.

    The arguments are those of `vg.watch`. A step is a batch. Gradients are divided by the scale of the loss, where the
    precision is "16-mixed", and by nothing else: with `accumulate_grad_batches=4` those of a batch are a quarter of
    what they are without, as is its loss. Where a batch has several backward passes the first one counts.

    Raises:
        ImportError: If neither `lightning.pytorch` nor `pytorch_lightning` is imported.
    """
    return made(Hooks, ("lightning.pytorch", "pytorch_lightning"), "Callback", every=every, layers=layers)


class Hooks(Watching):
    """What Lightning calls."""

    def __reduce__(self) -> tuple[Any, ...]:  # for processes that are spawned; the watch belongs to this one
        return _again, (self.every, self.layers)

    def on_train_start(self, trainer: Any, module: Any) -> None:
        """The module is on its device."""
        self.start(module, getattr(trainer.precision_plugin, "scaler", None))

    def on_train_batch_start(self, *_: Any, **__: Any) -> None:
        """Before the forward pass: a module need not be called itself in its `training_step`."""
        self.begin()

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        """After the step of the optimiser."""
        self.end()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """The last one."""
        self.close()

    def on_exception(self, *_: Any, **__: Any) -> None:
        """Of whatever sort."""
        self.close()


def _again(every: int, layers: Any) -> Any:
    return callback(every=every, layers=layers)
