"""Samples to measure with: the bundled digits, and tables from CSV and NPZ files."""

from vgcore.data.digits import digits
from vgcore.data.read import read
from vgcore.data.table import Features, Targets

__all__ = ["Features", "Targets", "digits", "read"]
