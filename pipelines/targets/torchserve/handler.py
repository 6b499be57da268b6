"""The handler inside the model archive. TorchServe's worker imports it alone, so it imports nothing of ours.

A request body is TensorFlow Serving's, so that both roads take and refuse the same bytes:
`{"instances": [x, …]}`, each `x` a nested list of the signature's shape, or `{"INPUT": nested list, …}` with
all inputs by name, is answered with `{"predictions": [y, …]}`, each `y` a nested list, or an object where
there are several outputs; `{"inputs": …}`, all samples of each input at once, with `{"outputs": …}`. NaN,
Infinity and -Infinity are numbers as they are there, in requests and in answers, though JSON has none. A body
that does not fit, or that the model refuses, gets status 400 and `{"error": "…"}`, and the other requests of
its batch are answered all the same; those whose samples have one shape share a forward pass.

Two content types say that a body is binary: `application/x-npy`, NumPy's `.npy`, or for several inputs its
`.npz`; and `application/octet-stream`, the inputs' bytes alone, little-endian, one input after the other,
where the signature fixes all dimensions but the first. Over gRPC each entry of the request's map is a `.npy`
by its input's name, or one called `body` is JSON as above. Binary tensors have the signature's dtypes
exactly, are read where they lie, and are answered with a `.npy`, or a `.npz` of several outputs. Any other
content type is JSON. A body over HTTP may be packed with gzip. TorchServe allows one class in this file; how
bodies are read and written is in the file beside it.
"""

import io
import json
import math
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from pipelines.targets.torchserve import tandem_bodies as bodies
else:
    import tandem_bodies as bodies

SIGNATURE_NAME = "serving_default"
NPY, RAW = "application/x-npy", "application/octet-stream"
BINARY = "binary"  # stands for the key of an answer that is no JSON
PACKAGE_SUFFIX = ".pt2"


