"""Gradients through time: how much of dL/dh reaches a step, and which way it took.

Left: the loss is at the last of 200 steps, and the gradient of the state goes back from there: dL/dc of an LSTM,
dL/dh of all others, at initialisation. All steps share one matrix W, so that a step back multiplies by the mean of
the gate that keeps the state, and by what the step mixes: a + rho, theory's dashed lines. A tanh net as torch draws
it has no gate, and a factor of a half: what reaches step 1 is smaller than any float32, and torch has 0 there. A
forget gate at bias 0 keeps half of c in a step, a bias of 1 more, and chrono's biases, drawn for memories of 1 to 200
steps, nearly all of it. An IRNN starts from W = I, and ReLU. Where theory does not hold (IRNN, chrono) no line is
drawn.

Right: the ways back from one step of an LSTM to the one before: through the cell, times the forget gate, or through W
of one of the gates. A larger forget bias opens the way of the cell, on which no matrix stands.

Hochreiter 1991; Bengio, Simard, Frasconi 1994; Hochreiter and Schmidhuber 1997; Gers et al. 2000; Le, Jaitly, Hinton
2015, arXiv:1504.00941; Tallec and Ollivier 2018, arXiv:1804.11188.
"""

import argparse
import math
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

import vgcore as vg

TORCH = {"init": "torch_rnn", "recurrent_init": "torch_rnn"}
NETS: dict[str, tuple[str, dict[str, Any]]] = {
    "tanh, torch's init": ("0.6", {"cell": "tanh"} | TORCH),
    "tanh, orthogonal": ("0.2", {"cell": "tanh", "init": "torch_rnn", "recurrent_init": "orthogonal"}),
    "IRNN": ("#CC79A7", {"cell": "irnn", "init": "normal(std=0.001)"}),
    "LSTM, forget bias 0": ("#56B4E9", {"cell": "lstm(forget_bias=0)"} | TORCH),
    "LSTM, forget bias 1": ("#0072B2", {"cell": "lstm(forget_bias=1)"} | TORCH),
    "LSTM, chrono": ("#00304F", {"cell": "lstm"} | TORCH),
    "GRU, update bias 0": ("#E69F00", {"cell": "gru(update_bias=0)"} | TORCH),
    "GRU, update bias 1": ("#D55E00", {"cell": "gru(update_bias=1)"} | TORCH),
}
PATHS = {
    "cell": ("cell", "#0072B2"),
    "g": ("candidate", "#E69F00"),
    "i": ("input gate", "#009E73"),
    "f": ("forget gate", "#CC79A7"),
    "o": ("output gate", "0.6"),
}
THEORY: dict[str, Any] = {"color": "black", "dashes": (4, 3), "linewidth": 1}
FLOOR = math.log10(2.0**-149)  # the smallest float32


def state_gradient(found: vg.Probe | vg.theory.Prediction) -> NDArray[np.float64]:
    """log10 of dL/dc where there is a c, else of dL/dh, over that of the last step; from the last step back."""
    column = found.log10_dc_rms if "log10_dc_rms" in found.extra else found.log10_dh_rms
    mean = np.atleast_2d(column).mean(axis=0)
    change: NDArray[np.float64] = (mean - mean[-1])[::-1]
    return change


def write_at_ends(ax: Axes, ends: dict[str, float], x: float, apart: float) -> None:
    """The name of each line beside its end, one above the other where ends are close."""
    groups: list[list[str]] = []
    for name in sorted(ends, key=lambda name: -ends[name]):
        if groups and ends[groups[-1][-1]] - ends[name] < apart:
            groups[-1].append(name)
        else:
            groups.append([name])
    for group in groups:
        middle = sum(ends[name] for name in group) / len(group)
        for place, name in enumerate(group):
            at = (x, middle + apart * ((len(group) - 1) / 2 - place))
            ax.annotate(name, at, (6, 0), textcoords="offset points", va="center", color=NETS[name][0], fontsize=9)


def main() -> None:
    """Measure, draw, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("gradient_through_time.png"), help="the picture")
    parser.add_argument("--small", action="store_true", help="fewer steps and nets, for a quick look")
    given = parser.parse_args()
    steps, seeds = (100, 2) if given.small else (200, 4)
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(12.5, 5), layout="constrained", gridspec_kw={"width_ratios": [2.1, 1]}
    )
    back, ends = np.arange(steps), {}
    shares = {}
    for name, (color, fields) in NETS.items():
        bias = f"chrono({steps})" if "chrono" in name else None
        spec = vg.RNN(steps, 128, in_features=64, bias=bias, **fields)
        found = vg.probe(spec, batch=16, seeds=seeds)
        measured = state_gradient(found)
        left.plot(back, measured, color=color, linewidth=2.2)
        ends[name] = measured[-1]
        limit = vg.memory_limit(found).value
        if fields["cell"] == "irnn" or not vg.theory.memory(spec).holds:
            print(f"{name}: 10^{measured[-1]:.2f} in {steps} steps, {limit:.0f} of them keep it within 32-fold")
        else:
            theory = state_gradient(vg.theory.predict(spec, batch=16))
            left.plot(back, theory, **THEORY)
            print(f"{name}, log10 of the change: theory {theory[-1]:.3f}, measured {measured[-1]:.3f}")
            print(f"{name}, memory limit: theory {vg.theory.memory(spec).memory_limit:.0f}, measured {limit:.0f}")
        if "LSTM" in name:
            words = name.removeprefix("LSTM, ").replace("forget bias", "forget\nbias")
            shares[words] = [float(np.nanmean(getattr(found, f"share_{way}"))) for way in PATHS]
            print(f"{name}, share of the gradient through the cell: {shares[words][0]:.3f}")
    write_at_ends(left, ends, steps - 1, 0.016 * steps)
    left.plot([], [], **THEORY, label="theory, where it holds: (a + rho) a step")
    left.plot([0, steps], [FLOOR, FLOOR], color="#B00000", linewidth=1, dashes=(2, 2))
    left.annotate("float32 has 0 below", (0, FLOOR), (4, -12), textcoords="offset points", color="#B00000", fontsize=9)
    left.set(
        xlabel="steps back from the loss", ylabel="gradient of the state, 1 at the last step", xlim=(0, steps * 1.3)
    )
    left.set_xticks(np.arange(0, steps + 1, steps // 4))
    left.yaxis.set_major_formatter(lambda value, _: f"$10^{{{value:.0f}}}$")
    left.legend(frameon=False, loc="lower left")
    left.set_title("dL/dc (LSTM) and dL/dh (others), width 128", loc="left", fontsize="medium")
    bottom = np.zeros(len(shares))
    for (words, color), heights in zip(PATHS.values(), np.transpose([*shares.values()]), strict=True):
        right.bar([*shares], heights, bottom=bottom, color=color, label=words, width=0.6)
        bottom += heights
    for place, (cell, *_) in enumerate(shares.values()):
        right.annotate(f"{cell:.0%}", (place, cell / 2), ha="center", color="white")
    right.set(ylabel="share of what goes back a step (squares)", ylim=(0, 1.0), xlim=(-0.5, 2.5))
    right.set_title("LSTM: through which path", loc="left", fontsize="medium")
    handles, labels = right.get_legend_handles_labels()
    right.legend(handles[::-1], labels[::-1], frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    for ax in (left, right):
        ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(given.out, dpi=80)


if __name__ == "__main__":
    main()
