"""The Open Inference Protocol v2 over REST: readiness, and what a server says of itself and of a model."""

from collections.abc import Mapping, Sequence
from typing import Any

from loadtests.codecs.oip_json import NAMES
from models.spec import ModelSpec
from pipelines.errors import GateError
from pipelines.http import Ask, fetch, fetch_json

OK = 200
PREDICT_PATH = "/v2/models/{model}/infer"


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
        told = answer.get("error") if isinstance(answer, dict) else None
        raise GateError(f"{url} answers {code}{f': {told}' if told else ''}; expected the model's metadata")
    return answer


def require_signature(spec: ModelSpec, answer: Mapping[str, Any], *, named: bool = True) -> None:
    """Compare a model's metadata with the signature. A size of -1 fits every size, no shape every shape.

    Not `named`: the only tensor of a kind is the one there is, whatever it is called.

    Raises:
        GateError: a tensor is missing, or of another datatype or shape: which, expected and found.
    """
    for kind, tensors in (("inputs", spec.inputs), ("outputs", spec.outputs)):
        told = answer.get(kind)
        entries = [one for one in told if isinstance(one, dict)] if isinstance(told, list) else []
        found = {str(one.get("name")): one for one in entries}
        if not named and len(tensors) == len(found) == 1:
            found = {tensors[0].name: next(iter(found.values()))}
        for tensor in tensors:
            if tensor.name not in found:
                raise GateError(
                    f"the endpoint's metadata has no {tensor.name!r} among its {kind}: "
                    f"{', '.join(sorted(map(str, found))) or 'none'}"
                )
            one = found[tensor.name]
            wanted = NAMES.get(tensor.dtype)
            if one.get("datatype") != wanted:
                raise GateError(f"the endpoint's {tensor.name!r} is {one.get('datatype')}, expected {wanted}")
            if one.get("shape", ()) is not None and not _fits(one.get("shape", ()), tensor.shape):
                expected = [-1 if size is None else size for size in tensor.shape]
                raise GateError(
                    f"the endpoint's {tensor.name!r} has the shape {one.get('shape')}, expected {expected}"
                )


def _fits(told: Any, wanted: Sequence[int | None]) -> bool:
    """Return whether a reported shape takes all that the wanted one does; some servers omit the batch."""
    if not isinstance(told, list | tuple):
        return False
    sizes = list(wanted) if len(told) == len(wanted) else list(wanted[1:])
    return len(told) == len(sizes) and all(
        size in (-1, None) or size == expected for size, expected in zip(told, sizes, strict=True)
    )
