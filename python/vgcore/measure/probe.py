"""The measurement of one net: `probe` -> `Probe`."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from vgcore.measure.brought import brought
from vgcore.measure.measurement import Measurement
from vgcore.measure.result import Probe
from vgcore.model.kind import Loss
from vgcore.model.network import Network
from vgcore.model.spec import Spec


def probe(
    subject: Any,
    *,
    x: ArrayLike | None = None,
    y: ArrayLike | None = None,
    loss: str | Loss | None = None,
    batch: int | None = None,
    seeds: int | None = None,
    seed: int = 0,
    dtype: str | None = None,
    threads: int | None = None,
) -> Probe:
    """Measure how signals pass a net: forward, backward and weight gradients, layer by layer.

    Args:
        subject: A spec, whose weights are drawn for each seed; or a `Network`, whose weights are those of every run:
            trained, edited, or what `spec.init(seed=...)` drew; or a model of another library, which is brought in.
        x: Samples `(rows, in_features)`; of a net that has an input at every step `(rows, steps, in_features)`, or the
            same numbers flat, `(rows, steps * in_features)`. Standard normal ones, drawn for each seed, if None.
        y: Targets of `loss`, as an array, a list, a pandas or polars column or whatever else NumPy reads; none for
            `output_sum`. For `cross_entropy` classes: ids `(rows,)` or `(rows, 1)`, whole numbers of any dtype; names,
            which get ids in sorted order, as scikit-learn's `LabelEncoder` gives them; or one-hot rows
            `(rows, outputs)`. For other losses numbers of the output's shape `(rows, outputs)`, or `(rows,)` for one
            output.
        loss: One of `LOSSES`, a call such as `"mse(reduction=sum)"`, or a `Loss`. If None, what y is decides:
            `cross_entropy` for integers or booleans `(rows,)`, names and one-hot rows, `mse` for other numbers, so for
            every float `(rows,)`. Without y, the cotangent at the output is standard normal over sqrt(batch), drawn for
            each seed from a stream of its own.
        batch: Samples of a run. 128 for random samples; all rows of x otherwise, or as many drawn for each seed.
        seeds: Number of runs; run i uses seed `seed + i` for drawn weights, samples and cotangent. If None, 8; or 1
            where nothing is drawn: of a `Network`, on all rows of x, with y or a loss.
        seed: The first seed, 0 to 2^64 - 1.
        dtype: `"float32"`, which it is for a spec if None, or `"float64"`. A network has its own, and takes no other.
        threads: At most this many; else VGCORE_NUM_THREADS, else all that the process may use. The numbers do not
            depend on it.

    Raises:
        ValueError: For values or shapes that are not allowed: so for one number a sample where the net has several
            outputs, for more classes than outputs, and for rows that are not one-hot.
        TypeError: For arrays that hold neither real numbers nor, in y, names of classes; for arguments of a wrong type.
        MemoryError: Before anything is allocated, where the machine has too little.
        KeyboardInterrupt: At Ctrl-C, within 0.1 s.

    >>> import vgcore as vg
    >>> p = vg.probe(vg.MLP(depth=1000, width=64, activation="sigmoid", init="xavier_normal"), seeds=2)
    >>> bool(p.log10_delta_rms[0, 0] < -600)
    True

    Targets say which loss they are for:

    >>> import numpy as np
    >>> x, spec = np.eye(3), vg.MLP(depth=2, width=3, out_features=3)
    >>> vg.probe(spec, x=x, y=["cat", "dog", "cat"]).loss
    'cross_entropy'
    >>> vg.probe(spec.replace(out_features=1), x=x, y=[0.5, 1.5, 0.0]).loss
    'mse'

    Weights of your own, here those of seed 0 with the first layer's doubled:

    >>> spec = vg.MLP(depth=3, width=64, activation="relu")
    >>> state = spec.init(seed=0).state_dict()
    >>> state["layers.0.weight"] *= 2
    >>> doubled = vg.probe(vg.Network.from_state_dict(spec, state), seeds=1)
    >>> doubled.z_rms / vg.probe(spec, seeds=1).z_rms
    array([[2., 2., 2.]])
    """
    if not isinstance(subject, Spec | Network):
        subject, _ = brought(subject, x, "a spec or a Network")
    network, spec = (subject, subject.spec) if isinstance(subject, Network) else (None, subject)
    chosen = how(network, x=x, y=y, loss=loss, batch=batch, seeds=seeds, seed=seed, dtype=dtype, threads=threads)
    cells: list[Probe] = []
    chosen.run([spec], lambda _, cell: cells.append(cell), network=network)
    return cells[0]


def how(network: Network | None, *, seeds: int | None, dtype: str | None, **given: Any) -> Measurement:
    """The arguments of `probe`, with what is meant where no runs or no dtype are given."""
    if dtype is None:
        dtype = "float32" if network is None else network.dtype
    if seeds is None:
        labelled = given["loss"] is not None or given["y"] is not None
        drawn = network is None or given["x"] is None or not labelled or given["batch"] is not None
        seeds = 8 if drawn else 1
    return Measurement(seeds=seeds, dtype=dtype, **given)
