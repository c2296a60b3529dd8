"""Rules of other tools, by their published thresholds: why tools disagree about one net.

These are their rules, not ours, and are shown for comparison. `PRESETS` holds five sets. Each row says what a tool
looks at, the number it compares with and what it concludes, and whether its documentation ("doc") or its source ("src")
was read.

All of them watch a training run. Here they see what they would see before its first step: one forward and one backward
pass at initialisation (`measure`). A clause such as "sustained over half of the steps" is judged by that one step, and
rules that need several (update ratios, a loss that does not decrease, tensors that do not change) are left out. What
else is left out stands in each preset. The tools themselves are not run.

Most of their thresholds are absolute, made for the gradient of a training loss: a constant that multiplies the loss
moves the gradient past them. So measure a net with its readout and its loss where they are to be judged fairly.

>>> import numpy as np
>>> import vgcore as vg
>>> spec = vg.MLP(depth=10, width=64, init="mean_field(sigma_w=0.577)", out_features=10)
>>> x, y = np.random.default_rng(0).standard_normal((128, 64)), np.arange(128) % 10
>>> seen = [measure(spec, spec.init(seed=s).state_dict(), x, y=y, loss="cross_entropy") for s in range(3)]
>>> {preset: verdict(judge(preset, seen)) for preset in ("dlcheck", "neuroscope")}
{'dlcheck': 'healthy', 'neuroscope': 'vanishing'}
"""

from __future__ import annotations

import itertools
import math
import operator
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from vgcore import reference
from vgcore.finding import Finding, known
from vgcore.spec import MLP, Loss

Array = npt.NDArray[np.float32]


# --- What the tools see ------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Pass:
    """One forward and one backward pass, as a tool's hooks find it: float32 tensors, input side first.

    Attributes:
        parameters: Every parameter by its name.
        gradients: Their gradients, in the same order.
        backward: dL/d(output) of every linear map by its name, the readout's last: what a backward hook on a module
            gets. A tied net has one such module for all layers, whose hook keeps the first step's.
        z: What the maps of the hidden layers give.
        inputs: What their activations get: z, or what a normalisation makes of it.
        a: What their activations give.
        activations: Their names, without parameters.
        loss: Its value; None without one.
    """

    parameters: Mapping[str, Array]
    gradients: Mapping[str, Array]
    backward: Mapping[str, Array]
    z: tuple[Array, ...]
    inputs: tuple[Array, ...]
    a: tuple[Array, ...]
    activations: tuple[str, ...]
    loss: float | None = None


@np.errstate(all="ignore")  # what is beyond float32 is what the tools are there to find
def measure(
    spec: MLP,
    state: Mapping[str, npt.ArrayLike],
    x: npt.ArrayLike,
    *,
    y: npt.ArrayLike | None = None,
    loss: str | Loss | None = None,
    seed: int = 0,
) -> Pass:
    """What tools would see of a net at initialisation.

    Args:
        spec: The net.
        state: Its numbers, as of `Network.state_dict` or `reference.init`.
        x: Samples `(rows, in_features)`.
        y: Targets of the loss.
        loss: As of `probe`, without aliases. Without one, the cotangent at the output is that of `probe`: standard
            normal over sqrt(rows), drawn from a stream of its own.
        seed: Of that cotangent.

    Raises:
        ValueError: For a loss without its targets, targets without a loss, or a loss that is not known.
    """
    if (y is not None) != (loss is not None and Loss(str(loss)).takes_targets):
        raise ValueError("a loss needs its targets, and targets a loss that takes them: give both or neither")
    # The twin works in float64 and carries exponents, so nothing is lost on the way; the cast at the end says what
    # float32 can hold. A tensor beyond its range is 0 or inf, as in torch, which would lose a little more where a
    # product is in range and one of its factors is not.
    wide = {name: np.asarray(value, np.float64) for name, value in state.items()}
    trace = reference.propagate(spec, wide, np.asarray(x, np.float64))
    output, value = trace.y.true(), None
    if loss is None:
        dtype = str(np.asarray(state["layers.0.weight"]).dtype)
        stream = reference.Stream(seed, reference.COTANGENT, dtype=dtype)
        cotangent = stream.normal(output.shape) / math.sqrt(len(output))
    else:
        known("loss", reference.parse(str(loss))[0], reference.LOSSES)
        value, cotangent = reference.evaluate(str(loss), output, None if y is None else np.asarray(y))
    signals = reference.backpropagate(trace, cotangent)
    gradients = reference.summed(signals.found)
    layers = reference.Plan.of(spec).layers[: spec.depth]
    # The twin's a is what comes after a normalisation behind the activation; a hook on the activation sees before.
    a = trace.a
    if spec.norm and spec.norm_position == "post":
        learned = [reference.learned_kind(wide, layer) for layer in layers]
        a = [
            reference.Scaled(reference.outputs(*each)[0])
            for each in zip(learned, _true(trace.activation_input), strict=True)
        ]
    backward = {f"layers.{l}": each.true() for l, each in enumerate(signals.delta[:1] if spec.tied else signals.delta)}
    if spec.out_features is not None:
        backward["readout"] = cotangent
    return Pass(
        parameters=_named(wide),
        gradients=_named({name: gradients[name].true() for name in state}),
        backward=_named(backward),
        z=_cast(_true(trace.z)),
        inputs=_cast(_true(trace.activation_input)),
        a=_cast(_true(a)),
        activations=tuple(reference.parse(layer.kind)[0] for layer in layers),
        loss=value,
    )


