"""Cases that kill or hang their process: a check of the harness itself."""

from __future__ import annotations

import os
import time

import numpy as np

from .harness import generator


def case(rng: np.random.Generator) -> None:
    """Answer, die, hang, answer."""
    draws = [generator("rough", number).random() for number in range(4)]
    number = draws.index(draw) if (draw := rng.random()) in draws else 0
    if number == 1:
        os._exit(11)
    if number == 2:
        time.sleep(60)
