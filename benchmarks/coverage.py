"""How often do the intervals cover, and how far off are the estimates?

Simulated trajectories with known exponents, in shapes that the estimator does not
itself fit. For each scenario and method: median bias of gamma1 and gamma2, coverage
of the nominal 95 % intervals, share of fits that resolved a power law, share with a
censored optimum flagged; then the power of the test of the law.

    python benchmarks/coverage.py --replicates 400 --n-jobs 2
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from scalinglaw import ScalingLawEstimator, compare_exponents
from scalinglaw.datasets import SCENARIOS, make_trajectories

DESIGNS = {
    "base": SCENARIOS["base"],
    "slopes differ by run": SCENARIOS["slopes"],
    "shocks by train size": SCENARIOS["shocks"],
    "CNN-like": SCENARIOS["cnn"],
    "slow tail": SCENARIOS["tail"],
    "transient": SCENARIOS["transient"],
    "own test sets": {"n_test": 10_000, "shared_test_set": False},
    "broad": SCENARIOS["broad"],
    "budget": SCENARIOS["budget"],
}
# With ScalingLawEstimator(offset=True).
OFFSETS = {
    "no offset": {},
    "offset 0.02": {"offset": 0.02},
    "offset 0.02, slopes differ": {"offset": 0.02, "slope_sd": 0.05},
    "offset 0.02, shocks": {"offset": 0.02, "size_sd": 0.05},
    "offset 0.02, counted": {"offset": 0.02, "n_test": 10_000},
}
# Designs that are less even than five seeds, six sizes and fifty records.
UNEVEN = {
    "12 records": {"n_records": 12},
    "15 records": {"n_records": 15},
    "two seeds": {"n_seeds": 2},
    "four train sizes": {"train_sizes": (500, 1000, 2000, 4000)},
    "twelve train sizes": {"train_sizes": np.geomspace(250, 8000, 12).astype(int)},
    "one seed stopped early": {"stopped_after": 10},
}
SHAPES = ("student", "gumbel", "laplace", "quadratic")
EXPONENTS = ("gamma1", "gamma2", "gamma_predicted", "gamma_measured")
# A hand-picked window for the paper's method: the middle of the straight stretch.
PUBLISHED = {"method": "published", "window": (0.01, 0.2)}


def replicate(design: dict, settings: dict, seed: int) -> dict[str, float]:
    """Simulate once, fit once; return what the tables need."""
    design = dict(design)
    n_kept = design.pop("stopped_after", None)
    table = make_trajectories(**design, random_state=seed)
    truth = table.attrs["truth"]
    if n_kept is not None:
        position = table.groupby(["train_size", "seed"]).cumcount()
        table = table[(table["seed"] > 0) | (position < n_kept)]
    if not design.get("shared_test_set", True):
        # n_test tells the estimator that all runs share one test set.
        table = table.drop(columns="n_test")
    row: dict[str, float] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            law = ScalingLawEstimator(**settings).fit(table)
        except ValueError:
            return {"refused": 1.0}
    for name in EXPONENTS:
        estimate, low, high = law.exponents_.loc[
            name, ["estimate", "ci_low", "ci_high"]
        ]
        row[f"{name} ratio"] = estimate / truth[name]
        if np.isfinite(low):
            row[f"{name} covers"] = float(low <= truth[name] <= high)
    row["resolved"] = float(law.resolved_)
    row["censored"] = float(law.optima_["censored"].any())
    row["refused"] = 0.0
    if np.isfinite(law.consistency_["p_value"]):
        row["rejects"] = float(law.consistency_["p_value"] < 0.05)
    return row


def study(
    designs: dict[str, dict], settings: dict, replicates: int, n_jobs: int
) -> pd.DataFrame:
    """Return one row per design: medians of ratios, means of the rest."""
    rows = {}
    for name, design in designs.items():
        drawn = Parallel(n_jobs=n_jobs)(
            delayed(replicate)(
                {"shape": SHAPES[seed % len(SHAPES)], **design}, settings, seed
            )
            for seed in range(replicates)
        )
        frame = pd.DataFrame(drawn)
        ratios = [column for column in frame if column.endswith("ratio")]
        rows[name] = pd.concat(
            [frame[ratios].median() - 1, frame.drop(columns=ratios).mean()]
        )
    return pd.DataFrame(rows).T


def compared(design: dict, gammas: tuple[float, ...], seed: int) -> dict[str, float]:
    """Simulate models, compare them; return what was covered and rejected."""
    laws = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for position, gamma1 in enumerate(gammas):
            table = make_trajectories(
                **{**design, "gamma1": gamma1},
                random_state=np.random.default_rng([seed, position]),
            )
            table = (
                table
                if design.get("shared_test_set", True)
                else table.drop(columns="n_test")
            )
            laws[str(position)] = ScalingLawEstimator().fit(table)
        found = compare_exponents(laws)
    first, second = found.differences.index[0]
    truth = gammas[int(first)] - gammas[int(second)]
    row = found.differences.loc[first, second]
    return {
        "first pair covers": float(row["ci_low"] <= truth <= row["ci_high"]),
        "any adjusted p < 0.05": float((found.differences["p_adjusted"] < 0.05).any()),
        "homogeneity rejected": float(found.homogeneity["p_value"] < 0.05),
    }


def compare_study(designs: dict[str, dict], replicates: int, n_jobs: int) -> None:
    """Print the coverage and the level of comparisons of three models."""
    rows = {}
    for label, gammas in (("equal", (0.5, 0.5, 0.5)), ("apart", (0.5, 0.55, 0.6))):
        for name, design in designs.items():
            drawn = Parallel(n_jobs=n_jobs)(
                delayed(compared)(
                    {"shape": SHAPES[seed % len(SHAPES)], **design}, gammas, seed
                )
                for seed in range(replicates)
            )
            rows[f"{name}, {label}"] = pd.DataFrame(drawn).mean()
    print(f"\n== comparison of three models, {replicates} replicates")
    print(pd.DataFrame(rows).T.round(3).to_string())


def coverage_study(
    title: str, designs: dict[str, dict], settings: dict, replicates: int, n_jobs: int
) -> None:
    """Print bias and coverage of every scenario."""
    table = study(designs, settings, replicates, n_jobs)
    covers = [f"{name} covers" for name in EXPONENTS]
    table["difference covers"] = 1 - table.get("rejects", np.nan)
    print(f"\n== {title}: bias (median) and coverage, {replicates} replicates")
    columns = ["gamma1 ratio", "gamma2 ratio", *covers, "difference covers"]
    columns += ["resolved", "censored", "refused"]
    short = {
        name: name.replace(" covers", "").replace(" ratio", " bias") for name in columns
    }
    print(table.reindex(columns=columns).rename(columns=short).round(3).to_string())


def power_study(designs: dict[str, dict], replicates: int, n_jobs: int) -> None:
    """Print how often a law that is violated by 10 % is rejected."""
    violated = {
        f"{name}, {share:+.0%}": {**design, "violation": share}
        for name, design in designs.items()
        for share in (0.1, -0.1)
    }
    power = study(violated, {}, replicates, n_jobs)
    print(f"\n== power of the test of the law, {replicates} replicates")
    print(power[["rejects", "resolved"]].round(3).to_string())


PARTS = {"coverage", "uneven", "offset", "comparison", "power"}


def main() -> None:
    """Run the study, or a part of it, and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="part", help=", ".join(PARTS))
    parser.add_argument("--replicates", type=int, default=400)
    parser.add_argument("--n-jobs", type=int, default=2)
    options = parser.parse_args()
    parts = set(options.parts) or PARTS
    if parts - PARTS:
        parser.error(f"part must be among {', '.join(sorted(PARTS))}")
    pd.set_option("display.width", 200, "display.max_columns", 30)
    n, n_jobs = options.replicates, options.n_jobs
    clean = {name: DESIGNS[name] for name in list(DESIGNS)[:6]}
    if "coverage" in parts:
        coverage_study("pooled", DESIGNS, {}, n, n_jobs)
        coverage_study("published", DESIGNS, PUBLISHED, n, n_jobs)
    if "uneven" in parts:
        coverage_study("uneven designs", UNEVEN, {}, n, n_jobs)
    if "offset" in parts:
        coverage_study("offset=True", OFFSETS, {"offset": True}, n, n_jobs)
    if "comparison" in parts:
        compare_study(clean, n // 2, n_jobs)
    if "power" in parts:
        power_study(clean, n, n_jobs)


if __name__ == "__main__":
    main()
