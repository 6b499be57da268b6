"""`tandem up` and `tandem down` on a pretended engine: what is refused, what fails, and whose is stopped."""

import os
import socket
from functools import partial
from types import SimpleNamespace

import pytest
from docker.errors import APIError
from test_smoke_answers import EXPECTED, SPEC

import pipelines.package
from loadtests.payloads import PayloadPool
from pipelines.errors import MachineError, RequestError
from pipelines.machine.cores import split_cores
from pipelines.runners import compose, docker_images
from pipelines.runners import docker_ownership as ownership
from pipelines.serve import stack
from pipelines.targets.contained import CONTAINED
from pipelines.targets.registry import find_target


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


class Container:
    """A container that answers right once it was started, and remembers what it was asked."""

    def __init__(self, service):
        self.labels, self.ports = {"com.docker.compose.service": service}, {}
        self.status, self.checked = "created", []

    def start(self):
        self.status = "running"

    def reload(self):
        pass

    def exec_run(self, command):
        self.checked.append(command)
        return 0, b""


@pytest.fixture
def engine(client, monkeypatch):
    """An engine that has every image; returns the stacks that were made on it, with their containers."""
    made = []

    def create(asked, _):
        made.append((asked, {service: Container(service) for service in asked.services}))

    def find_images(_, targets, *__):
        return {name: SimpleNamespace(record=SimpleNamespace(reference=f"image:{name}")) for name in targets}

    monkeypatch.setattr(compose, "create", create)
    monkeypatch.setattr(docker_images, "find_images", find_images)
    monkeypatch.setattr(stack, "_containers", lambda *_: made[-1][1])
    return made


@pytest.mark.parametrize("targets", [(name,) for name in CONTAINED] + [tuple(CONTAINED)], ids="+".join)
def test_up_starts_the_targets_asked_for_and_asks_each_for_a_right_answer(engine, targets, tmp_path):
    stack.up(stack.UpRequest("digits_cnn", tmp_path, targets), quiet)
    ((made, containers),) = engine
    assert sorted(made.services) == sorted(containers) == sorted(CONTAINED[name].service for name in targets)
    for name in targets:
        contained = CONTAINED[name]
        assert made.variables[contained.image_variable] == f"image:{name}"
        (check,) = containers[contained.service].checked
        assert check[:3] == ["tandem-probe", "check", str(contained.rest_port)]


@pytest.mark.parametrize(
    ("targets", "changes"),
    [
        (("tflite",), {}),
        (("triton",), {"prometheus": True}),
        (("triton",), {"load_target": "torchserve"}),
    ],
)
def test_what_such_a_stack_cannot_have_is_refused_before_any_work(targets, changes, monkeypatch, tmp_path):
    monkeypatch.setattr(pipelines.package, "connect", lambda: pytest.fail("the engine was asked"))
    with pytest.raises(RequestError):
        stack.up(stack.UpRequest("digits_cnn", tmp_path, targets, **changes), quiet)


@pytest.mark.parametrize("target", CONTAINED)
def test_locust_asks_the_target_in_its_own_words(monkeypatch, tmp_path, target):
    (tmp_path / SPEC.name).mkdir()
    monkeypatch.setattr(stack, "load_model", lambda _: SPEC)
    monkeypatch.setattr(stack, "ensure_verified", lambda *_: SimpleNamespace(expected=EXPECTED))
    request = stack.UpRequest(SPEC.name, tmp_path, (target,), load_target=target)
    variables = stack._load_variables(request, "locust:1", quiet)
    contained, protocol = CONTAINED[target], find_target(target).protocols[0]
    assert variables["TANDEM_LOAD_URL"] == f"http://{contained.service}:{contained.rest_port}"
    pool = PayloadPool.load(tmp_path / SPEC.name / f"payloads-{contained.service}.zip")
    assert (pool.codec, pool.path) == (protocol.codec, protocol.path_of(SPEC.name))


@pytest.mark.parametrize(
    ("environment", "server", "generator"),
    [
        ({}, "0", "3"),
        ({"TANDEM_CPUSET": "2-3"}, None, "1"),
        ({"TANDEM_GENERATOR_CPUSET": "0"}, "2", None),
        ({"TANDEM_GENERATOR_CPUSET": "0,2"}, "3", None),
        ({"TANDEM_GENERATOR_CPUSET": "0-1"}, "2", None),
        ({"TANDEM_GENERATOR_CPUSET": "0-3"}, "0", None),
        ({"TANDEM_CPUSET": "1", "TANDEM_GENERATOR_CPUSET": "2"}, None, None),
    ],
)
def test_servers_and_generator_get_cores_that_are_no_hyper_threads_of_one_another(
    engine, monkeypatch, tmp_path, environment, server, generator
):
    pairs = {0: (0, 1), 1: (0, 1), 2: (2, 3), 3: (2, 3)}
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    monkeypatch.setattr(stack, "split_cores", partial(split_cores, siblings=pairs.__getitem__))
    for name in ("TANDEM_CPUSET", "TANDEM_GENERATOR_CPUSET"):
        monkeypatch.delenv(name, raising=False)
    for name, text in environment.items():
        monkeypatch.setenv(name, text)
    stack.up(stack.UpRequest("digits_cnn", tmp_path), quiet)
    variables = engine[0][0].variables
    assert variables.get("TANDEM_CPUSET") == server
    assert variables.get("TANDEM_GENERATOR_CPUSET") == generator


@pytest.mark.parametrize("name", ["TANDEM_CPUSET", "TANDEM_GENERATOR_CPUSET"])
def test_what_is_no_list_of_cores_is_refused(engine, monkeypatch, tmp_path, name):
    monkeypatch.setenv(name, "first")
    with pytest.raises(RequestError, match=f"{name} is 'first'"):
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
