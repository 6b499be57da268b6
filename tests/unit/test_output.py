"""Whatever the terminal, the locale or the reader of our output is like: it never fails a command."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

TANDEM = str(Path(sys.executable).with_name("tandem"))
FAULT = (
    "import sys; from pipelines import doctor; from pipelines.cli.main import main; "
    "doctor.examine = lambda *_, **__: {}['w\\xf6rd']; sys.argv = ['tandem', 'doctor']; main()"
)


def run(command: list[str] | str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A command, or a line for the shell, with TANDEM in its environment."""
    return subprocess.run(
        ["sh", "-c", command] if isinstance(command, str) else command,
        cwd=cwd,
        env={**os.environ, "TANDEM": TANDEM, **environment},
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONUTF8": "0"},
        {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONWARNINGS": "error"},
        {"PYTHONOPTIMIZE": "2"},
        {"COLUMNS": "20", "NO_COLOR": "1", "TERM": "dumb"},
        {"COLUMNS": "0", "LINES": "x", "TERM": "nonsense"},
        {"LANG": "tr_TR.UTF-8", "LC_ALL": "tr_TR.UTF-8", "TZ": "Nowhere/Land"},
    ],
    ids=lambda environment: " ".join(f"{name}={value}" for name, value in environment.items()),
)
def test_no_setting_of_a_terminal_fails_a_command(tmp_path, environment):
    shown = run([TANDEM, "models"], tmp_path, **environment)
    assert shown.returncode == 0, shown.stderr
    assert b"digits_cnn" in shown.stdout
    wrong = run([TANDEM, "serve", "größe"], tmp_path, **environment)
    assert wrong.returncode == 2, wrong.stderr
    assert wrong.stderr.startswith(b"tandem: ")
    assert wrong.stderr.count(b"\n") == 1
    text = run([TANDEM, "serve", "--help"], tmp_path, **environment).stdout
    assert b"Serve MODEL" in b" ".join(text.split())


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("$TANDEM models | head -1", 0),
        ("$TANDEM models --json | true", 0),
        ("$TANDEM models >&-", 0),
        ("$TANDEM models >&- 2>&- <&-", 0),
        ("$TANDEM verify nothing 2>&-", 2),
        ("$TANDEM verify nothing 2>/dev/full", 2),
        ("$TANDEM models >/dev/full", 3),
    ],
)
def test_the_reader_may_go_and_only_a_lost_result_is_a_failure(tmp_path, line, code):
    command, bar, reader = line.partition(" |")
    done = run(f"({command}; echo $? >code){bar}{reader}", tmp_path)
    assert int((tmp_path / "code").read_text()) == code, done.stderr
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


def test_a_result_that_could_not_be_written_is_said_to_be_lost(tmp_path):
    done = run("$TANDEM models --json >/dev/full", tmp_path)
    assert done.stderr.startswith(b"tandem: No space left on device: ")
    assert done.stderr.count(b"\n") == 1


def test_json_is_json_on_any_terminal(tmp_path):
    done = run([TANDEM, "doctor", "--json"], tmp_path, PYTHONIOENCODING="ascii")
    assert isinstance(json.loads(done.stdout), list)


@pytest.mark.parametrize("environment", [{}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_a_fault_of_ours_is_exit_code_3_and_one_line_that_names_the_trace(tmp_path, environment):
    done = run([sys.executable, "-c", FAULT], tmp_path, TMPDIR=str(tmp_path), **environment)
    assert done.returncode == 3
    line = done.stderr.decode()
    assert line.count("\n") == 1
    trace = Path(line.rsplit(" ", 1)[1].strip())
    assert trace.parent == tmp_path
    text = trace.read_text(encoding="utf-8")
    assert "KeyError: 'wörd'" in text
    assert "in doctor" in text
