"""From a flat list of parts to specs that may say them, each with its numbers, the plainest first.

A candidate is no promise: `proof.py` decides. So what is read here may be bold where two readings are possible.
"""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from vgcore import _core
from vgcore.convert.imported import WATCH, Refusal
from vgcore.convert.parts import Bend, DropPart, Flat, Join, Keep, MapPart, NormPart, Part
from vgcore.convert.tape import Array
from vgcore.model.mlp import MLP
from vgcore.model.network import Network
from vgcore.model.sequential import Sequential

T = TypeVar("T")
P = TypeVar("P", bound=Part)


def networks(flat: Flat) -> Iterator[Network]:
    """The nets that may be what a list of parts is: an `MLP`, if it is regular, then a `Sequential`."""
    for fields, tensors in _mlps(flat):
        if (network := _filled(MLP, fields, tensors)) is not None:
            yield network
    _refuse_sharing(flat)
    yield _sequential(flat)


def _filled(kind: Any, fields: dict[str, Any], tensors: dict[str, list[Array]]) -> Network | None:
    """The net of these fields with these numbers, if there is one: tensors of a module in the order of the net."""
    try:
        spec = kind(**fields)
    except ValueError:
        return None
    return _with_numbers(spec, tensors)


def _with_numbers(spec: Any, tensors: dict[str, list[Array]]) -> Network | None:
    state, rest = {}, {name: list(arrays) for name, arrays in tensors.items()}
    for name, *_ in _core.tensors(spec):
        module = re.sub(r"(\.\d+)+\.", ".", name)
        if module.startswith("final_norm") and module not in rest:
            module = module.replace("final_norm", "norms")  # of a list of parts, whose last norms are these
        if not rest.get(module):
            return None
        state[name] = rest[module].pop(0)
    if any(rest.values()):
        return None
    try:
        return Network.from_state_dict(spec, state)
    except ValueError:
        return None


# --- MLP -----------------------------------------------------------------------------------------


@dataclass(eq=False)
class _Layer:
    """A hidden layer with what stands around its map."""

    map: MapPart
    norm: NormPart | None = None
    position: str = ""
    bend: Bend | None = None
    drop: float = 0.0
    join: Join | None = None
    post: bool = False  # the sum stands before the activation
    keep: Keep | None = None

    @property
    def parts(self) -> list[Part]:
        """What may learn."""
        found = (self.map, self.norm, self.bend if self.bend and self.bend.keys else None, self.join)
        return [part for part in found if part is not None]


#: What may stand between two maps, in this order. Of the layer that ends: a norm before the activation, a sum before
#: it, the activation, a norm behind it, dropout, a sum. Of the one that begins: a way around that begins, its own norm.
_GAPS = {
    "": re.compile(r"^()(J?)(A?)()(D?)(J?)(K?)()$"),
    "pre": re.compile(r"^(N?)(J?)(A?)()(D?)(J?)(K?)()$"),
    "post": re.compile(r"^()(J?)(A?)(N?)(D?)(J?)(K?)()$"),
    "input": re.compile(r"^()(J?)(A?)()(D?)(J?)(K?)(N?)$"),
    "mixed": re.compile(r"^(N?)(J?)(A?)(N?)(D?)(J?)(K?)(N?)$"),
}
#: The same where activations come before their maps. Of the layer that ends: dropout, a sum. Of the one that begins: a
#: way around that begins, a norm, the activation, a norm.
_BEFORE = re.compile(r"^(D?)(J?)(K?)(N?)(A?)(N?)$")


def _letters(parts: Sequence[Part]) -> str:
    letters = {NormPart: "N", Bend: "A", DropPart: "D", Join: "J", Keep: "K"}
    return "".join(letters[type(part)] for part in parts)


