"""Recurrent nets: one step by hand, gradients, memories of a thousand steps, and what a spec of one takes."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vgcore as vg

CELLS = ("tanh", "relu", "irnn", "lstm", "gru", "gru(reset=before)")


def halves(cell: str, **fields: object) -> vg.Network:
    """A net of one unit whose weights are all .5, without biases."""
    spec = vg.RNN(1, 1, cell=cell, **fields)
    state = {name: np.full_like(array, 0.0 if "bias" in name else 0.5) for name, array in spec.init().state_dict().items()}
    return state, spec


def step(cell: str, h: float, c: float = 0.0, hidden_bias: float = 0.0) -> dict[str, float]:
    """h', c' and the gradients of h' by the formulas of a cell whose weights are .5, at x = 1."""
    sigmoid = lambda z: 1 / (1 + math.exp(-z))  # noqa: E731
    z = 0.5 * h + 0.5
    if cell == "lstm":
        i = f = o = sigmoid(z)
        g = math.tanh(z)
        new = f * c + i * g
        return {"c": new, "h": o * math.tanh(new)}
    r = keep = sigmoid(z)
    inside = r * (0.5 * h + hidden_bias) if cell == "gru" else 0.5 * r * h + hidden_bias
    return {"h": (1 - keep) * math.tanh(0.5 + inside) + keep * h}


def from_state(cell: str, h: float, **fields: object) -> vg.RNN:
    return vg.RNN(2, 1, cell=cell, **fields)
