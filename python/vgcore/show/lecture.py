"""An explanation as text and as LaTeX; `show.html` writes the same lines as tables."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vgcore.measure.derivation import EACH, ENDS, PUT_IN, SHOWN, TIMES, WHOLE, Formula, Line, Section, Term, number
from vgcore.model import custom
from vgcore.model.plan import Plan

if TYPE_CHECKING:
    from vgcore.measure.explain import Explanation

Array = NDArray[Any]

WIDTH = 80
#: Characters of the longest matrix that stands in one line.
ROOM = WIDTH // 2
#: Columns of the widest matrix that amsmath has without being told.
COLUMNS = 10

#: LaTeX that formulas are written in, and the characters that say the same.
CHARACTERS = {
    r"\phi'": "φ′",
    r"\phi": "φ",
    r"\delta": "δ",
    r"\eta": "η",
    r"\partial ": "∂",
    r"\textstyle": "",
    r"\sum": "Σ",
    r"\cdot": "·",
    r"\odot": "⊙",
    r"\leftarrow": "←",
    r"\le": "≤",
    r"\lVert ": "‖",
    r" \rVert": "‖",
    r"\max": "max",
    r"\log": "log",
    r"\exp": "exp",
    r"\times": "×",
    r"^{\top}": "ᵀ",
    r"^{2}": "²",
    r"\_": "_",
    r"\,": " ",
    r"\ ": " ",
}
SUBSCRIPTS = str.maketrans("0123456789ikt", "₀₁₂₃₄₅₆₇₈₉ᵢₖₜ")


def plain(latex: str) -> str:
    r"""A formula in characters.

    >>> plain(r"\frac{\partial L}{\partial W_{12}} = \delta_{12} a_{11}^{\top}"), plain(r"W_{\text{out}}")
    ('∂L/∂W₁₂ = δ₁₂ a₁₁ᵀ', 'W_out')
    """
    out = re.sub(r"\\(?:operatorname|text)\{([^{}]*)\}", r"\1", latex)
    for written, character in CHARACTERS.items():
        out = out.replace(written, character)
    out = re.sub(r"_\{([\dikt]+)\}", lambda found: found[1].translate(SUBSCRIPTS), out)
    out = re.sub(r"_\{(\w+)\}", r"_\1", out)
    return re.sub(r"\\t?frac\{([^{}]*)\}\{([^{}]*)\}", r"\1/\2", out)


def words(text: str) -> str:
    """Sentences with formulas between dollars, in characters; no short formula is broken between lines."""
    return "".join(whole(plain(part)) if i % 2 else part for i, part in enumerate(text.split("$")))


def in_characters(values: Array, digits: int) -> str:
    """A matrix in one line, its rows between semicolons; a single number is itself."""
    rows = [" ".join(number(float(value), digits) for value in row) for row in values]
    return rows[0] if values.size == 1 else f"[{'; '.join(rows)}]"


def in_rows(values: Array, digits: int) -> list[list[str]]:
    """The numbers of a matrix that has no room in one line, row by row, all of one width; empty for all others."""
    if 1 in values.shape or values.size > SHOWN or len(in_characters(values, digits)) <= ROOM:
        return []
    rows = [[number(float(value), digits) for value in row] for row in values]
    width = max(len(cell) for row in rows for cell in row)
    return [[f"{cell:>{width}}" for cell in row] for row in rows]


def in_latex(values: Array, digits: int) -> str:
    """A matrix, or a single number."""

    def written(value: float) -> str:
        mantissa, _, exponent = number(value, digits).partition("e")
        return rf"{mantissa} \times 10^{{{int(exponent)}}}" if exponent else mantissa

    rows = [" & ".join(written(float(value)) for value in row) for row in values]
    if values.size == 1:
        return rows[0]
    body = r" \\ ".join(rows)
    if values.shape[1] <= COLUMNS:
        return rf"\begin{{pmatrix}} {body} \end{{pmatrix}}"
    return rf"\left(\begin{{array}}{{{'r' * values.shape[1]}}} {body} \end{{array}}\right)"


def symbols(formula: Formula) -> str:
    """A formula in its symbols, as LaTeX."""
    found = {TIMES: r"\,", EACH: rf" {EACH} "}
    return "".join(part.symbol if isinstance(part, Term) else found.get(part, part) for part in formula)


def shape(values: Array) -> str:
    """How many rows and columns, as LaTeX."""
    return rf"{values.shape[0]} \times {values.shape[1]}"


def put_in(formula: Formula, matrix: Callable[[Array], str]) -> str:
    """A formula with its numbers put in, as LaTeX but for what `matrix` makes of them; empty where there is no use.

    What has too many numbers stands as its symbol with its shape.
    """
    terms = [part for part in formula if isinstance(part, Term)]
    if not terms or len(formula) == 1:
        return ""
    out = ""
    for part in formula:
        if not isinstance(part, Term):
            out += f" {part} " if part in {TIMES, EACH} else part
            continue
        if part.value.size > PUT_IN:
            out += rf"{part.symbol}\,({shape(part.value)})"
            continue
        written = matrix(part.value)
        # A sign next to another one, or before a power, needs brackets.
        inside = bool(out) and out[-1] not in "(|" and part.value.size == 1 and written.startswith("-")
        out += f"({written})" if inside else written
    return out


def told(values: Array, digits: int, matrix: Callable[[Array], str]) -> str:
    """A value: all entries, or of a large one the shape and norm, as LaTeX but for what `matrix` makes."""
    if values.size <= SHOWN:
        return matrix(values)
    norm = float(np.linalg.norm(values.astype(np.float64)))
    return rf"({shape(values)}\text{{, norm }}{number(norm, digits)})"


def steps(line: Line, digits: int, matrix: Callable[[Array], str]) -> list[str]:
    """What stands behind the name in a line: symbols, numbers put in, and the value; what says nothing is left out."""
    found = [symbols(line.formula), put_in(line.formula, matrix), told(line.value, digits, matrix)]
    return [step for i, step in enumerate(found) if step and step not in found[:i]]


def headline(e: Explanation) -> str:
    """What is explained, in a line."""
    widths = [z.shape[1] for z in e.forward.z]
    depth, batch = len(widths), len(e.x)
    kinds = list(dict.fromkeys(custom.named(str(layer.activation)) for layer in Plan.of(e.net.spec).layers))
    told = [*map(str, widths)] if depth <= WHOLE else [*map(str, widths[:ENDS]), "...", *map(str, widths[-ENDS:])]
    width = f"width {widths[0]}" if len({*widths}) == 1 else f"widths {', '.join(told)}"
    named = kinds[0] if len(kinds) == 1 else "several activations"
    return (
        f"{depth} layer{'s' * (depth > 1)} of {width}, {named}, {e.net.dtype}; {batch} sample{'s' * (batch > 1)}, "
        f"loss {e.loss}"
    )


def shapes(e: Explanation) -> list[str]:
    """What is told of quantities that are too large to be written out, where there are any, for every writer."""
    lines = [line for section in e.sections for line in section.lines if isinstance(line, Line)]
    within = [part.value.size for line in lines for part in line.formula if isinstance(part, Term)]
    said = []
    if any(size > PUT_IN for size in within):
        said.append(f"In a formula, what has more than {PUT_IN} entries stands as its symbol with its shape.")
    if any(line.value.size > SHOWN for line in lines):
        said.append(
            f"Matrices of more than {SHOWN} entries are told by shape and norm, the root of the sum of squares; "
            "to_dict() has their numbers."
        )
    return said


def notation(e: Explanation) -> list[str]:
    """How matrices are written in characters, where there are any, and what is told of large ones."""
    lines = (line for section in e.sections for line in section.lines if isinstance(line, Line))
    matrices = any(1 < line.value.size <= SHOWN for line in lines)
    said = ["A matrix stands in one line: [1 2; 3 4] has the rows 1 2 and 3 4."] if matrices else []
    return [*said, *shapes(e)]


# Text


def text(e: Explanation) -> str:
    """An explanation in lines of at most 80 characters."""
    out = [line for words in (headline(e), *notation(e)) for line in textwrap.wrap(words, WIDTH)]
    for section in e.sections:
        out += ["", section.title, *textwrap.wrap(words(section.words), WIDTH)]
        out += _columns(section, e.digits) if section.rows else []
        names = {line.symbol: plain(line.symbol) for line in section.lines if isinstance(line, Line)}
        room = max((len(name) for name in names.values()), default=0)
        for line in section.lines:
            if isinstance(line, str):
                out.append(f"  ({line})")
            else:
                out += _written(line, f"  {names[line.symbol]:<{room}} {plain(line.relation)} ", e.digits)
    return "\n".join(out).replace(NO_BREAK, " ")


def _written(line: Line, start: str, digits: int) -> list[str]:
    """A line of a derivation, and those that it goes on in: a matrix that has no room in one stands below, by rows."""
    rows = in_rows(line.value, digits)
    behind = [plain(step) for step in steps(line, digits, lambda v: whole(in_characters(v, digits)))]
    further = " " * len(start)
    out = textwrap.wrap(
        " = ".join(behind[:-1] if rows else behind),
        WIDTH,
        initial_indent=start,
        subsequent_indent=further,
        break_long_words=False,
        break_on_hyphens=False,
    )
    if not rows:
        return out
    first, further = (f"{further[:-2]}= ", further) if out else (start, further)
    across = max(1, (WIDTH - len(start) - 2) // (len(rows[0][0]) + 1))
    for row in rows:
        parts = [" ".join(row[i : i + across]) for i in range(0, len(row), across)]
        opened = ["[", *" " * (len(parts) - 1)]
        out += [
            f"{first if row is rows[0] and not i else further}{mark}{part}"
            for i, (mark, part) in enumerate(zip(opened, parts, strict=True))
        ]
        out[-1] += "]"
    return out


NO_BREAK = "\xa0"


def whole(text: str) -> str:
    """A matrix or a name that is not broken between lines, unless it is long."""
    return text.replace(" ", NO_BREAK) if len(text) <= ROOM else text


def _columns(section: Section, digits: int) -> list[str]:
    """A table, with fewer digits where it would be wider than a line; the lines below have all."""
    head = [plain(cell) for cell in section.head]
    rows = [[number(cell, digits) for cell in row] or ["⋮"] * len(head) for row in section.rows]
    sizes = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = [
        "  ".join(["", *(f"{cell:>{size}}" for cell, size in zip(row, sizes, strict=True))]) for row in [head, *rows]
    ]
    return lines if len(lines[0]) <= WIDTH else _columns(section, digits - 1)


# LaTeX


def latex(e: Explanation) -> str:
    """An explanation as paragraphs and aligned formulas, for a document with amsmath."""
    out = [" ".join([rf"\paragraph{{Net.}} {_escaped(headline(e))}.", *map(_escaped, shapes(e))])]
    for section in e.sections:
        out.append(rf"\paragraph{{{section.title}.}} {_escaped(section.words)}")
        if section.rows:
            rows = [
                " & ".join(
                    [in_latex(np.full((1, 1), cell), e.digits) for cell in row] or [r"\vdots"] * len(section.head)
                )
                for row in section.rows
            ]
            head = " & ".join(rf"\displaystyle {cell}" for cell in section.head)
            # Fractions reach below their line.
            body = head + " \\\\[1ex] \\hline\n" + " \\\\\n".join(rows)
            out.append(f"\\[\n\\begin{{array}}{{{'r' * len(section.head)}}}\n{body}\n\\end{{array}}\n\\]")
        if section.lines:
            lines = [
                rf"&\text{{{line}}}" if isinstance(line, str) else _aligned(line, e.digits) for line in section.lines
            ]
            out.append("\\begin{align*}\n" + " \\\\\n".join(lines) + "\n\\end{align*}")
    return "\n".join(out) + "\n"


#: Factors of a product that stand in one line.
ACROSS = 7


def _aligned(line: Line, digits: int) -> str:
    """A line, broken before each sign of equality where it is long, and within long products."""
    behind = [_tall(step) for step in steps(line, digits, lambda v: in_latex(v, digits))]
    across = sum(len(plain(step)) for step in steps(line, digits, lambda v: in_characters(v, digits)))
    breaks = " \\\\\n&= " if across > WIDTH else " = "
    parts = []
    for step in behind:
        factors = step.split(rf" {TIMES} ")
        pieces = [rf" {TIMES} ".join(factors[i : i + ACROSS]) for i in range(0, len(factors), ACROSS)]
        parts.append(f" \\\\\n&\\quad {{}}{TIMES} ".join(pieces))
    return f"{line.symbol} &{line.relation} " + breaks.join(parts)


def _tall(step: str) -> str:
    """A formula whose brackets are as high as the matrices in it."""
    if "pmatrix" not in step and "array" not in step:
        return step
    return re.sub(r"(?<!\\left)\(", r"\\left(", re.sub(r"(?<!\\right)\)", r"\\right)", step))


def _escaped(text: str) -> str:
    """Sentences for LaTeX, whose formulas stand between dollars."""
    parts = text.split("$")
    for i, part in enumerate(parts):
        parts[i] = _powers(part, "") if i % 2 else _powers(re.sub(r"([_%&#])", r"\\\1", part), "$")
    return "$".join(parts)


def _powers(text: str, mark: str) -> str:
    """Numbers with exponents as powers of ten, between marks."""

    def power(found: re.Match[str]) -> str:
        return rf"{mark}{found[1]} \times 10^{{{int(found[2])}}}{mark}"

    return re.sub(r"(-?[\d.]+)e([+-]\d+)", power, text)
