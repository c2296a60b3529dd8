"""The description of a net: its values, its id, and what it refuses."""

import copy
import dataclasses
import itertools
import json
import os
import pickle
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import vgcore as vg
from strategies import EVERY_ACTIVATION, INITS
from vgcore.model.read import read_spec

PLAIN: dict[str, Any] = {"depth": 50, "width": 256, "activation": "tanh", "init": "xavier_normal"}
FULL: dict[str, Any] = {
    "depth": 4,
    "width": (8, 8, 8, 8),
    "in_features": 16,
    "out_features": 10,
    "activation": ("relu", "tanh", "leaky_relu(0.1)", "gelu(tanh)"),
    "init": vg.Init("mean_field", sigma_w=1.5, sigma_b=0.05),
    "bias": "normal(std=0.1)",
    "skip": "residual",
    "branch_scale": "1/sqrt(L)",
    "block": 2,
}
#: Norms, places, biases and dropout by layer: a stem, then blocks of two layers.
BLOCKS: dict[str, Any] = {
    "depth": 7,
    "width": [64, 256, 64],
    "in_features": 10,
    "out_features": 3,
    "stem": 1,
    "block": 2,
    "activation": ["linear", "gelu", "gelu"],
    "norm": [None, "layer(eps=1e-6)", None],
    "norm_position": ["pre", "input", "pre"],
    "bias": [None, False, "normal(std=0.1)", False],
    "skip": "residual(order=linear)",
    "final_norm": "rms",
    "dropout": [0.0, 0.1, 0.2],
}
NETS = [PLAIN, FULL, {"depth": 1, "width": 1}, BLOCKS]

#: Files in the wild are keyed by these: they stay for ever.
IDS = ["c9395400e23f02bf", "35669cf268202308", "f3466f3e4127761f", "2b06f41edd72b140"]

PARTS = [
    *("linear(8)", "keep(x)", "layer", "linear(16)", "leaky_relu(0.1)", "dropout(0.1)", "linear(8)", "add(x, 0.5)"),
    *("project(x)", "rms(eps=0.001)", "linear(3)"),
]
LISTS: list[dict[str, Any]] = [
    {"parts": ["linear(4)"], "in_features": 2},
    {"parts": PARTS, "in_features": 5, "init": "mean_field(1.5, 0.1)", "bias": False},
    {"parts": PARTS, "in_features": 5, "init": ["eye"] * 5, "bias": [None, False, "zeros", None, "ones"]},
]
LIST_IDS = ["b700566dae18e13a", "6363649a65f0c2c8", "67e59faca77f276c"]


def raised(**fields: Any) -> pytest.ExceptionInfo[Exception]:
    """What a small net with some fields changed raises."""
    with pytest.raises((ValueError, TypeError), match=r"^.{20,}") as info:
        vg.MLP(**{"depth": 3, "width": 4, **fields})
    return info


# Values


@pytest.mark.parametrize("fields", NETS)
def test_a_spec_is_frozen(fields: dict[str, Any]) -> None:
    spec = vg.MLP(**fields)
    for field in dataclasses.fields(vg.MLP):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(spec, field.name, getattr(spec, field.name))
        with pytest.raises(dataclasses.FrozenInstanceError):
            delattr(spec, field.name)
    assert spec == vg.MLP(**fields)


@pytest.mark.parametrize("fields", NETS)
@pytest.mark.parametrize(
    "copied",
    [
        lambda spec: pickle.loads(pickle.dumps(spec)),
        copy.copy,
        copy.deepcopy,
        dataclasses.replace,
        lambda spec: spec.replace(),
        lambda spec: vg.MLP.from_json(spec.to_json()),
        lambda spec: vg.MLP(**spec.to_dict()),
        lambda spec: vg.MLP(**json.loads(json.dumps(spec.to_dict()))),
    ],
)
def test_a_copy_is_the_same_spec_and_draws_the_same_net(fields: dict[str, Any], copied: Any) -> None:
    spec = vg.MLP(**fields)
    other = copied(spec)
    assert other == spec
    assert hash(other) == hash(spec)
    assert repr(other) == repr(spec)
    assert other.id == spec.id
    np.testing.assert_array_equal(
        other.init(seed=5).state_dict()["layers.0.weight"], spec.init(seed=5).state_dict()["layers.0.weight"]
    )


