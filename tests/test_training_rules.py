"""Rules over the steps of a training: what each is for, what it leaves alone, and what real nets show."""

import dataclasses
import functools
import itertools
import json
import math
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vgcore as vg
from strategies import over_examples
from vgcore.judge.finding import SEVERITIES, Finding
from vgcore.judge.foreign import PRESETS
from vgcore.judge.foreign.course import Course
from vgcore.judge.training.depths import DEPTH_RULES
from vgcore.judge.training.diagnosis import OUTCOMES, RunDiagnosis
from vgcore.judge.training.evidence import RunEvidence, RunRule, middle, window
from vgcore.judge.training.rules import RUN_RULES
from vgcore.judge.training.rules.losses import plateau, spikes
from vgcore.judge.training.rules.numbers import CAUSES, PHASES, steepest
from vgcore.show.training import OUTCOME
from vgcore.train.run import FirstBad, Run

Array: TypeAlias = npt.NDArray[Any]
Changes: TypeAlias = Mapping[str, Any]

X, Y = vg.data.digits()
ROWS = 300
BY_ID = {rule.id: rule for rule in RUN_RULES}
each_rule = pytest.mark.parametrize("rule", RUN_RULES, ids=[rule.id for rule in RUN_RULES])


def net(**fields: Any) -> vg.MLP:
    given: dict[str, Any] = {"depth": 6, "width": 16, "in_features": 64, "out_features": 10, "activation": "tanh"}
    return vg.MLP(**(given | {"init": "lecun_normal"} | fields))


# A run that is real and well, and others made of it


@functools.cache
def well() -> Run:
    """A net of six hidden layers that learns: two seeds, 200 steps, all of them recorded in full, 40 validations."""
    return vg.train(
        net(), X[:ROWS], Y[:ROWS], optimizer="adam(lr=3e-3)", steps=200, batch=30, seeds=2, monitor="full",
        validation=0.2, validate_every=5,
    )  # fmt: skip


SEEDS, STEPS, LAYERS = 2, 200, 7
BLIND = RunEvidence(well()).blind or math.nan
AT = np.arange(1, STEPS + 1)


def run(**changes: Any) -> Run:
    """The run that is well with some of its numbers replaced; `optimizer` and others of the recipe too."""
    base = well()
    recipe = {name: changes.pop(name) for name in ("optimizer", "clip", "noise", "frozen") if name in changes}
    if "optimizer" in recipe:
        recipe["optimizer"] = vg.Optimizer(recipe["optimizer"])
    return dataclasses.replace(base, recipe=dataclasses.replace(base.recipe, **recipe), **changes)


def of_all(values: Any, shape: tuple[int, ...] = (SEEDS, STEPS, LAYERS)) -> Array:
    return np.broadcast_to(np.asarray(values, dtype=float), shape).copy()


def losses(values: Any) -> Array:
    """A loss that is the same for both seeds, with the noise of minibatches."""
    noise = np.random.default_rng(0).standard_normal((SEEDS, STEPS))
    return np.asarray(values) * np.exp(0.01 * noise)


FALLING = 2.5 * np.exp(-AT / 30) + 0.02
STUCK = losses(np.full(STEPS, 2.9))
RISING = losses(np.where(AT < 120, FALLING, 2.0))
LAYER = np.arange(LAYERS)


def spiked(height: float, steps: int) -> Array:
    found = losses(2.5 * np.exp(-AT / 60) + 0.5)
    found[:, 150 : 150 + steps] *= height
    return found


def lost(phase: str = "backward", step: int = 40) -> Changes:
    curve = losses(FALLING)
    curve[:, step:] = math.nan
    bad = FirstBad(step, 3, "layers.3.weight", phase)
    return {
        "loss": curve,
        "first_bads": (bad, bad),
        "stopped_by": ("non_finite",) * 2,
        "steps_done": np.array([step - 1] * 2),
    }


def validated(values: Any) -> Changes:
    return {"loss": losses(FALLING), "validation_loss": np.tile(values, (SEEDS, 1))}


V = well().validation_steps


@dataclass(frozen=True)
class Case:
    """What a rule is made for, and what it has to leave alone."""

    severity: str
    sick: Changes
    well: Changes
    words: str
    also: Changes = field(default_factory=dict)


CLIPPED = vg.Clip(max_norm=1.0)
BOOSTED = vg.Clip(max_norm=None, min_norm=1.0)
CASES = {
    "not_finite": Case("critical", lost(), {}, "weight of layer 4"),
    "not_trained": Case("critical", {"loss": STUCK}, {"loss": losses(FALLING)}, "times what it was at the start"),
    "blind_guess": Case(
        "critical",
        {"loss": losses(np.maximum(BLIND, 3.0 * np.exp(-AT / 20)))},
        {"loss": losses(np.where(AT < 12, BLIND, FALLING))},
        "to the end",
    ),
    "still_falling": Case(
        "info",
        {"loss": losses(BLIND * (1 - 0.4 * AT / STEPS))},
        {"loss": losses(np.where(AT < 60, BLIND, 0.7 * BLIND))},
        "the loss still falls at the end, by",
    ),
    "slow_early_layers": Case(
        "critical",
        {"loss": STUCK, "log10_update_ratio": of_all(-6 + 0.9 * LAYER)},
        {"loss": STUCK, "log10_update_ratio": of_all(-4 + 0.15 * LAYER)},
        "a typical step moves the first layers by",
    ),
    "gradients_near_zero": Case(
        "critical",
        {"loss": STUCK, "log10_wgrad_norm": of_all(-8.0)},
        {"loss": STUCK, "log10_wgrad_norm": of_all(-2.0)},
        "could take less than 10^-4",
    ),
    "rounded_updates": Case(
        "critical", {"rounded": of_all(0.95)}, {"rounded": of_all(0.1)}, "are the same number after a typical step"
    ),
    "epsilon_rules": Case(
        "critical",
        {"loss": STUCK, "log10_wgrad_norm": of_all(-9.0)},
        {"loss": STUCK, "log10_wgrad_norm": of_all(-3.0)},
        "divides by its size plus eps",
    ),
    "dying_units": Case(
        "critical",
        {"dead": of_all((AT / STEPS)[:, None])},
        {"dead": of_all(0.6)},  # as many from the start: a matter of the net as it starts
        "are 0 for every sample at the end",
    ),
    "rate_too_large": Case("critical", {"loss": RISING}, {"loss": losses(FALLING)}, "the loss rises again"),
    "edge_of_stability": Case(
        "critical",
        {"optimizer": "sgd(lr=0.1)", "loss": STUCK, "sharpness_steps": AT[::20], "sharpness": of_all(50.0, (2, 10))},
        {"optimizer": "sgd(lr=0.1)", "loss": STUCK, "sharpness_steps": AT[::20], "sharpness": of_all(5.0, (2, 10))},
        "times the largest on which such steps are stable",
        {"lr": of_all(0.1, (SEEDS, STEPS))},
    ),
    "loss_spike": Case("warning", {"loss": spiked(8, 5)}, {"loss": spiked(2, 5)}, "jumps"),
    "clipping_binding": Case(
        "warning",
        {"clip": CLIPPED, "clipped": of_all(AT <= 150, (2, STEPS)), "clip_coef": of_all(0.2, (2, STEPS))},
        {"clip": CLIPPED, "clipped": of_all(AT % 40 == 0, (2, STEPS)), "clip_coef": of_all(0.2, (2, STEPS))},
        "it is the step limiter, not the safety net",
    ),
    "boost_binding": Case(
        "warning",
        {"clip": BOOSTED, "loss": STUCK, "log10_boost": of_all(9.0, (2, STEPS))},
        {"clip": BOOSTED, "loss": STUCK, "log10_boost": of_all(0.0, (2, STEPS))},
        "raises a tensor's gradient at 100% of the steps",
    ),
    "over_fit": Case(
        "critical",
        validated(np.where(V < 60, 2.5 - 0.025 * V, 1.0 + 0.01 * (V - 60))),
        validated(2.5 * np.exp(-V / 60) + 0.2),
        "the validation loss is lowest at step",
    ),
    "stopped_early": Case(
        "info",
        {"stopped_by": ("early_stopping", "steps"), "steps_done": np.array([120, 200]), "best_step": np.array([70, 9])},
        {},
        "no reading was better than that of step 70",
    ),
}


