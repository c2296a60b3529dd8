# mypy: allow-subclassing-any
"""`vg.watch` and `vg.measure` against torch itself: the numbers, and every trap that hooks are known for."""

import copy
import gc
import io
import math
import pickle
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vgcore as vg
from vgcore.watch.layers import layers_of
from vgcore.watch.record import Eagerly
from vgcore.watch.sizes import lost
from vgcore.watch.watch import PATIENCE

torch = pytest.importorskip("torch", reason="watch needs torch: pip install torch")
nn: Any = torch.nn
checkpoint: Any = pytest.importorskip("torch.utils.checkpoint").checkpoint

BATCH, WIDTH = 6, 5


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    torch.manual_seed(0)
    yield
    # No test leaves torch in another state.
    assert not torch.is_autocast_enabled("cpu")
    if "torch._dynamo" in sys.modules:
        assert sys.modules["torch._dynamo"].eval_frame._stance.stance == "default"


def tanh(depth: int = 4) -> Any:
    return nn.Sequential(*[part for _ in range(depth) for part in (nn.Linear(WIDTH, WIDTH), nn.Tanh())])


def batch(*shape: int) -> Any:
    return torch.randn(shape or (BATCH, WIDTH))


def step(model: Any, x: Any = None, factor: float = 1.0) -> None:
    (model(batch() if x is None else x).square().mean() * factor).backward()


def expected(model: Any, x: Any, names: list[str], loss: Callable[[Any], Any]) -> np.ndarray[Any, Any]:
    """log10 of the norm of each layer's gradient, over the root of the samples, by autograd.grad alone."""
    outputs: list[Any] = []
    modules = dict(model.named_modules())
    handles = [modules[name].register_forward_hook(lambda *seen: outputs.append(seen[2])) for name in names]
    value = loss(model(x))
    for handle in handles:
        handle.remove()
    return np.array([math.log10(each.norm() / len(x) ** 0.5) for each in torch.autograd.grad(value, outputs)])


def backward(w: Any) -> Any:
    return w.trace.columns["log10_backward"][0]


def hooks(model: Any) -> int:
    """Hooks of any sort on a model, its modules and its parameters."""
    sorts = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    on_modules = sum(len(getattr(module, sort)) for module in model.modules() for sort in sorts)
    return on_modules + sum(len(weight._backward_hooks or ()) for weight in model.parameters())


def stood_in(model: Any) -> bool:
    return "_compiled_call_impl" in vars(model)


# Numbers


def test_a_net_of_vgcore_shows_the_gradients_that_vgcore_has() -> None:
    spec = vg.MLP(depth=40, width=32, in_features=32, out_features=10, activation="tanh", init="xavier_normal")
    ours = spec.init(seed=3)
    state = {key: torch.tensor(value) for key, value in ours.state_dict().items()}
    layers = [key.removesuffix(".weight") for key in state if key.endswith(".weight")]
    model = nn.Sequential()
    for name in layers:
        linear = nn.Linear(*reversed(state[f"{name}.weight"].shape))
        linear.load_state_dict({key: state[f"{name}.{key}"] for key in ("weight", "bias")})
        model.extend([linear, nn.Tanh()] if name != layers[-1] else [linear])
    rng = np.random.default_rng(0)
    x, cotangent = (rng.standard_normal((16, n)).astype(np.float32) for n in (32, 10))
    with vg.watch(model) as w:
        model(torch.tensor(x)).backward(torch.tensor(cotangent))
    gradients = ours.backward(x, cotangent)
    norms = [np.sqrt(np.square(each, dtype=float).sum(axis=1).mean()) for each in gradients.preactivations]
    columns = w.trace.columns
    assert np.abs(columns["log10_backward"][0] - np.log10(norms)).max() < 1e-6
    by_weight = [np.linalg.norm(each.astype(float)) for each in gradients.weights[:40]]
    assert np.abs(columns["log10_weight"][0] - np.log10(by_weight)).max() < 1e-6


def test_the_columns_are_what_torch_computes() -> None:
    model = nn.Sequential(nn.Linear(WIDTH, 7), nn.ReLU(), nn.Linear(7, 3))
    x, seen = batch(), []
    handle = model[1].register_forward_hook(lambda *given: seen.append(given[2].detach()))
    with vg.watch(model, layers="all") as w:
        step(model, x)
    handle.remove()
    assert w.names == ("0", "1", "2")
    columns = {name: column[0] for name, column in w.trace.columns.items()}
    (hidden,) = seen
    assert columns["log10_forward"][1] == pytest.approx(math.log10(hidden.square().mean() ** 0.5), abs=1e-6)
    assert columns["log10_largest"][1] == pytest.approx(math.log10(hidden.max()), abs=1e-6)
    assert columns["zeros"][1] == pytest.approx(float((hidden == 0).float().mean()))
    assert columns["log10_weight"][0] == pytest.approx(math.log10(model[0].weight.grad.norm()), abs=1e-6)
    assert math.isnan(columns["log10_weight"][1])  # it has no weight
    assert columns["log10_backward"] == pytest.approx(
        expected(model, x, ["0", "1", "2"], lambda out: out.square().mean()), abs=1e-6
    )
    assert w.trace.batch == BATCH


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("decades", [-30, 30])
def test_squares_neither_overflow_nor_underflow(dtype: str, decades: int) -> None:
    decades *= 10 if dtype == "float64" else 1
    kind = getattr(torch, dtype)
    model = tanh(3).to(kind)
    x = batch().to(kind)
    with vg.watch(model, every=1) as w:
        model(x).sum().backward()
        model(x).backward(torch.full((BATCH, WIDTH), 10.0**decades, dtype=kind))
    plain, scaled = w.history.columns["log10_backward"]
    assert scaled - plain == pytest.approx(decades, abs=2e-2 if dtype == "bfloat16" else 1e-6)
    assert w.trace.dtype == dtype


def test_a_large_tensor_keeps_its_digits() -> None:
    model = nn.Sequential(nn.Linear(1, 2000, bias=False), nn.Identity())
    x = batch(1000, 1)
    with vg.watch(model) as w:
        model(x).square().sum().backward()
    exact = (2 * (x.double() @ model[0].weight.detach().double().T)).norm() / 1000**0.5
    assert backward(w)[0] == pytest.approx(math.log10(exact), abs=1e-6)


def test_overflow_is_marked_and_is_no_number() -> None:
    model = tanh(3)
    with vg.watch(model) as w:
        model(batch()).backward(torch.full((BATCH, WIDTH), math.inf))
    assert w.trace.columns["nonfinite"].all()
    assert np.isnan(backward(w)).all()
    assert w.trace.lost_below.tolist() == [-1]


