"""What a running server reports over each API: that it is ready, who it is, and the model's tensors.

Tensors are described in the words of the Open Inference Protocol, whatever the API calls them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from loadtests.codecs.oip_json import NAMES
from loadtests.codecs.tensor_proto import DTYPES
from loadtests.codecs.versions import fill_model_spec
from loadtests.protos import message
from models.spec import ModelSpec
from pipelines.access import Access
from pipelines.errors import GateError, MachineError, RequestError
from pipelines.http import fetch_json
from pipelines.targets import oip, oip_grpc
from pipelines.targets.address import APIS, Address

OK = 200
MISSING = (400, 404)
FAILED = 500
AVAILABLE = 30
"""TensorFlow Serving's number of a version that serves."""

UNKNOWN_VERSION = "not known"
SIGNATURE = "serving_default"
Tensor = Mapping[str, Any]
Tensors = Mapping[str, Sequence[Tensor]]


@dataclass(frozen=True)
class Told:
    """What a running server says.

    Attributes:
        name, version: of the server.
        tensors: of the model, by `inputs` and `outputs`; None where the API does not tell.
        named: whether it goes by the tensors' names, or takes the only one whatever it is called.
    """

    name: str
    version: str
    tensors: Tensors | None
    named: bool = True


def introduce(side: str, address: Address, access: Access, spec: ModelSpec) -> Told:
    """Return what the server at `address` reports, once it is ready and its tensors are the model's.

    Raises:
        RequestError: it has no such model, refuses us, or sends us elsewhere.
        GateError: its metadata contradicts the model's signature: which tensor, expected and found.
        MachineError: nothing answers there, not in time, not with this API, or it is not ready.
    """
    try:
        metadata = TELLERS[address.api, address.transport](address, access)
        unready = status(address, access)
    except OSError as error:
        raise MachineError(
            f"{side}: {address} cannot be asked: {getattr(error, 'reason', error)}; is the server up, and is "
            "that its API?"
        ) from error
    if unready is not None:
        raise MachineError(f"{side}: the server at {address} is not ready: {unready}")
    if metadata.tensors is not None:
        try:
            oip.require_signature(spec, metadata.tensors, named=metadata.named)
        except GateError as error:
            raise GateError(f"{side}: {error}") from error
    return metadata


def status(address: Address, access: Access) -> str | None:
    """Return None if the server reports that it is ready, else what it reports.

    Raises:
        OSError: it does not answer.
        RequestError, MachineError: see `Access.ask`.
    """
    return STATUSES[address.api, address.transport](address, access)


def _tfserving_status(address: Address, access: Access) -> str | None:
    code, answer = fetch_json(f"{address.base_url}/v1/models/{address.served}", access.ask)
    if code in MISSING:
        raise _no_model(address, code, answer)
    if code != OK or not isinstance(answer, dict):
        return f"its model status API answers {code}"
    states = [version.get("state", "?") for version in answer.get("model_version_status", [])]
    return None if "AVAILABLE" in states else f"versions: {', '.join(states) or 'none'}"


