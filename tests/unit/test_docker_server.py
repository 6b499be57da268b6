"""A container as a server on a pretended engine: what it is told, and how its troubles are named."""

import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from docker.errors import APIError
from requests.exceptions import ConnectionError as RequestsConnectionError

from models.digits_cnn import MODEL
from pipelines.cli.exits import explain
from pipelines.errors import MachineError, RequestError
from pipelines.record.implementation import GivenRecord, ImageRecord, ImplementationRecord
from pipelines.runners import compose
from pipelines.runners import docker_containers as containers
from pipelines.runners.docker_containers import ContainerImage, DockerRunner
from pipelines.runners.docker_server import DockerServer
from pipelines.targets.containers import CONTAINED
from pipelines.targets.endpoint import Endpoint
from pipelines.targets.launch import Launch
from pipelines.targets.presets import resolve
from pipelines.targets.server_plan import ServeRequest, ServerPlan
from pipelines.targets.torchserve.settings import body_limit_bytes

ADDRESSES = {
    "Networks": {"x": {"IPAddress": "127.0.0.1"}},
    "Ports": {
        "8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "40001"}],
        "7070/tcp": [{"HostIp": "127.0.0.1", "HostPort": "40002"}],
    },
}
LIMITS = {"CpusetCpus": "0", "NanoCpus": 10**9, "Memory": 2**30}


class FakeContainer:
    """Keeps what it was told."""

    def __init__(self, **state):
        self.attrs = {
            "State": {"Status": "running", "Pid": 0, "ExitCode": 0, **state},
            "HostConfig": LIMITS,
            "NetworkSettings": ADDRESSES,
        }
        self.told = []
        self.refuses = {}
        self.text = b"one\ntwo\nthree\n"

    def __getattr__(self, name):
        def order(**given):
            self.told.append(name)
            if name in self.refuses:
                raise self.refuses[name]

        return order

    def reload(self):
        pass

    def logs(self, stream=False, **given):  # noqa: ARG002 - the SDK's signature
        return iter([self.text]) if stream else self.text


class GoneEngine(FakeContainer):
    """A container whose engine was there when it started, and is not any more."""

    gone = False

    def _ask(self):
        if self.gone:
            raise RequestsConnectionError(("Connection aborted.", ConnectionRefusedError(111, "refused")))

    def __getattr__(self, name):
        order = super().__getattr__(name)
        return lambda **given: (self._ask(), order(**given))

    def reload(self):
        self._ask()

    def logs(self, stream=False, **given):
        self._ask()
        return super().logs(stream, **given)


def refusal(text):
    return APIError("500 Server Error", explanation=text)


@pytest.fixture
def plan(tmp_path):
    return ServerPlan(
        target="torchserve",
        implementation=ImplementationRecord(
            name="fake",
            version="1",
            runner="docker",
            preset="default",
            protocol="REST",
            stand_in=True,
            note=None,
        ),
        given=GivenRecord(
            cores=(),
            workers_count=None,
            threads_per_worker=None,
            batch_max_size=None,
            memory_limit_bytes=None,
        ),
        launch=Launch(cwd=tmp_path, log=tmp_path / "server.log", ready_limit_s=0.5),
        endpoint=Endpoint(
            base_url="http://127.0.0.1:9",
            predict_path="/predictions/digits_cnn",
            model="digits_cnn",
            status=lambda: None,
        ),
    )


def server(container, plan, direct=True, model="digits_cnn"):
    plan = replace(plan, endpoint=replace(plan.endpoint, model=model))
    return DockerServer(container, plan, CONTAINED["torchserve"], direct=direct)


def test_an_engine_that_is_gone_is_named_and_nothing_hides_it(plan):
    container = GoneEngine()
    with (
        pytest.raises(
            MachineError, match=r"torchserve is gone in round 3: the container engine does not"
        ) as it,
        server(container, plan) as running,
    ):
        running.pause()
        container.gone = True
        running.resume()
        running.pause()
        assert running.cpu_s() == 0
        assert running._last_lines() == ""
        running.require_alive("in round 3")
    assert "cannot write" not in str(it.value)


def test_an_engine_that_is_gone_before_the_start_is_named(plan):
    container = GoneEngine()
    container.gone = True
    with pytest.raises(MachineError, match="container of torchserve: the container engine does not answer"):
        server(container, plan).start()


def test_what_the_engine_s_client_raises_elsewhere_is_one_line_about_the_engine():
    said, code = explain(RequestsConnectionError(("Connection aborted.", ConnectionRefusedError(111, "no"))))
    assert code == 3
    assert said.startswith("the container engine does not answer any more")


def test_it_is_frozen_thawed_and_stopped_and_its_log_is_kept(plan):
    container = FakeContainer()
    with server(container, plan) as running:
        running.pause()
        running.pause()
        running.resume()
        running.resume()
        running.pause()
    assert container.told == ["start", "pause", "unpause", "pause", "unpause", "stop"]
    assert plan.launch.log.read_bytes() == container.text


