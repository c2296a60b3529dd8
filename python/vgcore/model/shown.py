"""What is shown of a result: `Shown` in notebooks, `Reported` in files as well."""

from __future__ import annotations

import os
from collections.abc import Collection


class Shown:
    """What has HTML for notebooks: that of its class in `vgcore.show.html`, or of the class it inherits from.

    Rooms on the left of `show` have results too, so the way there is looked up when somebody wants to see one.
    """

    def _repr_html_(self) -> str:
        from vgcore.show import html

        return str(html.of(self))

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> dict[str, str]:
        """What a notebook chooses from: the line of `repr`, HTML, and Markdown where a page takes no HTML."""
        from vgcore.show import html

        made = html.of(self)
        bundle = {"text/plain": repr(self), "text/html": str(made), "text/markdown": made.markdown}
        wanted = set(bundle if include is None else include) - set(exclude or ())
        return {kind: text for kind, text in bundle.items() if kind in wanted}


class Reported(Shown):
    """What has a report: a page to hand on."""

    def report(self, path: str | os.PathLike[str]) -> None:
        """Write a report: one file that needs nothing else, with the numbers that it is drawn from.

        Args:
            path: `.html` is a page, with its numbers as JSON inside; `.md` is the same in Markdown, for issues, pull
                requests and step summaries. What is there is written over.

        Raises:
            ValueError: For another ending.
            OSError: Where it cannot be written, with the path and the system's reason.

        >>> import pathlib, tempfile
        >>> import vgcore as vg
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "net.md")
        ...     vg.diagnose(vg.MLP(depth=20, width=32, activation="sigmoid"), seeds=2).report(path)
        ...     print(path.read_text(encoding="utf-8").splitlines()[0])
        # Diagnosis: vanishing (backward), collapsed
        """
        from vgcore.report.write import save

        save(self, path)
