"""What a test wants of the machine."""

import os
from collections.abc import Callable
from typing import TypeVar

import pytest

from pipelines.errors import MachineError

Found = TypeVar("Found")


def needed(find: Callable[[], Found]) -> Found:
    """What `find` finds; where the machine lacks it the test is skipped, and under CI it fails."""
    try:
        return find()
    except MachineError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))
