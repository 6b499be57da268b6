"""A server of the tiny model (tiny_models.py) that knows every API, in this process and without a framework.

It reads requests and writes answers by itself, with what Python and NumPy have, and not with our codecs: a
fault of theirs would not be noticed if both ends had it.
"""

import http.server
import io
import json
import runpy
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from loadtests.protos import message
from pipelines.processes.group import free_ports

MODEL = "m"
NO_SUCH_MODEL = {"error": "there is no such model"}
AVAILABLE = 30
DT_FLOAT = 1
OIP_TENSORS = {
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 3]}],
}


@dataclass(frozen=True)
class Tls:
    """The files of a certificate of 127.0.0.1 that vouches for itself."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Asked:
    """One request as the server saw it: when, how, what for, and its headers or metadata in lower case."""

    at_ns: int
    method: str
    path: str
    headers: Mapping[str, str]

    @property
    def is_prediction(self) -> bool:
        """Whether rows were to be answered."""
        ends = (":predict", "/infer", "/predict", f"/predictions/{MODEL}", "/Predict", "Infer", "Predictions")
        return self.method != "GET" and self.path.endswith(ends)


class Refused(Exception):  # noqa: N818 - an answer
    """What is answered in place of rows, over gRPC."""

    def __init__(self, code: grpc.StatusCode, text: str = "refused") -> None:
        super().__init__(text)
        self.code = code


@dataclass
class Stub:
    """The server's model, what it was asked, and how it is to behave.

    Attributes:
        http, grpc: its ports.
        wrong: whether every number is another one.
        knows_all: whether a model that it does not have is answered as the one it has.
        before: called with the number of each prediction over gRPC, from 1; raises `Refused`.
    """

    weights: np.ndarray
    http: int = 0
    grpc: int = 0
    wrong: bool = False
    knows_all: bool = False
    before: Callable[[int], None] = lambda _number: None
    asked: list[Asked] = field(default_factory=list)

    def scores(self, rows: Any) -> np.ndarray:
        found = np.asarray(rows, np.float32) @ self.weights.T
        return -found - 1 if self.wrong else found

    def has(self, model: str) -> bool:
        return self.knows_all or model == MODEL

    def note(self, method: str, path: str, headers: Mapping[str, str]) -> None:
        lower = {key.lower(): headers[key] for key in headers}
        self.asked.append(Asked(time.monotonic_ns(), method, path, lower))

    @property
    def predictions(self) -> list[Asked]:
        return [one for one in self.asked if one.is_prediction]


def addresses(stub: Stub, *, secure: bool) -> dict[str, str]:
    """Sides for every API that the stub speaks, by name."""
    end = "s" if secure else ""
    rest, call = f"http{end}://127.0.0.1:{stub.http}", f"grpc{end}://127.0.0.1:{stub.grpc}/{MODEL}"
    return {
        "plain": f"plain+{rest}/predict",
        **{f"{api}-rest": f"{api}+{rest}/{MODEL}" for api in ("tfserving", "torchserve", "oip")},
        **{f"{api}-grpc": f"{api}+{call}" for api in ("tfserving", "torchserve", "oip")},
    }


def as_sides(named: Mapping[str, str]) -> str:
    """What --sides takes."""
    return ",".join(f"{name}={address}" for name, address in named.items())


@contextmanager
def serving(place: Path, tls: Tls | None = None) -> Iterator[Stub]:
    """The model in `place`, over REST and gRPC, encrypted if there is a certificate."""
    (port,) = free_ports(1, "127.0.0.1")
    stub = Stub(runpy.run_path(str(place / "tiny.py"))["WEIGHTS"], grpc=port)
    calls = grpc.server(ThreadPoolExecutor(32), options=[("grpc.so_reuseport", 0)])
    calls.add_generic_rpc_handlers((_Calls(stub),))
    where = f"127.0.0.1:{port}"
    if tls is None:
        calls.add_insecure_port(where)
    else:
        pair = (tls.key.read_bytes(), tls.certificate.read_bytes())
        calls.add_secure_port(where, grpc.ssl_server_credentials([pair]))
    calls.start()
    with _Rest(stub, tls) as rest:
        stub.http = rest.server_address[1]
        thread = threading.Thread(target=rest.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield stub
        finally:
            rest.shutdown()
            thread.join()
            calls.stop(None).wait()


class _Rest(http.server.ThreadingHTTPServer):
    """Shakes hands in each connection's own thread: one that does not answer holds up nobody else."""

    request_queue_size = 64

    def __init__(self, stub: Stub, tls: Tls | None) -> None:
        self.stub = stub
        super().__init__(("127.0.0.1", 0), _Handler)
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls.certificate, tls.key)
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, *_: object) -> None:
        """Say nothing of who breaks off."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Rest

    def do_GET(self) -> None:
        self.server.stub.note("GET", self.path, self.headers)
        self._answer(*_rest_about(self.server.stub, self.path))

    def do_POST(self) -> None:
        stub = self.server.stub
        body = self.rfile.read(int(self.headers["Content-Length"]))
        stub.note("POST", self.path, self.headers)
        model, answer = _rest_rows(self.path)
        self._answer(*((200, answer(stub, json.loads(body))) if stub.has(model) else (404, NO_SUCH_MODEL)))

    def _answer(self, status: int, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def _rest_about(stub: Stub, path: str) -> tuple[int, Any]:
    """Status and content of what a server reports of itself."""
    known: dict[str, Any] = {
        "/ping": {"status": "Healthy"},
        "/predict": {},
        "/v2": {"name": "stub", "version": "7", "extensions": []},
        "/v2/health/ready": {},
        f"/v2/models/{MODEL}": {"name": MODEL, "versions": ["1"], "platform": "stub", **OIP_TENSORS},
        f"/v2/models/{MODEL}/ready": {},
        f"/v1/models/{MODEL}": {"model_version_status": [{"version": "1", "state": "AVAILABLE"}]},
        f"/v1/models/{MODEL}/metadata": {"metadata": {"signature_def": {"signature_def": _signatures()}}},
    }
    return (200, known[path]) if path in known else (404, NO_SUCH_MODEL)


def _signatures() -> dict[str, Any]:
    def tensor(size: int) -> dict[str, Any]:
        return {"dtype": "DT_FLOAT", "tensor_shape": {"dim": [{"size": "-1"}, {"size": str(size)}]}}

    return {"serving_default": {"inputs": {"x": tensor(4)}, "outputs": {"y": tensor(3)}}}


def _rest_rows(path: str) -> tuple[str, Callable[[Stub, Any], Any]]:
    """Which model a path asks, and how it is answered."""
    if path.startswith("/v2/models/"):
        return path.split("/")[3], _oip_rows
    model = MODEL if path == "/predict" else path.rpartition("/")[2].removesuffix(":predict")
    return model, lambda stub, asked: {"predictions": stub.scores(asked["instances"]).tolist()}


def _oip_rows(stub: Stub, asked: Any) -> Any:
    (tensor,) = asked["inputs"]
    rows = np.asarray(tensor["data"], np.float32).reshape(tensor["shape"])
    found = stub.scores(rows)
    output = {"name": "y", "datatype": "FP32", "shape": list(found.shape), "data": found.ravel().tolist()}
    return {"model_name": MODEL, "outputs": [output]}


class _Calls(grpc.GenericRpcHandler):
    """Every API's methods, by their full names."""

    def __init__(self, stub: Stub) -> None:
        self._stub = stub
        self._predicted = 0

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        name = handler_call_details.method
        if name not in METHODS:
            return None
        self._stub.note(
            "call", name, {key: str(value) for key, value in handler_call_details.invocation_metadata}
        )
        request, answer = METHODS[name]
        is_prediction = self._stub.asked[-1].is_prediction

        def handle(asked: Any, context: grpc.ServicerContext) -> bytes:
            try:
                if is_prediction:
                    self._predicted += 1
                    self._stub.before(self._predicted)
                found: bytes = answer(self._stub, asked).SerializeToString()
            except Refused as refused:
                context.abort(refused.code, str(refused))
            return found

        return grpc.unary_unary_rpc_method_handler(handle, request_deserializer=message(request).FromString)


