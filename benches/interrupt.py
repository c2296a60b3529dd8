"""How long Ctrl-C takes to come back, call by call: `python benches/interrupt.py [part of a name]`.

Each call is one that takes more than a second if nobody stops it. After 0.3 s a signal comes, as from Ctrl-C; the table
says how many milliseconds later `KeyboardInterrupt` has left the call, and how much processor time its workers used
after that. Slowest first. A call that ends by itself before the signal is marked, and says nothing.
"""

from __future__ import annotations

import contextlib
import copy
import pickle
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import vgcore as vg
from vgcore import _core
from vgcore.model.plan import Plan

#: Seconds until the signal, and seconds of patience with the workers.
AFTER, PATIENCE = 0.3, 0.5

DEEP, ROWS, WIDE = 1_000_000, 8_000_000, 8192

Call = Callable[[], object]
#: What makes a call, by its name; made one by one, for some hold gigabytes.
CASES: dict[str, Callable[[], Call]] = {}


def case(name: str) -> Callable[[Callable[[], Call]], Callable[[], Call]]:
    """Enter a case."""

    def enter(make: Callable[[], Call]) -> Callable[[], Call]:
        CASES[name] = make
        return make

    return enter


def deep(**fields: Any) -> vg.MLP:
    """A net of a million layers."""
    return vg.MLP(**{"depth": DEEP, "width": 1} | fields)


def wide(**fields: Any) -> vg.MLP:
    """A net of wide layers."""
    return vg.MLP(**{"depth": 2, "width": WIDE} | fields)


