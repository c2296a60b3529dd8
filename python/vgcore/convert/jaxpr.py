"""What a function of JAX does, as a tape: its jaxpr, walked once.

A jaxpr is a complete record of what a function does with its parameters and its input. What parameters alone say is
worked out, what touches the input goes to the tape. A product says by its dimension numbers how the weights lie. What
works along the features or over the batch gives statistics, which wait until they meet a whole value again: each
operation of the tape reads whole values. Every operation keeps how JAX computes it, so that the tape itself can be run
and differentiated, and is held to the user's function before anything else is done.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vgcore.convert.imported import Refusal
from vgcore.convert.primitives import bind, compiled, differentiated, evaluated, is_float, library, wide
from vgcore.convert.tape import Add, Array, Concat, Drop, Linear, Map, Op, Scale, Tape, Unknown, turned
from vgcore.model.given import shown

#: The rows of a recording: no width of a layer is likely to be so.
ROWS = 11
#: The axis of the batch among the labels of a value's axes; features are 0, 1, ..., and None is an axis of one entry.
BATCH = -1
#: What the name of a marked dropout begins with.
DROPOUT = "vgcore_dropout:"
#: How near the tape must come to the user's function, as a share of the largest number.
NEAR = 1e-10

ELEMENTWISE = {"abs", "acos", "acosh", "add", "and", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "ceil"}
ELEMENTWISE |= {"clamp", "cos", "cosh", "digamma", "div", "eq", "erf", "erf_inv", "erfc", "exp", "exp2", "expm1"}
ELEMENTWISE |= {"floor", "ge", "gt", "integer_pow", "is_finite", "le", "lgamma", "log", "log1p", "logistic", "lt"}
ELEMENTWISE |= {"max", "min", "mul", "ne", "neg", "nextafter", "not", "or", "pow", "rem", "round", "rsqrt"}
ELEMENTWISE |= {"select_n", "sign", "sin", "sinh", "sqrt", "square", "sub", "tan", "tanh", "xor"}
SAME = frozenset({"copy", "copy_p", "optimization_barrier", "reduce_precision", "pvary"})
CALLS = frozenset(
    {"jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint", "custom_jvp_call", "name"}
)
REDUCTIONS = frozenset({"reduce_sum", "reduce_max", "reduce_min", "reduce_prod"})
RANDOM = ("random_", "threefry", "rng_")
#: Why an operation has no place in a net of layers.
REASONS = {
    "argmax": "an index has no gradient",
    "argmin": "an index has no gradient",
    "conv_general_dilated": "a convolution shares its weights between positions",
    "cumsum": "each feature depends on those before it",
    "cumprod": "each feature depends on those before it",
    "cumlogsumexp": "each feature depends on those before it",
    "cummax": "each feature depends on those before it",
    "custom_vjp_call": "its gradient is its author's own",
    "dynamic_slice": "it picks features by an index",
    "dynamic_update_slice": "it writes over some features",
    "gather": "it picks features by an index",
    "pad": "it pads a sample with constants",
    "reduce_window": "it pools over windows of positions",
    "rev": "it turns the order of the features around",
    "scatter": "it writes over some features",
    "scatter-add": "it writes over some features",
    "sort": "it sorts, and moves features by their values",
    "top_k": "it picks features by their values",
    "while": "how often the loop runs depends on the data",
}
OTHER = "no layer of a net here does this"


@dataclass
class Model:
    """A function of parameters and a sample or a batch.

    Attributes:
        call: Of the leaves of the parameters and x.
        leaves: The parameters, floats as float64.
        names: Of the leaves.
        per_sample: Whether it is tried on one sample before it is tried on a batch.
        notes: What was changed.
    """

    call: Callable[[list[Any], Any], Any]
    leaves: list[Any]
    names: list[str]
    per_sample: bool = False
    notes: list[str] = field(default_factory=list)


def called(model: Model, *, per_sample: bool) -> Callable[[list[Any], Any], Any]:
    """The user's function on a batch."""
    import jax

    if not per_sample:
        return model.call
    return lambda leaves, x: jax.vmap(functools.partial(model.call, leaves))(x)


def traced(model: Model, shape: tuple[int, ...], *, per_sample: bool, rows: int = ROWS) -> Any:
    """The jaxpr and the shapes of the outputs, or what the user's function raises of such a shape."""
    import jax

    function = called(model, per_sample=per_sample)
    try:
        x = jax.ShapeDtypeStruct((rows, *shape), np.float64)  # type: ignore[no-untyped-call, unused-ignore]
        return jax.make_jaxpr(function, return_shape=True)(model.leaves, x)
    except Exception as error:  # noqa: BLE001 (the function is the user's)
        return error


@dataclass(frozen=True)
class _Const:
    """What does not depend on the input.

    Attributes:
        value: The array.
        name: The parameter that it comes from, or `""`.
        learned: Whether it comes from a parameter, and a gradient reaches that.
        single: Whether it is one number, however often.
        random: Whether random numbers are in it.
        stopped: Whether it comes from parameters, and no gradient reaches any of them.
    """

    value: Any
    name: str = ""
    learned: bool = False
    single: bool = False
    random: bool = False
    stopped: bool = False


