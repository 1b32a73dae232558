"""Batches: complete, in step with their labels, wherever the data lie."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from pandas.testing import assert_frame_equal

from scalinglaw import CNNClassifier, ResNetClassifier
from scalinglaw.classifiers import _base, _devices
from scalinglaw.classifiers._batches import TensorBatches, TensorData, batch_sizes
from scalinglaw.datasets import load_images


def _dataset(n):
    return type("Data", (), {"X": torch.arange(n), "y": torch.arange(n)})


@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 16, 17, 31])
def test_batches_hold_every_sample_once_with_its_label(n):
    batches = TensorBatches(_dataset(n), batch_size=8, shuffle=True, seed=0)
    passes = [list(batches) for _ in range(2)]
    for batch in passes:
        samples = torch.cat([X for X, _ in batch])
        assert sorted(samples.tolist()) == list(range(n))
        assert len(batch) == len(batches)
        assert all(torch.equal(X, y) for X, y in batch)
    if n > 7:
        first, second = (torch.cat([X for X, _ in batch]) for batch in passes)
        assert first.tolist() != second.tolist()


def test_a_lone_last_sample_joins_the_batch_before_it():
    assert batch_sizes(129, 64) == [64, 65]
    assert batch_sizes(130, 64) == [64, 64, 2]
    assert batch_sizes(1, 64) == [1]
    assert batch_sizes(3, 1) == [1, 1, 1]


def test_batch_normalisation_trains_on_any_number_of_samples():
    X, y = load_images("digits")
    # Four stages leave one pixel: a batch of one would have no variance.
    resnet = ResNetClassifier(
        widths=(2, 2, 2, 2), depths=(1, 1, 1, 1), max_epochs=1, batch_size=32
    )
    assert resnet.fit(X[:65], y[:65]).trajectory_["step"].iloc[-1] == 2


class _Elsewhere(torch.Tensor):
    """A tensor that says that it does not lie on the device of the net."""

    device = property(lambda self: torch.device("meta"))
    # What is taken of it is a plain tensor.
    __torch_function__ = torch._C._disabled_torch_function_impl


def test_data_that_stay_on_the_host_train_the_same_to_the_last_bit(monkeypatch):
    X, y = load_images("digits")
    cnn = CNNClassifier(
        conv_widths=(2,),
        hidden_width=4,
        max_epochs=1,
        batch_size=32,
        n_records=3,
        random_state=0,
        device="cpu",
    )
    plain = cnn.fit(X[:200], y[:200], eval_set=(X[200:300], y[200:300])).trajectory_
    monkeypatch.setattr(
        _base,
        "as_tensor",
        lambda X, device: _devices.as_tensor(X, device).as_subclass(_Elsewhere),
    )
    sent = cnn.fit(X[:200], y[:200], eval_set=(X[200:300], y[200:300])).trajectory_
    assert_frame_equal(plain, sent, check_exact=True)


@pytest.mark.parametrize("shuffle", [False, True])
def test_weights_stay_beside_their_samples(shuffle):
    data = TensorData(torch.arange(9), torch.arange(9), torch.arange(9.0))
    for X, (y, weight) in TensorBatches(data, 4, shuffle=shuffle, seed=0):
        assert torch.equal(X, y)
        assert torch.equal(X, weight.long())
    part = data.take_rows(np.array([2, 5]))
    assert [len(part), *part.weight.tolist()] == [2, 2.0, 5.0]


def test_data_larger_than_half_of_the_free_memory_stay_on_the_host(monkeypatch):
    X = np.zeros((4, 5), dtype=np.float32)
    monkeypatch.setattr(
        torch.cuda, "mem_get_info", lambda device: (2 * X.nbytes - 1, 0)
    )
    assert _devices.as_tensor(X, "cuda").device.type == "cpu"


def test_tensors_have_plain_strides_and_take_read_only_arrays():
    X = np.arange(24.0, dtype=np.float32).reshape(2, 12)[:, None].reshape(2, 1, 3, 4)
    X.flags.writeable = False
    tensor = _devices.as_tensor(X.transpose(0, 1, 3, 2), "cpu")
    assert tensor.stride() == (12, 12, 3, 1)
    assert_array_equal(tensor.numpy(), X.transpose(0, 1, 3, 2))


def test_devices_are_named_by_what_torch_knows():
    assert _devices.resolve_device("cpu") == "cpu"
    assert _devices.resolve_device(torch.device("cpu")) == "cpu"
    assert _devices.resolve_device("cpu:0") == "cpu"
    assert _devices.resolve_device("auto") in ("cpu", "cuda")
    with pytest.raises(ValueError, match="device='meta' cannot train here"):
        _devices.resolve_device("meta")
    with pytest.raises(ValueError, match='device must be "auto" or a torch device'):
        _devices.resolve_device("tpu!")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="torch sees no GPU"):
            _devices.resolve_device("cuda:0")
