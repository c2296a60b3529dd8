"""What holds of a spec of any sort: text, pickles, ids, files, stores and sweeps."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given

import vgcore as vg
from strategies import of_any_sort, over_examples, recurrents, transformers
from vgcore import _core, reference
from vgcore.measure.cells import Sweep
from vgcore.model.read import read_spec
from vgcore.model.sorts import FIELDS, TYPES, fields_of
from vgcore.plot import heatmap, lines
from vgcore.reference.cases import CELLS

SORTS = {sort.__name__: sort for sort in (vg.MLP, vg.Sequential, vg.RNN, vg.Transformer)}
ENDINGS = ["csv", "json", "parquet"]


def assert_same(ours: Iterable[vg.Probe], theirs: Iterable[vg.Probe]) -> None:
    """Every number of two sweeps has the same bits."""
    for one, other in zip(ours, theirs, strict=True):
        assert one.spec == other.spec
        assert one.spec.id == other.spec.id
        assert {*one.extra} == {*other.extra}
        for name in (*_core.COLUMNS, *one.extra, "loss_value", "log10_output_rms", "first_nonfinite", "seeds"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


@over_examples
@given(of_any_sort())
def test_a_spec_comes_back_from_text_and_pickles_with_its_id(spec: Any) -> None:
    sort = type(spec)
    for other in (
        sort.from_json(spec.to_json()),
        read_spec(spec.to_json()),
        pickle.loads(pickle.dumps(spec)),
        eval(repr(spec), SORTS),
    ):
        assert type(other) is sort
        assert other == spec
        assert (other.id, hash(other), other.rows) == (spec.id, hash(spec), spec.rows)
    assert len(spec.row_names) == spec.rows
    assert json.loads(spec.to_json()).keys() >= {*fields_of(spec)}


@over_examples
@given(recurrents() | transformers())
def test_a_store_keeps_specs_whole_and_every_number_of_them(
    tmp_path_factory: pytest.TempPathFactory, spec: Any
) -> None:
    folder = tmp_path_factory.mktemp("stores")
    asked: dict[str, Any] = {"seeds": 2, "batch": 3, "store": folder / "cells.vg", "width": [spec.width]}
    made = vg.sweep(spec, **asked)
    assert_same(made, vg.sweep(spec, width=[spec.width], seeds=2, batch=3))
    assert_same(made, vg.open_sweep(asked["store"]))
    assert_same(made, vg.sweep(spec, **asked))
    shutil.rmtree(folder)


@over_examples
@given(recurrents() | transformers())
def test_a_file_gives_back_specs_and_every_number_of_them(tmp_path_factory: pytest.TempPathFactory, spec: Any) -> None:
    folder = tmp_path_factory.mktemp("files")
    cells = Sweep((vg.probe(spec, seeds=2, batch=3),), (), 1)
    for ending in ENDINGS:
        cells.save(folder / f"cells.{ending}")
        assert_same(vg.read_sweep(folder / f"cells.{ending}"), cells)
    shutil.rmtree(folder)


def test_the_fields_of_each_sort_are_those_of_its_document() -> None:
    specs = vg.MLP(depth=2, width=4), vg.RNN(3, 4), vg.Transformer(1, 4)
    for spec in specs:
        assert set(fields_of(spec)) == {*spec.to_dict()} == {*TYPES[type(spec)]}
    assert {*FIELDS} == {name for spec in specs for name in spec.to_dict()}
    assert fields_of(vg.Sequential(["linear(2)"], in_features=2)) == ()


# Sweeps


@pytest.fixture(scope="module")
def recurrent() -> Sweep:
    return vg.sweep(vg.RNN(4, 6, out_features=2), steps=[4, 8], cell=["tanh", "lstm(forget_bias=2)", "gru"], seeds=2)


@pytest.fixture(scope="module")
def blocks() -> Sweep:
    return vg.sweep(vg.Transformer(1, 8, tokens=4), depth=[1, 3], norm_position=["pre", "post"], seeds=2)


#: Values of every sort of field, those that are None too.
GRIDS: dict[str, tuple[Any, dict[str, list[Any]]]] = {
    "cells": (vg.RNN(5, 6, in_features=2), {"cell": [*CELLS], "outputs": ["last"], "biases": [1, 2]}),
    "inits of gates": (
        vg.RNN(5, 6, cell="lstm(forget_bias=0)", init="kaiming_normal", out_features=2, outputs="every"),
        {"bias": [None, False, "normal(std=0.1)"], "norm": [None, "layer(eps=0.001)"], "truncate": [None, 2]},
    ),
    "layers": (vg.RNN(5, 6), {"layers": [1, 2], "recurrent_init": ["orthogonal", "normal(std=0.3)"], "width": [3, 4]}),
    "ends": (
        vg.Transformer(1, 8, tokens=4, in_features=3, out_features=2),
        {"pool": [None, "mean", "last"], "final_norm": ["auto", None, "rms"], "causal": [False, True]},
    ),
    "ways": (
        vg.Transformer(2, 8, tokens=4),
        {"skip": ["residual", None, "rezero"], "norm": ["layer", None, "rms"], "scale": ["standard", "mup"]},
    ),
    "deep": (
        vg.Transformer(2, 8, tokens=16, norm_position="post", skip="deepnorm"),
        {"init": ["deepnorm", "gpt2"], "activation": ["relu", "leaky_relu(0.3)", "swiglu"], "qk_norm": [False, True]},
    ),
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("name", GRIDS)
def test_a_sweep_comes_back_from_its_file(name: str, ending: str, tmp_path: Path) -> None:
    spec, grid = GRIDS[name]
    asked: dict[str, Any] = grid | {"seeds": 2, "batch": 4}
    made = vg.sweep(spec, **asked)
    made.save(tmp_path / f"first.{ending}")
    again = vg.read_sweep(tmp_path / f"first.{ending}")
    assert_same(again, made)
    assert {*again.varied} == {field for field, values in grid.items() if len(values) > 1}
    again.save(tmp_path / f"second.{ending}")
    if ending != "parquet":
        assert (tmp_path / f"first.{ending}").read_bytes() == (tmp_path / f"second.{ending}").read_bytes()
    assert {*made.to_dict()["net"]} == {type(spec).__name__}


def test_a_file_of_several_sorts_says_which_each_is(recurrent: Sweep, blocks: Sweep, tmp_path: Path) -> None:
    plain = vg.sweep(vg.MLP(depth=2, width=4), activation=["tanh", "leaky_relu"], seeds=2)
    mixed = recurrent + blocks + plain
    for ending in ENDINGS:
        mixed.save(tmp_path / f"mixed.{ending}")
        assert_same(vg.read_sweep(tmp_path / f"mixed.{ending}"), mixed)
    assert mixed.to_pandas().groupby("net").cell.nunique().to_dict() == {"MLP": 2, "RNN": 6, "Transformer": 4}
    assert "net" not in plain.to_dict()
    assert [type(cell.spec) for cell in mixed.select(depth=3)] == [vg.Transformer] * 2
    assert len(mixed.select(activation_negative_slope=0.01)) == 1


def test_a_file_of_an_unknown_sort_is_refused(recurrent: Sweep, tmp_path: Path) -> None:
    recurrent.save(tmp_path / "cells.csv")
    text = (tmp_path / "cells.csv").read_text(encoding="utf-8")
    (tmp_path / "cells.csv").write_text(text.replace(",RNN,", ",CNN,"), encoding="utf-8")
    with pytest.raises(ValueError, match="nets that this version of vgcore does not know: 'CNN'"):
        vg.read_sweep(tmp_path / "cells.csv")


def test_columns_of_frames_keep_the_names_that_fields_of_a_recurrent_net_have_too(recurrent: Sweep) -> None:
    columns = recurrent.to_dict()
    assert columns["cell"].tolist()[:5] == [0] * 5
    assert list(dict.fromkeys(columns["net_cell"])) == ["tanh", "lstm(forget_bias=2)", "gru"]
    assert {*columns["net_steps"].tolist()} == {4, 8}
    assert {*columns["cell_forget_bias"][columns["net_cell"] == "lstm(forget_bias=2)"]} == {2.0}


def test_cells_are_selected_by_fields_of_their_sort(recurrent: Sweep, blocks: Sweep) -> None:
    assert [cell.spec.steps for cell in recurrent.select(cell="lstm(forget_bias=2)")] == [4, 8]
    assert len(recurrent.select(cell_forget_bias=2, steps=8)) == 1
    assert [cell.spec.depth for cell in blocks.select(norm_position="post", final_norm="auto")] == [1, 3]
    with pytest.raises(ValueError, match=r"unknown field 'heads'; choose from: steps, width"):
        recurrent.select(heads=2)
    with pytest.raises(ValueError, match=r"unknown cell 'ltsm' \(did you mean 'lstm'\?\)"):
        recurrent.select(cell="ltsm")
    with pytest.raises(ValueError, match="unknown field 'depth'; choose from: steps, width"):
        vg.sweep(vg.RNN(3, 4), depth=[1, 2])
    with pytest.raises(TypeError, match="spec must be an MLP, an RNN or a Transformer"):
        vg.sweep(vg.Sequential(["linear(2)"], in_features=2))


def test_sweeps_print_as_tables_of_what_was_varied(recurrent: Sweep, blocks: Sweep) -> None:
    assert " steps  cell " in str(recurrent)
    assert " depth  norm position " in str(blocks)
    assert "lstm(forget_bias=2)" in recurrent._repr_html_()
    # The first step's own gradient of W is 0, for its state is.
    rows = recurrent.table()
    assert [row["first_gradient"] for row in rows] == [
        pytest.approx(cell.log10_summed_wgrad_norm[:, 0].mean()) for cell in recurrent
    ]


def test_pictures_go_along_steps_and_blocks(recurrent: Sweep, blocks: Sweep) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    assert lines(recurrent).get_xlabel() == heatmap(recurrent, y="cell").get_xlabel() == "steps"
    assert lines(blocks).get_xlabel() == heatmap(blocks, y="norm_position").get_xlabel() == "depth (blocks)"
    assert [label for label in lines(recurrent).get_legend_handles_labels()[1] if "," not in label][:3] == [
        "tanh", "lstm(forget_bias=2)", "gru",
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"steps is the same in all cells; vary it: sweep\(spec, steps="):
        lines(recurrent.select(steps=4))
    pyplot.close("all")


def test_trainings_of_sequences_are_swept(tmp_path: Path) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    x, y = vg.data.adding(6, 32)
    spec = vg.RNN(6, 8, in_features=2, out_features=1)
    asked: dict[str, Any] = {"cell": ["tanh", "lstm"], "lr": [0.1, 0.01], "steps": 8, "store": tmp_path / "runs.vg"}
    made = vg.train_sweep(spec, x, y, **asked)
    kept = vg.open_train_sweep(tmp_path / "runs.vg")
    for one, other in zip(made, kept, strict=True):
        assert one.spec == other.spec
        np.testing.assert_array_equal(one.loss, other.loss)
    chosen = made.select(cell="lstm", lr=0.1)
    assert [run.spec.cell for run in chosen] == ["lstm"]
    columns = made.to_dict()
    assert (columns["steps"][0], columns["net_steps"][0]) == (8, 6)
    assert columns["cell"].tolist() == [0, 1, 2, 3]
    assert lines(made, x="lr").get_legend_handles_labels()[1] == ["tanh", "lstm"]
    stacked = vg.Transformer(1, 8, tokens=6, in_features=2, out_features=1, pool="mean")
    both = vg.train_sweep(stacked, x, y, depth=[1, 2], norm_position=["pre", "post"], steps=8)
    assert " depth  norm position " in str(both)
    assert heatmap(both, y="norm_position").get_xlabel() == "depth (blocks)"
    pyplot.close("all")


@over_examples
@given(recurrents() | transformers())
def test_the_rows_of_a_probe_are_those_of_the_twin(spec: Any) -> None:
    probe, twin = vg.probe(spec, seeds=1, batch=4, dtype="float64"), reference.probe(spec, seeds=1, batch=4)
    np.testing.assert_allclose(probe.log10_z_rms, twin["log10_z_rms"], atol=1e-9)
    assert {*probe.extra} == {*spec.extra_columns}
