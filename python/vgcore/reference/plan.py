"""A spec, layer by layer: the parts of each layer in order, and what each part needs to know of the others.

A layer has one map. What stands behind the last layer, a readout or a normalisation, counts as one more, without a
place in the depth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from vgcore.reference.kind import Kind, features, parse

if TYPE_CHECKING:
    from vgcore.model.mlp import MLP
    from vgcore.model.rnn import RNN
    from vgcore.model.sequential import Sequential
    from vgcore.model.spec import Spec
    from vgcore.model.transformer import Transformer

# In the order of a state dict.
MODULES = ("layers", "norms", "activations", "skips", "gates", "projections", "inputs", "final_norm", "readout")
NORMS = ("batch", "layer", "rms")


class Place(NamedTuple):
    """A linear map's place in a net, and the laws that it is drawn from."""

    fan_in: int
    fan_out: int
    layer: int | None  # 0-based; None for the readout
    activation: str | None  # the one that the map feeds
    blocks: int  # blocks of the net; its depth without a skip
    block: int  # layers of the residual branch that the map is in, 0 outside
    ends_branch: bool
    init: Kind
    bias: str | bool | None  # None for what the init brings, False for none at all
    stream: int  # the number of its random streams
    stands: str = ""  # in a block of a transformer: "qkv", "out", "up" or "down"
    factors: tuple[float, ...] = (1.0,)  # of each block of rows, which is drawn by itself
    cell: Kind = ("", {})  # whose numbers are added to the biases of a gate


class Part(NamedTuple):
    """One part of a layer."""

    name: str  # "map", "norm", "activation", "dropout", "keep", "join", "cell", "cut", "steps", "attention" or "pool"
    kind: str = ""  # of a normalisation, an activation, a cell or a pool; the skip that a join is of
    layer: int = 0  # where it is; of a list of parts, its own number
    inputs: int = 0
    outputs: int = 0
    around: int = 0  # features that went around, of a join
    key: str = ""  # the name of its parameters in a state dict, without ".weight"
    stream: int = 0  # what goes around, of a keep and its joins; of dropout, its random numbers
    number: float = 1.0  # a join's factor of the branch, attention's of the logits; the share that is dropped
    place: Place | None = None  # of the map that the part is or has
    fed: str = ""  # of a map, the name of the map of what a step gets beside its state
    state: int | None = None  # of a map, what goes around by this number is its state; v is what the step gets
    sort: str = ""  # where its parameters are, where the name does not say so
    factor: float = 1.0  # a join's of what went around
    heads: int = 0  # of attention
    tokens: int = 1  # of a sample, for attention and a pool
    causal: bool = False
    eps: float | None = None  # of queries and keys that are normalised

    @property
    def module(self) -> str:
        """Where its parameters are in a state dict."""
        return self.sort or self.key.partition(".")[0]


class Layer(NamedTuple):
    """A layer: its parts in order."""

    parts: tuple[Part, ...]
    input: int  # features of h_l
    output: int  # features of h_{l+1}
    stream: bool = True  # is h_{l+1} the residual stream, where nothing else goes around?

    @property
    def map(self) -> Part:
        """The map."""
        return next(part for part in self.parts if part.name == "map")

    @property
    def kind(self) -> str:
        """The activation; "linear" of a cell, whose slopes are told over the steepest of each gate; else ""."""
        names = {part.name for part in self.parts}
        found = next((part.kind for part in self.parts if part.name == "activation"), "")
        return found or ("linear" if "cell" in names else "")


