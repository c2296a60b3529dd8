"""What was measured of a net: `Probe`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vgcore import _core
from vgcore.measure import clip, table
from vgcore.measure.extra import Further
from vgcore.measure.trace import Facts, Trace, first_row, row_labels
from vgcore.model.given import boolean
from vgcore.model.kind import Loss
from vgcore.model.names import known
from vgcore.model.plan import Plan
from vgcore.model.shown import Reported, Shown
from vgcore.model.spec import Spec
from vgcore.model.versioned import Versioned

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    from vgcore.model.network import Network

Floats = NDArray[np.float64]
Signal = Literal["forward", "backward", "weight"]

# Which column a factor is of, and whether its direction of travel is toward the input.
SIGNALS: dict[Signal, tuple[str, bool]] = {
    "forward": ("log10_z_rms", False),
    "backward": ("log10_delta_rms", True),
    "weight": ("log10_wgrad_norm", True),
}


@dataclass(frozen=True)
class Factor(Versioned, Shown):
    """A geometric multiplier per layer in a signal's direction of travel; 1 is preserved.

    Attributes:
        value: Geometric mean over layers and seeds.
        low: Lower end of the 95 % interval over seeds (Student's t on the logarithm); nan for one seed.
        high: Upper end of the interval.

    >>> import vgcore as vg
    >>> factor = vg.probe(vg.MLP(depth=50, width=128, activation="sigmoid"), seeds=4).factor("backward")
    >>> round(factor.value, 2), factor.low < factor.value < factor.high
    (0.32, True)
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3g}" if math.isnan(self.low) else f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g})"


