import http.server
import json
import threading
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from loadtests.payloads import CheckedOutput, PayloadPool
from pipelines.access import Access
from pipelines.errors import GateError, MachineError
from pipelines.record.implementation import GivenRecord
from pipelines.serve import readiness
from pipelines.targets.endpoint import Endpoint

RIGHT = (1.0, 2.0)
LIMIT_BYTES = 7_000_000
SECRET = "s3cr3t-tOken-0123456789"  # noqa: S105 - what must not be seen


def pool(*bodies):
    return PayloadPool(
        method="POST",
        path="/predict",
        headers={"Content-Type": "application/json"},
        bodies=bodies,
        expected=({"scores": RIGHT},),
        outputs=(CheckedOutput("scores", 1e-5, 1e-5),),
        rows=(1,) * len(bodies),
        samples=tuple(range(len(bodies))),
    )


@contextmanager
def answering(answer):
    """A server on loopback; `answer` gets the body and gives status and predictions, None breaks off."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            given = answer(self.rfile.read(int(self.headers["Content-Length"])))
            if given is None:
                self.connection.close()
                return
            status, predictions = given
            body = json.dumps({"predictions": [predictions]}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield fake_server(f"http://127.0.0.1:{server.server_port}/predict")
        finally:
            server.shutdown()


def fake_server(url):
    given = GivenRecord(
        cores=(), workers_count=1, threads_per_worker=1, batch_max_size=1, memory_limit_bytes=None
    ).model_copy(update={"max_request_bytes": LIMIT_BYTES})
    return SimpleNamespace(
        plan=SimpleNamespace(
            target="torchserve", given=given, endpoint=Endpoint(url, "", "fake", lambda: None)
        ),
        started=0.0,
        wait_ready=lambda: 0.5,
        require_alive=lambda _when: None,
        read_configuration=lambda: None,
    )


def test_a_right_first_answer_is_ready():
    with answering(lambda _body: (200, RIGHT)) as server:
        assert readiness.wait_until_right(server, pool(b"{}")).ready_s == 0.5


@pytest.mark.parametrize(("status", "predictions"), [(200, (1.0, 2.5)), (503, RIGHT)])
def test_a_wrong_first_answer_names_the_sample_what_was_expected_and_what_came(status, predictions):
    with answering(lambda _body: (status, predictions)) as server, pytest.raises(GateError) as raised:
        readiness.wait_until_right(server, pool(b"{}"))
    for figure in ("sample 0", "[1, 2]", f"status {status}", json.dumps(predictions[1])):
        assert figure in str(raised.value)


@pytest.mark.parametrize("status", [400, 200])
def test_what_may_be_why_a_request_is_refused_is_told_where_it_is(status):
    with answering(lambda _body: (status, "no")) as server:
        server.plan.endpoint = replace(server.plan.endpoint, hint="it lists an input 'mask'")
        with pytest.raises(GateError) as first:
            readiness.wait_until_right(server, pool(b"{}"))
        with pytest.raises(GateError) as later:
            readiness.check_endpoint(server, pool(b"0"), {"x": np.zeros((1, 1), np.float32)}, None)
    for error in (first, later):
        assert ("it lists an input 'mask'" in str(error.value)) == (status == 400)


def test_a_wrong_answer_that_echoes_a_secret_header_is_shown_without_it():
    access = Access({"Authorization": f"Bearer {SECRET}"}, (SECRET,))
    verified = SimpleNamespace(expected=SimpleNamespace(outputs=np.array([RIGHT], np.float32)))
    with answering(lambda _body: (200, f"was sent {SECRET}")) as server:
        server.plan.endpoint = replace(server.plan.endpoint, access=access)
        with pytest.raises(GateError, match=r"was sent \*\*\*") as first:
            readiness.wait_until_right(server, pool(b"{}"))
        with pytest.raises(GateError, match=r"was sent \*\*\*") as later:
            readiness.check_endpoint(server, pool(b"0"), {"x": np.zeros((1, 1), np.float32)}, verified)
    assert SECRET not in str(first.value) + str(later.value)


@pytest.mark.parametrize("size_bytes", [LIMIT_BYTES, 100])
def test_the_limit_of_bodies_is_named_where_it_may_be_why_a_server_breaks_off(size_bytes):
    with answering(lambda _body: None) as server, pytest.raises(MachineError) as raised:
        readiness.wait_until_right(server, pool(b" " * size_bytes))
    assert (str(LIMIT_BYTES) in str(raised.value)) == (size_bytes == LIMIT_BYTES)
    assert "torchserve" in str(raised.value)


def test_a_later_answer_that_is_no_prediction_names_its_sample():
    bodies = tuple(str(number).encode() for number in range(3))
    with answering(lambda body: (200, RIGHT) if body != b"2" else (200, "nothing")) as server:
        verified = SimpleNamespace(expected=SimpleNamespace(outputs=np.array([RIGHT] * 3, np.float32)))
        with pytest.raises(GateError, match="sample 2"):
            readiness.check_endpoint(server, pool(*bodies), {"x": np.zeros((3, 1), np.float32)}, verified)
