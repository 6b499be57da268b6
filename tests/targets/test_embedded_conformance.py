"""Replays what TensorFlow Serving 2.20.0 answered against the embedded server: to the letter."""

import http.client
import json
import math
import socket
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from embedded_fixture import RECORDED, Server, config_text, started, written_models

pytestmark = pytest.mark.slow

REST = json.loads((RECORDED / "rest.json").read_text())
GRPC = json.loads((RECORDED / "grpc.json").read_text())

_STATUS = {
    "model_version_status": [
        {"version": "2", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}},
    ]
}
# Recorded cases we answer differently on purpose, and how; docs/embedded-server.md says why.
DELIBERATE: dict[str, tuple[int, Any]] = {
    "malformed json garbage after": (
        400,
        {"error": "JSON Parse error: The document root must not be followed by other values. at offset: 21"},
    ),
    "float overflow 1e39": (
        400,
        {"error": "A number is beyond float32, whose largest is 3.4028234663852886e+38"},
    ),
    "GET /v1/models/half_plus_two?x=1": (200, _STATUS),
    "POST query": (200, {"predictions": [2.5]}),
    "GET /V1/models/half_plus_two": (
        404,
        "<HTML><HEAD>\n<TITLE>404 Not Found</TITLE>\n</HEAD><BODY>\n<H1>Not Found</H1>\n</BODY></HTML>\n",
    ),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    config = tmp_path_factory.mktemp("config") / "models.config"
    config.write_text(config_text(written_models()))
    flags = (f"--model_config_file={config}", "--allow_version_labels_for_unavailable_models")
    with started(*flags) as process:
        yield process.wait_until_listening()


def same(left: Any, right: Any) -> bool:
    """Equal in type and value; floats as float32, objects whatever the order of their keys."""
    if isinstance(left, float) and isinstance(right, float):
        with np.errstate(over="ignore"):
            return (math.isnan(left) and math.isnan(right)) or bool(np.float32(left) == np.float32(right))
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    return type(left) is type(right) and left == right


def sent_bytes(case: dict[str, Any]) -> bytes:
    body = bytes.fromhex(case["body_hex"]) if "body_hex" in case else case.get("body", "").encode()
    headers = dict(case.get("headers", {}))
    if case["name"] != "no host 1.1":
        headers["Host"] = "localhost"
    if "Transfer-Encoding" not in headers and ("body" in case or "body_hex" in case):
        headers["Content-Length"] = str(len(body))
    lines = [f"{case['method']} {case['path']} {case.get('http_version', 'HTTP/1.1')}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def answer(server: Server, case: dict[str, Any]) -> tuple[int, str, bytes]:
    with socket.create_connection(("127.0.0.1", server.rest), timeout=30) as connection:
        connection.sendall(sent_bytes(case))
        response = http.client.HTTPResponse(connection, method=case["method"])
        response.begin()
        body = response.read()
        response.close()
        return response.status, response.headers["Content-Type"], body


def parsed(case: dict[str, Any], body: bytes) -> Any:
    if case["method"] == "HEAD":
        return None
    return json.loads(body) if "response_json" in case and body.startswith(b"{") else body.decode()


def recorded(case: dict[str, Any]) -> Any:
    return None if case["method"] == "HEAD" else case.get("response_json", case.get("response_text"))


def matches(server: Server, case: dict[str, Any]) -> bool:
    status, content_type, body = answer(server, case)
    return (
        status == case["status"]
        and content_type == case["content_type"]
        and same(parsed(case, body), recorded(case))
    )


@pytest.mark.parametrize("case", REST, ids=lambda case: case["name"])
def test_rest(server: Server, case: dict[str, Any]) -> None:
    status, content_type, body = answer(server, case)
    got = parsed(case, body)
    if case["name"] in DELIBERATE:
        assert (status, got) == DELIBERATE[case["name"]]
        return
    assert (status, content_type) == (case["status"], case["content_type"]), got
    assert same(got, recorded(case)), got


def _messages() -> tuple[Any, Any]:
    """The request class and method name of each recorded gRPC case, by the start of its name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # importing tensorflow warns about its own future
        import grpc
        from tensorflow_serving.apis import (
            get_model_metadata_pb2,
            get_model_status_pb2,
            predict_pb2,
        )
    kinds = {
        "status": ("ModelService", "GetModelStatus", get_model_status_pb2, "GetModelStatus"),
        "metadata": ("PredictionService", "GetModelMetadata", get_model_metadata_pb2, "GetModelMetadata"),
    }
    predict = ("PredictionService", "Predict", predict_pb2, "Predict")
    return grpc, lambda name: kinds.get(name.split()[0], predict)


def call(server: Server, case: dict[str, Any]) -> tuple[str, Any]:
    """Code name, and response message or details."""
    from google.protobuf import text_format

    grpc, kind_of = _messages()
    service, method, module, stem = kind_of(case["name"])
    request = text_format.Parse(case["request"], getattr(module, f"{stem}Request")())
    response_class = getattr(module, f"{stem}Response")
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc}") as channel:
        ask = channel.unary_unary(
            f"/tensorflow.serving.{service}/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=response_class.FromString,
        )
        try:
            response = ask(request, timeout=30)
        except grpc.RpcError as error:
            return error.code().name, error.details()
    return "OK", (response, text_format.Parse(case.get("response", ""), response_class()))


@pytest.mark.parametrize("case", GRPC, ids=lambda case: case["name"])
def test_grpc(server: Server, case: dict[str, Any]) -> None:
    code, answered = call(server, case)
    assert code == case["code"], answered
    if code == "OK":
        assert answered[0] == answered[1]
    else:
        assert answered == case["details"]


def test_nearly_everything_is_to_the_letter(server: Server) -> None:
    rest = [matches(server, case) for case in REST]
    grpc = []
    for case in GRPC:
        code, answered = call(server, case)
        expected = case.get("details") if code != "OK" else answered[1]
        grpc.append(code == case["code"] and (answered[0] if code == "OK" else answered) == expected)
    share = sum(rest + grpc) / len(rest + grpc)
    assert share >= 0.95
    assert len(rest) - sum(rest) == len(DELIBERATE)
    assert all(grpc)
