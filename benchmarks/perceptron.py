"""What does a norm cost, and which exponents does a free-norm perceptron have?

First the time of both solvers against the norm they reach: once every margin is
positive, plain gradient descent needs a number of steps exponential in the norm; the
norm flow needs a number logarithmic in it. Then time and memory against the size, the
share of the time that the flow's matrix products alone would take, and how much faster
many runs are in parallel processes.
Last the exponents of simulated perceptrons, with intervals of ScalingLawEstimator,
beside the same fit on the exact theory of the fixed norm at the same loads.

    python benchmarks/perceptron.py --n-features 100 --n-seeds 40 --n-jobs 2

``--only cost``, ``sizes``, ``blas``, ``parallel`` or ``exponents`` runs one part.
Processor seconds are those of one thread (set OMP_NUM_THREADS=1); they do not depend on
what else the machine does, seconds of the clock do.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
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
from scalinglaw.perceptron import _flow as flow_module

ALPHAS = (5, 10, 20, 50, 100, 200, 400)
# The optimum is near 0.88 alpha: records go on to well beyond it.
BEYOND = 20.0
PARTS = ("cost", "sizes", "blas", "parallel", "exponents")


def time_solvers(n_features: int, alpha: int, seed: int = 0) -> pd.DataFrame:
    """Time both solvers up to growing norms on one sample."""
    X, y, teacher = make_teacher_student(
        alpha * n_features, n_features, random_state=seed
    )
    # torch is imported by the first fit, which is not to be timed.
    LogisticPerceptron(solver="gradient_descent", max_norm=0.2, device="cpu").fit(X, y)
    rows = []
    for solver, norms in (
        ("gradient_descent", (1, 3, 6, 9, 12, 15, 20)),
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
            start = time.process_time()
            perceptron.fit(X, y, teacher=teacher)
            rows.append(
                {
                    "alpha": alpha,
                    "solver": solver,
                    "norm": norm,
                    "processor seconds": time.process_time() - start,
                    "stop_reason": perceptron.stop_reason_,
                    "test_error": perceptron.trajectory_["test_error"].iloc[-1],
                }
            )
            if perceptron.stop_reason_ == "max_steps":
                break  # A larger norm would take longer still.
    return pd.DataFrame(rows)


def time_size(n_features: int, alpha: int, max_norm: float) -> dict[str, object]:
    """Time one flow and measure the largest memory; in a process of its own."""
    X, y, _ = make_teacher_student(alpha * n_features, n_features, random_state=0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    perceptron = LogisticPerceptron(max_norm=max_norm)
    processor, clock = time.process_time(), time.perf_counter()
    perceptron.fit(X, y)
    return {
        "N": n_features,
        "alpha": alpha,
        "norm": max_norm,
        "processor seconds": time.process_time() - processor,
        "seconds": time.perf_counter() - clock,
        "data (MB)": X.nbytes / 1e6,
        "beyond the data (MB)": 1.024e-3
        * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before),
    }


def time_sizes() -> pd.DataFrame:
    """Time single flows, each in a fresh process."""
    rows = []
    for case in ((400, 20, 1e4), (1000, 20, 1e3)):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            rows.append(pool.apply(time_size, case))
    return pd.DataFrame(rows)


def blas_share(n_features: int, alpha: int, max_norm: float) -> dict[str, float]:
    """Time a flow, then its matrix products alone, on the same numbers of rows."""
    X, y, _ = make_teacher_student(alpha * n_features, n_features, random_state=0)
    signed = X * y[:, None]
    norms = np.geomspace(1e-2, max_norm, 60)
    products: list[tuple[str, int]] = []

    class Logged(flow_module.NormFlow):
        def velocity(self, length, state):
            products.append(("velocity", len(self.signed)))
            return super().velocity(length, state)

        def jacobian(self, length, state):
            curvature = -self.loss.slopes(np.exp(state[-1]) * (signed @ state[:-1]))
            heavy = curvature > 1e-8 * curvature.max()
            products.append(("jacobian", int(heavy.sum())))
            return super().jacobian(length, state)

    start = time.process_time()
    flow_module.norm_flow(signed, norms)
    whole = time.process_time() - start
    plain, flow_module.NormFlow = flow_module.NormFlow, Logged
    try:
        flow_module.norm_flow(signed, norms)
    finally:
        flow_module.NormFlow = plain
    direction, weights = signed[0].copy(), signed[:, 0].copy()
    start = time.process_time()
    for kind, rows in products:
        if kind == "velocity":
            signed[:rows] @ direction
            weights[:rows] @ signed[:rows]
        else:
            signed[:rows].T @ signed[:rows]
    bare = time.process_time() - start
    return {
        "N": n_features,
        "alpha": alpha,
        "norm": max_norm,
        "velocities": sum(kind == "velocity" for kind, _ in products),
        "jacobians": sum(kind == "jacobian" for kind, _ in products),
        "flow (s)": whole,
        "its products alone (s)": bare,
        "share": bare / whole,
    }


def time_parallel(n_features: int, n_seeds: int, n_jobs: int) -> pd.DataFrame:
    """Time the same runs one after the other and in parallel processes."""
    cases = [(alpha, seed) for alpha in (5, 20, 50) for seed in range(n_seeds)]
    rows = []
    for jobs in (1, n_jobs):
        with Parallel(n_jobs=jobs) as parallel:
            # Starts the workers and their imports.
            parallel(delayed(simulate)(10, 2, seed) for seed in range(4 * jobs))
            start = time.perf_counter()
            parallel(
                delayed(simulate)(n_features, alpha, seed) for alpha, seed in cases
            )
            elapsed = time.perf_counter() - start
        rows.append({"processes": jobs, "runs": len(cases), "seconds": elapsed})
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
        norm = np.geomspace(0.1, 2.0 * alpha, 400)
        nearby = np.array([alpha * 0.99, alpha * 1.01])
        run = np.log(nearby[1] / nearby[0])
        relative = theory.optimal_error(nearby) / theory.hebb_error(nearby)
        rows.append(
            {
                "alpha": alpha,
                "gamma1": theory.local_slope(alpha, norm).max(),
                "gamma2": np.diff(np.log(theory.optimal_norm(nearby)))[0] / run,
                "gamma_measured": -np.diff(np.log(relative))[0] / run,
            }
        )
    return pd.DataFrame(rows)


def fit_all(table: pd.DataFrame) -> pd.DataFrame:
    """Fit by the pooled method, and by the paper's in a window picked by hand.

    The pooled method's optima are the lowest errors, or the knees, where a curve
    leaves the early law: the minimum is flat, and its place scatters more.
    """
    published = {
        "method": "published",
        "window": (0.02, 0.2),
        "min_train_size": table["train_size"].max() / 20,
    }
    results = {}
    methods = {"pooled": {}, "knee": {"landmark": "knee"}, "published": published}
    for name, settings in methods.items():
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
    parser.add_argument("--only", choices=PARTS, nargs="+", default=list(PARTS))
    arguments = parser.parse_args()
    n_features, n_seeds = arguments.n_features, arguments.n_seeds
    alphas = tuple(arguments.alphas)

    if "cost" in arguments.only:
        print("Cost of a norm, N = 100")
        cost = pd.concat([time_solvers(100, alpha) for alpha in (2, 20)])
        print(cost.round(4).to_string(index=False), flush=True)
    if "sizes" in arguments.only:
        print("\nTime and memory of one flow")
        print(time_sizes().round(1).to_string(index=False), flush=True)
    if "blas" in arguments.only:
        print("\nThe flow beside its matrix products alone, processor seconds")
        share = pd.DataFrame([blas_share(n, 20, 1e3) for n in (100, 400, 1000)])
        print(share.round(2).to_string(index=False), flush=True)
    if "parallel" in arguments.only:
        print("\nMany runs, N = 100")
        table = time_parallel(100, 4, arguments.n_jobs)
        print(table.round(1).to_string(index=False), flush=True)
    if "exponents" in arguments.only:
        exponents(n_features, n_seeds, alphas, arguments.n_jobs)


def exponents(
    n_features: int, n_seeds: int, alphas: tuple[int, ...], n_jobs: int
) -> None:
    """Print the exponents of theory and of simulated perceptrons."""
    print("\nTheory, fixed norm: local slopes at each load")
    print(theory_slopes(alphas).round(4).to_string(index=False))
    print("\nTheory, fixed norm, fitted like a simulation (one exact run per load)")
    exact = fixed_norm(n_features, alphas)
    print(fit_all(exact)["estimate"].unstack().round(4).to_string(), flush=True)
    start = time.perf_counter()
    runs = Parallel(n_jobs=n_jobs)(
        delayed(simulate)(n_features, alpha, 1_000 * seed + alpha)
        for alpha in alphas
        for seed in range(n_seeds)
    )
    elapsed = time.perf_counter() - start
    print(
        f"\nFree norm, simulated: N = {n_features}, {n_seeds} seeds, alpha {alphas}: "
        f"{len(runs)} runs in {elapsed:.0f} s"
    )
    trained = concat_trajectories(runs)
    print(fit_all(trained).round(4).to_string())
    print("\nNorm of the optimum and of the knee, by load")
    places = {}
    for name, table in (("trained", trained), ("fixed norm", exact)):
        for landmark in ("minimum", "knee"):
            law = ScalingLawEstimator(
                "rms", metric="relative_test_error", landmark=landmark
            ).fit(table)
            places[name, landmark] = np.exp(law.landmarks_["log_norm"].to_numpy())
    print(pd.DataFrame(places, index=pd.Index(alphas, name="alpha")).round(2))


if __name__ == "__main__":
    main()
