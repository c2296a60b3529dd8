"""A tag is given to a tree that says its version everywhere, and its notes are the changelog's; what a version promises
is what the code says."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import vgcore as vg
from vgcore.measure import table
from vgcore.model.spec import NEWEST

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "packaging" / "tag.py"
SAY_IT = ("Cargo.toml", "Cargo.lock", "fuzz/Cargo.lock", "CITATION.cff")
CHANGELOG = """\
# Changelog

## [Unreleased]

## [{version}] - {date}

What is new.

### Added

- A thing.

## [0.0.1] - 2020-01-01

- The first.
"""


def value(name: str, path: Path = ROOT / "CITATION.cff") -> str:
    """A field of CITATION.cff."""
    (found,) = re.findall(rf"^{name}: (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return str(found)


VERSION, DATE = value("version"), value("date-released")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What a tag is held to, as it stands here, with a changelog that is ready for it."""
    for name in SAY_IT:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "docs").mkdir()
    minor = VERSION.rpartition(".")[0]
    (tmp_path / "docs" / "upgrading.md").write_text(f"## From 0.0 to {minor}: before\n", encoding="utf-8")
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG.format(version=VERSION, date=DATE), encoding="utf-8")
    return tmp_path


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def check(tree: Path, tag: str = f"v{VERSION}") -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(SCRIPT), tag, "--root", str(tree)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def refusal(tree: Path, tag: str = f"v{VERSION}") -> list[str]:
    """What a tree that is not ready is told, a line a fault."""
    done = check(tree, tag)
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr.splitlines()


def test_the_notes_of_a_tag_are_the_section_of_its_version(tree: Path) -> None:
    done = check(tree)
    assert (done.returncode, done.stdout, done.stderr) == (0, "What is new.\n\n### Added\n\n- A thing.\n", "")


def test_a_changelog_without_a_head_for_what_comes_next_will_do(tree: Path) -> None:
    replace(tree / "CHANGELOG.md", "## [Unreleased]\n\n", "")
    assert check(tree).returncode == 0


@pytest.mark.parametrize("tag", [VERSION, f"v{VERSION}.1", "v1", "release", f"v{VERSION}rc1"])
def test_a_tag_of_another_form_is_refused(tree: Path, tag: str) -> None:
    assert refusal(tree, tag) == [f"a tag is vX.Y.Z, as in v0.2.0, got {tag!r}"]


def test_a_tag_of_another_version_is_told_of_every_file(tree: Path) -> None:
    assert refusal(tree, "v7.8.9") == [
        *(f"{name} says {VERSION}, and the tag 7.8.9" for name in SAY_IT),
        "CHANGELOG.md has no section [7.8.9]",
    ]


@pytest.mark.parametrize("name", SAY_IT)
def test_a_file_that_says_another_version_is_named(tree: Path, name: str) -> None:
    before = f'name = "vgcore"\nversion = "{VERSION}"' if name != "CITATION.cff" else f"\nversion: {VERSION}"
    replace(tree / name, before, before.replace(VERSION, "9.9.9"))
    assert refusal(tree) == [f"{name} says 9.9.9, and the tag {VERSION}"]


def test_lines_that_are_not_released_are_not_left_behind(tree: Path) -> None:
    replace(tree / "CHANGELOG.md", "## [Unreleased]\n", "## [Unreleased]\n\n- A thing more.\n")
    assert refusal(tree) == [f"CHANGELOG.md has lines under [Unreleased]; they belong to [{VERSION}] or to a later tag"]


def test_a_section_without_a_date_is_refused(tree: Path) -> None:
    replace(tree / "CHANGELOG.md", f" - {DATE}", "")
    assert refusal(tree) == [f"the section [{VERSION}] of CHANGELOG.md has no date, as in ## [{VERSION}] - 2026-12-01"]


def test_a_date_that_the_citation_does_not_have_is_refused(tree: Path) -> None:
    replace(tree / "CHANGELOG.md", f" - {DATE}", " - 1999-12-31")
    assert refusal(tree) == [f"CITATION.cff was released on {DATE}, and CHANGELOG.md says 1999-12-31"]