@dataclass(frozen=True)
class _Data:
    """What depends on the input.

    The array behind it is always `(rows, columns)`: one row of statistics of the batch, one column of those of samples.

    Attributes:
        shape: As JAX has it.
        axes: What each axis is: `BATCH`, the place of a feature axis, or None where it has one entry.
        leaves: The values of the tape that it is made of.
        replay: The array from those of the leaves, by number.
        rows: Whether each sample has its own.
        columns: Whether each feature has its own.
        held: Whether it is a statistic, or made of such alone.
        batch: Whether statistics of a batch are in it.
        broken: Whether it comes from what cannot be said.
        learned: How many numbers of what computes it training changes, the most of one parameter.
        key: What that parameter is.
        stopped: Whether the gradient of a parameter of what computes it is stopped.
    """

    shape: tuple[int, ...]
    axes: tuple[int | None, ...]
    leaves: tuple[int, ...]
    replay: Callable[[dict[Any, Any]], Any]
    rows: bool = True
    columns: bool = True
    held: bool = False
    batch: bool = False
    broken: bool = False
    learned: int = 0
    key: str = ""
    stopped: bool = False

    @property
    def features(self) -> int:
        return math.prod(size for size, axis in zip(self.shape, self.axes, strict=True) if axis != BATCH)

    @property
    def is_value(self) -> bool:
        """Whether it is a whole value of the tape, and nothing is to be computed."""
        return self.replay is _first and self.columns

    def changed(self, **fields: Any) -> _Data:
        return _Data(**{**vars(self), **fields})


def _first(_: dict[Any, Any]) -> Any:
    raise AssertionError("a value of the tape is read by its number")


_Value = _Const | _Data


def _read(data: _Data, env: dict[Any, Any]) -> Any:
    """The array of a value; what is worked out on the way is kept, as a mean serves the variance too."""
    if data.replay is _first:
        return env[data.leaves[0]]
    if data.replay not in env:
        env[data.replay] = data.replay(env)
    return env[data.replay]


@dataclass(frozen=True)
class _Step:
    """An equation with the values that it reads.

    Attributes:
        eqn: The equation.
        ins: The values.
        where: Its path and its name.
    """

    eqn: Any
    ins: list[_Value]
    where: tuple[str, str]

    @property
    def data(self) -> _Data:
        """The one value, or the first, that depends on the input."""
        return next(each for each in self.ins if isinstance(each, _Data))


