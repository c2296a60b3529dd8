"""Many nets trained in one call: order, equality with single calls, stores, shards and executors."""

import _thread
import math
import multiprocessing
import sqlite3
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vgcore as vg
from vgcore.measure import upkeep
from vgcore.measure.store import Store

RNG = np.random.default_rng(3)
X = RNG.standard_normal((48, 4))
Y = (X[:, 0] > 0).astype(int)
SPEC = vg.MLP(depth=2, width=8, in_features=4, out_features=2, activation="tanh", init="xavier_normal")
COLUMNS = ("loss", "lr", "log10_grad_norm", "log10_update_ratio", "steps_done")


def small(**options: Any) -> vg.TrainSweep:
    return vg.train_sweep(SPEC, X, Y, **{"steps": 12, "batch": 16} | options)


def equal(one: vg.Run, two: vg.Run) -> bool:
    return one.spec == two.spec and all(
        np.array_equal(getattr(one, name), getattr(two, name), equal_nan=True) for name in COLUMNS
    )


def test_cells_come_in_the_order_of_the_grid_the_last_one_fastest() -> None:
    s = small(depth=[1, 3], optimizer=["sgd", "adam"], lr=[0.1, 0.01])
    assert [(run.spec.depth, str(run.optimizer)) for run in s] == [
        (depth, f"{name}(lr={lr})") for depth in (1, 3) for name in ("sgd", "adam") for lr in (0.1, 0.01)
    ]
    assert s.varied == ("depth", "optimizer", "lr")
    assert len(s) == s.planned == 8
    assert s[0] is s.cells[0]


def test_every_cell_is_the_training_of_its_spec_alone() -> None:
    s = small(depth=[1, 5], width=[4, 17], lr=[0.1, 0.001], clip=[None, 0.1], seeds=2, seed=4)
    assert len(s) == 16
    for run in s:
        alone = vg.train(
            run.spec,
            X,
            Y,
            steps=12,
            batch=16,
            optimizer=run.optimizer,
            clip=run.clip,
            seeds=2,
            seed=4,
            record=[*run.steps],
        )
        assert equal(run, alone)


def test_one_value_is_the_value_of_all_cells_and_no_field_of_the_grid() -> None:
    s = small(optimizer="sgd", momentum=0.9, lr=[0.1, 0.2], frozen=["layers.0", "readout"], noise=0.01)
    assert s.varied == ("lr",)
    assert all(run.optimizer.params["momentum"] == 0.9 for run in s)
    assert all((run.frozen, run.noise) == (("layers.0", "readout"), 0.01) for run in s)


def test_a_list_of_lists_varies_what_takes_a_list() -> None:
    s = small(frozen=[(), ["layers.0"]], schedule=[np.ones(12), "constant"], rates=[None, {"readout": 0.5}])
    assert s.varied == ("frozen", "schedule", "rates")
    assert len(s) == 8
    assert [run.frozen for run in s[:5:4]] == [(), ("layers.0",)]


def test_a_net_that_diverges_is_a_cell_like_any_other() -> None:
    s = small(activation=["relu"], optimizer="sgd", lr=[1e-3, 1e25])
    assert [run.stopped_by[0] for run in s] == ["steps", "non_finite"]
    rows = s.to_dict()
    names = ("first_bad_step", "first_bad_layer", "first_bad_tensor", "first_bad_phase")
    bad = s[1].first_bad
    assert bad is not None
    assert [rows[name][0] for name in names] == [0, 0, "none", "none"]
    assert [rows[name][1] for name in names] == [bad.step, bad.layer + 1, bad.tensor, bad.phase]
    assert rows["final_loss"].tolist()[1] == np.inf


def test_a_row_a_cell_and_seed_says_what_was_trained_and_what_came_of_it() -> None:
    s = small(depth=[1, 2], lr=[0.1, 0.01], seeds=3, validation=0.25)
    rows = s.to_dict()
    assert len(rows["cell"]) == 12
    assert rows["depth"].tolist() == [1] * 6 + [2] * 6
    assert rows["optimizer_lr"].tolist() == ([0.1] * 3 + [0.01] * 3) * 2
    assert {*rows["optimizer_beta1"]} == {0.9}
    assert rows["seed"].tolist() == [0, 1, 2] * 4
    for name in ("first_loss", "best_loss", "final_loss"):
        np.testing.assert_array_equal(rows[name], np.concatenate([getattr(run, name) for run in s]))
    assert (rows["validation_loss"] > 0).all()
    frame = pytest.importorskip("pandas") and s.to_pandas()
    assert list(frame.columns) == [*rows]


