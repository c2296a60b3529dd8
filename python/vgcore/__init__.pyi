from . import data, export, plot, reference, testing, theory
from ._core import (
    ACTIVATIONS,
    CELLS,
    INITS,
    LOSSES,
    NORMS,
    OPTIMIZERS,
    PRETRAININGS,
    SCHEDULES,
    SKIPS,
    WEIGHT_TRANSFORMS,
    __version__,
    build_info,
    release_memory,
)
from .convert.arrays import from_arrays
from .convert.imported import Imported, NonFinite, Refusal
from .convert.infer import infer_init
from .convert.jax import from_jax
from .convert.keras import from_keras
from .convert.onnx import from_onnx
from .convert.sklearn import from_sklearn
from .convert.torch import from_torch
from .cure.advice import Advice, Advised
from .cure.search import advise
from .judge.depth_limit import DepthLimit
from .judge.diagnose import diagnose
from .judge.diagnosis import Diagnosis
from .judge.finding import Finding
from .judge.memory_limit import memory_limit
from .judge.training.diagnosis import RunDiagnosis
from .maps.rates import RateFractal, RateMap, rate_fractal, rate_map
from .maps.trainability import Trainability, trainability
from .measure.cells import Sweep
from .measure.clip import Clipped, clip_adaptive, clip_grad_norm, clip_grad_value, get_total_norm
from .measure.explain import Explanation, explain
from .measure.jacobian import Jacobian, jacobian
from .measure.probe import probe
from .measure.result import Factor, Probe
from .measure.saved import read_sweep
from .measure.stored import open_sweep
from .measure.sweep import sweep
from .measure.trace import Trace
from .model.gain import calculate_gain
from .model.kind import Activation, Cell, Init, Loss, Norm, Skip
from .model.kinds import KindInfo, kinds
from .model.mlp import MLP
from .model.network import Forward, Gradients, Network, gradcheck
from .model.optimizer import SGD, Adagrad, Adam, AdamW, Lion, Muon, Optimizer, RMSprop, Schedule
from .model.rnn import RNN
from .model.sequential import Sequential
from .model.transformer import Transformer
from .pretrain.greedy import pretrain
from .pretrain.machine import RBM
from .pretrain.pretrained import DBN, Pretrained, PretrainedLayer
from .report.compare import compare
from .report.comparison import Comparison
from .train.fit import train
from .train.many import TrainSweep, open_train_sweep, train_sweep
from .train.run import FirstBad, Replay, Run
from .train.settings import Clip, EarlyStopping
from .watch.measured import Measured, measure
from .watch.watch import Watch, watch

__all__ = [
    "ACTIVATIONS",
    "CELLS",
    "DBN",
    "INITS",
    "LOSSES",
    "MLP",
    "NORMS",
    "OPTIMIZERS",
    "PRETRAININGS",
    "RBM",
    "RNN",
    "SCHEDULES",
    "SGD",
    "SKIPS",
    "WEIGHT_TRANSFORMS",
    "Activation",
    "Adagrad",
    "Adam",
    "AdamW",
    "Advice",
    "Advised",
    "Cell",
    "Clip",
    "Clipped",
    "Comparison",
    "DepthLimit",
    "Diagnosis",
    "EarlyStopping",
    "Explanation",
    "Factor",
    "Finding",
    "FirstBad",
    "Forward",
    "Gradients",
    "Imported",
    "Init",
    "Jacobian",
    "KindInfo",
    "Lion",
    "Loss",
    "Measured",
    "Muon",
    "Network",
    "NonFinite",
    "Norm",
    "Optimizer",
    "Pretrained",
    "PretrainedLayer",
    "Probe",
    "RMSprop",
    "RateFractal",
    "RateMap",
    "Refusal",
    "Replay",
    "Run",
    "RunDiagnosis",
    "Schedule",
    "Sequential",
    "Skip",
    "Sweep",
    "Trace",
    "TrainSweep",
    "Trainability",
    "Transformer",
    "Watch",
    "__version__",
    "advise",
    "build_info",
    "calculate_gain",
    "clip_adaptive",
    "clip_grad_norm",
    "clip_grad_value",
    "compare",
    "data",
    "diagnose",
    "explain",
    "export",
    "from_arrays",
    "from_jax",
    "from_keras",
    "from_onnx",
    "from_sklearn",
    "from_torch",
    "get_total_norm",
    "gradcheck",
    "infer_init",
    "jacobian",
    "kinds",
    "measure",
    "memory_limit",
    "open_sweep",
    "open_train_sweep",
    "plot",
    "pretrain",
    "probe",
    "rate_fractal",
    "rate_map",
    "read_sweep",
    "reference",
    "release_memory",
    "sweep",
    "testing",
    "theory",
    "train",
    "train_sweep",
    "trainability",
    "watch",
]
