"""The figures show what the law holds, and nothing that they computed themselves."""

import warnings

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt
from numpy.testing import assert_allclose
from sklearn.exceptions import NotFittedError

from scalinglaw import ScalingLawDisplay, ScalingLawEstimator, concat_trajectories
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
    curves = ScalingLawDisplay.from_estimator(law, kind="norm").curves_
    table = law.trajectories_
    runs = list(table.groupby(["train_size", "seed"]))
    assert len(curves) == len(runs)
    _, first = runs[0]
    assert_allclose(curves[0].get_xdata(), np.exp(first["log_norm"]))
    assert_allclose(curves[0].get_ydata(), np.exp(first["log_error"]))


def test_the_line_of_the_norm_figure_falls_with_gamma1(law):
    (line,) = ScalingLawDisplay.from_estimator(law, kind="norm").lines_
    x, y = np.log(line.get_xdata()), np.log(line.get_ydata())
    assert_allclose(np.diff(y) / np.diff(x), -law.gamma1_.estimate, rtol=1e-6)


def test_the_predicted_slope_is_drawn_beside_the_measured_one(law):
    display = ScalingLawDisplay.from_estimator(law, kind="data")
    lines = {line.get_label().split()[0]: line for line in display.lines_}
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


@pytest.fixture(scope="module")
def budget():
    """Return the law of runs that all have the same few epochs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # what is censored is warned of
        return ScalingLawEstimator().fit(
            make_trajectories(**SCENARIOS["budget"], random_state=0)
        )


def test_an_optimum_that_was_not_reached_is_a_limit_at_the_last_checkpoint(budget):
    display = ScalingLawDisplay.from_estimator(budget, kind="optimum")
    labels = display.ax_.get_legend_handles_labels()[1]
    assert "lower limit: training stopped too soon" in labels
    points = display.view.points
    limits = points[points["censored"]]
    assert len(limits) > 0
    runs = budget.trajectories_.groupby(["train_size", "seed"])["log_norm"].last()
    ends = runs.groupby("train_size").mean()
    assert_allclose(limits["log_y"], ends.loc[limits["train_size"]])
    assert limits["std_err"].isna().all()


def test_an_error_that_still_falls_is_an_upper_limit_and_named_so(budget):
    ax = ScalingLawDisplay.from_estimator(budget, kind="data").ax_
    labels = ax.get_legend_handles_labels()[1]
    assert "upper limit: training stopped too soon" in labels
    assert ax.get_ylabel().startswith("test error reached")


@pytest.mark.parametrize(
    ("kind", "column"), [("optimum", "log_norm"), ("data", "log_error")]
)
def test_points_have_the_standard_errors_of_their_seeds(law, kind, column):
    display = ScalingLawDisplay.from_estimator(law, kind=kind)
    (bars,) = display.ax_.containers
    ends = np.log(np.array(bars.lines[2][0].get_segments())[:, :, 1])
    landmarks = law.landmarks_
    half = landmarks[f"std_err_{column}"]
    assert_allclose(ends[:, 0], landmarks[column] - half)
    assert_allclose(ends[:, 1], landmarks[column] + half)


def test_a_single_seed_has_no_bar_rather_than_one_of_zero():
    table = make_trajectories(n_seeds=1, random_state=0)
    alone = ScalingLawEstimator().fit(table)
    assert not ScalingLawDisplay.from_estimator(alone, kind="data").ax_.containers


def test_no_colour_is_pale(law):
    for kind in ("norm", "optimum", "collapse", "data", "window"):
        ax = ScalingLawDisplay.from_estimator(law, kind=kind).ax_
        drawn = [line.get_color() for line in ax.get_lines()]
        drawn += [c for points in ax.collections for c in points.get_facecolor()]
        red, green, blue = np.array([mpl.colors.to_rgb(c) for c in drawn]).T
        # Relative luminance: white is one, viridis' yellow end .82.
        assert np.max(0.2126 * red + 0.7152 * green + 0.0722 * blue) < 0.75


@pytest.mark.parametrize("kind", KINDS)
def test_limits_come_from_what_was_measured_and_not_from_bands(kind):
    table = make_trajectories(train_sizes=[250, 500, 1000, 2000], random_state=0)
    law = ScalingLawEstimator(confidence_level=0.9999).fit(table)
    display = ScalingLawDisplay.from_estimator(law, kind=kind)
    view, limits = display.view, display.ax_.get_ylim()
    shown = view.points if view.curves is None else view.curves
    logs = np.concatenate([shown["log_y"], *(line.log_y for line in view.lines)])
    if view.log_y:
        limits = np.log(limits)
    assert np.ptp(limits) < 1.5 * np.ptp(logs)


@pytest.mark.filterwarnings("ignore::UserWarning")  # broad crossovers are unresolved
@pytest.mark.parametrize("kind", ["norm", "window", "data"])
def test_an_unresolved_exponent_is_marked_and_has_no_band(kind):
    table = make_trajectories(**SCENARIOS["broad"], random_state=0)
    law = ScalingLawEstimator().fit(table)
    display = ScalingLawDisplay.from_estimator(law, kind=kind)
    assert display.ax_.get_title() == f"unresolved: {law.fitted_.reasons[0]}"
    if kind != "data":
        (line,) = display.lines_
        assert "(unresolved)" in line.get_label()
        assert line.get_linestyle() == ":"
        assert display.view.lines[0].log_low is None


def test_the_title_of_the_collapse_says_how_well_curves_fall_onto_one(law):
    display = ScalingLawDisplay.from_estimator(law, kind="collapse")
    found = law.collapse_
    assert display.ax_.get_title() == (
        f"spread {found['spread']:.2g} of log error, {found['ratio']:.2g} times that "
        f"of seeds; equal shapes p = {found['p_value']:.2g}"
    )
    assert_allclose(display.view.span, found[["log_norm_low", "log_norm_high"]])


def test_seeds_with_epochs_of_their_own_are_not_averaged_into_one_curve():
    table = make_trajectories(n_seeds=2, random_state=0)
    own = table.assign(epoch=table["epoch"] * (1 + 0.01 * table["seed"]))
    shared, alone = (
        ScalingLawDisplay.from_estimator(ScalingLawEstimator().fit(t), "collapse")
        for t in (table, own)
    )
    assert len(shared.curves_) == 6
    assert len(alone.curves_) == 12


@pytest.mark.filterwarnings("ignore::UserWarning")  # what is censored is warned of
def test_a_train_size_without_its_knee_is_no_part_of_the_collapse():
    table = make_trajectories(random_state=0)
    end = table.groupby("train_size")["log_spectral_complexity"].transform("max")
    largest = table["train_size"] == table["train_size"].max()
    short = table[~largest | (table["log_spectral_complexity"] < end - 6)]
    law = ScalingLawEstimator(landmark="knee").fit(short)
    display = ScalingLawDisplay.from_estimator(law, "collapse")
    assert law.landmarks_["censored"].sum() == 1
    assert len(display.curves_) == 5
    assert "1 train size without a knee" in display.ax_.get_title()


@pytest.mark.filterwarnings("ignore::UserWarning")  # such a window resolves nothing
def test_the_shading_ends_where_runs_end():
    table = make_trajectories(random_state=0)
    law = ScalingLawEstimator(window=(0.01, None)).fit(table)
    ax = ScalingLawDisplay.from_estimator(law, kind="norm").ax_
    (span,) = [p for p in ax.patches if "window" in p.get_label()]
    fitted = law.trajectories_.query("in_window")["log_norm"]
    ends = [span.get_x(), span.get_x() + span.get_width()]
    assert_allclose(np.log(ends), [fitted.min(), fitted.max()])


def test_keywords_of_a_user_win(law):
    display = ScalingLawDisplay.from_estimator(
        law,
        curve_kw={"linewidth": 0.3, "color": "red"},
        line_kw={"linestyle": "--", "label": "ours"},
        fill_between_kw={"alpha": 0.05},
    )
    assert {curve.get_color() for curve in display.curves_} == {"red"}
    assert display.lines_[0].get_linestyle() == "--"
    assert display.lines_[0].get_label() == "ours"
    (band,) = display.ax_.collections
    assert band.get_alpha() == 0.05
    bars = ScalingLawDisplay.from_estimator(law, "data", errorbar_kw={"capsize": 9})
    assert bars.ax_.containers


def test_a_display_says_what_it_shows(law):
    shown = {kind: repr(ScalingLawDisplay.from_estimator(law, kind)) for kind in KINDS}
    assert shown["norm"] == "ScalingLawDisplay(kind='norm', 30 curves, 1 line)"
    assert shown["data"] == "ScalingLawDisplay(kind='data', 6 points, 2 lines)"


@pytest.mark.parametrize("x", ["norm", "epoch", "step"])
def test_a_table_is_drawn_before_any_law_is_fitted(x):
    table = make_trajectories(n_seeds=2, random_state=0)
    table = table.assign(step=100 * table["epoch"])
    display = ScalingLawDisplay.from_trajectories(table, x=x)
    assert len(display.curves_) == 12
    first = table[(table["train_size"] == 250) & (table["seed"] == 0)]
    expected = np.exp(first["log_spectral_complexity"]) if x == "norm" else first[x]
    curve = display.curves_[0]
    positive = expected > 0
    assert_allclose(curve.get_xdata(), expected[positive])
    assert_allclose(curve.get_ydata(), first["test_error"][positive])


def test_models_of_one_table_differ_in_colour():
    tables = {
        name: make_trajectories(n_seeds=2, random_state=seed)
        for seed, name in enumerate(("cnn", "vit"))
    }
    display = ScalingLawDisplay.from_trajectories(concat_trajectories(tables))
    assert len(display.curves_) == 24
    assert len({curve.get_color() for curve in display.curves_}) == 2
    assert display.ax_.get_legend_handles_labels()[1] == ["cnn", "vit"]


def test_checkpoints_without_error_norm_or_epoch_are_left_out_of_log_axes():
    table = make_trajectories(n_seeds=1, random_state=0)
    table.loc[table.index[-1], "test_error"] = 0.0
    display = ScalingLawDisplay.from_trajectories(table, "epoch")
    positive = (table["epoch"] > 0) & (table["test_error"] > 0)
    assert len(display.view.curves) == positive.sum()
    display.figure_.canvas.draw()


def test_a_column_that_a_table_lacks_is_named():
    table = make_trajectories(n_seeds=1, random_state=0)
    with pytest.raises(ValueError, match=r"x='step' needs a column .* Use x=.epoch."):
        ScalingLawDisplay.from_trajectories(table, "step")
    with pytest.raises(ValueError, match="x must be one of 'norm', 'epoch', 'step'"):
        ScalingLawDisplay.from_trajectories(table, "time")
    with pytest.raises(ValueError, match="log_frobenius"):
        ScalingLawDisplay.from_trajectories(table, norm="frobenius")


def test_axes_name_symbols_and_units():
    table = make_trajectories(random_state=0)
    losses = table.assign(test_loss=2 * table["test_error"])
    ax = ScalingLawDisplay.from_trajectories(losses, metric="test_loss").ax_
    assert ax.get_xlabel() == r"spectral complexity $\lambda$"
    assert ax.get_ylabel() == "test loss $L$ (nats)"
    ax = ScalingLawDisplay.from_trajectories(losses).ax_
    assert ax.get_ylabel() == r"test error $\epsilon$"


def test_norms_beyond_a_float_are_drawn_on_an_axis_of_exponents(law):
    table = make_trajectories(random_state=0)
    column = "log_spectral_complexity"
    shifted = table.assign(**{column: table[column] + 5000.0})
    shifted_law = ScalingLawEstimator().fit(shifted)
    display = ScalingLawDisplay.from_estimator(shifted_law, kind="norm")
    assert display.ax_.get_xscale() == "linear"
    assert "log" in display.ax_.get_xlabel()
    first = display.curves_[0].get_xdata()[0]
    assert_allclose(first * np.log(10), shifted_law.trajectories_["log_norm"].iloc[0])


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


def test_the_axes_say_that_an_offset_is_taken_off(law):
    table = make_trajectories(offset=0.02, random_state=0)
    less = ScalingLawEstimator(offset=True).fit(table)
    for kind in ("norm", "data", "collapse"):
        label = ScalingLawDisplay.from_estimator(less, kind=kind).ax_.get_ylabel()
        assert "test error less the offset" in label
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
