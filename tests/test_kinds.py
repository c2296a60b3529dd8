"""What the tables say of each kind is what the core computes: formulas are evaluated, laws and sources compared."""

from __future__ import annotations

import importlib.util
import math
import pickle
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import NormalDist
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import vgcore as vg
from vgcore import _core, reference
from vgcore.model.plan import Map, Plan
from vgcore.reference import optimizer, schedule
from vgcore.reference.scaled import Scaled

FAMILIES = (
    *("activation", "init", "norm", "skip", "weight_transform"),
    *("loss", "optimizer", "schedule", "cell", "pretraining"),
)
# A call with values other than the defaults, where "half as much again and a tenth" is none that is allowed.
OTHERS = {
    "threshold": "threshold(threshold=0.2, value=0.1)",
    "softplus": "softplus(beta=2, threshold=3)",
    "cross_entropy": "cross_entropy(label_smoothing=0.2)",
    "constant": "constant(value=0.3, gain=2)",
    "sparse": "sparse(sparsity=0.7, std=0.3, gain=2)",
    "kaiming_uniform": "kaiming_uniform(a=0.5, mode=fan_out)",
    "kaiming_normal": "kaiming_normal(mode=fan_out, gain=3)",
    "trunc_normal": "trunc_normal(mean=0.5, std=2, a=-1, b=3, gain=2)",
    "sgd": "sgd(lr=0.1, momentum=0.9, nesterov=true, weight_decay=0.1)",
    "adam": "adam(lr=0.1, beta1=0.5, beta2=0.7, eps=0.1, weight_decay=0.2)",
    "adamw": "adamw(lr=0.1, beta1=0.5, beta2=0.7, eps=0.1, weight_decay=0.2)",
    "rmsprop": "rmsprop(lr=0.1, alpha=0.5, eps=0.1, weight_decay=0.2, momentum=0.6, centered=true)",
    "adagrad": "adagrad(lr=0.1, lr_decay=0.3, weight_decay=0.2, initial_accumulator=0.5, eps=0.1)",
    "lion": "lion(lr=0.1, beta1=0.5, beta2=0.7, weight_decay=0.2)",
    "muon": "muon(lr=0.1, weight_decay=0.2, momentum=0.5, nesterov=false, adjust=match_rms_adamw)",
    "step": "step(size=3, gamma=0.5)",
    "multistep": "multistep(first=2, second=5, third=9, gamma=0.5)",
    "exponential": "exponential(gamma=0.9)",
    "linear": "linear(start_factor=0.2, end_factor=2, total=7)",
    "cosine": "cosine(eta_min=0.01, period=6, warmup=4)",
    "one_cycle": "one_cycle(pct_start=0.5, div_factor=10, final_div_factor=100)",
    "warmup": "warmup(steps=5)",
    "inverse_sqrt": "inverse_sqrt(warmup=4)",
    "noam": "noam(d_model=64, warmup=4)",
    "wsd": "wsd(warmup=3, decay=5)",
}
DRAWN = np.random.default_rng(0)

gaussian = np.vectorize(NormalDist().cdf, otypes=[float])
NAMES: dict[str, Any] = {
    "where": np.where,
    "exp": np.exp,
    "log": np.log,
    "tanh": np.tanh,
    "sin": np.sin,
    "cos": np.cos,
    "sqrt": np.sqrt,
    "sign": np.sign,
    "arctan": np.arctan,
    "floor": np.floor,
    "abs": np.abs,
    "erf": np.vectorize(math.erf, otypes=[float]),
    "Phi": gaussian,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "concat": lambda *parts: np.concatenate(parts, axis=-1),
    "pi": np.pi,
}
NAMES |= {
    "max": lambda *numbers: np.maximum(*numbers) if len(numbers) == 2 else max(numbers),
    "min": lambda first, *rest: min(first, *rest) if len(rest) > 1 else np.minimum(first, *rest),
}


