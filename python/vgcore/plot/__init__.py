"""Pictures: what was measured and what theory says in, matplotlib `Axes` out, nothing shown (extra `plot`)."""

from vgcore.plot.maps import rate_fractal, rate_map, trainability
from vgcore.plot.measured import available, columns, layers, spectrum
from vgcore.plot.sweeps import depths, heatmap, lines
from vgcore.plot.theory import depth_limit, phase_diagram
from vgcore.plot.training import training, training_svg

__all__ = [
    "available",
    "columns",
    "depth_limit",
    "depths",
    "heatmap",
    "layers",
    "lines",
    "phase_diagram",
    "rate_fractal",
    "rate_map",
    "spectrum",
    "trainability",
    "training",
    "training_svg",
]
