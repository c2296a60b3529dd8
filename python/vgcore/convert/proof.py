"""The proof: a converted net that computes something else does not exist."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgcore.convert.graph import Graph
from vgcore.convert.imported import Refusal
from vgcore.convert.tape import Array
from vgcore.model.network import Network
from vgcore.model.plan import Plan

#: `run(rows, upto)`: the user's model in float64 on `(n, in_features)` rows, up to the value of that number (None: the
#: model's own output); gives that value `(n, features)` and the function from a cotangent of its shape to dL/dx.
Run = Callable[[Array, int | None], tuple[Array, Callable[[Array], Array]]]

#: Random rows that both nets are run on, and what these are multiplied by: a bound shows only beyond itself.
ROWS = 8
SCALES = (1.0, 30.0, 1e3)
#: What maps give in nets whose numbers are drawn anew: in one a curve is nearly a line, in the other it bends.
SIZES = (0.05, 2.0)
#: How near outputs on larger rows must be at most, whose phases are rounded by so much more; how near dL/dx must be,
#: which some front ends take by differences, and of which saturation leaves rounding. On the largest rows that is all.
LARGE, STEEP = 1e-6, 1e-4
#: How near two nets with such numbers must be, as a share of the largest output.
NEAR = 1e-9


def prove(network: Network, run: Run, upto: int | None, *, tolerance: float) -> None:
    """Compare a net with the user's model: outputs, and dL/dx of a random cotangent, on random rows of several scales.

    What is 0 here agrees with much: `prove_structure` has decided where that is so.

    Args:
        network: The net, in float64.
        run: The user's model.
        upto: The value of the tape that the net's output stands for.
        tolerance: The largest error on standard normal rows, as a share of the largest number of the tensor. On larger
            rows it is more, and where the model overflows, none is compared.

    Raises:
        Refusal: Where they differ, with all that a report of the fault needs.
    """
    draw = np.random.default_rng(0)
    rows = draw.standard_normal((ROWS, Plan.of(network.spec).columns))
    cotangent: Array | None = None
    most = steepest = 0.0
    for scale in SCALES:
        x = scale * rows
        told = "" if scale == 1 else f" of rows {scale:g} times as large"
        with np.errstate(all="ignore"):
            outputs, pull = run(x, upto)
            outputs = np.asarray(outputs, np.float64)
            cotangent = draw.standard_normal(outputs.shape) if cotangent is None else cotangent
            theirs = np.asarray(pull(cotangent), np.float64).reshape(x.shape)
        if scale != 1 and not (np.isfinite(outputs).all() and np.isfinite(theirs).all()):
            return
        most = max(most, float(np.abs(outputs).max(initial=0)))
        steepest = max(steepest, float(np.abs(theirs).max(initial=0)))
        near, flat = max(tolerance, min(scale * tolerance, LARGE)), tolerance if scale == 1 else max(tolerance, STEEP)
        _agree(f"outputs{told}", network, outputs, network.forward(x), near * most)
        if scale != SCALES[-1]:
            _agree(
                f"dL/dx{told}", network, theirs, network.backward(x, cotangent).input.reshape(x.shape), flat * steepest
            )


def prove_structure(network: Network, graph: Graph, twin: Network | None) -> None:
    """Compare a net with the graph that it was read from where both have other numbers, of which none is 0.

    Args:
        network: The net, for the report.
        graph: The graph with other numbers.
        twin: The net of the same spec with these numbers; None if no such net is read from the graph.

    Raises:
        Refusal: Where they differ.
    """
    rows = np.random.default_rng(0).standard_normal((ROWS, graph.tape.in_features))
    nudge = 1 + 1e-15 * np.random.default_rng(3).standard_normal(rows.shape)
    for scale in SCALES:
        x = scale * rows
        with np.errstate(all="ignore"):
            theirs, beside = graph.run(x), graph.run(x * nudge)
        if twin is None:
            raise _fault(network, "with other weights it is read as another net: some of its weights hide what it is")
        if not np.isfinite(theirs).all():
            return
        # What rounding becomes in a net that is chaotic says nothing.
        allowed = NEAR * scale * np.abs(theirs).max() + 100 * np.abs(theirs - beside).max()
        ours = twin.forward(x)
        if ours.shape != theirs.shape or np.abs(theirs - ours).max() > allowed:
            raise _fault(network, "with other weights the net read from it computes something else")


def _agree(what: str, network: Network, theirs: Array, ours: NDArray[np.floating[Any]], allowed: float) -> None:
    if theirs.shape != ours.shape:
        raise _fault(network, f"its {what} have shape {theirs.shape}, those of the net read from it {ours.shape}")
    if not np.isfinite(theirs).all():
        raise _fault(network, f"its {what} on standard normal rows are not finite")
    largest = np.abs(theirs).max(initial=0)
    error = np.abs(theirs - ours).max(initial=0)
    if not error <= allowed:
        row = int(np.abs(theirs - ours).max(axis=1).argmax())
        raise _fault(
            network,
            f"its {what} differ from those of the net read from it by {error:.1e}, of at most {largest:.1e}, where "
            f"{allowed:.1e} is allowed (row {row} of {ROWS} of numpy.random.default_rng(0).standard_normal)",
        )


def _fault(network: Network, reason: str) -> Refusal:
    return Refusal(
        "",
        "the whole model",
        f"{reason}; it was read as {network.spec!r}",
        "hooks, custom gradients and hidden state make such a difference; vg.watch(model) measures any torch model",
    )
