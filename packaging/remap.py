"""Flags of rustc that keep the builder's folders out of what is released: `CARGO_ENCODED_RUSTFLAGS` of its builds.

Panics name the source they are in, as the compiler saw it: a home directory with the name of its owner.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOME = Path.home()
CARGO = Path(os.environ.get("CARGO_HOME", HOME / ".cargo"))


def sysroot() -> Path:
    """The folder of the toolchain, in which the sources of the standard library may lie."""
    found = subprocess.run(["rustc", "--print", "sysroot"], cwd=ROOT, capture_output=True, text=True, check=True)
    return Path(found.stdout.strip())


def flags(*more: str) -> str:
    """What `CARGO_ENCODED_RUSTFLAGS` should be: the flags given, those of the shell's RUSTFLAGS, and the new names."""
    # The last that fits a path wins.
    names = {HOME: "/home", CARGO: "/cargo", CARGO / "registry" / "src": "/crates", sysroot(): "/rust", ROOT: "/vgcore"}
    remapped = (f"--remap-path-prefix={path}={name}" for path, name in names.items())
    return "\x1f".join([*os.environ.get("RUSTFLAGS", "").split(), *more, *remapped])


if __name__ == "__main__":
    print(flags(*sys.argv[1:]), end="")  # a line end of Windows would become part of the last name
