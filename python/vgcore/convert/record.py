"""One run of torch code as a tape: each function that it calls, with what it reads and what it makes.

A `TorchFunctionMode` hears every function at the level at which people write (`linear`, `layer_norm`, `add`), whatever
module, hook or loop it is called from. What depends on the samples is a value and has a number; all else is a constant.
A value is an object, not what it holds: one that is changed in place has a new number from then on.

All runs in float64, and as the net that is meant: dropout hands its input on, a batch normalisation takes the
statistics of the rows at hand, a cast from one floating type to another does nothing.
"""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Any

import numpy as np

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
    Replay,
    Reshape,
    Scale,
    Unknown,
    turned,
)

#: A tensor of torch, which may not be there to be typed by.
Tensor = Any

SUMS = {"add": (1, 1), "iadd": (1, 1), "radd": (1, 1)}
SUMS |= {"sub": (1, -1), "subtract": (1, -1), "isub": (1, -1), "rsub": (-1, 1)}
TIMES = {"mul", "multiply", "imul", "rmul"}
QUOTIENTS = {"div", "divide", "true_divide", "truediv", "itruediv"}
PRODUCTS = {"matmul", "mm", "mv", "addmm", "einsum", "tensordot", "inner", "rmatmul"}
BESIDE = {"cat", "concat", "concatenate", "hstack", "column_stack", "stack"}
CASTS = {"to", "double", "float", "half", "bfloat16", "type", "type_as", "cpu", "cuda"}
DROPS = {"dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout", "feature_dropout"}
#: Functions that no gradient passes.
STOPS = {"detach", "data"}
#: Functions that hand numbers of a tensor to Python.
READS = {"item", "tolist", "numpy", "equal", "allclose", "is_nonzero"}
READS |= {"__array__", "__bool__", "__float__", "__int__", "__index__", "__complex__"}
RANDOM = {"rand", "randn", "randint", "rand_like", "randn_like", "randint_like", "normal", "uniform", "bernoulli"}
RANDOM |= {"multinomial", "randperm", "poisson", "exponential", "cauchy", "log_normal", "geometric"}
TURNS = {"t", "T", "mT", "H", "mH", "adjoint", "transpose", "permute", "swapaxes", "swapdims", "movedim", "moveaxis"}
#: Functions that move numbers and compute nothing.
MOVES = TURNS | {"index_select", "gather", "take", "take_along_dim", "roll", "flip", "fliplr", "flipud", "rot90"}
MOVES |= {"masked_select", "view", "reshape", "flatten", "unflatten", "ravel", "squeeze", "unsqueeze", "contiguous"}
MOVES |= {"clone", "view_as", "reshape_as", "atleast_2d", "positive", "channel_shuffle", "getitem"}
#: Why a function has no equal, by what its name contains.
REASONS = {
    "attention": "attention mixes the positions of a sequence; an MLP has no such layer",
    "transformer": "a transformer mixes the positions of a sequence; an MLP has no such layer",
    "conv": "a convolution shares its weights over positions; an MLP has no such layer",
    **dict.fromkeys(
        ("lstm", "gru", "rnn_"), "a recurrent cell that is called by hand is not read; nn.RNN, nn.LSTM and nn.GRU are"
    ),
    "embedding": "it looks rows up by whole numbers, and a net here takes real ones",
    "one_hot": "it makes features of whole numbers, and a net here takes real ones",
    "pool": "it picks or averages features that lie side by side; an MLP has no such layer",
    "bilinear": "it multiplies two branches; an MLP has no such layer",
    "sort": "it puts the features in the order of their size; an MLP has no such layer",
    "topk": "it puts the features in the order of their size; an MLP has no such layer",
    "quant": "its numbers are quantised, and a net here has real ones",
    "fft": "its numbers are complex, and a net here has real ones",
    "group_norm": "it normalises groups of features; the norms here are batch, layer and rms",
    "instance_norm": "it normalises each channel by itself; the norms here are batch, layer and rms",
}


