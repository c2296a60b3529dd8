"""Presets of the explorer: nets that teach, one row each, with what to do and what to see.

A test measures every number and every verdict that a text names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Preset:
    """A net to begin with, and one to compare it with.

    Attributes:
        id: In the link, `#preset=ID`.
        title: What it shows.
        text: What to see, what to do, and what one sees then.
        request: Fields of a request; the others are those of a fresh page.
        then: The fields that lead to the net to compare with.
        button: What leads there, in words.
    """

    id: str
    title: str
    text: str
    request: Mapping[str, Any]
    then: Mapping[str, Any]
    button: str


PLAIN: dict[str, Any] = {"width": 64, "norm": "none", "skip": "none"}
RELU = PLAIN | {"depth": 50, "activation": "relu", "init": "kaiming_normal"}

PRESETS = (
    Preset(
        "sigmoid",
        "Watch sigmoid vanish",
        "On its way back every layer multiplies dL/dz by 0.23: over 20 layers 12 decades are lost. "
        "The forward signal does not show it, since z loses less than a third of a decade. "
        "With tanh and the same init a layer keeps 0.92 of dL/dz, and the net is healthy.",
        PLAIN | {"depth": 20, "activation": "sigmoid", "init": "xavier_normal"},
        {"activation": "tanh"},
        "the same net with tanh",
    ),
    Preset(
        "chaos",
        "The edge of chaos",
        "At sigma_w = 1.12 this net stands on the edge: dL/dz comes through 50 layers and loses less than a decade. "
        "Move sigma_w down to 0.7: gradients vanish and samples become alike, the correlation of two goes to 1. "
        "Move it up to 2: gradients explode and samples become unlike, their correlation goes to 0.",
        PLAIN | {"depth": 50, "activation": "tanh", "init": "mean_field", "sigma_w": 1.12, "sigma_b": 0.05},
        {"sigma_w": 2.0},
        "into chaos: sigma_w = 2",
    ),
    Preset(
        "he",
        "He saves ReLU",
        "ReLU drops half of a signal's square, and Xavier's weights do not make up for it: every layer multiplies z by "
        "0.7 on the way forward and dL/dz by 0.7 on the way back, so that both vanish. "
        "He's weights have twice the variance: z and dL/dz keep their sizes over 50 layers.",
        RELU | {"init": "xavier_normal"},
        {"init": "kaiming_normal"},
        "the same net with He's weights",
    ),
    Preset(
        "residual",
        "Why residual needs a scale",
        "Every block adds a branch as large as what it gets, and branches that end in ReLU have positive means, which "
        "add up: h grows by 1.7 a layer, dL/dh by 1.61 on its way back, and both explode. "
        "Scale the branches by 1/sqrt(L), 0.18 at 30 blocks: dL/dh grows by 1.03 a layer, and the net is healthy.",
        RELU | {"depth": 30, "skip": "residual", "branch_scale": 1.0},
        {"branch_scale": 0.18},
        "branches times 1/sqrt(L)",
    ),
    Preset(
        "batch",
        "Batch norm explodes",
        "Batch norm holds z at one size, and still gradients explode: every layer multiplies dL/dz by 1.22 on its way "
        "back. No scale of the weights helps, since the norm divides it away: try init=mean_field and any sigma_w. "
        "With a layer norm at the same place a layer keeps 1.00 of dL/dz.",
        RELU | {"norm": "batch", "norm_position": "pre", "batch": 32},
        {"norm": "layer"},
        "layer norm instead",
    ),
    Preset(
        "norms",
        "Pre- and post-norm",
        "The layer norm behind the activation takes the mean out of every branch: samples stay unlike, and dL/dh grows "
        "by 1.05 a layer on its way back. Before the activation it leaves ReLU its mean: dL/dh keeps its size, but in "
        "the end samples are nearly alike. "
        "Both nets are healthy by their skips. Set skip to none: with post-norm dL/dz explodes, 1.24 a layer, with "
        "pre-norm it keeps its size.",
        RELU | {"norm": "layer", "norm_position": "post", "skip": "residual", "branch_scale": 1.0},
        {"norm_position": "pre"},
        "the norm before the activation",
    ),
)
