"""Text that fits a page of so many columns."""

from __future__ import annotations

import re


def wrapped(text: str, width: int, *, indent: int = 0, whole: bool = False) -> list[str]:
    """A text as lines of at most `width` columns of a terminal, broken at spaces.

    A word that is too long for a line is broken into its parts, and elsewhere if it must.

    Args:
        text: The text; its line breaks stay.
        width: Columns of a line.
        indent: Columns by which all lines but the first are indented.
        whole: Whether a path, and what has no parts, stays whole where it is longer than a line.

    >>> wrapped("1 cell x 8 seeds, leaky_relu(negative_slope=0.1)", 16)
    ['1 cell x 8', 'seeds,', 'leaky_relu(', 'negative_slope=', '0.1)']
    """
    from rich.cells import cell_len

    longest = max(map(cell_len, text.split()), default=0)
    indent = min(indent, max(width - longest, 0)) if longest <= width else indent  # rather than break a word
    lines = []
    for paragraph in text.split("\n"):
        line = ""
        for before, word in re.findall(r"(\s*)(\S+)", paragraph):
            space = before
            for piece in _pieces(word, width - indent, whole=whole):
                if line.strip() and cell_len(line + space + piece) > width:
                    lines.append(line)
                    line, space = " " * indent, ""
                line += space + piece
                space = ""
        lines.append(line)
    return lines


def parts(word: str) -> list[str]:
    """A word in the pieces that it may be broken into: behind a bracket, a comma, an equals sign or a name's dot.

    >>> parts("residual(order=pre)"), parts("sagemaker.DeadRelu"), parts("-32.5")
    (['residual(', 'order=', 'pre)'], ['sagemaker.', 'DeadRelu'], ['-32.5'])
    """
    return re.split(r"(?<=[(,=])(?=.)|(?<=[^\W\d]\.)(?=[^\W\d])", word)


def _pieces(word: str, width: int, *, whole: bool) -> list[str]:
    """A word, or its parts where it is too long for a line."""
    from rich.cells import cell_len, chop_cells

    if cell_len(word) <= width or (whole and "/" in word):
        return [word]
    return [cut for part in parts(word) for cut in ([part] if whole else chop_cells(part, max(width, 1)))]
