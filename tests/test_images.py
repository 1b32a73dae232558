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


def _write_part(folder, **arrays):
    for name, values in arrays.items():
        kind = "images-idx3" if values.ndim == 3 else "labels-idx1"
        part = "train" if name.startswith("train") else "t10k"
        _write_idx(folder / f"{part}-{kind}-ubyte", values, False)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        # The labels of the two parts are swapped: their sum is right.
        (
            {"train_labels": np.zeros(4), "test_labels": np.zeros(6)},
            r"train-labels-idx1-ubyte holds 4 labels for 6 images",
        ),
        ({"test_labels": np.zeros(3)}, "t10k-labels-idx1-ubyte holds 3 labels for 4"),
        ({"train_labels": np.arange(5, 11)}, r"labels from 5 to 10, .* are 0 to 9"),
        ({"train_images": np.zeros((28, 28, 6))}, "6 labels for 28 images"),
        ({"train_images": np.zeros((6, 14, 56))}, "images of 14 by 56 pixels"),
    ],
)
def test_images_and_labels_that_do_not_belong_together_are_refused(
    tmp_path, arrays, message
):
    folder = tmp_path / "MNIST" / "raw"
    _write_mnist(folder)
    _write_part(folder, **arrays)
    with pytest.raises(ValueError, match=message):
        load_images("mnist", root=tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"labels": [1, 2]}, "holds 2 labels for 3 images"),
        ({"labels": [1, 2, 10]}, "labels from 1 to 10, and the classes .* 0 to 9"),
        ({"labels": [1, 2, -1]}, "labels from -1 to 2"),
        ({"labels": [1.0, 2.0, 3.0]}, "must hold whole labels in one row"),
        ({"labels": ["a", "b", "c"]}, "not numbers"),
        ({"labels": [2**70, 1, 2]}, "not numbers"),
        ({"data": np.full((3, 3072), 0.5)}, r"must hold bytes, .* float64, from 0.5"),
        ({"data": np.full((3, 3072), 256)}, r"must hold bytes, .* int64, from 256"),
        ({"data": np.full((3, 3072), -1)}, "must hold bytes, from 0 to 255"),
        ({"data": np.zeros((3072, 3), np.uint8)}, r"shape \(3072, 3\)"),
        ({"data": np.zeros((3, 32, 32, 3), np.uint8)}, r"shape \(3, 32, 32, 3\)"),
        ({"data": [0, 1, 2]}, r"shape \(3,\)"),
        ({"labels": None}, "it lacks labels"),
        ({"labels": None, "data": None}, "it lacks data and labels"),
    ],
)
def test_a_batch_that_is_none_is_named(tmp_path, content, message):
    _, _, first = _write_cifar(tmp_path, "cifar10")
    whole = {"data": np.zeros((3, 3072), np.uint8), "labels": [0, 1, 9], **content}
    whole = {key: value for key, value in whole.items() if value is not None}
    first.write_bytes(pickle.dumps(whole, protocol=2))
    with pytest.raises(ValueError, match=message) as caught:
        load_images("cifar10", root=tmp_path)
    assert str(first) in str(caught.value)


def test_a_batch_of_something_else_is_named(tmp_path):
    _, _, first = _write_cifar(tmp_path, "cifar10")
    first.write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(ValueError, match=r"data_batch_1 is not .* holds no dictionary"):
        load_images("cifar10", root=tmp_path)


def test_a_small_file_that_unpacks_to_a_large_one_is_refused(tmp_path):
    folder = tmp_path / "MNIST" / "raw"
    _write_mnist(folder)
    path = folder / "train-images-idx3-ubyte"
    header = bytes([0, 0, 8, 3])
    for shape, tail, message in (
        ((2**31, 28, 28), b"", "is damaged, or too large"),
        ((6, 28, 28), bytes(10**7), "more values for a shape of"),
    ):
        sizes = b"".join(n.to_bytes(4, "big") for n in shape)
        path.unlink(missing_ok=True)
        packed = gzip.compress(header + sizes + tail)
        path.with_name(f"{path.name}.gz").write_bytes(packed)
        with pytest.raises(ValueError, match=message):
            load_images("mnist", root=tmp_path)


def test_a_root_is_a_path():
    with pytest.raises(TypeError, match=r"root must be a path, got 3\."):
        load_images("mnist", root=3)
