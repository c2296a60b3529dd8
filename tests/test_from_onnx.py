"""Nets in ONNX files: read, proved against the reference evaluator, or refused with a reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="nets in ONNX files need onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402 (only where onnx is)
from onnx.reference import ReferenceEvaluator  # noqa: E402

from vgcore.convert.differences import at_once, by_entry  # noqa: E402
from vgcore.convert.imported import NonFinite, Refusal  # noqa: E402
from vgcore.convert.onnx import from_onnx  # noqa: E402


class Graph:
    """A graph in the making: `g.Relu(x)` adds a node and gives its output's name."""

    def __init__(self, opset: int = 20, *, seed: int = 0) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.opset, self.rng = opset, np.random.default_rng(seed)

    def __getattr__(self, op: str) -> Callable[..., Any]:
        def add(*inputs: str, outputs: int = 1, **attributes: Any) -> Any:
            names = [f"{op.lower()}_{len(self.nodes)}_{i}" for i in range(outputs)]
            name = f"{op}_{len(self.nodes)}"
            self.nodes.append(helper.make_node(op, list(inputs), names, name=name, **attributes))
            return names[0] if outputs == 1 else names

        return add

    def given(self, value: Any, dtype: Any = np.float32) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value, dtype=dtype), name))
        return name

    def normal(self, *shape: int) -> str:
        return self.given(self.rng.standard_normal(shape) / np.sqrt(shape[-1]))

    def linear(self, x: str, fan_in: int, fan_out: int) -> str:
        return str(self.Gemm(x, self.normal(fan_out, fan_in), self.normal(fan_out), transB=1))

    def model(
        self, *outputs: str, shape: tuple[Any, ...] = ("N", 4), dtype: int = TensorProto.FLOAT, **kwargs: Any
    ) -> Any:
        inputs = [helper.make_tensor_value_info("x", dtype, shape), *kwargs.get("more", ())]
        ends = [helper.make_tensor_value_info(name, dtype, None) for name in outputs]
        graph = helper.make_graph(self.nodes, "net", inputs, ends, self.weights)
        opsets = [helper.make_opsetid("", self.opset), *(helper.make_opsetid(d, 1) for d in kwargs.get("domains", ()))]
        return helper.make_model(graph, opset_imports=opsets, functions=kwargs.get("functions", ()))


def stacked(phi: Callable[[Graph, str], str], *, opset: int = 20, depth: int = 2) -> Any:
    """An MLP of width 6 with `phi` after each hidden map."""
    g, h = Graph(opset), "x"
    for i in range(depth):
        h = phi(g, g.linear(h, 6 if i else 4, 6))
    return g.model(g.linear(h, 6, 3))


def unary(op: str, **attributes: Any) -> Callable[[], Any]:
    return lambda: stacked(lambda g, h: str(getattr(g, op)(h, **attributes)))


def of_matmul_and_add() -> Any:
    g = Graph()
    h = g.Tanh(g.Add(g.MatMul("x", g.normal(4, 6)), g.normal(6)))
    return g.model(g.Add(g.normal(1, 3), g.MatMul(h, g.normal(6, 3))))


def of_a_transposed_weight() -> Any:
    g = Graph()
    h = g.Relu(g.MatMul("x", g.Transpose(g.normal(6, 4), perm=[1, 0])))
    return g.model(g.Gemm(h, g.normal(6, 3)))


def erf_gelu() -> Any:
    """As torch wrote gelu before operator set 20, its square root of two in float32."""

    def phi(g: Graph, h: str) -> str:
        opened = g.Add(g.Erf(g.Div(h, g.given(np.sqrt(2)))), g.given(1.0))
        return str(g.Mul(g.Mul(h, opened), g.given(0.5)))

    return stacked(phi, opset=17)


def swish_by_hand() -> Any:
    return stacked(lambda g, h: str(g.Mul(h, g.Sigmoid(h))))


def layer_norm() -> Any:
    return stacked(
        lambda g, h: str(g.Relu(g.LayerNormalization(h, g.given(np.ones(6)), g.given(np.zeros(6)), epsilon=1e-6)))
    )


