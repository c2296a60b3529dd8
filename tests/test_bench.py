"""The comparison: who takes part, that all compute the same, and what the shell prints of it."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from test_cli import run, run_apart
from vgcore.shell import bench, commands, rivals

TINY = (8, 4, 3)


def without(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in modules else find(name))


def scaled(rival: Callable[[rivals.Given], list[rivals.Program]], job: str) -> Callable[[rivals.Given], list[Any]]:
    """The rival, if it made a mistake: what it finds is twice too much."""

    def wrong(given: rivals.Given) -> list[rivals.Program]:
        (program,) = [program for program in rival(given) if program.job == job]
        right = program.run
        program.run = lambda seed: [2 * np.asarray(part) for part in right(seed)]
        return [program]

    return wrong


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # torch's own, where it is installed
def test_every_installed_rival_finds_the_same_and_has_a_row_for_every_job() -> None:
    found = list(bench.compare([TINY], rounds=2, every=True))  # an error if gradients differ
    assert [rows[0]["job"] for rows in found] == list(rivals.JOBS)
    assert [row["rival"] for row in found[0]] == bench.installed(every=True)
    probes_only = {"one net", "torch stacked", "JAX vmap"}
    assert [row["rival"] for row in found[1]] == [row["rival"] for row in found[0] if row["rival"] not in probes_only]
    for row in (row for rows in found for row in rows):
        assert row["shape"] == list(TINY)
        assert len(row["us_per_layer"]) == 2
        assert min(row["us_per_layer"]) == row["min"] <= row["median"] <= max(row["us_per_layer"])
        ours = found[list(rivals.JOBS).index(row["job"])][0]
        assert row["ratio"] == row["median"] / ours["median"]
        assert row["ratio_min"] == row["min"] / ours["min"]


def test_a_rival_that_takes_minutes_takes_part_only_where_every_one_is_asked_for() -> None:
    quick, every = bench.installed(), bench.installed(every=True)
    assert quick == [name for name in every if name not in rivals.SLOW]
    assert {*every} - {*quick} <= {*rivals.SLOW}


def test_torch_that_cannot_compile_takes_no_part_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("no C++ compiler was found\nand more words")

    fake = SimpleNamespace(compile=fail, ones=np.ones)
    monkeypatch.setattr(rivals, "import_module", lambda _: fake)
    rivals._why_torch_cannot_compile.cache_clear()
    with pytest.warns(UserWarning, match=r"torch\.compile takes no part.*: no C\+\+ compiler was found$"):
        assert rivals.torch_compile(rivals.Given(*TINY)) == []
    rivals._why_torch_cannot_compile.cache_clear()  # what it says of the real one is asked anew


def test_a_rival_with_a_choice_says_what_each_setting_took(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "torch", "jax")

    def choice(given: rivals.Given) -> list[rivals.Program]:
        quick, slow = rivals.numpy(given), rivals.numpy(given)
        for program in slow:
            program.setting, program.nets = "slow", 1e-6  # type: ignore[assignment]
        return slow + quick

    monkeypatch.setitem(rivals.RIVALS, "NumPy", choice)
    for rows in itertools.islice(bench.compare([TINY], rounds=1), 2):  # the jobs that rivals do
        (row,) = [row for row in rows if row["rival"] == "NumPy"]
        assert row["setting"] == "" == min(row["tried"], key=row["tried"].__getitem__)
        assert {*row["tried"]} == {"", "slow"}
        assert rows[0]["tried"] == {}


@pytest.mark.parametrize(("job", "words"), [("probe", "mean log norm"), ("gradients", "gradients are not vgcore's")])
def test_a_rival_that_computes_something_else_is_refused(job: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "torch", "jax")
    monkeypatch.setitem(rivals.RIVALS, "NumPy", scaled(rivals.numpy, job))
    with pytest.raises(ValueError, match=f"NumPy.*{words}"):
        list(bench.compare([TINY], rounds=1))


def test_a_net_too_large_to_stay_clear_of_kinks_may_differ_a_little_more() -> None:
    assert rivals.Given(64, 32, 64).tolerance == 1e-4
    assert rivals.Given(256, 64, 300).tolerance > 1e-4


def test_a_shape_that_the_memory_does_not_hold_is_refused_before_any_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bench, "cost", lambda *_, **__: (1.0, 1, 2**30))
    monkeypatch.setattr(rivals, "RIVALS", {})
    with pytest.raises(MemoryError, match=r"4000x32x64 needs about 23\.\d GiB but 1\.0 GiB are available; lower width"):
        list(bench.compare([TINY, (4000, 32, 64)], rounds=1))


def test_memory_that_ends_without_a_word_is_told_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def ends(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(bench, "compare", ends)
    done = run("bench", "--shapes", "8x4x3")
    assert (done.returncode, done.stderr) == (commands.USAGE, "error: the memory does not suffice\n")


@pytest.mark.parametrize("shape", [(4, 32, 8), (1, 1, 8)])
def test_a_net_in_which_samples_die_is_measured_without_a_warning(
    shape: rivals.Shape, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, "torch", "jax")
    rows = list(itertools.islice(bench.compare([shape], rounds=1), 2))[1]  # a warning is an error
    assert [row["rival"] for row in rows] == ["vgcore", "NumPy"]


def test_every_rival_is_asked_for_where_no_more_are_installed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "torch", "jax")
    done = run("bench", "--shapes", "8x4x3", "--rounds", "1", "--every")
    assert done.returncode == 0, done.stderr
    assert "neither torch nor JAX is installed, so nothing more takes part" in done.stderr


def test_a_turn_waits_until_the_threads_of_the_rival_before_are_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    used = iter([0.0, 0.01, 0.01, 0.012, 0.012, 0.0121])  # processor time before and after each of three slices
    monkeypatch.setattr(time, "process_time", lambda: next(used))
    rivals.Program("probe", lambda _: None).turn(1)
    assert list(used) == []


def test_a_process_that_is_never_idle_is_measured_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    used = itertools.count()
    monkeypatch.setattr(time, "process_time", lambda: next(used))
    assert rivals.Program("probe", lambda _: None).turn(1) > 0


def test_the_shell_compares_with_numpy_alone_and_says_who_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "torch", "jax")
    done = CliRunner().invoke(commands.app, ["bench", "--shapes", "8x4x3", "--rounds", "1"])
    assert done.exit_code == 0, done.output
    for words in ("torch is not installed", "JAX is not installed", "NumPy 2" if np.__version__[0] == "2" else "NumPy"):
        assert words in done.output
    lines = [line.split() for line in done.output.splitlines() if line.split()[:1] == ["8x4x3"]]
    # One net probes only, and what is behind the gradients is done by vgcore alone.
    assert [line[1] for line in lines] == ["vgcore", "one", "NumPy", "vgcore", "NumPy", *3 * ["vgcore"]]
    assert "JAX:" not in done.output


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores are chosen on Linux only")
def test_json_is_a_record_with_the_facts_it_depends_on_such_as_the_cores_it_was_kept_to() -> None:
    done = run_apart("bench", "--shapes", "8x4x3", "--rounds", "1", "--threads", "1", "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert {"date", "cpu", "cores", "load", "load_after", "build", "python", "numpy", "torch", "jax"} <= {
        *record["facts"]
    }
    assert (record["facts"]["torch_isa"] is None) == (record["facts"]["torch"] is None)
    if (isa := record["facts"]["build"]["isa"]) in {"avx2", "avx512"}:
        assert isa in " ".join(record["facts"]["cpu_flags"])
    assert (record["facts"]["cores"], record["facts"]["build"]["threads"]) == (1, 1)
    assert {row["rival"] for row in record["rows"]} == {*record["rivals"]} == {*bench.installed()}
    assert {row["job"] for row in record["rows"]} == {*record["jobs"]}
    assert done.stderr == ""


def test_an_interrupt_shows_what_was_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "torch", "jax")
    compare = bench.compare

    def interrupted(*arguments: Any, **options: Any) -> Iterator[list[bench.Row]]:
        yield next(compare(*arguments, **options))
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "compare", interrupted)
    monkeypatch.setattr(os, "_exit", sys.exit)
    done = CliRunner().invoke(commands.app, ["bench", "--shapes", "8x4x3", "--rounds", "1"])
    assert done.exit_code == commands.INTERRUPTED
    assert "probe: " in done.output
    assert "gradients: " not in done.output
    assert "interrupted: 1 of 5 comparisons were finished; no record is written" in done.output


def test_an_interrupt_ends_a_run_of_all_rivals_without_a_crash() -> None:
    # Its first turn is of a library that compiles or has threads, if one is installed.
    say_turn = (
        "turn = rivals.Program.turn; rivals.Program.turn = lambda *of: (print('a turn', flush=True), turn(*of))[1]"
    )
    command = [sys.executable, "-c", f"from vgcore.shell import commands, rivals; {say_turn}; commands.main()"]
    arguments = ["bench", "--shapes", "64x32", "--rounds", "1000"]
    with subprocess.Popen([*command, *arguments], stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "a turn\n"
        # More than one: an interrupt within a callback of a library is written to stderr and goes no further.
        for patience in (60, 60, 300):
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                _, err = process.communicate(timeout=patience)
                break
    assert process.returncode == commands.INTERRUPTED, err
    assert "Traceback" not in err.partition("Exception ignored")[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--shapes", "64y32"], ["--shapes", "'64y32'", "64x32"]),
        (["--shapes", "64"], ["--shapes", "'64'", "width x batch"]),
        (["--shapes", "0x32"], ["--shapes", "'0x32'"]),
        (["--shapes", "64x32x"], ["--shapes", "'64x32x'", "64x32x10"]),
        (["--shapes", ","], ["--shapes", "no values"]),
        (["--shapes", "8x4,8x4x64"], ["--shapes", "8x4x64 twice"]),
        (["--shapes", "64x1000000000"], ["batch", "1 to 1000000"]),
        (["--rounds", "0"], ["rounds", "1 to 1000", "got 0"]),
        (["--rounds", "100000000000"], ["rounds", "1 to 1000", "got 100000000000"]),
        (["--threads", "0"], ["threads", "got 0"]),
    ],
)
def test_bad_input_is_one_clear_error_and_returns_2(arguments: list[str], words: list[str]) -> None:
    done = run("bench", *arguments)
    assert done.returncode == commands.USAGE
    assert done.stdout == ""
    for word in words:
        assert word in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
