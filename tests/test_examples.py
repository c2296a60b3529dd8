"""Every script in examples/ runs as it is, draws a picture, and prints theory that agrees with measurement."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))

#: How far small nets may be from theory: relative, and absolute. Of most numbers the standard error is a few percent.
NEAR: dict[str, tuple[float, float]] = {
    "edge_of_chaos": (0.15, 0.05),
    "depth_scales": (0.4, 0.05),
    "power_law": (0.25, 0.0),
    "relu_collapse": (0.15, 0.05),
    "batch_norm_explosion": (0.1, 0.0),
    "isometry": (0.15, 0.0),
    "shattering": (0.25, 0.0),
    "finite_width": (0.25, 0.0),
}


def test_there_is_a_script_for_each_classic_figure() -> None:
    assert {path.stem for path in SCRIPTS} == {*NEAR}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_draws_its_picture_and_prints_theory_beside_measurement(script: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script), "--small"],
        cwd=tmp_path,
        env=os.environ | {"MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    pixels = image.imread(tmp_path / f"{script.stem}.png")
    assert float(np.std(pixels)) > 0.05
    pairs = re.findall(r"theory ([-+.\de]+), measured ([-+.\de]+)", done.stdout)
    assert pairs, done.stdout
    relative, absolute = NEAR[script.stem]
    for expected, measured in pairs:
        assert float(measured) == pytest.approx(float(expected), rel=relative, abs=absolute), done.stdout


def test_the_page_of_examples_names_every_script_and_its_picture() -> None:
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`(\w+)\.py`", text)) == {*NEAR}
    pictures = re.findall(r"\((pictures/\w+\.png)\)", text)
    assert {Path(picture).stem for picture in pictures} == {*NEAR}
    assert all((EXAMPLES / picture).is_file() for picture in pictures)
