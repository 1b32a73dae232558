"""The command, its subcommands, and how errors reach the user."""

from __future__ import annotations

import sys
from concurrent.futures import BrokenExecutor
from typing import NoReturn

import typer

from .compare import compare
from .demo import demo
from .fit import fit
from .output import WORKER_KILLED, say
from .run import run
from .theory import theory

__all__ = ["app", "main"]

app = typer.Typer(
    name="scalinglaw",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help=(
        "Dynamical scaling laws of classifiers: train at many train sizes, fit the "
        "laws, and get exponents with intervals.\n\n"
        "Start with [bold]scalinglaw demo[/bold]. Results go to standard output, all "
        "else to standard error; with --json standard output is one JSON object."
    ),
)
for command in (demo, run, fit, compare, theory):
    app.command()(command)


def main() -> None:
    """Run the command.

    Ends with status 0; 1 for bad input, a killed worker, or models without exponents,
    with one line on standard error; 2 for bad usage; 130 for Ctrl-C.
    """
    try:
        app()
    except (ValueError, TypeError, OSError) as error:
        _fail(str(error))
    except BrokenExecutor:
        _fail(WORKER_KILLED)
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(130)


def _fail(text: str) -> NoReturn:
    say(f"error: {text}", style="bold red")
    sys.exit(1)
