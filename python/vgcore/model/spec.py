"""What all descriptions of a net have in common: `Spec`."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from vgcore import _core
from vgcore.model import custom
from vgcore.model.given import shown, text
from vgcore.model.kind import tables_of
from vgcore.model.names import LONG
from vgcore.model.shown import Shown
from vgcore.model.versioned import FORMAT, check_format

if TYPE_CHECKING:
    from typing_extensions import Self

    from vgcore.model.kind import Init
    from vgcore.model.mlp import Field, InitField

#: The newest format of the JSON of a spec.
NEWEST = 1
#: The field by which a document of a sort of specs is known: the first of these that it has.
MARKS = {"parts": "Sequential", "steps": "RNN", "tokens": "Transformer", "depth": "MLP"}


class Spec(Shown):
    """A description of a net, which the core has checked: frozen, hashable, picklable."""

    if TYPE_CHECKING:
        depth: int
        in_features: int | None
        init: InitField
        bias: Field[Any, Init | bool | tuple[Init | bool | None, ...] | None]

        @property
        def width(self) -> int | Sequence[int]:
            """Units of the hidden layers."""

        @property
        def out_features(self) -> int | None:
            """Units of the readout; None without one."""

        @property
        def sizes(self) -> str:
            """The units of input, hidden layers and readout in words."""

        def __getattr__(self, name: str) -> Any: ...  # a field of one kind of spec

        def replace(self, **changes: Any) -> Self:
            """A copy with some fields changed, checked again."""

    def __repr__(self) -> str:
        # Python that makes an equal spec: those fields alone that are not at their defaults.
        given = ((each.name, getattr(self, each.name), each.default) for each in dataclasses.fields(self))  # type: ignore[arg-type]
        told = (f"{name}={value!r}" for name, value, default in given if value != default)
        return custom.bare(f"{type(self).__qualname__}({', '.join(told)})")

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, tuples as lists; and `tables` of activations of your own, if there are any."""
        fields = {name: list(v) if isinstance(v, tuple) else v for name, v in self._checked.fields().items()}
        tables = tables_of(self._texts())
        return fields | {"tables": tables} if tables else fields

    def __reduce__(self) -> tuple[Callable[[str], Spec], tuple[str]]:
        # As JSON, which brings along what this process knows and another may not.
        return type(self).from_json, (self.to_json(),)

    def to_json(self) -> str:
        """The fields as a JSON object, from which `from_json` makes an equal spec; its format is `vgcore_format`."""
        return json.dumps({FORMAT: NEWEST} | self.to_dict())

    if TYPE_CHECKING:

        @staticmethod
        def from_json(text: str) -> Spec:
            """The spec that `to_json` wrote."""

    def to_torch(self) -> Any:
        """The net of seed 0 as a `torch.nn.Module`, in float32, with the parameters of `state_dict()` by their names.

        Raises:
            ImportError: Without torch.
        """
        from vgcore.convert.to_torch import to_torch

        return to_torch(self)

    @property
    def id(self) -> str:
        """16 hex digits of what the net is: equal for every way to write it, in every process and version."""
        return hashlib.sha256(self._checked.content().encode()).hexdigest()[:16]

    @property
    def rows(self) -> int:
        """Rows of a probe: one for each linear map that the net runs through, without the readout.

        >>> import vgcore as vg
        >>> vg.MLP(depth=3, width=4).rows
        3
        """
        return self._checked.rows()

    @property
    def row_names(self) -> tuple[str, ...]:
        """The name of each row: that of its map in a state dict.

        >>> import vgcore as vg
        >>> vg.MLP(depth=2, width=4, tied=True, in_features=4).row_names
        ('layers.0', 'layers.0')
        """
        return tuple(self._checked.row_names())

    @property
    def extra_columns(self) -> tuple[str, ...]:
        """The names of the columns that a probe of the net has beside those of every net: `Probe.extra`.

        >>> import vgcore as vg
        >>> vg.MLP(depth=2, width=4).extra_columns
        ()
        """
        return tuple(self._checked.extra())

    @property
    def _checked(self) -> _core.Spec:
        """What the core has checked, and reads from then on."""
        checked: _core.Spec = self.__dict__["_checked"]
        return checked

    def _texts(self) -> Iterable[str]:
        """The texts in which activations of your own may stand."""
        raise NotImplementedError


def in_order(inputs: int, widths: Sequence[str], outputs: int | None) -> str:
    """Sizes in words, input side first."""
    out = ", no readout" if outputs is None else f" -> {outputs}"
    return " -> ".join([str(inputs), *widths]) + out


def in_runs(widths: Iterable[int]) -> list[str]:
    """Widths, those that repeat together."""
    runs = [(width, len(list(run))) for width, run in itertools.groupby(widths)]
    return [str(width) if count == 1 else f"{width} ({count} layers)" for width, count in runs]


def check_fields(given: Iterable[str], known: Sequence[str]) -> None:
    """Refuse what is no field of a spec that has these."""
    for name in given:
        if name not in known:
            hint = _core.hint(text("a field", name), known) if len(name) <= LONG else ""
            raise ValueError(f"unknown field {shown(name)}{hint}; choose from: {', '.join(known)}")


def sort_told(fields: Collection[str]) -> str | None:
    """The sort of spec whose fields these are, by one that no other sort has; None where none is."""
    return next((sort for mark, sort in MARKS.items() if mark in fields), None)


def documented(document: str, sort: str | None = None) -> tuple[dict[str, Any], list[Any]]:
    """The fields of a spec that a document holds, and the tables of its own activations, to be held meanwhile.

    Raises:
        ValueError: For what is no document of a spec, or one of another sort than is asked for.
    """
    fields = _object(document)
    check_format("document", fields.pop(FORMAT, 1), NEWEST)
    told = sort_told(fields)
    if sort is not None and told not in (None, sort):
        raise ValueError(
            f"text is the JSON of {'an' if told in ('MLP', 'RNN') else 'a'} {told}; read it with {told}.from_json"
        )
    tables = fields.pop("tables", {})
    if not isinstance(tables, dict):
        raise ValueError(f"tables must be a JSON object, got {type(tables).__name__}")
    return fields, [custom.restore(table) for table in tables.values()]


def _object(document: str) -> dict[str, Any]:
    """The JSON object that a document holds."""
    try:
        found = json.loads(text("text", document), object_pairs_hook=_once, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"text must be the JSON of a spec, got {shown(document)}: {error}") from None
    except RecursionError:
        raise ValueError(f"text must be the JSON of a spec, got {shown(document)}, whose nesting has no end") from None
    if not isinstance(found, dict):
        raise ValueError(f"a spec must be a JSON object, got {type(found).__name__}")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, whose keys stand in it once."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"the JSON of a spec must have each field once, got {shown(twice)} twice or more")
    return found


def _no_constant(word: str) -> Any:
    raise ValueError(f"the JSON of a spec must have finite numbers, got {word}")
