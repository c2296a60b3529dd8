"""What all HTML of results is made of: one style, blocks, tables and small curves.

A plain string is text and is escaped; what is HTML already is an `Html`. So nothing that a user has named can become
markup by mistake.
"""

from __future__ import annotations

import html
import itertools
import math
import re
from collections.abc import Collection, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from vgcore.show.words import extent

#: The colours of text and of what is behind it, in light and in dark. Each text is readable on each ground: a contrast
#: of 4.5 or better (WCAG 2.2, success criterion 1.4.3), which a test works out.
TEXTS = {
    "text": ("#1f2328", "#e6e8eb"),
    "quiet": ("#545d68", "#a9b1ba"),
    "good": ("#116329", "#5fd07a"),
    "cold": ("#0550ae", "#7cb7ff"),
    "bad": ("#b3261e", "#ff8f86"),
    "warn": ("#7d5200", "#e8b84a"),
}
GROUNDS = {"ground": ("#ffffff", "#16181d"), "head": ("#f3f5f7", "#24272e")}
LINE = ("#d8dee4", "#3d424b")

#: What a word is coloured as. The colour is never the only mark: the word says it.
TONES = {
    **dict.fromkeys(("healthy", "trained"), "good"),
    **dict.fromkeys(("vanishing", "learning"), "cold"),
    **dict.fromkeys(("exploding", "symmetric", "collapsed", "non-finite", "diverged", "stuck", "critical"), "bad"),
    "warning": "warn",
    "info": "quiet",
}


#: Characters of the longest words of a table that stay on one line.
LONG = 36


def _style() -> str:
    """The rules. All begin with `.vgcore`, so that nothing of it reaches the page around.

    A page says by itself whether it is light or dark; notebooks and sites say so by a mark of their theme, which need
    not be that of the system. Everything follows from `color-scheme`. Notebooks colour the rows of every table and set
    all cells to the right, by rules that are stronger than one class: ours must insist.
    """
    colours = {**TEXTS, **GROUNDS, "line": LINE}
    pairs = "".join(f"--{name}:light-dark({light},{dark});" for name, (light, dark) in colours.items())
    marks = {
        "light": ('[data-jp-theme-light="true"]', '[data-vscode-theme-kind$="light"]', "html[theme=light]"),
        "dark": (
            *('[data-jp-theme-light="false"]', '[data-vscode-theme-kind$="dark"]', "html[theme=dark]"),
            '[data-vscode-theme-kind="vscode-high-contrast"]',
        ),
    }
    sites = {"light": '[data-md-color-scheme="default"]', "dark": '[data-md-color-scheme="slate"]'}
    themes = "".join(
        f".vgcore:is({','.join(f'{mark} *' for mark in (*found, sites[scheme]))}){{color-scheme:{scheme}}}"
        for scheme, found in marks.items()
    )
    rules = """
    .vgcore{color-scheme:light dark;%s
    color:var(--text);background:var(--ground);border:1px solid var(--line);border-radius:6px;padding:.6em .9em;
    margin:.3em 0;width:fit-content;max-width:100%%;box-sizing:border-box;font:14px/1.45 system-ui,sans-serif}
    %s
    .vgcore .vgcore{border:0;padding:0;margin:0}
    .vgcore p{margin:.3em 0;max-width:60em}
    .vgcore div.wide{overflow-x:auto}
    .vgcore table{border-collapse:collapse;margin:.4em 0;font-size:13px;color:var(--text)}
    .vgcore tr{background:var(--ground)!important}
    .vgcore th,.vgcore td{padding:.2em .7em;text-align:right;vertical-align:top;border:0;
    border-bottom:1px solid var(--line);font-variant-numeric:tabular-nums}
    .vgcore th{background:var(--head);color:var(--text);font-weight:600;vertical-align:bottom}
    .vgcore .words{text-align:left!important;white-space:nowrap}
    .vgcore .long{min-width:16em;max-width:44em;white-space:normal;overflow-wrap:anywhere}
    .vgcore .whole{text-align:left!important}
    .vgcore .kept{white-space:nowrap}
    .vgcore summary{cursor:pointer;color:var(--quiet)}
    .vgcore pre{margin:.3em 0;color:var(--text);background:var(--ground);font:12px/1.3 monospace;overflow-x:auto}
    .vgcore.page{width:auto;max-width:70rem;margin:2rem auto;border:0;font-size:15px}
    .vgcore h1{font-size:1.4rem}
    .vgcore h2{font-size:1.1rem;margin-top:2rem}
    .vgcore svg,.vgcore img{max-width:100%%;height:auto;vertical-align:middle}
    """
    tones = "".join(f".vgcore .{name}{{color:var(--{name})}}" for name in TEXTS if name != "text")
    return (rules % (pairs, themes) + tones).replace("\n", "").replace("    ", "")


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def escaped(value: object) -> Html:
    """A value as text; what is HTML stays as it is.

    >>> escaped("<i>"), escaped(Html("<i>"))
    ('&lt;i&gt;', '<i>')
    """
    return value if isinstance(value, Html) else Html(html.escape(str(value)))


