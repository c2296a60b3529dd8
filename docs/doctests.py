"""For the site, whose mkdocs.yml names this extension: what it reads in sources as a caller has it.

The examples of a docstring are code, though no headline says so. A field of a spec has the type of what it is given,
and a default that the core knows: the docstring shows it.
"""

import re
from typing import Any

import griffe

# From a prompt to the next empty line.
EXAMPLE = re.compile(r"^(?P<indent> *)>>> .*?(?=\n[ ]*\n|\Z)", flags=re.DOTALL | re.MULTILINE)


class Doctests(griffe.Extension):
    """Puts a fence around every example."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of whatever has one."""
        if obj.docstring is not None:
            fence = r"\g<indent>```pycon\n\g<0>\n\g<indent>```"
            obj.docstring.value = EXAMPLE.sub(fence, obj.docstring.value)

    def on_attribute_instance(self, *, attr: griffe.Attribute, **_: Any) -> None:
        """Say of a field what a caller needs."""
        if re.match(r"DEFAULTS\[|(Init)?Field\(", str(attr.value)):
            attr.value = "..."
            held = getattr(attr.annotation, "slice", None)  # of Field[given, held]
            if isinstance(held, griffe.ExprTuple):
                attr.annotation = held.elements[0]
