"""Models of torch: what they become here, what is refused and with which words, and that they stay as they were."""

import copy
import itertools
import random
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest

import vgcore as vg
from vgcore.convert.imported import NonFinite, Refusal
from vgcore.convert.tape import Linear, Tape
from vgcore.convert.torch import copied

torch = pytest.importorskip("torch", reason="torch is not installed: `make test-torch` installs it")

from torch import nn  # noqa: E402 (only where torch is)

from torch_models import ACCEPTED, REFUSED, Of, stack  # noqa: E402

Array = np.ndarray[Any, np.dtype[Any]]

# Samples that are no plain rows.
X = {"views of all sorts": torch.zeros(2, 3, 4)}
# What is sampled has the error of its samples; a model that casts to float32 has that of float32.
NEAR = {"h sigmoid(1.702 h)": 1e-9, "casts on the way": 1e-6}


def made(make: Any) -> Any:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, on what is deprecated and still in use
        return make()


def in_float64(model: Any) -> Any:
    """The model itself, as it trains but for dropout."""
    for module in model.modules():
        if isinstance(module, nn.RMSNorm) and module.eps is None:
            module.eps = torch.finfo(torch.float32).eps
    model.double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.train()
    return model


def error(ours: Array, theirs: Any) -> float:
    expected = theirs.detach().numpy()
    assert ours.shape == expected.shape
    return float(np.abs(ours - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_model_becomes_a_net_that_computes_the_same(name: str) -> None:
    make, expected = ACCEPTED[name]
    model = made(make)
    found = vg.from_torch(model, X.get(name))
    assert {field: getattr(found.spec, field) for field in expected} == expected
    assert found.network.dtype == "float64"
    shape = X[name].shape[1:] if name in X else (found.spec.in_features,)
    leaf = torch.tensor(np.random.default_rng(5).standard_normal((8, *shape)), requires_grad=True)
    theirs = in_float64(model)(leaf)
    x = leaf.detach().reshape(8, -1).numpy()
    ours = torch.tensor(found.network.forward(x), requires_grad=True)
    # What belongs to the loss here stays a part of the model there.
    end = {"log-softmax at the end": torch.log_softmax, "softmax at the end": torch.softmax}.get(name)
    ended = ours if end is None else end(ours, 1)
    cotangent = torch.tensor(np.random.default_rng(6).standard_normal(theirs.shape), dtype=theirs.dtype)
    (theirs * cotangent).sum().backward()
    (ended * cotangent).sum().backward()
    assert ours.grad is not None
    dx = found.network.backward(x, ours.grad.numpy()).input
    assert error(ended.detach().numpy(), theirs) < NEAR.get(name, 1e-12)
    assert error(dx, leaf.grad.reshape(8, -1)) < NEAR.get(name, 1e-12)


@pytest.mark.parametrize("name", REFUSED)
def test_a_model_without_an_equal_is_refused_with_place_operation_and_reason(name: str) -> None:
    make, x, (path, operation, reason) = REFUSED[name]
    model = made(make)
    with pytest.raises(Refusal) as refused:
        vg.from_torch(model, x)
    assert (refused.value.path, refused.value.operation) == (path, operation)
    assert reason in refused.value.reason
    assert refused.value.nearest
    assert "\n" not in str(refused.value)


def test_there_are_thirty_of_each() -> None:
    assert min(len(ACCEPTED), len(REFUSED)) >= 30


def state(model: Any) -> list[Any]:
    """All there is to see of a model and of what draws numbers."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return [
        {name: (t.detach().clone(), t.dtype, t.device, t.requires_grad, t._version) for name, t in tensors.items()},
        {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()},
        {name: id(p) for name, p in model.named_parameters()},
        [module.training for module in model.modules()],
        [(*module._forward_hooks, *module._forward_pre_hooks, *module._backward_hooks) for module in model.modules()],
        torch.get_rng_state(),
        np.random.get_state(),  # noqa: NPY002 (of whoever uses it)
        random.getstate(),
        torch.is_grad_enabled(),
        torch.get_default_dtype(),
    ]


def alike(one: Any, two: Any) -> bool:
    """Are two things of lists, dictionaries, arrays and numbers equal to the last bit?"""
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(alike(one[key], two[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(itertools.starmap(alike, zip(one, two, strict=True)))
    if isinstance(one, torch.Tensor):
        return bool(torch.equal(one, two))
    return np.array_equal(one, two) if isinstance(one, np.ndarray) else bool(one == two)


@pytest.mark.parametrize("wrap", [lambda m: m, torch.no_grad(), torch.inference_mode()])
def test_the_model_and_all_random_numbers_stay_as_they_were(wrap: Any) -> None:
    model = made(
        lambda: nn.Sequential(
            nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(inplace=True), nn.Dropout(0.3), nn.Linear(8, 8), nn.RReLU(),
            nn.utils.parametrizations.spectral_norm(nn.Linear(8, 3)),
        )
    )  # fmt: skip
    model[0].register_forward_hook(lambda *_: None)
    model[4].eval()
    model[4].weight.requires_grad_(requires_grad=False)
    model(torch.randn(6, 5)).sum().backward()
    before = state(model)
    wrap(vg.from_torch)(model)
    for one, two in zip(before, state(model), strict=True):
        assert alike(one, two)


def test_no_generator_beside_that_of_the_cpu_is_seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    model = made(lambda: stack(nn.ReLU))
    seeded: list[int] = []
    monkeypatch.setattr(torch, "manual_seed", seeded.append)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    vg.from_torch(model)
    assert not seeded


def test_a_model_in_training_and_in_evaluation_is_one_net() -> None:
    model = made(lambda: nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 3)))
    training, evaluation = vg.from_torch(model.train()), vg.from_torch(model.eval())
    assert training.spec == evaluation.spec
    assert training.notes == evaluation.notes
    assert "statistics of the batch" in training.notes[0]
    assert (training.spec.norm, training.spec.dropout) == ("batch", 0.2)


def test_weights_that_are_not_finite_are_named() -> None:
    model = made(lambda: stack(nn.ReLU))
    model[2].weight.data[0, :2] = torch.nan
    model[4].bias.data[1] = torch.inf
    with pytest.raises(NonFinite) as bad:
        vg.from_torch(model)
    assert bad.value.tensors == {"2.weight": ((8, 8), 2, 0, 64), "4.bias": ((8,), 0, 1, 8)}


@pytest.mark.parametrize("bias", [True, False])
def test_fresh_weights_are_known_by_the_default_of_torch(bias: bool) -> None:
    model = made(
        lambda: nn.Sequential(nn.Linear(40, 60, bias=bias), nn.ReLU(), nn.Linear(60, 60, bias=bias), nn.ReLU())
    )
    assert vg.from_torch(model).init == "torch_default"


def test_biases_that_start_at_zero_are_biases() -> None:
    model = made(lambda: stack(nn.ReLU))
    for p in model.parameters():
        if p.ndim == 1:
            nn.init.zeros_(p)
    assert vg.from_torch(model).spec.bias is None


def test_slopes_of_channels_are_refused_even_where_they_are_still_equal() -> None:
    with pytest.raises(Refusal, match="a number a feature that training changes"):
        vg.from_torch(nn.Sequential(nn.Linear(5, 8), nn.PReLU(8), nn.Linear(8, 3)))


def test_what_was_left_out_is_noted() -> None:
    model = made(
        lambda: nn.Sequential(nn.Linear(5, 8), nn.AlphaDropout(0.2), nn.Tanh(), nn.Linear(8, 3), nn.Softmax(1))
    )
    model[0].requires_grad_(requires_grad=False)
    notes = "\n".join(vg.from_torch(model).notes)
    for words in (
        "0.weight, 0.bias asked for no gradient",
        "alpha_dropout was taken as identity",
        "belongs to the loss",
    ):
        assert words in notes


def two_layers(forward: Any) -> Any:
    return made(lambda: Of(forward, a=nn.Linear(5, 8), b=nn.Linear(8, 3)))


def recorded(model: Any) -> Tape:
    return copied(model).recorded([(5,)])


def test_a_parameter_without_a_gradient_is_marked_as_stopped() -> None:
    def stopped(forward: Any) -> list[bool]:
        return [op.stopped for op in recorded(two_layers(forward)).ops if isinstance(op, Linear)]

    assert stopped(lambda s, x: s.b(s.a(x).relu())) == [False, False]
    linear = nn.functional.linear
    assert stopped(lambda s, x: s.b(linear(x, s.a.weight.detach(), s.a.bias).relu())) == [True, False]
    assert stopped(lambda s, x: s.b(linear(x, s.a.weight, s.a.bias.data).relu())) == [True, False]
    assert stopped(lambda s, x: s.b((x @ s.a.weight.detach().t()).relu())) == [True, False]
    assert stopped(lambda s, x: s.b((x @ s.a.weight.t() + s.a.bias.detach()).relu())) == [True, False]

    def of_no_grad(s: Any, x: Any) -> Any:
        with torch.no_grad():
            halved = s.a.weight / 2
        return s.b(linear(x, halved).relu())

    assert stopped(of_no_grad) == [True, False]


def test_a_bias_that_is_used_twice_is_not_lost() -> None:
    def forward(s: Any, x: Any) -> Any:
        h = nn.functional.linear(x, s.a.weight, s.a.bias).relu()
        return s.b((h @ s.w + s.a.bias).relu())

    model = made(lambda: Of(forward, a=nn.Linear(5, 8), b=nn.Linear(8, 3), w=nn.Parameter(torch.eye(8) + 0.1)))
    assert [op.bias_key for op in recorded(model).ops if isinstance(op, Linear)][-3:] == ["a.bias", "a.bias", "b.bias"]


def test_what_to_do_fits_the_error_that_a_model_raises() -> None:
    class Two(nn.Module):  # type: ignore[misc]  # torch may not be there
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(5, 3)

        def forward(self, x: Any, y: Any) -> Any:
            return self.a(x + y)

    for model, words in (
        (Two(), "takes the samples alone"),
        (two_layers(lambda s, x: s.b(s.a(x)) / (1 // 0)), "vg.watch"),
        (two_layers(lambda s, x: s.b(x)), "pass x="),
    ):
        with pytest.raises(Refusal) as refused:
            vg.from_torch(model, torch.zeros(2, 5))
        assert words in refused.value.nearest


def test_what_training_alone_does_is_noted() -> None:
    def noisy(s: Any, x: Any) -> Any:
        return s.b(s.a(x).relu() + (torch.randn(8) if s.training else 0))

    def other(s: Any, x: Any) -> Any:
        return s.b(torch.tanh(s.a(x)) if s.training else torch.relu(s.a(x)))

    def aside(s: Any, x: Any) -> Any:
        return (s.b(s.a(x).relu()), 1) if s.training else s.b(s.a(x).relu())

    for forward, words in (
        (noisy, "in training (at add)"),
        (other, "in training (at tanh)"),
        (aside, "in training mode the model was not recorded"),
    ):
        assert any(words in note for note in vg.from_torch(two_layers(forward)).notes), words
    plain = made(lambda: nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3)))
    assert not any("training (" in note for note in vg.from_torch(plain).notes)


def test_dropout_that_is_off_in_training_too_is_none() -> None:
    def dropped(training: Any) -> float:
        def forward(s: Any, x: Any) -> Any:
            return s.b(nn.functional.dropout(s.a(x).relu(), 0.3, training=s.training if training is None else training))

        return float(vg.from_torch(two_layers(forward)).spec.dropout)

    assert (dropped(None), dropped(True), dropped(False)) == (0.3, 0.3, 0.0)


def test_a_frozen_batch_norm_is_a_line_with_its_running_statistics() -> None:
    class Frozen(nn.BatchNorm1d):  # type: ignore[misc]  # torch may not be there
        def train(self, mode: bool = True) -> Any:  # noqa: ARG002 (as torch has it)
            return super().train(mode=False)

    def net(norm: Any) -> Any:
        def drawn() -> Any:
            model = nn.Sequential(nn.Linear(5, 8), norm(8), nn.ReLU(), nn.Linear(8, 3))
            model[1].running_mean.uniform_()
            model[1].running_var.uniform_(1, 2)
            return model

        return made(drawn)

    half = net(nn.BatchNorm1d)
    half[1].eval()
    x = np.random.default_rng(0).standard_normal((4, 5))
    for model in (half, net(Frozen), net(Frozen).eval()):
        found = vg.from_torch(model)
        assert found.spec.norm is None
        assert any("keeps its running statistics in training too" in note for note in found.notes)
        assert error(found.network.forward(x), model.double().eval()(torch.tensor(x))) < 1e-12
    for model in (net(nn.BatchNorm1d), net(nn.BatchNorm1d).eval()):
        assert vg.from_torch(model).spec.norm == "batch"


def test_what_is_computed_in_a_smaller_float_is_noted() -> None:
    def notes(forward: Any) -> list[str]:
        return [note for note in vg.from_torch(two_layers(forward)).notes if "computes in" in note]

    assert notes(lambda s, x: s.b(s.a(x).half().relu().float())) == ["it computes in float16; here it is in float64"]
    assert notes(lambda s, x: s.b(s.a(x).to(torch.bfloat16).relu().to(x.dtype)))[0].startswith(
        "it computes in bfloat16"
    )
    assert not notes(lambda s, x: s.b(s.a(x).float().relu()))


def test_dropout_of_evaluation_is_noted() -> None:
    found = vg.from_torch(two_layers(lambda s, x: s.b(nn.functional.dropout(s.a(x).relu(), 0.3))))
    assert any("drops in evaluation too" in note for note in found.notes)


def test_what_training_leaves_behind_does_not_reach_the_net() -> None:
    def forward(s: Any, x: Any) -> Any:
        if s.training:
            s.factor.mul_(3)
            s.turns = s.turns + 1
        return s.b((s.a(x) * s.factor).relu()) * s.turns

    model = made(lambda: Of(forward, a=nn.Linear(5, 8), b=nn.Linear(8, 3), factor=torch.ones(()), turns=1))
    x = np.random.default_rng(0).standard_normal((4, 5))
    ours = vg.from_torch(model).network.forward(x)
    assert error(ours, in_float64(model)(torch.tensor(x))) < 1e-12


def test_a_model_is_held_in_memory_a_few_times() -> None:
    """As float64 copies: the one that runs, the net's own, and what is made on the way between the two."""
    pytest.importorskip("resource", reason="what a process has used at most is told by Unix alone")
    code = """
import resource, torch, vgcore as vg, vgcore.convert.torch
from torch import nn
model = nn.Sequential(*(part for _ in range(4) for part in (nn.Linear(1024, 1024), nn.ReLU())), nn.Linear(1024, 2))
vg.from_torch(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
vg.from_torch(model)
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(1024 * grown / (8 * sum(p.numel() for p in model.parameters())))
"""
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert float(out) < 9


def test_without_torch_it_is_said_what_to_install() -> None:
    code = """
import sys
sys.modules["torch"] = None
import vgcore as vg
try:
    vg.from_torch(3)
except ImportError as error:
    assert "pip install torch" in str(error), error
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_copy_and_a_pickled_copy_are_the_same_net() -> None:
    model = made(lambda: stack(nn.GELU))
    one, two = vg.from_torch(model), vg.from_torch(copy.deepcopy(model))
    assert one.spec == two.spec
    for a, b in zip(one.network.state_dict().values(), two.network.state_dict().values(), strict=True):
        assert np.array_equal(a, b)


def test_a_deep_net_is_read_in_seconds_and_its_weights_are_the_models() -> None:
    model = made(lambda: stack(nn.Tanh, depth=100))
    found = vg.from_torch(model)
    assert found.spec.depth == 100
    weights = [p.detach().double().numpy() for name, p in model.named_parameters() if name.endswith("weight")]
    for ours, theirs in zip(
        (w for name, w in found.network.state_dict().items() if name.endswith("weight")), weights, strict=True
    ):
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("given", [3, "model.pt", torch.zeros(3), torch.relu])
def test_what_is_no_module_is_a_type_error(given: Any) -> None:
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module"):
        vg.from_torch(given)


def test_samples_need_an_axis_of_the_batch() -> None:
    with pytest.raises(ValueError, match="along its first axis"):
        vg.from_torch(stack(nn.ReLU), np.zeros(5))


def test_importing_the_package_imports_no_torch() -> None:
    code = "import sys, vgcore; sys.exit(any(name in sys.modules for name in ('torch', 'keras', 'jax')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
