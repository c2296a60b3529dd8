"""Nets in ONNX files.

A graph is read node by node: what initialisers alone say is worked out, what touches the input goes to the tape. All
numbers are made float64 first, and the reference evaluator of `onnx`, which is NumPy, runs the graph: each function of
the tape is one node of it, and outputs are those of the whole graph. ONNX has no backward pass. The gradients that the
proof asks for come from the tape: exact through maps, sums, joins and norms, and through every other node by
differences of the evaluator.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vgcore.convert import match
from vgcore.convert.differences import at_once, by_entry, only, through_norm
from vgcore.convert.imported import WATCH, Imported, NonFinite, Refusal
from vgcore.convert.tape import (
    RUNNING,
    Add,
    Array,
    Concat,
    Drop,
    Linear,
    Map,
    Norm,
    Op,
    Reshape,
    Scale,
    Tape,
    Unknown,
    turned,
)
from vgcore.model import given

NEAREST = "export the part that is a net of layers alone"
#: Rows that a graph is thought to run on where it asks for its own shape.
ROWS = 7919
FLOATS = ("FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE")
#: Numbers that formulas have, which files round to float32.
EXACT = {
    np.float32(number): number
    for number in (
        *(math.sqrt(2), math.sqrt(0.5), math.sqrt(2 / math.pi), math.sqrt(math.pi / 8), 1 / 3, 1 / 6, 2 / 3),
        *(1.6732632423543772848, 1.0507009873554804934, math.pi, math.e, math.log(2)),
    )
}

ELEMENTWISE = {"Abs", "Acos", "Acosh", "Add", "And", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Celu", "Clip"}
ELEMENTWISE |= {"Cos", "Cosh", "Div", "Elu", "Equal", "Erf", "Exp", "Floor", "Gelu", "Greater"}
ELEMENTWISE |= {"GreaterOrEqual", "HardSigmoid", "HardSwish", "LeakyRelu", "Less", "LessOrEqual", "Log", "Max"}
ELEMENTWISE |= {"Mean", "Min", "Mish", "Mod", "Mul", "Neg", "Not", "Or", "PRelu", "Pow", "Reciprocal", "Relu"}
ELEMENTWISE |= {"Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt"}
ELEMENTWISE |= {"Sub", "Sum", "Swish", "Tan", "Tanh", "ThresholdedRelu", "Where", "Xor"}
#: What works along the features of a sample.
ROWWISE = {"Hardmax", "LogSoftmax", "LpNormalization", "ReduceL1", "ReduceL2", "ReduceLogSum"}
ROWWISE |= {"ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum"}
ROWWISE |= {"ReduceSumSquare", "Softmax"}
RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
#: Why an operation has no place in a net of layers.
REASONS = {
    "ArgMax": "an index has no gradient",
    "ArgMin": "an index has no gradient",
    "Attention": "attention mixes the positions of a sequence",
    "Conv": "a convolution shares its weights between positions",
    "ConvTranspose": "a convolution shares its weights between positions",
    "CumSum": "each feature depends on those before it",
    "Einsum": "only products with a matrix, MatMul and Gemm, are read",
    "GRU": "a recurrent net carries a state along a sequence",
    "Gather": "it picks features by an index",
    "GatherElements": "it picks features by an index",
    "GatherND": "it picks features by an index",
    "If": "which way it takes is decided in the graph",
    "LSTM": "a recurrent net carries a state along a sequence",
    "Loop": "it is a loop",
    "MaxPool": "it pools over windows of positions",
    "AveragePool": "it pools over windows of positions",
    "GlobalAveragePool": "it pools over positions",
    "OneHot": "an index has no gradient",
    "Pad": "it pads a sample with constants",
    "QuantizeLinear": "it rounds to whole numbers, and has no gradient",
    "RNN": "a recurrent net carries a state along a sequence",
    "Scan": "it is a loop",
    "TopK": "it picks features by their values",
    **dict.fromkeys(
        ("ConvInteger", "DynamicQuantizeLinear", "MatMulInteger", "QLinearConv", "QLinearMatMul"),
        "it computes in whole numbers, and has no gradient",
    ),
    **dict.fromkeys(RANDOM, "random numbers change what the net computes"),
}
OTHER = "no layer of a net here does this"


def from_onnx(model: Any, *, output: str | None = None) -> Imported:
    """A net in ONNX as a net here, proved against the graph.

    Args:
        model: The path of a file, or a `ModelProto`.
        output: Which output counts, where the graph has several.

    Returns:
        The network and notes. Batch normalisation takes the statistics of the batch, as in training.

    Raises:
        Refusal: For what has no equal here: which node, what it is and why.
        NonFinite: For weights that are nan or infinite.
        TypeError: For what is neither a path nor a `ModelProto`.
        OSError: For a file that cannot be read, or whose weights lie in another file that is not there.
        ValueError: For a file that is no model, and for an unknown output.
        ImportError: Without onnx.

    Example::

        import vgcore as vg

        net = vg.from_onnx("net.onnx")
        vg.diagnose(net.network)
    """
    try:
        import onnx  # noqa: F401 (whether it is there)
    except ImportError:
        raise ImportError("from_onnx needs onnx: pip install onnx") from None
    loaded = _loaded(model)
    graph = _Graph(_wide(loaded), output)
    graph.check_finite()
    graph.notes += _narrow(loaded)
    try:
        return match.imported(graph.tape(), graph.run)
    except Refusal as refusal:
        if refusal.nearest != WATCH:
            raise
        raise Refusal(refusal.path, refusal.operation, refusal.reason, NEAREST) from refusal


def _loaded(model: Any) -> Any:
    """The model, with the weights that lie in other files."""
    import onnx

    if isinstance(model, onnx.ModelProto):
        return model
    path = given.path("model", model)
    from google.protobuf.message import DecodeError

    try:
        return onnx.load(path)
    except DecodeError as error:
        raise ValueError(f"{given.shown(str(path))} is no ONNX model: {error}") from None
    except onnx.checker.ValidationError as error:
        raise FileNotFoundError(
            f"weights of {given.shown(str(path))} lie in another file, which cannot be read: "
            f"{given.printable(str(error), 200)}"
        ) from None
    except OSError as error:  # whose own words hold the whole path, however long
        raise type(error)(f"cannot read {given.shown(str(path))}: {error.strerror or error}") from error


def _wide(model: Any) -> Any:
    """A copy in float64, its functions written out."""
    import onnx
    from onnx import inliner, numpy_helper

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    if copy.functions:
        copy = inliner.inline_local_functions(copy)
    double = onnx.TensorProto.DOUBLE
    floats = {getattr(onnx.TensorProto, name) for name in FLOATS}

    def widen(tensor: Any) -> None:
        if tensor.data_type in floats:
            values = numpy_helper.to_array(tensor)
            wide = np.reshape(_meant(values.item()), values.shape) if values.size == 1 else values.astype(np.float64)
            tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))

    graph = copy.graph
    del graph.value_info[:]
    for tensor in graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise FileNotFoundError(
                f"the weights {tensor.name!r} lie in another file; give the path of the model's file"
            )
        widen(tensor)
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type in floats:
            value.type.tensor_type.elem_type = double
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                widen(attribute.t)
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i in floats:
                attribute.i = double
            if node.op_type == "Constant" and attribute.name in {"value_float", "value_floats"}:
                several = attribute.name == "value_floats"
                values = np.asarray(
                    [*map(_meant, attribute.floats)] if several else _meant(attribute.f), dtype=np.float64
                )
                attribute.CopyFrom(onnx.helper.make_attribute("value", numpy_helper.from_array(values)))
    return copy


def _narrow(model: Any) -> list[str]:
    """Notes on what the graph computes in a smaller float than float32."""
    import onnx

    kinds = [
        each.i for node in model.graph.node if node.op_type == "Cast" for each in node.attribute if each.name == "to"
    ]
    small = {getattr(onnx.TensorProto, name): name.lower() for name in ("FLOAT16", "BFLOAT16")}
    return [f"it computes in {small[kind]}; here it is in float64" for kind in dict.fromkeys(kinds) if kind in small]


def _meant(number: float) -> float:
    """The number that one of float32 stands for: that of a formula, or the shortest decimal.

    >>> _meant(0.10000000149011612), _meant(1.4142135381698608)
    (0.1, 1.4142135623730951)
    """
    short = np.float32(number)
    return number if float(short) != number else EXACT.get(short, float(str(short)))


def _evaluator(model: Any) -> Any:
    """The reference evaluator, whose attributes are the numbers that those of float32 stand for."""
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(model, new_ops=list(_replacements()))
    for operation in evaluator.rt_nodes_:
        for name, value in vars(operation).items():
            if isinstance(value, float | np.float32):
                setattr(operation, name, _meant(float(value)))
    return evaluator


@dataclass(frozen=True)
class _Const:
    """What does not depend on the input: an array, and the initialiser that it comes from."""

    value: Any
    name: str = ""


@dataclass(frozen=True)
class _Data:
    """What depends on the input: a value of the tape, and the shape that a sample of it has."""

    number: int
    shape: tuple[int, ...]
    broken: bool = False

    @property
    def features(self) -> int:
        return math.prod(self.shape)


_Value = _Const | _Data


class _Graph:
    """A graph as operations that can be run again."""

    def __init__(self, model: Any, output: str | None) -> None:
        from onnx import numpy_helper

        self.model, graph = model, model.graph
        self.opsets = {each.domain: each.version for each in model.opset_import}
        self.notes: list[str] = []
        self.ops: list[Op] = []
        self.names: dict[int, str] = {}
        self.whole: set[int] = set()
        self.values: dict[str, _Value] = {
            tensor.name: _Const(numpy_helper.to_array(tensor), tensor.name) for tensor in graph.initializer
        }
        self.values[""] = _Const(None)
        inputs = [each for each in graph.input if each.name not in self.values]
        if len(inputs) != 1:
            names = ", ".join(each.name for each in inputs) or "none"
            raise Refusal("", f"{len(inputs)} inputs ({names})", "a net here has one", NEAREST)
        self.input = inputs[0].name
        self.values[self.input] = self.sample(inputs[0])
        self.output = self.chosen([each.name for each in graph.output], output)
        for node in graph.node:
            for name in node.input:
                if name not in self.values:
                    raise ValueError(f"{node.op_type} reads {given.shown(name)}, which nothing in the graph makes")
            outs = self.step(node)
            self.values |= dict(zip(node.output, outs, strict=False))
        if self.output not in self.values:
            raise ValueError(f"nothing in the graph makes its output {given.shown(self.output)}")
        found = self.values[self.output]
        if isinstance(found, _Const):
            raise Refusal("", f"output {self.output!r}", "it does not depend on the input", NEAREST)
        self.end = found.number
        self.inputs = 0

    def sample(self, value: Any) -> _Data:
        """The input, whose first axis is the batch."""
        import onnx

        kind = value.type.tensor_type
        if kind.elem_type != onnx.TensorProto.DOUBLE:
            sort = onnx.TensorProto.DataType.Name(kind.elem_type)
            raise Refusal(
                value.name, f"an input of {sort}", "whole numbers and texts name, they do not measure", NEAREST
            )
        dims = [each.dim_value if each.HasField("dim_value") else None for each in kind.shape.dim]
        self.rows = dims[0] if dims else None
        if len(dims) < 2:
            raise Refusal(value.name, f"an input of {len(dims)} axes", "a batch of samples has two or more", NEAREST)
        shape = [dim or self.first_width() for dim in dims[1:]] if len(dims) == 2 else dims[1:]
        if not all(shape):
            raise Refusal(
                value.name, "an input of free shape", "a net here has so many features and no others", NEAREST
            )
        return _Data(0, tuple(int(size or 0) for size in shape))

    def first_width(self) -> int:
        """The features that the first product takes, where the input does not say how many it has."""
        for node in self.model.graph.node:
            weights = [self.values[name] for name in node.input[1:2] if name in self.values]
            if node.op_type in {"Gemm", "MatMul"} and weights and isinstance(weights[0], _Const):
                turned = any(each.name == "transB" and each.i for each in node.attribute)
                return int(weights[0].value.shape[1 if turned else 0])
        return 0

    def chosen(self, outputs: list[str], output: str | None) -> str:
        """The output that counts."""
        if output is not None:
            if given.text("output", output) not in outputs:
                raise ValueError(f"output must be one of {', '.join(outputs)}, got {given.shown(output)}")
            if len(outputs) > 1:
                others = ", ".join(name for name in outputs if name != output)
                self.notes.append(f"only the output {output} counts; {others} is left out")
            return output
        if len(outputs) != 1:
            names = ", ".join(outputs)
            raise Refusal(
                "", f"{len(outputs)} outputs ({names})", "a net here has one", "name the one that counts: output="
            )
        return outputs[0]

    def check_finite(self) -> None:
        """Refuse weights that are not finite, by the names of their initialisers and in the order of their use."""
        used = dict.fromkeys(name for node in self.model.graph.node for name in node.input)
        weights = {
            name: each.value for name in used if isinstance(each := self.values[name], _Const) and each.name == name
        }
        if bad := NonFinite.of({name: value for name, value in weights.items() if value.dtype.kind == "f"}):
            raise bad

    # The tape

    def tape(self) -> Tape:
        """What was read, as the matcher takes it."""
        shape = self.values[self.input].shape  # type: ignore[union-attr]  # it is data
        return Tape(tuple(self.ops), 0, self.end, math.prod(shape), shape, tuple(dict.fromkeys(self.notes)))

    def emit(
        self, make: Callable[..., Op], args: Sequence[_Data], shape: tuple[int, ...], node: Any, **fields: Any
    ) -> _Data:
        out = len(self.ops) + 1
        numbers = tuple(each.number for each in args)
        path = node.name or node.output[0]
        op = make(out=out, args=numbers, path=path, name=node.op_type, shape=(ROWS, *shape), **fields)
        self.ops.append(op)
        self.names[out] = node.output[0]
        return _Data(out, shape)

    def unknown(self, node: Any, ins: Sequence[_Value], reason: str) -> list[_Value]:
        data = [each for each in ins if isinstance(each, _Data)]
        found = dataclasses.replace(self.emit(Unknown, data, (), node, reason=reason), broken=True)
        return [found] * len(node.output)

    # Running

    @functools.cached_property
    def evaluator(self) -> Any:
        """Of the whole graph, once it is known to hold nothing but what the evaluator has."""
        return _evaluator(self.model)

    def intermediate(self, rows: Array) -> dict[str, Any]:
        """Every value of the graph on flat rows."""
        x = rows.reshape(len(rows), *self.values[self.input].shape)  # type: ignore[union-attr]  # it is data
        with np.errstate(all="ignore"):
            found: dict[str, Any] = self.evaluator.run(None, {self.input: x}, intermediate=True)
        return found

    def run(self, rows: Array, upto: int | None = None) -> tuple[Array, Callable[[Array], Array]]:
        """The graph on rows; the gradient through the tape."""
        end = self.end if upto is None else upto
        if end == 0:
            return rows, lambda cotangent: cotangent
        values = self.intermediate(rows)
        env = {0: rows} | {
            n: np.asarray(values[name]).reshape(len(rows), -1) for n, name in self.names.items() if name in values
        }
        return env[end], functools.partial(self.back, env, end)

    def back(self, env: dict[int, Array], end: int, cotangent: Array) -> Array:
        """dL/dx, from dL/dy of a value."""
        slopes = {end: np.asarray(cotangent, dtype=np.float64)}
        for op in reversed(self.ops[:end]):
            if op.out not in slopes:
                continue
            c, args = slopes.pop(op.out), [env[arg] for arg in op.args]
            for arg, slope in zip(op.args, self.pulled(op, c, args), strict=True):
                slopes[arg] = slopes[arg] + slope if arg in slopes else slope
        return slopes.get(0, np.zeros_like(env[0]))

    def pulled(self, op: Op, c: Array, args: list[Array]) -> list[Array]:
        """The gradients of what an operation reads."""
        if isinstance(op, Linear):
            return [c @ op.weight]
        if isinstance(op, Add):
            return [op.alpha * c, op.beta * c]
        if isinstance(op, Scale):
            return [op.factor * c]
        if isinstance(op, Concat):
            return np.split(c, np.cumsum([each.shape[1] for each in args])[:-1], axis=1)
        if isinstance(op, Norm):
            return [through_norm(op, args[0], c)]
        if isinstance(op, Map):
            whole = op.out in self.whole
            by = [at_once if whole and each.shape == c.shape else by_entry for each in args]
            return [by[i](only(op.f, args, i), args[i], c) for i in range(len(args))]
        return [c]

    # Nodes

    def step(self, node: Any) -> list[_Value]:
        """What one node gives."""
        ins = [self.values[name] for name in node.input]
        data = [each for each in ins if isinstance(each, _Data)]
        if broken := [each for each in data if each.broken]:
            return [broken[0]] * len(node.output)
        if node.domain not in {"", "ai.onnx"}:
            return self.unknown(node, ins, f"operations of {node.domain} are not in the standard")
        if node.op_type in REASONS and (data or node.op_type in RANDOM | {"If", "Loop", "Scan"}):
            return self.unknown(node, ins, REASONS[node.op_type])
        if not data:
            label = next((each.name for each in ins if isinstance(each, _Const) and each.name), "")
            label = f"{label}:{node.op_type}" if label and node.op_type != "Identity" else label
            if node.op_type == "Transpose" and label:
                label = turned(label.removesuffix(":Transpose"))
            return [_Const(each, label) for each in self.evaluate(node, [each.value for each in ins])]  # type: ignore[union-attr]
        handler = getattr(self, f"on_{node.op_type.lower()}", None)
        if handler is not None:
            found = handler(node, ins)
        elif node.op_type in ELEMENTWISE:
            found = self.elementwise(node, ins)
        elif node.op_type in ROWWISE:
            found = self.rowwise(node, ins)
        else:
            found = OTHER
        if isinstance(found, str):
            return self.unknown(node, ins, found)
        return found if isinstance(found, list) else [found]

    def single(self, node: Any) -> Any:
        """The evaluator of one node by itself."""
        import onnx
        from onnx import helper

        names = dict.fromkeys(name for name in node.input if name)
        inputs = [helper.make_tensor_value_info(name, onnx.TensorProto.UNDEFINED, None) for name in names]
        outputs = [
            helper.make_tensor_value_info(name, onnx.TensorProto.UNDEFINED, None) for name in node.output if name
        ]
        graph = helper.make_graph([node], "node", inputs, outputs)
        opsets = [helper.make_opsetid(domain, version) for domain, version in self.opsets.items()]
        return _evaluator(helper.make_model(graph, opset_imports=opsets))

    def evaluate(self, node: Any, values: Sequence[Any]) -> list[Any]:
        feeds = {name: value for name, value in zip(node.input, values, strict=True) if name}
        return list(self.single(node).run(None, feeds))

    def f(self, node: Any, ins: Sequence[_Value], shapes: Sequence[tuple[int, ...]]) -> Callable[..., Array]:
        """A node as a function of the arrays that it reads, with its constants in place."""
        evaluator = self.single(node)
        constants = {n: each.value for n, each in zip(node.input, ins, strict=True) if n and isinstance(each, _Const)}
        names = [name for name, each in zip(node.input, ins, strict=True) if isinstance(each, _Data)]

        def replay(*arrays: Array) -> Array:
            given = {
                n: a.reshape(len(a), *s) if a.ndim == 2 and math.prod(s) == a.shape[1] else a
                for n, a, s in zip(names, arrays, shapes, strict=True)
            }
            with np.errstate(all="ignore"):
                found = np.asarray(evaluator.run(None, constants | given)[0], dtype=np.float64)
            return found.reshape(len(found), -1)

        return replay

    def map(
        self, node: Any, ins: Sequence[_Value], shape: tuple[int, ...], *, whole: bool = False, **fields: Any
    ) -> _Data:
        """A function of the values that a node reads."""
        data = [each for each in ins if isinstance(each, _Data)]
        found = self.emit(Map, data, shape, node, f=self.f(node, ins, [each.shape for each in data]), **fields)
        if whole:
            self.whole.add(found.number)
        return found

    def elementwise(self, node: Any, ins: list[_Value]) -> _Data | str:
        data = [each for each in ins if isinstance(each, _Data)]
        consts = [each for each in ins if isinstance(each, _Const) and each.value is not None]
        shape = data[0].shape
        if any(np.ndim(each.value) > len(shape) and len(each.value) != 1 for each in consts):
            return "it joins a constant that differs from sample to sample"
        if any(len(each.shape) != len(shape) for each in data):
            return "it joins values of different shapes"
        shapes = [each.shape for each in data]
        sizes = [np.shape(each.value)[-len(shape) :] for each in consts]
        try:
            shape = np.broadcast_shapes(*shapes, *sizes)
        except ValueError:
            return "it joins values of different shapes"
        slopes = consts if node.op_type == "PRelu" else []
        learned, key = (int(np.size(slopes[0].value)), slopes[0].name) if slopes else (0, "")
        return self.map(node, ins, shape, whole=True, learned=learned, key=key)

    def rowwise(self, node: Any, ins: list[_Value]) -> _Data | str:
        data = _data(ins)
        fields = _attributes(node)
        axes = fields.get("axes", fields.get("axis"))
        if len(ins) > 1 and isinstance(ins[1], _Const) and ins[1].value is not None:
            axes = ins[1].value.tolist()
        if axes is None:
            if node.op_type.startswith("Reduce"):
                return "it mixes samples"
            axes = -1 if self.opsets.get("", 1) >= 13 or node.op_type == "LpNormalization" else 1
        axes = [axes] if isinstance(axes, int) else list(axes)
        rank = 1 + len(data.shape)
        axes = [axis % rank for axis in axes]
        if 0 in axes:
            return "it mixes samples"
        if len(data.shape) > 1:
            return "it works along one of several axes of a sample"
        shape = data.shape
        if node.op_type.startswith("Reduce"):
            shape = (1,) if fields.get("keepdims", 1) else ()
        return self.map(node, ins, shape)

    def on_matmul(self, node: Any, ins: list[_Value]) -> _Data | str:
        left, right = ins
        if isinstance(left, _Data) and isinstance(right, _Data):
            return "it multiplies two values that both depend on the input, as attention does"
        if isinstance(left, _Const) or not isinstance(right, _Const):
            return "it has the samples in its columns"
        return self.linear(node, left, right, _Const(None), out_first=False)

    def on_gemm(self, node: Any, ins: list[_Value]) -> _Data | str:
        data, weight, *rest = ins
        fields = _attributes(node)
        for name in ("alpha", "beta"):
            if fields.get(name, 1.0) != 1:
                return f"its {name} is {fields[name]:g}; a linear map has 1 there"
        bias = rest[0] if rest else _Const(None)
        if not isinstance(data, _Data) or not isinstance(weight, _Const) or not isinstance(bias, _Const):
            return "it multiplies or adds two values that both depend on the input"
        if fields.get("transA"):
            return "it has the samples in its columns"
        return self.linear(node, data, weight, bias, out_first=bool(fields.get("transB")))

    def linear(self, node: Any, data: _Data, weight: _Const, bias: _Const, *, out_first: bool) -> _Data | str:
        """A linear map; `out_first` says that the weights lie (out, in)."""
        value = np.asarray(weight.value, dtype=np.float64)
        if len(data.shape) != 1:
            return "it acts on one of several axes of a sample, and shares its weights between the others"
        if value.ndim != 2:
            return f"its weights have {value.ndim} axes, a matrix has two"
        w = np.ascontiguousarray(value if out_first else value.T)
        if w.shape[1] != data.shape[0]:
            return f"its weights take {w.shape[1]} features, and get {data.shape[0]}"
        b = None
        if bias.value is not None:
            b = np.asarray(bias.value, dtype=np.float64)
            if b.ndim > 1 and b.shape[0] != 1:
                return "its bias differs from sample to sample"
            b = np.broadcast_to(b.reshape(-1), (w.shape[0],)).copy()
        name = weight.name or node.name or node.output[0]
        keys = {"key": name if out_first else turned(name), "bias_key": bias.name}
        return self.emit(Linear, [data], (w.shape[0],), node, weight=w, bias=b, **keys)

    def on_add(self, node: Any, ins: list[_Value]) -> _Data | str:
        first, second = ins
        if isinstance(first, _Data) and isinstance(second, _Data):
            if first.shape != second.shape:
                return self.elementwise(node, ins)
            return self.emit(Add, [first, second], first.shape, node, beta=-1.0 if node.op_type == "Sub" else 1.0)
        data, const = _data(ins), next(each for each in ins if isinstance(each, _Const))
        op = self.ops[data.number - 1] if data.number else None
        if not isinstance(op, Linear) or op.bias is not None or (node.op_type == "Sub" and data is second):
            return self.elementwise(node, ins)
        value = np.asarray(const.value, dtype=np.float64)
        if (value.ndim > 1 and value.shape[0] != 1) or value.size not in {1, data.features}:
            return self.elementwise(node, ins)
        sign = -1.0 if node.op_type == "Sub" else 1.0
        found = self.emit(
            Linear,
            [_Data(op.args[0], ())],
            data.shape,
            node,
            weight=op.weight,
            key=op.key,
            bias_key=const.name,
            bias=sign * np.broadcast_to(value.reshape(-1), data.shape),
        )
        self.ops[-1] = dataclasses.replace(self.ops[-1], path=op.path, name=op.name)
        return found

    on_sub = on_add

    def on_mul(self, node: Any, ins: list[_Value]) -> _Data | str:
        data = [each for each in ins if isinstance(each, _Data)]
        const = next((each for each in ins if isinstance(each, _Const)), None)
        if const is None or np.size(const.value) != 1 or np.ndim(const.value) > 1 + len(data[0].shape):
            return self.elementwise(node, ins)
        factor = float(np.reshape(const.value, ()))
        if node.op_type == "Div":
            if const is ins[0]:
                return self.elementwise(node, ins)
            factor = 1 / factor
        return self.emit(Scale, data, data[0].shape, node, factor=factor, key=const.name)

    on_div = on_mul

    def on_neg(self, node: Any, ins: list[_Value]) -> _Data:
        data = _data(ins)
        return self.emit(Scale, [data], data.shape, node, factor=-1.0)

    def on_concat(self, node: Any, ins: list[_Value]) -> _Data | str:
        parts = [each for each in ins if isinstance(each, _Data)]
        axis = _attributes(node)["axis"]
        if len(parts) < len(ins):
            return "it puts constants beside the features"
        if axis not in {1, -1} or any(len(each.shape) != 1 for each in parts):
            return "it joins values along an axis that is not the features'"
        return self.emit(Concat, parts, (sum(each.features for each in parts),), node)

    def on_dropout(self, node: Any, ins: list[_Value]) -> list[_Value] | str:
        data, rest = _data(ins), ins[1:]
        ratio = rest[0].value if rest and isinstance(rest[0], _Const) and rest[0].value is not None else None
        p = float(np.reshape(ratio, ())) if ratio is not None else float(_attributes(node).get("ratio", 0.5))
        return [self.emit(Drop, [data], data.shape, node, p=p)] * len(node.output)

    def same(self, node: Any, ins: list[_Value], shape: tuple[int, ...] | None = None) -> _Data:
        data = _data(ins)
        return self.emit(Reshape, [data], data.shape if shape is None else shape, node)

    on_identity = same

    def on_cast(self, node: Any, ins: list[_Value]) -> _Data | str:
        import onnx

        if _attributes(node)["to"] not in {onnx.TensorProto.DOUBLE, onnx.TensorProto.BOOL}:
            return "it rounds to whole numbers, and has no gradient"
        return self.same(node, ins)

    def on_flatten(self, node: Any, ins: list[_Value]) -> _Data | str:
        if _attributes(node).get("axis", 1) != 1:
            return "it puts the numbers of several samples into one row"
        data = _data(ins)
        return self.same(node, ins, (data.features,))

    def on_reshape(self, node: Any, ins: list[_Value]) -> _Data | str:
        from onnx import numpy_helper

        data, target = ins
        if not isinstance(data, _Data) or not isinstance(target, _Const):
            return "its shape depends on the input"
        first, *rest = (int(size) for size in target.value)
        sizes = [data.shape[i] if size == 0 and i < len(data.shape) else size for i, size in enumerate(rest)]
        known = math.prod(size for size in sizes if size != -1)
        sizes = [data.features // max(known, 1) if size == -1 else size for size in sizes]
        if first not in {0, -1, ROWS, self.rows} or math.prod(sizes) != data.features:
            return "it puts the numbers of several samples into one row"
        # A file that was written for one size of batch runs on any.
        shape = numpy_helper.from_array(np.asarray([0, *sizes], dtype=np.int64), f"{node.output[0]} shape")
        self.model.graph.initializer.append(shape)
        node.input[1] = shape.name
        self.values[shape.name] = _Const(numpy_helper.to_array(shape))
        return self.same(node, ins, tuple(sizes))

    def on_squeeze(self, node: Any, ins: list[_Value]) -> _Data | str:
        data = _data(ins)
        axes = ins[1].value.tolist() if len(ins) > 1 and isinstance(ins[1], _Const) else _attributes(node).get("axes")
        rank = 1 + len(data.shape)
        gone = (
            {axis % rank for axis in axes} if axes is not None else {i + 1 for i, n in enumerate(data.shape) if n == 1}
        )
        return self.same(node, ins, tuple(size for i, size in enumerate(data.shape) if i + 1 not in gone))

    def on_unsqueeze(self, node: Any, ins: list[_Value]) -> _Data | str:
        data = _data(ins)
        axes = ins[1].value.tolist() if len(ins) > 1 and isinstance(ins[1], _Const) else _attributes(node)["axes"]
        rank = 1 + len(data.shape) + len(axes)
        new = {axis % rank for axis in axes}
        if 0 in new:
            return "it puts an axis before that of the samples"
        sizes = iter(data.shape)
        return self.same(node, ins, tuple(1 if i in new else next(sizes) for i in range(1, rank)))

    def on_transpose(self, node: Any, ins: list[_Value]) -> _Data | str:
        data = _data(ins)
        order = list(_attributes(node).get("perm", reversed(range(1 + len(data.shape)))))
        if order != list(range(1 + len(data.shape))):
            return "it turns the axes of the samples around"
        return self.same(node, ins)

    def on_shape(self, node: Any, ins: list[_Value]) -> list[_Value]:
        data = _data(ins)
        fields = _attributes(node)
        sizes = (ROWS, *data.shape)[fields.get("start", 0) : fields.get("end")]
        return [_Const(np.asarray(sizes, dtype=np.int64))]

    def on_slice(self, node: Any, ins: list[_Value]) -> _Data | str:
        data, rest = _data(ins), ins[1:]
        if any(isinstance(each, _Data) for each in rest) or len(data.shape) != 1:
            return "it picks parts of a sample by what depends on the input, or of several axes"
        fields = _attributes(node)
        starts, ends, axes, steps = (
            [*(each.value for each in rest if isinstance(each, _Const)), None, None][:4]
            if rest
            else (fields["starts"], fields["ends"], fields.get("axes"), None)
        )
        along = [int(axis) % 2 for axis in (axes if axes is not None else range(len(starts)))]
        if along != [1]:
            return "it picks samples of a batch"
        step = int(steps[0]) if steps is not None else 1
        chosen = range(*slice(int(starts[0]), int(ends[0]), step).indices(data.features))
        return self.map(node, ins, (len(chosen),))

    def on_split(self, node: Any, ins: list[_Value]) -> list[_Value] | str:
        data, rest = _data(ins), ins[1:]
        fields = _attributes(node)
        if fields.get("axis", 0) not in {1, -1} or len(data.shape) != 1:
            return "it picks samples of a batch, or parts of several axes"
        sizes = rest[0].value.tolist() if rest and isinstance(rest[0], _Const) else fields.get("split")
        if sizes is None:
            part = math.ceil(data.features / len(node.output))
            sizes = [min(part, data.features - i * part) for i in range(len(node.output))]
        ends = np.cumsum(sizes)
        found: list[_Value] = []
        for name, start, end in zip(node.output, ends - sizes, ends, strict=True):

            def f(x: Array, start: int = int(start), end: int = int(end)) -> Array:
                return x[:, start:end]

            found.append(self.emit(Map, [data], (int(end - start),), node, f=f))
            self.names[len(self.ops)] = name
        return found

    def on_layernormalization(self, node: Any, ins: list[_Value]) -> list[_Value] | str:
        return self.norm(node, ins, "layer", 1e-5)

    def on_rmsnormalization(self, node: Any, ins: list[_Value]) -> list[_Value] | str:
        return self.norm(node, ins, "rms", 1e-5)

    def on_batchnormalization(self, node: Any, ins: list[_Value]) -> list[_Value] | str:
        self.notes.append(RUNNING)
        return self.norm(node, ins, "batch", 1e-5)

    def norm(self, node: Any, ins: list[_Value], kind: str, eps: float) -> list[_Value] | str:
        data, rest = ins[0], [each for each in ins[1:] if isinstance(each, _Const) and each.value is not None]
        if not isinstance(data, _Data) or any(isinstance(each, _Data) for each in ins[1:]):
            return "its parameters depend on the input"
        fields = _attributes(node)
        if len(data.shape) != 1 or (kind != "batch" and fields.get("axis", -1) not in {1, -1}):
            return "it works along one of several axes of a sample"
        values = [np.asarray(each.value, dtype=np.float64).reshape(-1) for each in rest]
        values = [np.broadcast_to(each, data.shape).copy() for each in values]
        names = ("weight", "bias", "mean", "variance")
        found = self.emit(
            Norm,
            [data],
            data.shape,
            node,
            kind=kind,
            eps=_meant(fields.get("epsilon", eps)),
            f=self.f(node, ins, [data.shape]),
            key=rest[0].name if rest else "",
            **dict(zip(names, values, strict=False)),
        )
        return [found] * len(node.output)


def _data(ins: Sequence[_Value]) -> _Data:
    """The first value that depends on the input."""
    return next(each for each in ins if isinstance(each, _Data))


def _attributes(node: Any) -> dict[str, Any]:
    from onnx import helper

    return {each.name: helper.get_attribute_value(each) for each in node.attribute}


@functools.cache
def _replacements() -> tuple[Any, ...]:
    """Operations in place of the evaluator's: with the batch's statistics, and in float64."""
    from onnx.reference.op_run import OpRun

    erf = np.vectorize(math.erf, otypes=[np.float64])

    class BatchNormalization(OpRun):  # type: ignore[misc]  # onnx has no types there
        def _run(self, x: Any, scale: Any, b: Any, *_: Any, epsilon: float = 1e-5, **__: Any) -> Any:
            mean, variance = x.mean(axis=0), x.var(axis=0)
            found = (x - mean) / np.sqrt(variance + epsilon) * scale + b
            return (found,) + (mean, variance) * (len(self.onnx_node.output) > 1)

    class Erf(OpRun):  # type: ignore[misc]  # as above
        def _run(self, x: Any) -> Any:
            return (erf(x),)

    class Gelu(OpRun):  # type: ignore[misc]  # as above
        def _run(self, x: Any, approximate: str = "none") -> Any:
            if approximate == "tanh":
                return (x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),)
            return (x / 2 * (1 + erf(x / math.sqrt(2))),)

    class HardSwish(OpRun):  # type: ignore[misc]  # as above
        def _run(self, x: Any) -> Any:
            return (x * np.clip(x / 6 + 0.5, 0, 1),)

    return BatchNormalization, Erf, Gelu, HardSwish
