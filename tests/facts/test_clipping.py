"""Clipping by global norm with the digits of torch's rule."""

import numpy as np

import vgcore as vg


def test_a_gradient_of_norm_13_is_scaled_by_a_little_less_than_a_thirteenth() -> None:
    # min(1, c / (|g| + 1e-6)) for g = (3, 4, 12) and c = 1: one division of exact numbers, rounded once each.
    clipped = vg.clip_grad_norm([np.array([3.0, 4.0, 12.0])], 1.0)
    assert clipped.total == 13
    assert clipped.coef == 0.07692307100591762
    assert clipped.coef != 1 / 13
