"""The numbers of a report as JSON that may stand in a page."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgcore.show.html.blocks import Html
from vgcore.show.html.charts import means

Floats = NDArray[np.float64]

#: What could end a script element or begin another. What is not of ASCII, such as U+2028, is an escape anyway.
SIGNS = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&"}


def plain(value: Any) -> Any:
    """A value as JSON has it: what is not known is null, infinities are `"inf"` and `"-inf"`.

    >>> plain({"a": (1, np.array([0.5, math.nan, -math.inf]))})
    {'a': [1, [0.5, None, '-inf']]}
    """
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def island(data: Mapping[str, Any]) -> Html:
    r"""Data as JSON without the signs that mean something in HTML: as escapes, which any reader of JSON undoes.

    >>> island({"layer": "</script>"})
    '{"layer":"\\u003c/script\\u003e"}'
    """
    text = json.dumps(plain(data), allow_nan=False, separators=(",", ":"))
    return Html(text.translate(SIGNS))


#: Numbers of columns that a report has at most.
NUMBERS = 8000


def fitting(columns: Mapping[str, Floats], first: Sequence[str], most: int = NUMBERS) -> dict[str, Any]:
    """Columns that say something, as many as there is room for, and which are left out.

    Args:
        columns: `(runs, layers)` each.
        first: Those that come first. Where they have no room, all are means over the runs: `(1, layers)`.
        most: Numbers that there is room for.
    """
    names = [name for name in dict.fromkeys((*first, *columns)) if not np.isnan(columns[name]).all()]
    found = {name: columns[name] for name in names}
    if sum(found[name].size for name in first if name in found) > most:
        found = {name: means(values)[None] for name, values in found.items()}
    room = itertools.accumulate(values.size for values in found.values())
    kept = [name for name, numbers in zip(found, room, strict=True) if numbers <= most]
    return {"columns": {name: found[name] for name in kept}, "left_out": names[len(kept) :]}
