"""Samples to measure with: the bundled digits, and tables from CSV and NPZ files."""

from vgcore.data.digits import digits
from vgcore.data.read import Features, Targets, read

__all__ = ["Features", "Targets", "digits", "read"]
