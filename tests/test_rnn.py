"""Recurrent nets: one step by hand, gradients, memories of thousands of steps, twins, and what a spec takes."""

import json
import math
import os
import pickle
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vgcore as vg
from strategies import recurrents
from vgcore import _core, reference
from vgcore.reference.cases import CELLS

Array = np.ndarray[Any, Any]
GATES = {"lstm": "ifgo", "gru": "rzn", "gru(reset=before)": "rzn"}


def normals(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


@settings(deadline=None)
@given(recurrents(), st.integers(0, 5), st.sampled_from([None, "mse", "cross_entropy"]))
def test_gradients_are_those_of_differences(spec: vg.RNN, seed: int, loss: str | None) -> None:
    errors = vg.gradcheck(spec, seed=seed, batch=3, loss=loss)
    assert max(errors.values()) < 1e-6, errors


@settings(deadline=None)
@given(recurrents(), st.sampled_from([None, 1, 2]), st.integers(0, 3))
def test_passes_are_those_of_the_twin(spec: vg.RNN, truncate: int | None, seed: int) -> None:
    spec = spec.replace(truncate=truncate)
    net = spec.init(seed=seed, dtype="float64")
    x = normals(4, spec.steps, spec.in_features)
    state = net.state_dict()
    y = reference.forward(spec, state, x)
    np.testing.assert_allclose(net.forward(x), y, rtol=0, atol=1e-13)
    # A batch is a row a sample, with steps in order.
    np.testing.assert_array_equal(net.forward(x.reshape(4, -1)), net.forward(x))
    cotangent = normals(*y.shape, seed=1)
    ours, theirs = net.backward(x, cotangent), reference.backward(spec, state, x, cotangent)
    for name, gradient in theirs.parameters.items():
        np.testing.assert_allclose(ours.parameters[name], gradient, rtol=1e-10, atol=1e-13, err_msg=name)
    for delta, twin in zip(ours.preactivations, theirs.preactivations, strict=True):
        np.testing.assert_allclose(delta, twin, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(ours.input, theirs.input.reshape(ours.input.shape), rtol=1e-10, atol=1e-13)


@settings(deadline=None)
@given(recurrents(), st.sampled_from([None, 2]))
def test_numbers_and_columns_are_those_of_the_twin(spec: vg.RNN, truncate: int | None) -> None:
    spec = spec.replace(truncate=truncate)
    for name, array in reference.init(spec, 3).items():
        np.testing.assert_allclose(spec.init(seed=3, dtype="float64").state_dict()[name], array, atol=1e-14)
    probe, twin = vg.probe(spec, seeds=1, batch=5, dtype="float64"), reference.probe(spec, seeds=1, batch=5)
    for name, column in twin.items():
        if name == "log10_sample_wgrad_rms" and "gru" in spec.cell:
            continue  # The twin has that of the inputs' map, whose candidate is another; the test below has ours.
        # What rounding leaves of a sum that is zero, 12 decades down, counts as nothing.
        ours, theirs = (np.maximum(each, -12) for each in (getattr(probe, name), column))
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-8, err_msg=name)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("biases", [1, 2])
def test_a_samples_share_of_a_weight_gradient_is_its_gradient_alone(cell: str, biases: int) -> None:
    # Of two steps the first has no state, so that all of dL/dW is of the second.
    spec = vg.RNN(2, 4, in_features=3, cell=cell, biases=biases, bias="normal(0, 0.3)")
    net, x = spec.init(seed=0, dtype="float64"), normals(5, 2, 3)
    cotangent = _core.cotangent(spec, 0, len(x), "float64")
    alone = [net.backward(x[i : i + 1], cotangent[i : i + 1]).parameters["layers.0.weight"] for i in range(len(x))]
    expected = np.log10(np.mean([(each**2).sum() for each in alone])) / 2
    assert vg.probe(net, x=x).log10_sample_wgrad_rms[0, 1] == pytest.approx(expected, abs=1e-10)


def test_a_plain_net_is_a_tied_mlp_that_is_fed_at_every_step() -> None:
    rnn = vg.RNN(7, 6, in_features=2, out_features=3, cell="tanh", init="xavier_normal", recurrent_init="orthogonal")
    mlp = vg.MLP(
        depth=7, width=6, in_features=2, out_features=3, activation="tanh", init="orthogonal", tied=True, inputs="every"
    )
    state = rnn.init(seed=0).state_dict()
    other = {"layers.0.weight": "layers.0.weight", "layers.0.bias": "inputs.0.bias", "inputs.weight": "inputs.0.weight"}
    names = mlp.init().state_dict()
    net = vg.Network.from_state_dict(mlp, {name: state[other.get(name, name)] for name in names})
    x = normals(5, 7, 2)
    np.testing.assert_allclose(net.forward(x), vg.Network.from_state_dict(rnn, state).forward(x), rtol=0, atol=1e-6)


# --- One step by hand ----------------------------------------------------------------------------


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def stepped(cell: str, before: list[float], hidden_bias: float = 0.0) -> tuple[vg.Network, Array]:
    """A net of one unit whose weights are .5, and two steps: one into a state, and the golden one at x = 1.

    What leads into the state is a second column of x, with weights of its own; it is 0 in the golden step.
    """
    spec = vg.RNN(2, 1, in_features=2, cell=cell, biases=2)
    gates = len(before)
    state = {
        "layers.0.weight": np.full((gates, 1), 0.5),
        "layers.0.bias": np.array([0.0] * (gates - 1) + [hidden_bias]),
        "inputs.0.weight": np.array([[0.5, lead] for lead in before]),
        "inputs.0.bias": np.zeros(gates),
    }
    return vg.Network.from_state_dict(spec, state), np.array([[[0.0, 1.0], [1.0, 0.0]]])


def test_a_step_of_an_lstm_has_the_golden_digits() -> None:
    # h .1 and c .2 behind the first step.
    out = 0.1 / math.tanh(0.2)
    net, x = stepped("lstm", [0.0, 0.0, math.atanh(0.4), logit(out)])
    assert abs(net.forward(x)[0, 0] - 0.264523472720401) < 1e-13
    gradients = net.backward(x, np.ones((1, 1)))
    golden = [0.0608251156735693, 0.024304759054155835, 0.2489435793435227, 0.09677972401062017]
    np.testing.assert_allclose(gradients.preactivations[1][0], golden, rtol=0, atol=1e-13)
    probe = vg.probe(net, x=x, loss="output_sum")
    assert abs(10 ** probe.log10_dh_rms[0, 0] - 0.215426589040934) < 1e-13
    assert abs(10 ** probe.log10_c_rms[0, 1] - 0.444224798138131) < 1e-13
    # What reaches c straight, and through h of its own step.
    dc = 0.332155280166557 + 0.215426589040934 * out * (1 - math.tanh(0.2) ** 2)
    assert abs(10 ** probe.log10_dc_rms[0, 0] - dc) < 1e-13
    assert abs(probe.mean_i[0, 1] - 0.634135591010801) < 1e-13
    assert abs(probe.mean_g[0, 1] - 0.500520211190235) < 1e-13
    # The shares of what goes on to the first step: W^T dz of each gate, and f times what has reached c.
    squares = np.array([0.332155280166557, *(0.5 * d for d in golden)]) ** 2
    shares = [probe.share_cell, probe.share_i, probe.share_f, probe.share_g, probe.share_o]
    np.testing.assert_allclose([share[0, 1] for share in shares], squares / squares.sum(), atol=1e-13)


@pytest.mark.parametrize(("cell", "golden"), [("gru", 0.289559528462981), ("gru(reset=before)", 0.312710421482051)])
def test_a_step_of_a_gru_has_the_golden_digits(cell: str, golden: float) -> None:
    # h .1 behind the first step, half of a candidate .2.
    lead = math.atanh(0.2) - (0.15 if cell == "gru" else 0.3)
    net, x = stepped(cell, [0.0, 0.0, lead], hidden_bias=0.3)
    assert abs(net.forward(x)[0, 0] - golden) < 1e-13

    def by_hand(h: float) -> float:
        r = z = sigmoid(0.5 + 0.5 * h)
        inside = r * (0.5 * h + 0.3) if cell == "gru" else 0.5 * r * h + 0.3
        return (1 - z) * math.tanh(0.5 + inside) + z * h

    probe = vg.probe(net, x=x, loss="output_sum")
    slope = (by_hand(0.1 + 1e-5) - by_hand(0.1 - 1e-5)) / 2e-5
    assert abs(10 ** probe.log10_dh_rms[0, 0] - slope) < 1e-9
    shares = sum(getattr(probe, f"share_{path}")[0, 1] for path in ("cell", "r", "z", "n"))
    assert abs(shares - 1) < 1e-14


# --- Memories ------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["tanh", "lstm", "lstm(forget_bias=0)", "gru"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_thousands_of_steps_lose_no_gradient(cell: str, dtype: str) -> None:
    for steps in (1000, 10_000):
        spec = vg.RNN(steps, 8, cell=cell, out_features=1)
        probe = vg.probe(spec, seeds=1, batch=4, dtype=dtype)
        assert np.isfinite(probe.log10_dh_rms).all()
        assert np.isfinite(probe.log10_delta_rms).all()
        if "lstm" in cell:
            assert np.isfinite(probe.log10_dc_rms).all()
    # Far below what any float holds.
    assert probe.log10_dh_rms[0, 0] < -100


def test_torchs_lstm_loses_a_fifth_of_a_decade_a_step() -> None:
    spec = vg.RNN(
        200, 64, in_features=64, cell="lstm(forget_bias=0)", init="torch_rnn", recurrent_init="torch_rnn", biases=2
    )
    probe = vg.probe(spec, seeds=3, batch=32)
    lost = (probe.log10_dc_rms[:, 180] - probe.log10_dc_rms[:, 20]) / 160
    np.testing.assert_allclose(lost, 0.203, atol=0.012)
    # In float32 nothing would be left of it.
    assert (probe.log10_dc_rms[:, 0] - probe.log10_dc_rms[:, -1] < -38).all()


@pytest.mark.parametrize(
    ("cell", "factor"),
    [
        ("lstm(forget_bias=0)", 0.626),
        ("lstm", 0.8425),
        ("gru", 0.6277),
        ("gru(update_bias=1)", 0.7944),
        ("gru(update_bias=2)", 0.9033),
        ("gru(update_bias=4)", 0.9820),
    ],
)
def test_the_gradient_shrinks_by_the_measured_factor_a_step(cell: str, factor: float) -> None:
    spec = vg.RNN(101, 128, in_features=64, cell=cell, init="torch_rnn", recurrent_init="torch_rnn", biases=2)
    probe = vg.probe(spec, seeds=4, batch=32)
    found = 10 ** ((probe.log10_dh_rms[:, 10] - probe.log10_dh_rms[:, 80]) / 70)
    assert abs(found.mean() / factor - 1) < 0.02


@pytest.mark.parametrize(("bias", "constant"), [(0, 1.4427), (1, 3.1922), (2, 7.8785), (3, 20.5815), (5, 148.913)])
def test_a_forget_bias_is_a_time_constant(bias: int, constant: float) -> None:
    spec = vg.RNN(3, 4, cell=f"lstm(forget_bias={bias})", init="zeros", recurrent_init="zeros")
    forget = vg.probe(spec, seeds=1, batch=3, dtype="float64").mean_f[0, 1]
    assert abs(-1 / math.log(forget) / constant - 1) < 5e-5


@pytest.mark.parametrize("biases", [1, 2])
@pytest.mark.parametrize(("cell", "row"), [("lstm(forget_bias=3)", 1), ("gru(update_bias=3)", 1)])
def test_a_bias_of_a_gate_is_added_once(cell: str, row: int, biases: int) -> None:
    state = vg.RNN(3, 4, cell=cell, biases=biases).init(seed=0).state_dict()
    expected = np.zeros(len(state["inputs.0.bias"]))
    expected[4 * row : 4 * row + 4] = 3
    np.testing.assert_array_equal(state["inputs.0.bias"], expected)
    assert ("layers.0.bias" in state) == (biases == 2)
    assert not state.get("layers.0.bias", np.zeros(1)).any()


def test_chrono_draws_memories_up_to_its_length() -> None:
    state = vg.RNN(3, 2000, cell="lstm", bias="chrono(100)", biases=2).init(seed=0, dtype="float64").state_dict()
    i, f, g, o = np.split(state["inputs.0.bias"], 4)
    np.testing.assert_array_equal(i, -f)
    assert not g.any()
    assert not o.any()
    assert not state["layers.0.bias"].any()
    u = np.exp(f)
    assert 1 <= u.min() < 1.3
    assert 98.7 < u.max() <= 99
    assert abs(u.mean() - 50) < 3
    # sigma(ln(T - 1)) = 1 - 1/T, a time constant of T - 1/2 up to 1/(12 T).
    assert abs(sigmoid(math.log(99)) - 0.99) < 1e-12
    assert abs(-1 / math.log(sigmoid(math.log(99))) - 99.4992) < 1e-4
    state = vg.RNN(3, 50, cell="gru(update_bias=7)", bias="chrono(100)").init(seed=0).state_dict()
    r, z, n = np.split(state["inputs.0.bias"], 3)
    assert not r.any()
    assert not n.any()
    assert 0 < z.min() < z.max() < math.log(99)


@pytest.mark.parametrize("cell", ["lstm", "gru", "tanh"])
def test_every_gate_is_orthogonal_by_itself(cell: str) -> None:
    weight = vg.RNN(3, 16, cell=cell).init(seed=0, dtype="float64").state_dict()["layers.0.weight"]
    for gate in np.split(weight, len(GATES.get(cell, "h"))):
        np.testing.assert_allclose(gate @ gate.T, np.eye(16), atol=1e-13)


def test_an_irnn_starts_as_the_identity() -> None:
    state = vg.RNN(3, 64, in_features=32, cell="irnn").init(seed=0).state_dict()
    np.testing.assert_array_equal(state["layers.0.weight"], np.eye(64))
    assert abs(state["inputs.0.weight"].std() / 0.001 - 1) < 0.05


def test_an_irnn_has_no_gradient_exactly_where_every_state_has_been_zero_since() -> None:
    # With W = I each unit is a walk of its own that stops at 0, where its slope is 0; of one column, two a sample.
    spec = vg.RNN(3000, 4, cell="irnn")
    state, x = spec.init(seed=5, dtype="float64").state_dict(), reference.samples(spec, 5, 2, "float64").reshape(2, -1)
    np.testing.assert_array_equal(state["layers.0.weight"], np.eye(4))
    h, passes = np.zeros((2, 4)), []
    for t in range(3000):
        z = h + state["inputs.0.weight"][:, 0] * x[:, t : t + 1]
        passes.append(z > 0)
        h = np.maximum(z, 0)
    # What a state reaches: no step behind it was flat.
    reaches = np.asarray(np.logical_and.accumulate([np.ones((2, 4), bool), *passes[:0:-1]])[::-1].any(axis=(1, 2)))
    probe = vg.probe(spec, batch=2, seeds=1, seed=5, dtype="float64")
    np.testing.assert_array_equal(probe.log10_dh_rms[0] > -np.inf, reaches)
    assert not reaches[0]
    assert reaches[-50:].all()


# --- Columns -------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", list(GATES))
@pytest.mark.parametrize("layers", [1, 2])
def test_columns_of_gates_add_up_to_those_of_all(cell: str, layers: int) -> None:
    spec = vg.RNN(6, 7, in_features=3, out_features=2, cell=cell, layers=layers, bias="normal(0, 0.5)")
    probe = vg.probe(spec, seeds=2, batch=9, dtype="float64")
    letters = GATES[cell]

    def together(name: str) -> Array:
        sizes: Array = np.mean([100 ** getattr(probe, f"{name}_{letter}") for letter in letters], axis=0)
        return np.log10(sizes) / 2

    np.testing.assert_allclose(together("log10_z_rms"), probe.log10_z_rms, atol=1e-12)
    np.testing.assert_allclose(together("log10_delta_rms"), probe.log10_delta_rms, atol=1e-12)
    flat = np.mean([getattr(probe, f"saturated_{letter}") for letter in letters], axis=0)
    np.testing.assert_allclose(flat, probe.saturated, atol=1e-15)
    shares = [getattr(probe, f"share_{path}") for path in ("cell", *letters)]
    np.testing.assert_allclose(sum(shares), 1, atol=1e-12)
    # The norm of a gate's gradients is that of its rows of both maps.
    assert (
        sum(100 ** getattr(probe, f"log10_wgrad_norm_{letter}") for letter in letters) > 100**probe.log10_wgrad_norm
    ).all()
    assert set(probe.extra) == set(spec._checked.extra())
    assert spec.rows == spec.depth == 6 * layers
    assert spec.row_names[layers - 1] == f"layers.{layers - 1}"


def test_a_plain_net_has_no_columns_of_its_own() -> None:
    assert dict(vg.probe(vg.RNN(3, 4), seeds=1, batch=3).extra) == {}


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_truncation_cuts_the_gradient_between_stretches(cell: str, layers: int) -> None:
    spec = vg.RNN(6, 5, cell=cell, layers=layers, out_features=1, truncate=2, bias="normal(0, 0.4)")
    net = spec.init(seed=0, dtype="float64")
    x = normals(8, 6, 1)
    # Only the last stretch is left of a readout of the last step.
    gradients = net.backward(x, normals(8, 1))
    reached = [bool(delta.any()) for delta in gradients.preactivations]
    assert reached == [False] * (4 * layers) + [True] * (2 * layers)
    # With a readout of every step the stretches are nets of their own, each from the state where it begins.
    assert spec.replace(truncate=6).truncate is None
    with pytest.raises(ValueError, match="truncate"):
        vg.gradcheck(spec)


# --- Bits ----------------------------------------------------------------------------------------

BITS = """
import json, numpy as np, vgcore as vg
columns = []
for cell in CELLS:
    spec = vg.RNN(9, 13, in_features=3, out_features=2, cell=cell, layers=2, outputs="every", biases=2)
    probe = vg.probe(spec, seeds=2, batch=21, dtype="float64")
    columns += [probe.log10_dh_rms, probe.log10_wgrad_norm, *probe.extra.values()]
print(json.dumps([vg.build_info()["isa"], [np.nan_to_num(column).tolist() for column in columns]]))
"""


def test_bits_are_those_of_any_number_of_threads_and_of_every_instruction_set_that_fuses() -> None:
    def run(isa: str) -> tuple[str, list[Array]] | None:
        code = BITS.replace("CELLS", repr(CELLS))
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"VGCORE_ISA": isa},
            capture_output=True,
            text=True,
            check=False,
        )
        if "VGCORE_ISA must be one of" in done.stderr:
            return None
        assert done.returncode == 0, done.stderr
        used, columns = json.loads(done.stdout)
        return used, [np.array(column) for column in columns]

    best, scalar, avx2 = run(""), run("scalar"), run("avx2")
    assert best is not None
    assert scalar is not None
    for one, other in zip(best[1], scalar[1], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)
    if avx2 is not None and best[0] != "scalar":
        assert all((one == other).all() for one, other in zip(best[1], avx2[1], strict=True))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_threads_change_no_bit(cell: str, dtype: str) -> None:
    spec = vg.RNN(7, 13, in_features=3, cell=cell, layers=2, biases=2)
    one, two = (vg.probe(spec, seeds=2, batch=21, dtype=dtype, threads=threads) for threads in (1, 2))
    for name in ("log10_dh_rms", "log10_wgrad_norm", *one.extra):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


