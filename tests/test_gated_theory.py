"""Theory of recurrent nets whose steps share their weights, beside bare matrices, known numbers and measured nets."""

import math
import pickle
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest

import vgcore as vg
from vgcore.theory import gated, memory, predict, tied_growth, time_constant
from vgcore.theory.gated import Law

#: Over which steps back a factor is measured: behind the first, and before the state is that of the start.
NEAR, FAR = 20, 90


def net(cell: str, **fields: Any) -> vg.RNN:
    """torch's defaults, of width 128 and 64 features."""
    shape: dict[str, Any] = {"steps": 100, "width": 128, "in_features": 64, "biases": 2}
    return vg.RNN(**shape | {"cell": cell, "init": "torch_rnn", "recurrent_init": "torch_rnn"} | fields)


def factor(log10_change: Any) -> float:
    """A step's factor, of the powers of ten after so many steps."""
    return float(10 ** ((log10_change(FAR) - log10_change(NEAR)) / (FAR - NEAR)))


def measured(spec: vg.RNN, column: str, seeds: int = 4) -> float:
    """The same of what is measured: the root mean square over nets, as theory has it."""
    squares = (10 ** (2 * getattr(vg.probe(spec, seeds=seeds), column)[:, ::-1])).mean(axis=0)
    return factor(lambda steps: math.log10(squares[steps]) / 2)


# Products of a matrix with itself


def test_products_of_one_matrix_grow_as_they_are_computed_to() -> None:
    found = [tied_growth(a=0.5, rho=0.144, steps=k) for k in (10, 20, 40)]
    assert np.allclose(found, [-10.343, -19.491, -37.439], atol=6e-4)


@pytest.mark.parametrize("steps", [0, 1, 2, 7, 60, 300])
@pytest.mark.parametrize(("a", "rho"), [(0.5, 0.144), (0.9, 0.3), (0.0, 0.8), (0.7, 0.0), (0.4, 0.4)])
def test_the_mean_over_phases_is_the_sum_of_squared_binomials(a: float, rho: float, steps: int) -> None:
    terms = [math.comb(steps, j) ** 2 * a ** (2 * (steps - j)) * rho ** (2 * j) for j in range(steps + 1)]
    assert tied_growth(a=a, rho=rho, steps=steps) == pytest.approx(math.log(math.fsum(terms)), rel=1e-12, abs=1e-12)


def test_many_steps_follow_the_asymptote() -> None:
    a, rho, k = 0.7, 0.2, 10**6
    told = (2 * k + 1) * math.log(a + rho) - math.log(2) - math.log(math.pi * k * a * rho) / 2
    assert tied_growth(a=a, rho=rho, steps=k) == pytest.approx(told, abs=1e-5)


def test_bare_matrices_follow_it() -> None:
    rng = np.random.default_rng(0)
    ends = []
    for _ in range(4):
        step = 0.5 * np.eye(256) + 0.144 / 16 * rng.standard_normal((256, 256))
        u = rng.standard_normal((256, 16))
        ends.append(((np.linalg.matrix_power(step, 20) @ u) ** 2).mean())
    assert math.log(np.mean(ends)) == pytest.approx(tied_growth(a=0.5, rho=0.144, steps=20), abs=0.15)


@pytest.mark.parametrize("steps", [1, 7, 60, 1000])
def test_what_varies_adds_where_two_ways_through_the_units_meet(steps: int) -> None:
    a, rho, v = 0.6, 0.1, 0.09
    # Two copies of a way, the one ahead of the other by so many products with M.
    ways, log = np.zeros(2 * steps + 1), 0.0
    ways[steps] = 1.0
    for _ in range(steps):
        after = (a**2 + rho**2) * ways
        after[1:] += a * rho * ways[:-1]
        after[:-1] += a * rho * ways[1:]
        after[steps] += v * ways[steps]
        log += math.log(after[steps])
        ways = after / after[steps]
    assert tied_growth(a=a, rho=rho, steps=steps, varies=v) == pytest.approx(log, rel=1e-9)


def test_gates_that_vary_and_nothing_mixed_multiply_their_mean_squares() -> None:
    assert tied_growth(a=0.5, rho=0.0, steps=30, varies=0.11) == pytest.approx(30 * math.log(0.36), rel=1e-9)
    assert tied_growth(a=0.0, rho=0.0, steps=0, varies=0.11) == 0
    assert tied_growth(a=1e300, rho=1e300, steps=3, varies=0.11) == pytest.approx(
        tied_growth(a=1.0, rho=1.0, steps=3) + 6 * math.log(1e300), rel=1e-12
    )
    # Beyond a thousand steps every step has the factor of the long run.
    near, far = (tied_growth(a=0.6, rho=0.1, steps=k, varies=0.09) for k in (2000, 3000))
    assert (far - near) / 1000 == pytest.approx(math.log(0.37 + math.hypot(0.12, 0.09)), rel=1e-12)