def found(d: RunDiagnosis, rule: str) -> Finding | None:
    return next((finding for finding in d.findings if finding.rule == rule), None)


def finding(d: RunDiagnosis, rule: str) -> Finding:
    hit = found(d, rule)
    assert hit is not None, f"{rule} is silent: {d}"
    return hit


def test_a_run_that_is_well_is_left_alone() -> None:
    d = vg.diagnose(well())
    assert (d.verdict, d.conditions, d.reaches("warning")) == ("trained", (), False)
    assert d.summary.startswith("trained: loss ")
    assert f"a blind guess: {BLIND:.4g}" in d.summary


def test_every_rule_has_a_case() -> None:
    assert {*CASES} == {*BY_ID}


@each_rule
def test_a_rule_speaks_of_what_it_is_for(rule: RunRule) -> None:
    case = CASES[rule.id]
    hit = finding(vg.diagnose(run(**case.also, **case.sick)), rule.id)
    assert hit.severity == case.severity
    assert case.words in hit.evidence
    assert hit.value >= hit.threshold == rule.thresholds[hit.severity]
    assert (hit.remedy, hit.reference) == (rule.remedy, rule.reference)
    assert all(1 <= step <= STEPS for step in hit.steps)
    assert list(hit.steps) == sorted(hit.steps)
    assert math.isnan(hit.confidence) or 0 <= hit.confidence <= 1


@each_rule
def test_a_rule_leaves_its_sibling_alone(rule: RunRule) -> None:
    case = CASES[rule.id]
    assert found(vg.diagnose(run(**case.also, **case.well)), rule.id) is None


@each_rule
def test_a_rule_is_told_whole(rule: RunRule) -> None:
    for words in (rule.quantity, rule.why, rule.reference, rule.wrong, rule.remedy, rule.formula):
        assert len(words) > 3
    assert [*rule.thresholds] == [s for s in SEVERITIES if s in rule.thresholds]
    assert sorted(rule.thresholds.values()) == [*rule.thresholds.values()]
    assert {*rule.picture} <= {each.name for each in dataclasses.fields(Run)}


@each_rule
def test_an_explanation_has_the_formula_and_the_numbers_of_the_run(rule: RunRule) -> None:
    case = CASES[rule.id]
    hit = finding(vg.diagnose(run(**case.also, **case.sick), explain=True), rule.id)
    assert hit.explanation.startswith(f"{rule.formula}.\n")
    assert f"When this is wrong: {rule.wrong}" in hit.explanation
    assert hit.picture == rule.picture


@each_rule
def test_a_threshold_beyond_the_value_silences_a_rule(rule: RunRule) -> None:
    case = CASES[rule.id]
    sick = run(**case.also, **case.sick)
    value = finding(vg.diagnose(sick), rule.id).value
    level = value * 1.01 if math.isfinite(value) else 1e300
    silenced = found(vg.diagnose(sick, thresholds={rule.id: {"info": level}}), rule.id)
    assert silenced is None or math.isinf(value)


def test_sums_over_the_batch_are_judged_as_means() -> None:
    for rule, case in CASES.items():
        one = run(**case.also, **case.sick)
        other = dataclasses.replace(
            one,
            loss=30 * one.loss,
            validation_loss=30 * one.validation_loss,
            log10_wgrad_norm=one.log10_wgrad_norm + math.log10(30),
            log10_grad_norm=one.log10_grad_norm + math.log10(30),
            loss_name="cross_entropy(reduction=sum)",
        )
        if rule == "epsilon_rules":  # eps is no share of anything: that is what it says
            continue
        hits = [finding(vg.diagnose(each), rule) for each in (one, other)]
        assert hits[0].severity == hits[1].severity
        assert hits[0].value == pytest.approx(hits[1].value, rel=1e-6)


# What each says


@pytest.mark.parametrize("phase", ["forward", "loss", "backward", "moment", "update"])
def test_the_producer_of_what_is_not_finite_is_named_with_its_step(phase: str) -> None:
    d = vg.diagnose(run(**lost(phase)))
    hit = finding(d, "not_finite")
    assert hit.steps == (40,)
    assert "2 of 2 runs" in hit.evidence
    assert "at step 40" in hit.evidence
    assert ("weight of layer 4" in hit.evidence) == (phase != "loss")
    assert d.verdict == "non-finite"
    assert {*PHASES} == {*CAUSES}


def test_a_value_that_is_not_finite_at_the_first_step_is_the_nets() -> None:
    assert "it is the net as it starts" in finding(vg.diagnose(run(**lost("forward", 1))), "not_finite").evidence


def skipping(steps: Array, **changes: Any) -> Run:
    """The run that is well, or another, whose two seeds skipped some steps: nothing is known of them."""
    base = run(**changes)
    names = ("loss", "log10_grad_norm", "clip_coef", "log10_boost", "clipped")
    gone = {name: getattr(base, name).copy() for name in names}
    for values in gone.values():
        values[:, steps - 1] = math.nan
    at = np.isin(base.steps, steps)
    for name in base.monitor:
        gone[name] = getattr(base, name).copy()
        gone[name][:, at] = math.nan
    bad = FirstBad(int(steps[0]), 0, "z", "forward")
    training = dataclasses.replace(base.training, nonfinite="skip")
    return dataclasses.replace(base, **gone, training=training, first_bads=(bad, bad))


#: Steps that a run skips: single ones, and two stretches.
GONE = np.array([4, 16, *range(50, 58), 101, *range(120, 125), 188])