def test_specs_are_keys_of_a_dict() -> None:
    table = {vg.MLP(**fields): i for i, fields in enumerate(NETS)}
    assert [table[vg.MLP(**fields)] for fields in NETS] == [0, 1, 2, 3]


def test_replace_changes_what_it_names_and_nothing_else() -> None:
    spec = vg.MLP(**FULL)
    changed = spec.replace(activation="relu", init="zeros")
    assert changed.activation == "relu"
    assert changed.init == "zeros"
    rest = {name: value for name, value in spec.to_dict().items() if name not in {"activation", "init"}}
    assert {name: changed.to_dict()[name] for name in rest} == rest
    assert spec == vg.MLP(**FULL)


def test_a_subclass_may_have_fields_of_its_own() -> None:
    @dataclasses.dataclass(frozen=True)
    class Named(vg.MLP):
        label: str = ""

    named = Named(depth=2, width=4, activation="swish", label="mine")
    assert dataclasses.replace(named, depth=3).label == "mine"
    assert named.activation == "silu"
    assert named.id == vg.MLP(depth=2, width=4, activation="silu").id


def test_kinds_are_stored_in_canonical_spelling() -> None:
    spec = vg.MLP(**FULL)
    assert spec.activation == ("relu", "tanh", "leaky_relu(negative_slope=0.1)", "gelu(approximate=tanh)")
    assert spec.init == "mean_field(sigma_w=1.5, sigma_b=0.05)"
    assert spec.bias == "normal(std=0.1)"
    assert vg.MLP(depth=1, width=1, activation="swish").activation == "silu"
    assert vg.MLP(depth=1, width=1, activation="identity").activation == "linear"
    assert vg.MLP(depth=1, width=1, activation="logistic").activation == "sigmoid"


def test_a_kind_knows_its_name_and_all_its_parameters() -> None:
    leaky = vg.Activation("leaky_relu", negative_slope=0.1)
    assert (leaky.name, leaky.params) == ("leaky_relu", {"negative_slope": 0.1})
    assert vg.Activation("leaky_relu").params == {"negative_slope": 0.01}
    assert vg.Activation("softplus").params == {"beta": 1.0, "threshold": 20.0}
    assert vg.Activation("elu").params == {"alpha": 1.0}
    assert vg.Activation("gelu").params == {"approximate": "none"}
    assert vg.Init("mean_field").params == {"sigma_w": 1.0, "sigma_b": 0.0, "gain": 1.0}
    assert vg.Init("uniform").params == {"a": 0.0, "b": 1.0, "gain": 1.0}
    assert vg.Init("normal").params == {"mean": 0.0, "std": 1.0, "gain": 1.0}
    assert leaky == vg.Activation("leaky_relu(0.1)")
    assert leaky != vg.Activation("leaky_relu")
    assert len({leaky, vg.Activation(str(leaky)), pickle.loads(pickle.dumps(leaky))}) == 1


def test_the_tables_list_what_a_spec_takes() -> None:
    needed = {"linear", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "softplus"}
    assert needed <= set(vg.ACTIVATIONS)
    for activation in EVERY_ACTIVATION:
        assert str(vg.Activation(activation)) == vg.MLP(depth=1, width=2, activation=activation).activation
    for init in INITS:
        assert vg.MLP(depth=1, width=2, init=init).init == init
    for skip in vg.SKIPS:
        assert vg.MLP(depth=1, width=1, skip=skip).skip == skip
    for norm in vg.NORMS:
        assert vg.MLP(depth=1, width=1, norm=norm).norm == norm
    for transform in vg.WEIGHT_TRANSFORMS:
        assert vg.MLP(depth=1, width=1, weight_transform=transform).weight_transform == transform
    known = {"mse", "half_mse", "mae", "huber", "cross_entropy", "bce_with_logits", "hinge", "output_sum"}
    assert set(vg.LOSSES) == known


# The id


@pytest.mark.parametrize(("fields", "expected"), list(zip(NETS, IDS, strict=True)))
def test_an_id_never_changes(fields: dict[str, Any], expected: str) -> None:
    assert vg.MLP(**fields).id == expected


