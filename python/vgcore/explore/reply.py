"""What the explorer answers with native code: `measure`, a request in, numbers and the verdict out, all of it JSON.

What an engine has to do, so that all of them give the same numbers:

- noise: one call of the core's probe, in float32, of the spec, with `batch`, `seeds` and `seed`; no readout, no loss.
- spirals: the same with x and y of `vg.data.spirals()` in float32 and the loss `cross_entropy`; `batch` rows are drawn
  for each seed, as `vg.probe(spec, x=x, y=y, batch=batch)` does.
- spirals after steps of training: one call of the core's training with `sgd(lr=...)` and nothing else (no schedule, no
  clipping, no validation, no record), then for each net a probe of its weights, with its own seed, on rows as before. A
  net whose loss or gradient is not finite stops; it is trained once more for the steps that were, and so measured as it
  was when it broke.

Threads change no number.
"""

from __future__ import annotations

import time
from dataclasses import fields, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgcore import _core
from vgcore.data.spirals import spirals
from vgcore.explore.request import LOSS, NOISE, SAMPLES, Request
from vgcore.judge.diagnose import diagnose
from vgcore.measure.probe import probe
from vgcore.measure.result import Probe
from vgcore.model.mlp import MLP
from vgcore.model.network import Network
from vgcore.theory.prediction import predict
from vgcore.train.fit import train
from vgcore.train.run import Run

Floats = NDArray[np.float64]

#: Predictions that are kept: to move a control that theory does not know costs nothing.
KEPT = 64
TRAINED = "theory is of random samples and a random gradient at the output, not of spirals and their loss"


def measure(given: object) -> dict[str, Any]:
    """The reply to a request, both of them JSON objects: columns, theory and verdict of a net.

    A number that JSON has none for is `None` (nan), `"inf"` or `"-inf"`.

    Args:
        given: The fields of a `Request`; what is left out is at its default.

    Raises:
        ValueError: For a request that is not allowed, with what is.
        TypeError: For values of a wrong type.

    >>> reply = measure({"depth": 30, "activation": "sigmoid", "init": "xavier_normal"})
    >>> reply["verdict"]["word"], len(reply["columns"]["log10_delta_rms"][0])
    ('vanishing (backward), collapsed', 30)
    """
    request = Request.read(given)
    started = time.perf_counter()
    found, losses = measured(request)
    judged = diagnose(found)
    theory, why = _theory(request)
    return {
        "request": request.to_dict(),
        "engine": engine(),
        "columns": columns_of(found),
        "first_nonfinite": found.first_nonfinite.tolist(),
        "lost_below": found.trace.lost_below.tolist(),
        "loss": None if losses is None else plain(losses),
        "theory": theory,
        "theory_why": why,
        "verdict": {
            "verdict": judged.verdict,
            "direction": judged.direction,
            "conditions": list(judged.conditions),
            "confidence": judged.confidence,
            "word": judged.word,
            "summary": judged.summary,
            "depth_limit": "" if judged.depth_limit is None else str(judged.depth_limit),
        },
        "took_ms": round(1000 * (time.perf_counter() - started), 1),
    }


def engine() -> str:
    """What makes the numbers here, in words."""
    built = _core.build_info()
    threads = built["threads"]
    return f"vgcore {built['version']}, {built['isa']}, {threads} thread{'s' * (threads != 1)}"


def measured(request: Request) -> tuple[Probe, Floats | None]:
    """The probe of a request, and the first and the last loss of each net, `(seeds, 2)`; None without a loss."""
    how: dict[str, Any] = {"batch": request.batch, "dtype": "float32"}
    if request.data == NOISE:
        return probe(request.spec, seeds=request.seeds, seed=request.seed, **how), None
    x, y = samples()
    how |= {"x": x, "y": y, "loss": LOSS}
    if not request.steps:
        found = probe(request.spec, seeds=request.seeds, seed=request.seed, **how)
        return found, np.stack([found.loss_value] * 2, axis=1)
    run = _trained(request, request.seed, request.steps, request.seeds)
    nets = [_as_it_ended(request, run, i) for i in range(request.seeds)]
    probes = [probe(net, seeds=1, seed=request.seed + i, **how) for i, net in enumerate(nets)]
    return _joined(probes), np.stack([run.first_loss, run.final_loss], axis=1)


