"""Recurrent nets and transformers of torch: which modules are read, and which arrays of theirs stand where."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vgcore.convert.imported import WATCH, Imported, Refusal
from vgcore.convert.proof import Run
from vgcore.convert.record import Tensor
from vgcore.convert.sequences import Encoder, Read, Recurrent, State, imported
from vgcore.convert.tape import Array
from vgcore.convert.values import Curve, recognised

_CHAIN = f"a net here is recurrent layers, or a map and encoder layers, and one readout; {WATCH}"
_RUN = "pass x= with samples first, (batch, steps, features): what the model wants first is found out"


def holds_sequences(model: Any) -> bool:
    """Whether a module has recurrent layers of torch, its attention, or is one of them."""
    from torch import nn

    kinds = (nn.RNNBase, nn.MultiheadAttention, nn.TransformerEncoderLayer)
    return any(isinstance(module, kinds) for module in model.modules())


@dataclass(eq=False)
class Heard:
    """A module that ran: what it took and gave, samples first."""

    path: str
    module: Any
    taken: Tensor
    given: Tensor
    asked: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """What torch calls it."""
        return type(self.module).__name__


def from_sequences(subject: Any, x: Any) -> Imported:
    """The net of a model of recurrent or encoder layers, proved against it.

    Args:
        subject: A float64 copy of the model, as `torch.copied` makes it.
        x: Samples `(batch, steps, features)`, of which the shape counts.

    Raises:
        Refusal: For a model that is no such net: where, what and why.
    """
    steps, features = _shape(x)
    model = _Model(subject.forward, steps, features)

    def draw() -> None:
        import torch

        generator = torch.Generator().manual_seed(0)
        for p in subject.parameters.values():
            fan_in = p.shape[-1] if p.ndim > 1 else 4
            p.copy_(torch.randn(p.shape, generator=generator, dtype=p.dtype) / math.sqrt(fan_in))

    read = Read(net=model.net, run=model.run, draw=draw, notes=subject.notes + model.notes)
    return imported(read, steps)


def _shape(x: Any) -> tuple[int, int]:
    """Steps and features of a sample."""
    if x is None:
        reason = "nothing in it says how many steps its sequences have"
        raise Refusal("", "forward", reason, "pass x=, samples (batch, steps, features), of which the shape counts")
    given = x if hasattr(x, "dtype") else np.asarray(x)
    if "float" not in str(given.dtype):
        raise Refusal("", "forward", f"its samples are of type {given.dtype}, and a net here takes real numbers")
    if given.ndim != 3:
        raise ValueError(f"x must be sequences, (batch, steps, features), got shape {tuple(given.shape)}")
    return int(given.shape[1]), int(given.shape[2])


class _Model:
    """A model of sequences that takes samples first, and gives one tensor with samples first."""

    def __init__(self, own: Any, steps: int, features: int) -> None:
        from torch import nn

        self.own, self.features, self.notes = own, features, list[str]()
        self.attends = isinstance(own, nn.MultiheadAttention)
        _check_modules(own)
        self.steps_first, self.gives_steps_first = False, False
        heard = self._heard(steps, features)
        if heard is None:
            self.steps_first = True
            heard = self._heard(steps, features)
            what = "steps" if any(isinstance(part, nn.RNNBase) for part in own.modules()) else "tokens"
            self.notes.append(
                f"the model takes ({what}, batch, features), the net samples first: x was read as samples of {steps} "
                f"{what} of {features} features"
            )
        if heard is None:
            raise Refusal("", "forward", "its layers take steps for samples in either order of the axes", _RUN)
        self.parts, out = heard
        self.gives_steps_first = len(out) != _samples(steps)
        self.output = out.transpose(0, 1) if self.gives_steps_first else out
        if drops := [path or type(module).__name__ for path, module in own.named_modules() if _drops(module)]:
            several = "drops" if len(drops) == 1 else "and others drop"
            self.notes.append(f"{drops[0]} {several} in training: the net is that of evaluation")
        _check_parameters(own, self.parts)

    def __call__(self, x: Tensor) -> Tensor:
        """The output of samples `(batch, steps, features)`."""
        rows = x.transpose(0, 1) if self.steps_first else x
        out = self.own(rows, rows, rows, need_weights=False) if self.attends else self.own(rows)
        if isinstance(out, tuple) and out:
            out = out[0]
        if not hasattr(out, "ndim") or out.ndim < 2:
            reason = f"it returns a {type(out).__name__}, and a net here gives one array"
            raise Refusal("", "forward", reason, "pass a module that returns the one tensor that matters")
        return out.transpose(0, 1) if self.gives_steps_first else out

    def run(self, steps: int) -> Run:
        """The model on rows of sequences of so many steps, as the proof runs it."""
        import torch

        def run(rows: Array, upto: int | None) -> tuple[Array, Callable[[Array], Array]]:
            assert upto is None  # noqa: S101 (there is no tape)
            with torch.inference_mode(mode=False), torch.enable_grad():
                leaf = torch.tensor(rows, dtype=torch.float64, requires_grad=True)
                out = self(leaf.reshape(len(rows), steps, self.features)).reshape(len(rows), -1)

            def vjp(cotangent: Array) -> Array:
                return _array(torch.autograd.grad(out, leaf, torch.tensor(cotangent), retain_graph=True)[0])

            return _array(out), vjp

        return run

    def _heard(self, steps: int, features: int) -> tuple[list[Heard], Tensor] | None:
        """The parts of the model in the order in which they run, and its output; None if the axes are the others."""
        import torch
        from torch import nn

        parts, hooks = list[Heard](), []
        samples = _samples(steps)
        kinds = (nn.RNNBase, nn.TransformerEncoderLayer, nn.MultiheadAttention, nn.Linear, nn.LayerNorm)
        inner = {
            id(each)
            for layer in self.own.modules()
            if isinstance(layer, nn.TransformerEncoderLayer | nn.MultiheadAttention)
            for each in layer.modules()
            if each is not layer
        }

        def first(tensor: Tensor) -> Tensor:
            return tensor if len(tensor) == samples else tensor.transpose(0, 1) if tensor.ndim > 2 else tensor

        def hear(path: str) -> Any:
            def hook(module: Any, args: Any, kwargs: Any, out: Any) -> None:
                taken = [*args, *kwargs.values()][0]
                given = out[0] if isinstance(out, tuple) else out
                if not isinstance(taken, torch.Tensor) or taken.ndim < 2:
                    reason = "it takes packed or single sequences, and a net here takes sequences of one length"
                    raise Refusal(path, type(module).__name__, reason, _RUN)
                told = getattr(getattr(module, "self_attn", module), "batch_first", None)
                if told is not None and taken.ndim == 3 and taken.shape[0 if told else 1] != samples:
                    raise _WrongAxes
                parts.append(Heard(path, module, first(taken), first(given), _asked(module, args, kwargs)))

            return hook

        for path, module in self.own.named_modules():
            if isinstance(module, kinds) and id(module) not in inner:
                hooks.append(module.register_forward_hook(hear(path), with_kwargs=True))
        draw = np.random.default_rng(0).standard_normal((samples, steps, features))
        x = torch.tensor(draw, requires_grad=True)
        try:
            with torch.inference_mode(mode=False), torch.enable_grad():
                return parts, self(x)
        except _WrongAxes:
            return None
        except Refusal:
            raise
        except Exception as error:
            said = (str(error).splitlines() or [""])[0][:200]
            raise Refusal("", "forward", f"it raised {type(error).__name__}: {said}", _RUN) from error
        finally:
            for each in hooks:
                each.remove()

    def net(self) -> Recurrent | Encoder:
        """What the parts are, with their weights of now."""
        from torch import nn

        body = [part for part in self.parts if not isinstance(part.module, nn.Linear | nn.LayerNorm)]
        if len({id(part.module) for part in self.parts}) < len(self.parts):
            raise Refusal(body[0].path, body[0].kind, "a part runs more than once", _CHAIN)
        start, stop = self.parts.index(body[0]), self.parts.index(body[-1]) + 1
        before, behind = self.parts[:start], self.parts[stop:]
        for one, two in zip(self.parts[:stop], self.parts[1:stop], strict=False):
            if not _equal(one.given, two.taken):
                raise Refusal(two.path, two.kind, f"it does not take what {one.path or one.kind} gives", _CHAIN)
        if isinstance(body[0].module, nn.RNNBase):
            return self._recurrent(body, before, behind)
        return self._encoder(body, before, behind)

    def _recurrent(self, body: list[Heard], before: list[Heard], behind: list[Heard]) -> Recurrent:
        others = [*before, *behind[:-1], *(each for each in behind if each.kind != "Linear")]
        if others:
            raise Refusal(others[0].path, others[0].kind, "a recurrent net here has one map, behind its layers", _CHAIN)
        first = body[0].module
        for part in body:
            if type(part.module) is not type(first) or part.module.hidden_size != first.hidden_size:
                reason = f"it is another cell, or of another width, than {body[0].path}"
                raise Refusal(part.path, part.kind, reason, "layers of one net here have one cell and one width")
            if part.asked.get("hx") is not None:
                raise Refusal(
                    part.path, part.kind, "it begins from a state that it is given", "let it begin from zeros"
                )
        cell = {"RNN_TANH": "tanh", "RNN_RELU": "relu", "LSTM": "lstm(forget_bias=0)", "GRU": "gru"}[first.mode]
        layers = [layer for part in body for layer in _layers(part.module)]
        how, readout = self._read_out(body[-1], behind, {"last": lambda o: o[:, -1], "every": lambda o: o})
        return Recurrent(cell=cell, layers=tuple(layers), readout=readout, outputs=how)

    def _encoder(self, body: list[Heard], before: list[Heard], behind: list[Heard]) -> Encoder:
        from torch import nn

        embedding = before[0] if before else None
        norm = behind.pop(0) if behind and behind[0].kind == "LayerNorm" else None
        others = [*before[1:], *behind[1:], *(each for each in [*before, *behind] if each.kind != "Linear")]
        if others:
            raise Refusal(others[0].path, others[0].kind, "it stands where a transformer here has no part", _CHAIN)
        if embedding is not None and embedding.module.in_features == embedding.module.out_features:
            reason = (
                "it maps the features of a token to as many before the blocks, and a transformer here then has no map"
            )
            raise Refusal(embedding.path, embedding.kind, reason, f"pass what is behind it; {WATCH}")
        if alone := next((each for each in body if isinstance(each.module, nn.MultiheadAttention)), None):
            if not self.attends:
                reason = "attention without its block has no equal here but alone"
                raise Refusal(alone.path, alone.kind, reason, f"nn.TransformerEncoderLayer is a block; {WATCH}")
            layers, options = [_attention_alone(body[0].module)], _ALONE | {"heads": body[0].module.num_heads}
        else:
            layers, told = [_block(part) for part in body], [_options(part) for part in body]
            if any(each != told[0] for each in told):
                raise Refusal(body[1].path, body[1].kind, f"it is not made as {body[0].path} is", _CHAIN)
            options = told[0]
        options = options | {"final_norm": None if norm is None else f"layer(eps={norm.module.eps!r})"}
        ways = {None: lambda o: o, "mean": lambda o: o.mean(1), "last": lambda o: o[:, -1]}
        # A norm may stand behind the pooling, which the proof then refuses: a net here has it before.
        how, readout = self._read_out(norm or body[-1], behind, ways)
        return Encoder(
            layers=tuple(layers),
            options=options | {"pool": how},
            embedding=None if embedding is None else _affine(embedding.module),
            final_norm=None if norm is None else _affine(norm.module),
            readout=readout,
        )

    def _read_out(self, last: Heard, behind: list[Heard], ways: Mapping[Any, Any]) -> tuple[Any, State | None]:
        """How the output is taken of what the last layer gives, and the map that reads it."""
        reader = behind[0] if behind else None
        taken = self.output if reader is None else reader.taken
        if reader is not None and not _equal(reader.given, self.output):
            raise Refusal("", "forward", f"it does something behind {reader.path}", _CHAIN)
        for how, way in ways.items():
            if _equal(taken, way(last.given)):
                return how, None if reader is None else _affine(reader.module)
        known = "every step or the last" if "every" in ways else "every token, their mean or the last"
        who = ("", "forward") if reader is None else (reader.path, reader.kind)
        raise Refusal(*who, f"it takes something else of what {last.path or last.kind} gives than {known}", _CHAIN)


def _samples(steps: int) -> int:
    """Samples that a model is heard on: others than steps, or nothing would tell the axes apart."""
    return 3 if steps != 3 else 4


class _WrongAxes(Exception):  # noqa: N818 (a signal, which no caller sees)
    """A layer took steps for samples."""


# --- What is refused -----------------------------------------------------------------------------


def _check_modules(own: Any) -> None:
    """Refuse layers that no net here has, with what is possible instead."""
    from torch import nn

    for path, module in own.named_modules():
        kind, said = type(module).__name__, None
        if isinstance(module, nn.RNNBase):
            if module.bidirectional:
                said = "it reads sequences from both ends", "one direction is possible: bidirectional=False"
            elif module.proj_size:
                said = "it projects its state", "a state as wide as the cell is possible: proj_size=0"
            elif module.num_layers > 1 and module.dropout:
                said = "it drops between its layers in training", "layers without are possible: set its dropout to 0"
        elif isinstance(module, nn.MultiheadAttention):
            if module.in_proj_weight is None:
                said = "keys and values have other widths than queries", "self-attention of one width is possible"
            elif module.bias_k is not None or module.add_zero_attn:
                said = "it attends to a token of its own", "add_bias_kv=False and add_zero_attn=False are possible"
        elif isinstance(module, nn.Embedding):
            said = "it looks rows up by whole numbers, and a net here takes real ones", "pass the part behind it"
        if said is not None:
            raise Refusal(path, kind, *said)


def _check_parameters(own: Any, parts: Sequence[Heard]) -> None:
    """Refuse a model with parameters that no part has."""
    known = {id(p) for part in parts for p in part.module.parameters()}
    for name, p in own.named_parameters():
        if id(p) not in known:
            path, _, last = name.rpartition(".")
            raise Refusal(path, last, "it is a parameter of none of the layers that ran", _CHAIN)


def _drops(module: Any) -> bool:
    from torch import nn

    if isinstance(module, nn.MultiheadAttention):
        return bool(module.dropout)
    return "Dropout" in type(module).__name__ and bool(module.p)


def _asked(module: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """What a layer was called with beside its input."""
    from torch import nn

    names: tuple[str, ...]
    if isinstance(module, nn.TransformerEncoderLayer):
        names = ("src", "src_mask", "src_key_padding_mask", "is_causal")
    else:
        names = ("input", "hx") if isinstance(module, nn.RNNBase) else ("query", "key", "value")
    given = dict(zip(names, args, strict=False)) | dict(kwargs)
    return {name: value for name, value in given.items() if value is not None and name not in names[:1]}


def _equal(one: Tensor, two: Tensor) -> bool:
    import torch

    return one.shape == two.shape and bool(torch.allclose(one, two, rtol=1e-12, atol=1e-14))


# --- Arrays --------------------------------------------------------------------------------------


def _array(tensor: Tensor) -> Array:
    return np.array(tensor.detach().numpy())


def _affine(module: Any) -> dict[str, Array]:
    """Weight and bias of a map or a norm; of a norm without weights, ones."""
    state = {"weight": np.ones(module.normalized_shape)} if hasattr(module, "normalized_shape") else {}
    return state | {name: _array(p) for name, p in module.named_parameters()}


def _layers(module: Any) -> list[State]:
    """The layers of a recurrent module."""
    names = {"weight": "weight_hh_l", "inputs.weight": "weight_ih_l"}
    names |= {"bias": "bias_hh_l", "inputs.bias": "bias_ih_l"} if module.bias else {}
    return [
        {key: _array(getattr(module, f"{name}{l}")) for key, name in names.items()} for l in range(module.num_layers)
    ]


def _packed(attention: Any) -> dict[str, Array]:
    """The arrays of an attention by their names here."""
    packed = {"weight": attention.in_proj_weight, "bias": attention.in_proj_bias}
    state = {f"self_attn.in_proj.{key}": _array(p) for key, p in packed.items() if p is not None}
    return state | {f"self_attn.out_proj.{key}": array for key, array in _affine(attention.out_proj).items()}


def _block(part: Heard) -> dict[str, Array]:
    """The arrays of an encoder layer by their names here."""
    state = _packed(part.module.self_attn)
    for name in ("linear1", "linear2", "norm1", "norm2"):
        state |= {f"{name}.{key}": array for key, array in _affine(getattr(part.module, name)).items()}
    return state


def _options(part: Heard) -> dict[str, object]:
    """The fields of a spec that an encoder layer says."""
    module = part.module
    width, inner = module.self_attn.embed_dim, module.linear1.out_features
    if inner % width:
        reason = f"its feed-forward part is {inner} wide, no multiple of the width {width}"
        raise Refusal(part.path, part.kind, reason, "a whole multiple is possible: ffn of it")
    if module.norm1.eps != module.norm2.eps:
        raise Refusal(part.path, part.kind, "its norms have two eps", "one eps for all norms is possible")
    return {
        "heads": module.self_attn.num_heads,
        "activation": _activation(part, inner),
        "norm": f"layer(eps={module.norm1.eps!r})",
        "norm_position": "pre" if module.norm_first else "post",
        "skip": "residual",
        "causal": _causal(part),
    }


def _activation(part: Heard, features: int) -> str:
    """The activation of an encoder layer, by its values."""
    import torch

    def f(rows: Any) -> Array:
        with torch.no_grad():
            return _array(part.module.activation(torch.tensor(np.asarray(rows, np.float64))))

    found = recognised(f, features, custom=False)
    if isinstance(found, Curve):
        return found.text
    reason = found if isinstance(found, str) else "its activation has parameters of its own"
    raise Refusal(part.path, part.kind, reason, "activations of the catalogue are possible")


def _causal(part: Heard) -> bool:
    """Whether the mask that a layer was given lets each token see itself and what is before it; False without one."""
    import torch

    if part.asked.get("src_key_padding_mask") is not None:
        raise Refusal(part.path, part.kind, "it hides tokens of some samples", "sequences of one length are possible")
    mask = part.asked.get("src_mask")
    if mask is None:
        return False
    hidden = mask if mask.dtype == torch.bool else mask == -math.inf
    tokens = part.taken.shape[1]
    later = torch.ones(tokens, tokens, dtype=torch.bool).triu(1)
    plain = mask.dtype == torch.bool or not mask[~hidden].any()
    if hidden.shape != later.shape or not plain or not torch.equal(hidden, later):
        raise Refusal(part.path, part.kind, "its mask is one of its own", "no mask, or the causal one, is possible")
    return True


#: A block of which only the attention is not the identity.
_ALONE: dict[str, object] = {"activation": "linear", "norm": None, "norm_position": "post", "skip": None}


def _attention_alone(attention: Any) -> dict[str, Array]:
    """The arrays of a block that is an attention, and a feed-forward part that hands on what it gets."""
    width = attention.embed_dim
    state = _packed(attention)
    biased = attention.in_proj_bias is not None
    for name in ("linear1", "linear2"):
        state |= {f"{name}.weight": np.eye(width)} | ({f"{name}.bias": np.zeros(width)} if biased else {})
    return state
