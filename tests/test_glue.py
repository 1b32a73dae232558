"""One training, recorded in six ways, gives one table; the guide has the lines."""

import csv

import numpy as np
import pandas as pd
import pytest
import torch
from pandas.testing import assert_frame_equal
from skorch import NeuralNetClassifier
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from scalinglaw import NormRecorder, TrajectoryRecorder, read_runs
from scalinglaw.exceptions import TrajectoryWarning

COLUMNS = [
    "train_size",
    "seed",
    "epoch",
    "step",
    "test_error",
    "test_loss",
    "log_spectral_complexity",
]
N_EPOCHS, BATCH_SIZE, RATE = 6, 8, 0.2
GENERATOR = torch.Generator().manual_seed(0)
X, X_TEST = torch.randn(80, 5, generator=GENERATOR).split(40)
Y, Y_TEST = X[:, :3].argmax(dim=1), X_TEST[:, :3].argmax(dim=1)
TRAIN, TEST = TensorDataset(X, Y), TensorDataset(X_TEST, Y_TEST)


def _model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))


def _sgd(model):
    return torch.optim.SGD(model.parameters(), lr=RATE)


def by_loop(after_step=lambda recorder: None):
    """Train in a plain loop of torch; samples come in their order, here as below."""
    model = _model()
    optimizer = _sgd(model)

    def evaluate():
        logits = model(X_TEST)
        wrong = (logits.argmax(dim=1) != Y_TEST).float().mean()
        return {
            "test_error": wrong,
            "test_loss": nn.functional.cross_entropy(logits, Y_TEST),
        }

    recorder = TrajectoryRecorder(
        model,
        n_steps=30,
        train_size=40,
        seed=3,
        evaluate=evaluate,
        steps_per_epoch=5,
    )
    after_step(recorder)
    for _ in range(N_EPOCHS):
        for x, y in DataLoader(TRAIN, BATCH_SIZE):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
            recorder.step()
            after_step(recorder)
    return recorder.trajectory_


def assert_same(table, expected=None):
    """Compare what every way records: runs, steps, errors, losses, norms."""
    expected = by_loop() if expected is None else expected
    assert_frame_equal(
        table[COLUMNS].reset_index(drop=True),
        expected[COLUMNS].reset_index(drop=True),
        rtol=1e-4,
        atol=1e-6,
    )


def test_the_loop_records_every_step_of_a_short_run():
    table = by_loop()
    assert table["step"].tolist() == list(range(31))
    assert table["epoch"].iloc[-1] == N_EPOCHS
    assert table["test_error"].iloc[-1] < table["test_error"].iloc[0]


def test_skorch():
    recorder = NormRecorder(seed=3, eval_set=(X_TEST.numpy(), Y_TEST.numpy()))
    NeuralNetClassifier(
        _model(),
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.SGD,
        lr=RATE,
        batch_size=BATCH_SIZE,
        max_epochs=N_EPOCHS,
        train_split=None,
        verbose=0,
        callbacks=[recorder],
    ).fit(X.numpy(), Y.numpy())
    assert_same(recorder.trajectory_)


