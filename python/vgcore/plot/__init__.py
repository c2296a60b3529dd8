"""Pictures: what was measured and what theory says in, matplotlib `Axes` out, nothing shown (extra `plot`)."""

from vgcore.plot.measured import available, columns, columns_png, depths, heatmap, layers, spectrum
from vgcore.plot.theory import depth_limit, phase_diagram

__all__ = [
    "available",
    "columns",
    "columns_png",
    "depth_limit",
    "depths",
    "heatmap",
    "layers",
    "phase_diagram",
    "spectrum",
]
