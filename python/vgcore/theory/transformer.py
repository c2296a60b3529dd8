"""Transformers as mean field has them: the columns of their probes, and the depth at which tokens are alike."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np

from vgcore import _core
from vgcore.judge.rules.samples import CORRELATION_COLLAPSE
from vgcore.model.given import wrong_type
from vgcore.model.kind import Activation, Norm
from vgcore.model.plan import Plan, Step
from vgcore.model.spec import Spec
from vgcore.theory.attention import Attention, Tokens
from vgcore.theory.columns import Columns
from vgcore.theory.maps import Floats, moments, pair_moments, ranging
from vgcore.theory.parts import finite, variance_of
from vgcore.theory.wave import refuse

Back = Callable[[Tokens], Tokens]
#: The blocks of the map before attention.
QKV = "qkv"
#: Up to where theory was held to measured nets: the variance of logits, and sublayers over width.
SPREAD, DEPTH = 16.0, 0.1
#: Blocks that are looked at for the end of a collapse.
MOST = 256


class Walk:
    """A transformer on its way through, part by part, with its ways back."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.plan: Plan = Plan.of(spec)
        rows = len(self.plan.layers)
        steps = [step for layer in self.plan.layers for step in layer.steps]
        if not any(step.part == "attention" for step in steps):
            raise wrong_type("spec", "a Transformer", spec)
        self.tokens: int = next(step.tokens for step in steps if step.part == "attention")
        self.sizes: dict[str, Floats] = {
            name: np.full(rows, math.nan) for name in ("z", "a", "h", "delta", "weight", "dh")
        }
        self.extra: dict[str, Floats] = {}
        self.x: Tokens = Tokens(1.0, 0.0)  # standard normal samples
        self.around: Tokens | None = None
        self.entering: list[Tokens] = []  # what every map gets
        self.ways: list[list[tuple[Step, Back]]] = []
        self.made: list[Tokens] = []  # what the last map gave: queries, keys and values, or one
        self.turned: list[float] = []  # what its way back multiplies each of them by
        self.spread: float = 0.0
        self.reached: tuple[Tokens, ...] = ()  # dL/dq, dL/dk and dL/dv, between attention and the map before it
        self.sublayers: float = 0.0  # each by its share of the squares that it hands on

    def note(self, name: str, row: int, value: float) -> None:
        """A number of a column that not every net has."""
        self.extra.setdefault(name, np.full(len(self.plan.layers), math.nan))[row] = value

    def forward(self) -> None:
        """All layers."""
        for row, layer in enumerate(self.plan.layers):
            way: list[tuple[Step, Back]] = []
            for step, behind in zip(layer.steps, (*layer.steps[1:], None), strict=True):
                way.append((step, self.step(row, step, behind)))
            self.ways.append(way)
            if self.around is None:
                self.sublayers += all(step.part != "join" for step in layer.steps)
                self.sizes["h"][row] = self.x.own
                self.note("token_correlation", row, self.x.correlation)

    def step(self, row: int, step: Step, behind: Step | None) -> Back:
        """One part, and its way back."""
        match step.part:
            case "keep":
                self.around = self.x
                return lambda g: g
            case "norm":
                return self.norm(step)
            case "map":
                return self.map(row, step, attends=behind is not None and behind.part == "attention")
            case "attention":
                return self.attend(row, step)
            case "activation":
                return self.activation(row, step)
            case "join":
                assert self.around is not None  # noqa: S101 (every join has one)
                branch = self.x.times(step.factor**2)
                self.x = self.around.times(step.around**2).plus(branch)
                self.sublayers += branch.own / self.x.own if self.x.own > 0 else 0.0
                self.around = None
                return lambda g: g.times(step.factor**2)
        raise refuse(f"{step.part} in a transformer")

    def norm(self, step: Step) -> Back:
        """Over its size, which in a wide net is a number."""
        norm = Norm(step.kind)
        if norm.name not in ("layer", "rms"):
            raise refuse(f"norm={norm} of tokens")
        factor = 1 / (self.x.own + float(norm.params["eps"]))
        self.x = self.x.times(factor)
        return lambda g: g.times(factor)

    def map(self, row: int, step: Step, *, attends: bool) -> Back:
        """A map, or those of queries, keys and values."""
        at = step.map
        assert at is not None  # noqa: S101 (every map has one)
        self.entering.append(self.x)
        scales = [at.fan_in * variance_of(self.plan, self.spec, at, block) for block in at.blocks]
        if any(block.bias_mean != 0 for block in at.blocks):
            raise refuse("biases whose mean is not 0")
        self.made = [
            self.x.times(scale).shifted(finite(block.bias_variance))
            for scale, block in zip(scales, at.blocks, strict=True)
        ]
        self.sizes["z"][row] = float(np.mean([each.own for each in self.made]))
        self.x = self.made[-1]
        self.turned = [scale * at.fan_out / len(at.blocks) / at.fan_in for scale in scales]
        if attends:
            for name, each in zip(QKV, self.made, strict=True):
                self.note(f"log10_z_rms_{name}", row, _log10(each.own) / 2)
            return lambda g: g  # attention has gone back through it
        turned = self.turned[0]
        return lambda g: g.times(turned)

    def attend(self, row: int, step: Step) -> Back:
        """Attention, and on the way back the maps before it."""
        if step.causal:
            raise refuse("causal attention, whose tokens are not alike")
        (q, k, v), turned, normed = self.made, self.turned, [1.0, 1.0, 1.0]
        if step.eps is not None:  # queries and keys have one size
            normed[:2] = (1 / (each.own + step.eps) for each in (q, k))
            q, k = (each.times(factor) for each, factor in zip((q, k), normed, strict=False))
        scale = step.outputs / step.heads * step.scale**2  # of the features of a head
        attention = Attention.of(self.tokens, scale, q, k, v)
        self.spread = max(self.spread, attention.spread)
        self.note("logit_std", row, math.sqrt(max(attention.spread, 0.0) * (1 - 1 / self.tokens)))
        self.x = attention.forward()

        def back(g: Tokens) -> Tokens:
            ways = zip(attention.backward(g), normed, strict=True)
            self.reached = tuple(each.times(factor) for each, factor in ways)  # behind the map, before the norm
            found = Tokens(0.0, 0.0)
            for each, turn in zip(self.reached, turned, strict=True):
                found = found.plus(each.times(turn))
            return found

        return back

    def activation(self, row: int, step: Step) -> Back:
        """The activation."""
        phi, z = Activation.of_field(step.kind), self.x
        m = moments(phi, z.own)
        share = _core.activation_outputs(phi)
        # Of a signal that is 0 every correlation gives the same.
        alike = max(z.correlation, -1.0) if z.own > 0 else 1.0
        together, slopes = (float(each) for each in pair_moments(phi, q=z.own, c=alike))
        self.x = Tokens(float(m["value"]), together)
        self.sizes["a"][row] = self.x.own
        slope = float(m["slope"])
        return lambda g: Tokens(g.own * slope * share, g.shared * slopes * share)

    def back_from(self, g: Tokens, batch: int = 1) -> Tokens:
        """The gradient of what comes in, of that of what the last layer hands on in such a batch."""
        around: Tokens | None = None
        for row in reversed(range(len(self.ways))):
            if around is None:
                self.sizes["dh"][row] = g.own
            for step, back in reversed(self.ways[row]):
                if step.part == "map":
                    self.weights(row, g, batch)
                if step.part == "join":
                    around = g.times(step.around**2)
                g = back(g)
                if step.part == "keep" and around is not None:
                    g, around = g.plus(around), None
        return g

    def weights(self, row: int, g: Tokens, batch: int) -> None:
        """The gradients of what a map gives and of its weights, block by block.

        Of weights it is over all pairs of tokens of a sample. Those of two samples have nothing in common.
        """
        reached, self.reached = self.reached or (g,), ()
        x, others, at = self.entering[row], self.tokens - 1, self.plan.layers[row].map
        entries = batch * self.tokens * at.fan_in * at.fan_out / len(reached)
        norms = [entries * (each.own * x.own + others * each.shared * x.shared) for each in reached]
        self.sizes["delta"][row] = float(np.mean([each.own for each in reached]))
        self.sizes["weight"][row] = math.fsum(norms)
        if len(reached) > 1:
            for name, each, norm in zip(QKV, reached, norms, strict=True):
                self.note(f"log10_delta_rms_{name}", row, _log10(each.own) / 2)
                self.note(f"log10_wgrad_norm_{name}", row, _log10(norm) / 2)

    def from_the_end(self, batch: int) -> Tokens:
        """The gradient of what the last layer hands on, of a standard normal cotangent over sqrt(batch)."""
        ways: list[Back] = []
        for step in self.plan.ends:
            if step.part == "norm":
                ways.append(self.norm(step))
            elif step.part == "pool":
                share = 1 / self.tokens
                shared = share**2 if step.kind == "mean" else 0.0
                own = share**2 if step.kind == "mean" else share
                ways.append(functools.partial(_pooled, own=own, shared=shared))
            elif step.part == "map" and self.plan.readout is not None:
                readout = self.plan.readout
                factor = readout.fan_out * variance_of(self.plan, self.spec, readout)
                ways.append(functools.partial(Tokens.times, factor=factor))
            else:
                raise refuse(f"{step.kind or step.part} behind the last block")
        g = Tokens(1.0 / batch, 0.0)
        for back in reversed(ways):
            g = back(g)
        return g

    def doubt(self) -> str:
        """Why theory is not to be relied on; empty where it is."""
        deep, width = self.sublayers, self.plan.layers[-1].output
        if self.spread > SPREAD:
            return f"logits have a variance of {self.spread:.3g}, and theory was held to nets up to {SPREAD:g} alone"
        if deep > DEPTH * width:
            return f"{deep:.3g} sublayers, each by its share of the stream, are not few beside a width of {width}"
        return ""


