"""How running endpoints are got at: secrets that leave no trace, refusals, redirects, and busy servers."""

import http.server
import json
import threading
from contextlib import contextmanager

import pytest
from test_grpc_wire import one_answer, page

from loadtests.private import BLOT, blotted
from pipelines import access
from pipelines.access import Access, hidden, read_accesses
from pipelines.cli.exits import explain
from pipelines.errors import MachineError, RequestError

SECRET = "s3cr3t-tOken-0123456789"  # noqa: S105 - what must not be seen


@contextmanager
def serving(answer):
    """A server that answers as `answer(path, headers)` says: status, headers, body; yields its URL."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            length = int(self.headers.get("Content-Length") or 0)
            self.rfile.read(length)
            asked.append((self.path, dict(self.headers)))
            status, headers, body = answer(self.path, self.headers)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - the base class' name

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", asked
        finally:
            # Its socket closed, the thread would ask for it without a pause until this process of tests ends.
            server.shutdown()


def test_a_server_of_these_tests_ends_though_what_asks_it_fails():
    before = set(threading.enumerate())
    with pytest.raises(ZeroDivisionError), serving(lambda *_: (200, {}, b"")):
        (thread,) = set(threading.enumerate()) - before
        raise ZeroDivisionError
    thread.join(20)
    assert not thread.is_alive()


def with_secret(monkeypatch, *headers, name="TOKEN"):
    monkeypatch.setenv(name, SECRET)
    return read_accesses(headers or (f"Authorization: Bearer env:{name}",), None, insecure=False)


def test_a_secret_comes_from_the_environment_and_is_not_inherited(monkeypatch):
    found = with_secret(monkeypatch)
    assert found.of("any").headers == {"Authorization": f"Bearer {SECRET}"}
    assert "TOKEN" not in access.os.environ
    assert SECRET not in repr(found) + repr(found.of("any")) + str(found)


@pytest.mark.parametrize(
    "header", ["X-Api-Key:env:TOKEN", "new=X-Api-Key:env:TOKEN", "X-Api-Key:\tenv:TOKEN "]
)
def test_a_secret_is_not_inherited_however_its_header_is_spaced(monkeypatch, header):
    assert with_secret(monkeypatch, header).of("new").headers == {"X-Api-Key": SECRET}
    assert "TOKEN" not in access.os.environ


def test_a_secret_is_not_inherited_where_there_is_no_c_library_to_load(monkeypatch):
    def refuse(_):
        raise OSError("Dynamic loading not supported")

    monkeypatch.setattr(access.ctypes, "CDLL", refuse)
    assert with_secret(monkeypatch).of("any").headers == {"Authorization": f"Bearer {SECRET}"}
    assert "TOKEN" not in access.os.environ


def test_a_secret_comes_from_a_file_without_its_line_break(tmp_path):
    (tmp_path / "key").write_text(f"{SECRET}\n")
    found = read_accesses((f"X-Api-Key: file:{tmp_path / 'key'}",), None, insecure=False)
    assert found.of("any").headers == {"X-Api-Key": SECRET}


def test_a_header_of_one_side_is_sent_to_no_other(monkeypatch):
    found = with_secret(monkeypatch, "today=Authorization: env:TOKEN", "X-Tenant: red")
    assert found.of("today").headers == {"Authorization": SECRET, "X-Tenant": "red"}
    assert found.of("new").headers == {"X-Tenant": "red"}
    found.require_sides(["today", "new"])
    with pytest.raises(RequestError, match="today=Authorization is for no running endpoint; those are: new"):
        found.require_sides(["new"])


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (f"Authorization: Bearer {SECRET}", "everybody on this machine can read"),
        (f"x-api-key: {SECRET}", "everybody on this machine can read"),
        (f"Cookie: id={SECRET}", "everybody on this machine can read"),
        (SECRET, "no header"),
        (f"{SECRET} {SECRET}: x", "no header"),
        ("Authorization: env:NOBODY_SET_THIS", "the variable NOBODY_SET_THIS, which is not set"),
        ("Authorization: file:/nowhere/at-all", "cannot be read"),
        ("Authorization: file:~nobody-has-this-name/x", "cannot be read"),
        ("X-Tenant:", "empty"),
        ("X-Tenant: a\nb", "no header may hold"),
        ("Content-Length: 3", "the load generator's own"),
    ],
)
def test_a_header_that_cannot_be_is_refused_without_showing_it(header, said):
    with pytest.raises(RequestError, match=said) as caught:
        read_accesses((header,), None, insecure=False)
    assert SECRET not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_ca_file_without_certificates_is_refused(tmp_path):
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(RequestError, match=r"ca\.pem holds no certificates"):
        read_accesses((), tmp_path / "ca.pem", insecure=False)


def test_the_recorded_command_has_no_value_of_a_header():
    typed = [
        "compare",
        "--header",
        "X-Tenant: red one",
        "--header=X-Other: blue",
        "--header",
        "A: Bearer env:T",
    ]
    assert hidden(typed) == ["compare", "--header", "X-Tenant: ***", "--header=X-Other: ***", *typed[4:]]


@pytest.mark.parametrize("text", [f"no {SECRET}", f"Bearer {SECRET}.", f"cut off: {SECRET[:9]}"])
def test_what_a_server_quotes_is_blotted_out(text):
    found = blotted(text, [f"Bearer {SECRET}"])
    assert BLOT in found
    assert SECRET[:9] not in found


def test_ordinary_words_are_not_blotted_out():
    assert blotted("Bearer of a token", ["Bearer abc"]) == "Bearer of a token"


@pytest.mark.parametrize(
    ("status", "headers", "kind", "said"),
    [
        (401, {}, RequestError, "answers 401"),
        (403, {}, RequestError, "answers 403"),
        (
            302,
            {"Location": f"https://elsewhere/?t={SECRET}"},
            RequestError,
            "redirects to https://elsewhere/",
        ),
        (308, {"Location": "/other"}, RequestError, "redirects to /other"),
        (503, {"Retry-After": "120"}, MachineError, "come again after 120 s"),
        (429, {"Retry-After": "0"}, MachineError, "come again after 0 s"),
    ],
)
def test_who_refuses_us_is_said_without_the_secret(monkeypatch, status, headers, kind, said):
    ours = with_secret(monkeypatch).of("any")
    said_back = f"you said {SECRET}".encode()
    with (
        serving(lambda *_: (status, headers, said_back)) as (url, asked),
        pytest.raises(kind, match=said) as caught,
    ):
        ours.ask(f"{url}/x", b"{}")
    assert SECRET not in str(caught.value)
    assert asked[0][1]["Authorization"] == f"Bearer {SECRET}"
    assert len(asked) == (access.TRIES if headers.get("Retry-After") == "0" else 1)


@pytest.mark.parametrize(("status", "said"), [(b"401", "answers 401"), (b"403", "answers 403")])
def test_a_proxy_that_refuses_a_grpc_call_in_plain_http_is_said_without_the_secret(monkeypatch, status, said):
    url = one_answer(page(status, body=f"no {SECRET}".encode()))
    with pytest.raises(RequestError, match=rf"{said} .*HTTP status {status.decode()}.*--header") as caught:
        with_secret(monkeypatch).of("any").ask(f"{url}/a.B/C", b"")
    assert SECRET not in str(caught.value)
    assert explain(caught.value)[1] == 2


def test_who_is_busy_for_a_moment_is_asked_again():
    answers = iter([(503, {"Retry-After": "0"}, b""), (200, {}, b"{}")])
    with serving(lambda *_: next(answers)) as (url, asked):
        assert Access().ask(url) == (200, b"{}")
    assert len(asked) == 2


def test_no_redirect_is_followed_so_that_no_header_goes_elsewhere(monkeypatch):
    with (
        serving(lambda *_: (200, {}, b"{}")) as (other, asked_there),
        serving(lambda *_: (307, {"Location": other}, b"")) as (url, _),
        pytest.raises(RequestError),
    ):
        with_secret(monkeypatch).of("any").ask(url)
    assert asked_there == []


def test_a_right_answer_is_given_as_it_is(monkeypatch):
    body = json.dumps({"outputs": SECRET}).encode()
    with serving(lambda *_: (200, {}, body)) as (url, _):
        assert with_secret(monkeypatch).of("any").ask(url, b"{}") == (200, body)


@pytest.mark.parametrize("scheme", ["https", "grpcs"])
def test_a_server_that_does_not_encrypt_is_said_to_be_one(scheme):
    with (
        serving(lambda *_: (200, {}, b"")) as (url, _),
        pytest.raises(MachineError, match=r"TLS with .*--ca-file"),
    ):
        Access(timeout_s=5).ask(url.replace("http", scheme) + "/a.B/C", b"")
