"""Nets of other libraries: one recorded run, matched, and proved before it is returned."""
