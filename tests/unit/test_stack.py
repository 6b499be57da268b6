"""`tandem up` and `tandem down` on a pretended engine: what is refused, what fails, and whose is stopped."""

import os
import socket
from types import SimpleNamespace

import pytest
from docker.errors import APIError

import pipelines.package
from pipelines.errors import MachineError, RequestError
from pipelines.runners import compose
from pipelines.runners import docker_ownership as ownership
from pipelines.serve import stack


def quiet(*_, **__):
    return None


@pytest.fixture
def client(monkeypatch):
    """An engine's client that is closed and asked for nothing."""
    made = SimpleNamespace(close=lambda: None)
    monkeypatch.setattr(pipelines.package, "connect", lambda: made)
    return made


@pytest.mark.parametrize("text", ["abc", "-1", "99999", "8080 ", "\N{SUPERSCRIPT TWO}", "9" * 5000])
@pytest.mark.parametrize(
    ("name", "changes"),
    [("TORCHSERVE_PORT", {}), ("TFSERVING_GRPC_PORT", {}), ("PROMETHEUS_PORT", {"prometheus": True})],
)
def test_what_is_no_port_is_refused_before_any_work(name, changes, text, monkeypatch, tmp_path):
    monkeypatch.setattr(pipelines.package, "connect", lambda: pytest.fail("the engine was asked"))
    monkeypatch.setenv(name, text)
    with pytest.raises(RequestError, match=f"{name} is .* allowed: 0 to 65535") as caught:
        stack.up(stack.UpRequest("digits_cnn", tmp_path, **changes), quiet)
    assert len(str(caught.value)) < 200


def test_a_port_that_is_taken_is_named_before_any_work(monkeypatch, tmp_path):
    monkeypatch.setattr(pipelines.package, "connect", lambda: pytest.fail("the engine was asked"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("TORCHSERVE_PORT", str(port))
        with pytest.raises(MachineError, match=f"TORCHSERVE_PORT={port} is taken"):
            stack.up(stack.UpRequest("digits_cnn", tmp_path), quiet)


@pytest.mark.parametrize("kept", [None, MachineError("the engine does not remove it")])
def test_what_the_engine_does_not_start_is_one_line_and_is_removed(monkeypatch, kept):
    removed = []

    def remove(_, project):
        removed.append(project)
        if kept:
            raise kept

    def start():
        raise APIError("500 Server Error", explanation="driver failed:\nport is already allocated")

    monkeypatch.setattr(compose, "create", quiet)
    monkeypatch.setattr(stack, "_containers", lambda *_: {"torchserve": SimpleNamespace(start=start)})
    monkeypatch.setattr(ownership, "remove_project", remove)
    asked = stack.StandingStack("tandem-up-x", ("torchserve",), {})
    with pytest.raises(MachineError, match="tandem-up-x: driver failed: port is already allocated"):
        stack._start(None, asked, quiet)
    assert removed == ["tandem-up-x"]


@pytest.fixture
def standing(client, monkeypatch):
    """Stacks of this user, of others, and of a Tandem that did not note whose; returns what was removed."""
    host, uid = socket.gethostname(), os.getuid()
    mine = stack.StandingStack("tandem-up-mine", (), {}).labels()[ownership.OWNER_LABEL]
    owners = {
        "tandem-up-mine": mine,
        "tandem-up-user": f"{ownership.STANDING}/{host}/{uid + 1}",
        "tandem-up-host": f"{ownership.STANDING}/{host}x/{uid}",
        "tandem-up-old": ownership.STANDING,
        "tandem-compare-mine": ownership.owner(),
    }
    found, removed = [ownership.Leftover(*pair) for pair in owners.items()], []
    monkeypatch.setattr(ownership, "projects", lambda _: found)
    monkeypatch.setattr(ownership, "remove_project", lambda _, project: removed.append(project))
    monkeypatch.setattr(stack, "_containers", lambda *_: {"s": SimpleNamespace(stop=quiet, logs=last_words)})
    return removed


def last_words(tail):
    assert tail == 5
    return b"words"


def test_down_without_a_name_stops_only_what_this_user_of_this_machine_started(standing):
    told = []
    assert stack.down(None, lambda name, _: told.append(name)) == ["tandem-up-mine"]
    assert standing == ["tandem-up-mine"]
    assert {"tandem-up-user", "tandem-up-host", "tandem-up-old"} < set(told)


@pytest.mark.parametrize("name", ["tandem-up-user", "tandem-up-old"])
def test_down_stops_whatever_stack_is_named(standing, name):
    assert stack.down(name, quiet) == standing == [name]


def test_down_refuses_what_is_no_stack(standing):
    with pytest.raises(RequestError, match="no stack is called 'tandem-compare-mine'; standing: tandem-up-"):
        stack.down("tandem-compare-mine", quiet)
    assert standing == []


@pytest.mark.usefixtures("standing")
def test_logs_are_of_ones_own_stacks_or_of_the_one_that_is_named():
    assert stack.logs(None, 5) == {"tandem-up-mine s": "words"}
    assert stack.logs("tandem-up-user", 5) == {"tandem-up-user s": "words"}
