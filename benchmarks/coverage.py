"""How often do the intervals cover, and what is said where they do not?

Simulated studies with known exponents: every scenario of ``datasets.SCENARIOS``, in
crossover shapes that the estimator does not itself fit, then laws that are violated.

    python benchmarks/coverage.py --studies 200 --jobs 2
    python benchmarks/coverage.py scenarios --only floor
    python benchmarks/coverage.py --csv docs/guide/coverage   # the guide's tables

g1 and g2 are gamma1 and gamma2, pr their product, me the measured exponent, di the
difference of the two, which is 0 where a law holds. Columns:

bias
    Median error of the estimates, in per cent of the truth, of resolved studies.
covers
    Share of intervals that hold the truth, of the intervals given by resolved studies.
given
    Share of resolved studies that give an interval for the difference.
solved, warned
    Share of studies that are resolved, and of those with a warning of any kind.
silent
    Share of studies without any warning in which an interval misses: of the worst
    of the five intervals, and of any of them.
rejects
    Share of studies that reject the law at 5 %. A scenario whose law is violated
    bears a star: there it is the power.
refused
    Share of studies that end in an error.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy import stats

from scalinglaw import ScalingLawEstimator, compare_exponents
from scalinglaw.datasets import SCENARIOS, make_trajectories

Method = Callable[[str], Any]
SHAPES = ("student", "gumbel", "laplace", "quadratic")
EXPONENTS = {
    "g1": "gamma1",
    "g2": "gamma2",
    "pr": "gamma_predicted",
    "me": "gamma_measured",
}
INTERVALS = (*EXPONENTS, "di")
SILENT = [f"silent {name}" for name in (*INTERVALS, "any")]
# Train sizes that span a factor of 32 and one of 6.
SPANS = {
    "x32": (250, 500, 1000, 2000, 4000, 8000),
    "x6": (1000, 1500, 2000, 3000, 4000, 6000),
}
POWER = ("base", "slopes", "shocks", "cnn", "vit")
# A hand-picked window for the paper's method: the middle of the straight stretch.
PUBLISHED_WINDOW = (0.01, 0.2)
COLUMNS = (
    *(f"bias {name}" for name in EXPONENTS),
    *(f"covers {name}" for name in INTERVALS),
    *("given", "solved", "warned", "silent worst", "silent any"),
    *("rejects", "refused"),
)


def simulate(design: dict[str, Any], seed: int) -> pd.DataFrame:
    """Return a study of a design; shapes take turns where it names none."""
    shape = SHAPES[seed % len(SHAPES)]
    return make_trajectories(**{"shape": shape, **design}, random_state=seed)


def pooled(metric: str) -> Any:
    """Return the package's own method."""
    return ScalingLawEstimator(metric=metric)


def published(metric: str) -> Any:
    """Return the paper's method."""
    import scalinglaw

    if hasattr(scalinglaw, "PublishedScalingLaw"):
        return scalinglaw.PublishedScalingLaw(metric=metric, window=PUBLISHED_WINDOW)
    return ScalingLawEstimator(
        metric=metric, method="published", window=PUBLISHED_WINDOW
    )


def assess(design: dict[str, Any], method: Method, seed: int) -> dict[str, float]:
    """Simulate and fit one study; return what is off, what covers, what is said."""
    table = simulate(design, seed)
    truth = table.attrs["truth"]
    metric = "test_loss" if "test_loss" in table else "test_error"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            law = method(metric).fit(table)
        except ValueError:
            said = {"refused": 1.0, "solved": 0.0, "warned": 1.0, "rejects": 0.0}
            return said | dict.fromkeys(SILENT, 0.0)
    # The paper's method resolves nothing, and is taken at its word.
    return judge(law, truth, bool(caught), method is published or law.resolved_)


def judge(
    law: Any, truth: dict[str, float], warned: bool, resolved: bool
) -> dict[str, float]:
    """Compare a fitted law with the truth."""
    test = law.consistency_
    half = test["std_err"] * stats.t.ppf(0.975, test["df"])
    values = {short: truth[name] for short, name in EXPONENTS.items()}
    values["di"] = values["pr"] - values["me"]
    bounds = {"di": (test["difference"] - half, test["difference"] + half)}
    row = {"refused": 0.0, "solved": float(resolved), "warned": float(warned)}
    row["rejects"] = float(test["p_value"] < 0.05)
    for short, name in EXPONENTS.items():
        found = law.exponents_.loc[name]
        bounds[short] = found["ci_low"], found["ci_high"]
        if resolved:
            row[f"bias {short}"] = 100 * (found["estimate"] / values[short] - 1)
    for short, (low, high) in bounds.items():
        given = np.isfinite(low) and np.isfinite(high)
        # An interval for what does not exist, a NaN, misses.
        missed = given and not low <= values[short] <= high
        row[f"silent {short}"] = float(missed and not warned)
        if resolved and given:
            row[f"covers {short}"] = float(not missed)
    if resolved:
        row["given"] = float("covers di" in row)
    row["silent any"] = max(row[f"silent {short}"] for short in bounds)
    return row