def _tfserving_told(address: Address, access: Access) -> Told:
    url = f"{address.base_url}/v1/models/{address.served}/metadata"
    code, answer = fetch_json(url, access.ask)
    if code in MISSING:
        raise _no_model(address, code, answer)
    try:
        signature = answer["metadata"]["signature_def"]["signature_def"][SIGNATURE]
        tensors = {
            kind: [
                {
                    "name": name,
                    "datatype": _of_tensorflow(tensor["dtype"]),
                    "shape": None
                    if tensor["tensor_shape"].get("unknown_rank")
                    else [int(dim["size"]) for dim in tensor["tensor_shape"].get("dim", [])],
                    "optional": name in signature.get("defaults", {}),
                }
                for name, tensor in signature[kind].items()
            ]
            for kind in ("inputs", "outputs")
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _no_metadata(url, code) from error
    return Told("tfserving API", UNKNOWN_VERSION, tensors, named=False)


def _of_tensorflow(dtype: str) -> str:
    """Convert `DT_FLOAT` to `FP32`; a type that the protocol has no name for stays as it is."""
    word = dtype.removeprefix("DT_").lower()
    usual = {"half": "float16", "float": "float32", "double": "float64"}.get(word, word)
    return NAMES.get(usual, dtype)


def _tfserving_grpc_status(address: Address, access: Access) -> str | None:
    answer = _tfserving_call(address, access, "ModelService/GetModelStatus", {})
    if isinstance(answer, str):
        return answer
    states = [version.state for version in answer.model_version_status]
    return None if AVAILABLE in states else f"states of its versions: {', '.join(map(str, states)) or 'none'}"


def _tfserving_grpc_told(address: Address, access: Access) -> Told:
    method = "PredictionService/GetModelMetadata"
    answer = _tfserving_call(address, access, method, {"metadata_field": ["signature_def"]})
    if isinstance(answer, str):
        raise MachineError(f"{address} does not say what it serves: {answer}")
    kinds = {number: name for name, (number, _) in DTYPES.items()}
    try:
        held = message("tensorflow.serving.SignatureDefMap").FromString(
            answer.metadata["signature_def"].value
        )
        signature = held.signature_def[SIGNATURE]
    except DecodeError as error:
        raise _no_metadata(str(address), OK) from error
    tensors = {
        kind: [
            {
                "name": name,
                "datatype": NAMES.get(kinds.get(tensor.dtype, ""), f"TensorFlow's dtype {tensor.dtype}"),
                "shape": None
                if tensor.tensor_shape.unknown_rank
                else [dim.size for dim in tensor.tensor_shape.dim],
            }
            for name, tensor in getattr(signature, kind).items()
        ]
        for kind in ("inputs", "outputs")
    }
    return Told("tfserving API", UNKNOWN_VERSION, tensors)


def _tfserving_call(address: Address, access: Access, method: str, fields: Mapping[str, Any]) -> Any:
    """Return the answer of a call about the model, or the server's error text instead."""
    package, name = "tensorflow.serving", method.partition("/")[2]
    request = message(f"{package}.{name}Request")(**fields)
    fill_model_spec(request.model_spec, address.model)
    code, body = access.ask(f"{address.base_url}/{package}.{method}", request.SerializeToString())
    if code in MISSING:
        raise _no_model(address, code, body.decode(errors="replace"))
    if code != OK:
        return body.decode(errors="replace")
    try:
        return message(f"{package}.{name}Response").FromString(body)
    except DecodeError as error:
        raise ConnectionError(f"its answer to {method} is of another API") from error


def _torchserve_status(address: Address, access: Access) -> str | None:
    code, answer = fetch_json(f"{address.base_url}/ping", access.ask)
    healthy = code == OK and isinstance(answer, dict) and answer.get("status") == "Healthy"
    return None if healthy else f"/ping answers {code}"


def _torchserve_grpc_status(address: Address, access: Access) -> str | None:
    package = "org.pytorch.serve.grpc.inference"
    code, body = access.ask(f"{address.base_url}/{package}.InferenceAPIsService/Ping", b"")
    if code != OK:
        return f"Ping answers {body.decode(errors='replace')}"
    try:
        health = message(f"{package}.TorchServeHealthResponse").FromString(body).health
    except DecodeError as error:
        raise ConnectionError("its answer to Ping is of another API") from error
    return None if '"Healthy"' in health else f"Ping answers {health!r}"


def _nothing_told(address: Address, access: Access) -> Told:  # noqa: ARG001 - it reports nothing
    return Told(f"{address.api} API", UNKNOWN_VERSION, None)


def _oip_status(address: Address, access: Access) -> str | None:
    return oip.status(address.base_url, address.served, access.ask)


def _oip_told(address: Address, access: Access) -> Told:
    code, server = fetch_json(f"{address.base_url}/v2", access.ask)
    if code != OK or not isinstance(server, dict):
        server = {}
    url = f"{address.base_url}/v2/models/{address.served}"
    code, answer = fetch_json(url, access.ask)
    if code in MISSING:
        raise _no_model(address, code, answer)
    if code != OK or not isinstance(answer, dict):
        raise _no_metadata(url, code)
    return _of_oip(server, answer)


def _oip_grpc_status(address: Address, access: Access) -> str | None:
    return oip_grpc.status(address.base_url, address.model, access.ask)


def _oip_grpc_told(address: Address, access: Access) -> Told:
    server = oip_grpc.server_metadata(address.base_url, access.ask)
    try:
        answer = oip_grpc.metadata(address.base_url, address.model, access.ask)
    except oip_grpc.NoModelError as error:
        raise RequestError(f"{address}: the server has no model {address.served!r}: {error}") from error
    except GateError as error:
        raise MachineError(f"{address} does not say what it serves: {error}") from error
    return _of_oip(server, answer)


def _of_oip(server: Mapping[str, Any], answer: Mapping[str, Any]) -> Told:
    """Read a server's metadata; one that lists no tensor at all has none to check."""
    tensors = {kind: answer.get(kind) or [] for kind in ("inputs", "outputs")}
    name, version = server.get("name"), server.get("version")
    return Told(
        str(name or "oip API")[:80],
        str(version or UNKNOWN_VERSION)[:80],
        tensors if any(tensors.values()) else None,
    )


def _plain_status(address: Address, access: Access) -> str | None:
    """Ask for the path itself, which may refuse a GET: nothing of such a server reports readiness."""
    code, _ = access.ask(f"{address.base_url}/{address.model}")
    return f"{address.model} answers {code}" if code >= FAILED else None


def _no_model(address: Address, code: int, answer: Any) -> RequestError:
    reason = answer.get("error", answer) if isinstance(answer, dict) else answer
    return RequestError(
        f"{address}: the server has no model {address.served!r}; it answers {code}: {str(reason)[:200]}"
    )


def _no_metadata(url: str, code: int) -> MachineError:
    return MachineError(
        f"{url} answers {code} without a model's metadata; is that its API? Allowed are {', '.join(APIS)}"
    )


TELLERS: Mapping[tuple[str, str], Callable[[Address, Access], Told]] = {
    ("tfserving", "http"): _tfserving_told,
    ("tfserving", "grpc"): _tfserving_grpc_told,
    ("torchserve", "http"): _nothing_told,
    ("torchserve", "grpc"): _nothing_told,
    ("oip", "http"): _oip_told,
    ("oip", "grpc"): _oip_grpc_told,
    ("plain", "http"): _nothing_told,
}
STATUSES: Mapping[tuple[str, str], Callable[[Address, Access], str | None]] = {
    ("tfserving", "http"): _tfserving_status,
    ("tfserving", "grpc"): _tfserving_grpc_status,
    ("torchserve", "http"): _torchserve_status,
    ("torchserve", "grpc"): _torchserve_grpc_status,
    ("oip", "http"): _oip_status,
    ("oip", "grpc"): _oip_grpc_status,
    ("plain", "http"): _plain_status,
}
