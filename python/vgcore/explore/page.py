"""The explorer as HTML: the file that measures by itself, and the page of the local server. Both are one text.

All that a page needs stands in it, and its policy lets nothing else in: one script, whose hash the policy names, and
texts that it reads, as JSON in which no `<` is left.
"""

from __future__ import annotations

import base64
import functools
import gzip
import hashlib
import json
import lzma
import math
import re
from collections.abc import Mapping
from importlib import resources
from typing import Any

import numpy as np

from vgcore import _core
from vgcore.explore.presets import PRESETS
from vgcore.explore.request import CONTROLS, DEFAULTS
from vgcore.explore.rules import rules
from vgcore.judge.rules import RULES, of_change
from vgcore.report.island import island
from vgcore.show.html.blocks import Html
from vgcore.show.html.style import TONES, themed

#: The engine of a page that measures by itself.
ENGINE = "vgcore.wasm"
#: How it is packed, a quarter smaller than by gzip; `unpack.js` unpacks it. Code has no period: no lp, no pb.
LZMA = [{"id": lzma.FILTER_LZMA1, "preset": 9 | lzma.PRESET_EXTREME, "lc": 3, "lp": 0, "pb": 0}]
#: Statements that names of other files come and go by.
IMPORT = re.compile(r'^import\s[^;]*? from "\./(\w+\.js)";\n', re.MULTILINE)
EXPORT = re.compile(r"^export (?!default\b)", re.MULTILINE)
#: What only those read who have the files: comments, and how far lines are set in.
ASIDE = re.compile(r"^ *(?://.*|/\*(?:.|\n)*?\*/)?\n|^ +| // .*$", re.MULTILINE)
#: Spaces of a style that part nothing.
SPACES = re.compile(r"(?<=[:;{},])\s+|\s+(?=[{}])")


def settings(start: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What the explorer has to know of requests, limits and presets, as JSON can say it.

    Args:
        start: Fields of the net that it begins with; the others are at their defaults.
    """
    # Both ends of a verdict's limit are alike, and both signals of which a change is judged have one.
    limits = {signal: of_change(RULES, signal, 1).decisive for signal in ("forward", "backward")}
    float32 = np.finfo(np.float32)
    return {
        "version": _core.__version__,
        "controls": {name: vars(control) for name, control in CONTROLS.items()},
        "defaults": DEFAULTS,
        "start": dict(start or {}),
        "limits": {**limits, "float32": [math.log10(float32.tiny), math.log10(float32.max)]},
        "tones": TONES,
        "presets": [vars(preset) for preset in PRESETS],
    }


def _text(name: str) -> str:
    return (resources.files(__package__) / "static" / name).read_text(encoding="utf-8")


def _joined(name: str) -> str:
    """A module and those that it imports as one, without imports, and without exports but the default one."""
    texts: dict[str, str] = {}

    def follow(name: str) -> None:
        text = _text(name)
        for other in IMPORT.findall(text):
            if other not in texts:
                follow(other)
        texts[name] = EXPORT.sub("", IMPORT.sub("", text))

    follow(name)
    return ASIDE.sub("", "\n".join(texts.values()))


def module() -> str:
    """The explorer as one ES module, whose default export is a widget of `anywidget`."""
    return _joined("explore.js")


def style() -> str:
    """The style of the explorer, which reaches nothing around it."""
    return themed(".vgcore-explore") + SPACES.sub("", ASIDE.sub("", _text("explore.css")))


def saved(start: Mapping[str, Any] | None = None) -> str:
    """The explorer as one file that measures by itself, in WebAssembly, and asks for nothing.

    Args:
        start: Fields of the net that it begins with; the others are at their defaults.

    Raises:
        ValueError: Where this build of vgcore has no engine for pages.
    """
    worker = f"const RULES = {json.dumps(rules())};\n{_joined('worker.js')}"
    parts = {"settings": _zipped(json.dumps(settings(start))), "worker": _zipped(worker), "engine": _engine()}
    return _page("saved.js", parts, "'wasm-unsafe-eval' blob:; worker-src blob:")


@functools.cache
def _engine() -> str:
    """The engine of pages, packed, as base64."""
    engine = resources.files(__package__) / "static" / ENGINE
    if not engine.is_file():
        raise ValueError(
            f"this build of vgcore has no {ENGINE}, which the page measures with: it was built without the target "
            "wasm32-unknown-unknown. `vgcore explore` shows the same page with this machine as its engine"
        )
    return _base64(lzma.compress(engine.read_bytes(), format=lzma.FORMAT_ALONE, filters=LZMA))


def _zipped(text: str) -> str:
    """A text as base64 of gzip, the same at every build."""
    return _base64(gzip.compress(text.encode(), mtime=0))


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def served(token: str) -> str:
    """The page of the local server, which knows its token."""
    return _page("served.js", {"settings": settings(), "token": token}, "; connect-src 'self'")


def _page(start: str, islands: Mapping[str, Any], allowed: str) -> str:
    """A page that begins with one of the scripts, which finds its texts by their names; what its policy allows it."""
    from jinja2 import Environment, PackageLoader

    script = Html(_joined(start).replace("export default", "const widget ="))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    template = Environment(loader=PackageLoader(__package__, "static"), autoescape=True).get_template("page.html")
    return template.render(
        policy=f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}' {allowed}",
        style=Html(style()),
        islands={name: island(value) for name, value in islands.items()},
        script=script,
    )
