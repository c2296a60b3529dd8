"""What the tests of others get: a net that would not train fails them, and says why."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import vgcore as vg
from vgcore.testing import assert_trainable

HEALTHY = vg.MLP(depth=20, width=64)
SICK = vg.MLP(depth=30, width=64, init="xavier_normal")
#: Warned of, not more: 117-fold.
SLOW = vg.MLP(depth=50, width=64, activation="tanh", init="xavier_normal(gain=1.6667)")
#: Worth knowing, not more.
MILD = vg.MLP(depth=50, width=64, activation="tanh", init="xavier_normal")

SUITE = """\
import vgcore as vg

SICK = vg.MLP(depth=30, width=64, init="xavier_normal")


def test_my_net_is_trainable():
    vg.testing.assert_trainable(SICK, seeds=4)


def test_my_other_net_is_trainable():
    vg.testing.assert_trainable(SICK.replace(init="kaiming_normal"), seeds=4)
"""


def test_a_healthy_net_passes_and_its_diagnosis_is_returned() -> None:
    d = assert_trainable(HEALTHY, seeds=4)
    assert isinstance(d, vg.Diagnosis)
    assert d.to_dict() == vg.diagnose(HEALTHY, seeds=4).to_dict()
    assert d.verdict == "healthy"


def test_a_sick_net_fails_with_its_whole_diagnosis() -> None:
    with pytest.raises(AssertionError) as failure:
        assert_trainable(SICK)
    assert str(failure.value) == f"not trainable as it starts:\n{vg.diagnose(SICK)}"
    assert "critical backward_vanishing: dL/dz shrinks 10^" in str(failure.value)


@pytest.mark.parametrize(
    ("spec", "severity"), [(HEALTHY, None), (MILD, "info"), (SLOW, "warning"), (SICK, "critical")], ids=str
)
@pytest.mark.parametrize("fail_on", ["info", "warning", "critical"])
def test_findings_fail_from_the_severity_asked_for(spec: vg.MLP, severity: str | None, fail_on: str) -> None:
    order = (None, "info", "warning", "critical")
    assert vg.diagnose(spec).severity == severity
    if order.index(severity) >= order.index(fail_on):
        with pytest.raises(AssertionError, match="not trainable as it starts"):
            assert_trainable(spec, fail_on=fail_on)
    else:
        assert assert_trainable(spec, fail_on=fail_on).severity == severity


@pytest.mark.parametrize(("wrong", "hint"), [("criticl", "did you mean 'critical'"), ("never", "choose from")])
def test_an_unknown_severity_is_refused_before_anything_is_measured(wrong: str, hint: str) -> None:
    with pytest.raises(ValueError, match=rf"unknown severity '{wrong}'.*{hint}.*info, warning, critical"):
        assert_trainable(vg.MLP(depth=1_000_000, width=1), fail_on=wrong)


def test_options_are_those_of_diagnose() -> None:
    x, y = vg.data.digits()
    spec = HEALTHY.replace(in_features=64, out_features=10)
    d = assert_trainable(spec, x=x, y=y, loss="cross_entropy", batch=32, seeds=3, seed=7, dtype="float64", threads=1)
    assert d.probe is not None
    assert (d.probe.loss, d.probe.batch, d.probe.dtype) == ("cross_entropy", 32, "float64")
    assert d.probe.seeds.tolist() == [7, 8, 9]
    with pytest.raises(TypeError, match="fial_on"):
        assert_trainable(HEALTHY, fial_on="info")


def test_thresholds_decide() -> None:
    assert assert_trainable(SLOW, thresholds={"backward_exploding": 3}).verdict == "healthy"
    with pytest.raises(AssertionError, match="backward_vanishing"):
        assert_trainable(MILD, thresholds={"backward_vanishing": 0.5})


def test_the_rules_of_other_tools_can_be_asked() -> None:
    with pytest.raises(AssertionError, match=r"SageMaker Debugger would say "):
        assert_trainable(SICK.replace(activation="sigmoid"), rules="sagemaker", seeds=2)


def test_explanations_are_part_of_the_message() -> None:
    with pytest.raises(AssertionError, match=r"One\s+layer\s+says\s+little"):
        assert_trainable(SICK, explain=True)


def test_a_network_is_judged_by_its_own_weights() -> None:
    net = HEALTHY.init(seed=0)
    assert assert_trainable(net).verdict == "healthy"
    state = net.state_dict()
    state |= {name: value / 2 for name, value in state.items()}
    with pytest.raises(AssertionError, match=r"vanishing \(both\)"):
        assert_trainable(vg.Network.from_state_dict(HEALTHY, state))


def test_what_was_measured_is_judged_as_it_is() -> None:
    assert_trainable(vg.probe(HEALTHY, seeds=4))
    with pytest.raises(AssertionError, match="vanishing"):
        assert_trainable(vg.probe(SICK, seeds=4))
    with pytest.raises(ValueError, match="seeds: this is measured already"):
        assert_trainable(vg.probe(HEALTHY), seeds=4)


def test_one_sick_cell_fails_a_sweep() -> None:
    assert len(assert_trainable(vg.sweep(HEALTHY, depth=[2, 4, 8], seeds=4)).cells) == 3
    with pytest.raises(AssertionError, match="of 3 cells 2 healthy, 1 vanishing") as failure:
        assert_trainable(vg.sweep(SICK, depth=[2, 4, 30], seeds=4))
    assert re.search(r"\n  vanishing \(both\) +depth 30\n", str(failure.value))


@pytest.mark.parametrize("wrong", ["relu", None, 3])
def test_other_things_are_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"subject must be a Probe, .*, a TrainSweep or runs, got "):
        assert_trainable(wrong)


def test_a_failing_test_of_a_user_shows_the_diagnosis_and_the_users_line_alone(tmp_path: Path) -> None:
    (tmp_path / "test_net.py").write_text(SUITE)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--color=no", "test_net.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=500)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed, 1 passed" in done.stdout
    assert ">       vg.testing.assert_trainable(SICK, seeds=4)\n" in done.stdout
    shown = [line.removeprefix("E").strip() for line in done.stdout.splitlines() if line.startswith("E")]
    assert shown[0] == "AssertionError: not trainable as it starts:"
    assert shown[1:] == [line.strip() for line in str(vg.diagnose(SICK, seeds=4)).splitlines()]
    assert "\ntest_net.py:7: AssertionError\n" in done.stdout
    assert "raise AssertionError" not in done.stdout  # the frame of the helper is hidden
