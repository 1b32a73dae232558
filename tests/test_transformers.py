"""The callback of the Hugging Face Trainer, in that Trainer."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from scalinglaw.exceptions import TrajectoryWarning
from scalinglaw.norms import compute_norms

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from scalinglaw.integrations.transformers import TrajectoryCallback  # noqa: E402

# transformers and accelerate warn of what torch will drop, and of pinned memory.
pytestmark = pytest.mark.filterwarnings("default:::(torch|transformers|accelerate)")


class Rows(torch.utils.data.Dataset):
    def __init__(self, n, seed, length=6, classes=None):
        rng = torch.Generator().manual_seed(seed)
        self.tokens = torch.randint(11, (n, length), generator=rng)
        self.classes = self.tokens[:, 0] % 3 if classes else None

    def __len__(self):
        return len(self.tokens)

    def __getitem__(self, i):
        labels = self.tokens[i] if self.classes is None else self.classes[i]
        return {"input_ids": self.tokens[i], "labels": labels, "index": i}


def _language_model():
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=11,
        n_positions=8,
        n_embd=8,
        n_layer=1,
        n_head=2,
        bos_token_id=0,
        eos_token_id=0,
    )
    return transformers.GPT2LMHeadModel(config)


def _classifier():
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=11,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        num_labels=3,
    )
    return transformers.BertForSequenceClassification(config)


def _train(
    recorder, folder, model=None, classes=None, *, resume=None, more=(), **options
):
    settings = {
        "num_train_epochs": 3,
        "per_device_train_batch_size": 4,
        "report_to": [],
        "save_strategy": "no",
        "use_cpu": True,
        "disable_tqdm": True,
        "learning_rate": 1e-2,
    } | options
    held_out = settings.pop("eval_dataset", Rows(15, 1, classes=classes))
    trainer = transformers.Trainer(
        model or _language_model(),
        transformers.TrainingArguments(str(folder), **settings),
        train_dataset=Rows(40, 0, classes=classes),
        eval_dataset=held_out,
        callbacks=[recorder, *more],
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def _norm(model):
    return compute_norms(model)["spectral_complexity"]


pytestmark = [
    pytestmark,
    # Embeddings of positions and tied heads are named by the norms.
    pytest.mark.filterwarnings(
        "ignore::scalinglaw.exceptions.UncountedParameterWarning"
    ),
]


def test_a_language_model_is_scored_on_the_tokens_that_come_next(tmp_path):
    recorder = TrajectoryCallback(n_records=6, seed=2)
    trainer = _train(recorder, tmp_path)
    table = recorder.trajectory_
    assert (table["train_size"].iloc[0], table["seed"].iloc[0]) == (40, 2)
    assert table["step"].iloc[[0, 1, -1]].tolist() == [0, 1, 30]
    assert table["epoch"].iloc[-1] == 3.0
    assert "n_test" not in table  # tokens of a text are not independent
    model, tokens = trainer.model.eval(), Rows(15, 1).tokens
    with torch.no_grad():
        output = model(input_ids=tokens, labels=tokens)
    assert_allclose(table["test_loss"].iloc[-1], float(output.loss), rtol=1e-5)
    wrong = output.logits[:, :-1].argmax(-1) != tokens[:, 1:]
    assert_allclose(table["test_error"].iloc[-1], float(wrong.float().mean()))
    norms = [_norm(_language_model()), _norm(model)]
    found = table["log_spectral_complexity"].iloc[[0, -1]]
    assert_allclose(found, norms, rtol=1e-6)


def test_a_classifier_is_scored_on_its_labels(tmp_path):
    recorder = TrajectoryCallback(n_records=3)
    trainer = _train(recorder, tmp_path, _classifier(), classes=3)
    held_out = Rows(15, 1, classes=3)
    with torch.no_grad():
        logits = trainer.model.eval()(input_ids=held_out.tokens).logits
    loss = nn.functional.cross_entropy(logits, held_out.classes)
    last = recorder.trajectory_.iloc[-1]
    assert_allclose(last["test_loss"], float(loss), rtol=1e-5)
    assert last["n_test"] == 15


def test_recording_changes_nothing_of_the_training(tmp_path):
    weights = []
    for n_records in (2, 20):
        torch.manual_seed(1)
        trainer = _train(TrajectoryCallback(n_records=n_records), tmp_path)
        weights.append(list(trainer.model.parameters()))
    assert all(map(torch.equal, *weights))


def test_steps_are_the_optimiser_s(tmp_path):
    recorder = TrajectoryCallback(n_records=50)
    _train(recorder, tmp_path, gradient_accumulation_steps=4)
    assert recorder.trajectory_["step"].tolist() == list(range(10))
    assert recorder.trajectory_["epoch"].iloc[-1] == 3.0


def test_a_run_that_stops_early_ends_in_one_state(tmp_path):
    class Last(transformers.TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **kwargs):
            self.step, self.norm = state.global_step, _norm(model)

    last, recorder = Last(), TrajectoryCallback(n_records=4)
    trainer = _train(
        recorder,
        tmp_path,
        num_train_epochs=30,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        learning_rate=0.3,
        more=[last, transformers.EarlyStoppingCallback(2)],
    )
    row = recorder.trajectory_.iloc[-1]
    assert row["step"] == last.step < 300
    assert_allclose(row["log_spectral_complexity"], last.norm, rtol=1e-6)
    # The best weights have been brought back since.
    assert abs(_norm(trainer.model) - last.norm) > 1e-3


def test_a_resumed_run_goes_on_with_its_records(tmp_path):
    first = TrajectoryCallback(n_records=8)
    _train(first, tmp_path, num_train_epochs=1, save_strategy="epoch")
    resumed = TrajectoryCallback(n_records=8)
    _train(resumed, tmp_path, save_strategy="epoch", resume=True)
    before, after = first.trajectory_, resumed.trajectory_
    assert after["step"].tolist()[: len(before)] == before["step"].tolist()
    assert after["step"].iloc[-1] == 30
    assert_allclose(after["test_loss"].iloc[0], before["test_loss"].iloc[0])


def test_what_is_missing_is_asked_for(tmp_path):
    recorder = TrajectoryCallback(5)
    with pytest.warns(TrajectoryWarning, match="no eval_dataset"):
        _train(recorder, tmp_path, eval_dataset=None, num_train_epochs=1)
    assert recorder.trajectory_["train_size"].eq(5).all()
    two = {"a": Rows(5, 1), "b": Rows(5, 2)}
    with pytest.raises(ValueError, match="give eval_data= the one"):
        _train(TrajectoryCallback(), tmp_path, eval_dataset=two)
    own = TrajectoryCallback(evaluate=lambda model: {"test_error": 0.5}, n_records=2)
    _train(own, tmp_path, eval_dataset=two)
    assert own.trajectory_["test_error"].eq(0.5).all()
    assert np.isfinite(own.trajectory_["log_spectral_complexity"]).all()
