"""What reports are made of: `Page`, and the parts that several of them have."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vgcore._core import __version__
from vgcore.convert.source import source
from vgcore.measure.result import SIGNALS, Probe
from vgcore.model.mlp import MLP
from vgcore.model.sequential import Sequential
from vgcore.model.spec import Spec
from vgcore.show import html
from vgcore.show.html.blocks import Html, code, folded, heading, joined, quiet, spread
from vgcore.show.html.charts import Floats, charts, means
from vgcore.show.html.columns import layers_chart, title
from vgcore.show.html.nets import long_table
from vgcore.show.words import exponent, number, own, row, seeds_told

if TYPE_CHECKING:
    from vgcore.judge.diagnosis import Diagnosis
    from vgcore.judge.training.diagnosis import RunDiagnosis
    from vgcore.measure.trace import Trace


@dataclass(frozen=True)
class Page:
    """A report.

    Attributes:
        title: What it is about.
        parts: What stands in it, from the top to the bottom: blocks of `vgcore.show.html`, in HTML and in Markdown.
        data: The numbers behind it.
    """

    title: str
    parts: Sequence[Html]
    data: Mapping[str, Any]


#: Columns of a table of layers beside the signals, where they are known.
BESIDE = ("saturated", "dead", "zeros", "correlation")
#: What is said where no rule has a finding.
NOTHING = "No rule has found anything."
#: Rows of a table of layers that are seen at once.
SEEN = 8


def section(words: str, *parts: object) -> list[Html]:
    """A heading and what stands below it; nothing where that is nothing."""
    made = joined(*parts)
    return [heading(words), made] if made else []


def below(words: str, parts: Sequence[Html]) -> list[Html]:
    """A heading and sections below it, whose headings are smaller."""
    made = joined(*parts)
    lower = Html(
        made.replace("<h2>", "<h3>").replace("</h2>", "</h3>"),
        re.sub("^## ", "### ", made.markdown, flags=re.MULTILINE),
    )
    return [heading(words), lower]


def signals(t: Trace) -> tuple[str, ...]:
    """The columns of a trace that are its signals: forward, backward, of the weights."""
    wanted = ("log10_forward", "log10_backward", "log10_weight")
    if t.facts is not None:
        forward = "log10_h_rms" if t.facts.streams else "log10_z_rms"
        wanted = (forward, t.facts.backward, SIGNALS["weight"][0])
    return tuple(name for name in wanted if name in t.columns)


def by_layer(t: Trace, beside: Trace | None = None) -> list[Html]:
    """The signals as charts, those of another net as dashed lines, and the layers as a table."""
    drawn = charts(*(layers_chart(t, name, beside=beside) for name in signals(t)))
    names = dict.fromkeys((*signals(t), *(name for name in BESIDE if name in t.columns)))
    found = {name: means(t.columns[name]) for name in names}
    columns = {name: values for name, values in found.items() if not np.isnan(values).all()}
    told, word = own(t.names) or tuple(str(i + 1) for i in range(t.depth)), row(t.names)
    rows = [
        (told[i], *(_size(name, values[i]) + _of(t.columns[name][:, i]) for name, values in columns.items()))
        for i in range(t.depth)
    ]
    dashed = (
        [] if beside is None else [quiet("The line is the net as it was, the dashed one that with the best change.")]
    )
    runs = f"{t.runs} {'steps' if t.steps else 'runs'}"
    mean = [quiet(f"Numbers of the table are means over {runs}.")] if t.runs > 1 else []
    listed = long_table((word, *map(title, columns)), rows, sorted({*spread(t.depth, SEEN), *_around(t)}))
    return section(f"{word.capitalize()}s", *dashed, drawn, *mean, *listed)


def _around(t: Trace) -> set[int]:
    """The layers where the first and the last run break, and those beside them."""
    broken = t.first_nonfinite[t.first_nonfinite >= 0]
    ends = (int(broken.min()), int(broken.max())) if broken.size else ()
    return {at for end in ends for at in range(end - 1, end + 2) if 0 <= at < t.depth}


def _size(column: str, value: float) -> str:
    return exponent(value) if column.startswith("log10") else number(round(value, 3) + 0, ".3f")  # no -0.000


def _of(runs: Floats) -> str:
    """Of how many runs a mean is, where it is not of all: those where a signal is 0 or not finite have no share."""
    there = np.isfinite(runs).sum()
    return f" ({there} of {len(runs)})" if 0 < there < len(runs) else ""


def net(spec: Spec | None) -> list[Html]:
    """A net, layer by layer, and its code in torch where it can be written."""
    if spec is None:
        return []
    return section(
        "Net", html.inside(spec), *(torch(lambda: source(spec, "torch")) if isinstance(spec, MLP | Sequential) else ())
    )


def torch(written: Callable[[], str]) -> list[Html]:
    """The code of a net in torch; nothing where it takes more lines than a snippet has, or torch has no such part."""
    with suppress(ValueError):
        return [folded("this net in torch", code(written(), "python"))]
    return []


def again(p: Probe | None, function: str, judged_with: Sequence[str] = ()) -> list[Html]:
    """How a probe was measured: facts, and the code that does it again, with arguments that say how it was judged."""
    if p is None:
        return []
    own = p.network is not None
    given, options = options_of(p)
    arguments = ["network" if own else "spec", *options]
    given += ["network"] * own
    arguments += judged_with
    lines = ["import vgcore as vg", "", *([f"# {', '.join(given)}: as they were given"] if given else [])]
    lines += [f"spec = {spelled(p.spec)}"] if p.network is None else []
    lines.append(f"print({function}({', '.join(arguments)}))")
    return section("How it was measured", measured_with(p), code("\n".join(lines), "python"))


def options_of(p: Probe) -> tuple[list[str], list[str]]:
    """What a probe was given that no line of code can hold, and the keywords of `probe` that measure it again."""
    given = [name for name in ("x", "y") if getattr(p, name) is not None]
    options = [f"{name}={name}" for name in given]
    options += [f"loss={p.loss!r}"] if p.loss is not None else []
    options += [f"batch={p.batch}", f"seeds={len(p.seeds)}"]
    options += [f"seed={p.seeds[0]}"] if p.seeds[0] else []
    options += [f"dtype={p.dtype!r}"] if p.dtype != "float32" and p.network is None else []
    return given, options


def judged_with(d: Diagnosis | RunDiagnosis) -> list[str]:
    """The arguments of `diagnose` that say whose rules judged, and with which thresholds."""
    own = [f"rules={d.rules!r}"] if d.rules != "vgcore" else []
    thresholds = {rule: dict(levels) for rule, levels in d.thresholds.items()}
    return own + ([f"thresholds={thresholds}"] if thresholds else [])


def measured_with(p: Probe) -> Html:
    """How a probe was measured, in a line."""
    loss = "a random cotangent" if p.loss is None else f"loss {p.loss}"
    samples = "drawn samples" if p.x is None else f"given samples {np.shape(p.x) or ''}".rstrip()
    weights = "drawn weights" if p.network is None else "given weights"
    return facts(seeds_told(p.seeds), f"batch {p.batch}, {p.dtype}", loss, f"{samples}, {weights}")


def facts(*words: str) -> Html:
    """How something was measured, without anything of the machine, in a line."""
    return quiet("; ".join((f"vgcore {__version__}", *words)))


def spelled(value: object) -> str:
    """A spec, or another plain value, as an expression for `import vgcore as vg`.

    >>> print(spelled(MLP(depth=2, width=8, init="mean_field(2.0, 0.1)")))
    vg.MLP(depth=2, width=8, init='mean_field(sigma_w=2, sigma_b=0.1)')
    """
    parts = re.split(r"('[^']*')", repr(value))
    return "".join(part if i % 2 else re.sub(r"\b([A-Z]\w*\()", r"vg.\1", part) for i, part in enumerate(parts))


def chosen(badness: Sequence[Any], most: int) -> tuple[list[int], str]:
    """Which cells are told of where there is room for so many, and a sentence that says so.

    Args:
        badness: Of each cell, to sort by; the worst has the largest.
        most: Cells that there is room for.

    Returns:
        Indices in their order: all, or the worst and those in the middle, half of each.

    >>> chosen([3.0, 1.0, 2.0, 9.0, 5.0], 3)
    ([0, 3, 4], 'These are the 2 worst of 5 cells and the 1 around the median: the report has room for 3.')
    """
    count = len(badness)
    if count <= most:
        return list(range(count)), ""
    order = sorted(range(count), key=badness.__getitem__, reverse=True)
    worst, rest = (most + 1) // 2, most // 2
    first = max(worst, (count - rest) // 2)
    words = f"These are the {worst:,} worst of {count:,} cells and the {rest:,} around the median"
    return sorted(order[:worst] + order[first : first + rest]), f"{words}: the report has room for {most:,}."
