"""The rules of SageMaker Debugger."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from vgcore.judge.foreign.quantities import (
    each_gradient,
    each_layer,
    is_one_of,
    is_relu,
    lost_anywhere,
    mean_abs,
    spread,
)
from vgcore.judge.foreign.rule import ForeignRule, Preset, Value
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
    ), "Over training: WeightUpdateRatio, UnchangedTensor, LossNotDecreasing, Overfit, Overtraining, patience of "
       "PoorWeightInitialization. With bounds that a user sets: AllZero, TensorVariance. Rules of ReLUs know them by "
       "name (.*relu_input), as by default.")
# fmt: on
