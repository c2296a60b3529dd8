"""Theory of transformers in two numbers a sublayer, beside sums by hand, published ratios and measured nets."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import vgcore as vg
from vgcore.theory import participation, predict, token_collapse
from vgcore.theory.attention import Attention, Tokens

Transformer = pytest.importorskip("vgcore.model.transformer").Transformer


def net(depth: int = 12, **fields: Any) -> Any:
    """Blocks of width 128 over 8 tokens, by torch's inits if nothing else is said."""
    return Transformer(depth, 128, **{"tokens": 8, "ffn": 2, "init": "torch_transformer", "final_norm": None} | fields)


def uniform(spec: Any, seed: int) -> vg.Network:
    """A net whose queries are 0, so that every token looks at all alike."""
    state = {name: np.array(array) for name, array in spec.init(seed=seed, dtype="float64").state_dict().items()}
    for name, array in state.items():
        if name.endswith("in_proj.weight"):
            array[: spec.width] = 0
    return vg.Network.from_state_dict(spec, state)


def measured(nets: list[vg.Network], *, shared: bool) -> tuple[float, float]:
    """log10 of dL/dx over dL/dy, both rms: mean over nets, and its standard error. The cotangent is one for all tokens
    of a sample, or each token's own."""
    found = []
    for seed, each in enumerate(nets):
        rng, spec = np.random.default_rng(seed), each.spec
        x = rng.standard_normal((8, spec.tokens, spec.width))
        x /= np.sqrt((x**2).mean(axis=-1, keepdims=True))
        g = np.tile(rng.standard_normal((8, 1, spec.width)), (1, spec.tokens, 1)) if shared else rng.standard_normal(x.shape)
        back = each.backward(x.reshape(8, -1), g.reshape(8, -1)).x
        found.append(np.log10((back**2).mean() / (g**2).mean()) / 2)
    return float(np.mean(found)), float(np.std(found, ddof=1) / math.sqrt(len(found)))


# Sums by hand


@pytest.mark.parametrize("tokens", [2, 8, 64])
@pytest.mark.parametrize("spread", [0.0, 0.25, 1.0, 3.0, 20.0])
def test_the_weights_of_attention_are_spread_as_drawn_ones(spread: float, tokens: int) -> None:
    logits = math.sqrt(spread) * np.random.default_rng(0).standard_normal((40_000, tokens))
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    shares = (weights**2).sum(axis=1)
    assert participation(spread, tokens) == pytest.approx(shares.mean(), abs=5 * shares.std() / 200 + 1e-9)


def test_small_logits_spread_weights_as_their_exponential_says() -> None:
    assert participation(1e-4, 1000) * 1000 == pytest.approx(math.exp(1e-4), rel=1e-6)
    assert participation(3.0, 1) == 1.0


def test_uniform_attention_adds_to_what_tokens_have_in_common_alone() -> None:
    # R4: q - p stays, and the square of the mean token grows (1 + v)-fold a layer.
    tokens, v, x = 8, 0.5, Tokens(1.0, 0.1)
    attention = Attention(tokens, 1 / tokens, 1 / tokens)
    for _ in range(5):
        mean = (x.own + (tokens - 1) * x.shared) / tokens
        after = x.plus(attention.forward(x).times(v))
        assert after.own - after.shared == pytest.approx(x.own - x.shared, rel=1e-12)
        assert (after.own + (tokens - 1) * after.shared) / tokens == pytest.approx((1 + v) * mean, rel=1e-12)
        x = after


def test_what_attention_hands_back_has_the_sum_of_what_it_got() -> None:
    attention, g = Attention(8, 0.3, 0.2), Tokens(1.3, 0.4)
    back = attention.backward(g)
    assert back.own + 7 * back.shared == pytest.approx(g.own + 7 * g.shared, rel=1e-12)


def test_uniform_attention_without_a_skip_makes_tokens_alike_at_once() -> None:
    alike = Attention(8, 1 / 8, 1 / 8).forward(Tokens(1.0, 0.2))
    assert alike.correlation == pytest.approx(1.0, abs=1e-12)


