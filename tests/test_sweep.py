"""Sweeps: subsets, seeds, caches, failures, pipelines."""

import itertools
import json
import os
import pickle
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_array_equal
from pandas.testing import assert_frame_equal
from scipy.sparse import csr_array
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin, clone
from sklearn.datasets import make_blobs
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from scalinglaw import (
    CNNClassifier,
    LogisticPerceptron,
    ScalingLawEstimator,
    TrajectorySweep,
    make_teacher_student,
)
from scalinglaw.datasets import load_images
from scalinglaw.exceptions import (
    RunFailedWarning,
    SweepFailedError,
    TrajectoryWarning,
    UnresolvedExponentWarning,
)
from scalinglaw.sweep import read_cache


class Toy(ClassifierMixin, BaseEstimator):
    """Records what it was given; fails where asked to."""

    def __init__(self, factor=1.0, fail_at=None, random_state=None):
        self.factor = factor
        self.fail_at = fail_at
        self.random_state = random_state

    def fit(self, X, y, eval_set=None):
        if len(X) == self.fail_at:
            raise RuntimeError("out of memory")
        self.classes_ = np.unique(y)
        rng = np.random.default_rng(self.random_state)
        log_norm = np.sort(rng.random(5)) * self.factor
        self.trajectory_ = pd.DataFrame(
            {
                "train_size": len(X),
                "seed": 0,
                "epoch": np.arange(5.0),
                "test_error": np.linspace(0.9, 1 / len(X), 5),
                "n_test": len(eval_set[0]),
                "log_toy": log_norm,
                "sum_X": float(np.asarray(X).sum()),
            }
        )
        return self


@pytest.fixture(scope="module")
def blobs():
    return make_blobs(200, n_features=3, centers=4, random_state=0)


def _sweep(estimator=None, **changes):
    settings = {"train_sizes": [20, 80], "n_seeds": 3, "random_state": 0}
    return TrajectorySweep(estimator or Toy(), **{**settings, **changes})


def test_every_size_and_seed_is_a_run(blobs):
    table = _sweep().fit_transform(*blobs)
    runs = table.groupby(["train_size", "seed"]).size()
    assert list(runs.index) == [(s, k) for s in (20, 80) for k in range(3)]
    assert (runs == 5).all()
    assert (table["n_test"] == 40).all()


class Seeing(Toy):
    """Keeps the samples of each run, by its random state and its size."""

    seen: ClassVar[dict] = {}

    def fit(self, X, y, eval_set=None):
        self.seen[len(X), self.random_state] = (X[:, 0], y, eval_set[0][:, 0])
        return super().fit(X, y, eval_set)


def test_subsets_are_nested_stratified_and_apart_from_the_test_set(blobs):
    _, y = blobs
    Seeing.seen.clear()
    sizes = [4, 10, 50, 133, 160]
    sweep = _sweep(Seeing(), train_sizes=sizes, n_seeds=1)
    sweep.fit(np.arange(200.0)[:, None], y)
    runs = [Seeing.seen[key] for key in sorted(Seeing.seen)]
    assert [len(rows) for rows, _, _ in runs] == sizes
    for rows, labels, held_out in runs:
        counts = np.bincount(labels, minlength=4)
        assert counts.max() - counts.min() <= 1
        assert_array_equal(labels, y[rows.astype(int)])
        assert_array_equal(held_out, sweep.test_indices_)
        assert np.intersect1d(rows, held_out).size == 0
    for (smaller, _, _), (larger, _, _) in itertools.pairwise(runs):
        assert_array_equal(smaller, larger[: len(smaller)])


def test_results_do_not_depend_on_jobs_or_on_other_sizes(blobs):
    one = _sweep().fit(*blobs).trajectories_
    two = _sweep(n_jobs=2).fit(*blobs).trajectories_
    assert_frame_equal(one, two, check_exact=True)
    fewer = _sweep(train_sizes=[80], n_seeds=2).fit(*blobs).trajectories_
    part = one[(one["train_size"] == 80) & (one["seed"] < 2)].reset_index(drop=True)
    assert_frame_equal(fewer, part, check_exact=True)


