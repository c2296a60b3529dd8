"""Hypothesis strategies for nets and problems; a new row of a core table is drawn by itself."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import reject, settings
from hypothesis import strategies as st

import vgcore as vg
from vgcore import reference
from vgcore.model.plan import Plan
from vgcore.reference.cases import CELLS, CRITICAL, DYING, FLAT, LEVEL, LEVELLED, TURNED, normalises, targets

Array = npt.NDArray[Any]
Parameters = dict[str, st.SearchStrategy[Any]]
Position: TypeAlias = Literal["pre", "post"]

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


def damped(norm: vg.Norm | None) -> vg.Norm | None:
    """With so large an eps that no gradient behind it is mere rounding."""
    return None if norm is None else vg.Norm(norm.name, eps=0.1)


def skips() -> st.SearchStrategy[vg.Skip]:
    """Any skip."""
    return called(vg.Skip, vg.SKIPS, SKIP_PARAMETERS)


def listed(one: st.SearchStrategy[Any], counts: set[int]) -> st.SearchStrategy[Any]:
    """One value, or a list of one of these lengths."""
    return st.one_of(one, *(st.tuples(*[one] * count) for count in sorted(counts)))


@st.composite
def fields(draw: st.DrawFn) -> dict[str, Any]:
    """Keyword arguments of a valid `vg.MLP`, far enough from where it is not defined."""
    depth = draw(st.integers(1, 6))
    tied = draw(st.booleans()) and draw(st.booleans())
    fed = tied and draw(st.booleans())
    stem = 0 if tied else draw(st.just(0) | st.integers(0, depth - 1))
    block = draw(st.sampled_from([block for block in range(1, depth - stem + 1) if (depth - stem) % block == 0]))
    # Lists have a value for each layer, or for each layer of the stem and of a block.
    counts = set() if tied else {depth} | ({stem + block} if stem + block > 1 else set())
    norm = draw(st.none() | listed(norms(), set()) | listed(st.none() | norms(), counts))
    final = draw(st.none() | st.none() | norms())
    place = st.sampled_from(["pre", "post", "input"])
    position = draw(listed(place, counts))
    transform = draw(st.none() | st.sampled_from(tuple(TRANSFORMS)).flatmap(TRANSFORMS.__getitem__))
    skip = draw(st.none() | skips())
    if tied and skip is not None and skip.name == "dense":
        skip = None
    order = skip.params.get("order", "after") if skip else "after"
    if fed and (order == "pre" or position == "input"):
        # Where every step begins with zeros, all that is normalised before it is mapped is equal.
        position = "pre"
    near = norm is not None or final is not None or transform is not None
    behind = (norm is not None and position != "pre") or final is not None

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
    if behind or str(transform).startswith("weight_standardization"):
        kinds = tuple(name for name in kinds if name not in LEVELLED)
    if not (near or alone or any(name in SHAPED for name in kinds)):
        sizes = st.integers(1, 9)
    one_width = tied or (skip is not None and skip.name != "dense")
    activation: Any = draw(listed(activations(kinds), counts))
    out_features = draw(st.none() | st.integers(1, 5))
    maps = set() if tied else {count + (out_features is not None) for count in counts} | counts
    given: dict[str, Any] = {
        "depth": depth,
        "width": draw(sizes if one_width else listed(sizes, counts)),
        "in_features": draw(st.none() | sizes),
        "out_features": out_features,
        "activation": activation,
        "init": init,
        "bias": draw(st.none() | listed(st.none() | st.just(False) | inits(BIAS_INITS), maps)),
        "norm": norm,
        "norm_position": position,
        "final_norm": final,
        "dropout": draw(st.just(0.0) | listed(hundredths(0, 0.9), counts)),
        "skip": skip,
        "stem": stem,
        "block": block,
        "weight_transform": transform,
        "tied": tied,
        "inputs": "every" if fed else "first",
    }
    kinds_drawn = activation if isinstance(activation, tuple) else (activation,)
    if any(kind.name in DYING for kind in kinds_drawn):
        given["norm"] = tuple(map(damped, norm)) if isinstance(norm, tuple) else damped(norm)
        given["final_norm"] = damped(final)
    if order == "pre" and any(kind.name in SHAPED for kind in kinds_drawn):
        given["in_features"] = given["width"]  # or the first block would have no skip, and give what no other takes
    if several:
        plain = tuple(name for name in names if name not in FLAT | {"lsuv", "critical"})
        given["init"] = draw(st.tuples(*[inits(plain)] * draw(st.sampled_from(sorted(maps)))))
    if tied and not fed:  # a layer gets what a layer gives
        ratio = 1 if order in {"pre", "linear"} else SHAPED.get(activation.name, 1)
        given["in_features"] = int(given["width"] * ratio)
    if skip is not None:
        normed = norm is not None or final is not None
        if skip.name in {"residual", "rezero"}:
            scales = hundredths(-1, 1) | st.sampled_from(["1/sqrt(L)", 0.0, 1e-30, -1e-30])
            given["branch_scale"] = draw(hundredths(0.2, 1) | st.just("1/sqrt(L)") if normed else scales)
        if skip.name == "rezero" and normed:
            # Without a branch one normalisation follows another, and what it does to the gradient is to remove it.
            given["skip"] = vg.Skip("rezero", order=order, alpha=draw(hundredths(0.2, 1)))
    return given


def norms_of(spec: vg.MLP | vg.Sequential) -> list[str]:
    """The normalisations of a net, wherever they stand."""
    plan = Plan.of(spec)
    steps = [step for layer in plan.layers for step in layer.steps] + [*plan.ends]
    return [step.kind for step in steps if step.part == "norm"]


def needs_samples(spec: vg.MLP | vg.Sequential) -> bool:
    """Whether one sample says nothing: of a net with a batch normalisation."""
    return any(norm.startswith("batch") for norm in norms_of(spec))


def specs() -> st.SearchStrategy[vg.MLP]:
    """Nets of up to six layers with up to nine units."""
    return fields().map(lambda given: valid(vg.MLP, **given))


@st.composite
def lists(draw: st.DrawFn) -> dict[str, Any]:
    """Keyword arguments of a valid `vg.Sequential` of up to five maps, with ways around any parts of it."""
    normed = draw(st.booleans())
    sizes = st.integers(3, 4).map(lambda half: 2 * half)
    kinds = tuple(name for name in vg.ACTIVATIONS if name not in (DYING if normed else ()))
    inner = st.lists(
        st.one_of(
            activations(kinds).map(str),
            norms().map(str) if normed else st.nothing(),
            hundredths(0, 0.9).map("dropout({})".format),
            st.sampled_from(["keep", "add", "rezero", "concat", "project"]),
        ),
        max_size=4,
    )
    parts: list[str] = []
    begun: list[str] = []

    def join(how: str) -> str:
        way = draw(st.sampled_from(begun))
        scale = f", {draw(hundredths(0.2, 1))}" if how in {"add", "project"} and draw(st.booleans()) else ""
        return f"{how}({way}{scale})"

    count = draw(st.integers(1, 5))
    for number in range(count + 1):
        for part in draw(inner):
            if part == "keep" and len(begun) < 3:
                begun.append(f"w{len(begun)}")
                parts.append(f"keep({begun[-1]})")
            elif part in {"add", "rezero", "concat", "project"}:
                parts += [join(part)] if begun else []
            elif part != "keep":
                parts.append(part)
        if number < count:
            parts.append(f"linear({draw(sizes)})")
    parts += [f"project({way})" for way in begun]
    if draw(st.booleans()):
        parts.append(f"linear({draw(sizes)})")
    maps = sum(part.startswith(("linear(", "project(")) for part in parts)
    names = tuple(name for name in vg.INITS if name not in (FLAT if normed else set()) | {"critical", "looks_linear"})
    init: Any = draw(inits(names))
    if init.name != "lsuv" and draw(st.booleans()):
        init = draw(st.tuples(*[inits(tuple(name for name in names if name != "lsuv"))] * maps))
    bias = draw(st.none() | listed(st.none() | st.just(False) | inits(BIAS_INITS), {maps}))
    return {"parts": parts, "in_features": draw(sizes), "init": init, "bias": bias}


def sequentials() -> st.SearchStrategy[vg.Sequential]:
    """Lists of parts."""
    return lists().map(lambda given: valid(vg.Sequential, **given))


def nets() -> st.SearchStrategy[vg.MLP | vg.Sequential]:
    """Plain nets: specs of fields or of parts."""
    return specs() | sequentials()


@st.composite
def recurrents(draw: st.DrawFn) -> vg.RNN:
    """Recurrent nets of every sort, small enough to be checked in a moment."""
    cell = draw(st.sampled_from(CELLS))
    every = draw(st.booleans())
    norm = None if "gru" in cell else draw(st.sampled_from([None, "layer", "rms"]))
    return vg.RNN(
        draw(st.integers(1, 5)),
        # A normalisation of fewer units leaves of gradients what rounding does.
        draw(st.integers(3 if norm else 1, 5)),
        in_features=draw(st.integers(1, 3)),
        out_features=draw(st.integers(1, 3)) if every else draw(st.sampled_from([None, 2])),
        cell=cell,
        layers=draw(st.integers(1, 3)),
        outputs="every" if every else "last",
        init=draw(st.sampled_from(["xavier_uniform", "torch_rnn"])),
        recurrent_init=draw(st.sampled_from(["orthogonal", "normal(0, 0.5)"])),
        bias="normal(0, 0.3)",
        biases=draw(st.sampled_from([1, 2])),
        norm=norm,
    )


@st.composite
def transformers(draw: st.DrawFn) -> vg.Transformer:
    """Transformers of every sort, small enough to be checked in a moment."""
    heads = draw(st.integers(1, 3))
    position: Position = draw(st.sampled_from(["pre", "post"]))
    norm = draw(st.sampled_from(["layer", "rms", None]))
    deep = ["deepnorm"] if position == "post" and norm else []
    return vg.Transformer(
        draw(st.integers(1, 3)),
        heads * draw(st.integers(1, 4)),
        heads=heads,
        tokens=draw(st.integers(1, 9)),
        in_features=draw(st.sampled_from([None, 5])),
        out_features=draw(st.sampled_from([None, 3])),
        pool=draw(st.sampled_from([None, "mean", "last"])),
        ffn=draw(st.integers(1, 2)) * 2,
        activation=draw(st.sampled_from(["relu", "gelu", "swiglu", "prelu"])),
        norm=norm,
        norm_position=position,
        skip=draw(st.sampled_from(["residual", None, "rezero", *deep])),
        causal=draw(st.booleans()),
        qk_norm=draw(st.booleans()),
        scale=draw(st.sampled_from(["standard", "mup"])),
        init=draw(st.sampled_from(["xavier_uniform(gain=1.5)", "orthogonal", "torch_transformer", "deepnorm"])),
        bias=draw(st.sampled_from([None, False, "normal(0, 0.2)"])),
    )


def of_any_sort() -> st.SearchStrategy[vg.MLP | vg.Sequential | vg.RNN | vg.Transformer]:
    """Specs of every sort."""
    return specs() | sequentials() | recurrents() | transformers()


# What makes features that a later part cannot take is the core's to say.
UNFIT = ("needs as many features", "went around as", "even, for half of", "two activations of one map")


def valid(sort: Callable[..., Any], **given: Any) -> Any:
    """The net of these fields, drawn again where a normalisation gets zeros alone, or numbers that are nearly equal.

    What it makes of them is their rounding.
    """
    try:
        spec = sort(**given)
    except ValueError as error:
        if not any(words in str(error) for words in UNFIT):
            raise
        reject()
    if normalises(spec):
        trace = reference.propagate(spec, reference.init(spec), reference.samples(spec, 0, 6, "float64"))
        for step in trace.norms:
            axis, v = (0 if step.part.kind.startswith("batch") else 1), step.input.value
            mean = np.abs(v.mean(axis=axis))
            if not v.any() or (v.std(axis=axis) < 1e-4 * mean).any():
                reject()
    return spec


# With more smoothing the slopes of a net that says little would cancel.
LOSS_PARAMETERS: dict[str, Parameters] = {
    "huber": {"delta": hundredths(0.2, 2)},
    "cross_entropy": {"label_smoothing": hundredths(0, 0.5)},
}


def losses(names: tuple[str, ...] = vg.LOSSES) -> st.SearchStrategy[vg.Loss]:
    """Any loss of these names, with some of its parameters given."""

    def called(name: str) -> st.SearchStrategy[vg.Loss]:
        known = {"reduction": st.sampled_from(["mean", "sum"])} | LOSS_PARAMETERS.get(name, {})
        given = st.fixed_dictionaries({}, optional=known)
        return given.map(lambda parameters: vg.Loss(name, **parameters))

    return st.sampled_from(names).flatmap(called)


@dataclass(frozen=True)
class Problem:
    """A net, its seed, an input, and what starts the backward pass."""

    spec: Any  # an MLP or a Sequential
    seed: int
    x: Array
    start: dict[str, Any]  # y and loss, or cotangent: the keywords of a rival


@st.composite
def problems(draw: st.DrawFn, among: Callable[[], st.SearchStrategy[Any]] = nets) -> Problem:
    """Everything that a backward pass needs."""
    spec = draw(among())
    seed = draw(st.integers(0, 2**64 - 1))
    batch = draw(st.integers(6 if normalises(spec) else 1, 40))
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(reference.samples(spec, 0, batch, "float64").shape)
    outputs = reference.Plan.of(spec).layers[-1].output
    unfit = set(LEVEL)
    inits = [spec.init] if isinstance(spec.init, str) else spec.init
    if outputs == 1 or {vg.Init(str(init)).name for init in inits} & {"constant", "ones"}:
        # Its cotangent sums to zero over classes, which equal rows of W turn into rounding noise.
        unfit.add("cross_entropy")
    loss = draw(st.none() | losses(tuple(name for name in vg.LOSSES if name not in unfit)))
    if loss is None:
        return Problem(spec, seed, x, {"cotangent": rng.standard_normal((batch, outputs))})
    return Problem(spec, seed, x, {"y": targets(str(loss), rng, batch, outputs), "loss": str(loss)})
