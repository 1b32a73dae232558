"""How a fitted estimator shows itself in a terminal and in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

if TYPE_CHECKING:
    from statsmodels.iolib.summary2 import Summary

__all__ = ["SummaryMixin"]


class SummaryMixin:
    """Show ``summary()`` once fitted, and the parameters before."""

    if TYPE_CHECKING:

        def summary(self) -> Summary:
            """Return the summary."""

    def __str__(self) -> str:
        return str(self.summary()) if self._is_fitted() else repr(self)

    def _repr_html_(self) -> str:
        return self.summary().as_html() if self._is_fitted() else f"<pre>{self!r}</pre>"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        # Notebooks ask for this one first, and scikit-learn's shows parameters only.
        return {"text/plain": str(self), "text/html": self._repr_html_()}

    def _is_fitted(self) -> bool:
        try:
            check_is_fitted(self)
        except NotFittedError:
            return False
        return True
