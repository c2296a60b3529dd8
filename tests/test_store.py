"""Stores: what is finished is safe, whatever stops the work, and nothing else is ever read."""

import itertools
import json
import operator
import os
import pickle
import random
import re
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest

import vgcore as vg
from vgcore.measure import block, measurement, store, stored, upkeep
from vgcore.measure.store import Store
from vgcore.model.spec import Spec

SPEC = vg.MLP(depth=1, width=8)
GRID: dict[str, Any] = {"depth": [1, 2, 3, 5, 8], "activation": ["relu", "tanh"]}


def small(**options: Any) -> vg.Sweep:
    return vg.sweep(SPEC, seeds=2, batch=4, **GRID | options)


def bits(s: vg.Sweep) -> list[tuple[Spec, bytes]]:
    return [(cell.spec, block.pack(cell)) for cell in s]


def python(code: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.vg"


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many cells each call of the core was for."""
    calls: list[int] = []
    columns = measurement.Measurement.columns

    def counting(self: Any, cells: Any, report: Any) -> None:
        calls.extend([len(cells)] * bool(cells))
        columns(self, cells, report)

    with monkeypatch.context() as patched:
        patched.setattr(measurement.Measurement, "columns", counting)
        yield calls


# What is kept


def test_a_stored_sweep_has_the_bits_of_one_in_memory(path: Path) -> None:
    s = small()
    for other in (small(store=path), vg.open_sweep(path), vg.open_sweep(str(path))):
        assert bits(other) == bits(s)
        assert (other.varied, other.planned, len(other)) == (s.varied, s.planned, len(s))
        for mine, theirs in zip(s, other, strict=True):
            for name in block.LAYOUT:
                one, two = getattr(mine, name), getattr(theirs, name)
                assert (one.dtype, one.shape) == (two.dtype, two.shape)
                np.testing.assert_array_equal(one, two)
            np.testing.assert_array_equal(mine.seeds, theirs.seeds)
            assert mine.seeds.dtype == theirs.seeds.dtype
            assert (mine.batch, mine.dtype, mine.loss) == (theirs.batch, theirs.dtype, theirs.loss)
    assert str(vg.open_sweep(path).table()) == str(s.table())


@pytest.mark.parametrize("seed", [0, 2**63, 2**64 - 2])
def test_every_seed_comes_back(path: Path, seed: int) -> None:
    small(store=path, seed=seed)
    assert vg.open_sweep(path)[0].seeds.tolist() == [seed, seed + 1]


def test_the_same_call_again_measures_what_is_missing_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with counted(monkeypatch) as calls:
        small(store=path)
        small(store=path)
        larger = small(store=path, depth=[*GRID["depth"], 13])
    assert calls == [10, 2]
    assert bits(larger) == bits(small(depth=[*GRID["depth"], 13]))


@pytest.mark.parametrize(
    "change",
    [{"seeds": 3}, {"seed": 1}, {"batch": 5}, {"dtype": "float64"}, {"loss": "output_sum"}, {"x": np.ones((4, 8))}],
)
def test_another_measurement_is_another_cell(
    path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    small(store=path)
    with counted(monkeypatch) as calls:
        vg.sweep(SPEC, **{"seeds": 2, "batch": 4, **GRID, **change}, store=path)
    assert sum(calls) == 10
    assert len(vg.open_sweep(path)) == 20


def test_threads_the_spelling_of_a_kind_and_the_layout_of_data_change_no_cell(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)
    y = np.arange(6) % 3
    grid: dict[str, Any] = {"seeds": 2, "depth": [1, 2], "out_features": [3], "loss": "cross_entropy", "store": path}
    vg.sweep(SPEC, x=x, y=y, activation=["leaky_relu"], **grid)
    with counted(monkeypatch) as calls:
        again = vg.sweep(
            SPEC,
            x=np.asfortranarray(x.astype(np.float64)),
            y=y.tolist(),
            activation=["leaky_relu(0.01)"],
            threads=1,
            **grid,
        )
    assert sum(calls) == 0
    assert len(again) == 2


def test_data_are_kept_and_judged_by_as_those_of_the_caller(path: Path) -> None:
    x, y = vg.data.digits()
    options: dict[str, Any] = {"x": 50 * x[:60], "y": y[:60], "seeds": 2, "depth": [2, 3]}
    made = vg.sweep(vg.MLP(depth=1, width=64, out_features=10), **options)
    vg.sweep(vg.MLP(depth=1, width=64, out_features=10), store=path, **options)
    again = vg.open_sweep(path)
    np.testing.assert_array_equal(np.asarray(again[0].x), options["x"])
    assert str(vg.diagnose(again)) == str(vg.diagnose(made))
    assert str(again.table()) == str(made.table())


def test_data_that_are_too_large_are_named_where_they_are_needed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "KEPT", 100)
    x = np.ones((20, 8))
    made = vg.sweep(SPEC, x=x, seeds=2, depth=[1, 2], store=path)
    assert np.asarray(made[0].x).shape == x.shape
    again = vg.open_sweep(path)
    assert bits(again) == bits(made)
    with pytest.raises(ValueError, match="this needs x"):
        vg.diagnose(again)


def test_names_of_classes_are_kept(path: Path) -> None:
    spec = vg.MLP(depth=1, width=2, out_features=2)
    vg.sweep(spec, x=[[0.0, 1.0], [1.0, 0.0]], y=["cat", "dog"], depth=[1, 2], seeds=1, store=path)
    assert vg.open_sweep(path)[0].loss == "cross_entropy"
    assert [str(name) for name in np.asarray(vg.open_sweep(path)[0].y)] == ["cat", "dog"]


def test_activations_of_your_own_come_back_in_another_process(path: Path) -> None:
    bump = vg.Activation.custom("bump", lambda z: z / (1 + z * z), low=-4, high=4, tolerance=1e-6)
    made = vg.sweep(SPEC.replace(activation=bump), depth=[1, 2], seeds=1, store=path)
    code = f"""
        import vgcore as vg
        s = vg.open_sweep({str(path)!r})
        print(s[1].spec.id, vg.probe(s[1].spec, seeds=1).z_rms)
    """
    out, err = python(code).communicate()
    assert err == ""
    assert out.split()[0] == made[1].spec.id


# Interrupts and faults

DAMAGE = r"is torn|is damaged|is empty|is not a store|of another program"

MEASURING = """
    import sys, vgcore as vg
    from contextlib import contextmanager
    from vgcore.measure import stored

    @contextmanager
    def told(*work, show):
        print("begun", flush=True)

        def safe(cell):
            print(cell, flush=True)
            if sys.argv[2] == "wait":
                sys.stdin.readline()

        yield safe

    stored.progress_bar = told
    spec = vg.MLP(depth=1, width=int(sys.argv[3]))
    vg.sweep(spec, depth=range(1, 121), activation=["relu", "tanh"], seeds=2, store=sys.argv[1])
    print("end", flush=True)
"""


@contextmanager
def measuring(
    path: Path, *, width: int = 32, wait: bool = False
) -> Iterator[tuple[subprocess.Popen[str], IO[str], IO[str]]]:
    """A process that prints the index of each cell that is safe, and waits for a line then if told to."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(MEASURING), str(path), "wait" if wait else "go", str(width)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            yield process, process.stdout, process.stderr
        finally:
            process.kill()


def told(lines: list[str]) -> int:
    return sum(line.strip().isdigit() for line in lines)


def test_a_kill_at_any_moment_loses_no_cell_that_was_told(path: Path) -> None:
    kills, rng, safe, lines = int(os.environ.get("VGCORE_KILLS", "6")), random.Random(7), 0, [""]
    for turn in itertools.count():
        # After a number of lines, not of seconds: a machine may be busy.
        wanted = rng.choice([1, 2, 2, 4, 10, 30]) if turn < kills else None
        with measuring(path) as (process, out, err):
            lines = list(itertools.islice(out, wanted))
            process.kill()
            lines += out.readlines()
            assert err.read() == ""
        safe += told(lines)
        with Store(path) as opened:
            assert upkeep.faults(opened) == []
            done = upkeep.counts(opened)["done"]
        assert safe <= done <= 240
        if lines[-1] == "end\n":
            break
    assert done == 240
    whole = vg.sweep(vg.MLP(depth=1, width=32), depth=range(1, 121), activation=["relu", "tanh"], seeds=2)
    assert bits(vg.open_sweep(path)) == bits(whole)


def test_ctrl_c_keeps_and_gives_what_was_finished(path: Path) -> None:
    # Wide nets: cells are told a quarter of a second at a time, and a fast machine measures 240 narrow ones in that.
    with measuring(path, width=256) as (process, out, err):
        lines = [out.readline() for _ in range(4)]
        process.send_signal(signal.SIGINT)
        lines += out.readlines()
        assert "KeyboardInterrupt" in err.read()
    assert "end\n" not in lines
    assert 0 < told(lines) == len(vg.open_sweep(path)) < 240
    with Store(path) as opened:
        assert all(writer[3] for writer in upkeep.writers(opened))  # it has signed out


def test_a_second_writer_hears_who_writes_and_the_first_goes_on(path: Path) -> None:
    with measuring(path, wait=True) as (process, out, err):
        out.readline()
        out.readline()
        with pytest.raises(BlockingIOError, match=rf"is in use by host .*, process {process.pid}, since 20"):
            small(store=path)
        assert 0 < len(vg.open_sweep(path)) <= 240 == vg.open_sweep(path).planned  # a reader may look on
        assert process.stdin is not None
        process.stdin.write("\n" * 240)
        process.stdin.flush()
        assert (out.readlines()[-1], err.read()) == ("end\n", "")
        assert process.wait() == 0
    assert len(vg.open_sweep(path)) == 240


def test_two_threads_of_one_process_are_two_writers(path: Path) -> None:
    with Store(path, write=True), pytest.raises(BlockingIOError, match=f"process {os.getpid()}"):
        small(store=path)
    assert len(small(store=path)) == 10


def test_a_writer_that_was_killed_is_in_nobodys_way(path: Path) -> None:
    with measuring(path, wait=True) as (process, out, _):
        out.readline()
        out.readline()
        process.kill()
    assert len(small(store=path)) == 10


def test_a_torn_file_is_told_at_any_length(path: Path) -> None:
    small(store=path)
    whole, torn = path.read_bytes(), path.with_name("torn.vg")
    lengths = [0, 1, 15, 16, 99, 100, 1000, store.PAGE - 1, store.PAGE, store.PAGE + 1, *range(3000, len(whole), 7919)]
    for length in [*lengths, len(whole) - 1]:
        torn.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=DAMAGE):
            vg.open_sweep(torn)
        if length:
            with pytest.raises(ValueError, match=DAMAGE):
                small(store=torn)


