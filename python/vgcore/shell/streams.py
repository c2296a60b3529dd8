"""Standard streams as they come: closed, of few characters, or left by their reader."""

from __future__ import annotations

import codecs
import io
import os
import sys
import unicodedata
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from vgcore.show.page import wrapped

#: What a command returns whose reader has seen enough, `| head`: 128 and the number of SIGPIPE, as other tools do.
UNREAD = 141
#: How characters are written where they cannot be; the others by the names of letters, or as `\xff` and `\u2014`.
PLAIN = dict(zip("▁▂▃▄▅▆▇█", "_.:-=+*#", strict=True))
PLAIN |= {"±": "+-", "×": "x", "·": "*", "→": "->", "←": "<-", "≤": "<=", "≥": ">=", "≈": "~", "∞": "inf", "…": "..."}
PLAIN |= {"–": "-", "—": "-", "−": "-", "√": "sqrt", "∂": "d", "²": "^2", "³": "^3", "‖": "|"}
ERRORS = "vgcore.plain"


def _plain(error: UnicodeError) -> tuple[str, int]:
    """The handler of what cannot be encoded."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_spelled, error.object[error.start : error.end])), error.end


def _spelled(character: str) -> str:
    if character in PLAIN:
        return PLAIN[character]
    if "\udc80" <= character <= "\udcff":  # a byte of a file's name that is no UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    name = unicodedata.name(character, "")
    if name.startswith("GREEK "):
        return name.rpartition(" ")[2].lower() if "SMALL" in name else name.rpartition(" ")[2].capitalize()
    if name.startswith("BOX DRAWINGS"):
        return "|" if "VERTICAL" in name and "HORIZONTAL" not in name else "-" if "VERTICAL" not in name else "+"
    return character.encode("ascii", "backslashreplace").decode()


def prepare() -> None:
    """Let every stream take every text: a closed one swallows it, one of few characters gets it spelled out."""
    codecs.register_error(ERRORS, _plain)
    asked = os.environ.get("PYTHONIOENCODING") or os.environ.get("PYTHONUTF8") == "1"
    # Python writes UTF-8 all the same, for the sake of those who have set no locale; here somebody has.
    plain = os.environ.get("LC_ALL") in {"C", "POSIX"} and not asked
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # which libraries do not expect
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 (as long as the process)
        elif isinstance(stream, io.TextIOWrapper) and name != "stdin":
            stream.reconfigure(encoding="ascii" if plain else None, errors=ERRORS)


def fitted(text: str, stream: TextIO) -> str:
    """A text as it fits the terminal that a stream is, in lines that end at spaces; as it is where that is none."""
    if not stream.isatty():
        return text
    from rich.console import Console

    words = text.rstrip()
    return "\n".join(wrapped(words, Console(file=stream).width, indent=2, whole=True)) + text[len(words) :]


def is_unread(error: BaseException | None) -> bool:
    """Whether an error comes of a reader who has seen enough; libraries raise SystemExit in its place."""
    while error is not None:
        if isinstance(error, BrokenPipeError):
            return True
        error = error.__context__
    return False


def print_no_more() -> None:
    """Leave out what could not be printed: the interpreter would try again at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    with suppress(OSError):
        sys.stderr.flush()
        return
    os.dup2(nowhere, sys.stderr.fileno())
