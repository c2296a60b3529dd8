"""The guard of a rebuilding: what 300 nets of the whole model space give, to the last bit.

    python benches/guard.py record FILE     before the work; FILE lies outside the tree
    python benches/guard.py compare FILE    after each step; exits with 1 and names what differs

Every activation, init, norm, skip, order, transform and loss is among the nets, tied and fed ones, lists by layer,
nets beyond the range of floats, and sweeps whose cells share their passes. Of each net the file keeps a digest of its
id, its numbers, its gradients, the columns of its probe, its gradient check and the words of its diagnosis, in both
dtypes. What a later version adds (a column, a tensor) is named and allowed.

The bits are those of one instruction set family: `VGCORE_ISA` chooses it, and the file says which it was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import vgcore as vg
from vgcore.measure import files

COUNT = 10 if os.environ.get("VGCORE_BENCH") == "smoke" else 300
# Kinds that need an argument.
CALLS = {
    "threshold": "threshold(threshold=0.2, value=0.1)",
    "constant": "constant(value=0.3)",
    "sparse": "sparse(sparsity=0.5, std=0.4)",
    "uniform": "uniform(a=-0.4, b=0.5)",
    "normal": "normal(std=0.3)",
    "trunc_normal": "trunc_normal(std=0.3, a=-0.5, b=0.6)",
}
ACTIVATIONS = [CALLS.get(name, name) for name in vg.ACTIVATIONS]
INITS = [CALLS.get(name, name) for name in vg.INITS]
ORDERS = ("after", "linear", "post", "pre")
SKIPS = [
    *(f"residual(order={order})" for order in ORDERS),
    *(f"rezero(order={order}, alpha=0.6)" for order in ORDERS),
    "highway(gate_bias=0.3)",
    "dense",
]
TRANSFORMS = ["weight_standardization(gain=1.5, eps=0.01)", "spectral_norm(gain=1.5)"]


def listed() -> Iterator[dict[str, Any]]:
    """One net for each row of a table, and the rarer kinds of net."""
    base: dict[str, Any] = {"depth": 4, "width": 8, "out_features": 3}
    yield from (base | {"activation": name} for name in ACTIVATIONS)
    yield from (base | {"init": name, "activation": "tanh"} for name in INITS)
    for place in ("pre", "post"):
        yield from (base | {"norm": name, "norm_position": place, "activation": "gelu"} for name in vg.NORMS)
        for skip in SKIPS:
            yield base | {"skip": skip, "norm": "layer", "norm_position": place, "block": 2, "activation": "tanh"}
    for skip in SKIPS:
        yield base | {"skip": skip, "activation": "prelu", "in_features": 5, "out_features": None}
        yield base | {"skip": skip, "activation": "relu", "branch_scale": "1/sqrt(L)" if skip[:2] == "re" else 1.0}
        if skip != "dense":
            yield base | {"skip": skip, "tied": True, "activation": "silu", "norm": "rms"}
    for transform in TRANSFORMS:
        yield base | {"weight_transform": transform, "norm": "batch"}
        yield base | {"weight_transform": transform, "tied": True, "activation": "tanh"}
    for order in ORDERS:
        yield base | {"tied": True, "inputs": "every", "in_features": 3, "skip": f"residual(order={order})"}
    yield base | {"tied": True, "inputs": "every", "in_features": 3, "activation": "prelu", "norm": "layer"}
    yield base | {"activation": ("relu", "tanh", "crelu", "swiglu"), "width": (8, 6, 10, 12)}
    yield base | {"init": ("xavier_normal", "orthogonal", "eye", "zeros", "normal(std=0.1)"), "activation": "elu"}
    yield base | {"bias": "normal(std=0.1)", "activation": "sigmoid"}
    # Beyond the range of floats, forward or backward, and to where values are no numbers.
    yield {"depth": 600, "width": 8, "activation": "relu", "init": "normal(std=0.05)"}
    yield {"depth": 600, "width": 8, "activation": "linear", "init": "normal(std=3)"}
    yield {"depth": 300, "width": 8, "activation": "sigmoid", "init": "xavier_normal", "out_features": 2}
    yield {"depth": 300, "width": 8, "activation": "silu", "init": "normal(std=3)"}
    yield {"depth": 200, "width": 8, "activation": "relu", "skip": "residual", "block": 2}
    # Past one panel and one tile, with a batch beside the width.
    yield {"depth": 3, "width": 70, "activation": "relu", "out_features": 40}
    yield {"depth": 3, "width": (130, 33, 70), "in_features": 20, "activation": "gelu", "norm": "batch"}


def drawn(generator: random.Random) -> dict[str, Any]:
    """A net of any kind, which may contradict itself."""
    depth = generator.randint(1, 6)
    several = generator.random() < 0.25
    pick = generator.choice
    norm, skip = pick([None, None, *vg.NORMS]), pick([None, None, *SKIPS])
    tied = generator.random() < 0.2
    fields: dict[str, Any] = {
        "depth": depth,
        "width": 2 * generator.randint(2, 9),
        "in_features": pick([None, None, 4, 7]),
        "out_features": pick([None, 1, 5]),
        "activation": tuple(pick(ACTIVATIONS) for _ in range(depth)) if several else pick(ACTIVATIONS),
        "init": pick(INITS),
        "bias": pick([None, None, "normal(std=0.2)", "uniform(a=-0.1, b=0.2)"]),
        "norm": norm,
        "norm_position": pick(["pre", "post"]),
        "skip": skip,
        "block": pick([block for block in range(1, depth + 1) if depth % block == 0]),
        "weight_transform": pick([None, None, None, *TRANSFORMS]),
        "tied": tied,
        "inputs": pick(["first", "every"]) if tied else "first",
    }
    if skip and skip[:2] == "re":
        fields["branch_scale"] = pick([1.0, 0.5, -0.7, 1e-30, "1/sqrt(L)"])
    return fields


def specs() -> list[vg.MLP]:
    """Nets that are the same each time: those listed, then drawn ones that are valid."""
    found = [vg.MLP(**fields) for fields in listed()]
    generator = random.Random(20261128)
    while len(found) < COUNT:
        with suppress(ValueError):
            found.append(vg.MLP(**drawn(generator)))
    return found[:COUNT]


def digest(value: Any) -> str:
    """Of an array's bytes and shape, or of a text."""
    data = str(value).encode()
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "f":  # what is no number has many spellings
            value = np.where(np.isnan(value), value.dtype.type(np.nan), value)
        data = f"{value.dtype}{value.shape}".encode() + value.tobytes()
    return hashlib.sha256(data).hexdigest()[:16]


