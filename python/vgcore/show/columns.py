"""Tables that fit a page of any width: what does not fit is folded, moved above or left out, and never cut."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from vgcore.show.page import parts, wrapped

GAP = 2  # columns between two columns
#: A line below the heads, for an output that has no lines to draw with.
ASCII_HEAD = box.Box("    \n    \n -- \n    \n    \n -- \n    \n    \n", ascii=True)
LISTED = 8  # of the columns that are left out, those that are named
MOST_LINES = 4  # of a cell, before its column moves to a table above


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        head: What its cells are; where there is room, it is broken only where it has line breaks.
        cells: A text a row. Texts are broken at spaces; numbers have none.
        left: Whether texts stand on the left, as words do.
        moves: Whether it may move to a table above, which says what each row is by its number.
        rank: Of those that do not fit, the highest is left out first; those of 0 stay.
        block: Where one table is not wide enough for all, those of a block share one.
        brief: The cells without `details`, which are left out first.
        details: What these are.
        styles: A style a row, of this column alone.
    """

    head: str
    cells: Sequence[str]
    left: bool = False
    moves: bool = False
    rank: int = 0
    block: int = 0
    brief: Sequence[str] = ()
    details: str = ""
    styles: Sequence[str] = ()

    def least(self, *, within_words: bool = False) -> int:
        """Columns of a terminal without which a word is broken."""
        words = " ".join((self.head, *self.cells)).split()
        return max(
            (cell_len(piece) for word in words for piece in (parts(word) if within_words else [word])), default=0
        )

    def most(self, *, head: bool = True) -> int:
        """Columns of a terminal beyond which nothing changes, with or without its head."""
        texts = (self.head, *self.cells) if head else self.cells
        return max((cell_len(line) for text in texts for line in text.split("\n")), default=0)


@dataclass(frozen=True)
class Columns:
    """A table, to be printed by rich, or as text, in as many columns as there are.

    Attributes:
        columns: The columns, the one that says what a row is first.
        numbers: The column that numbers rows, where others may move to a table above.
        styles: A style a row.
        sections: The rows below which there is a line.
        elsewhere: What a reader may do to see what is left out.
    """

    columns: Sequence[Column]
    numbers: Column | None = None
    styles: Sequence[str] = ()
    sections: frozenset[int] = frozenset()
    elsewhere: str = "--json holds all, a wider terminal shows more"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        tables, left_out = self.fitted(options.max_width)
        for columns in tables:
            yield self._drawn(columns, options.max_width, ASCII_HEAD if options.ascii_only else box.SIMPLE_HEAD)
        if left_out:
            many = f" and {len(left_out) - LISTED} more" if len(left_out) > LISTED + 1 else ""
            named = left_out[:LISTED] if many else left_out
            told = f"Left out: {', '.join(named)}{many}; {self.elsewhere}."
            yield Text("\n".join(wrapped(told, options.max_width)))

    def text(self, width: int) -> str:
        """The table in characters that any output can write, as far as its cells are of them."""
        console = Console(color_system=None, legacy_windows=False, force_jupyter=False)
        options = replace(console.options, max_width=width, encoding="ascii")
        parts = (
            "".join(part.text for part in console.render(each, options))
            for each in self.__rich_console__(console, options)
        )
        return "\n\n".join("\n".join(map(str.rstrip, part.splitlines())).strip("\n") for part in parts)

    def fitted(self, width: int) -> tuple[list[list[Column]], list[str]]:
        """The columns of one or more tables of at most this width, and what is left out of them.

        In this order, as far as it has to be: texts are folded, details left out, columns moved to a table above,
        others left out by their rank, the rest shared out to several tables.
        """
        for arranged, above in self._arrangements():
            for shown, left_out in _forms(arranged, width):
                if self._fit(shown, width):
                    return [*above, shown], left_out
        while _room(shown, width) < 0 and (rank := max(column.rank for column in shown)):
            left_out += [" ".join(column.head.split()) for column in shown if column.rank == rank]
            shown = [column for column in shown if column.rank != rank]
        return [*above, *_shared(shown, width)], left_out

    def _arrangements(self) -> Iterator[tuple[list[Column], list[list[Column]]]]:
        """The columns as they are, then with those that may move in a table above."""
        yield [*self.columns], []
        moving = [column for column in self.columns if column.moves]
        if self.numbers is not None and moving:
            stay = [column for column in self.columns if not column.moves and column is not self.numbers]
            yield [self.numbers, *stay], [[self.numbers, moving[0] if len(moving) == 1 else _together(moving)]]

    def _fit(self, columns: Sequence[Column], width: int) -> bool:
        """Whether columns fit without a broken word, and none that may move needs many lines for a cell."""
        if _room(columns, width) < 0:
            return False
        pairs = zip(columns, _widths(columns, width), strict=True)
        return not any(
            self.numbers is not None and column.moves and len(wrapped(cell, w)) > MOST_LINES
            for column, w in pairs
            for cell in column.cells
        )

    def _drawn(self, columns: Sequence[Column], width: int, lines: box.Box) -> Table:
        table = Table(box=lines, padding=(0, GAP - 1, 0, 0), pad_edge=False)
        folded = []
        for column, w in zip(columns, _widths(columns, width), strict=True):
            justify = "left" if column.left else "right"
            table.add_column(Text("\n".join(wrapped(column.head, w))), justify=justify, no_wrap=True)  # type: ignore[arg-type]
            styles = column.styles or [""] * len(column.cells)
            cells = zip(column.cells, styles, strict=True)
            folded.append([Text("\n".join(wrapped(cell, w)), style=style) for cell, style in cells])
        for i, row in enumerate(zip(*folded, strict=True)):
            table.add_row(*row, style=self.styles[i] if self.styles else "", end_section=i in self.sections)
        return table


