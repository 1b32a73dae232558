"""The figure of a law or of a table, in the manner of scikit-learn's displays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from matplotlib import pyplot as plt
from sklearn.utils.validation import check_is_fitted

from .._validation import check_option
from ._draw import Style, draw
from ._laws import LAW_VIEWS
from ._table import table_view
from ._view import View

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..laws import ScalingLawEstimator

__all__ = ["ScalingLawDisplay"]


class ScalingLawDisplay:
    """Figure of trajectories, or of a fitted :class:`~scalinglaw.ScalingLawEstimator`.

    Make one with :meth:`from_estimator` or, before any fit, :meth:`from_trajectories`.

    Parameters
    ----------
    view : View
        What is shown.
    kind : str, default="norm"
        Kind of the figure, for its name.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes drawn on.
    figure_ : matplotlib Figure
        Figure that they belong to.
    curves_ : list of matplotlib Line2D
        Curves of the runs.
    lines_ : list of matplotlib Line2D
        Fitted lines.

    Examples
    --------
    >>> from scalinglaw import ScalingLawDisplay, ScalingLawEstimator
    >>> from scalinglaw.datasets import make_trajectories
    >>> law = ScalingLawEstimator().fit(make_trajectories(random_state=0))
    >>> display = ScalingLawDisplay.from_estimator(law, kind="norm")
    >>> display
    ScalingLawDisplay(kind='norm', 30 curves, 1 line)
    >>> display.figure_.savefig("norm.pdf")  # doctest: +SKIP
    """

    def __init__(self, view: View, kind: str = "norm"):
        self.view = view
        self.kind = kind

    def __repr__(self) -> str:
        """Return what is shown in a few words."""
        curves, points, lines = self.view.curves, self.view.points, self.view.lines
        counts = {
            "curve": 0 if curves is None else curves["curve"].nunique(),
            "point": 0 if points is None else len(points),
            "line": len(lines),
        }
        shown = [
            f"{count} {name}{'s' * (count != 1)}"
            for name, count in counts.items()
            if count
        ]
        return f"ScalingLawDisplay({', '.join([f'kind={self.kind!r}', *shown])})"

    @classmethod
    def from_estimator(
        cls,
        law: ScalingLawEstimator,
        kind: str = "norm",
        *,
        ax: Axes | None = None,
        curve_kw: Mapping[str, Any] | None = None,
        line_kw: Mapping[str, Any] | None = None,
        fill_between_kw: Mapping[str, Any] | None = None,
        errorbar_kw: Mapping[str, Any] | None = None,
    ) -> ScalingLawDisplay:
        r"""Draw one figure of a fitted law.

        Parameters
        ----------
        law : ScalingLawEstimator
            A fitted one.
        kind : {"norm", "optimum", "collapse", "data", "window"}, default="norm"
            What to draw:

            - ``"norm"``: error against norm, one line per run, the window in bold and
              shaded, and the early law :math:`k_1 \lambda^{-\gamma_1}`;
            - ``"optimum"``: norm at the landmark against train size, with the
              standard errors that the seeds show;
            - ``"collapse"``: both axes divided by their values at the landmark,
              each train size averaged over its seeds; the title tells ``collapse_``,
              and the stretch that it compares is shaded;
            - ``"data"``: lowest error against train size, with the
              measured law and the slope that the other two predict;
            - ``"window"``: :math:`\gamma_1` in every window that one might
              have chosen, and the one that is reported.

            An unresolved exponent is marked as such, and has a dotted line without a
            band.
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.
        curve_kw, line_kw : dict, optional
            Keywords of :meth:`matplotlib.axes.Axes.plot` for the curves of the runs
            and for fitted lines.
        fill_between_kw : dict, optional
            Keywords of :meth:`matplotlib.axes.Axes.fill_between` for the bands.
        errorbar_kw : dict, optional
            Keywords of :meth:`matplotlib.axes.Axes.errorbar` for the seeds' errors.

        Returns
        -------
        ScalingLawDisplay
            With ``ax_`` and ``figure_``.

        Raises
        ------
        ValueError
            If `kind` is unknown.
        NotFittedError
            If `law` is not fitted.
        """
        check_option(kind, "kind", tuple(LAW_VIEWS))
        check_is_fitted(law, "exponents_")
        return cls(LAW_VIEWS[kind](law), kind).plot(
            ax,
            curve_kw=curve_kw,
            line_kw=line_kw,
            fill_between_kw=fill_between_kw,
            errorbar_kw=errorbar_kw,
        )

    @classmethod
    def from_trajectories(
        cls,
        trajectories: Any,
        x: str = "norm",
        *,
        norm: str = "spectral_complexity",
        metric: str = "test_error",
        ax: Axes | None = None,
        curve_kw: Mapping[str, Any] | None = None,
    ) -> ScalingLawDisplay:
        """Draw a table of trajectories, before a law is fitted or after it is refused.

        Parameters
        ----------
        trajectories : DataFrame, fitted classifier or sweep, or list of those
            The trajectory table. Where its column ``model`` holds several models,
            colours tell them apart; otherwise colours tell the train sizes.
        x : {"norm", "epoch", "step"}, default="norm"
            What the error is drawn against. Both axes are logarithmic, without the
            checkpoints that are zero on either.
        norm : str, default="spectral_complexity"
            Norm to use: the column ``log_<norm>``.
        metric : str, default="test_error"
            Column of the error.
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.
        curve_kw : dict, optional
            Keywords of :meth:`matplotlib.axes.Axes.plot`.

        Returns
        -------
        ScalingLawDisplay
            With ``ax_`` and ``figure_``.

        Raises
        ------
        TypeError, ValueError
            If the table breaks a rule, or lacks a column.
        """
        return cls(table_view(trajectories, x, norm, metric), x).plot(
            ax, curve_kw=curve_kw
        )

    def plot(
        self,
        ax: Axes | None = None,
        *,
        curve_kw: Mapping[str, Any] | None = None,
        line_kw: Mapping[str, Any] | None = None,
        fill_between_kw: Mapping[str, Any] | None = None,
        errorbar_kw: Mapping[str, Any] | None = None,
    ) -> ScalingLawDisplay:
        """Draw the view.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.
        curve_kw, line_kw, fill_between_kw, errorbar_kw : dict, optional
            As in :meth:`from_estimator`.

        Returns
        -------
        ScalingLawDisplay
            Drawn display.
        """
        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        style = Style(
            curve=curve_kw or {},
            line=line_kw or {},
            band=fill_between_kw or {},
            errors=errorbar_kw or {},
        )
        drawn = draw(self.view, ax, style)
        self.ax_ = ax
        self.figure_ = ax.figure
        self.curves_ = drawn.curves
        self.lines_ = drawn.lines
        return self
