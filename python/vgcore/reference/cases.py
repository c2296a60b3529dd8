"""Nets for the core and the twin to agree on: one of every kind, then any number of random ones.

All are small, odd in size, and far enough from where their numbers are mere rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

from vgcore import _core
from vgcore.model.kind import Loss
from vgcore.model.mlp import MLP
from vgcore.model.rnn import RNN
from vgcore.model.sequential import Sequential
from vgcore.model.transformer import Transformer
from vgcore.reference.kind import GATED
from vgcore.reference.plan import Plan
from vgcore.reference.random import Array

#: Kinds by the shortest text that they have, where that is not their name.
SPELLED = {"threshold": "threshold(threshold=0.2, value=0.1)", "constant": "constant(value=0.1)"}
SPELLED |= {"sparse": "sparse(sparsity=0.5)"}
#: Inits that grow with the width as they stand.
TAMED = {"uniform": "uniform(a=-0.3, b=0.4)", "normal": "normal(std=0.3)", "ones": "ones(gain=0.1)"}
TAMED |= {"trunc_normal": "trunc_normal(std=0.3, a=-0.5, b=0.7)"}
#: Equal, zero or mirrored weights, of which a normalisation or a standardisation leaves rounding alone.
FLAT = {"zeros", "ones", "constant", "eye", "sparse", "fixup", "looks_linear"}
#: With an edge of chaos without biases, which the init `critical` asks for.
CRITICAL = ("linear", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "selu")
#: Of a small z about its square or cube: a few layers leave the range of a float, and equal units do so sooner.
POWERS = GATED | {"tanhshrink"}
#: What comes back to equal units from both sides of 0, and cancels.
FOLDED = {"abs", "crelu"}
#: Losses whose slopes of one size cancel in sums, where rounding alone is left to compare.
LEVEL = {"mae", "huber", "hinge", "output_sum"}
#: Inits of a whole net.
ALONE = {"lsuv", "critical"}

#: All singular values of these weights are their largest, which has no slope then.
TURNED = {"orthogonal", "scaled_uniform_orthogonal", "looks_linear", "lsuv"}
#: Constant where they are flat, so that a normalisation behind them may get equal numbers, and weights whose sum is 0.
LEVELLED = {"hardtanh", "relu6", "hardsigmoid", "threshold", "softshrink", "hardshrink"}
#: 0 for all z below some number: of a sample with one unit left a normalisation keeps the sign, and its gradient is
#: only as large as its eps.
DYING = LEVELLED | {"relu"}

#: One net for each part and each place where it may stand, as fields of an MLP of 4 layers.
PARTS: dict[str, dict[str, Any]] = {
    "plain": {},
    **{f"{norm} {place}": {"norm": norm, "norm_position": place} for norm in _core.NORMS for place in ("pre", "post")},
    **{f"{order} sum": {"skip": f"residual(order={order})", "norm": "layer"} for order in ("after", "linear", "post")},
    "pre sum": {"skip": "residual(order=pre)", "norm": "batch", "norm_position": "post", "branch_scale": 0.7},
    "learned branch": {"skip": "rezero(alpha=0.6)", "branch_scale": 0.7, "activation": "prelu"},
    "gate": {"skip": "highway(gate_bias=0.3)", "block": 2},
    "side by side": {"skip": "dense", "in_features": 3},
    "first block without a skip": {"skip": "residual(order=pre)", "in_features": 3},
    "standardised weights": {"weight_transform": "weight_standardization(gain=1.5, eps=0.1)"},
    "spectral norm": {"weight_transform": "spectral_norm(gain=1.5)", "width": 6},
    "tied": {"tied": True, "norm": "layer", "skip": "rezero(alpha=0.6, order=pre)"},
    "tied gate": {"tied": True, "skip": "highway", "weight_transform": "weight_standardization"},
    "an input at every step": {"tied": True, "inputs": "every", "in_features": 3},
    "gated activation": {"activation": "swiglu"},
    "doubled activation": {"activation": "crelu", "width": 3},
    "norm before the map": {"norm": "layer", "norm_position": "input", "final_norm": "rms"},
    "norms and biases by layer": {
        "block": 4,
        "norm": [None, "batch", "rms", None],
        "norm_position": ["pre", "input", "post", "pre"],
        "bias": [False, None, "normal", False],
    },
    "dropout": {"dropout": [0.3, 0.5], "block": 2},
    "stem": {
        "stem": 2,
        "block": 2,
        "width": [6, 6, 8, 6],
        "activation": ["linear", "tanh", "gelu", "gelu"],
        "norm": [None, None, "layer", None],
        "norm_position": "input",
        "skip": "residual(order=linear)",
    },
}
#: Around the lengths of vectors and tiles.
SIZES = (3, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65)
#: Every edge of a tile of a matrix product.
EDGES = (1, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 130, 3, 257, 2)
DTYPES = ("float32", "float64")
OUTPUTS = 5
#: So many nets share the activations, a layer each; one a net would be more than a slow machine does in ten seconds.
AT_ONCE = 9
#: Every cell, and both ways to reset.
CELLS = (*_core.CELLS, "gru(reset=before)")
ATTENTIONS: tuple[dict[str, Any], ...] = (
    {"causal": True, "activation": "gelu"},
    {"norm": "rms", "norm_position": "post", "activation": "swiglu", "pool": "mean"},
    {"qk_norm": True, "skip": "rezero", "activation": "relu", "out_features": 3},
)
LISTS = (
    "keep(x) linear(5) relu concat(x) keep(y) linear(4) silu project(y) project(x) linear(3)",
    "linear(6) keep(a) keep(b) linear(6) tanh add(b,0.5) batch dropout(0.1) add(a) rezero(b) linear(3)",
)


@dataclass(frozen=True)
class Case:
    """A net, and what is asked of it.

    Attributes:
        spec: The net.
        dtype: In which it is computed.
        batch: How many samples.
        seed: Of its weights, samples, targets and cotangents.
        loss: The loss, if not a random cotangent.
        optimizer: The optimiser of a step of training, if any; needs a loss.
        threads: Whether all threads must give the bits of one.
    """

    spec: Any
    dtype: str = "float64"
    batch: int = 17
    seed: int = 0
    loss: str | None = None
    optimizer: str | None = None
    threads: bool = False

    def __str__(self) -> str:
        """The call that measures it, to be pasted behind `import vgcore as vg`."""
        given = {"batch": self.batch, "seeds": 1, "seed": self.seed, "dtype": self.dtype}
        fields = ", ".join(f"{name}={value!r}" for name, value in given.items())
        beside = "".join(f"; {name} {value}" for name in ("loss", "optimizer") if (value := getattr(self, name)))
        return f"vg.probe(vg.{self.spec!r}, {fields}){beside}"


def targets(loss: str, rng: np.random.Generator, batch: int, outputs: int) -> Array | None:
    """What this loss takes."""
    kind, shape = Loss(loss), (batch, outputs)
    if not kind.takes_targets:
        return None
    if kind.takes_classes:
        return rng.integers(outputs, size=batch)
    if kind.name == "bce_with_logits":
        return rng.random(shape)
    return rng.choice([-1.0, 1.0], shape) if kind.name == "hinge" else rng.standard_normal(shape)


def _mlp(depth: int = 3, **fields: Any) -> MLP:
    plain: dict[str, Any] = {"depth": depth, "in_features": 5, "out_features": OUTPUTS, "init": "xavier_normal"}
    return MLP(**plain | {"bias": "normal(std=0.3)"} | fields)


def _listed(text: str) -> Sequential:
    return Sequential(text.split(), in_features=6, init="xavier_normal", bias="normal(std=0.3)")


def first() -> Iterator[Case]:
    """Every kind at least once; one of each sort of net comes first, then all activations, then all sizes of tiles."""
    yield Case(RNN(3, 7, in_features=3, out_features=2, cell="lstm", norm="layer"), "float32", batch=9)
    yield Case(Transformer(1, 12, heads=3, tokens=7, causal=True, activation="gelu"), "float32", batch=3)
    yield Case(_mlp(width=33, norm="layer", skip="residual", activation="tanh"), "float32", loss="cross_entropy")
    masked = _mlp(width=31, activation="gelu", dropout=0.3)  # a step of training alone draws masks
    yield Case(masked, loss="cross_entropy", optimizer="adam(lr=0.01)")
    for dtype in DTYPES:
        for i in range(AT_ONCE):
            names = _core.ACTIVATIONS[i::AT_ONCE]
            widths = [SIZES[(5 * i + l) % len(SIZES)] for l in range(len(names))]
            widths = [2 * width if name.endswith("glu") else width for name, width in zip(names, widths, strict=True)]
            activation = [SPELLED.get(name, name) for name in names]
            yield Case(_mlp(len(names), width=widths, activation=activation), dtype, batch=SIZES[3 * i % len(SIZES)])
    for dtype in DTYPES:
        spec = _mlp(len(EDGES), width=EDGES, out_features=11, activation="silu")
        yield Case(spec, dtype, batch=33, threads=dtype == "float32")
    for i, fields in enumerate(PARTS.values()):
        given: dict[str, Any] = {"width": 6, "in_features": 6, "activation": "tanh"} | fields
        yield Case(_mlp(4, **given), DTYPES[i % 2], seed=i)
    mixed = [name for name in _core.INITS if name not in FLAT | ALONE]
    inits = [mixed[i::AT_ONCE] for i in range(AT_ONCE)] + [[name] for name in _core.INITS if name in FLAT | ALONE]
    for i, group in enumerate(inits):
        init = [_init(name) for name in group]
        spec = _mlp(
            max(2, len(group)),
            width=16,
            in_features=16,
            out_features=None,
            bias=None,
            init=init if init[1:] else init[0],
        )
        yield Case(spec, DTYPES[i % 2], seed=i)
    for i, loss in enumerate(_core.LOSSES):
        yield Case(_mlp(width=9, activation="silu"), DTYPES[i % 2], seed=i, loss=loss)
    for i, name in enumerate(_core.OPTIMIZERS):
        yield Case(_mlp(width=17, activation="tanh"), seed=i, loss="cross_entropy", optimizer=f"{name}(lr=0.01)")
    for dtype in DTYPES:
        for i, cell in enumerate(CELLS):
            yield Case(RNN(5, 9, in_features=3, out_features=2, bias="normal(0, 0.3)", cell=cell), dtype, seed=i)
        for i, fields in enumerate(ATTENTIONS):
            yield Case(Transformer(2, 18, heads=3, tokens=5, **fields), dtype, batch=5, seed=i)
    for i, parts in enumerate(LISTS):
        yield Case(_listed(parts), DTYPES[i % 2], seed=i)
    yield Case(RNN(5, 33, in_features=3, out_features=2, cell="lstm"), "float32", threads=True)
    yield Case(Transformer(2, 24, heads=3, tokens=9), "float32", batch=5, threads=True)


def _init(name: str) -> str:
    return TAMED.get(name, SPELLED.get(name, name))


def drawn(seed: int) -> Case:
    """A random case; the same of the same seed."""
    random = Random(seed)  # noqa: S311 (of nets, no secrets)
    how: dict[str, Any] = {"dtype": random.choice(DTYPES), "batch": random.choice(SIZES)}
    how["seed"] = random.getrandbits(63)
    while True:
        try:
            spec = random.choices([_any_mlp, _any_rnn, _any_transformer, _any_list], [12, 2, 2, 1])[0](random)
        except ValueError:  # what fits no net of this width or depth
            continue
        break
    # Outputs of these inits are equal, or so large that slopes are 0; of one class cross-entropy has none.
    alike = isinstance(spec, MLP) and str(spec.init).startswith(("constant", *TAMED))
    if isinstance(spec, MLP) and not alike and random.random() < 0.5:
        unfit = LEVEL | ({"cross_entropy"} if spec.out_features == 1 else set())
        how["loss"] = random.choice([loss for loss in _core.LOSSES if loss not in unfit])
        # A step by the sign of a gradient needs one that is more than rounding, which biases before a norm have not.
        if random.random() < 0.5 and not normalises(spec):
            how |= {"optimizer": f"{random.choice(_core.OPTIMIZERS)}(lr=0.01)", "dtype": "float64"}
    return Case(spec, **how)


def normalises(spec: Any) -> bool:
    """Has the net a normalisation, which may need several samples?"""
    return any(part.name == "norm" for layer in Plan.of(spec).layers for part in layer.parts)


def _any_mlp(random: Random) -> MLP:
    part = random.choice([*PARTS.values()])
    divides = any("norm" in name or name == "weight_transform" for name in part)
    init = random.choice([name for name in _core.INITS if not (divides and name in FLAT | TURNED)])
    kinds = CRITICAL if init == "critical" else _core.ACTIVATIONS
    unfit = (DYING if divides else set()) | (POWERS | FOLDED if init in FLAT else set())
    activation = str(part.get("activation", random.choice([name for name in kinds if name not in unfit])))
    given: dict[str, Any] = {
        "depth": random.choice([1, 2] if activation in POWERS else [1, 2, 3, 4, 4, 4, 6]),
        # A normalisation of fewer units leaves of gradients what rounding does.
        "width": random.choice([size for size in SIZES if not (divides and size < 7)]),
        "in_features": random.choice([None, *SIZES]),
        "out_features": random.choice([1, 2, 3, 5, 8, 9]),
        "init": _init(init),
        "bias": random.choice([None, False, "normal(std=0.3)"]),
    }
    if init in FLAT and activation in unfit:
        raise ValueError(f"{init} and {activation} go ill together")
    return MLP(**given | {"activation": SPELLED.get(activation, activation)} | part)


def _any_rnn(random: Random) -> RNN:
    cell = random.choice(CELLS)
    norm = None if "gru" in cell else random.choice([None, "layer", "rms"])
    return RNN(
        random.randint(1, 6),
        random.choice([size for size in SIZES if not (norm and size < 7)]),
        in_features=random.randint(1, 9),
        out_features=random.choice([1, 2, 3]),
        layers=random.randint(1, 2),
        norm=norm,
        init="xavier_uniform",
        bias="normal(0, 0.3)",
        biases=random.choice([1, 2]),
        cell=cell,
    )


def _any_transformer(random: Random) -> Transformer:
    heads = random.randint(1, 3)
    fields = random.choice(ATTENTIONS)
    tokens = random.choice([1, 3, 7, 8, 9, 17])
    return Transformer(random.randint(1, 2), 6 * heads, heads=heads, tokens=tokens, **fields)


def _any_list(random: Random) -> Sequential:
    return _listed(random.choice(LISTS))
