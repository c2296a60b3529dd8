"""The rules of AUTOTRAINER."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from vgcore.judge.foreign.quantities import each_gradient, kernels, lost, norm
from vgcore.judge.foreign.rule import ForeignRule, Preset, Value
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
    ), "Over training: unstable loss, no convergence, overfitting. It looks at gradients only while accuracy is below "
       "Theta = 0.7, as before training, and of several problems reports the first (dead ReLU, exploding, vanishing); "
       "here each speaks for itself. Weights above 5 are counted in its source but decide nothing.")
# fmt: on