def test_a_run_that_skipped_steps_is_judged_by_those_it_took() -> None:
    d = vg.diagnose(skipping(GONE))
    hit = finding(d, "not_finite")
    assert (d.verdict, hit.severity, hit.steps) == ("trained", "warning", (4, 188))
    assert "at step 4; 17 of 200 steps were skipped, the last of them step 188" in hit.evidence
    assert "in 200 steps" in d.summary
    assert d.summary.endswith("34 of 400 steps skipped, the first at step 4")


def test_one_bad_row_hides_nothing_of_what_was_learnt() -> None:
    x = X[:ROWS].copy()
    x[7] = 3e38
    spec = net(depth=3, activation="relu", init="kaiming_normal")
    trained = vg.train(spec, x, Y[:ROWS], optimizer="adam(lr=0.01)", steps=120, batch=50, nonfinite="skip")
    gone = np.flatnonzero(np.isnan(trained.loss[0])) + 1
    d = vg.diagnose(trained)
    assert (len(gone), d.verdict) == (20, "trained")
    assert f"in 120 steps (a blind guess: 2.302); 20 of 120 steps skipped, the first at step {gone[0]}" in d.summary


def test_a_run_is_non_finite_where_its_final_loss_is_inf() -> None:
    for last in (9, 10, 11):
        skips = skipping(AT[STEPS - last :])
        assert (vg.diagnose(skips).verdict == "non-finite") == np.isinf(skips.final_loss).all() == (last >= 10)


def test_the_rules_of_other_tools_see_what_came_after_a_skipped_step() -> None:
    course = Course(skipping(np.array([3, *range(6, 11)])), 0)
    assert len(course.loss) == STEPS - 6
    validation, training = course.readings
    np.testing.assert_array_equal(
        validation, np.delete(well().validation_loss[0], 1)
    )  # all steps before it were skipped
    assert training[0] == pytest.approx(well().loss[0, [0, 1, 3, 4]].mean())
    np.testing.assert_array_equal(training[1:], well().loss[0, 10:].reshape(-1, 5).mean(axis=1))


def test_a_run_that_skips_all_of_its_last_steps_is_lost() -> None:
    d = vg.diagnose(skipping(AT[60:]))
    assert (d.verdict, finding(d, "not_finite").severity) == ("non-finite", "critical")
    never = vg.diagnose(skipping(AT))
    assert never.verdict == "non-finite"
    assert "never finite" in never.summary


def test_a_step_that_is_skipped_for_its_gradient_is_counted_and_keeps_its_loss() -> None:
    one = skipping(np.array([1]), loss=losses(FALLING))
    norms = one.log10_grad_norm.copy()
    norms[:, 1:60] = math.inf
    d = vg.diagnose(dataclasses.replace(one, log10_grad_norm=norms, loss=losses(FALLING)))
    assert "120 of 400 steps skipped, the first at step 1" in d.summary
    assert d.summary.startswith(vg.diagnose(run(loss=losses(FALLING))).summary)


def test_a_gradient_that_is_zero_is_no_skipped_step() -> None:
    zero = dataclasses.replace(skipping(GONE[:1]), log10_grad_norm=of_all(-math.inf, (SEEDS, STEPS)))
    assert "2 of 400 steps skipped" in vg.diagnose(zero).summary


@pytest.mark.parametrize("rule", sorted({*CASES} - {"not_finite", "edge_of_stability", "stopped_early"}))
def test_a_rule_finds_the_same_steps_where_others_were_skipped(rule: str) -> None:
    case = CASES[rule]
    given = {**case.also, **case.sick}
    whole, parted = (finding(vg.diagnose(each), rule) for each in (run(**given), skipping(GONE[:2], **given)))
    assert parted.severity == whole.severity
    assert parted.value == pytest.approx(whole.value, rel=0.1)
    assert np.abs(np.subtract(parted.steps, whole.steps)).max(initial=0) <= 2


@pytest.mark.parametrize("acts", [AT > 60, AT <= 120])
def test_since_when_clipping_acts_is_told_in_steps_of_the_run(acts: Array) -> None:
    how: Changes = {"clip": CLIPPED, "clipped": of_all(acts, (2, STEPS)), "clip_coef": of_all(0.5, (2, STEPS))}
    hit = finding(vg.diagnose(skipping(GONE, **how)), "clipping_binding")
    assert ("from step 61 to the end" if acts[-1] else "up to step 119, and seldom") in hit.evidence


def test_noise_beyond_the_dtype_is_the_noise_and_not_the_net() -> None:
    given: dict[str, Any] = {"steps": 3, "batch": 30}
    hit = finding(vg.diagnose(vg.train(net(), X[:ROWS], Y[:ROWS], noise=1e300, **given)), "not_finite")
    assert "the noise on the bias of the readout is the first that is not finite, at the first step" in hit.evidence
    assert "10^150.0, is more than float32 can hold" in hit.evidence
    assert "the net as it starts" not in hit.evidence


def test_noise_that_the_dtype_holds_is_not_blamed() -> None:
    first = lost("backward", 1)
    assert "it is the net as it starts" in finding(vg.diagnose(run(**first, noise=0.1)), "not_finite").evidence
    assert "the noise on the weight of layer 4" in finding(vg.diagnose(run(**first, noise=1e80)), "not_finite").evidence


def test_clipping_of_boosted_gradients_is_told_with_what_they_are_boosted_to() -> None:
    small = net(activation="sigmoid", init="xavier_normal")
    how: dict[str, Any] = {"optimizer": "sgd(lr=0.03)", "steps": 60, "batch": 30}
    trained = vg.train(small, X[:ROWS], Y[:ROWS], clip=vg.Clip(1.0, min_norm=1.0), **how)
    hit = finding(vg.diagnose(trained), "clipping_binding")
    raised = 1 / float(np.median(trained.clip_coef))
    assert raised == pytest.approx(14**0.5, rel=1e-3)  # 14 tensors of a norm of 1
    assert f"it is min_norm=1 that raises it to {raised:.3g} before it is clipped" in hit.evidence
    assert "; before boosts and clipping the norm has the median" in hit.evidence
    assert "of gradients that min_norm raises, a smaller min_norm" in hit.remedy
    apart = finding(vg.diagnose(run(**CASES["clipping_binding"].sick)), "clipping_binding")
    assert "; before clipping the norm has the median" in apart.evidence
    assert "min_norm" not in apart.evidence


def test_the_remedy_of_a_run_that_stopped_early_is_what_resume_does() -> None:
    given: dict[str, Any] = {"optimizer": "adam(lr=0.1)", "steps": 500, "batch": 30, "validation": 0.2}
    stopped = vg.train(net(depth=2), X[:ROWS], Y[:ROWS], **given, validate_every=5, early_stopping=1)
    remedy = finding(vg.diagnose(stopped), "stopped_early").remedy
    assert "run.resume(steps) goes on for so many steps, and counts readings anew" in remedy
    later = stopped.resume(9)
    assert (later.steps_done - stopped.steps_done).tolist() == [9]
    assert found(vg.diagnose(later), "stopped_early") is None


