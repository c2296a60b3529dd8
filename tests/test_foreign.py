"""Rules of other tools: each fires beyond its threshold and not before, and together they disagree as published."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import vgcore as vg
from vgcore import reference
from vgcore.judge import foreign
from vgcore.judge.finding import SEVERITIES, Finding
from vgcore.judge.foreign import PRESETS, fired, flagged, of_gradients
from vgcore.judge.foreign.seen import Pass, see

Array = npt.NDArray[Any]

RULES = {f"{preset}.{rule.id}": rule for preset, tool in PRESETS.items() for rule in tool.rules}


# --- A pass made by hand, with nothing to report -------------------------------------------------------

BATCH, WIDTH, DEPTH, OUT = 200, 20, 3, 10
KERNELS = ("layers.0.weight", "layers.1.weight", "layers.2.weight", "readout.weight")


def ramp(shape: tuple[int, ...], low: float = -1.0, high: float = 1.0) -> Array:
    return np.linspace(low, high, math.prod(shape), dtype=np.float32).reshape(shape)


def fine() -> Pass:
    names = [*(f"layers.{l}" for l in range(DEPTH)), "readout"]
    shapes = {name: (OUT if name == "readout" else WIDTH, WIDTH) for name in names}
    parameters: dict[str, Array] = {}
    for name, (rows, columns) in shapes.items():
        weight = ramp((rows, columns))
        parameters[f"{name}.weight"] = math.sqrt(2 / WIDTH) / weight.std() * weight  # as He
        parameters[f"{name}.bias"] = np.zeros(rows, np.float32)
    z = np.random.default_rng(0).permutation(ramp((BATCH * WIDTH,), -0.9, 1.0)).reshape(BATCH, WIDTH)
    return Pass(
        parameters=parameters,
        gradients={name: ramp(value.shape, -0.01, 0.01) for name, value in parameters.items()},
        backward={name: ramp((BATCH, shape[0]), -0.01, 0.01) for name, shape in shapes.items()},
        z=(z,) * DEPTH,
        inputs=(z,) * DEPTH,
        a=(np.maximum(z, 0),) * DEPTH,
        activations=("relu",) * DEPTH,
        loss=2.3,
    )


def norm(v: Array) -> float:
    return float(np.linalg.norm(v.astype(np.float64)))


def of_norm(size: float, shape: tuple[int, ...] = (WIDTH, WIDTH)) -> Array:
    return np.full(shape, size / math.sqrt(math.prod(shape)), np.float32)


def with_gradient(value: Array, name: str = "layers.1.weight") -> Pass:
    seen = fine()
    return dataclasses.replace(seen, gradients={**seen.gradients, name: value})


def with_backward(value: Array, name: str = "layers.1") -> Pass:
    seen = fine()
    return dataclasses.replace(seen, backward={**seen.backward, name: value})


def with_weight(scale: float) -> Pass:
    seen = fine()
    name = "layers.1.weight"
    return dataclasses.replace(seen, parameters={**seen.parameters, name: np.float32(scale) * seen.parameters[name]})


def with_signal(signal: str, value: Array, activation: str = "relu") -> Pass:
    """A pass whose layer 1 has this z, input or output."""
    seen = fine()
    tensors = list(getattr(seen, signal))
    tensors[1] = value
    changes: dict[str, Any] = {signal: tuple(tensors), "activations": (activation,) * DEPTH}
    return dataclasses.replace(seen, **changes)


def with_units(signal: str, percent: float, value: float, activation: str = "relu") -> Pass:
    """A pass of which so many units of layer 1 have one value for all samples."""
    changed = getattr(fine(), signal)[1].copy()
    changed[:, : round(percent / 100 * WIDTH)] = value
    return with_signal(signal, changed, activation)


def with_share(signal: str, share: float, value: float) -> Pass:
    """A pass of which so many elements of layer 1 have one value, and the others another that is in order."""
    changed = np.full(BATCH * WIDTH, 0.5, np.float32)
    changed[: round(share * changed.size)] = value
    return with_signal(signal, changed.reshape(BATCH, WIDTH))


def with_lost(tensor: str, count: float) -> Pass:
    lost = 0.01 * ramp((WIDTH, WIDTH))
    lost.ravel()[: int(count)] = math.nan
    return with_gradient(lost) if tensor == "gradient" else with_signal("z", lost)


def first_to_last(ratio: float) -> Pass:
    return with_gradient(of_norm(ratio * norm(fine().gradients["readout.weight"])), "layers.0.weight")


def with_zeros(share: float) -> Pass:
    seen = fine()
    flat = np.concatenate([np.full(value.size, 0.01, np.float32) for value in seen.gradients.values()])
    flat[: round(share * flat.size)] = 0
    ends = np.cumsum([value.size for value in seen.gradients.values()])[:-1]
    pieces = zip(seen.gradients.items(), np.split(flat, ends), strict=True)
    return dataclasses.replace(seen, gradients={name: piece.reshape(old.shape) for (name, old), piece in pieces})


def with_kernels(*sizes: float) -> Pass:
    """A pass whose kernels' gradients have entries of these sizes and mean 0."""
    seen = fine()
    shape = seen.gradients["layers.0.weight"].shape
    signs = np.where(np.arange(WIDTH) % 2, 1, -1).astype(np.float32) * np.ones(shape, np.float32)
    kernels = {name: size * signs for name, size in zip(KERNELS, sizes, strict=True)}
    return dataclasses.replace(seen, gradients={**seen.gradients, **kernels})


