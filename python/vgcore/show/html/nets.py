"""Nets as HTML: what they are made of, and gradients by tensor."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from vgcore import _core
from vgcore.model.custom import named
from vgcore.model.kinds import WHOLE
from vgcore.model.names import counted
from vgcore.model.network import Gradients
from vgcore.model.plan import Plan, Step
from vgcore.show.html.blocks import Html, escaped, folded, joined, quiet, spread, table, titled, toned
from vgcore.show.html.charts import curve
from vgcore.show.words import exponent, spans

if TYPE_CHECKING:
    from vgcore.convert.imported import Imported, Refusal
    from vgcore.measure.clip import Clipped
    from vgcore.model.kinds import Kinds
    from vgcore.model.network import Forward, Network
    from vgcore.model.spec import Spec

#: Rows of a table that are shown without a click.
OPEN = 8
#: Rows of a table that are written at all.
MOST = 200
#: What tensors are called in formulas.
SHORT = {"weight": "W", "bias": "b"}
#: Layers of a net whose layers are looked at one by one: more than these take a second.
DEEPEST = 2000


def spec(s: Spec) -> Html:
    """A description of a net: its sizes, its layers, those that are alike in one row, and its parameters."""
    return joined(*_spec(s, type(s).__name__))


def network(n: Network) -> Html:
    """A net with its numbers."""
    return joined(*_spec(n.spec, "Network", f"weights in {n.dtype}"))


def imported(i: Imported) -> Html:
    """A net of another library, with what was noted on the way."""
    notes = (f"note: {note}" for note in i.notes)
    return joined(*_spec(i.network.spec, "Imported", f"weights in {i.network.dtype}"), *notes)


def kinds(k: Kinds) -> Html:
    """Kinds: a row a kind; of all families, a row a family."""
    if len(k) > WHOLE:
        families = [(family, str(k.families[family]), names) for family, names in k.named().items()]
        told = table(("family", "kinds", "names"), families, words=(0, 2))
        return joined(titled("Kinds"), told, quiet("vg.kinds('activation') has the formulas of a family."))
    rows = [(kind.call, kind.formula, kind.summary, kind.source) for kind in k]
    told = table(("name", "formula", "what it is", "source"), rows, words=range(4))
    return joined(titled(repr(k)), *map(quiet, dict.fromkeys(kind.letters for kind in k)), told)


def refusal(r: Refusal) -> Html:
    """Why a net has no equal here."""
    place = f" at {r.path}" if r.path else ""
    return joined(titled(toned(f"refused{place}: {r.operation}", "critical"), r.reason), r.nearest)


def _spec(s: Spec, what: str, *facts: str) -> Iterator[Html]:
    yield titled(f"{what}: {s.sizes}", repr(s))
    if s.rows > DEEPEST:
        yield from map(quiet, facts)
        return
    counts: Counter[str] = Counter()
    for name, count in _core.tensors(s):
        counts[name.rpartition(".")[0]] += count
    rows = [*_layers(s, counts)]
    ends = [*range(min(len(rows), OPEN - 1)), len(rows) - 1]
    yield from long_table(("layer", "in", "out", "parts", "parameters"), rows, ends, words=(0, 3))
    tied = " of one layer, which all share" if getattr(s, "tied", False) else ""
    yield quiet("; ".join((*facts, f"{counts.total():,} parameters{tied}")))


def long_table(
    head: Sequence[object], rows: Sequence[Sequence[object]], some: Sequence[int], *, words: Sequence[int] = (0,)
) -> list[Html]:
    """A table; where it is long, some of its rows, and all of them folded."""
    if len(rows) <= OPEN:
        return [table(head, rows, words=words)]
    rest = [quiet(f"and {len(rows) - MOST} more")] if len(rows) > MOST else []
    few = table(head, [rows[i] for i in some], words=words)
    return [few, folded(f"all {len(rows)} rows", table(head, rows[:MOST], words=words), *rest)]


def _layers(s: Spec, counts: Mapping[str, int]) -> Iterator[tuple[str, ...]]:
    """The rows of layers and ends; neighbours that are alike stand together."""
    plan = Plan.of(s)
    each = [(layer.input, layer.output, _parts(layer.steps), _count(layer.steps, counts)) for layer in plan.layers]
    at = 0
    for row, run in itertools.groupby(each):
        many = len(list(run))
        places = spans(range(at, at + many))
        yield (places, *_cells(*row, many))
        at += many
    if plan.ends:
        name = "end" if plan.readout is None else "readout"
        inputs, outputs = plan.ends[0].inputs, plan.ends[-1].outputs
        yield (name, *_cells(inputs, outputs, _parts(plan.ends), _count(plan.ends, counts), 1))


def _cells(inputs: int, outputs: int, parts: str, parameters: int, many: int) -> tuple[str, ...]:
    each = " each" if many > 1 else ""
    return f"{inputs:,}", f"{outputs:,}", parts, f"{parameters:,}{each}"


def _count(steps: Iterable[Step], counts: Mapping[str, int]) -> int:
    return sum(counts[key] for key in {key for step in steps for key in (step.key, step.fed) if key})


def _parts(steps: Iterable[Step]) -> str:
    """What a layer does, in order."""
    return ", ".join(_part(step) for step in steps)


def _part(step: Step) -> str:
    if step.part == "map":
        return "map"
    if step.part == "dropout":
        return f"dropout {step.dropped:g}"
    if step.part == "keep":
        return "keep"
    if step.part == "join":
        scale = "" if step.scale == 1 else f" x {step.scale:.3g}"
        return f"{step.kind}{scale}"
    if step.part in {"norm", "pool"}:
        return f"{step.kind} {step.part}"
    return named(step.kind) if step.kind else step.part


def gradients(g: Gradients) -> Html:
    """Gradients, a row a tensor."""
    return joined(titled(repr(g)), *_of_net(g))


def forward(f: Forward) -> Html:
    """A forward pass: a row a layer, with the root mean square of each of its quantities."""
    rows = [(str(i), *map(_rms, each)) for i, each in enumerate(zip(f.z, f.slopes, f.a, f.h, strict=True), 1)]
    rows.append(("output", "", "", "", _rms(f.output)))
    head = ("layer", *(f"log10 rms of {name}" for name in ("z", "phi'", "a", "h")))
    return joined(titled(repr(f)), *long_table(head, rows, spread(len(rows), OPEN)))


def _rms(values: ArrayLike) -> str:
    """The log10 of a root mean square."""
    size = np.size(values)
    return exponent(_Tensor.of("", values).log10 - math.log10(size) / 2) if size else ""


def clipped(c: Clipped[Any]) -> Html:
    """Gradients after clipping, and what it did."""
    bad = [f"not finite: {', '.join(c.nonfinite)}"] if c.nonfinite else []
    what = f"norm before {c.total:.4g}, multiplied by {c.coef:.4g}, {c.fraction:.0%} clipped"
    head = titled("Clipped", what, *bad)
    if isinstance(c.grads, Gradients):
        return joined(head, *_of_net(c.grads))
    named = c.grads if isinstance(c.grads, Mapping) else {str(i): each for i, each in enumerate(c.grads)}
    rows = [_Tensor.of(name, each).row for name, each in named.items()]
    return joined(head, *long_table(("tensor", "shape", "log10 norm", "largest entry"), rows, spread(len(rows), OPEN)))


class _Tensor(NamedTuple):
    """A gradient of one tensor.

    Attributes:
        name: Of the tensor.
        shape: Its shape.
        log10: Of its norm.
        largest: Its largest entry in size.
    """

    name: str
    shape: tuple[int, ...]
    log10: float
    largest: float

    @classmethod
    def of(cls, name: str, given: ArrayLike) -> _Tensor:
        values = np.asarray(given, dtype=np.float64)
        largest = float(np.max(np.abs(values), initial=0.0))
        with np.errstate(all="ignore"):  # scaled, as squares may leave the range
            norm = largest * float(np.sqrt(np.sum(np.square(values / largest)))) if 0 < largest < np.inf else largest
            return cls(name, values.shape, float(np.log10(norm)), largest)

    @property
    def row(self) -> tuple[str, ...]:
        return self.name, " x ".join(map(str, self.shape)) or "1", exponent(self.log10), f"{self.largest:.3g}"


def _of_net(g: Gradients) -> Iterator[Html]:
    """The gradients of a net: a curve of its weights', input side first, and a row a tensor."""
    weights = [_Tensor.of(name, each) for name, each in g.parameters.items() if counted(name)[1] == "weight"]
    if len(weights) > 1:
        drawn = curve([each.log10 for each in weights], "log10 norm of the weights' gradients", width=300, height=60)
        ends = " to ".join(counted(weights[i].name)[0] for i in (0, -1))
        yield titled(escaped(f"log10 norm of dL/dW from {ends}"), drawn)
    named = [(*counted(name), f"parameters[{name!r}]", each) for name, each in g.parameters.items()]
    rest = [(f"layer {i + 1}", "z", f"preactivations[{i}]", each) for i, each in enumerate(g.preactivations)]
    rows = [
        (layer, f"dL/d({of})" if " " in of else f"dL/d{SHORT.get(of, of)}", key, *_Tensor.of("", each).row[1:])
        for layer, of, key, each in (*named, *rest, ("", "x", "input", g.input))
    ]
    head = ("layer", "gradient", "in Python", "shape", "log10 norm", "largest entry")
    first = [i for i, row in enumerate(rows) if row[1] == "dL/dW"]
    yield from long_table(head, rows, [first[i] for i in spread(len(first), OPEN)], words=(0, 1, 2))
