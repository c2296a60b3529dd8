"""Vanishing and exploding gradients in deep MLPs: shown, measured, explained, on a laptop CPU, in milliseconds."""

from vgcore import data, plot, reference, testing, theory
from vgcore._core import ACTIVATIONS, INITS, LOSSES, NORMS, SKIPS, WEIGHT_TRANSFORMS, __version__, build_info
from vgcore.advise import Advice, Advised, advise
from vgcore.clip import Clipped, clip_adaptive, clip_grad_norm, clip_grad_value, get_total_norm
from vgcore.diagnose import DepthLimit, Diagnosis, diagnose
from vgcore.finding import Finding
from vgcore.gain import calculate_gain
from vgcore.jacobian import Jacobian, jacobian
from vgcore.network import Gradients, Network, gradcheck
from vgcore.probe import Factor, Probe, probe
from vgcore.spec import MLP, Activation, Init, Loss, Norm, Skip
from vgcore.sweep import Sweep, sweep

__all__ = [
    "ACTIVATIONS",
    "INITS",
    "LOSSES",
    "MLP",
    "NORMS",
    "SKIPS",
    "WEIGHT_TRANSFORMS",
    "Activation",
    "Advice",
    "Advised",
    "Clipped",
    "DepthLimit",
    "Diagnosis",
    "Factor",
    "Finding",
    "Gradients",
    "Init",
    "Jacobian",
    "Loss",
    "Network",
    "Norm",
    "Probe",
    "Skip",
    "Sweep",
    "__version__",
    "advise",
    "build_info",
    "calculate_gain",
    "clip_adaptive",
    "clip_grad_norm",
    "clip_grad_value",
    "data",
    "diagnose",
    "get_total_norm",
    "gradcheck",
    "jacobian",
    "plot",
    "probe",
    "reference",
    "sweep",
    "testing",
    "theory",
]