def test_a_changed_byte_is_never_read_as_a_number(path: Path) -> None:
    s = small(store=path)
    whole = bytearray(path.read_bytes())
    expected = bits(s)
    place = whole.index(s[3].log10_z_rms.tobytes())
    whole[place] ^= 1
    path.write_bytes(whole)
    with pytest.raises(ValueError, match="not those that were written"):
        list(vg.open_sweep(path))
    with Store(path) as opened:
        assert any("not those that were written" in fault for fault in upkeep.faults(opened))
    assert len(expected) == 10


@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"depth":2', b'"depth":4'), (b'"tanh"', b'"selu"'), (b'"width"', b'"midth"')],
)
def test_a_changed_spec_is_never_taken_for_what_was_measured(path: Path, old: bytes, new: bytes) -> None:
    small(store=path, depth=[1, 2, 3])
    path.write_bytes(path.read_bytes().replace(old, new))
    with pytest.raises(ValueError, match=rf"'{re.escape(str(path))}' is damaged: cell \d+ cannot be read"):
        list(vg.open_sweep(path))
    with Store(path) as opened:
        assert any("cannot be read" in fault for fault in upkeep.faults(opened))
    with pytest.raises(ValueError, match="is damaged"):
        upkeep.merge(path.with_name("all.vg"), [path])
    assert not path.with_name("all.vg").exists()


