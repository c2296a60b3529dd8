"""Install the wheels of a folder into empty environments, and ask each what `smoke.py` asks: `run.py target/dist`.

Every Python that is found gets an environment of its own, into which pip installs vgcore from the folder alone; what it
depends on is downloaded into a folder beside before. The oldest interpreter of each wheel runs it in further ways:
without vector instructions, on an emulated CPU of 2008. A Debian root brings interpreters of another processor, which
qemu emulates, and newer ones. What cannot run here is named with the reason, and is no error; what fails is.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from email.parser import Parser
from itertools import product
from pathlib import Path

SMOKE = Path(__file__).with_name("smoke.py")

# The last is what Windows calls each of them, in a folder of its own.
NAMES = [*(f"python3.{minor}" for minor in range(10, 16)), "python3.14t", "python3.15t", "python"]

# What a CPU of 2008 has is less than AVX2, and all that NumPy asks for.
OLD_CPU = "Nehalem"

# Seconds that all questions may take at most.
MOST = 1800

FACTS = """
import json, platform, sys, sysconfig
sys.path.insert(0, sys.argv[1])
from pip._vendor.packaging.tags import sys_tags
free = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
tags = [str(tag) for tag in sys_tags()]
musl = any("musllinux" in tag for tag in tags)
name = f"{platform.python_version()}{'t' if free else ''} {platform.system()} {platform.machine().lower()}"
print(json.dumps({"name": name + " musl" * musl, "short": [*sys.version_info[:2], free], "tags": tags}))
"""


@dataclass(frozen=True)
class Interpreter:
    """A Python: the words that start it, what it is called, and the tags of the wheels that it takes."""

    path: str
    name: str
    tags: frozenset[str]
    sort: tuple[object, ...]
    launcher: tuple[str, ...] = ()

    @property
    def emulated(self) -> bool:
        """Whether another processor is played."""
        return any("qemu" in word for word in self.launcher[:1])


@dataclass(frozen=True)
class Way:
    """A way to run an interpreter: words before it, its environment, and the instruction set that must be in use."""

    name: str
    launcher: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    isa: str | None = None
    missing: str = ""


@dataclass(frozen=True)
class Root:
    """A Debian tree of files that brings interpreters: a release, and an architecture in the words of both."""

    suite: str
    debian: str
    machine: str
    packages: str


ROOTS = (
    Root("bookworm", "arm64", "aarch64", "python3,libstdc++6"),
    Root("forky", "amd64", "x86_64", "python3,python3.15,libstdc++6"),
)


@dataclass(frozen=True)
class Row:
    """One line of the result: `outcome` is passed, failed or skipped, and `why` says what was seen or is missing."""

    file: str
    interpreter: str
    way: str
    seconds: float
    outcome: str
    why: str


def clean_environment(further: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment, without what would let an interpreter see anything but its own packages."""
    ours = ("PYTHON", "VGCORE_", "VIRTUAL_ENV", "PIP_FIND_LINKS", "PIP_NO_INDEX")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)} | dict(further or {})


def words_of(command: Sequence[str | Path], cwd: Path, further: Mapping[str, str] | None = None) -> tuple[int, str]:
    """The exit code of a command, and all that it printed."""
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=clean_environment(further),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=MOST,
            check=False,
        )
    except OSError as error:
        return 1, str(error)
    except subprocess.TimeoutExpired:
        return 1, f"it was not done after {MOST} s"
    said = done.stdout.decode("utf-8", "replace")
    if done.returncode < 0:
        said += f"\nit was ended by {signal.Signals(-done.returncode).name}"
    return done.returncode, said


def tags_of(file: str) -> frozenset[str]:
    """The tags of a wheel, which its name holds in a short form."""
    *_, python, abi, system = file.removesuffix(".whl").split("-")
    return frozenset("-".join(each) for each in product(python.split("."), abi.split("."), system.split(".")))


