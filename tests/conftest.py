"""Settings of all tests, what they share, and which of them run after one another in one process."""

import fcntl
import gc
import os
import pickle
import shutil
import signal
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import pytest
from hypothesis import settings
from whole_export import WholeExport, export_all
from xdist.scheduler import LoadFileScheduling

# A busy machine is no failure of a property.
settings.register_profile("tandem", deadline=None)
settings.load_profile("tandem")

# A measurement keeps its server on one core and its generator on the last, whatever else runs. Every second
# process of tests has the two the other way round, or all servers share a core and leave the other idle.
if int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 2:
    os.environ["TANDEM_GENERATOR_CORE"] = str(min(os.sched_getaffinity(0)))

# Where /dev/shm is not writable, as in some containers, joblib warns when scikit-learn or Keras imports it.
os.environ.setdefault("JOBLIB_MULTIPROCESSING", "0")

# What a shell has begun in the background ignores Ctrl-C, and so would all that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ARTIFACTS = Path(os.environ.get("TANDEM_TEST_ARTIFACTS", Path(__file__).resolve().parents[1] / "artifacts"))
"""The same folder as everybody's, so that what is exported and built already is not made again."""

SHARING = {
    "tests/containers/": "containers",  # the images, and one engine
    "tests/targets/test_oip_": "oip",  # one Triton and one MLServer
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


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage in what is imported and collected, then or later: it stays, a million objects."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Importing Locust makes every thread of this process a greenlet, and tests with threads would hang."""
    if "locust" in sys.modules:
        session.shouldfail = "a test module imports locust: run it in a process of its own"


@pytest.fixture(scope="session")
def whole_export(tmp_path_factory: pytest.TempPathFactory) -> WholeExport:
    """Made once for all processes of a test run, by whichever asks first."""
    base = tmp_path_factory.getbasetemp()
    place = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "whole-export"
    place.mkdir(exist_ok=True)
    with _locked(place):
        kept = place / "made.pickle"
        if not kept.exists():
            kept.write_bytes(pickle.dumps(export_all(place)))
        made = pickle.loads(kept.read_bytes())  # noqa: S301 - our own
    assert isinstance(made, WholeExport)
    return made


@pytest.fixture(scope="session")
def artifacts(request: pytest.FixtureRequest) -> Path:
    """The folder with exported and verified artifacts of digits_cnn; tests that change them make a copy."""
    from pipelines.export.stage import export
    from pipelines.targets.registry import ORDINARY
    from pipelines.verify.stage import ensure_verified

    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    with _locked(ARTIFACTS):
        if not (ARTIFACTS / "digits_cnn").exists():
            whole, copy = request.getfixturevalue("whole_export").folder, ARTIFACTS / ".tests.copy"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(whole / "digits_cnn", copy)
            # A command of another test may have made it meanwhile; the export adds what is missing there.
            with suppress(OSError):
                copy.rename(ARTIFACTS / "digits_cnn")
            shutil.rmtree(copy, ignore_errors=True)
        export("digits_cnn", ARTIFACTS, _say_nothing)
        ensure_verified("digits_cnn", ARTIFACTS, _say_nothing, ORDINARY)
    return ARTIFACTS


@pytest.fixture
def unguarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run commands of this process without a guard, a process of its own: for requests that start none."""
    monkeypatch.setattr("pipelines.processes.guard.guarded", nullcontext)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / ".tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _say_nothing(title: str, text: str) -> None:
    return
