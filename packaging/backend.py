"""What pip calls to build vgcore from source: maturin, once it is known that the Rust for it is here.

Where cargo is missing, maturin would download a whole toolchain; where it is too old, cargo would fail after a page of
output. Here one sentence says what is missing, before anything is built or fetched.
"""

from __future__ import annotations  # pip asks an older Python too, before it says that it is too old

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path


def needed() -> str:
    """The oldest Rust that builds vgcore, as Cargo.toml has it."""
    cargo = (Path(__file__).resolve().parents[1] / "Cargo.toml").read_text(encoding="utf-8")
    return cargo.split('rust-version = "')[1].split('"')[0]


def lack() -> str | None:
    """What is missing of Rust, in words; None if nothing is."""
    if not shutil.which("cargo"):
        return "no cargo is on the PATH"
    try:
        said = subprocess.run(
            [os.environ.get("RUSTC", "rustc"), "--version"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "its compiler, rustc, does not run"
    found = re.search(r"\d+(\.\d+)+", said.stdout)
    if found and numbers(found[0]) < numbers(needed()):
        return f"rustc here is {found[0]} (rustup update)"
    return None


def numbers(version: str) -> list[int]:
    """A version, to be compared."""
    return [int(number) for number in version.split(".")]


if missing := lack():
    sys.exit(
        f"vgcore is built from source by Rust {needed()} or later, and {missing}: get it from https://rustup.rs,"
        " or take a wheel, which needs none, by `pip install --only-binary vgcore vgcore`."
    )

# maturin warns that another backend is named than itself, which is meant.
os.environ["MATURIN_NO_MISSING_BUILD_BACKEND_WARNING"] = "1"

from maturin import (  # noqa: E402 - needs Rust
    build_editable,
    build_sdist,
    build_wheel,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]
