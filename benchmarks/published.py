"""What do the paper's aggregated curves say, by its method and by ours?

For each of the paper's data files: gamma1 in the window picked by hand and in the one
found from the data, the range over all windows that one might have chosen, and the
predicted and the measured exponent on the same train sizes. The folder holds the files
and ``exponents.json`` with the hand-picked windows and first curves.

    python benchmarks/published.py FOLDER --figure docs/_static/published_windows.png
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt

from scalinglaw import PublishedScalingLaw, ScalingLawDisplay, ScalingLawEstimator
from scalinglaw.datasets import read_published


def fit_both(
    folder: Path, name: str, picked: dict
) -> tuple[ScalingLawEstimator, dict[str, str]]:
    """Fit one file by both methods; return the pooled law and a row of the table."""
    table = read_published(folder / f"{name}.npy")
    sizes = picked["train_sizes"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the table says what they say
        published = PublishedScalingLaw(
            window=tuple(picked["window"]),
            min_train_size={
                exponent: sizes[picked[f"first_curve_{exponent}"]]
                for exponent in ("gamma1", "gamma2")
            },
        ).fit(table)
        law = ScalingLawEstimator().fit(table)
    spread = law.window_sensitivity_
    return law, {
        "gamma1, by hand": f"{published.gamma1_.estimate:.4f}",
        "found": _interval(law.gamma1_),
        "off": f"{law.gamma1_.estimate / published.gamma1_.estimate - 1:+.0%}",
        "over windows": f"{spread['min']:.3g} to {spread['max']:.3g}",
        "factor": f"{spread['max'] / spread['min']:.1f}",
        "resolved": str(law.resolved_),
        "predicted": _interval(law.gamma_predicted_),
        "measured": _interval(law.gamma_measured_),
        "p": f"{law.consistency_['p_value']:.2f}",
    }


def _interval(found) -> str:
    low, high = found.conf_int()
    if not np.isfinite(low):
        return f"{found.estimate:.3g}"
    return f"{found.estimate:.3g} [{low:.3g}, {high:.3g}]"


def draw(laws: dict[str, ScalingLawEstimator], path: Path) -> None:
    """Draw gamma1 in every window, one panel per file."""
    figure, axes = plt.subplots(2, 2, figsize=(11, 7.5), layout="constrained")
    for (name, law), ax in zip(laws.items(), axes.flat, strict=False):
        ScalingLawDisplay.from_estimator(law, kind="window", ax=ax)
        title = name.replace("_", ", ")
        ax.set_title(f"{title}\n{ax.get_title()}", fontsize="medium")
    figure.savefig(path, dpi=80)


def main() -> None:
    """Print the table, draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    if options.folder is None:
        print(
            "Give the folder of the paper's files: they are not part of this package."
        )
        return
    picked = json.loads((options.folder / "exponents.json").read_text())
    laws, rows = {}, {}
    for name, settings in picked.items():
        laws[name], rows[name] = fit_both(options.folder, name, settings)
    print(pd.DataFrame(rows).T.to_string())
    errors = [
        abs(law.gamma1_.estimate / picked[name]["gamma1"] - 1)
        for name, law in laws.items()
    ]
    print(f"within 20 % of the hand-picked: {np.sum(np.array(errors) < 0.2)} of 4")
    if options.figure is not None:
        draw(laws, options.figure)


if __name__ == "__main__":
    main()
