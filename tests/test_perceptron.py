"""The perceptron's flow against theory, plain descent, and other solvers."""

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.datasets import load_breast_cancer, load_iris, make_blobs
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from scalinglaw import (
    LogisticPerceptron,
    ScalingLawEstimator,
    TrajectorySweep,
    concat_trajectories,
    make_teacher_student,
    theory,
)


@pytest.fixture(scope="module")
def separable():
    return make_teacher_student(400, 40, random_state=0)


@pytest.fixture(scope="module")
def fitted(separable):
    X, y, teacher = separable
    return LogisticPerceptron(max_norm=1e4).fit(X, y, teacher=teacher)


def test_the_flow_starts_along_hebb_at_a_small_norm(separable, fitted):
    X, y, teacher = separable
    hebb = y @ X
    overlap = hebb @ teacher / np.linalg.norm(hebb) / np.linalg.norm(teacher)
    first = fitted.trajectory_.iloc[0]
    assert_allclose(first["test_error"], np.arccos(overlap) / np.pi, rtol=1e-6)
    assert_allclose(first["log_rms"], np.log(1e-2))
    assert first["relative_test_error"] == 1.0


def test_the_flow_follows_fine_steps_of_gradient_descent(separable):
    X, y, teacher = separable
    settings = {"max_norm": 10.0, "n_records": 25}
    flow = LogisticPerceptron(**settings).fit(X, y, teacher=teacher).trajectory_
    descent = LogisticPerceptron(
        solver="gradient_descent", lr=0.02, max_steps=400_000, **settings
    ).fit(X, y, teacher=teacher)
    assert descent.stop_reason_ == "max_norm"
    assert_allclose(descent.trajectory_["test_error"], flow["test_error"], atol=1e-3)
    assert_allclose(descent.trajectory_["log_rms"], flow["log_rms"])
    assert_allclose(np.linalg.norm(descent.coef_) / np.sqrt(40), 10.0)


def test_a_large_norm_reaches_the_largest_margin(separable, fitted):
    X, y, _ = separable
    svm = LinearSVC(
        C=1e6,
        loss="hinge",
        fit_intercept=False,
        tol=1e-8,
        max_iter=2_000_000,
        random_state=0,
    ).fit(X, y)
    best = (y * (X @ svm.coef_[0])).min() / np.linalg.norm(svm.coef_)
    assert_allclose(fitted.trajectory_["margin"].iloc[-1], best, rtol=2e-3)
    assert (fitted.trajectory_["margin"].diff().dropna() > 0).all()


@pytest.mark.parametrize("loss", ["logistic", "square"])
def test_data_that_are_not_separable_end_at_the_finite_optimum(loss):
    X, y, teacher = make_teacher_student(600, 30, flip_probability=0.15, random_state=1)
    perceptron = LogisticPerceptron(loss=loss).fit(X, y, teacher=teacher)
    assert perceptron.stop_reason_ == "norm_converged"
    w = perceptron.coef_[0]
    if loss == "logistic":
        solver = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10)
        expected = solver.fit(X, y).coef_[0] * np.sqrt(30) / 2
        assert_allclose(w, expected, rtol=1e-4, atol=1e-5)
    else:
        signed = X * y[:, None]
        expected = np.linalg.lstsq(signed, np.ones(600), rcond=None)[0] * np.sqrt(30)
        assert_allclose(w, expected, rtol=1e-8)
    log_norm = np.log(np.linalg.norm(w) / np.sqrt(30))
    assert_allclose(perceptron.trajectory_["log_rms"].iloc[-1], log_norm)


def test_training_at_a_growing_norm_stays_near_the_fixed_norm_theory():
    # Within 15 % everywhere and 1 to 2 % from norm 5 on, as in arXiv:2505.13230.
    runs = []
    for seed in range(6):
        X, y, teacher = make_teacher_student(2000, 200, random_state=seed)
        run = LogisticPerceptron(max_norm=100.0, n_records=30, random_state=seed)
        runs.append(run.fit(X, y, teacher=teacher).trajectory_)
    mean = concat_trajectories(runs).groupby("epoch")[["log_rms", "test_error"]].mean()
    norm = np.exp(mean["log_rms"].to_numpy())
    ratio = mean["test_error"].to_numpy() / theory.generalization_error(10.0, norm)
    assert np.abs(ratio - 1).max() < 0.15
    assert ratio[(norm > 0.7) & (norm < 1.4)].mean() == pytest.approx(1.12, abs=0.03)
    assert_allclose(ratio[norm > 5], 1.0, atol=0.03)