@lru_cache(maxsize=1)
def samples() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The spirals that nets are measured and trained on, x of shape (256, 2) and y of shape (256,)."""
    x, y = spirals(SAMPLES)
    return x.astype(np.float32), y


def _trained(request: Request, seed: int, steps: int, seeds: int) -> Run:
    x, y = samples()
    optimizer = f"sgd(lr={request.lr!r})"
    how: dict[str, Any] = {"batch": request.batch, "seeds": seeds, "seed": seed, "steps": steps}
    # Of the steps no more is wanted than their losses and the net at the end.
    nothing: dict[str, Any] = {"monitor": (), "record": [1], "checkpoints": 0}
    return train(request.spec, x, y, loss=LOSS, optimizer=optimizer, **how, **nothing)


def _as_it_ended(request: Request, run: Run, i: int) -> Network:
    """The net of a seed behind its last step; of one that broke, behind the last step that it finished."""
    done = int(run.steps_done[i])
    if done == request.steps or not done:  # Of a net that broke a run gives back the start.
        return run.networks[i]
    return _trained(request, request.seed + i, done, seeds=1).network


def _joined(probes: list[Probe]) -> Probe:
    """Probes of nets that were trained by one recipe, as the runs of one probe."""
    columns: dict[str, Any] = {
        each.name: np.concatenate([getattr(one, each.name) for one in probes])
        for each in fields(Probe)
        if isinstance(getattr(probes[0], each.name), np.ndarray) and each.name not in {"x", "y"}
    }
    # Like nets that are drawn for each seed, and unlike runs of one network, they differ as nets do.
    return replace(probes[0], **columns, network=None)


def columns_of(found: Probe) -> dict[str, Any]:
    """The columns of a probe, `(seeds, depth)` or `(seeds,)`, as JSON."""
    arrays = {each.name: getattr(found, each.name) for each in fields(Probe) if each.name not in {"x", "y"}}
    return {
        name: plain(value)
        for name, value in arrays.items()
        if isinstance(value, np.ndarray) and value.dtype == np.float64
    }


def plain(values: Floats) -> list[Any]:
    """Numbers as JSON has them: nan is None, infinities are words.

    >>> plain(np.array([[1.5, np.nan], [np.inf, -np.inf]]))
    [[1.5, None], ['inf', '-inf']]
    """
    if np.isfinite(values).all():
        return values.tolist()  # type: ignore[no-any-return]
    told = values.astype(object)
    told[np.isnan(values)] = None
    told[np.isposinf(values)] = "inf"
    told[np.isneginf(values)] = "-inf"
    return told.tolist()  # type: ignore[no-any-return]


def _theory(request: Request) -> tuple[dict[str, Any] | None, str]:
    """What theory says of the net of a request, and why it says nothing where it does not."""
    if not request.theory:
        return None, ""
    if request.data != NOISE:
        return None, TRAINED
    return _predicted(request.spec, request.batch)


@lru_cache(maxsize=KEPT)
def _predicted(spec: MLP, batch: int) -> tuple[dict[str, Any] | None, str]:
    try:
        found = predict(spec, batch=batch)
    except ValueError as error:
        return None, str(error).partition("; it covers")[0]  # a list that is too long for a page
    return {
        "forward": {"mean": plain(found.log10_z_rms)},
        "backward": {
            "mean": plain(found.log10_delta_rms),
            "std": plain(found.delta_std),
            "drift": plain(found.delta_drift),
        },
        "weight": {"mean": plain(found.log10_wgrad_norm)},
        "why": found.doubt or found.uncovered,
    }, ""
