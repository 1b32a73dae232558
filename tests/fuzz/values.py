"""Values that nobody means, and a few that somebody does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

NUMBERS = (
    0, -1, 1, 2, 3, 0.5, 1.5, -0.5, float("nan"), float("inf"), -float("inf"), 1e300,
    -1e300, 1e-300, 5e-324, 1e10, 1e20, 10**20, -(10**20), 10**400, -(10**400), 2**63,
    True, np.float32(0.1), np.float64("nan"), np.int64(2), np.uint8(255),
)  # fmt: skip
OTHERS = (
    None, "", "text", "auto", "nan", "1", "é\n", b"bytes", 1j, object, (), [], {}, (1,),
    (1, 2), [0.5, 0.5], (None, None), {"a": 1}, {1: 2}, np.array([]),
    np.array([1.0, 2.0]), np.array([[1, 2], [3, 4]]), np.array(["a"]), {1, 2},
    np.datetime64("2020-01-01"),
    range(3), slice(1), lambda x: x, [float("nan")], [10**400], [[1], [1, 2]], ...,
)  # fmt: skip


def one(rng: np.random.Generator, choices: Any) -> Any:
    """Return one of several."""
    return choices[int(rng.integers(len(choices)))]


def odd(rng: np.random.Generator) -> Any:
    """Return a number more often than something else."""
    return one(rng, NUMBERS if rng.random() < 0.6 else OTHERS)


def is_large(value: Any) -> bool:
    """Return whether a value, taken as a count, would ask for work without end."""
    return any(_size(part) > 100 for part in _numbers(value))


def _numbers(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple | set | range | np.ndarray):
        for part in value:
            yield from _numbers(part)
    elif isinstance(value, int | float | np.number):
        yield value


def _size(value: Any) -> float:
    return abs(value) if np.isreal(value) else 0.0
