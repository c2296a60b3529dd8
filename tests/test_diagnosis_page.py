"""docs/diagnosis.md says what the code does."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from vgcore.judge.rules import RULES

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "diagnosis.md").read_text(encoding="utf-8")


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("diagnosis_page", DOCS / "diagnosis.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("part", ["rule_list", "presets"])
def test_the_tables_of_rules_are_those_of_the_code(part: str) -> None:
    text: str = getattr(script(), part)()
    assert text in PAGE, "run make diagnosis"
    assert len(text) > 1000


def test_every_rule_has_a_section() -> None:
    assert re.findall(r"^### `(\w+)`$", PAGE, flags=re.MULTILINE) == [rule.id for rule in RULES]


def test_no_table_of_the_page_is_empty() -> None:
    parts = re.findall(r"<!-- (\w+) -->(.*?)<!-- end of \1 -->", PAGE, flags=re.DOTALL)
    assert [name for name, _ in parts] == ["example", "exam", "rules", "presets", "sick"]
    assert all(len(text) > 200 for _, text in parts)


def test_the_pages_python_runs(tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)
    path = tmp_path / "page.py"
    path.write_text("\n".join(blocks), encoding="utf-8")
    environment = os.environ | {"MPLBACKEND": "Agg"}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(path)], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("exploding backward ()")