def with_total(total: float) -> Pass:
    """A pass of this total norm, a quarter of its square in each kernel."""
    return with_kernels(*(total / 2 / WIDTH for _ in KERNELS))


def with_dead(percent: float) -> Pass:
    seen = fine()
    dead = np.hstack(seen.a)
    dead[:, : round(percent / 100 * WIDTH * DEPTH)] = 0
    return dataclasses.replace(seen, a=tuple(np.hsplit(dead, DEPTH)))


# Of each rule: a pass whose quantity is a given number, one number beyond the threshold, and one just not beyond it.
CASES: dict[str, tuple[Callable[[float], Pass], float, float]] = {
    "sagemaker.VanishingGradient": (lambda v: with_gradient(np.full((WIDTH, WIDTH), v, np.float32)), 0.99e-7, 1.01e-7),
    "sagemaker.ExplodingTensor": (lambda v: with_lost("z", v), 1, 0),
    "sagemaker.PoorWeightInitialization": (
        lambda v: with_signal("inputs", np.float32(math.sqrt(v)) * fine().inputs[1]),
        10.1,
        9.9,
    ),
    "sagemaker.PoorWeightInitialization.distribution_range": (
        lambda v: with_gradient(ramp((WIDTH, WIDTH), 0, v / 0.9)),
        0.99e-3,
        1.01e-3,
    ),
    "sagemaker.DeadRelu": (lambda v: with_units("a", v, 0), 55, 50),
    "sagemaker.SaturatedActivation.tanh": (lambda v: with_units("inputs", v, -9.5, "tanh"), 55, 50),
    "sagemaker.SaturatedActivation.sigmoid": (lambda v: with_units("inputs", v, 17, "sigmoid"), 55, 50),
    "autotrainer.vanish_gradient": (first_to_last, 0.99e-3, 1.01e-3),
    "autotrainer.explode_gradient": (first_to_last, 70.1, 69.9),
    "autotrainer.nan_gradient": (lambda v: with_lost("gradient", v), 1, 0),
    "autotrainer.nan_loss": (lambda v: dataclasses.replace(fine(), loss=v), 1e5, 0.999e5),
    "autotrainer.died_relu": (with_zeros, 0.7, 0.699),
    "torchmortem.gradient_flow.vanishing": (
        lambda v: with_backward(of_norm(v * norm(fine().backward["layers.0"]), (BATCH, OUT)), "readout"),
        100.1,
        99.9,
    ),
    "torchmortem.gradient_flow.exploding": (lambda v: with_backward(of_norm(v, (BATCH, WIDTH))), 1001, 999),
    "torchmortem.gradient_flow.stalling": (lambda v: with_backward(of_norm(v, (BATCH, WIDTH))), 0.99e-8, 1.01e-8),
    "torchmortem.dead_units": (lambda v: with_share("a", v, 0.9e-6), 0.501, 0.5),
    "torchmortem.saturation": (lambda v: with_share("z", v, -0.96), 0.501, 0.5),
    # Entries of the first kernel are so large that the mean of the three ratios is 2 + 8 v.
    "neuroscope.monitor_vanishing_gradients": (
        lambda v: with_kernels(0.01 * math.sqrt(3 * (2 + 8 * v) - 2), 0.01, 0.01, 0.01),
        0.41,
        0.39,
    ),
    "neuroscope.monitor_exploding_gradients": (lambda v: with_total(5 + 5 * v / 0.6), 0.41, 0.39),
    "neuroscope.check_numerical_stability": (lambda v: with_lost("z", v), 1, 0),
    "neuroscope.analyze_weight_init": (with_weight, 2.01, 1.99),
    "neuroscope.monitor_relu_dead_neurons": (with_dead, 100 * 19 / 60, 30),
    "dlcheck.vanishing_gradients": (lambda v: with_gradient(of_norm(v)), 0.99e-7, 1.01e-7),
    "dlcheck.zero_gradients": (
        lambda v: with_gradient((np.arange(1000) >= round(1000 * v)).astype(np.float32)),
        1,
        0.999,
    ),
    "dlcheck.exploding_gradients": (lambda v: with_gradient(of_norm(v)), 1.01e6, 0.99e6),
    "dlcheck.nan_gradients": (lambda v: with_lost("gradient", v), 1, 0),
    "dlcheck.weight_initialization": (
        lambda v: with_weight(v / float(fine().parameters["layers.1.weight"].std(ddof=1, dtype=np.float64))),
        0.99e-6,
        1.01e-6,
    ),
    "dlcheck.dead_activations": (lambda v: with_share("a", v, 0), 0.951, 0.95),
    "dlcheck.saturated_activations.high": (
        lambda v: with_signal("a", np.full((BATCH, WIDTH), -v, np.float32), "tanh"),
        0.951,
        0.949,
    ),
    "dlcheck.saturated_activations.low": (
        lambda v: with_signal("a", np.full((BATCH, WIDTH), -v, np.float32), "tanh"),
        0.049,
        0.051,
    ),
}


