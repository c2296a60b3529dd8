"""The description of a net part by part: `Sequential`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from vgcore import _core
from vgcore.model.kind import Init
from vgcore.model.mlp import Field, InitField
from vgcore.model.spec import Spec, check_fields, documented, in_order, in_runs


@dataclass(frozen=True, repr=False)
class Sequential(Spec):
    """A deep net as a list of parts, with ways around any span of them.

    Frozen, hashable, picklable; two specs are equal if their fields are. What an `MLP` says once for all layers is said
    here part by part: maps of any widths, projections of what goes around, an input that joins half-way.

    Args:
        parts: Texts, input side first:

            - `"linear(64)"`: a map to 64 features. The last part, if it is a map and not the only one, is the readout.
            - an activation, such as `"gelu"`, or `Activation`; a normalisation, such as `"layer"`, or `Norm`;
            - `"dropout(0.1)"`: in training alone, as `MLP.dropout`;
            - `"keep(a)"`: what comes here also goes around, by the name a, a word or a number;
            - `"add(a)"`: x + F with x what went around and F what came through; `"add(a, 0.5)"`: x + 0.5 F;
            - `"rezero(a)"`: x + alpha F with a learned number that starts at 0;
            - `"project(a)"`: P x + b + F with a learned map; `"project(a, 0.5)"`: P x + b + 0.5 F;
            - `"concat(a)"`: x and F side by side.

            What is kept may be joined more than once.
        in_features: Columns of the input.
        init: Name, call or `Init`: one for all maps, or one a map in the order of the parts, projections among them.
        bias: As in `MLP`: None, False or an init; one, or one a map.

    Raises:
        ValueError: For a part that is not known, a way around that begins nowhere or ends nowhere, features that do not
            agree, two activations of one map.
        TypeError: For a value of the wrong type.

    A field of radiance, whose input joins again half-way (Mildenhall et al. 2020, arXiv:2003.08934, figure 7):

    >>> layer = ["linear(64)", "relu"]
    >>> net = Sequential(["keep(x)", *layer * 4, "concat(x)", *layer * 4, "linear(4)"], in_features=60)
    >>> net.depth, net.width, net.out_features
    (8, (64, 64, 64, 64, 64, 64, 64, 64), 4)
    >>> Sequential.from_json(net.to_json()) == net
    True
    """

    parts: Sequence[str]
    _: dataclasses.KW_ONLY
    in_features: int
    init: InitField = InitField(Init)  # noqa: RUF009 (a descriptor)
    bias: Field[
        str | bool | Sequence[str | bool | None] | None, Init | bool | tuple[Init | bool | None, ...] | None
    ] = Field(Init)  # noqa: RUF009

    def __post_init__(self) -> None:
        given = self.__dict__
        checked = _core.Spec.of_parts({name: given[name] for name in FIELDS})
        given |= checked.fields()
        for name, field in KINDS.items():
            if given[name] is not None:
                given[name] = field.checked(given[name])
        given["_checked"] = checked

    def replace(self, **changes: Any) -> Sequential:
        """A copy with some fields changed, checked again."""
        check_fields(changes, FIELDS)
        return dataclasses.replace(self, **changes)

    @staticmethod
    def from_json(text: str) -> Sequential:
        """The spec that `to_json` wrote.

        Raises:
            ValueError: For what is no JSON, of a format that this version does not know, or has unknown fields.
        """
        fields, known = documented(text, "Sequential")
        if missing := [name for name in ("parts", "in_features") if name not in fields]:
            raise ValueError(f"a spec of parts needs {' and '.join(missing)}")
        check_fields(fields, FIELDS)
        spec = Sequential(**fields)
        del known  # which the spec keeps from here on
        return spec

    @property
    def depth(self) -> int:  # type: ignore[override]  # worked out here, a field of an MLP
        """Hidden maps: neither the readout nor projections."""
        return len(self.width)

    @property
    def width(self) -> tuple[int, ...]:
        """Features of z, one a hidden map."""
        return tuple(self._checked.widths())

    @property
    def out_features(self) -> int | None:
        """Columns of the readout; None without one."""
        return self._checked.readout()

    @property
    def sizes(self) -> str:
        """The units of input, hidden layers and readout, in order.

        >>> Sequential(["linear(64)", "relu", "linear(64)", "relu", "linear(4)"], in_features=60).sizes
        '60 -> 64 (2 layers) -> 4'
        """
        return in_order(self.in_features, in_runs(self.width), self.out_features)

    def _texts(self) -> Iterable[str]:
        return self.parts

    def __hash__(self) -> int:
        return hash((self.parts, self.in_features, self.init, self.bias))


FIELDS = tuple(field.name for field in dataclasses.fields(Sequential))
#: The fields that hold kinds.
KINDS: dict[str, Field[Any, Any]] = {
    name: field for name, field in vars(Sequential).items() if isinstance(field, Field)
}
