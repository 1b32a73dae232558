"""Fixtures of all tests, and what is said of them at the end."""

import os
import signal

import pytest

LEFT_OUT = pytest.StashKey[int]()
SECONDS = pytest.StashKey[dict[str, float]]()
# Unmarked tests that take longer are listed at the end: mark them slow, or trim them.
SLOW = 10.0


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_works():
    # A shell starts what it puts in the background with SIGINT ignored, and every
    # child inherits that: `make test &` would test nothing about Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def _processor_time():
    """Return the seconds that processors worked for this process and its children."""
    return sum(os.times()[:4])


def pytest_configure(config):
    config.stash[SECONDS] = {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Time what is not marked slow, by the processor: others may use the machine."""
    start = _processor_time()
    result = yield
    if not item.get_closest_marker("slow"):
        item.config.stash[SECONDS][item.nodeid] = _processor_time() - start
    return result


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
    """Say how many tests were left out, and which are slow without being marked."""
    n = config.stash.get(LEFT_OUT, 0)
    if n:
        terminalreporter.write_line(f"{n} tests need a GPU and were left out")
    seconds = config.stash[SECONDS]
    for name in sorted(seconds, key=seconds.__getitem__, reverse=True):
        if seconds[name] > SLOW:
            terminalreporter.write_line(
                f"not marked slow, {seconds[name]:.0f} s of a processor: {name}"
            )
