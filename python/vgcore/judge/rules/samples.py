"""Rules of samples and of their tokens: those that become alike, and those that lie on few lines."""

from __future__ import annotations

import math

import numpy as np

from vgcore.judge.evidence import Evidence
from vgcore.judge.rule import Hit, Rule, share
from vgcore.judge.rules.signals import DECADES, SCHOENHOLZ
from vgcore.show.words import power

#: Cosines closer to 1 than this are rounding of the dtype.
RESOLUTION = {"float16": 1e-3, "bfloat16": 1e-2, "float32": 1e-6, "float64": 1e-13}


def _collapse(e: Evidence, rule: Rule) -> Hit | None:
    floor = RESOLUTION[e.trace.dtype]
    apart = np.maximum(1 - e.values("correlation"), floor)  # (runs, layers)
    mean = np.maximum(1 - e.column("correlation"), floor)
    if not np.isfinite(mean[[0, -1]]).all():
        return None
    # Samples that are alike in x already cannot collapse. A first layer may part them, too.
    entered = max(1 - e.inputs.correlation, floor) if math.isfinite(e.inputs.correlation) else mean[0]
    start = max(entered, mean[0])
    folds = math.log(start / mean[-1])
    with np.errstate(invalid="ignore"):
        runs = np.log(np.maximum(entered, apart[:, 0]) / apart[:, -1])
    c = 1 - mean
    layers = tuple(np.flatnonzero(np.log(start / mean) >= rule.least).tolist())
    shown = f"1 - {mean[-1]:.1g}" if mean[-1] < 1e-3 else f"{c[-1]:.4f}"
    first = round(1 - start, 2) + 0  # + 0 makes -0.0 plain 0.0
    text = f"all samples look alike at {e.layer(e.depth - 1)}: their mean cosine goes from {first:.2f} to {shown}"
    working = (
        f"c = {1 - entered:.4f} in x, c_1 = {c[0]:.4f}, c_L = {shown}: ln({start:.3g}/{mean[-1]:.3g}) = {folds:.1f}"
        " depth scales."
    )
    return Hit(folds, layers, share(runs, lambda r: r >= rule.level(folds)), text, working)


CORRELATION_COLLAPSE = Rule(
    id="correlation_collapse",
    quantity="depth scales: e-folds by which 1 - cosine of two samples shrinks from x to the last layer",
    thresholds={"warning": 6.0, "critical": 10.0},
    why=(
        "Nets of more than 6 depth scales did not train: what distinguishes two inputs is e^-6 = 1/400 of what it was. "
        "At 10, 1/22,000, nothing is left for a net to tell them apart by."
    ),
    reference=SCHOENHOLZ + ", section 5",
    wrong=(
        "It is relative to x, or to the first layer where that parts them: data that are all alike cannot collapse. A "
        "regression on a smooth target may want little more than the mean. Cosines closer to 1 than 1e-6 are "
        "rounding in float32."
    ),
    remedy="smaller biases, weights at the critical scale, batch norm, or a residual skip",
    formula="folds = ln((1 - c)/(1 - c_L)), with c_L the mean cosine between z of two samples, c that of x or of z_1",
    picture=("correlation",),
    check=_collapse,
    needs=("correlation",),
    condition="collapsed",
)


HANIN = "Hanin 2018, arXiv:1801.03744; Hanin and Nica 2018, arXiv:1812.05994"


def _rank(e: Evidence, rule: Rule) -> Hit | None:
    return _of_samples(e, rule) if e.tokens == 1 else _of_tokens(e, rule)


