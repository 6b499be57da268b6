"""The few gRPC messages that the smoke test sends, described here so that no framework has to be imported.

Field numbers are those of TensorFlow Serving's `predict.proto` and `model.proto`, TensorFlow's
`tensor.proto`, and TorchServe's `inference.proto`.
"""

from functools import cache
from typing import Any

# Protobuf ships no types of its own.
from google.protobuf import (  # type: ignore[import-untyped]
    descriptor_pb2,
    descriptor_pool,
    message_factory,
)

PREDICT_METHOD = "/tensorflow.serving.PredictionService/Predict"
TORCHSERVE_METHOD = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions"
DT_FLOAT = 1

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
    """A message of `_MESSAGES` with these fields."""
    described = _pool().FindMessageTypeByName(f"{_PACKAGE}.{kind}")
    return message_factory.GetMessageClass(described)(**values)