def _mlps(flat: Flat) -> Iterator[tuple[dict[str, Any], dict[str, list[Array]]]]:
    """Fields and numbers of the MLPs that may be the net."""
    gaps: list[list[Part]] = [[]]
    maps: list[MapPart] = []
    for part in flat.parts:
        if isinstance(part, MapPart):
            maps.append(part)
            gaps.append([])
        else:
            gaps[-1].append(part)
    joins = [part for part in flat.parts if isinstance(part, Join)]
    if any(join.way == "project" for join in joins) or len({join.way for join in joins}) > 1:
        return
    readout = maps[-1] if len(maps) > 1 and not gaps[-1] else None
    hidden = maps if readout is None else maps[:-1]
    gaps = gaps[: len(hidden) + 1]
    has_norms = any(isinstance(part, NormPart) for part in flat.parts)
    last = gaps[-1][-1] if gaps[-1] else None
    final = last if isinstance(last, NormPart) else None
    shorter = [*gaps[:-1], gaps[-1][:-1]]
    endings = [(gaps, None), (shorter, final)] if final else [(gaps, None)]
    for position in ("pre", "post", "input", "mixed") if has_norms else ("",):
        for around, norm in endings:
            if (read := _layers(hidden, around, position)) is not None:
                yield from _said(flat, read, readout, norm)
    if joins and joins[0].way in {"add", "rezero"}:
        around, norm = endings[-1]
        for position in ("pre", "post") if has_norms else ("",):
            if (read := _layers_before(hidden, around, position)) is not None:
                yield from _said(flat, read, readout, norm, before=True)


def _layers(maps: list[MapPart], gaps: list[list[Part]], position: str) -> list[_Layer] | None:
    """The layers where an activation follows its map."""
    layers = [_Layer(each) for each in maps]
    for i, gap in enumerate(gaps):
        slots = _slots(_GAPS[position], gap)
        if slots is None:
            return None
        before, behind, own = (_as(NormPart, slots[i]) for i in (0, 3, 7))
        sums = [_as(Join, slots[i]) for i in (1, 5)]
        bend, drop, keep = _as(Bend, slots[2]), _as(DropPart, slots[4]), _as(Keep, slots[6])
        if i == 0:
            if any(slots[:6]):
                return None
        else:
            layer = layers[i - 1]
            norms = [(layer.norm, layer.position), (before, "pre"), (behind, "post")]
            found = [(norm, where) for norm, where in norms if norm is not None]
            if len(found) > 1 or all(sums):
                return None
            if found:
                layer.norm, layer.position = found[0]
            layer.bend, layer.join = bend, sums[0] or sums[1]
            layer.drop = drop.p if drop else 0.0
            layer.post = sums[0] is not None and bend is not None
        if i < len(layers):
            layers[i].keep = keep
            if own is not None:
                layers[i].norm, layers[i].position = own, "input"
        elif keep or own:
            return None
    return layers


def _layers_before(maps: list[MapPart], gaps: list[list[Part]], position: str) -> list[_Layer] | None:
    """The layers where an activation stands before its map, within the blocks; those of a stem are as ever."""
    first = next((i for i, gap in enumerate(gaps) if any(isinstance(part, Keep) for part in gap)), 0)
    start = next(i for i, part in enumerate(gaps[first]) if isinstance(part, Keep))
    stem = [*gaps[:first], gaps[first][:start]]
    layers = _layers(maps[:first], stem, position) if first else []
    if layers is None or (not first and start):
        return None
    rest = [gaps[first][start:], *gaps[first + 1 :]]
    layers += [_Layer(each) for each in maps[first:]]
    for i, gap in enumerate(rest, start=first):
        slots = _slots(_BEFORE, gap)
        if slots is None:
            return None
        drop, join, keep = _as(DropPart, slots[0]), _as(Join, slots[1]), _as(Keep, slots[2])
        before, bend, behind = _as(NormPart, slots[3]), _as(Bend, slots[4]), _as(NormPart, slots[5])
        if i > first:
            layers[i - 1].drop, layers[i - 1].join = (drop.p if drop else 0.0), join
        elif drop or join:
            return None
        if i == len(layers):
            if any(slots[2:]):
                return None
            continue
        if before and behind:
            return None
        layers[i].keep, layers[i].bend, layers[i].norm = keep, bend, before or behind
        layers[i].position = "pre" if before else "post" if behind else ""
    return layers


def _slots(pattern: re.Pattern[str], gap: Sequence[Part]) -> list[Part | None] | None:
    """The parts of a gap, each in its place; None if they do not stand so."""
    match = pattern.match(_letters(gap))
    if match is None:
        return None
    at = iter(gap)
    return [next(at) if group else None for group in match.groups()]


def _as(kind: type[P], part: Part | None) -> P | None:
    """A part, which the pattern says is of a kind."""
    return part if isinstance(part, kind) else None


