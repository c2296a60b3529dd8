"""Verdicts on recurrent nets and transformers: which net is accused of what, and why."""

import math
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest

import vgcore as vg
from vgcore.judge.evidence import Evidence
from vgcore.judge.finding import Finding
from vgcore.judge.rules import RULES, gates
from vgcore.show.words import spans

TORCH: dict[str, Any] = {"init": "torch_rnn", "recurrent_init": "torch_rnn"}


def rnn(steps: int = 100, width: int = 64, **fields: Any) -> vg.RNN:
    return vg.RNN(steps, width, **{"in_features": 8, "out_features": 2, **fields})


def blocks(depth: int = 24, width: int = 64, **fields: Any) -> vg.Transformer:
    return vg.Transformer(depth, width, **{"tokens": 16, **fields})


def found(d: vg.Diagnosis, rule: str) -> Finding | None:
    return next((finding for finding in d.findings if finding.rule == rule), None)


def finding(d: vg.Diagnosis, rule: str) -> Finding:
    hit = found(d, rule)
    assert hit is not None, f"{rule} is silent: {d}"
    return hit


def evidence(d: vg.Diagnosis) -> Evidence:
    assert d.evidence is not None
    return d.evidence


def limited(d: vg.Diagnosis) -> vg.DepthLimit:
    assert d.depth_limit is not None
    return d.depth_limit


def serious(d: vg.Diagnosis) -> set[str]:
    return {each.rule for each in d.findings if each.severity != "info"}


# Recurrent nets


def test_a_default_lstm_of_torch_forgets_within_a_hundred_steps() -> None:
    d = vg.diagnose(rnn(cell="lstm(forget_bias=0)", biases=2, **TORCH))
    assert (d.verdict, d.direction) == ("vanishing", "backward")
    # By a + rho, with a = E f = 1/2: the gates alone would keep 1/2 a step.
    assert evidence(d).factor(evidence(d).backward) == pytest.approx(0.63, abs=0.02)
    hit = finding(d, "forgetting")
    assert hit.severity == "warning"
    assert hit.value == pytest.approx(99 * math.log(2), rel=0.02)
    assert "x0.6" in d.summary
    assert "a step" in d.summary
    assert limited(d).name == "memory limit"
    assert 5 <= limited(d).value <= 10


@pytest.mark.parametrize(("bias", "verdict"), [(0, "vanishing"), (1, "vanishing"), (5, "exploding")])
def test_a_forget_bias_takes_a_default_lstm_from_vanishing_to_exploding(bias: float, verdict: str) -> None:
    assert vg.diagnose(rnn(cell=f"lstm(forget_bias={bias})", **TORCH)).verdict == verdict


def test_the_gradient_of_an_lstm_is_that_of_its_cell_which_no_gate_lets_down() -> None:
    p = vg.probe(rnn(20, cell="lstm"), seeds=2)
    e = Evidence(p)
    assert e.name("backward") == "dL/dc"
    assert np.array_equal(p.trace.columns["log10_backward"], p.log10_dc_rms + math.log10(64) / 2)
    plain = vg.probe(rnn(20, cell="gru"), seeds=2)
    assert np.array_equal(plain.trace.columns["log10_backward"], plain.log10_dh_rms + math.log10(64) / 2)


@pytest.mark.parametrize(
    "fields",
    [
        {"cell": "lstm", "bias": "chrono(T=100)"},
        {"cell": "gru", "bias": "chrono(T=100)"},
        {"cell": "irnn"},
        {"steps": 10, "cell": "tanh"},
        {"steps": 10, "cell": "lstm(forget_bias=1)"},
    ],
    ids=["chrono lstm", "chrono gru", "irnn", "short tanh", "short lstm"],
)
def test_cells_that_keep_their_gradient_are_not_accused(fields: dict[str, Any]) -> None:
    d = vg.diagnose(rnn(**fields))
    assert d.verdict == "healthy", d
    assert not serious(d)


def test_the_memory_limit_of_a_diagnosis_is_that_of_memory_limit() -> None:
    p = vg.probe(rnn(60, cell="lstm"), seeds=4)
    limit = limited(vg.diagnose(p))
    assert limit == vg.memory_limit(p)
    assert limit.signal == "dL/dc"
    assert f"memory limit: {limit}" in str(vg.diagnose(p))


