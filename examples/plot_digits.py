"""
Scaling laws of a small network on digits
=========================================

Does a small convolutional network obey the laws, on images that come with
scikit-learn? The pipeline below trains one clone per train size and seed, records
its spectral complexity and test error during training, and fits the laws.
"""

# %%
# Train at many sizes
# -------------------
# The network is the paper's, an eighth as wide in its convolutions, so that the page
# takes a minute or two. ``max_epochs`` decides how far the test error gets. Digits are
# easy: it is level rather than past its lowest point at the end, and the estimator
# takes the knees, where the curves leave the early law, in the place of optima.
from sklearn.pipeline import make_pipeline

from scalinglaw import CNNClassifier, ScalingLawEstimator, TrajectorySweep
from scalinglaw.datasets import load_images

images, labels = load_images("digits")
sweep = TrajectorySweep(
    CNNClassifier(conv_widths=(8, 16, 32), hidden_width=512, max_epochs=150, lr=1e-3),
    train_sizes=[50, 100, 200, 400, 800, 1200],
    n_seeds=3,
    test_size=500,
    n_jobs=2,
    random_state=0,
)
pipeline = make_pipeline(sweep, ScalingLawEstimator())
pipeline.fit(images, labels)
law = pipeline[-1]
print(law.summary())

# %%
# The early law
# -------------
# Read the left figure from the left: all train sizes start on one line and leave it
# one after another, the smallest first. The slope of that line, in the bold stretch,
# is :math:`\gamma_1`. Where the curves leave it is their knee, whose norm grows with
# the train size by :math:`\gamma_2` (right).
import matplotlib.pyplot as plt

from scalinglaw import ScalingLawDisplay

figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
ScalingLawDisplay.from_estimator(law, kind="norm", ax=axes[0])
ScalingLawDisplay.from_estimator(law, kind="optimum", ax=axes[1])

# %%
# One curve, and what it predicts
# -------------------------------
# Divided by their knees the curves fall onto one (left). The product
# :math:`\gamma_1 \gamma_2` is then the slope of the error at the knee against
# train size; it is dashed beside the slope that is measured directly (right).
figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
ScalingLawDisplay.from_estimator(law, kind="collapse", ax=axes[0])
ScalingLawDisplay.from_estimator(law, kind="data", ax=axes[1])

# %%
# The test of the law asks whether the two slopes differ by more than their errors.
# A large p-value is no proof that they agree: the interval of the difference says how
# large a disagreement these runs would have shown.
print(law.consistency_)
