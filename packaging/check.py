"""Check the wheels and the sdist of a folder: what is in them, what they ask of a machine, who built them.

    python packaging/check.py [FOLDER]    target/dist, whose table is told; or target/wheels

A fault is printed as a sentence, and the exit code is 1. What no tool could look at is said beside what was sound.
"""

import email
import json
import re
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import remap
import tags
from table import DIST, named, record

LICENCES = ("LICENSE", "LICENSE-MIT", "LICENSE-APACHE", "python/vgcore/data/digits.NOTICE.txt")
SOURCES = ("Cargo.toml", "Cargo.lock", "pyproject.toml", "README.md", "packaging/backend.py", "build.rs", "src/lib.rs")
ENGINE = "vgcore/explore/static/vgcore.wasm"
LARGEST = 5_000_000
# What was made on the way, and has no place in a source distribution.
JUNK = re.compile(
    r"\.(so|pyd|dylib|dll|pyc|wasm|whl)$|__pycache__|(^|/)(target|\.hypothesis|\.\w+_cache|\.venv[\w-]*)/"
)
# The folders of this builder, and those that another is likely to have; `/src` alone would be found in anything.
FOLDERS = [path for path in (remap.ROOT, remap.HOME, remap.CARGO) if len(path.parts) > 2]
BUILDER = re.compile(
    b"|".join(
        [
            *(re.escape(bytes(path)) + rb"[/\\]" for path in FOLDERS),
            *(rb"/home/[\w.-]+/", rb"/Users/[\w.-]+/", rb"/root/", rb"[A-Z]:\\Users\\", rb"/runner/work/"),
            *(rb"\.cargo[/\\]registry", rb"\.rustup[/\\]toolchains", rb"site-packages[/\\]"),
        ]
    )
)


@dataclass(frozen=True)
class Distribution:
    """A wheel or an sdist, unpacked in memory."""

    path: Path

    @property
    def is_wheel(self) -> bool:
        """Whether it is a wheel; an sdist otherwise."""
        return self.path.suffix == ".whl"

    @cached_property
    def members(self) -> dict[str, bytes]:
        """The bytes of each file, by its name; that of an sdist without the folder that all are in."""
        if self.is_wheel:
            with zipfile.ZipFile(self.path) as wheel:
                return {name: wheel.read(name) for name in wheel.namelist()}
        with tarfile.open(self.path) as sdist:
            found = {file.name.split("/", 1)[1]: sdist.extractfile(file) for file in sdist if file.isfile()}
            return {name: file.read() for name, file in found.items() if file}

    def within(self, ending: str) -> list[str]:
        """The members whose name ends so."""
        return [name for name in self.members if name.endswith(ending)]


def version() -> str:
    """The version of Cargo.toml, which is the only place that has one."""
    return (remap.ROOT / "Cargo.toml").read_text(encoding="utf-8").split('version = "')[1].split('"')[0]


def metadata(file: Distribution) -> list[str]:
    """Name, version, Python, licence and words of the package's page."""
    (name,) = file.within(".dist-info/METADATA") if file.is_wheel else ["PKG-INFO"]
    told = email.message_from_bytes(file.members[name])
    expected = {
        "Name": "vgcore",
        "Version": version(),
        "Requires-Python": ">=3.10",
        "License-Expression": "MIT OR Apache-2.0",
    }
    faults = [
        f"Its {field} is {told[field]!r}, not {right!r}." for field, right in expected.items() if told[field] != right
    ]
    if not any(line.startswith("numpy") for line in told.get_all("Requires-Dist", [])):
        faults.append("It does not ask for NumPy.")
    if "# vgcore" not in str(told.get_payload()):
        faults.append("It lacks the text of README.md.")
    return faults


def size(file: Distribution) -> list[str]:
    """A file that is quickly there."""
    found = file.path.stat().st_size
    return [f"It has {found / 1e6:.1f} MB; {LARGEST / 1e6:.0f} are allowed."] if found > LARGEST else []


def licences(file: Distribution) -> list[str]:
    """The licences of code and data."""
    folder = ".dist-info/licenses/" if file.is_wheel else ""
    held = set(file.members)
    return [
        f"It lacks the licence file {name}."
        for name in LICENCES
        if not any(member.endswith(folder + name) for member in held)
    ]


def ingredients(file: Distribution) -> list[str]:
    """An SBOM, which names the crates that were compiled in."""
    boms = [json.loads(file.members[name]) for name in file.members if ".dist-info/sboms/" in name]
    if not boms:
        return ["It lacks an SBOM."]
    named = {part["name"] for bom in boms for part in bom.get("components", [])}
    return [] if {"pyo3", "numpy", "libm"} <= named else [f"Its SBOM names {sorted(named)} alone."]


def builder(file: Distribution) -> list[str]:
    """No path of the machine that built it."""
    return [
        f"{name} holds a path of its builder: {found[0].decode()!r}."
        for name, content in file.members.items()
        if (found := BUILDER.search(content))
    ]


def engine(file: Distribution) -> list[str]:
    """What a saved page measures with: in all that is released, and in other wheels where this toolchain makes it."""
    due = file.path.resolve().parent == DIST or (remap.ROOT / "python" / ENGINE).exists()
    return [f"It lacks {ENGINE} (make wasm)."] if due and ENGINE not in file.members else []


def sources(file: Distribution) -> list[str]:
    """All that a build needs, and nothing that one made."""
    lacking = [f"It lacks {name}." for name in SOURCES if name not in file.members]
    return lacking + [f"It holds {name}, which is made." for name in file.members if JUNK.search(name)]


WHEEL = (metadata, size, licences, ingredients, builder, engine)
SDIST = (metadata, size, licences, builder, sources)


def checked(path: Path) -> tuple[list[str], list[str]]:
    """The faults of a file, and what was looked at or could not be."""
    file = Distribution(path)
    checks = WHEEL if file.is_wheel else SDIST
    faults = [fault for check in checks for fault in check(file)]
    seen = [check.__name__ for check in checks]
    for check in (tags.platform, tags.abi, tags.page) if file.is_wheel else (tags.page,):
        found = check(path)
        faults += found.faults
        seen.append(found.words)
    return faults, seen


def main(folder: Path) -> int:
    """Check what is in a folder, and tell."""
    paths = sorted([*folder.glob("*.whl"), *folder.glob("*.tar.gz")])
    if not paths:
        raise SystemExit(f"{folder} holds no wheel and no sdist: make dist-wheels sdist")
    told = {}
    for path in paths:
        faults, seen = checked(path)
        told[named(path)] = "fault: " + " ".join(faults) if faults else ", ".join(seen)
        print(f"{path.name} ({path.stat().st_size / 1e6:.2f} MB): {', '.join(seen)}")
        for fault in faults:
            print(f"    FAULT {fault}")
    if folder.resolve() == DIST:
        record("checked", told)
    return int(any(words.startswith("fault") for words in told.values()))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if sys.argv[1:] else DIST))