# Lightning warns of loaders without workers, and of deprecated names in torch.
@pytest.mark.filterwarnings(
    "ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.filterwarnings("default:::(lightning|torch)")
def test_lightning():
    lightning = pytest.importorskip("lightning")
    from scalinglaw.integrations.lightning import TrajectoryCallback

    class Net(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.layers = _model()

        def forward(self, x):
            return self.layers(x)

        def training_step(self, batch, index):
            return nn.functional.cross_entropy(self(batch[0]), batch[1])

        def validation_step(self, batch, index):
            pass

        def configure_optimizers(self):
            return _sgd(self)

    recorder = TrajectoryCallback(seed=3)
    trainer = lightning.Trainer(
        max_epochs=N_EPOCHS,
        callbacks=[recorder],
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(Net(), DataLoader(TRAIN, BATCH_SIZE), DataLoader(TEST, BATCH_SIZE))
    assert_same(recorder.trajectory_)


# transformers and accelerate warn of what torch will drop, and of pinned memory.
@pytest.mark.filterwarnings("default:::(torch|transformers|accelerate)")
def test_the_trainer_of_hugging_face(tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    from scalinglaw.integrations.transformers import TrajectoryCallback

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = _model()

        def forward(self, x, labels=None):
            logits = self.layers(x)
            return {
                "loss": nn.functional.cross_entropy(logits, labels)
                if labels is not None
                else None,
                "logits": logits,
            }

    class InOrder(transformers.Trainer):
        def get_train_dataloader(self):
            return DataLoader(self.train_dataset, BATCH_SIZE)

    def samples(x, y):
        return [{"x": a, "labels": b} for a, b in zip(x, y, strict=True)]

    model = Net()
    recorder = TrajectoryCallback(seed=3)
    InOrder(
        model,
        transformers.TrainingArguments(
            str(tmp_path),
            num_train_epochs=N_EPOCHS,
            max_grad_norm=0.0,
            report_to=[],
            save_strategy="no",
            use_cpu=True,
            disable_tqdm=True,
        ),
        train_dataset=samples(X, Y),
        eval_dataset=samples(X_TEST, Y_TEST),
        optimizers=(
            optimizer := _sgd(model),
            torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0),
        ),
        callbacks=[recorder],
    ).train()
    assert_same(recorder.trajectory_)


def write_keras_log(path, rows):
    """Write what CSVLogger writes: epochs from 0 as they end, other names sorted."""
    names = ["accuracy", "loss", "spectral_complexity", "val_accuracy", "val_loss"]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["epoch", *names])
        writer.writeheader()
        for epoch, row in enumerate(rows):
            writer.writerow(
                {
                    "epoch": epoch,
                    "accuracy": 0.5,
                    "loss": 1.5,
                    "spectral_complexity": np.exp(row["log_spectral_complexity"]),
                    "val_accuracy": 1 - row["test_error"],
                    "val_loss": row["test_loss"],
                }
            )


def test_the_log_of_keras(tmp_path):
    expected = by_loop()
    ends = expected[(expected["step"] % 5 == 0) & (expected["step"] > 0)]
    write_keras_log(tmp_path / "P40_s3.csv", ends.to_dict("records"))
    with pytest.warns(TrajectoryWarning, match="read_runs took it that"):
        table = read_runs(
            str(tmp_path / "*.csv"), pattern="P{train_size}_s{seed}", batch_size=8
        )
    # Keras counts no steps and logs nothing before the first one.
    assert_same(table.assign(step=ends["step"].to_numpy()), ends)


def write_wandb_chart(path, run, metric, steps, values):
    """Write the export of a chart: three columns a run, and quotes around all."""
    columns = {f"{run} - {metric}{end}": values for end in ("", "__MIN", "__MAX")}
    table = pd.DataFrame({"Step": steps} | columns)
    table.to_csv(path, index=False, quoting=csv.QUOTE_ALL)


def test_exports_of_weights_and_biases(tmp_path):
    logged = []
    expected = by_loop(lambda recorder: logged.append(recorder.records[-1]))
    rows = pd.DataFrame(logged)  # what wandb.log was given
    for metric in COLUMNS[4:]:
        path = tmp_path / f"{metric}.csv"
        write_wandb_chart(path, "P40_s3", metric, rows["step"], rows[metric])
    with pytest.warns(TrajectoryWarning, match="read_runs took it that"):
        table = read_runs(
            str(tmp_path / "*.csv"), pattern="P{train_size}_s{seed}", batch_size=8
        )
    assert_same(table, expected)


def test_a_history_of_weights_and_biases(tmp_path):
    expected = by_loop()
    # What scan_history gives: its own columns beside those that were logged.
    history = expected.assign(_step=expected["step"], _runtime=0.5, _timestamp=1.7e9)
    history.to_csv(tmp_path / "history.csv")
    table = read_runs(tmp_path / "history.csv")
    assert_same(table, expected)