def columns(probe: vg.Probe) -> dict[str, Any]:
    """What a probe measured, by name."""
    return {name: value for name, value in vars(probe).items() if isinstance(value, np.ndarray) and name != "seeds"}


def said(function: Any) -> Any:
    """What a call gives, or the words of its refusal."""
    try:
        return function()
    except (ValueError, MemoryError) as error:
        return f"{type(error).__name__}: {error}"


def loss_of(net: vg.Network, x: Any, targets: Any, loss: str) -> str:
    """The value of a loss, in full."""
    return repr(net.gradients(x, targets, loss=loss).loss)


def of_net(index: int, spec: vg.MLP) -> dict[str, str]:
    """Every digest of one net."""
    found: dict[str, Any] = {"id": spec.id, "json": vg.MLP.from_json(spec.to_json()).id}
    rng = np.random.default_rng(index)
    batch = (9, 6, 33, 150)[index % 4]
    n = spec.in_features or (spec.width if isinstance(spec.width, int) else spec.width[0])
    x = rng.standard_normal((batch, spec.depth, n) if spec.inputs == "every" else (batch, n))
    loss = vg.LOSSES[index % len(vg.LOSSES)]
    for dtype in ("float32", "float64"):
        net = spec.init(seed=index, dtype=dtype)
        found |= {f"{dtype}.state.{name}": value for name, value in net.state_dict().items()}
        y = net.forward(x)
        found[f"{dtype}.forward"] = y
        gradients = net.backward(x, rng.standard_normal(y.shape))
        parts = {"input": gradients.input} | {f"dz.{i}": d for i, d in enumerate(gradients.preactivations)}
        found |= {f"{dtype}.gradient.{name}": value for name, value in (parts | gradients.parameters).items()}
        takes = vg.Loss(loss)
        targets = None
        if takes.takes_classes:
            targets = rng.integers(y.shape[1], size=batch)
        elif takes.takes_targets:
            targets = rng.choice([0.0, 1.0] if "bce" in loss else [-1.0, 1.0], y.shape)
        found[f"{dtype}.loss"] = said(partial(loss_of, net, x, targets, loss))
        on_data = partial(vg.probe, spec, x=x, y=targets, loss=loss, batch=batch // 2, seeds=2, dtype=dtype)
        probes = {
            "probe": vg.probe(spec, seeds=3, seed=index, batch=batch, dtype=dtype),
            "given": vg.probe(net, seeds=2, batch=batch),
            "data": said(on_data),
        }
        for kind, probe in probes.items():
            if isinstance(probe, str):
                found[f"{dtype}.{kind}"] = probe
                continue
            found |= {f"{dtype}.{kind}.{name}": value for name, value in columns(probe).items()}
            if kind == "probe":
                found[f"{dtype}.diagnosis"] = str(vg.diagnose(probe))
    found["gradcheck"] = said(lambda: vg.gradcheck(spec, seed=index, batch=5, loss=loss if index % 2 else None))
    return {name: digest(value) for name, value in found.items()}


def of_sweeps() -> Iterator[tuple[str, dict[str, str]]]:
    """Cells that share a forward pass, and those that do not."""
    for name, fields in {
        "plain": {"activation": "tanh", "out_features": 4},
        "blocks": {"activation": "relu", "skip": "residual(order=pre)", "norm": "rms", "block": 2},
        "dense": {"activation": "prelu", "skip": "dense"},
        "data": {"init": "lsuv", "out_features": 2},
        "fed": {"tied": True, "inputs": "every", "in_features": 3},
    }.items():
        sweep = vg.sweep(vg.MLP(depth=2, width=8, **fields), depth=[2, 6, 12, 4], seeds=2, batch=20, progress=False)
        for i, cell in enumerate(sweep.cells):
            yield f"sweep {name} {i}", {key: digest(value) for key, value in columns(cell).items()}


def everything() -> dict[str, dict[str, str]]:
    """All digests by net."""
    contents = ((i, spec, spec._checked.content()) for i, spec in enumerate(specs()))  # noqa: SLF001 (what an id is of)
    found = {f"{i} {content}": of_net(i, spec) for i, spec, content in contents}
    return found | dict(of_sweeps())


def main() -> int:
    """Record or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["record", "compare"])
    parser.add_argument("file", type=Path)
    given = parser.parse_args()
    here = {"isa": vg.build_info()["isa"], "nets": everything()}
    if given.action == "record":
        files.save_text(json.dumps(here, indent=0), given.file)
        print(f"{sum(map(len, here['nets'].values()))} digests of {len(here['nets'])} nets and cells, {here['isa']}")
        return 0
    then = json.loads(given.file.read_text(encoding="utf-8"))
    changed = 0
    added: set[str] = set()
    for net, before in then["nets"].items():
        after = here["nets"].get(net, {})
        added |= {name.split(".")[-1] for name in after.keys() - before.keys()}
        different = [name for name, value in before.items() if after.get(name) != value]
        changed += bool(different)
        if different:
            print(f"{net}\n    differs in {len(different)} of {len(before)}: {', '.join(different[:12])}")
    print(f"{len(then['nets'])} nets and cells, recorded on {then['isa']}, compared on {here['isa']}: {changed} differ")
    if added:
        print("added:", ", ".join(sorted(added)))
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
