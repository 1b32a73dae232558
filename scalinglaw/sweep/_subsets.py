"""Which samples a run sees: one held-out test set, nested stratified subsets."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split

from .._validation import check_split

__all__ = ["hold_out", "nested_order", "run_state", "subset_state"]

# First entry of a spawn key: what the stream is for. A stream depends on
# nothing else, so that a size or a seed added later moves no other run.
_SPLIT, _SUBSET, _RUN = 0, 1, 2


def hold_out(
    codes: np.ndarray, test_size: int | float, entropy: int
) -> tuple[np.ndarray, np.ndarray]:
    """Split the samples into a training pool and a stratified test set.

    Parameters
    ----------
    codes : ndarray of shape (n_samples,)
        Class of each sample, 0 to n_classes - 1.
    test_size : int or float
        Samples to hold out, or their fraction.
    entropy : int
        Where the split's random numbers come from.

    Returns
    -------
    pool, test : ndarray of int
        Row numbers, each sorted.

    Raises
    ------
    ValueError
        If a class is too small to be in both parts.
    """
    counts = np.bincount(codes)
    n_test = check_split(test_size, counts)
    pool, test = train_test_split(
        np.arange(len(codes)),
        test_size=n_test,
        stratify=codes,
        random_state=_state(entropy, _SPLIT),
    )
    for rows, purpose in ((pool, "training"), (test, "testing")):
        absent = np.bincount(codes[rows], minlength=len(counts)) == 0
        if absent.any():
            raise ValueError(
                f"test_size={test_size} leaves none of the {counts[absent].min()} "
                f"samples of the rarest class for {purpose}: its share there rounds "
                "to zero. Take another test_size, or drop that class."
            )
    return np.sort(pool), np.sort(test)


def nested_order(codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Order samples so that each head of the order is a stratified subset.

    Within a class the order is random. Classes are interleaved by Webster's
    method of apportionment: the r-th sample of a class of n comes at
    (r - 1/2) / n, which gives every head its share of each class, rounded.
    One sample of each class comes first, so that no subset lacks a class.

    Parameters
    ----------
    codes : ndarray of shape (n_samples,)
        Class of each sample, 0 to n_classes - 1.
    rng : numpy.random.Generator
        Shuffles within classes, and breaks ties between them.

    Returns
    -------
    ndarray of shape (n_samples,)
        A permutation of the row numbers; its first n entries are the subset
        of size n.

    References
    ----------
    M. Balinski and H. P. Young, "Fair Representation" (2001).
    """
    order = rng.permutation(len(codes))
    shuffled = codes[order]
    counts = np.bincount(shuffled)
    by_class = np.argsort(shuffled, kind="stable")
    first = np.cumsum(counts) - counts
    rank = np.empty(len(codes))
    rank[by_class] = np.arange(len(codes)) - first[shuffled[by_class]]
    position = np.where(rank == 0, 0.0, (rank + 0.5) / counts[shuffled])
    return order[np.argsort(position, kind="stable")]


def subset_state(entropy: int, seed: int) -> np.random.Generator:
    """Return the generator that orders the samples of all runs with `seed`."""
    key = (_SUBSET, seed)
    return np.random.default_rng(np.random.SeedSequence(entropy, spawn_key=key))


def run_state(entropy: int, train_size: int, seed: int) -> int:
    """Return the ``random_state`` of one run: initial weights and batches."""
    return _state(entropy, _RUN, seed, train_size)


def _state(entropy: int, *key: Any) -> int:
    sequence = np.random.SeedSequence(entropy, spawn_key=key)
    return int(sequence.generate_state(1)[0])
