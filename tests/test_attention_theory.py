"""Theory of transformers in two numbers a sublayer, beside sums by hand, published ratios and measured nets."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import vgcore as vg
from vgcore.theory import participation, predict, token_collapse
from vgcore.theory.attention import Attention, Tokens


def net(depth: int = 12, **fields: Any) -> Any:
    """Blocks of width 128 over 8 tokens, by torch's inits if nothing else is said."""
    given: dict[str, Any] = {"tokens": 8, "ffn": 2, "init": "torch_transformer", "final_norm": None} | fields
    return vg.Transformer(depth, 128, **given)


def measured(nets: list[vg.Network], *, shared: bool) -> tuple[float, float]:
    """log10 of dL/dx over dL/dy, both rms: mean over nets, and its standard error. The cotangent is one for all tokens
    of a sample, or each token's own."""
    found = []
    for seed, each in enumerate(nets):
        rng, spec = np.random.default_rng(seed), each.spec
        assert isinstance(spec, vg.Transformer)
        x = rng.standard_normal((8, spec.tokens, spec.width))
        x /= np.sqrt((x**2).mean(axis=-1, keepdims=True))
        g = (
            np.tile(rng.standard_normal((8, 1, spec.width)), (1, spec.tokens, 1))
            if shared
            else rng.standard_normal(x.shape)
        )
        back = each.backward(x.reshape(8, -1), g.reshape(8, -1)).input
        found.append(np.log10((back**2).mean() / (g**2).mean()) / 2)
    return float(np.mean(found)), float(np.std(found, ddof=1) / math.sqrt(len(found)))


def allowed(error: float) -> float:
    """Decades that theory may be off: 0.05, or what so few nets leave open, two standard errors."""
    return max(0.05, 2 * error)


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


def uniformly(v: Tokens, tokens: int = 8) -> Attention:
    """Attention with queries of 0."""
    return Attention.of(tokens, 1.0, Tokens(0.0, 0.0), Tokens(1.0, 0.0), v)


def test_uniform_attention_adds_to_what_tokens_have_in_common_alone() -> None:
    # R4: q - p stays, and the square of the mean token grows (1 + v)-fold a layer.
    tokens, v, x = 8, 0.5, Tokens(1.0, 0.1)
    for _ in range(5):
        mean = (x.own + (tokens - 1) * x.shared) / tokens
        after = x.plus(uniformly(x).forward().times(v))
        assert after.own - after.shared == pytest.approx(x.own - x.shared, rel=1e-12)
        assert (after.own + (tokens - 1) * after.shared) / tokens == pytest.approx((1 + v) * mean, rel=1e-12)
        x = after


def test_what_attention_hands_back_has_the_sum_of_what_it_got() -> None:
    alike, g = Tokens(1.0, 0.3), Tokens(1.3, 0.4)
    queries, keys, values = Attention.of(8, 0.7, alike, alike, alike).backward(g)
    assert values.own + 7 * values.shared == pytest.approx(g.own + 7 * g.shared, rel=1e-12)
    assert keys.own + 7 * keys.shared == pytest.approx(0.0, abs=1e-15)
    assert queries.own > queries.shared > 0


def test_tokens_that_are_alike_teach_queries_and_keys_nothing() -> None:
    # R1: exactly 0, while the values learn.
    alike = Tokens(1.0, 1.0)
    queries, keys, values = Attention.of(8, 1.0, alike, alike, alike).backward(Tokens(1.0, 0.0))
    assert (queries.own, keys.own) == (0.0, 0.0)
    assert values.own == pytest.approx(1 / 8)


def test_uniform_attention_without_a_skip_makes_tokens_alike_at_once() -> None:
    # R2.
    assert uniformly(Tokens(1.0, 0.2)).forward().correlation == pytest.approx(1.0, abs=1e-12)


def test_what_goes_back_through_drawn_logits_is_the_sum_over_them() -> None:
    # One head of 48 features among 8 tokens, whose queries, keys and values are correlated and drawn.
    rng, tokens, features, nets = np.random.default_rng(0), 8, 48, 3000

    def drawn(x: Tokens) -> Any:
        common, own = rng.standard_normal((nets, 1, features)), rng.standard_normal((nets, tokens, features))
        return math.sqrt(x.shared) * common + math.sqrt(x.own - x.shared) * own

    of = {"q": Tokens(1.2, 0.3), "k": Tokens(0.9, 0.2), "v": Tokens(1.0, 0.5), "g": Tokens(1.0, 0.6)}
    q, k, v, g = (drawn(each) for each in of.values())
    a = np.exp(q @ k.transpose(0, 2, 1) / math.sqrt(features))
    a /= a.sum(axis=-1, keepdims=True)
    e = g @ v.transpose(0, 2, 1)
    dl = a * (e - (a * e).sum(axis=-1, keepdims=True)) / math.sqrt(features)
    found = [dl @ k, dl.transpose(0, 2, 1) @ q, a.transpose(0, 2, 1) @ g]
    predicted = Attention.of(tokens, 1.0, of["q"], of["k"], of["v"]).backward(of["g"])
    for back, told in zip(found, predicted, strict=True):
        total = (back.sum(axis=1) ** 2).mean()
        own = (back**2).mean()
        assert own == pytest.approx(told.own, rel=0.06)
        assert (total / tokens - own) / (tokens - 1) == pytest.approx(told.shared, abs=0.06 * told.own)