def _said(
    flat: Flat, layers: list[_Layer], readout: MapPart | None, final: NormPart | None, *, before: bool = False
) -> Iterator[tuple[dict[str, Any], dict[str, list[Array]]]]:
    """The fields and numbers of layers, if their ways around are those of equal blocks one after the other."""
    depth = len(layers)
    starts = {layer.keep.label: i for i, layer in enumerate(layers) if layer.keep}
    spans = [(starts[layer.join.label], i) for i, layer in enumerate(layers) if layer.join]
    stem, block = (spans[0][0], spans[0][1] - spans[0][0] + 1) if spans else (0, 1)
    if spans and spans != [(start, start + block - 1) for start in range(stem, depth, block)]:
        return
    fields: dict[str, Any] = {
        "depth": depth,
        "in_features": flat.in_features,
        "out_features": None if readout is None else len(readout.weight),
        "width": _field([len(layer.map.weight) for layer in layers], stem, block),
    }
    bends = [layer.bend.text if layer.bend else "linear" for layer in layers]
    joins = [layer.join for layer in layers if layer.join]
    if joins:
        if len({join.scale for join in joins}) > 1:
            return
        ends = [layers[end] for _, end in spans]
        if len({end.post for end in ends}) > 1:
            return
        order = "pre" if before else "post" if ends[0].post else "after"
        way = {"add": "residual", "rezero": "rezero", "highway": "highway", "concat": "dense"}[joins[0].way]
        if way in {"residual", "rezero"}:
            fields["branch_scale"] = joins[0].scale
            if not before and all(end.bend is None for end in ends):
                order = "linear"
                for _, end in spans:  # which is not read
                    bends[end] = next((bend for bend in bends[stem:] if bend != "linear"), "linear")
        elif order != "after":
            return
        fields["skip"] = way if order == "after" else f"{way}(order={order})"
        fields["block"] = block
        if stem:
            fields["stem"] = stem
    fields["activation"] = _field(bends, stem, block)
    norms = [layer.norm.text if layer.norm else None for layer in layers]
    if any(norms):
        fields["norm"] = _field(norms, stem, block)
        positions = [layer.position for layer in layers]
        common = {position for position in positions if position}
        fields["norm_position"] = (
            common.pop() if len(common) == 1 else _field([position or "pre" for position in positions], stem, block)
        )
    drops = [layer.drop for layer in layers]
    if any(drops):
        fields["dropout"] = _field(drops, stem, block)
    if final is not None:
        fields["final_norm"] = final.text
    biases = [each.bias is not None for each in [*(layer.map for layer in layers), *([readout] if readout else [])]]
    if not any(biases):
        fields["bias"] = False
    elif not all(biases):
        fields["bias"] = [None if each else False for each in biases]
    if depth > 1 and _are_one(layers):
        fields["tied"] = True
        if isinstance(fields["width"], list) or _shared([layers[0].parts, [readout, final]]):
            return
    elif _shared([*(layer.parts for layer in layers), [readout, final]]):
        return
    yield fields, _tensors(layers[:1] if fields.get("tied") else layers, readout, final)


