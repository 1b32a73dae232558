"""Fixtures of all tests."""

import signal

import pytest

LEFT_OUT = pytest.StashKey[int]()


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_works():
    # A shell starts what it puts in the background with SIGINT ignored, and every
    # child inherits that: `make test &` would test nothing about Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def pytest_collection_modifyitems(config, items):
    """Leave out what needs a GPU where there is none."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        items[:] = [item for item in items if item not in marked]
        config.hook.pytest_deselected(items=marked)
        config.stash[LEFT_OUT] = len(marked)


def pytest_terminal_summary(terminalreporter, config):
    """Say how many tests were left out."""
    n = config.stash.get(LEFT_OUT, 0)
    if n:
        terminalreporter.write_line(f"{n} tests need a GPU and were left out")
