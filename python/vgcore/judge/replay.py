"""A run of a probe, made again with its tensors: what columns cannot tell."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgcore import _core
from vgcore.judge.foreign.seen import drawn_samples
from vgcore.measure.result import Probe
from vgcore.model.network import Gradients, Network
from vgcore.model.plan import Plan

#: Steps that part what can be parted: one opens a readout at 0, one moves the layers, one shows it.
STEPS = 3


def replay(cell: Probe, net: Network | None = None) -> tuple[Network, Gradients]:
    """The net of the first run, or another of its shape, and its gradients; without a loss, of the run's cotangent."""
    spec, seed, x, y = cell.spec, int(cell.seeds[0]), cell.x, cell.y
    net = net or cell.network
    samples = drawn_samples(spec, seed, cell.batch, cell.dtype) if x is None else np.asarray(x)[: cell.batch]
    if net is None:
        net = spec.init(seed=seed, dtype=cell.dtype, x=samples if Plan.of(spec).calibrates else None)
    if cell.loss is None:
        return net, net.backward(samples, _core.cotangent(spec, seed, len(samples), cell.dtype))
    return net, net.gradients(samples, None if y is None else np.asarray(y)[: cell.batch], loss=cell.loss)


def twins(cell: Probe) -> NDArray[np.float64]:
    """Share of the units of each hidden layer that learn and have a twin after some steps of gradient descent.

    Equal weights and gradients are not enough: a readout that starts at 0 has none to give yet, and what a stream
    carries may part units that are equal in it. Steps are a tenth of each tensor, which keeps equal what is equal.
    """
    names = tuple(dict.fromkeys(cell.spec.row_names))
    net, found = replay(cell)
    start = state = net.state_dict()
    weights = {name: start[f"{name}.weight"] for name in names}
    if all(len(np.unique(weight, axis=0)) == len(weight) for weight in weights.values()):
        return np.zeros(cell.spec.rows)
    for _ in range(STEPS):
        moved = {name: _step(state[name], found.parameters[name]) for name in state}
        if not all(np.isfinite(tensor).all() for tensor in moved.values()):
            break
        state = moved
        net, found = replay(cell, Network.from_state_dict(cell.spec, state))
    shares = {}
    for name in names:
        weight, bias = state[f"{name}.weight"], state.get(f"{name}.bias")
        rows = weight if bias is None else np.column_stack((weight, bias))
        learns = (weight != weights[name]).any(axis=1)
        _, index, counts = np.unique(rows[learns], axis=0, return_inverse=True, return_counts=True)
        shares[name] = float(np.sum(counts[index.ravel()] > 1)) / len(rows)
    return np.array([shares[name] for name in cell.spec.row_names])


def _step(tensor: NDArray[Any], gradient: NDArray[Any]) -> NDArray[Any]:
    """A tensor after a step against its gradient."""
    size = float(np.linalg.norm(gradient.astype(np.float64)))
    if not 0 < size < np.inf:
        return tensor
    length = 0.1 * (float(np.linalg.norm(tensor.astype(np.float64))) or 1.0)
    with np.errstate(over="ignore"):  # What is not finite then is not taken.
        return (tensor - gradient.astype(np.float64) * (length / size)).astype(tensor.dtype)
