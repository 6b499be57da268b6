"""Verified artifacts, and one finished comparison, shared by the slow tests."""

import shutil
import subprocess
from pathlib import Path

import pytest
from main_job import tandem


@pytest.fixture(scope="session")
def exported(artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with verified artifacts below artifacts/, a copy that is this process's own."""
    folder = tmp_path_factory.mktemp("main-job")
    shutil.copytree(artifacts / "digits_cnn", folder / "artifacts" / "digits_cnn")
    return folder


@pytest.fixture(scope="session")
def verified(request: pytest.FixtureRequest) -> subprocess.CompletedProcess[str]:
    """A verification of all artifacts, told as JSON."""
    done = request.getfixturevalue("whole_export").verified
    assert isinstance(done, subprocess.CompletedProcess)
    return done


@pytest.fixture(scope="session")
def compared(exported: Path) -> Path:
    """The run folder of a smoke comparison of both targets."""
    done = tandem("compare", "digits_cnn", "--profile", "smoke", cwd=exported)
    assert done.returncode == 0, done.stderr
    assert "Report: " in done.stdout
    return exported / "runs" / "latest"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder of every command that this test runs, and of nobody else's."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder
