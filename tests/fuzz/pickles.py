"""Pickles that are damaged or forged, in the two kinds of files that hold one.

What is read must be what Python's own reader finds in the same bytes, once it is known
to be harmless.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from scalinglaw.datasets import load_images, read_published
from scalinglaw.datasets._pickles import read_pickle

from .harness import Finding

_HEADER = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }"
_OPCODES = [opcode.code.encode("latin-1") for opcode in pickletools.opcodes]
_NAMES = (
    b"numpy\ndtype", b"numpy\nndarray", b"numpy.core.multiarray\n_reconstruct",
    b"numpy._core.multiarray\nscalar", b"numpy.core.numeric\n_frombuffer",
    b"_codecs\nencode", b"builtins\neval", b"os\nsystem", b"numpy\nload",
    b"builtins\ngetattr", b"numpy\nrecarray", b"__builtin__\nbytes",
)  # fmt: skip


def case(rng: np.random.Generator) -> None:
    """Read one pickle by every way that leads to the reader."""
    raw = _forged(rng) if rng.random() < 0.5 else _damaged(rng, _whole(rng))
    errors = []
    with tempfile.TemporaryDirectory() as folder:
        for read in (_read, _paper, _cifar):
            try:
                read(raw, folder)
            except ValueError as error:
                errors.append(error)
    if len(errors) == 3:
        raise errors[-1]


def _read(raw: bytes, _: str) -> None:
    found = read_pickle(raw)
    try:
        expected = _Known(io.BytesIO(raw), encoding="bytes").load()
    except Exception as error:
        raise Finding(
            f"read what Python does not: {error!r} in {raw[:200]!r}"
        ) from error
    if not _same(found, expected):
        raise Finding(f"read {found!r}, not {expected!r}"[:400])


def _paper(raw: bytes, folder: str) -> None:
    path = Path(folder, "curves.npy")
    header = _HEADER + b" " * 20 + b"\n"
    start = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header))
    path.write_bytes(start + header + raw)
    read_published(path)


def _cifar(raw: bytes, folder: str) -> None:
    place = Path(folder, "cifar-100-python")
    place.mkdir()
    (place / "train").write_bytes(raw)
    whole = {"data": np.zeros((1, 3072), np.uint8), "fine_labels": [1]}
    (place / "test").write_bytes(pickle.dumps(whole, 2))
    X, y = load_images("cifar100", root=folder)
    if X.dtype != np.uint8 or len(X) != len(y) or y.min() < 0 or y.max() > 99:
        raise Finding("images and labels that do not fit")


class _Known(pickle.Unpickler):
    """Python's reader, for bytes that ours has found harmless."""

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}\n{name}".encode() not in {*_NAMES[:6], _NAMES[-1]} | {
            b"numpy._core.multiarray\n_reconstruct",
            b"numpy.core.multiarray\nscalar",
            b"numpy._core.numeric\n_frombuffer",
        }:
            raise pickle.UnpicklingError(f"{module}.{name}")
        return super().find_class(module, name)


def _same(found: Any, expected: Any) -> bool:
    if isinstance(expected, np.ndarray) and expected.dtype == object:
        return _same(found, expected.item())
    if isinstance(found, dict):
        keys = [k.decode("latin-1") if isinstance(k, bytes) else k for k in expected]
        return list(found) == keys and all(
            map(_same, found.values(), expected.values())
        )
    if isinstance(found, list | tuple):
        return len(found) == len(expected) and all(map(_same, found, expected))
    if isinstance(found, np.ndarray | np.generic):
        return (
            np.shape(found) == np.shape(expected)
            and np.asarray(found).astype(expected.dtype).tobytes()
            == np.asarray(expected).tobytes()
        )
    return found == expected or (found != found and expected != expected)


def _whole(rng: np.random.Generator) -> bytes:
    """Return a pickle as the paper's or CIFAR's files hold it, or a similar one."""
    protocol = int(rng.integers(0, pickle.HIGHEST_PROTOCOL + 1))
    n = int(rng.integers(1, 6))
    contents: list[Any] = [
        {
            "P_arr": np.arange(1, n + 1) * 100,
            "seed_arr": np.arange(3),
            "log_x_grid": np.geomspace(1, 100, 5),
            "mean_val_error_arr": rng.uniform(0.1, 0.9, (n, 5)),
            "l_0_arr": np.full(n, 50.0),
            "gamma_1": np.float64(0.5),
        },
        {
            "data": rng.integers(0, 256, (n, 3072)).astype(np.uint8),
            "fine_labels": rng.integers(0, 100, n).tolist(),
        },
        {"x": [1, 2.5, None, True, "text", b"bytes"], "y": (1, (2, 3)), "z": [[1], []]},
        np.array(["a", "bc"]) if n > 3 else np.arange(n) > 1,
    ]
    content = contents[int(rng.integers(len(contents)))]
    if rng.random() < 0.5 and isinstance(content, dict):
        content = np.array(content, dtype=object)
    return pickle.dumps(content, protocol)


