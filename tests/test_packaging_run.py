"""Runs of installed wheels: which interpreters are found, what each row says, and what is an error."""

import importlib
import json
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOM = Path(__file__).parents[1] / "packaging"
LINUX = "vgcore-1.0-cp310-abi3-manylinux2014_x86_64.manylinux_2_17_x86_64.whl"
OTHERS = {
    "vgcore-1.0-cp310-abi3-macosx_11_0_arm64.whl": "it needs macOS",
    "vgcore-1.0-cp310-abi3-win_amd64.whl": "it needs Windows",
    "vgcore-1.0-cp310-abi3-musllinux_1_2_x86_64.whl": "no interpreter on musl is at hand",
    "vgcore-1.0-cp314-cp314t-manylinux_2_17_x86_64.whl": "no free-threaded Python (cp314t) is at hand",
    "vgcore-1.0-cp310-abi3-manylinux_2_17_aarch64.whl": "no interpreter here takes it",
    "vgcore-1.0-cp310-abi3-manylinux_2_5_x86_64.whl": "pip takes another file",
}


@pytest.fixture(name="run")
def imported(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOM))
    monkeypatch.delitem(sys.modules, "run", raising=False)
    return importlib.import_module("run")


@pytest.fixture(name="room")
def folder(run: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A folder of empty wheels, on Linux, beside one interpreter that takes two of them and has an environment."""
    (wheels := tmp_path / "wheels").mkdir()
    for name in (LINUX, *OTHERS):
        (wheels / name).touch()
    tags = run.tags_of(LINUX) | run.tags_of(list(OTHERS)[-1])
    ours = run.Interpreter(sys.executable, "3.10.0 Linux x86_64", tags, (3, 10, False))
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(run, "ways", lambda _: [run.Way("native"), run.Way("old", missing="nothing plays an old CPU")])
    monkeypatch.setattr(run.Room, "interpreters", lambda _: [ours])
    monkeypatch.setattr(run.Room, "installed", lambda _, __: (Path(sys.executable), LINUX))
    return run.Room(wheels, tmp_path / "cache")


def smoke(tmp_path: Path, run: ModuleType, monkeypatch: pytest.MonkeyPatch, text: str) -> Callable[[], None]:
    """What `run.py` does with a stand-in for smoke.py."""
    (script := tmp_path / "smoke.py").write_text(text, encoding="utf-8")
    monkeypatch.setattr(run, "SMOKE", script)
    arguments = [str(tmp_path / "wheels"), "--cache", str(tmp_path / "cache"), "--json", str(tmp_path / "run.json")]
    monkeypatch.setattr(sys, "argv", ["run.py", *arguments])
    main: Callable[[], None] = run.main
    return main


def test_a_name_holds_every_tag_of_its_wheel(run: ModuleType) -> None:
    assert run.tags_of(LINUX) == {"cp310-abi3-manylinux2014_x86_64", "cp310-abi3-manylinux_2_17_x86_64"}


def test_an_interpreter_is_found_once_and_one_that_does_not_run_is_none(
    run: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Path(str(getattr(find_spec("pip"), "origin", ""))).parents[1]
    monkeypatch.setattr(run.Room, "pip", lambda _: site)
    monkeypatch.setattr(run, "at_hand", lambda: [str(tmp_path / "none"), sys.executable, sys.executable])
    monkeypatch.setattr(run, "ROOTS", ())
    monkeypatch.delenv("PYTHONS", raising=False)
    (found,) = run.Room(tmp_path, tmp_path).interpreters()
    assert found.path == sys.executable
    assert f"cp310-abi3-{min(found.tags).split('-', 2)[2]}" in found.tags
    monkeypatch.setenv("PYTHONS", str(tmp_path / "none"))
    with pytest.raises(SystemExit, match="PYTHONS names what does not run"):
        run.Room(tmp_path, tmp_path).interpreters()


def test_what_does_not_run_is_named_and_is_no_error(
    run: ModuleType, room: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = 'print(\'imported\'); print(\'{"isa": "scalar", "gil": false}\')'
    smoke(tmp_path, run, monkeypatch, said)()
    rows = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert [(row["file"], row["way"], row["outcome"], row["why"]) for row in rows[:2]] == [
        (LINUX, "native", "passed", "scalar, GIL off"),
        (LINUX, "old", "skipped", "nothing plays an old CPU"),
    ]
    assert {row["file"] for row in rows[2:]} == set(OTHERS)
    for row in rows[2:]:
        assert row["outcome"] == "skipped"
        assert row["why"].startswith(OTHERS[row["file"]])
    assert len(capsys.readouterr().out.splitlines()) == 2 + len(rows)
    room.absent["aarch64"] = "nothing plays an aarch64"
    assert room.why_not("vgcore-1.0-cp310-abi3-manylinux_2_17_aarch64.whl", []) == "nothing plays an aarch64"


def test_where_every_wheel_must_run_one_that_did_not_is_an_error(
    run: ModuleType, room: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = smoke(tmp_path, run, monkeypatch, 'print(\'{"isa": "scalar", "gil": true}\')')
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--every"])
    with pytest.raises(SystemExit, match="nothing here has run ") as said:
        main()
    assert str(said.value).split("run ")[1] == ", ".join(sorted(OTHERS))
    for name in OTHERS:
        (tmp_path / "wheels" / name).unlink()
    room.files[:] = [LINUX]
    main()


def test_a_smoke_test_that_fails_fails_the_run(
    run: ModuleType, room: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert room.files
    failing = smoke(tmp_path, run, monkeypatch, "raise SystemExit('smoke: the core uses sse, not scalar')")
    with pytest.raises(SystemExit, match="some failed"):
        failing()
    rows = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert (rows[0]["outcome"], rows[0]["why"]) == ("failed", "smoke: the core uses sse, not scalar")


def test_a_command_that_ends_otherwise_than_it_must_fails_the_smoke_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOM))
    questions = importlib.import_module("smoke")
    assert questions.vgcore([], "--version").startswith("vgcore ")
    with pytest.raises(SystemExit, match=r"^smoke: .* ended with 0:\nvgcore "):
        questions.vgcore([], "--version", code=1)


def test_a_folder_of_which_no_wheel_was_run_is_an_error(
    run: ModuleType, room: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(room), "interpreters", lambda _: [])
    with pytest.raises(SystemExit, match="none of these wheels was run here"):
        smoke(tmp_path, run, monkeypatch, "")()
