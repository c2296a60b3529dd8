"""Recurrent nets as mean field has them: `memory` -> `Memory`, and the columns of their probes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from vgcore.judge.rules import RULES, of_change
from vgcore.measure.extra import KEEPING
from vgcore.model.given import LONGEST, wrong_type
from vgcore.model.plan import Map, Plan
from vgcore.model.rnn import RNN
from vgcore.model.shown import Shown
from vgcore.model.spec import Spec
from vgcore.model.versioned import Versioned
from vgcore.show.words import count, fold
from vgcore.theory import gated
from vgcore.theory.columns import Columns
from vgcore.theory.gated import Law, tied_growth
from vgcore.theory.maps import Floats, ranging
from vgcore.theory.parts import finite, variance_of
from vgcore.theory.wave import refuse

#: By how much what is left out may change the logarithm of the factor a step.
DOUBTFUL = 0.1
#: A standard deviation of the biases of the gate that keeps the state, from where on units differ in what they keep.
UNLIKE = 0.5


class Recurrent(NamedTuple):
    """What theory needs to know of a recurrent net, from its plan.

    Attributes:
        steps: How many.
        width: Units.
        columns: Columns of W.
        features: Columns of U.
        cell: What a step does.
        laws: Of the pre-activations, by gate.
        keeper: The gate that keeps the state; none of a plain cell.
        size: Mean square of dL/dh that comes in from behind, of one sample's cotangent of mean square 1.
        every: Does it come in at every step?
    """

    steps: int
    width: int
    columns: int
    features: int
    cell: gated.Cell
    laws: Mapping[str, Law]
    keeper: str
    size: float
    every: bool

    @classmethod
    def of(cls, spec: Spec) -> Recurrent:
        """What its plan says.

        Raises:
            ValueError: For what theory does not cover.
        """
        plan = Plan.of(spec)
        layer = plan.layers[-1]
        if len({step.key for each in plan.layers for step in each.steps if step.part == "map"}) > 1:
            raise refuse("a recurrent net of several layers")
        parts = {step.part for each in plan.layers for step in each.steps}
        for part, words in (("norm", "a norm"), ("cut", "truncate, behind which there is no gradient")):
            if part in parts:
                raise refuse(f"a recurrent net with {words}")
        at = next(step for step in layer.steps if step.part == "map")
        kind = next((step.kind for step in layer.steps if step.part == "cell"), "")
        assert at.map is not None  # noqa: S101 (every step has both)
        assert at.inputs_map is not None  # noqa: S101
        name = kind.partition("(")[0]
        # In the order of their rows; of a plain cell there is one, which has no letter.
        letters = [each.removeprefix("mean_") for each in spec.extra_columns if each.startswith("mean_")] or ["h"]
        laws = dict(zip(letters, _laws(plan, spec, at.map, at.inputs_map, kind), strict=True))
        for letter in set(letters) & set("gnh"):
            if laws[letter].mean != 0:
                raise refuse("biases of a candidate whose mean is not 0")
        cell = {"lstm": gated.lstm, "gru": gated.gru}.get(name) or gated.plain(layer.activation)
        reads = next((step.map for step in plan.ends if step.map is not None), None)
        size = 1.0 if reads is None else reads.fan_out * variance_of(plan, spec, reads)
        every = any(step.part == "steps" for step in plan.ends)
        keeper = next((letter for letter in KEEPING if letter in letters), "")
        return cls(len(plan.layers), layer.output, at.map.fan_in, at.inputs_map.fan_in, cell, laws, keeper, size, every)


def _laws(plan: Plan, spec: Spec, at: Map, fed: Map, kind: str) -> list[Law]:
    """Of each gate in the order of the rows."""
    drawn: Any = vars(spec)["recurrent_init"]
    brought = at.law == "eye" and drawn.name != "eye"  # by the cell
    own, inputs = (
        [(each.fan_in * variance_of(plan, spec, each, block, source=source), block) for block in each.blocks]
        for each, source in ((at, "cell" if brought else "recurrent_init"), (fed, "init"))
    )
    # Where the reset stands before the product, the bias of W is not reset.
    inner = kind != "gru(reset=before)"
    return [
        Law(
            recurrent,
            driven,
            inside.bias_mean + outside.bias_mean,
            finite(outside.bias_variance + (0.0 if inner else inside.bias_variance)),
            finite(inside.bias_variance if inner else 0.0),
        )
        for (recurrent, inside), (driven, outside) in zip(own, inputs, strict=True)
    ]


def columns_of(spec: Spec, batch: int) -> Columns:
    """The columns of a probe of a recurrent net, in expectation."""
    net = Recurrent.of(spec)
    steps = gated.forward(net.cell, net.laws, net.steps)
    back = gated.backward(net.laws, steps, net.size / batch, every=net.every)
    gates = list(net.laws)

    def log10(values: Floats) -> Floats:
        with ranging():
            result: Floats = np.log10(values)
        return result

    h = np.array([step.h for step in steps])
    z = {name: log10(np.array([step.z[name] for step in steps])) for name in gates}
    delta, weight, both = {}, {}, {}
    before = np.concatenate([[0.0], h[:-1]])
    for name in gates:
        shares = ([getattr(step, of)[name] for step in steps] for of in ("state", "direct"))
        ways = [log10(np.array(share)) + of for share, of in zip(shares, back, strict=True)]
        delta[name] = np.logaddexp(*(way * math.log(10) for way in ways)) / math.log(10)
        reset = np.array([step.reset if name == "n" else 1.0 for step in steps])
        entries = batch * net.width
        weight[name] = delta[name] + log10(entries * net.columns * reset * before)
        both[name] = delta[name] + log10(entries * (net.columns * reset * before + net.features))

    def together(columns: Mapping[str, Floats], *, mean: bool) -> Floats:
        total = np.logaddexp.reduce([column * math.log(10) for column in columns.values()], axis=0) / math.log(10)
        result: Floats = total - math.log10(len(columns)) * mean
        return result

    extra: dict[str, Floats] = {}
    if not math.isnan(steps[0].c):
        extra = {"log10_c_rms": log10(np.array([step.c for step in steps])) / 2, "log10_dc_rms": back.state / 2}
    if net.keeper:
        for name in gates:
            extra |= {
                f"log10_z_rms_{name}": z[name] / 2,
                f"log10_delta_rms_{name}": delta[name] / 2,
                f"log10_wgrad_norm_{name}": both[name] / 2,
                f"mean_{name}": np.array([step.gates[name] for step in steps]),
            }
    scales = [np.mean([getattr(law, of) for law in net.laws.values()]) for of in ("recurrent", "variance", "inner")]
    return Columns(
        sigma_w=np.full(net.steps, math.sqrt(scales[0])),
        sigma_b=np.full(net.steps, math.sqrt(scales[1] + scales[2])),
        log10_z_rms=together(z, mean=True) / 2,
        log10_a_rms=np.full(net.steps, math.nan) if net.keeper else log10(h) / 2,
        log10_delta_rms=together(delta, mean=True) / 2,
        log10_wgrad_norm=together(weight, mean=False) / 2,
        log10_h_rms=log10(h) / 2,
        log10_dh_rms=back.h / 2,
        extra=extra,
        doubt=_doubt(net),
    )


def _doubt(net: Recurrent) -> str:
    """Why mean field is not to be relied on for this net; empty otherwise."""
    if not net.keeper:
        return ""
    law = net.laws[net.keeper]
    if math.sqrt(law.variance + law.inner) > UNLIKE:
        return (
            f"the biases of gate {net.keeper} differ from unit to unit, so that some units remember for much longer: "
            "the factor is that of their mean"
        )
    rest = gated.at_rest(net.cell, net.laws)
    more = rest.correlated()
    moved = gated.at_rest(net.cell, net.laws, more=more)
    bounds = [gated.bound(step.keeps, step.mixes, step.varies) for step in (rest, moved)]
    if 0 in bounds:
        return ""  # No gradient goes back, whatever comes in.
    factors = [math.log(bound) / 2 for bound in bounds]
    if abs(factors[1] - factors[0]) <= DOUBTFUL * abs(factors[0]):
        return ""
    return (
        f"the state grows with time: what comes into it is so much alike from step to step that its mean square is "
        f"{1 + more:.2g} times that of independent inputs or more, which theory leaves out"
    )


@dataclass(frozen=True, eq=False)
class Memory(Versioned, Shown):
    """How a recurrent net keeps the gradient of its state, in a step and in many, as mean field has it.

    Attributes:
        spec: The net.
        a: What a step keeps of each unit of the state: the mean of an LSTM's f, of a GRU's z; 0 of a plain cell.
        rho: Spectral radius of what a step mixes.
        varies: v, what gates that are others in every step add to the square of a step; 0 of a plain cell.
        untied: The factor a step of dL/dstate that the same laws would give if every step had weights of its own.
        state_rms: Root mean square of the state at rest, c of an LSTM, else h.
        doubt: Why theory is not to be relied on here; empty where it is.

    >>> import vgcore as vg
    >>> m = vg.theory.memory(vg.RNN(100, 128, cell="lstm(forget_bias=0)", init="torch_rnn", recurrent_init="torch_rnn"))
    >>> m.a, m.holds
    (0.5, True)
    """

    spec: Spec
    a: float
    rho: float
    untied: float
    state_rms: float
    doubt: str
    varies: float = 0.0

    @property
    def factor(self) -> float:
        """The factor a step of dL/dstate over many steps: `a + rho`, and more where gates vary.

        The root of `a^2 + rho^2 + sqrt((2 a rho)^2 + v^2)`.
        """
        return math.sqrt(gated.bound(self.a, self.rho, self.varies)) if self.varies else self.a + self.rho

    @property
    def time_constant(self) -> float:
        """Steps in which it falls e-fold, `-1 / ln factor`: negative where it grows, inf where it stays."""
        with np.errstate(divide="ignore"):
            return float(-1 / np.log(self.factor)) if self.factor != 1 else math.inf

    @property
    def holds(self) -> bool:
        """Whether nothing is known to be left out that matters; `doubt` says what."""
        return not self.doubt

    def log10_change(self, steps: int) -> float:
        """log10 of what so many steps back make of the root mean square of dL/dstate: that of `tied_growth`, halved.

        >>> import vgcore as vg
        >>> spec = vg.RNN(100, 128, cell="lstm(forget_bias=0)", init="torch_rnn", recurrent_init="torch_rnn")
        >>> round(vg.theory.memory(spec).log10_change(100), 1)
        -19.7
        """
        return tied_growth(a=self.a, rho=self.rho, steps=steps, varies=self.varies) / math.log(100)

    @property
    def memory_limit(self) -> float:
        """The most steps that keep dL/dstate within what a verdict allows, 32-fold; inf where there is no end."""
        down, up = (of_change(RULES, "backward", sign).decisive for sign in (-1, 1))

        def beyond(steps: int) -> bool:
            change = self.log10_change(steps)
            return change <= -down or change >= up

        high = 1
        while not beyond(high):
            high *= 2
            if high > LONGEST:
                return math.inf
        low = high // 2  # within, as is 0
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if beyond(middle) else (middle, high)
        return float(high)

    def __str__(self) -> str:
        limit = self.memory_limit
        steps = "1 step keeps" if limit == 1 else f"{count(limit)} steps keep"
        far = "any number of steps keeps" if math.isinf(limit) else steps
        allowed = fold(10 ** of_change(RULES, "backward", -1).decisive)
        varies = f", and v = {self.varies:.2g} of gates that vary from step to step" if self.varies else ""
        untied = f"{self.untied:.4f} if no two steps shared weights"
        lines = [
            f"a step back multiplies dL/dstate by {self.factor:.4f}, or by {untied}",
            f"a + rho = {self.a:.4f} + {self.rho:.4f}{varies}",
            f"time constant {self.time_constant:.4g} steps; {far} it within {allowed}",
        ]
        if self.doubt:
            lines.append(f"not to be relied on: {self.doubt}.")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"Memory({self.spec!r}, factor={self.factor:.4g})"


def memory(spec: RNN) -> Memory:
    """What mean field says of the memory of a recurrent net whose steps share their weights.

    A step back multiplies the gradient of the state by a + rho over many steps, not by the root of `E f^2 + rho^2`: the
    Jacobians of all steps are nearly one matrix, `a 1 + rho M`. What varies from step to step adds to it. Derived here;
    `docs/theory.md` has the formulas.

    Args:
        spec: An `RNN` of one layer, without norm and truncation.

    Raises:
        ValueError: For what theory does not cover.

    >>> import vgcore as vg
    >>> print(memory(vg.RNN(100, 128, cell="gru", in_features=64, init="torch_rnn", recurrent_init="torch_rnn")))
    a step back multiplies dL/dstate by 0.6261, or by 0.5256 if no two steps shared weights
    a + rho = 0.5000 + 0.1253, and v = 0.016 of gates that vary from step to step
    time constant 2.136 steps; 7 steps keep it within 32-fold
    """
    if not isinstance(spec, RNN):
        raise wrong_type("spec", "an RNN", spec)
    net = Recurrent.of(spec)
    rest = gated.at_rest(net.cell, net.laws)
    untied = math.sqrt(rest.kept + rest.mixes**2)
    return Memory(spec, rest.keeps, rest.mixes, untied, math.sqrt(rest.size), _doubt(net), rest.varies)
