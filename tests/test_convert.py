"""A tape becomes the spec that says it, with the user's numbers, proved; or a refusal that says where, what and why."""

from __future__ import annotations

import dataclasses
import gc
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vgcore as vg
from tapes import Net, gelu, gelu_tanh, log_softmax, relu, sigmoid, silu, softmax, softplus
from vgcore.convert import tape
from vgcore.convert.imported import Imported, NonFinite, Refusal
from vgcore.convert.match import imported
from vgcore.convert.proof import prove, prove_structure
from vgcore.convert.reading import graph
from vgcore.convert.values import named
from vgcore.convert.which import front_end, network_of
from vgcore.model import custom

tanh = np.tanh


def read(net: Net) -> Imported:
    return imported(net.tape(), net.run)


def mlp(act: Callable[..., Any], depth: int = 3, **linear: Any) -> Net:
    net = Net(5)
    for _ in range(depth):
        net.linear(8, **linear)
        net.map(act)
    net.linear(3, **linear)
    return net


def normed(kind: str, where: str, eps: float = 1e-5) -> Net:
    net = Net(8)
    for _ in range(3):
        if where == "input":
            net.norm(kind, eps=eps)
        net.linear(8)
        if where == "pre":
            net.norm(kind, eps=eps)
        net.map(relu)
        if where == "post":
            net.norm(kind, eps=eps)
    net.linear(2)
    return net


def residual(order: str, scale: float = 1.0, block: int = 2) -> Net:
    net = Net(8)
    for _ in range(3):
        around = net.at
        for layer in range(block):
            if order == "pre":
                net.map(tanh)
            net.linear(8)
            if order == "after" or (layer < block - 1 and order != "pre"):
                net.map(tanh)
        if scale != 1:
            net.scale(scale)
        net.add(around)
        if order == "post":
            net.map(tanh)
    net.linear(2)
    return net


def pre_norm_blocks(activation: Callable[..., Any] = gelu, *, drop: float = 0.0, pair: str = "") -> Net:
    """The feed-forward half of a transformer: stem, blocks x + V phi(U LN(x)), a last norm, readout."""
    net = Net(10)
    net.linear(16)
    for _ in range(3):
        around = net.at
        net.norm()
        inner = net.at
        if pair:
            gate, up = net.linear(32, inner), net.linear(32, inner)
            net.map(lambda g, u: activation(g) * u, gate, up)
        else:
            net.linear(64)
            net.map(activation)
        net.linear(16)
        if drop:
            net.drop(drop)
        net.add(around)
    net.norm()
    net.linear(3)
    return net


def written_out_norm(kind: str) -> Net:
    """A norm as JAX records it: small operations, of which none is a norm."""
    net = Net(6)
    axis = 0 if kind == "batch" else 1
    for _ in range(2):
        net.linear(9)
        x = net.at
        if kind != "rms":
            mean = net.map(lambda x: x.mean(axis, keepdims=True), x, width=1)
            x = net.map(lambda x, m: x - m, x, mean)
        square = net.map(lambda x: x * x, x)
        variance = net.map(lambda s: s.mean(axis, keepdims=True), square, width=1)
        root = net.map(lambda v: 1 / np.sqrt(v + 1e-6), variance, width=1)
        net.map(lambda x, r: x * r, x, root)
        weight = net.draw.normal(1, 0.1, 9)
        net.map(lambda x, weight=weight: x * weight)
        if kind != "rms":
            bias = net.draw.normal(0, 0.1, 9)
            net.map(lambda x, bias=bias: x + bias)
        net.map(tanh)
    net.linear(2)
    return net


def written_out_gelu() -> Net:
    net = Net(5)
    for _ in range(2):
        h = net.linear(8)
        cube = net.map(lambda h: 0.044715 * h**3)
        inner = net.add(h, cube)
        curve = net.map(lambda u: 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * u)), inner)
        net.map(lambda h, c: h * c, h, curve)
    net.linear(2)
    return net


def bias_apart() -> Net:
    net = Net(5)
    for width in (8, 8, 2):
        net.linear(width, bias=False)
        bias = net.draw.normal(0, 0.3, width)
        net.map(lambda x, bias=bias: x + bias, name="add")
        if width == 8:
            net.map(tanh)
    return net


def rezero(start: float = 0.2) -> Net:
    net = Net(8)
    for k in range(3):
        around = net.at
        net.linear(8)
        net.map(tanh)
        net.scale(start and start + 0.1 * k, learned=True)
        net.add(around)
    net.linear(2)
    return net


