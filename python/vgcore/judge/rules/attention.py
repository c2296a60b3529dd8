"""Rules of transformers: attention that sees all alike or one token alone, and norms at depth."""

from __future__ import annotations

from typing import Any

import numpy as np

from vgcore.judge.evidence import Evidence, Floats
from vgcore.judge.rule import Hit, Rule, share

XIONG = "Xiong et al. 2020, arXiv:2002.04745"
ZHAI = "Zhai et al. 2023, arXiv:2303.06296"


def _spec(e: Evidence) -> Any:
    assert e.probe is not None  # noqa: S101 (as the rules need)
    return e.probe.spec


def _entropies(e: Evidence) -> tuple[Floats, tuple[int, ...]] | None:
    """Entropy of attention in units of the largest that there could be, `(runs, blocks)`, and the rows.

    Of the runs that have one in every block.
    """
    if e.tokens < 2:
        return None
    values = e.values("attention_entropy")
    rows = np.flatnonzero(np.isfinite(values).any(axis=0))
    runs = values[:, rows]
    runs = runs[np.isfinite(runs).all(axis=1)]
    return (runs, tuple(rows.tolist())) if runs.size else None


def _same(e: Evidence, rule: Rule) -> Hit | None:
    found = _entropies(e)
    if found is None:
        return None
    entropies, rows = found
    means = entropies.mean(axis=0)
    value = float(means.mean())
    spread = float(np.nanmean(e.column("logit_std")[list(rows)]))
    text = (
        f"attention sees all tokens alike: its entropy is {value:.4g} of the largest, with logits of std {spread:.2g}; "
        "queries and keys start as if they were not there"
    )
    working = f"entropy / ln T = {value:.5f} in the mean of {len(rows)} blocks, std of logits {spread:.3g}."
    layers = e.blocks(row for row, mean in zip(rows, means, strict=True) if mean >= rule.least)
    return Hit(value, layers, share(entropies.mean(axis=1), lambda r: r >= rule.least), text, working)


UNIFORM_ATTENTION = Rule(
    id="uniform_attention",
    quantity="entropy of attention over that of equal weights, mean over blocks; 0 to 1",
    thresholds={"info": 0.995},
    why=(
        "Logits with a std below a sixth: the gradients of W_Q and W_K are as small as the logits, and a "
        "block gives each token the mean of all values. GPT-2 and muP start so and train."
    ),
    reference="Noci et al. 2022, arXiv:2206.03126; Radford et al. 2019 for N(0, 0.02)",
    wrong="With a residual skip and a norm it is a usual start, and the first steps of Adam end it.",
    remedy="larger W_Q and W_K (init='xavier_uniform'), if queries are slow to learn",
    formula="- sum_j a_ij ln a_ij / ln T, mean over heads, samples, queries and blocks",
    picture=("attention_entropy",),
    check=_same,
    nets=("Transformer",),
)


def _single(e: Evidence, rule: Rule) -> Hit | None:
    found = _entropies(e)
    if found is None:
        return None
    entropies, rows = found
    lost = 1 - entropies
    means = lost.mean(axis=0)
    worst = int(means.argmax())
    value = float(means[worst])
    spread = float(e.column("logit_std")[rows[worst]])
    text = (
        f"attention of {e.layer(rows[worst])} sees one token alone: its entropy is {1 - value:.2g} of the largest, "
        f"with logits of std {spread:.3g}"
    )
    working = f"1 - entropy / ln T = {value:.4f}; softmax freezes where the variance of logits passes 2 ln T."
    layers = e.blocks(row for row, mean in zip(rows, means, strict=True) if mean >= rule.least)
    return Hit(value, layers, share(lost.max(axis=1), lambda r: r >= rule.level(value)), text, working)


ONE_HOT_ATTENTION = Rule(
    id="one_hot_attention",
    quantity="1 less the entropy of attention over that of equal weights, in the worst block; 0 to 1",
    thresholds={"warning": 0.6, "critical": 0.9},
    why=(
        "Where the variance of logits passes 2 ln T, at 0.43 for 8 tokens and 0.58 for 256, few weights are all there "
        "is, and the slope of softmax, a (1 - a), goes: queries and keys do not learn, and what is seen is decided by "
        "chance. 0.9 are logits of std 12."
    ),
    reference=ZHAI + " (entropy collapse); Giorlandino and Goldt 2025, arXiv:2505.24333",
    wrong="A trained net has sharp heads, which know what they look at. Causal attention counts in its own units.",
    remedy="qk_norm=True, smaller W_Q and W_K, a norm before attention, or scale='mup'",
    formula="1 + sum_j a_ij ln a_ij / ln T, mean over heads, samples and queries",
    picture=("attention_entropy", "logit_std"),
    check=_single,
    nets=("Transformer",),
    condition="saturated",
)


def _no_final(e: Evidence, _: Rule) -> Hit | None:
    spec = _spec(e)
    sums = spec.skip == "residual" and spec.norm is not None and spec.norm_position == "pre"
    plain = spec.final_norm is None
    if not (sums and plain):
        return None
    reached = e.column("log10_h_rms")
    reached = reached[np.isfinite(reached)]
    if not len(reached):
        return None  # No run was finite.
    grown = float(reached[-1])
    size = f"{10**grown:.3g}"
    text = f"no norm stands behind the last block: the stream arrives with the rms {size}, the sum of all branches"
    return Hit(1.0, (), 1.0, text, f"log10 of the stream's rms at the end: {grown:.3f}; 1, in every run.")


NO_FINAL_NORM = Rule(
    id="no_final_norm",
    quantity="1 where a stream of pre-norm blocks ends without a norm",
    thresholds={"info": 1.0},
    why="Branches add up to sqrt(blocks) and more; outputs and the first loss grow with depth.",
    reference=XIONG + "; torch's TransformerEncoder has a last norm only if it is given one",
    wrong="An init that scales branches down, such as gpt2, or a small readout keep outputs small all the same.",
    remedy="final_norm='layer'",
    formula="h_N = x + sum_l F_l(LN(h_l))",
    picture=("log10_h_rms",),
    check=_no_final,
    nets=("Transformer",),
    needs=("weights",),
)


def _post(e: Evidence, _: Rule) -> Hit | None:
    spec = _spec(e)
    if spec.norm is None or spec.norm_position != "post" or spec.skip != "residual" or spec.depth < 2:
        return None
    text = (
        f"{spec.depth} blocks have their norms behind the sums: the gradient of the last block does not shrink with "
        "depth, as it does with norms before the branches, and the first steps need a small rate"
    )
    working = (
        f"{spec.depth} blocks; of pre-norm the gradient of the last falls as 1/sqrt(depth), of post-norm it stays."
    )
    return Hit(float(spec.depth), (), 1.0, text, working)


DEEP_POST_NORM = Rule(
    id="deep_post_norm",
    quantity="blocks of a net with norms behind its sums",
    thresholds={"info": 6.0, "warning": 18.0},
    why="6 blocks need a warm-up (Xiong et al. 2020), 18 did not train with one (Liu et al. 2020).",
    reference=XIONG + "; Liu et al. 2020, arXiv:2004.08249",
    wrong="Small rates, long warm-ups and inits that scale branches down take it deeper.",
    remedy="norm_position='pre', skip='deepnorm', or a warm-up",
    formula="|dL/dW_2| of the last block: O(d sqrt(ln d)) post-norm, O(d sqrt(ln d / L)) pre-norm with a last norm",
    picture=("log10_wgrad_norm",),
    check=_post,
    nets=("Transformer",),
    needs=("weights",),
)
