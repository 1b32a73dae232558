"""The samples that a study trains on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ._description import Study
    from ._models import Model

__all__ = ["load_data", "samples_for"]


def load_data(study: Study) -> tuple[np.ndarray, np.ndarray]:
    """Return the samples and labels of a study."""
    data, folder = study.data, study.path.parent
    if data.name is not None:
        from ..datasets import load_images

        root = None if data.root is None else folder / data.root
        return load_images(data.name, root=root, download=data.download)
    X, y = _read_arrays(folder / str(data.file), f"{study.path}: data.file")
    if X.ndim < 2 or y.shape[:1] != X.shape[:1]:
        raise ValueError(
            f"{study.path}: data.file must hold a row of X and a label in y for each "
            f"sample, got shapes {X.shape} and {y.shape}."
        )
    return X, y


def samples_for(model: Model, X: np.ndarray) -> np.ndarray:
    """Return samples in the form that a model takes."""
    if model.kind != "perceptron":
        return X
    flat = X.reshape(len(X), -1)
    return flat / 255.0 if X.dtype == np.uint8 else flat


def _read_arrays(file: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the arrays X and y of an .npz."""
    arrays: dict[str, np.ndarray] = {}
    try:
        # numpy would leave a file open that is no archive.
        with open(file, "rb") as opened:
            # It may hold pickles, which could run code: they are refused.
            loaded = np.load(opened, allow_pickle=False)
            if not isinstance(loaded, np.lib.npyio.NpzFile):
                raise ValueError("it holds a single array.")
            known = loaded.files
            arrays.update((key, loaded[key]) for key in ("X", "y") if key in known)
    except FileNotFoundError:
        raise FileNotFoundError(f"{name} = {str(file)!r} is not there.") from None
    except Exception as error:
        # Damage shows as an error of the archive, of its compression or of numpy.
        raise ValueError(
            f"{name} = {str(file)!r} is damaged, or no .npz of plain arrays "
            f"(numpy.savez(file, X=X, y=y) writes one): {error}"
        ) from error
    for key in ("X", "y"):
        if key not in arrays:
            raise ValueError(
                f"{name} lacks the array {key}; it has {', '.join(known) or 'none'}."
            )
    return arrays["X"], arrays["y"]
