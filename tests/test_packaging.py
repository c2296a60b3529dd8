"""Wheels and sdists: a check fails for what it checks, the table is sound, and who has no Rust is told so."""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
ROOM = ROOT / "packaging"
CARGO = (ROOT / "Cargo.toml").read_text(encoding="utf-8")
VERSION = CARGO.split('version = "')[1].split('"')[0]
RUST = CARGO.split('rust-version = "')[1].split('"')[0]
INFO = f"vgcore-{VERSION}.dist-info"
METADATA = (
    f"Metadata-Version: 2.4\nName: vgcore\nVersion: {VERSION}\nSummary: A stand-in.\nRequires-Dist: numpy>=1.26\n"
    "License-Expression: MIT OR Apache-2.0\nRequires-Python: >=3.10\nDescription-Content-Type: text/markdown\n"
    "\n# vgcore\n"
)
# A wheel whose tags no tool looks at.
NAME = f"vgcore-{VERSION}-cp314-cp314t-win_amd64.whl"
LICENCES = ("LICENSE", "LICENSE-MIT", "LICENSE-APACHE", "python/vgcore/data/digits.NOTICE.txt")
SOUND = {
    "vgcore/_core.cp314t-win_amd64.pyd": "PyCriticalSection_Begin /crates/libm-0.2.16/src/math/exp.rs",
    "vgcore/explore/static/vgcore.wasm": "code",
    f"{INFO}/METADATA": METADATA,
    f"{INFO}/WHEEL": "Wheel-Version: 1.0\nGenerator: maturin\nRoot-Is-Purelib: false\nTag: cp314-cp314t-win_amd64\n",
    f"{INFO}/RECORD": "",
    f"{INFO}/sboms/vgcore.cyclonedx.json": '{"components": [{"name": "pyo3"}, {"name": "numpy"}, {"name": "libm"}]}',
    **{f"{INFO}/licenses/{name}": "Permission is granted." for name in LICENCES},
}
SOURCES = {
    **dict.fromkeys(LICENCES, "text"),
    **dict.fromkeys(("Cargo.toml", "Cargo.lock", "pyproject.toml", "README.md", "build.rs", "src/lib.rs"), "text"),
    "packaging/backend.py": "text",
    "PKG-INFO": METADATA,
}


def wheel(folder: Path, members: dict[str, str], name: str = NAME) -> None:
    with zipfile.ZipFile(folder / name, "w") as archive:
        for member, text in members.items():
            archive.writestr(member, text)


def sdist(folder: Path, members: dict[str, str]) -> None:
    with tarfile.open(folder / f"vgcore-{VERSION}.tar.gz", "w:gz") as archive:
        for member, text in members.items():
            path = folder / "member"
            path.write_text(text, encoding="utf-8")
            archive.add(path, f"vgcore-{VERSION}/{member}")
            path.unlink()


def checked(folder: Path) -> tuple[int, str]:
    command = [sys.executable, str(ROOM / "check.py"), str(folder)]
    said = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert not said.stderr, said.stderr
    return said.returncode, said.stdout


@pytest.fixture
def targets(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOM)
    return importlib.import_module("targets")


def test_a_sound_wheel_and_a_sound_sdist_pass(tmp_path: Path) -> None:
    wheel(tmp_path, SOUND)
    sdist(tmp_path, SOURCES)
    code, said = checked(tmp_path)
    assert code == 0, said
    assert "FAULT" not in said
    assert "licences, ingredients, builder, engine" in said


def changed(member: str, text: str | None) -> dict[str, str]:
    """The sound wheel with another text in a member, or without it."""
    return {name: old for name, old in SOUND.items() if name != member} | ({member: text} if text is not None else {})


