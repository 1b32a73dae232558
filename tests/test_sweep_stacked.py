"""Seeds side by side: the trajectories of single runs, from one stacked network."""

import json
import re

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from pandas.testing import assert_frame_equal
from sklearn.base import clone
from skorch.callbacks import Callback
from torch import nn

from scalinglaw import (
    CNNClassifier,
    LogisticPerceptron,
    ResNetClassifier,
    TrajectoryClassifier,
    TrajectorySweep,
    ViTClassifier,
)
from scalinglaw.classifiers.stacked import fit_stacked, why_single, work_per_layer
from scalinglaw.datasets import load_images
from scalinglaw.exceptions import RunFailedWarning
from scalinglaw.sweep import read_cache, read_records
from scalinglaw.sweep.devices import device_of
from scalinglaw.sweep.runs import Run
from scalinglaw.sweep.stacks import group_runs, stack_width
from scalinglaw.sweep.subsets import nested_order, subset_state


def linear(input_shape, n_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, n_classes))


def normalised(input_shape, n_classes):
    # A bias before the normalisation would move by rounding errors alone.
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, 12, bias=False),
        nn.BatchNorm1d(12),
        nn.ReLU(),
        nn.Linear(12, n_classes),
    )


def dropping(input_shape, n_classes):
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.1), nn.Linear(64, n_classes))


def branching(input_shape, n_classes):
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(64, n_classes)

        def forward(self, X):
            X = X.flatten(1)
            return self.layer(X) if X.sum() > 0 else self.layer(-X)

    return Branching()


SETTINGS = {"max_epochs": 6, "n_records": 12, "device": "cpu", "lr": 0.01}
CNN = CNNClassifier(conv_widths=(2, 4), hidden_width=8, **SETTINGS)
MODELS = {
    "linear": TrajectoryClassifier(linear, **SETTINGS),
    "linear, sgd": TrajectoryClassifier(
        linear, optimizer="sgd", weight_decay=1e-3, **SETTINGS
    ),
    "batch norm": TrajectoryClassifier(normalised, **SETTINGS),
    "cnn, adamw": clone(CNN).set_params(
        optimizer="adamw", weight_decay=0.01, normalization=((0.3,), (0.4,))
    ),
    "resnet": ResNetClassifier(
        widths=(4,), depths=(1,), **(SETTINGS | {"max_epochs": 3})
    ),
}


@pytest.fixture(scope="module")
def digits():
    return load_images("digits")


def _runs(digits, n_runs, size=150):
    """Return samples of each run, with all classes, and the test set."""
    X, y = digits
    rows = [
        np.r_[
            np.arange(10), 10 + np.random.default_rng(i).permutation(900)[: size - 10]
        ]
        for i in range(n_runs)
    ]
    return [(X[r], y[r]) for r in rows], (X[1200:1500], y[1200:1500])


def _seeded(model, n_runs):
    return [clone(model).set_params(random_state=7 + i) for i in range(n_runs)]


@pytest.mark.parametrize("name", MODELS)
def test_stacked_runs_have_the_trajectories_of_single_ones(digits, name):
    data, eval_set = _runs(digits, 3)
    stacked = fit_stacked(_seeded(MODELS[name], 3), data, eval_set)
    for single, one, (X, y) in zip(
        _seeded(MODELS[name], 3), stacked, data, strict=True
    ):
        expected = single.fit(X, y, eval_set=eval_set).trajectory_
        found = one.trajectory_
        assert list(found.columns) == list(expected.columns)
        exact = ["train_size", "seed", "epoch", "step", "n_test"]
        assert_frame_equal(found[exact], expected[exact], check_exact=True)
        # One sample of 150 on the border between two classes may change sides.
        for column in ("train_error", "test_error"):
            assert_allclose(found[column], expected[column], atol=0.0067)
        assert_allclose(found["test_loss"], expected["test_loss"], rtol=2e-4)
        norm = "log_spectral_complexity"
        assert_allclose(found[norm], expected[norm], atol=2e-4)
        assert one.score(X, y) == pytest.approx(single.score(X, y), abs=0.0067)
        assert_allclose(one.predict_proba(X), single.predict_proba(X), atol=1e-3)


@pytest.mark.parametrize("name", ["linear", "cnn, adamw", "resnet"])
def test_which_runs_share_a_stack_moves_no_bit(digits, name):
    data, eval_set = _runs(digits, 7)
    whole = fit_stacked(_seeded(MODELS[name], 7), data, eval_set)
    part = fit_stacked(_seeded(MODELS[name], 7)[3:5], data[3:5], eval_set)
    for one, other in zip(whole[3:5], part, strict=True):
        assert_frame_equal(one.trajectory_, other.trajectory_, check_exact=True)


