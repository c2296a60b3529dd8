"""The lines of a derivation: each number beside its formula, in LaTeX, and the quantities that the formula names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vgcore import _core
from vgcore.model.kind import Loss
from vgcore.model.plan import Plan

if TYPE_CHECKING:
    from vgcore.measure.explain import Explanation

Array = NDArray[Any]

#: A product in a formula.
TIMES = r"\cdot"
#: The product of two arrays entry by entry.
EACH = r"\odot"
#: Factors of the longest product that is written out.
FACTORS = 24
#: Entries of the largest quantity that is put into a formula, and of the largest whose numbers are shown.
PUT_IN, SHOWN = 9, 64
#: Layers of the deepest net that is written out whole; of a deeper one, so many at each end are.
WHOLE, ENDS = 12, 3


class Term(NamedTuple):
    """A quantity in a formula.

    Attributes:
        symbol: Its name, in LaTeX.
        value: Its numbers, two axes. One sample is a column, of several each is a row.
    """

    symbol: str
    value: Array

    @property
    def transposed(self) -> Term:
        """The transpose; a single number is its own."""
        if self.value.size == 1:
            return self
        symbol = f"({self.symbol})" if self.symbol.startswith(r"\frac") else self.symbol
        return Term(rf"{symbol}^{{\top}}", self.value.T)


Formula = tuple[str | Term, ...]


class Line(NamedTuple):
    """A quantity, how it comes about, and its value.

    Attributes:
        symbol: Its name, in LaTeX; empty where the line goes on from the one before.
        formula: Terms, and what stands between them, in LaTeX; empty for what is given.
        value: Its numbers.
        relation: What stands between name and formula, in LaTeX.
    """

    symbol: str
    formula: Formula
    value: Array
    relation: str = "="


class Section(NamedTuple):
    """Some lines under a heading, or a table.

    Attributes:
        title: The heading.
        words: What the lines show, in sentences.
        lines: The lines; a sentence stands for the layers that are left out.
        head: The heads of the columns of the table, in LaTeX; empty where there is none.
        rows: The rows of the table: a number of the layer, and one number a column; `()` for those that are left out.
    """

    title: str
    words: str
    lines: tuple[Line | str, ...] = ()
    head: tuple[str, ...] = ()
    rows: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True)
class Layer:
    """The quantities of a hidden layer, or of the readout, which has no activation."""

    index: str
    name: str  # of the activation
    steepest: float
    input: Term
    weight: Term
    bias: Term | None
    z: Term
    slope: Term
    a: Term
    delta: Term
    found: Term  # dL/dW
    bias_found: Term | None
    new_weight: Array
    new_bias: Array | None


def gradient(symbol: str) -> str:
    """The symbol of dL by something."""
    return rf"\frac{{\partial L}}{{\partial {symbol}}}"


def number(value: float, digits: int) -> str:
    """A number as text. 17 digits are those that tell a float64 from all others: 0.1, not 0.10000000000000001."""
    value = float(value) + 0.0  # -0 is 0
    return repr(value).removesuffix(".0") if digits == 17 else f"{value:.{digits}g}"


def function(activation: str) -> str:
    """The symbol of an activation: its name, or phi for a table of the user's own."""
    name = activation.partition("(")[0]
    return r"\phi" if name == "custom" else rf"\operatorname{{{name.replace('_', chr(92) + '_')}}}"


