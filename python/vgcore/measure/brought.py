"""A model of another library, brought in to be measured."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from vgcore.convert.imported import Imported
from vgcore.convert.which import imported_of
from vgcore.model.given import wrong_type
from vgcore.model.network import Network

LIBRARIES = "models of torch, Keras, scikit-learn, flax, equinox and ONNX are brought in, and none of them is this"


def brought(
    subject: Any, x: ArrayLike | None, allowed: str, *, name: str = "subject"
) -> tuple[Network, tuple[str, ...]]:
    """A model as a net of vgcore, and what was noted on the way.

    Args:
        subject: A model, or what its front end gave.
        x: Samples, of which the model may need to see one.
        allowed: What could have been given, in words.
        name: The argument.

    Raises:
        TypeError: For what no front end knows.
        ValueError: For a model that has no equal here.
    """
    found = subject if isinstance(subject, Imported) else imported_of(subject, x)
    if found is None:
        more = "a class is no model: make one of it" if isinstance(subject, type) else LIBRARIES
        raise TypeError(f"{wrong_type(name, allowed, subject)}; {more}")
    return found.network, found.notes
