"""Shattered gradients: in deep ReLU nets the gradients of two inputs become like noise to each other.

All samples get the same dL/dy. Left: the correlation of two samples' dL/dz layer by layer, on its way from the output
(right) to the input. Right: what is left of it in the first layer, against depth, on logarithmic axes.

- Plain ReLU nets multiply it by 1 - acos(c) / pi a layer, c the correlation of the two z. If all c were 0, 2^-L would
  be left of it (dotted). But c climbs to 1, and what is left falls as L^-3.
- Residual nets keep a little more; they too would fall exponentially if all c were 0.
- Batch norm in the branches keeps c near 0, and makes branches small beside the sum of those before: most is kept.
- Nets that begin linear (CReLU with mirrored weights, "looks linear") do not shatter at all.

Lines are theory of wide nets and large batches, points are measured; nets of finite width keep more at great depth.
The paper's estimate with batch norm is 1 / sqrt(L). Here gradients pass through the statistics of the batch too, as in
training, which takes away what samples share: the fall is about 1 / L.

Balduzzi et al. 2017, arXiv:1702.08591.
"""

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

import vgcore as vg


def plain(depth: int) -> list[float]:
    """Theory of layers 1 to depth: what layer l keeps is 2 E phi' phi' at the correlation c_l."""
    rates, c = [], 0.0
    for _ in range(depth):
        together, slopes = (float(each) for each in vg.theory.pair_moments("relu", q=1.0, c=c))
        rates.append(2 * slopes)
        c = 2 * together
    return np.cumprod(rates[::-1])[::-1].tolist()  # type: ignore[no-any-return]


def residual(depth: int) -> list[float]:
    """Nets `h + W phi(h)`: branch and h are of one size, so rates and correlations are means of both."""
    rates, c = [1.0], 0.0  # dL/dz of the last layer is dL/dy's
    for _ in range(depth - 1):
        together, _ = vg.theory.pair_moments("relu", q=1.0, c=c)
        c = (c + 2 * float(together)) / 2
        rates.append((1 + 2 * float(vg.theory.pair_moments("relu", q=1.0, c=c)[1])) / 2)
    return np.cumprod([1.0, *rates[:0:-1]])[::-1].tolist()  # type: ignore[no-any-return]


def residual_batch_norm(depth: int) -> list[float]:
    """Nets `h + W phi(xhat)`: the branch hands back what samples do not share, over the growing variance of h."""
    added = 1 - 1 / math.pi  # variance over the batch of W relu(xhat): 2 (1/2 - 1/(2 pi))
    shared = 1 / 2 - 1 / math.pi  # 2 Var phi', less the part along xhat: what it hands back of a common gradient
    kept = [1.0]
    for l in reversed(range(1, depth)):
        variance = 1 + l * added
        kept.append(kept[-1] / (1 + (1 - kept[-1] + kept[-1] * shared) / variance))
    return kept[::-1]


def looks_linear(depth: int) -> list[float]:
    """A linear net treats all inputs alike."""
    return [1.0] * depth


RELU: dict[str, Any] = {"activation": "relu", "init": "kaiming_normal"}
PRE = "residual(order=pre)"
NETS: dict[str, tuple[dict[str, Any], Callable[[int], list[float]], str, str]] = {
    "plain": (RELU, plain, "#D55E00", "o"),
    "residual": (RELU | {"skip": PRE}, residual, "#0072B2", "s"),
    "residual, batch norm": (RELU | {"skip": PRE, "norm": "batch"}, residual_batch_norm, "#009E73", "^"),
    "looks linear": ({"activation": "crelu", "init": "looks_linear"}, looks_linear, "#CC79A7", "D"),
}


def main() -> None:
    """Measure, draw, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("shattering.png"), help="the picture")
    parser.add_argument("--small", action="store_true", help="small nets, for a quick look")
    given = parser.parse_args()
    depths = [1, 3, 10] if given.small else [1, 2, 3, 5, 10, 20, 50]
    width, batch, seeds = (128, 128, 6) if given.small else (512, 256, 16)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    for name, (fields, theory, color, marker) in NETS.items():
        base = vg.MLP(depth=depths[-1], width=width, out_features=1, **fields)
        cells = vg.sweep(base, depth=depths, loss="output_sum", batch=batch, seeds=seeds)
        deep = cells[-1].gradient_correlation.mean(axis=0)
        layers = np.arange(1, depths[-1] + 1)
        left.plot(layers, theory(depths[-1]), color=color, linewidth=1.5)
        left.plot(layers[::2], deep[::2], marker, color=color, markersize=4, label=name)
        expected = [theory(depth)[0] for depth in depths]
        found = [cell.gradient_correlation[:, 0].mean() for cell in cells]
        right.plot(depths, expected, color=color, linewidth=1.5)
        right.plot(depths, found, marker, color=color, markersize=5)
        for depth, value, mean in zip(depths, expected, found, strict=True):
            print(f"{name}, depth {depth}: theory {value:.4f}, measured {mean:.4f}")
    fine = np.arange(1, 21)
    right.plot(fine, 0.5**fine, ":", color="#D55E00", label="2^-L, if all c were 0")
    right.plot(fine, 0.75 ** (fine - 1), ":", color="#0072B2", label="(3/4)^(L-1), if all c were 0")
    left.set(xlabel="layer (1 = input side)", ylabel="correlation of two samples' dL/dz")
    right.set(xlabel="depth (hidden layers)", ylabel="the same in the first layer")
    right.set(xscale="log", yscale="log", ylim=(5e-4, 1.5), xticks=depths, xticklabels=map(str, depths))
    right.minorticks_off()
    for ax in (left, right):
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False, fontsize="small", loc="best" if ax is left else "lower left")
    left.set_title(f"width {width}, depth {depths[-1]}, {seeds} seeds", loc="left", fontsize="medium")
    right.set_title("in the first layer; colours as on the left", loc="left", fontsize="medium")
    figure.savefig(given.out, dpi=90)


if __name__ == "__main__":
    main()
