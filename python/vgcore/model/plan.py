"""A spec as the core has worked it out: layers, their parts in order, and what their maps are drawn from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vgcore import _core
from vgcore.model.kind import Activation
from vgcore.model.spec import Spec


class Block(NamedTuple):
    """A block of rows of a map, which is drawn by itself: a gate; queries, keys or values.

    Attributes:
        weight_variance: Variance of a weight.
        bias_mean: Mean of a bias.
        bias_variance: Variance of a bias.
    """

    weight_variance: float
    bias_mean: float
    bias_variance: float


@dataclass(frozen=True)
class Map:
    """A linear map as it is drawn.

    Attributes:
        fan_in: Columns of the weights.
        fan_out: Rows of the weights.
        law: Of the weights: `"constant"`, `"uniform"`, `"normal"`, `"truncated_normal"`, `"eye"`, `"sparse"`,
            `"orthogonal"` or `"mirrored"`.
        weight_mean: Mean of a weight.
        weight_variance: Variance of a weight.
        bias_mean: Mean of a bias.
        bias_variance: Variance of a bias.
        blocks: The blocks of rows that are drawn each by itself, in order; most maps are one.
        transform: What the weights go through before they are used, as a text, if anything.
    """

    fan_in: int
    fan_out: int
    law: str
    weight_mean: float
    weight_variance: float
    bias_mean: float
    bias_variance: float
    blocks: tuple[Block, ...]
    transform: str | None = None

    @classmethod
    def of(cls, facts: dict[str, Any]) -> Map:
        """What the core says of it."""
        return cls(**facts | {"blocks": tuple(Block(*block) for block in facts["blocks"])})


class Step(NamedTuple):
    """A part of a layer.

    Attributes:
        part: `"map"`, `"norm"`, `"activation"`, `"dropout"`, `"keep"` (something begins to go around), `"join"`,
            `"attention"` or `"pool"`; of a recurrent net also `"cell"` (its gates), `"steps"` (the readout of every
            step) and `"cut"` (where truncation cuts the gradient).
        inputs: Features that come in.
        outputs: Features that go out.
        kind: The normalisation or activation as a text; of a join `"add"`, `"rezero"`, `"gate"`, `"concat"` or
            `"project"`; of a pool `"mean"` or `"last"`; of a cell `"lstm"`, `"gru(reset=after)"` or
            `"gru(reset=before)"`; else empty.
        key: Where its parameters stand in a state dict, before `.weight` and `.bias`; None where it learns nothing.
        fed: Where the weights for the step's own input stand, of a map in a net that is fed.
        stream: The number of what goes around, of a keep and its joins; of an LSTM's cell its c, of a GRU's its h; of a
            map of a net of several layers its h.
        dropped: The share that dropout drops.
        scale: The factor of the branch of a join, beside a learned one; of the logits of attention.
        around: The factor of what went around a join.
        start: Where the learned factor of a join starts; 1 where none is learned.
        heads: The heads of attention.
        tokens: The tokens of a sample, of attention and of a pool.
        causal: Whether a token sees none behind it.
        eps: What is added to mean squares of queries and keys; None where they are not normalised.
        map: The linear map, of a map, a gate or a projection; of a map that is fed that of the state.
        inputs_map: The map of the step's own input, of a map that is fed.
    """

    part: str
    inputs: int
    outputs: int
    kind: str = ""
    key: str | None = None
    fed: str | None = None
    stream: int | None = None
    dropped: float = 0.0
    scale: float = 1.0
    start: float = 1.0
    around: float = 1.0
    heads: int = 0
    tokens: int = 1
    causal: bool = False
    eps: float | None = None
    map: Map | None = None
    inputs_map: Map | None = None

    @property
    def factor(self) -> float:
        """What multiplies the branch of a join in a fresh net."""
        return self.scale * self.start


@dataclass(frozen=True)
class Layer:
    """A hidden layer.

    Attributes:
        input: Features that come in.
        output: Features that go out.
        source: The index, from 0, of the first layer of the block whose skip ends here; None where none ends.
        steps: What the layer does, in order.
    """

    input: int
    output: int
    source: int | None
    steps: tuple[Step, ...]

    @cached_property
    def map(self) -> Map:
        """The linear map."""
        return next(step.map for step in self.steps if step.part == "map" and step.map is not None)

    @property
    def width(self) -> int:
        """Features of z."""
        return self.map.fan_out

    @cached_property
    def activation(self) -> Activation:
        """The activation: of a cell that of its state; linear where there is none, as at the end of some blocks."""
        return Activation.of_field((self.texts("activation") or ["tanh" if "cell" in self.parts else "linear"])[-1])

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of its parts in order; what goes around is told by its joins."""
        return tuple(step.part for step in self.steps if step.part != "keep")

    def texts(self, part: str) -> list[str]:
        """The kinds of its parts of this name."""
        return [step.kind for step in self.steps if step.part == part]


