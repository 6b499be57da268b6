"""What HTTP's connections leave behind."""

import socket
import threading
from pathlib import Path

import pytest

from loadtests.users.wire import Wire

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def ports_held(peer_port):
    """States of this machine's connections to a port."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [row[3] for row in rows if row[2].endswith(f":{peer_port:04X}")]


def exchanged(listener, answer):
    """One exchange with a server that sends `answer`: what the server reads last, what the client raises."""
    port, seen = listener.getsockname()[1], []

    def serve():
        connection, _ = listener.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(answer)
            try:
                seen.append(connection.recv(1000))
            except OSError as error:
                seen.append(type(error))

    server = threading.Thread(target=serve)
    server.start()
    wire, raised = Wire(f"http://127.0.0.1:{port}", timeout_s=0.3, concurrency=1), None
    try:
        wire.exchange(REQUEST, None)
    except OSError as error:
        raised = type(error)
    wire.close()
    server.join(10)
    return seen, raised, ports_held(port)


@pytest.mark.slow
@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"])
def test_a_request_that_is_given_up_holds_no_port(listener, answer):
    assert exchanged(listener, answer) == ([ConnectionResetError], TimeoutError, [])


def test_a_connection_that_was_answered_ends_in_order(listener):
    seen, raised, _ = exchanged(listener, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert (seen, raised) == ([b""], None)
