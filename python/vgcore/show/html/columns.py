"""Columns of probes, traces and runs as charts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vgcore.show import training
from vgcore.show.html.blocks import Html, titled
from vgcore.show.html.charts import chart
from vgcore.show.words import row
from vgcore.train.run import READOUT, Run

if TYPE_CHECKING:
    from vgcore.measure.trace import Trace

#: What columns are called, where it is more than their names.
TITLES = {
    "log10_z_rms": "log10 rms of z",
    "log10_a_rms": "log10 rms of a",
    "log10_h_rms": "log10 rms of h",
    "log10_delta_rms": "log10 rms of dL/dz",
    "log10_dh_rms": "log10 rms of dL/dh",
    "log10_dc_rms": "log10 rms of dL/dc",
    "log10_wgrad_norm": "log10 |dL/dW|",
    "log10_forward": "log10 forward",
    "log10_backward": "log10 backward",
    "log10_weight": "log10 |dL/dW|",
    "log10_weight_norm": "log10 |W|",
    "log10_update_norm": "log10 |update of W|",
    "log10_update_ratio": "log10 update / weights",
    "log10_grad_norm": "log10 norm of all gradients",
}

#: A loss that falls or rises by more than this is shown by its logarithm.
FAR = 100


def title(column: str) -> str:
    """What a column is called in a picture.

    >>> title("log10_delta_rms"), title("effective_rank")
    ('log10 rms of dL/dz', 'effective rank')
    """
    return TITLES.get(column, column.replace("_", " "))


def layers_chart(t: Trace, column: str, *, beside: Trace | None = None) -> Html:
    """A column by layer: the mean over the runs and their range, and the mean of another net as a dashed line."""
    values = t.columns[column]
    at = _told(values)
    words = "" if t.runs == 1 else f"mean of {t.runs} {'steps' if t.steps else 'runs'}, least to greatest"
    dashed = None
    if beside is not None and column in beside.columns:
        there = _told(beside.columns[column])
        dashed = there + 1, beside.columns[column][:, there]
    return chart(
        values[:, at],
        title(column),
        column=column,
        along=row(t.names),
        at=at + 1,
        ends=(1, max(t.depth, 0 if beside is None else beside.depth)),
        words=words,
        beside=dashed,
    )


def ends_chart(t: Trace, column: str) -> Html:
    """A column of the first and of the last layer, dashed, by step of a training."""
    values, steps = t.columns[column], np.array(t.steps)
    last = steps, values[:, -1:].T
    return chart(values[:, :1].T, title(column), column=column, along="step", at=steps, beside=last)


def _told(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """The layers of which a column tells something: in a net of blocks it may be some of them alone."""
    return np.flatnonzero(~np.isnan(values).all(axis=0))


@np.errstate(all="ignore")  # what is beyond float64 is not drawn
def steps_chart(run: Run, column: str) -> Html:
    """A column by step, the median over the layers where it has them: the mean over the seeds and their range."""
    values: NDArray[Any] = getattr(run, column)
    if not values.size or not np.isfinite(values).any():
        return titled(title(column), training.unknown(run, column) or "nowhere finite")
    words = "" if len(values) == 1 else f"mean of {len(values)} seeds, least to greatest"
    if values.ndim == 3:
        there = np.where(np.isfinite(values), values, np.nan)
        known = ~np.isnan(there).all(axis=2)
        median = np.full(known.shape, np.nan)
        median[known] = np.nanmedian(there[known], axis=1)
        values, words = median, ", ".join(filter(None, ("median over the layers", words)))
    return chart(values, title(column), column=column, along="step", at=steps_of(run, column), words=words)


def loss_chart(run: Run, *, beside: Run | None = None) -> Html:
    """The loss by step; its logarithm where it falls or rises far.

    Args:
        run: Whose loss is the line.
        beside: Another run, whose loss is the dashed line; if None, that is the loss of the validation.
    """
    steps, dashed = (run.validation_steps, run.validation_loss)
    if beside is not None:
        steps, dashed = steps_of(beside, "loss"), beside.loss
    known = [values for values in (run.loss, dashed) if np.isfinite(values).any()]
    there = np.concatenate([values[np.isfinite(values)] for values in known]) if known else np.empty(0)
    far = bool(there.size) and bool(there.min() > 0) and there.max() > FAR * there.min()
    line, other = (np.log10(values) if far else values for values in (run.loss, dashed))
    words = ["loss of the batch"] if len(run.seeds) == 1 else [f"mean of {len(run.seeds)} seeds, least to greatest"]
    words += ["dashed: validation"] if beside is None and dashed.size else []
    return chart(
        line,
        "log10 loss" if far else "loss",
        column="log10_loss" if far else "loss",
        along="step",
        ends=(1, max(run.loss.shape[1], *steps.tolist(), 1)),
        words="; ".join(words),
        beside=(steps, other) if dashed.size else None,
    )


def run_chart(run: Run, column: str) -> Html:
    """A recorded column by layer at the last recorded step that is known, and at the first as a dashed line."""
    values: NDArray[Any] = getattr(run, column)
    known = np.flatnonzero(np.isfinite(values).any(axis=(0, 2)))
    if not known.size:
        return titled(title(column), training.unknown(run, column) or "nowhere finite")
    first, last = known[0], known[-1]
    at = np.flatnonzero(~np.isnan(values[:, last]).all(axis=0))
    words = f"step {run.steps[last]}" + (f"; dashed: step {run.steps[first]}" if first < last else "")
    words += f"; {len(run.labels)} is the readout" if run.labels[-1] == READOUT else ""
    beside = (np.arange(1, values.shape[2] + 1), values[:, first]) if first < last else None
    ends = (1, values.shape[2])
    return chart(values[:, last][:, at], title(column), column=column, at=at + 1, ends=ends, words=words, beside=beside)


def run_ends_chart(run: Run, column: str) -> Html:
    """A recorded column of the first and of the last hidden layer by step, the mean over the seeds of each."""
    values: NDArray[Any] = getattr(run, column)
    last = values.shape[2] - 1 - (run.labels[-1] == READOUT)
    words = f"{run.labels[0]}; dashed: {run.labels[last]}"
    beside = run.steps, values[:, :, last]
    return chart(values[:, :, 0], title(column), column=column, along="step", at=run.steps, words=words, beside=beside)


def steps_of(run: Run, column: str) -> NDArray[np.int64]:
    """The steps that a column is of."""
    if column.startswith("validation"):
        return run.validation_steps
    if column == "sharpness":
        return run.sharpness_steps
    values = getattr(run, column)
    return run.steps if values.ndim == 3 else np.arange(1, values.shape[1] + 1)
