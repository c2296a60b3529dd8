"""The shell as one who lives in it meets it: help, completion, pipes, streams, files that are there, long work."""

from __future__ import annotations

import errno
import io
import json
import os
import pty
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import typer

import vgcore as vg
from test_cli import COMMAND, SMALL, Ran, plain, run, shown_on
from vgcore import _core
from vgcore.judge.foreign import PRESETS
from vgcore.measure.stored import Entry
from vgcore.shell import commands, complete, estimate, nets, outputs, streams

COMMANDS = sorted(command.name or "" for command in commands.app.registered_commands)
NETS = ["advise", "diagnose", "probe", "sweep", "theory", "train"]
SIGMOID = ["--depth", "30", "--activation", "sigmoid", *SMALL]


def apart(*arguments: str, cwd: Path | None = None, environment: Mapping[str, str] = MappingProxyType({})) -> Ran:
    """A command in an interpreter of its own, with what is said as bytes that are no text shown."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        check=False,
        timeout=500,
        cwd=cwd,
        env={**os.environ, **environment},
    )
    return Ran(done.returncode, *(text.decode(errors="backslashreplace") for text in (done.stdout, done.stderr)))


# Help


@pytest.mark.parametrize("command", [[], ["store"], *([name] for name in COMMANDS)], ids=" ".join)
def test_help_is_short_of_80_columns_and_has_a_short_name(command: list[str]) -> None:
    done = run(*command, "-h")
    assert done == run(*command, "--help")
    assert done.returncode == 0
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "…" not in done.stdout


def test_a_command_without_words_is_help() -> None:
    assert run() == run("--help")
    assert run("store") == run("store", "--help")


def said(help_: str) -> str:
    """Help without its frames, in one line."""
    return " ".join(re.sub(r"[│╭╮╰╯─]+", " ", help_).split())


@pytest.mark.parametrize("command", NETS)
def test_help_groups_options_and_names_every_default(command: str) -> None:
    text = said(run(command, "-h").stdout)
    for panel in ("The net", "Its measurement", "Output"):
        assert f" {panel} --" in text
    for default in (
        *(
            "mlp",
            "32; transformer: 6",
            "128; rnn, transformer: 64",
            "relu",
            "none; transformer: layer",
            "tanh",
            "no cut",
        ),
        *("kaiming_normal; rnn, transformer: xavier_uniform", "those of the data, or the width; rnn: 1"),
        *("no cut", "as many as cores"),
    ):
        assert f"[default: ({default})]" in text
    assert text.count("[default: ") >= len(nets.HELP) - len(nets.FLAGS) + 4


@pytest.mark.parametrize("command", NETS)
def test_what_one_net_alone_has_is_in_a_panel_of_its_own(command: str) -> None:
    help_ = run(command, "-h").stdout
    panels = dict(re.findall(r"╭─ (.*?) ─*╮\n(.*?)╰─", help_, re.DOTALL))
    for net in nets.NETS.values():
        others = {name for other in nets.NETS.values() if other is not net for name in other.fields}
        for name in {*net.fields} - others - ({"steps"} if command == "train" else set()):
            assert f" {nets.flag(name)} " in panels[net.panel], name
    assert {"--steps", "--heads"} & {*re.findall(r"--[a-z-]+", panels["The net"])} == set()


def test_every_field_of_every_net_is_an_option() -> None:
    fields = {name for net in nets.NETS.values() for name in net.fields}
    assert fields == {*nets.HELP}
    for net in nets.NETS.values():
        assert {*net.needed, *net.defaults} == {*net.fields}
    parameters = nets.options()
    assert [*parameters] == ["net", *nets.HELP]


def test_pretraining_has_the_options_of_the_net_that_it_takes() -> None:
    text = said(run("pretrain", "-h").stdout)
    for option in ("--heads", "--cell", "--tokens"):
        assert option not in text
    assert "transformer" not in text
    done = run("pretrain", "--net", "rnn")
    assert (done.returncode, done.stderr) == (2, "error: this command takes --net mlp, got --net rnn\n")


def test_help_names_the_tools_whose_rules_there_are() -> None:
    text = said(run("diagnose", "-h").stdout)
    assert [preset for preset in PRESETS if preset not in text] == []


# Completion


def completed(*words: str) -> list[str]:
    """What bash is told."""
    line = {"COMP_WORDS": "\n".join(["vgcore", *words]), "COMP_CWORD": str(len(words))}
    done = apart(environment=line | {"_VGCORE_COMPLETE": "complete_bash"})
    assert done.stderr == ""
    return done.stdout.split()


def test_a_shell_completes_commands_options_and_kinds() -> None:
    assert completed("pro") == ["probe"]
    assert completed("probe", "--acti") == ["--activation"]
    assert completed("probe", "--activation", "relu,tan") == ["relu,tanh", "relu,tanhshrink"]
    assert completed("train", "--optimizer", "ada") == ["adam", "adamw", "adagrad"]
    assert completed("probe", "--net", "") == ["mlp", "rnn", "transformer"]
    assert completed("probe", "--cell", "tanh,l") == ["tanh,lstm"]
    assert completed("probe", "--qk") == ["--qk-norm"]
    assert completed("probe", "--pool", "") == ["none", "mean", "last"]
    assert completed("probe", "--data", "ad") == ["adding:"]


def test_kinds_are_completed_where_they_are_asked_for() -> None:
    kinds = {"activation": vg.ACTIVATIONS, "init": vg.INITS, "norm": vg.NORMS, "skip": vg.SKIPS, "cell": _core.CELLS}
    for field, names in kinds.items():
        assert set(names) <= set(nets.VALUES[field])


def test_files_are_completed_by_their_ending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    for name in ("a.csv", "b.onnx", ".hidden.csv", "sub/c.CSV"):
        (tmp_path / name).touch()
    find = complete.files_of(".csv", words=("digits",))
    assert find("") == ["digits", "a.csv", "sub/"]
    assert find("d") == ["digits"]
    assert find("sub/") == ["sub/c.CSV"]
    assert find(".h") == [".hidden.csv"]
    assert find("nowhere/") == []


# Recurrent nets and transformers


SEQUENCES = ["--batch", "8", *SMALL]


def told(*arguments: str, cwd: Path | None = None) -> dict[str, str]:
    """The pairs of a summary of one line."""
    done = run(*arguments, "--summary", cwd=cwd)
    (line,) = done.stdout.splitlines()
    return dict(pair.split("=", 1) for pair in line.split()[1:])


def test_a_net_of_the_command_line_is_that_of_python() -> None:
    gates = ["--cell", "gru(update_bias=1)", "--steps", "5", "--layers", "2", "--biases", "2", "--truncate", "2"]
    done = run("probe", "--net", "rnn", *gates, "--recurrent-init", "eye", *SEQUENCES, "--json")
    (cell,) = json.loads(done.stdout)
    spec = vg.RNN(5, 8, cell="gru(update_bias=1)", layers=2, biases=2, recurrent_init="eye", truncate=2)
    assert cell["cell_id"] == spec.id
    given = ["--depth", "2", "--heads", "2", "--tokens", "3", "--ffn", "2", "--pool", "last", "--skip", "none"]
    flags = ["--causal", "--qk-norm", "--attention-scale", "mup"]
    (cell,) = json.loads(run("probe", "--net", "transformer", *given, *flags, *SEQUENCES, "--json").stdout)
    how: dict[str, Any] = {"causal": True, "qk_norm": True, "scale": "mup", "pool": "last", "skip": None, "ffn": 2}
    assert cell["cell_id"] == vg.Transformer(2, 8, heads=2, tokens=3, **how).id


def test_a_sweep_of_steps_and_cells_is_that_of_python(tmp_path: Path) -> None:
    given = ["--net", "rnn", "--steps", "4:8:4", "--cell", "tanh,lstm,gru(update_bias=1)", "--truncate", "none,2"]
    done = run("sweep", *given, *SEQUENCES, "--store", "s.vg", "--out", "s.csv", "--summary", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "wrote s.csv\n")
    cells = vg.open_sweep(tmp_path / "s.vg")
    assert len(done.stdout.splitlines()) == len(cells) == 12
    specs = [
        vg.RNN(steps, 8, cell=cell, truncate=cut)
        for steps in (4, 8)
        for cell in ("tanh", "lstm", "gru(update_bias=1)")
        for cut in (None, 2)
    ]
    assert {cell.spec for cell in cells} == {*specs}
    assert "log10_dc_rms" in (tmp_path / "s.csv").read_text(encoding="utf-8").splitlines()[0]


def test_data_say_how_long_sequences_are(tmp_path: Path) -> None:
    rows = [f"m{i},{t},{t * i % 7},{i + t},{i % 3}" for i in range(9) for t in range(5)]
    (tmp_path / "long.csv").write_text("\n".join(["who,day,a,b,kind", *rows]), encoding="utf-8")
    long = ["--data", "long.csv", "--sequence", "who", "--step", "day"]
    pairs = told("probe", "--net", "rnn", *long, *SEQUENCES, cwd=tmp_path)
    assert (pairs["steps"], pairs["in_features"], pairs["out_features"]) == ("5", "2", "3")
    pairs = told("probe", "--net", "transformer", *long, "--depth", "1", *SEQUENCES, cwd=tmp_path)
    assert (pairs["tokens"], pairs["in_features"], pairs["pool"]) == ("5", "2", "mean")
    pairs = told("probe", "--net", "rnn", "--data", "temporal_order:20:50", *SEQUENCES)
    assert (pairs["steps"], pairs["in_features"], pairs["out_features"]) == ("20", "6", "4")


def test_rows_without_steps_are_cut_into_some() -> None:
    for given, steps, features in (("--in-features", "8", "8"), ("--steps", "8", "8"), ("--steps", "64", "1")):
        pairs = told("probe", "--net", "rnn", "--data", "digits", given, steps, *SEQUENCES)
        assert (pairs["steps"], pairs.get("in_features", "1")) == (steps, features)
    done = run("probe", "--net", "rnn", "--data", "digits", *SEQUENCES, "--summary")
    assert " steps=64 " in done.stdout
    assert done.stderr == "note: a row of digits is taken as 64 steps of 1; see --in-features\n"


@pytest.mark.parametrize(
    ("arguments", "idle"),
    [
        (["--branch-scale", "0.5"], "--branch-scale"),
        (["--branch-scale", "0.5", "--skip", "none,residual"], None),
        (["--norm-position", "post"], "--norm-position"),
        (["--norm-position", "post", "--norm", "layer"], None),
        (["--net", "rnn", "--steps", "4,8", "--truncate", "8"], "--truncate"),
        (["--net", "rnn", "--steps", "4,8", "--truncate", "4"], None),
        (["--net", "transformer", "--norm", "none", "--norm-position", "post"], "--norm-position"),
        (["--net", "transformer", "--causal", "--heads", "2"], None),
        (["--net", "rnn", "--cell", "tanh", "--layers", "1"], None),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_an_option_without_an_effect_is_told(arguments: list[str], idle: str | None) -> None:
    small = [*SEQUENCES] if "rnn" in arguments else ["--depth", "2", *SEQUENCES]
    done = run("sweep", *arguments, *small, "--summary")
    said_ = f"note: {idle} changes nothing: the net is the same without\n" if idle else ""
    assert (done.returncode, done.stderr) == (0, said_)


def test_a_table_has_the_steps_or_the_maps_of_blocks_as_rows() -> None:
    long = run("probe", "--net", "rnn", "--steps", "200", *SEQUENCES).stdout
    assert "16 of 200 steps; --json and --out hold all." in long
    assert re.search(r"^ +200 ", long, re.MULTILINE)
    table = run("probe", "--net", "transformer", "--depth", "9", "--in-features", "3", *SEQUENCES).stdout
    found = re.findall(r"^ (embedding|\d+ \w+) ", table, re.MULTILINE)
    maps = ("in_proj", "out_proj", "linear1", "linear2")
    assert found[:17] == ["embedding", *(f"{block} {name}" for block in (1, 4, 6, 9) for name in maps)]
    assert "17 of 37 rows" in table
    both = run("probe", "--net", "rnn", "--steps", "2", "--layers", "2", *SEQUENCES).stdout
    assert re.findall(r"^ (\d, \d) ", both, re.MULTILINE)[:4] == ["1, 1", "1, 2", "2, 1", "2, 2"]


def test_theory_says_how_far_back_a_recurrent_net_sees() -> None:
    given = ["theory", "--net", "rnn", "--steps", "30", "--width", "32", "--seeds", "4"]
    limit = vg.theory.memory(vg.RNN(30, 32)).memory_limit
    text = " ".join(run(*given).stdout.split())
    assert f"{limit:.0f} steps keep it within 32-fold" in text
    assert re.search(r"measured: \d+ steps \(\d+ to \d+\) keep dL/dh within 32-fold", text)
    memory = json.loads(run(*given, "--json").stdout)["memory_limit"]
    assert memory["theory"] == limit
    assert memory["measured"] > 10
    last = run(*given, "--summary").stdout.splitlines()[-1]
    assert last == f"memory theory={limit:.4g} measured={memory['measured']:.4g}"


def test_a_training_on_a_problem_says_its_chance() -> None:
    done = run("train", "--net", "rnn", "--cell", "lstm", "--data", "adding:9:64", "--width", "8", "--steps", "3")
    assert "chance: 0.1667, what the best outputs come to that do not depend on x" in done.stdout
    assert "2 -> 8 (9 steps) -> 1" in done.stdout
    blocks = ["--net", "transformer", "--data", "sequential_digits:row", "--depth", "1", "--width", "8", "--steps", "3"]
    done = run("train", *blocks)
    assert "8 x 8 -> 8 (1 block) -> 10" in done.stdout
    assert "chance: 2.302" in done.stdout


def test_pictures_of_a_sweep_of_steps_are_drawn_over_steps(tmp_path: Path) -> None:
    given = ["--net", "rnn", "--steps", "3,6", *SEQUENCES, "--plot", "p", "--summary"]
    assert run("sweep", *given, cwd=tmp_path).returncode == 0
    assert {path.name for path in (tmp_path / "p").iterdir()} == {"layers.png", "steps.png", "heatmap.png"}


# Summaries


@pytest.mark.parametrize(
    ("arguments", "first"),
    [
        (["probe", *SIGMOID], r"vanishing depth=30 width=8 activation=sigmoid init=kaiming_normal .*backward=0\.\d+ "),
        (["diagnose", *SIGMOID], r"vanishing depth=30 .*critical=\S*backward_vanishing"),
        (["advise", *SIGMOID], r"vanishing change=none tried=\d+"),
        (["theory", "--activation", "tanh", "--depth", "5", *SMALL], r"phase depth=5 .* phase=\w+ q_star="),
        (["train", "--depth", "2", "--width", "8", "--steps", "3"], r"\S+ depth=2 .* seed=0 first_loss=\S+ .*steps=3 "),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_summary_is_lines_of_names_and_values(arguments: list[str], first: str) -> None:
    done = run(*arguments, "--summary")
    lines = done.stdout.splitlines()
    assert re.match(first, lines[0]), lines[0]
    for line in lines:
        word, *pairs = line.split(" ")
        assert word.replace("-", "").replace(",", "").isalpha()
        assert all("=" in pair for pair in pairs if pair.count("'") != 1), line


def test_a_summary_of_a_sweep_has_a_line_a_cell() -> None:
    done = run(
        "sweep", "--depth", "2,30", "--activation", "relu,sigmoid", "--skip", "none,residual", *SMALL, "--summary"
    )
    cells = vg.sweep(
        vg.MLP(depth=1, width=8), depth=[2, 30], activation=["relu", "sigmoid"], skip=[None, "residual"], seeds=2
    )
    lines = done.stdout.splitlines()
    assert len(lines) == len(cells)
    for line, cell in zip(lines, cells, strict=True):
        pairs = dict(pair.split("=", 1) for pair in line.split()[1:])
        assert (pairs["depth"], pairs["activation"]) == (str(cell.spec.depth), cell.spec.activation)
        assert pairs["skip"] == str(cell.spec.skip or "none")
        assert float(pairs["backward"]) == pytest.approx(cell.factor("backward").value, rel=1e-3)


def test_a_summary_is_read_by_a_shell_as_it_is_by_people() -> None:
    done = run(
        *("sweep", "--bias", "none,false", "--skip", "residual(order=pre)", "--activation", "leaky_relu(0.123456)"),
        *("--tied", "--depth", "3", *SMALL, "--summary"),
    )
    words = [shlex.split(line) for line in done.stdout.splitlines()]
    spec = vg.MLP(depth=3, width=8, skip="residual(order=pre)", activation="leaky_relu(0.123456)", tied=True)
    for bias, pairs in zip(("none", "false"), words, strict=True):
        assert {f"bias={bias}", "skip=residual(order=pre)", "tied=true", f"activation={spec.activation}"} <= {*pairs}
    echoed = subprocess.run(
        ["sh", "-c", f"printf '%s\\n' {done.stdout.splitlines()[0]}"], capture_output=True, check=True
    )
    assert echoed.stdout.decode().splitlines() == words[0]
    row = vg.sweep(spec, seeds=2).table()[0]
    assert f"first_gradient={row['first_gradient']:.4g}" in words[0]


def test_a_cell_of_a_store_is_read_once_to_be_printed_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["sweep", "--depth", "2,3", *SMALL, "--store", "s.vg", "--summary"]
    first = run(*command, cwd=tmp_path)
    read: list[int] = []
    plain_read = Entry.read

    def counted(entry: Entry[Any]) -> Any:
        read.append(1)
        return plain_read(entry)

    monkeypatch.setattr(Entry, "read", counted)
    assert run(*command, cwd=tmp_path).stdout == first.stdout
    assert len(read) <= 4  # two cells: once to be printed, once to say whether all are finite


def test_a_summary_is_no_json() -> None:
    done = run("probe", "--summary", "--json", *SMALL)
    assert done.returncode == commands.USAGE
    assert "--summary and --json" in done.stderr


# Files that are there


@pytest.mark.parametrize(
    "command", [["probe", "--depth", "2", *SMALL], ["sweep", "--depth", "2,3", *SMALL], ["train", "--steps", "2"]]
)
def test_a_file_is_not_written_over_unless_that_is_asked_for(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text("mine", encoding="utf-8")
    done = run(*command, "--out", "runs.csv", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (commands.USAGE, "")
    assert "'runs.csv' is there already" in done.stderr
    assert "--force" in done.stderr
    assert (tmp_path / "runs.csv").read_text(encoding="utf-8") == "mine"
    run(*command, "--out", "runs.csv", "--force", cwd=tmp_path)
    assert "layer" in (tmp_path / "runs.csv").read_text(encoding="utf-8")


def test_an_empty_file_is_filled(tmp_path: Path) -> None:
    (tmp_path / "runs.csv").touch()
    assert run("probe", "--depth", "2", *SMALL, "--out", "runs.csv", cwd=tmp_path).returncode == 0
    assert (tmp_path / "runs.csv").stat().st_size > 0


def test_a_store_is_exported_over_a_file_only_where_that_is_asked_for(tmp_path: Path) -> None:
    run("sweep", "--depth", "2", *SMALL, "--store", "s.vg", cwd=tmp_path)
    (tmp_path / "all.csv").write_text("mine", encoding="utf-8")
    refused = run("store", "export", "s.vg", "--out", "all.csv", cwd=tmp_path)
    assert refused.returncode == commands.USAGE
    assert "--force" in refused.stderr
    assert run("store", "export", "s.vg", "--out", "all.csv", "--force", cwd=tmp_path).returncode == 0


def test_pictures_of_one_command_get_one_number_where_names_are_taken(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "depths.png").write_text("mine", encoding="utf-8")
    made = {Path("p", f"{name}-2.png") for name in ("layers", "depths")}
    names = {"layers": lambda: None, "depths": lambda: None}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        assert set(outputs.drawn(names, Path("p"), force=False)) == made
        assert set(outputs.drawn(names, Path("p"), force=True)) == {Path("p", f"{name}.png") for name in names}


def test_a_file_that_came_while_something_was_measured_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("theirs", encoding="utf-8")

    def write(free: Path) -> None:
        free.write_text("ours", encoding="utf-8")

    with outputs.writing({path: write}, force=False):
        pass
    assert path.read_text(encoding="utf-8") == "theirs"
    assert (tmp_path / "runs-2.csv").read_text(encoding="utf-8") == "ours"
    assert "runs-2.csv" in capsys.readouterr().err


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_came_while_ours_was_written_stays(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "runs.csv"

    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    def write(free: Path) -> None:
        assert free.suffix == ".csv"
        free.write_text("ours", encoding="utf-8")
        path.write_text("theirs", encoding="utf-8")
        (tmp_path / "runs-2.csv").write_text("theirs too", encoding="utf-8")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    with outputs.writing({path: write}, force=False):
        pass
    assert {each.name: each.read_text(encoding="utf-8") for each in tmp_path.iterdir()} == {
        "runs.csv": "theirs",
        "runs-2.csv": "theirs too",
        "runs-3.csv": "ours",
    }


def test_a_file_that_cannot_be_written_is_named_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def write(free: Path) -> None:
        free.write_text("half", encoding="utf-8")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(typer.Exit), outputs.writing({tmp_path / "runs.csv": write}, force=False):
        pass
    assert "runs.csv': No space left" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


# Streams


@pytest.mark.parametrize(
    "command",
    [
        ["probe", "-h"],
        ["sweep", "--depth", "1:40", *SMALL],
        ["sweep", "--depth", "1:40", *SMALL, "--summary"],
        ["diagnose", *SIGMOID],
    ],
    ids=" ".join,
)
def test_a_reader_who_leaves_ends_a_command_as_it_ends_other_tools(command: list[str]) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run([*COMMAND, *command], stdout=theirs, stderr=-1, check=False, timeout=500)
    os.close(theirs)
    assert (done.returncode, done.stderr) == (streams.UNREAD, b"")


def test_files_are_written_though_no_one_reads(tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    command = [*COMMAND, "probe", "--depth", "2", *SMALL, "--out", "a.csv"]
    done = subprocess.run(command, stdout=theirs, stderr=-1, check=False, timeout=500, cwd=tmp_path)
    os.close(theirs)
    assert done.returncode == streams.UNREAD
    assert done.stderr == b"wrote a.csv\n"
    assert (tmp_path / "a.csv").stat().st_size > 0


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-"])
def test_closed_streams_stop_nothing(closed: str, tmp_path: Path) -> None:
    line = f'"$@" probe --depth 2 --width 8 --seeds 2 --out a.csv {closed}'
    done = subprocess.run(
        ["sh", "-c", line, "sh", *COMMAND], capture_output=True, check=False, timeout=500, cwd=tmp_path
    )
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
    assert (tmp_path / "a.csv").stat().st_size > 0


@pytest.mark.parametrize(
    "environment",
    [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}],
    ids=str,
)
@pytest.mark.parametrize(
    "command",
    [
        ["probe", "--depth", "3", *SMALL],
        ["diagnose", *SIGMOID, "--explain", "--fail-on", "never"],
        ["theory", "--activation", "tanh", "--depth", "5", *SMALL],
        ["sweep", "-h"],
    ],
    ids=lambda words: words[0],
)
def test_what_is_printed_in_ascii_is_ascii(command: list[str], environment: dict[str, str]) -> None:
    done = apart(*command, environment=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()
    assert "\\x" not in done.stdout
    assert "\\u" not in done.stdout


@pytest.mark.parametrize(("asked", "printed"), [("0", "-> x"), ("", "-> x"), ("1", "→ x")])
def test_utf_8_is_written_where_it_is_asked_for(asked: str, printed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"LC_ALL": "C", "PYTHONIOENCODING": "", "PYTHONUTF8": asked}.items():
        monkeypatch.setenv(name, value)
    written = io.BytesIO()
    with io.TextIOWrapper(written, encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        streams.prepare()
        sys.stdout.write("→ x")
        sys.stdout.flush()
        assert written.getvalue().decode() == printed
        monkeypatch.undo()


def test_characters_are_spelled_where_they_cannot_be_written() -> None:
    spelled = "".join(map(streams._spelled, "±▁█→φΣ│─┼é€\udcff"))
    assert spelled == "+-_#->phiSigma|-+\\xe9\\u20ac\\xff"


@pytest.mark.parametrize("environment", [{}, {"PYTHONIOENCODING": "ascii"}], ids=str)
def test_a_name_that_is_no_text_is_a_name(environment: dict[str, str], tmp_path: Path) -> None:
    data, out = os.fsdecode(b"d\xff.csv"), os.fsdecode(b"o\xff.csv")
    (tmp_path / data).write_text("a,b,y\n1,2,0\n2,4,1\n3,5,0\n", encoding="utf-8")
    done = apart("probe", "--depth", "2", *SMALL, "--data", data, "--out", out, cwd=tmp_path, environment=environment)
    assert done.returncode == 0, done.stderr
    assert "3 samples of d\\xff.csv" in done.stdout
    assert done.stderr == "wrote o\\xff.csv\n"
    assert (tmp_path / out).stat().st_size > 0
    missing = apart("probe", "--data", os.fsdecode(b"no\xff.csv"), cwd=tmp_path, environment=environment)
    assert missing.returncode == commands.USAGE
    assert missing.stderr.startswith("error: cannot read")


@pytest.mark.parametrize("name", ["[red]x.csv", "[.csv", "[/].csv", "[link=y]x[/link].csv"])
def test_names_are_never_markup(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("[bold]a,b,[/]\n" + "".join(f"{i},{i % 5},{i % 2}\n" for i in range(9)), encoding="utf-8")
    for command in (["probe"], ["train", "--steps", "2"]):
        words = " ".join(run(*command, "--depth", "2", *SMALL, "--data", name, cwd=tmp_path).stdout.split())
        assert f"9 samples of {name}" in words, words
    missing = run("probe", "--data", f"{name}.npz", cwd=tmp_path)
    assert f"'{name}.npz'" in missing.stderr


# Wrong usage


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["prob"], "no such command 'prob' (did you mean 'probe'?); see 'vgcore -h'"),
        (["probe", "--dept", "3"], "no such option: --dept (did you mean '--depth'?); see 'vgcore probe -h'"),
        (["probe", "--depth", "3:"], "START:END or START:END:STEP, its end included, such as 2:128:2"),
        (["probe", "--data", "nosuch.csv"], "cannot read 'nosuch.csv': there is no such file; --data takes digits"),
        (["diagnose", "nosuch.onnx"], "cannot read 'nosuch.onnx': there is no such file; give the path of a net"),
        (["store", "export", "nosuch.vg", "--out", "a.csv"], "there is no store 'nosuch.vg'"),
        (["train", "--optimizer", "adm"], "unknown optimizer 'adm' (did you mean 'adam'?)"),
        (["train", "--schedule", "cosin"], "unknown schedule 'cosin' (did you mean 'cosine'?)"),
        (["probe", "--data", "digit"], "unknown data 'digit' (did you mean 'digits'?); --data takes digits, adding:"),
        (["probe", "--net", "rnnn"], "unknown net 'rnnn' (did you mean 'rnn'?); choose from: mlp, rnn, transformer"),
        (["probe", "--heads", "2"], "--heads goes with --net transformer, and without --net the net is an mlp"),
        (["probe", "--causal"], "--causal goes with --net transformer, and without --net the net is an mlp"),
        (["sweep", "--net", "rnn", "--depth", "3"], "not with --net rnn, which has --steps and --layers"),
        (["theory", "--net", "rnn", "--activation", "relu"], "not with --net rnn, which has --cell"),
        (["advise", "--net", "transformer", "--steps", "3"], "not with --net transformer, which has --tokens"),
        (["diagnose", "--net", "transformer", "--tied"], "--tied goes with --net mlp, not with --net transformer"),
        (["probe", "--net", "rnn", "--step", "9"], "give --data; the steps of a net are --steps"),
        (["probe", "--net", "rnn", "--cell", "lstn"], "unknown cell 'lstn' (did you mean 'lstm'?)"),
        (["probe", "--net", "rnn", "--steps", "5:3"], "--steps: the range '5:3' is empty"),
        (["probe", "--data", "adding"], "--data adding is written adding:STEPS or adding:STEPS:HOW_MANY"),
        (
            ["probe", "--data", "sequential_digits:column"],
            "is written sequential_digits:pixel or sequential_digits:row",
        ),
        (["probe", "--data", "addin:9"], "unknown data 'addin:9' (did you mean 'adding'?)"),
        (["probe", "--data", "adding:9"], "9 steps of 2; a net takes them with --net rnn, --net transformer"),
        (["probe", "--data", "adding:9", "--sequence", "a"], "go with a file in long form; adding:9 has its steps"),
        (["probe", "--net", "rnn", "--data", "adding:9", "--steps", "8"], "9 steps of 2; leave out --steps"),
        (["probe", "--net", "rnn", "--data", "digits", "--steps", "7"], "--steps takes one divisor of these, got 7"),
        (["store", "chek"], "no such command 'chek' (did you mean 'check'?); see 'vgcore store -h'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_one_sentence_that_says_what_to_do(arguments: list[str], words: str, tmp_path: Path) -> None:
    done = run(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (commands.USAGE, "")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_file_that_is_no_npz_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "net.npz").write_bytes(b"anything else")
    done = run("diagnose", "net.npz", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (commands.USAGE, "")
    assert done.stderr == "error: cannot read 'net.npz': it is no .npz file, as numpy.savez writes them\n"


# Long work


@pytest.fixture(name="_everything_is_long")
def everything_is_long_fixture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "TOLD", 0.0)
    monkeypatch.setattr(estimate, "ASKED", 0.0)


LONG = [
    ["probe", "--depth", "2", *SMALL],
    ["sweep", "--depth", "2,3", *SMALL],
    ["diagnose", "--depth", "2", *SMALL],
    ["advise", "--depth", "2", *SMALL],
    ["theory", "--depth", "2", *SMALL],
    ["train", "--depth", "2", "--width", "8", "--steps", "3"],
]


@pytest.mark.parametrize("command", LONG, ids=lambda words: words[0])
@pytest.mark.usefixtures("_everything_is_long")
def test_long_work_is_refused_where_nobody_can_be_asked(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Path(os.devnull).open(encoding="utf-8") as nobody:
        monkeypatch.setattr(sys, "stdin", nobody)
        refused = run(*command, cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (commands.USAGE, "")
    assert re.match(r"error: this \w+ would take about (a|\d+) seconds?.*; add --yes to go on", refused.stderr)
    done = run(*command, "--yes", cwd=tmp_path)
    assert done.returncode == 0
    assert re.match(r"this \w+: about (a|\d+) second", done.stderr)


@pytest.mark.parametrize(
    ("answer", "code"), [(b"y\n", 0), (b"\n", commands.INTERRUPTED), (b"no\n", commands.INTERRUPTED)]
)
def test_on_a_terminal_long_work_is_asked_about(answer: bytes, code: int) -> None:
    ours, theirs = pty.openpty()
    start = "from vgcore.shell import commands, estimate; estimate.TOLD = estimate.ASKED = 0.0; commands.main()"
    command = [sys.executable, "-c", start, "sweep", "--depth", "2,3", *SMALL, "--summary"]
    with subprocess.Popen(command, stdin=theirs, stdout=-1, stderr=theirs) as process:
        os.close(theirs)
        answered = False
        for shown in shown_on(ours):
            if not answered and b"go on? [y/N]" in shown:
                os.write(ours, answer)
                answered = True
        assert process.stdout is not None
        printed = process.stdout.read()
    os.close(ours)
    assert process.returncode == code
    assert (printed.count(b"\n") == 2) == (code == 0)
    assert "this sweep will take about" in " ".join(plain(shown.decode()))


def test_of_a_store_only_the_cells_that_are_left_count(tmp_path: Path) -> None:
    store = tmp_path / "s.vg"
    spec, how = vg.MLP(depth=1, width=8), {"seeds": 2}
    whole = estimate.of_grid(spec, {"depth": [2, 200]}, how, store=store)
    vg.sweep(spec, depth=[200], seeds=2, store=store)
    left = estimate.of_grid(spec, {"depth": [2, 200]}, how, store=store)
    assert whole is not None
    assert left is not None
    assert left.seconds < whole.seconds / 10
    assert estimate.of_grid(spec, {"depth": [200]}, how, store=store) is None


def test_a_large_grid_is_guessed_from_some_of_its_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "TOLD", float("inf"))  # nothing is timed
    spec, how = vg.MLP(depth=4, width=8), {"seeds": 1}
    grid: dict[str, Any] = {"width": list(range(1, 101)), "activation": ["relu", "tanh", "gelu", "elu"]}
    whole = estimate.of_grid(spec, grid, how)
    monkeypatch.setattr(estimate, "SAMPLE", 100)
    some = estimate.of_grid(spec, grid, how)
    assert whole is not None
    assert some is not None
    assert some.seconds != whole.seconds
    assert some.seconds == pytest.approx(whole.seconds, rel=0.2)


def test_the_guess_grows_with_what_is_measured() -> None:
    options: dict[str, Any] = {"dtype": "float32", "threads": 1}
    specs = [vg.MLP(depth=depth, width=64, activation="tanh") for depth in (10, 20)]
    seconds, taken, _ = _core.cost(specs[:1], batch=128, seeds=2, **options)
    assert seconds > 0
    assert taken > 0
    assert _core.cost(specs[:1], batch=128, seeds=4, **options)[0] == pytest.approx(2 * seconds)
    assert _core.cost(specs[1:], batch=128, seeds=2, **options)[0] == pytest.approx(2 * seconds, rel=0.1)
    # Nets that differ in depth alone share their way forward.
    alone = sum(_core.cost([spec], batch=128, seeds=2, **options)[0] for spec in specs)
    assert seconds < _core.cost(specs, batch=128, seeds=2, **options)[0] < alone
    with pytest.raises(MemoryError, match="lower depth"):
        _core.cost([vg.MLP(depth=10**5, width=10**5)], batch=128, seeds=1, **options)


@pytest.mark.parametrize(
    "command",
    [
        ["probe", "net.npz", "--activation", "tanh"],
        ["diagnose", "net.npz", "--activation", "tanh"],
        ["diagnose", "net.npz", "--activation", "tanh", "--rules", "sagemaker"],
        ["diagnose", "--depth", "2", *SMALL, "--rules", "sagemaker"],
        ["advise", "net.npz", "--activation", "tanh"],
    ],
    ids=" ".join,
)
@pytest.mark.usefixtures("_everything_is_long")
def test_nets_of_files_and_rules_of_others_have_an_estimate_too(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = vg.MLP(depth=2, width=8, in_features=3, activation="tanh").init(seed=0).state_dict()
    np.savez(tmp_path / "net.npz", **state)  # type: ignore[arg-type]  # of the stubs of NumPy
    with Path(os.devnull).open(encoding="utf-8") as nobody:
        monkeypatch.setattr(sys, "stdin", nobody)
        refused = run(*command, cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (commands.USAGE, "")
    assert "would take about" in refused.stderr


@pytest.mark.parametrize(
    ("spec", "batch"),
    [
        (vg.MLP(depth=3000, width=512), 128),
        (vg.MLP(depth=2, width=1 << 14), 128),
        (vg.MLP(depth=40, width=256, skip="residual", block=2), 20000),
        (vg.Sequential(["linear(512)", "relu"] * 40, in_features=512), 2000),
    ],
    ids=["deep", "wide", "blocks", "parts"],
)
def test_of_cells_that_are_too_long_to_be_timed_smaller_ones_are(
    spec: Any, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, timed = [0.0], []

    def guess(spec: Any, batch: int) -> float:
        return float(_core.cost([spec], batch=batch, seeds=2, dtype="float32", threads=2)[0])

    def work(smaller: Any, batch: int, seeds: int) -> None:  # takes three times as long as is guessed
        assert seeds == 2
        timed.append(guess(smaller, batch))
        clock[0] += 3 * timed[-1]

    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    how: dict[str, Any] = {"seeds": 2, "batch": batch, "threads": 2}
    raw = estimate.of_cells([spec], how, trial=False)
    cost = estimate.of_cells([spec], how, work=work)
    assert raw is not None
    assert cost is not None
    assert cost.seconds == pytest.approx(3 * raw.seconds)
    assert timed
    assert 0 < clock[0] < 1  # seconds
    assert max(timed) < raw.seconds / 2


def test_the_guess_of_a_large_sweep_plans_few_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    planned: list[int] = []
    plain = _core.cost

    def noted(cells: Any, **options: Any) -> Any:
        planned.append(sum(cell.depth for cell in cells))
        return plain(cells, **options)

    monkeypatch.setattr(_core, "cost", noted)
    monkeypatch.setattr(estimate, "TOLD", float("inf"))  # nothing is timed
    costs = [
        estimate.of_grid(vg.MLP(depth=1, width=8), {"depth": range(1, most)}, {"seeds": 2})
        for most in (10**4, 10**5, 10**6)
    ]
    assert max(planned) < 3 * estimate.LAYERS
    seconds = [cost.seconds for cost in costs if cost is not None]
    memory = [cost.bytes for cost in costs if cost is not None]
    for found in (seconds, memory):
        assert found[1] == pytest.approx(100 * found[0], rel=0.5)
        assert found[2] == pytest.approx(100 * found[1], rel=0.5)


@pytest.mark.parametrize(("steps", "each"), [(40, 0.5), (10**5, 1e-3), (3000, 3e-3)])
def test_the_guess_of_a_training_is_what_its_steps_take(
    steps: int, each: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]

    def train(few: int) -> None:  # of which a tenth of a step goes to the beginning
        clock[0] += (0.1 + few) * each

    def slow(*_: Any, trial: bool = True, **__: Any) -> estimate.Cost:
        return estimate.Cost(each if trial else each / 5)

    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    monkeypatch.setattr(estimate, "of_net", slow)
    cost = estimate.of_training(vg.MLP(depth=2, width=8), steps, 64, {}, train)
    assert cost is not None
    assert cost.seconds == pytest.approx(steps * each, rel=0.15)
    assert clock[0] < 1


def test_most_of_the_memory_is_asked_about_too() -> None:
    with pytest.raises(ValueError, match=r"would take about a second and up to 9 GB of memory; add --yes"):
        estimate.check(estimate.Cost(0.1, 9 * 10**9, 0.9), "this sweep", yes=False)
    estimate.check(estimate.Cost(0.1, 10**9, 0.1), "this sweep", yes=False)


def test_what_cannot_be_measured_is_said_in_place_of_an_estimate() -> None:
    grid: dict[str, Any] = {"norm": ["layer", "nonsense"]}
    assert estimate.of_grid(vg.MLP(depth=2, width=8), grid, {}) is None


def test_a_table_of_some_layers_says_of_how_many(tmp_path: Path) -> None:
    assert "16 of 40 layers; --json and --out hold all." in run("probe", "--depth", "40", *SMALL, cwd=tmp_path).stdout
    assert "16 of" not in run("probe", "--depth", "16", *SMALL, cwd=tmp_path).stdout
