"""The table of wheels: for which machines and interpreters, and what a machine needs to build each."""

import importlib.util
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

# Tags of interpreter and ABI, and the interpreter that maturin is asked for: one wheel for all from 3.10 on, and one
# for the free-threaded, which has no stable ABI before 3.15. Neither need be installed but on Windows: maturin knows of
# them by these numbers.
INTERPRETERS = {"cp310-abi3": "3.10", "cp314-cp314t": "3.14t"}


@dataclass(frozen=True)
class Target:
    """A machine: what Rust calls it, and what a wheel's name calls it."""

    triple: str
    tag: str

    @property
    def system(self) -> str:
        """The system, in the words of `platform.system`."""
        return next(name for name in ("Linux", "Darwin", "Windows") if name.lower() in self.triple)


TARGETS = (
    Target("x86_64-unknown-linux-gnu", "manylinux_2_17_x86_64"),
    Target("aarch64-unknown-linux-gnu", "manylinux_2_17_aarch64"),
    Target("x86_64-unknown-linux-musl", "musllinux_1_2_x86_64"),
    Target("aarch64-unknown-linux-musl", "musllinux_1_2_aarch64"),
    Target("aarch64-apple-darwin", "macosx_11_0_arm64"),
    Target("x86_64-apple-darwin", "macosx_10_12_x86_64"),
    Target("x86_64-pc-windows-msvc", "win_amd64"),
)


@dataclass(frozen=True)
class Row:
    """A wheel: of which target, by which interpreter and ABI."""

    target: Target
    abi: str

    @property
    def name(self) -> str:
        """How the wheel's file is called behind the version: `cp310-abi3-manylinux_2_17_x86_64`."""
        return f"{self.abi}-{self.target.tag}"


ROWS = tuple(Row(target, abi) for abi in INTERPRETERS for target in TARGETS)


def chosen(words: list[str]) -> list[Row]:
    """The rows whose name holds one of the words; all of them without a word."""
    for word in words:
        if not any(word in row.name for row in ROWS):
            raise SystemExit(f"{word!r} is in no name of a wheel: {', '.join(row.name for row in ROWS)}")
    return [row for row in ROWS if not words or any(word in row.name for word in words)]


def row_of(file: Path) -> Row | None:
    """The row that a wheel belongs to by its name, if any; a platform may have two tags, joined by a dot."""
    *abi, platforms = file.name.removesuffix(".whl").split("-")[-3:]
    return next((row for row in ROWS if row.abi == "-".join(abi) and row.target.tag in platforms.split(".")), None)


def zig(target: Target) -> bool:
    """Whether zig links it: on Linux all but Windows, so that a wheel asks for an old glibc; elsewhere nothing."""
    return platform.system() == "Linux" and target.system != "Windows"


def linker(target: Target) -> str | None:
    """Why nothing here links for a target, as a sentence; None if something does."""
    if target.system == "Windows" and platform.system() != "Windows":
        return (
            "Only Windows has Microsoft's linker; MinGW's refuses the name that maturin gives the module, with a dot."
        )
    if not zig(target) and target.system != platform.system():
        return "It is built on its own system, or by zig on Linux."
    if zig(target) and importlib.util.find_spec("ziglang") is None:
        return "The linker, zig, is not installed (pip install --group dist)."
    return None


def library(target: Target) -> bool:
    """Whether Rust's library for a target is installed."""
    command = ["rustc", "--print", "target-libdir", "--target", target.triple]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return bool(found) and Path(found).is_dir()


def missing(target: Target) -> str | None:
    """What this machine lacks to build for a target, as a sentence; None if nothing."""
    if lack := linker(target):
        return lack
    return None if library(target) else f"Rust's library for it is not installed (rustup target add {target.triple})."


if __name__ == "__main__":
    for row in chosen(sys.argv[1:]):
        print(f"{row.name}: {missing(row.target) or 'can be built here'}")
