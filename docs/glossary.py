"""Write docs/glossary.md, what the words of vgcore mean, from the data of `vgcore explain`. `make glossary`."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from vgcore.judge.glossary import glossary
from vgcore.measure import files
from vgcore.show.glossary import SORTS, Word

HERE = Path(__file__).parent

HEAD = """\
# Glossary

What the words mean that verdicts, findings, tables and pictures use, written by `make glossary` from the data of
`vgcore explain`: `vgcore explain vanishing` prints one of them. [diagnosis.md](diagnosis.md) says how a verdict comes
about, [kinds.md](kinds.md) lists what one may name.
"""


def filled(text: str) -> str:
    """A paragraph of lines that suit an editor."""
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def link(name: str) -> str:
    """The name of a word, as a link to what is said of it: `blind guess` is a word, `blind_guess` a rule."""
    anchor = re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", name.lower()))
    return f"[{name}](#{anchor})"


def entry(word: Word) -> str:
    """The part of a page about a word."""
    parts = [f"### {word.name}", filled(word.text)]
    if word.formula:
        parts.append(f"    {word.formula}")
    if word.remedy:
        parts.append(filled(f"**What helps:** {word.remedy}"))
    if word.see:
        parts.append(filled(f"See also {', '.join(link(name) for name in word.see)}."))
    return "\n\n".join(parts)


def page() -> str:
    """The page."""
    every = glossary()
    sections = [
        "\n\n".join([f"## {title}", *(entry(word) for word in every if word.sort == sort)])
        for sort, title in SORTS.items()
    ]
    return "\n".join([HEAD, "\n\n".join(sections), ""])


if __name__ == "__main__":
    files.save_text(page(), HERE / "glossary.md")
