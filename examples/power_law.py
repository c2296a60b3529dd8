"""At criticality tanh nets lose their signals by a power law, not exponentially.

With sigma_w = 1 and no biases the variance of z falls as 1 / (2 l) in layer l, and of the square of dL/dz about l / L
is left there: straight lines on logarithmic axes. A little below, at sigma_w = 0.9, both fall exponentially and leave
the picture. Lines are theory, points a wide net.

Schoenholz et al. 2017, arXiv:1611.01232; Hayou et al. 2019, arXiv:1902.06853; Roberts, Yaida and Hanin 2022,
arXiv:2106.10165, chapter 5.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

import vgcore as vg

COLORS = {1.0: "#D55E00", 0.9: "#0072B2"}  # by sigma_w


def draw(ax: Axes, theory: NDArray[np.float64], measured: NDArray[np.float64], color: str, label: str) -> None:
    """Squares against layers counted from 1: a line, and points of evenly spread logarithms."""
    layers = np.arange(1, len(theory) + 1)
    ax.loglog(layers, theory, color=color, linewidth=1.6, label=label)
    at = np.unique(np.geomspace(1, len(theory), 16).astype(int)) - 1
    ax.loglog(layers[at], measured[at], "o", color=color, markersize=4)


def main() -> None:
    """Measure, draw, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("power_law.png"), help="the picture")
    parser.add_argument("--small", action="store_true", help="small nets, for a quick look")
    given = parser.parse_args()
    depth, width, seeds = (60, 256, 4) if given.small else (400, 1024, 4)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    for sigma_w, color in COLORS.items():
        net = vg.MLP(depth=depth, width=width, activation="tanh", init=vg.Init("mean_field", sigma_w=sigma_w))
        predicted, cell = vg.theory.predict(net, batch=16), vg.probe(net, batch=16, seeds=seeds)
        q, z = 100**predicted.log10_z_rms, (100**cell.log10_z_rms).mean(axis=0)
        draw(left, q, z, color, f"sigma_w {sigma_w:g}")
        columns = predicted.log10_delta_rms, cell.log10_delta_rms
        kept, found = (100 ** (column - column[..., -1:]) for column in columns)
        draw(right, kept, found.mean(axis=0), color, f"sigma_w {sigma_w:g}")
        slope = np.log(q[-1] / q[depth // 4 - 1]) / np.log(4)
        print(f"sigma_w {sigma_w:g}: log-log slope of q {slope:.3f}")
        print(f"sigma_w {sigma_w:g}, last layer: theory {q[-1]:.4g}, measured {z[-1]:.4g}")
    layers = np.arange(1, depth + 1)
    left.loglog(layers, 1 / (2 * layers), color="0.5", dashes=(5, 3), linewidth=1, label="1 / (2 l)")
    left.set(xlabel="layer l", ylabel="variance of z", ylim=(1e-4, 2))
    right.loglog(layers, layers / depth, color="0.5", dashes=(5, 3), linewidth=1, label="l / L")
    right.set(xlabel="layer l", ylabel="square of dL/dz, 1 at the last layer", ylim=(1e-4, 2))
    left.set_title(f"tanh, no biases, width {width}; points: measured", loc="left", fontsize="medium")
    for ax in (left, right):
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False)
    figure.savefig(given.out, dpi=100)


if __name__ == "__main__":
    main()
