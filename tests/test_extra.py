"""Columns that only some nets have go wherever the columns of every net go."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vgcore as vg
from vgcore import _core
from vgcore.measure import block
from vgcore.measure.cells import Sweep
from vgcore.measure.extra import EXTRA, FAMILIES
from vgcore.measure.result import columns_of
from vgcore.measure.trace import Trace
from vgcore.plot.measured import COLUMN_LABELS
from vgcore.shell import tables
from vgcore.show.glossary import find

NAMES = ("log10_dc_rms", "share_cell", "log10_wgrad_norm_q")


def probe(seed: int = 0, names: tuple[str, ...] = NAMES, **fields: Any) -> vg.Probe:
    """A probe of a plain net, with numbers as a cell would note them: exact zeros, and rows without a number."""
    plain = vg.probe(vg.MLP(**{"depth": 5, "width": 8} | fields), seeds=2)
    random = np.random.default_rng(seed)
    extra = {name: random.normal(size=plain.log10_z_rms.shape) for name in names}
    for column in extra.values():
        column[0, 0], column[1, -1] = -np.inf, np.nan
    return dataclasses.replace(plain, extra=extra)


def same(one: vg.Probe, two: vg.Probe) -> bool:
    """Have both the same columns, to the last bit?"""
    mine, theirs = columns_of(one), columns_of(two)
    equal = all(np.array_equal(mine[name], theirs[name], equal_nan=True) for name in mine)
    return list(mine) == list(theirs) and equal


def test_a_net_of_plain_layers_has_no_columns_of_its_own() -> None:
    p = vg.probe(vg.MLP(depth=2, width=4), seeds=1)
    assert dict(p.extra) == {}
    assert list(columns_of(p)) == list(_core.COLUMNS)
    assert p.spec.extra_columns == ()


def test_a_column_is_an_attribute_and_read_only() -> None:
    p = probe()
    assert p.log10_dc_rms is p.extra["log10_dc_rms"]
    assert "share_cell" in dir(p)
    with pytest.raises(ValueError, match="read-only"):
        p.share_cell[0, 0] = 1
    with pytest.raises(TypeError):
        p.extra["share_cell"] = p.share_cell  # type: ignore[index]
    with pytest.raises(AttributeError, match="'share_f'; of its own the net has log10_dc_rms, share_cell, log10_wg"):
        _ = p.share_f
    with pytest.raises(AttributeError, match=r"a Probe has no attribute 'share_f'$"):
        _ = vg.probe(p.spec, seeds=1).share_f


def test_pickles_and_copies_hold_them_and_older_pickles_have_none() -> None:
    p = probe()
    assert same(pickle.loads(pickle.dumps(p)), p)
    assert same(copy.deepcopy(p), p)
    assert same(copy.copy(p), p)
    older = p.__getstate__()
    del older["extra"]
    restored = vg.Probe.__new__(vg.Probe)
    restored.__setstate__(older)
    assert dict(restored.extra) == {}


def test_a_block_of_a_store_holds_them_and_one_without_them_is_as_before() -> None:
    p = probe()
    fields = block.unpack(block.pack(p))
    assert list(fields["extra"]) == list(NAMES)
    assert same(vg.Probe(p.spec, **fields), p)
    assert not fields["extra"]["share_cell"].flags.writeable
    plain = dataclasses.replace(p, extra={})
    header = json.loads(block.pack(plain)[4:].partition(b"]]}")[0] + b"]]}")
    assert [name for name, *_ in header["arrays"]] == list(block.LAYOUT)


def test_frames_have_them_beside_the_others_and_nan_where_a_cell_has_none() -> None:
    p, plain = probe(), vg.probe(vg.MLP(depth=3, width=8), seeds=2)
    columns = Sweep((p, plain), ("depth",), 2).to_dict()
    assert np.array_equal(columns["share_cell"][:10], p.share_cell.ravel(), equal_nan=True)
    assert np.isnan(columns["share_cell"][10:]).all()
    assert list(p.to_pandas()["log10_dc_rms"][:1]) == [-np.inf]


@pytest.mark.parametrize("ending", ["csv", "json", "parquet"])
def test_files_give_back_every_bit_of_them(ending: str, tmp_path: Path) -> None:
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    s = Sweep((probe(1), probe(2, NAMES[:2], depth=3, skip="residual")), ("depth", "skip"), 2)
    s.save(tmp_path / f"runs.{ending}")
    again = vg.read_sweep(tmp_path / f"runs.{ending}")
    for one, two in zip(s, again, strict=True):
        assert {*one.extra} == {*two.extra}
        for name, column in one.extra.items():
            assert np.array_equal(column, two.extra[name], equal_nan=True)


def test_a_column_of_a_file_that_no_net_has_is_still_refused(tmp_path: Path) -> None:
    Sweep((probe(),), (), 1).save(tmp_path / "runs.csv")
    text = (tmp_path / "runs.csv").read_text(encoding="utf-8")
    (tmp_path / "runs.csv").write_text(text.replace("share_cell", "share_sell", 1), encoding="utf-8")
    with pytest.raises(ValueError, match="unknown columns: 'share_sell'"):
        vg.read_sweep(tmp_path / "runs.csv")


def test_the_trace_has_them_and_a_picture_draws_them() -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    p = probe()
    assert np.array_equal(p.trace.columns["share_cell"], p.share_cell, equal_nan=True)
    ax = vg.plot.columns(p, ["log10_dc_rms", "log10_wgrad_norm_q"])
    labels = [str(line.get_label()).partition(" (")[0] for line in ax.get_lines()]
    assert labels == ["dL/dc", "queries dL/dW"]
    with pytest.raises(ValueError, match="unknown column 'share_f'"):
        vg.plot.columns(p, ["share_f"])
    pyplot.close("all")


def test_several_nets_are_drawn_by_any_column_that_all_have() -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    one, two = probe(1), probe(2, NAMES[:2])
    ax = vg.plot.layers([one, two], signal="share_cell")
    assert ax.get_ylabel() == "along the state"
    np.testing.assert_allclose(np.asarray(ax.get_lines()[0].get_ydata())[1:-1], one.share_cell.mean(axis=0)[1:-1])
    assert vg.plot.layers(one, signal="log10_dc_rms").get_ylabel() == "dL/dc (rms)"
    with pytest.raises(ValueError, match="unknown signal 'log10_wgrad_norm_q'"):
        vg.plot.layers([one, two], signal="log10_wgrad_norm_q")
    with pytest.raises(ValueError, match="theory has no share_cell; draw it without theory"):
        vg.plot.layers(one, signal="share_cell", theory=vg.theory.predict(one.spec, batch=one.batch))
    pyplot.close("all")


def test_rows_without_a_number_are_no_gap_of_a_line() -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    plain = vg.probe(vg.MLP(depth=6, width=8), seeds=2)
    column = np.where(np.arange(6) % 3 == 1, 0.5, np.nan) * np.ones((2, 1))
    ax = vg.plot.layers(dataclasses.replace(plain, extra={"attention_entropy": column}), signal="attention_entropy")
    (line,) = [each for each in ax.get_lines() if np.size(each.get_xdata()) > 1]
    assert np.asarray(line.get_xdata()).tolist() == [2, 5]
    assert line.get_label() == "entropy of attention (1 = uniform)"
    pyplot.close("all")


def test_the_table_of_layers_shows_them_as_sizes_and_shares() -> None:
    heads = [column.head for column in tables._layers(probe()).columns]
    assert "log10\ndc rms" in heads
    assert "share\ncell" in heads


@pytest.mark.parametrize("name", EXTRA)
def test_a_picture_has_words_for_every_column(name: str) -> None:
    words = COLUMN_LABELS[name]
    assert "_" not in words
    assert "{" not in words


@pytest.mark.parametrize(
    ("net", "names", "rows", "sizes"),
    [
        (vg.RNN(4, 8, cell="lstm"), ["share_cell", "share_f"], "step (1 = first in time)", "share of the gradient"),
        (vg.RNN(4, 8, layers=2), ["log10_dh_rms", "log10_z_rms"], "step, 2 layers each (1 = first in time)", "size"),
        (vg.Transformer(2, 8), ["token_correlation", "dead"], "map, 4 a block (1 = input side)", "value"),
    ],
)
def test_axes_say_what_rows_are(net: vg.RNN | vg.Transformer, names: list[str], rows: str, sizes: str) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    ax = vg.plot.columns(vg.probe(net, seeds=2), names)
    assert ax.get_xlabel() == rows
    assert ax.get_ylabel().startswith(sizes)
    pyplot.close("all")


@pytest.mark.parametrize("name", EXTRA)
def test_every_column_is_a_trace_s_too_and_is_explained(name: str) -> None:
    assert name in Trace((name,), {name: np.array([[0.5]])}).columns
    assert [word.sort for word in find(name)] == ["column"]


def test_families_have_no_name_twice_and_none_of_every_net() -> None:
    names = [name for family in FAMILIES.values() for name in family]
    assert len({*names}) == len(names)
    assert not {*names} & {*_core.COLUMNS}


@pytest.mark.parametrize(
    "spec",
    [
        vg.MLP(depth=3, width=4),
        vg.MLP(depth=3, width=4, tied=True, in_features=4, out_features=2),
        vg.Sequential(["linear(3)", "relu", "linear(4)", "tanh", "linear(2)"], in_features=2),
    ],
)
def test_a_row_of_a_probe_is_a_map_that_a_state_dict_has(spec: vg.MLP | vg.Sequential) -> None:
    assert spec.rows == spec.depth == len(spec._checked.widths()) == len(spec.row_names)
    assert vg.probe(spec, seeds=1).log10_z_rms.shape == (1, spec.rows)
    assert {f"{name}.weight" for name in spec.row_names} <= {*spec.init(seed=0).state_dict()}
