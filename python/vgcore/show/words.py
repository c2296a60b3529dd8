"""Sizes, layers and counts in words."""

from __future__ import annotations

import math
from collections.abc import Sequence


def power(log10: float) -> str:
    """A size whose logarithm is given, readable at any size."""
    if math.isnan(log10):
        return "unknown"
    if math.isinf(log10):
        return "0" if log10 < 0 else "inf"
    return f"{10**log10:.3g}" if abs(log10) < 3 else f"10^{log10:.1f}"


def count(layers: float) -> str:
    """A number of layers, which may have no end."""
    return "no limit" if math.isinf(layers) else f"{layers:.0f}" if layers < 1e6 else f"{layers:.0e}"


def spans(layers: Sequence[int]) -> str:
    """Layers as people count them, from 1: `1-5, 8`."""
    parts: list[list[int]] = []
    for layer in sorted(layers):
        if parts and layer == parts[-1][1] + 1:
            parts[-1][1] = layer
        else:
            parts.append([layer, layer])
    return ", ".join(str(a + 1) if a == b else f"{a + 1}-{b + 1}" for a, b in parts)
