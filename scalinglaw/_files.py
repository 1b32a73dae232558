"""Files that a reader sees all of or none, and one error for those that are damaged."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["atomic_write", "damaged_file_named"]


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a path beside another to write to, and put it in the other's place.

    Should writing fail, or be interrupted, nothing is left of it.
    """
    # tempfile would make a file that its owner alone may read.
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        yield part
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def damaged_file_named(path: Path | str, kind: str) -> Iterator[None]:
    """Turn whatever parsing bytes of a file raises into one ValueError that names it.

    Libraries answer damage with KeyError, RecursionError, OSError, zlib.error and
    more. Read the bytes before: a file that is missing, or may not be read, is not
    damaged.
    """
    try:
        yield
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise ValueError(f"{path} is not a readable {kind}: {reason}") from error