@pytest.mark.parametrize("preset", PRESETS)
def test_no_tool_reports_anything_of_a_pass_that_is_in_order(preset: str) -> None:
    assert fired(preset, [fine()]) == ()


def test_every_rule_has_a_case() -> None:
    assert {*CASES} == {*RULES}


@pytest.mark.parametrize("name", RULES)
def test_a_rule_fires_just_beyond_its_threshold_and_not_before(name: str) -> None:
    make, beyond, before = CASES[name]
    hit = RULES[name].test(make(beyond))
    assert hit is not None
    assert hit[0] == pytest.approx(beyond, rel=1e-4)
    assert set(hit[1]) <= {0, 1, 2}
    assert RULES[name].test(make(before)) is None


@pytest.mark.parametrize("name", RULES)
def test_a_finding_names_the_tool_its_number_and_where_that_was_read(name: str) -> None:
    preset = name.partition(".")[0]
    make, beyond, _ = CASES[name]
    finding = next(finding for finding in fired(preset, [make(beyond)]) if finding.rule == name)
    rule = RULES[name]
    assert rule.says in foreign.SAYS
    assert finding.severity in SEVERITIES
    assert finding.threshold == rule.threshold
    assert finding.confidence == 1
    for text in (PRESETS[preset].title, foreign.SAYS[rule.says], rule.quantity, f"{finding.value:.3g}"):
        assert text in finding.evidence
    assert PRESETS[preset].title in finding.remedy
    assert finding.reference.startswith(PRESETS[preset].source)
    assert finding.reference.endswith(("[doc]", "[src]"))


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_says_what_it_leaves_out(preset: str) -> None:
    assert "Over training" in PRESETS[preset].left_out
    assert all(rule.read == ("doc" if preset == "sagemaker" else "src") for rule in PRESETS[preset].rules)


# --- Clauses that one number does not show --------------------------------------------------------------


def test_a_relu_that_is_active_for_one_sample_in_a_hundred_is_alive_to_sagemaker() -> None:
    a = np.zeros((BATCH, WIDTH), np.float32)
    a[:1] = 1
    assert RULES["sagemaker.DeadRelu"].test(with_signal("a", a)) == (100, (1,))
    a[:2] = 1
    assert RULES["sagemaker.DeadRelu"].test(with_signal("a", a)) is None


