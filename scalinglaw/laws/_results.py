"""The one record that a fit leaves: what tables, figures and comparisons read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ._crossover import Crossover
from ._curves import Curves
from ._estimates import Estimate
from ._forecast import ForecastLaw
from ._landmarks import Landmarks
from ._lines import Line
from ._offset import Offset
from ._remarks import Remark
from ._window import Window

__all__ = ["EXPONENTS", "FittedLaws"]

EXPONENTS = ("gamma1", "gamma2", "gamma_predicted", "gamma_measured")
"""Names of the exponents, in the order of the tables."""


@dataclass(frozen=True)
class FittedLaws:
    """The laws fitted to one table of trajectories.

    Parameters
    ----------
    curves : Curves
        The runs.
    exponents : dict of str to Estimate
        ``gamma1``, ``gamma2``, ``gamma_predicted``, ``gamma_measured``.
    consistency : Estimate
        ``gamma_predicted - gamma_measured``; missing where it is not tested.
    norm_law, optimum_law, data_law : Line or None
        Fitted lines; None where there is no exponent.
    optima : Landmarks
        Lowest error of each run.
    minima : Landmarks
        Their averages, one per train size.
    landmarks : Landmarks
        What gamma2 was fitted to, one per train size.
    window : Window
        Where gamma1 is read off by a straight line.
    inside : array of bool of shape (n,)
        Which checkpoints that holds.
    sensitivity : DataFrame
        From :func:`~scalinglaw.laws._window.window_sensitivity`.
    reasons : tuple of str
        Why gamma1 is not the exponent of a clean power law; empty if it is.
    untested : str
        Why the law is not tested; empty if it is.
    remarks : tuple of Remark
        What a reader must know.
    method : str
        How gamma1 and its error were found, in words.
    clusters : str
        What its error was clustered by.
    crossover : Crossover or None
        The crossover fit, where gamma1 is taken from it.
    results : dict of str to statsmodels results
        Regressions, with the errors that are reported.
    offset : Offset
        Error taken off before logarithms.
    forecast_law : ForecastLaw or None
        What forecasts extend.
    collapse : Series or None
        How well the curves fall onto one.
    is_reached : bool
        Whether the measured exponent is that of the error reached, since most curves
        still fall at their end.
    """

    curves: Curves
    exponents: Mapping[str, Estimate]
    consistency: Estimate
    norm_law: Line | None
    optimum_law: Line | None
    data_law: Line | None
    optima: Landmarks
    minima: Landmarks
    landmarks: Landmarks
    window: Window
    inside: np.ndarray
    sensitivity: pd.DataFrame
    reasons: tuple[str, ...]
    untested: str
    remarks: tuple[Remark, ...]
    method: str
    clusters: str
    crossover: Crossover | None = None
    results: Mapping[str, Any] = field(default_factory=dict)
    offset: Offset = field(default_factory=Offset.none)
    forecast_law: ForecastLaw | None = None
    collapse: pd.Series | None = None
    is_reached: bool = False

    @property
    def resolved(self) -> bool:
        """Whether gamma1 is the exponent of a clean power law."""
        return not self.reasons

    def smooth_variance(self, exponent: str, train_sizes: np.ndarray) -> float:
        """Return the variance of a slope that no scatter of train sizes shows.

        Parameters
        ----------
        exponent : {"gamma2", "gamma_measured"}
            Slope of the places, or of the heights, of the landmarks.
        train_sizes : array of shape (n,)
            Train sizes that it is taken over.

        Returns
        -------
        float
            What the noise of one test set, and the error of the offset, add.
        """
        used = np.isin(self.curves.train_sizes, train_sizes)
        x = np.log(self.curves.train_sizes.astype(float))
        x = np.where(used, x - x[used].mean(), 0.0)
        weights = x / (x @ x)
        if exponent == "gamma2":
            gamma1 = self.exponents["gamma1"].estimate
            moved = self.landmarks.influence_on_x(gamma1)
            by_offset = np.zeros(len(x))
            if self.landmarks.kind == "knee" and self.crossover is not None:
                by_offset = self.crossover.knee_move
        else:
            moved = self.landmarks.influence_on_y
            by_offset = -np.exp(-self.landmarks.y)
        variance = float(weights @ by_offset * self.offset.std_err) ** 2
        if self.curves.counting_noise is not None:
            counted = self.curves.counting_noise.covariance(weights[None] @ moved)
            variance += float(counted[0, 0])
        return variance