def _known(stub: Stub, model: str) -> None:
    if not stub.has(model):
        raise Refused(grpc.StatusCode.NOT_FOUND)


def _oip_metadata(stub: Stub, asked: Any) -> Any:
    _known(stub, asked.name)
    return message("inference.ModelMetadataResponse")(
        name=MODEL, versions=["1"], platform="stub", **OIP_TENSORS
    )


def _oip_infer(stub: Stub, asked: Any) -> Any:
    _known(stub, asked.model_name)
    (tensor,), (raw,) = asked.inputs, asked.raw_input_contents
    found = stub.scores(np.frombuffer(raw, "<f4").reshape(tuple(tensor.shape)))
    answer = message("inference.ModelInferResponse")(model_name=MODEL)
    answer.outputs.add(name="y", datatype="FP32", shape=found.shape)
    answer.raw_output_contents.append(found.astype("<f4").tobytes())
    return answer


def _tfserving_status(stub: Stub, asked: Any) -> Any:
    _known(stub, asked.model_spec.name)
    answer = message("tensorflow.serving.GetModelStatusResponse")()
    answer.model_version_status.add(version=1, state=AVAILABLE)
    return answer


def _tfserving_metadata(stub: Stub, asked: Any) -> Any:
    _known(stub, asked.model_spec.name)
    held = message("tensorflow.serving.SignatureDefMap")()
    signature = held.signature_def["serving_default"]
    for tensors, name, size in ((signature.inputs, "x", 4), (signature.outputs, "y", 3)):
        tensors[name].dtype = DT_FLOAT
        for length in (-1, size):
            tensors[name].tensor_shape.dim.add(size=length)
    answer = message("tensorflow.serving.GetModelMetadataResponse")()
    answer.metadata["signature_def"].value = held.SerializeToString()
    return answer


