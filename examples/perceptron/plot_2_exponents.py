r"""
Which exponents does a trained perceptron have?
===============================================

At fixed norm they are known: :math:`\gamma_1 = 1/2` and :math:`\gamma_2 = 1` as
:math:`\alpha = P/N \to \infty`. What does the estimator find on perceptrons trained at
loads that one can afford, and is the difference its own fault?
"""

# %%
# Simulate
# --------
# Each run follows gradient flow to twenty times its load, well past the optimum. The
# test error is exact, from the angle to the teacher; it is divided by Hebb's error, its
# value at a vanishing norm.
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy import stats
from scipy.interpolate import CubicSpline
from sklearn.linear_model import LogisticRegression

from scalinglaw import (
    LogisticPerceptron,
    ScalingLawDisplay,
    ScalingLawEstimator,
    concat_trajectories,
    make_teacher_student,
    theory,
)

N_FEATURES, N_SEEDS = 100, 10
ALPHAS = np.array([5, 10, 20, 50, 100, 200])


def train(alpha, seed):
    """Return the trajectory of one perceptron."""
    X, y, teacher = make_teacher_student(
        alpha * N_FEATURES, N_FEATURES, random_state=1000 * seed + alpha
    )
    perceptron = LogisticPerceptron(
        init_norm=0.1, max_norm=20.0 * alpha, random_state=seed
    )
    return perceptron.fit(X, y, teacher=teacher).trajectory_


runs = Parallel(n_jobs=2)(
    delayed(train)(int(alpha), seed) for alpha in ALPHAS for seed in range(N_SEEDS)
)
trajectories = concat_trajectories(runs)

# %%
# Fit
# ---
# Crossovers of the perceptron are broad. The estimator leaves out what comes before a
# log norm of 0.5, as a transient, and beyond it the law is just resolved: the
# half-width of ``gamma1`` is 0.111, and the bound is a quarter of 0.465.
law = ScalingLawEstimator("rms", metric="relative_test_error").fit(trajectories)
print(law.exponents_.round(3).to_string())
print("resolved:", law.resolved_)

# %%
# The same fit on the exact theory
# --------------------------------
# How much of a difference from 1/2 and 1 is noise, and how much do finite loads do?
# The same estimator on the exact curves of the fixed norm at the same loads knows no
# noise. The optimum law is fitted twice: to the lowest error, whose place is
# uncertain as the minimum is flat, and to the knee, where a curve leaves the early law.
warnings.simplefilter("ignore")  # The same warning, three times more.
curves = []
for alpha in ALPHAS:
    norm = np.geomspace(0.1, 20.0 * alpha, 60)
    error = theory.generalization_error(alpha, norm)
    curves.append(
        pd.DataFrame(
            {
                "train_size": alpha * N_FEATURES,
                "seed": 0,
                "epoch": np.arange(60.0),
                "log_rms": np.log(norm),
                "test_error": error,
                "relative_test_error": error / theory.hebb_error(alpha),
            }
        )
    )
rows = []
for name, landmark in (("lowest error", "minimum"), ("knee", "knee")):
    settings = {"metric": "relative_test_error", "landmark": landmark}
    trained = ScalingLawEstimator("rms", **settings).fit(trajectories)
    exact = ScalingLawEstimator("rms", **settings).fit(concat_trajectories(curves))
    for exponent in ("gamma1", "gamma2"):
        fitted = trained.exponents_.loc[exponent]
        rows.append(
            {
                "optimum at the": name,
                "exponent": exponent,
                "trained": fitted["estimate"],
                "low": fitted["ci_low"],
                "high": fitted["ci_high"],
                "theory, fixed norm": exact.exponents_.loc[exponent, "estimate"],
            }
        )
print(pd.DataFrame(rows).round(3).to_string(index=False))