def _true(arrays: Iterable[reference.Scaled]) -> list[reference.Array]:
    return [each.true() for each in arrays]


def _cast(arrays: Iterable[reference.Array]) -> tuple[Array, ...]:
    return tuple(each.astype(np.float32) for each in arrays)


def _named(arrays: Mapping[str, reference.Array]) -> dict[str, Array]:
    return dict(zip(arrays, _cast(arrays.values()), strict=True))


# --- What a rule is ----------------------------------------------------------------------------------

Value = tuple[float, tuple[int, ...]]  # a number, and the hidden layers that it is of
Values = Callable[[Pass], Iterable[Value]]

#: What a rule can conclude, in the words of a finding. The first four are about gradients, and make a net `flagged`.
SAYS = {
    "vanishing": "vanishing gradients",
    "exploding": "exploding gradients",
    "nonfinite": "values that are not finite",
    "init": "a poor initialisation",
    "dead": "dead units",
    "saturated": "saturated units",
}
WORDS = {"<": "below", ">": "above", ">=": "not below"}


@dataclass(frozen=True)
class ForeignRule:
    """One rule of another tool.

    Attributes:
        id: What the tool calls it; behind a dot, the parameter whose clause it is.
        says: What it concludes, a key of `SAYS`.
        quantity: What it tests, in words.
        sign: How that compares with the threshold where the rule fires.
        threshold: The tool's default.
        values: The quantity of a pass: one number, or one a tensor, of which any suffices.
        evidence: "doc" if the tool's documentation was read, "src" if its source.
        reference: Where in the tool's documentation or source it stands.
        severity: As of a finding.
    """

    id: str
    says: str
    quantity: str
    sign: Literal["<", ">", ">="]
    threshold: float
    values: Values
    evidence: Literal["doc", "src"]
    reference: str
    severity: str = "warning"

    @np.errstate(all="ignore")
    def test(self, seen: Pass) -> Value | None:
        """The value farthest beyond the threshold and the hidden layers that are beyond it; None if none is."""
        beyond = {"<": operator.lt, ">": operator.gt, ">=": operator.ge}[self.sign]  # never of NaN
        hits = [(value, layers) for value, layers in self.values(seen) if beyond(value, self.threshold)]
        if not hits:
            return None
        worst = (min if self.sign == "<" else max)(value for value, _ in hits)
        return worst, tuple(sorted({l for _, layers in hits for l in layers}))


@dataclass(frozen=True)
class Preset:
    """The rules of one tool.

    Attributes:
        title: Its name.
        source: Where it is found.
        rules: Its rules, one row each.
        left_out: What it has besides, and what is read differently here.
    """

    title: str
    source: str
    rules: tuple[ForeignRule, ...]
    left_out: str


# --- What rules look at ------------------------------------------------------------------------------


