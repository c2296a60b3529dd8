"""The fuzzer finds nothing in vgcore, and everything in what is broken on purpose."""

import os
import random
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from fuzz import draw, judge, odd, sound, surface, watch
from fuzz.draw import Call

CALLS, SEED = 5000, 0


def test_five_thousand_calls_keep_the_contract_of_exceptions() -> None:
    report = watch.fuzz(CALLS, SEED, jobs=os.cpu_count() or 1)
    assert report.calls == CALLS
    found = [f"{len(faults)} x {' '.join(group)}: {faults[0]}" for group, faults in report.groups()]
    assert found == [], "\n".join(found)


def test_the_same_number_is_the_same_call() -> None:
    assert [draw.call(3, i) for i in range(200)] == [draw.call(3, i) for i in range(200)]
    assert draw.call(3, 7) != draw.call(4, 7)


def test_everything_public_is_called() -> None:
    drawn = {draw.call(SEED, index).name for index in range(16 * CALLS)}  # some are drawn once in 10,000 calls
    assert {entry.name for entry in surface.entries()} <= drawn
    assert {"vg.probe", "vg.Probe.factor", "vg.theory.q_star", "vg.Sweep: {s}[{odd}]", "shell"} <= drawn


def test_every_class_has_a_subject_and_every_parameter_of_a_function_a_sound_value() -> None:
    assert surface.classes() <= {*sound.SUBJECTS}
    lacking = {
        f"{entry.name}({parameter.name})"
        for entry in surface.entries()
        for parameter in entry.parameters or ()
        if entry.name.rpartition(".")[2] not in surface.RECORDS and parameter.name != "_"
        if parameter.name != "params" and not sound.of(entry.name, parameter.name)
    }
    assert lacking == set()


