"""Predict on one servable: the rules REST and gRPC share."""

from collections.abc import Iterable, Mapping, Sequence

from .dtypes import DT_STRING, MAX_STRING_RANK, Array, dtype_name, dtype_of
from .servable import DEFAULT_SIGNATURE, Servable, Signature
from .status import Code, ServingError, invalid


def predict(
    servable: Servable,
    signature_name: str,
    inputs: Mapping[str, Array],
    output_filter: Sequence[str] = (),
    quick: bool = False,
) -> dict[str, Array]:
    """Return outputs by alias, sorted, or those of `output_filter` in its order. Raises ServingError."""
    signature = servable.signatures.get(signature_name or DEFAULT_SIGNATURE)
    if signature is None:
        name = signature_name or DEFAULT_SIGNATURE
        raise ServingError(Code.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
    arrays = _arrays(signature, inputs)
    aliases = _wanted(signature, output_filter)
    _check_types(signature, arrays)
    if servable.checks_rank:
        _check_ranks(signature, arrays)
    feeds = {signature.inputs[alias].tensor_name: array for alias, array in arrays.items()}
    outputs = servable.run(feeds, [signature.outputs[alias].tensor_name for alias in aliases], quick)
    return dict(zip(aliases, outputs, strict=True))


def _set(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"


def _arrays(signature: Signature, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
    """Return the inputs a signature needs, defaults filled in."""
    wanted = signature.inputs
    if inputs.keys() == wanted.keys():
        return inputs
    if len(inputs) > len(wanted) or (len(inputs) < len(wanted) and not signature.defaults):
        raise invalid(
            f"input size does not match signature: {len(inputs)}!={len(wanted)} len({_set(inputs)}) != "
            f"len({_set(wanted)}). Sent extra: {_set(inputs.keys() - wanted.keys())}. "
            f"Missing but required: {_set(wanted.keys() - inputs.keys())}."
        )
    arrays = {alias: _given_or_default(signature, alias, inputs) for alias in wanted}
    used = inputs.keys() & wanted.keys()
    if len(used) != len(inputs):
        raise invalid(
            f"Inputs contains invalid name. Used request inputs: {','.join(sorted(used))}, "
            f"request input: {','.join(sorted(inputs))}"
        )
    return arrays


def _given_or_default(signature: Signature, alias: str, inputs: Mapping[str, Array]) -> Array:
    array = inputs.get(alias, signature.defaults.get(alias))
    if array is None:
        raise invalid(
            f"Signature input alias: {alias}(feed name: {signature.inputs[alias].tensor_name}) "
            "not found in request "
            f"and no default value provided. Inputs expected to be in the request {_set(inputs)}, "
            f"or default input alias set: {','.join(sorted(signature.defaults))}"
        )
    return array


def _wanted(signature: Signature, output_filter: Sequence[str]) -> Sequence[str]:
    if not output_filter:
        return list(signature.outputs)
    for at, alias in enumerate(output_filter):
        if alias not in signature.outputs:
            raise invalid(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set "
                f"{_set(signature.outputs)}."
            )
        if alias in output_filter[:at]:
            raise invalid(f"duplicate output tensor alias: {alias}")
    return output_filter


def _check_types(signature: Signature, arrays: Mapping[str, Array]) -> None:
    for index, alias in enumerate(signature.inputs):
        expected, actual = signature.inputs[alias].dtype, dtype_of(arrays[alias].dtype)
        if expected != actual:
            raise invalid(
                f"Expects arg[{index}] to be {dtype_name(expected)} but {dtype_name(actual)} is provided"
            )
        if expected == DT_STRING and arrays[alias].ndim > MAX_STRING_RANK:
            raise invalid(
                f"Input {alias} has {arrays[alias].ndim} dimensions; a string tensor may have "
                f"{MAX_STRING_RANK} at most"
            )


def _check_ranks(signature: Signature, arrays: Mapping[str, Array]) -> None:
    for alias, array in arrays.items():
        shape = signature.inputs[alias].shape
        if shape is not None and len(shape) != array.ndim:
            raise invalid(
                f"Input {alias} must have {len(shape)} dimension(s) as in {list(shape)}, "
                f"where -1 is any size, "
                f"but its shape is {list(array.shape)}"
            )