FAULTS = {
    "a path of its builder in the code": (
        changed("vgcore/_core.cp314t-win_amd64.pyd", f"panicked at {Path.home()}/x {ROOT}/src/lib.rs"),
        r"_core\.cp314t-win_amd64\.pyd holds a path of its builder: ",
    ),
    "a path of another's builder in the engine": (
        changed("vgcore/explore/static/vgcore.wasm", "panicked at mod.rs/Users/ada/.cargo/registry/src/x.rs"),
        r"vgcore\.wasm holds a path of its builder: '/Users/ada/'\.",
    ),
    "a path in the SBOM": (
        changed(f"{INFO}/sboms/vgcore.cyclonedx.json", '{"components": [], "ref": "path+file:///home/ada/vgcore"}'),
        r"cyclonedx\.json holds a path of its builder: '/home/ada/'\.",
    ),
    "a path of this builder as Windows writes it": (
        changed("vgcore/_core.cp314t-win_amd64.pyd", f"{ROOT}\\src\\lib.rs"),
        r"_core\.cp314t-win_amd64\.pyd holds a path of its builder: ",
    ),
    "no licence": (changed(f"{INFO}/licenses/LICENSE-MIT", None), r"lacks the licence file LICENSE-MIT\."),
    "no notice of the data": (
        changed(f"{INFO}/licenses/python/vgcore/data/digits.NOTICE.txt", None),
        r"lacks the licence file python/vgcore/data/digits\.NOTICE\.txt\.",
    ),
    "no SBOM": (changed(f"{INFO}/sboms/vgcore.cyclonedx.json", None), r"lacks an SBOM\."),
    "an SBOM of nothing": (
        changed(f"{INFO}/sboms/vgcore.cyclonedx.json", '{"components": [{"name": "libm"}]}'),
        r"SBOM names \['libm'\] alone\.",
    ),
    "no engine of pages": (
        changed("vgcore/explore/static/vgcore.wasm", None),
        r"lacks vgcore/explore/static/vgcore\.wasm",
    ),
    "too large": (changed("vgcore/explore/static/vgcore.wasm", "0" * 5_000_001), r"It has 5\.0 MB; 5 are allowed\."),
    "another version": (
        changed(f"{INFO}/METADATA", METADATA.replace(f"Version: {VERSION}\n", "Version: 9.9.9\n")),
        rf"Its Version is '9\.9\.9', not '{re.escape(VERSION)}'\.",
    ),
    "another Python": (
        changed(f"{INFO}/METADATA", METADATA.replace("Requires-Python: >=3.10\n", "")),
        r"Its Requires-Python is None, not '>=3\.10'\.",
    ),
    "no dependency": (
        changed(f"{INFO}/METADATA", METADATA.replace("Requires-Dist: numpy>=1.26\n", "")),
        r"It does not ask for NumPy\.",
    ),
    "a build for Pythons with a GIL": (
        changed("vgcore/_core.cp314t-win_amd64.pyd", "code"),
        r"It holds no lock where the GIL would",
    ),
    "another's module": (
        {"vgcore/_core.cp314-win_amd64.pyd": "code"} | changed("vgcore/_core.cp314t-win_amd64.pyd", None),
        r"Its module is called _core\.cp314-win_amd64\.pyd: not one of cp314t\.",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wheel_fails_for_what_is_wrong_with_it(tmp_path: Path, fault: str) -> None:
    members, sentence = FAULTS[fault]
    wheel(tmp_path, members)
    code, said = checked(tmp_path)
    assert code == 1
    assert re.search(rf"^    FAULT .*{sentence}", said, re.MULTILINE), said


GLIBC = "vgcore-1.0-cp310-abi3-manylinux2014_x86_64.manylinux_2_17_x86_64.whl"


@pytest.mark.parametrize(
    ("check", "code", "said", "faults"),
    [
        ("platform", 0, '{"overall_tag": "manylinux_2_5_x86_64"}', None),
        ("platform", 0, '{"overall_tag": "manylinux_2_17_x86_64"}', None),
        ("platform", 0, '{"overall_tag": "manylinux_2_31_x86_64"}', "and auditwheel says manylinux_2_31_x86_64."),
        ("platform", 0, '{"overall_tag": "linux_x86_64"}', "and auditwheel says linux_x86_64."),
        ("platform", 1, "no ELF", "auditwheel cannot read it: no ELF"),
        ("abi", 0, "", None),
        ("abi", 1, "uses PyFoo", "abi3audit: uses PyFoo"),
        ("page", 0, "PASSED", None),
        ("page", 1, "FAILED", "twine: FAILED"),
    ],
)
def test_what_a_tool_finds_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, check: str, code: int, said: str, faults: str | None
) -> None:
    monkeypatch.syspath_prepend(ROOM)
    tags = importlib.import_module("tags")
    monkeypatch.setattr(tags, "tool", lambda *_: subprocess.CompletedProcess([], code, said, ""))
    found = getattr(tags, check)(Path(GLIBC)).faults
    assert len(found) == (faults is not None)
    assert all(fault.endswith(str(faults)) for fault in found)


def test_a_tool_that_is_not_installed_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOM)
    tags = importlib.import_module("tags")
    monkeypatch.setattr(tags, "tool", lambda *_: None)
    found = [check(Path(GLIBC)) for check in (tags.platform, tags.abi, tags.page)]
    assert [each.words for each in found] == [f"{name} not installed" for name in ("auditwheel", "abi3audit", "twine")]