def test_a_memory_limit_is_counted_back_from_the_last_step_of_the_last_layer() -> None:
    p = vg.probe(rnn(60, cell="tanh", layers=2), seeds=4)
    d = vg.diagnose(p)
    back = p.log10_dh_rms[:, 1::2].mean(axis=0)[::-1]
    assert limited(d).value == np.flatnonzero(back - back[0] <= -1.5)[0]
    assert finding(d, "backward_vanishing").evidence.count("layer") == 2  # step 60 layer 2 to step 1 layer 1


def test_rows_of_a_recurrent_net_are_steps_in_every_sentence() -> None:
    text = str(vg.diagnose(rnn(200, cell="tanh"), explain=True))
    assert "from step 200 to step 1" in text
    assert "(steps 1-" in text
    assert "step 1 to 200" in text  # below the pictures
    assert "a layer" not in text.partition("A constant factor")[0]


@pytest.mark.parametrize("cell", ["lstm", "gru", "tanh"])
def test_what_means_nothing_for_shared_weights_is_not_told(cell: str) -> None:
    d = vg.diagnose(rnn(cell=cell))
    assert not {"finite_width", "forward_backward_mismatch", "weight_gradient_flat"} & {f.rule for f in d.findings}
    assert evidence(d).backward.rms == evidence(d).backward.typical


@pytest.mark.parametrize("fields", [{"cell": "tanh"}, {"cell": "lstm", "layers": 2}], ids=["tanh", "stack"])
def test_a_cut_gradient_is_judged_behind_the_cut_which_is_told_of(fields: dict[str, Any]) -> None:
    d = vg.diagnose(rnn(40, truncate=10, **fields), seeds=4)
    assert d.verdict == "healthy"
    assert not serious(d)
    assert "over 10 steps" in d.summary
    assert "truncation cuts it below step 31" in d.summary
    # As of a series that is no longer than that, but for the state that it begins from.
    assert evidence(d).factor(evidence(d).backward, evidence(d).steps_of("backward")) == pytest.approx(
        evidence(of := vg.diagnose(rnn(10, **fields), seeds=4)).factor(evidence(of).backward), rel=0.1
    )


def test_what_vanishes_before_it_is_cut_is_accused_of_it() -> None:
    d = vg.diagnose(rnn(120, width=16, cell="tanh", truncate=60), seeds=4)
    assert (d.verdict, d.direction) == ("vanishing", "backward")
    hit = finding(d, "backward_vanishing")
    assert "from step 120 to step 61" in hit.evidence
    assert hit.evidence.endswith("where truncation cuts it")
    assert min(hit.layers) >= 60
    assert limited(d).value < 60


def test_losses_at_every_step_are_not_accused_of_the_cut_that_was_asked_for() -> None:
    d = vg.diagnose(rnn(30, width=16, cell="lstm(forget_bias=2)", outputs="every", truncate=10), seeds=4)
    assert found(d, "hidden_vanishing") is None


@pytest.mark.parametrize("layers", [1, 2])
def test_a_factor_is_of_the_steps_that_have_the_signal(layers: int) -> None:
    p = vg.probe(rnn(12, width=16, cell="tanh", layers=layers), seeds=2)
    assert np.isneginf(p.log10_wgrad_norm[:, :layers]).all()  # h_0 = 0
    log10 = p.log10_wgrad_norm[:, layers] - p.log10_wgrad_norm[:, -1]
    assert np.array_equal(p.end_to_end("weight"), log10)
    assert p.factor("weight").value == pytest.approx(10 ** (log10.mean() / (11 * layers - 1)))
    assert "nan" not in repr(p)
    cut = vg.probe(rnn(12, width=16, cell="tanh", truncate=5), seeds=2)
    back = cut.log10_delta_rms
    assert cut.factor("backward").value == pytest.approx(10 ** ((back[:, 10] - back[:, -1]).mean()))
    assert "nan" not in repr(cut)


