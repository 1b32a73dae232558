r"""
What would eight times the data give?
=====================================

Fit the law on small train sizes, forecast the large ones, and look whether they were
where the interval said.
"""

# %%
# A study, cut in two
# -------------------
# Nine train sizes from 250 to 64,000, five seeds. The law sees the six smallest.
import matplotlib.pyplot as plt
import numpy as np

from scalinglaw import ScalingLawEstimator, backtest
from scalinglaw.datasets import SCENARIOS, make_trajectories

sizes = 250 * 2 ** np.arange(9)
table = make_trajectories(
    train_sizes=sizes.tolist(), **SCENARIOS["shocks"], random_state=0
)
small = table[table["train_size"] <= 8000]
law = ScalingLawEstimator().fit(small)
error, low, high = law.predict(sizes, return_interval=True)

full = ScalingLawEstimator().fit(table)
seen = np.log(full.optima_["error"]).groupby(full.optima_["train_size"]).mean()
observed = np.exp(seen).to_numpy()

figure, ax = plt.subplots(figsize=(6.5, 4.2), layout="constrained")
ax.fill_between(sizes, low, high, color="0.85", label="95 % prediction interval")
ax.plot(sizes, error, color="black", label="forecast")
known = sizes <= 8000
ax.scatter(sizes[known], observed[known], color="tab:blue", zorder=3, label="fitted")
ax.scatter(
    sizes[~known],
    observed[~known],
    zorder=3,
    facecolors="white",
    edgecolors="tab:red",
    label="held out",
)
ax.set(xscale="log", yscale="log", xlabel="train size", ylabel="lowest test error")
ax.legend()

# %%
# Are the three where they should be? An interval of 95 % misses one in twenty, and so
# one or more of three in about one study of seven.
for size, e, a, b, o in zip(sizes, error, low, high, observed, strict=True):
    if size > 8000:
        print(f"P = {size:6d}: forecast {e:.4f} [{a:.4f}, {b:.4f}], observed {o:.4f}")

# %%
# Beside baselines
# ----------------
# ``backtest`` does the same for the largest third of the sizes, and puts three
# baselines beside it. In one study the law and a power law of error against train size
# may win by turns: they share the minima, and chance moves a whole train size here by
# 5 %. The guide's page on forecasts has the count over many studies.
scores = backtest(ScalingLawEstimator(), table)
rms = scores["log_error"].pow(2).groupby(scores["method"]).mean() ** 0.5
print(rms.sort_values().round(3).to_string())
