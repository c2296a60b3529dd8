"""Vanishing and exploding gradients in deep MLPs: shown, measured, explained, on a laptop CPU, in milliseconds."""

from vgcore import data, plot, reference
from vgcore._core import ACTIVATIONS, INITS, LOSSES, NORMS, SKIPS, __version__, build_info
from vgcore.gain import calculate_gain
from vgcore.network import Gradients, Network, gradcheck
from vgcore.probe import Factor, Probe, probe
from vgcore.spec import MLP, Activation, Init
from vgcore.sweep import Sweep, sweep

__all__ = [
    "ACTIVATIONS",
    "INITS",
    "LOSSES",
    "MLP",
    "NORMS",
    "SKIPS",
    "Activation",
    "Factor",
    "Gradients",
    "Init",
    "Network",
    "Probe",
    "Sweep",
    "__version__",
    "build_info",
    "calculate_gain",
    "data",
    "gradcheck",
    "plot",
    "probe",
    "reference",
    "sweep",
]
