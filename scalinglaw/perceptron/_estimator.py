"""The reference estimator: a perceptron whose scaling laws are known."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import log_expit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    check_array,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from .._validation import (
    as_floats,
    check_integer,
    check_number,
    check_option,
    check_seed,
)
from ..trajectories import check_trajectories
from ._descent import gradient_descent
from ._flow import FlowPath, norm_flow
from ._losses import LOSSES, find_optimum

__all__ = ["LogisticPerceptron"]

# Beyond this norm no step of the flow is left that double precision can take.
_LARGEST_NORM = 1e10
# A table of more records than this says no more about a path of a few decades.
_MOST_RECORDS = 10_000
# Squares and sums of inputs between these can be formed.
_INPUT_SIZES = (1e-100, 1e100)


class LogisticPerceptron(ClassifierMixin, BaseEstimator):
    r"""Perceptron trained by gradient flow, recorded along its growing norm.

    The decision is :math:`x \cdot w/\sqrt N`, the loss
    :math:`\log(1 + \exp(-2 y\, x \cdot w/\sqrt N))` and the norm
    :math:`\lambda = \|w\|/\sqrt N`, recorded as ``log_rms``. Training starts along
    Hebb's direction at a small norm. More than two classes are learned one against
    the rest, all at the same norm. There is no intercept, as in the theory.

    Parameters
    ----------
    solver : {"norm_flow", "gradient_descent"}, default="norm_flow"
        ``"norm_flow"`` integrates gradient flow along the length of its path, at a
        cost that grows with the logarithm of the norm; ``"gradient_descent"`` takes
        full batches with torch, in a number of steps exponential in the norm.
    max_norm : float, default=1e3
        Norm at which training ends, below 1e10.
    init_norm : float, default=1e-2
        Norm at which it starts.
    n_records : int, default=60
        Number of records, from 2 to 10,000, log-spaced in the norm, each where the
        flow first reaches it.
    loss : {"logistic", "square"}, default="logistic"
        ``"square"`` is the counterexample: it has no power law.
    lr : float, default=0.1
        Learning rate of ``"gradient_descent"``.
    max_steps : int, default=100000
        Steps of ``"gradient_descent"`` at most.
    device : str, default="auto"
        torch device of ``"gradient_descent"``; "auto" takes a GPU if there is one.
    random_state : int or None, default=None
        The flow is deterministic; the number is written into ``seed``.

    Attributes
    ----------
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        Final weights :math:`w`.
    trajectory_ : DataFrame
        One row per record: ``train_size``, ``seed``, ``epoch`` (number of the
        record), ``log_rms``, ``train_error``, ``train_loss`` (nats), ``margin`` (the
        smallest :math:`y\,x\cdot w/\|w\|`), and, with a teacher or `eval_set`,
        ``test_error`` and, where Hebb's error is not zero, ``relative_test_error``
        (over Hebb's); with `eval_set` also ``n_test``.
    classes_ : ndarray of shape (n_classes,)
        Labels.
    stop_reason_ : str
        ``"max_norm"``; ``"norm_converged"`` where the data are not linearly
        separable, so that the flow ends at a finite optimum, which ``coef_`` is;
        ``"max_steps"``.
    n_features_in_ : int
        :math:`N`.

    References
    ----------
    .. [1] D'Amico, Bocchi and Negri (2025), arXiv:2505.13230, section 3.

    Examples
    --------
    >>> from scalinglaw import LogisticPerceptron, make_teacher_student
    >>> X, y, teacher = make_teacher_student(1000, 50, random_state=0)
    >>> perceptron = LogisticPerceptron(max_norm=100.0).fit(X, y, teacher=teacher)
    >>> print(f"{perceptron.trajectory_['test_error'].min():.3f}")
    0.022
    """

    def __init__(
        self,
        *,
        solver: str = "norm_flow",
        max_norm: float = 1e3,
        init_norm: float = 1e-2,
        n_records: int = 60,
        loss: str = "logistic",
        lr: float = 0.1,
        max_steps: int = 100_000,
        device: str = "auto",
        random_state: int | None = None,
    ):
        self.solver = solver
        self.max_norm = max_norm
        self.init_norm = init_norm
        self.n_records = n_records
        self.loss = loss
        self.lr = lr
        self.max_steps = max_steps
        self.device = device
        self.random_state = random_state

    def fit(
        self, X: Any, y: Any, eval_set: Any = None, teacher: Any = None
    ) -> LogisticPerceptron:
        r"""Train from Hebb's direction to the largest norm.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs.
        y : array-like of shape (n_samples,)
            Labels of any type.
        eval_set : tuple (X_test, y_test), optional
            Held-out samples for the test error.
        teacher : array-like of shape (n_features,), optional
            Teacher of two classes of isotropic inputs; the test error is then exact,
            :math:`\arccos(\mathrm{overlap})/\pi`. The larger label is where the
            teacher is positive.

        Returns
        -------
        LogisticPerceptron
            Fitted estimator. A fit that fails leaves it as it was.

        Raises
        ------
        TypeError, ValueError
            If an argument or a parameter is of another kind or out of its range, or
            if the flow can go on neither to `max_norm` nor to rest.
        """
        self._check_parameters()
        fitted = clone(self)._train(X, y, eval_set, teacher)
        learned = {key: value for key, value in vars(fitted).items() if key[-1] == "_"}
        # Names of columns may be those of an earlier fit.
        self.__dict__.pop("feature_names_in_", None)
        self.__dict__.update(learned)
        return self

    def _train(self, X: Any, y: Any, eval_set: Any, teacher: Any) -> LogisticPerceptron:
        with _numbers_that_floats_hold("X and y"):
            X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        _check_size(X, "X", *_INPUT_SIZES)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                "LogisticPerceptron needs samples of at least 2 classes, got "
                f"{len(self.classes_)} class: {self.classes_[0]!r}."
            )
        tester = self._tester(eval_set, teacher)
        paths = [self._follow(X * sign[:, None]) for sign in self._signs(codes)]
        self.stop_reason_ = next(
            (p.stop_reason for p in paths if p.stop_reason != "max_norm"), "max_norm"
        )
        if len(paths) == 1:
            paths = [_with_optimum(paths[0])]
        # Several perceptrons are recorded at the norms that all of them have reached.
        shortest = min(len(path.norms) for path in paths)
        norms = paths[0].norms[:shortest]
        directions = np.stack([path.directions[:shortest] for path in paths], axis=1)
        self.trajectory_ = self._record(X, codes, norms, directions, tester)
        self.coef_ = np.array([path.end for path in paths]) * np.sqrt(X.shape[1])
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        r"""Return :math:`x \cdot w/\sqrt N`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            Positive for the second of two classes.
        """
        check_is_fitted(self, "coef_")
        with _numbers_that_floats_hold("X"):
            X = validate_data(self, X, dtype=np.float64, reset=False)
        _check_size(X, "X", 0.0, _INPUT_SIZES[1])
        decision = X @ self.coef_.T / np.sqrt(self.n_features_in_)
        return decision[:, 0] if len(self.classes_) == 2 else decision

    def predict(self, X: Any) -> np.ndarray:
        """Return the label of each sample.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples,)
            Labels.
        """
        decision = self.decision_function(X)
        return self.classes_[_decide(decision)]

    def predict_proba(self, X: Any) -> np.ndarray:
        r"""Return :math:`1/(1 + \exp(-2 x \cdot w/\sqrt N))`, normalised over classes.

        It is what the logistic loss makes of each class against the rest. Where these
        add up to 1, as those of two classes do, they are left as they are.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Probabilities.
        """
        decision = self.decision_function(X)
        if decision.ndim == 1:
            decision = np.column_stack([-decision, decision])
        # In logarithms, for a sample that every class refuses has only tiny ones.
        return softmax(log_expit(2 * decision), axis=1)

    def _check_parameters(self) -> None:
        check_option(self.solver, "solver", ("norm_flow", "gradient_descent"))
        check_option(self.loss, "loss", tuple(LOSSES))
        # Finite first: infinity is not told that it is too small.
        for name in ("init_norm", "max_norm", "lr"):
            check_number(getattr(self, name), name)
        check_number(self.init_norm, "init_norm", minimum=0.0)
        check_number(
            self.max_norm,
            "max_norm",
            minimum=float(self.init_norm),
            maximum=_LARGEST_NORM,
        )
        check_number(self.lr, "lr", minimum=0.0)
        check_integer(self.n_records, "n_records", minimum=2, maximum=_MOST_RECORDS)
        check_integer(self.max_steps, "max_steps")
        check_seed(self.random_state)

    def _signs(self, codes: np.ndarray) -> list[np.ndarray]:
        """Return labels -1 and 1, one vector per perceptron."""
        positive = [1] if len(self.classes_) == 2 else range(len(self.classes_))
        return [np.where(codes == code, 1.0, -1.0) for code in positive]

    def _follow(self, signed: np.ndarray) -> FlowPath:
        norms = np.geomspace(self.init_norm, self.max_norm, self.n_records)
        if self.solver == "gradient_descent":
            return gradient_descent(
                signed,
                norms,
                self.loss,
                lr=self.lr,
                max_steps=self.max_steps,
                device=self.device,
            )
        path = norm_flow(signed, norms, self.loss)
        if path.stop_reason == "norm_converged":
            return replace(path, end=find_optimum(signed, self.loss, path.end))
        return replace(path, end=path.norms[-1] * path.directions[-1])

    def _tester(self, eval_set: Any, teacher: Any) -> Any:
        """Return a function from unit directions (n_outputs, N) to the test error."""
        if teacher is not None:
            return _Exact(self._check_teacher(teacher))
        if eval_set is None:
            return None
        return _Counted(*self._check_eval_set(eval_set), self.classes_)

    def _check_teacher(self, teacher: Any) -> np.ndarray:
        """Return the teacher's direction."""
        teacher = check_array(
            np.atleast_1d(as_floats(teacher, "teacher")),
            ensure_2d=False,
            dtype=np.float64,
            input_name="teacher",
        ).ravel()
        if len(self.classes_) != 2 or len(teacher) != self.n_features_in_:
            raise ValueError(
                f"teacher must have {self.n_features_in_} entries, for two classes, "
                f"got {len(teacher)} entries for {len(self.classes_)} classes."
            )
        largest = np.abs(teacher).max()
        if largest == 0:
            raise ValueError(
                "teacher must have a direction, got a vector of length 0. Where there "
                "is no teacher, give an eval_set."
            )
        # Its largest entry first: squares of very long vectors overflow.
        teacher = teacher / largest
        return teacher / np.linalg.norm(teacher)

    def _check_eval_set(self, eval_set: Any) -> tuple[np.ndarray, np.ndarray]:
        if not isinstance(eval_set, tuple | list) or len(eval_set) != 2:
            raise TypeError(
                "eval_set must be a pair (X_test, y_test), got "
                f"{type(eval_set).__name__}."
            )
        with _numbers_that_floats_hold("eval_set"):
            X_test = validate_data(self, eval_set[0], dtype=np.float64, reset=False)
        _check_size(X_test, "eval_set[0]", 0.0, _INPUT_SIZES[1])
        y_test = column_or_1d(eval_set[1])
        if len(X_test) != len(y_test):
            raise ValueError(
                f"eval_set must hold as many labels as samples, got {len(y_test)} for "
                f"{len(X_test)}."
            )
        # As Python compares them: numpy would make words of numbers first.
        known = self.classes_.tolist()
        unknown = set(y_test.tolist()) - set(known)
        if unknown:
            raise ValueError(
                f"eval_set has the label {min(unknown, key=repr)!r}, which y has not: "
                f"it has {', '.join(map(repr, known[:5]))}"
                f"{' and others' if known[5:] else ''}. Leave out classes that could "
                "not be learned, and give all labels one type."
            )
        return X_test, y_test

    def _record(
        self,
        X: np.ndarray,
        codes: np.ndarray,
        norms: np.ndarray,
        directions: np.ndarray,
        tester: Any,
    ) -> pd.DataFrame:
        signs = self._signs(codes)
        rows = []
        for epoch, (norm, direction) in enumerate(zip(norms, directions, strict=True)):
            output = X @ direction.T
            margins = [output[:, k] * sign for k, sign in enumerate(signs)]
            loss = np.mean([LOSSES[self.loss].mean(norm * m) for m in margins])
            decided = output[:, 0] if output.shape[1] == 1 else output
            row = {
                "train_size": len(X),
                "seed": 0 if self.random_state is None else int(self.random_state),
                "epoch": float(epoch),
                "log_rms": float(np.log(norm)),
                "train_error": float(np.mean(_decide(decided) != codes)),
                "train_loss": float(loss),
                "margin": float(min(m.min() for m in margins)),
            }
            if tester is not None:
                row["test_error"] = tester(direction)
                row.update(tester.columns)
            rows.append(row)
        table = pd.DataFrame(rows)
        if tester is not None and table["test_error"].iloc[0] > 0:
            hebb = table["test_error"].iloc[0]
            table["relative_test_error"] = table["test_error"] / hebb
        return check_trajectories(table) if len(table) > 1 else table


