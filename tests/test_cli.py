"""The shell: what it prints, writes and returns."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import vgcore as vg
from vgcore.judge.foreign import PRESETS
from vgcore.shell import commands, nets, outputs
from vgcore.show import text as report

COMMAND = [sys.executable, "-c", "from vgcore.shell.commands import main; main()"]
SMALL = ["--width", "8", "--seeds", "2"]


class Ran(NamedTuple):
    """What a command leaves behind."""

    returncode: int
    stdout: str
    stderr: str


def run(*arguments: str, cwd: Path | None = None) -> Ran:
    """A command in this interpreter: all but what only a process has, such as signals, pipes and a terminal."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["vgcore", *arguments])
        if cwd is not None:
            patch.chdir(cwd)
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
            commands.main()
    assert isinstance(ended.value.code, int)
    return Ran(ended.value.code, out.getvalue(), err.getvalue())


def run_apart(*arguments: str) -> Ran:
    """A command in an interpreter of its own."""
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=500)
    return Ran(done.returncode, done.stdout, done.stderr)


def shown_on(terminal: int) -> Iterator[bytes]:
    """All that this terminal has shown so far, again after each change, until its other end is closed."""
    shown = b""
    with suppress(OSError):  # the other end is closed
        while chunk := os.read(terminal, 65536):
            shown += chunk
            yield shown


def on_terminal(*arguments: str, columns: int, **environment: str) -> tuple[int, str]:
    """What a command returns, and what it shows on a terminal of so many columns, with its colour codes."""
    ours, theirs = pty.openpty()
    whole = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR"}}
    whole |= {"TERM": "xterm-256color", "COLUMNS": str(columns)} | environment
    with subprocess.Popen([*COMMAND, *arguments], stdout=theirs, stderr=-1, env=whole) as process:
        os.close(theirs)
        *_, shown = (b"", *shown_on(ours))
    os.close(ours)
    return process.returncode, shown.decode()


def plain(shown: str) -> list[str]:
    """Lines without their colours."""
    return re.sub(r"\x1b\[[\d;]*m", "", shown).splitlines()


def strict_json(text: str) -> Any:
    """JSON without what only Python takes for it."""

    def refuse(name: str) -> None:
        pytest.fail(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_a_probe_prints_factors_and_layers_and_returns_0() -> None:
    done = run("probe", "--depth", "5", "--activation", "tanh", *SMALL)
    assert done.returncode == 0, done.stderr
    assert re.search(r"\d\.\d+ \(\d\.\d+-\d\.\d+\).*healthy", done.stdout)
    assert [line.split()[0] for line in done.stdout.splitlines() if re.match(r"\s+\d+\s+-?\d+\.\d ", line)] == list(
        "12345"
    )
    assert done.stderr == ""  # no progress bar off a terminal


def test_the_table_says_what_the_python_call_measures() -> None:
    done = run("sweep", "--depth", "40", "--activation", "sigmoid,relu", *SMALL)
    cells = vg.sweep(vg.MLP(depth=40, width=8), activation=["sigmoid", "relu"], seeds=2)
    for cell in cells:
        (line,) = [line for line in done.stdout.splitlines() if line.split()[:1] == [cell.spec.activation]]
        assert f"{cell.factor('backward').value:.3f}" in line
        assert f" {cell.log10_wgrad_norm[:, 0].mean():.1f} " in line
    assert "vanishing" in done.stdout


def test_json_holds_every_cell_and_is_plain_json() -> None:
    done = run("sweep", "--depth", "1,3", "--json", *SMALL)
    cells = json.loads(done.stdout)  # json.loads takes NaN too: look for it
    assert "NaN" not in done.stdout
    assert [cell["depth"] for cell in cells] == [1, 3]
    assert cells[0]["backward"] == {"value": None, "low": None, "high": None}
    assert vg.MLP.from_json(json.dumps(cells[1]["spec"])).id == cells[1]["cell_id"]


def test_json_of_a_probe_holds_its_columns() -> None:
    (cell,) = json.loads(run("probe", "--depth", "3", "--json", *SMALL).stdout)
    expected = vg.probe(vg.MLP(depth=3, width=8), seeds=2)
    np.testing.assert_array_equal(cell["log10_delta_rms"], expected.log10_delta_rms)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("7", [7]), ("4,16,64", [4, 16, 64]), ("2:8:2", [2, 4, 6, 8]), ("2:4", [2, 3, 4]), ("1,5:9:3", [1, 5, 8])],
)
def test_integers_are_numbers_lists_and_ranges_with_their_end(text: str, numbers: list[int]) -> None:
    assert nets.integers(text) == numbers