class Recording:
    """One model on rows of one shape, as operations that can be run again."""

    def __init__(self, model: Model, shape: tuple[int, ...], jaxpr: Any, *, per_sample: bool, rows: int = ROWS) -> None:
        import jax

        self.model = model
        self.shape = shape
        self.per_sample = per_sample
        self.rows = rows
        self.notes: list[str] = []
        self.ops: list[Op] = []
        self.replays: dict[int, Callable[[dict[Any, Any]], Any]] = {}
        self.batch: set[int] = set()
        self.narrow: bool = False
        self.deferred: bool = False
        self.outer: str = ""
        self.linears: dict[int, Linear] = {}
        #: The same for other numbers of rows, and values of the tape compiled, as they are asked for.
        self.others: dict[int, Recording] = {}
        self.compiled: dict[int, Callable[[Array, Array], tuple[Any, Any]]] = {}
        closed, out = jaxpr
        self.jaxpr: Any = closed.jaxpr
        outputs = jax.tree_util.tree_leaves(out)
        if len(outputs) != 1:
            raise Refusal(
                "", f"{len(outputs)} outputs", "a net here has one", "give a function that returns the one that counts"
            )
        features = tuple(range(len(shape)))
        x = _Data((rows, *shape), (BATCH, *features), (0,), _first)
        leaves: list[_Value] = [
            _Const(leaf, name, learned=np.ndim(leaf) > 0 or hasattr(leaf, "dtype"), single=np.size(leaf) == 1)
            for name, leaf in zip(model.names, model.leaves, strict=True)
        ]
        (found,) = self._walk(closed.jaxpr, self._constants(closed.consts), [*leaves, x])
        if isinstance(found, _Const):
            raise Refusal("", "the output", "it does not depend on x", "give a function of x")
        if not found.broken and (not found.axes or found.axes[0] != BATCH or len(found.shape) > 2):
            raise Refusal("", f"an output of shape {found.shape}", "a net here gives one row of numbers a sample")
        self.output: int = found.leaves[0] if found.broken else self._number(found, "", "output")

    def order(self) -> list[str]:
        """The names of the parameters in the order in which they are used, those that are not at the end."""
        names = dict(zip(self.jaxpr.invars, self.model.names, strict=False))  # x comes last, and has no name
        used = [
            names[var] for eqn in self.jaxpr.eqns for var in eqn.invars if type(var).__name__ == "Var" and var in names
        ]
        return list(dict.fromkeys([*used, *self.model.names]))

    # The tape

    def _needed(self) -> list[Op]:
        """The operations on the way to the output, in order."""
        wanted, kept = {self.output}, []
        for op in reversed(self.ops):
            if op.out in wanted:
                wanted.update(op.args)
                kept.append(op)
        return kept[::-1]

    def tape(self) -> Tape:
        """What was recorded, as the matcher reads it."""
        in_features = math.prod(self.shape)
        return Tape(tuple(self._needed()), 0, self.output, in_features, self.shape, tuple(dict.fromkeys(self.notes)))

    def at(self, rows: int) -> Recording:
        """The same on so many rows: a statistic of a batch divides by their number, which a jaxpr has written out."""
        if rows == self.rows or not self.batch:
            return self
        if rows in self.others:
            return self.others[rows]
        jaxpr = traced(self.model, self.shape, per_sample=self.per_sample, rows=rows)
        if isinstance(jaxpr, Exception):
            raise Refusal("", f"a batch of {rows}", f"the model does not take it: {shown(str(jaxpr))}") from jaxpr
        found = Recording(self.model, self.shape, jaxpr, per_sample=self.per_sample, rows=rows)
        return self.others.setdefault(rows, found)

    def f(self, out: int, args: tuple[int, ...]) -> Callable[..., Array]:
        """One operation on arrays of NumPy."""

        def replay(*arrays: Array) -> Array:
            import jax

            with jax.enable_x64(True):
                compute = (self.at(len(arrays[0])) if out in self.batch else self).replays[out]
                found = compute(dict(zip(args, map(np.asarray, arrays), strict=True)))
                return np.asarray(found, dtype=np.float64)

        return replay

    def evaluate(self, upto: int, x: Any) -> Any:
        """The value of that number, from flat rows."""
        env = {0: x}
        for op in self._needed():
            env[op.out] = self.replays[op.out](env)
            if op.out == upto:
                break
        return env[upto]

    def run(self, rows: Array, upto: int | None = None) -> tuple[Array, Callable[[Array], Array]]:
        """The tape on rows, in JAX and by its gradients."""
        recording = self.at(len(rows))
        end = recording.output if upto is None else upto
        if end not in recording.compiled:  # as a whole, which JAX does best
            recording.compiled[end] = compiled(differentiated(functools.partial(recording.evaluate, end)))
        compute = recording.compiled[end]

        def both(cotangent: Array) -> tuple[Array, Array]:
            import jax

            with jax.enable_x64(True):
                y, dx = compute(rows, cotangent)
                return np.asarray(y), np.asarray(dx)

        width = next((op.shape[-1] for op in recording.ops if op.out == end), rows.shape[1])
        return both(np.zeros((len(rows), width)))[0], lambda cotangent: both(np.asarray(cotangent, dtype=np.float64))[1]

    def check_function(self) -> None:
        """Hold the tape to the user's own function: its outputs and its gradients, whatever rules of its own it has.

        A function that casts to a smaller float has its gradients traced, rules and all, and what that says is computed
        in float64.
        """
        import jax

        if any(isinstance(op, Unknown) for op in self._needed()):
            return
        rng = np.random.default_rng(0)
        rows = rng.standard_normal((8, math.prod(self.shape)))
        call = called(self.model, per_sample=self.per_sample)

        def function(x: Any) -> Any:
            y = call(self.model.leaves, x.reshape(-1, *self.shape))
            return jax.tree_util.tree_leaves(y)[0].reshape(len(rows), -1).astype(np.float64)

        ours, vjp = self.run(rows)
        cotangent = rng.standard_normal(ours.shape)
        both = differentiated(function)
        if self.narrow:
            wider = jax.make_jaxpr(both)(rows, cotangent)
            theirs, back = evaluated(wider.jaxpr, wider.consts, [rows, cotangent])
        else:
            theirs, back = compiled(both)(rows, cotangent)
        pairs = {"outputs": (ours, theirs), "dL/dx": (vjp(cotangent), back)}
        for what, (mine, given) in pairs.items():
            error = np.abs(mine - np.asarray(given)).max() / max(np.abs(np.asarray(given)).max(), 1e-300)
            if not error <= NEAR:
                raise Refusal(
                    "",
                    what,
                    f"they differ by {error:.1e} of the largest from what the operations say: a rule of its own for "
                    "gradients, or a branch on the shape of the batch",
                )

    # Values

    def _constants(self, consts: Sequence[Any]) -> list[_Value]:
        return [self._constant(each) for each in consts]

    def _constant(self, value: Any) -> _Const:
        """An array that the function closes over: a parameter by all that one can see, unless it is one number."""
        size = np.size(value) if hasattr(value, "dtype") else 1
        name = f"constant {self.seen.setdefault(id(value), (len(self.seen), value))[0]}" if size > 1 else ""
        return _Const(wide(value), name, learned=size > 1, single=size == 1)

    @functools.cached_property
    def seen(self) -> dict[int, tuple[int, Any]]:
        """The arrays that were closed over, which stay alive so that their ids stay theirs."""
        return {}

    def _emit(
        self, make: Callable[..., Op], args: tuple[int, ...], data: _Data, where: tuple[str, str], **fields: Any
    ) -> _Data:
        """Put an operation on the tape; `data` says its shape and how it is computed."""
        out = len(self.ops) + 1
        path, name = where
        self.replays[out] = functools.partial(_read, data)
        if data.batch:
            self.batch.add(out)
            name = f"{name} over the batch"
        if make is Map:
            fields |= {"f": self.f(out, args), "learned": data.learned, "key": data.key, "stopped": data.stopped}
        self.ops.append(make(out=out, args=args, path=path, name=name, shape=(self.rows, data.features), **fields))
        own = {"learned": 0, "key": "", "stopped": False}
        return data.changed(leaves=(out,), replay=_first, rows=True, columns=True, held=False, batch=False, **own)

    def _whole(self, data: _Data) -> _Data:
        """With rows and columns of its own, where it had one entry for all of them."""
        if data.columns or data.features == 1:
            return data
        features = data.features

        def replay(env: dict[Any, Any]) -> Any:
            found = _read(data, env)
            return library(found).broadcast_to(found, (found.shape[0], features))

        return data.changed(replay=replay, columns=True)

    def _number(self, data: _Data, path: str, name: str) -> int:
        """The number of a value on the tape, which is computed there if it was not yet."""
        if data.is_value:
            return data.leaves[0]
        data = self._whole(data)
        if not data.rows:
            data = self._broadcast_rows(data)
        return self._emit(Map, data.leaves, data, (path, name)).leaves[0]

    def _broadcast_rows(self, data: _Data) -> _Data:
        def replay(env: dict[Any, Any]) -> Any:
            found = _read(data, env)
            return library(found).broadcast_to(found, (len(env[data.leaves[0]]), found.shape[1]))

        return data.changed(replay=replay, rows=True)

    def _finish(self, data: _Data, where: tuple[str, str]) -> _Data:
        """A whole value goes to the tape; a statistic waits."""
        if self.deferred or data.held or not data.rows or not (data.columns or data.features == 1):
            return data
        return self._emit(Map, data.leaves, data, where)

    def _unknown(self, ins: Sequence[_Value], where: tuple[str, str], reason: str) -> _Data:
        """What cannot be said: refused if the output depends on it."""
        leaves = tuple(dict.fromkeys(n for each in ins if isinstance(each, _Data) for n in each.leaves))
        out = len(self.ops) + 1
        path, name = where
        self.ops.append(Unknown(out=out, args=leaves, path=path, name=name, reason=reason))
        return _Data((), (), (out,), _first, broken=True)

    # Equations

    def _walk(self, jaxpr: Any, consts: Sequence[_Value], args: Sequence[_Value]) -> list[_Value]:
        """The values that a jaxpr gives for these."""
        env: dict[Any, _Value] = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))

        def read(var: Any) -> _Value:
            return env[var] if type(var).__name__ != "Literal" else self._constant(var.val)

        for eqn in jaxpr.eqns:
            ins = [read(var) for var in eqn.invars]
            env |= dict(zip(eqn.outvars, self._step(eqn, ins), strict=True))
        return [read(var) for var in jaxpr.outvars]

    def _step(self, eqn: Any, ins: list[_Value]) -> list[_Value]:
        """The values that one equation gives."""
        data = [each for each in ins if isinstance(each, _Data)]
        name, count = eqn.primitive.name, len(eqn.outvars)
        if broken := [each for each in data if each.broken]:
            return [broken[0]] * count
        if name in CALLS:
            return self._call(eqn, ins)
        if not data:
            return self._fold(eqn, ins)
        step, where = _Step(eqn, ins, (self._path(eqn), name)), (self._path(eqn), name)
        if any(isinstance(each, _Const) and each.random for each in ins):
            return [self._unknown(ins, where, "random numbers change what the net computes")] * count
        if any(np.issubdtype(var.aval.dtype, np.complexfloating) for var in eqn.outvars if hasattr(var.aval, "dtype")):
            return [self._unknown(ins, where, "complex numbers have no place here")] * count
        if name in SAME:
            return list(ins)
        handler = getattr(self, f"_on_{name}", None)
        if name in ELEMENTWISE:
            found: Any = self._elementwise(step)
        elif name in REDUCTIONS:
            found = self._reduction(step)
        elif handler is not None:
            found = handler(step)
        else:
            found = REASONS.get(name, OTHER)
        if isinstance(found, str):
            return [self._unknown(ins, where, found)] * count
        return found if isinstance(found, list) else [found]

    def _path(self, eqn: Any) -> str:
        """Where an equation stands: the module, or the line of the user's source."""
        stack = str(eqn.source_info.name_stack)
        parts = [part for part in stack.replace("vmap(", "").replace(")", "").split("/") if part]
        if parts:
            return ".".join(parts)
        return _line(eqn) or self.outer

    def _fold(self, eqn: Any, ins: list[_Value]) -> list[_Value]:
        """What parameters and constants alone give."""
        consts: list[Any] = ins
        name = eqn.primitive.name
        if name == "convert_element_type" and is_float(eqn.outvars[0].aval.dtype):
            self._cast(eqn.outvars[0].aval.dtype)
            return [dataclasses.replace(consts[0], value=np.asarray(consts[0].value, dtype=np.float64))]
        if name == "stop_gradient":
            return [dataclasses.replace(each, learned=False, stopped=each.stopped or each.learned) for each in consts]
        values = [each.value for each in consts]
        if name == "custom_vjp_call":  # whose gradients nobody asks for
            return self._call(eqn, ins)
        found = eqn.primitive.bind(*values, **eqn.params)
        named = [each for each in consts if each.name]
        label = named[0].name if named else ""
        if name == "transpose" and label:
            label = turned(label)
        elif label and name not in {"reshape", "broadcast_in_dim", "squeeze"}:
            label = f"{label}:{name}" + "".join(f" {each.name}" for each in named[1:])
            if name in {"slice", "dynamic_slice", "gather", "split"}:  # which part, say of stacked layers
                label += f" {[each.value for each in consts if not each.name]}{dict(eqn.params)}"
        learned, single = any(each.learned for each in consts), all(each.single for each in consts)
        about = {
            "learned": learned,
            "random": name.startswith(RANDOM) or any(each.random for each in consts),
            "stopped": not learned and any(each.stopped for each in consts),
        }
        many = list(found) if eqn.primitive.multiple_results else [found]
        return [
            _Const(
                wide(each), f"{label}[{i}]" if len(many) > 1 else label, single=single or np.size(each) == 1, **about
            )
            for i, each in enumerate(many)
        ]

    def _call(self, eqn: Any, ins: list[_Value]) -> list[_Value]:
        """A function within: one operation of its own name if it is one of a single value, else what it does."""
        inner = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
        if inner is None:  # of checkpoint_name, which marks a value and does nothing
            return list(ins)
        jaxpr, consts = (inner.jaxpr, inner.consts) if hasattr(inner, "consts") else (inner, ())
        name = str(eqn.params.get("name") or jaxpr.debug_info.func_name)
        data = [each for each in ins if isinstance(each, _Data)]
        if name.startswith(DROPOUT):
            (value,) = data
            number = self._number(value, self._path(eqn), "dropout")
            kept = value.changed(leaves=(number,), replay=_first)
            return [
                self._emit(Drop, (number,), kept, (self._path(eqn), "dropout"), p=float(name.removeprefix(DROPOUT)))
            ]
        outer, self.outer = self.outer, self._path(eqn)
        try:
            return self._within(name, jaxpr, self._constants(consts), ins)
        finally:
            self.outer = outer

    def _within(self, name: str, jaxpr: Any, consts: list[_Value], ins: list[_Value]) -> list[_Value]:
        """What a function within gives."""
        sources = {each.leaves for each in ins if isinstance(each, _Data)}
        if len(sources) != 1 or self.deferred or len(jaxpr.outvars) != 1 or not _is_pointwise(jaxpr):
            return self._walk(jaxpr, consts, ins)
        self.deferred = True
        try:
            (found,) = self._walk(jaxpr, consts, ins)
        finally:
            self.deferred = False
        if isinstance(found, _Data) and not found.broken and not found.is_value:
            found = self._finish(found, (self.outer, name))
        return [found]

    def _elementwise(self, step: _Step) -> _Data | str:
        eqn, ins, where = step.eqn, step.ins, step.where
        shape = tuple(eqn.outvars[0].aval.shape)
        axes = _joined([each.axes for each in ins if isinstance(each, _Data) and each.axes])
        if axes is None:
            return "it joins values whose axes mean different things"
        given: list[Any] = []
        for each in ins:
            if isinstance(each, _Data):
                given.append(each)
                continue
            flat = _row(each.value, shape, axes)
            if flat is None:
                return "it joins a constant that differs from sample to sample"
            given.append(flat)
        data: list[_Data] = [each for each in given if isinstance(each, _Data)]
        whole = [each for each in data if not each.held]
        leaves = tuple(dict.fromkeys(n for each in data for n in each.leaves))
        name = eqn.primitive.name

        def replay(env: dict[Any, Any]) -> Any:
            return bind(eqn, [_read(each, env) if isinstance(each, _Data) else each for each in given])

        wide = [np.shape(each)[1] > 1 for each in given if not isinstance(each, _Data) and np.ndim(each) == 2]
        features = math.prod(size for size, axis in zip(shape, axes, strict=True) if axis != BATCH)
        if any(each.columns and each.features not in {1, features} for each in data):
            return "it joins each feature with each of several others, as an outer product does"
        parameters = [each for each in ins if isinstance(each, _Const) and each.learned]
        counts = [(each.learned, each.key) for each in data]
        counts += [(1 if each.single else int(np.size(each.value)), each.name) for each in parameters]
        learned, key = max(counts, key=lambda each: each[0])
        found = _Data(
            shape,
            axes,
            leaves,
            replay,
            rows=any(each.rows for each in data),
            columns=any(each.columns for each in data) or any(wide) or features == 1,
            held=not whole,
            batch=any(each.batch for each in data),
            learned=learned,
            key=key,
            stopped=any(each.stopped for each in ins),
        )
        if self.deferred or found.held:
            return found
        if name in {"add", "sub"} and len(whole) == 2 and all(each.is_value for each in data):
            numbers = (data[0].leaves[0], data[1].leaves[0])
            if data[0].features == data[1].features:
                return self._emit(Add, numbers, found, where, beta=1.0 if name == "add" else -1.0)
        if len(data) == 1 and data[0].is_value and (joined := self._on_one(step, given, found)) is not None:
            return joined
        return self._finish(found, where)

    def _on_one(self, step: _Step, given: list[Any], found: _Data) -> _Data | None:
        """One value and a constant: the bias of a linear map, or a factor."""
        where, number = step.where, step.data.leaves[0]
        name, const = where[1], next((each for each in step.ins if isinstance(each, _Const)), None)
        if name == "neg":
            return self._emit(Scale, (number,), found, where, factor=-1.0)
        if const is None:
            return None
        row = np.asarray(next(each for each in given if not isinstance(each, _Data)), dtype=np.float64).reshape(-1)
        first = isinstance(step.ins[0], _Data)
        linear = self.linears.get(number)
        if (
            linear is not None
            and linear.bias is None
            and (const.learned or const.stopped)
            and (name == "add" or (name == "sub" and first))
        ):
            bias = np.broadcast_to(row if name == "add" else -row, linear.weight.shape[:1]).copy()
            stopped = linear.stopped or const.stopped
            where = (linear.path, linear.name)
            about = {"key": linear.key, "bias_key": const.name if const.learned else ""}
            source = linear.args[0]
            return self._linear(source, found, where, weight=linear.weight, bias=bias, stopped=stopped, **about)
        if const.single and (name == "mul" or (name == "div" and first)):
            factor = float(row[0]) if name == "mul" else 1 / float(row[0])
            key = const.name if const.learned else ""
            return self._emit(Scale, (number,), found, where, factor=factor, learned=const.learned, key=key)
        return None

    def _linear(
        self,
        source: int,
        data: _Data,
        where: tuple[str, str],
        *,
        weight: Array,
        bias: Array | None,
        key: str,
        stopped: bool,
        bias_key: str = "",
    ) -> _Data:
        """Put a linear map on the tape."""

        def replay(env: dict[Any, Any]) -> Any:
            y = env[source] @ weight.T
            return y if bias is None else y + bias

        data = data.changed(leaves=(source,), replay=replay)
        keys = {"key": key, "bias_key": bias_key}
        found = self._emit(Linear, (source,), data, where, weight=weight, bias=bias, stopped=stopped, **keys)
        self.linears[found.leaves[0]] = self.ops[-1]  # type: ignore[assignment]  # as it was made just now
        return found

    def _reduction(self, step: _Step) -> _Data | str:
        name, data = step.where[1], step.data
        axes = tuple(int(axis) for axis in step.eqn.params["axes"])
        over = {data.axes[axis] for axis in axes} - {None}
        left = tuple(axis for axis in range(len(data.shape)) if axis not in axes)
        kept = data.changed(shape=tuple(data.shape[i] for i in left), axes=tuple(data.axes[i] for i in left))
        if not over:
            return kept
        if over == {BATCH} and not data.rows:
            return "it takes statistics of statistics of the batch"
        features = {axis for axis in data.axes if axis not in {None, BATCH}}
        if over not in ({BATCH}, features):
            mixed = BATCH in over
            return "it mixes samples" if mixed else "it takes statistics of some features of a sample, not of all"
        along = 0 if over == {BATCH} else 1
        source = self._whole(data)

        def replay(env: dict[Any, Any]) -> Any:
            found = _read(source, env)
            return getattr(library(found), name.removeprefix("reduce_"))(found, axis=along, keepdims=True)

        if along == 0:
            return kept.changed(replay=replay, columns=source.columns, rows=False, held=True, batch=True)
        return kept.changed(replay=replay, columns=False, held=True)

    def _on_dot_general(self, step: _Step) -> _Data | str:
        eqn, ins, where = step.eqn, step.ins, step.where
        (contracted, together) = eqn.params["dimension_numbers"]
        left, right = ins
        if isinstance(left, _Data) and isinstance(right, _Data):
            return "it multiplies two values that both depend on the input, as attention does"
        if together[0] or together[1]:
            return "it has a matrix for each position of a sample"
        first, data = isinstance(left, _Data), step.data
        const = next(each for each in ins if isinstance(each, _Const))
        of_data, of_const = (contracted[0], contracted[1]) if first else (contracted[1], contracted[0])
        if BATCH in [data.axes[axis] for axis in of_data]:
            return "it mixes samples"
        free = [axis for axis in range(len(data.shape)) if axis not in of_data]
        if any(data.axes[axis] not in {None, BATCH} for axis in free):
            return "it acts on one of several axes of a sample, and shares its weights between the others"
        order = sorted(
            range(len(of_data)), key=lambda i: (data.axes[of_data[i]] is not None, data.axes[of_data[i]] or 0)
        )
        rest = [axis for axis in range(np.ndim(const.value)) if axis not in of_const]
        weight = np.asarray(const.value, dtype=np.float64).transpose(*rest, *(of_const[i] for i in order))
        weight = np.ascontiguousarray(weight.reshape(math.prod(weight.shape[: len(rest)]), -1))
        of_free = tuple(data.axes[axis] for axis in free)
        axes = (*of_free, *range(len(rest))) if first else (*range(len(rest)), *of_free)
        found = _Data(tuple(eqn.outvars[0].aval.shape), axes, (), _first)
        name = const.name or where[0]
        key = turned(name) if list(of_const) == [np.ndim(const.value) - 1] and rest else name
        path = const.name.removesuffix(".T")
        path = path.rpartition(".")[0] or path
        simple = bool(const.name) and ":" not in const.name and not const.name.startswith("constant")
        source = self._number(data, *where)
        where = (path if simple else where[0], where[1])
        return self._linear(source, found, where, weight=weight, bias=None, key=key, stopped=const.stopped)

    def _on_broadcast_in_dim(self, step: _Step) -> _Data | str:
        data = step.data
        shape = tuple(step.eqn.params["shape"])
        axes: list[int | None] = [None] * len(shape)
        for source, axis in enumerate(step.eqn.params["broadcast_dimensions"]):
            if data.shape[source] == shape[axis]:
                axes[int(axis)] = data.axes[source]
        new = [i for i, axis in enumerate(axes) if axis is None and shape[i] > 1]
        if not data.rows and BATCH not in axes:
            batch = next((i for i in new if shape[i] == self.rows), None)
            if batch is not None:
                axes[batch] = BATCH
                new.remove(batch)
        if new and data.columns and data.features > 1:
            return "it repeats the features of a sample"
        for i in new:
            axes[i] = i
        return data.changed(shape=shape, axes=tuple(axes), columns=data.columns and not new)

    def _on_reshape(self, step: _Step) -> _Data | str:
        data = step.data
        shape = tuple(step.eqn.params["new_sizes"])
        places = [axis for axis in data.axes if axis not in {None, BATCH}]
        if places != sorted(places, key=lambda place: place or 0):
            return "it puts the features of a sample into another order"
        axes: list[int | None] = [i if size > 1 else None for i, size in enumerate(shape)]
        if BATCH in data.axes:
            at = data.axes.index(BATCH)
            before = math.prod(data.shape[:at])
            found = [i for i, size in enumerate(shape) if size == self.rows and math.prod(shape[:i]) == before]
            if not found:
                return "it puts the numbers of several samples into one row"
            axes[found[0]] = BATCH
        return data.changed(shape=shape, axes=tuple(axes))

    def _on_squeeze(self, step: _Step) -> _Data | str:
        data = step.data
        gone = {int(axis) for axis in step.eqn.params["dimensions"]}
        left = [axis for axis in range(len(data.shape)) if axis not in gone]
        return data.changed(shape=tuple(data.shape[i] for i in left), axes=tuple(data.axes[i] for i in left))

    def _on_transpose(self, step: _Step) -> _Data | str:
        data = step.data
        order = [int(axis) for axis in step.eqn.params["permutation"]]
        return data.changed(shape=tuple(data.shape[i] for i in order), axes=tuple(data.axes[i] for i in order))

    def _on_convert_element_type(self, step: _Step) -> _Data | str:
        data = step.data
        dtype = step.eqn.outvars[0].aval.dtype
        if not is_float(dtype):
            return self._elementwise(step)
        self._cast(dtype)
        return data if is_float(step.eqn.invars[0].aval.dtype) else self._elementwise(step)

    def _cast(self, dtype: Any) -> None:
        """Take a cast to a smaller float as none."""
        if dtype.itemsize < 8:
            self.narrow = True
            self.notes.append(f"it computes in {dtype}; here it is in float64")

    def _on_stop_gradient(self, step: _Step) -> _Data | str:
        data = step.data
        if not data.held:
            return "gradients are stopped there"

        def replay(env: dict[Any, Any]) -> Any:
            import jax

            found = _read(data, env)
            return found if isinstance(found, np.ndarray) else jax.lax.stop_gradient(found)

        return data.changed(replay=replay)

    def _on_slice(self, step: _Step) -> _Data | str:
        data = step.data
        steps = step.eqn.params["strides"] or (1,) * len(data.shape)
        limits = zip(step.eqn.params["start_indices"], step.eqn.params["limit_indices"], steps, strict=True)
        return self._part(data, [slice(*each) for each in limits], step.where)

    def _part(self, data: _Data, slices: list[slice], where: tuple[str, str]) -> _Data | str:
        """Some features of a value."""
        cut = [i for i, each in enumerate(slices) if len(range(*each.indices(data.shape[i]))) != data.shape[i]]
        if not cut:
            return data
        features = [i for i, axis in enumerate(data.axes) if axis not in {None, BATCH}]
        if [data.axes[i] for i in cut] == [BATCH]:
            return "it picks samples of a batch"
        if cut != features:
            return "it picks parts of one of several axes of a sample"
        (axis,), (chosen,) = cut, (slices[cut[0]],)
        shape = tuple(len(range(*chosen.indices(size))) if i == axis else size for i, size in enumerate(data.shape))
        found = data.changed(shape=shape)
        if data.columns:
            found = found.changed(replay=lambda env: _read(data, env)[:, chosen])
        return self._finish(found, where)

    def _on_split(self, step: _Step) -> list[_Data] | str:
        data = step.data
        axis, start, found = int(step.eqn.params["axis"]), 0, []
        for size in map(int, step.eqn.params["sizes"]):
            slices = [slice(0, full) for full in data.shape]
            slices[axis] = slice(start, start + size)
            start += size
            part = self._part(data, slices, step.where)
            if isinstance(part, str):
                return part
            found.append(part)
        return found

    def _on_concatenate(self, step: _Step) -> _Data | str:
        axis = int(step.eqn.params["dimension"])
        parts = [each for each in step.ins if isinstance(each, _Data)]
        if len(parts) < len(step.ins):
            return "it puts constants beside the features"
        axes = _joined([each.axes for each in parts])
        if axes is None or axes[axis] == BATCH or any(a not in {None, BATCH} for i, a in enumerate(axes) if i != axis):
            return "it joins values along an axis that is not the features'"
        numbers = tuple(self._number(each, *step.where) for each in parts)

        def replay(env: dict[Any, Any]) -> Any:
            parts = [env[number] for number in numbers]
            return library(parts[0]).concatenate(parts, axis=1)

        labels = tuple(0 if i == axis else label for i, label in enumerate(axes))
        found = _Data(tuple(step.eqn.outvars[0].aval.shape), labels, numbers, replay)
        return self._emit(Concat, numbers, found, step.where)

    def _on_cond(self, step: _Step) -> list[_Value] | str:
        index, *rest = step.ins
        if isinstance(index, _Data):
            return "which way it takes depends on the data"
        branch = step.eqn.params["branches"][int(index.value)]
        return self._walk(branch.jaxpr, self._constants(branch.consts), rest)

    def _on_scan(self, step: _Step) -> list[_Value] | str:
        """A loop over layers, whose stacked weights it reads, one after the other; not one over the input."""
        first, carried, length = (int(step.eqn.params[name]) for name in ("num_consts", "num_carry", "length"))
        fixed, state, rows = step.ins[:first], step.ins[first : first + carried], step.ins[first + carried :]
        if any(isinstance(each, _Data) for each in rows):
            return "it runs along an axis of the input, as a recurrent net does"
        if len(step.eqn.outvars) > carried and any(not _is_dropped(var) for var in step.eqn.outvars[carried:]):
            return "it collects what every turn of the loop gives"
        body = step.eqn.params["jaxpr"]
        turns: Iterator[int] = iter(reversed(range(length)) if step.eqn.params["reverse"] else range(length))
        for turn in turns:
            now = [_turn(each, turn) for each in rows if isinstance(each, _Const)]
            state = self._walk(body.jaxpr, self._constants(body.consts), [*fixed, *state, *now])[:carried]
        spare = [_Const(np.zeros(()))] * (len(step.eqn.outvars) - carried)
        return [*state, *spare]


