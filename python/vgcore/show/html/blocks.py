"""What all that is shown of results is made of: blocks, tables and lists, each as HTML and as Markdown.

A plain string is text and is escaped; what is made already is an `Html`, which carries its twin in Markdown. So nothing
that a user has named can become markup by mistake, and the two say the same.
"""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Iterable, Sequence

import numpy as np

from vgcore.show.html.style import STYLE, TONES

#: Characters of the longest words of a table that stay on one line.
LONG = 36


class Html(str):
    """Text that is HTML already, with the same in Markdown as GitHub reads it.

    Attributes:
        markdown: The twin; empty where Markdown has none.
    """

    __slots__ = ("markdown",)
    markdown: str

    def __new__(cls, source: str, markdown: str = "") -> Html:  # noqa: PYI034 (typing has no Self in Python 3.10)
        """Text that is HTML already, and its twin."""
        made = super().__new__(cls, source)
        made.markdown = markdown
        return made

    def __html__(self) -> str:
        """What Jinja asks for, which then leaves it as it is."""
        return str(self)


def escaped(value: object) -> Html:
    """A value as text; what is HTML stays as it is.

    >>> escaped("<i>"), escaped("<i>").markdown, escaped(Html("<i>"))
    ('&lt;i&gt;', '&lt;i>', '<i>')
    """
    return value if isinstance(value, Html) else Html(html.escape(str(value)), _plain(str(value)))


def _plain(text: str) -> str:
    r"""A text that Markdown takes as it stands, on one line.

    >>> print(_plain("|dL/dW| of `a_b` and _c_, x < 1"))
    \|dL/dW\| of \`a_b\` and \_c\_, x &lt; 1
    """
    text = re.sub(r"[\\`*\[\]|~$]|(?<!\w)_|_(?!\w)", r"\\\g<0>", " ".join(text.split()))
    return text.replace("&", "&amp;").replace("<", "&lt;")


def paragraph(text: object) -> Html:
    """A paragraph."""
    made = escaped(text)
    return Html(f"<p>{made}</p>", _begun(made.markdown))


def _begun(markdown: str) -> str:
    r"""What begins a line, where a sign or a number and a dot would make it a heading, a list or a quotation.

    >>> _begun("# a"), _begun("1. a"), _begun("**a**")
    ('\\# a', '1\\. a', '**a**')
    """
    return re.sub(r"^(\d*)([#>+\-=]|(?<=\d)[.)])", r"\1\\\2", markdown)


def joined(*parts: object) -> Html:
    """Parts one after another: plain text as paragraphs."""
    made = [part if isinstance(part, Html) else paragraph(part) for part in parts]
    return Html("".join(made), "\n\n".join(part.markdown for part in made if part.markdown))


def block(*parts: object) -> Html:
    """What stands alone, with its style: plain text makes paragraphs.

    >>> block("a < b").endswith("<p>a &lt; b</p></div>")
    True
    """
    made = joined(*parts)
    return Html(f'<div class="vgcore">{STYLE}{made}</div>', made.markdown)


def heading(text: object) -> Html:
    """What stands over a part of a page."""
    made = escaped(text)
    return Html(f"<h2>{made}</h2>", f"## {made.markdown}")


def bold(text: object) -> Html:
    """What a line begins with."""
    made = escaped(text)
    return Html(f"<b>{made}</b>", f"**{made.markdown}**" if made else "")


def toned(text: object, word: str) -> Html:
    """A text in the colour of a verdict or a severity.

    >>> toned("vanishing (backward)", "vanishing")
    '<b class="cold">vanishing (backward)</b>'
    """
    tone, made = TONES.get(word), bold(text)
    return Html(f'<b class="{tone}">{escaped(text)}</b>', made.markdown) if tone else made


def said(word: str, verdict: str, summary: str) -> Html:
    """What was judged, in a sentence that most often begins with the verdict: that part in its colour."""
    if not summary.startswith(word):
        return titled(toned(word, verdict), summary)
    head, rest = toned(word, verdict), escaped(summary[len(word) :])
    return Html(f"<p>{head}{rest}</p>", head.markdown + rest.markdown)


def stacked(*lines: object) -> Html:
    """Lines one below the other in a cell; empty ones take no room.

    >>> stacked("a < b", "", "c")
    'a &lt; b<br>c'
    """
    made = [escaped(line) for line in lines if line]
    return Html("<br>".join(made), "<br>".join(line.markdown for line in made))


def breakable(name: str) -> Html:
    """A long name, which may be broken behind an underscore where there is little room.

    >>> breakable("dead_units")
    'dead_<wbr>units'
    """
    made = escaped(name)
    return Html(made.replace("_", "_<wbr>"), made.markdown)


