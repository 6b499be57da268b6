"""The gRPC API: PredictionService and ModelService over the rules they share with REST."""

from collections.abc import Callable
from time import perf_counter
from typing import Any, NoReturn

import grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from .classify_regress import CLASSIFY, classify, multi_inference, regress
from .dtypes import Array
from .examples import examples_of
from .manager import ModelManager
from .metrics import Metrics
from .model_config import check_available, check_labels, settings_of
from .predict import predict
from .servable import DEFAULT_SIGNATURE, Servable
from .status import Code, ServingError, as_serving_error, invalid
from .tensor_proto import fill_proto, to_array

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_SIGNATURES = "signature_def"


def _find(manager: ModelManager, request: Any) -> Servable:
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    return find_servable(manager, request.model_spec)


def find_servable(manager: ModelManager, spec: Any) -> Servable:
    """The servable a ModelSpec names by version, label or neither. Raises ServingError."""
    choice = spec.WhichOneof("version_choice")
    version = spec.version.value if choice == "version" else None
    return manager.find(spec.name, version, spec.version_label if choice == "version_label" else None)


def _fill_spec(spec: Any, servable: Servable, signature_name: str) -> None:
    spec.name = servable.name
    spec.version.value = servable.version
    spec.signature_name = signature_name or DEFAULT_SIGNATURE


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[misc]
    """Inference and metadata. Failed calls end with the code and text of their ServingError."""

    def __init__(self, manager: ModelManager, metrics: Metrics | None = None) -> None:
        self._manager = manager
        self._metrics = metrics

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Tensors in, tensors out."""
        return self._guarded("Predict", self._predict, request, context)

    def Classify(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Examples in, labels with scores out."""
        return self._guarded("Classify", self._classify, request, context)

    def Regress(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Examples in, one number each out."""
        return self._guarded("Regress", self._regress, request, context)

    def MultiInference(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Several classifications and regressions of the same examples."""
        return self._guarded("MultiInference", self._multi_inference, request, context)

    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """The signatures of a model."""
        return self._guarded("GetModelMetadata", self._metadata, request, context)

    def _guarded(
        self, api: str, answer: Callable[[Any], Any], request: Any, context: grpc.ServicerContext
    ) -> Any:
        began = perf_counter()
        code = Code.OK
        try:
            return answer(request)
        except Exception as caught:  # noqa: BLE001  one bad request must not take the server down
            error = as_serving_error(caught)
            code = error.code
            return abort(context, error)
        finally:
            if self._metrics and api != "GetModelMetadata":
                self._metrics.record(_model_name(request), api, "GRPC", code.name, perf_counter() - began)

    def _predict(self, request: Any) -> Any:
        servable = _find(self._manager, request)
        name = request.model_spec.signature_name
        outputs = predict(
            servable, name, _inputs(servable, name, request), request.output_filter, servable.is_quick
        )
        response = predict_pb2.PredictResponse()
        _fill_spec(response.model_spec, servable, name)
        for alias, array in outputs.items():
            fill_proto(response.outputs[alias], array)
        return response

    def _classify(self, request: Any) -> Any:
        servable = _find(self._manager, request)
        name = request.model_spec.signature_name
        rows = classify(servable, name, lambda: examples_of(request.input))
        response = classification_pb2.ClassificationResponse()
        _fill_spec(response.model_spec, servable, name)
        _fill_classification(response.result, rows)
        return response

    def _regress(self, request: Any) -> Any:
        servable = _find(self._manager, request)
        name = request.model_spec.signature_name
        values = regress(servable, name, lambda: examples_of(request.input))
        response = regression_pb2.RegressionResponse()
        _fill_spec(response.model_spec, servable, name)
        _fill_regression(response.result, values)
        return response

    def _multi_inference(self, request: Any) -> Any:
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

    def _metadata(self, request: Any) -> Any:
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


def _inputs(servable: Servable, signature_name: str, request: Any) -> dict[str, Array]:
    """The tensors of a request; one that cannot be read is an error only where the signature wants it."""
    arrays = {alias: to_array(proto) for alias, proto in request.inputs.items()}
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


class ModelService(model_service_pb2_grpc.ModelServiceServicer):  # type: ignore[misc]
    """Which versions there are, and which models should be served."""

    def __init__(self, manager: ModelManager, unavailable_labels_allowed: bool = False) -> None:
        self._manager = manager
        self._unavailable_labels_allowed = unavailable_labels_allowed

    def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """The state of one or all versions of a model."""
        if not request.HasField("model_spec"):
            abort(context, invalid("Missing ModelSpec"))
        spec = request.model_spec
        version = spec.version.value if spec.HasField("version") else None
        try:
            statuses = self._manager.status(spec.name, version)
        except ServingError as error:
            abort(context, error)
        response = get_model_status_pb2.GetModelStatusResponse()
        for status in statuses:
            entry = response.model_version_status.add(version=status.version, state=int(status.state))
            entry.status.error_code = int(status.error.code)
            entry.status.error_message = status.error.message
        return response

    def HandleReloadConfigRequest(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Serve a new config's models and no others; answers when new ones are available or have failed."""
        try:
            self._reload(request.config)
        except ServingError as error:
            abort(context, error)
        response = model_management_pb2.ReloadConfigResponse()
        response.status.SetInParent()
        return response

    def _reload(self, config: Any) -> None:
        if config.WhichOneof("config") != "model_config_list":
            raise invalid(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                "Only ModelConfigList is currently supported"
            )
        models = settings_of(config)
        known = self._manager.settings()
        check_labels(models, self._manager, self._unavailable_labels_allowed)
        self._manager.apply(models)
        check_available([model for model in models if model.name not in known], self._manager)


def abort(context: grpc.ServicerContext, error: ServingError) -> NoReturn:
    """End a call with an error's code and text."""
    context.abort(_CODES[int(error.code)], error.message)
    raise error  # `abort` never returns, but its stub does not say so
