"""The paper's settings, by architecture and data set.

References
----------
D'Amico, Bocchi and Negri (2025), arXiv:2505.13230, appendix.
"""

from __future__ import annotations

from typing import Any

from .._validation import check_option

__all__ = ["NORMALIZATION", "PRESETS", "preset"]

#: Mean and standard deviation of each channel, pixels between 0 and 1.
NORMALIZATION: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "mnist": ((0.1307,), (0.3081,)),
    "fashion-mnist": ((0.2860,), (0.3530,)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
}

_TRAINING = {
    "batch_size": 128,
    "lr": 1e-3,
    "n_records": 50,
    "optimizer": "adam",
    "weight_decay": 0.0,
}
_CNN = {**_TRAINING, "conv_widths": (32, 64, 128), "hidden_width": 512}
_RESNET = {**_TRAINING, "widths": (64, 128, 256, 512), "depths": (2, 2, 2, 2)}
# Heads and the hidden layers' width are not among the settings that the paper's
# summary gives; these are ours.
_VIT = {
    **_TRAINING,
    "optimizer": "adamw",
    "patch_size": 4,
    "depth": 6,
    "n_heads": 4,
    "mlp_width": None,
}

#: Parameters by class and data set.
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "CNNClassifier": {"mnist": _CNN, "cifar10": _CNN, "cifar100": _CNN},
    "ResNetClassifier": {
        "mnist": {**_RESNET, "widths": (16, 32, 64, 128)},
        "cifar10": _RESNET,
        "cifar100": {**_RESNET, "depths": (3, 4, 6, 3)},
    },
    "ViTClassifier": {
        "mnist": {**_VIT, "patch_size": 7, "depth": 4, "width": 128},
        "cifar10": {**_VIT, "width": 192},
        "cifar100": {**_VIT, "width": 256},
    },
}


def preset(classifier: str, data: str) -> dict[str, Any]:
    """Return the parameters of one classifier for one data set.

    Parameters
    ----------
    classifier : str
        Name of the class.
    data : str
        Name of the data set.

    Returns
    -------
    dict
        Parameters, the normalisation of the data's pixels included.
    """
    check_option(data, "name", tuple(NORMALIZATION))
    settings = PRESETS[classifier]["mnist" if data == "fashion-mnist" else data]
    return {**settings, "normalization": NORMALIZATION[data]}
