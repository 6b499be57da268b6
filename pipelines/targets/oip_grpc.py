"""The Open Inference Protocol v2 over gRPC: readiness, and what a server says of itself and of a model.

Answers are given in the form that they have over REST, so that `oip.require_signature` reads both.
"""

from collections.abc import Mapping
from typing import Any

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from loadtests.codecs.versions import split_version
from loadtests.protos import message
from pipelines.errors import GateError
from pipelines.http import Ask, fetch
from pipelines.targets.protocols import OIP_METHOD

OK = 200
SERVICE = OIP_METHOD.rpartition("/")[0]
MISSING = (400, 404)
"""HTTP statuses of the codes by which servers say that they have no such model."""


class NoModelError(GateError):
    """The server answers that it has no such model."""


def status(base_url: str, model: str, ask: Ask = fetch) -> str | None:
    """Return None if the server and the model are ready, else which of them is not.

    Args:
        base_url: `grpc://HOST:PORT`.
        model: its name, and its version after `/versions/`.
        ask: sends one call.

    Raises:
        OSError: nothing listens, or what listens does not speak gRPC.
    """
    for method, about in (("ServerReady", {}), ("ModelReady", _named(model))):
        code, answer = _call(base_url, method, about, ask)
        if code != OK:
            return f"{method} answers {answer}"
        if not answer.ready:
            return f"{method} says that it is not ready"
    return None


def metadata(base_url: str, model: str, ask: Ask = fetch) -> Mapping[str, Any]:
    """Return the server's metadata of the model, named as in `status`: name, versions, platform, tensors.

    Raises:
        NoModelError: it has no such model.
        GateError: it fails to answer.
        OSError: it does not answer.
    """
    code, answer = _call(base_url, "ModelMetadata", _named(model), ask)
    if code != OK:
        kind = NoModelError if code in MISSING else GateError
        raise kind(f"{base_url} answers {answer} when asked about {model}; expected the model's metadata")
    tensors = {
        kind: [
            {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
            for tensor in getattr(answer, kind)
        ]
        for kind in ("inputs", "outputs")
    }
    about = {"name": answer.name, "versions": list(answer.versions), "platform": answer.platform}
    return {**about, **tensors}


def server_metadata(base_url: str, ask: Ask = fetch) -> Mapping[str, Any]:
    """Return the server's own metadata: name, version and extensions; empty if it gives none.

    Raises:
        OSError: it does not answer.
    """
    code, answer = _call(base_url, "ServerMetadata", {}, ask)
    if code != OK:
        return {}
    return {"name": answer.name, "version": answer.version, "extensions": list(answer.extensions)}


def _named(model: str) -> dict[str, str]:
    name, _, version = split_version(model)
    return {"name": name, "version": version}


def _call(base_url: str, method: str, fields: Mapping[str, str], ask: Ask) -> tuple[int, Any]:
    """Return status and answer of a call; for other than 200 the answer is the server's text.

    Raises:
        OSError: there is no answer, or it is no message of this protocol.
    """
    request = message(f"inference.{method}Request")(**fields).SerializeToString()
    code, body = ask(f"{base_url}{SERVICE}/{method}", request)
    if code != OK:
        return code, body.decode(errors="replace")
    try:
        return code, message(f"inference.{method}Response").FromString(body)
    except DecodeError as error:
        raise ConnectionError(f"what answers at {base_url} does not speak the protocol: {error}") from error