def test_seeds_and_random_state_change_the_runs(blobs):
    table = _sweep().fit(*blobs).trajectories_
    first = table.groupby("seed")["log_toy"].first()
    assert first.nunique() == 3
    other = _sweep(random_state=1).fit(*blobs).trajectories_
    assert not table["log_toy"].equals(other["log_toy"])


def test_data_frames_and_images_are_taken(blobs):
    X, y = blobs
    frame = pd.DataFrame(X, columns=list("abc"))
    assert len(_sweep().fit(frame, y.astype(str)).trajectories_) == 30
    assert len(_sweep().fit(X.reshape(200, 1, 3, 1), y).trajectories_) == 30


@pytest.mark.filterwarnings("ignore::UserWarning")  # few, small runs
def test_a_pipeline_goes_from_data_to_exponents():
    X, y, teacher = make_teacher_student(4000, 50, random_state=0)
    pipeline = make_pipeline(
        _sweep(LogisticPerceptron(max_norm=100.0), train_sizes=[200, 400, 800, 1600]),
        ScalingLawEstimator("rms", window=(0.05, 0.5)),
    )
    pipeline.set_params(trajectorysweep__estimator__n_records=40)
    with pytest.warns(UnresolvedExponentWarning, match="gamma1 is an effective"):
        clone(pipeline).fit(X, y, trajectorysweep__teacher=teacher)
    law = pipeline.fit(X, y, trajectorysweep__teacher=teacher)[-1]
    assert law.gamma_measured_.estimate == pytest.approx(1.0, abs=0.15)


@pytest.mark.filterwarnings("ignore::UserWarning")  # three epochs are no law
def test_a_pipeline_trains_cnns_on_images():
    X, y = load_images("digits")
    cnn = CNNClassifier(conv_widths=(2, 4), hidden_width=8, max_epochs=8, lr=0.01)
    sweep = TrajectorySweep(
        cnn, train_sizes=[50, 100, 200, 400], n_seeds=2, random_state=0
    )
    law = make_pipeline(sweep, ScalingLawEstimator()).fit(X[:900], y[:900])[-1]
    assert law.gamma1_.estimate > 0
    assert len(law.optima_) == 8


def test_a_second_fit_trains_nothing_and_gives_the_same_bits(blobs, tmp_path):
    first = _sweep(cache_dir=tmp_path).fit(*blobs)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.parquet")}
    assert len(before) == 6
    second = _sweep(cache_dir=tmp_path, n_jobs=2).fit(*blobs)
    assert_frame_equal(first.trajectories_, second.trajectories_, check_exact=True)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.parquet")} == before
    plain = _sweep().fit(*blobs)
    assert_frame_equal(first.trajectories_, plain.trajectories_, check_exact=True)
    assert_frame_equal(read_cache(tmp_path), plain.trajectories_, check_exact=True)


def test_a_cache_grows_by_sizes_and_seeds(blobs, tmp_path):
    _sweep(cache_dir=tmp_path).fit(*blobs)
    _sweep(cache_dir=tmp_path, train_sizes=[20, 40, 80], n_seeds=4).fit(*blobs)
    assert len(list(tmp_path.rglob("*.parquet"))) == 12


@pytest.mark.parametrize("what", ["estimator", "data", "labels", "test_size", "state"])
def test_what_changes_a_run_never_hits_an_old_entry(blobs, tmp_path, what):
    X, y = blobs
    _sweep(cache_dir=tmp_path).fit(X, y)
    changed = X.copy()
    changed[7, 1] += 1e-9
    swapped = np.where(y == 0, 1, np.where(y == 1, 0, y))
    sweep, data = {
        "estimator": (_sweep(Toy(factor=2.0), cache_dir=tmp_path), (X, y)),
        "data": (_sweep(cache_dir=tmp_path), (changed, y)),
        "labels": (_sweep(cache_dir=tmp_path), (X, swapped)),
        "test_size": (_sweep(cache_dir=tmp_path, test_size=0.3), (X, y)),
        "state": (_sweep(cache_dir=tmp_path, random_state=5), (X, y)),
    }[what]
    sweep.fit(*data)
    assert len(list(tmp_path.rglob("*.parquet"))) == 12