def summarise(rows: list[dict[str, float]]) -> pd.Series:
    """Return one line of the table: medians of errors, means of the rest."""
    frame = pd.DataFrame(rows).reindex(columns=[*COLUMNS, *SILENT[:-1]])
    line = frame.mean()
    bias = [column for column in COLUMNS if column.startswith("bias")]
    line[bias] = frame[bias].median()
    line["silent worst"] = line[SILENT[:-1]].max()
    return line[list(COLUMNS)]


def formatted(line: pd.Series) -> list[str]:
    """Return the cells of a line."""
    return [
        "–"
        if np.isnan(value)
        else f"{value:+.1f}"
        if name.startswith("bias")
        else f"{value:.2f}"
        for name, value in line.items()
    ]


def print_table(
    name: str,
    title: str,
    designs: dict[str, dict],
    method: Method,
    options: argparse.Namespace,
) -> None:
    """Print one line for each design as soon as it is known."""
    lines = {}
    width = max(map(len, designs)) + 2
    print(f"\n== {title}: {options.studies} studies each")
    for part in (0, -1):
        cells = [c.split()[part] if " " in c or part else "" for c in COLUMNS]
        print(" " * width + "".join(f"{cell:>8}" for cell in cells))
    for design, parameters in designs.items():
        rows = Parallel(n_jobs=options.jobs)(
            delayed(assess)(parameters, method, seed) for seed in range(options.studies)
        )
        holds = simulate(parameters, 0).attrs["truth"]["law_holds"]
        label = design if holds else f"{design} *"
        lines[label] = formatted(summarise(rows))
        line = "".join(f"{cell:>8}" for cell in lines[label])
        print(f"{label:<{width}}{line}", flush=True)
    write(pd.DataFrame.from_dict(lines, orient="index", columns=COLUMNS), name, options)


def write(frame: pd.DataFrame, name: str, options: argparse.Namespace) -> None:
    """Write a table for the guide, if a folder is given."""
    if options.csv:
        options.csv.mkdir(parents=True, exist_ok=True)
        frame.to_csv(
            options.csv / f"{name}.csv", index_label=f"{options.studies} studies each"
        )


def compare(design: dict[str, Any], gammas: tuple[float, ...], seed: int) -> dict:
    """Simulate models of given gamma1; return what was covered and rejected."""
    laws = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for position, gamma1 in enumerate(gammas):
            table = simulate({**design, "gamma1": gamma1}, 3 * seed + position)
            laws[str(position)] = ScalingLawEstimator().fit(table)
        found = compare_exponents(laws)
    first, second = found.differences.index[0]
    row = found.differences.loc[first, second]
    truth = gammas[int(first)] - gammas[int(second)]
    return {
        "first pair covers": float(row["ci_low"] <= truth <= row["ci_high"]),
        "any adjusted p < 0.05": float((found.differences["p_adjusted"] < 0.05).any()),
        "homogeneity rejected": float(found.homogeneity["p_value"] < 0.05),
        "resolved": float(all(law.resolved_ for law in laws.values())),
    }


def print_comparison(designs: dict[str, dict], options: argparse.Namespace) -> None:
    """Print the coverage and the level of comparisons of three models."""
    lines = {}
    for label, gammas in (("equal", (0.5, 0.5, 0.5)), ("apart", (0.5, 0.55, 0.6))):
        for name, design in designs.items():
            rows = Parallel(n_jobs=options.jobs)(
                delayed(compare)(design, gammas, seed)
                for seed in range(options.studies)
            )
            lines[f"{name}, {label}"] = pd.DataFrame(rows).mean()
    print(f"\n== comparison of three models: {options.studies} studies each")
    frame = pd.DataFrame(lines).T.round(3)
    print(frame.to_string(), flush=True)
    write(frame, "comparison", options)


def violated() -> dict[str, dict]:
    """Return designs whose law is violated by 10 %, by span of the train sizes."""
    return {
        f"{name} {span} {share:+.0%}": {
            **SCENARIOS[name],
            "violation": share,
            "train_sizes": sizes,
        }
        for span, sizes in SPANS.items()
        for name in POWER
        for share in (0.1, -0.1)
    }


PARTS = ("scenarios", "power", "comparison", "published")


def main() -> None:
    """Run the parts that are asked for, and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="part", help=", ".join(PARTS))
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", metavar="NAME", default="", help="part of a name")
    parser.add_argument("--csv", metavar="FOLDER", type=Path, help="write tables too")
    options = parser.parse_args()
    parts = options.parts or PARTS
    if set(parts) - set(PARTS):
        parser.error(f"part must be among {', '.join(PARTS)}")
    designs = {name: d for name, d in SCENARIOS.items() if options.only in name}
    power = {name: d for name, d in violated().items() if options.only in name}
    # Models of one gamma1 and one window, for comparisons and the paper's method.
    even = {name: designs[name] for name in POWER if name in designs and name != "vit"}
    if "scenarios" in parts and designs:
        print_table("scenarios", "scenarios", designs, pooled, options)
    if "power" in parts and power:
        print_table("power", "laws violated by 10 %", power, pooled, options)
    if "comparison" in parts and even:
        print_comparison(even, options)
    if "published" in parts and even:
        print_table("published", "the paper's method", even, published, options)


if __name__ == "__main__":
    main()
