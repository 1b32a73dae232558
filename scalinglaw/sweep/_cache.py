"""Finished runs on disk: written whole or not at all, found again by content.

A folder holds one subfolder per sweep, named after the digest of everything
that the sweep's runs have in common, and in it two files per finished run: the
table (Parquet) and a record (JSON) with the table's checksum. The record is
written last, so that a run without a valid one was not finished.
"""

from __future__ import annotations

import datetime
import hashlib
import io
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from .._files import atomic_write
from .._validation import plural, warn_user
from ..exceptions import TrajectoryWarning
from ..trajectories import (
    check_trajectories,
    concat_trajectories,
    norm_columns,
    sort_trajectories,
)
from ._key import library_versions, run_key
from ._outcomes import Run

__all__ = ["RunCache", "read_cache", "read_records"]


@dataclass(frozen=True)
class RunCache:
    """The folder of one sweep; small, so that each worker gets a copy.

    Parameters
    ----------
    folder : Path
        Where the runs of this sweep are.
    key : str
        Digest of what they have in common.
    """

    folder: Path
    key: str

    @classmethod
    def open(
        cls,
        cache_dir: str | os.PathLike[str],
        name: str,
        determinants: Mapping[str, Any],
        cache_key: str | None,
    ) -> RunCache:
        """Return the cache of a sweep, without touching the disk.

        Parameters
        ----------
        cache_dir : path-like
            Folder shared by any number of sweeps.
        name : str
            Makes the subfolder legible; the digest follows it and tells subfolders
            apart, also where a file system takes two names for one.
        determinants : dict
            Everything that determines the runs, the run's own size and seed
            left out.
        cache_key : str or None
            What the user says about the rest.

        Returns
        -------
        RunCache
            Cache of this sweep.
        """
        key = run_key(determinants, cache_key)
        legible = re.sub(r"[^A-Za-z0-9_]", "_", name)[:60]
        return cls(Path(cache_dir) / f"{legible}-{key}", key)

    def prepare(self, description: Mapping[str, Any]) -> None:
        """Create the folder and describe the sweep in it.

        Parameters
        ----------
        description : dict
            What people want to know about the sweep, in JSON's types.

        Raises
        ------
        OSError
            If the folder cannot be written; better before the first run.
        """
        with self._explained("cannot be written", "No run was started"):
            self.folder.mkdir(parents=True, exist_ok=True)
            text = {"key": self.key, "versions": library_versions()} | dict(description)
            _write_whole(self.folder / "sweep.json", _json_bytes(text))

    def read(self, run: Run) -> pd.DataFrame | None:
        """Return the table of a finished run, or None.

        Parameters
        ----------
        run : Run
            The run to look for.

        Returns
        -------
        DataFrame or None
            None where there is no entry.

        Raises
        ------
        ValueError, PermissionError
            If there is a damaged one, or one that may not be read. The run can be
            trained again all the same: writing replaces the entry.
        OSError
            If an entry can be neither read nor written again.
        """
        path = self._path(run, ".json")
        try:
            record = _read_record(path)
            if record.get("random_state") != run.random_state:
                raise ValueError(f"{path.name} has another random_state.")
            return _read_table(path, record, self.key)
        except FileNotFoundError:
            return None
        except PermissionError:
            raise  # replacing a file needs no leave to read it
        except OSError as error:
            raise OSError(
                error.errno,
                f"cache_dir holds an entry that cannot be read ({error.strerror}): "
                f"{error.filename or path}. Remove it, or choose another cache_dir",
            ) from error

    def write(
        self,
        run: Run,
        table: pd.DataFrame,
        seconds: float,
        device: str,
    ) -> pd.DataFrame:
        """Keep a finished run.

        Parameters
        ----------
        run : Run
            The run.
        table : DataFrame
            Its trajectory.
        seconds : float
            How long it took.
        device : str
            Where it was trained.

        Returns
        -------
        DataFrame
            The table as it will be read, so that a resumed sweep and an
            uninterrupted one hold the same bits.

        Raises
        ------
        OSError
            If the disk is full or the folder cannot be written.
        """
        buffer = io.BytesIO()
        table.to_parquet(buffer, index=False)
        data = buffer.getvalue()
        record = {
            "key": self.key,
            "train_size": run.train_size,
            "seed": run.seed,
            "random_state": run.random_state,
            "rows": len(table),
            "columns": list(table.columns),
            "sha256": hashlib.sha256(data).hexdigest(),
            "seconds": round(seconds, 3),
            "device": device,
            "versions": library_versions(),
            "finished": datetime.datetime.now(datetime.timezone.utc).isoformat(),
        }
        known = "Runs finished before are intact: fit again to go on with the rest"
        with self._explained("could not take a finished run", known):
            _write_whole(self._path(run, ".parquet"), data)
            _write_whole(self._path(run, ".json"), _json_bytes(record))
        return _parse_table(data)

    def _path(self, run: Run, suffix: str) -> Path:
        return self.folder / (_stem(run.train_size, run.seed) + suffix)

    @contextmanager
    def _explained(self, problem: str, consequence: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            # With an errno, OSError becomes PermissionError and so on by itself.
            raise OSError(
                error.errno,
                f"cache_dir {problem} ({error.strerror}): {self.folder}. "
                f"{consequence}; free some space or choose another cache_dir",
            ) from error


def read_cache(cache_dir: str | os.PathLike[str]) -> pd.DataFrame:
    """Return the finished runs of a cache folder as one table.

    Parameters
    ----------
    cache_dir : path-like
        A folder that :class:`TrajectorySweep` was given as ``cache_dir``, or
        one of its subfolders.

    Returns
    -------
    DataFrame
        The trajectory table. Where the folder holds several sweeps, a
        ``model`` column tells them apart by the names of their subfolders, and
        the table has the columns that all of them recorded.

    Raises
    ------
    ValueError
        If the folder holds no finished run, or sweeps without a norm in common.

    Warns
    -----
    TrajectoryWarning
        If damaged runs, or columns of some sweeps only, are left out.
    """
    folder = Path(cache_dir)
    tables = {}
    for description in sorted(
        [*folder.glob("sweep.json"), *folder.glob("*/sweep.json")]
    ):
        sweep = description.parent
        runs = list(_intact_runs(sweep))
        if runs:
            # File names sort 100 before 20; a sweep sorts by number.
            tables[sweep.name] = sort_trajectories(concat_trajectories(runs))
    if not tables:
        raise ValueError(
            f"{folder} holds no finished run. Give the folder that was cache_dir of "
            "a TrajectorySweep, once it has finished its first run."
        )
    if len(tables) == 1:
        return next(iter(tables.values()))
    return concat_trajectories(_in_common(tables, folder))


def _in_common(
    tables: dict[str, pd.DataFrame], folder: Path
) -> dict[str, pd.DataFrame]:
    """Return the tables of several sweeps with the columns that all of them have."""
    columns = [set(table.columns) for table in tables.values()]
    common = set.intersection(*columns)
    rest = sorted(set.union(*columns) - common)
    norms = {name: norm_columns(table) for name, table in tables.items()}
    if all(norms.values()) and not common.intersection(*norms.values()):
        recorded = "; ".join(f"{name}: {', '.join(norms[name])}" for name in norms)
        raise ValueError(
            f"the sweeps in {folder} have no norm in common ({recorded}). Read one "
            "sweep: give its subfolder in place of the folder."
        )
    if rest:
        warn_user(
            f"{', '.join(rest)} left out: not all of the {len(tables)} sweeps in "
            f"{folder} recorded them. A sweep's subfolder has all that it recorded.",
            TrajectoryWarning,
        )
    return {
        name: table[[column for column in table.columns if column in common]]
        for name, table in tables.items()
    }


def read_records(cache_dir: str | os.PathLike[str]) -> pd.DataFrame:
    """Return how each finished run of a cache folder was made.

    Parameters
    ----------
    cache_dir : path-like
        A folder that :class:`TrajectorySweep` was given as ``cache_dir``, or
        one of its subfolders.

    Returns
    -------
    DataFrame
        One row per run: ``sweep`` (name of the subfolder), ``train_size``,
        ``seed``, ``seconds``, ``device``, ``finished`` (ISO 8601, UTC). Damaged
        records are left out.
    """
    columns = ["sweep", "train_size", "seed", "seconds", "device", "finished"]
    rows = []
    folder = Path(cache_dir)
    for path in sorted(
        [*folder.glob("train_size=*.json"), *folder.glob("*/train_size=*.json")]
    ):
        try:
            record = _read_record(path)
            rows.append([path.parent.name, *(record[name] for name in columns[1:])])
        except (ValueError, KeyError, TypeError, OSError):
            continue
    table = pd.DataFrame(rows, columns=columns)
    return table.sort_values(columns[:3], ignore_index=True)


def _intact_runs(sweep: Path) -> Iterator[pd.DataFrame]:
    damaged = 0
    key = _key_of(sweep)
    for path in sorted(sweep.glob("train_size=*.json")):
        try:
            yield _read_table(path, _read_record(path), key)
        except (ValueError, FileNotFoundError, IsADirectoryError):
            damaged += 1
    if damaged:
        warn_user(
            f"{plural(damaged, 'damaged run')} left out of {sweep}: fit the sweep "
            "again to train them anew.",
            TrajectoryWarning,
        )


def _key_of(sweep: Path) -> Any:
    """Return the key that a sweep's folder was made for, None if it is lost."""
    try:
        return json.loads(_read_plain(sweep / "sweep.json"))["key"]
    except (ValueError, KeyError, TypeError, RecursionError, OSError):
        return None


def _read_plain(path: Path) -> bytes:
    """Read a file of this folder; ValueError where it is a link, or a device."""
    mode = path.lstat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise ValueError(f"{path.name} is a link, or no file.")
    return path.read_bytes()


def _read_record(path: Path) -> dict[str, Any]:
    """Read what is known of a run; ValueError where it is not what was written."""
    try:
        record = json.loads(_read_plain(path))
    except RecursionError:
        raise ValueError(f"{path.name} is nested too deeply.") from None
    if not isinstance(record, dict) or "sha256" not in record:
        raise ValueError(f"{path.name} is not the record of a run.")
    stem = _stem(record.get("train_size"), record.get("seed"))
    if path.stem != stem:
        raise ValueError(f"{path.name} is the record of another run ({stem}).")
    return record


def _read_table(
    record_path: Path, record: Mapping[str, Any], key: str | None
) -> pd.DataFrame:
    """Read the table of a run; ValueError where it is not the one of the record."""
    if key is not None and record.get("key") != key:
        raise ValueError(f"{record_path.name} belongs to another sweep.")
    path = record_path.with_suffix(".parquet")
    try:
        data = _read_plain(path)
    except FileNotFoundError:
        raise ValueError(f"{path.name} is missing.") from None
    if hashlib.sha256(data).hexdigest() != record["sha256"]:
        raise ValueError(
            f"{path.name} does not have the checksum of its record ({len(data)} bytes)."
        )
    table = _parse_table(data)
    # A checksum says that the bytes were written, and not for which run.
    for name in ("train_size", "seed"):
        if not (table[name] == record[name]).all():
            raise ValueError(f"{path.name} holds another {name}.")
    if len(table) != record.get("rows") or list(table) != record.get("columns"):
        raise ValueError(f"{path.name} has other rows or columns than its record.")
    return table


def _parse_table(data: bytes) -> pd.DataFrame:
    try:
        table = pd.read_parquet(io.BytesIO(data))
    except Exception as error:  # of pyarrow, which has many
        raise ValueError(f"no table can be read from it ({error}).") from error
    return check_trajectories(table)


def _stem(train_size: Any, seed: Any) -> str:
    return f"train_size={train_size},seed={seed}"


def _json_bytes(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=1).encode() + b"\n"


def _write_whole(path: Path, data: bytes) -> None:
    """Write a file so that any reader, at any moment, sees all of it or none."""
    with atomic_write(path) as part, part.open("xb") as file:
        file.write(data)
        file.flush()
        # Without this, a power failure can leave the new name on old blocks.
        os.fsync(file.fileno())