def test_a_date_that_is_to_come_is_refused(tree: Path) -> None:
    for name in ("CHANGELOG.md", "CITATION.cff"):
        replace(tree / name, DATE, "2999-01-31")
    assert refusal(tree) == [f"the section [{VERSION}] of CHANGELOG.md is of 2999-01-31, which is to come"]


@pytest.mark.skipif(not VERSION.endswith(".0"), reason="a patch needs no upgrade notes")
def test_a_minor_release_without_upgrade_notes_is_refused(tree: Path) -> None:
    (tree / "docs" / "upgrading.md").write_text("## From 0.0 to 0.0.1\n", encoding="utf-8")
    assert refusal(tree) == [f"docs/upgrading.md has no section on how to get to {VERSION.rpartition('.')[0]}"]


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_a_tag_is_never_moved_and_holds_all_that_was_changed(tree: Path) -> None:
    def git(*words: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        return subprocess.run(["git", *identity, *words], cwd=tree, capture_output=True, text=True, check=True).stdout

    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message", "one")
    git("tag", f"v{VERSION}")
    assert check(tree).returncode == 0  # as in CI, where the tag is on what is checked out
    first = git("rev-parse", "HEAD")[:7]
    replace(tree / "CHANGELOG.md", "A thing.", "Another thing.")
    assert refusal(tree) == ["what is changed and not committed is in no tag: CHANGELOG.md"]
    git("commit", "--quiet", "--all", "--message", "two")
    assert refusal(tree) == [f"the tag v{VERSION} is on another commit, {first}, and a tag is never moved"]


def test_an_older_section_is_not_released_again(tree: Path) -> None:
    replace(tree / "CHANGELOG.md", f"## [{VERSION}]", f"## [9.9.9] - {DATE}\n\n- A thing.\n\n## [{VERSION}]")
    assert refusal(tree) == ["the newest section of CHANGELOG.md is [9.9.9]"]


def test_an_empty_section_is_refused(tree: Path) -> None:
    replace(tree / "CHANGELOG.md", "What is new.\n\n### Added\n\n- A thing.\n\n", "")
    assert refusal(tree) == [f"the section [{VERSION}] of CHANGELOG.md is empty"]


def test_the_changelog_of_this_tree_has_a_dated_section_of_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    assert headings[1] == f"[{VERSION}] - {DATE}"
    dates = [re.fullmatch(r"\[\d+\.\d+\.\d+\] - (\d{4}-\d\d-\d\d)", heading) for heading in headings[1:]]
    assert all(dates)
    assert [found[1] for found in dates if found] == sorted((found[1] for found in dates if found), reverse=True)


# What a version promises

PAGE = (ROOT / "docs" / "versions.md").read_text(encoding="utf-8")


def test_the_page_of_versions_knows_the_stream_of_this_core() -> None:
    rows = re.findall(r"^\| (\d+) \| (\d+\.\d+\.\d+) \|", PAGE, flags=re.MULTILINE)
    assert int(rows[-1][0]) == vg.build_info()["stream_version"]
    released = re.findall(r"^## \[(\d.+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert {version for _, version in rows} <= {*released}


def test_the_page_of_versions_knows_the_files_that_are_read() -> None:
    assert f"`vgcore_format`, now {NEWEST};" in PAGE
    for layout, column in table.LAYOUTS.items():
        assert f"`{column}`: layout {layout}" in PAGE


@pytest.mark.parametrize(
    ("name", "pattern", "file"),
    [
        ("**Python** from", r'^requires-python = ">=(.+)"$', "pyproject.toml"),
        ("**NumPy** from", r'"numpy>=([\d.]+)"', "pyproject.toml"),
        ("**Rust** from", r'^rust-version = "(.+)"$', "Cargo.toml"),
    ],
)
def test_the_page_of_versions_says_what_is_needed(name: str, pattern: str, file: str) -> None:
    (least,) = re.findall(pattern, (ROOT / file).read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert f"{name} {least} on" in PAGE
    if file == "Cargo.toml":
        assert f"needs Rust {least} " in (ROOT / "README.md").read_text(encoding="utf-8")
