"""How results are shown: tables for people, JSON for programs."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

if TYPE_CHECKING:
    from ..laws import ScalingLawEstimator

__all__ = [
    "WORKER_KILLED",
    "console",
    "law_to_dict",
    "print_json",
    "print_table",
    "read_any",
    "results",
    "save_figures",
    "say",
    "show_law",
    "spoken_warnings",
]

WORKER_KILLED = (
    "a worker process was killed, probably for want of memory: fewer --n-jobs need "
    "less of it."
)
# Everything but results: a pipe or --json must see nothing else. Names and paths may
# have brackets, which are no markup.
console = Console(stderr=True, markup=False, emoji=False)


def results() -> Console:
    """Return standard output, which shows names as they are, brackets included."""
    return Console(markup=False, emoji=False)


def say(text: str, style: str | None = None) -> None:
    """Print one line on standard error, however long: a path is not broken in two.

    Parameters
    ----------
    text : str
        What to say; line breaks in it become spaces.
    style : str, optional
        As rich names it, for terminals.
    """
    line = " ".join(part.strip() for part in text.splitlines())
    console.print(line, style=style, highlight=False, soft_wrap=True)


def print_table(frame: pd.DataFrame, title: str, index: str = "") -> None:
    """Print a data frame as a table on standard output.

    Parameters
    ----------
    frame : DataFrame
        What to show.
    title : str
        Above it.
    index : str
        Heading of the index column.
    """
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column(index)
    for column in frame.columns:
        table.add_column(str(column), justify="right")
    for name, row in frame.iterrows():
        table.add_row(str(name), *map(_cell, row))
    out = results()
    # A terminal that is too narrow breaks lines; it must not cut digits off.
    width = Measurement.get(out, out.options.update(max_width=10_000), table).maximum
    out.width = max(out.width, width)
    out.print(table)


def print_json(content: Any) -> None:
    """Print one JSON object on standard output; NaN becomes null.

    Parameters
    ----------
    content : object
        Containers of numbers, strings, data frames and series.
    """
    print(json.dumps(_plain(content), indent=1, allow_nan=False))


def show_law(law: ScalingLawEstimator, title: str) -> None:
    """Print exponents, the test of the law, and what may be concluded.

    Parameters
    ----------
    law : ScalingLawEstimator
        A fitted one.
    title : str
        Above the table.
    """
    from ..laws.summary import conclude

    shown = law.exponents_.rename(columns={"ci_low": "low", "ci_high": "high"})
    print_table(shown, f"{title} ({law.confidence_level:.0%} intervals)", "exponent")
    out = results()
    test = law.consistency_
    if np.isfinite(test["p_value"]):
        out.print(
            f"predicted - measured = {test['difference']:+.4f} +- "
            f"{test['std_err']:.4f}, p = {test['p_value']:.3f}"
        )
    out.print(
        f"gamma1: {law._laws.covariance}, clustered by {law._laws.clusters}; "
        f"window {law._laws.window.how}; gamma2 from the {law.landmark_}."
    )
    for remark in law._laws.remarks:
        out.print(f"Note: {remark}", highlight=False)
    out.print(conclude(law), style="bold", highlight=False)


def law_to_dict(law: ScalingLawEstimator) -> dict[str, Any]:
    """Return everything that ``fit`` reports, for JSON.

    Parameters
    ----------
    law : ScalingLawEstimator
        A fitted one.

    Returns
    -------
    dict
        Settings, exponents, the test, optima and remarks.
    """
    from ..laws.summary import conclude

    return {
        "parameters": law.get_params(),
        "exponents": law.exponents_.T.to_dict(),
        "consistency": law.consistency_,
        "resolved": law.resolved_,
        "landmark": law.landmark_,
        "window": law.window_,
        "window_sensitivity": law.window_sensitivity_,
        "optima": law.optima_.to_dict(orient="records"),
        "remarks": law._laws.remarks,
        "conclusion": conclude(law),
    }


def save_figures(
    law: ScalingLawEstimator, folder: Path, prefix: str = ""
) -> list[Path]:
    """Write the figures of a law as PNG.

    Parameters
    ----------
    law : ScalingLawEstimator
        A fitted one.
    folder : Path
        Where; it is created.
    prefix : str
        Of the file names.

    Returns
    -------
    list of Path
        The files.
    """
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    from ..plotting import ScalingLawDisplay

    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for kind in ("norm", "optimum", "collapse", "data", "window"):
        figure, ax = plt.subplots(layout="constrained")
        ScalingLawDisplay.from_estimator(law, kind=kind, ax=ax)
        path = folder / f"{prefix}{kind}.png"
        figure.savefig(path, dpi=120)
        plt.close(figure)
        files.append(path)
    return files


def read_any(path: Path) -> pd.DataFrame:
    """Read a table, a cache folder, or a data file of the paper.

    Parameters
    ----------
    path : Path
        ``.parquet``, ``.csv``, ``.npy``, or a folder.

    Returns
    -------
    DataFrame
        The trajectory table.
    """
    if path.is_dir():
        from ..sweep import read_cache

        return read_cache(path)
    if path.suffix == ".npy":
        from ..datasets import read_published

        return read_published(path)
    from ..trajectories import read_trajectories

    return read_trajectories(path)


@contextmanager
def spoken_warnings() -> Iterator[None]:
    """Print warnings as one line each on standard error, without source lines."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    for text in dict.fromkeys(str(warning.message) for warning in caught):
        say(f"warning: {text}", style="yellow")


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