def test_an_id_is_the_same_in_every_process() -> None:
    # Without a fixed hash seed, each process has its own hash().
    code = "import sys, vgcore; print(vgcore.MLP.from_json(sys.argv[1]).id)"
    text = vg.MLP(**FULL).to_json()
    ids = [
        subprocess.run(
            [sys.executable, "-c", code, text],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    ]
    assert ids == [IDS[1]] * 2


@pytest.mark.parametrize(
    "fields",
    [
        {"width": (4, 4, 4)},
        {"width": [4, 4, 4]},
        {"width": np.int64(4)},
        {"depth": np.uint8(3)},
        {"in_features": 4},
        {"out_features": None},
        {"activation": "leaky_relu(0.01)"},
        {"activation": " leaky_relu( negative_slope = 1e-2 ) "},
        {"activation": vg.Activation("leaky_relu")},
        {"activation": ["leaky_relu"] * 3},
        {"init": "kaiming_normal"},
        {"init": vg.Init("kaiming_normal", a=0, mode="fan_in")},
        {"bias": None},
        # None stands for what the init brings, "zeros otherwise".
        {"bias": "zeros"},
        # They say nothing without a skip or a norm.
        {"block": 3},
        {"branch_scale": 0.5},
        {"norm_position": "post"},
    ],
)
def test_every_way_to_write_a_net_has_one_id(fields: dict[str, Any]) -> None:
    written = {"depth": 3, "width": 4, "activation": "leaky_relu", **fields}
    assert vg.MLP(**written).id == vg.MLP(depth=3, width=4, activation="leaky_relu").id


def test_different_nets_have_different_ids() -> None:
    nets: list[dict[str, Any]] = [
        {},
        {"depth": 5},
        {"width": 3},
        {"width": (3, 4, 4, 4)},
        {"width": (4, 3, 4, 4)},
        {"in_features": 3},
        {"out_features": 4},
        {"activation": "tanh"},
        {"activation": "leaky_relu"},
        {"activation": "leaky_relu(0.02)"},
        {"activation": ("relu", "relu", "relu", "tanh")},
        {"activation": ("tanh", "relu", "relu", "relu")},
        {"activation": "gelu"},
        {"activation": "gelu(tanh)"},
        {"init": "kaiming_uniform"},
        {"init": "kaiming_normal(mode=fan_out)"},
        {"init": "kaiming_normal(gain=1)"},
        {"init": "mean_field(sigma_w=1.5)"},
        {"init": "mean_field(sigma_w=1.5, sigma_b=0.05)"},
        {"bias": "torch_default"},
        {"bias": "normal"},
        {"skip": "residual"},
        {"skip": "residual", "block": 2},
        {"skip": "residual", "branch_scale": 0.1},
        {"skip": "residual", "branch_scale": "1/sqrt(L)", "block": 4},
    ]
    ids = [vg.MLP(**{"depth": 4, "width": 4, **fields}).id for fields in nets]
    assert len(set(ids)) == len(nets)
    assert all(re.fullmatch(r"[0-9a-f]{16}", spec_id) for spec_id in ids)


# What is refused. Every message names the argument, what is allowed and what was given.


@pytest.mark.parametrize(
    ("fields", "parts"),
    [
        ({"depth": 0}, ["depth", "1 to 1000000", "got 0"]),
        ({"depth": -1}, ["depth", "1 to 1000000", "got -1"]),
        ({"depth": 10**12}, ["depth", "1 to 1000000", "got 1000000000000"]),
        ({"depth": 10**60}, ["depth", "1 to 1000000", "got a number beyond 10^37"]),
        ({"width": 0}, ["width", "1 to 1000000", "got 0"]),
        ({"width": -5}, ["width", "1 to 1000000", "got -5"]),
        ({"width": (4, 0, 4)}, ["width[1]", "1 to 1000000", "got 0"]),
        ({"width": (4, 4)}, ["width", "3 layers", "got 2"]),
        ({"width": ()}, ["width", "3 layers", "got 0"]),
        ({"in_features": 0}, ["in_features", "1 to 1000000", "got 0"]),
        ({"out_features": 0}, ["out_features", "1 to 1000000", "got 0"]),
        ({"activation": ["relu", "tanh"]}, ["activation", "3 layers", "got 2"]),
        ({"activation": ["relu", "tahn", "relu"]}, ["activation", "'tahn'", "'tanh'"]),
        ({"activation": "reluu"}, ["activation", "'reluu'", "did you mean 'relu'?", *vg.ACTIVATIONS]),
        ({"activation": "ReLU "}, ["activation", "did you mean 'relu'?"]),
        ({"activation": "zzz"}, ["activation", "'zzz'", *vg.ACTIVATIONS]),
        ({"activation": ""}, ["activation", "''"]),
        ({"activation": "relu("}, ["activation", "relu("]),
        ({"activation": 'leaky_relu("x")'}, ["leaky_relu", "negative_slope", "number", "'x'"]),
        ({"activation": "leaky_relu(x)"}, ["leaky_relu", "negative_slope", "number", "'x'"]),
        ({"activation": "leaky_relu(nan)"}, ["leaky_relu", "negative_slope", "finite", "NaN"]),
        ({"activation": "leaky_relu(slop=1)"}, ["leaky_relu", "'slop'", "negative_slope"]),
        ({"activation": "leaky_relu(0.1, 0.2)"}, ["leaky_relu", "1 parameter"]),
        ({"activation": "relu(1)"}, ["relu", "parameter"]),
        ({"activation": "gelu(erf)"}, ["gelu", "approximate", "none", "tanh", "'erf'"]),
        ({"init": "xavier_norma"}, ["init", "'xavier_norma'", "did you mean 'xavier_normal'?", *vg.INITS]),
        ({"init": "xavier_normal(gain=nan)"}, ["xavier_normal", "gain", "finite", "NaN"]),
        ({"init": "xavier_normal(gain=inf)"}, ["xavier_normal", "gain", "finite", "inf"]),
        ({"init": "xavier_normal(gain=-1)"}, ["xavier_normal", "gain", "0 or more", "-1"]),
        ({"init": "xavier_normal(gian=1)"}, ["xavier_normal", "'gian'", "did you mean 'gain'?"]),
        ({"init": "kaiming_normal(mode=fan)"}, ["kaiming_normal", "mode", "fan_in", "fan_out", "'fan'"]),
        ({"init": "constant"}, ["constant", "value"]),
        ({"init": "mean_field(sigma_b=-1)"}, ["mean_field", "sigma_b", "0 or more", "-1"]),
        ({"bias": "orthogonal"}, ["bias", "zeros", "torch_default", "'orthogonal'"]),
        ({"bias": "zeroes"}, ["bias", "'zeroes'", "did you mean 'zeros'?"]),
        ({"norm": "layr"}, ["unknown norm 'layr'", "did you mean 'layer'?", *vg.NORMS]),
        ({"weight_transform": "spectral_nrm"}, ["unknown weight_transform", "'spectral_norm'"]),
        ({"inputs": "all"}, ["inputs", "'first' or 'every'", "'all'"]),
        ({"inputs": "every"}, ["inputs='every'", "tied=True"]),
        ({"norm_position": "mid"}, ["norm_position", "'pre'", "'post'", "'mid'"]),
        ({"skip": "residul"}, ["skip", "'residul'", "did you mean 'residual'?"]),
        ({"branch_scale": float("nan")}, ["branch_scale", "finite", "1/sqrt(L)", "NaN"]),
        ({"branch_scale": float("inf")}, ["branch_scale", "finite", "1/sqrt(L)", "inf"]),
        ({"branch_scale": "1/sqrt"}, ["branch_scale", "1/sqrt(L)", "'1/sqrt'"]),
        ({"block": 0}, ["block", "1 to", "got 0"]),
        ({"skip": "residual", "block": 2}, ["depth", "multiple of block=2", "got 3"]),
        ({"skip": "residual", "width": (4, 5, 5)}, ["4 before layer 2", "width[1]=5", "skip"]),
        ({"tied": True, "in_features": 3}, ["in_features", "share one weight matrix", "inputs='every'"]),
    ],
)
def test_a_wrong_value_is_refused_by_name(fields: dict[str, Any], parts: list[str]) -> None:
    error = raised(**fields)
    assert error.type is ValueError
    for part in parts:
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("fields", "parts"),
    [
        ({"depth": 2.0}, ["depth", "integer", "2.0"]),
        ({"depth": "3"}, ["depth", "integer", "'3'"]),
        ({"depth": None}, ["depth", "integer", "None"]),
        ({"depth": True}, ["depth", "integer", "True"]),
        ({"width": 4.0}, ["width", "integer", "4.0"]),
        ({"width": "4"}, ["width", "integer", "'4'"]),
        ({"width": None}, ["width", "integer", "None"]),
        ({"width": (4, 4.5, 4)}, ["width", "integer", "4.5"]),
        ({"in_features": 4.5}, ["in_features", "integer", "4.5"]),
        ({"out_features": "10"}, ["out_features", "integer", "'10'"]),
        ({"activation": None}, ["activation", "string", "None"]),
        ({"activation": 3}, ["activation", "string", "3"]),
        ({"activation": np.tanh}, ["activation", "string", "tanh"]),
        ({"init": 3}, ["init", "string", "3"]),
        ({"init": None}, ["init", "string", "None"]),
        ({"bias": 0.1}, ["bias", "string", "0.1"]),
        ({"norm_position": 1}, ["norm_position", "string", "1"]),
        ({"skip": 1}, ["skip", "string", "1"]),
        ({"branch_scale": [1]}, ["branch_scale", "number", "[1]"]),
        ({"block": 1.0}, ["block", "integer", "1.0"]),
        ({"tied": "no"}, ["tied", "bool", "'no'"]),
    ],
)
def test_a_wrong_type_is_refused_by_name(fields: dict[str, Any], parts: list[str]) -> None:
    error = raised(**fields)
    assert error.type is TypeError
    for part in parts:
        assert part in str(error.value)


