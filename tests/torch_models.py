"""Torch models of all sorts: those that have an equal here, and those that have none, with why."""

# mypy: disable-error-code="misc"
# ruff: noqa: E501 (a row of the tables is a line)
import itertools
import math
import random
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 (as everybody writes it)

Make = Callable[[], Any]


class Of(nn.Module):
    """A module of the given modules and tensors, with a forward written beside it."""

    def __init__(self, forward: Callable[..., Any], **members: Any) -> None:
        super().__init__()
        self.written = forward
        for name, member in members.items():
            if isinstance(member, torch.Tensor) and not isinstance(member, nn.Parameter):
                self.register_buffer(name, member)
            else:
                setattr(self, name, member)

    def forward(self, *x: Any) -> Any:
        return self.written(self, *x)


def linears(*sizes: int, **options: Any) -> nn.ModuleList:
    """Maps from each size to the next."""
    return nn.ModuleList(nn.Linear(a, b, **options) for a, b in itertools.pairwise(sizes))


def parameter(*shape: int) -> nn.Parameter:
    """A drawn parameter."""
    return nn.Parameter(torch.randn(*shape) / math.sqrt(shape[-1]))


def stack(activation: Callable[[], nn.Module], *, depth: int = 3, norm: Any = None, readout: bool = True) -> nn.Module:
    """The usual stack of layers."""
    parts: list[nn.Module] = []
    for l in range(depth):
        parts += [nn.Linear(5 if l == 0 else 8, 8), *([norm(8)] if norm else []), activation()]
    return nn.Sequential(*parts, *([nn.Linear(8, 3)] if readout else []))


def changed(module: nn.Module) -> nn.Module:
    """Other numbers than a norm starts with, so that they count."""
    for p in module.parameters():
        p.data += 0.3 * torch.randn_like(p)
    return module


def looped(step: Callable[[Any, int, Any], Any], **members: Any) -> nn.Module:
    """Step after step over the list `layers`, then a readout if there is one."""

    def forward(self: Any, x: Any) -> Any:
        h = self.stem(x) if hasattr(self, "stem") else x
        for l in range(len(self.layers)):
            h = step(self, l, h)
        if hasattr(self, "last"):
            h = self.last(h)
        return self.readout(h) if hasattr(self, "readout") else h

    return Of(forward, **members)


class Swish(nn.Module):
    """An activation that torch has under another name."""

    def forward(self, x: Any) -> Any:
        return x * torch.sigmoid(x)


class RMS(nn.Module):
    """A normalisation by hand, as in models of language."""

    def __init__(self, features: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps, self.weight = eps, nn.Parameter(torch.ones(features))

    def forward(self, x: Any) -> Any:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


class Block(nn.Module):
    """`x + V gelu(U LN(x))` with a wide inside."""

    def __init__(self, features: int, wide: int, dropout: float = 0.0, norm: Any = nn.LayerNorm) -> None:
        super().__init__()
        self.norm, self.up, self.down = norm(features), nn.Linear(features, wide), nn.Linear(wide, features)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Any) -> Any:
        return x + self.drop(self.down(F.gelu(self.up(self.norm(x)))))


