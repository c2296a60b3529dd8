"""A grid of cells: its order, its tables and files, what is refused, and what Ctrl-C leaves."""

import csv
import itertools
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given

import vgcore as vg
from strategies import specs
from vgcore.measure import table
from vgcore.measure.result import Signal

Array: TypeAlias = npt.NDArray[Any]

SPEC = vg.MLP(depth=3, width=8, activation="tanh", init="lecun_normal")
MEASURES = (
    *("log10_z_rms", "log10_a_rms", "log10_delta_rms", "log10_wgrad_norm", "log10_bgrad_norm"),
    *("log10_sample_wgrad_rms", "saturated", "dead", "correlation", "effective_rank", "gradient_correlation"),
)


def small(**grid: Any) -> vg.Sweep:
    return vg.sweep(SPEC, seeds=2, batch=4, **grid)


# Cells


def test_cells_come_in_the_order_of_the_grid_the_last_field_fastest() -> None:
    s = small(depth=range(1, 4), activation=["relu", "tanh"], init=[vg.Init("lecun_normal"), "xavier_normal"])
    fields = [(cell.spec.depth, cell.spec.activation, str(cell.spec.init)) for cell in s]
    assert fields == [
        (depth, activation, init)
        for depth in (1, 2, 3)
        for activation in ("relu", "tanh")
        for init in ("lecun_normal", "xavier_normal")
    ]
    assert s.varied == ("depth", "activation", "init")
    assert s.planned == len(s) == len(s.cells) == 12
    assert s[5] is s.cells[5]
    assert s[-1].spec == SPEC.replace(depth=3, init="xavier_normal")


def test_every_cell_is_the_probe_of_its_spec() -> None:
    s = vg.sweep(SPEC, depth=[7, 2], skip=[None, "residual"], width=[8, 33], seed=5, seeds=3, batch=6, dtype="float64")
    assert len(s) == 8
    for cell in s:
        alone = vg.probe(cell.spec, seed=5, seeds=3, batch=6, dtype="float64")
        assert (cell.dtype, cell.batch, cell.loss) == ("float64", 6, None)
        np.testing.assert_array_equal(cell.seeds, alone.seeds)
        for name in (*MEASURES, "first_nonfinite"):
            np.testing.assert_array_equal(getattr(cell, name), getattr(alone, name))


def test_every_cell_measures_the_data_that_is_given() -> None:
    x, y = np.random.default_rng(0).standard_normal((6, 8)), np.array([0, 1, 2, 0, 1, 2])
    s = vg.sweep(SPEC.replace(out_features=3), depth=[1, 4], x=x, y=y, loss="cross_entropy", seeds=2)
    assert len(s) == 2
    for cell in s:
        alone = vg.probe(cell.spec, x=x, y=y, loss="cross_entropy", seeds=2)
        assert cell.loss == "cross_entropy"
        np.testing.assert_array_equal(cell.log10_wgrad_norm, alone.log10_wgrad_norm)


def test_all_depths_share_their_seeds_and_so_their_first_layers() -> None:
    s = vg.sweep(SPEC, depth=[2, 5, 40], seeds=4)
    assert len(s) == 3
    for shallow, deep in zip(s.cells, s.cells[1:], strict=False):
        np.testing.assert_array_equal(shallow.log10_z_rms, deep.log10_z_rms[:, : shallow.spec.depth])


def test_the_number_of_threads_changes_no_bit() -> None:
    sweeps = [small(depth=range(1, 12), activation=["relu", "tanh"], threads=threads) for threads in (1, 2, 4)]
    for other in sweeps[1:]:
        for a, b in zip(sweeps[0], other, strict=True):
            assert a.spec == b.spec
            for name in MEASURES:
                assert getattr(a, name).tobytes() == getattr(b, name).tobytes()


def test_any_iterable_is_an_axis() -> None:
    expected = [1, 2]
    axes: list[Any] = [
        expected,
        tuple(expected),
        range(1, 3),
        iter(expected),
        np.array(expected),
        (d for d in expected),
    ]
    for axis in axes:
        assert [cell.spec.depth for cell in small(depth=axis)] == expected


def test_a_grid_of_nothing_is_one_cell() -> None:
    s = small()
    assert [cell.spec for cell in s] == [SPEC]
    assert s.varied == ()