def _layers(name: str) -> tuple[int, ...]:
    """The hidden layer that a parameter or module belongs to, if it does to one."""
    found = re.match(r"\w+\.(\d+)", name)
    return (int(found[1]),) if found else ()


def _norm(v: Array) -> float:
    """The norm, of squares taken in float32 as the tools do: of values below 1e-23 it is 0, above 1e19 inf."""
    return math.sqrt(np.square(v).sum(dtype=np.float64))


def _mean_abs(v: Array) -> float:
    return float(np.abs(v).mean(dtype=np.float64))


def _lost(v: Array) -> float:
    return float(v.size - np.isfinite(v).sum())


def _spread(v: Array) -> float:
    low, high = np.percentile(v, [5, 95])
    return float(high - low)


def _kernels(tensors: Mapping[str, Array]) -> dict[str, Array]:
    """The matrices of the layers and of the readout."""
    return {name: v for name, v in tensors.items() if re.fullmatch(r"(layers\.\d+|readout)\.weight", name)}


def _each(statistic: Callable[[Array], float], tensors: Mapping[str, Array]) -> Iterator[Value]:
    """A number of every tensor."""
    return ((statistic(v), _layers(name)) for name, v in tensors.items())


def _each_gradient(statistic: Callable[[Array], float]) -> Values:
    """A number of the gradient of every parameter."""
    return lambda p: _each(statistic, p.gradients)


def _each_layer(
    statistic: Callable[[Array], float], signal: Literal["z", "inputs", "a"], applies: Callable[[str], bool]
) -> Values:
    """A number of the z, the inputs or the outputs of every hidden layer whose activation it applies to."""

    def values(p: Pass) -> Iterator[Value]:
        tensors: tuple[Array, ...] = getattr(p, signal)
        for l, (name, tensor) in enumerate(zip(p.activations, tensors, strict=True)):
            if applies(name):
                yield statistic(tensor), (l,)

    return values


def _is(*names: str) -> Callable[[str], bool]:
    return lambda name: name in names


def _is_relu(name: str) -> bool:
    """Would a tensor of it match `.*relu_input`?"""
    return "relu" in name


def _lost_anywhere(p: Pass) -> Iterator[Value]:
    """How many values are not finite, of gradients, parameters, signals and the loss."""
    for tensors in (p.gradients, p.parameters):
        yield from _each(_lost, tensors)
    for signal in (p.z, p.a):
        yield from ((_lost(v), (l,)) for l, v in enumerate(signal))
    if p.loss is not None:
        yield float(not math.isfinite(p.loss)), ()


# Of SageMaker Debugger


def _inactive_units(active: Callable[[Array], npt.NDArray[np.bool_]]) -> Callable[[Array], float]:
    """Percent of units that are active for less than 1 % (`threshold_inactivity`) of the samples."""
    return lambda v: 100 * float((active(v).mean(axis=0) < 0.01).mean())


def _variance_ratio(p: Pass) -> Iterator[Value]:
    """The largest over the smallest variance of the inputs of ReLUs, and where the two are."""
    relus = [l for l, name in enumerate(p.activations) if _is_relu(name)]
    variances = np.array([p.inputs[l].var(dtype=np.float64) for l in relus])
    if len(relus) > 1:
        low, high = variances.argmin(), variances.argmax()
        yield float(variances[high] / variances[low]), (relus[low], relus[high])


# Of AUTOTRAINER


def _first_to_last(p: Pass) -> Iterator[Value]:
    """Norm of the first kernel's gradient over the last one's."""
    norms = [_norm(gradient) for gradient in _kernels(p.gradients).values()]
    yield float(np.divide(norms[0], norms[-1])), (0,)


def _small_first_to_last(p: Pass) -> Iterator[Value]:
    """The same, where the first is below `beta_2`."""
    if _norm(p.gradients["layers.0.weight"]) < 1e-4:
        yield from _first_to_last(p)


def _zero_share(p: Pass) -> Iterator[Value]:
    """Share of zeros among all entries of all gradients."""
    zeros = sum(int((gradient == 0).sum()) for gradient in p.gradients.values())
    yield zeros / sum(gradient.size for gradient in p.gradients.values()), ()


