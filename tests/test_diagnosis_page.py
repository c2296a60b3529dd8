"""docs/diagnosis.md says what the code does."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from vgcore.judge.rules import RULES
from vgcore.judge.training.depths import DEPTH_RULES
from vgcore.judge.training.rules import RUN_RULES

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "diagnosis.md").read_text(encoding="utf-8")


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("diagnosis_page", DOCS / "diagnosis.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("part", ["rule_list", "needs", "broken", "run_rule_list", "presets", "time_presets"])
def test_the_tables_of_rules_are_those_of_the_code(part: str) -> None:
    text: str = getattr(script(), part)()
    assert text in PAGE, "run make diagnosis"
    assert len(text) > 1000


def test_every_rule_has_a_section() -> None:
    assert re.findall(r"^### `(\w+)`$", PAGE, flags=re.MULTILINE) == [
        *(rule.id for rule in RULES),
        *(rule.id for rule in RUN_RULES),
        *(rule.id for rule in DEPTH_RULES),
    ]


def test_no_table_of_the_page_is_empty() -> None:
    parts = re.findall(r"<!-- (\w+) -->(.*?)<!-- end of \1 -->", PAGE, flags=re.DOTALL)
    assert [name for name, _ in parts] == [
        *("exam", "sequences", "rules", "needs", "broken", "trainings", "run_rules", "presets", "time_presets"),
        "sick",
    ]
    assert all(len(text) > 200 for _, text in parts)
