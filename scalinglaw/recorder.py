"""What a run of training leaves: norms and errors at log-spaced steps.

Knows no training framework; the callbacks in :mod:`scalinglaw.integrations` are built
on it.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from ._undisturbed import undisturbed
from ._validation import (
    check_integer,
    check_number,
    check_seed,
    plural,
    warn_user,
)
from .exceptions import TrajectoryWarning, ZeroNormWarning
from .norms import NormTracker
from .trajectories import check_trajectories

__all__ = ["TrajectoryRecorder", "record_steps"]

# What the recorder writes itself.
_OWN = ("train_size", "seed", "epoch", "step")


def record_steps(n_steps: int, n_records: int = 50) -> np.ndarray:
    """Return the optimiser steps after which to record, log-spaced from 0.

    Parameters
    ----------
    n_steps : int
        Steps of the whole run.
    n_records : int, default=50
        Records wanted, at least 2; there are fewer if there are fewer steps.

    Returns
    -------
    ndarray of int
        Increasing, from 0 to `n_steps`.

    Examples
    --------
    >>> from scalinglaw import record_steps
    >>> record_steps(1000, 7).tolist()
    [0, 1, 4, 16, 63, 251, 1000]
    """
    n_steps = check_integer(n_steps, "n_steps", minimum=0)
    n_records = check_integer(n_records, "n_records", minimum=2)
    if n_steps + 1 <= n_records:
        return np.arange(n_steps + 1)
    n_points = n_records - 1
    if n_points == 1:
        return np.array([0, n_steps])
    # Rounding merges the first points: ask for more until enough are left.
    for asked in range(n_points, 4 * n_steps + n_points):
        steps = np.unique(np.geomspace(1, n_steps, asked).round().astype(int))
        if len(steps) >= n_points:
            break
    surplus = len(steps) - n_points
    return np.concatenate([[0], np.delete(steps, np.arange(1, 1 + surplus))])


class TrajectoryRecorder:
    """Record log-norms and errors of a module at log-spaced steps of any training.

    The first record is taken when the recorder is made: make it after the weights
    have their initial values, and before the first step. Recording changes nothing of
    the training: neither the mode of any part of the module, nor gradients, nor the
    state of torch's random generators. Where training ends early and the best weights
    are loaded into the module, the state before that is recorded first: a row is
    always one state.

    Parameters
    ----------
    module : nn.Module
        The network, on the device where it is trained.
    n_steps : int
        Optimiser steps of the whole run.
    train_size : int
        Number of training samples.
    seed : int, default=0
        Number of the run among those of its train size.
    n_records : int, default=50
        Records of the run, the first and the last included.
    norms : sequence of str, or NormTracker, default=("spectral_complexity",)
        Names among ``scalinglaw.norms.NORMS``, or a tracker of `module` with options
        and data of its own.
    evaluate : callable, optional
        ``evaluate()`` returns a dict of columns, such as ``test_error`` (a fraction),
        ``test_loss`` (mean nats), ``n_test``. It is called in evaluation mode without
        gradients.
    steps_per_epoch : float, optional
        Optimiser steps in a pass over the training data, for the column ``epoch``.
        Without it, the column holds steps.
    state : dict, optional
        What :meth:`state_dict` of an interrupted run returned: it is continued.

    Attributes
    ----------
    trajectory_ : DataFrame
        The trajectory table of the run so far.
    records : list of dict
        Its rows.
    n_steps_done : int
        Optimiser steps so far.

    See Also
    --------
    scalinglaw.NormRecorder : The same as a callback of skorch.

    Examples
    --------
    >>> import torch
    >>> from scalinglaw import TrajectoryRecorder
    >>> X, y = torch.eye(4), torch.tensor([0, 1, 0, 1])
    >>> model = torch.nn.Linear(4, 2)
    >>> def evaluate():
    ...     return {"test_error": (model(X).argmax(dim=1) != y).float().mean()}
    >>> recorder = TrajectoryRecorder(
    ...     model, n_steps=100, train_size=4, n_records=5, evaluate=evaluate
    ... )
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> for _ in range(100):
    ...     optimizer.zero_grad()
    ...     torch.nn.functional.cross_entropy(model(X), y).backward()
    ...     optimizer.step()
    ...     _ = recorder.step()
    >>> recorder.trajectory_["step"].tolist()
    [0, 1, 5, 22, 100]
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        n_steps: int,
        train_size: int,
        seed: int = 0,
        n_records: int = 50,
        norms: Iterable[str] | NormTracker = ("spectral_complexity",),
        evaluate: Callable[[], Mapping[str, Any]] | None = None,
        steps_per_epoch: float | None = None,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(module, nn.Module):
            raise TypeError(
                f"module must be a torch.nn.Module, got {type(module).__name__}."
            )
        if not (evaluate is None or callable(evaluate)):
            raise TypeError(
                "evaluate must be a function without arguments that returns a dict of "
                f"columns, got {evaluate!r}."
            )
        self.module = module
        self.train_size = check_integer(train_size, "train_size")
        self.seed = check_seed(seed, "seed") or 0
        self.n_records = check_integer(n_records, "n_records", minimum=2)
        self.evaluate = evaluate
        self.tracker = (
            norms if isinstance(norms, NormTracker) else NormTracker(module, norms)
        )
        self.records: list[dict[str, Any]] = []
        self.n_steps_done = 0
        self._told = False
        self.plan(n_steps, steps_per_epoch)
        self._hook = module.register_load_state_dict_pre_hook(
            _BeforeLoading(self._record_last)
        )
        if state is not None:
            self.records = [dict(row) for row in state["records"]]
            self.n_steps_done = check_integer(state["step"], "step", minimum=0)
        else:
            self.record()

    def plan(self, n_steps: int, steps_per_epoch: float | None = None) -> None:
        """Spread the records that are left over another number of steps.

        Parameters
        ----------
        n_steps : int
            Optimiser steps of the whole run, those done included.
        steps_per_epoch : float, optional
            Optimiser steps in an epoch; None makes the column ``epoch`` hold steps.
        """
        if steps_per_epoch is not None:
            check_number(steps_per_epoch, "steps_per_epoch", minimum=0.0)
        self.n_steps = check_integer(n_steps, "n_steps", minimum=0)
        self.steps_per_epoch = steps_per_epoch
        self._planned = set(record_steps(self.n_steps, self.n_records).tolist())

    def step(self, n_steps: int = 1) -> bool:
        """Count optimiser steps, and record if a record is due after them.

        Parameters
        ----------
        n_steps : int, default=1
            Steps since the last call.

        Returns
        -------
        bool
            Whether a record was taken.
        """
        before = self.n_steps_done
        self.n_steps_done += n_steps
        if any(
            step in self._planned for step in range(before + 1, before + n_steps + 1)
        ):
            self.record()
            return True
        if self.n_steps_done > self.n_steps and not self._told:
            self._told = True
            warn_user(
                f"n_steps={self.n_steps}, and training goes on: later steps are not "
                "recorded, except the last by finish(). Give the steps of the whole "
                "run as n_steps.",
                TrajectoryWarning,
            )
        return False

    def finish(self) -> None:
        """Record the last step of a run that ended before its planned end.

        The recorder then lets go of the module.
        """
        self._record_last()
        self._hook.remove()

    def _record_last(self) -> None:
        if not self.records or self.records[-1]["step"] != self.n_steps_done:
            self.record()

    def record(self) -> None:
        """Record now, as the state after the steps so far."""
        epoch = self.n_steps_done / (self.steps_per_epoch or 1)
        row: dict[str, Any] = {
            "train_size": self.train_size,
            "seed": self.seed,
            "epoch": float(epoch),
            "step": self.n_steps_done,
        }
        with undisturbed(self.module):
            if self.evaluate is not None:
                row |= _check_columns(self.evaluate())
        for name, value in self.tracker.compute().items():
            row[f"log_{name}"] = value
        self.records.append(row)

    @property
    def trajectory_(self) -> pd.DataFrame:
        """The trajectory table of the run so far."""
        table = pd.DataFrame(self.records)
        return check_trajectories(table) if len(table) > 1 else table

    def warn_of_zeros(self) -> None:
        """Warn if a layer of zeros made the logarithm of a norm minus infinity."""
        for name in self.tracker.names:
            n_zero = sum(row[f"log_{name}"] == -np.inf for row in self.records)
            if n_zero:
                warn_user(
                    f"log_{name} is minus infinity in {n_zero} of "
                    f"{plural(len(self.records), 'record')}: a layer holds only "
                    "zeros. Initialise it with non-zero weights.",
                    ZeroNormWarning,
                )

    def state_dict(self) -> dict[str, Any]:
        """Return what another recorder needs to go on, for a checkpoint.

        Returns
        -------
        dict
            With ``step`` and ``records``.
        """
        return {
            "step": self.n_steps_done,
            "records": [dict(row) for row in self.records],
        }


