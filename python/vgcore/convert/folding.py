"""Factors and shifts of features go into their neighbours: the map, norm or sum beside them, exactly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vgcore.convert.graph import Graph, Node, bias_of, normal_of
from vgcore.convert.imported import Refusal
from vgcore.convert.tape import Norm
from vgcore.convert.values import Affine, Curve, Normal, sampled


def folded(graph: Graph) -> Graph:
    """A graph of its own without lines, where each goes into what stands beside it."""
    graph = graph.copy()
    changed = True
    while changed:
        changed = any(_is_folded(graph, value, node) for value, node in list(graph.nodes.items()))
    return graph


def _is_folded(graph: Graph, value: int, node: Node) -> bool:
    line = node.what
    if not isinstance(line, Affine):
        return False
    (source,) = node.inputs
    if (line.scale == 1).all() and (line.shift == 0).all():
        _bypass(graph, value, source)
        return True
    before, readers = graph.nodes.get(source), graph.readers(value)
    alone = len(graph.readers(source)) == 1 and source != graph.output
    learned = node.learned > 1
    # Zeros that learn are no fixed factor of a branch.
    uniform = np.ptp(line.scale) == 0 and (line.shift == 0).all() and not (learned and not line.scale.any())
    if uniform and readers and value != graph.output and all(each.factors for each in readers):
        for each in readers:
            each.factors = tuple(
                f * float(line.scale[0]) if arg == value else f
                for arg, f in zip(each.inputs, each.factors, strict=True)
            )
            each.keys |= node.keys
        if learned:
            graph.notes.append(f"the factors of {node.where} are one number that does not learn here")
        _bypass(graph, value, source)
        return True
    if before is not None and alone and (old := before.map) is not None:
        shifted = old.bias is not None or (line.shift != 0).any()
        bias = bias_of(old) * line.scale + line.shift if shifted else None
        before.what = replace(old, weight=old.weight * line.scale[:, None], bias=bias)
        before.keys |= node.keys
        if (line.scale != 1).any():
            graph.notes.append(
                f"the factors of {node.where} are taken into the map before them: dL/dW is that of the product"
            )
        _bypass(graph, value, source)
        return True
    if before is not None and alone and isinstance(before.what, Normal | Norm):
        norm = normal_of(before.what, len(line.scale))
        if not (norm.text.startswith("rms") and (line.shift != 0).any()):
            before.what = Normal(norm.text, norm.weight * line.scale, norm.bias * line.scale + line.shift)
            before.keys |= node.keys
            if (line.scale != 1).any():
                graph.notes.append(
                    f"the factors of {node.where} are taken into the norm before them: the gradient of its weight is "
                    "that of the product"
                )
            _bypass(graph, value, source)
            return True
    maps = [(each, each.map) for each in readers if each.map is not None]
    if readers and value != graph.output and len(maps) == len(readers):
        for each, old in maps:
            shift = old.weight @ line.shift
            bias = old.bias if not shift.any() else bias_of(old) + shift
            each.what = replace(old, weight=old.weight * line.scale, bias=bias)
            each.keys |= node.keys
        graph.notes.append(
            f"the factors and shifts of {node.where} are taken into the map after them: dL/dW is that of the product"
        )
        _bypass(graph, value, source)
        return True
    if np.ptp(line.scale) == 0 and np.ptp(line.shift) == 0:
        a, b = float(line.scale[0]), float(line.shift[0])
        if isinstance(curve := sampled(lambda z: a * z + b), Curve):
            node.what = curve
            return True
    raise Refusal(node.op.path, node.op.name, "it has a factor a feature, with no map or norm beside it to take it")


def _bypass(graph: Graph, value: int, source: int) -> None:
    """Let those that read a value read the one that it came from."""
    del graph.nodes[value]
    for node in graph.nodes.values():
        node.inputs = tuple(source if arg == value else arg for arg in node.inputs)
    if value == graph.output:
        graph.output = source