def test_a_row_a_cell_has_the_verdict_and_plain_values() -> None:
    s = small(activation=["relu", "leaky_relu"], clip=[None, 0.5], seeds=3)
    rows, columns = s.table(), s.to_dict("cells")
    for row, run, judged in zip(rows, s, vg.diagnose(s).cells, strict=True):
        assert {type(value) for value in row.values()} <= {str, int, float, bool, type(None)}
        assert row["activation"] == run.spec.activation
        assert row["final_loss"] == np.median(run.final_loss)
        assert row["verdict"] == judged.verdict
    assert columns["verdict"].tolist() == [row["verdict"] for row in rows]
    assert columns["clip_max_norm"].tolist() == pytest.approx([math.nan, 0.5] * 2, nan_ok=True)
    assert columns["activation_negative_slope"].tolist() == pytest.approx([math.nan] * 2 + [0.01] * 2, nan_ok=True)
    assert len(s.to_pandas("cells")) == len(s.to_polars("cells")) == 4


def test_about_twenty_steps_of_a_cell_are_recorded_unless_it_is_said_which() -> None:
    s = small(steps=200, lr=[0.1])
    assert 20 <= len(s[0].steps) <= 22
    assert s[0].steps[[0, -1]].tolist() == [1, 200]
    assert small(lr=[0.1], record=[3, 4])[0].steps.tolist() == [3, 4]


def test_a_notebook_shows_what_was_varied_and_what_came_of_it() -> None:
    s = small(lr=[0.1, 0.01], depth=[1, 2], clip=[None, 1.0], seeds=2)
    shown = s._repr_html_()
    assert "<p><b>TrainSweep(8 of 8 cells, varied: lr, depth, clip)</b></p>" in shown
    assert shown.count("<tr>") == 9
    assert ", ".join(f"{loss:.4g}" for loss in s[3].final_loss) in shown
    assert '<td class="words">none</td>' in shown
    assert '<td class="words">Clip(max_norm=1.0)</td>' in shown
    assert "more cells" not in shown
    assert ">0.9</td>" in small(optimizer="sgd", momentum=[0.0, 0.9])._repr_html_()
    many = small(steps=1, lr=np.geomspace(0.001, 0.1, 53))._repr_html_()
    assert many.count("<tr>") == 41
    assert "<p>13 more cells; s.to_pandas() has them all</p>" in many


def test_cells_are_selected_by_whatever_a_grid_may_vary() -> None:
    s = small(depth=[1, 2], optimizer=["sgd", "adam"], lr=[0.1, 0.01], clip=[None, 1.0])
    assert len(s.select(depth=1)) == 8
    assert {str(run.optimizer) for run in s.select(optimizer="sgd")} == {"sgd(lr=0.1)", "sgd(lr=0.01)"}
    assert [run.lr[0, 0] for run in s.select(optimizer="adam(lr=0.1)", depth=2)] == [0.1, 0.1]
    assert {run.clip for run in s.select(clip=1.0)} == {vg.Clip(1.0)}
    assert len(s.select(lr=[0.1, 0.5], clip=[None])) == 4
    with pytest.raises(ValueError, match="unknown field 'learning_rate'"):
        s.select(learning_rate=0.1)
    inits = small(init=["mean_field(1)", "mean_field(2)"], lr=[0.1, 0.01])
    assert {run.spec.init for run in inits.select(init_sigma_w=2)} == {"mean_field(sigma_w=2)"}


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"lr": [0.1, 0.01, 0.1]}, "lr=0.1 and lr=0.1 make the same cell; give each value once"),
        ({"depth": [1, 2], "clip": [None, 1.0, vg.Clip(1.0)]}, "clip=1.0 and clip="),
        ({"optimizer": ["adam", "adam(lr=0.1)"], "lr": [0.1, 0.01]}, "optimizer='adam' and optimizer="),
    ],
)
def test_a_value_that_is_given_twice_is_refused(grid: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**grid)


def test_slices_and_sums_are_sweeps() -> None:
    s = small(lr=[0.1, 0.01, 0.001])
    t = s[1:] + s[:1]
    assert [run.optimizer.lr for run in t] == [0.01, 0.001, 0.1]
    assert repr(s[1:]) == "TrainSweep(2 of 2 cells, varied: lr)"