def test_a_refused_name_is_never_its_own_suggestion() -> None:
    for field in ("activation", "init", "bias", "norm", "skip"):
        assert "did you mean 'none'?" not in str(raised(**{field: "none"}).value)


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda: vg.Activation("reluu"), ["activation", "did you mean 'relu'?"]),
        (lambda: vg.Activation("leaky_relu", negative_slope="x"), ["negative_slope", "number", "'x'"]),
        (lambda: vg.Activation("leaky_relu", slope=0.1), ["leaky_relu", "'slope'", "negative_slope"]),
        (lambda: vg.Init("xavier_normal", gain=float("nan")), ["gain", "finite", "NaN"]),
        (lambda: vg.Init("xavier_normal", gain=-1.0), ["gain", "0 or more", "-1"]),
        (lambda: vg.Init("kaiming_normal", mode="fan"), ["mode", "fan_in", "fan_out", "'fan'"]),
        (lambda: vg.Init("constant"), ["constant", "value"]),
    ],
)
def test_a_kind_refuses_bad_parameters_by_name(make: Any, parts: list[str]) -> None:
    with pytest.raises(ValueError, match=r"^.{20,}") as error:
        make()
    for part in parts:
        assert part in str(error.value)


def test_a_kind_must_be_a_name() -> None:
    not_a_name: Any = 3
    with pytest.raises(TypeError, match="activation must be a string, got 3"):
        vg.Activation(not_a_name)
    with pytest.raises(TypeError, match="init must be a string, got 3"):
        vg.Init(not_a_name)


