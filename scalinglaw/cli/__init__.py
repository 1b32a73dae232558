"""The ``scalinglaw`` command: one file per subcommand."""

from .app import app, main

__all__ = ["app", "main"]
