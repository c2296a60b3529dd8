"""The rules of DLCheck."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from vgcore.judge.foreign.course import Course, each_layer_of
from vgcore.judge.foreign.quantities import each_gradient, each_layer, is_one_of, lost, mean_abs, norm, of_each
from vgcore.judge.foreign.rule import ForeignRule, Preset, TimeRule, Value
from vgcore.judge.foreign.seen import Pass


def _nonzero_norms(p: Pass) -> Iterator[Value]:
    """Norms of the gradients of parameters, where not 0."""
    return ((value, layers) for value, layers in of_each(norm, p.gradients) if value > 0)


def _deviations(p: Pass) -> Iterator[Value]:
    """Standard deviations of matrices."""
    matrices = {name: w for name, w in p.parameters.items() if w.ndim > 1}
    return of_each(lambda w: float(w.std(ddof=1, dtype=np.float64)) if w.size > 1 else math.nan, matrices)


def _mean_ratio(c: Course) -> Iterator[Value]:
    """log10 of the mean over the recorded steps of lr times gradient over weights, of each layer."""
    gradients, weights = c.norms("log10_wgrad_norm"), c.norms("log10_weight_norm")
    if len(gradients) and len(gradients) == len(weights):
        rates = c.run.lr[c.seed, c.run.steps[: len(gradients)] - 1][:, None]
        means = (rates * gradients / (weights + 1e-32)).mean(axis=0)
        yield from each_layer_of(np.log10(means + 1e-32))


def _largest_update(c: Course) -> Iterator[Value]:
    updates = c.norms("log10_update_norm")
    return each_layer_of(updates.max(axis=0)) if len(updates) else iter(())


def _spread_of_loss(c: Course) -> Iterator[Value]:
    last = c.loss[-100:]
    if len(last) > 1:
        yield float(np.abs(last - last[0]).max()), ()


def _least_gradient(c: Course) -> Iterator[Value]:
    gradients = c.norms("log10_wgrad_norm")
    some = np.where(gradients > 0, gradients, math.inf)
    return each_layer_of(some.min(axis=0)) if len(some) else iter(())


def _largest_gradient(c: Course) -> Iterator[Value]:
    gradients = c.norms("log10_wgrad_norm")
    return each_layer_of(gradients.max(axis=0)) if len(gradients) else iter(())


_CALLBACK = "dlcheck_callback.py"


# fmt: off
DLCHECK = Preset("DLCheck", "github.com/QEDan/DLCheck", (
        ForeignRule("vanishing_gradients", "vanishing", "norm, if not 0, of a parameter's gradient",
                    "<", 1e-7, _nonzero_norms, "src", _CALLBACK),
        ForeignRule("zero_gradients", "vanishing", "share of zeros in a parameter's gradient",
                    ">=", 1, each_gradient(lambda v: float((v == 0).mean())), "src", _CALLBACK),
        ForeignRule("exploding_gradients", "exploding", "norm of a parameter's gradient",
                    ">", 1e6, _nonzero_norms, "src", _CALLBACK, "critical"),
        ForeignRule("nan_gradients", "nonfinite", "number of values in a parameter's gradient that are NaN or infinite",
                    ">", 0, each_gradient(lost), "src", _CALLBACK, "critical"),
        ForeignRule("weight_initialization", "init", "standard deviation of a matrix",
                    "<", 1e-6, _deviations, "src", _CALLBACK),
        ForeignRule("dead_activations", "dead", "share of zeros in the output of a ReLU layer",
                    ">", 0.95, each_layer(lambda a: float((a == 0).mean()), "a", is_one_of("relu")), "src", _CALLBACK),
        ForeignRule("saturated_activations.high", "saturated", "mean |output| of a sigmoid or tanh layer",
                    ">", 0.95, each_layer(mean_abs, "a", is_one_of("sigmoid", "tanh")), "src", _CALLBACK),
        ForeignRule("saturated_activations.low", "saturated", "mean |output| of a sigmoid or tanh layer",
                    "<", 0.05, each_layer(mean_abs, "a", is_one_of("sigmoid", "tanh")), "src", _CALLBACK),
    ), "Over training: quartiles of parameters beyond +-1e4, label noise and leakage. "
       "Its rule of weights also fires on every vector of equal numbers, such as biases of 0; here it sees matrices.",
    (
        TimeRule("unstable_learning_threshold_min", "stuck", "log10 of the mean over steps of lr |g| / |w|, by norms",
                 "<", -8, _mean_ratio, "src", _CALLBACK),
        TimeRule("unstable_learning_threshold_max", "unstable", "log10 of the mean over steps of lr |g| / |w|, by "
                 "norms",
                 ">", 1, _mean_ratio, "src", _CALLBACK),
        TimeRule("untrained_params", "stuck", "largest norm of a layer's update at any recorded step",
                 "<", 1e-300, _largest_update, "src", _CALLBACK),
        TimeRule("loss_consistency", "stuck", "largest distance of the last 100 losses from the first of them",
                 "<", 1e-6, _spread_of_loss, "src", _CALLBACK),
        TimeRule("vanishing_grad_threshold", "vanishing", "least norm, if not 0, of a layer's gradient",
                 "<", 1e-7, _least_gradient, "src", _CALLBACK),
        TimeRule("exploding_grad_threshold", "exploding", "largest norm of a layer's gradient",
                 ">", 1e6, _largest_gradient, "src", _CALLBACK, "critical"),
        TimeRule("nan_gradients", "nonfinite", "1 where a value is not finite",
                 ">", 0, lambda c: iter([(float(not c.finite), ())]), "src", _CALLBACK, "critical"),
    ), "It counts every epoch and compares means of absolute values, tensor by tensor; here the whole run is one "
       "epoch, and norms of layers are compared, weight and bias together.")
# fmt: on