def highway() -> Net:
    net = Net(6)
    for _ in range(2):
        x = net.at
        gate = net.map(sigmoid, net.linear(6, x))
        branch = net.map(tanh, net.linear(6, x))
        carried = net.map(lambda t, f: t * f, gate, branch)
        shut = net.map(lambda t: 1 - t, gate)
        net.map(lambda s, x: s * x, shut, x)
        net.add(carried)
    net.linear(2)
    return net


def dense(order: str) -> Net:
    net = Net(4)
    features = [0]
    for _ in range(3):
        around = net.at
        net.linear(4)
        features.append(net.map(tanh))
        if order == "all":
            net.concat(*features)
        elif order == "around first":
            net.concat(around, net.at)
        else:
            net.concat(net.at, around)
    net.linear(2)
    return net


def tied(depth: int = 4) -> Net:
    net = Net(8)
    weight, bias = net.draw.normal(0, 0.3, (8, 8)), net.draw.normal(0, 0.3, 8)
    for _ in range(depth):
        net.linear(8, weight=weight, b=bias, key="cell.weight")
        net.map(tanh)
    net.linear(2)
    return net


def paired(f: Callable[[Any], Any], width: int) -> Net:
    net = Net(5)
    for _ in range(2):
        net.linear(width)
        made = np.asarray(f(np.ones((1, width)))).shape[1]
        net.map(f, width=made)
    net.linear(2)
    return net