def test_a_counted_test_error_is_near_the_exact_one(separable, fitted):
    X, y, teacher = separable
    X_test = np.random.default_rng(5).standard_normal((20_000, 40))
    counted = LogisticPerceptron(max_norm=1e4).fit(
        X, y, eval_set=(X_test, np.where(X_test @ teacher > 0, 1, -1))
    )
    exact = fitted.trajectory_["test_error"]
    assert_allclose(counted.trajectory_["test_error"], exact, atol=0.01)
    assert (counted.trajectory_["n_test"] == 20_000).all()


def test_labels_of_any_type_give_the_same_weights(separable, fitted):
    X, y, _ = separable
    words = np.where(y > 0, "yes", "no")
    other = LogisticPerceptron(max_norm=1e4).fit(X, words)
    assert_allclose(other.coef_, fitted.coef_)
    assert set(other.predict(X)) == {"yes", "no"}
    assert other.score(X, words) == 1.0


def test_each_class_is_the_perceptron_of_that_class_against_the_rest():
    X, y = make_blobs(150, n_features=8, centers=3, random_state=1)
    X = X - X.mean(0)
    several = LogisticPerceptron(max_norm=20.0).fit(X, y)
    for label, coef in zip(several.classes_, several.coef_, strict=True):
        alone = LogisticPerceptron(max_norm=20.0).fit(X, y == label)
        assert_allclose(coef, alone.coef_[0])


def test_classes_of_which_one_is_not_separable_are_recorded_at_common_norms():
    X, y = load_iris(return_X_y=True)
    X = (X - X.mean(0)) / X.std(0)
    several = LogisticPerceptron(max_norm=100.0).fit(X, y)
    assert several.stop_reason_ == "norm_converged"
    marks = np.geomspace(1e-2, 100.0, 60)[: len(several.trajectory_)]
    assert_allclose(several.trajectory_["log_rms"], np.log(marks))
    for label, coef in zip(several.classes_, several.coef_, strict=True):
        alone = LogisticPerceptron(max_norm=100.0).fit(X, y == label)
        assert_allclose(coef, alone.coef_[0], rtol=1e-6)


def test_inputs_far_from_unit_scale_end_at_the_same_optimum():
    # The norm shrinks on the way: the flow must not turn back.
    X, y = load_breast_cancer(return_X_y=True)
    X = (X - X.mean(0)) / X.std(0)
    unit = LogisticPerceptron().fit(X, y)
    large = LogisticPerceptron(init_norm=1e-3).fit(100 * X, y)
    assert unit.stop_reason_ == large.stop_reason_ == "norm_converged"
    assert_allclose(100 * large.coef_, unit.coef_, rtol=1e-3, atol=0.1)
    assert unit.score(X, y) > 0.99


def test_several_classes_are_learned_one_against_the_rest():
    X, y = make_blobs(200, n_features=10, centers=4, random_state=0)
    perceptron = LogisticPerceptron(max_norm=50.0).fit(X - X.mean(0), y)
    assert perceptron.coef_.shape == (4, 10)
    assert perceptron.score(X - X.mean(0), y) > 0.95
    assert_allclose(perceptron.predict_proba(X).sum(axis=1), 1.0)


def test_probabilities_follow_the_loss(separable, fitted):
    X, _, _ = separable
    decision = fitted.decision_function(X)
    with np.errstate(over="ignore"):
        expected = 1 / (1 + np.exp(-2 * decision))
    assert_allclose(fitted.predict_proba(X)[:, 1], expected, atol=1e-12)


