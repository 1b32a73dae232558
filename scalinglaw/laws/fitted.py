"""What a method of fitting hands to the estimator, whichever method it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from .crossover import Crossover
from .inference import Estimate, Line
from .landmark import Landmarks
from .window import Window

__all__ = ["FittedLaws"]


@dataclass(frozen=True)
class FittedLaws:
    """The laws fitted to one table of trajectories.

    Parameters
    ----------
    exponents : dict of str to Estimate
        ``gamma1``, ``gamma2``, ``gamma_predicted``, ``gamma_measured``.
    consistency : Estimate
        ``gamma_predicted - gamma_measured``; missing where it is not tested.
    norm_law, optimum_law, data_law : Line or None
        Fitted lines; None where there is no exponent.
    optima : Landmarks
        Lowest error of each run.
    landmarks : Landmarks
        What gamma2 was fitted to, one per train size.
    window : Window
        Where gamma1 was fitted.
    inside : array of bool of shape (n,)
        Which checkpoints that holds.
    sensitivity : DataFrame
        From :func:`~scalinglaw.laws.window.window_sensitivity`.
    resolved : bool
        Whether gamma1 is the exponent of a clean power law.
    remarks : tuple of str
        What a reader must know, a sentence each.
    covariance : str
        How the error of gamma1 was found, in words.
    clusters : str
        What it was clustered by.
    crossover : Crossover or None
        The crossover fit, where there was one.
    results : dict of str to statsmodels results
        The regressions.
    offset : float
        Error taken off before logarithms; 0 without an offset.
    offset_test : Estimate
        The offset, or where none is taken off, what would be the weight of its
        regressor in the window.
    forecast_law : Line or None
        Log error at the minimum against log train size: what forecasts extend.
    moves : dict of str to float
        Derivatives by the offset, where one is taken off: of the exponents, the
        ``difference`` of the law's test, and ``forecast_intercept`` and
        ``forecast_exponent`` of what forecasts extend.
    """

    exponents: Mapping[str, Estimate]
    consistency: Estimate
    norm_law: Line | None
    optimum_law: Line | None
    data_law: Line | None
    optima: Landmarks
    landmarks: Landmarks
    window: Window
    inside: np.ndarray
    sensitivity: pd.DataFrame
    resolved: bool
    remarks: tuple[str, ...]
    covariance: str
    clusters: str
    crossover: Crossover | None = None
    results: Mapping[str, Any] = field(default_factory=dict)
    offset: float = 0.0
    offset_test: Estimate = field(default_factory=Estimate.missing)
    forecast_law: Line | None = None
    moves: Mapping[str, float] = field(default_factory=dict)

    def widened(self, estimate: Estimate, name: str) -> Estimate:
        """Return an estimate with the part of its error that the offset's error gives.

        Parameters
        ----------
        estimate : Estimate
            At a given offset.
        name : str
            Which of `moves` it moves by.

        Returns
        -------
        Estimate
            The same where no offset was taken off.
        """
        if not self.moves:
            return estimate
        part = self.moves[name] * self.offset_test.std_err
        return estimate.widened(part**2, self.offset_test.df)