def _damaged(rng: np.random.Generator, raw: bytes) -> bytes:
    """Return the pickle with some bytes changed, lost, doubled or moved."""
    data = bytearray(raw)
    for _ in range(int(rng.integers(0, 4))):
        place = int(rng.integers(len(data) + 1))
        # Half of the damage hits the few bytes that are no pixels.
        if rng.random() < 0.5:
            place = int(rng.integers(min(len(data), 200) + 1))
        length = int(rng.integers(1, 9))
        way = rng.integers(5)
        if way == 0 and place < len(data):
            data[place] ^= 1 << int(rng.integers(8))
        elif way == 1:
            data[place : place + length] = rng.bytes(length)
        elif way == 2:
            del data[place : place + length]
        elif way == 3:
            data[place:place] = data[place : place + length]
        elif way == 4 and rng.random() < 0.3:
            del data[place:]
    return bytes(data)


def _forged(rng: np.random.Generator) -> bytes:
    """Return an array with a forged part, or a random program."""
    if rng.random() < 0.4:
        return _program(rng)
    code = _one(rng, "f8", "i8", "u1", "U3", "S4", "O8", "V8", "f2", "b1", "c8", "O",
                "M8[s]", "f8,f8", "i16", "U999999", "U1000000", "f8" * 999)  # fmt: skip
    dtype = b"cnumpy\ndtype\n" + _text(code) + b"\x89\x88\x87R"
    if rng.random() < 0.9:
        fields = _one(
            rng, b"NNN", b"NNN", b"NNN", b"N" + _text("a")[:0] + b"))", b")NN"
        )
        size = _one(rng, -1, -1, 8, 1, 2**31 - 1)
        state = b"(" + _integer(_one(rng, 3, 3, 3, 4, 1)) + _text(_one(rng, *"<<<>|=x"))
        state += fields + _integer(size) + _integer(_one(rng, -1, 8)) + b"K\x00t"
        dtype += state + b"b"
    n = int(rng.integers(0, 4))
    shape = _one(rng, (n,), (n,), (n, 1), (1, n), (-1,), (2**31 - 1, 2**31 - 1), ())
    data = rng.bytes(int(_one(rng, 8 * n, 8 * n, 8 * n, n, 4 * n, 12 * n, 7)))
    raw = _one(rng, b"U", b"C") + bytes([len(data)]) + data
    if rng.random() < 0.2:
        raw = _one(rng, b"]", b"N", b"](N" + b"e", b"X\xff\xff\xff\x7f", b"K\x01")
    array = _one(rng, b"cnumpy.core.multiarray\n_reconstruct\n",
                 b"cnumpy._core.multiarray\n_reconstruct\n")  # fmt: skip
    array += _one(rng, b"cnumpy\nndarray\n", b"cnumpy\nndarray\n", b"cnumpy\ndtype\n")
    array += b"K\x00\x85U\x01b\x87R(" + _integer(_one(rng, 1, 1, 1, 2))
    array += b"(" + b"".join(map(_integer, shape)) + b"t" + dtype
    array += _one(rng, b"\x88", b"\x89", b"N") + raw + b"tb"
    key = _one(rng, "P_arr", "l_0_arr", "data", "fine_labels")
    return b"\x80\x02}(" + _text(key) + array + b"u."


def _program(rng: np.random.Generator) -> bytes:
    """Return opcodes in any order, with arguments of the right form or none."""
    parts = [b"\x80\x04"] if rng.random() < 0.5 else []
    for _ in range(int(rng.integers(1, 30))):
        parts.append(
            _one(
                rng,
                _OPCODES[int(rng.integers(len(_OPCODES)))],
                b"c" + _NAMES[int(rng.integers(len(_NAMES)))] + b"\n",
                _integer(int(rng.integers(-3, 300))),
                _text("ab"),
                b"r" + rng.bytes(4),
                b"q" + bytes([int(rng.integers(4))]),
                b"h" + bytes([int(rng.integers(4))]),
                b"\x8e" + struct.pack("<Q", int(rng.integers(2**62))),
                b"\x95" + struct.pack("<Q", int(rng.integers(2**62))),
                b"T" + struct.pack("<i", int(rng.integers(-5, 2**31))),
                b"(",
                b"t",
                b"]",
                b"}",
                b"a",
                b"e",
                b"s",
                b"u",
                b"R",
                b"b",
                b"\x85",
            )
        )
    if rng.random() < 0.1:
        parts.append(_one(rng, b"]", b"(", b")", b"}") * 50_000)
    return b"".join(parts) + b"."


def _one(rng: np.random.Generator, *choices: Any) -> Any:
    return choices[int(rng.integers(len(choices)))]


def _text(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text)) + text.encode()


def _integer(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)