def _forms(columns: list[Column], width: int) -> Iterator[tuple[list[Column], list[str]]]:
    """Columns with their details where these stand beside, or in a row alone below, and without; what is left out."""
    details = dict.fromkeys(column.details for column in columns if column.details)
    if not details or _naturally(columns, width):
        yield columns, []
    if details and len(columns[0].cells) == 1:
        yield [replace(c, cells=[c.cells[0].replace(" ", "\n")]) if c.details else c for c in columns], []
    if details:
        yield [replace(c, cells=c.brief) if c.details else c for c in columns], [*details]


def _margin(columns: Sequence[Column]) -> int:
    return GAP * (len(columns) - 1) + 2  # a table has an empty column on either side


def _room(columns: Sequence[Column], width: int) -> int:
    """What is left of a width where each column is as narrow as its words; below 0, they do not fit."""
    return width - _margin(columns) - sum(column.least() for column in columns)


def _naturally(columns: Sequence[Column], width: int) -> bool:
    """Whether nothing has to be folded."""
    return sum(column.most() for column in columns) <= width - _margin(columns)


def _widths(columns: Sequence[Column], width: int) -> list[int]:
    """The width of each column: as its words need, then as far as there is room what its cells need, then its head."""
    room = width - _margin(columns)
    widths = [column.least() for column in columns]
    if sum(widths) > room:
        widths = [column.least(within_words=True) for column in columns]
    while sum(widths) > max(room, len(widths)):  # not even so
        widths[widths.index(max(widths))] -= 1
    for head in (False, True):
        lacking = [max(column.most(head=head) - w, 0) for column, w in zip(columns, widths, strict=True)]
        if head and sum(lacking) > room - sum(widths):  # the highest would stay as high
            break
        for at in sorted(range(len(columns)), key=lacking.__getitem__):
            widths[at] += max(min(lacking[at], room - sum(widths)), 0)
        filled = zip(columns, widths, strict=True)  # what folding leaves over is for others
        widths = [max(cell_len(line) for text in (c.head, *c.cells) for line in wrapped(text, w)) for c, w in filled]
    return widths


def _shared(columns: Sequence[Column], width: int) -> list[list[Column]]:
    """One table of all columns if it fits, else several, each with the first column; a block starts one if it can."""
    first, *others = columns
    if _room(columns, width) >= 0 or not others:
        return [[*columns]]
    blocks = [[*block] for _, block in itertools.groupby(others, key=lambda column: column.block)]
    apart = [table for block in blocks for table in _filled(first, block, width)]
    filled = _filled(first, others, width)
    return apart if len(apart) <= len(filled) else filled


def _filled(first: Column, others: Sequence[Column], width: int) -> list[list[Column]]:
    """Tables that take as many columns as they have room for."""
    tables = [[first]]
    for column in others:
        if len(tables[-1]) > 1 and _room([*tables[-1], column], width) < 0:
            tables.append([first])
        tables[-1].append(column)
    return tables


def _together(columns: Sequence[Column]) -> Column:
    """Several columns as one, whose cells say what each of them is."""
    names = [" ".join(column.head.split()) for column in columns]
    rows = zip(*(column.cells for column in columns), strict=True)
    between = "; " if any(", " in cell for column in columns for cell in column.cells) else ", "
    told = [between.join(f"{name} {cell}" for name, cell in zip(names, row, strict=True)) for row in rows]
    return Column("net", told, left=True)
