"""The plain server: one TorchScript file behind FastAPI and uvicorn, one module, nothing of ours imported.

`POST /predict` takes `{"instances": [x, …]}`, each `x` a nested list, or an object of all inputs by name
where there are several, and answers `{"predictions": [y, …]}`, each `y` a nested list, or an object where
there are several outputs. `GET /ready` says whether every worker has loaded the model, `GET /info` which
model is served and how, `GET /metrics` what predictions took so far, by all workers. An error is
`{"error": "…"}`: 400 for what the body or the model refuses, 413 for a body that is too large. The file says
its own inputs and outputs (`signature.json` inside it), so nothing else is configured.

    python app.py MODEL.pt --port 8000 --workers cores --torch-threads 1
"""

import argparse
import asyncio
import json
import mmap
import os
import struct
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import fastapi
import numpy as np
import orjson
import torch
import uvicorn
from fastapi import FastAPI, Request, Response

OPTIONS_VARIABLE = "PLAIN_SERVER_OPTIONS"
SIGNATURE_NAME = "signature.json"
ALL_CORES = "cores"
# A worker that has not answered its supervisor by then is killed and started again. Importing PyTorch takes
# longer than uvicorn's 5 s on a busy machine, and the server would never be up.
WORKER_START_LIMIT_S = 120
POOL_THREADS = 40  # as many as Starlette has for handlers that are no coroutines
# Every worker counts the predictions that it answered, and the nanoseconds of each of these.
SPANS = ("whole", "queue", "decode", "inference", "encode")
COUNTS = struct.Struct(f"{1 + len(SPANS)}q")
KINDS = {"b": "true or false", "f": "numbers", "i": "whole numbers", "u": "whole numbers"}


@dataclass(frozen=True)
class Options:
    """How this server runs; every worker reads the same.

    Attributes:
        workers: processes, each with its own copy of the model.
        torch_threads, torch_interop_threads: of each worker; 0 leaves PyTorch's default.
        pool_threads: forward passes that may run at the same time in a worker; 0 runs them on the event loop.
        max_body_bytes: the largest body that is taken; 0 for no limit.
        ready: a folder in which every worker says that it has loaded the model, by a file with its counts.
    """

    model_file: str
    workers: int
    torch_threads: int
    torch_interop_threads: int
    pool_threads: int
    max_body_bytes: int
    ready: str


class RefusedError(Exception):
    """What is wrong with a request, for its sender."""

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.status = status


