"""Write a report: `save`."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from vgcore._core import __version__
from vgcore.measure import files
from vgcore.model.given import path as file_path
from vgcore.model.given import shown
from vgcore.report.context import CELLS, report
from vgcore.report.island import island
from vgcore.show.html.blocks import Html, escaped, joined
from vgcore.show.html.style import STYLE

if TYPE_CHECKING:
    from jinja2 import Environment

#: What a report is written as, by the ending of its file.
ENDINGS = {".html": "html", ".htm": "html", ".md": "md", ".markdown": "md"}
#: Bytes of a report at most: of a page, and of what GitHub takes as the summary of a step.
MOST = {"html": 2_000_000, "md": 2**20 - 1024}


def form_of(path: str | os.PathLike[str]) -> str:
    """What a report is written as: `"html"` or `"md"`.

    Raises:
        ValueError: For another ending.
    """
    ending = Path(path).suffix.lower()
    if ending not in ENDINGS:
        raise ValueError(f"a report is an .html or .md file, got {shown(str(path))}")
    return ENDINGS[ending]


def text(result: object, form: str) -> str:
    """A report as text: of as many cells as there is room for.

    Args:
        result: What has a report.
        form: `"html"` or `"md"`.
    """
    template, pages, cells = _templates().get_template(f"report.{form}"), report(result), CELLS
    while True:
        page = pages(cells)
        told = {"title": escaped(page.title).markdown, "body": joined(*page.parts).markdown, "data": island(page.data)}
        written = template.render(page=page, style=Html(STYLE), version=__version__, **told)
        size = len(written.encode())
        if cells == 1 or size <= MOST[form]:
            return written
        cells = max(min(cells * MOST[form] // size, cells * 9 // 10), 1)


@lru_cache
def _templates() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("vgcore.report")
    return Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def save(result: object, path: str | os.PathLike[str], form: str | None = None, *, append: bool = False) -> None:
    """Write the report of a result as `"html"` or `"md"`; the file's ending says which where nothing else does.

    Args:
        result: What has a report.
        path: The file.
        form: `"html"` or `"md"`.
        append: Whether Markdown is put behind what the file holds already.

    Raises:
        ValueError: For another ending than `.html` and `.md`.
        OSError: Where it cannot be written, with the path and the system's reason.
    """
    out = file_path("path", path)
    chosen = form_of(out) if form is None else form
    files.check(out)
    before = Path(out).read_text(encoding="utf-8") if append and Path(out).exists() else ""
    if before.strip():
        before = f"{before.rstrip()}\n\n"
    files.save_text(before + text(result, chosen), out)
