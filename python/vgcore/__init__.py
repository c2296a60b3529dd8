"""Vanishing and exploding gradients in deep MLPs: shown, measured, explained, on a laptop CPU, in milliseconds."""

from vgcore import data, export, plot, reference, testing, theory
from vgcore._core import (
    ACTIVATIONS,
    INITS,
    LOSSES,
    NORMS,
    SKIPS,
    WEIGHT_TRANSFORMS,
    __version__,
    build_info,
    release_memory,
)
from vgcore.cure.advice import Advice, Advised
from vgcore.cure.search import advise
from vgcore.judge.depth_limit import DepthLimit
from vgcore.judge.diagnose import diagnose
from vgcore.judge.diagnosis import Diagnosis
from vgcore.judge.finding import Finding
from vgcore.measure.cells import Sweep
from vgcore.measure.clip import Clipped, clip_adaptive, clip_grad_norm, clip_grad_value, get_total_norm
from vgcore.measure.jacobian import Jacobian, jacobian
from vgcore.measure.probe import probe
from vgcore.measure.result import Factor, Probe
from vgcore.measure.saved import read_sweep
from vgcore.measure.stored import open_sweep
from vgcore.measure.sweep import sweep
from vgcore.model.gain import calculate_gain
from vgcore.model.kind import Activation, Init, Loss, Norm, Skip
from vgcore.model.mlp import MLP
from vgcore.model.network import Gradients, Network, gradcheck

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
    "export",
    "get_total_norm",
    "gradcheck",
    "jacobian",
    "open_sweep",
    "plot",
    "probe",
    "read_sweep",
    "reference",
    "release_memory",
    "sweep",
    "testing",
    "theory",
]
