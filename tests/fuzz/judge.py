"""One call is run, and what it did is held against the contract of exceptions."""

from __future__ import annotations

import shutil
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import vgcore as vg
from fuzz import odd
from fuzz.draw import Call

#: What may come out of a call, and nothing else that is derived from the first two.
EXACTLY = (TypeError, ValueError, vg.Refusal, vg.NonFinite)
DERIVED = (MemoryError, ImportError, OSError)
#: What else some calls are for.
BESIDES: dict[str, tuple[type[BaseException], ...]] = {
    "vg.testing.assert_trainable": (AssertionError,),
    "{s}[{odd}]": (IndexError, KeyError),
    "vg.Activation.custom": (ZeroDivisionError,),  # of a function that divides by 0
}
LONGEST = 600
#: An error in how an object shows or compares itself may give way to what was to be said of it; Ctrl-C never does.
MINOR = {"__repr__", "__str__", "__eq__", "__hash__", "__format__", "__lt__", "__getattr__", "__contains__", "__bool__"}
#: What may write files.
WRITERS = ("vg.Sweep.save", "vg.TrainSweep.save", "vg.Run.save", "vg.Run.report", "vg.sweep", "vg.train", "shell")


@dataclass(frozen=True)
class Fault:
    """How a call broke the contract.

    Attributes:
        name: What was called.
        kind: What is wrong, in a few words that are the same for all faults of a kind.
        place: Where in the product it came from.
        detail: The message, or whatever else tells more.
        source: The call.
        where: Seed and index, for a replay.
    """

    name: str
    kind: str
    place: str
    detail: str
    source: str
    where: str = ""


@dataclass
class Outcome:
    """What became of a call."""

    result: Any = None
    error: BaseException | None = None
    caught: tuple[str, ...] = ()


def evaluate(call: Call) -> Callable[[], Any]:
    """What makes the call; its subject and arguments have been made."""
    space = dict(odd.NAMESPACE)
    callee = call.callee
    if call.subject is not None:
        space["s"] = eval(call.subject, space)  # (the fuzzer's own source)
        callee = callee.replace("{s}", "s")
    if call.arguments is None:
        code = compile(callee, "<call>", "eval")
        return lambda: eval(code, space)
    given: list[str] = []
    for i, (name, text) in enumerate(call.arguments):
        if name is None and "=" in text and _is_keywords(text):
            space[f"k{i}"] = eval(f"dict({text})", space)
            given.append(f"**k{i}")
        else:
            space[f"a{i}"] = eval(text, space)
            given.append(f"a{i}" if name is None else f"{name}=a{i}")
    whole = callee.replace("{odd}", "a0") if "{odd}" in callee else f"{callee}({', '.join(given)})"
    code = compile(whole, "<call>", "eval")
    made = lambda: eval(code, space)  # noqa: E731
    made.values = [value for key, value in space.items() if key[0] in "ka" and key[1:].isdigit()]  # type: ignore[attr-defined]
    return made


def _is_keywords(text: str) -> bool:
    head = text.partition("=")[0]
    return head.isidentifier()


def arrays(value: Any, depth: int = 3) -> Iterator[np.ndarray[Any, Any]]:
    """The arrays of numbers within a value that are small enough to be compared."""
    if isinstance(value, np.ndarray):
        if value.nbytes < 10**6 and not value.dtype.hasobject:
            yield value
    elif type(value) in {list, tuple} and depth and len(value) < 100:
        for each in value:
            yield from arrays(each, depth - 1)
    elif type(value) is dict and depth:
        for each in value.values():
            yield from arrays(each, depth - 1)


def _state(array: np.ndarray[Any, Any]) -> tuple[bytes, bool]:
    """What an array holds, and whether its owner may write to it."""
    return array.view(np.ndarray).tobytes(), array.flags.writeable


def run(call: Call) -> Fault | None:
    """Run a call in an empty folder, and say what is wrong with what it did."""
    del odd.RAISED[:]
    for path in Path().iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = evaluate(call)
    except BaseException:  # noqa: BLE001 (a value that cannot be made is no call)
        return None
    before = [(array, _state(array)) for value in getattr(made, "values", ()) for array in arrays(value)]
    files = {*Path().iterdir()}
    del odd.RAISED[:]
    outcomes = attempt(lambda: odd.forked(made) if call.way == "fork" else made(), threads=1 + (call.way == "threads"))
    found = next((fault for outcome in outcomes if (fault := _judged(call, outcome, alone=len(outcomes) == 1))), None)
    if found is None and any(_state(array) != held for array, held in before):
        found = _fault(call, "changes its argument", None, "")
    left = {*Path().iterdir()} - files
    if found is None and left and not call.name.startswith(WRITERS):
        found = _fault(call, "leaves files behind", None, ", ".join(sorted(map(str, left))))
    return found


