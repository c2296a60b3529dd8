"""The command `doctor`: what is installed here, and whether it computes on this machine what it should."""

from __future__ import annotations

import os
import platform
import re
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vgcore import _core
from vgcore.shell.outputs import INTERRUPTED, say

if TYPE_CHECKING:
    from vgcore.reference.selftest import Difference, SelfTest

WRONG = 1
MOST = 3  # differences that are printed in full
MARGIN = 14  # columns of the names of facts
#: How tables fold: at most so many columns.
WIDE = 100
Fact = tuple[str, str]


def doctor(
    seconds: Annotated[float, typer.Option(help="How long to test; 0 prints the facts alone.", metavar="SECONDS")] = 10,
) -> None:
    """Print the facts, then compare the core with its twin; return 1 where they differ."""
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"--seconds must be 0 or more, got {seconds:g}")
    _print([("vgcore", _core.__version__), *facts()])
    sys.stdout.flush()  # an instruction that the processor lacks would end the process here and now
    if not seconds:
        return
    found: SelfTest | None = None

    def tell(so_far: SelfTest) -> None:
        nonlocal found
        found = so_far
        status.update(f"self-test: {_count(so_far.nets, 'net')}")

    code = 0
    try:
        from rich.console import Console

        from vgcore.reference import selftest

        with Console(stderr=True).status("self-test") as status:
            selftest.run(seconds, tell)
    except KeyboardInterrupt:
        code = INTERRUPTED
    if found is not None:
        _show(found)
        code = code or (WRONG if found.differences else 0)
    if code == INTERRUPTED:
        say(f"interrupted: the self-test had compared {_count(found.nets if found else 0, 'net')}")
    if code:
        raise typer.Exit(code)


def _show(found: SelfTest) -> None:
    """Print what the self-test found."""
    _print([("self-test", line) for line in _result(found)])
    for difference in found.differences[:MOST]:
        _print(_told(difference))
    if found.differences:
        more = len(found.differences) - MOST
        if more > 0:
            _print([("", f"and {_count(more, 'net')} more")])
        _print([("what to do", _advice())])


def facts() -> Iterator[Fact]:
    """What was installed, what it was built for, and what it finds here."""
    from importlib import resources

    import numpy as np

    from vgcore.explore.page import ENGINE
    from vgcore.shell import machine

    build, here, wheel = _core.build_info(), machine.facts(), machine.installed_as()
    yield "wheel", wheel["wheel"] or "none: these files are not those that pip installed"
    yield "installed in", str(Path(_core.__file__).parent)
    yield "core", f"{Path(_core.__file__).name}: {_abi()}"
    commit = build["commit"] or wheel["commit"]
    yield "build", ", ".join(filter(None, [build["profile"], build["target"], build["compiler"], commit]))
    yield "processor", f"{here['cpu']}, {here['architecture']}, {here['system']}"
    yield "instructions", f"{build['isa']}, of {', '.join(build['isas'])} that this processor has"
    yield "VGCORE_ISA", os.environ.get("VGCORE_ISA") or "not set: the best that there is"
    asked = os.environ.get("VGCORE_NUM_THREADS")
    yield "threads", f"{build['threads']}; VGCORE_NUM_THREADS is {asked or 'not set'}"
    yield "memory", f"{here['memory_gb']} GB" if here["memory_gb"] else "not known"
    yield "Python", f"{platform.python_implementation()} {platform.python_version()}, {_gil()}"
    yield "NumPy", np.__version__
    yield from _extras()
    there = (resources.files("vgcore.explore") / "static" / ENGINE).is_file()
    yield "pages", f"{ENGINE} is {'here' if there else 'not here: no page can measure by itself'}"


def _abi() -> str:
    """For which Pythons the core was built."""
    if ".abi3." in Path(_core.__file__).name:
        return "stable interface, for every Python from 3.10 that has a GIL"
    return "for this Python alone"


def _gil() -> str:
    """Whether this Python has a global interpreter lock, and whether it is on."""
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        return "with a GIL"
    # Python's own name for it, so far.
    return f"free-threaded, the GIL is {'on' if sys._is_gil_enabled() else 'off'}"  # type: ignore[attr-defined]  # noqa: SLF001


def _extras() -> Iterator[Fact]:
    """The extras whose packages are here, and those that lack some."""
    from importlib import metadata

    lacking: dict[str, list[str]] = {}
    present: dict[str, list[str]] = {}
    try:
        needs = metadata.requires("vgcore") or []
    except metadata.PackageNotFoundError:
        return
    for name, extra in re.findall(r"^([\w.-]+)[^;\n]*;[^\n]*extra == ['\"](\w+)['\"]", "\n".join(needs), re.MULTILINE):
        if name == "vgcore":  # `all`, which is the others
            continue
        try:
            present.setdefault(extra, []).append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            lacking.setdefault(extra, []).append(name)
    for extra, names in present.items():
        if extra not in lacking:
            yield extra, ", ".join(names)
    for extra, names in lacking.items():
        yield extra, f"lacks {', '.join(names)}: pip install 'vgcore[{extra}]'"


def _result(found: SelfTest) -> Iterator[str]:
    """What was compared, and how far it came."""
    units = f"{found.largest:.2g}" if found.largest < 1e6 else f"{found.largest:.0e}"
    yield (
        f"{_count(found.nets, 'net')}, {found.numbers:,} numbers, in {found.seconds:.1f} s; the largest difference "
        f"from the twin is {units} of what rounding may do"
    )
    if found.nets < found.planned:
        yield f"it ended after {found.nets} of {found.planned} nets that have every kind; --seconds gives more"
    if found.unclear:
        yield f"{_count(found.unclear, 'net')} with numbers that rounding alone moves as far, which say nothing"
    bad = len(found.differences)
    yield f"{_count(bad, 'net')} of these with numbers that are wrong" if bad else "all is well"


def _told(difference: Difference) -> Iterator[Fact]:
    """A number that is wrong: of which net, and where."""
    yield "wrong", str(difference.case)
    place = ""
    if difference.name in _core.COLUMNS:
        place = f" of layer {difference.place[-1] + 1}"
    elif difference.place:
        place = f" at {list(difference.place)}"
    numbers = f"{difference.ours!r} by the core, {difference.theirs!r} by the twin"
    yield "", f"{difference.name}{place}: {numbers}, apart by {difference.units:.2g} times what rounding may do"


def _advice() -> str:
    isa = _core.build_info()["isa"]
    way = "Set VGCORE_ISA=scalar in the environment, which is slower and may be right, and run this again. "
    return f"{way if isa != 'scalar' else ''}Please report it, with all of this text."


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def _print(lines: Iterator[Fact] | list[Fact]) -> None:
    """Print facts beside their names, folded at spaces to the width of the terminal."""
    from vgcore.shell import tables
    from vgcore.show.page import wrapped

    console = tables.terminal()
    width = min(console.width, WIDE)
    for name, text in lines:
        first, *rest = wrapped(text, width - MARGIN, whole=True)
        folded = [f"{name:<{MARGIN}}{first}", *(" " * MARGIN + line for line in rest)]
        console.print("\n".join(folded), markup=False, soft_wrap=True)
