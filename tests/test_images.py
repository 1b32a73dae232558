"""Image sets are read from small files of the original formats."""

import gzip
import pickle
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from torchvision import datasets

from scalinglaw.classifiers._presets import NORMALIZATION
from scalinglaw.datasets import load_images
from scalinglaw.datasets._images import _DEBIAN


def _write_idx(path, values, compress):
    header = bytes([0, 0, 8, values.ndim])
    header += b"".join(int(n).to_bytes(4, "big") for n in values.shape)
    data = header + values.astype(np.uint8).tobytes()
    if compress:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(data))
    else:
        path.write_bytes(data)


def _write_mnist(folder, compress=False):
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    parts = []
    for part, n in (("train", 6), ("t10k", 4)):
        images = rng.integers(0, 256, (n, 28, 28))
        labels = rng.integers(0, 10, n)
        _write_idx(folder / f"{part}-images-idx3-ubyte", images, compress)
        _write_idx(folder / f"{part}-labels-idx1-ubyte", labels, compress)
        parts.append((images, labels))
    return [np.concatenate(values) for values in zip(*parts, strict=True)]


def _write_cifar(folder, name):
    rng = np.random.default_rng(1)
    sub = "cifar-10-batches-py" if name == "cifar10" else "cifar-100-python"
    files = (
        [f"data_batch_{k}" for k in range(1, 6)] + ["test_batch"]
        if name == "cifar10"
        else ["train", "test"]
    )
    key = "labels" if name == "cifar10" else "fine_labels"
    (folder / sub).mkdir(parents=True)
    data, labels = [], []
    for file in files:
        data.append(rng.integers(0, 256, (3, 3072)).astype(np.uint8))
        labels.append(rng.integers(0, 10, 3).tolist())
        content = {"data": data[-1], key: labels[-1]}
        raw = pickle.dumps(content, protocol=2)
        for text in (b"data", key.encode()):
            # The files were written by Python 2, whose strings are bytes.
            size = len(text)
            raw = raw.replace(
                b"X" + size.to_bytes(4, "little") + text, b"U" + bytes([size]) + text
            )
        (folder / sub / file).write_bytes(raw)
    return np.concatenate(data), np.concatenate(labels), folder / sub / files[0]


