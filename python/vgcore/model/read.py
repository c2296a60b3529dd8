"""A spec of any sort from its JSON."""

from __future__ import annotations

from vgcore.model.mlp import MLP
from vgcore.model.rnn import RNN
from vgcore.model.sequential import Sequential
from vgcore.model.spec import Spec, documented, sort_told
from vgcore.model.transformer import Transformer


def read_spec(text: str) -> Spec:
    """The spec that `to_json` wrote, an `MLP`, a `Sequential`, an `RNN` or a `Transformer`.

    Raises:
        ValueError: For what is no JSON of a spec, as in `MLP.from_json`.

    >>> read_spec(Sequential(["linear(3)", "relu"], in_features=2).to_json()).depth
    1
    """
    fields, known = documented(text)
    del known  # which the spec keeps
    sorts: dict[str | None, type[Spec]] = {sort.__name__: sort for sort in (MLP, Sequential, RNN, Transformer)}
    return sorts.get(sort_told(fields), MLP).from_json(text)
