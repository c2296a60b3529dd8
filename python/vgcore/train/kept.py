"""Runs as bytes, for stores and workers: a header, then arrays one after the other."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vgcore import _core
from vgcore.measure import block, table
from vgcore.model.network import Network
from vgcore.model.spec import Spec
from vgcore.train.join import STEPWISE, VALIDATED
from vgcore.train.run import Run, first_bad_of
from vgcore.train.settings import FULL, Recipe
from vgcore.train.training import Training

Arrays: TypeAlias = dict[str, NDArray[Any]]

#: What the facts of a training say under `what`.
TRAINED = "train"
#: Arrays of a run that are always there.
PLAIN = (*STEPWISE, *VALIDATED, "steps_done", "steps", "sharpness_steps", "sharpness", "validation_steps", "best_step")


def facts(training: Training, recipe: Recipe, network0: Network | None) -> dict[str, Any]:
    """What says how a run comes about, its spec apart, as JSON."""
    return {"what": TRAINED, **training.facts(), **recipe.facts(), "network": network0 and table.weights_id(network0)}


def pack(run: Run) -> bytes:
    """A run as bytes, without its spec, its recipe and its data."""
    arrays: Arrays = {name: getattr(run, name) for name in (*PLAIN, *run.monitor)}
    for index, network in enumerate(run.networks):
        arrays |= _parts(f"network.{index}", network)
    if run.network0 is not None:
        arrays |= _parts("start", run.network0)
    for index, running in enumerate(run.statistics):
        for name, pair in running.items():
            arrays |= {f"statistics.{index}.{part}.{name}": pair[part] for part in (0, 1)}
    for index, kept in enumerate(run.checkpoints):
        arrays |= {f"checkpoint.{index}.{step}": _bytes(state) for step, state in kept}
    arrays |= {f"state.{index}": _bytes(state) for index, state in enumerate(run.states)}
    header = {
        "loss_name": run.loss_name,
        "layers": run.layers,
        "stopped_by": run.stopped_by,
        "first_bads": run.first_bads,
        "networks": len(run.networks),
        "arrays": [(name, array.dtype.str, array.shape) for name, array in arrays.items()],
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(4 + len(text)) % 8)
    body = (np.ascontiguousarray(array).tobytes() for array in arrays.values())
    return b"".join((len(text).to_bytes(4, "little"), text, *(part + bytes(-len(part) % 8) for part in body)))


def unpack(packed: bytes, spec: Spec, training: Training, recipe: Recipe, network0: Network | None = None) -> Run:
    """The run that was packed; its arrays share the bytes."""
    start = 4 + int.from_bytes(packed[:4], "little")
    header = json.loads(packed[4:start])
    arrays: Arrays = {}
    for name, dtype, shape in header["arrays"]:
        arrays[name] = np.frombuffer(packed, dtype, math.prod(shape), start).reshape(shape)
        start += arrays[name].nbytes + -arrays[name].nbytes % 8
    seeds = len(arrays["loss"])
    shape = (seeds, len(arrays["steps"]), len(header["layers"]))
    unknown = np.broadcast_to(np.float64(math.nan), shape)
    if network0 is None and "start.0" in arrays:
        network0 = _network(spec, training.dtype, "start", arrays)
    return Run(
        spec=spec,
        training=training,
        recipe=recipe,
        network0=network0,
        loss_name=header["loss_name"],
        layers=tuple(header["layers"]),
        seeds=training.seeds_of_runs,
        stopped_by=tuple(header["stopped_by"]),
        first_bads=tuple(bad and first_bad_of(bad, header["layers"]) for bad in header["first_bads"]),
        networks=tuple(_network(spec, training.dtype, f"network.{i}", arrays) for i in range(header["networks"])),
        statistics=tuple(_statistics(i, arrays) for i in range(header["networks"])),
        checkpoints=tuple(_checkpoints(i, arrays) for i in range(header["networks"])),
        states=tuple(arrays[f"state.{i}"].tobytes() for i in range(header["networks"])),
        **{name: arrays[name] for name in PLAIN},
        **{name: arrays.get(name, unknown) for name in FULL},
    )


def _bytes(state: bytes) -> NDArray[Any]:
    return np.frombuffer(state, np.uint8)


def _parts(name: str, network: Network) -> Arrays:
    return {f"{name}.{i}": part for i, part in enumerate(network._weights.parts())}  # noqa: SLF001 (its numbers)


def _of(name: str, arrays: Arrays) -> Arrays:
    """The arrays whose names begin so, by the rest of their names."""
    return {key.removeprefix(f"{name}."): array for key, array in arrays.items() if key.startswith(f"{name}.")}


def _network(spec: Spec, dtype: str, name: str, arrays: Arrays) -> Network:
    return Network(spec, _core.Weights.joined(spec, list(_of(name, arrays).values()), dtype))


def _statistics(index: int, arrays: Arrays) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    means, variances = (_of(f"statistics.{index}.{part}", arrays) for part in (0, 1))
    return {name: (mean, variances[name]) for name, mean in means.items()}


def _checkpoints(index: int, arrays: Arrays) -> tuple[tuple[int, bytes], ...]:
    return tuple((int(step), state.tobytes()) for step, state in _of(f"checkpoint.{index}", arrays).items())


def _read(packed: bytes, spec: Spec, told: Mapping[str, Any], x: Any, y: Any) -> Run:
    """A run of a store, with what that has kept of its data."""
    return unpack(packed, spec, Training.of_facts(told, x, y), Recipe.of_facts(told))


block.SORTS[TRAINED] = block.Sort(Run, pack, _read)
