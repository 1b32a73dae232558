"""Does the law forecast the error of larger train sizes better than baselines?

On simulated studies of every scenario and, where a folder of them is given, on the
paper's aggregated files: fit on the smaller train sizes, forecast the rest, and
compare root mean squared log errors with the last value, a power law of error against
train size, and one with an offset.

    python benchmarks/forecast.py --replicates 200 --published FOLDER
    python benchmarks/forecast.py --replicates 200 --sizes 10 --hold-out 0.4

Intervals of the law and of both power laws are counted. Single power laws are in
``power_law.py``.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import pandas as pd
from joblib import Parallel, delayed

from scalinglaw import ScalingLawEstimator, backtest
from scalinglaw.datasets import SCENARIOS, make_trajectories, read_published

SHAPES = ("student", "gumbel", "laplace", "quadratic")
DESIGNS = {
    **{name: SCENARIOS[name] for name in ("base", "slopes", "shocks", "cnn", "tail")},
    "few test examples": {"n_test": 1000},
    "one seed": {"n_seeds": 1},
    "offset 0.02": {"offset": 0.02},
    "offset 0.02, fitted": {"offset": 0.02},
}


def score(
    table: pd.DataFrame, hold_out: float, offset: bool = False
) -> dict[str, float]:
    """Return the root mean squared log error by method, and coverage of intervals."""
    law = ScalingLawEstimator(offset=offset)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = backtest(law, table, hold_out=hold_out)
    row = found["log_error"].pow(2).groupby(found["method"]).mean().pow(0.5).to_dict()
    inside = found["observed"].between(found["ci_low"], found["ci_high"])
    for method in ("law", "power", "power_offset"):
        row[f"{method} covers"] = float(inside[found["method"] == method].mean())
    return row


def simulated(name: str, seed: int, n_sizes: int, hold_out: float) -> dict[str, float]:
    """Score one simulated study."""
    design = {"shape": SHAPES[seed % len(SHAPES)], **DESIGNS[name]}
    sizes = [250 * 2**k for k in range(n_sizes)]
    table = make_trajectories(**design, train_sizes=sizes, random_state=seed)
    return score(table, hold_out, offset="fitted" in name)


def main() -> None:
    """Print one row per design or file: medians over studies."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replicates", type=int, default=40)
    parser.add_argument("--sizes", type=int, default=6, help="how many, from 250")
    parser.add_argument("--hold-out", type=float, default=1 / 3)
    parser.add_argument("--n-jobs", type=int, default=2)
    parser.add_argument("--published", type=Path, help="folder of the paper's files")
    options = parser.parse_args()
    rows, series = {}, []
    for name in DESIGNS:
        drawn = Parallel(n_jobs=options.n_jobs)(
            delayed(simulated)(name, seed, options.sizes, options.hold_out)
            for seed in range(options.replicates)
        )
        frame = pd.DataFrame(drawn)
        series.append(frame)
        covers = [column for column in frame if column.endswith("covers")]
        rows[name] = pd.concat(
            [frame.drop(columns=covers).median(), frame[covers].mean()]
        )
    if options.published is not None:
        for path in sorted(options.published.glob("*.npy")):
            rows[path.stem] = pd.Series(score(read_published(path), options.hold_out))
            series.append(rows[path.stem].to_frame().T)
    table = pd.DataFrame(rows).T
    errors = [column for column in table if not column.endswith("covers")]
    table["best"] = table[errors].idxmin(axis=1)
    print(table.round(4).to_string())
    methods = pd.concat(series)[errors]
    print(f"\nall {len(methods)} series, median:", methods.median().round(4).to_dict())
    for name in ("last_value", "power", "power_offset"):
        ratio = (methods["law"] / methods[name]).median()
        share = (methods["law"] < methods[name]).mean()
        print(f"law / {name}: median ratio {ratio:.2f}; smaller in {share:.0%}")


if __name__ == "__main__":
    main()