@pytest.mark.parametrize(
    ("grid", "said"),
    [
        ({"deepth": [1]}, r"unknown field 'deepth' \(did you mean 'depth'"),
        ({"depth": 3}, "depth must be a list of values to try, got 3"),
        ({"lr": []}, "lr must have at least one value to try"),
        ({"lr": [0.1, -1]}, r"lr must be.*\(in the cell lr=-1\)"),
        ({"optimizer": ["sgd", "adam"], "momentum": [0.9]}, r"\(in the cell optimizer='adam', momentum=0.9\)"),
        ({"depth": [1, 4], "frozen": "layers.3"}, r"frozen must name.*\(in the cell depth=1, frozen='layers.3'\)"),
        ({"retry_failed": True}, "retry_failed is given without a store"),
        ({"shard": "4/4"}, "shard must be a part of all"),
    ],
)
def test_what_no_cell_can_be_is_refused_before_anything_runs(grid: dict[str, Any], said: str) -> None:
    with pytest.raises((TypeError, ValueError), match=said):
        small(**grid)


def test_cells_are_equal_for_any_number_of_threads_and_on_an_executor() -> None:
    grid: dict[str, Any] = {"depth": [1, 4], "lr": [0.1, 0.01], "seeds": 2}
    one = small(threads=1, **grid)
    with ThreadPoolExecutor(2) as pool:
        others = small(threads=2, **grid), small(executor=pool, **grid)
    for other in others:
        assert all(equal(a, b) for a, b in zip(one, other, strict=True))
        assert all(b.x is X for b in other)


def test_a_store_keeps_cells_and_the_same_call_trains_none_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, grid = tmp_path / "runs.vg", {"depth": [1, 2], "lr": [0.1, 0.01]}
    free, made = small(**grid), small(**grid, store=path)
    monkeypatch.setattr("vgcore._core.train", lambda *_, **__: pytest.fail("it was trained again"))
    for other in (made, small(**grid, store=path), vg.open_train_sweep(path)):
        assert other.varied == ("depth", "lr")
        assert other.planned == 4
        assert all(equal(a, b) for a, b in zip(free, other, strict=True))
    opened = vg.open_train_sweep(path)
    assert [run.spec.depth for run in opened.select(lr=0.01)] == [1, 2]
    np.testing.assert_array_equal(opened[0].x, X)


def test_shards_share_out_the_cells_and_their_stores_make_one_sweep(tmp_path: Path) -> None:
    grid: dict[str, Any] = {"depth": [1, 2, 3], "lr": [0.1, 0.01]}
    parts = [small(**grid, shard=f"{i}/2", store=tmp_path / f"{i}.vg") for i in range(2)]
    assert sum(map(len, parts)) == 6
    whole = vg.open_train_sweep(tmp_path / "*.vg")
    assert all(equal(a, b) for a, b in zip(small(**grid), whole, strict=True))
    assert sum(len(small(**grid, shard=f"{i}/2")) for i in range(2)) == 6


def test_probes_and_runs_lie_side_by_side_in_a_store(tmp_path: Path) -> None:
    path = tmp_path / "both.vg"
    vg.sweep(SPEC, depth=[1, 2, 3], seeds=1, store=path)
    small(lr=[0.1, 0.2], store=path)
    assert len(vg.open_sweep(path)) == 3
    assert len(vg.open_train_sweep(path)) == 2
    assert upkeep.merge(tmp_path / "merged.vg", [path]) == {"done": 5, "failed": 0, "planned": 0}
    assert len(vg.open_train_sweep(tmp_path / "merged.vg")) == 2


def test_only_a_file_that_holds_trainings_is_of_the_newer_format(tmp_path: Path) -> None:
    def version(path: Path) -> int:
        with closing(sqlite3.connect(path)) as file:
            return int(file.execute("PRAGMA user_version").fetchone()[0])

    vg.sweep(SPEC, depth=[1], seeds=1, store=tmp_path / "probes.vg")
    small(lr=[0.1], store=tmp_path / "runs.vg")
    assert (version(tmp_path / "probes.vg"), version(tmp_path / "runs.vg")) == (1, 2)
    upkeep.merge(tmp_path / "probes.vg", [tmp_path / "runs.vg"])
    assert version(tmp_path / "probes.vg") == 2


