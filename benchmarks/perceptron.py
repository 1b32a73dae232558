"""What does a norm cost, and which exponents does a free-norm perceptron have?

First the time of both solvers against the norm they reach: once every margin is
positive, plain gradient descent needs a number of steps exponential in the norm; the
norm flow needs a number logarithmic in it.
Then the exponents of simulated perceptrons, with intervals of ScalingLawEstimator,
beside the same fit on the exact theory of the fixed norm at the same loads.

    python benchmarks/perceptron.py --n-features 100 --n-seeds 40 --n-jobs 2
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from scalinglaw import (
    LogisticPerceptron,
    ScalingLawEstimator,
    concat_trajectories,
    make_teacher_student,
    theory,
)

ALPHAS = (5, 10, 20, 50, 100, 200, 400)
# The optimum is near 0.88 alpha: records go on to well beyond it.
BEYOND = 20.0


def time_solvers(n_features: int, alpha: int, seed: int = 0) -> pd.DataFrame:
    """Time both solvers up to growing norms on one sample."""
    X, y, teacher = make_teacher_student(
        alpha * n_features, n_features, random_state=seed
    )
    # torch is imported by the first fit, which is not to be timed.
    LogisticPerceptron(solver="gradient_descent", max_norm=0.2, device="cpu").fit(X, y)
    rows = []
    for solver, norms in (
        ("gradient_descent", (1, 3, 6, 9, 12, 15, 20, 30, 60)),
        ("norm_flow", (1, 3, 6, 12, 30, 100, 1_000, 10_000)),
    ):
        for norm in norms:
            perceptron = LogisticPerceptron(
                solver=solver,
                max_norm=norm,
                init_norm=0.1,
                lr=1.0,
                max_steps=300_000,
                device="cpu",
            )
            start = time.perf_counter()
            perceptron.fit(X, y, teacher=teacher)
            rows.append(
                {
                    "alpha": alpha,
                    "solver": solver,
                    "norm": norm,
                    "seconds": time.perf_counter() - start,
                    "stop_reason": perceptron.stop_reason_,
                    "test_error": perceptron.trajectory_["test_error"].iloc[-1],
                }
            )
            if perceptron.stop_reason_ == "max_steps":
                break  # A larger norm would take longer still.
    return pd.DataFrame(rows)


def simulate(n_features: int, alpha: int, seed: int) -> pd.DataFrame:
    """Train one perceptron past its optimum; return its trajectory."""
    X, y, teacher = make_teacher_student(
        alpha * n_features, n_features, random_state=seed
    )
    perceptron = LogisticPerceptron(
        init_norm=0.1, max_norm=BEYOND * alpha, n_records=60, random_state=seed
    )
    return perceptron.fit(X, y, teacher=teacher).trajectory_


def fixed_norm(n_features: int, alphas: tuple[int, ...]) -> pd.DataFrame:
    """Return the exact curves of the fixed norm as a trajectory table."""
    tables = []
    for alpha in alphas:
        norm = np.geomspace(0.1, BEYOND * alpha, 60)
        error = theory.generalization_error(alpha, norm)
        tables.append(
            pd.DataFrame(
                {
                    "train_size": alpha * n_features,
                    "seed": 0,
                    "epoch": np.arange(60.0),
                    "log_rms": np.log(norm),
                    "test_error": error,
                    "relative_test_error": error / theory.hebb_error(alpha),
                }
            )
        )
    return concat_trajectories(tables)


def theory_slopes(alphas: tuple[int, ...]) -> pd.DataFrame:
    """Return the steepest slope in the norm and the slopes of the optimum, by load."""
    rows = []
    for alpha in alphas:
        log_norm = np.linspace(np.log(0.1), np.log(2.0 * alpha), 400)
        error = theory.generalization_error(alpha, np.exp(log_norm))
        nearby = np.array([alpha * 0.99, alpha * 1.01])
        run = np.log(nearby[1] / nearby[0])
        relative = theory.optimal_error(nearby) / theory.hebb_error(nearby)
        rows.append(
            {
                "alpha": alpha,
                "gamma1": -np.gradient(np.log(error), log_norm).min(),
                "gamma2": np.diff(np.log(theory.optimal_norm(nearby)))[0] / run,
                "gamma_measured": -np.diff(np.log(relative))[0] / run,
            }
        )
    return pd.DataFrame(rows)


def fit_all(table: pd.DataFrame) -> pd.DataFrame:
    """Fit by the pooled method, and by the paper's in a window picked by hand."""
    published = {
        "method": "published",
        "window": (0.02, 0.2),
        "min_train_size": table["train_size"].max() / 20,
    }
    results = {}
    for name, settings in {"pooled": {}, "published": published}.items():
        law = ScalingLawEstimator("rms", metric="relative_test_error", **settings).fit(
            table
        )
        results[f"{name} ({law.landmark_}, resolved {law.resolved_})"] = law.exponents_
    return pd.concat(results)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-features", type=int, default=100)
    parser.add_argument("--n-seeds", type=int, default=40)
    parser.add_argument("--n-jobs", type=int, default=2)
    parser.add_argument("--alphas", type=int, nargs="+", default=list(ALPHAS))
    arguments = parser.parse_args()
    alphas = tuple(arguments.alphas)

    print("Cost of a norm, N = 100")
    cost = pd.concat([time_solvers(100, alpha) for alpha in (2, 20)])
    print(cost.round(4).to_string(index=False))
    print("\nTheory, fixed norm: local slopes at each load")
    print(theory_slopes(alphas).round(4).to_string(index=False))
    print("\nTheory, fixed norm, fitted like a simulation (one exact run per load)")
    exact = fixed_norm(arguments.n_features, alphas)
    print(fit_all(exact)["estimate"].unstack().round(4).to_string())

    start = time.perf_counter()
    runs = Parallel(n_jobs=arguments.n_jobs)(
        delayed(simulate)(arguments.n_features, alpha, 1_000 * seed + alpha)
        for alpha in alphas
        for seed in range(arguments.n_seeds)
    )
    elapsed = time.perf_counter() - start
    print(
        f"\nFree norm, simulated: N = {arguments.n_features}, {arguments.n_seeds} "
        f"seeds, alpha {alphas}: {len(runs)} runs in {elapsed:.0f} s"
    )
    print(fit_all(concat_trajectories(runs)).round(4).to_string())


if __name__ == "__main__":
    main()
