"""How a running server is asked: what the bytes travel over, and what they look like."""

from dataclasses import dataclass, field
from typing import Literal

Transport = Literal["http", "grpc"]
TRANSPORTS: dict[str, Transport] = {"rest": "http", "grpc": "grpc"}
"""Transports by the words that people type."""

BODIES = {
    "rows": "json-rows",
    "columns": "json-columns",
    "npy": "npy",
    "raw": "raw",
    "tensor-proto": "tensor-proto",
    "tensor-map": "tensor-map",
    "oip-json": "oip-json",
    "oip-binary": "oip-binary",
    "oip-grpc": "oip-grpc",
}
"""Codecs of `loadtests.codecs` by the words that people type."""

# Where predictions are asked for, by API; over gRPC the method's full name.
TFSERVING_PATH = "/v1/models/{model}:predict"
TFSERVING_METHOD = "/tensorflow.serving.PredictionService/Predict"
TORCHSERVE_PATH = "/predictions/{model}"
TORCHSERVE_METHOD = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions"
OIP_PATH = "/v2/models/{model}/infer"
OIP_METHOD = "/inference.GRPCInferenceService/ModelInfer"


@dataclass(frozen=True)
class Protocol:
    """One way to ask a server for predictions.

    Attributes:
        codec: a name of `loadtests.codecs.CODECS`.
        path: where to, with `{model}` for the model's name; over gRPC the method's full name.
        refused_dtypes: of tensors, which the server neither reads nor writes in such a body.
    """

    transport: Transport = "http"
    codec: str = "json-rows"
    path: str = "/"
    refused_dtypes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def name(self) -> str:
        """For people."""
        return "gRPC" if self.transport == "grpc" else "REST"

    @property
    def body(self) -> str:
        """The word for its codec."""
        return next(word for word, codec in BODIES.items() if codec == self.codec)

    def path_of(self, model: str) -> str:
        """Return the path to ask for predictions of `model`."""
        return self.path.format(model=model)

    def base_url(self, rest_url: str, grpc_address: str) -> str:
        """Return where its requests go, of a server that listens on both."""
        return f"grpc://{grpc_address}" if self.transport == "grpc" else rest_url
