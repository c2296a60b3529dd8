"""The shell on a terminal of few columns: all numbers are there, no line is too long, no word is broken."""

from __future__ import annotations

import fcntl
import functools
import io
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

import vgcore as vg
from vgcore.show.columns import Column, Columns
from vgcore.show.page import wrapped
from vgcore.show.words import exponent, said

WIDTHS = (60, 80, 100, 120)
COMMAND = [sys.executable, "-c", "from vgcore.shell.commands import main; main()"]
#: Runs one command after the other in one process, whose arguments are lines of standard input.
SEVERAL = """
import os, sys
from vgcore.shell.commands import main
for line in os.environ["VGCORE_LINES"].split("\\n"):
    code, sys.argv = 0, ["vgcore", *line.split()]
    try:
        main()
    except SystemExit as ended:
        code = ended.code
    print(f"returns {code}\x1e", flush=True)
    print(end="\x1e", file=sys.stderr, flush=True)
"""
ENVIRONMENT = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TERM")


class Shown(NamedTuple):
    """What a command returns, prints, and says beside it."""

    code: int
    out: str
    err: str


@contextmanager
def terminal(width: int) -> Iterator[tuple[int, Callable[[], str]]]:
    """A terminal of so many columns, and what closes it and returns all that it has shown."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    shown = bytearray()

    def read() -> None:
        with suppress(OSError):  # the other end is closed
            while chunk := os.read(ours, 65536):
                shown.extend(chunk)

    reader = threading.Thread(target=read)
    reader.start()

    def ended() -> str:
        os.close(theirs)
        reader.join()
        os.close(ours)
        return shown.decode().replace("\r\n", "\n")

    yield theirs, ended


def run(width: int | None, *command: str, **environment: str) -> Shown:
    """A process on two terminals of so many columns, one for all that is said beside; on pipes without a width."""
    whole = {name: value for name, value in os.environ.items() if name not in ENVIRONMENT}
    whole |= {"TERM": "xterm-256color"} | environment
    if width is None:
        done = subprocess.run(command, capture_output=True, text=True, env=whole, check=False)
        return Shown(done.returncode, done.stdout, done.stderr)
    with terminal(width) as (out, shown), terminal(width) as (err, said):
        code = subprocess.run(command, stdin=out, stdout=out, stderr=err, env=whole, check=False).returncode
        return Shown(code, shown(), said())


def plain(text: str) -> str:
    """A text without its colours."""
    return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", text)


def lines(text: str) -> list[str]:
    """What stood on a terminal, line by line."""
    return re.split(r"[\r\n]+", plain(text).strip("\r\n"))


def words(text: str) -> set[str]:
    """The words of a text, without bars, what stands between words, and the time that a run took."""
    kept = "\n".join(line for line in lines(text) if "\u2501" not in line)  # a bar of progress
    kept = re.sub(r"\d+\.\d\ss(?=\s|$)", "", kept)
    return {word.strip(",;:.()|") for word in kept.split() if not re.fullmatch(r"\|?[\u2500\u2581-\u2588]*\|?", word)}


#: Words that only narrow output has: heads of tables above, and the line of what is left out.
ADDED = words("cell net Left out: 95 % intervals --json and --out hold holds all, a wider terminal shows more.")
ADDED |= {str(row) for row in range(1, 200)}  # numbers of rows


def assert_fits(narrow: Shown, wide: Shown, width: int) -> None:
    """No line is too long, none is cut, each word is one of the wide output's."""
    assert narrow.code == wide.code
    for shown, whole in ((narrow.out, wide.out), (narrow.err, wide.err)):
        assert max(map(cell_len, lines(shown))) <= width, max(lines(shown), key=cell_len)
        assert "\u2026" not in shown  # an ellipsis
        assert words(shown) <= words(whole) | ADDED
    assert "Traceback" not in narrow.err


