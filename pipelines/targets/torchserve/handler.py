"""The handler inside the model archive. TorchServe's worker imports it alone, so it imports nothing of ours.

A request body is TensorFlow Serving's row format, so that both roads get the same bytes:
`{"instances": [x, …]}`, each `x` a nested list of the signature's shape, or `{"INPUT_NAME": nested list}`.
The answer is `{"predictions": [y, …]}`. A body that does not fit gets status 400 and `{"error": "…"}`, and
the other requests of its batch are answered all the same. TorchServe allows one class in this file.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch


class Handler:
    """Loads the TorchScript file once, then answers batches of requests."""

    def __init__(self) -> None:
        self.module: Any = None
        self.signature: dict[str, Any] = {}

    def initialize(self, context: Any) -> None:
        """Called once by the worker, with the folder the archive was unpacked to."""
        folder = Path(context.system_properties["model_dir"])
        self.signature = json.loads((folder / "signature.json").read_text())
        serialized = context.manifest["model"]["serializedFile"]
        self.module = torch.jit.load(folder / serialized, map_location="cpu")  # type: ignore[no-untyped-call]
        self.module.eval()

    def handle(self, requests: list[dict[str, Any]], context: Any) -> list[Any]:
        """One answer per request, in order; requests of one batch share one forward pass."""
        if context.get_request_header(0, "describe") == "True":
            return [self.describe()]
        answers: list[Any] = [None] * len(requests)
        accepted: list[tuple[int, np.ndarray]] = []
        for number, request in enumerate(requests):
            try:
                accepted.append((number, self.decode(request)))
            except ValueError as error:
                context.set_response_status(code=400, phrase="Bad Request", idx=number)
                answers[number] = {"error": str(error)}
        if accepted:
            for (number, _), rows in zip(accepted, self.predict([rows for _, rows in accepted]), strict=True):
                # A string goes out as it is; from an object TorchServe would make indented JSON, three
                # times as long as what TensorFlow's side answers.
                context.set_response_content_type(number, "application/json")
                answers[number] = json.dumps({"predictions": rows.tolist()})
        return answers

    @staticmethod
    def describe() -> dict[str, int]:
        """What `GET /models/NAME?customized=true` adds: the threads this worker really has."""
        return {
            "threads_per_worker": torch.get_num_threads(),
            "inter_op_threads_count": torch.get_num_interop_threads(),
        }

    def decode(self, request: dict[str, Any]) -> np.ndarray:
        """The request's instances as one (n, …) float32 array.

        Raises:
            ValueError: not JSON, no instances, or another shape than the signature's.
        """
        body = request.get("body", request.get("data"))
        if isinstance(body, (bytes, bytearray)):
            body = self._parse(body)
        instances = body.get("instances") if isinstance(body, dict) else None
        if not isinstance(instances, list) or not instances:
            raise ValueError('expected a JSON object with a non-empty list "instances"')
        return self._array([self._unwrap(instance) for instance in instances])

    @staticmethod
    def _parse(body: bytes | bytearray) -> Any:
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"the body is not JSON: {error}") from error

    def _unwrap(self, instance: Any) -> Any:
        if not isinstance(instance, dict):
            return instance
        name = self.signature["input"]["name"]
        if set(instance) != {name}:
            raise ValueError(f"an instance has keys {sorted(instance)}, expected {[name]}")
        return instance[name]

    def _array(self, instances: list[Any]) -> np.ndarray:
        shape = tuple(self.signature["input"]["shape"])
        try:
            array = np.asarray(instances)
        except ValueError as error:
            raise ValueError(f"the instances differ in shape, expected {shape} each") from error
        if array.dtype.kind not in "iuf":
            raise ValueError("the instances hold something that is not a number")
        if array.shape[1:] != shape:
            raise ValueError(f"an instance has shape {array.shape[1:]}, expected {shape}")
        return array.astype(np.float32)

    def predict(self, batches: list[np.ndarray]) -> list[np.ndarray]:
        """Outputs for several arrays of rows in one forward pass, split the same way."""
        rows = batches[0] if len(batches) == 1 else np.concatenate(batches)
        with torch.inference_mode():
            outputs = self.module(torch.from_numpy(rows)).numpy()
        ends = np.cumsum([len(batch) for batch in batches])[:-1]
        return np.split(outputs, ends)
