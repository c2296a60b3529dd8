"""Nets that are nothing but arrays: a mapping, an `.npz` or a `.safetensors` file.

Arrays have names and shapes, and no activations, so that the caller says these. Names are read for what a tensor is
(`weight`, `kernel`, `bias`, `running_mean` ...), numbers in them for the order, and shapes for the layout.
"""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vgcore import _core
from vgcore.convert.chain import Chain
from vgcore.convert.imported import Imported, NonFinite, Refusal
from vgcore.convert.match import imported
from vgcore.convert.tape import RUNNING, Array
from vgcore.model.given import items, path, printable, shown, wrong_type
from vgcore.model.kind import Activation
from vgcore.model.names import known
from vgcore.model.network import Network
from vgcore.model.spec import Spec

LAYOUTS = ("torch", "keras")
NEAREST = "vg.from_arrays(mapping, spec=...) fills a spec by name, or in order"

#: What the last word of a name says that a tensor is.
_ROLES = {
    **dict.fromkeys(("weight", "kernel", "w", "coef", "gamma", "scale", "embedding"), "weight"),
    **dict.fromkeys(("bias", "b", "beta", "intercept", "offset"), "bias"),
    **dict.fromkeys(("running_mean", "moving_mean", "mean"), "mean"),
    **dict.fromkeys(("running_var", "moving_variance", "var"), "variance"),
}
#: Counters that say nothing of what a net computes.
_IGNORED = ("num_batches_tracked", "seed_generator_state", "iterations")


def from_arrays(
    mapping: Mapping[str, Any] | str | os.PathLike[str],
    *,
    layout: str | None = None,
    activation: str | Sequence[str] | None = None,
    spec: Spec | None = None,
) -> Imported:
    """The net of some arrays.

    Args:
        mapping: Arrays by name, mappings within mappings too, or the path of an `.npz` or `.safetensors` file. Names
            are sorted by the numbers in them, 10 after 9; where these make no chain of shapes, they stand as given.
            Two-dimensional arrays are maps, those with one axis biases, norms or running statistics, which are dropped.
        layout: `"torch"`: a weight is `(out, in)`; `"keras"`: `(in, out)`, as in Keras, flax and scikit-learn. If None,
            the one in which the shapes fit each other, which is refused where both do.
        activation: Of the hidden layers: a name or call, or one a hidden layer. Needed where there is more than one map
            and no spec: arrays do not have it.
        spec: What the net is: its tensors are filled by name if the names are its own, in order otherwise.

    Raises:
        Refusal: For arrays that make no chain of maps, or of which two are possible.
        NonFinite: For arrays that are not finite.
        ValueError: For a layout or activation that is not known, or a path of another sort.
        TypeError: For what is no mapping of arrays.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> arrays = {"fc1.weight": rng.normal(size=(8, 3)), "fc1.bias": np.zeros(8), "fc2.weight": rng.normal(size=(2, 8))}
    >>> net = from_arrays(arrays, activation="tanh").network
    >>> net.spec.sizes, net.forward(np.eye(3)).shape
    ('3 -> 8 -> 2', (3, 2))
    """
    if layout is not None:
        layout = known("layout", layout, LAYOUTS)
    if spec is not None and not isinstance(spec, Spec):
        raise wrong_type("spec", "a vg.MLP, a vg.Sequential, or None", spec)
    if spec is not None and activation is not None:
        raise ValueError("activation must be None where spec says it, got both")
    arrays = _read(mapping)
    if spec is not None:
        return _filled(spec, arrays, layout)
    tensors = _groups(arrays)
    texts = _activations(activation, sum(group.is_map for group in tensors) - 1)
    layout, groups = _laid_out(tensors, layout, texts)
    first = groups[0].weight
    chain = Chain(first.shape[1] if groups[0].is_map else first.size)
    hidden = list(texts)
    ended = False
    for group in groups:
        if group.is_map:
            if ended:
                chain.activation(group.name, hidden.pop(0))
            chain.linear(group.name, "map", group.weight, group.bias)
            ended = True
        else:
            _add_norm(chain, group)
    return imported(chain.tape(), chain.run, notes=_notes(groups, layout))


# --- Reading -------------------------------------------------------------------------------------


