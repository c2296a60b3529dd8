"""What may be changed in a net, one row a kind of change, what changes a net least first."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

from vgcore.judge.blind import first_loss
from vgcore.judge.diagnosis import Diagnosis
from vgcore.judge.rules.numbers import FINITE_WIDTH
from vgcore.model.gain import calculate_gain
from vgcore.model.kind import Init, Kind
from vgcore.model.mlp import MLP
from vgcore.model.rnn import RNN
from vgcore.model.spec import Spec
from vgcore.model.transformer import Transformer

#: Biases of gates that keep the state: of an LSTM f = .73, .88, .95, .993, of a GRU z = .73, .88, .98.
FORGET_BIASES = (1, 2, 3, 5)
UPDATE_BIASES = (1, 2, 4)
#: Blind guesses that the first loss of what is advised may be, if that of the net as it is was no larger.
FAR = 3.0


@dataclass(frozen=True)
class Change:
    """A kind of change.

    Attributes:
        name: What is changed.
        cost: How much it changes: the data alone (0), the numbers of a net (1), its layers (2), its structure (3), its
            size (4).
        best_only: Whether only the best candidate of the kind is shown.
        slow: Whether such a net takes as long as ten others: run where nothing else cures.
    """

    name: str
    cost: int
    _: KW_ONLY
    best_only: bool = False
    slow: bool = False


@dataclass(frozen=True)
class Remedy(Change):
    """One row: a kind of change of a net.

    Attributes:
        propose: Fields to replace, one mapping a candidate; those that make no net are passed over. `"readout"` is no
            field, but the last entry of `init` of an `MLP`.
        of: The kinds of specs that have such fields.
    """

    propose: Callable[[Any, Diagnosis], Iterable[Mapping[str, Any]]]
    of: tuple[type[Spec], ...] = (MLP,)


Fields = dict[str, Any]


def readout(spec: MLP) -> Init:
    """The init of the last map."""
    return spec.init if isinstance(spec.init, Init) else spec.init[-1]


def _scaled(init: Init, factor: float) -> Init:
    gain = float(f"{float(init.params['gain']) * factor:.4g}")
    return Init(init.name, **init.params | {"gain": gain})


def _gains(spec: MLP | Transformer, before: Diagnosis) -> Iterator[Fields]:
    """The init as it is, scaled: by what would keep dL/dz if phi were a line, and by steps around 1."""
    yield from ({"init": init} for init in _around(spec.init, before))


def _around(init: object, before: Diagnosis) -> Iterator[str]:
    """An init that has a gain, with others."""
    if not isinstance(init, Init) or "gain" not in init.params:
        return
    evidence = before.evidence
    assert evidence is not None  # noqa: S101 (a diagnosis by vgcore's own rules)
    factor = evidence.factor(evidence.backward)
    exact = [1 / factor] if math.isfinite(factor) and factor > 0 else []
    for step in (*exact, 0.25, 0.35, 0.5, 0.6, 0.7, 0.85, 1.2, 1.4, 2.0, 2.8):
        yield str(_scaled(init, step))


def _inits(_: MLP, __: Diagnosis) -> Iterator[Fields]:
    """Other scales, and the edge of chaos."""
    names = ("kaiming_normal", "xavier_normal", "lecun_normal", "critical", "critical(sigma_b=0.2)")
    yield from ({"init": init, "bias": None} for init in names)


def _slow_inits(spec: MLP, _: Diagnosis) -> Iterator[Fields]:
    """Orthogonal weights with the gain of the activation, and a look at the data."""
    if isinstance(spec.activation, str):
        try:
            gain = calculate_gain(spec.activation, mode="backward")
        except ValueError:  # It lets nothing pass, or has no derived gain.
            gain = 1.0
        yield {"init": str(Init("orthogonal", gain=float(f"{gain:.4g}"))), "bias": None}
    yield {"init": "lsuv", "bias": None}


def _readouts(spec: MLP, before: Diagnosis) -> Iterator[Fields]:
    """Smaller outputs where they are far from all targets: a loss grows as they do, or as their squares."""
    far = None if before.probe is None else first_loss(before.probe)
    if far is None or not FAR < far < math.inf or spec.out_features is None:
        return
    init = readout(spec)
    for step in (far**-0.5, 1 / far, 0.1 / far):
        yield {"readout": str(_scaled(init, step))}


def _biases(_: MLP, __: Diagnosis) -> Iterator[Fields]:
    yield {"bias": "zeros"}


def _activations(_: MLP, __: Diagnosis) -> Iterator[Fields]:
    """Another activation with the weights that suit it."""
    yield from (
        {"activation": "relu", "init": "kaiming_normal", "bias": None},
        {"activation": "leaky_relu(0.1)", "init": "kaiming_normal(a=0.1)", "bias": None},
        {"activation": "tanh", "init": "critical", "bias": None},
        {"activation": "selu", "init": "lecun_normal", "bias": None},
    )


def _norms(_: MLP, __: Diagnosis) -> Iterator[Fields]:
    yield from ({"norm": norm} for norm in ("layer", "rms", "batch", None))


def _branches(spec: MLP, _: Diagnosis) -> Iterator[Fields]:
    if spec.skip is not None:
        yield from ({"branch_scale": scale} for scale in ("1/sqrt(L)", 0.1))


def _skips(_: MLP, __: Diagnosis) -> Iterator[Fields]:
    yield from (
        {"skip": "residual", "branch_scale": "1/sqrt(L)"},
        {"skip": "residual(order=linear)", "branch_scale": "1/sqrt(L)"},
        {"skip": "residual(order=pre)", "norm": "layer"},
        {"skip": "rezero", "branch_scale": 1.0},
        {"skip": "highway(gate_bias=-2)", "branch_scale": 1.0},
    )


def _widths(spec: MLP, before: Diagnosis) -> Iterator[Fields]:
    """Wider layers, where their width is what is wrong."""
    if any(finding.rule == FINITE_WIDTH.id for finding in before.findings) and isinstance(spec.width, int):
        yield from ({"width": factor * spec.width} for factor in (2, 4))


def _depths(spec: MLP, before: Diagnosis) -> Iterator[Fields]:
    """A net as deep as the recipe goes."""
    limit = before.depth_limit
    fields = (spec.width, spec.activation, spec.init)
    uniform = all(isinstance(value, str | int) or len(value) < spec.depth for value in fields)
    if limit is not None and uniform and 1 < limit.value < spec.depth:
        depth = spec.stem + (int(limit.value) - spec.stem) // spec.block * spec.block
        if depth > spec.stem:
            yield {"depth": depth}


def _remembering(spec: RNN, _: Diagnosis) -> Iterator[Fields]:
    """Gates that keep the state from the start. What is too open makes a state, and a gradient, that grow."""
    cell = spec.cell
    if cell.name == "lstm":
        yield from ({"cell": str(_with(cell, forget_bias=bias))} for bias in FORGET_BIASES)
    if cell.name == "gru":
        yield from ({"cell": str(_with(cell, update_bias=bias))} for bias in UPDATE_BIASES)
    if cell.name in {"lstm", "gru"}:
        yield {"bias": f"chrono({spec.steps})"}


def _recurrent_gains(spec: RNN, before: Diagnosis) -> Iterator[Fields]:
    yield from ({"recurrent_init": init} for init in _around(spec.recurrent_init, before))


def _recurrent_inits(_: RNN, __: Diagnosis) -> Iterator[Fields]:
    """Weights that keep a norm, and of gates no larger ones."""
    for init in ("orthogonal", "orthogonal(gain=1.1)", "xavier_uniform", "torch_rnn"):
        yield {"recurrent_init": init}
        yield {"recurrent_init": init, "init": "xavier_uniform"}


def _cells(spec: RNN, _: Diagnosis) -> Iterator[Fields]:
    """Another cell, with the bias that lets it remember."""
    yield from (
        {"cell": "irnn"},
        {"cell": "lstm(forget_bias=1)"},
        {"cell": "lstm", "bias": f"chrono({spec.steps})"},
        {"cell": "gru(update_bias=1)"},
        {"cell": "gru", "bias": f"chrono({spec.steps})"},
    )


def _recurrent_norms(_: RNN, __: Diagnosis) -> Iterator[Fields]:
    yield from ({"norm": norm} for norm in ("layer", "rms"))


def _steps(spec: RNN, before: Diagnosis) -> Iterator[Fields]:
    """Sequences as long as the cell remembers."""
    limit = before.depth_limit
    if limit is not None and 1 < limit.value < spec.steps:
        yield {"steps": int(limit.value)}


def _block_inits(_: Transformer, __: Diagnosis) -> Iterator[Fields]:
    yield from ({"init": init, "bias": None} for init in ("xavier_uniform", "gpt2", "torch_transformer"))


def _final_norms(spec: Transformer, _: Diagnosis) -> Iterator[Fields]:
    """A norm behind the last block, which pre-norm needs."""
    if spec.norm_position == "pre":
        yield {"final_norm": "auto" if spec.norm is not None else "layer"}


def _compared(_: Transformer, __: Diagnosis) -> Iterator[Fields]:
    yield {"qk_norm": True}


def _positions(spec: Transformer, _: Diagnosis) -> Iterator[Fields]:
    norm = "layer" if spec.norm is None else str(spec.norm)
    for position in ("pre", "post"):
        yield {"norm": norm, "norm_position": position, "final_norm": "auto"}


def _streams(spec: Transformer, _: Diagnosis) -> Iterator[Fields]:
    norm = "layer" if spec.norm is None else str(spec.norm)
    yield from (
        {"skip": "residual"},
        {"skip": "residual", "norm": norm, "norm_position": "pre", "final_norm": "auto"},
        {"skip": "rezero"},
        {"skip": "rezero", "norm": None, "final_norm": None},
        {"skip": "deepnorm", "norm": norm, "norm_position": "post", "final_norm": "auto", "init": "deepnorm"},
    )


def _blocks(spec: Transformer, before: Diagnosis) -> Iterator[Fields]:
    """A net of as many blocks as the recipe goes."""
    limit = before.depth_limit
    if limit is not None and 1 < limit.value < spec.depth:
        yield {"depth": int(limit.value)}


def _with(kind: Kind, **params: float) -> Kind:
    """A kind with some parameters changed."""
    return type(kind)(kind.name, **kind.params | params)


#: Weights drawn from the recipe, in place of those that a net has.
DRAWN = Change("drawn anew", 1)
#: Layers that were trained one by one before.
PRETRAINED = Change("pretraining", 1)
READOUT = Remedy("readout", 1, _readouts, best_only=True)
REMEDIES = (
    Remedy("gain", 1, _gains, (MLP, Transformer), best_only=True),
    Remedy("init", 1, _inits),
    Remedy("slow init", 1, _slow_inits, slow=True),
    READOUT,
    Remedy("bias", 1, _biases),
    Remedy("branch scale", 1, _branches),
    Remedy("activation", 2, _activations),
    Remedy("norm", 2, _norms),
    Remedy("skip", 3, _skips),
    Remedy("width", 4, _widths),
    Remedy("depth", 4, _depths),
    Remedy("gate bias", 1, _remembering, (RNN,)),
    Remedy("recurrent gain", 1, _recurrent_gains, (RNN,), best_only=True),
    Remedy("recurrent init", 1, _recurrent_inits, (RNN,)),
    Remedy("recurrent norm", 2, _recurrent_norms, (RNN,)),
    Remedy("cell", 3, _cells, (RNN,)),
    Remedy("steps", 4, _steps, (RNN,)),
    Remedy("init of blocks", 1, _block_inits, (Transformer,)),
    Remedy("final norm", 2, _final_norms, (Transformer,)),
    Remedy("queries and keys", 2, _compared, (Transformer,)),
    Remedy("norm position", 2, _positions, (Transformer,)),
    Remedy("stream", 3, _streams, (Transformer,)),
    Remedy("blocks", 4, _blocks, (Transformer,)),
)