class _BeforeLoading:
    """A hook on a module's ``load_state_dict``; copies of the module have it idle.

    Parameters
    ----------
    call : callable, optional
        What to do before weights are replaced.
    """

    def __init__(self, call: Callable[[], None] | None = None) -> None:
        self._call = call

    def __call__(self, *args: Any) -> None:
        if self._call is not None:
            self._call()

    def __deepcopy__(self, memo: Any) -> _BeforeLoading:
        return _BeforeLoading()

    def __reduce__(self) -> Any:
        return _BeforeLoading, ()


def _check_columns(columns: Any) -> dict[str, float]:
    """Return the numbers that `evaluate` gave, or say which of them are none."""
    if not isinstance(columns, Mapping):
        raise TypeError(
            "evaluate must return a dict of columns, such as {'test_error': 0.1}, got "
            f"{type(columns).__name__}."
        )
    row = {}
    for name, value in columns.items():
        if name in _OWN:
            raise ValueError(
                f"evaluate must not return {name}, which the recorder counts itself."
            )
        if isinstance(value, torch.Tensor | np.ndarray) and value.ndim == 0:
            value = value.item()
        if not isinstance(value, numbers.Real):
            raise TypeError(
                f"evaluate must return numbers, got {name} of type "
                f"{type(value).__name__}."
            )
        value = float(value) if not isinstance(value, numbers.Integral) else int(value)
        if name in ("test_error", "train_error") and not 0 <= value <= 1:
            raise ValueError(
                f"{name} must lie in [0, 1], got {value:g}. Errors are fractions "
                "here: divide percentages by 100."
            )
        row[name] = value
    return row
