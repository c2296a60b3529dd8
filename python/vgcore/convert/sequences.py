"""Recurrent nets and transformers of other libraries as nets here: their arrays by name, and the proof.

Such a module is no chain of functions of rows, so there is no tape of it. A reader of a library says which arrays stand
where, in the order of torch; here they become a spec with weights, which is held to the module as any other net is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

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
_ZEROS = "biases of 0 stand where the model has none: all maps here have biases or none has, and a norm has one"


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
        layers: Of each layer `weight` (W_hh) and `inputs.weight` (W_ih), gates one below the other in the order of
            torch, with `inputs.bias`, and `bias` where there are two; none of these without biases.
        readout: `weight` and, if it has one, `bias` of what reads the last layer; None without a readout.
        outputs: `"last"` or `"every"`.
    """

    cell: str
    layers: tuple[State, ...]
    readout: State | None
    outputs: str

    def made(self, steps: int) -> tuple[Network, list[str]]:
        """The net for sequences of so many steps, and what it has beside what was read."""
        first, readout, notes = self.layers[0], self.readout, list[str]()
        width, features = first["weight"].shape[1], first["inputs.weight"].shape[1]
        if readout is None and self.outputs == "every":
            readout = {"weight": np.eye(width)}
            notes.append("the readout is the identity: the model gives the states themselves")
        state = {f"readout.{key}": array for key, array in (readout or {}).items()}
        for l, layer in enumerate(self.layers):
            for key, array in layer.items():
                module, _, own = key.rpartition(".")
                state[f"{module or 'layers'}.{l}.{own}"] = array
        two = any("bias" in layer for layer in self.layers)
        filled, biased = _filled(state, without=() if two else ("layers.",))
        spec = RNN(
            steps,
            width,
            in_features=features,
            out_features=None if readout is None else len(readout["weight"]),
            cell=self.cell if biased else self.cell.replace("forget_bias=1", "forget_bias=0"),
            layers=len(self.layers),
            outputs=self.outputs,
            biases=2 if two else 1,
            bias=None if biased else False,
        )
        return Network.from_state_dict(spec, filled), [*notes, *([_ZEROS] if len(filled) > len(state) else [])]


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

    def made(self, tokens: int) -> tuple[Network, list[str]]:
        """The net for so many tokens, and what it has beside what was read."""
        ends = {"embedding": self.embedding, "final_norm": self.final_norm, "readout": self.readout}
        state = {f"layers.{b}.{key}": array for b, block in enumerate(self.layers) for key, array in block.items()}
        state |= {f"{end}.{key}": array for end, arrays in ends.items() for key, array in (arrays or {}).items()}
        inner, width = self.layers[0]["linear1.weight"].shape
        filled, biased = _filled(state)
        options: dict[str, Any] = dict(self.options)
        spec = Transformer(
            len(self.layers),
            width,
            tokens=tokens,
            in_features=None if self.embedding is None else self.embedding["weight"].shape[1],
            out_features=None if self.readout is None else len(self.readout["weight"]),
            ffn=inner // width,
            bias=None if biased else False,
            **options,
        )
        return Network.from_state_dict(spec, filled), [_ZEROS] if len(filled) > len(state) else []


def _filled(state: State, without: tuple[str, ...] = ()) -> tuple[dict[str, Array], bool]:
    """Arrays with biases of 0 where a norm has none, or a map and another has one, and whether maps have any.

    Args:
        state: All arrays by their names; weights of maps are matrices, those of norms are not.
        without: What the names of maps begin with that have no biases in any case.
    """
    weights = {key: w for key, w in state.items() if key.endswith("weight") and not key.startswith(without)}
    biases = {key.removesuffix("weight") + "bias": w for key, w in weights.items()}
    biased = any(name in state for name, w in biases.items() if w.ndim == 2)
    zeros = {name: np.zeros(len(w)) for name, w in biases.items() if biased or w.ndim == 1}
    return zeros | dict(state), biased


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
    prove(net.made(short)[0], read.run(short), None, tolerance=tolerance)
    read.draw()
    prove(read.net().made(short)[0], read.run(short), None, tolerance=tolerance)
    network, notes = net.made(steps)
    return Imported(network, (*read.notes, *notes, "spec.init is a default: it says nothing of these weights"))
