"""Batches: complete, in step with their labels, wherever the data lie."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from pandas.testing import assert_frame_equal

from scalinglaw import CNNClassifier, ResNetClassifier
from scalinglaw.classifiers import base, devices, streaming
from scalinglaw.classifiers.batches import TensorBatches, batch_sizes
from scalinglaw.classifiers.streaming import Staging, stream
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


@pytest.mark.parametrize("chunk_bytes", [1, 100, 10**6])
def test_streamed_batches_are_those_of_slices(chunk_bytes):
    X = torch.arange(66, dtype=torch.uint8).view(22, 3)
    order = torch.randperm(22, generator=torch.Generator().manual_seed(0))
    sizes = batch_sizes(22, 5)
    streamed = list(stream(X, order, sizes, torch.device("cpu"), chunk_bytes))
    for batch, rows in zip(streamed, order.split(sizes), strict=True):
        assert torch.equal(batch, X[rows])


def test_a_chunk_waits_for_the_copy_of_the_one_before(monkeypatch):
    X = torch.arange(12.0).view(12, 1)
    staging = Staging(X, 4, torch.device("cpu"))

    class Event:
        """Stands for a GPU's: it sees what lies in the buffer while it waits."""

        seen = ()

        def synchronize(self):
            self.seen = (*self.seen, staging._buffer.flatten().tolist())

        def record(self, stream):
            self.seen = (*self.seen, "sent")

    staging._arrived = Event()
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)
    staging.send(torch.arange(4))
    staging.send(torch.arange(4, 8))
    # While it waits for the first copy, the first chunk still lies there.
    assert staging._arrived.seen[1:] == ("sent", [0.0, 1.0, 2.0, 3.0], "sent")


class _Elsewhere(torch.Tensor):
    """A tensor that says that it does not lie on the device of the net."""

    device = property(lambda self: torch.device("meta"))


def test_a_fit_on_streamed_data_is_the_same_to_the_last_bit(monkeypatch):
    X, y = load_images("digits")
    cnn = CNNClassifier(
        conv_widths=(2,),
        hidden_width=4,
        max_epochs=1,
        batch_size=32,
        n_records=3,
        random_state=0,
    )
    plain = cnn.fit(X[:200], y[:200], eval_set=(X[200:300], y[200:300])).trajectory_
    monkeypatch.setattr(
        base,
        "as_tensor",
        lambda X, device: devices.as_tensor(X, device).as_subclass(_Elsewhere),
    )
    chunks = []
    send = Staging.send
    monkeypatch.setattr(
        Staging, "send", lambda self, rows: chunks.append(len(rows)) or send(self, rows)
    )
    # Of 64 bytes an image: two batches of 32 at a time.
    monkeypatch.setattr(streaming, "CHUNK_BYTES", 4_096)
    streamed = cnn.fit(X[:200], y[:200], eval_set=(X[200:300], y[200:300])).trajectory_
    assert_frame_equal(plain, streamed, check_exact=True)
    assert chunks.count(64) == 3  # and a last one of 8: one pass of training


def test_data_larger_than_half_of_the_free_memory_stay_on_the_host(monkeypatch):
    X = np.zeros((4, 5), dtype=np.float32)
    monkeypatch.setattr(
        torch.cuda, "mem_get_info", lambda device: (2 * X.nbytes - 1, 0)
    )
    assert devices.as_tensor(X, "cuda").device.type == "cpu"


def test_tensors_have_plain_strides_and_take_read_only_arrays():
    X = np.arange(24.0, dtype=np.float32).reshape(2, 12)[:, None].reshape(2, 1, 3, 4)
    X.flags.writeable = False
    tensor = devices.as_tensor(X.transpose(0, 1, 3, 2), "cpu")
    assert tensor.stride() == (12, 12, 3, 1)
    assert_array_equal(tensor.numpy(), X.transpose(0, 1, 3, 2))


def test_devices_are_named_by_what_torch_knows():
    assert devices.resolve_device("cpu") == "cpu"
    assert devices.resolve_device(torch.device("cpu")) == "cpu"
    assert devices.resolve_device("cpu:0") == "cpu"
    assert devices.resolve_device("auto") in ("cpu", "cuda")
    with pytest.raises(ValueError, match='device must be "auto" or a torch device'):
        devices.resolve_device("tpu!")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="torch sees no GPU"):
            devices.resolve_device("cuda:0")