@pytest.mark.parametrize(("activation", "inside", "outside"), [("tanh", 9.49, 9.51), ("sigmoid", -22.9, -23.1)])
def test_sagemaker_calls_an_input_saturated_by_the_limits_of_its_activation(
    activation: str, inside: float, outside: float
) -> None:
    rule = RULES[f"sagemaker.SaturatedActivation.{activation}"]
    assert rule.test(with_units("inputs", 100, inside, activation)) is None
    assert rule.test(with_units("inputs", 100, outside, activation)) == (100, (1,))
    assert rule.test(with_units("inputs", 100, outside, "relu")) is None


def test_autotrainer_needs_the_first_gradient_to_be_small_too() -> None:
    seen = first_to_last(0.99e-3)
    louder = dataclasses.replace(seen, gradients={name: 2 * value for name, value in seen.gradients.items()})
    assert RULES["autotrainer.vanish_gradient"].test(louder) is None


def test_a_loss_that_is_no_number_is_beyond_autotrainers_limit() -> None:
    assert RULES["autotrainer.nan_loss"].test(dataclasses.replace(fine(), loss=math.nan)) == (math.inf, ())
    assert RULES["autotrainer.nan_loss"].test(dataclasses.replace(fine(), loss=None)) is None


@pytest.mark.parametrize(("rms", "severity"), [(1.01e-5, None), (0.99e-5, 0.4), (1.01e-7, 0.4), (0.99e-7, 0.7)])
def test_neuroscope_has_two_limits_for_the_least_gradient(rms: float, severity: float | None) -> None:
    hit = RULES["neuroscope.monitor_vanishing_gradients"].test(with_kernels(rms, 0.01, 0.01, 0.01))
    assert (hit and hit[0]) == severity


@pytest.mark.parametrize(("total", "fires"), [(8, False), (9.9, True), (10.1, False), (17, True)])
def test_neuroscopes_severity_begins_anew_at_a_norm_of_10(total: float, fires: bool) -> None:
    # Four kernels alike are above 5 each from here on, which adds a little; by the total alone it is red from 14 on.
    assert (RULES["neuroscope.monitor_exploding_gradients"].test(with_total(total)) is not None) == fires


def test_neuroscope_expects_the_init_that_suits_the_activation() -> None:
    rule = RULES["neuroscope.analyze_weight_init"]
    seen = with_weight(0.49)  # of He
    hit = rule.test(seen)
    assert hit is not None
    assert hit[0] == pytest.approx(1 / 0.49, rel=1e-4)
    assert rule.test(dataclasses.replace(seen, activations=("tanh",) * DEPTH)) is None


def test_torchmortem_takes_no_signal_at_all_at_the_first_layer_for_vanishing_but_not_at_the_last() -> None:
    rule = RULES["torchmortem.gradient_flow.vanishing"]
    assert rule.test(with_backward(np.zeros((BATCH, WIDTH), np.float32), "layers.0")) == (math.inf, (0,))
    assert rule.test(with_backward(np.zeros((BATCH, OUT), np.float32), "readout")) is None


def test_norms_underflow_as_in_the_tools() -> None:
    # Every entry is there, but no square: DLCheck finds neither a small norm nor zeros.
    assert fired("dlcheck", [with_gradient(np.full((WIDTH, WIDTH), 1e-30, np.float32))]) == ()


# --- Judging --------------------------------------------------------------------------------------------


def test_a_rule_is_reported_if_it_fires_in_half_of_the_passes_with_the_median_of_those() -> None:
    make = CASES["dlcheck.exploding_gradients"][0]
    small, large, larger = make(1), make(2e6), make(4e6)
    (finding,) = fired("dlcheck", [small, large, small, larger])
    assert (finding.confidence, finding.layers) == (0.5, (1,))
    assert finding.value == pytest.approx(3e6)
    assert finding.evidence.endswith("in 2 of 4 runs.")
    assert fired("dlcheck", [small, large, small]) == ()


def test_layers_are_those_that_show_in_half_of_the_passes_that_do() -> None:
    one, two = (with_gradient(of_norm(2e6), f"layers.{l}.weight") for l in (0, 1))
    both = dataclasses.replace(one, gradients={**two.gradients, "layers.0.weight": of_norm(2e6)})
    assert fired("dlcheck", [both, one, one])[0].layers == (0,)


def test_a_preset_that_is_not_known_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(ValueError, match=r"unknown preset 'neuroscop' \(did you mean 'neuroscope'\?\)"):
        fired("neuroscop", [fine()])
    with pytest.raises(ValueError, match="at least one pass"):
        fired("neuroscope", [])


