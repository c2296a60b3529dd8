"""One sampled step of a model: hooks from its forward pass to the end of its backward pass, then numbers."""

from __future__ import annotations

import math
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import numpy as np

from vgcore.watch.sizes import Floats, Size, copied, lost, tensors, together

Attach = Callable[[Any, Callable[..., None]], Any]


class Eagerly:
    """A context in which compiled modules run as they were written, so that hooks are called.

    Several may overlap in any order, as steps of two watches do: the last to end puts back what was before the first.
    """

    _held: ClassVar[int] = 0
    _stance: ClassVar[Any] = None
    #: The stance is one of the process, and steps of two watches may begin in two threads.
    _lock: ClassVar[Any] = threading.Lock()

    def __init__(self) -> None:
        # If nothing was compiled yet, its import would take a second.
        self._needed = "torch._dynamo" in sys.modules

    def __enter__(self) -> None:
        if self._needed:
            with Eagerly._lock:
                if not Eagerly._held:
                    import torch

                    Eagerly._stance = torch.compiler.set_stance("force_eager")
                Eagerly._held += 1

    def __exit__(self, *_: object) -> None:
        if self._needed:
            with Eagerly._lock:
                Eagerly._held -= 1
                if not Eagerly._held:
                    Eagerly._stance.__exit__(None, None, None)


def in_backward() -> bool:
    """Whether this thread is within a backward pass."""
    import torch

    return bool(torch._C._current_graph_task_id() >= 0)  # noqa: SLF001 (nothing public says it)


@dataclass(frozen=True)
class Sampled:
    """What one step showed.

    Attributes:
        names: Of the calls of layers, in order of execution.
        columns: `(calls,)` each, as in a `Trace`.
        lost_below: The last call whose gradient is lost, -1 if none.
        dtype: Of the gradients.
        batch: Samples.
        never: Layers that were not called.
        calls: How often the model was called before the backward pass; the first of these calls was seen.
    """

    names: tuple[str, ...]
    columns: Mapping[str, Floats]
    lost_below: int
    dtype: str
    batch: int
    never: tuple[str, ...]
    calls: int


@dataclass(eq=False)
class _Call:
    """One call of a layer."""

    name: str
    module: Any
    graph: bool
    forward: Size
    gradients: list[Size] = field(default_factory=list)


class _Hook:
    """A hook on a module; in a copy or a pickle of the module stands one that does nothing."""

    def __init__(self, call: Callable[..., None] | None = None) -> None:
        self.call = call

    def __call__(self, *args: Any) -> None:
        if self.call is not None:
            self.call(*args)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Hook, ()


