"""Verified artifacts, and one finished comparison, shared by the slow tests."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tiny_models
from main_job import tandem

if TYPE_CHECKING:
    from stub_endpoint import Stub

TOY = Path(__file__).with_name("toy_target")


@pytest.fixture(scope="session")
def exported(artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with verified artifacts below artifacts/, a copy that is this process's own."""
    folder = tmp_path_factory.mktemp("main-job")
    shutil.copytree(artifacts / "digits_cnn", folder / "artifacts" / "digits_cnn")
    return folder


@pytest.fixture(scope="session")
def exported_toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model, tiny.py, and its proven artifact of the toy target in packages/."""
    folder = tmp_path_factory.mktemp("toys")
    shutil.copytree(TOY, folder / "packages" / TOY.name, ignore=shutil.ignore_patterns("__pycache__"))
    tiny_models.write(folder, "tiny")
    with pytest.MonkeyPatch.context() as patch:
        _have_toys(patch, folder)
        for command in ("export", "verify"):
            done = tandem(command, "tiny.py", "--targets", "toy", cwd=folder)
            assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def toys(exported_toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory for `tandem … tiny.py --sides toy`, where it does not matter what is served.

    A toy server starts with a tenth of the processor time of one with a framework.
    """
    _have_toys(monkeypatch, exported_toy)
    for name in ("artifacts", "tiny.py", "tiny.safetensors"):
        (tmp_path / name).symlink_to(exported_toy / name)
    return tmp_path


def _have_toys(patch: pytest.MonkeyPatch, folder: Path) -> None:
    patch.setenv("TANDEM_TARGETS", TOY.name)
    patch.setenv("PYTHONPATH", str(folder / "packages"))


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny model and few samples, for commands about servers given by their address."""
    from endpoint_runs import place

    return place(tmp_path_factory.mktemp("endpoints"))


@pytest.fixture(scope="module")
def stub(work: Path) -> "Iterator[Stub]":
    """A server of that model, which speaks every API."""
    from stub_endpoint import serving

    with serving(work) as started:
        yield started


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
    return (exported / "runs" / "latest").resolve()  # others run comparisons there as well


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder of every command that this test runs, and of nobody else's."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder
