"""The smoke test asks a server in the formats that its target declares, whatever the target is called."""

import http.server
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import grpc
import numpy as np
import pytest

from loadtests.codecs import find_codec
from models.spec import ModelSpec, Samples, TensorSpec, Tolerance
from pipelines.errors import GateError
from pipelines.parity.quality import Expectation, Expectations
from pipelines.smoke import answers
from pipelines.smoke.checklist import CheckError, NotApplicableError
from pipelines.smoke.subject import Subject
from pipelines.targets.endpoint import Endpoint
from pipelines.targets.protocols import Protocol
from pipelines.targets.registry import TORCHSERVE, TRITON

ROWS = np.arange(60, dtype=np.float32).reshape(20, 3)
SPEC = ModelSpec(
    name="double",
    inputs=(TensorSpec("x", "float32", (None, 3)),),
    outputs=(TensorSpec("y", "float32", (None, 3)),),
    labels=(),
    tolerance=Tolerance(1e-4, 1e-4),
    checkpoint=Path(__file__),
    build_torch=lambda: None,
    test_samples=lambda: Samples({"x": ROWS}),
)
EXPECTED = Expectations({"y": Expectation(ROWS * 2, None, Tolerance(1e-4, 1e-4), "none", name="y")})
PATH = "/ask/{model}"


@pytest.fixture
def subject(monkeypatch):
    """Makes a subject of a target called as told, with these protocols and addresses."""

    def build(name, protocols, base_url="http://127.0.0.1:1", **addresses):
        target = replace(TORCHSERVE, name=name, protocols=protocols)
        monkeypatch.setattr(answers, "find_target", {name: target}.__getitem__)
        endpoint = Endpoint(base_url, "/predict", SPEC.name, lambda: None, addresses=addresses)
        server = SimpleNamespace(plan=SimpleNamespace(endpoint=endpoint))
        return Subject(name, SPEC, Path(), None, server, (), EXPECTED, None)

    return build


@contextmanager
def columns_server(factor):
    """Answers columns at `PATH` alone, with `factor` times what it was given."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            right = self.path == PATH.format(model=SPEC.name) and set(given) == {"inputs"}
            answer = {"outputs": (np.array(given["inputs"]) * factor).tolist()} if right else {"error": "no"}
            body = json.dumps(answer).encode()
            self.send_response(200 if right else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


COLUMNS = (Protocol("http", "json-rows", "/predict"), Protocol("http", "json-columns", PATH))


@pytest.mark.parametrize("name", ["torchserve", "anybody's"])
def test_columns_are_asked_of_every_target_that_declares_them(subject, name):
    with columns_server(2) as url:
        assert answers.rest_columnar(subject(name, COLUMNS, url))
    with columns_server(3) as url, pytest.raises(GateError):
        answers.rest_columnar(subject(name, COLUMNS, url))


def test_a_target_without_columns_is_not_asked_for_them(subject):
    with pytest.raises(NotApplicableError):
        answers.rest_columnar(subject("tfserving", COLUMNS[:1]))


@contextmanager
def grpc_server(method, codec, factor):
    """Answers that method alone, with `factor` times what the first samples are."""
    service, _, name = method.strip("/").partition("/")

    def answer(body, _):
        return codec.answer({"y": ROWS[: codec.rows_count(body)] * factor})

    handlers = grpc.method_handlers_generic_handler(
        service, {name: grpc.unary_unary_rpc_method_handler(answer)}
    )
    server = grpc.server(ThreadPoolExecutor(2), handlers=(handlers,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


@pytest.mark.parametrize("listens_as", answers.GRPC_ADDRESSES)
@pytest.mark.parametrize("target", [TORCHSERVE, TRITON], ids=lambda target: target.name)
@pytest.mark.parametrize("name", ["tfserving", "anybody's"])
def test_grpc_is_asked_by_the_declared_method_and_messages(subject, target, listens_as, name):
    protocol = target.protocols[-1]
    codec = find_codec(protocol.codec)
    with grpc_server(protocol.path, codec, 2) as address:
        assert answers.grpc(subject(name, (protocol,), **{listens_as: address}))
    with grpc_server(protocol.path, codec, 3) as address, pytest.raises(GateError):
        answers.grpc(subject(name, (protocol,), **{listens_as: address}))


def test_grpc_that_is_declared_and_does_not_listen_is_a_failure(subject):
    with pytest.raises(CheckError):
        answers.grpc(subject("anybody's", TORCHSERVE.protocols))
    with pytest.raises(NotApplicableError):
        answers.grpc(subject("torchserve", TORCHSERVE.protocols[:1], gRPC="127.0.0.1:1"))
