"""A net as a torch module: `to_torch`."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from vgcore.model.custom import KNOWN
from vgcore.model.given import wrong_type
from vgcore.model.kind import Activation, Norm, Transform
from vgcore.model.mlp import MLP
from vgcore.model.network import Network
from vgcore.model.plan import Map, Plan
from vgcore.model.sequential import Sequential
from vgcore.model.spec import Spec

#: A tensor of torch, which may not be there to be typed by.
Tensor = Any


def to_torch(net: Spec | Network) -> Any:
    """A `torch.nn.Module` that computes what a net computes, with the same numbers under the same names.

    Its `state_dict()` has the keys, shapes and values of the net's. A batch normalisation takes the statistics of its
    batch in evaluation too; dropout drops in training alone, as in torch.

    An `RNN` or a `Transformer` becomes torch's own modules where torch has them (`nn.LSTM`,
    `nn.TransformerEncoderLayer`), under their names: `rnn.weight_ih_l0`, `layers.0.self_attn.in_proj_weight`. It takes
    `(batch, steps, features)`, or flat rows, and gives `(batch, out)` or, where every step or token has an output,
    `(batch, steps, out)`.

    Args:
        net: A `Network`, whose dtype is kept; or a spec, of which the net of seed 0 is drawn, in float32.

    Returns:
        The module, in training mode, as torch makes them.

    Raises:
        ImportError: Without torch.
        TypeError: For what is no net.
    """
    if isinstance(net, Spec):
        net = net.init(seed=0)
    if not isinstance(net, Network):
        raise wrong_type("net", "a spec or a Network", net)
    try:
        if isinstance(net.spec, MLP | Sequential):
            return _module()(net)
        from vgcore.convert.to_torch_sequences import module_of  # which is made of pieces of this module

        return module_of(net)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ImportError("to_torch needs torch: pip install torch") from None


@cache
def _module() -> type[Any]:
    """The class of the module, made when it is first asked for: torch is no part of this package."""
    import torch
    from torch import nn

    class Net(nn.Module):  # type: ignore[misc]  # torch may not be there
        """The parts of a net, one after the other."""

        def __init__(self, net: Network) -> None:
            super().__init__()
            self.spec = net.spec
            plan = Plan.of(net.spec)
            steps = [*(layer.steps for layer in plan.layers), plan.ends]
            self.steps = [(l, step) for l, several in enumerate(steps) for step in several]
            # A net is fed where every step takes an input of its own; the first of them begins with zeros.
            self.fed = any(step.fed for _, step in self.steps)
            self.first = plan.layers[0].input
            kinds = {step.key: step.kind for _, step in self.steps if step.part in {"norm", "activation"}}
            state = {name: torch.from_numpy(np.array(value)) for name, value in net.state_dict().items()}
            for path in dict.fromkeys(name.rpartition(".")[0] for name in state):
                *above, own = path.split(".")
                owner: nn.Module = self
                for name in above:
                    if not hasattr(owner, name):
                        owner.add_module(name, nn.ModuleDict())
                    owner = getattr(owner, name)
                owner.add_module(own, holder(kinds.get(path), state[f"{path}.weight"], state.get(f"{path}.bias")))
            self.load_state_dict(state)

        def forward(self, x: Tensor) -> Tensor:
            """From samples `(batch, in_features)` to outputs."""
            h = x.new_zeros(len(x), self.first) if self.fed else x
            around: dict[int | None, Tensor] = {}
            for l, step in self.steps:
                own: Any = self.get_submodule(step.key) if step.key else None
                match step.part:
                    case "map":
                        h = _mapped(own, step.map, h)
                        if step.fed:
                            h = h + self.get_submodule(step.fed)(x[:, l])
                    case "norm":
                        h = own(h)
                    case "activation":
                        h = own(h) if own else activate(step.kind, h)
                    case "dropout":
                        h = nn.functional.dropout(h, step.dropped, self.training)
                    case "keep":
                        around[step.stream] = h
                    case "join":
                        h = _joined(step.kind, step.scale, own, around[step.stream], h)
            return h

        def extra_repr(self) -> str:
            return repr(self.spec)

        def __reduce__(self) -> tuple[Any, ...]:
            # The class has no place to be found at.
            return _bare, (), self.__getstate__()

    return Net


def _bare() -> Any:
    """A module without contents, which unpickling or copying brings."""
    made: Any = _module()
    return made.__new__(made)


def holder(kind: str | None, weight: Tensor, bias: Tensor | None) -> Any:
    """A module for parameters of this shape: a norm or prelu by its kind, else a map, else one number."""
    from torch import nn

    options: dict[str, Any] = {"dtype": weight.dtype}
    if weight.ndim == 2:
        return nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, **options)
    if kind is None:
        holder = nn.Module()
        holder.register_parameter("weight", nn.Parameter(weight))
        return holder
    if kind.startswith("prelu"):
        return nn.PReLU(**options)
    norm = Norm(kind)
    options["eps"] = norm.params["eps"]
    if norm.name == "batch":
        return nn.BatchNorm1d(len(weight), track_running_stats=False, **options)
    return {"layer": nn.LayerNorm, "rms": nn.RMSNorm}[norm.name](len(weight), **options)


def _mapped(own: Any, at: Map | None, h: Tensor) -> Tensor:
    """`W h + b`, W as a transform makes it of the weights."""
    import torch

    if at is None or at.transform is None:
        return own(h)
    kind, w = Transform(at.transform), own.weight
    gain = float(kind.params["gain"])
    if kind.name == "spectral_norm":
        top = torch.linalg.matrix_norm(w, 2)
        w = gain * w / top if top > 0 else w
    else:
        # Equal weights have no direction but the rounding of their mean.
        flat = (w == w[:, :1]).all(1, keepdim=True)
        centre = (w - w.mean(1, keepdim=True)).masked_fill(flat, 0)
        variance = centre.square().mean(1, keepdim=True) + float(kind.params["eps"])
        w = gain / math.sqrt(w.shape[1]) * centre / variance.masked_fill(variance == 0, 1).sqrt()
    return torch.nn.functional.linear(h, w, own.bias)


def _joined(way: str, scale: float, own: Any, x: Tensor, h: Tensor) -> Tensor:
    """What went around, x, and what came through, h."""
    import torch

    match way:
        case "concat":
            return torch.cat([x, h], 1)
        case "gate":
            opening = torch.sigmoid(own(x))
            return (1 - opening) * x + opening * h
        case "rezero":
            return x + scale * own.weight * h
        case "project":
            return own(x) + scale * h
    return x + scale * h


def activate(kind: str, z: Tensor) -> Tensor:
    """An activation of the catalogue, or of the user's own, on a torch tensor."""
    import torch
    from torch.nn import functional

    activation = Activation.of_field(kind)
    name, p = activation.name, activation.params
    if name == "custom":
        return _cubics(kind, z)
    own: dict[str, Callable[..., Tensor]] = {
        "linear": lambda z: z,
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "erf": torch.erf,
        "arctan": torch.atan,
        "abs": torch.abs,
        # In evaluation rrelu has the mean of its slopes; here it has that in training too.
        "rrelu": lambda z, lower, upper: functional.leaky_relu(z, (lower + upper) / 2),
        # Its derivative in torch is the float32 next to 1/6, in float64 too.
        "hardsigmoid": lambda z: functional.relu6(z + 3) / 6,
        "sin": lambda z, omega: torch.sin(omega * z),
        "squareplus": lambda z, b: (z + torch.sqrt(z * z + b)) / 2,
        "snake": lambda z, alpha: z + torch.sin(alpha * z) ** 2 / alpha,
        "crelu": lambda z: torch.cat([torch.relu(z), torch.relu(-z)], 1),
        "swiglu": lambda z: _gated(z, functional.silu),
        "geglu": lambda z, approximate: _gated(z, lambda gate: functional.gelu(gate, approximate=approximate)),
    }
    f = own.get(name) or getattr(functional, name)
    return f(z, **p)


