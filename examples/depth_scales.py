"""How deep a signal reaches: depth limits of tanh nets, and two inputs that become alike or unlike.

Left: depth against sigma_w. Near the edge of chaos both scales rise without end: the depth at which dL/dz has changed
32-fold (theory and, as points, what a diagnosis of measured nets says) and 6 xi_c, up to which nets could be trained.

Right: the correlation of two inputs layer by layer, from two that begin unlike and two that begin nearly alike. Both
run to the same fixed point c*: to 1 in the ordered phase, to less in the chaotic one, where small differences grow.
Lines are measured, with a band of one standard deviation over seeds; dashes are theory.

Schoenholz et al. 2017, arXiv:1611.01232; Poole et al. 2016, arXiv:1606.05340.
"""

import argparse
import math
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

import vgcore as vg

SIGMA_B = 0.3
COLORS = {1.1: "#0072B2", 1.6: "#009E73", 2.5: "#D55E00"}  # by sigma_w


def recipe(sigma_w: float) -> vg.Init:
    """Weights and biases."""
    return vg.Init("mean_field", sigma_w=sigma_w, sigma_b=SIGMA_B)


def inputs(correlation: float, features: int) -> NDArray[np.float64]:
    """32 samples of variance 1; any two of them have this correlation."""
    rng = np.random.default_rng(0)
    common, own = rng.normal(size=features), rng.normal(size=(32, features))
    x = math.sqrt(correlation) * common + math.sqrt(1 - correlation) * own
    return np.asarray(x / np.sqrt(np.mean(x**2, axis=1, keepdims=True)))


def theory(sigma_w: float, correlation: float, depth: int) -> list[float]:
    """The same in each layer, by the maps of variance and correlation. The first layer is linear in x."""
    sigmas = {"sigma_w": sigma_w, "sigma_b": SIGMA_B}
    c, q = vg.theory.c_map("linear", c=correlation, q=1, **sigmas), vg.theory.q_map("linear", q=1, **sigmas)
    found = []
    for _ in range(depth):
        found.append(float(c))
        c, q = vg.theory.c_map("tanh", c=c, q=q, **sigmas), vg.theory.q_map("tanh", q=q, **sigmas)
    return found


def draw_correlations(ax: Axes, base: vg.MLP, width: int, seeds: int) -> None:
    """Layer by layer, and two numbers of each net."""
    layers = np.arange(1, base.depth + 1)
    for sigma_w, color in COLORS.items():
        for start in (0.0, 0.95):
            cell = vg.probe(base.replace(init=recipe(sigma_w)), x=inputs(start, width), seeds=seeds)
            mean, std = cell.correlation.mean(axis=0), cell.correlation.std(axis=0)
            ax.plot(layers, mean, color=color, linewidth=1.6, label=f"sigma_w {sigma_w}" if start else None)
            ax.fill_between(layers, mean - std, mean + std, color=color, alpha=0.2, linewidth=0)
            expected = theory(sigma_w, start, base.depth)
            ax.plot(layers, expected, color=color, dashes=(4, 2), linewidth=2.8, alpha=0.5)
            name = f"sigma_w {sigma_w}, inputs {start} alike, correlation in layer 10"
            print(f"{name}: theory {expected[9]:.4f}, measured {mean[9]:.4f}")
    ax.plot([], [], color="0.4", dashes=(4, 2), linewidth=2.8, alpha=0.5, label="theory")
    ax.set(xlabel="layer (1 = input side)", ylabel="correlation of two inputs", ylim=(-0.03, 1.03))
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_title("two inputs whose correlation begins at 0 and at 0.95", loc="left", fontsize="medium")
    ax.legend(frameon=False, fontsize="small", ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.12))


def main() -> None:
    """Measure, draw, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("depth_scales.png"), help="the picture")
    parser.add_argument("--small", action="store_true", help="small nets, for a quick look")
    given = parser.parse_args()
    width, seeds = (128, 3) if given.small else (512, 8)
    spec = vg.MLP(depth=60, width=width, activation="tanh")

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    grid = np.linspace(0.7, 2.9, 12).round(1)
    judged = [vg.diagnose(spec.replace(init=recipe(w)), seeds=seeds, batch=32) for w in grid.tolist()]
    vg.plot.depth_limit("tanh", sigma_b=SIGMA_B, points=judged, ax=left)
    left.legend(frameon=False, fontsize="small", ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.12))
    left.axvline(vg.theory.critical_point("tanh", sigma_b=SIGMA_B).sigma_w, color="0.6", linewidth=0.8, zorder=0)
    xi = np.abs(vg.theory.depth_scales("tanh", sigma_w=grid, sigma_b=SIGMA_B).xi_grad)
    for w, layers, each in zip(grid, math.log(1000) * xi, judged, strict=True):
        if each.depth_limit and w in {0.9, 1.3, 2.1, 2.9}:
            print(f"sigma_w {w}, depth limit: theory {layers:.1f}, measured {each.depth_limit.value:.0f}")
    draw_correlations(right, spec.replace(depth=30), width, seeds)
    figure.savefig(given.out, dpi=85)


if __name__ == "__main__":
    main()