@pytest.mark.parametrize("member", ["python/vgcore/_core.abi3.so", "tests/.hypothesis/x", "target/release/x"])
def test_an_sdist_holds_nothing_that_was_made(tmp_path: Path, member: str) -> None:
    sdist(tmp_path, SOURCES | {member: "made"})
    code, said = checked(tmp_path)
    assert code == 1
    assert f"FAULT It holds {member}, which is made." in said


def test_an_sdist_without_its_backend_or_lock_fails(tmp_path: Path) -> None:
    sdist(
        tmp_path, {name: text for name, text in SOURCES.items() if name not in {"Cargo.lock", "packaging/backend.py"}}
    )
    code, said = checked(tmp_path)
    assert code == 1
    assert "FAULT It lacks Cargo.lock." in said
    assert "FAULT It lacks packaging/backend.py." in said


@pytest.mark.skipif(shutil.which("cargo") is None, reason="cargo, which lists what an sdist holds, is not installed")
def test_an_sdist_holds_all_sources_and_nothing_of_tests_and_pages() -> None:
    command = ["cargo", "package", "--list", "--allow-dirty", "--offline", "--quiet"]
    listed = set(subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.split())
    sources = [*(ROOT / "src").rglob("*.rs"), *(ROOT / "python").rglob("*.py"), *(ROOT / "python").rglob("*.js")]
    assert {path.relative_to(ROOT).as_posix() for path in sources} <= listed
    assert "build.rs" in listed
    assert {"src", "python", "packaging", "benches"} == {name.split("/")[0] for name in listed if "/" in name}
    assert {name for name in listed if name.startswith(("packaging", "benches"))} == {
        "packaging/backend.py",
        "benches/kernels.rs",
    }


def test_an_empty_folder_is_no_success(tmp_path: Path) -> None:
    said = subprocess.run([sys.executable, ROOM / "check.py", tmp_path], capture_output=True, text=True, check=False)
    assert said.returncode == 1
    assert "holds no wheel and no sdist" in said.stderr


def test_every_row_has_a_name_of_its_own_that_its_file_leads_back_to(targets: ModuleType) -> None:
    names = [row.name for row in targets.ROWS]
    assert len(set(names)) == len(names) == len(targets.TARGETS) * len(targets.INTERPRETERS)
    for row in targets.ROWS:
        assert re.fullmatch(r"(cp310-abi3|cp314-cp314t)-(manylinux|musllinux|macosx|win)_\w+", row.name)
        assert targets.row_of(Path(f"vgcore-{VERSION}-{row.name}.whl")) == row
        machine = row.target.triple.split("-")[0]
        assert row.name.endswith({"x86_64": ("x86_64", "amd64"), "aarch64": ("aarch64", "arm64")}[machine])
    two = Path(f"vgcore-{VERSION}-cp310-abi3-manylinux2014_aarch64.manylinux_2_17_aarch64.whl")
    assert targets.row_of(two).target.triple == "aarch64-unknown-linux-gnu"
    assert targets.row_of(Path(f"vgcore-{VERSION}.tar.gz")) is None


def test_a_word_chooses_rows_and_a_wrong_one_is_named(targets: ModuleType) -> None:
    assert targets.chosen([]) == list(targets.ROWS)
    assert {row.abi for row in targets.chosen(["cp314t"])} == {"cp314-cp314t"}
    assert [row.target.tag for row in targets.chosen(["abi3-musllinux_1_2_x86_64"])] == ["musllinux_1_2_x86_64"]
    with pytest.raises(SystemExit, match="'beos' is in no name of a wheel: cp310-abi3-manylinux_2_17_x86_64, "):
        targets.chosen(["beos"])


def test_what_was_asked_for_and_cannot_be_built_is_an_error(tmp_path: Path) -> None:
    other = "musllinux" if os.name == "nt" else "win_amd64"
    command = [sys.executable, str(ROOM / "build.py"), "wheels", f"abi3-{other}"]
    said = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert said.returncode == 1
    assert re.match(rf"cp310-abi3-{other}\w* cannot be built here\. [A-Z].+\.\n$", said.stderr), said.stderr