@pytest.mark.parametrize("model", ["digits_cnn", "a:b", "net.v1.5", "größe"])
def test_the_models_name_is_told_and_not_read_out_of_an_address(plan, monkeypatch, model):
    asked = []
    contained = replace(
        CONTAINED["torchserve"],
        status=lambda _url, name, _execute: asked.append(name),
        configuration=lambda name, _inside: asked.append(name) or {},
    )
    monkeypatch.setitem(CONTAINED, "torchserve", contained)
    container = FakeContainer()
    container.top = lambda: {"Processes": None}
    with server(container, plan, model=model) as running:
        running.wait_ready()
        running.read_configuration()
    assert asked == [model, model]


def test_a_container_says_how_its_server_is_configured(plan, monkeypatch):
    container = FakeContainer()
    line = "tensorflow_model_server --model_base_path=/models/x --tensorflow_inter_op_parallelism=3"
    container.top = lambda: {"Titles": ["PID", "CMD"], "Processes": [["7", "docker-init"], ["8", line]]}
    with DockerServer(container, plan, CONTAINED["tfserving"], direct=True) as running:
        running.read_configuration()
        assert running.plan.given.inter_op_threads_count == 3
        assert running.plan.given.cores == (0,)


def test_a_container_that_cannot_be_asked_stays_unknown(plan):
    def top():
        raise refusal("it is gone")

    container = FakeContainer()
    container.top = top
    with DockerServer(container, plan, CONTAINED["tfserving"], direct=True) as running:
        running.read_configuration()
        assert running.plan.given.workers_count is None


def test_it_says_what_it_was_really_given(plan):
    with server(FakeContainer(), plan) as running:
        assert running.plan.given.cores == (0,)
        assert running.plan.given.memory_limit_bytes == 2**30


@pytest.mark.parametrize(
    ("direct", "url"), [(True, "http://127.0.0.1:8080"), (False, "http://127.0.0.1:40001")]
)
def test_it_is_talked_to_directly_or_where_it_is_published(plan, direct, url):
    with server(FakeContainer(), plan, direct) as running:
        assert running.plan.endpoint.base_url == url


def test_a_taken_port_is_named_and_nothing_is_left_running(plan):
    container = FakeContainer()
    container.refuses["start"] = refusal("Bind for 127.0.0.1:8080 failed: port is already allocated")
    with pytest.raises(MachineError, match=r"port that is taken .*8080.* choose another with --port"):
        server(container, plan).__enter__()
    assert container.told[-1] == "stop"


def test_out_of_memory_is_recognised_with_the_limit(plan):
    container = FakeContainer(Status="exited", OOMKilled=True, ExitCode=137)
    with pytest.raises(MachineError, match=r"ran out of memory at its limit of 1 GiB.*TANDEM_MEMORY.*three"):
        server(container, plan).require_alive("in round 3")


def test_a_killed_container_is_named_with_its_last_words(plan):
    container = FakeContainer(Status="exited", ExitCode=137)
    with pytest.raises(MachineError, match=r"in round 3: its container died .*signal 9.*one \| two \| three"):
        server(container, plan).require_alive("in round 3")


class DyingContainer(FakeContainer):
    """A container that has ended by the third look, as one whose engine is about to stop."""

    def __init__(self, **state):
        super().__init__()
        self.looks, self.ended = 0, state

    def reload(self):
        self.looks += 1
        if self.looks > 2:
            self.attrs["State"] |= self.ended


def test_a_container_that_stopped_answering_is_watched_until_it_is_dead(plan, monkeypatch):
    assert DockerServer.dying_limit_s > 15  # seconds that an engine gives its containers
    monkeypatch.setattr(DockerServer, "dying_look_s", 0.001)
    container = DyingContainer(Status="exited", ExitCode=137)
    with pytest.raises(MachineError, match=r"in round 7: its container died \(exit code 137"):
        server(container, plan).explain_silence("in round 7")
    assert container.looks == 3


def test_a_container_that_stopped_answering_and_lives_is_said_to_be_silent(plan, monkeypatch):
    monkeypatch.setattr(DockerServer, "dying_look_s", 0.001)
    monkeypatch.setattr(DockerServer, "dying_limit_s", 0.01)
    with pytest.raises(MachineError, match=r"^torchserve stopped answering in round 7; see its log"):
        server(FakeContainer(), plan).explain_silence("in round 7")


def test_unready_for_ever_ends_with_what_it_said_last(plan):
    container = FakeContainer()
    running = server(container, plan)
    unready = replace(plan.endpoint, status=lambda: "0 of 1 workers are READY")
    running.plan = replace(plan, endpoint=unready)
    running.started = time.monotonic()
    with pytest.raises(MachineError, match=r"not ready within 0 s \(0 of 1 workers are READY\).*three"):
        running.wait_ready()


