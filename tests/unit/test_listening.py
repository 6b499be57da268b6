"""Which addresses are this machine's, and who listens on a port of it."""

import socket
import subprocess
import sys

import pytest

from pipelines.machine import listening
from pipelines.machine.listening import is_here, listeners

LISTEN = (
    "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True);"
    "sys.stdin.read()"
)


@pytest.mark.parametrize(
    ("host", "here"), [("127.0.0.1", True), ("127.1.2.3", True), ("localhost", True), ("192.0.2.1", False)]
)
def test_what_is_this_machine(host, here):
    assert is_here(host, 80) is here


def test_an_interface_of_this_machine_is_this_machine(monkeypatch):
    address = type("Address", (), {"address": "192.0.2.1%eth0"})
    monkeypatch.setattr(listening.psutil, "net_if_addrs", lambda: {"eth0": [address]})
    assert is_here("192.0.2.1", 80)


def test_the_process_that_listens_is_found():
    with subprocess.Popen([sys.executable, "-c", LISTEN], stdin=-1, stdout=-1, text=True) as process:
        assert process.stdin is not None
        port = int(process.stdout.readline())
        found = listeners(port)
        process.stdin.close()
    assert found == {process.pid}


def test_nobody_is_found_where_nobody_listens():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert listeners(bound.getsockname()[1]) is None


def fake(tmp_path, name, *, visible=True):
    (tmp_path / "net").mkdir()
    line = "0: 0100007F:2135 00000000:0000 {state} 0:0 0:0 0 0 0 {inode} 1\n"
    table = "head\n" + line.format(state="0A", inode=77) + line.format(state="01", inode=78)
    (tmp_path / "net" / "tcp").write_text(table)
    for pid in (5, 6):
        fds = tmp_path / str(pid) / "fd"
        fds.mkdir(parents=True)
        (fds / "1").symlink_to("socket:[77]" if visible else "socket:[78]")
        (tmp_path / str(pid) / "comm").write_text(f"{name}\n")
    return tmp_path


def test_all_processes_that_share_a_socket_are_found(tmp_path):
    assert listeners(0x2135, fake(tmp_path, "python")) == {5, 6}


@pytest.mark.parametrize("name", ["docker-proxy", "nginx", "ssh"])
def test_who_only_passes_on_is_not_the_server(tmp_path, name):
    assert listeners(0x2135, fake(tmp_path, name)) is None


def test_a_process_that_cannot_be_seen_is_not_known(tmp_path):
    assert listeners(0x2135, fake(tmp_path, "python", visible=False)) is None
