"""Advice for recurrent nets and transformers: each change is run, and what it says is what the run gave."""

import math
from typing import Any

import numpy as np
import pytest

import vgcore as vg
from vgcore.cure.candidates import KEPT, Candidates
from vgcore.cure.remedies import REMEDIES
from vgcore.model.sorts import fields_of

FORGETS = vg.RNN(60, 32, in_features=4, cell="lstm(forget_bias=0)", init="torch_rnn", recurrent_init="torch_rnn")


def limit(d: vg.Diagnosis) -> float:
    assert d.depth_limit is not None
    return d.depth_limit.value


def decades(d: vg.Diagnosis) -> float:
    assert d.evidence is not None
    return d.evidence.backward.rms


def proposed(spec: vg.RNN | vg.Transformer, keep: tuple[str, ...] = ()) -> list[str]:
    cell = vg.probe(spec, seeds=2)
    return [each.words for each in Candidates(cell, keep).singles(vg.diagnose(cell))]


def test_an_lstm_that_forgets_is_told_to_remember_and_the_advice_has_its_own_run() -> None:
    advised = vg.advise(FORGETS, seeds=4)
    assert advised.before.verdict == "vanishing"
    changes = {each.change: each for each in advised}
    assert "bias=chrono(T=60)" in changes
    best = advised[0]
    assert best.cures
    again = vg.diagnose(best.spec, seeds=4)
    assert again.summary == best.after.summary
    assert again.depth_limit == best.after.depth_limit
    assert limit(best.after) > limit(advised.before)


def test_a_forget_bias_of_5_explodes_at_defaults_of_torch_and_is_not_advised() -> None:
    spec = FORGETS.replace(steps=100, width=64)
    cell = "lstm(forget_bias=5)"
    assert decades(vg.diagnose(spec.replace(cell=cell))) > 1
    assert not any(each.cures and each.spec.cell == cell for each in vg.advise(spec))


@pytest.mark.parametrize("cell", ["tanh", "gru"])
def test_cells_that_forget_find_a_cure(cell: str) -> None:
    advised = vg.advise(vg.RNN(60, 32, in_features=4, cell=cell), seeds=4)
    assert advised.before.verdict == "vanishing"
    assert advised[0].cures, advised
    assert {each.after.verdict for each in advised if each.cures} == {"healthy"}


def test_a_stack_without_skips_is_told_to_have_some() -> None:
    spec = vg.Transformer(12, 32, tokens=8, skip=None)
    advised = vg.advise(spec, seeds=4)
    assert advised.before.verdict == "collapsed"
    assert advised[0].cures, advised
    assert any("skip=" in each.change for each in advised)


def test_a_collapsing_post_norm_is_cured_by_its_numbers_or_its_place() -> None:
    spec = vg.Transformer(24, 32, tokens=8, norm_position="post")
    advised = vg.advise(spec, seeds=4)
    assert advised.before.verdict == "collapsed"
    assert all(each.after.verdict == "healthy" for each in advised if each.cures)
    assert len(advised)


def test_what_is_healthy_is_left_alone() -> None:
    assert not vg.advise(vg.Transformer(4, 32, tokens=8))
    assert not vg.advise(vg.RNN(60, 32, in_features=4, cell="lstm", bias="chrono(60)"))


def test_proposals_are_those_of_the_kind() -> None:
    of_cell, of_blocks = proposed(FORGETS), proposed(vg.Transformer(4, 16, tokens=4, skip=None))
    assert "cell=lstm(forget_bias=2)" in of_cell
    assert "skip=residual" in of_blocks
    assert any(words.startswith("qk_norm") for words in of_blocks)
    assert not any("activation" in words for words in of_cell)
    assert all(remedy.of for remedy in REMEDIES)


def test_what_is_kept_stays() -> None:
    assert not any("cell" in words for words in proposed(FORGETS, keep=("cell",)))
    assert {*fields_of(FORGETS)} <= {*KEPT}
    with pytest.raises(ValueError, match="heads"):
        vg.advise(FORGETS, keep="heads")


def test_data_of_a_recurrent_net_stay_those_of_its_steps() -> None:
    x, y = np.random.default_rng(0).normal(size=(64, 60, 4)), np.zeros(64)
    y[::2] = 1
    advised = vg.advise(FORGETS.replace(out_features=1), x=x, y=y, seeds=2)
    assert all(each.spec.steps == 60 for each in advised)
    assert advised[0].cures


def test_clipping_is_tried_where_gradients_explode() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 30, 2))
    spec = vg.RNN(30, 16, in_features=2, out_features=1, cell="tanh", recurrent_init="orthogonal(gain=4)")
    how: dict[str, Any] = {"steps": 40, "optimizer": "sgd(lr=0.5)", "seeds": 1}
    advised = vg.advise(spec, x=x, y=x[:, -1, 0], train=how, seeds=2, keep=("recurrent_init", "cell", "norm"))
    (clipped,) = (each for each in advised if each.change == "clip=1 in training")
    assert clipped.spec == spec
    assert clipped.loss_before is not None
    assert clipped.loss_after is not None
    assert clipped.loss_after < clipped.loss_before
    run = vg.train(spec, x, x[:, -1, 0], clip=1.0, seed=0, monitor=(), checkpoints=0, **how)
    plain = vg.train(spec, x, x[:, -1, 0], seed=0, monitor=(), checkpoints=0, **how)
    assert np.median(run.final_loss) < np.nan_to_num(np.median(plain.final_loss), nan=math.inf)