class Derivation:
    """The quantities of an explanation, and the lines that are made of them."""

    def __init__(self, e: Explanation) -> None:
        self.e = e
        self.batch: int = len(e.x)
        self.outputs: int = e.forward.output.shape[1]
        #: With one sample vectors are columns, and maps stand on the left; samples of a batch are rows.
        self.one: bool = self.batch == 1
        self.x: Term = Term("x", self.shaped(e.x))
        self.y: Term = Term("y", self.shaped(e.forward.output))
        self.dy: Term = Term(gradient("y"), self.shaped(e.output_gradient))
        self.layers: list[Layer] = list(self._layers())
        self.hidden: list[Layer] = [layer for layer in self.layers if layer.name]
        depth = len(self.hidden)
        #: Indices of the hidden layers that are not written out.
        self.folded: range = range(ENDS, depth - ENDS) if depth > WHOLE else range(0)
        plain = all(layer.weight.value.size == 1 for layer in self.layers)
        #: Is every quantity a number?
        self.scalar: bool = plain and self.one

    def shaped(self, rows: Array) -> Array:
        """Samples as a formula has them."""
        return rows.T if self.one else rows

    def _layers(self) -> Iterator[Layer]:
        """The hidden layers, then the readout."""
        e, plan = self.e, Plan.of(self.e.net.spec)
        state, new, found = e.net.state_dict(), e.stepped.state_dict(), e.gradients.parameters
        handed = self.x
        maps = [(f"layers.{l}", str(l + 1)) for l in range(len(plan.layers))]
        if plan.readout is not None:
            maps.append(("readout", r"\text{out}"))
        for l, (key, index) in enumerate(maps):
            hidden = l < len(plan.layers)
            name = str(plan.layers[l].activation) if hidden else ""

            def term(symbol: str, rows: Array, index: str = index) -> Term:
                return Term(rf"{symbol}_{{{index}}}", rows)

            def vector(values: Array) -> Array:
                return self.shaped(np.atleast_2d(values))

            z = term("z", self.shaped(e.forward.z[l])) if hidden else self.y
            bias = state.get(f"{key}.bias")
            a = term("a", self.shaped(e.forward.a[l])) if hidden else self.y
            yield Layer(
                index=index,
                name=name,
                steepest=_core.steepest(name) if hidden else 1.0,
                input=handed,
                weight=term("W", state[f"{key}.weight"]),
                bias=None if bias is None else term("b", vector(bias)),
                z=z,
                slope=Term(rf"\phi'({z.symbol})", self.shaped(e.forward.slopes[l])) if hidden else self.y,
                a=a,
                delta=term(r"\delta", self.shaped(e.gradients.preactivations[l])) if hidden else self.dy,
                found=Term(gradient(rf"W_{{{index}}}"), found[f"{key}.weight"]),
                bias_found=None if bias is None else Term(gradient(rf"b_{{{index}}}"), vector(found[f"{key}.bias"])),
                new_weight=new[f"{key}.weight"],
                new_bias=None if bias is None else vector(new[f"{key}.bias"]),
            )
            handed = a

    # What formulas are made of.

    def mapped(self, layer: Layer) -> Formula:
        """W h + b."""
        h, weight = layer.input, layer.weight
        product: Formula = (weight, TIMES, h) if self.one else (h, TIMES, weight.transposed)
        return product if layer.bias is None else (*product, " + ", layer.bias)

    def pulled(self, layer: Layer) -> Formula:
        """The gradient of what a map gets, from that of what it gives."""
        weight, delta = layer.weight, layer.delta
        return (weight.transposed, TIMES, delta) if self.one else (delta, TIMES, weight)

    def reached(self, l: int) -> Formula:
        """dL/da of a hidden layer."""
        return self.pulled(self.layers[l + 1]) if l + 1 < len(self.layers) else (self.dy,)

    def outer(self, layer: Layer) -> Formula:
        """dL/dW of a layer, a sum over the samples."""
        delta, h = layer.delta, layer.input
        return (delta, TIMES, h.transposed) if self.one else (delta.transposed, TIMES, h)

    def sized(self, term: Term) -> Term:
        """The size of a quantity."""
        bars = r"|%s|" if self.scalar else r"\lVert %s \rVert"
        size = np.linalg.norm(term.value, 2) if term.symbol.startswith("W") else np.linalg.norm(term.value)
        return Term(bars % term.symbol, np.full((1, 1), size))

    def shown(self, groups: list[list[Line]]) -> tuple[Line | str, ...]:
        """The lines of all layers, first to last, as those of the ends and a sentence between them."""
        before = [line for group in groups[: self.folded.start] for line in group] if self.folded else []
        behind = [line for group in groups[self.folded.stop :] for line in group]
        return (*before, *([self.left_out()] if self.folded else []), *behind)

    def left_out(self) -> str:
        """What stands for the layers that are not written out."""
        return f"layers {self.folded.start + 1} to {self.folded.stop} go on in the same way"

    # The sections.

    def table(self) -> Section:
        """The numbers of the layers, or their sizes."""

        def rms(values: Array) -> float:
            return float(values[0, 0] if self.scalar else np.sqrt(np.mean(np.square(values.astype(np.float64)))))

        sizes = "" if self.scalar else " The columns hold root mean squares of entries."
        rows: list[tuple[float, ...]] = [
            (float(l), *(rms(t.value) for t in (layer.z, layer.a, layer.slope, layer.delta, layer.found)))
            for l, layer in enumerate(self.hidden, 1)
            if l - 1 not in self.folded
        ]
        if self.folded:
            rows.insert(ENDS, ())
            sizes += f" Layers {self.folded.start + 1} to {self.folded.stop} are left out here and below."
        words = rf"Layers count from the input; $\delta$ is ${gradient('z')}$."
        head = (r"\text{layer}", "z", "a", r"\phi'(z)", r"\delta", gradient("W"))
        return Section("Layers", words + sizes, head=head, rows=tuple(rows))

    def parameters(self) -> Section:
        """The weights and biases whose numbers stand in no formula."""
        groups = [
            [
                Line(term.symbol, (), term.value)
                for term in (layer.weight, layer.bias)
                if term is not None and term.value.size > PUT_IN
            ]
            for layer in self.layers
        ]
        words = "The numbers that are too many for a formula."
        return Section("Weights and biases", words, self.shown(groups) if any(groups) else ())

    def forward(self) -> Section:
        """From x to y."""
        groups = [
            [
                Line(layer.z.symbol, self.mapped(layer), layer.z.value),
                Line(layer.a.symbol, (rf"{function(layer.name)}(", layer.z, ")"), layer.a.value),
                Line(layer.slope.symbol, self.slope(layer), layer.slope.value),
            ]
            for layer in self.hidden
        ]
        last = self.layers[-1]
        y = Line("y", (last.a,) if last.name else self.mapped(last), self.y.value)
        lines = (Line("x", (), self.x.value), *self.shown(groups), y)
        plus = " + b" if any(layer.bias is not None for layer in self.layers) else ""
        words = f"Each layer makes $z = W a{plus}$ of what the layer before it gives, then $a = \\phi(z)$."
        return Section("Forward", words + self.rows_words(), lines)

    def rows_words(self) -> str:
        """How the samples stand."""
        if self.scalar:
            return ""
        return " Vectors are columns." if self.one else f" Each of the {self.batch} samples is a row."

    def slope(self, layer: Layer) -> Formula:
        """phi'(z) by a, where that is how it is best known."""
        times = TIMES if layer.a.value.size == 1 else EACH
        if layer.name == "sigmoid":
            return (layer.a, times, "(1 - ", layer.a, ")")
        if layer.name == "tanh":
            return ("1 - ", layer.a, "^{2}") if times == TIMES else ("1 - ", layer.a, EACH, layer.a)
        return ()

    def targets(self) -> Array:
        """The targets, or the class ids."""
        given = np.asarray(self.e.y)
        return self.shaped(given if given.ndim == 2 else given[:, None])

    def loss(self) -> Section:
        """The loss and dL/dy."""
        e, loss = self.e, Loss(self.e.loss)
        lines = []
        if e.y is not None:
            lines.append(Line("t", (), self.targets()))
        found = losses(self, loss)
        lines += [*found.first, Line("L", found.value, np.full((1, 1), e.loss_value))]
        lines.append(Line(self.dy.symbol, found.slope, self.dy.value))
        # One summand is its own sum and its own mean.
        words = f"The loss is {e.loss}" + (f", {loss.reduction}" if self.y.value.size > 1 else "") + "." + found.words
        return Section("Loss", words, tuple(lines))

    def backward(self) -> Section:
        """From dL/dy to all gradients."""
        groups = []
        for l, layer in enumerate(self.layers):
            lines = []
            if layer.name:
                reached = self.reached(l)
                alone = len(reached) == 1 or self.scalar
                formula = (*reached, TIMES if self.scalar else EACH, layer.slope)
                lines.append(
                    Line(
                        layer.delta.symbol,
                        formula if alone else ("(", *reached, ")", *formula[len(reached) :]),
                        layer.delta.value,
                    )
                )
            lines.append(Line(layer.found.symbol, self.outer(layer), layer.found.value))
            if layer.bias_found is not None:
                each: Formula = (layer.delta,) if self.one else (rf"\textstyle\sum_{{i}} {layer.delta.symbol}[i]",)
                lines.append(Line(layer.bias_found.symbol, each, layer.bias_found.value))
            # Turned round as a whole below.
            groups.append(lines[::-1])
        first = self.layers[0]
        x = Line(gradient("x"), self.pulled(first), self.shaped(self.e.gradients.input))
        words = (
            rf"$\delta = {gradient('z')}$ of a layer is what $W$ brings back from the next one, times $\phi'(z)$; "
            rf"${gradient('W')}$ is $\delta$ times what the layer gets."
        )
        if not self.one:
            words += f" Gradients of parameters are sums over the {self.batch} samples."
        return Section("Backward", words, (*reversed(self.shown(groups)), x))

    def chain(self) -> Section:
        """Each gradient as one product: of numbers."""
        lines: list[Line | str] = []
        factors = [self.dy]
        most = 3 * ENDS if self.folded else FACTORS
        for l, layer in reversed([*enumerate(self.layers, 1)]):
            if layer.name:
                factors.append(layer.slope)
            if len(factors) >= most:
                lines.append(f"layers {l} to 1 go on in the same way")
                break
            formula = [part for factor in (*factors, layer.input) for part in (TIMES, factor)][1:]
            lines.append(Line(layer.found.symbol, tuple(formula), layer.found.value))
            factors.append(layer.weight)
        words = (
            r"The same gradients as one product each: every layer on the way back adds a factor $W$ and a factor "
            r"$\phi'(z)$."
        )
        return Section("The chain rule, written out", words, tuple(lines))

    def ratios(self) -> Section:
        """How delta changes from layer to layer, and between which bounds."""
        lines: list[Line | str] = []
        for l in reversed(range(len(self.hidden) - 1)):
            here, above = self.hidden[l], self.hidden[l + 1]
            if l in self.folded:
                if l == self.folded.start:
                    lines.append(self.left_out())
                continue
            size, above_size, weight = self.sized(here.delta), self.sized(above.delta), self.sized(above.weight)
            if not above_size.value:
                break  # nothing comes back from here on
            symbol, ratio = rf"\frac{{{size.symbol}}}{{{above_size.symbol}}}", size.value / above_size.value
            slope = Term(rf"|{here.slope.symbol}|", np.abs(here.slope.value))
            lines.append(Line(symbol, (weight, TIMES, slope) if self.scalar else (), ratio))
            steepest = Term(r"\max |\phi'|", np.full((1, 1), here.steepest))
            lines.append(Line("", (weight, TIMES, steepest), weight.value * here.steepest, r"\le"))
        return Section("From layer to layer", self.why(), tuple(lines))

    def why(self) -> str:
        """What the deltas do on their way, and for which reason."""
        first, last = (float(self.sized(self.hidden[l].delta).value[0, 0]) for l in (0, -1))
        steps = len(self.hidden) - 1
        bounds = [
            float(self.sized(above.weight).value[0, 0]) * here.steepest
            for here, above in zip(self.hidden, self.hidden[1:], strict=False)
        ]
        way = f"From layer {steps + 1} back to layer 1"
        if not np.any(self.dy.value):
            return r"$\partial L/\partial y$ is 0: the output is what the loss asks for, so nothing goes back."
        if not (first and last):
            return rf"{way} $\delta$ is or becomes 0: a slope of 0, or a weight of 0, lets nothing through."
        ratio = first / last
        mean = ratio ** (1 / steps)
        digits = self.e.digits
        change = "shrinks" if ratio < 1 else "grows" if ratio > 1 else "keeps its size"
        words = (
            rf"{way} $\delta$ {change}: times {number(ratio, digits)} in all, times {number(mean, digits)} a layer "
            "in the geometric mean."
        )
        if max(bounds) < 1:
            words += (
                rf" It must shrink: a layer passes on at most $\lVert W \rVert \max |\phi'|$ times what it gets, here "
                f"at most {number(max(bounds), digits)} times. With each layer more there is one such factor more: the "
                "gradients of the first layers vanish with depth."
            )
        elif mean < 0.75:
            words += " If it goes on like this, the gradients of the first layers of a deeper net vanish."
        elif mean > 1.5:
            words += " If it goes on like this, the gradients of the first layers of a deeper net explode."
        return words

    def step(self) -> Section:
        """W - lr dL/dW, and the loss that it leads to."""
        rate = Term(r"\eta", np.full((1, 1), self.e.lr))
        groups = []
        for layer in self.layers:
            pairs = [(layer.weight, layer.found, layer.new_weight)]
            if layer.bias is not None and layer.bias_found is not None and layer.new_bias is not None:
                pairs.append((layer.bias, layer.bias_found, layer.new_bias))
            groups.append(
                [Line(old.symbol, (old, " - ", rate, TIMES, found), new, r"\leftarrow") for old, found, new in pairs]
            )
        loss = Line(r"L_{\text{new}}", (), np.full((1, 1), self.e.new_loss_value))
        before, after = self.e.loss_value, self.e.new_loss_value
        moves = "falls" if after < before else "stays" if after == before else "does not fall: the rate is too large"
        words = rf"The rate is $\eta = {number(self.e.lr, self.e.digits)}$. The loss {moves}."
        return Section("One step of gradient descent", words, (*self.shown(groups), loss))


