"""`python -m farthing.commands` is `farthing`."""

from farthing.commands.command_line import main

main()
