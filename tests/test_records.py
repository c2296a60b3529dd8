"""Records of `vgcore bench`: kept, read back, compared with their like alone, and shown on pages."""

from __future__ import annotations

import copy
import importlib.util
import json
import math
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from test_bench import without
from test_cli import run
from vgcore.shell import bench, commands, machine, records, rivals

ROOT = Path(__file__).parents[1]
TINY = ["--shapes", "8x4x3", "--rounds", "1"]
FACTS: dict[str, Any] = {
    "date": "2026-12-01",
    "cpu": "A processor (family 1, model 2)",
    "cpu_flags": ["avx2"],
    "virtual": False,
    "memory_gb": 8.0,
    "system": "Linux",
    "architecture": "x86_64",
    "governor": None,
    "limits": {},
    "cores": 2,
    "load": 0.1,
    "build": {"version": "0.1.0", "isa": "avx2", "threads": 2, "stream_version": 3},
    "wheel": None,
    "commit": None,
    "python": "3.12.1",
    "numpy": "2.4.6 with a blas 1.0",
    "torch": None,
    "jax": None,
    "torch_isa": None,
}


def row(job: str = "probe", rival: str = "vgcore", rounds: tuple[float, ...] = (1.0, 1.1, 1.2)) -> bench.Row:
    """A row with these times, which is all that a comparison looks at."""
    return {
        "job": job,
        "shape": [8, 4, 3],
        "rival": rival,
        "setting": "",
        "nets": 1,
        "us_per_layer": list(rounds),
        "median": rounds[len(rounds) // 2],
        "min": min(rounds),
        "ratio": 1.0,
        "ratio_min": 1.0,
        "tried": {},
        "first_call_s": 0.1,
    }


def record(*rows: bench.Row, **facts: Any) -> records.Record:
    """A record of such rows; `build` adds to the facts of the build."""
    build = FACTS["build"] | facts.pop("build", {})
    return copy.deepcopy(bench.record(FACTS | facts | {"build": build}, list(rows or [row()])))


def kept(folder: Path, name: str, of: records.Record) -> str:
    """The path of a file that holds it."""
    path = folder / name
    path.write_text(json.dumps(of), encoding="utf-8")
    return str(path)


def no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(*_: Any, **__: Any) -> None:
        raise AssertionError("it measures")

    monkeypatch.setattr(bench, "compare", measured)


# Kept and read back


def test_a_record_is_one_text_as_a_file_in_print_and_when_it_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, "torch", "jax")
    path = tmp_path / "mine.json"
    done = run("bench", *TINY, "--record", str(path), "--json")
    assert done.returncode == 0, done.stderr
    text = path.read_text(encoding="utf-8")
    assert done.stdout == text
    assert f"wrote {path}" in done.stderr
    assert run("bench", str(path), "--json").stdout == text
    found = records.read(path)
    assert found == json.loads(text)
    assert (found["vgcore_bench"], found["workload"]) == (bench.LAYOUT, rivals.WORKLOAD)
    assert {each["job"] for each in found["rows"]} == {*found["jobs"]}
    shown = run("bench", str(path)).stdout
    assert found["facts"]["cpu"] in " ".join(shown.split())
    for job, words in found["jobs"].items():
        assert f"{job}: {words[:20]}" in shown


def test_a_file_that_is_there_is_written_over_where_that_is_asked_for_and_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, "torch", "jax")
    path = kept(tmp_path, "a.json", record())
    assert run("bench", *TINY, "--record", path, "--force").returncode == 0
    assert records.read(Path(path))["facts"] != FACTS
    no_measurement(monkeypatch)
    for name, words in ((path, "is there already"), (str(tmp_path / "a.csv"), "must name a .json file")):
        done = run("bench", *TINY, "--record", name)
        assert done.returncode == commands.USAGE
        assert words in done.stderr


def test_what_is_measured_already_takes_no_option_of_a_measurement(tmp_path: Path) -> None:
    path = kept(tmp_path, "a.json", record())
    done = run("bench", path, "--shapes", "8x4", "--rounds", "2", "--threads", "1", "--every", "--record", "b.json")
    assert done.returncode == commands.USAGE
    assert "leave out --shapes, --rounds, --threads, --every, --record" in done.stderr


