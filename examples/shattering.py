"""Shattered gradients: in deep plain nets the gradients of two inputs have nothing in common.

All samples get the same gradient at the output (the loss `output_sum`), and begin with unrelated inputs. On the way to
the input the cosine of two samples' dL/dz falls: in plain ReLU nets as the product of the derivative kernels of their
correlations, about 1 / L^3 and not 1 / 2^L, which would hold if correlations stayed 0. Residual nets keep much more.
Where little is left, a net of finite width keeps more than theory's wide one: in 30 layers of width 512 three times.

Balduzzi et al. 2017, arXiv:1702.08591; Cho and Saul 2009 (the kernels).
"""

import argparse
import math
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

import vgcore as vg

KINDS: dict[str, tuple[dict[str, str], str]] = {
    "plain": ({}, "#D55E00"),
    "residual, x + relu(W x)": ({"skip": "residual"}, "#0072B2"),
    "residual, x + W relu(x)": ({"skip": "residual(order=pre)"}, "#009E73"),
}


def kernels(depth: int) -> NDArray[np.float64]:
    """The cosine of two samples' dL/dz in each layer of a plain net: the product of what layers from there on leave."""
    c, kept = 0.0, []
    for _ in range(depth):
        kept.append(float(vg.theory.pair_moments("relu", q=1.0, c=c)[1]) / 0.5)
        c = float(vg.theory.c_map("relu", c=c, q=1.0, sigma_w=math.sqrt(2)))
    return np.asarray(np.cumprod(kept[::-1])[::-1], dtype=np.float64)


def main() -> None:
    """Measure, draw, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("shattering.png"), help="the picture")
    parser.add_argument("--small", action="store_true", help="small nets, for a quick look")
    given = parser.parse_args()
    depth, width, seeds = (10, 256, 12) if given.small else (30, 512, 40)
    x = math.sqrt(width) * np.eye(width)[:16]  # orthogonal inputs
    layers = np.arange(1, depth + 1)

    theory = kernels(depth)
    figure, ax = plt.subplots(figsize=(7.5, 4.8), layout="constrained")
    for label, (fields, color) in KINDS.items():
        plain = vg.MLP(depth=depth, width=width, activation="relu", init="kaiming_normal", out_features=1)
        net = plain.replace(**fields)
        found = vg.probe(net, x=x, loss="output_sum", seeds=seeds).gradient_correlation
        mean, error = found.mean(axis=0), found.std(axis=0, ddof=1) / math.sqrt(seeds)
        ax.errorbar(layers, mean, error, fmt="o-", color=color, markersize=3.5, linewidth=1, label=label)
        print(f"{label}, first layer: {mean[0]:.4f} +- {error[0]:.4f}")
        if label == "plain":
            middle = depth // 2 - 1
            print(f"plain, layer {middle + 1}: theory {theory[middle]:.4f}, measured {mean[middle]:.4f}")
    print(f"plain, first layer of a wide net: {theory[0]:.4f}; 1 / 2^L would be {2.0**-depth:.2g}")
    ax.plot(layers, theory, color="#D55E00", dashes=(5, 2), linewidth=2.4, alpha=0.5, label="plain, theory")
    ax.plot(layers, 2.0 ** (layers - depth - 1), color="0.6", linewidth=1, label="halved at every layer")
    ax.set(yscale="log", ylim=(max(theory[0] / 5, 1e-4), 1.2))
    ax.set(xlabel="layer (1 = input side)", ylabel="mean cosine of two samples' dL/dz")
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_title(f"He-ReLU nets of width {width}, {seeds} seeds", loc="left", fontsize="medium")
    ax.legend(frameon=False, fontsize="small")
    figure.savefig(given.out, dpi=100)


if __name__ == "__main__":
    main()