def _loss(p: Pass) -> Iterator[Value]:
    """The loss; one that is not a number counts as infinite."""
    if p.loss is not None:
        yield math.inf if math.isnan(p.loss) else p.loss, ()


# Of torchmortem, whose gradients are those of a module's output, and which compares only where there are two modules


def _last_to_first(p: Pass) -> Iterator[Value]:
    """Norm of the gradient at the last linear map over that at the first one."""
    norms = [_norm(delta) for delta in p.backward.values()]
    if len(norms) > 1 and norms[0] < 1e-30:
        yield math.inf, (0,)
    elif len(norms) > 1 and norms[-1] >= 1e-30:
        yield norms[-1] / norms[0], (0,)


def _each_backward(p: Pass) -> Iterator[Value]:
    """Norm of the gradient at every linear map."""
    return _each(_norm, p.backward if len(p.backward) > 1 else {})


def _each_module(share: Callable[[Array], npt.NDArray[np.bool_]]) -> Values:
    """Share of what every hidden linear map and every activation gives, be it of whatever kind."""

    def values(p: Pass) -> Iterator[Value]:
        for signal in (p.z, p.a):
            yield from ((float(share(v).mean()), (l,)) for l, v in enumerate(signal))

    return values


# Of NeuroScope, whose monitors give a severity from 0 to 1


def _vanishing_severity(p: Pass) -> Iterator[Value]:
    """From the mean ratio of neighbours' variances, earlier over later, and from the least root mean square.

    The ratio as written grows toward the input: what it calls vanishing is a gradient that explodes.
    """
    gradients = [gradient.astype(np.float64) for gradient in _kernels(p.gradients).values()]
    if len(gradients) > 1:
        variances = [gradient.var() for gradient in gradients]
        ratios = [one / two for one, two in itertools.pairwise(variances) if two > 1e-12]
        growth = min(0.8, max(0.0, (float(np.mean(ratios)) - 2) / 8)) if ratios else 0.0
        least = min(math.sqrt((gradient**2).mean()) for gradient in gradients)
        yield max(growth, 0.7 if least < 1e-7 else 0.4 if least < 1e-5 else 0.0), ()


def _exploding_severity(p: Pass) -> Iterator[Value]:
    """From the norm of all kernels' gradients, beginning at 5 and anew at 10, and from the largest norm of one."""
    norms = [_norm(gradient) for gradient in _kernels(p.gradients).values()]
    total, top = float(np.linalg.norm(norms)), max(norms)
    severity = min(1.0, (total - 10) / 10) if total > 10 else 0.6 * (total - 5) / 5 if total > 5 else 0.0
    yield min(1.0, severity + (min(0.5, (top - 5) / 5) if top > 5 else 0.0)), ()


def _dead_percent(p: Pass) -> Iterator[Value]:
    """Percent of all hidden units that are about 0 for more than 90 % of samples, or 85 % if not plain ReLU."""
    about = {"relu": 1e-8, "leaky_relu": 1e-6}
    zeros = [(name, np.abs(a) <= about.get(name, 1e-7)) for name, a in zip(p.activations, p.a, strict=True)]
    dead = [v.mean(axis=0) > (0.9 if name == "relu" else 0.85) for name, v in zeros]
    yield 100 * float(np.concatenate(dead).mean()), ()


def _off_init(p: Pass) -> Iterator[Value]:
    """By what factor the standard deviation of a kernel is off what it expects for the activation."""
    for name, kernel in _kernels(p.parameters).items():
        fan_out, fan_in = kernel.shape
        activation = p.activations[next(iter(_layers(name)), -1)]
        he, lecun, xavier = math.sqrt(2 / fan_in), math.sqrt(1 / fan_in), math.sqrt(2 / (fan_in + fan_out))
        ratio = kernel.std(dtype=np.float64) / {"relu": he, "leaky_relu": he, "selu": lecun}.get(activation, xavier)
        yield float(max(ratio, np.divide(1, ratio))), _layers(name)


# Of DLCheck


def _nonzero_norms(p: Pass) -> Iterator[Value]:
    """Norms of the gradients of parameters, where not 0."""
    return ((value, layers) for value, layers in _each(_norm, p.gradients) if value > 0)