def broken(change: Callable[[records.Record], object]) -> str:
    found = record()
    change(found)
    return json.dumps(found)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no JSON"),
        ("{", "holds no JSON"),
        ("[" * 100_000, "holds no JSON"),
        ("\udcff", "holds no JSON"),
        ("[]", "is no record of vgcore bench; `vgcore bench --record FILE.json` writes one"),
        ('{"depth": 3}', "is no record of vgcore bench"),
        ('{"vgcore_bench": true}', "is no record of vgcore bench"),
        ('{"vgcore_bench": 2}', "is a record of layout 2, of a newer vgcore; this one reads 1"),
        ('{"vgcore_bench": 1}', "is a broken record of vgcore bench: it lacks 'workload'"),
        (broken(lambda r: r["facts"].pop("cpu")), "it lacks 'cpu'"),
        (broken(lambda r: r["facts"].update(load="high")), "a fact is of a wrong type"),
        (broken(lambda r: r["facts"].update(date=3)), "a fact is of a wrong type"),
        (broken(lambda r: r["jobs"].update(probe=3)), "a fact is of a wrong type"),
        (broken(lambda r: r.update(rows=[])), "it has no rows"),
        (broken(lambda r: r.update(rows=[3])), "a broken record"),
        (broken(lambda r: r["rows"][0].update(shape=[8, 4])), "a row has no shape"),
        (broken(lambda r: r["rows"][0].update(shape=[8, 4, 0])), "a row has no shape"),
        (broken(lambda r: r["rows"][0].update(rival=None)), "a row does not say of what it is"),
        (broken(lambda r: r["rows"][0].update(us_per_layer=[])), "a row has no times"),
        (broken(lambda r: r["rows"][0].update(us_per_layer=[1.0, math.nan])), "a row has no times"),
        (broken(lambda r: r["rows"][0].update(us_per_layer=[1.0, -1.0])), "a row has no times"),
        (broken(lambda r: r["rows"][0].update(us_per_layer=["1"])), "a row has no times"),
        (broken(lambda r: r["rows"][0].update(us_per_layer=[10**400])), "a row has no times"),
        (broken(lambda r: r["rows"][0].update(us_per_layer=[5e-324, 1.0])), "a row has no times"),
        (broken(lambda r: r["facts"].update(cores=10**400)), "it has no number of cores"),
        (broken(lambda r: r["facts"].update(load=10**400)), "a fact is of a wrong type"),
    ],
)
def test_a_broken_foreign_or_newer_file_is_refused_in_a_sentence(
    text: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_measurement(monkeypatch)
    path = tmp_path / "a.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    for arguments in ([str(path)], ["--against", str(path)]):
        done = run("bench", *arguments)
        assert done.returncode == commands.USAGE
        assert words in done.stderr
        assert done.stderr.count("\n") == 1
        assert done.stdout == ""


def test_a_file_that_is_not_there_is_named_with_what_writes_one(tmp_path: Path) -> None:
    done = run("bench", "--against", str(tmp_path / "gone.json"))
    assert done.returncode == commands.USAGE
    assert "there is no such file; `vgcore bench --record FILE.json` writes one" in done.stderr


# Its like


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (record(cpu="Another"), "processor A processor (family 1, model 2) in {} and Another in {}"),
        (record(system="Darwin"), "system Linux on x86_64 in {} and Darwin on x86_64 in {}"),
        (record(build={"isa": "avx512"}), "instruction set avx2 in {} and avx512 in {} (VGCORE_ISA chooses it)"),
        (record(cores=1), "cores 2 in {} and 1 in {} (--threads chooses them)"),
        (record(build={"threads": 1}), "threads 2 in {} and 1 in {} (VGCORE_NUM_THREADS chooses them)"),
        (record(limits={"OPENBLAS_CORETYPE": "Haswell"}), "none in {} and OPENBLAS_CORETYPE=Haswell in {}"),
        (record() | {"workload": 2}, "workload 1 in {} and 2 in {}"),
    ],
)
def test_each_fact_that_differs_is_named_and_nothing_is_compared(
    other: records.Record, words: str, tmp_path: Path
) -> None:
    paths = kept(tmp_path, "a.json", record()), kept(tmp_path, "b.json", other)
    done = run("bench", paths[1], "--against", paths[0])
    assert done.returncode == commands.USAGE
    assert words.format(*paths) in done.stderr
    assert done.stderr.count("; ") == 0
    assert done.stdout == ""
    both = run("bench", kept(tmp_path, "c.json", other | {"workload": 3}), "--against", paths[0])
    assert "workload 1 in" in both.stderr


