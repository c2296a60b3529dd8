"""Hypothesis strategies for nets and problems; a new row of a core table is drawn by itself."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import settings
from hypothesis import strategies as st

import vgcore as vg

Array = npt.NDArray[Any]
Parameters = dict[str, st.SearchStrategy[Any]]

EXAMPLES = int(os.environ.get("VGCORE_EXAMPLES", "200"))


def over_examples(test: Callable[..., None]) -> Callable[..., None]:
    """Run a property on as many examples as the environment asks for, with time for each."""
    patient: Callable[..., Callable[..., None]] = pytest.mark.timeout(100 + EXAMPLES)
    return patient(settings(max_examples=EXAMPLES, deadline=None)(test))


def hundredths(low: float, high: float) -> st.SearchStrategy[float]:
    """Multiples of 0.01: no parameter is so small that a plain backward pass underflows."""
    return st.integers(round(100 * low), round(100 * high)).map(lambda k: k / 100)


# The ranges keep signals within a few orders of magnitude over six layers.
GAIN = hundredths(0.5, 2)
NONLINEARITY = st.sampled_from(["leaky_relu", "relu", "tanh", "sigmoid", "selu", "linear"])
FANS = st.sampled_from(["fan_in", "fan_out"])
KAIMING: Parameters = {"a": hundredths(0, 2), "mode": FANS, "nonlinearity": NONLINEARITY}
INIT_PARAMETERS: dict[str, Parameters] = {
    "constant": {"value": hundredths(-0.2, 0.2)},
    "uniform": {"a": hundredths(-0.5, -0.1), "b": hundredths(0.1, 0.5)},
    "normal": {"mean": hundredths(-0.1, 0.1), "std": hundredths(0.1, 0.4)},
    "kaiming_uniform": KAIMING,
    "kaiming_normal": KAIMING,
    "trunc_normal": {
        "mean": hundredths(-0.1, 0.1),
        "std": hundredths(0.1, 0.4),
        "a": hundredths(-0.9, -0.2),
        "b": hundredths(0.2, 0.9),
    },
    "variance_scaling": {
        "scale": hundredths(0.5, 2),
        "mode": st.sampled_from(["fan_in", "fan_out", "fan_avg"]),
        "distribution": st.sampled_from(["truncated_normal", "untruncated_normal", "uniform"]),
    },
    "sparse": {"sparsity": hundredths(0, 1), "std": hundredths(0.1, 0.6)},
    "ones": {"gain": hundredths(0, 0.2)},
    "mean_field": {"sigma_w": hundredths(0.5, 1.5), "sigma_b": hundredths(0, 1)},
}
# Without these the init has no value, or one that lets every layer grow by half its width.
REQUIRED = {
    "constant": {"value"},
    "ones": {"gain"},
    "uniform": {"a", "b"},
    "normal": {"std"},
    "trunc_normal": {"std", "a", "b"},
    "sparse": {"sparsity", "std"},
}
BIAS_INITS = ("zeros", "constant", "ones", "uniform", "normal", "trunc_normal", "torch_default")
# Every init by the shortest text that it has, for nets of even width.
INITS = tuple({"constant": "constant(value=1)", "sparse": "sparse(sparsity=0.5)"}.get(name, name) for name in vg.INITS)
# Those with an edge of chaos without biases.
CRITICAL = ("linear", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "selu")

ACTIVATION_PARAMETERS: dict[str, Parameters] = {
    "hardtanh": {"min_val": hundredths(-2, -0.5), "max_val": hundredths(0, 2)},
    "leaky_relu": {"negative_slope": hundredths(-0.5, 1.5)},
    "prelu": {"init": hundredths(-0.5, 1.5)},
    "rrelu": {"lower": hundredths(-0.5, 0.3), "upper": hundredths(0.4, 1.5)},
    "elu": {"alpha": hundredths(0.2, 2)},
    "celu": {"alpha": hundredths(0.2, 2)},
    "gelu": {"approximate": st.sampled_from(["none", "tanh"])},
    "geglu": {"approximate": st.sampled_from(["none", "tanh"])},
    "softplus": {"beta": hundredths(0.5, 3), "threshold": hundredths(5, 30)},
    "softshrink": {"lambd": hundredths(0.1, 1)},
    "hardshrink": {"lambd": hundredths(0.1, 1)},
    "threshold": {"threshold": hundredths(-1, 1), "value": hundredths(-1, 1)},
    "sin": {"omega": hundredths(0.2, 3)},
    "squareplus": {"b": hundredths(0.1, 8)},
    "snake": {"alpha": hundredths(0.2, 3)},
}
# Without these the activation has no value.
ACTIVATION_REQUIRED = {"threshold": {"threshold", "value"}}
# Every row of the table, with what it needs.
EVERY_ACTIVATION = tuple(
    "threshold(threshold=0.2, value=0.1)" if name == "threshold" else name for name in vg.ACTIVATIONS
)


def activations(names: tuple[str, ...] = vg.ACTIVATIONS) -> st.SearchStrategy[vg.Activation]:
    """Any activation of these names, with some of its parameters given."""

    def called(name: str) -> st.SearchStrategy[vg.Activation]:
        known = dict(ACTIVATION_PARAMETERS.get(name, {}))
        required = {key: known.pop(key) for key in ACTIVATION_REQUIRED.get(name, ())}
        given = st.fixed_dictionaries(required, optional=known)
        return given.map(lambda parameters: vg.Activation(name, **parameters))

    return st.sampled_from(names).flatmap(called)


def inits(names: tuple[str, ...] = vg.INITS) -> st.SearchStrategy[vg.Init]:
    """Any init of these names, with some of its parameters given."""

    def called(name: str) -> st.SearchStrategy[vg.Init]:
        known = {"gain": GAIN} | INIT_PARAMETERS.get(name, {})
        required = {key: known.pop(key) for key in REQUIRED.get(name, ())}
        given = st.fixed_dictionaries(required, optional=known)
        return given.map(lambda parameters: vg.Init(name, **parameters))

    return st.sampled_from(names).flatmap(called)


@st.composite
def fields(draw: st.DrawFn) -> dict[str, Any]:
    """Keyword arguments of a valid `vg.MLP`."""
    depth = draw(st.integers(1, 6))
    init = draw(inits())
    sizes = st.integers(1, 9)
    if init.name == "looks_linear":  # pairs of units
        sizes = st.integers(1, 4).map(lambda pairs: 2 * pairs)
    kinds = activations(CRITICAL if init.name == "critical" else vg.ACTIVATIONS)
    skip = draw(st.sampled_from((None, *vg.SKIPS)))
    each = [kinds] * depth
    given: dict[str, Any] = {
        "depth": depth,
        "width": draw(sizes if skip else sizes | st.tuples(*[sizes] * depth)),
        "in_features": draw(st.none() | sizes),
        "out_features": draw(st.none() | st.integers(1, 5)),
        "activation": draw(kinds | st.tuples(*each)),
        "init": init,
        "bias": draw(st.none() | inits(BIAS_INITS)),
        "skip": skip,
    }
    if skip:
        divisors = [block for block in range(1, depth + 1) if depth % block == 0]
        given["block"] = draw(st.sampled_from(divisors))
        given["branch_scale"] = draw(hundredths(-1, 1) | st.sampled_from(["1/sqrt(L)", 0.0, 1e-30, -1e-30]))
    return given


def specs() -> st.SearchStrategy[vg.MLP]:
    """Nets of up to six layers with up to nine units."""
    return fields().map(lambda given: vg.MLP(**given))


# With more smoothing the slopes of a net that says little would cancel.
LOSS_PARAMETERS: dict[str, Parameters] = {
    "huber": {"delta": hundredths(0.2, 2)},
    "cross_entropy": {"label_smoothing": hundredths(0, 0.5)},
}
# Their slopes of one size cancel in sums, where rounding alone is left to compare.
LEVEL = {"mae", "huber", "hinge"}


def losses(names: tuple[str, ...] = vg.LOSSES) -> st.SearchStrategy[vg.Loss]:
    """Any loss of these names, with some of its parameters given."""

    def called(name: str) -> st.SearchStrategy[vg.Loss]:
        known = {"reduction": st.sampled_from(["mean", "sum"])} | LOSS_PARAMETERS.get(name, {})
        given = st.fixed_dictionaries({}, optional=known)
        return given.map(lambda parameters: vg.Loss(name, **parameters))

    return st.sampled_from(names).flatmap(called)


def targets(loss: str, rng: np.random.Generator, batch: int, outputs: int) -> Array:
    """What this loss takes."""
    kind, shape = vg.Loss(loss), (batch, outputs)
    if kind.takes_classes:
        return rng.integers(outputs, size=batch)
    if kind.name == "bce_with_logits":
        return rng.random(shape)
    return rng.choice([-1.0, 1.0], shape) if kind.name == "hinge" else rng.standard_normal(shape)


@dataclass(frozen=True)
class Problem:
    """A net, its seed, an input, and what starts the backward pass."""

    spec: vg.MLP
    seed: int
    x: Array
    start: dict[str, Any]  # y and loss, or cotangent: the keywords of a rival


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Everything that a backward pass needs."""
    spec = draw(specs())
    seed = draw(st.integers(0, 2**64 - 1))
    batch = draw(st.integers(1, 40))
    rng = np.random.default_rng(seed)
    widths = (spec.width,) if isinstance(spec.width, int) else spec.width
    outputs = spec.out_features or widths[-1]
    x = rng.standard_normal((batch, spec.in_features or widths[0]))
    unfit = set(LEVEL)
    if outputs == 1 or vg.Init(str(spec.init)).name in {"constant", "ones"}:
        # Its cotangent sums to zero over classes, which equal rows of W turn into rounding noise.
        unfit.add("cross_entropy")
    loss = draw(st.none() | losses(tuple(name for name in vg.LOSSES if name not in unfit)))
    if loss is None:
        return Problem(spec, seed, x, {"cotangent": rng.standard_normal((batch, outputs))})
    return Problem(spec, seed, x, {"y": targets(str(loss), rng, batch, outputs), "loss": str(loss)})
