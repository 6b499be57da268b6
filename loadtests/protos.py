"""The protocol buffers of the servers' gRPC APIs, as far as predictions need them.

After `tensorflow/core/framework/{tensor,tensor_shape,types}.proto` (TensorFlow 2.21.0),
`tensorflow_serving/apis/{model,predict}.proto` (2.21.0), `inference.proto` of TorchServe 0.12.0 and the Open
Inference Protocol's `open_inference_grpc.proto`, which are checked against these by tests. The modules that
come with `tensorflow-serving-api` import TensorFlow, which takes a load generator five seconds and 400 MB;
here the same messages are made in a pool of their own.
"""

from typing import Any, Final

from google.protobuf import (  # type: ignore[import-untyped]
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    wrappers_pb2,
)

_Kind = descriptor_pb2.FieldDescriptorProto
# Field: its number, its type, and "*" for repeated ones, "map" for one from text, or the name of a choice, of
# which a message has one field alone.
_Fields = dict[str, tuple[int, str, str]]
_NAME_AND_VERSION: Final[_Fields] = {"name": (1, "string", ""), "version": (2, "string", "")}
_TENSOR: Final[_Fields] = {
    "name": (1, "string", ""),
    "datatype": (2, "string", ""),
    "shape": (3, "int64", "*"),
}
_TENSOR_WITH_CONTENTS: Final[_Fields] = {
    **_TENSOR,
    "parameters": (4, "inference.InferParameter", "map"),
    "contents": (5, "inference.InferTensorContents", ""),
}
_ABOUT_MODEL: Final[_Fields] = {
    "model_name": (1, "string", ""),
    "model_version": (2, "string", ""),
    "id": (3, "string", ""),
    "parameters": (4, "inference.InferParameter", "map"),
}
_MESSAGES: Final[dict[str, _Fields]] = {
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
        "string_val": (8, "bytes", "*"),
        "int64_val": (10, "int64", "*"),
        "bool_val": (11, "bool", "*"),
        "half_val": (13, "int32", "*"),
        "uint32_val": (16, "uint32", "*"),
        "uint64_val": (17, "uint64", "*"),
    },
    "tensorflow.TensorInfo": {
        "name": (1, "string", ""),
        "dtype": (2, "int32", ""),
        "tensor_shape": (3, "tensorflow.TensorShapeProto", ""),
    },
    "tensorflow.SignatureDef": {
        "inputs": (1, "tensorflow.TensorInfo", "map"),
        "outputs": (2, "tensorflow.TensorInfo", "map"),
        "method_name": (3, "string", ""),
    },
    # Whatever a field of google.protobuf.Any holds, which is the same on the wire.
    "tensorflow.serving.Anything": {"type_url": (1, "string", ""), "value": (2, "bytes", "")},
    "tensorflow.serving.SignatureDefMap": {"signature_def": (1, "tensorflow.SignatureDef", "map")},
    "tensorflow.serving.GetModelMetadataRequest": {
        "model_spec": (1, "tensorflow.serving.ModelSpec", ""),
        "metadata_field": (2, "string", "*"),
    },
    "tensorflow.serving.GetModelMetadataResponse": {
        "model_spec": (1, "tensorflow.serving.ModelSpec", ""),
        "metadata": (2, "tensorflow.serving.Anything", "map"),
    },
    "tensorflow.serving.GetModelStatusRequest": {"model_spec": (1, "tensorflow.serving.ModelSpec", "")},
    "tensorflow.serving.ModelVersionStatus": {"version": (1, "int64", ""), "state": (2, "int32", "")},
    "tensorflow.serving.GetModelStatusResponse": {
        "model_version_status": (1, "tensorflow.serving.ModelVersionStatus", "*"),
    },
    "org.pytorch.serve.grpc.inference.TorchServeHealthResponse": {"health": (1, "string", "")},
    "tensorflow.serving.ModelSpec": {
        "name": (1, "string", ""),
        "version": (2, "google.protobuf.Int64Value", "version_choice"),
        "signature_name": (3, "string", ""),
        "version_label": (4, "string", "version_choice"),
    },
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
    "inference.InferParameter": {
        "bool_param": (1, "bool", "parameter_choice"),
        "int64_param": (2, "int64", "parameter_choice"),
        "string_param": (3, "string", "parameter_choice"),
        "double_param": (4, "double", "parameter_choice"),
        "uint64_param": (5, "uint64", "parameter_choice"),
    },
    "inference.InferTensorContents": {
        "bool_contents": (1, "bool", "*"),
        "int_contents": (2, "int32", "*"),
        "int64_contents": (3, "int64", "*"),
        "uint_contents": (4, "uint32", "*"),
        "uint64_contents": (5, "uint64", "*"),
        "fp32_contents": (6, "float", "*"),
        "fp64_contents": (7, "double", "*"),
        "bytes_contents": (8, "bytes", "*"),
    },
    "inference.ServerLiveRequest": {},
    "inference.ServerLiveResponse": {"live": (1, "bool", "")},
    "inference.ServerReadyRequest": {},
    "inference.ServerReadyResponse": {"ready": (1, "bool", "")},
    "inference.ModelReadyRequest": _NAME_AND_VERSION,
    "inference.ModelReadyResponse": {"ready": (1, "bool", "")},
    "inference.ServerMetadataRequest": {},
    "inference.ServerMetadataResponse": {**_NAME_AND_VERSION, "extensions": (3, "string", "*")},
    "inference.ModelMetadataRequest": _NAME_AND_VERSION,
    "inference.ModelMetadataResponse.TensorMetadata": _TENSOR,
    "inference.ModelMetadataResponse": {
        "name": (1, "string", ""),
        "versions": (2, "string", "*"),
        "platform": (3, "string", ""),
        "inputs": (4, "inference.ModelMetadataResponse.TensorMetadata", "*"),
        "outputs": (5, "inference.ModelMetadataResponse.TensorMetadata", "*"),
    },
    "inference.ModelInferRequest.InferInputTensor": _TENSOR_WITH_CONTENTS,
    "inference.ModelInferRequest.InferRequestedOutputTensor": {
        "name": (1, "string", ""),
        "parameters": (2, "inference.InferParameter", "map"),
    },
    "inference.ModelInferRequest": {
        **_ABOUT_MODEL,
        "inputs": (5, "inference.ModelInferRequest.InferInputTensor", "*"),
        "outputs": (6, "inference.ModelInferRequest.InferRequestedOutputTensor", "*"),
        "raw_input_contents": (7, "bytes", "*"),
    },
    "inference.ModelInferResponse.InferOutputTensor": _TENSOR_WITH_CONTENTS,
    "inference.ModelInferResponse": {
        **_ABOUT_MODEL,
        "outputs": (5, "inference.ModelInferResponse.InferOutputTensor", "*"),
        "raw_output_contents": (6, "bytes", "*"),
    },
}