class Plan(NamedTuple):
    """A spec as a list of layers, and what they share."""

    layers: list[Layer]  # what stands behind the last one, if anything does, counts as one more
    depth: int
    tied: bool = False
    fed: int = 0  # columns of each step's own input; 0 where only the first layer gets any
    transform: str | None = None
    streams: bool = False  # does anything go around?
    tokens: int = 0  # of a sample, each a row; 0 where a sample is a row
    layers_of_step: int = 1  # in a net that is fed
    own: tuple[Part, ...] = ()  # what a recurrent net learns, in the order of a state dict

    @classmethod
    def of(cls, spec: Spec) -> Plan:
        """Spread what a spec says over its layers."""
        if hasattr(spec, "steps"):
            return of_steps(spec)  # type: ignore[arg-type]
        if hasattr(spec, "parts"):
            return of_list(spec)  # type: ignore[arg-type]
        return of_blocks(spec) if hasattr(spec, "heads") else of_fields(spec)  # type: ignore[arg-type]

    def on_stream(self, l: int) -> bool:
        """Has the net a residual stream, and is h_{l+1} on it, rather than within what something goes around?"""
        if self.own:
            return True  # every state of a recurrent net is one
        begun = {part.stream for layer in self.layers[: l + 1] for part in layer.parts if part.name == "keep"}
        for layer in self.layers[l + 1 :]:
            for part in layer.parts:
                if part.name == "keep":
                    begun.discard(part.stream)
                elif part.name == "join" and part.stream in begun:
                    return False
        return self.streams and self.layers[l].stream

    def learners(self) -> list[Part]:
        """The parts that learn, once for each set of parameters, in the order of a state dict."""
        if self.own:
            return list(self.own)
        hidden, ends = self.layers[: self.depth], self.layers[self.depth :]
        found: list[Part] = []
        for layers in [*([hidden] if self.tied else ([layer] for layer in hidden)), ends]:
            parts = {part.key: part for layer in reversed(layers) for part in layer.parts if part.key}
            if self.fed and layers is hidden:
                place = self.layers[0].map.place
                parts["inputs"] = Part("map", key="inputs", place=place and place._replace(fan_in=self.fed, bias=False))
            found += sorted(parts.values(), key=lambda part: MODULES.index(part.module))
        return found

    @property
    def calibrates(self) -> bool:
        """Are weights scaled by what the data make of them?"""
        place = self.layers[0].map.place
        return place is not None and place.init[0] == "lsuv"


def measured(parts: Iterable[Part], slot: int, h: int, around: dict[int, int], *, ends: bool = False) -> Layer:
    """The layer of these parts: what their order makes of h features, and the names of what they learn."""
    count, found = h, list[Part]()
    for part in parts:
        made = count
        if part.name == "map":
            made = part.outputs
        elif part.name == "activation":
            made = features(part.kind, count)
        elif part.name == "keep":
            around[part.stream] = count
        elif part.name == "join" and part.kind == "dense":
            made = around[part.stream] + count
        round_ = around[part.stream] if part.name == "join" else 0
        found.append(part._replace(inputs=count, outputs=made, around=round_))
        count = made
    modules = [module(part, ends=ends) for part in found]
    for i, name in enumerate(modules):
        if name:
            key = name if name in {"readout", "final_norm"} else f"{name}.{slot}"
            key += f".{modules[:i].count(name)}" if modules.count(name) > 1 else ""
            found[i] = found[i]._replace(key=key)
    return Layer(tuple(found), h, count)


def module(part: Part, *, ends: bool) -> str:
    """Where the parameters of a part are in a state dict; "" if it has none."""
    kind = parse(part.kind)[0]
    if part.name == "map":
        return "readout" if ends else "layers"
    if part.name == "norm":
        return "final_norm" if ends else "norms"
    if part.name == "activation":
        return "activations" if kind == "prelu" else ""
    return {"rezero": "skips", "highway": "gates", "project": "projections"}.get(kind, "")


# --- From fields ---------------------------------------------------------------------------------


