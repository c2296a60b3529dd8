"""What the tools of wheels say of one: whether it keeps what its tags promise."""

import importlib.util
import io
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

# What musl's loader takes for itself, whatever the name goes on with.
MUSL = re.compile(r"lib(c|pthread|rt|m|dl|util|xnet)\.")


@dataclass(frozen=True)
class Found:
    """What was looked at, or could not be, in a few words; and what was wrong, in sentences."""

    words: str
    faults: list[str] = field(default_factory=list)


def tool(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str] | None:
    """What a tool of the dependency group `dist` said; None if it is not installed."""
    if importlib.util.find_spec(name) is None:
        return None
    return subprocess.run([sys.executable, "-m", name, *arguments], capture_output=True, text=True, check=False)


def last_line(said: subprocess.CompletedProcess[str]) -> str:
    """The last thing that a tool said."""
    return ([line.strip() for line in (said.stdout + said.stderr).splitlines() if line.strip()] or [""])[-1]


def extension(wheel: Path) -> tuple[str, bytes]:
    """Name and bytes of the compiled module of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if re.search(r"_core\.[\w.-]*(so|pyd)$", name))
        return Path(name).name, archive.read(name)


def platform(wheel: Path) -> Found:
    """The systems that the name promises: their C library, or their oldest version."""
    tag = wheel.stem.split("-")[-1]
    if tag.startswith("manylinux"):
        return manylinux(wheel, tag)
    if tag.startswith("musllinux"):
        return musllinux(wheel)
    if tag.startswith("macosx"):
        return macos(wheel, tag)
    return Found(f"{tag}: no tool looks at it")


def manylinux(wheel: Path, tag: str) -> Found:
    """Symbols of glibc no younger than the name says, by auditwheel."""
    said = tool("auditwheel", "show", "--json", wheel)
    if said is None:
        return Found("auditwheel not installed")
    if said.returncode:
        return Found("auditwheel", [f"auditwheel cannot read it: {last_line(said)}"])
    asks = json.loads(said.stdout)["overall_tag"]
    glibc = re.compile(r"manylinux_(\d+)_(\d+)_")
    found = glibc.match(asks)
    promised = min(tuple(map(int, numbers)) for numbers in glibc.findall(tag))
    if found is None or tuple(map(int, found.groups())) > promised:
        return Found("auditwheel", [f"Its name says {tag}, and auditwheel says {asks}."])
    return Found(f"auditwheel: {asks}")


def musllinux(wheel: Path) -> Found:
    """Nothing but musl is loaded; auditwheel itself stumbles over a musl wheel where the system is not musl's."""
    if importlib.util.find_spec("elftools") is None:
        return Found("pyelftools not installed")
    from elftools.elf.dynamic import DynamicSection
    from elftools.elf.elffile import ELFFile

    sections = ELFFile(io.BytesIO(extension(wheel)[1])).iter_sections()
    tags = [entry for part in sections if isinstance(part, DynamicSection) for entry in part.iter_tags("DT_NEEDED")]
    others = [entry.needed for entry in tags if not MUSL.match(entry.needed)]
    return Found("musl alone is loaded", [f"It loads {name}, which is not of musl." for name in others])


def macos(wheel: Path, tag: str) -> Found:
    """No younger macOS asked for than the name says, and no library but the system's."""
    if importlib.util.find_spec("macholib") is None:
        return Found("macholib not installed")
    from macholib.mach_o import build_version_command, version_min_command
    from macholib.MachO import MachO

    name, code = extension(wheel)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(code)
        (header,) = MachO(str(path)).headers
    commands = [command for _, command, _ in header.commands]
    oldest = [command.minos for command in commands if isinstance(command, build_version_command)]
    oldest += [command.version for command in commands if isinstance(command, version_min_command)]
    asked = (oldest[0] >> 16, oldest[0] >> 8 & 255)
    promised = tuple(int(number) for number in tag.split("_")[1:3])
    faults = [f"It asks for macOS {asked[0]}.{asked[1]}, and its name says {tag}."] if asked > promised else []
    others = [name for _, _, name in header.walkRelocatables() if not name.startswith(("/usr/lib/", "/System/"))]
    return Found(
        f"macOS {asked[0]}.{asked[1]}", faults + [f"It loads {name}, which is not macOS's." for name in others]
    )


def abi(wheel: Path) -> Found:
    """Nothing but the stable ABI in an abi3 wheel, by abi3audit; else the name of the interpreter, and its locks."""
    promised = wheel.stem.split("-")[-2]
    if promised != "abi3":
        name, code = extension(wheel)
        named = re.search(rf"\.(cpython-|cp){promised.removeprefix('cp')}[-.]", name)
        faults = [] if named else [f"Its module is called {name}: not one of {promised}."]
        if promised.endswith("t") and b"PyCriticalSection_Begin" not in code:
            faults.append("It holds no lock where the GIL would: PyO3 took the interpreter for one that has a GIL.")
        return Found(promised, faults)
    said = tool("abi3audit", "--strict", wheel)
    if said is None:
        return Found("abi3audit not installed")
    return Found("abi3audit", [f"abi3audit: {last_line(said)}"] if said.returncode else [])


def page(path: Path) -> Found:
    """The page that PyPI would show, by twine."""
    said = tool("twine", "check", "--strict", path)
    if said is None:
        return Found("twine not installed")
    return Found("twine", [f"twine: {last_line(said)}"] if said.returncode else [])
