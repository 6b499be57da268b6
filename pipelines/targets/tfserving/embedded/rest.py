"""The REST API: a request's method, path and body to an answer's status, type and body.

Knows nothing of sockets.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

from .budget import Allowance, Budget
from .classify_regress import classify, regress
from .examples import parse_examples
from .json_response import classify_body, column_body, error_body, regress_body, row_body
from .manager import ModelManager, VersionStatus
from .memory_cost import json_answer_cost, json_cost
from .metrics import UNKNOWN_MODEL, Metrics
from .predict import predict
from .predict_request import Specs, parse_predict
from .routes import API_PREFIX, Route, find_route
from .servable import DEFAULT_SIGNATURE, Servable
from .status import Code, ServingError, TooLargeError, as_serving_error, invalid

JSON = b"application/json"
HTML = b"text/html"
_OPTIONS_TYPE = b"text/html; charset=ISO-8859-1"
_REASONS = {400: "Bad Request", 404: "Not Found", 501: "Not Implemented"}
_APIS = {"predict": "Predict", "classify": "Classify", "regress": "Regress"}
# Larger bodies are never answered on the event loop itself.
_QUICK_BYTES = 8192
_UNPACKED_AT_ONCE = 1 << 18
# The window, a piece while its parts are joined, and a copy of what is still packed.
_UNPACKER_BYTES = 3 * _UNPACKED_AT_ONCE
# What bodies and numbers up to this size become stays below what is counted at all.
_UNCOUNTED_BYTES = 400


@dataclass(slots=True)
class Request:
    """One HTTP request: `path` without its query, `body` as it came over the wire."""

    method: str
    path: str
    body: bytes = b""
    gzipped: bool = False
    origin: bool = False
    allowance: Allowance | None = None


@dataclass(slots=True)
class Response:
    """One HTTP answer."""

    status: int
    content_type: bytes
    body: bytes
    allowance: Allowance | None = None


def html_page(status: int) -> Response:
    """Make the short HTML page for what is not part of the API."""
    reason = _REASONS[status]
    text = (
        f"<HTML><HEAD>\n<TITLE>{status} {reason}</TITLE>\n</HEAD><BODY>\n<H1>{reason}</H1>\n</BODY></HTML>\n"
    )
    return Response(status, HTML, text.encode())


def error_response(error: ServingError) -> Response:
    """Make the JSON answer that a client gets for a ServingError."""
    return Response(error.http_status, JSON, error_body(error.message))


class RestApi:
    """Answers REST requests from the models of a manager; thread-safe."""

    def __init__(
        self,
        manager: ModelManager,
        max_body_bytes: int,
        budget: Budget,
        metrics: Metrics | None = None,
        metrics_path: str = "",
    ) -> None:
        self._manager = manager
        self._max_body_bytes = max_body_bytes
        self._budget = budget
        self._metrics = metrics
        self._metrics_path = metrics_path if metrics else None

    def is_quick(self, request: Request) -> bool:
        """Return whether a request may be answered on the event loop without keeping others waiting."""
        if request.method != "POST":
            return True
        if len(request.body) > _QUICK_BYTES or request.gzipped:
            return False
        try:
            route = find_route("POST", request.path)
            return self._find(route).is_quick
        except ServingError:
            return True  # there is nothing to run

    def handle(self, request: Request, quick: bool = False) -> Response:
        """Answer one request; never raises. Whoever sends the answer closes its allowance."""
        allowance = request.allowance or self._budget.open()
        try:
            response = self._answer(request, quick, allowance)
        except Exception as error:  # noqa: BLE001  one bad request must not take the server down
            response = error_response(as_serving_error(error))
        request.body = b""  # a holder of the request holds none of the memory that is given back now
        if allowance.is_counted:
            allowance.keep(len(response.body))
            response.allowance = allowance
        return response

    def _answer(self, request: Request, quick: bool, allowance: Allowance) -> Response:
        if request.path == self._metrics_path and self._metrics:
            return Response(200, b"text/plain", self._metrics.page().encode())
        if not request.path.startswith(API_PREFIX):
            return html_page(404)
        if request.method == "OPTIONS":
            return Response(200 if request.origin else 400, _OPTIONS_TYPE, b"")
        route = find_route(request.method, request.path)
        if route.action == "status":
            return Response(200, JSON, self._status(route))
        if route.action == "metadata":
            return Response(200, JSON, self._metadata(route))
        return Response(200, JSON, self._infer(route, request, quick, allowance))

    def _infer(self, route: Route, request: Request, quick: bool, allowance: Allowance) -> bytes:
        began = perf_counter()
        code = Code.OK
        try:
            body = self._unpacked(request, allowance) if request.gzipped else request.body
            if len(body) > _UNCOUNTED_BYTES:
                allowance.take(json_cost(body))
            return _ACTIONS[route.action](self, route, body, quick, allowance)
        except ServingError as error:
            code = error.code
            raise
        finally:
            seconds = perf_counter() - began
            if self._metrics:
                model = route.model if self._manager.knows(route.model) else UNKNOWN_MODEL
                self._metrics.record(model, _APIS[route.action], "REST", code.name, seconds)

    def _unpacked(self, request: Request, allowance: Allowance) -> bytes:
        """Unpack the gzip body, to nothing if it is no gzip, as the real server does.

        Counted piece by piece, so that a small body cannot become a large one. Raises ServingError.
        """
        unpacker, packed = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16), request.body
        pieces, size = [], 0
        allowance.take(_UNPACKER_BYTES + len(packed))
        try:
            while packed and not unpacker.eof:
                pieces.append(unpacker.decompress(packed, _UNPACKED_AT_ONCE))
                packed, size = unpacker.unconsumed_tail, size + len(pieces[-1])
                # Twice: as pieces and joined.
                allowance.take(2 * len(pieces[-1]))
                if size > self._max_body_bytes:
                    raise TooLargeError(f"The unpacked body is larger than {self._max_body_bytes} bytes")
        except zlib.error:
            return b""
        return b"".join(pieces) if unpacker.eof else b""

    def _find(self, route: Route) -> Servable:
        return self._manager.find(route.model, route.version, route.label)

    def _predict(self, route: Route, body: bytes, quick: bool, allowance: Allowance) -> bytes:
        servables: list[Servable] = []

        def specs_of(name: str) -> Specs:
            servables.append(self._find(route))
            signature = servables[0].signatures.get(name or DEFAULT_SIGNATURE)
            if signature is None:
                raise invalid(
                    f'Serving signature name: "{name or DEFAULT_SIGNATURE}" not found in signature def'
                )
            return signature.inputs

        parsed = parse_predict(body, specs_of)
        outputs = predict(servables[0], parsed.signature_name, parsed.inputs, quick=quick)
        for output in outputs.values():
            if output.nbytes > _UNCOUNTED_BYTES or output.dtype == object or not output.size:
                allowance.take(json_answer_cost(output))
        return row_body(outputs) if parsed.by_row else column_body(outputs)

    def _classify(self, route: Route, body: bytes, _quick: bool, _allowance: Allowance) -> bytes:
        name, examples = parse_examples(body)
        return classify_body(classify(self._find(route), name, lambda: examples))

    def _regress(self, route: Route, body: bytes, _quick: bool, _allowance: Allowance) -> bytes:
        name, examples = parse_examples(body)
        return regress_body(regress(self._find(route), name, lambda: examples))

    def _status(self, route: Route) -> bytes:
        return status_body(self._manager.status(route.model, route.version))

    def _metadata(self, route: Route) -> bytes:
        servable = self._find(route)
        return metadata_body(servable)


_ACTIONS: dict[str, Callable[[RestApi, Route, bytes, bool, Allowance], bytes]] = {
    "predict": RestApi._predict,
    "classify": RestApi._classify,
    "regress": RestApi._regress,
}


def status_body(statuses: list[VersionStatus]) -> bytes:
    """Write version states as JSON, laid out like the real server's."""
    from .json_text import string_text

    entries = ",\n".join(
        f'  {{\n   "version": "{entry.version}",\n   "state": "{entry.state.name}",\n   "status": {{\n'
        f'    "error_code": "{entry.error.code.name}",\n'
        f'    "error_message": {string_text(entry.error.message)}\n   }}\n  }}'
        for entry in statuses
    )
    return f'{{\n "model_version_status": [\n{entries}\n ]\n}}\n'.encode()


def metadata_body(servable: Servable) -> bytes:
    """Write a servable's signatures as JSON, every field present."""
    from google.protobuf import json_format  # type: ignore[import-untyped]
    from tensorflow_serving.apis import get_model_metadata_pb2, model_pb2

    spec = model_pb2.ModelSpec(name=servable.name, version={"value": servable.version})
    signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=servable.signature_defs)
    parts = [
        json_format.MessageToJson(
            message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True, indent=1
        )
        for message in (spec, signatures)
    ]
    return f'{{\n"model_spec":{parts[0]}\n,\n"metadata": {{"signature_def": {parts[1]}\n}}\n}}\n'.encode()
