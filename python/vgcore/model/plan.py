"""A spec as the core has worked it out: layers, their parts in order, and what their maps are drawn from."""

from __future__ import annotations

from dataclasses import dataclass

from vgcore import _core
from vgcore.model.kind import Activation
from vgcore.model.mlp import MLP


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
    """

    fan_in: int
    fan_out: int
    law: str
    weight_mean: float
    weight_variance: float
    bias_mean: float
    bias_variance: float


@dataclass(frozen=True)
class Layer:
    """A hidden layer.

    Attributes:
        input: Features that come in.
        width: Features of z.
        output: Features that go out.
        activation: The activation; linear in the last layer of a block of order `linear`.
        parts: What the layer does, in order: `"map"`, `"norm"`, `"activation"`, `"join"`.
        source: The first layer of the block whose skip ends here, counted from 0; None where none ends.
        map: The linear map.
        gate: The map of a highway's gate that ends here, if any.
    """

    input: int
    width: int
    output: int
    activation: Activation
    parts: tuple[str, ...]
    source: int | None
    map: Map
    gate: Map | None


@dataclass(frozen=True)
class Plan:
    """A net layer by layer.

    Attributes:
        layers: The hidden layers, input side first.
        readout: The map of the readout, if any.
        columns: Columns of the samples: those of every step where each has an input of its own.
        outputs: Columns of the output.
        branch_scale: The factor of a branch, as a number.
        calibrates: Whether weights are scaled by what data make of them.
        knows_depth: Whether the numbers of a layer depend on how many layers there are.
    """

    layers: tuple[Layer, ...]
    readout: Map | None
    columns: int
    outputs: int
    branch_scale: float
    calibrates: bool
    knows_depth: bool

    @classmethod
    def of(cls, spec: MLP) -> Plan:
        """The plan of a spec.

        >>> plan = Plan.of(MLP(depth=2, width=8, skip="residual", out_features=3))
        >>> plan.layers[1].parts, plan.layers[1].source, plan.readout.fan_in
        (('map', 'activation', 'join'), 1, 8)
        """
        plan = _core.plan(spec)
        layers = tuple(
            Layer(
                **layer
                | {
                    "activation": Activation.of_field(layer["activation"]),
                    "parts": tuple(layer["parts"]),
                    "map": Map(**layer["map"]),
                    "gate": layer["gate"] and Map(**layer["gate"]),
                }
            )
            for layer in plan["layers"]
        )
        return cls(**plan | {"layers": layers, "readout": plan["readout"] and Map(**plan["readout"])})