def test_a_net_that_diverges_is_a_row() -> None:
    s = vg.sweep(SPEC.replace(depth=40, init="mean_field(sigma_w=100)"), activation=["elu", "relu"], seeds=2)
    assert len(s) == 2
    assert [row["verdict"] for row in s.table()] == ["exploding", "exploding"]
    assert ["non-finite" in row["conditions"] for row in s.table()] == [True, False]
    assert (s[0].first_nonfinite >= 0).all()
    assert (s[1].first_nonfinite == -1).all()
    assert math.isnan(s.table()[0]["backward"])


# Tables and files


def test_the_table_has_one_row_a_cell() -> None:
    s = small(activation=["sigmoid", "linear"], depth=[2, 60])
    rows = s.table()
    assert [(row["activation"], row["depth"]) for row in rows] == [
        *(("sigmoid", 2), ("sigmoid", 60), ("linear", 2), ("linear", 60)),
    ]
    for row, cell in zip(rows, s, strict=True):
        signals: tuple[Signal, ...] = ("forward", "backward", "weight")
        for signal in signals:
            factor = cell.factor(signal)
            assert (row[signal], row[f"{signal}_low"], row[f"{signal}_high"]) == (factor.value, factor.low, factor.high)
        assert row["first_gradient"] == pytest.approx(cell.log10_wgrad_norm[:, 0].mean())
    assert rows[1]["verdict"] == "vanishing"
    assert rows[0]["verdict"] == "healthy"


def test_a_verdict_is_judged_by_change_and_not_by_size() -> None:
    # A linear chain: the signal changes by the constant to the power of depth - 1 = 4, either way; 32-fold counts.
    def verdict(constant: float, width: int = 1) -> str:
        init = vg.Init("constant", value=constant)
        s = vg.sweep(vg.MLP(depth=5, width=width, activation="linear", init=init), x=np.ones((1, width)), seeds=1)
        return str(s.table()[0]["verdict"])

    assert verdict(1.0) == "healthy"
    assert verdict(10**0.37) == "healthy"
    assert verdict(10**0.38) == "exploding"
    assert verdict(10**-0.37) == "healthy"
    assert verdict(10**-0.38) == "vanishing"
    assert verdict(0.0) == "vanishing"


def test_the_tidy_table_has_one_row_a_cell_seed_and_layer() -> None:
    s = vg.sweep(SPEC, depth=[2, 3], activation=["relu", "tanh"], seeds=2, seed=9)
    columns = s.to_dict()
    cells = [(cell, seed, layer) for cell in s for seed in (9, 10) for layer in range(cell.spec.depth)]
    assert {len(values) for values in columns.values()} == {len(cells)} == {20}
    for i, (cell, seed, layer) in enumerate(cells):
        assert columns["cell_id"][i] == cell.spec.id
        assert columns["depth"][i] == cell.spec.depth
        assert columns["activation"][i] == cell.spec.activation
        assert (columns["seed"][i], columns["layer"][i]) == (seed, layer + 1)
        for name in MEASURES:
            if name in columns:  # something is known of it in some cell
                assert columns[name][i] == getattr(cell, name)[seed - 9, layer]


def test_the_table_holds_plain_values_alone() -> None:
    mine = vg.Activation.custom("mine", np.tanh)
    grid: dict[str, Any] = {"activation": [mine, ("tanh", mine)], "norm": [None, "layer"], "branch_scale": [1, 0.5]}
    s = vg.sweep(SPEC.replace(depth=2, skip="residual"), seeds=2, **grid)
    for row in s.table():
        assert {type(value) for value in row.values()} <= {str, int, float, bool, type(None)}
    assert {(row["activation"], row["norm"]) for row in s.table()} == {
        *(("mine", None), ("mine", "layer"), ("tanh mine", None), ("tanh mine", "layer")),
    }


