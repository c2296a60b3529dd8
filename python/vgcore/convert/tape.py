"""The tape: what one run of somebody else's net did, in order, free of any framework.

A front end runs the user's own model once and writes down what happened; `match.py` reads it. Values are numbered;
every operation names the values that it reads and the one that it makes. An operation acts on each sample alone, along
its last axis, unless it is a batch normalisation. No front end knows what an MLP is, and none names an activation: it
hands over functions, which are recognised by what they compute.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
#: A piece of the user's net replayed: float64 arrays of as many values as the operation reads, and one array back.
Replay = Callable[..., Array]


#: What a note says of a batch normalisation.
RUNNING = "batch normalisation takes the statistics of the batch, as in training; running ones are dropped"


def turned(key: str) -> str:
    """The key of a matrix on its side.

    >>> turned("fc.weight"), turned("fc.weight.T")
    ('fc.weight.T', 'fc.weight')
    """
    return key.removesuffix(".T") if key.endswith(".T") else f"{key}.T"


@dataclass(frozen=True, eq=False, kw_only=True)
class Op:
    """One operation.

    Attributes:
        out: The number of the value that it makes; each is made once.
        args: The numbers of the values that it reads. Constants and parameters are no values.
        path: The place in the user's model, such as `"body.3.norm"`; `""` where there is none.
        name: The operation as the framework calls it, such as `"layer_norm"`.
        shape: The shape of the value that it makes, the batch first.
    """

    out: int
    args: tuple[int, ...]
    path: str = ""
    name: str = ""
    shape: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False, kw_only=True)
class Linear(Op):
    """`y = x W^T + b`.

    Attributes:
        weight: W as it is used, `(out, in)`.
        bias: b, `(out,)`, or None.
        key: What the weights are: equal keys mean shared weights.
        bias_key: What the bias is, where it is known.
        stopped: Whether the user's model stops the gradient of a parameter of it.
    """

    weight: Array
    bias: Array | None = None
    key: str = ""
    bias_key: str = ""
    stopped: bool = False


@dataclass(frozen=True, eq=False, kw_only=True)
class Map(Op):
    """Any function of one value or several, element by element or along the last axis.

    A vector that is added or multiplied feature by feature is a Map too: what follows a `Linear` joins its bias.

    Attributes:
        f: The function, on float64 arrays of any number of rows.
        learned: How many numbers of the function training changes: 1 is the slope of a PReLU, more are a number a
            feature.
        key: What its parameter is, if there is one.
        stopped: Whether the user's model stops the gradient of its parameter.
    """

    f: Replay
    learned: int = 0
    key: str = ""
    stopped: bool = False


@dataclass(frozen=True, eq=False, kw_only=True)
class Norm(Op):
    """A normalisation that the framework has as one operation.

    Attributes:
        kind: `"layer"`, `"rms"` or `"batch"`.
        eps: What is added to the variance.
        weight: What multiplies each feature, `(features,)`; None for ones.
        bias: What is added to each feature; None for zeros.
        f: The function with the statistics of the rows that it is given (of `"batch"`: of these rows, as in training).
        mean: The running mean, if there is one.
        variance: The running variance, if there is one.
        key: What the parameter tensor is: equal keys mean shared parameters.
        stopped: Whether the user's model stops the gradient of a parameter of it.
    """

    kind: str
    eps: float
    f: Replay
    weight: Array | None = None
    bias: Array | None = None
    mean: Array | None = None
    variance: Array | None = None
    key: str = ""
    stopped: bool = False


@dataclass(frozen=True, eq=False, kw_only=True)
class Add(Op):
    """`y = alpha a + beta b` of two values.

    Attributes:
        alpha: The factor of the first value.
        beta: The factor of the second.
    """

    alpha: float = 1.0
    beta: float = 1.0


@dataclass(frozen=True, eq=False, kw_only=True)
class Scale(Op):
    """`y = factor x`, one number for all features.

    Attributes:
        factor: The number.
        learned: Whether it is a parameter of the model, as the factor of a branch in ReZero.
        key: What the parameter is, if it is one.
    """

    factor: float
    learned: bool = False
    key: str = ""


@dataclass(frozen=True, eq=False, kw_only=True)
class Concat(Op):
    """The features of several values side by side, in the order of `args`."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Drop(Op):
    """Dropout: the identity here.

    Attributes:
        p: The share of features that training sets to 0.
    """

    p: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Reshape(Op):
    """The same numbers of a sample in the same order, in another shape; also copies, casts, detours of no effect."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Unknown(Op):
    """What cannot be said at all: read on the way to the output, it is refused.

    Attributes:
        reason: Why, as a clause: `"it mixes the positions of a sequence"`.
    """

    reason: str


@dataclass(frozen=True, eq=False)
class Tape:
    """One run.

    Attributes:
        ops: The operations in the order in which they ran.
        inputs: The number of the value that the samples are.
        output: The number of the value that the model returned.
        in_features: Numbers of a sample.
        shape: The shape of a sample; `(in_features,)` of a plain row.
        notes: What the recording took as identity, dropped or read otherwise, a sentence each.
    """

    ops: tuple[Op, ...]
    inputs: int
    output: int
    in_features: int
    shape: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