def test_gradients_below_the_least_float_are_lost_and_never_zero() -> None:
    model = nn.Sequential(*[part for _ in range(70) for part in (nn.Linear(8, 8), nn.Sigmoid())])
    with vg.watch(model) as w:
        model(batch(BATCH, 8)).square().mean().backward()
    (last,) = w.trace.lost_below
    assert 0 < last < 60
    assert np.isnan(backward(w)[: last + 1]).all()
    assert np.isfinite(backward(w)[last + 1 :]).all()
    # Those that are left are right, by a net of doubles.
    double = copy.deepcopy(model).double()
    torch.manual_seed(0)
    x = batch(BATCH, 8)
    with vg.watch(model) as single, vg.watch(double) as wide:
        for each in (model, double):
            each(x.to(each[0].weight.dtype)).square().mean().backward()
    assert wide.trace.lost_below.tolist() == [-1]
    (last,) = single.trace.lost_below
    assert backward(single)[last + 1 :] == pytest.approx(backward(wide)[last + 1 :], abs=1e-3)


def test_a_gradient_of_zero_behind_a_large_one_is_zero() -> None:
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH))
    nn.init.constant_(model[0].bias, -100.0)  # dead for every sample
    with vg.watch(model) as w:
        step(model)
    assert backward(w)[0] == -math.inf
    assert w.trace.columns["log10_forward"][0, 0] > 1
    assert w.trace.lost_below.tolist() == [-1]


def test_what_is_lost_is_told_from_zero_by_its_neighbour_toward_the_output() -> None:
    kind, nothing = torch.float32, -math.inf
    sizes = np.array([nothing, nothing, math.nan, -44.0, -30.0, nothing, -1.0])
    assert lost(sizes, [kind] * 7).tolist() == [True, True, False, True, False, False, False]
    assert lost(np.array([-7.0, -3.0]), [torch.float16] * 2).tolist() == [True, False]


# Steps


def test_every_so_many_steps_are_seen_and_the_others_have_no_hooks() -> None:
    model = tanh()
    counts: list[int] = []
    model[2].register_forward_hook(lambda *_: counts.append(hooks(model)))
    with vg.watch(model, every=3) as w:
        for _ in range(8):
            step(model)
            assert hooks(model) == 1
    assert w.history.steps == (0, 3, 6)
    assert w.trace.steps == (6,)
    assert [count > 1 for count in counts] == [True, False, False] * 2 + [True, False]
    assert "3 of 8 steps" in repr(w)


def test_a_forward_pass_without_gradients_is_no_step() -> None:
    model = tanh()
    with vg.watch(model, every=2) as w:
        for _ in range(3):
            step(model)
            with torch.no_grad():
                model(batch())
            with torch.inference_mode():
                model(batch())
    assert w.history.steps == (0, 2)


def test_an_evaluation_between_forward_and_backward_does_no_harm() -> None:
    model = tanh()
    x = batch()
    with vg.watch(model) as w:
        value = model(x).sum()
        model.eval()
        with torch.no_grad():
            model(batch())
        model.train()
        value.backward()
    assert backward(w) == pytest.approx(expected(model, x, ["0", "2", "4", "6"], torch.sum), abs=1e-6)


def test_training_in_evaluation_mode_is_seen() -> None:
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH), nn.Linear(WIDTH, WIDTH)).eval()
    with vg.watch(model) as w:
        step(model)
    assert np.isfinite(backward(w)).all()


def test_a_sampled_pass_without_a_backward_pass_is_made_up_for() -> None:
    model = tanh()
    with vg.watch(model, every=100) as w:
        for _ in range(3):  # as when one forgets no_grad
            model(batch())
        step(model)
        step(model)
    assert len(w.history.steps) == 1
    assert np.isfinite(backward(w)).all()


def test_accumulated_gradients_are_one_record_a_backward_pass() -> None:
    model = tanh()
    xs = [batch() for _ in range(3)]
    with vg.watch(model, every=1) as w:
        for x in xs:
            step(model, x, factor=1 / 3)
    names = ["0", "2", "4", "6"]
    alone = [expected(model, x, names, lambda out: out.square().mean() / 3) for x in xs]
    assert w.history.columns["log10_backward"] == pytest.approx(np.array(alone), abs=1e-6)
    # The norm of a weight's gradient is that of this pass, not of the sum so far.
    model.zero_grad()
    step(model, xs[2], factor=1 / 3)
    assert w.history.columns["log10_weight"][2, 1] == pytest.approx(math.log10(model[2].weight.grad.norm()), abs=1e-6)


def test_of_several_passes_before_one_backward_pass_the_sampled_one_is_seen() -> None:
    model = tanh()
    x = batch()
    with vg.watch(model) as w:
        first, second = model(x), model(batch())
        (first.sum() + second.sum()).backward()
    assert w.history.steps == (0,)
    assert backward(w) == pytest.approx(expected(model, x, ["0", "2", "4", "6"], torch.sum), abs=1e-6)


@pytest.mark.parametrize(("every", "steps"), [(1, (0, 2, 4, 6, 8, 10)), (2, (0, 2, 4, 6, 8, 10)), (3, (0, 4, 8))])
def test_of_a_model_called_twice_a_step_each_row_is_of_a_first_call(every: int, steps: tuple[int, ...]) -> None:
    model = tanh()
    x = batch()
    with vg.watch(model, every=every) as w:
        for _ in range(6):
            (model(x).sum() + 100 * model(batch()).sum()).backward()
    assert w.history.steps == steps
    first = expected(model, x, ["0", "2", "4", "6"], torch.sum)
    assert w.history.columns["log10_backward"] == pytest.approx(np.tile(first, (len(steps), 1)), abs=1e-6)
    assert "called 2 times before the backward pass" in w.trace.notes[0]
    assert any("called 2 times" in note for note in vg.diagnose(w).notes)


def test_each_call_of_a_step_by_hand_is_seen() -> None:
    model = tanh(1)
    xs = [batch(), batch()]
    with vg.watch(model) as w:
        w.begin()
        (model(xs[0]).sum() + 100 * model(xs[1]).sum()).backward()
        w.end()
    assert w.names == ("0", "0@2")
    first, second = (expected(model, x, ["0"], torch.sum)[0] for x in xs)
    assert backward(w) == pytest.approx([first, second + 2], abs=1e-6)
    assert w.trace.notes == ()