class Told(NamedTuple):
    """What is told of a loss.

    Attributes:
        value: Its formula: with the numbers of one summand, or as a sum over entries k, or samples i that have classes.
        slope: The formula of its gradient by y.
        first: Lines of what both name.
        words: What the names mean, each sentence behind a space.
    """

    value: Formula
    slope: Formula
    first: tuple[Line, ...] = ()
    words: str = ""


def losses(d: Derivation, loss: Loss) -> Told:
    """What is told of a loss."""
    classes = loss.takes_classes
    y, t = d.y, Term("t", d.targets()) if loss.takes_targets and not classes else d.y
    summands = d.batch if classes else y.value.size
    over = 1 if loss.reduction.startswith("sum") else d.batch if loss.reduction.endswith("batch") else y.value.size
    index = "i" if classes else "k"
    u: str | Term = y if summands == 1 else f"y_{{{index}}}"
    v: str | Term = t if summands == 1 else f"t_{{{index}}}"
    told = _summand(d, loss, u, v, t)
    entry, slope = told.value, told.slope
    total: Formula = (rf"\textstyle\sum_{{{index}}} ",) if summands > 1 else ()
    before, share = (*_share(1, over), *total), _share(2 if loss.name == "mse" else 1, over)
    if before and loss.name in {"cross_entropy", "bce_with_logits"}:
        entry = ("(", *entry, ")")
    if share and loss.name not in {"mae", "huber", "output_sum"}:
        slope = ("(", *slope, ")")
    return told._replace(value=(*before, *entry), slope=(*share, *slope))


