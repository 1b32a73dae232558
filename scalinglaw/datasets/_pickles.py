"""Pickles of numbers, read by a reader of its own that can build nothing else.

Python's own reader looks up whatever a file names, calls it, and hands it state: with
numpy's real ``dtype`` and ``ndarray`` among the names, a file can forge an array that
reads the memory of the process. Here the opcodes that numbers and numpy's arrays need
are carried out one by one. What they build is text, bytes, numbers, tuples, lists,
dictionaries, and arrays that hold what their bytes say.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pickletools import genops
from typing import Any

import numpy as np

from ._arrays import ArrayMark, DTypeMark, NameMark, call, fill, known_name

__all__ = ["numbers_of", "object_of_npy", "read_pickle"]

_DAMAGE = (IndexError, KeyError, TypeError, AttributeError, OverflowError, Warning)
# Lists in lists beyond this are no numbers of anybody.
_DEEPEST = 8

_ATOMS = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "FLOAT", "BINFLOAT",
    "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
    "SHORT_BINBYTES", "BINBYTES", "BINBYTES8",
}  # fmt: skip
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
# Strings of Python 2 are bytes.
_STRINGS = {"STRING", "SHORT_BINSTRING", "BINSTRING"}
_STORE = {"PUT", "BINPUT", "LONG_BINPUT"}
_FETCH = {"GET", "BINGET", "LONG_BINGET"}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}

_NPY = re.compile(
    rb"\{'descr': ('.*?'|\[.*?\]), 'fortran_order': (?:False|True), "
    rb"'shape': (\([0-9, ]*\)), \} *\n"
)


class _List(list[Any]):
    """A list that knows how deep it is."""

    depth = 1


class _Tuple(tuple[Any, ...]):
    """A tuple that knows how deep it is."""

    depth = 1


class _Dict(dict[Any, Any]):
    """A dictionary that knows how deep it is."""

    depth = 1


def read_pickle(data: bytes) -> Any:
    """Return the numbers, text and arrays in a pickle.

    Parameters
    ----------
    data : bytes
        The whole pickle, of any protocol. Strings of Python 2 become bytes; keys of
        dictionaries become str.

    Returns
    -------
    object
        Numbers, str, bytes, None, arrays of numpy, and lists, tuples and dictionaries
        of these.

    Raises
    ------
    ValueError
        If it is damaged, or asks for anything else.
    """
    try:
        with warnings.catch_warnings():
            # The reader of quoted text only warns of escapes that are none.
            warnings.simplefilter("error")
            return _Reader(len(data)).read(data)
    except _DAMAGE as error:
        # An empty stack, an entry that was never stored, a number where text should
        # be: damage has many names, and one meaning.
        reason = f"it is no whole pickle ({type(error).__name__}: {error})"
        raise ValueError(reason) from error


def numbers_of(value: Any) -> np.ndarray:
    """Return a value of a pickle as an array of real numbers.

    Parameters
    ----------
    value : object
        An array, a flat list, or one number.

    Returns
    -------
    ndarray
        Of truths, integers or floats.

    Raises
    ------
    ValueError
        If it is anything else.
    """
    entries = value if isinstance(value, list) else [value]
    if not isinstance(value, np.ndarray):
        # A list of arrays could be many times as large as the file that it is from.
        if not all(isinstance(entry, int | float | np.number) for entry in entries):
            raise ValueError("it holds text, containers or nothing, not numbers")
        value = np.array(value)
    if value.dtype.kind not in "biuf":
        raise ValueError(f"it holds an array of dtype {value.dtype}, not numbers")
    return value


def object_of_npy(data: bytes) -> bytes:
    """Return the pickle in an ``.npy`` file of a single object.

    Parameters
    ----------
    data : bytes
        The whole file.

    Returns
    -------
    bytes
        What follows the header.

    Raises
    ------
    ValueError
        If it is another file.
    """
    if data[:8] not in (b"\x93NUMPY\x01\x00", b"\x93NUMPY\x02\x00"):
        raise ValueError("it does not begin as an .npy file of version 1 or 2")
    width = 2 if data[6] == 1 else 4
    start = 8 + width
    end = start + int.from_bytes(data[8:start], "little")
    header = _NPY.fullmatch(data[start:end]) if end <= start + 10_000 else None
    if header is None:
        raise ValueError("its header is not one that numpy writes")
    dtype, shape = (part.decode("latin-1") for part in header.groups())
    if dtype != "'|O'" or shape != "()":
        raise ValueError(f"it holds an array of shape {shape} and dtype {dtype}")
    return data[end:]


class _Reader:
    """Carries out the opcodes of one pickle."""

    def __init__(self, n_bytes: int):
        self.n_bytes = n_bytes
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def read(self, data: bytes) -> Any:
        """Return what the pickle holds."""
        position = 0
        # genops checks every length against what is left of the file.
        for opcode, argument, at in genops(data):
            position = at or 0
            if (
                opcode.name == "FRAME"
                and position + 9 + int(argument or 0) > self.n_bytes
            ):
                raise ValueError("it has a frame longer than the file")
            self.carry_out(opcode.name, argument)
        if position + 1 != self.n_bytes:
            raise ValueError("it goes on after its end")
        if len(self.stack) != 1:
            raise ValueError("it is no whole pickle")
        return _settled(self.stack[0])

    def carry_out(self, name: str, argument: Any) -> None:
        """Carry out one opcode."""
        stack = self.stack
        if name in _ATOMS:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _STRINGS:
            stack.append(argument.encode("latin-1"))
        elif name == "BYTEARRAY8":
            stack.append(bytes(argument))
        elif name in _STORE:
            self.memo[self.index(argument)] = stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in _FETCH:
            stack.append(self.fetch(self.index(argument)))
        elif name in _TUPLES:
            stack.append(_tuple(self.pop(_TUPLES[name])))
        elif name == "GLOBAL":
            stack.append(known_name(argument.replace(" ", ".")))
        elif name in _STEPS:
            _STEPS[name](self)
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise ValueError(f"it asks for {name}, which numbers do not need")

    def index(self, argument: int) -> int:
        """Return an index of the memo, which has an entry a byte at most."""
        if not 0 <= argument <= self.n_bytes:
            raise ValueError(f"it asks for the memo's entry {argument}")
        return argument

    def fetch(self, index: int) -> Any:
        """Return what was stored, unless it could make a small file unfold."""
        value = self.memo[index]
        small = isinstance(value, _Tuple) and value.depth == 1 and len(value) < 10
        if isinstance(value, _List | _Dict | _Tuple) and not small:
            raise ValueError("it holds one container in several places")
        return value

    def pop(self, count: int) -> list[Any]:
        """Take the last values from the stack."""
        if count > len(self.stack):
            raise ValueError("it is no whole pickle")
        first = len(self.stack) - count
        values = self.stack[first:]
        del self.stack[first:]
        return values

    def pop_to_mark(self) -> list[Any]:
        """Take the values after the last mark from the stack."""
        return self.pop(max(0, len(self.stack) - self.marks.pop()))

    def set_items(self, values: list[Any]) -> None:
        """Put keys and values into the dictionary that lies below them."""
        target = self.stack[-1]
        if not isinstance(target, _Dict) or len(values) % 2:
            raise ValueError("it sets items of what is no dictionary")
        for key, value in zip(values[::2], values[1::2], strict=True):
            text = key.decode("latin-1") if isinstance(key, bytes) else key
            # Other keys can be made to collide, or to nest.
            if not isinstance(text, str) or text in target:
                raise ValueError("it has a key that is no text, or has it twice")
            target[text] = _placed(value, target)

    def append(self, values: list[Any]) -> None:
        """Put values into the list that lies below them."""
        target = self.stack[-1]
        if not isinstance(target, _List):
            raise ValueError("it appends to what is no list")
        target.extend([_placed(value, target) for value in values])

    def make_list(self) -> None:
        """Make a list of the values after the mark."""
        values = self.pop_to_mark()
        self.stack.append(_List())
        self.append(values)

    def make_dict(self) -> None:
        """Make a dictionary of the values after the mark."""
        values = self.pop_to_mark()
        self.stack.append(_Dict())
        self.set_items(values)

    def name(self) -> None:
        """Put a stand-in for the name whose two parts lie on the stack."""
        module, name = self.pop(2)
        self.stack.append(known_name(f"{module}.{name}"))

    def call(self) -> None:
        """Put what a name makes of its arguments."""
        function, arguments = self.pop(2)
        self.stack.append(call(function, arguments))

    def build(self) -> None:
        """Give a stand-in its state."""
        (state,) = self.pop(1)
        fill(self.stack[-1], state)


_STEPS: dict[str, Callable[[_Reader], None]] = {
    "MARK": lambda reader: reader.marks.append(len(reader.stack)),
    "EMPTY_LIST": lambda reader: reader.stack.append(_List()),
    "EMPTY_DICT": lambda reader: reader.stack.append(_Dict()),
    "LIST": _Reader.make_list,
    "DICT": _Reader.make_dict,
    "TUPLE": lambda reader: reader.stack.append(_tuple(reader.pop_to_mark())),
    "APPEND": lambda reader: reader.append(reader.pop(1)),
    "APPENDS": lambda reader: reader.append(reader.pop_to_mark()),
    "SETITEM": lambda reader: reader.set_items(reader.pop(2)),
    "SETITEMS": lambda reader: reader.set_items(reader.pop_to_mark()),
    "STACK_GLOBAL": _Reader.name,
    "REDUCE": _Reader.call,
    "BUILD": _Reader.build,
}


def _settled(value: Any) -> Any:
    """Return the array that a stand-in stands for, and other values as they are."""
    if isinstance(value, _Tuple):
        return tuple(map(_settled, value))
    if isinstance(value, ArrayMark) and value.filled:
        return value.values
    if isinstance(value, ArrayMark | DTypeMark | NameMark):
        raise ValueError("it holds an array without values, or a name")
    return value


def _placed(value: Any, target: Any) -> Any:
    """Return the value that a container takes up, which may deepen it."""
    target.depth = max(target.depth, getattr(value, "depth", 0) + 1)
    if target.depth > _DEEPEST:
        raise ValueError(f"it nests more than {_DEEPEST} containers")
    return _settled(value)


def _tuple(values: list[Any]) -> _Tuple:
    """Return a tuple, whose stand-ins are arguments of calls."""
    result = _Tuple(values)
    result.depth = 1 + max((getattr(value, "depth", 0) for value in values), default=0)
    if result.depth > _DEEPEST:
        raise ValueError(f"it nests more than {_DEEPEST} containers")
    return result
