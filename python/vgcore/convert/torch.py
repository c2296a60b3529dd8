"""A torch model as a net here: `from_torch`."""

from __future__ import annotations

import contextlib
import copy
import math
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from vgcore.convert.imported import WATCH, Imported, NonFinite, Refusal
from vgcore.convert.match import imported
from vgcore.convert.record import DROPS, REASONS, Constant, Recorder, Tensor, digest
from vgcore.convert.tape import Array, Drop, Op, Reshape, Tape, Unknown
from vgcore.convert.torch_sequences import from_sequences, holds_sequences
from vgcore.model.given import wrong_type

#: Rows of two recordings: no size of a tensor, and no number that a function is likely to be called with.
_PRIMES = (23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109, 113)
_WRAP = "pass a module that takes the samples alone and returns the one tensor that matters"


def from_torch(model: Any, x: Any = None) -> Imported:
    """A torch model as a net here, proved to compute the same outputs and the same dL/dx.

    The model is run a few times on random samples, and every function that it calls is written down, whatever
    modules, hooks or loops stand around it. What runs is a float64 copy in evaluation mode on the CPU: nothing of the
    model itself changes. Hooks are part of a model, and run. The random number generators of the process (that of torch
    on the CPU, NumPy's legacy one, Python's) are seeded meanwhile and put back: a thread that draws from them at the
    same time draws seeded numbers.

    Args:
        model: A `torch.nn.Module`, compiled or wrapped for parallel work or not. `forward` takes one tensor of samples
            and returns one tensor.
        x: Samples of the shape that the model takes, `(batch, ...)`: only their shape counts. Samples come first, also
            of a recurrent or an attention layer with `batch_first=False`: `(batch, steps, features)`. If None, plain
            rows `(batch, in_features)`, of as many features as the first weights take.

    Returns:
        The network, and notes of what was taken as identity, dropped or left to the loss. Dropout is a part of the
        spec, and a batch normalisation takes the statistics of its batch, as in training.

    Raises:
        Refusal: For a model that has no equal here, or cannot be copied or run: where, what, why, and what comes near.
        NonFinite: For weights that are not finite.
        TypeError: For what is no torch module.
        ImportError: Without torch.

    Example::

        import torch
        import vgcore as vg

        layers = [torch.nn.Linear(20, 64), torch.nn.Tanh(), torch.nn.Linear(64, 3)]
        net = vg.from_torch(torch.nn.Sequential(*layers))
        net.spec  # MLP(depth=1, width=64, in_features=20, out_features=3, activation="tanh", ...)
        vg.diagnose(net.network)
    """
    try:
        import torch
    except ImportError:
        raise ImportError("from_torch needs torch: pip install torch") from None

    if not isinstance(model, torch.nn.Module):
        raise wrong_type("model", "a torch.nn.Module", model)
    model = unwrapped(model)
    if holds_sequences(model):
        subject = copied(model)
        with _intact():
            return from_sequences(subject, x)
    return converted(copied(model), x)


def converted(subject: Subject, x: Any, *, tolerance: float = 1e-10) -> Imported:
    """The net that a subject is."""
    tape = subject.recorded(shapes(subject.parameters, x))
    return imported(tape, subject.run, notes=subject.notes, tolerance=tolerance)


# --- The model -----------------------------------------------------------------------------------


