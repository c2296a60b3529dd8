"""Layers that are trained one by one: exact small machines, statistics of chains, and what nets make of it."""

from __future__ import annotations

import itertools
import math
import os
import pickle
import subprocess
import sys
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import vgcore as vg

digits, labels = vg.data.digits(standardize=False)
x = digits / 16
order = np.random.default_rng(0).permutation(len(x))
rows, held_out = order[:1437], order[1437:]

SMALL = vg.RBM(
    np.array([[0.13, -0.13, 0.64, 0.1], [-0.54, 0.36, 1.3, 0.95], [-0.7, -1.27, -0.62, 0.04]]),
    np.array([-1.16, -0.11, -0.62, -0.37]),
    np.array([-0.27, -0.16, 0.21]),
)
PATTERNS = np.array([[0, 0, 1, 1], [0, 1, 0, 1], [1, 1, 0, 0]], dtype=float)


def bits(count: int) -> NDArray[np.float64]:
    return np.array(list(itertools.product([0.0, 1.0], repeat=count)))


# A machine that is small enough to be summed over.


def test_a_small_machine_has_the_published_partition_function_likelihood_and_gradient() -> None:
    assert SMALL.log_partition() == pytest.approx(4.423278943621, abs=1e-10)
    assert SMALL.log_likelihood(PATTERNS).mean() == pytest.approx(-2.923893733736, abs=1e-10)
    gradient = SMALL.gradient(PATTERNS)["W"]
    assert gradient[0, 0] == pytest.approx(0.0559294303, abs=1e-10)
    assert gradient[1, 2] == pytest.approx(-0.2212654744, abs=1e-10)


def test_the_partition_function_is_that_of_a_sum_over_all_units_of_both_sides() -> None:
    energies = [-SMALL.b @ v - SMALL.c @ h - h @ SMALL.W @ v for v in bits(4) for h in bits(3)]
    assert SMALL.log_partition() == pytest.approx(math.log(sum(math.exp(-e) for e in energies)), abs=1e-12)
    assert np.exp(SMALL.log_likelihood(bits(4))).sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("machine", [SMALL, vg.RBM(SMALL.W.T, SMALL.c, SMALL.b)])
def test_the_gradient_is_that_of_differences_of_the_likelihood(machine: vg.RBM) -> None:
    seen = bits(machine.visible)[::3]
    for name, gradient in machine.gradient(seen).items():
        for at in np.ndindex(gradient.shape):
            ends = []
            for step in (1e-5, -1e-5):
                numbers: dict[str, Any] = {each: np.array(getattr(machine, each)) for each in ("W", "b", "c")}
                numbers[name][at] += step
                ends.append(vg.RBM(**numbers).log_likelihood(seen).mean())
            assert gradient[at] == pytest.approx((ends[0] - ends[1]) / 2e-5, abs=1e-9)


def test_the_free_energy_and_both_directions_are_their_formulas() -> None:
    z = PATTERNS @ SMALL.W.T + SMALL.c
    np.testing.assert_allclose(SMALL.free_energy(PATTERNS), -PATTERNS @ SMALL.b - np.logaddexp(0, z).sum(1), atol=1e-13)
    on = 1 / (1 + np.exp(-z))
    np.testing.assert_allclose(SMALL.transform(PATTERNS), on, atol=1e-14)
    back = 1 / (1 + np.exp(-(on @ SMALL.W + SMALL.b)))
    np.testing.assert_allclose(SMALL.reconstruct(PATTERNS), back, atol=1e-14)
    gap = SMALL.free_energy(PATTERNS[2:]).mean() - SMALL.free_energy(PATTERNS[:2]).mean()
    assert SMALL.free_energy_gap(PATTERNS[:2], PATTERNS[2:]) == pytest.approx(gap, abs=1e-13)


def test_the_pseudo_likelihood_is_on_average_that_of_all_units_given_the_others() -> None:
    exact = np.zeros(len(PATTERNS))
    for unit in range(4):
        turned = PATTERNS.copy()
        turned[:, unit] = 1 - turned[:, unit]
        exact -= np.logaddexp(0, SMALL.free_energy(PATTERNS) - SMALL.free_energy(turned))
    many = np.array([SMALL.pseudo_likelihood(PATTERNS, seed) for seed in range(400)])
    # Five standard errors.
    assert np.all(np.abs(many.mean(0) - exact) < 5 * many.std(0) / 20)