def make_files(folder: Path) -> None:
    """Nets in files: a list of parts, layers that differ, and one of many lists."""
    parts = [part for i in range(6) for part in (f"keep({i})", "linear(8)", "tanh", "linear(8)", f"add({i})")]
    draw = np.random.default_rng(0)
    mixed = [str(name) for name in draw.choice(["tanh", "relu", "leaky_relu(0.123456789)", "gelu"], 50)]
    sizes: dict[str, Any] = {"depth": 50, "in_features": 4, "out_features": 2}
    nets: dict[str, Any] = {
        "parts": vg.Sequential([*parts, "linear(3)"], in_features=8),
        "runs": vg.MLP(**sizes, width=[8] * 49 + [4], activation=["tanh"] * 48 + ["relu"] * 2),
        "mixed": vg.MLP(**sizes, width=[int(size) for size in draw.integers(3, 9, 50)], activation=mixed),
    }
    for name, spec in nets.items():
        (folder / f"{name}.json").write_text(spec.to_json())
        np.savez(folder / f"{name}.npz", **spec.init(seed=0).state_dict())


COMMANDS = {
    "the first line of the README": "probe --depth 50 --activation sigmoid --init xavier_normal",
    "sizes beyond any float": "probe --depth 10000 --activation sigmoid --init xavier_normal --dtype float64",
    "not finite": "probe --depth 99 --activation softplus --init normal(std=100)",
    "no gradient at all": "probe --depth 9 --init zeros",
    "every column there is": "probe --depth 9 --norm layer --skip residual(order=pre) --activation prelu",
    "a recurrent net": "probe --depth 6 --tied --inputs every --activation tanh",
    "gates": "probe --net rnn --cell lstm --steps 40",
    "layers of gates": "probe --net rnn --cell gru --steps 5 --layers 2",
    "steps and cells": "sweep --net rnn --steps 5:25:10 --cell tanh,lstm,gru(update_bias=1) --truncate none,4",
    "blocks": "probe --net transformer --depth 6 --heads 2 --tokens 4",
    "kinds of blocks": "sweep --net transformer --depth 1,2 --heads 2 --norm-position pre,post --skip none,residual",
    "a diagnosis of gates": "diagnose --net rnn --steps 60 --explain",
    "a diagnosis of blocks": "diagnose --net transformer --depth 8 --heads 2 --norm none --skip none --explain",
    "advice on gates": "advise --net rnn --steps 40 --budget 10",
    "theory of gates": "theory --net rnn --cell lstm --steps 20",
    "theory of blocks": "theory --net transformer --depth 2",
    "training of gates": "train --net rnn --cell lstm --data adding:9:64 --steps 9",
    "training of blocks": "train --net transformer --data sequential_digits:row --depth 1 --steps 9",
    "an option of another net": "probe --net rnn --heads 4 --depth 3",
    "an option without an effect": "probe --net rnn --steps 5 --truncate 9",
    "a loss": "probe --depth 6 --data digits --activation tanh",
    "ten seeds": "probe --depth 6 --seeds 10",
    "one layer, one seed": "probe --depth 1 --seeds 1",
    "parts": "probe parts.npz --spec parts.json",
    "runs of layers": "probe runs.npz --spec runs.json",
    "mixed layers": "probe mixed.npz --spec mixed.json",
    "depths": "sweep --depth 2:40:2",
    "long names": "sweep --depth 4 --skip none,highway(gate_bias=-3),residual(order=pre) --norm none,layer(eps=0.125)",
    "many fields": "sweep --depth 2,4 --norm none,layer --skip none,residual(order=pre) --bias none,false --block 1,2 "
    "--activation leaky_relu(0.3333333333333333),tanh --weight-transform none,spectral_norm",
    "some diverge": "sweep --depth 2,200 --activation softplus --init normal(std=100),mean_field(1.41421356,0.05)",
    "a diagnosis": "diagnose --depth 50 --activation sigmoid --init xavier_normal",
    "a diagnosis explained": "diagnose --depth 30 --activation sigmoid --explain",
    "a diagnosis of many": "diagnose --depth 3,30 --activation sigmoid,relu --skip none,residual(order=pre)",
    "another tool's rules": "diagnose --depth 30 --activation sigmoid --rules sagemaker",
    "a diagnosis of mixed layers": "diagnose mixed.npz --spec mixed.json --explain",
    "advice": "advise --depth 30 --activation sigmoid --budget 30",
    "advice with a loss": "advise --depth 20 --activation sigmoid --data digits --budget 20",
    "pretraining": "pretrain --depth 3 --width 16 --activation sigmoid --epochs 2 --train-steps 20",
    "no advice": "advise --depth 3",
    "theory": "theory --depth 20 --activation tanh --init mean_field(1.5,0.05)",
    "theory of a deep net": "theory --depth 300 --activation sigmoid --init xavier_normal",
    "training": "train --depth 6 --width 8 --steps 40 --activation sigmoid --clip 1 --schedule cosine(warmup=10)",
    "training that diverges": "train --depth 6 --width 8 --steps 40 --optimizer sgd(lr=1e30)",
    "a comparison": "compare runs.npz runs.npz --spec runs.json",
    "an unknown name": "probe --activation tnah",
    "a file that is not there": "probe nowhere.npz",
}


