"""The rules of AUTOTRAINER."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from vgcore.judge.foreign.course import Course
from vgcore.judge.foreign.quantities import each_gradient, kernels, lost, norm
from vgcore.judge.foreign.rule import ForeignRule, Preset, TimeRule, Value
from vgcore.judge.foreign.seen import Pass


def _first_to_last(p: Pass) -> Iterator[Value]:
    """Norm of the first kernel's gradient over the last one's."""
    norms = [norm(gradient) for gradient in kernels(p.gradients).values()]
    yield float(np.divide(norms[0], norms[-1])), (0,)


def _small_first_to_last(p: Pass) -> Iterator[Value]:
    """Norm of the first kernel's gradient over the last one's, where the first is below `beta_2`."""
    if norm(p.gradients["layers.0.weight"]) < 1e-4:
        yield from _first_to_last(p)


def _zero_share(p: Pass) -> Iterator[Value]:
    """Share of zeros among all entries of all gradients."""
    zeros = sum(int((gradient == 0).sum()) for gradient in p.gradients.values())
    yield zeros / sum(gradient.size for gradient in p.gradients.values()), ()


def _loss(p: Pass) -> Iterator[Value]:
    """The loss; one that is not a number counts as infinite."""
    if p.loss is not None:
        yield math.inf if math.isnan(p.loss) else p.loss, ()


def _best_accuracy(c: Course) -> Iterator[Value]:
    if len(c.accuracy):
        yield float(c.accuracy.max()), ()


def _best_gain(c: Course) -> Iterator[Value]:
    if len(c.accuracy) > 1:
        yield max(0.0, float(np.diff(c.accuracy).max())), ()


def _swings(c: Course) -> Iterator[Value]:
    """Highs and lows are paired in their order."""
    a = c.accuracy
    if len(a) > 2:
        inner, before, after = a[1:-1], a[:-2], a[2:]
        highs = inner[(inner >= before) & (inner >= after)]
        lows = inner[(inner <= before) & (inner <= after)]
        count = sum(high - low >= 0.03 for high, low in zip(highs, lows, strict=False))
        yield count / len(a), ()


def _largest(c: Course) -> Iterator[Value]:
    losses = c.readings[0] if len(c.readings[0]) else c.loss
    yield math.inf if not c.finite else float(losses.max(initial=-math.inf)), ()


def _vanished(c: Course) -> Iterator[Value]:
    norms = c.norms("log10_wgrad_norm")
    small = norms[norms[:, 0] < 1e-4]
    return ((float(row[0] / row[-1]), (0,)) for row in small)


def _exploded(c: Course) -> Iterator[Value]:
    return ((float(row[0] / row[-1]), (0,)) for row in c.norms("log10_wgrad_norm"))


# fmt: off
AUTOTRAINER = Preset("AUTOTRAINER", "github.com/shiningrain/AUTOTRAINER", (
        ForeignRule("vanish_gradient", "vanishing",
                    "norm of the first kernel's gradient, itself below 1e-4, over the last one's",
                    "<", 1e-3, _small_first_to_last, "src", "utils/monitor.py"),
        ForeignRule("explode_gradient", "exploding", "norm of the first kernel's gradient over the last one's",
                    ">", 70, _first_to_last, "src", "utils/monitor.py", "critical"),
        ForeignRule("nan_gradient", "nonfinite", "number of values in a parameter's gradient that are NaN or infinite",
                    ">", 0, each_gradient(lost), "src", "utils/monitor.py", "critical"),
        ForeignRule("nan_loss", "exploding", "loss",
                    ">=", 1e5, _loss, "src", "utils/monitor.py", "critical"),
        ForeignRule("died_relu", "dead", "share of zeros among all entries of gradients",
                    ">=", 0.7, _zero_share, "src", "utils/monitor.py"),
    ), "Over training: overfitting, which is switched off in its source. It looks at gradients only while accuracy is "
       "below Theta = 0.7, as before training, and of several problems reports the first (dead ReLU, exploding, "
       "vanishing); here each speaks for itself. Weights above 5 are counted in its source but decide nothing.",
    (
        TimeRule("not_converge", "stuck", "best accuracy of a validation (Theta)",
                 "<", 0.7, _best_accuracy, "src", "utils/monitor.py"),
        TimeRule("sc_accuracy", "stuck", "largest gain of accuracy from one validation to the next (delta)",
                 "<", 0.01, _best_gain, "src", "utils/monitor.py"),
        TimeRule("unstable_loss", "unstable",
                 "share of the validations at which accuracy swings by 0.03 (zeta) or more from a high to a low (eta)",
                 ">=", 0.2, _swings, "src", "utils/monitor.py"),
        TimeRule("nan_loss", "nonfinite", "largest loss of a validation; inf where a value is not finite",
                 ">=", 1e5, _largest, "src", "utils/monitor.py", "critical"),
        TimeRule("vanish_gradient", "vanishing",
                 "norm of the first layer's gradient, itself below 1e-4, over the last one's, at any recorded step",
                 "<", 1e-3, _vanished, "src", "utils/monitor.py"),
        TimeRule("explode_gradient", "exploding",
                 "norm of the first layer's gradient over the last one's, at any recorded step",
                 ">", 70, _exploded, "src", "utils/monitor.py", "critical"),
    ), "It looks at the end of each epoch, at training and validation accuracy; here at each validation, at its "
       "accuracy alone. It looks at gradients where accuracy has not converged, and of several problems reports the "
       "first; here each speaks for itself. Its count of over-fitting is switched off in its source.")
# fmt: on