def test_a_machine_too_large_to_be_summed_over_says_so() -> None:
    large = vg.RBM.drawn(21, 22)
    for ask in (large.log_partition, lambda: large.gradient(np.zeros((1, 21)))):
        with pytest.raises(ValueError, match=r"at most 20 units.*has 21.*pseudo_likelihood"):
            ask()


# Chains.


def step(machine: vg.RBM, seen: NDArray[np.float64], count: int, **how: Any) -> dict[str, NDArray[np.float64]]:
    """The direction of a step of contrastive divergence, of many chains at once."""
    many = np.tile(seen, (count, 1))
    after = machine.fit(many, epochs=1, lr=1.0, batch=len(many), momentum=0.0, **how)
    return {name: getattr(after, name) - getattr(machine, name) for name in ("W", "b", "c")}


def test_long_chains_climb_along_the_exact_gradient() -> None:
    exact = SMALL.gradient(PATTERNS)
    for seed in range(2):
        found = step(SMALL, PATTERNS, 40_000, k=30, seed=seed)
        # A mean of 120000 numbers between 0 and 1, five standard errors at most.
        for name, gradient in exact.items():
            np.testing.assert_allclose(found[name], gradient, atol=5 * 0.5 / math.sqrt(120_000))


def test_one_step_from_the_data_is_contrastive_divergence_with_probabilities() -> None:
    found = step(SMALL, PATTERNS[:1], 100_000)
    v, on = PATTERNS[0], SMALL.transform(PATTERNS[:1])[0]
    weight = np.outer(on, v)
    for h in bits(3):
        chance = np.prod(np.where(h > 0, on, 1 - on))
        back = 1 / (1 + np.exp(-(h @ SMALL.W + SMALL.b)))
        weight = weight - chance * np.outer(SMALL.transform(back[None])[0], back)
    np.testing.assert_allclose(found["W"], weight, atol=5 * 0.5 / math.sqrt(100_000))


def test_persistent_chains_learn_as_the_exact_gradient_does_and_one_step_does_not() -> None:
    many, exact = np.tile(PATTERNS, (10_000, 1)), SMALL
    for _ in range(100):
        gradient = exact.gradient(PATTERNS)
        exact = vg.RBM(*(getattr(exact, name) + 0.1 * gradient[name] for name in ("W", "b", "c")))
    how: dict[str, Any] = {"epochs": 100, "lr": 0.1, "batch": len(many), "momentum": 0.0}
    apart = [np.abs(SMALL.fit(many, persistent=each, **how).W - exact.W).max() for each in (True, False)]
    assert apart[0] < 0.05 < apart[1]


def test_samples_of_a_small_machine_have_its_probabilities() -> None:
    count = 40_000
    drawn = SMALL.sample(count, steps=50, seed=1)
    assert set(np.unique(drawn)) == {0.0, 1.0}
    shares = np.array([(drawn == state).all(1).mean() for state in bits(4)])
    chances = np.exp(SMALL.log_likelihood(bits(4)))
    assert np.all(np.abs(shares - chances) < 5 * np.sqrt(chances / count))


def test_momentum_and_decay_are_those_of_the_formula() -> None:
    # All rows in one batch, with probabilities of 0: nothing depends on what is drawn.
    machine = vg.RBM(np.full((2, 3), 0.5), np.full(3, -200.0), np.full(2, -200.0))
    seen = np.zeros((4, 3))
    after = machine.fit(seen, epochs=7, lr=0.1, batch=4, momentum=(0.5, 0.9), decay=0.2)
    weight, velocity = 0.5, 0.0
    for momentum in (0.5,) * 5 + (0.9,) * 2:
        velocity = momentum * velocity - 0.1 * 0.2 * weight
        weight += velocity
    np.testing.assert_allclose(after.W, weight, rtol=1e-6)
    np.testing.assert_allclose(after.b, -200)


