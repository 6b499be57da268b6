"""Calls to the embedded server over gRPC from serialized messages, right or wrong; shared by its tests."""

import importlib
import warnings
from functools import cache
from typing import Any

from embedded_fixture import Server

_KINDS = {
    "Predict": ("PredictionService", "predict_pb2", "PredictRequest"),
    "Classify": ("PredictionService", "classification_pb2", "ClassificationRequest"),
    "Regress": ("PredictionService", "regression_pb2", "RegressionRequest"),
    "MultiInference": ("PredictionService", "inference_pb2", "MultiInferenceRequest"),
    "GetModelMetadata": ("PredictionService", "get_model_metadata_pb2", "GetModelMetadataRequest"),
    "GetModelStatus": ("ModelService", "get_model_status_pb2", "GetModelStatusRequest"),
    "HandleReloadConfigRequest": ("ModelService", "model_management_pb2", "ReloadConfigRequest"),
}
METHODS = tuple(_KINDS)


@cache
def _module(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # importing tensorflow warns about its own future
        return importlib.import_module(name)


def message(method: str, text: str) -> bytes:
    """A request in text format, serialized."""
    _, module, kind = _KINDS[method]
    parse = _module("google.protobuf.text_format").Parse
    return parse(text, getattr(_module(f"tensorflow_serving.apis.{module}"), kind)()).SerializeToString()


def predict_message(model: str, signature: str, **inputs: tuple[str, list[int], str]) -> bytes:
    """A PredictRequest whose inputs are given as dtype, shape and values in text format."""
    text = f'model_spec {{ name: "{model}" signature_name: "{signature}" }}'
    for name, (dtype, shape, values) in inputs.items():
        dims = " ".join(f"dim {{ size: {size} }}" for size in shape)
        tensor = f"dtype: {dtype} tensor_shape {{ {dims} }} {values}"
        text += f' inputs {{ key: "{name}" value {{ {tensor} }} }}'
    return message("Predict", text)


@cache
def channel(port: int) -> Any:
    """One channel per server; it is closed with the process."""
    return _module("grpc").insecure_channel(
        f"127.0.0.1:{port}",
        options=[("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)],
    )


def call(server: Server, method: str, request: bytes | str, packed: bool = False) -> tuple[str, Any]:
    """Code, and the response's bytes or the error's text."""
    grpc = _module("grpc")
    raw = message(method, request) if isinstance(request, str) else request
    ask = channel(server.grpc).unary_unary(f"/tensorflow.serving.{_KINDS[method][0]}/{method}")
    compression = grpc.Compression.Gzip if packed else None
    try:
        return "OK", ask(raw, timeout=60, compression=compression)
    except grpc.RpcError as error:
        return error.code().name, error.details()


def rpc_code(server: Server, method: str, request: bytes | str, packed: bool = False) -> str:
    return call(server, method, request, packed)[0]
