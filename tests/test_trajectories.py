"""The trajectory table refuses what would silently bend an exponent."""

import time

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from pandas.testing import assert_frame_equal
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from scalinglaw import (
    ScalingLawEstimator,
    check_trajectories,
    concat_trajectories,
)
from scalinglaw.datasets import make_trajectories
from scalinglaw.exceptions import TrajectoryWarning
from scalinglaw.trajectories import (
    as_trajectories,
    norm_columns,
    run_columns,
    sort_trajectories,
)


def make_table(n_records=5, train_sizes=(100, 200), seeds=(0, 1), **columns):
    rows = [
        {
            "train_size": train_size,
            "seed": seed,
            "epoch": float(record),
            "step": 10 * record,
            "test_error": 0.5 / (1 + record + seed / 7),
            "train_error": 0.5 / (2 + record) ** 2,
            "test_loss": 1 / (1 + record / 3),
            "log_spectral_complexity": 3 + record / 3 + np.log(train_size),
            "n_test": 300,
        }
        for train_size in train_sizes
        for seed in seeds
        for record in range(n_records)
    ]
    return pd.DataFrame(rows).assign(**columns)


def test_a_sound_table_is_returned_unchanged_and_as_a_copy():
    table = make_table()
    before = table.copy(deep=True)
    checked = check_trajectories(table)
    assert_frame_equal(checked, before)
    checked.loc[0, "test_error"] = 0.0
    assert_frame_equal(table, before)


def test_canonical_types_do_not_depend_on_how_the_table_was_made():
    loose = make_table(model="cnn").astype(
        {"train_size": float, "seed": "Int64", "test_error": "float32"}
    )
    checked = check_trajectories(loose.set_index("step", drop=False))
    assert checked["train_size"].dtype == np.int64
    assert checked["seed"].dtype == np.int64
    assert checked["test_error"].dtype == np.float64
    assert checked.index.equals(pd.RangeIndex(len(loose)))


def test_runs_may_be_interleaved_and_unknown_columns_are_kept():
    table = make_table(note="mine").sort_values("epoch", kind="stable")
    checked = check_trajectories(table)
    assert (checked["note"] == "mine").all()
    assert_frame_equal(sort_trajectories(checked), make_table(note="mine"))


def test_model_is_part_of_the_name_of_a_run():
    table = make_table()
    assert run_columns(table) == ["train_size", "seed"]
    both = concat_trajectories({"cnn": table, "vit": table})
    assert run_columns(both) == ["model", "train_size", "seed"]
    assert both.groupby("model").size().to_dict() == {"cnn": 20, "vit": 20}


def test_a_known_optimum_is_not_a_norm():
    table = make_table(log_norm_opt=5.0, log_frobenius=1.0)
    assert norm_columns(table) == ["log_spectral_complexity", "log_frobenius"]


def test_an_optimum_may_be_known_for_some_train_sizes_only():
    table = make_table(log_norm_opt=5.0)
    table.loc[table["train_size"] == 200, "log_norm_opt"] = np.nan
    assert_frame_equal(check_trajectories(table), table)
    # A run that came without the column says nothing against the others.
    other = concat_trajectories([make_table(log_norm_opt=5.0), make_table(seeds=(7,))])
    assert other.groupby("train_size")["log_norm_opt"].nunique().eq(1).all()


def test_an_optimum_is_one_number_for_each_train_size_of_a_model():
    table = make_table()
    table["log_norm_opt"] = np.log(table["train_size"])
    both = concat_trajectories(
        {"cnn": table, "vit": table.assign(log_norm_opt=1 + table["log_norm_opt"])}
    )
    assert both["log_norm_opt"].nunique() == 4
    table["log_norm_opt"] += table["seed"]
    with pytest.raises(
        ValueError,
        match=r"log_norm_opt must be one number for each train size, got 5.60517 "
        r"\(row 5, run \(train_size=100, seed=1\)\) after 4.60517",
    ):
        check_trajectories(table)


def test_a_layer_of_zeros_is_minus_infinity_and_allowed():
    table = make_table()
    table.loc[0, "log_spectral_complexity"] = -np.inf
    assert np.isneginf(check_trajectories(table)["log_spectral_complexity"][0])


