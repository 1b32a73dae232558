r"""
From a table to a law
=====================

You have a table of trajectories, one row per checkpoint of each run. What do its curves
look like, do they follow one law, and what may be concluded?
"""

# %%
# Look before any fit
# -------------------
# The table is simulated, with :math:`\gamma_1 = 1/2` and :math:`\gamma_2 = 1`; one of
# your own comes from a recorder, a sweep or your logs. Left: the error against the time
# of training, where each train size goes its own way. Right: against the norm, where
# all of them fall on one line before each leaves it.
import matplotlib.pyplot as plt

from scalinglaw import ScalingLawDisplay, ScalingLawEstimator
from scalinglaw.datasets import make_trajectories

trajectories = make_trajectories(random_state=0)
figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
for x, ax in zip(("epoch", "norm"), axes, strict=True):
    ScalingLawDisplay.from_trajectories(trajectories, x=x, ax=ax)

# %%
# Fit, and read the conclusion first
# ----------------------------------
# Left: the early law, in the window that the estimator found. Right: both axes over
# their values at the knee. The plateaus at the start are no part of the law; over the
# shaded stretch the title says how far the curves of the train sizes lie apart.
law = ScalingLawEstimator().fit(trajectories)
figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
for kind, ax in zip(("norm", "collapse"), axes, strict=True):
    ScalingLawDisplay.from_estimator(law, kind=kind, ax=ax)
print(law.conclusion_)
print(law.exponents_[["estimate", "ci_low", "ci_high"]].round(3))

# %%
# The laws of the train size
# --------------------------
# Bars are standard errors of the seeds. Left: the norm at the knee, whose slope is
# :math:`\gamma_2`. Right: the lowest error, with the slope that was measured and the
# one that the other two exponents predict.
figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
for kind, ax in zip(("optimum", "data"), axes, strict=True):
    ScalingLawDisplay.from_estimator(law, kind=kind, ax=ax)
