"""What was trained layer by layer as HTML: Boltzmann machines, deep belief nets, and what came of each layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vgcore.show.html.blocks import Html, joined, quiet, table, titled
from vgcore.show.html.charts import curve
from vgcore.show.words import number

if TYPE_CHECKING:
    from vgcore.pretrain.machine import RBM
    from vgcore.pretrain.pretrained import DBN, Pretrained, PretrainedLayer

#: What is seen by epoch, and what it is called.
WORDS = {
    "error": "reconstruction error",
    "held_out_error": "held-out error",
    "pseudo_likelihood": "pseudo-likelihood",
    "free_energy_gap": "free-energy gap",
    "loss": "loss",
}
LIKELIHOOD = "A reconstruction error is no likelihood: it also falls where a model of the data gets worse."


def rbm(m: RBM) -> Html:
    """A Boltzmann machine: its sizes, and what was seen as it learnt."""
    shown = {name: values for name, values in m.monitors.items() if not np.isnan(values).all()}
    rows = [
        (WORDS[name], number(values[0]), number(values[-1]), curve(values, WORDS[name]))
        for name, values in shown.items()
    ]
    seen = (
        [table(("monitor", "first epoch", "last epoch", "by epoch"), rows, words=(0, 3)), quiet(LIKELIHOOD)]
        if rows
        else []
    )
    return joined(titled("RBM", f"{m.visible} visible units, {m.hidden} hidden"), *seen)


def dbn(d: DBN) -> Html:
    """A deep belief net: its machines."""
    rows = [(str(i + 1), str(m.visible), str(m.hidden)) for i, m in enumerate(d.machines)]
    return joined(
        titled("DBN", "Boltzmann machines, of which the top one is sampled"),
        table(("machine", "visible", "hidden"), rows),
        quiet("dbn.sample(n) draws rows from it."),
    )


def _by_epoch(layers: tuple[PretrainedLayer, ...], ratios: tuple[str, ...] = ()) -> Html:
    """A row a layer: each monitor that says something at its first and last epoch, and as a curve."""
    shown = [name for name in WORDS if not all(np.isnan(getattr(layer, name)).all() for layer in layers)]
    head = ["layer", "units", *(WORDS[name] for name in shown), f"{WORDS[shown[0]]} by epoch"]
    rows = []
    for i, layer in enumerate(layers):
        ends = [f"{number(values[0])} → {number(values[-1])}" for values in (getattr(layer, name) for name in shown)]
        picture = curve(getattr(layer, shown[0]), WORDS[shown[0]])
        rows.append([str(layer.layer + 1), f"{layer.inputs} → {layer.outputs}", *ends, picture, *ratios[i : i + 1]])
    return table([*head, *(["|dL/dz_1|/|dL/dz_L| then"] if ratios else [])], rows, words=(0, len(head) - 1))


def layer(p: PretrainedLayer) -> Html:
    """One layer: what was seen of it by epoch."""
    return joined(titled("PretrainedLayer"), _by_epoch((p,)), quiet(LIKELIHOOD))


def pretrained(p: Pretrained) -> Html:
    """What was pretrained: a row a layer, and how much of the gradient reached the first layer once it had learnt."""
    before, *after = (number(ratio) for ratio in p.ratios.tolist())
    return joined(
        titled("Pretrained", p.summary()[0], f"|dL/dz_1|/|dL/dz_L| was {before} before"),
        _by_epoch(p.layers, tuple(after)),
        *([quiet(LIKELIHOOD)] if p.method != "supervised" else []),
        quiet("vg.train(pretrained.network, x, y) goes on from here."),
    )
