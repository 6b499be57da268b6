"""Settings of all tests."""

import sys

import pytest
from hypothesis import settings

# A busy machine is no failure of a property.
settings.register_profile("tandem", deadline=None)
settings.load_profile("tandem")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Importing Locust makes every thread of this process a greenlet, and tests with threads would hang."""
    if "locust" in sys.modules:
        session.shouldfail = "a test module imports locust: run it in a process of its own"
