"""Replay recorded requests before a version is made available, so that no client waits for its start."""

from pathlib import Path
from typing import Any

from .classify_regress import classify, multi_inference, regress
from .examples import examples_of
from .predict import predict
from .servable import Servable
from .status import Code, ServingError, invalid
from .tensor_proto import to_array

MAX_RECORDS = 1000
_FILE = Path("assets.extra", "tf_serving_warmup_requests")


def warm_up(servable: Servable) -> int:
    """Replay the version's own warm-up file, if it has one; return the number of requests replayed.

    Raises ServingError if a record cannot be read or fails, or if there are more than `MAX_RECORDS`.
    """
    path = servable.folder / _FILE
    if not path.is_file():
        return 0
    import tensorflow as tf

    count = 0
    try:
        for record in tf.compat.v1.io.tf_record_iterator(str(path)):
            if count == MAX_RECORDS:
                raise invalid(f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {path}")
            _replay(servable, record, path)
            count += 1
    except tf.errors.DataLossError as error:
        message = f"{error.message}. Please verify your warmup data is in TFRecord format."
        raise ServingError(Code.DATA_LOSS, message) from None
    return count


def _replay(servable: Servable, record: bytes, path: Path) -> None:
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from tensorflow_serving.apis import prediction_log_pb2

    try:
        log = prediction_log_pb2.PredictionLog.FromString(record)
    except DecodeError:
        raise invalid(f"Failed to parse warmup record from {path}") from None
    kind = log.WhichOneof("log_type")
    if kind not in _REPLAY:
        raise ServingError(Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {kind}")
    _REPLAY[kind](servable, getattr(log, kind).request)


def _predict(servable: Servable, request: Any) -> None:
    arrays = {alias: to_array(proto) for alias, proto in request.inputs.items()}
    inputs = {alias: array for alias, array in arrays.items() if array is not None}
    predict(servable, request.model_spec.signature_name, inputs, request.output_filter)


def _classify(servable: Servable, request: Any) -> None:
    classify(servable, request.model_spec.signature_name, lambda: examples_of(request.input))


def _regress(servable: Servable, request: Any) -> None:
    regress(servable, request.model_spec.signature_name, lambda: examples_of(request.input))


def _multi_inference(servable: Servable, request: Any) -> None:
    multi_inference(servable, request.tasks, lambda: examples_of(request.input))


_REPLAY = {
    "predict_log": _predict,
    "classify_log": _classify,
    "regress_log": _regress,
    "multi_inference_log": _multi_inference,
}
