"""Recurrent nets and encoders of torch: outputs and all gradients as there, and which are refused, with what is possible."""

# mypy: disable-error-code="misc"
# ruff: noqa: E501 (a row of the tables is a line)
import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import vgcore as vg
from vgcore.convert.imported import NonFinite, Refusal

torch = pytest.importorskip("torch", reason="torch is not installed: `make test-torch` installs it")

from torch import nn  # noqa: E402 (only where torch is)

from torch_models import Of  # noqa: E402

Array = np.ndarray[Any, np.dtype[Any]]
Make = Callable[[], Any]

STEPS, FEATURES, WIDTH, OUT = 7, 3, 6, 2
TOKENS, MODEL = 5, 8


def made(make: Make) -> Any:
    """A model whose biases and norms count."""
    torch.manual_seed(0)
    model = make()
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim == 1:
                p.add_(torch.randn_like(p), alpha=0.3)
    return model.double().eval()


def last(cell: Any, **options: Any) -> Any:
    """The usual model: a linear readout of the last step."""
    return Of(
        lambda s, x: s.head(s.cell(x)[0][:, -1]),
        cell=cell(FEATURES, WIDTH, batch_first=True, **options),
        head=nn.Linear(WIDTH, OUT),
    )


def layer(**options: Any) -> Any:
    return nn.TransformerEncoderLayer(MODEL, 2, 2 * MODEL, batch_first=True, **options)


def encoder(depth: int, norm: Any = None, **options: Any) -> Any:
    return nn.TransformerEncoder(layer(**options), depth, norm=norm, enable_nested_tensor=False)


def causal(s: Any, x: Any) -> Any:
    return s.body(x, mask=nn.Transformer.generate_square_subsequent_mask(x.shape[1], dtype=x.dtype), is_causal=True)


