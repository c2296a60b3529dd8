"""An epoch of a Boltzmann machine on the digits beside scikit-learn's `BernoulliRBM`: medians, in both orders.

    python benches/pretrain.py [--json FILE] [--rounds N]

1797 digits, 100 hidden units, batches of 10, persistent chains of one step, as `BernoulliRBM` has them; one thread of
BLAS. Told are the epoch alone, as `BernoulliRBM(verbose=0)` does it, and with the pseudo-likelihood after each epoch,
as `verbose=1` does, of all rows, and `vg.RBM.fit`, of 1000 rows, whose reconstruction it looks at too. `VGCORE_ISA`
chooses the instructions. Without scikit-learn it says so and ends.
"""

import argparse
import io
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

import vgcore as vg
from vgcore import _core
from vgcore.measure import files

try:
    from sklearn.neural_network import BernoulliRBM
except ImportError:
    print("pretrain: scikit-learn is not installed; pip install scikit-learn")
    sys.exit()

SMOKE = os.environ.get("VGCORE_BENCH") == "smoke"
EPOCHS = 2 if SMOKE else 10
#: How many times faster an epoch alone is to be.
TARGET = 0.0 if SMOKE else 5.0


def ours(x: np.ndarray) -> None:
    """Epochs alone."""
    start = vg.RBM.drawn(64, 100)
    learner = _core.Learner(
        *("rbm(persistent=true)", start.W, start.b, start.c, x),
        activation="sigmoid",
        probabilities=True,
        lr=0.06,
        decay=0.0,
        batch=10,
        seed=0,
        layer=0,
    )
    for _ in range(EPOCHS):
        learner.epoch(0.0)


def ours_seen(x: np.ndarray) -> None:
    """Epochs with monitors."""
    vg.RBM.drawn(64, 100).fit(x, persistent=True, epochs=EPOCHS, lr=0.06, batch=10, momentum=0.0)


def theirs(x: np.ndarray, **how: int) -> None:
    """scikit-learn's epochs."""
    BernoulliRBM(n_components=100, batch_size=10, n_iter=EPOCHS, learning_rate=0.06, random_state=0, **how).fit(x)


def theirs_seen(x: np.ndarray) -> None:
    """The same, whose score is worked out after each, and printed."""
    with redirect_stdout(io.StringIO()):
        theirs(x, verbose=1)


def pair(
    one: Callable[[np.ndarray], None], other: Callable[[np.ndarray], None], x: np.ndarray, rounds: int
) -> list[float]:
    """Medians of seconds an epoch of two, which take turns, in both orders."""
    spent: tuple[list[float], list[float]] = ([], [])
    for i in range(rounds):
        for which in (0, 1) if i % 2 else (1, 0):
            began = time.perf_counter()
            (one, other)[which](x)
            spent[which].append((time.perf_counter() - began) / EPOCHS)
    return [statistics.median(each) for each in spent]


def main() -> None:
    """Time, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=2 if SMOKE else 14)
    given = parser.parse_args()
    x = vg.data.digits(standardize=False)[0] / 16
    found = {}
    for words, one, other in (("epoch alone", ours, theirs), ("with pseudo-likelihood", ours_seen, theirs_seen)):
        mine, rival = pair(one, other, x, given.rounds)
        found[words] = {"vgcore": mine, "sklearn": rival, "times": rival / mine}
        print(f"{words}: vgcore {1e3 * mine:.2f} ms, scikit-learn {1e3 * rival:.2f} ms, {rival / mine:.1f} times")
    isa = vg.build_info()["isa"]
    met = found["epoch alone"]["times"] >= TARGET
    print(f"{isa}: target {TARGET:g} times, {'met' if met else 'MISSED'}")
    if given.json:
        files.save_text(json.dumps({"isa": isa} | found, indent=1), given.json)


if __name__ == "__main__":
    main()