def test_a_step_whose_graph_is_kept_without_a_backward_pass_is_given_up_in_time() -> None:
    model = tanh(1)
    with vg.watch(model, every=1) as w:
        kept = [model(batch()) for _ in range(PATIENCE)]
        step(model)
    assert w.history.steps == (len(kept),)


def test_others_backward_passes_in_between_are_not_taken_for_it() -> None:
    model = tanh()
    x = batch()
    with vg.watch(model) as w:
        first = model(x)
        (1e6 * model(batch()).sum()).backward()
        model.zero_grad()
        first.sum().backward()
    assert backward(w) == pytest.approx(expected(model, x, ["0", "2", "4", "6"], torch.sum), abs=1e-6)
    norms = [math.log10(model[i].weight.grad.norm()) for i in range(0, 8, 2)]
    assert w.trace.columns["log10_weight"][0] == pytest.approx(norms, abs=1e-6)


def test_of_two_backward_passes_through_one_graph_the_first_counts() -> None:
    model = tanh()
    x = batch()
    with vg.watch(model, every=1) as w:
        value = model(x).sum()
        value.backward(retain_graph=True)
        (1e3 * value).backward()
    assert w.history.runs == 1
    assert backward(w) == pytest.approx(expected(model, x, ["0", "2", "4", "6"], torch.sum), abs=1e-6)


def test_gradients_of_gradients_are_as_without_a_watch() -> None:
    model = tanh().double()
    x = batch().double()

    def penalty() -> list[Any]:
        model.zero_grad()
        given = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(model(given).sum(), given, create_graph=True)
        (gradient.norm() - 1).square().backward()
        return [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]

    plain = penalty()
    with vg.watch(model, every=1) as w:
        seen = penalty()
    assert all(torch.equal(*pair) for pair in zip(plain, seen, strict=True))
    assert backward(w) == pytest.approx(expected(model, x, ["0", "2", "4", "6"], torch.sum), abs=1e-9)


def test_the_net_that_is_watched_trains_as_without() -> None:
    def trained(every: int | None) -> list[Any]:
        torch.manual_seed(1)
        model = nn.Sequential(tanh(), nn.Dropout(0.2), nn.Linear(WIDTH, 1))
        optimiser = torch.optim.Adam(model.parameters())
        w = vg.watch(model, every=every) if every else None
        for _ in range(5):
            optimiser.zero_grad()
            step(model)
            optimiser.step()
        if w:
            w.close()
        return list(model.parameters())

    assert all(torch.equal(*pair) for pair in zip(trained(None), trained(2), strict=True))


# Ends


def test_an_exception_in_the_forward_pass_passes_and_the_next_step_is_sampled() -> None:
    model = tanh()
    with vg.watch(model) as w:
        for wrong in (RuntimeError, KeyboardInterrupt):

            def fail(*_: Any, error: type[BaseException] = wrong) -> None:
                raise error

            handle = model[4].register_forward_hook(fail)
            with pytest.raises(wrong):
                model(batch())
            handle.remove()
            assert hooks(model) == 0
        step(model)
    assert w.history.steps == (2,)


def test_an_exception_in_the_backward_pass_passes_and_the_next_step_is_sampled() -> None:
    model = tanh()

    def fail(_: Any) -> None:
        raise OSError("no")

    with vg.watch(model) as w:
        hidden = model[1].register_forward_hook(lambda *seen: seen[2].register_hook(fail) and None)
        with pytest.raises(OSError, match="no"):
            step(model)
        hidden.remove()
        step(model)
    assert w.history.steps == (1,)
    assert np.isfinite(backward(w)).all()
    assert hooks(model) == 0


def test_a_watch_closed_in_mid_step_keeps_what_it_had() -> None:
    model = tanh()
    w = vg.watch(model, every=1)
    step(model)
    value = model(batch()).sum()
    w.close()
    assert (hooks(model), stood_in(model)) == (0, False)
    value.backward()
    step(model)
    assert w.history.steps == (0,)
    w.close()  # once more does nothing
    assert "closed" in repr(w)


def test_a_watch_that_nobody_holds_is_gone() -> None:
    model = tanh()
    w = vg.watch(model)
    value = model(batch()).sum()
    gone = weakref.ref(w)
    del w
    gc.collect()
    assert gone() is None
    assert (hooks(model), stood_in(model)) == (0, False)
    value.backward()


def test_a_model_that_nobody_holds_is_gone_without_the_collector() -> None:
    model = tanh()
    w = vg.watch(model)
    step(model)
    w.close()
    gone = weakref.ref(model)
    gc.disable()
    del model
    gc.enable()
    assert gone() is None
    assert w.trace.depth == 4


def test_two_watches_of_one_model_see_the_same_in_whatever_order_they_end() -> None:
    model = tanh()
    one, two = vg.watch(model, every=1), vg.watch(model, every=2)
    for _ in range(2):
        step(model)
    one.close()
    for _ in range(2):
        step(model)
    two.close()
    assert not stood_in(model)
    assert one.history.steps == (0, 1)
    assert two.history.steps == (0, 2)
    assert one.history.columns["log10_backward"][0].tolist() == two.history.columns["log10_backward"][0].tolist()


@pytest.mark.parametrize("when", ["between steps", "within a step"])
def test_copies_and_pickles_of_a_watched_model_carry_no_hooks(when: str) -> None:
    model = tanh()
    w = vg.watch(model, every=1)
    value = model(batch()).sum()
    if when == "between steps":
        value.backward()
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    copies = [copy.deepcopy(model), copy.copy(model), pickle.loads(pickle.dumps(model))]
    copies.append(torch.load(buffer, weights_only=False))
    for i, each in enumerate(copies):
        assert not stood_in(each)
        if i != 1:  # a shallow copy shares its modules
            assert hooks(each) == 0
    for each in copies:
        step(each)
    assert w._steps == 1  # calls of copies are none of the model
    assert list(model.state_dict()) == list(copies[0].state_dict())
    w.close()


def test_copies_in_a_step_by_hand_carry_hooks_that_do_nothing() -> None:
    model = tanh()
    with vg.watch(model) as w:
        w.begin()
        copies = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
        for each in copies:
            step(each)
        step(model)
        w.end()
    assert w.names == ("0", "2", "4", "6")


# Models


def test_in_place_activations_leave_the_gradient_of_what_came_before() -> None:
    torch.manual_seed(2)
    plain = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU())
    inplace = nn.Sequential(plain[0], nn.ReLU(inplace=True), plain[2], nn.ReLU(inplace=True))
    x = batch()
    with vg.watch(inplace) as w:
        inplace(x).sum().backward()
    assert backward(w) == pytest.approx(expected(plain, x, ["0", "2"], torch.sum), abs=1e-6)