def test_a_damaged_run_is_never_taken_for_one(tmp_path: Path) -> None:
    path = tmp_path / "runs.vg"
    small(lr=[0.1, 0.2], store=path)
    with closing(sqlite3.connect(path)) as file:
        # Blocks lie in the order in which cells were finished.
        query = "SELECT id, bytes FROM block JOIN result ON block.id = result.block WHERE cell = 2"
        number, packed = file.execute(query).fetchone()
        file.execute("UPDATE block SET bytes = ? WHERE id = ?", (packed[:-8] + b"\x01" * 8, number))
        file.commit()
    opened = vg.open_train_sweep(path)
    assert opened[0].stopped_by == ("steps",)
    with pytest.raises(ValueError, match="is damaged: the numbers of cell 2"):
        opened[1]
    with Store(path) as store:
        assert len(upkeep.faults(store)) == 1


def test_runs_of_a_store_whose_data_are_too_large_to_keep_say_what_they_lack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["vgcore.measure.store"], "KEPT", 8)
    small(lr=[0.1], store=tmp_path / "runs.vg", validation=(X, Y))
    (run,) = vg.open_train_sweep(tmp_path / "runs.vg")
    assert run.loss.shape == (1, 12)
    with pytest.raises(ValueError, match=r"this needs [xy], the data that it was measured on"):
        run.replay(3)


def test_workers_of_another_process_give_the_same_runs() -> None:
    grid: dict[str, Any] = {"depth": [1, 2], "lr": [0.1, 0.01], "clip": [vg.Clip(0.5)], "validation": 0.25}
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        elsewhere = small(executor=pool, **grid)
    assert all(equal(a, b) for a, b in zip(small(**grid), elsewhere, strict=True))
    assert elsewhere[0].evaluate(X, Y) == small(**grid)[0].evaluate(X, Y)


def test_weights_that_take_too_much_memory_are_not_kept_and_are_had_by_training_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    full = small(lr=[0.1], seeds=2)
    monkeypatch.setattr(sys.modules["vgcore.train.many"], "MEMORY", 100)
    for s in (small(lr=[0.1], seeds=2), small(lr=[0.1], seeds=2, store=tmp_path / "runs.vg")):
        assert equal(s[0], full[0])
        assert s[0].networks == ()
        assert s[0].replay(3, seed=1).loss == full[0].loss[1, 2]
        with pytest.raises(ValueError, match="the weights of this run were not kept; train its spec alone"):
            _ = s[0].network
        with pytest.raises(ValueError, match="the weights of this run were not kept"):
            s[0].evaluate(X, Y)
        with pytest.raises(ValueError, match="this run cannot go on"):
            s[0].resume(3)


def test_frames_and_files_hold_every_row(tmp_path: Path) -> None:
    s = small(depth=[1, 2], norm=[None, "batch"], clip=[None, 1.0], optimizer="sgd", lr=[0.1, 1e30])
    assert pytest.importorskip("polars")
    assert s.to_polars().shape == (16, len(s.to_dict()))
    for ending in ("csv", "json"):
        s.save(tmp_path / f"runs.{ending}")
    head, *rows = (tmp_path / "runs.csv").read_text().splitlines()
    assert head.split(",") == [*s.to_dict()]
    assert len(rows) == 16


def test_ctrl_c_leaves_the_finished_cells(tmp_path: Path) -> None:
    path, over = tmp_path / "runs.vg", threading.Event()

    def stop() -> None:
        """Interrupt as soon as a cell is safe."""
        while not over.wait(0.05):
            with suppress(OSError, ValueError):
                if len(vg.open_train_sweep(path)):
                    _thread.interrupt_main()
                    return

    watcher = threading.Thread(target=stop)
    watcher.start()
    try:
        with pytest.raises(KeyboardInterrupt) as interrupt:
            small(steps=3000, lr=np.geomspace(1e-4, 1e-1, 5000), threads=1, record=[1], store=path)
    finally:
        over.set()
        watcher.join()
    found = interrupt.value.sweep  # type: ignore[attr-defined]
    assert isinstance(found, vg.TrainSweep)
    assert found.planned == 5000
    assert 0 < len(found) < 5000
    assert len(vg.open_train_sweep(path)) == len(found)
    assert all("interrupted" not in run.stopped_by for run in found[:5])
