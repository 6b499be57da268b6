"""Examples for classify and regress: from JSON, or from an `Input` message, to tf.Example records."""

from typing import Any

import numpy as np

from .base64_text import decode_base64, is_base64
from .dtypes import Array
from .json_tensor import object_array
from .json_text import Members, parse_object, type_name, value_text
from .predict_request import signature_name
from .status import Code, ServingError, invalid

_INT64_MAX = 2**63 - 1
_KINDS = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int64", None: "UNKNOWN"}


def parse_examples(body: bytes) -> tuple[str, Array]:
    """Return a body's signature name ('' is the default), and its serialized examples as a 1-d array.

    A `context` is put in front of every example. Raises ServingError (INVALID_ARGUMENT).
    """
    document = parse_object(body)
    name = signature_name(document)
    context = _example(document.first("context")) if document.has("context") else b""
    problem = ""
    examples = document.first("examples")
    if not document.has("examples"):
        problem = "When method is classify, key 'examples' is expected and was not found"
    elif type(examples) is not list:
        problem = "Expecting 'examples' value to be an list/array"
    elif not examples:
        problem = "'examples' value is an empty array"
    if problem:
        raise invalid(f"JSON Value: {value_text(document)} {problem}")
    return name, object_array([context + _example(example) for example in examples])


def _example(value: Any) -> bytes:
    """Convert one JSON object to a serialized tf.Example."""
    from tensorflow.core.example import example_pb2, feature_pb2

    if type(value) is not Members:
        raise invalid(f"Example must be JSON object but got JSON {type_name(value)}")
    example = example_pb2.Example()
    for name, content in value:
        feature = feature_pb2.Feature()
        for item in content if type(content) is list else [content]:
            _add_value(feature, name, item)
        example.features.feature[name].CopyFrom(feature)
    serialized: bytes = example.SerializeToString()
    return serialized


def _add_value(feature: Any, name: str, value: Any) -> None:
    kind, converted = _feature_value(name, value)
    present = feature.WhichOneof("kind")
    if present not in (None, kind):
        raise invalid(f"Unexpected element type in feature: {name} expecting type: {_KINDS[present]}")
    getattr(feature, kind).value.append(converted)


def _feature_value(name: str, value: Any) -> tuple[str, Any]:
    """Return the kind of list a JSON value belongs in, and the value as that list holds it."""
    if type(value) is str:
        return "bytes_list", value.encode()
    if type(value) is float:
        return "float_list", _float32(value)
    if isinstance(value, int):  # booleans are 0 and 1
        if value > _INT64_MAX:
            raise invalid(f"Feature: {name} has uint64 element. Only int64 is supported.")
        return "int64_list", int(value)
    if is_base64(value):
        return "bytes_list", decode_base64(value[0][1])
    raise invalid(f"Feature: {name} has element with unexpected JSON type: {type_name(value)}")


def _float32(value: float) -> float:
    with np.errstate(over="ignore"):
        return float(np.float32(value))


def examples_of(message: Any) -> Array:
    """Return the serialized examples of an `Input` message (n,). Raises ServingError if there are none."""
    kind = message.WhichOneof("kind")
    if kind not in (None, "example_list", "example_list_with_context"):
        raise ServingError(Code.UNIMPLEMENTED, f"Input with kind {kind} not supported.")
    holder = getattr(message, kind) if kind else None
    if holder is None or not holder.examples:
        raise invalid("Input is empty.")
    context = holder.context.SerializeToString() if kind == "example_list_with_context" else b""
    return object_array([context + example.SerializeToString() for example in holder.examples])
