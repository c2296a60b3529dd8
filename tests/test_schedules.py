"""Schedules: the twin against values worked out by hand and PyTorch's, and the core against the twin."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vgcore as vg
from strategies import over_examples
from vgcore import _core, reference
from vgcore.reference import Plateau


def rates(schedule: str, lr: float, steps: int) -> list[float]:
    """The rate of every step of a run."""
    return [reference.rate(schedule, lr, t, steps) for t in range(1, steps + 1)]


# --- By hand -------------------------------------------------------------------------------------

ROOT = math.sqrt(0.5)
BY_HAND: list[tuple[str, list[float]]] = [
    ("constant", [1, 1, 1]),
    ("linear", [1 / 3, 7 / 15, 9 / 15, 11 / 15, 13 / 15, 1, 1]),
    ("linear(start_factor=1, end_factor=0, total=4)", [1, 0.75, 0.5, 0.25, 0, 0]),
    ("step(size=2)", [1, 1, 0.1, 0.1, 0.01]),
    ("step(size=3, gamma=0.5)", [1, 1, 1, 0.5, 0.5, 0.5, 0.25]),
    ("multistep(first=2)", [1, 1, 0.1, 0.1]),
    ("multistep(first=1, second=3, third=4, gamma=0.5)", [1, 0.5, 0.5, 0.25, 0.125]),
    ("exponential(gamma=0.5)", [1, 0.5, 0.25, 0.125]),
    ("cosine", [1, (1 + ROOT) / 2, 0.5, (1 - ROOT) / 2]),
    ("cosine(eta_min=0.2, period=2)", [1, 0.6, 0.2, 0.6, 1]),
    ("cosine(warmup=2)", [0.5, 1, 1, (1 + ROOT) / 2, 0.5, (1 - ROOT) / 2]),
    ("warmup(steps=4)", [0.25, 0.5, 0.75, 1, 1]),
    ("inverse_sqrt(warmup=2)", [0.5, 1, math.sqrt(2 / 3), ROOT]),
    ("noam(d_model=16, warmup=4)", [1 / 32, 2 / 32, 3 / 32, 4 / 32, 1 / (4 * math.sqrt(5))]),
    ("wsd(warmup=2, decay=3)", [0.5, 1, 1, 1, 2 / 3, 1 / 3]),
]


@pytest.mark.parametrize(("schedule", "values"), BY_HAND, ids=[schedule for schedule, _ in BY_HAND])
def test_the_rates_are_those_worked_out_by_hand(schedule: str, values: list[float]) -> None:
    assert rates(schedule, 1.0, len(values)) == pytest.approx(values, rel=1e-14, abs=1e-16)
    assert rates(schedule.replace("0.2", "0.1"), 0.5, len(values)) == pytest.approx(
        [value / 2 for value in values], rel=1e-14, abs=1e-16
    )


def test_one_cycle_rises_to_the_rate_and_falls_far_below_its_start() -> None:
    steps = 21  # the top is at index 0.3 * 21 - 1 = 5.3
    found = rates("one_cycle", 1.0, steps)
    assert found[0] == pytest.approx(1 / 25, rel=1e-14)
    assert found[5] == pytest.approx(1 - 0.96 / 2 * (1 - math.cos(math.pi * 0.3 / 5.3)), rel=1e-14)
    assert found[-1] == pytest.approx(1 / 25e4, rel=1e-12)
    assert found[:6] == sorted(found[:6])
    assert found[6:] == sorted(found[6:], reverse=True)


def test_momentum_is_low_where_the_rate_of_one_cycle_is_high() -> None:
    found = [reference.momentum("one_cycle(pct_start=0.5)", t, 10) for t in range(1, 11)]
    assert found[0] == pytest.approx(0.95)
    assert found[2] == pytest.approx(0.9)  # halfway to the top, at index 4
    assert found[4] == pytest.approx(0.85)
    assert found[9] == pytest.approx(0.95)
    assert reference.momentum("cosine", 3, 10) is None


@pytest.mark.parametrize(
    "warm", ["warmup(steps=9)", "inverse_sqrt(warmup=9)", "wsd(warmup=9, decay=2)", "cosine(warmup=9)"]
)
def test_the_first_step_of_a_warm_up_is_a_share_and_never_zero(warm: str) -> None:
    assert rates(warm, 1.0, 30)[:3] == pytest.approx([1 / 9, 2 / 9, 3 / 9], rel=1e-14)


# --- Plateau -------------------------------------------------------------------------------------


def readings(plateau: Plateau, losses: list[float]) -> list[float]:
    return [plateau.read(loss) for loss in losses]


def test_a_plateau_lowers_the_rate_after_patience_and_one_bad_readings() -> None:
    # The first reading is the best there is, so that bad ones begin at the second.
    assert readings(Plateau(1.0, patience=2), [5.0] * 8) == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01])
    assert readings(Plateau(1.0, patience=0), [5.0] * 3) == pytest.approx([1, 0.1, 0.01])


def test_better_is_less_than_the_best_by_a_share() -> None:
    # 4.9996 is not 1e-4 below 5, 4.9994 is.
    assert readings(Plateau(1.0, patience=0), [5.0, 4.9996])[-1] == pytest.approx(0.1)
    assert readings(Plateau(1.0, patience=0), [5.0, 4.9994])[-1] == 1
    assert readings(Plateau(1.0, patience=0), [5.0, math.nan])[-1] == pytest.approx(0.1)


def test_while_a_plateau_cools_no_reading_is_bad() -> None:
    found = readings(Plateau(1.0, patience=0, cooldown=2), [5.0] * 7)
    assert found == pytest.approx([1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01])


def test_a_step_of_a_plateau_that_is_less_than_eps_is_not_made() -> None:
    assert readings(Plateau(1e-8, patience=0), [5.0] * 3) == [1e-8] * 3
    assert readings(Plateau(1e-7, patience=0), [5.0] * 3) == pytest.approx([1e-7, 1e-8, 1e-8])


# --- PyTorch -------------------------------------------------------------------------------------

STEPS = 40
OF_TORCH: list[tuple[str, dict[str, Any], str]] = [
    ("LinearLR", {}, "linear"),
    (
        "LinearLR",
        {"start_factor": 0.1, "end_factor": 0.7, "total_iters": 13},
        "linear(start_factor=0.1, end_factor=0.7, total=13)",
    ),
    ("StepLR", {"step_size": 7}, "step(size=7)"),
    ("MultiStepLR", {"milestones": [5, 11, 30], "gamma": 0.3}, "multistep(first=5, second=11, third=30, gamma=0.3)"),
    ("ExponentialLR", {"gamma": 0.9}, "exponential(gamma=0.9)"),
    ("CosineAnnealingLR", {"T_max": STEPS}, "cosine"),
    ("CosineAnnealingLR", {"T_max": 13, "eta_min": 0.01}, "cosine(eta_min=0.01, period=13)"),
    ("OneCycleLR", {"max_lr": 0.3, "total_steps": STEPS}, "one_cycle"),
    (
        "OneCycleLR",
        {
            "max_lr": 0.3,
            "total_steps": STEPS,
            "pct_start": 0.41,
            "div_factor": 10,
            "final_div_factor": 100,
            "base_momentum": 0.5,
            "max_momentum": 0.9,
        },
        "one_cycle(pct_start=0.41, div_factor=10, final_div_factor=100, low_momentum=0.5, high_momentum=0.9)",
    ),
]


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler")
@pytest.mark.parametrize(("name", "given_", "ours"), OF_TORCH, ids=[ours for *_, ours in OF_TORCH])
def test_the_rates_are_those_of_torch(name: str, given_: dict[str, Any], ours: str) -> None:
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.3, momentum=0.7)
    scheduler = getattr(torch.optim.lr_scheduler, name)(optimizer, **given_)
    for t in range(1, STEPS + 1):
        group = optimizer.param_groups[0]
        assert reference.rate(ours, 0.3, t, STEPS) == pytest.approx(group["lr"], rel=1e-12, abs=1e-15), t
        momentum = reference.momentum(ours, t, STEPS)
        assert (0.7 if momentum is None else momentum) == pytest.approx(group["momentum"], rel=1e-12), t
        optimizer.step()
        if t < STEPS:  # OneCycleLR refuses a step more
            scheduler.step()


@over_examples
@given(
    losses=st.lists(st.floats(0, 2), min_size=1, max_size=60),
    patience=st.integers(0, 4),
    cooldown=st.integers(0, 3),
    threshold=st.sampled_from([0.0, 1e-4, 0.1]),
)
def test_a_plateau_is_torchs(losses: list[float], patience: int, cooldown: int, threshold: float) -> None:
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    given: dict[str, Any] = {"factor": 0.5, "patience": patience, "cooldown": cooldown, "threshold": threshold}
    theirs, ours = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **given), Plateau(1.0, **given)
    for loss in losses:
        theirs.step(loss)
        assert ours.read(loss) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)


# --- The core ------------------------------------------------------------------------------------


def trained(schedules: list[Any], steps: int, validate: range = range(0)) -> list[dict[str, Any]]:
    """What the core reports of runs that differ by their schedules."""
    spec = vg.MLP(depth=1, width=3, out_features=2, activation="tanh")
    found: dict[int, dict[str, Any]] = {}
    _core.train(
        [spec] * len(schedules),
        [{"optimizer": "sgd(lr=0.3)", "schedule": s, "clip": None, "noise": 0.0, "rates": None} for s in schedules],
        found.__setitem__,
        x=np.random.default_rng(0).standard_normal((6, 3)),
        y=np.arange(6) % 2,
        loss="cross_entropy",
        validation=None,
        steps=steps,
        until=None,
        batch=6,
        record=[],
        columns=[],
        sharpness=[],
        validate=validate,
        checkpoints=[],
        nonfinite="stop",
        patience=None,
        keep_weights=False,
        resume=None,
        seeds=1,
        seed=0,
        dtype="float64",
        threads=1,
        progress=None,
    )
    return [found[cell] for cell in range(len(schedules))]


ENDS = ["linear(total=0)", "one_cycle(pct_start=0)", "one_cycle(pct_start=0.5)", "one_cycle(pct_start=1)"]
FORMULAS = [schedule for schedule, _ in BY_HAND] + [ours for *_, ours in OF_TORCH] + ENDS


@pytest.mark.parametrize("steps", [1, 2, 7, STEPS])
def test_the_core_uses_the_rates_of_the_twin(steps: int) -> None:
    for schedule, found in zip(FORMULAS, trained(FORMULAS, steps), strict=True):
        np.testing.assert_allclose(found["lr"][0], rates(schedule, 0.3, steps), rtol=1e-12, err_msg=schedule)


def test_a_given_sequence_multiplies_the_rate() -> None:
    factors = np.array([0.5, 2.0, 0.0, 1.0])
    (found,) = trained([factors], 4)
    np.testing.assert_allclose(found["lr"][0], 0.3 * factors, rtol=1e-15)


@pytest.mark.parametrize("every", [1, 3])
def test_a_plateau_of_the_core_reads_the_mean_loss_since_its_last_reading(every: int) -> None:
    given: dict[str, Any] = {"factor": 0.5, "patience": 1, "threshold": 0.2, "cooldown": 1}
    schedule = "plateau(factor=0.5, patience=1, threshold=0.2, cooldown=1)"
    (found,) = trained([schedule], 60, range(every, 61, every))
    plateau, expected = Plateau(0.3, **given), list[float]()
    for t in range(1, 61):
        expected.append(plateau.lr)
        if t % every == 0:
            plateau.read(found["loss"][0, t - every : t].mean())
    np.testing.assert_allclose(found["lr"][0], expected, rtol=1e-12)
    assert len({*expected}) > 3