class Subject:
    """A model that may be run in float64 as often as needed.

    Args:
        forward: From a float64 tensor of samples to the output.
        parameters: The parameters by name, as they are used.
        buffers: The other tensors by name.
        modules: Its modules by path.
        eps: The resolution of the user's floating type.
        notes: What was found before the model ran.
        place: What says where in the model a run is, if modules do not.
        training: A context in which the model is in training mode, and which leaves it as it was; None if that is not
            looked at.
    """

    def __init__(
        self,
        forward: Callable[[Tensor], Any],
        *,
        parameters: dict[str, Tensor],
        buffers: dict[str, Tensor],
        modules: dict[str, Any],
        eps: float,
        notes: list[str],
        place: Callable[[], str] | None = None,
        training: Callable[[], contextlib.AbstractContextManager[None]] | None = None,
    ) -> None:
        self.forward = forward
        self.parameters = parameters
        self.eps = eps
        self.notes = notes
        self.place = place
        self.known: dict[int, Constant] = {id(t): Constant(name, plain=True) for name, t in buffers.items()}
        self.known |= {id(t): Constant(name, learned=True, plain=True) for name, t in parameters.items()}
        self.modules = modules
        self.training = training
        self.shape: tuple[int, ...] = ()
        self.frozen: frozenset[int] = frozenset()

    def recorded(self, candidates: Sequence[tuple[int, ...]]) -> Tape:
        """The tape of samples of the first of these shapes that the model takes.

        Raises:
            Refusal: If it takes none, or does something else each time.
        """
        import torch

        before = self._digests()
        failed: Refusal | None = None
        for self.shape in candidates:
            sizes = {size for t in self.parameters.values() for size in t.shape} | {*self.shape}
            few, many = [prime for prime in _PRIMES if prime not in sizes][:2]
            draw = np.random.default_rng(0)
            samples = draw.standard_normal((few, *self.shape))
            try:
                first, out = self._once(samples, seed=0)
            except Refusal as refusal:
                failed = failed or refusal
                continue
            break
        else:
            raise failed or Refusal(
                "", "forward", "it has no parameters, so that nothing says what it takes", "pass x="
            )
        self._check_unchanged(before, "runs")
        trained: Recorder | str | None = None
        if self.training is not None:
            with self.training():
                trained = self._trained(samples)
            self._check_unchanged(before, "trains")
            if isinstance(trained, Recorder) and trained.stays:
                self.frozen = frozenset(trained.stays)
                first, out = self._once(samples, seed=0)
        output = first.number(out) or 0
        ops = _reached(first.ops, output)
        if unknown := [op for op in ops if isinstance(op, Unknown)]:
            # What is known by name says more than the shapes around it.
            op = next((op for op in unknown if op.reason in REASONS.values()), unknown[0])
            raise Refusal(op.path, op.name, op.reason)
        # Far out to all sides: what branches on its data tells by one of them.
        wide = 10 * draw.standard_normal((many, *self.shape))
        for seed, rows in enumerate((wide, -wide, np.abs(wide), -np.abs(wide)), start=1):
            _same(first, self._once(rows, seed=seed)[0])
        again, repeated = self._once(samples, seed=5)
        _same(first, again)
        if not torch.allclose(out, repeated, rtol=1e-12, atol=0, equal_nan=True):
            raise Refusal("", "forward", "it gives other outputs for the same samples when it runs again")
        if isinstance(trained, Recorder):
            first.notes += _without_idle_dropout(first, trained)
            ops = _reached(first.ops, output)
        elif trained is not None:
            first.notes.append(trained)
        features, notes = math.prod(self.shape), tuple(dict.fromkeys(first.notes))
        return Tape(ops, inputs=0, output=output, in_features=features, shape=self.shape, notes=notes)

    def _digests(self) -> dict[str, bytes]:
        return {name: digest(t) for name, t in self.parameters.items()}

    def _check_unchanged(self, before: dict[str, bytes], when: str) -> None:
        """Refuse a model that changes its own parameters."""
        for name, now in self._digests().items():
            if before[name] != now:
                raise Refusal(name.rpartition(".")[0], "forward", f"it changes its own parameter {name} when it {when}")

    def _trained(self, samples: Array) -> Recorder | str:
        """A recording of the model in training mode, with the random numbers of that in evaluation; or a note."""
        try:
            return self._once(samples, seed=0, training=True)[0]
        except Refusal as refusal:
            return f"in training mode the model was not recorded ({refusal.reason}): the net is that of evaluation"

    def run(self, rows: Array, upto: int | None = None) -> tuple[Array, Callable[[Array], Array]]:
        """The value of a number, or the output, on rows `(n, in_features)`; and from a cotangent to dL/dx."""
        import torch

        with _intact(), torch.inference_mode(mode=False), torch.enable_grad():
            leaf = torch.tensor(rows, dtype=torch.float64, requires_grad=True)
            recorder = self._recorder(len(rows), upto)
            out = self._called(recorder, leaf.reshape(-1, *self.shape).clone())
            value = (out if upto is None else recorder.kept).reshape(len(rows), -1)

        def vjp(cotangent: Array) -> Array:
            given = torch.tensor(cotangent, dtype=torch.float64)
            try:
                (dx,) = torch.autograd.grad(value, leaf, given, retain_graph=True, materialize_grads=True)
            except RuntimeError as error:
                raise Refusal("", "backward", f"it raised RuntimeError: {_line(error)}") from error
            return np.array(dx.numpy())

        return np.array(value.detach().numpy()), vjp

    def _recorder(self, batch: int, keep: int | None = None, *, training: bool = False) -> Recorder:
        return Recorder(batch, self.known, self.eps, keep, training, self.frozen, place=self.place)

    def _once(self, rows: Array, *, seed: int, training: bool = False) -> tuple[Recorder, Tensor]:
        """One recording, and its output."""
        import torch

        recorder = self._recorder(len(rows), training=training)
        with _intact(), torch.inference_mode(mode=False), torch.enable_grad():
            # Whatever is drawn is drawn anew, so that it shows.
            torch.default_generator.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            leaf = torch.tensor(rows, dtype=torch.float64, requires_grad=True)
            try:
                out = self._called(recorder, leaf.clone())
            except Exception as error:
                if isinstance(error, Refusal):
                    raise
                if (op := recorder.refused) is not None:
                    raise Refusal(op.path, op.name, op.reason) from error
                said = f"it raised {type(error).__name__}: {_line(error)}"
                nearest = _WHERE.get(type(error), WATCH)
                raise Refusal(recorder.path, "forward", said, nearest) from error
        lost = not isinstance(out, torch.Tensor) or recorder.number(out) is None
        if lost and (op := recorder.refused) is not None:
            raise Refusal(op.path, op.name, op.reason)
        if not isinstance(out, torch.Tensor):
            raise Refusal("", "forward", f"it returns a {type(out).__name__}, and a net here gives one array", _WRAP)
        if recorder.number(out) is None:
            reason = "its output does not depend on the samples by functions of torch: NumPy is not heard"
            raise Refusal("", "forward", reason)
        return recorder, out

    def _called(self, recorder: Recorder, x: Tensor) -> Any:
        """The model at work, heard, with the path of its innermost module."""
        hooks = []
        for path, module in self.modules.items():
            # First in, last out, so that what hooks of the user do is told of their module.
            def enter(*_: Any, path: str = path) -> None:
                recorder.modules.append(path)

            def leave(*_: Any) -> None:
                recorder.modules.pop()

            hooks += [module.register_forward_pre_hook(enter, prepend=True), module.register_forward_hook(leave)]
        recorder.begin(x)
        try:
            with recorder.listening():
                return self.forward(x)
        finally:
            for hook in hooks:
                hook.remove()


