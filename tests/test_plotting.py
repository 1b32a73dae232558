"""The figures show what the law holds, and nothing that they computed themselves."""

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt
from numpy.testing import assert_allclose
from sklearn.exceptions import NotFittedError

from scalinglaw import ScalingLawDisplay, ScalingLawEstimator
from scalinglaw.datasets import SCENARIOS, make_trajectories

KINDS = ("norm", "optimum", "collapse", "data", "window")


@pytest.fixture(autouse=True)
def _closed_figures():
    with mpl.rc_context({"backend": "agg"}):
        yield
    plt.close("all")


@pytest.fixture(scope="module")
def law():
    return ScalingLawEstimator().fit(make_trajectories(random_state=0))


def _curves(ax):
    return [line for line in ax.get_lines() if line.get_linewidth() == 0.6]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_draws_labelled_axes_of_its_own_figure(law, kind):
    display = ScalingLawDisplay.from_estimator(law, kind=kind)
    assert display.ax_.get_xlabel()
    assert display.ax_.get_ylabel()
    display.figure_.canvas.draw()


@pytest.mark.parametrize("kind", KINDS)
def test_a_display_draws_into_the_axes_it_is_given(law, kind):
    figure, ax = plt.subplots()
    display = ScalingLawDisplay.from_estimator(law, kind=kind, ax=ax)
    assert display.ax_ is ax
    assert display.figure_ is figure


def test_the_norm_figure_has_one_curve_per_run_with_its_own_points(law):
    ax = ScalingLawDisplay.from_estimator(law, kind="norm").ax_
    table = law.trajectories_
    runs = list(table.groupby(["train_size", "seed"]))
    curves = _curves(ax)
    assert len(curves) == len(runs)
    _, first = runs[0]
    assert_allclose(curves[0].get_xdata(), np.exp(first["log_norm"]))
    assert_allclose(curves[0].get_ydata(), np.exp(first["log_error"]))


def test_the_line_of_the_norm_figure_falls_with_gamma1(law):
    ax = ScalingLawDisplay.from_estimator(law, kind="norm").ax_
    (line,) = [line for line in ax.get_lines() if "gamma" in line.get_label()]
    x, y = np.log(line.get_xdata()), np.log(line.get_ydata())
    assert_allclose(np.diff(y) / np.diff(x), -law.gamma1_.estimate, rtol=1e-6)


def test_the_predicted_slope_is_drawn_beside_the_measured_one(law):
    ax = ScalingLawDisplay.from_estimator(law, kind="data").ax_
    lines = {line.get_label().split()[0]: line for line in ax.get_lines()}
    for label, name in (
        ("measured", "gamma_measured"),
        ("predicted", "gamma_predicted"),
    ):
        x = np.log(lines[label].get_xdata())
        y = np.log(lines[label].get_ydata())
        expected = -law.exponents_.loc[name, "estimate"]
        assert_allclose(np.diff(y) / np.diff(x), expected, rtol=1e-6)


def test_curves_collapse_onto_one_point_at_their_optimum(law):
    view = ScalingLawDisplay.from_estimator(law, kind="collapse").view
    lowest = view.curves.groupby("train_size")["log_y"].min()
    assert np.abs(lowest).max() < 0.2


@pytest.mark.filterwarnings("ignore::UserWarning")  # what is censored is warned of
def test_censored_optima_are_hollow_and_named():
    table = make_trajectories(**SCENARIOS["budget"], random_state=0)
    law = ScalingLawEstimator().fit(table)
    ax = ScalingLawDisplay.from_estimator(law, kind="optimum").ax_
    labels = ax.get_legend_handles_labels()[1]
    assert "training stopped before it" in labels


def test_norms_beyond_a_float_are_drawn_on_an_axis_of_exponents(law):
    table = make_trajectories(random_state=0)
    column = "log_spectral_complexity"
    shifted = table.assign(**{column: table[column] + 5000.0})
    shifted_law = ScalingLawEstimator().fit(shifted)
    ax = ScalingLawDisplay.from_estimator(shifted_law, kind="norm").ax_
    assert ax.get_xscale() == "linear"
    assert "log" in ax.get_xlabel()
    first = _curves(ax)[0].get_xdata()[0]
    assert_allclose(first * np.log(10), shifted_law.trajectories_["log_norm"].iloc[0])


@pytest.mark.parametrize("window", [(0.01, None), (None, 0.5), (None, None)])
@pytest.mark.filterwarnings("ignore::UserWarning")  # of what such windows resolve
def test_a_window_that_is_open_is_drawn_to_the_end_of_the_axis(window):
    table = make_trajectories(random_state=0)
    law = ScalingLawEstimator(window=window).fit(table)
    ax = ScalingLawDisplay.from_estimator(law, kind="collapse").ax_
    (span,) = [p for p in ax.patches if p.get_label() == "fit window"]
    left, right = ax.get_xlim()
    expected = [
        end if bound is None else bound
        for bound, end in zip(window, (left, right), strict=True)
    ]
    assert_allclose([span.get_x(), span.get_x() + span.get_width()], expected)
    # The axis is as long as it is for the curves alone.
    x = [line.get_xdata() for line in _curves(ax)]
    assert left > 0.1 * np.min(np.concatenate(x))
    assert right < 10 * np.max(np.concatenate(x))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore::UserWarning")  # of what such units resolve
def test_windows_wider_than_a_float_s_range_are_drawn(kind):
    column = "log_spectral_complexity"
    table = make_trajectories(random_state=1)
    for factor in (60, 300):
        wide = table.assign(**{column: factor * table[column] + 400})
        law = ScalingLawEstimator().fit(wide)
        display = ScalingLawDisplay.from_estimator(law, kind=kind)
        display.figure_.canvas.draw()
        if kind == "collapse":
            below = law.windows_["log_norm_low"] - law.landmarks_["log_norm"]
            assert_allclose(display.view.span[0], below.min())


def test_the_axes_say_that_an_offset_is_taken_off(law):
    table = make_trajectories(offset=0.02, random_state=0)
    less = ScalingLawEstimator(offset=True).fit(table)
    for kind in ("norm", "data", "collapse"):
        label = ScalingLawDisplay.from_estimator(less, kind=kind).ax_.get_ylabel()
        assert label.startswith("test error less the offset")
        label = ScalingLawDisplay.from_estimator(law, kind=kind).ax_.get_ylabel()
        assert "offset" not in label


def test_an_unknown_kind_names_those_there_are(law):
    with pytest.raises(ValueError, match="kind must be one of 'norm', 'optimum'"):
        ScalingLawDisplay.from_estimator(law, kind="error")


def test_a_law_that_was_not_fitted_has_no_figure():
    with pytest.raises(NotFittedError):
        ScalingLawDisplay.from_estimator(ScalingLawEstimator())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore::UserWarning")  # what the data lack is the point
def test_a_law_that_found_next_to_nothing_still_has_its_figures(kind):
    short = make_trajectories(
        train_sizes=[100, 200, 400, 800], n_seeds=1, n_records=3, random_state=0
    )
    law = ScalingLawEstimator(landmark="minimum").fit(short)
    assert law.window_grid_.empty
    ScalingLawDisplay.from_estimator(law, kind=kind).figure_.canvas.draw()
