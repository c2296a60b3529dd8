"""The parts of a layer: what each one does and learns.

The parts are the map, the normalisation, the activation, dropout, and the beginning and the end of what goes around
some of them. Each is a function of what a forward pass has so far, of the part as the plan has it and of the value v
that the part before it gives. It gives a value and its way back, a function of the gradient that reaches this value.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vgcore.reference.activation import HOMOGENEOUS, activate, outputs, pulled_back
from vgcore.reference.kind import Kind, parse
from vgcore.reference.random import DROPOUT, Array, Stream
from vgcore.reference.scaled import Scaled

if TYPE_CHECKING:
    from vgcore.reference.plan import Part, Plan

State = dict[str, Array]
# Gradients by the names of what they are of: parameters, "x.3" (x_3) or "around.0" (what goes around by this number).
Found = dict[str, Scaled]
Back = Callable[[Scaled], tuple[Scaled, Found]]  # from dL/d(value) to dL/dv, and to all else that the part has read
Learned = dict[str, tuple[int, float]]  # vectors by the names of parameters: how many numbers, and where each starts


class Pass(NamedTuple):
    """A forward pass on its way: all that a part may read beside v."""

    plan: Plan
    state: State
    x: Array  # the samples, (batch, features), or (batch, steps, features) with an input at every step
    h: list[Scaled]  # h_0 and what each layer has handed on
    around: dict[int, Scaled]  # what goes around parts, by number
    masks: tuple[int, int] | None  # seed and step of a pass of training, whose dropout drops something
    reached: Found  # on the way back, the gradients that have reached what goes around


class Step(NamedTuple):
    """A part at work: its input, its value and its way back."""

    part: Part
    input: Scaled
    value: Scaled
    back: Back
    slopes: Array | None = None  # of an activation, or of a cell's gates over the steepest of each
    z: Scaled | None = None  # the pre-activations of a cell that makes them itself


def reach(found: Found, name: str, gradient: Scaled) -> None:
    """Set a gradient, or add to it what comes by another way."""
    found[name] = found[name] + gradient if name in found else gradient


# --- The map -------------------------------------------------------------------------------------


def linear(at: Pass, part: Part, v: Scaled) -> Step:
    """Map v to z = W v + b, where a transform may stand between the parameters and W, and add W_x x_l if x_l is fed."""
    if part.fed:
        return recurrent(at, part, v)
    state, key, hidden = at.state, f"{part.key}.weight", part.module == "layers"
    pull, feed = None, None
    if at.plan.transform and hidden:
        weight, pull = transform(parse(at.plan.transform), state[key])
        state = state | {key: weight}
    z, through = affine(state, part.key, v)
    if at.plan.fed and hidden:
        u, feed = affine(at.state, "inputs", Scaled(at.x[:, part.layer].astype(v.value.dtype)))
        z += u

    def back(delta: Scaled) -> tuple[Scaled, Found]:
        dv, found = through(delta)
        if pull is not None:
            g = found[key]
            found[key] = Scaled(pull(g.value.astype(np.float64)).astype(g.value.dtype), g.exponent)
        if feed is not None:
            dx, of_weight = feed(delta)
            found |= of_weight | {f"x.{part.layer}": dx}
        return dv, found

    return Step(part, v, z, back)


def recurrent(at: Pass, part: Part, v: Scaled) -> Step:
    """Map a state h and what a step gets to z = W h + U x + b; of a GRU, whose candidate keeps them apart, to both."""
    # In a net of one layer v is the state; of several it is the state of the layer below, but for the first.
    first = part.fed == "inputs.0"
    x = Scaled(at.x[:, part.layer].astype(v.value.dtype)) if first else v
    h = v if part.state is None else at.around[part.state]
    w, of_state = affine(at.state, part.key, h)
    u, of_input = affine(at.state, part.fed, x)
    apart = part.kind == "gru"
    z = Scaled(np.hstack([u.value, w.value])) if apart else w + u

    def back(delta: Scaled) -> tuple[Scaled, Found]:
        count = w.value.shape[1]
        to_u, to_w = (Scaled(half, delta.exponent) for half in (delta.value[:, :count], delta.value[:, -count:]))
        dh, found = of_state(to_w)
        dx, more = of_input(to_u)
        found |= more | ({f"x.{part.layer}": dx} if first else {})
        if part.state is None:
            return dh, found
        return (Scaled(np.zeros_like(v.value)) if first else dx), found | {f"around.{part.state}": dh}

    return Step(part, h, z, back)


# --- The cell ------------------------------------------------------------------------------------


def cell(at: Pass, part: Part, v: Scaled) -> Step:
    """The state behind a step, from v, what the gates get of the state before and of the step's input."""
    return (lstm if parse(part.kind)[0] == "lstm" else gru)(at, part, v)


