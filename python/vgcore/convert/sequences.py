"""Recurrent nets and transformers of other libraries as nets here: their arrays by name, and the proof.

Such a module is no chain of functions of rows, so there is no tape of it. A reader of a library says which arrays stand
where, in the order of torch; here they become a spec with weights, which is held to the module as any other net is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from vgcore.convert.imported import Imported
from vgcore.convert.proof import Run, prove
from vgcore.convert.tape import Array
from vgcore.model.network import Network
from vgcore.model.rnn import RNN
from vgcore.model.transformer import Transformer

#: Steps of a recurrent net in the proof, which uses the same weights at each: a net may be chaotic over more.
STEPS = 12

State = Mapping[str, Array]


def gates_of(cell: str) -> int:
    """How many blocks of rows the maps of a cell have.

    >>> [gates_of(cell) for cell in ("tanh", "lstm(forget_bias=0)", "gru")]
    [1, 4, 3]
    """
    return {"lstm": 4, "gru": 3}.get(cell.partition("(")[0], 1)


def blocks(array: Array, order: tuple[int, ...]) -> Array:
    """The blocks of the first axis in another order.

    >>> import numpy as np
    >>> blocks(np.arange(6), (1, 0, 2))
    array([2, 3, 0, 1, 4, 5])
    """
    each = np.split(array, len(order))
    return np.concatenate([each[place] for place in order])


@dataclass(frozen=True, eq=False, kw_only=True)
class Recurrent:
    """A recurrent net as it was read.

    Attributes:
        cell: As `RNN` takes it.
        layers: Of each layer `weight` (W_hh) and `inputs` (W_ih), gates one below the other in the order of torch, with
            `input_bias`, and `bias` where there are two; none of these without biases.
        readout: `weight` and, if it has one, `bias` of what reads the last layer; None without a readout.
        outputs: `"last"` or `"every"`.
    """

    cell: str
    layers: tuple[State, ...]
    readout: State | None
    outputs: str

    def network(self, steps: int) -> Network:
        """The net for sequences of so many steps."""
        names = {"weight": "layers.{}.weight", "bias": "layers.{}.bias"}
        names |= {"inputs": "inputs.{}.weight", "input_bias": "inputs.{}.bias"}
        state = {names[key].format(l): array for l, layer in enumerate(self.layers) for key, array in layer.items()}
        first, readout = self.layers[0], self.readout or {}
        state |= {f"readout.{key}": array for key, array in readout.items()}
        spec = RNN(
            steps,
            first["weight"].shape[1],
            in_features=first["inputs"].shape[1],
            out_features=len(readout["weight"]) if readout else None,
            cell=self.cell,
            layers=len(self.layers),
            outputs=self.outputs,
            biases=2 if "bias" in first else 1,
            bias=_bias([*("input_bias" in layer for layer in self.layers), *(["bias" in readout] if readout else [])]),
        )
        return Network.from_state_dict(spec, state)


@dataclass(frozen=True, eq=False, kw_only=True)
class Encoder:
    """A transformer as it was read.

    Attributes:
        layers: Of each block its arrays by their names here, behind `layers.3.`.
        options: Fields of `Transformer` that the arrays do not tell: heads, activation, norm and where it stands, ...
        embedding: `weight` and, if it has one, `bias` of the map before the blocks; None without one.
        final_norm: The same of the norm behind them.
        readout: The same of the map behind that.
    """

    layers: tuple[State, ...]
    options: Mapping[str, object]
    embedding: State | None = None
    final_norm: State | None = None
    readout: State | None = None

    def network(self, tokens: int) -> Network:
        """The net for so many tokens."""
        ends = {"embedding": self.embedding, "final_norm": self.final_norm, "readout": self.readout}
        state = {f"layers.{b}.{key}": array for b, block in enumerate(self.layers) for key, array in block.items()}
        state |= {f"{end}.{key}": array for end, arrays in ends.items() for key, array in (arrays or {}).items()}
        up = self.layers[0]["linear1.weight"]
        inner, width = up.shape
        maps = [*self.layers[0], *(f"{end}.{key}" for end in ("embedding", "readout") for key in ends[end] or {})]
        weights = [key for key in maps if key.endswith("weight") and "norm" not in key]
        spec = Transformer(
            len(self.layers),
            width,
            tokens=tokens,
            in_features=None if self.embedding is None else self.embedding["weight"].shape[1],
            out_features=None if self.readout is None else len(self.readout["weight"]),
            ffn=inner // width,
            bias=_bias([key.replace("weight", "bias") in maps for key in weights]),
            **self.options,
        )
        return Network.from_state_dict(spec, state)


def _bias(there: list[bool]) -> None | bool | tuple[bool | None, ...]:
    """The field `bias` of a net whose maps have biases or not."""
    if len(set(there)) == 1:
        return None if there[0] else False
    return tuple(None if each else False for each in there)


@dataclass(frozen=True, eq=False, kw_only=True)
class Read:
    """A module of another library that was read, and can be run.

    Attributes:
        net: What its weights are now.
        run: The module on rows of sequences of so many steps.
        draw: Gives the module other numbers, in a copy that nobody else has.
        notes: What was found on the way.
    """

    net: Callable[[], Recurrent | Encoder]
    run: Callable[[int], Run]
    draw: Callable[[], None]
    notes: list[str] = field(default_factory=list)


def imported(read: Read, steps: int, *, tolerance: float = 1e-10) -> Imported:
    """The net of a module, proved against it: with the numbers of the module, and with numbers drawn anew in both.

    Args:
        read: The module.
        steps: Steps or tokens of a sample.
        tolerance: As of `match.imported`.

    Raises:
        Refusal: For a net that computes something else.
    """
    net = read.net()
    short = min(steps, STEPS) if isinstance(net, Recurrent) else steps
    prove(net.network(short), read.run(short), None, tolerance=tolerance)
    read.draw()
    prove(read.net().network(short), read.run(short), None, tolerance=tolerance)
    return Imported(net.network(steps), (*read.notes, "spec.init is a default: it says nothing of these weights"))