def test_a_summary_leaves_to_the_findings_what_they_say() -> None:
    for rule, case in CASES.items():
        d = vg.diagnose([run(**case.also, **case.sick)] * 2)
        assert finding(d, rule).evidence not in d.summary


def test_a_plateau_that_is_left_is_worth_knowing_and_says_until_when() -> None:
    d = vg.diagnose(run(loss=losses(np.where(AT < 80, BLIND, BLIND * np.exp(-(AT - 80) / 20) + 0.01))))
    hit = finding(d, "blind_guess")
    assert (hit.severity, d.verdict) == ("info", "trained")
    assert 75 <= hit.steps[1] <= 95
    assert f"until step {hit.steps[1]}" in hit.evidence


def test_a_plateau_begins_where_the_loss_gets_there() -> None:
    curve = np.maximum(BLIND, 8.0 * np.exp(-AT / 20))
    there = plateau(curve, BLIND)
    assert there is not None
    assert there.ends
    assert abs(there.first - int(np.argmax(curve <= 1.1 * BLIND))) <= 15
    assert plateau(np.full(STEPS, 0.5 * BLIND), BLIND) is None


def test_an_optimiser_that_undoes_a_constant_factor_is_told_of() -> None:
    case = CASES["clipping_binding"].sick
    adam, sgd = (finding(vg.diagnose(run(**case, optimizer=kind)), "clipping_binding") for kind in ("adam", "sgd"))
    assert "adam undoes a factor that stays the same" in adam.evidence
    assert "undoes" not in sgd.evidence
    assert adam.value == sgd.value == 0.75
    assert adam.steps == (1, 150)


@pytest.mark.parametrize(
    ("acts", "words"),
    [
        (AT > 0, "from step 1 to the end"),
        (AT > 60, "from step 61 to the end"),
        (AT <= 120, "up to step 120, and seldom after it"),
        (AT % 2 == 0, "between steps 2 and 200"),
    ],
)
def test_clipping_is_told_with_since_when(acts: Array, words: str) -> None:
    d = vg.diagnose(run(clip=CLIPPED, clipped=of_all(acts, (2, STEPS)), clip_coef=of_all(0.5, (2, STEPS))))
    assert words in finding(d, "clipping_binding").evidence


def test_a_boost_that_is_capped_has_no_end() -> None:
    d = vg.diagnose(run(clip=vg.Clip(max_norm=None, min_norm=1.0, max_boost=1e3), log10_boost=of_all(3.0, (2, STEPS))))
    hit = finding(d, "boost_binding")
    assert hit.value == math.inf
    assert hit.severity == "info"  # as it trains all the same
    assert "it wanted more than the 10^3.0 that it may" in hit.evidence


def test_a_spike_names_its_step_and_the_replay_of_it() -> None:
    hit = finding(vg.diagnose(run(loss=spiked(8, 5))), "loss_spike")
    assert 151 <= hit.steps[0] <= 155
    assert f"run.replay({hit.steps[0]})" in hit.evidence
    assert hit.value == pytest.approx(8, rel=0.2)


def test_one_step_that_is_high_is_a_hard_batch_unless_all_rows_are_in_it() -> None:
    curve = spiked(8, 1)[0]
    assert [each.lasts for each in spikes(curve, 0.1, sure=False)] == [False]
    assert [each.lasts for each in spikes(curve, 0.1, sure=True)] == [True]
    assert finding(vg.diagnose(run(loss=spiked(8, 1))), "loss_spike").severity == "info"


def test_what_rose_first_before_a_spike_is_said_first() -> None:
    grown = of_all(-2.0, (SEEDS, STEPS, LAYERS))
    grown[:, 145:] += 1  # the update norm at step 146, the loss at 151, the gradient at 153
    norms = of_all(0.0, (SEEDS, STEPS))
    norms[:, 152:] += 2
    d = vg.diagnose(run(loss=spiked(8, 5), log10_update_norm=grown, log10_grad_norm=norms))
    assert "update norm at 146, then loss at 151, then gradient norm at 153" in finding(d, "loss_spike").evidence


def test_a_loss_that_has_arrived_may_jump() -> None:
    arrived = losses(2.5 * np.exp(-AT / 10) + 1e-4)
    arrived[:, 150:155] *= 20
    assert found(vg.diagnose(run(loss=arrived)), "loss_spike") is None


def test_layers_that_are_not_to_move_are_not_slow() -> None:
    ratios = of_all(-3.0)
    ratios[:, :, :2] = -np.inf
    assert found(vg.diagnose(run(log10_update_ratio=ratios)), "slow_early_layers") is not None
    frozen = run(log10_update_ratio=ratios, frozen=("layers.0", "layers.1"))
    assert found(vg.diagnose(frozen), "slow_early_layers") is None


def test_gradients_are_not_near_zero_because_the_loss_has_arrived() -> None:
    late = np.where(AT < 120, -1.0, -8.0)[:, None]
    arrived = run(loss=losses(2.5 * np.exp(-AT / 15) + 0.02), log10_wgrad_norm=of_all(late))
    assert found(vg.diagnose(arrived), "gradients_near_zero") is None
    assert found(vg.diagnose(run(loss=STUCK, log10_wgrad_norm=of_all(late))), "gradients_near_zero") is not None


def test_what_trains_all_the_same_has_no_critical_gradients() -> None:
    d = vg.diagnose(run(log10_wgrad_norm=of_all(-8.0)))
    assert finding(d, "gradients_near_zero").severity == "info"
    assert finding(d, "epsilon_rules").severity == "info"


def test_epsilon_is_no_matter_where_it_is_relative() -> None:
    sick = CASES["epsilon_rules"].sick
    assert found(vg.diagnose(run(**sick, optimizer="adam(scale_free=true)")), "epsilon_rules") is None
    assert found(vg.diagnose(run(**sick, optimizer="sgd")), "epsilon_rules") is None


@over_examples
@given(
    lr=st.floats(1e-4, 1.0),
    momentum=st.floats(0.1, 0.95),
    nesterov=st.booleans(),
    inside=st.booleans(),
)
def test_the_limit_of_stability_is_that_of_a_quadratic(
    lr: float, momentum: float, nesterov: bool, inside: bool
) -> None:
    limit = steepest("sgd", {"momentum": momentum, "dampening": 0.0, "nesterov": nesterov}, lr)
    a = limit * (0.99 if inside else 1.01)
    # The companion matrix of (w, v) under v' = m v + a w, w' = w - lr (a w + m v') or w - lr v'.
    step = (
        np.array([[1 - lr * a * (1 + momentum), -lr * momentum**2], [a, momentum]])
        if nesterov
        else np.array([[1 - lr * a, -lr * momentum], [a, momentum]])
    )
    assert (np.abs(np.linalg.eigvals(step)).max() < 1) == inside


def test_adaptive_optimisers_have_no_limit_of_stability() -> None:
    case = CASES["edge_of_stability"]
    assert found(vg.diagnose(run(**{**case.also, **case.sick, "optimizer": "adam"})), "edge_of_stability") is None
    assert steepest("adam", {}, 0.1) is None


