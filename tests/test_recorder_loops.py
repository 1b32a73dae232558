"""TrajectoryRecorder in loops of one's own, and skorch nets of every kind."""

import copy
import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from pandas.testing import assert_frame_equal
from skorch import NeuralNet, NeuralNetBinaryClassifier, NeuralNetClassifier
from skorch.callbacks import Checkpoint, EarlyStopping
from torch import nn
from torch.utils.data import IterableDataset

from scalinglaw import NormRecorder, TrajectoryRecorder
from scalinglaw.exceptions import TrajectoryWarning, ZeroNormWarning
from scalinglaw.norms import NormTracker, compute_norms

X = np.random.default_rng(0).normal(size=(60, 4)).astype("float32")
Y = np.random.default_rng(1).integers(0, 3, 60)


def _model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3))


def _loop(model, n_steps, after):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(n_steps):
        rows = torch.randint(60, (8,))
        loss = nn.functional.cross_entropy(
            model(torch.tensor(X)[rows]), torch.tensor(Y)[rows]
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        after()


def _norm(model):
    return compute_norms(model)["spectral_complexity"]


class TestBareLoop:
    def test_rows_are_the_states_after_the_steps_that_they_name(self):
        model = _model()
        norms = [_norm(model)]
        recorder = TrajectoryRecorder(
            model, n_steps=40, train_size=60, seed=4, n_records=7, steps_per_epoch=10
        )

        def after():
            recorder.step()
            norms.append(_norm(model))

        _loop(model, 40, after)
        table = recorder.trajectory_
        assert len(table) == 7
        assert table["seed"].eq(4).all()
        assert_allclose(table["epoch"], table["step"] / 10)
        assert_allclose(
            table["log_spectral_complexity"], [norms[s] for s in table["step"]], 1e-6
        )

    def test_recording_leaves_modes_gradients_and_random_numbers_alone(self):
        model = _model()
        model[1].eval()
        modes = []

        def evaluate():
            modes.append([part.training for part in model.modules()])
            torch.rand(3)
            return {"test_error": torch.tensor(0.5), "n_test": 10}

        recorder = TrajectoryRecorder(
            model, n_steps=5, train_size=60, evaluate=evaluate
        )
        model(torch.tensor(X)).sum().backward()
        before = [p.grad.clone() for p in model.parameters()]
        state = torch.get_rng_state()
        assert recorder.step()
        assert torch.equal(torch.get_rng_state(), state)
        assert all(
            torch.equal(p.grad, g)
            for p, g in zip(model.parameters(), before, strict=True)
        )
        assert not any(modes[-1])
        assert [part.training for part in model.modules()] == [True, True, False, True]
        assert recorder.trajectory_["n_test"].dtype == np.int64

    def test_without_steps_per_epoch_epochs_are_steps(self):
        recorder = TrajectoryRecorder(_model(), n_steps=3, train_size=60)
        recorder.step()
        assert recorder.trajectory_["epoch"].tolist() == [0.0, 1.0]

    def test_a_tracker_brings_its_own_options(self):
        model = _model()
        tracker = NormTracker(model, ["path"], input_shape=(4,))
        recorder = TrajectoryRecorder(model, n_steps=1, train_size=60, norms=tracker)
        assert "log_path" in recorder.records[0]

    def test_an_early_end_is_recorded_and_a_late_one_told(self):
        model = _model()
        recorder = TrajectoryRecorder(model, n_steps=1000, train_size=60, n_records=5)
        _loop(model, 40, recorder.step)
        recorder.finish()
        recorder.finish()
        assert recorder.trajectory_["step"].tolist()[-1] == 40
        short = TrajectoryRecorder(model, n_steps=1, train_size=60)
        short.step()
        with pytest.warns(TrajectoryWarning, match="n_steps=1, and training goes on"):
            short.step()
        short.step()  # told once

    def test_best_weights_that_are_loaded_leave_the_last_row_alone(self):
        model = _model()
        best = copy.deepcopy(model.state_dict())
        recorder = TrajectoryRecorder(model, n_steps=1000, train_size=60, n_records=5)
        _loop(model, 40, recorder.step)
        last = _norm(model)
        model.load_state_dict(best)
        recorder.finish()
        row = recorder.trajectory_.iloc[-1]
        assert row["step"] == 40
        assert_allclose(row["log_spectral_complexity"], last, rtol=1e-6)

    def test_a_recorded_module_can_be_copied_and_pickled(self):
        model = _model()
        recorder = TrajectoryRecorder(model, n_steps=9, train_size=60)
        for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            recorder.step()
            n = len(recorder.records)
            other.load_state_dict(model.state_dict())
            assert len(recorder.records) == n

    def test_an_interrupted_run_goes_on(self):
        model = _model()
        whole = TrajectoryRecorder(model, n_steps=20, train_size=60, n_records=6)
        _loop(model, 7, whole.step)
        state = pickle.loads(pickle.dumps(whole.state_dict()))
        resumed = TrajectoryRecorder(
            model, n_steps=20, train_size=60, n_records=6, state=state
        )

        def after():
            whole.step()
            resumed.step()

        _loop(model, 13, after)
        assert_frame_equal(whole.trajectory_, resumed.trajectory_)

    @pytest.mark.parametrize(
        ("columns", "error", "message"),
        [
            ({"test_error": 37.5}, ValueError, "divide percentages by 100"),
            ({"epoch": 1.0}, ValueError, "must not return epoch"),
            ({"test_loss": "low"}, TypeError, "test_loss of type str"),
            (0.5, TypeError, "must return a dict of columns.*got float"),
        ],
    )
    def test_odd_columns_are_named_at_the_first_record(self, columns, error, message):
        with pytest.raises(error, match=message):
            TrajectoryRecorder(
                _model(), n_steps=1, train_size=60, evaluate=lambda: columns
            )

    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"module": None}, TypeError, r"module must be a torch\.nn\.Module"),
            ({"n_steps": 0.5}, TypeError, "n_steps must be an integer"),
            ({"train_size": 0}, ValueError, "train_size must be at least 1"),
            ({"n_records": 1}, ValueError, "n_records must be at least 2"),
            ({"norms": ("nuclear",)}, ValueError, "must be among"),
            ({"evaluate": {}}, TypeError, "evaluate must be a function"),
            ({"steps_per_epoch": 0}, ValueError, "steps_per_epoch must be above 0"),
        ],
    )
    def test_odd_arguments_are_named(self, changes, error, message):
        arguments = {"module": _model(), "n_steps": 5, "train_size": 60} | changes
        with pytest.raises(error, match=message):
            TrajectoryRecorder(arguments.pop("module"), **arguments)

    def test_a_layer_of_zeros_is_told_of(self):
        model = nn.Linear(4, 3)
        nn.init.zeros_(model.weight)
        recorder = TrajectoryRecorder(model, n_steps=1, train_size=60)
        recorder.step()
        with pytest.warns(ZeroNormWarning, match="minus infinity in 2 of 2 records"):
            recorder.warn_of_zeros()


