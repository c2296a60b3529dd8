"""The parts of a net that is read: the main way through it as a list, with the ways around it joined by label."""

from __future__ import annotations

from dataclasses import dataclass

from vgcore.convert.tape import Array


@dataclass(frozen=True, eq=False, kw_only=True)
class Part:
    """A part, and where it stands in the user's model.

    Attributes:
        path: The place.
        name: The operation as the framework calls it.
        keys: What its parameters are: a key in two parts is a parameter that they share.
    """

    path: str = ""
    name: str = ""
    keys: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False, kw_only=True)
class MapPart(Part):
    """`W x + b`."""

    weight: Array
    bias: Array | None


@dataclass(frozen=True, eq=False, kw_only=True)
class Bend(Part):
    """An activation by its text; the slope of a prelu is the one parameter that it may have."""

    text: str
    slope: float | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class NormPart(Part):
    """A normalisation by its text."""

    text: str
    weight: Array
    bias: Array


@dataclass(frozen=True, eq=False, kw_only=True)
class DropPart(Part):
    """Dropout of a share of features."""

    p: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Keep(Part):
    """The beginning of a way around."""

    label: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Join(Part):
    """The end of a way around.

    Attributes:
        label: Of the `Keep` that it began at.
        way: `"add"`: x + scale F; `"rezero"`: x + alpha F; `"concat"`: x and F; `"project"`: P x + scale F;
            `"highway"`: (1 - T) x + T F with T = sigmoid(P x).
        scale: The fixed factor of what came through.
        alpha: The learned factor of what came through.
        map: P.
    """

    label: int
    way: str
    scale: float = 1.0
    alpha: float = 1.0
    map: MapPart | None = None


@dataclass(frozen=True, eq=False)
class Flat:
    """A net as a list of parts.

    Attributes:
        parts: In order.
        in_features: Columns of the input.
    """

    parts: tuple[Part, ...]
    in_features: int
