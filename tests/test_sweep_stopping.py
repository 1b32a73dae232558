"""Adaptive stopping: runs end after their optimum, and not before."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from pandas.testing import assert_frame_equal
from sklearn.datasets import make_classification

from scalinglaw import TrajectoryClassifier, TrajectorySweep
from scalinglaw.datasets import load_images
from scalinglaw.study import read_study
from scalinglaw.sweep import StopAfterOptimum, has_passed_optimum

STEPS = np.unique(np.geomspace(1, 4096, 49).round())


def _first_stop(steps, errors, n_test=1000, **rule):
    """Return the number of records after which the rule stops, or None."""
    return next(
        (
            n
            for n in range(1, len(steps) + 1)
            if has_passed_optimum(steps[:n], errors[:n], n_test, **rule)
        ),
        None,
    )


def test_an_error_that_falls_never_stops():
    errors = 0.5 * STEPS**-0.3
    assert _first_stop(STEPS, errors) is None


def test_a_clear_rise_stops_between_two_and_eight_times_the_optimum():
    errors = 0.1 + 0.05 * np.log(STEPS / 100) ** 2
    best = int(np.argmin(errors))
    n = _first_stop(STEPS, errors)
    assert 2 <= STEPS[n - 1] / STEPS[best] < 8
    assert_allclose(errors[:n].min(), errors.min())


def test_a_plateau_stops_after_the_patience():
    errors = np.where(STEPS < 50, 0.5, 0.2)
    best = int(np.argmin(errors))
    for patience in (3.0, 10.0):
        n = _first_stop(STEPS, errors, patience=patience)
        assert STEPS[n - 1] >= patience * STEPS[best] > STEPS[n - 2]


def test_a_run_that_still_guesses_goes_on():
    rng = np.random.default_rng(0)
    guesses = 0.9 + 0.02 * rng.normal(size=len(STEPS))
    assert _first_stop(STEPS, guesses) is None


def test_a_short_bump_on_the_way_down_does_not_stop():
    errors = 0.5 * STEPS**-0.3
    bump = (STEPS > 40) & (STEPS < 75)
    errors[bump] += 0.2
    assert bump.sum() >= 3
    assert _first_stop(STEPS, errors) is None


def test_a_rise_within_the_noise_of_the_test_set_is_not_clear():
    errors = np.where(STEPS < 50, 0.5, np.where(STEPS < 60, 0.2, 0.21))
    rule = {"patience": 1e9}
    assert _first_stop(STEPS, errors, n_test=1000, **rule) is None
    assert _first_stop(STEPS, errors, n_test=100_000, **rule) is not None


def test_an_error_of_zero_can_be_passed():
    errors = np.where(STEPS[5] == STEPS, 0.0, 0.3)
    assert _first_stop(STEPS, errors) is not None


def _noisy():
    X, y = make_classification(
        900, 30, n_informative=5, flip_y=0.3, class_sep=0.7, random_state=0
    )
    return X.astype(np.float32), y


def _sweep(callbacks, **changes):
    model = TrajectoryClassifier(
        max_epochs=80, lr=0.01, n_records=40, callbacks=callbacks, device="cpu"
    )
    settings = {"train_sizes": [100, 200], "n_seeds": 2, "test_size": 500}
    return TrajectorySweep(model, **(settings | {"random_state": 0} | changes))


def test_stopped_runs_are_heads_of_whole_ones_with_the_same_optima():
    whole = _sweep(None).fit_transform(*_noisy())
    stopped = _sweep([StopAfterOptimum()]).fit_transform(*_noisy())
    runs = ["train_size", "seed"]
    saved = 0
    for name, part in stopped.groupby(runs):
        rest = whole.groupby(runs).get_group(name).reset_index(drop=True)
        last = part["step"].iloc[-1]
        head = rest[rest["step"] <= last]
        # The last record of a stopped run is where it stopped.
        shared = part[part["step"].isin(head["step"])].reset_index(drop=True)
        assert_frame_equal(shared, head, check_exact=True)
        saved += rest["step"].iloc[-1] - last
    assert saved > 0.3 * whole.groupby(runs)["step"].max().sum()
    lowest = stopped.groupby(runs)["test_error"].min()
    assert_allclose(lowest, whole.groupby(runs)["test_error"].min())


def test_it_needs_a_test_error():
    X, y = load_images("digits")
    model = TrajectoryClassifier(max_epochs=1, callbacks=[StopAfterOptimum()])
    with pytest.raises(ValueError, match="needs a recorded test error: fit with"):
        model.fit(X.reshape(len(X), -1), y)
    model = TrajectoryClassifier(max_epochs=1, callbacks=[StopAfterOptimum(0.5)])
    with pytest.raises(ValueError, match=r"patience must be above 1, got 0\.5"):
        model.fit(X.reshape(len(X), -1), y, eval_set=(X.reshape(len(X), -1), y))


def test_a_stopped_run_counts_as_finished(tmp_path):
    first = _sweep([StopAfterOptimum()], cache_dir=tmp_path).fit(*_noisy())
    assert not first.interrupted_
    assert len(list(tmp_path.rglob("*.parquet"))) == 4
    other = _sweep([StopAfterOptimum(patience=3.0)], cache_dir=tmp_path)
    other.fit(*_noisy())
    assert len(list(tmp_path.rglob("*.parquet"))) == 8


def test_a_study_can_ask_for_it(tmp_path):
    path = tmp_path / "study.toml"
    text = (
        '[data]\nname = "digits"\n[sweep]\ntrain_sizes = [50]\n'
        '[models.mlp]\nclassifier = "{}"\nstop_after_optimum = true\n'
    )
    path.write_text(text.format("mlp"))
    (callback,) = read_study(path).models["mlp"].classifier.callbacks
    assert isinstance(callback, StopAfterOptimum)
    path.write_text(text.format("perceptron"))
    with pytest.raises(
        ValueError, match=r"models\.mlp\.stop_after_optimum is not a key"
    ):
        read_study(path)
