"""A container as a server on a pretended engine: what it is told, and how its troubles are named."""

import os
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import yaml
from docker.errors import APIError
from requests.exceptions import ConnectionError as RequestsConnectionError
from urllib3.exceptions import ProtocolError

from models.digits_cnn import MODEL
from pipelines.cli import main as cli
from pipelines.errors import MachineError, RequestError
from pipelines.package.engine import DEFAULT_HOST
from pipelines.record.implementation import GivenRecord, ImageRecord, ImplementationRecord
from pipelines.runners import compose, docker_server
from pipelines.runners import docker_containers as containers
from pipelines.runners.cgroup import Usage
from pipelines.runners.docker_containers import ContainerImage, DockerRunner
from pipelines.runners.docker_server import DockerServer
from pipelines.targets.contained import CONTAINED
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

    id = "5f1d" * 16

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
        assert running.cpu_s() is None
        assert running._last_lines() == ""
        running.require_alive("in round 3")
    assert "cannot write" not in str(it.value)


def test_an_engine_that_is_gone_before_the_start_is_named(plan):
    container = GoneEngine()
    container.gone = True
    with pytest.raises(MachineError, match="container of torchserve: the container engine does not answer"):
        server(container, plan).start()


@pytest.mark.parametrize(
    "error",
    [
        RequestsConnectionError(("Connection aborted.", ConnectionRefusedError(111, "no"))),
        ProtocolError("Connection broken: IncompleteRead(3 bytes read)"),
    ],
)
def test_what_the_engine_s_client_raises_elsewhere_is_one_line_about_the_engine(error, monkeypatch, capsys):
    def break_off(_):
        raise error

    monkeypatch.setattr(cli, "_carry_out", break_off)
    with pytest.raises(SystemExit) as ended:
        cli.main(["logs"])
    assert ended.value.code == 3
    assert capsys.readouterr().err.startswith("tandem: the container engine does not answer any more")


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


def test_a_process_here_with_the_number_that_the_engine_tells_is_not_taken_for_the_containers(plan):
    with server(FakeContainer(Pid=os.getpid()), plan) as running:
        assert (running.pid, running.place) == (0, "hidden")
        assert running.usage() == Usage(None, None, None, None)
        assert (running.memory_bytes(), running.peak_bytes(), running.cpu_s()) == (None, None, None)


def test_a_container_whose_process_is_seen_is_counted(plan, monkeypatch, tmp_path):
    container = FakeContainer(Pid=os.getpid())
    lines = [f"0::/docker/{container.id}"]
    monkeypatch.setattr(docker_server, "lines_of", lambda *_: lines)
    counted = Usage(memory_bytes=7, peak_bytes=9, cpu_s=2.5, oom_kills=0)
    group = SimpleNamespace(read=lambda: counted)
    monkeypatch.setattr(docker_server.ControlGroup, "of", lambda *_: group)
    with server(container, plan) as running:
        assert (running.pid, running.place) == (os.getpid(), "cores")
        assert running.usage() == counted


def test_a_stop_that_the_engine_refuses_is_told(plan):
    container = FakeContainer()
    running = server(container, plan)
    running.start()
    container.refuses["stop"] = refusal("permission denied")
    with pytest.raises(MachineError, match="cannot stop torchserve: permission denied"):
        running.stop()


def test_what_went_wrong_before_a_refused_stop_is_what_is_told(plan):
    container = FakeContainer()
    container.refuses["stop"] = refusal("permission denied")
    with pytest.raises(MachineError, match="its answers are wrong"), server(container, plan):
        raise MachineError("its answers are wrong")
    container.refuses["start"] = refusal("no such device")
    with pytest.raises(MachineError, match="no such device"):
        server(container, plan).__enter__()


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


@pytest.mark.slow
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


def variables_of(runner, tmp_path, **changes):
    with runner.runner.prepare("torchserve", request(tmp_path, **changes)):
        return runner.stacks[-1].variables