class Gated(nn.Module):
    """`x + V (silu(A x) * B x)`, as in models of language."""

    def __init__(self, features: int, wide: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(features, eps=1e-6)
        self.gate, self.up = nn.Linear(features, wide, bias=False), nn.Linear(features, wide, bias=False)
        self.down = nn.Linear(wide, features, bias=False)

    def forward(self, x: Any) -> Any:
        h = self.norm(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Rows(nn.Module):
    """A wrapper, as what runs a model on several devices."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *x: Any, **options: Any) -> Any:
        return self.module(*x, **options)


def hand_written() -> nn.Module:
    return Of(
        lambda s, x: torch.tanh(torch.tanh(x @ s.w0.t() + s.b0).matmul(s.w1) + s.b1) @ s.w2.T + s.b2,
        w0=parameter(8, 5), b0=parameter(8), w1=parameter(8, 8), b1=parameter(8), w2=parameter(3, 8), b2=parameter(3),
    )  # fmt: skip


def other_spellings() -> nn.Module:
    return Of(
        lambda s, x: torch.einsum("bi,oi->bo", torch.addmm(s.b0, x, s.w0).relu(), s.w1).relu() @ s.w2,
        w0=parameter(5, 8), b0=parameter(8), w1=parameter(8, 8), w2=parameter(8, 3),
    )  # fmt: skip


def functional() -> nn.Module:
    return Of(
        lambda s, x: F.linear(F.relu(F.linear(F.relu(F.linear(x, s.w0, s.b0)), s.w1, s.b1)), s.w2, s.b2),
        w0=parameter(8, 5), b0=parameter(8), w1=parameter(8, 8), b1=parameter(8), w2=parameter(3, 8), b2=parameter(3),
    )  # fmt: skip


def in_place() -> nn.Module:
    return nn.Sequential(
        nn.Linear(5, 8), nn.ReLU(inplace=True), nn.Linear(8, 8), nn.ReLU(inplace=True), nn.Linear(8, 3)
    )


def added_in_place() -> nn.Module:
    def step(self: Any, l: int, h: Any) -> Any:
        branch = F.gelu(self.layers[l](h))
        branch += h
        return branch

    return looped(step, stem=nn.Linear(5, 8), layers=linears(8, 8, 8), readout=nn.Linear(8, 3))


def shared() -> nn.Module:
    def forward(self: Any, x: Any) -> Any:
        for _ in range(4):
            x = torch.tanh(self.cell(x))
        return self.readout(x)

    return Of(forward, cell=nn.Linear(6, 6), readout=nn.Linear(6, 3))


def prelu() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 8), nn.PReLU(init=0.2), nn.Linear(8, 8), nn.PReLU(init=0.3), nn.Linear(8, 3))


def batch_norm() -> nn.Module:
    return changed(stack(nn.ReLU, norm=partial(nn.BatchNorm1d, eps=1e-3)))


def post_norm() -> nn.Module:
    def step(self: Any, l: int, h: Any) -> Any:
        return self.norms[l](h + torch.relu(self.layers[l](h)))

    return looped(
        step, stem=nn.Linear(5, 8), layers=linears(8, 8, 8, 8), readout=nn.Linear(8, 3),
        norms=nn.ModuleList(nn.LayerNorm(8) for _ in range(3)),
    )  # fmt: skip


def residual(scale: float = 1.0) -> nn.Module:
    return looped(
        lambda s, l, h: h + scale * torch.tanh(s.layers[l](h)),
        stem=nn.Linear(5, 8), layers=linears(8, 8, 8, 8), readout=nn.Linear(8, 3),
    )  # fmt: skip


def rezero() -> nn.Module:
    return looped(
        lambda s, l, h: h + s.alphas[l] * F.relu(s.layers[l](h)),
        stem=nn.Linear(5, 8), layers=linears(8, 8, 8), readout=nn.Linear(8, 3),
        alphas=nn.ParameterList(nn.Parameter(torch.tensor(v)) for v in (0.3, -0.7)),
    )  # fmt: skip


def dense() -> nn.Module:
    return looped(
        lambda s, l, h: torch.cat([h, F.relu(s.layers[l](h))], dim=-1),
        layers=nn.ModuleList(nn.Linear(5 + 4 * l, 4) for l in range(3)), readout=nn.Linear(17, 3),
    )  # fmt: skip


def old_weight_norm() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return nn.Sequential(nn.utils.weight_norm(nn.Linear(5, 8)), nn.Tanh(), nn.utils.weight_norm(nn.Linear(8, 3)))


def weight_norm() -> nn.Module:
    wrap = nn.utils.parametrizations.weight_norm
    return nn.Sequential(wrap(nn.Linear(5, 8)), nn.Tanh(), wrap(nn.Linear(8, 8)), nn.Tanh(), nn.Linear(8, 3))


def spectral_norm() -> nn.Module:
    wrap = nn.utils.parametrizations.spectral_norm
    model = nn.Sequential(wrap(nn.Linear(5, 8)), nn.ReLU(), wrap(nn.Linear(8, 3)))
    model(torch.randn(4, 5))
    return model


def reshaped() -> nn.Module:
    return Of(
        lambda s, x: s.b(s.a(x.flatten(1)).view(x.shape[0], -1).relu().unsqueeze(1).squeeze(1)).reshape(len(x), -1),
        a=nn.Linear(12, 8), b=nn.Linear(8, 3),
    )  # fmt: skip


def hooked() -> nn.Module:
    model = stack(nn.Tanh)
    model[1].register_forward_hook(lambda _module, _args, output: 0.5 * output)
    model[4].register_forward_pre_hook(lambda _module, args: (args[0] + 1.0,))
    return model


def seen_by_hooks() -> nn.Module:
    model = stack(nn.GELU)
    model[0].register_full_backward_hook(lambda *_: None)
    return model


def compiled() -> nn.Module:
    return torch.compile(stack(nn.SiLU), backend="eager")


def buffers() -> nn.Module:
    def forward(self: Any, x: Any) -> Any:
        h = F.leaky_relu(self.a(x), float(self.slope))
        return self.b(h * self.scale)

    return Of(forward, a=nn.Linear(5, 8), b=nn.Linear(8, 3), scale=torch.tensor(0.7), slope=torch.tensor(0.125))


def halves(opening: Callable[[Any], Any], *, flipped: bool = False) -> nn.Module:
    def forward(self: Any, x: Any) -> Any:
        one, two = self.up(x).chunk(2, dim=-1)
        return self.down(opening(one) * two if flipped else one * opening(two))

    return Of(forward, up=nn.Linear(5, 16), down=nn.Linear(8, 3))


def pre_norm(**options: Any) -> nn.Module:
    return changed(
        nn.Sequential(nn.Linear(5, 8), *(Block(8, 32, **options) for _ in range(4)), nn.LayerNorm(8), nn.Linear(8, 3))
    )


def field() -> nn.Module:
    def forward(self: Any, x: Any) -> Any:
        h = x
        for l, layer in enumerate(self.layers):
            h = F.relu(layer(torch.cat([x, h], -1) if l == 3 else h))
        return self.readout(h)

    layers = nn.ModuleList(nn.Linear(6 if l == 0 else 8 + 6 * (l == 3), 8) for l in range(5))
    return Of(forward, layers=layers, readout=nn.Linear(8, 4))


def projected() -> nn.Module:
    def forward(self: Any, x: Any) -> Any:
        h = self.around(x) + self.b(F.relu(self.a(x)))
        return self.readout(F.relu(h))

    return Of(forward, a=nn.Linear(5, 8), b=nn.Linear(8, 8), around=nn.Linear(5, 8), readout=nn.Linear(8, 3))


def checkpointed() -> nn.Module:
    from torch.utils.checkpoint import checkpoint

    def step(self: Any, l: int, h: Any) -> Any:
        return checkpoint(lambda h: F.gelu(self.layers[l](h)), h, use_reentrant=False)

    return looped(step, stem=nn.Linear(5, 8), layers=linears(8, 8, 8), readout=nn.Linear(8, 3))


def frozen() -> nn.Module:
    model = stack(nn.ReLU)
    model[0].requires_grad_(requires_grad=False)
    return model


def cast_inside() -> nn.Module:
    return Of(
        lambda s, x: s.b(torch.relu(s.a(x.to(s.a.weight.dtype))).float().to(x.dtype)),
        a=nn.Linear(5, 8),
        b=nn.Linear(8, 3),
    )


def looked_at() -> nn.Module:
    def forward(self: Any, x: Any) -> Any:
        if torch.isnan(x).any():
            raise ValueError("nan")
        self.largest = x.detach().abs().max().item()
        return self.b(torch.relu(self.a(x)))

    return Of(forward, a=nn.Linear(5, 8), b=nn.Linear(8, 3))


ACCEPTED: dict[str, tuple[Make, dict[str, Any]]] = {
    "a stack of tanh": (partial(stack, nn.Tanh), {"depth": 3, "activation": "tanh", "norm": None, "skip": None}),
    "matmul, transpose and add": (hand_written, {"depth": 2, "activation": "tanh"}),
    "addmm, einsum and a product without a bias": (other_spellings, {"depth": 2, "activation": "relu"}),
    "functional calls": (functional, {"depth": 2, "activation": "relu"}),
    "no readout": (partial(stack, nn.ReLU, readout=False), {"depth": 3, "out_features": None}),
    "relu in place": (in_place, {"depth": 2, "activation": "relu"}),
    "a sum in place": (added_in_place, {}),
    "one layer used again": (shared, {"tied": True}),
    "prelu with one slope": (prelu, {}),
    "gelu by erf": (partial(stack, nn.GELU), {"activation": "gelu"}),
    "gelu by tanh": (partial(stack, lambda: nn.GELU("tanh")), {"activation": "gelu(approximate=tanh)"}),
    "h sigmoid(1.702 h)": (
        lambda: Of(lambda s, x: s.b((h := s.a(x)) * torch.sigmoid(1.702 * h)), a=nn.Linear(5, 8), b=nn.Linear(8, 3)),
        {},
    ),
    "an activation of the user's": (partial(stack, Swish), {"activation": "silu"}),
    "leaky relu by where": (
        lambda: Of(lambda s, x: s.b(torch.where((h := s.a(x)) > 0, h, 0.2 * h)), a=nn.Linear(5, 8), b=nn.Linear(8, 3)),
        {"activation": "leaky_relu(negative_slope=0.2)"},
    ),
    "relu by a mask": (
        lambda: Of(lambda s, x: s.b((h := s.a(x)) * (h > 0)), a=nn.Linear(5, 8), b=nn.Linear(8, 3)),
        {"activation": "relu"},
    ),
    "a sine with its frequency": (
        lambda: Of(lambda s, x: s.b(torch.sin(30 * s.a(x))), a=nn.Linear(5, 8), b=nn.Linear(8, 3)),
        {"activation": "sin(omega=30)"},
    ),
    "layer norm": (lambda: changed(stack(nn.ReLU, norm=partial(nn.LayerNorm, eps=1e-3))), {"norm": "layer(eps=0.001)"}),
    "rms norm": (lambda: changed(stack(nn.SiLU, norm=partial(nn.RMSNorm, eps=1e-6))), {"norm": "rms(eps=0.000001)"}),
    "rms norm without an eps": (lambda: changed(stack(nn.SiLU, norm=nn.RMSNorm)), {}),
    "rms norm by hand": (lambda: changed(stack(nn.SiLU, norm=RMS)), {"norm": "rms(eps=0.000001)"}),
    "batch norm": (batch_norm, {"norm": "batch(eps=0.001)"}),
    "residual blocks": (residual, {"skip": "residual", "depth": 4}),
    "residual blocks with a scaled branch": (partial(residual, 0.25), {"branch_scale": 0.25}),
    "a norm behind the sum": (post_norm, {}),
    "rezero": (rezero, {}),
    "features side by side": (dense, {"skip": "dense"}),
    "dropout": (lambda: stack(lambda: nn.Sequential(nn.ReLU(), nn.Dropout(0.2))), {"dropout": 0.2}),
    "weight norm of the old kind": (old_weight_norm, {}),
    "weight norm": (weight_norm, {}),
    "spectral norm": (spectral_norm, {}),
    "views of all sorts": (reshaped, {"depth": 1, "activation": "relu"}),
    "hooks that change what goes on": (hooked, {}),
    "a hook that looks at gradients": (seen_by_hooks, {"activation": "gelu"}),
    "a compiled model": (compiled, {"activation": "silu"}),
    "half precision": (lambda: stack(nn.Tanh).half(), {"activation": "tanh"}),
    "bfloat16": (lambda: stack(nn.Tanh).bfloat16(), {"activation": "tanh"}),
    "double precision": (lambda: stack(nn.Tanh).double(), {"activation": "tanh"}),
    "buffers": (buffers, {}),
    "glu": (lambda: nn.Sequential(nn.Linear(5, 16), nn.GLU(), nn.Linear(8, 3)), {"activation": "glu"}),
    "swiglu of halves": (lambda: halves(F.silu), {"activation": "swiglu"}),
    "geglu with its gate first": (lambda: halves(F.gelu, flipped=True), {"activation": "geglu"}),
    "two maps that gate": (
        lambda: changed(
            nn.Sequential(nn.Linear(5, 8), Gated(8, 16), Gated(8, 16), nn.RMSNorm(8, eps=1e-6), nn.Linear(8, 3))
        ),
        {},
    ),
    "pre-norm blocks between a stem and a final norm": (
        pre_norm,
        {"depth": 9, "stem": 1, "block": 2, "skip": "residual(order=linear)", "final_norm": "layer"},
    ),
    "the same with dropout": (partial(pre_norm, dropout=0.1), {"stem": 1}),
    "an input that joins again half-way": (field, {}),
    "a projection around": (projected, {}),
    "log-softmax at the end": (lambda: nn.Sequential(stack(nn.ReLU), nn.LogSoftmax(dim=-1)), {"out_features": 3}),
    "softmax at the end": (lambda: nn.Sequential(stack(nn.ReLU), nn.Softmax(dim=1)), {"out_features": 3}),
    "a wrapper": (lambda: Rows(stack(nn.ELU)), {"activation": "elu"}),
    "torch's own wrapper": (lambda: nn.DataParallel(stack(nn.ELU)), {"activation": "elu"}),
    "checkpoints": (checkpointed, {"activation": ("linear", "gelu", "gelu")}),
    "a frozen layer": (frozen, {"activation": "relu"}),
    "casts on the way": (cast_inside, {"activation": "relu"}),
    "numbers that are only looked at": (looked_at, {"activation": "relu"}),
}


class Backwards(torch.autograd.Function):
    """The identity, with a gradient that is not its own."""

    @staticmethod
    def forward(_ctx: Any, x: Any) -> Any:
        return x * 1.0

    @staticmethod
    def backward(_ctx: Any, gradient: Any) -> Any:
        return -gradient


def between(f: Callable[..., Any], **members: Any) -> nn.Module:
    """A function between two maps."""
    maps = {"a": nn.Linear(6, 8), "b": nn.Linear(8, 3)}
    return Of(lambda s, x: s.b(f(s, s.a(x)) if members else f(s.a(x))), **maps, **members)


def counted() -> nn.Module:
    model = stack(nn.Tanh)
    calls: list[None] = []

    def hook(_module: Any, _args: Any, output: Any) -> Any:
        calls.append(None)
        return output * len(calls)

    model[1].register_forward_hook(hook)
    return model


def turned_gradient() -> nn.Module:
    model = stack(nn.Tanh)
    model[2].register_full_backward_hook(lambda _module, into, _out: tuple(-g for g in into))
    return model


def mutated() -> nn.Module:
    def forward(self: Any, x: Any) -> Any:
        with torch.no_grad():
            self.a.weight.mul_(0.9)
        return self.b(torch.relu(self.a(x)))

    return Of(forward, a=nn.Linear(5, 8), b=nn.Linear(8, 3))


def blended() -> nn.Module:
    def forward(self: Any, x: Any) -> Any:
        h = self.a(x)
        h = torch.relu(h) if h.sum() > 0 else torch.tanh(h)
        return self.b(h)

    return Of(forward, a=nn.Linear(5, 8), b=nn.Linear(8, 3))


def standardised_by_number() -> nn.Module:
    return between(lambda h: h / h.abs().max().item())


def quantised() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(stack(nn.ReLU), {nn.Linear})


def without_grad() -> nn.Module:
    def forward(self: Any, x: Any) -> Any:
        with torch.no_grad():
            h = self.a(x)
        return self.b(torch.relu(h))

    return Of(forward, a=nn.Linear(5, 8), b=nn.Linear(8, 3))


def numbered() -> nn.Module:
    return nn.Sequential(nn.Embedding(10, 8), nn.Linear(8, 3))


class Uncopied(nn.Module):
    """A module that holds what cannot be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.stream = nn.Linear(5, 3), (i for i in range(3))

    def forward(self, x: Any) -> Any:
        return self.layer(x)


# Of each: the model, x if it needs one, and what path, operation and reason say.
REFUSED: dict[str, tuple[Make, Any, tuple[str, str, str]]] = {
    "a convolution": (
        lambda: nn.Sequential(nn.Conv1d(1, 4, 3), nn.Flatten(), nn.Linear(16, 3)),
        torch.zeros(2, 1, 6),
        ("0", "conv1d", "a convolution shares its weights"),
    ),
    "attention": (
        lambda: Of(lambda s, x: s.b(s.attention(x, x, x)[0][:, 0]), attention=nn.MultiheadAttention(8, 2, batch_first=True), b=nn.Linear(8, 3)),
        torch.zeros(2, 4, 8),
        ("attention", "MultiheadAttention", "no equal here but alone"),
    ),
    "attention by hand": (
        lambda: Of(lambda s, x: s.b(F.scaled_dot_product_attention(x, x, x)[:, 0]), b=nn.Linear(8, 3)),
        torch.zeros(2, 4, 8),
        ("", "scaled_dot_product_attention", "mixes the positions"),
    ),
    "a transformer's layer": (
        lambda: nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), nn.Flatten(), nn.Linear(32, 3)),
        torch.zeros(2, 4, 8),
        ("2", "Linear", "something else of what 0 gives"),
    ),
    "cells in a loop": (
        lambda: Of(lambda s, x: s.b(s.cell(x[:, 1], s.cell(x[:, 0]))), cell=nn.GRUCell(6, 8), b=nn.Linear(8, 3)),
        torch.zeros(2, 4, 6),
        ("cell", "gru_cell", "called by hand"),
    ),
    "an embedding": (numbered, None, ("0", "embedding", "whole numbers")),
    "whole numbers": (numbered, torch.zeros(2, 3, dtype=torch.int64), ("", "forward", "real numbers")),
    "positions that share their weights": (
        lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3)),
        torch.zeros(2, 4, 6),
        ("0", "linear", "4 positions"),
    ),
    "softmax inside": (lambda: between(lambda h: torch.softmax(h, -1)), None, ("", "softmax", "mixes features")),
    "prelu a channel": (lambda: between(lambda s, h: s.act(h), act=nn.PReLU(8)), None, ("act", "prelu", "a number a feature that training changes")),
    "a branch on the data": (blended, None, ("", "tanh", "branches on its data")),
    "a number of the data": (standardised_by_number, None, ("", "div", "constants differ")),
    "a gradient of its own": (lambda: between(Backwards.apply), None, ("", "mul", "Backwards has a backward of its own")),
    "a part without gradients": (without_grad, None, ("a", "linear", "no_grad")),
    "detached values": (lambda: between(lambda h: h.detach()), None, ("", "detach", "gradients stop")),
    "data": (lambda: between(lambda h: h.data), None, ("", "data", "gradients stop")),
    "two outputs": (
        lambda: Of(lambda s, x: (s.a(x), s.b(x)), a=nn.Linear(5, 8), b=nn.Linear(5, 3)),
        None,
        ("", "forward", "returns a tuple"),
    ),
    "outputs by name": (lambda: Of(lambda s, x: {"y": s.a(x)}, a=nn.Linear(5, 8)), None, ("", "forward", "returns a dict")),
    "noise": (lambda: between(lambda h: torch.relu(h) + 0.1 * torch.randn_like(h)), None, ("", "randn_like", "random")),
    "noise of one sort for all samples": (
        lambda: between(lambda h: torch.relu(h) * torch.rand(8)),
        None,
        ("", "mul", "random numbers"),
    ),
    "dice of Python": (lambda: between(lambda h: torch.relu(h) * random.random()), None, ("", "mul", "constants differ")),
    "samples that are mixed": (lambda: between(lambda h: h - h.mean(0)), None, ("", "mean", "mixes the samples")),
    "samples that are added up": (lambda: between(lambda h: torch.cumsum(h, 0)), None, ("", "cumsum", "mixes the samples")),
    "features transposed": (
        lambda: between(lambda h: h.view(-1, 2, 4).transpose(1, 2).flatten(1).relu()),
        None,
        ("", "transpose", "moves or picks features"),
    ),
    "features in another order": (
        lambda: between(lambda s, h: torch.relu(h[:, s.order]), order=torch.tensor([1, 0, 3, 2, 5, 4, 7, 6])),
        None,
        ("", "getitem", "moves or picks features"),
    ),
    "features that are picked": (
        lambda: between(lambda h: torch.index_select(h, 1, torch.tensor([0, 0, 1, 1, 2, 2, 3, 3]))),
        None,
        ("", "index_select", "moves or picks features"),
    ),
    "features flipped": (lambda: between(lambda h: h.flip(1).relu()), None, ("", "flip", "moves or picks features")),
    "complex numbers": (lambda: between(lambda h: torch.fft.fft(h).real), None, ("", "fft_fft", "complex")),
    "two branches multiplied": (
        lambda: Of(lambda s, x: s.c(s.a(x) * s.b(x)), a=nn.Linear(5, 8), b=nn.Linear(5, 8), c=nn.Linear(8, 3)),
        None,
        ("", "mul", "joins 2 ways"),
    ),
    "a bilinear layer": (
        lambda: Of(lambda s, x: s.b(s.a(x, x)), a=nn.Bilinear(5, 5, 8), b=nn.Linear(8, 3)),
        torch.zeros(2, 5),
        ("a", "bilinear", "multiplies two branches"),
    ),
    "sorted features": (lambda: between(lambda h: torch.sort(h, -1).values), None, ("", "sort", "order of their size")),
    "a pool": (lambda: between(lambda h: F.max_pool1d(h.unsqueeze(1), 1).squeeze(1)), None, ("", "max_pool1d", "side by side")),
    "norms of groups": (lambda: between(lambda s, h: s.norm(h), norm=nn.GroupNorm(2, 8)), None, ("norm", "group_norm", "groups")),
    "weights that change": (mutated, None, ("a", "forward", "changes its own parameter a.weight")),
    "a hook that counts": (counted, None, ("1", "mul", "constants differ")),
    "a hook that turns gradients": (turned_gradient, None, ("", "the whole model", "dL/dx")),
    "the meta device": (lambda: stack(nn.ReLU).to("meta"), None, ("0", "weight", "meta device")),
    "a lazy layer": (lambda: nn.Sequential(nn.LazyLinear(8)), None, ("0", "weight", "before the first run")),
    "quantised weights": (quantised, None, ("0", "Linear", "quantised")),
    "a scripted model": (lambda: torch.jit.trace(stack(nn.ReLU), torch.zeros(2, 5)), None, ("", "TopLevelTracedModule", "cannot be heard")),
    "what cannot be copied": (Uncopied, None, ("", "copy.deepcopy", "cannot be copied")),
    "weights made of the samples": (
        lambda: Of(lambda s, x: torch.einsum("bi,bio->bo", x, s.a(x).view(-1, 5, 8)), a=nn.Linear(5, 40)),
        None,
        ("", "einsum", "multiplies two branches"),
    ),
    "nothing to learn": (nn.ReLU, None, ("", "forward", "no parameters")),
    "an output without samples": (lambda: Of(lambda s, _: s.w @ s.w, w=parameter(5, 5)), None, ("", "forward", "does not depend")),
    "samples of another shape": (lambda: stack(nn.ReLU), torch.zeros(2, 7), ("0", "forward", "raised RuntimeError")),
}  # fmt: skip