def lstm(at: Pass, part: Part, v: Scaled) -> Step:
    """C' = f c + i g and h' = o tanh(c') (Hochreiter and Schmidhuber 1997; Gers et al. 2000)."""
    c = at.around[part.stream].value
    z = np.split(v.true(), 4, axis=1)
    (i, si), (f, sf), (g, sg), (o, so) = (activate("tanh" if k == 2 else "sigmoid", each) for k, each in enumerate(z))
    new = f * c + i * g
    squashed, bend = activate("tanh", new)
    at.around[part.stream] = Scaled(new)

    def back(dh: Scaled) -> tuple[Scaled, Found]:
        dc = at.reached.pop(f"around.{part.stream}", Scaled(np.zeros_like(c)).rescaled())
        both = (dh * (o * bend) + dc).rescaled()
        dz = [both * (g * si), both * (c * sf), both * (i * sg), dh * (squashed * so)]
        return beside(dz), {f"around.{part.stream}": (both * f).rescaled()}

    return Step(part, v, Scaled(o * squashed), back, np.hstack([4 * si, 4 * sf, sg, 4 * so]))


def gru(at: Pass, part: Part, v: Scaled) -> Step:
    """H' = (1 - z) n + z h (Cho et al. 2014), with the reset behind the product with W, as in cuDNN, or before it."""
    after = parse(part.kind)[1].get("reset", "after") == "after"
    # The layer's state: what goes around by the number of h, be it the cell's own or not.
    h = at.around[part.stream].value
    n = h.shape[1]
    xr, xz, xn, hr, hz, hn = np.split(v.true(), 6, axis=1)
    opens, holds = xr + hr, xz + hz
    (r, sr), (keeps, sz) = activate("sigmoid", opens), activate("sigmoid", holds)
    passed, through = Scaled(r * h), None
    if not after:
        u, through = affine(at.state, part.key, passed)
        hn = u.value[:, 2 * n :]
    candidate = xn + r * hn if after else xn + hn
    new, sn = activate("tanh", candidate)

    def back(dh: Scaled) -> tuple[Scaled, Found]:
        dn, dz, dstate = dh * ((1 - keeps) * sn), dh * ((h - new) * sz), dh * keeps
        none = Scaled(np.zeros_like(h)).rescaled()
        if through is None:
            dr = dn * (hn * sr)
            return beside([dr, dz, dn, dr, dz, dn * r]), {f"around.{part.stream}": dstate}
        dpassed, found = through(beside([none, none, dn]))
        dr = dpassed * (h * sr)
        found |= {f"around.{part.stream}": dstate + dpassed * r}
        return beside([dr, dz, dn, dr, dz, none]), found

    z, slopes = np.hstack([opens, holds, candidate]), np.hstack([4 * sr, 4 * sz, sn])
    return Step(part, v, Scaled((1 - keeps) * new + keeps * h), back, slopes, Scaled(z))


def beside(parts: list[Scaled]) -> Scaled:
    """Features next to each other, over the largest of their exponents."""
    near = [part.rescaled() for part in parts]
    top = max(part.exponent for part in near)
    return Scaled(np.hstack([np.ldexp(part.value, part.exponent - top) for part in near]), top)