def test_a_frame_of_cells_has_a_row_a_cell_with_its_verdict_and_its_parameters() -> None:
    s = vg.sweep(SPEC.replace(out_features=3), depth=[2, 60], activation=["sigmoid", "leaky_relu"], seeds=2)
    for frame in (s.to_pandas(rows="cells"), s.to_polars(rows="cells")):
        assert len(frame) == 4
        assert list(frame.columns) == [*s.to_dict("cells")]
        assert frame["cell_id"].to_list() == [cell.spec.id for cell in s]
        for name in ("verdict", "forward", "backward_low", "weight_high", "first_gradient"):
            assert frame[name].to_list() == pytest.approx([row[name] for row in s.table()], nan_ok=True)
        for name in ("direction", "conditions"):
            assert frame[name].to_list() == [row[name] or "none" for row in s.table()]
        assert frame["activation_negative_slope"].to_numpy() == pytest.approx([math.nan, 0.01] * 2, nan_ok=True)
    assert vg.Sweep((), (), 0).to_dict("cells") == {}
    with pytest.raises(ValueError, match="unknown rows 'cell'"):
        s.to_dict("cell")  # type: ignore[arg-type]


def test_no_column_of_a_frame_is_empty_and_its_types_are_right() -> None:
    s = small(out_features=[None, 3], skip=[None, "highway"], init=["mean_field(sigma_w=1.5)", "zeros"])
    frame, tidy = s.to_pandas(), s.to_polars()
    assert not frame.isna().all().any()
    assert not any(tidy[name].is_null().all() for name in tidy.columns)
    assert "in_features" not in frame
    kinds = {"out_features": "Int64", "layer": "int64", "first_nonfinite_layer": "int64", "tied": "bool"}
    kinds |= {"init_sigma_w": "float64", "skip_gate_bias": "float64", "log10_gate_grad_norm": "float64"}
    assert {name: str(frame[name].dtype) for name in kinds} == kinds
    kinds = {"out_features": "Int64", "layer": "Int64", "init": "String", "tied": "Boolean", "init_sigma_w": "Float64"}
    assert {name: str(tidy[name].dtype) for name in kinds} == kinds
    assert set(frame["skip"]) == {"none", "highway"}
    assert frame.groupby("skip")["skip_gate_bias"].max().to_dict() == pytest.approx(
        {"none": math.nan, "highway": -1.0}, nan_ok=True
    )
    assert "counted from 1" in frame.attrs["layer"]


def test_the_layer_that_is_not_finite_is_counted_as_layers_are() -> None:
    s = vg.sweep(SPEC.replace(depth=40, activation="elu"), init=["mean_field(sigma_w=100)", "xavier_normal"], seeds=2)
    columns = s.to_dict()
    for cell, seed in itertools.product(range(2), range(2)):
        rows = (columns["cell"] == cell) & (columns["seed"] == seed)
        (first,) = {*columns["first_nonfinite_layer"][rows].tolist()}
        assert first == s[cell].first_nonfinite[seed] + 1
        lost = columns["layer"][rows][~np.isfinite(columns["log10_a_rms"][rows])]
        assert (lost.min() if first else 0) == first


NORMAL = {"mean": 0.0, "std": 2.0, "gain": 1.0}
#: Kinds whose parameters have numbers, by the field of a spec.
PARAMETERS: dict[str, dict[str, dict[str, float]]] = {
    "activation": {"leaky_relu": {"negative_slope": 0.01}, "elu(alpha=0.5)": {"alpha": 0.5}, "tanh": {}},
    "init": {"mean_field(1.5, 0.05)": {"sigma_w": 1.5, "sigma_b": 0.05, "gain": 1.0}, "normal(std=2)": NORMAL},
    "norm": {"layer": {"eps": 1e-5}, "none": {}},
    "skip": {"highway": {"gate_bias": -1.0, "gate_gain": 1.0}, "none": {}},
    "final_norm": {"rms(eps=0.5)": {"eps": 0.5}, "none": {}},
    "weight_transform": {"weight_standardization": {"gain": 1.0, "eps": 0.0}, "none": {}},
}


@pytest.mark.parametrize("field", sorted(PARAMETERS))
def test_parameters_are_columns_of_numbers_with_defaults_written_out(field: str) -> None:
    kinds = PARAMETERS[field]
    s = small(**{field: [None if kind == "none" else kind for kind in kinds]})
    columns = s.to_dict("cells")
    names = {f"{field}_{param}" for params in kinds.values() for param in params}
    assert {name for name in columns if name.startswith(f"{field}_") and name != "norm_position"} == names
    for i, params in enumerate(kinds.values()):
        expected = [params.get(name.removeprefix(f"{field}_"), math.nan) for name in sorted(names)]
        assert [columns[name][i] for name in sorted(names)] == pytest.approx(expected, nan_ok=True)
    assert {columns[name].dtype for name in names} <= {np.dtype(np.float64)}


