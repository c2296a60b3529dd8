"""The command `vgcore`: options, commands, tables, comparisons."""
