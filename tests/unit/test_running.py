"""A server that somebody else runs: never started or ended, and nothing told of it that is not known."""

import socket
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from pipelines.access import Access
from pipelines.errors import MachineError
from pipelines.machine.cores import Cores
from pipelines.run.warnings import endpoint_warnings
from pipelines.runners import url
from pipelines.runners.url import RunningServer, RunningSide, cores_seen, where_is
from pipelines.targets.address import read_address
from pipelines.targets.apis import Told
from pipelines.verify import stage


def side(port, host="127.0.0.1"):
    address, protocol = read_address(f"oip+http://{host}:{port}/m")
    return RunningSide("today", address, protocol, Access(timeout_s=2))


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_nothing_is_known_of_a_server_that_cannot_be_seen(listening, tmp_path):
    one = side(listening)
    plan = url._plan(one, None, Told("triton", "2", None), tmp_path)
    with RunningServer(one, plan, "hidden", None) as server:
        server.resume()
        server.require_alive("at once")
        server.pause()
        assert (server.cpu_s(), server.memory_bytes(), server.peak_bytes(), server.pid) == (None,) * 3 + (0,)
    given = plan.given
    assert (given.cores, given.memory_limit_bytes, given.workers_count) == ((), None, None)
    assert (plan.implementation.runner, plan.implementation.preset) == ("url", "not known")
    assert not plan.launch.log.exists()


def test_the_time_of_the_process_that_listens_is_read_where_it_can_be_seen(listening, tmp_path):
    one = side(listening)
    place, pids = where_is(one.address)
    assert place == "here"
    server = RunningServer(one, url._plan(one, None, Told("triton", "2", None), tmp_path), place, pids)
    server.resume()
    before = server.cpu_s()
    sum(number * number for number in range(3_000_000))
    after = server.cpu_s()
    assert before is not None
    assert after is not None
    assert after > before


@pytest.mark.parametrize(
    ("server", "generator", "warned"), [((0,), (1,), True), ((1,), (0,), False), ((0, 1), (0,), False)]
)
def test_a_server_that_may_use_the_generators_core_is_named(
    monkeypatch, listening, server, generator, warned
):
    monkeypatch.setattr(psutil.Process, "cpu_affinity", lambda _: [1])
    one = SimpleNamespace(name="today", address=side(listening).address)
    cores = Cores(server=server, generator=generator)
    found = endpoint_warnings(SimpleNamespace(cores=cores, running=(one,)))
    assert [(code.code, code.figures["side"], code.figures["server_cores"]) for code in found] == [
        ("endpoint_shares_core", "today", "0")
    ] * warned


def test_the_cores_of_processes_that_cannot_be_seen_are_not_known():
    assert cores_seen(side(80, "192.0.2.1").address) == frozenset()


def test_an_address_outside_is_elsewhere():
    assert where_is(side(80, "192.0.2.1").address) == ("elsewhere", None)


@pytest.mark.slow
def test_nobody_there_any_more_is_an_environment_failure(listening, tmp_path):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        one = side(bound.getsockname()[1])
        server = RunningServer(one, url._plan(one, None, Told("x", "1", None), tmp_path), "hidden", None)
        with pytest.raises(MachineError, match=r"today: nothing answers at .* in round 3"):
            server.require_alive("in round 3")
        with pytest.raises(MachineError, match=r"today: nothing answers at .* in round 3"):
            server.explain_silence("in round 3")


def test_a_silent_server_of_somebody_else_has_no_log_to_look_at(listening, tmp_path):
    one = side(listening)
    server = RunningServer(one, url._plan(one, None, Told("x", "1", None), tmp_path), "hidden", None)
    with pytest.raises(MachineError, match=r"^today stopped answering in round 3$"):
        server.explain_silence("in round 3")


@pytest.mark.parametrize("same", [True, False])
def test_a_proof_of_another_question_is_none_where_nothing_is_exported(monkeypatch, same):
    changes = {
        "load_model": lambda _: SimpleNamespace(name="m", samples=lambda: None, given=None),
        "read_proof": lambda _: SimpleNamespace(accuracy=None),
        "source_outputs": lambda *_: {"y": None},
        "proven_records": lambda *_: {},
        "same_question": lambda *_: same,
        "expectations_of": lambda *_: "kept",
        "verify": lambda *_: SimpleNamespace(expected="anew"),
    }
    for name, change in changes.items():
        monkeypatch.setattr(stage, name, change)
    found = stage.examine("m", Path("artifacts"), lambda *_: None, ())
    assert found.expected == ("kept" if same else "anew")