def test_a_run_that_diverges_leaves_its_neighbours_alone(digits):
    data, eval_set = _runs(digits, 3)
    X, y = data[1]
    data[1] = (np.where(np.arange(len(X))[:, None, None, None] == 99, 1e30, X), y)
    data = [(X.astype(np.float32), y) for X, y in data]
    eval_set = (eval_set[0].astype(np.float32), eval_set[1])
    model = MODELS["linear, sgd"]
    first, second, third = fit_stacked(_seeded(model, 3), data, eval_set)
    assert isinstance(second, ValueError)
    assert "diverged" in str(second)
    with pytest.raises(ValueError, match="diverged"):
        _seeded(model, 3)[1].fit(*data[1], eval_set=eval_set)
    for position, one in ((0, first), (2, third)):
        alone = _seeded(model, 3)[position].fit(*data[position], eval_set=eval_set)
        assert_allclose(
            one.trajectory_["test_loss"], alone.trajectory_["test_loss"], rtol=1e-4
        )


def test_stacking_leaves_the_global_generator_as_it_was(digits):
    X, y = digits
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert why_single(CNN, X[:20], y[:20]) == ""
    data, eval_set = _runs(digits, 2)
    fit_stacked(_seeded(CNN, 2), data, eval_set)
    assert torch.equal(torch.get_rng_state(), before)


class Nothing(Callback):
    """A callback that does nothing."""


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (LogisticPerceptron(), "LogisticPerceptron is no network"),
        (TrajectoryClassifier(linear, callbacks=[Nothing()]), "callbacks is set"),
        (
            TrajectoryClassifier(linear, optimizer=torch.optim.Rprop),
            "another optimizer",
        ),
        (TrajectoryClassifier(dropping), "dropout draws random numbers"),
        (TrajectoryClassifier(branching), "its network cannot be stacked .* control"),
        (clone(CNN).set_params(augment=True), "augment draws random numbers"),
        (clone(CNN).set_params(verbose=1), "verbose is set"),
    ],
)
def test_what_cannot_be_stacked_says_why(digits, model, reason):
    X, y = digits
    found = why_single(model, X[:20], y[:20])
    assert re.search(reason, found)


def _sweep(model=CNN, **changes):
    settings = {"train_sizes": [30, 60], "n_seeds": 3, "test_size": 300}
    return TrajectorySweep(model, **(settings | {"random_state": 0} | changes))


def test_a_sweep_stacks_small_networks_by_itself(digits):
    auto = _sweep().fit(*digits)
    assert auto.stacking_ == ""
    single = _sweep(stack=False).fit(*digits)
    assert single.stacking_ == "stack=False"
    norm = "log_spectral_complexity"
    assert_allclose(auto.trajectories_[norm], single.trajectories_[norm], atol=2e-4)
    large = clone(CNN).set_params(conv_widths=(64, 64), max_epochs=1)
    X, y = digits
    sweep = _sweep(large, train_sizes=[30], n_seeds=2).fit(X[:400], y[:400])
    assert "multiply-adds per batch" in sweep.stacking_
    assert "one seed" in _sweep(train_sizes=[30], n_seeds=1).fit(X, y).stacking_
    with pytest.warns(UserWarning, match="trained one by one: dropout draws"):
        _sweep(TrajectoryClassifier(dropping, max_epochs=1), stack=True).fit(*digits)


def test_the_measure_of_work_is_that_of_the_products(digits):
    X, y = digits
    assert work_per_layer(MODELS["linear"], X[:20], y[:20]) == 64 * 10
    model = TrajectoryClassifier(normalised)
    assert work_per_layer(model, X[:20], y[:20]) == (64 * 12 + 12 * 10) / 2


def test_stacked_sweeps_resume_and_grow_without_moving_a_bit(digits, tmp_path):
    whole = _sweep(n_seeds=4).fit(*digits).trajectories_
    _sweep(cache_dir=tmp_path).fit(*digits)
    assert set(_stacked(tmp_path)) == {3}
    # One seed more is a run without company, and a lost one too.
    for path in tmp_path.rglob("train_size=60,seed=1.*"):
        path.unlink()
    grown = _sweep(cache_dir=tmp_path, n_seeds=4, n_jobs=1).fit(*digits)
    assert_frame_equal(grown.trajectories_, whole, check_exact=True)
    assert_frame_equal(read_cache(tmp_path), whole, check_exact=True)
    assert len(read_records(tmp_path)) == 8


def _stacked(folder):
    return [
        json.loads(path.read_text())["stacked"]
        for path in folder.rglob("train_size=*.json")
    ]


