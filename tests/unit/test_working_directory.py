"""A working directory that was removed, or in which nothing can be written, is said to be that."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

TANDEM = (sys.executable, "-P", "-m", "pipelines.cli")


def tandem_in(folder, *arguments, remove):
    before = 'rmdir "$PWD" && ' if remove else ""
    command = f'{before}exec "$@"'
    return subprocess.run(
        ["/bin/sh", "-c", command, "sh", *TANDEM, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("arguments", [("export",), ("export", "--artifacts", "{elsewhere}"), ("doctor",)])
def test_a_removed_working_directory_is_named(tmp_path, arguments):
    folder, elsewhere = tmp_path / "gone", tmp_path / "elsewhere"
    folder.mkdir()
    given = [one.format(elsewhere=elsewhere) for one in arguments]
    done = tandem_in(folder, *given, remove=True)
    assert done.returncode == 3, done.stderr
    (line,) = done.stderr.splitlines()
    assert "working directory no longer exists" in line
    assert not elsewhere.exists()


def test_what_needs_no_folder_works_in_a_removed_one(tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    done = tandem_in(folder, "models", "--json", remove=True)
    assert done.returncode == 0, done.stderr


def test_a_folder_in_which_nobody_may_write_is_named():
    done = tandem_in("/proc", "export", "--targets", "onnx", remove=False)
    assert done.returncode == 3, done.stderr
    assert "cannot write artifacts/digits_cnn/.lock" in done.stderr.splitlines()[-1]
