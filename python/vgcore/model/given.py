"""Values that a caller gives: taken as what they are meant as, or refused by name.

Every argument that Python checks comes in through one of these functions. An error says which argument it is, what was
given and what is allowed: a TypeError where the value is of the wrong sort, a ValueError where it is of the right one
and out of bounds. What a caller's own object raises on the way, in `__array__`, `__float__` or an iterator, passes as
it is.
"""

from __future__ import annotations

import itertools
import math
import operator
import os
import reprlib
import sys
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from numbers import Number
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: The most values that one argument may list.
LONGEST = 1_000_000
#: The most characters of a value that an error shows.
SHOWN = 80
MASKED = "fill or drop what is masked, as in x.filled(0) or x.compressed()"

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = 2 * SHOWN


def shown(value: object) -> str:
    r"""What was given, in one line of at most 80 characters, however large it is and whatever its `repr` does.

    >>> shown("x" * 200)[:6], len(shown("x" * 200)), shown("\udc80")
    ("'xxxxx", 80, "'\\udc80'")
    """
    try:
        text = _REPR.repr(value)
    except Exception:  # noqa: BLE001 (the error is about the value, not about its repr)
        text = f"<{type(value).__name__}>"
    return printable(" ".join(text[: 4 * SHOWN].split()))


def printable(text: str, most: int = SHOWN) -> str:
    r"""Text in one line of at most so many characters, each of which can be printed.

    >>> printable("a\tb")
    'a\\tb'
    """
    line = "".join(each if each.isprintable() else repr(each)[1:-1] for each in text[: most + 1])
    return line if len(line) <= most else f"{line[: most - 4]} ..."


def wrong_type(name: str, allowed: str, value: object) -> TypeError:
    """The error of a value of the wrong sort."""
    return TypeError(f"{name} must be {allowed}, got {shown(value)} ({type(value).__name__})")


def out_of_bounds(name: str, allowed: str, value: object) -> ValueError:
    """The error of a value of the right sort that is not allowed."""
    return ValueError(f"{name} must be {allowed}, got {shown(value)}")


def boolean(name: str, value: object) -> bool:
    """True or False, of Python or of NumPy: a word such as `"no"` is true, and meant otherwise."""
    if not isinstance(value, bool | np.bool_):
        raise wrong_type(name, "True or False", value)
    return bool(value)


def text(name: str, value: object) -> str:
    """Text that can be written: no half of a surrogate pair is in it."""
    if not isinstance(value, str):
        raise wrong_type(name, "a string", value)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise out_of_bounds(name, "text without lone surrogates", value) from None
    return value


def path(name: str, value: Any) -> Path:
    """The path of a file, as text or as an object that stands for one.

    >>> path("out", "runs.csv").suffix
    '.csv'
    """
    found = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(found, str):
        raise wrong_type(name, "the path of a file", value)
    if not found or "\0" in found:
        raise out_of_bounds(name, "the path of a file", value)
    try:
        os.fsencode(found)  # which has a way to write bytes that are no text
    except UnicodeEncodeError:
        raise out_of_bounds(name, "text without lone surrogates", value) from None
    return Path(found)


def _masked() -> tuple[type, ...]:
    """The type of masked arrays; none where nobody has imported `numpy.ma`, which NumPy does on first use.

    To import it for this question is 5 ms of a first call, and where memory ends it raises an OSError. Another thread
    may be in the middle of importing it: then there is no such array yet.
    """
    found = getattr(sys.modules.get("numpy.ma"), "MaskedArray", None)
    return () if found is None else (found,)


def _is_number(value: object, kinds: str, method: str) -> bool:
    """Whether a value is one number of these kinds of dtype, or an object of another library that stands for one."""
    if isinstance(value, (*_masked(), bool, complex)):
        return False
    if isinstance(value, np.ndarray | np.generic):
        return value.ndim == 0 and value.dtype.kind in kinds
    if getattr(value, "ndim", 0) != 0:  # an array of another library
        return False
    return hasattr(type(value), method) or hasattr(type(value), "__index__")


def integer(name: str, value: Any, *, least: int, most: int = LONGEST) -> int:
    """A whole number within bounds, of any type of integer.

    >>> integer("depth", np.uint8(3), least=1)
    3
    """
    allowed = f"an integer from {least} to {most}"
    if not _is_number(value, "iu", "__index__"):
        raise wrong_type(name, allowed, value)
    found = operator.index(value)
    if not least <= found <= most:
        raise out_of_bounds(name, allowed, value)
    return found


class Bounds:
    """What numbers are allowed.

    Attributes:
        least: The least one.
        most: The largest one.
        above: What it must be above, in place of `least`.
        finite: Whether infinity is out of bounds.
    """

    def __init__(
        self, *, least: float = -math.inf, most: float = math.inf, above: float | None = None, finite: bool = True
    ) -> None:
        self.least = least
        self.most = most
        self.above = above
        self.finite = finite

    def __str__(self) -> str:
        if self.above is not None:
            words = f"above {self.above:g}" + (f" and up to {self.most:g}" if self.most < math.inf else "")
        elif self.most < math.inf:
            words = f"from {self.least:g} to {self.most:g}"
        else:
            words = f"of {self.least:g} or more" if self.least > -math.inf else ""
        ends = "" if self.most < math.inf else ", and finite" if self.finite else ", or inf"
        return (" " + words) * bool(words) + ends

    def hold(self, values: Any) -> Any:
        """Which of one number or many are within; nan never is."""
        inside = (values >= self.least) & (values <= self.most) & (values == values)  # noqa: PLR0124 (nan is not)
        if self.above is not None:
            inside &= values > self.above
        return inside & np.isfinite(values) if self.finite else inside


