"""The gate of the public names: what breaks code written for the last tag must stand in the changelog."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("griffe", reason="griffe is not installed (group gates)")
if shutil.which("git") is None:
    pytest.skip("git is not installed", allow_module_level=True)

GATE = Path(__file__).parents[1] / "packaging" / "api.py"

FILES = {
    # As in vgcore: names are public by the stub, and imported when they are first asked for.
    "python/vgcore/__init__.py": "__getattr__ = __dir__ = __all__ = None\n",
    "python/vgcore/__init__.pyi": (
        'from . import maths, twin\nfrom .room.probe import probe\n__all__ = ["maths", "probe", "twin"]\n'
    ),
    "python/vgcore/room/__init__.py": "",
    "python/vgcore/room/probe.py": "def probe(net, *, seeds=1, width=8): ...\ndef inner(x): ...\n",
    "python/vgcore/maths.py": '__all__ = ["chi"]\ndef chi(q): ...\ndef own(q): ...\n',
    "python/vgcore/twin.py": '__all__ = ["slow"]\ndef slow(q): ...\n',
    "docs/api.md": "# Every public name\n\n::: vgcore.probe\n\n::: vgcore.maths.chi\n\n::: vgcore.twin\n",
    "CHANGELOG.md": "# Changelog\n\n## [Unreleased]\n\n## [1.0.0] - 2026-01-01\n\n### Changed\n\n- `probe` is quick.\n",
}


def git(root: Path, *words: str) -> None:
    settings = ("user.name=n", "user.email=n@example.org", "commit.gpgsign=false", "tag.gpgsign=false")
    given = [word for setting in settings for word in ("-c", setting)]
    subprocess.run(["git", *given, *words], cwd=root, check=True, capture_output=True)


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


@pytest.fixture
def released(tmp_path: Path) -> Path:
    write(tmp_path, FILES)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    git(tmp_path, "tag", "v1.0.0")
    return tmp_path


def gate(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(GATE), "--root", str(root)], capture_output=True, encoding="utf-8", check=False
    )


def probe(text: str) -> dict[str, str]:
    return {"python/vgcore/room/probe.py": text + "def inner(x):\n    return x\n"}


def changed(text: str) -> dict[str, str]:
    return {"CHANGELOG.md": FILES["CHANGELOG.md"].replace("[Unreleased]\n", f"[Unreleased]\n\n{text}\n")}


NARROW = probe("def probe(net, *, seeds=1):\n    return net\n")


def test_what_is_as_it_was_passes(released: Path) -> None:
    done = gate(released)
    assert (done.returncode, done.stdout) == (0, "api: breaks since v1.0.0: 0, each of them told in CHANGELOG.md\n")


def test_a_parameter_that_is_gone_fails_by_its_name(released: Path) -> None:
    write(released, NARROW)
    done = gate(released)
    assert done.returncode == 1
    assert "`probe(width)`: *Parameter was removed*, of which the changelog says nothing" in done.stdout
    assert "CHANGELOG.md" in done.stderr


def test_a_name_that_is_gone_fails(released: Path) -> None:
    write(released, {"python/vgcore/__init__.pyi": "__all__ = []\n", "docs/api.md": "", **probe("")})
    done = gate(released)
    assert done.returncode == 1
    assert "`probe`: *Public object was removed*" in done.stdout


def test_a_new_parameter_with_a_default_and_a_new_name_pass(released: Path) -> None:
    write(released, probe("def probe(net, *, seeds=1, width=8, depth=2):\n    return net\ndef more():\n    pass\n"))
    assert gate(released).returncode == 0


def test_a_module_stands_for_the_names_that_it_lists(released: Path) -> None:
    write(released, {"python/vgcore/maths.py": '__all__ = ["chi"]\ndef chi(q, c): ...\n'})
    done = gate(released)
    assert done.returncode == 1
    assert "`chi(c)`: *Parameter was added as required*" in done.stdout
    assert "own" not in done.stdout


def test_a_module_that_is_there_to_be_read_may_change(released: Path) -> None:
    write(released, {"python/vgcore/twin.py": "__all__ = []\n"})
    assert gate(released).returncode == 0


def test_another_default_is_a_break_and_another_spelling_of_it_is_none(released: Path) -> None:
    write(released, probe("def probe(net, *, seeds=ONE, width=16): ...\n"))
    done = gate(released)
    assert done.returncode == 1
    assert "`probe(width)`: *Parameter default was changed*: `8` -> `16`" in done.stdout
    assert "seeds" not in done.stdout


def test_what_is_not_public_may_change(released: Path) -> None:
    write(released, {"python/vgcore/room/probe.py": "def probe(net, *, seeds=1, width=8):\n    return net\n"})
    assert gate(released).returncode == 0


def test_a_public_name_may_move_to_another_file(released: Path) -> None:
    write(released, {"python/vgcore/room/other.py": FILES["python/vgcore/room/probe.py"]})
    write(released, {"python/vgcore/__init__.pyi": 'from .room.other import probe\n__all__ = ["probe"]\n', **probe("")})
    assert gate(released).returncode == 0


@pytest.mark.parametrize("part", ["Changed", "Removed"])
def test_a_break_that_the_changelog_tells_passes(released: Path, part: str) -> None:
    write(released, NARROW | changed(f"### {part}\n\n- `vg.probe(net, width=)` takes the width of the net.\n"))
    done = gate(released)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (
        0,
        "api: breaks since v1.0.0: 1, each of them told in CHANGELOG.md",
    )


@pytest.mark.parametrize(
    "text",
    [
        "### Added\n\n- `vg.probe` is there.\n",
        "### Changed\n\n- What a probe says.\n",
        "### Changed\n\n- `vg.probes` and `reprobe`.\n",
        "",  # where the section of the release itself names it
    ],
)
def test_a_break_that_the_changelog_tells_elsewhere_or_otherwise_fails(released: Path, text: str) -> None:
    write(released, NARROW | changed(text))
    assert gate(released).returncode == 1


def test_without_a_tag_nothing_can_break(released: Path) -> None:
    git(released, "tag", "--delete", "v1.0.0")
    write(released, NARROW)
    done = gate(released)
    assert (done.returncode, done.stdout) == (
        0,
        "api: no tag is reached from here: nothing is released yet, so nothing can break\n",
    )


def test_a_tag_that_is_no_version_is_passed_over(released: Path) -> None:
    write(released, NARROW)
    git(released, "commit", "--quiet", "--all", "--message", "second")
    git(released, "tag", "nightly")
    done = gate(released)
    assert done.returncode == 1
    assert "this breaks code written for v1.0.0" in done.stderr


def test_a_shallow_clone_has_no_tag_and_passes(released: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    write(released, NARROW)
    git(released, "commit", "--quiet", "--all", "--message", "second")
    clone = tmp_path_factory.mktemp("shallow")
    git(clone, "clone", "--quiet", "--depth", "1", "--no-tags", released.as_uri(), "here")
    assert "no tag is reached" in gate(clone / "here").stdout


def test_a_tree_without_git_passes(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    assert "no tag is reached" in gate(tmp_path).stdout