@pytest.mark.parametrize("damage", ["truncate", "flip", "no record", "empty record"])
def test_a_damaged_entry_is_noticed_and_trained_again(blobs, tmp_path, damage):
    whole = _sweep(cache_dir=tmp_path).fit(*blobs).trajectories_
    table = sorted(tmp_path.rglob("*.parquet"))[0]
    record = table.with_suffix(".json")
    data = table.read_bytes()
    if damage == "truncate":
        table.write_bytes(data[: len(data) // 2])
    elif damage == "flip":
        table.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
    elif damage == "no record":
        record.unlink()
    else:
        record.write_text("")
    if damage == "no record":
        again = _sweep(cache_dir=tmp_path).fit(*blobs)
    else:
        with pytest.warns(TrajectoryWarning, match="damaged and was trained again"):
            again = _sweep(cache_dir=tmp_path).fit(*blobs)
    assert_frame_equal(again.trajectories_, whole, check_exact=True)
    assert table.read_bytes() == data
    assert json.loads(record.read_text())["rows"] == 5


def test_a_full_disk_is_a_clear_error_and_keeps_what_is_done(
    blobs, tmp_path, monkeypatch
):
    replace, done = os.replace, []

    def full_after_five(source, target):
        done.append(target)
        if len(done) > 5:
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full_after_five)
    with pytest.raises(OSError, match=r"could not take a finished run .No space left"):
        _sweep(cache_dir=tmp_path).fit(*blobs)
    monkeypatch.undo()
    assert not list(tmp_path.rglob("*.part"))
    again = _sweep(cache_dir=tmp_path).fit(*blobs)
    assert_frame_equal(
        again.trajectories_, _sweep().fit(*blobs).trajectories_, check_exact=True
    )


def test_a_failed_run_is_recorded_and_the_sweep_goes_on(blobs):
    with pytest.warns(RunFailedWarning, match=r"3 runs of 6 failed.*out of memory"):
        sweep = _sweep(Toy(fail_at=80)).fit(*blobs)
    assert sweep.trajectories_["train_size"].unique().tolist() == [20]
    assert sweep.failures_["train_size"].tolist() == [80, 80, 80]
    assert sweep.failures_["reason"].iloc[0] == "RuntimeError: out of memory"
    with pytest.raises(RuntimeError, match="out of memory"):
        _sweep(Toy(fail_at=80), error_score="raise").fit(*blobs)


def test_where_all_runs_fail_the_error_holds_why(blobs):
    with pytest.raises(SweepFailedError, match=r"with RuntimeError: out of") as caught:
        _sweep(Toy(fail_at=20), train_sizes=[20]).fit(*blobs)
    failures = pickle.loads(pickle.dumps(caught.value)).failures
    assert failures["seed"].tolist() == [0, 1, 2]
    assert 'RuntimeError("out of memory")' in str(caught.value.__cause__)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"train_sizes": [500]}, ValueError),
        ({"estimator__fail_at": 80, "error_score": "raise"}, RuntimeError),
        ({"estimator__fail_at": 80, "train_sizes": [80]}, SweepFailedError),
        ({"estimator": LogisticRegression()}, TypeError),
    ],
)
def test_a_failed_fit_leaves_nothing_fitted(blobs, changes, error):
    sweep = _sweep().fit(*blobs)
    with pytest.raises(error):
        sweep.set_params(**changes).fit(*blobs)
    assert not [name for name in vars(sweep) if name.endswith("_")]
    with pytest.raises(NotFittedError):
        sweep.transform(blobs[0])


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (LogisticRegression(), "record a trajectory_, got LogisticRegression, whose"),
        (make_pipeline(StandardScaler(), LogisticRegression()), "got LogisticRegr"),
        (Toy, "classifier that records a trajectory_, such as CNNClassifier"),
        (None, "classifier that records a trajectory_.*got None"),
    ],
)
def test_what_records_nothing_is_refused_before_the_first_run(
    blobs, estimator, message
):
    with pytest.raises(TypeError, match=message):
        _sweep().set_params(estimator=estimator).fit(*blobs)


def test_a_run_without_a_trajectory_is_the_last_one(blobs):
    class Silent(Toy):
        fits: ClassVar[list] = []

        def fit(self, X, y, eval_set=None):
            self.fits.append(len(X))
            return self

    with pytest.raises(TypeError, match="Silent has no trajectory_ after fit"):
        _sweep(Silent()).fit(*blobs)
    assert len(Silent.fits) == 1


