"""Make the notebook of a page: `python docs/notebook.py docs/tutorial.md` writes docs/tutorial.ipynb.

Text becomes cells of Markdown, and Python cells of code. What the page shows of their output is left out, pictures too:
the reader runs the cells. A block of the shell stays text, with what it prints: the kernel may not have the command.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from vgcore.measure import files

BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n.*?^```\n)?", flags=re.DOTALL | re.MULTILINE)
PICTURE = re.compile(r"^!\[[^\]]*\]\([^)]*\)\n+", flags=re.MULTILINE)


def cell(kind: str, text: str, number: int) -> dict[str, object]:
    """A cell of a notebook of format 4.5."""
    code = {"execution_count": None, "outputs": []} if kind == "code" else {}
    return {"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": text.splitlines(keepends=True)} | code


def notebook(page: str) -> str:
    """The notebook of a page, as JSON."""
    cells: list[dict[str, object]] = []
    for i, part in enumerate(BLOCK.split(PICTURE.sub("", page))):
        if part.strip():
            cells.append(cell("code" if i % 2 else "markdown", part.strip(), len(cells)))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    found = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Write the notebooks of the pages that are named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pages", nargs="+", type=Path)
    for page in parser.parse_args().pages:
        files.save_text(notebook(page.read_text(encoding="utf-8")), page.with_suffix(".ipynb"))


if __name__ == "__main__":
    main()