class Shared(nn.Module):
    """One layer, three times."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 2)

    def forward(self, x: Any) -> Any:
        for _ in range(3):
            x = torch.tanh(self.inner(x))
        return self.out(x)


def test_a_shared_layer_is_named_by_its_use() -> None:
    model = Shared()
    x = batch()
    with vg.watch(model) as w:
        step(model, x)
    assert w.names == ("inner", "inner@2", "inner@3", "out")
    assert backward(w) == pytest.approx(expected(model, x, ["inner", "out"], lambda out: out.square().mean()), abs=1e-6)
    assert w.trace.columns["log10_weight"][0, :3] == pytest.approx(math.log10(model.inner.weight.grad.norm()), abs=1e-6)


class Branched(nn.Module):
    """One branch is worked out and not used, one layer is not called."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.unused, self.b, self.never = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x: Any) -> dict[str, Any]:
        x = self.a(x)
        return {"side": self.unused(x), "out": self.b(x)}


def test_an_unused_branch_has_no_gradient_and_not_one_of_zero() -> None:
    model = Branched()
    with vg.watch(model) as w:
        model(batch())["out"].sum().backward()
    assert w.names == ("a", "unused", "b")
    assert np.isnan(backward(w)).tolist() == [False, True, False]
    assert np.isfinite(w.trace.columns["log10_forward"]).all()
    assert w.trace.notes == ("never called: never",)


def test_layers_that_come_and_go_are_nan_where_they_were_not() -> None:
    class Skipping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(4))
            self.drop: set[int] = {1}

        def forward(self, x: Any) -> Any:
            for i, layer in enumerate(self.layers):
                if i not in self.drop:
                    x = layer(x)
            return x

    model = Skipping()
    with vg.watch(model, every=1) as w:
        step(model)
        model.drop = {0, 3}
        step(model)
    assert w.names == ("layers.1", "layers.2")
    assert w.history.names == ("layers.0", "layers.1", "layers.2", "layers.3")
    assert np.isnan(w.history.columns["log10_forward"]).tolist() == [
        [False, True, False, False],
        [True, False, False, True],
    ]


def test_an_attention_layer_answers_though_its_projection_is_never_called() -> None:
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2, enable_nested_tensor=False)
    for each in (model, model.eval()):
        with vg.watch(each, layers="all") as w:
            each(batch(3, 4, 8)).square().mean().backward()
        assert "layers.0.linear1" in w.names
        assert np.isfinite(backward(w)).all()
        (note,) = w.trace.notes
        assert note == "never called: layers.0.self_attn.out_proj, layers.1.self_attn.out_proj"


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("use", ["outputs", "last state", "packed"])
def test_a_recurrent_layer_is_one_point_whatever_is_used_of_it(kind: str, use: str) -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = getattr(nn, kind)(4, 6, batch_first=True), nn.Linear(6, 2)

        def forward(self, x: Any) -> Any:
            if use == "packed":
                x = nn.utils.rnn.pack_padded_sequence(x, [5, 3, 2], batch_first=True)
            outputs, state = self.body(x)
            if use == "last state":
                return self.head(state[0][-1] if kind == "LSTM" else state[-1])
            return self.head(outputs.data.mean(0) if use == "packed" else outputs.mean(1))

    model = Recurrent()
    with vg.watch(model) as w:
        step(model, batch(3, 5, 4))
    assert w.names == ("body", "head")
    assert np.isfinite(backward(w)).all()
    assert np.isfinite(w.trace.columns["log10_weight"]).all()
    assert w.trace.batch == 3


def test_the_gradient_of_all_that_a_layer_gives_is_one_norm() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(WIDTH, WIDTH)

        def forward(self, x: Any) -> Any:
            out, (h, _) = self.lstm(x[None])
            return 3 * out.sum() + 4 * h.sum()

    model = Two()
    with vg.watch(model) as w:
        model(batch()).backward()
    assert backward(w)[0] == pytest.approx(math.log10(5 * WIDTH**0.5), abs=1e-6)


def test_blocks_that_give_tuples_and_dicts_are_seen() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map = nn.Linear(WIDTH, WIDTH)

        def forward(self, x: Any) -> tuple[Any, None, dict[str, Any]]:
            return self.map(x), None, {"length": torch.tensor(3), "name": "block"}

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.h = nn.ModuleList(Block() for _ in range(3))

        def forward(self, x: Any) -> Any:
            for block in self.h:
                x = block(x)[0]
            return x

    model = Model()
    x = batch()
    with vg.watch(model) as w:
        step(model, x)
    assert w.names == ("h.0", "h.1", "h.2")
    maps = [f"{name}.map" for name in w.names]
    assert backward(w) == pytest.approx(expected(model, x, maps, lambda out: out.square().mean()), abs=1e-6)


def test_frozen_layers_have_no_gradient_of_a_weight() -> None:
    model = tanh()
    model[0].requires_grad_(requires_grad=False)
    with vg.watch(model, every=1) as w:
        step(model)
    assert np.isnan(backward(w)).tolist() == [True, False, False, False]
    assert np.isnan(w.trace.columns["log10_weight"][0]).tolist() == [True, False, False, False]


def test_a_model_without_any_gradient_is_not_sampled_at_each_step() -> None:
    model = tanh().requires_grad_(requires_grad=False)
    w = vg.watch(model, every=10)
    seen = []
    model[0].register_forward_hook(lambda *_: seen.append(hooks(model)))
    for _ in range(12):
        model(batch())
    w.close()
    assert [count > 1 for count in seen] == [True] + 9 * [False] + [True, False]


# Scaled losses


class Scaler:
    """As torch's, with a scale that changes at `update`."""

    def __init__(self) -> None:
        self.factor = 65536.0

    def scale(self, value: Any) -> Any:
        return value * self.factor

    def update(self) -> None:
        self.factor /= 2


@pytest.mark.parametrize("make", [Scaler, lambda: torch.amp.GradScaler("cpu")])
def test_gradients_are_divided_by_the_scale_of_the_loss_as_it_was(make: Callable[[], Any]) -> None:
    model, scaler = tanh(), make()
    x = batch()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.0)
    with vg.watch(model, every=1, scaler=scaler) as w:
        for _ in range(2):
            scaler.scale(model(x).sum()).backward()
            if not isinstance(scaler, Scaler):
                scaler.step(optimiser)
            scaler.update()
    with vg.watch(model) as plain:
        optimiser.zero_grad()
        model(x).sum().backward()
    for column in ("log10_backward", "log10_weight"):
        assert w.history.columns[column] == pytest.approx(np.tile(plain.trace.columns[column], (2, 1)), abs=1e-6)