# Of each: the model and what its spec says.
RECURRENT: dict[str, tuple[Make, dict[str, Any]]] = {
    "an LSTM": (lambda: last(nn.LSTM), {"cell": "lstm(forget_bias=0)", "biases": 2, "outputs": "last", "out_features": OUT}),
    "a GRU": (lambda: last(nn.GRU), {"cell": "gru", "biases": 2}),
    "tanh": (lambda: last(nn.RNN), {"cell": "tanh", "biases": 2}),
    "relu": (lambda: last(nn.RNN, nonlinearity="relu"), {"cell": "relu"}),
    "an LSTM of two layers": (lambda: last(nn.LSTM, num_layers=2), {"layers": 2, "width": WIDTH}),
    "a GRU of two layers": (lambda: last(nn.GRU, num_layers=2), {"layers": 2}),
    "tanh of two layers": (lambda: last(nn.RNN, num_layers=2), {"layers": 2}),
    "an LSTM without biases": (lambda: Of(lambda s, x: s.head(s.cell(x)[0][:, -1]), cell=nn.LSTM(FEATURES, WIDTH, bias=False, batch_first=True), head=nn.Linear(WIDTH, OUT, bias=False)), {"bias": False, "biases": 1}),
    "the last state": (lambda: Of(lambda s, x: s.head(s.cell(x)[1][0][-1]), cell=nn.LSTM(FEATURES, WIDTH, batch_first=True), head=nn.Linear(WIDTH, OUT)), {"outputs": "last"}),
    "the last state of a GRU, alone": (lambda: Of(lambda s, x: s.cell(x)[1][-1], cell=nn.GRU(FEATURES, WIDTH, batch_first=True)), {"out_features": None}),
    "every step": (lambda: Of(lambda s, x: s.head(s.cell(x)[0]), cell=nn.GRU(FEATURES, WIDTH, batch_first=True), head=nn.Linear(WIDTH, OUT)), {"outputs": "every"}),
    "layers of one module each": (lambda: Of(lambda s, x: s.head(s.b(s.a(x)[0])[0][:, -1]), a=nn.LSTM(FEATURES, WIDTH, batch_first=True), b=nn.LSTM(WIDTH, WIDTH, batch_first=True), head=nn.Linear(WIDTH, OUT)), {"layers": 2}),
    "dropout before the readout": (lambda: Of(lambda s, x: s.head(s.drop(s.cell(x)[0][:, -1])), cell=nn.LSTM(FEATURES, WIDTH, batch_first=True), drop=nn.Dropout(0.3), head=nn.Linear(WIDTH, OUT)), {}),
    "steps turned within": (lambda: Of(lambda s, x: s.head(s.cell(x.transpose(0, 1))[0][-1]), cell=nn.LSTM(FEATURES, WIDTH), head=nn.Linear(WIDTH, OUT)), {}),
    "a batch as long as the sequences": (lambda: Of(lambda s, x: s.head(s.cell(x)[0]), cell=nn.RNN(FEATURES, WIDTH, batch_first=True), head=nn.Linear(WIDTH, OUT)), {"steps": STEPS}),
    "a module alone": (lambda: nn.LSTM(FEATURES, WIDTH, batch_first=True), {"outputs": "every", "out_features": WIDTH}),
}  # fmt: skip
ENCODERS: dict[str, tuple[Make, dict[str, Any]]] = {
    "attention alone": (lambda: nn.MultiheadAttention(MODEL, 2, batch_first=True), {"heads": 2, "skip": None, "norm": None}),
    "attention alone without biases": (lambda: nn.MultiheadAttention(MODEL, 4, bias=False, batch_first=True), {"heads": 4, "bias": False}),
    "a layer": (layer, {"norm_position": "post", "activation": "relu", "ffn": 2, "skip": "residual", "final_norm": None}),
    "a layer with the norm first": (lambda: layer(norm_first=True), {"norm_position": "pre"}),
    "gelu": (lambda: layer(activation="gelu"), {"activation": "gelu"}),
    "an activation as a module": (lambda: layer(activation=nn.SiLU(), norm_first=True), {"activation": "silu"}),
    "another eps": (lambda: layer(layer_norm_eps=1e-3), {"norm": "layer(eps=0.001)"}),
    "without biases": (lambda: layer(bias=False), {"bias": False}),
    "causal": (lambda: Of(causal, body=encoder(2, norm_first=True)), {"causal": True, "depth": 2}),
    "causal by a mask of truths": (lambda: Of(lambda s, x: s.body(x, src_mask=torch.ones(TOKENS, TOKENS, dtype=torch.bool).triu(1)), body=layer()), {"causal": True}),
    "an encoder": (lambda: encoder(3), {"depth": 3}),
    "an encoder and its norm": (lambda: encoder(2, norm=nn.LayerNorm(MODEL), norm_first=True), {"final_norm": "layer"}),
    "embedded, pooled and read": (lambda: Of(lambda s, x: s.head(s.body(s.embed(x)).mean(1)), embed=nn.Linear(FEATURES, MODEL), body=encoder(2, norm=nn.LayerNorm(MODEL), norm_first=True), head=nn.Linear(MODEL, OUT)), {"in_features": FEATURES, "pool": "mean", "out_features": OUT}),
    "the last token": (lambda: Of(lambda s, x: s.head(s.body(x)[:, -1]), body=encoder(1), head=nn.Linear(MODEL, OUT)), {"pool": "last"}),
    "a readout of every token": (lambda: nn.Sequential(encoder(1), nn.Linear(MODEL, OUT)), {"pool": None, "out_features": OUT}),
}  # fmt: skip


def columns(name: str) -> tuple[int, int]:
    if name in RECURRENT:
        return STEPS, FEATURES
    return TOKENS, FEATURES if "embed" in name else MODEL


def output(model: Any, x: Any) -> Any:
    out = model(x, x, x, need_weights=False) if isinstance(model, nn.MultiheadAttention) else model(x)
    return out[0] if isinstance(out, tuple) else out


