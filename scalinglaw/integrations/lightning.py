"""A callback of Lightning that records a trajectory.

It needs the package ``lightning``: ``pip install "scalinglaw[lightning]"``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import lightning.pytorch as pl
import pandas as pd
import torch
from lightning.pytorch.strategies import (
    DeepSpeedStrategy,
    FSDPStrategy,
    ModelParallelStrategy,
)
from torch import Tensor

from .._validation import warn_user
from ..exceptions import TrajectoryWarning
from ..norms import NormTracker
from ..recorder import TrajectoryRecorder
from ._evaluation import evaluation_loader, held_out_scores

__all__ = ["TrajectoryCallback"]

_SHARDED = (DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy)


class TrajectoryCallback(pl.Callback):
    """Record log-norms and test errors at log-spaced steps of a Lightning Trainer.

    The first record is taken before the first step, in evaluation mode as all others.
    Steps are the optimiser's, whatever gradients are accumulated. Of several processes
    the first records, on all of the evaluation data. Checkpoints hold the records, so
    that a resumed run continues them.

    Parameters
    ----------
    train_size : int, optional
        Number of training samples; by default the length of the training data set.
    seed : int, default=0
        Number of the run among those of its train size.
    n_records : int, default=50
        Records of the run.
    norms : sequence of str, or NormTracker, default=("spectral_complexity",)
        Norms of the whole LightningModule, or a tracker of a part of it.
    eval_data : DataLoader or Dataset, optional
        Held-out data; by default the trainer's validation data.
    evaluate : callable, optional
        ``evaluate(module)`` returns a dict of columns. By default, of batches that are
        pairs (x, y) or dicts with ``"labels"``: the error of classes or tokens and the
        mean cross-entropy of the logits that ``module(x)`` returns.

    Attributes
    ----------
    trajectory_ : DataFrame
        After training, the trajectory table of the run.

    Examples
    --------
    >>> from scalinglaw.integrations.lightning import TrajectoryCallback
    >>> recorder = TrajectoryCallback(n_records=30)
    >>> import lightning
    >>> trainer = lightning.Trainer(callbacks=[recorder])  # doctest: +SKIP
    >>> trainer.fit(model, data)  # doctest: +SKIP
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
        self._state: dict[str, Any] | None = None

    def on_train_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> None:
        """Plan the records and take the first, or go on with those of a checkpoint.

        Parameters
        ----------
        trainer : Trainer
            The trainer.
        pl_module : LightningModule
            The module that is trained.
        """
        if isinstance(trainer.strategy, _SHARDED):
            raise ValueError(
                f"{type(trainer.strategy).__name__} spreads weights over processes, "
                "and norms need them whole. Use DDP, or a TrajectoryRecorder."
            )
        if not trainer.is_global_zero:
            return
        n_steps, n_batches = (
            trainer.estimated_stepping_batches,
            (trainer.num_training_batches),
        )
        if not 0 <= n_steps < math.inf:
            raise ValueError(
                "the records are spaced over the whole run: give the Trainer "
                "max_epochs or max_steps."
            )
        per_epoch = None
        if n_batches < math.inf:
            per_epoch = math.ceil(n_batches / trainer.accumulate_grad_batches)
        done, state = trainer.global_step, self._state
        if state is None and done:
            warn_user(
                f"training resumes at step {done} from a checkpoint without records: "
                "the trajectory begins there.",
                TrajectoryWarning,
            )
            state = {"step": done, "records": []}
        self._recorder = TrajectoryRecorder(
            pl_module,
            n_steps=int(n_steps),
            train_size=self.train_size or _train_size(trainer),
            seed=self.seed,
            n_records=self.n_records,
            norms=self.norms,
            evaluate=self._evaluation(trainer, pl_module),
            steps_per_epoch=per_epoch,
            state=state,
        )
        if not self._recorder.records:
            self._recorder.record()

    def _evaluation(self, trainer: Any, module: Any) -> Callable[[], Any] | None:
        if self.evaluate is not None:
            return functools.partial(self.evaluate, module)
        data = trainer.val_dataloaders if self.eval_data is None else self.eval_data
        if isinstance(data, list | tuple | dict) and len(data) != 1:
            raise ValueError(
                f"the trainer has {len(data)} validation sets: give eval_data= the one "
                "whose error is to be recorded."
            )
        if isinstance(data, list | tuple | dict):
            (data,) = data.values() if isinstance(data, dict) else data
        if data is None:
            warn_user(
                "the trainer has no validation data, so that only norms are recorded: "
                "give eval_data= for test errors.",
                TrajectoryWarning,
            )
            return None
        precision = trainer.precision_plugin

        def call(inputs: Any) -> Any:
            inputs = precision.convert_input(inputs)
            with precision.forward_context():
                if isinstance(inputs, dict):
                    return module(**inputs)
                return module(inputs)

        return functools.partial(
            held_out_scores, evaluation_loader(data), module.device, _split, call
        )

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Count the optimiser's steps, and take a record if one is due.

        Parameters
        ----------
        trainer : Trainer
            The trainer.
        pl_module : LightningModule
            The module that is trained.
        outputs, batch : object
            Unused.
        batch_idx : int
            Unused.
        """
        if self._recorder is not None:
            new = trainer.global_step - self._recorder.n_steps_done
            if new > 0:
                self._recorder.step(new)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record the last step, if it was not planned, and make the table.

        Parameters
        ----------
        trainer : Trainer
            The trainer.
        pl_module : LightningModule
            The module that was trained.
        """
        self._end(last=True)

    def on_exception(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        exception: BaseException,
    ) -> None:
        """Make the table of what was recorded.

        Parameters
        ----------
        trainer : Trainer
            The trainer.
        pl_module : LightningModule
            The module that was trained.
        exception : BaseException
            What ended training.
        """
        self._end(last=False)

    def _end(self, last: bool) -> None:
        recorder, self._recorder = self._recorder, None
        if recorder is None:
            return
        if last:
            recorder.finish()
        self._state = recorder.state_dict()
        self.trajectory_: pd.DataFrame = recorder.trajectory_
        recorder.warn_of_zeros()

    def state_dict(self) -> dict[str, Any]:
        """Return the records, for a checkpoint.

        Returns
        -------
        dict
            State of the recorder; empty where nothing is recorded.
        """
        if self._recorder is not None:
            return self._recorder.state_dict()
        return self._state or {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the records of a checkpoint, to go on with them.

        Parameters
        ----------
        state_dict : dict
            What :meth:`state_dict` returned.
        """
        self._state = state_dict or None


def _train_size(trainer: Any) -> int:
    """Return the length of the training data set, or ask for it."""
    try:
        return len(trainer.train_dataloader.dataset)
    except (AttributeError, TypeError):
        raise ValueError(
            "the training data have no length: give TrajectoryCallback train_size=."
        ) from None


def _split(batch: Any) -> tuple[Any, Tensor]:
    """Return inputs and labels of a batch in one of the usual forms."""
    if isinstance(batch, dict) and "labels" in batch:
        return {k: v for k, v in batch.items() if k != "labels"}, batch["labels"]
    if isinstance(batch, list | tuple) and len(batch) == 2:
        inputs, labels = batch
        if isinstance(labels, torch.Tensor):
            return inputs, labels
    raise ValueError(
        "batches of eval_data must be pairs (x, y) or dicts with 'labels'; of others, "
        "give TrajectoryCallback evaluate=, a function of the module that returns "
        "a dict with test_error."
    )
