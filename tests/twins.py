"""Cells and attention in JAX, from their formulas: what a net with such a state dict computes, to be differentiated."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

State = dict[str, Any]
#: A cell: from the state (h, c) and what its maps give of h and of x, to the state.
Cell = Callable[[Any, Any, Any, Any], tuple[Any, Any]]


def lstm(h: Any, c: Any, wh: Any, ux: Any) -> tuple[Any, Any]:
    """`c' = f c + i g`, `h' = o tanh c'`; rows i, f, g, o."""
    i, f, g, o = jnp.split(wh(h) + ux, 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def gru_after(h: Any, c: Any, wh: Any, ux: Any) -> tuple[Any, Any]:
    """`n = tanh(U_n x + r (W_n h + b))`, `h' = (1 - z) n + z h`; rows r, z, n."""
    (hr, hz, hn), (xr, xz, xn) = jnp.split(wh(h), 3, axis=-1), jnp.split(ux, 3, axis=-1)
    r, z = jax.nn.sigmoid(hr + xr), jax.nn.sigmoid(hz + xz)
    return (1 - z) * jnp.tanh(xn + r * hn) + z * h, c


def gru_before(h: Any, c: Any, wh: Any, ux: Any) -> tuple[Any, Any]:
    """`n = tanh(U_n x + W_n (r h) + b)`, else as after."""
    (hr, hz, _), (xr, xz, xn) = jnp.split(wh(h), 3, axis=-1), jnp.split(ux, 3, axis=-1)
    r, z = jax.nn.sigmoid(hr + xr), jax.nn.sigmoid(hz + xz)
    n = jnp.tanh(xn + jnp.split(wh(r * h), 3, axis=-1)[2])
    return (1 - z) * n + z * h, c


def plain(phi: Callable[[Any], Any]) -> Cell:
    """`h' = phi(W h + U x + b)`."""
    return lambda h, c, wh, ux: (phi(wh(h) + ux), c)


CELLS: dict[str, Cell] = {
    "tanh": plain(jnp.tanh),
    "relu": plain(jax.nn.relu),
    "irnn": plain(jax.nn.relu),
    "lstm": lstm,
    "gru": gru_after,
    "gru(reset=after)": gru_after,
    "gru(reset=before)": gru_before,
}


def affine(state: State, name: str, x: Any) -> Any:
    """`W x + b`, as far as there is a bias."""
    return x @ state[f"{name}.weight"].T + state.get(f"{name}.bias", 0.0)


def recurrent(state: State, x: Any, *, cell: Cell, layers: int = 1, every: bool = False) -> Any:
    """Outputs `(batch, ...)` of sequences `(batch, steps, features)`, one step after the other."""
    width = state["layers.0.weight"].shape[1]
    h = c = [jnp.zeros((len(x), width))] * layers
    outputs = []
    for t in range(x.shape[1]):
        below, h, c = x[:, t], list(h), list(c)
        for l in range(layers):
            fed = affine(state, f"inputs.{l}", below)
            h[l], c[l] = cell(h[l], c[l], lambda h, l=l: affine(state, f"layers.{l}", h), fed)
            below = h[l]
        outputs.append(below)
    kept = jnp.stack(outputs, 1) if every else outputs[-1]
    return (affine(state, "readout", kept) if "readout.weight" in state else kept).reshape(len(x), -1)


def normed(state: State, name: str, x: Any, eps: float) -> Any:
    """Layer normalisation."""
    centre = x - x.mean(-1, keepdims=True)
    hat = centre / jnp.sqrt((centre**2).mean(-1, keepdims=True) + eps)
    return hat * state[f"{name}.weight"] + state[f"{name}.bias"]


def attention(state: State, name: str, x: Any, *, heads: int, causal: bool) -> Any:
    """Self-attention of tokens `(batch, tokens, width)`, with the packed map of q, k, v."""
    batch, tokens, width = x.shape
    packed = affine(state, f"{name}.in_proj", x).reshape(batch, tokens, 3, heads, width // heads)
    q, k, v = packed[:, :, 0], packed[:, :, 1], packed[:, :, 2]
    logits = jnp.einsum("bihd,bjhd->bhij", q, k) / jnp.sqrt(width // heads)
    if causal:
        logits = jnp.where(jnp.tril(jnp.ones((tokens, tokens), bool)), logits, -jnp.inf)
    mixed = jnp.einsum("bhij,bjhd->bihd", jax.nn.softmax(logits, -1), v).reshape(batch, tokens, width)
    return affine(state, f"{name}.out_proj", mixed)


def encoder(
    state: State,
    x: Any,
    *,
    depth: int,
    heads: int,
    activation: Callable[[Any], Any],
    eps: float | None = 1e-5,
    pre: bool = True,
    skip: bool = True,
    causal: bool = False,
    pool: str | None = None,
) -> Any:
    """Outputs `(batch, ...)` of tokens `(batch, tokens, features)`."""
    h = affine(state, "embedding", x) if "embedding.weight" in state else x

    def norm(name: str, h: Any) -> Any:
        return h if eps is None else normed(state, name, h, eps)

    def sublayer(name: str, f: Callable[[Any], Any], h: Any) -> Any:
        inner = f(norm(name, h) if pre else h)
        joined = h + inner if skip else inner
        return joined if pre else norm(name, joined)

    def forward(at: str, h: Any) -> Any:
        return affine(state, f"{at}.linear2", activation(affine(state, f"{at}.linear1", h)))

    def attended(at: str, h: Any) -> Any:
        return attention(state, f"{at}.self_attn", h, heads=heads, causal=causal)

    for b in range(depth):
        at = f"layers.{b}"
        h = sublayer(f"{at}.norm1", partial(attended, at), h)
        h = sublayer(f"{at}.norm2", partial(forward, at), h)
    h = normed(state, "final_norm", h, 1e-5 if eps is None else eps) if "final_norm.weight" in state else h
    if pool is not None:
        h = h.mean(1) if pool == "mean" else h[:, -1]
    return (affine(state, "readout", h) if "readout.weight" in state else h).reshape(len(x), -1)
