"""Files that any reader, at any moment, sees all of or none."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["atomic_write"]


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