def _line(eqn: Any) -> str:
    """The line of the user's own source that an equation comes from, as `net.py:12`."""
    traceback = eqn.source_info.traceback
    libraries = [sys.modules[name].__file__ for name in ("jax", "flax", "equinox") if name in sys.modules]
    folders = [str(Path(file).parent) for file in (*libraries, __file__) if file]
    for frame in traceback.frames if traceback is not None else ():
        if not any(frame.file_name.startswith(folder) for folder in folders):
            return f"{Path(frame.file_name).name}:{frame.line_num}"
    return ""


def _turn(stacked: _Const, turn: int) -> _Const:
    """What one turn of a loop reads."""
    value = stacked.value[turn]
    return dataclasses.replace(stacked, value=value, name=f"{stacked.name}[{turn}]", single=np.size(value) == 1)


def _is_dropped(var: Any) -> bool:
    return type(var).__name__ == "DropVar"


def _is_pointwise(jaxpr: Any) -> bool:
    """Whether a function has no linear map, no join of branches and nothing unknown within it."""
    for eqn in jaxpr.eqns:
        name = eqn.primitive.name
        inner = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
        if name in CALLS and not str(eqn.params.get("name", "")).startswith(DROPOUT):
            if inner is not None and not _is_pointwise(getattr(inner, "jaxpr", inner)):
                return False
        elif name not in ELEMENTWISE | SAME | REDUCTIONS | {
            "broadcast_in_dim",
            "convert_element_type",
            "stop_gradient",
        }:
            return False
    return True