# %%
# The paper, whose gradient descent could not go on to large norms, has
# :math:`\gamma_2 = 0.96 \pm 0.25` and :math:`\gamma_1 = 0.4901 \pm 0.0005`. For the
# knee the interval is a quarter as wide, for the lowest error two fifths. There the
# trained exponent lies below the exact one, 0.95 and 1.00: at loads of 5 and 10 the
# optimum lies further out, as the free norm's excess (see the page before) is still
# melting. At the knee it is 0.98 and 0.97.
#
# What the theory says at the same loads
# --------------------------------------
# The local slopes of the fixed norm are known at each load: the steepest slope in the
# norm, and the slopes of the optimum's norm and error against the load.
rows = []
for alpha in ALPHAS:
    norm = np.geomspace(0.1, 2.0 * alpha, 200)
    nearby = alpha * np.array([0.99, 1.01])
    run = np.log(nearby[1] / nearby[0])
    relative = theory.optimal_error(nearby) / theory.hebb_error(nearby)
    rows.append(
        {
            "alpha": alpha,
            "steepest slope": theory.local_slope(alpha, norm).max(),
            "gamma2": np.diff(np.log(theory.optimal_norm(nearby)))[0] / run,
            "gamma_measured": -np.diff(np.log(relative))[0] / run,
        }
    )
print(pd.DataFrame(rows).round(3).to_string(index=False))

# %%
# At fixed norm :math:`\gamma_2` is 1 at all but the smallest loads, and the interval of
# the lowest error holds it. The slope of the norm law is another matter: at fixed norm
# it stays below one half at every finite load. At a free norm it is steeper, because
# the excess melts away over the very stretch where the slope is taken. To see this
# without the noise of samples, compare both on the same ones, at the largest load,
# between the norms that two strengths of scikit-learn's ridge penalty reach.
control = []
for seed, run in enumerate(runs[-N_SEEDS:]):
    X, y, teacher = make_teacher_student(
        int(ALPHAS[-1]) * N_FEATURES,
        N_FEATURES,
        random_state=1000 * seed + int(ALPHAS[-1]),
    )
    log_norms, log_errors = [], []
    for strength in (0.1, 10.0):
        ridge = LogisticRegression(
            C=strength, fit_intercept=False, solver="newton-cholesky", tol=1e-8
        ).fit(2 * X / np.sqrt(N_FEATURES), y)
        w = ridge.coef_[0]
        cosine = w @ teacher / np.linalg.norm(w) / np.linalg.norm(teacher)
        log_norms.append(np.log(np.linalg.norm(w) / np.sqrt(N_FEATURES)))
        log_errors.append(np.log(np.arccos(cosine) / np.pi))
    trained = CubicSpline(run["log_rms"], np.log(run["test_error"]))(log_norms)
    exact = np.log(theory.generalization_error(ALPHAS[-1], np.exp(log_norms)))
    span = np.ptp(log_norms)
    control.append([np.ptp(trained), np.ptp(log_errors), np.ptp(exact)] / span)
free, fixed, exact = np.transpose(control)
for name, values in (
    ("free norm", free),
    ("fixed norm", fixed),
    ("free less fixed", free - fixed),
):
    half = stats.t.ppf(0.975, N_SEEDS - 1) * stats.sem(values)
    print(f"{name:16s} {values.mean():.3f} +- {half:.3f} (95 %)")
print(f"{'theory, fixed':16s} {exact.mean():.3f}")

# %%
# An exponent near one half on trained perceptrons is therefore partly the work of two
# deviations with opposite signs: the finite load lowers it, the free norm raises it.
# Both vanish only as the load and the norm grow.
#
# The four laws
# -------------
# Above, the norm law and the optimum law; below, the collapse, and the combined law:
# the slope predicted from the product (dashed) beside the one measured.
figure, axes = plt.subplots(2, 2, figsize=(11, 8), layout="constrained")
for kind, panel in zip(("norm", "optimum", "collapse", "data"), axes.flat, strict=True):
    ScalingLawDisplay.from_estimator(law, kind=kind, ax=panel)
