"""Models of other libraries where a net is taken: probe, diagnose and advise bring them in, and say what was noted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import vgcore as vg
from vgcore.convert.imported import Imported

X = np.random.default_rng(0).standard_normal((100, 8))
Y = np.arange(100) % 3


def fitted(*hidden: int, activation: str = "logistic") -> Any:
    """A classifier of scikit-learn, as good as untrained."""
    network = pytest.importorskip("sklearn.neural_network", reason="scikit-learn is not installed")
    with pytest.warns(UserWarning, match="hasn't converged"):
        return network.MLPClassifier(hidden, activation=activation, max_iter=1, random_state=0).fit(X, Y)


def test_probe_measures_what_the_model_is() -> None:
    model = fitted(16, 16, 16)
    probe = vg.probe(model, x=X, y=Y)
    assert (probe.spec.depth, probe.spec.activation, len(probe.seeds)) == (3, "sigmoid", 1)
    assert probe.network is not None
    np.testing.assert_allclose(probe.network.state_dict()["layers.1.weight"], model.coefs_[1].T)
    blind = np.log(3)
    assert abs(probe.loss_value[0] - blind) < 0.5


def test_diagnose_judges_it_and_tells_what_was_noted() -> None:
    model = fitted(*[32] * 6)
    d = vg.diagnose(model, x=X, y=Y)
    assert (d.verdict, d.direction) == ("vanishing", "backward")
    assert any("softmax" in note for note in d.notes)
    assert f"note: {d.notes[0]}"[:40] in str(d)
    assert d.to_dict()["notes"] == list(d.notes)
    assert str(vg.diagnose(model)) != str(d)  # of samples that are drawn


def test_advise_changes_it() -> None:
    model = fitted(*[32] * 6)
    a = vg.advise(model, x=X, y=Y)
    assert a.before.verdict == "vanishing"
    assert a[0].cures


def test_weights_that_are_not_finite_are_told_of_before_anything_is_brought_in() -> None:
    model = fitted(16, 16)
    model.coefs_[1][:] = np.nan
    d = vg.diagnose(model)
    assert (d.verdict, d.spec) == ("non-finite", None)
    assert "coefs_.1 (nan throughout)" in d.summary
    with pytest.raises(ValueError, match="no net is known that could be changed"):
        vg.advise(d)


def test_what_a_front_end_gave_is_taken_as_it_is() -> None:
    net = vg.MLP(depth=4, width=16).init(seed=0)
    d = vg.diagnose(Imported(net, ("dropout was taken as identity",)), seeds=2)
    assert d.notes == ("dropout was taken as identity",)
    assert d.findings == vg.diagnose(net, seeds=2).findings
    assert vg.probe(Imported(net), seeds=1).network is net


@pytest.mark.parametrize("take", [vg.probe, vg.diagnose, vg.advise])
def test_what_is_no_net_of_any_library_is_refused_with_what_is_known(take: Any) -> None:
    with pytest.raises(TypeError, match=r"subject must be .*, got .*; models of torch, Keras, scikit-learn"):
        take(object())


def test_a_list_of_parts_is_judged_and_not_advised() -> None:
    net = vg.Sequential([*["linear(32)", "sigmoid"] * 12, "linear(3)"], in_features=8)
    d = vg.diagnose(net, explain=True)
    assert (d.verdict, d.direction) == ("vanishing", "backward")
    assert d._repr_html_()
    assert vg.diagnose(net.init(seed=0)).verdict == "vanishing"
    for subject in (net, net.init(seed=0), vg.probe(net, seeds=2), d):
        with pytest.raises(TypeError, match=r"this is a list of parts: vg\.diagnose names remedies"):
            vg.advise(subject)


def test_a_straight_list_of_parts_is_judged_as_the_mlp_that_it_is() -> None:
    parts = vg.Sequential([*["linear(32)", "relu"] * 10, "linear(3)"], in_features=8, init="xavier_normal")
    spec = vg.MLP(depth=10, width=32, in_features=8, out_features=3, init="xavier_normal")
    by_parts, by_spec = vg.diagnose(parts, explain=True), vg.diagnose(spec, explain=True)
    assert (by_parts.summary, by_parts.findings) == (by_spec.summary, by_spec.findings)