def test_lists_split_at_commas_outside_parentheses_and_options_repeat() -> None:
    assert nets.split("relu,mean_field(1.5, 0.05), tanh") == ["relu", "mean_field(1.5, 0.05)", "tanh"]
    done = run("sweep", "--activation", "tanh,relu", "--activation", "elu(0.5)", "--json", "--depth", "2", *SMALL)
    assert [cell["activation"] for cell in json.loads(done.stdout)] == ["tanh", "relu", "elu(alpha=0.5)"]


def test_digits_give_the_sizes_and_the_loss() -> None:
    (cell,) = json.loads(run("probe", "--data", "digits", "--depth", "2", "--batch", "50", "--json", *SMALL).stdout)
    assert (cell["spec"]["in_features"], cell["spec"]["out_features"]) == (64, 10)
    assert (cell["loss"], cell["batch"]) == ("cross_entropy", 50)


def test_a_csv_is_read_with_its_target_by_name_or_index(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("y,a,b\n" + "".join(f"{i % 3},{i},{-i}.5\n" for i in range(9)))
    for target in ("y", "0"):
        done = run("probe", "--data", str(path), "--target", target, "--depth", "2", "--json", *SMALL)
        (cell,) = json.loads(done.stdout)
        assert (cell["spec"]["in_features"], cell["spec"]["out_features"], cell["batch"]) == (2, 3, 9)


def test_names_of_classes_and_semicolons_are_read_from_a_file_or_a_pipe(tmp_path: Path) -> None:
    table = "kind;a;b\n" + "".join(f"{('dog', 'cat', 'owl')[i % 3]};{i};{-i}.5\n" for i in range(9))
    path = tmp_path / "d.csv"
    path.write_text(table)
    options = ["--target", "kind", "--depth", "2", *SMALL]
    (cell,) = json.loads(run("probe", "--data", str(path), "--json", *options).stdout)
    assert (cell["loss"], cell["spec"]["in_features"], cell["spec"]["out_features"]) == ("cross_entropy", 2, 3)
    piped = [*COMMAND, "probe", "--data", "-", *options]
    done = subprocess.run(piped, input=table, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0
    assert "9 samples of standard input a run, cross_entropy loss" in done.stdout
    refused = subprocess.run(piped, input="kind;a\ndog;1,5\n", capture_output=True, text=True, check=False, timeout=500)
    assert refused.returncode == commands.USAGE
    assert "standard input, line 2, column 'a': '1,5' has a decimal comma" in refused.stderr


def test_one_hot_rows_and_columns_of_numbers_have_their_loss(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((9, 2))
    for y, loss in ((np.eye(3)[np.arange(9) % 3], "cross_entropy"), (x @ np.ones((2, 3)), "mse")):
        np.savez(tmp_path / "d.npz", x=x, y=y)
        (cell,) = json.loads(run("probe", "--data", str(tmp_path / "d.npz"), "--depth", "2", "--json", *SMALL).stdout)
        assert (cell["loss"], cell["spec"]["out_features"]) == (loss, 3)


def test_a_sum_of_outputs_needs_no_data_and_shows_how_gradients_agree() -> None:
    size = ("--depth", "2", "--out-features", "1", *SMALL)
    (cell,) = json.loads(run("probe", "--loss", "output_sum", "--json", *size).stdout)
    assert (cell["loss"], cell["reduction"]) == ("output_sum", "mean over the batch")
    (cell,) = json.loads(
        run("probe", "--loss", "output_sum", "--data", "digits", "--batch", "50", "--json", *size).stdout
    )
    assert (cell["loss"], cell["spec"]["in_features"]) == ("output_sum", 64)
    # Random cotangents have nothing to tell.
    shown = [run("probe", *loss, *size).stdout.count("correlation") for loss in ([], ["--loss", "output_sum"])]
    assert shown == [1, 2]


def test_whole_numbers_are_classes_or_values_as_the_loss_says(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    path.write_text("a,price\n" + "".join(f"{i},{200_000 + i}\n" for i in range(9)))
    (cell,) = json.loads(run("probe", "--data", str(path), "--loss", "mse", "--depth", "2", "--json", *SMALL).stdout)
    assert (cell["loss"], cell["spec"]["out_features"]) == ("mse", 1)
    refused = run("probe", "--data", str(path), "--depth", "2", *SMALL)
    assert refused.returncode == commands.USAGE
    assert "200000 to 200008" in refused.stderr
    assert "--loss mse" in refused.stderr


def test_files_and_pictures_are_written_where_asked(tmp_path: Path) -> None:
    done = run("sweep", "--depth", "2,4", "--out", "a/s.csv", "--plot", "p", *SMALL, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "a/s.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * (2 + 4)
    assert {row["layer"] for row in rows} == {"1", "2", "3", "4"}
    for name in ("layers", "depths", "heatmap"):
        assert (tmp_path / "p" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_wider_model_space_is_swept_and_said(tmp_path: Path) -> None:
    options = ["--norm", "none,layer", "--norm-position", "post", "--skip", "none,residual(order=pre),highway"]
    options += ["--weight-transform", "spectral_norm", "--block", "2", "--depth", "4", "--out", "runs.csv"]
    done = run("sweep", *options, *SMALL, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = "depth 4, width 8, activation relu, init kaiming_normal, norm_position post, block 2, "
    assert f"all: {said}weight_transform spectral_norm\n" in done.stdout
    cells = re.findall(r"^ +(none|layer) +(none|highway|residual\(order=pre\)) +\d", done.stdout, flags=re.MULTILINE)
    assert len(set(cells)) == 6
    with (tmp_path / "runs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["norm"], row["skip"]) for row in rows} == set(cells)
    assert {row["weight_transform"] for row in rows} == {"spectral_norm"}


def test_a_recurrent_net_shows_the_gradient_of_all_its_steps(tmp_path: Path) -> None:
    recurrent = ["--tied", "--inputs", "every", "--activation", "tanh", "--depth", "6", *SMALL]
    done = run("probe", *recurrent, cwd=tmp_path)
    spec = vg.MLP(depth=6, width=8, activation="tanh", tied=True, inputs="every")
    expected = vg.probe(spec, seeds=2).log10_summed_wgrad_norm[:, 0].mean()
    assert "init kaiming_normal, tied, inputs every\n" in done.stdout
    assert re.search(rf"- +{expected:.1f} +healthy", done.stdout), done.stdout
    (cell,) = json.loads(run("probe", *recurrent, "--json").stdout)
    assert cell["first_gradient"] == pytest.approx(expected)
    assert (cell["spec"]["tied"], cell["spec"]["inputs"]) == (True, "every")


@pytest.mark.parametrize(
    ("options", "there"),
    [([], []), (["--norm", "rms"], ["affine"]), (["--activation", "prelu", "--tied"], ["slope", "summed"])],
)
def test_a_probe_shows_the_columns_that_its_net_has(options: list[str], there: list[str]) -> None:
    done = run("probe", "--depth", "3", *options, *SMALL)
    table = done.stdout[: done.stdout.index("x per layer: geometric mean")]
    assert [name for name in ("affine", "slope", "gate", "summed") if name in table] == there


@pytest.mark.parametrize("store", [[], ["--store", "e.vg"]])
def test_a_shard_without_cells_says_so_and_what_is_not_written(store: list[str], tmp_path: Path) -> None:
    shards = [
        run("sweep", *SMALL, "--depth", "2,4", "--shard", f"{i}/8", *store, "--out", f"{i}.csv", cwd=tmp_path)
        for i in range(8)
    ]
    empty = [i for i, done in enumerate(shards) if not done.stdout]
    assert len(empty) >= 6
    for i in empty:
        assert shards[i].stderr == f"0 of 2 cells are of shard {i}/8; '{i}.csv' is not written\n"
        assert shards[i].returncode == 0
        assert not (tmp_path / f"{i}.csv").exists()


@pytest.mark.parametrize(
    ("rows", "options", "told"),
    [
        ("1,2,dog\n\n1,3,cat\n", ["--loss", "hinge"], "line 4, column 'kind': the target must be -1 or 1"),
        ("1,2,dog\n\n1,3,cat\n", ["--loss", "hinge"], "got 0, the number of class 'cat'"),
        ("1,2,1\n1,3,2\n", ["--loss", "bce_with_logits"], "line 3, column 'kind': the target must be from 0 to 1"),
        ("1,2,1\n1,3,-2\n", ["--loss", "cross_entropy"], "line 3, column 'kind': the target must be an integer from 0"),
        ("1,2,1\n1,1e39,0\n", ["--loss", "mse"], "line 3, column 'b': 1e+39 is beyond the range of float32"),
        ("1,2,1\n1,3,0\n", ["--target", "7"], "an index counts from 0, the first column, or from -1, the last"),
    ],
)
def test_what_is_wrong_with_data_is_told_by_line_and_column(
    rows: str, options: list[str], told: str, tmp_path: Path
) -> None:
    (tmp_path / "points.csv").write_text("a,b,kind\n" + rows, encoding="utf-8")
    done = run("diagnose", "--depth", "2", *SMALL, "--data", "points.csv", *options, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: points.csv")
    assert told in done.stderr


def test_a_factor_of_any_size_is_told_in_few_characters() -> None:
    net = ("--depth", "4", "--width", "8", "--init", "normal(std=1e20)", "--activation", "sin,linear")
    done = run("sweep", *net, "--seeds", "2")
    assert "init normal(std=1e20)" in done.stdout
    assert re.search(r"\d\.\d+e\+20 \(\d\.\d+e\+20-\d\.\d+e\+20\)", done.stdout)
    assert not re.search(r"\d{8}", done.stdout)
    small = run("sweep", *net[:4], "--init", "normal(std=1e-6)", "--activation", "linear,tanh", "--seeds", "2")
    assert not re.search(r"\b0\.000\b", small.stdout)


def test_a_table_of_long_texts_loses_nothing_on_a_narrow_terminal() -> None:
    arguments = ["sweep", "--depth", "4", "--skip", "none,highway(gate_bias=-3)", "--norm", "none,layer(eps=0.125)"]
    lines = plain(on_terminal(*arguments, *SMALL, columns=80)[1])
    assert max(map(len, lines)) <= 80
    assert "…" not in "".join(lines)
    # Numbers stand in one line, texts in as many as they need.
    kinds: dict[str, Any] = {"skip": [None, "highway(gate_bias=-3)"], "norm": [None, "layer(0.125)"]}
    for cell in vg.sweep(vg.MLP(depth=4, width=8), **kinds, seeds=2):
        assert any(f" {cell.factor('backward').value:.3f} " in line and "healthy" in line for line in lines)


def test_a_run_that_diverges_is_a_row_and_returns_1() -> None:
    done = run("sweep", "--depth", "2,200", "--activation", "softplus", "--init", "normal(std=100)", *SMALL)
    assert done.returncode == commands.DIVERGED
    assert "exploding" in done.stdout
    assert "non-finite" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["probe", "--activation", "tnah"], ["unknown activation 'tnah'", "'tanh'"]),
        (["probe", "--depth", "0"], ["depth", "1 to 1000000", "got 0"]),
        (["probe", "--depth", "3.5"], ["--depth", "'3.5'", "2:128:2"]),
        (["probe", "--depth", "9:2"], ["--depth", "'9:2'", "empty"]),
        (["probe", "--depth", "2:8:0"], ["--depth", "'2:8:0'", "1 or more"]),
        (["probe", "--depth", ","], ["--depth", "no values"]),
        (["probe", "--depth", "3,4"], ["depth", "vgcore sweep"]),
        (["probe", "--dtype", "float16"], ["dtype", "'float32' or 'float64'", "float16"]),
        (["probe", "--threads", "0"], ["threads", "1 to", "got 0"]),
        (["probe", "--seeds", "0"], ["seeds", "1 to", "got 0"]),
        (["probe", "--seed", "-1"], ["seed", "got -1"]),
        (["probe", "--loss", "mse"], ["--loss", "--data"]),
        (["probe", "--data", "digits", "--loss", "msee"], ["unknown loss 'msee'", "'mse'"]),
        (["probe", "--data", "nope.csv"], ["nope.csv"]),
        (["probe", "--data", "digits", "--target", "3"], ["--target"]),
        (["probe", "--data", "digits", "--in-features", "3"], ["x", "(batch, 3)", "(1797, 64)"]),
        (["probe", "--out", "a.txt"], [".csv", ".parquet", "a.txt"]),
        (["probe", "--init", "normal(std=-1)"], ["std", "0 or more", "got -1"]),
        (["probe", "--depth", "100000", "--width", "100000"], ["bytes", "lower depth"]),
        (["probe", "--nonsense"], ["--nonsense"]),
        (["probe", "--target", "y"], ["--target", "--data"]),
        (["probe", "--init", "mean_field(1.5,0.05"], ["--init", "parentheses"]),
        (["sweep", "--depth", "1:1000000000000"], ["--depth", "more than 1000000"]),
        (["sweep", "--depth", "1:2000", "--width", "1:2000"], ["at most 1000000 cells", "4000000"]),
        (["probe", "--skip", "None"], ["skip", "None"]),
        (["probe", "--norm", "bach"], ["unknown norm 'bach'", "'batch'"]),
        (["probe", "--norm", "batch", "--batch", "1"], ["norm='batch'", "at least 2 samples"]),
        (["probe", "--norm-position", "mid"], ["norm_position", "'pre', 'post' or 'input'", "'mid'"]),
        (["probe", "--skip", "residual(order=prae)"], ["order", "after, linear, post, pre", "'prae'"]),
        (["probe", "--skip", "residual", "--block", "5"], ["multiple of block=5"]),
        (["probe", "--weight-transform", "spectral_nrom"], ["weight_transform", "'spectral_norm'"]),
        (["probe", "--inputs", "every"], ["inputs='every'", "tied=True"]),
        (["probe", "--tied", "--skip", "dense"], ["tied=True", "dense"]),
        (["probe", "--activation", "tnah", "--out", "new/a.csv", "--plot", "pictures"], ["tnah"]),
        (["prob"], ["prob"]),
        (["diagnose", "--fail-on", "criticl"], ["unknown severity 'criticl'", "'critical'", "warning", "never"]),
        (["advise", "--fail-on", "all"], ["unknown severity 'all'", "info, warning, critical, never"]),
        (["diagnose", "--threshold", "saturation"], ["--threshold", "RULE=VALUE", "'saturation'"]),
        (["diagnose", "--threshold", "saturation=low"], ["--threshold", "RULE=VALUE", "'saturation=low'"]),
        (["diagnose", "--threshold", "saturatoin=0.3"], ["unknown rule 'saturatoin'", "'saturation'"]),
        (["diagnose", "--threshold", "dead_units=-1"], ["dead_units", "above 0", "-1"]),
        (["diagnose", "--threshold", "dead_units=nan"], ["dead_units", "above 0", "nan"]),
        (["diagnose", "--rules", "sagemakr"], ["unknown rule set 'sagemakr'", "'sagemaker'"]),
        (["diagnose", "--rules", "dlcheck", "--threshold", "saturation=1"], ["thresholds", "vgcore's", "dlcheck"]),
        (["diagnose", "--rules", "dlcheck", "--depth", "3,4"], ["--rules dlcheck", "one value for --depth"]),
        (["advise", "--depth", "3,4", "--norm", "none,layer"], ["advise takes one value for --depth, --norm", "sweep"]),
        (["advise", "--keep", "norms"], ["unknown name to keep 'norms'", "did you mean 'norm'?"]),
        (["advise", "--budget", "0"], ["budget must be an integer from 1", "got 0"]),
        (["advise", "--rules", "sagemaker"], ["--rules"]),
        (["diagnose", "--data", "digits", "--out-features", "3"], ["y"]),
    ],
)
def test_bad_input_is_one_clear_error_and_returns_2(arguments: list[str], words: list[str], tmp_path: Path) -> None:
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == commands.USAGE
    assert done.stdout == ""
    for word in words:
        assert word in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []  # nothing half done


def test_an_interrupt_keeps_and_shows_what_was_finished(tmp_path: Path) -> None:
    arguments = ["sweep", "--width", "8:1007", "--depth", "20", "--seeds", "8", "--out", "s.csv", "--yes"]
    ours, theirs = pty.openpty()
    whole = os.environ | {"TERM": "xterm", "COLUMNS": "120"}
    pressed = False
    with (
        (tmp_path / "said").open("wb") as out,
        subprocess.Popen([*COMMAND, *arguments], stdout=out, stderr=theirs, cwd=tmp_path, env=whole) as process,
    ):
        os.close(theirs)
        for shown in shown_on(ours):
            if not pressed and re.search(rb"[1-9]\d*/1000 cells", shown):  # the bar counts what is finished
                process.send_signal(signal.SIGINT)
                pressed = True
    os.close(ours)
    err = shown.decode()
    assert process.returncode == commands.INTERRUPTED, err
    assert (found := re.search(r"interrupted: (\d+) of 1000 cells", err))
    assert 0 < int(found[1]) < 1000
    assert re.match(rf"{found[1]} cells? x 8 seeds", (tmp_path / "said").read_text(encoding="utf-8"))
    assert (tmp_path / "s.csv").stat().st_size > 0


def test_a_terminal_gets_a_live_bar_with_the_time_left_on_stderr_alone() -> None:
    ours, theirs = pty.openpty()
    arguments = ["sweep", "--depth", "2:60:2", "--width", "64", "--seeds", "4"]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen([*COMMAND, *arguments], stdout=-1, stderr=theirs, env=environment) as process:
        os.close(theirs)
        assert process.stdout is not None
        *_, shown = (b"", *shown_on(ours))
        out = process.stdout.read().decode()
    os.close(ours)
    assert b"30/30 cells" in shown
    assert b"left" in shown
    assert "cells x 4 seeds" in out
    assert "elapsed" not in out


# Judge and advise

HEALTHY = ["--depth", "6", "--width", "32", "--seeds", "3"]
MILD = ["--depth", "50", "--width", "32", "--activation", "tanh", "--init", "xavier_normal", "--seeds", "3"]
SLOW = ["--depth", "50", "--width", "32", "--activation", "tanh", "--init", "xavier_normal(gain=1.6667)"]
SICK = ["--depth", "30", "--width", "32", "--activation", "sigmoid", "--seeds", "3"]
SICK_SPEC = vg.MLP(depth=30, width=32, activation="sigmoid")


@pytest.mark.parametrize("command", ["diagnose", "advise"])
@pytest.mark.parametrize(
    ("net", "fail_on", "code"),
    [
        (HEALTHY, "info", 0),
        (MILD, "info", 1),
        (MILD, None, 0),
        (SLOW, None, 1),
        (SLOW, "critical", 0),
        (SICK, "critical", 1),
        (SICK, "never", 0),
    ],
    ids=["healthy", "info", "only info", "warning", "only a warning", "critical", "never"],
)
def test_findings_from_a_severity_on_return_1(command: str, net: list[str], fail_on: str | None, code: int) -> None:
    done = run(command, *net, *([] if fail_on is None else ["--fail-on", fail_on]))
    assert (done.returncode, done.stderr) == (code, "")


def test_a_diagnosis_in_the_shell_is_the_one_of_python() -> None:
    done = run("diagnose", *SICK)
    assert done.stdout == f"{vg.diagnose(SICK_SPEC, seeds=3)}\n"
    assert "\x1b" not in done.stdout
    explained = run("diagnose", *SICK, "--explain")
    assert explained.stdout == f"{vg.diagnose(SICK_SPEC, seeds=3, explain=True)}\n"
    assert "|dL/dz_1|/|dL/dz_L| = F = f^(L-1)" in explained.stdout
    assert "log10_delta_rms, " in explained.stdout


def test_a_diagnosis_in_json_is_the_one_of_python() -> None:
    done = run("diagnose", *SICK, "--json")
    expected = vg.diagnose(SICK_SPEC, seeds=3).to_dict()
    assert strict_json(done.stdout) == json.loads(json.dumps(outputs.plain(expected)))
    assert done.returncode == 1


@pytest.mark.parametrize(
    "net",
    [
        ["--depth", "9", "--seeds", "1"],
        ["--depth", "9", "--init", "zeros"],
        ["--depth", "99", "--activation", "softplus", "--init", "normal(std=100)"],
    ],
    ids=["one seed", "zeros", "not finite"],
)
@pytest.mark.parametrize("command", ["diagnose", "advise"])
def test_json_has_null_where_there_is_no_number(command: str, net: list[str]) -> None:
    found = strict_json(run(command, "--width", "16", "--json", *net).stdout)
    found = found["before"] if command == "advise" else found
    if "--seeds" in net:
        assert found["depth_limit"]["low"] is None
    else:
        assert found["depth_limit"] is None


@pytest.mark.parametrize("rules", PRESETS)
def test_the_rules_of_another_tool_are_said_to_be_theirs(rules: str) -> None:
    done = run("diagnose", *SICK, "--rules", rules, "--json")
    found = strict_json(done.stdout)
    assert (found["rules"], found["verdict"], found["depth_limit"]) == (rules, "vanishing", None)
    assert found["summary"].startswith(f"{PRESETS[rules].title} would say vanishing: ")
    assert all(finding["rule"].startswith(f"{rules}.") for finding in found["findings"])
    assert done.returncode == 1


def test_a_tool_whose_rules_fire_is_not_said_to_find_a_net_well() -> None:
    found = strict_json(run("diagnose", *SMALL, "--depth", "4", "--rules", "torchmortem", "--json").stdout)
    assert (found["verdict"], len(found["findings"])) == ("healthy", 1)
    says = "torchmortem would say nothing of vanishing or exploding gradients, but 1 of its 5 rules fires: "
    assert re.fullmatch(f"{says}(dead|saturated) units", found["summary"])


def test_thresholds_are_given_rule_by_rule() -> None:
    assert run("diagnose", *SLOW, "--threshold", "backward_exploding=3").returncode == 0
    thresholds = ["--threshold", "backward_vanishing=0.5", "--threshold", "finite_width = 0.01"]
    done = run("diagnose", *MILD, *thresholds)
    assert done.returncode == 1
    assert re.search(r"^(warning|critical) +backward_vanishing", done.stdout, flags=re.MULTILINE)
    assert re.search(r"^warning +finite_width", done.stdout, flags=re.MULTILINE)


def test_every_cell_of_a_grid_is_judged() -> None:
    grid = ["--depth", "4,30", "--activation", "relu,sigmoid", "--width", "32", "--seeds", "3"]
    done = run("diagnose", *grid)
    assert done.stdout.startswith("of 4 cells 2 healthy, 2 vanishing; worst: vanishing (backward), collapsed: ")
    cells = re.findall(r"^  (\w+).* depth (\d+), activation (\w+)$", done.stdout, flags=re.MULTILINE)
    assert sorted(cells) == [
        ("healthy", "30", "relu"),
        ("healthy", "4", "relu"),
        ("vanishing", "30", "sigmoid"),
        ("vanishing", "4", "sigmoid"),
    ]
    assert done.returncode == 1
    listed = strict_json(run("diagnose", *grid, "--json").stdout)["cells"]
    assert [(cell["verdict"], str(cell["spec"]["depth"]), cell["spec"]["activation"]) for cell in listed] == cells


def test_data_are_judged_with_their_loss() -> None:
    net = ["--data", "digits", "--batch", "32", "--depth", "12", "--width", "32", "--activation", "sigmoid"]
    x, y = vg.data.digits()
    spec = vg.MLP(depth=12, width=32, activation="sigmoid", in_features=64, out_features=10)
    expected: dict[str, Any] = {"x": x, "y": y, "loss": "cross_entropy", "batch": 32}
    assert run("diagnose", *net).stdout == f"{vg.diagnose(spec, **expected)}\n"
    found = strict_json(run("advise", *net, "--json").stdout)
    a = vg.advise(spec, (x, y), batch=32)
    assert found == json.loads(json.dumps(outputs.plain(a.to_dict())))
    assert found["advice"][0]["cures"] is True


def test_what_is_kept_in_the_shell_is_kept_in_python() -> None:
    found = strict_json(run("advise", *SICK, "--keep", "init,norm", "--keep", "branch-scale", "--json").stdout)
    a = vg.advise(SICK_SPEC, seeds=3, keep=("init", "norm", "branch_scale"))
    assert [each["change"] for each in found["advice"]] == [advice.change for advice in a]
    assert all(each["after"]["spec"]["init"] == SICK_SPEC.init for each in found["advice"])


def test_advice_in_the_shell_is_the_one_of_python() -> None:
    done = run("advise", *SICK)
    a = vg.advise(SICK_SPEC, seeds=3)
    words = " ".join(done.stdout.split())
    assert words.startswith(a.before.summary)
    assert f"{a.tried} nets were run" in words
    assert "Best first: cures that change least" in words
    assert "depth limit: the most layers that such a net can have, - where none is known" in words
    assert "\x1b" not in done.stdout
    for i, row in enumerate(report.advice_rows(a)[2:], 1):
        (line,) = [line for line in done.stdout.splitlines() if line.split()[:1] == [str(i)]]
        assert " ".join(line.split()).endswith(" ".join(row[-6:]))
        assert row[1].split(",")[0] in line
        assert row[2] in line
    assert run("advise", *HEALTHY).stdout.endswith("\nnothing to change\n")


def test_advice_is_trained_where_that_is_asked_for() -> None:
    net = ["--data", "digits", "--depth", "6", "--width", "16", "--activation", "sigmoid", "--init", "xavier_normal"]
    done = run("advise", *net, "--seeds", "2", "--train", "60", "--optimizer", "sgd(lr=0.1)", "--json")
    found = strict_json(done.stdout)
    reached = [each["loss_after"] for each in found["advice"]]
    assert max(reached) < found["final_loss"]
    assert reached[0] < 1.1 * min(reached)  # what is nearer together is noise


@pytest.mark.parametrize("budget", [1, 3])
def test_a_budget_is_kept(budget: int) -> None:
    assert strict_json(run("advise", *SICK, "--budget", str(budget), "--json").stdout)["tried"] == 1 + budget


@pytest.mark.parametrize("columns", [80, 120, 200])
def test_advice_fits_the_terminal_and_is_coloured(columns: int) -> None:
    code, shown = on_terminal("advise", *SICK, columns=columns)
    lines = plain(shown)
    assert code == 1
    assert max(map(len, lines)) <= columns
    assert "\x1b[34m" in shown  # vanishing: blue
    assert "\x1b[32m" in shown  # healthy: green
    a = vg.advise(SICK_SPEC, seeds=3)
    text = "\n".join(lines)
    assert re.search(r"-14\.8 +0\.308 +-?0\.0 +1 +1\.000 +3 ", text), text
    # Each verdict in one line, each change in at most a few.
    assert sum("healthy" in line for line in lines) == sum(advice.after.verdict == "healthy" for advice in a)
    assert len(lines) < 12 + 4 * len(a)


GAINED = "xavier_normal(gain=1.6667)"


def test_a_diagnosis_is_coloured_on_a_terminal_and_fits_it() -> None:
    code, shown = on_terminal("diagnose", *SICK, "--explain", columns=80)
    assert code == 1
    assert max(map(len, plain(shown))) <= 80
    for colour in ("\x1b[34m", "\x1b[31m", "\x1b[36m", "\x1b[2m"):  # verdict, severities, remedies
        assert colour in shown
    tanh = ("--depth", "50", "--width", "64", "--activation", "tanh", "--init", GAINED)
    warned = on_terminal("diagnose", *tanh, columns=80)[1]
    assert "\x1b[33m" in warned
    wide = vg.diagnose(SICK_SPEC, seeds=3)
    assert " ".join(" ".join(plain(shown)).split()).startswith(" ".join(wide.summary.split()))


def test_no_colours_where_none_are_wanted() -> None:
    _, shown = on_terminal("diagnose", *SICK, columns=80, NO_COLOR="1")
    assert not re.search(r"\x1b\[3\dm", shown)


@pytest.mark.parametrize("command", [["diagnose", "--depth", "2:150"], ["probe", "--depth", "3000"]])
def test_a_reader_who_has_seen_enough_ends_it_quietly(command: list[str]) -> None:
    arguments = [
        *COMMAND,
        *command,
        "--width",
        "8",
        "--seeds",
        "2",
        "--batch",
        "4",
        "--init",
        "xavier_normal",
        "--json",
    ]
    with subprocess.Popen(arguments, stdout=-1, stderr=-1) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=500) == 141  # as of a tool that SIGPIPE ends


@pytest.mark.parametrize("command", ["diagnose", "advise"])
def test_help_names_every_option_of_a_judgement(command: str) -> None:
    done = run(command, "--help")
    assert done.returncode == 0
    own = {"diagnose": ["--rules", "--threshold", "--explain"], "advise": ["--budget", "--keep"]}[command]
    for option in ("--depth", "--activation", "--data", "--seeds", "--fail-on", "--json", *own):
        assert option in done.stdout


def test_the_version_is_the_crate_s() -> None:
    assert run("--version").stdout.strip() == f"vgcore {vg.__version__}"


# Theory


TANH = ["--activation", "tanh", "--init", "mean_field(1.5, 0.05)", "--depth", "20", "--width", "64", "--seeds", "2"]


def test_theory_is_printed_beside_measurement() -> None:
    done = run("theory", *TANH)
    assert done.returncode == 0, done.stderr
    assert "tanh with sigma_w=1.5, sigma_b=0.05: chaotic" in done.stdout
    assert "chi_1 = 1.13671" in done.stdout
    rows = [line.split() for line in done.stdout.splitlines() if line.split()[:1] == ["backward"]]
    predicted = vg.theory.predict(vg.MLP(depth=20, width=64, activation="tanh", init="mean_field(1.5, 0.05)"))
    assert float(rows[0][1]) == pytest.approx(predicted.factor("backward"), abs=5e-4)


def test_theory_speaks_json() -> None:
    done = run("theory", "--json", *TANH)
    assert done.returncode == 0, done.stderr
    found = strict_json(done.stdout)
    assert found["theory"]["phase"] == "chaotic"
    assert found["theory"]["scales"]["q_star"] == pytest.approx(0.798387, rel=1e-5)
    measured, predicted = (found[side]["log10_delta_rms"] for side in ("measured", "theory"))
    assert measured == pytest.approx(predicted, abs=0.3)
    assert found["measured"]["factors"]["backward"]["value"] > 1
    # A net that keeps everything has scales without end, which JSON has no word for.
    keeps = run("theory", "--json", "--activation", "relu", "--init", "mean_field(1.4142135623730951)", *SMALL)
    assert strict_json(keeps.stdout)["theory"]["scales"]["xi_c"] is None


def test_theory_draws_pictures(tmp_path: Path) -> None:
    done = run("theory", "--plot", str(tmp_path / "p"), *TANH)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "p").iterdir()} == {"layers.png", "phase_diagram.png"}
    done = run("theory", "--plot", str(tmp_path / "q"), "--norm", "layer", *TANH)
    assert {path.name for path in (tmp_path / "q").iterdir()} == {"layers.png"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--tied"], "theory does not cover tied weights"),
        (["--depth", "2,3"], "theory takes one value for --depth"),
        (["--data", "digits"], "leave out --data"),
        (["--skip", "residual(order=post)"], "order=post"),
        (["--activation", "tahn"], "tanh"),
    ],
)
def test_theory_refuses_what_it_cannot_say(arguments: list[str], words: str) -> None:
    done = run("theory", *SMALL, *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["probe", "--depth", "3", *SMALL], 0),
        (["diagnose", *SICK], 1),
        (["probe", "--depth", "0"], commands.USAGE),
        (
            ["sweep", "--depth", "2,200", "--activation", "softplus", "--init", "normal(std=100)", *SMALL],
            commands.DIVERGED,
        ),
    ],
)
def test_a_process_says_and_returns_what_the_function_does(arguments: list[str], code: int) -> None:
    apart, here = (
        done._replace(stdout=re.sub(r"\d+\.\d s$", "", done.stdout, flags=re.MULTILINE))
        for done in (run_apart(*arguments), run(*arguments))
    )
    assert apart == here
    assert apart.returncode == code


def test_the_package_is_a_command_too() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vgcore", "--version"], capture_output=True, text=True, check=True, timeout=500
    )
    assert done.stdout == f"vgcore {vg.__version__}\n"
