"""What does an exact error cost, and how exact is it?

Times each function of ``theory`` on one call over many points, and holds the errors
against the same equations on panels half as long, over the whole range of loads and
norms.

    python benchmarks/theory.py

Processor seconds of one thread: set OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pandas as pd

from scalinglaw import theory
from scalinglaw.theory import _saddle as saddle

ALPHAS = np.geomspace(0.1, 1e6, 25)
NORMS = np.geomspace(1e-3, 1e6, 40)
GRID = tuple(axis.ravel() for axis in np.meshgrid(ALPHAS, NORMS))
MANY_ALPHAS = np.geomspace(0.1, 1e6, 200)


def time_calls(repeats: int = 2) -> pd.DataFrame:
    """Return milliseconds per point, the least of a few calls."""
    calls: dict[str, Callable[[], np.ndarray]] = {
        "generalization_error": lambda: theory.generalization_error(*GRID),
        "local_slope": lambda: theory.local_slope(*GRID),
        "square_loss_error": lambda: theory.square_loss_error(*GRID),
        "optimal_norm": lambda: theory.optimal_norm(MANY_ALPHAS),
        "bayes_error": lambda: theory.bayes_error(MANY_ALPHAS),
        "max_stability_error": lambda: theory.max_stability_error(MANY_ALPHAS),
    }
    rows = []
    for name, call in calls.items():
        seconds = []
        for _ in range(repeats):
            start = time.process_time()
            n_points = len(call())
            seconds.append(time.process_time() - start)
        rows.append(
            {"function": name, "points": n_points, "ms": 1e3 * min(seconds) / n_points}
        )
    return pd.DataFrame(rows)


def refine() -> tuple[float, float]:
    """Return the largest relative changes of error and optimum on finer panels."""
    error, norm = theory.generalization_error(*GRID), theory.optimal_norm(ALPHAS)
    coarse = saddle.GAUSS_BREAKS, saddle._U_LENGTH, saddle._U_REACH
    breaks = np.unique(np.r_[-12, -10, saddle.GAUSS_BREAKS, 10, 12])
    saddle.GAUSS_BREAKS = np.union1d(breaks, (breaks[1:] + breaks[:-1]) / 2)
    saddle._U_LENGTH, saddle._U_REACH = 1.25, 60.0
    try:
        finer = theory.generalization_error(*GRID), theory.optimal_norm(ALPHAS)
    finally:
        saddle.GAUSS_BREAKS, saddle._U_LENGTH, saddle._U_REACH = coarse
    return (
        float(np.abs(error / finer[0] - 1).max()),
        float(np.abs(norm / finer[1] - 1).max()),
    )


def main() -> None:
    """Print the tables."""
    print(time_calls().round(3).to_string(index=False))
    error, norm = refine()
    print(
        f"\nPanels half as long change the error by {error:.1e} at most (relative), at "
        f"{len(GRID[0])} points\nof alpha 0.1 to 1e6 and norm 1e-3 to 1e6, and "
        f"{len(ALPHAS)} optimal norms by {norm:.1e}."
    )


if __name__ == "__main__":
    main()