def by_names_here(model: Any, x: Array) -> dict[str, Array]:
    """The gradients of a model by the names of a net: what is read of the model with gradients for weights."""
    twin = copy.deepcopy(model)
    largest = max(float(p.grad.abs().max()) for p in model.parameters())
    with torch.no_grad():
        for weight, p in zip(twin.parameters(), model.parameters(), strict=True):
            weight.copy_(0.1 * p.grad / largest)  # small, so that no net of them is chaotic
    return {name: 10 * largest * array for name, array in vg.from_torch(twin, x).network.state_dict().items()}


@pytest.mark.parametrize("name", [*RECURRENT, *ENCODERS])
def test_outputs_and_all_gradients_are_those_of_torch(name: str) -> None:
    make, expected = (RECURRENT | ENCODERS)[name]
    model, shape = made(make), columns(name)
    found = vg.from_torch(model, np.zeros((2, *shape)))
    spec: Any = found.spec
    assert {field: getattr(spec, field) for field in expected} == expected
    assert found.network.dtype == "float64"
    rows = np.random.default_rng(5).standard_normal((STEPS, *shape))
    leaf = torch.tensor(rows, requires_grad=True)
    with torch.enable_grad():
        theirs = output(model.requires_grad_(), leaf)
    cotangent = np.random.default_rng(6).standard_normal(tuple(theirs.shape))
    (theirs * torch.tensor(cotangent)).sum().backward()
    flat = rows.reshape(len(rows), -1)
    ours = found.network.backward(flat, cotangent.reshape(len(rows), -1))

    def near(one: Array, two: Any, largest: float = 0.0) -> bool:
        expected = two if isinstance(two, np.ndarray) else two.detach().numpy()
        assert one.size == expected.size
        return bool(np.abs(one.ravel() - expected.ravel()).max() < 1e-10 * max(float(np.abs(expected).max()), largest))

    assert near(found.network.forward(flat), theirs)
    assert near(ours.input, leaf.grad)
    largest = max(float(np.abs(g).max()) for g in ours.parameters.values())
    # What is in the net alone.
    beside: dict[str, Any] = {
        "a module alone": "readout",
        "attention alone": "layers.0.linear",
        "attention alone without biases": "layers.0.linear",
        "without biases": ("layers.0.norm1.bias", "layers.0.norm2.bias"),
    }
    for key, gradient in by_names_here(model, rows[:2]).items():
        # A bias of keys has a gradient of 0, but for rounding.
        assert key.startswith(beside.get(name, "-")) or near(ours.parameters[key], gradient, 1e-2 * largest), key


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("name", ["LSTM", "TransformerEncoderLayer", "MultiheadAttention"])
def test_samples_come_first_whatever_the_module_takes_first(name: str, batch_first: bool) -> None:
    sizes = {"LSTM": (MODEL, WIDTH), "TransformerEncoderLayer": (MODEL, 2, MODEL), "MultiheadAttention": (MODEL, 2)}
    model = made(lambda: getattr(nn, name)(*sizes[name], batch_first=batch_first))
    found = vg.from_torch(model, np.zeros((2, TOKENS, MODEL)))
    x = np.random.default_rng(0).standard_normal((4, TOKENS, MODEL))
    given = torch.tensor(x if batch_first else x.swapaxes(0, 1))
    theirs = output(model, given).detach().numpy()
    theirs = theirs if batch_first else theirs.swapaxes(0, 1)
    assert np.abs(found.network.forward(x.reshape(4, -1)) - theirs.reshape(4, -1)).max() < 1e-12
    what = "steps" if name == "LSTM" else "tokens"
    told = (
        f"the model takes ({what}, batch, features), the net samples first: x was read as samples of {TOKENS} {what} "
    )
    assert any(note.startswith(told) for note in found.notes) != batch_first


