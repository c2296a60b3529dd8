"""What came of pretraining: `Pretrained`, its layers, and the deep belief net that Boltzmann machines make: `DBN`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vgcore.measure import table
from vgcore.measure.result import Probe
from vgcore.model.network import Network
from vgcore.model.shown import Shown
from vgcore.model.versioned import Versioned
from vgcore.pretrain.learn import Floats, down
from vgcore.pretrain.machine import RBM, gibbs

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

#: What is seen of a layer by epoch.
MONITORS = ("error", "held_out_error", "pseudo_likelihood", "free_energy_gap", "loss")


@dataclass(frozen=True, eq=False)
class PretrainedLayer(Versioned, Shown):
    """How one layer learnt, by epoch, on at most 1000 rows; nan where a method has no such thing. Read-only.

    Attributes:
        layer: The layer, from 0 on.
        inputs: What comes in.
        outputs: Its units.
        error: The mean squared difference of what comes in and its reconstruction. It is no likelihood: it falls also
            where a model of the data gets worse.
        held_out_error: That of held-out rows.
        pseudo_likelihood: The mean of `RBM.pseudo_likelihood`, an estimate that can be compared between epochs.
        free_energy_gap: The mean free energy of held-out rows less that of rows it learnt from: it grows as a machine
            learns rows by heart.
        loss: Of a layer that learns targets, the mean of an epoch's steps.

    >>> import vgcore as vg
    >>> x = vg.data.digits(standardize=False)[0] / 16
    >>> spec = vg.MLP(depth=1, width=16, in_features=64, out_features=10, activation="sigmoid")
    >>> layer = vg.pretrain(spec, x, epochs=2).layers[0]
    >>> layer.inputs, layer.outputs, layer.error.shape, bool(layer.error[-1] < 0.1)
    (64, 16, (2,), True)
    """

    layer: int
    inputs: int
    outputs: int
    error: Floats
    held_out_error: Floats
    pseudo_likelihood: Floats
    free_energy_gap: Floats
    loss: Floats

    def __repr__(self) -> str:
        name, value = ("loss", self.loss) if np.isnan(self.error).all() else ("error", self.error)
        sizes = f"{self.inputs} -> {self.outputs}"
        return f"PretrainedLayer(layer {self.layer + 1}, {sizes}, {len(value)} epochs, {name} {value[-1]:.4g})"


@dataclass(frozen=True, eq=False)
class DBN(Versioned, Shown):
    """A deep belief net: Boltzmann machines one above the other, the top one as it is, the others as layers downward.

    Hinton, Osindero, Teh 2006, "A fast learning algorithm for deep belief nets".

    Attributes:
        machines: The machines, the lowest first.

    >>> import vgcore as vg
    >>> x = vg.data.digits(standardize=False)[0] / 16
    >>> spec = vg.MLP(depth=2, width=32, in_features=64, out_features=10, activation="sigmoid")
    >>> vg.pretrain(spec, x, epochs=2).dbn.sample(3, steps=10).shape
    (3, 64)
    """

    machines: tuple[RBM, ...]

    def __repr__(self) -> str:
        sizes = [self.machines[0].visible, *(machine.hidden for machine in self.machines)]
        return f"DBN({' -> '.join(map(str, sizes))})"

    def sample(self, n: int, steps: int = 1000, seed: int = 0) -> Floats:
        """Rows that the net dreams of: `(n, in_features)`, probabilities of the lowest units.

        Chains of Gibbs sampling in the top machine, then down, layer by layer, by probabilities.

        Args:
            n: Chains.
            steps: Steps of a chain.
            seed: Of what is drawn.
        """
        *lower, top = self.machines
        samples, probabilities = gibbs(top, n, steps, seed)
        if not lower:
            return probabilities
        for machine in reversed(lower):
            samples = down(machine.pair, samples)
        return samples


@dataclass(frozen=True, eq=False)
class Pretrained(Versioned, Shown):
    """A net whose hidden layers were trained one by one, and how they were. `vg.train` goes on from its `network`.

    Attributes:
        network: All hidden layers as they learnt, with the readout of a fresh net.
        method: How each layer learnt.
        layers: What was seen of each layer.
        probes: What the net came to on the same rows, before the first layer and after each: `depth + 1` of them.
        machines: The Boltzmann machines; none of another method.

    >>> import vgcore as vg
    >>> x, y = vg.data.digits(standardize=False)
    >>> spec = vg.MLP(depth=4, width=64, in_features=64, out_features=10, activation="sigmoid", init="xavier_uniform")
    >>> found = vg.pretrain(spec, x / 16, y, epochs=5)
    >>> bool(found.ratios[-1] > 5 * found.ratios[0])
    True
    >>> run = vg.train(found.network, x / 16, y, optimizer="sgd(lr=0.1, momentum=0.9)", steps=50)
    """

    network: Network
    method: str
    layers: tuple[PretrainedLayer, ...]
    probes: tuple[Probe, ...]
    machines: tuple[RBM, ...] = ()

    def __repr__(self) -> str:
        before, after = (f"{self.ratios[i]:.2g}" for i in (0, -1))
        count, epochs = len(self.layers), len(self.layers[0].error)
        ratio = f"|dL/dz_1|/|dL/dz_{count}| {before} -> {after}"
        return f"Pretrained({count} layers, {self.method}, {epochs} epochs, {ratio})"

    @property
    def ratios(self) -> Floats:
        """The rms of dL/dz of the first layer over that of the last, before the first layer learnt and after each."""
        logs = [probe.log10_delta_rms.mean(axis=0) for probe in self.probes]
        return np.array([10 ** (log[0] - log[-1]) for log in logs])

    @property
    def dbn(self) -> DBN:
        """The deep belief net that the Boltzmann machines make.

        Raises:
            ValueError: Of another method than `rbm`.
        """
        if not self.machines:
            raise ValueError(
                f"a deep belief net is made of Boltzmann machines: pretrain with 'rbm', not {self.method!r}"
            )
        return DBN(self.machines)

    def to_dict(self) -> dict[str, Any]:
        """Tidy columns, a row a (layer, epoch), both counted from 1; monitors that say nothing are left out."""
        epochs = len(self.layers[0].error)
        columns: dict[str, Any] = {
            "layer": np.repeat(np.arange(1, len(self.layers) + 1), epochs),
            "epoch": np.tile(np.arange(1, epochs + 1), len(self.layers)),
        }
        columns |= {name: np.concatenate([getattr(layer, name) for layer in self.layers]) for name in MONITORS}
        return table.informative(columns)

    def to_pandas(self) -> pd.DataFrame:
        """The tidy columns of `to_dict` as a pandas frame (extra `pandas`)."""
        return table.to_pandas(self.to_dict())

    def to_polars(self) -> pl.DataFrame:
        """The tidy columns of `to_dict` as a polars frame (extra `polars`)."""
        return table.to_polars(self.to_dict())

    def summary(self) -> list[str]:
        """What was done, and a line a layer, as text.

        >>> import vgcore as vg
        >>> x = vg.data.digits(standardize=False)[0] / 16
        >>> spec = vg.MLP(depth=1, width=16, in_features=64, out_features=10, activation="sigmoid")
        >>> print(vg.pretrain(spec, x, epochs=1).summary()[0])
        pretrained by rbm: 1 layer, 1 epoch each
        """
        count, epochs = len(self.layers), len(self.layers[0].error)
        many = f"{count} layer{'s' * (count != 1)}, {epochs} epoch{'s' * (epochs != 1)} each"
        head = f"pretrained by {self.method}: {many}"
        return [head, *(repr(layer)[len("PretrainedLayer(") : -1] for layer in self.layers)]
