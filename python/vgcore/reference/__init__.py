"""The whole network in NumPy: slow, short, and meant to be read.

The twin states the same formulas, random stream and columns as the Rust core and shares none of its code, so that a
student can read it and a test can trust it. A plain net is, with layers counted from 1 (lists and
names in a state dict from 0),

    z_l = W_l h_{l-1} + b_l          pre-activation, (batch, width); h_0 is the input
    h_l = a_l = phi(z_l)
    y = W_out h_depth + b_out        only with a readout, else y = h_depth
    delta_l = dL/dz_l                the backward signal

and every other net has more parts: a normalisation, dropout, a skip around some layers, an input at every step. Read
the files in this order:

    kind         names with parameters, as a spec has them
    plan         a spec becomes a list of layers, and each layer a list of parts in their order
    random       the numbers that a seed stands for
    activation   phi(z) and its slope
    scaled       arrays whose exponent has a place of its own, so that no depth makes them underflow
    loss         the loss and its slope by the output
    part         of each part its value, the way back of a gradient, and what it learns
    net          the forward pass walks the list, the backward pass walks the list reversed
    init         initial weights and biases
    columns      what a probe reports of each layer
    optimizer    one step of each optimiser
    schedule     the learning rate of each step
    train        a run of steps, and what is done to gradients that are too small or too large
"""

from vgcore.reference.activation import activate, outputs, steepest
from vgcore.reference.columns import probe
from vgcore.reference.init import bias_kind, init, samples, scale
from vgcore.reference.kind import DOUBLED, GATED, Kind, features, parse
from vgcore.reference.loss import LOSSES, evaluate
from vgcore.reference.net import Gradients, Trace, backpropagate, backward, forward, gradients, propagate, summed
from vgcore.reference.optimizer import RULES, At, orthogonalised, updated
from vgcore.reference.part import State, bend, learned_kind
from vgcore.reference.plan import Place, Plan
from vgcore.reference.random import COTANGENT, INPUT, WEIGHT, Array, Stream, philox
from vgcore.reference.scaled import Scaled
from vgcore.reference.schedule import Plateau, momentum, rate
from vgcore.reference.train import Clip, Stepped, Trainer, train

__all__ = [
    "COTANGENT",
    "DOUBLED",
    "GATED",
    "INPUT",
    "LOSSES",
    "RULES",
    "WEIGHT",
    "Array",
    "At",
    "Clip",
    "Gradients",
    "Kind",
    "Place",
    "Plan",
    "Plateau",
    "Scaled",
    "State",
    "Stepped",
    "Stream",
    "Trace",
    "Trainer",
    "activate",
    "backpropagate",
    "backward",
    "bend",
    "bias_kind",
    "evaluate",
    "features",
    "forward",
    "gradients",
    "init",
    "learned_kind",
    "momentum",
    "orthogonalised",
    "outputs",
    "parse",
    "philox",
    "probe",
    "propagate",
    "rate",
    "samples",
    "scale",
    "steepest",
    "summed",
    "train",
    "updated",
]