def test_what_the_net_has_beside_the_model_is_noted() -> None:
    x = np.zeros((2, STEPS, FEATURES))
    told = " ".join(vg.from_torch(nn.LSTM(FEATURES, WIDTH, batch_first=True), x).notes)
    assert "the readout is the identity" in told
    model = Of(
        lambda s, x: s.head(s.cell(x)[0][:, -1]),
        cell=nn.GRU(FEATURES, WIDTH, batch_first=True),
        head=nn.Linear(WIDTH, OUT, bias=False),
    )
    found = vg.from_torch(model, x)
    assert any("biases of 0" in note for note in found.notes)
    assert not found.network.state_dict()["readout.bias"].any()
    dropping = RECURRENT["dropout before the readout"][0]()
    assert "drop drops in training" in " ".join(vg.from_torch(dropping, x).notes)


def read(s: Any, x: Any) -> Any:
    return s.head(s.cell(x)[0][:, -1])


def cell(**options: Any) -> Any:
    return nn.LSTM(FEATURES, WIDTH, batch_first=True, **options)


def head() -> Any:
    return nn.Linear(WIDTH, OUT)


# Of each: the model, and what path, operation, reason and the nearest say.
REFUSED: dict[str, tuple[Make, tuple[str, str, str, str]]] = {
    "both directions": (lambda: nn.GRU(FEATURES, WIDTH, bidirectional=True), ("", "GRU", "both ends", "bidirectional=False")),
    "a projected state": (lambda: Of(read, cell=cell(proj_size=2), head=nn.Linear(2, OUT)), ("cell", "LSTM", "projects its state", "proj_size=0")),
    "dropout between layers": (lambda: Of(read, cell=cell(num_layers=2, dropout=0.1), head=head()), ("cell", "LSTM", "drops between its layers", "set its dropout to 0")),
    "a function before the readout": (lambda: Of(lambda s, x: s.head(s.cell(x)[0][:, -1].relu()), cell=cell(), head=head()), ("head", "Linear", "something else of what cell gives", "one readout")),
    "a mean of steps": (lambda: Of(lambda s, x: s.head(s.cell(x)[0].mean(1)), cell=cell(), head=head()), ("head", "Linear", "every step or the last", "one readout")),
    "a map before the steps": (lambda: Of(lambda s, x: s.head(s.cell(s.a(x))[0][:, -1]), a=nn.Linear(FEATURES, FEATURES), cell=cell(), head=head()), ("a", "Linear", "one map, behind its layers", "watch")),
    "a norm before the readout": (lambda: Of(lambda s, x: s.head(s.a(s.cell(x)[0][:, -1])), cell=cell(), a=nn.LayerNorm(WIDTH), head=head()), ("a", "LayerNorm", "one map, behind its layers", "watch")),
    "two maps": (lambda: Of(lambda s, x: s.b(s.head(s.cell(x)[0][:, -1])), cell=cell(), head=head(), b=nn.Linear(OUT, OUT)), ("head", "Linear", "one map", "watch")),
    "cells of two widths": (lambda: Of(lambda s, x: s.b(s.cell(x)[0])[0], cell=cell(), b=nn.LSTM(WIDTH, 4, batch_first=True)), ("b", "LSTM", "of another width", "one width")),
    "a learned first state": (lambda: Of(lambda s, x: s.cell(x, (s.h.expand(1, len(x), -1).contiguous(),) * 2)[0], cell=cell(), h=nn.Parameter(torch.ones(1, 1, WIDTH))), ("", "h", "none of the layers", "watch")),
    "a first state": (lambda: Of(lambda s, x: s.cell(x, (x.new_ones(1, len(x), WIDTH),) * 2)[0], cell=cell()), ("cell", "LSTM", "begins from a state", "zeros")),
    "an embedding of words": (lambda: Of(lambda s, x: s.cell(s.e(x.long()[..., 0]))[0], e=nn.Embedding(9, FEATURES), cell=cell()), ("e", "Embedding", "whole numbers", "behind it")),
    "a function of the output": (lambda: Of(lambda s, x: s.head(s.cell(x)[0][:, -1]).tanh(), cell=cell(), head=head()), ("", "forward", "behind head", "watch")),
    "noise": (lambda: Of(lambda s, x: s.head(s.cell(x)[0][:, -1]) + 0 * torch.randn(1) if s.training else s.cell(x + torch.randn_like(x))[0], cell=cell(), head=head()), ("head", "weight", "none of the layers", "watch")),
}  # fmt: skip
REFUSED_ENCODERS: dict[str, tuple[Make, tuple[str, str, str, str]]] = {
    "positions that are added": (lambda: Of(lambda s, x: s.body(x + s.p), body=encoder(1), p=nn.Parameter(torch.ones(TOKENS, MODEL))), ("", "p", "none of the layers", "watch")),
    "a constant that is added": (lambda: Of(lambda s, x: s.body(s.a(x) + 1), a=nn.Linear(MODEL, MODEL), body=encoder(1)), ("body.layers.0", "TransformerEncoderLayer", "does not take what a gives", "watch")),
    "two norms behind": (lambda: Of(lambda s, x: s.b(s.a(s.body(x))), body=encoder(1), a=nn.LayerNorm(MODEL), b=nn.LayerNorm(MODEL)), ("b", "LayerNorm", "has no part", "watch")),
    "a norm behind the readout": (lambda: Of(lambda s, x: s.b(s.a(s.body(x))), body=encoder(1), a=nn.Linear(MODEL, MODEL), b=nn.LayerNorm(MODEL)), ("b", "LayerNorm", "has no part", "watch")),
    "an embedding as wide": (lambda: Of(lambda s, x: s.body(s.a(x)), a=nn.Linear(MODEL, MODEL), body=encoder(1)), ("a", "Linear", "to as many", "behind it")),
    "the first token": (lambda: Of(lambda s, x: s.head(s.body(x)[:, 0]), body=encoder(1), head=nn.Linear(MODEL, OUT)), ("head", "Linear", "their mean or the last", "watch")),
    "attention in a model": (lambda: Of(lambda s, x: s.head(s.a(x, x, x)[0]), a=nn.MultiheadAttention(MODEL, 2, batch_first=True), head=nn.Linear(MODEL, OUT)), ("a", "MultiheadAttention", "no equal here but alone", "TransformerEncoderLayer")),
    "keys of another width": (lambda: nn.MultiheadAttention(MODEL, 2, kdim=4, vdim=4), ("", "MultiheadAttention", "other widths", "self-attention")),
    "a width that is no multiple": (lambda: nn.TransformerEncoderLayer(MODEL, 2, 12), ("", "TransformerEncoderLayer", "no multiple", "whole multiple")),
    "a mask of one's own": (lambda: Of(lambda s, x: s.body(x, src_mask=torch.eye(TOKENS, dtype=torch.bool)), body=layer()), ("body", "TransformerEncoderLayer", "one of its own", "causal")),
    "tokens that are hidden": (lambda: Of(lambda s, x: s.body(x, src_key_padding_mask=torch.zeros(len(x), TOKENS, dtype=torch.bool)), body=layer()), ("body", "TransformerEncoderLayer", "hides tokens", "one length")),
}  # fmt: skip


