"""The fields of specs that have some, as grids vary them and frames tell them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from vgcore import _core
from vgcore.model import custom, mlp, rnn, transformer
from vgcore.model.given import Bounds, boolean, integer, number, text, wrong_type
from vgcore.model.mlp import MLP, Field
from vgcore.model.rnn import RNN
from vgcore.model.spec import Spec
from vgcore.model.transformer import Transformer

#: The sorts of specs that have fields, and those of them that hold kinds.
SORTS: Mapping[type[Spec], Mapping[str, Field[Any, Any]]] = {
    MLP: mlp.KINDS,
    RNN: rnn.KINDS,
    Transformer: transformer.KINDS,
}
#: The annotation of each field.
TYPES = {sort: {field.name: str(field.type) for field in dataclasses.fields(sort)} for sort in SORTS}  # type: ignore[arg-type]
#: The fields of any sort, those of an `MLP` first.
FIELDS = tuple(dict.fromkeys(name for types in TYPES.values() for name in types if name != "_"))


def sort_of(spec: Spec) -> type[Spec] | None:
    """Which of `SORTS` a spec is; None of one that has parts in place of fields."""
    return next((sort for sort in SORTS if isinstance(spec, sort)), None)


def varied(spec: Any) -> Spec:
    """A spec whose fields a grid varies.

    Raises:
        TypeError: For what is none.
    """
    if isinstance(spec, Spec) and sort_of(spec) is not None:
        return spec
    raise wrong_type("spec", "an MLP, an RNN or a Transformer, whose fields a sweep varies", spec)


def fields_of(spec: Spec) -> tuple[str, ...]:
    """The names of the fields of a spec; of one that has parts in their place none.

    >>> fields_of(RNN(2, 4))[:3], fields_of(MLP(depth=1, width=4))[:2]
    (('steps', 'width', 'in_features'), ('depth', 'width'))
    """
    sort = sort_of(spec)
    return () if sort is None else tuple(TYPES[sort])


def kinds_of(spec: Spec) -> Mapping[str, Field[Any, Any]]:
    """The fields of a spec that hold kinds; of one that has parts those of an `MLP`, which it may have too."""
    return SORTS[sort_of(spec) or MLP]


def kind_of(name: str) -> Field[Any, Any]:
    """The field of this name that holds kinds."""
    return next(kinds[name] for kinds in SORTS.values() if name in kinds)


@lru_cache(maxsize=1)
def kind_parameters() -> tuple[str, ...]:
    """The parameters that kinds of fields may have, as FIELD_PARAM: `init_sigma_w`, `cell_forget_bias`."""
    fields = [(name, field) for kinds in SORTS.values() for name, field in kinds.items()]
    every = ((name, kind) for name, field in fields for kind in _core.kinds(field.kind._kind))  # noqa: SLF001
    return tuple(dict.fromkeys(f"{name}_{param[0]}" for name, kind in every for param in kind["params"]))


def held(sort: type[Spec], name: str, value: Any) -> Any:
    """A value of a field or of a parameter as a spec holds it, by the type of the field."""
    kind, kinds = TYPES[sort].get(name, "float | str"), SORTS[sort]
    if value is None and ("None" in kind or kind == "Any"):
        return None
    if name in kinds:
        if name == "bias" and value is False:
            return False
        own = name == "activation" and isinstance(value, str)
        return kinds[name].kind(custom.spelled(value) if own else value)
    if kind.startswith("int"):
        return integer(name, value, least=0 if name == "stem" else 1)
    if kind.startswith("bool"):
        return boolean(name, value)
    return text(name, value) if isinstance(value, str) or "float" not in kind else number(name, value, Bounds())


def values_held(sort: type[Spec], name: str, given: Iterable[Any]) -> list[Any]:
    """Some values as a spec holds them: one, or one a layer."""
    return [
        tuple(held(sort, name, each) for each in value) if isinstance(value, list | tuple) else held(sort, name, value)
        for value in given
    ]