def test_memory_and_processes_grow_with_the_cores(runner, tmp_path, monkeypatch):
    for name in ("TANDEM_MEMORY", "TANDEM_PIDS"):
        monkeypatch.delenv(name, raising=False)
    one = variables_of(runner, tmp_path, cores=(3,))
    many = variables_of(runner, tmp_path, cores=tuple(range(62)))
    server = yaml.safe_load(compose.COMPOSE_FILE.read_text())["services"]["torchserve"]
    assert server["mem_limit"] == f"${{TANDEM_MEMORY:-{one['TANDEM_MEMORY']}}}"
    assert server["pids_limit"] == int(one["TANDEM_PIDS"])
    # TorchServe's workers hold PyTorch each, and have a thread for every core.
    assert int(many["TANDEM_MEMORY"].removesuffix("g")) >= 62
    assert int(many["TANDEM_PIDS"]) > 62 * 62


def test_a_limit_of_the_users_own_stays(runner, tmp_path, monkeypatch):
    monkeypatch.setenv("TANDEM_MEMORY", "3g")
    monkeypatch.setenv("TANDEM_PIDS", "100")
    assert not {"TANDEM_MEMORY", "TANDEM_PIDS"} & variables_of(runner, tmp_path, cores=(0, 1)).keys()


def test_every_server_is_given_the_number_of_processes_and_nothing_else_is(monkeypatch):
    monkeypatch.delenv("TANDEM_PIDS", raising=False)
    services = ("torchserve", "locust-worker")
    given = compose.Stack("tandem-x", services, compose.grants((0, 1)))
    assert compose._override(given)["services"]["torchserve"]["pids_limit"] == 2 * 2048
    assert "pids_limit" not in compose._override(given)["services"]["locust-worker"]
    monkeypatch.setenv("TANDEM_PIDS", "100")
    users = compose.Stack("tandem-x", services, compose.grants((0, 1)))
    assert compose._override(users)["services"]["torchserve"]["pids_limit"] == 100
    monkeypatch.setenv("TANDEM_PIDS", "many")
    with pytest.raises(RequestError, match=r"TANDEM_PIDS is 'many'.*allowed"):
        compose._override(users)


@pytest.mark.parametrize(("named", "core"), [("", "6"), ("2-3", None)])
def test_without_a_core_asked_for_it_is_one_that_this_process_may_use(
    runner, tmp_path, monkeypatch, named, core
):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {7, 6})
    monkeypatch.setenv("TANDEM_CPUSET", named)
    assert variables_of(runner, tmp_path, cores=()).get("TANDEM_CPUSET") == core


def test_a_cpuset_that_is_none_is_refused(monkeypatch):
    monkeypatch.setenv("TANDEM_CPUSET", "first")
    with pytest.raises(RequestError, match=r"TANDEM_CPUSET is 'first'.*allowed"):
        compose.grants(())


def test_only_the_port_that_was_asked_for_is_published(runner, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHSERVE_PORT", "8080")
    variables = variables_of(runner, tmp_path)
    ports = {name: value for name, value in variables.items() if name.endswith("_PORT")}
    assert set(ports.values()) == {"0"}
    assert {"TORCHSERVE_PORT", "TORCHSERVE_GRPC_PORT", "TFSERVING_PORT"} <= ports.keys()


@pytest.mark.parametrize(
    ("host", "expected"), [("tcp://10.0.0.1:2375", "tcp://10.0.0.1:2375"), ("", DEFAULT_HOST)]
)
def test_compose_talks_to_the_engine_that_we_talk_to(monkeypatch, tmp_path, host, expected):
    monkeypatch.setenv("DOCKER_HOST", host)
    monkeypatch.setenv("DOCKER_CONTEXT", "another")
    given = []
    monkeypatch.setattr(compose, "compose_command", lambda: ("compose",))
    monkeypatch.setattr(compose, "_run", lambda _, environment: given.append(environment) or (0, ""))
    compose.create(compose.Stack("tandem-x", ("torchserve",), {"A": "b"}), tmp_path)
    assert (given[0]["DOCKER_HOST"], given[0]["A"]) == (expected, "b")
    assert "DOCKER_CONTEXT" not in given[0]


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


def test_a_container_that_the_engine_does_not_remove_is_told(runner, tmp_path, monkeypatch):
    def refuse(_, project):
        raise MachineError(f"the engine does not remove {project}: busy")

    monkeypatch.setattr(containers.ownership, "remove_project", refuse)
    with (
        pytest.raises(MachineError, match="the engine does not remove tandem-compare-"),
        runner.runner.prepare("torchserve", request(tmp_path)),
    ):
        pass
    with (
        pytest.raises(MachineError, match="what ended the run"),
        runner.runner.prepare("torchserve", request(tmp_path)),
    ):
        raise MachineError("what ended the run")


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
