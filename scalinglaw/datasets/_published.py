"""The paper's aggregated data files, read without executing what they hold.

The files are pickled dictionaries inside ``.npy``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .._validation import check_path
from ..trajectories import check_trajectories, concat_trajectories
from ._pickles import numbers_of, object_of_npy, read_pickle

__all__ = ["read_published"]

_NEEDED = ("P_arr", "log_x_grid", "mean_val_error_arr", "l_0_arr")
_SLICES = {
    "norms": ("l1", "frobenius", "group_21", "spectral_complexity"),
    "wd": ("weight_decay_0", "weight_decay_1", "weight_decay_2"),
}
_OWN_EXPONENTS = ("gamma_1", "err_gamma_1", "gamma_2", "err_gamma_2", "k1", "k2")


def read_published(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read one aggregated data file of the paper into a trajectory table.

    Parameters
    ----------
    path : path-like
        A ``.npy`` file of the paper's repository: plain, ``_SGD``, ``_wd`` (three
        weight decays) or ``_norms`` (four norms).

    Returns
    -------
    DataFrame
        One run per train size, averaged over seeds: ``train_size``, ``seed``
        (0), ``epoch`` (a running number), ``test_error``,
        ``log_spectral_complexity`` and ``log_norm_opt`` (natural logarithms).
        Files with several weight decays or norms give one table with a ``model``
        column, one model per slice; the norm of each slice is then in the same
        column. ``.attrs["published"]`` holds the file's own numbers.

    Raises
    ------
    ValueError
        If the file is damaged, is of another form, or holds anything but
        numbers in numpy's arrays; nothing in it is executed. Every damage ends in
        this error, which names the file.
    FileNotFoundError
        If there is no such file.

    References
    ----------
    .. [1] D'Amico, Bocchi and Negri (2025), arXiv:2505.13230.
    """
    path = check_path(path, "path")
    content = _load(path)
    missing = [name for name in _NEEDED if name not in content]
    if missing:
        raise ValueError(
            f"{path} lacks {', '.join(missing)}: it is not an aggregated file of the "
            f"paper, it holds {ascii(', '.join(content)[:200])[1:-1] or 'nothing'}."
        )
    used = [name for name in (*_NEEDED, *_OWN_EXPONENTS, "seed_arr") if name in content]
    arrays = {}
    for name in used:
        try:
            arrays[name] = numbers_of(content[name]).astype(float)
        except ValueError as error:
            raise ValueError(f"{path} is damaged at {name}: {error}.") from error
    table = _to_table(path, {name: arrays[name] for name in _NEEDED})
    table.attrs["published"] = {
        name: arrays[name].tolist() for name in _OWN_EXPONENTS if name in arrays
    } | {"n_seeds": arrays["seed_arr"].size if "seed_arr" in arrays else 1}
    return table


def _to_table(path: Path, arrays: dict[str, np.ndarray]) -> pd.DataFrame:
    sizes, grid = arrays["P_arr"], arrays["log_x_grid"]
    errors, optima = arrays["mean_val_error_arr"], arrays["l_0_arr"]
    if sizes.ndim != 1 or errors.ndim not in (2, 3):
        raise _wrong_shape(path, arrays)
    if errors.ndim == 2:
        return _one_table(path, sizes, grid, errors, optima)
    names = next(
        (names for key, names in _SLICES.items() if path.stem.endswith(f"_{key}")),
        tuple(f"slice_{number}" for number in range(len(errors))),
    )
    if len(names) != len(errors):
        raise _wrong_shape(path, arrays)

    def part(values: np.ndarray, number: int, ndim: int) -> np.ndarray:
        return values[number] if values.ndim > ndim else values

    return concat_trajectories(
        {
            name: _one_table(
                path, sizes, part(grid, n, 1), part(errors, n, 2), part(optima, n, 1)
            )
            for n, name in enumerate(names)
        }
    )


def _one_table(
    path: Path,
    sizes: np.ndarray,
    grid: np.ndarray,
    errors: np.ndarray,
    optima: np.ndarray,
) -> pd.DataFrame:
    if errors.shape != (len(sizes), grid.size) or optima.shape != sizes.shape:
        raise _wrong_shape(
            path, {"P_arr": sizes, "log_x_grid": grid, "mean_val_error_arr": errors}
        )
    with np.errstate(invalid="ignore", divide="ignore"):
        log_grid, log_optima = np.log(grid), np.log(optima)
    rows = pd.DataFrame(
        {
            "train_size": np.repeat(sizes, grid.size),
            "seed": 0,
            "epoch": np.tile(np.arange(grid.size, dtype=float), len(sizes)),
            "test_error": errors.ravel(),
            "log_spectral_complexity": np.tile(log_grid, len(sizes)),
            "log_norm_opt": np.repeat(log_optima, grid.size),
        }
    )
    # The grid spans all runs; where a train size has none, the file has NaN.
    values = rows[["test_error", "log_spectral_complexity"]].to_numpy()
    present: np.ndarray = np.isfinite(values).all(axis=1)
    try:
        return check_trajectories(rows.loc[present])
    except ValueError as error:
        raise ValueError(
            f"{path} breaks a rule of the trajectory table: {error}"
        ) from error


def _wrong_shape(path: Path, arrays: dict[str, np.ndarray]) -> ValueError:
    shapes = ", ".join(f"{name} {values.shape}" for name, values in arrays.items())
    return ValueError(f"{path} holds arrays of shapes that do not fit: {shapes}.")


def _load(path: Path) -> dict[str, Any]:
    """Return the dictionary in an .npy file of one object."""
    try:
        content = read_pickle(object_of_npy(path.read_bytes()))
    except ValueError as error:
        raise ValueError(
            f"{path} is not a readable data file of the paper, or not a safe one: "
            f"{error}. Nothing in it was executed."
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no dictionary, as the paper's files do.")
    return content