# --- Steps ---------------------------------------------------------------------------------------


def cut(at: Pass, part: Part, v: Scaled) -> Step:
    """No gradient goes on to the step before: not by v, and not by the states, which have the first numbers."""

    def back(g: Scaled) -> tuple[Scaled, Found]:
        for stream in range(part.stream):
            at.reached.pop(f"around.{stream}", None)
        return Scaled(np.zeros_like(g.value)).rescaled(), {}

    return Step(part, v, v, back)


def steps(at: Pass, part: Part, v: Scaled) -> Step:
    """The readout of every step, side by side."""
    count = at.plan.depth // at.plan.layers_of_step
    each = [affine(at.state, part.key, at.around[part.stream + t]) for t in range(count)]

    def back(dy: Scaled) -> tuple[Scaled, Found]:
        found: Found = {}
        for t, (_, through) in enumerate(each):
            columns = slice(t * part.outputs, (t + 1) * part.outputs)
            dh, more = through(Scaled(dy.value[:, columns], dy.exponent))
            for name, gradient in more.items():
                reach(found, name, gradient)
            found[f"around.{part.stream + t}"] = dh
        return Scaled(np.zeros_like(v.value)).rescaled(), found

    return Step(part, v, Scaled(np.hstack([y.value for y, _ in each])), back)


def affine(state: State, name: str, v: Scaled) -> tuple[Scaled, Back]:
    """W v + b; without b where the state has none."""
    weight = state[f"{name}.weight"]
    z = v @ weight.T
    if f"{name}.bias" in state:
        # Adding the bias to the value is right in both cases: either no exponent is carried, or the bias is 0.
        z = Scaled(z.value + state[f"{name}.bias"], z.exponent)

    def back(delta: Scaled) -> tuple[Scaled, Found]:
        near = v.rescaled() if v.value.any() else v
        # One sample may meet many gradients, as where the rows of a Jacobian are taken at once.
        total = delta.value if len(near.value) > 1 else delta.value.sum(axis=0, keepdims=True)
        found = {f"{name}.weight": Scaled(total.T @ near.value, delta.exponent + near.exponent)}
        if f"{name}.bias" in state:
            found[f"{name}.bias"] = Scaled(delta.value.sum(axis=0), delta.exponent)
        return (delta @ weight).rescaled(), found

    return z, back


def transform(kind: Kind, weight: Array) -> tuple[Array, Callable[[Array], Array]]:
    """The weights that a net uses, and dL/d(parameters) from dL/d(these weights)."""
    name, p = kind
    gain = float(p.get("gain", 1.0))
    w = weight.astype(np.float64)
    if name == "weight_standardization":  # Qiao et al. 2019; Brock et al. 2021
        # Equal weights have no direction but the rounding of their mean: they count as zeros.
        w = np.where(np.ptp(w, axis=1, keepdims=True) > 0, w, 0)
        scale = gain / math.sqrt(w.shape[1])
        xhat, pull = standardise(w, axis=1, centred=True, eps=float(p.get("eps", 0.0)))
        return (scale * xhat).astype(weight.dtype), lambda g: scale * pull(g)
    # spectral_norm, Miyato et al. 2018: s = u^T W v, so ds = u^T dW v.
    left, values, right = np.linalg.svd(w)
    top, u, v = float(values[0]), left[:, 0], right[0]
    if top == 0:
        return weight, np.zeros_like
    return (gain * w / top).astype(weight.dtype), lambda g: gain * (g - (g * w).sum() / top * np.outer(u, v)) / top


# --- The normalisation ---------------------------------------------------------------------------


def standardise(v: Array, axis: int, *, centred: bool, eps: float) -> tuple[Array, Callable[[Array], Array]]:
    """(v - mean) / sqrt(var + eps) along an axis, or v / sqrt(mean v^2 + eps), and the way back."""

    def mean(v: Array) -> Array:
        average: Array = v.mean(axis=axis, keepdims=True)
        return average

    centre = v - mean(v) if centred else v
    root = np.sqrt(mean(centre**2) + eps)
    inverse = np.where(root > 0, 1 / np.where(root > 0, root, 1), 0)  # nothing is left of equal numbers
    xhat = centre * inverse

    def back(g: Array) -> Array:
        dv: Array = (g - xhat * mean(g * xhat) - (mean(g) if centred else 0)) * inverse
        return dv

    return xhat, back


