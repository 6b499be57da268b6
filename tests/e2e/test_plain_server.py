"""The plain server through the whole of Tandem: exported, verified, compared and smoke tested."""

import json
import subprocess
from pathlib import Path

import pytest
import tiny_models
from main_job import HASTY

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("plain")
    tiny_models.write(folder, "tiny")
    return folder


def tandem(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*HASTY, *arguments], cwd=place, capture_output=True, text=True, timeout=280, check=False
    )


def test_it_is_compared_with_itself_under_another_preset_of_the_users(place):
    (place / "two.toml").write_text("[python]\nworkers = 2\ntorch_threads = 1\npool_threads = 0\n")
    done = tandem(
        place,
        *("compare", "tiny.py", "--sides", "python,python", "--preset", "two.toml"),
        *("--profile", "smoke", "--rounds", "1", "--round-s", "1", "--loads", "closed:4"),
        *("--runner", "local"),
    )
    assert done.returncode == 0, done.stderr
    run = json.loads((place / "runs" / "latest" / "run.json").read_text())
    for name in ("python", "python-2"):
        side = run["targets"][name]
        assert side["endpoint_parity"]["passed"]
        assert (side["given"]["workers_count"], side["given"]["threads_per_worker"]) == (2, 1)
        assert side["given"]["sources"]["workers_count"] == "server"
        assert all(one["requests_count"] > 0 and one["errors_count"] == 0 for one in side["rounds"])


def test_it_passes_the_smoke_test(place):
    done = tandem(place, "smoke", "tiny.py", "--sides", "python", "--runner", "local", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    states = {one["name"]: one["state"] for one in json.loads(done.stdout)["checks"]}
    assert {
        states[f"python.{name}"] for name in ("status", "metadata", "rest-row", "wrong-input", "load")
    } == {"passed"}
    assert {states[f"python.{name}"] for name in ("grpc", "rest-columnar", "unknown-model")} == {"skipped"}
