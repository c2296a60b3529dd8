"""Files are whole or not there, errors name them, and a saved sweep is read back to its last bit."""

import csv
import errno
import json
import os
import re
import resource
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vgcore as vg
from strategies import Problem, problems, specs
from vgcore.measure import files, table
from vgcore.shell import commands

ROOT = Path(__file__).parents[1]
ENDINGS = ("csv", "json", "parquet")
#: A sweep that was saved by the first layout, whose layers count from 0.
OLD = Path(__file__).parent / "data" / "layout_1"
NOBODY = 65534
SPEC = vg.MLP(depth=3, width=8, activation="tanh", init="lecun_normal")
COMMAND = [sys.executable, "-c", "from vgcore.shell.commands import main; main()"]
SMALL = ["--width", "8", "--seeds", "2"]


def small(**grid: Any) -> vg.Sweep:
    return vg.sweep(SPEC, seeds=2, batch=4, **grid)


# What is written


@pytest.mark.parametrize("stop", [OSError("no"), ValueError("no"), MemoryError(), KeyboardInterrupt(), SystemExit(3)])
@pytest.mark.parametrize("before", ["old", None])
def test_whatever_stops_a_save_leaves_what_was_there_and_nothing_else(
    tmp_path: Path, stop: BaseException, before: str | None
) -> None:
    path = tmp_path / "a.txt"
    if before is not None:
        path.write_text(before)

    def save() -> None:
        with files.replacing(path) as temporary:
            temporary.write_text("new, but not all of it")
            raise stop

    with pytest.raises(type(stop)):
        save()
    assert [each.name for each in tmp_path.iterdir()] == ([] if before is None else ["a.txt"])
    assert before is None or path.read_text() == before


def test_the_temporary_is_hidden_and_lies_beside_its_file(tmp_path: Path) -> None:
    with files.replacing(tmp_path / "a.txt") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(f".vgcore-{os.getpid()}-")
        temporary.write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_name_may_be_as_long_as_the_system_allows(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 251 + ".csv")
    small().save(path)
    assert len(vg.read_sweep(path)) == 1


def test_permissions_of_an_old_file_are_kept_and_a_new_one_has_those_of_the_umask(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("old")
    old.chmod(0o640)
    before = os.umask(0o027)
    try:
        for path in (old, new):
            files.save_text("text", path)
    finally:
        os.umask(before)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (old, new)] == [0o640, 0o640]
    old.chmod(0o604)
    files.save_text("text", old)
    assert stat.S_IMODE(old.stat().st_mode) == 0o604


@pytest.mark.parametrize("there", [True, False])
def test_of_a_link_the_file_that_it_points_to_is_written(tmp_path: Path, there: bool) -> None:
    (tmp_path / "data").mkdir()
    target, link = tmp_path / "data" / "target", tmp_path / "link"
    if there:
        target.write_text("old")
    link.symlink_to(target)
    files.save_text("new", link)
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert [path.name for path in target.parent.iterdir()] == ["target"]


def test_a_pipe_is_written_as_it_stands(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text(encoding="utf-8")))
    reader.start()
    small().save(pipe)
    reader.join()
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert len(list(csv.reader(read[0].splitlines()))) == 1 + 2 * 3


def test_a_device_stays_a_device(tmp_path: Path) -> None:
    link = tmp_path / "null.json"
    link.symlink_to(os.devnull)
    small().save(link)
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)
    assert link.is_symlink()


def test_where_a_process_prints_is_no_file_to_replace(tmp_path: Path) -> None:
    code = "from vgcore.measure import files; files.save_text('saved ', '/dev/stdout')"
    with (tmp_path / "out").open("wb") as out:
        before = os.fstat(out.fileno()).st_ino
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True)
    assert (tmp_path / "out").read_text() == "saved "
    assert (tmp_path / "out").stat().st_ino == before