def test_steps_of_a_pipeline_are_fitted_on_the_samples_of_each_run(blobs):
    X, y = np.arange(200.0)[:, None] ** 2, blobs[1]
    Seeing.seen.clear()
    _sweep(Seeing()).fit(X, y)
    raw = dict(Seeing.seen)
    Seeing.seen.clear()
    nested = make_pipeline("passthrough", make_pipeline(StandardScaler(), Seeing()))
    table = _sweep(nested).fit(X, y).trajectories_
    assert table.groupby(["train_size", "seed"]).ngroups == 6
    assert Seeing.seen.keys() == raw.keys()
    for run, (rows, labels, held_out) in Seeing.seen.items():
        scaler = StandardScaler().fit(raw[run][0][:, None])
        assert_array_equal(rows, scaler.transform(raw[run][0][:, None])[:, 0])
        assert_array_equal(held_out, scaler.transform(raw[run][2][:, None])[:, 0])
        assert_array_equal(labels, raw[run][1])


class Weighted(Toy):
    """Insists on weights that are the first column of its samples."""

    def fit(self, X, y, eval_set=None, sample_weight=None, teacher=None):
        assert_array_equal(sample_weight, X[:, 0])
        assert teacher == "mine"
        return super().fit(X, y, eval_set)


class Noting(TransformerMixin, BaseEstimator):
    """Changes nothing, and insists on the weights of its samples."""

    def fit(self, X, y=None, sample_weight=None):
        assert_array_equal(sample_weight, X[:, 0])
        return self

    def transform(self, X):
        return X


def test_weights_are_cut_to_each_run_and_other_arguments_handed_on(blobs):
    X, y = blobs
    sweep = _sweep(Weighted(), error_score="raise")
    sweep.fit(X, y, sample_weight=X[:, 0], teacher="mine")
    sweep.set_params(estimator=make_pipeline(Noting(), Weighted()))
    given = {"noting__sample_weight": X[:, 0], "weighted__sample_weight": X[:, 0]}
    sweep.fit(X, y, **given, weighted__teacher="mine")


def test_arguments_are_routed_to_what_requests_them(blobs):
    X, y = blobs
    weighted = Weighted()
    with config_context(enable_metadata_routing=True):
        weighted.set_fit_request(sample_weight=True, teacher="master")
        noting = Noting().set_fit_request(sample_weight=True)
        for estimator in (weighted, make_pipeline(noting, weighted)):
            pipeline = make_pipeline(_sweep(estimator, error_score="raise"))
            pipeline.fit(X, y, sample_weight=X[:, 0], master="mine")
            assert len(pipeline[-1].trajectories_) == 30
        with pytest.raises(TypeError, match=r"unexpected argument.*pupil"):
            _sweep(weighted).fit(X, y, pupil="mine")


@pytest.mark.parametrize(
    ("estimator", "given", "message"),
    [
        (Toy(), {"teacher": 1}, "fit of Toy takes no teacher"),
        (Toy(), {"eval_set": 1}, "eval_set is given by the sweep"),
        (Weighted(), {"sample_weight": [1.0]}, "weight for each of 200 samples, got 1"),
        (make_pipeline(Noting(), Toy()), {"teacher": 1}, "as in toy__teacher, got"),
        (make_pipeline(Noting(), Toy()), {"toy__teacher": 1}, "Toy takes no teacher"),
    ],
)
def test_arguments_that_no_fit_takes_are_named(blobs, estimator, given, message):
    with pytest.raises((TypeError, ValueError), match=message):
        _sweep(estimator).fit(*blobs, **given)


class Placed(Toy):
    """Keeps the devices of runs, in their order."""

    devices: ClassVar[list] = []

    def __init__(self, device="auto", random_state=None):
        super().__init__(random_state=random_state)
        self.device = device

    def fit(self, X, y, eval_set=None):
        self.devices.append(self.device)
        return super().fit(X, y, eval_set)