@dataclass(frozen=True)
class Constant:
    """What a constant is made of.

    Attributes:
        key: A parameter's name, or a function with the keys of what it read.
        learned: Whether a parameter is among that, and a gradient reaches it.
        plain: Whether it is a parameter or a buffer itself, at most transposed.
        stopped: Whether parameters are among that, and no gradient reaches any of them.
    """

    key: str
    learned: bool = False
    plain: bool = False
    stopped: bool = False


@dataclass(frozen=True, eq=False)
class Slot:
    """A value among the arguments of a function."""

    index: int


@dataclass(frozen=True, eq=False)
class Fixed:
    """A constant among the arguments of a function."""

    tensor: Tensor
    origin: Constant

    def array(self) -> Array:
        """Its numbers, as they are now: a parameter itself, which no run may change, or a copy."""
        numbers: Array = self.tensor.detach().double().numpy()
        return numbers if self.origin.plain and (self.origin.learned or self.origin.stopped) else np.array(numbers)

    def digest(self) -> bytes:
        """What tells its numbers from others, in a few bytes."""
        return digest(self.tensor)


@dataclass(eq=False)
class Recorder:
    """What hears one run.

    Attributes:
        batch: Rows of the samples: a number that is no size of the model's tensors.
        known: The constants known beforehand, by `id`.
        eps: What an RMS norm without an eps of its own takes: the resolution of the user's floating type.
        keep: The number of a value that is asked for.
        ops: What has been written down.
        training: Whether the model is in training mode.
        frozen: Which of the batch normalisations, in the order of their calls, take running statistics in training too.
        stays: Those that do so in this run, of a model in training mode.
        facts: Beside each operation, what it was called with: scalars, and digests of constants.
        notes: What was taken otherwise than it stands.
        kept: The value whose number was asked for.
        modules: Names of the modules that are at work, the innermost last.
        place: What says the place in the model, where no module does.
        refused: The first operation that has no equal here.
    """

    batch: int
    known: dict[int, Constant]
    eps: float
    keep: int | None = None
    training: bool = False
    frozen: frozenset[int] = frozenset()
    stays: set[int] = field(default_factory=set)
    ops: list[Op] = field(default_factory=list)
    facts: list[tuple[str, list[bytes]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    kept: Tensor = None
    modules: list[str] = field(default_factory=list)
    place: Callable[[], str] | None = None
    refused: Unknown | None = None

    def __post_init__(self) -> None:
        self._values: dict[int, int] = {}
        self._constants: dict[int, Constant] = {}
        #: The operations by what they make.
        self.made: dict[int, Op] = {}
        # Nothing may go while ids tell objects apart.
        self._alive: list[Tensor] = []
        self._count = 0
        self._norms = 0

    @property
    def path(self) -> str:
        """The place in the model."""
        return self.place() if self.place else self.modules[-1] if self.modules else ""

    def listening(self) -> Any:
        """A context in which every function of torch is heard."""
        from torch.overrides import TorchFunctionMode

        hear = self.hear

        class Ear(TorchFunctionMode):  # type: ignore[misc]  # torch may not be there
            def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                return hear(func, args, kwargs or {})

        return Ear()

    # --- Values and constants --------------------------------------------------------------------

    def begin(self, value: Tensor) -> int:
        """Give a value a number; a value changed in place gets another."""
        number = self._values[id(value)] = self._count
        self._count += 1
        self._alive.append(value)
        if number == self.keep:
            self.kept = value.clone()  # for the object may yet change
        return number

    def number(self, tensor: Tensor) -> int | None:
        """The number of a value; None for a constant."""
        if (found := self._values.get(id(tensor))) is not None or not tensor.requires_grad:
            return found
        if id(tensor) in self.known or id(tensor) in self._constants:
            return None
        # It depends on the samples, or no gradient would reach it, and no function was heard that made it.
        maker = type(tensor.grad_fn).__name__.removesuffix("Backward")
        if maker == "BackwardHookFunction":  # torch's own, around a module whose gradients are looked at
            same = (v for v in reversed(self._alive) if v.data_ptr() == tensor.data_ptr() and v.shape == tensor.shape)
            if (source := next((v for v in same if id(v) in self._values), None)) is not None:
                number = self._values[id(tensor)] = self._values[id(source)]
                self._alive.append(tensor)
                return number
        number = self.begin(tensor)
        reason = "no function of torch was heard that makes it; a gradient of its own may stand behind it"
        self._write(Unknown(out=number, args=(), path=self.path, name=maker, shape=tuple(tensor.shape), reason=reason))
        return number

    def maker(self, value: Tensor) -> Op | None:
        """The operation that computed the numbers of a value."""
        op = self.made.get(self._values[id(value)])
        while isinstance(op, Reshape):
            op = self.made.get(op.args[0])
        return op

    def source(self, value: Tensor) -> int:
        """The value that a value is computed from by plain functions alone."""
        number = self._values[id(value)]
        while isinstance(op := self.made.get(number), Map | Scale | Reshape) and len(op.args) == 1:
            number = op.args[0]
        return number

    def origin(self, tensor: Tensor) -> Constant:
        """What a constant is made of; one that nobody knows is told by when it was first met."""
        found = self.known.get(id(tensor)) or self._constants.get(id(tensor))
        return found or self._remember(tensor, Constant(f"tensor {len(self._constants)}"))

    def _remember(self, tensor: Tensor, origin: Constant) -> Constant:
        self._alive.append(tensor)
        self._constants[id(tensor)] = origin
        return origin

    def _write(self, op: Op, scalars: Sequence[Any] = (), constants: Sequence[bytes] = ()) -> None:
        self.ops.append(op)
        self.made[op.out] = op
        self.facts.append((repr(list(scalars)), list(constants)))
        if isinstance(op, Unknown) and self.refused is None:
            self.refused = op

    # --- Functions -------------------------------------------------------------------------------

    def hear(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a function as it is meant, and write it down if it reads a value."""
        import torch

        raw, name = spelled(func)
        if raw in {"__set__", "__delete__"} and self.number(args[0]) is None:
            return func(*args, **kwargs)
        values = list({id(t): t for t in leaves((args, kwargs)) if _tensor(t) and self.number(t) is not None}.values())
        if not values:
            return self._constant(func, raw, name, args, kwargs)
        if raw in READS:
            place = self.path or "the model"
            self.notes.append(
                f"{place} reads numbers of the samples ({name}); all samples that were tried took one way"
            )
            return func(*args, **kwargs)
        call = Call(self, func, (args, kwargs), values)
        if name == "batch_norm":
            call.frozen = self._norms in self.frozen
            if self.training and not call.named(args, kwargs).get("training"):
                self.stays.add(self._norms)
            self._norms += 1
        reason = call.reason()
        if reason and self.refused is None:
            # Before it runs, for it may raise.
            self.refused = Unknown(out=-1, args=call.numbers, path=self.path, name=name, reason=reason)
        changes = raw == "__setitem__" or (raw.endswith("_") and not raw.endswith("__"))
        result = call.run(changes=changes)
        if changes and result is None:
            result = args[0]
        made = [t for t in leaves(result) if _tensor(t)]
        for index, tensor in enumerate(made):
            stopped = tensor.is_floating_point() and not torch.is_grad_enabled()
            op = call.op(self._count, tensor, index if len(made) > 1 else None, reason or (stopped and _stops()) or "")
            self.begin(tensor)
            self._write(op, call.scalars, call.digests)
        return None if raw == "__setitem__" else result

    def _constant(self, func: Any, raw: str, name: str, args: Any, kwargs: Any) -> Any:
        """Run a function of constants, and remember what it makes of what."""
        import torch

        origins = [self.origin(t) for t in leaves((args, kwargs)) if _tensor(t)]
        result = widened(func(*args, **kwargs))
        made = [args[0]] if raw == "__setitem__" else [t for t in leaves(result) if _tensor(t)]
        for index, tensor in enumerate(made):
            if id(tensor) in self.known:
                continue
            if len(origins) == 1 and name in CASTS | STOPS | {"clone", "contiguous", "alias", "positive"}:
                origin = origins[0]
            elif len(origins) == 1 and name in TURNS and tensor.ndim == 2:
                origin = replace(origins[0], key=turned(origins[0].key))
            else:
                scalars = [repr(v) for v in leaves((args, kwargs)) if not _tensor(v)]
                parts = ", ".join([each.key for each in origins] + scalars)
                drawn, which = ("random " if name in RANDOM else ""), (f"[{index}]" if len(made) > 1 else "")
                learned = any(each.learned for each in origins)
                stopped = not learned and any(each.stopped for each in origins)
                origin = Constant(f"{drawn}{name}({parts}){which}", learned, stopped=stopped)
            if origin.learned and (name in STOPS or not torch.is_grad_enabled()):
                origin = replace(origin, learned=False, stopped=True)
            self._remember(tensor, origin)
        return result


class Call:
    """A function with its arguments, of which some are values: run it, replay it on other rows, say what it is."""

    def __init__(self, recorder: Recorder, func: Callable[..., Any], arguments: Any, values: list[Tensor]) -> None:
        self.func = func
        self.name: str = spelled(func)[1]
        self.path: str = recorder.path
        self.batch: int = recorder.batch
        self.eps: float = recorder.eps
        self.notes: list[str] = recorder.notes
        self.training: bool = recorder.training
        self.frozen: bool = False
        self.values = values
        self.numbers: tuple[int, ...] = tuple(recorder.number(v) or 0 for v in values)
        places = {id(v): Slot(i) for i, v in enumerate(values)}

        def placed(leaf: Any) -> Any:
            if not _tensor(leaf):
                return leaf
            return places.get(id(leaf)) or Fixed(widened(leaf), recorder.origin(leaf))

        self.args: Any
        self.kwargs: Any
        self.args, self.kwargs = swapped(arguments, placed)
        self.makers: list[Op | None] = [recorder.maker(v) for v in values]
        self.sources: list[int] = [recorder.source(v) for v in values]
        self.shapes: list[tuple[int, ...]] = [tuple(v.shape) for v in values]
        self.types: list[Any] = [v.dtype for v in values]
        #: Of the constants before anything changes them, once it ran.
        self.digests: list[bytes] = []

    @property
    def fixed(self) -> list[Fixed]:
        """The constants among the arguments."""
        return [leaf for leaf in leaves((self.args, self.kwargs)) if isinstance(leaf, Fixed)]

    @property
    def scalars(self) -> list[Any]:
        """What is neither a value nor a constant tensor, the number of rows apart."""
        plain = (v for v in leaves((self.args, self.kwargs)) if not isinstance(v, Slot | Fixed))
        return ["rows" if type(v) is int and v == self.batch else v for v in plain]

    def reason(self) -> str:
        """Why there is no equal, as far as the name tells; empty if it does not."""
        if self.name in STOPS | {"set"}:
            return "gradients stop here, and those of a net here do not"
        if self.name in RANDOM or any("random " in each.origin.key for each in self.fixed):
            return "random numbers take part in it, and a net here computes the same every time"
        return next((why for part, why in REASONS.items() if part in self.name.lower()), "")

    # --- Running ---------------------------------------------------------------------------------

    def run(self, *, changes: bool) -> Any:
        """The function on its own arguments; what it changes in place is kept for replays as it was."""
        args, kwargs = self._filled(self.values, self.batch)
        if changes:

            def kept(leaf: Any) -> Any:
                return Fixed(leaf.tensor.clone(), leaf.origin) if isinstance(leaf, Fixed) else leaf

            self.args, self.kwargs = swapped((self.args, self.kwargs), kept)
        # Before anything changes them.
        self.digests = [each.digest() for each in self.fixed]
        return widened(self._meant(args, kwargs))

    def replay(self, index: int | None) -> Replay:
        """The function of other rows, `(n, features)` each."""
        import torch

        def f(*arrays: Array) -> Array:
            rows = len(arrays[0])
            given = [
                torch.tensor(np.asarray(array)).reshape(rows, *shape[1:]).to(dtype)
                for array, shape, dtype in zip(arrays, self.shapes, self.types, strict=True)
            ]
            with torch.no_grad():
                args, kwargs = self._filled(given, rows)
                result = self._meant(args, kwargs)
            made = args[0] if result is None else [t for t in leaves(result) if _tensor(t)][index or 0]
            out: Array = made.double().reshape(len(made), -1).numpy()
            return out

        return f

    def _filled(self, values: list[Tensor], rows: int) -> Any:
        def filled(leaf: Any) -> Any:
            if isinstance(leaf, Slot):
                return values[leaf.index]
            if isinstance(leaf, Fixed):
                return leaf.tensor
            # Written as `view(len(x), -1)`, the number of rows is among the arguments.
            return rows if type(leaf) is int and leaf == self.batch else leaf

        return swapped((self.args, self.kwargs), filled)

    def _meant(self, args: Any, kwargs: Any) -> Any:
        import torch
        from torch.nn import functional

        of = self.named(args, kwargs)
        weights = of.get("weight"), of.get("bias")
        if self.func is functional.batch_norm and self.frozen:
            running = of["running_mean"], of["running_var"]
            return functional.batch_norm(of["input"], *running, *weights, training=False, eps=of["eps"])
        if self.func is functional.batch_norm:
            return functional.batch_norm(of["input"], None, None, *weights, training=True, eps=of["eps"])
        if self.func is functional.hardsigmoid:
            # Its derivative in torch is the float32 next to 1/6, in float64 too.
            return functional.relu6(args[0] + 3) / 6
        if self.func is functional.rms_norm:
            return functional.rms_norm(of["input"], of["normalized_shape"], of.get("weight"), of["eps"])
        if self.name in DROPS:
            return of["input"] if of.get("inplace") else of["input"].clone()
        if self.name in CASTS and args[0].is_floating_point():
            asked = [leaf.dtype if _tensor(leaf) else leaf for leaf in leaves((args[1:], kwargs))]
            if all(kind.is_floating_point for kind in asked if isinstance(kind, torch.dtype)):
                return args[0].clone()
        return self.func(*args, **kwargs)

    def named(self, args: Any, kwargs: Any) -> dict[str, Any]:
        """The arguments of a norm or of dropout by name."""
        names = {
            "batch_norm": ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps"),
            "layer_norm": ("input", "normalized_shape", "weight", "bias", "eps"),
            "rms_norm": ("input", "normalized_shape", "weight", "eps"),
            "linear": ("input", "weight", "bias"),
        }.get(self.name, ("input", "p", "training", "inplace"))
        of: dict[str, Any] = dict(zip(names, args, strict=False)) | kwargs
        if self.name.endswith("_norm") and of.get("eps") is None:
            of["eps"] = self.eps if self.name == "rms_norm" else 1e-5
        return of

    # --- Saying what it is -----------------------------------------------------------------------

    def op(self, out: int, made: Tensor, index: int | None, reason: str) -> Op:
        """The operation that makes this tensor."""
        about: dict[str, Any] = {"path": self.path, "name": self.name, "shape": tuple(made.shape)}
        about |= {"out": out, "args": self.numbers}
        if not reason and made.is_complex():
            reason = "its numbers are complex, and a net here has real ones"
        if not reason and (not made.ndim or len(made) != self.batch):
            reason = f"it mixes the samples of a batch, or moves their axis, into shape {tuple(made.shape)}"
        if reason:
            return Unknown(**about, reason=reason)
        plain = all(kind.is_floating_point for kind in self.types)
        for told in (self._linear, self._norm, self._dropped, self._sum, self._scaled, self._moved):
            if plain and (found := told(about, made, index)) is not None:
                return found
        f = self.replay(index)
        if not self._alone(f):
            return Unknown(**about, reason="it mixes the samples of a batch")
        learned = [each for each in self.fixed if each.origin.learned]
        numbers = max((each.tensor.numel() for each in learned), default=0)
        keys = ", ".join(each.origin.key for each in learned)
        return Map(**about, f=f, learned=numbers, key=keys, stopped=_stopped(*self.fixed))

    def _linear(self, about: dict[str, Any], made: Tensor, _: int | None) -> Op | None:
        once = sum(isinstance(leaf, Slot) for leaf in leaves((self.args, self.kwargs))) == 1
        if self.name != "linear" and self.name not in PRODUCTS:
            return None
        if not once:
            return Unknown(**about, reason="it multiplies two branches; an MLP has no such layer")
        for shape in (self.shapes[0], made.shape):
            if (positions := math.prod(shape[1:-1])) != 1:
                return Unknown(**about, reason=f"it acts on each of {positions} positions with the same weights")
        weight: Fixed | None = None
        bias: Fixed | None = None
        if self.name == "linear":
            of = self.named(self.args, self.kwargs)
            weight, bias = of["weight"], of.get("bias")
            if not isinstance(weight, Fixed):
                return Unknown(**about, reason="its weights are made of the samples")
            matrix = np.atleast_2d(weight.array())
        elif self.name == "addmm":
            bias, *factors = self.args
            if self.kwargs or not isinstance(bias, Fixed) or bias.tensor.ndim != 1 or len(factors) != 2:
                return None
            weight = factors[1]
            if not isinstance(weight, Fixed):
                return None
            matrix = weight.array().T.copy()
        elif len(self.fixed) == 1:
            weight = self.fixed[0]
            # A product with ones and zeros is exact.
            matrix = np.ascontiguousarray(self.replay(None)(np.eye(math.prod(self.shapes[0][1:]))).T)
        else:
            return None
        if not weight.origin.plain:
            place = self.path or "the model"
            self.notes.append(f"{place} computes its weights from others; they were taken as they are used")
        key, array = weight.origin.key, weight.array()
        if self.name != "linear" and array.shape[::-1] == matrix.shape and np.array_equal(array.T, matrix):
            key = turned(key)
        shift = None if bias is None else np.array(np.broadcast_to(bias.array(), len(matrix)))
        stopped = _stopped(weight, bias)
        return Linear(**about, weight=matrix, bias=shift, key=key, bias_key=_bias_key(bias), stopped=stopped)

    def _norm(self, about: dict[str, Any], made: Tensor, _: int | None) -> Op | None:
        if self.name not in {"layer_norm", "rms_norm", "batch_norm"} or len(self.values) != 1:
            return None
        if self.frozen:
            place = self.path or "the model"
            self.notes.append(f"{place} keeps its running statistics in training too: it is a factor and a shift here")
            return None
        of = self.named(self.args, self.kwargs)
        features = math.prod(made.shape[1:])
        over = features if self.name == "batch_norm" else math.prod(of["normalized_shape"])
        if over != features or (self.name == "batch_norm" and made.shape[1] != features):
            return Unknown(**about, reason="it normalises positions apart; a norm here takes all features of a sample")
        names = {"weight": "weight", "bias": "bias", "mean": "running_mean", "variance": "running_var"}
        given = {ours: of.get(theirs) for ours, theirs in names.items()}
        numbers: dict[str, Any] = {
            name: each.array().ravel() if isinstance(each, Fixed) else None for name, each in given.items()
        }
        key = of["weight"].origin.key if isinstance(of.get("weight"), Fixed) else ""
        kind = self.name.removesuffix("_norm")
        if numbers["mean"] is not None:
            self.notes.append(RUNNING)
        stopped = _stopped(of.get("weight"), of.get("bias"))
        return Norm(**about, kind=kind, eps=float(of["eps"]), f=self.replay(None), key=key, stopped=stopped, **numbers)

    def _dropped(self, about: dict[str, Any], _: Tensor, __: int | None) -> Op | None:
        if self.name not in DROPS:
            return None
        of = self.named(self.args, self.kwargs)
        if self.training and not of.get("training", True):
            return Reshape(**about)
        if not self.training and of.get("training", True):
            self.notes.append(f"{self.path or 'the model'} drops in evaluation too; dropout here is of training alone")
        if self.name == "dropout":
            return Drop(**about, p=float(of.get("p", 0.5)))
        self.notes.append(f"{self.path or 'the model'}: {self.name} was taken as identity, in training too")
        return Reshape(**about)

    def _sum(self, about: dict[str, Any], made: Tensor, _: int | None) -> Op | None:
        if self.name not in SUMS or len(self.args) < 2:
            return None
        one, two = self.args[:2]
        first, second = SUMS[self.name]
        alpha = float(self.args[2] if len(self.args) > 2 else self.kwargs.get("alpha", 1))
        if isinstance(one, Slot) and isinstance(two, Slot):
            shapes = {self.shapes[one.index], self.shapes[two.index], tuple(made.shape)}
            about["args"] = self.numbers[one.index], self.numbers[two.index]
            return Add(**about, alpha=float(first), beta=second * alpha) if len(shapes) == 1 else None
        if isinstance(one, Slot) and isinstance(two, Fixed) and tuple(made.shape) == self.shapes[0]:
            # A product and a sum are one map, whose bias learns though it be zero.
            maker = self.makers[one.index]
            plain = isinstance(maker, Linear) and maker.bias is None and maker.shape == about["shape"]
            if isinstance(maker, Linear) and plain and two.tensor.numel() in {1, made.shape[-1]}:
                bias = np.broadcast_to(second * alpha * two.array().ravel(), len(maker.weight)).copy()
                stopped = maker.stopped or _stopped(two)
                return replace(maker, out=about["out"], bias=bias, bias_key=_bias_key(two), stopped=stopped)
        number = two if isinstance(one, Slot) else one
        # `sum([a, b])` begins with 0.
        return Reshape(**about) if self.name.endswith("add") and type(number) is int and number == 0 else None

    def _scaled(self, about: dict[str, Any], made: Tensor, _: int | None) -> Op | None:
        if self.name in {"neg", "negative"}:
            return Scale(**about, factor=-1.0)
        if self.name not in TIMES | QUOTIENTS or len(self.args) != 2 or self.kwargs:
            return None
        over = self.name in QUOTIENTS
        if over and not isinstance(self.args[0], Slot):
            return None
        number: Any = self.args[1] if isinstance(self.args[0], Slot) else self.args[0]
        if isinstance(number, Slot) or len(self.values) != 1 or tuple(made.shape) != self.shapes[0]:
            return None
        origin = Constant("")
        if isinstance(number, Fixed):
            if number.tensor.numel() != 1:
                return None
            origin = number.origin
            number = number.tensor.item()
        return Scale(
            **about,
            factor=1 / float(number) if over else float(number),
            learned=origin.learned,
            key=origin.key if origin.learned else "",
        )

    def _moved(self, about: dict[str, Any], made: Tensor, index: int | None) -> Op | None:
        """What computes nothing: other shapes of the same numbers, and values side by side."""
        import torch

        def flat(tensor: Tensor) -> Tensor:
            return tensor.detach().reshape(len(tensor), -1)

        if self.name in BESIDE and not self.fixed and all(shape[0] == self.batch for shape in self.shapes):
            slots = [leaf for leaf in leaves((self.args, self.kwargs)) if isinstance(leaf, Slot)]
            about["args"] = tuple(self.numbers[slot.index] for slot in slots)
            beside = torch.equal(torch.cat([flat(self.values[slot.index]) for slot in slots], 1), flat(made))
            if not beside:
                return None
            # Functions of one value side by side are one function of it, as crelu is.
            of_one = self.sources[slots[0].index] not in about["args"] and len({*self.sources}) == 1
            return Map(**about | {"args": self.numbers}, f=self.replay(None)) if of_one else Concat(**about)
        if self.name in CASTS and made.is_floating_point():
            kinds = (leaf.dtype if _tensor(leaf) else leaf for leaf in leaves((self.args, self.kwargs)))
            named = [getattr(torch, self.name)] if self.name in {"half", "float", "bfloat16"} else []
            for kind in [*(each for each in kinds if isinstance(each, torch.dtype)), *named]:
                if kind.is_floating_point and torch.finfo(kind).eps > self.eps:
                    self.notes.append(f"it computes in {str(kind).removeprefix('torch.')}; here it is in float64")
            return Reshape(**about)
        if self.name not in MOVES or index is not None or len(self.values) != 1:
            return None
        if made.numel() == self.values[0].numel() and torch.equal(flat(made), flat(self.values[0])):
            return Reshape(**about)
        slices = [v for v in leaves((self.args, self.kwargs)) if not isinstance(v, Slot)]
        if self.name == "getitem" and not any(isinstance(v, Fixed | list) for v in slices) and not _lists(self.args):
            return None
        return Unknown(**about, reason="it moves or picks features; an MLP has no such layer")

    def _alone(self, f: Replay) -> bool:
        """Does each row of the output depend on the row in its place alone?"""
        draw = np.random.default_rng(0)
        rows = [draw.standard_normal((4, math.prod(shape[1:]))) for shape in self.shapes]
        try:
            together = f(*rows)
            alone = np.concatenate([f(*(each[i : i + 1] for each in rows)) for i in range(len(rows[0]))])
        except (RuntimeError, ValueError, IndexError, TypeError):
            return True  # that it cannot be replayed is said where it is needed
        return np.allclose(together, alone, rtol=1e-9, atol=1e-12, equal_nan=True)


# --- Constants -----------------------------------------------------------------------------------


def digest(tensor: Tensor) -> bytes:
    """What tells the numbers of a tensor from others, in a few bytes; its meaning of nan is their bits."""
    numbers = tensor.detach().cpu().contiguous().reshape(-1)
    if numbers.numel() == 0:
        return b""
    return hashlib.blake2b(memoryview(numbers.numpy()).cast("B"), digest_size=16).digest()


def _bias_key(bias: Fixed | None) -> str:
    """What a bias that learns is."""
    return bias.origin.key if bias is not None and bias.origin.learned else ""


def _stopped(*leaves: Any) -> bool:
    """Is among these a parameter that no gradient reaches?"""
    return any(isinstance(leaf, Fixed) and leaf.origin.stopped for leaf in leaves)


# --- Arguments -----------------------------------------------------------------------------------


def spelled(func: Any) -> tuple[str, str]:
    """The name of a function, and the same without underscores; a property's is that of what it gives."""
    raw = str(getattr(func, "__name__", func))
    if raw == "__get__":
        raw = str(getattr(func.__self__, "__name__", raw))
    return raw, raw.strip("_")


def leaves(tree: Any) -> Iterator[Any]:
    """What is in lists, tuples, dictionaries and slices, in order."""
    if isinstance(tree, dict):
        tree = tuple(tree.values())
    if isinstance(tree, slice):
        tree = (tree.start, tree.stop, tree.step)
    if isinstance(tree, list | tuple):
        for branch in tree:
            yield from leaves(branch)
    else:
        yield tree


def swapped(tree: Any, swap: Callable[[Any], Any]) -> Any:
    """The same lists, tuples, dictionaries and slices with other leaves."""
    if isinstance(tree, dict):
        return {key: swapped(value, swap) for key, value in tree.items()}
    if isinstance(tree, slice):
        return slice(*(swapped(v, swap) for v in (tree.start, tree.stop, tree.step)))
    if isinstance(tree, list):
        return [swapped(v, swap) for v in tree]
    if isinstance(tree, tuple):
        return tuple(swapped(v, swap) for v in tree)
    return swap(tree)


def widened(result: Any) -> Any:
    """Floating tensors in float64, all else as it is."""
    import torch

    def wide(leaf: Any) -> Any:
        return leaf.double() if _tensor(leaf) and leaf.is_floating_point() and leaf.dtype != torch.float64 else leaf

    narrow = any(wide(leaf) is not leaf for leaf in leaves(result))
    return swapped(result, wide) if narrow else result


def _tensor(leaf: Any) -> bool:
    import torch

    return isinstance(leaf, torch.Tensor)


def _lists(tree: Any) -> bool:
    """Is a list among these, as in `x[:, [2, 0, 1]]`?"""
    return isinstance(tree, list) or (isinstance(tree, tuple) and any(map(_lists, tree)))


def _stops() -> str:
    """Why gradients stop: a function with a backward of its own is at work, or somebody has turned them off."""
    import torch

    frame: FrameType | None = sys._getframe()  # noqa: SLF001 (its documented name)
    while frame is not None:
        for local in frame.f_locals.values():
            if isinstance(local, torch.utils.hooks.BackwardHook):
                return ""  # torch's own identity, around a module whose gradients are looked at
            if isinstance(local, torch.autograd.function.FunctionCtx):
                name = type(local).__name__.removesuffix("Backward")
                return f"the autograd.Function {name} has a backward of its own, which no run shows"
        frame = frame.f_back
    return "it runs under no_grad, so that gradients stop here, and those of a net here do not"