# Steps and samples of more than one product of deltas and inputs, and of more than one group of samples.
LONG = vg.RNN(40, 6, in_features=3, out_features=2, cell="lstm", layers=2, outputs="every", biases=2)


def long_data() -> tuple[Array, Array]:
    draw = np.random.default_rng(0).standard_normal
    return draw((70, 40, 3)), draw((70, 80))


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_over_many_steps_are_the_sum_of_those_of_parts_of_the_batch(cell: str) -> None:
    (x, y), net = long_data(), LONG.replace(cell=cell).init(seed=0, dtype="float64")
    loss = "mse(reduction=sum)"
    whole = net.gradients(x, y, loss=loss)
    parts = [net.gradients(x[rows], y[rows], loss=loss) for rows in (slice(7), slice(7, 70))]
    for name, gradient in whole.parameters.items():
        total = parts[0].parameters[name] + parts[1].parameters[name]
        np.testing.assert_allclose(gradient, total, rtol=0, atol=1e-13 * np.abs(total).max())
    np.testing.assert_allclose(whole.input, np.concatenate([part.input for part in parts]), rtol=1e-9, atol=1e-13)
    for row, delta in enumerate(whole.preactivations):
        expected = np.concatenate([part.preactivations[row] for part in parts])
        np.testing.assert_allclose(delta, expected, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("cell", CELLS)
def test_a_step_of_training_goes_along_the_gradients_over_many_steps(cell: str) -> None:
    (x, y), net = long_data(), LONG.replace(cell=cell).init(seed=0, dtype="float64")
    run = vg.train(net, x, y, steps=1, batch=70, loss="mse", optimizer=vg.SGD(lr=1.0))
    gradients = net.gradients(x, y, loss="mse").parameters
    after = run.network.state_dict()
    for name, before in net.state_dict().items():
        np.testing.assert_allclose(before - after[name], gradients[name], rtol=1e-9, atol=1e-13)


GRADIENTS = """
import hashlib, numpy as np, vgcore as vg
digest = hashlib.sha256()
for cell in CELLS:
    spec = vg.RNN(30, 13, in_features=3, out_features=2, cell=cell, layers=2, outputs="every")
    draw = np.random.default_rng(0).standard_normal
    x, y = draw((37, 30, 3), np.float32), draw((37, 60), np.float32)
    found = spec.init(seed=0).gradients(x, y, loss="mse", threads=THREADS)
    for array in (*found.parameters.values(), *found.preactivations, found.input):
        digest.update(array.tobytes())
print(vg.build_info()["isa"], digest.hexdigest())
"""


def test_bits_of_gradients_in_float32_are_those_of_any_threads_and_every_set_of_vectors() -> None:
    def run(isa: str, threads: int) -> tuple[str, str] | None:
        code = GRADIENTS.replace("CELLS", repr(CELLS)).replace("THREADS", str(threads))
        command = [sys.executable, "-c", code]
        env = os.environ | {"VGCORE_ISA": isa}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if "VGCORE_ISA must be one of" in done.stderr:
            return None
        assert done.returncode == 0, done.stderr
        used, bits = done.stdout.split()
        return used, bits

    best, two, avx2 = run("", 1), run("", 2), run("avx2", 2)
    assert best is not None
    assert best == two
    if avx2 is not None and best[0] != "scalar":
        assert best[1] == avx2[1]


# --- The spec ------------------------------------------------------------------------------------


@settings(deadline=None)
@given(recurrents())
def test_a_spec_comes_back_from_json_and_pickles_with_its_id(spec: vg.RNN) -> None:
    for other in (
        vg.RNN.from_json(spec.to_json()),
        pickle.loads(pickle.dumps(spec)),
        eval(repr(spec), {"RNN": vg.RNN}),
    ):
        assert other == spec
        assert other.id == spec.id
        assert hash(other) == hash(spec)
    assert json.loads(spec.to_json())["steps"] == spec.steps


def test_ids_stay_what_they_are() -> None:
    specs = [vg.RNN(5, 4), vg.RNN(5, 4, cell="lstm", layers=2, out_features=1), vg.RNN(5, 4, cell="gru", bias=False)]
    assert [spec.id for spec in specs] == IDS
    assert vg.RNN(5, 4, cell="lstm").id == vg.RNN(5, 4, cell="lstm(1)", truncate=5).id


IDS = ["6d6ebf9a4e70af38", "e4b7bb40a7a72a66", "f63ad47acf7542bb"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"steps": 0}, ["steps", "1 to 1000000"]),
        ({"steps": 10**6, "layers": 2}, ["steps", "500000"]),
        ({"width": 0}, ["width", "1 to"]),
        ({"cell": "lsmt"}, ["unknown cell 'lsmt'", "did you mean 'lstm'"]),
        ({"cell": "lstm(bias=1)"}, ["forget_bias"]),
        ({"cell": "gru(reset=never)"}, ["after, before"]),
        ({"outputs": "all", "out_features": 1}, ["outputs", "'last' or 'every'"]),
        ({"outputs": "every"}, ["out_features"]),
        ({"biases": 3}, ["biases", "1 to 2"]),
        ({"layers": 0}, ["layers"]),
        ({"truncate": 0}, ["truncate"]),
        ({"cell": "gru", "norm": "layer"}, ["norm", "gru"]),
        ({"cell": "lstm", "bias": False}, ["forget_bias=0"]),
        ({"init": "lsuv"}, ["init='lsuv", "share"]),
        ({"recurrent_init": "fixup"}, ["recurrent_init='fixup"]),
        ({"bias": "chrono(100)"}, ["chrono", "lstm and gru"]),
        ({"cell": "lstm", "bias": "chrono(2)"}, ["T", "above 2"]),
        ({"init": "chrono(9)"}, ["chrono", "biases of gates"]),
    ],
)
def test_what_is_not_allowed_is_named_with_what_is(fields: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ValueError, match=re.escape(words[0])) as refusal:
        vg.RNN(**{"steps": 5, "width": 4} | fields)
    for word in words:
        assert word in str(refusal.value)