@pytest.mark.parametrize(
    ("device", "n_gpus", "expected"),
    [
        ("auto", 2, ["cuda:0", "cuda:1"] * 3),
        ("cuda", 3, ["cuda:0", "cuda:1", "cuda:2"] * 2),
        ("cuda:1", 2, ["cuda:1"] * 6),
        ("cpu", 2, ["cpu"] * 6),
        ("auto", 1, ["auto"] * 6),
    ],
)
def test_gpus_take_turns_unless_one_was_asked_for(
    blobs, monkeypatch, device, n_gpus, expected
):
    Placed.devices.clear()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n_gpus)
    _sweep(make_pipeline(StandardScaler(), Placed(device))).fit(*blobs)
    assert Placed.devices == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_sizes": [20, 20]}, "must not repeat a size, got 20"),
        ({"train_sizes": [500]}, "asks for 500 samples, and 160 are left"),
        ({"train_sizes": [2]}, "at least the number of classes"),
        ({"test_size": 1.5}, "test_size must be above 0 and below 1"),
        ({"test_size": 199}, "test_size must leave each of 4 classes"),
        ({"n_seeds": 0}, "n_seeds must be at least 1"),
        ({"cache_dir": "x", "random_state": None}, "random_state must be an integer"),
        ({"error_score": "ignore"}, "error_score must be one of 'raise'"),
        ({"error_score": None}, "error_score must be one of 'raise', nan, got None"),
        ({"error_score": 0.0}, "error_score must be one of 'raise', nan, got 0"),
        ({"n_jobs": 0}, "n_jobs must not be 0: take 1"),
        ({"verbose": -1}, "verbose must be at least 0"),
        ({"n_jobs": 1.5}, "n_jobs must be an integer, got 1.5"),
        ({"cache_dir": 3}, "cache_dir must be a folder, got 3"),
        ({"cache_key": 3}, "cache_key must be a text, got 3"),
        ({"train_sizes": [20.0]}, r"train_sizes\[0\] must be an integer, got 20.0"),
        ({"random_state": np.random.default_rng()}, "random_state must be an integer"),
    ],
)
def test_bad_parameters_are_named(blobs, changes, message):
    with pytest.raises((TypeError, ValueError), match=message):
        _sweep(**changes).fit(*blobs)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (lambda y: np.eye(4)[y], "y should be a 1d array"),
        (lambda y: np.where(y == 0, None, "a"), "y must hold a label.*missing one"),
        (lambda y: np.where(y == 0, np.nan, y), "y must hold a label.*missing one"),
        (lambda y: y[:0], "X and y must hold samples, got none"),
        (lambda y: y[:7], "X has 200, y 7"),
        (lambda y: y + 0.5, "Unknown label type: continuous"),
        (lambda y: 0 * y, "labels of at least 2 classes, got 0 alone"),
    ],
)
def test_labels_that_cannot_be_are_named(blobs, labels, message):
    X, y = blobs
    with pytest.raises(ValueError, match=message):
        _sweep().fit(X, labels(y))


def test_labels_may_be_a_column(blobs):
    X, y = blobs
    frame = pd.DataFrame({"label": y})
    expected = _sweep().fit(X, y).trajectories_
    found = _sweep().fit(X, frame).trajectories_
    assert_frame_equal(found, expected, check_exact=True)


def test_sparse_samples_are_refused(blobs):
    with pytest.raises(TypeError, match="X must be dense, got a csr_array"):
        _sweep().fit(csr_array(blobs[0]), blobs[1])


@pytest.mark.parametrize(
    ("counts", "test_size", "purpose"),
    [([500, 2], 20, "testing"), ([500, 500, 2], 0.95, "training")],
)
def test_a_class_that_rounds_to_nothing_is_told(counts, test_size, purpose):
    y = np.repeat(np.arange(len(counts)), counts)
    X = np.random.default_rng(0).normal(size=(len(y), 3))
    message = f"none of the 2 samples of the rarest class for {purpose}"
    with pytest.raises(ValueError, match=message):
        _sweep(train_sizes=[10], test_size=test_size).fit(X, y)


def test_progress_is_silent_or_a_few_lines(blobs, capfd):
    _sweep(verbose=0).fit(*blobs)
    assert capfd.readouterr() == ("", "")
    _sweep(verbose=1).fit(*blobs)
    out, err = capfd.readouterr()
    assert out == ""
    assert "6/6" in err
    assert len(err.splitlines()) == 1
