"""The ``scalinglaw`` command: one file per subcommand."""

from ._app import app, main

__all__ = ["app", "main"]