SMALL = "--width 4 --seeds 2 --batch 8"


def arguments(command: str) -> str:
    """The arguments of a command, with those that keep its net small; the last of several counts."""
    name, _, rest = command.partition(" ")
    return command if ".npz" in command else f"{name} {SMALL} {rest}"


@functools.cache
def shown(width: int | None) -> dict[str, Shown]:
    """What each command shows on terminals of so many columns, or off one."""
    given = "\n".join(map(arguments, COMMANDS.values()))
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.chdir(folder)
        make_files(Path(folder))
        done = run(width, sys.executable, "-c", SEVERAL, VGCORE_LINES=given)
    assert done.code == 0, done.err
    found = {}
    for name, out, err in zip(COMMANDS, done.out.split("\x1e"), done.err.split("\x1e"), strict=False):
        text, _, code = out.rpartition("returns ")
        found[name] = Shown(int(code), text, err)
    return found


each = pytest.mark.parametrize("name", COMMANDS)
at_each_width = pytest.mark.parametrize("width", WIDTHS)


@at_each_width
@each
def test_what_a_command_prints_fits_the_terminal_and_has_whole_words(name: str, width: int) -> None:
    assert_fits(shown(width)[name], shown(None)[name], width)


@each
def test_the_narrowest_terminal_ends_no_command(name: str) -> None:
    narrow = shown(40)[name]
    assert narrow.code == shown(None)[name].code
    assert "Traceback" not in narrow.err
    assert max(map(cell_len, lines(narrow.out))) <= 40


