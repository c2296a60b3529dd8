"""Sweeps in the runs of trackers: recorded by stand-ins that take what the real ones take.

Their signatures are those of mlflow 3.17 (`log_metrics`, `log_table`), wandb 0.31 (`Run.log`, `Table`) and tensorboardX
2.6, whose writer begins as torch's does (`add_scalar`, `add_text`); with all of them the same calls were made by hand.
"""

import math
import subprocess
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import vgcore as vg
from vgcore import export
from vgcore.judge.verdict import VERDICTS

SPEC = vg.MLP(depth=10, width=16, activation="sigmoid", init="xavier_normal")
NAMES = {
    "vgcore/cells",
    *(f"vgcore/{word}" for word in VERDICTS),
}
SIGNALS = ("forward", "backward", "weight")
LISTED = "print(*{name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names)"
OF_ROW = [f"{signal}{end}" for signal in SIGNALS for end in ("", "_low", "_high")]
OF_ROW += ["first_gradient", "verdict", "direction", "conditions"]


class ActiveRun:
    """As `mlflow.start_run` gives it."""

    __module__ = "mlflow.tracking.fluent"

    def __init__(self) -> None:
        self.info = SimpleNamespace(run_id="abc")


class Mlflow(ModuleType):
    """The module, which logs to a run by its id."""

    def __init__(self) -> None:
        super().__init__("mlflow")
        self.metrics: list[tuple[dict[str, float], int | None, str | None]] = []
        self.tables: list[tuple[dict[str, Any], str, str | None]] = []

    def log_metrics(
        self,
        metrics: dict[str, float],
        step: int | None = None,
        synchronous: bool | None = None,
        run_id: str | None = None,
    ) -> None:
        assert synchronous is None
        self.metrics.append((metrics, step, run_id))

    def log_table(self, data: dict[str, Any], artifact_file: str, run_id: str | None = None) -> None:
        self.tables.append((data, artifact_file, run_id))


class Run:
    """As `wandb.init` gives it."""

    __module__ = "wandb.sdk.wandb_run"

    def __init__(self) -> None:
        self.logged: list[tuple[dict[str, Any], int | None]] = []

    def log(self, data: dict[str, Any], step: int | None = None, commit: bool | None = None) -> None:
        assert commit is None
        self.logged.append((data, step))


class Table:
    """As `wandb.Table`."""

    def __init__(self, columns: list[str] | None = None, data: list[list[Any]] | None = None) -> None:
        assert columns is not None
        assert data is not None
        self.columns, self.data = columns, data
        # The real one refuses a column of mixed types.
        for column in zip(*data, strict=True):
            kinds = {"number" if isinstance(value, int | float) else type(value).__name__ for value in column}
            assert len(kinds - {"NoneType"}) <= 1


class Writer:
    """As torch's and tensorboardX's `SummaryWriter`."""

    def __init__(self) -> None:
        self.scalars: list[tuple[str, float, int | None]] = []
        self.texts: list[tuple[str, str, int | None]] = []

    def add_scalar(
        self, tag: str, scalar_value: float, global_step: int | None = None, walltime: float | None = None
    ) -> None:
        assert walltime is None
        self.scalars.append((tag, scalar_value, global_step))

    def add_text(
        self, tag: str, text_string: str, global_step: int | None = None, walltime: float | None = None
    ) -> None:
        assert walltime is None
        self.texts.append((tag, text_string, global_step))


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> Mlflow:
    module = Mlflow()
    monkeypatch.setitem(sys.modules, "mlflow", module)
    return module


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("wandb")
    module.Table = Table  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", module)


def swept(**grid: Any) -> vg.Sweep:
    return vg.sweep(SPEC, seeds=2, batch=8, **grid)


def test_mlflow_gets_few_metrics_and_one_table_in_the_run_that_is_open(mlflow: Mlflow) -> None:
    s = swept(depth=[2, 10], activation=["sigmoid", "relu"])
    export.mlflow(ActiveRun(), s)
    ((metrics, step, run_id),) = mlflow.metrics
    assert (step, run_id) == (None, "abc")
    ends = {f"vgcore/{s}_{what}_{end}" for s in SIGNALS for what in ("factor", "decades") for end in ("min", "max")}
    assert metrics.keys() == NAMES | ends
    verdicts = [row["verdict"] for row in s.table()]
    assert metrics["vgcore/cells"] == 4
    assert all(metrics[f"vgcore/{word}"] == verdicts.count(word) for word in ("healthy", "vanishing", "exploding"))
    factors = [cell.factor("backward").value for cell in s]
    assert metrics["vgcore/backward_factor_min"] == min(factors)
    assert metrics["vgcore/backward_factor_max"] == max(factors)
    # From end to end, over the steps between layers, and the mean over seeds, as a factor is.
    decades = [float(cell.end_to_end("backward").mean()) for cell in s]
    assert metrics["vgcore/backward_decades_min"] == pytest.approx(min(decades), rel=1e-12)

    ((columns, name, run_id),) = mlflow.tables
    assert (name, run_id) == ("vgcore.json", "abc")
    assert [*columns] == ["depth", "activation", *OF_ROW]
    assert columns["depth"] == [2, 2, 10, 10]
    assert columns["backward"] == factors
    assert columns["backward_low"] == [cell.factor("backward").low for cell in s]
    assert columns["verdict"] == verdicts


