"""Named kinds of studies, each a set of parameters of make_trajectories."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

__all__ = ["SCENARIOS"]

SCENARIOS: MappingProxyType[str, dict[str, Any]] = MappingProxyType(
    {
        # Noise of every kind.
        "base": {},
        "slopes": {"slope_sd": 0.05},
        "shocks": {"size_sd": 0.05},
        "spikes": {"spikes": 0.05},
        "small_test": {"n_test": 1000},
        "small_test_unknown": {"n_test": 1000, "test_set": "unknown"},
        "own_tests": {"n_test": 10_000, "test_set": "own"},
        "failed_seeds": {"failed_seeds": 1},
        # Curves of particular networks.
        "cnn": {
            "gamma1": 0.6,
            "knee_width": 0.15,
            "shape": "gumbel",
            "ar_sd": 0.03,
            "n_test": 10_000,
        },
        "vit": {
            "gamma1": 0.4,
            "norm_scale": 20.0,
            "knee_width": 0.2,
            "rise": 0.3,
            "slope_sd": 0.02,
            "ar_sd": 0.03,
            "n_test": 10_000,
        },
        # How runs begin.
        "start": {"start_growth": 0.6, "plateau_length": 0.6, "plateau_width": 0.3},
        "no_plateau": {"plateau_length": -0.5},
        "transient": {"transient": 0.7},
        "warmup": {"warmup": 0.6},
        # Errors that no norm removes.
        "floor_0.01": {"offset": 0.01},
        "floor_0.03": {"offset": 0.03},
        "floor_0.1": {"offset": 0.1},
        "floor_counted": {"offset": 0.02, "n_test": 10_000},
        "entropy": {"metric": "test_loss", "offset": 1.7},
        # How runs end.
        "tail": {"rise": -0.1, "shape": "laplace"},
        "budget": {"budget": 0.4},
        "lr_steps": {"lr_drop": 0.3},
        "double_descent": {"peak": 0.3, "rise": -0.1},
        "weight_decay": {"fold_back": 1.0},
        # What follows the knee depends on the train size.
        "weaker_overfitting": {"rise": 0.3, "rise_growth": -0.043, "knee_width": 0.03},
        "steeper_tails": {"tail": 0.1, "tail_growth": 0.0725, "rise": 0.3},
        "flatter_tails": {"tail": 0.35, "tail_growth": -0.0735, "rise": 0.3},
        "steeper_ends": {"rise": -0.1, "rise_growth": -0.058},
        "longer_ends": {"rise": -0.4, "end_growth": 0.535},
        "shorter_ends": {"rise": -0.4, "end_growth": -0.545},
        # Designs.
        "two_seeds": {"n_seeds": 2},
        "few_records": {"n_records": 12},
        "few_sizes": {"train_sizes": (500, 1000, 2000, 4000)},
        "unequal": {"train_sizes": (100, 150, 200, 300, 50_000)},
        # Nothing to find.
        "broad": {
            "knee_width": 1.2,
            "plateau_width": 1.2,
            "plateau_length": 4.8,
            "stretch": 0.25,
        },
        "broad_start": {
            "train_sizes": (1000, 1500, 2000, 3000, 4000, 6000),
            "knee_width": 0.5,
            "plateau_width": 0.5,
            "plateau_length": 1.5,
            "start_growth": 0.5,
            "stretch": 0.75,
        },
        "no_law": {"curvature": 0.3},
    }
)