def _deviations(p: Pass) -> Iterator[Value]:
    """Standard deviations of matrices."""
    matrices = {name: w for name, w in p.parameters.items() if w.ndim > 1}
    return _each(lambda w: float(w.std(ddof=1, dtype=np.float64)) if w.size > 1 else math.nan, matrices)


# --- The rules ---------------------------------------------------------------------------------------

_FLOW, _MONITOR, _CALLBACK = "detectors/gradient_flow.py", "diagnostics/training_monitors.py", "dlcheck_callback.py"

# A formatter would give every argument a line of its own, and the table would be no table.
# fmt: off
#: The tools by their short names, and their rules, one row each.
PRESETS: dict[str, Preset] = {
    "sagemaker": Preset("SageMaker Debugger", "docs.aws.amazon.com/sagemaker/latest/dg/debugger-built-in-rules.html", (
        ForeignRule("VanishingGradient", "vanishing", "mean |gradient| of a parameter",
                    "<", 1e-7, _each_gradient(_mean_abs), "doc", "#vanishing-gradient"),
        ForeignRule("ExplodingTensor", "nonfinite", "number of values in a tensor that are NaN or infinite",
                    ">", 0, _lost_anywhere, "doc", "#exploding-tensor", "critical"),
        ForeignRule("PoorWeightInitialization", "init", "largest over smallest variance of the inputs of ReLU layers",
                    ">", 10, _variance_ratio, "doc", "#poor-weight-initialization"),
        ForeignRule("PoorWeightInitialization.distribution_range", "init",
                    "distance from the 5th to the 95th percentile of a parameter's gradient",
                    "<", 0.001, _each_gradient(_spread), "doc", "#poor-weight-initialization"),
        ForeignRule("DeadRelu", "dead", "percent of a layer's ReLUs that are active for less than 1 % of samples",
                    ">", 50, _each_layer(_inactive_units(lambda a: a > 0), "a", _is_relu), "doc", "#dead-relu"),
        ForeignRule("SaturatedActivation.tanh", "saturated",
                    "percent of a layer's tanh units with inputs within +-9.4999 for less than 1 % of samples",
                    ">", 50, _each_layer(_inactive_units(lambda z: np.abs(z) < 9.4999), "inputs", _is("tanh")),
                    "doc", "#saturated-activation"),
        ForeignRule("SaturatedActivation.sigmoid", "saturated",
                    "percent of a layer's sigmoid units with inputs from -23 to 16.99999 for less than 1 % of samples",
                    ">", 50,
                    _each_layer(_inactive_units(lambda z: (z > -23) & (z < 16.99999)), "inputs", _is("sigmoid")),
                    "doc", "#saturated-activation"),
    ), "Over training: WeightUpdateRatio, UnchangedTensor, LossNotDecreasing, Overfit, Overtraining, patience of "
       "PoorWeightInitialization. With bounds that a user sets: AllZero, TensorVariance. Rules of ReLUs know them by "
       "name (.*relu_input), as by default."),
    "autotrainer": Preset("AUTOTRAINER", "github.com/shiningrain/AUTOTRAINER", (
        ForeignRule("vanish_gradient", "vanishing",
                    "norm of the first kernel's gradient, itself below 1e-4, over the last one's",
                    "<", 1e-3, _small_first_to_last, "src", "utils/monitor.py"),
        ForeignRule("explode_gradient", "exploding", "norm of the first kernel's gradient over the last one's",
                    ">", 70, _first_to_last, "src", "utils/monitor.py", "critical"),
        ForeignRule("nan_gradient", "nonfinite", "number of values in a parameter's gradient that are NaN or infinite",
                    ">", 0, _each_gradient(_lost), "src", "utils/monitor.py", "critical"),
        ForeignRule("nan_loss", "exploding", "loss",
                    ">=", 1e5, _loss, "src", "utils/monitor.py", "critical"),
        ForeignRule("died_relu", "dead", "share of zeros among all entries of gradients",
                    ">=", 0.7, _zero_share, "src", "utils/monitor.py"),
    ), "Over training: unstable loss, no convergence, overfitting. It looks at gradients only while accuracy is below "
       "Theta = 0.7, as before training, and of several problems reports the first (dead ReLU, exploding, vanishing); "
       "here each speaks for itself. Weights above 5 are counted in its source but decide nothing."),
    "torchmortem": Preset("torchmortem", "github.com/sebseager/torchmortem", (
        ForeignRule("gradient_flow.vanishing", "vanishing",
                    "norm of dL/d(output) of the last linear map over the first one's",
                    ">=", 100, _last_to_first, "src", _FLOW),
        ForeignRule("gradient_flow.exploding", "exploding", "norm of dL/d(output) of a linear map",
                    ">", 1000, _each_backward, "src", _FLOW, "critical"),
        ForeignRule("gradient_flow.stalling", "vanishing", "norm of dL/d(output) of a linear map",
                    "<", 1e-8, _each_backward, "src", _FLOW),
        ForeignRule("dead_units", "dead", "share of a module's output elements with |output| below 1e-6",
                    ">", 0.5, _each_module(lambda v: np.abs(v) < 1e-6), "src", "detectors/dead_units.py"),
        ForeignRule("saturation", "saturated", "share of a module's output elements with |output| above 0.95",
                    ">", 0.5, _each_module(lambda v: np.abs(v) > 0.95), "src", "detectors/saturation.py"),
    ), "Over training: update ratios, weight norms, rank collapse, gradient noise, loss dynamics. That a module stalls "
       "for 0.3 of the steps, or is dead or saturated for half of them, is judged by one step. Modules are the linear "
       "maps and the activations; outputs of normalisations and of the readout are not looked at here."),
    "neuroscope": Preset("NeuroScope", "github.com/ahmadrazacdx/neuro-scope", (
        ForeignRule("monitor_vanishing_gradients", "vanishing",
                    "severity of the least root mean square (below 1e-5 or 1e-7) and of variances (earlier over later)",
                    ">=", 0.4, _vanishing_severity, "src", _MONITOR, "critical"),
        ForeignRule("monitor_exploding_gradients", "exploding",
                    "severity of the total gradient norm (above 5 or 10) and of the largest of a layer (above 5)",
                    ">=", 0.4, _exploding_severity, "src", _MONITOR, "critical"),
        ForeignRule("check_numerical_stability", "nonfinite", "number of values in a tensor that are NaN or infinite",
                    ">", 0, _lost_anywhere, "src", "mlp/utils.py"),
        ForeignRule("analyze_weight_init", "init",
                    "factor by which a matrix's standard deviation is off He (ReLU), LeCun (SELU) or Xavier",
                    ">", 2, _off_init, "src", "diagnostics/pretraining.py"),
        ForeignRule("monitor_relu_dead_neurons", "dead",
                    "percent of hidden units that are 0 for over 90 % of samples (85 % if not ReLU)",
                    ">", 30, _dead_percent, "src", _MONITOR, "critical"),
    ), "Over training: update ratios, learning progress, plateaus, overfitting. Further: weight health, much like the "
       "rule of inits; scores of saturation and of signal to noise; notes on the architecture. Its lights are green, "
       "yellow and red: red counts here (severity 0.4, 30 % of units, a failed check). Its own nets are float64."),
    "dlcheck": Preset("DLCheck", "github.com/QEDan/DLCheck", (
        ForeignRule("vanishing_gradients", "vanishing", "norm, if not 0, of a parameter's gradient",
                    "<", 1e-7, _nonzero_norms, "src", _CALLBACK),
        ForeignRule("zero_gradients", "vanishing", "share of zeros in a parameter's gradient",
                    ">=", 1, _each_gradient(lambda v: float((v == 0).mean())), "src", _CALLBACK),
        ForeignRule("exploding_gradients", "exploding", "norm of a parameter's gradient",
                    ">", 1e6, _nonzero_norms, "src", _CALLBACK, "critical"),
        ForeignRule("nan_gradients", "nonfinite", "number of values in a parameter's gradient that are NaN or infinite",
                    ">", 0, _each_gradient(_lost), "src", _CALLBACK, "critical"),
        ForeignRule("weight_initialization", "init", "standard deviation of a matrix",
                    "<", 1e-6, _deviations, "src", _CALLBACK),
        ForeignRule("dead_activations", "dead", "share of zeros in the output of a ReLU layer",
                    ">", 0.95, _each_layer(lambda a: float((a == 0).mean()), "a", _is("relu")), "src", _CALLBACK),
        ForeignRule("saturated_activations.high", "saturated", "mean |output| of a sigmoid or tanh layer",
                    ">", 0.95, _each_layer(_mean_abs, "a", _is("sigmoid", "tanh")), "src", _CALLBACK),
        ForeignRule("saturated_activations.low", "saturated", "mean |output| of a sigmoid or tanh layer",
                    "<", 0.05, _each_layer(_mean_abs, "a", _is("sigmoid", "tanh")), "src", _CALLBACK),
    ), "Over training: update ratios, parameters that diverge or never change, constant loss, label noise and leakage. "
       "Its rule of weights also fires on every vector of equal numbers, such as biases of 0; here it sees matrices."),
}
# fmt: on