def _joined(several: Sequence[tuple[int | None, ...]]) -> tuple[int | None, ...] | None:
    """The axes of what joins values with these; None where they do not agree."""
    found: list[int | None] = list(several[0])
    for axes in several[1:]:
        for i, axis in enumerate(axes):
            if found[i] is None:
                found[i] = axis
            elif axis is not None and axis != found[i]:
                if BATCH in {axis, found[i]}:
                    return None
                # One axis of features that was counted from elsewhere.
                if sum(a not in {None, BATCH} for a in axes) != 1:
                    return None
    return tuple(found)


def _row(value: Any, shape: tuple[int, ...], axes: tuple[int | None, ...]) -> Any:
    """A constant as `(1, columns)`, or as it is if it is one number; None where it differs from sample to sample."""
    found = np.asarray(value)
    if found.ndim == 0:
        return found
    if BATCH in axes:
        at = axes.index(BATCH)
        one = found.take([0], axis=at)
        if found.shape[at] > 1 and not np.array_equal(
            found, np.broadcast_to(one, found.shape), equal_nan=found.dtype.kind == "f"
        ):
            return None
        found = one
    if found.size == 1:
        return found.reshape(())
    sizes = [1 if axis == BATCH else size for axis, size in zip(axes, shape, strict=True)]
    found = np.broadcast_to(found, sizes)
    order = sorted(range(len(axes)), key=lambda i: -1 if (axis := axes[i]) is None else axis)
    return found.transpose(order).reshape(1, -1)
