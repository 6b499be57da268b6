"""The handler inside the model archive. TorchServe's worker imports it alone, so it imports nothing of ours.

A request body is TensorFlow Serving's, so that both roads take and refuse the same bytes:
`{"instances": [x, …]}`, each `x` a nested list of the signature's shape, or `{"INPUT_NAME": nested list}`, is
answered with `{"predictions": [y, …]}`; `{"inputs": …}` with `{"outputs": …}`. The body may be packed with
gzip, and its content type is not looked at. NaN, Infinity and -Infinity are numbers as they are there, in
requests and in answers, though JSON has none. A body that does not fit gets status 400 and `{"error": "…"}`,
and the other requests of its batch are answered all the same. TorchServe allows one class in this file.
"""

import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

SIGNATURE_NAME = "serving_default"
LARGEST_BODY_BYTES = 2**28  # after unpacking
# A spelling of Infinity that TensorFlow's side knows and Python's does not.
INF = re.compile(r"(?<=[\[,:\s-])Inf(?=[\],}\s])")


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
        accepted: list[tuple[int, str, np.ndarray]] = []
        for number, request in enumerate(requests):
            packed = "gzip" in (context.get_request_header(number, "Content-Encoding") or "").lower()
            try:
                accepted.append((number, *self.decode(request, packed)))
            except (ValueError, RecursionError) as error:
                context.set_response_status(code=400, phrase="Bad Request", idx=number)
                answers[number] = {"error": str(error)}
        if accepted:
            outputs = self.predict([rows for _, _, rows in accepted])
            for (number, key, _), rows in zip(accepted, outputs, strict=True):
                # A string goes out as it is; from an object TorchServe would make indented JSON, three
                # times as long as what TensorFlow's side answers.
                context.set_response_content_type(number, "application/json")
                answers[number] = json.dumps({key: rows.tolist()})
        return answers

    @staticmethod
    def describe() -> dict[str, int]:
        """What `GET /models/NAME?customized=true` adds: the threads this worker really has."""
        return {
            "threads_per_worker": torch.get_num_threads(),
            "inter_op_threads_count": torch.get_num_interop_threads(),
        }

    def decode(self, request: dict[str, Any], packed: bool = False) -> tuple[str, np.ndarray]:
        """The key of the answer, and the samples of the request as one (n, …) float32 array.

        Raises:
            ValueError: not JSON, no samples, or another shape than the signature's.
        """
        text = body_text(request, packed)
        body = parse(text) if isinstance(text, str) else text
        if not isinstance(body, dict):
            raise ValueError(f"the body is a JSON {type(body).__name__}, expected an object with instances")
        self._check_signature(body.get("signature_name", ""))
        if ("instances" in body) == ("inputs" in body):
            raise ValueError('expected either the key "instances" or the key "inputs"')
        if "inputs" in body:
            return "outputs", self._array(self._unwrap(body["inputs"]), text)
        instances = body["instances"]
        if not isinstance(instances, list) or not instances:
            raise ValueError('"instances" must be a list that is not empty')
        if len({isinstance(instance, dict) for instance in instances}) > 1:
            raise ValueError("some instances are objects and some are not; all must be the same")
        return "predictions", self._array([self._unwrap(instance) for instance in instances], text)

    def _check_signature(self, name: Any) -> None:
        if not isinstance(name, str) or name not in ("", SIGNATURE_NAME):
            raise ValueError(f"there is no signature {name!r}; leave signature_name out")

    def _unwrap(self, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        name = self.signature["input"]["name"]
        if set(value) != {name}:
            raise ValueError(f"the inputs are {sorted(value)}, expected {[name]}")
        return value[name]

    def _array(self, nested: Any, text: Any) -> np.ndarray:
        shape = tuple(self.signature["input"]["shape"])
        array = numbers(nested, text)
        if array.ndim == 0 or array.shape[1:] != shape:
            raise ValueError(f"a sample has shape {array.shape[1:]}, expected {shape}")
        if not len(array):
            raise ValueError("the list of samples is empty")
        with np.errstate(over="ignore"):
            single = array.astype(np.float32)
        if np.isinf(single).sum() != np.isinf(array).sum():
            raise ValueError("a number is beyond float32, whose largest is 3.4028235e38")
        return single

    def predict(self, batches: list[np.ndarray]) -> list[np.ndarray]:
        """Outputs for several arrays of rows in one forward pass, split the same way."""
        rows = batches[0] if len(batches) == 1 else np.concatenate(batches)
        with torch.inference_mode():
            outputs = self.module(torch.from_numpy(rows)).numpy()
        ends = np.cumsum([len(batch) for batch in batches])[:-1]
        return np.split(outputs, ends)


def body_text(request: dict[str, Any], packed: bool) -> Any:
    """The body as text, unpacked; what the server itself has parsed, in another configuration, as it is.

    Raises:
        ValueError: it is not gzip, or not UTF-8.
    """
    body = request.get("body", request.get("data"))
    if body is None:
        raise ValueError(
            "the server took the body for a form and lost it; send the header Content-Type: application/json"
        )
    if not isinstance(body, (bytes, bytearray)):
        return body
    try:
        return (unpacked(body) if packed else bytes(body)).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"the body is not UTF-8: {error}") from error


