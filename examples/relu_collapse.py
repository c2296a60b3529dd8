"""ReLU nets with He's weights keep the size of signals, but forget which input they came from.

Left: the size of z stays, while the correlation of two inputs that begin unrelated climbs to 1. The map behind it is
that of the arc-cosine kernel; 1 - c falls as 9 pi^2 / (2 l^2), so slowly that no plot of norms shows anything.

Right: the effective rank of 32 inputs, the number of directions that they still span. Inputs whose correlations are
all c have N / (1 + (N - 1) c^2): of 32, about one is left after 30 layers.

Cho and Saul 2009 (the kernel); Poole et al. 2016, arXiv:1606.05340; Hayou et al. 2019, arXiv:1902.06853 (the rate).
"""

import argparse
import math
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

import vgcore as vg

BLUE, ORANGE = "#0072B2", "#D55E00"
INPUTS = 32


def correlations(depth: int) -> NDArray[np.float64]:
    """Theory: 0 in the first layer, which is linear in x; then the map of ReLU."""
    c = [0.0]
    for _ in range(depth - 1):
        c.append(float(vg.theory.c_map("relu", c=c[-1], q=1.0, sigma_w=math.sqrt(2))))
    return np.array(c)


def draw(ax: Axes, measured: NDArray[np.float64], expected: NDArray[np.float64] | None, color: str, label: str) -> None:
    """The mean over seeds, one standard deviation either way, and theory."""
    layers = np.arange(1, measured.shape[1] + 1)
    mean, std = measured.mean(axis=0), measured.std(axis=0)
    ax.plot(layers, mean, color=color, linewidth=1.6, label=label)
    ax.fill_between(layers, mean - std, mean + std, color=color, alpha=0.2, linewidth=0)
    if expected is not None:
        ax.plot(layers, expected, color=color, dashes=(4, 2), linewidth=3, alpha=0.5, label="theory")
    ax.set_xlabel("layer (1 = input side)")
    ax.spines[["top", "right"]].set_visible(False)


def main() -> None:
    """Measure, draw, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("relu_collapse.png"), help="the picture")
    parser.add_argument("--small", action="store_true", help="small nets, for a quick look")
    given = parser.parse_args()
    width, seeds = (256, 4) if given.small else (512, 16)
    spec = vg.MLP(depth=50, width=width, activation="relu", init="kaiming_normal")
    cell = vg.probe(spec, batch=INPUTS, seeds=seeds)

    c = correlations(spec.depth + 1)
    rank = INPUTS / (1 + (INPUTS - 1) * c[1:] ** 2)  # of h, whose correlation is that of the next z
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    draw(left, cell.correlation, c[:-1], ORANGE, "correlation of two inputs")
    draw(left, cell.z_rms / math.sqrt(2), None, BLUE, "size of z, 1 = preserved")
    left.set_ylim(0, 1.35)
    left.set_title(f"He-ReLU nets of width {width}, {seeds} seeds", loc="left", fontsize="medium")
    left.legend(frameon=False, loc="lower right")
    draw(right, cell.effective_rank, rank, ORANGE, f"effective rank of {INPUTS} inputs")
    right.set(yscale="log", yticks=[1, 2, 4, 8, 16], yticklabels=["1", "2", "4", "8", "16"])
    right.minorticks_off()
    right.set_title("directions that are left", loc="left", fontsize="medium")
    right.legend(frameon=False)
    figure.savefig(given.out, dpi=90)

    print(f"size of z in layer 50: theory 1, measured {np.mean(cell.z_rms[:, -1]) / math.sqrt(2):.3f}")
    for layer in (2, 5, 10, 30):
        at = layer - 1
        print(f"correlation in layer {layer}: theory {c[at]:.4f}, measured {cell.correlation[:, at].mean():.4f}")
        print(f"rank in layer {layer}: theory {rank[at]:.3f}, measured {cell.effective_rank[:, at].mean():.3f}")


if __name__ == "__main__":
    main()
