"""Gains of activations: torch's table, or derived from the function itself."""

from __future__ import annotations

from vgcore import _core
from vgcore.model.kind import Activation


def calculate_gain(activation: str | Activation, param: float | str | None = None, *, mode: str | None = None) -> float:
    """The factor on the standard deviation of weights that makes up for an activation.

    Args:
        activation: Name, call such as `"leaky_relu(0.1)"`, or `Activation`.
        param: The activation's first parameter, such as the slope of `leaky_relu` below 0.
        mode: None for the table of `torch.nn.init.calculate_gain`, whose 5/3 for tanh and 3/4 for selu are not
            derived; `"forward"` for `1 / sqrt(E phi(z)^2)`, which keeps unit pre-activations at their size;
            `"backward"` for `1 / sqrt(E phi'(z)^2)`, which keeps gradients at theirs. `z` is standard normal.
            The ratio of the two is the factor a layer that no gain can remove.

    Raises:
        ValueError: For an activation that torch's table lacks, or that lets nothing pass.

    >>> [round(calculate_gain("relu", mode=mode), 4) for mode in (None, "forward", "backward")]
    [1.4142, 1.4142, 1.4142]
    >>> [round(calculate_gain("tanh", mode=mode), 4) for mode in (None, "forward", "backward")]
    [1.6667, 1.5925, 1.4674]
    """
    return _core.calculate_gain(activation, param, mode)