def layer_norm_written_out() -> Any:
    """As torch wrote it before operator set 17."""

    def phi(g: Graph, h: str) -> str:
        middle = g.Sub(h, g.ReduceMean(h, axes=[-1]))
        variance = g.ReduceMean(g.Pow(middle, g.given(2.0)), axes=[-1])
        normed = g.Div(middle, g.Sqrt(g.Add(variance, g.given(1e-5))))
        return str(g.Tanh(g.Add(g.Mul(normed, g.normal(6)), g.normal(6))))

    return stacked(phi, opset=13)


def rms_norm() -> Any:
    return stacked(lambda g, h: str(g.Tanh(g.RMSNormalization(h, g.given(np.ones(6)), epsilon=1e-5))), opset=23)


def batch_norm() -> Any:
    def phi(g: Graph, h: str) -> str:
        numbers = [g.given(np.ones(6)), g.normal(6), g.normal(6), g.given(np.full(6, 2.0))]
        return str(g.Relu(g.BatchNormalization(h, *numbers)))

    return stacked(phi)


def dropped() -> Any:
    return stacked(lambda g, h: str(g.Dropout(g.Relu(h), g.given(0.25))))


def residual() -> Any:
    g = Graph()
    h = g.Tanh(g.linear("x", 4, 6))
    for _ in range(3):
        h = g.Add(h, g.Tanh(g.linear(h, 6, 6)))
    return g.model(g.linear(h, 6, 3))


def residual_of_a_share() -> Any:
    g = Graph()
    h = g.linear("x", 4, 6)
    for _ in range(2):
        h = g.Add(h, g.Mul(g.given(0.5), g.Relu(g.linear(h, 6, 6))))
    return g.model(g.linear(h, 6, 3))


def modern() -> Any:
    """Stem, blocks x + V phi(U LN(x)), norm, readout."""
    g = Graph()

    def norm(h: str) -> str:
        return str(g.LayerNormalization(h, g.given(np.ones(6)), g.given(np.zeros(6))))

    h = g.linear("x", 4, 6)
    for _ in range(2):
        h = g.Add(h, g.linear(g.Gelu(g.linear(norm(h), 6, 24)), 24, 6))
    return g.model(g.linear(norm(h), 6, 3))


def dense() -> Any:
    g, h, width = Graph(), "x", 4
    for _ in range(2):
        h = g.Concat(h, g.Relu(g.linear(h, width, 6)), axis=1)
        width += 6
    return g.model(g.linear(h, width, 3))


def gated() -> Any:
    def phi(g: Graph, h: str) -> str:
        value, gate = g.Split(h, outputs=2, axis=-1, num_outputs=2)
        return str(g.Mul(value, g.Sigmoid(gate)))

    g = Graph()
    h = phi(g, g.linear("x", 4, 12))
    return g.model(g.linear(phi(g, g.linear(h, 6, 12)), 6, 3))


def with_softmax() -> Any:
    g = Graph()
    return g.model(g.Softmax(g.linear(g.Relu(g.linear("x", 4, 6)), 6, 3), axis=-1))


def with_log_softmax() -> Any:
    g = Graph()
    return g.model(g.LogSoftmax(g.linear(g.Relu(g.linear("x", 4, 6)), 6, 3)))


def flattened() -> Any:
    g = Graph()
    h = g.Relu(g.linear(g.Flatten("x"), 12, 6))
    return g.model(g.linear(h, 6, 3), shape=("N", 1, 3, 4))


def flattened_by_its_shape() -> Any:
    """`x.view(x.size(0), -1)` as torch writes it."""
    g = Graph(13)
    batch = g.Gather(g.Shape("x"), g.given(0, np.int64), axis=0)
    shape = g.Concat(g.Unsqueeze(batch, g.given([0], np.int64)), g.given([-1], np.int64), axis=0)
    return g.model(g.linear(g.Relu(g.linear(g.Reshape("x", shape), 12, 6)), 6, 3), shape=("N", 3, 4))


def of_one_row() -> Any:
    """A batch of one, fixed, as an export without dynamic axes."""
    g = Graph()
    h = g.Reshape("x", g.given([1, 12], np.int64))
    return g.model(g.linear(g.Relu(g.linear(h, 12, 6)), 6, 3), shape=(1, 3, 4))