def test_products_of_drawn_steps_whose_gates_vary_grow_as_told() -> None:
    rng, n, k, ends = np.random.default_rng(3), 300, 15, []
    for _ in range(12):
        shared, u = 0.1 * rng.standard_normal((n, n)) / math.sqrt(n), rng.standard_normal(n) / math.sqrt(n)
        for _ in range(k):
            u = (0.6 + 0.3 * rng.standard_normal(n)) * u + shared @ u
        ends.append(u @ u)
    assert math.log(np.mean(ends)) == pytest.approx(tied_growth(a=0.6, rho=0.1, steps=k, varies=0.09), abs=0.15)


# Gates that stand at their bias


def test_forget_gates_have_the_time_constants_of_their_bias() -> None:
    told = [1.4427, 3.1922, 7.8785, 20.5815, 148.913]
    assert np.allclose(time_constant([0.0, 1.0, 2.0, 3.0, 5.0]), told, rtol=1e-5)
    assert np.allclose(np.exp(-1 / time_constant([1.0, 2.0])), [0.731058578630, 0.880797077978], rtol=1e-11)


def test_a_bias_of_chrono_remembers_as_long_as_it_says() -> None:
    longest = 100
    tau = float(time_constant(math.log(longest - 1)))
    assert math.exp(-1 / tau) == pytest.approx(1 - 1 / longest, rel=1e-12)
    assert tau == pytest.approx(99.4992, abs=5e-5)
    assert float(time_constant(700.0)) > 1e300


# One step of a cell


def laws(letters: str, **means: float) -> dict[str, Law]:
    """Those of torch's defaults at width 128 and 64 features."""
    each = Law(1 / 3, 64 / 384, variance=1 / 384, inner=1 / 384)
    return {name: each._replace(mean=means.get(name, 0.0)) for name in letters}


def table(cell: gated.Cell, of: dict[str, Law]) -> tuple[float, float]:
    """The factor over steps 20 to 90 back, and the untied one."""
    rest = gated.at_rest(cell, of)
    change = [tied_growth(a=rest.keeps, rho=rest.mixes, steps=k, varies=rest.varies) / 2 for k in (NEAR, FAR)]
    return math.exp((change[1] - change[0]) / (FAR - NEAR)), math.sqrt(rest.kept + rest.mixes**2)


@pytest.mark.parametrize(("bias", "shared", "untied"), [(0, 0.6279, 0.526), (1, 0.8467, 0.739), (2, 0.9888, 0.883)])
def test_lstms_have_the_computed_factors(bias: float, shared: float, untied: float) -> None:
    found = table(gated.lstm, laws("ifgo", f=bias))
    assert found == pytest.approx((shared, untied), abs=4e-4)


@pytest.mark.parametrize(("bias", "shared"), [(0, 0.6243), (1, 0.7899), (2, 0.9007), (4, 0.9818)])
def test_grus_have_the_computed_factors(bias: float, shared: float) -> None:
    assert table(gated.gru, laws("rzn", z=bias))[0] == pytest.approx(shared, abs=4e-4)


def test_a_step_of_an_lstm_is_the_mean_of_drawn_ones() -> None:
    rng, of, count = np.random.default_rng(1), laws("ifgo", f=1.0), 400_000
    c, found = np.zeros(count), gated.forward(gated.lstm, of, 12)
    for before in [gated.START, *found[:-1]]:
        draws = [(law.mean, math.sqrt(law.spread(before.h, 1.0))) for law in of.values()]
        i, f, g, o = (mean + std * rng.standard_normal(count) for mean, std in draws)
        i, f, o = (1 / (1 + np.exp(-z)) for z in (i, f, o))
        g, kept = np.tanh(g), c
        c = f * c + i * g
        h = o * np.tanh(c)
    step = found[-1]
    assert step.c == pytest.approx((c**2).mean(), rel=0.01)
    assert step.h == pytest.approx((h**2).mean(), rel=0.01)
    through = [(g * i * (1 - i)) ** 2, (kept * f * (1 - f)) ** 2, (i * (1 - g * g)) ** 2]
    assert [step.state[name] for name in "ifg"] == pytest.approx([each.mean() for each in through], rel=0.02)
    assert step.keeps == pytest.approx(f.mean(), rel=0.002)


def test_gradients_that_come_in_at_every_step_add_up() -> None:
    of = laws("ifgo", f=1.0)
    steps = gated.forward(gated.lstm, of, 6)
    every = gated.backward(of, steps, 1.0, every=True)
    alone = [gated.backward(of, steps[: end + 1], 1.0, every=False).state for end in range(6)]
    sums = [sum(10 ** each[t] for each in alone if len(each) > t) for t in range(6)]
    assert np.allclose(10**every.state, sums, rtol=1e-12)