def test_what_vgcore_is_kept_to_counts_by_what_it_then_uses() -> None:
    one, other = record(), record(limits={"VGCORE_ISA": "avx2", "VGCORE_NUM_THREADS": "2"})
    records.check_alike(one, other, ("a", "b"))


def test_another_machine_is_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_measurement(monkeypatch)
    done = run("bench", "--against", kept(tmp_path, "a.json", record()))
    assert done.returncode == commands.USAGE
    assert "processor A processor (family 1, model 2) in" in done.stderr
    assert "in this run" in done.stderr


def test_a_run_against_a_record_measures_the_shapes_that_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def compare(shapes: list[Any], **_: Any) -> Iterator[list[bench.Row]]:
        asked.extend(shapes)
        yield [row()]

    monkeypatch.setattr(bench, "compare", compare)
    monkeypatch.setattr(bench, "facts", lambda: FACTS)
    path = kept(tmp_path, "a.json", record(row(), row("gradients")))
    done = run("bench", "--against", path)
    assert done.returncode == 0, done.stderr
    assert asked == [(8, 4, 3)]
    assert "vgcore: 1 compared, no difference" in done.stdout


def test_shapes_that_a_record_does_not_hold_are_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_measurement(monkeypatch)
    done = run("bench", "--shapes", "8x4", "--against", kept(tmp_path, "a.json", record()))
    assert done.returncode == commands.USAGE
    assert "holds none of these --shapes, but 8x4x3" in done.stderr


def test_other_versions_of_vgcore_and_python_are_what_is_compared() -> None:
    found, notes = records.compare(record(), record(build={"version": "0.2.0"}, python="3.13.0"), ("a", "b"))
    assert [each["rival"] for each in found] == ["vgcore"]
    assert notes == []


def test_a_rival_of_another_version_is_left_out_with_a_word(tmp_path: Path) -> None:
    rows = row(), row(rival="NumPy")
    paths = kept(tmp_path, "a.json", record(*rows)), kept(tmp_path, "b.json", record(*rows, numpy="2.5 with b 1"))
    done = run("bench", paths[1], "--against", paths[0])
    assert done.returncode == 0
    assert f"NumPy is left out: 2.4.6 with a blas 1.0 in {paths[0]}, 2.5 with b 1 in {paths[1]}" in done.stdout
    assert "NumPy: " not in done.stdout


def test_records_without_a_job_at_a_shape_in_common_are_refused() -> None:
    with pytest.raises(ValueError, match="a and b have no job at a shape in common"):
        records.compare(record(row("probe")), record(row("sweep")), ("a", "b"))


# Noise


@pytest.mark.parametrize(
    ("before", "after", "word", "code"),
    [
        ((1.0, 1.1, 1.2), (1.05, 1.1, 1.3), "no difference", 0),
        ((1.0, 1.1, 1.2), (1.2, 1.0, 1.1), "no difference", 0),  # the same
        ((1.0, 1.1, 9.0), (2.0, 2.2, 2.1), "no difference", 0),  # a neighbour woke up once
        ((1.0, 1.01, 1.02), (2.0, 2.01, 2.02), "1 slower", 1),
        ((2.0, 2.01, 2.02), (1.0, 1.01, 1.02), "1 faster", 0),
        ((1.0,), (2.0,), "1 not known", 0),
    ],
)
def test_a_difference_counts_where_the_noise_of_the_rounds_does_not_explain_it(
    before: tuple[float, ...], after: tuple[float, ...], word: str, code: int, tmp_path: Path
) -> None:
    paths = [kept(tmp_path, f"{i}.json", record(row(rounds=each))) for i, each in enumerate((before, after))]
    done = run("bench", paths[1], "--against", paths[0])
    assert f"vgcore: 1 compared, {word}" in done.stdout
    assert done.returncode == code


def test_a_rival_that_is_slower_is_no_fault_of_vgcore(tmp_path: Path) -> None:
    before, after = ([row(), row(rival="NumPy", rounds=(n, 1.01 * n, 1.02 * n))] for n in (1.0, 2.0))
    done = run(
        "bench", kept(tmp_path, "b.json", record(*after)), "--against", kept(tmp_path, "a.json", record(*before))
    )
    assert done.returncode == 0
    assert "NumPy: 1 compared, 1 slower" in done.stdout


