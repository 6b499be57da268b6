"""Servers in real containers: started, frozen, counted, killed, starved, abandoned, and gone at the end."""

import json
import signal
import socket
import subprocess
import sys

import pytest
from real_model import ARTIFACTS, MODEL, ROOT

from models.spec import load_model
from pipelines.errors import MachineError
from pipelines.http import fetch
from pipelines.processes.group import free_ports, wait_until
from pipelines.record.reading import read_run
from pipelines.runners import docker_ownership as ownership
from pipelines.runners.docker_containers import DockerRunner
from pipelines.serve import readiness

pytest_plugins = ("real_servers",)
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("nothing_left"), pytest.mark.timeout(600)]

BOTH = pytest.mark.parametrize("target", ["torchserve", "tfserving"])


@pytest.fixture
def pool(verified):
    return lambda server: readiness.payload_pool(
        load_model(MODEL), verified.expected, server.plan.endpoint.predict_path
    )


@BOTH
def test_it_answers_right_freezes_and_thaws(runner, request_for, pool, target):
    with runner.prepare(target, request_for(target)) as planned, planned as server:
        ready = readiness.wait_until_right(server, pool(server))
        assert 0 < ready.ready_s <= ready.first_right_answer_s
        body, url = pool(server).bodies[0], server.plan.endpoint.predict_url
        before = server.usage()
        server.pause()
        with pytest.raises(OSError, match="timed out"):
            fetch(url, body, timeout_s=1.0)
        server.resume()
        assert fetch(url, body)[0] == 200
        after = server.usage()
        assert after.cpu_s > before.cpu_s > 0
        assert 0 < after.memory_bytes <= after.peak_bytes
        assert server.plan.given.cores == (0,)
        assert server.plan.given.cpus == 1.0
        assert server.plan.given.memory_limit_bytes > 0
    assert server.plan.launch.log.stat().st_size > 0


def test_both_targets_are_given_the_same(runner, request_for):
    with (
        runner.prepare("torchserve", request_for("torchserve")) as one,
        runner.prepare("tfserving", request_for("tfserving")) as other,
    ):
        hosts = [server.container.attrs["HostConfig"] for server in (one, other)]
        for name in ("CpusetCpus", "NanoCpus", "Memory", "MemorySwap", "PidsLimit", "CapDrop", "SecurityOpt"):
            assert hosts[0][name] == hosts[1][name], name


def test_two_of_the_same_at_once_never_collide_and_one_that_is_killed_is_named(runner, request_for, pool):
    with (
        runner.prepare("tfserving", request_for("tfserving")) as first,
        runner.prepare("tfserving", request_for("tfserving")) as second,
        first,
        second,
    ):
        for server in (first, second):
            readiness.wait_until_right(server, pool(server))
        assert first.plan.endpoint.base_url != second.plan.endpoint.base_url
        first.container.kill()
        wait_until(lambda: not _running(first), 20)
        with pytest.raises(MachineError, match=r"in round 7: its container died \(exit code 137, killed by"):
            first.require_alive("in round 7")
        second.require_alive("in round 7")


def _running(server):
    server.container.reload()
    return server.container.status == "running"


@BOTH
def test_out_of_memory_is_recognised_and_named_with_the_limit(runner, request_for, target):
    starved = DockerRunner(runner.client, runner.images, "test", variables={"TANDEM_MEMORY": "48m"})
    with (
        starved.prepare(target, request_for(target)) as planned,
        pytest.raises(MachineError, match=r"ran out of memory at its limit of 0.0469 GiB.*TANDEM_MEMORY"),
        planned as server,
    ):
        server.wait_ready()


def test_a_port_that_is_taken_is_refused_before_anything_is_made(runner, request_for, client):
    (port,) = free_ports(1)
    before = len(ownership.projects(client))
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", port))
        holder.listen()
        with (
            pytest.raises(MachineError, match=f"port {port} is taken"),
            runner.prepare("tfserving", request_for("tfserving", rest_port=port)),
        ):
            raise AssertionError("never entered")
    assert len(ownership.projects(client)) == before


