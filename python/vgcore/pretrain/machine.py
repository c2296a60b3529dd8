"""A restricted Boltzmann machine of binary units: `RBM`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vgcore import _core
from vgcore.measure.extra import read_only
from vgcore.measure.progress import epochs_line
from vgcore.model.given import Bounds, boolean, integer, numbers
from vgcore.model.mlp import MLP
from vgcore.model.shown import Shown
from vgcore.model.versioned import Versioned
from vgcore.pretrain import learn
from vgcore.pretrain.learn import SEEN, Floats, Method, Pace, Pair, apart, chances, down, up

#: Units of the smaller side up to which all its states are gone through: a million states.
ENUMERATED = 20
#: States that are gone through at once.
AT_ONCE = 1 << 14
#: What is seen of a machine by epoch.
MONITORS = ("error", "held_out_error", "pseudo_likelihood", "free_energy_gap")


@dataclass(frozen=True, eq=False)
class RBM(Versioned, Shown):
    """A restricted Boltzmann machine: `p(v, h) = e^-E / Z` with `E = -b.v - c.h - h.W v` of binary units.

    `RBM.drawn(visible, hidden)` makes one, `fit` one that has learnt. No unit is joined to one of its own side, so that
    each side is drawn at once given the other: `p(h_j = 1 | v) = sigmoid(c_j + W_j v)`.

    Args:
        W: Weights, `(hidden, visible)`, as those of a layer.
        b: Biases of the visible units, `(visible,)`.
        c: Biases of the hidden units, `(hidden,)`.
        monitors: What `fit` has seen after each epoch, on at most 1000 rows, `(epochs,)` each: `error`, the mean
            squared difference of rows and their reconstruction; `held_out_error`, that of held-out rows;
            `pseudo_likelihood` and `free_energy_gap`. The error is no likelihood: it also falls where the model gets
            worse (Hinton's guide, section 5).

    Sources: Hinton 2002 (contrastive divergence); Hinton 2010, "A practical guide to training restricted Boltzmann
    machines"; Tieleman 2008 (persistent chains).

    A machine that is small enough knows its likelihood:

    >>> import numpy as np
    >>> import vgcore as vg
    >>> rbm = vg.RBM.drawn(4, 3, seed=0)
    >>> x = np.array([[0, 0, 1, 1], [1, 1, 0, 0]])
    >>> learnt = rbm.fit(x, epochs=200, lr=0.5, batch=2)
    >>> bool(learnt.log_likelihood(x).mean() > -2 > rbm.log_likelihood(x).mean())
    True
    """

    W: Floats
    b: Floats
    c: Floats
    monitors: Mapping[str, Floats] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("W", "b", "c"):
            object.__setattr__(self, name, numbers(name, getattr(self, name), Bounds()))
        if self.W.ndim != 2 or not self.W.size or self.b.shape != self.W.shape[1:] or self.c.shape != self.W.shape[:1]:
            shapes = f"{self.W.shape}, {self.b.shape} and {self.c.shape}"
            raise ValueError(f"W must be (hidden, visible), b (visible,) and c (hidden,), got {shapes}")
        object.__setattr__(self, "monitors", read_only(self.monitors))
        super().__post_init__()

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"monitors": dict(self.monitors)}  # A view of a dict has no pickle.

    def __repr__(self) -> str:
        epochs = len(next(iter(self.monitors.values()), ()))
        return f"RBM({self.visible} visible, {self.hidden} hidden" + (f", {epochs} epochs)" if epochs else ")")

    @staticmethod
    def drawn(visible: int, hidden: int, seed: int = 0) -> RBM:
        """A machine that has learnt nothing: weights N(0, 0.01^2), biases 0.

        Args:
            visible: Visible units.
            hidden: Hidden units.
            seed: Of the weights.

        >>> RBM.drawn(64, 100)
        RBM(64 visible, 100 hidden)
        """
        visible, hidden = (integer(name, n, least=1) for name, n in (("visible", visible), ("hidden", hidden)))
        return RBM(*fresh([visible, hidden], integer("seed", seed, least=0, most=2**64 - 1))[0])

    @property
    def visible(self) -> int:
        """The number of visible units."""
        return len(self.b)

    @property
    def hidden(self) -> int:
        """The number of hidden units."""
        return len(self.c)

    @property
    def pair(self) -> Pair:
        """The weights and the biases of both sides, as layers have them."""
        return Pair(self.W, self.b, self.c)

    @cached_property
    def _turned(self) -> RBM:
        """The machine with its sides exchanged."""
        return RBM(self.W.T, self.c, self.b)

    def fit(
        self,
        x: ArrayLike,
        *,
        k: int = 1,
        persistent: bool = False,
        epochs: int = 10,
        lr: float = 0.1,
        batch: int = 20,
        momentum: float | tuple[float, float] = (0.5, 0.9),
        decay: float = 0.0,
        seed: int = 0,
        held_out: float | ArrayLike | None = None,
        progress: bool = False,
    ) -> RBM:
        """A machine that has gone on from this one by contrastive divergence on rows; this one stays as it is.

        CD-1 reconstructs probabilities and takes those of the hidden units for its sums; samples of them alone drive
        the chain. Longer and persistent chains sample both sides. It computes in float32, a batch after the other, and
        the bits depend on the arguments alone.

        Args:
            x: Rows `(rows, visible)` of values from 0 to 1, which are probabilities of a unit that is on.
            k: Steps of a chain.
            persistent: Whether chains go on where they were, beginning with all hidden units off.
            epochs: Passes over all rows, each in a new order; rows that fill no batch wait for the next one.
            lr: The rate, of a batch's mean.
            batch: Rows of a batch, and chains.
            momentum: One number, or that of the first 5 epochs and that of the others.
            decay: What `decay * W` is taken off the gradient of W by.
            seed: Of order and samples.
            held_out: A share of the rows, which are then not learnt from, or other rows, for the monitors.
            progress: Show a line in a notebook, or on stderr where that is a terminal.

        Raises:
            ValueError: For values outside of [0, 1], with how to scale them; for a rate with which numbers leave the
                range of float32. A rate that is too large by less closes or opens all units for good: `monitors` show
                it by an error that does not fall.

        >>> import vgcore as vg
        >>> x = vg.data.digits(standardize=False)[0] / 16
        >>> rbm = vg.RBM.drawn(64, 100).fit(x, epochs=3, persistent=True, lr=0.06, batch=10, momentum=0.0)
        >>> rbm.transform(x).shape, rbm.monitors["pseudo_likelihood"].shape
        ((1797, 100), (3,))
        """
        rows = chances("x", x, self.visible)
        k, persistent = integer("k", k, least=1, most=10_000), boolean("persistent", persistent)
        pace = Pace.of(epochs=epochs, lr=lr, batch=batch, momentum=momentum, decay=decay, seed=seed)
        method = Method("rbm", k=k, persistent=str(persistent).lower())
        kept, others = apart(rows, held_out, pace.seed)
        with epochs_line(1, pace.epochs, show=boolean("progress", progress)) as line:
            return fitted(method, self.pair, rows[kept], others, pace, line=line)

    def transform(self, x: ArrayLike) -> Floats:
        """`p(h = 1 | v)` of rows, `(rows, hidden)`: what a layer hands on.

        Args:
            x: Rows `(rows, visible)`.
        """
        return up(self.pair, chances("x", x, self.visible))

    def reconstruct(self, x: ArrayLike) -> Floats:
        """Probabilities of the visible units given those of the hidden ones given rows, `(rows, visible)`.

        Args:
            x: Rows `(rows, visible)`.
        """
        return down(self.pair, self.transform(x))

    def free_energy(self, x: ArrayLike) -> Floats:
        """`F(v) = -b.v - sum_j softplus(c_j + W_j v)` of each row: `p(v) = e^-F(v) / Z`.

        Args:
            x: Rows `(rows, visible)`.
        """
        return _core.free_energies(self.W, self.b, self.c, chances("x", x, self.visible))

    def free_energy_gap(self, x: ArrayLike, held_out: ArrayLike) -> float:
        """The mean free energy of held-out rows less that of rows it learnt from: it grows as it learns them by heart.

        Args:
            x: Rows that it learnt from.
            held_out: Others.
        """
        others = chances("held_out", held_out, self.visible)
        return float(self.free_energy(others).mean() - self.free_energy(x).mean())

    def pseudo_likelihood(self, x: ArrayLike, seed: int = 0) -> Floats:
        """scikit-learn's estimate of `sum_i ln p(v_i | all others)` of each row: that of one unit drawn, times all.

        Args:
            x: Rows `(rows, visible)` of 0 and 1. Values in between are put into the formula as they are: no likelihood,
                but a number that can be followed while it learns, as scikit-learn does.
            seed: Of the units that are drawn.
        """
        rows = chances("x", x, self.visible)
        return _core.pseudo_likelihoods(self.W, self.b, self.c, rows, integer("seed", seed, least=0, most=2**64 - 1))

    def log_partition(self) -> float:
        """The log of Z, exact: all states of the smaller side are gone through.

        Raises:
            ValueError: Where both sides have more than 20 units.
        """
        machine = self._turned if self.hidden <= self.visible else self
        # What is summed over one side is the free energy of the other.
        parts = [np.logaddexp.reduce(-machine.free_energy(states)) for states in states_of(machine.visible)]
        return float(np.logaddexp.reduce(parts))

    def log_likelihood(self, x: ArrayLike) -> Floats:
        """`ln p(v)` of each row, exact.

        Args:
            x: Rows `(rows, visible)` of 0 and 1. Of values in between it is `-F(v) - ln Z`, which is no probability:
                units are binary.

        Raises:
            ValueError: Where both sides have more than 20 units.
        """
        return -self.free_energy(x) - self.log_partition()

    def gradient(self, x: ArrayLike) -> dict[str, Floats]:
        """The gradient of the mean of `log_likelihood` by `W`, `b` and `c`, exact; ascending it is learning.

        Args:
            x: Rows `(rows, visible)`.

        Raises:
            ValueError: Where both sides have more than 20 units.
        """
        rows = chances("x", x, self.visible)
        if self.hidden <= self.visible:
            turned, of_hidden, of_visible = expected(self._turned)
            weight = turned.T
        else:
            weight, of_visible, of_hidden = expected(self)
        on = self.transform(rows)
        return {"W": on.T @ rows / len(rows) - weight, "b": rows.mean(0) - of_visible, "c": on.mean(0) - of_hidden}

    def sample(self, n: int, steps: int = 1000, seed: int = 0) -> Floats:
        """Rows of 0 and 1 that the machine draws: `(n, visible)`, the ends of n chains of Gibbs sampling.

        Args:
            n: Chains, each begun with visible units that are on with probability 1/2.
            steps: Steps of a chain; a machine that has learnt much needs many.
            seed: Of what is drawn.
        """
        return gibbs(self, n, steps, seed)[0]


def states_of(units: int) -> Iterator[Floats]:
    """All states of so many units, many at a time."""
    if units > ENUMERATED:
        raise ValueError(
            f"an exact sum goes through all states of the smaller side: at most {ENUMERATED} units, "
            f"and this machine has {units} there; pseudo_likelihood is for larger ones"
        )
    bits = np.arange(units)
    for first in range(0, 1 << units, AT_ONCE):
        numbers = np.arange(first, min(first + AT_ONCE, 1 << units))
        yield (numbers[:, None] >> bits & 1).astype(np.float64)


def expected(machine: RBM) -> tuple[Floats, Floats, Floats]:
    """The means of `h v`, v and h over the model, by all states of the visible units."""
    log_z = machine.log_partition()
    weight, of_visible, of_hidden = np.zeros_like(machine.W), np.zeros_like(machine.b), np.zeros_like(machine.c)
    for states in states_of(machine.visible):
        chance = np.exp(-machine.free_energy(states) - log_z)[:, None]
        on = machine.transform(states)
        weight += (chance * on).T @ states
        of_visible += (chance * states).sum(0)
        of_hidden += (chance * on).sum(0)
    return weight, of_visible, of_hidden


def fresh(sizes: list[int], seed: int) -> list[Pair]:
    """Numbers of machines one above the other that have learnt nothing: N(0, 0.01^2) and 0, a stream a layer."""
    visible, *hidden = sizes
    spec = MLP(depth=len(hidden), width=hidden, in_features=visible, activation="sigmoid", init="normal(std=0.01)")
    state = spec.init(seed).state_dict()
    pairs = zip(sizes, hidden, strict=False)
    return [Pair(state[f"layers.{i}.weight"], np.zeros(v), np.zeros(h)) for i, (v, h) in enumerate(pairs)]


def fitted(
    method: Method, start: Pair, rows: Floats, others: Floats, pace: Pace, *, layer: int = 0, line: Any = None
) -> RBM:
    """A machine that has learnt from rows, and what was seen of it."""
    seen: dict[str, Floats] = {name: np.full(pace.epochs, math.nan) for name in MONITORS}
    some, held = rows[:SEEN], others[:SEEN]

    def look(epoch: int, pair: Pair) -> None:
        machine = RBM(*pair)
        seen["error"][epoch] = learn.error(pair, some)
        seen["held_out_error"][epoch] = learn.error(pair, held)
        seen["pseudo_likelihood"][epoch] = machine.pseudo_likelihood(some, pace.seed).mean()
        if len(held):
            seen["free_energy_gap"][epoch] = machine.free_energy_gap(some, held)
        if line is not None:
            line(layer, epoch, seen["error"][epoch])

    found = learn.learn(method, start, rows, pace, layer=layer, seen=look)
    return RBM(*found, seen)


def gibbs(machine: RBM, n: int, steps: int, seed: int) -> list[NDArray[Any]]:
    """The samples of the visible units at the ends of chains, and their probabilities."""
    n, steps = integer("n", n, least=1), integer("steps", steps, least=1)
    seed = integer("seed", seed, least=0, most=2**64 - 1)
    start = np.full((n, machine.visible), 0.5)
    # Of the first half step it matters only that the visible units are as likely on as off.
    ends = _core.gibbs(machine.W, machine.b, machine.c, start, steps, seed)
    return [each.astype(np.float64) for each in ends]
