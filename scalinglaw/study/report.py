"""One HTML file that holds all of a study: tables, figures, settings, versions.

It loads nothing from elsewhere, so that it can be mailed, kept with a paper, and
opened years later.
"""

from __future__ import annotations

import base64
import datetime
import html
import io
import math
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._validation import plural
from ..laws.summary import conclude
from ..sweep import read_records
from ..sweep.code import library_versions
from ..sweep.fingerprint import plain
from .running import StudyResult

if TYPE_CHECKING:
    from ..laws import ScalingLawEstimator

__all__ = ["render_report", "write_report"]

_FIGURES = {
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
_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1b1f24; background: #fff;
       max-width: 68rem; margin: 2rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.7rem; margin-bottom: .2rem; }
h2 { font-size: 1.25rem; margin-top: 2.4rem; border-bottom: 1px solid #d0d7de; }
h3 { font-size: 1.05rem; margin-top: 1.6rem; }
p.lead { color: #57606a; margin-top: 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .8rem 0; font-size: .92rem;
        font-variant-numeric: tabular-nums; }
caption { text-align: left; color: #57606a; padding-bottom: .3rem; }
th, td { padding: .3rem .75rem; text-align: right; border-bottom: 1px solid #e4e8ec; }
thead th { border-bottom: 2px solid #8c959f; }
th:first-child, td:first-child, td.text, th.text { text-align: left; }
.figures { display: grid; gap: 1rem;
           grid-template-columns: repeat(auto-fit, minmax(26rem, 1fr)); }
figure { margin: 0; max-width: 44rem; }
figure img { width: 100%; height: auto; border: 1px solid #e4e8ec; }
figcaption { font-size: .88rem; color: #57606a; }
.remark { background: #fff8e5; border-left: 4px solid #bf8700; padding: .4rem .8rem;
          margin: .5rem 0; }
.verdict { background: #eef6ff; border-left: 4px solid #0969da; padding: .4rem .8rem;
           margin: .5rem 0; }
pre { background: #f6f8fa; padding: .8rem; overflow-x: auto; font-size: .85rem; }
@media print { h2 { break-after: avoid; } figure { break-inside: avoid; } }
"""


def write_report(result: StudyResult, path: Any, figures: Any = None) -> None:
    """Write the report of a study, whole or not at all.

    Parameters
    ----------
    result : StudyResult
        From :func:`run_study`.
    path : path-like
        The HTML file.
    figures : path-like, optional
        Folder to write the figures into as PNG, too.

    Raises
    ------
    OSError
        If a file cannot be written.
    """
    path = Path(path)
    text = render_report(result, None if figures is None else Path(figures))
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def render_report(result: StudyResult, figures: Path | None = None) -> str:
    """Return the report of a study as one HTML document.

    Parameters
    ----------
    result : StudyResult
        From :func:`run_study`.
    figures : Path, optional
        Folder to write the figures into, too.

    Returns
    -------
    str
        HTML with inline style and images; nothing is loaded from elsewhere.
    """
    study = result.study
    parts = [
        f"<h1>{_text(study.title)}</h1>",
        f'<p class="lead">{_text(_lead(result))}</p>',
    ]
    if silent := [name for name in study.models if name not in result.trajectories]:
        parts.append(_remark(f"No run of {', '.join(silent)} succeeded; see below."))
    parts += _exponents(result)
    parts += _comparisons(result)
    if result.laws:
        png = _png(_overview(result))
        if figures is not None:
            _save(png, figures / "overview.png")
        parts.append(_figure(png, "Error at the optimum against train size."))
    for name in study.models:
        parts += _model(result, name, figures)
    parts += _settings(result)
    body = "\n".join(parts)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(study.title)}</title><style>{_STYLE}</style></head>\n"
        f"<body>\n{body}\n</body></html>\n"
    )


def _lead(result: StudyResult) -> str:
    """Return what the report rests on: runs that failed do not count."""
    study, tables = result.study, result.trajectories
    runs = sum(t.groupby(["train_size", "seed"]).ngroups for t in tables.values())
    sizes = study.sweep["train_sizes"]
    return (
        f"{plural(runs, 'run')} of {plural(len(tables), 'model')} on "
        f"{study.data.name}: {plural(len(sizes), 'train size')} from {sizes[0]:,} to "
        f"{sizes[-1]:,}, {plural(study.sweep['n_seeds'], 'seed')} each."
    )


def _exponents(result: StudyResult) -> list[str]:
    if not result.laws:
        return ["<h2>Exponents</h2>", _remark("No law could be fitted; see below.")]
    level = next(iter(result.laws.values())).confidence_level
    rows, tests = [], []
    for name, law in result.laws.items():
        cells = {"model": name}
        for exponent, symbol in _SYMBOLS.items():
            cells[symbol] = _interval(law.exponents_.loc[exponent])
        cells["censored optima"] = _censored(law.optima_)
        rows.append(cells)
        test = law.consistency_
        tests.append(
            {
                "model": name,
                "predicted − measured": test["difference"],
                "std. error": test["std_err"],
                "df": test["df"],
                "t": test["statistic"],
                "p": test["p_value"],
                "power law resolved": "yes" if law.resolved_ else "no",
            }
        )
    parts = [
        "<h2>Exponents</h2>",
        _table(rows, f"Estimate and {level:.0%} interval.", texts=("model",)),
        "<h2>Does γ₁γ₂ equal the measured exponent?</h2>",
        _table(tests, "Consistency of the laws.", texts=("model",)),
    ]
    for name, law in result.laws.items():
        parts.append(
            f'<p class="verdict"><b>{_text(name)}</b>: {_text(conclude(law))}</p>'
        )
    return parts


def _comparisons(result: StudyResult) -> list[str]:
    parts = ["<h2>Comparison of models</h2>"] if len(result.study.models) > 1 else []
    for found in result.comparisons:
        rows = [
            {
                "pair": f"{first} − {second}",
                "difference": row["difference"],
                "low": row["ci_low"],
                "high": row["ci_high"],
                "p": row["p_value"],
                f"p ({found.correction})": row["p_adjusted"],
            }
            for (first, second), row in zip(
                found.differences.index.tolist(),
                found.differences.to_dict("records"),
                strict=True,
            )
        ]
        test = found.homogeneity
        caption = (
            f"{_SYMBOLS[found.exponent]}: intervals ({found.confidence_level:.0%}) are "
            f"of single differences. All equal: F({test['df_num']:.0f}, "
            f"{test['df_denom']:.1f}) = {_number(test['statistic'])}, "
            f"p = {_number(test['p_value'])}."
        )
        parts.append(_table(rows, caption, texts=("pair",)))
    parts += [_remark(text) for text in result.remarks.get("", ())]
    return parts


def _model(result: StudyResult, name: str, figures: Path | None) -> list[str]:
    parts = [f"<h2>{_text(name)}</h2>"]
    parts += [_remark(text) for text in result.remarks.get(name, ())]
    if name in result.laws:
        law = result.laws[name]
        parts.append(
            _table(
                _optima(law),
                "Optima by train size: geometric means over seeds; censored means that "
                "the lowest error is at the last checkpoint.",
            )
        )
        shown = []
        for kind, caption in _FIGURES.items():
            png = _png(_draw(law, kind))
            shown.append(_figure(png, caption))
            if figures is not None:
                _save(png, figures / f"{name}_{kind}.png")
        parts.append(f'<div class="figures">{"".join(shown)}</div>')
    sweep = result.sweeps.get(name)
    if sweep is not None and len(sweep.failures_):
        failed = sweep.failures_[["train_size", "seed", "reason"]]
        parts.append(
            _table(failed.to_dict("records"), "Runs that failed.", texts=("reason",))
        )
    return parts


def _optima(law: ScalingLawEstimator) -> list[dict[str, Any]]:
    rows = []
    for size, part in law.optima_.groupby("train_size"):
        rows.append(
            {
                "train size": f"{size:,}",
                "runs": len(part),
                "error": float(np.exp(np.log(part["error"]).mean())),
                "log norm": float(part["log_norm"].mean()),
                "std. dev. of log norm": float(part["log_norm"].std()),
                "censored": int(part["censored"].sum()),
            }
        )
    return rows


def _settings(result: StudyResult) -> list[str]:
    study = result.study
    effort = [
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
    versions = library_versions() | library_versions(("statsmodels", "pandas"))
    versions |= {
        "Python": platform.python_version(),
        "platform": platform.platform(),
    }
    parts = ["<h2>Settings</h2>"]
    parts.append(_table(effort, "What it took.", texts=("model", "device")))
    for name, model in study.models.items():
        described = plain(model.classifier)
        parts.append(f"<h3>{_text(name)}: {_text(described.pop('class'))}</h3>")
        parts.append(f"<pre>{_text(_lines(described))}</pre>")
    for settings, names in _law_settings(result.laws).items():
        whose = "" if len(names) == len(result.laws) else f" of {', '.join(names)}"
        parts.append(f"<h3>ScalingLawEstimator{_text(whose)}</h3>")
        parts.append(f"<pre>{_text(settings)}</pre>")
    parts.append(f"<h3>{_text(study.path.name)}</h3><pre>{_text(study.text)}</pre>")
    now = datetime.datetime.now(datetime.timezone.utc)
    parts.append("<h2>Versions</h2>")
    parts.append(
        _table(
            [{"software": name, "version": text} for name, text in versions.items()],
            f"Written {now:%Y-%m-%d %H:%M} UTC.",
            texts=("software", "version"),
        )
    )
    parts.append(
        "<p>Laws: D'Amico, Bocchi and Negri (2025), arXiv:2505.13230. Errors are "
        "clustered by run and by train size, and the wider interval is shown.</p>"
    )
    return parts


def _law_settings(laws: Mapping[str, ScalingLawEstimator]) -> dict[str, list[str]]:
    """Return the models by the settings of their laws, whose norms may differ."""
    models: dict[str, list[str]] = {}
    for name, law in laws.items():
        models.setdefault(_lines(law.get_params()), []).append(name)
    return models


def _overview(result: StudyResult) -> Any:
    """Draw the error at the optimum of all models on one pair of axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 4.2), layout="constrained")
    ax = figure.subplots()
    for name, law in result.laws.items():
        errors = np.log(law.optima_["error"])
        by_size = errors.groupby(law.optima_["train_size"])
        mean = np.exp(by_size.mean())
        ends = np.exp([by_size.min(), by_size.max()])
        span = np.abs(ends - mean.to_numpy())
        slope = law.gamma_measured_.estimate
        label = f"{name}: γ = {slope:.3f}" if math.isfinite(slope) else name
        label = _as_it_is(label)
        ax.errorbar(mean.index, mean, span, fmt="o-", capsize=3, label=label)
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="train size",
        ylabel="lowest error (mean and range over seeds)",
    )
    ax.legend()
    return figure


def _as_it_is(label: str) -> str:
    """Return a label that matplotlib draws as it is.

    It sets what stands between dollars as a formula, and leaves a label that starts
    with an underscore out of legends.
    """
    label = label.replace("$", r"\$")
    return f" {label}" if label.startswith("_") else label


def _draw(law: ScalingLawEstimator, kind: str) -> Any:
    from matplotlib.figure import Figure

    from ..plotting import ScalingLawDisplay

    # A figure of its own: pyplot would keep it, and choose a window to show it in.
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    ScalingLawDisplay.from_estimator(law, kind=kind, ax=figure.subplots())
    return figure


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _save(png: bytes, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png)


def _figure(png: bytes, caption: str) -> str:
    data = base64.b64encode(png).decode("ascii")
    return (
        f'<figure><img alt="{_text(caption)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{_text(caption)}</figcaption></figure>"
    )


def _table(
    rows: Iterable[Mapping[str, Any]], caption: str, texts: tuple[str, ...] = ()
) -> str:
    rows = list(rows)
    if not rows:
        return ""

    def cell(tag: str, column: str, value: Any) -> str:
        kind = ' class="text"' if column in texts else ""
        return f"<{tag}{kind}>{_text(_number(value))}</{tag}>"

    head = "".join(cell("th", column, column) for column in rows[0])
    lines = "".join(
        "<tr>" + "".join(cell("td", c, v) for c, v in row.items()) + "</tr>\n"
        for row in rows
    )
    return (
        f'<div class="scroll"><table><caption>{_text(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead>\n<tbody>{lines}</tbody></table></div>"
    )


def _interval(row: pd.Series) -> str:
    if not math.isfinite(row["estimate"]):
        return "–"
    text = f"{row['estimate']:.3f}"
    if math.isfinite(row["ci_low"]):
        text += f" [{row['ci_low']:.3f}, {row['ci_high']:.3f}]"
    return text


def _censored(optima: pd.DataFrame) -> str:
    return f"{int(optima['censored'].sum())} of {len(optima)}"


def _number(value: Any) -> str:
    if isinstance(value, (float, np.floating)):
        return "–" if math.isnan(value) else f"{value:.4g}"
    return str(value)


def _lines(settings: Mapping[str, Any]) -> str:
    return "\n".join(f"{name} = {value!r}" for name, value in settings.items())


def _remark(text: str) -> str:
    return f'<p class="remark">{_text(text)}</p>'


def _text(value: Any) -> str:
    return html.escape(str(value))
