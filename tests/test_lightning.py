"""The callback of Lightning, in Lightning: steps, modes, resumed and ended runs."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from scalinglaw.exceptions import TrajectoryWarning
from scalinglaw.norms import NormTracker, compute_norms

lightning = pytest.importorskip("lightning")

from lightning.pytorch.callbacks import EarlyStopping  # noqa: E402

from scalinglaw.integrations.lightning import TrajectoryCallback  # noqa: E402

# Lightning warns of loaders without workers, and of deprecated names in torch.
pytestmark = [
    pytest.mark.filterwarnings(
        "ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"
    ),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("default:::(lightning|torch)"),
]


class Net(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 3))
        self.frozen = nn.BatchNorm1d(3)

    def forward(self, x):
        return self.layers(x)

    def training_step(self, batch, index):
        x, y = batch
        return nn.functional.cross_entropy(self(x), y)

    def validation_step(self, batch, index):
        x, y = batch
        self.log("valid", nn.functional.cross_entropy(self(x), y))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def _data(n=40, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return TensorDataset(
        torch.randn(n, 4, generator=rng), torch.randint(3, (n,), generator=rng)
    )


def _train(callback, net=None, *, n=40, valid=True, ckpt=None, more=(), **options):
    trainer = lightning.Trainer(
        **{"max_epochs": 3, "accelerator": "cpu", "logger": False} | options,
        callbacks=[callback, *more],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    net = net or Net()
    loaders = [DataLoader(_data(n), batch_size=4, shuffle=True)]
    if valid:
        loaders.append(DataLoader(_data(30, 1), batch_size=7))
    trainer.fit(net, *loaders, ckpt_path=ckpt)
    return net, trainer


def _scores(net):
    x, y = _data(30, 1).tensors
    net.eval()
    with torch.no_grad():
        logits = net(x)
    loss = nn.functional.cross_entropy(logits, y)
    return [float((logits.argmax(1) != y).float().mean()), float(loss)]


def test_a_run_is_recorded_from_before_the_first_step_to_the_last():
    start = Net()
    recorder = TrajectoryCallback(n_records=6, seed=3)
    net, _ = _train(recorder, Net())
    table = recorder.trajectory_
    assert (table["train_size"].iloc[0], table["seed"].iloc[0]) == (40, 3)
    assert table["n_test"].eq(30).all()
    assert len(table) == 6
    assert table["step"].iloc[[0, 1, -1]].tolist() == [0, 1, 30]
    assert table["epoch"].iloc[-1] == 3.0
    for row, module in ((0, start), (-1, net)):
        norm = compute_norms(module)["spectral_complexity"]
        found = table.iloc[row]
        assert_allclose(found["log_spectral_complexity"], norm, rtol=1e-6)
        assert_allclose(found[["test_error", "test_loss"]], _scores(module), rtol=1e-6)


def test_recording_changes_nothing_of_the_training():
    nets = []
    for n_records in (2, 12):
        torch.manual_seed(5)
        net = Net()
        net.frozen.eval()
        recorder = TrajectoryCallback(n_records=n_records)
        nets.append(_train(recorder, net)[0])
        assert not net.frozen.training
        assert net.layers.training
    for one, other in zip(*(net.parameters() for net in nets), strict=True):
        assert torch.equal(one, other)


def test_steps_are_the_optimiser_s():
    recorder = TrajectoryCallback(n_records=50)
    _train(recorder, accumulate_grad_batches=4)
    table = recorder.trajectory_
    # Ten batches: steps after four, eight and ten.
    assert table["step"].tolist() == list(range(10))
    assert table["epoch"].iloc[-1] == 3.0


def test_a_run_that_ends_early_has_its_last_step():
    recorder = TrajectoryCallback(n_records=4)
    stop = EarlyStopping("valid", patience=1, min_delta=10.0)
    net, trainer = _train(recorder, max_epochs=50, more=[stop])
    last = recorder.trajectory_.iloc[-1]
    assert last["step"] == trainer.global_step < 500
    norm = compute_norms(net)["spectral_complexity"]
    assert_allclose(last["log_spectral_complexity"], norm, rtol=1e-6)


def test_a_run_that_fails_keeps_its_records():
    class Fails(Net):
        def on_train_epoch_end(self):
            raise RuntimeError("lost")

    recorder = TrajectoryCallback()
    with pytest.raises(RuntimeError, match="lost"):
        _train(recorder, Fails())
    assert recorder.trajectory_["step"].iloc[-1] > 1


def test_a_resumed_run_goes_on_with_its_records(tmp_path):
    whole = TrajectoryCallback(n_records=8)
    _, trainer = _train(whole, max_epochs=1)
    trainer.save_checkpoint(tmp_path / "some.ckpt")
    resumed = TrajectoryCallback(n_records=8)
    _train(resumed, max_epochs=3, ckpt=tmp_path / "some.ckpt")
    before, after = whole.trajectory_, resumed.trajectory_
    assert after["step"].tolist()[: len(before)] == before["step"].tolist()
    assert after["step"].iloc[-1] == 30
    assert after["step"].is_unique


def test_a_checkpoint_without_records_is_told(tmp_path):
    trainer = _train(lightning.pytorch.Callback(), max_epochs=1)[1]
    trainer.save_checkpoint(tmp_path / "some.ckpt")
    recorder = TrajectoryCallback()
    with pytest.warns(TrajectoryWarning, match="resumes at step 10"):
        _train(recorder, max_epochs=2, ckpt=tmp_path / "some.ckpt")
    assert recorder.trajectory_["step"].iloc[0] == 10


def test_evaluation_and_norms_may_be_given():
    net = Net()
    recorder = TrajectoryCallback(
        7,
        norms=NormTracker(net.layers[0], ["frobenius"]),
        evaluate=lambda module: {"test_error": 0.25},
    )
    _train(recorder, net, valid=False)
    assert recorder.trajectory_["train_size"].eq(7).all()
    assert recorder.trajectory_["test_error"].eq(0.25).all()
    given = TrajectoryCallback(eval_data=_data(30, 1), n_records=3)
    _train(given, Net(), valid=False)
    by_default = TrajectoryCallback(n_records=3)
    _train(by_default, Net())
    first = [each.trajectory_["test_error"].iloc[0] for each in (given, by_default)]
    assert first[0] == first[1]


def test_only_the_first_process_records():
    recorder = TrajectoryCallback()
    trainer = type(
        "Elsewhere", (), {"is_global_zero": False, "strategy": None, "global_step": 0}
    )()
    recorder.on_train_start(trainer, Net())
    recorder.on_train_batch_end(trainer, Net(), None, None, 0)
    recorder.on_train_end(trainer, Net())
    assert not hasattr(recorder, "trajectory_")


_TWO_PROCESSES = """
import lightning
from torch.utils.data import DataLoader
from scalinglaw.integrations.lightning import TrajectoryCallback
from tests.test_lightning import Net, _data