def _of_samples(e: Evidence, rule: Rule) -> Hit | None:
    batch = e.trace.batch
    if e.facts is None or batch is None or e.depth < 2 or batch < 4:
        return None
    # The rank of h_l and the cosines of z_(l+1) = W h_l are of the same samples.
    rank, c = e.values("effective_rank")[:, :-1], e.values("correlation")[:, 1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = (batch / rank - 1) / (batch - 1) - c**2
    # Of x, or of as few units as came before: one column and one unit are a line by themselves.
    units = np.minimum.accumulate(e.facts.outputs)[:-1]
    if e.facts.fed:  # Of no more columns than have come in up to this step.
        units = np.minimum(units, e.facts.fed * (np.arange(e.depth - 1) // e.per + 1))
    entered = np.maximum(e.inputs.alignment, 1 / units)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.where(entered < 1, 1 - (1 - spread) / (1 - entered), math.nan)
        runs = np.where(np.isnan(spread), -math.inf, spread).max(axis=1, initial=-math.inf)
    if np.isnan(spread).all():
        return None
    known_ = ~np.isnan(spread)
    means = np.where(known_, spread, 0).sum(axis=0) / np.maximum(known_.sum(axis=0), 1)
    worst = int(means.argmax())
    ranks = e.column("effective_rank")
    text = f"the samples lie on few lines at {e.layer(worst)}: effective rank {ranks[worst]:.2f} of {batch} samples"
    working = (
        f"rank = (tr G)^2/|G|^2 = {ranks[worst]:.3f}; mean squared cosine (B/rank - 1)/(B - 1) less the squared mean "
        f"cosine = m, where x and the widths leave {entered[worst]:.3f}; (m - that)/(1 - that) = {means[worst]:.3f}. "
        f"It starts at {means[0]:.3f}."
    )
    layers = tuple(np.flatnonzero(means >= rule.least).tolist())
    return Hit(float(means[worst]), layers, share(runs, lambda r: r >= rule.least), text, working)


def _of_tokens(e: Evidence, rule: Rule) -> Hit | None:
    """Of the tokens of a sample, where it costs what queries and keys learn from."""
    norms = {name: e.values(f"log10_wgrad_norm_{name}") for name in "qkv"}
    blocks = np.flatnonzero(np.isfinite(norms["v"]).any(axis=0))
    if len(blocks) < 2:
        return None
    # Of the stream that a block gets: its queries and keys compare those tokens.
    ranks = e.values("token_rank")
    known = np.flatnonzero(np.isfinite(ranks).any(axis=0))
    before = [known[known < block] for block in blocks]
    seen = [i for i, rows in enumerate(before) if len(rows)]
    if not seen:
        return None
    at, entered = blocks[seen], [int(before[i][-1]) for i in seen]
    alike = (e.tokens / ranks[:, entered] - 1) / (e.tokens - 1)
    with np.errstate(invalid="ignore"):
        compared = np.maximum(norms["q"], norms["k"]) - norms["v"]
        left = 10 ** np.minimum(compared[:, at] - compared[:, blocks[:1]], 0)
    runs = np.minimum(alike, 1 - left)
    if not np.isfinite(runs).any():
        return None
    means = np.nanmean(runs, axis=0)
    worst = int(np.nanargmax(means))
    where, stream = int(at[worst]), float(e.backward.rms)
    fell = float(np.nanmean(compared[:, where] - compared[:, blocks[0]]))
    correlation = e.column("token_correlation")[entered[worst]]
    shown = f"1 - {1 - correlation:.1g}" if 0 < 1 - correlation < 1e-3 else f"{correlation:.3f}"
    text = (
        f"the tokens of a sample have a mean cosine of {shown} before {e.layer(where)}: beside W_V, the gradients of "
        f"W_Q and W_K fall {'to 0' if math.isinf(fell) else f'{power(-fell)}-fold'} from the first block on"
    )
    if abs(stream) < DECADES["warning"]:
        text += f", while {e.name('backward')} changes {power(abs(stream))}-fold: a plot of it shows nothing of this"
    square = f"{np.nanmean(alike[:, worst]):.4f}"
    working = (
        f"rank = (tr G)^2/|G|^2 = {e.column('token_rank')[entered[worst]]:.4g} of {e.tokens} tokens, mean squared "
        f"cosine (T/rank - 1)/(T - 1) = {square}; |dW_Q|, |dW_K| over |dW_V| against the first "
        f"block: 10^{fell:.2f}. The lesser of {square} and 1 - 10^{fell:.2f}: {means[worst]:.4f}."
    )
    layers = e.blocks(int(row) for row, mean in zip(at, means, strict=True) if mean >= rule.least)
    own = share(np.where(np.isnan(runs), -math.inf, runs).max(axis=1), lambda r: r >= rule.level(float(means[worst])))
    return Hit(float(means[worst]), layers, own, text, working)


RANK_COLLAPSE = Rule(
    id="rank_collapse",
    quantity=(
        "mean squared cosine of two samples less their squared mean cosine, in the worst layer, beyond that of x; "
        "of a transformer that of two tokens of a sample, or the share of their gradient that W_Q and W_K have lost "
        "beside W_V, whichever is less; 0 to 1"
    ),
    thresholds={"info": 0.5, "warning": 0.9, "critical": 0.99},
    why=(
        "Beyond one half the samples have an effective rank below 2 beside what they have in common. From 0.9 on they "
        "lie on a line, and all that tells two of them apart is one number. Equal tokens have equal logits, whatever "
        "W_Q and W_K are: these have a tenth of their gradient left, or a hundredth."
    ),
    reference=(
        "Daneshmand et al. 2020, arXiv:2003.01652; "
        + HANIN
        + "; of tokens Dong et al. 2021, arXiv:2103.03404, and Noci "
        "et al. 2022, arXiv:2206.03126"
    ),
    wrong=(
        "Fewer than 4 samples say nothing. One sample far larger than the others lowers the rank too: "
        "normalise the data."
    ),
    remedy="wider layers, orthogonal weights, batch norm, or a residual skip",
    remedies={
        "RNN": "recurrent_init='orthogonal', a wider state, or a norm of its z",
        "Transformer": (
            "skip='residual' with norm_position='pre', skip='deepnorm' or 'rezero', branches that start small "
            "(init='gpt2'), or fewer blocks"
        ),
    },
    formula=(
        "(B/rank - 1)/(B - 1) - c^2, of tokens (T/rank - 1)/(T - 1), with rank = (tr G)^2/|G|^2 of the Gram matrix of "
        "B samples or T tokens"
    ),
    picture=("effective_rank",),
    pictures={"Transformer": ("log10_wgrad_norm_q", "log10_wgrad_norm_v", "log10_dh_rms")},
    check=_rank,
    needs=("correlation", "effective_rank", "spec"),
    condition="collapsed",
)