ABANDON = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from real_model import ARTIFACTS, MODEL, TARGETS, say_nothing
from models.spec import load_model
from models.spec import load_model
from pipelines.serve import readiness
from pipelines.package import connect
from pipelines.runners.docker_containers import DockerRunner
from pipelines.runners.docker_images import find_images
from pipelines.targets.server_plan import ServeRequest
client = connect()
runner = DockerRunner(client, find_images(client, ["tfserving"], MODEL, ARTIFACTS, say_nothing), "test")
request = ServeRequest(load_model(MODEL), ARTIFACTS, Path({work!r}), cores=(0,))
with runner.prepare("tfserving", request) as planned, planned as server:
    print(server.container.labels["io.tandem.project"], flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_process_left_is_found_and_what_a_live_one_has_is_not(
    runner, request_for, client, tmp_path
):
    program = ABANDON.format(tests=str(ROOT / "tests" / "containers"), work=str(tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with runner.prepare("tfserving", request_for("tfserving")) as mine:
        project = process.stdout.readline().strip()
        try:
            assert project not in ownership.remove_abandoned(client)
        finally:
            process.kill()
            process.communicate()
        assert project in ownership.remove_abandoned(client)
        assert ownership.remains(client, project) == []
        assert ownership.remains(client, mine.container.labels[ownership.PROJECT_LABEL])


def test_serve_ends_at_ctrl_c_and_leaves_nothing(client, runner):
    command = [
        sys.executable,
        "-m",
        "pipelines.cli.main",
        "serve",
        "tfserving",
        "--runner",
        "docker",
        "--json",
    ]
    process = subprocess.Popen(
        [*command, "--artifacts", str(ARTIFACTS)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        told = json.loads(process.stdout.readline())
        assert told["implementation"]["runner"] == "docker"
        assert told["predict_url"].startswith("http://127.0.0.1:")
        # What Ctrl-C is to a person; a test run in the background may have to ignore SIGINT.
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=90)
        assert process.returncode == 0, errors
    finally:
        process.kill()
        process.wait()
    assert not [p for p in ownership.projects(client) if p.owner and f"/{process.pid}/" in p.owner]


COMPRESSED_BYTES = 12_345_678
SIZED = """
import sys
from pathlib import Path
import pipelines.package
from pipelines.cli.main import main
from pipelines.package import stage
pipelines.package.compressed_bytes = lambda _client, _image, _cache: {size}
stage.SIZES = Path({sizes!r})
main()
"""
"""`tandem` that does not compress two gigabytes for a minute; test_leftovers_engine.py compresses little."""


def test_a_comparison_is_recorded_with_images_memory_and_cold_starts(runner, tmp_path):
    sized = SIZED.format(size=COMPRESSED_BYTES, sizes=str(tmp_path / "sizes.json"))
    command = [sys.executable, "-c", sized, "compare", MODEL, "--runner", "docker"]
    options = ["--profile", "smoke", "--rounds", "1", "--round-s", "1", "--loads", "closed:1"]
    places = ["--artifacts", str(ARTIFACTS), "--runs", str(tmp_path), "--no-mobile"]
    done = subprocess.run(
        [*command, *options, *places],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    record = read_run(tmp_path / "latest")
    assert set(record.targets) >= {"torchserve", "tfserving"}
    for name in ("torchserve", "tfserving"):
        target = record.targets[name]
        image = target.implementation.image
        assert target.implementation.runner == "docker"
        assert image is not None
        assert image.size_bytes > 50_000_000
        assert image.compressed_bytes == COMPRESSED_BYTES
        assert target.memory.source == "cgroup"
        assert target.memory.peak_bytes >= target.memory.idle_bytes > 0
        assert len(target.cold_starts) == 1
        assert target.rounds[0].server_cpu_s > 0
        assert target.endpoint_parity.passed
        assert (tmp_path / "latest" / target.log_file).stat().st_size > 0
    assert not record.fairness.asymmetries
    assert record.targets["tfserving"].implementation.stand_in == (
        "embedded" in record.targets["tfserving"].implementation.name
    )
