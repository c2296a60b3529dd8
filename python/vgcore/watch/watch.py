"""`watch`: sizes of signals in a model of torch while it trains."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import numpy as np

from vgcore.measure.trace import Trace
from vgcore.model.given import integer, wrong_type
from vgcore.model.shown import Reported
from vgcore.watch.layers import layers_of, torch_for
from vgcore.watch.record import Attach, Eagerly, Record, Sampled, in_backward, samples

#: The attribute of a module that its calls go through, if it is set: torch leaves it out of copies and pickles.
DOOR = "_compiled_call_impl"
#: So many steps, or as many as from one sample to the next, a sampled step waits for its backward pass.
PATIENCE = 100


def watch(model: Any, *, every: int = 100, layers: Any = "auto", scaler: Any = None) -> Watch:
    """Watch a model of torch while it trains: how large signals are in each layer, on the way forward and back.

    A step is a forward pass of the model while gradients are recorded. Every so many of them, the first one among them,
    hooks are put on its layers; they see the output of each layer, and its gradient in the first backward pass through
    it. At the end of that pass all numbers are copied from the device at once, and the hooks are gone. All other steps
    run as if nobody watched. A step that has no backward pass is not kept, and the next one is sampled in its place.
    Where the model is called several times before one backward pass, the first of these calls is seen, and a note says
    so: the gradients of weights are those of all.

    What is watched must be what is called: a wrapper by `torch.compile` or `DistributedDataParallel`, where there is
    one. With several processes the first one watches. What was compiled runs as it was written in the sampled step.

    Args:
        model: Any `torch.nn.Module`.
        every: Steps from one sample to the next.
        layers: `"auto"`: a sequence of like things, for that is where one can say how signals grow. Blocks, which are
            the children of containers that hold modules of one class, as a ResNet or a transformer has them; where
            there are no three of them, the Linear, the convolutions or the recurrent layers, of whichever there are
            most, without the readout. `"all"`: every module without children. A list of names from
            `model.named_modules()`.
        scaler: The `torch.amp.GradScaler` that the loss is multiplied by, if there is one: gradients are divided by its
            scale.

    Returns:
        The watch, which is a context manager as well.

    Raises:
        ImportError: Without torch.
        TypeError: For what is no module of torch, or a scaler without `scale`.
        ValueError: For a name that the model does not have, or a model without layers.

    >>> import torch
    >>> import vgcore as vg
    >>> layers = [part for _ in range(20) for part in (torch.nn.Linear(32, 32), torch.nn.Sigmoid())]
    >>> model = torch.nn.Sequential(*layers, torch.nn.Linear(32, 1))
    >>> with vg.watch(model, every=2) as w:
    ...     for _ in range(5):
    ...         model(torch.randn(16, 32)).square().mean().backward()
    >>> vg.diagnose(w).verdict, w.history.steps, w.trace.names[:2]
    ('vanishing', (0, 2, 4), ('0', '2'))

    A model that is never called itself, as its parts are, says where its steps are:

    >>> w = vg.watch(model)
    >>> w.begin()
    >>> model[1:](model[:1](torch.randn(16, 32))).square().mean().backward()
    >>> w.end()
    >>> w.close()
    >>> w.trace.steps
    (0,)
    """
    return Watch(model, layers_of(_module(model), layers), every=every, scaler=scaler)


class Watch(Reported):
    """What is seen of a model: made by `vg.watch`.

    Attributes:
        every: Steps from one sample to the next.

    >>> import torch
    >>> import vgcore as vg
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    >>> with vg.watch(model, every=1, layers="all") as w:
    ...     model(torch.randn(16, 4)).square().mean().backward()
    >>> w.history.steps
    (0,)
    """

    _closed = True  # until it is made

    def __init__(
        self, model: Any, layers: dict[str, Any], *, every: int = 100, scaler: Any = None, attach: Attach | None = None
    ) -> None:
        _module(model)
        self.every: int = integer("every", every, least=1)
        if scaler is not None and not callable(getattr(scaler, "scale", None)):
            raise wrong_type("scaler", "None or a torch.amp.GradScaler, with scale(tensor)", scaler)
        self._layers, self._scaler, self._attach = layers, scaler, attach
        self._kept: list[tuple[int, Sampled]] = []
        self._open: tuple[int, Record] | None = None
        self._steps = self._next = 0
        self._by_hand = False
        self._watches = _rank() == 0
        self._door = _Door(self, model) if self._watches else None
        self._closed = False

    def __del__(self) -> None:
        self.close()

    def __enter__(self) -> Watch:  # noqa: PYI034 (typing has no Self in Python 3.10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it: what was seen is kept, and a step that has not come to its end is forgotten."""
        if self._closed:
            return
        self.end()
        self._closed = True
        self._layers = {}
        if self._door is not None:
            self._door.close()

    # Steps

    def begin(self) -> None:
        """A step begins here: for a model of which only parts are called. From now on its own calls are no steps."""
        self.end()
        self._by_hand = True
        record = self._record()
        if record is not None:
            record.stack.enter_context(Eagerly())

    def end(self) -> None:
        """The step that `begin` began has had its backward pass."""
        self._settle()
        if self._open is not None:
            self._drop()

    @contextmanager
    def _call(self, given: Any) -> Iterator[Record | None]:
        """A call of the model, which may be a step to sample."""
        record = None if self._by_hand else self._record()
        if record is None:
            yield None
            return
        record.batch = samples(given)
        try:
            with Eagerly():
                yield record
        except BaseException:
            self._drop()
            self._next = self._steps
            raise

    def _record(self) -> Record | None:
        """A record, if a step begins that is to be sampled."""
        import torch

        if self._closed or not self._watches or not torch.is_grad_enabled():
            return None
        if torch._C._are_functorch_transforms_active():  # noqa: SLF001 (their tensors take no hooks)
            return None
        self._settle()
        if self._open is not None and in_backward():
            return None  # A checkpoint around the model runs it once more.
        if self._open is not None:
            first, waiting = self._open
            if self._steps < first + max(self.every, PATIENCE):
                self._steps += 1
                waiting.calls += 1
                return None
            self._drop()
        step, self._steps = self._steps, self._steps + 1
        if step < self._next:
            return None
        self._next = (step // self.every + 1) * self.every
        record = Record(self._layers, self._scaler, self._attach)
        self._open = step, record
        return record

    def _settle(self) -> None:
        """Keep a record that has come to its end; forget one that cannot, and sample the next step in its place."""
        if self._open is None:
            return
        step, record = self._open
        if record.sampled is not None:
            self._kept.append((step, record.sampled))
            self._open = None
            if record.calls > 1:  # the next sample is again a first call
                self._next = step + math.ceil(self.every / record.calls) * record.calls
        elif record.failed:
            self._drop()

    def _drop(self) -> None:
        """Forget the record; the next step takes its place, unless no gradient could have come to this one."""
        if self._open is not None:
            _, record = self._open
            self._open = None
            record.close()
            if record.hooked:
                self._next = self._steps

    # What was seen

    @property
    def names(self) -> tuple[str, ...]:
        """The layers that were seen in the last sampled step, in order of execution; `0@2` is the second use of `0`."""
        return self.trace.names

    @property
    def trace(self) -> Trace:
        """The last sampled step: a `Trace` of one run.

        Raises:
            ValueError: If no step was sampled yet.
        """
        return self._trace(-1)

    @property
    def history(self) -> Trace:
        """All sampled steps, one run each, over all layers that any of them used.

        Raises:
            ValueError: If no step was sampled yet.
        """
        return self._trace(0)

    def _trace(self, first: int) -> Trace:
        self._settle()
        if not self._watches:
            raise ValueError(f"process {_rank()} watches nothing: the process of rank 0 does")
        if not self._kept:
            raise ValueError(
                f"no step was seen in {self._steps} forward passes under gradients: a step is a call of the watched "
                "model and a backward pass through what it gives. If another object is called, such as a wrapper by "
                "torch.compile, watch that; if only parts of the model are called, call begin() and end() around a step"
            )
        return trace_of([sampled for _, sampled in self._kept[first:]], steps=[step for step, _ in self._kept[first:]])

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"every {self.every} steps"
        return f"Watch({state}, {len(self._kept)} of {self._steps} steps seen)"


class _Door:
    """What the calls of a watched model go through. It holds neither model nor watch, and no copy of the model has it.

    torch looks for what it compiled in place in the same attribute, which copies and pickles leave out; what stands
    there already is called in the sampled step as well, and runs as it was written.
    """

    def __init__(self, watcher: Watch, model: Any) -> None:
        self.inside = vars(model).get(DOOR)
        self._model = weakref.ref(model)
        self.watcher: weakref.ref[Watch] | None = weakref.ref(watcher)
        vars(model)[DOOR] = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        import torch

        model = self._model()
        inside = self.inside or model._call_impl  # type: ignore[union-attr]  # noqa: SLF001 (it is being called)
        watcher = self.watcher() if self.watcher is not None else None
        if watcher is None or torch.compiler.is_compiling():
            return inside(*args, **kwargs)
        with watcher._call((args, kwargs)) as record:  # noqa: SLF001
            output = inside(*args, **kwargs)
            if record is not None:
                record.forward_ends(output)
        return output

    def close(self) -> None:
        """Take it away; where another watch has its own before it, it stays and does nothing."""
        self.watcher = None
        model = self._model()
        while model is not None and isinstance(door := vars(model).get(DOOR), _Door) and door.watcher is None:
            if door.inside is None:
                del vars(model)[DOOR]
            else:
                vars(model)[DOOR] = door.inside

    def __reduce__(self) -> tuple[Any, ...]:
        return type(None), ()


def trace_of(runs: list[Sampled], *, steps: list[int] | None = None, notes: tuple[str, ...] = ()) -> Trace:
    """One trace of several samples, over all layers that any of them has: nan where one lacks it."""
    names: list[str] = []
    for run in runs:
        place = len(names)
        for name in reversed(run.names):  # a new one before the next that is known
            if name not in names:
                names.insert(place, name)
            place = names.index(name)
    where = {name: i for i, name in enumerate(names)}
    columns = {column: np.full((len(runs), len(names)), np.nan) for column in runs[0].columns}
    for row, run in enumerate(runs):
        places = [where[name] for name in run.names]
        for column, values in run.columns.items():
            columns[column][row, places] = values
    columns["nonfinite"] = np.nan_to_num(columns["nonfinite"])
    never = sorted({name for run in runs for name in run.never} - {name.partition("@")[0] for name in names})
    if never:
        notes = (*notes, f"never called: {', '.join(never)}")
    calls = max(run.calls for run in runs)
    if calls > 1:
        said = (
            f"the model was called {calls} times before the backward pass through the first call, which is the one "
            "that is seen; log10_weight is of all calls that the pass went through; begin() and end() show each of them"
        )
        notes = (*notes, said)
    batches = {run.batch for run in runs}
    return Trace(
        names=tuple(names),
        columns=columns,
        steps=tuple(steps or ()),
        lost_below=np.array([where[run.names[run.lost_below]] if run.lost_below >= 0 else -1 for run in runs]),
        dtype=runs[-1].dtype,
        batch=batches.pop() if len(batches) == 1 else None,
        notes=notes,
    )


def _module(model: Any) -> Any:
    if not isinstance(model, torch_for("vg.watch").nn.Module):
        raise wrong_type("model", "a torch.nn.Module", model)
    return model


def _rank() -> int:
    """Of this process among those that train together; 0 where there are no others."""
    import torch

    distributed = torch.distributed
    return int(distributed.get_rank()) if distributed.is_available() and distributed.is_initialized() else 0