def test_autocast_is_seen_in_its_own_dtype() -> None:
    model = tanh()
    x = batch()
    with vg.watch(model) as w, torch.autocast("cpu", dtype=torch.bfloat16):
        model(x).float().sum().backward()
    assert w.trace.dtype == "bfloat16"
    assert backward(w) == pytest.approx(expected(model, x, ["0", "2", "4", "6"], torch.sum), abs=0.02)


# Compiled models


@pytest.fixture
def compiler() -> Iterator[None]:
    yield
    torch._dynamo.reset()


def compiled(model: Any, how: str) -> Any:
    if how == "in place":
        model.compile(backend="eager")
        return model
    if how == "parts":
        for i, part in enumerate(model):
            model[i] = torch.compile(part, backend="eager")
        return model
    return torch.compile(model, backend="eager")


@pytest.mark.usefixtures("compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch", "ignore:The .grad attribute:UserWarning")
@pytest.mark.parametrize("how", ["a wrapper", "in place", "parts"])
def test_a_compiled_model_runs_as_it_was_written_in_the_sampled_step_alone(how: str) -> None:
    plain = nn.Sequential(*[nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh()) for _ in range(3)])
    x = batch()
    reference = expected(plain, x, ["0", "1", "2"], torch.sum)
    model = compiled(plain, how)
    model(x).sum().backward()  # compiled before anybody watches
    eager: list[bool] = []
    handle = plain[1].register_forward_hook(lambda *_: None)
    handle.remove()
    with vg.watch(model, every=2) as w:
        for _ in range(3):
            model(x).sum().backward()
            eager.append(torch._dynamo.eval_frame._stance.stance == "force_eager")
    assert w.history.steps == (0, 2)
    assert eager == [False] * 3
    assert w.names == ("0", "1", "2")
    assert w.history.columns["log10_backward"] == pytest.approx(np.tile(reference, (2, 1)), abs=1e-6)


@pytest.mark.usefixtures("compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch", "ignore:The .grad attribute:UserWarning")
def test_a_compiled_wrapper_around_a_watched_model_is_seen_in_a_step_by_hand_and_named_otherwise() -> None:
    model = tanh()
    wrapper = torch.compile(model, backend="eager")
    x = batch()
    with vg.watch(model) as w:
        wrapper(x).sum().backward()
        with pytest.raises(ValueError, match=r"such as a wrapper by torch\.compile, watch that"):
            w.trace  # noqa: B018
        w.begin()
        wrapper(x).sum().backward()
        w.end()
    assert backward(w) == pytest.approx(expected(model, x, ["0", "2", "4", "6"], torch.sum), abs=1e-6)


@pytest.mark.usefixtures("compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch", "ignore:The .grad attribute:UserWarning")
def test_a_watch_breaks_no_graph() -> None:
    model = tanh()
    w = vg.watch(model)
    whole = torch.compile(model, backend="eager", fullgraph=True)
    whole(batch()).sum().backward()
    w.close()


@pytest.mark.usefixtures("compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch", "ignore:The .grad attribute:UserWarning")
def test_a_checkpoint_around_what_is_compiled_runs_again_what_it_ran() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(torch.compile(tanh(1), backend="aot_eager") for _ in range(3))

        def forward(self, x: Any) -> Any:
            for block in self.blocks:
                x = checkpoint(block, x, use_reentrant=False)
            return x

    model = Model()
    step(model)
    with vg.watch(model, every=2) as w:
        for _ in range(3):
            step(model)
    assert w.names == ("blocks.0", "blocks.1", "blocks.2")
    assert np.isfinite(w.history.columns["log10_backward"]).all()


# Checkpoints


class Checkpointed(nn.Module):
    def __init__(self, *, reentrant: bool, whole: bool = False) -> None:
        super().__init__()
        self.body = nn.ModuleList(tanh(1) for _ in range(4))
        self.reentrant, self.whole = reentrant, whole
        self.ran = 0
        self.body[1].register_forward_pre_hook(self.count)  # what is run again may stop before its end

    def count(self, *_: Any) -> None:
        self.ran += 1

    def all(self, x: Any) -> Any:
        for block in self.body:
            x = block(x)
        return x

    def forward(self, x: Any) -> Any:
        if self.whole:
            return checkpoint(self.all, x, use_reentrant=self.reentrant)
        for block in self.body:
            x = checkpoint(block, x, use_reentrant=self.reentrant)
        return x


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpoint_runs_layers_twice_and_they_count_once(reentrant: bool, whole: bool) -> None:
    model = Checkpointed(reentrant=reentrant, whole=whole)
    plain = nn.Sequential(*model.body)
    x = batch().requires_grad_()
    with vg.watch(model) as w:
        step(model, x)
    assert model.ran == 2
    assert w.names == ("body.0", "body.1", "body.2", "body.3")
    reference = expected(plain, x, ["0", "1", "2", "3"], lambda out: out.square().mean())
    assert backward(w) == pytest.approx(reference, abs=1e-6)
    norms = [math.log10(block[0].weight.grad.norm()) for block in model.body]
    assert w.trace.columns["log10_weight"][0] == pytest.approx(norms, abs=1e-6)
    assert hooks(model) == 1


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpoint_around_the_model_itself_is_seen(reentrant: bool) -> None:
    model = tanh()
    x = batch().requires_grad_()
    with vg.watch(model) as w:
        checkpoint(model, x, use_reentrant=reentrant).sum().backward()
    assert backward(w) == pytest.approx(expected(model, x, ["0", "2", "4", "6"], torch.sum), abs=1e-6)


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpoint_in_a_step_by_hand_counts_once(reentrant: bool) -> None:
    model = Checkpointed(reentrant=reentrant)
    x = batch().requires_grad_()
    with vg.watch(model) as w:
        w.begin()
        step(model, x)
        w.end()
    plain = nn.Sequential(*model.body)
    reference = expected(plain, x, ["0", "1", "2", "3"], lambda out: out.square().mean())
    assert w.names == ("body.0", "body.1", "body.2", "body.3")
    assert backward(w) == pytest.approx(reference, abs=1e-6)


# Steps by hand