@pytest.mark.parametrize("factor", [1.0, 60.0])
@pytest.mark.parametrize("log_norm", [(2.3, 9.0), (23.0, 184.2), (-2.3, 11.5)])
def test_logarithms_of_any_real_network_are_accepted(log_norm, factor):
    table = make_table()
    table["log_spectral_complexity"] = factor * np.linspace(*log_norm, len(table)) + 400
    check_trajectories(table)


def _break(table, row, **values):
    table = table.astype({name: float for name in values if name in table})
    for name, value in values.items():
        table.loc[row, name] = value
    return table


BROKEN = {
    "percent": (
        lambda t: t.assign(test_error=100 * t["test_error"]),
        r"test_error must lie in \[0, 1\].*test_error\[0\]=50 "
        r"\(row 0, run \(train_size=100, seed=0\); 20 of 20 values above 1\)"
        r".*divide percentages by 100",
    ),
    "negative error": (
        lambda t: _break(t, 7, train_error=-0.1),
        r"train_error must lie in \[0, 1\].*row 7, run \(train_size=100, seed=1\)",
    ),
    "plain norm": (
        lambda t: t.assign(
            log_spectral_complexity=np.exp(3 * t["log_spectral_complexity"])
        ),
        "log_spectral_complexity must be a natural logarithm.*take np.log",
    ),
    "small plain norm": (
        lambda t: t.assign(log_spectral_complexity=np.geomspace(20, 3000, len(t))),
        "log_spectral_complexity must be a natural logarithm, got 3000",
    ),
    "duplicated checkpoint": (
        lambda t: pd.concat([t, t.iloc[[8]]]).sort_values(
            ["train_size", "seed", "epoch"]
        ),
        r"repeats the epoch of the checkpoint before it: epoch 3 "
        r"\(row 9, run \(train_size=100, seed=1\); 1 row in all\)",
    ),
    "unsorted run": (
        lambda t: t.iloc[[1, 0, *range(2, len(t))]],
        r"comes after a later epoch: epoch 0 \(row 1, run \(train_size=100, seed=0\)",
    ),
    "single checkpoint": (
        lambda t: t.iloc[4:],
        r"at least two checkpoints, got one \(row 0, run \(train_size=100, seed=0\)",
    ),
    "NaN": (
        lambda t: _break(t, 12, test_error=np.nan),
        r"test_error must be finite, got nan \(row 12, run \(train_size=200, seed=0\)",
    ),
    "infinite log": (
        lambda t: _break(t, 3, log_spectral_complexity=np.inf),
        r"log_spectral_complexity must be finite, got inf \(row 3",
    ),
    "infinite loss": (
        lambda t: _break(t, 3, test_loss=-np.inf),
        r"test_loss must be finite, got -inf \(row 3",
    ),
    "infinite optimum": (
        lambda t: t.assign(log_norm_opt=np.inf),
        "log_norm_opt must be finite, got inf",
    ),
    "no runs": (lambda t: t.iloc[:0], "holds no runs"),
    "no seed": (
        lambda t: t.drop(columns="seed"),
        "the trajectory table lacks the column seed; it has train_size, epoch",
    ),
    "fractional size": (
        lambda t: _break(t, 2, train_size=0.5),
        "train_size must hold whole numbers, got 0.5 in row 2",
    ),
    "zero size": (
        lambda t: _break(t, 2, train_size=0),
        "train_size must be at least 1, got 0 in row 2",
    ),
    "negative epoch": (
        lambda t: _break(t, 0, epoch=-1),
        "epoch must not be negative, got -1 ",
    ),
    "text": (
        lambda t: t.assign(test_error="low"),
        "test_error must hold numbers",
    ),
    "unnamed model": (
        lambda t: t.assign(model=["cnn"] * 19 + [None]),
        "model must name every run, got a missing value in row 19",
    ),
    "two columns": (
        lambda t: pd.concat([t, t[["epoch"]]], axis=1),
        "two columns named 'epoch'",
    ),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_a_broken_rule_is_named_with_its_run_and_row(rule):
    spoil, message = BROKEN[rule]
    with pytest.raises(ValueError, match=message):
        check_trajectories(spoil(make_table()))


def test_the_norm_asked_for_must_be_there_as_a_logarithm():
    table = make_table()
    with pytest.raises(ValueError, match="lacks the column log_path"):
        check_trajectories(table, norm="path")
    with pytest.raises(ValueError, match="lacks the column accuracy"):
        check_trajectories(table, metric="accuracy")


@pytest.mark.parametrize("asked", [None, "path"])
@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("path", np.exp, "log_path is the natural logarithm of path"),
        ("log10_path", lambda log: log / np.log(10), r"log_path is ln\(10\) times"),
    ],
)
def test_plain_and_base_10_norms_become_natural_logarithms(name, values, said, asked):
    log = np.linspace(-2, 90, 20)
    table = make_table(note="mine")
    with pytest.warns(TrajectoryWarning, match=said):
        checked = check_trajectories(table.assign(**{name: values(log)}), norm=asked)
    assert_allclose(checked["log_path"], log, atol=1e-12)
    assert name not in checked
    # Where the logarithm is there, a plain column is one of the user's own.
    both = table.assign(log_path=log, **{name: values(log)})
    assert_frame_equal(check_trajectories(both), both)