def evaluated(formula: str, **values: Any) -> Any:
    """What a formula gives, which may use nothing but these functions and values."""
    return eval(formula, {"__builtins__": {}}, NAMES | values)


def params(family: str, call: str) -> dict[str, Any]:
    """The parameters of a call, flags as such."""
    given = _core.resolve(family, call, {})[1]
    return {name: {"true": True, "false": False}.get(str(value), value) for name, value in given.items()}


def info(family: str, name: str) -> vg.KindInfo:
    return next(kind for kind in vg.kinds(family) if kind.name == name)


def other(kind: vg.KindInfo) -> str | None:
    """The call of a kind with other values than its defaults; None where it has no parameters."""
    if not kind.params:
        return None
    known = OTHERS.get(kind.name, "")
    if known and {*re.findall(r"(\w+)=", known)} <= {param.name for param in kind.params}:
        return known
    given = [(param, param.default) for param in kind.params if param.default is not None]
    return f"{kind.name}({', '.join(f'{param.name}={moved(param.allowed, value)}' for param, value in given)})"


def moved(allowed: str, value: float | str) -> str:
    if isinstance(value, str):
        return allowed.removeprefix("one of ").split(", ")[-1]
    return repr(1.5 * value + 0.1)


def calls(*families: str) -> list[tuple[str, str, str]]:
    """Family, name and call of each kind, as it comes and with other values."""
    found = []
    for family in families:
        for kind in vg.kinds(family):
            needs = any(param.required for param in kind.params)
            several = [None if needs else kind.name, other(kind)]
            found += [(family, kind.name, call) for call in several if call is not None]
    return found


def close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


# What there is.


def test_all_kinds_are_told_in_the_order_of_the_tables() -> None:
    names = (
        *(vg.ACTIVATIONS, vg.INITS, vg.NORMS, vg.SKIPS, vg.WEIGHT_TRANSFORMS, vg.LOSSES, vg.OPTIMIZERS, vg.SCHEDULES),
        *(vg.CELLS, vg.PRETRAININGS),
    )
    assert _core.FAMILIES == FAMILIES
    for family, listed in zip(FAMILIES, names, strict=True):
        assert tuple(kind.name for kind in vg.kinds(family)) == listed
        assert {kind.family for kind in vg.kinds(family)} == {family}
    assert vg.kinds() == tuple(kind for family in FAMILIES for kind in vg.kinds(family))


def test_each_is_told_in_full_and_no_two_say_the_same() -> None:
    for kind in vg.kinds():
        assert kind.formula, kind
        assert kind.summary, kind
        assert kind.source, kind
        assert not re.search(r"\s{2}|\.$", f"{kind.formula} {kind.summary} {kind.source}"), kind
        assert kind.summary[0].islower() or kind.summary.split()[0].strip(":,'").rstrip("s'") != "", kind
    assert len({(kind.family, kind.summary) for kind in vg.kinds()}) == len(vg.kinds())


def test_parameters_are_those_that_a_call_takes_with_their_defaults() -> None:
    for kind in vg.kinds():
        required = ", ".join(f"{param.name}=1" for param in kind.params if param.required)
        call = f"{kind.name}({required})".replace("sparsity=1", "sparsity=0.5")
        known = _core.resolve(kind.family, call, {})[1]
        derived = [param.name for param in kind.params if param.default is None and not param.required]
        assert list(known) == [param.name for param in kind.params if param.name not in derived] + derived, kind
        for param in kind.params:
            assert param.required or param.default is None or known[param.name] == param.default, (kind, param)
        for alias in kind.aliases:
            assert _core.resolve(kind.family, call.replace(kind.name, alias, 1), {})[0] == kind.name


