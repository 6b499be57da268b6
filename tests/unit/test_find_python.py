"""Which Python the Makefile takes, and what it says where there is none."""

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "requirements" / "find-python"


@pytest.fixture
def path(tmp_path):
    """A PATH with the tools of the script and no Python."""
    for tool in ("sh", "sed", "head", "cat"):
        real = subprocess.run(["which", tool], capture_output=True, text=True, check=True).stdout.strip()
        (tmp_path / tool).symlink_to(real)
    return tmp_path


def python(path, name, version, lacks=""):
    """A stand-in that answers the script's question as a Python of that version would."""
    text = f"is Python {version} without {lacks}" if lacks else ""
    script = f"""#!/bin/sh
cat >/dev/null
case " $2 " in *" {version} "*) echo "{text}" ;; *) echo "is Python {version}" ;; esac
"""
    (path / name).write_text(script)
    (path / name).chmod(0o755)


def find(path, *choice):
    return subprocess.run(
        [SCRIPT, *choice], env={"PATH": str(path)}, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize(
    ("there", "taken"),
    [
        (["3.11", "3.13", "3.12"], "python3.13"),
        (["3.11", "3.14"], "python3.11"),
        (["3.12"], "python3.12"),
    ],
)
def test_the_newest_supported_one_is_taken(path, there, taken):
    for version in there:
        python(path, f"python{version}", version)
    assert find(path).stdout.strip() == str(path / taken)


def test_a_plain_python3_will_do(path):
    python(path, "python3", "3.12")
    assert find(path).stdout.strip() == str(path / "python3")


def test_one_that_does_not_run_is_passed_over(path):
    (path / "python3.13").write_text("#!/bin/sh\nexit 127\n")
    (path / "python3.13").chmod(0o755)
    python(path, "python3.11", "3.11")
    assert find(path).stdout.strip() == str(path / "python3.11")


def test_one_without_venv_is_passed_over(path):
    python(path, "python3.13", "3.13", lacks="ensurepip")
    python(path, "python3.12", "3.12")
    assert find(path).stdout.strip() == str(path / "python3.12")


def test_a_choice_is_obeyed_or_refused(path):
    python(path, "python3.13", "3.13")
    python(path, "mine", "3.11")
    python(path, "old", "3.9")
    assert find(path, "mine").stdout.strip() == str(path / "mine")
    refused = find(path, "old")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "3.9" in refused.stderr


def test_where_none_will_do_one_line_says_what_was_found(path):
    python(path, "python3", "3.12", lacks="ensurepip")
    done = find(path)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert f"{path}/python3 is Python 3.12 without ensurepip" in done.stderr


def test_where_there_is_none_at_all_that_is_said(path):
    done = find(path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "found none" in done.stderr


def test_the_real_script_judges_a_real_python(path):
    import sys

    assert find(path, sys.executable).stdout.strip() == sys.executable
