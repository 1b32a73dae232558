"""What stands for numpy's names in a pickle: marks without behaviour.

A dtype is its code and its byte order, both from short lists; an array is made from a
plain dtype, a shape, and exactly as many bytes as these take.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["ArrayMark", "DTypeMark", "NameMark", "call", "fill", "known_name"]

_NAMES = {
    **{
        f"numpy.{core}.{name}": name.rsplit(".", 1)[1]
        for core in ("core", "_core")
        for name in (
            "multiarray._reconstruct",
            "multiarray.scalar",
            "numeric._frombuffer",
        )
    },
    "numpy.ndarray": "ndarray",
    "numpy.dtype": "dtype",
    # How Python 3 writes bytes for Python 2, and bytes of none.
    "_codecs.encode": "encode",
    "__builtin__.bytes": "bytes",
}
_PLAIN = re.compile(r"b1|[iu][1248]|f[248]|[SU][1-9][0-9]{0,5}")
# Of one byte, or text of bytes: these have no byte order.
_ORDERLESS = re.compile(r"b1|[iu]1|S[0-9]+")
_LARGEST_CHARACTER = 0x10FFFF
_MOST_AXES = 8


class NameMark:
    """Stand for one of numpy's names."""

    __slots__ = ("name",)

    def __init__(self, name: str):
        self.name = name


class DTypeMark:
    """Stand for a dtype: its code, and its byte order once that has come."""

    __slots__ = ("code", "order")

    def __init__(self, code: str):
        self.code = code
        self.order: str | None = None


class ArrayMark:
    """Stand for an array, which holds its values once they have come."""

    __slots__ = ("filled", "values")

    def __init__(self) -> None:
        self.filled = False
        self.values: Any = None


def known_name(name: str) -> NameMark:
    """Return the mark of one of numpy's names.

    Parameters
    ----------
    name : str
        Such as ``"numpy.dtype"``.

    Returns
    -------
    NameMark
        A mark to call or to pass.

    Raises
    ------
    ValueError
        If numbers do not need this name.
    """
    if name not in _NAMES:
        raise ValueError(f"it asks for {_shown(name)}")
    return NameMark(_NAMES[name])


def call(function: Any, arguments: Any) -> Any:
    """Return what a name makes of its arguments.

    Parameters
    ----------
    function : NameMark
        What is called.
    arguments : tuple
        With what.

    Returns
    -------
    object
        A mark, an array, a number, or bytes.

    Raises
    ------
    ValueError
        If it cannot be called, or not so.
    """
    if not isinstance(function, NameMark) or function.name not in _CALLS:
        raise ValueError("it calls what cannot be called")
    return _CALLS[function.name](*arguments)


def fill(target: Any, state: Any) -> None:
    """Give a mark its state, once.

    Parameters
    ----------
    target : DTypeMark or ArrayMark
        What the state is of.
    state : tuple
        As numpy writes it.

    Raises
    ------
    ValueError
        If the state is one that numpy does not write.
    """
    if isinstance(target, DTypeMark) and target.order is None:
        target.order = _byte_order(target.code, *state)
    elif isinstance(target, ArrayMark) and not target.filled:
        target.values, target.filled = _values_of_state(*state), True
    else:
        raise ValueError("it gives a state to what has none")


def _shown(text: str) -> str:
    """Return what a file calls something, made fit for a terminal."""
    return ascii(text[:80])[1:-1]


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _dtype(code: Any, align: Any = False, copy: Any = True) -> DTypeMark:
    """Stand for ``numpy.dtype``."""
    code = _text(code)
    # An object may hold one dictionary, as the files of the paper do.
    if code != "O8" and not _PLAIN.fullmatch(code):
        raise ValueError(f"it asks for numpy.dtype({_shown(code)!r})")
    return DTypeMark(code)


