"""Which front end a thing of another library goes to: by the modules of its type, so that nothing new is imported."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from vgcore.convert.imported import Imported
from vgcore.model.network import Network

#: By the first word of a module's name: the front end, as (module, function).
_BY_LIBRARY = {
    "torch": ("torch", "from_torch"),
    "keras": ("keras", "from_keras"),
    "sklearn": ("sklearn", "from_sklearn"),
    "equinox": ("jax", "from_jax"),
    "flax": ("jax", "from_jax"),
    "onnx": ("onnx", "from_onnx"),
}
#: By the suffix of a file.
_BY_SUFFIX = {
    ".onnx": ("onnx", "from_onnx"),
    ".npz": ("arrays", "from_arrays"),
    ".safetensors": ("arrays", "from_arrays"),
}
#: What a library calls a net.
_NETS = {
    "torch": {"Module"},
    "keras": {"Model", "Layer"},
    "sklearn": {"BaseEstimator"},
    "equinox": {"Module"},
    "flax": {"Module"},
    "onnx": {"ModelProto"},
}


def imported_of(subject: Any, x: Any = None) -> Imported | None:
    """What the front end of a model of another library gives, or of a file that holds one; None for anything else.

    Args:
        subject: A torch module, a Keras model, an estimator of scikit-learn, an equinox or flax nnx module, an ONNX
            model, or the path of an `.onnx`, `.npz` or `.safetensors` file; or anything.
        x: A sample, for those front ends that take one.

    Raises:
        Refusal: For a model that has no equal here.
        NonFinite: For weights that are not finite.

    >>> imported_of("a string") is None, imported_of(3) is None
    (True, True)
    """
    found = _converter(subject)
    if found is None:
        return None
    convert, takes_sample = found
    imported: Imported = convert(subject, x=x) if takes_sample and x is not None else convert(subject)
    return imported


def network_of(subject: Any, x: Any = None) -> Network | None:
    """The net of `imported_of` alone."""
    found = imported_of(subject, x)
    return None if found is None else found.network


def _converter(subject: Any) -> tuple[Callable[..., Any], bool] | None:
    """The function that converts a thing, and whether it takes a sample."""
    if isinstance(subject, str | os.PathLike):
        place = _BY_SUFFIX.get(Path(os.fspath(subject)).suffix)
    else:
        place = front_end(type(subject))
    if place is None:
        return None
    module, function = place
    return getattr(import_module(f"vgcore.convert.{module}"), function), module in {"torch", "keras", "jax"}


def front_end(kind: type) -> tuple[str, str] | None:
    """The module and the function that convert a type, by the classes that it is made of, if any do.

    A layer of Keras on torch is a module of torch too, and is Keras's.
    """
    bases = [(base.__module__.partition(".")[0], base.__name__) for base in kind.__mro__]
    libraries = dict.fromkeys(library for library, name in bases if name in _NETS.get(library, ()))
    for library in ("keras", *libraries):
        if library in libraries:
            return _BY_LIBRARY[library]
    return None