def test_a_norm_of_the_user_is_converted_where_it_is_asked_for():
    table = make_table(mine=3.0)
    assert "mine" in check_trajectories(table)
    with pytest.warns(TrajectoryWarning, match="natural logarithm of mine"):
        checked = check_trajectories(table, norm="mine")
    assert_allclose(checked["log_mine"], np.log(3))


def test_a_plain_norm_of_zero_is_a_layer_of_zeros_and_below_is_no_norm():
    with pytest.warns(TrajectoryWarning):
        assert np.isneginf(check_trajectories(make_table(l1=0.0))["log_l1"]).all()
    with pytest.raises(ValueError, match=r"l1 must not be negative, got -1.*rename it"):
        check_trajectories(make_table(l1=-1.0))


def test_text_in_a_column_named_like_a_norm_is_no_norm():
    table = make_table(path="run/1.log")
    assert_frame_equal(check_trajectories(table), table)


@pytest.mark.parametrize("prefix", ["log_", "log10_"])
def test_a_norm_is_named_without_its_prefix(prefix):
    message = f"norm must be given without the prefix {prefix}.*Write norm='path'"
    with pytest.raises(ValueError, match=message):
        check_trajectories(make_table(log_path=1.0), norm=f"{prefix}path")


def test_seeds_of_text_are_numbered_in_the_order_in_which_they_come():
    table = make_table()
    names = table["seed"].map({0: "run-10", 1: "run-2"})
    with pytest.warns(TrajectoryWarning, match=r"'run-10' is 0, 'run-2' is 1\)"):
        checked = check_trajectories(table.assign(seed=names))
    assert_frame_equal(checked, table)
    with pytest.warns(TrajectoryWarning, match="seed holds text"):
        joined = concat_trajectories(
            [table.assign(seed="first").iloc[:5], table.assign(seed="second").iloc[:5]]
        )
    assert joined["seed"].unique().tolist() == [0, 1]
    names[3] = None
    with pytest.raises(ValueError, match="seed must name every run, got a missing"):
        check_trajectories(table.assign(seed=names))


@pytest.mark.parametrize("kind", ["category", "UInt8", "int16", object])
def test_integers_of_any_kind_are_integers(kind):
    table = make_table()
    assert_frame_equal(check_trajectories(table.astype({"seed": kind})), table)


def test_integers_of_text_are_read_and_other_text_is_refused_by_name():
    table = make_table()
    text = table.astype({"train_size": str, "seed": str})
    with pytest.warns(
        TrajectoryWarning,
        match="train_size holds text, which is read as integers; seed",
    ):
        assert_frame_equal(check_trajectories(text), table)
    with pytest.raises(ValueError, match="train_size must hold numbers"):
        check_trajectories(table.assign(train_size="a thousand"))


@pytest.mark.parametrize("name", ["train_size", "seed", "step", "n_test"])
@pytest.mark.parametrize(
    "value", [np.uint64(2**63), 2**63, 10**30, 1e19, float(2**63), str(2**63)]
)
def test_a_count_that_64_bits_do_not_hold_is_refused_and_not_wrapped(name, value):
    with pytest.raises(ValueError, match=f"{name} must be below 2..63, got [0-9]"):
        check_trajectories(make_table(**{name: value}))
    largest = make_table(seeds=[0], seed=np.uint64(2**63 - 1))
    assert check_trajectories(largest)["seed"][0] == 2**63 - 1