def test_what_is_allowed_is_what_an_error_says() -> None:
    param = info("activation", "celu").params[0]
    with pytest.raises(ValueError, match=f"alpha must be {param.allowed}, got 0"):
        vg.Activation("celu", alpha=0)
    assert info("init", "kaiming_normal").params[2] == ("gain", None, "a finite number, 0 or more", False)
    assert info("activation", "threshold").params[0].required


def test_an_unknown_family_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'activation'"):
        vg.kinds("activations")
    with pytest.raises(TypeError, match="family must be a string"):
        vg.kinds(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown kind 'activations'"):
        _core.kinds("activations")


def test_a_kind_is_found_by_any_of_its_names() -> None:
    assert [kind.name for kind in vg.kinds("gelu")] == ["gelu"]
    assert vg.kinds("swish") == vg.kinds("silu") == vg.kinds("SiLU")
    assert [kind.family for kind in vg.kinds("linear")] == ["activation", "schedule"]
    assert [kind.name for kind in vg.kinds("batch")] == ["batch"]
    with pytest.raises(ValueError, match=r"unknown kind 'gleu' \(did you mean 'gelu'\?\); kinds are listed by family"):
        vg.kinds("gleu")


def test_kinds_print_as_lines_and_repr_as_one() -> None:
    assert str(vg.kinds("gelu")) == str(vg.kinds("gelu")[0])
    assert [line.partition(":")[0] for line in str(vg.kinds()).splitlines()] == [*FAMILIES]
    assert repr(vg.kinds("norm")) == "Kinds(3: 3 norm)"
    assert pickle.loads(pickle.dumps(vg.kinds("norm"))) == vg.kinds("norm")


def test_a_kind_is_a_record_that_reads_as_a_line() -> None:
    elu = info("activation", "elu")
    assert str(elu).startswith("elu(alpha=1): where(z > 0, z, alpha * (exp(z) - 1)); ")
    assert pickle.loads(pickle.dumps(elu)) == elu
    assert elu.to_dict()["params"] == [
        {"name": "alpha", "default": 1.0, "allowed": "a finite number", "required": False}
    ]
    with pytest.raises(AttributeError):
        elu.name = "relu"  # type: ignore[misc]


# Formulas.


@pytest.mark.parametrize(("family", "name", "call"), calls("activation"))
def test_the_formula_of_an_activation_is_what_a_net_computes(family: str, name: str, call: str) -> None:
    z = np.linspace(-9, 9, 362).reshape(-1, 2)
    spec = vg.MLP(depth=1, width=2, in_features=2, activation=call, init="eye", bias=False)
    v, g = z[:, :1], z[:, 1:]
    expected = evaluated(info(family, name).formula, z=z, v=v, g=g, **params(family, call))
    close(spec.init(dtype="float64").forward(z), expected)


@pytest.mark.parametrize(("family", "name", "call"), calls("loss"))
def test_the_formula_of_a_loss_is_what_the_core_computes(family: str, name: str, call: str) -> None:
    loss = vg.Loss(call)
    y = 2 * DRAWN.normal(size=(6, 3))
    targets: Any = None
    if loss.takes_classes:
        targets = np.array([0, 2, 1, 1, 0, 2])
    elif loss.takes_targets:
        targets = np.sign(y[::-1]) if name == "hinge" else 1 / (1 + y[::-1] ** 2)
    given, formula = params(family, call), info(family, name).formula
    names = {"sum": np.sum, "mean": np.mean}
    samples = zip(y, [None] * len(y) if targets is None else targets, strict=True)
    terms = np.array([evaluated(formula, y=row, t=target, **names, **given) for row, target in samples])
    value, _ = _core.loss_gradient(loss, y, targets)
    assert loss.reduction.endswith("all elements" if terms.ndim == 2 else "the batch")
    close(value, terms.sum() if loss.reduction.startswith("sum") else terms.mean())


@pytest.mark.parametrize(("family", "name", "call"), calls("norm"))
def test_the_formula_of_a_norm_is_what_a_net_computes(family: str, name: str, call: str) -> None:
    x = 2 + DRAWN.normal(size=(7, 5))
    spec = vg.MLP(depth=1, width=5, in_features=5, activation="linear", norm=call, init="eye", bias=False)
    axis = 0 if name == "batch" else 1
    over = {"mean": lambda v: v.mean(axis=axis, keepdims=True), "var": lambda v: v.var(axis=axis, keepdims=True)}
    found = spec.init(dtype="float64").forward(x)
    close(found, evaluated(info(family, name).formula, v=x, w=1, c=0, **over, **params(family, call)))


@pytest.mark.parametrize(("family", "name", "call"), calls("skip"))
def test_the_formula_of_a_skip_is_what_a_net_computes(family: str, name: str, call: str) -> None:
    x = DRAWN.normal(size=(7, 4))
    call = call.replace("order=pre", "order=after")  # of F = phi(W x + b) here
    s = 0.5 if name in {"residual", "rezero"} else 1.0
    spec = vg.MLP(depth=1, width=4, in_features=4, activation="tanh", skip=call, branch_scale=s)
    net = spec.init(dtype="float64")
    state = net.state_dict()
    branch = np.tanh(x @ state["layers.0.weight"].T + state["layers.0.bias"])
    formula, _, rest = info(family, name).formula.partition(", T = ")
    gate = {}
    if rest:
        weight, bias = state["gates.0.weight"], state["gates.0.bias"]
        gate = {"T": evaluated(rest.replace("W_T x", "W_T"), W_T=x @ weight.T, b_T=bias)}
    close(net.forward(x), evaluated(formula, x=x, F=branch, s=s, **gate, **params(family, call)))


@pytest.mark.parametrize(("family", "name", "call"), calls("weight_transform"))
def test_the_formula_of_a_transform_is_what_a_net_computes(family: str, name: str, call: str) -> None:
    x = np.eye(4)
    spec = vg.MLP(depth=1, width=3, in_features=4, activation="linear", weight_transform=call, bias=False)
    net = spec.init(dtype="float64")
    weight = net.state_dict()["layers.0.weight"]
    rows = {"mean": lambda w: w.mean(axis=1, keepdims=True), "var": lambda w: w.var(axis=1, keepdims=True)}
    largest = {"sigma_max": lambda w: np.linalg.norm(w, 2)}
    values = params(family, call)
    expected = evaluated(info(family, name).formula, w=weight, W=weight, fan_in=4, **rows, **largest, **values)
    close(net.forward(x), expected.T)


@pytest.mark.parametrize(("family", "name", "call"), calls("optimizer"))
def test_the_formula_of_an_optimiser_is_the_step_of_the_twin(family: str, name: str, call: str) -> None:
    key = "layers.0.weight"
    values = params(family, call)
    w = DRAWN.normal(size=(3, 5))
    state = {key: w}
    kept: dict[str, optimizer.Kept] = {}
    here = {"w": w, "b": np.zeros_like(w), "m": np.zeros_like(w), "rows": 3, "columns": 5}
    here["v"] = np.full_like(w, values.get("initial_accumulator", 0.0))
    for t in (1, 2, 3):
        g = DRAWN.normal(size=w.shape)
        state = optimizer.updated(call, state, {key: Scaled(g)}, kept, t=t, lr=values["lr"])
        steps = values | {"t": t, "orthogonalised": optimizer.orthogonalised}
        here["g"] = g
        for statement in info(family, name).formula.split("; "):
            kept_as, _, formula = statement.partition(" = ")
            here[kept_as] = evaluated(formula, **steps | here)
        close(here["w"], state[key])


@pytest.mark.parametrize(("family", "name", "call"), [row for row in calls("schedule") if row[1] != "plateau"])
def test_the_formula_of_a_schedule_is_the_rate_of_the_twin(family: str, name: str, call: str) -> None:
    formula, _, between = info(family, name).formula.partition(", between(a, b, u) = ")
    helper = {"between": lambda a, b, u: evaluated(between, a=a, b=b, u=u)} if between else {}
    # A phase of no steps is infinitely short.
    values = {key: value or np.float64(0) for key, value in params(family, call).items()}
    with np.errstate(divide="ignore"):
        for t in range(1, 21):
            found = evaluated(formula, lr=0.1, t=t, T=20, **helper, **values)
            close(found, schedule.rate(call, 0.1, t, 20))


def test_a_plateau_multiplies_by_its_factor_as_its_formula_says() -> None:
    assert info("schedule", "plateau").formula.startswith("lr * factor**k, k = how often")
    plateau = schedule.Plateau(lr=1.0, factor=0.5, patience=2)
    rates = [plateau.read(1.0) for _ in range(7)]
    # The first reading is the best; the next three are more than `patience` that are not below it.
    assert rates == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25]


