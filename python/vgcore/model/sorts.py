"""The sorts of specs that have fields: what a grid may vary, and how a frame and a file call it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import lru_cache

from vgcore import _core
from vgcore.model import mlp, rnn, transformer
from vgcore.model.given import wrong_type
from vgcore.model.kind import Kind, Norm
from vgcore.model.mlp import MLP
from vgcore.model.rnn import RNN
from vgcore.model.spec import Spec
from vgcore.model.transformer import Transformer

#: By their names in files; the first is the sort of a file that names none.
SORTS: Mapping[str, type[Spec]] = {"MLP": MLP, "RNN": RNN, "Transformer": Transformer}
#: The annotation of each field.
TYPES: Mapping[type[Spec], Mapping[str, str]] = {
    sort: {field.name: str(field.type) for field in dataclasses.fields(sort)}  # type: ignore[arg-type]
    for sort in SORTS.values()
}
#: The fields that hold kinds. That of a transformer's final norm may hold a word too.
KINDS: Mapping[type[Spec], Mapping[str, type[Kind]]] = {
    MLP: {name: field.kind for name, field in mlp.KINDS.items()},
    RNN: {name: field.kind for name, field in rnn.KINDS.items()},
    Transformer: {name: field.kind for name, field in transformer.KINDS.items()} | {"final_norm": Norm},
}
#: Every field of any sort, and every one that holds kinds.
FIELDS = tuple(dict.fromkeys(name for types in TYPES.values() for name in types))
KINDS_OF_ANY: Mapping[str, type[Kind]] = {name: kind for kinds in KINDS.values() for name, kind in kinds.items()}
#: Fields whose name another column of frames has: the number of a cell, the steps of a training.
COLUMNS: Mapping[str, str] = {"cell": "net_cell", "steps": "net_steps"}


def sort_of(spec: Spec) -> type[Spec] | None:
    """The sort of a spec; None of one that has parts in the place of fields."""
    return next((sort for sort in SORTS.values() if isinstance(spec, sort)), None)


def fields_of(spec: Spec) -> tuple[str, ...]:
    """The names of the fields of a spec; of one that has parts in their place none.

    >>> fields_of(RNN(3, 4))[:4]
    ('steps', 'width', 'in_features', 'out_features')
    """
    sort = sort_of(spec)
    return () if sort is None else tuple(TYPES[sort])


def swept(spec: object) -> Spec:
    """A spec whose fields a sweep can vary.

    Raises:
        TypeError: For anything else.
    """
    if not isinstance(spec, Spec) or sort_of(spec) is None:
        raise wrong_type("spec", "an MLP, an RNN or a Transformer, whose fields a sweep varies", spec)
    return spec


def is_name(sort: type[Spec], field: str) -> bool:
    """Whether what a field holds is a name, which is `none` in a frame where it is None; or else a number."""
    return not TYPES[sort][field].startswith(("int", "float", "bool"))


@lru_cache(maxsize=8)
def kind_parameters(sorts: tuple[type[Spec], ...] = tuple(SORTS.values())) -> tuple[str, ...]:
    """The parameters that kinds of fields may have, as FIELD_PARAM: `init_sigma_w`, `skip_order`."""
    every = ((name, info) for sort in sorts for name, kind in KINDS[sort].items() for info in _core.kinds(kind._kind))  # noqa: SLF001
    return tuple(dict.fromkeys(f"{name}_{param[0]}" for name, info in every for param in info["params"]))