@pytest.mark.parametrize("name", ["epoch", "seed", "test_error", "log_rms"])
@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("dates", pd.Timestamp("2024-01-01", tz="UTC")),
        ("dates", pd.Timedelta("1s")),
        ("complex", 0.25 + 5j),
    ],
)
def test_dates_durations_and_complex_numbers_are_refused_by_name(name, kind, value):
    for column in ([value] * 20, pd.Categorical([value] * 20)):
        with pytest.raises(ValueError, match=f"{name} must hold numbers, got {kind}"):
            check_trajectories(make_table(**{name: column}))
    with pytest.raises(ValueError, match=f"{name} must hold numbers"):
        check_trajectories(make_table(**{name: pd.Series([value] * 20, dtype=object)}))


def test_a_column_with_a_meaning_of_its_own_is_no_metric():
    with pytest.raises(ValueError, match=r"metric must be a column of errors.*'epoch'"):
        check_trajectories(make_table(), metric="epoch")
    with pytest.raises(ValueError, match="already known"):
        check_trajectories(make_table(log_norm_opt=1.0), norm="norm_opt")


def test_a_norm_may_have_any_name_that_a_column_can_have():
    table = make_trajectories(random_state=0)
    law = ScalingLawEstimator().fit(table)
    for name in ("error", "norm", "train_size", "in_window"):
        renamed = table.rename(columns={"log_spectral_complexity": f"log_{name}"})
        other = ScalingLawEstimator(name).fit(renamed)
        assert_frame_equal(other.exponents_, law.exponents_)


def test_ten_thousand_columns_take_no_time_that_grows_with_their_square():
    n_columns = 10_000
    logs = pd.DataFrame(
        np.ones((20, n_columns)), columns=[f"log_{i}" for i in range(n_columns)]
    )
    begin = time.process_time()
    check_trajectories(pd.concat([make_table(), logs], axis=1))
    assert time.process_time() - begin < 20


def test_a_warning_points_at_the_line_of_the_user_through_other_libraries():
    pipeline = make_pipeline(FunctionTransformer(check_trajectories))
    with pytest.warns(TrajectoryWarning) as caught:
        pipeline.fit_transform(make_table(rms=2.0))
    assert {warning.filename for warning in caught} == {__file__}


def test_an_unknown_metric_must_be_finite_too():
    with pytest.raises(ValueError, match="top5_error must be finite"):
        check_trajectories(make_table(top5_error=np.nan), metric="top5_error")


def test_only_a_table_is_a_table():
    with pytest.raises(TypeError, match="must be a pandas DataFrame, got dict"):
        check_trajectories({"train_size": [1]})


def test_concatenation_refuses_a_run_that_comes_twice():
    table = make_table()
    with pytest.raises(ValueError, match=r"\(train_size=100, seed=0\) is in more than"):
        concat_trajectories([table, table])
    with pytest.raises(ValueError, match="at least one table"):
        concat_trajectories([])
    with pytest.raises(ValueError, match="only 1 of 2 tables have a model"):
        concat_trajectories([table, make_table(seeds=(5,), model="cnn")])
    joined = concat_trajectories([table, make_table(seeds=(5,))])
    assert joined.groupby(["train_size", "seed"]).ngroups == 6


@pytest.mark.parametrize("tables", [make_table(), "table.csv", 5])
def test_a_single_table_is_no_list_of_tables(tables):
    kind = type(tables).__name__
    with pytest.raises(TypeError, match=f"must be a list of tables.*single {kind}"):
        concat_trajectories(tables)


def test_fitted_estimators_stand_for_their_tables():
    class Fitted:
        pass

    first, second = Fitted(), Fitted()
    first.trajectory_ = make_table(train_sizes=[100], seeds=[0])
    second.trajectories_ = make_table(train_sizes=[200])
    assert as_trajectories(first) is first.trajectory_
    assert len(as_trajectories([first, second])) == 15
    with pytest.raises(TypeError, match="trajectory_ only after fit"):
        as_trajectories(Fitted())


def test_a_million_rows_are_checked_without_a_loop_over_runs():
    n_runs, n_records = 20_000, 50
    table = pd.DataFrame(
        {
            "train_size": np.repeat(np.arange(1, n_runs + 1), n_records),
            "seed": 0,
            "epoch": np.tile(np.arange(n_records), n_runs),
            "test_error": 0.5,
            "log_rms": 1.0,
        }
    )
    assert len(check_trajectories(table)) == n_runs * n_records
