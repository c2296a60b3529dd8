"""Batch norm keeps every activation in place and makes gradients explode.

Left: dL/dz layer by layer in ReLU nets. With batch norm it grows exponentially toward the input, at a rate that no
scale of the weights changes; with layer norm it stays.

Right: the factor a layer of its square against the batch size. It falls to pi / (pi - 1) = 1.467 for ReLU; in linear
nets, where it is (B - 2) / (B - 3), to 1. Points are measured, lines are theory.

Yang et al. 2019, arXiv:1902.08129.
"""

import argparse
import math
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

import vgcore as vg

KINDS = {
    ("relu", "batch"): ("ReLU, batch norm", "#D55E00", "s"),
    ("linear", "batch"): ("linear, batch norm", "#CC79A7", "D"),
    ("relu", "layer"): ("ReLU, layer norm", "#0072B2", "o"),
}


def squared_factors(net: vg.MLP, batch: int, seeds: int) -> NDArray[np.float64]:
    """Of |dL/dz|^2, a layer, one a seed: from the last layer to the second. The first one's input is not normalised."""
    delta = vg.probe(net, batch=batch, seeds=seeds).log10_delta_rms
    return np.asarray(100 ** ((delta[:, 1] - delta[:, -1]) / (net.depth - 2)))


def draw_layers(ax: Axes, base: vg.MLP, seeds: int) -> None:
    """Two nets, theory over them."""
    nets = [base.replace(norm=norm) for norm in ("layer", "batch")]
    cells = [vg.probe(net, batch=64, seeds=seeds) for net in nets]
    vg.plot.layers(cells, theory=[vg.theory.predict(net, batch=64) for net in nets], ax=ax)
    title = f"ReLU nets of width {base.width}, {seeds} seeds, batch 64; dashes: theory"
    ax.set_title(title, loc="left", fontsize="medium")


def draw_batches(ax: Axes, base: vg.MLP, batches: list[int], seeds: int) -> None:
    """Mean and standard error of each, over theory's lines."""
    fine = [*range(6, 33), *np.geomspace(34, batches[-1] * 1.3, 30).astype(int).tolist()]
    for (activation, norm), (label, color, marker) in KINDS.items():
        ax.plot(fine, [vg.theory.norm_chi(activation, norm, batch=b) for b in fine], color=color, linewidth=1.6)
        net = base.replace(activation=activation, norm=norm)
        found = np.array([squared_factors(net, batch, seeds) for batch in batches])
        mean, error = found.mean(axis=1), found.std(axis=1, ddof=1) / math.sqrt(seeds)
        ax.errorbar(batches, mean, error, fmt=marker, color=color, markersize=5, capsize=2, label=label)
        for batch, value in zip(batches, mean, strict=True):
            chi = vg.theory.norm_chi(activation, norm, batch=batch)
            print(f"{label}, batch {batch}: theory {chi:.4f}, measured {value:.4f}")
    limit = math.pi / (math.pi - 1)
    ax.axhline(limit, color="0.5", linewidth=0.8, dashes=(6, 4), label=f"pi / (pi - 1) = {limit:.3f}", zorder=0)
    ax.set_xscale("log", base=2)
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks(batches, [str(batch) for batch in batches])
    ax.set(xlabel="batch size", ylabel="factor a layer of |dL/dz|²")
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_title("points: measured; lines: theory", loc="left", fontsize="medium")
    ax.legend(frameon=False, fontsize="small")


def main() -> None:
    """Measure, draw, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("batch_norm_explosion.png"), help="the picture")
    parser.add_argument("--small", action="store_true", help="small nets, for a quick look")
    given = parser.parse_args()
    batches = [8, 16, 32] if given.small else [8, 16, 32, 64, 128]
    base = vg.MLP(depth=20, width=256 if given.small else 768, activation="relu", init="kaiming_normal")

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    draw_layers(left, base.replace(depth=50, width=256), 2 if given.small else 8)
    draw_batches(right, base, batches, 3 if given.small else 6)
    figure.savefig(given.out, dpi=90)


if __name__ == "__main__":
    main()
