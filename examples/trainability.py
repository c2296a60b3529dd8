"""Deep information propagation: nets train where signals reach through them, and that is known before training.

Every cell is a net of some depth and some scale of weights, trained for 250 steps of SGD with momentum on 1797 digits:
bright where it has learnt, dark where it is no better than a blind guess. The dashed line is six correlation lengths,
6 xi_c, within which inputs stay apart: Schoenholz et al. found that nets train up to there. The other line is where
theory has dL/dz change 32-fold on its way through the net, and the points are the same limit as `vg.diagnose` measures
it on nets of this width before any training.

In the ordered phase, on the left, both say the same. In the chaotic one gradients explode long before inputs are
unlike, and the lower of the two lines is where training ends: 6 xi_c is an upper line. Next to the edge of chaos,
sigma_w 1.33 with these biases, neither is what ends it: the width and the number of steps are.

Schoenholz et al. 2017, arXiv:1611.01232.
"""

import argparse
import math
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import vgcore as vg


def main() -> None:
    """Train, draw, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("trainability.png"), help="the picture")
    parser.add_argument("--small", action="store_true", help="few nets, for a quick look")
    given = parser.parse_args()
    scales = [0.8, 1.0, 2.0, 2.5, 3.0] if given.small else np.linspace(0.6, 3.0, 25).tolist()
    depths = np.unique(np.geomspace(2, 60 if given.small else 100, 10 if given.small else 20).round())
    found = vg.trainability("tanh", sigma_w=scales, depth=depths, width=32, steps=150 if given.small else 250)
    learnt = found.final_loss < 0.5 * float(found.blind or math.nan)
    limits = 1.5 * math.log(100) * np.abs(found.xi_grad)
    for scale, limit, measured, row in zip(scales, limits, found.depth_limit, learnt, strict=True):
        deepest = found.depth[row].max(initial=0)
        print(f"sigma_w {scale:.1f}: trains to depth {deepest}, 6 xi_c is {6 * found.xi_c[scales.index(scale)]:.0f}")
        print(f"sigma_w {scale:.1f}, depth limit: theory {limit:.1f}, measured {measured:.0f}")
    ax = vg.plot.trainability(found)
    ax.figure.set_size_inches(8, 6)  # type: ignore[union-attr]
    plt.savefig(given.out, dpi=90)


if __name__ == "__main__":
    main()
