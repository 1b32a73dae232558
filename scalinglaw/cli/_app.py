"""The command, its subcommands, and how errors reach the user."""

from __future__ import annotations

import sys
from concurrent.futures import BrokenExecutor
from typing import Annotated, NoReturn

import typer

from .._version import __version__
from ._compare import compare
from ._demo import demo
from ._fit import fit
from ._output import WORKER_KILLED, say
from ._plot import plot
from ._run import run
from ._theory import theory

__all__ = ["app", "main"]

app = typer.Typer(
    name="scalinglaw",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
for command in (demo, run, fit, compare, plot, theory):
    app.command()(command)


def _print_version(asked: bool) -> None:
    if asked:
        print(__version__)
        raise typer.Exit


@app.callback()
def scalinglaw(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Print the version and exit.",
        ),
    ] = False,
) -> None:
    """Dynamical scaling laws of classifiers.

    Train at many train sizes, fit the laws, and get exponents with intervals.

    Start with [bold]scalinglaw demo[/bold]. Results go to standard output, all else
    to standard error; with --json standard output is one JSON object.
    """


def main() -> None:
    """Run the command.

    Ends with status 0; 1 for bad input, a killed worker, or models without exponents,
    with one line on standard error; 2 for bad usage; 130 for Ctrl-C.
    """
    try:
        app()
    except BrokenExecutor:
        _fail(WORKER_KILLED)
    except OSError as error:
        _fail(_about_file(error))
    except (ValueError, TypeError) as error:
        _fail(str(error))
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(130)


def _about_file(error: OSError) -> str:
    """Return in words which file is not there, or what is wrong with it."""
    if error.filename is None or error.strerror is None:
        return str(error)
    if isinstance(error, FileNotFoundError):
        return f"there is no file {error.filename}."
    return f"{error.filename}: {error.strerror}."


def _fail(text: str) -> NoReturn:
    say(f"error: {text}", style="bold red")
    sys.exit(1)
