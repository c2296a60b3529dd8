"""Put the explorer into the built site, as a page that measures by itself.

`python docs/explorer.py target/site`. Where this build of vgcore has no engine for pages, the page says so: the site is
whole without it.
"""

from __future__ import annotations

import html
import sys
from pathlib import Path

from vgcore.explore.page import saved
from vgcore.measure import files

WITHOUT = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="color-scheme" content="light dark">
<title>vgcore explorer</title>
<p>The explorer is not part of this site: {why}.</p>
</html>
"""


def explorer() -> str:
    """The page."""
    try:
        return saved()
    except ValueError as error:
        return WITHOUT.format(why=html.escape(str(error)))


if __name__ == "__main__":
    files.save_text(explorer(), Path(sys.argv[1]) / "explore.html")
