"""Checks of what a server answers: status, metadata, predictions over every protocol, and its errors."""

import json
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

from pipelines.http import fetch, fetch_json
from pipelines.runners.docker_server import DockerServer
from pipelines.runners.docker_services import MANAGEMENT_PORT, PROBE
from pipelines.smoke.checklist import CheckError, NotApplicableError, require
from pipelines.smoke.messages import DT_FLOAT, PREDICT_METHOD, TORCHSERVE_METHOD, message
from pipelines.smoke.subject import Subject

OK, BAD_REQUEST, NOT_FOUND = 200, 400, 404
SAMPLES = 16
GRPC_LIMIT_S = 15.0
NO_MODEL = "no_such_model"
WRONG_BODIES = {
    "a body that is not JSON": b"{instances",
    "a body without instances": b'{"nothing": []}',
    "an instance of the wrong shape": b'{"instances": [[1.0]]}',
}


def status(subject: Subject) -> str:
    """Its own word for being up."""
    said = subject.server.plan.endpoint.status()
    require(said is None, f"it says: {said}")
    if subject.target == "torchserve":
        code, answer = fetch_json(f"{subject.url}/ping")
        require(code == OK and answer == {"status": "Healthy"}, f"GET /ping answers {code} {answer}")
        return "every worker is READY, /ping says Healthy"
    code, answer = fetch_json(f"{subject.url}/v1/models/{subject.spec.name}")
    found = answer["model_version_status"][0]
    require(isinstance(found["version"], str), f"the version is {found['version']!r}, expected a string")
    return f"version {found['version']} is {found['state']}"


def metadata(subject: Subject) -> str:
    """Name, version and signature, against the artifact and the model."""
    return _torchserve_metadata(subject) if subject.target == "torchserve" else _tfserving_metadata(subject)


def _torchserve_metadata(subject: Subject) -> str:
    name = subject.spec.name
    found = _described(subject)[0]
    with zipfile.ZipFile(subject.folder / f"{name}.mar") as archive:
        packed = json.loads(archive.read("MAR-INF/MANIFEST.json"))["model"]
    got, wanted = (
        (found.get("modelName"), found.get("modelVersion")),
        (packed["modelName"], packed["modelVersion"]),
    )
    require(got == wanted, f"it serves {got}, the archive holds {wanted}")
    return f"{got[0]} {got[1]}, {len(found.get('workers', []))} workers"


def _described(subject: Subject) -> Any:
    """The management API's description of the model; in a container it answers only inside."""
    path = f"/models/{subject.spec.name}"
    if isinstance(subject.server, DockerServer):
        _, output = subject.server.execute([PROBE, "get", MANAGEMENT_PORT, path])
        return _parsed(output.encode())
    return fetch_json(subject.server.plan.endpoint.addresses["management"] + path)[1]


def _tfserving_metadata(subject: Subject) -> str:
    name = subject.spec.name
    code, answer = fetch_json(f"{subject.url}/v1/models/{name}/metadata")
    require(code == OK, f"it answers {code}: {answer}")
    model = answer["model_spec"]
    require(model["name"] == name, f"it serves {model['name']!r}, expected {name!r}")
    signature = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]
    for kind, tensors in (("inputs", subject.spec.inputs), ("outputs", subject.spec.outputs)):
        for tensor in tensors:
            found = signature[kind].get(tensor.name)
            require(found is not None, f"no {tensor.name!r} among its {kind}: {sorted(signature[kind])}")
            shape = tuple(int(dim["size"]) for dim in found["tensor_shape"]["dim"])
            wanted = tuple(-1 if size is None else size for size in tensor.shape)
            require(shape == wanted, f"{tensor.name} has shape {shape}, expected {wanted}")
            require(found["dtype"] == "DT_FLOAT", f"{tensor.name} is {found['dtype']}, expected DT_FLOAT")
    return f"{name} version {model['version']}, signature as the model's"


def rest_row(subject: Subject) -> str:
    """Row format, all samples in one request."""
    body = json.dumps({"instances": _inputs(subject).tolist()}).encode()
    answer = _predict(subject, body)
    subject.require_right(answer.get("predictions"), SAMPLES, "predictions over REST")
    return f"{SAMPLES} samples right"


def rest_columnar(subject: Subject) -> str:
    """Columnar format, which only TensorFlow Serving has."""
    if subject.target != "tfserving":
        raise NotApplicableError(f"{subject.target} has no columnar format")
    body = json.dumps({"inputs": _inputs(subject).tolist()}).encode()
    answer = _predict(subject, body)
    subject.require_right(answer.get("outputs"), SAMPLES, "outputs over REST")
    return f"{SAMPLES} samples right"


