"""Presets of the explorer: what their texts say is measured."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

import vgcore as vg
from vgcore.explore.presets import PRESETS, Preset
from vgcore.explore.reply import measured
from vgcore.explore.request import Request

BY_ID = {preset.id: preset for preset in PRESETS}


class Seen:
    """What the page shows of a preset with some fields changed."""

    def __init__(self, name: str, **changes: str | float) -> None:
        fields: dict[str, Any] = {**BY_ID[name].request, **changes}
        request = Request(**fields)
        self.spec, self.batch = request.spec, request.batch
        self.probe, _ = measured(request)
        diagnosis = vg.diagnose(self.probe)
        self.verdict, self.direction, self.summary = diagnosis.verdict, diagnosis.direction, diagnosis.summary

    def factor(self, signal: Any) -> float:
        return round(self.probe.factor(signal).value, 2)

    def decades(self, column: str) -> float:
        """From the first layer to the last, a mean over nets."""
        values = getattr(self.probe, column).mean(axis=0)
        return float(values[-1] - values[0])

    @property
    def correlation(self) -> float:
        return float(self.probe.correlation[:, -1].mean())


def numbers_of(preset: Preset) -> list[str]:
    return [word.strip(".,:") for word in preset.text.split() if word[0].isdigit()]


def then(name: str, **changes: str | float) -> Seen:
    return Seen(name, **BY_ID[name].then, **changes)


def test_presets_are_the_six_of_the_page() -> None:
    assert [preset.id for preset in PRESETS] == ["sigmoid", "chaos", "he", "residual", "batch", "norms"]
    assert all(preset.title and preset.button and preset.text.count(".") >= 2 for preset in PRESETS)


@pytest.mark.parametrize("preset", PRESETS, ids=[*BY_ID])
def test_theory_says_what_a_preset_shows(preset: Preset) -> None:
    for fields in (preset.request, {**preset.request, **preset.then}):
        seen = Seen(preset.id, **fields)
        predicted = vg.theory.predict(seen.spec, batch=seen.batch).factor("backward")
        assert seen.probe.factor("backward").value == pytest.approx(predicted, rel=0.02)


def test_sigmoid_vanishes_and_tanh_does_not() -> None:
    seen, other = Seen("sigmoid"), then("sigmoid")
    assert (seen.verdict, seen.factor("backward"), round(seen.decades("log10_delta_rms"))) == ("vanishing", 0.23, 12)
    assert -1 / 3 < seen.decades("log10_z_rms") < 0
    assert (other.verdict, other.factor("backward")) == ("healthy", 0.92)
    assert numbers_of(BY_ID["sigmoid"]) == ["0.23", "20", "12", "0.92"]


def test_the_edge_of_chaos_lies_between_two_ways_to_fail() -> None:
    edge, below, above = Seen("chaos"), Seen("chaos", sigma_w=0.7), Seen("chaos", sigma_w=2.0)
    assert vg.theory.critical_point("tanh", sigma_b=0.05).sigma_w == pytest.approx(1.12, abs=0.005)
    assert edge.verdict == "healthy"
    assert 0 < edge.decades("log10_delta_rms") < 1
    assert (below.verdict, below.direction) == ("vanishing", "backward")
    assert below.correlation > 0.99
    assert (above.verdict, above.direction) == ("exploding", "backward")
    assert abs(above.correlation) < 0.05
    assert BY_ID["chaos"].then == {"sigma_w": 2.0}
    assert numbers_of(BY_ID["chaos"]) == ["1.12", "50", "0.7", "1", "2", "0"]


def test_he_saves_relu() -> None:
    xavier, he = Seen("he"), then("he")
    assert (xavier.verdict, xavier.direction) == ("vanishing", "both")
    assert [xavier.factor(signal) for signal in ("forward", "backward")] == pytest.approx([0.7, 0.7], abs=0.02)
    assert he.summary == "healthy: dL/dz keeps its size over 50 layers"
    assert abs(he.decades("log10_z_rms")) < 0.5
    assert numbers_of(BY_ID["he"]) == ["0.7", "0.7", "50"]
    small, large = (vg.theory.predict(each.spec).sigma_w[-1] for each in (xavier, he))
    assert (large / small) ** 2 == pytest.approx(2)


def test_residual_branches_need_a_scale() -> None:
    full, scaled = Seen("residual"), then("residual")
    assert (full.verdict, full.direction, scaled.verdict) == ("exploding", "both", "healthy")
    assert re.findall(r"(\S+) grows \S+ over 30 layers \(x(\S+) a layer\)", full.summary + scaled.summary) == [
        *(("dL/dh", "1.61"), ("h", "1.7"), ("dL/dh", "1.03"))
    ]
    assert full.probe.log10_a_rms[:, 0].mean() == pytest.approx(0, abs=0.05)  # of samples whose rms is 1
    assert round(1 / math.sqrt(30), 2) == BY_ID["residual"].then["branch_scale"]
    assert numbers_of(BY_ID["residual"]) == ["1.7", "1.61", "1/sqrt(L)", "0.18", "30", "1.03"]


def test_batch_norm_explodes_whatever_the_scale_of_weights() -> None:
    batch, layer = Seen("batch"), then("batch")
    assert (batch.verdict, batch.direction, batch.factor("backward")) == ("exploding", "backward", 1.22)
    assert abs(batch.decades("log10_z_rms")) < 0.3
    assert (layer.verdict, layer.factor("backward")) == ("healthy", 1.0)
    for sigma_w in (0.5, 1.0, 5.0):
        other = Seen("batch", init="mean_field", sigma_w=sigma_w, sigma_b=0.0)
        assert (other.verdict, other.factor("backward")) == ("exploding", 1.22)
    assert numbers_of(BY_ID["batch"]) == ["1.22", "1.00"]


def test_pre_norm_and_post_norm_differ_in_likeness_and_without_a_skip_in_gradients() -> None:
    post, pre = Seen("norms"), then("norms")
    assert (post.verdict, pre.verdict) == ("healthy", "healthy")
    assert "dL/dh grows 12.3-fold over 50 layers (x1.05 a layer)" in post.summary
    assert "dL/dh keeps its size" in pre.summary
    assert abs(post.correlation) < 0.1
    assert pre.correlation > 0.95
    post, pre = Seen("norms", skip="none"), then("norms", skip="none")
    assert (post.verdict, post.factor("backward"), pre.verdict) == ("exploding", 1.24, "healthy")
    assert "dL/dz keeps its size" in pre.summary
    assert numbers_of(BY_ID["norms"]) == ["1.05", "1.24"]
