"""Rules of recurrent nets: gates that forget, are shut or flat, ways of a gradient, and what many losses hide."""

from __future__ import annotations

import math

import numpy as np

from vgcore.judge.evidence import Evidence, Floats
from vgcore.judge.rule import Hit, Rule, share
from vgcore.judge.rules.signals import DECADES
from vgcore.measure.extra import GATES, KEEPING, NAMES
from vgcore.measure.probe import probe
from vgcore.model.network import Network
from vgcore.show.words import power

HOCHREITER = "Hochreiter and Schmidhuber 1997"
GERS = "Gers et al. 2000; Jozefowicz et al. 2015 (a forget bias of 1); Tallec and Ollivier 2018, arXiv:1804.11188"


def gates(e: Evidence) -> list[str]:
    """The letters of the gates that a net has."""
    return [gate for gate in GATES if f"mean_{gate}" in e.trace.columns]


def _by_layer(e: Evidence, column: str) -> Floats:
    """Mean of a column over the steps, `(runs, layers)`."""
    values = e.values(column).reshape(e.runs, -1, e.per)
    with np.errstate(invalid="ignore"):
        known = ~np.isnan(values)
        means: Floats = np.where(known, values, 0).sum(axis=1) / known.sum(axis=1)
    return means


def _rows(e: Evidence, layer: int) -> tuple[int, ...]:
    """The rows of a layer; all where there is no other."""
    return tuple(range(layer, e.depth, e.per))


def _of(e: Evidence, layer: int) -> str:
    return f" of layer {layer + 1}" if e.per > 1 else ""


def _forgetting(e: Evidence, rule: Rule) -> Hit | None:
    gate = next((gate for gate in KEEPING if gate in gates(e)), None)
    steps = e.depth // e.per - 1
    if gate is None or not steps:
        return None
    kept = _by_layer(e, f"mean_{gate}")
    if np.isnan(kept).any():
        return None  # No run was finite, or not every one.
    with np.errstate(divide="ignore"):
        lost = -steps * np.log(kept)
    means = kept.mean(axis=0)
    worst = int(means.argmin())
    f, value = float(means[worst]), float(-steps * math.log(means[worst])) if means[worst] > 0 else math.inf
    constant = "less than one step" if f < 1e-9 else f"{-1 / math.log(f):.3g} steps" if f < 1 else "no end"
    path = e.column("share_cell").reshape(-1, e.per)[1:, worst]
    carried = f"; {np.nanmean(path):.0%} of the gradient takes the way of the cell" if np.isfinite(path).any() else ""
    text = (
        f"the {NAMES[gate]}{_of(e, worst)} lets {f:.3g} of the state through a step, a time constant of {constant}, "
        f"and {steps} steps keep {power(-value / math.log(10))} of it{carried}"
    )
    working = (
        f"mean {gate} = {f:.4f}: tau = -1/ln {gate} = {constant}; T/tau = {value:.4g}. The gradient itself decays "
        "slower, by about mean + rho a step, where rho is the radius of what the gates add."
    )
    # The other paths may carry what the cell forgets.
    cap = "warning" if e.backward.rms <= -DECADES["warning"] else "info"
    hit = share(lost[:, worst], lambda r: r >= rule.level(value))
    return Hit(value, _rows(e, worst), hit, text, working, cap)


FORGETTING = Rule(
    id="forgetting",
    quantity="steps of the sequence over the time constant -1/ln f of the gate that keeps the state",
    thresholds={"info": round(math.log(1000), 1), "warning": round(math.log(1000), 1)},
    why=(
        "e^-value of a state is left at the end by way of the cell: 1/1000, a gradient that is as good as lost. A bias "
        "of chrono(T), which is made for T steps, has ln(T/2), 3.9 at 100 steps and 6.2 at 1000. A warning only where "
        "the gradient vanishes."
    ),
    reference=GERS,
    wrong=(
        "It takes the mean over the units: of gates that differ, as with chrono, the slowest keep far more. Tasks "
        "that need no long memory lose nothing."
    ),
    remedy="a forget_bias of 1 or 2 (update_bias of a GRU), or bias='chrono(T)' with the steps of the sequence",
    formula="T/tau with tau = -1/ln f, f the mean of the forget gate (of a GRU z, the update gate)",
    picture=("log10_dh_rms",),
    check=_forgetting,
    nets=("RNN",),
)


