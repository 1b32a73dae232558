"""Images to train on, as bytes."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import numpy as np

from .._validation import check_option
from ._pickles import NumbersOnly

__all__ = ["load_images"]

_NAMES = ("digits", "fashion-mnist", "mnist", "cifar10", "cifar100")
# Where Debian's package dataset-fashion-mnist puts its files.
_DEBIAN = Path("/usr/share/datasets/fashion-mnist")
_IDX_FILES = (
    ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
)
_CIFAR = {
    "cifar10": (
        "cifar-10-batches-py",
        [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"],
        "labels",
    ),
    "cifar100": ("cifar-100-python", ["train", "test"], "fine_labels"),
}


def load_images(
    name: str, root: str | os.PathLike | None = None, download: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Load a set of images and its labels.

    Parameters
    ----------
    name : {"digits", "fashion-mnist", "mnist", "cifar10", "cifar100"}
        ``"digits"`` comes with scikit-learn; the others are read from torchvision's
        files.
    root : path-like, optional
        torchvision's root folder. By default the environment variable
        ``SCALINGLAW_DATA``, else ``~/.cache/scalinglaw``; Fashion-MNIST is also found
        where Debian's package ``dataset-fashion-mnist`` puts it.
    download : bool, default=False
        Let torchvision download what is missing.

    Returns
    -------
    X : ndarray of uint8 of shape (n_samples, channels, height, width)
        All images, the training part of the set first, then its test part.
    y : ndarray of int64 of shape (n_samples,)
        Labels from 0 on.

    Raises
    ------
    FileNotFoundError
        If the files are not there; the message names the way out.
    ValueError
        If `name` is unknown or a file is damaged.

    Notes
    -----
    The batches of CIFAR are pickles. They are read by an unpickler that knows numpy's
    constructors only, so that a file made by someone else cannot run code.

    Examples
    --------
    >>> from scalinglaw.datasets import load_images
    >>> X, y = load_images("digits")
    >>> X.shape, X.dtype
    ((1797, 1, 8, 8), dtype('uint8'))
    """
    check_option(name, "name", _NAMES)
    if name == "digits":
        return _load_digits()
    folder = _root(root)
    if download:
        _download(name, folder)
    if name in _CIFAR:
        return _load_cifar(name, folder)
    return _load_idx(name, folder, root is None)


def _root(root: str | os.PathLike | None) -> Path:
    if root is not None:
        return Path(root)
    default = Path.home() / ".cache" / "scalinglaw"
    return Path(os.environ.get("SCALINGLAW_DATA", default))


def _load_digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    # Sixteen grey levels, spread over the range of a byte.
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)
    return images[:, None], digits.target.astype(np.int64)


def _download(name: str, folder: Path) -> None:
    from torchvision import datasets

    classes: dict[str, Any] = {
        "fashion-mnist": datasets.FashionMNIST,
        "mnist": datasets.MNIST,
        "cifar10": datasets.CIFAR10,
        "cifar100": datasets.CIFAR100,
    }
    classes[name](folder, train=True, download=True)


def _missing(name: str, tried: list[Path]) -> FileNotFoundError:
    advice = "Give root, torchvision's folder, or download=True."
    if name == "fashion-mnist":
        advice += " On Debian: apt-get install dataset-fashion-mnist."
    places = ", ".join(map(str, tried))
    return FileNotFoundError(f"{name} was not found in {places}. {advice}")


def _load_idx(
    name: str, folder: Path, search_debian: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Read MNIST's format, compressed or not."""
    class_name = "FashionMNIST" if name == "fashion-mnist" else "MNIST"
    tried = [folder / class_name / "raw", folder]
    if name == "fashion-mnist" and search_debian:
        tried.append(_DEBIAN)
    first = _IDX_FILES[0][0]
    for place in tried:
        if (place / first).exists() or (place / f"{first}.gz").exists():
            parts = [
                (_read_idx(place, images, 3), _read_idx(place, labels, 1))
                for images, labels in _IDX_FILES
            ]
            X = np.concatenate([images for images, _ in parts])[:, None]
            y = np.concatenate([labels for _, labels in parts]).astype(np.int64)
            if len(X) != len(y):
                raise ValueError(
                    f"{place} holds {len(X)} images and {len(y)} labels: damaged files."
                )
            return X, y
    raise _missing(name, tried)


def _read_idx(place: Path, file_name: str, ndim: int) -> np.ndarray:
    path = place / file_name
    try:
        if path.exists():
            data = path.read_bytes()
        else:
            path = place / f"{file_name}.gz"
            data = gzip.decompress(path.read_bytes())
    except (OSError, EOFError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{path} is damaged: {error}") from error
    # Two zero bytes, the type (8: unsigned bytes), the number of dimensions, sizes.
    if len(data) < 4 + 4 * ndim or data[:4] != bytes([0, 0, 8, ndim]):
        raise ValueError(f"{path} is not an idx file of {ndim} dimensions.")
    shape = np.frombuffer(data, dtype=">i4", count=ndim, offset=4).astype(int)
    values = np.frombuffer(data, dtype=np.uint8, offset=4 + 4 * ndim)
    if values.size != np.prod(shape):
        raise ValueError(
            f"{path} is damaged: {values.size} values for a shape of {tuple(shape)}."
        )
    return values.reshape(shape)


def _load_cifar(name: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read CIFAR's batches: pickled dictionaries of bytes and labels."""
    sub_folder, batches, label_key = _CIFAR[name]
    place = folder / sub_folder
    if not (place / batches[0]).exists():
        raise _missing(name, [place])
    images, labels = [], []
    for batch in batches:
        path = place / batch
        try:
            with open(path, "rb") as file:
                content = NumbersOnly(file, encoding="bytes").load()
            content = {_text(key): value for key, value in content.items()}
            images.append(
                np.asarray(content["data"], dtype=np.uint8).reshape(-1, 3, 32, 32)
            )
            labels.append(np.asarray(content[label_key], dtype=np.int64))
        except FileNotFoundError:
            raise _missing(name, [path]) from None
        except Exception as error:
            raise ValueError(
                f"{path} is not a readable batch of {name}, or not a safe one: {error}"
            ) from error
    return np.concatenate(images), np.concatenate(labels)


def _text(key: Any) -> str:
    return key.decode() if isinstance(key, bytes) else str(key)
