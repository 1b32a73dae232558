"""Any program's log becomes the same table, and what was guessed is said."""

import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose
from pandas.testing import assert_frame_equal

from scalinglaw import ScalingLawEstimator, read_runs
from scalinglaw.datasets import make_trajectories
from scalinglaw.exceptions import TrajectoryWarning

ERRORS = [0.5, 0.25, 0.125, 0.0625]
LOGS = [1.0, 1.5, 2.0, 2.25]


def read(*args, **kwargs):
    """Read, without being told of guesses again and again."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrajectoryWarning)
        return read_runs(*args, **kwargs)


def test_exponents_of_a_log_are_those_of_the_table():
    table = make_trajectories(random_state=0)
    truth = ScalingLawEstimator().fit(table).exponents_
    log = pd.DataFrame(
        {
            "run": "seed " + table["seed"].astype(str),
            "n_train": table["train_size"],
            "global_step": table["epoch"],
            "eval/acc": 100 * (1 - table["test_error"]),
            "log10_spectral_complexity": table["log_spectral_complexity"] / np.log(10),
        }
    )
    law = ScalingLawEstimator().fit(read(log.sample(frac=1, random_state=0)))
    assert_allclose(law.exponents_["estimate"], truth["estimate"], rtol=1e-6)


def _log(**columns):
    return pd.DataFrame(
        {
            "train_size": 100,
            "seed": 0,
            "step": [0, 10, 20, 30],
            "epoch": [0.0, 1.0, 2.0, 3.0],
            "val_err": ERRORS,
            "log_frobenius": LOGS,
            **columns,
        }
    )


def test_norms_logged_a_call_later_are_interpolated_to_the_errors():
    # wandb.log counts its own calls.
    errors = _log().drop(columns=["log_frobenius", "epoch"])
    norms = _log(step=[1, 11, 21, 31]).drop(columns=["val_err", "epoch"])
    table = read([errors, norms])
    assert table["step"].tolist() == [10, 20, 30]
    assert_allclose(
        table["log_frobenius"], np.interp([10, 20, 30], norms["step"], LOGS)
    )
    assert any("interpolated to its steps" in text for text in table.attrs["guesses"])


def test_a_step_logged_twice_counts_with_its_last_value():
    log = pd.concat([_log(val_err=0.9).iloc[:1], _log()])
    table = read(log)
    assert_allclose(table["test_error"], ERRORS)
    assert "of 1 value logged twice at a step, the last" in table.attrs["guesses"]


def test_a_resumed_run_loses_what_it_had_recorded_beyond():
    steps = np.arange(0, 300, 10)
    first = _log().reindex([0] * 30).assign(step=steps, epoch=steps / 10, val_err=0.9)
    second = first[first["step"] >= 200].assign(val_err=0.1)
    second["step"] += 5
    table = read(pd.concat([first, second]))
    assert (table["test_error"] == np.where(table["step"] > 200, 0.1, 0.9)).all()
    assert any("went back to an earlier step" in t for t in table.attrs["guesses"])


def test_rows_in_any_order_are_sorted_and_none_is_taken_for_a_restart():
    rows = _log().iloc[[0, 0, 1, 2, 3]].reset_index(drop=True)
    expected = read(rows)
    assert_frame_equal(read(rows[::-1]), expected)


@pytest.mark.parametrize("n_seeds", [2, 20])
def test_several_runs_in_one_are_not_merged(n_seeds):
    steps = np.arange(10)
    runs = [
        pd.DataFrame({"train_size": 100, "step": steps, "val_err": 0.9 - 0.01 * i})
        for i in range(n_seeds)
    ]
    log = pd.concat(runs)
    with pytest.raises(ValueError, match="are several runs in one"):
        read(log)
    with pytest.raises(ValueError, match="are several runs in one"):
        read(log.sample(frac=1, random_state=0))
    numbers = np.repeat(np.arange(n_seeds), 10)
    table = read(log.assign(trial_number=numbers), columns={"trial_number": "run"})
    assert table.groupby("seed")["test_error"].nunique().eq(1).all()
    assert table["seed"].nunique() == n_seeds


def test_two_counters_of_steps_are_not_mixed():
    # Weights & Biases counts its own calls in _step; some rows have no other.
    log = _log(global_step=[0.0, 100.0, 200.0, 300.0], _step=[0, 2, 4, 6])
    log = log.drop(columns=["step", "epoch"])
    extra = log.assign(_step=log["_step"] + 1, global_step=np.nan, val_err=np.nan)
    extra = extra.assign(log_frobenius=np.nan)
    table = read(pd.concat([log, extra]).sort_values("_step"))
    assert table["step"].tolist() == [0, 100, 200, 300]


def test_two_logs_of_one_run_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"'table 0' and 'table 1' hold different"):
        read([_log(), _log(val_err=0.3)])
    both = read({"cnn": _log(), "vit": _log(val_err=0.3)})
    assert both["model"].tolist() == ["cnn"] * 4 + ["vit"] * 4


def test_steps_become_epochs_by_what_is_known():
    log = _log().drop(columns="epoch")
    assert read(log)["epoch"].tolist() == [0, 10, 20, 30]
    assert_allclose(read(log, steps_per_epoch=4)["epoch"], [0, 2.5, 5, 7.5])
    assert_allclose(read(log, batch_size=20)["epoch"], [0, 2, 4, 6])
    assert_allclose(read(log.assign(batch_size=20))["epoch"], [0, 2, 4, 6])
    with pytest.raises(ValueError, match="batch_size must be above 0"):
        read(log, batch_size=0)


@pytest.mark.parametrize(
    ("name", "values", "error"),
    [
        ("test_acc", [50, 75, 87.5, 93.75], ERRORS),
        ("val_error_rate", [50, 25, 12.5, 6.25], ERRORS),
        ("Validation Accuracy (%)", [0.2, 0.4, 0.6, 0.8], [0.998, 0.996, 0.994, 0.992]),
        ("eval/top1", [0.5, 0.75, 0.875, 1.0000001], [0.5, 0.25, 0.125, 0]),
    ],
)
def test_accuracy_and_percent_become_a_share_of_errors(name, values, error):
    log = _log(**{name: values}).drop(columns="val_err")
    assert_allclose(read(log)["test_error"], error)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("norms/Frobenius", np.exp(LOGS)),
        ("log10_frobenius", np.array(LOGS) / np.log(10)),
        ("ln_frobenius", LOGS),
        ("val/frobenius_norm", np.exp(LOGS)),
    ],
)
def test_norms_become_natural_logarithms(name, values):
    log = _log(**{name: values}).drop(columns="log_frobenius")
    assert_allclose(read(log)["log_frobenius"], LOGS)


def test_columns_say_what_cannot_be_guessed():
    log = _log(P=400, my_seed=2, top=1 - np.array(ERRORS), w=np.exp(LOGS), lr=0.1)
    log = log.drop(columns=["train_size", "seed", "val_err", "log_frobenius"])
    names = {"P": "train_size", "my_seed": "seed", "top": "test_accuracy"}
    names |= {"w": "frobenius", "lr": "lr"}
    table = read(log, columns=names)
    assert table["train_size"].eq(400).all()
    assert table["seed"].eq(2).all()
    assert table["lr"].eq(0.1).all()
    assert_allclose(table["test_error"], ERRORS)
    assert_allclose(table["log_frobenius"], LOGS)


UNKNOWN = {
    "train size": (
        _log().drop(columns="train_size"),
        {},
        r'train_size is not known.*columns=.*pattern="P\{train_size\}_s\{seed\}"',
    ),
    "some seeds": (
        [_log(), _log(train_size=200).drop(columns="seed")],
        {},
        "seed is known for some runs, but not for 'table 1'",
    ),
    "set": (
        _log(accuracy=0.5).drop(columns="val_err"),
        {},
        "whether 'accuracy' is of the test or the training set",
    ),
    "error": (_log().drop(columns="val_err"), {}, "test_error is not known"),
    "epoch": (_log().drop(columns=["step", "epoch"]), {}, "epoch is not known"),
    "norm": (_log(), {"norm": "path"}, "lacks the column log_path"),
    "column": (_log(), {"columns": {"acc": "seed"}}, "columns names 'acc', which no"),
    "name": (_log(), {"pattern": "P{train_size}_"}, "is nowhere in the name"),
    "field": (_log(), {"pattern": "P{size}"}, "pattern must have the field"),
    "kind": (_log(val_err=250.0), {}, "test_error must lie in"),
    "no log": ([], {}, "holds no log"),
}


@pytest.mark.parametrize("what", UNKNOWN)
def test_what_cannot_be_known_is_asked_for_by_name(what):
    source, options, message = UNKNOWN[what]
    with pytest.raises(ValueError, match=message):
        read(source, **options)


def test_arguments_of_another_kind_are_refused_by_name():
    with pytest.raises(TypeError, match="paths_or_tables must be paths"):
        read_runs(5)
    with pytest.raises(TypeError, match="columns must be a dict"):
        read_runs(_log(), columns=["acc"])
    with pytest.raises(TypeError, match="pattern must be text"):
        read_runs(_log(), pattern=5)


DAMAGED = {
    "a.json": [b"{", b"[" * 100_000, b'{"loss": 1}', b"[]", b'[{"batches": 3}]'],
    "a.jsonl": [b'{"epoch": 1}\n{', b"[1]\n", b"", b'{"a":' * 100_000],
    "a.csv": [
        b"",
        b"\xff\xfe\x00",
        b"a,a\n1,2\n",
        b"a,b\n1\n",
        b'"\n' + b"x" * 200_000,
    ],
    "a.parquet": [b"PAR1", b"PAR1" + b"\x00" * 100 + b"PAR1"],
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_log_is_named(tmp_path, name):
    for data in DAMAGED[name]:
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match=f"{name} is not a readable"):
            read_runs(tmp_path / name)


def test_lines_with_names_of_their_own_do_not_fill_memory(tmp_path):
    path = tmp_path / "wide.jsonl"
    path.write_text("\n".join(f'{{"c{i}": 1}}' for i in range(20_000)))
    with pytest.raises(ValueError, match=r"wide.jsonl is not a readable.*fill memory"):
        read_runs(path)


def test_missing_files_and_folders_without_logs_are_named(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_runs(tmp_path / "no.csv")
    with pytest.raises(FileNotFoundError, match="no file has a name like"):
        read_runs(tmp_path / "*.csv")
    with pytest.raises(FileNotFoundError, match=r"holds none of metrics.csv"):
        read_runs(tmp_path)
    with pytest.raises(ValueError, match=r"must end in .csv.*got 'a.pkl'"):
        read_runs(tmp_path / "a.pkl")


def test_a_log_of_arrow_types_is_a_log():
    arrow = pa.Table.from_pandas(_log()).to_pandas(types_mapper=pd.ArrowDtype)
    assert_frame_equal(read(arrow), read(_log()))


@pytest.mark.parametrize("name", ["train_size", "seed", "step", "val_err"])
@pytest.mark.parametrize("value", [pd.Timestamp("2024-01-01"), [1], 1j, np.float16(2)])
def test_odd_values_are_read_or_refused_by_name(name, value):
    column = pd.Series([value] * 4, dtype=object)
    if isinstance(value, np.float16):
        column = pd.Series([0, 1, 2, 3] if name == "step" else [1] * 4, dtype="float16")
        assert len(read(_log(**{name: column}))) == 4
    else:
        with pytest.raises(ValueError, match=name):
            read(_log(**{name: column}))
