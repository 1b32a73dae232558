r"""
Do all loads fall on one curve?
===============================

The third law says that :math:`\epsilon/\epsilon_\mathrm{opt}` is one function of
:math:`\lambda/\lambda_\mathrm{opt}` for all large train sizes. How large is large, and
how well do trained perceptrons follow?
"""

# %%
# The master curve, exactly
# -------------------------
# At fixed norm both axes are known at each load. Below, the error over its optimum at
# some norms over the optimal one: if there is a master curve, the columns agree.
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy import stats
from scipy.interpolate import CubicSpline

from scalinglaw import LogisticPerceptron, make_teacher_student, theory

MARKS = np.array([0.03, 0.1, 0.3, 1.0, 3.0, 10.0])
LOADS = np.array([5.0, 10.0, 20.0, 100.0, 1e4])


def master(alpha, relative_norm):
    """Return the error over its optimum at a norm over the optimal one."""
    best = theory.optimal_norm(alpha)
    return theory.generalization_error(
        alpha, relative_norm * best
    ) / theory.optimal_error(alpha)


exact = master(LOADS, MARKS[:, None])
columns = [f"alpha {alpha:g}" for alpha in LOADS]
table = pd.DataFrame(
    exact, index=pd.Index(MARKS, name="norm / optimum"), columns=columns
)
print(table.round(3).to_string())

# %%
# From the optimum on, loads of 10 and more are within half a percent of the limit.
# Below it they part: a curve starts at Hebb's error, at a norm of 1 or less, which for
# a small load is not far below the optimum. The collapse holds where the norm is well
# above 1.
#
# Trained perceptrons
# -------------------
# The optimum of one run is uncertain, as the minimum is flat, so that curves are
# averaged over seeds (logarithms, at equal norms) before they are divided by their own
# lowest point. Intervals (95 %) are those of the mean over the seeds at that norm.
N_FEATURES, N_SEEDS, ALPHAS = 100, 10, (10, 20, 50, 100)
rows, curves = [], {}
for alpha in ALPHAS:
    logs = []
    for seed in range(N_SEEDS):
        X, y, teacher = make_teacher_student(
            alpha * N_FEATURES, N_FEATURES, random_state=1000 * seed + alpha
        )
        perceptron = LogisticPerceptron(init_norm=0.1, max_norm=20.0 * alpha)
        run = perceptron.fit(X, y, teacher=teacher).trajectory_
        logs.append(np.log(run["test_error"].to_numpy()))
    log_norm, logs = run["log_rms"].to_numpy(), np.array(logs)
    fine = np.linspace(log_norm[0], log_norm[-1], 2000)
    mean = CubicSpline(log_norm, logs.mean(axis=0))(fine)
    best = mean.argmin()
    curves[alpha] = (np.exp(fine - fine[best]), np.exp(mean - mean[best]))
    for mark in MARKS[1:]:
        at = fine[best] + np.log(mark)
        # Each seed's curve against its own value at the common optimum: what all of
        # its norms share drops out.
        runs = [CubicSpline(log_norm, log)([at, fine[best]]) for log in logs]
        ratio = -np.diff(runs, axis=1)[:, 0]
        half = stats.t.ppf(0.975, N_SEEDS - 1) * stats.sem(ratio)
        rows.append(
            {
                "alpha": alpha,
                "norm / optimum": mark,
                "trained": np.exp(ratio.mean()),
                "low": np.exp(ratio.mean() - half),
                "high": np.exp(ratio.mean() + half),
                "theory, fixed norm": master(alpha, mark),
                "limit": master(1e4, mark),
            }
        )
print(pd.DataFrame(rows).round(3).to_string(index=False))

# %%
# From 0.3 on every interval holds the theory at its load. At a tenth of the optimum
# three of four lie above it, by 9 to 13 %: that is the excess of the free norm, which
# melts away as the norm grows.
#
# Read the figure from its lowest point, where all curves meet by construction. To the
# left they leave the master curve one by one, small loads first; to the right they end
# at the error of maximal stability, 13 % above the optimum.
norm = np.geomspace(1e-3, 20, 200)
figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
axes.loglog(norm, master(1e4, norm), color="black", label=r"theory, $\alpha = 10^4$")
colors = plt.colormaps["viridis_r"](np.linspace(0.1, 1, len(ALPHAS)))
for color, (alpha, (x, y)) in zip(colors, curves.items(), strict=True):
    axes.plot(norm, master(alpha, norm), color=color, ls=":", lw=1)
    axes.plot(x, y, color=color, label=rf"trained, $\alpha = {alpha}$")
axes.set(
    xlabel=r"$\lambda / \lambda_\mathrm{opt}$",
    ylabel=r"$\epsilon / \epsilon_\mathrm{opt}$",
    xlim=(1e-3, 20),
    ylim=(0.9, 20),
)
axes.legend(title="dotted: theory at the same load")
