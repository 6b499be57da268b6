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
content type is JSON. A body over HTTP may be packed with gzip. TorchServe allows one class in this file.
"""

import ast
import io
import json
import math
import re
import zipfile
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

SIGNATURE_NAME = "serving_default"
INT32_RANGE = (-(2**31), 2**31 - 1)
# What JSON may hold for each type; small types keep the low bits, as on TensorFlow's side.
RANGES = {
    **dict.fromkeys(("uint8", "int8", "int16", "int32"), INT32_RANGE),
    "int64": (-(2**63), 2**63 - 1),
}
LARGEST_BODY_BYTES = 2**28  # after unpacking
NPY, RAW = "application/x-npy", "application/octet-stream"
MAGIC = b"\x93NUMPY"
BINARY = "binary"  # stands for the key of an answer that is no JSON
# Spellings that TensorFlow's side knows and Python's does not: of Infinity, and of NaN with a sign.
SPELLINGS = re.compile(r"(?<=[\[,:\s-])Inf(?=[\],}\s])|(?<=[\[,:\s])-NaN(?=[\],}\s])")


class Handler:
    """Loads the TorchScript file once, then answers batches of requests."""

    def __init__(self) -> None:
        self.module: Any = None
        self.inputs: list[dict[str, Any]] = []
        self.outputs: list[str] = []
        self.requests_count, self.passes_count = 0, 0

    def initialize(self, context: Any) -> None:
        """Called once by the worker, with the folder the archive was unpacked to."""
        folder = Path(context.system_properties["model_dir"])
        signature = json.loads((folder / "signature.json").read_text())
        self.inputs = signature["inputs"]
        self.outputs = [output["name"] for output in signature["outputs"]]
        serialized = context.manifest["model"]["serializedFile"]
        self.module = torch.jit.load(folder / serialized, map_location="cpu")  # type: ignore[no-untyped-call]
        self.module.eval()

    def handle(self, requests: list[dict[str, Any]], context: Any) -> list[Any]:
        """One answer per request, in order; requests of one batch and shape share one forward pass."""
        if context.get_request_header(0, "describe") == "True":
            return [self.describe()]
        answers: list[Any] = [None] * len(requests)
        alike: dict[Any, list[tuple[int, str, list[np.ndarray]]]] = {}
        for number, request in enumerate(requests):
            packed = "gzip" in header(context, number, "Content-Encoding")
            try:
                key, arrays = self.decode(request, packed, header(context, number, "Content-Type"))
            except (ValueError, RecursionError) as error:
                answers[number] = str(error)
            else:
                shapes = tuple(array.shape[1:] for array in arrays)
                alike.setdefault(shapes, []).append((number, key, arrays))
        for group in alike.values():
            outputs = self.predict([arrays for _, _, arrays in group])
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
        return answers

    def describe(self) -> dict[str, int]:
        """What `GET /models/NAME?customized=true` adds: this worker's threads, and what it has batched."""
        return {
            "requests_count": self.requests_count,
            "passes_count": self.passes_count,
            "threads_per_worker": torch.get_num_threads(),
            "inter_op_threads_count": torch.get_num_interop_threads(),
        }

    def decode(
        self, request: dict[str, Any], packed: bool = False, content_type: str = ""
    ) -> tuple[str, list[np.ndarray]]:
        """The key of the answer, and the samples of the request, an array (n, …) for each input.

        Raises:
            ValueError: not what the content type says, no samples, or others than the signature's.
        """
        kind = content_type.partition(";")[0].strip()
        entries = [request.get(tensor["name"], b"") for tensor in self.inputs]
        if not kind and all(isinstance(one, (bytes, bytearray)) and one.startswith(MAGIC) for one in entries):
            return BINARY, self._checked([npy(entry) for entry in entries])
        if kind in (NPY, RAW):
            body = body_bytes(request, packed)
            return BINARY, self._checked(self._unraw(body) if kind == RAW else self._unpacked(body))
        text = body_text(request, packed)
        body = parse(text) if isinstance(text, str) else text
        if not isinstance(body, dict):
            raise ValueError(f"the body is a JSON {type(body).__name__}, expected an object with instances")
        self._check_signature(body.get("signature_name", ""))
        if ("instances" in body) == ("inputs" in body):
            raise ValueError('expected either the key "instances" or the key "inputs"')
        if "inputs" in body:
            return "outputs", self._arrays(self._columns(body["inputs"]), text)
        return "predictions", self._arrays(self._rows(body["instances"]), text)

    def _unpacked(self, body: bytearray) -> list[np.ndarray]:
        """The inputs in a `.npy`, or by name in a `.npz`."""
        if len(self.inputs) == 1:
            return [npy(body)]
        try:
            with np.load(io.BytesIO(body), allow_pickle=False) as archive:
                return [archive[tensor["name"]] for tensor in self.inputs]
        except (OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
            names = [tensor["name"] for tensor in self.inputs]
            raise ValueError(f"the body is no .npz file of the inputs {names}: {error}") from error

    def _unraw(self, body: bytearray) -> list[np.ndarray]:
        """The inputs in their bytes alone; how many samples there are is in the length."""
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
        """Binary tensors, which have to be of the signature's dtypes and shapes."""
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

    def _arrays(self, values: list[Any], text: Any) -> list[np.ndarray]:
        return self._alike(
            [self._array(tensor, value, text) for tensor, value in zip(self.inputs, values, strict=True)]
        )

    def _alike(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """Arrays of one number of samples."""
        if len({len(array) for array in arrays}) > 1:
            counts = {tensor["name"]: len(a) for tensor, a in zip(self.inputs, arrays, strict=True)}
            raise ValueError(f"the inputs have different numbers of samples: {counts}")
        return arrays

    def _array(self, tensor: dict[str, Any], nested: Any, text: Any) -> np.ndarray:
        where = f" of {tensor['name']!r}" if len(self.inputs) > 1 else ""
        try:
            array = numbers(nested, tensor["dtype"], text)
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
        """Outputs for several requests' arrays of one shape, or why the model refuses that request.

        All go through one forward pass; where that fails, through one each, to find whose fault it is.
        """
        try:
            return list(self._forward(batches))
        except (RuntimeError, IndexError, ValueError) as error:
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
        outputs = [tensor.float() if tensor.dtype == torch.bfloat16 else tensor for tensor in flat(answer)]
        for tensor in outputs:
            if len(tensor) != len(joined[0]):
                raise ValueError(f"it gives {len(tensor)} rows for {len(joined[0])} samples")
        ends = np.cumsum([len(arrays[0]) for arrays in batches])[:-1]
        return [list(split) for split in zip(*(np.split(t.numpy(), ends) for t in outputs), strict=True)]

    def encode(self, key: str, outputs: list[np.ndarray]) -> Any:
        """The value of the answer's `key`: by rows or by columns, with names where there are several."""
        if key == BINARY:
            return npy_bytes(dict(zip(self.outputs, outputs, strict=True)))
        if len(outputs) == 1:
            return outputs[0].tolist()
        columns = dict(zip(self.outputs, (array.tolist() for array in outputs), strict=True))
        if key == "outputs":
            return columns
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def header(context: Any, number: int, name: str) -> str:
    """A header of a request in small letters, whose name HTTP/1.1 clients write either way; "" without it."""
    found = context.get_request_header(number, name) or context.get_request_header(number, name.lower())
    return str(found or "").lower()


def body_bytes(request: dict[str, Any], packed: bool) -> bytearray:
    """The body as it is, unpacked.

    Raises:
        ValueError: it is not gzip, or the server took it for something else.
    """
    body = request.get("body", request.get("data"))
    if not isinstance(body, (bytes, bytearray)):
        raise ValueError("the server took the body for something else than bytes")
    return bytearray(unpacked(body)) if packed else body if isinstance(body, bytearray) else bytearray(body)


def npy(body: bytes | bytearray) -> np.ndarray:
    """The tensor in a `.npy` file, where it lies.

    Raises:
        ValueError: it is no such file.
    """
    if not body.startswith(MAGIC) or len(body) < 12:  # noqa: PLR2004 - magic, version and a length
        raise ValueError("it is no .npy file")
    begin = 10 if body[6] == 1 else 12
    end = begin + int.from_bytes(body[8:begin], "little")
    dtype, order, shape = npy_head(bytes(body[begin:end]))
    if dtype.itemsize * math.prod(shape) != len(body) - end:
        raise ValueError(f"a .npy file of {dtype} {shape} has {len(body) - end} bytes of data")
    # Through a bytearray the array may be written to, which torch wants.
    source = body if isinstance(body, bytearray) else bytearray(body)
    return np.frombuffer(source, dtype, offset=end).reshape(shape, order=order)


@lru_cache(maxsize=256)
def npy_head(head: bytes) -> tuple[np.dtype, Any, tuple[int, ...]]:
    """Dtype, order and shape in the head of a `.npy` file; clients send few different ones.

    Raises:
        ValueError: it is no such head, or of something else than numbers and bool.
    """
    try:
        told = ast.literal_eval(head.decode("latin-1").strip())
        dtype, shape = np.dtype(told["descr"]), tuple(told["shape"])
        order = "F" if told["fortran_order"] else "C"
    except (ValueError, TypeError, KeyError, SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError(f"the head of a .npy file cannot be read: {error}") from error
    if dtype.kind not in "iufb" or not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f"a .npy file of {dtype} {shape}; numbers and bool are allowed")
    return dtype, order, shape


def npy_bytes(outputs: dict[str, np.ndarray]) -> bytes:
    """One tensor as a `.npy` file, several as a `.npz`, not compressed."""
    file = io.BytesIO()
    if len(outputs) > 1:
        np.savez(file, **outputs)  # type: ignore[arg-type]
    else:
        (array,) = outputs.values()
        np.lib.format.write_array(file, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return file.getvalue()


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
        if ("Inf" in text or "-NaN" in text) and SPELLINGS.search(text):
            return parse(respelt(text))
        raise ValueError(f"the body is not JSON: {error}") from error


def respelt(text: str) -> str:
    """JSON with Python's spellings of what is no finite number."""
    return SPELLINGS.sub(lambda found: "NaN" if "NaN" in found[0] else "Infinity", text)


def first_ones(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object in which the first value of a key counts."""
    return dict(reversed(pairs))


def flat(answer: Any) -> list[Any]:
    """The tensors of what a model returns, nested tuples, lists and dicts from left to right."""
    if isinstance(answer, dict):
        answer = list(answer.values())
    return [one for part in answer for one in flat(part)] if isinstance(answer, (tuple, list)) else [answer]


def numbers(nested: Any, dtype: str, text: Any) -> np.ndarray:
    """Nested lists as an array of that dtype.

    Floats may be written as whole numbers, integers may not be written as floats, and bool is true or false.

    Raises:
        ValueError: they are ragged, or hold something else, or what is too large.
    """
    try:
        array = np.asarray(nested)
    except (ValueError, OverflowError) as error:
        raise ValueError("the lists of numbers differ in length or depth") from error
    if not array.size:
        return array.astype(dtype)
    if dtype == "bool":
        if array.dtype.kind != "b":
            wrong = next(leaf for leaf in leaves(nested) if not isinstance(leaf, bool))
            raise ValueError(f"{shown(wrong)} is neither true nor false")
        return array
    # NumPy mixes true and false with numbers.
    mixed = not isinstance(text, str) or "true" in text or "false" in text
    if array.dtype.kind not in "iuf" or (mixed and not kinds(nested) <= {int, float}):
        for leaf in leaves(nested):
            if type(leaf) not in (int, float):
                raise ValueError(f"{shown(leaf)} is not a number")
    return whole(array, nested, dtype) if dtype in RANGES else floats(array, dtype, text)


def whole(array: np.ndarray, nested: Any, dtype: str) -> np.ndarray:
    """Numbers as integers of that dtype.

    Raises:
        ValueError: one is no integer, or beyond what may be written for the dtype.
    """
    low, high = RANGES[dtype]
    if array.dtype.kind not in "iu" or int(array.min()) < low or int(array.max()) > high:
        for leaf in leaves(nested):
            if not isinstance(leaf, int):
                raise ValueError(f"{shown(leaf)} is not a whole number, which {dtype} needs")
            if not low <= leaf <= high:
                raise ValueError(f"{shown(leaf)} is beyond {low} to {high}, which is allowed for {dtype}")
    return array.astype(dtype)


def floats(array: np.ndarray, dtype: str, text: Any) -> np.ndarray:
    """Numbers as floats of that dtype, through float64.

    Raises:
        ValueError: one is not written as infinite and would be.
    """
    if array.dtype.kind == "f" and np.isinf(array).any() and isinstance(text, str):
        json.loads(respelt(text), parse_float=finite)
    try:
        wide = array.astype(np.float64, copy=False)
    except OverflowError as error:
        raise ValueError("a number is beyond float64") from error
    with np.errstate(over="ignore"):
        single = wide.astype(dtype, copy=False)
    if np.isinf(single).sum() != np.isinf(wide).sum():
        raise ValueError(f"a number is beyond {dtype}, whose largest is {np.finfo(dtype).max:.9g}")
    return single


def shown(leaf: Any) -> str:
    """A JSON value for a message."""
    return json.dumps(leaf)[:40]


def kinds(nested: Any) -> set[type]:
    """The types of what nested lists hold that is no list; quick where the innermost lists are long."""
    if not isinstance(nested, list):
        return {type(nested)}
    found = set(map(type, nested))
    if list in found:
        found.remove(list)
        found.update(*(kinds(one) for one in nested if isinstance(one, list)))
    return found


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