def _gated(z: Tensor, opening: Callable[[Tensor], Tensor]) -> Tensor:
    value, gate = z.chunk(2, 1)
    return value * opening(gate)


def _cubics(kind: str, z: Tensor) -> Tensor:
    """Cubics through the samples of a function of the user's own, lines beyond their ends."""
    import torch

    table = KNOWN[kind].table
    result = torch.zeros_like(z)
    start = 0
    for low, high, cells in zip(table.borders, table.borders[1:], table.cells, strict=False):
        v = z.new_tensor(table.values[start : start + cells + 1])
        s = z.new_tensor(table.slopes[start : start + cells + 1])
        start += cells + 1
        first, last = low == table.borders[0], high == table.borders[-1]
        # A number on a border belongs to the piece on its left.
        here = ((z > low) | first) & ((z <= high) | last)
        h = (high - low) / cells
        inside = z.clamp(low, high)
        cell = ((inside.detach() - low) / h).long().clamp(0, cells - 1)
        u = (inside - low) / h - cell
        v0, v1, s0, s1 = v[cell], v[cell + 1], s[cell], s[cell + 1]
        cubic = v0 + u * h * s0 + u**2 * (3 * (v1 - v0) - h * (2 * s0 + s1) + u * (2 * (v0 - v1) + h * (s0 + s1)))
        beyond = torch.where(z < low, s[0], s[-1]) * (z - inside)
        result = torch.where(here, cubic + beyond, result)
    return result
