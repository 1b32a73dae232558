"""Images to train on, as bytes."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from .._validation import check_option, check_path
from ._pickles import numbers_of, read_pickle

__all__ = ["load_images"]

_NAMES = ("digits", "fashion-mnist", "mnist", "cifar10", "cifar100")
# Where Debian's package dataset-fashion-mnist puts its files.
_DEBIAN = Path("/usr/share/datasets/fashion-mnist")
_IDX_FILES = (
    ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
)
# No part of these sets has a tenth of this.
_MOST_BYTES = 2**30
_CIFAR = {
    "cifar10": (
        "cifar-10-batches-py",
        [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"],
        "labels",
        10,
    ),
    "cifar100": ("cifar-100-python", ["train", "test"], "fine_labels", 100),
}


def load_images(
    name: str, root: str | os.PathLike[str] | None = None, download: bool = False
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
        If `name` is unknown, or if a file is damaged or does not hold as many images
        of this set as labels of its classes. The message names the file.

    Notes
    -----
    The batches of CIFAR are pickles. They are read by a reader of their own, which
    knows numbers and arrays only, so that a file made by someone else cannot run code.

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


def _root(root: str | os.PathLike[str] | None) -> Path:
    if root is not None:
        return check_path(root, "root")
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
            parts = [_read_part(place, *names) for names in _IDX_FILES]
            X = np.concatenate([images for images, _ in parts])[:, None]
            return X, np.concatenate([labels for _, labels in parts]).astype(np.int64)
    raise _missing(name, tried)


def _read_part(
    place: Path, image_name: str, label_name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Read the images of one part of a set, and the labels that belong to them."""
    images, image_path = _read_idx(place, image_name, 3)
    labels, label_path = _read_idx(place, label_name, 1)
    _check_labels(labels, len(images), 10, label_path)
    if images.shape[1:] != (28, 28):
        raise ValueError(
            f"{image_path} holds images of {images.shape[1]} by {images.shape[2]} "
            "pixels, and those of this set have 28 by 28."
        )
    return images, labels


def _check_labels(
    labels: np.ndarray, n_images: int, n_classes: int, path: Path
) -> None:
    """Raise unless there is a label of a known class for each image."""
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(
            f"{path} must hold whole labels in one row, got an array of dtype "
            f"{labels.dtype} and shape {labels.shape}."
        )
    if len(labels) != n_images:
        raise ValueError(
            f"{path} holds {len(labels)} labels for {n_images} images: these files do "
            "not belong together."
        )
    if labels.size and not (labels.min() >= 0 and labels.max() < n_classes):
        raise ValueError(
            f"{path} holds labels from {labels.min()} to {labels.max()}, and the "
            f"classes of this set are 0 to {n_classes - 1}."
        )


def _read_idx(place: Path, file_name: str, ndim: int) -> tuple[np.ndarray, Path]:
    """Return the bytes in a file of MNIST's format, and the file's path."""
    path = place / file_name
    if not path.exists():
        path = place / f"{file_name}.gz"
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            # Two zero bytes, the type (8: unsigned bytes), the number of dimensions,
            # and the sizes.
            header = file.read(4 + 4 * ndim)
            if len(header) < 4 + 4 * ndim or header[:4] != bytes([0, 0, 8, ndim]):
                raise ValueError(f"{path} is not an idx file of {ndim} dimensions.")
            shape = np.frombuffer(header, dtype=">u4", offset=4).tolist()
            if math.prod(shape) > _MOST_BYTES:
                raise ValueError(
                    f"{path} is damaged, or too large: a shape of {tuple(shape)}."
                )
            # One byte more than there should be: a small file may unpack to gigabytes.
            data = file.read(math.prod(shape) + 1)
    except FileNotFoundError:
        raise
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if len(data) != math.prod(shape):
        found = "more" if len(data) > math.prod(shape) else f"{len(data)}"
        raise ValueError(
            f"{path} is damaged: {found} values for a shape of {tuple(shape)}."
        )
    return np.frombuffer(data, dtype=np.uint8).reshape(shape), path


def _load_cifar(name: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read CIFAR's batches: pickled dictionaries of bytes and labels."""
    sub_folder, batches, label_key, n_classes = _CIFAR[name]
    place = folder / sub_folder
    if not (place / batches[0]).exists():
        raise _missing(name, [place])
    images, labels = [], []
    for batch in batches:
        path = place / batch
        try:
            content = read_pickle(path.read_bytes())
            if not isinstance(content, dict):
                raise ValueError("it holds no dictionary")
            missing = [key for key in ("data", label_key) if key not in content]
            if missing:
                raise ValueError(f"it lacks {' and '.join(missing)}")
            data, codes = numbers_of(content["data"]), numbers_of(content[label_key])
        except FileNotFoundError:
            raise _missing(name, [path]) from None
        except ValueError as error:
            raise ValueError(
                f"{path} is not a readable batch of {name}, or not a safe one: {error}."
            ) from error
        _check_pixels(data, path)
        _check_labels(codes, len(data), n_classes, path)
        images.append(data.astype(np.uint8).reshape(-1, 3, 32, 32))
        labels.append(codes.astype(np.int64))
    return np.concatenate(images), np.concatenate(labels)


def _check_pixels(data: np.ndarray, path: Path) -> None:
    """Raise unless each row holds the bytes of an image of 32 by 32 by 3."""
    if data.ndim != 2 or data.shape[1] != 3072:
        raise ValueError(
            f"{path} must hold a row of 3072 bytes for each image, got an array of "
            f"shape {data.shape}."
        )
    if data.dtype.kind not in "iu" or (
        data.size and (data.min() < 0 or data.max() > 255)
    ):
        shown = f", from {data.min():g} to {data.max():g}" if data.size else ""
        raise ValueError(
            f"{path} must hold bytes, from 0 to 255, got an array of dtype "
            f"{data.dtype}{shown}."
        )
