"""The `farthing` command line: thin, calls the packages."""

from farthing.commands.command_line import main

__all__ = ["main"]