def finding(rule: str) -> Finding:
    return Finding(rule, "warning", (), 1.0, 1.0, "", "", "")


@pytest.mark.parametrize(
    ("rules", "said", "flags"),
    [
        ([], "healthy", False),
        (["sagemaker.VanishingGradient"], "vanishing", True),
        (["dlcheck.zero_gradients", "dlcheck.exploding_gradients"], "exploding", True),
        (["sagemaker.ExplodingTensor", "sagemaker.VanishingGradient"], "exploding", True),
        (["sagemaker.PoorWeightInitialization"], "healthy", True),
        (["sagemaker.DeadRelu", "torchmortem.saturation"], "healthy", False),
    ],
)
def test_the_verdict_is_by_gradients_and_a_flag_by_these_or_the_init(
    rules: list[str], said: str, *, flags: bool
) -> None:
    findings = [finding(rule) for rule in rules]
    assert (of_gradients(findings), flagged(findings)) == (said, flags)


def test_a_finding_of_ours_has_no_place_in_the_verdict_of_a_tool() -> None:
    with pytest.raises(ValueError, match="unknown foreign rule 'VanishingGradient'"):
        of_gradients([finding("VanishingGradient")])


# --- Measuring ------------------------------------------------------------------------------------------

NETS = [
    vg.MLP(depth=3, width=6, in_features=4, out_features=3),
    vg.MLP(depth=3, width=6, activation="tanh", norm="batch", bias="normal(std=0.1)"),
    vg.MLP(depth=4, width=6, norm="layer", norm_position="post", skip="residual", block=2, out_features=2),
    vg.MLP(depth=3, width=5, activation="prelu", norm="rms", norm_position="post"),
    vg.MLP(depth=3, width=5, skip="highway", activation="sigmoid", out_features=2),
    vg.MLP(depth=3, width=5, tied=True, inputs="every", activation="tanh", out_features=2),
    vg.MLP(depth=2, width=6, activation="crelu", weight_transform="spectral_norm"),
]


