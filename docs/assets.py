"""Hold the built site to its promise: every style, script and picture of a page is a file of the site.

`python docs/assets.py target/site` says which are not, and returns 1.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

#: Attributes of elements that a browser loads something from, without a click.
LOADED = {"img": "src", "script": "src", "iframe": "src", "source": "src", "link": "href"}


class Assets(HTMLParser):
    """What a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what the element loads; links to the page itself and its neighbours load nothing."""
        values = dict(attrs)
        quiet = {"canonical", "next", "prev", "alternate"}
        if tag in LOADED and values.get("rel") not in quiet and (value := values.get(LOADED[tag])):
            self.found.append(value)


def strangers(site: Path) -> Iterator[str]:
    """What pages load that is no file of the site."""
    for page in sorted(site.rglob("*.html")):
        assets = Assets()
        assets.feed(page.read_text(encoding="utf-8"))
        for asset in assets.found:
            parts = urlsplit(asset)
            # The page for what is not found is served from any folder, so that its paths begin at the root.
            base = site if parts.path.startswith("/") else page.parent
            if parts.scheme == "data":
                continue
            if parts.scheme or parts.netloc or not (base / unquote(parts.path.lstrip("/"))).is_file():
                yield f"{page.relative_to(site)} loads {asset}"


def main() -> None:
    """Print what is wrong with the site that is named."""
    site = Path(sys.argv[1])
    if not (site / "index.html").is_file():
        sys.exit(f"{site} holds no site")
    if found := list(strangers(site)):
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