# Nets


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("position", ["post", "pre"])
def test_gradients_of_torchs_blocks_are_the_predicted_ones(position: str, shared: bool) -> None:
    spec = net(norm_position=position)
    found, error = measured([spec.init(seed=seed) for seed in range(8)], shared=shared)
    assert found == pytest.approx(from_end_to_end(spec, shared=shared), abs=max(0.05, 2 * error))


def from_end_to_end(spec: Any, *, shared: bool) -> float:
    """log10 of dL/dx over dL/dy as theory has it."""
    from vgcore.theory.transformer import Walk

    walk = Walk(spec)
    walk.forward()
    g = walk.back_from(Tokens(1.0, float(shared)))
    return math.log10(g.own) / 2


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("depth", [24, 100])
def test_deepnorm_keeps_gradients_at_any_depth(depth: int, shared: bool) -> None:
    spec = net(depth, skip="deepnorm", norm_position="post", init="deepnorm", ffn=4)
    assert abs(from_end_to_end(spec, shared=False)) < 0.013
    assert abs(from_end_to_end(spec, shared=shared)) < 0.05


def test_the_last_weights_of_deep_nets_have_the_gradients_of_shallow_ones_only_behind_norms() -> None:
    # R5, Xiong et al. 2020: dL/dW_2 of the last block, 6 blocks over 24; and first over last block of 24.
    columns = {}
    for position in ("pre", "post"):
        for depth in (6, 24):
            spec = net(depth, norm_position=position, final_norm="auto", init="kaiming_normal")
            columns[position, depth] = predict(spec).log10_wgrad_norm[3::4]
    ratio = {each: 10 ** (columns[each, 6][-1] - columns[each, 24][-1]) for each in ("pre", "post")}
    assert 1.8 < ratio["pre"] < 2.3
    assert 0.9 < ratio["post"] < 1.1
    ends = {each: 10 ** (columns[each, 24][0] - columns[each, 24][-1]) for each in ("pre", "post")}
    assert ends["pre"] > 3
    assert ends["post"] < 1


SPECS = {
    "pre": {},
    "post": {"norm_position": "post"},
    "rms and embedding": {"norm": "rms", "in_features": 16, "out_features": 4, "pool": "mean", "final_norm": "auto"},
    "last": {"out_features": 4, "pool": "last"},
    "rezero": {"skip": "rezero", "norm": None},
    "deepnorm": {"skip": "deepnorm", "norm_position": "post", "init": "deepnorm"},
    "qk_norm": {"qk_norm": True, "init": "xavier_normal"},
    "gelu": {"activation": "gelu", "init": "xavier_normal", "norm_position": "post"},
    "swiglu": {"activation": "swiglu"},
    "gpt2": {"init": "gpt2"},
}


@pytest.mark.parametrize("name", SPECS)
def test_columns_of_transformers_are_the_predicted_ones(name: str) -> None:
    spec = net(4, **SPECS[name])
    p, predicted = vg.probe(spec, seeds=8, batch=32), predict(spec, batch=32)
    columns = ["log10_z_rms", "log10_a_rms", "log10_delta_rms", "log10_wgrad_norm", *predicted.extra]
    for column in columns:
        ours, theirs = getattr(predicted, column), getattr(p, column).mean(axis=0)
        there = np.isfinite(ours) & np.isfinite(theirs)
        limit = {"token_rank": 0.7, "logit_std": 0.1}.get(column, 0.06)
        assert np.abs(ours - theirs)[there].max(initial=0) < limit, column


def test_tokens_collapse_behind_post_norms_and_not_behind_pre_norms() -> None:
    post, pre = (net(norm_position=each, init="kaiming_normal") for each in ("post", "pre"))
    depth = token_collapse(post)
    alike = predict(post.replace(depth=int(depth))).token_correlation[3::4]
    assert 1 - alike[-1] <= math.exp(-6) < 1 - alike[-2]
    assert math.isinf(token_collapse(pre))
    assert all(before < after for before, after in pairwise(alike))
    with pytest.raises(TypeError, match="a Transformer"):
        token_collapse(vg.MLP(depth=2, width=8))


def test_theory_says_where_logits_are_too_large() -> None:
    assert not predict(net()).doubt
    assert "logits have a variance" in predict(net(init="normal(0.2)")).doubt
    with pytest.raises(ValueError, match="causal"):
        predict(net(causal=True))
