"""The Open Inference Protocol v2 over REST: readiness, and what a server says of itself and of a model."""

from collections.abc import Mapping, Sequence
from typing import Any

from loadtests.codecs.oip_json import NAMES
from models.spec import ModelSpec, TensorSpec
from pipelines.errors import GateError
from pipelines.http import Ask, fetch, fetch_json

OK = 200
HINT_CHARACTERS = 500


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
        GateError: a tensor is missing, or of another datatype or shape: which, expected and found. Outputs
            that the model has not do no harm; of inputs `surplus_inputs` tells.
    """
    for kind, tensors in (("inputs", spec.inputs), ("outputs", spec.outputs)):
        by_name = _listed(answer, kind, tensors, named=named)
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


def surplus_inputs(spec: ModelSpec, answer: Mapping[str, Any], *, named: bool = True) -> str:
    """Describe the inputs in a model's metadata that requests will lack; "" where there are none.

    Whether the server does without them only a request can tell: most metadata, such as Triton's, lists those
    that may be left out like any other. What is marked `optional` is not described.
    """
    found = _listed(answer, "inputs", spec.inputs, named=named)
    wanted = [tensor.name for tensor in spec.inputs]
    surplus = [
        f"{name!r} ({entry.get('datatype')}, shape {entry.get('shape')})"
        for name, entry in sorted(found.items())
        if name not in wanted and entry.get("optional") is not True
    ]
    if not surplus:
        return ""
    hint = (
        f"the endpoint's metadata has inputs that the model has not, and no request: {', '.join(surplus)}; "
        f"expected {', '.join(wanted)}, found {', '.join(sorted(found))}"
    )
    return " ".join(hint.split())[:HINT_CHARACTERS]  # a stranger's words, in one line of ours


def _listed(
    answer: Mapping[str, Any], kind: str, tensors: Sequence[TensorSpec], *, named: bool
) -> dict[str, Mapping[str, Any]]:
    """Return the inputs or outputs in a model's metadata by name; see `require_signature` for `named`."""
    listed = answer.get(kind)
    entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    by_name: dict[str, Mapping[str, Any]] = {str(entry.get("name")): entry for entry in entries}
    if not named and len(tensors) == len(by_name) == 1:
        return {tensors[0].name: next(iter(by_name.values()))}
    return by_name


def _fits(reported: Any, wanted: Sequence[int | None]) -> bool:
    """Return whether a reported shape takes all that the wanted one does; some servers omit the batch."""
    if not isinstance(reported, list | tuple):
        return False
    sizes = list(wanted) if len(reported) == len(wanted) else list(wanted[1:])
    return len(reported) == len(sizes) and all(
        size in (-1, None) or size == expected for size, expected in zip(reported, sizes, strict=True)
    )
