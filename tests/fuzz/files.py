"""CSV and Parquet files that were damaged on the way, or never were what they seem.

A Parquet file says by checksums whether it is whole: what is read is the table that was
written. A CSV file cannot: what is read is, cell by cell, what its text spells.
"""

from __future__ import annotations

import csv
import io
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from scalinglaw import read_trajectories, write_trajectories
from scalinglaw.datasets import make_trajectories

from .harness import Finding
from .values import one

_TOKENS = (
    b",", b"\n", b"\r\n", b'"', b"'", b"\x00", b"\xff\xfe", b"nan", b"inf", b"-inf",
    b"1e999", b"9" * 400, b"=1+1", b";", b"\t", b" ", b"seed", b"train_size", b"1_000",
    b"0x10", b"1,5", b"True", b"None", b"\xc3", b"\xef\xbb\xbf", b"1e-400", b"#", b"\\",
    b"12:00",
)  # fmt: skip


def case(rng: np.random.Generator) -> None:
    """Damage one file and read it."""
    suffix = ".csv" if rng.random() < 0.5 else ".parquet"
    number = int(rng.integers(3))
    whole = _whole(suffix, number)
    data = _damaged(rng, whole, suffix)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"table{suffix}")
        path.write_bytes(data)
        table = read_trajectories(path)
    if suffix == ".parquet" or data == whole:
        if not table.equals(_table(number)):
            raise Finding("another table than was written")
    else:
        _compare_with_text(table, data)


@cache
def _table(number: int) -> pd.DataFrame:
    table = make_trajectories(
        train_sizes=(100, 200), n_seeds=2, n_records=10, random_state=number
    )
    if number == 1:
        table = table.assign(model="a, b", note="words")
    return table


@cache
def _whole(suffix: str, number: int) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"table{suffix}")
        write_trajectories(_table(number), path)
        return path.read_bytes()


def _damaged(rng: np.random.Generator, whole: bytes, suffix: str) -> bytes:
    data = bytearray(whole)
    for _ in range(int(rng.integers(0, 4))):
        place, length = int(rng.integers(len(data) + 1)), int(rng.integers(1, 200))
        # The names of a CSV file, and the footer of a Parquet file.
        if rng.random() < 0.4:
            near = int(rng.integers(min(len(data), 300) + 1))
            place = near if suffix == ".csv" else len(data) - near
        way = int(rng.integers(7))
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
        elif way == 5:
            data[place:place] = one(rng, _TOKENS)
        elif way == 6:
            data[place : place + length] = bytes(length)
    return bytes(data)


def _compare_with_text(table: pd.DataFrame, data: bytes) -> None:
    """Compare numbers with those that the text spells, read by Python alone."""
    rows = [
        row
        for row in csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""))
        if row
    ]
    names, cells = rows[0], rows[1:]
    if len(cells) != len(table):
        raise Finding(f"{len(table)} rows of {len(cells)}")
    for name in (
        "train_size",
        "seed",
        "epoch",
        "test_error",
        "log_spectral_complexity",
    ):
        if name not in names or name not in table:
            continue
        column = [row[names.index(name)].strip() for row in cells]
        try:
            spelt = np.array([float(cell) if cell else np.nan for cell in column])
        except ValueError:
            continue  # Missing values and texts have words of their own.
        found = table[name].to_numpy(dtype=float)
        if not np.array_equal(found, spelt, equal_nan=True):
            first = int(np.argmax(found != spelt))
            raise Finding(f"{name}: {column[first]!r} was read as {found[first]!r}")