def attempt(made: Callable[[], Any], *, threads: int = 1) -> list[Outcome]:
    """The outcome of a call, or of several at once, its warnings and what was raised where nobody could catch it."""
    outcomes, unraisable = [Outcome() for _ in range(threads)], list[str]()

    def run(outcome: Outcome) -> None:
        try:
            outcome.result = made()
        except BaseException as error:  # noqa: BLE001 (that is what is judged)
            outcome.error = error

    hook, sys.unraisablehook = sys.unraisablehook, lambda args: unraisable.append(repr(args.exc_value))
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            others = [threading.Thread(target=run, args=(outcome,)) for outcome in outcomes[1:]]
            for other in others:
                other.start()
            run(outcomes[0])
            for other in others:
                other.join()
    finally:
        sys.unraisablehook = hook
    told = [w for w in caught if "fork" not in str(w.message) and w.category is not ResourceWarning]
    said = tuple(f"{w.category.__name__}: {w.message} ({Path(w.filename).name}:{w.lineno})" for w in told)
    for outcome in outcomes:
        outcome.caught = said + tuple(f"unraisable {text}" for text in unraisable)
    return outcomes


def _judged(call: Call, outcome: Outcome, *, alone: bool = True) -> Fault | None:
    error = outcome.error
    if any(error is e for _, e in odd.RAISED):
        return None
    # What the argument raised in one thread is no business of the other.
    for method, e in odd.RAISED if alone else ():
        if isinstance(e, KeyboardInterrupt) or method not in MINOR:
            became = "no error" if error is None else type(error).__name__
            return _fault(call, f"{type(e).__name__} of the argument's {method} becomes {became}", error, _said(error))
    if outcome.caught:
        return _fault(call, f"emits {outcome.caught[0].partition(':')[0]}", error, outcome.caught[0])
    if error is None:
        return _of_result(call, outcome.result)
    allowed = next((kinds for key, kinds in BESIDES.items() if key in call.name), ())
    if type(error) not in EXACTLY and not isinstance(error, (*DERIVED, *allowed)):
        return _fault(call, f"raises {type(error).__name__}", error, _said(error))
    # The words of a key are the key; those of an assertion are a whole diagnosis.
    if isinstance(error, (KeyError, AssertionError)):
        return None
    return _of_message(call, error)


def _of_message(call: Call, error: BaseException) -> Fault | None:
    said = _said(error)
    if not said.strip():
        return _fault(call, f"{type(error).__name__} without a message", error, "")
    if len(said) > LONGEST:
        return _fault(
            call, f"message of more than {LONGEST} characters", error, f"{len(said)} characters: {said[:200]}"
        )
    if "\n" in said.strip():
        return _fault(call, "message of several lines", error, said[:300])
    try:
        said.encode()
    except UnicodeEncodeError:
        return _fault(
            call, "message that cannot be printed", error, said.encode("ascii", "backslashreplace").decode()[:300]
        )
    if any(ord(letter) < 32 for letter in said):
        return _fault(call, "message with control characters", error, repr(said[:300]))
    return None


def _of_result(call: Call, result: Any) -> Fault | None:
    if isinstance(result, vg.Probe) and call.name in {"vg.probe", "vg.sweep"}:
        shape = (len(result.seeds), result.spec.rows)
        for name in ("log10_z_rms", "log10_delta_rms", "log10_wgrad_norm", "saturated", "correlation"):
            column = getattr(result, name)
            if column.dtype != np.float64 or column.shape != shape:
                return _fault(call, "columns of a wrong shape or dtype", None, f"{name}: {column.dtype} {column.shape}")
    return None


def _said(error: BaseException | None) -> str:
    with suppress(Exception):
        return str(error)
    return "a message that cannot be made"


def _fault(call: Call, kind: str, error: BaseException | None, detail: str) -> Fault:
    place = "" if error is None else _place(error)
    return Fault(call.name, kind, place, detail[:400], call.source())


def _place(error: BaseException) -> str:
    """The line of the product that an error came from."""
    root = Path(vg.__file__).parent
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if root in Path(frame.filename).parents]
    return f"{Path(frames[-1].filename).relative_to(root)}:{frames[-1].lineno}" if frames else "_core"


def explain(call: Call) -> None:
    """Run a call for a reader: what it gives, or its traceback."""
    made = evaluate(call)
    outcome = attempt(lambda: odd.forked(made) if call.way == "fork" else made())[0]
    for text in outcome.caught:
        sys.stdout.write(f"{text}\n")
    if outcome.error is None:
        sys.stdout.write(f"-> {type(outcome.result).__name__}\n")
    else:
        traceback.print_exception(outcome.error, file=sys.stdout, limit=-20)
