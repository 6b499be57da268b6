"""`.ci/run` with pretended tools: what it has started ends with it, however it ends."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

RUN = Path(__file__).parents[2] / ".ci" / "run"
# Takes as long as making a Debian base does, and says when it begins and when it is ended.
MAKE_BASE = """#!/bin/sh
[ "$*" != --reference ] || { echo base; exit; }
trap 'echo ended >>"$NOTES"; exit 143' TERM
sleep 60 &
echo begun >>"$NOTES"
wait
"""
DOCKER = """#!/bin/sh
case "$1" in version | compose) ;; *) exit 1 ;; esac
"""
# Setting up fails once the base is being made.
MAKE = """#!/bin/sh
until [ -s "$NOTES" ]; do sleep 0.01; done
exit 7
"""
OTHERS = ("git", "debootstrap", "chromium", "apt-get")


def script(path, text="#!/bin/sh\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_base_of_the_images_is_not_made_any_more_once_the_setup_has_failed(tmp_path):
    (tmp_path / ".ci").mkdir()
    shutil.copy(RUN, tmp_path / ".ci" / "run")
    tools, notes = tmp_path / "tools", tmp_path / "notes"
    for name, text in {"docker": DOCKER, "make": MAKE, **dict.fromkeys(OTHERS, "#!/bin/sh\n")}.items():
        script(tools / name, text)
    script(tmp_path / "docker" / "offline" / "make-base.sh", MAKE_BASE)
    python = script(tools / "python")
    script(tmp_path / "requirements" / "find-python", f"#!/bin/sh\necho {python}\n")
    environment = {"PATH": f"{tools}:{os.environ['PATH']}", "NOTES": str(notes)}
    done = subprocess.run(
        [tmp_path / ".ci" / "run"], env=environment, capture_output=True, text=True, check=False, timeout=50
    )
    assert (done.returncode, done.stdout, done.stderr) == (7, "", "")
    assert notes.read_text() == "begun\nended\n"
