"""JAX's primitives on float64 arrays: an equation run again, a jaxpr run wide, and functions differentiated.

NumPy runs what it has, for that takes a microsecond; JAX runs the rest, and all that is to be differentiated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vgcore.convert.imported import Refusal
from vgcore.convert.tape import Array


def wide(leaf: Any) -> Any:
    """Floats as float64; all else as it is."""
    import jax

    if hasattr(leaf, "dtype") and jax.numpy.issubdtype(leaf.dtype, jax.numpy.floating):
        return jax.numpy.asarray(leaf, dtype=np.float64)  # of JAX: nnx writes to statistics
    return leaf


def is_float(dtype: Any) -> bool:
    """Whether numbers of this type are floats, those of JAX's own small types included."""
    import jax

    return bool(jax.numpy.issubdtype(dtype, jax.numpy.floating))


def differentiated(function: Callable[[Any], Any]) -> Callable[[Array, Array], tuple[Any, Any]]:
    """What a function gives, and the gradient of its product with a cotangent."""
    import jax

    def both(x: Any, cotangent: Any) -> tuple[Any, Any]:
        y, vjp = jax.vjp(function, x)
        return y, vjp(cotangent)[0]

    return both


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that runs a few times: code that is made fast takes longer to make."""
    import jax

    fast: Callable[..., Any] = jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})
    return fast


def library(array: Any) -> Any:
    """NumPy for its own arrays, which takes a microsecond, and JAX for what it is to differentiate."""
    if isinstance(array, np.ndarray):
        return np
    import jax

    return jax.numpy


#: What NumPy has for a primitive, of its parameters and arguments.
NUMPY: dict[str, Callable[..., Any]] = {
    "abs": np.abs,
    "add": np.add,
    "and": np.logical_and,
    "ceil": np.ceil,
    "clamp": lambda low, x, high: np.clip(x, low, high),
    "cos": np.cos,
    "cosh": np.cosh,
    "div": np.divide,
    "eq": np.equal,
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "floor": np.floor,
    "ge": np.greater_equal,
    "gt": np.greater,
    "le": np.less_equal,
    "log": np.log,
    "log1p": np.log1p,
    "logistic": lambda x: 1 / (1 + np.exp(-x)),
    "lt": np.less,
    "max": np.maximum,
    "min": np.minimum,
    "mul": np.multiply,
    "ne": np.not_equal,
    "neg": np.negative,
    "not": np.logical_not,
    "or": np.logical_or,
    "pow": np.power,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "select_n": lambda which, *cases: np.choose(which.astype(np.int64), cases),
    "sign": np.sign,
    "sin": np.sin,
    "sinh": np.sinh,
    "sqrt": np.sqrt,
    "square": np.square,
    "sub": np.subtract,
    "tan": np.tan,
    "tanh": np.tanh,
}


def bind(eqn: Any, args: list[Any]) -> Any:
    """A primitive on `(rows, columns)` arrays, floats in float64."""
    name, own = eqn.primitive.name, all(isinstance(each, np.ndarray) for each in args)
    kinds = [np.float64 if is_float(var.aval.dtype) else var.aval.dtype for var in eqn.invars]
    if own and name in NUMPY and all(kind in {np.float64, np.bool_} for kind in kinds):
        with np.errstate(all="ignore"):
            return NUMPY[name](*(each.astype(kind, copy=False) for each, kind in zip(args, kinds, strict=True)))
    import jax.numpy as jnp

    shape = np.broadcast_shapes(*(np.shape(each) for each in args))
    given = [jnp.broadcast_to(jnp.asarray(each, dtype=kind), shape) for each, kind in zip(args, kinds, strict=True)]
    if name == "convert_element_type":
        dtype = eqn.outvars[0].aval.dtype
        found = given[0].astype(np.float64 if is_float(dtype) else dtype)
    else:
        found = eqn.primitive.bind(*given, **eqn.params)
    return np.asarray(found) if own else found


#: Under what name an equation keeps the function that it calls.
_CALLED = ("jaxpr", "call_jaxpr", "fun_jaxpr")


def evaluated(jaxpr: Any, consts: Sequence[Any], args: Sequence[Any]) -> list[Any]:
    """What a jaxpr gives for these arguments, all floats in float64, whatever it casts them to.

    Raises:
        Refusal: Naming a primitive that cannot be computed so.
    """
    env = dict(zip([*jaxpr.constvars, *jaxpr.invars], map(wide, [*consts, *args]), strict=True))

    def read(var: Any) -> Any:
        return env[var] if type(var).__name__ != "Literal" else wide(np.asarray(var.val))

    for eqn in jaxpr.eqns:
        try:
            found = _evaluated(eqn, [read(var) for var in eqn.invars])
        except (TypeError, ValueError, NotImplementedError) as error:
            reason = f"it is computed in a smaller float, and not in float64 ({type(error).__name__})"
            raise Refusal("", eqn.primitive.name, reason) from error
        env |= dict(zip(eqn.outvars, found, strict=True))
    return [read(var) for var in jaxpr.outvars]


def _evaluated(eqn: Any, args: list[Any]) -> list[Any]:
    """What one equation gives."""
    name, params = eqn.primitive.name, dict(eqn.params)
    if name == "convert_element_type":
        dtype = params["new_dtype"]
        return [args[0].astype(np.float64 if is_float(dtype) else dtype)]
    if name == "reduce_precision":
        return args
    if name == "cond":
        branch = params["branches"][int(args[0])]
        return evaluated(branch.jaxpr, branch.consts, args[1:])
    if name == "scan":
        return _looped(params, args)
    inner = next((params[key] for key in _CALLED if key in params), None)
    if inner is not None:
        return evaluated(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), args)
    for key in ("dtype", "preferred_element_type"):
        if params.get(key) is not None and is_float(params[key]):
            params[key] = np.dtype(np.float64)
    found = eqn.primitive.bind(*args, **params)
    return [wide(each) for each in (found if eqn.primitive.multiple_results else [found])]


def _looped(params: dict[str, Any], args: list[Any]) -> list[Any]:
    """A loop, turn by turn."""
    import jax.numpy as jnp

    first, carried, length = (int(params[name]) for name in ("num_consts", "num_carry", "length"))
    fixed, state, rows = args[:first], args[first : first + carried], args[first + carried :]
    body, made = params["jaxpr"], []
    for turn in reversed(range(length)) if params["reverse"] else range(length):
        found = evaluated(body.jaxpr, body.consts, [*fixed, *state, *(each[turn] for each in rows)])
        state = found[:carried]
        made.append(found[carried:])
    each_turn = made[::-1] if params["reverse"] else made
    return [*state, *(jnp.stack(each) for each in zip(*each_turn, strict=True))]