def of_free_width() -> Any:
    g = Graph()
    return g.model(g.linear(g.Relu(g.linear("x", 4, 6)), 6, 3), shape=("N", "features"))


def of_a_function() -> Any:
    g = Graph()
    h = g.Block(g.linear("x", 4, 6), domain="own")
    body = [helper.make_node("Tanh", ["a"], ["b"])]
    function = helper.make_function("own", "Block", ["a"], ["b"], body, [helper.make_opsetid("", 20)])
    return g.model(g.linear(h, 6, 3), functions=[function], domains=["own"])


def in_half_precision() -> Any:
    g = Graph()
    g.normal = lambda *shape: g.given(g.rng.standard_normal(shape), np.float16)  # type: ignore[method-assign]
    return g.model(g.linear(g.Relu(g.linear("x", 4, 6)), 6, 3), dtype=TensorProto.FLOAT16)


def with_a_constant() -> Any:
    g = Graph()
    scale = g.Constant(value_float=0.1)
    return g.model(g.linear(g.Tanh(g.Mul(scale, g.linear("x", 4, 6))), 6, 3))


ACCEPTED: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "relu": (unary("Relu"), {"depth": 2, "width": 6, "activation": "relu", "in_features": 4, "out_features": 3}),
    "tanh": (unary("Tanh"), {"activation": "tanh"}),
    "sigmoid": (unary("Sigmoid"), {"activation": "sigmoid"}),
    "leaky relu": (unary("LeakyRelu", alpha=0.2), {"activation": "leaky_relu(negative_slope=0.2)"}),
    "elu": (unary("Elu"), {"activation": "elu"}),
    "selu": (unary("Selu"), {"activation": "selu"}),
    "gelu": (unary("Gelu"), {"activation": "gelu"}),
    "gelu by tanh": (unary("Gelu", approximate="tanh"), {"activation": "gelu(approximate=tanh)"}),
    "gelu by erf": (erf_gelu, {"activation": "gelu"}),
    "softplus": (unary("Softplus"), {}),
    "softsign": (unary("Softsign"), {"activation": "softsign"}),
    "hard swish": (unary("HardSwish"), {"activation": "hardswish"}),
    "mish": (unary("Mish"), {"activation": "mish"}),
    "swish by hand": (swish_by_hand, {"activation": "silu"}),
    "MatMul and Add": (of_matmul_and_add, {"depth": 1, "width": 6, "activation": "tanh"}),
    "a transposed weight": (of_a_transposed_weight, {"bias": False}),
    "layer norm": (layer_norm, {"norm": "layer(eps=0.000001)", "norm_position": "pre"}),
    "layer norm written out": (layer_norm_written_out, {"norm": "layer"}),
    "RMS norm": (rms_norm, {"norm": "rms"}),
    "batch norm": (batch_norm, {"norm": "batch"}),
    "dropout": (dropped, {"dropout": 0.25}),
    "residual": (residual, {"skip": "residual", "depth": 4}),
    "residual of a share": (residual_of_a_share, {"skip": "residual", "branch_scale": 0.5}),
    "modern": (modern, {"block": 2, "stem": 1, "final_norm": "layer", "norm_position": "input"}),
    "dense": (dense, {"skip": "dense"}),
    "gated": (gated, {"activation": "glu"}),
    "a softmax at the end": (with_softmax, {"out_features": 3}),
    "a log softmax at the end": (with_log_softmax, {"out_features": 3}),
    "flattened": (flattened, {"in_features": 12}),
    "flattened by its shape": (flattened_by_its_shape, {"in_features": 12}),
    "one row": (of_one_row, {"in_features": 12}),
    "a free width": (of_free_width, {"in_features": 4}),
    "a function of its own": (of_a_function, {"activation": "tanh"}),
    "half precision": (in_half_precision, {"activation": "relu"}),
    "a constant": (with_a_constant, {"activation": "tanh"}),
}


# Refused


def one(body: Callable[[Graph, str], Any], *, opset: int = 20, **given: Any) -> Callable[[], Any]:
    """A map, what `body` does with its four features, and a map."""

    def make() -> Any:
        g = Graph(opset)
        h = g.linear("x", 4, 4)
        return g.model(g.linear(body(g, h), 4, 3), **given)

    return make


