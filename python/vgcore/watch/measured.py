"""`measure`: sizes of signals in fresh nets of torch, at initialisation."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgcore.measure.trace import Trace
from vgcore.model.given import integer, shown, wrong_type
from vgcore.model.names import known
from vgcore.model.shown import Shown
from vgcore.model.versioned import Versioned
from vgcore.watch.layers import layers_of, torch_for
from vgcore.watch.record import Record, Sampled, samples
from vgcore.watch.watch import trace_of


@dataclass(frozen=True, eq=False)
class Measured(Versioned, Shown):
    """Signals of fresh nets: made by `vg.measure`.

    Attributes:
        trace: One run a net.
        losses: The loss of each net, `(seeds,)`.

    >>> import torch
    >>> import vgcore as vg
    >>> def build():
    ...     return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    >>> measured = vg.measure(build, torch.randn(16, 4), torch.zeros(16, 1), "mse", seeds=3)
    >>> measured.losses.shape
    (3,)
    """

    trace: Trace
    losses: NDArray[np.float64]

    def __repr__(self) -> str:
        return f"Measured({self.trace!r})"


def measure(build: Callable[[], Any], x: Any, y: Any, loss: Any, *, seeds: int = 8) -> Measured:
    """Measure fresh nets of torch at initialisation: several of them, so that what differs by chance is seen.

    Each net is built anew after `torch.manual_seed(seed)`, of seeds 0, 1 and so on, is put into training mode by its
    `train()`, and has one forward and one backward pass; the state of torch's random numbers is as before when all is
    done. Gradients that end below the least number of the dtype are measured once more with the loss times a power of
    two, as far as the gradients of the other layers leave room: a backward pass is linear in the gradient that it
    begins with. Nets and samples in float64 reach further.

    Args:
        build: Gives a new net, with weights of its own, at each call.
        x: A batch of samples: a tensor or array, a tuple of arguments, or a mapping of keyword arguments.
        y: What the loss compares with: a tensor, an array, or anything that a loss of your own takes. Of
            `"cross_entropy"` one class a sample, as whole numbers, or probabilities of the shape of the output; of
            `"mse"` numbers of the shape of the output.
        loss: A function of output and `y` that gives a tensor of one number, or `"cross_entropy"` or `"mse"`.
        seeds: Nets.

    Returns:
        Their signals, for `vg.diagnose`.

    Raises:
        ImportError: Without torch.
        TypeError: If what is built is no module of torch, or the loss gives no tensor of a real number.
        ValueError: For an unknown loss, targets that do not fit it, a loss that gives several numbers or reaches no
            layer, or a net with weights that a net before it had.

    A net of forty layers, of which the first gets next to nothing back:

    >>> import torch
    >>> import vgcore as vg
    >>> def build():
    ...     layers = [part for _ in range(40) for part in (torch.nn.Linear(32, 32), torch.nn.Sigmoid())]
    ...     return torch.nn.Sequential(*layers, torch.nn.Linear(32, 3))
    >>> x, y = torch.ones(16, 32), torch.zeros(16, dtype=torch.long)
    >>> measured = vg.measure(build, x, y, "cross_entropy", seeds=4)
    >>> vg.diagnose(measured).verdict, measured.trace.runs, measured.losses.shape
    ('vanishing', 4, (4,))
    """
    count = integer("seeds", seeds, least=1)
    torch = torch_for("vg.measure")
    if isinstance(build, torch.nn.Module) or not callable(build):
        raise wrong_type("build", "a function that gives a new torch.nn.Module at each call", build)
    if not callable(loss):
        loss = LOSSES[known("loss", loss, LOSSES)]
    runs, losses, notes = [], [], []
    given: dict[int, weakref.ref[Any]] = {}
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        for seed in range(count):
            torch.manual_seed(seed)
            net = build()
            if not isinstance(net, torch.nn.Module):
                raise wrong_type("build", "a function that gives a torch.nn.Module", net)
            _refuse_again(net, given)
            net.train()
            run, value = _run(net, x, y, loss, seed)
            if run.lost_below >= 0 and (times := _room(run)) > 0:
                again, _ = _run(net, x, y, loss, seed, times=times)
                run, found = _joined(run, again, times)
                notes.append(f"run {seed}: {found} lost gradients were measured with the loss times 2^{times}")
            runs.append(run)
            losses.append(value)
    if count > 1 and all(_same(runs[0], run) for run in runs[1:]):
        notes.append(f"all {count} nets have the same numbers: build draws nothing, so that no interval is known")
    return Measured(trace_of(runs, notes=tuple(notes)), np.array(losses))


def _refuse_again(net: Any, given: dict[int, weakref.ref[Any]]) -> None:
    """Nets that share what they train are no draws of their own: their spread says nothing."""
    for name, weight in net.named_parameters():
        before = given.get(id(weight))  # an id is used again once its object is gone
        if weight.requires_grad and before is not None and before() is weight:
            raise ValueError(
                f"build must give a new net at each call, got {name} of a net before again: make it inside"
            )
        given[id(weight)] = weakref.ref(weight)


def _same(one: Sampled, other: Sampled) -> bool:
    return one.names == other.names and all(
        np.array_equal(column, other.columns[name], equal_nan=True) for name, column in one.columns.items()
    )


def _run(net: Any, x: Any, y: Any, loss: Any, seed: int, *, times: int = 0) -> tuple[Sampled, float]:
    """One forward and backward pass, with the loss times a power of two."""
    import torch

    torch.manual_seed(seed)  # the same dropout in every pass
    dtype = next((weight.dtype for weight in net.parameters()), torch.get_default_dtype())
    args, keywords = ((), x) if isinstance(x, Mapping) else (x if isinstance(x, tuple) else (x,), {})
    args = tuple(_tensor(each, dtype) for each in args)
    record = Record(layers_of(net, "auto"))
    record.batch = samples((args, keywords))
    try:
        with torch.enable_grad():
            output = net(*args, **keywords)
            record.forward_ends(output)
            value = _loss(loss(output, _tensor(y, dtype)))
            # Not the loss is multiplied, which might overflow, but what the backward pass begins with.
            value.backward(torch.full_like(value, 2.0**times))
        if record.sampled is None or all(np.isnan(record.sampled.columns["log10_backward"])):
            raise ValueError("the loss reaches no layer: it must depend on the output, and gradients be recorded")
        return record.sampled, float(value.detach())
    finally:
        record.close()
        net.zero_grad(set_to_none=True)


def _loss(value: Any) -> Any:
    """What a loss gave, if a backward pass can begin there."""
    import torch

    allowed = "a tensor of one number"
    if not isinstance(value, torch.Tensor) or value.is_complex():
        raise wrong_type("what the loss gives", allowed, value)
    if value.numel() != 1:
        raise ValueError(f"what the loss gives must be {allowed}, got shape {tuple(value.shape)}: take its mean")
    if not value.requires_grad:
        raise ValueError(
            "the loss reaches no layer: no gradient is recorded of what it gives; compute it from the output by "
            "functions of torch, without detach(), item(), NumPy or no_grad"
        )
    return value


def _cross_entropy(output: Any, y: Any) -> Any:
    """As `torch.nn.functional` has it, of targets that fit."""
    import torch

    _both("cross_entropy", output, y)
    shape, classes = tuple(output.shape), output.shape[1] if output.ndim > 1 else 0
    if classes and y.shape == output.shape and y.is_floating_point():
        return torch.nn.functional.cross_entropy(output, y)
    whole = not (y.is_floating_point() or y.is_complex() or y.dtype == torch.bool)
    expected = (shape[0], *shape[2:])
    if not classes or not whole or tuple(y.shape) != expected:
        raise ValueError(
            "cross_entropy takes an output (samples, classes, ...) and y (samples, ...) of whole numbers, or "
            f"probabilities of the output's shape; got an output {shape} and y {tuple(y.shape)} of {y.dtype}"
        )
    y, ignored = y.long(), -100  # what torch leaves out, by default
    if ((y < 0) | (y >= classes)).logical_and(y != ignored).any():
        raise ValueError(
            f"y of cross_entropy must be classes 0 to {classes - 1}, as many as the output has, got "
            f"{int(y.min())} to {int(y.max())}"
        )
    return torch.nn.functional.cross_entropy(output, y)


def _mse(output: Any, y: Any) -> Any:
    """As `torch.nn.functional` has it, of targets that fit: it would stretch others, and warn alone."""
    import torch

    _both("mse", output, y)
    if y.shape != output.shape or y.is_complex():
        raise ValueError(
            f"y of mse must be real numbers of the output's shape {tuple(output.shape)}, "
            f"got {tuple(y.shape)} of {y.dtype}"
        )
    return torch.nn.functional.mse_loss(output, y.to(output.dtype))


def _both(name: str, output: Any, y: Any) -> None:
    """The output and the targets of a loss by name are tensors."""
    import torch

    if not isinstance(output, torch.Tensor) or not output.is_floating_point():
        raise TypeError(
            f"{name} takes a net that gives a tensor of floats, got {shown(type(output).__name__)}: "
            "give a function of output and y as loss"
        )
    if not isinstance(y, torch.Tensor):
        raise wrong_type(f"y of {name}", "a tensor or an array", y)


#: Losses by name.
LOSSES = {"cross_entropy": _cross_entropy, "mse": _mse}


def _tensor(value: Any, dtype: Any) -> Any:
    """An array as a tensor; of floats, as floats of the net's dtype."""
    import torch

    if not isinstance(value, np.ndarray):
        return value
    tensor = torch.as_tensor(value)
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _room(run: Sampled) -> int:
    """The power of two that the largest gradient can be multiplied by, with room for sums of 2^16 of its like."""
    import torch

    largest = np.nanmax(np.append(run.columns["log10_backward"], run.columns["log10_weight"]), initial=-math.inf)
    top = math.log2(torch.finfo(getattr(torch, run.dtype)).max)
    return int(top - largest / math.log10(2)) - 16


def _joined(run: Sampled, again: Sampled, times: int) -> tuple[Sampled, int]:
    """What was lost, from a pass with the loss times a power of two; and how many layers that were found."""
    columns, scale = dict(run.columns), times * math.log10(2)
    gone = np.isnan(columns["log10_backward"])
    for name in ("log10_backward", "log10_weight"):
        columns[name] = np.where(gone, again.columns[name] - scale, columns[name])
    found = int((gone & ~np.isnan(columns["log10_backward"])).sum())
    return replace(run, columns=columns, lost_below=again.lost_below), found
