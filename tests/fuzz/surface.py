"""What may be called: every public function, class, method and property, and the operators of results."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import vgcore as vg
from fuzz import sound

#: Where public names are; the twin is the tests' own.
MODULES = {"vg": vg} | {
    f"vg.{name}": getattr(vg, name)
    for name in vg.__all__
    if isinstance(getattr(vg, name), ModuleType) and name != "reference"
}
#: What takes long is called less often than the rest.
WEIGHTS = {
    "vg.plot.": 0.1,
    "vg.advise": 0.1,
    "vg.theory.gradient_noise": 0.3,
    "vg.train_sweep": 0.5,
    "Advised": 0.3,
    "Finding": 0.3,
}
#: Inputs of which more can be wrong than of others.
WIDE = {
    "vg.MLP": 8,
    "vg.probe": 6,
    "vg.sweep": 4,
    "vg.MLP.from_json": 6,
    "vg.Network.from_state_dict": 6,
    "vg.data.read": 4,
    "shell": 3,
    "vg.Activation.custom": 3,
}
KINDS = ("Activation", "Cell", "Init", "Loss", "Norm", "Optimizer", "Schedule", "Skip")
#: Optimisers by the arguments of torch.
TORCH = ("SGD", "Adagrad", "Adam", "AdamW", "Lion", "Muon", "RMSprop")
#: Classes that hold what they are given, unasked.
RECORDS = {*sound.SUBJECTS} - {"MLP", "Network", "Clip", "EarlyStopping", *KINDS, *TORCH}
#: Operators and conversions that results answer to, as source, each with the method that must be the class's own;
#: {odd} stands for any value.
OPERATORS = {
    "repr({s})": "__repr__",
    "str({s})": "__repr__",
    "format({s}, '')": "__repr__",
    "hash({s})": "__hash__",
    "list({s})": "__iter__",
    "{s} == {odd}": "__eq__",
    "{s}[{odd}]": "__getitem__",
    "{s} + {odd}": "__add__",
    "{s}._repr_html_()": "_repr_html_",
    "copy.copy({s})": "__class__",
    "copy.deepcopy({s})": "__class__",
    "pickle.loads(pickle.dumps({s}))": "__class__",
}


@dataclass(frozen=True)
class Entry:
    """One thing to call.

    Attributes:
        name: What faults are grouped by.
        callee: Its source; of a method `{s}.name`, where {s} stands for the subject.
        subjects: Sources of what {s} may be; empty for a function.
        parameters: What it takes; None for an attribute or an operator, which is complete as it stands.
        weight: How often it is called, beside the others.
    """

    name: str
    callee: str
    subjects: tuple[str, ...]
    parameters: tuple[inspect.Parameter, ...] | None
    weight: float


def entries() -> list[Entry]:
    """All that there is to call, in a fixed order."""
    return sorted({entry.name: entry for entry in _entries()}.values(), key=lambda entry: entry.name)


def _entries() -> Iterator[Entry]:
    for path, module in MODULES.items():
        for name in names(module):
            value = getattr(module, name)
            if inspect.isclass(value):
                yield from _of_class(f"{path}.{name}", value)
            elif inspect.isroutine(value):
                yield _entry(f"{path}.{name}", f"{path}.{name}", (), _parameters(value))
    yield Entry("shell", "shell", (), (), WIDE["shell"])


def names(module: ModuleType) -> list[str]:
    """The public names of a module."""
    declared = getattr(module, "__all__", None)
    own = (name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__)
    return list(declared or (name for name in own if not name.startswith("_")))


def classes() -> set[str]:
    """The public classes."""
    return {n for module in MODULES.values() for n in names(module) if inspect.isclass(getattr(module, n))}


def _of_class(path: str, cls: type) -> Iterator[Entry]:
    short = cls.__name__
    subjects = sound.SUBJECTS.get(short, ())
    yield _entry(path, path, (), _parameters(cls))
    for name in dir(cls):
        held = inspect.getattr_static(cls, name)
        # What a class has of `str`, of `tuple`, of an exception or of `Sequence` is Python's.
        ours = (getattr(held, "__module__", None) or "vgcore").startswith("vgcore")
        ours = ours and not any(issubclass(cls, base) and name in dir(base) for base in (tuple, BaseException))
        if name.startswith("_") or (short in {*KINDS, *TORCH} and name in dir(str)) or not ours or not subjects:
            continue
        where = f"{path}.{name}"
        if isinstance(held, staticmethod | classmethod):
            yield _entry(where, where, (), _parameters(getattr(cls, name)))
        elif callable(held):
            yield _entry(where, f"{{s}}.{name}", subjects, _parameters(held)[1:])
        else:
            yield _entry(where, f"{{s}}.{name}", subjects, None)
    if short == "Init":
        yield _entry(f"{path}()", "{s}", subjects, _parameters(cls.__call__)[1:])
    if short not in {*KINDS, *TORCH} and subjects:
        for operator, method in OPERATORS.items():
            base = tuple if issubclass(cls, tuple) else object
            if method == "__class__" or getattr(cls, method, None) is not getattr(base, method, None):
                yield _entry(f"{path}: {operator}", operator, subjects, None)
    if dataclasses.is_dataclass(cls) or short in KINDS:
        yield _entry(f"{path}: rebuilt", "rebuilt", subjects, None)


def _parameters(function: Any) -> tuple[inspect.Parameter, ...]:
    return tuple(inspect.signature(function).parameters.values())


def _entry(name: str, callee: str, subjects: tuple[str, ...], parameters: Any) -> Entry:
    weight = WIDE.get(name, next((less for begin, less in WEIGHTS.items() if begin in name), 1.0))
    # An attribute and an operator can hardly go wrong, and a record takes whatever it is given.
    if not parameters or (name.rpartition(".")[2] in RECORDS):
        weight *= 0.15
    return Entry(name, callee, subjects, parameters, weight)