# Laws of weights.


def drawn(call: str, fan_in: int = 6, fan_out: int = 10) -> Map:
    """The law of a hidden map of these fans."""
    spec = vg.MLP(depth=2, width=[fan_in, fan_out], in_features=4, activation="tanh", init=call)
    return Plan.of(spec).layers[1].map


def law(formula: str, values: Mapping[str, Any]) -> tuple[float, float] | None:
    """Mean and variance that the formula of an init states; None where it states none."""

    def number(text: str) -> float:
        return float(evaluated(text, **values))

    stated = re.search(r"var\(W\) = ([^,;]+(?:\([^)]*\)[^,;]*)*)$", formula)
    if stated:
        return 0.0, number(stated[1])
    if uniform := re.match(r"W ~ U\(-r, r\), r = ([^;]+)", formula):
        return 0.0, number(uniform[1]) ** 2 / 3
    if uniform := re.match(r"W ~ U\((.+), (.+)\)$", formula):
        low, high = map(number, uniform.groups())
        return (low + high) / 2, (high - low) ** 2 / 12
    if normal := re.match(r"W ~ N\(([^,]+), (.+?)\)(?:, .*)?$", formula):
        return number(normal[1]), number(normal[2])
    return None


LAWLESS = {"zeros", "constant", "ones", "eye", "trunc_normal", "sparse", "looks_linear", "lsuv", "critical"}
#: Of nets that have gates or blocks; tests of these nets hold what their formulas say.
OF_SEQUENCES = {"torch_rnn", "torch_transformer", "torch_encoder"}


