"""Write a report: `save`."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from vgcore._core import __version__
from vgcore.measure import files
from vgcore.model.given import path as file_path
from vgcore.report.context import CELLS, page
from vgcore.report.island import island
from vgcore.show.html.blocks import Html, escaped
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
        raise ValueError(f"a report is an .html or .md file, got '{os.fspath(path)}'")
    return ENDINGS[ending]


def text(result: object, form: str) -> str:
    """A report as text: of as many cells as there is room for.

    Args:
        result: What has a report.
        form: `"html"` or `"md"`.
    """
    cells = CELLS
    while True:
        found = page(result, cells)
        template = _templates().get_template(f"report.{form}")
        title = escaped(found.title).markdown
        written = template.render(
            page=found, title=title, data=island(found.data), style=Html(STYLE), version=__version__
        )
        if cells == 1 or len(written.encode()) <= MOST[form]:
            return written
        cells = max(cells // 2, 1)


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


def save(result: object, path: str | os.PathLike[str]) -> None:
    """Write the report of a result; the file's ending says as what.

    Raises:
        ValueError: For another ending than `.html` and `.md`.
        OSError: Where it cannot be written, with the path and the system's reason.
    """
    out = file_path("path", path)
    form = form_of(out)
    files.check(out)
    files.save_text(text(result, form), out)