_SHAPE = "pass x= with samples of the shape that it takes"
#: What to do where the model raises an error, by its kind.
_WHERE: dict[type[Exception], str] = {RuntimeError: _SHAPE, ValueError: _SHAPE, IndexError: _SHAPE, TypeError: _WRAP}


def unwrapped(model: Any) -> Any:
    """The module within what compiles it or runs it on several devices."""
    inner = {"OptimizedModule": "_orig_mod", "DataParallel": "module", "DistributedDataParallel": "module"}
    while (name := inner.get(type(model).__name__)) is not None:
        model = getattr(model, name)
    return model


def copied(model: Any) -> Subject:
    """A float64 copy of a module on the CPU, in evaluation mode."""
    import torch

    check(model)
    # What a parametrisation of the old kind has computed is no parameter, and no copy of its graph can be made.
    computed = (
        t for m in model.modules() for t in vars(m).values() if isinstance(t, torch.Tensor) and t.grad_fn is not None
    )
    memo: dict[int, Any] = {id(t): t.detach().clone() for t in computed}
    floating = [p.dtype for p in model.parameters() if p.is_floating_point()]
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    # Modules that the user keeps in evaluation while the model trains; of a model in evaluation nobody knows.
    still = [path for path, module in model.named_modules() if model.training and not module.training]
    some = f"{', '.join(frozen[:3])}{' and others' if len(frozen) > 3 else ''}"
    try:
        with _intact(), torch.inference_mode(mode=False):
            own = copy.deepcopy(model, memo).cpu().double()
            own.eval()
    except Exception as error:
        reason = (
            f"the model cannot be copied to float64, and is not run itself ({type(error).__name__}: {_line(error)})"
        )
        raise Refusal("", "copy.deepcopy", reason, "make it so that copy.deepcopy(model).double() works") from error
    own.requires_grad_(requires_grad=False)
    return Subject(
        own,
        parameters=dict(own.named_parameters()),
        buffers=dict(own.named_buffers()),
        modules=dict(own.named_modules()),
        eps=float(torch.finfo(floating[0] if floating else torch.float32).eps),
        training=lambda: _training(own, still),
        notes=[f"{some} asked for no gradient, and a net here trains all"] if frozen else [],
    )


@contextlib.contextmanager
def _training(model: Any, still: Sequence[str]) -> Iterator[None]:
    """The copy in training mode, but for some modules; its buffers and all that its modules keep stay as they were."""
    import torch

    kept = [(each, dict(vars(each)), dict(each._buffers)) for each in model.modules()]  # noqa: SLF001
    buffers = [(t, t.clone()) for t in model.buffers()]
    model.train()
    for path in still:
        model.get_submodule(path).training = False
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, numbers in buffers:
                tensor.copy_(numbers)
        for module, own, named in kept:
            vars(module).clear()
            vars(module).update(own)
            module._buffers.clear()  # noqa: SLF001
            module._buffers.update(named)  # noqa: SLF001