def test_a_probe_has_one_number_a_signal_and_a_step_is_handed_on(mlflow: Mlflow) -> None:
    p = vg.probe(SPEC, seeds=2)
    export.mlflow(ActiveRun(), p, step=7)
    ((metrics, step, _),) = mlflow.metrics
    assert step == 7
    assert metrics.keys() == NAMES | {f"vgcore/{s}_{what}" for s in SIGNALS for what in ("factor", "decades")}
    assert metrics["vgcore/forward_factor"] == p.factor("forward").value
    assert metrics["vgcore/backward_decades"] == pytest.approx(9 * math.log10(p.factor("backward").value))
    ((columns, name, _),) = mlflow.tables
    assert name == "vgcore-7.json"
    assert [*columns] == OF_ROW
    assert columns["verdict"] == [vg.diagnose(p).verdict]


@pytest.mark.usefixtures("wandb")
def test_wandb_gets_numbers_and_a_table_in_one_step(mlflow: Mlflow) -> None:
    s = swept(width=[8, (8,) * 10], skip=[None, "residual"], branch_scale=[1, "1/sqrt(L)"], out_features=[None, 3])
    run = Run()
    export.wandb(run, s, step=3)
    export.mlflow(ActiveRun(), s)
    ((data, step),) = run.logged
    assert step == 3
    table = data.pop("vgcore/cells_table")
    assert data == mlflow.metrics[0][0]
    assert table.columns == ["width", "skip", "branch_scale", "out_features", *OF_ROW]
    assert len(table.data) == len(s) == 16
    # A column has one type: text, where any cell has text.
    assert {tuple(row[:4]) for row in table.data} == {
        (width, skip, scale, outputs)
        for width in ("8", " ".join(["8"] * 10))
        for skip in ("none", "residual")
        for scale in ("1.0", "1/sqrt(L)")
        for outputs in (None, 3)
    }


def test_tensorboard_gets_scalars_and_a_table_in_markdown(mlflow: Mlflow) -> None:
    s = swept(depth=[2, 10])
    writer = Writer()
    export.tensorboard(writer, s, step=5)
    export.mlflow(ActiveRun(), s)
    assert {name: value for name, value, _ in writer.scalars} == mlflow.metrics[0][0]
    assert {step for *_, step in writer.scalars} == {5}
    ((tag, text, step),) = writer.texts
    assert (tag, step) == ("vgcore/cells_table", 5)
    head, rule, *rows = text.splitlines()
    assert [cell.strip() for cell in head.split("|")[1:-1]] == ["depth", *OF_ROW]
    assert {line.count("|") for line in (head, rule, *rows)} == {len(OF_ROW) + 2}
    assert [row.split("|")[1].strip() for row in rows] == ["2", "10"]
    assert f" {s[1].factor('backward').value:.4g} " in rows[1]


@pytest.mark.parametrize("spec", [SPEC.replace(depth=1), SPEC.replace(init="zeros", activation="relu")])
def test_a_number_that_is_not_finite_is_left_out(spec: vg.MLP) -> None:
    p = vg.probe(spec, seeds=2)
    assert not math.isfinite(p.factor("forward").value)
    writer = Writer()
    export.tensorboard(writer, p)
    assert {name for name, *_ in writer.scalars} == NAMES
    writer = Writer()
    export.tensorboard(writer, vg.Sweep((p, vg.probe(SPEC)), (), 2))
    assert all(math.isfinite(value) for _, value, _ in writer.scalars)
    assert "vgcore/forward_factor_min" in {name for name, *_ in writer.scalars}


