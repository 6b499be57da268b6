"""`tandem up` and `tandem down` with real containers."""

import json
import subprocess
import sys

import pytest
from real_model import ARTIFACTS, MODEL, ROOT

from loadtests.codecs import json_rows
from models.spec import load_model
from models.tensors import sample
from pipelines.http import fetch
from pipelines.runners import docker_ownership as ownership

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
GRANTS = (
    "CpusetCpus",
    "NanoCpus",
    "Memory",
    "MemorySwap",
    "PidsLimit",
    "CapDrop",
    "SecurityOpt",
    "ReadonlyRootfs",
)


def tandem(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipelines.cli.main", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def stack(engine, images):
    """A stack that stands, as `tandem up --json` tells it."""
    done = tandem("up", MODEL, "--artifacts", str(ARTIFACTS), "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    yield found
    ownership.remove_project(engine, found["project"])


@pytest.fixture
def inspected(engine, stack) -> dict[str, dict]:
    filters = {"label": f"{ownership.COMPOSE_LABEL}={stack['project']}"}
    found = engine.containers.list(filters=filters)
    return {c.labels["com.docker.compose.service"]: c.attrs for c in found}


def test_both_servers_are_given_the_same(inspected):
    assert set(inspected) == {"torchserve", "tfserving"}
    one, other = (inspected[name]["HostConfig"] for name in ("torchserve", "tfserving"))
    assert {key: one[key] for key in GRANTS} == {key: other[key] for key in GRANTS}
    assert one["Memory"] == one["MemorySwap"] == 2 * 2**30
    assert one["CpusetCpus"] == "0"


@pytest.mark.parametrize("service", ["torchserve", "tfserving"])
def test_a_server_has_no_rights_it_does_not_need(inspected, service):
    host, config = inspected[service]["HostConfig"], inspected[service]["Config"]
    assert config["User"] == "10001:10001"
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert not host["Privileged"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["ReadonlyRootfs"]


def test_only_inference_is_published_and_only_on_loopback(inspected):
    published = {
        (service, port): bindings
        for service, attributes in inspected.items()
        for port, bindings in attributes["NetworkSettings"]["Ports"].items()
        if bindings
    }
    assert set(published) == {
        ("torchserve", "8080/tcp"),
        ("torchserve", "7070/tcp"),
        ("tfserving", "8501/tcp"),
        ("tfserving", "8500/tcp"),
    }
    assert {binding["HostIp"] for bindings in published.values() for binding in bindings} == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("address", "path"),
    [("torchserve 8080", f"/predictions/{MODEL}"), ("tfserving 8501", f"/v1/models/{MODEL}:predict")],
)
def test_a_real_sample_is_answered_through_the_published_port(stack, address, path):
    samples = load_model(MODEL).samples()
    body = json_rows.encode([sample(samples.named, 0)])
    status, answer = fetch(f"http://{stack['addresses'][address]}{path}", body)
    assert status == 200
    row = json.loads(answer)["predictions"][0]
    assert row.index(max(row)) == samples.labels[0]


def test_it_is_not_taken_for_abandoned_though_the_command_has_ended(engine, stack):
    found = {leftover.project: leftover for leftover in ownership.projects(engine)}
    assert not found[stack["project"]].abandoned


def test_logs_show_every_container(stack):
    done = tandem("logs", stack["project"], "--lines", "2", "--json")
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)) == {
        f"{stack['project']} {name}" for name in ("torchserve", "tfserving")
    }


def test_an_unknown_stack_is_a_wrong_request(engine):
    done = tandem("down", "tandem-up-00000000")
    assert done.returncode == 2
    assert "tandem-up-00000000" in done.stderr


def test_down_leaves_nothing_and_stops_gracefully(engine, stack):
    """Last: it ends the stack of the other tests."""
    done = tandem("down", stack["project"], "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [stack["project"]]
    assert ownership.remains(engine, stack["project"]) == []
