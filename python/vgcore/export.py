"""What was measured, in the user's own open run of a tracker: few numbers, and one table with a row a cell.

Nothing is imported here: who has an open run has its library.
"""

from __future__ import annotations

import math
import sys
from typing import Any

from vgcore.judge.verdict import VERDICTS
from vgcore.measure.cells import Sweep
from vgcore.measure.result import SIGNALS, Probe

Row = dict[str, Any]


def mlflow(run: Any, s: Sweep | Probe, *, step: int | None = None) -> None:
    """Log metrics, and the table as `vgcore.json` or `vgcore-STEP.json`, to an MLflow run.

    Metrics of a sweep are `vgcore/cells`, how many cells have each verdict, as in `vgcore/vanishing`, and of every
    signal the least and the largest factor a layer and number of decades from end to end, as in
    `vgcore/backward_factor_min` and `vgcore/backward_decades_max`; of a probe, which has one, `vgcore/backward_factor`
    and so on. A number that is not finite is left out. The table is that of `Sweep.table`, with the intervals of the
    factors in columns of their own.

    Args:
        run: What `mlflow.start_run()` gives.
        s: A `Sweep` or a `Probe`.
        step: Of a training, for the metrics.

    Raises:
        TypeError: For any other run, or anything else that was measured.
        ValueError: For a sweep without cells.
    """
    _made_by("mlflow", run, "info", "what mlflow.start_run() gives")
    library, run_id, rows = sys.modules["mlflow"], run.info.run_id, _rows(s)
    library.log_metrics(_scalars(s, rows), step=step, run_id=run_id)
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    library.log_table(columns, "vgcore.json" if step is None else f"vgcore-{step}.json", run_id=run_id)


def wandb(run: Any, s: Sweep | Probe, *, step: int | None = None) -> None:
    """Log numbers, and the table as `vgcore/cells_table`, to a run of Weights & Biases, in one step.

    Args:
        run: What `wandb.init()` gives.
        s: A `Sweep` or a `Probe`; the numbers and the table are those of `mlflow`.
        step: Of the run; its next one if None.

    Raises:
        TypeError: For any other run, or anything else that was measured.
        ValueError: For a sweep without cells.
    """
    _made_by("wandb", run, "log", "what wandb.init() gives")
    rows = _rows(s)
    table = sys.modules["wandb"].Table(columns=[*rows[0]], data=[[*row.values()] for row in rows])
    run.log({**_scalars(s, rows), "vgcore/cells_table": table}, step=step)


def tensorboard(writer: Any, s: Sweep | Probe, *, step: int | None = None) -> None:
    """Add scalars, and the table as text in Markdown, to a `SummaryWriter` of torch or tensorboardX.

    Args:
        writer: A writer with `add_scalar` and `add_text`.
        s: A `Sweep` or a `Probe`; the numbers and the table are those of `mlflow`.
        step: Of a training.

    Raises:
        TypeError: For any other writer, or anything else that was measured.
        ValueError: For a sweep without cells.

    >>> import vgcore as vg
    >>> class Printer:
    ...     def add_scalar(self, tag, value, global_step=None):
    ...         print(tag, round(value, 1))
    ...
    ...     def add_text(self, tag, text, global_step=None):
    ...         print(text.splitlines()[0][:22])
    >>> tensorboard(Printer(), vg.probe(vg.MLP(depth=9, width=64, activation="sigmoid"), seeds=2))
    vgcore/cells 1
    vgcore/healthy 0
    vgcore/vanishing 1
    vgcore/exploding 0
    vgcore/symmetric 0
    vgcore/collapsed 0
    vgcore/non-finite 0
    vgcore/forward_factor 0.9
    vgcore/forward_decades -0.2
    vgcore/backward_factor 0.3
    vgcore/backward_decades -4.1
    vgcore/weight_factor 0.3
    vgcore/weight_decades -3.8
    | forward | forward_lo
    """
    if not all(callable(getattr(writer, name, None)) for name in ("add_scalar", "add_text")):
        raise TypeError(f"writer must be a SummaryWriter, with add_scalar and add_text, got {_short(writer)}")
    rows = _rows(s)
    for name, value in _scalars(s, rows).items():
        writer.add_scalar(name, value, global_step=step)
    lines = [[*rows[0]], ["---"] * len(rows[0])]
    lines += [[f"{value:.4g}" if isinstance(value, float) else f"{value}" for value in row.values()] for row in rows]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    writer.add_text("vgcore/cells_table", text, global_step=step)


def _made_by(library: str, run: Any, needed: str, what: str) -> None:
    """Refuse what is no run of this library: of another's class, or of a class without what is needed."""
    makers = {kind.__module__.partition(".")[0] for kind in type(run).__mro__}
    if library not in makers or library not in sys.modules or not hasattr(run, needed):
        raise TypeError(f"run must be {what}, got {_short(run)}")


def _short(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _rows(s: Sweep | Probe) -> list[Row]:
    """The table of a sweep, in numbers and words."""
    if isinstance(s, Probe):
        s = Sweep((s,), (), 1)
    if not isinstance(s, Sweep):
        raise TypeError(f"s must be a Sweep or a Probe, got {_short(s)}")
    if not s.cells:
        raise ValueError("s is a sweep without cells, which has nothing to export")
    rows = s.table()
    # A column of trackers has one type.
    for name in s.varied:
        if any(isinstance(row[name], str) for row in rows):
            for row in rows:
                row[name] = "none" if row[name] is None else str(row[name])
    return rows


def _scalars(s: Sweep | Probe, rows: list[Row]) -> dict[str, float]:
    """What is said of all cells, by name."""
    cells = [s] if isinstance(s, Probe) else s.cells
    verdicts = [row["verdict"] for row in rows]
    found: dict[str, float] = {"cells": len(cells)}
    found |= {word: verdicts.count(word) for word in VERDICTS}
    for signal in SIGNALS:
        factors = [row[signal] for row in rows]
        steps = [cell.spec.rows - 1 for cell in cells]
        decades = [count * math.log10(factor) for count, factor in zip(steps, factors, strict=True) if factor > 0]
        for name, values in {"factor": factors, "decades": decades}.items():
            finite = [value for value in values if math.isfinite(value)]
            if isinstance(s, Probe):
                found |= {f"{signal}_{name}": value for value in finite}
            elif finite:
                found |= {f"{signal}_{name}_min": min(finite), f"{signal}_{name}_max": max(finite)}
    return {f"vgcore/{name}": value for name, value in found.items()}
