r"""The whole curve up to its optimum, as one law between two crossovers.

.. math::

   \log\epsilon = \log\bigl(q + e^{m}\bigr), \qquad
   m = a_\mathrm{run} - \gamma_1 w_0 H\!\left(\frac{x - x_0}{w_0}\right)
       + B_P\, w H\!\left(\frac{x - K_P}{w}\right)

with a soft hinge :math:`H`, one plateau that ends at :math:`x_0`, one knee
:math:`K_P` and one change of slope :math:`B_P` for each train size, and an offset
:math:`q`. Where what comes before the law is not flat, the second term is
:math:`-\gamma_1 x + A\,w_0 H((x_0 - x)/w_0)`, of which :math:`A = -\gamma_1` is the
plateau; and :math:`x_0` may move with the logarithm of the train size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import optimize

from ._hinges import HINGES

__all__ = ["CurveFit", "CurveModel"]

# Slope changes at the knees of different sizes are drawn together with a weight that
# any size whose checkpoints show its own outweighs many times.
_DRAWN_TOGETHER = 0.1
_FAR = 1e6
_WIDEST, _NARROWEST = 2.0, -4.0
# Range of an offset in units of the lowest error. No error floor lies below zero, but
# an estimate of one that is zero may, half of the time.
_OFFSETS = -0.5, 0.999
# Newton steps that put the heights of runs at their best for a given offset.
_N_STEPS = 5


@dataclass(frozen=True)
class CurveModel:
    """Checkpoints up to a little beyond the knees, and the form of the law.

    Parameters
    ----------
    x, y : array of shape (n,)
        Log norm, in units of 1/gamma1 from a common origin, and log error.
    run, size : array of int of shape (n,)
        Run and train size of each checkpoint.
    n_sizes : int
        Number of train sizes.
    log_size : array of shape (n_sizes,)
        Logarithms of the train sizes, less their mean.
    left : {"none", "plateau", "slope", "transient"}
        What comes before the law: nothing, a plateau, another slope, or one that has
        to be steeper than the law.
    moves : bool, default=False
        Whether the beginning of the law moves with the train size.
    hinge : {"softplus", "sqrt", "erf"}
        Form of the crossovers.
    offset : float or None
        Offset that is taken for known; None where it is fitted.
    unit : float
        Unit of the offset, in which its parameter is near one.
    own_slopes : bool, default=False
        Whether each run has a slope of its own, and gamma1 stays as it is.
    start_range : (float, float)
        Where a transient may go over into the law.
    """

    x: np.ndarray
    y: np.ndarray
    run: np.ndarray
    size: np.ndarray
    n_sizes: int
    log_size: np.ndarray
    left: str = "none"
    moves: bool = False
    hinge: str = "softplus"
    offset: float | None = 0.0
    unit: float = 1.0
    own_slopes: bool = False
    start_range: tuple[float, float] = (-np.inf, np.inf)

    # A vector of parameters is [start, log of its width, log of the knees' width,
    # gamma1, rise before the law, offset / unit, growth of the start, knees, changes of
    # slope].
    N_SHARED = 7

    @property
    def free(self) -> np.ndarray:
        """Which of the shared parameters are fitted."""
        has_left = self.left != "none"
        sloped = self.left in ("slope", "transient")
        shared = [
            has_left,
            has_left,
            True,
            not self.own_slopes,
            sloped,
            self.offset is None,
            self.moves and has_left,
        ]
        return np.array(shared)

    def offset_of(self, p: np.ndarray) -> float:
        """Return the offset, fitted or given."""
        if self.offset is None:
            return self.unit * float(np.clip(p[5], *_OFFSETS))
        return self.offset

    def evaluate(
        self, p: np.ndarray, *, derivatives: bool = False
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return how the curves fit at the best heights of the runs.

        Parameters
        ----------
        p : array of shape (7 + 2 n_sizes,)
            Parameters.
        derivatives : bool, default=False
            Whether the derivatives are worked out as well.

        Returns
        -------
        residuals : array of shape (n,)
            Of the log error.
        shared : array of shape (n, 7)
            Derivatives of the fitted log error by the shared parameters, less what
            the heights of the runs would take up; empty unless asked for.
        own : array of shape (n, 2)
            The same by the knee and by the change of slope of the row's train size.
        """
        hinge = HINGES[self.hinge]
        gamma1, rise = p[3], p[4]
        start = np.clip(p[0], *self.start_range) + p[6] * self.log_size[self.size]
        start_width, width = np.exp(np.clip(p[1:3], _NARROWEST, _WIDEST))
        knee = p[self.N_SHARED : self.N_SHARED + self.n_sizes][self.size]
        change = p[self.N_SHARED + self.n_sizes :][self.size]
        offset = self.offset_of(p)
        # A knee that training never came near may run off, and products with it.
        u = np.clip((self.x - knee) / width, -_FAR, _FAR)
        back, back_slope = hinge(u)
        if self.left == "plateau":
            v = np.clip((self.x - start) / start_width, -_FAR, _FAR)
            begun, begun_slope = hinge(v)
            law = -start_width * begun
        elif self.left == "none":
            law = -self.x
        else:
            law = start - self.x
        m = gamma1 * law + change * width * back
        if self.left in ("slope", "transient"):
            v = np.clip((start - self.x) / start_width, -_FAR, _FAR)
            begun, begun_slope = hinge(v)
            m = m + rise * start_width * begun
        residuals, share = self._best_runs(m, law, offset)
        if not derivatives:
            return residuals, np.empty((0, 0)), np.empty((0, 0))
        columns = np.zeros((len(m), self.N_SHARED + 2))
        if self.left == "plateau":
            columns[:, 0] = gamma1 * begun_slope
            columns[:, 1] = -gamma1 * start_width * (begun - v * begun_slope)
        elif self.left != "none":
            columns[:, 0] = gamma1 + rise * begun_slope
            columns[:, 1] = rise * start_width * (begun - v * begun_slope)
            columns[:, 4] = start_width * begun
        columns[:, 2] = change * width * (back - u * back_slope)
        columns[:, 3] = law
        columns[:, 6] = columns[:, 0] * self.log_size[self.size]
        columns[:, 7] = -change * back_slope
        columns[:, 8] = width * back
        columns *= share[:, None]
        # The offset's own: 1 / error, the share that is no part of the law.
        columns[:, 5] = self.unit * np.exp(residuals - self.y)
        for basis in self._of_runs(law, share):
            for column in columns.T:
                column -= basis * np.bincount(self.run, basis * column)[self.run]
        return residuals, columns[:, : self.N_SHARED], columns[:, self.N_SHARED :]

    def fit(
        self, p: np.ndarray, *, max_nfev: int = 60, tolerance: float = 1e-9
    ) -> CurveFit:
        """Fit the curves by least squares.

        Parameters
        ----------
        p : array of shape (7 + 2 n_sizes,)
            Starting values.
        max_nfev : int, default=60
            Evaluations at most.
        tolerance : float, default=1e-9
            Relative change of the parameters, and of the squares, at which it ends.

        Returns
        -------
        CurveFit
            With the parameters found.
        """
        used = np.concatenate([self.free, np.ones(2 * self.n_sizes, bool)])
        rows = np.arange(len(self.x))
        changes = slice(self.N_SHARED + self.n_sizes, None)
        together = _DRAWN_TOGETHER * (np.eye(self.n_sizes) - 1 / self.n_sizes)

        def whole(free: np.ndarray) -> np.ndarray:
            full = p.copy()
            full[used] = free
            return full

        def residuals(free: np.ndarray) -> np.ndarray:
            full = whole(free)
            return np.append(self.evaluate(full)[0], together @ full[changes])

        def jacobian(free: np.ndarray) -> np.ndarray:
            _, shared, own = self.evaluate(whole(free), derivatives=True)
            columns = np.zeros((len(rows) + self.n_sizes, len(p)))
            columns[: len(rows), : self.N_SHARED] = -shared
            columns[rows, self.N_SHARED + self.size] = -own[:, 0]
            columns[rows, self.N_SHARED + self.n_sizes + self.size] = -own[:, 1]
            columns[len(rows) :, changes] = together
            return columns[:, used]

        found = optimize.least_squares(
            residuals,
            p[used],
            jacobian,
            method="lm",
            x_scale="jac",
            max_nfev=max_nfev,
            xtol=tolerance,
            ftol=tolerance,
            gtol=1e-12,
        )
        return CurveFit(self, whole(found.x), 2 * float(found.cost))

    def _of_runs(self, law: np.ndarray, share: np.ndarray) -> list[np.ndarray]:
        """Return orthogonal columns of unit length of what each run has for itself."""
        found: list[np.ndarray] = []
        for column in (share, share * law)[: 1 + self.own_slopes]:
            for basis in found:
                column = (
                    column - basis * np.bincount(self.run, basis * column)[self.run]
                )
            length = np.bincount(self.run, column**2)
            found.append(
                column / np.sqrt(np.where(length > 1e-20, length, np.inf))[self.run]
            )
        return found

    def _best_runs(
        self, m: np.ndarray, law: np.ndarray, offset: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the residuals at the best heights, and the law's share of errors."""
        run = self.run
        count = np.maximum(np.bincount(run), 1)
        if offset == 0 and not self.own_slopes:
            gap = self.y - m
            return gap - (np.bincount(run, gap) / count)[run], np.ones(len(m))
        # Close to the solution for small offsets, and never beyond the data for any.
        left = np.log(np.maximum(np.exp(self.y) - offset, 0.05 * np.exp(self.y)))
        m = m + (np.bincount(run, left - m) / count)[run]
        for _ in range(_N_STEPS):
            residuals, share = self._at(m, offset)
            step = np.zeros(len(m))
            for basis in self._of_runs(law, share):
                step += basis * np.bincount(run, basis * residuals)[run]
            m = m + np.clip(step / share, -1.0, 1.0)
        return self._at(m, offset)

    def _at(self, log_law: np.ndarray, offset: float) -> tuple[np.ndarray, np.ndarray]:
        """Return residuals, and the share of the error that is the law."""
        # Relative to the law, which may leave the range of a float.
        error = np.maximum(1 + offset * np.exp(-np.maximum(log_law, -600.0)), 1e-3)
        return self.y - log_law - np.log(error), 1 / error


@dataclass(frozen=True)
class CurveFit:
    """A fitted curve model.

    Parameters
    ----------
    model : CurveModel
        What was fitted.
    p : array of shape (7 + 2 n_sizes,)
        Its parameters.
    squares : float
        Sum of the squared residuals.
    """

    model: CurveModel
    p: np.ndarray
    squares: float

    @property
    def gamma1(self) -> float:
        """Exponent of the law in the model's unit."""
        return float(self.p[3])

    @property
    def knee(self) -> np.ndarray:
        """Place of each knee in the model's unit."""
        return self.p[self.model.N_SHARED : self.model.N_SHARED + self.model.n_sizes]

    @property
    def changes(self) -> np.ndarray:
        """Change of slope at each knee."""
        return self.p[self.model.N_SHARED + self.model.n_sizes :]

    @property
    def offset(self) -> float:
        """Offset, fitted or given."""
        return self.model.offset_of(self.p)

    @property
    def starts(self) -> np.ndarray:
        """Where the law begins, by train size; minus infinity with the data."""
        model = self.model
        if model.left == "none":
            return np.full(model.n_sizes, -np.inf)
        return np.clip(self.p[0], *model.start_range) + self.p[6] * model.log_size

    @property
    def widths(self) -> tuple[float, float]:
        """Widths of the crossovers at the start and at the knees."""
        start, knee = np.exp(np.clip(self.p[1:3], _NARROWEST, _WIDEST))
        return float(start), float(knee)

    @property
    def is_decay(self) -> bool:
        """Whether the fit converged to an error that falls with the norm."""
        falls = self.p[3] > 0
        if self.model.left == "transient":
            # A transient that is not steeper than the law is none.
            falls = falls and self.p[4] > 0
        elif self.model.left == "slope":
            # And one that is steeper would be taken for the law by any window.
            falls = falls and self.p[4] < 0
        return bool(falls and np.all(np.isfinite(self.p)))

    def criterion(self) -> float:
        """Return Schwarz's information criterion.

        Residuals of neighbouring checkpoints are alike: there are as many as their
        correlation leaves.
        """
        residuals = self.model.evaluate(self.p)[0]
        same = np.diff(self.model.run) == 0
        total = float(residuals @ residuals)
        alike = float((residuals[1:] * residuals[:-1])[same].sum()) / max(total, 1e-300)
        alike = float(np.clip(alike, 0.0, 0.95))
        n = max(len(residuals) * (1 - alike) / (1 + alike), 10.0)
        n_free = self.model.free.sum() + 2 * self.model.n_sizes
        return n * np.log(max(total, 1e-300)) + n_free * np.log(n)

    def refit(self, **changes: Any) -> CurveFit:
        """Fit another form of the model from where this one ended."""
        p = self.p.copy()
        if self.model.left == "plateau":
            p[4] = -p[3]
        return replace(self.model, **changes).fit(p)

    def without(self, left_out: np.ndarray) -> CurveFit:
        """Fit again without some checkpoints, of which those of a size may be all."""
        model, kept = self.model, ~left_out
        smaller = replace(
            model,
            x=model.x[kept],
            y=model.y[kept],
            run=np.unique(model.run[kept], return_inverse=True)[1],
            size=model.size[kept],
        )
        return smaller.fit(self.p, max_nfev=20, tolerance=1e-5)