def _field(values: list[T], stem: int, block: int) -> T | list[T]:
    """Values of layers as a field: one for all, or those of the stem and of one block, or one a layer."""
    if all(value == values[0] for value in values):
        return values[0]
    pattern = values[: stem + block]
    repeated = pattern[:stem] + pattern[stem:] * ((len(values) - stem) // block)
    return pattern if (stem or block > 1) and repeated == values else values


def _are_one(layers: list[_Layer]) -> bool:
    """Whether layers share all that they learn, and share it within no layer."""
    first = layers[0].parts
    return all(
        len(layer.parts) == len(first) and all(itertools.starmap(_equal, zip(layer.parts, first, strict=True)))
        for layer in layers[1:]
    )


def _equal(one: Part, other: Part) -> bool:
    """Whether two parts share their parameters, and their numbers are the same still: no factor went into one."""
    if one.keys != other.keys or type(one) is not type(other) or (isinstance(one, MapPart) and not one.keys):
        return False
    numbers = ((getattr(one, name, None), getattr(other, name, None)) for name in ("weight", "bias", "slope", "alpha"))
    return all(a is b or (a is not None and b is not None and np.array_equal(a, b)) for a, b in numbers)


def _shared(groups: Iterable[Iterable[Part | None]]) -> tuple[Part, Part] | None:
    """Two parts that share a parameter, if there are any."""
    seen: dict[str, Part] = {}
    for part in itertools.chain.from_iterable(groups):
        if part is None:
            continue
        for key in part.keys:
            if key in seen:
                return seen[key], part
            seen[key] = part
    return None


def _tensors(layers: list[_Layer], readout: MapPart | None, final: NormPart | None) -> dict[str, list[Array]]:
    found: dict[str, list[Array]] = defaultdict(list)
    for layer in layers:
        _add_map(found, "layers", layer.map)
        if layer.norm:
            _add_norm(found, "norms", layer.norm)
        if layer.bend and layer.bend.slope is not None:
            found["activations.weight"].append(np.array([layer.bend.slope]))
        _add_join(found, layer.join)
    if final is not None:
        _add_norm(found, "final_norm", final)
    if readout is not None:
        _add_map(found, "readout", readout)
    return found


def _add_map(found: dict[str, list[Array]], module: str, part: MapPart) -> None:
    found[f"{module}.weight"].append(part.weight)
    if part.bias is not None:
        found[f"{module}.bias"].append(part.bias)


def _add_norm(found: dict[str, list[Array]], module: str, part: NormPart) -> None:
    found[f"{module}.weight"].append(part.weight)
    if not part.text.startswith("rms"):
        found[f"{module}.bias"].append(part.bias)


def _add_join(found: dict[str, list[Array]], join: Join | None) -> None:
    if join is not None and join.way == "rezero":
        found["skips.weight"].append(np.array([join.alpha]))
    if join is not None and join.map is not None:
        gate = join.map
        _add_map(found, "gates", gate if gate.bias is not None else replace(gate, bias=np.zeros(len(gate.weight))))


# --- Sequential ----------------------------------------------------------------------------------


def _refuse_sharing(flat: Flat) -> None:
    """Refuse parameters that are used more than once, which a straight list of parts cannot say."""
    if (pair := _shared([flat.parts])) is not None:
        one, other = pair
        raise Refusal(
            other.path,
            other.name,
            f"it shares its {_parameters(other)} with {one.path or one.name or 'another part'}, and not all layers do",
            f"vg.MLP(tied=True) has one set of parameters for all hidden layers; {WATCH}",
        )


def _parameters(part: Part) -> str:
    return {Bend: "slope", Join: "factor or map"}.get(type(part), "weights")


def _sequential(flat: Flat) -> Network:
    """The parts one after the other, as they are."""
    texts: list[str] = []
    biases: list[bool] = []
    tensors: dict[str, list[Array]] = defaultdict(list)
    names: dict[int, int] = {}
    readout = isinstance(flat.parts[-1], MapPart) and sum(isinstance(part, MapPart) for part in flat.parts) > 1
    last_map = max(i for i, part in enumerate(flat.parts) if isinstance(part, MapPart))
    for i, part in enumerate(flat.parts):
        match part:
            case MapPart():
                texts.append(f"linear({len(part.weight)})")
                biases.append(part.bias is not None)
                _add_map(tensors, "readout" if readout and i == last_map else "layers", part)
            case Bend():
                texts.append(part.text)
                if part.slope is not None:
                    tensors["activations.weight"].append(np.array([part.slope]))
            case NormPart():
                texts.append(part.text)
                _add_norm(tensors, "norms", part)
            case DropPart():
                texts.append(f"dropout({part.p!r})")
            case Keep():
                names[part.label] = len(names)
                texts.append(f"keep({names[part.label]})")
            case Join():
                texts.append(_join_text(part, names[part.label]))
                if part.way == "rezero":
                    tensors["skips.weight"].append(np.array([part.scale * part.alpha]))
                if part.map is not None:
                    biases.append(part.map.bias is not None)
                    _add_map(tensors, "projections", part.map)
    bias = None if all(biases) else False if not any(biases) else [None if each else False for each in biases]
    try:
        spec = Sequential(texts, in_features=flat.in_features, bias=bias)
    except ValueError as error:
        raise Refusal("", "the model", f"its parts make no net here ({error})") from None
    network = _with_numbers(spec, tensors)
    if network is None:
        raise Refusal("", "the model", "its numbers do not fit the parts that were read from it")
    return network


def _join_text(join: Join, name: int) -> str:
    scale = "" if join.scale == 1 else f", {join.scale!r}"
    match join.way:
        case "add" | "project":
            return f"{join.way}({name}{scale})"
        case "rezero" | "concat":
            return f"{join.way}({name})"
    raise Refusal(
        join.path,
        join.name,
        "a highway's gate stands in a net whose blocks are not all alike",
        f"vg.MLP(skip='highway') has a gate at the end of every block; {WATCH}",
    )