def number(name: str, value: Any, bounds: Bounds) -> float:
    """One real number within bounds, of any type of number; no text, truth value or complex number is one.

    >>> number("max_norm", np.uint64(1), Bounds(least=0))
    1.0
    """
    allowed = f"a number{bounds}"
    if not _is_number(value, "iuf", "__float__"):
        raise wrong_type(name, allowed, value)
    if not hasattr(type(value), "__float__"):
        value = operator.index(value)
    try:
        found = float(value)
    except (OverflowError, ValueError) as error:  # of a number that no float is: 10**400, or a nan that signals
        if not isinstance(value, Number) or type(error) not in {OverflowError, ValueError}:
            raise  # of the caller's own
        raise out_of_bounds(name, allowed, value) from None
    # What other types can hold and a float cannot is infinite as a float.
    if not bounds.hold(found) or (math.isinf(found) and not value == found):
        raise out_of_bounds(name, allowed, value)
    return found


def array(name: str, value: Any, *, kinds: str = "iuf") -> NDArray[Any]:
    """An array of real numbers, of the dtype that it has.

    Args:
        name: The argument.
        value: One number, a list of lists of such, or what NumPy reads as an array.
        kinds: The kinds of dtype allowed.
    """
    allowed = "a number or an array of numbers"
    plain = _plain(name, value, 0)
    try:
        found = np.asarray(plain)
    except ValueError as error:
        if not isinstance(plain, list):
            raise  # of the caller's own
        raise ValueError(f"{name} must be {allowed}, whose rows have one length, got {shown(value)}") from error
    if found.ndim > AXES:
        raise out_of_bounds(name, f"an array of at most {AXES} axes", value)
    if found.size and found.dtype.kind not in kinds:
        raise TypeError(f"{name} must be {allowed}, got dtype {found.dtype}: {shown(value)}")
    return found


#: The most axes of an array: NumPy takes no more than twice as many, and results may have one more than what is given.
AXES = 16
#: What an array of any library has.
ARRAY = ("__array__", "__array_interface__", "__array_struct__")


def _plain(name: str, value: Any, level: int) -> Any:
    """Sequences of any sort as lists of what they hold.

    Of what is raised while NumPy reads one it makes another error or none, it reads one without end to no end, and it
    drops masks.
    """
    if type(value) in {float, int}:
        return value
    if isinstance(value, _masked()):
        raise TypeError(f"{name} must be an array without a mask: {MASKED}; got {shown(value)}")
    sort = type(value)
    if isinstance(value, float):
        return float(value)
    if any(hasattr(sort, each) for each in ARRAY):
        return np.asarray(value)
    if isinstance(value, str | bytes | bytearray | Mapping):
        return value
    if not (hasattr(sort, "__getitem__") and hasattr(sort, "__len__")):
        return value
    count = len(value)
    if level == AXES:
        raise out_of_bounds(name, f"an array, or at most {AXES} lists within lists", value)
    if count > LONGEST and not isinstance(value, list | tuple):  # a range, say, whose numbers are not there yet
        raise out_of_bounds(name, f"an array, or a sequence of at most {LONGEST} numbers", value)
    return [_plain(name, item, level + 1) for item in itertools.islice(value, count)]


def numbers(name: str, value: Any, bounds: Bounds) -> NDArray[np.float64]:
    """An array of real numbers, each within bounds, as a float64 copy."""
    found = array(name, value)
    with np.errstate(over="ignore"):  # of longer floats, which are infinite then
        wide = found.astype(np.float64)
    inside = np.asarray(bounds.hold(wide))
    if not inside.all():
        first = found[~inside][0] if found.ndim else found[()]
        raise ValueError(f"{name} must be numbers{bounds}, got {shown(value)}" + (f" with {first}" * bool(found.ndim)))
    return wide


def items(name: str, value: Any, allowed: str, *, ordered: bool = True, most: int = LONGEST) -> list[Any]:
    """What an iterable lists, which may be an iterator, and must come to an end.

    Args:
        name: The argument.
        value: The iterable; text, bytes and mappings are no lists of values.
        allowed: What it may be, in words.
        ordered: Whether the order counts, so that a set will not do.
        most: The most values allowed.
    """
    barred = (str, bytes, bytearray, memoryview, *_masked(), Mapping) + (AbstractSet,) * ordered
    single = isinstance(value, np.ndarray) and value.ndim == 0
    if single or isinstance(value, barred) or not isinstance(value, Iterable):
        raise wrong_type(name, allowed, value)
    found = list(itertools.islice(value, most + 1))
    if len(found) > most:
        raise ValueError(f"{name} must be {allowed}, at most {most} of them, got more")
    return found
