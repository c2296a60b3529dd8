"""Recurrent nets and transformers as modules of torch: torch's own where it has them, under its names everywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np

from vgcore.convert.to_torch import Tensor, activate, holder
from vgcore.model.network import Network
from vgcore.model.plan import Plan
from vgcore.model.rnn import RNN


def module_of(net: Network) -> Any:
    """A module that computes what a recurrent net or a transformer computes, with the same numbers.

    It takes `(batch, steps, features)`, or flat rows, and gives `(batch, out)` or, where each step or token has an
    output, `(batch, steps, out)`.
    """
    classes = _classes()
    made: Any = (classes.Recurrent if isinstance(net.spec, RNN) else classes.Encoder)(net)
    return made


def _named(net: Network) -> Iterator[tuple[str, Any]]:
    """The numbers of a net under the names of torch."""
    import torch

    for name, array in net.state_dict().items():
        yield (_of_cell(name) if isinstance(net.spec, RNN) else _of_block(name)), torch.from_numpy(np.array(array))


def _of_cell(name: str) -> str:
    """The name of numbers of a recurrent net.

    >>> [_of_cell(name) for name in ("inputs.0.bias", "layers.1.weight", "norms.0.weight", "readout.weight")]
    ['rnn.bias_ih_l0', 'rnn.weight_hh_l1', 'rnn.norms.0.weight', 'readout.weight']
    """
    module, *layer, own = name.split(".")
    ways = {"layers": "rnn.{1}_hh_l{0}", "inputs": "rnn.{1}_ih_l{0}", "norms": "rnn.norms.{0}.{1}"}
    return ways[module].format(*layer, own) if module in ways else name


def _of_block(name: str) -> str:
    """The name of numbers of a transformer.

    >>> _of_block("layers.0.self_attn.in_proj.weight")
    'layers.0.self_attn.in_proj_weight'
    """
    return name.replace("in_proj.", "in_proj_")


@cache
def _classes() -> SimpleNamespace:
    """The classes of modules, made when they are first asked for: torch is no part of this package."""
    import torch
    from torch import nn
    from torch.nn import functional

    def normed(norm: Any, h: Tensor) -> Tensor:
        """A norm of each token, or of all of them together; the tokens themselves without one."""
        if norm is None:
            return h
        return norm(h.flatten(0, 1)).view_as(h) if isinstance(norm, nn.BatchNorm1d) else norm(h)

    class Own(nn.Module):  # type: ignore[misc]  # torch may not be there
        """A module whose class has no place to be found at."""

        def __reduce__(self) -> tuple[Any, ...]:
            return _bare, (type(self).__name__,), self.__getstate__()

    class Whole(Own):
        """A net: what it is, and its readout."""

        def __init__(self, net: Network) -> None:
            super().__init__()
            self.spec, self.state = net.spec, dict(_named(net))
            self.options = {"dtype": getattr(torch, net.dtype)}

        def linear(self, name: str, fan_in: int, fan_out: int) -> Any:
            return nn.Linear(fan_in, fan_out, bias=f"{name}.bias" in self.state, **self.options)

        def finish(self) -> None:
            """Add the readout, and take the numbers of the net; what torch has beside them is 0, and stays so."""
            spec: Any = self.spec
            read = spec.out_features is not None
            self.readout = self.linear("readout", spec.width, spec.out_features) if read else None
            for name, parameter in self.named_parameters():
                if name not in self.state:
                    self.state[name] = torch.zeros_like(parameter)
                    parameter.requires_grad_(requires_grad=False)
            self.load_state_dict(self.state)
            del self.state, self.options

        def read(self, h: Tensor) -> Tensor:
            return h if self.readout is None else self.readout(h)

        def extra_repr(self) -> str:
            return repr(self.spec)

    class Recurrent(Whole):
        """Recurrent layers and a readout of the last step, or of every one."""

        def __init__(self, net: Network) -> None:
            super().__init__(net)
            spec: Any = net.spec
            fields = (spec.in_features, spec.width, spec.layers)
            options = {"bias": spec.bias is not False, "batch_first": True, **self.options}
            cell = spec.cell.name
            self.rnn: Any
            if spec.norm is not None or spec.cell.params.get("reset") == "before":
                self.rnn = Cells(spec, self.state)
            elif cell in {"lstm", "gru"}:
                self.rnn = {"lstm": nn.LSTM, "gru": nn.GRU}[cell](*fields, **options)
            else:
                self.rnn = nn.RNN(*fields, nonlinearity="tanh" if cell == "tanh" else "relu", **options)
            self.finish()

        def forward(self, x: Tensor) -> Tensor:
            """From samples `(batch, steps, in_features)` to outputs."""
            spec: Any = self.spec
            x = x.reshape(len(x), -1, spec.in_features)
            state, several = None, []
            for some in x.split(spec.truncate or x.shape[1], 1):
                out, state = self.rnn(some, state)
                # Where the gradient is cut.
                state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
                several.append(out)
            h = torch.cat(several, 1)
            return self.read(h if spec.outputs == "every" else h[:, -1])

    class Cells(Own):
        """Recurrent layers that torch has not: step by step, with the names of `torch.nn.GRU` and its like."""

        def __init__(self, spec: Any, state: Mapping[str, Tensor]) -> None:
            super().__init__()
            self.spec = spec
            for name, tensor in state.items():
                if name.startswith("rnn.") and "norms" not in name:
                    self.register_parameter(name.removeprefix("rnn."), nn.Parameter(tensor.clone()))
            self.norms = nn.ModuleList(
                holder(str(spec.norm), state[f"rnn.norms.{l}.weight"], state.get(f"rnn.norms.{l}.bias"))
                for l in range(spec.layers if spec.norm is not None else 0)
            )

        def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
            """States `(batch, steps, width)` of all steps, and the last of all layers."""
            layers, width = range(self.spec.layers), self.spec.width
            zeros = x.new_zeros(len(layers), len(x), width)
            h, c = (list(each) for each in (state or (zeros, zeros)))
            outputs = []
            for below in x.unbind(1):
                above = below
                for l in layers:
                    h[l], c[l] = self.step(l, above, h[l], c[l])
                    above = h[l]
                outputs.append(above)
            return torch.stack(outputs, 1), (torch.stack(h), torch.stack(c))

        def map(self, way: str, l: int, x: Tensor) -> Tensor:
            named = (getattr(self, f"{what}_{way}_l{l}", None) for what in ("weight", "bias"))
            return functional.linear(x, *named)

        def step(self, l: int, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
            fed, name = self.map("ih", l, x), self.spec.cell.name
            if name == "gru":  # of torch's own is the one with the reset behind the product
                r, z, _ = (self.map("hh", l, h) + fed).sigmoid().chunk(3, 1)
                n = (self.map("hh", l, r * h) + fed).chunk(3, 1)[2].tanh()
                return (1 - z) * n + z * h, c
            gates = self.norms[l](self.map("hh", l, h) + fed)
            if name == "lstm":
                i, f, g, o = gates.chunk(4, 1)
                c = f.sigmoid() * c + i.sigmoid() * g.tanh()
                return o.sigmoid() * c.tanh(), c
            return (gates.tanh() if name == "tanh" else gates.relu()), c

    class Encoder(Whole):
        """An embedding map, blocks, a norm behind them, and a readout."""

        def __init__(self, net: Network) -> None:
            super().__init__(net)
            spec: Any = net.spec
            self.embedding = None
            if "embedding.weight" in self.state:
                self.embedding = self.linear("embedding", spec.in_features, spec.width)
            own = [
                {name.removeprefix(at): tensor for name, tensor in self.state.items() if name.startswith(at)}
                for at in (f"layers.{b}." for b in range(spec.depth))
            ]
            there = self.torchs() if spec.norm is not None and spec.norm.name == "layer" else None
            alike = (spec.skip, spec.scale, spec.qk_norm) == ("residual", "standard", False)
            # A layer of torch has these arrays and no others, or it is another.
            plain = alike and there is not None and _shapes(there.state_dict()) == _shapes(own[0])
            self.layers = nn.ModuleList(self.torchs() if plain else Block(spec, each) for each in own)
            self.final_norm = None
            if "final_norm.weight" in self.state:
                kind = spec.norm if spec.final_norm == "auto" else spec.final_norm
                self.final_norm = holder(str(kind), self.state["final_norm.weight"], self.state.get("final_norm.bias"))
            self.finish()

        def torchs(self) -> Any:
            """A layer of torch."""
            spec: Any = self.spec
            kind = str(spec.activation)
            return nn.TransformerEncoderLayer(
                spec.width,
                spec.heads,
                spec.ffn * spec.width,
                dropout=0.0,
                activation=kind if kind in {"relu", "gelu"} else Phi(kind),
                layer_norm_eps=spec.norm.params["eps"],
                batch_first=True,
                norm_first=spec.norm_position == "pre",
                **self.options,
            )

        def forward(self, x: Tensor) -> Tensor:
            """From samples `(batch, tokens, features)` to outputs."""
            spec: Any = self.spec
            h = x.reshape(len(x), spec.tokens, -1)
            h = h if self.embedding is None else self.embedding(h)
            mask = (
                nn.Transformer.generate_square_subsequent_mask(spec.tokens, h.device, h.dtype) if spec.causal else None
            )
            for layer in self.layers:
                h = layer(h, src_mask=mask, is_causal=spec.causal)
            h = normed(self.final_norm, h)
            return self.read({"mean": h.mean(1), "last": h[:, -1]}.get(spec.pool, h))

    class Block(Own):
        """A block that torch has not, with the names of `torch.nn.TransformerEncoderLayer`."""

        def __init__(self, spec: Any, state: Mapping[str, Tensor]) -> None:
            super().__init__()
            self.spec, self.self_attn = spec, nn.Module()
            # All blocks are alike.
            steps = [step for layer in Plan.of(spec).layers for step in layer.steps]
            attention = next(step for step in steps if step.part == "attention")
            self.scale, self.eps = attention.scale, attention.eps
            self.around = next((step.around for step in steps if step.part == "join"), None)
            for name in dict.fromkeys(name.rpartition(".")[0] for name in state):
                if name == "self_attn":
                    for own in ("in_proj_weight", "in_proj_bias"):
                        given = state.get(f"self_attn.{own}")
                        self.self_attn.register_parameter(own, None if given is None else nn.Parameter(given))
                    continue
                kind = str(spec.norm if "norm" in name else spec.activation) if "alpha" not in name else None
                made = holder(kind, state[f"{name}.weight"], state.get(f"{name}.bias"))
                owner, _, own = name.rpartition(".")
                self.get_submodule(owner).add_module(own, made)

        def forward(self, h: Tensor, **_: Any) -> Tensor:
            # What a layer of torch is told of its mask, the spec says.
            return self.half("2", self.feed, self.half("1", self.attend, h))

        def half(self, number: str, branch: Any, h: Tensor) -> Tensor:
            """Attention or the two maps, and what goes around."""
            spec, norm = self.spec, getattr(self, f"norm{number}", None)
            pre = spec.norm_position == "pre"
            inner = branch(normed(norm, h) if pre else h)
            if self.around is not None:
                learned = getattr(self, f"alpha{number}", None)
                inner = self.around * h + (inner if learned is None else learned.weight * inner)
            return inner if pre else normed(norm, inner)

        def attend(self, h: Tensor) -> Tensor:
            spec, own = self.spec, self.self_attn
            packed = functional.linear(h, own.in_proj_weight, own.in_proj_bias)
            q, k, v = packed.unflatten(2, (3, spec.heads, -1)).permute(2, 0, 3, 1, 4)
            if self.eps is not None:
                q, k = (each / (each.square().mean(-1, keepdim=True) + self.eps).sqrt() for each in (q, k))
            mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=spec.causal, scale=self.scale)
            return own.out_proj(mixed.transpose(1, 2).flatten(2))

        def feed(self, h: Tensor) -> Tensor:
            z = self.linear1(h).flatten(0, 1)
            own = getattr(self, "activation", None)
            return self.linear2(own(z) if own else activate(str(self.spec.activation), z)).view_as(h)

    class Phi(Own):
        """An activation of the catalogue."""

        def __init__(self, kind: str) -> None:
            super().__init__()
            self.kind = kind

        def forward(self, z: Tensor) -> Tensor:
            return activate(self.kind, z)

    classes = (Recurrent, Cells, Encoder, Block, Phi)
    return SimpleNamespace(**{each.__name__: each for each in classes})


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _bare(name: str) -> Any:
    """A module of a class without contents, which unpickling or copying brings."""
    made: Any = getattr(_classes(), name)
    return made.__new__(made)