# Nets


@pytest.mark.parametrize("bias", [0, 1])
def test_measured_lstms_forget_as_theory_says(bias: int) -> None:
    spec = net(f"lstm(forget_bias={bias})")
    m = memory(spec)
    assert m.holds
    assert factor(m.log10_change) == pytest.approx(table(gated.lstm, laws("ifgo", f=bias))[0], rel=1e-9)
    assert measured(spec, "log10_dc_rms") == pytest.approx(factor(m.log10_change), rel=0.02)


@pytest.mark.parametrize("bias", [0, 1, 2, 4])
def test_measured_grus_forget_as_theory_says(bias: int) -> None:
    spec = net(f"gru(update_bias={bias})")
    m = memory(spec)
    assert m.holds
    assert measured(spec, "log10_dh_rms") == pytest.approx(factor(m.log10_change), rel=0.02)


@pytest.mark.parametrize(
    ("cell", "fields"),
    [
        ("gru(update_bias=1)", {"init": "lecun_normal(gain=2)", "recurrent_init": "normal(std=0.02)"}),
        ("gru(reset=before,update_bias=1)", {"init": "lecun_normal", "recurrent_init": "xavier_normal"}),
    ],
)
def test_grus_whose_gates_vary_with_strong_inputs_forget_as_theory_says(cell: str, fields: dict[str, str]) -> None:
    spec = net(cell, **fields, biases=1)
    m = memory(spec)
    assert m.holds
    assert m.factor > 1.01 * (m.a + m.rho)
    assert measured(spec, "log10_dh_rms") == pytest.approx(factor(m.log10_change), rel=0.03)


def test_a_plain_cell_forgets_as_powers_of_its_weights() -> None:
    m = memory(net("tanh", init="lecun_normal", recurrent_init="lecun_normal", biases=1))
    assert (m.a, m.factor) == (0.0, m.rho)
    assert m.untied == m.rho


def test_theory_says_where_it_does_not_hold() -> None:
    for bias in (2, 3):
        m = memory(net(f"lstm(forget_bias={bias})"))
        assert not m.holds
        assert "grows with time" in m.doubt
        assert "not to be relied on" in str(m)
    chrono = memory(net("lstm", bias="chrono(100)"))
    assert "differ from unit to unit" in chrono.doubt


def test_float32_loses_the_gradient_of_an_lstm_where_theory_says() -> None:
    spec = net("lstm(forget_bias=0)", width=64, steps=240)
    found, told = vg.probe(spec, seeds=3).log10_dc_rms.mean(axis=0)[::-1], predict(spec).log10_dc_rms[::-1]
    ends = np.finfo(np.float32)
    for end in (math.log10(ends.tiny), math.log10(ends.smallest_subnormal)):
        assert int(np.flatnonzero(found < end)[0]) == pytest.approx(int(np.flatnonzero(told < end)[0]), rel=0.02)


def apart(ours: Any, theirs: Any) -> float:
    """The largest difference where either is known."""
    there = np.isfinite(ours) & np.isfinite(theirs)
    assert (np.isfinite(ours) == np.isfinite(theirs)).all()
    return float(np.abs(ours[there] - theirs[there]).max())


#: Of a forget bias of 1, h is larger by a twentieth of a decade, by what is alike in time.
CELLS = ["lstm(forget_bias=0)", "lstm(forget_bias=-1)", "gru(reset=after)", "gru(reset=before)", "gru(update_bias=1)"]


@pytest.mark.parametrize("cell", CELLS)
def test_columns_of_gated_nets_are_the_predicted_ones(cell: str) -> None:
    spec = net(cell, width=256, steps=12, out_features=8)
    p, predicted = vg.probe(spec, seeds=4), predict(spec)
    names = ["log10_z_rms", "log10_delta_rms", "log10_wgrad_norm", *predicted.extra]
    for name in names:
        assert apart(getattr(predicted, name), getattr(p, name).mean(axis=0)) < 0.05, name


