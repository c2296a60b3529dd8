"""Greedy layer-wise pretraining: the first remedy for vanishing gradients, shown with the gradients themselves.

Sigmoid nets of 4, 6 and 8 layers on 1437 digits. Above: the size of dL/dz of each layer before any training by
backpropagation. In a fresh net it falls toward the input by a factor of 4 a layer, as theory has it, the dotted line;
where the layers were trained one by one as restricted Boltzmann machines, without any target, it hardly falls. Below:
what SGD then makes of both. The fresh nets stay at a blind guess, ln 10; the pretrained ones begin to learn at once.

Hinton, Osindero, Teh 2006, Neural Computation 18; Bengio, Lamblin, Popovici, Larochelle 2007, NIPS 19; theory of
Schoenholz et al. 2017, arXiv:1611.01232.
"""

import argparse
import math
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

import vgcore as vg


def main() -> None:
    """Pretrain, train, draw, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("pretraining.png"), help="the picture")
    parser.add_argument("--small", action="store_true", help="few epochs and steps, for a quick look")
    given = parser.parse_args()
    x, y = vg.data.digits(standardize=False)
    order = np.random.default_rng(0).permutation(len(x))
    train, test = order[:1437], order[1437:]
    x = x / 16
    depths = (4, 6, 8)
    how: dict[str, Any] = {
        "optimizer": "sgd(lr=0.1, momentum=0.9)",
        "steps": 300 if given.small else 600,
        "batch": 64,
        "monitor": [],
    }
    figure, axes = plt.subplots(2, len(depths), figsize=(11, 6.4), sharey="row", layout="constrained")
    for column, depth in enumerate(depths):
        spec = vg.MLP(
            depth=depth, width=64, in_features=64, out_features=10, activation="sigmoid", init="xavier_uniform"
        )
        found = vg.pretrain(spec, x[train], y[train], method="rbm", epochs=10 if given.small else 30)
        fresh, ready = found.probes[0], found.probes[-1]
        layers = np.arange(1, depth + 1)
        predicted = np.ravel(vg.theory.predict(spec).log10_delta_rms)
        axes[0, column].semilogy(layers, 10 ** (predicted - predicted[-1]), ":", color="0.4", label="theory, fresh")
        for words, probe, subject, colour in (
            ("fresh", fresh, spec, "tab:red"),
            ("pretrained", ready, found.network, "tab:blue"),
        ):
            sizes = 10 ** probe.log10_delta_rms.mean(axis=0)
            axes[0, column].semilogy(layers, sizes / sizes[-1], "o-", color=colour, label=words)
            run = vg.train(subject, x[train], y[train], **how)
            axes[1, column].plot(np.arange(1, run.loss.shape[1] + 1), run.loss[0], color=colour, lw=1)
            right = (run.networks[0].forward(x[test]).argmax(axis=1) == y[test]).mean()
            ratio, loss = sizes[0] / sizes[-1], run.loss[0, -20:].mean()
            print(
                f"{depth} layers, {words}: |dL/dz_1|/|dL/dz_L| {ratio:.1e}, loss {loss:.3f}, test accuracy {right:.3f}"
            )
            if words == "fresh":
                change = predicted[0] - predicted[-1]
                print(f"{depth} layers, log10 of the ratio: theory {change:.3f}, measured {math.log10(ratio):.3f}")
                print(f"{depth} layers, fresh loss: theory {math.log(10):.3f}, measured {loss:.3f}")
        axes[0, column].set_title(f"{depth} sigmoid layers")
        axes[0, column].set_xlabel("layer")
        axes[0, column].set_xticks(layers)
        axes[1, column].axhline(math.log(10), color="0.5", ls=":", lw=1)
        axes[1, column].set_xlabel("step of SGD")
    axes[0, 0].set_ylabel("|dL/dz| over that of the last layer")
    axes[0, 0].legend()
    axes[1, 0].set_ylabel("cross-entropy of a batch")
    axes[1, 0].annotate(
        "a blind guess, ln 10",
        (0.98, math.log(10)),
        (0, -4),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        va="top",
        color="0.4",
    )
    figure.suptitle("Layers trained one by one pass the gradient on: digits, width 64, Boltzmann machines")
    figure.savefig(given.out, dpi=80)


if __name__ == "__main__":
    main()