def test_a_net_that_was_trained_before_has_nothing_to_lose() -> None:
    assert found(vg.diagnose(run(loss=losses(np.full(STEPS, 0.02)))), "not_trained") is None


def test_a_loss_that_fell_a_little_is_learning() -> None:
    d = vg.diagnose(run(loss=losses(BLIND * (1 - 0.2 * AT / STEPS))))
    assert (d.verdict, d.reaches("warning")) == ("learning", False)


def test_a_loss_that_may_be_below_zero_says_nothing_of_shares() -> None:
    d = vg.diagnose(run(loss=-losses(AT), loss_name="output_sum"))
    assert {finding.rule for finding in d.findings} <= {
        "clipping_binding",
        "dying_units",
        "rounded_updates",
        "over_fit",
    }


# Verdicts, words, plain values


def test_every_verdict_has_a_colour() -> None:
    assert {*OUTCOME} == {*OUTCOMES}


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "trained"),
        ({"loss": STUCK}, "stuck"),
        ({"loss": RISING}, "diverged"),
        (lost(), "non-finite"),
    ],
)
def test_the_verdict_is_what_came_of_it(changes: Changes, verdict: str) -> None:
    d = vg.diagnose(run(**changes))
    assert d.verdict == verdict
    assert d.word.startswith(verdict)


def test_a_run_of_one_seed_and_few_steps_is_judged() -> None:
    for steps in (1, 2, 3, 5):
        d = vg.diagnose(vg.train(net(depth=1), X[:20], Y[:20], steps=steps, batch=5))
        assert d.verdict in OUTCOMES
        assert str(d)


def test_a_run_that_records_nothing_is_judged_by_its_loss() -> None:
    d = vg.diagnose(vg.train(net(activation="sigmoid"), X[:ROWS], Y[:ROWS], steps=60, monitor=(), record=[1]))
    assert {finding.rule for finding in d.findings} <= {"blind_guess", "not_trained", "loss_spike", "rate_too_large"}


def test_a_diagnosis_reads_as_what_it_is() -> None:
    d = vg.diagnose(run(**CASES["slow_early_layers"].sick), explain=True)
    text = str(d)
    assert text.startswith("stuck: loss ")
    assert "critical slow_early_layers: " in text
    assert "(layers 1-" in text
    assert "log10_update_ratio, " in text
    assert all(len(line) <= 110 for line in text.splitlines())
    html = d._repr_html_()
    assert html.startswith('<div class="vgcore">')
    assert html.count("<div ") == html.count("</div>")
    assert "slow_early_layers" in html
    assert repr(d).startswith("RunDiagnosis('stuck, ")


def test_a_diagnosis_is_plain_values() -> None:
    d = vg.diagnose(run(**CASES["slow_early_layers"].sick))
    plain = json.loads(json.dumps(d.to_dict()))
    assert plain["verdict"] == "stuck"
    assert plain["findings"][0]["rule"] == d.findings[0].rule
    assert plain["findings"][0]["steps"] == list(d.findings[0].steps)
    assert "cells" not in plain


def test_a_diagnosis_can_be_pickled() -> None:
    d = vg.diagnose(run(**CASES["slow_early_layers"].sick))
    again = pickle.loads(pickle.dumps(d))
    assert (again.word, again.findings, str(again)) == (d.word, d.findings, str(d))


def test_findings_are_the_most_severe_first() -> None:
    d = vg.diagnose(run(loss=STUCK, log10_wgrad_norm=of_all(-8.0), rounded=of_all(0.6), clip=CLIPPED))
    order = [SEVERITIES.index(finding.severity) for finding in d.findings]
    assert order == sorted(order, reverse=True)


@pytest.mark.parametrize("options", [{"x": X}, {"y": Y}, {"loss": "mse"}, {"batch": 3}, {"seeds": 3}, {"threads": 1}])
def test_what_is_trained_already_takes_no_data(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="this is trained already"):
        vg.diagnose(well(), **options)


def test_unknown_rules_and_thresholds_are_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown rule 'blind_gues' \(did you mean 'blind_guess'\?\)"):
        vg.diagnose(well(), thresholds={"blind_gues": 1})
    with pytest.raises(ValueError, match="unknown rule set 'mine'"):
        vg.diagnose(well(), rules="mine")
    with pytest.raises(ValueError, match="thresholds are those of vgcore's rules"):
        vg.diagnose(well(), rules="sagemaker", thresholds={"blind_guess": 1})
    with pytest.raises(TypeError, match="a TrainSweep or runs"):
        vg.diagnose([])


def test_levels_are_means_over_a_twentieth_of_a_long_run() -> None:
    assert [window(steps) for steps in (1, 8, 40, 100, 1000, 10_000)] == [1, 2, 10, 20, 50, 500]
    assert middle(np.array([-math.inf, -math.inf, 3.0])) == -math.inf


ODD = np.array([math.nan, math.inf, -math.inf, 0.0, -1e300, 1e300, -320.0, 300.0, 1e-300, -3.0, 0.5, 1.0, 2.3])
EVEN = np.array([0.0, 0.02, 0.5, 1.0, 2.3, 2.9])


@over_examples
@given(seed=st.integers(0, 2**32), rare=st.sampled_from([0.0, 0.02, 0.5, 1.0]), kind=st.sampled_from(["sgd", "adam"]))
def test_no_run_is_too_odd_to_be_judged(seed: int, rare: float, kind: str) -> None:
    draw = np.random.default_rng(seed)

    def odd(shape: tuple[int, ...]) -> Array:
        return np.where(draw.random(shape) < rare, draw.choice(ODD, shape), draw.choice(EVEN, shape))

    columns = {
        each.name: odd(getattr(well(), each.name).shape)
        for each in dataclasses.fields(Run)
        if isinstance(getattr(well(), each.name), np.ndarray) and getattr(well(), each.name).dtype == np.float64
    }
    columns |= {"sharpness_steps": AT[::20], "sharpness": odd((SEEDS, 10)), "lr": np.abs(odd((SEEDS, STEPS)))}
    bad = FirstBad(int(draw.integers(1, STEPS)), 0, "z", "forward")
    ended: dict[str, Any] = {"stopped_by": ("non_finite", "early_stopping"), "first_bads": (bad, None)}
    sick = run(**columns, **ended, optimizer=kind, clip=vg.Clip(max_norm=1.0, min_norm=1e-3))
    d = vg.diagnose(sick, explain=True)
    assert d.verdict in OUTCOMES
    assert str(d)
    assert d._repr_html_()
    for preset in PRESETS:
        assert str(vg.diagnose(sick, rules=preset))


# Several runs


def family(*depths: int, ends: Mapping[int, float]) -> list[Run]:
    runs = []
    for depth in depths:
        curve = losses(ends[depth] + (2.5 - ends[depth]) * np.exp(-AT / 20))
        runs.append(run(spec=net(depth=depth), loss=curve))
    return runs


