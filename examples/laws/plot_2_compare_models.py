r"""
Do two models share an exponent?
================================

Three models, simulated: two with :math:`\gamma_1 = 0.50`, one with 0.55. What can be
said of their predicted exponents with five seeds each?
"""

# %%
# One table, three models
# -----------------------
# ``concat_trajectories`` writes the keys of a dict into the column ``model``.
import matplotlib.pyplot as plt
import numpy as np

from scalinglaw import compare_exponents, concat_trajectories
from scalinglaw.datasets import make_trajectories

table = concat_trajectories(
    {
        "cnn": make_trajectories(gamma1=0.50, random_state=1),
        "resnet": make_trajectories(gamma1=0.50, random_state=2),
        "vit": make_trajectories(gamma1=0.55, random_state=3),
    }
)
comparison = compare_exponents(table, margin=0.025)
print(comparison.summary())

# %%
# Intervals of differences
# ------------------------
# Overlap of two models' own intervals is no test; the interval of their difference is.
# Filled: differs from zero after Holm's adjustment. The grey band is the margin: a pair
# whose difference is shown to lie inside it is called equivalent, which is more than a
# large p-value.
pairs = comparison.differences
height = np.arange(len(pairs))
figure, ax = plt.subplots(figsize=(7, 3), layout="constrained")
ax.axvspan(-comparison.margin, comparison.margin, color="0.9")
ax.axvline(0.0, color="0.5", linewidth=0.8)
differs = pairs["p_adjusted"] < 0.05
ax.hlines(height, pairs["ci_low"], pairs["ci_high"], color="tab:blue")
ax.scatter(
    pairs["difference"],
    height,
    zorder=3,
    edgecolors="tab:blue",
    c=np.where(differs, "tab:blue", "white"),
)
ax.set_yticks(height, labels=[f"{a} - {b}" for a, b in pairs.index])
ax.set(xlabel="difference of the predicted exponent, 95 % interval", ylim=(-0.5, 2.5))
for (first, second), row in pairs.iterrows():
    verdict = "differ" if row["p_adjusted"] < 0.05 else "not shown to differ"
    if row["equivalent"]:
        verdict += f", equivalent within {comparison.margin}"
    print(f"{first} and {second}: {verdict}")
