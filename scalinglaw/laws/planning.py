"""How many seeds will a study need for an interval of a given width?"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from .._validation import check_integer, check_number, check_option
from ..datasets.simulate import make_trajectories
from .estimator import ScalingLawEstimator
from .tables import EXPONENTS

__all__ = ["required_seeds"]


def required_seeds(
    half_width: float,
    *,
    exponent: str = "gamma_predicted",
    design: dict[str, Any] | None = None,
    candidates: Sequence[int] = (2, 3, 5, 8, 12, 20, 30),
    n_replicates: int = 20,
    random_state: int | None = None,
) -> pd.DataFrame:
    """Simulate a design with more and more seeds until its interval is narrow enough.

    Parameters
    ----------
    half_width : float
        Wanted half-width of the 95 % interval, relative to the exponent.
    exponent : str, default="gamma_predicted"
        Which exponent.
    design : dict, optional
        Parameters of :func:`~scalinglaw.datasets.make_trajectories`: train sizes,
        expected exponents, and the noise, best taken from a pilot study.
    candidates : sequence of int
        Numbers of seeds to try, in order.
    n_replicates : int, default=20
        Simulated studies for each.
    random_state : int or None, default=None
        Source of randomness.

    Returns
    -------
    DataFrame
        One row per number of seeds tried: ``n_seeds``, ``half_width`` (median,
        relative), ``resolved`` (share), ``enough``. The last row is the answer, if it
        is ``enough``.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Examples
    --------
    >>> from scalinglaw import required_seeds
    >>> plan = required_seeds(0.1, n_replicates=5, random_state=0)
    >>> int(plan["n_seeds"].iloc[-1])
    2
    """
    check_number(half_width, "half_width", minimum=0.0)
    check_option(exponent, "exponent", EXPONENTS)
    check_integer(n_replicates, "n_replicates")
    streams = np.random.SeedSequence(random_state).spawn(len(candidates))
    rows = []
    for n_seeds, stream in zip(candidates, streams, strict=True):
        check_integer(n_seeds, "candidates")
        widths, resolved = [], []
        for seed in stream.spawn(n_replicates):
            table = make_trajectories(
                **{**(design or {}), "n_seeds": n_seeds},
                random_state=np.random.default_rng(seed),
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                law = ScalingLawEstimator().fit(table)
            found = getattr(law, f"{exponent}_")
            widths.append(found.half_width() / abs(found.estimate))
            resolved.append(law.resolved_)
        # A study without an interval counts as one that is too wide.
        typical = float(np.median(np.nan_to_num(widths, nan=np.inf)))
        rows.append((n_seeds, typical, float(np.mean(resolved)), typical <= half_width))
        if typical <= half_width:
            break
    return pd.DataFrame(rows, columns=["n_seeds", "half_width", "resolved", "enough"])
