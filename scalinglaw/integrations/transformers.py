"""A callback of the Hugging Face Trainer that records a trajectory.

It needs the package ``transformers``: ``pip install "scalinglaw[transformers]"``.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pandas as pd
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, Trainer, TrainerCallback
from transformers.trainer_callback import ExportableState

from .._validation import warn_user
from ..exceptions import TrajectoryWarning
from ..norms import NormTracker
from ..recorder import TrajectoryRecorder
from ._evaluation import evaluation_loader, held_out_scores

__all__ = ["TrajectoryCallback"]


class TrajectoryCallback(TrainerCallback, ExportableState):
    """Record log-norms and test errors at log-spaced steps of a Hugging Face Trainer.

    The first record is taken before the first step, in evaluation mode as all others.
    Steps are the optimiser's, whatever gradients are accumulated. Of several processes
    the first records, on all of the evaluation data. Checkpoints hold the records, so
    that ``train(resume_from_checkpoint=...)`` continues them.

    Parameters
    ----------
    train_size : int, optional
        Number of training samples; by default the length of the training data set.
    seed : int, default=0
        Number of the run among those of its train size.
    n_records : int, default=50
        Records of the run.
    norms : sequence of str, or NormTracker, default=("spectral_complexity",)
        Norms of the whole model, or a tracker of a part of it.
    eval_data : DataLoader or Dataset, optional
        Held-out data; by default the trainer's ``eval_dataset``.
    evaluate : callable, optional
        ``evaluate(model)`` returns a dict of columns. By default: the error and the
        mean cross-entropy of the model's logits against its labels, or, of causal
        language models, against the tokens that come next.

    Attributes
    ----------
    trajectory_ : DataFrame
        After training, the trajectory table of the run.

    Examples
    --------
    >>> from scalinglaw.integrations.transformers import TrajectoryCallback
    >>> recorder = TrajectoryCallback(n_records=30)
    >>> trainer = Trainer(model, args, train_dataset=data, eval_dataset=held_out,
    ...                   callbacks=[recorder])  # doctest: +SKIP
    >>> trainer.train()  # doctest: +SKIP
    >>> recorder.trajectory_  # doctest: +SKIP
    """

    def __init__(
        self,
        train_size: int | None = None,
        *,
        seed: int = 0,
        n_records: int = 50,
        norms: Iterable[str] | NormTracker = ("spectral_complexity",),
        eval_data: Any = None,
        evaluate: Callable[[Any], Mapping[str, Any]] | None = None,
    ) -> None:
        self.train_size = train_size
        self.seed = seed
        self.n_records = n_records
        self.norms = norms
        self.eval_data = eval_data
        self.evaluate = evaluate
        self._recorder: TrajectoryRecorder | None = None

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any
    ) -> None:
        """Plan the records and take the first, or go on with those of a checkpoint.

        Parameters
        ----------
        args : TrainingArguments
            Settings of the trainer.
        state : TrainerState
            Steps done and to do.
        control : TrainerControl
            Unused.
        model : nn.Module
            The model that is trained.
        **kwargs : dict
            ``train_dataloader`` among others.
        """
        if args.fsdp or args.deepspeed:
            raise ValueError(
                "fsdp and deepspeed spread weights over processes, and norms need them "
                "whole. Use plain data parallelism, or a TrajectoryRecorder."
            )
        if not state.is_world_process_zero:
            return
        loader = kwargs.get("train_dataloader")
        known = _restored(state)
        if known is None and state.global_step:
            warn_user(
                f"training resumes at step {state.global_step} from a checkpoint "
                "without records: the trajectory begins there.",
                TrajectoryWarning,
            )
            known = {"step": state.global_step, "records": []}
        self._recorder = TrajectoryRecorder(
            model,
            n_steps=state.max_steps,
            train_size=self.train_size or _train_size(loader),
            seed=self.seed,
            n_records=self.n_records,
            norms=self.norms,
            evaluate=self._evaluation(args, model),
            steps_per_epoch=_steps_per_epoch(loader, args),
            state=known,
        )
        if not self._recorder.records:
            self._recorder.record()

    def _evaluation(self, args: Any, model: Any) -> Callable[[], Any] | None:
        if self.evaluate is not None:
            return functools.partial(self.evaluate, model)
        trainer = _calling_trainer()
        data, names = self.eval_data, ["labels"]
        if trainer is not None:
            names = trainer.label_names or names
            if data is None:
                data = trainer.eval_dataset
        if data is None:
            warn_user(
                "the trainer has no eval_dataset, so that only norms are recorded: "
                "give eval_data= for test errors.",
                TrajectoryWarning,
            )
            return None
        if isinstance(data, dict):
            raise ValueError(
                f"the trainer has {len(data)} evaluation sets: give eval_data= the one "
                "whose error is to be recorded."
            )
        if len(names) != 1:
            raise ValueError(
                f"the model has the labels {', '.join(names)}: give evaluate=, a "
                "function of the model that returns a dict with test_error."
            )
        if not isinstance(data, DataLoader):
            # The trainer knows which columns the model takes; its own loader may give
            # each process a part.
            made = trainer.get_eval_dataloader(data) if trainer is not None else None
            data = DataLoader(
                made.dataset if made is not None else data,
                args.per_device_eval_batch_size,
                collate_fn=made.collate_fn if made is not None else None,
            )
        return functools.partial(
            held_out_scores,
            evaluation_loader(data),
            next(model.parameters()).device,
            functools.partial(_split, name=names[0]),
            functools.partial(_call, model),
            _is_causal(model),
        )

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Count the optimiser's step, and take a record if one is due.

        Parameters
        ----------
        args, control : object
            Unused.
        state : TrainerState
            Steps done.
        **kwargs : dict
            Unused.
        """
        if self._recorder is not None:
            self._recorder.step(state.global_step - self._recorder.n_steps_done)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Record the last step, if it was not planned, and make the table.

        Parameters
        ----------
        args, state, control : object
            Unused.
        **kwargs : dict
            Unused.
        """
        recorder, self._recorder = self._recorder, None
        if recorder is None:
            return
        recorder.finish()
        self.trajectory_: pd.DataFrame = recorder.trajectory_
        recorder.warn_of_zeros()

    def state(self) -> dict[str, Any]:
        """Return the records, for a checkpoint.

        Returns
        -------
        dict
            In the form that the trainer writes to ``trainer_state.json``.
        """
        known = {} if self._recorder is None else self._recorder.state_dict()
        return {"args": {}, "attributes": {"records": known}}


def _restored(state: Any) -> dict[str, Any] | None:
    """Return the records in the checkpoint that a run resumes from."""
    if not state.global_step:
        return None
    held = (state.stateful_callbacks or {}).get(TrajectoryCallback.__name__)
    for entry in held if isinstance(held, list) else [held]:
        known = entry["attributes"]["records"] if entry else None
        if known:
            return known
    return None


def _calling_trainer() -> Trainer | None:
    """Return the trainer that has called: it hands callbacks no evaluation data."""
    frame = sys._getframe(1)
    while frame is not None:
        caller = frame.f_locals.get("self")
        if isinstance(caller, Trainer):
            return caller
        frame = frame.f_back  # type: ignore[assignment]
    return None


def _train_size(loader: Any) -> int:
    """Return the length of the training data set, or ask for it."""
    try:
        return len(loader.dataset)
    except (AttributeError, TypeError):
        raise ValueError(
            "the training data have no length: give TrajectoryCallback train_size=."
        ) from None


def _steps_per_epoch(loader: Any, args: Any) -> int | None:
    try:
        return max(math.ceil(len(loader) / args.gradient_accumulation_steps), 1)
    except TypeError:
        return None


def _split(batch: Any, name: str) -> tuple[Any, Tensor]:
    """Return inputs and labels of a batch."""
    if name not in batch:
        raise ValueError(
            f"batches of eval_data must hold {name!r}, got {', '.join(batch)}: give "
            "evaluate=, a function of the model that returns a dict with test_error."
        )
    return {key: value for key, value in batch.items() if key != name}, batch[name]


def _is_causal(model: Any) -> bool:
    """Return whether the model shifts its labels: outputs predict the next of them."""
    if not isinstance(model, PreTrainedModel):
        return False
    kind = model.loss_type
    if kind is not None:
        return kind == "ForCausalLM"
    # A name that transformers does not know has the loss of causal models there.
    return model.can_generate() and not model.config.is_encoder_decoder


def _call(model: Any, inputs: dict[str, Any]) -> Any:
    return model(**inputs)