def test_replace_and_json_refuse_unknown_fields_and_name_the_nearest() -> None:
    spec = vg.MLP(depth=3, width=4)
    with pytest.raises(ValueError, match=r"'actvation' \(did you mean 'activation'\?\).*depth, width"):
        spec.replace(actvation="relu")
    with pytest.raises(ValueError, match=r"'actvation' \(did you mean 'activation'\?\)"):
        vg.MLP.from_json('{"depth": 3, "width": 4, "actvation": "relu"}')
    with pytest.raises(ValueError, match="depth must be an integer from 1 to 1000000, got 0"):
        spec.replace(depth=0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "JSON object, got list"),
        ("{}", "needs depth and width"),
        ('{"depth": 3}', "needs width"),
        ("{", "Expecting"),
        ('{"depth": 3, "width": 4, "branch_scale": NaN}', "finite numbers, got NaN"),
    ],
)
def test_json_that_is_no_spec_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        vg.MLP.from_json(text)


def test_only_depth_is_positional() -> None:
    make: Any = vg.MLP
    with pytest.raises(TypeError, match="positional"):
        make(3, 4)
    assert make(3, width=4) == vg.MLP(depth=3, width=4)


# Skips


def test_a_first_block_of_another_width_has_no_skip_but_is_allowed() -> None:
    assert vg.MLP(depth=4, width=8, in_features=3, skip="residual", block=2).skip == "residual"
    assert vg.MLP(depth=4, width=(5, 8, 7, 8), in_features=3, skip="residual", block=2).skip == "residual"