def joined(parts: Iterable[object]) -> Html:
    """Parts one after another: plain text as paragraphs."""
    return Html("".join(part if isinstance(part, Html) else f"<p>{escaped(part)}</p>" for part in parts))


STYLE = Html(f"<style>{_style()}</style>")


def block(*parts: object) -> Html:
    """A result that stands alone, with its style: plain text makes paragraphs.

    >>> block("a < b").endswith("<p>a &lt; b</p></div>")
    True
    """
    return Html(f'<div class="vgcore">{STYLE}{joined(parts)}</div>')


def toned(text: object, word: str) -> Html:
    """A text in the colour of a verdict or a severity.

    >>> toned("vanishing (backward)", "vanishing")
    '<b class="cold">vanishing (backward)</b>'
    """
    tone = TONES.get(word)
    return Html(f'<b class="{tone}">{escaped(text)}</b>' if tone else f"<b>{escaped(text)}</b>")


def said(word: str, verdict: str, summary: str) -> Html:
    """What was judged, in a sentence that most often begins with the verdict: that part in its colour."""
    if summary.startswith(word):
        return Html(f"<p>{toned(word, verdict)}{escaped(summary[len(word) :])}</p>")
    return titled(toned(word, verdict), summary)


def stacked(*lines: object) -> Html:
    """Lines one below the other in a cell; empty ones take no room.

    >>> stacked("a < b", "", "c")
    'a &lt; b<br>c'
    """
    return Html("<br>".join(escaped(line) for line in lines if line))


def kept(text: str) -> Html:
    """A text that is broken at spaces alone, not at those that keep words together: no formula within a symbol.

    >>> kept("∂L/∂W = δ")
    '<span class="kept">∂L/∂W</span> <span class="kept">=</span> <span class="kept">δ</span>'
    """
    words = (word.replace("\xa0", " ") for word in text.split(" ") if word)
    return Html(" ".join(f'<span class="kept">{escaped(word)}</span>' for word in words))


def quiet(text: object) -> Html:
    """A paragraph of what need not be read first."""
    return Html(f'<p class="quiet">{escaped(text)}</p>')


def titled(title: object, *lines: object) -> Html:
    """A paragraph that begins with what it is about."""
    head = title if isinstance(title, Html) else f"<b>{escaped(title)}</b>"
    return Html(f"<p>{'<br>'.join([head, *map(escaped, lines)])}</p>")