def of_fields(spec: MLP) -> Plan:
    """The layers of an `MLP`."""
    depth, stem, block = spec.depth, spec.stem, spec.block

    def spread(value: Any) -> list[Any]:
        """A value for every layer, and the readout's: a list may be a pattern, and may end with the readout's."""
        values = list(value) if isinstance(value, tuple) else [value] * depth
        hidden = values[:depth]
        if len(values) < depth:
            hidden = values[:stem] + values[stem : stem + block] * ((depth - stem) // block)
        return [*hidden, values[-1]]

    widths, kinds, norms, positions, shares = (
        spread(value) for value in (spec.width, spec.activation, spec.norm, spec.norm_position, spec.dropout)
    )
    skip, params = parse(str(spec.skip or "none"))
    order = params.get("order", "after")
    scale = spec.branch_scale
    if isinstance(scale, str):  # "1/sqrt(L)", L the number of blocks
        scale = 1 / math.sqrt((depth - stem) // block)

    def parts(l: int, order: str, *, opens: bool = False, ends: bool = False) -> list[Part]:
        """The parts of a layer in order; a way around opens before it and ends behind it, or neither."""
        bare = order == "linear" and ends  # without an activation
        norm, share = norms[l], shares[l]
        before, behind, first = (
            [Part("norm", str(norm), l)] if norm is not None and positions[l] == place else []
            for place in ("pre", "post", "input")
        )
        phi = [Part("activation", "linear" if bare else str(kinds[l]), l)]
        drop = [Part("dropout", "", l, stream=l, number=share)] if share else []
        join = [Part("join", str(spec.skip), l, number=scale)] if ends else []
        linear = [*first, Part("map", "", l, outputs=widths[l])]
        keep = [Part("keep", "", l)] if opens else []
        if order == "pre":
            return [*keep, *before, *phi, *behind, *linear, *drop, *join]
        if order == "post" and ends:
            return [*keep, *linear, *before, *drop, *join, *phi, *behind]
        return [*keep, *linear, *before, *phi, *behind, *drop, *join]

    def chain(start: int, count: int, order: str, *, skips: bool) -> list[Layer]:
        """So many layers, which begin with h features."""
        found, input_, around = list[Layer](), h, dict[int, int]()
        for l in range(start, start + count):
            made = parts(l, order, opens=skips and l == start, ends=skips and l == start + count - 1)
            found.append(measured(made, 0 if spec.tied else l, input_, around))
            input_ = found[-1].output
        return found

    h = spec.in_features or widths[0]
    fed = h if spec.inputs == "every" else 0
    if fed:  # h_0 is zeros, of the size of what a layer gives
        h = widths[0] if order in {"pre", "linear"} else features(str(kinds[0]), widths[0])
    if spec.skip is None:
        layers = chain(0, depth, "after", skips=False)
    else:
        layers = chain(0, stem, "after", skips=False)
        for start in range(stem, depth, block):
            h = layers[-1].output if layers else h
            found = chain(start, block, order, skips=True)
            join = next(part for part in found[-1].parts if part.name == "join")
            if skip != "dense" and join.inputs != h:
                found = chain(start, block, "after", skips=False)  # a first block that changes the number of features
            layers += found
    scaled = skip in {"residual", "rezero"}
    inits, biases = spread(spec.init), spread(spec.bias)

    def place(part: Part) -> Place:
        """Where a map stands, or that of a gate."""
        init, bias = parse(str(inits[part.layer])), bias_of(biases[part.layer])
        blocks = (depth - stem) // block if scaled else depth
        if part.layer == depth:
            return Place(part.inputs, part.outputs, None, None, blocks, 0, False, init, bias, 0)
        l = 0 if spec.tied else part.layer
        end = l - (l - stem) % block + block - 1
        inside = scaled and l >= stem and any(each.name == "join" for each in layers[end].parts)
        fans = part.around or part.inputs, part.outputs
        return Place(*fans, l, layers[l].kind, blocks, block if inside else 0, inside and l == end, init, bias, l)

    last = [Part("norm", str(spec.final_norm), depth)] if spec.final_norm is not None else []
    if spec.out_features is not None:
        last.append(Part("map", "", depth, outputs=spec.out_features))
    if last:
        layers.append(measured(last, depth, layers[-1].output, {}, ends=True))
    layers = [placed(layer, place) for layer in layers]
    return Plan(layers, depth, spec.tied, fed, transform=spec.weight_transform, streams=spec.skip is not None)


def bias_of(given: Any) -> str | bool | None:
    """An init by its text; None and False stay what they are."""
    return given if given is None or given is False else str(given)


def placed(layer: Layer, place: Callable[[Part], Place]) -> Layer:
    """The layer with the places of its maps."""
    drawn = {"layers", "gates", "projections", "readout"}
    parts = (part._replace(place=place(part)) if part.module in drawn else part for part in layer.parts)
    return layer._replace(parts=tuple(parts))


# --- From blocks ---------------------------------------------------------------------------------


def of_blocks(spec: Transformer) -> Plan:
    """The layers of a `Transformer`: four a block, each with one map."""
    d, depth, wide = spec.width, spec.depth, spec.ffn * spec.width
    between = features(str(spec.activation), wide)
    pre = spec.norm_position == "pre"
    inputs = d if spec.in_features is None else spec.in_features
    embeds = inputs != d
    rows, branches = 4 * depth + embeds, 2 * depth
    init, bias = parse(str(spec.init)), bias_of(spec.bias)
    layers: list[Layer] = []

    def linear(key: str, fan_in: int, fan_out: int, stands: str, **more: Any) -> Part:
        """A map of a layer, or the readout."""
        layer = None if key == "readout" else len(layers)
        alike = init[0] == "torch_encoder" and stands
        stream = layer if layer is None or not alike else embeds + (layer - embeds) % 4
        inside = spec.skip is not None and bool(stands)
        place = Place(
            fan_in,
            fan_out,
            layer,
            None if layer is None else str(spec.activation) if stands == "up" else "linear",
            branches,
            2 if inside else 0,
            inside and stands in {"out", "down"},
            init,
            bias,
            stream or 0,
            stands,
            # Values are smaller by the beta of DeepNorm.
            (1.0, 1.0, (4 * branches) ** -0.25 if init[0] == "deepnorm" else 1.0) if stands == "qkv" else (1.0,),
        )
        return Part("map", "", inputs=fan_in, outputs=fan_out, key=key, place=place, **more)

    def norm(key: str, sort: str, kind: Any) -> list[Part]:
        return [] if kind is None else [Part("norm", str(kind), inputs=d, outputs=d, key=key, sort=sort)]

    if embeds:
        layers.append(Layer((linear("embedding", inputs, d, "", sort="layers"),), inputs, d))
    for b in range(depth):
        at = f"layers.{b}"
        each = d // spec.heads
        attention = Part(
            "attention",
            inputs=3 * d,
            outputs=d,
            number=1 / each if spec.scale == "mup" else 1 / math.sqrt(each),
            heads=spec.heads,
            tokens=spec.tokens,
            causal=spec.causal,
            eps=1e-6 if spec.qk_norm else None,
        )
        learned = parse(str(spec.activation))[0] == "prelu"
        slope = f"{at}.activation" if learned else ""
        phi = Part("activation", str(spec.activation), inputs=wide, outputs=between, key=slope, sort="activations")
        halves = (
            ("self_attn.in_proj", (d, 3 * d, "qkv"), attention, "self_attn.out_proj", (d, d, "out")),
            ("linear1", (d, wide, "up"), phi, "linear2", (between, d, "down")),
        )
        for i, (first, one, middle, last, two) in enumerate(halves, 1):
            normed = norm(f"{at}.norm{i}", "norms", spec.norm)
            keep = [Part("keep", inputs=d, outputs=d)] if spec.skip else []
            opening = [*keep, *(normed if pre else []), linear(f"{at}.{first}", *one), middle]
            layers.append(Layer(tuple(opening), d, middle.outputs, stream=False))
            closing = [linear(f"{at}.{last}", *two)]
            if spec.skip:
                rezero = f"{at}.alpha{i}" if spec.skip == "rezero" else ""
                factor = (2 * depth) ** 0.25 if spec.skip == "deepnorm" else 1.0
                kind = "rezero" if rezero else "residual"
                closing.append(
                    Part("join", kind, inputs=d, outputs=d, around=d, factor=factor, key=rezero, sort="skips")
                )
            layers.append(Layer((*closing, *([] if pre else normed)), middle.outputs, d))
    final = (spec.norm if pre else None) if spec.final_norm == "auto" else spec.final_norm
    ends = norm("final_norm", "", final)
    if spec.pool:
        ends.append(Part("pool", spec.pool, inputs=d, outputs=d, tokens=spec.tokens))
    if spec.out_features is not None:
        ends.append(linear("readout", d, spec.out_features, ""))
    if ends:
        layers.append(Layer(tuple(ends), d, ends[-1].outputs))
    return Plan(layers, rows, streams=True, tokens=spec.tokens)


# --- From a list of parts ------------------------------------------------------------------------

JOINS = {"add": "residual", "rezero": "rezero", "concat": "dense", "project": "project"}


def of_list(spec: Sequential) -> Plan:
    """The layers of a `Sequential`."""
    items = [item(i, text) for i, text in enumerate(spec.parts)]
    linears = [i for i, part in enumerate(items) if part.name == "map"]
    readout = items[-1].name == "map" and len(linears) > 1
    depth = len(linears) - readout
    layers, h, around = list[Layer](), spec.in_features, dict[int, int]()
    for l, parts in enumerate(groups(items, linears, readout=readout)):
        made = [part for part in parts if part.name != "dropout" or part.number]
        if l < depth and not any(part.name == "activation" for part in made):
            # A linear one, behind the normalisation of the map.
            at = next(i for i, part in enumerate(made) if part.name == "map") + 1
            at += next((i for i, part in enumerate(made[at:]) if part.name != "norm"), len(made) - at)
            made.insert(at, Part("activation", "linear"))
        layers.append(measured(made, l, h, around, ends=l >= depth))
        h = layers[-1].output

    # Branches from where they begin to where they are added; what is joined side by side is none.
    begins = {part.stream: i for i, part in enumerate(items) if part.name == "keep"}
    sums = [
        range(begins[part.stream], i) for i, part in enumerate(items) if part.name == "join" and part.kind != "dense"
    ]
    maps = [i for i, part in enumerate(items) if part.name == "map" or part.kind == "project"]
    inits, biases = ((v if isinstance(v, tuple) else (v,) * len(maps)) for v in (spec.init, spec.bias))

    def place(part: Part) -> Place:
        """Where a map stands, or that of what goes around."""
        i, number = part.layer, maps.index(part.layer)
        init, bias = parse(str(inits[number])), bias_of(biases[number])
        blocks = len(sums) or depth
        if part.name == "join":
            l = max(sum(at < i for at in linears[:depth]), 1) - 1
            return Place(part.around, part.inputs, l, "linear", blocks, 0, False, init, bias, i)
        within = min((span for span in sums if i in span), key=len, default=range(0))
        branch = [at for at in linears if at in within]
        shape = blocks, len(branch), branch[-1:] == [i], init, bias
        if part.module == "readout":
            return Place(part.inputs, part.outputs, None, None, *shape, 0)
        l = linears.index(i)
        return Place(part.inputs, part.outputs, l, layers[l].kind, *shape, l)

    streams = any(part.name == "join" for part in items)
    return Plan([placed(layer, place) for layer in layers], depth, streams=streams)


def item(i: int, text: str) -> Part:
    """Part number i, as the spec spells it."""
    name, _, inside = text.rstrip(")").partition("(")
    values = inside.split(", ")
    if name == "linear" and inside:
        return Part("map", "", i, outputs=int(inside))
    if name == "dropout":
        return Part("dropout", "", i, stream=i, number=float(inside))
    if name == "keep":
        return Part("keep", "", i, stream=int(inside))
    if name in JOINS:
        return Part("join", JOINS[name], i, stream=int(values[0]), number=float([*values, "1"][1]))
    return Part("norm" if name in NORMS else "activation", text, i)


def groups(items: list[Part], linears: list[int], *, readout: bool) -> list[list[Part]]:
    """The parts of each layer.

    What stands between two maps belongs to the first of them up to a way around that begins, or a second activation
    with the normalisations before it. Before the readout or the end such a cut is behind the last join, and the first
    normalisation of what has been joined is one too.
    """
    cuts = [0]
    for n, at in enumerate(linears):
        end = linears[n + 1] if n + 1 < len(linears) else len(items)
        last = n >= len(linears) - 1 - readout
        joins = [i for i in range(at + 1, end) if last and items[i].name == "join"]
        start = (joins[-1] if joins else at) + 1
        active = any(part.name == "activation" for part in items[cuts[-1] : start])
        cut, norms = end, 0
        for i in range(start, end):
            name = items[i].name
            if name == "keep" or (name == "activation" and active):
                cut = i - (norms if name == "activation" else 0)
                break
            active = active or name == "activation"
            norms = norms + 1 if name == "norm" else 0
        else:
            if joins:
                cut = next((i for i in range(start, end) if items[i].name == "norm"), end)
        cuts.append(cut)
    return [items[a:b] for a, b in zip(cuts, [*cuts[1:], len(items)], strict=True) if a < b]


# --- Step by step --------------------------------------------------------------------------------

GATES = {"lstm": 4, "gru": 3}


def of_steps(spec: RNN) -> Plan:
    """The layers of an `RNN`: a layer at a step is one, in the order of time.

    With several layers v is what the layer below gives, and each state goes around: h_l by the number 2 l, an LSTM's c
    by the number 2 l + 1. What the readout of every step gets goes around by numbers behind those.
    """
    kind, n, count = parse(str(spec.cell))[0], spec.width, spec.layers
    gates, deep = GATES.get(kind, 1), spec.layers > 1
    phi = "relu" if kind in {"relu", "irnn"} else "tanh"

    def parts(t: int, l: int) -> list[Part]:
        found = [Part("keep", stream=s) for s in range(2 * count)] if t == l == 0 else []
        if spec.truncate and t and l == 0 and t % spec.truncate == 0:
            found.append(Part("cut", stream=2 * count))
        if kind == "gru" and not deep:
            found.append(Part("keep"))  # its state, which it reads twice
        found.append(Part("map", kind, t, key=f"layers.{l}", fed=f"inputs.{l}", state=2 * l if deep else None))
        if spec.norm is not None:
            found.append(Part("norm", str(spec.norm), key=f"norms.{l}", inputs=gates * n))
        cell = Part("cell", str(spec.cell), key=f"layers.{l}", stream=2 * l + (kind == "lstm"))
        found.append(cell if gates > 1 else Part("activation", phi))
        if deep:
            found.append(Part("keep", stream=2 * l))
        if spec.outputs == "every" and l == count - 1:
            found.append(Part("keep", stream=2 * count + t))
        return found

    layers = [Layer(tuple(parts(t, l)), n, n) for t in range(spec.steps) for l in range(count)]
    own, out = list[Part](), spec.out_features
    for l in range(count):
        columns = spec.in_features if l == 0 else n
        own.append(Part("map", key=f"layers.{l}", place=place_of_steps(spec, l, n, f"layers.{l}")))
        if spec.norm is not None:
            own.append(Part("norm", str(spec.norm), key=f"norms.{l}", inputs=gates * n))
        own.append(Part("map", key=f"inputs.{l}", place=place_of_steps(spec, l, columns, f"inputs.{l}")))
    if out is not None:
        name = "steps" if spec.outputs == "every" else "map"
        layers.append(Layer((Part(name, key="readout", stream=2 * count, inputs=n, outputs=out),), n, out))
        own.append(Part("map", key="readout", place=place_of_steps(spec, None, n, "readout")))
    return Plan(layers, spec.depth, spec.steps > 1, spec.in_features, layers_of_step=count, own=tuple(own))


def place_of_steps(spec: RNN, l: int | None, columns: int, key: str) -> Place:
    """Where a map of a recurrent net stands."""
    kind, bias = parse(str(spec.cell))[0], bias_of(spec.bias)
    chosen = spec.recurrent_init if key.startswith("layers") else spec.init
    init = parse(str(chosen))
    if kind == "irnn" and l is not None:  # Le et al. 2015
        if bias is None and init[0] in {"torch_rnn", "torch_default", "mean_field", "critical"}:
            bias = str(chosen)  # the weights alone are others
        init = ("eye", {}) if key.startswith("layers") else ("normal", {"std": 0.001})
    if l is None and str(bias).startswith("chrono"):
        bias = None
    if key.startswith("layers") and spec.biases == 1:
        bias = False
    rows = spec.width if l is not None else spec.out_features or 0
    phi = "relu" if kind in {"relu", "irnn"} else "tanh"
    if l is None:
        return Place(columns, rows, None, None, spec.layers, 0, False, init, bias, 0)
    cell, gates = parse(str(spec.cell)) if key.startswith("inputs") else ("", {}), GATES.get(kind, 1)
    factors = (1.0,) * gates
    return Place(columns, gates * rows, l, phi, spec.layers, 0, False, init, bias, l, factors=factors, cell=cell)
