"""The doctor: what it says is installed, what its self-test covers, and that the test finds what is broken."""

from __future__ import annotations

import dataclasses
import itertools
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import vgcore as vg
from strategies import EXAMPLES, patient
from test_cli import COMMAND, on_terminal, plain, run, run_apart
from vgcore import _core
from vgcore.measure.result import columns_of
from vgcore.reference import cases, selftest
from vgcore.reference.agreement import Compared
from vgcore.reference.cases import Case
from vgcore.reference.plan import Part, Plan

ROUND = [*cases.first()]
SELFTEST = "vgcore.reference.selftest"
#: What a machine fifty times slower than a laptop does in ten seconds.
SOON = 24


def facts(printed: str) -> dict[str, str]:
    """The facts by their names, each as one line."""
    found: dict[str, str] = {}
    last = ""
    for name, text in re.findall(r"^(.{14})(.*)$", printed, flags=re.MULTILINE):
        last = name.strip() or last
        found[last] = f"{found.get(last, '')} {text}".strip()
    return found


# What is installed


def test_the_facts_are_those_of_this_build_and_this_machine() -> None:
    done = run("doctor", "--seconds", "0")
    assert (done.returncode, done.stderr) == (0, "")
    told, build = facts(done.stdout), vg.build_info()
    assert told["vgcore"] == vg.__version__
    assert told["installed in"] == str(Path(vg.__file__).parent)
    assert told["instructions"].startswith(f"{build['isa']}, of ")
    assert build["target"] in told["build"]
    assert build["compiler"] in told["build"]
    assert told["threads"].startswith(f"{build['threads']};")
    assert told["NumPy"] == np.__version__
    assert told["Python"].split()[1:2] == [f"{sys.version.split()[0]},"]
    assert "self-test" not in told


def test_the_build_says_what_it_was_made_for_and_what_this_processor_has() -> None:
    build = vg.build_info()
    assert build["isa"] in build["isas"]
    assert build["isas"][-1] == "scalar"
    assert re.fullmatch(r"\w+-\w+-[\w-]+", build["target"])
    assert build["compiler"].startswith("rustc 1.")
    assert build["commit"] is None or re.fullmatch(r"[0-9a-f]{40}", build["commit"])


def test_each_instruction_set_that_this_processor_has_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for isa in vg.build_info()["isas"]:
        monkeypatch.setenv("VGCORE_ISA", isa)
        told = facts(run_apart("doctor", "--seconds", "0").stdout)
        assert told["instructions"].startswith(f"{isa}, of ")
        assert told["VGCORE_ISA"] == isa


