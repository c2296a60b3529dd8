"""Nets of JAX: functions, flax (linen and nnx) and equinox.

Whatever is given becomes one function of a list of parameters and a batch, which `jaxpr.py` records. Modules of flax
and equinox say what their dropout is, and what batch normalisation does in training.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from vgcore.convert import match
from vgcore.convert.imported import WATCH, Imported, NonFinite, Refusal
from vgcore.convert.jaxpr import DROPOUT, Model, Recording, traced
from vgcore.convert.primitives import wide
from vgcore.convert.tape import RUNNING
from vgcore.model.given import array, shown

#: What to do instead, where nothing nearer is known.
NEAREST = "give the part that is a net of layers alone"


def from_jax(f: Any, params: Any = None, x: Any = None) -> Imported:
    """A net of JAX as a net here, proved against it.

    Args:
        f: A linen module, with `params` what `init` gave; an nnx or equinox module, which holds its parameters; or a
            function: `f(params, x)`, or `f(x)` where `params` is None. Functions and equinox modules may take one
            sample or a batch.
        params: The parameters, in any pytree; of linen the variables, or what is under `"params"` there.
        x: A sample or a batch, of which the shape counts; needed where the weights leave it open.

    Returns:
        The network and notes. Layers of flax that have a mode run as this: dropout is the identity, batch
        normalisation takes the statistics of the batch. Both in float64: what the function itself casts to a smaller
        float is computed wide, and noted.

    Raises:
        Refusal: For what has no equal here: where it stands, what it is and why.
        NonFinite: For parameters that are nan or infinite.
        TypeError: For an `f` that is no function, or an `x` that is no array of floats.
        ValueError: Where `x` is needed, or the parameters do not fit.
        ImportError: Without JAX.

    Example::

        import jax
        import vgcore as vg

        w = {"in": jax.random.normal(jax.random.key(0), (4, 8)), "out": jax.random.normal(jax.random.key(1), (8, 3))}
        vg.from_jax(lambda w, x: jax.numpy.tanh(x @ w["in"]) @ w["out"], w).spec  # MLP(depth=1, width=8, ...)
    """
    try:
        import jax
    except ImportError:
        raise ImportError("from_jax needs JAX: pip install jax") from None

    with jax.enable_x64(True):
        model = _model(f, params)
        shape = _sample(x)
        _check_finite(model, shape)
        recording = _recording(model, shape)
        recording.check_function()
        try:
            return match.imported(recording.tape(), recording.run, notes=model.notes)
        except Refusal as refusal:
            if refusal.nearest != WATCH:
                raise
            nearest = (
                NEAREST if model.per_sample or x is not None else f"{NEAREST}, or one sample as x, if it takes one"
            )
            raise Refusal(refusal.path, refusal.operation, refusal.reason, nearest) from refusal


# What may be given


def _is(f: Any, module: str, name: str) -> bool:
    """Whether this is an object of a class of a library, if that is loaded; half of it may be, by another thread."""
    found = getattr(sys.modules.get(module), name, None)
    return found is not None and isinstance(f, found)


def _model(f: Any, params: Any) -> Model:
    if _is(f, "flax.linen", "Module"):
        return _linen(f, params)
    holds = _is(f, "flax.nnx", "Module") or _is(f, "equinox", "Module")
    if holds and params is not None:
        raise TypeError(f"a {type(f).__name__} holds its parameters; leave out params")
    if _is(f, "flax.nnx", "Module"):
        return _nnx(f)
    if _is(f, "equinox", "Module"):
        return _equinox(f)
    if not callable(f):
        raise TypeError(f"f must be a function or a module of flax or equinox, got {shown(f)} ({type(f).__name__})")
    if params is None:
        return _tree(lambda _, x: f(x), (), per_sample=False)
    return _tree(f, params, per_sample=False)


def _tree(call: Callable[[Any, Any], Any], params: Any, *, per_sample: bool, notes: Sequence[str] = ()) -> Model:
    """The model of a function of a pytree."""
    import jax

    found, definition = jax.tree_util.tree_flatten_with_path(params)
    names = [jax.tree_util.keystr(path, simple=True, separator=".").removesuffix(".value") for path, _ in found]
    leaves = [wide(leaf) for _, leaf in found]

    def flat(leaves: list[Any], x: Any) -> Any:
        with _linen_modes():
            return call(jax.tree_util.tree_unflatten(definition, leaves), x)

    return Model(flat, leaves, [name.removeprefix("params.") for name in names], per_sample, list(notes))


def _linen(module: Any, variables: Any) -> Model:
    if not isinstance(variables, Mapping):
        raise TypeError(f"params must be the variables that init gave, as {{'params': ...}}, got {shown(variables)}")
    if "params" not in variables:
        variables = {"params": variables}
    state = [*(name for name in variables if name != "params"), "batch_stats"]

    def call(variables: Any, x: Any) -> Any:
        return module.apply(variables, x, mutable=state)[0]

    notes = [RUNNING] if "batch_stats" in variables else []
    return _tree(call, dict(variables), per_sample=False, notes=notes)


def _linen_modes() -> Any:
    """Linen's dropout marked, and its batch normalisation in training where the statistics may be written."""
    linen = sys.modules.get("flax.linen")
    if linen is None:
        return contextlib.nullcontext()

    def call(next_fun: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        module = context.module
        if context.method_name == "__call__" and isinstance(module, linen.Dropout):
            return marked(args[0] if args else kwargs["inputs"], module.rate)
        batch = isinstance(module, linen.BatchNorm) and module.is_mutable_collection("batch_stats")
        if context.method_name == "__call__" and batch:
            object.__setattr__(module, "use_running_average", None)  # what the call says counts
            first = args[0] if args else kwargs["x"]
            return next_fun(first, use_running_average=False, mask=kwargs.get("mask"))
        return next_fun(*args, **kwargs)

    return linen.intercept_methods(call)


def _nnx(module: Any) -> Model:
    from flax import nnx

    class Marked(nnx.Dropout):  # type: ignore[misc]  # flax has no types here
        def __call__(self, inputs: Any, **_: Any) -> Any:
            return marked(inputs, self.rate)

    copy = nnx.clone(module)
    notes: Sequence[str] = ()
    for _, each in nnx.iter_modules(copy):
        if isinstance(each, nnx.Dropout):
            each.__class__ = Marked
        if isinstance(each, nnx.BatchNorm):
            each.use_running_average = False
            notes = [RUNNING]
    definition, state = nnx.split(copy)
    return _tree(lambda state, x: nnx.merge(definition, state)(x), state, per_sample=False, notes=notes)


def _equinox(module: Any) -> Model:
    import equinox as eqx
    import jax

    class Marked(eqx.Module):  # type: ignore[misc]  # as above
        p: float

        def __call__(self, x: Any, **_: Any) -> Any:
            return marked(x, self.p)

    def is_dropout(each: Any) -> bool:
        return isinstance(each, eqx.nn.Dropout)

    own = jax.tree_util.tree_map(lambda m: Marked(m.p) if is_dropout(m) else m, module, is_leaf=is_dropout)
    arrays, static = eqx.partition(own, eqx.is_array)
    return _tree(lambda arrays, x: eqx.combine(arrays, static)(x), arrays, per_sample=True)


def marked(x: Any, p: float) -> Any:
    """The identity, under a name that says what stands there."""
    import jax

    def same(x: Any) -> Any:
        return x

    same.__name__ = f"{DROPOUT}{p}"
    return jax.jit(same)(x)


def _sample(x: Any) -> tuple[int, ...] | None:
    """The shape that the user's x has."""
    import jax

    if x is None:
        return None
    if not hasattr(x, "shape") or not hasattr(x, "dtype"):
        x = array("x", x)
    if x.dtype == object or not (jax.numpy.issubdtype(x.dtype, jax.numpy.floating)):
        kind = "integers name, they do not measure: embed them first" if x.dtype.kind in "iub" else "got no floats"
        raise Refusal("", f"an input of {x.dtype}", kind, "give x as floats if the model takes numbers")
    if not x.ndim:
        raise ValueError("x must be a sample or a batch of samples, got one number")
    return tuple(x.shape)


def _check_finite(model: Model, shape: tuple[int, ...] | None) -> None:
    """Refuse parameters that are not finite, in the order in which they are used where that can be found out."""
    floats = {
        name: np.asarray(leaf)
        for name, leaf in zip(model.names, model.leaves, strict=True)
        if getattr(leaf, "dtype", None) == np.float64
    }
    if not (found := NonFinite.of(floats)):
        return
    bad = found.tensors
    finite = [
        np.zeros(leaf.shape) if name in bad else leaf for name, leaf in zip(model.names, model.leaves, strict=True)
    ]
    try:
        order = _recording(Model(model.call, finite, model.names, model.per_sample), shape).order()
    except (Refusal, TypeError, ValueError):
        order = model.names
    place = {name: index for index, name in enumerate(order)}
    raise NonFinite(
        {name: found.every[name] for name in sorted(found.every, key=lambda name: place.get(name, len(place)))}
    )


# How it is called


def _recording(model: Model, shape: tuple[int, ...] | None) -> Recording:
    """The first way of calling the model that it takes: on a batch or on a sample, of the shape given or found."""
    if shape is None:
        return _search(model)
    # Of one axis, x is a sample; of more, its first axis is the batch, unless it is a sample of several axes.
    ways = [(True, shape)] if len(shape) == 1 else [(False, shape[1:]), (True, shape[1:]), (True, shape)]
    if model.per_sample and len(shape) > 1:
        ways = [ways[1], ways[0], ways[2]]
    tried = [(way, traced(model, sample, per_sample=way)) for way, sample in ways]
    for (way, sample), (_, found) in zip(ways, tried, strict=True):
        if not isinstance(found, Exception):
            return Recording(model, sample, found, per_sample=way)
    error = tried[0][1]
    raise ValueError(f"the function takes no x of shape {shape}: {shown(str(error))}") from error


def _search(model: Model) -> Recording:
    """The recording for the one width of a sample that the weights take."""
    widths = sorted({size for leaf in model.leaves for size in np.shape(leaf) if np.ndim(leaf) >= 2})
    error = None
    for way in (model.per_sample, not model.per_sample):
        tried = {width: traced(model, (width,), per_sample=way) for width in widths}
        taken = [width for width, found in tried.items() if not isinstance(found, Exception)]
        if len(taken) > 1:
            several = " or ".join(map(str, taken))
            raise ValueError(f"the model takes samples of {several} features; give x, a batch such as it takes")
        if taken:
            return Recording(model, (taken[0],), tried[taken[0]], per_sample=way)
        error = error or next(iter(tried.values()), None)
    why = f": {shown(str(error))}" if error else ""
    raise ValueError(f"x must be given: the weights do not say what the model takes{why}") from error