def test_changed_data_are_never_taken_for_those_that_were_measured_on(path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(20, 8))
    small(store=path, x=x)
    held = bytearray(path.read_bytes())
    held[held.index(x.tobytes())] ^= 1
    path.write_bytes(held)
    with pytest.raises(ValueError, match="is damaged: x cannot be read: it is not what was written"):
        list(vg.open_sweep(path))


def test_no_changed_byte_loses_a_cell_or_changes_a_number(path: Path) -> None:
    s = small(store=path, depth=[1, 2, 3])
    expected, whole, rng = bits(s), path.read_bytes(), random.Random(5)
    refused = 0
    for _ in range(300):
        held = bytearray(whole)
        held[rng.randrange(len(held))] ^= 1 << rng.randrange(8)
        path.write_bytes(held)
        try:
            found = bits(vg.open_sweep(path))
        except (ValueError, OSError) as error:
            assert str(path) in str(error)  # noqa: PT017 (not every change is one that matters)
            refused += 1
        else:
            assert found == expected
    assert refused > 5


def test_a_page_that_says_it_holds_fewer_rows_loses_none_in_silence(path: Path) -> None:
    expected, whole = bits(small(store=path)), path.read_bytes()
    refused = 0
    for page in range(1, len(whole) // store.PAGE):
        held = bytearray(whole)
        count = page * store.PAGE + 4  # of rows, in the head of a page of a tree
        held[count] = max(0, held[count] - 1)
        path.write_bytes(held)
        try:
            assert bits(vg.open_sweep(path)) == expected
        except ValueError:
            refused += 1
    assert refused >= 2  # of cells, and of results


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="needs limits of file sizes")
def test_a_full_disk_is_one_sentence_and_loses_nothing(path: Path) -> None:
    small(store=path, depth=[1])
    code = f"""
        import resource, vgcore as vg
        size = {path.stat().st_size}
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 60_000, size + 60_000))
        try:
            vg.sweep(vg.MLP(depth=1, width=8), depth=range(1, 400), seeds=2, batch=4, store={str(path)!r})
        except OSError as error:
            print(error)
            depths = [cell.spec.depth for cell in error.sweep]
            print(len(depths) == len(set(depths)), len(depths) > 10)
    """
    out, err = python(code).communicate()
    assert err == ""
    said, sound = out.splitlines()
    assert re.fullmatch(r"'.*runs\.vg'.*: .*disk.*", said)
    assert sound == "True True"
    with Store(path) as opened:
        assert upkeep.faults(opened) == []
    assert len(small(store=path)) == 10


