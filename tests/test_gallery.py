"""The gallery shows every kind, and its script draws them."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

import vgcore as vg

DOCS = Path(__file__).parents[1] / "docs"
ROWS = (*vg.ACTIVATIONS, *vg.NORMS, *vg.SKIPS, *vg.WEIGHT_TRANSFORMS, *vg.INITS)


@pytest.fixture(scope="module")
def gallery() -> ModuleType:
    source = importlib.util.spec_from_file_location("gallery", DOCS / "gallery.py")
    assert source is not None
    assert source.loader is not None
    module = importlib.util.module_from_spec(source)
    source.loader.exec_module(module)
    return module


def test_the_page_shows_every_kind_by_a_picture_that_exists() -> None:
    page = (DOCS / "gallery.md").read_text(encoding="utf-8")
    titles = {re.split(r"[(,]", line)[0] for line in re.findall(r"^### (.*)$", page, flags=re.MULTILINE)}
    assert titles == {*ROWS, "tied"}
    shown = re.findall(r"!\[.+\]\(gallery/(.+)\)", page)
    assert len(shown) == len(set(shown))
    pictures = {path.name: path.stat().st_size for path in (DOCS / "gallery").glob("*.png")}
    assert {*shown} == {*pictures}
    assert sum(pictures.values()) < 2.5e6


def test_the_script_draws_what_the_tables_hold_and_says_what_it_measured(
    gallery: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tables = {
        "ACTIVATIONS": ("tanh", "swiglu"),
        "NORMS": ("rms",),
        "SKIPS": ("highway",),
        "WEIGHT_TRANSFORMS": ("spectral_norm",),
        "INITS": ("zeros", "fixup"),
    }
    for name, rows in tables.items():
        assert {*rows} <= {*getattr(vg, name)}
        monkeypatch.setattr(vg, name, rows)
    gallery.main(["--out", str(tmp_path), "--depth", "4", "--width", "8", "--batch", "8", "--seeds", "2"])
    page = (tmp_path / "gallery.md").read_text(encoding="utf-8")
    pictures = sorted((tmp_path / "gallery").glob("*.png"))
    assert len(pictures) == sum(map(len, tables.values())) + 2  # and two recurrent nets
    for path in pictures:
        assert f"(gallery/{path.name})" in page
        with Image.open(path) as image:
            assert image.size == (860, 250)
            assert len(image.convert("RGB").getcolors() or []) > 20  # something is drawn
    spec = vg.MLP(depth=4, width=8, activation="relu", init="lecun_normal", norm="rms")
    cell = vg.probe(spec, batch=8, seeds=2)
    assert f"by {cell.factor('forward').value:.3f} and {cell.factor('backward').value:.3f} (before phi)" in page


def test_every_kind_makes_a_net_for_its_picture(gallery: ModuleType) -> None:
    kinds = [kind for _, make in gallery.SECTIONS.values() for kind in make()]
    nets = [vg.MLP(depth=4, width=8, **fields) for kind in kinds for fields in (kind.nets | kind.plain).values()]
    assert {vg.Skip(str(net.skip)).params.get("order") for net in nets if net.skip} >= {*gallery.ORDERS}
    names = [gallery.slug(kind.name) for kind in kinds]
    assert len(set(names)) == len(names)
    for name in vg.ACTIVATIONS:
        assert np.isfinite(vg.calculate_gain(gallery.call(name), mode="forward"))