def table(head: Sequence[object], rows: Iterable[Sequence[object] | Html], *, words: Collection[int] = (0,)) -> Html:
    """A table; columns of words are set to the left, numbers to the right.

    Where there is little room, short words stay whole, sentences are folded into lines that can be read, and what is
    wider all the same can be scrolled.

    Args:
        head: What stands over each column; it is broken between words alone.
        rows: A cell a column, of which whatever is no `Html` is escaped; or one `Html` over the full width.
        words: Which columns hold words.

    >>> "<td>&lt;8&gt;</td>" in table(["layer", "width"], [["1", "<8>"]])
    True
    """
    rows = list(rows)
    columns = list(zip(head, *(cells for cells in rows if not isinstance(cells, Html)), strict=True))
    long = {i for i, column in enumerate(columns) if i in words and max(map(_length, column)) > LONG}
    sides = [f' class="words{" long" * (i in long)}"' if i in words else "" for i in range(len(head))]

    def row(tag: str, cells: Sequence[object] | Html) -> str:
        if isinstance(cells, Html):
            return f'<tr><{tag} class="whole" colspan="{len(head)}">{cells}</{tag}></tr>'
        each = (f"<{tag}{side}>{escaped(cell)}</{tag}>" for side, cell in zip(sides, cells, strict=True))
        return f"<tr>{''.join(each)}</tr>"

    body = "".join(row("td", cells) for cells in rows)
    heads = row("th", [cell if isinstance(cell, Html) else kept(str(cell)) for cell in head])
    return Html(f'<div class="wide"><table><thead>{heads}</thead><tbody>{body}</tbody></table></div>')


def _length(cell: object) -> int:
    """Characters of a line of a cell, without markup."""
    return max(len(re.sub("<[^>]*>", "", part)) for part in str(cell).split("<br>"))


def folded(summary: object, *parts: object) -> Html:
    """What is opened by a click."""
    return Html(f"<details><summary>{escaped(summary)}</summary>{joined(parts)}</details>")


def spread(count: int, most: int) -> list[int]:
    """Indices of at most so many things, evenly spread, both ends among them.

    >>> spread(3, 8), spread(50, 8)
    ([0, 1, 2], [0, 7, 14, 21, 28, 35, 42, 49])
    """
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, most)).tolist()})


def means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean over the runs of what is finite, layer by layer; nan where nothing is, -inf where all is 0."""
    finite = np.isfinite(values)
    count = finite.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(finite, values, 0).sum(axis=0) / count
    return np.where(count > 0, mean, np.where(np.isneginf(values).all(axis=0), -math.inf, math.nan))


def curve(
    values: Sequence[float] | NDArray[np.float64],
    what: str,
    *,
    column: str | None = None,
    width: int = 150,
    height: int = 30,
) -> Html:
    """A small curve of some numbers, the first on the left; a gap where one is not finite.

    Args:
        values: The numbers.
        what: Of what, for those who do not see it.
        column: The column that they are of, which says how much they span at least; `what` if None.
        width: Pixels.
        height: Pixels.
    """
    chosen = np.asarray(values, dtype=np.float64)[spread(len(values), width)]
    finite = np.isfinite(chosen)
    if not finite.any():
        return Html("")
    low, high = float(chosen[finite].min()), float(chosen[finite].max())
    with np.errstate(over="ignore"):
        low, high = extent(column or what, low, high)
        span = high - low if high > low else math.inf
    across = np.linspace(2, width - 2, len(chosen)) if len(chosen) > 1 else np.array([width / 2])
    down = np.where(finite, height - 3 - (height - 6) * ((chosen - low) / span if math.isfinite(span) else 0.5), 0)
    lines = []
    for known, run in itertools.groupby(range(len(chosen)), key=lambda i: bool(finite[i])):
        places = list(run)
        if known and len(places) == 1:
            lines.append(
                f'<circle cx="{across[places[0]]:.1f}" cy="{down[places[0]]:.1f}" r="1.5" fill="currentColor"/>'
            )
        elif known:
            points = " ".join(f"{across[i]:.1f},{down[i]:.1f}" for i in places)
            lines.append(f'<polyline points="{points}" fill="none" stroke="currentColor" stroke-width="1.5"/>')
    said = html.escape(f"{what}: from {chosen[finite][0]:.3g} to {chosen[finite][-1]:.3g}")
    return Html(
        f'<svg role="img" aria-label="{said}" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
        f"{''.join(lines)}</svg>"
    )