def without_layers(runs: list[Run]) -> list[Run]:
    """Runs of other depths whose columns say nothing."""
    found = []
    for each in runs:
        layers = (*(f"layers.{l}" for l in range(each.spec.depth)), "readout")
        nothing: dict[str, Any] = {
            name: np.full((SEEDS, STEPS, len(layers)), math.nan)
            for name in ("log10_weight_norm", "log10_wgrad_norm", "log10_update_norm", "log10_update_ratio", "rounded",
                         "dead", "births", "revivals")
        }  # fmt: skip
        found.append(dataclasses.replace(each, layers=layers, **nothing))
    return found


def test_a_deeper_net_that_ends_higher_is_told_beside_the_shallow_one() -> None:
    runs = without_layers(family(2, 4, 8, ends={2: 0.3, 4: 0.1, 8: 1.5}))
    d = vg.diagnose(runs)
    hit = finding(d, "deeper_is_worse")
    assert (hit.severity, d.conditions[0]) == ("critical", "deeper is worse")
    assert "8 layers end at a training loss of 1.5 where 4 end at 0.1" in hit.evidence
    assert hit.value == pytest.approx(1.4 / BLIND, rel=0.02)
    assert len(d.cells) == 3
    assert d.run is None
    assert str(d).count("depth ") >= 3
    assert [cell.spec.depth for cell in d.cells] == [2, 4, 8]


def test_a_deeper_net_that_ends_no_higher_is_left_alone() -> None:
    assert found(vg.diagnose(without_layers(family(2, 4, 8, ends={2: 0.3, 4: 0.1, 8: 0.1}))), "deeper_is_worse") is None


def test_each_depth_is_compared_at_its_best_rate() -> None:
    good = without_layers(family(2, 8, ends={2: 0.1, 8: 0.1}))
    bad = [dataclasses.replace(each, loss=STUCK) for each in good[1:]]
    other = [dataclasses.replace(each, recipe=run(optimizer="adam(lr=1)").recipe) for each in bad]
    assert found(vg.diagnose([*good, *other]), "deeper_is_worse") is None
    assert found(vg.diagnose([good[0], *bad]), "deeper_is_worse") is not None


def test_nets_that_differ_in_more_than_depth_are_not_compared() -> None:
    shallow, deep = without_layers(family(2, 8, ends={2: 0.1, 8: 1.5}))
    other = dataclasses.replace(deep, spec=net(depth=8, activation="relu"))
    assert found(vg.diagnose([shallow, other]), "deeper_is_worse") is None


def test_a_threshold_of_depth_is_one_as_others_are() -> None:
    runs = without_layers(family(2, 8, ends={2: 0.1, 8: 1.5}))
    assert found(vg.diagnose(runs, thresholds={"deeper_is_worse": 5.0}), "deeper_is_worse") is None
    assert {rule.id for rule in DEPTH_RULES} & {*BY_ID} == set()


# Real nets


def trained(spec: vg.MLP, **options: Any) -> RunDiagnosis:
    return vg.diagnose(vg.train(spec, X, Y, **options))


def wide(**fields: Any) -> vg.MLP:
    return net(width=64, **fields)


def test_a_deep_sigmoid_net_is_stuck_at_a_blind_guess_with_slow_early_layers() -> None:
    d = trained(wide(depth=6, activation="sigmoid", init="xavier_normal"), optimizer="sgd(lr=0.1)", steps=300)
    assert d.verdict == "stuck"
    assert finding(d, "blind_guess").severity == "critical"
    assert finding(d, "slow_early_layers").value > 2
    assert finding(d, "slow_early_layers").layers[0] == 0


def test_a_plateau_is_found_in_a_hundred_steps() -> None:
    spec = wide(depth=6, activation="sigmoid", init="xavier_normal")
    d = trained(spec, optimizer="sgd(lr=0.1, momentum=0.9)", steps=100)
    assert finding(d, "blind_guess").severity == "critical"


def test_thirty_relu_layers_of_xavier_stall_where_those_of_he_train() -> None:
    options: dict[str, Any] = {"optimizer": "sgd(lr=0.002, momentum=0.9)", "steps": 200, "record": 10}
    xavier = trained(wide(depth=30, activation="relu", init="xavier_normal"), **options)
    assert xavier.verdict == "stuck"
    assert finding(xavier, "gradients_near_zero").severity in {"warning", "critical"}
    assert finding(xavier, "rounded_updates").severity in {"warning", "critical"}
    he = trained(wide(depth=30, activation="relu", init="kaiming_normal"), **options)
    assert he.verdict in {"trained", "learning"}
    assert not he.reaches("warning")


def test_tiny_steps_of_float32_are_rounded_away_and_those_of_float64_are_not() -> None:
    spec = wide(depth=3, activation="relu", init="kaiming_normal")
    options: dict[str, Any] = {"optimizer": "sgd(lr=1e-8)", "steps": 50}
    assert finding(trained(spec, **options), "rounded_updates").severity in {"warning", "critical"}
    assert found(trained(spec, dtype="float64", **options), "rounded_updates") is None


def test_units_die_of_a_large_rate() -> None:
    spec = wide(depth=4, activation="relu", init="kaiming_normal")
    hit = finding(trained(spec, optimizer="adam(lr=0.1)", steps=150, monitor="full", record=5), "dying_units")
    assert hit.severity in {"warning", "critical"}
    assert found(trained(spec, steps=150, monitor="full", record=5), "dying_units") is None


def test_clipping_far_below_the_norm_is_the_step_limiter() -> None:
    spec = wide(depth=3, activation="relu", init="kaiming_normal")
    assert (
        finding(trained(spec, optimizer="sgd(lr=0.1)", steps=100, clip=0.1), "clipping_binding").severity == "warning"
    )
    assert found(trained(spec, optimizer="sgd(lr=0.1)", steps=100, clip=1e3), "clipping_binding") is None


def test_boosting_trains_a_sigmoid_net_of_six_layers_and_is_told_of() -> None:
    spec = wide(depth=6, activation="sigmoid", init="xavier_normal")
    boost = vg.Clip(max_norm=None, min_norm=1.0)
    d = trained(spec, optimizer="sgd(lr=0.03, momentum=0.9)", steps=600, clip=boost, record=20)
    assert d.verdict == "trained"
    hit = finding(d, "boost_binding")
    assert (hit.severity, 1 < hit.value < 6) == ("info", True)


def test_full_batch_descent_rises_to_the_edge_of_stability_and_diverges_beyond_it() -> None:
    x, y = X[:200], np.eye(10)[Y[:200]]
    spec = vg.MLP(depth=2, width=24, in_features=64, out_features=10, activation="tanh", init="lecun_normal")
    options: dict[str, Any] = {"loss": "half_mse", "batch": 200, "sharpness": 20, "dtype": "float64"}
    edge = vg.diagnose(vg.train(spec, x, y, optimizer="sgd(lr=0.2)", steps=400, **options))
    hit = finding(edge, "edge_of_stability")
    assert (hit.severity, 0.9 < hit.value < 1.2) == ("info", True)
    beyond = vg.diagnose(vg.train(spec, x, y, optimizer="sgd(lr=0.5)", steps=60, **options))
    assert beyond.verdict in {"diverged", "non-finite"}
    assert finding(beyond, "edge_of_stability").value > 1.2


