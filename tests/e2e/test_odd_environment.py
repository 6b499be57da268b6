"""A model of a user's own, served from a project and a shell that are odd in every way at once."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tiny_models import write

from pipelines.http import fetch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

# All but `pipelines` itself: what PYTHONPATH puts before the installed packages is imported first.
SHADOWS = ("models", "statistics", "numpy", "json", "loadtests", "torch")
LONG_NAME = "a-temporary-folder-" * 7


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as listener:
            listener.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder with blanks and umlauts, a model file named like no module, and modules named as ours."""
    folder = tmp_path_factory.mktemp("odd") / "mein Projekt, größer"
    folder.mkdir()
    model = write(folder, "odd").rename(folder / "mein modell.v1.größe.py")
    for name in SHADOWS:
        trap = f"open({str(folder.parent / 'executed')!r}, 'a').write({name!r})\nraise SystemExit(9)\n"
        (folder / f"{name}.py").write_text(trap)
    return folder, model


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """Variables that are set for other programs, or by mistake; TMPDIR of 138 characters and more."""
    home = tmp_path_factory.mktemp("home")
    (home / "keras.json").write_text(
        json.dumps({"backend": "torch", "image_data_format": "channels_first", "floatx": "float16"})
    )
    with tempfile.TemporaryDirectory(prefix=LONG_NAME) as temporary:
        assert len(temporary) >= 138
        yield {
            **os.environ,
            "TMPDIR": temporary,
            "HOME": str(home),
            "KERAS_HOME": str(home),
            "KERAS_BACKEND": "torch",
            "PYTHONPATH": ".",
            "PYTHONIOENCODING": "latin-1",
            "PYTHONUTF8": "0",
            "LC_ALL": "C",
            "COLUMNS": "80",
            "http_proxy": "http://127.0.0.1:1",
            "JAVA_TOOL_OPTIONS": "-XX:NoSuchOption",
            "OMP_NUM_THREADS": "nonsense",
        }


def answer_to(line, folder):
    """What the server says when the line is read as a shell reads it, and done as curl does it."""
    words = shlex.split(line)
    data = (folder / words[words.index("-d") + 1].removeprefix("@")).read_bytes()
    (url,) = [word for word in words if word.startswith("http://")]
    status, body = fetch(url, data)
    assert status == 200, body
    return json.loads(body)


def line_to_try(process):
    """The command to copy into a shell, once the server stands."""
    for line in process.stdout:
        _, found, rest = line.partition("  try  ")
        if found:
            return rest.strip()
    pytest.fail(f"it never stood: {process.stderr.read()}")


@pytest.mark.parametrize("target", ["torchserve", "tfserving"])
def test_both_servers_stand_and_the_printed_line_gets_an_answer(project, shell, target):
    folder, model = project
    host = "::1" if has_ipv6() else "127.0.0.1"
    command = [str(Path(sys.executable).with_name("tandem")), "serve", target, "--model", model.name]
    with subprocess.Popen(
        [*command, "--host", host],
        cwd=folder,
        env=shell,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            answer = answer_to(line_to_try(process), folder)
            assert len(answer["predictions"]) == 1
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
        finally:
            if process.poll() is None:
                process.kill()
    assert not (folder.parent / "executed").exists()
    assert list(Path(shell["TMPDIR"]).iterdir()) == []
