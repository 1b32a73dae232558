"""How results are shown: tables for people, JSON for programs."""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

if TYPE_CHECKING:
    from ..laws import ExponentComparison, ScalingLawEstimator

__all__ = [
    "WORKER_KILLED",
    "comparison_to_dict",
    "in_options",
    "law_to_dict",
    "print_json",
    "print_summary",
    "print_table",
    "print_text",
    "say",
    "say_warnings",
    "spoken_warnings",
]

WORKER_KILLED = (
    "a worker process was killed, probably for want of memory: fewer --n-jobs need "
    "less of it."
)
# What messages advise as Python writes it, and the command has as an option.
_OPTIONS = (
    "batch_size",
    "columns",
    "confidence_level",
    "download",
    "include_unresolved",
    "landmark",
    "margin",
    "metric",
    "min_train_size",
    "norm",
    "offset",
    "pattern",
    "window",
)


def say(text: str, style: str | None = None) -> None:
    """Print one line on standard error, however long: a path is not broken in two.

    Everything but results goes there: a pipe or --json must see nothing else.
    """
    line = " ".join(part.strip() for part in text.splitlines())
    # Names and paths may have brackets, which are no markup.
    Console(stderr=True, markup=False, emoji=False).print(
        in_options(line),
        style=style,
        highlight=False,
        soft_wrap=True,
    )


def say_warnings(texts: Iterable[str], about: str = "") -> None:
    """Print warnings on standard error, one a line, each once."""
    for text in dict.fromkeys(texts):
        say(f"warning: {about}{': ' if about else ''}{text}", style="yellow")


@contextmanager
def spoken_warnings() -> Iterator[list[str]]:
    """Print warnings at the end as one line each, but those that are shown elsewhere.

    Yields
    ------
    list of str
        To be filled with texts that are shown elsewhere.
    """
    shown: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield shown
    texts = [str(warning.message) for warning in caught]
    say_warnings([text for text in texts if text not in shown])


def print_text(text: str, style: str | None = None) -> None:
    """Print a paragraph on standard output, names in it as they are."""
    Console(markup=False, emoji=False).print(text, style=style, highlight=False)


def print_table(frame: pd.DataFrame, title: str, index: str = "") -> None:
    """Print a data frame as a table on standard output."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column(index)
    for column in frame.columns:
        table.add_column(str(column), justify="right")
    for name, row in frame.iterrows():
        table.add_row(str(name), *map(_cell, row))
    out = Console(markup=False, emoji=False)
    # A terminal that is too narrow breaks lines; it must not cut digits off.
    width = Measurement.get(out, out.options.update(max_width=10_000), table).maximum
    out.width = max(out.width, width)
    out.print(table)


def print_json(content: Any) -> None:
    """Print one JSON object on standard output; NaN becomes null."""
    print(json.dumps(_plain(content), indent=1, allow_nan=False))


def print_summary(title: str, summary: Any, words: Callable[[str], str]) -> None:
    """Print the summary of laws, or of a comparison, in the words of its reader."""
    print(f"{title}\n{words(str(summary))}".strip())


def in_options(text: str) -> str:
    """Return a message that advises options where Python has parameters."""
    from ..study._words import in_words_of

    return in_words_of(text, _OPTIONS, _as_option)


def law_to_dict(law: ScalingLawEstimator) -> dict[str, Any]:
    """Return everything that ``fit`` reports, for JSON."""
    return {
        "conclusion": law.conclusion_,
        "resolved": law.resolved_,
        "parameters": law.get_params(),
        "exponents": law.exponents_.T.to_dict(),
        "consistency": law.consistency_,
        "landmark": law.landmark_,
        "window": law.window_,
        "window_sensitivity": law.window_sensitivity_,
        "optima": law.optima_,
        "remarks": law.remarks_,
    }


def comparison_to_dict(found: ExponentComparison) -> dict[str, Any]:
    """Return a comparison for JSON."""
    pairs = found.differences.copy()
    pairs.index = [f"{first} - {second}" for first, second in pairs.index]
    return {
        "exponent": found.exponent,
        "exponents": found.exponents.T.to_dict(),
        "differences": pairs.T.to_dict(),
        "homogeneity": found.homogeneity,
        "correction": found.correction,
    }


def _as_option(name: str, value: str) -> str:
    option = f"--{name.replace('_', '-')}"
    if name == "columns":
        names = re.findall(r'"([^"]*)": "([^"]*)"', value)
        return " ".join(f'--column "{theirs}={ours}"' for theirs, ours in names)
    if value == "True":
        return option
    # The shell needs quotes around what it would take apart only.
    return (
        f"{option} {value if '{' in value else re.sub('[^-.,+_a-zA-Z0-9]', '', value)}"
    )


def _cell(value: Any) -> str:
    if isinstance(value, (float, np.floating)):
        return "-" if math.isnan(value) else f"{value:.4g}"
    return str(value)


def _plain(value: Any) -> Any:
    """Return `value` in JSON's types."""
    if isinstance(value, pd.DataFrame):
        return _plain(value.to_dict(orient="records"))
    if isinstance(value, pd.Series):
        return _plain(value.to_dict())
    if isinstance(value, dict):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (int, float, str, type(None))) else str(value)