@pytest.mark.parametrize("name", [*REFUSED, *REFUSED_ENCODERS])
def test_a_model_without_an_equal_is_refused_with_what_is_possible(name: str) -> None:
    make, (path, operation, reason, nearest) = (REFUSED | REFUSED_ENCODERS)[name]
    torch.manual_seed(0)
    model = make()
    x = torch.zeros(2, STEPS, FEATURES) if name in REFUSED else torch.zeros(2, TOKENS, MODEL)
    with pytest.raises(Refusal) as refused:
        vg.from_torch(model, x)
    assert (refused.value.path, refused.value.operation) == (path, operation)
    assert reason in refused.value.reason
    assert nearest in refused.value.nearest
    assert "\n" not in str(refused.value)


def test_steps_are_asked_for_where_nothing_says_them() -> None:
    with pytest.raises(Refusal, match=r"how many steps.*pass x=, samples \(batch, steps, features\)"):
        vg.from_torch(nn.LSTM(FEATURES, WIDTH))
    with pytest.raises(ValueError, match=r"x must be sequences, \(batch, steps, features\), got shape \(2, 3\)"):
        vg.from_torch(nn.LSTM(FEATURES, WIDTH), np.zeros((2, 3)))
    with pytest.raises(Refusal, match="real numbers"):
        vg.from_torch(nn.LSTM(FEATURES, WIDTH), np.zeros((2, STEPS, FEATURES), int))