def test_a_later_block_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match=r"got 8 before layer 3 and 9 after layer 4, whose width\[3\]=9"):
        vg.MLP(depth=4, width=(8, 8, 8, 9), skip="residual", block=2)


def test_limits_themselves_are_allowed() -> None:
    spec = vg.MLP(depth=10**6, width=10**6, in_features=10**6, out_features=10**6)
    assert vg.MLP.from_json(spec.to_json()) == spec


# Patterns and lists of parts


def test_a_pattern_is_the_net_that_it_spells() -> None:
    spelled = BLOCKS | {
        "width": [64, *[256, 64] * 3],
        "activation": ["linear", *["gelu"] * 6],
        "norm": [None, *["layer(eps=1e-6)", None] * 3],
        "norm_position": ["pre", *["input", "pre"] * 3],
        "bias": [None, *[False, "normal(std=0.1)"] * 3, False],
        "dropout": [0.0, *[0.1, 0.2] * 3],
    }
    one, other = vg.MLP(**BLOCKS), vg.MLP(**spelled)
    assert one.id == other.id
    assert one.sizes == "10 -> 64 -> 256 -> 64 (2 times more) -> 3"
    assert one.replace(depth=13).init().state_dict().keys() > one.init().state_dict().keys()
    for name, w in one.init(seed=3).state_dict().items():
        np.testing.assert_array_equal(w, other.init(seed=3).state_dict()[name])


def test_what_a_pattern_leaves_out_is_not_in_the_net() -> None:
    state = vg.MLP(**BLOCKS).init().state_dict()
    assert [name for name in state if name.startswith("norms")] == [
        f"norms.{l}.{name}" for l in (1, 3, 5) for name in ("weight", "bias")
    ]
    assert [name for name in state if name.startswith("layers") and name.endswith("bias")] == [
        f"layers.{l}.bias" for l in (0, 2, 4, 6)
    ]
    assert [*state][-2:] == ["final_norm.weight", "readout.weight"]
    probe = vg.probe(vg.MLP(**BLOCKS), seeds=1, batch=8)
    assert np.isnan(probe.log10_bgrad_norm[0]).tolist() == [False, True, False, True, False, True, False]


def test_dropout_changes_nothing_that_is_measured() -> None:
    spec = vg.MLP(**BLOCKS)
    one, other = (vg.probe(each, seeds=2, batch=8) for each in (spec, spec.replace(dropout=0.0)))
    np.testing.assert_array_equal(one.log10_wgrad_norm, other.log10_wgrad_norm)
    assert spec.id != spec.replace(dropout=0.0).id


@pytest.mark.parametrize("fields", LISTS)
@pytest.mark.parametrize(
    "copied",
    [
        lambda spec: pickle.loads(pickle.dumps(spec)),
        copy.copy,
        copy.deepcopy,
        lambda spec: spec.replace(),
        lambda spec: vg.Sequential.from_json(spec.to_json()),
        lambda spec: read_spec(spec.to_json()),
        lambda spec: vg.Sequential(**spec.to_dict()),
    ],
)
def test_a_copy_of_a_list_is_the_same_spec_and_draws_the_same_net(fields: dict[str, Any], copied: Any) -> None:
    spec = vg.Sequential(**fields)
    other = copied(spec)
    assert (other, hash(other), repr(other), other.id) == (spec, hash(spec), repr(spec), spec.id)
    again = vg.Network.from_state_dict(other, spec.init(seed=5).state_dict())
    for name, w in other.init(seed=5).state_dict().items():
        np.testing.assert_array_equal(w, again.state_dict()[name])


