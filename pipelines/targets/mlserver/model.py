"""The runtime that MLServer loads. It is imported in MLServer's own environment: it imports nothing of ours.

The file says its own inputs and outputs (`signature.json` in it). A tensor of another name, datatype or shape
than those, or what the model refuses, is status 400 with the reason.
"""

import json
import time
from typing import Any

import numpy as np
import torch
from mlserver import MLModel
from mlserver.errors import InferenceError
from mlserver.types import (
    InferenceRequest,
    InferenceResponse,
    MetadataModelResponse,
    MetadataTensor,
    Parameters,
    RequestInput,
    ResponseOutput,
)
from prometheus_client import Counter

SIGNATURE_NAME = "signature.json"
DATATYPES = {
    "bool": "BOOL",
    **{f"{kind}{bits}": f"{kind.upper()}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
    **{f"float{bits}": f"FP{bits}" for bits in (16, 32, 64)},
}
NS_PER_S = 1e9
# MLServer reloads this module for every load of a model, which keeps what was here.
COUNTERS: list[Any] = globals().get("COUNTERS", [])


class TorchScript(MLModel):  # type: ignore[misc, unused-ignore]
    """One TorchScript file; MLServer makes one in each of its workers."""

    async def load(self) -> bool:
        """Read the file, and set this worker's threads if the settings say how many."""
        parameters = self.settings.parameters
        extra = (parameters.extra if parameters else None) or {}
        if extra.get("torch_threads"):
            torch.set_num_threads(extra["torch_threads"])
        packed = {SIGNATURE_NAME: ""}
        self.module: Any = torch.jit.load(parameters.uri, map_location="cpu", _extra_files=packed)  # type: ignore[no-untyped-call]
        self.module.eval()
        self.signature = json.loads(packed[SIGNATURE_NAME])
        self.inputs = [described(tensor) for tensor in self.signature["inputs"]]
        self.outputs = [described(tensor) for tensor in self.signature["outputs"]]
        self.batched = self.settings.max_batch_size > 1 and self.settings.max_batch_time > 0
        self.seconds, self.handled = counters()
        return True

    async def metadata(self) -> MetadataModelResponse:
        """Return MLServer's own metadata, the version that it leaves out, and how this worker computes."""
        metadata = await super().metadata()
        metadata.versions = [self.version]
        metadata.parameters = Parameters(
            model_digest=self.signature["model_digest"],
            torch_threads=torch.get_num_threads(),
            torch_interop_threads=torch.get_num_interop_threads(),
        )
        return metadata

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Return outputs for the tensors of one request, or of several that MLServer put together."""
        began = time.perf_counter_ns()
        batch = self.decode_batch(payload)
        decoded = time.perf_counter_ns()
        tensors = self.compute(batch)
        computed = time.perf_counter_ns()
        response = self.encode_answer(payload, tensors)
        # MLServer does not tell how many requests it put together, each of which waits for all of this.
        self.count(len(batch[0]) if self.batched else 1, began, decoded, computed, time.perf_counter_ns())
        return response

    def count(self, requests: int, began: int, decoded: int, computed: int, encoded: int) -> None:
        """Add what each of the requests took, from the times in ns at which its parts were done."""
        taken_ns = (decoded - began, computed - decoded, encoded - computed)
        for counter, ns in zip(self.seconds, taken_ns, strict=True):
            counter.inc(ns * requests / NS_PER_S)
        self.handled.inc(requests)

    def decode_batch(self, payload: InferenceRequest) -> list[torch.Tensor]:
        """Return the inputs in the model's order."""
        inputs = {tensor.name: tensor for tensor in payload.inputs}
        names = [tensor["name"] for tensor in self.signature["inputs"]]
        if inputs.keys() != set(names) or len(payload.inputs) != len(names):
            raise InferenceError(f"the inputs are {sorted(inputs)}, expected {names}")
        arrays = {
            tensor["name"]: array_of(tensor, inputs[tensor["name"]]) for tensor in self.signature["inputs"]
        }
        require_rows(arrays)
        return [torch.from_numpy(array) for array in arrays.values()]

    def compute(self, batch: list[torch.Tensor]) -> list[torch.Tensor]:
        """Return the model's outputs in its order."""
        try:
            with torch.inference_mode():
                answer = self.module(*batch)
        except (RuntimeError, IndexError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            raise InferenceError(f"the model refuses the tensors: {reason}") from error
        outputs = [tensor["name"] for tensor in self.signature["outputs"]]
        if isinstance(answer, dict) and answer.keys() == set(outputs):
            answer = [answer[name] for name in outputs]
        tensors = [tensor.float() if tensor.dtype == torch.bfloat16 else tensor for tensor in flat(answer)]
        if len(tensors) != len(outputs):
            raise InferenceError(f"the model gives {len(tensors)} outputs, expected {outputs}")
        return tensors

    def encode_answer(self, payload: InferenceRequest, tensors: list[torch.Tensor]) -> InferenceResponse:
        """Return the outputs that the request asks for."""
        outputs = [tensor["name"] for tensor in self.signature["outputs"]]
        requested = {output.name for output in payload.outputs or []} or set(outputs)
        unknown = sorted(requested - set(outputs))
        if unknown:
            raise InferenceError(f"there is no output {unknown[0]!r}; the outputs are {outputs}")
        return InferenceResponse(
            model_name=self.name,
            model_version=self.version,
            outputs=[
                encoded(name, tensor.contiguous().numpy())
                for name, tensor in zip(outputs, tensors, strict=True)
                if name in requested
            ],
        )


def counters() -> tuple[list[Any], Any]:
    """Make this process's counts of seconds decoding, computing and encoding, and of what they are of.

    They are made late: only then does MLServer share them among its processes, and its metrics have the sum.
    Made once: a model may be loaded again. `mlserver.log` has histograms alone, which cost more and are
    missing from MLServer's metrics where the model runs in the server's own process.
    """
    if not COUNTERS:
        seconds = Counter("tandem_handled_seconds", "Seconds of our runtime, for each request", ["part"])
        count = Counter("tandem_handled", "Requests that our runtime answered; rows where MLServer batches")
        COUNTERS.extend((seconds, count))
    seconds, count = COUNTERS
    return [seconds.labels(part=part) for part in ("decode", "inference", "encode")], count


def described(tensor: dict[str, Any]) -> MetadataTensor:
    """Describe a tensor of the signature as the protocol's metadata has it, the batch first."""
    shape = [-1, *(-1 if size is None else size for size in tensor["shape"])]
    return MetadataTensor(name=tensor["name"], datatype=DATATYPES[tensor["dtype"]], shape=shape)


def array_of(tensor: dict[str, Any], request_input: RequestInput) -> np.ndarray:
    """Convert the data of one input to an array.

    Raises:
        InferenceError: another datatype or shape, or other values than the datatype takes.
    """
    name, dtype = tensor["name"], np.dtype(tensor["dtype"])
    datatype = getattr(request_input.datatype, "value", request_input.datatype)
    if datatype != DATATYPES[tensor["dtype"]]:
        raise InferenceError(f"{name!r} is {datatype}, expected {DATATYPES[tensor['dtype']]}")
    wanted = [None, *tensor["shape"]]
    if len(request_input.shape) != len(wanted) or any(
        length < 0 or size not in (None, length)
        for size, length in zip(wanted, request_input.shape, strict=True)
    ):
        raise InferenceError(f"{name!r} has the shape {list(request_input.shape)}, expected {wanted}")
    data = getattr(request_input.data, "root", request_input.data)
    if isinstance(data, bytes):
        array = np.frombuffer(data, dtype.newbyteorder("<")).copy()
    else:
        try:
            # NumPy would give every number the room of the longest string.
            if holds_text(data):
                raise InferenceError(f"{name!r} is {datatype}, and holds other values")
            values = numbers(data, dtype)
            if values.size and values.dtype.kind not in {"b": "b", "f": "iuf"}.get(dtype.kind, "iu"):
                raise InferenceError(f"{name!r} is {datatype}, and holds other values")
            if values.size and dtype.kind in "iu":
                require_range(name, values, dtype)
            array = np.ascontiguousarray(values, dtype)
        except (ValueError, OverflowError, MemoryError, RecursionError) as error:
            raise InferenceError(f"{name!r}: {str(error) or type(error).__name__}") from error
    try:
        return array.reshape(request_input.shape)
    except ValueError as error:
        raise InferenceError(
            f"{name!r} has {array.size} values in the shape {list(request_input.shape)}"
        ) from error


def numbers(data: Any, dtype: np.dtype) -> np.ndarray:
    """Convert nested lists as NumPy does, except UINT64 beyond INT64, of which it would make floats."""
    values = np.asarray(data)
    if dtype == np.uint64 and values.dtype.kind == "f":
        objects = np.asarray(data, object)
        if all(type(value) is int for value in objects.flat):
            return objects.astype(np.uint64)
    return values


def holds_text(values: Any) -> bool:
    """Return whether a string is in nested lists.

    Numbers are added up, a fifth of what looking at each would cost; anything else cannot be.
    """
    if not isinstance(values, list):
        return isinstance(values, str)
    try:
        sum(values)
    except (TypeError, OverflowError):
        return any(map(holds_text, values))
    return False


def require_range(name: str, values: np.ndarray, dtype: np.dtype) -> None:
    """Raise InferenceError for a whole number beyond the datatype, which NumPy would turn into another."""
    limits = np.iinfo(dtype)
    for value in (int(values.min()), int(values.max())):
        if not limits.min <= value <= limits.max:
            raise InferenceError(f"{name!r} is {DATATYPES[dtype.name]}, and holds {value}")


def require_rows(batch: dict[str, np.ndarray]) -> None:
    """Raise InferenceError unless all inputs have the same number of rows."""
    rows = {name: array.shape[0] for name, array in batch.items()}
    if len(set(rows.values())) > 1:
        raise InferenceError(f"the inputs have different numbers of rows: {rows}")


def encoded(name: str, array: np.ndarray) -> ResponseOutput:
    """Encode an output with its data flat."""
    return ResponseOutput(
        name=name, shape=list(array.shape), datatype=DATATYPES[array.dtype.name], data=array.ravel().tolist()
    )


def flat(answer: Any) -> list[torch.Tensor]:
    """Flatten what a model returns, nested tuples, lists and dicts, to tensors from left to right."""
    if isinstance(answer, dict):
        answer = list(answer.values())
    return (
        [tensor for part in answer for tensor in flat(part)]
        if isinstance(answer, (tuple, list))
        else [answer]
    )
