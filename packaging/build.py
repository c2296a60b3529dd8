"""Build into target/dist: the sdist, and each wheel of the table that this machine can build.

python packaging/build.py sdist
python packaging/build.py wheels [WORD ...]    all that can be built here, or those with a word in their name
python packaging/build.py from-sdist           a wheel of the sdist, as pip makes it, thrown away
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import remap
from table import DIST, record
from targets import INTERPRETERS, Row, Target, chosen, library, linker, missing, row_of, zig

MATURIN = (sys.executable, "-m", "maturin")
# maturin asks the first Python for zig, and the backend of the sdist calls `maturin`: both lie beside this Python.
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


def sdist() -> None:
    """The source distribution, in place of an older one."""
    for old in DIST.glob("vgcore-*.tar.gz"):
        old.unlink()
    subprocess.run([*MATURIN, "sdist", "--out", DIST], cwd=remap.ROOT, check=True)


def wheel(row: Row) -> None:
    """The wheel of a row, in place of an older one."""
    for old in DIST.glob("vgcore-*.whl"):
        if row_of(old) == row:
            old.unlink()
    command = [*MATURIN, "build", "--locked", "--release", "--out", str(DIST), "--target", row.target.triple]
    # Windows links with the interpreter, which must be found by its name; elsewhere one that is found may be of another
    # system than the target.
    command += ["--interpreter", ("python" if row.target.system == "Windows" else "") + INTERPRETERS[row.abi]]
    if row.target.system == "Linux":
        command += ["--compatibility", row.target.tag.removesuffix(f"_{row.target.triple.split('-')[0]}")]
    if zig(row.target):
        command.append("--zig")
    environment = {**os.environ, "PATH": PATH, "CARGO_ENCODED_RUSTFLAGS": remap.flags()}
    subprocess.run(command, cwd=remap.ROOT, env=environment, check=True)
    if not any(row_of(path) == row for path in DIST.glob("vgcore-*.whl")):
        raise SystemExit(f"maturin gave another wheel than {row.name}: {sorted(path.name for path in DIST.iterdir())}")


def add(target: Target) -> None:
    """Ask rustup for Rust's library of a target, where it lacks nothing else; it may not answer."""
    if shutil.which("rustup") and linker(target) is None and not library(target):
        subprocess.run(["rustup", "target", "add", target.triple], check=False)


def wheels(words: list[str]) -> None:
    """The wheels of the rows chosen; without a word, what cannot be built here is named and left out."""
    if words:  # what was asked for may be fetched, as `make wasm` does
        for target in {row.target for row in chosen(words)}:
            add(target)
    rows = {row: missing(row.target) for row in chosen(words)}
    if words and any(rows.values()):
        raise SystemExit("\n".join(f"{row.name} cannot be built here. {lack}" for row, lack in rows.items() if lack))
    for row, lack in rows.items():
        if lack:
            print(f"skipped {row.name}: {lack}", flush=True)
            record("built", {row.name: f"skipped: {lack}"})
            continue
        print(f"\n-- {row.name}", flush=True)
        start = time.monotonic()
        wheel(row)
        record("built", {row.name: f"{time.monotonic() - start:.0f} s"})


def from_sdist() -> None:
    """A wheel by what the sdist holds alone, by its own backend; unoptimised, since it is thrown away."""
    (source,) = DIST.glob("vgcore-*.tar.gz")
    quick = {"CARGO_PROFILE_RELEASE_LTO": "off", "CARGO_PROFILE_RELEASE_OPT_LEVEL": "0"}
    environment = {**os.environ, **quick, "PATH": PATH, "CARGO_TARGET_DIR": str(remap.ROOT / "target" / "from-sdist")}
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder]
        subprocess.run([*command, source], env=environment, check=True)
    shutil.rmtree(environment["CARGO_TARGET_DIR"])
    record("built", {source.name: f"a wheel of it in {time.monotonic() - start:.0f} s"})


if __name__ == "__main__":
    step, *words = sys.argv[1:] or [""]
    if step == "sdist":
        sdist()
    elif step == "wheels":
        wheels(words)
    elif step == "from-sdist":
        from_sdist()
    else:
        raise SystemExit(__doc__)