def norm(at: Pass, part: Part, v: Scaled) -> Step:
    """Mean 0 and variance 1 over samples (batch) or features (layer, rms), then times a weight plus a bias."""
    kind, p = parse(part.kind)
    weight_key, bias_key = f"{part.key}.weight", f"{part.key}.bias"
    dtype, weight = v.value.dtype, at.state[weight_key].astype(np.float64)
    axis, centred = (0 if kind == "batch" else 1), kind != "rms"
    xhat, pull = standardise(v.true().astype(np.float64), axis, centred=centred, eps=float(p.get("eps", 1e-5)))
    n = weight * xhat + (at.state[bias_key] if centred else 0)

    def back(dn: Scaled) -> tuple[Scaled, Found]:
        g, exponent = dn.wide(), dn.rescaled().exponent
        found = {weight_key: Scaled((g * xhat).sum(axis=0), exponent)}
        if centred:
            found[bias_key] = Scaled(g.sum(axis=0), exponent)
        return Scaled(pull(g * weight).astype(dtype), exponent), found

    return Step(part, v, Scaled(n.astype(dtype)), back)


# --- The activation ------------------------------------------------------------------------------


def bend(kind: str, z: Scaled) -> tuple[Scaled, Scaled, Array]:
    """z, phi(z) and its slopes; a z that carries an exponent is spelled out where phi is curved."""
    if z.exponent and parse(kind)[0] not in HOMOGENEOUS:
        if z.rescaled().exponent < -60:  # there phi(z) = phi'(0) z to the last bit of float64
            tiny = np.where(z.value > 0, 2.0**-60, -(2.0**-60))
            slopes = activate(kind, tiny)[1].astype(z.value.dtype)
            return z, z * slopes, slopes
        z = Scaled(z.true())
    value, slopes = outputs(kind, z.value)
    return z, Scaled(value, z.exponent), slopes


def learned_kind(state: State, part: Part) -> str:
    """The activation with the slope that it has learned."""
    return f"prelu(init={state[f'{part.key}.weight'][0]})" if part.key else part.kind


def activation(at: Pass, part: Part, v: Scaled) -> Step:
    """Apply phi to each pre-activation."""
    kind = learned_kind(at.state, part)
    z, a, slopes = bend(kind, v)

    def back(da: Scaled) -> tuple[Scaled, Found]:
        found: Found = {}
        if part.key:  # d phi / d slope = min(z, 0)
            near = z.rescaled()
            total = (da.value * np.minimum(near.value, 0)).sum(dtype=np.float64)
            found[f"{part.key}.weight"] = Scaled(np.array([total]), da.exponent + near.exponent)
        return Scaled(pulled_back(kind, slopes, da.value), da.exponent), found

    return Step(part, v, a, back, slopes)


# --- Dropout -------------------------------------------------------------------------------------


def dropout(at: Pass, part: Part, v: Scaled) -> Step:
    """In training keep each entry with probability 1 - p, over which it is divided (Srivastava et al. 2014)."""
    if at.masks is None:
        return Step(part, v, v, lambda g: (g, {}))
    seed, step = at.masks
    stream = Stream(seed, DROPOUT, part.stream, "float32")  # of either dtype
    uniform = stream.uniform(v.value.shape, step=step).astype(np.float32)
    kept = uniform.astype(np.float64) >= part.number  # NumPy would round the share to float32
    mask = (kept / (1 - part.number)).astype(v.value.dtype)
    return Step(part, v, v * mask, lambda g: (g * mask, {}))


# --- What goes around ----------------------------------------------------------------------------


