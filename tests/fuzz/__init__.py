"""Odd inputs by the thousand, each of which must end in an answer or a named error."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A kind of cases: its module, and how many there are in a long and a short run."""

    module: str
    n_cases: int
    n_short: int

    def load(self) -> Callable:
        """Return the function that runs one case."""
        return importlib.import_module(f"tests.fuzz.{self.module}").case


KINDS = {
    "pickles": Kind("pickles", 5_000, 150),
    "tables": Kind("tables", 10_000, 10),
    "files": Kind("files", 2_000, 80),
    "modules": Kind("modules", 1_000, 30),
    "parameters": Kind("parameters", 2_000, 25),
}
# What the harness is tested with.
ROUGH = Kind("rough", 4, 4)
