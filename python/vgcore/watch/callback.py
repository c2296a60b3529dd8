"""What the callbacks of all trainers share: a watch from the begin of training to its end."""

from __future__ import annotations

import sys
from typing import Any

from vgcore.measure.trace import Trace
from vgcore.watch.watch import Watch
from vgcore.watch.watch import watch as watch_model


class Watching:
    """A callback that watches.

    Attributes:
        watch: The watch; None before training.
    """

    def __init__(self, *, every: int = 100, layers: Any = "auto") -> None:
        super().__init__()
        self.every = every
        self.layers = layers
        self.watch: Watch | None = None

    def start(self, model: Any, scaler: Any) -> None:
        """Watch this model from now on."""
        self.watch = watch_model(model, every=self.every, layers=self.layers, scaler=scaler)

    def begin(self) -> None:
        """A step begins."""
        if self.watch is not None:
            self.watch.begin()

    def end(self) -> None:
        """A step has had its backward pass."""
        if self.watch is not None:
            self.watch.end()

    def close(self) -> None:
        """Training is over."""
        if self.watch is not None:
            self.watch.close()

    @property
    def trace(self) -> Trace:
        """As `Watch.trace`: so that `vg.diagnose(callback)` works."""
        return self._watch().trace

    @property
    def history(self) -> Trace:
        """As `Watch.history`."""
        return self._watch().history

    def _watch(self) -> Watch:
        if self.watch is None:
            raise ValueError("no step was seen: training has not begun")
        return self.watch


def made(hooks: type[Watching], modules: tuple[str, ...], name: str, **given: Any) -> Any:
    """A callback of these hooks, for the trainers of whichever of these modules is imported.

    Raises:
        ImportError: If none is.
    """
    bases = [getattr(sys.modules[module], name) for module in modules if module in sys.modules]
    if not bases:
        raise ImportError(f"this needs {' or '.join(modules)}, which is not imported: import it first")
    return type(hooks.__name__, (hooks, *bases), {"__module__": hooks.__module__})(**given)