def test_probabilities_of_several_classes_are_those_of_each_against_the_rest():
    X, y = make_blobs(200, n_features=10, centers=4, random_state=0)
    X = X - X.mean(0)
    perceptron = LogisticPerceptron(max_norm=1.0).fit(X, y)
    alone = 1 / (1 + np.exp(-2 * perceptron.decision_function(X)))
    expected = alone / alone.sum(axis=1, keepdims=True)
    assert_allclose(perceptron.predict_proba(X), expected)
    # As far out as no float holds what each class alone would have.
    far = perceptron.predict_proba(1e4 * X)
    assert_allclose(far.sum(axis=1), 1.0)


def test_the_square_loss_stops_far_below_the_asked_norm_and_shows_no_law():
    runs = []
    for load in (5, 10, 20, 40):
        for seed in range(3):
            rng = np.random.default_rng([load, seed])
            X, y, teacher = make_teacher_student(50 * load, 50, random_state=rng)
            square = LogisticPerceptron(loss="square", random_state=seed)
            square.fit(X, y, teacher=teacher)
            assert square.stop_reason_ == "norm_converged"
            assert np.exp(square.trajectory_["log_rms"].iloc[-1]) < 2.0
            runs.append(square)
    law = ScalingLawEstimator("rms", metric="relative_test_error")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # It says in several ways that it found none.
        law.fit(runs)
    assert not law.resolved_
    # Its optimum is where the flow ends, whatever the load: there is no optimum law.
    assert np.isnan(law.gamma2_.estimate)
    assert np.isnan(law.gamma_predicted_.estimate)


@pytest.mark.filterwarnings("ignore::UserWarning")  # few, broad crossovers
def test_a_sweep_of_perceptrons_feeds_the_estimator_in_a_pipeline():
    X, y, teacher = make_teacher_student(4100, 40, random_state=7)
    sweep = TrajectorySweep(
        LogisticPerceptron(init_norm=0.05, max_norm=1e3, n_records=40),
        train_sizes=[200, 400, 800, 1600, 3200],
        n_seeds=3,
        test_size=100,
        random_state=0,
    )
    model = make_pipeline(sweep, ScalingLawEstimator("rms"))
    model.fit(X, y, trajectorysweep__teacher=teacher)
    table = model[0].trajectories_
    assert table.groupby(["train_size", "seed"]).ngroups == 15
    assert {"log_rms", "test_error", "margin"} <= set(table.columns)
    # The error at the optimum falls as 1/alpha: exactly, exponent 1 in the limit.
    assert model[-1].gamma_measured_.estimate == pytest.approx(1.0, abs=0.15)
    # Exact errors, by the teacher that the pipeline hands on, lie between Bayes and
    # one; counted on 100 samples most would be 0.
    assert table["test_error"].min() > 0.5 * theory.bayes_error(3200 / 40)
    assert table["test_error"].nunique() > 0.9 * len(table)


def test_gradient_descent_says_when_it_ran_out_of_steps(separable):
    X, y, _ = separable
    short = LogisticPerceptron(solver="gradient_descent", max_steps=50).fit(X, y)
    assert short.stop_reason_ == "max_steps"
    assert len(short.trajectory_) < 60
    # Its weights are the last ones, not those of the last record.
    length = np.linalg.norm(short.coef_) / np.sqrt(40)
    assert length > np.exp(short.trajectory_["log_rms"].iloc[-1])


@pytest.mark.parametrize("flip", [0.0, 0.2])
def test_the_teacher_labels_and_flips_as_asked(flip):
    X, y, teacher = make_teacher_student(
        20_000, 10, flip_probability=flip, random_state=0
    )
    assert_allclose(np.linalg.norm(teacher), np.sqrt(10))
    wrong = np.mean(y != np.where(X @ teacher > 0, 1, -1))
    assert wrong == pytest.approx(flip, abs=0.01)


def test_inputs_have_the_spectrum_asked_for():
    X, _, _ = make_teacher_student(50_000, 20, spectrum_exponent=1.5, random_state=0)
    variance = X.var(axis=0)
    assert_allclose(variance.mean(), 1.0, rtol=0.02)
    slope = np.polyfit(np.log(np.arange(1, 21)), np.log(variance), 1)[0]
    assert_allclose(slope, -1.5, atol=0.03)


