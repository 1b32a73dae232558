"""One HTML file that holds all of a study: tables, figures, settings, versions.

It loads nothing from elsewhere, so that it can be mailed, kept with a paper, and
opened years later. This module computes what is shown; ``report.html`` shows it.
"""

from __future__ import annotations

import base64
import datetime
import io
import math
import platform
import re
from collections.abc import Mapping
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from .._files import atomic_write
from .._validation import plural
from .._version import __version__
from ..plotting import ScalingLawDisplay
from ..sweep import read_records
from ..trajectories import write_trajectories
from ._running import StudyResult
from ._words import training_length

if TYPE_CHECKING:
    from ..laws import ScalingLawEstimator

__all__ = ["FIGURES", "draw", "next_steps", "render_report", "write_report"]

FIGURES = {
    "norm": "Error against norm, one line per run; the fit window in bold.",
    "optimum": "Norm at the optimum against train size.",
    "data": "Error at the optimum against train size, measured and predicted slopes.",
    "collapse": "Both axes over their values at the optimum: one master curve.",
    "window": "γ₁ in every window that one might have chosen.",
}
_SYMBOLS = {
    "gamma1": "γ₁",
    "gamma2": "γ₂",
    "gamma_predicted": "γ predicted (γ₁γ₂)",
    "gamma_measured": "γ measured",
}
_LIBRARIES = "numpy scipy pandas scikit-learn statsmodels torch torchvision skorch"


def write_report(result: StudyResult, folder: Any = None) -> Path:
    """Write tables, figures and the report of a study, each whole or not at all.

    Parameters
    ----------
    result : StudyResult
        From :func:`run_study`.
    folder : path-like, optional
        Where to; the study's ``output`` by default. The tables are below it in
        ``trajectories``, one per model, and the figures in ``figures``.

    Returns
    -------
    Path
        The report, ``report.html``.

    Raises
    ------
    OSError
        If a file cannot be written.
    """
    folder = result.study.output if folder is None else Path(folder)
    for name in ("trajectories", "figures"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name, table in result.trajectories.items():
        write_trajectories(table, folder / "trajectories" / f"{name}.parquet")
    figures = {
        (name, kind): draw(law, kind, "png")
        for name, law in result.laws.items()
        for kind in FIGURES
    }
    for (name, kind), png in figures.items():
        with atomic_write(folder / "figures" / f"{name}_{kind}.png") as part:
            part.write_bytes(png)
    report: Path = folder / "report.html"
    with atomic_write(report) as part:
        part.write_text(render_report(result, figures), encoding="utf-8")
    return report


def render_report(
    result: StudyResult, figures: Mapping[tuple[str, str], bytes] | None = None
) -> str:
    """Return the report as one HTML document, with PNG files by model and kind."""
    # Most commands need no template, and start sooner without it.
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True,
        extensions=["jinja2.ext.do"],
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "settings": _settings,
        "number": _number,
        "interval": _interval,
        "quote": quote,
    }
    source = resources.files(__package__).joinpath("report.html")
    images = {
        key: base64.b64encode(png).decode("ascii")
        for key, png in (figures or {}).items()
    }
    return environment.from_string(source.read_text(encoding="utf-8")).render(
        result=result,
        study=result.study,
        lead=_lead(result),
        steps=next_steps(result),
        symbols=_SYMBOLS,
        captions=FIGURES,
        images=images,
        optima={name: _optima(law) for name, law in result.laws.items()},
        effort=_effort(result),
        versions=_versions(),
        now=datetime.datetime.now(datetime.timezone.utc),
    )