def last_line(text: str) -> str:
    """The last line with anything in it, or what smoke.py complains of."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return next((line for line in lines if line.startswith("smoke:")), lines[-1] if lines else "it printed nothing")


class Room:
    """Where all of this happens: roots, downloads and environments, kept in `target/`."""

    def __init__(self, wheels: Path, cache: Path) -> None:
        self.wheels, self.cache, self.packages = wheels.resolve(), cache.resolve(), cache.resolve() / "packages"
        self.files = sorted(file.name for file in wheels.glob("vgcore-*.whl"))
        for folder in "packages", "roots", "logs":
            (self.cache / folder).mkdir(parents=True, exist_ok=True)
        self.absent: dict[str, str] = {}

    def pip(self) -> Path:
        """A pip that any interpreter can run from its file: nothing of an environment needs it there."""
        if not list(self.packages.glob("pip-*.whl")):
            command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(self.packages), "pip"]
            code, said = words_of(command, self.cache)
            if code:
                raise SystemExit(f"run: pip cannot be downloaded: {last_line(said)}")
        return max(self.packages.glob("pip-*.whl"))

    def asked(self, path: str, launcher: tuple[str, ...] = ()) -> Interpreter | None:
        """What an interpreter says of itself; None where it does not run."""
        code, said = words_of([*launcher, path, "-c", FACTS, str(self.pip())], self.cache)
        try:
            facts = json.loads(last_line(said))
        except ValueError:
            return None
        sort = (*facts["short"], *facts["name"].split()[1:])
        return None if code else Interpreter(path, facts["name"], frozenset(facts["tags"]), sort, launcher)

    def interpreters(self) -> list[Interpreter]:
        """All that `PYTHONS` asks for, and of others the first of each version, system and processor, oldest first."""
        wanted = [self.asked(path) for path in os.environ.get("PYTHONS", "").split()]
        if None in wanted:
            raise SystemExit(f"run: PYTHONS names what does not run: {os.environ['PYTHONS']}")
        others = (interpreter for path in at_hand() if (interpreter := self.asked(path)))
        rooted = (interpreter for root in ROOTS for interpreter in self.rooted(root))
        found = [interpreter for interpreter in wanted if interpreter]
        for interpreter in (*others, *rooted):
            if interpreter.sort not in {one.sort for one in found}:
                found.append(interpreter)
        return sorted(found, key=lambda interpreter: (interpreter.emulated, *map(str, interpreter.sort)))

    def rooted(self, root: Root) -> Iterator[Interpreter]:
        """The interpreters of a Debian tree, which is made here unless it is there."""
        tree = self.cache / "roots" / f"{root.suite}-{root.debian}"
        here = platform.machine() == root.machine
        emulator = shutil.which(f"qemu-{root.machine}")
        if not any(tag.endswith(f"_{root.machine}") for file in self.files for tag in tags_of(file)):
            return
        if sys.platform != "linux" or not (here or emulator):
            self.absent[root.machine] = f"no {root.machine} is at hand, and no qemu-{root.machine} that emulates one"
        elif not tree.exists() and not shutil.which("mmdebstrap"):
            self.absent[root.machine] = f"mmdebstrap, which brings a Python for {root.machine}, is not installed"
        elif not tree.exists():
            shutil.rmtree(half := tree.with_suffix(".half"), ignore_errors=True)
            # Debian's mirrors may be older than their lists say; what they hold is signed all the same.
            options = ["--variant=extract", '--aptopt=Acquire::Check-Valid-Until "false"']
            kinds = [f"--architectures={root.debian}", f"--include={root.packages}"]
            code, said = words_of(["mmdebstrap", *options, *kinds, root.suite, str(half)], self.cache)
            if code:
                self.absent[root.machine] = f"mmdebstrap made no Debian {root.suite}: {last_line(said)}"
            else:
                half.rename(tree)
        if not tree.exists():
            return
        loader = next(tree.glob("usr/lib*/ld-linux-x86-64.so.2"), None)
        libraries = tree / "usr" / "lib" / f"{root.machine}-linux-gnu"
        launcher = (str(loader), "--library-path", str(libraries)) if here else (str(emulator), "-L", str(tree))
        for python in sorted(tree.glob("usr/bin/python3.[0-9][0-9]")):
            if interpreter := self.asked(str(python), launcher):
                yield interpreter

    def installed(self, interpreter: Interpreter) -> tuple[Path, str]:
        """An empty environment of an interpreter after pip has installed vgcore: its Python, and the file pip took."""
        place = self.cache / "environments" / interpreter.name.replace(" ", "-")
        shutil.rmtree(place, ignore_errors=True)
        python = place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        launched = [*interpreter.launcher, str(python)]
        code, said = words_of(
            [*interpreter.launcher, interpreter.path, "-m", "venv", "--without-pip", str(place)], self.cache
        )
        if code:
            raise RuntimeError(f"it makes no environment: {last_line(said)}")
        pip = [*launched, f"{self.pip()}/pip"]
        binary = ["--only-binary", ":all:"]
        folders = ["--no-index", "--find-links", str(self.wheels), "--find-links", str(self.packages)]
        taken = place / "taken.json"
        install = [*pip, "--isolated", "install", *folders, *binary, "--no-compile", "--report", str(taken), "vgcore"]
        code, said = words_of(install, self.cache)
        if code:
            download = [*pip, "download", "--quiet", *binary, "--dest", str(self.packages), *self.dependencies()]
            code, downloaded = words_of(download, self.cache)
            code, said = words_of(install, self.cache) if not code else (code, downloaded)
        if code:
            raise RuntimeError(f"it installs nothing: {last_line(said)}")
        report = json.loads(taken.read_text(encoding="utf-8"))
        urls = [each["download_info"]["url"] for each in report["install"] if each["metadata"]["name"] == "vgcore"]
        return python, urls[0].rsplit("/", 1)[-1]

    def dependencies(self) -> list[str]:
        """What a wheel needs without extras."""
        with zipfile.ZipFile(self.wheels / self.files[0]) as wheel:
            name = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
            metadata = Parser().parsestr(wheel.read(name).decode("utf-8"))
        return [each for each in metadata.get_all("Requires-Dist", []) if "extra ==" not in each]

    def smoked(self, file: str, interpreter: Interpreter, python: Path, way: Way) -> Row:
        """The questions of `smoke.py`, asked in an empty folder."""
        if way.missing:
            return Row(file, interpreter.name, way.name, 0.0, "skipped", way.missing)
        title = f"{interpreter.name}-{way.name}".translate(str.maketrans(" =", "--"))
        shutil.rmtree(desk := self.cache / "desks" / title, ignore_errors=True)
        desk.mkdir(parents=True)
        launcher = (*way.launcher, *interpreter.launcher)
        command = [*launcher, str(python), str(SMOKE), "--launcher", " ".join(launcher)]
        command += ["--emulated"] if way.launcher or interpreter.emulated else []
        start = time.perf_counter()
        command += ["--isa", way.isa] if way.isa else []
        code, said = words_of(command, desk, way.environment)
        taken = time.perf_counter() - start
        (self.cache / "logs" / f"{title}.log").write_text(said, encoding="utf-8")
        if code:
            return Row(file, interpreter.name, way.name, taken, "failed", last_line(said))
        facts = json.loads(last_line(said))
        return Row(
            file, interpreter.name, way.name, taken, "passed", f"{facts['isa']}, GIL {['off', 'on'][facts['gil']]}"
        )

    def rows(self) -> Iterator[Row]:
        """All runs, as they end, then what was not run."""
        found, run = self.interpreters(), set[str]()
        for interpreter in found:
            if not any(tags_of(file) & interpreter.tags for file in self.files):
                yield Row("", interpreter.name, "", 0.0, "skipped", "the folder has no wheel for it")
                continue
            try:
                python, file = self.installed(interpreter)
            except RuntimeError as error:
                yield Row("", interpreter.name, "", 0.0, "failed", str(error))
                continue
            for way in ways(interpreter)[: 1 if file in run else None]:
                yield self.smoked(file, interpreter, python, way)
            run.add(file)
        for file in self.files:
            if file not in run:
                yield Row(file, "", "", 0.0, "skipped", self.why_not(file, found))

    def why_not(self, file: str, found: list[Interpreter]) -> str:
        """Why nobody has run a wheel."""
        tags = tags_of(file)
        if any(tags & interpreter.tags for interpreter in found):
            return "pip takes another file of the folder wherever it could take this one"
        _, abi, system = max(tags).split("-", 2)
        wanted = {"macosx": "macOS", "win": "Windows", "manylinux": "Linux", "musllinux": "Linux"}
        name = next(name for start, name in wanted.items() if system.startswith(start))
        if name != {"darwin": "macOS", "win32": "Windows"}.get(sys.platform, "Linux"):
            return f"it needs {name}"
        reasons = [why for machine, why in self.absent.items() if system.endswith(machine)]
        if system.startswith("musllinux") and not any("musl" in interpreter.name for interpreter in found):
            reasons.append("no interpreter on musl is at hand: name one in PYTHONS")
        if abi.endswith("t"):
            reasons.append(f"no free-threaded Python ({abi}) is at hand: name one in PYTHONS")
        return "; ".join(reasons) or "no interpreter here takes it"


def at_hand() -> Iterator[str]:
    """Paths of interpreters: by name, where pyenv keeps its own, and the one that runs this."""
    folders = [*os.get_exec_path(), *sorted(map(str, Path.home().glob(".pyenv/versions/*/bin")))]
    for name, folder in product(NAMES, folders):
        if path := shutil.which(name, path=folder):
            yield path
    yield sys.executable


def ways(interpreter: Interpreter) -> list[Way]:
    """How an interpreter runs a wheel: as it is, then with fewer instructions."""
    plain = Way(Path(interpreter.launcher[0]).name if interpreter.emulated else "native")
    scalar = Way("VGCORE_ISA=scalar", environment={"VGCORE_ISA": "scalar"}, isa="scalar")
    if sys.platform != "linux" or not any(tag.endswith("_x86_64") for tag in interpreter.tags):
        return [plain, scalar]
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    lacks = "" if "avx2" in flags else "this processor has no AVX2"
    avx2 = Way("VGCORE_ISA=avx2", environment={"VGCORE_ISA": "avx2"}, isa="avx2", missing=lacks)
    emulator = shutil.which("qemu-x86_64")
    lacks = "" if emulator else f"qemu-x86_64, which plays a CPU without AVX2 ({OLD_CPU}), is not installed"
    old = Way(f"qemu-x86_64 -cpu {OLD_CPU}", (emulator or "", "-cpu", OLD_CPU), isa="scalar", missing=lacks)
    return [plain, scalar, avx2, old]


def line_of(row: Row) -> str:
    """A row of a Markdown table."""
    seconds = f"{row.seconds:.0f} s" if row.seconds else ""
    why = row.why[:300].replace("|", "/")
    return f"| {row.file} | {row.interpreter} | {row.way} | {seconds} | {row.outcome} | {why} |"


def main() -> None:
    """Run all that can be run, print the table as it grows, and end with 1 where something failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheels", type=Path, help="the folder of wheels")
    parser.add_argument("--cache", type=Path, default=Path("target/run"), help="roots, downloads, environments, logs")
    parser.add_argument("--json", type=Path, help="write the table here too")
    parser.add_argument("--every", action="store_true", help="a wheel that no interpreter here has run is an error")
    given = parser.parse_args()
    room = Room(given.wheels, given.cache)
    if not room.files:
        raise SystemExit(f"run: {given.wheels} holds no wheel of vgcore")
    print("| file | interpreter | way | time | outcome | |\n|---|---|---|---|---|---|", flush=True)
    rows = []
    for row in room.rows():
        rows.append(row)
        print(line_of(row), flush=True)
    if given.json:
        given.json.write_text(json.dumps([asdict(row) for row in rows], indent=1), encoding="utf-8")
    if any(row.outcome == "failed" for row in rows):
        raise SystemExit(f"run: some failed; what they printed is in {room.cache / 'logs'}")
    if not any(row.outcome == "passed" for row in rows):
        raise SystemExit("run: none of these wheels was run here, so nothing is known of them")
    if given.every and (left := set(room.files) - {row.file for row in rows if row.outcome == "passed"}):
        raise SystemExit(f"run: nothing here has run {', '.join(sorted(left))}")


if __name__ == "__main__":
    main()
