"""Pictures as files for pages, on figures that pyplot does not know: it would keep them and show them again."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

from vgcore.measure import table

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def png(draw: Callable[[Axes], object], *, width: float = 7, height: float = 4) -> bytes:
    """What is drawn on some axes of so many inches, as a PNG."""
    figure = table.optional("matplotlib.figure", "plot").Figure(figsize=(width, height), layout="constrained")
    draw(figure.subplots())
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=90, bbox_inches="tight")
    return file.getvalue()