@pytest.mark.parametrize(
    ("family", "name", "call"), [row for row in calls("init") if row[1] not in LAWLESS | OF_SEQUENCES]
)
def test_the_law_of_an_init_is_that_of_the_plan(family: str, name: str, call: str) -> None:
    fan_in, fan_out = 6, 10
    values = params(family, call) | {"fan_in": fan_in, "fan_out": fan_out}
    fans = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}
    values["fan"] = fans[values.get("mode", "fan_in")]
    values |= {"L": 2, "m": math.inf, "beta": 1}  # a map outside of branches has no damping
    formula = info(family, name).formula
    stated = law(formula, values)
    assert stated is not None, formula
    found = drawn(call)
    close((found.weight_mean, found.weight_variance), stated)
    if biases := re.search(r"b ~ (N\(0, (.+)\)$|U\(-s, s\), s = (.+)$)", formula):
        variance = evaluated(biases[2], **values) if biases[2] else evaluated(biases[3], **values) ** 2 / 3
        close((found.bias_mean, found.bias_variance), (0.0, variance))
    else:
        assert (found.bias_mean, found.bias_variance) == (0, 0)


@pytest.mark.parametrize("gain", [1, 1.6])
def test_inits_of_sequences_are_those_of_torch_in_plain_layers(gain: float) -> None:
    default = drawn(f"torch_default(gain={gain})").weight_variance
    for init in ("torch_transformer", "torch_encoder"):
        close(drawn(f"{init}(gain={gain})").weight_variance, default)
    # r = gain / sqrt(units), of which this map has 10 and gets 6.
    close(drawn(f"torch_rnn(gain={gain})").weight_variance, gain**2 / 3 / 10)


