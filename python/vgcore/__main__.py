"""`python -m vgcore` is the command `vgcore`."""

from vgcore.cli import main

main()
