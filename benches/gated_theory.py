"""Theory of gates and of attention beside measured nets: the two tables of docs/theory.md.

    python benches/gated_theory.py [--json FILE]

Recurrent nets: the factor of the gradient of the state a step, from 20 to 90 steps back of 100, of nets of width 128
with 64 features and torch's init; root mean squares over the seeds. Transformers: log10 of dL/dx over dL/dy of 12
blocks of width 128, 8 tokens and twice as wide maps of a token, of a cotangent of each token's own and of one for all.
A minute.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from compare import commit

import vgcore as vg
from vgcore.measure import files
from vgcore.shell import bench
from vgcore.theory import memory
from vgcore.theory.attention import Tokens
from vgcore.theory.transformer import Walk

SMOKE = os.environ.get("VGCORE_BENCH") == "smoke"  # only start everything
SEEDS = 1 if SMOKE else 4
NETS = 2 if SMOKE else 16
NEAR, FAR, STEPS = 20, 90, 100
SAMPLES = 8
CELLS = [*(f"lstm(forget_bias={bias})" for bias in (0, 1, 2)), *(f"gru(update_bias={bias})" for bias in (0, 1, 2, 4))]


def factor(near: float, far: float) -> float:
    """A step's factor, of the powers of ten at both ends."""
    return float(10 ** ((far - near) / (FAR - NEAR)))


def recurrent(cell: str) -> dict[str, Any]:
    """A row of the table of recurrent nets."""
    spec = vg.RNN(STEPS, 128, in_features=64, cell=cell, biases=2, init="torch_rnn", recurrent_init="torch_rnn")
    p, theory = vg.probe(spec, seeds=SEEDS), memory(spec)
    back = p.extra.get("log10_dc_rms", p.log10_dh_rms)[:, ::-1]
    each = [factor(run[NEAR], run[FAR]) for run in back]
    squares = np.log10((10 ** (2 * back)).mean(axis=0)) / 2
    return {
        "cell": cell,
        "measured": factor(squares[NEAR], squares[FAR]),
        "deviation": float(np.std(each, ddof=1)) if SEEDS > 1 else math.nan,
        "shared": factor(theory.log10_change(NEAR), theory.log10_change(FAR)),
        "untied": theory.untied,
        "limit": theory.memory_limit,
        "measured_limit": vg.memory_limit(p).value,
        "holds": theory.holds,
    }


def blocks(**fields: Any) -> vg.Transformer:
    """Blocks of the table."""
    return vg.Transformer(**{"depth": 12, "width": 128, "tokens": 8, "ffn": 2, "final_norm": None} | fields)


POST, PRE = {"norm_position": "post"}, {"norm_position": "pre"}
DEEPNORM = {**POST, "skip": "deepnorm", "init": "deepnorm"}
TRANSFORMERS: dict[str, dict[str, Any]] = {
    "post-LN, torch's init": {**POST, "init": "torch_transformer"},
    "pre-LN, torch's init": {**PRE, "init": "torch_transformer"},
    "post-LN, unit gains": {**POST, "init": "lecun_normal"},
    "pre-LN, unit gains": {**PRE, "init": "lecun_normal"},
    "post-LN, logits of variance 4": {**POST, "init": "normal(std=0.125)"},
    "pre-LN, logits of variance 4": {**PRE, "init": "normal(std=0.125)"},
    "DeepNorm, 24 blocks": {**DEEPNORM, "depth": 24, "width": 192},
    "DeepNorm, 100 blocks": {**DEEPNORM, "depth": 100, "width": 96},
}


def transformer(name: str, *, shared: bool) -> dict[str, Any]:
    """A row of the table of transformers."""
    spec = blocks(**TRANSFORMERS[name])
    found = []
    for seed in range(NETS):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((SAMPLES, spec.tokens, spec.width))
        g = rng.standard_normal((SAMPLES, 1 if shared else spec.tokens, spec.width))
        g = np.broadcast_to(g, x.shape)
        back = spec.init(seed=seed, dtype="float64").backward(x.reshape(SAMPLES, -1), g.reshape(SAMPLES, -1)).input
        found.append(float(np.log10((back**2).mean() / (g**2).mean()) / 2))
    walk = Walk(spec)
    walk.forward()
    return {
        "blocks": name,
        "shared": shared,
        "measured": float(np.mean(found)),
        "error": float(np.std(found, ddof=1) / math.sqrt(NETS)),
        "theory": math.log10(walk.back_from(Tokens(1.0, float(shared))).own) / 2,
    }


def main() -> None:
    """Print both tables; write a record if asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", type=Path, help="a record")
    asked = parser.parse_args()
    cells = [recurrent(cell) for cell in CELLS]
    print("| cell | measured | shared | untied | steps within 32-fold: measured, theory |\n|---|---|---|---|---|")
    for row in cells:
        name = f"`{row['cell']}`" + ("" if row["holds"] else " (theory says it does not hold)")
        print(
            f"| {name} | {row['measured']:.4f} ± {row['deviation']:.4f} | {row['shared']:.4f} | {row['untied']:.3f} "
            f"| {row['measured_limit']:.0f}, {row['limit']:.0f} |"
        )
    rows = [transformer(name, shared=shared) for name in TRANSFORMERS for shared in (False, True)]
    print("\n| blocks | cotangent | measured | theory |\n|---|---|---|---|")
    for row in rows:
        which = "one for all tokens" if row["shared"] else "own of each token"
        print(f"| {row['blocks']} | {which} | {row['measured']:+.3f} ± {row['error']:.3f} | {row['theory']:+.3f} |")
    if asked.json:
        record = {"facts": bench.facts() | commit(), "recurrent": cells, "transformers": rows}
        files.save_text(json.dumps(record, indent=1) + "\n", asked.json)


if __name__ == "__main__":
    main()
