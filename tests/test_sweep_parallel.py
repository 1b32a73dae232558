"""One sweep, several back-ends: the same table to the last bit."""

import os
import pickle
import signal
import time
from concurrent.futures import BrokenExecutor

import joblib
import numpy as np
import pytest
import torch
from joblib._parallel_backends import ThreadingBackend
from pandas.testing import assert_frame_equal
from skorch.callbacks import Callback
from torch import nn

from scalinglaw import (
    CNNClassifier,
    LogisticPerceptron,
    TrajectoryClassifier,
    TrajectorySweep,
    make_teacher_student,
)
from scalinglaw.datasets import load_images
from scalinglaw.exceptions import RunFailedWarning


@pytest.fixture(scope="module")
def cluster():
    """Two real worker processes of Dask."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def _cnn_sweep(**changes):
    cnn = CNNClassifier(
        conv_widths=(2, 4), hidden_width=8, max_epochs=3, lr=0.01, device="cpu"
    )
    X, y = load_images("digits")
    sweep = TrajectorySweep(
        cnn, train_sizes=[50, 100], n_seeds=2, random_state=0, **changes
    )
    return sweep.fit(X[:400], y[:400]).trajectories_


def _perceptron_sweep(**changes):
    X, y, teacher = make_teacher_student(900, 30, random_state=0)
    sweep = TrajectorySweep(
        LogisticPerceptron(max_norm=30.0, n_records=12),
        train_sizes=[100, 300, 600],
        n_seeds=3,
        random_state=0,
        **changes,
    )
    return sweep.fit(X, y, teacher=teacher).trajectories_


@pytest.mark.parametrize("sweep", [_cnn_sweep, _perceptron_sweep])
def test_two_local_workers_give_the_bits_of_one_process(sweep):
    assert_frame_equal(sweep(n_jobs=2), sweep(n_jobs=1), check_exact=True)


@pytest.mark.slow
@pytest.mark.parametrize("sweep", [_cnn_sweep, _perceptron_sweep])
def test_dask_gives_the_bits_of_one_process(cluster, tmp_path, sweep):
    with joblib.parallel_config("dask", wait_for_workers_timeout=30):
        remote = sweep(cache_dir=tmp_path)
    assert len(set(cluster.run(os.getpid).values()) | {os.getpid()}) == 3
    assert_frame_equal(remote, sweep(), check_exact=True)
    # The workers wrote the cache: nothing is left to train without them.
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.parquet")}
    assert len(before) == remote.groupby(["train_size", "seed"]).ngroups
    assert_frame_equal(sweep(cache_dir=tmp_path), remote, check_exact=True)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.parquet")} == before


class _Threads(Callback):
    """Lets other threads go first, and notes the threads that torch would use."""

    seen: list[int] = []  # noqa: RUF012 - shared by the clones of all runs

    def on_train_begin(self, net, **kwargs):
        time.sleep(0.05)
        self.seen.append(torch.get_num_threads())


def _dropout_sweep(**changes):
    X, y = load_images("digits")
    torch.manual_seed(0)
    noisy = nn.Sequential(
        nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10)
    )
    classifier = TrajectoryClassifier(
        noisy, max_epochs=2, n_records=4, device="cpu", callbacks=[_Threads()]
    )
    sweep = TrajectorySweep(
        classifier, train_sizes=[50, 100], n_seeds=3, random_state=0, **changes
    )
    return sweep.fit(X[:400], y[:400]).trajectories_


def test_threads_of_one_process_give_the_bits_of_one_run_after_another():
    # torch's generator and its number of threads are the process's.
    before = torch.get_num_threads()
    alone = _dropout_sweep()
    _Threads.seen.clear()
    with joblib.parallel_config("threading", n_jobs=3):
        threaded = _dropout_sweep()
    assert_frame_equal(threaded, alone, check_exact=True)
    assert len(_Threads.seen) == 6
    assert len(set(_Threads.seen)) == 1
    assert torch.get_num_threads() == before


class _AllAtTheEnd(ThreadingBackend):
    """As Ray's back-end and ``multiprocessing``: no result before the last."""

    supports_return_generator = False


def test_a_backend_that_hands_on_all_results_at_the_end_will_do():
    joblib.register_parallel_backend("all-at-the-end", _AllAtTheEnd)
    with joblib.parallel_config("all-at-the-end", n_jobs=2):
        assert_frame_equal(_cnn_sweep(), _cnn_sweep(n_jobs=1), check_exact=True)


def test_how_numpy_strides_an_axis_of_length_one_moves_no_bit():
    # Pickling, as on the way to a worker, changes that stride of grey images, and
    # torch would choose another convolution by it.
    X, y = load_images("digits")
    grey = X[:100, :, :, :]
    strided = np.lib.stride_tricks.as_strided(grey, strides=(64, 1, 8, 1))
    assert grey.strides != strided.strides
    cnn = CNNClassifier(
        conv_widths=(2, 4), hidden_width=8, max_epochs=3, device="cpu", random_state=0
    )
    one = cnn.fit(np.ascontiguousarray(grey), y[:100]).trajectory_
    two = cnn.fit(strided, y[:100]).trajectory_
    assert_frame_equal(one, two, check_exact=True)


def test_a_run_that_fails_on_a_worker_is_recorded_here(cluster):
    X = np.zeros((300, 4))
    X[::2] += 1.0
    X[:, 0] = np.nan
    sweep = TrajectorySweep(
        LogisticPerceptron(), train_sizes=[20], n_seeds=2, random_state=0
    )
    with (
        joblib.parallel_config("dask"),
        pytest.raises(ValueError, match=r"2 runs of 2 failed.*contains NaN"),
    ):
        sweep.fit(X, np.arange(300) % 2)


class _Killed(nn.Module):
    """Kills its process where the kernel would, for want of memory."""

    def __init__(self, input_shape, n_classes):
        super().__init__()
        self.linear = nn.Linear(64, n_classes)

    def forward(self, X):
        if len(X) == 77:  # the batch of the largest train size
            os.kill(os.getpid(), signal.SIGKILL)
        return self.linear(X.flatten(1))


def test_a_killed_worker_leaves_the_runs_that_finished(tmp_path):
    X, y = load_images("digits")
    sweep = TrajectorySweep(
        TrajectoryClassifier(_Killed, max_epochs=1, n_records=2, device="cpu"),
        train_sizes=[20, 77],
        n_seeds=2,
        n_jobs=2,
        cache_dir=tmp_path,
        random_state=0,
    )
    alone = sweep.set_params(train_sizes=[20]).fit(X[:300], y[:300]).trajectories_
    sweep.set_params(train_sizes=[20, 77])
    with pytest.warns(RunFailedWarning, match="a worker process was killed"):
        sweep.fit(X[:300], y[:300])
    assert isinstance(pickle.loads(pickle.dumps(sweep)).interrupted_, BrokenExecutor)
    assert_frame_equal(sweep.trajectories_, alone, check_exact=True)
