"""Names that the source of a call may use: values that are hard on whoever takes them."""

from __future__ import annotations

import collections
import copy
import itertools
import math
import os
import pickle
import types
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

import vgcore as vg

__all__ = [
    "Decimal",
    "Fraction",
    "Own",
    "Path",
    "advised",
    "aligned_badly",
    "circle",
    "circular_dict",
    "collections",
    "copy",
    "endless",
    "file",
    "itertools",
    "lying",
    "math",
    "nested",
    "np",
    "npz",
    "os",
    "pickle",
    "raising",
    "rebuilt",
    "saved",
    "shell",
    "spoiled",
    "state",
    "stored",
    "text",
    "types",
    "vg",
]

nan, inf = math.nan, math.inf


class Own(ValueError):  # noqa: N818 (short, for it is typed often)
    """An error of a user's own class, which nothing may take for one of vgcore's."""


#: What `raising` values have raised since the list was last emptied.
RAISED: list[tuple[str, BaseException]] = []


#: What a value that is meant as a number, a list or an array is asked for.
CONVERSIONS = (
    "__array__",
    "__index__",
    "__float__",
    "__int__",
    "__iter__",
    "__len__",
    "__getitem__",
    "__fspath__",
    "items",
)


def raising(method: str, error: type[BaseException], base: type = object, *given: Any) -> Any:
    """An object of which one method raises, or every conversion for `"*"`, as a user's own code may at any moment."""

    def member(name: str) -> Callable[..., Any]:
        def raises(*_: Any, **__: Any) -> Any:
            raised = error(f"raised by {name}")
            RAISED.append((name, raised))
            raise raised

        return raises

    members: dict[str, Any] = {name: member(name) for name in (CONVERSIONS if method == "*" else (method,))}
    if method == "__next__":
        members["__iter__"] = lambda self: self
    if method == "__getitem__":
        members["__len__"] = lambda _: 3
    if method == "__eq__":
        members["__hash__"] = object.__hash__
    if method == "keys":
        members["__getitem__"] = lambda _, __: 1
    return type("Raising", (base,), members)(*given)


def lying(**members: Any) -> Any:
    """An object whose methods return what they should not: `lying(__len__=-1)`."""

    def gives(value: Any) -> Callable[..., Any]:
        return lambda *_, **__: value

    return type("Lying", (), {name: gives(value) for name, value in members.items()})()


def endless(value: Any = 1.0) -> Any:
    """An iterable that can be started anew and never ends."""

    class Endless:
        def __iter__(self) -> Iterator[Any]:
            return itertools.repeat(value)

    return Endless()


def nested(depth: int, leaf: Any = 1) -> list[Any]:
    """Lists in lists in lists."""
    made = [leaf]
    for _ in range(depth):
        made = [made]
    return made


def circle() -> list[Any]:
    """A list that contains itself."""
    made: list[Any] = [1]
    made.append(made)
    return made


def circular_dict() -> dict[str, Any]:
    """A dict that contains itself."""
    made: dict[str, Any] = {}
    made["layers.0.weight"] = made
    return made


def aligned_badly(*shape: int) -> np.ndarray[Any, Any]:
    """An array of float64 that does not begin at a multiple of eight bytes."""
    size = math.prod(shape)
    made: np.ndarray[Any, Any] = np.zeros(8 * size + 1, np.uint8)[1:].view(np.float64).reshape(shape)
    return made


def state(spec: Any, **changes: Any) -> dict[str, Any]:
    """The state dict of a net, with entries changed or, given `...`, left out; a dot is written as two underscores."""
    made: dict[str, Any] = dict(spec.init(seed=0).state_dict())
    for name, value in changes.items():
        key = name.replace("__", ".")
        made[key] = value
        if value is ...:
            del made[key]
    return made


def rebuilt(value: Any, field: str, new: Any) -> Any:
    """What unpickling would make of a pickle of `value` in which one field was changed."""
    reduced = value.__reduce_ex__(2)
    make, given, held = reduced[0], list(reduced[1]), reduced[2] if len(reduced) > 2 else None
    if isinstance(held, dict):
        held = held | {field: new}
    else:
        given[-1] = new
    made = make(*given)
    if held is not None:
        set_state = getattr(made, "__setstate__", None)
        if set_state is None:
            made.__dict__.update(held)
        else:
            set_state(held)
    return made


@lru_cache(1)
def advised() -> Any:
    """Some advice, which takes long to find."""
    return vg.advise(vg.MLP(depth=8, width=4, activation="sigmoid"), seeds=2, batch=8, budget=3)


def file(name: str, content: str | bytes) -> str:
    """A file in the folder at hand; its path."""
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    return name


def npz(name: str, **arrays: Any) -> str:
    """An archive of arrays in the folder at hand; its path."""
    np.savez(name, **arrays)
    return name


def saved(sweep: Any, path: str) -> str:
    """A file that a sweep was saved to; its path."""
    sweep.save(path)
    return path


def estimator() -> Any:
    """A fitted net of scikit-learn; None where that is not installed."""
    try:
        from sklearn.neural_network import MLPRegressor
    except ImportError:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return MLPRegressor(hidden_layer_sizes=(4, 4), max_iter=1, random_state=0).fit(np.eye(4), np.ones(4))


def onnx_file() -> str:
    """The path of a net of ONNX; of an empty file where that is not installed."""
    path = Path("net.onnx")
    path.write_bytes(b"")
    with suppress(ImportError):
        import onnx
        from onnx import TensorProto, helper, numpy_helper

        x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", n]) for name, n in (("x", 4), ("y", 3)))
        weights = numpy_helper.from_array(np.eye(4, 3, dtype=np.float32), "w")
        node = helper.make_node("MatMul", ["x", "w"], ["y"])
        onnx.save(helper.make_model(helper.make_graph([node], "net", [x], [y], [weights])), path)
    return str(path)


def stored(path: str) -> str:
    """A store of some cells; its path."""
    vg.sweep(vg.MLP(depth=2, width=4), depth=[2, 4], seeds=1, batch=4, store=path)
    return path


def spoiled(path: str, where: float, byte: int) -> str:
    """The path of a file in which one byte was changed, `where` of the way from its begin to its end."""
    held = bytearray(Path(path).read_bytes())
    held[int(where * len(held))] = byte
    Path(path).write_bytes(held)
    return path


def text(name: str, mutate: Callable[[str], str] = str) -> str:
    """The JSON of a spec by the name of its activation, changed."""
    return mutate(vg.MLP(depth=2, width=4, activation=name).to_json())


class Shell(Exception):  # noqa: N818 (an outcome, which is an error only if it broke the contract)
    """The command ended otherwise than by one of its exit codes."""


def shell(*words: str) -> int:
    """The exit code of the command in this process; nothing of what it prints is shown."""
    import contextlib
    import io
    import sys

    from vgcore.shell.commands import main

    before, said = sys.argv, io.StringIO()
    sys.argv = ["vgcore", *words]
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            main()
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else int(left.code is not None)
        if code not in {0, 1, 2} or "Traceback" in said.getvalue():
            raise Shell(f"exit code {left.code!r}: {said.getvalue()[-200:]}") from left
        return code
    finally:
        sys.argv = before
    return 0


def forked(call: Callable[[], Any]) -> None:
    """Run a call in a fork of this process, which has used the core's threads before; its exit must be clean."""
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            call()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status:
        raise SystemExit(f"the call ended with status {status} after a fork")


Namespace = Mapping[str, Any]
NAMESPACE: Namespace = globals()
