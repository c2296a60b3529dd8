"""What every test may ask for by name, and what is put away behind each."""

import sys
from collections.abc import Iterator

import pytest

from browser import browser

__all__ = ["browser"]


@pytest.fixture(autouse=True)
def figures_are_closed() -> Iterator[None]:
    """Close what a test has drawn: pyplot keeps it, and from the 21st figure on its warning fails the next test."""
    yield
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close("all")