def test_an_error_of_the_store_gives_the_cells_that_it_did_not_take(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, puts = Store.put, []

    def failing(self: Store, rows: Any) -> None:
        puts.append(len(rows))
        if len(puts) > 1:
            raise store.refusal(28, "no space")
        put(self, rows)

    monkeypatch.setattr(Store, "put", failing)
    monkeypatch.setattr(sys.modules["vgcore.measure.writer"], "CELLS", 3)
    with pytest.raises(OSError, match="no space") as caught:
        small(store=path)
    kept = caught.value.sweep  # type: ignore[attr-defined]
    known = dict(bits(small()))
    assert len(kept) >= 4
    assert all(known[cell.spec] == block.pack(cell) for cell in kept)


def test_what_the_core_refuses_is_an_error_and_no_failed_cell(path: Path) -> None:
    with pytest.raises(ValueError, match="x must be"):
        small(store=path, x=np.ones((4, 3)))
    assert list(path.parent.iterdir()) == []
    assert small(store=path).failed == {}
    with pytest.raises(ValueError, match="x must be"):
        small(store=path, x=np.ones((4, 3)))
    assert len(vg.open_sweep(path)) == 10


def test_cells_that_cannot_be_measured_are_rows_and_are_tried_again_when_asked(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = measurement.Measurement.columns

    def failing(self: Any, cells: Any, report: Any) -> None:
        if any(cell.depth in {3, 8} for cell in cells):
            raise MemoryError("this probe needs 12 bytes")
        columns(self, cells, report)

    with monkeypatch.context() as patched:
        patched.setattr(measurement.Measurement, "columns", failing)
        s = small(store=path)
    assert {(spec.depth, spec.activation) for spec in s.failed} == {(d, a) for d in (3, 8) for a in ("relu", "tanh")}
    assert set(s.failed.values()) == {"this probe needs 12 bytes"}
    assert (len(s), s.planned) == (6, 10)
    assert vg.open_sweep(path).failed == s.failed
    assert len(small(store=path)) == 6
    again = small(store=path, retry_failed=True)
    assert (again.failed, bits(again)) == ({}, bits(small()))


def no_memory(_: Any, cells: Any, __: Any) -> None:
    if cells:
        raise MemoryError("no")


# What is refused


def test_a_file_that_is_no_store_is_refused_by_name(path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no store '.*runs\.vg'"):
        vg.open_sweep(path)
    with pytest.raises(FileNotFoundError, match="no folder"):
        small(store=path / "nothing" / "runs.vg")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        small(store=path.parent)
    with pytest.raises(FileNotFoundError, match="no file fits"):
        vg.open_sweep(f"{path.parent}/*.vg")
    path.write_text("depth,width\n1,2\n" * 1000)
    for read in (vg.open_sweep, lambda path: small(store=path)):
        with pytest.raises(ValueError, match="not a store"):
            read(path)
    path.unlink()
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE mine (x)")
    other.close()
    with pytest.raises(ValueError, match="another program"):
        small(store=path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("PRAGMA user_version=3", "format 3, and this vgcore reads up to 2"),
        ("UPDATE layout SET stream = stream - 1", "random numbers of version"),
        ('UPDATE layout SET columns = \'["log10_z_rms", "mine"]\'', "has mine beside"),
    ],
)
def test_a_store_of_another_version_is_refused_by_name(path: Path, change: str, said: str) -> None:
    small(store=path)
    with sqlite3.connect(path) as other:
        other.execute(change)
    other.close()
    for read in (vg.open_sweep, lambda path: small(store=path)):
        with pytest.raises(ValueError, match=said):
            read(path)


@pytest.mark.parametrize("shard", ["16/16", "-1/4", "1", "a/b", "1/0", (1, 4), 3, "1/4/5", ""])
def test_what_is_no_shard_is_refused(shard: Any) -> None:
    with pytest.raises(ValueError, match="shard must be a part"):
        small(shard=shard)


# Shards


def test_sixteen_shards_together_are_one_run(path: Path) -> None:
    whole = small(depth=range(1, 31))
    files = []
    for part in range(16):
        files.append(path.with_name(f"part-{part}.vg"))
        one = small(depth=range(1, 31), store=files[-1], shard=f"{part}/16")
        assert bits(one) == bits(small(depth=range(1, 31), shard=f"{part}/16"))
    together = vg.open_sweep(f"{path.parent}/part-*.vg")
    assert bits(together) == bits(whole)
    assert (together.varied, together.planned) == (whole.varied, 60)
    assert upkeep.merge(path, files) == {"done": 60, "failed": 0, "planned": 0}
    assert bits(vg.open_sweep(path)) == bits(whole)
    assert upkeep.merge(path, reversed(files))["done"] == 60  # again: nothing twice
    with Store(path) as opened:
        assert upkeep.faults(opened) == []
        assert len(opened.query("SELECT * FROM block")) == 60
    assert bits(small(depth=range(1, 31), store=path)) == bits(whole)


def test_which_shard_a_cell_is_of_depends_on_the_cell_alone() -> None:
    whole = {cell.spec for cell in small(depth=range(1, 21), shard="1/3")}
    some = {cell.spec for cell in small(depth=range(20, 2, -3), shard="1/3")}
    assert some == {spec for spec in whole if spec.depth in range(20, 2, -3)} != set()


def test_stores_that_disagree_are_not_merged(path: Path) -> None:
    other = path.with_name("other.vg")
    small(store=path)
    small(store=other)
    with sqlite3.connect(other) as changed:
        query = "SELECT block, bytes FROM result JOIN block ON block = id WHERE cell = 2"
        number, packed = changed.execute(query).fetchone()
        packed = packed[:-8] + np.array([0.5]).tobytes()
        changed.execute("UPDATE block SET bytes = ? WHERE id = ?", (packed, number))
        changed.execute("UPDATE result SET digest = ? WHERE cell = 2", (block.digest(packed),))
    changed.close()
    for together in (lambda: upkeep.merge(path, [other]), lambda: vg.open_sweep([path, other])):
        with pytest.raises(ValueError, match="other numbers of one cell"):
            together()
    assert len(vg.open_sweep(path)) == 10
    with pytest.raises(ValueError, match="into itself"):
        upkeep.merge(path, [path])
    with pytest.raises(FileNotFoundError, match="no store"):
        upkeep.merge(path.with_name("new.vg"), [path, path.with_name("missing.vg")])
    assert not path.with_name("new.vg").exists()


def test_nothing_is_merged_into_a_damaged_store(path: Path) -> None:
    s, other, sound = small(store=path), path.with_name("other.vg"), path.with_name("sound.vg")
    small(store=other, depth=[7])
    whole = bytearray(path.read_bytes())
    whole[whole.index(s[3].log10_z_rms.tobytes())] ^= 1
    path.write_bytes(whole)
    with pytest.raises(ValueError, match=rf"'{re.escape(str(path))}' is damaged: .*; nothing was merged"):
        upkeep.merge(path, [other])
    assert path.read_bytes() == whole
    assert upkeep.merge(sound, [other])["done"] == 2


def test_a_merge_takes_numbers_over_failures_and_plans(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = path.with_name("other.vg")
    with monkeypatch.context() as patched:
        patched.setattr(measurement.Measurement, "columns", no_memory)
        assert len(small(store=path).failed) == 10
    small(store=other, depth=[1, 2])
    assert upkeep.merge(path, [other]) == {"done": 4, "failed": 6, "planned": 0}
    assert bits(vg.open_sweep(path)) == bits(small(depth=[1, 2]))
    assert upkeep.merge(other, [path]) == {"done": 4, "failed": 6, "planned": 0}


def test_collecting_forgets_what_holds_no_number(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(measurement.Measurement, "columns", no_memory)
        small(store=path, x=np.random.default_rng(0).normal(size=(5000, 8)))
    small(store=path)
    assert upkeep.collect(path) > 100_000
    with Store(path) as opened:
        assert upkeep.counts(opened) == {"done": 10, "failed": 0, "planned": 0}
        assert opened.query("SELECT * FROM data") == []
    assert bits(vg.open_sweep(path)) == bits(small())


# Sweeps


def test_a_sum_has_the_cells_of_both_and_a_slice_some(path: Path) -> None:
    s, t = small(store=path), vg.sweep(SPEC, seeds=1, init=["lecun_normal", "orthogonal"])
    both = s + t
    assert [cell.spec for cell in both] == [*(cell.spec for cell in s), *(cell.spec for cell in t)]
    assert (both.varied, both.planned) == (("depth", "activation", "init"), 12)
    assert bits(both[2:5]) == bits(s)[2:5]
    assert isinstance(both[2:5], vg.Sweep)
    assert both[-1].spec == t[-1].spec
    assert [cell.spec for cell in both[::-3]] == [cell.spec for cell in both][::-3]
    with pytest.raises(TypeError):
        operator.add(s, [1])
    with pytest.raises(IndexError):
        both[12]


def test_cells_are_selected_by_their_fields_in_any_spelling(path: Path) -> None:
    grid: dict[str, Any] = {"depth": [2, 4], "activation": ["leaky_relu", "tanh"], "skip": [None, "residual"]}
    memory = vg.sweep(SPEC, seeds=1, width=[[4, 4], [4, 8]][:1], **grid | {"depth": [2]})
    assert len(memory.select(width=[[4, 4]])) == len(memory) == 4
    for s in (vg.sweep(SPEC, seeds=1, **grid), vg.sweep(SPEC, seeds=1, **grid, store=path)):
        assert [cell.spec.depth for cell in s.select(depth=4)] == [4] * 4
        assert len(s.select(activation="leaky_relu(0.01)", skip=None)) == 2
        assert len(s.select(skip=[None, "residual"], depth=[2])) == 4
        assert len(s.select(depth=7)) == 0
        assert s.select(depth=2).varied == s.varied
        with pytest.raises(ValueError, match="did you mean"):
            s.select(activaton="relu")
        with pytest.raises(ValueError, match="did you mean"):
            s.select(activation="leaky_rule")


def test_cells_are_selected_by_the_parameters_of_their_kinds_as_frames_name_them(path: Path) -> None:
    grid: dict[str, Any] = {"init": ["mean_field(1)", "mean_field(2)", "orthogonal"], "skip": [None, "residual"]}
    for s in (vg.sweep(SPEC, seeds=1, **grid), vg.sweep(SPEC, seeds=1, **grid, store=path)):
        frame = s.to_dict("cells")
        for name in [name for name in frame if name.startswith("init_")]:
            for value in np.unique(frame[name][~np.isnan(frame[name])]).tolist():
                assert len(s.select(**{name: value})) == (frame[name] == value).sum(), (name, value)
        assert {cell.spec.init for cell in s.select(init_sigma_w=2)} == {"mean_field(sigma_w=2)"}
        assert len(s.select(init_sigma_w=[1, 2], skip_order="after")) == 2
        assert len(s.select(activation_negative_slope=0.5)) == 0
        with pytest.raises(ValueError, match="did you mean 'init_sigma_w'"):
            s.select(init_sigmaw=2)
        with pytest.raises(TypeError, match="init_sigma_w must be"):
            s.select(init_sigma_w=True)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"depth": [2, 3, 2]}, "depth=2 and depth=2 make the same cell; give each value once"),
        (
            {"depth": [2, 3], "activation": ["leaky_relu", "leaky_relu(0.01)"]},
            "=.leaky_relu. and activation=",
        ),
        ({"width": [3, 5], "norm": ["layer", None, "layer"], "depth": [2, 3]}, "norm='layer' and norm='layer'"),
    ],
)
def test_a_value_that_is_given_twice_is_refused(grid: dict[str, Any], message: str, path: Path) -> None:
    for where in (None, path):
        with pytest.raises(ValueError, match=message):
            vg.sweep(SPEC, seeds=1, store=where, **grid)


