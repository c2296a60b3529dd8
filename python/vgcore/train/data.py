"""The rows that a run is trained on and validated on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vgcore.model.given import Bounds, items, number, out_of_bounds, shown, wrong_type
from vgcore.model.given import array as as_array
from vgcore.model.names import hint, listing

Pair: TypeAlias = tuple[Any, Any]
Validation: TypeAlias = tuple[ArrayLike, ArrayLike] | float | None

FRACTION = Bounds(above=0.0, most=0.9)
VALIDATION = "None, samples and targets (x, y), or a share of the rows"


@dataclass(frozen=True)
class Rows:
    """What a run is trained on.

    Attributes:
        x: Samples of the training.
        y: Their targets; names of classes as ids.
        validation: Samples and targets that are not trained on, or None.
        places: Which rows of the samples as given are trained on; None for all of them.
        names: Names of the classes in the order of their ids, where the targets are names.
    """

    x: Any
    y: Any
    validation: Pair | None
    places: NDArray[np.int64] | None
    names: tuple[str, ...] | None


def checked(validation: Any) -> Validation:
    """What a caller gave for validation: None, a share, or samples and targets."""
    if validation is None or isinstance(validation, tuple):
        if validation is not None and len(validation) != 2:
            raise out_of_bounds("validation", VALIDATION, validation)
        return validation
    if isinstance(validation, list):
        return checked(tuple(items("validation", validation, VALIDATION, most=2)))
    if isinstance(validation, str | bytes | np.ndarray):
        raise wrong_type("validation", VALIDATION, validation)
    return number("validation", validation, FRACTION)


def rows_of(x: Any, y: Any, validation: Validation, seed: int) -> Rows:
    """The rows that are trained on, and those that are not.

    A share is drawn once a run, by its first seed: which rows they are depends on the seed and on how many there are.
    Names of classes are ids in their sorted order, over all rows that are given.

    >>> import numpy as np
    >>> found = rows_of(np.arange(10), ["b", "a"] * 5, 0.2, seed=0)
    >>> found.names, len(found.x), len(found.validation[0]), sorted([*found.x, *found.validation[0]]) == list(range(10))
    (('a', 'b'), 8, 2, True)
    """
    names = None if y is None else names_of(y)
    ids = coded(y, names)
    if validation is None:
        return Rows(x, ids, None, None, names)
    if isinstance(validation, tuple):
        return Rows(x, ids, (validation[0], coded(validation[1], names, "validation y")), None, names)
    samples = as_array("x", x)
    if samples.ndim == 0:
        raise out_of_bounds("x", "samples (rows, in_features)", x)
    count = round(validation * len(samples))
    if not 0 < count < len(samples):
        raise ValueError(f"validation must leave rows on both sides, got {validation:g} of {len(samples)} rows")
    # A bit generator's numbers stay as they are in all versions of NumPy; what is drawn from them may not.
    order = np.argsort(np.random.PCG64(seed).random_raw(len(samples)), kind="stable")
    kept, held = np.sort(order[count:]), np.sort(order[:count])
    targets = None if ids is None else np.asarray(ids)
    if targets is not None and len(targets) != len(samples):
        raise ValueError(f"x and y must have as many rows, got {len(samples)} and {len(targets)}")
    some = [None if targets is None else targets[rows] for rows in (kept, held)]
    return Rows(samples[kept], some[0], (samples[held], some[1]), kept, names)


def names_of(y: Any) -> tuple[str, ...] | None:
    """The names of classes in sorted order, where targets are names; None where they are numbers."""
    array = np.asarray(y, dtype=object if isinstance(y, list | tuple) else None)
    if array.dtype.kind not in "UTO":
        return None
    found = {value for value in array.ravel().tolist() if isinstance(value, str)}
    return tuple(sorted(found)) or None


def coded(y: Any, names: tuple[str, ...] | None, argument: str = "y") -> Any:
    """Targets with ids in place of the names of classes; those that are no names, as they are."""
    if names is None or y is None:
        return y
    ids = {name: index for index, name in enumerate(names)}
    array = np.asarray(y, dtype=object)
    found = array.ravel().tolist()
    if unknown := [value for value in found if not isinstance(value, str) or value not in ids]:
        word = hint(unknown[0], names) if isinstance(unknown[0], str) else ""
        raise ValueError(
            f"{argument} must be classes that the net is trained on, got {shown(unknown[0])}{word}; "
            f"there are: {listing(names, 12)}"
        )
    return np.array([ids[value] for value in found], dtype=np.int64).reshape(array.shape)
