import logging
import warnings

import pytest

from pipelines.tasks.warned import collected


def test_each_warning_is_kept_once_with_its_file_and_line():
    lines = []
    with collected(lines):
        for _ in range(3):
            warnings.warn("the trace\n  lost something", UserWarning, stacklevel=1)
    (line,) = lines
    assert line.startswith("test_warned.py:")
    assert line.endswith(": UserWarning: the trace lost something")


def test_what_is_ours_to_mend_is_left_out():
    lines = []
    with collected(lines):
        for kind in (DeprecationWarning, FutureWarning, PendingDeprecationWarning):
            warnings.warn("old", kind, stacklevel=1)
    assert lines == []


def test_what_a_library_logs_is_kept_as_well():
    lines = []
    with collected(lines):
        logging.getLogger("some.library").warning("no %s", "op")
        logging.getLogger("some.library").info("fine")
    assert lines == ["some.library: no op"]


def test_an_error_keeps_what_was_warned_of_before():
    lines = []
    with pytest.raises(ValueError, match="no"), collected(lines):
        warnings.warn("beware", UserWarning, stacklevel=1)
        raise ValueError("no")
    assert len(lines) == 1


def test_a_long_warning_is_cut():
    lines = []
    with collected(lines):
        warnings.warn("x" * 5000, UserWarning, stacklevel=1)
    assert len(lines[0]) == 300