def _share(count: int, over: int) -> Formula:
    """A factor `count / over`, unless it is 1."""
    share = Fraction(count, over)
    if share.denominator > 1:
        return (rf"\tfrac{{{share.numerator}}}{{{share.denominator}}} ",)
    return (f"{share.numerator} ",) if share > 1 else ()


def _summand(d: Derivation, loss: Loss, u: str | Term, v: str | Term, t: Term) -> Told:
    """What is told of a loss for an output u and its target v, and of the slope at all outputs y and targets t."""
    y = d.y
    if loss.name == "huber":
        return _huber(d, float(loss.params["delta"]), u, v, t)
    smoothing = float(loss.params.get("label_smoothing", 0))
    if smoothing:
        return _smoothed(d, smoothing, u)
    if loss.name == "hinge":
        active = Term("s", (t.value * y.value.astype(np.float64) < 1).astype(np.float64))
        times = TIMES if y.value.size == 1 else EACH
        step = Line("s", (r"\operatorname{step}(1 - ", t, times, y, ")"), active.value)
        words = " step(m) is 1 where m > 0, else 0."
        return Told((r"\max(0,\ 1 - ", v, TIMES, u, ")"), ("-", t, times, active), (step,), words)
    plain: dict[str, tuple[Formula, Formula]] = {
        "mse": (("(", u, " - ", v, ")^{2}"), (y, " - ", t)),
        "half_mse": ((r"\tfrac{1}{2} (", u, " - ", v, ")^{2}"), (y, " - ", t)),
        "mae": (("|", u, " - ", v, "|"), (r"\operatorname{sign}(", y, " - ", t, ")")),
        "cross_entropy": (
            (r"-\log \operatorname{softmax}(", u, ")_{t}"),
            (r"\operatorname{softmax}(", y, r") - \operatorname{onehot}(t)"),
        ),
        "bce_with_logits": (
            (r"\log(1 + \exp(", u, ")) - ", v, TIMES, u),
            (r"\operatorname{sigmoid}(", y, ") - ", t),
        ),
        "output_sum": ((u,), (r"\operatorname{ones}",)),
    }
    return Told(*plain[loss.name])