class Record:
    """What is seen of one step.

    Hooks stand on modules from the beginning to `forward_ends`. Those of layers that ran without a graph, as a
    reentrant checkpoint lets them, stay, since the layers run once more in the backward pass. Hooks on the tensors that
    layers gave belong to the graph of this step; the first backward pass through it is the one that counts. At its end
    all numbers are copied from the device at once.

    Args:
        layers: By name.
        scaler: What scales the loss, with `scale(tensor)` as a `torch.amp.GradScaler`; None if nothing does.
        attach: Puts a hook on a layer, to be called with module, arguments and output; gives what can `remove()` it.
    """

    def __init__(self, layers: Mapping[str, Any], scaler: Any = None, attach: Attach | None = None) -> None:
        self.batch: int = 0
        self.calls = 1
        self.sampled: Sampled | None = None
        self._layers, self._scaler = layers, scaler
        self._calls: list[_Call] = []
        self._weights: dict[int, list[Size]] = {}
        self._scale: Any = None
        self._began = self._closed = False
        self._inside = in_backward()  # as within a checkpoint around the model
        #: What is to be undone at the end.
        self.stack: ExitStack[bool | None] = ExitStack()
        # Held by the hooks of the graph alone, so that it ends with the graph.
        token = _Token()
        self._graph, self._hooked = weakref.ref(token), False
        attach = attach or (lambda module, hook: module.register_forward_hook(hook))
        self._on_modules = {
            name: attach(module, _Hook(partial(self._forward, name, weakref.ref(token))))
            for name, module in layers.items()
        }
        self._token: _Token | None = token
        self._on_tensors: list[Any] = []
        for module in layers.values():
            for weight in _weights(module):
                if id(weight) not in self._weights and weight.requires_grad:
                    self._weights[id(weight)] = []
                    self._on_tensors.append(weight.register_hook(partial(self._weight, id(weight))))

    # Forward

    def _forward(self, name: str, token: Any, module: Any, args: Any, output: Any) -> None:
        import torch

        found = list({id(tensor): tensor for tensor in tensors(output)}.values())
        if self._closed or not found:
            return
        if in_backward() and not self._inside:
            self._begin()
            # A checkpoint runs once more what ran without a graph; which use of a shared layer it is, nothing says.
            waiting = [call for call in self._calls if call.name == name and not call.graph]
            if len(waiting) == 1:
                self._watch(waiting[0], found, token())
            return
        self.batch = self.batch or samples(args) or len(found[0])
        call = _Call(name, module, torch.is_grad_enabled(), Size.of(found[0], count_zeros=True))
        self._calls.append(call)
        self._watch(call, found, token())

    def _watch(self, call: _Call, found: list[Any], token: Any) -> None:
        for tensor in found:
            if tensor.requires_grad:
                self._hooked = True
                self._on_tensors.append(tensor.register_hook(partial(self._gradient, call, token)))

    def forward_ends(self, output: object) -> None:
        """The model has given this: what its layers do from now on is no part of the forward pass."""
        for tensor in tensors(output):
            if tensor.requires_grad:
                # In the outermost of nested backward passes, which a layer within a checkpoint is not.
                self._on_tensors.append(tensor.register_hook(self._output))
        waiting = {call.name for call in self._calls if not call.graph}
        for name in [*self._on_modules]:
            if name not in waiting:
                self._on_modules.pop(name).remove()
        self._token = None

    # Backward

    def _begin(self) -> None:
        import torch

        if self._began or self._closed:
            return
        self._began = True
        self.stack.enter_context(Eagerly())  # A checkpoint must run again what it ran before.
        if self._scaler is not None and self._calls:
            self._scale = self._scaler.scale(torch.ones_like(self._calls[0].forward.largest))
        torch.autograd.Variable._execution_engine.queue_callback(self._end)  # noqa: SLF001 (as DDP and FSDP do)

    def _output(self, _: Any) -> None:
        self._begin()

    def _gradient(self, call: _Call, _: Any, gradient: Any) -> None:
        if not self._closed:
            self._begin()
            call.gradients.append(Size.of(gradient))

    def _weight(self, weight: int, gradient: Any) -> None:
        # Others' backward passes reach a weight as well.
        if self._began and not self._closed and any(True for _ in tensors(gradient)):
            self._weights[weight].append(Size.of(gradient))

    def _end(self) -> None:
        if not self._closed:
            self.sampled = self._numbers()
            self.close()

    # Ends

    @property
    def failed(self) -> bool:
        """Whether no backward pass can come to its end any more: the graph is gone, or the pass was broken off."""
        if self.sampled is not None or in_backward():
            return False
        return self._closed or self._began or (self._token is None and self._graph() is None)

    @property
    def hooked(self) -> bool:
        """Whether a gradient of any layer can come."""
        return self._hooked

    def close(self) -> None:
        """Remove every hook; what comes later is not seen."""
        self._closed = True
        self.stack.close()
        for handle in (*self._on_modules.values(), *self._on_tensors):
            handle.remove()
        self._on_modules.clear()
        self._on_tensors.clear()
        self._token = None

    def _numbers(self) -> Sampled:
        calls = [*self._named()]
        known = copied([*self._scalars([call for _, call in calls])])
        scale = math.log10(known[id(self._scale)]) if self._scale is not None else 0.0
        largest = np.array([_top(call, known) for _, call in calls])
        dtypes = [call.gradients[0].dtype if call.gradients else None for _, call in calls]
        backward = np.array([together([size.norm(known) for size in call.gradients]) for _, call in calls])
        weight = np.array([self._weight_norm(call, known) for _, call in calls])
        gone = lost(largest, dtypes)
        columns = {
            "log10_forward": np.array([c.forward.norm(known) - math.log10(c.forward.count) / 2 for _, c in calls]),
            "log10_backward": np.where(gone, math.nan, backward - math.log10(self.batch) / 2 - scale),
            "log10_weight": np.where(gone, math.nan, weight - scale),
            "zeros": np.array([1 - known[id(c.forward.nonzeros)] / c.forward.count for _, c in calls]),
            "log10_largest": np.array([call.forward.top(known) for _, call in calls]),
            "nonfinite": np.array([float(_broken(call, known)) for _, call in calls]),
        }
        names = tuple(name for name, _ in calls)
        last = next((dtype for dtype in reversed(dtypes) if dtype is not None), calls[0][1].forward.dtype)
        return Sampled(
            names=names,
            columns=columns,
            lost_below=int(np.flatnonzero(gone)[-1]) if gone.any() else -1,
            dtype=str(last).removeprefix("torch."),
            batch=self.batch,
            never=tuple(name for name in self._layers if all(call.name != name for call in self._calls)),
            calls=self.calls,
        )

    def _named(self) -> Iterator[tuple[str, _Call]]:
        """The calls, by name, with `@2` for the second use; those beside the graph only of layers without others."""
        within = {call.name for call in self._calls if call.graph}
        uses: dict[str, int] = {}
        for call in self._calls:
            if call.graph or call.name not in within:
                uses[call.name] = uses.get(call.name, 0) + 1
                yield f"{call.name}@{uses[call.name]}" if uses[call.name] > 1 else call.name, call

    def _scalars(self, calls: list[_Call]) -> Iterator[Any]:
        sizes = [size for call in calls for size in (call.forward, *call.gradients)]
        for size in (*sizes, *(size for each in self._weights.values() for size in each)):
            yield from (each for each in (size.largest, size.squares, size.nonzeros) if each is not None)
        if self._scale is not None:
            yield self._scale

    def _weight_norm(self, call: _Call, known: Mapping[int, float]) -> float:
        """log10 of the norm of the gradient of a layer's weights, over all its uses; nan where any has none."""
        found = [self._weights.get(id(weight), []) for weight in _weights(call.module)]
        # A weight that reentrant checkpoints give several gradients has their sum, of which the norm is not known.
        if any(len(sizes) > 1 for sizes in found):
            return math.nan
        return together([size.norm(known) for sizes in found for size in sizes])


class _Token:
    """What lives as long as the hooks of a graph."""


def _weights(module: Any) -> list[Any]:
    """Matrices and kernels of a module: neither biases nor what norms multiply by."""
    return [weight for weight in module.parameters() if weight.ndim > 1 and weight.is_leaf]


def _top(call: _Call, known: Mapping[int, float]) -> float:
    return max((size.top(known) for size in call.gradients), default=math.nan)


def _broken(call: _Call, known: Mapping[int, float]) -> bool:
    return any(not math.isfinite(known[id(size.largest)]) for size in (call.forward, *call.gradients))


def samples(given: object) -> int:
    """Samples of a batch: the length of the first tensor among what a model is given; 0 if there is none."""
    import torch
    from torch.nn.utils.rnn import PackedSequence

    if isinstance(given, torch.Tensor):
        return len(given) if given.ndim else 0
    if isinstance(given, PackedSequence):
        return int(given.batch_sizes[0])
    each = given.values() if isinstance(given, Mapping) else given if isinstance(given, list | tuple) else ()
    return next((count for count in map(samples, each) if count), 0)