def test_a_net_too_steep_for_its_rate_is_not_finite_and_the_producer_is_named() -> None:
    spec = wide(depth=10, activation="relu", init="mean_field(sigma_w=2)")
    d = trained(spec, optimizer="sgd(lr=1)", steps=50)
    hit = finding(d, "not_finite")
    assert d.verdict == "non-finite"
    assert hit.steps[0] < 20
    assert finding(d, "rate_too_large").value == math.inf


def test_classes_drawn_at_random_are_over_fitted() -> None:
    y = np.random.default_rng(0).integers(0, 10, 100)
    spec = wide(depth=2, activation="relu", init="kaiming_normal")
    d = vg.diagnose(vg.train(spec, X[:100], y, optimizer="adam(lr=3e-3)", steps=300, validation=0.3))
    assert finding(d, "over_fit").severity == "critical"


def test_deeper_sigmoid_nets_are_worse_in_a_sweep() -> None:
    base = wide(depth=1, activation="sigmoid", init="xavier_normal")
    s = vg.train_sweep(base, X, Y, optimizer="sgd(lr=0.1, momentum=0.9)", steps=300, depth=[1, 6])
    d = vg.diagnose(s)
    hit = finding(d, "deeper_is_worse")
    assert hit.severity == "critical"
    assert [cell.verdict for cell in d.cells] == ["trained", "stuck"]


def test_adam_moves_a_gradient_below_epsilon_only_where_epsilon_is_relative() -> None:
    spec = net(depth=20, width=16, activation="sigmoid", init="xavier_normal")
    plain, free = (trained(spec, optimizer=f"adam(lr=1e-3{more})", steps=60) for more in ("", ", scale_free=true"))
    assert 0 in finding(plain, "epsilon_rules").layers
    assert found(free, "epsilon_rules") is None
    hit = found(free, "slow_early_layers")
    assert hit is None or hit.severity == "info"


# What is healthy is left alone

HEALTHY = [
    *itertools.product(
        (("relu", "kaiming_normal"), ("tanh", "lecun_normal"), ("gelu", "kaiming_normal"), ("selu", "lecun_normal")),
        ("sgd(lr=0.05)", "sgd(lr=0.02, momentum=0.9)", "adam(lr=1e-3)", "adam(lr=3e-3)"),
        (1, 3, 6),
    )
]


@pytest.mark.parametrize("optimizer", ["sgd(lr=0.05)", "sgd(lr=0.02, momentum=0.9)", "adam(lr=1e-3)", "adam(lr=3e-3)"])
def test_healthy_runs_get_no_warning(optimizer: str) -> None:
    count = 0
    for (activation, init), kind, depth in HEALTHY:
        if kind != optimizer:
            continue
        spec = net(depth=depth, width=32, activation=activation, init=init)
        d = trained(spec, optimizer=kind, steps=200, monitor="full", validation=0.2, record=10, clip=100.0)
        assert d.verdict in {"trained", "learning"}
        assert not d.reaches("warning"), f"{activation} {depth}: {d}"
        count += 1
    assert count == 12


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_healthy_runs_on_few_rows_and_noisy_batches_get_no_warning(activation: str) -> None:
    draw = np.random.default_rng(0).standard_normal
    x = draw((256, 8))
    y = np.sin(x[:, :1]) + x[:, 1:2] * x[:, 2:3] / 2
    y = (y - y.mean()) / y.std()
    rings = draw((400, 2))
    inside = (np.hypot(rings[:, 0], rings[:, 1]) > 1.1).astype(int)
    for optimizer, depth in itertools.product(("sgd(lr=0.02, momentum=0.9)", "adam(lr=3e-3)"), (2, 4)):
        for samples, targets, outputs in ((x, y, 1), (rings, inside, 2)):
            spec = vg.MLP(
                depth=depth, width=32, in_features=samples.shape[1], out_features=outputs, activation=activation
            )
            d = vg.diagnose(vg.train(spec, samples, targets, optimizer=optimizer, steps=300, batch=16, monitor="full"))
            assert not d.reaches("warning"), str(d)


# Time rules of other tools


def course(**changes: Any) -> Course:
    return Course(run(**changes), 0)


ACCURACY = np.tile(np.linspace(0.1, 0.95, len(V)), (SEEDS, 1))
RULES = {f"{name}.{rule.id}": rule for name, tool in PRESETS.items() for rule in tool.over_time}

Made: TypeAlias = Callable[[float], Changes]


def ratio_of(value: float) -> Changes:
    update = of_all(math.log10(value))
    return {"log10_update_norm": update, "log10_weight_norm": of_all(0.0), "log10_update_ratio": update}


def unchanged(value: float) -> Changes:
    size = 1e-8 * 16 + 1e-5  # of a layer of 16 x 16 weights with norm 1
    update = of_all(1.0)
    update[:, 50:53, 2] = math.log10(value * size)
    return {"log10_update_norm": update, "log10_weight_norm": of_all(0.0)}


def falls_by(percent: float) -> Changes:
    """A loss that falls by 1 % in 10 steps, and once by so much."""
    checks = 2.5 * 0.99 ** np.arange(20)
    checks[10:] *= (1 - percent / 100) / 0.99
    return {"loss": np.tile(np.repeat(checks, 10), (SEEDS, 1))}


def gap(value: float) -> Changes:
    loss = np.ones((SEEDS, STEPS))
    return {"loss": loss, "validation_loss": np.full((SEEDS, len(V)), 1 + value)}


def waits(value: float) -> Changes:
    """A loss that falls by 0.02 a step, and once does not for so many steps."""
    curve = 10 - 0.02 * np.minimum(AT, np.maximum(100, AT - int(value)))
    curve[100 + int(value) < AT] -= 0.02
    return {"loss": np.tile(curve, (SEEDS, 1))}


def waits_to_validate(value: float) -> Changes:
    at = np.arange(len(V))
    curve = 10 - 0.02 * np.where(at <= 10, at, np.where(at <= 10 + value, 10, at))
    return {"validation_loss": np.tile(curve, (SEEDS, 1))}


def weights_grow(value: float) -> Changes:
    return {"log10_weight_norm": of_all(np.linspace(0, math.log10(value), STEPS)[:, None])}


def weights_change(value: float) -> Changes:
    return {"log10_weight_norm": of_all(np.linspace(0, math.log10(1 + value), STEPS)[:, None])}


def weights_differ(value: float) -> Changes:
    return {"log10_weight_norm": of_all(np.where(LAYER == 2, math.log10(value), 0.0))}


