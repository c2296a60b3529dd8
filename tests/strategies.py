"""Hypothesis strategies for nets and problems; a new row of a core table is drawn by itself."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import reject, settings
from hypothesis import strategies as st

import vgcore as vg
from vgcore import reference

Array = npt.NDArray[Any]
Parameters = dict[str, st.SearchStrategy[Any]]

# Examples of a property: for the loop of a developer, for `make test`, for `make check`.
PROFILES = {"quick": 5, "test": 30, "check": 200}
for name, count in PROFILES.items():
    # The same ones every time, so that a check that fails tells of a change.
    settings.register_profile(name, max_examples=count, deadline=None, derandomize=True)
if number := os.environ.get("VGCORE_EXAMPLES"):
    # Drawn anew where a number is asked for.
    settings.register_profile("drawn", max_examples=int(number), deadline=None)
settings.load_profile("drawn" if number else os.environ.get("HYPOTHESIS_PROFILE", "check"))
EXAMPLES = settings().max_examples


# Time for what hangs alone: on a busy machine an example may take ten times as long as on a quiet one.
patient: Callable[..., Callable[..., None]] = pytest.mark.timeout(600 + 2 * EXAMPLES)


def over_examples(test: Callable[..., None]) -> Callable[..., None]:
    """Run a property on as many examples as the profile asks for."""
    return patient(settings(max_examples=EXAMPLES)(test))


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


# How wide a is, as a multiple of z.
SHAPED = {"crelu": 2.0, "glu": 0.5, "swiglu": 0.5, "geglu": 0.5}
EACH = tuple(name for name in vg.ACTIVATIONS if name not in SHAPED)
# Equal, zero or mirrored weights, of which a normalisation or a standardisation leaves rounding alone.
FLAT = {"zeros", "ones", "constant", "eye", "sparse", "fixup", "looks_linear"}
# All singular values of these weights are their largest, which has no slope then.
TURNED = {"orthogonal", "scaled_uniform_orthogonal", "looks_linear", "lsuv"}
# Constant where they are flat, so that a normalisation behind them may get equal numbers, and weights whose sum is 0.
LEVELLED = {"hardtanh", "relu6", "hardsigmoid", "threshold", "softshrink", "hardshrink"}

EPS: Parameters = {"eps": st.sampled_from([1e-5, 1e-3, 0.1])}
SKIP_PARAMETERS: dict[str, Parameters] = {
    "residual": {"order": st.sampled_from(["after", "linear", "post", "pre"])},
    "rezero": {"order": st.sampled_from(["after", "linear", "post", "pre"]), "alpha": hundredths(-1, 1)},
    "highway": {"gate_bias": hundredths(-2, 2), "gate_gain": hundredths(0, 1)},
}
TRANSFORMS = {
    "weight_standardization": hundredths(0.5, 2).map("weight_standardization(gain={}, eps=0.01)".format),
    "spectral_norm": hundredths(0.5, 2).map("spectral_norm(gain={})".format),
}


def called(kind: Callable[..., Any], names: tuple[str, ...], known: dict[str, Parameters]) -> st.SearchStrategy[Any]:
    """Any of these names, with some of its parameters given; the order always, for it makes another net."""

    def of(name: str) -> st.SearchStrategy[Any]:
        optional = dict(known.get(name, {}))
        given = st.fixed_dictionaries({key: optional.pop(key) for key in {"order"} & {*optional}}, optional=optional)
        return given.map(lambda parameters: kind(name, **parameters))

    return st.sampled_from(names).flatmap(of)


def norms() -> st.SearchStrategy[vg.Norm]:
    """Any normalisation."""
    return called(vg.Norm, vg.NORMS, dict.fromkeys(vg.NORMS, EPS))


def skips() -> st.SearchStrategy[vg.Skip]:
    """Any skip."""
    return called(vg.Skip, vg.SKIPS, SKIP_PARAMETERS)


@st.composite
def fields(draw: st.DrawFn) -> dict[str, Any]:
    """Keyword arguments of a valid `vg.MLP`, far enough from where it is not defined."""
    depth = draw(st.integers(1, 6))
    tied, post = draw(st.booleans()), draw(st.booleans())
    tied = tied and draw(st.booleans())
    fed = tied and draw(st.booleans())
    norm = draw(st.none() | norms())
    transform = draw(st.none() | st.sampled_from(tuple(TRANSFORMS)).flatmap(TRANSFORMS.__getitem__))
    skip = draw(st.none() | skips())
    if tied and skip is not None and skip.name == "dense":
        skip = None
    order = skip.params.get("order", "after") if skip else "after"
    # Where every step begins with zeros and is bent before it is mapped, all that is normalised is equal.
    post = post and not (fed and order == "pre")
    near = norm is not None or transform is not None

    def allowed(name: str) -> bool:
        banned = FLAT if near else set()
        banned = banned | (TURNED if transform is not None else set()) | ({"lsuv", "looks_linear"} if tied else set())
        return name not in banned

    names = tuple(name for name in vg.INITS if allowed(name))
    init = draw(inits(names))
    alone = init.name in {"lsuv", "looks_linear", "critical"}
    several = not (tied or alone) and draw(st.booleans())
    sizes = st.integers(3, 4) if near else st.integers(1, 4)
    sizes = sizes.map(lambda half: 2 * half)
    kinds = CRITICAL if init.name == "critical" else vg.ACTIVATIONS
    if skip is not None and skip.name != "dense" and order != "pre":
        kinds = tuple(name for name in kinds if name in EACH)
    if init.name == "looks_linear":  # pairs of outputs too
        kinds = tuple(name for name in kinds if name in EACH)
    if init.name in FLAT:  # what comes back to equal units from both sides of 0 cancels
        kinds = tuple(name for name in kinds if name not in {"abs", "crelu"})
    if (norm is not None and post) or str(transform).startswith("weight_standardization"):
        kinds = tuple(name for name in kinds if name not in LEVELLED)
    if not (near or alone or any(name in SHAPED for name in kinds)):
        sizes = st.integers(1, 9)
    one_width = tied or (skip is not None and skip.name != "dense")
    activation: Any = draw(
        activations(kinds) if tied else activations(kinds) | st.tuples(*[activations(kinds)] * depth)
    )
    out_features = draw(st.none() | st.integers(1, 5))
    given: dict[str, Any] = {
        "depth": depth,
        "width": draw(sizes if one_width else sizes | st.tuples(*[sizes] * depth)),
        "in_features": draw(st.none() | sizes),
        "out_features": out_features,
        "activation": activation,
        "init": init,
        "bias": draw(st.none() | inits(BIAS_INITS)),
        "norm": norm,
        "norm_position": "post" if post else "pre",
        "skip": skip,
        "weight_transform": transform,
        "tied": tied,
        "inputs": "every" if fed else "first",
    }
    kinds_drawn = activation if isinstance(activation, tuple) else (activation,)
    if order == "pre" and any(kind.name in SHAPED for kind in kinds_drawn):
        given["in_features"] = given["width"]  # or the first block would have no skip, and give what no other takes
    if several:
        plain = tuple(name for name in names if name not in FLAT | {"lsuv", "critical"})
        count = depth + (out_features is not None and draw(st.booleans()))
        given["init"] = draw(st.tuples(*[inits(plain)] * count))
    if tied and not fed:  # a layer gets what a layer gives
        ratio = 1 if order in {"pre", "linear"} else SHAPED.get(activation.name, 1)
        given["in_features"] = int(given["width"] * ratio)
    if skip is not None:
        divisors = [block for block in range(1, depth + 1) if depth % block == 0]
        given["block"] = draw(st.sampled_from(divisors))
        if skip.name in {"residual", "rezero"}:
            scales = hundredths(-1, 1) | st.sampled_from(["1/sqrt(L)", 0.0, 1e-30, -1e-30])
            given["branch_scale"] = draw(scales if norm is None else hundredths(0.2, 1) | st.just("1/sqrt(L)"))
        if skip.name == "rezero" and norm is not None:
            # Without a branch one normalisation follows another, and what it does to the gradient is to remove it.
            given["skip"] = vg.Skip("rezero", order=order, alpha=draw(hundredths(0.2, 1)))
    return given


def specs() -> st.SearchStrategy[vg.MLP]:
    """Nets of up to six layers with up to nine units."""
    return fields().map(valid)


def valid(given: dict[str, Any]) -> vg.MLP:
    """The net of these fields, drawn again where a normalisation gets zeros alone, or numbers that are nearly equal.

    What it makes of them is their rounding.
    """
    try:
        spec = vg.MLP(**given)
    except ValueError as error:
        # Which features a gated or doubled activation leaves in a first block without a skip is the core's to say.
        if "needs as many features" not in str(error):
            raise
        reject()
    if spec.norm is not None:
        trace = reference.propagate(spec, reference.init(spec), reference.samples(spec, 0, 6, "float64"))
        axis = 0 if str(spec.norm).startswith("batch") else 1
        for v in (each.value for each in trace.norm_input):
            mean = np.abs(v.mean(axis=axis))
            if not v.any() or (v.std(axis=axis) < 1e-4 * mean).any():
                reject()
    return spec


# With more smoothing the slopes of a net that says little would cancel.
LOSS_PARAMETERS: dict[str, Parameters] = {
    "huber": {"delta": hundredths(0.2, 2)},
    "cross_entropy": {"label_smoothing": hundredths(0, 0.5)},
}
# Their slopes of one size cancel in sums, where rounding alone is left to compare.
LEVEL = {"mae", "huber", "hinge", "output_sum"}


def losses(names: tuple[str, ...] = vg.LOSSES) -> st.SearchStrategy[vg.Loss]:
    """Any loss of these names, with some of its parameters given."""

    def called(name: str) -> st.SearchStrategy[vg.Loss]:
        known = {"reduction": st.sampled_from(["mean", "sum"])} | LOSS_PARAMETERS.get(name, {})
        given = st.fixed_dictionaries({}, optional=known)
        return given.map(lambda parameters: vg.Loss(name, **parameters))

    return st.sampled_from(names).flatmap(called)


def targets(loss: str, rng: np.random.Generator, batch: int, outputs: int) -> Array | None:
    """What this loss takes."""
    kind, shape = vg.Loss(loss), (batch, outputs)
    if not kind.takes_targets:
        return None
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
    batch = draw(st.integers(6 if spec.norm else 1, 40))
    rng = np.random.default_rng(seed)
    # The shape of what goes in and comes out, from the net itself.
    columns = spec.in_features or (spec.width if isinstance(spec.width, int) else spec.width[0])
    x = rng.standard_normal((batch, spec.depth, columns) if spec.inputs == "every" else (batch, columns))
    outputs = spec.init(seed=0).forward(x[:2] if spec.norm else x[:1]).shape[1]
    unfit = set(LEVEL)
    inits = [spec.init] if isinstance(spec.init, str) else spec.init
    if outputs == 1 or {vg.Init(str(init)).name for init in inits} & {"constant", "ones"}:
        # Its cotangent sums to zero over classes, which equal rows of W turn into rounding noise.
        unfit.add("cross_entropy")
    loss = draw(st.none() | losses(tuple(name for name in vg.LOSSES if name not in unfit)))
    if loss is None:
        return Problem(spec, seed, x, {"cotangent": rng.standard_normal((batch, outputs))})
    return Problem(spec, seed, x, {"y": targets(str(loss), rng, batch, outputs), "loss": str(loss)})


# One net for each part and each place where it may stand.
PARTS: dict[str, dict[str, Any]] = {
    "plain": {},
    **{f"{norm} {place}": {"norm": norm, "norm_position": place} for norm in vg.NORMS for place in ("pre", "post")},
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
}
