"""Addresses to listen on."""

import socket

import pytest

from pipelines.errors import RequestError
from pipelines.hosts import require_host, url_host
from pipelines.http import fetch
from pipelines.processes.group import free_ports, port_holder

needs_ipv6 = pytest.mark.skipif(not socket.has_ipv6, reason="this Python has no IPv6")


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("localhost", "localhost"),
        ("my_host-1.example", "my_host-1.example"),
    ],
)
def test_addresses_and_names_are_hosts(text, host):
    assert require_host(text) == host


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1\nenable_model_api=true",
        "localhost\n",
        "\r\n::1",
        "",
        "-rf",
        "http://127.0.0.1",
        "127.0.0.1:80",
        "::1]",
        "fe80::1%eth0",
        "größe",
        "a b",
        "a" * 64,
    ],
)
def test_anything_else_is_refused_in_one_line(text):
    with pytest.raises(RequestError, match="neither an IP address nor a host name") as caught:
        require_host(text)
    assert "\n" not in str(caught.value)


def test_only_an_ipv6_address_gets_brackets():
    assert [url_host(host) for host in ("::1", "127.0.0.1", "localhost")] == [
        "[::1]",
        "127.0.0.1",
        "localhost",
    ]


@needs_ipv6
def test_ports_are_looked_for_where_they_will_be_used():
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
        port = taken.getsockname()[1]
        assert port_holder(port, "::1")
        assert port_holder(port, "127.0.0.1") is None
    assert len(set(free_ports(5, "::1"))) == 5


def test_our_requests_go_past_any_proxy(monkeypatch):
    (port,) = free_ports(1)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        import threading

        def answer():
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

        thread = threading.Thread(target=answer)
        thread.start()
        assert fetch(f"http://127.0.0.1:{server.getsockname()[1]}/") == (200, b"ok")
        thread.join()