def numbers(text: str) -> set[str]:
    """The numbers of a text, but for intervals and the time that a run took."""
    text = re.sub(r"\(\d\S*-\d\S*\)", "", plain(text))
    return set(re.findall(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[+-]\d+)?(?![\w.]|\ss\b)", text))


@at_each_width
@each
def test_every_number_is_there(name: str, width: int) -> None:
    narrow, whole = shown(width)[name].out, shown(None)[name].out
    missing = numbers(whole) - numbers(narrow)
    if "Left out: log10" in narrow:  # of the many columns of gates and attention
        pytest.skip("what is left out is said")
    if re.search(r"Left out: [^;]*\blr;", narrow):  # which is said
        missing -= {"0.001"}
    if "Left out: correlation" in narrow:
        missing = {number for number in missing if not re.fullmatch(r"-?[01]\.\d{3}", number)}
    assert missing == set()
    assert ("95 % intervals" in narrow) == (set(re.findall(r"\(\d\.\d+-\d\.\d+\)", whole)) > words_of_intervals(narrow))


def words_of_intervals(text: str) -> set[str]:
    return set(re.findall(r"\(\d\.\d+-\d\.\d+\)", plain(text)))


@at_each_width
def test_a_size_is_its_logarithm_under_a_head_that_says_so(width: int) -> None:
    out = plain(shown(width)["sizes beyond any float"].out)
    cell = vg.probe(
        vg.MLP(depth=10000, width=4, activation="sigmoid", init="xavier_normal"), seeds=2, batch=8, dtype="float64"
    )
    assert cell.log10_delta_rms[:, 0].mean() < -6000
    for column in (cell.log10_delta_rms, cell.log10_wgrad_norm, cell.log10_bgrad_norm, cell.log10_z_rms):
        assert f" {column[:, 0].mean():.1f} " in out
    assert "10^" not in out.partition("x per layer: geometric mean")[0]
    assert "log10" in out


def test_the_size_of_exactly_zero_is_told_by_its_logarithm_too() -> None:
    assert [exponent(value) for value in (-np.inf, np.inf, np.nan, -0.04)] == ["-inf", "inf", "-", "0.0"]
    out = plain(shown(60)["no gradient at all"].out)
    assert re.search(r" -inf +\w", out)


# Of what only Python can make, or has to wait for

MORE = """
import os, numpy as np, vgcore as vg
from vgcore.shell import rivals, tables, timings
own = vg.Activation.custom("a_function_of_mine_with_a_long_name", np.tanh)
base = vg.MLP(depth=50, width=8)
kinds = ["tanh", ["tanh"] * 48 + ["relu"] * 2, ["tanh", "relu"] * 25, own]
sweep = vg.sweep(base, activation=kinds, skip=[None, "residual(order=pre)"], seeds=2, batch=8)
tables.show(sweep, base, source="[red]/a.csv", seconds=0.1, layers=True)
print("\\x1e")
row = {"job": "probe", "us_per_layer": [1.0, 2.5], "median": 12345.6, "ratio": 1.0, "min": 1234.5, "ratio_min": 123.45}
names = {"vgcore": "", "torch": "out=, 2 threads", "JAX": "scan"}
rows = [row | {"shape": [1024, 512, 64], "rival": name, "setting": setting} for name, setting in names.items()]
facts = {"cores": 2, "cpu": "A processor with a long name", "load": 1.0, "load_after": 2.0, "numpy": "2 with a BLAS"}
facts |= {"torch": "2.13.0+cpu", "jax": None, "build": {"isa": "avx512", "version": "1"}}
does = {name: " ".join(rivals.RIVALS[name].__doc__.split()) for name in names}
facts |= {"python": "3.12.1", "date": "2026-12-01"}
record = {"workload": rivals.WORKLOAD, "facts": facts, "jobs": rivals.JOBS, "rivals": does, "rows": rows}
timings.show(record)
print("\\x1e")
found = {"rounds": 5, "before": 12345.6, "after": 13000.1, "ratio": 1.05, "low": 0.9, "high": 1.2, "beyond": False}
timings.show_against(record, record, [row | found for row in rows], ["torch is left out"], ("a.json", "this run"))
"""


@functools.cache
def more(width: int | None) -> Shown:
    return run(width, sys.executable, "-c", MORE)


@pytest.mark.parametrize("width", [40, *WIDTHS])
def test_lists_names_and_comparisons_fit_the_terminal(width: int) -> None:
    narrow, whole = more(width), more(None)
    assert narrow.code == 0, narrow.err
    assert max(map(cell_len, lines(narrow.out))) <= width
    if width > 40:
        assert_fits(narrow, whole, width)
        assert "a_function_of_mine_with_a_long_name" in narrow.out
        assert "residual(order=pre)" in narrow.out
        assert "samples of [red]/a.csv" in " ".join(narrow.out.split())  # not markup
    told = " ".join(plain(narrow.out).split())
    assert "tanh x 48, relu x 2" in told
    assert "(tanh, relu) x 25" in told
    for figure in ("12345.6", "1.00x") if width <= 60 else ("12345.6", "1.00x", "1234.5", "123.45x"):
        assert figure in told


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "none"),
        (0.5, "0.5"),
        ((8, 8, 4), "8 x 2, 4"),
        (["relu"] * 3, "relu x 3"),
        (["a", "b", "b"] * 2 + ["c"], "(a, b x 2) x 2, c"),
        ([*range(100)], "100 values from 0 to 99"),
    ],
)
def test_a_long_list_is_said_by_what_repeats_in_it(value: Any, text: str) -> None:
    assert said(value) == text.replace("(a, b x 2) x 2, c", "(a, b, b) x 2, c")


