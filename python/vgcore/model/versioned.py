"""Results that stay as they are: read-only arrays, and pickles that say which format they have."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

#: Where a document or a pickle says its format. What says none is of format 1.
FORMAT = "vgcore_format"


def check_format(what: str, given: object, newest: int) -> None:
    """Refuse what is of a format that this version does not read.

    >>> check_format("document", 2, newest=1)
    Traceback (most recent call last):
    ...
    ValueError: this document has format 2, this vgcore reads up to 1; upgrade vgcore
    """
    if type(given) is not int or given < 1:
        raise ValueError(f"this {what} has no format of vgcore: an integer from 1 to {newest} must stand there")
    if given > newest:
        raise ValueError(f"this {what} has format {given}, this vgcore reads up to {newest}; upgrade vgcore")


class Versioned:
    """What a frozen dataclass of results has: read-only arrays, and a format in its pickles.

    An array that a result is made of is seen through a view: it is not copied, and stays as it is.

    A field that a later version adds has its default where an older pickle lacks it; what a pickle holds that is no
    field here is refused, as is a newer format. Raise `_newest` where a field changes its meaning.
    """

    _newest: ClassVar[int] = 1
    #: Fields whose arrays are the caller's, who may write to them: what was given, or was asked for to be changed.
    _callers: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        fields, array, callers = vars(self), np.ndarray, self._callers
        for name, value in fields.items():  # of a probe, a tenth of the time of the smallest net
            if type(value) is array and name not in callers:
                # A view, as the array may be in use elsewhere, and by place, which is three times as fast.
                fields[name] = view = value.view()
                view.setflags(False)  # type: ignore[call-arg]  # of the stubs of NumPy

    def __getstate__(self) -> dict[str, Any]:
        fields = dataclasses.fields(self)  # type: ignore[arg-type]  # of the dataclasses that inherit this
        return {FORMAT: self._newest} | {field.name: getattr(self, field.name) for field in fields}

    def __setstate__(self, state: dict[str, Any]) -> None:
        what = f"pickle of a {type(self).__name__}"
        if not isinstance(state, dict):
            raise ValueError(f"this {what} is broken")
        check_format(what, state.get(FORMAT, 1), self._newest)
        # What was worked out on demand is worked out again.
        kept = {name: value for name, value in state.items() if name != FORMAT and not self._is_cached(name)}
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            if field.name in kept:
                continue
            if field.default is not dataclasses.MISSING:
                kept[field.name] = field.default
            elif field.default_factory is not dataclasses.MISSING:
                kept[field.name] = field.default_factory()
            else:
                raise ValueError(f"this {what} lacks {field.name}; it was written by another version of vgcore")
        known = {field.name for field in dataclasses.fields(self)}  # type: ignore[arg-type]
        if unknown := kept.keys() - known:
            raise ValueError(f"this {what} has {', '.join(sorted(map(str, unknown)))}, which this vgcore does not know")
        vars(self).update(kept)
        self.__post_init__()

    @classmethod
    def _is_cached(cls, name: str) -> bool:
        return isinstance(getattr(cls, name, None), cached_property)
