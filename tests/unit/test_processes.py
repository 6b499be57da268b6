import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from orphans import reaped_orphans  # noqa: F401 - a fixture

from pipelines.processes import group as processes
from pipelines.processes.group import (
    before_exec,
    end_group,
    free_ports,
    how_it_ended,
    last_lines,
    port_holder,
    tree_memory_bytes,
    wait_until,
)

pytestmark = pytest.mark.usefixtures("reaped_orphans")

SLEEP = "import time; time.sleep(60)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); {SLEEP}"
POLITE = """
import pathlib, signal, sys, time
def leave(*_):
    pathlib.Path(sys.argv[1]).write_text("said goodbye")
    sys.exit()
signal.signal(signal.SIGTERM, leave)
print("up", flush=True)
time.sleep(60)
"""
PARENT_OF = """
import subprocess, sys, time
kind, program = sys.argv[1:]
command, apart = [sys.executable, "-c", program], kind == "session"
child = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=apart)
if "up" in program:
    child.stdout.readline()
child.stdout.close()
print(child.pid, flush=True)
if kind != "orphan":
    time.sleep(60)
"""


def start(program, *arguments):
    """A group of its own, after its first line."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)], stdout=subprocess.PIPE, start_new_session=True
    )
    with process.stdout as lines:
        return process, lines.readline().decode().strip()


def gone(pid):
    return wait_until(lambda: not psutil.pid_exists(pid) or is_zombie(pid), limit_s=3, interval_s=0.01)


def is_zombie(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_process_may_say_goodbye(tmp_path):
    process, _ = start(POLITE, tmp_path / "word")
    end_group(process)
    assert (tmp_path / "word").read_text() == "said goodbye"
    assert process.returncode == 0


def test_a_process_that_ignores_the_request_is_killed_after_its_grace():
    process, _ = start(STUBBORN)
    started = time.monotonic()
    end_group(process, grace_s=0.2)
    assert process.returncode == -signal.SIGKILL
    assert 0.2 <= time.monotonic() - started < 20


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["group", "session"])
@pytest.mark.parametrize("program", [STUBBORN], ids=["stubborn"])
def test_grandchildren_end_too_even_in_a_session_of_their_own(kind, program):
    process, grandchild = start(PARENT_OF, kind, program)
    end_group(process, grace_s=2)
    assert process.returncode is not None
    assert gone(int(grandchild))


def test_grandchildren_may_say_goodbye_as_well(tmp_path):
    process, _ = start(PARENT_OF, "group", POLITE.replace("sys.argv[1]", repr(str(tmp_path / "word"))))
    end_group(process)
    assert (tmp_path / "word").read_text() == "said goodbye"


def test_grandchildren_end_when_their_parent_had_ended_before():
    process, grandchild = start(PARENT_OF, "orphan", STUBBORN)
    process.wait(10)
    assert psutil.pid_exists(int(grandchild))
    end_group(process, grace_s=0.2)
    assert gone(int(grandchild))


def test_a_paused_group_may_say_goodbye_as_well(tmp_path):
    process, _ = start(POLITE, tmp_path / "word")
    os.killpg(process.pid, signal.SIGSTOP)
    started = time.monotonic()
    end_group(process, grace_s=30)
    assert time.monotonic() - started < 25
    assert (tmp_path / "word").read_text() == "said goodbye"


@pytest.mark.slow
def test_a_paused_family_leaves_nobody():
    process, grandchild = start(PARENT_OF, "session", STUBBORN)
    for pid in (process.pid, int(grandchild)):
        os.kill(pid, signal.SIGSTOP)
    end_group(process, grace_s=0.2)
    assert gone(process.pid)
    assert gone(int(grandchild))


def test_ending_twice_is_harmless():
    process, _ = start("print('up', flush=True)")
    process.wait(10)
    end_group(process)
    end_group(process)
    assert process.returncode == 0


def test_a_started_child_dies_with_us_however_we_end():
    program = (
        "import subprocess, sys, time\n"
        "from pipelines.processes.group import before_exec\n"
        f"child = subprocess.Popen([sys.executable, '-c', {SLEEP!r}], preexec_fn=before_exec(), "
        "start_new_session=True)\n"
        "print(child.pid, flush=True); time.sleep(60)"
    )
    parent, child = start(program)
    assert psutil.pid_exists(int(child))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert gone(int(child))


def test_a_child_keeps_to_its_cores():
    core = min(os.sched_getaffinity(0))
    program = "import os; print(sorted(os.sched_getaffinity(0)))"
    command = [sys.executable, "-c", program]
    bound = subprocess.run(
        command, capture_output=True, text=True, check=True, preexec_fn=before_exec([core])
    )
    free = subprocess.run(command, capture_output=True, text=True, check=True, preexec_fn=before_exec())
    assert bound.stdout.strip() == f"[{core}]"
    assert free.stdout.strip() == str(sorted(os.sched_getaffinity(0)))


def test_memory_counts_the_whole_tree():
    hungry = "x = bytearray(b'x') * 60_000_000; print('up', flush=True); import time; time.sleep(60)"
    process, grandchild = start(PARENT_OF, "group", hungry)
    try:
        assert tree_memory_bytes(int(grandchild)) > 60_000_000
        assert tree_memory_bytes(process.pid) > tree_memory_bytes(int(grandchild))
    finally:
        end_group(process)


def test_the_memory_of_nobody_is_not_measured():
    process, _ = start("print('up', flush=True)")
    process.wait()
    assert tree_memory_bytes(process.pid) is None


def test_free_ports_are_different_and_can_be_bound():
    ports = free_ports(20)
    assert len(set(ports)) == 20
    for port in ports:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))


def test_free_ports_are_given_to_no_outgoing_connection():
    first = int(processes.OUTGOING_PORTS.read_text().split()[0])
    if first <= processes.FIRST_PORT + 100:
        pytest.skip("this machine gives nearly all ports to outgoing connections")
    assert all(processes.FIRST_PORT <= port < first for port in free_ports(50))


def test_no_port_is_found_twice_before_all_others_were(monkeypatch):
    """All servers of a block are planned before the first one listens on any of its ports."""
    monkeypatch.setattr(processes, "_lately", deque(maxlen=2000))
    monkeypatch.setattr(processes, "_ports_of_nobody", lambda: range(20_000, 20_040))
    found = [free_ports(5) for _ in range(6)]
    assert len({port for ports in found for port in ports}) == 30
    again = [free_ports(5) for _ in range(3)]
    assert len({port for ports in again for port in ports}) == 15
    assert all(20_000 <= port < 20_040 for ports in again for port in ports)


def test_where_the_kernel_chooses_no_port_is_found_twice_either(monkeypatch):
    real, calls = processes.bound_socket, []
    with real("127.0.0.1", 0) as one:
        before = one.getsockname()[1]

    def bound(host, port):
        calls.append(port)
        return real(host, before if len(calls) == 1 else port)

    monkeypatch.setattr(processes, "_ports_of_nobody", lambda: range(0))
    monkeypatch.setattr(processes, "_lately", deque([before], maxlen=10))
    monkeypatch.setattr(processes, "bound_socket", bound)
    assert free_ports(1) != [before]
    assert calls == [0, 0]


def test_where_every_port_is_taken_the_kernel_chooses_one(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(processes, "_ports_of_nobody", lambda: range(port, port + 1))
        ports = free_ports(3)
    assert len({*ports, port}) == 4


@pytest.mark.parametrize("given", ["1024 65535", "", "none"])
def test_where_all_ports_are_for_outgoing_connections_the_kernel_chooses_one(tmp_path, monkeypatch, given):
    monkeypatch.setattr(processes, "OUTGOING_PORTS", tmp_path / "range")
    (tmp_path / "range").write_text(given)
    assert len(set(free_ports(3))) == 3


def test_a_free_port_has_no_holder():
    assert port_holder(free_ports(1)[0]) is None


def test_a_port_just_left_is_free():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            server.accept()[0].close()  # leaves the port in TIME_WAIT on the server's side
    assert port_holder(port) is None


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])  # noqa: S104 - what is asked for
def test_the_holder_of_a_port_is_named(host):
    with socket.create_server(("127.0.0.1", 0)) as server:
        holder = port_holder(server.getsockname()[1], host)
    assert holder == f"{psutil.Process().name()}, pid {os.getpid()}"


def test_a_holder_we_may_not_see_is_still_a_holder(monkeypatch):
    def denied(kind):
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", denied)
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert port_holder(server.getsockname()[1]) == "a process of another user"


@given(st.lists(st.text("ab \t", max_size=5), max_size=12), st.integers(1, 7))
def test_the_last_lines_are_those_with_something_in_them(tmp_path_factory, lines, count):
    path = tmp_path_factory.mktemp("log") / "log"
    path.write_text("\n".join(lines))
    filled = [line.strip() for line in lines if line.strip()]
    said = last_lines(path, count)
    assert said.split(" | ") == (filled[-count:] or [""])
    assert "\n" not in said


def test_what_executorch_says_at_every_start_hides_nothing(tmp_path):
    path = tmp_path / "log"
    path.write_text("it broke\n[cpuinfo_utils.cpp:87] no midr\n[threadpool.cpp:66] Resetting\n")
    assert last_lines(path) == "it broke"


def test_the_frames_of_a_java_stack_hide_nothing(tmp_path):
    path = tmp_path / "log"
    path.write_text(
        "java.io.IOException: Failed to bind to address /127.0.0.1:22050\n"
        "\tat io.grpc.internal.ServerImpl.start(ServerImpl.java:184)\n"
        "\tat org.pytorch.serve.ModelServer$1.run(ModelServer.java:101)\n"
        "Caused by: bind(..) failed: Address already in use\n"
        "\tat java.base/java.lang.Thread.run(Unknown Source)\n\t... 12 more\n"
    )
    assert last_lines(path) == (
        "java.io.IOException: Failed to bind to address /127.0.0.1:22050 | "
        "Caused by: bind(..) failed: Address already in use"
    )


def test_a_log_that_is_not_there_or_not_text_is_no_trouble(tmp_path):
    assert last_lines(tmp_path / "none") == ""
    (tmp_path / "binary").write_bytes(b"\xff\xfe\nend")
    assert last_lines(tmp_path / "binary").endswith("| end")


def test_waiting_ends_when_it_is_true_or_when_the_time_is_up():
    answers = iter([False, False, True])
    assert wait_until(lambda: next(answers), limit_s=5, interval_s=0.001)
    assert list(answers) == []
    started = time.monotonic()
    assert not wait_until(lambda: False, limit_s=0.05, interval_s=0.01)
    assert 0.05 <= time.monotonic() - started < 20


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, ["exit code 0"]),
        (3, ["exit code 3"]),
        (None, ["exit code None"]),
        (-signal.SIGSEGV, ["exit code -11", "SIGSEGV"]),
        (-signal.SIGKILL, ["exit code -9", "SIGKILL", "memory"]),
        (-63, ["exit code -63", "signal 63"]),
    ],
)
def test_an_end_is_told_with_its_signal(code, words):
    assert all(word in how_it_ended(code) for word in words)
    assert ("memory" in how_it_ended(code)) == (code == -signal.SIGKILL)


def test_a_kill_for_want_of_memory_is_told_as_one(monkeypatch):
    # The tests that ran before may have had processes killed for want of memory.
    monkeypatch.setattr(processes, "oom_kills", lambda: processes.OOM_KILLS_BEFORE)
    assert "out of memory" not in how_it_ended(-signal.SIGKILL)
    monkeypatch.setattr(processes, "oom_kills", lambda: processes.OOM_KILLS_BEFORE + 2)
    assert "out of memory" in how_it_ended(-signal.SIGKILL)


@pytest.mark.parametrize(("limit", "named"), [(64, True), (255, True), (256, False), (1024, False)])
def test_a_low_limit_of_open_files_stands_beside_what_a_process_said_last(tmp_path, limit, named):
    log = tmp_path / "server.log"
    log.write_text("java.lang.NoClassDefFoundError: io/netty/channel/epoll/Native\n")
    program = (
        "import pathlib, sys; from pipelines.processes.group import last_lines; "
        "print(last_lines(pathlib.Path(sys.argv[1])))"
    )
    done = subprocess.run(
        ["bash", "-c", f'ulimit -n {limit}; exec "$@"', "-", sys.executable, "-c", program, str(log)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "NoClassDefFoundError" in done.stdout
    assert (f"only {limit} files" in done.stdout) == named
