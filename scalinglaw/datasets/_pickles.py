"""Pickles read without executing what they hold.

A pickle may name any function to call. Here only the constructors of numpy's arrays,
dtypes and scalars may be named, and everything else is refused before it is looked up.
"""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np

__all__ = ["NumbersOnly"]

_NUMPY_CORE = ("numpy.core.multiarray", "numpy._core.multiarray")
_ALLOWED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class NumbersOnly(pickle.Unpickler):
    """An unpickler that knows numpy's constructors and no other name."""

    def find_class(self, module: str, name: str) -> Any:
        """Return an allowed constructor; anything else is an error."""
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        if module in _NUMPY_CORE and name == "_reconstruct":
            return _empty_array
        if module in _NUMPY_CORE and name == "scalar":
            return _scalar
        if (module, name) == ("_codecs", "encode"):
            return _bytes
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _empty_array(subtype: type, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Stand for numpy's own: an array to be filled by ``__setstate__``."""
    if subtype is not np.ndarray:
        raise pickle.UnpicklingError("it asks for an array of another class")
    return np.ndarray.__new__(np.ndarray, (0,), "b")


def _bytes(text: str, encoding: str) -> bytes:
    """Stand for ``codecs.encode``: how Python 3 writes bytes for Python 2."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the encoding {encoding!r}")
    return text.encode("latin1")


def _scalar(dtype: np.dtype, data: bytes) -> Any:
    if dtype.hasobject:
        raise pickle.UnpicklingError("it asks for an object scalar")
    return np.frombuffer(data, dtype=dtype, count=1)[0]
