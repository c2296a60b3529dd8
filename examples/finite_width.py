"""The typical gradient is not the mean gradient: narrow deep nets differ wildly from seed to seed.

He's weights keep the mean of |dL/dz|^2 over nets at every width. But each layer multiplies it by a random number, so
its logarithm walks: over L layers of width n it spreads by about 5 L / n and drifts down by half of that.

Left: histograms over many nets of ln |dL/dz|^2 in the first layer, relative to the last; curves are normal laws with
theory's mean and variance. Right: against depth, the mean over nets stays near 1, while that of the typical net, the
geometric mean, falls exponentially. A mean over few nets follows the typical one: rare nets carry it.

Hanin and Nica 2018, arXiv:1812.05994; Hanin 2018, arXiv:1801.03744.
"""

import argparse
import math
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

import vgcore as vg

COLORS = {16: "#D55E00", 64: "#0072B2", 256: "#009E73"}  # by width
SQRT2 = math.sqrt(2)


def logs(width: int, depth: int, nets: int) -> NDArray[np.float64]:
    """Logarithms of |dL/dz|^2 of one sample from the last layer to each, `(nets, layers passed)`."""
    spec = vg.MLP(depth=depth, width=width, activation="relu", init="kaiming_normal")
    delta = vg.probe(spec, batch=1, seeds=nets).log10_delta_rms
    passed = math.log(100) * (delta - delta[:, -1:])[:, ::-1]
    return passed[np.isfinite(passed).all(axis=1)]  # without the rare narrow net that is dead


def draw_histogram(ax: Axes, found: NDArray[np.float64], drift: float, variance: float, width: int) -> None:
    """Of one width, with its normal law."""
    edges = np.linspace(-25, 12, 150)
    ax.hist(found, bins=edges.tolist(), density=True, color=COLORS[width], alpha=0.35, label=f"width {width}")
    law = np.exp(-((edges - drift) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)
    ax.plot(edges, law, color=COLORS[width], linewidth=1.6)


def main() -> None:
    """Measure, draw, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("finite_width.png"), help="the picture")
    parser.add_argument("--small", action="store_true", help="few nets, for a quick look")
    given = parser.parse_args()
    depth, nets = (21, 300) if given.small else (31, 4000)
    steps = np.arange(depth)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    for width, color in COLORS.items():
        found = logs(width, depth, nets)
        drift, variance = (float(each) for each in vg.theory.gradient_noise("relu", sigma_w=SQRT2, width=width))
        last = found[:, -1]
        draw_histogram(left, last, drift * (depth - 1), variance * (depth - 1), width)
        right.plot(steps, np.exp(drift * steps), color=color, linewidth=1.5)
        right.plot(steps[::3], np.exp(found.mean(axis=0))[::3], "o", color=color, markersize=4)
        right.plot(steps[::3], np.exp(found).mean(axis=0)[::3], "^", color=color, markersize=5, fillstyle="none")
        name = f"width {width}, {depth - 1} layers"
        print(f"{name}, mean of the logarithm: theory {drift * (depth - 1):.3f}, measured {last.mean():.3f}")
        print(f"{name}, its variance: theory {variance * (depth - 1):.3f}, measured {last.var(ddof=1):.3f}")
        print(f"{name}, mean over {len(last)} nets: theory 1, measured {np.exp(last).mean():.3f}")
    left.set(xlabel=f"ln |dL/dz|² after {depth - 1} layers", ylabel="density over nets", xlim=(-22, 8))
    right.axhline(1, color="0.6", linewidth=0.8, zorder=0)
    right.plot([], [], "^", color="0.3", fillstyle="none", label="mean over nets (theory: 1)")
    right.plot([], [], "o-", color="0.3", markersize=4, label="typical net, theory as a line")
    right.set(xlabel="layers passed", ylabel="|dL/dz|², 1 in the last layer", yscale="log")
    for ax in (left, right):
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False)
    left.set_title(f"ReLU, He's weights: {nets} nets a width", loc="left", fontsize="medium")
    right.set_title("their mean, and a typical one", loc="left", fontsize="medium")
    figure.savefig(given.out, dpi=90)


if __name__ == "__main__":
    main()
