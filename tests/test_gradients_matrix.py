"""Every gradient against differences, for every way to put a net together.

One check of a tiny net takes less than a millisecond, so nothing is sampled. The first test takes the whole product of
activations, norms and their positions, skips and their orders, block lengths and losses with both reductions: some
70,000 nets. The second takes the product of activations, norms and skips with everything else that a net may have, some
30,000, and draws weight transforms and losses, so often that each meets every value of everything else. Rows are read
from the tables: a new one is checked by itself.

A gradient may be zero because its terms cancel: that of a bias before a batch normalisation, of a weight along which a
transform is constant, of all there is before a layer normalisation whose outputs are added up. What is computed is
rounding then, no digit of which is right, and an error relative to it would be near 1. So `gradcheck` knows how large
the terms are: it pushes the same motion once more with every term, at every stage, off by a random share of 1e-8, so
that they no longer cancel. Where the gradient is below 1e-5 of what that shows, the error is measured by that share.
The tolerance stays: 1e-6 of the gradient, or 1e-11 of what cancels.
"""

import random
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import islice, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vgcore as vg
from strategies import EVERY_ACTIVATION, EXAMPLES, nets, over_examples

Fields = dict[str, Any]

TOLERANCE = 1e-6
DEPTH, WIDTH, BATCH = 4, 6, 5
ODD = 5  # features of an input that is no block's
ORDERS = ("after", "linear", "post", "pre")
REDUCTIONS = ("mean", "sum")


def skips() -> Iterator[str]:
    """Every kind in every order; a factor that starts at 0 would leave nothing of the branch to check."""
    for name in vg.SKIPS:
        known = vg.Skip(name).params
        started = {"alpha": 0.7} if "alpha" in known else {}
        for order in ORDERS if "order" in known else [None]:
            yield str(vg.Skip(name, **({"order": order} if order else {}), **started))


NORMS: list[Fields] = [
    {},
    *({"norm": norm, "norm_position": position} for norm in vg.NORMS for position in ("pre", "post")),
]
SKIPS: list[Fields] = [{}, *({"skip": skip, "block": block} for skip in skips() for block in (1, 2))]
LOSSES = [None, *(f"{loss}(reduction={reduction})" for loss in vg.LOSSES for reduction in REDUCTIONS)]


# What a spec refuses --------------------------------------------------------------------------------------------------


@cache
def outputs(activation: str) -> int:
    """Features that a layer of WIDTH gives."""
    return int(vg.MLP(depth=1, width=WIDTH, activation=activation).init().forward(np.ones((1, WIDTH))).shape[1])


def resizes(fields: Fields) -> bool:
    kinds = fields["activation"]
    return any(outputs(kind) != WIDTH for kind in ([kinds] if isinstance(kinds, str) else kinds))


def order(fields: Fields) -> Any:
    return vg.Skip(fields["skip"]).params.get("order") if "skip" in fields else None


def half_bent(fields: Fields) -> bool:
    """Has the last layer of a block no activation while the others have one?"""
    return order(fields) == "linear" and bool(fields["block"] > 1)


# By what is said then.
REFUSALS: dict[str, Callable[[Fields], bool]] = {
    # What is activated after the sum leaves with another number of features than the sum has; and so does a first block
    # without a skip, whose layers are all activated, before others with their last layers' features or their maps'.
    "as many features at both ends of a block": lambda f: (
        resizes(f)
        and (
            order(f) == "post"
            or ("tied" in f and half_bent(f) and "inputs" not in f)
            or (f.get("in_features") == ODD and order(f) in {"linear", "pre"})
        )
    ),
    "even, for half of its units are gates": lambda f: (
        f.get("in_features") == ODD and order(f) == "pre" and outputs(f["activation"]) < WIDTH
    ),
    "whose layers share one weight matrix": lambda f: resizes(f) and half_bent(f) and "inputs" in f,
    "tied=True cannot have skip='dense'": lambda f: "tied" in f and f.get("skip") == "dense",
    "no gradient where all singular values are equal": lambda f: (
        f.get("weight_transform") == "spectral_norm" and "orthogonal" in f.get("init", [])
    ),
}


def spec_of(fields: Fields) -> vg.MLP | None:
    """The spec, or None if it is refused for the reason that it should be."""
    reasons = {reason for reason, applies in REFUSALS.items() if applies(fields)}
    try:
        spec = vg.MLP(depth=DEPTH, **{"width": WIDTH, **fields})
    except ValueError as error:
        assert any(reason in str(error) for reason in reasons), (fields, error)  # noqa: PT017  # one of many
        return None
    assert not reasons, fields
    return spec