def _huber(d: Derivation, delta: float, u: str | Term, v: str | Term, t: Term) -> Told:
    """Half a square near 0, a line beyond delta: each entry by the case that it is in (Huber 1964)."""
    y, bound, half = d.y, number(delta, d.e.digits), number(delta / 2, d.e.digits)
    opening, closing = ("", "") if delta == 1 else (f"{bound} (", ")")

    def case(output: Term, target: Term) -> Formula:
        if abs(float(output.value[0, 0]) - float(target.value[0, 0])) <= delta:
            return (r"\tfrac{1}{2} (", output, " - ", target, ")^{2}")
        return (f"{opening}|", output, " - ", target, f"| - {half}{closing}")

    clip: Formula = (r"\operatorname{clip}(", y, " - ", t, rf",\ -{bound},\ {bound})")
    words = (
        rf" huber(d) is $\tfrac{{1}}{{2}} d^{{2}}$ where $|d| \le {bound}$, else ${opening}|d| - {half}{closing}$; its "
        rf"slope is d, kept between -{bound} and {bound} by clip."
    )
    if isinstance(u, Term) and isinstance(v, Term):
        return Told(case(u, v), clip, words=words)
    lines = []
    for k, (output, target) in enumerate(zip(y.value.flat, t.value.flat, strict=True), 1):
        pair = [Term(rf"{name}_{{{k}}}", np.full((1, 1), value)) for name, value in (("y", output), ("t", target))]
        off = abs(float(output) - float(target))
        value = off * off / 2 if off <= delta else delta * (off - delta / 2)
        symbol = rf"\operatorname{{huber}}(y_{{{k}}} - t_{{{k}}})"
        lines.append(Line(symbol, case(*pair), np.full((1, 1), value)))
    small = tuple(lines) if y.value.size <= PUT_IN else ()
    return Told((r"\operatorname{huber}(", u, " - ", v, ")"), clip, small, words)