@dataclass(frozen=True)
class Plan:
    """A net layer by layer.

    Attributes:
        layers: The hidden layers, input side first.
        ends: What stands behind the last hidden layer: a normalisation, the readout.
        columns: Columns of the samples: those of every step where each has an input of its own, of every token.
        series: Steps, or tokens, and features of samples that have several of them; else None.
        tokens: Tokens of a sample; 1 where samples have none.
        places: Rows of the output that a sample has, each compared with a target of its own.
        outputs: Columns of the output, of all places.
        calibrates: Whether weights are scaled by what data make of them.
        knows_depth: Whether the numbers of a layer depend on how many layers there are.
    """

    layers: tuple[Layer, ...]
    ends: tuple[Step, ...]
    columns: int
    series: tuple[int, int] | None
    tokens: int
    places: int
    outputs: int
    calibrates: bool
    knows_depth: bool

    @classmethod
    def of(cls, spec: Spec) -> Plan:
        """The plan of a spec.

        >>> from vgcore import MLP
        >>> plan = Plan.of(MLP(depth=2, width=8, skip="residual", out_features=3))
        >>> plan.layers[1].parts, plan.layers[1].source, plan.readout.fan_in
        (('map', 'activation', 'join'), 1, 8)
        """
        if (found := _PLANS.get(spec)) is None:
            plan = _core.plan(spec)
            layers = tuple(Layer(**layer | {"steps": _steps(layer["steps"])}) for layer in plan["layers"])
            found = cls(**plan | {"layers": layers, "ends": _steps(plan["ends"])})
            if len(_PLANS) >= KEPT:
                _PLANS.clear()
            _PLANS[spec] = found
        return found

    def folded(self, x: ArrayLike) -> NDArray[Any]:
        """Samples as an array: `(batch, steps, features)` where each step has an input of its own, flat or not.

        >>> from vgcore import MLP
        >>> Plan.of(MLP(depth=3, width=4, in_features=2, tied=True, inputs="every")).folded([[0] * 6] * 5).shape
        (5, 3, 2)
        """
        samples = np.asarray(x)
        return samples if self.series is None else samples.reshape(len(samples), *self.series)

    @cached_property
    def readout(self) -> Map | None:
        """The map of the readout, if any."""
        return next((step.map for step in self.ends if step.part in {"map", "steps"}), None)


def _steps(given: Iterable[dict[str, Any]]) -> tuple[Step, ...]:
    def step(facts: dict[str, Any]) -> Step:
        maps: dict[str, Any] = {name: Map.of(facts[name]) for name in ("map", "inputs_map") if name in facts}
        return Step(**(facts | maps))

    return tuple(map(step, given))


#: Plans that are kept: a judge asks for that of a net again and again.
KEPT = 16
#: Those of specs that somebody holds: tables of samples live no longer than their nets.
_PLANS: WeakKeyDictionary[Spec, Plan] = WeakKeyDictionary()