def check(model: Any) -> None:
    """Refuse a model whose numbers are not there, not real, or not finite.

    Raises:
        Refusal: Without numbers.
        NonFinite: With some that are not finite.
    """
    import torch

    for path, module in model.named_modules():
        kind = type(module).__name__
        if isinstance(module, torch.jit.ScriptModule):
            raise Refusal(
                path, kind, "its code is compiled and cannot be heard", "pass the module that was scripted or traced"
            )
        if hasattr(module, "_packed_params"):
            raise Refusal(
                path, kind, "its weights are quantised, and a net here has real ones", "pass the model before it"
            )
    broken: dict[str, Array] = {}
    for name, p in model.named_parameters():
        path, _, own = name.rpartition(".")
        if isinstance(p, torch.nn.parameter.UninitializedTensorMixin):
            raise Refusal(path, own, "it has no shape before the first run", "run the model once")
        if p.is_meta:
            raise Refusal(path, own, "it is on the meta device and has no numbers", "load the weights first")
        if p.is_complex():
            raise Refusal(path, own, "its numbers are complex, and a net here has real ones")
        if p.is_quantized:
            raise Refusal(path, own, "its numbers are quantised, and a net here has real ones")
        if not torch.isfinite(p.detach()).all():
            broken[name] = p.detach().cpu().double().numpy()
    if bad := NonFinite.of(broken):
        raise bad


def shapes(parameters: dict[str, Tensor], x: Any) -> Sequence[tuple[int, ...]]:
    """The shapes that a sample may have, the likeliest first."""
    if x is not None:
        given = x if hasattr(x, "dtype") else np.asarray(x)
        if "float" not in str(given.dtype):
            raise Refusal("", "forward", f"its samples are of type {given.dtype}, and a net here takes real numbers")
        if given.ndim < 2:
            raise ValueError(
                f"x must have the samples along its first axis, (batch, ...), got shape {tuple(given.shape)}"
            )
        return [tuple(int(size) for size in given.shape[1:])]
    found: list[int] = []
    for p in parameters.values():
        # A layer's weights are (out, in); what is multiplied from the left is (in, out); a norm has one a feature.
        found += [int(size) for size in reversed(p.shape)] if p.ndim <= 2 else [int(p.shape[1])]
    return [(size,) for size in dict.fromkeys(found)][:8]


# --- The tape ------------------------------------------------------------------------------------


def _reached(ops: list[Op], output: int | None) -> tuple[Op, ...]:
    """The operations that the output depends on."""
    needed = {output}
    found = []
    for op in reversed(ops):
        if op.out in needed:
            needed |= {*op.args}
            found.append(op)
    return tuple(reversed(found))


def _same(first: Recorder, other: Recorder) -> None:
    """Refuse a model that does something else for other samples.

    Raises:
        Refusal: Naming the first operation that differs.
    """
    for one, of_one, two, of_two in zip(first.ops, first.facts, other.ops, other.facts, strict=False):
        if _told(one) != _told(two):
            raise Refusal(
                one.path, one.name, "it is another operation for other samples: the model branches on its data"
            )
        if of_one != of_two:
            reason = "its constants differ from run to run: they are drawn, counted, or made of the samples"
            raise Refusal(one.path, one.name, reason)
    if len(first.ops) != len(other.ops):
        last = max(first, other, key=lambda each: len(each.ops)).ops[min(len(first.ops), len(other.ops))]
        raise Refusal(
            last.path, last.name, "it runs for some samples and not for others: the model branches on its data"
        )


def _told(op: Op) -> Any:
    """What an operation is, its numbers apart."""
    return type(op), op.out, op.args, op.path, op.name, op.shape[1:]


def _without_idle_dropout(first: Recorder, trained: Recorder) -> list[str]:
    """Take dropout that is off in training too from a recording, and give a note if training does more otherwise."""
    for i, (one, two) in enumerate(zip(first.ops, trained.ops, strict=False)):
        if one.name in DROPS and (one.name, one.args) == (two.name, two.args):
            if isinstance(one, Drop) and isinstance(two, Reshape):
                first.ops[i] = two
        elif one.name == "batch_norm" and (one.name, one.args) == (two.name, two.args):
            continue
        elif _told(one) != _told(two) or first.facts[i] != trained.facts[i]:
            return [_otherwise(two)]
    if len(first.ops) == len(trained.ops):
        return []
    longer = max(first, trained, key=lambda each: len(each.ops)).ops
    return [_otherwise(longer[min(len(first.ops), len(trained.ops))])]


def _otherwise(op: Op) -> str:
    """The note on what training does otherwise."""
    return f"{op.path or 'the model'} does something else in training (at {op.name}): the net is that of evaluation"


@contextlib.contextmanager
def _intact() -> Iterator[None]:
    """Leave the random number generators of torch on the CPU, where all runs, of NumPy and of Python as they are."""
    import torch

    plain, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002 (whoever uses it wants it unchanged)
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            random.setstate(plain)
            np.random.set_state(legacy)  # noqa: NPY002


def _line(error: Exception) -> str:
    """The first line of what an exception says."""
    return (str(error).splitlines() or [""])[0][:200]