@given(specs())
def test_any_parameter_is_the_number_or_the_word_that_the_kind_has(spec: vg.MLP) -> None:
    found = table.spec_parameters(spec)
    kinds = [spec.activation] if isinstance(spec.activation, str) else spec.activation
    for name in {name for kind in kinds for name in kind.params}:
        values = {kind.params[name] for kind in kinds if name in kind.params}
        expected = values.pop() if len(values) == 1 else None
        assert found.get(f"activation_{name}") == expected
    assert {type(value) for value in found.values()} <= {float, str}


def read_csv(path: Path) -> dict[str, Array]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {
        name: np.array([float(row[name]) for row in rows])
        for name in (*MEASURES, "seed", "layer", "depth")
        if name in rows[0]
    }


def read_json(path: Path) -> dict[str, Array]:
    columns = json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    return {name: np.array(values) for name, values in columns.items()}


def read_parquet(path: Path) -> dict[str, Array]:
    from pyarrow import parquet

    return {name: np.array(values) for name, values in parquet.read_table(path).to_pydict().items()}


@pytest.mark.parametrize(("ending", "read"), [("csv", read_csv), ("json", read_json), ("parquet", read_parquet)])
def test_what_is_saved_can_be_read_back(tmp_path: Path, ending: str, read: Callable[[Path], dict[str, Array]]) -> None:
    s = vg.sweep(SPEC, depth=[2, 3], activation=["relu", ("tanh")], seeds=2)
    path = tmp_path / f"runs.{ending}"
    s.save(path)
    columns, got = s.to_dict(), read(path)
    assert {*MEASURES} & {*columns} <= {*got}
    for name in got:
        if name in MEASURES or name in {"seed", "layer", "depth", "activation", "cell_id"}:
            np.testing.assert_array_equal(got[name], columns[name])
    s.save(str(path))
    assert read(path).keys() == got.keys()