def kept(text: str) -> Html:
    """A text that is broken at spaces alone, not at those that keep words together: no formula within a symbol.

    >>> kept("∂L/∂W = δ")
    '<span class="kept">∂L/∂W</span> <span class="kept">=</span> <span class="kept">δ</span>'
    """
    words = (word.replace("\xa0", " ") for word in text.split(" ") if word)
    return Html(" ".join(f'<span class="kept">{escaped(word)}</span>' for word in words), _plain(text))


def quiet(text: object) -> Html:
    """A paragraph of what need not be read first."""
    made = escaped(text)
    return Html(f'<p class="quiet">{made}</p>', _begun(made.markdown))


def titled(title: object, *lines: object) -> Html:
    """A paragraph that begins with what it is about."""
    made = [title if isinstance(title, Html) else bold(title), *map(escaped, lines)]
    return Html(f"<p>{'<br>'.join(made)}</p>", "\\\n".join(_begun(line.markdown) for line in made))


def code(text: str, language: str = "") -> Html:
    """Lines as they stand, such as those of a program.

    >>> print(code("a < b").markdown)
    ```
    a < b
    ```
    """
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return Html(f"<pre>{html.escape(text)}</pre>", f"{fence}{language}\n{text}\n{fence}")


def table(head: Sequence[object], rows: Iterable[Sequence[object] | Html], *, words: Collection[int] = (0,)) -> Html:
    r"""A table; columns of words are set to the left, numbers to the right.

    Where there is little room, short words stay whole, sentences are folded into lines that can be read, and what is
    wider all the same can be scrolled.

    Args:
        head: What stands over each column; it is broken between words alone.
        rows: A cell a column, of which whatever is no `Html` is escaped; or one `Html` over the full width, which in
            Markdown stands below the table.
        words: Which columns hold words.

    >>> "<td>&lt;8&gt;</td>" in table(["layer", "width"], [["1", "<8>"]])
    True
    >>> print(table(["layer", "a|b"], [["1", "<8>"]]).markdown)
    | layer | a\|b |
    | :-- | --: |
    | 1 | &lt;8> |
    """
    given = [cells if isinstance(cells, Html) else [escaped(cell) for cell in cells] for cells in rows]
    heads = [cell if isinstance(cell, Html) else kept(str(cell)) for cell in head]
    columns = list(zip(head, *(cells for cells in given if not isinstance(cells, Html)), strict=True))
    long = {i for i, column in enumerate(columns) if i in words and max(map(_length, column)) > LONG}
    sides = [f' class="words{" long" * (i in long)}"' if i in words else "" for i in range(len(head))]

    def row(tag: str, cells: Sequence[Html] | Html) -> str:
        if isinstance(cells, Html):
            return f'<tr><{tag} class="whole" colspan="{len(head)}">{cells}</{tag}></tr>'
        each = (f"<{tag}{side}>{cell}</{tag}>" for side, cell in zip(sides, cells, strict=True))
        return f"<tr>{''.join(each)}</tr>"

    body = "".join(row("td", cells) for cells in given)
    return Html(
        f'<div class="wide"><table><thead>{row("th", heads)}</thead><tbody>{body}</tbody></table></div>',
        _markdown_table(heads, given, words),
    )


def _markdown_table(heads: Sequence[Html], rows: Sequence[Sequence[Html] | Html], words: Collection[int]) -> str:
    marks = [":--" if i in words else "--:" for i in range(len(heads))]
    lines = [[cell.markdown for cell in heads], marks]
    lines += [[cell.markdown for cell in cells] for cells in rows if not isinstance(cells, Html)]
    below = [cells.markdown for cells in rows if isinstance(cells, Html)]
    return "\n\n".join(["\n".join(f"| {' | '.join(cells)} |" for cells in lines), *below])


def _length(cell: object) -> int:
    """Characters of a line of a cell, without markup."""
    return max(len(re.sub("<[^>]*>", "", part)) for part in str(cell).split("<br>"))


def folded(summary: object, *parts: object) -> Html:
    """What is opened by a click."""
    head, made = escaped(summary), joined(*parts)
    source = f"<details><summary>{head}</summary>"
    return Html(f"{source}{made}</details>", f"{source}\n\n{made.markdown}\n\n</details>")


def spread(count: int, most: int) -> list[int]:
    """Indices of at most so many things, evenly spread, both ends among them.

    >>> spread(3, 8), spread(50, 8)
    ([0, 1, 2], [0, 7, 14, 21, 28, 35, 42, 49])
    """
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, most)).tolist()})
