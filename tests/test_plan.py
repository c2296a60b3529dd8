"""The plan of a spec: what product code asks of the core instead of working it out again."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given

import vgcore as vg
from strategies import INITS, nets, over_examples
from vgcore import _core, reference
from vgcore.model.kind import Activation, Init, Norm, Skip, Transform
from vgcore.model.mlp import DEFAULTS, FIELDS, KINDS
from vgcore.model.plan import Plan, Step
from vgcore.shell.nets import HELP
from vgcore.shell.tables import SOME

SKIPS = [None, "dense", "highway", *(f"residual(order={order})" for order in ("after", "linear", "post", "pre"))]


@pytest.mark.parametrize(
    ("skip", "activation"), [*((skip, "tanh") for skip in SKIPS), (None, "crelu"), ("dense", "crelu")]
)
def test_the_maps_of_a_plan_have_the_shapes_of_the_numbers(skip: str | None, activation: str) -> None:
    spec = vg.MLP(depth=4, width=6, skip=skip, block=2, activation=activation, in_features=5, out_features=3)
    plan, state = Plan.of(spec), spec.init().state_dict()
    maps = {step.key: step.map for step in steps_of(plan) if step.map is not None}
    assert [maps[f"layers.{l}"] for l in range(4)] == [layer.map for layer in plan.layers]
    assert maps["readout"] is plan.readout
    assert {f"{name}.weight": (each.fan_out, each.fan_in) for name, each in maps.items()} == {
        name: value.shape for name, value in state.items() if name.endswith("weight")
    }
    assert (plan.columns, plan.outputs) == (5, 3)
    assert [layer.output for layer in plan.layers[:-1]] == [layer.input for layer in plan.layers[1:]]


@over_examples
@given(nets())
def test_a_plan_is_the_twins(spec: vg.MLP | vg.Sequential) -> None:
    ours, twin = Plan.of(spec), reference.Plan.of(spec)
    for layer, other in zip(ours.layers, twin.layers[: spec.depth], strict=True):
        assert (layer.input, layer.output) == (other.input, other.output)
        assert (layer.map.fan_in, layer.width) == (other.map.inputs, other.map.outputs)
        assert layer.activation == other.kind
    theirs = [part for layer in twin.layers for part in layer.parts]
    steps = steps_of(ours)
    learned = {step.key for step in steps} | {step.fed for step in steps}
    assert learned - {None} == {name.rpartition(".")[0] for name, _ in _core.tensors(spec)}
    assert [(step.part, step.inputs, step.outputs) for step in steps] == [part_of(each) for each in theirs]
    for step, part in zip(steps, theirs, strict=True):
        if step.part == "join":
            starts = vg.Skip(part.kind).params.get("alpha", 1.0) if part.kind.startswith("rezero") else 1.0
            assert step.start == float(starts)
            assert step.scale == pytest.approx(part.number)
            assert (step.stream, step.map is None) == (part.stream, part.place is None)
        elif step.part in {"norm", "activation"}:
            assert step.kind == part.kind


def steps_of(plan: Plan) -> list[Step]:
    return [step for layer in plan.layers for step in layer.steps] + [*plan.ends]


def part_of(part: Any) -> tuple[str, int, int]:
    return part.name, part.inputs, part.outputs


@pytest.mark.parametrize("activation", ["crelu", "swiglu"])
@pytest.mark.parametrize("skip", ["residual(order=linear)", "rezero(order=linear)", "residual(order=pre)"])
def test_a_fed_net_begins_from_zeros_of_what_its_steps_give(skip: str, activation: str) -> None:
    spec = vg.MLP(depth=3, width=8, in_features=3, activation=activation, skip=skip, tied=True, inputs="every")
    ours, twin = Plan.of(spec), reference.Plan.of(spec)
    assert [layer.input for layer in ours.layers] == [layer.input for layer in twin.layers] == [8, 8, 8]
    assert spec.init().state_dict().keys() == reference.init(spec).keys()


@pytest.mark.parametrize("init", INITS)
def test_mean_and_variance_of_a_plan_are_those_of_the_numbers(init: str) -> None:
    # Weights of two nets, of other shapes, so that rules of fans differ.
    for fan_in, width in [(40, 120), (120, 40)]:
        spec = vg.MLP(depth=2, width=width, in_features=fan_in, init=init, bias="normal(std=0.2)", activation="tanh")
        drawn = np.stack([spec.init(seed=s, dtype="float64").state_dict()["layers.0.weight"] for s in range(5)])
        plan = Plan.of(spec)
        if plan.calibrates:
            continue
        at = plan.layers[0].map
        assert drawn.var() == pytest.approx(at.weight_variance, rel=0.04, abs=1e-15)
        close = 5 * np.sqrt(at.weight_variance / drawn.size) + 1e-15
        assert drawn.mean() == pytest.approx(at.weight_mean, abs=close)
        assert at.bias_mean == 0
        assert at.bias_variance == pytest.approx(0.04)


@pytest.mark.parametrize(
    ("fields", "parts"),
    [
        ({}, ("map", "activation")),
        ({"norm": "rms"}, ("map", "norm", "activation")),
        ({"norm": "rms", "norm_position": "post"}, ("map", "activation", "norm")),
        ({"skip": "residual"}, ("map", "activation", "join")),
        ({"skip": "residual(order=pre)", "norm": "layer"}, ("norm", "activation", "map", "join")),
        ({"skip": "residual(order=post)", "norm": "batch"}, ("map", "norm", "join", "activation")),
        ({"norm": "rms", "norm_position": "input"}, ("norm", "map", "activation")),
        ({"norm": [None, "rms"], "dropout": 0.1}, ("map", "norm", "activation", "dropout")),
        (
            {"norm": "rms", "norm_position": "input", "skip": "residual(order=pre)", "dropout": 0.1},
            ("activation", "norm", "map", "dropout", "join"),
        ),
    ],
)
def test_parts_stand_in_their_order(fields: dict[str, Any], parts: tuple[str, ...]) -> None:
    assert Plan.of(vg.MLP(depth=2, width=4, **fields)).layers[-1].parts == parts


def test_a_plan_knows_which_nets_know_their_depth() -> None:
    know = {init for init in vg.INITS if init in INITS and Plan.of(vg.MLP(depth=2, width=4, init=init)).knows_depth}
    assert know == {"fixup", "depth_mup", "gpt2", "deepnorm"}


def test_the_fields_of_a_spec_are_kinds_and_strings() -> None:
    spec = vg.MLP(
        depth=2,
        width=4,
        activation=["tanh", "leaky_relu(0.1)"],
        norm="layer",
        skip="residual",
        bias="zeros",
        weight_transform="spectral_norm",
    )
    kinds = {"norm": Norm, "skip": Skip, "bias": Init, "init": Init, "weight_transform": Transform}
    for name, kind in kinds.items():
        assert isinstance(getattr(spec, name), kind)
    assert isinstance(spec.activation, tuple)
    assert [(each.name, each.params) for each in spec.activation] == [
        ("tanh", {}),
        ("leaky_relu", {"negative_slope": 0.1}),
    ]
    assert all(isinstance(each, Activation) for each in spec.activation)
    assert spec.skip == "residual"
    assert spec.skip is not None
    assert (spec.skip.name, spec.skip.params["order"]) == ("residual", "after")
    assert repr(spec.norm) == repr(copy.deepcopy(spec.norm)) == "'layer'"
    assert repr(pickle.loads(pickle.dumps(spec.activation))) == repr(spec.activation)
    assert {spec.skip: 1}["residual"] == 1  # type: ignore[index]


def test_defaults_are_the_cores_and_the_shell_has_an_option_a_field() -> None:
    plain = vg.MLP(depth=1, width=1)
    assert {name: getattr(plain, name) for name in FIELDS} == DEFAULTS
    assert {*FIELDS} <= {*HELP}
    assert {*KINDS} == {"activation", "init", "bias", "norm", "skip", "weight_transform", "final_norm"}


def test_the_core_refuses_a_field_that_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="unknown field 'widht'"):
        _core.Spec({"widht": 3})
    with pytest.raises(TypeError, match="spec must be an MLP"):
        _core.plan("MLP")  # type: ignore[arg-type]


def test_a_column_that_a_plain_net_lacks_is_one_that_the_shell_leaves_out() -> None:
    plain = vg.probe(vg.MLP(depth=2, width=4), seeds=1)
    assert {name for name in _core.COLUMNS if np.isnan(getattr(plain, name)).all()} == {*SOME}