def test_weights_that_are_not_finite_are_named() -> None:
    model = nn.GRU(FEATURES, WIDTH)
    model.weight_hh_l0.data[0, 0] = torch.nan
    with pytest.raises(NonFinite, match="weight_hh_l0"):
        vg.from_torch(model, np.zeros((2, STEPS, FEATURES)))


def test_the_model_and_the_random_numbers_stay_as_they_were() -> None:
    model = RECURRENT["an LSTM"][0]()
    before, drawn = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    vg.from_torch(model, np.zeros((2, STEPS, FEATURES)))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(drawn, torch.get_rng_state())
    assert not any(module._forward_hooks for module in model.modules())
    assert model.training


def test_a_model_is_diagnosed_as_it_is() -> None:
    torch.manual_seed(0)
    model = RECURRENT["an LSTM"][0]()
    x = np.random.default_rng(0).standard_normal((16, 60, FEATURES))
    assert vg.diagnose(model, x=x).verdict == "vanishing"
    assert vg.diagnose(ENCODERS["embedded, pooled and read"][0](), x=x[:, :TOKENS]).verdict


# --- Out -----------------------------------------------------------------------------------------

RNNS: dict[str, dict[str, Any]] = {
    "lstm": {"cell": "lstm"}, "gru": {"cell": "gru", "biases": 2}, "tanh": {"cell": "tanh", "layers": 2},
    "irnn": {"cell": "irnn", "init": "torch_rnn"}, "lstm of two layers": {"cell": "lstm", "layers": 2, "biases": 2},
    "every step": {"cell": "gru", "outputs": "every"}, "no biases": {"cell": "relu", "bias": False},
    "no readout": {"cell": "lstm", "out_features": None}, "reset before": {"cell": "gru(reset=before)", "layers": 2},
    "a norm": {"cell": "lstm", "norm": "layer"}, "a norm of tanh": {"cell": "tanh", "norm": "rms", "layers": 2},
    "truncated": {"cell": "lstm", "truncate": 3}, "truncated, reset before": {"cell": "gru(reset=before)", "truncate": 2},
}  # fmt: skip
TRANSFORMERS: dict[str, dict[str, Any]] = {
    "pre": {}, "post": {"norm_position": "post", "activation": "gelu"}, "causal": {"causal": True, "pool": "last"},
    "no readout": {"out_features": None}, "embedded": {"in_features": FEATURES, "pool": "mean"},
    "rezero": {"skip": "rezero", "norm": None}, "deepnorm": {"skip": "deepnorm", "norm_position": "post"},
    "no skip": {"skip": None, "norm": None}, "normalised queries": {"qk_norm": True, "norm": "rms"},
    "normalised queries by mup": {"qk_norm": True, "scale": "mup", "skip": "deepnorm", "norm_position": "post"},
    "mup": {"scale": "mup"}, "no biases": {"bias": False}, "gated": {"activation": "swiglu"}, "crelu": {"activation": "crelu"},
    "prelu": {"activation": "prelu"}, "batch": {"norm": "batch", "norm_position": "post"}, "silu": {"activation": "silu"},
}  # fmt: skip


def rnn(name: str) -> Any:
    return vg.RNN(STEPS, WIDTH, in_features=FEATURES, **{"out_features": OUT} | RNNS[name])


