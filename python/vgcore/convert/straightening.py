"""From a graph to a list of parts: the way through the net from its output back, with what goes around it."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgcore.convert.graph import Graph, Node, normal_of
from vgcore.convert.imported import Refusal
from vgcore.convert.parts import Bend, DropPart, Flat, Join, Keep, MapPart, NormPart, Part
from vgcore.convert.tape import Concat, Drop, Linear, Norm, Scale
from vgcore.convert.values import Curve, Normal, Paired
from vgcore.model.kind import Activation

#: In which order the features of values stand here: `ours = theirs[:, order]`; None where as they were.
Layout = dict[int, NDArray[np.intp] | None]


def straightened(graph: Graph) -> Flat:
    """The parts of a graph whose lines are folded, from the input to the output, with the ways around them."""
    return _Straightener(graph).straighten()


class _Straightener:
    def __init__(self, graph: Graph) -> None:
        self.graph, self.nodes, self.output = graph, graph.nodes, graph.output
        self.inputs = graph.tape.inputs

    def straighten(self) -> Flat:
        before = self._ancestors()
        parts: list[Part] = []
        pending: dict[int, int] = {}  # labels of ways around, by the value that they begin at
        labels = itertools.count()
        layout = self._layouts()
        value = self.output
        if layout.get(value) is not None:
            op = self.nodes[value].op
            raise Refusal(op.path, op.name, "its features stand in another order here, and nothing reads them")
        while True:
            if value in pending:
                parts.append(Keep(label=pending.pop(value)))
            if value == self.inputs:
                break
            node = self.nodes[value]
            if len(node.inputs) == 1:
                parts += self._plain(node, layout)
                value = node.inputs[0]
                continue
            join, around, value = self._joined(node, before, layout)
            if around not in pending:
                pending[around] = next(labels)
            label = pending[around]
            parts.append(replace(join, label=label))
        if pending:
            op = self.nodes[next(iter(pending))].op
            raise Refusal(op.path, op.name, "what goes around does not begin on the way that leads through the net")
        return Flat(tuple(parts[::-1]), self.graph.tape.in_features)

    def _ancestors(self) -> dict[int, set[int]]:
        """The values that each value is made of, itself included."""
        found: dict[int, set[int]] = {self.inputs: {self.inputs}}
        for value, node in self.nodes.items():
            found[value] = {value}.union(*(found.get(arg, {arg}) for arg in node.inputs))
        return found

    def _layouts(self) -> Layout:
        """In which order the features of a value stand here: `ours = theirs[:, order]`; None where as they were."""
        found: Layout = {self.inputs: None}
        before = self._ancestors()
        self.concats: dict[int, tuple[int, int]] = {}
        for value, node in self.nodes.items():
            orders = [found.get(arg) for arg in node.inputs]
            if isinstance(node.what, Concat):
                found[value] = self._side_by_side(value, node, before, found)
            elif node.map is not None:
                found[value] = None
            elif isinstance(node.what, Paired) and node.what.order != tuple(range(len(node.what.order))):
                source = node.inputs[0]
                if not isinstance(self.nodes[source].what, Linear) or len(self.graph.readers(source)) != 1:
                    raise Refusal(
                        node.op.path, node.op.name, "its pairs stand in an order that no map before it can make"
                    )
                found[source], found[value] = np.array(node.what.order), None
            else:
                span = self.graph.width(node.inputs[0])
                if any(not np.array_equal(_order(each, span), _order(orders[0], span)) for each in orders):
                    raise Refusal(node.op.path, node.op.name, "it joins features that stand in two orders")
                found[value] = orders[0]
                if isinstance(node.what, Paired) and orders[0] is not None:
                    raise Refusal(node.op.path, node.op.name, "it pairs features that were set side by side")
        return found

    def _side_by_side(
        self, value: int, node: Node, before: dict[int, set[int]], found: Layout
    ) -> NDArray[np.intp] | None:
        """Which two values a concatenation joins, what went around first, and the order of features that it makes."""

        def bases(value: int) -> tuple[int, ...]:
            made = self.nodes.get(value)
            if made is None or not isinstance(made.what, Concat):
                return (value,)
            return tuple(base for arg in made.inputs for base in bases(arg))

        mine = bases(value)
        for through in sorted(set(mine), key=lambda base: -len(before[base])):
            rest = sorted(base for base in mine if base != through)
            for around in sorted(before[through] - {through}, reverse=True):
                if len(rest) == len(mine) - 1 and sorted(bases(around)) == rest:
                    self.concats[value] = (around, through)
                    # Places of each base in the user's order, then in ours.
                    starts = dict(zip(mine, np.cumsum([0, *(self.graph.width(base) for base in mine)]), strict=False))
                    ours: list[NDArray[np.intp]] = []
                    of_around = bases(around)
                    theirs_around = np.concatenate([starts[b] + np.arange(self.graph.width(b)) for b in of_around])
                    ours.append(theirs_around[_order(found.get(around), len(theirs_around))])
                    own = starts[through] + np.arange(self.graph.width(through))
                    ours.append(own[_order(found.get(through), len(own))])
                    order = np.concatenate(ours)
                    return None if (order == np.arange(len(order))).all() else order
        raise Refusal(node.op.path, node.op.name, "none of what it sets side by side is made of all the rest")

    def _plain(self, node: Node, layout: Layout) -> list[Part]:
        what, order = node.what, layout.get(node.inputs[0])
        about: dict[str, Any] = {"path": node.op.path, "name": node.op.name, "keys": node.keys}
        match what:
            case Linear():
                return [self._map(what, node.inputs[0], layout, **about)]
            case Normal() | Norm():
                norm = normal_of(what, self.graph.width(node.inputs[0]))
                at = _order(order, len(norm.weight))
                return [NormPart(text=norm.text, weight=norm.weight[at], bias=norm.bias[at], **about)]
            case Drop():
                return [DropPart(p=what.p, **about)]
            case Curve():
                self.graph.notes += [what.note] if what.note else []
                slope = Activation(what.text).params["init"] if what.text.startswith("prelu") else None
                return [Bend(text=what.text, slope=None if slope is None else float(slope), **about)]
            case Paired():
                return [Bend(text=what.text, **about)]
        raise Refusal(
            node.op.path, node.op.name, "a factor that learns stands where no way around joins right after it"
        )

    def _map(self, linear: Linear, source: int, layout: Layout, **about: Any) -> MapPart:
        weight, bias = linear.weight, linear.bias
        rows, columns = layout.get(linear.out), layout.get(source)
        if rows is not None:
            weight, bias = weight[rows], None if bias is None else bias[rows]
        if columns is not None:
            weight = weight[:, columns]
        return MapPart(weight=np.ascontiguousarray(weight), bias=bias, **about)

    def _joined(self, node: Node, before: dict[int, set[int]], layout: Layout) -> tuple[Join, int, int]:
        """A join, the value that went around, and the one that came through."""
        path, name = node.op.path, node.op.name
        about: dict[str, Any] = {"label": 0, "path": path, "name": name, "keys": node.keys}
        if isinstance(node.what, Concat):
            return Join(way="concat", **about), *self.concats[node.op.out]
        a, b = node.inputs
        if node.gate is not None:
            gate = self._map(node.gate, a, layout, path=path, name=name)
            return Join(way="highway", map=gate, **about), a, b
        alpha, beta = node.factors
        for around, through, one, scale in ((a, b, alpha, beta), (b, a, beta, alpha)):
            if around not in before[through]:
                continue
            if one != 1:
                raise Refusal(path, name, f"what goes around is multiplied by {one:.6g}, not by 1")
            made = self.nodes.get(through)
            if made is not None and isinstance(made.what, Scale):
                about["keys"] |= made.keys
                return Join(way="rezero", scale=scale, alpha=made.what.factor, **about), around, made.inputs[0]
            return Join(way="add", scale=scale, **about), around, through
        for side, through, factor, scale in ((a, b, alpha, beta), (b, a, beta, alpha)):
            made = self.nodes.get(side)
            if made is None or made.map is None or made.inputs[0] not in before[through]:
                continue
            part = self._map(made.map, made.inputs[0], layout, path=made.op.path, name=made.op.name)
            bias = None if part.bias is None else factor * part.bias
            part = replace(part, weight=factor * part.weight, bias=bias)
            about["keys"] |= made.keys
            return Join(way="project", scale=scale, map=part, **about), made.inputs[0], through
        raise Refusal(path, name, "it joins two ways of which neither goes around the other")


def _order(order: NDArray[np.intp] | None, span: int) -> NDArray[np.intp]:
    return np.arange(span) if order is None else order
