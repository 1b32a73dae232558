"""What a fitted law says, in the words of who reads it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..laws import ScalingLawEstimator

__all__ = ["in_words_of", "training_length"]


def training_length(law: ScalingLawEstimator) -> tuple[bool, str]:
    """Say whether training went on long enough."""
    censored = int(law.optima_["censored"].sum())
    n_runs = len(law.optima_)
    if censored == 0:
        return True, "Training was long enough: every run passed its lowest error."
    if law.landmark_ == "knee" and not law.landmarks_["censored"].any():
        return True, (
            "Training was long enough for gamma2, as every train size passed its knee; "
            f"beyond it the error of {censored} of {n_runs} runs still fell a little, "
            "or was level, up to the last checkpoint."
        )
    return False, (
        f"Training was short for {censored} of {n_runs} runs: their error was still "
        "at its lowest at the last checkpoint."
    )


def in_words_of(
    text: str, names: tuple[str, ...], write: Callable[[str, str], str]
) -> str:
    """Return a message whose advice is in the words of its reader."""
    value = r"\"[^\"]*\"|'[^']*'|\([^)]*\)|\{[^}]*\}|-?\w+(?:\.\w+)?"
    return re.sub(
        rf"(?<![\w.])({'|'.join(names)})=({value})", lambda m: write(m[1], m[2]), text
    )