class _Exact:
    """Test error against a teacher, for isotropic Gaussian inputs."""

    def __init__(self, teacher: np.ndarray):
        self.teacher = teacher
        self.columns: dict[str, int] = {}

    def __call__(self, directions: np.ndarray) -> float:
        overlap = float(directions[0] @ self.teacher)
        # arccos loses half the digits near 1; the chord does not.
        across = np.linalg.norm(directions[0] - overlap * self.teacher)
        return float(np.arctan2(across, overlap) / np.pi)


class _Counted:
    """Test error counted on held-out samples."""

    def __init__(self, X: np.ndarray, y: np.ndarray, classes: np.ndarray):
        self.X, self.y, self.classes = X, y, classes
        self.columns = {"n_test": len(y)}

    def __call__(self, directions: np.ndarray) -> float:
        output = self.X @ directions.T
        decided = output[:, 0] if output.shape[1] == 1 else output
        return float(np.mean(self.classes[_decide(decided)] != self.y))


@contextmanager
def _numbers_that_floats_hold(name: str) -> Iterator[None]:
    """Name the argument that holds an integer beyond all floats."""
    try:
        # Where X holds both infinities, scikit-learn's sum warns before its error.
        with np.errstate(invalid="ignore"):
            yield
    except OverflowError as error:
        raise ValueError(
            f"{name} must hold numbers that floats hold: {error}."
        ) from error


def _check_size(values: np.ndarray, name: str, low: float, high: float) -> None:
    """Raise unless sums of the inputs, or of their squares, can be formed."""
    largest = float(np.abs(values).max())
    if largest > high or 0 < largest < low:
        raise ValueError(
            f"{name} must have entries of a size from {low:g} to {high:g}, got "
            f"{largest:g} as the largest. Give features of about unit variance, as "
            "StandardScaler does."
        )


def _decide(decision: np.ndarray) -> np.ndarray:
    if decision.ndim == 1:
        return (decision > 0).astype(int)
    return decision.argmax(axis=1)


def _with_optimum(path: FlowPath) -> FlowPath:
    """Record the finite optimum last, where a path ends in one."""
    if path.stop_reason != "norm_converged":
        return path
    norm = float(np.linalg.norm(path.end))
    below = path.norms < norm * (1 - 1e-9)
    return replace(
        path,
        norms=np.append(path.norms[below], norm),
        directions=np.vstack([path.directions[below], path.end / norm]),
    )