@pytest.fixture
def runner(monkeypatch):
    """A runner whose compose makes nothing; what was asked of it and what was removed is kept."""
    made = SimpleNamespace(stacks=[], removed=[], fails=None)

    def create(stack, work):
        made.stacks.append(stack)
        if made.fails:
            raise made.fails

    monkeypatch.setattr(compose, "create", create)
    monkeypatch.setattr(containers, "_find", lambda *_: FakeContainer())
    monkeypatch.setattr(
        containers.ownership, "remove_project", lambda _, project: made.removed.append(project)
    )
    record = ImageRecord(reference="tandem/torchserve:x", id="sha256:1", size_bytes=1, compressed_bytes=None)
    images = {"torchserve": ContainerImage("torchserve", "torchserve", "0.12.0", False, record)}
    made.runner = DockerRunner(None, images, "compare")
    return made


def request(tmp_path, **changes):
    fields = {
        "spec": MODEL,
        "folder": tmp_path,
        "work": tmp_path,
        "preset": resolve("tuned", ["torchserve"])["torchserve"],
        "cores": (0, 1),
        "rest_port": 0,
        "host": "127.0.0.1",
    }
    return ServeRequest(**(fields | changes))


def test_every_server_is_a_project_of_its_own_and_goes_again(runner, tmp_path):
    for _ in range(2):
        with runner.runner.prepare("torchserve", request(tmp_path)) as prepared:
            assert prepared.plan.implementation.image.reference == "tandem/torchserve:x"
            assert prepared.plan.implementation.settings["job_queue_size"] == 1000
            assert prepared.plan.given.max_request_bytes == body_limit_bytes(*MODEL.inputs)
    projects = [stack.project for stack in runner.stacks]
    assert runner.removed == projects
    assert len(set(projects)) == 2
    assert runner.stacks[0].variables["TANDEM_CPUSET"] == "0,1"
    assert runner.stacks[0].variables["TORCHSERVE_IMAGE"] == "tandem/torchserve:x"


def test_a_containers_server_is_configured_from_files_that_its_user_may_read(runner, tmp_path):
    with runner.runner.prepare("torchserve", request(tmp_path)) as prepared:
        folder = runner.stacks[0].configurations["torchserve"]
        expected = request(tmp_path).preset.settings_of("torchserve").files(MODEL)
        assert {path.name: path.read_text() for path in folder.iterdir()} == expected
        assert "job_queue_size=1000\n" in expected["config.properties"]
        assert expected["jvm.options"].splitlines()[0] == "-XX:+UseSerialGC"
        assert folder.stat().st_mode & 0o777 == 0o755
        assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}
    assert prepared.plan.target == "torchserve"


def test_a_configuration_is_mounted_over_the_images_own(tmp_path):
    folder = tmp_path / "a $b"
    folder.mkdir()
    stack = compose.Stack("tandem-x", ("torchserve", "tfserving"), {}, (), {"torchserve": folder})
    services = compose._override(stack)["services"]
    assert services["torchserve"]["volumes"] == [
        {
            "type": "bind",
            "source": str(folder).replace("$", "$$"),
            "target": "/etc/tandem/server",
            "read_only": True,
        }
    ]
    assert services["tfserving"]["volumes"] == []


def unreachable():
    return RequestsConnectionError(("Connection aborted.", ConnectionRefusedError(111, "refused")))


def test_what_a_restarted_engine_still_holds_is_removed_when_it_is_back(runner, tmp_path, monkeypatch):
    answers = iter([unreachable(), unreachable(), None])
    monkeypatch.setattr(containers, "LOOK_S", 0.01)

    def remove(_, project):
        if problem := next(answers):
            raise problem
        runner.removed.append(project)

    monkeypatch.setattr(containers.ownership, "remove_project", remove)
    with runner.runner.prepare("torchserve", request(tmp_path)):
        pass
    assert runner.removed == [runner.stacks[0].project]


def test_an_engine_that_stays_away_is_waited_for_once(runner, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(containers, "LOOK_S", 0.01)
    monkeypatch.setattr(containers, "BACK_LIMIT_S", 0.1)

    def remove(_, project):
        asked.append(project)
        raise unreachable()

    monkeypatch.setattr(containers.ownership, "remove_project", remove)
    with (
        pytest.raises(MachineError, match="what ended the run"),
        runner.runner.prepare("torchserve", request(tmp_path)),
        runner.runner.prepare("torchserve", request(tmp_path)),
    ):
        raise MachineError("what ended the run")
    first, second = (stack.project for stack in runner.stacks)
    assert asked.count(second) > 1
    assert asked.count(first) == 1


@pytest.mark.parametrize("error", [MachineError("compose failed"), KeyboardInterrupt()])
def test_what_half_a_start_left_is_removed(runner, tmp_path, error):
    runner.fails = error
    with (
        pytest.raises(type(error)),
        runner.runner.prepare("torchserve", request(tmp_path)),
    ):
        raise AssertionError("never entered")
    assert runner.removed == [runner.stacks[0].project]


def test_other_addresses_than_loopback_are_refused_before_anything_is_made(runner, tmp_path):
    with (
        pytest.raises(RequestError, match="loopback only"),
        runner.runner.prepare("torchserve", request(tmp_path, host="0.0.0.0")),  # noqa: S104 - refused
    ):
        raise AssertionError("never entered")
    assert runner.stacks == []