_RULES = {f"{name}.{rule.id}": rule for name, preset in PRESETS.items() for rule in preset.rules}


# --- What they say of a net --------------------------------------------------------------------------


def judge(preset: str, passes: Sequence[Pass]) -> tuple[Finding, ...]:
    """What one tool would say of a net.

    Args:
        preset: A key of `PRESETS`.
        passes: One for each seed.

    Returns:
        A finding for each rule that fires in at least half of the passes, in the order of the preset. Its value is the
        median of them, its layers those that show in at least half of them, its confidence their share.

    Raises:
        ValueError: For a preset that is not known, or no passes.
    """
    tool = PRESETS[known("preset", preset, PRESETS)]
    if not passes:
        raise ValueError("there must be at least one pass to judge")
    findings = []
    for rule in tool.rules:
        hits = [hit for hit in map(rule.test, passes) if hit is not None]
        if not hits or 2 * len(hits) < len(passes):
            continue
        value = float(np.median([value for value, _ in hits]))
        shown = Counter(l for _, layers in hits for l in layers)
        often = "" if len(passes) == 1 else f", in {len(hits)} of {len(passes)} runs"
        findings.append(
            Finding(
                rule=f"{preset}.{rule.id}",
                severity=rule.severity,
                layers=tuple(sorted(l for l, count in shown.items() if 2 * count >= len(hits))),
                value=value,
                threshold=rule.threshold,
                evidence=f"{tool.title} would report {SAYS[rule.says]}: {rule.quantity} is {value:.3g}, "
                f"{WORDS[rule.sign]} its {rule.threshold:.3g}{often}.",
                remedy=f"None of ours: a rule of {tool.title}, shown for comparison. See vgcore's own diagnosis.",
                reference=f"{tool.source}, {rule.reference} [{rule.evidence}]",
                confidence=len(hits) / len(passes),
            )
        )
    return tuple(findings)