@pytest.mark.parametrize("name", sorted({*sound.VALUES, *sound.SUBJECTS}))
def test_sound_values_can_be_made(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for text in sound.VALUES.get(name, ()) + sound.SUBJECTS.get(name, ()):
        eval(f"dict({text})" if name in sound.KEYWORDS else text, dict(odd.NAMESPACE))


def test_a_mutation_stays_close() -> None:
    rng = random.Random(0)
    assert all(abs(len(draw.mutated(rng, "leaky_relu(0.1)")) - 15) <= 6 for _ in range(100))
    assert len({draw.mutated(rng, "leaky_relu(0.1)") for _ in range(100)}) > 80


class DerivedError(ValueError):
    """An error of a class that no caller knows."""


def _broken(way: str, given: Any = None) -> Any:
    """What breaks the contract, each in its way."""
    if way == "warns":
        warnings.warn("careful", RuntimeWarning, stacklevel=1)
    if way == "writes":
        given[0] = 7
    if way == "locks":
        given.setflags(write=False)
    if way == "leaves":
        Path("left").touch()
    if way == "replaces":
        try:
            return float(given)
        except OSError as error:
            raise ValueError("no number") from error
    if way == "swallows":
        try:
            return list(given)
        except KeyboardInterrupt:
            return []
    messages = {"empty": "", "long": "x" * 700, "lines": "one\ntwo", "unprintable": "\ud800", "control": "\x1b[31m"}
    if way in messages:
        raise ValueError(messages[way])
    errors = {"attribute": AttributeError, "derived": DerivedError, "overflow": OverflowError, "panic": BaseException}
    if way in errors:
        raise errors[way]("no")
    return None


@pytest.mark.parametrize(
    ("way", "given", "kind"),
    [
        ("warns", "None", "emits RuntimeWarning"),
        ("writes", "np.zeros(3)", "changes its argument"),
        ("writes", "(7, np.zeros(3))[1]", "changes its argument"),
        ("writes", "[0.0]", None),
        ("locks", "np.zeros(3)", "changes its argument"),
        ("leaves", "None", "leaves files behind"),
        ("replaces", "raising('__float__', OSError)", "OSError of the argument's __float__ becomes ValueError"),
        ("replaces", "raising('__float__', MemoryError)", None),
        (
            "swallows",
            "raising('__iter__', KeyboardInterrupt)",
            "KeyboardInterrupt of the argument's __iter__ becomes no error",
        ),
        ("swallows", "raising('__iter__', Own)", None),
        ("empty", "None", "ValueError without a message"),
        ("long", "None", "message of more than 600 characters"),
        ("lines", "None", "message of several lines"),
        ("unprintable", "None", "message that cannot be printed"),
        ("control", "None", "message with control characters"),
        ("attribute", "None", "raises AttributeError"),
        ("derived", "None", "raises DerivedError"),
        ("overflow", "None", "raises OverflowError"),
        ("panic", "None", "raises BaseException"),
        ("nothing", "None", None),
    ],
)
def test_what_breaks_the_contract_is_found(
    way: str, given: str, kind: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _found(way, given, "", tmp_path, monkeypatch) == kind


@pytest.mark.parametrize(("way", "kind"), [("warns", "emits RuntimeWarning"), ("panic", "raises BaseException")])
def test_what_breaks_the_contract_in_two_threads_is_found(
    way: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _found(way, "None", "threads", tmp_path, monkeypatch) == kind


def _found(way: str, given: str, how: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str | None:
    """The kind of the fault that the judge finds, if any."""
    monkeypatch.chdir(folder)
    monkeypatch.setitem(odd.__dict__, "broken", _broken)
    fault = judge.run(Call("broken", "broken", None, ((None, repr(way)), (None, given)), how))
    return None if fault is None else fault.kind


def test_a_call_that_dies_in_a_fork_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fault = judge.run(Call("os._exit", "os._exit", None, ((None, "3"),), "fork"))
    assert fault is not None
    assert fault.kind == "raises SystemExit"


def _watched(tmp_path: Path, body: str, *, calls: int = 12, patience: float = 60) -> watch.Report:
    """What the watchdog makes of workers that run `body` for each index."""
    script = tmp_path / "worker.py"
    loop = "import os, sys, time\nfor index in range(*map(int, sys.argv[1:])):\n    print(index, flush=True)\n"
    script.write_text(loop + "".join(f"    {line}\n" for line in body.splitlines()))
    return watch.watch([sys.executable, str(script)], calls, jobs=2, name=lambda i: ("f", f"f({i})"), patience=patience)


def test_a_worker_that_dies_is_told_of_and_the_next_call_goes_on(tmp_path: Path) -> None:
    report = _watched(tmp_path, "if index in (3, 7): os.abort()\nif index == 11: sys.exit(4)")
    assert [(f.kind, f.source) for f in report.faults] == [
        ("kills the process: SIGABRT", "f(3)"),
        ("kills the process: SIGABRT", "f(7)"),
        ("ends the process: 4", "f(11)"),
    ]
    assert report.calls == 12


def test_a_worker_that_hangs_is_killed(tmp_path: Path) -> None:
    report = _watched(tmp_path, "if index == 3: time.sleep(1000)", patience=3)
    assert [(f.kind, f.source) for f in report.faults] == [("gives no answer in 3 s", "f(3)")]
    assert report.calls == 12


def test_a_call_that_computes_for_ever_is_stopped_by_its_processor_time(monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(watch.__file__).parents[1]
    code = (
        f"import sys; sys.path.insert(0, {str(root)!r}); from fuzz import watch, draw; watch.LIMIT = 1\n"
        "endless = draw.Call('f', 'sum', None, ((None, 'itertools.count()'),))\n"
        "watch.drawn = lambda seed, index: endless if index == 1 else draw.Call('f', 'len', None, ((None, '[]'),))\n"
        "watch.work(*map(int, sys.argv[1:]))"
    )
    monkeypatch.setattr(watch, "LIMIT", 1)
    report = watch.watch([sys.executable, "-c", code, "0"], 3, jobs=1, name=lambda i: ("f", f"f({i})"))
    assert [(f.kind, f.source) for f in report.faults] == [("takes more than 1 s of processor time", "f(1)")]
    assert report.calls == 3
