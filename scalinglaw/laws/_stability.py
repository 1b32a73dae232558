"""Whether the law is still there without any one train size or seed."""

from __future__ import annotations

import numpy as np

from ._crossover import Crossover
from ._estimates import Estimate

__all__ = ["what_it_hangs_on"]


def what_it_hangs_on(
    crossover: Crossover, gamma1: Estimate, train_sizes: np.ndarray
) -> str | None:
    """Return the train size or seed without which gamma1 leaves its interval.

    Parameters
    ----------
    crossover : Crossover
        The fit.
    gamma1 : Estimate
        What is reported, with its whole error.
    train_sizes : array of shape (n_sizes,)
        Train sizes, for their names.

    Returns
    -------
    str or None
        None if there is no such train size or seed.
    """
    model = crossover.curve_fit.model
    low, high = gamma1.conf_int()
    seed = crossover.seed_of_row
    left_out = [
        (f"train size {name}", model.size == size)
        for size, name in enumerate(train_sizes)
        if len(train_sizes) > 3
    ]
    if seed.max() > 0:
        left_out += [
            (f"the seeds numbered {number}", seed == number)
            for number in range(seed.max() + 1)
        ]
    for name, rows in left_out:
        found = crossover.curve_fit.without(rows)
        if not low <= found.gamma1 / crossover.unit <= high:
            return name
    return None
