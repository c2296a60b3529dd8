"""What a shell completes: values of options, and files by their ending."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

#: What may follow a word that was begun.
Completion = Callable[[str], list[str]]


def choices(*names: str) -> Completion:
    """One of these; in a list `relu,ta`, for its last one.

    >>> choices("relu", "tanh", "tanhshrink")("relu,ta")
    ['relu,tanh', 'relu,tanhshrink']
    """

    def complete(incomplete: str) -> list[str]:
        before, comma, begun = incomplete.rpartition(",")
        return [f"{before}{comma}{name}" for name in names if name.startswith(begun)]

    return complete


def files_of(*endings: str, words: tuple[str, ...] = ()) -> Completion:
    """A file with one of these endings, a folder on the way to it, or one of the words."""

    def complete(incomplete: str) -> list[str]:
        folder, begun = os.path.split(incomplete)
        found = [word for word in words if word.startswith(incomplete)]
        try:
            entries = sorted(os.scandir(Path(folder or ".")), key=lambda entry: entry.name)
        except OSError:
            return found
        for entry in entries:
            if entry.name.startswith(begun) and (begun or not entry.name.startswith(".")):
                path = os.path.join(folder, entry.name)  # noqa: PTH118 (as it was typed)
                if entry.is_dir():
                    found.append(f"{path}/")
                elif entry.name.lower().endswith(endings):
                    found.append(path)
        return found

    return complete
