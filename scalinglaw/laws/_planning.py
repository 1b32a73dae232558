"""How many seeds will a study need for an interval of a given width?"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from inspect import signature
from typing import Any

import numpy as np
import pandas as pd

from .._validation import (
    check_fraction,
    check_integer,
    check_integers,
    check_number,
    check_option,
    check_seed,
)
from ..datasets import make_trajectories
from ._estimator import ScalingLawEstimator
from ._results import EXPONENTS

__all__ = ["required_seeds"]


def required_seeds(
    half_width: float,
    *,
    exponent: str = "gamma_predicted",
    quantile: float = 0.8,
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
        Name of the exponent.
    quantile : float, default=0.8
        Share of the studies whose interval must be narrow enough.
    design : dict, optional
        Parameters of :func:`~scalinglaw.datasets.make_trajectories`: train sizes,
        expected exponents, and the noise, best taken from a pilot study. Its
        ``n_seeds``, if it has one, gives way to the candidates.
    candidates : sequence of int
        Numbers of seeds to try, in order.
    n_replicates : int, default=20
        Simulated studies for each.
    random_state : int or None, default=None
        Source of randomness.

    Returns
    -------
    DataFrame
        One row per number of seeds tried: ``n_seeds``, ``half_width`` (relative, at
        the `quantile` of the studies), ``resolved`` (share), ``enough``. The last row
        is the answer, if it is ``enough``.

    Raises
    ------
    TypeError, ValueError
        If a parameter is of another kind or out of range.

    Examples
    --------
    >>> from scalinglaw import required_seeds
    >>> plan = required_seeds(0.1, n_replicates=5, random_state=0)
    >>> int(plan["n_seeds"].iloc[-1])
    2
    """
    check_number(half_width, "half_width", minimum=0.0)
    check_option(exponent, "exponent", EXPONENTS)
    check_fraction(quantile, "quantile")
    check_integer(n_replicates, "n_replicates")
    design = _check_design(design)
    tried = check_integers(candidates, "candidates")
    if not tried:
        raise ValueError("candidates must hold at least one number of seeds, got none.")
    model = ScalingLawEstimator(design.get("norm", "spectral_complexity"))
    check_seed(random_state)
    streams = np.random.SeedSequence(random_state).spawn(len(tried))
    rows = []
    for n_seeds, stream in zip(tried, streams, strict=True):
        widths, resolved = [], []
        for seed in stream.spawn(n_replicates):
            table = make_trajectories(
                **{**design, "n_seeds": n_seeds},
                random_state=np.random.default_rng(seed),
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                law = model.fit(table)
            found = getattr(law, f"{exponent}_")
            widths.append(found.half_width() / abs(found.estimate))
            resolved.append(law.resolved_)
        # A study without an interval counts as one that is too wide.
        wide = np.nan_to_num(widths, nan=np.inf)
        typical = float(np.quantile(wide, quantile, method="inverted_cdf"))
        rows.append((n_seeds, typical, float(np.mean(resolved)), typical <= half_width))
        if typical <= half_width:
            break
    return pd.DataFrame(rows, columns=["n_seeds", "half_width", "resolved", "enough"])


def _check_design(design: Any) -> dict[str, Any]:
    if design is None:
        return {}
    if not isinstance(design, Mapping):
        raise TypeError(
            "design must be a dict of parameters of make_trajectories, got "
            f"{type(design).__name__}."
        )
    if "random_state" in design:
        raise ValueError(
            "design must not hold random_state, since each simulated study needs "
            "noise of its own. Pass random_state to required_seeds."
        )
    known = list(signature(make_trajectories).parameters)
    for name in design:
        if name not in known:
            near = get_close_matches(str(name), known, n=1)
            hint = f"; do you mean {near[0]!r}?" if near else "."
            raise ValueError(
                f"design must hold parameters of make_trajectories, got {name!r}{hint}"
            )
    return dict(design)