@pytest.mark.parametrize("call", ["zeros", "ones", "ones(gain=0.5)", "constant(value=0.3, gain=2)"])
def test_the_formula_of_a_constant_init_is_every_weight(call: str) -> None:
    kind = info("init", call.partition("(")[0])
    weight = evaluated(kind.formula.removeprefix("W = "), **params("init", call))
    assert drawn(call).weight_variance == 0
    close(drawn(call).weight_mean, weight)


def test_inits_whose_law_is_no_formula_are_what_their_formulas_say() -> None:
    eye = vg.MLP(depth=1, width=4, in_features=4, init="eye(gain=2)").init().state_dict()["layers.0.weight"]
    np.testing.assert_array_equal(eye, 2 * np.eye(4))
    sparse = vg.MLP(depth=1, width=10, in_features=40, init="sparse(sparsity=0.65, std=2, gain=3)").init(
        dtype="float64"
    )
    weight = sparse.state_dict()["layers.0.weight"]
    assert {*(weight == 0).sum(axis=0)} == {math.ceil(0.65 * 10)}
    assert drawn("sparse(sparsity=0.65, std=2, gain=3)").weight_variance == pytest.approx(36 * 0.3)
    cut = vg.MLP(depth=1, width=50, in_features=50, init="trunc_normal(mean=0.5, std=2, a=-1, b=3, gain=2)")
    weight = cut.init().state_dict()["layers.0.weight"]
    assert -2 <= weight.min() < -1.9
    assert 5.9 < weight.max() <= 6
    linear = vg.MLP(depth=2, width=6, in_features=6, out_features=4, init="looks_linear(gain=2)").init(dtype="float64")
    state = linear.state_dict()
    first, hidden, last = (state[f"{name}.weight"] for name in ("layers.0", "layers.1", "readout"))
    q = hidden[:3, :3]
    np.testing.assert_array_equal(hidden, np.block([[q, -q], [-q, q]]))
    close(q @ q.T, 4 * np.eye(3))
    np.testing.assert_array_equal(first, np.vstack([first[:3], -first[:3]]))
    np.testing.assert_array_equal(last, np.hstack([last[:, :3], -last[:, :3]]))


def test_lsuv_gives_z_variance_one_and_a_gain_falls_out() -> None:
    x = DRAWN.normal(size=(64, 6))
    nets = [
        vg.MLP(depth=2, width=6, in_features=6, init=f"lsuv(gain={gain})").init(dtype="float64", x=x) for gain in (1, 3)
    ]
    weights = [net.state_dict()["layers.0.weight"] for net in nets]
    close(weights[0], weights[1])
    close((x @ weights[0].T).var(), 1.0)
    close(weights[0] @ weights[0].T, np.eye(6) * (weights[0] ** 2).sum() / 6)


def test_a_critical_init_has_the_sigma_w_at_which_chi_is_one() -> None:
    point = vg.theory.critical_point("tanh", sigma_b=0.2)
    found = drawn("critical(sigma_b=0.2, gain=3)")
    close(found.weight_variance, (3 * point.sigma_w) ** 2 / 6)
    close(found.bias_variance, 0.04)


def test_mup_and_fixup_treat_the_readout_and_the_ends_of_branches_as_they_say() -> None:
    plan = Plan.of(vg.MLP(depth=4, width=6, in_features=6, out_features=3, skip="residual", block=2, init="fixup"))
    # L = 2 branches of m = 2 layers.
    variances = [layer.map.weight_variance for layer in plan.layers]
    close(variances, [2 / 6 / 2, 0, 2 / 6 / 2, 0])
    assert plan.readout is not None
    assert plan.readout.weight_variance == 0
    mup = Plan.of(vg.MLP(depth=2, width=6, in_features=6, out_features=3, init="mup")).readout
    assert mup is not None
    close(mup.weight_variance, 1 / 36)
    deep = Plan.of(vg.MLP(depth=4, width=6, in_features=6, skip="residual", block=2, init="depth_mup"))
    close([layer.map.weight_variance for layer in deep.layers], [1 / 6, 1 / 12, 1 / 6, 1 / 12])


