"""Recurrent nets whose steps share their weights: what a step does to a state, and to its gradient on the way back.

Going back a step multiplies the gradient of the state by `J = a 1 + rho M`: a is the mean of the gate that keeps the
state (f of an LSTM, z of a GRU, 0 of a plain cell), and M a random matrix of spectral radius 1. As all steps share the
weights, J is nearly the same matrix in all of them, and for a direction u of its own

    E |J^k u|^2 = sum_j C(k, j)^2 a^(2k - 2j) rho^(2j) = 1/2pi integral |a + rho e^(i theta)|^(2k) d theta

which grows as `(a + rho)^(2k)` over the root of k. What varies from step to step, the gates with their inputs and what
goes back through them, adds v to the square of a step where a mode meets itself in the same unit, and nowhere else: in
the integral, v times the mean over theta. In the long run the square of the factor is then the bound state of a hopping
`a rho` on a line with v at one site, `a^2 + rho^2 + sqrt((2 a rho)^2 + v^2)`: `(a + rho)^2` without v, `a^2 + v` where
nothing mixes. Mean field with weights drawn anew in every step has `E f^2 + rho^2`
for a square instead (Chen et al. 2018, arXiv:1806.05394; Gilboa et al. 2019, arXiv:1901.08987), which is 8 decades less
in 100 steps of an LSTM. The integral is Parseval's: a mode of M with phase theta is multiplied by
`|a_t + rho_t e^(i theta)|^2` in step t, whether or not steps are alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from vgcore import _core
from vgcore.model.given import Bounds, integer, number, numbers
from vgcore.theory.maps import NODES, WEIGHTS, Floats, moments, pair_moments, ranging

#: Steps back after which a factor a step is that of the long run.
SETTLED = 1000
#: Steps over which states that are correlated in time are summed: beyond, a gate that keeps 98 % has lost all.
LAGS = 512
#: Steps that a state is given to come to rest.
MOST = 5000


def time_constant(bias: ArrayLike) -> Floats:
    """Steps in which a gate that stands at its bias, `sigmoid(bias)`, keeps 1/e of a cell: `-1 / ln sigmoid(bias)`.

    A forget bias of `ln(T - 1)`, the largest that chrono draws, keeps `1 - 1/T` a step and so about T - 1/2 steps
    (Tallec and Ollivier 2018, arXiv:1804.11188).

    >>> time_constant([0.0, 1.0, 5.0]).round(4).tolist()
    [1.4427, 3.1922, 148.9126]
    """
    with ranging():
        return np.asarray(1 / np.logaddexp(0.0, -numbers("bias", bias, Bounds())))


def tied_growth(*, a: float, rho: float, steps: int, varies: float = 0.0) -> float:
    """`ln E |J^k u|^2` of `J = a 1 + rho M` over k steps that share one random M of spectral radius 1.

    Args:
        a: What a step keeps of every unit, 0 or more.
        rho: The spectral radius of what it mixes, 0 or more.
        steps: k.
        varies: v, what numbers that are drawn anew in every step add to the square of a step, 0 or more.

    >>> [round(tied_growth(a=0.5, rho=0.144, steps=k), 3) for k in (10, 20, 40)]
    [-10.343, -19.491, -37.439]
    """
    keeps, mixes = number("a", a, Bounds(least=0)), number("rho", rho, Bounds(least=0))
    k = integer("steps", steps, least=0, most=2**31)
    v = number("varies", varies, Bounds(least=0))
    if v == 0:
        with ranging():
            logs = k * log_modes(keeps, mixes, phases(k))
        return _log_mean(logs)
    if k == 0:
        return 0.0
    top = max(keeps, mixes, math.sqrt(v))  # taken out, for squares to stay within the range of floats
    scaled = keeps / top, mixes / top, v / top / top
    values, shares = _modes(*scaled)
    with ranging():
        far = max(k - SETTLED, 0) * math.log(bound(*scaled))
        return _log_mean(min(k, SETTLED) * np.log(values), shares) + far + 2 * k * math.log(top)


@lru_cache(maxsize=64)
def _modes(a: float, rho: float, varies: float) -> tuple[Floats, Floats]:
    """Eigenvalues of a step of all modes, which meet where numbers vary, and the share that each has of the start."""
    at = phases(SETTLED)
    with ranging():
        steps = np.diag(np.exp(log_modes(a, rho, at))) + varies / len(at)
    values, vectors = np.linalg.eigh(steps)
    return np.maximum(values, 0.0), vectors.sum(axis=0) ** 2 / len(at)


def bound(a: float, rho: float, varies: float) -> float:
    """What `E |J^k u|^2` is multiplied by a step in the long run."""
    return a**2 + rho**2 + math.hypot(2 * a * rho, varies)


def phases(steps: int) -> Floats:
    """Phases of modes over which a mean is exact for products of so many steps.

    A mean over n phases misses harmonics of order n alone. A product of k factors has none above k, and those beyond
    8 sqrt(k) are below 1e-27 of its mean.
    """
    count = min(steps + 1, 64 + 8 * math.isqrt(steps))
    return np.linspace(0.0, 2 * math.pi, count, endpoint=False)


def log_modes(a: float, rho: float, at: Floats) -> Floats:
    """`ln |a + rho e^(i theta)|^2`; -inf where nothing is kept and nothing mixed."""
    with ranging():
        result: Floats = np.log((a - rho) ** 2 + 2 * a * rho * (1 + np.cos(at)))
    return result


def _log_mean(logs: Floats, shares: Floats | None = None) -> float:
    """The logarithm of the mean of numbers whose logarithms are given."""
    top = float(logs.max())
    return top if math.isinf(top) else top + math.log(float(np.average(np.exp(logs - top), weights=shares)))


class Law(NamedTuple):
    """What the pre-activation of a gate is made of: `z = W h + U x + b`, normal in a wide net.

    Attributes:
        recurrent: Columns of W times the variance of one of its weights.
        fed: The same of U.
        mean: Mean of the bias.
        variance: Variance of the bias.
        inner: Variance of the bias that is added to W h itself, where there are two.
    """

    recurrent: float
    fed: float
    mean: float = 0.0
    variance: float = 0.0
    inner: float = 0.0

    def spread(self, h: float, x: float) -> float:
        """The variance of z, of a state and an input of these mean squares."""
        return self.recurrent * h + self.inner + self.fed * x + self.variance

    def moving(self, spread: float) -> float:
        """The share of the variance of z that is another in every step: all but that of the biases."""
        return 1 - (self.variance + self.inner) / spread if spread > 0 else 0.0


class Gate(NamedTuple):
    """Expectations of a gate: of its value, its square, and the square of its slope."""

    mean: float
    value: float
    slope: float


def sigmoid(mean: float, variance: float) -> Gate:
    """Of the sigmoid of a normal."""
    values, slopes = _core.activate("sigmoid", (mean + math.sqrt(variance) * NODES).tolist()).T
    return Gate(float(WEIGHTS @ values), float(WEIGHTS @ values**2), float(WEIGHTS @ slopes**2))


def centred(kind: str, variance: float) -> Gate:
    """Of an activation of a normal around 0."""
    m = moments(kind, variance)
    return Gate(float(m["mean"]), float(m["value"]), float(m["slope"]))


class Step(NamedTuple):
    """A step of a cell in expectation, over wide nets and inputs.

    Attributes:
        h: Mean square of what it hands on.
        c: Mean square of the cell; nan of a cell that has none.
        z: Mean square of the pre-activations, by gate.
        gates: Means of the gates, by gate.
        keeps: a, the mean of what the state is multiplied by.
        kept: The mean of its square.
        mixes: rho: going back from here to the state before.
        varies: v: what else adds to the mean square of going back, and is another in every step.
        state: Mean square of dL/dz over that of the state's gradient, by gate.
        direct: The same over that of dL/dh: what goes around the cell.
        reads: Mean square of dL/dc over that of the dL/dh it is read by; 1 where h is the state.
        reset: Mean square of the gate that stands between the recurrent weights and the candidate; 1 where none does.
        correlated: What inputs that are alike in time would add to the state's mean square, as a share of what
            independent ones do; it is left out.
    """

    h: float
    c: float
    z: Mapping[str, float]
    gates: Mapping[str, float]
    keeps: float
    kept: float
    mixes: float
    varies: float
    state: Mapping[str, float]
    direct: Mapping[str, float]
    reads: float
    reset: float
    correlated: Callable[[], float]

    @property
    def size(self) -> float:
        """Mean square of the state."""
        return self.h if math.isnan(self.c) else self.c


Laws = Mapping[str, Law]
#: A step, of the laws of its gates, the mean square of its input, the step before, and by how much what comes into the
#: state is to be more than independent inputs make of it.
Cell = Callable[[Laws, float, Step, float], Step]
#: Before the first step.
START = Step(0.0, 0.0, {}, {}, 0.0, 0.0, 0.0, 0.0, {}, {}, 1.0, 1.0, lambda: 0.0)


def lstm(laws: Laws, x: float, before: Step, more: float = 0.0) -> Step:
    """`c' = f c + i g` and `h' = o tanh c'` (Hochreiter and Schmidhuber 1997; Gers et al. 2000)."""
    spread = {name: law.spread(before.h, x) for name, law in laws.items()}
    i, f, o = (sigmoid(laws[name].mean, spread[name]) for name in "ifo")
    g = centred("tanh", spread["g"])
    c = f.value * before.c + (1 + more) * i.value * g.value
    read = centred("tanh", c)
    state = {"i": i.slope * g.value, "f": f.slope * before.c, "g": i.value * g.slope, "o": 0.0}
    direct = {"i": 0.0, "f": 0.0, "g": 0.0, "o": o.slope * read.value}
    mixed = sum(laws[name].recurrent * share for name, share in state.items())

    def correlated() -> float:
        """Of g, which sees the states before: `2 E f E c (i g)`."""
        came = i.value * g.value
        if came == 0:
            return 0.0
        lags = np.arange(1, LAGS)
        seen = laws["g"].recurrent * o.mean**2 * pair_moments("tanh", q=c, c=f.mean**lags)[0]
        alike = (seen + laws["g"].variance + laws["g"].inner) / spread["g"]
        together = pair_moments("tanh", q=spread["g"], c=np.minimum(alike, 1.0))[0]
        return 2 * i.mean**2 * float(f.mean**lags @ together) / came

    return Step(
        h=o.value * read.value,
        c=c,
        z={name: spread[name] + law.mean**2 for name, law in laws.items()},
        gates={"i": i.mean, "f": f.mean, "g": g.mean, "o": o.mean},
        keeps=f.mean,
        kept=f.value,
        mixes=math.sqrt(before.reads * mixed),
        varies=max(laws["f"].moving(spread["f"]) * (f.value - f.mean**2), 0.0),  # but for rounding
        state=state,
        direct=direct,
        reads=o.value * read.slope,
        reset=1.0,
        correlated=correlated,
    )


def gru(laws: Laws, x: float, before: Step, more: float = 0.0) -> Step:
    """`h' = (1 - z) n + z h` with `n = tanh(U x + b + r (W h + b'))` (Cho et al. 2014, arXiv:1406.1078)."""
    spread = {name: law.spread(before.h, x) for name, law in laws.items()}
    r, z = (sigmoid(laws[name].mean, spread[name]) for name in "rz")
    law = laws["n"]
    reset = law.recurrent * before.h + law.inner
    spread["n"] = law.fed * x + law.variance + r.value * reset
    n = centred("tanh", spread["n"])
    opened = 1 - 2 * z.mean + z.value  # E (1 - z)^2
    h = z.value * before.h + (1 + more) * opened * n.value
    through = opened * n.slope
    state = {"r": through * reset * r.slope, "z": z.slope * (n.value + before.h), "n": through}
    mixed = math.fsum(laws[name].recurrent * share * (r.value if name == "n" else 1) for name, share in state.items())
    # Of what the gates let through only the mean is the same in all steps.
    mixes = math.sqrt(law.recurrent) * (1 - z.mean) * r.mean * (1 - n.value)

    def correlated() -> float:
        """Of n, which sees the states before: `2 E z (1 - z) E n h`."""
        came = opened * n.value
        if came == 0:
            return 0.0
        lags = np.arange(1, LAGS)
        seen = r.mean**2 * (law.recurrent * h * z.mean**lags + law.inner)
        together = pair_moments("tanh", q=spread["n"], c=np.minimum((seen + law.variance) / spread["n"], 1.0))[0]
        met = (1 - z.mean) * float(z.mean ** (lags - 1) @ together)
        return 2 * (z.mean - z.value) * met / came

    return Step(
        h=h,
        c=math.nan,
        z={name: spread[name] + laws[name].mean ** 2 for name in laws},
        gates={"r": r.mean, "z": z.mean, "n": n.mean},
        keeps=z.mean,
        kept=z.value,
        mixes=mixes,
        varies=max(laws["z"].moving(spread["z"]) * (z.value - z.mean**2) + mixed - mixes**2, 0.0),
        state=state,
        direct=dict.fromkeys(laws, 0.0),
        reads=1.0,
        reset=r.value,
        correlated=correlated,
    )


def plain(kind: str) -> Cell:
    """`h' = phi(W h + U x + b)`: nothing is kept, and powers of W alone are what they are by themselves."""

    def step(laws: Laws, x: float, before: Step, more: float = 0.0) -> Step:  # noqa: ARG001 (nothing is kept)
        (name, law), *_ = laws.items()
        spread = law.spread(before.h, x)
        phi = centred(kind, spread)
        return Step(
            h=phi.value,
            c=math.nan,
            z={name: spread},
            gates={},
            keeps=0.0,
            kept=0.0,
            mixes=math.sqrt(law.recurrent * phi.slope),
            varies=0.0,
            state={name: phi.slope},
            direct={name: 0.0},
            reads=1.0,
            reset=1.0,
            correlated=lambda: 0.0,
        )

    return step


def forward(cell: Cell, laws: Laws, steps: int, x: float = 1.0, more: float = 0.0) -> list[Step]:
    """The steps of a cell from a state of 0, with inputs of this mean square that are new in each.

    Where the state has come to rest, the steps behind are that one.
    """
    found = [cell(laws, x, START, more)]
    while len(found) < steps:
        last = found[-1]
        step = cell(laws, x, last, more)
        found.append(step)
        if abs(step.size - last.size) <= 1e-13 * step.size and abs(step.mixes - last.mixes) <= 1e-13 * step.mixes:
            found += [step] * (steps - len(found))
    return found


def at_rest(cell: Cell, laws: Laws, x: float = 1.0, more: float = 0.0) -> Step:
    """The step of a state that has come to rest, or has had as many steps as that may take."""
    return forward(cell, laws, MOST, x, more)[-1]


class Backward(NamedTuple):
    """log10 of mean squares of gradients by step, `(steps,)` each."""

    state: Floats
    h: Floats


def backward(laws: Laws, steps: list[Step], size: float, *, every: bool) -> Backward:
    """The gradients by step, of a dL/dh of this mean square that comes in at the last step, or at every one.

    A mode of the shared matrix grows by `|a_t + rho_t e^(i theta)|^2` a step; what comes in starts all modes alike.
    """
    at, last = phases(len(steps)), len(steps) - 1
    state, h = np.full(len(steps), -math.inf), np.full(len(steps), -math.inf)
    modes, arrived, scale = np.zeros(len(at)), 0.0, 0.0  # dL/dstate of every mode, and dL/dh, times e^scale
    for t in reversed(range(len(steps))):
        came = size * math.exp(-scale) if every or t == last else 0.0
        here = came
        if t < last:
            behind, mean = steps[t + 1], float(modes.mean())
            for name, law in laws.items():
                here += law.recurrent * (behind.state[name] * mean + behind.direct[name] * arrived)
            modes = modes * np.exp(log_modes(behind.keeps, behind.mixes, at)) + behind.varies * mean
        modes = modes + came * steps[t].reads
        mean = float(modes.mean())
        arrived = mean if math.isnan(steps[t].c) else here
        with ranging():
            state[t], h[t] = (np.log10(each) + scale / math.log(10) for each in (mean, arrived))
        if mean > 0:
            modes, arrived, scale = modes / mean, arrived / mean, scale + math.log(mean)
    return Backward(state, h)