def half(x: Any) -> tuple[Any, Any]:
    return x[:, : x.shape[1] // 2], x[:, x.shape[1] // 2 :]


def radiance() -> Net:
    """Mildenhall et al. 2020: the input joins again half-way."""
    net = Net(6)
    for k in range(4):
        if k == 2:
            net.concat(0, net.at)
        net.linear(8)
        net.map(relu)
    net.linear(4)
    return net


def projected() -> Net:
    """Widths that change by a learned projection of what goes around."""
    net = Net(6)
    for width in (8, 12):
        around = net.at
        net.linear(width)
        net.map(relu)
        branch = net.linear(width)
        short = net.linear(width, around, bias=False)
        net.add(branch, short)
        net.map(relu)
    net.linear(2)
    return net


def prelu() -> Net:
    net = Net(5)
    for slope in (0.2, 0.3):
        net.linear(8)
        net.map(lambda x, slope=slope: np.where(x.real > 0, x, slope * x), learned=True, name="prelu")
    net.linear(2)
    return net


def clip(low: float, high: float) -> Callable[[Any], Any]:
    return lambda x: np.where(x.real < low, low, np.where(x.real > high, high, x))


def clipped_input() -> Net:
    net = Net(8)
    net.map(clip(-20, 20), name="clamp")
    net.linear(8)
    net.map(tanh)
    net.linear(3)
    return net


CLIP = "hardtanh(min_val=-20, max_val=20)"


def two_kinds(head: float) -> Net:
    """Blocks relu(x + W x) and x + relu(W x), which a head of zeros cannot tell apart."""
    net = Net(8)
    for order in ("post", "after", "post"):
        around = net.at
        net.linear(8)
        if order == "after":
            net.map(relu)
        net.add(around)
        if order == "post":
            net.map(relu)
    net.linear(3, weight=head * np.ones((3, 8)), b=np.zeros(3))
    return net


def kinds(order: str, label: int) -> tuple[str, ...]:
    end = ("relu", f"add({label})") if order == "after" else (f"add({label})", "relu")
    return (f"keep({label})", "linear(8)", *end)


def ending_in_zeros(net: Net) -> Net:
    head: Any = net.ops[-1]
    head.weight[:], head.bias[:] = 0, 0
    return net


def shut() -> Net:
    net = Net(5)
    for _ in range(2):
        net.linear(8, weight=np.zeros((8, net.widths[net.at])), b=-np.ones(8))
        net.map(relu)
    net.linear(2)
    return net


def shared_slope() -> Net:
    return keyed(lambda net: net.map(lambda x: np.where(x.real > 0, x, 0.2 * x), learned=1, key="slope", name="prelu"))


def keyed(add: Callable[[Net], object]) -> Net:
    """Three layers with maps of their own, and something that they share."""
    net = Net(8)
    for _ in range(3):
        net.linear(8)
        add(net)
    net.linear(2)
    return net


def shared_norm() -> Net:
    numbers = np.random.default_rng(0).normal(1, 0.2, (2, 8))

    def add(net: Net) -> None:
        net.norm()
        own: Any = net.ops[-1]
        net.ops[-1] = dataclasses.replace(own, weight=numbers[0], bias=numbers[1], key="norm")
        net.map(tanh)

    return keyed(add)


def shared_bias() -> Net:
    bias = np.random.default_rng(0).normal(0, 0.3, 8)

    def add(net: Net) -> None:
        net.map(lambda x: x + bias, learned=8, key="bias", name="add")
        net.map(tanh)

    return keyed(add)


def tied_ends() -> Net:
    net = Net(8)
    weight = net.draw.normal(0, 0.3, (4, 8))
    net.linear(4, weight=weight, key="W")
    net.map(tanh)
    net.linear(8, weight=weight.T, key="W.T")
    return net


def written_out_prelu() -> Net:
    net = Net(5)
    for _ in range(2):
        h = net.linear(8)
        shown = net.map(relu, h)
        net.map(lambda x: relu(-x), h)
        net.add(shown, net.scale(0.2, learned=True), beta=-1.0)
    net.linear(2)
    return net


def ending(f: Callable[..., Any]) -> Net:
    net = mlp(tanh)
    net.map(f, name="last")
    return net


def scaled_input() -> Net:
    net = Net(5)
    mean, std = net.draw.normal(size=5), net.draw.uniform(1, 2, 5)
    net.map(lambda x: (x - mean) / std, name="standardise")
    net.linear(8)
    net.map(tanh)
    net.linear(2)
    return net


def layer_scale() -> Net:
    net = Net(8)
    for _ in range(2):
        around = net.at
        net.linear(8)
        net.map(tanh)
        net.linear(8)
        gamma = net.draw.normal(0.5, 0.1, 8)
        net.map(lambda x, gamma=gamma: gamma * x, name="layer_scale")
        net.add(around)
    net.linear(2)
    return net


def dropped() -> Net:
    net = Net(5)
    for _ in range(3):
        net.linear(8)
        net.map(relu)
        net.drop(0.25)
        net.reshape()
    net.linear(2)
    return net


def autoencoder() -> Net:
    net = Net(12)
    for width in (8, 4, 8):
        net.linear(width)
        net.map(relu)
    net.linear(12)
    return net


def mixed(*activations: Callable[..., Any]) -> Net:
    net = Net(5)
    for each in activations:
        net.linear(8)
        net.map(each)
    net.linear(2)
    return net


def only() -> Net:
    net = Net(5)
    net.linear(3)
    return net


# The net, and fields of the spec that it becomes; `parts` are those of a `vg.Sequential`.
ACCEPTED: dict[str, tuple[Callable[[], Net], dict[str, Any]]] = {
    "tanh": (lambda: mlp(tanh), {"depth": 3, "width": 8, "activation": "tanh", "in_features": 5, "out_features": 3}),
    "gelu of JAX": (lambda: mlp(gelu_tanh), {"activation": "gelu(approximate=tanh)"}),
    "gelu of torch": (lambda: mlp(gelu), {"activation": "gelu"}),
    "gelu written out": (written_out_gelu, {"activation": "gelu(approximate=tanh)"}),
    "a slope of Keras": (
        lambda: mlp(lambda x: np.where(x.real > 0, x, 0.3 * x)),
        {"activation": "leaky_relu(negative_slope=0.3)"},
    ),
    "softplus of JAX": (lambda: mlp(softplus), {"activation": "softplus(threshold=700)"}),
    "siren": (lambda: mlp(lambda x: np.sin(30 * x), depth=1), {"activation": "sin(omega=30)"}),
    "one activation a layer": (lambda: mixed(tanh, relu, silu), {"activation": ("tanh", "relu", "silu")}),
    "linear": (lambda: mlp(lambda x: x), {"activation": "linear"}),
    "no bias": (lambda: mlp(tanh, bias=False), {"bias": False}),
    "a bias apart": (bias_apart, {"depth": 2, "bias": None}),
    "widths": (autoencoder, {"width": (8, 4, 8), "out_features": 12}),
    "one map": (only, {"depth": 1, "activation": "linear", "out_features": None}),
    "an activation at the end": (lambda: ending(tanh), {"depth": 4, "out_features": None}),
    "softmax at the end": (lambda: ending(softmax), {"depth": 3, "out_features": 3}),
    "log softmax at the end": (lambda: ending(log_softmax), {"depth": 3}),
    "logistic at the end": (lambda: ending(sigmoid), {"depth": 3}),
    "layer norm": (lambda: normed("layer", "pre"), {"norm": "layer", "norm_position": "pre"}),
    "batch norm of Keras": (lambda: normed("batch", "pre", 1e-3), {"norm": "batch(eps=0.001)"}),
    "rms norm": (lambda: normed("rms", "post"), {"norm": "rms", "norm_position": "post"}),
    "a norm before each map": (lambda: normed("layer", "input"), {"norm": "layer", "norm_position": "input"}),
    "layer norm written out": (lambda: written_out_norm("layer"), {"norm": "layer(eps=0.000001)"}),
    "batch norm written out": (lambda: written_out_norm("batch"), {"norm": "batch(eps=0.000001)"}),
    "rms norm written out": (lambda: written_out_norm("rms"), {"norm": "rms(eps=0.000001)"}),
    "residual": (lambda: residual("after", block=1), {"skip": "residual", "block": 1}),
    "residual, scaled": (lambda: residual("linear", 0.5), {"skip": "residual(order=linear)", "branch_scale": 0.5}),
    "residual, He 2015": (lambda: residual("post"), {"skip": "residual(order=post)", "block": 2}),
    "residual, He 2016": (lambda: residual("pre"), {"skip": "residual(order=pre)", "block": 2}),
    "residual, He 2016, scaled": (
        lambda: residual("pre", 0.7),
        {"skip": "residual(order=pre)", "branch_scale": 0.7},
    ),
    "rezero": (rezero, {"skip": "rezero"}),
    "highway": (highway, {"skip": "highway"}),
    "dense": (lambda: dense("around first"), {"skip": "dense"}),
    "dense, turned": (lambda: dense("through first"), {"skip": "dense"}),
    "dense, all at once": (lambda: dense("all"), {"skip": "dense"}),
    "tied": (tied, {"tied": True, "depth": 4}),
    "glu": (lambda: paired(lambda x: half(x)[0] * sigmoid(half(x)[1]), 8), {"activation": "glu", "width": 8}),
    "swiglu, gate first": (lambda: paired(lambda x: silu(half(x)[0]) * half(x)[1], 8), {"activation": "swiglu"}),
    "crelu": (lambda: paired(lambda x: np.hstack([relu(x), relu(-x)]), 4), {"activation": "crelu", "width": 4}),
    "prelu": (prelu, {"activation": ("prelu(init=0.2)", "prelu(init=0.3)")}),
    "prelu written out": (written_out_prelu, {"activation": "prelu(init=0.2)"}),
    "a clip from 0 to 20": (lambda: mlp(clip(0, 20)), {"activation": "hardtanh(min_val=0, max_val=20)"}),
    "a clip from -20 to 2": (lambda: mlp(clip(-20, 2)), {"activation": "hardtanh(min_val=-20, max_val=2)"}),
    "a clip from 0 to a million": (lambda: mlp(clip(0, 1e6)), {"activation": "hardtanh(min_val=0, max_val=1000000)"}),
    "a clip of the input": (clipped_input, {"parts": (CLIP, "linear(8)", "tanh", "linear(3)")}),
    "blocks of two kinds before a head of zeros": (
        lambda: two_kinds(0.0),
        {"parts": (*kinds("post", 0), *kinds("after", 1), *kinds("post", 2), "linear(3)")},
    ),
    "rezero at 0": (lambda: rezero(0.0), {"skip": "rezero"}),
    "a head of zeros": (lambda: ending_in_zeros(residual("post")), {"skip": "residual(order=post)", "block": 2}),
    "units that never open": (shut, {"depth": 2, "activation": "relu"}),
    "dropout": (dropped, {"dropout": 0.25}),
    "scales before the net": (scaled_input, {"depth": 1, "width": 8}),
    "layer scale": (layer_scale, {"skip": "residual(order=linear)"}),
    "a feed-forward residual net": (
        pre_norm_blocks,
        {
            "depth": 7,
            "stem": 1,
            "block": 2,
            "width": (16, 64, 16),
            "norm": (None, "layer", None),
            "norm_position": "input",
            "final_norm": "layer",
            "skip": "residual(order=linear)",
        },
    ),
    "the same with dropout": (lambda: pre_norm_blocks(drop=0.1), {"dropout": (0.0, 0.0, 0.1)}),
    "the same with two maps for a gate": (
        lambda: pre_norm_blocks(silu, pair="swiglu"),
        {"activation": ("linear", "swiglu", "swiglu"), "width": (16, 64, 16)},
    ),
    "an input that joins again": (
        radiance,
        {"parts": ("keep(0)", *("linear(8)", "relu") * 2, "concat(0)", *("linear(8)", "relu") * 2, "linear(4)")},
    ),
    "projections": (projected, {"depth": 4, "out_features": 2}),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_net_becomes_the_spec_that_says_it(name: str) -> None:
    build, fields = ACCEPTED[name]
    net = build()
    found = read(net)
    assert {field: getattr(found.spec, field) for field in fields} == fields
    # What it computes, once more, on rows that the proof has not seen, some of them large.
    rows = np.random.default_rng(7).standard_normal((5, net.in_features)) * np.array([[1], [3], [3], [30], [100]])
    cut = any("belongs to the loss" in note for note in found.notes)
    theirs, pull = net.run(rows, net.at - 1 if cut else None)
    ours = found.network.forward(rows)
    assert np.abs(theirs - ours).max() <= 1e-9 * np.abs(theirs).max()
    cotangent = np.random.default_rng(8).standard_normal(ours.shape)
    dx = pull(cotangent)
    assert np.abs(dx - found.network.backward(rows, cotangent).input).max() <= 1e-9 * np.abs(dx).max()


def test_at_least_thirty_nets_are_accepted_and_thirty_refused() -> None:
    assert min(len(ACCEPTED), len(REFUSED)) >= 30


# --- Refusals ------------------------------------------------------------------------------------


def then(f: Callable[[Net], object]) -> Net:
    """A net with something in its middle."""
    net = Net(8)
    net.linear(8)
    net.map(tanh)
    f(net)
    net.linear(8)
    net.map(tanh)
    net.linear(2)
    return net


def positions() -> Net:
    net = mlp(tanh)
    net.ops[0] = dataclasses.replace(net.ops[0], shape=(2, 7, 8))
    return net


def partly_shared() -> Net:
    net = Net(8)
    weight = net.draw.normal(0, 0.3, (8, 8))
    for key in ("a", "b", "a"):
        net.linear(8, weight=weight if key == "a" else None, key=key)
        net.map(tanh)
    net.linear(2)
    return net


def two_inputs_of_one_join() -> Net:
    net = Net(8)
    one, two = net.map(tanh, net.linear(8, 0)), net.map(tanh, net.linear(8, 0))
    net.add(one, two)
    net.linear(2)
    return net


def bent_around() -> Net:
    net = Net(8)
    start = net.linear(8)
    around = net.map(tanh, start)
    net.linear(8, start)
    net.map(relu)
    net.add(around)
    net.linear(2)
    return net


def product() -> Net:
    net = Net(8)
    around = net.at
    net.linear(8)
    net.map(lambda a, b: a * b, net.at, around, name="mul")
    net.linear(2)
    return net


def attention(net: Net) -> int:
    width = net.widths[net.at]
    return net.map(lambda q: softmax(q @ q.T) @ q, width=width, name="attention")


def two_gates() -> Net:
    """A gate whose map is read by something else too."""
    net = Net(8)
    gate, up = net.linear(8, 0), net.linear(8, 0)
    net.map(lambda g, u: silu(g) * u, gate, up, name="mul")
    net.linear(8)
    net.add(gate)
    net.linear(2)
    return net


def scaled_around() -> Net:
    net = Net(8)
    around = net.at
    net.linear(8)
    net.map(tanh)
    net.add(around, alpha=0.5)
    net.linear(2)
    return net


def learned_alone(net: Net) -> int:
    return net.scale(0.5, learned=True)


def turned_end() -> Net:
    net = Net(4)
    around = net.at
    net.linear(4)
    net.map(tanh)
    net.concat(net.at, around)
    return net


def irregular_highway() -> Net:
    net = highway()
    net.map(relu)
    net.linear(2)
    return net


def rms_with_bias(net: Net) -> int:
    at, norm = net.norm("rms"), net.ops[-1]
    assert isinstance(norm, tape.Norm)
    net.ops[-1] = dataclasses.replace(norm, bias=np.ones(8))
    return at


def group_norm(net: Net) -> int:
    at, norm = net.norm("layer"), net.ops[-1]
    assert isinstance(norm, tape.Norm)
    net.ops[-1] = dataclasses.replace(norm, kind="group", name="group_norm")
    return at


def per_feature(f: Callable[..., Any], **fields: Any) -> Net:
    return then(lambda net: (net.linear(8), net.map(f, **fields)))


SLOPES = np.linspace(0.1, 0.8, 8)


def nothing() -> Net:
    net = Net(4)
    net.map(tanh)
    return net


def three_ways() -> Net:
    net = Net(4)
    net.concat(net.linear(4, 0), net.linear(4, 0), net.linear(4, 0))
    net.linear(2)
    return net


def scaled_way() -> Net:
    net = Net(8)
    net.linear(8)
    net.map(tanh)
    around = net.map(lambda x: SLOPES * x, name="scale")
    net.linear(8)
    net.add(around)
    net.linear(2)
    return net


MIX = "mixes features in another way"
# The net, the operation that is blamed, and words of the reason.
REFUSED: dict[str, tuple[Callable[[], Net], str, str]] = {
    "an unknown operation": (lambda: then(lambda n: n.unknown("it mixes positions")), "attention", "mixes positions"),
    "softmax in the middle": (lambda: then(lambda n: n.map(softmax, name="softmax")), "softmax", MIX),
    "attention over the batch": (lambda: then(attention), "attention", "mixes the samples of a batch"),
    "softmax over the batch": (
        lambda: then(lambda n: n.map(lambda x: softmax(x.T).T, name="softmax")),
        "softmax",
        "mixes the samples of a batch",
    ),
    "a square": (lambda: per_feature(lambda x: x * x, name="square"), "square", "it is no line yet"),
    "one slope for several layers": (shared_slope, "prelu", "shares its slope with body.2"),
    "one norm for several layers": (shared_norm, "layer_norm", "shares its weights with body.2"),
    "one bias for several layers": (shared_bias, "linear", "shares its weights with body.1"),
    "a map and its transpose": (tied_ends, "linear", "shares its weights with body.1"),
    "a sum over features": (lambda: then(lambda n: n.map(lambda x: x.cumsum(1), name="cumsum")), "cumsum", MIX),
    "a sorted layer": (lambda: then(lambda n: n.map(lambda x: np.sort(x, 1), name="sort")), "sort", MIX),
    "features in another order": (lambda: then(lambda n: n.map(lambda x: x[:, ::-1], name="flip")), "flip", MIX),
    "a norm by the mean of absolute values": (
        lambda: then(lambda n: n.map(lambda x: x / (0.1 + np.abs(x).mean(1, keepdims=True)), name="l1")),
        "l1",
        MIX,
    ),
    "a norm with eps on the deviation": (
        lambda: then(lambda n: n.map(lambda x: x / (x.std(1, keepdims=True) + 0.1), name="norm")),
        "norm",
        MIX,
    ),
    "a prelu a channel": (
        lambda: per_feature(lambda x: np.where(x.real > 0, x, SLOPES * x), name="prelu"),
        "prelu",
        "not one curve for all features",
    ),
    "an activation with learned numbers": (
        lambda: per_feature(lambda x: x * sigmoid(1.3 * x), name="swish_beta", learned=True),
        "swish_beta",
        "a parameter that learns",
    ),
    "an activation that ends": (
        lambda: per_feature(lambda x: np.log(x - 5), name="log"),
        "log",
        "not finite",
    ),
    "an activation that oscillates without end": (
        lambda: per_feature(lambda x: np.sin(x * x * 50), name="chirp"),
        "chirp",
        "no samples follow it",
    ),
    "half of the features": (
        lambda: then(lambda n: n.map(lambda x: x[:, :4], width=4, name="slice")),
        "slice",
        "makes 4 features of 8",
    ),
    "maxout": (
        lambda: then(lambda n: n.map(lambda x: np.maximum(*half(x)), width=4, name="maxout")),
        "maxout",
        "neither glu, swiglu, geglu nor crelu",
    ),
    "a bilinear gate": (
        lambda: then(lambda n: n.map(lambda x: half(x)[0] * half(x)[1], width=4, name="bilinear")),
        "bilinear",
        "neither glu",
    ),
    "a mean of features": (
        lambda: then(lambda n: n.map(lambda x: x.mean(1, keepdims=True), width=1, name="mean")),
        "mean",
        "makes 1 features of 8",
    ),
    "a product of two ways": (product, "mul", "joins 2 ways"),
    "a gate that is read twice": (two_gates, "mul", "joins 2 ways"),
    "positions": (positions, "linear", "7 positions"),
    "weights shared by some layers": (partly_shared, "linear", "shares its weights"),
    "two ways of equal right": (two_inputs_of_one_join, "add", "neither goes around the other"),
    "an activation on the way around": (bent_around, "add", "neither goes around the other"),
    "a factor of what goes around": (scaled_around, "add", "multiplied by 0.5"),
    "a learned factor of no branch": (lambda: then(learned_alone), "mul", "a factor that learns"),
    "features turned at the end": (turned_end, "cat", "in another order"),
    "an rms norm with a bias": (lambda: then(rms_with_bias), "rms_norm", "no bias"),
    "a group norm": (lambda: then(group_norm), "group_norm", "none of layer, rms and batch"),
    "a highway that ends otherwise": (irregular_highway, "add", "a highway's gate"),
    "no map": (nothing, "the model", "no linear map"),
    "three ways side by side": (three_ways, "cat", "none of what it sets side by side"),
    "a factor a feature on a way around": (scaled_way, "scale", "a factor a feature"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_says_where_what_and_why(name: str) -> None:
    build, operation, reason = REFUSED[name]
    with pytest.raises(Refusal) as caught:
        read(build())
    refusal = caught.value
    assert operation in refusal.operation
    assert reason in refusal.reason
    assert refusal.nearest
    assert str(refusal).endswith(refusal.nearest)
    if refusal.path:
        assert str(refusal).startswith(f"{refusal.path}: {refusal.operation}: ")


def test_a_model_that_computes_something_else_than_its_tape_is_refused_with_a_report() -> None:
    net = mlp(tanh)

    def other(rows: Any, upto: int | None) -> Any:
        outputs, pull = net.run(rows, upto)
        return outputs * (1 + 1e-8), pull

    with pytest.raises(Refusal, match=r"the whole model: its outputs differ .* it was read as MLP\(depth=3"):
        imported(net.tape(), other)


def test_a_model_with_a_gradient_of_its_own_is_refused() -> None:
    net = mlp(tanh)

    def other(rows: Any, upto: int | None) -> Any:
        outputs, pull = net.run(rows, upto)
        return outputs, lambda cotangent: -pull(cotangent)

    with pytest.raises(Refusal, match="dL/dx differ"):
        imported(net.tape(), other)


def test_weights_that_are_not_finite_are_counted_by_name_in_the_order_of_the_net() -> None:
    net = mlp(tanh)
    net.ops[2].weight[0, :3] = np.nan  # type: ignore[attr-defined]
    net.ops[4].bias[1] = np.inf  # type: ignore[attr-defined]
    with pytest.raises(NonFinite) as caught:
        read(net)
    assert caught.value.tensors == {"w2": ((8, 8), 3, 0, 64), "body.5.bias": ((8,), 0, 1, 8)}


def test_notes_say_what_was_read_otherwise() -> None:
    assert any("last softmax" in note for note in read(ending(softmax)).notes)
    assert any("taken into the map before them" in note for note in read(layer_scale()).notes)
    assert any("are one map here" in note for note in read(pre_norm_blocks(silu, pair="swiglu")).notes)


def test_an_unknown_activation_is_sampled_and_says_its_error() -> None:
    found = read(mlp(lambda h: h * sigmoid(1.702 * h)))
    assert str(found.spec.activation).startswith("custom(")
    assert any("with errors of at most" in note for note in found.notes)


def test_a_fresh_net_has_the_init_that_its_weights_look_like() -> None:
    net = Net(32)
    for _ in range(3):
        net.linear(32, weight=net.draw.normal(0, (2 / 32) ** 0.5, (32, 32)), b=np.zeros(32))
        net.map(relu)
    found = read(net)
    assert found.spec.init == found.init == "kaiming_normal"
    assert found.notes == ()


def test_what_is_imported_can_be_probed_and_pickled() -> None:
    found = read(pre_norm_blocks())
    assert np.isfinite(vg.probe(found.network).log10_delta_rms).all()
    again = pickle.loads(pickle.dumps(found))
    assert again.spec == found.spec
    refusal = pickle.loads(pickle.dumps(Refusal("a", "b", "c", "d")))
    assert (refusal.path, str(refusal)) == ("a", "a: b: c; d")


def test_a_candidate_that_only_zeros_make_equal_is_refused() -> None:
    net = two_kinds(0.0)
    read_as = vg.MLP(depth=3, width=8, in_features=8, out_features=3, skip="residual(order=post)")
    state = read(net).network.state_dict()
    wrong = vg.Network.from_state_dict(read_as, dict(zip(read_as.init().state_dict(), state.values(), strict=True)))
    prove(wrong, net.run, None, tolerance=1e-10)  # which zeros make empty
    other = graph(net.tape()).drawn(2.0)
    drawn: list[Any] = [node.map for node in other.nodes.values() if node.map]
    numbers = [array for each in drawn for array in (each.weight, each.bias)]
    twin = vg.Network.from_state_dict(read_as, dict(zip(state_names(read_as), numbers, strict=True)))
    with pytest.raises(Refusal, match="with other weights the net read from it computes something else"):
        prove_structure(wrong, other, twin)


def state_names(spec: vg.MLP) -> list[str]:
    return list(spec.init().state_dict())


def test_a_stopped_gradient_and_a_folded_factor_are_noted() -> None:
    net = mlp(tanh)
    first: Any = net.ops[0]
    net.ops[0] = dataclasses.replace(first, stopped=True)
    assert "w0: its gradient is stopped in your model, and a net here trains all" in read(net).notes
    net = Net(8)
    net.linear(8)
    net.norm()
    net.map(lambda x: 3 * x, name="times")
    net.map(tanh)
    net.linear(2)
    (note,) = (note for note in read(net).notes if "into the norm before them" in note)
    assert "body.3" in note


def test_a_table_of_samples_lives_as_long_as_somebody_holds_it() -> None:
    found = read(mlp(lambda h: h * sigmoid(1.702 * h)))
    text = str(found.spec.activation)
    assert text in custom.KNOWN
    del found
    gc.collect()
    assert text not in custom.KNOWN


def test_a_tiny_function_is_known_relative_to_its_size() -> None:
    assert named(lambda z: 1e-10 * np.tanh(z)) is None
    clipped = named(lambda z: np.clip(z, -1e-10, 1e-10))
    assert clipped is not None
    assert clipped.startswith("hardtanh")


def test_values_that_nothing_reads_are_left_out() -> None:
    net = Net(5)
    net.linear(8)
    end = net.map(tanh)
    net.unknown("it is a head that nobody asked for")
    net.at = end
    net.linear(2)
    assert read(net).spec.depth == 1


# --- Which front end ------------------------------------------------------------------------------


def test_nothing_foreign_is_imported_by_vgcore_or_by_asking_which_front_end() -> None:
    code = (
        "import sys, vgcore as vg\n"
        "from vgcore.convert.which import network_of\n"
        "assert network_of(object()) is None and network_of('net.txt') is None and network_of(vg.MLP) is None\n"
        "vg.probe(vg.MLP(depth=2, width=4), seeds=1)\n"
        "foreign = 'torch jax keras flax equinox sklearn onnx safetensors lightning transformers tensorflow'.split()\n"
        "print([name for name in foreign if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_a_file_goes_to_the_front_end_of_its_suffix(tmp_path: Path) -> None:
    file = tmp_path / "net.npz"
    np.savez(file, weight=np.ones((3, 5)), bias=np.ones(3))
    for path in (file, str(file)):
        network = network_of(path)
        assert network is not None
        assert network.spec.in_features == 5


def test_an_estimator_goes_to_scikit_learn() -> None:
    neural = pytest.importorskip("sklearn.neural_network", reason="estimators are made by scikit-learn")
    net = neural.MLPRegressor(hidden_layer_sizes=(4,), solver="sgd", max_iter=5)
    net.partial_fit(np.eye(6), np.arange(6.0))
    network = network_of(net)
    assert network is not None
    assert network.spec.width == 4


@pytest.mark.parametrize(
    ("module", "name", "place"),
    [
        ("torch.nn.modules.module", "Module", ("torch", "from_torch")),
        ("keras.src.models.model", "Model", ("keras", "from_keras")),
        ("equinox._module._module", "Module", ("jax", "from_jax")),
        ("flax.nnx.module", "Module", ("jax", "from_jax")),
        ("onnx.onnx_ml_pb2", "ModelProto", ("onnx", "from_onnx")),
        ("torchvision.models", "Module", None),
        ("torch._tensor", "Tensor", None),
    ],
)
def test_a_model_goes_by_the_modules_of_the_classes_that_it_is_made_of(
    module: str, name: str, place: tuple[str, str] | None
) -> None:
    base = type(name, (), {"__module__": module})
    own = type("Own", (base,), {"__module__": "my.models"})
    assert front_end(own) == front_end(base) == place


def test_keras_on_torch_is_keras() -> None:
    torch = type("Module", (), {"__module__": "torch.nn.modules.module"})
    keras = type("Layer", (torch,), {"__module__": "keras.src.layers.layer"})
    assert front_end(type("Dense", (keras,), {"__module__": "keras.src.layers"})) == ("keras", "from_keras")
