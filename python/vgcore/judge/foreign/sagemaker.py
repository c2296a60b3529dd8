"""The rules of SageMaker Debugger."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from vgcore.judge.foreign.course import Course, CourseValues, Floats, each_layer_of
from vgcore.judge.foreign.quantities import (
    each_gradient,
    each_layer,
    is_one_of,
    is_relu,
    lost_anywhere,
    mean_abs,
    spread,
)
from vgcore.judge.foreign.rule import ForeignRule, Preset, TimeRule, Value
from vgcore.judge.foreign.seen import Array, Pass


def _inactive_units(active: Callable[[Array], npt.NDArray[np.bool_]]) -> Callable[[Array], float]:
    """Percent of units that are active for less than 1 % (`threshold_inactivity`) of the samples."""
    return lambda v: 100 * float((active(v).mean(axis=0) < 0.01).mean())


def _variance_ratio(p: Pass) -> Iterator[Value]:
    """The largest over the smallest variance of the inputs of ReLUs, and where the two are."""
    relus = [l for l, name in enumerate(p.activations) if is_relu(name)]
    variances = np.array([p.inputs[l].var(dtype=np.float64) for l in relus])
    if len(relus) > 1:
        low, high = variances.argmin(), variances.argmax()
        yield float(variances[high] / variances[low]), (relus[low], relus[high])


def _update_ratios(extreme: Callable[..., Floats]) -> CourseValues:
    """An extreme over the steps of each layer's ratio of update to weights."""

    def values(c: Course) -> Iterator[Value]:
        updates, weights = c.norms("log10_update_norm"), c.norms("log10_weight_norm")
        if len(updates) and len(updates) == len(weights):
            yield from each_layer_of(extreme(updates / (weights + 1e-9), axis=0))

    return values


def _unchanged(c: Course) -> Iterator[Value]:
    """Of each layer the least over three steps in a row of the largest change, in tolerances of numpy.allclose."""
    updates, weights = c.norms("log10_update_norm"), c.norms("log10_weight_norm")
    if len(updates) > 2 and len(updates) == len(weights):
        changes = updates / (1e-8 * np.sqrt(c.weights) + 1e-5 * weights)
        yield from each_layer_of(np.maximum(np.maximum(changes[2:], changes[1:-1]), changes[:-2]).min(axis=0))


def _least_fall(c: Course) -> Iterator[Value]:
    """The least fall of the loss from one check to the next, in percent; a check is every 10 steps."""
    checks = c.loss[::10]
    if len(checks) > 1:
        yield float(np.min(100 * (checks[:-1] - checks[1:]) / np.abs(checks[:-1]))), ()


def _gaps(c: Course) -> Iterator[Value]:
    """The gaps between validation and training loss, in training losses."""
    validation, training = c.readings
    return ((float(value), ()) for value in (validation - training) / training)


def _longest_wait(losses: Floats) -> Iterator[Value]:
    """The most values in a row that are not 0.01 below the best before them."""
    best, wait, longest = np.inf, 0, 0
    for loss in losses.tolist():
        if loss < best - 0.01:
            best, wait = loss, 0
        else:
            wait += 1
            longest = max(longest, wait)
    if len(losses):
        yield float(longest), ()


def _waits_train(c: Course) -> Iterator[Value]:
    return _longest_wait(c.loss)


def _waits_validation(c: Course) -> Iterator[Value]:
    return _longest_wait(c.readings[0])


