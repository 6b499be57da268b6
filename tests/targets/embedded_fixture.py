"""Starts the embedded server as a user would, and talks to it; shared by the tests of it."""

import atexit
import http.client
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RECORDED = ROOT / "tests/conformance/tfserving-2.20.0"
MODELS = ("half_plus_two", "multi", "strs", "scalarout", "dtypes", "dtypes2", "classic")
START_S = 90


@cache
def written_models() -> Path:
    """The folder of the recorded SavedModels and ours; made once and removed at the end of the tests."""
    keep = tempfile.TemporaryDirectory(prefix="embedded-models-")
    atexit.register(keep.cleanup)
    script = Path(__file__).with_name("embedded_models.py")
    subprocess.run([sys.executable, str(script), keep.name], check=True, capture_output=True, timeout=120)
    return Path(keep.name)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Server:
    process: subprocess.Popen[str]
    rest: int
    grpc: int
    log: Path

    def wait_until_listening(self) -> "Server":
        end = time.monotonic() + START_S
        while time.monotonic() < end and self.process.poll() is None:
            if "is listening" in self.log.read_text():
                return self
            time.sleep(0.05)
        raise AssertionError(f"the server did not start:\n{self.log.read_text()}")

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Status and parsed JSON (or the text) of one request; other bodies than text are sent as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.rest, timeout=30)
        try:
            sent = body if isinstance(body, str | bytes | None) else json.dumps(body)
            connection.request(
                method, path, sent, {name.replace("_", "-"): text for name, text in headers.items()}
            )
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        is_json = response.headers.get_content_type() == "application/json"
        return response.status, json.loads(text) if is_json and text else text.decode()

    def predict(self, model: str, body: Any) -> tuple[int, Any]:
        return self.ask("POST", f"/v1/models/{model}:predict", body)


@contextmanager
def started(*flags: str, ports: tuple[int, int] | None = None) -> Iterator[Server]:
    """A server process with these flags; not yet listening. Always ended."""
    rest, grpc = ports or (free_port(), free_port())
    command = [sys.executable, "-m", "pipelines.targets.tfserving.embedded", f"--port={grpc}"]
    command += [f"--rest_api_port={rest}", *flags]
    with tempfile.NamedTemporaryFile("w", suffix=".log") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, text=True)
        try:
            yield Server(process, rest, grpc, Path(log.name))
        finally:
            process.kill()
            process.wait()


def config_text(models: Path) -> str:
    """The ModelServerConfig of the recording server."""
    entries = [
        f'config {{ name: "{name}" base_path: "{models / name}" model_platform: "tensorflow" }}'
        for name in MODELS
    ]
    entries.append(
        f'config {{ name: "hp2_labels" base_path: "{models / "half_plus_two"}" model_platform: "tensorflow" '
        "model_version_policy { all {} } "
        'version_labels { key: "stable" value: 1 } version_labels { key: "canary" value: 2 } }'
    )
    return "model_config_list {\n" + "\n".join(entries) + "\n}\n"