@pytest.mark.parametrize(("fields", "known"), [*zip(LISTS, LIST_IDS, strict=True)])
def test_the_ids_of_lists_stay(fields: dict[str, Any], known: str) -> None:
    assert vg.Sequential(**fields).id == known


def test_names_of_what_goes_around_are_no_part_of_a_net() -> None:
    named = [part.replace("(x", "(shortcut") for part in PARTS]
    assert vg.Sequential(named, in_features=5) == vg.Sequential(PARTS, in_features=5)


def test_a_list_of_the_parts_of_an_mlp_computes_what_the_mlp_does() -> None:
    mlp = vg.MLP(**BLOCKS | {"bias": None, "init": "xavier_normal"})
    block = ["keep({0})", "layer(eps=1e-6)", "linear(256)", "gelu", "dropout(0.1)", "linear(64)", "dropout(0.2)"]
    blocks = [part.format(l) for l in range(3) for part in [*block, "add({0})"]]
    twin = vg.Sequential(["linear(64)", *blocks, "rms", "linear(3)"], in_features=10, init="xavier_normal")
    ours, theirs = mlp.init(seed=1, dtype="float64"), twin.init(seed=1, dtype="float64")
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    x = np.random.default_rng(0).standard_normal((5, 10))
    np.testing.assert_array_equal(ours.forward(x), theirs.forward(x))
    one, other = (vg.probe(each, seeds=2, batch=8) for each in (mlp, twin))
    for name in ("log10_z_rms", "log10_delta_rms", "log10_wgrad_norm", "log10_h_rms", "log10_dh_rms"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def test_the_json_of_one_sort_of_spec_says_which_sort_it_is() -> None:
    with pytest.raises(ValueError, match=r"JSON of a Sequential; read it with Sequential\.from_json"):
        vg.MLP.from_json(vg.Sequential(**LISTS[0]).to_json())
    with pytest.raises(ValueError, match=r"JSON of an MLP; read it with MLP\.from_json"):
        vg.Sequential.from_json(vg.MLP(**PLAIN).to_json())
    specs = vg.MLP(depth=2, width=3), vg.Sequential(["linear(3)"], in_features=2), vg.RNN(2, 3), vg.Transformer(1, 4)
    for one, other in itertools.permutations(specs, 2):
        name = type(one).__name__
        with pytest.raises(ValueError, match=rf"JSON of an? {name}; read it with {name}\.from_json"):
            type(other).from_json(one.to_json())
    for spec in specs:
        with pytest.raises(ValueError, match="needs"):
            type(spec).from_json("{}")
    for spec in (vg.MLP(**BLOCKS), vg.Sequential(**LISTS[1]), *specs):
        assert read_spec(spec.to_json()) == spec


def test_a_sweep_varies_fields_and_no_parts() -> None:
    spec: Any = vg.Sequential(**LISTS[0])
    for call in (lambda: vg.sweep(spec, width=[3]), lambda: vg.train_sweep(spec, np.eye(2), lr=[0.1])):
        with pytest.raises(TypeError, match=r"spec must be an MLP,.* whose fields a sweep varies"):
            call()
    with pytest.raises(ValueError, match="unknown field 'depth'; choose from: parts, in_features, init, bias"):
        spec.replace(depth=3)


def test_an_activation_of_your_own_travels_in_the_json_of_a_list() -> None:
    bump = vg.Activation.from_samples("bump", [-1, 0, 1], [0, 1, 0])
    spec = vg.Sequential(["linear(3)", bump, "linear(2)"], in_features=2)
    document = json.loads(spec.to_json())
    assert [*document["tables"]] == [str(bump)]
    assert vg.Sequential.from_json(json.dumps(document)) == spec


def test_what_a_list_of_parts_measures_is_a_frame() -> None:
    spec = vg.Sequential(**LISTS[1])
    frame = vg.probe(spec, seeds=2, batch=8).to_dict()
    assert {*frame["depth"]} == {3}
    assert {*frame["width"]} == {"8 16 8"}
    assert frame["parts"][0] == " ".join(spec.parts)
    assert len(frame["layer"]) == 2 * 3
