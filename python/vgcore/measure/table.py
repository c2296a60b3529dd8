"""Tidy rows, frames and files."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vgcore._core import COLUMNS
from vgcore.model.kind import Init
from vgcore.model.mlp import KINDS

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    from vgcore.measure.result import Probe


def optional(module: str, extra: str) -> Any:
    """Import a library that only some uses need; say which extra brings it."""
    try:
        return import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        raise ImportError(f"this needs {name}; install it with: pip install 'vgcore[{extra}]'") from error


#: Where the weights of every run were given.
OWN = "own weights"


def tidy(cells: Sequence[Probe]) -> dict[str, NDArray[Any]]:
    """One row a (cell, seed, layer): what the cell is, then what was measured."""
    if not cells:
        return {}
    keys = [_keys(cell) for cell in cells]
    rows = [cell.log10_z_rms.size for cell in cells]
    columns = {name: np.repeat(_column([key[name] for key in keys]), rows) for name in keys[0]}
    columns["seed"] = np.concatenate([np.repeat(cell.seeds, cell.spec.depth) for cell in cells])
    columns["layer"] = np.concatenate([np.tile(np.arange(cell.spec.depth), len(cell.seeds)) for cell in cells])
    for name in COLUMNS:
        columns[name] = np.concatenate([getattr(cell, name).ravel() for cell in cells])
    for name in ("first_nonfinite", "log10_total_grad_norm", "log10_output_rms", "loss_value"):
        columns[name] = np.concatenate([np.repeat(getattr(cell, name), cell.spec.depth) for cell in cells])
    return columns


def _keys(cell: Probe) -> dict[str, Any]:
    """What a cell is and how it was measured."""
    keys: dict[str, Any] = {"cell_id": cell.spec.id}
    for name, value in cell.spec.to_dict().items():
        if name == "tables":  # Samples of functions, whose names stand under "activation".
            continue
        keys[name] = " ".join(map(str, value)) if isinstance(value, list) else value
        # A missing name would drop out of every group-by.
        if value is None and name in KINDS:
            keys[name] = "none"
        if name == "init":
            # Several inits have no gain in common.
            gain = Init(value).params.get("gain", math.nan) if isinstance(value, str) else math.nan
            keys["gain"] = gain
    if cell.network is not None:
        keys |= {"init": OWN, "gain": math.nan}
    start = {"loss": cell.loss or "none", "reduction": cell.reduction or "none"}
    return keys | {"dtype": cell.dtype, "batch": cell.batch} | start


def start(cell: Probe) -> str:
    """What the backward pass began with, in words: every norm of a gradient is relative to it."""
    return f"{cell.loss} loss ({cell.reduction})" if cell.loss else "random cotangent"


def _column(values: list[Any]) -> NDArray[Any]:
    """An array of one type: text where any value is text, numbers otherwise; None stays None."""
    if any(isinstance(value, str) for value in values):
        values = [None if value is None else str(value) for value in values]
    known = {type(value) for value in values}
    return np.array(values, dtype=None if known <= {bool} or known <= {int, float} else object)


def to_pandas(cells: Sequence[Probe]) -> pd.DataFrame:
    """The tidy columns as a pandas frame."""
    frame: pd.DataFrame = optional("pandas", "pandas").DataFrame(tidy(cells))
    return frame


def to_polars(cells: Sequence[Probe]) -> pl.DataFrame:
    """The tidy columns as a polars frame."""
    polars = optional("polars", "polars")
    columns = {name: v.tolist() if v.dtype == object else v for name, v in tidy(cells).items()}
    frame: pl.DataFrame = polars.DataFrame(columns)
    return frame


def writer(path: str | os.PathLike[str]) -> Callable[[Path, dict[str, NDArray[Any]]], None]:
    """What writes a file of this ending; an error before any work where nothing does."""
    target = Path(path)
    if target.suffix.lower() not in _WRITERS:
        raise ValueError(f"the output file must end in {', '.join(_WRITERS)}, got '{target.name}'")
    if target.suffix.lower() == ".parquet":
        optional("pyarrow", "parquet")
    return _WRITERS[target.suffix.lower()]


def save(cells: Sequence[Probe], path: str | os.PathLike[str]) -> None:
    """Write the tidy columns as csv, json or parquet, chosen by the ending."""
    writer(path)(Path(path), tidy(cells))


def _save_csv(path: Path, columns: dict[str, NDArray[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*(column.tolist() for column in columns.values()), strict=True))


def _save_json(path: Path, columns: dict[str, NDArray[Any]]) -> None:
    def plain(value: Any) -> Any:
        return None if isinstance(value, float) and not math.isfinite(value) else value

    values = {name: [plain(v) for v in column.tolist()] for name, column in columns.items()}
    path.write_text(json.dumps(values), encoding="utf-8")


def _save_parquet(path: Path, columns: dict[str, NDArray[Any]]) -> None:
    arrow = optional("pyarrow", "parquet")
    optional("pyarrow.parquet", "parquet").write_table(
        arrow.table({name: column.tolist() if column.dtype == object else column for name, column in columns.items()}),
        path,
    )


_WRITERS = {".csv": _save_csv, ".json": _save_json, ".parquet": _save_parquet}
