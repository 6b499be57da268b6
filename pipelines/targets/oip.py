"""The Open Inference Protocol v2 over REST: readiness, and what a server says of itself and of a model."""

from collections.abc import Mapping, Sequence
from typing import Any

from loadtests.codecs.oip_json import NAMES
from models.spec import ModelSpec
from pipelines.errors import GateError
from pipelines.http import Ask, fetch, fetch_json

OK = 200


def status(base_url: str, model: str, ask: Ask = fetch) -> str | None:
    """Return None if the server and the model are ready, else which of them is not.

    Raises:
        OSError: nothing listens.
    """
    for path in ("/v2/health/ready", f"/v2/models/{model}/ready"):
        code, _ = ask(base_url + path, None)
        if code != OK:
            return f"{path} answers {code}"
    return None


def metadata(base_url: str, model: str, ask: Ask = fetch) -> Mapping[str, Any]:
    """Return the server's metadata of the model: its name, versions, platform, inputs and outputs.

    Raises:
        GateError: it has no such model, or says nothing of the kind.
        OSError: it does not answer.
    """
    url = f"{base_url}/v2/models/{model}"
    code, answer = fetch_json(url, ask)
    if code != OK or not isinstance(answer, dict):
        reason = answer.get("error") if isinstance(answer, dict) else None
        raise GateError(
            f"{url} answers {code}{f': {reason}' if reason else ''}; expected the model's metadata"
        )
    return answer


def require_signature(spec: ModelSpec, answer: Mapping[str, Any], *, named: bool = True) -> None:
    """Compare a model's metadata with the signature. A size of -1 fits every size, no shape every shape.

    Not `named`: the only tensor of a kind is the one there is, whatever it is called.

    Raises:
        GateError: a tensor is missing, or of another datatype or shape, or there is an input that requests
            would lack: which, expected and found. Outputs that the model has not do no harm.
    """
    for kind, tensors in (("inputs", spec.inputs), ("outputs", spec.outputs)):
        listed = answer.get(kind)
        entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
        by_name = {str(entry.get("name")): entry for entry in entries}
        if not named and len(tensors) == len(by_name) == 1:
            by_name = {tensors[0].name: next(iter(by_name.values()))}
        for tensor in tensors:
            if tensor.name not in by_name:
                raise GateError(
                    f"the endpoint's metadata has no {tensor.name!r} among its {kind}: "
                    f"{', '.join(sorted(map(str, by_name))) or 'none'}"
                )
            entry = by_name[tensor.name]
            wanted = NAMES.get(tensor.dtype)
            if entry.get("datatype") != wanted:
                raise GateError(
                    f"the endpoint's {tensor.name!r} is {entry.get('datatype')}, expected {wanted}"
                )
            if entry.get("shape", ()) is not None and not _fits(entry.get("shape", ()), tensor.shape):
                expected = [-1 if size is None else size for size in tensor.shape]
                raise GateError(
                    f"the endpoint's {tensor.name!r} has the shape {entry.get('shape')}, expected {expected}"
                )
        if kind == "inputs":
            _require_no_other(by_name, [tensor.name for tensor in tensors])


def _require_no_other(found: Mapping[str, Mapping[str, Any]], wanted: Sequence[str]) -> None:
    """Raise GateError if there is an input of another name: every request would lack it."""
    other = next((name for name in sorted(found) if name not in wanted), None)
    if other is not None:
        what = f"{found[other].get('datatype')}, shape {found[other].get('shape')}"
        raise GateError(
            f"the endpoint's metadata has an input {other!r} ({what}) that the model has not; expected "
            f"{', '.join(wanted)}, found {', '.join(sorted(found))}"
        )


def _fits(reported: Any, wanted: Sequence[int | None]) -> bool:
    """Return whether a reported shape takes all that the wanted one does; some servers omit the batch."""
    if not isinstance(reported, list | tuple):
        return False
    sizes = list(wanted) if len(reported) == len(wanted) else list(wanted[1:])
    return len(reported) == len(sizes) and all(
        size in (-1, None) or size == expected for size, expected in zip(reported, sizes, strict=True)
    )
