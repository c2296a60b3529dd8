"""`python -m vgcore` is the command `vgcore`."""

from vgcore.shell.commands import main

main()
