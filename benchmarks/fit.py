"""How long does a fit take, how much memory, and what would a bootstrap cost?

Fits tables of 1,500 rows to 1,000,000, and of 1,500 rows in each scenario; then refits
gamma1 by a cluster bootstrap with statsmodels, the usual way to an honest interval.

    python benchmarks/fit.py
"""

from __future__ import annotations

import argparse
import resource
import time
import warnings

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf

from scalinglaw import ScalingLawEstimator
from scalinglaw.datasets import SCENARIOS, make_trajectories


def timed_fit(
    table: pd.DataFrame, n_repeats: int, **settings: bool
) -> tuple[ScalingLawEstimator, float]:
    """Return the law of a table, and the seconds of the fastest of some fits."""
    seconds = []
    for _ in range(n_repeats):
        start = time.perf_counter()
        law = ScalingLawEstimator(**settings).fit(table)
        seconds.append(time.perf_counter() - start)
    return law, min(seconds)


def fits_by_size(n_repeats: int) -> ScalingLawEstimator:
    """Print seconds and peak memory by size; return the law of the smallest table."""
    rows, laws = [], []
    for n_records in (50, 3_334, 33_334):
        table = make_trajectories(n_records=n_records, ar_coef=0.9, random_state=0)
        law, seconds = timed_fit(table, n_repeats)
        laws.append(law)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        rows.append((len(table), seconds, peak))
    frame = pd.DataFrame(rows, columns=["rows", "seconds (best)", "peak memory, GiB"])
    print(frame.round(3).to_string(index=False))
    return laws[0]


def fits_by_scenario(n_repeats: int) -> None:
    """Print seconds of a fit of 1,500 rows, by what the curves look like."""
    rows = []
    for name, design in SCENARIOS.items():
        table = make_trajectories(**design, random_state=0)
        times = (timed_fit(table, n_repeats, offset=o)[1] for o in (False, True))
        rows.append((name, *times))
    columns = ["scenario, 1,500 rows", "seconds (best)", "with offset=True"]
    print(pd.DataFrame(rows, columns=columns).round(3).to_string(index=False))


def bootstrap(law: ScalingLawEstimator, n_draws: int) -> None:
    """Refit the slope in the window on resampled runs, with statsmodels' formulas."""
    inside = law.trajectories_[law.trajectories_["in_window"]]
    runs = [part for _, part in inside.groupby(["train_size", "seed"])]
    rng = np.random.default_rng(0)
    slopes = []
    start = time.perf_counter()
    for _ in range(n_draws):
        drawn = [runs[i] for i in rng.integers(len(runs), size=len(runs))]
        sample = pd.concat(part.assign(run=k) for k, part in enumerate(drawn))
        fitted = smf.ols("log_error ~ log_norm + C(run)", sample).fit()
        slopes.append(-fitted.params["log_norm"])
    per_draw = (time.perf_counter() - start) / n_draws
    start = time.perf_counter()
    ScalingLawEstimator().fit(law.trajectories_.pipe(_as_given))
    one_fit = time.perf_counter() - start
    low, high = np.quantile(slopes, [0.025, 0.975])
    ours = "{:.4f} to {:.4f}".format(*law.gamma1_.conf_int())
    print(
        f"\nbootstrap of gamma1: {per_draw:.4f} s a draw, {2000 * per_draw:.0f} s for "
        f"2,000; interval {low:.4f} to {high:.4f}\none fit of all laws: "
        f"{one_fit:.3f} s, {2000 * per_draw / one_fit:.0f} times faster; "
        f"interval of gamma1 {ours}"
    )


def _as_given(table: pd.DataFrame) -> pd.DataFrame:
    return table[["train_size", "seed", "epoch", "test_error", "log_norm"]].rename(
        columns={"log_norm": "log_spectral_complexity"}
    )


def main() -> None:
    """Print all three."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--draws", type=int, default=200)
    options = parser.parse_args()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        law = fits_by_size(options.repeats)
        fits_by_scenario(options.repeats)
        bootstrap(law, options.draws)


if __name__ == "__main__":
    main()