def test_a_ratio_is_that_of_geometric_means_and_its_range_has_1_within_where_there_is_no_difference() -> None:
    (same,), _ = records.compare(record(row(rounds=(1.0, 4.0))), record(row(rounds=(2.0, 8.0))), ("a", "b"))
    assert (same["before"], same["after"], same["ratio"]) == pytest.approx((2, 4, 2))
    assert same["low"] < 1 < same["high"]
    assert same["beyond"] is False
    (other,), _ = records.compare(
        record(row(rounds=(1.0, 1.01))), record(row(rounds=(2.0, 2.02, 2.01, 2.0))), ("a", "b")
    )
    assert 1 < other["low"] < other["ratio"] < other["high"]
    assert other["beyond"] is True


@pytest.mark.parametrize(("load", "busy"), [(None, False), (0.9, False), (1.1, True), (19, True)])
def test_a_record_made_beside_other_work_says_so_wherever_it_is_shown(
    load: float | None, busy: bool, tmp_path: Path
) -> None:
    path = kept(tmp_path, "a.json", record(load=load))
    for arguments in ([path], [path, "--against", path]):
        told = " ".join(run("bench", *arguments).stdout.split())
        assert ("the machine was busy with something else" in told) == busy
    assert ("The machine was busy" in script().about("a.json", record(load=load))) == busy


def test_json_of_a_comparison_has_no_nan(tmp_path: Path) -> None:
    path = kept(tmp_path, "a.json", record(row(rounds=(1.0,))))
    found = json.loads(run("bench", path, "--against", path, "--json").stdout)
    assert (found["before"], found["after"], found["notes"]) == (path, path, [])
    (only,) = found["rows"]
    assert (only["ratio"], only["low"], only["high"], only["beyond"]) == (1.0, None, None, None)


# The machine


def test_facts_of_a_machine_are_plain_json_and_name_what_libraries_are_kept_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in machine.LIMITS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    found = machine.facts()
    assert found["limits"] == {"OPENBLAS_CORETYPE": "Haswell"}
    assert json.loads(json.dumps(found)) == found


def test_a_processor_of_a_virtual_machine_is_known_by_the_numbers_of_its_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cpuinfo"
    monkeypatch.setattr(machine, "CPUINFO", path)
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    core = "cpu family\t: 6\nmodel\t\t: 207\nmodel name\t: Some Processor\nflags\t\t: fpu avx2 hypervisor\n"
    path.write_text(f"{core}\n{core}", encoding="utf-8")
    found = machine.facts()
    assert (found["cpu"], found["cpu_flags"], found["virtual"]) == (
        "Some Processor (family 6, model 207)",
        ["avx2"],
        True,
    )
    path.write_text("Features\t: fp asimd\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n", encoding="utf-8")
    found = machine.facts()
    assert found["cpu"].endswith("(implementer 0x41 part 0xd0c)")
    assert (found["cpu_flags"], found["virtual"]) == (["asimd"], None)


# The pages


def script() -> ModuleType:
    source = importlib.util.spec_from_file_location("benchmarks_page", ROOT / "docs" / "benchmarks.py")
    assert source is not None
    assert source.loader is not None
    module = importlib.util.module_from_spec(source)
    source.loader.exec_module(module)
    return module


def test_the_page_is_what_its_script_writes_of_all_records_of_the_tree() -> None:
    made = script()
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert page == made.page(), "run make benchmarks"
    assert made.SHOWN in made.found()
    for name, found in made.found().items():
        assert f"`benches/records/{name}`" in page
        assert found["facts"]["cpu"] in page


def test_the_readme_shows_the_times_of_its_record() -> None:
    made = script()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert made.readme() in readme, "run make benchmarks"
    assert made.in_readme(readme) == readme
    found = records.read(made.RECORDS / made.SHOWN)
    assert found["facts"]["build"]["isa"] == "avx2"
    assert found["facts"]["cpu"] in " ".join(readme.split())


def test_a_time_has_two_digits_and_a_unit_that_fits() -> None:
    made = script()
    assert [made.duration(time) for time in (58.2, 583.0, 58_320.0, 1.26e6)] == [
        "0.058 ms",
        "0.58 ms",
        "58 ms",
        "1.3 s",
    ]
