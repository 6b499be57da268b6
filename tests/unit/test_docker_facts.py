"""What `docker inspect` says, read into our words."""

import re

import pytest

from pipelines.runners import docker_facts

LIMITED = {"HostConfig": {"CpusetCpus": "0,2-4", "NanoCpus": 4_000_000_000, "Memory": 2 * 2**30}}


def state(memory=2**30, **fields):
    return {"HostConfig": {"Memory": memory}, "State": {"Status": "exited", "ExitCode": 0, **fields}}


def test_given_is_what_the_engine_says():
    given = docker_facts.given(LIMITED)
    assert (given.cores, given.cpus, given.memory_limit_bytes) == ((0, 2, 3, 4), 4.0, 2 * 2**30)


def test_no_limit_is_none_and_not_zero():
    given = docker_facts.given({"HostConfig": {"CpusetCpus": "", "NanoCpus": 0, "Memory": 0}})
    assert (given.cores, given.cpus, given.memory_limit_bytes) == ((), None, None)


def test_addresses():
    found = docker_facts.addresses(
        {
            "NetworkSettings": {
                "Networks": {"a_default": {"IPAddress": "172.18.0.2"}},
                "Ports": {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "32768"}], "8081/tcp": None},
            }
        },
        8080,
    )
    assert found == docker_facts.Addresses("172.18.0.2:8080", "127.0.0.1:32768")


def test_a_port_that_is_not_published_has_no_address():
    settings = {"NetworkSettings": {"Networks": {"host": {"IPAddress": ""}}, "Ports": {}}}
    assert docker_facts.addresses(settings, 8080) == docker_facts.Addresses(None, None)


@pytest.mark.parametrize(
    ("attributes", "oom_kills", "said"),
    [
        (state(OOMKilled=True, ExitCode=137), 0, "ran out of memory at its limit of 1 GiB"),
        (state(Status="running"), 1, "ran out of memory at its limit of 1 GiB"),
        (state(ExitCode=137), 0, "exit code 137, killed by signal 9"),
        (state(ExitCode=1, Error="no such file"), 0, r"exit code 1\): no such file"),
    ],
)
def test_a_death_is_named(attributes, oom_kills, said):
    found = docker_facts.death(attributes, oom_kills)
    assert found is not None
    assert re.search(said, found)


@pytest.mark.parametrize("status", ["running", "paused", "created"])
def test_the_living_are_left_alone(status):
    assert docker_facts.death(state(Status=status), 0) is None


def test_health():
    log = [{"Output": "old"}, {"Output": "value 3 is 0.5, expected 0.7\n"}]
    attributes = {"State": {"Health": {"Status": "unhealthy", "Log": log}}}
    assert docker_facts.health(attributes) == ("unhealthy", "value 3 is 0.5, expected 0.7")
    assert docker_facts.health({"State": {}}) == ("none", "")
