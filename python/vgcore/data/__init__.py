"""Samples to measure with: the bundled digits, two spirals, sequences, and tables from CSV and NPZ files."""

from vgcore.data.digits import digits
from vgcore.data.read import read
from vgcore.data.sequences import Sequences, adding, copy, sequential_digits, temporal_order
from vgcore.data.spirals import spirals
from vgcore.data.table import Features, Targets

__all__ = [
    "Features",
    "Sequences",
    "Targets",
    "adding",
    "copy",
    "digits",
    "read",
    "sequential_digits",
    "spirals",
    "temporal_order",
]