def test_what_a_rule_measures_besides_has_the_threads_of_the_diagnosis(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int | None] = []

    def probe(*args: Any, **how: Any) -> vg.Probe:
        asked.append(how["threads"])
        return vg.probe(*args, **how)

    monkeypatch.setattr(gates, "probe", probe)
    spec = rnn(8, width=8, outputs="every")
    vg.diagnose(spec, seeds=2, threads=1)
    assert asked == [1]
    vg.advise(spec.replace(cell="relu", recurrent_init="normal(std=0.01)"), seeds=1, threads=1)
    assert {*asked} == {1}
    assert len(asked) > 1


def test_losses_at_every_step_hide_what_the_last_one_loses() -> None:
    d = vg.diagnose(rnn(60, cell="tanh", outputs="every"))
    assert abs(evidence(d).backward.rms) < 1.5
    one = vg.diagnose(rnn(60, cell="tanh"))
    assert finding(d, "hidden_vanishing").value == pytest.approx(-evidence(one).backward.rms, abs=1e-9)
    assert d.depth_limit is None


# Transformers


def test_tokens_collapse_while_the_gradient_of_the_stream_is_flat() -> None:
    d = vg.diagnose(blocks(8, skip=None), dtype="float64")
    assert abs(evidence(d).backward.rms) < 0.3
    assert found(d, "backward_vanishing") is None
    assert d.verdict == "collapsed"
    hit = finding(d, "rank_collapse")
    assert hit.severity == "critical"
    assert "shows nothing of this" in hit.evidence
    # What it says is what was measured: W_Q and W_K lose what tokens have in common.
    p = d.probe
    assert p is not None
    q, v = (p.extra[f"log10_wgrad_norm_{name}"][:, ::4] for name in "qv")
    assert ((q - v)[:, 4] < (q - v)[:, 0] - 6).all()
    assert "all tokens of a sample end up" in d.summary


@pytest.mark.parametrize(
    ("fields", "verdict"),
    [
        ({}, "healthy"),
        ({"norm_position": "post"}, "collapsed"),
        ({"norm_position": "post", "init": "torch_transformer"}, "healthy"),
        ({"init": "gpt2"}, "healthy"),
        ({"skip": "rezero"}, "healthy"),
        ({"skip": "deepnorm", "norm_position": "post", "init": "deepnorm"}, "healthy"),
        ({"skip": None}, "collapsed"),
        ({"skip": None, "norm": None}, "vanishing"),
    ],
    ids=["pre", "post", "torch", "gpt2", "rezero", "deepnorm", "no skip", "plain"],
)
def test_blocks_are_accused_by_what_goes_around_them(fields: dict[str, Any], verdict: str) -> None:
    d = vg.diagnose(blocks(**fields), seeds=4)
    assert d.verdict == verdict, d
    if verdict == "healthy":
        assert serious(d) <= {"deep_post_norm"}


def test_a_factor_of_a_transformer_is_that_of_a_block() -> None:
    d = vg.diagnose(blocks(12, skip=None, norm=None), seeds=4)
    e = evidence(d)
    assert e.factor(e.backward) == pytest.approx(10 ** (4 * e.backward.rms / 47))
    assert "over 12 blocks" in d.summary
    assert "a block" in d.summary
    assert limited(d).unit == "block"


def test_layers_of_a_transformer_have_the_names_of_their_maps() -> None:
    d = vg.diagnose(blocks(8, skip=None), seeds=2)
    assert d.spec is not None
    assert d.names == d.spec.row_names
    assert "before layers." in finding(d, "rank_collapse").evidence
    assert ".linear2)" in str(d)


def test_names_in_many_places_are_told_by_their_ends() -> None:
    names = [f"map {i}" for i in range(20)]
    assert spans(range(0, 20, 2), names) == "10 from map 0 to map 18"
    assert spans([0, 1, 4], names) == "map 0 to map 1, map 4"


def test_causal_attention_that_sees_all_it_may_is_uniform() -> None:
    d = vg.diagnose(blocks(4, init="gpt2", causal=True), seeds=2)
    assert finding(d, "uniform_attention").value == pytest.approx(1, abs=1e-3)
    assert found(d, "one_hot_attention") is None


@pytest.mark.parametrize("bias", ["zeros", "constant(1e38)"])
def test_blocks_of_which_nothing_is_finite_are_told_of_as_such(bias: str) -> None:
    spec = vg.Transformer(2, 8, final_norm=None, init="normal(std=1e30)", bias=bias)
    d = vg.diagnose(spec)
    assert "non-finite" in d.conditions
    assert found(d, "non_finite") is not None
    assert found(d, "no_final_norm") is None


