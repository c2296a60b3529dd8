"""The rules of DLCheck."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from vgcore.judge.foreign.quantities import each_gradient, each_layer, is_one_of, lost, mean_abs, norm, of_each
from vgcore.judge.foreign.rule import ForeignRule, Preset, Value
from vgcore.judge.foreign.seen import Pass


def _nonzero_norms(p: Pass) -> Iterator[Value]:
    """Norms of the gradients of parameters, where not 0."""
    return ((value, layers) for value, layers in of_each(norm, p.gradients) if value > 0)


def _deviations(p: Pass) -> Iterator[Value]:
    """Standard deviations of matrices."""
    matrices = {name: w for name, w in p.parameters.items() if w.ndim > 1}
    return of_each(lambda w: float(w.std(ddof=1, dtype=np.float64)) if w.size > 1 else math.nan, matrices)


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
    ), "Over training: update ratios, parameters that diverge or never change, constant loss, label noise and leakage. "
       "Its rule of weights also fires on every vector of equal numbers, such as biases of 0; here it sees matrices.")
# fmt: on