def _fill(message: Any, full_name: str, fields: _Fields) -> None:
    """Give a message its fields, and the messages that are named after it."""
    for field, (number, kind, many) in fields.items():
        added = message.field.add(name=field, number=number, label=_Kind.LABEL_OPTIONAL)
        if many in ("*", "map"):
            added.label = _Kind.LABEL_REPEATED
        elif many:
            if not message.oneof_decl:
                message.oneof_decl.add(name=many)
            added.oneof_index = 0
        if many == "map":
            entry = f"{field.title().replace('_', '')}Entry"
            pair = message.nested_type.add(name=entry)
            _fill(pair, f"{full_name}.{entry}", {"key": (1, "string", ""), "value": (2, kind, "")})
            pair.options.map_entry = True
            added.type, added.type_name = _Kind.TYPE_MESSAGE, f".{full_name}.{entry}"
        elif "." in kind:
            added.type, added.type_name = _Kind.TYPE_MESSAGE, f".{kind}"
        else:
            added.type = getattr(_Kind, f"TYPE_{kind.upper()}")
    for nested, own in _MESSAGES.items():
        parent, _, name = nested.rpartition(".")
        if parent == full_name:
            _fill(message.nested_type.add(name=name), nested, own)


def _pool() -> Any:
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    files: dict[str, Any] = {}
    for full_name, fields in _MESSAGES.items():
        package, _, name = full_name.rpartition(".")
        if package in _MESSAGES:
            continue
        file = files.setdefault(
            package,
            descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3"),
        )
        _fill(file.message_type.add(name=name), full_name, fields)
    files["tensorflow.serving"].dependency.extend(["tensorflow.proto", wrappers_pb2.DESCRIPTOR.name])
    for file in files.values():
        pool.Add(file)
    return pool


_POOL: Final = _pool()


def message(full_name: str) -> Any:
    """Return the class of a message, such as `tensorflow.serving.PredictRequest`."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(full_name))
