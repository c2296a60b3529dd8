"""On the edge of chaos tanh loses its signals by a power law, not exponentially.

With sigma_w = 1 and no biases the variance q of z goes to 0 as 1 / (2 l), whatever it was at the input, and the squared
gradient that a net of l layers hands back falls as 1 / l: on logarithmic axes both are straight lines. A little below
the edge (sigma_w = 0.9) they fall exponentially; a little above (1.1) q comes to rest and gradients grow. So on the
edge depth costs something, but 1000 layers cost less than a factor of 40 in the size of a gradient.

Lines are theory, points are measured: geometric means over seeds.

Schoenholz et al. 2017, arXiv:1611.01232; Hayou et al. 2019, arXiv:1902.06853; Roberts et al. 2022, arXiv:2106.10165.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

import vgcore as vg

Floats = NDArray[np.float64]
COLORS = {0.9: "#0072B2", 1.0: "#000000", 1.1: "#D55E00"}  # by sigma_w


def theory(sigma_w: float, layers: int) -> tuple[Floats, Floats]:
    """The variance of z by layer, and what a net of so many layers does to |dL/dz|^2."""
    q = [sigma_w**2]  # the first layer is linear in x, whose variance is 1
    for _ in range(layers - 1):
        q.append(float(vg.theory.q_map("tanh", q=q[-1], sigma_w=sigma_w)))
    back = np.cumprod([1.0, *vg.theory.chi("tanh", q=q[:-1], sigma_w=sigma_w)])
    return np.array(q), back


def measured(sigma_w: float, depth: int, width: int, seeds: int) -> tuple[Floats, Floats]:
    """The same of nets: geometric means over seeds.

    z_l does not know how deep its net is, so (delta_1 / delta_l)^2 is what a net of l layers does to a gradient.
    """
    spec = vg.MLP(depth=depth, width=width, activation="tanh", init=vg.Init("mean_field", sigma_w=sigma_w))
    cell = vg.probe(spec, batch=8, seeds=seeds)
    z, delta = cell.log10_z_rms.mean(axis=0), cell.log10_delta_rms.mean(axis=0)
    return 100**z, 100 ** (delta[0] - delta)


def main() -> None:
    """Measure, draw, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("power_law.png"), help="the picture")
    parser.add_argument("--small", action="store_true", help="small nets, for a quick look")
    given = parser.parse_args()
    depth, width, seeds = (50, 128, 4) if given.small else (200, 500, 8)

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    layers, shown = np.arange(1, 1001), np.unique(np.geomspace(1, depth, 16).astype(int))
    for sigma_w, color in COLORS.items():
        lines, points = theory(sigma_w, 1000), measured(sigma_w, depth, width, seeds)
        for ax, what, line, found in zip((left, right), ("q", "gradient"), lines, points, strict=True):
            ax.plot(layers, line, color=color, linewidth=1.5)
            ax.plot(shown, found[shown - 1], "o", color=color, markersize=4, label=f"sigma_w {sigma_w}")
            for l in (10, 50):
                print(f"sigma_w {sigma_w}, layer {l}, {what}: theory {line[l - 1]:.3g}, measured {found[l - 1]:.3g}")
            if sigma_w == 1:
                power = np.polyfit(np.log(layers[99:]), np.log(line[99:]), 1)[0]
                print(f"power of l that {what} falls as, layers 100 to 1000 of theory: {power:.4f}")

    left.plot(layers, 1 / (2 * layers), color="0.5", dashes=(6, 4), linewidth=1, label="1 / (2 l)")
    left.set(ylabel="q, the variance of z")
    right.set(ylabel="change of |dL/dz|² from layer l to layer 1")
    left.set_title(f"forward; points: nets of width {width}, {seeds} seeds", loc="left", fontsize="medium")
    right.set_title("backward", loc="left", fontsize="medium")
    for ax in (left, right):
        ax.set(xscale="log", yscale="log", ylim=(1e-4, 30), xlabel="layers l")
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False)
    figure.savefig(given.out, dpi=90)


if __name__ == "__main__":
    main()
