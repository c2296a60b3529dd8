"""Every word that vgcore prints is explained, and `vgcore kinds` and `vgcore explain` say so in any terminal."""

from __future__ import annotations

import io
import json
import re
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

import vgcore as vg
from vgcore import _core
from vgcore.judge.finding import SEVERITIES
from vgcore.judge.glossary import glossary
from vgcore.judge.nonfinite import NONFINITE_RULES
from vgcore.judge.rule import RuleOf
from vgcore.judge.rules import RULES
from vgcore.judge.training.depths import DEPTH_RULES
from vgcore.judge.training.diagnosis import OUTCOMES
from vgcore.judge.training.rules import RUN_RULES
from vgcore.judge.verdict import VERDICTS
from vgcore.model.kinds import KindInfo
from vgcore.shell import commands, kinds, tables
from vgcore.show.glossary import SORTS, WORDS, find, normal

GLOSSARY = glossary()
ALL_RULES: tuple[RuleOf[Any], ...] = (*RULES, *NONFINITE_RULES, *RUN_RULES, *DEPTH_RULES)


def run(*arguments: str, columns: int = 100) -> tuple[int, str, str]:
    """Exit code and what was printed to a terminal of so many columns."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["vgcore", *arguments])
        patch.setattr(tables, "terminal", lambda _=0: Console(width=columns, highlight=False))
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
            commands.main()
    code: Any = ended.value.code
    return code, out.getvalue(), err.getvalue()


def explained(word: str) -> bool:
    return bool(find(word, GLOSSARY))


# Words.

VERDICT_WORDS = sorted({"forward", "backward", "both", *VERDICTS})


@pytest.mark.parametrize("word", [*VERDICT_WORDS, *OUTCOMES, *SEVERITIES])
def test_every_verdict_outcome_and_severity_is_explained(word: str) -> None:
    assert explained(word)


@pytest.mark.parametrize("word", sorted({rule.condition for rule in ALL_RULES if rule.condition}))
def test_every_condition_is_explained_and_says_what_helps(word: str) -> None:
    assert any(found.remedy for found in find(word))


@pytest.mark.parametrize("rule", sorted(rule.id for rule in ALL_RULES))
def test_every_rule_is_explained_by_what_it_says_of_itself(rule: str) -> None:
    words = [word for word in find(rule, GLOSSARY) if word.name == rule]
    (row,) = [row for row in ALL_RULES if row.id == rule]
    assert len(words) == 1
    assert row.quantity in words[0].text
    assert words[0].formula == row.formula
    assert row.remedy[1:] in words[0].remedy


@pytest.mark.parametrize("column", sorted({*_core.COLUMNS, *_core.MONITORS}))
def test_every_column_is_explained_by_its_name_and_as_a_table_head(column: str) -> None:
    assert [word.sort for word in find(column)] in (["column"], ["condition"])
    assert find(column.removeprefix("log10_").replace("_", "\n")) == find(column)


@pytest.mark.parametrize("field", sorted(name for name in vg.MLP(depth=1, width=1).to_dict() if name != "tables"))
def test_every_field_of_a_net_is_explained(field: str) -> None:
    if field in {"format", "vgcore_format", "kind"}:
        return
    assert explained(field)


RECORD = str(Path(__file__).parents[1] / "benches" / "records" / "bench-xeon-model-207-avx2.json")
NET = ["--depth", "3", "--width", "8", "--seeds", "2"]
COMMANDS = {
    "probe": ["probe", *NET, "--skip", "residual"],
    "sweep": ["sweep", *NET, "--activation", "tanh,relu"],
    "train": ["train", *NET, "--steps", "5", "--seeds", "1", "--out-features", "10"],
    "advise": ["advise", "--depth", "30", "--width", "16", "--seeds", "2", "--activation", "sigmoid", "--budget", "40"],
    "theory": ["theory", *NET, "--activation", "tanh"],
    "bench": ["bench", RECORD],
    "bench against": ["bench", RECORD, "--against", RECORD],
}


@pytest.mark.parametrize("command", sorted(COMMANDS))
@pytest.mark.parametrize("columns", [60, 80, 160])
def test_every_head_of_a_table_is_explained(command: str, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    heads: list[str] = []
    plain = Table.add_column

    def noted(table: Table, header: Any = "", *rest: Any, **options: Any) -> None:
        heads.append(str(header))
        plain(table, header, *rest, **options)

    monkeypatch.setattr(Table, "add_column", noted)
    code, _, err = run(*COMMANDS[command], columns=columns)
    assert code in {0, 1}, err
    assert heads
    for head in heads:
        # A word may be broken at the end of a line.
        assert not head.strip() or explained(head) or explained(head.replace("-\n", "")), head


def test_what_is_read_next_is_another_word_that_is_explained_named_once() -> None:
    names = {word.name for word in GLOSSARY}
    for word in GLOSSARY:
        assert word.sort in SORTS
        assert word.text.endswith(".")
        assert word.text[0].isupper()
        assert {*word.see} <= names - {word.name}, word
        assert len({*word.see}) == len(word.see), word


def test_no_word_is_told_twice() -> None:
    names = [normal(word.name) for word in WORDS.values()]
    assert len({*names}) == len(names)
    for word in WORDS.values():
        for synonym in word.synonyms:
            assert normal(synonym) not in names, (word.name, synonym)
            assert find(synonym) == (word,), synonym


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("vanish", "vanishing"),
        ("vanishing gradients", "vanishing"),
        ("Vanishing-Gradient", "vanishing"),
        ("EXPLODING", "exploding"),
        ("verdicts", "verdict"),
        ("depth_limit", "depth limit"),
        ("delta rms", "log10_delta_rms"),
        ("fan in", "fan-in"),
        ("fan-outs", "fan-in"),
        ("update ratio", "log10_update_ratio"),
        ("nan", "non-finite"),
        ("dead units", "dead"),
        ("chi_1", "chi"),
        ("clipping", "clip"),
        ("losses", "loss"),
    ],
)
def test_a_word_is_found_however_it_is_written(given: str, name: str) -> None:
    assert find(given)[0].name == name
    code, out, _ = run("explain", *given.split())
    assert code == 0
    assert out.startswith(name)


def test_a_verdict_is_explained_as_it_is_printed() -> None:
    d = vg.diagnose(vg.MLP(depth=30, width=32, activation="sigmoid", init="normal(std=3)"), seeds=2)
    names = [word.name for word in find(d.word)]
    assert names[:2] == [d.verdict, d.direction]
    assert names[2:] == [word for word in d.conditions if word != d.verdict]
    assert find("vanishing gibberish") == find("gibberish vanishing") == find("") == find("z " * 5000 + "?") == ()


# The commands.


def test_an_unknown_word_is_refused_with_the_nearest() -> None:
    for given, near in [("vanishin", "'vanishing'"), ("saturatd", "'saturated'"), ("explodign", "'exploding'")]:
        code, out, err = run("explain", given)
        assert (code, out) == (2, "")
        assert near in err
    code, _, err = run("explain", "zzzzzzzz")
    assert code == 2
    assert "`vgcore explain` lists all" in err


@pytest.mark.parametrize(
    ("command", "given", "hint"),
    [
        ("explain", "drop", "(did you mean 'dropout'?)"),
        ("explain", "leaky rel", "(did you mean 'leaky_relu'?)"),
        ("explain", "gelu1", "(did you mean 'gelu'?)"),
        ("explain", "'vanishin", "(did you mean 'vanishing'?)"),
        ("explain", "vanishin", "(did you mean 'vanishing' or "),
        ("kinds", "shrink", "'hardshrink'"),
        ("kinds", "activatoin", "(did you mean 'activation'?)"),
    ],
)
def test_a_word_that_holds_what_was_given_is_nearer_than_one_of_its_letters(
    command: str, given: str, hint: str
) -> None:
    code, out, err = run(command, given)
    assert (code, out) == (2, "")
    assert hint in err


@pytest.mark.parametrize("command", ["explain", "kinds"])
@pytest.mark.parametrize("given", ["", " ", "()"])
def test_nothing_is_near_to_nothing(command: str, given: str) -> None:
    code, out, err = run(command, given)
    assert (code, out) == (2, "")
    assert "did you mean" not in err


@pytest.mark.parametrize("given", ["leaky relu", "Leaky-ReLU", "leaky_relu(0.1)", " leaky_relu "])
def test_a_kind_is_found_however_it_is_written(given: str) -> None:
    assert run("explain", given) == run("kinds", given) == run("kinds", "leaky_relu")
    assert run("kinds", given)[0] == 0


@pytest.mark.parametrize("columns", [30, 40])
def test_wide_characters_count_as_two_columns(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = KindInfo(**vars(vg.kinds("norm")[0]) | {"summary": " ".join(["層正規化"] * 12)})
    monkeypatch.setattr(kinds, "kinds", lambda *_: (wide,))
    _, out, _ = run("kinds", wide.name, columns=columns)
    assert out.count("層正規化") == 12
    assert max(cell_len(line) for line in out.splitlines() if "層" in line) <= columns


def test_explain_alone_lists_every_word_and_falls_back_on_kinds() -> None:
    code, out, _ = run("explain")
    assert code == 0
    listed = re.sub(r"\s+", " ", out)
    assert all(word.name in listed for word in GLOSSARY)
    assert run("explain", "gelu") == run("kinds", "gelu")


def test_kinds_lists_families_with_their_counts() -> None:
    code, out, _ = run("kinds")
    assert code == 0
    for family in _core.FAMILIES:
        assert f"{family} ({len(vg.kinds(family))})" in out.splitlines()


@pytest.mark.parametrize("family", _core.FAMILIES)
@pytest.mark.parametrize("columns", [40, 60, 80])
def test_a_family_is_listed_with_formulas_and_sources_that_no_terminal_cuts(family: str, columns: int) -> None:
    code, out, _ = run("kinds", family, columns=columns)
    assert code == 0
    told = re.sub(r"\s+", "", out)
    assert told.startswith(re.sub(r"\s+", "", vg.kinds(family)[0].letters))
    for kind in vg.kinds(family):
        for part in (kind.call, *kind.formula.split("; "), kind.source):
            assert re.sub(r"\s+", "", part) in told
    # A word that is longer than the line stands alone on it, whole.
    assert all(len(line) <= columns or len(line.split()) == 1 for line in out.splitlines())
    assert all(line == line.rstrip() for line in out.splitlines())


def test_a_kind_is_told_in_full_by_any_of_its_names() -> None:
    code, out, _ = run("kinds", "gelu")
    assert code == 0
    assert out.startswith("activation: gelu\n")
    assert "approximate=none: one of none, tanh" in out
    assert "source: Hendrycks and Gimpel 2016, arXiv:1606.08415; torch.nn.GELU" in out
    assert run("kinds", "swish")[1] == run("kinds", "silu")[1] == run("kinds", "SiLU")[1]
    assert re.findall(r"^(\w+): linear$", run("kinds", "linear")[1], re.MULTILINE) == ["activation", "schedule"]
    assert "threshold: a finite number; must be given" in run("kinds", "threshold")[1]
    assert run("kinds", "weight-transforms")[1] == run("kinds", "weight_transform")[1]


def test_an_unknown_kind_is_refused_with_the_nearest() -> None:
    code, out, err = run("kinds", "gleu")
    assert (code, out) == (2, "")
    assert "unknown kind 'gleu' (did you mean 'gelu'?)" in err


def test_json_is_what_python_says() -> None:
    assert json.loads(run("kinds", "norm", "--json")[1]) == json.loads(
        json.dumps([kind.to_dict() for kind in vg.kinds("norm")])
    )
    assert len(json.loads(run("kinds", "--json")[1])) == len(vg.kinds())
    (word,) = json.loads(run("explain", "healthy", "--json")[1])
    assert word["text"] == WORDS["healthy"].text