def grpc(subject: Subject) -> str:
    """The same samples over gRPC."""
    ask = _ask_torchserve if subject.target == "torchserve" else _ask_tfserving
    subject.require_right(ask(subject), SAMPLES, "predictions over gRPC")
    return f"{SAMPLES} samples right"


def _ask_torchserve(subject: Subject) -> Any:
    body = json.dumps({"instances": _inputs(subject).tolist()}).encode()
    request = message(
        "PredictionsRequest",
        model_name=subject.spec.name,
        input=[message("NamedBytes", key="data", value=body)],
    )
    answer = _call(subject, TORCHSERVE_METHOD, request, "PredictionResponse")
    return _parsed(answer.prediction).get("predictions")


def _ask_tfserving(subject: Subject) -> Any:
    inputs, spec = _inputs(subject), subject.spec
    shape = message("Shape", dim=[message("Dim", size=size) for size in inputs.shape])
    tensor = message("Tensor", dtype=DT_FLOAT, tensor_shape=shape, tensor_content=inputs.tobytes())
    request = message(
        "PredictRequest",
        model_spec=message("ModelSpec", name=spec.name, signature_name="serving_default"),
        inputs=[message("NamedTensor", key=spec.input.name, value=tensor)],
    )
    answer = _call(subject, PREDICT_METHOD, request, "PredictResponse")
    found = {output.key: output.value for output in answer.outputs}
    require(spec.output.name in found, f"no output {spec.output.name!r} in the answer: {sorted(found)}")
    got = found[spec.output.name]
    values = np.frombuffer(got.tensor_content, np.float32) if got.tensor_content else list(got.float_val)
    return np.asarray(values, np.float32).reshape([dim.size for dim in got.tensor_shape.dim])


def _call(subject: Subject, method: str, request: Any, answer: str) -> Any:
    import grpc as grpc_library

    address = subject.server.plan.endpoint.addresses["gRPC"]
    with grpc_library.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        call: Callable[..., Any] = channel.unary_unary(
            method, type(request).SerializeToString, type(message(answer)).FromString
        )
        try:
            return call(request, timeout=GRPC_LIMIT_S)
        except grpc_library.RpcError as error:
            raise CheckError(
                f"{method} at {address} answers {error.code().name}: {error.details()}"
            ) from error


def wrong_input(subject: Subject) -> str:
    """Status 400 and the error in the server's own form, and the server goes on."""
    url = subject.server.plan.endpoint.predict_url
    for said, body in WRONG_BODIES.items():
        code, answer = fetch(url, body)
        told = answer[:200].decode(errors="replace")
        require(code == BAD_REQUEST, f"{said} gets status {code}, expected {BAD_REQUEST}: {told}")
        error = _parsed(answer).get("error")
        require(isinstance(error, str) and bool(error), f'{said} gets {told}, expected {{"error": "…"}}')
    return f"{len(WRONG_BODIES)} kinds of wrong input get status {BAD_REQUEST} and say why"


def unknown_model(subject: Subject) -> str:
    """Status 404 in the server's own form."""
    url = subject.url + subject.server.plan.endpoint.predict_path.replace(subject.spec.name, NO_MODEL)
    code, answer = fetch(url, subject.pool.bodies[0])
    told = answer[:200].decode(errors="replace")
    require(code == NOT_FOUND, f"it gets status {code}, expected {NOT_FOUND}: {told}")
    said = _parsed(answer)
    if subject.target == "torchserve":
        kind = said.get("type")
        require(kind == "ModelNotFoundException", f"the error's type is {kind!r}: {told}")
    else:
        require(isinstance(said.get("error"), str), f'it gets {told}, expected {{"error": "…"}}')
    return f"status {NOT_FOUND}, in the server's own form"


def _inputs(subject: Subject) -> Any:
    return np.ascontiguousarray(subject.spec.samples().inputs[:SAMPLES], np.float32)


def _predict(subject: Subject, body: bytes) -> Any:
    code, answer = fetch(subject.server.plan.endpoint.predict_url, body)
    require(code == OK, f"it answers {code}: {answer[:200].decode(errors='replace')}")
    return _parsed(answer)


def _parsed(answer: bytes) -> Any:
    try:
        return json.loads(answer)
    except ValueError:
        raise CheckError(f"the answer is not JSON: {answer[:200].decode(errors='replace')}") from None
