"""A fixture for tests that leave orphans: they become ours and are reaped at once, as a good init would."""

import ctypes

import pytest

PR_SET_CHILD_SUBREAPER = 36


@pytest.fixture
def reaped_orphans():
    prctl = ctypes.CDLL(None).prctl
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    yield
    prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
