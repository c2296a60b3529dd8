"""Transformers: gradients, published collapses and conservations, torch's modules, and what a spec refuses."""

import json
import os
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vgcore as vg
from strategies import Position, over_examples, transformers
from vgcore import reference
from vgcore.model.plan import Plan

Array = npt.NDArray[Any]
COLUMNS = ("attention_entropy", "logit_std", "token_correlation", "token_rank")


def normals(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


@over_examples
@given(transformers(), st.integers(0, 5), st.sampled_from([None, "cross_entropy", "mse"]))
def test_gradients_are_those_of_differences(spec: vg.Transformer, seed: int, loss: str | None) -> None:
    batch = 2 if spec.skip != "rezero" else 3
    errors = vg.gradcheck(spec, batch=batch, seed=seed, loss=loss)
    assert max(errors.values()) < 1e-6, errors


@over_examples
@given(transformers(), st.integers(0, 3))
def test_a_token_of_a_causal_net_has_no_gradient_by_later_ones(spec: vg.Transformer, seed: int) -> None:
    spec = spec.replace(causal=True, pool=None, tokens=5, bias=None, norm=spec.norm)
    net = spec.init(seed=seed, dtype="float64")
    features = spec.in_features or spec.width
    x, cotangent = normals(3, 5, features), np.zeros((3, 5, spec.out_features or spec.width))
    cotangent[:, 2] = 1
    found = net.backward(x, cotangent.reshape(3, -1)).input
    assert np.all(found[:, 3:] == 0)


def test_samples_may_be_flat_and_do_not_see_each_other() -> None:
    spec = vg.Transformer(2, 8, heads=2, tokens=5, in_features=3, out_features=2)
    net, x = spec.init(seed=1, dtype="float64"), normals(7, 5, 3)
    whole = net.forward(x)
    assert whole.shape == (7, 10)
    assert np.array_equal(whole, net.forward(x.reshape(7, 15)))
    assert np.allclose(whole[3:4], net.forward(x[3:4]), rtol=1e-13, atol=1e-14)
    pooled = vg.Network.from_state_dict(spec.replace(pool="mean"), net.state_dict()).forward(x)
    # The readout is linear: the mean of its outputs is that of the mean.
    assert np.allclose(pooled, whole.reshape(7, 5, 2).mean(axis=1), rtol=1e-12, atol=1e-13)
    last = vg.Network.from_state_dict(spec.replace(pool="last"), net.state_dict()).forward(x)
    assert np.allclose(last, whole[:, -2:], rtol=1e-13)


def test_a_probe_has_a_row_for_every_map_and_columns_of_attention() -> None:
    spec = vg.Transformer(2, 8, heads=2, tokens=5, in_features=3)
    probe = vg.probe(spec, batch=6, seeds=3)
    names = ["self_attn.in_proj", "self_attn.out_proj", "linear1", "linear2"]
    assert list(spec.row_names) == ["embedding", *(f"layers.{b}.{name}" for b in (0, 1) for name in names)]
    blocks = [f"log10_{what}_{block}" for what in ("z_rms", "delta_rms", "wgrad_norm") for block in "qkv"]
    assert set(probe.extra) == {*COLUMNS, *blocks}
    for name in ("attention_entropy", "logit_std", *blocks):
        assert np.isfinite(probe.extra[name]).tolist() == [[row in {1, 5} for row in range(9)]] * 3, name
    for column in (probe.log10_h_rms, probe.log10_dh_rms, probe.token_correlation, probe.token_rank):
        assert np.isfinite(column).tolist() == [[row in {0, 2, 4, 6, 8} for row in range(9)]] * 3
    # The blocks are those of the whole.
    together = np.log10(sum(100 ** probe.extra[f"log10_wgrad_norm_{block}"][:, 1] for block in "qkv")) / 2
    assert np.allclose(together, probe.log10_wgrad_norm[:, 1], atol=1e-5)


def test_columns_are_what_their_names_say() -> None:
    spec = vg.Transformer(1, 6, heads=2, tokens=4, causal=True)
    net, x = spec.init(seed=0, dtype="float64"), normals(3, 4, 6)
    probe = vg.probe(net, x=x)
    state = net.state_dict()
    h = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    q, k, _ = np.split(h @ state["layers.0.self_attn.in_proj.weight"].T, 3, axis=-1)
    q, k = (a.reshape(3, 4, 2, 3).transpose(0, 2, 1, 3) for a in (q, k))
    logits = q @ k.transpose(0, 1, 3, 2) / np.sqrt(3)
    entropies, variances = [], []
    for of_head in logits.reshape(-1, 4, 4):
        for i in range(1, 4):
            seen = of_head[i, : i + 1]
            p = np.exp(seen) / np.exp(seen).sum()
            entropies.append(-(p * np.log(p)).sum() / np.log(i + 1))
            variances.append(seen.var())
    assert probe.attention_entropy[0, 0] == pytest.approx(np.mean(entropies), rel=1e-12)
    assert probe.logit_std[0, 0] == pytest.approx(np.sqrt(np.mean(variances)), rel=1e-12)
    stream = net.forward(x)  # whose final norm takes no mean of the tokens away
    last = vg.Network.from_state_dict(
        spec.replace(final_norm=None), {k: v for k, v in state.items() if "final" not in k}
    ).forward(x)
    assert stream.shape == last.shape
    tokens = last.reshape(3, 4, 6)
    unit = tokens / np.linalg.norm(tokens, axis=-1, keepdims=True)
    cosines = unit @ unit.transpose(0, 2, 1)
    assert probe.token_correlation[0, 3] == pytest.approx((cosines.sum((1, 2)) - 4).mean() / 12, rel=1e-11)
    gram = tokens @ tokens.transpose(0, 2, 1)
    ranks = np.trace(gram, axis1=1, axis2=2) ** 2 / (gram**2).sum((1, 2))
    assert probe.token_rank[0, 3] == pytest.approx(ranks.mean(), rel=1e-11)


@pytest.mark.parametrize("position", ["pre", "post"])
def test_equal_tokens_give_queries_and_keys_no_gradient(position: Position) -> None:
    """R1: exactly none in exact arithmetic."""
    spec = vg.Transformer(2, 16, heads=4, tokens=6, norm_position=position)
    x = np.repeat(normals(5, 1, 16), 6, axis=1)
    probe = vg.probe(spec.init(seed=0, dtype="float64"), x=x)
    for block in range(0, 8, 4):
        v = probe.extra["log10_wgrad_norm_v"][0, block]
        assert np.isfinite(v)
        assert probe.extra["log10_wgrad_norm_q"][0, block] < v - 12
        assert probe.extra["log10_wgrad_norm_k"][0, block] < v - 12
        # Where values are equal to the last bit, so is nothing left of their differences.
    assert probe.extra["log10_wgrad_norm_q"][0, 0] == -np.inf


def test_uniform_attention_without_a_skip_makes_all_tokens_equal() -> None:
    """R2."""
    spec = vg.Transformer(1, 16, heads=2, tokens=7, skip=None, final_norm=None)
    state = spec.init(seed=3, dtype="float64").state_dict()
    state["layers.0.self_attn.in_proj.weight"][:16] = 0
    probe = vg.probe(vg.Network.from_state_dict(spec, state), x=normals(4, 7, 16))
    assert probe.token_correlation[0, 1] == pytest.approx(1, abs=1e-12)
    assert probe.token_rank[0, 1] == pytest.approx(1, abs=1e-12)
    assert probe.attention_entropy[0, 0] == pytest.approx(1, abs=1e-14)


def test_rank_collapses_doubly_exponentially_while_the_stream_looks_healthy() -> None:
    """R3 (Dong et al. 2021): pure attention, Xavier, d 256, T 16, 4 heads."""
    layers = 9
    spec = vg.Transformer(layers, 256, heads=4, tokens=16, norm=None, skip=None, activation="linear", ffn=1)
    state = spec.init(seed=0, dtype="float64").state_dict()
    for b in range(layers):
        # The two maps of a token keep everything as it is.
        state[f"layers.{b}.linear1.weight"] = np.eye(256)
        state[f"layers.{b}.linear2.weight"] = np.eye(256)
    probe = vg.probe(vg.Network.from_state_dict(spec, state), x=normals(8, 16, 256))
    correlation = probe.token_correlation[0, 1::4]
    # With c the mean cosine, the deviation from the mean token is sqrt((1 - c) (1 - 1/T)) of the norm.
    deviation = np.sqrt(np.clip((1 - correlation) * 15 / 16, 0, None))
    assert deviation[2] < 1e-2 * deviation[1]
    # Behind the last block it is the cotangent, which no attention has averaged yet.
    dh = probe.log10_dh_rms[0, 1::4][:-1]
    assert len(dh) == 8
    assert np.ptp(dh) < 0.2
    q = probe.extra["log10_wgrad_norm_q"][0, 0::4]
    assert q[0] - q[3] > 6


def test_the_skip_conserves_what_tokens_differ_by() -> None:
    """R4: with uniform attention q - p stays and the mean token's square grows by 1 + v a block."""
    depth, d, tokens = 6, 64, 8
    spec = vg.Transformer(depth, d, heads=1, tokens=tokens, norm=None, activation="linear", ffn=1)
    sums = []
    for seed in range(24):
        state = spec.init(seed=seed, dtype="float64").state_dict()
        for b in range(depth):
            weight = normals(3 * d, d, seed=100 * seed + b) / np.sqrt(d)
            weight[: 2 * d] = 0
            state[f"layers.{b}.self_attn.in_proj.weight"] = weight
            state[f"layers.{b}.self_attn.out_proj.weight"] = normals(d, d, seed=7000 + 100 * seed + b) / np.sqrt(2 * d)
            state[f"layers.{b}.linear2.weight"][:] = 0
        x = normals(16, tokens, d, seed=seed)
        h = vg.Network.from_state_dict(spec, state).forward(x).reshape(x.shape)

        def differ(h: Array) -> float:
            return float(((h - h.mean(1, keepdims=True)) ** 2).mean())

        sums.append([differ(h) / differ(x), (h.mean(1) ** 2).mean() / (x.mean(1) ** 2).mean()])
    kept, grown = np.array(sums).T
    # What tokens differ by gets the same from all: not one digit changes but by rounding.
    assert np.allclose(kept, 1, rtol=1e-12)
    error = 5 * grown.std(ddof=1) / np.sqrt(len(grown))
    assert abs(grown.mean() - 1.5**depth) < error


def last_ffn(position: Position, depth: int) -> float:
    """The norm of dL/dW_2 of the last block, over seeds."""
    spec = vg.Transformer(depth, 128, heads=1, tokens=8, ffn=2, norm_position=position, init="xavier_normal")
    norms = []
    for seed in range(6):
        state = spec.init(seed=seed, dtype="float64").state_dict()
        for b in range(depth):
            state[f"layers.{b}.self_attn.in_proj.weight"][:256] = 0  # uniform
            for name, gain in (("linear1", 2), ("self_attn.out_proj", 1), ("linear2", 1)):
                w = state[f"layers.{b}.{name}.weight"]
                w *= np.sqrt(gain / w.shape[1]) / w.std()
        probe = vg.probe(vg.Network.from_state_dict(spec, state), x=normals(16, 8, 128, seed=seed), seed=seed)
        norms.append(10 ** probe.log10_wgrad_norm[0, -1])
    return float(np.sqrt(np.mean(np.square(norms))))


@pytest.mark.parametrize(("position", "low", "high"), [("pre", 1.8, 2.3), ("post", 0.9, 1.1)])
def test_the_gradient_of_the_last_map_falls_with_depth_where_norms_come_first(
    position: Position, low: float, high: float
) -> None:
    """R5 (Xiong et al. 2020): depth 6 over depth 24."""
    assert low < last_ffn(position, 6) / last_ffn(position, 24) < high


@pytest.mark.parametrize(("depth", "width"), [(24, 192), (100, 96)])
def test_deepnorm_keeps_gradients_at_any_depth(depth: int, width: int) -> None:
    """R7 (Wang et al. 2022)."""
    spec = vg.Transformer(
        depth, width, heads=4, tokens=8, ffn=2, norm_position="post", skip="deepnorm", init="deepnorm"
    )
    net = spec.init(seed=0)
    x = normals(8, 8, width)
    dh = vg.probe(net, x=x).log10_dh_rms[0, 3::4]
    assert abs(dh[0] - dh[-1]) < 0.05


ISA = """
import hashlib, numpy as np, vgcore as vg
spec = vg.Transformer(3, 24, heads=3, tokens=7, in_features=5, out_features=4, causal=True, qk_norm=True)
probe = vg.probe(spec, batch=9, seeds=2, threads={threads})
names = [*probe.extra, "log10_h_rms"]
values = [getattr(probe, name) for name in names]
x = np.random.default_rng(0).standard_normal((9, 7, 5)).astype("f4")
net = spec.init(seed=0)
y = net.forward(x, threads={threads})
found = net.backward(x, y, threads={threads}).parameters
for value in (*values, y, *found.values()):
    print(hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest())
"""


def bits(threads: int, isa: str = "") -> str:
    environment = os.environ | {"VGCORE_ISA": isa}
    done = subprocess.run(
        [sys.executable, "-c", ISA.format(threads=threads)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if isa and "VGCORE_ISA must be one of" in done.stderr:
        pytest.skip(f"this machine has no {isa}")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_bits_are_the_same_for_any_number_of_threads() -> None:
    assert bits(1) == bits(2)


@pytest.mark.parametrize("isa", ["avx2", "scalar"])
def test_instruction_sets_agree(isa: str) -> None:
    """Those that fuse to the last bit; the scalar one rounds twice, as everywhere in the kernel."""
    if isa == "avx2":
        assert bits(1) == bits(1, isa)
        return
    code = ISA.replace(
        "print(hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest())", "print(np.ravel(value).tolist())"
    )
    found = []
    for name in ("", "scalar"):
        done = subprocess.run(
            [sys.executable, "-c", code.format(threads=1)],
            env=os.environ | {"VGCORE_ISA": name},
            capture_output=True,
            text=True,
            check=True,
        )
        found.append(
            [json.loads(line.replace("nan", "NaN").replace("-inf", "-Infinity")) for line in done.stdout.splitlines()]
        )
    for one, two in zip(*found, strict=True):
        scale = np.nanmax(np.abs(np.array(one, float)))
        assert np.allclose(one, two, rtol=1e-4, atol=1e-5 * scale, equal_nan=True)


def test_a_deep_net_keeps_gradients_beyond_the_range_of_its_type() -> None:
    spec = vg.Transformer(60, 8, heads=2, tokens=3, skip=None, norm=None, init="xavier_normal(gain=0.1)", bias=False)
    probe = vg.probe(spec, batch=2, seeds=1)
    assert probe.log10_dh_rms[0, 1] < -60


def test_the_jacobian_is_that_of_differences() -> None:
    for pool in (None, "mean"):
        spec = vg.Transformer(2, 6, heads=2, tokens=3, in_features=2, out_features=2, pool=pool, init="xavier_normal")
        net, x = spec.init(seed=0, dtype="float64"), normals(3, 2)
        rows = []
        outputs = net.forward(x[None]).size
        for i in range(outputs):
            cotangent = np.zeros((1, outputs))
            cotangent[0, i] = 1
            rows.append(net.backward(x[None], cotangent).input.ravel())
        expected = np.linalg.svd(np.array(rows), compute_uv=False)
        found = 10 ** vg.jacobian(net, x=x).log10_singular_values.ravel()
        assert found.shape == (min(outputs, 6),)
        assert np.allclose(found, expected[: len(found)], rtol=1e-9, atol=1e-12)


def test_training_takes_targets_by_token_and_by_sample() -> None:
    x = normals(24, 4, 6)
    by_token = (x[:, :, 0] > 0).astype(int)
    spec = vg.Transformer(1, 8, heads=2, tokens=4, in_features=6, out_features=2)
    run = vg.train(spec, x, by_token, loss="cross_entropy", steps=60, batch=8, optimizer=vg.Adam(lr=0.01))
    assert run.loss[0, -1] < 0.6 * run.loss[0, 0]
    pooled = vg.train(spec.replace(pool="mean"), x, by_token[:, 0], steps=5, batch=8, optimizer=vg.Adam(lr=0.01))
    assert np.isfinite(pooled.loss).all()
    net = spec.init(seed=0, dtype="float64")
    loss = net.gradients(x, by_token, loss="cross_entropy").loss
    logits = net.forward(x).reshape(-1, 2)
    expected = -(logits - np.log(np.exp(logits).sum(1, keepdims=True)))[np.arange(96), by_token.ravel()].mean()
    assert loss == pytest.approx(expected, rel=1e-13)
    with pytest.raises(ValueError, match=r"y must be of shape \(batch, places\) = \(24, 4\)"):
        net.gradients(x, by_token[:, :3], loss="cross_entropy")


def test_specs_survive_json_pickles_and_copies() -> None:
    spec = vg.Transformer(
        2, 12, heads=3, tokens=5, in_features=4, out_features=2, pool="last", ffn=2, activation="swiglu", norm="rms",
        norm_position="post", skip="deepnorm", causal=True, qk_norm=True, final_norm="layer(eps=1e-6)", scale="mup",
        init="gpt2", bias=False,
    )  # fmt: skip
    assert vg.Transformer.from_json(spec.to_json()) == spec
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert hash(pickle.loads(pickle.dumps(spec))) == hash(spec)
    assert eval(repr(spec), {"Transformer": vg.Transformer}) == spec
    assert spec.replace(depth=3).depth == 3
    assert spec.replace(depth=3).id != spec.id
    assert vg.Transformer(2, 12, heads=3).id == vg.Transformer(2, 12, heads=3, in_features=12).id
    assert vg.Transformer(2, 12, heads=3).id != vg.Transformer(2, 12, heads=4).id
    from vgcore.model.read import read_spec

    assert read_spec(spec.to_json()) == spec
    with pytest.raises(ValueError, match=r"read it with MLP\.from_json"):
        vg.Transformer.from_json(vg.MLP(depth=2, width=3).to_json())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": 5}, "heads must be a divisor of width=12, for heads share it evenly, got 5"),
        ({"heads": 0}, "heads must be an integer from 1"),
        ({"depth": 0}, "depth must be an integer from 1"),
        ({"tokens": 0}, "tokens must be an integer from 1"),
        ({"ffn": 0}, "ffn must be an integer from 1"),
        ({"pool": "max"}, "pool must be 'mean' or 'last', got 'max'"),
        ({"skip": "highway"}, "skip must be 'residual', 'rezero' or 'deepnorm', got 'highway'"),
        ({"skip": "deepnorm"}, "goes with norm_position='post'"),
        ({"norm_position": "input"}, "norm_position must be 'pre' or 'post', got 'input'"),
        ({"scale": "sqrt"}, "scale must be 'standard' or 'mup'"),
        ({"norm": "lyer"}, "unknown norm 'lyer'"),
        ({"init": "gpt3"}, "unknown init 'gpt3'"),
        ({"width": 3, "heads": 1, "ffn": 1, "activation": "glu"}, "even, for half of the units are gates"),
    ],
)
def test_what_is_not_allowed_is_named_with_what_is(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        vg.Transformer(**({"depth": 1, "width": 12} | change))
    with pytest.raises(TypeError, match="tokens"):
        vg.Transformer(1, 12, tokens="many")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="causal"):
        vg.Transformer(1, 12, causal="yes")  # type: ignore[arg-type]


def test_samples_of_a_wrong_shape_are_refused_with_both_shapes_that_fit() -> None:
    net = vg.Transformer(1, 12, tokens=3).init(seed=0)
    with pytest.raises(ValueError, match=r"\(batch, tokens, in_features\) = \(batch, 3, 12\), or flat, \(batch, 36\)"):
        net.forward(np.zeros((2, 4, 12)))


def test_inits_by_name_are_what_their_sources_draw() -> None:
    def stds(init: str, **fields: Any) -> dict[str, Array]:
        spec = vg.Transformer(4, 96, heads=4, init=init, **fields)
        return spec.init(seed=0, dtype="float64").state_dict()

    torch = stds("torch_transformer")
    bound = np.sqrt(6 / (4 * 96))
    weight = torch["layers.1.self_attn.in_proj.weight"]
    assert 0.99 * bound < np.abs(weight).max() < bound
    assert np.all(torch["layers.1.self_attn.in_proj.bias"] == 0)
    assert np.all(torch["layers.1.self_attn.out_proj.bias"] == 0)
    assert np.abs(torch["layers.1.linear2.bias"]).max() == pytest.approx(1 / np.sqrt(384), rel=0.05)
    assert not np.array_equal(weight, torch["layers.0.self_attn.in_proj.weight"])
    alike = stds("torch_encoder")
    for name in ("self_attn.in_proj.weight", "self_attn.out_proj.weight", "linear1.weight", "linear1.bias"):
        assert np.array_equal(alike[f"layers.0.{name}"], alike[f"layers.3.{name}"])
    gpt2 = stds("gpt2")
    assert gpt2["layers.2.linear1.weight"].std() == pytest.approx(0.02, rel=0.02)
    assert gpt2["layers.2.linear2.weight"].std() == pytest.approx(0.02 / np.sqrt(8), rel=0.02)
    deep = stds("deepnorm", skip="deepnorm", norm_position="post")
    q, _, v = np.split(deep["layers.0.self_attn.in_proj.weight"], 3)
    assert q.std() == pytest.approx(np.sqrt(1 / 96), rel=0.02)
    assert v.std() == pytest.approx(32**-0.25 * np.sqrt(1 / 96), rel=0.02)
    orthogonal = stds("orthogonal")["layers.0.self_attn.in_proj.weight"]
    for block in np.split(orthogonal, 3):
        assert np.allclose(block @ block.T, np.eye(96), atol=1e-12)


def test_a_plan_names_the_parts_of_a_block() -> None:
    plan = Plan.of(vg.Transformer(1, 8, heads=2, tokens=4, causal=True, out_features=3, pool="mean"))
    assert [[step.part for step in layer.steps] for layer in plan.layers] == [
        ["keep", "norm", "map", "attention"],
        ["map", "join"],
        ["keep", "norm", "map", "activation"],
        ["map", "join"],
    ]
    assert [step.part for step in plan.ends] == ["norm", "pool", "map"]
    attention = plan.layers[0].steps[-1]
    assert (attention.heads, attention.tokens, attention.causal, attention.scale) == (2, 4, True, 0.5)
    assert plan.places == 1
    deep = Plan.of(vg.Transformer(8, 8, heads=2, norm_position="post", skip="deepnorm"))
    assert deep.layers[1].steps[1].around == pytest.approx(2.0)


# --- torch ---------------------------------------------------------------------------------------


def close(found: Array, expected: Array) -> None:
    expected = np.asarray(expected, float)
    assert np.abs(found - expected).max() <= 1e-10 * np.abs(expected).max()


@pytest.mark.parametrize("causal", [False, True])
def test_attention_is_that_of_torch(causal: bool) -> None:
    torch = pytest.importorskip("torch")
    d, heads, tokens, batch = 12, 3, 5, 4
    torch.manual_seed(0)
    theirs = torch.nn.MultiheadAttention(d, heads, batch_first=True, dtype=torch.float64)
    torch.nn.init.normal_(theirs.in_proj_bias)
    torch.nn.init.normal_(theirs.out_proj.bias)
    x = torch.randn(batch, tokens, d, dtype=torch.float64, requires_grad=True)
    mask = torch.triu(torch.ones(tokens, tokens, dtype=torch.bool), 1) if causal else None
    y, _ = theirs(x, x, x, attn_mask=mask)
    cotangent = torch.randn(batch, tokens, d, dtype=torch.float64)
    y.backward(cotangent)
    spec = vg.Transformer(1, d, heads=heads, tokens=tokens, norm=None, causal=causal, activation="linear", ffn=1)
    state = spec.init(seed=0, dtype="float64").state_dict()
    names = {"in_proj": ("in_proj_weight", "in_proj_bias"), "out_proj": ("out_proj.weight", "out_proj.bias")}
    given = dict(theirs.named_parameters())
    for ours, (weight, bias) in names.items():
        state[f"layers.0.self_attn.{ours}.weight"] = given[weight].detach().numpy()
        state[f"layers.0.self_attn.{ours}.bias"] = given[bias].detach().numpy()
    state["layers.0.linear2.weight"] = np.zeros((d, d))
    net = vg.Network.from_state_dict(spec, state)
    flat = x.detach().numpy()
    close(net.forward(flat).reshape(flat.shape) - flat, y.detach().numpy())
    found = net.backward(flat, cotangent.numpy().reshape(batch, -1))
    close(found.input - cotangent.numpy(), x.grad.numpy())
    for ours, (weight, bias) in names.items():
        close(found.parameters[f"layers.0.self_attn.{ours}.weight"], given[weight].grad.numpy())
        close(found.parameters[f"layers.0.self_attn.{ours}.bias"], given[bias].grad.numpy())


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("position", ["pre", "post"])
def test_encoder_layers_are_those_of_torch(position: Position, activation: str) -> None:
    torch = pytest.importorskip("torch")
    d, heads, tokens, batch, depth = 12, 4, 5, 3, 2
    torch.manual_seed(1)
    layer = torch.nn.TransformerEncoderLayer(
        d, heads, 2 * d, 0.0, activation, batch_first=True, norm_first=position == "pre", dtype=torch.float64
    )
    theirs = torch.nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x = torch.randn(batch, tokens, d, dtype=torch.float64, requires_grad=True)
    cotangent = torch.randn(batch, tokens, d, dtype=torch.float64)
    y = theirs(x)
    y.backward(cotangent)
    spec = vg.Transformer(
        depth, d, heads=heads, tokens=tokens, ffn=2, activation=activation, norm_position=position, final_norm=None,
        init="torch_encoder",
    )  # fmt: skip

    def ours(name: str) -> str:
        return name.replace("in_proj_", "in_proj.")

    net = vg.Network.from_state_dict(spec, {ours(name): p.detach().numpy() for name, p in theirs.named_parameters()})
    flat = x.detach().numpy()
    close(net.forward(flat).reshape(flat.shape), y.detach().numpy())
    found = net.backward(flat, cotangent.numpy().reshape(batch, -1))
    close(found.input, x.grad.numpy())
    for name, parameter in theirs.named_parameters():
        close(found.parameters[ours(name)], parameter.grad.numpy())


# --- The NumPy twin ------------------------------------------------------------------------------


@over_examples
@given(transformers(), st.integers(0, 3))
def test_the_twin_agrees(spec: vg.Transformer, seed: int) -> None:
    spec = spec.replace(width=spec.heads * 6)  # of few features, a norm leaves rounding
    net = spec.init(seed=seed, dtype="float64")
    state = net.state_dict()
    theirs = reference.init(spec, seed)
    assert list(state) == list(theirs)
    for name, value in theirs.items():
        np.testing.assert_allclose(state[name], value, rtol=1e-12, atol=1e-13, err_msg=name)
    x = normals(3, spec.tokens, spec.in_features or spec.width, seed=seed)
    cotangent = normals(*net.forward(x).shape, seed=9)
    ours, twin = net.backward(x, cotangent), reference.backward(spec, state, x, cotangent)
    y = reference.forward(spec, state, x)
    np.testing.assert_allclose(net.forward(x), y, rtol=1e-10, atol=1e-11 * np.abs(y).max())
    largest = max(np.abs(value).max() for value in twin.parameters.values())
    for name, value in twin.parameters.items():
        np.testing.assert_allclose(ours.parameters[name], value, rtol=1e-8, atol=1e-10 * largest, err_msg=name)
    np.testing.assert_allclose(ours.input, twin.input, rtol=1e-8, atol=1e-10 * np.abs(twin.input).max())
    for one, two in zip(ours.preactivations, twin.preactivations, strict=True):
        np.testing.assert_allclose(one.reshape(two.shape), two, rtol=1e-8, atol=1e-10 * largest)


@over_examples
@given(transformers(), st.integers(0, 3))
def test_the_twin_has_the_columns_of_a_probe(spec: vg.Transformer, seed: int) -> None:
    spec = spec.replace(width=spec.heads * 6)
    probe, twin = (
        vg.probe(spec, batch=4, seeds=2, seed=seed, dtype="float64"),
        reference.probe(spec, batch=4, seeds=2, seed=seed),
    )
    for name, value in twin.items():
        found = getattr(probe, name)
        with np.errstate(invalid="ignore"):
            # What is zero but for rounding is far below.
            low = (found < -12) & (value < -12) if name.startswith("log10") else np.zeros(found.shape, bool)
        np.testing.assert_allclose(np.where(low, 0, found), np.where(low, 0, value), atol=1e-8, rtol=1e-8, err_msg=name)