@dataclass(frozen=True, eq=False)
class Probe(Further, Reported):
    """What was measured of one spec over its seeds. Columns are float64 `(seeds, rows)`, index 0 at the input.

    A row is a linear map, `spec.row_names` says which: a layer of an `MLP`.

    Norms are log10, whose range no depth leaves. Slopes phi'(z) and activations are of the dtype: where all units of a
    layer are so flat that they end there (sigmoid beyond |z| of 88 in float32, 708 in float64), they read as 0.
    The linear views of the norms are `z_rms`, `a_rms`, `delta_rms`, `wgrad_norm`, `bgrad_norm` and
    `sample_wgrad_rms`: 0 or inf where float64 ends. After a value that is not finite, columns are nan.

    Its arrays are read-only: it is a record. What was given, `x` and `y`, is kept as it is and stays the caller's own:
    who writes to it changes what the record says.

    Attributes:
        spec: What was measured.
        seeds: The seed of each run, `(seeds,)`; `spec.init(seed=seeds[i])` is run i's net, unless a net was given.
        dtype: The dtype of the computation.
        batch: Samples of a run.
        loss: The loss that started the backward pass, in canonical spelling; None for a random cotangent.
        log10_z_rms: Root mean square over batch and width of the pre-activations z.
        log10_a_rms: Root mean square of the activations a = phi(z), before a skip.
        log10_delta_rms: Root mean square of the backward signal dL/dz.
        log10_wgrad_norm: Frobenius norm of dL/dW.
        log10_bgrad_norm: Norm of dL/db.
        log10_sample_wgrad_rms: Root mean square over samples of the Frobenius norm of one sample's share of dL/dW,
            which is |h||dL/dz| (Goodfellow 2015, arXiv:1510.01799). The B shares add up to dL/dW: pointing one way
            their norm is B times this, in random directions sqrt(B) times.
        saturated: Share of (sample, unit) with |phi'(z)| below 1 % of its largest value; ReLU's flat half counts.
        dead: Share of units that are exactly 0 for every sample.
        correlation: Mean cosine between the z of two samples; nan for one sample.
        gradient_correlation: Mean cosine between the dL/dz of two samples; nan for one sample. Where all samples have
            the same dL/dy, as with `loss="output_sum"` and a readout, it says how far the net shatters gradients
            (Balduzzi 2017, arXiv:1702.08591). Without a loss each sample has a random cotangent of its own, and it is
            about 0 in any net; below a batch norm, which subtracts the mean of the samples' gradients, it is about
            -1/(batch - 1).
        log10_affine_grad_norm: Norm of the gradient of a normalisation's weight and bias; nan without one, as below.
        log10_slope_grad_norm: Size of the gradient of a learnable slope (`prelu`).
        log10_gate_grad_norm: Norm of the gradient of a highway's gate, weight and bias, or of a `rezero`'s factor.
        log10_summed_wgrad_norm: Frobenius norm of dL/dW summed over this step and all later ones of a tied net, whose
            other columns are the shares of its steps. The first step's is backpropagation through time.
        effective_rank: Participation ratio (tr G)^2 / |G|_F^2 of the samples' Gram matrix G of h.
        log10_h_rms: Root mean square of the residual stream h behind a layer, in a net with skips; nan without one, and
            for a layer within a block, which the stream passes by.
        log10_dh_rms: Root mean square of the whole gradient dL/dh of that stream, through the next block and around it.
        first_nonfinite: The index, from 0, of the layer where a value first was not finite; `spec.rows` for readout or
            loss, -1 for none; `(seeds,)`. In frames it is counted from 1, as `first_nonfinite_layer`.
        log10_total_grad_norm: Norm of the gradients of all parameters together, the readout's too: what clipping by a
            global norm looks at; nan after a value that is not finite. `(seeds,)`.
        log10_output_rms: Root mean square of the output, `(seeds,)`.
        loss_value: The loss as the net starts, `(seeds,)`; nan without a loss.
        network: The net whose weights were those of every run; None where they were drawn.
        x: The samples as they were given; None where they were drawn.
        y: The targets as they were given.
        extra: Columns that only some nets have, such as `log10_dc_rms` of an LSTM's cell, by their names; each is also
            an attribute. nan in rows that have no such number.

    >>> import vgcore as vg
    >>> p = vg.probe(vg.MLP(depth=50, width=128, activation="sigmoid"), seeds=4)
    >>> p.log10_delta_rms.shape  # (seeds, layers); index 0 is the layer next to the input
    (4, 50)
    >>> round(float(p.end_to_end("backward").mean()))  # the power of ten by which dL/dz changes on its way
    -24
    """

    spec: Spec
    seeds: NDArray[np.uint64]
    dtype: str
    batch: int
    loss: str | None
    log10_z_rms: Floats
    log10_a_rms: Floats
    log10_delta_rms: Floats
    log10_wgrad_norm: Floats
    log10_bgrad_norm: Floats
    log10_sample_wgrad_rms: Floats
    saturated: Floats
    dead: Floats
    correlation: Floats
    effective_rank: Floats
    gradient_correlation: Floats
    log10_affine_grad_norm: Floats
    log10_slope_grad_norm: Floats
    log10_gate_grad_norm: Floats
    log10_summed_wgrad_norm: Floats
    log10_h_rms: Floats
    log10_dh_rms: Floats
    first_nonfinite: NDArray[np.int64]
    log10_total_grad_norm: Floats
    log10_output_rms: Floats
    loss_value: Floats
    network: Network | None = None
    x: ArrayLike | None = None
    y: ArrayLike | None = None
    extra: Mapping[str, Floats] = field(default_factory=dict)

    _callers: ClassVar[frozenset[str]] = frozenset({"x", "y"})

    @property
    def reduction(self) -> str | None:
        """How the loss makes one number of all, and over what: `"mean over all elements"`; None without a loss."""
        return None if self.loss is None else Loss(self.loss).reduction

    @property
    def z_rms(self) -> Floats:
        """Linear view of `log10_z_rms`."""
        return _linear(self.log10_z_rms)

    @property
    def a_rms(self) -> Floats:
        """Linear view of `log10_a_rms`."""
        return _linear(self.log10_a_rms)

    @property
    def delta_rms(self) -> Floats:
        """Linear view of `log10_delta_rms`."""
        return _linear(self.log10_delta_rms)

    @property
    def wgrad_norm(self) -> Floats:
        """Linear view of `log10_wgrad_norm`."""
        return _linear(self.log10_wgrad_norm)

    @property
    def bgrad_norm(self) -> Floats:
        """Linear view of `log10_bgrad_norm`."""
        return _linear(self.log10_bgrad_norm)

    @property
    def sample_wgrad_rms(self) -> Floats:
        """Linear view of `log10_sample_wgrad_rms`."""
        return _linear(self.log10_sample_wgrad_rms)

    @cached_property
    def trace(self) -> Trace:
        """Sizes of the signals as the judge reads them, beside all columns.

        In a net with skips, a recurrent net or a transformer it is the stream, h and dL/dh: a branch may be scaled
        down or closed (arXiv:2003.04887), and what is small within it is not lost. nan where the stream passes by.
        Elsewhere it is z and dL/dz. Of an LSTM the backward signal is dL/dc: its state is handed on by way of c, and
        dL/dh is what its gates add.

        >>> import vgcore as vg
        >>> p = vg.probe(vg.MLP(depth=2, width=16), seeds=1)
        >>> p.trace.names, bool((p.trace.columns["log10_forward"] == p.log10_z_rms).all())
        (('layer 1', 'layer 2'), True)
        """
        plan = Plan.of(self.spec)
        facts = Facts.of(self.spec, plan)
        widths = [layer.output if facts.streams else layer.width for layer in plan.layers]
        columns = columns_of(self)
        columns |= {
            "log10_forward": self.log10_h_rms if facts.streams else self.log10_z_rms,
            "log10_backward": columns[facts.backward] + np.log10(widths) / 2,
            "log10_weight": self.log10_wgrad_norm,
        }
        return Trace(
            names=row_labels(self.spec),
            columns=columns,
            first_nonfinite=self.first_nonfinite,
            dtype=self.dtype,
            batch=self.batch,
            facts=facts,
        )

    def end_to_end(self, signal: Signal) -> Floats:
        """log10 of the change of a signal over all layers in its direction of travel, one a seed.

        Of a recurrent net over the steps that have it: those behind the last cut of truncated backpropagation, and of
        dL/dW those behind the first, whose state was 0.
        """
        known("signal", signal, SIGNALS)
        column, toward_input = SIGNALS[signal]
        values: Floats = getattr(self, column)
        first, last = values[:, first_row(self.spec, signal)], values[:, -1]
        with np.errstate(invalid="ignore"):  # -inf - -inf: a signal that is 0 at both ends has no factor.
            return first - last if toward_input else last - first

    def factor(self, signal: Signal) -> Factor:
        """The geometric mean multiplier per layer of a signal, with its 95 % interval over seeds.

        Args:
            signal: `"forward"` (z), `"backward"` (dL/dz) or `"weight"` (dL/dW).

        Returns:
            Over the runs whose signal arrives: not those that diverged or where it is exactly 0. nan where they are not
            the majority, and for a depth of 1, which has no layer to pass.

        >>> import vgcore as vg
        >>> p = vg.probe(vg.MLP(depth=20, width=64, activation="sigmoid", init="lecun_normal"))
        >>> 0.22 < p.factor("backward").value < 0.25  # mean field: 0.236
        True
        """
        logs = log10_factors(self, signal)
        logs = logs[np.isfinite(logs)]
        count = len(logs)
        mean = float(np.mean(logs)) if 2 * count > len(self.seeds) else math.nan
        half = math.nan
        if count > 1:
            half = student(count - 1) * float(np.std(logs, ddof=1)) / math.sqrt(count)
        value, low, high = _linear(np.array([mean, mean - half, mean + half]))
        return Factor(float(value), float(low), float(high))

    def log10_clip_coef(self, max_norm: float, *, per_layer: bool = False) -> Floats:
        """log10 of what `clip_grad_norm` would multiply each run's gradients by.

        Args:
            max_norm: The largest norm allowed, as in `clip_grad_norm`.
            per_layer: Judge every hidden layer by the norm of its own weight and bias gradients.

        Returns:
            `(seeds,)`, or `(seeds, rows)` per layer, at most 0; nan where a norm is not finite.
        """
        if boolean("per_layer", per_layer):
            return clip.log10_coef(clip.log10_hypot(self.log10_wgrad_norm, self.log10_bgrad_norm), max_norm)
        return clip.log10_coef(self.log10_total_grad_norm, max_norm)

    def clip_coef(self, max_norm: float, *, per_layer: bool = False) -> Floats:
        """Linear view of `log10_clip_coef`."""
        return _linear(self.log10_clip_coef(max_norm, per_layer=per_layer))

    def to_dict(self) -> dict[str, NDArray[Any]]:
        """Tidy columns: one row a (seed, layer), with the spec's fields beside the measures, as in `Sweep.to_dict`.

        >>> import vgcore as vg
        >>> rows = vg.probe(vg.MLP(depth=2, width=4), seeds=2).to_dict()
        >>> rows["seed"].tolist(), rows["layer"].tolist()
        ([0, 0, 1, 1], [1, 2, 1, 2])
        """
        return table.tidy([self])

    def to_pandas(self) -> pd.DataFrame:
        """The tidy columns as a pandas frame (extra `pandas`)."""
        return table.to_pandas(self.to_dict())

    def to_polars(self) -> pl.DataFrame:
        """The tidy columns as a polars frame (extra `polars`)."""
        return table.to_polars(self.to_dict())

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The tidy columns as an Arrow stream, for what reads the PyCapsule interface (extra `parquet`)."""
        return table.to_arrow(self.to_dict()).__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        own = "" if self.network is None else "own weights, "
        factors = ", ".join(f"{signal} {self.factor(signal).value:.3g}" for signal in SIGNALS)
        return f"Probe({self.spec!r}, {own}seeds={len(self.seeds)}, a layer: {factors})"


def log10_factors(probe: Probe, signal: Signal) -> Floats:
    """log10 of the multiplier per layer of a signal, one a seed; nan where it has no layer to pass."""
    change = probe.end_to_end(signal)
    steps = probe.spec.rows - 1 - first_row(probe.spec, signal)
    return change / steps if steps else np.full(len(probe.seeds), math.nan)


def columns_of(probe: Probe) -> dict[str, Floats]:
    """Every column by its name, those that only some nets have last."""
    return {name: getattr(probe, name) for name in _core.COLUMNS} | dict(probe.extra)


def _linear(log10: Floats) -> Floats:
    with np.errstate(over="ignore", under="ignore"):
        result: Floats = 10.0**log10
    return result


@lru_cache
def student(df: int) -> float:
    """The 97.5 % quantile of Student's t, by bisection on its closed form (Abramowitz and Stegun 26.7.3, 26.7.4)."""

    def two_sided(t: float) -> float:
        angle = math.atan(t / math.sqrt(df))
        term, total = (1.0, 1.0) if df % 2 == 0 else (math.cos(angle), 0.0 if df == 1 else math.cos(angle))
        for k in range(2 if df % 2 == 0 else 3, df - 1, 2):
            term *= (k - 1) / k * math.cos(angle) ** 2
            total += term
        return math.sin(angle) * total if df % 2 == 0 else 2 / math.pi * (angle + math.sin(angle) * total)

    low, high = 0.0, 1000.0
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if two_sided(middle) < 0.95 else (low, middle)
    return high