def next_steps(result: StudyResult) -> list[tuple[str, str]]:
    """Return what a reader should do next: names of models, and a sentence each."""
    steps = [(name, "has no exponents; see why.") for name in result.without_laws()]
    for name, failures in result.failures.items():
        if name in result.trajectories and len(failures):
            text = f"lost {plural(len(failures), 'run')} of {result.study.n_runs}"
            steps.append((name, f"{text}; the same command trains them again."))
    for name, law in result.laws.items():
        enough, text = training_length(law)
        perceptron = result.study.models[name].kind == "perceptron"
        if not enough:
            longer = "max_norm" if perceptron else "max_epochs"
            steps.append((name, f"{text} Raise models.{name}.{longer}."))
        if not law.resolved_:
            text = (
                "no clean power law was resolved: gamma1 and the predicted exponent "
                "depend on the window, as its last figure shows. More train sizes and "
                "seeds, or longer runs, may resolve one."
            )
            steps.append((name, text))
    tables = "scalinglaw compare trajectories/*.parquet"
    return steps or [("", f"Nothing is missing. {tables} compares with others.")]


def draw(law: ScalingLawEstimator, kind: str, file_format: str) -> bytes:
    """Return one figure of a law as a file of a format that matplotlib writes."""
    from matplotlib.figure import Figure

    # A figure of its own: pyplot would keep it, and choose a window to show it in.
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    ScalingLawDisplay.from_estimator(law, kind=kind, ax=figure.subplots())
    buffer = io.BytesIO()
    figure.savefig(buffer, format=file_format, dpi=110)
    return buffer.getvalue()


def _lead(result: StudyResult) -> str:
    """Return what the report rests on: runs that failed do not count."""
    study, tables = result.study, result.trajectories
    runs = sum(t.groupby(["train_size", "seed"]).ngroups for t in tables.values())
    sizes = sorted(study.sweep["train_sizes"])
    return (
        f"{plural(runs, 'run')} of {plural(len(tables), 'model')} on "
        f"{study.data_name}: {plural(len(sizes), 'train size')} from {sizes[0]:,} to "
        f"{sizes[-1]:,}, {plural(study.sweep['n_seeds'], 'seed')} each."
    )


def _optima(law: ScalingLawEstimator) -> list[dict[str, Any]]:
    """Return the optima by train size: geometric means over seeds."""
    return [
        {
            "train size": f"{size:,}",
            "runs": len(part),
            "error": float(np.exp(np.log(part["error"]).mean())),
            "log norm": float(part["log_norm"].mean()),
            "std. dev. of log norm": float(part["log_norm"].std()),
            "censored": int(part["censored"].sum()),
        }
        for size, part in law.optima_.groupby("train_size")
    ]


def _effort(result: StudyResult) -> list[dict[str, Any]]:
    """Return what training took, as the cache recorded it."""
    return [
        {
            "model": name,
            "runs in the cache": len(made),
            "training time (s)": float(made["seconds"].sum()),
            "longest run (s)": float(made["seconds"].max()),
            "device": ", ".join(sorted(set(made["device"]))),
        }
        for name, sweep in result.sweeps.items()
        if sweep.cache_folder_ is not None
        and len(made := read_records(sweep.cache_folder_))
    ]


def _versions() -> list[dict[str, str]]:
    versions = {"scalinglaw": __version__}
    versions |= {name: metadata.version(name) for name in _LIBRARIES.split()}
    versions |= {"Python": platform.python_version(), "platform": platform.platform()}
    return [{"software": name, "version": text} for name, text in versions.items()]


def _interval(row: Any) -> str:
    if not math.isfinite(row["estimate"]):
        return "–"
    if not math.isfinite(row["ci_low"]):
        return f"{row['estimate']:.3f}"
    return f"{row['estimate']:.3f} [{row['ci_low']:.3f}, {row['ci_high']:.3f}]"


def _number(value: Any) -> str:
    if isinstance(value, (float, np.floating)):
        return "–" if math.isnan(value) else f"{value:.4g}"
    return str(value)


def _settings(estimator: Any) -> str:
    """Return one parameter a line, without the addresses that Python puts in."""
    params = estimator.get_params(deep=False)
    lines = "\n".join(f"{name} = {value!r}" for name, value in params.items())
    return re.sub(r" at 0x[0-9a-fA-F]+", "", lines)
