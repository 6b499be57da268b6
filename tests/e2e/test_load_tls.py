"""The locustfile against a server that speaks TLS or encodes answers unasked, and odd addresses."""

import gzip
import http.server
import json
import shutil
import ssl
import subprocess
import threading
import zlib
from contextlib import contextmanager
from functools import partial

import pytest
from load_harness import ROOT, several_tries
from locust_forks import forking

from loadtests.payloads import CheckedOutput, PayloadPool

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate"),
]
ANSWER = json.dumps({"predictions": [[0.0]]}).encode()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A self-made certificate of 127.0.0.1, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    names = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
    files = ("-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem"))
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names, *files]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@contextmanager
def server(certificate=None, body=ANSWER, **headers):
    """A server that answers `body` to every POST; yields its port and the list of paths asked for."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(self.path)
            self.send_response(200)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    class Quiet(http.server.ThreadingHTTPServer):
        def handle_error(self, *_):
            pass

    with Quiet(("127.0.0.1", 0), Handler) as listening:
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
            listening.socket = context.wrap_socket(listening.socket, server_side=True)
        thread = threading.Thread(target=listening.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield listening.server_address[1], asked
        finally:
            listening.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def forks():
    """Locust, imported once for all tests here."""
    with forking() as started:
        yield started


@pytest.fixture
def locust(forks, tmp_path):
    return partial(load, forks, tmp_path)


def load(forks, folder, *options):
    """The share of failed requests, the number of all, and what Locust printed."""
    body = b'{"instances":[[0]]}'
    outputs = (CheckedOutput("scores", 0.0, 0.0),)
    PayloadPool("POST", "/predict", {}, (body,), ({"scores": (0.0,)},), outputs).save(folder / "pool.zip")
    arguments = ["-f", str(ROOT / "loadtests" / "locustfile.py"), "--headless", "--json", "-u", "1"]
    arguments += ["-t", "1s", "--payloads", str(folder / "pool.zip"), "--check-share", "1", *options]
    done = forks.run(arguments, folder)
    lines = json.loads(done.stdout) if done.stdout.strip().startswith("[") else []
    count, failed = (sum(line[name] for line in lines) for name in ("num_requests", "num_failures"))
    return done, count, failed


def test_https_is_encrypted_and_the_certificate_is_looked_at(locust, certificate):
    with server(certificate) as (port, asked):
        url = f"https://127.0.0.1:{port}"
        vouched, count, failed = locust("--host", url, "--ca-file", str(certificate / "cert.pem"))
        assert count > 10, vouched.stderr
        assert failed == 0, vouched.stderr
        assert len(asked) == count
        _, count, failed = locust("--host", url, "--insecure")
        assert count > 10
        assert failed == 0
        before = len(asked)
        unknown, count, failed = locust("--host", url)
        assert count == failed > 0
        assert unknown.returncode == 1
        assert len(asked) == before


def test_https_to_a_server_without_tls_is_no_success(locust):
    with server() as (port, asked):
        _, count, failed = locust("--host", f"https://127.0.0.1:{port}", "--insecure")
    assert count == failed > 0
    assert asked == []


@pytest.mark.parametrize(
    ("encoding", "body", "words"),
    [
        ("gzip", gzip.compress(ANSWER), None),
        ("deflate", zlib.compress(ANSWER), None),
        ("br", b"\x0b\x02\x80", "encoded answer"),
        ("gzip", ANSWER, "encoded answer"),
        ("gzip", gzip.compress(ANSWER)[:-9], "encoded answer"),
    ],
    ids=["gzip", "deflate", "unknown", "not gzip", "cut off"],
)
@several_tries
def test_an_answer_encoded_unasked_is_decoded_or_called_so(locust, encoding, body, words):
    with server(body=body, Content_Encoding=encoding) as (port, _):
        done, count, failed = locust("--host", f"http://127.0.0.1:{port}")
    assert count > 10, done.stderr
    assert failed == (count if words else 0)
    assert words is None or words in done.stderr


@pytest.mark.parametrize("host", ["127.0.0.1:80", "ftp://127.0.0.1", "//127.0.0.1", "http://", "http://a:b"])
def test_an_address_without_a_known_scheme_is_refused(locust, host):
    done, count, _ = locust("--host", host)
    assert done.returncode == 2
    assert count == 0
    assert "is not an address to load" in done.stderr
    assert "Traceback" not in done.stderr


def test_certificates_that_cannot_be_read_are_named(locust):
    done, _, _ = locust("--host", "https://127.0.0.1:1", "--ca-file", "/nowhere.pem")
    assert done.returncode == 2
    assert "/nowhere.pem" in done.stderr
