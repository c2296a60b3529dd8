"""What notebooks show of an object: `Shown`."""

from __future__ import annotations


class Shown:
    """What has HTML for notebooks: that of its class in `vgcore.show.html`, or of the class it inherits from.

    Rooms on the left of `show` have results too, so the way there is looked up when somebody wants to see one.
    """

    def _repr_html_(self) -> str:
        from vgcore.show import html

        return html.of(self)
