"""The load generator's gRPC client against a server of gRPC's own library, which it shares nothing with."""

import contextlib
import socket
import ssl
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from loadtests.errors import AddressError, PayloadError
from loadtests.grpc_client import NotGrpc, call_once, encode_calls
from loadtests.payloads import PayloadPool
from loadtests.users import grpc_wire
from loadtests.users.grpc_wire import GrpcWire
from loadtests.users.wire import tls_context
from pipelines.processes.group import free_ports, wait_until

LARGEST = 5_000_000
SIZES = (0, 1, 100, 16_379, 16_380, 65_535, 70_000, 1_000_003, LARGEST - 100)


class Service(grpc.GenericRpcHandler):
    """Answers /test.Echo/METHOD."""

    def service(self, details):
        methods = {"Same": self.same, "Refuse": self.refuse, "Twice": self.twice, "Metadata": self.metadata}
        found = methods.get(details.method.rpartition("/")[2])
        return grpc.unary_unary_rpc_method_handler(found) if found else None

    @staticmethod
    def same(body, _context):
        return body

    @staticmethod
    def metadata(_body, context):
        return dict(context.invocation_metadata())["authorization"].encode()

    @staticmethod
    def twice(body, _context):
        return body + body

    @staticmethod
    def refuse(_body, context):
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "zu voll: 100 % \u2013 später")


@pytest.fixture(scope="module")
def url():
    limits = [("grpc.max_receive_message_length", LARGEST)]
    server = grpc.server(ThreadPoolExecutor(4), handlers=(Service(),), options=limits)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"grpc://127.0.0.1:{port}"
    server.stop(0)


def pool(*bodies, path="/test.Echo/Same", headers=None):
    return PayloadPool("POST", path, headers or {}, bodies, transport="grpc")


