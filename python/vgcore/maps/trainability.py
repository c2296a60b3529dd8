"""Which depths train: the map of Deep Information Propagation, measured, with theory and the judge's limit beside."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from vgcore.judge.diagnose import diagnose
from vgcore.judge.rules.signals import BACKWARD_VANISHING
from vgcore.maps.grid import Mapped, losses, samples, sizes, whole
from vgcore.measure.result import Floats
from vgcore.model.custom import named
from vgcore.model.given import integer, number, text
from vgcore.model.kind import Activation, Init, Loss
from vgcore.model.mlp import MLP
from vgcore.theory import depth_scales
from vgcore.theory.fixed import ascending
from vgcore.theory.maps import SCALE

#: Schoenholz et al. 2017, arXiv:1611.01232: nets trained where the depth was below about six correlation lengths.
TRAINABLE = 6
#: The change of dL/dz that a depth limit allows, in decades: that of the warning of a diagnosis.
DECADES = BACKWARD_VANISHING.thresholds["warning"]
#: Seeds of the nets that a depth limit is measured on.
JUDGED = 4


@dataclass(frozen=True, eq=False)
class Trainability(Mapped):
    """The loss that nets reach, by scale of weights and depth, and how deep they should go, known before training.

    Arrays are `(scales, depths)`, or `(scales,)` where that is said.

    Attributes:
        activation: Of all hidden layers.
        sigma_w: Scales of the weights, ascending, `(scales,)`.
        sigma_b: Scale of the biases.
        width: Units of a hidden layer.
        xi_c: Layers in which two inputs become alike or unlike, in theory, `(scales,)`.
        xi_grad: Layers in which the squared norm of dL/dz grows e-fold, in theory, `(scales,)`.
        depth_limit: Layers that keep dL/dz within 32-fold, as a diagnosis measures them at the start, `(scales,)`.

    >>> import vgcore as vg
    >>> found = vg.trainability("tanh", sigma_w=[1.0, 3.0], depth=[2, 8], width=16, steps=20)
    >>> found.final_loss.shape, found.depth_limit.shape
    ((2, 2), (2,))
    """

    activation: str
    sigma_w: Floats
    sigma_b: float
    width: int
    xi_c: Floats
    xi_grad: Floats
    depth_limit: Floats

    def __repr__(self) -> str:
        size = f"{len(self.sigma_w)} scales x {len(self.depth)} depths"
        return f"Trainability({named(self.activation)}, {size}, {self.optimizer}, {self.steps} steps)"


def trainability(
    activation: str | Activation,
    *,
    sigma_w: ArrayLike,
    depth: ArrayLike,
    sigma_b: float = 0.05**0.5,
    width: int = 32,
    x: ArrayLike | None = None,
    y: ArrayLike | None = None,
    loss: str | Loss = "cross_entropy",
    optimizer: str = "sgd(lr=0.005, momentum=0.9)",
    steps: int = 250,
    batch: int = 64,
    seeds: int = 1,
    seed: int = 0,
    dtype: str = "float32",
    threads: int | None = None,
    progress: bool = False,
) -> Trainability:
    """Train nets of many depths and scales of weights: which of them train, and does theory say so beforehand?

    Schoenholz et al. 2017, arXiv:1611.01232, found that tanh nets train up to a depth of about `6 xi_c`. That is an
    upper line: few steps and narrow nets stop before it, and gradients may vanish or explode sooner.

    Args:
        activation: Of all hidden layers.
        sigma_w: Scales of the weights, whose variance is `sigma_w^2 / fan_in`, ascending.
        depth: Depths, ascending.
        sigma_b: Standard deviation of the biases; as in the paper's figures.
        width: Units of a hidden layer.
        x: Samples; the bundled digits if None.
        y: Their targets.
        loss: One of `LOSSES`, a call, or a `Loss`.
        optimizer: An optimiser.
        steps: Updates of a net.
        batch: Samples of an update.
        seeds: Nets of a cell, which is the median of them.
        seed: The first seed.
        dtype: `"float32"` or `"float64"`.
        threads: At most this many.
        progress: Show a bar in a notebook, or on stderr where that is a terminal.

    >>> found = trainability("tanh", sigma_w=[1.0, 1.5], depth=[2, 60], steps=60, width=16)
    >>> bool((found.final_loss[:, 0] < found.final_loss[:, 1]).all()), bool(found.depth_limit[0] < 60)
    (True, True)
    """
    name, biases = text("activation", activation), number("sigma_b", sigma_b, SCALE)
    scales, depths = ascending("sigma_w", sigma_w, SCALE), whole("depth", depth)
    x, y = samples(x, y)
    width = integer("width", width, least=1)
    inits = [Init("mean_field", sigma_w=scale, sigma_b=biases) for scale in scales.tolist()]
    columns, outputs = sizes(x, y, loss)
    spec = MLP(depth=1, width=width, in_features=columns, out_features=outputs, activation=name, init=inits[0])
    how: dict[str, Any] = {"loss": loss, "optimizer": optimizer, "steps": steps, "batch": batch}
    how |= {"seeds": seeds, "seed": seed, "dtype": dtype, "threads": threads, "progress": progress}
    found = losses(spec, x, y, {"init": inits, "depth": depths.tolist()}, how)
    theory = depth_scales(name, sigma_w=scales, sigma_b=biases)
    deep = spec.replace(depth=int(depths[-1]))
    limits = [
        diagnose(deep.replace(init=init), x=x, seeds=JUDGED, seed=seed, threads=threads).depth_limit for init in inits
    ]
    return Trainability(
        **found,
        activation=name,
        sigma_w=scales,
        sigma_b=biases,
        width=width,
        xi_c=theory.xi_c,
        xi_grad=theory.xi_grad,
        depth_limit=np.array([math.nan if limit is None else limit.value for limit in limits]),
    )
