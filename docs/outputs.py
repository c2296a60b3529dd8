"""Run every block of README.md and docs/, and show below each what it prints: `python docs/outputs.py`.

A block of ```python or ```sh runs, the latter in a terminal of 80 columns; the block of ```text right after it is its
output, in which `...` stands for anything. The blocks of a page run one after the other, in one folder and one
namespace, as a reader would type them.
Comments in a page change that:

    <!-- each block runs alone -->         anywhere in the page: a fresh interpreter for every block
    <!-- each section runs alone -->       anywhere in the page: a fresh one at each heading of the second level
    <!-- not run: why -->                  right before a block
    <!-- output not shown: why -->         right before a block: it runs, but what it prints differs from run to run

A picture that a page links as `pictures/NAME` is the file NAME that its blocks saved.
"""

from __future__ import annotations

import argparse
import contextlib
import doctest
import fcntl
import importlib.util
import io
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vgcore.measure import files

DOCS = Path(__file__).parent
PAGES = [DOCS.parent / "README.md", *sorted(DOCS.rglob("*.md"))]

FENCE = re.compile(
    r"^(?:<!-- (?P<mark>not run|output not shown): [^>]+ -->\n+)?"
    r"^```(?P<language>python|sh)\n(?P<code>.*?)^```\n"
    r"(?:\n```text\n(?P<shown>.*?)^```\n)?",
    flags=re.DOTALL | re.MULTILINE,
)
PICTURE = re.compile(r"\]\(pictures/([\w.-]+)\)")
#: Started so, Python looks for modules in the folder of the session, as it does for a reader, and not in this one.
PLAY = f"import runpy; runpy.run_path({str(Path(__file__))!r}, run_name='play')"
HEADING = re.compile(r"^## (?P<title>.*)$", flags=re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A block of code of a page, and what the page shows of its output."""

    language: str
    code: str
    mark: str | None
    shown: str | None
    span: tuple[int, int]  # in the text of the page

    def holds(self, printed: str) -> bool:
        """Whether the page shows what was printed."""
        if self.mark is not None:
            return self.shown is None
        if self.shown is None:
            return not printed
        # A time that is left out may be longer or shorter, and break the line elsewhere.
        loose = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE if "..." in self.shown else 0
        return doctest.OutputChecker().check_output(self.shown, printed, loose)

    def text(self, printed: str) -> str:
        """The block as it stands in a page above its output, in which seconds are left out."""
        printed = re.sub(r"\b\d+(\.\d+)? s\b", "... s", printed)
        return f"```{self.language}\n{self.code}```\n" + (f"\n```text\n{printed}```\n" if printed else "")


@dataclass(frozen=True)
class Session:
    """Blocks that run one after the other."""

    page: Path
    title: str
    blocks: tuple[Block, ...]

    @property
    def libraries(self) -> set[str]:
        """The packages that its Python imports."""
        python = "\n".join(block.code for block in self.blocks if block.language == "python")
        return set(re.findall(r"^(?:from|import) (\w+)", python, flags=re.MULTILINE)) - {*sys.stdlib_module_names}

    @property
    def missing(self) -> list[str]:
        """Those that are not installed."""
        return sorted(name for name in self.libraries if importlib.util.find_spec(name) is None)

    def run(self, folder: Path) -> list[str]:
        """What each block prints, run in a folder; RuntimeError if one fails."""
        ours = self.libraries <= {"numpy", "matplotlib", "vgcore"}
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        environment = {"KERAS_BACKEND": "jax"} | os.environ | {"PATH": path}
        if where := os.environ.get("PYTHONPATH"):  # which may be relative to here
            environment["PYTHONPATH"] = os.pathsep.join(str(Path(entry).resolve()) for entry in where.split(os.pathsep))
        done = subprocess.run(
            # Warnings of others are theirs.
            [sys.executable, *(["-W", "error"] if ours else []), "-c", PLAY],
            cwd=folder,
            env=environment | {"MPLBACKEND": "Agg", "NO_COLOR": "1", "TERM": "dumb"},
            input=json.dumps([(block.language, block.code) for block in self.blocks]),
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{self.page.name}, {self.title}:\n{done.stderr}")
        printed: list[str] = json.loads(done.stdout)
        return printed


def sessions(page: Path) -> Iterator[Session]:
    """The sessions of a page, in order."""
    text = page.read_text(encoding="utf-8")
    titles = {match.start(): match["title"] for match in HEADING.finditer(text)}
    parts: dict[str, list[Block]] = {}
    for number, match in enumerate(FENCE.finditer(text), start=1):
        title = "page"
        if "<!-- each block runs alone -->" in text:
            title = f"block {number}"
        elif "<!-- each section runs alone -->" in text:
            title = next((name for start, name in reversed(titles.items()) if start < match.start()), "page")
        if match["mark"] != "not run":
            # From the fence on, so that the comment before it is left alone.
            span = match.start("language") - len("```"), match.end()
            block = Block(match["language"], match["code"], match["mark"], match["shown"], span)
            parts.setdefault(title, []).append(block)
    for title, blocks in parts.items():
        yield Session(page, title, tuple(blocks))


def shell(code: str) -> tuple[int, str, str]:
    """Run a block in a terminal of 80 columns: what it returns, what it prints, and its errors."""
    screen, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        command = ["bash", "-c", code]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=terminal, stderr=errors) as process:
            os.close(terminal)
            printed = b""
            with contextlib.suppress(OSError):  # how Linux says that nobody writes to the terminal any more
                while piece := os.read(screen, 65536):
                    printed += piece
        os.close(screen)
        errors.seek(0)
        return process.returncode, printed.decode().replace("\r\n", "\n"), errors.read()


def play() -> None:
    """Run the blocks that come as JSON, and print as JSON what each prints."""
    space: dict[str, object] = {"__name__": "__main__"}
    printed = []
    for number, (language, code) in enumerate(json.load(sys.stdin), start=1):
        if language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(code, f"block {number}", "exec"), space)
            text = out.getvalue()
        else:
            status, text, errors = shell(code)
            # 1 says that something was found, as `vgcore diagnose` does, or is that of an exception in Python.
            if status > 1 or "Traceback" in errors:
                sys.exit(f"block {number} returned {status}: {errors}")
        # Tables fill their lines with spaces, which a page does not show.
        printed.append("".join(f"{line.rstrip()}\n" for line in text.rstrip().splitlines()))
    json.dump(printed, sys.stdout)


def write(page: Path) -> None:
    """Put what the blocks of a page print below them, and its pictures beside it."""
    text = page.read_text(encoding="utf-8")
    pieces = []
    for session in sessions(page):
        if session.missing:
            print(f"{page.name}, {session.title}: left as it is without {', '.join(session.missing)}")
            continue
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for block, printed in zip(session.blocks, session.run(folder), strict=True):
                if not block.holds(printed):
                    pieces.append((block.span, block.text("" if block.mark else printed)))
            for picture in PICTURE.findall(text):
                if (folder / picture).exists():
                    (page.parent / "pictures").mkdir(exist_ok=True)
                    shutil.copy(folder / picture, page.parent / "pictures" / picture)
    for (start, end), piece in sorted(pieces, reverse=True):
        text = text[:start] + piece + text[end:]
    files.save_text(text, page)
    print(f"{page.name}: {len(pieces)} blocks changed")


def main() -> None:
    """Write the pages that are named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pages", nargs="*", type=Path, default=PAGES, help="all, if none is named")
    for page in parser.parse_args().pages:
        write(page.resolve())


if __name__ == "play":
    play()
elif __name__ == "__main__":
    main()