def _fit(net_class, module, recorder, data=(X, Y), more=(), **options):
    settings = {
        "criterion": nn.CrossEntropyLoss,
        "train_split": None,
        "max_epochs": 3,
        "batch_size": 16,
        "lr": 0.05,
        "verbose": 0,
    } | options
    net = net_class(module, callbacks=[*more, recorder], **settings)
    return net.fit(*data), recorder.trajectory_


class _Returns(nn.Module):
    def __init__(self, form):
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.form = nn.Linear(4, 3), form

    def forward(self, X):
        return self.form(self.linear(X))


class _TakesLogits(NeuralNetClassifier):
    def get_loss(self, y_pred, y_true, *args, **kwargs):
        logits = y_pred["logits"] if isinstance(y_pred, dict) else y_pred[0]
        return super().get_loss(logits, y_true, *args, **kwargs)


def _pair(logits):
    return logits, logits.exp()


def _named(logits):
    return {"hidden": logits.exp(), "logits": logits}


def _plain(logits):
    return logits


@pytest.mark.parametrize("form", [_pair, _named])
def test_outputs_in_tuples_and_dicts_are_recorded_as_plain_ones(form):
    torch.manual_seed(1)
    _, expected = _fit(NeuralNetClassifier, _Returns(_plain), NormRecorder(n_records=5))
    torch.manual_seed(1)
    _, table = _fit(_TakesLogits, _Returns(form), NormRecorder(n_records=5))
    assert_frame_equal(table, expected)


