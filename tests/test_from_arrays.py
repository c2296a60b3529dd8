"""Arrays become the net that they are, in either layout and any order of names; an open choice is refused."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vgcore as vg
from vgcore.convert.imported import NonFinite, Refusal

Arrays = dict[str, Any]


def of(
    sizes: tuple[int, ...], names: Callable[[int], tuple[str, str]], *, layout: str = "torch", bias: bool = True
) -> Arrays:
    """Maps between sizes under names of weight and bias."""
    draw = np.random.default_rng(0)
    found: Arrays = {}
    for k, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        weight, offset = names(k)
        w = draw.standard_normal((fan_out, fan_in)) / fan_in**0.5
        found[weight] = w.T if layout == "keras" else w
        if bias:
            found[offset] = draw.standard_normal(fan_out)
    return found


def torch_names(k: int) -> tuple[str, str]:
    return f"layers.{k}.weight", f"layers.{k}.bias"


def keras_names(k: int) -> tuple[str, str]:
    name = f"dense_{k}" if k else "dense"
    return f"{name}/kernel:0", f"{name}/bias:0"


def by_text(arrays: Arrays) -> Arrays:
    return {name: arrays[name] for name in sorted(arrays)}


def replayed(arrays: Arrays, activation: Callable[[Any], Any], layout: str, x: Any) -> Any:
    """A net of maps alone, in the order of the arrays."""
    maps = [a for a in arrays.values() if np.ndim(a) == 2]
    biases = [np.ravel(a) for a in arrays.values() if np.ndim(a) == 1]
    for k, w in enumerate(maps):
        x = x @ (w if layout == "keras" else w.T) + (biases[k] if biases else 0)
        x = activation(x) if k < len(maps) - 1 else x
    return x


def relu(x: Any) -> Any:
    return np.maximum(x, 0)


SIZES = (5, 8, 7, 3)
DEEP = (5, *(8,) * 12, 3)
SQUARE = (6, 6, 6, 6)


def with_norms(kind: str) -> Arrays:
    """Maps, each but the last with a norm, numbered as in a torch Sequential with activations between."""
    found: Arrays = {}
    ones = np.linspace(0.5, 1.5, 8)
    maps = of((5, 8, 8, 2), lambda k: (f"{3 * k}.weight", f"{3 * k}.bias"))
    for k in range(3):
        found |= {name: maps[name] for name in (f"{3 * k}.weight", f"{3 * k}.bias")}
        if k < 2:
            at = f"{3 * k + 1}"
            found[f"{at}.weight"] = ones
            if kind != "rms":
                found[f"{at}.bias"] = -ones
            if kind == "batch":
                found |= {
                    f"{at}.running_mean": ones,
                    f"{at}.running_var": ones,
                    f"{at}.num_batches_tracked": np.array(3),
                }
    return found


NORMED = vg.MLP(depth=2, width=8, in_features=5, out_features=2, norm="batch")
SKIPPED = vg.MLP(depth=3, width=6, in_features=6, out_features=2, skip="residual", norm="layer", activation="prelu")
TIED = vg.MLP(depth=5, width=6, tied=True)
PARTS = vg.Sequential(["keep(a)", "linear(9)", "tanh", "project(a)", "linear(2)"], in_features=5)


def renamed(spec: Any) -> Arrays:
    """The tensors of a spec under the names of a numbered list, in order."""
    state = spec.init(seed=3, dtype="float64").state_dict()
    modules = list(dict.fromkeys(name.rpartition(".")[0] for name in state))
    return {f"{modules.index(name.rpartition('.')[0])}.{name.rpartition('.')[2]}": a for name, a in state.items()}


# Arrays, arguments, and fields of the spec.
ACCEPTED: dict[str, tuple[Arrays, dict[str, Any], dict[str, Any]]] = {
    "torch": (of(SIZES, torch_names), {"activation": "relu"}, {"width": (8, 7), "in_features": 5, "out_features": 3}),
    "keras": (of(SIZES, keras_names, layout="keras"), {"activation": "relu"}, {"width": (8, 7), "in_features": 5}),
    "torch, said": (of(SQUARE, torch_names), {"activation": "relu", "layout": "torch"}, {"width": 6}),
    "keras, said": (of(SQUARE, keras_names, layout="keras"), {"activation": "relu", "layout": "keras"}, {"width": 6}),
    "ten after nine": (by_text(of(DEEP, torch_names)), {"activation": "tanh"}, {"depth": 12, "width": 8}),
    "ten after nine, keras": (by_text(of(DEEP, keras_names, layout="keras")), {"activation": "tanh"}, {"depth": 12}),
    "numbers in names": (of(SIZES, lambda k: (f"W{k + 1}", f"b{k + 1}")), {"activation": "relu"}, {"depth": 2}),
    "names with underscores": (of(SIZES, lambda k: (f"w_{k}", f"b_{k}")), {"activation": "relu"}, {"depth": 2}),
    "fc1, fc2": (of(SIZES, lambda k: (f"fc{k + 1}.weight", f"fc{k + 1}.bias")), {"activation": "relu"}, {"depth": 2}),
    "upper case": (of(SIZES, lambda k: (f"L{k}.WEIGHT", f"L{k}.BIAS")), {"activation": "relu"}, {"depth": 2}),
    "words in order": (
        of(SIZES, lambda k: (f"{('stem', 'body', 'head')[k]}.weight", f"{('stem', 'body', 'head')[k]}.bias")),
        {"activation": "relu"},
        {"depth": 2},
    ),
    "scikit-learn": (
        of(SIZES, lambda k: (f"coefs.{k}.coef", f"coefs.{k}.intercept"), layout="keras"),
        {"activation": "relu"},
        {"depth": 2},
    ),
    "no bias": (of(SIZES, torch_names, bias=False), {"activation": "relu"}, {"bias": False}),
    "one map": (of((5, 3), lambda _: ("weight", "bias")), {}, {"depth": 1, "width": 3}),
    "mappings within mappings": (
        {
            "params": {
                f"Dense_{k}": dict(
                    zip(("kernel", "bias"), of(SIZES[k : k + 2], torch_names, layout="keras").values(), strict=True)
                )
                for k in range(3)
            }
        },
        {"activation": "gelu(tanh)"},
        {"depth": 2, "activation": "gelu(approximate=tanh)"},
    ),
    "one activation a layer": (
        of(SIZES, torch_names),
        {"activation": ["relu", "tanh"]},
        {"activation": ("relu", "tanh")},
    ),
    "glu": (
        of((5, 8), torch_names) | {"layers.1.weight": np.ones((2, 4))},
        {"activation": "glu"},
        {"activation": "glu", "width": 8},
    ),
    "batch norm": (with_norms("batch"), {"activation": "relu"}, {"norm": "batch", "norm_position": "pre"}),
    "layer norm": (with_norms("layer"), {"activation": "relu"}, {"norm": "layer"}),
    "rms norm": (with_norms("rms"), {"activation": "relu"}, {"norm": "rms"}),
    "float32": (
        {k: v.astype(np.float32) for k, v in of(SIZES, torch_names).items()},
        {"activation": "relu"},
        {"depth": 2},
    ),
    "integers": ({"weight": np.arange(15).reshape(3, 5), "bias": np.arange(3)}, {}, {"depth": 1}),
    "lists": ({"weight": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]}, {"layout": "torch"}, {"width": 3}),
    "turned in memory": (
        {k: np.asfortranarray(v) for k, v in of(SIZES, torch_names).items()},
        {"activation": "relu"},
        {},
    ),
    "a counter beside": (of(SIZES, torch_names) | {"num_batches_tracked": np.array(7)}, {"activation": "relu"}, {}),
    "biases of two axes": (
        {k: v[None] if v.ndim == 1 else v for k, v in of(SIZES, torch_names).items()},
        {"activation": "relu"},
        {"depth": 2},
    ),
    "a spec by name": (NORMED.init(seed=1).state_dict(), {"spec": NORMED}, {"norm": "batch"}),
    "a spec in order": (with_norms("batch"), {"spec": NORMED}, {"norm": "batch"}),
    "a spec with skips": (renamed(SKIPPED), {"spec": SKIPPED, "layout": "torch"}, {"skip": "residual"}),
    "a tied spec": (
        {"cell.weight": np.eye(6) + 0.1 * np.triu(np.ones((6, 6))), "cell.bias": np.ones(6)},
        {"spec": TIED, "layout": "torch"},
        {"tied": True},
    ),
    "a spec of parts": (renamed(PARTS), {"spec": PARTS}, {"in_features": 5}),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_arrays_become_the_net_that_they_are(name: str) -> None:
    arrays, arguments, fields = ACCEPTED[name]
    found = vg.from_arrays(arrays, **arguments)
    assert {field: getattr(found.spec, field) for field in fields} == fields
    if "spec" in arguments:
        assert found.spec == arguments["spec"]


@pytest.mark.parametrize("layout", ["torch", "keras"])
@pytest.mark.parametrize("sizes", [SIZES, DEEP, (4, 9)])
def test_a_net_computes_what_its_arrays_say(sizes: tuple[int, ...], layout: str) -> None:
    arrays = of(sizes, torch_names if layout == "torch" else keras_names, layout=layout)
    x = np.random.default_rng(1).standard_normal((4, sizes[0]))
    ours = vg.from_arrays(by_text(arrays), activation="relu" if len(sizes) > 2 else None).network.forward(x)
    theirs = replayed(arrays, relu, layout, x)
    assert np.abs(ours - theirs).max() <= 1e-12 * np.abs(theirs).max()


SWAPPED = {"b.weight": np.eye(6), "a.weight": np.ones((6, 6)), "1x.bias": np.ones(6), "1x.weight": np.ones((6, 6))}
# Arrays, arguments, and words of the refusal.
REFUSED: dict[str, tuple[Arrays, dict[str, Any], str]] = {
    "a square net": (of(SQUARE, torch_names), {"activation": "relu"}, r"fit both as \(out, in\) and as \(in, out\)"),
    "one square map": ({"weight": np.eye(4)}, {}, "say layout='torch'"),
    "there and back": (of((3, 7, 3), torch_names, bias=False), {"activation": "relu"}, "fit both"),
    "no chain": (
        {"0.weight": np.ones((3, 5)), "1.weight": np.ones((4, 7))},
        {"activation": "relu"},
        "make no chain with no layout",
    ),
    "the other layout": (
        of(SIZES, torch_names),
        {"activation": "relu", "layout": "keras"},
        "no chain with layout='keras'",
    ),
    "two orders": (SWAPPED, {"activation": "relu", "layout": "torch"}, "fit in two orders"),
    "norms sorted to the end": (
        {f"Dense_{k}.{role}": a for k in range(2) for role, a in (("weight", np.ones((6, 6))), ("bias", np.ones(6)))}
        | {}
        | {"Norm_0.weight": np.ones(6), "Norm_0.bias": np.ones(6), "Dense_2.weight": np.ones((6, 6))},
        {"activation": "relu", "layout": "torch"},
        "two orders",
    ),
    "a bias of another length": ({"0.weight": np.ones((3, 5)), "0.bias": np.ones(4)}, {}, "make no chain"),
    "a norm of another length": (
        {"0.weight": np.ones((3, 5)), "1.weight": np.ones(4), "2.weight": np.ones((2, 3))},
        {"activation": "relu"},
        "make no chain",
    ),
    "no map": ({"a.bias": np.ones(3), "a.weight": np.ones(3)}, {}, "none is a map"),
    "nothing": ({}, {}, "none is a map"),
    "nothing within": ({"params": {}}, {}, "none is a map"),
    "a convolution": ({"weight": np.ones((3, 5, 3, 3))}, {}, "its shape"),
    "three axes": ({"w": np.ones((3, 5, 2))}, {}, "its shape"),
    "one number": ({"weight": np.ones((3, 5)), "alpha": np.array(2.0)}, {}, r"its shape \(\)"),
    "a bias alone": ({"0.weight": np.ones((3, 5)), "1.bias": np.ones(3)}, {}, "no weight beside it"),
    "two weights of a module": ({"0.weight": np.ones((3, 5)), "0.kernel": np.ones((5, 3))}, {}, "two tensors"),
    "two biases of a module": (
        {"0.weight": np.ones((3, 5)), "0.bias": np.ones(3), "0.beta": np.ones(3)},
        {},
        "two tensors say that they are its bias",
    ),
    "an empty map": ({"weight": np.ones((3, 0)), "bias": np.ones(3)}, {}, "its shape"),
    "attention": (
        {f"attn.{n}.weight": np.ones((6, 6)) for n in ("q", "k", "v")} | {"attn.out.weight": np.ones((6, 6))},
        {"activation": "relu", "layout": "torch"},
        "two orders",
    ),
    "an embedding": (
        {"0.embedding": np.ones((10, 4)), "1.weight": np.ones((3, 5))},
        {"activation": "relu"},
        "make no chain",
    ),
    "fewer maps than the spec": (of(SIZES[:3], torch_names), {"spec": NORMED}, "it has 2 maps, and the spec has 3"),
    "more maps than the spec": (of(DEEP, torch_names), {"spec": NORMED}, "it has 13 maps"),
    "no norms for the spec": (of((5, 8, 8, 2), torch_names), {"spec": NORMED}, "nothing is left for norms.0.weight"),
    "norms too many": (
        with_norms("layer"),
        {"spec": NORMED.replace(norm=None)},
        "the spec has no place for",
    ),
    "no biases for the spec": (
        of((5, 8, 8, 2), torch_names, bias=False),
        {"spec": NORMED.replace(norm=None)},
        "a spec says bias=False",
    ),
    "biases too many": (
        of((5, 8, 8, 2), torch_names),
        {"spec": NORMED.replace(norm=None, bias=False)},
        "the spec has no bias for",
    ),
    "other widths than the spec": (
        of((5, 9, 9, 2), torch_names),
        {"spec": NORMED.replace(norm=None)},
        "do not fit the spec",
    ),
    "a square spec": (
        of(SQUARE, lambda k: (f"{k}.weight", f"{k}.bias")),
        {"spec": vg.MLP(depth=2, width=6, out_features=6)},
        "fit the spec both|fit both",
    ),
    "the other layout for a spec": (
        of((5, 8, 8, 2), torch_names),
        {"spec": NORMED.replace(norm=None), "layout": "keras"},
        "do not fit the spec",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_arrays_that_leave_a_choice_open_or_make_no_net_are_refused(name: str) -> None:
    arrays, arguments, words = REFUSED[name]
    with pytest.raises(Refusal, match=words) as caught:
        vg.from_arrays(arrays, **arguments)
    assert caught.value.nearest


def test_at_least_thirty_mappings_are_accepted_and_thirty_refused() -> None:
    assert min(len(ACCEPTED), len(REFUSED)) >= 30


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({}, ValueError, "activation must say what stands between the 3 maps"),
        ({"activation": ["relu"]}, ValueError, "one a hidden layer, got 1"),
        ({"activation": "rleu"}, ValueError, "did you mean"),
        ({"activation": 3}, TypeError, "activation must be"),
        ({"activation": "relu", "layout": "tf"}, ValueError, "unknown layout"),
        ({"activation": "relu", "layout": 1}, TypeError, "layout"),
        ({"activation": "relu", "spec": NORMED}, ValueError, "where spec says it"),
        ({"spec": "MLP"}, TypeError, "spec must be"),
    ],
)
def test_arguments_are_checked_by_name(arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        vg.from_arrays(of(SIZES, torch_names), **arguments)


@pytest.mark.parametrize("odd", [None, 3, [np.eye(2)], {1: np.eye(2)}, {"w": "text"}, {"w": np.eye(2, dtype=complex)}])
def test_what_is_no_mapping_of_arrays_is_a_type_error(odd: Any) -> None:
    with pytest.raises(TypeError, match="mapping"):
        vg.from_arrays(odd)


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_files_are_read_as_the_arrays_in_them(suffix: str, tmp_path: Path) -> None:
    arrays, file = of(DEEP, torch_names), tmp_path / f"net.{suffix}"
    if suffix == "npz":
        np.savez(file, **arrays)
    else:
        safetensors = pytest.importorskip("safetensors.numpy", reason="a file of safetensors is written by safetensors")
        safetensors.save_file({name: np.ascontiguousarray(a) for name, a in arrays.items()}, file)
    x = np.ones((2, 5))
    for path in (file, str(file)):
        ours = vg.from_arrays(path, activation="relu").network.forward(x)
        assert np.array_equal(ours, vg.from_arrays(arrays, activation="relu").network.forward(x))


@pytest.mark.parametrize("name", ["net.pt", "net.h5", "net", ""])
def test_files_of_another_sort_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="mapping must be the path"):
        vg.from_arrays(name)


def test_arrays_that_are_not_finite_are_counted_by_name() -> None:
    arrays = of(SIZES, torch_names)
    arrays["layers.2.weight"][0, 0], arrays["layers.0.bias"][:2] = np.inf, np.nan
    with pytest.raises(NonFinite, match=r"layers\.0\.bias \(2 nan, 0 inf of 8\)") as caught:
        vg.from_arrays(arrays, activation="relu")
    assert list(caught.value.tensors) == ["layers.0.bias", "layers.2.weight"]


def test_notes_say_the_layout_and_what_arrays_do_not_have() -> None:
    notes = vg.from_arrays(with_norms("batch"), activation="relu").notes
    assert any("(out, in)" in note for note in notes)
    assert any("eps=1e-05" in note for note in notes)
    assert any("running ones are dropped" in note for note in notes)


def test_the_arrays_given_stay_as_they_are() -> None:
    arrays = of(SIZES, torch_names)
    before = {name: a.copy() for name, a in arrays.items()}
    vg.from_arrays(arrays, activation="relu")
    assert all(np.array_equal(arrays[name], before[name]) for name in arrays)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_a_file_that_is_cut_is_said_not_to_be_whole(tmp_path: Path, suffix: str) -> None:
    place = tmp_path / f"net{suffix}"
    arrays = {"a.weight": np.ones((40, 30)), "b.weight": np.ones((2, 40))}
    if suffix == ".npz":
        np.savez(place, **arrays)  # type: ignore[arg-type]  # of the stubs of NumPy
    else:
        pytest.importorskip("safetensors.numpy").save_file(arrays, place)
    whole = place.read_bytes()
    for length in (0, 3, 20, len(whole) // 2, len(whole) - 1):
        place.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=rf" is no \{suffix} file of arrays, or is not whole: "):
            vg.from_arrays(place, activation="tanh")
