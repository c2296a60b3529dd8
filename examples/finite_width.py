"""Typical gradients are smaller than the mean gradient, and the narrower the net the more so.

He's weights keep the mean square of gradients over nets at every width, exactly. Single nets do not know: the logarithm
of their squared gradient is nearly normal, with a variance of about 5 depth / width, and half of that lies between its
mean and the logarithm of the mean. In 50 layers of width 32 a typical net has a fiftieth of the mean square.

Left: many nets of three widths; lines are normal laws with theory's drift and variance. Right: the drift a layer by
width, measured and exact.

Hanin 2018, arXiv:1801.03744; Hanin and Nica 2018, arXiv:1812.05994.
"""

import argparse
import math
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

import vgcore as vg

HE = math.sqrt(2)
COLORS = ("#D55E00", "#0072B2", "#009E73")


def log_changes(width: int, depth: int, seeds: int) -> NDArray[np.float64]:
    """Ln of the square of dL/dz in the first layer over that in the last, of one sample, one a net."""
    spec = vg.MLP(depth=depth, width=width, activation="relu", init="kaiming_normal")
    delta = vg.probe(spec, batch=1, seeds=seeds).log10_delta_rms
    return np.asarray((delta[:, 0] - delta[:, -1]) * math.log(100))


def draw_law(ax: Axes, found: NDArray[np.float64], law: tuple[float, float], color: str, label: str) -> None:
    """A histogram in decades, and the normal law of theory, by its drift and variance."""
    drift, variance = law
    decades = found / math.log(10)
    ax.hist(decades, bins=60, density=True, color=color, alpha=0.35, label=label)
    x = np.linspace(-7, 3, 400)
    std, mean = math.sqrt(variance) / math.log(10), drift / math.log(10)
    ax.plot(x, np.exp(-(((x - mean) / std) ** 2) / 2) / (std * math.sqrt(2 * math.pi)), color=color, linewidth=1.6)


def main() -> None:
    """Measure, draw, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("finite_width.png"), help="the picture")
    parser.add_argument("--small", action="store_true", help="small nets, for a quick look")
    given = parser.parse_args()
    depth, seeds, widths = (20, 400, [16, 32, 64]) if given.small else (50, 3000, [32, 64, 256])
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    measured = []
    for width, color in zip(widths, COLORS, strict=True):
        found = log_changes(width, depth, seeds)
        drift, variance = (float(each) for each in vg.theory.gradient_noise("relu", sigma_w=HE, width=width))
        draw_law(left, found, (drift * (depth - 1), variance * (depth - 1)), color, f"width {width}")
        measured.append((found.mean() / (depth - 1), found.std() / math.sqrt(seeds) / (depth - 1)))
        print(f"width {width}, drift a layer: theory {drift:.5f}, measured {measured[-1][0]:.5f}")
        print(f"width {width}, variance a layer: theory {variance:.5f}, measured {found.var() / (depth - 1):.5f}")
    fine = np.unique(np.geomspace(widths[0] / 1.5, widths[-1] * 1.5, 40).astype(int))
    exact, _ = vg.theory.gradient_noise("relu", sigma_w=HE, width=fine)
    right.plot(fine, exact, color="0.3", label="theory, exact")
    right.plot(fine, -2.5 / fine, color="0.6", dashes=(5, 3), linewidth=1, label="-5 / (2 width)")
    mean, error = np.transpose(measured)
    right.errorbar(widths, mean, error, fmt="o", color=COLORS[0], capsize=2, label="measured")
    left.axvline(0, color="0.5", linewidth=0.8)
    left.set(xlabel="decades of |dL/dz|², first layer over last (0: the mean over nets)", ylabel="density")
    left.set_title(f"{seeds} He-ReLU nets of depth {depth} each", loc="left", fontsize="medium")
    right.set(xscale="log", xlabel="width", ylabel="mean of ln |dL/dz|², a layer")
    right.set_xticks(widths, [str(width) for width in widths])
    right.minorticks_off()
    for ax in (left, right):
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False)
    figure.savefig(given.out, dpi=100)


if __name__ == "__main__":
    main()