def _pooled(g: Tokens, own: float, shared: float) -> Tokens:
    """The gradient of tokens, of that of one output a sample."""
    return Tokens(g.own * own, g.own * shared)


def _log10(value: float) -> float:
    return math.log10(value) if value > 0 else -math.inf


def columns_of(spec: Spec, batch: int) -> Columns:
    """The columns of a probe of a transformer, in expectation."""
    walk = Walk(spec)
    walk.forward()
    walk.back_from(walk.from_the_end(batch), batch)
    maps = [layer.map for layer in walk.plan.layers]
    with ranging():
        logs = {name: np.log10(values) / 2 for name, values in walk.sizes.items()}
    return Columns(
        sigma_w=np.sqrt([at.fan_in * at.weight_variance for at in maps]),
        sigma_b=np.sqrt([at.bias_variance for at in maps]),
        log10_z_rms=logs["z"],
        log10_a_rms=logs["a"],
        log10_delta_rms=logs["delta"],
        log10_wgrad_norm=logs["weight"],
        log10_h_rms=logs["h"],
        log10_dh_rms=logs["dh"],
        extra=walk.extra,
        doubt=walk.doubt(),
    )


def token_collapse(spec: Spec) -> float:
    """Blocks within which the tokens of a wide transformer are alike; inf where they are not within 256.

    Tokens are alike where 1 less their mean cosine is `e^-6` of what it was, as of samples in `correlation_collapse`.

    Args:
        spec: A `Transformer`. Its depth does not matter; where numbers of a block depend on it, as with DeepNorm, no
            blocks behind it are looked at.

    >>> import vgcore as vg
    >>> net = vg.Transformer(12, 128, tokens=8, norm_position="post", init="xavier_uniform")
    >>> token_collapse(net)
    11.0
    """
    if not isinstance(spec, Spec):
        raise wrong_type("spec", "a Transformer", spec)
    net, least = spec, math.exp(-CORRELATION_COLLAPSE.decisive)
    while True:
        walk = Walk(net)
        walk.forward()
        alike = walk.extra["token_correlation"]
        found = np.flatnonzero(1 - alike[len(alike) % 4 + 3 :: 4] <= least)
        if len(found):
            return float(found[0] + 1)
        if walk.plan.knows_depth or net.depth >= MOST:
            return math.inf
        net = net.replace(depth=min(2 * net.depth, MOST))
