"""The edge of chaos: for which weights and biases a deep tanh net keeps its gradients.

Left: phases of wide nets by sigma_w and sigma_b, the standard deviations of weights (times sqrt(fan_in)) and biases.
On the blue side gradients vanish and all inputs become alike, on the orange side gradients explode and inputs become
unlike; the line between is the edge of chaos. Triangles are measured nets: they point down where dL/dz shrinks on its
way to the input and up where it grows, and should change direction at the line.

Right: the correlation of two inputs after many layers. It is 1 up to the edge and falls beyond it. Next to the edge
nets of any depth have not arrived yet: there the depth scale xi_c, the contours on the left, is longer than the net.

Poole et al. 2016, arXiv:1606.05340; Schoenholz et al. 2017, arXiv:1611.01232.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

import vgcore as vg

COLORS = {0.1: "#0072B2", 0.3: "#D55E00", 0.6: "#009E73"}  # by sigma_b


def measure(base: vg.MLP, weights: list[float], biases: list[float], seeds: int) -> vg.Sweep:
    """A net for each pair of sigma_w and sigma_b."""
    inits = [vg.Init("mean_field", sigma_w=w, sigma_b=b) for w in weights for b in biases]
    return vg.sweep(base, init=inits, seeds=seeds)


def sigmas(cell: vg.Probe) -> tuple[float, float]:
    """sigma_w and sigma_b of what was measured."""
    params = vg.Init(str(cell.spec.init)).params
    return float(params["sigma_w"]), float(params["sigma_b"])


def draw_correlations(ax: Axes, cells: vg.Sweep) -> None:
    """c* as a line, the correlation in the last layer as points."""
    grid = np.linspace(0.5, 3, 200)
    for b, color in COLORS.items():
        ax.plot(grid, vg.theory.c_star("tanh", sigma_w=grid, sigma_b=b), color=color, label=f"sigma_b {b}")
    for cell in cells:
        w, b = sigmas(cell)
        last = cell.correlation[:, -1]
        ax.errorbar(w, last.mean(), last.std(), fmt="o", markersize=4, color=COLORS[b])
    ax.set(xlabel="sigma_w", ylabel="correlation of two inputs", ylim=(0, 1.05))
    ax.spines[["top", "right"]].set_visible(False)
    depth = cells[0].spec.depth
    ax.set_title(f"lines: c*; points: measured in layer {depth}", loc="left", fontsize="medium")
    ax.legend(frameon=False, loc="lower left")


def main() -> None:
    """Measure, draw, and print three points beside theory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("edge_of_chaos.png"), help="the picture")
    parser.add_argument("--small", action="store_true", help="small nets, for a quick look")
    given = parser.parse_args()
    base = vg.MLP(depth=30, width=64 if given.small else 256, activation="tanh")
    seeds = 2 if given.small else 4

    over = measure(base, [0.75, 1.05, 1.35, 1.65, 1.95, 2.25, 2.55, 2.85], [0.1, 0.3, 0.5, 0.7, 0.9], seeds)
    deep = measure(base.replace(depth=60), np.linspace(0.7, 2.9, 12).round(1).tolist(), list(COLORS), seeds)
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.4, 4.8), layout="constrained")
    vg.plot.phase_diagram("tanh", points=over, ax=left)
    draw_correlations(right, deep)
    figure.savefig(given.out, dpi=85)

    for cell in deep:
        w, b = sigmas(cell)
        if b == 0.3 and w in {0.9, 1.5, 2.5}:
            scales = vg.theory.depth_scales("tanh", sigma_w=w, sigma_b=b)
            name = f"sigma_w {w}, sigma_b {b} ({scales.phase})"
            print(f"{name}, chi_1: theory {scales.chi_1:.4f}, measured {cell.factor('backward').value ** 2:.4f}")
            print(f"{name}, c*: theory {scales.c_star:.4f}, measured {cell.correlation[:, -1].mean():.4f}")


if __name__ == "__main__":
    main()