def test_the_table_tells_of_each_row_what_every_step_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOM)
    table = importlib.import_module("table")
    wheel(tmp_path, SOUND)
    table.record("built", {"cp310-abi3-win_amd64": "skipped: Only Windows builds it."}, tmp_path)
    table.record("built", {"cp314-cp314t-win_amd64": "60 s"}, tmp_path)
    table.record("checked", {"cp314-cp314t-win_amd64": "twine"}, tmp_path)
    run = {"file": NAME, "interpreter": "", "way": "", "seconds": 0.0, "outcome": "skipped", "why": "it needs Windows"}
    (tmp_path / "run.json").write_text(json.dumps([run]), encoding="utf-8")
    lines = table.table(tmp_path).splitlines()
    assert "| cp310-abi3-win_amd64 |  | skipped: Only Windows builds it. |  |  |" in lines
    assert "| cp314-cp314t-win_amd64 | 0.00 | 60 s | twine | skipped: it needs Windows |" in lines


def tool(folder: Path, name: str, said: str) -> None:
    """A program that says one thing."""
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{said}'\n", encoding="utf-8")
    path.chmod(0o755)


def hook(path: Path) -> subprocess.CompletedProcess[str]:
    """What pip's first question comes to where `path` alone is searched for programs."""
    question = (
        "import sys; sys.path.insert(0, sys.argv[1]); import backend; print(backend.get_requires_for_build_wheel())"
    )
    environment = {
        name: value for name, value in os.environ.items() if name not in {"RUSTC", "MATURIN_NO_INSTALL_RUST"}
    }
    return subprocess.run(
        [sys.executable, "-c", question, ROOM],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**environment, "PATH": str(path)},
    )


TELLS = (
    f"vgcore is built from source by Rust {RUST} or later, and %s: get it from https://rustup.rs, or take a wheel,"
    " which needs none, by `pip install --only-binary vgcore vgcore`.\n"
)


def test_who_has_no_cargo_is_told_in_a_sentence(tmp_path: Path) -> None:
    said = hook(tmp_path)
    assert said.returncode == 1
    assert said.stdout == ""
    assert said.stderr == TELLS % "no cargo is on the PATH"


@pytest.mark.skipif(os.name == "nt", reason="the stand-ins are scripts of a shell")
@pytest.mark.parametrize(
    ("rustc", "sentence"),
    [
        ("rustc 1.70.0 (90c541806 2023-05-31)", "rustc here is 1.70.0 (rustup update)"),
        (None, "its compiler, rustc, does not run"),
    ],
)
def test_whose_rust_is_too_old_or_halved_is_told_so(tmp_path: Path, rustc: str | None, sentence: str) -> None:
    tool(tmp_path, "cargo", "cargo 1.70.0")
    if rustc:
        tool(tmp_path, "rustc", rustc)
    said = hook(tmp_path)
    assert said.returncode == 1
    assert said.stderr == TELLS % sentence


@pytest.mark.skipif(os.name == "nt", reason="the stand-ins are scripts of a shell")
@pytest.mark.skipif(importlib.util.find_spec("maturin") is None, reason="maturin is not installed here")
def test_with_the_rust_for_it_nothing_is_fetched(tmp_path: Path) -> None:
    tool(tmp_path, "cargo", f"cargo {RUST}.0")
    tool(tmp_path, "rustc", f"rustc {RUST}.0 (0 2025-08-04)")
    said = hook(tmp_path)
    assert said.returncode == 0, said.stderr
    assert said.stdout == "[]\n"


@pytest.mark.skipif(os.name == "nt", reason="the paths are those of a POSIX machine")
def test_flags_rename_the_folders_of_the_builder(tmp_path: Path) -> None:
    tool(tmp_path, "rustc", "/opt/rust")
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": "/homes/ada", "RUSTFLAGS": "-Cdebuginfo=0"}
    said = subprocess.run(
        [sys.executable, ROOM / "remap.py", "-Ctarget-feature=+simd128"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert said.stdout.strip().split("\x1f") == [
        "-Cdebuginfo=0",
        "-Ctarget-feature=+simd128",
        "--remap-path-prefix=/homes/ada=/home",
        "--remap-path-prefix=/homes/ada/.cargo=/cargo",
        "--remap-path-prefix=/homes/ada/.cargo/registry/src=/crates",
        "--remap-path-prefix=/opt/rust=/rust",
        f"--remap-path-prefix={ROOT}=/vgcore",
    ]