class Handler:
    """Loads TorchScript or a package of compiled code once, then answers batches of requests."""

    def __init__(self) -> None:
        self.module: Any = None
        self.inputs: list[dict[str, Any]] = []
        self.outputs: list[str] = []
        self.requests_count, self.passes_count = 0, 0
        # What requests spent in each part: all of a batch go through all of it.
        self.handled_count, self.decode_ns, self.inference_ns, self.encode_ns = 0, 0, 0, 0

    def initialize(self, context: Any) -> None:
        """Load the model; the worker calls this once, with the folder the archive was unpacked to."""
        folder = Path(context.system_properties["model_dir"])
        signature = json.loads((folder / "signature.json").read_text())
        self.inputs = signature["inputs"]
        self.outputs = [output["name"] for output in signature["outputs"]]
        self.module = self._load(folder / context.manifest["model"]["serializedFile"])

    @staticmethod
    def _load(path: Path) -> Any:
        """Load TorchScript, or what AOTInductor compiled, which is called alike."""
        if path.suffix == PACKAGE_SUFFIX:
            from torch._inductor import aoti_load_package

            return aoti_load_package(path)
        module = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
        return module.eval()

    def handle(self, requests: list[dict[str, Any]], context: Any) -> list[Any]:
        """Return one answer per request, in order; requests of one batch and shape share one forward pass."""
        if context.get_request_header(0, "describe") == "True":
            return [self.describe()]
        began = time.perf_counter_ns()
        answers: list[Any] = [None] * len(requests)
        alike: dict[Any, list[tuple[int, str, list[np.ndarray]]]] = {}
        for number, request in enumerate(requests):
            packed = "gzip" in bodies.header(context, number, "Content-Encoding")
            try:
                key, arrays = self.decode(request, packed, bodies.header(context, number, "Content-Type"))
            except (ValueError, RecursionError, MemoryError) as error:
                answers[number] = str(error) or type(error).__name__
            else:
                shapes = tuple(array.shape[1:] for array in arrays)
                alike.setdefault(shapes, []).append((number, key, arrays))
        decoded = time.perf_counter_ns()
        predicting_ns = 0
        for group in alike.values():
            before = time.perf_counter_ns()
            outputs = self.predict([arrays for _, _, arrays in group])
            predicting_ns += time.perf_counter_ns() - before
            for (number, key, _), found in zip(group, outputs, strict=True):
                answers[number] = found if isinstance(found, str) else {key: self.encode(key, found)}
        for number, answer in enumerate(answers):
            if isinstance(answer, dict) and BINARY in answer:
                context.set_response_content_type(number, NPY)
                answers[number] = answer[BINARY]
            elif isinstance(answer, str):
                context.set_response_status(code=400, phrase="Bad Request", idx=number)
                answers[number] = {"error": answer}
            else:
                # A string goes out as it is; from an object TorchServe would make indented JSON, three
                # times as long as what TensorFlow's side answers.
                context.set_response_content_type(number, "application/json")
                answers[number] = json.dumps(answer)
        self.handled_count += len(requests)
        self.decode_ns += (decoded - began) * len(requests)
        self.inference_ns += predicting_ns * len(requests)
        self.encode_ns += (time.perf_counter_ns() - decoded - predicting_ns) * len(requests)
        return answers

    def describe(self) -> dict[str, int]:
        """Return what `GET /models/NAME?customized=true` adds: this worker's threads and batch counts."""
        return {
            "requests_count": self.requests_count,
            "passes_count": self.passes_count,
            "handled_count": self.handled_count,
            "decode_ns": self.decode_ns,
            "inference_ns": self.inference_ns,
            "encode_ns": self.encode_ns,
            "pid": os.getpid(),
            "threads_per_worker": torch.get_num_threads(),
            "inter_op_threads_count": torch.get_num_interop_threads(),
        }

    def decode(
        self, request: dict[str, Any], packed: bool = False, content_type: str = ""
    ) -> tuple[str, list[np.ndarray]]:
        """Return the key of the answer, and the samples of the request, an array (n, …) for each input.

        Raises:
            ValueError: not what the content type says, no samples, or others than the signature's.
        """
        kind = content_type.partition(";")[0].strip()
        entries = [request.get(tensor["name"], b"") for tensor in self.inputs]
        if not kind and all(map(bodies.is_npy, entries)):
            return BINARY, self._checked([bodies.npy(entry) for entry in entries])
        if kind in (NPY, RAW):
            body = bodies.body_bytes(request, packed)
            return BINARY, self._checked(self._unraw(body) if kind == RAW else self._unpacked(body))
        text = bodies.body_text(request, packed)
        body = bodies.parse(text) if isinstance(text, str) else text
        if not isinstance(body, dict):
            raise ValueError(f"the body is a JSON {type(body).__name__}, expected an object with instances")
        self._check_signature(body.get("signature_name", ""))
        if ("instances" in body) == ("inputs" in body):
            raise ValueError('expected either the key "instances" or the key "inputs"')
        key, values = (
            ("outputs", self._columns(body["inputs"]))
            if "inputs" in body
            else ("predictions", self._rows(body["instances"]))
        )
        return key, self._arrays(values, text, bodies.may_hold_text(body, text))

    def _unpacked(self, body: bytearray) -> list[np.ndarray]:
        """Read the inputs in a `.npy`, or by name in a `.npz`."""
        if len(self.inputs) == 1:
            return [bodies.npy(body)]
        try:
            with np.load(io.BytesIO(body), allow_pickle=False) as archive:
                return [archive[tensor["name"]] for tensor in self.inputs]
        except Exception as error:  # a damaged file fails in as many ways as there are to damage one
            names = [tensor["name"] for tensor in self.inputs]
            raise ValueError(f"the body is no .npz file of the inputs {names}: {error}") from error

    def _unraw(self, body: bytearray) -> list[np.ndarray]:
        """Read the inputs in their bytes alone; the length tells how many samples there are."""
        if any(None in tensor["shape"] for tensor in self.inputs):
            raise ValueError(f"samples may differ in shape here, so raw bytes do not say theirs; send {NPY}")
        kinds = [np.dtype(tensor["dtype"]).newbyteorder("<") for tensor in self.inputs]
        sizes = [math.prod(tensor["shape"]) for tensor in self.inputs]
        row_bytes = sum(kind.itemsize * size for kind, size in zip(kinds, sizes, strict=True))
        count, rest = divmod(len(body), row_bytes)
        if rest:
            raise ValueError(f"the body has {len(body)} bytes, and a sample has {row_bytes}")
        found, at = [], 0
        for tensor, kind, size in zip(self.inputs, kinds, sizes, strict=True):
            array = np.frombuffer(body, kind, count * size, at).reshape(count, *tensor["shape"])
            found.append(array if array.flags.aligned else array.copy())
            at += array.nbytes
        return found

    def _checked(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """Check that binary tensors have the signature's dtypes and shapes."""
        for tensor, array in zip(self.inputs, arrays, strict=True):
            if array.dtype != np.dtype(tensor["dtype"]):
                raise ValueError(f"{tensor['name']!r} has dtype {array.dtype}, expected {tensor['dtype']}")
            self._check_shape(tensor, array)
        return self._alike(arrays)

    def _check_signature(self, name: Any) -> None:
        if not isinstance(name, str) or name not in ("", SIGNATURE_NAME):
            raise ValueError(f"there is no signature {name!r}; leave signature_name out")

    def _columns(self, value: Any) -> list[Any]:
        names = [tensor["name"] for tensor in self.inputs]
        if isinstance(value, dict):
            if any(name not in value for name in names):  # what else it holds is not looked at
                raise ValueError(f"the inputs are {sorted(value)}, expected {names}")
            return [value[name] for name in names]
        if len(names) > 1:
            raise ValueError(f'"inputs" must be an object with the keys {names}')
        return [value]

    def _rows(self, instances: Any) -> list[Any]:
        names = [tensor["name"] for tensor in self.inputs]
        if not isinstance(instances, list) or not instances:
            raise ValueError('"instances" must be a list that is not empty')
        if len({isinstance(instance, dict) for instance in instances}) > 1:
            raise ValueError("some instances are objects and some are not; all must be the same")
        if not isinstance(instances[0], dict):
            if len(names) > 1:
                raise ValueError(f"each instance must be an object with the keys {names}")
            return [instances]
        for instance in instances:
            if instance.keys() != set(names):
                raise ValueError(f"the inputs are {sorted(instance)}, expected {names}")
        return [[instance[name] for instance in instances] for name in names]

    def _arrays(self, values: list[Any], text: Any, quoted: bool) -> list[np.ndarray]:
        return self._alike(
            [
                self._array(tensor, value, text, quoted)
                for tensor, value in zip(self.inputs, values, strict=True)
            ]
        )

    def _alike(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """Check that all arrays have one number of samples."""
        if len({len(array) for array in arrays}) > 1:
            counts = {tensor["name"]: len(a) for tensor, a in zip(self.inputs, arrays, strict=True)}
            raise ValueError(f"the inputs have different numbers of samples: {counts}")
        return arrays

    def _array(self, tensor: dict[str, Any], nested: Any, text: Any, quoted: bool) -> np.ndarray:
        where = f" of {tensor['name']!r}" if len(self.inputs) > 1 else ""
        try:
            array = bodies.numbers(nested, tensor["dtype"], text, quoted)
        except ValueError as error:
            raise ValueError(f"{error}{where and f', in the values{where}'}") from error
        self._check_shape(tensor, array)
        return array

    def _check_shape(self, tensor: dict[str, Any], array: np.ndarray) -> None:
        shape, where = tuple(tensor["shape"]), f" of {tensor['name']!r}" if len(self.inputs) > 1 else ""
        fits = array.ndim == len(shape) + 1 and all(
            wanted in (None, size) for wanted, size in zip(shape, array.shape[1:], strict=True)
        )
        if not fits:
            raise ValueError(f"a sample{where} has shape {array.shape[1:]}, expected {shape}")
        if not len(array):
            raise ValueError("the list of samples is empty")

    def predict(self, batches: list[list[np.ndarray]]) -> list[list[np.ndarray] | str]:
        """Return outputs for several requests' arrays of one shape, or why the model refuses a request.

        All go through one forward pass; if that fails, each goes through its own, to find the one at fault.
        """
        try:
            return list(self._forward(batches))
        except (RuntimeError, IndexError, ValueError, MemoryError) as error:
            if len(batches) == 1:
                said = str(error).strip().splitlines() or [type(error).__name__]
                return [f"the model refuses the samples: {said[-1]}"]
        return [self.predict([batch])[0] for batch in batches]

    def _forward(self, batches: list[list[np.ndarray]]) -> list[list[np.ndarray]]:
        joined = (
            batches[0]
            if len(batches) == 1
            else [np.concatenate(arrays) for arrays in zip(*batches, strict=True)]
        )
        with torch.inference_mode():
            answer = self.module(*map(torch.from_numpy, joined))
        self.requests_count += len(batches)
        self.passes_count += 1
        if isinstance(answer, dict) and set(answer) == set(self.outputs):
            answer = [answer[name] for name in self.outputs]
        outputs = [t.float() if t.dtype == torch.bfloat16 else t for t in bodies.flat(answer)]
        for tensor in outputs:
            if len(tensor) != len(joined[0]):
                raise ValueError(f"it gives {len(tensor)} rows for {len(joined[0])} samples")
        ends = np.cumsum([len(arrays[0]) for arrays in batches])[:-1]
        return [list(split) for split in zip(*(np.split(t.numpy(), ends) for t in outputs), strict=True)]

    def encode(self, key: str, outputs: list[np.ndarray]) -> Any:
        """Return the value of the answer's `key`: by rows or by columns, with names if there are several."""
        if key == BINARY:
            return bodies.npy_bytes(dict(zip(self.outputs, outputs, strict=True)))
        if len(outputs) == 1:
            return outputs[0].tolist()
        columns = dict(zip(self.outputs, (array.tolist() for array in outputs), strict=True))
        if key == "outputs":
            return columns
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