def unpacked(body: bytes | bytearray) -> bytes:
    """A gzip body as it was.

    Raises:
        ValueError: it is no gzip, ends too early, or is too large.
    """
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        found = unpacker.decompress(body, LARGEST_BODY_BYTES)
    except zlib.error as error:
        raise ValueError(f"the body is said to be gzip and is not: {error}") from error
    if unpacker.unconsumed_tail:
        raise ValueError(f"the unpacked body is larger than {LARGEST_BODY_BYTES} bytes")
    if not unpacker.eof:
        raise ValueError("the gzip body ends too early")
    return found


def parse(text: str) -> Any:
    """The JSON in `text`; of a key that is there twice the first counts, as on TensorFlow's side.

    Raises:
        ValueError: it is not JSON.
    """
    try:
        return json.loads(text, object_pairs_hook=first_ones)
    except (ValueError, RecursionError) as error:
        if "Inf" in text and INF.search(text):
            return parse(INF.sub("Infinity", text))
        raise ValueError(f"the body is not JSON: {error}") from error


def first_ones(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object in which the first value of a key counts."""
    return dict(reversed(pairs))


def numbers(nested: Any, text: Any) -> np.ndarray:
    """Nested lists of numbers as an array of any numeric dtype.

    Raises:
        ValueError: they are ragged, or hold something else.
    """
    try:
        array = np.asarray(nested)
    except (ValueError, OverflowError) as error:
        raise ValueError("the lists of numbers differ in length or depth") from error
    suspicious = not isinstance(text, str) or "true" in text or "false" in text
    if array.dtype.kind not in "iuf" or suspicious:
        for leaf in leaves(nested):
            if isinstance(leaf, bool) or not isinstance(leaf, (int, float)):
                raise ValueError(f"{json.dumps(leaf)[:40]} is not a number")
    if array.size and array.dtype.kind == "f" and np.isinf(array).any() and isinstance(text, str):
        json.loads(INF.sub("Infinity", text), parse_float=finite)
    try:
        return array.astype(np.float64, copy=False)
    except OverflowError as error:
        raise ValueError("a number is beyond float64") from error


def leaves(nested: Any) -> Iterator[Any]:
    """What nested lists hold that is no list."""
    if not isinstance(nested, list):
        yield nested
        return
    for one in nested:
        yield from leaves(one)


def finite(text: str) -> float:
    """A number that is not written as Infinity.

    Raises:
        ValueError: it is infinite all the same.
    """
    value = float(text)
    if np.isinf(value):
        raise ValueError(f"{text[:40]} is beyond float64")
    return value
