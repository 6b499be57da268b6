"""The few gRPC messages that the smoke test sends, described here so that no framework has to be imported.

Field numbers are those of TensorFlow Serving's `predict.proto` and `model.proto`, TensorFlow's
`tensor.proto`, and TorchServe's `inference.proto`.
"""

from functools import cache
from typing import Any

import numpy as np

# Protobuf ships no types of its own.
from google.protobuf import (  # type: ignore[import-untyped]
    descriptor_pb2,
    descriptor_pool,
    message_factory,
)

from models.tensors import Array, is_text

TEXT = "string"
# TensorFlow's number of each dtype, and the field that holds values of it where `tensor_content` does not.
TENSOR_TYPES = {
    "float32": (1, "float_val"),
    "float64": (2, "double_val"),
    "int32": (3, "int_val"),
    "uint8": (4, "int_val"),
    "int16": (5, "int_val"),
    "int8": (6, "int_val"),
    "int64": (9, "int64_val"),
    "bool": (10, "bool_val"),
    TEXT: (7, "string_val"),
    "float16": (19, "half_val"),
}
PREDICT_METHOD = "/tensorflow.serving.PredictionService/Predict"
TORCHSERVE_METHOD = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions"

_Field = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "tandem.smoke"
# Message -> field -> (number, type or message name, repeated).
_MESSAGES: dict[str, dict[str, tuple[int, int | str, bool]]] = {
    "ModelSpec": {"name": (1, _Field.TYPE_STRING, False), "signature_name": (3, _Field.TYPE_STRING, False)},
    "Dim": {"size": (1, _Field.TYPE_INT64, False)},
    "Shape": {"dim": (2, "Dim", True)},
    "Tensor": {
        "dtype": (1, _Field.TYPE_INT32, False),
        "tensor_shape": (2, "Shape", False),
        "tensor_content": (4, _Field.TYPE_BYTES, False),
        "float_val": (5, _Field.TYPE_FLOAT, True),
        "double_val": (6, _Field.TYPE_DOUBLE, True),
        "int_val": (7, _Field.TYPE_INT32, True),
        "string_val": (8, _Field.TYPE_BYTES, True),
        "int64_val": (10, _Field.TYPE_INT64, True),
        "bool_val": (11, _Field.TYPE_BOOL, True),
        "half_val": (13, _Field.TYPE_INT32, True),
    },
    # A protobuf map is a repeated message of key and value.
    "NamedTensor": {"key": (1, _Field.TYPE_STRING, False), "value": (2, "Tensor", False)},
    "PredictRequest": {"model_spec": (1, "ModelSpec", False), "inputs": (2, "NamedTensor", True)},
    "PredictResponse": {"outputs": (1, "NamedTensor", True)},
    "NamedBytes": {"key": (1, _Field.TYPE_STRING, False), "value": (2, _Field.TYPE_BYTES, False)},
    "PredictionsRequest": {"model_name": (1, _Field.TYPE_STRING, False), "input": (3, "NamedBytes", True)},
    "PredictionResponse": {"prediction": (1, _Field.TYPE_BYTES, False)},
}


@cache
def _pool() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="tandem_smoke.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        described = file.message_type.add(name=name)
        for field_name, (number, kind, repeated) in fields.items():
            field = described.field.add(
                name=field_name,
                number=number,
                label=_Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL,
            )
            if isinstance(kind, str):
                field.type, field.type_name = _Field.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
            else:
                field.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


def message(kind: str, /, **values: Any) -> Any:
    """Make a message of a kind in `_MESSAGES` with these fields."""
    described = _pool().FindMessageTypeByName(f"{_PACKAGE}.{kind}")
    return message_factory.GetMessageClass(described)(**values)


def tensor_of(array: Array) -> Any:
    """Convert an array to a Tensor message."""
    number, field = TENSOR_TYPES[TEXT if is_text(array) else array.dtype.name]
    shape = message("Shape", dim=[message("Dim", size=size) for size in array.shape])
    if is_text(array):
        return message("Tensor", dtype=number, tensor_shape=shape, **{field: array.ravel().tolist()})
    return message("Tensor", dtype=number, tensor_shape=shape, tensor_content=array.tobytes())


def array_of(proto: Any) -> Array:
    """Convert a Tensor message to an array.

    Raises:
        ValueError: it is of a type that models here do not have, or has more or fewer values than its shape.
    """
    types = {
        number: (np.dtype("S" if name == TEXT else name), field)
        for name, (number, field) in TENSOR_TYPES.items()
    }
    if proto.dtype not in types:
        raise ValueError(f"a tensor of TensorFlow's type {proto.dtype}")
    dtype, field = types[proto.dtype]
    shape = [dim.size for dim in proto.tensor_shape.dim]
    if proto.tensor_content:
        return np.frombuffer(proto.tensor_content, dtype).reshape(shape)
    values = list(getattr(proto, field))
    if field == "half_val":  # the bits of each number
        return np.array(values, np.uint16).view(dtype).reshape(shape)
    # One value stands for as many as the shape holds.
    flat = np.array(values * int(np.prod(shape)) if len(values) == 1 else values, dtype)
    return flat.reshape(shape)