@pytest.mark.parametrize("threshold", [0.3, 0.5])
def test_binary_nets_err_as_they_predict(threshold):
    y = (X[:, 0] > 0.4).astype("float32")
    recorder = NormRecorder(n_records=4, eval_set=(X[::2], y[::2]))
    torch.manual_seed(0)
    net, table = _fit(
        NeuralNetBinaryClassifier,
        nn.Linear(4, 1),
        recorder,
        (X, y),
        criterion=nn.BCEWithLogitsLoss,
        threshold=threshold,
    )
    last = table.iloc[-1]
    assert_allclose(last["train_error"], np.mean(net.predict(X) != y))
    assert_allclose(last["test_error"], np.mean(net.predict(X[::2]) != y[::2]))
    logits = torch.logit(torch.tensor(net.predict_proba(X)[:, 1]))
    loss = nn.functional.binary_cross_entropy_with_logits(logits, torch.tensor(y))
    assert_allclose(last["train_loss"], float(loss), rtol=1e-4)


def test_dense_labels_count_unless_they_are_ignored():
    torch.manual_seed(0)
    images = np.random.default_rng(0).normal(size=(10, 1, 5, 5)).astype("float32")
    labels = np.random.default_rng(1).integers(0, 3, (10, 5, 5))
    labels[:, 0] = 9
    labels[0] = 9  # the first batches hold an image without a label
    net, table = _fit(
        NeuralNet,
        nn.Conv2d(1, 3, 3, padding=1),
        NormRecorder(n_records=3, eval_set=(images, labels)),
        (images, labels),
        criterion=nn.CrossEntropyLoss(ignore_index=9),
        batch_size=4,
    )
    with torch.no_grad():
        logits = net.module_(torch.tensor(images))
    y = torch.tensor(labels)
    loss = nn.functional.cross_entropy(logits, y, ignore_index=9)
    wrong = (logits.argmax(1) != y)[y != 9].float().mean()
    last = table.iloc[-1]
    assert_allclose(last[["test_error", "test_loss"]], [wrong, loss], rtol=1e-5)
    assert "n_test" not in table


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_losses_are_means_over_the_data_whatever_the_batches(reduction):
    weight = torch.tensor([1.0, 5.0, 20.0])
    loss = nn.CrossEntropyLoss(weight, reduction=reduction)
    settings = {"criterion": loss, "lr": 1e-3, "batch_size": 7}
    torch.manual_seed(0)
    net, table = _fit(
        NeuralNet, _Returns(_plain), NormRecorder(n_records=3), **settings
    )
    with torch.no_grad():
        logits = net.module_(torch.tensor(X))
    expected = nn.functional.cross_entropy(logits, torch.tensor(Y), weight)
    assert_allclose(table["train_loss"].iloc[-1], float(expected), rtol=1e-5)


class _Stream(IterableDataset):
    def __iter__(self):
        yield from zip(X, Y, strict=True)


class _Endless(IterableDataset):
    def __iter__(self):
        while True:
            yield from zip(X, Y, strict=True)