def scaled() -> Any:
    g = Graph()
    return g.model(g.Gemm("x", g.normal(4, 3), alpha=0.5))


def with_half_a_bias() -> Any:
    g = Graph()
    return g.model(g.Gemm("x", g.normal(4, 3), g.normal(3), beta=0.5))


def with_two_inputs() -> Any:
    g = Graph()
    other = helper.make_tensor_value_info("z", TensorProto.FLOAT, ("N", 4))
    return g.model(g.linear(g.Add("x", "z"), 4, 3), more=[other])


def with_two_outputs() -> Any:
    g = Graph()
    h = g.Tanh(g.linear("x", 4, 6))
    return g.model(g.linear(h, 6, 3), g.linear(h, 6, 1))


def of_a_branch() -> Any:
    g = Graph()
    h = g.linear("x", 4, 4)
    end = [helper.make_tensor_value_info("end", TensorProto.FLOAT, None)]
    ways = [helper.make_graph([helper.make_node(op, [h], ["end"])], op, [], end) for op in ("Relu", "Tanh")]
    positive = g.Greater(h, g.given(0.0))
    return g.model(g.linear(g.If(positive, then_branch=ways[0], else_branch=ways[1]), 4, 3))


def of_a_loop() -> Any:
    g = Graph()
    inputs = [helper.make_tensor_value_info(*each, []) for each in (("i", TensorProto.INT64), ("c", TensorProto.BOOL))]
    state = helper.make_tensor_value_info("a", TensorProto.FLOAT, None)
    ends = [
        helper.make_tensor_value_info("c", TensorProto.BOOL, []),
        helper.make_tensor_value_info("b", TensorProto.FLOAT, None),
    ]
    body = helper.make_graph([helper.make_node("Tanh", ["a"], ["b"])], "body", [*inputs, state], ends)
    h = g.Loop(g.given(3, np.int64), g.given(True, np.bool_), g.linear("x", 4, 4), body=body)
    return g.model(g.linear(h, 4, 3))


def recurrent(op: str, gates: int) -> Callable[[], Any]:
    def make() -> Any:
        g = Graph()
        h, _ = getattr(g, op)("x", g.normal(1, 3 * gates, 4), g.normal(1, 3 * gates, 3), outputs=2, hidden_size=3)
        return g.model(h, shape=(5, 2, 4))

    return make


def of_a_convolution() -> Any:
    g = Graph()
    h = g.Relu(g.Conv("x", g.normal(2, 1, 3, 3)))
    return g.model(g.linear(g.Flatten(h), 8, 3), shape=("N", 1, 4, 4))


def of_attention() -> Any:
    g = Graph()
    h = g.linear("x", 4, 4)
    return g.model(g.MatMul(g.Softmax(g.MatMul(h, g.Transpose(h, perm=[1, 0]))), h))


def of_positions() -> Any:
    g = Graph()
    return g.model(g.MatMul(g.Tanh(g.MatMul("x", g.normal(4, 6))), g.normal(6, 3)), shape=("N", 5, 4))


def quantised() -> Any:
    g = Graph()
    scale, zero = g.given(0.1), g.given(0, np.int8)
    h = g.QuantizeLinear("x", scale, zero)
    w = g.given(g.rng.integers(-9, 9, (4, 3)), np.int8)
    return g.model(g.DequantizeLinear(g.QLinearMatMul(h, scale, zero, w, scale, zero, scale, zero), scale, zero))


def of_integers() -> Any:
    g = Graph()
    h = g.Gather(g.normal(9, 4), "x", axis=0)
    return g.model(g.linear(g.Flatten(h), 4, 3), shape=("N", 1), dtype=TensorProto.INT64)


def foreign() -> Any:
    g = Graph()
    h = g.FastGelu(g.linear("x", 4, 4), domain="com.microsoft")
    return g.model(g.linear(h, 4, 3), domains=["com.microsoft"])


def of_free_shape() -> Any:
    g = Graph()
    return g.model(g.linear(g.Flatten("x"), 12, 3), shape=("N", "rows", 4))


