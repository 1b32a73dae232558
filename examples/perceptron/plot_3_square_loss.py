r"""
Is the power law a property of the loss?
========================================

The same teacher, student and data, with the square loss
:math:`V = (1 - \lambda\Delta)^2/2\lambda` in place of the logistic one. Does the error
still fall as a power of the norm?
"""

# %%
# Simulate on top of the theory
# -----------------------------
# The square loss pulls every margin to one, so its flow ends at a finite norm, near
# :math:`\sqrt{2/\pi}`, whatever the load: training cannot go on from there.
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from scalinglaw import (
    LogisticPerceptron,
    ScalingLawEstimator,
    concat_trajectories,
    make_teacher_student,
    theory,
)

N_FEATURES, N_SEEDS, ALPHAS = 100, 5, (5, 10, 20, 50, 100)
runs = {}
for alpha in ALPHAS:
    for seed in range(N_SEEDS):
        X, y, teacher = make_teacher_student(
            alpha * N_FEATURES, N_FEATURES, random_state=1000 * seed + alpha
        )
        perceptron = LogisticPerceptron(
            loss="square", init_norm=0.01, max_norm=10.0, random_state=seed
        )
        perceptron.fit(X, y, teacher=teacher)
        runs[alpha, seed] = perceptron.trajectory_
        if seed == 0:
            last = np.exp(perceptron.trajectory_["log_rms"].iloc[-1])
            print(f"alpha {alpha:3d}: {perceptron.stop_reason_} at norm {last:.3f}")

# %%
# No stretch with one slope
# -------------------------
# For large loads
# :math:`(\epsilon/\epsilon_\mathrm{Hebb})^2 = 1 - 2\sqrt{2/\pi}\,\lambda + \lambda^2`:
# the local slope bends all the way, from zero to a maximum and back to zero at the
# optimum, and more data do not straighten it. For the logistic loss the slope nears
# one half, over a stretch that grows with the load.
norm = np.geomspace(0.01, 1e3, 400)
figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
rows = []
for color, alpha in zip(("C0", "C1", "C2"), (10, 100, 1000), strict=True):
    for axis, name, error in (
        (axes[0], "square", theory.square_loss_error),
        (axes[1], "logistic", theory.generalization_error),
    ):
        curve = np.log(error(alpha, norm) / theory.hebb_error(alpha))
        slope = -np.gradient(curve, np.log(norm))
        best = curve.argmin()
        axis.semilogx(
            norm[:best], slope[:best], color=color, label=rf"$\alpha$ = {alpha}"
        )
        steep = slope[:best] > 0.8 * slope[:best].max()
        width = np.ptp(np.log10(norm[:best][steep]))
        rows.append(
            {
                "loss": name,
                "alpha": alpha,
                "optimal norm": norm[best],
                "steepest slope": slope[:best].max(),
                "decades within 20 % of it": width,
            }
        )
        axis.set(title=f"{name} loss", xlabel=r"norm $\lambda$", ylabel="local slope")
axes[0].legend()
print(pd.DataFrame(rows).sort_values(["loss", "alpha"]).round(3).to_string(index=False))

# %%
# The optimum does not move with the load either: there is no optimum law.
#
# What the estimator says
# -----------------------
# It must not find a law here. It calls the slope effective and unresolved, with an
# interval as wide as it deserves, and gives no number for the rest: the flow ends at
# its optimum, which cannot be told from training that stopped too soon.
law = ScalingLawEstimator("rms", metric="relative_test_error").fit(
    concat_trajectories(list(runs.values()))
)
print(law.exponents_.round(3).to_string())
print("resolved:", law.resolved_)
