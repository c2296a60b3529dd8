"""For the tests of others: `assert_trainable`."""

from __future__ import annotations

from typing import Any

from vgcore.judge.diagnose import diagnose
from vgcore.judge.diagnosis import Diagnosis
from vgcore.judge.finding import SEVERITIES
from vgcore.measure.cells import Sweep
from vgcore.measure.result import Probe
from vgcore.model.mlp import MLP
from vgcore.model.names import known
from vgcore.model.network import Network


def assert_trainable(subject: MLP | Network | Probe | Sweep, *, fail_on: str = "warning", **options: Any) -> Diagnosis:
    """Fail a test where a net's signals vanish, explode, saturate, die, collapse or are not finite.

    Args:
        subject: What to judge, as in `diagnose`.
        fail_on: The least severity of a finding that fails: `"info"`, `"warning"` or `"critical"`.
        **options: Of `diagnose`: data, seeds, thresholds and others.

    Returns:
        The diagnosis, for more assertions.

    Raises:
        AssertionError: With the whole diagnosis as its message.

    >>> import vgcore as vg
    >>> vg.testing.assert_trainable(vg.MLP(depth=20, width=64, activation="relu"), seeds=4).verdict
    'healthy'
    """
    __tracebackhide__ = True
    known("severity", fail_on, SEVERITIES)
    judged = diagnose(subject, **options)
    if judged.reaches(fail_on):
        raise AssertionError(f"not trainable as it starts:\n{judged}")
    return judged