# The environment


@pytest.mark.parametrize(
    ("environment", "width"), [({}, 80), ({"COLUMNS": "60"}, 60), ({"TERM": "dumb"}, 80), ({"NO_COLOR": "1"}, 80)]
)
def test_the_environment_is_heard_as_rich_hears_it(environment: dict[str, str], width: int) -> None:
    given = arguments("sweep --depth 2,40 --activation sigmoid,relu").split()
    done = run(80, *COMMAND, *given, **environment)
    assert width - 20 < max(map(cell_len, lines(done.out))) <= width
    coloured = re.search(r"\x1b\[3\dm", done.out) is not None
    assert coloured == (environment in ({}, {"COLUMNS": "60"}))


# Columns


def drawn(table: Columns, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


ROWS = [
    Column("key", ["a", "b"]),
    Column("a size", ["-32.5", "-6312.0"]),
    Column("worth\nless", ["1234567.5", "2.5"], rank=1),
    Column("worth least", ["7654321.5", "3.5"], rank=2),
    Column("what it is", ["one two three", "four(five=six)"], left=True, moves=True),
]
NUMBERED = Columns(ROWS, numbers=Column("row", ["1", "2"]))


def test_what_does_not_fit_moves_above_then_is_left_out_by_its_rank() -> None:
    wide, mid, narrow, least = (drawn(NUMBERED, width) for width in (80, 45, 34, 23))
    assert "Left out" not in wide + mid
    assert "row" not in wide
    assert "row" in mid
    assert "four(five=six)" in mid
    assert ("7654321.5" in narrow, "1234567.5" in narrow) == (False, True)
    assert "Left out: worth least; --json holds all" in " ".join(narrow.split())
    assert "Left out: worth least, worth less;" in " ".join(least.split())
    assert all("-6312.0" in text for text in (wide, mid, narrow, least))


@pytest.mark.parametrize("width", range(4, 90))
def test_no_width_breaks_a_table(width: int) -> None:
    for table in (NUMBERED, Columns(ROWS), Columns([Column("none", [])]), Columns([Column("x", ["y" * 50])])):
        text = drawn(table, width)
        assert max(map(len, text.splitlines()), default=0) <= width
        assert "\u2026" not in text


def test_blocks_stand_apart_where_that_takes_no_more_tables() -> None:
    key = Column("layer", ["1"])
    sizes = [Column(f"size{i}", ["-32.5"]) for i in range(4)]
    shares = [Column(f"share{i}", ["0.5"], block=1) for i in range(4)]
    tables_, left_out = Columns([key, *sizes, *shares]).fitted(50)
    assert [[column.head for column in table] for table in tables_] == [
        ["layer", "size0", "size1", "size2", "size3"],
        ["layer", "share0", "share1", "share2", "share3"],
    ]
    assert left_out == []


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("one two three", 7, ["one two", "three"]),
        ("well-known non-finite", 12, ["well-known", "non-finite"]),
        ("x residual(order=pre)", 12, ["x residual(", "order=pre)"]),
        ("loss 1e-05", 9, ["loss", "1e-05"]),
        ("a\nb", 9, ["a", "b"]),
        ("", 9, [""]),
        ("\u6fc0\u6d3b\u6fc0\u6d3b", 4, ["\u6fc0\u6d3b", "\u6fc0\u6d3b"]),  # wide characters
    ],
)
def test_text_is_broken_at_spaces_and_a_word_only_if_it_must(text: str, width: int, expected: list[str]) -> None:
    assert wrapped(text, width) == expected


def test_a_path_stays_whole() -> None:
    path = "/a/very/long/path/to/the/file/of/a/sweep.csv"
    assert wrapped(f"wrote {path}", 20, whole=True) == ["wrote", path]