def test_stacked_and_single_runs_never_share_an_entry(digits, tmp_path):
    _sweep(cache_dir=tmp_path).fit(*digits)
    _sweep(cache_dir=tmp_path, stack=False).fit(*digits)
    assert len(list(tmp_path.glob("*/sweep.json"))) == 2
    assert sorted(_stacked(tmp_path)) == [1] * 6 + [3] * 6


def test_a_stack_that_has_no_room_is_halved_without_moving_a_bit(digits, monkeypatch):
    from scalinglaw.classifiers import stacked

    whole = _sweep(n_seeds=5).fit(*digits)
    widths = []

    def little_memory(classifiers, *args):
        widths.append(len(classifiers))
        if len(classifiers) > 2:
            raise MemoryError("no room for a stack")
        return fit_stacked(classifiers, *args)

    monkeypatch.setattr(stacked, "fit_stacked", little_memory)
    found = _sweep(n_seeds=5).fit(*digits)
    assert max(widths) == 5
    assert len(found.failures_) == 0
    assert_frame_equal(found.trajectories_, whole.trajectories_, check_exact=True)


def test_a_run_that_cannot_be_trained_moves_no_bit_of_the_others(digits):
    X, y = digits
    X = X.astype("float32")
    clean = _sweep(n_seeds=4, train_sizes=[60]).fit(X, y)
    pool = np.setdiff1d(np.arange(len(y)), clean.test_indices_)
    subsets = [
        pool[nested_order(y[pool], subset_state(0, seed))][:60] for seed in range(4)
    ]
    others = np.concatenate([subsets[seed] for seed in (0, 1, 3)])
    broken = X.copy()
    broken[np.setdiff1d(subsets[2], others)[0]] = np.nan
    with pytest.warns(RunFailedWarning, match="1 run of 4 failed.*contains NaN"):
        sweep = _sweep(n_seeds=4, train_sizes=[60]).fit(broken, y)
    assert sweep.failures_["seed"].tolist() == [2]
    healthy = clean.trajectories_.query("seed != 2").reset_index(drop=True)
    assert_frame_equal(sweep.trajectories_, healthy, check_exact=True)


def test_a_train_size_added_later_does_not_unstack_the_others(digits, tmp_path):
    # Batches of 128: the layers of the smallest size alone would be small enough.
    wide = TrajectoryClassifier(_wide, max_epochs=1, n_records=3, device="cpu")
    first = _sweep(wide, train_sizes=[20], cache_dir=tmp_path).fit(*digits)
    grown = _sweep(wide, train_sizes=[20, 200], cache_dir=tmp_path).fit(*digits)
    assert grown.stacking_ == first.stacking_
    assert grown.cache_folder_ == first.cache_folder_


def _wide(input_shape, n_classes):
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 1024), nn.ReLU(), nn.Linear(1024, n_classes)
    )


def test_groups_are_of_one_size_the_longest_first():
    runs = [Run(size, seed, 0) for size in (10, 20) for seed in range(5)]
    groups = group_runs(runs, 2)
    assert [len(group) for group in groups] == [2, 2, 1, 2, 2, 1]
    assert [group[0].train_size for group in groups] == [20] * 3 + [10] * 3
    assert sorted(run for group in groups for run in group) == runs
    assert [len(group) for group in group_runs(runs, 1)] == [1] * 10


def test_the_width_shares_out_seeds_and_bounds_memory():
    assert stack_width(10, 1, 1000) == 10
    assert stack_width(10, 2, 1000) == 5
    assert stack_width(100, 1, 1000) == 16
    assert stack_width(100, 1, 2**28) == 4
    assert stack_width(1, 8, 2**40) == 2


def test_gpus_take_turns_unless_one_was_asked_for():
    places = [device_of(position, "auto", 3) for position in range(7)]
    assert places[:4] == ["cuda:0", "cuda:1", "cuda:2", "cuda:0"]
    # Any jobs that run at once are neighbours, and spread evenly.
    for start in range(4):
        at_once = places[start : start + 4]
        counts = [at_once.count(place) for place in sorted(set(places))]
        assert max(counts) - min(counts) <= 1
    assert device_of(5, "cuda", 2) == "cuda:1"
    assert device_of(5, "cuda:0", 2) == "cuda:0"
    assert device_of(5, "cpu", 2) == "cpu"
    assert device_of(5, "auto", 1) == "auto"
    assert device_of(5, "auto", 0) == "auto"


def test_attention_without_a_batching_rule_is_trained_run_by_run(digits):
    X, y = digits
    vit = ViTClassifier(patch_size=4, depth=1, width=8, max_epochs=1, device="cpu")
    assert "batching rule" in why_single(vit, X[:20], y[:20])
    sweep = TrajectorySweep(vit, train_sizes=[30], n_seeds=2, random_state=0)
    assert "batching rule" in sweep.fit(X, y).stacking_