def test_digits_come_with_scikit_learn():
    X, y = load_images("digits")
    assert X.shape == (1797, 1, 8, 8)
    assert X.dtype == np.uint8
    assert (X.min(), X.max()) == (0, 255)
    assert set(y) == set(range(10))


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize(
    ("name", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")]
)
def test_mnist_s_format_is_read(tmp_path, name, folder, compress):
    images, labels = _write_mnist(tmp_path / folder / "raw", compress)
    X, y = load_images(name, root=tmp_path)
    assert_array_equal(X[:, 0], images)
    assert_array_equal(y, labels)
    assert X.dtype == np.uint8


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_s_format_is_read(tmp_path, name):
    data, labels, _ = _write_cifar(tmp_path, name)
    X, y = load_images(name, root=tmp_path)
    assert_array_equal(X.reshape(len(X), -1), data)
    assert_array_equal(y, labels)
    assert X.shape[1:] == (3, 32, 32)


def test_torchvision_reads_the_same_from_mnist_s_files(tmp_path):
    _write_mnist(tmp_path / "FashionMNIST" / "raw")
    X, y = load_images("fashion-mnist", root=tmp_path)
    parts = [datasets.FashionMNIST(tmp_path, train=part) for part in (True, False)]
    assert_array_equal(X[:, 0], np.concatenate([part.data for part in parts]))
    assert_array_equal(y, np.concatenate([part.targets for part in parts]))


@pytest.mark.parametrize(
    ("name", "parent"), [("cifar10", datasets.CIFAR10), ("cifar100", datasets.CIFAR100)]
)
def test_torchvision_reads_the_same_from_cifar_s_files(tmp_path, name, parent):
    _write_cifar(tmp_path, name)

    # Without the checksums of the real files.
    unsigned = {
        "train_list": [(file, None) for file, _ in parent.train_list],
        "test_list": [(file, None) for file, _ in parent.test_list],
        "meta": {**parent.meta, "md5": None},
    }
    unchecked = type("Unchecked", (parent,), unsigned)
    names = [f"class {number}" for number in range(10)]
    (tmp_path / parent.base_folder / parent.meta["filename"]).write_bytes(
        pickle.dumps({parent.meta["key"]: names})
    )
    X, y = load_images(name, root=tmp_path)
    parts = [unchecked(tmp_path, train=part) for part in (True, False)]
    pixels = np.concatenate([part.data for part in parts])
    assert_array_equal(np.moveaxis(X, 1, -1), pixels)
    assert_array_equal(y, np.concatenate([part.targets for part in parts]))


@pytest.mark.parametrize(
    ("name", "class_name"),
    [
        ("mnist", "MNIST"),
        ("fashion-mnist", "FashionMNIST"),
        ("cifar10", "CIFAR10"),
        ("cifar100", "CIFAR100"),
    ],
)
def test_a_download_is_left_to_torchvision(tmp_path, monkeypatch, name, class_name):
    def download(root, train, download):
        assert (train, download) == (True, True)
        if "cifar" in name:
            _write_cifar(root, name)
        else:
            _write_mnist(root / class_name / "raw")

    monkeypatch.setattr(datasets, class_name, download)
    X, y = load_images(name, root=tmp_path / "new", download=True)
    assert len(X) == len(y) > 0


@pytest.mark.skipif(not _DEBIAN.exists(), reason="the package is not installed")
def test_normalisations_are_the_moments_of_the_pixels():
    X, _ = load_images("fashion-mnist")
    (mean,), (std,) = NORMALIZATION["fashion-mnist"]
    train = X[:60_000] / np.float32(255)
    assert_allclose([train.mean(), train.std()], [mean, std], atol=5e-5)


def test_the_folder_can_come_from_the_environment(tmp_path, monkeypatch):
    _write_mnist(tmp_path / "MNIST" / "raw")
    monkeypatch.setenv("SCALINGLAW_DATA", str(tmp_path))
    assert len(load_images("mnist")[0]) == 10


def test_a_hostile_batch_is_refused_and_not_executed(tmp_path):
    _, _, first = _write_cifar(tmp_path, "cifar10")
    mark = tmp_path / "executed"

    class Harm:
        def __reduce__(self):
            return Path.touch, (mark,)

    first.write_bytes(pickle.dumps({b"data": Harm(), b"labels": [1]}))
    with pytest.raises(ValueError, match="not a readable batch of cifar10"):
        load_images("cifar10", root=tmp_path)
    assert not mark.exists()


def test_damaged_files_are_named(tmp_path):
    folder = tmp_path / "MNIST" / "raw"
    _write_mnist(folder)
    path = folder / "train-images-idx3-ubyte"
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    with pytest.raises(ValueError, match=r"is damaged: 4699 values"):
        load_images("mnist", root=tmp_path)
    path.write_bytes(b"text" + whole[4:])
    with pytest.raises(ValueError, match="not an idx file of 3 dimensions"):
        load_images("mnist", root=tmp_path)
    path.unlink()
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(whole)[:-20])
    with pytest.raises(ValueError, match="is damaged"):
        load_images("mnist", root=tmp_path)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10", "cifar100"])
def test_missing_files_name_the_way_out(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=r"Give root, .* or download=True"):
        load_images(name, root=tmp_path)


def test_an_unknown_set_names_those_there_are():
    with pytest.raises(
        ValueError, match="name must be one of 'digits', 'fashion-mnist'"
    ):
        load_images("imagenet")


@pytest.mark.skipif(not _DEBIAN.exists(), reason="the package is not installed")
def test_fashion_mnist_of_the_debian_package_is_read(monkeypatch, tmp_path):
    monkeypatch.setenv("SCALINGLAW_DATA", str(tmp_path))
    X, y = load_images("fashion-mnist")
    assert X.shape == (70_000, 1, 28, 28)
    assert_array_equal(np.bincount(y), 7000)
    assert round(X[:60_000].mean() / 255, 4) == 0.2860