@pytest.mark.usefixtures("mlflow", "wandb")
@pytest.mark.parametrize("wrong", [None, 3, "run", ModuleType("mlflow"), SimpleNamespace(info=1, log=print), Writer])
def test_what_is_no_run_is_refused_with_what_is_one(wrong: Any) -> None:
    p = vg.probe(SPEC, seeds=1)
    wants = {export.mlflow: r"mlflow\.start_run\(\)", export.wandb: r"wandb\.init\(\)"}
    for use, words in wants.items():
        with pytest.raises(TypeError, match=rf"run must be what {words} gives, got "):
            use(wrong, p)
    if wrong is not Writer:
        with pytest.raises(TypeError, match="writer must be a SummaryWriter, with add_scalar and add_text, got"):
            export.tensorboard(wrong, p)


def test_a_run_of_one_tracker_is_none_of_another(mlflow: Mlflow) -> None:
    p = vg.probe(SPEC, seeds=1)
    with pytest.raises(TypeError, match=r"got wandb\.sdk\.wandb_run\.Run"):
        export.mlflow(Run(), p)
    with pytest.raises(TypeError, match=r"got mlflow\.tracking\.fluent\.ActiveRun"):
        export.wandb(ActiveRun(), p)
    with pytest.raises(TypeError, match=r"got mlflow\.tracking\.client\.MlflowClient"):
        export.mlflow(type("MlflowClient", (), {"__module__": "mlflow.tracking.client"})(), p)
    assert (mlflow.metrics, mlflow.tables) == ([], [])


@pytest.mark.usefixtures("wandb")
def test_what_was_not_measured_is_refused(mlflow: Mlflow) -> None:
    for use, run in ((export.mlflow, ActiveRun()), (export.wandb, Run()), (export.tensorboard, Writer())):
        wrong: Any
        for wrong in (SPEC, [vg.probe(SPEC, seeds=1)], None):
            with pytest.raises(TypeError, match="s must be a Sweep or a Probe, got "):
                use(run, wrong)
        with pytest.raises(ValueError, match="without cells"):
            use(run, vg.Sweep((), (), 0))
    assert mlflow.metrics == []


def test_exporting_imports_no_library() -> None:
    code = (
        "import sys, vgcore as vg\n"
        "class Writer:\n"
        "    def add_scalar(self, *_, **__): pass\n"
        "    add_text = add_scalar\n"
        "cell = vg.probe(vg.MLP(depth=2, width=4), seeds=1)\n"
    )
    loaded = [
        subprocess.run([sys.executable, "-c", code + does + LISTED], capture_output=True, text=True, check=True).stdout
        for does in ("", "vg.export.tensorboard(Writer(), cell)\n")
    ]
    assert {*loaded[1].split()} == {*loaded[0].split()} >= {"vgcore", "numpy"}


# Arrow


def test_arrow_readers_take_a_sweep_and_a_probe_as_they_are() -> None:
    import polars as pl
    import pyarrow as pa

    s = swept(init=["zeros", "xavier_normal"], out_features=[None, 3], width=[8, 4])
    columns = s.to_dict()
    for frame in (pa.table(s), pa.table(pl.DataFrame(s)), pa.RecordBatchReader.from_stream(s).read_all()):
        assert frame.column_names == [*columns]
        for name, column in columns.items():
            assert str(frame[name].to_pylist()) == str(column.tolist())
    assert pl.DataFrame(s[0]).equals(s[0].to_polars(), null_equal=True)


def test_what_is_missing_is_null_of_the_type_that_it_would_have() -> None:
    import pyarrow as pa

    schema = pa.table(swept(out_features=[None, 3])).schema
    assert schema.field("out_features").type == pa.int64()
    assert "in_features" not in schema.names  # of which nothing is known
    assert b"counted from 1" in schema.metadata[b"vgcore_layer"]
    kinds = {"depth": pa.int64(), "activation": pa.string(), "tied": pa.bool_(), "seed": pa.uint64()}
    kinds |= {"branch_scale": pa.float64(), "log10_z_rms": pa.float64()}
    for name, kind in kinds.items():
        assert schema.field(name).type == kind


def test_arrow_readers_may_ask_for_a_schema() -> None:
    import pyarrow as pa

    p = vg.probe(SPEC, seeds=2)
    schema = pa.table(p).schema
    place = schema.get_field_index("batch")
    narrow = schema.set(place, pa.field("batch", pa.int32()))
    assert pa.RecordBatchReader.from_stream(p, schema=narrow).schema == narrow


@pytest.mark.parametrize("measured", [vg.Sweep, vg.Probe])
def test_without_pyarrow_the_extra_is_named(measured: type, monkeypatch: pytest.MonkeyPatch) -> None:
    s = swept()
    subject = s if measured is vg.Sweep else s[0]
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyarrow"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"needs pyarrow.*pip install 'vgcore\[parquet\]'"):
        subject.__arrow_c_stream__()
