"""The protocol buffers of the servers' gRPC APIs, as far as predictions need them.

After `tensorflow/core/framework/{tensor,tensor_shape,types}.proto` (TensorFlow 2.21.0),
`tensorflow_serving/apis/{model,predict}.proto` (2.21.0) and `inference.proto` of TorchServe 0.12.0, which are
checked against these by tests. The modules that come with `tensorflow-serving-api` import TensorFlow, which
takes a load generator five seconds and 400 MB; here the same messages are made in a pool of their own.
"""

from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # type: ignore[import-untyped]

_Kind = descriptor_pb2.FieldDescriptorProto
# Field: its number, its type, and "*" for repeated ones, "map" for one from text.
_MESSAGES: Final[dict[str, dict[str, tuple[int, str, str]]]] = {
    "tensorflow.TensorShapeProto.Dim": {"size": (1, "int64", ""), "name": (2, "string", "")},
    "tensorflow.TensorShapeProto": {
        "dim": (2, "tensorflow.TensorShapeProto.Dim", "*"),
        "unknown_rank": (3, "bool", ""),
    },
    "tensorflow.TensorProto": {
        # An enumeration, which is a number of the same form on the wire.
        "dtype": (1, "int32", ""),
        "tensor_shape": (2, "tensorflow.TensorShapeProto", ""),
        "tensor_content": (4, "bytes", ""),
        "float_val": (5, "float", "*"),
        "double_val": (6, "double", "*"),
        "int_val": (7, "int32", "*"),
        "int64_val": (10, "int64", "*"),
        "bool_val": (11, "bool", "*"),
        "half_val": (13, "int32", "*"),
        "uint32_val": (16, "uint32", "*"),
        "uint64_val": (17, "uint64", "*"),
    },
    "tensorflow.serving.ModelSpec": {"name": (1, "string", ""), "signature_name": (3, "string", "")},
    "tensorflow.serving.PredictRequest": {
        "model_spec": (1, "tensorflow.serving.ModelSpec", ""),
        "inputs": (2, "tensorflow.TensorProto", "map"),
    },
    "tensorflow.serving.PredictResponse": {
        "outputs": (1, "tensorflow.TensorProto", "map"),
        "model_spec": (2, "tensorflow.serving.ModelSpec", ""),
    },
    "org.pytorch.serve.grpc.inference.PredictionsRequest": {
        "model_name": (1, "string", ""),
        "model_version": (2, "string", ""),
        "input": (3, "bytes", "map"),
    },
    "org.pytorch.serve.grpc.inference.PredictionResponse": {"prediction": (1, "bytes", "")},
}


def _add_message(parent: Any, name: str, fields: dict[str, tuple[int, str, str]]) -> None:
    message = parent.add(name=name)
    for field, (number, kind, many) in fields.items():
        added = message.field.add(name=field, number=number, label=_Kind.LABEL_OPTIONAL)
        if many:
            added.label = _Kind.LABEL_REPEATED
        if many == "map":
            entry = f"{field.title()}Entry"
            _add_message(message.nested_type, entry, {"key": (1, "string", ""), "value": (2, kind, "")})
            message.nested_type[-1].options.map_entry = True
            full_name = next(full for full, known in _MESSAGES.items() if known is fields)
            added.type, added.type_name = _Kind.TYPE_MESSAGE, f".{full_name}.{entry}"
        elif "." in kind:
            added.type, added.type_name = _Kind.TYPE_MESSAGE, f".{kind}"
        else:
            added.type = getattr(_Kind, f"TYPE_{kind.upper()}")


def _pool() -> Any:
    pool = descriptor_pool.DescriptorPool()
    files: dict[str, Any] = {}
    nested = "tensorflow.TensorShapeProto.Dim"
    for full_name, fields in _MESSAGES.items():
        package, _, name = full_name.rpartition(".")
        if full_name == nested:
            continue
        file = files.setdefault(
            package,
            descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3"),
        )
        _add_message(file.message_type, name, fields)
        if nested.startswith(f"{full_name}."):
            _add_message(file.message_type[-1].nested_type, nested.rpartition(".")[2], _MESSAGES[nested])
    files["tensorflow.serving"].dependency.append("tensorflow.proto")
    for file in files.values():
        pool.Add(file)
    return pool


_POOL: Final = _pool()


def message(full_name: str) -> Any:
    """The class of a message, such as `tensorflow.serving.PredictRequest`."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(full_name))