def verdict(findings: Iterable[Finding]) -> str:
    """What a tool says of the gradients, in one word: "exploding", "vanishing" or "healthy".

    What is not finite counts as exploding, and exploding comes before vanishing. Rules of dead or saturated units and
    of the initialisation name no direction, and do not count: a net can be "healthy" here and still `flagged`.

    To compare a tool with the true change of the backward signal from end to end, judge the direction by this, and
    whether the tool warns at all by `flagged`; apply the one chosen to healthy and sick nets alike.

    >>> verdict([])
    'healthy'
    """
    says = words(findings)
    return "exploding" if says & {"exploding", "nonfinite"} else "vanishing" if "vanishing" in says else "healthy"


def flagged(findings: Iterable[Finding]) -> bool:
    """Does a tool report anything about gradients or the initialisation?

    That is any finding that says vanishing, exploding, not finite or a poor initialisation: all that would make its
    user look at the gradients before training. Dead and saturated units are no such report: half of all ReLU outputs
    are 0 in every healthy net.

    >>> flagged([])
    False
    """
    return bool(words(findings) & {"vanishing", "exploding", "nonfinite", "init"})


def words(findings: Iterable[Finding]) -> set[str]:
    """What findings say: of "vanishing", "exploding", "nonfinite", "init", "dead" and "saturated"."""
    return {_RULES[known("foreign rule", finding.rule, _RULES)].says for finding in findings}