def _smoothed(d: Derivation, smoothing: float, u: str | Term) -> Told:
    """Cross entropy with the shares q of the classes: mostly the target's, a little of all (Szegedy et al. 2016)."""
    count, keep, digits = d.outputs, number(1 - smoothing, d.e.digits), d.e.digits
    shares = np.full((d.batch, count), smoothing / count)
    shares[np.arange(d.batch), np.asarray(d.e.y)] += 1 - smoothing
    q = Term("q", d.shaped(shares))
    formula = (rf"{keep}\,\operatorname{{onehot}}(t) + \tfrac{{{number(smoothing, digits)}}}{{{count}}}",)
    place = "k" if isinstance(u, Term) else "ik"
    return Told(
        (rf"-\textstyle\sum_{{k}} q_{{{place}}} \log \operatorname{{softmax}}(", u, ")_{k}"),
        (r"\operatorname{softmax}(", d.y, ") - ", q),
        (Line("q", formula, q.value),),
        f" q is the share of each class: {keep} for the class t, and the rest, {number(smoothing, digits)}, evenly for "
        f"all {count} classes.",
    )


def derivation(e: Explanation) -> tuple[Section, ...]:
    """The sections of an explanation."""
    d = Derivation(e)
    given = d.parameters()
    sections = [d.table(), *([given] if given.lines else []), d.forward(), d.loss(), d.backward()]
    if d.scalar:
        sections.append(d.chain())
    if len(d.hidden) > 1:
        sections.append(d.ratios())
    return (*sections, d.step())
