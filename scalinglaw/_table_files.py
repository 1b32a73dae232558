"""Tables as bytes of CSV and Parquet, read without repair and with checks of damage."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

__all__ = [
    "check_inflation",
    "parse_csv",
    "parse_parquet",
    "write_csv",
    "write_parquet",
]

# A file of some kilobytes may ask for any number of columns, and by compression for
# any number of cells. What no log needs is refused before memory is taken.
_MAX_COLUMNS = 10_000
_FREE_BYTES = 2**30
_MAX_INFLATION = 200
# From pandas 3.1 on, the default parser gives back every bit.
_CSV_OPTIONS: dict[str, Any] = (
    {}
    if tuple(map(int, pd.__version__.split(".")[:2])) >= (3, 1)
    else {"float_precision": "round_trip"}
)
_DIGEST = b"scalinglaw.sha256"
_NO_DIGEST = b"0" * 64
# In the footer, a key and its value are apart by the length of the value.
_FIND_DIGEST = re.compile(re.escape(_DIGEST) + rb".{1,4}?([0-9a-f]{64})", re.DOTALL)


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV, from which every float64 reads back the same."""
    table.to_csv(path, index=False)


def parse_csv(
    data: bytes, delimiter: str = ",", *, index_allowed: bool = False
) -> pd.DataFrame:
    """Return the table that the bytes of a CSV file spell, cell by cell.

    Parameters
    ----------
    data : bytes
        Content of the file, in UTF-8.
    delimiter : str, default=","
        What stands between cells.
    index_allowed : bool, default=False
        Whether the first column may have no name, as the index of a DataFrame that
        was written along has none; it is left out.

    Returns
    -------
    DataFrame
        One row for each line that is not empty.

    Raises
    ------
    ValueError
        If a name is empty or there twice, or a row is longer or shorter than the
        names.
    """
    content = data.decode("utf-8-sig")
    names = _check_shape(content, delimiter, index_allowed)
    # pandas takes "NA", "None" and the like for missing even where a dtype or a
    # converter says that they are text; with a mark in front they are not.
    marked = ["model"] if "model" in names else []
    table: pd.DataFrame = pd.read_csv(
        io.StringIO(content, newline=""),
        sep=delimiter,
        index_col=False,
        converters=dict.fromkeys(marked, "={}".format),
        low_memory=False,
        **_CSV_OPTIONS,
    )
    for name in marked:
        cells = table[name].str.removeprefix("=")
        table[name] = cells.where(cells != "")
    return table.iloc[:, 1:] if names[0] == "" else table


def _check_shape(content: str, delimiter: str, index_allowed: bool) -> list[str]:
    """Return the names of the columns of a CSV whose rows are all as long as they."""
    rows = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter)
    names: list[str] = []
    for number, row in enumerate(rows, start=1):
        if not row:
            continue  # an empty line
        if not names:
            names = _check_header(row, index_allowed)
        elif len(row) != len(names):
            raise ValueError(
                f"row {number} (line {rows.line_num}) has {len(row)} cells under "
                f"{len(names)} names."
            )
    if not names:
        raise ValueError("it is empty.")
    return names


def _check_header(names: list[str], index_allowed: bool) -> list[str]:
    if len(names) > _MAX_COLUMNS:
        raise ValueError(f"it has {len(names)} columns, of {_MAX_COLUMNS} at most.")
    named = names[1:] if index_allowed else names
    if "" in named:
        raise ValueError(
            f"column {names.index('') + 1} has no name. If it is the index of a "
            "DataFrame, write the file with index=False."
        )
    if len(set(names)) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise ValueError(f"it has two columns named {twice!r}.")
    return names