@pytest.mark.parametrize("fields", [{"depth": "3"}, {"tied": "no"}, {"depth": True}, {"depth": None}, {"block": 1.0}])
def test_what_a_field_can_never_be_is_refused_where_cells_are_selected(fields: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=f"{next(iter(fields))} must be"):
        small(depth=[1]).select(**fields)


def test_a_table_takes_the_place_of_no_store_and_no_cells_make_none(path: Path) -> None:
    store_as_csv = path.with_suffix(".csv")
    s = small(store=store_as_csv)
    with pytest.raises(ValueError, match="is a store"):
        s.save(store_as_csv)
    assert bits(vg.open_sweep(store_as_csv)) == bits(small())
    for ending in (".csv", ".json", ".parquet"):
        with pytest.raises(ValueError, match="no cell to save"):
            s.select(depth=99).save(path.with_name(f"none{ending}"))


def test_a_store_that_is_removed_while_it_is_written_is_an_error_with_what_is_known(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = measurement.Measurement.columns

    def removing(self: Any, cells: Any, report: Any) -> None:
        if cells:
            path.unlink()
            raise KeyboardInterrupt
        columns(self, cells, report)

    monkeypatch.setattr(measurement.Measurement, "columns", removing)
    with pytest.raises(KeyboardInterrupt) as caught:
        small(store=path)
    assert len(caught.value.sweep) == 0  # type: ignore[attr-defined]


def test_a_sweep_of_a_store_is_pickled_whole(path: Path) -> None:
    s = small(store=path)
    text = pickle.dumps(s)
    path.unlink()
    assert bits(pickle.loads(text)) == bits(small())


def test_cells_are_read_by_several_threads_at_once(path: Path) -> None:
    s, expected = small(store=path), bits(small())
    wrong: list[int] = []

    def read() -> None:
        wrong.extend(turn for turn in range(20) if bits(s) != expected)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_many_cells_are_opened_without_their_numbers(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small(store=path)
    read: list[int] = []
    monkeypatch.setattr(Store, "read", lambda *_: read.append(1))
    s = vg.open_sweep(path)
    assert (len(s), len(s.select(depth=2)), len(s[3:])) == (10, 2, 7)
    assert read == []


def test_progress_counts_what_is_safe(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    safe: list[int] = []

    @contextmanager
    def bar(layers: list[int], costs: list[float], *, show: bool) -> Iterator[Any]:
        assert (len(layers), len(costs), show) == (10, 10, True)

        def advance(_: int) -> None:
            with Store(path) as opened:
                safe.append(upkeep.counts(opened)["done"])

        yield advance

    monkeypatch.setattr(stored, "progress_bar", bar)
    small(store=path, progress=True)
    assert all(done >= told for told, done in enumerate(safe, 1))
    assert len(safe) == 10


# Shell


def shell(*arguments: Any, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vgcore", *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False
    )


def test_the_shell_keeps_shards_and_makes_one_of_them(tmp_path: Path) -> None:
    net = ["sweep", "--depth", "1:6", "--width", "8", "--seeds", "2", "--activation", "relu,tanh"]
    for part in range(3):
        done = shell(*net, "--store", f"part-{part}.vg", "--shard", f"{part}/3", cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
    merged = shell("store", "merge", "all.vg", "part-*.vg", cwd=tmp_path)
    assert merged.stdout == "all.vg: 12 of 12 cells, 0 failed\n"
    checked = shell("store", "check", "all.vg", cwd=tmp_path)
    assert checked.returncode == 0
    assert checked.stdout.count("written by host") == 0
    assert checked.stdout.count("  written by ") == 4
    exported = shell("store", "export", "part-*.vg", "--out", "all.csv", cwd=tmp_path)
    assert exported.stderr == "wrote all.csv: 12 of 12 cells\n"
    direct = shell(*net, "--out", "direct.csv", "--json", cwd=tmp_path)
    assert (tmp_path / "all.csv").read_bytes() == (tmp_path / "direct.csv").read_bytes()
    again = shell(*net, "--store", "all.vg", "--json", cwd=tmp_path)
    assert json.loads(again.stdout) == json.loads(direct.stdout)
    assert "bytes smaller" in shell("store", "gc", "all.vg", cwd=tmp_path).stdout
    torn = tmp_path / "torn.vg"
    torn.write_bytes((tmp_path / "all.vg").read_bytes()[:-100])
    refused = shell(*net, "--store", "torn.vg", cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert re.fullmatch(r"error: 'torn\.vg' is torn: \d+ bytes of \d+ are there\n", refused.stderr)
    (tmp_path / "foreign.vg").write_text("depth,width\n" * 1000)
    checked = shell("store", "check", "*.vg", cwd=tmp_path)
    assert checked.returncode == 1
    assert [line.split(":")[0] for line in checked.stdout.splitlines() if line[0] != " "] == [
        *("all.vg", "foreign.vg", *(f"part-{part}.vg" for part in range(3)), "torn.vg")
    ]
    refused = shell(*net, "--store", "new.csv", "--out", "new.csv", cwd=tmp_path)
    assert (refused.returncode, refused.stderr) == (
        2,
        "error: --store and --out must be two files, got 'new.csv' for both\n",
    )


def test_a_check_of_a_damaged_store_begins_with_the_damage_and_sends_nobody_to_itself(path: Path) -> None:
    small(store=path)
    with sqlite3.connect(path) as changed:
        changed.execute("DELETE FROM block WHERE id = (SELECT block FROM result WHERE cell = 2)")
    changed.close()
    checked = shell("store", "check", path.name, cwd=path.parent)
    first, *others = checked.stdout.splitlines()
    assert first == f"{path.name}: damaged, 1 fault below; 10 of 10 cells, 0 failed"
    assert others[-1] == f"  '{path.name}' is damaged: it has lost cell 2"
    assert checked.returncode == 1