def _tfserving_predict(stub: Stub, asked: Any) -> Any:
    _known(stub, asked.model_spec.name)
    given = asked.inputs["x"]
    shape = [dim.size for dim in given.tensor_shape.dim]
    found = stub.scores(np.frombuffer(given.tensor_content, "<f4").reshape(shape))
    answer = message("tensorflow.serving.PredictResponse")()
    output = answer.outputs["y"]
    output.dtype = DT_FLOAT
    output.float_val.extend(found.ravel().tolist())
    for size in found.shape:
        output.tensor_shape.dim.add(size=size)
    return answer


def _torchserve_predictions(stub: Stub, asked: Any) -> Any:
    _known(stub, asked.model_name)
    file = io.BytesIO()
    np.save(file, stub.scores(np.load(io.BytesIO(asked.input["x"]))))
    return message("org.pytorch.serve.grpc.inference.PredictionResponse")(prediction=file.getvalue())


def _ready(kind: str) -> Callable[[Stub, Any], Any]:
    return lambda _stub, _asked: message(f"inference.{kind}Response")(ready=True)


def _server(_stub: Stub, _asked: Any) -> Any:
    return message("inference.ServerMetadataResponse")(name="stub", version="7")


def _healthy(_stub: Stub, _asked: Any) -> Any:
    return message("org.pytorch.serve.grpc.inference.TorchServeHealthResponse")(
        health='{"status": "Healthy"}'
    )


OIP, TFSERVING = "/inference.GRPCInferenceService/", "/tensorflow.serving."
TORCHSERVE = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/"
METHODS: dict[str, tuple[str, Callable[[Stub, Any], Any]]] = {
    f"{OIP}ServerReady": ("inference.ServerReadyRequest", _ready("ServerReady")),
    f"{OIP}ModelReady": ("inference.ModelReadyRequest", _ready("ModelReady")),
    f"{OIP}ServerMetadata": ("inference.ServerMetadataRequest", _server),
    f"{OIP}ModelMetadata": ("inference.ModelMetadataRequest", _oip_metadata),
    f"{OIP}ModelInfer": ("inference.ModelInferRequest", _oip_infer),
    f"{TFSERVING}ModelService/GetModelStatus": (
        "tensorflow.serving.GetModelStatusRequest",
        _tfserving_status,
    ),
    f"{TFSERVING}PredictionService/GetModelMetadata": (
        "tensorflow.serving.GetModelMetadataRequest",
        _tfserving_metadata,
    ),
    f"{TFSERVING}PredictionService/Predict": ("tensorflow.serving.PredictRequest", _tfserving_predict),
    # An empty message is the same, whoever's it is.
    f"{TORCHSERVE}Ping": ("inference.ServerReadyRequest", _healthy),
    f"{TORCHSERVE}Predictions": (
        "org.pytorch.serve.grpc.inference.PredictionsRequest",
        _torchserve_predictions,
    ),
}
"""By full name: the request's message, and what answers it."""