def _saturated(e: Evidence, rule: Rule) -> Hit | None:
    there = [gate for gate in gates(e) if np.isfinite(e.values(f"saturated_{gate}")).any()]
    if not there:
        return None
    found = {gate: _by_layer(e, f"saturated_{gate}") for gate in there}
    gate = max(there, key=lambda gate: float(np.nanmax(found[gate].mean(axis=0))))
    runs = found[gate]
    worst = int(np.nanargmax(runs.mean(axis=0)))
    value, mean = float(runs[:, worst].mean()), float(_by_layer(e, f"mean_{gate}")[:, worst].mean())
    text = f"{value:.0%} of the units of the {NAMES[gate]}{_of(e, worst)} are flat, at a mean of {mean:.3g}"
    working = f"flat: the slope at z below 1 % of its largest. Mean over samples, units and steps: {value:.3f}."
    # Gates that are open, or shut beside open ones, are how a cell remembers.
    keeps = [float(_by_layer(e, f"mean_{each}")[:, worst].mean()) for each in KEEPING if each in there]
    meant = gate in {*KEEPING, "i"} and bool(keeps) and keeps[0] >= OPEN
    hit = share(runs[:, worst], lambda r: r >= rule.level(value))
    return Hit(value, _rows(e, worst), hit, text, working, cap="info" if meant else "critical")


#: A gate that keeps the state for twenty steps.
OPEN = 0.95

SATURATED_GATES = Rule(
    id="saturated_gates",
    quantity="share of (sample, unit) pairs at which a gate is flat, of the gate and layer with most; 0 to 1",
    thresholds={"info": 0.5, "warning": 0.5, "critical": 0.9},
    why="As `saturation`: half of the slopes are gone, and what a gate should do next is learned through the others.",
    reference="Glorot and Bengio 2010; Gu et al. 2020, arXiv:1910.09890 (saturated gates learn slowly)",
    wrong="A forget gate that is open, with its input gate shut, remembers on purpose: then it is worth knowing only.",
    remedy="smaller weights, a smaller forget_bias, inputs of rms 1, or norm='layer'",
    formula="P(slope of the gate at z < 1 % of its largest), mean over steps",
    picture=("saturated",),
    check=_saturated,
    nets=("RNN",),
    condition="saturated",
)


def _shut(e: Evidence, rule: Rule) -> Hit | None:
    steps, there = e.depth // e.per, gates(e)
    means = {gate: _by_layer(e, f"mean_{gate}") for gate in there}
    # What enters a state over all steps, and what leaves it at one.
    opened = {"i": steps * means["i"], "o": means["o"]} if "i" in there else {}
    if "z" in there:
        opened = {"z": steps * (1 - means["z"])}
    if not opened:
        return None
    with np.errstate(divide="ignore"):
        runs = {gate: -np.log10(np.minimum(let, 1)) for gate, let in opened.items()}
    gate = max(runs, key=lambda gate: float(runs[gate].mean(axis=0).max()))
    worst = int(runs[gate].mean(axis=0).argmax())
    value = float(runs[gate][:, worst].mean())
    mean = float(means[gate][:, worst].mean())
    what = {"i": "of its candidates a state gets", "o": "of a state gets out", "z": "of its candidates a state gets"}[
        gate
    ]
    let = 10**-value
    over = f" over all {steps} steps" if gate != "o" else ""
    text = f"the {NAMES[gate]}{_of(e, worst)} has a mean of {mean:.3g}: {let:.2g} {what}{over}"
    working = f"-log10 of {let:.4g} = {value:.3f}."
    return Hit(value, _rows(e, worst), share(runs[gate][:, worst], lambda r: r >= rule.level(value)), text, working)


GATE_SHUT = Rule(
    id="gate_shut",
    quantity="decades below 1 of what a gate lets into a state over all steps (i; 1 - z of a GRU) or out of it (o)",
    thresholds={"warning": 1.0, "critical": 2.0},
    why="A state that gets a tenth of one candidate from a whole sequence, or gives a tenth away, says little of x.",
    reference=HOCHREITER,
    wrong="Gates open as they learn, if their slopes are not gone as well.",
    remedy="a bias nearer 0 for that gate: a smaller update_bias, or a chrono(T) with the steps that there are",
    formula="-log10 min(1, T i), -log10 o; of a GRU -log10 min(1, T (1 - z)); means over samples, units and steps",
    picture=("log10_h_rms",),
    check=_shut,
    nets=("RNN",),
)