class Model:
    """A TorchScript file that says its own inputs and outputs."""

    def __init__(self, path: str) -> None:
        packed = {SIGNATURE_NAME: ""}
        self.module = torch.jit.load(path, map_location="cpu", _extra_files=packed)  # type: ignore[no-untyped-call]
        self.module.eval()
        if not packed[SIGNATURE_NAME]:
            raise RuntimeError(f"{path} holds no {SIGNATURE_NAME}; export it again")
        self.signature: dict[str, Any] = json.loads(packed[SIGNATURE_NAME])
        self.inputs: list[dict[str, Any]] = self.signature["inputs"]
        self.outputs: list[str] = [output["name"] for output in self.signature["outputs"]]

    def decode(self, body: bytes) -> list[torch.Tensor]:
        """Decode the batch (n, …) of each input, in the model's order.

        Raises:
            RefusedError: not JSON, no instances, or others than the signature's.
        """
        try:
            request = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise RefusedError(f"the body is not JSON: {error}") from error
        rows = request.get("instances") if isinstance(request, dict) else None
        if not isinstance(rows, list) or not rows:
            raise RefusedError('expected an object with "instances", a list that is not empty')
        columns, kinds = self._columns(rows), unlike_numbers(body, request)
        try:
            return [
                torch.from_numpy(array_of(tensor, values, kinds))
                for tensor, values in zip(self.inputs, columns, strict=True)
            ]
        except MemoryError as error:
            raise RefusedError("the instances need more memory than there is") from error
        except RecursionError as error:
            raise RefusedError("the instances are nested too deeply") from error

    def _columns(self, rows: list[Any]) -> list[list[Any]]:
        names = [tensor["name"] for tensor in self.inputs]
        if len(names) == 1 and not any(isinstance(row, dict) for row in rows):
            return [rows]
        for row in rows:
            if not isinstance(row, dict) or row.keys() != set(names):
                actual = sorted(row) if isinstance(row, dict) else type(row).__name__
                raise RefusedError(f"an instance is {actual}, expected an object with the keys {names}")
        return [[row[name] for row in rows] for name in names]

    def predict(self, batch: Sequence[torch.Tensor]) -> list[np.ndarray]:
        """Return the outputs (n, …), in the model's order.

        Raises:
            RefusedError: the model refuses the batch, or gives other outputs than it says.
        """
        try:
            with torch.inference_mode():
                answer = self.module(*batch)
        except (RuntimeError, IndexError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            raise RefusedError(f"the model refuses the instances: {reason}") from error
        if isinstance(answer, dict) and answer.keys() == set(self.outputs):
            answer = [answer[name] for name in self.outputs]
        tensors = [tensor.float() if tensor.dtype == torch.bfloat16 else tensor for tensor in flat(answer)]
        if len(tensors) != len(self.outputs) or any(
            tensor.shape[:1] != batch[0].shape[:1] for tensor in tensors
        ):
            raise RefusedError("the model does not give a row of every output for every instance")
        return [tensor.contiguous().numpy() for tensor in tensors]

    def encode(self, outputs: Sequence[np.ndarray]) -> bytes:
        """Encode the body of the answer."""
        rows: Any = outputs[0]
        if len(outputs) > 1:
            rows = [dict(zip(self.outputs, row, strict=True)) for row in zip(*outputs, strict=True)]
        return orjson.dumps({"predictions": rows}, option=orjson.OPT_SERIALIZE_NUMPY)

    def answer(self, body: bytes) -> tuple[bytes, tuple[int, ...]]:
        """Answer a request's body; also return when that began, and when each part of it was done, in ns."""
        began = time.perf_counter_ns()
        batch = self.decode(body)
        decoded = time.perf_counter_ns()
        outputs = self.predict(batch)
        computed = time.perf_counter_ns()
        answer = self.encode(outputs)
        return answer, (began, decoded, computed, time.perf_counter_ns())


def unlike_numbers(body: bytes, request: dict[str, Any]) -> frozenset[type]:
    """Return what may be among the numbers of a body: bool where it has the words, text where it has quotes.

    Keys have two quotes each; more are of strings. Looking at every number would cost more than parsing it.
    """
    rows = request["instances"]
    keys = len(request) + (len(rows) * len(rows[0]) if isinstance(rows[0], dict) else 0)
    beside = sum(isinstance(value, str) for value in request.values())
    quoted = body.count(b'"') > 2 * (keys + beside)
    worded = b"true" in body or b"false" in body
    return frozenset(kind for kind, found in ((str, quoted), (bool, worded)) if found)


def array_of(tensor: dict[str, Any], values: list[Any], kinds: frozenset[type]) -> np.ndarray:
    """Turn nested lists into an array of the tensor's dtype and shape.

    Args:
        kinds: what may be among them and is no number. NumPy would take true for 1, and would give every
            number the room of the longest string.

    Raises:
        RefusedError: they are ragged, of another shape, or hold something else than the dtype takes.
    """
    dtype, name = np.dtype(tensor["dtype"]), tensor["name"]
    refused = kinds - {bool} if dtype.kind == "b" else kinds
    if refused and holds(values, refused):
        raise RefusedError(f"{name!r} is {dtype}, which takes {KINDS[dtype.kind]}")
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise RefusedError(f"the instances of {name!r} differ in length or depth") from error
    wanted = tuple(tensor["shape"])
    fits = array.ndim == len(wanted) + 1 and all(
        size in (None, length) for size, length in zip(wanted, array.shape[1:], strict=True)
    )
    if not fits:
        raise RefusedError(f"an instance of {name!r} has shape {array.shape[1:]}, expected {wanted}")
    allowed = {"b": "b", "f": "iuf"}.get(dtype.kind, "iu")
    if array.size and array.dtype.kind not in allowed:
        raise RefusedError(f"{name!r} is {dtype}, which takes {KINDS[dtype.kind]}")
    if array.size and dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if int(array.min()) < limits.min or int(array.max()) > limits.max:
            raise RefusedError(f"{name!r} is {dtype}, which takes {limits.min} to {limits.max}")
    with np.errstate(over="ignore"):
        converted = np.ascontiguousarray(array, dtype)
    if dtype.kind == "f" and not np.isfinite(converted).all():
        raise RefusedError(f"{name!r} is {dtype}, and a number is beyond that")
    return converted


def holds(values: Any, kinds: frozenset[type]) -> bool:
    """Return whether anything of these kinds is in nested lists."""
    if not isinstance(values, list):
        return type(values) in kinds
    found = set(map(type, values))
    return not kinds.isdisjoint(found) or (list in found and any(holds(one, kinds) for one in values))


def flat(answer: Any) -> list[torch.Tensor]:
    """Flatten what a model returns, nested tuples, lists and dicts, to tensors from left to right."""
    if isinstance(answer, dict):
        answer = list(answer.values())
    return (
        [tensor for part in answer for tensor in flat(part)] if isinstance(answer, tuple | list) else [answer]
    )


class Counts:
    """What one worker's predictions took, in a file that all workers read; its event loop alone writes it."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(COUNTS.size))
        with path.open("r+b") as file:
            self.shared = mmap.mmap(file.fileno(), COUNTS.size)
        self.totals = [0] * (1 + len(SPANS))

    def add(self, whole_ns: int, marks: Sequence[int]) -> None:
        """Count a prediction; `marks` are the times in ns between which its parts lie."""
        taken = (1, whole_ns, *(after - before for before, after in pairwise(marks)))
        self.totals = [total + own for total, own in zip(self.totals, taken, strict=True)]
        self.shared[:] = COUNTS.pack(*self.totals)


def counting(app: Any, held: dict[str, Any]) -> Callable[..., Any]:
    """Make middleware that counts a prediction from its headers to the last byte of its answer."""

    async def call(scope: dict[str, Any], receive: Any, send: Any) -> None:
        began = time.perf_counter_ns()
        await app(scope, receive, send)
        if "marks" in scope:  # what was refused has none
            held["counts"].add(time.perf_counter_ns() - began, scope["marks"])

    return call


def make_app() -> FastAPI:
    """Make the application of one worker; uvicorn calls this in each."""
    options = Options(**json.loads(os.environ[OPTIONS_VARIABLE]))
    held: dict[str, Any] = {}

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        held["model"] = load(options)
        pool = ThreadPoolExecutor(options.pool_threads) if options.pool_threads else None
        held["answer"] = in_pool(held["model"].answer, pool)
        held["counts"] = Counts(Path(options.ready) / str(os.getpid()))
        yield
        if pool:
            pool.shutdown()

    app = FastAPI(title="plain server", lifespan=lifespan)
    app.add_middleware(counting, held=held)

    @app.post("/predict")
    async def predict(request: Request) -> Response:
        body = await body_of(request, options.max_body_bytes)
        asked = time.perf_counter_ns()
        answer, marks = await held["answer"](body)
        request.scope["marks"] = (asked, *marks)
        return Response(answer, media_type="application/json")

    @app.get("/ready")
    async def ready() -> Response:
        count = workers_ready(options.ready)
        state = {"ready": count >= options.workers, "workers_ready": count, "workers": options.workers}
        return Response(orjson.dumps(state), 200 if state["ready"] else 503, media_type="application/json")

    @app.get("/info")
    async def info() -> Response:
        return Response(orjson.dumps(described(options, held["model"])), media_type="application/json")

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(metrics_of(options), media_type="text/plain; version=0.0.4")

    @app.exception_handler(RefusedError)
    async def refused(_: Request, error: RefusedError) -> Response:
        body = orjson.dumps({"error": str(error)})
        return Response(body, error.status, media_type="application/json")

    return app


def in_pool(answer: Callable[[bytes], Any], pool: ThreadPoolExecutor | None) -> Callable[[bytes], Any]:
    """Make `answer` a coroutine: in a thread of the pool, or on the event loop where there is none."""

    async def on_loop(body: bytes) -> Any:
        return answer(body)

    async def in_thread(body: bytes) -> Any:
        return await asyncio.get_running_loop().run_in_executor(pool, answer, body)

    return in_thread if pool else on_loop


async def body_of(request: Request, limit_bytes: int) -> bytes:
    """Read the whole body.

    Raises:
        RefusedError: it is larger than the limit, which is seen before it is held.
    """
    if not limit_bytes:
        return await request.body()
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit_bytes:
            raise RefusedError(f"the body has more than {limit_bytes} bytes", 413)
        parts.append(part)
    return b"".join(parts)


def load(options: Options) -> Model:
    """Load the model, set the worker's threads and run it once; log why if it cannot be loaded."""
    if options.torch_threads:
        torch.set_num_threads(options.torch_threads)
    if options.torch_interop_threads:
        torch.set_num_interop_threads(options.torch_interop_threads)
    try:
        return Model(options.model_file)
    except Exception as error:
        reason = (str(error).strip().splitlines() or ["no reason given"])[-1]
        sys.stderr.write(f"model not loaded: {type(error).__name__}: {reason}\n")
        raise


def workers_ready(folder: str) -> int:
    """Count the live workers that have loaded the model."""
    return sum(Path(f"/proc/{mark.name}").exists() for mark in Path(folder).iterdir())


def metrics_of(options: Options) -> str:
    """Write what all workers counted, those that have ended too, in Prometheus' text format."""
    files = map(Path.read_bytes, Path(options.ready).iterdir())
    counts = [COUNTS.unpack(content) for content in files if content]
    count, *taken_ns = map(sum, zip(*counts, strict=True))
    seconds = {name: ns / 1e9 for name, ns in zip(SPANS, taken_ns, strict=True)}
    if not options.pool_threads:
        del seconds["queue"]  # a request then waits in its socket, where nothing counts
    lines = (
        "# TYPE plain_server_request_seconds summary",
        f"plain_server_request_seconds_sum {seconds.pop('whole')}",
        f"plain_server_request_seconds_count {count}",
        "# TYPE plain_server_part_seconds_total counter",
        *(f'plain_server_part_seconds_total{{part="{part}"}} {own}' for part, own in seconds.items()),
    )
    return "".join(f"{line}\n" for line in lines)


def described(options: Options, model: Model) -> dict[str, Any]:
    """Report what is served and how, as it really is in this worker."""
    return {
        "model_digest": model.signature.get("model_digest"),
        "inputs": model.inputs,
        "outputs": model.signature["outputs"],
        "workers": options.workers,
        "torch_threads": torch.get_num_threads(),
        "torch_interop_threads": torch.get_num_interop_threads(),
        "pool_threads": options.pool_threads,
        "max_body_bytes": options.max_body_bytes or None,
        "versions": {
            "fastapi": fastapi.__version__,
            "uvicorn": uvicorn.__version__,
            "torch": torch.__version__,
        },
    }


def count_or_cores(text: str) -> int:
    """Read a number from 1, or as many as there are cores to run on."""
    count = len(os.sched_getaffinity(0)) if text == ALL_CORES else int(text)
    if count < 1:
        raise ValueError(f"{text} workers are none")
    return count


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(description="Serve one TorchScript file")
    parser.add_argument("model_file")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--workers", type=count_or_cores, default=1, help=f"a number, or {ALL_CORES!r}")
    parser.add_argument("--torch-threads", type=int, default=0)
    parser.add_argument("--torch-interop-threads", type=int, default=0)
    parser.add_argument("--pool-threads", type=int, default=POOL_THREADS)
    parser.add_argument("--max-body-bytes", type=int, default=0)
    parser.add_argument("--backlog", type=int, default=2048)
    parser.add_argument("--no-access-log", dest="access_log", action="store_false")
    values = vars(parser.parse_args(arguments))
    own = {name: values.pop(name) for name in ("host", "port", "backlog", "access_log")}
    with tempfile.TemporaryDirectory(prefix="plain-server-") as ready:
        options = Options(ready=ready, **values)
        os.environ[OPTIONS_VARIABLE] = json.dumps(asdict(options))
        sys.path.insert(0, str(Path(__file__).parent))
        uvicorn.run(
            f"{Path(__file__).stem}:make_app",
            factory=True,
            workers=options.workers,
            timeout_worker_healthcheck=WORKER_START_LIMIT_S,
            app_dir=str(Path(__file__).parent),
            **own,
        )


if __name__ == "__main__":
    main()