def test_a_denoising_layer_steps_along_the_gradient_of_its_loss() -> None:
    spec = vg.MLP(depth=1, width=5, in_features=64, out_features=10, activation="tanh", init="xavier_uniform")
    state = spec.init(0).state_dict()
    seen = x[:50]
    how = {"method": "dae(corrupt=0)", "epochs": 1, "batch": 50, "momentum": 0.0, "lr": 1e-2}
    for name in ("weight", "bias"):
        after = vg.pretrain(spec, seen, **how).network.state_dict()[f"layers.0.{name}"]  # type: ignore[arg-type]
        found = (np.asarray(after, dtype=float) - state[f"layers.0.{name}"]) / -1e-2

        def loss(at: tuple[int, ...], by: float) -> float:
            numbers: dict[str, Any] = {
                each: np.array(state[f"layers.0.{each}"], dtype=float) for each in ("weight", "bias")
            }
            numbers[name][at] += by  # noqa: B023 (called at once)
            z = np.tanh(seen @ numbers["weight"].T + numbers["bias"]) @ numbers["weight"]
            return float((np.logaddexp(0, z) - seen * z).sum() / len(seen))

        for at in [(0,) * found.ndim, (3, 20)[: found.ndim], (4, 35)[: found.ndim]]:
            slope = (loss(at, 1e-5) - loss(at, -1e-5)) / 2e-5
            assert found[at] == pytest.approx(slope, abs=1e-4 + 1e-3 * abs(slope))


# The same bits everywhere.

SCRIPT = """
import hashlib, vgcore as vg
x = vg.data.digits(standardize=False)[0][:300] / 16
digest = hashlib.sha256()
fresh = vg.RBM.drawn(64, 33)
for machine in (fresh.fit(x, epochs=2), fresh.fit(x, epochs=2, k=2, persistent=True, batch=7)):
    digest.update(machine.W.tobytes() + machine.b.tobytes() + machine.sample(3, steps=5).tobytes())
spec = vg.MLP(depth=2, width=17, in_features=64, out_features=10, activation="tanh")
digest.update(vg.pretrain(spec, x, method="dae", epochs=2).network.state_dict()["layers.1.weight"].tobytes())
print(digest.hexdigest())
"""


def test_the_bits_are_the_same_for_any_threads_and_instruction_set() -> None:
    found = set()
    for change in ({}, {"VGCORE_NUM_THREADS": "1"}, {"VGCORE_ISA": "avx512"}, {"VGCORE_ISA": "avx2"}):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], env=os.environ | change, capture_output=True, text=True, check=False
        )
        if "VGCORE_ISA must be" not in done.stderr:
            assert done.returncode == 0, done.stderr
            found.add(done.stdout)
    assert len(found) == 1


# What nets make of it: Hinton 2006, Bengio 2007, Vincent 2010, on the digits.


def net(depth: int, **fields: Any) -> vg.MLP:
    given = {"width": 64, "in_features": 64, "out_features": 10, "activation": "sigmoid", "init": "xavier_uniform"}
    return vg.MLP(depth=depth, **given | fields)  # type: ignore[arg-type]


@cache
def pretrained(depth: int, method: str, seed: int) -> vg.Pretrained:
    return vg.pretrain(net(depth), x[rows], labels[rows], method=method, seed=seed)


def tuned(subject: vg.MLP | vg.Network, seed: int) -> tuple[float, float]:
    """The loss of 1437 digits and the accuracy on 360 others, after 600 steps."""
    run = vg.train(
        subject,
        x[rows],
        labels[rows],
        optimizer="sgd(lr=0.1, momentum=0.9)",
        steps=600,
        batch=64,
        seed=seed,
        monitor=[],
    )
    output = run.networks[0].forward(x[held_out])
    loss = vg.probe(run.networks[0], x=x[rows], y=labels[rows]).loss_value.mean()
    return float(loss), float((output.argmax(1) == labels[held_out]).mean())


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("depth", [4, 6])
def test_a_deep_sigmoid_net_stays_where_it_is_and_learns_once_its_layers_are_pretrained(depth: int, seed: int) -> None:
    loss, _ = tuned(net(depth), seed)
    assert loss > 2.25
    for method in ("rbm(k=1)", "dae(corrupt=0.25)"):
        found = pretrained(depth, method, seed)
        assert found.ratios[-1] > 10 * found.ratios[0]
        loss, accuracy = tuned(found.network, seed)
        assert loss < 0.15
        assert accuracy > 0.93