@pytest.mark.filterwarnings("ignore::UserWarning")  # few, broad crossovers
def test_a_list_of_fitted_perceptrons_is_a_table_of_trajectories():
    runs = []
    for load in (5, 10, 20, 40, 80):
        for seed in range(4):
            rng = np.random.default_rng([load, seed])
            X, y, teacher = make_teacher_student(100 * load, 100, random_state=rng)
            run = LogisticPerceptron(random_state=seed)
            runs.append(run.fit(X, y, teacher=teacher))
    law = ScalingLawEstimator("rms", metric="relative_test_error").fit(runs)
    assert law.gamma1_.estimate == pytest.approx(0.5, abs=0.1)
    assert law.gamma2_.estimate == pytest.approx(1.0, abs=0.35)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p, X, y: p(solver="newton").fit(X, y), "solver must be one of"),
        (lambda p, X, y: p(max_norm=1e-3).fit(X, y), "max_norm must be above 0.01"),
        (lambda p, X, y: p(max_norm=np.inf).fit(X, y), "max_norm must be finite, got"),
        (lambda p, X, y: p(init_norm=np.inf).fit(X, y), "init_norm must be finite"),
        (lambda p, X, y: p().fit(X, y, teacher=[1, 2]), "teacher must have 40 entries"),
        (lambda p, X, y: p().fit(X, y, teacher=0), "teacher must have 40 entries.* 1 "),
        (lambda p, X, y: p().fit(X, y, teacher=0 * X[0]), "teacher must have a direct"),
        (lambda p, X, y: p().fit(X, y, eval_set=(X, y[:3])), "got 3 for 400"),
        (
            lambda p, X, y: p().fit(X, y, eval_set=(X, y.astype(str))),
            "eval_set has the label '-1', which y has not: it has -1, 1",
        ),
        (
            lambda p, X, y: p().fit(X, y.astype(str), eval_set=(X, y)),
            "eval_set has the label -1, which y has not: it has '-1', '1'",
        ),
        (lambda p, X, y: p().fit(X, y, eval_set=(X, y + 1)), "eval_set has the label"),
        (lambda p, X, y: p().fit(X, 0 * y), "at least 2 classes, got 1 class"),
        (lambda p, X, y: p().fit(np.r_[X, X], np.r_[y, -y]), "classes cancel"),
        (lambda p, X, y: p(max_norm=1e300).fit(X, y), r"max_norm must be .* 1e\+10"),
        (lambda p, X, y: p(max_norm=10**400).fit(X, y), "max_norm must be finite"),
        (lambda p, X, y: p(lr=np.nan).fit(X, y), "lr must be finite, got nan"),
        (lambda p, X, y: p(n_records=10**400).fit(X, y), "n_records must be at most"),
        (lambda p, X, y: p(random_state=10**400).fit(X, y), r"below 2\*\*63"),
        (lambda p, X, y: p().fit(1e300 * X, y), r"X must have entries of a size"),
        (lambda p, X, y: p().fit(1e-300 * X, y), r"X must have entries of a size"),
        (lambda p, X, y: p().fit(np.inf * X, y), "X contains infinity"),
        (lambda p, X, y: p().fit(1e90 * X, y), "Lower max_norm, or give X features"),
        (
            lambda p, X, y: p().fit([[10**400], [1]], [0, 1]),
            "X and y must hold numbers",
        ),
        (lambda p, X, y: p().fit(X, y, teacher=[10**400] * 40), "teacher contains inf"),
        (
            lambda p, X, y: p().fit(X, y, eval_set=(1e300 * X, y)),
            r"eval_set\[0\] must have entries",
        ),
        (
            lambda p, X, y: p(solver="gradient_descent", device="abacus").fit(X, y),
            "device must be .* got 'abacus'",
        ),
        (
            lambda p, X, y: p(solver="gradient_descent", device="meta").fit(X, y),
            'device must hold numbers, and "meta" does not',
        ),
        (
            lambda p, X, y: p(solver="gradient_descent", lr=1e308).fit(X, y),
            r"lr=1e\+308 makes the weights overflow",
        ),
    ],
)
def test_bad_input_is_named(separable, call, message):
    X, y, _ = separable
    with pytest.raises(ValueError, match=message):
        call(LogisticPerceptron, X, y)


