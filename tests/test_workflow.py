"""Workflows hold nothing untried: each command is a make target, each action is pinned, one job may publish."""

import importlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
NAMES = [path.name for path in FILES]
if not FILES:
    pytest.skip("this tree has no workflows, as an sdist", allow_module_level=True)


def read(name: str) -> dict[Any, Any]:
    """A workflow; its key `on` is true in YAML 1.1."""
    found: dict[Any, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text(encoding="utf-8"))
    return found


def jobs(name: str) -> dict[str, Any]:
    return dict(read(name)["jobs"])


def steps(name: str) -> Iterator[dict[str, Any]]:
    return (step for job in jobs(name).values() for step in job["steps"])


PUBLISH = jobs("publish.yml")


@pytest.fixture(scope="module")
def targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = re.findall(r"^([a-z][a-z -]*):(?!=)", makefile, flags=re.MULTILINE)
    return {word for line in named for word in line.split()}


@pytest.mark.parametrize("name", NAMES)
def test_every_command_is_one_make_target_that_there_is(name: str, targets: set[str]) -> None:
    commands = [step["run"] for step in steps(name) if "run" in step]
    assert commands
    for command in commands:
        # A variable is expanded by the shell, in quotes, and never by the workflow's templates.
        found = re.fullmatch(r'make ([a-z][a-z-]*)( [A-Z]+="\$[A-Z_]+")*', command)
        assert found, command
        assert found[1] in targets


@pytest.mark.parametrize("name", NAMES)
def test_every_action_is_pinned_by_its_whole_hash_and_says_its_version(name: str) -> None:
    lines = [line for line in (ROOT / ".github" / "workflows" / name).read_text().splitlines() if "uses:" in line]
    assert len(lines) == sum("uses" in step for step in steps(name)) > 0
    for line in lines:
        assert re.fullmatch(r"      - uses: [\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)


def test_an_action_has_one_pin_in_all_workflows() -> None:
    pins = {step["uses"] for name in NAMES for step in steps(name) if "uses" in step}
    assert len(pins) == len({pin.partition("@")[0] for pin in pins})


@pytest.mark.parametrize("name", NAMES)
def test_a_job_reads_what_it_needs_and_ends(name: str) -> None:
    assert read(name)["permissions"] == {}
    for job in jobs(name).values():
        assert job["permissions"] in ({"contents": "read"}, {"id-token": "write"})
        assert job["timeout-minutes"] <= 120
    for step in steps(name):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_one_job_may_publish_and_does_so_for_a_tag_after_all_others() -> None:
    able = [(name, key) for name in NAMES for key, job in jobs(name).items() if "id-token" in job["permissions"]]
    assert able == [("publish.yml", "publish")]
    job = PUBLISH["publish"]
    assert job["environment"]["name"] == "pypi"
    assert set(job["needs"]) == set(PUBLISH) - {"publish"}
    # A run that somebody starts by hand is a dry one; the only push that starts one is that of a tag.
    assert job["if"] == "github.event_name == 'push'"
    assert read("publish.yml")[True] == {"push": {"tags": ["v*"]}, "workflow_dispatch": None}
    # Nothing of the repository runs where that right is.
    assert [step["uses"].partition("@")[0] for step in job["steps"]] == [
        "actions/download-artifact",
        "pypa/gh-action-pypi-publish",
    ]


def matrix(job: str) -> dict[str, str]:
    return {each["target"]: each["runner"] for each in PUBLISH[job]["strategy"]["matrix"]["include"]}


def test_every_target_of_the_table_is_built_and_all_but_musl_are_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "packaging"))
    table = [target.tag for target in importlib.import_module("targets").TARGETS]
    assert list(matrix("build")) == table
    assert list(matrix("run")) == [tag for tag in table if not tag.startswith("musl")]


def test_a_wheel_is_run_on_a_machine_of_its_own_kind() -> None:
    systems = {"manylinux": "ubuntu", "macosx": "macos", "win": "windows"}
    for tag, runner in matrix("run").items():
        assert systems[re.split(r"[^a-z]", tag)[0]] in runner
        assert ("aarch64" in tag) == ("-arm" in runner)
        assert (tag.startswith("macosx") and "x86_64" in tag) == ("-intel" in runner)


def test_what_is_uploaded_is_what_the_last_job_downloads() -> None:
    uploads = [
        step["with"]
        for job in PUBLISH.values()
        for step in job["steps"]
        if step.get("uses", "").startswith("actions/upload-artifact@")
    ]
    assert {each["name"] for each in uploads} == {"dist-sdist", "dist-${{ matrix.target }}"}
    assert all(each["path"].startswith("target/dist/vgcore-") for each in uploads)
    assert all(each["if-no-files-found"] == "error" for each in uploads)
    assert PUBLISH["publish"]["steps"][0]["with"]["pattern"] == "dist-*"


def test_pins_of_every_kind_are_kept_young() -> None:
    updates = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text(encoding="utf-8"))["updates"]
    assert [each["package-ecosystem"] for each in updates] == ["github-actions", "cargo", "pip"]
    assert all(each["cooldown"]["default-days"] >= 7 for each in updates)


def test_zizmor_finds_nothing() -> None:
    zizmor = shutil.which("zizmor", path=str(Path(sys.executable).parent))
    if zizmor is None:
        pytest.skip("zizmor is not installed (group gates)")
    command = [zizmor, "--offline", "--persona", "pedantic", str(ROOT / ".github")]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout
    assert "No findings" in done.stdout