def test_a_model_of_which_only_parts_are_called_says_where_its_steps_are() -> None:
    model = nn.ModuleDict({"body": tanh(3), "head": nn.Linear(WIDTH, 2)})
    w = vg.watch(model, every=2)
    step(model["body"])
    with pytest.raises(ValueError, match=r"no step was seen in 0 forward passes.*begin\(\) and end\(\)"):
        w.trace  # noqa: B018
    for _ in range(3):
        w.begin()
        model["head"](model["body"](batch())).sum().backward()
        w.end()
    w.close()
    assert w.history.steps == (0, 2)
    assert w.names == ("body.0", "body.2", "body.4")


# Layers


def names_of(model: Any, which: Any = "auto") -> list[str]:
    return list(layers_of(model, which))


class Block(nn.Module):
    """A residual block with a list inside."""

    def __init__(self, inner: int = 2) -> None:
        super().__init__()
        self.inner = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(inner))

    def forward(self, x: Any) -> Any:
        for part in self.inner:
            x = x + part(x)
        return x


MODELS: dict[str, tuple[Callable[[], Any], str]] = {
    "blocks": (
        lambda: nn.ModuleDict({"stem": nn.Linear(5, 5), "h": nn.ModuleList(Block() for _ in range(3))}),
        "h.0 h.1 h.2",
    ),
    "blocks with many experts": (lambda: nn.Sequential(*(Block(9) for _ in range(3))), "0 1 2"),
    "stages of blocks": (
        lambda: nn.Sequential(nn.Sequential(Block(), Block()), nn.Sequential(Block(), Block())),
        "0.0 0.1 1.0 1.1",
    ),
    "stages apart": (
        lambda: nn.ModuleDict({name: nn.Sequential(Block(), Block()) for name in "ab"} | {"c": nn.Tanh()}),
        "a.0 a.1 b.0 b.1",
    ),
    "a recurrent cell with a readout": (
        lambda: nn.ModuleDict({"cell": nn.GRUCell(4, 4), "head": nn.Linear(4, 2)}),
        "cell head",
    ),
    "two blocks": (lambda: nn.Sequential(Block(), Block()), "0.inner.0 0.inner.1 1.inner.0 1.inner.1"),
    "sequences as blocks": (
        lambda: nn.Sequential(*(nn.Sequential(nn.Conv2d(1, 1, 3), nn.ReLU()) for _ in range(3))),
        "0 1 2",
    ),
    "maps": (lambda: nn.Sequential(nn.Conv1d(2, 2, 1), nn.ReLU(), nn.LayerNorm(3), nn.Linear(3, 3)), "0 3"),
    "convolutions with a head": (
        lambda: nn.Sequential(*(nn.Conv2d(1, 1, 3) for _ in range(4)), nn.Flatten(), nn.Linear(9, 9), nn.Linear(9, 2)),
        "0 1 2 3",
    ),
    "a readout": (
        lambda: nn.Sequential(*(nn.Sequential(nn.Linear(2, n)) for n in (4, 4, 4, 3)), nn.Tanh()),
        "0.0 1.0 2.0",
    ),
    "one block thrice": (lambda: nn.Sequential(*[Block()] * 3), "0"),
    "a list without weights": (lambda: nn.Sequential(nn.Linear(2, 2), nn.Sequential(*map(nn.Dropout, [0.1] * 5))), "0"),
}


@pytest.mark.parametrize("of", MODELS)
def test_the_layers_are_a_sequence_of_like_things(of: str) -> None:
    make, names = MODELS[of]
    assert names_of(make()) == names.split()


def test_layers_are_taken_by_name_and_all_are_those_without_children() -> None:
    model = nn.Sequential(tanh(2), nn.Linear(WIDTH, 2))
    assert names_of(model, "all") == ["0.0", "0.1", "0.2", "0.3", "1"]
    assert names_of(model, ["1", "0.1"]) == ["1", "0.1"]
    with vg.watch(model, layers=["1", "0.1"]) as w:
        step(model)
    assert w.names == ("0.1", "1")


def test_names_are_without_those_of_wrappers() -> None:
    class Wrapper(nn.Module):
        def __init__(self, module: Any) -> None:
            super().__init__()
            self.module = module

        def forward(self, x: Any) -> Any:
            return self.module(x)

    model = Wrapper(tanh(3))
    assert names_of(model) == ["0", "2", "4"]
    assert names_of(model, ["module.2", "4"]) == ["2", "4"]
    assert names_of(torch.compile(model, backend="eager")) == ["0", "2", "4"]
    with vg.watch(model) as w:
        step(model)
    assert w.names == ("0", "2", "4")


def test_what_is_wrong_is_said() -> None:
    model = tanh()
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module, got 3"):
        vg.watch(3)
    with pytest.raises(ValueError, match=r"unknown layers 'al' \(did you mean 'all'\?\)"):
        vg.watch(model, layers="al")
    with pytest.raises(ValueError, match=r"unknown layer '00'"):
        vg.watch(model, layers=["00"])
    with pytest.raises(ValueError, match="one name or more"):
        vg.watch(model, layers=[])
    with pytest.raises(TypeError, match="layers must be"):
        vg.watch(model, layers=3)
    with pytest.raises(ValueError, match="every must be"):
        vg.watch(model, every=0)
    with pytest.raises(TypeError, match="scaler must be"):
        vg.watch(model, scaler=65536.0)
    with pytest.raises(ValueError, match="no layers to watch"):
        vg.watch(nn.Tanh())
    assert not stood_in(model)


def test_only_the_first_process_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    model = tanh()
    with vg.watch(model) as w:
        step(model)
    with pytest.raises(ValueError, match="process 1 watches nothing"):
        w.trace  # noqa: B018


def test_wrappers_of_distributed_training_are_seen(tmp_path: Path) -> None:
    distributed = pytest.importorskip("torch.distributed")
    fsdp = pytest.importorskip("torch.distributed.fsdp")
    mesh = pytest.importorskip("torch.distributed.device_mesh")
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        model = tanh()
        x = batch()
        reference = expected(model, x, ["0", "2", "4", "6"], torch.sum)
        for watched in (nn.parallel.DistributedDataParallel(model), model):
            with vg.watch(watched) as w:
                watched(x).sum().backward()
            assert w.names == ("0", "2", "4", "6")
            assert backward(w) == pytest.approx(reference, abs=1e-6)
        fsdp.fully_shard(model, mesh=mesh.init_device_mesh("cpu", (1,)))
        with vg.watch(model) as w:
            model(x).sum().backward()
        assert backward(w) == pytest.approx(reference, abs=1e-6)
        assert np.isnan(w.trace.columns["log10_weight"]).all()  # which are spread over processes
    finally:
        distributed.destroy_process_group()


