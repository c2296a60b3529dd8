"""Dynamical isometry: Gaussian weights stretch a few directions and crush the rest, orthogonal ones need not.

Left: all singular values s of the input-output Jacobian, of nets 32 layers deep. Linear and ReLU nets have a mean
square of 1 with both kinds of weights, so no norm of a gradient tells the two apart. Orthogonal weights make all s
equal in linear nets, and keep most of them close together in tanh nets. ReLU undoes that: half of its slopes are 0.

Middle: the variance of s^2 over its mean squared, at depth L: 2 L in Gaussian ReLU nets, L in Gaussian linear and in
orthogonal ReLU nets, 0 in orthogonal linear ones. Lines are theory, which holds for depth far below width.

Right: ln s / L of Gaussian linear nets goes to the exact Lyapunov spectrum as they get deeper.

Pennington et al. 2017, arXiv:1711.04735; Saxe et al. 2013, arXiv:1312.6120; Newman 1986, Commun. Math. Phys. 103, 121.
"""

import argparse
import math
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

import vgcore as vg

NETS = {  # with gains that keep the size of signals and gradients
    "linear, Gaussian": ("linear", vg.Init("mean_field", sigma_w=1.0)),
    "linear, orthogonal": ("linear", vg.Init("orthogonal")),
    "tanh, Gaussian": ("tanh", vg.Init("mean_field", sigma_w=1.0)),
    "tanh, orthogonal": ("tanh", vg.Init("orthogonal")),
    "ReLU, Gaussian": ("relu", vg.Init("mean_field", sigma_w=math.sqrt(2))),
    "ReLU, orthogonal": ("relu", vg.Init("orthogonal", gain=math.sqrt(2))),
}
COLORS = {"relu": "#009E73", "linear": "#0072B2"}
BELOW: dict[str, Any] = {"frameon": False, "fontsize": "small", "loc": "upper center", "bbox_to_anchor": (0.5, -0.17)}


def net(name: str, depth: int, width: int) -> vg.MLP:
    """One of the six."""
    activation, init = NETS[name]
    return vg.MLP(depth=depth, width=width, activation=activation, init=init)


def draw_variance(ax: Axes, depths: list[int], width: int, seeds: int) -> None:
    """Of the eigenvalues of J J^T, over their mean squared: the mean over seeds."""
    for name in ("ReLU, Gaussian", "ReLU, orthogonal", "linear, Gaussian", "linear, orthogonal"):
        activation, orthogonal = NETS[name][0], name.endswith("orthogonal")
        nets = [net(name, depth, width) for depth in depths]
        found = [np.mean([vg.jacobian(each, seed=seed).moment(2) - 1 for seed in range(seeds)]) for each in nets]
        expected = [vg.theory.jacobian_variance(activation, q=1.0, depth=L, orthogonal=orthogonal) for L in depths]
        color, dash = COLORS[activation], "--" if orthogonal else "-"
        ax.plot(depths, expected, dash, color=color, linewidth=1.4)
        look = {"marker": "s", "markersize": 9, "fillstyle": "none"} if orthogonal else {"marker": "o"}
        ax.plot(depths, found, linestyle="", color=color, label=name, **look)
        print(f"{name}, variance at depth {depths[-1]}: theory {expected[-1]:.2f}, measured {abs(found[-1]):.2f}")
    ax.set_xscale("log", base=2)
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks(depths, [str(depth) for depth in depths])
    ax.set(xlabel="depth (hidden layers)", ylabel="variance of s² / (mean of s²)²")
    ax.set_title(f"width {width}; lines: theory", loc="left", fontsize="medium")
    ax.legend(**BELOW)


def draw_lyapunov(ax: Axes, width: int) -> None:
    """Exponents of one net each, at three depths."""
    rank = np.arange(1, width + 1) / width
    exact = vg.theory.lyapunov_exponents(width)
    for depth, color in {8: "#E69F00", 64: "#D55E00", 1024: "#CC79A7"}.items():
        found = vg.jacobian(net("linear, Gaussian", depth, width)).exponents
        ax.plot(rank, found, color=color, linewidth=1.6, label=f"depth {depth}")
    print(f"largest exponent: theory {exact[0]:.4f}, measured {found[0]:.4f}")
    print(f"middle exponent: theory {exact[width // 2]:.4f}, measured {found[width // 2]:.4f}")
    ax.plot(rank, exact, "k:", linewidth=1.8, label="exact, infinite depth")
    ax.set(xlabel="rank / n", ylabel="ln s / depth")
    ax.set_title(f"linear, Gaussian, width {width}", loc="left", fontsize="medium")
    ax.legend(**BELOW)


def main() -> None:
    """Measure, draw, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("isometry.png"), help="the picture")
    parser.add_argument("--small", action="store_true", help="small nets, for a quick look")
    given = parser.parse_args()
    width, seeds = (64, 4) if given.small else (128, 8)
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 4.8), layout="constrained")
    vg.plot.spectrum({name: vg.jacobian(net(name, 32, width)) for name in NETS}, ax=left)
    left.set_ylim(-6, 1.5)
    left.set_title(f"depth 32, width {width}", loc="left", fontsize="medium")
    draw_variance(middle, [1, 2, 4] if given.small else [1, 2, 4, 8], width, seeds)
    draw_lyapunov(right, 32 if given.small else 64)
    for ax in (middle, right):
        ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(given.out, dpi=85)


if __name__ == "__main__":
    main()