def transformer(name: str) -> Any:
    return vg.Transformer(2, MODEL, heads=2, tokens=TOKENS, ffn=2, **{"out_features": OUT} | TRANSFORMERS[name])


def drawn(spec: Any) -> Any:
    """A net of which every number counts."""
    state = spec.init(seed=1, dtype="float64").state_dict()
    draw = np.random.default_rng(2)
    return vg.Network.from_state_dict(
        spec, {name: a + 0.2 * draw.standard_normal(a.shape) for name, a in state.items()}
    )


@pytest.mark.parametrize(
    ("make", "name"), [*((rnn, name) for name in RNNS), *((transformer, name) for name in TRANSFORMERS)]
)
def test_a_net_as_a_module_has_its_outputs_and_gradients(make: Callable[[str], Any], name: str) -> None:
    spec = make(name)
    net = drawn(spec)
    module = net.to_torch()
    x = np.random.default_rng(3).standard_normal((4, STEPS if make is rnn else TOKENS, spec.in_features or MODEL))
    leaf = torch.tensor(x, requires_grad=True)
    out = module(leaf)
    assert torch.equal(out, module(leaf.reshape(4, -1)))
    cotangent = np.random.default_rng(4).standard_normal(tuple(out.shape))
    (out * torch.tensor(cotangent)).sum().backward()
    ours, expected = out.detach().numpy().reshape(4, -1), net.forward(x.reshape(4, -1))
    assert np.abs(ours - expected).max() < 1e-10 * np.abs(expected).max()
    gradients = net.backward(x.reshape(4, -1), cotangent.reshape(4, -1))
    assert (
        np.abs(leaf.grad.numpy().reshape(4, -1) - gradients.input.reshape(4, -1)).max()
        < 1e-10 * np.abs(gradients.input).max()
    )
    learned = [p for p in module.parameters() if p.requires_grad]
    assert sum(p.numel() for p in learned) == sum(array.size for array in net.state_dict().values())
    total = np.sqrt(sum(float((p.grad**2).sum()) for p in learned if p.grad is not None))
    assert total == pytest.approx(np.sqrt(sum((g**2).sum() for g in gradients.parameters.values())), rel=1e-10)
    twin = pickle.loads(pickle.dumps(copy.deepcopy(module)))
    assert torch.equal(twin(leaf), out)


@pytest.mark.parametrize("name", ["lstm", "gru", "tanh", "every step", "no readout", "no biases"])
def test_a_recurrent_net_comes_back_as_it_went(name: str) -> None:
    net = drawn(rnn(name))
    back = vg.from_torch(net.to_torch(), np.zeros((2, STEPS, FEATURES))).network
    x = np.random.default_rng(3).standard_normal((4, STEPS * FEATURES))
    assert np.abs(back.forward(x) - net.forward(x)).max() < 1e-12
    assert (back.spec.steps, back.spec.outputs, back.spec.layers) == (net.spec.steps, net.spec.outputs, net.spec.layers)


@pytest.mark.parametrize("name", ["pre", "post", "causal", "embedded", "no readout"])
def test_a_transformer_comes_back_as_it_went(name: str) -> None:
    net = drawn(transformer(name))
    back = vg.from_torch(net.to_torch(), np.zeros((2, TOKENS, net.spec.in_features or MODEL))).network
    assert all(np.array_equal(array, back.state_dict()[key]) for key, array in net.state_dict().items())


def test_a_module_of_torchs_own_has_its_names() -> None:
    assert {"rnn.weight_ih_l0", "rnn.weight_hh_l0", "rnn.bias_ih_l0", "readout.weight"} <= {
        *rnn("lstm").to_torch().state_dict()
    }
    assert isinstance(rnn("lstm").to_torch().rnn, nn.LSTM)
    layers = transformer("pre").to_torch().layers
    assert isinstance(layers[0], nn.TransformerEncoderLayer)
    encoder(2, norm_first=True).layers.load_state_dict(layers.state_dict())