# Nets


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("position", ["post", "pre"])
def test_gradients_of_torchs_blocks_are_the_predicted_ones(position: str, shared: bool) -> None:
    spec = net(norm_position=position)
    found, error = measured([spec.init(seed=seed, dtype="float64") for seed in range(8)], shared=shared)
    assert found == pytest.approx(from_end_to_end(spec, shared=shared), abs=allowed(error))


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
            spec = net(depth, norm_position=position, final_norm="auto", init="xavier_normal")
            columns[position, depth] = predict(spec).log10_wgrad_norm[3::4]
    ratio = {each: 10 ** (columns[each, 6][-1] - columns[each, 24][-1]) for each in ("pre", "post")}
    assert 1.8 < ratio["pre"] < 2.3
    assert 0.9 < ratio["post"] < 1.1
    ends = {each: 10 ** (columns[each, 24][0] - columns[each, 24][-1]) for each in ("pre", "post")}
    assert ends["pre"] > 3
    assert ends["post"] < 1.2


SPECS: dict[str, dict[str, Any]] = {
    "pre": {},
    "post": {"norm_position": "post"},
    "rms and embedding": {"norm": "rms", "in_features": 96, "out_features": 4, "pool": "mean", "final_norm": "auto"},
    "last": {"out_features": 4, "pool": "last"},
    "rezero": {"skip": "rezero", "norm": None},
    "deepnorm": {"skip": "deepnorm", "norm_position": "post", "init": "deepnorm"},
    "qk_norm": {"qk_norm": True, "init": "xavier_normal"},
    "gelu": {"activation": "gelu", "init": "xavier_normal", "norm_position": "post"},
    "swiglu": {"activation": "swiglu"},
    "gpt2": {"init": "gpt2"},
}


@pytest.mark.parametrize("std", [0.005, 0.02, 0.3])
def test_queries_and_keys_of_any_size_have_the_predicted_gradients_behind_their_norm(std: float) -> None:
    spec = vg.Transformer(1, 128, tokens=8, qk_norm=True, init=f"normal(std={std})")
    p, predicted = vg.probe(spec, seeds=2, batch=32), predict(spec, batch=32)
    for column in ("log10_delta_rms", "log10_wgrad_norm"):
        for name in (column, *(f"{column}_{letter}" for letter in "qkv")):
            assert getattr(predicted, name)[0] == pytest.approx(getattr(p, name)[:, 0].mean(), abs=0.03), name


@pytest.mark.parametrize("name", SPECS)
def test_columns_of_transformers_are_the_predicted_ones(name: str) -> None:
    spec = net(4, **SPECS[name])
    # As many seeds as leave a standard error of less than half of what is allowed.
    p, predicted = vg.probe(spec, seeds=16, batch=32), predict(spec, batch=32)
    columns = ["log10_z_rms", "log10_a_rms", "log10_delta_rms", "log10_wgrad_norm", *predicted.extra]
    for column in columns:
        ours, theirs = getattr(predicted, column), getattr(p, column).mean(axis=0)
        there = np.isfinite(ours) & np.isfinite(theirs)
        limit = 0.03 if column == "token_correlation" else 0.05  # a cosine has no decades
        assert np.abs(ours[there] - theirs[there]).max(initial=0) < limit, column


def test_tokens_collapse_behind_post_norms_and_not_behind_pre_norms() -> None:
    post, pre = (net(norm_position=each, init="xavier_normal") for each in ("post", "pre"))
    depth = token_collapse(post)
    alike = predict(post.replace(depth=int(depth))).token_correlation[3::4]
    assert 1 - alike[-1] <= math.exp(-6) < 1 - alike[-2]
    assert math.isinf(token_collapse(pre))
    assert all(before < after for before, after in pairwise(alike))
    with pytest.raises(TypeError, match="a Transformer"):
        token_collapse(vg.MLP(depth=2, width=8))


@pytest.mark.parametrize("spread", [1.0, 4.0, 12.0])
@pytest.mark.parametrize("position", ["post", "pre"])
def test_large_logits_are_covered(position: str, spread: float) -> None:
    spec = net(6, norm_position=position, init=f"normal(std={(math.sqrt(spread) / 128) ** 0.5})")
    assert not predict(spec).doubt
    found, error = measured([spec.init(seed=seed, dtype="float64") for seed in range(6)], shared=False)
    assert found == pytest.approx(from_end_to_end(spec, shared=False), abs=allowed(error))


def test_theory_says_where_it_was_not_held_to_nets() -> None:
    assert not predict(net()).doubt
    assert "logits have a variance" in predict(net(init="normal(std=0.4)")).doubt
    assert "not few beside a width" in predict(net(40, init="lecun_normal", norm_position="post")).doubt
    with pytest.raises(ValueError, match="causal"):
        predict(net(causal=True))


@pytest.mark.parametrize(
    "fields",
    [{}, {"in_features": 3}, {"skip": None}, {"norm": None}, {"norm_position": "post"}, {"out_features": 2}],
    ids=str,
)
@pytest.mark.filterwarnings("error")
def test_weights_of_0_have_a_theory(fields: dict[str, Any]) -> None:
    spec = vg.Transformer(2, 8, init="zeros", **fields)
    predicted, p = predict(spec), vg.probe(spec, seeds=1)
    for name in ("log10_z_rms", "log10_h_rms"):
        theirs, ours = getattr(predicted, name), getattr(p, name)[0]
        there = ~np.isnan(ours)
        np.testing.assert_array_equal(np.isneginf(theirs)[there], np.isneginf(ours)[there], err_msg=name)
