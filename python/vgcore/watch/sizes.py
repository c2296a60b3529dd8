"""Sizes of tensors, worked out on their device: nothing waits for it until all are copied at once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: What a gradient may be above the least number of its dtype and have lost most of its digits, as a factor.
MARGIN = 1e6


@dataclass(frozen=True)
class Size:
    """How large a tensor is, as scalars on its device.

    Attributes:
        largest: The largest size of an entry.
        squares: The sum of squares of the entries, each divided by `largest`: no square leaves the range of the dtype.
        nonzeros: Entries that are not exactly 0; None where they were not counted.
        count: Entries.
        dtype: Of the tensor.
    """

    largest: Any
    squares: Any
    nonzeros: Any
    count: int
    dtype: Any

    @classmethod
    def of(cls, tensor: Any, *, count_zeros: bool = False) -> Size:
        """The size of a tensor, without a wait."""
        import torch

        with torch.no_grad():
            tensor = tensor.detach()
            wide = torch.view_as_real(tensor) if tensor.is_complex() else tensor
            wide = wide.float() if wide.dtype in {torch.float16, torch.bfloat16} else wide
            # A norm of torch takes ten times as long for the largest, and adds squares up with fewer digits.
            low, high = torch.aminmax(wide)
            largest = torch.maximum(-low, high)
            squares = (wide / largest).square_().sum()
            nonzeros = torch.count_nonzero(tensor) if count_zeros else None
        return cls(largest, squares, nonzeros, tensor.numel(), tensor.dtype)

    def norm(self, known: Mapping[int, float]) -> float:
        """log10 of the L2 norm, by what was copied; -inf for zeros, nan for what is not finite."""
        largest, squares = known[id(self.largest)], known[id(self.squares)]
        if largest == 0:
            return -math.inf
        return math.log10(largest) + math.log10(squares) / 2 if math.isfinite(largest) else math.nan

    def top(self, known: Mapping[int, float]) -> float:
        """log10 of the largest entry, as in `norm`."""
        largest = known[id(self.largest)]
        return -math.inf if largest == 0 else math.log10(largest) if math.isfinite(largest) else math.nan


def together(norms: list[float]) -> float:
    """log10 of the L2 norm of several tensors, by those of each; nan if there is none.

    >>> round(together([math.log10(3e-300), math.log10(4e-300)]), 6) == round(math.log10(5e-300), 6)
    True
    """
    if not norms or any(map(math.isnan, norms)):
        return math.nan
    top = max(norms)
    return top + math.log10(sum(10 ** (2 * (norm - top)) for norm in norms)) / 2 if top > -math.inf else top


def copied(scalars: list[Any]) -> dict[int, float]:
    """The values of scalars, by the id of each: one copy from each device, and so one wait."""
    import torch

    places: dict[Any, dict[Any, list[Any]]] = {}
    for scalar in scalars:
        places.setdefault(scalar.device, {}).setdefault(scalar.dtype, []).append(scalar)
    known: dict[int, float] = {}
    for device, sorts in places.items():
        wide = torch.float32 if device.type == "mps" else torch.float64
        values = torch.cat([torch.stack(each).to(wide) for each in sorts.values()]).tolist()
        known |= zip((id(scalar) for each in sorts.values() for scalar in each), values, strict=True)
    return known


def lost(largest: Floats, dtypes: list[Any]) -> NDArray[np.bool_]:
    """Which gradients have ended below the least number of their dtype, of layers in order of execution.

    One is lost if its largest entry is that near to the least number, or if it is 0 and the next one toward the output
    that is known is near to it. A gradient of 0 behind a large one is 0.

    Args:
        largest: log10 of the largest entry of each, -inf for 0, nan for none.
        dtypes: Of each; None for none.
    """
    import torch

    found, near = np.zeros(len(largest), dtype=bool), False
    for i in reversed(range(len(largest))):
        if math.isnan(largest[i]):
            continue
        if largest[i] > -math.inf:
            facts = torch.finfo(dtypes[i])
            near = bool(largest[i] < math.log10(min(facts.tiny, MARGIN * facts.smallest_normal * facts.eps)))
        found[i] = near
    return found


def tensors(output: object) -> Iterator[Any]:
    """The tensors of floats in what a module gives: alone, in a tuple, a dict, a dataclass, or packed sequences."""
    import torch

    if isinstance(output, torch.Tensor):
        # Neither sparse, nor in ragged rows, nor spread over processes.
        dense = output.layout == torch.strided and not output.is_nested and not hasattr(output, "to_local")
        if dense and (output.is_floating_point() or output.is_complex()) and output.numel():
            yield output
    elif isinstance(output, Mapping):
        for each in output.values():
            yield from tensors(each)
    elif isinstance(output, list | tuple):
        for each in output:
            yield from tensors(each)
    elif is_dataclass(output) and not isinstance(output, type):
        for field in fields(output):
            yield from tensors(getattr(output, field.name))
