"""Do intervals of one power law cover, and how far off are its forecasts?

On simulated points with and without an offset: coverage of the exponent's interval and
of the prediction interval four times ahead. Where a folder of learning curves is given
(CSV files with the columns ``train_size`` and ``error``), the sizes beyond a quarter of
the largest are forecast from the others, beside the last value.

    python benchmarks/power_law.py --replicates 400 --n-jobs 2
    python benchmarks/power_law.py --curves FOLDER
"""

from __future__ import annotations

import argparse
import warnings
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from scalinglaw import PowerLawFit

# Offset, scale, exponent and smallest x; points reach over a factor of 1,000.
TRUTHS = {
    "no offset": (0.0, 1.0, 0.5, 1.0),
    "offset .004": (0.004, 1.0, 0.5, 1.0),
    "offset .05": (0.05, 1.0, 0.5, 1.0),
    "1.69 + 406.4 x^-.34": (1.69, 406.4, 0.34, 1e7),
}
POINTS = (5, 8, 14, 20)
NOISES = (0.005, 0.02)
OFFSETS = (False, True, "auto")


def fitted(x: np.ndarray, y: np.ndarray, offset: bool | str) -> PowerLawFit:
    """Fit without a word about bends, which are counted instead."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return PowerLawFit(offset=offset).fit(x, y)


def simulated(
    truth: str, n: int, noise: float, offset: bool | str, n_replicates: int
) -> dict[str, float]:
    """Return shares over simulated fits."""
    q, scale, exponent, low = TRUTHS[truth]
    rows = []
    for seed in range(n_replicates):
        rng = np.random.default_rng(seed)
        x = low * np.append(np.geomspace(1, 1e3, n), 4e3)
        y = (q + scale * x**-exponent) * np.exp(noise * rng.standard_normal(n + 1))
        fit = fitted(x[:-1], y[:-1], offset)
        below, above = fit.conf_int().loc["exponent"]
        _, low_y, high_y = fit.predict(x[-1:], return_interval=True)
        rows.append(
            {
                "exponent": fit.exponent_,
                "exponent covers": np.nan
                if np.isnan(below)
                else below <= exponent <= above,
                "no interval": np.isnan(below),
                "prediction covers": low_y[0] <= y[-1] <= high_y[0],
                "offset found": fit.offset_ > 0,
                "warned": fit.lack_of_fit_["p_value"] < 0.01,
            }
        )
    frame = pd.DataFrame(rows).astype(float)
    line = frame.mean()
    line["exponent"] = frame["exponent"].median()
    return line.to_dict()


def forecast(curve: pd.DataFrame) -> list[dict[str, object]]:
    """Forecast one curve, one and two doublings beyond a quarter of its largest x."""
    curve = curve.sort_values("train_size")
    x, y = curve["train_size"].to_numpy(float), curve["error"].to_numpy()
    # Sizes are rounded.
    n = int(np.sum(x <= 1.01 * x[-1] / 4))
    ahead = [int(np.argmin(abs(np.log(x / (k * x[n - 1]))))) for k in (2, 4)]
    rows: list[dict[str, object]] = [
        {
            "method": "last value",
            "four times ahead": abs(np.log(y[n - 1] / y[ahead[1]])),
        }
    ]
    for offset in OFFSETS:
        fit = fitted(x[:n], y[:n], offset)
        predicted, low, high = fit.predict(x[ahead], return_interval=True)
        inside = (low <= y[ahead]) & (y[ahead] <= high)
        rows.append(
            {
                "method": f"offset={offset}",
                "four times ahead": abs(np.log(predicted[1] / y[ahead[1]])),
                "covers at 2": float(inside[0]),
                "covers at 4": float(inside[1]),
            }
        )
    return rows


def main() -> None:
    """Print coverage of simulated fits, or medians over real curves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replicates", type=int, default=100)
    parser.add_argument("--n-jobs", type=int, default=2)
    parser.add_argument("--curves", type=Path, help="folder of learning curves")
    options = parser.parse_args()
    if options.curves is not None:
        paths = sorted(options.curves.glob("*.csv"))
        found = Parallel(n_jobs=options.n_jobs)(
            delayed(forecast)(pd.read_csv(path)) for path in paths
        )
        table = pd.DataFrame([row for rows in found for row in rows])
        by_method = table.groupby("method", sort=False)
        shown = by_method[["four times ahead"]].median()
        covers = by_method[["covers at 2", "covers at 4"]].mean()
        print(f"{len(paths)} curves, median log error\n{shown.join(covers).round(3)}")
        return
    designs = list(product(TRUTHS, POINTS, NOISES, OFFSETS[1:]))
    lines = Parallel(n_jobs=options.n_jobs)(
        delayed(simulated)(*design, options.replicates) for design in designs
    )
    index = pd.MultiIndex.from_tuples(designs, names=["truth", "n", "noise", "offset"])
    print(pd.DataFrame(lines, index=index).round(3).to_string())


if __name__ == "__main__":
    main()