def test_json_has_null_where_a_number_is_not_finite(tmp_path: Path) -> None:
    s = vg.sweep(SPEC.replace(depth=40, activation="elu", init="mean_field(sigma_w=100)"), seeds=1)
    s.save(tmp_path / "runs.json")
    columns = json.loads((tmp_path / "runs.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    lost = ~np.isfinite(s[0].log10_z_rms[0])
    assert 0 < lost.sum() < 40
    assert [value is None for value in columns["log10_z_rms"]] == lost.tolist()
    assert "log10_delta_rms" not in columns  # of which nothing is known anywhere


#: Axes whose values are of several types.
MIXED: list[dict[str, Any]] = [
    {"activation": ["relu", ("tanh", "relu"), vg.Activation("leaky_relu", negative_slope=0.2)]},
    {"init": ["lecun_normal", vg.Init("mean_field", sigma_w=1.5)], "bias": [None, "zeros"]},
    {"out_features": [None, 3], "in_features": [None, 3]},
    {"skip": [None, "residual"], "block": [1, 2]},
    {"skip": ["residual"], "branch_scale": [1, 0.5]},
    {"skip": ["residual"], "branch_scale": ["1/sqrt(L)", 0.5]},
    {"width": [4, (4, 3)]},
]


@pytest.mark.parametrize("grid", MIXED)
@pytest.mark.parametrize(("ending", "read"), [("csv", read_csv), ("json", read_json), ("parquet", read_parquet)])
def test_every_grid_can_be_saved(
    tmp_path: Path, grid: dict[str, Any], ending: str, read: Callable[[Path], dict[str, Array]]
) -> None:
    s = vg.sweep(SPEC.replace(depth=2), seeds=2, batch=4, **grid)
    s.save(tmp_path / f"runs.{ending}")
    np.testing.assert_array_equal(
        read(tmp_path / f"runs.{ending}")["log10_z_rms"], np.concatenate([cell.log10_z_rms.ravel() for cell in s])
    )


@pytest.mark.parametrize("grid", MIXED)
@pytest.mark.parametrize("framed", [vg.Sweep.to_pandas, vg.Sweep.to_polars])
def test_every_grid_can_be_framed(grid: dict[str, Any], framed: Callable[[vg.Sweep], Any]) -> None:
    s = vg.sweep(SPEC.replace(depth=2), seeds=2, batch=4, **grid)
    frame = framed(s)
    assert len(frame) == 4 * len(s)
    assert set(frame["cell_id"]) == {cell.spec.id for cell in s}


def test_frames_hold_the_tidy_table() -> None:
    s = small(depth=[2, 3])
    columns = s.to_dict()
    for frame in (s.to_pandas(), s.to_polars()):
        assert list(frame.columns) == list(columns)
        for name in {*MEASURES, "seed", "layer", "depth"} & {*columns}:
            np.testing.assert_array_equal(frame[name].to_numpy(), columns[name])


def test_an_unknown_ending_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    for name in ("runs.txt", "runs", "runs.csv.gz"):
        with pytest.raises(ValueError, match=rf"ends in \.csv, \.json, \.parquet, got '{name}'"):
            small().save(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("module", "extra", "use"),
    [
        ("pandas", "pandas", lambda s, _: s.to_pandas()),
        ("pandas", "pandas", lambda s, _: s[0].to_pandas()),
        ("polars", "polars", lambda s, _: s.to_polars()),
        ("polars", "polars", lambda s, _: s[0].to_polars()),
        ("pyarrow", "parquet", lambda s, path: s.save(path / "runs.parquet")),
        ("matplotlib", "plot", lambda s, _: vg.plot.layers(s[0])),
    ],
)
def test_a_missing_library_is_named_with_the_extra_that_brings_it(
    module: str, extra: str, use: Callable[[vg.Sweep, Path], object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    s = small()
    # None in sys.modules is what an import finds of a library that is not there.
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"needs {module}.*pip install 'vgcore\[{extra}\]'"):
        use(s, tmp_path)


# What is refused


@pytest.mark.parametrize(
    ("grid", "error", "message"),
    [
        ({"depth": []}, ValueError, "depth must have at least one value"),
        ({"depth": 3}, TypeError, "depth must be a list of values to try, got 3"),
        ({"activation": "relu"}, TypeError, "activation must be a list of values to try, got 'relu'"),
        ({"activation": vg.Activation("relu")}, TypeError, "activation must be a list of values to try"),
        ({"init": vg.Init("zeros")}, TypeError, "init must be a list of values to try"),
        ({"init": None}, TypeError, "init must be a list of values to try, got None"),
        ({"dept": [1]}, ValueError, r"'dept' \(did you mean 'depth'\?\)"),
        ({"dept": 1}, ValueError, r"'dept' \(did you mean 'depth'\?\)"),
        ({"depth": [2, 0]}, ValueError, r"depth must be an integer from 1 .*got 0 .*depth=0"),
        ({"depth": [2, 2.5]}, TypeError, r"depth must be an integer, got 2\.5 .*depth=2\.5"),
        ({"activation": ["relu", "tahn"]}, ValueError, r"'tahn' \(did you mean 'tanh'\?\).*activation='tahn'"),
        (
            {"depth": [2, 3], "block": [1, 2], "skip": ["residual"]},
            ValueError,
            "multiple of block=2 .*got 3 .*depth=3, block=2, skip='residual'",
        ),
        ({"seeds": 0}, ValueError, "seeds must be an integer from 1 to .*, got 0"),
        ({"threads": 0}, ValueError, "threads must be an integer from 1 to .*, got 0"),
        ({"x": np.ones((2, 9))}, ValueError, r"x must be of shape .*= \(batch, 8\), got \(2, 9\)"),
        ({"x": np.ones((2, 8)), "width": [8, 9]}, ValueError, r"x must be of shape .*= \(batch, 9\), got \(2, 8\)"),
        ({"loss": "mse"}, ValueError, "loss='mse' needs targets; give y"),
    ],
)
def test_a_bad_grid_is_refused_before_anything_runs(
    grid: dict[str, Any], error: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished: list[object] = []
    # Every finished cell becomes a Probe. (The module's name in the package is that of the function.)
    monkeypatch.setattr(sys.modules["vgcore.measure.measurement"], "Probe", lambda *args, **_: finished.append(args))
    with pytest.raises(error, match=message):
        vg.sweep(SPEC, **grid)
    assert not finished


@pytest.mark.parametrize("spec", ["tanh", None])
def test_what_is_no_spec_is_refused(spec: Any) -> None:
    with pytest.raises(TypeError, match=r"^spec must be "):
        vg.sweep(spec, depth=[1, 2])


def test_a_sweep_with_one_cell_beyond_memory_is_refused_before_anything_runs() -> None:
    with pytest.raises(MemoryError, match=r"needs \d{13,} bytes .*available; lower depth, width, batch or seeds"):
        vg.sweep(SPEC, width=[8, 10**6], depth=[1, 10**6])


# Progress


def test_progress_writes_nothing_where_there_is_no_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    small(depth=[1, 2], progress=True)
    assert capfd.readouterr() == ("", "")


# Ctrl-C

INTERRUPT = """
import os, signal, threading, time
import vgcore as vg
signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent may have it ignored
spec = vg.MLP(depth=1, width=256)
def press():
    # In the middle of the call, however late a busy machine began it: when it has used so much processor time.
    global pressed
    while time.process_time() < begun + 1:
        time.sleep(0.001)
    pressed = time.process_time()
    os.kill(os.getpid(), signal.SIGINT)
begun = time.process_time()
threading.Thread(target=press, daemon=True).start()
try:
    vg.sweep(spec, depth=[*range(1, 4), *range(500, 1500)], seeds=8)
except KeyboardInterrupt as interrupt:
    seconds = time.process_time() - pressed
    s = interrupt.sweep
    whole = all(cell.log10_z_rms.shape == (8, cell.spec.depth) for cell in s)
    same = (s[0].log10_wgrad_norm == vg.probe(s[0].spec).log10_wgrad_norm).all()
    print(seconds, len(s), s.planned, s[0].spec.depth, len(s.table()), whole, same)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_ctrl_c_ends_a_sweep_at_once_and_leaves_the_finished_cells() -> None:
    whole = os.environ | {"VGCORE_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPT], env=whole, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stderr
    seconds, cells, planned, depth, rows, shapes, same = done.stdout.split()
    print(f"{seconds} s")  # noqa: T201, shown with -rP
    # Promised is 0.1 s, on two threads; a busy machine may schedule the main thread late.
    assert float(seconds) < 1
    assert 3 <= int(cells) < 500
    assert (planned, depth, rows) == ("1003", "1", cells)
    assert (shapes, same) == ("True", "True")


def test_a_sweep_varies_the_fields_of_recurrent_nets_and_transformers(tmp_path: Path) -> None:
    s = vg.sweep(vg.RNN(3, 4), steps=[3, 5], cell=["tanh", "lstm"], seeds=2, batch=8, store=tmp_path / "s.vg")
    specs = [vg.RNN(steps, 4, cell=cell) for steps in (3, 5) for cell in ("tanh", "lstm")]
    assert [cell.spec for cell in s] == specs
    for cell in s:
        alone = vg.probe(cell.spec, seeds=2, batch=8)
        np.testing.assert_array_equal(cell.log10_dh_rms, alone.log10_dh_rms)
    assert [cell.spec for cell in s.select(cell="lstm(forget_bias=1)", steps=5)] == specs[3:]
    assert [cell.spec for cell in vg.open_sweep(tmp_path / "s.vg")] == specs
    blocks = vg.sweep(
        vg.Transformer(1, 8), skip=["residual", None, "rezero"], final_norm=["auto", None], seeds=1, batch=2
    )
    assert len(blocks.select(skip=["rezero", None])) == 4
    assert blocks.to_dict(rows="cells")["norm_eps"].tolist() == [1e-5] * 6
    with pytest.raises(ValueError, match="unknown field 'depth'"):
        vg.sweep(vg.RNN(3, 4), depth=[2])
    with pytest.raises(ValueError, match="unknown field 'activation'"):
        s.select(activation="tanh")


def test_both_kinds_of_nets_are_selected_by_what_they_have() -> None:
    both = vg.sweep(vg.RNN(3, 4), steps=[3, 4], seeds=1, batch=2) + vg.sweep(vg.MLP(depth=2, width=4), seeds=1, batch=2)
    assert [cell.spec for cell in both.select(steps=4)] == [vg.RNN(4, 4)]
    assert [cell.spec for cell in both.select(activation="relu")] == [vg.MLP(depth=2, width=4)]
    assert len(both.select(width=4)) == 3