# The whole matrix for `make check`; for fewer examples each activation gets a share of it, begun at another place, so
# that together they have every norm, skip, loss and variant.
STEP = max(1, 200 // EXAMPLES)


def judge(activation: str, nets: Iterable[tuple[Fields, str | None]]) -> int:
    """Check all that are not refused, every STEP-th of them; their number."""
    wrong, checked = {}, 0
    for fields, loss in islice(nets, EVERY_ACTIVATION.index(activation) % STEP, None, STEP):
        if spec := spec_of(fields):
            checked += 1
            error = max(vg.gradcheck(spec, batch=BATCH, loss=loss).values())
            if not error < TOLERANCE:
                wrong[str((fields, loss))] = error
    assert not wrong
    return checked


# Tests ----------------------------------------------------------------------------------------------------------------


def test_the_orders_and_reductions_checked_here_are_all_there_are() -> None:
    for make, words in ((lambda: vg.Skip("residual", order="?"), ORDERS), (lambda: vg.Loss("mse(?)"), REDUCTIONS)):
        with pytest.raises(ValueError, match=r"must be one of") as refused:
            make()
        assert f"one of {', '.join(words)}, got" in str(refused.value)


@pytest.mark.parametrize("activation", EVERY_ACTIVATION)
def test_every_norm_skip_and_loss_has_its_gradient(activation: str) -> None:
    fields = {"activation": activation, "out_features": 3}
    nets = (({**fields, **norm, **skip}, loss) for norm, skip, loss in product(NORMS, SKIPS, LOSSES))
    checked = judge(activation, nets)
    refused = sum(order(skip) == "post" for skip in SKIPS) if resizes(fields) else 0
    whole = len(NORMS) * (len(SKIPS) - refused) * len(LOSSES)
    assert checked == whole if STEP == 1 else checked > whole // STEP // 2


def variants(activation: str, skip: Fields, draw: random.Random) -> Iterator[Fields]:
    """What else a net may have beside an activation, a norm and a skip; which weight transform is drawn."""
    # Steps are of one shape: they take what they give.
    bare = order(skip) == "pre" or (order(skip) == "linear" and not half_bent(skip))
    # Each layer its init, the readout the last one's, or one of its own.
    inits = ["lecun_normal", "orthogonal", "xavier_uniform", "normal(std=0.4)"]
    for each in (
        {"bias": "normal(std=0.3)"},
        {"tied": True, "in_features": WIDTH if bare else outputs(activation)},
        {"tied": True, "inputs": "every", "in_features": 3},
        {"init": inits, "out_features": 3},
    ):
        yield {**each, "weight_transform": draw.choice([None, *vg.WEIGHT_TRANSFORMS])}
    yield {"init": [*inits, "ones"], "out_features": 3}
    # Fields by layer, and what stands behind the last one.
    yield {
        "norm": [None, "layer", "batch", "rms"],
        "norm_position": draw.sample(["pre", "input", "post", "input"], 4),
        "bias": [False, None, "normal(std=0.3)", False],
        "final_norm": draw.choice(vg.NORMS),
        "dropout": 0.5,
        "out_features": draw.choice([None, 3]),
    }
    # A first block that changes the number of features has no skip.
    yield {"in_features": ODD, "out_features": 3}
    if outputs(activation) == WIDTH:
        yield {"activation": [activation, "tanh", activation, "softplus"]}
    if not skip:
        yield {"width": [4, 8, 6, 4], "out_features": 2}
    elif vg.Skip(skip["skip"]).name in {"residual", "rezero"}:
        yield {"branch_scale": draw.choice(["1/sqrt(L)", -0.5])}


@pytest.mark.parametrize("activation", EVERY_ACTIVATION)
def test_everything_else_that_a_net_may_have_has_its_gradient_with_every_norm_and_skip(activation: str) -> None:
    draw = random.Random(activation)
    nets = (
        ({"activation": activation, **norm, **skip, **variant}, draw.choice(LOSSES))
        for norm, skip in product(NORMS, SKIPS)
        for variant in variants(activation, skip, draw)
    )
    assert judge(activation, nets) > 500 // STEP


@over_examples
@given(spec=nets(), seed=st.integers(0, 2**64 - 1))
def test_random_nets_and_lists_of_parts_have_their_gradients(spec: vg.MLP | vg.Sequential, seed: int) -> None:
    assert max(vg.gradcheck(spec, seed=seed, batch=7).values()) < TOLERANCE
