"""Sizes of signals layer by layer, of any net: `Trace`, which the rules of the judge read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgcore import _core
from vgcore.measure.extra import EXTRA
from vgcore.model.given import integer, items, shown, text, wrong_type
from vgcore.model.kind import Activation
from vgcore.model.mlp import MLP
from vgcore.model.names import known
from vgcore.model.plan import Plan
from vgcore.model.rnn import RNN
from vgcore.model.sequential import Sequential
from vgcore.model.shown import Reported
from vgcore.model.spec import Spec
from vgcore.model.transformer import Transformer
from vgcore.model.versioned import Versioned

Floats = NDArray[np.float64]

#: What is measured of a layer of any net.
SIGNALS = ("log10_forward", "log10_backward", "log10_weight", "zeros", "log10_largest", "nonfinite")
#: The columns that a trace may have: those, and the columns of a probe.
COLUMNS = (*SIGNALS, *_core.COLUMNS, *EXTRA)
#: Shares, from 0 to 1.
SHARES = ("zeros", "nonfinite")
DTYPES = ("float16", "bfloat16", "float32", "float64")


@dataclass(frozen=True)
class Facts:
    """What a spec says of its layers and no size shows.

    Attributes:
        activations: The activation of each layer.
        outputs: Features that each layer hands on.
        least: Units of the narrowest layer.
        streams: Whether the signals are those of a stream that passes around branches.
        readout: Whether a map stands behind the last layer.
        plain: Whether layers are a map and an activation each, without a normalisation or a skip.
        knows_depth: Whether a layer's numbers depend on how many layers there are.
        goes_on: Whether layers follow a rule, by which there could be more of them.
        kind: `"MLP"`, `"Sequential"`, `"RNN"` or `"Transformer"`.
        unit: What repeats: `"layer"`, a `"step"` in time, or a `"block"`.
        per: Layers, as a probe counts them, of one such unit.
        tokens: Of a sample; 1 in a net that knows none.
        shared: Whether all units have the same weights, as the steps of a recurrent net.
        state: What the backward signal is the gradient of, in a net with streams: `"h"`, or `"c"` of an LSTM.
        cut: The first layer behind the last cut of truncated backpropagation, from 0: no other sees the last loss.
        fed: Columns that come in at every step, where they come in step by step; else 0.
    """

    activations: tuple[Activation, ...]
    outputs: tuple[int, ...]
    least: int
    streams: bool
    readout: bool
    plain: bool
    knows_depth: bool
    goes_on: bool
    kind: str = "MLP"
    unit: str = "layer"
    per: int = 1
    tokens: int = 1
    shared: bool = False
    state: str = "h"
    cut: int = 0
    fed: int = 0

    def first(self, signal: str) -> int:
        """The first layer, from 0, that has a signal: no gradient passes a cut, and no dL/dW is of a state that is 0.

        Args:
            signal: `"forward"`, `"backward"` or `"weight"`.
        """
        return {"forward": 0, "backward": self.cut, "weight": max(self.cut, self.per * self.shared)}[signal]

    @property
    def backward(self) -> str:
        """The column of the backward signal."""
        return f"log10_d{self.state}_rms" if self.streams else "log10_delta_rms"

    @classmethod
    def of(cls, spec: Spec, plan: Plan) -> Facts:
        """What a spec and its plan say."""
        parts = {part for layer in plan.layers for part in layer.parts}
        recurs, attends = isinstance(spec, RNN), isinstance(spec, Transformer)
        streams = recurs or attends or "join" in parts or getattr(spec, "skip", None) is not None
        gated = "cell" in parts
        return cls(
            activations=() if gated else tuple(layer.activation for layer in plan.layers),
            outputs=tuple(layer.output for layer in plan.layers),
            least=min(layer.width for layer in plan.layers),
            streams=streams,
            readout=plan.readout is not None,
            plain=not streams and "norm" not in parts,
            knows_depth=plan.knows_depth
            or getattr(spec, "branch_scale", 1.0) == "1/sqrt(L)"
            or getattr(spec, "outputs", "last") == "every",
            goes_on=not isinstance(spec, Sequential),
            kind=next(kind.__name__ for kind in (MLP, Sequential, RNN, Transformer) if isinstance(spec, kind)),
            unit="step" if recurs else "block" if attends else "layer",
            per=spec.layers if recurs else 4 if attends else 1,
            tokens=spec.tokens if attends else 1,
            shared=recurs,
            state="c" if getattr(getattr(spec, "cell", None), "name", None) == "lstm" else "h",
            cut=max((at for at, layer in enumerate(plan.layers) if "cut" in layer.parts), default=0),
            fed=0 if attends or plan.series is None else plan.series[1],
        )


@lru_cache
def first_row(spec: Spec, signal: str) -> int:
    """The first row of a probe, from 0, that has a signal, as `Facts.first` has it; the last one where no other has.

    >>> first_row(RNN(30, 4, truncate=10), "backward"), first_row(RNN(30, 4, layers=2), "weight")
    (20, 2)
    """
    if not isinstance(spec, RNN):
        return 0  # Of other nets every row has all of them.
    return min(Facts.of(spec, Plan.of(spec)).first(signal), spec.rows - 1)


def row_labels(spec: Spec) -> tuple[str, ...]:
    """What the rows of a probe are called: by their numbers, in an RNN those of steps, in a transformer by their maps.

    >>> import vgcore as vg
    >>> row_labels(vg.MLP(depth=2, width=4)), row_labels(vg.RNN(2, 4, layers=2))
    (('layer 1', 'layer 2'), ('step 1 layer 1', 'step 1 layer 2', 'step 2 layer 1', 'step 2 layer 2'))
    >>> row_labels(vg.Transformer(1, 8))[:2]
    ('layers.0.self_attn.in_proj', 'layers.0.self_attn.out_proj')
    """
    if isinstance(spec, Transformer):
        return spec.row_names
    if isinstance(spec, RNN):
        layers = [""] if spec.layers == 1 else [f" layer {i + 1}" for i in range(spec.layers)]
        return tuple(f"step {t + 1}{layer}" for t in range(spec.steps) for layer in layers)
    return tuple(f"layer {i + 1}" for i in range(spec.rows))


def _no_layers() -> NDArray[np.int64]:
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Trace(Versioned, Reported):
    """How large signals are in each layer of a net, on its way forward and back.

    Layers stand in the order in which they run, input side first. A size that is exactly 0 has the log10 -inf, and one
    beyond the largest number inf. nan says that nothing is known: of a branch that the loss does not see, of what was
    lost, or after a value that is not finite.

    Attributes:
        names: Of the layers, each of its own; `"layer 1"`, `"layer 2"` and so on where they have none.
        columns: By name, float64 `(runs, layers)`:
            `log10_forward`: root mean square of the numbers that a layer gives.
            `log10_backward`: root mean square over the samples of the norm of one sample's share of the gradient of
            what the layer gives.
            `log10_weight`: Frobenius norm of the gradient of the layer's weights.
            `zeros`: share of what the layer gives that is exactly 0.
            `log10_largest`: the largest size of what the layer gives.
            `nonfinite`: 1 where a value was not finite.
            All others are as in a `Probe`.
        steps: The step of training at which each run was seen, `(runs,)`: then all runs are of one net. Empty where
            every run is a net of its own.
        lost_below: Of each run, the index, from 0, of the last layer whose gradient has ended below the least number of
            the dtype; -1 where none has. The gradients of that layer and of all before it are unknown,
            and are not 0. `(runs,)`; -1 for all runs if empty.
        first_nonfinite: Of each run, the index, from 0, of the layer where a value first was not finite, the number of
            layers for what stands behind them, -1 where all were finite. `(runs,)`; as `nonfinite` says if empty.
        dtype: Of the computation: `"float16"`, `"bfloat16"`, `"float32"` or `"float64"`.
        batch: Samples of a run; None if it is not known.
        notes: What a reader has to know of how this was measured, a sentence each.
        facts: What a spec says of the layers; None where there is none.

    Raises:
        ValueError: For names that are not unique, an unknown column, shapes that do not agree, a share
            beyond 0 to 1, or an index that is no layer's.
        TypeError: For what is no text, no number, or no mapping.

    >>> import vgcore as vg
    >>> trace = Trace(("stem", "blocks.0"), {"log10_forward": [[0.0, 0.1]], "log10_backward": [[-3.0, 0.0]]})
    >>> trace.runs, trace.depth, trace.columns["log10_backward"][0].tolist()
    (1, 2, [-3.0, 0.0])
    """

    names: tuple[str, ...]
    columns: Mapping[str, Floats]
    steps: tuple[int, ...] = ()
    lost_below: NDArray[np.int64] = field(default_factory=_no_layers)
    first_nonfinite: NDArray[np.int64] = field(default_factory=_no_layers)
    dtype: str = "float32"
    batch: int | None = None
    notes: tuple[str, ...] = ()
    facts: Facts | None = None

    def __post_init__(self) -> None:
        names = tuple(text("a name", name) for name in items("names", self.names, "a list of names"))
        if not names or not all(names):
            raise ValueError(f"names must be those of one layer or more, none of them empty, got {shown(names)}")
        if len(set(names)) < len(names):
            twice = next(name for i, name in enumerate(names) if name in names[:i])
            raise ValueError(f"names must be unique, got {shown(twice)} twice: write the second use as {twice}@2")
        columns = _columns(self.columns, len(names))
        runs = len(next(iter(columns.values())))
        steps = tuple(integer("a step", step, least=0) for step in items("steps", self.steps, "a list of steps"))
        if len(steps) not in {0, runs}:
            raise ValueError(f"steps must be one a run, {runs} of them, or none; got {len(steps)}")
        bad = columns.get("nonfinite", np.zeros((runs, len(names)))) > 0
        first = np.where(bad.any(axis=1), bad.argmax(axis=1), -1)
        vars(self).update(
            names=names,
            columns=MappingProxyType(columns),
            steps=steps,
            lost_below=_layers("lost_below", self.lost_below, np.full(runs, -1), len(names) - 1),
            first_nonfinite=_layers("first_nonfinite", self.first_nonfinite, first, len(names)),
            dtype=known("dtype", self.dtype, DTYPES),
            batch=None if self.batch is None else integer("batch", self.batch, least=1),
            notes=tuple(text("a note", note) for note in items("notes", self.notes, "a list of notes")),
        )
        if not isinstance(self.facts, Facts | None):
            raise wrong_type("facts", "Facts or None", self.facts)
        super().__post_init__()

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"columns": dict(self.columns)}  # A view of a dict has no pickle.

    @property
    def runs(self) -> int:
        """Rows of the columns: nets, or steps of one."""
        return len(self.lost_below)

    @property
    def depth(self) -> int:
        """Layers."""
        return len(self.names)

    @property
    def trace(self) -> Trace:
        """Itself: so a trace may stand wherever something that has one may."""
        return self

    def known(self, column: str) -> NDArray[np.int64]:
        """The layers that a column tells of, from 0: in a net of blocks it may be of some of their maps alone.

        >>> import vgcore as vg
        >>> vg.probe(vg.Transformer(2, 8), seeds=1).trace.known("log10_wgrad_norm_q").tolist()
        [0, 4]
        """
        if self.facts is None or self.facts.unit != "block":
            return np.arange(self.depth)
        return np.flatnonzero(~np.isnan(self.columns[column]).all(axis=0))

    @property
    def draws(self) -> bool:
        """Whether runs are nets of their own, and more than one, so that they tell how nets of one recipe differ."""
        return self.runs > 1 and not self.steps

    def __repr__(self) -> str:
        ends = self.names[0] if self.depth == 1 else f"{self.names[0]} to {self.names[-1]}"
        what = (
            f"steps {self.steps[0]} to {self.steps[-1]}"
            if self.steps
            else "1 net"
            if self.runs == 1
            else f"{self.runs} nets"
        )
        if len(self.steps) == 1:
            what = f"step {self.steps[0]}"
        return f"Trace({self.depth} layers, {ends}; {what}; {len(self.columns)} columns)"


def _columns(given: object, layers: int) -> dict[str, Floats]:
    """Columns, checked, as float64 that is not to be written to."""
    if not isinstance(given, Mapping):
        raise wrong_type("columns", "a mapping from names to arrays (runs, layers)", given)
    if not given:
        raise ValueError("columns must be one or more, got none")
    columns: dict[str, Floats] = {}
    for name, values in given.items():
        try:
            column = np.array(values, dtype=np.float64)
        except (TypeError, ValueError):
            raise wrong_type(f"column {shown(name)}", "an array of numbers (runs, layers)", values) from None
        known("column", name, COLUMNS)
        if column.ndim != 2 or column.shape[1] != layers or not len(column):
            raise ValueError(f"column {name} must be (runs, {layers} layers), got shape {column.shape}")
        if name in SHARES and ((column < 0) | (column > 1)).any():
            raise ValueError(f"column {name} must be shares from 0 to 1, got {column.min():.3g} to {column.max():.3g}")
        column.flags.writeable = False
        columns[name] = column
    shapes = {name: len(column) for name, column in columns.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"columns must have the same number of runs, got {shown(shapes)}")
    return columns


def _layers(name: str, given: Any, otherwise: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """An index of a layer for each run, or -1; `otherwise` if none is given."""
    found = [integer(name, each, least=-1, most=most) for each in items(name, given, "an index a run")]
    if len(found) not in {0, len(otherwise)}:
        raise ValueError(f"{name} must be one a run, {len(otherwise)} of them, or none; got {len(found)}")
    return np.array(found or otherwise, dtype=np.int64)
