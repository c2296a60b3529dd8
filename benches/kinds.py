"""One-shot probes of nets with batch norm and of highway nets, beside the plain one: does the lead over JAX hold?

In every round vgcore and JAX have one turn each, as in `vgcore bench`: fresh weights, samples and cotangent, forward,
backward, the norm of every layer's dL/dW. The claim: a ratio to JAX of at least half of the plain net's.
"""

import math
import os
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

import vgcore as vg
from vgcore.shell import bench, rivals

SMOKE = os.environ.get("VGCORE_BENCH") == "smoke"  # only start everything
SHAPES = [(64, 32, 64)] if SMOKE else [(64, 32, 64), (256, 32, 64), (256, 256, 64)]
KINDS: dict[str, dict[str, Any]] = {"plain": {}, "batch norm": {"norm": "batch"}, "highway": {"skip": "highway"}}
ROUNDS = 1 if SMOKE else 7


def layer(kind: str, h: Any, values: Any) -> tuple[Any, None]:
    """One layer by JAX; a highway has a second matrix, for its gate."""
    z = h @ values[0].T
    if kind == "batch norm":
        z = (z - z.mean(0)) / jnp.sqrt(z.var(0) + 1e-5)
    a = jax.nn.relu(z)
    if kind == "highway":
        gate = jax.nn.sigmoid(h @ values[1].T - 1)
        return h + gate * (a - h), None
    return a, None


@partial(jax.jit, static_argnums=(0, 1))
def probe(kind: str, shape: rivals.Shape, seed: int) -> Any:
    """The norm of every dL/dW, of layers and gates, for a seed."""
    width, batch, depth = shape
    keys = jax.random.split(jax.random.key(seed), 2 + 2 * depth)
    x, start = (jax.random.normal(key, (batch, width)) for key in keys[:2])
    draw = jax.vmap(lambda key: jax.random.normal(key, (width, width)) * math.sqrt(2 / width))
    weights = [draw(keys[2 : 2 + depth])] + ([draw(keys[2 + depth :])] if kind == "highway" else [])
    _, pull = jax.vjp(lambda w: jax.lax.scan(partial(layer, kind), x, w)[0], weights)
    return [jnp.linalg.norm(dw, axis=(1, 2)) for dw in pull(start / math.sqrt(batch))[0]]


def programs(kind: str, shape: rivals.Shape) -> list[rivals.Program]:
    """Ours and theirs."""
    width, batch, depth = shape
    spec, nets = vg.MLP(depth=depth, width=width, **KINDS[kind]), max(2, min(32, int(4e7 / depth / width**2)))

    def ours(seed: int) -> Any:
        return vg.probe(spec, batch=batch, seeds=nets, seed=seed * nets)

    theirs: Callable[[int], Any] = lambda seed: jax.block_until_ready(probe(kind, shape, seed))  # noqa: E731
    both = [rivals.Program("probe", ours, nets=nets), rivals.Program("probe", theirs)]
    norms = [ours(0).log10_wgrad_norm.mean(), statistics.fmean(float(jnp.log10(n).mean()) for n in [theirs(0)[0]])]
    if abs(norms[0] - norms[1]) > 0.3:
        raise ValueError(f"{kind} {shape}: mean log norms of {norms}: these are not the same nets")
    return both


def main() -> None:
    """Print a line for each shape and kind."""
    print(*(f"{name}: {value}" for name, value in bench.facts().items()), sep="\n")
    print(f"microseconds a layer, medians of {ROUNDS} rounds")
    for shape in SHAPES:
        plain = 0.0
        for kind in KINDS:
            both = programs(kind, shape)
            for _ in range(ROUNDS):
                for program in both:
                    program.turns.append(program.turn(shape[2]))
            ours, theirs = (statistics.median(program.turns) for program in both)
            plain = plain or theirs / ours
            share = theirs / ours / plain
            print(
                f"{shape[0]:4} x {shape[1]:3} {kind:10}: vgcore {ours:7.1f}, JAX {theirs:7.1f} = {theirs / ours:.2f}x, "
                f"{share:.2f} of the plain ratio"
            )


if __name__ == "__main__":
    main()
