"""A spec, layer by layer: what each layer is made of, and the shapes of its parts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from vgcore.reference.kind import Kind, features, parse
from vgcore.reference.part import parts

if TYPE_CHECKING:
    from vgcore.model.mlp import MLP


class Layer(NamedTuple):
    """A layer: its parts in order, and the shapes and names that they need."""

    parts: tuple[str, ...]  # each at most once
    slot: int | None  # names its parameters; 0 for every layer of a tied net, None for the readout
    input: int  # features of h_l
    fan_in: int  # columns of W_l: those features, or what an activation before the map makes of them
    width: int  # rows of W_l: features of z_l
    output: int  # features of h_{l+1}
    kind: str  # the activation; "linear" where there is none
    source: int | None  # the h that goes around the block which ends here

    def parameter(self, module: str, name: str) -> str:
        """The state-dict name of one of the layer's parameters."""
        return f"readout.{name}" if self.slot is None else f"{module}.{self.slot}.{name}"

    def reaches(self, part: str) -> int:
        """The number of features that this part gets: only maps and activations before it change what a layer gets."""
        count = self.input
        for earlier in self.parts[: self.parts.index(part)]:
            count = {"map": self.width, "activation": features(self.kind, count)}.get(earlier, count)
        return count


class Plan(NamedTuple):
    """A spec as a list of layers, and what they share."""

    layers: list[Layer]  # with the readout, if there is one, as the last, which the depth does not count
    skip: Kind  # with all its parameters; "none" without one
    branch_scale: float
    inits: list[Kind]  # of each layer and of the readout

    @classmethod
    def of(cls, spec: MLP) -> Plan:
        """Spread what a spec says once over its layers."""

        def spread(value: Any) -> list[Any]:
            return list(value) if isinstance(value, tuple) else [value] * spec.depth

        widths, kinds, inits = (spread(value) for value in (spec.width, spec.activation, spec.init))
        name, given = parse(str(spec.skip or "none"))
        params: dict[str, Any] = {"order": "after", "alpha": 0.0, "gate_bias": -1.0, "gate_gain": 1.0} | given
        block = spec.block if spec.skip else 1

        def chain(start: int, order: str, *, skips: bool) -> list[Layer]:
            """The layers of a block, which begins with h features."""
            found: list[Layer] = []
            for l in range(start, start + block):
                input_ = found[-1].output if found else h
                ends = skips and l == start + block - 1
                kind = "linear" if ends and order == "linear" else kinds[l]
                fan_in = features(kind, input_) if order == "pre" else input_
                output = widths[l] if order == "pre" else features(kind, widths[l])
                shape = input_, fan_in, widths[l], output
                slot = 0 if spec.tied else l
                found.append(Layer(parts(spec, order, skips=ends), slot, *shape, kind, start if ends else None))
            return found

        layers: list[Layer] = []
        order = params["order"]
        h = spec.in_features or widths[0]
        if spec.inputs == "every":  # h_0 is zeros, of the size of what a layer gives
            h = widths[0] if order in {"pre", "linear"} else features(kinds[0], widths[0])
        for start in range(0, spec.depth, block):
            found = chain(start, order, skips=spec.skip is not None)
            last = found[-1]
            if name == "dense":
                found[-1] = last._replace(output=h + last.output)
            elif spec.skip and h != (last.width if order == "post" else last.output):
                found = chain(start, "after", skips=False)  # a first block that changes the number of features
            layers += found
            h = layers[-1].output
        if spec.out_features is not None:
            layers.append(Layer(("map",), None, h, h, spec.out_features, spec.out_features, "linear", None))
        scale = spec.branch_scale
        if isinstance(scale, str):  # "1/sqrt(L)", L the number of blocks
            scale = 1 / math.sqrt(spec.depth / spec.block)
        if len(inits) == spec.depth:  # the readout has the last layer's, unless it has its own
            inits.append(inits[-1])
        return cls(layers, (name, params), scale, [parse(str(init)) for init in inits])

    def within_block(self, l: int) -> bool:
        """Does a skip go around h_{l+1}, because its block has not ended at layer l?"""
        ends = ((layer.source, end) for end, layer in enumerate(self.layers) if layer.source is not None)
        return any(source <= l < end for source, end in ends)
