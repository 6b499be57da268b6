import os
import socket
import subprocess
import sys
import threading
import time

import psutil
import pytest
from orphans import reaped_orphans  # noqa: F401 - a fixture

from pipelines.errors import MachineError
from pipelines.http import fetch, fetch_json
from pipelines.processes.group import free_ports, wait_until
from pipelines.record.implementation import GivenRecord, ImplementationRecord
from pipelines.runners.local import LocalServer
from pipelines.targets.endpoint import Endpoint
from pipelines.targets.launch import Launch
from pipelines.targets.server_plan import ServerPlan

pytestmark = pytest.mark.usefixtures("reaped_orphans")

SERVER = """
import http.server, os, subprocess, sys
pid = os.getpid()
if "FAMILY" in os.environ:
    pid = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]).pid
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503 if self.path == "/busy" else 200)
        self.end_headers()
        self.wfile.write(b"%d" % pid)
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.headers["Content-Type"].encode() + b" " + body)
print("listening", flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""
SLEEP = "import time; time.sleep(60)"
FAMILY = {"FAMILY": "yes"}


@pytest.fixture
def plan(tmp_path):
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"

    def build(program=SERVER, status=lambda: None if fetch(url)[0] == 200 else "busy", **changes):
        launch = {
            "argv": (sys.executable, "-c", program, str(port)),
            "cwd": tmp_path,
            "log": tmp_path / "server.log",
            "ready_limit_s": 20.0,
        }
        return ServerPlan(
            target="torchserve",
            implementation=ImplementationRecord(
                name="fake",
                version="1",
                runner="local",
                preset="default",
                protocol="REST",
                stand_in=True,
                note=None,
            ),
            given=GivenRecord(
                cores=(), workers_count=1, threads_per_worker=1, batch_max_size=1, memory_limit_bytes=None
            ),
            launch=Launch(**(launch | changes)),
            endpoint=Endpoint(base_url=url, predict_path="/", model="fake", status=status),
        )

    return build


def state(pid):
    try:
        return psutil.Process(pid).status()
    except psutil.NoSuchProcess:
        return "gone"


def soon(condition):
    return wait_until(condition, limit_s=3, interval_s=0.01)


def family(server):
    return [server.pid, *(child.pid for child in psutil.Process(server.pid).children(recursive=True))]


def test_a_server_gets_ready_answers_and_leaves_nobody(plan):
    with LocalServer(plan(env=FAMILY)) as server:
        seconds = server.wait_ready()
        assert 0 < seconds < 20
        assert server.alive
        assert int(fetch(server.plan.endpoint.base_url)[1]) in family(server)
        assert len(family(server)) == 2
        pids = family(server)
    assert not server.alive
    assert all(state(pid) in ("gone", psutil.STATUS_ZOMBIE) for pid in pids)


@pytest.mark.slow
def test_a_paused_server_does_not_run_until_it_is_resumed(plan):
    with LocalServer(plan(env=FAMILY)) as server:
        server.wait_ready()
        server.pause()
        assert soon(lambda: {state(pid) for pid in family(server)} == {psutil.STATUS_STOPPED})
        assert server.alive
        with pytest.raises(OSError, match="timed out"):
            fetch(server.plan.endpoint.base_url, timeout_s=0.2)
        server.resume()
        assert fetch(server.plan.endpoint.base_url)[0] == 200
        server.pause()
        pids = family(server)
        started = time.monotonic()
    assert time.monotonic() - started < 5
    assert all(state(pid) in ("gone", psutil.STATUS_ZOMBIE) for pid in pids)


def test_an_exception_inside_ends_the_server(plan):
    server = LocalServer(plan())
    with pytest.raises(KeyboardInterrupt), server:
        server.wait_ready()
        pid = server.pid
        raise KeyboardInterrupt
    assert state(pid) == "gone"


def test_a_server_that_dies_at_start_is_reported_with_its_last_words(plan):
    program = "import sys; print('binding'); sys.exit('the address is odd')"
    with LocalServer(plan(program)) as server, pytest.raises(MachineError) as caught:
        server.wait_ready()
    assert str(caught.value) == (
        "torchserve died at start (exit code 1); its last log lines: binding | the address is odd"
    )


def test_one_that_died_of_its_model_is_reported_with_the_reason_though_it_said_more_afterwards(plan):
    program = "import sys; print('BadModel: no such layer'); print('unloading\\n' * 20); sys.exit(1)"
    server = LocalServer(plan(program, failure_pattern=r"(BadModel: .*)"))
    with server, pytest.raises(MachineError) as caught:
        wait_until(lambda: not server.alive, limit_s=20, interval_s=0.01)
        server.wait_ready()
    assert str(caught.value) == "torchserve cannot serve the model: BadModel: no such layer"


@pytest.mark.slow
def test_a_server_that_never_gets_ready_is_reported_with_what_it_said(plan):
    with (
        LocalServer(plan(ready_limit_s=3, status=lambda: "0 of 1 workers are READY")) as server,
        pytest.raises(
            MachineError, match=r"was not ready within 3 s \(0 of 1 workers are READY\); its last log"
        ),
    ):
        server.wait_ready()


@pytest.mark.slow
def test_a_server_that_never_listens_is_reported(plan):
    with (
        LocalServer(plan(SLEEP, ready_limit_s=2)) as server,
        pytest.raises(MachineError, match=r"not ready within .* \(.*refused.*\)"),
    ):
        server.wait_ready()


def test_a_log_line_that_means_never_ends_the_wait_at_once(plan):
    program = f"print('INFO all is well\\nMODEL_LOG - ImportError: no onnx', flush=True); {SLEEP}"
    started = time.monotonic()
    with (
        LocalServer(plan(program, failure_pattern=r"MODEL_LOG - (\w+Error.*)")) as server,
        pytest.raises(MachineError, match=r"^torchserve cannot serve the model: ImportError: no onnx$"),
    ):
        server.wait_ready()
    assert time.monotonic() - started < 10


@pytest.mark.slow
def test_a_port_that_was_taken_meanwhile_is_said_in_the_server_s_own_words(plan):
    port = int(plan().launch.argv[-1])
    with (
        socket.create_server(("127.0.0.1", port)),
        LocalServer(plan()) as server,
        pytest.raises(MachineError, match=r"died at start \(exit code 1\).*Address already in use"),
    ):
        server.wait_ready()


def test_a_program_that_is_not_there_is_named(plan):
    with pytest.raises(MachineError, match=r"cannot start /no/java: No such file or directory"):
        LocalServer(plan(argv=("/no/java",))).start()


def test_a_log_that_cannot_be_written_is_named(plan, tmp_path):
    with pytest.raises(MachineError, match=r"cannot write .*/none/log: No such file"):
        LocalServer(plan(log=tmp_path / "none" / "log")).start()


def test_a_core_we_may_not_use_is_an_error_for_people(plan):
    with pytest.raises(MachineError, match="core"):
        LocalServer(plan(cores=(4095,))).start()


def test_a_server_keeps_to_its_cores_and_gets_its_environment(plan):
    core = min(os.sched_getaffinity(0))
    program = (
        f"import os; print(os.sched_getaffinity(0), os.environ['EXTRA'], os.getcwd(), flush=True); {SLEEP}"
    )
    with LocalServer(plan(program, cores=(core,), env={"EXTRA": "yes"})) as server:
        log = server.plan.launch.log
        assert soon(lambda: log.read_text().strip())
        assert log.read_text().strip() == f"{{{core}}} yes {server.plan.launch.cwd}"


def test_a_dead_server_is_noticed_with_the_moment(plan):
    with LocalServer(plan()) as server:
        server.wait_ready()
        psutil.Process(server.pid).kill()
        assert soon(lambda: not server.alive)
        with pytest.raises(MachineError, match=r"torchserve died in round 3 \(exit code -9, SIGKILL: "):
            server.require_alive("in round 3")
        with pytest.raises(MachineError, match=r"torchserve died in round 3 \(exit code -9, SIGKILL: "):
            server.explain_silence("in round 3")
        assert server.memory_bytes() is None
        server.pause()
        server.resume()


def test_a_silent_server_that_lives_is_said_at_once_to_be_silent(plan):
    with (
        LocalServer(plan(SLEEP)) as server,
        pytest.raises(
            MachineError, match=r"^torchserve stopped answering in round 3; see its log in the run$"
        ),
    ):
        assert server.dying_limit_s == 0
        server.explain_silence("in round 3")


def test_memory_is_that_of_the_whole_tree(plan):
    with LocalServer(plan(env=FAMILY)) as server:
        server.wait_ready()
        assert server.memory_bytes() > psutil.Process(server.pid).memory_full_info().pss


def test_stopping_twice_and_stopping_what_never_started_is_harmless(plan):
    server = LocalServer(plan(SLEEP))
    server.stop()
    with pytest.raises(RuntimeError, match="not started"):
        _ = server.pid
    server.start()
    server.stop()
    server.stop()
    assert not server.alive


def test_an_error_status_is_an_answer(plan):
    with LocalServer(plan()) as server:
        server.wait_ready()
        url = server.plan.endpoint.base_url
        assert fetch(f"{url}/busy")[0] == 503
        assert fetch(url, b'{"a": 1}') == (200, b'application/json {"a": 1}')
        status, child = fetch_json(url)
        assert status == 200
        assert child in family(server)


def test_a_proxy_is_never_asked(plan, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with LocalServer(plan()) as server:
        server.wait_ready()


def test_nothing_listening_is_an_os_error():
    (port,) = free_ports(1)
    with pytest.raises(OSError, match="refused"):
        fetch(f"http://127.0.0.1:{port}")


def answer_once(raw):
    """A server that sends `raw` to whoever comes first, and hangs up; returns its URL."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer():
        with listener, listener.accept()[0] as connection:
            connection.recv(4096)
            connection.sendall(raw)

    threading.Thread(target=answer, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_hanging_up_is_an_os_error():
    with pytest.raises(OSError, match="closed the connection"):
        fetch(answer_once(b""))


@pytest.mark.parametrize(
    "raw", [b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", b"SSH-2.0-OpenSSH_9.2\r\n"]
)
def test_a_broken_answer_is_an_os_error(raw):
    with pytest.raises(OSError):
        fetch(answer_once(raw))


def test_an_answer_that_is_not_json_is_none():
    url = answer_once(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHello")
    assert fetch_json(url) == (200, None)


@pytest.mark.slow
def test_nothing_of_the_runner_imports_a_framework():
    code = (
        "import sys, pipelines.runners.local;"
        "sys.exit(bool({'torch', 'tensorflow', 'keras'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