recorder = TrajectoryCallback(n_records=5)
trainer = lightning.Trainer(
    max_epochs=2, accelerator="cpu", devices=2, logger=False,
    strategy="ddp_find_unused_parameters_true",
    callbacks=[recorder], enable_progress_bar=False, enable_checkpointing=False,
    enable_model_summary=False,
)
trainer.fit(Net(), DataLoader(_data(40), 4), DataLoader(_data(30, 1), 7))
table = getattr(recorder, "trajectory_", None)
said = None if table is None else table[["step", "n_test"]].to_numpy().tolist()
print(f"rank {trainer.global_rank}: {said}", flush=True)
"""


@pytest.mark.slow
def test_the_first_of_two_processes_records_on_all_of_the_evaluation_data(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(_TWO_PROCESSES)
    root = str(Path(__file__).parents[1])
    run = subprocess.run(
        [sys.executable, "-W", "ignore", str(script)],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=300,
    )
    # Five steps an epoch, of twenty samples in each process.
    assert "rank 0: [[0, 30], [1, 30], [2, 30], [5, 30], [10, 30]]" in run.stdout
    assert "rank 1: None" in run.stdout


def test_what_is_missing_is_asked_for():
    recorder = TrajectoryCallback()
    with pytest.warns(TrajectoryWarning, match="no validation data"):
        _train(recorder, valid=False)
    assert "test_error" not in recorder.trajectory_
    with pytest.raises(ValueError, match="max_epochs or max_steps"):
        _train(TrajectoryCallback(), max_epochs=-1)
    three = TensorDataset(*_data().tensors, torch.zeros(40))
    with pytest.raises(ValueError, match=r"must be pairs \(x, y\) or dicts"):
        _train(TrajectoryCallback(eval_data=three))
    assert np.isfinite(recorder.trajectory_["log_spectral_complexity"]).all()
