"""Dynamical isometry: orthogonal weights keep all singular values of the Jacobian near 1, Gaussian ones spread them.

Left: all singular values of the input-output Jacobian, in order, of linear and tanh nets. Gaussian weights spread them
over more and more decades with depth, though their mean square stays 1; with orthogonal weights those of a linear net
are exactly 1, and those of a tanh net close to each other. ReLU nets lose half of their directions in any case.

Right: divided by the depth, the logarithms of a linear Gaussian net tend to its Lyapunov exponents, which are known
exactly. No floating-point product of these matrices holds the small ones: they lie hundreds of decades down.

Saxe et al. 2013, arXiv:1312.6120; Pennington et al. 2017, arXiv:1711.04735; Newman 1986, Commun. Math. Phys. 103.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

import vgcore as vg

ORANGE, BLUE = "#D55E00", "#0072B2"


def draw_spectra(ax: Axes, depth: int, width: int) -> None:
    """Gaussian against orthogonal weights, of the same mean square."""
    nets = {
        "linear, Gaussian": ("linear", "mean_field(1.0)"),
        "linear, orthogonal": ("linear", "orthogonal"),
        "tanh, Gaussian": ("tanh", "mean_field(1.0)"),
        "tanh, orthogonal": ("tanh", "orthogonal"),
    }
    spectra = {
        label: vg.jacobian(vg.MLP(depth=depth, width=width, activation=activation, init=init))
        for label, (activation, init) in nets.items()
    }
    vg.plot.spectrum(spectra, ax=ax)
    ax.set_title(f"depth {depth}, width {width}", loc="left", fontsize="medium")
    for label, found in spectra.items():
        print(f"{label}: condition 10^{found.log10_condition:.2f}")


def draw_exponents(ax: Axes, depths: list[int], width: int) -> None:
    """Of linear Gaussian nets, by depth, over the exact spectrum."""
    exact = vg.theory.lyapunov_exponents(width)
    rank = np.arange(1, width + 1) / width
    for depth, alpha in zip(depths, np.linspace(0.35, 1, len(depths)), strict=True):
        net = vg.MLP(depth=depth, width=width, activation="linear", init="mean_field(1.0)")
        found = vg.jacobian(net).exponents
        ax.plot(rank, found, color=ORANGE, alpha=alpha, linewidth=1.4, label=f"measured, depth {depth}")
        # The sum of the exponents is that of independent logarithms at any depth.
        print(f"mean exponent at depth {depth}: theory {exact.mean():.4f}, measured {found.mean():.4f}")
    ax.plot(rank, exact, color=BLUE, dashes=(5, 2), linewidth=2, label="theory, endless depth")
    ax.set(xlabel="rank / n", ylabel="ln of a singular value, a layer")
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_title(f"Lyapunov exponents, linear Gaussian, width {width}", loc="left", fontsize="medium")
    ax.legend(frameon=False, fontsize="small")


def main() -> None:
    """Measure, draw, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("isometry.png"), help="the picture")
    parser.add_argument("--small", action="store_true", help="small nets, for a quick look")
    given = parser.parse_args()
    figure, (left, right) = plt.subplots(1, 2, figsize=(11.5, 4.8), layout="constrained")
    draw_spectra(left, *((20, 32) if given.small else (50, 128)))
    draw_exponents(right, *(([4, 100], 16) if given.small else ([3, 10, 1000], 64)))
    figure.savefig(given.out, dpi=100)


if __name__ == "__main__":
    main()
