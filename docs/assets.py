"""Hold the built site to its promises, which its builder does not know of: what it cannot do it leaves out in silence.

Every style, script and picture of a page is a file of the site. Every public name is there with its docstring. No
formula is left as its source. `python docs/assets.py target/site` says what is not so, and returns 1.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).parents[1]
#: Attributes of elements that a browser loads something from, without a click.
LOADED = {"img": "src", "script": "src", "iframe": "src", "source": "src", "link": "href"}
#: Elements whose text is not prose.
VERBATIM = {"code", "pre", "script", "style", "textarea"}


class Page(HTMLParser):
    """What a page loads, the anchors that it has, its prose and its code."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.prose = self.code = ""
        self.within: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what the element loads; links to the page itself and its neighbours load nothing."""
        values = dict(attrs)
        quiet = {"canonical", "next", "prev", "alternate"}
        if tag in LOADED and values.get("rel") not in quiet and (value := values.get(LOADED[tag])):
            self.loaded.append(value)
        if anchor := values.get("id"):
            self.anchors.add(anchor)
        if tag in VERBATIM:
            self.within.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Prose may go on."""
        if self.within and tag == self.within[-1]:
            self.within.pop()

    def handle_data(self, data: str) -> None:
        """Text, of the one kind or the other."""
        if self.within:
            self.code += f"{data}\n"
        else:
            self.prose += data


@cache
def pages(site: Path) -> dict[str, Page]:
    """The pages of a site by their paths."""
    return {path.relative_to(site).as_posix(): Page(path) for path in sorted(site.rglob("*.html"))}


def strangers(site: Path) -> Iterator[str]:
    """What pages and styles load that is no file of the site."""
    for name, page in pages(site).items():
        for asset in page.loaded:
            parts = urlsplit(asset)
            # The page for what is not found is served from any folder, so that its paths begin at the root.
            base = site if parts.path.startswith("/") else (site / name).parent
            if parts.scheme == "data":
                continue
            if parts.scheme or parts.netloc or not (base / unquote(parts.path.lstrip("/"))).is_file():
                yield f"{name} loads {asset}"
    for style in sorted(site.rglob("*.css")):
        text = style.read_text(encoding="utf-8")
        for url in re.findall(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')\s]+)", text):
            yield f"{style.relative_to(site).as_posix()} loads {url}"


def formulas(site: Path) -> Iterator[str]:
    """What would be a formula if a script were loaded."""
    for name, page in pages(site).items():
        for found in re.findall(r"\$[^$\n]+\$|\\[(\[][^\n]+?\\[)\]]", page.prose):
            yield f"{name} shows the source of a formula: {found}"


def names(stub: str, listing: str) -> Iterator[tuple[str, str]]:
    """Public names with a pattern of the anchors where one may stand: `__all__` of the stub, what docs/api.md lists."""
    for path in re.findall(r"^::: ([\w.]+)$", listing, flags=re.MULTILINE):
        yield path, re.escape(path)
    for statement in ast.parse(stub).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__":
            for name in ast.literal_eval(statement.value):
                yield f"vg.{name}", rf"vgcore\.(\w+\.)*{name}(\.\w+)*"


def lacking(site: Path, stub: str, listing: str) -> Iterator[str]:
    """Public names that the page of all of them lacks; constants and the like stand there as code."""
    page = pages(site)["api.html"]
    told = {code.removesuffix("()") for code in page.code.split("\n")}
    for name, pattern in names(stub, listing):
        if name not in told and not any(re.fullmatch(pattern, anchor) for anchor in page.anchors):
            yield f"api.html lacks {name}"


def main() -> None:
    """Print what is wrong with the site that is named."""
    site = Path(sys.argv[1])
    if not (site / "index.html").is_file():
        sys.exit(f"{site} holds no site")
    stub = (ROOT / "python" / "vgcore" / "__init__.pyi").read_text(encoding="utf-8")
    listing = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    if found := [*strangers(site), *formulas(site), *lacking(site, stub, listing)]:
        sys.exit("\n".join(found))
    print(f"assets: {len(pages(site))} pages load nothing from elsewhere, and have all public names")


if __name__ == "__main__":
    main()