@pytest.mark.parametrize("outputs", ["last", "every"])
def test_columns_of_a_plain_net_are_the_predicted_ones(outputs: str) -> None:
    spec = vg.RNN(12, 512, in_features=32, init="lecun_normal", recurrent_init="orthogonal(0.9)", out_features=4)
    spec = spec.replace(outputs=outputs)
    p, predicted = vg.probe(spec, seeds=4), predict(spec)
    for name in ["log10_z_rms", "log10_a_rms", "log10_delta_rms", "log10_wgrad_norm", "log10_h_rms", "log10_dh_rms"]:
        assert apart(getattr(predicted, name), getattr(p, name).mean(axis=0)) < 0.06, name


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"layers": 2}, "several layers"),
        ({"norm": "layer"}, "a norm"),
        ({"truncate": 4}, "truncate"),
        ({"cell": "irnn"}, "cell=irnn"),
        ({"recurrent_init": "identity"}, "recurrent_init=eye"),
        ({"init": "sparse(sparsity=0.5)"}, "init=sparse"),
    ],
)
def test_what_theory_does_not_cover_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=f"theory does not cover .*{words}"):
        memory(net("tanh").replace(**changes))


# What is public


def test_the_measured_memory_limit_is_the_predicted_one() -> None:
    for cell in ("lstm(forget_bias=0)", "gru"):
        spec = net(cell)
        limit = vg.memory_limit(vg.probe(spec, seeds=4))
        assert limit.measured
        assert limit.signal == ("dL/dc" if cell.startswith("lstm") else "dL/dh")
        assert limit.value == pytest.approx(memory(spec).memory_limit, abs=1)
        assert limit.low <= limit.value <= limit.high


def test_a_short_series_is_carried_on() -> None:
    spec = net("gru(update_bias=2)", steps=15)
    limit = vg.memory_limit(spec)
    assert not limit.measured
    assert "carried on" in str(limit)
    assert limit.value == pytest.approx(memory(spec).memory_limit, rel=0.15)


@pytest.mark.parametrize("cell", ["tanh", "relu", "lstm", "gru", "lstm(forget_bias=-1000)", "gru(update_bias=1000)"])
@pytest.mark.parametrize("zero", [("init",), ("recurrent_init",), ("init", "recurrent_init")], ids="+".join)
@pytest.mark.filterwarnings("error")
def test_weights_of_0_have_a_theory(cell: str, zero: tuple[str, ...]) -> None:
    weights: dict[str, Any] = dict.fromkeys(zero, "zeros")
    spec = vg.RNN(6, 8, cell=cell, **weights)
    m, predicted = memory(spec), predict(spec)
    assert m.factor >= 0
    assert "; 1 steps" not in str(m)
    assert not any(np.isnan(getattr(predicted, name)).any() for name in ("log10_h_rms", "log10_dh_rms"))
    if cell == "tanh" and zero != ("init",):
        assert m.factor == 0
        assert "1 step keeps it" in str(m)
        assert np.isneginf(predicted.log10_dh_rms[:-1]).all()


def test_a_cut_gradient_ends_the_memory() -> None:
    limit = vg.memory_limit(net("gru(update_bias=4)", steps=30, truncate=10))
    assert (limit.value, limit.measured, limit.cut) == (10, True, True)
    assert str(limit).endswith("within 32-fold, where truncation cuts it")
    short = vg.memory_limit(net("gru", steps=30, truncate=15))
    assert short.value < 15
    assert not short.cut


def test_a_memory_limit_is_told_of_recurrent_nets_alone() -> None:
    with pytest.raises(ValueError, match="told of an RNN"):
        vg.memory_limit(vg.MLP(depth=4, width=8))
    with pytest.raises(ValueError, match="outputs='every'"):
        vg.memory_limit(net("gru", outputs="every", out_features=1))


def test_a_memory_says_what_it_is() -> None:
    m = memory(net("gru"))
    assert m.factor**2 == pytest.approx(m.a**2 + m.rho**2 + math.hypot(2 * m.a * m.rho, m.varies))
    assert m.factor > m.a + m.rho
    assert m.time_constant == pytest.approx(-1 / math.log(m.factor))
    k = int(m.memory_limit)
    assert abs(m.log10_change(k)) >= 1.5 > abs(m.log10_change(k - 1))
    assert f"{m.factor:.4f}" in str(m)
    assert pickle.loads(pickle.dumps(m)).factor == m.factor


def test_theory_is_drawn_over_the_measured_gradient_of_a_series() -> None:
    spec = net("lstm", steps=20, width=32)
    p, predicted = vg.probe(spec, seeds=2), predict(spec)
    for ax in (
        vg.plot.layers(p, theory=predicted),
        vg.plot.columns(p, ["log10_dh_rms", "log10_dc_rms", "log10_c_rms"], theory=predicted),
    ):
        labels = ax.get_legend_handles_labels()[1]
        assert "theory" in labels
    plt.close("all")
    again = pickle.loads(pickle.dumps(predicted))
    assert np.array_equal(again.log10_dc_rms, predicted.log10_dc_rms)
    assert predicted.to_dict()["extra"]["log10_dc_rms"] == predicted.log10_dc_rms.tolist()
    assert predicted.scales is None