def accuracies(values: Any) -> Changes:
    return {"validation_accuracy": np.tile(values, (SEEDS, 1))}


def gradient_of_first(ratio: float, size: float) -> Changes:
    norms = np.zeros(LAYERS)
    norms[0], norms[-1] = math.log10(size), math.log10(size / ratio)
    return {"log10_wgrad_norm": of_all(norms)}


#: A run by the value of each rule, where one number makes it.
MADE: dict[str, Made] = {
    "sagemaker.WeightUpdateRatio.large_threshold": ratio_of,
    "sagemaker.WeightUpdateRatio.small_threshold": ratio_of,
    "sagemaker.UnchangedTensor": unchanged,
    "sagemaker.LossNotDecreasing": falls_by,
    "sagemaker.Overfit": gap,
    "sagemaker.Overtraining.patience_train": waits,
    "sagemaker.Overtraining.patience_validation": waits_to_validate,
    "torchmortem.update_ratio.low_threshold": ratio_of,
    "torchmortem.update_ratio.high_threshold": ratio_of,
    "torchmortem.weight_norm.explosion_factor": weights_grow,
    "torchmortem.weight_norm.stagnation_threshold": weights_change,
    "torchmortem.weight_norm.imbalance_factor": weights_differ,
    "autotrainer.not_converge": lambda v: accuracies(np.linspace(0.1, v, len(V))),
    "autotrainer.sc_accuracy": lambda v: accuracies(0.8 + v * (np.arange(len(V)) > 5)),
    "autotrainer.vanish_gradient": lambda v: gradient_of_first(v, 5e-5),
    "autotrainer.explode_gradient": lambda v: gradient_of_first(v, 1.0),
    "dlcheck.vanishing_grad_threshold": lambda v: {"log10_wgrad_norm": of_all(math.log10(v))},
    "dlcheck.exploding_grad_threshold": lambda v: {"log10_wgrad_norm": of_all(math.log10(v))},
}
#: A run that fires, and one that does not, where a rule is no one number.
PAIRS: dict[str, tuple[Changes, Changes]] = {
    **{
        name: (lost(), {})
        for name in (
            "sagemaker.ExplodingTensor",
            "autotrainer.nan_loss",
            "dlcheck.nan_gradients",
            "neuroscope.check_numerical_stability",
        )
    },
    "autotrainer.unstable_loss": (accuracies(0.8 + 0.05 * (np.arange(len(V)) % 2)), accuracies(ACCURACY[0])),
    "torchmortem.loss_dynamics.divergence": ({"loss": of_all(1.05**AT, (2, STEPS))}, {"loss": losses(FALLING)}),
    "torchmortem.loss_dynamics.plateau_threshold": ({"loss": of_all(1.0, (2, STEPS))}, {"loss": losses(FALLING)}),
    "torchmortem.loss_dynamics.edge_of_stability": tuple(
        {"lr": of_all(0.1, (2, STEPS)), "sharpness_steps": AT[::20], "sharpness": of_all(sharp, (2, 10))}
        for sharp in (19.0, 9.0)
    ),  # type: ignore[dict-item]
    "dlcheck.unstable_learning_threshold_min": (
        {"log10_wgrad_norm": of_all(-9.0), "log10_weight_norm": of_all(0.0)},
        {},
    ),
    "dlcheck.unstable_learning_threshold_max": (
        {"log10_wgrad_norm": of_all(6.0), "log10_weight_norm": of_all(0.0)},
        {},
    ),
    "dlcheck.untrained_params": ({"log10_update_norm": of_all(-np.inf)}, {}),
    "dlcheck.loss_consistency": ({"loss": of_all(1.0, (2, STEPS))}, {"loss": losses(FALLING)}),
    "neuroscope.monitor_overfitting": (
        validated(0.5 + 0.1 * np.arange(len(V))),
        {"loss": losses(FALLING), "validation_loss": np.tile(2.5 * np.exp(-V / 30) + 0.02, (SEEDS, 1))},
    ),
}


def test_every_time_rule_has_a_case() -> None:
    assert {*MADE} | {*PAIRS} == {*RULES}
    assert {*MADE} & {*PAIRS} == set()


@pytest.mark.parametrize("name", MADE)
def test_a_time_rule_fires_just_beyond_its_threshold_and_not_before(name: str) -> None:
    rule, make = RULES[name], MADE[name]
    more, less = (
        (rule.threshold + 1, rule.threshold) if "patience" in name else (1.02 * rule.threshold, 0.98 * rule.threshold)
    )
    beyond, before = (less, more) if rule.sign == "<" else (more, less)
    hit = rule.test(course(**make(beyond)))
    assert hit is not None
    assert hit[0] == pytest.approx(beyond, rel=2e-3)
    assert rule.test(course(**make(before))) is None


@pytest.mark.parametrize("name", PAIRS)
def test_a_time_rule_tells_two_runs_apart(name: str) -> None:
    sick, fine = PAIRS[name]
    assert RULES[name].test(course(**sick)) is not None
    assert RULES[name].test(course(**fine)) is None


@pytest.mark.parametrize("preset", PRESETS)
def test_a_tool_judges_a_run_by_its_own_rules(preset: str) -> None:
    d = vg.diagnose(well(), rules=preset)
    assert d.rules == preset
    assert {finding.rule for finding in d.findings} <= {*RULES}
    assert d.summary.startswith(f"{PRESETS[preset].title} would say ")
    assert f"judged by the published rules of {preset}" in str(d)
    assert PRESETS[preset].unlike
    assert vg.diagnose(run(**lost()), rules=preset).verdict in {"non-finite", "stuck", "diverged", "trained"}


def test_tools_see_that_a_value_is_not_finite() -> None:
    words = {preset: vg.diagnose(run(**lost()), rules=preset).verdict for preset in PRESETS}
    assert {preset for preset, word in words.items() if word == "non-finite"} == {*PRESETS} - {"torchmortem"}


def test_sagemakers_loss_does_not_decrease_in_any_run_of_minibatches() -> None:
    d = vg.diagnose(well(), rules="sagemaker")
    assert "sagemaker.LossNotDecreasing" in {finding.rule for finding in d.findings}


def test_a_tool_judges_one_run_at_a_time() -> None:
    with pytest.raises(ValueError, match="sagemaker judges one run at a time"):
        vg.diagnose([well(), well()], rules="sagemaker")


@pytest.mark.parametrize("changes", [{"loss": losses(FALLING)}, lost(), {"loss": losses(FALLING)[:, ::-1]}])
def test_a_summary_and_the_run_tell_the_same_losses(changes: dict[str, Any]) -> None:
    judged = run(**changes)
    ends = [each[len(each) // 2] for each in np.sort([judged.first_loss, judged.final_loss])]
    words = [f"{loss:.4g}" if math.isfinite(loss) else "not finite" for loss in ends]
    assert f"loss {words[0]} to {words[1]} in " in vg.diagnose(judged).summary
    told = judged.summary()[1:]
    assert all(" -> " in line and "inf" not in line for line in told)