def _byte_order(
    code: str,
    version: Any,
    order: Any,
    subarray: Any,
    names: Any,
    fields: Any,
    *sizes: Any,
) -> str:
    """Return the byte order in the state of a dtype that has no parts."""
    order = _text(order)
    orderless = code == "O8" or _ORDERLESS.fullmatch(code) is not None
    if (
        version != 3
        or (subarray, names, fields) != (None, None, None)
        or order not in (("|",) if orderless else ("<", ">"))
    ):
        raise ValueError(f"it asks for a numpy.dtype({code!r}) of a forged state")
    size, alignment, _flags = sizes
    itemsize = np.dtype(code).itemsize
    if size not in (-1, itemsize) or alignment not in (-1, 1, 4):
        raise ValueError(f"it asks for a numpy.dtype({code!r}) of a forged size")
    return order


def _reconstruct(kind: Any, shape: Any, code: Any) -> ArrayMark:
    """Stand for numpy's own: an array whose state comes later."""
    if not isinstance(kind, NameMark) or kind.name != "ndarray":
        raise ValueError("it asks for an array of another class")
    if shape != (0,) or _text(code) != "b":
        raise ValueError("it begins an array as numpy does not")
    return ArrayMark()


def _values_of_state(
    version: Any, shape: Any, dtype: Any, is_fortran: Any, data: Any
) -> Any:
    """Return the array of numpy's state, or the one object that it wraps."""
    if version != 1 or not isinstance(is_fortran, bool | int):
        raise ValueError("it holds an array of an unknown version")
    if isinstance(dtype, DTypeMark) and dtype.code == "O8":
        if shape != () or not isinstance(data, list) or len(data) != 1:
            raise ValueError("it asks for an array of objects")
        return data[0]
    return _array(data, dtype, shape, "F" if is_fortran else "C")


def _array(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    """Return an array made of exactly its bytes."""
    if not isinstance(dtype, DTypeMark) or dtype.order is None or dtype.code == "O8":
        raise ValueError("it holds an array whose dtype is none of plain numbers")
    if not isinstance(data, bytes) or order not in ("C", "F"):
        raise ValueError("it holds an array without bytes")
    if (
        not isinstance(shape, tuple)
        or len(shape) > _MOST_AXES
        or not all(type(length) is int and 0 <= length < 2**31 for length in shape)
    ):
        raise ValueError("it holds an array of an impossible shape")
    plain = np.dtype(dtype.order + dtype.code)
    needed = plain.itemsize * math.prod(shape)
    if len(data) != needed:
        raise ValueError(f"it holds an array of {len(data)} bytes, not of {needed}")
    values = np.frombuffer(data, dtype=plain) if data else np.empty(0, dtype=plain)
    _check_bits(values)
    # A copy in the machine's own byte order, which the caller may write to.
    return values.astype(plain.newbyteorder("=")).reshape(tuple(shape), order=order)


def _check_bits(values: np.ndarray) -> None:
    """Refuse the bits that are no value: truths beyond 1, characters beyond Unicode."""
    if values.dtype.kind == "b" and values.size and values.view(np.uint8).max() > 1:
        raise ValueError("it holds truths that are neither true nor false")
    if values.dtype.kind == "U" and values.size:
        characters = values.view(np.dtype("u4").newbyteorder(values.dtype.byteorder))
        if characters.max() > _LARGEST_CHARACTER:
            raise ValueError("it holds characters that Unicode does not have")


def _scalar(dtype: Any, data: Any) -> Any:
    """Stand for ``numpy.core.multiarray.scalar``."""
    return _array(data, dtype, (1,), "C")[0]


def _frombuffer(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    """Stand for numpy's own, by which protocol 5 writes arrays."""
    return _array(data, dtype, shape, order)


def _encode(text: Any, encoding: Any) -> bytes:
    """Stand for ``codecs.encode``."""
    if not isinstance(text, str) or _text(encoding) != "latin1":
        raise ValueError("it asks for an encoding that is not latin1")
    return text.encode("latin-1")


_CALLS: dict[str, Callable[..., Any]] = {
    "dtype": _dtype,
    "_reconstruct": _reconstruct,
    "scalar": _scalar,
    "_frombuffer": _frombuffer,
    "encode": _encode,
    "bytes": lambda: b"",
}