@contextmanager
def anybody() -> Iterator[Path]:
    """A folder, seen by a user whom permissions bind."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        root = os.geteuid() == 0
        if root:
            os.chown(folder, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, 0)
        try:
            yield Path(folder)
        finally:
            if root:
                os.setresuid(0, 0, 0)


def test_a_file_that_is_protected_is_not_passed_by() -> None:
    with anybody() as folder:
        path = folder / "runs.csv"
        path.write_text("old")
        path.chmod(0o444)
        for use in (files.check, small().save):
            with pytest.raises(PermissionError, match=re.escape(f"cannot write '{path}': Permission denied")) as info:
                use(path)
            assert info.value.errno == errno.EACCES
        assert path.read_text() == "old"


def test_a_folder_that_is_protected_is_named_by_its_file() -> None:
    with anybody() as folder:
        folder.chmod(0o555)
        for path in (folder / "runs.csv", folder / "new" / "runs.csv"):
            for use in (files.check, small().save):
                with pytest.raises(OSError, match=re.escape(f"cannot write '{path}': ")):
                    use(path)
        with pytest.raises(PermissionError, match=re.escape(f"'{folder}/new'")):
            files.check_folder(folder / "new")
        folder.chmod(0o755)


@pytest.mark.parametrize(
    ("name", "kind", "number"),
    [
        ("folder", IsADirectoryError, errno.EISDIR),
        ("file/runs.csv", NotADirectoryError, errno.ENOTDIR),
        ("n" * 256, OSError, errno.ENAMETOOLONG),
        ("circle", OSError, errno.ELOOP),
    ],
)
def test_what_cannot_be_written_is_refused_before_and_after_with_the_systems_reason(
    tmp_path: Path, name: str, kind: type[OSError], number: int
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("old")
    (tmp_path / "circle").symlink_to("circle")
    path = tmp_path / name
    for use in (files.check, lambda path: files.save_text("new", path)):
        with pytest.raises(kind) as info:
            use(path)
        assert str(info.value) == f"cannot write '{path}': {os.strerror(number)}"
        assert (type(info.value), info.value.errno) == (kind, number)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["circle", "file", "folder"]


def test_a_folder_that_lacks_may_be_made_but_is_not(tmp_path: Path) -> None:
    files.check(tmp_path / "new" / "runs.csv")
    files.check_folder(tmp_path / "new" / "newer")
    with pytest.raises(FileNotFoundError, match=r"cannot write '.*/new/runs.csv': No such file"):
        small().save(tmp_path / "new" / "runs.csv")
    assert list(tmp_path.iterdir()) == []


@contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    """A disk that is full after so many bytes of a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_full_disk_is_an_error_that_names_the_file_and_leaves_the_old_one(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"runs.{ending}"
    s, larger = small(), small(depth=[50, 60])
    s.save(path)
    before = path.read_bytes()
    with (
        no_file_beyond(1000),
        pytest.raises(OSError, match=re.escape(f"cannot write '{path}': File too large")) as info,
    ):
        larger.save(path)
    assert info.value.errno == errno.EFBIG
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_a_picture_is_of_the_format_of_its_ending_and_survives_a_full_disk(tmp_path: Path) -> None:
    figure = vg.plot.layers(vg.probe(SPEC, seeds=2)).figure
    for name, start in {"a.png": b"\x89PNG", "a.pdf": b"%PDF", "a": b"\x89PNG"}.items():
        files.save_picture(figure, tmp_path / name, dpi=40)
        assert (tmp_path / name).read_bytes().startswith(start)
    before = (tmp_path / "a.png").read_bytes()
    with no_file_beyond(1000), pytest.raises(OSError, match=r"cannot write .*a\.png"):
        files.save_picture(figure, tmp_path / "a.png", dpi=80)
    assert (tmp_path / "a.png").read_bytes() == before


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_save_that_is_interrupted_keeps_the_old_file(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"runs.{ending}"
    small().save(path)
    before, write = path.read_bytes(), table.writer(path)

    def interrupted(path: Path, columns: dict[str, Any]) -> None:
        write(path, columns)
        raise KeyboardInterrupt

    monkeypatch.setitem(table._WRITERS, f".{ending}", interrupted)
    with pytest.raises(KeyboardInterrupt):
        small(depth=[1, 2]).save(path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


SAVES = """
import sys, vgcore as vg
spec = vg.MLP(depth=3, width=8)
sweeps = [vg.sweep(spec, depth=list(range(1, 2 + n)), seeds=2, batch=4) for n in range(6)]
while True:
    for s in sweeps:
        s.save(sys.argv[1])
        print(len(s), flush=True)
"""


def test_a_process_that_is_killed_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    for saves in range(1, 9):
        with subprocess.Popen([sys.executable, "-c", SAVES, str(path)], stdout=-1) as process:
            assert process.stdout is not None
            for _ in range(saves):
                process.stdout.readline()
            process.kill()
        assert len(vg.read_sweep(path)) in range(1, 7)


#: What may open files to write them: the helper, the writers that it calls, pictures in memory, no stream at all,
#: and examples of what is read.
WRITERS = {
    "python/vgcore/measure/files.py": 3,
    "python/vgcore/measure/table.py": 2,
    "python/vgcore/plot/page.py": 1,
    "python/vgcore/plot/training.py": 1,
    "python/vgcore/data/read.py": 2,
}


def test_every_file_is_written_by_one_helper() -> None:
    writes = re.compile(r"""\.write_(?:text|bytes)\(|savefig\(|to_(?:csv|parquet)\(|open\([^)]*["'][wax]b?["']""")
    found = {
        path.relative_to(ROOT).as_posix(): len(hits)
        for folder in ("python", "docs", "benches")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if (hits := writes.findall(path.read_text(encoding="utf-8")))
    }
    assert found == WRITERS


# What is read back


def assert_same(one: vg.Probe, other: vg.Probe) -> None:
    """Equal in all bits, nan for nan, but for data, which no file holds."""
    assert one.spec.id == other.spec.id
    for name in set(vars(one)) - {"spec", "x", "y", "trace"}:  # a trace is made of the others
        mine, theirs = getattr(one, name), getattr(other, name)
        if isinstance(mine, np.ndarray):
            assert (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape), name
            if mine.dtype.kind == "f":
                mine, theirs = (np.where(np.isnan(values), np.nan, values) for values in (mine, theirs))
            assert mine.tobytes() == theirs.tobytes(), name
        else:
            assert mine == theirs, name


GRIDS: list[dict[str, Any]] = [
    {"depth": [2, 3], "activation": ["relu", "tanh"]},
    {"activation": ["relu", ("tanh", "relu", "leaky_relu(0.1)"), "leaky_relu(negative_slope=0.2)"]},
    {"bias": [None, "zeros"], "init": ["lecun_normal", "mean_field(sigma_w=1.5, sigma_b=0.05)", "zeros"]},
    {"out_features": [None, 3], "in_features": [None, 3]},
    {"skip": [None, "residual(order=pre)"], "block": [1, 3], "branch_scale": ["1/sqrt(L)", 1, 0.1]},
    {"width": [4, (4, 3, 2)]},
    {"tied": [False, True]},
    {"norm": [None, "layer(eps=0.001)"], "norm_position": ["post", "pre"], "weight_transform": [None, "spectral_norm"]},
    {"depth": [40], "activation": ["elu"], "init": ["mean_field(sigma_w=100)", "xavier_normal"]},
]


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_saved_sweep_is_read_back_to_its_last_bit(tmp_path: Path, ending: str, grid: dict[str, Any]) -> None:
    s = vg.sweep(SPEC, seeds=2, seed=2**63 + 5, batch=4, **grid)
    s.save(tmp_path / f"runs.{ending}")
    again = vg.read_sweep(tmp_path / f"runs.{ending}")
    assert len(again) == again.planned == len(s)
    for one, other in zip(s, again, strict=True):
        assert one.spec == other.spec
        assert_same(one, other)
    assert again.varied == tuple(name for name in s.varied if len(grid[name]) > 1)
    again.save(tmp_path / f"again.{ending}")
    assert (tmp_path / f"again.{ending}").read_bytes() == (tmp_path / f"runs.{ending}").read_bytes()


@given(problems(specs), st.sampled_from(ENDINGS))
def test_any_net_is_read_back_with_its_id_and_its_bits(problem: Problem, ending: str) -> None:
    start = {name: value for name, value in problem.start.items() if name != "cotangent"}
    p = vg.probe(problem.spec, x=problem.x, **start, seeds=2)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"runs.{ending}")
        vg.Sweep((p, p), (), 2).save(path)
        for cell in vg.read_sweep(path, x=problem.x, y=start.get("y")):
            assert_same(p, cell)


def test_what_is_read_back_is_judged_and_drawn_as_the_sweep_was(tmp_path: Path) -> None:
    s = vg.sweep(SPEC, depth=[4, 30], activation=["sigmoid", "relu"], init=["xavier_normal", "zeros"], seeds=3)
    s.save(tmp_path / "runs.json")
    again = vg.read_sweep(tmp_path / "runs.json")
    assert vg.diagnose(again).to_dict() == vg.diagnose(s).to_dict()
    assert [str(row) for row in again.table()] == [str(row) for row in s.table()]
    for draw in (vg.plot.depths, vg.plot.heatmap, lambda s: vg.plot.layers(list(s)[4:])):
        for each, name in ((s, "one.png"), (again, "other.png")):
            files.save_picture(draw(each).figure, tmp_path / name)
        assert (tmp_path / "one.png").read_bytes() == (tmp_path / "other.png").read_bytes()


@pytest.mark.parametrize("loss", ["cross_entropy", None])
def test_data_of_ones_own_are_given_again_to_be_judged_and_are_checked(tmp_path: Path, loss: str | None) -> None:
    x, y = vg.data.digits()
    data: dict[str, Any] = {"x": x, "y": y if loss else None}
    spec = vg.MLP(depth=2, width=8, in_features=64, out_features=10)
    s = vg.sweep(spec, depth=[2, 20], **data, loss=loss, batch=16, seeds=2)
    s.save(tmp_path / "runs.csv")
    again = vg.read_sweep(tmp_path / "runs.csv", **data)
    assert vg.diagnose(again).to_dict() == vg.diagnose(s).to_dict()

    without = vg.read_sweep(tmp_path / "runs.csv")
    for one, other in zip(s, without, strict=True):
        assert_same(one, other)
    vg.plot.depths(without)
    with pytest.raises(ValueError, match=r"needs x, .*no saved sweep holds.*read_sweep\(path, x=x, y=y\)"):
        vg.diagnose(without)
    without.save(tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "runs.csv").read_bytes()
    with pytest.raises(ValueError, match="x and y are not those that it was measured on"):
        vg.read_sweep(tmp_path / "runs.csv", x=x[:-1], y=data["y"])


def test_other_readers_find_numbers_in_json_and_infinities_stand_in_a_column_of_words(tmp_path: Path) -> None:
    import pandas as pd

    s = small(init=["zeros", "lecun_normal"])
    s.save(tmp_path / "runs.json")
    frame = pd.read_json(tmp_path / "runs.json")
    assert frame["log10_z_rms"].dtype == np.float64
    assert np.isneginf(s[0].log10_z_rms).all()
    zero = frame["infinite"].str.contains(r"-log10_z_rms\b")
    assert zero.tolist() == [True] * 6 + [False] * 6
    assert frame["log10_z_rms"].isna().tolist() == zero.tolist()


def saved(path: Path, change: Callable[[list[list[str]]], Any], **grid: Any) -> Path:
    """A csv file of which some rows, the names of columns first, were changed."""
    small(**grid).save(path)
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    change(rows)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


Change: TypeAlias = Callable[[list[list[str]]], Any]


def told(name: str, value: str, *, of: range) -> Change:
    """Rows that tell something else."""

    def change(rows: list[list[str]]) -> None:
        for row in of:
            rows[row][rows[0].index(name)] = value

    return change


def lose(rows: list[list[str]], name: str) -> None:
    """Leave a column out."""
    place = rows[0].index(name)
    for row in rows:
        del row[place]


def put(rows: list[list[str]], name: str, value: str) -> None:
    """Put a column in."""
    for i, row in enumerate(rows):
        row.append(value if i else name)


def add(rows: list[list[str]], name: str, value: str) -> None:
    """Put a column in that counts."""
    put(rows, name, value)
    count = rows[0].index("columns")
    for row in rows[1:]:
        row[count] = str(int(row[count]) + 1)


in_row_2, within_cell_0 = partial(told, of=range(2, 3)), partial(told, of=range(1, 7))
DAMAGE: dict[str, tuple[Change, str]] = {
    "the last row is lost": (lambda rows: rows.pop(), "not whole: cell 1 has 5 of 6 rows"),
    "a row in the middle is lost": (lambda rows: rows.pop(3), "not whole: cell 0 has 5 of 6 rows"),
    "a seed is lost": (lambda rows: rows.__delitem__(slice(-3, None)), "not whole: cell 1 has 3 of 6 rows"),
    "a cell is lost": (lambda rows: rows.__delitem__(slice(-6, None)), "not whole: it has 1 of 2 cells"),
    "the first cell is lost": (lambda rows: rows.__delitem__(slice(1, 7)), "not whole: it has 1 of 2 cells"),
    "all rows are lost": (lambda rows: rows.__delitem__(slice(1, None)), "it has no rows"),
    "all is lost": (lambda rows: rows.clear(), "it is empty"),
    "rows are in another order": (lambda rows: rows.insert(1, rows.pop(2)), "rows of cell 0 do not belong together"),
    "a row is doubled": (lambda rows: rows.insert(1, rows[1]), "cell 0 has 7 of 6 rows"),
    "seeds differ in a run": (in_row_2("seed", "7"), "rows of cell 0 do not belong together"),
    "a row tells of another net": (in_row_2("skip", "residual"), "rows of cell 0 do not belong"),
    "an output differs in a run": (in_row_2("log10_output_rms", "1"), "rows of cell 0 do not belong"),
    "a column is lost": (lambda rows: lose(rows, "skip"), "not whole: it has 44 of 45 columns"),
    "a column that may be left out is lost": (
        lambda rows: lose(rows, "log10_delta_rms"),
        "not whole: it has 44 of 45 columns",
    ),
    "what columns there were is lost": (lambda rows: lose(rows, "columns"), "it has no column columns"),
    "the layout is lost": (lambda rows: lose(rows, "first_nonfinite_layer"), "not whole: it has 44 of 45 columns"),
    "layers are counted from 0": (within_cell_0("layer", "0"), "rows of cell 0 do not belong together"),
    "a parameter is of another net": (within_cell_0("init_gain", "2.5"), "cell 0: init_gain is 2.5 there"),
    "a parameter is of no net": (
        lambda rows: add(rows, "init_sigma_w", "1.5"),
        "cell 0: init_sigma_w is 1.5 there, but of this net it is nan",
    ),
    "a column is new": (
        lambda rows: rows.__setitem__(slice(None), [[*row, "1"] for row in rows]),
        "unknown columns: '1",
    ),
    "a row is short": (lambda rows: rows[4].pop(), "line 5 has"),
    "a number is none": (in_row_2("dead", "half"), "half"),
    "a count is none": (in_row_2("layer", "1.5"), "1.5"),
    "an id is of another net": (
        within_cell_0("cell_id", "0" * 16),
        "cell 0: cell_id is 0000000000000000 there, but of this net it is",
    ),
    "a field is of another net": (
        within_cell_0("activation", "relu"),
        "cell 0: cell_id is",
    ),
    "a name is of no kind": (
        within_cell_0("activation", "tnah"),
        "cell 0: unknown activation 'tnah' (did you mean 'tanh'?)",
    ),
    "an activation is not known here": (
        within_cell_0("activation", "custom(table=mine_x0123456789abcdef)"),
        "cell 0: activation custom has no table 'mine_x0123456789abcdef' in this process",
    ),
    "weights were given": (
        within_cell_0("init", table.OWN),
        "cell 0 has own weights, which no file holds",
    ),
    "a loss is unknown": (
        within_cell_0("loss", "msee"),
        "cell 0: unknown loss 'msee'",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_refused_by_name_and_never_read_as_fewer_cells(tmp_path: Path, damage: str) -> None:
    change, words = DAMAGE[damage]
    path = saved(tmp_path / "runs.csv", change, skip=[None, "residual"])
    start = f"cannot read '{path}' as a saved sweep: "
    with pytest.raises(ValueError, match=f"^{re.escape(start)}.*{re.escape(words)}"):
        vg.read_sweep(path)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_file_that_ends_anywhere_is_refused(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"runs.{ending}"
    small(depth=[1, 2]).save(path)
    whole = path.read_bytes()
    for length in {*range(0, len(whole), len(whole) // 50), len(whole) - 1, len(whole) - 3}:
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="cannot read"):
            vg.read_sweep(path)


def test_other_files_are_refused_by_name(tmp_path: Path) -> None:
    from pyarrow import parquet

    with pytest.raises(ValueError, match=r"ends in \.csv, \.json, \.parquet, got 'runs.txt'"):
        vg.read_sweep(tmp_path / "runs.txt")
    with pytest.raises(FileNotFoundError, match=r"runs\.csv"):
        vg.read_sweep(tmp_path / "runs.csv")
    for text in ("[1]", "3", '{"cell": 1}', "", '{"cell": [1'):
        (tmp_path / "runs.json").write_text(text)
        with pytest.raises(ValueError, match=r"cannot read '.*runs.json' as a saved sweep: "):
            vg.read_sweep(tmp_path / "runs.json")
    small().save(tmp_path / "runs.parquet")
    found = parquet.read_table(tmp_path / "runs.parquet")
    parquet.write_table(found.replace_schema_metadata({"vgcore_layout": "3"}), tmp_path / "newer.parquet")
    with pytest.raises(ValueError, match="its layout is 3, and this version of vgcore reads 1, 2"):
        vg.read_sweep(tmp_path / "newer.parquet")


def test_what_frames_write_is_read_back_too(tmp_path: Path) -> None:
    s = small(init=["zeros", "lecun_normal"], out_features=[None, 2])
    s.to_pandas().to_csv(tmp_path / "pandas.csv", index=False)
    s.to_pandas().to_parquet(tmp_path / "pandas.parquet")
    s.to_polars().write_csv(tmp_path / "polars.csv")
    s.to_polars().write_parquet(tmp_path / "polars.parquet")
    for path in tmp_path.iterdir():
        for one, other in zip(s, vg.read_sweep(path), strict=True):
            assert_same(one, other)


def test_infinities_in_words_are_those_of_the_columns_alone(tmp_path: Path) -> None:
    small(init=["zeros"]).save(tmp_path / "runs.json")
    columns = json.loads((tmp_path / "runs.json").read_text())
    columns["infinite"][0] = "-layers"
    (tmp_path / "runs.json").write_text(json.dumps(columns))
    with pytest.raises(ValueError, match="infinite"):
        vg.read_sweep(tmp_path / "runs.json")


# The shell


def command(*arguments: str, cwd: Path, **options: Any) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, *arguments], cwd=cwd, text=True, check=False, stderr=-1, **{"stdout": -1} | options
    )


#: The command with no file that may grow beyond a few bytes. It sets the limit itself: to do so between fork and exec
#: is not safe in a process with threads, as JAX says.
LIMITED = (
    "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200)); "
    "from vgcore.shell.commands import main; main()"
)


def limited(*arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", LIMITED, *arguments], cwd=cwd, text=True, check=False, capture_output=True
    )


@pytest.mark.parametrize("ending", [".csv", ".json"])
def test_a_sweep_that_was_saved_before_a_field_came_is_read_with_its_default(tmp_path: Path, ending: str) -> None:
    later = ("stem", "final_norm", "dropout")
    path = tmp_path / f"sweep{ending}"
    old = (OLD / path.name).read_text(encoding="utf-8")
    if ending == ".csv":
        rows = list(csv.DictReader(old.splitlines()))
        names = [name for name in rows[0] if name not in later]
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([names, *([row[name] for name in names] for row in rows)])
    else:
        columns = json.loads(old)
        path.write_text(json.dumps({name: columns[name] for name in columns if name not in later}), encoding="utf-8")
    assert [cell.spec for cell in vg.read_sweep(path)] == [cell.spec for cell in vg.read_sweep(OLD / path.name)]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_file_that_counts_layers_from_0_is_read_as_it_was_written(tmp_path: Path, ending: str) -> None:
    rows = list(csv.DictReader((OLD / "sweep.csv").read_text(encoding="utf-8").splitlines()))
    again = vg.read_sweep(OLD / f"sweep.{ending}")
    assert len(again) == int(rows[0]["cells"]) == 8
    for row in rows:
        cell, layer = again[int(row["cell"])], int(row["layer"])
        seed = cell.seeds.tolist().index(int(row["seed"]))
        assert cell.spec.id == row["cell_id"]
        assert cell.first_nonfinite[seed] == int(row["first_nonfinite"])
        for name in ("log10_z_rms", "log10_delta_rms", "dead", "log10_gate_grad_norm"):
            np.testing.assert_array_equal(getattr(cell, name)[seed, layer], float(row[name]))
    assert {int(row["first_nonfinite"]) for row in rows} == {-1, 1, 2}
    # Written once more it counts from 1, and says the same.
    again.save(tmp_path / f"new.{ending}")
    for one, other in zip(again, vg.read_sweep(tmp_path / f"new.{ending}"), strict=True):
        assert one.spec == other.spec
        assert_same(one, other)


def without_layer(rows: list[list[str]], layer: str) -> None:
    place = rows[0].index("layer")
    rows[1:] = [row for row in rows[1:] if row[place] != layer]


OLD_DAMAGE: dict[str, tuple[Change, str]] = {
    "its first layers are lost": (lambda rows: without_layer(rows, "0"), "not whole: cell 0 has 4 of 6 rows"),
    "its last layers are lost": (lambda rows: without_layer(rows, "2"), "not whole: cell 0 has 4 of 6 rows"),
    "a column is lost": (lambda rows: lose(rows, "loss_value"), "it has no column loss_value"),
    "its layout is lost": (lambda rows: lose(rows, "first_nonfinite"), "it has unknown columns: 'gain'"),
    "layers are counted from 1": (
        lambda rows: [row.__setitem__(rows[0].index("layer"), str(i % 3 + 1)) for i, row in enumerate(rows[1:])],
        "rows of cell 0 do not belong together",
    ),
    "its layout is renamed": (
        lambda rows: rows[0].__setitem__(rows[0].index("first_nonfinite"), "first_nonfinite_layer"),
        "it has unknown columns: 'gain'",
    ),
    "it has both layouts": (
        lambda rows: put(rows, "first_nonfinite_layer", "1"),
        "it has both columns first_nonfinite and first_nonfinite_layer",
    ),
    "it has a column of the new layout": (
        lambda rows: put(rows, "init_gain", "1"),
        "it has unknown columns: 'init_gain'",
    ),
}


@pytest.mark.parametrize("damage", OLD_DAMAGE)
def test_an_old_file_that_is_not_whole_is_never_read_as_a_new_one(tmp_path: Path, damage: str) -> None:
    change, words = OLD_DAMAGE[damage]
    rows = list(csv.reader((OLD / "sweep.csv").read_text(encoding="utf-8").splitlines()))
    change(rows)
    path = tmp_path / "sweep.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    with pytest.raises(ValueError, match=re.escape(words)):
        vg.read_sweep(path)


@pytest.mark.parametrize("printed", [[], ["--json"]])
def test_all_is_printed_though_nothing_could_be_saved(tmp_path: Path, printed: list[str]) -> None:
    (tmp_path / "runs.csv").write_text("old")
    arguments = ["sweep", "--depth", "2,4", *SMALL, *printed]
    expected = command(*arguments, cwd=tmp_path)
    done = limited(*arguments, "--out", "runs.csv", "--plot", "p", "--force", cwd=tmp_path)
    assert (done.returncode, done.stdout.splitlines()[2:]) == (commands.USAGE, expected.stdout.splitlines()[2:])
    for name in ("runs.csv", "p/layers.png", "p/depths.png", "p/heatmap.png"):
        assert f"error: cannot write '{name}': File too large\n" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "runs.csv").read_text() == "old"
    assert list((tmp_path / "p").iterdir()) == []


def test_a_file_that_fails_stops_no_picture(tmp_path: Path) -> None:
    (tmp_path / "full.csv").symlink_to("/dev/full")
    done = command("sweep", "--depth", "2,4", *SMALL, "--out", "full.csv", "--plot", "p", cwd=tmp_path)
    assert done.returncode == commands.USAGE
    assert "2 cells x 2 seeds" in done.stdout
    words = ["wrote p/layers.png", "wrote p/depths.png", "wrote p/heatmap.png"]
    assert done.stderr.splitlines() == [*words, "error: cannot write 'full.csv': No space left on device"]


def test_a_file_that_fails_is_told_though_no_one_reads_what_is_printed(tmp_path: Path) -> None:
    (tmp_path / "full.csv").symlink_to("/dev/full")
    arguments = ["probe", "--depth", "2000", *SMALL, "--json", "--out", "full.csv"]
    with subprocess.Popen([*COMMAND, *arguments], cwd=tmp_path, stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        err = process.stderr.read()
    assert (process.returncode, err) == (
        commands.USAGE,
        "error: cannot write 'full.csv': No space left on device\n",
    )


def test_theory_is_printed_though_its_pictures_could_not_be_saved(tmp_path: Path) -> None:
    done = limited("theory", "--depth", "3", *SMALL, "--plot", "p", cwd=tmp_path)
    assert done.returncode == commands.USAGE
    assert "depth 3" in done.stdout
    assert "error: cannot write 'p/layers.png': File too large\n" in done.stderr


def test_an_interrupt_while_a_file_is_written_loses_nothing_that_was_finished(tmp_path: Path) -> None:
    pipe = tmp_path / "runs.csv"
    os.mkfifo(pipe)
    arguments = ["sweep", "--depth", "20:120", *SMALL, "--out", "runs.csv", "--plot", "p"]
    with (
        subprocess.Popen([*COMMAND, *arguments], cwd=tmp_path, stdout=-1, stderr=-1, text=True) as process,
        pipe.open("rb"),  # It is opened when the command writes, which then waits for a reader of all its rows.
    ):
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        assert process.stderr is not None
        said = "interrupted: 'runs.csv' is written first; Ctrl-C again, and its cells are lost\n"
        assert process.stderr.readline() == said
        process.send_signal(signal.SIGINT)
        out, err = process.stdout.read(), process.stderr.read()
    assert process.returncode == commands.INTERRUPTED
    assert "101 cells x 2 seeds" in out
    assert "interrupted: 'runs.csv' was not written\n" in err
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize("kept", [False, True])
def test_the_first_interrupt_does_not_stop_the_only_file_that_has_the_cells(tmp_path: Path, kept: bool) -> None:
    code = (
        "import sys; from vgcore.measure.cells import Sweep; from vgcore.shell.commands import main\n"
        "save, calls = Sweep.save, []\n"
        "def stop(self, path):\n"
        "    calls.append(1)\n"
        "    if len(calls) == 1: raise KeyboardInterrupt\n"
        "    save(self, path)\n"
        "Sweep.save = stop; main()"
    )
    arguments = ["sweep", "--depth", "2,4", *SMALL, "--out", "a.csv", *(["--store", "a.vg"] if kept else [])]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == commands.INTERRUPTED
    assert "2 cells x 2 seeds" in done.stdout
    assert (tmp_path / "a.csv").exists() == (not kept)
    assert len(vg.open_sweep(tmp_path / "a.vg") if kept else vg.read_sweep(tmp_path / "a.csv")) == 2


def test_an_interrupt_while_a_picture_is_drawn_keeps_the_file_and_the_old_picture(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "depths.png").write_text("old")
    code = (
        "import sys; from vgcore import plot; from vgcore.shell.commands import main\n"
        "def stop(*_, **__): raise KeyboardInterrupt\n"
        "plot.lines = stop; main()"
    )
    arguments = ["sweep", "--depth", "2,4", *SMALL, "--out", "a.csv", "--plot", "p", "--force"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == commands.INTERRUPTED
    assert "2 cells x 2 seeds" in done.stdout
    assert done.stderr.splitlines() == [
        *("wrote a.csv", "wrote p/layers.png"),
        "interrupted: 'p/depths.png' was not written",
    ]
    assert len(vg.read_sweep(tmp_path / "a.csv")) == 2
    assert (tmp_path / "p" / "depths.png").read_text() == "old"
    assert sorted(path.name for path in (tmp_path / "p").iterdir()) == ["depths.png", "layers.png"]


def test_what_cannot_be_printed_is_one_error(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        for printed in ([], ["--json"]):
            arguments = ["probe", "--depth", "2", *SMALL, *printed, "--out", "a.csv", "--force"]
            done = command(*arguments, cwd=tmp_path, stdout=full)
            assert done.returncode == commands.USAGE
            assert done.stderr == "wrote a.csv\nerror: cannot print: No space left on device\n"
            assert len(vg.read_sweep(tmp_path / "a.csv")) == 1
