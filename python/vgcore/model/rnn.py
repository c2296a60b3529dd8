"""The description of a recurrent net over a fixed number of steps: `RNN`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from vgcore import _core
from vgcore.model.kind import Cell, Init, Norm
from vgcore.model.mlp import Field, InitField
from vgcore.model.spec import Spec, check_fields, documented, in_order

#: The fields that a net need not name, as the core has them.
DEFAULTS = _core.Spec.of_steps({}).fields()


@dataclass(frozen=True, repr=False)
class RNN(Spec):
    """A recurrent net, step by step: `tanh`, `relu`, `irnn`, `lstm` or `gru`, of one layer or more, from a state of 0.

    Frozen, hashable, picklable; two specs are equal if their fields are. Samples are `(batch, steps, in_features)`, or
    flat, `(batch, steps * in_features)`. The gates of a layer at a step come from `W h + U x + b`, with `h` its state
    before the step and `x` what the step gets, in a layer above the first the state of the layer below. `W` is
    `layers.{l}.weight` in a state dict, `U` and `b` are `inputs.{l}.weight` and `inputs.{l}.bias`; the gates' rows are
    stacked as in torch: i, f, g, o of an LSTM, r, z, n of a GRU.

    A row of a probe is a layer at a step, in the order of time: layer l at step t is row `t * layers + l`.

    Args:
        steps: Steps of a sequence; steps times layers is at most 1,000,000.
        width: Units of a layer.
        in_features: Columns of each step's input.
        out_features: Units of a linear readout; None for no readout.
        cell: Name or call, such as `"gru(reset=before)"`, or `Cell`; `vg.kinds("cell")` has their formulas.
        layers: Layers, each of which gets the states of the one below.
        outputs: `"last"`: one readout, of the last state. `"every"`: a readout of every step, and an output of
            `(batch, steps * out_features)`, all outputs of the first step first.
        init: Of the weights `U` and of the readout, gate by gate; `"torch_rnn"` is what torch draws.
        recurrent_init: Of the weights `W`, gate by gate: each gate of `"orthogonal"` is orthogonal.
        bias: An init for biases; None for what `init` brings, zeros mostly; False for none. `"chrono(T)"` draws those
            of the gates that keep and take in for memories of 1 to T steps; `forget_bias` and `update_bias` are then
            not added.
        biases: 1 or 2 of each gate. The second, `layers.{l}.bias`, is that of `W`, which torch has too. An init draws
            both, as torch does, so that a gate gets the sum: `bias="constant(1)"` gives it 2. What a cell adds to a
            bias is added to the first alone, as are the biases of `chrono`.
        norm: A normalisation of `W h + U x + b`, all gates of a sample together; None for none. Not with `gru`.
        truncate: The gradient is cut every so many steps, counted from the first: truncated backpropagation through
            time, in probes and in training. None for no cut.

    Raises:
        ValueError: For a value that is not allowed, with what is.
        TypeError: For a value of the wrong type.

    >>> net = RNN(steps=100, width=32, cell="lstm", out_features=1)
    >>> net.depth, net.cell
    (100, 'lstm')
    >>> {name: array.shape for name, array in net.init(seed=0).state_dict().items()}["layers.0.weight"]
    (128, 32)
    >>> RNN.from_json(net.to_json()) == net
    True
    """

    steps: int
    width: int
    _: dataclasses.KW_ONLY
    in_features: int = DEFAULTS["in_features"]
    out_features: int | None = DEFAULTS["out_features"]
    cell: Field[str, Cell] = Field(Cell, DEFAULTS["cell"])  # noqa: RUF009 (a descriptor)
    layers: int = DEFAULTS["layers"]
    outputs: str = DEFAULTS["outputs"]
    init: InitField = InitField(Init, DEFAULTS["init"])  # noqa: RUF009
    recurrent_init: Field[str, Init] = Field(Init, DEFAULTS["recurrent_init"])  # noqa: RUF009
    bias: Field[str | bool | None, Init | bool | None] = Field(Init, DEFAULTS["bias"])  # noqa: RUF009
    biases: int = DEFAULTS["biases"]
    norm: Field[str | None, Norm | None] = Field(Norm, DEFAULTS["norm"])  # noqa: RUF009
    truncate: int | None = DEFAULTS["truncate"]

    def __post_init__(self) -> None:
        given = self.__dict__
        checked = _core.Spec.of_steps({name: given[name] for name in FIELDS})
        given |= checked.fields()
        for name, field in KINDS.items():
            given[name] = field.checked(given[name])
        given["_checked"] = checked

    def replace(self, **changes: Any) -> RNN:
        """A copy with some fields changed, checked again."""
        check_fields(changes, FIELDS)
        return dataclasses.replace(self, **changes)

    @staticmethod
    def from_json(text: str) -> RNN:
        """The spec that `to_json` wrote.

        Raises:
            ValueError: For what is no JSON, of a format that this version does not know, or has unknown fields.
        """
        fields, known = documented(text, "RNN")
        check_fields(fields, FIELDS)
        if missing := [name for name in ("steps", "width") if name not in fields]:
            raise ValueError(f"a recurrent net needs {' and '.join(missing)}")
        spec = RNN(**fields)
        del known  # which the spec keeps from here on
        return spec

    @property
    def depth(self) -> int:  # type: ignore[override]  # worked out here, a field of an MLP
        """Layers of all steps: `steps * layers`, which are the rows of a probe."""
        return self.steps * self.layers

    @property
    def sizes(self) -> str:
        """Columns of a step's input, units of a layer and of the readout, in order.

        >>> RNN(steps=100, width=32, layers=2, in_features=3, out_features=1).sizes
        '3 -> 32 (2 layers, 100 steps) -> 1'
        """
        layers = f"{self.layers} layers, " if self.layers > 1 else ""
        return in_order(self.in_features, [f"{self.width} ({layers}{self.steps} steps)"], self.out_features)

    def _texts(self) -> Iterable[str]:
        return ()


FIELDS = tuple(field.name for field in dataclasses.fields(RNN))
#: The fields that hold kinds.
KINDS: dict[str, Field[Any, Any]] = {name: field for name, field in vars(RNN).items() if isinstance(field, Field)}
