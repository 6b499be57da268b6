"""Settings of all tests, what they share, and which of them run after one another in one process."""

import fcntl
import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

# A busy machine is no failure of a property.
settings.register_profile("tandem", deadline=None)
settings.load_profile("tandem")

ARTIFACTS = Path(os.environ.get("TANDEM_TEST_ARTIFACTS", Path(__file__).resolve().parents[1] / "artifacts"))
"""The same folder as everybody's, so that what is exported and built already is not made again."""

SHARING = {
    "tests/containers/": "containers",  # the images, and one engine
    "tests/e2e/test_main_job.py": "comparison",
    "tests/e2e/test_readme.py": "comparison",
}
"""Files whose tests share what is expensive to make, beyond their own, by the start of their path."""


class _Scheduling(LoadFileScheduling):
    """Files in their order, each in one process, and those that share something in the same one."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return next((group for start, group in SHARING.items() if file.startswith(start)), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadFileScheduling | None:
    """Where tests are spread by file."""
    return _Scheduling(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_collection_finish(session: pytest.Session) -> None:
    """Importing Locust makes every thread of this process a greenlet, and tests with threads would hang."""
    if "locust" in sys.modules:
        session.shouldfail = "a test module imports locust: run it in a process of its own"


@pytest.fixture(scope="session")
def artifacts() -> Path:
    """The folder with exported and verified artifacts of digits_cnn; tests that change them make a copy."""
    from pipelines.export.stage import export
    from pipelines.targets.registry import TARGETS
    from pipelines.verify.stage import ensure_verified

    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    with (ARTIFACTS / ".tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        export("digits_cnn", ARTIFACTS, _say_nothing)
        ensure_verified("digits_cnn", ARTIFACTS, _say_nothing, tuple(TARGETS))
    return ARTIFACTS


def _say_nothing(title: str, text: str) -> None:
    return