def listed() -> vg.MLP:
    """A net whose layers are listed."""
    return deep(width=[1] * DEEP, activation=["relu", "tanh"] * (DEEP // 2))


def narrow(**fields: Any) -> vg.Network:
    """A small net with its numbers."""
    return vg.MLP(**{"depth": 4, "width": 16, "out_features": 4} | fields).init()


def rows(dtype: str = "float32", columns: int = 16) -> np.ndarray[Any, Any]:
    """Many samples."""
    return np.ones((ROWS, columns), dtype)


# Specs


CASES["MLP: widths"] = lambda: (widths := [1] * DEEP) and (lambda: deep(width=widths))
CASES["MLP: activations"] = lambda: (names := ["relu", "tanh"] * (DEEP // 2)) and (lambda: deep(activation=names))
CASES["MLP: inits"] = lambda: (
    (names := ["critical", "zeros"] * (DEEP // 2)) and (lambda: deep(init=names, activation="tanh"))
)
CASES["MLP: widths of an array"] = lambda: (widths := np.ones(DEEP, int)) is not None and (lambda: deep(width=widths))
CASES["MLP: residual"] = lambda: lambda: [deep(skip="residual") for _ in range(50)]
CASES["MLP: a long name"] = lambda: (name := "x" * 10_000_000) and (lambda: [_try(vg.MLP, name) for _ in iter(int, 1)])
CASES["MLP.id"] = lambda: (spec := listed()) and (lambda: [spec.id for _ in range(50)])
CASES["MLP.to_json"] = lambda: (spec := listed()) and (lambda: [spec.to_json() for _ in range(9)])
CASES["MLP.from_json"] = lambda: (text := listed().to_json()) and (lambda: [vg.MLP.from_json(text) for _ in range(9)])
CASES["MLP: pickled"] = lambda: (spec := listed()) and (lambda: [copy.copy(pickle.dumps(spec)) for _ in range(9)])
CASES["MLP: compared"] = lambda: (pair := (listed(), listed())) and (lambda: [pair[0] == pair[1] for _ in range(99)])
CASES["Plan.of"] = lambda: (spec := deep()) and (lambda: Plan.of(spec))


def _try(make: Any, name: str) -> None:
    with contextlib.suppress(ValueError):
        make(depth=2, width=2, activation=name)


# Draws


for _name, _fields in {
    "deep": {"depth": DEEP, "width": 1},
    "deep, listed": {"depth": DEEP, "width": 1, "activation": ["relu", "tanh"] * (DEEP // 2)},
    "wide": {"depth": 4, "width": WIDE},
    "orthogonal": {"depth": 2, "width": 4096, "init": "orthogonal"},
    "looks_linear": {"depth": 2, "width": 4096, "init": "looks_linear"},
    "sparse": {"depth": 2, "width": WIDE, "init": "sparse(0.9)"},
    "trunc_normal": {"depth": 4, "width": WIDE, "init": "trunc_normal"},
    "torch_default": {"depth": 4, "width": WIDE, "init": "torch_default"},
    "lsuv": {"depth": 50, "width": 1024, "init": "lsuv"},
    "spectral_norm": {"depth": 2, "width": 4096, "weight_transform": "spectral_norm"},
    "weight_standardization": {"depth": 2, "width": WIDE, "weight_transform": "weight_standardization"},
}.items():
    CASES[f"init: {_name}"] = lambda fields=_fields: (
        (spec := vg.MLP(**fields)) and (lambda: [spec.init(dtype="float64") for _ in range(9)])
    )


# State


CASES["state_dict: deep"] = lambda: (net := deep().init()) and (net.state_dict)
CASES["state_dict: wide"] = lambda: (net := wide().init()) and (lambda: [net.state_dict() for _ in range(99)])
CASES["from_state_dict: deep"] = lambda: (
    (net := deep().init()) and (state := net.state_dict()) and (lambda: vg.Network.from_state_dict(net.spec, state))
)
CASES["from_state_dict: wide"] = lambda: (
    (net := wide().init())
    and (state := net.state_dict())
    and (lambda: [vg.Network.from_state_dict(net.spec, state) for _ in range(99)])
)


@case("from_state_dict: Fortran order")
def _() -> Call:
    net = wide().init()
    state = {key: np.asfortranarray(value) for key, value in net.state_dict().items()}
    return lambda: [vg.Network.from_state_dict(net.spec, state) for _ in range(99)]


CASES["from_state_dict: spectral_norm"] = lambda: (
    (net := vg.MLP(depth=2, width=4096, weight_transform="weight_standardization").init())
    and (state := net.state_dict())
    and (lambda: vg.Network.from_state_dict(net.spec.replace(weight_transform="spectral_norm"), state))
)
CASES["Network: pickled, deep"] = lambda: (net := deep(depth=DEEP // 4).init()) and (lambda: pickle.dumps(net))
CASES["Network: unpickled, deep"] = lambda: (
    (data := pickle.dumps(deep(depth=DEEP // 4).init())) and (lambda: pickle.loads(data))
)

# Passes


for _name, _made in {
    "float32": rows,
    "float64": lambda: rows("float64"),
    "Fortran order": lambda: np.asfortranarray(rows()),
    "integers": lambda: rows("int16"),
    "a strided view": lambda: rows(columns=32)[:, ::2],
    "a list": lambda: [[1.0] * 16] * (ROWS // 4),
}.items():
    CASES[f"forward: {_name}"] = lambda made=_made: (
        (net := narrow()) and (x := [made()]) and (lambda: [net.forward(x[0]) for _ in range(9)])
    )
for _name, _fields in {
    "wide": {"depth": 4, "width": WIDE},
    "tied": {"width": 256, "tied": True, "depth": 40},
    "batch norm": {"width": 256, "norm": "batch", "depth": 40},
    "highway": {"width": 256, "skip": "highway", "depth": 40},
    "prelu": {"width": 256, "activation": "prelu", "depth": 40},
}.items():

    def _pass(of: str, fields: dict[str, Any]) -> Call:
        net = vg.MLP(**fields | {"out_features": 4}).init()
        x = np.ones((20_000, net.spec.in_features or net.spec.width), "float32")
        cotangent = np.ones((len(x), 4))
        calls = {
            "forward": lambda: [net.forward(x) for _ in range(99)],
            "backward": lambda: [net.backward(x, cotangent) for _ in range(99)],
        }
        return calls[of]

    for _of in ("forward", "backward"):
        CASES[f"{_of}: {_name}"] = lambda of=_of, fields=_fields: _pass(of, fields)
CASES["signals"] = lambda: (
    (net := narrow(width=256))
    and (x := [np.ones((200_000, 256), "float32")])
    and (lambda: [net._weights.signals(x[0]) for _ in range(20)])  # noqa: SLF001 (no public call gives them)
)
CASES["gradients: deep"] = lambda: (net := deep().init()) and (lambda: net.gradients([[1.0]], loss="output_sum"))

# Targets


for _name, _targets in {
    "class ids": lambda: np.zeros(ROWS // 2, int),
    "ids in a list": lambda: [0] * (ROWS // 2),
    "names": lambda: np.array(["a", "b"] * (ROWS // 8)),
    "names in a list": lambda: ["a", "b"] * (ROWS // 8),
    "numbers as objects": lambda: np.array([0, 1] * (ROWS // 8), object),
    "whole floats": lambda: np.zeros(ROWS // 2),
}.items():
    CASES[f"targets: {_name}"] = lambda made=_targets: (
        (y := [made()]) and (lambda: [_core.targets("cross_entropy", y[0], len(y[0]), 4) for _ in range(99)])
    )
CASES["loss_gradient"] = lambda: (
    (y := [np.ones((ROWS, 4))]) and (lambda: [_core.loss_gradient("mse", y[0], y[0]) for _ in range(9)])
)

# Measurements


CASES["probe: wide"] = lambda: (spec := wide(width=4096)) and (lambda: vg.probe(spec, seeds=9))
CASES["probe: deep"] = lambda: (spec := deep()) and (lambda: vg.probe(spec, seeds=1))
CASES["probe: many seeds"] = lambda: lambda: vg.probe(vg.MLP(depth=50, width=64), seeds=10_000)
CASES["probe: a large batch"] = lambda: lambda: vg.probe(vg.MLP(depth=20, width=256), seeds=1, batch=100_000)
CASES["sweep"] = lambda: lambda: vg.sweep(vg.MLP(depth=20, width=64), depth=list(range(1, 400)), seeds=20)
CASES["jacobian: wide"] = lambda: (
    (net := vg.MLP(depth=20, width=1024).init(dtype="float64")) and (lambda: vg.jacobian(net))
)
CASES["jacobian: deep"] = lambda: lambda: vg.jacobian(vg.MLP(depth=20_000, width=32, activation="tanh"))
CASES["gradcheck: wide"] = lambda: lambda: vg.gradcheck(vg.MLP(depth=10, width=1024))
CASES["gradcheck: deep"] = lambda: lambda: vg.gradcheck(vg.MLP(depth=3000, width=8))

# Theory


CASES["theory: hermite, one long row"] = lambda: lambda: _core.hermite("tanh", [1.0], 20_000_000)
CASES["theory: hermite"] = lambda: lambda: _core.hermite("tanh", np.linspace(0.1, 2, 2000), 2000)
CASES["theory: moments"] = lambda: lambda: _core.moments("gelu", np.linspace(0.1, 2, 1_000_000))
CASES["theory: pair_moments"] = lambda: lambda: _core.pair_moments("gelu", np.ones(100_000), np.linspace(0, 1, 100_000))
CASES["theory: activate"] = lambda: lambda: [_core.activate("gelu", np.ones(4_000_000)) for _ in range(9)]
CASES["Activation.from_samples"] = lambda: (
    (z := np.linspace(-3, 3, 1_000_001)) is not None
    and (lambda: [vg.Activation.from_samples("mine", z, z + i) for i in range(99)])
)


def measure(call: Call) -> tuple[float, float] | None:
    """Milliseconds until `KeyboardInterrupt` was here, and of processor time after it; None if the call has ended."""
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    due = time.perf_counter() + AFTER
    signal.setitimer(signal.ITIMER_REAL, AFTER)
    try:
        call()
        signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        late, used = time.perf_counter() - due, time.process_time()
    else:
        return None
    finally:
        signal.signal(signal.SIGALRM, before)
    time.sleep(PATIENCE)
    return 1e3 * late, 1e3 * (time.process_time() - used)


def main() -> None:
    """Print the table."""
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    found = []
    for name, make in CASES.items():
        if wanted not in name:
            continue
        call = make()
        try:
            found.append((name, measure(call)))
        except Exception as error:  # noqa: BLE001 (a case that fails is to be seen, not to end the table)
            print(f"{name}: {error!r}", file=sys.stderr)
        del call
        _core.release_memory()
    known = sorted(((name, times) for name, times in found if times), key=lambda row: -row[1][0])
    print(f"{'call':<34}{'ms until it is back':>20}{'ms used after':>16}")
    for name, (late, used) in known:
        print(f"{name:<34}{late:>20.1f}{used:>16.1f}")
    for name, times in found:
        if times is None:
            print(f"{name:<34}{'ended by itself':>20}")


if __name__ == "__main__":
    main()
