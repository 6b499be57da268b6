"""The gRPC API: PredictionService and ModelService over the rules they share with REST."""

from collections.abc import Callable
from time import perf_counter
from typing import Any, NoReturn
from urllib.parse import quote

import grpc
from google.protobuf.message import DecodeError, EncodeError  # type: ignore[import-untyped]
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)

from .budget import Allowance, Budget
from .classify_regress import CLASSIFY, classify, multi_inference, regress
from .dtypes import Array
from .examples import examples_of
from .manager import ModelManager
from .memory_cost import proto_answer_cost
from .metrics import UNKNOWN_MODEL, Metrics
from .model_config import check_available, check_labels, settings_of
from .predict import predict
from .servable import DEFAULT_SIGNATURE, Servable
from .status import Code, ServingError, as_serving_error, exhausted, invalid
from .tensor_proto import fill_proto, to_array
from .wire_cost import message_cost, predict_cost

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_SIGNATURES = "signature_def"
# Clients refuse headers of more than 8 KiB in all.
_MAX_DETAILS_BYTES = 6000


def _find(manager: ModelManager, request: Any) -> Servable:
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    return find_servable(manager, request.model_spec)


def find_servable(manager: ModelManager, spec: Any) -> Servable:
    """Find the servable a ModelSpec names by version, label or neither. Raises ServingError."""
    choice = spec.WhichOneof("version_choice")
    version = spec.version.value if choice == "version" else None
    return manager.find(spec.name, version, spec.version_label if choice == "version_label" else None)


def _fill_spec(spec: Any, servable: Servable, signature_name: str) -> None:
    spec.name = servable.name
    spec.version.value = servable.version
    spec.signature_name = signature_name or DEFAULT_SIGNATURE


# From a serialized request to a serialized response: what cannot be parsed inside gRPC leaks there.
_Method = Callable[[bytes, grpc.ServicerContext], bytes]


def _service(name: str, **methods: _Method) -> Any:
    handlers = {key: grpc.unary_unary_rpc_method_handler(method) for key, method in methods.items()}
    return grpc.method_handlers_generic_handler(f"tensorflow.serving.{name}", handlers)


def _parsed(kind: Any, raw: bytes) -> Any:
    try:
        return kind.FromString(raw)
    except DecodeError:
        # The code that gRPC itself has for it, in the real server too.
        raise ServingError(Code.INTERNAL, f"The message is no {kind.DESCRIPTOR.name}") from None


def _serialized(response: Any) -> bytes:
    try:
        serialized: bytes = response.SerializeToString()
    except (EncodeError, ValueError):
        raise exhausted("The answer is larger than a message may be, which is 2 GiB") from None
    return serialized


def _answered(kind: Any, answer: Callable[[Any], Any]) -> _Method:
    """Make the method that parses a request, answers it, and ends with code and text where that fails."""

    def call(raw: bytes, context: grpc.ServicerContext) -> bytes:
        try:
            return _serialized(answer(_parsed(kind, raw)))
        except Exception as caught:  # noqa: BLE001  one bad request must not take the server down
            return abort(context, as_serving_error(caught))

    return call


def _close_when_sent(allowance: Allowance, context: grpc.ServicerContext) -> None:
    """Keep an answer's memory counted until the client has read it or gone away."""
    if allowance.is_counted and not context.add_callback(allowance.close):
        allowance.close()


class PredictionService:
    """Inference and metadata, from serialized requests to serialized responses."""

    def __init__(self, manager: ModelManager, budget: Budget, metrics: Metrics | None = None) -> None:
        self._manager = manager
        self._budget = budget
        self._metrics = metrics

    def handlers(self) -> Any:
        """Return what a gRPC server needs to offer this service."""
        return _service(
            "PredictionService",
            Predict=self._method("Predict", predict_pb2.PredictRequest, self._predict),
            Classify=self._method("Classify", classification_pb2.ClassificationRequest, self._classify),
            Regress=self._method("Regress", regression_pb2.RegressionRequest, self._regress),
            MultiInference=self._method(
                "MultiInference", inference_pb2.MultiInferenceRequest, self._multi_inference
            ),
            GetModelMetadata=self._method(
                "GetModelMetadata", get_model_metadata_pb2.GetModelMetadataRequest, self._metadata
            ),
        )

    def _method(self, api: str, kind: Any, answer: Callable[[Any, Allowance], Any]) -> _Method:
        cost = predict_cost if api == "Predict" else message_cost

        def call(raw: bytes, context: grpc.ServicerContext) -> bytes:
            began, code, request = perf_counter(), Code.OK, None
            allowance = self._budget.open()
            try:
                allowance.take(len(raw) + cost(raw))
                request = _parsed(kind, raw)
                return _serialized(answer(request, allowance))
            except Exception as caught:  # noqa: BLE001  one bad request must not take the server down
                # Not in a variable of its own: an error leads to this frame, and both would keep the message.
                code = as_serving_error(caught).code
                return abort(context, as_serving_error(caught))
            finally:
                _close_when_sent(allowance, context)
                if self._metrics and api != "GetModelMetadata":
                    name = self._known(_model_name(request))
                    self._metrics.record(name, api, "GRPC", code.name, perf_counter() - began)

        return call

    def _known(self, model: str) -> str:
        return model if self._manager.knows(model) else UNKNOWN_MODEL

    def _predict(self, request: Any, allowance: Allowance) -> Any:
        servable = _find(self._manager, request)
        name = request.model_spec.signature_name
        outputs = predict(
            servable,
            name,
            _inputs(servable, name, request, allowance),
            request.output_filter,
            servable.is_quick,
        )
        response = predict_pb2.PredictResponse()
        _fill_spec(response.model_spec, servable, name)
        for alias, array in outputs.items():
            allowance.take(proto_answer_cost(array))
            fill_proto(response.outputs[alias], array)
        return response

    def _classify(self, request: Any, _allowance: Allowance) -> Any:
        servable = _find(self._manager, request)
        name = request.model_spec.signature_name
        rows = classify(servable, name, lambda: examples_of(request.input))
        response = classification_pb2.ClassificationResponse()
        _fill_spec(response.model_spec, servable, name)
        _fill_classification(response.result, rows)
        return response

    def _regress(self, request: Any, _allowance: Allowance) -> Any:
        servable = _find(self._manager, request)
        name = request.model_spec.signature_name
        values = regress(servable, name, lambda: examples_of(request.input))
        response = regression_pb2.RegressionResponse()
        _fill_spec(response.model_spec, servable, name)
        _fill_regression(response.result, values)
        return response

    def _multi_inference(self, request: Any, _allowance: Allowance) -> Any:
        spec = request.tasks[0].model_spec if request.tasks else model_pb2.ModelSpec()
        servable = find_servable(self._manager, spec)
        results = multi_inference(servable, request.tasks, lambda: examples_of(request.input))
        response = inference_pb2.MultiInferenceResponse()
        for task, result in zip(request.tasks, results, strict=True):
            entry = response.results.add()
            _fill_spec(entry.model_spec, servable, task.model_spec.signature_name)
            if task.method_name == CLASSIFY:
                _fill_classification(entry.classification_result, result)
            else:
                _fill_regression(entry.regression_result, result)
        return response

    def _metadata(self, request: Any, _allowance: Allowance) -> Any:
        if not request.HasField("model_spec"):
            raise invalid("Missing ModelSpec")
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != _SIGNATURES:
                raise invalid(f"Metadata field {field} is not supported")
        servable = _find(self._manager, request)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = servable.name
        response.model_spec.version.value = servable.version
        signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=servable.signature_defs)
        response.metadata[_SIGNATURES].Pack(signatures)
        return response