def test_hooks_of_others_see_what_they_saw_and_in_their_order() -> None:
    model = tanh(1)
    seen: list[str] = []
    model[0].register_forward_hook(lambda *_: seen.append("first"))
    model.register_forward_pre_hook(lambda *_: seen.append("before"))
    model.register_forward_hook(lambda *given: given[2] * 2)
    x = batch()
    twice = model(x)
    seen.clear()
    with vg.watch(model) as w:
        assert torch.equal(model(x), twice)
        assert seen == ["before", "first"]
        step(model, x)
    assert len(w.history.steps) == 1


def test_functions_of_torch_that_transform_a_model_are_left_alone() -> None:
    model = tanh()
    weights = dict(model.named_parameters())

    def loss(given: Mapping[str, Any], x: Any) -> Any:
        return torch.func.functional_call(model, given, (x,)).sum()

    x = batch()
    plain = torch.func.grad(loss)(weights, x)
    with vg.watch(model):
        seen = torch.func.grad(loss)(weights, x)
    assert all(torch.equal(plain[name], seen[name]) for name in plain)


def test_one_copy_a_sampled_step_and_none_in_others(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tanh(20)
    copies: list[int] = []
    for name in ("tolist", "item", "cpu", "numpy", "__float__", "__bool__"):
        plain = getattr(torch.Tensor, name)

        def counted(self: Any, *args: Any, plain: Any = plain) -> Any:
            copies.append(len(self) if self.ndim else 1)
            return plain(self, *args)

        monkeypatch.setattr(torch.Tensor, name, counted)
    with vg.watch(model, every=2) as w:
        for _ in range(4):
            step(model)
    assert w.history.runs == 2
    assert len(copies) == 2


@pytest.mark.usefixtures("compiler")
def test_steps_of_two_threads_set_one_stance_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch._dynamo")
    began, held, most = threading.Event(), [0], [0]

    class Stance:
        def __init__(self, _: str) -> None:
            held[0] += 1
            most[0] = max(most[0], held[0])
            began.set()
            if threading.current_thread() is not other:
                other.join(0.2)  # as long as the other thread would take to come in as well

        def __exit__(self, *_: object) -> None:
            held[0] -= 1

    def second() -> None:
        began.wait()
        with Eagerly():
            pass

    other = threading.Thread(target=second)
    monkeypatch.setattr(torch.compiler, "set_stance", Stance)
    other.start()
    with Eagerly():
        pass
    other.join()
    assert (most, held) == ([1], [0])


# The judge


@pytest.mark.parametrize(("gain", "verdict"), [(0.3, "vanishing"), (1.0, "healthy"), (4.0, "exploding")])
def test_a_watch_and_fresh_nets_are_diagnosed(gain: float, verdict: str) -> None:
    def build() -> Any:
        model = nn.Sequential(*(nn.Linear(WIDTH, WIDTH) for _ in range(20)))
        for layer in model:
            nn.init.orthogonal_(layer.weight, gain)
        return model

    model = build()
    with vg.watch(model) as w:
        step(model)
    assert vg.diagnose(w).verdict == verdict
    assert vg.diagnose(w.history).verdict == verdict
    x = np.random.default_rng(0).standard_normal((BATCH, WIDTH))
    assert vg.diagnose(vg.measure(build, x, x, "mse", seeds=3)).verdict == verdict


def test_a_watch_that_lost_gradients_is_said_to_have() -> None:
    model = nn.Sequential(*[part for _ in range(70) for part in (nn.Linear(8, 8), nn.Sigmoid())])
    with vg.watch(model) as w:
        model(batch(BATCH, 8)).square().mean().backward()
    diagnosis = vg.diagnose(w)
    assert diagnosis.verdict == "vanishing"
    assert f"is lost below {diagnosis.names[w.trace.lost_below[0] + 1]}" in str(diagnosis)


# Fresh nets


def test_fresh_nets_are_drawn_by_seed_and_leave_the_random_numbers_alone() -> None:
    x, y = np.random.default_rng(0).standard_normal((BATCH, WIDTH)), np.zeros(BATCH, dtype=int)
    before = torch.get_rng_state()
    one, two = (vg.measure(tanh, x, y, "cross_entropy", seeds=3) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert one.trace.runs == 3
    assert one.trace.steps == ()
    column = one.trace.columns["log10_backward"]
    assert column.tolist() == two.trace.columns["log10_backward"].tolist()
    assert len(np.unique(column)) == column.size
    torch.manual_seed(1)
    model = tanh()
    loss = nn.functional.cross_entropy(model(torch.tensor(x, dtype=torch.float32)), torch.tensor(y))
    assert one.losses[1] == pytest.approx(loss.item())
    assert pickle.loads(pickle.dumps(one)).trace.names == one.trace.names


def test_what_float32_loses_is_measured_with_a_larger_loss() -> None:
    def build() -> Any:
        return nn.Sequential(*[part for _ in range(60) for part in (nn.Linear(16, 16), nn.Sigmoid())])

    x, y = np.random.default_rng(0).standard_normal((8, 16)), np.zeros((8, 16))
    single = vg.measure(build, x, y, "mse", seeds=2).trace

    def wide() -> Any:
        return build().double()

    double = vg.measure(wide, x, y, "mse", seeds=2).trace
    assert (single.dtype, double.dtype) == ("float32", "float64")
    assert single.lost_below.tolist() == [-1, -1]
    assert len(single.notes) == 2
    assert "with the loss times 2^" in single.notes[0]
    assert double.notes == ()
    assert double.columns["log10_backward"][0, 0] < -46
    for column in ("log10_backward", "log10_weight"):
        assert single.columns[column] == pytest.approx(double.columns[column], abs=1e-4)


def test_a_loss_of_ones_own_and_samples_by_keyword() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = tanh()

        def forward(self, ids: Any, *, factor: float) -> dict[str, Any]:
            return {"out": self.body(ids) * factor}

    x = batch()
    found = vg.measure(Model, {"ids": x, "factor": 2.0}, None, lambda out, _: out["out"].sum(), seeds=1)
    torch.manual_seed(0)
    model = Model()
    reference = expected(model.body, x, ["0", "2", "4", "6"], lambda out: 2 * out.sum())
    assert found.trace.columns["log10_backward"][0] == pytest.approx(reference, abs=1e-6)
    assert found.trace.batch == BATCH


def test_nets_are_measured_in_training_mode_whatever_build_left_them_in() -> None:
    def build() -> Any:
        return nn.Sequential(tanh(), nn.BatchNorm1d(WIDTH), nn.Linear(WIDTH, 2))

    x, y = batch(), torch.zeros(BATCH, dtype=torch.long)
    as_built = vg.measure(build, x, y, "cross_entropy", seeds=2)
    in_evaluation = vg.measure(lambda: build().eval(), x, y, "cross_entropy", seeds=2)
    assert in_evaluation.losses.tolist() == as_built.losses.tolist()


@pytest.mark.parametrize("wrap", [lambda net: net, lambda net: nn.Sequential(net, nn.Tanh())], ids=["itself", "inside"])
def test_a_net_that_is_given_twice_is_refused(wrap: Callable[[Any], Any]) -> None:
    model = tanh()
    with pytest.raises(
        ValueError, match=r"build must give a new net at each call, got (0\.)?0\.weight of a net before"
    ):
        vg.measure(lambda: wrap(model), batch(), batch(), "mse", seeds=2)
    assert vg.measure(lambda: wrap(model), batch(), batch(), "mse", seeds=1).trace.runs == 1


def test_nets_may_share_what_they_do_not_train() -> None:
    table = nn.Embedding(9, WIDTH).requires_grad_(False)
    words, y = torch.arange(BATCH), torch.zeros(BATCH, WIDTH)
    assert vg.measure(lambda: nn.Sequential(table, tanh()), words, y, "mse", seeds=2).trace.runs == 2


def test_copies_of_one_net_are_said_to_tell_no_interval() -> None:
    model = tanh()
    x, y = batch(), torch.zeros(BATCH, WIDTH)
    assert "build draws nothing" in vg.measure(lambda: copy.deepcopy(model), x, y, "mse", seeds=3).trace.notes[-1]
    assert vg.measure(tanh, x, y, "mse", seeds=3).trace.notes == ()


@pytest.mark.parametrize(
    ("loss", "error", "match"),
    [
        (lambda out, _: out, ValueError, r"a tensor of one number, got shape \(6, 5\): take its mean"),
        (lambda out, _: out.mean().item(), TypeError, r"a tensor of one number, got 0?.*float"),
        (lambda *_: None, TypeError, r"a tensor of one number, got None"),
        (lambda out, _: out.mean().detach(), ValueError, "no gradient is recorded"),
        (lambda out, _: out.argmax(), ValueError, "no gradient is recorded"),
        (lambda out, _: out.mean() * 1j, TypeError, "a tensor of one number"),
        (3, TypeError, "loss"),
    ],
    ids=["many", "float", "none", "detached", "whole", "complex", "no function"],
)
def test_what_a_loss_gives_must_be_one_number_with_a_gradient(loss: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        vg.measure(tanh, batch(), batch(), loss, seeds=1)


@pytest.mark.parametrize(
    ("loss", "y", "error", "match"),
    [
        ("cross_entropy", np.zeros(BATCH), ValueError, r"whole numbers.*y \(6,\) of torch.float"),
        ("cross_entropy", np.zeros(BATCH - 1, dtype=int), ValueError, r"whole numbers.*y \(5,\) of torch.int64"),
        ("cross_entropy", np.zeros((BATCH, 1), dtype=int), ValueError, r"whole numbers.*y \(6, 1\)"),
        ("cross_entropy", np.arange(BATCH), ValueError, "classes 0 to 4, as many as the output has, got 0 to 5"),
        ("cross_entropy", -np.ones(BATCH, dtype=int), ValueError, "classes 0 to 4"),
        ("cross_entropy", [0] * BATCH, TypeError, "y of cross_entropy must be a tensor or an array"),
        ("cross_entropy", None, TypeError, "y of cross_entropy must be a tensor or an array"),
        ("mse", np.zeros(BATCH), ValueError, r"the output's shape \(6, 5\), got \(6,\)"),
        ("mse", np.zeros((BATCH, 1)), ValueError, r"the output's shape \(6, 5\), got \(6, 1\)"),
        ("mse", None, TypeError, "y of mse must be a tensor or an array"),
    ],
)
def test_targets_that_do_not_fit_are_refused(loss: str, y: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        vg.measure(tanh, batch(), y, loss, seeds=1)


def test_losses_by_name_are_those_of_torch() -> None:
    x = batch()
    torch.manual_seed(0)
    output = tanh()(x).detach()
    ways = torch.softmax(batch(), 1)
    some = torch.tensor([0, 4, -100, 2, 1, 1])
    for name, function, y in [
        ("cross_entropy", nn.functional.cross_entropy, some),
        ("cross_entropy", nn.functional.cross_entropy, ways),
        ("mse", nn.functional.mse_loss, ways),
    ]:
        assert vg.measure(tanh, x, y, name, seeds=1).losses[0] == pytest.approx(function(output, y).item())
    # Whole numbers of any size, as NumPy gives them on some systems, are classes and numbers too.
    few = np.array([0, 4, 3, 2, 1, 1], dtype=np.int32)
    same = vg.measure(tanh, x, few.astype(np.int64), "cross_entropy", seeds=1)
    assert vg.measure(tanh, x, few, "cross_entropy", seeds=1).losses.tolist() == same.losses.tolist()
    assert vg.measure(tanh, x, np.ones((BATCH, WIDTH), dtype=np.int32), "mse", seeds=1).trace.runs == 1


def test_a_loss_by_name_takes_a_net_that_gives_a_tensor() -> None:
    class Model(nn.Sequential):
        def forward(self, x: Any) -> dict[str, Any]:
            return {"out": super().forward(x)}

    def build() -> Any:
        return Model(*tanh())

    with pytest.raises(TypeError, match=r"mse takes a net that gives a tensor of floats, got 'dict'.*a function of"):
        vg.measure(build, batch(), batch(), "mse", seeds=1)


def test_what_cannot_be_measured_is_said() -> None:
    x = batch()
    with pytest.raises(TypeError, match="build must be"):
        vg.measure(3, x, x, "mse")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"build must be a function that gives a new torch\.nn\.Module"):
        vg.measure(tanh(), x, x, "mse")
    with pytest.raises(TypeError, match="build must be"):
        vg.measure(lambda: 3, x, x, "mse")
    with pytest.raises(ValueError, match="unknown loss 'mae'"):
        vg.measure(tanh, x, x, "mae")
    with pytest.raises(ValueError, match="reaches no layer"):
        vg.measure(tanh, x, x, lambda *_: torch.ones(1, requires_grad=True).sum())
    with pytest.raises(ValueError, match="seeds must be"):
        vg.measure(tanh, x, x, "mse", seeds=0)
