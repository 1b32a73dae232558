"""The trajectory table refuses what would silently bend an exponent."""

import os

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from scalinglaw import (
    check_trajectories,
    concat_trajectories,
    read_trajectories,
    write_trajectories,
)
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
    with pytest.raises(ValueError, match=r"plain norm 'path'.*log_path = np.log"):
        check_trajectories(table.assign(path=3.0), norm="path")
    with pytest.raises(ValueError, match="lacks the column accuracy"):
        check_trajectories(table, metric="accuracy")


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


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_a_file_gives_back_every_bit(tmp_path, ending):
    rng = np.random.default_rng(0)
    table = make_table(model="007", note="a,b\nc")
    table["log_frobenius"] = rng.normal(size=len(table)) * 1e-7
    table.loc[0, "log_frobenius"] = -np.inf
    table["test_error"] = rng.uniform(size=len(table)) / 3
    write_trajectories(table, tmp_path / f"table.{ending}")
    assert_frame_equal(
        read_trajectories(tmp_path / f"table.{ending}"),
        check_trajectories(table),
        check_exact=True,
        check_dtype=True,
    )


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_a_file_gives_back_every_name_of_a_model(tmp_path, ending):
    names = ["NA", "None", "nan", "null", "007", " 1.50 ", "a\r\nb", '"', "N/A"]
    table = concat_trajectories({name: make_table() for name in names})
    table["log_norm_opt"] = np.where(table["train_size"] == 100, 5.0, np.nan)
    write_trajectories(table, tmp_path / f"table.{ending}")
    read = read_trajectories(tmp_path / f"table.{ending}")
    assert_frame_equal(read, table, check_exact=True)


def test_csv_has_no_empty_names(tmp_path):
    table = make_table(model="")
    write_trajectories(table, tmp_path / "table.parquet")
    assert (read_trajectories(tmp_path / "table.parquet")["model"] == "").all()
    with pytest.raises(ValueError, match="model must not be empty in a CSV file"):
        write_trajectories(table, tmp_path / "table.csv")
    table.to_csv(tmp_path / "own.csv", index=False)
    with pytest.raises(ValueError, match="a missing value in row 0"):
        read_trajectories(tmp_path / "own.csv")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_a_file_has_the_mode_that_open_gives(tmp_path, ending):
    def mode(path):
        return path.stat().st_mode & 0o777

    path, plain = tmp_path / f"table.{ending}", tmp_path / "plain"
    before = os.umask(0o027)
    try:
        write_trajectories(make_table(), path)
        plain.open("w").close()
        assert mode(path) == mode(plain) == 0o640
        # Neither does open() take away what an old file allows.
        path.chmod(0o664)
        write_trajectories(make_table(), path)
        assert mode(path) == 0o664
    finally:
        os.umask(before)


def test_a_failed_write_leaves_the_old_file_alone(tmp_path, monkeypatch):
    path = tmp_path / "table.csv"
    write_trajectories(make_table(), path)
    before = path.read_bytes()

    def fail(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        write_trajectories(make_table(seeds=(3,)), path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["table.csv"]


def test_an_invalid_table_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="must lie in"):
        write_trajectories(make_table(test_error=50.0), tmp_path / "table.csv")
    assert not list(tmp_path.iterdir())


def test_files_that_are_no_tables_are_named(tmp_path):
    for name in ("broken.parquet", "broken.csv"):
        (tmp_path / name).write_bytes(b'PAR1"\x00\xff not a table')
        with pytest.raises(ValueError, match=f"{name} is not a readable"):
            read_trajectories(tmp_path / name)
    with pytest.raises(ValueError, match=r"must end in .parquet or .csv, got 't.pkl'"):
        read_trajectories(tmp_path / "t.pkl")
    with pytest.raises(FileNotFoundError):
        read_trajectories(tmp_path / "missing.csv")


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