# A formatter would give every argument a line of its own, and the table would be no table.
# fmt: off
SAGEMAKER = Preset("SageMaker Debugger", "docs.aws.amazon.com/sagemaker/latest/dg/debugger-built-in-rules.html", (
        ForeignRule("VanishingGradient", "vanishing", "mean |gradient| of a parameter",
                    "<", 1e-7, each_gradient(mean_abs), "doc", "#vanishing-gradient"),
        ForeignRule("ExplodingTensor", "nonfinite", "number of values in a tensor that are NaN or infinite",
                    ">", 0, lost_anywhere, "doc", "#exploding-tensor", "critical"),
        ForeignRule("PoorWeightInitialization", "init", "largest over smallest variance of the inputs of ReLU layers",
                    ">", 10, _variance_ratio, "doc", "#poor-weight-initialization"),
        ForeignRule("PoorWeightInitialization.distribution_range", "init",
                    "distance from the 5th to the 95th percentile of a parameter's gradient",
                    "<", 0.001, each_gradient(spread), "doc", "#poor-weight-initialization"),
        ForeignRule("DeadRelu", "dead", "percent of a layer's ReLUs that are active for less than 1 % of samples",
                    ">", 50, each_layer(_inactive_units(lambda a: a > 0), "a", is_relu), "doc", "#dead-relu"),
        ForeignRule("SaturatedActivation.tanh", "saturated",
                    "percent of a layer's tanh units with inputs within +-9.4999 for less than 1 % of samples",
                    ">", 50, each_layer(_inactive_units(lambda z: np.abs(z) < 9.4999), "inputs", is_one_of("tanh")),
                    "doc", "#saturated-activation"),
        ForeignRule("SaturatedActivation.sigmoid", "saturated",
                    "percent of a layer's sigmoid units with inputs from -23 to 16.99999 for less than 1 % of samples",
                    ">", 50,
                    each_layer(_inactive_units(lambda z: (z > -23) & (z < 16.99999)), "inputs", is_one_of("sigmoid")),
                    "doc", "#saturated-activation"),
    ), "Over training: patience of PoorWeightInitialization. With bounds that a user sets: AllZero, TensorVariance. "
       "Rules of ReLUs know them by name (.*relu_input), as by default.",
    (
        TimeRule("WeightUpdateRatio.large_threshold", "unstable", "largest ratio of an update to its weights, by norms",
                 ">", 10, _update_ratios(np.max), "doc", "weight-update-ratio.html"),
        TimeRule("WeightUpdateRatio.small_threshold", "stuck", "smallest ratio of an update to its weights, by norms",
                 "<", 1e-8, _update_ratios(np.min), "doc", "weight-update-ratio.html"),
        TimeRule("UnchangedTensor", "stuck",
                 "|dw| over 1e-8 sqrt(n) + 1e-5 |w|, the largest of three recorded steps in a row",
                 "<", 1, _unchanged, "doc", "unchanged-tensor.html"),
        TimeRule("LossNotDecreasing", "stuck", "least fall of the loss over 10 steps, in percent",
                 "<", 0.1, _least_fall, "doc", "loss-not-decreasing.html"),
        TimeRule("Overfit", "overfit", "largest (validation loss - training loss) / training loss",
                 ">", 0.1, _gaps, "doc", "overfit.html"),
        TimeRule("Overtraining.patience_train", "overtrained",
                 "steps in a row at which the training loss is not 0.01 below its best",
                 ">", 5, _waits_train, "doc", "overtraining.html"),
        TimeRule("Overtraining.patience_validation", "overtrained",
                 "validations in a row at which the loss is not 0.01 below its best",
                 ">", 10, _waits_validation, "doc", "overtraining.html"),
        TimeRule("ExplodingTensor", "nonfinite", "1 where a value is not finite",
                 ">", 0, lambda c: iter([(float(not c.finite), ())]), "doc", "#exploding-tensor", "critical"),
    ), "Its ratio has no stated norm: here it is that of a layer's norms, of the one step that it takes by default, "
       "with epsilon 1e-9. UnchangedTensor runs numpy.allclose (rtol 1e-5, atol 1e-8) over entries; here norms are "
       "compared, which holds wherever that does, and more often. Overfit has patience 1; a training loss is the "
       "mean since the last validation. Whether Overtraining needs one of its patiences or both is not documented: "
       "each speaks for itself.")
# fmt: on