@pytest.mark.parametrize("spec", NETS, ids=str)
def test_a_pass_is_that_of_the_net(spec: vg.MLP) -> None:
    net = spec.init(seed=3, dtype="float64")
    x = reference.samples(spec, 3, 16, "float64")
    seen = see(net, x, seed=3)
    shape = net.forward(x).shape
    cotangent = reference.Stream(3, reference.COTANGENT, dtype="float64").normal(shape) / math.sqrt(16)
    expected = net.backward(x, cotangent)
    assert [*seen.gradients] == [*seen.parameters] == [*net.state_dict()]
    for name, gradient in seen.gradients.items():
        np.testing.assert_allclose(gradient, expected.parameters[name], rtol=1e-5, atol=1e-7, err_msg=name)
        assert gradient.dtype == np.float32
    trace = reference.propagate(spec, net.state_dict(), x)
    assert len(seen.z) == len(seen.inputs) == len(seen.a) == len(seen.activations) == spec.depth
    for l in range(spec.depth):
        np.testing.assert_allclose(seen.z[l], trace.z[l].true(), rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(seen.inputs[l], trace.activation_input[l].true(), rtol=1e-5, atol=1e-6)
        if spec.norm_position == "pre":  # the twin's a comes after a normalisation behind the activation
            np.testing.assert_allclose(seen.a[l], trace.a[l].true(), rtol=1e-5, atol=1e-6)
    assert [*seen.backward] == [
        *(["layers.0"] if spec.tied else [f"layers.{l}" for l in range(spec.depth)]),
        *(["readout"] if spec.out_features else []),
    ]
    np.testing.assert_allclose(seen.backward["layers.0"], expected.preactivations[0], rtol=1e-5, atol=1e-7)
    for preset in PRESETS:
        fired(preset, [seen])


def test_outputs_are_those_of_the_activation_before_a_normalisation_behind_it() -> None:
    spec = NETS[2]
    seen = see(spec.init(seed=0), reference.samples(spec, 0, 16, "float64"))
    for inputs, a in zip(seen.inputs, seen.a, strict=True):
        np.testing.assert_array_equal(a, np.maximum(inputs, 0))


def test_inputs_of_an_activation_are_normalised_where_the_net_is() -> None:
    spec = vg.MLP(depth=2, width=8, norm="layer", init="mean_field(sigma_w=5)")
    seen = see(spec.init(seed=0), reference.samples(spec, 0, 16, "float64"))
    assert seen.inputs[1].std() == pytest.approx(1, abs=1e-3)
    assert seen.z[1].std() > 2


def test_the_cotangent_is_the_probes() -> None:
    spec = vg.MLP(depth=4, width=32)
    net, x = spec.init(seed=5), reference.samples(spec, 5, 128, "float32")
    seen = see(net, x, seed=5)
    probe = vg.probe(spec, seeds=1, seed=5)
    norms = [norm(seen.gradients[f"layers.{l}.weight"]) for l in range(4)]
    np.testing.assert_allclose(np.log10(norms), probe.log10_wgrad_norm[0], atol=1e-5)


def test_a_loss_is_evaluated_and_its_gradient_taken() -> None:
    spec = vg.MLP(depth=2, width=8, out_features=3)
    net, x, y = spec.init(seed=0), np.random.default_rng(0).standard_normal((20, 8)), np.arange(20) % 3
    seen = see(net, x, y=y, loss=vg.Loss("cross_entropy", reduction="sum"))
    expected = net.gradients(x.astype(np.float32), y, loss="cross_entropy(reduction=sum)")
    assert seen.loss == pytest.approx(expected.loss, rel=1e-5)
    for name, gradient in seen.gradients.items():
        np.testing.assert_allclose(gradient, expected.parameters[name], rtol=1e-3, atol=1e-4)


def test_a_loss_and_its_targets_come_together() -> None:
    spec = vg.MLP(depth=2, width=4)
    net, x = spec.init(seed=0), np.zeros((3, 4))
    with pytest.raises(ValueError, match="give both or neither"):
        see(net, x, y=x)
    with pytest.raises(ValueError, match="give both or neither"):
        see(net, x, loss="mse")
    with pytest.raises(ValueError, match="give both or neither"):
        see(net, x, y=x, loss="output_sum")
    assert see(net, np.ones((3, 4)), loss="output_sum").loss == pytest.approx(
        spec.init(seed=0).gradients(np.ones((3, 4)), loss="output_sum").loss
    )
    with pytest.raises(ValueError, match=r"unknown loss 'ms' \(did you mean 'mse'\?\)"):
        see(net, x, y=x, loss="ms")


@pytest.mark.parametrize("out", [None, 2])
def test_a_single_layer_is_judged_by_every_tool(out: int | None) -> None:
    spec = vg.MLP(depth=1, width=32, out_features=out)
    seen = see(spec.init(seed=0), reference.samples(spec, 0, 64, "float64"))
    said = {preset: of_gradients(fired(preset, [seen])) for preset in PRESETS}
    said.pop("neuroscope")  # whose limit of norms is not made for a random cotangent
    assert set(said.values()) == {"healthy"}


def verdicts(spec: vg.MLP, x: Array) -> dict[str, str]:
    seen = [see(spec.init(seed=0), x)]
    return {preset: of_gradients(fired(preset, seen)) for preset in PRESETS}


def test_a_net_beyond_float32_explodes_for_whoever_looks_for_what_is_not_finite() -> None:
    spec = vg.MLP(depth=40, width=16, init="mean_field(sigma_w=30)", out_features=2)
    said = verdicts(spec, np.random.default_rng(0).standard_normal((8, 16)))
    assert {tool for tool, word in said.items() if word == "exploding"} >= {"sagemaker", "neuroscope", "dlcheck"}


def test_a_pass_of_what_is_no_number_is_a_result() -> None:
    seen = fine()
    lost: dict[str, Any] = {
        signal: {name: np.full_like(value, math.nan) for name, value in getattr(seen, signal).items()}
        for signal in ("gradients", "backward")
    }
    lost |= {
        signal: tuple(np.full_like(value, math.nan) for value in getattr(seen, signal))
        for signal in ("z", "inputs", "a")
    }
    said = {preset: of_gradients(fired(preset, [dataclasses.replace(seen, **lost)])) for preset in PRESETS}
    # torchmortem compares norms, and none is above or below anything.
    assert said == dict.fromkeys(PRESETS, "exploding") | {"torchmortem": "healthy"}


def test_gradients_of_zero_vanish() -> None:
    said = verdicts(vg.MLP(depth=3, width=8, init="zeros"), np.ones((4, 8)))
    # AUTOTRAINER divides zero by zero, and calls it dead ReLUs. torchmortem sees the gradient at the last map.
    assert said == dict.fromkeys(PRESETS, "vanishing") | {"autotrainer": "healthy"}


# --- What was published of their disagreement -----------------------------------------------------------


def passes(spec: vg.MLP, loss: str, seeds: int) -> list[Pass]:
    """Random data and targets, 128 a batch."""
    found = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((128, 128))
        y = rng.integers(0, 10, 128) if loss.startswith("cross_entropy") else rng.standard_normal((128, 10))
        found.append(see(spec.init(seed=seed), x, y=y, loss=loss))
    return found


def rules(preset: str, seen: list[Pass]) -> set[str]:
    return {finding.rule.partition(".")[2] for finding in fired(preset, seen)}


@pytest.mark.parametrize(
    "init",
    ["mean_field(sigma_w=0.577)", "variance_scaling(scale=0.3333, mode=fan_in, distribution=uniform)"],
)
def test_ten_layers_of_relu_at_torchs_scale_vanish_unseen_by_rules_of_weight_gradients(init: str) -> None:
    seen = passes(vg.MLP(depth=10, width=128, init=init, out_features=10), "cross_entropy", seeds=3)
    # The activations shrink as the backward signal does, so the gradients of all weights are alike.
    norms = [norm(seen[0].gradients[name]) for name in ("layers.0.weight", "layers.9.weight")]
    assert 0.5 < norms[0] / norms[1] < 3
    assert norm(seen[0].backward["layers.0"]) < 1e-3 * norm(seen[0].backward["layers.9"])
    assert rules("autotrainer", seen) == rules("dlcheck", seen) == set()
    assert rules("sagemaker", seen) == {"PoorWeightInitialization", "PoorWeightInitialization.distribution_range"}
    assert rules("neuroscope", seen) == {"monitor_vanishing_gradients", "analyze_weight_init"}
    # torchmortem looks at the gradients of outputs, and sees it.
    assert of_gradients(fired("torchmortem", seen)) == "vanishing"
    assert [of_gradients(fired(tool, seen)) for tool in ("sagemaker", "autotrainer", "dlcheck")] == ["healthy"] * 3


def test_the_sum_over_the_batch_changes_what_absolute_rules_say_of_eight_sigmoid_layers() -> None:
    spec = vg.MLP(depth=8, width=128, activation="sigmoid", init="xavier_normal", out_features=10)
    mean, total = (passes(spec, f"cross_entropy(reduction={reduction})", seeds=3) for reduction in ("mean", "sum"))
    tools = ("sagemaker", "autotrainer", "torchmortem", "neuroscope", "dlcheck")
    assert [of_gradients(fired(tool, mean)) for tool in tools] == ["vanishing"] * 4 + ["healthy"]
    assert [of_gradients(fired(tool, total)) for tool in tools] == [
        "healthy",
        "healthy",
        "vanishing",
        "exploding",
        "healthy",
    ]
    (one,), (two,) = (fired("torchmortem", seen) for seen in (mean, total))
    assert one.value == pytest.approx(two.value, rel=1e-5)
    assert one.value > 1e4


def test_a_healthy_net_of_fifty_layers_raises_false_alarms() -> None:
    spec = vg.MLP(depth=50, width=128, init="kaiming_normal", out_features=10)
    assert 0.97 < vg.probe(spec).factor("backward").value < 1.03
    seen = passes(spec, "half_mse", seeds=8)  # the loss of NeuroScope's own nets
    assert all(of_gradients(fired("neuroscope", [each])) == "exploding" for each in seen)
    # By the drift of a net of finite width, for some seeds only.
    poor = sum("PoorWeightInitialization" in rules("sagemaker", [each]) for each in seen)
    assert 0 < poor < 8
    # Half of all outputs of ReLUs are 0 by design, and of half of all layers a little more.
    (dead,) = (finding for finding in fired("torchmortem", seen) if finding.rule == "torchmortem.dead_units")
    assert dead.confidence == 1
    for each in seen:
        assert 15 <= sum((np.abs(a) < 1e-6).mean() > 0.5 for a in each.a) <= 35
    assert [of_gradients(fired(tool, seen)) for tool in ("autotrainer", "torchmortem", "dlcheck")] == ["healthy"] * 3