def test_data_without_a_length_are_recorded_once_it_is_given():
    with pytest.raises(ValueError, match="train_size=, their number, and n_batches="):
        _fit(NeuralNetClassifier, _Returns(_plain), NormRecorder(), (_Stream(), None))
    recorder = NormRecorder(n_records=5, train_size=60, n_batches=4)
    net, table = _fit(
        NeuralNetClassifier, _Returns(_plain), recorder, (_Stream(), None)
    )
    assert table[["step", "train_size"]].iloc[-1].tolist() == [12, 60]
    assert_allclose(table["train_error"].iloc[-1], np.mean(net.predict(X) != Y))


class _Accumulates(NeuralNetClassifier):
    """skorch's recipe: a step of the optimiser after every third batch."""

    n_batches = 0

    def train_step(self, batch, **fit_params):
        step = self.train_step_single(batch, **fit_params)
        self.n_batches += 1
        if self.n_batches % 3 == 0:
            self.optimizer_.step()
            self.optimizer_.zero_grad()
        return step


def test_steps_are_the_optimiser_s_where_gradients_are_accumulated():
    settings = {"batch_size": 5, "max_epochs": 6}  # twelve batches, four steps
    recorder = NormRecorder(n_records=50)
    net, table = _fit(_Accumulates, _Returns(_plain), recorder, **settings)
    assert table["step"].tolist() == list(range(25))
    assert table["epoch"].iloc[-1] == 6.0
    assert table["log_spectral_complexity"].is_unique
    few = _fit(_Accumulates, _Returns(_plain), NormRecorder(n_records=5), **settings)[1]
    assert few["step"].tolist() == [0, 1, 3, 8, 24]
    assert_allclose(
        table["log_spectral_complexity"].iloc[-1], _norm(net.module_), rtol=1e-6
    )


@pytest.mark.parametrize("restorer", ["stopping", "checkpoint"])
def test_weights_that_a_callback_brings_back_are_no_last_row(restorer, tmp_path):
    class Last(NormRecorder):
        def on_epoch_end(self, net, **kwargs):
            self.norm, self.n_epochs = _norm(net.module_), len(net.history)

    if restorer == "stopping":
        more = [EarlyStopping("train_loss", 2, load_best=True)]
    else:
        more = [
            Checkpoint("train_loss_best", dirname=str(tmp_path), load_best=True),
            EarlyStopping("train_loss", 2),
        ]
    last, recorder = Last(n_records=2), NormRecorder(n_records=5)
    torch.manual_seed(0)
    net, table = _fit(
        NeuralNetClassifier,
        _Returns(_plain),
        recorder,
        lr=5.0,
        max_epochs=1000,
        more=[last, *more],
    )
    assert table["step"].iloc[-1] == 4 * last.n_epochs
    assert_allclose(table["log_spectral_complexity"].iloc[-1], last.norm, rtol=1e-6)
    assert abs(_norm(net.module_) - last.norm) > 1e-3


def test_the_training_error_may_be_that_of_a_spread_subset():
    recorder = NormRecorder(
        n_records=3, eval_set=(X[:7], Y[:7]), subset_train_error=True
    )
    net, table = _fit(NeuralNetClassifier, _Returns(_plain), recorder)
    rows = np.linspace(0, 59, 7).round().astype(int)
    assert_allclose(
        table["train_error"].iloc[-1], np.mean(net.predict(X[rows]) != Y[rows])
    )
    assert table["train_size"].eq(60).all()


def test_a_net_can_be_pickled_while_it_is_recorded(tmp_path):
    keep = Checkpoint(
        monitor=None, dirname=str(tmp_path), f_pickle="net.pkl", f_optimizer=None
    )
    _fit(NeuralNetClassifier, _Returns(_plain), NormRecorder(n_records=3), more=[keep])
    with open(tmp_path / "net.pkl", "rb") as file:
        assert pickle.load(file).predict(X).shape == (60,)
