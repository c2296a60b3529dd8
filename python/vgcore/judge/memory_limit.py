"""How far back a recurrent net sees: `memory_limit` -> `DepthLimit`."""

from __future__ import annotations

from typing import Any

from vgcore.judge.depth_limit import DepthLimit, depth_limit
from vgcore.judge.evidence import Evidence
from vgcore.judge.rules import RULES
from vgcore.measure.probe import probe
from vgcore.measure.result import Probe
from vgcore.model.rnn import RNN


def memory_limit(subject: Any) -> DepthLimit:
    """How far back the gradient of a loss at the last step gets: the `depth_limit` of a diagnosis, counted in steps.

    It is told of dL/dc where the cell has a c, else of dL/dh, of the layer next to the readout: from the last step
    back, as far as it stays within 32-fold of what it is there, and no farther than `truncate` lets it.

    Args:
        subject: A `Probe` of an `RNN`; or what `probe` takes, which is measured first.

    Raises:
        ValueError: Where the net is not an `RNN`, has a readout at every step, whose gradients add up, has one step
            alone that sees the loss, or where no run was finite.

    >>> import vgcore as vg
    >>> net = vg.RNN(40, 64, cell="lstm(forget_bias=0)", init="torch_rnn", recurrent_init="torch_rnn")
    >>> print(memory_limit(net))
    7 steps (7 to 7) keep dL/dc within 32-fold
    """
    p = subject if isinstance(subject, Probe) else probe(subject)
    spec = p.spec
    if not isinstance(spec, RNN):
        raise ValueError(f"memory_limit is told of an RNN, got {spec!r}; of other nets diagnose tells the depth_limit")
    if spec.outputs != "last":
        raise ValueError("memory_limit is told of a loss at the last step: outputs='every' has one at each")
    e = Evidence(p)
    if e.steps_of("backward") < e.per:
        raise ValueError("a series of one step has no memory to be measured; give the net more steps")
    limit = depth_limit(e, RULES)
    if limit is None:
        raise ValueError(f"no run of {spec!r} has a gradient at every step")
    return limit