def _paths(e: Evidence, rule: Rule) -> Hit | None:
    there = [name for name in ("cell", *gates(e)) if f"share_{name}" in e.trace.columns]
    if "cell" not in there or e.depth // e.per < 3:
        return None
    shares = {name: _by_layer(e, f"share_{name}") for name in there}
    if not np.isfinite(shares["cell"]).all():
        return None
    runs = 1 - shares["cell"]
    worst = int(runs.mean(axis=0).argmax())
    value = float(runs[:, worst].mean())
    told = ", ".join(f"{name} {float(each[:, worst].mean()):.0%}" for name, each in shares.items())
    text = f"the gates{_of(e, worst)} carry {value:.0%} of the gradient from a step to the one before: {told}"
    working = f"shares of squares, mean over steps: 1 - {1 - value:.3f} = {value:.3f}."
    return Hit(value, _rows(e, worst), share(runs[:, worst], lambda r: r >= rule.level(value)), text, working)


GATE_PATHS = Rule(
    id="gate_paths",
    quantity="share of the square of what goes back from a step to the one before through the gates, not by the cell",
    thresholds={"info": 0.5},
    why=(
        "The way of the cell is a number a unit, which gates keep near 1; that of the gates is a product of matrices, "
        "as in a plain recurrent net, and explodes as it does."
    ),
    reference=HOCHREITER + "; Gers et al. 2000",
    wrong="A cell whose gates are to decide by what it has read has to learn through them.",
    remedy="a forget bias nearer to what the sequence needs, smaller recurrent weights",
    formula="1 - share_cell, with shares of |dL/dc|^2 and |dL/dh|^2 by path that add up to 1",
    picture=("log10_dh_rms",),
    check=_paths,
    nets=("RNN",),
)


def _hidden(e: Evidence, rule: Rule) -> Hit | None:
    p = e.probe
    assert p is not None  # noqa: S101 (as the rule needs)
    if p.spec.outputs != "every" or not e.steps:
        return None
    spec = p.spec.replace(outputs="last")
    net = spec if p.network is None else Network.from_state_dict(spec, p.network.state_dict())
    dtype = p.dtype if p.network is None else None
    seeds = len(p.seeds) if p.x is None or p.network is None else 1
    last = Evidence(probe(net, x=p.x, batch=p.batch, seeds=seeds, seed=int(p.seeds[0]), dtype=dtype, threads=e.threads))
    change = last.backward
    if not change.rms < 0:
        return None
    value, name, steps = -change.rms, last.name("backward"), last.units(last.steps_of("backward"))
    lost = "does not arrive at all" if math.isinf(value) else f"shrinks {power(value)}-fold over {steps}"
    text = f"each step has a loss of its own, which hides that {name} of the last one {lost}"
    lost += last.ends
    working = f"measured again with outputs='last': log10 of the change of {name} is {change.rms:.3f}."
    return Hit(value, (), share(change.runs, lambda r: -r >= rule.level(value)), text, working)


HIDDEN_VANISHING = Rule(
    id="hidden_vanishing",
    quantity="decades that the backward signal loses from the last step to the first if the last one alone has a loss",
    thresholds={"info": DECADES["warning"], "warning": DECADES["critical"]},
    why=(
        "With a loss at every step dL/dh is a sum over all later ones, of which the near ones are large: it looks "
        "even, while nothing of the far ones arrives. 32- and 1000-fold, as for a net with one loss."
    ),
    reference="Bengio et al. 1994; Pascanu et al. 2013, arXiv:1211.5063, equation 5",
    wrong="Where each output needs no more than the last few steps, nothing is lost.",
    remedy=(
        "a cell that keeps its state (lstm or gru with a forget_bias or update_bias, or bias='chrono(T)'; irnn), or "
        "recurrent_init='orthogonal'"
    ),
    formula="|dL_T/dh_1|/|dL_T/dh_T| with L_T the loss of step T alone, measured anew with outputs='last'",
    picture=("log10_dh_rms",),
    check=_hidden,
    needs=("weights",),
    nets=("RNN",),
)