def of_no_input() -> Any:
    g = Graph()
    return g.model(g.Tanh(g.given(np.ones((2, 3)))))


def in_columns() -> Any:
    g = Graph()
    return g.model(g.Gemm("x", g.normal(5, 3), transA=1), shape=(5, "N"))


def column_of_ones(g: Graph, h: str) -> Any:
    short = g.Slice(h, g.given([0], np.int64), g.given([3], np.int64), g.given([1], np.int64))
    return g.Concat(short, g.given(np.ones((1, 1))), axis=1)


REFUSED: dict[str, tuple[Callable[[], Any], str, str, str]] = {
    "alpha": (scaled, "Gemm_0", "Gemm", "its alpha is 0.5"),
    "beta": (with_half_a_bias, "Gemm_0", "Gemm", "its beta is 0.5"),
    "two inputs": (with_two_inputs, "", "2 inputs (x, z)", "a net here has one"),
    "two outputs": (with_two_outputs, "", "2 outputs", "a net here has one"),
    "a branch": (of_a_branch, "If", "If", "decided in the graph"),
    "a loop": (of_a_loop, "Loop", "Loop", "it is a loop"),
    "an LSTM": (recurrent("LSTM", 4), "LSTM_0", "LSTM", "carries a state"),
    "a GRU": (recurrent("GRU", 3), "GRU_0", "GRU", "carries a state"),
    "an RNN": (recurrent("RNN", 1), "RNN_0", "RNN", "carries a state"),
    "a convolution": (of_a_convolution, "Conv_0", "Conv", "shares its weights"),
    "a pool": (
        one(lambda g, h: g.Flatten(g.MaxPool(g.Unsqueeze(h, g.given([1], np.int64)), kernel_shape=[1]))),
        "",
        "MaxPool",
        "pools",
    ),
    "attention by hand": (of_attention, "", "Transpose", "turns the axes"),
    "attention": (one(lambda g, h: g.Attention(h, h, h), opset=23), "Attention", "Attention", "mixes the positions"),
    "a product of two values": (one(lambda g, h: g.MatMul(h, h)), "MatMul", "MatMul", "both depend on the input"),
    "a map of each position": (of_positions, "MatMul_0", "MatMul", "one of several axes"),
    "samples in columns": (in_columns, "Gemm_0", "Gemm", "samples in its columns"),
    "whole numbers": (quantised, "QuantizeLinear_0", "QuantizeLinear", "whole numbers"),
    "an input of integers": (of_integers, "x", "an input of INT64", "they do not measure"),
    "a domain of its own": (foreign, "FastGelu", "FastGelu", "com.microsoft"),
    "a free shape": (of_free_shape, "x", "an input of free shape", "so many features"),
    "no input": (of_no_input, "", "output", "does not depend on the input"),
    "some of the features": (
        one(
            lambda g, h: g.Concat(
                *[
                    g.Slice(h, g.given([i], np.int64), g.given([i + 2], np.int64), g.given([1], np.int64))
                    for i in (2, 0)
                ],
                axis=1,
            )
        ),
        *("", "", ""),
    ),
    "features by an index": (
        one(lambda g, h: g.Gather(h, g.given([0, 2, 1, 3], np.int64), axis=1)),
        "",
        "Gather",
        "by an index",
    ),
    "the largest few": (
        one(lambda g, h: g.TopK(h, g.given([4], np.int64), outputs=2)[0]),
        "",
        "TopK",
        "by their values",
    ),
    "an index": (one(lambda g, h: g.Cast(g.ArgMax(h), to=TensorProto.FLOAT)), "", "ArgMax", "no gradient"),
    "a cast to integers": (
        one(lambda g, h: g.Cast(g.Cast(h, to=TensorProto.INT64), to=TensorProto.FLOAT)),
        *("Cast", "Cast", "whole numbers"),
    ),
    "a column of ones": (one(column_of_ones), "Concat", "Concat", "constants beside the features"),
    "a running sum": (one(lambda g, h: g.CumSum(h, g.given(1, np.int64))), "CumSum", "CumSum", "those before it"),
    "padding": (one(lambda g, h: g.Pad(h, g.given([0, 0, 0, 0], np.int64))), "Pad", "Pad", "pads a sample"),
    "noise": (
        one(lambda g, h: g.Add(h, g.RandomNormalLike(h))),
        "RandomNormalLike",
        "RandomNormalLike",
        "random numbers",
    ),
    "drawn constants": (
        one(lambda g, h: g.Add(h, g.RandomNormal(shape=[4]))),
        "RandomNormal",
        "RandomNormal",
        "random numbers",
    ),
    "the mean of the batch": (
        one(lambda g, h: g.Sub(h, g.ReduceMean(h, g.given([0], np.int64)))),
        *("ReduceMean", "ReduceMean", "it mixes samples"),
    ),
    "a softmax between layers": (one(lambda g, h: g.Softmax(h)), "Softmax", "Softmax", "feature"),
    "a product of two branches": (
        one(lambda g, h: g.Mul(g.Tanh(g.linear(h, 4, 4)), g.Sin(g.linear(h, 4, 4)))),
        *("Mul", "Mul", "it joins 2 ways"),
    ),
    "a slope a feature": (one(lambda g, h: g.PRelu(h, g.given([0.1, 0.2, 0.3, 0.4]))), "PRelu", "PRelu", "feature"),
    "a slope a feature, all of them equal": (
        one(lambda g, h: g.PRelu(h, g.given([0.25] * 4))),
        "PRelu",
        "PRelu",
        "a number a feature",
    ),
    "samples in one row": (
        one(lambda g, h: g.Reshape(g.Reshape(h, g.given([1, -1], np.int64)), g.given([-1, 4], np.int64))),
        *("Reshape", "Reshape", "several samples"),
    ),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_net_is_read_as_what_it_is(name: str) -> None:
    """The proof against the reference evaluator is part of reading it."""
    make, expected = ACCEPTED[name]
    found = from_onnx(make()).spec.to_dict()
    assert {field: found[field] for field in expected} == expected


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_equal_is_refused_with_place_operation_and_reason(name: str) -> None:
    make, path, operation, reason = REFUSED[name]
    with pytest.raises(Refusal) as caught:
        from_onnx(make())
    found = caught.value
    assert path in found.path
    assert operation in found.operation
    assert reason in found.reason


@pytest.mark.parametrize("name", ["relu", "gelu", "residual", "dense", "RMS norm"])
def test_outputs_are_those_of_the_file_in_float32(name: str) -> None:
    model = ACCEPTED[name][0]()
    rows = np.random.default_rng(1).standard_normal((7, 4)).astype(np.float32)
    (theirs,) = ReferenceEvaluator(model).run(None, {"x": rows})
    found = from_onnx(model).network.forward(rows)
    np.testing.assert_allclose(found, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


def test_gradients_by_differences_are_those_of_the_formulas() -> None:
    """Of a norm, a softmax and a kink, beside which rows lie as near as 1e-6."""
    from vgcore.convert.onnx import _Graph, _wide

    g = Graph()
    h = g.Softmax(
        g.Relu(g.LayerNormalization(g.Gemm("x", g.given(np.eye(4))), g.given(np.ones(4)), g.given(np.zeros(4))))
    )
    rng = np.random.default_rng(0)
    x, c = rng.standard_normal((8, 4)), rng.standard_normal((8, 4))
    x -= x.mean(axis=1, keepdims=True)
    x[:4, 0] = 1e-6
    x[:4, 1] -= x[:4].sum(axis=1)  # so that the mean is 0 still, and the norm's output near it
    y, back = _Graph(_wide(g.model(h)), None).run(x)
    spread = np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
    middle = x - x.mean(axis=1, keepdims=True)
    normed = middle / spread
    to_relu = y * (c - (c * y).sum(axis=1, keepdims=True)) * (normed > 0)
    inner = to_relu - to_relu.mean(axis=1, keepdims=True) - normed * (to_relu * normed).mean(axis=1, keepdims=True)
    np.testing.assert_allclose(back(c), inner / spread, rtol=0, atol=1e-11)


@pytest.mark.parametrize("scale", [1.0, 30.0, 1e3, 1e6])
def test_differences_are_as_good_far_out(scale: float) -> None:
    draw = np.random.default_rng(0)
    x, c = scale * draw.standard_normal((5, 6)), draw.standard_normal((5, 6))

    def leaky(x: Any) -> Any:
        return np.where(x > 0, x, 0.3 * x)

    for found in (at_once(leaky, x, c), by_entry(leaky, x, c)):
        np.testing.assert_allclose(found, np.where(x > 0, c, 0.3 * c), rtol=0, atol=1e-9)


def test_one_of_several_outputs_is_read_where_it_is_named() -> None:
    model = with_two_outputs()
    first, second = (value.name for value in model.graph.output)
    assert from_onnx(model, output=second).spec.out_features == 1
    found = from_onnx(model, output=first)
    assert found.spec.out_features == 3
    assert f"only the output {first} counts; {second} is left out" in found.notes
    with pytest.raises(ValueError, match="output must be one of"):
        from_onnx(model, output="third")


def test_a_file_is_read_with_the_weights_that_lie_beside_it(tmp_path: Path) -> None:
    model, path = ACCEPTED["relu"][0](), tmp_path / "net.onnx"
    expected = from_onnx(model).network
    onnx.save(model, path)
    rows = np.random.default_rng(0).standard_normal((5, 4))
    np.testing.assert_array_equal(from_onnx(path).network.forward(rows), expected.forward(rows))
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    np.testing.assert_array_equal(from_onnx(str(path)).network.forward(rows), expected.forward(rows))
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(FileNotFoundError, match="lie in another file"):
        from_onnx(path)
    with pytest.raises(FileNotFoundError, match="lie in another file"):
        from_onnx(onnx.load(path, load_external_data=False))


def test_what_is_no_model_is_said(tmp_path: Path) -> None:
    broken = tmp_path / "net.onnx"
    broken.write_bytes(b"no protobuf at all")
    with pytest.raises(ValueError, match="is no ONNX model"):
        from_onnx(broken)
    with pytest.raises(FileNotFoundError, match=r"cannot read .*: No such file"):
        from_onnx(tmp_path / "none.onnx")
    with pytest.raises(OSError, match="cannot read 'a") as refused:
        from_onnx(100_000 * "a")
    assert len(str(refused.value)) < 200
    with pytest.raises(TypeError, match="model must be"):
        from_onnx(3)


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_weights_that_are_not_finite_are_named(bad: float) -> None:
    g = Graph()
    w = np.ones((6, 4))
    w[0, :3] = bad
    h = g.Relu(g.Gemm("x", g.given(w), transB=1))
    with pytest.raises(NonFinite) as caught:
        from_onnx(g.model(g.linear(h, 6, 3)))
    nan, inf = (3, 0) if np.isnan(bad) else (0, 3)
    assert caught.value.tensors == {"w0": ((6, 4), nan, inf, 24)}


def test_weights_that_are_not_finite_have_the_names_of_the_file() -> None:
    g = Graph()
    w = np.ones((4, 6))
    w[0, 0] = np.nan
    model = g.model(g.linear(g.Relu(g.MatMul("x", g.given(w))), 6, 3))
    with pytest.raises(NonFinite) as caught:
        from_onnx(model)
    assert caught.value.tensors == {model.graph.initializer[0].name: ((4, 6), 1, 0, 24)}


def test_a_graph_with_loose_ends_is_said() -> None:
    g = Graph()
    model = g.model(g.linear(g.Relu(g.linear("x", 4, 6)), 6, 3))
    model.graph.node[1].input[0] = "nowhere"
    with pytest.raises(ValueError, match="reads 'nowhere', which nothing in the graph makes"):
        from_onnx(model)
    del model.graph.node[:]
    with pytest.raises(ValueError, match="nothing in the graph makes its output"):
        from_onnx(model)


def test_a_refusal_says_nothing_of_torch() -> None:
    for make, *_ in REFUSED.values():
        with pytest.raises(Refusal) as caught:
            from_onnx(make())
        assert "torch" not in str(caught.value)


def test_the_model_is_left_as_it_was() -> None:
    model = ACCEPTED["modern"][0]()
    before = model.SerializeToString()
    from_onnx(model)
    assert model.SerializeToString() == before
