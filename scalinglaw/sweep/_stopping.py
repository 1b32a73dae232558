"""End a run once its test error has passed its lowest value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from skorch.callbacks import Callback

from .._validation import check_integer, check_number

__all__ = ["StopAfterOptimum", "has_passed_optimum"]

# Standard errors of the test error by which a rise counts as clear, and the ratio of
# steps that it must have lasted: with 1 in place of 2, one run in ten of noisy labels
# stopped on a bump before its optimum (benchmarks/sweep.py).
_CLEAR = 2.0
_LASTING = 2.0
# Share of the first error that a run must have come below: until then it guesses, and
# the lowest of its errors is where it happened to guess well.
_LEARNED = 0.9


def has_passed_optimum(
    steps: Sequence[float],
    errors: Sequence[float],
    n_test: int,
    *,
    patience: float = 8.0,
    n_after: int = 5,
) -> bool:
    r"""Return whether the lowest test error so far is likely to stay the lowest.

    Either the last `n_after` records all come later than twice its steps, and their
    mean lies above it by two binomial standard errors
    :math:`2\sqrt{\epsilon(1-\epsilon)/n}`; or training has gone on for `patience`
    times its steps, and `n_after` records, without a lower error. Time counts as a
    ratio because test errors change by powers of it. A run that has not brought its
    first error down by a tenth still guesses, and goes on.

    Parameters
    ----------
    steps : sequence of float of shape (n_records,)
        Optimiser steps of the records, increasing.
    errors : sequence of float of shape (n_records,)
        Test errors, as fractions.
    n_test : int
        Test samples.
    patience : float, default=8.0
        Ratio of steps, above 1.
    n_after : int, default=5
        Records needed after the lowest.

    Returns
    -------
    bool
        False while there are too few records.
    """
    values = np.asarray(errors, dtype=float)
    lowest = int(np.argmin(values))
    if len(values) - 1 - lowest < n_after:
        return False
    error, step = values[lowest], max(steps[lowest], 1)
    if error > _LEARNED * values[0]:
        return False
    spread = math.sqrt(max(error * (1.0 - error), 1.0 / n_test) / n_test)
    risen = values[-n_after:].mean() > error + _CLEAR * spread
    if risen and steps[-n_after] >= _LASTING * step:
        return True
    return steps[-1] >= patience * step


class StopAfterOptimum(Callback):
    """End training soon after the test error has passed its lowest value.

    A callback for the classifiers, which must be fitted with an ``eval_set``, as a
    sweep does. Their ``max_epochs`` becomes a bound: a run whose error still falls
    goes on to it, so that it may be set high, and most runs end long before. The
    records stay those of the longer run, spaced over all of ``max_epochs``: raise
    ``n_records`` along with it.

    What could mislead: the tail that is left out is where knees would be sought.
    Keep whole runs for ``landmark="knee"``.

    Parameters
    ----------
    patience : float, default=8.0
        Stop after so many times the steps of the lowest error, even without a rise.
    n_after : int, default=5
        Records that must follow the lowest error.

    See Also
    --------
    has_passed_optimum : The rule.

    Examples
    --------
    >>> from scalinglaw import TrajectoryClassifier
    >>> from scalinglaw.sweep import StopAfterOptimum
    >>> classifier = TrajectoryClassifier(callbacks=[StopAfterOptimum()])
    """

    def __init__(self, patience: float = 8.0, n_after: int = 5) -> None:
        self.patience = patience
        self.n_after = n_after

    def on_train_begin(
        self, net: Any, X: Any = None, y: Any = None, **kwargs: Any
    ) -> None:
        """Look for the net's recorder.

        Parameters
        ----------
        net : skorch net
            The net that is trained.
        X, y : object
            Unused.
        **kwargs : dict
            Unused.

        Raises
        ------
        ValueError
            If nothing records a test error, or a parameter is out of range.
        """
        from ..integrations.skorch import NormRecorder

        check_number(self.patience, "patience", minimum=1.0)
        check_integer(self.n_after, "n_after")
        recorders = [c for _, c in net.callbacks_ if isinstance(c, NormRecorder)]
        if not recorders or recorders[0].eval_set is None:
            raise ValueError(
                "StopAfterOptimum needs a recorded test error: fit with "
                "eval_set=(X_test, y_test), as TrajectorySweep does."
            )
        self.recorder_ = recorders[0]
        self.n_seen_ = 0

    def on_batch_end(
        self, net: Any, batch: Any = None, training: bool = False, **kwargs: Any
    ) -> None:
        """Stop if a new record shows that the optimum has passed.

        Parameters
        ----------
        net : skorch net
            The net that is trained.
        batch : object
            Unused.
        training : bool
            Whether this was a step.
        **kwargs : dict
            Unused.

        Raises
        ------
        KeyboardInterrupt
            To stop, as skorch's own ``EarlyStopping`` does; skorch catches it.
        """
        rows = self.recorder_.records_ if training else []
        if len(rows) <= self.n_seen_:
            return
        self.n_seen_ = len(rows)
        if has_passed_optimum(
            [row["step"] for row in rows],
            [row["test_error"] for row in rows],
            int(rows[-1]["n_test"]),
            patience=self.patience,
            n_after=self.n_after,
        ):
            raise KeyboardInterrupt

    def on_train_end(
        self, net: Any, X: Any = None, y: Any = None, **kwargs: Any
    ) -> None:
        """Let go of the recorder.

        Parameters
        ----------
        net : skorch net
            The net that was trained.
        X, y : object
            Unused.
        **kwargs : dict
            Unused.
        """
        del self.recorder_
