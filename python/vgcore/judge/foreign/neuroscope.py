"""The rules of NeuroScope, whose monitors give a severity from 0 to 1."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np

from vgcore.judge.foreign.course import Course
from vgcore.judge.foreign.quantities import kernels, layers_of, lost_anywhere, norm
from vgcore.judge.foreign.rule import ForeignRule, Preset, TimeRule, Value
from vgcore.judge.foreign.seen import Pass


def _vanishing_severity(p: Pass) -> Iterator[Value]:
    """From the mean ratio of neighbours' variances, earlier over later, and from the least root mean square.

    The ratio as written grows toward the input: what it calls vanishing is a gradient that explodes.
    """
    gradients = [gradient.astype(np.float64) for gradient in kernels(p.gradients).values()]
    if len(gradients) > 1:
        variances = [gradient.var() for gradient in gradients]
        ratios = [one / two for one, two in itertools.pairwise(variances) if two > 1e-12]
        growth = min(0.8, max(0.0, (float(np.mean(ratios)) - 2) / 8)) if ratios else 0.0
        least = min(math.sqrt((gradient**2).mean()) for gradient in gradients)
        yield max(growth, 0.7 if least < 1e-7 else 0.4 if least < 1e-5 else 0.0), ()


def _exploding_severity(p: Pass) -> Iterator[Value]:
    """From the norm of all kernels' gradients, beginning at 5 and anew at 10, and from the largest norm of one."""
    norms = [norm(gradient) for gradient in kernels(p.gradients).values()]
    total, top = float(np.linalg.norm(norms)), max(norms)
    severity = min(1.0, (total - 10) / 10) if total > 10 else 0.6 * (total - 5) / 5 if total > 5 else 0.0
    yield min(1.0, severity + (min(0.5, (top - 5) / 5) if top > 5 else 0.0)), ()


def _dead_percent(p: Pass) -> Iterator[Value]:
    """Percent of all hidden units that are about 0 for more than 90 % of samples, or 85 % if not plain ReLU."""
    about = {"relu": 1e-8, "leaky_relu": 1e-6}
    zeros = [(name, np.abs(a) <= about.get(name, 1e-7)) for name, a in zip(p.activations, p.a, strict=True)]
    dead = [v.mean(axis=0) > (0.9 if name == "relu" else 0.85) for name, v in zeros]
    yield 100 * float(np.concatenate(dead).mean()), ()


def _off_init(p: Pass) -> Iterator[Value]:
    """The factor by which the standard deviation of a kernel is off what the tool expects for the activation."""
    for name, kernel in kernels(p.parameters).items():
        fan_out, fan_in = kernel.shape
        activation = p.activations[next(iter(layers_of(name)), -1)]
        he, lecun, xavier = math.sqrt(2 / fan_in), math.sqrt(1 / fan_in), math.sqrt(2 / (fan_in + fan_out))
        ratio = kernel.std(dtype=np.float64) / {"relu": he, "leaky_relu": he, "selu": lecun}.get(activation, xavier)
        yield float(max(ratio, np.divide(1, ratio))), layers_of(name)


def _overfitting(c: Course) -> Iterator[Value]:
    validation, training = c.readings
    if len(validation) < 5:
        return
    gap = (validation[-1] - training[-1]) / (training[-1] + 1e-8)
    score = 0.4 if gap > 0.5 else 0.25 if gap > 0.2 else 0.1 if gap > 0.1 else 0.0
    if len(validation) >= 10:
        slope = float(np.polyfit(np.arange(10), validation[-10:], 1)[0])
        score += 0.35 if slope > 0.01 else 0.2 if slope > 0.005 else 0.1 if slope > 0.001 else 0.0
    falls, rises = ((own[-1] - own[-5]) / (own[-5] + 1e-8) for own in (training, validation))
    score += 0.25 if falls < -0.01 and rises > 0.01 else 0.15 if falls < 0 < rises else 0.0
    yield min(1.0, score), ()


_MONITOR = "diagnostics/training_monitors.py"


# fmt: off
NEUROSCOPE = Preset("NeuroScope", "github.com/ahmadrazacdx/neuro-scope", (
        ForeignRule("monitor_vanishing_gradients", "vanishing",
                    "severity of the least root mean square (below 1e-5 or 1e-7) and of variances (earlier over later)",
                    ">=", 0.4, _vanishing_severity, "src", _MONITOR, "critical"),
        ForeignRule("monitor_exploding_gradients", "exploding",
                    "severity of the total gradient norm (above 5 or 10) and of the largest of a layer (above 5)",
                    ">=", 0.4, _exploding_severity, "src", _MONITOR, "critical"),
        ForeignRule("check_numerical_stability", "nonfinite", "number of values in a tensor that are NaN or infinite",
                    ">", 0, lost_anywhere, "src", "mlp/utils.py"),
        ForeignRule("analyze_weight_init", "init",
                    "factor by which a matrix's standard deviation is off He (ReLU), LeCun (SELU) or Xavier",
                    ">", 2, _off_init, "src", "diagnostics/pretraining.py"),
        ForeignRule("monitor_relu_dead_neurons", "dead",
                    "percent of hidden units that are 0 for over 90 % of samples (85 % if not ReLU)",
                    ">", 30, _dead_percent, "src", _MONITOR, "critical"),
    ), "Over training: update ratios, learning progress, plateaus. Further: weight health, much like the "
       "rule of inits; scores of saturation and of signal to noise; notes on the architecture. Its lights are green, "
       "yellow and red: red counts here (severity 0.4, 30 % of units, a failed check). Its own nets are float64.",
    (
        TimeRule("monitor_overfitting", "overfit",
                 "severity of the gap (validation - training) / training, of the slope of the last 10 validation "
                 "losses, and of training falling while validation rises over 5",
                 ">=", 0.4, _overfitting, "src", _MONITOR, "critical"),
        TimeRule("check_numerical_stability", "nonfinite", "1 where a value is not finite",
                 ">", 0, lambda c: iter([(float(not c.finite), ())]), "src", "mlp/utils.py", "critical"),
    ), "It looks at the end of each epoch; here at each validation, with the mean training loss since the one before.")
# fmt: on