@pytest.mark.parametrize("isa", ["foo", "simd128"])
def test_an_instruction_set_that_is_not_there_is_refused_in_a_sentence(
    isa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VGCORE_ISA", isa)
    done = run_apart("doctor")
    assert done.returncode == 2
    assert re.fullmatch(rf"error: VGCORE_ISA must be one of .*scalar on this machine, got '{isa}'\n", done.stderr)


def test_an_extra_that_is_missing_comes_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    needs = ["numpy>=1.26", "here>=2 ; extra == 'one'", "gone>=3 ; extra == 'two'", "vgcore[one,two] ; extra == 'all'"]

    def version(name: str) -> str:
        if name == "gone":
            raise metadata.PackageNotFoundError(name)
        return "2.1"

    monkeypatch.setattr(metadata, "requires", lambda _: needs)
    monkeypatch.setattr(metadata, "version", version)
    told = facts(run("doctor", "--seconds", "0").stdout)
    assert told["one"] == "here 2.1"
    assert told["two"] == "lacks gone: pip install 'vgcore[two]'"
    assert not {"all", "numpy"} & {*told}


def test_facts_alone_wait_for_no_twin_and_the_package_never_does() -> None:
    code = "import sys; from vgcore.shell import commands; sys.argv[1:] = {}\n"
    code += "try: commands.main()\nfinally: print(*sys.modules)"
    for arguments, expected in ((["doctor", "--seconds", "0"], False), (["doctor", "--seconds", "1e-9"], True)):
        done = subprocess.run(
            [sys.executable, "-c", code.format(arguments)], capture_output=True, text=True, check=True
        )
        assert ("vgcore.reference" in done.stdout.split()) == expected


@pytest.mark.parametrize("seconds", ["-1", "nan", "inf"])
def test_a_time_that_is_none_is_refused(seconds: str) -> None:
    done = run("doctor", "--seconds", seconds)
    assert done.returncode == 2
    assert f"--seconds must be 0 or more, got {seconds}" in done.stderr


@pytest.mark.parametrize(
    ("numpy", "words"),
    [
        ("raise ImportError('no such thing')", "which cannot be imported here"),
        ("__version__ = '1.20.3'", "and 1.20.3 is"),
    ],
)
def test_a_numpy_that_is_missing_or_too_old_is_named_in_a_sentence(numpy: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text(numpy, encoding="utf-8")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from vgcore import _core"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "panicked" not in done.stderr
    project = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    (oldest,) = re.findall(r'"numpy>=([\d.]+)"', project)
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"ImportError: vgcore needs NumPy {oldest} or later, {words}")
    assert last.endswith(f"python -m pip install --upgrade 'numpy>={oldest}'")


def test_an_interrupt_while_numpy_is_imported_is_no_missing_numpy(tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("raise KeyboardInterrupt", encoding="utf-8")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from vgcore import _core"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == "KeyboardInterrupt"


# What is tested


def named(text: str, names: tuple[str, ...]) -> set[str]:
    """Which of some kinds a text names."""
    return {name for name in names if re.search(rf"\b{name}\b", text)}


def parts_of(case: Case) -> list[Part]:
    """The parts of all layers of a net."""
    return [part for layer in Plan.of(case.spec).layers for part in layer.parts]


def test_the_first_round_has_every_kind() -> None:
    inits = re.sub(r"bias='[^']*'", "", " ".join(str(case) for case in ROUND))
    for names in (_core.INITS, _core.WEIGHT_TRANSFORMS):
        assert named(inits, names) == {*names}
    parts = {(part.name, part.kind.partition("(")[0]) for case in ROUND for part in parts_of(case)}
    assert {kind for name, kind in parts if name == "activation"} == {*_core.ACTIVATIONS}
    assert {kind for name, kind in parts if name == "norm"} == {*_core.NORMS}
    assert {kind for name, kind in parts if name == "join"} >= {*_core.SKIPS}
    assert any(part.name == "dropout" for case in ROUND if case.optimizer for part in parts_of(case))
    assert {case.loss for case in ROUND} == {None, *_core.LOSSES}
    assert {vg.Optimizer(case.optimizer).name for case in ROUND if case.optimizer} == {*_core.OPTIMIZERS}
    assert {type(case.spec) for case in ROUND} == {vg.MLP, vg.Sequential, vg.RNN, vg.Transformer}


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_the_first_round_has_every_cell_and_every_attention_in_both_precisions(dtype: str) -> None:
    specs = [case.spec for case in ROUND if case.dtype == dtype]
    assert {spec.cell.partition("(")[0] for spec in specs if isinstance(spec, vg.RNN)} == {*_core.CELLS}
    transformers = [spec for spec in specs if isinstance(spec, vg.Transformer)]
    for name, values in {"causal": {True, False}, "qk_norm": {True, False}, "pool": {None, "mean"}}.items():
        assert {getattr(spec, name) for spec in transformers} == values


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_every_activation_comes_soon(dtype: str) -> None:
    soon = " ".join(str(case) for case in ROUND[:SOON] if case.dtype == dtype)
    assert named(soon, _core.ACTIVATIONS) == {*_core.ACTIVATIONS}
    assert {type(case.spec) for case in ROUND[:4]} == {vg.MLP, vg.RNN, vg.Transformer}
    assert any(case.optimizer for case in ROUND[:4])


@patient
def test_each_net_of_the_round_is_computed_as_the_twin_computes_it() -> None:
    for case in ROUND:
        found, unclear = selftest.compare(case)
        assert ([each for each in found if each.worst > 1], unclear) == ([], []), case


@patient
def test_random_nets_are_computed_as_the_twin_computes_them() -> None:
    for seed in range(2 * EXAMPLES):
        found, unclear = selftest.compare(cases.drawn(seed))
        assert [each for each in found if each.worst > 1 and each.name not in unclear] == [], cases.drawn(seed)


def test_a_random_case_is_the_same_of_the_same_seed_and_can_be_pasted() -> None:
    drawn = [cases.drawn(seed) for seed in range(40)]
    assert drawn == [cases.drawn(seed) for seed in range(40)]
    assert len({str(case) for case in drawn}) == 40
    for case in drawn:
        probe = eval(str(case).partition(";")[0], {"vg": vg})
        assert (probe.spec, probe.batch, probe.dtype) == (case.spec, case.batch, case.dtype)
        assert probe.seeds.tolist() == [case.seed]


def test_numbers_that_rounding_moves_as_far_are_no_difference() -> None:
    # Differences double at every layer: in float32 the last ones are anything.
    chaotic = vg.MLP(depth=40, width=16, activation="sin(omega=3)", init="normal(std=1)")
    found, unclear = selftest.compare(Case(chaotic, "float32"))
    off = {each.name for each in found if each.worst > 1}
    assert off
    assert off == {*unclear}


def count_as_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second a look."""
    count = itertools.count()
    monkeypatch.setattr(f"{SELFTEST}.time", SimpleNamespace(perf_counter=lambda: float(next(count))))


def test_the_time_is_kept_but_one_net_is_always_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    count_as_clock(monkeypatch)
    told: list[int] = []
    found = selftest.run(3.0, lambda so_far: told.append(so_far.nets))
    assert (found.nets, found.seconds, found.planned) == (3, 3.0, len(ROUND))
    assert told == [1, 2, 3]
    assert found.numbers > 1000
    assert 0 < found.largest < 1


def test_after_the_round_come_random_nets(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Case] = []
    nothing = Compared("nothing", np.zeros(1), np.zeros(1), np.zeros(1))

    def compare(case: Case) -> tuple[list[Compared], list[str]]:
        seen.append(case)
        return [nothing], []

    monkeypatch.setattr(selftest, "compare", compare)
    monkeypatch.setattr(selftest, "first", lambda: iter(ROUND[:2]))
    count_as_clock(monkeypatch)
    selftest.run(4.0)
    assert seen == [*ROUND[:2], cases.drawn(selftest.SEED), cases.drawn(selftest.SEED + 1)]


# What is found


def broken_column(monkeypatch: pytest.MonkeyPatch, name: str, layer: int) -> None:
    """A core that gets one number of a column wrong, by a hundredth."""

    def wrong(*given: Any, **how: Any) -> vg.Probe:
        probe = vg.probe(*given, **how)
        column = getattr(probe, name).copy()
        column[..., layer] += 0.01
        return dataclasses.replace(probe, **{name: column})

    monkeypatch.setattr(f"{SELFTEST}.probe", wrong)


@pytest.mark.parametrize("name", ["log10_z_rms", "log10_delta_rms", "log10_wgrad_norm", "saturated"])
def test_a_column_that_is_wrong_is_found_and_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    broken_column(monkeypatch, name, 1)
    done = run("doctor", "--seconds", "1e-9")
    assert done.returncode == 1
    told = facts(done.stdout)
    # Folded at spaces and brackets, which a reader who pastes it does not see.
    assert re.sub(r"\s", "", told["wrong"]).startswith(re.sub(r"\s", "", str(ROUND[0])))
    assert re.search(rf"{name} of layer 2: -?\d\S+ by the core, -?\d\S+ by the twin, apart by \S+ times", told["wrong"])
    assert "1 net of these with numbers that are wrong" in told["self-test"]
    assert "Please report it, with all of this text." in told["what to do"]
    assert told["instructions"].startswith(vg.build_info()["isa"])


Break = Callable[[pytest.MonkeyPatch], None]


def of_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    right = vg.Network.gradients

    def wrong(*given: Any, **how: Any) -> vg.Gradients:
        found = right(*given, **how)
        weight = found.parameters["layers.1.weight"]
        weight[3, 4] += np.linalg.norm(weight)
        return found

    monkeypatch.setattr(vg.Network, "gradients", wrong)


def of_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(net: vg.Network, *given: Any, **how: Any) -> SimpleNamespace:
        run = vg.train(net, *given, **how)
        state = {name: 2 * w - net.state_dict()[name] for name, w in run.network.state_dict().items()}
        return SimpleNamespace(network=SimpleNamespace(state_dict=lambda: state), loss=run.loss)

    monkeypatch.setattr(f"{SELFTEST}.train", wrong)


def of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = itertools.count()

    def wrong(probe: vg.Probe) -> dict[str, Any]:
        found = dict(columns_of(probe))
        if next(calls):
            found["log10_a_rms"] = np.nextafter(found["log10_a_rms"], np.inf)
        return found

    monkeypatch.setattr(f"{SELFTEST}.columns_of", wrong)


def of_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    right = _core.samples
    monkeypatch.setattr(_core, "samples", lambda *given: -right(*given))


@pytest.mark.parametrize(
    ("how", "place", "name"),
    [
        (of_gradients, 3, "dL/d layers.1.weight at [3, 4]"),
        (of_training, 3, " after a step at "),
        (of_threads, -1, "log10_a_rms by "),
        (of_samples, 0, "x at "),
    ],
)
def test_what_else_is_wrong_is_found_and_named(
    how: Break, place: int, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selftest, "first", lambda: iter([ROUND[place]]))
    assert run("doctor", "--seconds", "1e-9").returncode == 0
    how(monkeypatch)
    done = run("doctor", "--seconds", "1e-9")
    assert done.returncode == 1
    assert name in facts(done.stdout)["wrong"]


def test_scalar_is_the_way_around_that_is_told_where_it_is_not_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    broken_column(monkeypatch, "log10_z_rms", 0)
    isa = vg.build_info()["isa"]
    assert ("VGCORE_ISA=scalar" in run("doctor", "--seconds", "1e-9").stdout) == (isa != "scalar")
    monkeypatch.setattr(_core, "build_info", lambda right=_core.build_info: right() | {"isa": "scalar"})
    told = facts(run("doctor", "--seconds", "1e-9").stdout)["what to do"]
    assert told == "Please report it, with all of this text."


@pytest.mark.parametrize("broken", [False, True])
def test_an_interrupt_shows_what_was_compared(broken: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if broken:
        broken_column(monkeypatch, "log10_z_rms", 0)

    def interrupted() -> Iterator[Case]:
        yield from ROUND[:2]
        raise KeyboardInterrupt

    monkeypatch.setattr(selftest, "_endless", lambda _: interrupted())
    done = run("doctor")
    assert (done.returncode, done.stderr) == (130, "interrupted: the self-test had compared 2 nets\n")
    assert f"it ended after 2 of {len(ROUND)} nets" in facts(done.stdout)["self-test"]
    assert ("wrong" in facts(done.stdout)) == broken


def test_many_differences_are_counted_and_three_of_them_told(monkeypatch: pytest.MonkeyPatch) -> None:
    broken_column(monkeypatch, "log10_z_rms", 0)
    count_as_clock(monkeypatch)
    done = run("doctor", "--seconds", "5")
    assert done.returncode == 1
    assert done.stdout.count("vg.probe(") == 3
    assert "5 nets of these with numbers that are wrong" in facts(done.stdout)["self-test"]
    assert re.search(r"^ +and 2 nets more$", done.stdout, flags=re.MULTILINE)


# What it looks like


def test_a_terminal_of_80_columns_has_room_and_the_test_says_how_far_it_came() -> None:
    code, shown = on_terminal("doctor", "--seconds", "0.2", columns=80)
    assert code == 0
    assert max(map(len, plain(shown))) <= 80
    told = facts("\n".join(plain(shown)))
    assert re.search(r"^\d+ nets?, [\d,]+ numbers, in \d+\.\d s; the largest difference", told["self-test"])
    assert f"of {len(ROUND)} nets that have every kind" in told["self-test"]
    assert told["self-test"].endswith("all is well")


def test_a_reader_who_has_seen_enough_and_a_closed_stdout_end_it_quietly() -> None:
    with subprocess.Popen([*COMMAND, "doctor", "--seconds", "0"], stdout=-1, stderr=-1) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=500) == 141
    closed = subprocess.run(
        ["sh", "-c", '"$@" >&-', "sh", *COMMAND, "doctor", "--seconds", "0"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (closed.returncode, closed.stderr) == (0, "")
