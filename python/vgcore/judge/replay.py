"""A run of a probe, made again with its tensors: what columns cannot tell."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vgcore import _core
from vgcore.measure.result import Probe
from vgcore.model.network import Gradients, Network
from vgcore.model.plan import Plan


def replay(cell: Probe) -> tuple[Network, Gradients]:
    """The net of the first run and its gradients; without a loss, from a cotangent as the run drew it."""
    spec, seed, net, x, y = cell.spec, int(cell.seeds[0]), cell.network, cell.x, cell.y
    samples = _core.samples(spec, seed, cell.batch, cell.dtype) if x is None else np.asarray(x)[: cell.batch]
    if net is None:
        net = spec.init(seed=seed, dtype=cell.dtype, x=samples if Plan.of(spec).calibrates else None)
    if cell.loss is None:
        return net, net.backward(samples, _core.cotangent(spec, seed, len(samples), cell.dtype))
    return net, net.gradients(samples, None if y is None else np.asarray(y)[: cell.batch], loss=cell.loss)


def twins(cell: Probe) -> NDArray[np.float64]:
    """Share of the units of each hidden layer that have a gradient, and a twin: equal weights, bias and gradients.

    Such units stay equal under any rule of updates that looks at gradients alone.
    """
    net, found = replay(cell)
    state = net.state_dict()
    shares = []
    layers = 1 if cell.spec.tied else cell.spec.depth
    for layer, gradient in enumerate(found.weights[:layers]):
        weight, bias = (state[f"layers.{layer}.{name}"] for name in ("weight", "bias"))
        rows = np.column_stack((weight, bias, gradient, found.biases[layer]))
        moving = rows[gradient.any(axis=1)]
        _, index, counts = np.unique(moving, axis=0, return_inverse=True, return_counts=True)
        shares.append(float(np.sum(counts[index.ravel()] > 1)) / len(rows))
    return np.array(shares * (cell.spec.depth // layers))