def test_layers_that_learn_targets_one_by_one_make_a_deep_net_learn() -> None:
    found = vg.pretrain(net(4), x[rows], labels[rows], method="supervised", epochs=15)
    loss, accuracy = tuned(found.network, 0)
    assert loss < 0.5
    assert accuracy > 0.85
    assert np.isnan(found.layers[0].error).all()
    assert found.layers[0].loss[-1] < found.layers[0].loss[0]


def nudged() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """scikit-learn's example: each digit as it is, and moved by a pixel in four directions."""
    images = np.pad(digits.reshape(-1, 8, 8), ((0, 0), (1, 1), (1, 1)))
    moved = [images[:, 1 + i : 9 + i, 1 + j : 9 + j] for i, j in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))]
    many = np.concatenate(moved).reshape(-1, 64)
    return (many - many.min(0)) / (many.max(0) + 1e-4), np.tile(labels, 5)


def test_a_logistic_regression_is_better_on_features_of_a_machine_than_on_pixels() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    many, y = nudged()
    shuffled = np.random.default_rng(0).permutation(len(many))
    train, test = shuffled[: len(many) * 4 // 5], shuffled[len(many) * 4 // 5 :]
    machine = vg.RBM.drawn(64, 100).fit(many[train], persistent=True, lr=0.06, epochs=10, batch=10, momentum=0.0)
    assert machine.pseudo_likelihood(many[train]).mean() > -22

    def score(features: NDArray[np.float64], c: float) -> float:
        model = linear_model.LogisticRegression(C=c, solver="newton-cg", tol=1e-3)
        return float(model.fit(features[train], y[train]).score(features[test], y[test]))

    assert score(machine.transform(many), 6000) > score(many, 100) + 0.07


def test_the_pseudo_likelihood_is_scikit_learns() -> None:
    network = pytest.importorskip("sklearn.neural_network")
    theirs = network.BernoulliRBM(n_components=20, n_iter=2, random_state=0).fit(x)
    ours = vg.RBM(theirs.components_, theirs.intercept_visible_, theirs.intercept_hidden_)
    np.testing.assert_allclose(ours.free_energy(x), theirs._free_energy(x), rtol=1e-12)
    np.testing.assert_allclose(ours.transform(x), theirs.transform(x), rtol=1e-10, atol=1e-12)
    spread = ours.pseudo_likelihood(x).std() / math.sqrt(len(x))
    assert ours.pseudo_likelihood(x).mean() == pytest.approx(theirs.score_samples(x).mean(), abs=7 * spread)


# The result.


def test_a_net_has_the_layers_that_learnt_and_the_readout_of_a_fresh_one() -> None:
    found = pretrained(4, "rbm(k=1)", 0)
    state, fresh = found.network.state_dict(), net(4).init(0).state_dict()
    for i, machine in enumerate(found.machines):
        np.testing.assert_array_equal(state[f"layers.{i}.weight"], machine.W.astype(np.float32))
        np.testing.assert_array_equal(state[f"layers.{i}.bias"], machine.c.astype(np.float32))
    np.testing.assert_array_equal(state["readout.weight"], fresh["readout.weight"])
    assert len(found.probes) == 5
    assert found.layers[0].error[-1] < found.layers[0].error[0]
    assert np.isnan(found.layers[0].free_energy_gap).all()
    assert pickle.loads(pickle.dumps(found)).ratios == pytest.approx(found.ratios)


def test_each_machine_learns_from_what_the_one_below_makes_of_the_rows() -> None:
    found = vg.pretrain(net(2), x[:200], epochs=3)
    below = found.machines[0].transform(x[:200])
    alone = vg.pretrain(net(1), below, epochs=3)
    assert alone.machines[0].visible == found.machines[1].visible
    assert found.layers[1].error[-1] == pytest.approx(np.mean((found.machines[1].reconstruct(below) - below) ** 2))


def test_rows_that_are_held_out_are_monitored_and_not_learnt_from() -> None:
    shared = vg.pretrain(net(2), x[:300], labels[:300], epochs=3, held_out=0.2)
    assert np.isfinite(shared.layers[1].free_energy_gap).all()
    assert len(shared.probes[0].x) == 240  # type: ignore[arg-type]
    given = vg.RBM.drawn(64, 8).fit(x[:200], epochs=2, held_out=x[200:300])
    gap = given.free_energy_gap(x[:200], x[200:300])
    assert given.monitors["free_energy_gap"][-1] == pytest.approx(gap)


def test_a_frame_has_a_row_a_layer_and_epoch_and_leaves_out_what_says_nothing() -> None:
    found = pretrained(4, "rbm(k=1)", 0).to_dict()
    assert list(found) == ["layer", "epoch", "error", "pseudo_likelihood"]
    assert found["layer"].tolist()[::30] == [1, 2, 3, 4]
    assert len(pretrained(4, "dae(corrupt=0.25)", 0).to_pandas()) == 120


def test_a_deep_belief_net_dreams_of_digits() -> None:
    dbn = pretrained(4, "rbm(k=1)", 0).dbn
    dreamt = dbn.sample(50, steps=200, seed=3)
    assert dreamt.shape == (50, 64)
    assert 0 <= dreamt.min() <= dreamt.max() <= 1
    np.testing.assert_array_equal(dreamt, dbn.sample(50, steps=200, seed=3))
    # What is 0 in every digit is dark in a dream, and its digits are not all alike.
    assert dreamt[:, (x == 0).all(0)].max() < 0.1
    assert dreamt.std(0).max() > 0.2
    with pytest.raises(ValueError, match="made of Boltzmann machines: pretrain with 'rbm', not 'dae"):
        pretrained(4, "dae(corrupt=0.25)", 0).dbn  # noqa: B018


# Advice.


def test_advice_proposes_layers_trained_one_by_one_where_it_may_and_measures_that_very_net() -> None:
    given: dict[str, Any] = {"x": x, "y": labels, "budget": 1, "seeds": 2}
    words = {advice.change: advice for advice in vg.advise(net(6), pretrain=True, **given)}
    assert {*words} == {"pretrain=rbm"}
    found = words["pretrain=rbm"]
    assert found.spec == net(6)
    assert found.pretrained is not None
    after = vg.diagnose(found.pretrained.network, x=x, y=labels)
    assert after.verdict == found.after.verdict
    assert "pretrain=rbm" not in {advice.change for advice in vg.advise(net(6), **given)}
    assert not vg.advise(net(6), pretrain=True, keep="init", **given)
    # Of samples that are no probabilities, denoising autoencoders; of a net with norms, nothing.
    (other,) = vg.advise(net(6), pretrain=True, **given | {"x": 2 * x - 1})
    assert other.change == "pretrain=dae"


# What is refused.


@pytest.mark.parametrize(
    ("fields", "method", "words"),
    [
        ({"norm": "layer"}, "rbm", "layer 1 has a norm: give norm=None"),
        ({"skip": "residual"}, "dae", "layer . has a join: give skip=None"),
        ({"tied": True}, "rbm", "give tied=False"),
        ({"bias": False}, "dae", "layer 1 has no biases.*give bias=None"),
        ({"weight_transform": "spectral_norm"}, "rbm", "give weight_transform=None"),
        ({"activation": "tanh"}, "rbm(k=2)", "those of layer 1 are tanh: give activation='sigmoid', or method='dae'"),
        ({"activation": "swiglu"}, "dae", "swiglu in layer 1 gates, doubles or learns"),
        ({"activation": "prelu"}, "dae", "prelu.* in layer 1 gates, doubles or learns"),
        ({"out_features": None}, "supervised", "needs a readout: give out_features"),
        ({}, "rbn", "unknown pretraining 'rbn'.*did you mean 'rbm'"),
        ({}, "rbm(k=0.5)", "k must be a whole number"),
        ({}, "dae(corrupt=1)", "corrupt must be below 1"),
    ],
)
def test_a_net_that_cannot_be_pretrained_is_refused_with_what_to_change(
    fields: dict[str, Any], method: str, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        vg.pretrain(net(2, **fields), x[:50], labels[:50], method=method, epochs=1)


def test_other_nets_and_samples_that_are_no_probabilities_are_refused_with_advice() -> None:
    parts = vg.Sequential(["linear(8)", "sigmoid", "linear(2)"], in_features=64)
    with pytest.raises(TypeError, match="spec must be an MLP, whose layers"):
        vg.pretrain(parts, x)
    with pytest.raises(ValueError, match=r"x must be from 0 to 1.*got 0 to 16; scale it, as in.*or take method='dae'"):
        vg.pretrain(net(1), digits)
    with pytest.raises(ValueError, match="from 0 to 1"):
        SMALL.free_energy(2 * PATTERNS)
    with pytest.raises(ValueError, match="needs targets: give y"):
        vg.pretrain(net(1), x, method="supervised")
    bits = (np.random.default_rng(0).random((40, 6)) > 0.5).astype(float)
    with pytest.raises(ValueError, match=r"diverged in epoch 1: give a smaller lr than 1e\+39"):
        vg.RBM.drawn(6, 4).fit(bits, lr=1e39)
    shut = vg.RBM.drawn(6, 4).fit(bits, lr=1e30).monitors["error"]
    assert shut.min() > vg.RBM.drawn(6, 4).fit(bits, lr=0.1).monitors["error"].max()
    with pytest.raises(ValueError, match="diverged in epoch 1: give a smaller lr"):
        vg.pretrain(net(1, activation="relu"), 100 * x, method="dae", lr=1e6, epochs=3)


@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu"])
def test_a_denoising_layer_may_have_any_activation_and_any_inputs(activation: str) -> None:
    found = vg.pretrain(net(2, activation=activation), 3 * x[:300] - 1, method="dae", epochs=4, lr=0.005)
    for layer in found.layers:
        assert layer.error[-1] < layer.error[0]


def test_a_layer_that_learns_targets_begins_with_the_biases_of_the_net() -> None:
    rows = np.random.default_rng(0).random((40, 6))
    fields: dict[str, Any] = {"depth": 2, "width": 4, "in_features": 6, "out_features": 2, "activation": "sigmoid"}
    for bias, own in (("constant(3)", (3, 3)), (("constant(3)", "constant(2)", "zeros"), (3, 2))):
        spec = vg.MLP(**fields, bias=bias)
        found = vg.pretrain(spec, rows, np.arange(40) % 2, method="supervised", epochs=1, lr=1e-9)
        state = found.network.state_dict()
        for layer, value in enumerate(own):
            np.testing.assert_allclose(state[f"layers.{layer}.bias"], value, rtol=1e-6)


@pytest.mark.parametrize("method", ["rbm", "supervised"])
def test_targets_that_are_not_as_many_as_the_rows_are_refused_by_name(method: str) -> None:
    spec = vg.MLP(depth=2, width=4, in_features=6, out_features=2, activation="sigmoid")
    rows = np.random.default_rng(0).random((40, 6))
    for y in (np.zeros(3, int), np.zeros(41, int), 3):
        with pytest.raises(ValueError, match=r"y must have a target a row of x, 40 of them, got shape"):
            vg.pretrain(spec, rows, y, method=method, epochs=1)


def test_what_was_seen_of_a_machine_is_read_only_and_pickled() -> None:
    learnt = vg.RBM.drawn(4, 3).fit(PATTERNS, epochs=2)
    with pytest.raises(ValueError, match="read-only"):
        learnt.monitors["error"][0] = 0
    with pytest.raises(TypeError):
        learnt.monitors["error"] = np.zeros(2)  # type: ignore[index]  # which is what is held
    again = pickle.loads(pickle.dumps(learnt))
    assert again.monitors.keys() == learnt.monitors.keys()
    assert not again.monitors["error"].flags.writeable


@pytest.mark.parametrize("bad", [range(10**12), [[np.nan]], [[np.inf]]])
def test_numbers_of_a_machine_that_cannot_be_are_refused_by_name(bad: object) -> None:
    with pytest.raises(ValueError, match=r"^W must be "):
        vg.RBM(bad, [0.0], [0.0])  # type: ignore[arg-type]
