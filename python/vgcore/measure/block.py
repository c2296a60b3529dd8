"""A measured cell as bytes: a header of names and shapes, then one run of little-endian float64.

What else than probes a store may hold, says so itself: `SORTS`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from vgcore._core import COLUMNS
from vgcore.measure.result import Probe
from vgcore.measure.table import OF_RUN
from vgcore.model.spec import Spec

#: The columns of every cell, in their order, and the numbers of its runs; columns that only some nets have follow.
LAYOUT = (*COLUMNS, *OF_RUN)
#: What else the core says of a cell.
FACTS = ("dtype", "batch", "loss")


def pack(cell: Probe) -> bytes:
    """The bytes of a cell, without its spec, its network and its data."""
    header = _header(cell.log10_z_rms.shape, tuple(cell.extra), int(cell.seeds[0]), *(getattr(cell, n) for n in FACTS))
    arrays = [*(getattr(cell, name) for name in LAYOUT), *cell.extra.values()]
    return header + np.concatenate([array.ravel() for array in arrays], dtype="<f8").tobytes()


@lru_cache(maxsize=1024)
def _header(shape: tuple[int, ...], extra: tuple[str, ...], seed: int, *facts: Any) -> bytes:
    """What stands before the numbers; it ends where 8 bytes begin, so that they are read without a copy."""
    arrays = [[name, *(shape[:1] if name in OF_RUN else shape)] for name in (*LAYOUT, *extra)]
    header = dict(zip(FACTS, facts, strict=True)) | {"seed": seed, "arrays": arrays}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(4 + len(text)) % 8)
    return len(text).to_bytes(4, "little") + text


def unpack(packed: bytes) -> dict[str, Any]:
    """What `pack` was given, as the fields of a `Probe`; its arrays share the bytes and cannot be written."""
    start = 4 + int.from_bytes(packed[:4], "little")
    header = json.loads(packed[4:start])
    fields: dict[str, Any] = {name: header[name] for name in FACTS} | {"extra": {}}
    values = np.frombuffer(packed, "<f8", offset=start)
    for name, *shape in header["arrays"]:
        size = int(np.prod(shape))
        (fields if name in LAYOUT else fields["extra"])[name] = values[:size].reshape(shape)
        values = values[size:]
    fields["first_nonfinite"] = fields["first_nonfinite"].astype(np.int64)
    fields["seeds"] = header["seed"] + np.arange(len(fields["first_nonfinite"]), dtype=np.uint64)
    return fields


def digest(packed: bytes) -> bytes:
    """16 bytes that tell one block from any other."""
    return hashlib.sha256(packed).digest()[:16]


class Sort(NamedTuple):
    """A sort of results.

    Attributes:
        result: Their class.
        pack: Such a result as bytes.
        read: The result of bytes, with its spec, how it was measured, x and y.
    """

    result: type
    pack: Callable[[Any], bytes]
    read: Callable[[bytes, Spec, Mapping[str, Any], Any, Any], Any]


def _read(packed: bytes, spec: Spec, _: Mapping[str, Any], x: Any, y: Any) -> Probe:
    return Probe(spec, **unpack(packed), x=x, y=y)


#: Sorts of results by what the facts of their measurement say under `what`, which those of probes do not.
PROBES = "probe"
SORTS: dict[str, Sort] = {PROBES: Sort(Probe, pack, _read)}


def sort_of(facts: Mapping[str, Any]) -> str:
    """The sort of results that a measurement gives."""
    return str(facts.get("what", PROBES))


def packed_of(result: Any) -> bytes:
    """The bytes of a result of any sort."""
    return next(sort.pack(result) for sort in SORTS.values() if isinstance(result, sort.result))


# A field of a probe that is in none of the lists would not come back.
_GIVEN = {"spec", "seeds", "network", "x", "y", "extra"}
assert {*LAYOUT, *FACTS, *_GIVEN} == {each.name for each in dataclasses.fields(Probe)}  # noqa: S101
