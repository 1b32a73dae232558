"""Data with a teacher: labels that a perceptron can learn exactly."""

from __future__ import annotations

import numpy as np

from .._validation import check_integer, check_number

__all__ = ["make_teacher_student"]

# Inputs of 64 GB; a slip of the keyboard should not fill a machine's memory.
_MOST_ENTRIES = 8_000_000_000


def make_teacher_student(
    n_samples: int,
    n_features: int,
    *,
    flip_probability: float = 0.0,
    spectrum_exponent: float = 0.0,
    random_state: int | np.random.Generator | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""Draw inputs, and labels given by a random teacher.

    :math:`x \sim N(0, C)` in :math:`R^N`, :math:`y = \mathrm{sign}(w_* \cdot x)`, with
    :math:`C = 1` unless a spectrum is asked for.

    Parameters
    ----------
    n_samples : int
        :math:`P`.
    n_features : int
        :math:`N`.
    flip_probability : float, default=0
        Probability that a label is flipped, below one half. Then the data are no
        longer linearly separable for large :math:`P/N`.
    spectrum_exponent : float, default=0
        The inputs' variances fall as :math:`k^{-a}`, :math:`k = 1 \dots N`, with
        mean 1; 0 for equal ones.
    random_state : int, Generator or None
        Source of randomness.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)
        Inputs.
    y : ndarray of int of shape (n_samples,)
        Labels -1 and 1.
    teacher : ndarray of shape (n_features,)
        :math:`w_*`, of length :math:`\sqrt N`.

    Raises
    ------
    TypeError, ValueError
        If a parameter is of another kind or out of its range.

    References
    ----------
    .. [1] D'Amico, Bocchi and Negri (2025), arXiv:2505.13230, section 3.

    Examples
    --------
    >>> from scalinglaw import make_teacher_student
    >>> X, y, teacher = make_teacher_student(100, 20, random_state=0)
    >>> bool((y == (X @ teacher > 0) * 2 - 1).all())
    True
    """
    check_integer(n_samples, "n_samples")
    check_integer(n_features, "n_features")
    if n_samples * n_features > _MOST_ENTRIES:
        raise ValueError(
            f"n_samples times n_features must be at most {_MOST_ENTRIES}, got "
            f"{n_samples} times {n_features}."
        )
    if not 0 <= check_number(flip_probability, "flip_probability") < 0.5:
        raise ValueError(
            "flip_probability must be at least 0 and below 0.5, got "
            f"{flip_probability:g}."
        )
    check_number(spectrum_exponent, "spectrum_exponent", minimum=0.0, strict=False)
    try:
        rng = np.random.default_rng(random_state)
    except (TypeError, ValueError) as error:
        raise type(error)(
            "random_state must be an integer of at least 0, a Generator or None, got "
            f"{random_state!r}."
        ) from error
    teacher = rng.standard_normal(n_features)
    teacher *= np.sqrt(n_features) / np.linalg.norm(teacher)
    X = rng.standard_normal((n_samples, n_features))
    if spectrum_exponent:
        variance = np.arange(1, n_features + 1) ** -float(spectrum_exponent)
        X *= np.sqrt(variance * n_features / variance.sum())
    y = np.where(X @ teacher > 0, 1, -1)
    if flip_probability:
        y = np.where(rng.random(n_samples) < flip_probability, -y, y)
    return X, y, teacher