def write_parquet(table: pd.DataFrame, path: Path) -> None:
    """Write a table as Parquet, with checksums of its pages and of the whole file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = pa.Table.from_pandas(table, preserve_index=False)
    metadata = {**(content.schema.metadata or {}), _DIGEST: _NO_DIGEST}
    # pandas reads them from there; attributes that are no JSON stay behind.
    with suppress(TypeError, ValueError):
        metadata[b"PANDAS_ATTRS"] = json.dumps(table.attrs).encode()
    buffer = io.BytesIO()
    pq.write_table(
        content.replace_schema_metadata(metadata), buffer, write_page_checksum=True
    )
    data = buffer.getvalue()
    place = _place_of_digest(data)
    if place is None:
        raise RuntimeError("pyarrow has written a footer without the checksum's place.")
    digest = hashlib.sha256(data).hexdigest().encode()
    path.write_bytes(data[: place.start] + digest + data[place.stop :])


def parse_parquet(data: bytes) -> pd.DataFrame:
    """Return the table in the bytes of a Parquet file.

    Parameters
    ----------
    data : bytes
        Content of the file. Files of :func:`write_parquet` carry a checksum of all of
        it, which is compared before anything is parsed; of others the checksums of
        pages are compared, where there are any.

    Returns
    -------
    DataFrame
        The table.

    Raises
    ------
    ValueError
        If a checksum is wrong, or the table is out of proportion to the file.
    Exception
        Whatever pyarrow raises at damaged bytes.
    """
    import pyarrow.parquet as pq

    place = _place_of_digest(data)
    if place is not None:
        rest = data[: place.start] + _NO_DIGEST + data[place.stop :]
        if hashlib.sha256(rest).hexdigest().encode() != data[place]:
            raise ValueError("it does not have the checksum that it was written with.")
    file = pq.ParquetFile(io.BytesIO(data), page_checksum_verification=True)
    metadata = file.metadata
    texts = [
        field.name
        for field in file.schema_arrow
        if str(field.type) in ("string", "large_string", "binary", "large_binary")
    ]
    _check_size(metadata, len(data))
    options: dict[str, Any] = {"page_checksum_verification": True}
    if texts:
        _check_text(data, texts, options)
    return pd.read_parquet(io.BytesIO(data), engine="pyarrow", **options)


def _place_of_digest(data: bytes) -> slice | None:
    """Return where the checksum stands in the footer of a Parquet file."""
    start = data.rfind(_DIGEST)
    found = _FIND_DIGEST.match(data, start) if start >= 0 else None
    return None if found is None else slice(*found.span(1))


def _check_size(metadata: Any, n_bytes: int) -> None:
    if metadata.num_columns > _MAX_COLUMNS:
        raise ValueError(
            f"it has {metadata.num_columns} columns, of {_MAX_COLUMNS} at most."
        )
    groups = range(metadata.num_row_groups)
    rows = max(
        metadata.num_rows, sum(metadata.row_group(group).num_rows for group in groups)
    )
    check_inflation(8 * rows * metadata.num_columns, n_bytes)


def check_inflation(size: int, n_bytes: int) -> None:
    """Refuse a table of `size` bytes that a file of `n_bytes` would become.

    Parameters
    ----------
    size, n_bytes : int
        Bytes in memory, and of the file.
    """
    if size > max(_FREE_BYTES, _MAX_INFLATION * n_bytes):
        raise ValueError(
            f"its {n_bytes} bytes would become a table of {size} bytes: "
            "it was made to fill memory."
        )


def _check_text(data: bytes, texts: list[str], options: dict[str, Any]) -> None:
    """Refuse text that a dictionary repeats until it fills memory."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    # Read as dictionaries, repeated text takes the memory of its indices only.
    table = pq.read_table(
        io.BytesIO(data), columns=texts, read_dictionary=texts, **options
    )
    size = 0
    for column in table.columns:
        for chunk in column.chunks:
            lengths = np.asarray(pc.binary_length(chunk.dictionary).fill_null(0))
            indices = np.asarray(chunk.indices.fill_null(0))
            size += int(lengths[indices].astype(np.int64).sum()) if len(lengths) else 0
    check_inflation(size, len(data))