def test_attention_is_judged_by_the_runs_that_are_finite() -> None:
    p = vg.probe(blocks(2, init="gpt2"), seeds=2)
    columns = {name: column.copy() for name, column in p.trace.columns.items()}
    columns["attention_entropy"][1] = math.nan
    alone = {name: column[:1] for name, column in columns.items()}
    both, one = (vg.Trace(p.trace.names, each, facts=p.trace.facts) for each in (columns, alone))
    values = [finding(vg.diagnose(each), "uniform_attention").value for each in (both, one)]
    assert values[0] == values[1]


# Rules


def test_rules_of_cells_and_of_attention_are_not_told_of_other_nets() -> None:
    own = {rule.id for rule in RULES if rule.nets}
    assert own == {
        *("forgetting", "saturated_gates", "gate_shut", "gate_paths", "hidden_vanishing"),
        *("one_hot_attention", "uniform_attention", "no_final_norm", "deep_post_norm"),
    }
    trace = vg.Trace(("a", "b"), {"log10_forward": np.array([[0.0, 0.1]]), "log10_backward": np.array([[-3.0, 0.0]])})
    assert not own & {rule for rule, _ in vg.diagnose(trace).not_judged}
    assert not own & {each.rule for each in vg.diagnose(vg.MLP(depth=8, width=16)).findings}


@pytest.mark.parametrize("spec", [rnn(30, cell="lstm"), blocks(8, skip=None)], ids=["lstm", "transformer"])
def test_a_trace_of_a_net_has_the_verdict_of_its_probe(spec: vg.RNN | vg.Transformer) -> None:
    p = vg.probe(spec, seeds=2)
    assert vg.diagnose(p.trace).summary == vg.diagnose(p).summary


def test_the_picture_of_a_collapse_has_queries_beside_the_stream() -> None:
    d = vg.diagnose(blocks(8, skip=None), seeds=2, explain=True)
    hit = finding(d, "rank_collapse")
    assert {"log10_wgrad_norm_q", "log10_dh_rms"} <= {*hit.picture}
    assert d.probe is not None
    ax = vg.plot.columns(d.probe, hit.picture)
    assert [np.size(line.get_xdata()) for line in ax.get_lines()] == [8, 8, 16]  # a row a block, and one a half of it
    assert ax.get_xlabel().startswith("map")
    plt.close("all")


@pytest.mark.parametrize("spec", [rnn(30, cell="lstm"), blocks(4, skip=None)], ids=["lstm", "transformer"])
def test_pages_and_pictures_are_made_of_each(spec: vg.RNN | vg.Transformer) -> None:
    d = vg.diagnose(spec, seeds=2, explain=True)
    html = d._repr_html_()
    assert d.depth_limit is None or limited(d).name in html
    assert all(each.explanation for each in d.findings)
    assert d.probe is not None
    assert all(name in d.probe.trace.columns for each in d.findings for name in each.picture)


@pytest.mark.parametrize("layers", [1, 2])
def test_the_states_of_the_first_steps_lie_on_as_few_lines_as_columns_have_come_in(layers: int) -> None:
    d = vg.diagnose(vg.RNN(30, 16, in_features=1, layers=layers))
    assert "rank_collapse" not in {f.rule for f in d.findings}
    assert "collapsed" not in str(d.verdict)


@pytest.mark.parametrize("position", ["pre", "post"])
def test_a_norm_over_one_feature_lets_nothing_through_and_is_not_called_healthy(position: Any) -> None:
    """Such a norm gives 0 whatever it gets, so that dL/dx is exactly 0, and no rounding of it."""
    spec = vg.Transformer(2, 1, heads=1, tokens=6, out_features=2, norm_position=position)
    x = np.random.default_rng(0).standard_normal((3, 6, 1))
    found = spec.init(dtype="float64").gradients(x, np.ones((3, 6, 2)), loss="mse")
    assert not found.input.any()
    diagnosis = vg.diagnose(spec, seeds=4, batch=8)
    assert diagnosis.verdict == "vanishing"
    assert "zero_readout" not in [finding.rule for finding in diagnosis.findings]
