"""Fixtures of all tests."""

import signal

import pytest


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_works():
    # A shell starts what it puts in the background with SIGINT ignored, and every
    # child inherits that: `make test &` would test nothing about Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
