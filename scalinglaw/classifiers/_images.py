"""What the classifiers of images have in common: shapes, bytes, normalisation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import numpy as np
import torch
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, check_X_y, validate_data
from torch import nn

from .._validation import check_integers, check_option
from ._base import RecordingClassifier
from ._devices import as_array
from ._preparation import PreparedModule
from ._presets import PRESETS, preset

__all__ = ["ImageClassifier"]

_Images = TypeVar("_Images", bound="ImageClassifier")
# What images may stay; all else becomes float32.
_DTYPES = [np.float32, np.uint8]


class ImageClassifier(RecordingClassifier):
    """Base of the classifiers of images; use one of its subclasses.

    Images come as (n, channels, height, width), as (n, height, width), or flat with
    `image_shape`. Bytes are kept as bytes and divided by 255 batch by batch; floats
    are taken as they are.
    """

    image_shape: tuple[int, ...] | None
    normalization: tuple[Iterable[float], Iterable[float]] | None
    augment: bool
    channels_last: bool | str

    @classmethod
    def from_preset(cls: type[_Images], name: str, **changes: Any) -> _Images:
        """Return the classifier with the paper's settings for a data set.

        Parameters
        ----------
        name : {"mnist", "fashion-mnist", "cifar10", "cifar100"}
            Data set; Fashion-MNIST takes the settings of MNIST with its own pixels.
        **changes : dict
            Parameters that differ from the paper's.

        Returns
        -------
        classifier
            Not fitted.
        """
        # A subclass of the user's has the settings of the class that it extends.
        known = next(base for base in cls.__mro__ if base.__name__ in PRESETS)
        return cls(**(preset(known.__name__, name) | changes))

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_option(self.channels_last, "channels_last", ("auto", True, False))
        if self.image_shape is not None:
            check_integers(self.image_shape, "image_shape")
        self._moments()

    def _moments(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """Return mean and standard deviation of each channel, if there are any."""
        if self.normalization is None:
            return None
        try:
            mean, std = (tuple(map(float, values)) for values in self.normalization)
        except (TypeError, ValueError):
            raise TypeError(
                "normalization must be a pair (mean, std) with one number per channel "
                f"each, such as ((0.5,), (0.25,)), got {self.normalization!r}."
            ) from None
        if not (np.isfinite(mean).all() and np.isfinite(std).all() and min(std) > 0):
            raise ValueError(
                "normalization must hold finite means and positive standard "
                f"deviations, got {self.normalization!r}."
            )
        return mean, std

    def _check_X_y(self, X: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        self._check_names(X, reset=True)
        X, y = check_X_y(as_array(X), y, dtype=_DTYPES, allow_nd=True)
        check_classification_targets(y)
        X = self._as_images(X)
        self.n_features_in_ = int(np.prod(X.shape[1:]))
        self.image_shape_ = X.shape[1:]
        return X, y

    def _check_X(self, X: Any) -> np.ndarray:
        self._check_names(X, reset=False)
        X = self._as_images(check_array(as_array(X), dtype=_DTYPES, allow_nd=True))
        if X.shape[1:] != self.image_shape_:
            raise ValueError(
                f"X must hold images of shape {self.image_shape_}, as in fit, got "
                f"{X.shape[1:]}."
            )
        return X

    def _check_names(self, X: Any, reset: bool) -> None:
        """Let scikit-learn see that columns with names keep their order."""
        if hasattr(X, "columns") or hasattr(self, "feature_names_in_"):
            validate_data(self, X, skip_check_array=True, reset=reset)

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn what X may be."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = self.image_shape is not None
        tags.input_tags.three_d_array = True
        return tags

    def _as_images(self, X: np.ndarray) -> np.ndarray:
        """Return X as (n, channels, height, width)."""
        if X.ndim == 4:
            if X.shape[-1] in (1, 3) and X.shape[1] not in (1, 3):
                raise ValueError(
                    f"X must have shape (n, channels, height, width), got {X.shape}: "
                    "channels are last. Use np.moveaxis(X, -1, 1)."
                )
            return X
        if X.ndim == 3:
            return X[:, None]
        if X.ndim == 2 and self.image_shape is not None:
            shape = tuple(self.image_shape)
            if len(shape) not in (2, 3) or np.prod(shape) != X.shape[1]:
                raise ValueError(
                    f"image_shape must be (channels, height, width) or (height, width) "
                    f"with {X.shape[1]} entries, got {self.image_shape}."
                )
            return X.reshape(len(X), *((1, *shape) if len(shape) == 2 else shape))
        raise ValueError(
            "X must hold images, (n, channels, height, width) or (n, height, width), "
            f"got shape {X.shape}. Flat images need image_shape; tabular data need "
            "TrajectoryClassifier."
        )

    def _prepare(self, core: nn.Module) -> PreparedModule:
        mean, std = self._moments() or (None, None)
        channels = self.image_shape_[0]
        for name, values in (("mean", mean), ("std", std)):
            if values is not None and len(values) != channels:
                raise ValueError(
                    f"normalization's {name} must have {channels} entries, one per "
                    f"channel, got {values}."
                )
        if self.channels_last == "auto":
            last = torch.device(self.device_).type in ("cpu", "cuda")
        else:
            last = bool(self.channels_last)
        return PreparedModule(
            core,
            mean,
            std,
            self.augment,
            last,
            self.precision == "bfloat16",
            len(self.classes_),
        )
