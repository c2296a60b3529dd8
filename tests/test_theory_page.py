"""The page of theory names tests that exist, functions that exist, and prints what is true."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

from vgcore import theory

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "theory.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_every_test_that_the_page_names_exists() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))
    named = set(re.findall(r"`(test_\w+)`", TEXT))
    assert len(named) > 15
    assert [name for name in sorted(named) if f"def {name}(" not in code] == []
    for path in re.findall(r"`(tests/[\w/]+\.py)`", TEXT):
        assert (ROOT / path).is_file(), path


def test_every_function_of_theory_is_on_the_page() -> None:
    functions = [name for name in theory.__all__ if name.islower()]
    assert [name for name in functions if f"`{name}" not in TEXT] == []


def test_the_pages_examples_are_true() -> None:
    result = doctest.testfile(str(PAGE), module_relative=False)
    assert result.attempted == 3
    assert result.failed == 0