# Sources.


def sources() -> Iterable[str]:
    return (part for kind in vg.kinds() for part in kind.source.split("; "))


def test_every_source_is_a_paper_with_its_year_or_a_name_in_a_library() -> None:
    for part in sources():
        assert re.search(r"\b(19|20)\d\d\b", part) or re.match(r"(torch|keras)[.']", part), part
        for number in re.findall(r"arXiv:(\S+?)[,)]?(?:\s|$)", f"{part} "):
            assert re.fullmatch(r"\d{4}\.\d{4,5}", number), part


@pytest.mark.parametrize("library", ["torch", "keras"])
def test_names_in_a_library_are_there(library: str) -> None:
    pytest.importorskip(library)
    names = [re.split(r"[ (]", part)[0] for part in sources() if part.startswith(f"{library}.")]
    assert len(names) > 2
    for name in names:
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name


def test_the_twin_knows_the_same_kinds() -> None:
    assert {*reference.activation.ACTIVATIONS} - {"custom"} == {kind.name for kind in vg.kinds("activation")}


# The page.

DOCS = Path(__file__).parents[1] / "docs"


def script(name: str) -> ModuleType:
    source = importlib.util.spec_from_file_location(f"{name}_page", DOCS / f"{name}.py")
    assert source is not None
    assert source.loader is not None
    module = importlib.util.module_from_spec(source)
    source.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["glossary", "kinds"])
def test_a_page_is_what_its_script_writes(name: str) -> None:
    assert (DOCS / f"{name}.md").read_text(encoding="utf-8") == script(name).page(), f"run make {name}"


def test_the_page_of_kinds_leads_to_the_pictures_of_the_gallery() -> None:
    page = (DOCS / "kinds.md").read_text(encoding="utf-8")
    pictured = vg.kinds("activation") + vg.kinds("init") + vg.kinds("norm") + vg.kinds("skip")
    for kind in (*pictured, *vg.kinds("weight_transform")):
        assert f"[`{kind.name}`](gallery.md#{kind.name.split('(')[0]}" in page, kind.name
    assert page.count("](gallery.md#") == len(pictured) + len(vg.kinds("weight_transform"))
    assert page.count("\n| ") == len(vg.kinds()) + len(_core.FAMILIES)
    assert {line.count("|") for line in page.splitlines() if line.startswith("|")} == {6}


@pytest.mark.parametrize(
    ("given", "label"),
    [
        ("normal(std=1e20)", "normal(std=1e20)"),
        ("normal(std=1.25e300)", "normal(std=1.25e300)"),
        ("normal(mean=-1e-30, std=0.5)", "normal(mean=-1e-30, std=0.5)"),
        ("normal(std=0.001)", "normal(std=0.001)"),
    ],
)
def test_people_read_a_number_by_its_power_of_ten_and_it_is_the_same_kind(
    given: str, label: str, tmp_path: Path
) -> None:
    spec = vg.MLP(depth=2, width=4, init=given)
    assert vg.Init(given).label == label
    assert label in repr(spec)
    assert eval(repr(spec), {"MLP": vg.MLP}) == spec
    assert vg.Init(label) == str(spec.init)
    vg.sweep(vg.MLP(depth=2, width=4), init=[given], seeds=1).save(tmp_path / "cells.csv")
    (cell,) = vg.read_sweep(tmp_path / "cells.csv")
    assert cell.spec.id == spec.id
