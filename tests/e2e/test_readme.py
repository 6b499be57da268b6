"""Every command that README.md shows is run, so that none of them can go stale."""

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from main_job import TANDEM, answered, running

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
COMMANDS = [line.split("  #")[0].strip() for block in BLOCKS for line in block.splitlines() if line.strip()]
PORT = "8501"


def commands(program: str) -> list[str]:
    return [command for command in COMMANDS if command.split()[0] == program]


def run(command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    words = shlex.split(command)
    words[:1] = {"tandem": [*TANDEM], "locust": [sys.executable, "-m", "locust"]}.get(words[0], words[:1])
    words = [str(ROOT / word) if word == "loadtests/locustfile.py" else word for word in words]
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=240, check=False)


def test_every_command_is_of_a_kind_that_is_run_here():
    assert {command.split()[0] for command in COMMANDS} == {"make", "tandem", "locust", "jq"}


@pytest.mark.parametrize("command", commands("make"))
def test_make_targets_exist_and_do_what_is_said(command):
    done = subprocess.run(
        [*shlex.split(command), "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert ("tandem compare" if "demo" in command else ".ci/tests") in done.stdout


def test_every_make_target_in_the_text_exists():
    text = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([a-z-]+)", README):
        assert re.search(rf"^{target}:", text, re.MULTILINE), target


def test_every_tandem_command_in_the_text_exists():
    for command in re.findall(r"`tandem ([a-z]+)", README):
        assert answered(command, "--help", cwd=ROOT).returncode == 0


def test_every_linked_file_exists():
    for path in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / path).exists(), path


# Run by test_a_server_stands_… and test_mobile.py. The gate and what it asks are about two builds, which are
# not here: of these only the arguments are read, and unit tests run them.
ELSEWHERE = ("serve", "mobile")
BUILDS = ("base=", " gate ")


def is_of_builds(command: str) -> bool:
    return any(word in command for word in BUILDS)


@pytest.mark.parametrize("command", [c for c in commands("tandem") if is_of_builds(c)])
def test_what_asks_about_two_builds_can_be_read(command, tmp_path):
    """Without the builds it is a wrong request about them, and not about an option."""
    done = run(command, tmp_path)
    assert done.returncode == 2
    assert "--help" not in done.stderr
    assert re.search(r"build/main|runs/latest", done.stderr), done.stderr


@pytest.mark.parametrize(
    "command", [c for c in commands("tandem") if c.split()[1] not in ELSEWHERE and not is_of_builds(c)]
)
def test_a_step(command, compared, verified):
    folder = compared.parent.parent
    if "verify" in command:
        # The shared verification was made by this command, which only told it otherwise.
        assert verified.args[len(TANDEM) :] == [*shlex.split(command)[1:], "--json"]
        assert verified.returncode == 0, verified.stderr
        return
    if "compare" in command:
        assert json.loads((compared / "run.json").read_text())["command"][1:] == shlex.split(command)[1:]
        return  # the shared run was made by this very command
    done = run(command, folder)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
@pytest.mark.parametrize("command", commands("jq"))
def test_a_query(command, compared):
    done = run(command, compared.parent.parent)
    assert done.returncode == 0, done.stderr
    assert json.loads(re.split(r"(?<=\n})\n", done.stdout)[0])["requests_count"] > 0


def test_a_server_stands_and_the_load_generator_runs_against_it(compared):
    folder = compared.parent.parent
    (serve,) = [c for c in commands("tandem") if " serve " in c]
    assert serve.startswith("tandem serve tfserving")
    with running("serve", "tfserving", "--json", cwd=folder) as process:
        facts = json.loads(process.stdout.readline())
        host = facts["predict_url"].split("/v1/")[0]
        (headless,) = [c for c in commands("locust") if "--headless" in c]
        done = run(headless.replace(f"http://127.0.0.1:{PORT}", host).replace("10s", "3s"), folder)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert done.returncode == 0, done.stderr
    assert (folder / "samples.parquet").stat().st_size > 1000
