"""One exported and verified set of artifacts, and one finished comparison, shared by the slow tests."""

import json
from pathlib import Path

import pytest
from main_job import tandem

from pipelines.targets.registry import TARGETS


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with verified artifacts below artifacts/."""
    folder = tmp_path_factory.mktemp("main-job")
    done = tandem("export", "digits_cnn", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)["exported"]) == set(TARGETS)
    verified = tandem("verify", "digits_cnn", "--json", cwd=folder)
    assert verified.returncode == 0, verified.stderr
    return folder


@pytest.fixture(scope="session")
def compared(exported: Path) -> Path:
    """The run folder of a smoke comparison of both targets."""
    done = tandem("compare", "digits_cnn", "--profile", "smoke", cwd=exported)
    assert done.returncode == 0, done.stderr
    assert "Report: " in done.stdout
    return exported / "runs" / "latest"