@pytest.mark.parametrize("fields", [{"steps": 2.5}, {"width": "4"}, {"cell": None}, {"biases": True}, {"layers": None}])
def test_a_value_of_another_type_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=next(iter(fields))):
        vg.RNN(**{"steps": 5, "width": 4} | fields)


def test_the_jacobian_is_that_of_a_plain_net_of_one_layer() -> None:
    spec = vg.RNN(4, 5, cell="tanh")
    net = spec.init(seed=0, dtype="float64")
    assert len(vg.jacobian(net, x=normals(4, 1)).log10_singular_values) == 5
    with pytest.raises(ValueError, match="two states"):
        vg.jacobian(vg.RNN(4, 5, cell="lstm").init(seed=0), x=normals(4, 1))


# --- Training ------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("outputs", ["last", "every"])
def test_a_recurrent_net_learns(cell: str, outputs: str) -> None:
    steps = 6
    x = normals(256, steps, 1)
    mean = np.cumsum(x[..., 0], axis=1) / steps
    y = mean if outputs == "every" else mean[:, -1:]
    spec = vg.RNN(steps, 12, cell=cell, out_features=1, outputs=outputs, layers=1 + (cell == "lstm"), truncate=4)
    run = vg.train(spec, x, y, steps=200, optimizer=vg.Adam(0.02), batch=32)
    assert np.mean(run.loss[..., -20:]) < 0.3 * np.mean(run.loss[..., :5])
