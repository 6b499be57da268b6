"""What `make test-fresh` refuses, before anything is made."""

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / ".ci" / "test-fresh"


@pytest.mark.parametrize(("arguments", "shm"), [([], "open"), (["sid"], "open"), (["bookworm"], "sometimes")])
def test_a_wrong_request_is_refused_in_one_line_and_makes_nothing(tmp_path, arguments, shm):
    done = subprocess.run(
        [SCRIPT, *arguments],
        env={"PATH": "/usr/bin:/bin", "SHM": shm, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())