def _read(mapping: Mapping[str, Any] | str | os.PathLike[str]) -> dict[str, Array]:
    """Arrays by name, as float64 in C order, those that say nothing left out."""
    if isinstance(mapping, str | os.PathLike):
        mapping = _of_file(mapping)
    if not isinstance(mapping, Mapping):
        raise wrong_type("mapping", "arrays by name, or the path of an .npz or .safetensors file", mapping)
    arrays: dict[str, Array] = {}
    for name, value in _leaves("", mapping):
        if name.rpartition(".")[2].rpartition("/")[2] in _IGNORED:
            continue
        found = np.asarray(value)
        if found.dtype.kind not in "iuf":
            raise TypeError(f"mapping[{shown(name)}] must be an array of real numbers, got dtype {found.dtype}")
        # Contiguous: a transposed view is saved wrongly, and silently, by some libraries.
        arrays[name] = np.array(found, np.float64, order="C")
    if (broken := NonFinite.of({name: arrays[name] for name in sorted(arrays, key=_numbers)})) is not None:
        raise broken
    return arrays


def _leaves(prefix: str, mapping: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in mapping.items():
        if not isinstance(name, str):
            raise TypeError(f"mapping must have names that are strings, got {shown(name)} ({type(name).__name__})")
        if isinstance(value, Mapping):
            yield from _leaves(f"{prefix}{name}/", value)
        else:
            yield f"{prefix}{name}", value


def _of_file(file: str | os.PathLike[str]) -> Mapping[str, Any]:
    place = path("mapping", file)
    if place.suffix == ".npz":
        with _whole(place), place.open("rb") as held, np.load(held, allow_pickle=False) as loaded:
            return dict(loaded)
    if place.suffix == ".safetensors":
        try:
            from safetensors import SafetensorError
            from safetensors.numpy import load_file
        except ImportError:
            raise ImportError("reading .safetensors needs safetensors: pip install safetensors") from None
        with _whole(place, SafetensorError):
            return dict(load_file(place))
    raise ValueError(f"mapping must be the path of an .npz or .safetensors file, got {shown(str(place))}")


@contextmanager
def _whole(place: Path, error: type[Exception] = ValueError) -> Iterator[None]:
    """Say of a file that cannot be read, which a library may say by an error of its own, that it is not whole."""
    try:
        yield
    except (EOFError, LookupError, TypeError, ValueError, zipfile.BadZipFile, zlib.error, error) as found:
        words = (
            f"{shown(str(place))} is no {place.suffix} file of arrays, or is not whole: {printable(str(found), 240)}"
        )
        raise ValueError(words) from found


def _numbers(name: str) -> list[Any]:
    """A key that sorts 10 after 9."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]


# --- Groups --------------------------------------------------------------------------------------


@dataclass(eq=False)
class _Group:
    """The tensors of one module."""

    name: str
    roles: dict[str, Array] = field(default_factory=dict)
    turned: bool = False

    @property
    def is_map(self) -> bool:
        return "weight" in self.roles and self.roles["weight"].ndim == 2

    @property
    def weight(self) -> Array:
        """`(out, in)`."""
        weight = self.roles["weight"]
        return np.ascontiguousarray(weight.T) if self.turned else weight

    @property
    def bias(self) -> Array | None:
        bias = self.roles.get("bias")
        return None if bias is None else bias.reshape(-1)


def _groups(arrays: Mapping[str, Array]) -> list[_Group]:
    """The modules of a net, in the order of the mapping."""
    groups: dict[str, _Group] = {}
    for name, found in arrays.items():
        module, role = _role(name, found)
        group = groups.setdefault(module, _Group(module))
        if role in group.roles:
            raise Refusal(module, name, f"two tensors say that they are its {role}", NEAREST)
        group.roles[role] = found
    for group in groups.values():
        if "weight" not in group.roles and set(group.roles) & {"bias", "mean", "variance"}:
            if set(group.roles) == {"bias"} or "mean" not in group.roles:
                raise Refusal(group.name, next(iter(group.roles)), "it has no weight beside it", NEAREST)
            group.roles["weight"] = np.ones_like(group.roles["mean"])
    if not any(group.is_map for group in groups.values()):
        raise Refusal("", "mapping", "no array in it is a matrix, and so none is a map", NEAREST)
    return list(groups.values())


def _role(name: str, found: Array) -> tuple[str, str]:
    """The module that a tensor is of, and what it is there: by the last word of its name, else by its axes."""
    parts = re.split(r"[./]", name)
    last = re.sub(r":\d+$", "", parts[-1])
    word = re.fullmatch(r"(?i)([a-z_]*?)_?(\d*)_?", last)
    known_word = word.group(1).lower().strip("_") if word else last.lower()
    role = _ROLES.get(last.lower()) or _ROLES.get(known_word)
    shape = tuple(size for size in found.shape if size != 1) if found.ndim > 2 else found.shape
    if len(shape) > 2 or found.ndim == 0 or not found.size:
        raise Refusal(
            name, "array", f"its shape {found.shape} is neither that of a map nor of one number a feature", NEAREST
        )
    if role is None:
        role = "weight" if found.ndim == 2 else "bias"
    if role == "bias" and found.ndim == 2 and 1 not in found.shape:
        role = "weight"
    if known_word not in _ROLES:  # the name of the module itself, such as `head`
        return ".".join([*parts[:-1], last]), role
    number = word.group(2) if word else ""  # `W1` and `b1` are of module 1
    return ".".join([*parts[:-1], *([number] if number else [])]), role


def _orders(groups: list[_Group]) -> list[list[_Group]]:
    """The orders in which modules may follow: by number, and as given where names differ in more than that."""
    by_number = sorted(groups, key=lambda group: _numbers(group.name))
    skeletons = {re.sub(r"\d+", "#", group.name) for group in groups}
    # With numbers alone the given order is second best, as of a file that sorts 10 before 9.
    return [by_number] if len(skeletons) == 1 or by_number == groups else [by_number, groups]


def _laid_out(groups: list[_Group], layout: str | None, activations: Sequence[str]) -> tuple[str, list[_Group]]:
    """The groups in the order and the layout in which their shapes make a chain."""
    orders = _orders(groups)
    fitting = [
        (each, order)
        for order in orders
        for each in LAYOUTS
        if layout in {None, each} and _chains(order, each, activations)
    ]
    if not fitting:
        shapes = ", ".join(f"{group.name or 'weight'} {group.roles['weight'].shape}" for group in orders[0])
        said = "no layout" if layout is None else f"layout={layout!r}"
        raise Refusal("", "mapping", f"its shapes make no chain with {said}: {shapes[:300]}", NEAREST)
    _refuse_two([each for each, _ in fitting], [order for _, order in fitting])
    ((found, order),) = fitting
    for group in order:
        group.turned = group.is_map and found == "keras"
    return found, order


def _refuse_two(layouts: Sequence[str], orders: Sequence[list[_Group]]) -> None:
    """Refuse what fits in both layouts, or in two orders."""
    if len(set(layouts)) == 2:
        raise Refusal(
            "",
            "mapping",
            "its shapes fit both as (out, in) and as (in, out)",
            "say layout='torch' for (out, in), layout='keras' for (in, out)",
        )
    if len(orders) == 2:
        names = (", ".join(group.name for group in order)[:150] for order in orders)
        raise Refusal(
            "",
            "mapping",
            f"its shapes fit in two orders: {' and '.join(names)}",
            "name the modules by their place, as in '0.weight', '1.weight'; " + NEAREST,
        )


def _chains(groups: Sequence[_Group], layout: str, activations: Sequence[str]) -> bool:
    """Does each map read what the one before it gives, and has each vector the length of that?"""
    features: float | None = None
    # Of gates a half, of pairs of opposite sign two; nothing is activated before the first map.
    factors = iter([1.0, *map(_core.activation_outputs, activations)])
    for group in groups:
        weight = group.roles["weight"]
        if group.is_map:
            fan_out, fan_in = weight.shape if layout == "torch" else weight.shape[::-1]
            factor = next(factors)
            if features is not None and features * factor != fan_in:
                return False
            features = fan_out
        elif features is None:  # before the first map, whose features it says
            features = weight.size
        if any(vector.size != features for role, vector in group.roles.items() if role != "weight" or not group.is_map):
            return False
    return True


def _activations(activation: str | Sequence[str] | None, count: int) -> list[str]:
    """One activation a hidden layer."""
    if count == 0:
        return []
    if activation is None:
        raise ValueError(
            f"activation must say what stands between the {count + 1} maps, such as 'relu', or list one a hidden "
            "layer: arrays do not have it"
        )
    if isinstance(activation, str):
        return [str(Activation(activation))] * count
    given = items("activation", activation, f"one activation, or a list of {count}, one a hidden layer")
    if len(given) != count:
        raise ValueError(
            f"activation must be one activation, or a list of {count}, one a hidden layer, got {len(given)}"
        )
    return [str(Activation(each)) for each in given]


#: Arrays do not have the eps of a norm: this is what most libraries take.
EPS = 1e-5


def _add_norm(chain: Chain, group: _Group) -> None:
    weight, bias = group.weight.reshape(-1), group.bias
    kind = "batch" if "mean" in group.roles else "rms" if bias is None else "layer"
    chain.norm(group.name, kind, EPS, weight, bias)


def _notes(groups: Sequence[_Group], layout: str) -> list[str]:
    notes = [f"weights were read as {'(out, in)' if layout == 'torch' else '(in, out)'}, layout={layout!r}"]
    if norms := [group.name for group in groups if not group.is_map]:
        notes.append(
            f"a norm is taken to stand right behind the map before it, with eps=1e-05, which arrays do not have: "
            f"{', '.join(norms)[:200]}"
        )
    if any("mean" in group.roles for group in groups):
        notes.append(RUNNING)
    return notes


# --- Into a spec ---------------------------------------------------------------------------------


def _filled(spec: Spec, arrays: dict[str, Array], layout: str | None) -> Imported:
    """A spec with arrays for its tensors: by name, or in order."""
    names = [name for name, *_ in _core.tensors(spec)]
    if set(names) == set(arrays):
        return Imported(Network.from_state_dict(spec, arrays))
    groups = _groups(arrays)
    count = sum(
        bool(re.fullmatch(r"(layers|projections|gates)\.\d+\.weight|readout\.weight|inputs\.weight", name))
        for name in names
    )
    maps = sum(group.is_map for group in groups)
    if maps != count:
        raise Refusal(
            "", "mapping", f"it has {maps} maps, and the spec has {count}", "vg.MLP(...).state_dict() names them"
        )
    fitting: list[tuple[str, list[_Group], dict[str, Array]]] = []
    reason = ""
    for order in _orders(groups):
        for each in LAYOUTS if layout is None else (layout,):
            try:
                state = _in_order(names, order, each)
                Network.from_state_dict(spec, state)
            except ValueError as error:
                reason = reason or str(error)
                continue
            if not any(_same(state, other) for *_, other in fitting):
                fitting.append((each, order, state))
    if not fitting:
        hint = "give the keys of spec.init().state_dict()"
        raise Refusal("", "mapping", f"its arrays do not fit the spec in order ({reason})", hint)
    _refuse_two([each for each, *_ in fitting], [order for _, order, _ in fitting])
    ((layout, _, state),) = fitting
    notes = [f"arrays were put into the spec in order, layout={layout!r}"]
    if any("mean" in group.roles for group in groups):
        notes.append(RUNNING)
    return Imported(Network.from_state_dict(spec, state), tuple(notes))


def _same(one: Mapping[str, Array], other: Mapping[str, Array]) -> bool:
    return all(one[name] is other[name] or np.array_equal(one[name], other[name]) for name in one)


def _in_order(names: Sequence[str], groups: Sequence[_Group], layout: str) -> dict[str, Array]:
    """Tensors of a spec from modules in order: maps for maps, norms for norms, slopes for slopes."""
    maps = [group for group in groups if group.is_map]
    slopes = [
        group for group in groups if not group.is_map and set(group.roles) == {"weight"} and group.weight.size == 1
    ]
    norms = [group for group in groups if not group.is_map and group not in slopes]
    state: dict[str, Array] = {}
    queues = {"layers": maps, "readout": maps, "projections": maps, "gates": maps, "inputs": maps}
    queues |= {"norms": norms, "final_norm": norms, "activations": slopes, "skips": slopes}
    taken: dict[str, _Group] = {}
    for name in names:
        module, role = name.rpartition(".")[::2]
        if module not in taken:
            queue = queues[module.partition(".")[0]]
            if not queue:
                raise ValueError(f"nothing is left for {name}")
            taken[module] = queue.pop(0)
        group = taken[module]
        if role == "weight":
            state[name] = (
                np.ascontiguousarray(group.roles["weight"].T)
                if group.is_map and layout == "keras"
                else group.roles["weight"]
            )
        elif group.bias is None:
            raise ValueError(f"nothing is there for {name}; a spec says bias=False where there are no biases")
        else:
            state[name] = group.bias
        if not group.is_map:
            state[name] = state[name].reshape(-1)
    unused = [group.name for group in groups if group not in taken.values()]
    if unused:
        raise ValueError(f"the spec has no place for {', '.join(unused)[:200]}")
    unread = [
        group.name for group in taken.values() if group.bias is not None and f"{_of(taken, group)}.bias" not in state
    ]
    if unread:
        raise ValueError(f"the spec has no bias for {', '.join(unread)[:200]}")
    return state


def _of(taken: Mapping[str, _Group], group: _Group) -> str:
    return next(module for module, each in taken.items() if each is group)