@pytest.mark.parametrize("before", [False, True])
def test_a_fit_that_fails_leaves_the_estimator_as_it_was(separable, before):
    X, y, _ = separable
    perceptron = LogisticPerceptron(max_norm=1.0)
    if before:
        perceptron.fit(X, y)
    state = dict(vars(perceptron))
    for arguments in (
        (X[:, :5], 0 * y),
        (1e90 * X[:, :5], np.where(y > 0, "a", "b")),
        (X[:, :5], y, (X, y)),
    ):
        with pytest.raises(ValueError, match=r"\w"):
            perceptron.fit(*arguments)
        assert vars(perceptron).keys() == state.keys()
        assert all(vars(perceptron)[key] is state[key] for key in state)
    if not before:
        with pytest.raises(NotFittedError):
            perceptron.predict(X)


def test_names_of_columns_are_forgotten_with_the_fit_that_saw_them(separable):
    X, y, _ = separable
    perceptron = LogisticPerceptron(max_norm=1.0)
    perceptron.fit(pd.DataFrame(X, columns=[f"x{k}" for k in range(40)]), y)
    assert perceptron.feature_names_in_[0] == "x0"
    assert not hasattr(perceptron.fit(X, y), "feature_names_in_")


@pytest.mark.parametrize("length", [1e-300, 1e-5, 1e300])
def test_the_length_of_the_teacher_does_not_matter(separable, fitted, length):
    X, y, teacher = separable
    run = LogisticPerceptron(max_norm=1e4).fit(X, y, teacher=length * teacher)
    assert_allclose(
        run.trajectory_["test_error"], fitted.trajectory_["test_error"], rtol=1e-12
    )


def test_an_eval_set_is_a_pair(separable):
    X, y, _ = separable
    with pytest.raises(TypeError, match=r"eval_set must be a pair \(X_test, y_test\)"):
        LogisticPerceptron().fit(X, y, eval_set=X)


def test_labels_that_are_equal_as_numbers_are_the_same(separable):
    X, y, _ = separable
    run = LogisticPerceptron(max_norm=1.0).fit(X, y, eval_set=(X, y.astype(float)))
    table = run.trajectory_
    assert_allclose(table["test_error"], table["train_error"])


@pytest.mark.parametrize("probability", [-0.1, 0.5, np.nan, np.inf])
def test_labels_are_flipped_by_chance_and_not_by_majority(probability):
    with pytest.raises(ValueError, match=r"flip_probability must be .*, got"):
        make_teacher_student(10, 5, flip_probability=probability)
    with pytest.raises(ValueError, match=r"at least 0 and below 0.5, got -0.1\."):
        make_teacher_student(10, 5, flip_probability=-0.1)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_samples": 10**400}, "n_samples times n_features must be at most"),
        ({"n_features": 10**10}, "n_samples times n_features must be at most"),
        ({"n_samples": 0}, "n_samples must be at least 1"),
        ({"spectrum_exponent": 10**400}, "spectrum_exponent must be .* got inf"),
        ({"random_state": -1}, "random_state must be an integer of at least 0"),
    ],
)
def test_data_that_cannot_be_are_named_by_the_argument(parameters, message):
    with pytest.raises(ValueError, match=message):
        make_teacher_student(**{"n_samples": 10, "n_features": 5, **parameters})
    with pytest.raises(TypeError, match=r"random_state must be .* got 'seed'"):
        make_teacher_student(10, 5, random_state="seed")


def test_real_tabular_data_are_learned():
    X, y = load_iris(return_X_y=True)
    X = (X - X.mean(0)) / X.std(0)
    assert LogisticPerceptron(max_norm=20.0).fit(X, y).score(X, y) > 0.75
