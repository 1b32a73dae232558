"""Logs of other programs as a trajectory table; needs no torch."""

from ._read import read_runs

__all__ = ["read_runs"]