@pytest.fixture
def ask(url):
    """One call after the other, over connections that are kept."""
    wire = GrpcWire(url, timeout_s=10, concurrency=4)

    def asked(body, path="/test.Echo/Same"):
        (call,) = encode_calls(pool(body, path=path), url)
        connection = wire.idle_connection()
        return wire.exchange(wire.ready(call, connection), connection)

    yield asked
    wire.close()


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory):
    """The same service over TLS, and the file that vouches for it."""
    folder = tmp_path_factory.mktemp("tls")
    names = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
    files = ("-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem"))
    kind = ("ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
    command = ["openssl", "req", "-x509", "-newkey", *kind, "-nodes", "-days", "2", *names, *files]
    subprocess.run(command, check=True, capture_output=True)
    pair = ((folder / "key.pem").read_bytes(), (folder / "cert.pem").read_bytes())
    server = grpc.server(ThreadPoolExecutor(4), handlers=(Service(),))
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    server.start()
    yield f"grpcs://127.0.0.1:{port}", folder / "cert.pem"
    server.stop(0)


def test_over_tls_calls_are_the_same_and_connections_are_kept(encrypted):
    url, certificate = encrypted
    wire = GrpcWire(url, timeout_s=10, concurrency=4, tls=tls_context(ca_file=str(certificate)))
    bodies = (b"one", b"y" * 300_000, b"three")
    kept = None
    for call, body in zip(encode_calls(pool(*bodies), url), bodies, strict=True):
        connection = wire.idle_connection()
        assert (connection is None) == (kept is None)
        assert wire.exchange(wire.ready(call, connection), connection).body == body
        kept = connection or True
    wire.close()
    assert call_once(f"{url}/test.Echo/Same", b"once", 10, {}, _plain_tls(certificate)).body == b"once"


def _plain_tls(certificate):
    context = ssl.create_default_context(cafile=certificate)
    context.set_alpn_protocols(["h2"])
    return context


def test_a_server_that_nobody_vouches_for_is_a_failure_of_tls(encrypted):
    url, _ = encrypted
    wire = GrpcWire(url, timeout_s=10, concurrency=1)
    (call,) = encode_calls(pool(b"x"), url)
    with pytest.raises(ssl.SSLError) as caught:
        wire.exchange(wire.ready(call, None), None)
    assert wire.failure_of(caught.value).kind == "TLS"


def test_who_encrypts_and_does_not_speak_http2_is_not_grpc(encrypted):
    url, certificate = encrypted
    context = ssl.create_default_context(cafile=certificate)
    with pytest.raises((NotGrpc, OSError)):
        call_once(f"{url}/test.Echo/Same", b"", 5, {}, context)


def test_headers_go_along_as_metadata(url):
    sent = call_once(f"{url}/test.Echo/Metadata", b"", 10, {"Authorization": "Bearer abc"})
    assert sent.body == b"Bearer abc"


def test_bodies_of_every_size_come_back_as_they_were(ask):
    """The larger ones are beyond the windows that HTTP/2 begins with."""
    for size in SIZES:
        body = bytes(number % 251 for number in range(1000)) * (size // 1000) + b"x" * (size % 1000)
        answer = ask(body)
        assert (answer.status, answer.failure, len(answer.body)) == (200, None, size)
        assert answer.body == body


def test_a_first_call_beyond_the_first_window_waits_for_the_server_to_say_more(ask):
    assert ask(b"y" * 300_000).body == b"y" * 300_000


def test_a_connection_is_used_again(url):
    wire = GrpcWire(url, timeout_s=10, concurrency=4)
    (call,) = encode_calls(pool(b"again"), url)
    wire.exchange(wire.ready(call, None), None)
    kept = wire.idle_connection()
    assert kept is not None
    for _ in range(300):
        assert wire.exchange(wire.ready(call, kept), kept).body == b"again"
        assert wire.idle_connection() is kept
    assert kept.stream == 603
    wire.give_back(kept)
    wire.close()


def test_a_refusal_has_its_name_its_words_and_the_http_status_that_stands_for_it(ask):
    answer = ask(b"", path="/test.Echo/Refuse")
    assert answer.status == 429
    assert answer.failure == ("grpc RESOURCE_EXHAUSTED", "zu voll: 100 % \u2013 später")
    assert ask(b"fine").body == b"fine"


def test_an_unknown_method_is_unimplemented(ask):
    answer = ask(b"", path="/test.Echo/Nothing")
    assert (answer.status, answer.failure.kind) == (501, "grpc UNIMPLEMENTED")


@pytest.mark.slow
def test_a_body_beyond_the_servers_limit_is_refused_and_the_next_is_answered(ask):
    assert ask(b"z" * (LARGEST + 1)).failure.kind == "grpc RESOURCE_EXHAUSTED"
    assert ask(b"fine").body == b"fine"


def test_the_clock_is_read_when_the_last_byte_came(ask):
    first, second = ask(b"1"), ask(b"2")
    assert 0 < first.done_ns < second.done_ns


def one_answer(answer):
    """A server that sends `answer` to whoever connects, and hangs up."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        connection, _ = listener.accept()
        connection.recv(65536)
        connection.sendall(answer)
        connection.close()
        listener.close()

    threading.Thread(target=serve, daemon=True).start()
    return f"grpc://127.0.0.1:{listener.getsockname()[1]}"


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def text(name, value):
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


HEAD = b"\x88" + text(b"content-type", b"application/grpc")
RIGHT_HEAD = frame(1, 4, 1, HEAD)
RIGHT_END = frame(1, 5, 1, text(b"grpc-status", b"0"))


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"", "closed"),
        (RIGHT_HEAD, "closed"),
        (RIGHT_HEAD + frame(0, 0, 1, b"\0\0\0\0\x05hello"), "closed"),
        (frame(1, 5, 1, b"\x8e"), "not gRPC"),  # status 500
        (frame(1, 5, 1, HEAD), "not gRPC"),  # no grpc-status
        (frame(1, 5, 1, b"\xff\xff\xff\xff\xff\xff\xff\xff"), "not gRPC"),
        (frame(3, 0, 1, b"\0\0\0\x08"), "not gRPC"),  # the call is reset
        (frame(7, 0, 0, b"\0\0\0\0\0\0\0\0"), "closed"),  # the connection is given up
        (
            RIGHT_HEAD + frame(0, 0, 1, b"\0\0\0\0\x09short") + frame(1, 5, 1, text(b"grpc-status", b"0")),
            "not gRPC",
        ),
        (
            RIGHT_HEAD + frame(0, 0, 1, b"\1\0\0\0\x02zz") + frame(1, 5, 1, text(b"grpc-status", b"0")),
            "not gRPC",
        ),
    ],
)
def test_what_is_no_right_answer_is_a_failure_with_a_kind(answer, kind):
    url = one_answer(answer)
    wire = GrpcWire(url, timeout_s=5, concurrency=1)
    (call,) = encode_calls(pool(b"x"), url)
    with pytest.raises(wire.failures) as caught:
        wire.exchange(wire.ready(call, None), None)
    assert wire.failure_of(caught.value).kind == kind
    assert wire.idle_connection() is None


def answer_of(frames):
    url = one_answer(frames)
    wire = GrpcWire(url, timeout_s=5, concurrency=1)
    (call,) = encode_calls(pool(b"x"), url)
    answer = wire.exchange(wire.ready(call, None), None)
    wire.close()
    return answer


def page(status, *more, body=b"<h1>\n Not  you </h1>"):
    """What a proxy answers that knows nothing of gRPC."""
    head = text(b":status", status) + text(b"content-type", b"text/html") + b"".join(more)
    return frame(1, 4, 1, head) + frame(0, 1, 1, body)


@pytest.mark.parametrize(
    ("status", "code", "recorded"),
    [
        (b"401", "UNAUTHENTICATED", 401),
        (b"403", "PERMISSION_DENIED", 403),
        (b"404", "UNIMPLEMENTED", 501),
        (b"429", "UNAVAILABLE", 503),
        (b"502", "UNAVAILABLE", 503),
        (b"503", "UNAVAILABLE", 503),
        (b"504", "UNAVAILABLE", 503),
    ],
)
def test_an_http_status_of_a_proxy_is_read_as_grpc_maps_it(status, code, recorded):
    answer = answer_of(page(status))
    assert answer.status == recorded
    assert answer.failure == (f"grpc {code}", f"HTTP status {status.decode()}: <h1> Not you </h1>")
    assert answer_of(page(status, body=b"")).failure.example == f"HTTP status {status.decode()}"


@pytest.mark.parametrize("status", [b"200", b"204", b"401", b"503"])
def test_a_code_of_grpc_counts_whatever_the_http_status_beside_it(status):
    refused = text(b":status", status) + text(b"grpc-status", b"7") + text(b"grpc-message", b"not%20you")
    answer = answer_of(frame(1, 5, 1, refused))
    assert (answer.status, answer.failure) == (403, ("grpc PERMISSION_DENIED", "not you"))


def test_padded_frames_and_interleaved_pings_are_read():
    padded = frame(0, 8, 1, b"\x03" + b"\0\0\0\0\x05hello" + b"\0\0\0")
    url = one_answer(frame(4, 0, 0) + RIGHT_HEAD + frame(6, 0, 0, b"12345678") + padded + RIGHT_END)
    wire = GrpcWire(url, timeout_s=5, concurrency=1)
    (call,) = encode_calls(pool(b"x"), url)
    assert wire.exchange(wire.ready(call, None), None).body == b"hello"
    wire.close()


def test_the_next_address_of_a_name_is_tried_where_the_first_does_not_answer(url, monkeypatch):
    port = int(url.rpartition(":")[2])
    (free,) = free_ports(1, "127.0.0.1")
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", number)) for number in (free, port)]
    monkeypatch.setattr(grpc_wire.gevent.socket, "getaddrinfo", lambda *_, **__: found)
    wire = GrpcWire(f"grpc://two-addresses.example:{port}", timeout_s=5, concurrency=1)
    (call,) = encode_calls(pool(b"abc"), url)
    assert wire.exchange(wire.ready(call, None), None).body == b"abc"
    assert wire._addresses == [(socket.AF_INET, ("127.0.0.1", port))]
    wire.close()


@pytest.mark.slow
def test_an_address_that_is_slow_is_not_called_refused_because_another_is(monkeypatch):
    with socket.create_server(("127.0.0.1", 0), backlog=0) as busy:
        full = [socket.create_connection(busy.getsockname(), timeout=1)]
        (free,) = free_ports(1, "127.0.0.1")
        places = [busy.getsockname(), ("127.0.0.1", free)]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place) for place in places]
        monkeypatch.setattr(grpc_wire.gevent.socket, "getaddrinfo", lambda *_, **__: found)
        wire = GrpcWire(f"grpc://two-addresses.example:{free}", timeout_s=0.3, concurrency=1)
        (call,) = encode_calls(pool(b"x"), "grpc://127.0.0.1:1")
        with pytest.raises(wire.failures) as caught:
            wire.exchange(wire.ready(call, None), None)
        assert wire.failure_of(caught.value).kind == "timeout"
        full[0].close()


@pytest.mark.parametrize("size", [0, 16_379, 16_380, 1_000_003])
def test_the_null_server_answers_with_bodies_of_every_size(size, tmp_path):
    (port,), body = free_ports(1, "127.0.0.1"), tmp_path / "body"
    body.write_bytes(bytes(size))
    options = ["--grpc", f"--port={port}", f"--body-file={body}"]
    with subprocess.Popen([sys.executable, "-m", "loadtests.servers.null", *options]) as server:
        try:
            assert wait_until(lambda: _listens(port), limit_s=20)
            assert call_once(f"grpc://127.0.0.1:{port}/test.Echo/Same", b"x", 10).body == bytes(size)
        finally:
            server.terminate()


def _listens(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


def test_nobody_there_and_silence_have_kinds_of_their_own():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        url = f"grpc://127.0.0.1:{port}"
        wire = GrpcWire(url, timeout_s=0.2, concurrency=1)
        (call,) = encode_calls(pool(b"x"), url)
        with pytest.raises(TimeoutError) as caught:
            wire.exchange(wire.ready(call, None), None)
        assert wire.failure_of(caught.value).kind == "timeout"
    with pytest.raises(ConnectionRefusedError) as refused:
        wire.exchange(wire.ready(call, None), None)
    assert wire.failure_of(refused.value).kind == "refused"


@pytest.mark.parametrize("bad", ["http://127.0.0.1:1", "grpc://127.0.0.1", "grpc://", "grpc://h:1/path", "x"])
def test_other_addresses_are_refused_with_the_allowed_form(bad):
    with pytest.raises(AddressError, match="grpc://HOST:PORT"):
        GrpcWire(bad, timeout_s=1, concurrency=1)


@pytest.mark.parametrize("headers", [{"a": "b\r\nc"}, {"a\n": "b"}, {"a": "é"}, {"a": "x" * 20_000}])
def test_headers_that_would_break_a_call_are_refused(headers):
    with pytest.raises(PayloadError):
        encode_calls(pool(b"x", headers=headers), "grpc://127.0.0.1:1")
