"""Logs as the programs write them, each read into the same table."""

import csv
import json

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from pandas.testing import assert_frame_equal

from scalinglaw import check_trajectories, read_runs
from scalinglaw.datasets import make_trajectories
from scalinglaw.exceptions import TrajectoryWarning

from .test_logs import ERRORS, LOGS, read


def write_csv(path, rows, **options):
    """Write dicts as CSV, with empty cells where a row lacks a name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = sorted({name for row in rows for name in row})
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, **options)
        writer.writeheader()
        writer.writerows(rows)


def keras(path, percent=False, **options):
    """The CSVLogger of Keras: one row at the end of each epoch, numbered from 0."""
    rows = [
        {
            "epoch": epoch,
            "accuracy": 1 - error / 2,
            "loss": 3 * error,
            "learning_rate": 0.001,
            "val_accuracy": 1 - error,
            "val_loss": 2 * error,
            "log10_frobenius": log / np.log(10),
        }
        for epoch, (error, log) in enumerate(zip(ERRORS, LOGS, strict=True))
    ]
    write_csv(path, rows, **options)


def lightning(path):
    """The metrics.csv of Lightning 2.6: rows of their own for steps and validation."""
    rows = []
    for epoch, (error, log) in enumerate(zip(ERRORS, LOGS, strict=True)):
        end = 10 * epoch + 9
        for step in (10 * epoch + 3, 10 * epoch + 7):
            rows.append(
                {"epoch": epoch, "step": step, "train_loss_step": 1 / (1 + step)}
            )
        rows.append(
            {
                "epoch": epoch,
                "step": end,
                "val_acc": 1 - error,
                "val_loss": 2 * error,
                "spectral_complexity": np.exp(log),
            }
        )
        rows.append({"epoch": epoch, "step": end, "train_loss_epoch": 3 * error})
    rows.append({"epoch": 4, "step": 40, "test_acc": 0.9})
    write_csv(path, rows)


def trainer_state(path, n_evaluations=4):
    """The trainer_state.json of Hugging Face, with eval_on_start."""
    history = []
    for i, (error, log) in enumerate(zip(ERRORS, LOGS, strict=True)):
        if i:
            history.append({"epoch": i - 0.4, "step": 5 * i - 2, "loss": 3 * error})
        if i < n_evaluations:
            history.append(
                {
                    "epoch": i if i else 0,
                    "step": 5 * i,
                    "eval_accuracy": 1 - error,
                    "eval_loss": 2 * error,
                    "eval_log_frobenius": log,
                    "eval_runtime": 0.1,
                }
            )
    history.append({"epoch": 3.0, "step": 15, "train_loss": 0.4, "train_runtime": 9.0})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"global_step": 15, "log_history": history}))


def skorch_history(path):
    """The history.json of skorch, with the sizes of its batches."""
    batches = [{"train_loss": 0.1, "train_batch_size": n} for n in (32, 32, 16)]
    batches.append({"valid_loss": 0.2, "valid_batch_size": 20})
    epochs = [
        {
            "batches": batches,
            "epoch": epoch,
            "train_batch_count": 3,
            "dur": 0.1,
            "train_loss": 3 * error,
            "train_loss_best": True,
            "valid_loss": 2 * error,
            "valid_acc": 1 - error,
            "valid_acc_best": True,
        }
        for epoch, error in enumerate(ERRORS, start=1)
    ]
    path.write_text(json.dumps(epochs))


def wandb_chart(path, metric, values_of_run, axis="Step"):
    """The CSV of a chart of Weights & Biases: three columns a run, rows by step."""
    steps = range(0, 40, 10)
    columns = {axis: list(steps)}
    for run, values in values_of_run.items():
        for end in ("", "__MIN", "__MAX"):
            columns[f"{run} - {metric}{end}"] = values
    pd.DataFrame(columns).to_csv(path, index=False, quoting=csv.QUOTE_ALL)


def test_the_csv_of_keras_counts_epochs_from_their_end(tmp_path):
    keras(tmp_path / "P1000_s3.csv")
    with pytest.warns(TrajectoryWarning, match="read_runs took it that") as caught:
        table = read_runs(tmp_path / "P1000_s3.csv", pattern="P{train_size}_s{seed}")
    assert {warning.filename for warning in caught} == {__file__}
    assert table["epoch"].tolist() == [1, 2, 3, 4]
    assert table["train_size"].eq(1000).all()
    assert table["seed"].eq(3).all()
    assert_allclose(table["test_error"], ERRORS)
    assert_allclose(table["train_error"], np.array(ERRORS) / 2)
    assert_allclose(table["test_loss"], 2 * np.array(ERRORS))
    assert_allclose(table["train_loss"], 3 * np.array(ERRORS))
    assert_allclose(table["log_frobenius"], LOGS)
    assert table.attrs["guesses"] == [
        "test_error is 1 - val_accuracy",
        "test_loss is val_loss",
        "train_error is 1 - accuracy",
        "train_loss is loss",
        "log_frobenius is ln(10) times log10_frobenius",
        "epoch is that of Keras and 1: it logs the end of epoch 0 as 0",
        "there is no record before the first step in 1 of 1 run",
    ]


@pytest.mark.parametrize("ending", ["log", "tsv", "csv"])
def test_cells_may_be_apart_by_tabs_or_semicolons(tmp_path, ending):
    paths = [tmp_path / f"P{size}_s0.{ending}" for size in (100, 200)]
    for path in paths:
        keras(path, delimiter={"log": ";", "tsv": "\t", "csv": ","}[ending])
    table = read(str(tmp_path / f"*.{ending}"), pattern="P{train_size}_s{seed}")
    assert_allclose(table["test_error"], 2 * ERRORS)
    assert table["train_size"].unique().tolist() == [100, 200]


def test_lightning_counts_steps_from_0_and_has_two_rows_for_a_checkpoint(tmp_path):
    lightning(tmp_path / "P50k_s1" / "version_0" / "metrics.csv")
    table = read(tmp_path, pattern="P{train_size}_s{seed}", norm="spectral_complexity")
    assert table["train_size"].eq(50_000).all()
    assert table["step"].tolist() == [10, 20, 30, 40]
    assert_allclose(table["epoch"], [1, 2, 3, 4])
    assert_allclose(table["test_error"], ERRORS)
    assert_allclose(table["train_loss"], 3 * np.array(ERRORS))
    assert_allclose(table["log_spectral_complexity"], LOGS)
    # The value of trainer.test() is no trajectory.
    assert "test_error is 1 - val_acc (and not test_acc)" in table.attrs["guesses"]


def test_hugging_face_is_read_from_its_last_checkpoint(tmp_path):
    for step, n_evaluations in ((5, 2), (15, 4), (10, 3)):
        trainer_state(
            tmp_path / "P40_s7" / f"checkpoint-{step}" / "trainer_state.json",
            n_evaluations,
        )
    table = read(tmp_path, pattern="P{train_size}_s{seed}")
    assert table["seed"].eq(7).all()
    assert table["epoch"].tolist() == [0, 1, 2, 3]
    assert_allclose(table["test_error"], ERRORS)
    assert_allclose(table["log_frobenius"], LOGS)
    # Neither the loss between evaluations nor the mean over all of training.
    assert "train_loss" not in table
    # Both checkpoints of one run, given by hand, say the same.
    again = read(
        [*tmp_path.glob("*/checkpoint-1*/*.json")], pattern="P{train_size}_s{seed}"
    )
    assert_frame_equal(again, table)


def test_skorch_tells_its_train_size_by_its_batches(tmp_path):
    skorch_history(tmp_path / "history.json")
    table = read(tmp_path)
    assert table["train_size"].eq(80).all()
    assert table["step"].tolist() == [3, 6, 9, 12]
    assert table["epoch"].tolist() == [1, 2, 3, 4]
    assert_allclose(table["test_error"], ERRORS)
    guesses = table.attrs["guesses"]
    assert "train_size is samples in the batches of an epoch" in guesses
    (tmp_path / "history.json").rename(tmp_path / "P99.json")
    named = read(tmp_path / "P99.json", pattern="P{train_size}")
    assert named["train_size"].eq(99).all()
    assert not any("train_size" in text for text in named.attrs["guesses"])


def test_charts_of_weights_and_biases_are_joined_by_their_runs(tmp_path):
    runs = ["P100_s0", "P100_s1", "P200 - old_s0"]
    errors = {run: [1 - e / (i + 1) for e in ERRORS] for i, run in enumerate(runs)}
    wandb_chart(tmp_path / "acc.csv", "val/acc", errors)
    wandb_chart(tmp_path / "norm.csv", "norms/log_frobenius", dict.fromkeys(runs, LOGS))
    table = read(tmp_path / "*.csv", pattern=r"P{train_size}{any}s{seed}")
    runs = table[["train_size", "seed"]].drop_duplicates()
    assert runs.values.tolist() == [[100, 0], [100, 1], [200, 0]]
    assert_allclose(table["test_error"], [e / i for i in (1, 2, 3) for e in ERRORS])
    assert_allclose(table["log_frobenius"], 3 * LOGS)
    assert table["step"].tolist() == 3 * [0, 10, 20, 30]
    assert any(text.startswith("epoch is the step") for text in table.attrs["guesses"])


def test_averages_in_a_chart_are_said(tmp_path):
    wandb_chart(tmp_path / "acc.csv", "val/acc", {"P10_s0": [0.1, 0.2, 0.3, 0.4]})
    frame = pd.read_csv(tmp_path / "acc.csv")
    frame.loc[1:, "P10_s0 - val/acc__MIN"] -= 0.1
    frame.to_csv(tmp_path / "acc.csv", index=False)
    guesses = read(tmp_path / "acc.csv", pattern="P{train_size}_s{seed}").attrs[
        "guesses"
    ]
    assert guesses[0].startswith("3 values of a Weights & Biases chart are averages")


def test_a_history_of_weights_and_biases_has_run_ids_of_text(tmp_path):
    rows = [
        {
            "run_id": run,
            "_step": 2 * i,
            "_runtime": 0.1,
            "trainer/global_step": 10 * i,
            "config.train_size": size if i == 0 else None,
            "val/accuracy": 100 * (1 - error),
            "norm/log10_frobenius": log / np.log(10),
        }
        for run, size in (("a1b2", 100), ("9zx8", 100), ("77f0", 200))
        for i, (error, log) in enumerate(zip(ERRORS, LOGS, strict=True))
    ]
    frame = pd.DataFrame(rows)
    # As DataFrame.to_csv writes it by default, with its index.
    frame.to_csv(tmp_path / "history.csv")
    table = read(tmp_path / "history.csv", batch_size=20)
    assert table["seed"].tolist() == [0] * 4 + [1] * 4 + [0] * 4
    assert table["run"].unique().tolist() == ["a1b2", "9zx8", "77f0"]
    assert table["step"].tolist() == 3 * [0, 10, 20, 30]
    assert_allclose(table["epoch"][:4], [0, 2, 4, 6])
    assert_allclose(table["test_error"], 3 * ERRORS)
    assert_allclose(table["log_frobenius"], 3 * LOGS)


def test_event_files_of_tensorboard(tmp_path):
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    from torch.utils.tensorboard import SummaryWriter

    for seed in (0, 1):
        with SummaryWriter(tmp_path / f"P100_s{seed}") as writer:
            for i, (error, log) in enumerate(zip(ERRORS, LOGS, strict=True)):
                writer.add_scalar("val/accuracy", 1 - error, 10 * i)
                writer.add_scalar("norm/log_frobenius", log, 10 * i)
                writer.add_scalar("train/loss", error, 10 * i + 5)
    table = read(tmp_path, pattern="P{train_size}_s{seed}", steps_per_epoch=5)
    assert table["seed"].tolist() == [0] * 4 + [1] * 4
    assert_allclose(table["epoch"], 2 * [0, 2, 4, 6])
    assert_allclose(table["test_error"], 2 * ERRORS, atol=1e-6)
    assert_allclose(table["log_frobenius"], 2 * LOGS)


def test_keras_in_tensorboard_has_a_folder_for_each_set(tmp_path):
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    from torch.utils.tensorboard import SummaryWriter

    for part, factor in (("train", 0.5), ("validation", 1.0)):
        with SummaryWriter(tmp_path / "P100_s0" / part) as writer:
            for i, error in enumerate(ERRORS):
                # TensorFlow writes scalars as tensors.
                writer.add_scalar(
                    "epoch_accuracy", 1 - factor * error, i, new_style=True
                )
                writer.add_scalar("epoch_loss", factor * error, i, new_style=True)
    table = read(tmp_path, pattern="P{train_size}_s{seed}")
    assert table["epoch"].tolist() == [1, 2, 3, 4]
    assert_allclose(table["test_error"], ERRORS, atol=1e-6)
    assert_allclose(table["train_error"], np.array(ERRORS) / 2, atol=1e-6)
    assert_allclose(table["train_loss"], np.array(ERRORS) / 2, atol=1e-6)


@pytest.mark.parametrize("ending", ["jsonl", "json", "parquet", "csv"])
def test_a_table_of_ours_comes_back_as_it_is_and_nothing_is_guessed(tmp_path, ending):
    table = check_trajectories(
        make_trajectories(random_state=0, train_sizes=[100, 200])
    )
    path = tmp_path / f"table.{ending}"
    if ending.startswith("json"):
        table.to_json(
            path, orient="records", lines=ending == "jsonl", double_precision=15
        )
    else:
        getattr(table, f"to_{ending}")(path, index=False)
    assert_frame_equal(read_runs(path)[table.columns], table, atol=1e-13)
    assert read_runs(path).attrs["guesses"] == []
    assert_frame_equal(read_runs(table), read_runs([path]), atol=1e-13)