def keep(at: Pass, part: Part, v: Scaled) -> Step:
    """From here on v also goes around, up to its joins; their gradients are added to that of v."""
    at.around[part.stream] = v
    return Step(part, v, v, lambda g: (g, {}))


def join(at: Pass, part: Part, v: Scaled) -> Step:
    """Put together what comes through some parts, v, and what goes around them, x."""
    together = {"dense": side_by_side, "highway": gated, "project": projected}.get(parse(part.kind)[0], added)
    value, back = together(at, part, at.around[part.stream], v)

    def both(dh: Scaled) -> tuple[Scaled, Found]:
        dx, dv, found = back(dh)
        return dv, found | {f"around.{part.stream}": dx}

    return Step(part, v, value, both)


Joined = tuple[Scaled, Callable[[Scaled], tuple[Scaled, Scaled, Found]]]  # back to x, to v, and to parameters


def added(at: Pass, part: Part, x: Scaled, v: Scaled) -> Joined:
    """X plus a multiple of v, which rezero learns (He et al. 2015; Bachlechner et al. 2020)."""
    scale, key = part.number, f"{part.key}.weight"
    factor = scale * float(at.state[key][0]) if part.key else scale

    def back(dh: Scaled) -> tuple[Scaled, Scaled, Found]:
        found: Found = {}
        if part.key:
            near = v.rescaled()
            total = scale * (dh.value * near.value).sum(dtype=np.float64)
            found[key] = Scaled(np.array([total]), dh.exponent + near.exponent)
        return dh, dh * factor, found

    return x + v * factor, back


def projected(at: Pass, part: Part, x: Scaled, v: Scaled) -> Joined:
    """P x + b plus a multiple of v (He et al. 2015, equation 2)."""
    u, through = affine(at.state, part.key, x)

    def back(dh: Scaled) -> tuple[Scaled, Scaled, Found]:
        dx, found = through(dh)
        return dx, dh * part.number, found

    return u + v * part.number, back


def gated(at: Pass, part: Part, x: Scaled, v: Scaled) -> Joined:
    """(1 - T) x + T v with T = sigmoid(W_T x + b_T) (Srivastava et al. 2015)."""
    t, through_gate = affine(at.state, part.key, x)
    opening, slopes = activate("sigmoid", t.true())
    closing = activate("sigmoid", -t.true())[0]

    def back(dh: Scaled) -> tuple[Scaled, Scaled, Found]:
        dt = (dh * (slopes * (v.value - x.value))).rescaled()
        dx, found = through_gate(dt)
        return dh * closing + dx, dh * opening, found

    return x * closing + v * opening, back


def side_by_side(_: Pass, __: Part, x: Scaled, v: Scaled) -> Joined:
    """The features of x, then those of v (Huang et al. 2016)."""
    one, two, exponent = x.aligned(v) if x.exponent != v.exponent else (x.value, v.value, x.exponent)
    columns = one.shape[1]

    def back(dh: Scaled) -> tuple[Scaled, Scaled, Found]:
        return Scaled(dh.value[:, :columns], dh.exponent), Scaled(dh.value[:, columns:], dh.exponent), {}

    return Scaled(np.hstack([one, two]), exponent), back


# --- All parts -----------------------------------------------------------------------------------

PARTS: dict[str, Callable[[Pass, Part, Scaled], Step]] = {
    "map": linear,
    "norm": norm,
    "activation": activation,
    "dropout": dropout,
    "keep": keep,
    "join": join,
    "cell": cell,
    "cut": cut,
    "steps": steps,
}


def learns(part: Part) -> Learned:
    """What is not drawn: a normalisation's factor and, where a mean is taken off, summand a feature; one number."""
    name, p = parse(part.kind)
    weight, bias = f"{part.key}.weight", f"{part.key}.bias"
    if part.name == "norm":
        return {weight: (part.inputs, 1.0)} | ({} if name == "rms" else {bias: (part.inputs, 0.0)})
    return {weight: (1, {"prelu": p.get("init", 0.25), "rezero": p.get("alpha", 0.0)}[name])}
