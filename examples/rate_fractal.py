"""The boundary between rates that train and rates that diverge is a fractal.

Each point is one net of one hidden layer, the same one in all of them, trained for 100 steps of gradient descent with
one rate for its hidden layer and another for its readout. Blue ones converge, red ones diverge, the paler the slower.
On the right a part of the left picture is drawn with as many nets again: new detail comes up instead of a smooth edge.
A line has a box-counting dimension of 1, and the boundary has more.

At its left end the boundary is a plain one. A hidden layer that hardly moves leaves a linear regression of the readout,
which gradient descent solves up to a rate of 2 over the largest eigenvalue of its Hessian: theory and measurement of
this rate are printed for some widths.

Sohl-Dickstein 2024, arXiv:2402.06184.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import vgcore as vg


def critical(width: int) -> tuple[float, float]:
    """The largest rate of the readout that converges where the hidden layer stands still: theory, and measured."""
    found = vg.rate_fractal([1e-250, 2e-250], np.geomspace(10, 200, 120), width=width, steps=200)
    weight = found.spec.init(seed=found.seed, dtype="float64").state_dict()["layers.0.weight"]
    h = np.tanh(found.x @ weight.T) / width  # in the mean-field form
    hessian = 2 * h.T @ h / len(h)
    return 2 / float(np.linalg.eigvalsh(hessian)[-1]), float(found.lr1[found.converged[0]].max())


def main() -> None:
    """Train, draw, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("rate_fractal.png"), help="the picture")
    parser.add_argument("--small", action="store_true", help="few nets, for a quick look")
    given = parser.parse_args()
    count = 33 if given.small else 100
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 5.6), layout="constrained")
    whole = vg.rate_fractal(np.geomspace(1, 1e5, count), np.geomspace(5, 100, count))
    part = vg.rate_fractal(np.geomspace(300, 3000, count), np.geomspace(22, 45, count))
    vg.plot.rate_fractal(whole, ax=left)
    vg.plot.rate_fractal(part, ax=right)
    x, y = ((rates[0], rates[-1]) for rates in (part.lr0, part.lr1))
    left.plot([*x, *x[::-1], x[0]], [y[0], y[0], y[1], y[1], y[0]], color="k", linewidth=1)
    print(f"dimension of the boundary: {whole.dimension:.2f} on the left, {part.dimension:.2f} on the right")
    for width in (4, 8, 12, 16):
        theory, measured = critical(width)
        print(f"width {width}, largest rate of a readout alone: theory {theory:.1f}, measured {measured:.1f}")
    figure.savefig(given.out, dpi=70)


if __name__ == "__main__":
    main()
