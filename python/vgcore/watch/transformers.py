"""`callback` for the Trainer of Hugging Face transformers."""

from __future__ import annotations

from typing import Any

from vgcore.watch.callback import Watching, made


def callback(*, every: int = 100, layers: Any = "auto") -> Any:
    """A callback that watches the model in training, for `Trainer(callbacks=[...])`.

    The arguments are those of `vg.watch`. A step is one of the optimiser, as in `state.global_step`; of several batches
    that it accumulates the first one is seen. Gradients are those before clipping, divided by the scale of the loss
    with `fp16=True`.

    Raises:
        ImportError: If `transformers` is not imported.
    """
    return made(Hooks, ("transformers",), "TrainerCallback", every=every, layers=layers)


class Hooks(Watching):
    """What the Trainer calls."""

    def on_train_begin(self, *_: Any, **given: Any) -> None:
        """The optimiser of accelerate knows the scaler."""
        self.start(given["model"], getattr(given.get("optimizer"), "scaler", None))

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Before the first forward pass: the model is called through wrappers that a callback does not see."""
        self.begin()

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        """After the last backward pass."""
        self.end()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """The last one."""
        self.close()