def _inputs(servable: Servable, signature_name: str, request: Any, allowance: Allowance) -> dict[str, Array]:
    """Read the tensors of a request; one that cannot be read is an error only if the signature needs it."""
    arrays = {alias: to_array(proto, allowance.take) for alias, proto in request.inputs.items()}
    broken = sorted(alias for alias, array in arrays.items() if array is None)
    if broken and (signature_name or DEFAULT_SIGNATURE) in servable.signatures:
        raise invalid(f"tensor parsing error: {broken[0]}")
    return {alias: array for alias, array in arrays.items() if array is not None}


def _fill_classification(result: Any, rows: Any) -> None:
    for row in rows:
        classes = result.classifications.add().classes
        for label, score in row:
            classes.add(label=label.decode("utf-8", "replace"), score=score)


def _fill_regression(result: Any, values: Any) -> None:
    for value in values.tolist():
        result.regressions.add(value=value)


def _model_name(request: Any) -> str:
    spec = (
        request.tasks[0].model_spec
        if getattr(request, "tasks", None)
        else getattr(request, "model_spec", None)
    )
    return spec.name if spec is not None else ""


class ModelService:
    """Which versions there are, and which models should be served."""

    def __init__(
        self,
        manager: ModelManager,
        reload_enabled: bool = False,
        unavailable_labels_allowed: bool = False,
    ) -> None:
        self._manager = manager
        self._reload_enabled = reload_enabled
        self._unavailable_labels_allowed = unavailable_labels_allowed

    def handlers(self) -> Any:
        """Return what a gRPC server needs to offer this service."""
        return _service(
            "ModelService",
            GetModelStatus=_answered(get_model_status_pb2.GetModelStatusRequest, self._status),
            HandleReloadConfigRequest=_answered(model_management_pb2.ReloadConfigRequest, self._reload),
        )

    def _status(self, request: Any) -> Any:
        """Return the state of one or all versions of a model."""
        if not request.HasField("model_spec"):
            raise invalid("Missing ModelSpec")
        spec = request.model_spec
        version = spec.version.value if spec.HasField("version") else None
        response = get_model_status_pb2.GetModelStatusResponse()
        for status in self._manager.status(spec.name, version):
            entry = response.model_version_status.add(version=status.version, state=int(status.state))
            entry.status.error_code = int(status.error.code)
            entry.status.error_message = status.error.message
        return response

    def _reload(self, request: Any) -> Any:
        """Serve a new config's models and no others; answers when new ones are available or have failed."""
        if not self._reload_enabled:
            raise ServingError(
                Code.UNIMPLEMENTED,
                "HandleReloadConfigRequest is off, because it lets any client load any folder as a model; "
                "start the server with --enable_reload_config to turn it on",
            )
        self._apply(request.config)
        response = model_management_pb2.ReloadConfigResponse()
        response.status.SetInParent()
        return response

    def _apply(self, config: Any) -> None:
        if config.WhichOneof("config") != "model_config_list":
            raise invalid(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                "Only ModelConfigList is currently supported"
            )
        models = settings_of(config)
        previous = self._manager.settings()
        check_labels(models, self._manager, self._unavailable_labels_allowed)
        self._manager.apply(models)
        check_available([model for model in models if model.name not in previous], self._manager)


def _details(message: str) -> str:
    """Shorten a text until it fits its headers, where each other than ASCII takes up to 12 bytes."""
    while len(quote(message)) > _MAX_DETAILS_BYTES:
        message = message[: len(message) // 2]
    return message


def abort(context: grpc.ServicerContext, error: ServingError) -> NoReturn:
    """End a call with an error's code and text."""
    context.abort(_CODES[int(error.code)], _details(error.message))
    raise error  # `abort` never returns, but its stub does not say so
