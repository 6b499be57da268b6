"""Put the parts together: load the models, listen on REST and gRPC, run until stopped, end cleanly."""

import asyncio
import logging
import os
import platform
import resource
import signal
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pipelines.errors import MachineError, RequestError

from . import SERVER_NAME
from .batching import Batcher
from .batching_parameters import BatchingParameters, read_parameters
from .budget import Budget
from .flags import Flags, default_threads
from .manager import ModelManager
from .metrics import METRICS_PATH, Metrics, monitoring_config
from .model_config import check_labels, settings_of
from .servable import Servable, SessionOptions
from .status import ServingError
from .text_proto import read_text_proto
from .versions import ModelSettings
from .warmup import warm_up
from .workers import Workers

_log = logging.getLogger(__name__)
_UNLIMITED = -1
_INT32_MAX = 2**31 - 1
_OTHER_FILES = 256
# How long gRPC may take to end after its calls were cut off.
_GRPC_END_S = 1.0


def serve(flags: Flags) -> int:
    """Serve until SIGTERM or SIGINT; the exit code, 0.

    Raises RequestError or MachineError before it listens.
    """
    listener = _bind(flags.host, flags.rest_api_port) if flags.rest_api_port else None
    if flags.port:
        _bind(flags.host, flags.port).close()  # gRPC binds for itself, later
    models = _models(flags)
    metrics, metrics_path = _metrics(flags)
    batching = _batching(flags)
    batcher = Batcher(batching, metrics.record_batch if metrics else _forget) if batching else None
    manager = _manager(flags, batcher, metrics)
    manager.apply(models)
    _check_labels(models, manager, flags)
    try:
        finished = _runner()(_run(flags, batching, manager, listener, metrics, metrics_path))
    finally:
        manager.stop()
    if not finished:
        # A computation that outlived the drain cannot be interrupted, and Python would wait for it.
        _log.warning("some requests were still running after %g s and were cut off", flags.drain_s)
        logging.shutdown()
        os._exit(0)
    return 0


def _runner() -> Any:
    import uvloop

    return uvloop.run


def _bind(host: str, port: int) -> socket.socket:
    """Bind a socket that does not listen yet.

    Raises MachineError if the port is taken, RequestError for a bad host.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise RequestError(f"--host={host} is no address of this machine: {error}") from None
    bound = socket.socket(family, kind, protocol)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
        _check_unused(family, kind, address)
    except OSError as error:
        bound.close()
        raise _port_error(host, port, error) from None
    return bound


def _check_unused(family: int, kind: int, address: Any) -> None:
    """Connect, because binding with SO_REUSEADDR can succeed where another server listens already."""
    with socket.socket(family, kind) as probe:
        probe.settimeout(0.2)
        if probe.connect_ex(address) == 0:
            raise OSError("another server is listening there")


def _port_error(host: str, port: int, error: object) -> MachineError:
    return MachineError(
        f"Cannot listen on {host}:{port}: {error}. Choose another port or stop what uses this one."
    )


def _models(flags: Flags) -> list[ModelSettings]:
    if not flags.model_config_file:
        return [ModelSettings(flags.model_name, Path(flags.model_base_path).absolute())]
    from tensorflow_serving.config import model_server_config_pb2

    config = read_text_proto(Path(flags.model_config_file), model_server_config_pb2.ModelServerConfig())
    try:
        return settings_of(config)
    except ServingError as error:
        raise RequestError(f"{flags.model_config_file}: {error.message}") from None


def _metrics(flags: Flags) -> tuple[Metrics | None, str]:
    if not flags.monitoring_config_file:
        return None, ""
    config = read_text_proto(Path(flags.monitoring_config_file), monitoring_config())
    prometheus = config.prometheus_config
    return (Metrics(), prometheus.path or METRICS_PATH) if prometheus.enable else (None, "")


def _batching(flags: Flags) -> BatchingParameters | None:
    """Return how requests are batched; None if they are not."""
    if not flags.enable_batching:
        return None
    return read_parameters(Path(flags.batching_parameters_file) if flags.batching_parameters_file else None)


def _forget(_rows: int, _waited: object) -> None:
    """Drop the counts: nobody asked for metrics."""


def _manager(flags: Flags, batcher: Batcher | None, metrics: Metrics | None) -> ModelManager:
    options = SessionOptions(
        flags.tensorflow_intra_op_parallelism,
        flags.tensorflow_inter_op_parallelism,
        flags.rest_api_timeout_in_ms,
    )

    def load(name: str, version: int, folder: Path) -> Servable:
        servable = Servable(name, version, folder, options, batcher)
        if flags.enable_model_warmup and (count := warm_up(servable)):
            _log.info("model %s version %d: replayed %d warm-up requests", name, version, count)
        servable.note_runtime = metrics.record_runtime if metrics else None
        return servable

    return ModelManager(load, flags.file_system_poll_wait_seconds)


def _check_labels(models: list[ModelSettings], manager: ModelManager, flags: Flags) -> None:
    try:
        check_labels(models, manager, flags.allow_version_labels_for_unavailable_models)
    except ServingError as error:
        hint = "Put the version there first, or pass --allow_version_labels_for_unavailable_models=true."
        raise RequestError(f"{error.message}. {hint}") from None


async def _run(
    flags: Flags,
    batching: BatchingParameters | None,
    manager: ModelManager,
    listener: socket.socket | None,
    metrics: Metrics | None,
    metrics_path: str,
) -> bool:
    """Listen until a signal comes, then drain; whether every request finished."""
    from .http_connection import Connection
    from .http_server import HttpServer
    from .rest import RestApi

    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    workers = Workers(_threads(flags.rest_api_num_threads, batching))
    budget = Budget(flags.request_memory_bytes, flags.total_memory_bytes)
    api = RestApi(manager, flags.rest_api_max_body_bytes, budget, metrics, metrics_path)
    http = HttpServer(api, workers, _limits(flags), budget, flags.rest_api_enable_cors_support)
    grpc_server = _start_grpc(flags, batching, manager, budget, metrics) if flags.port else None
    rest_server = await loop.create_server(lambda: Connection(http), sock=listener) if listener else None
    manager.start()
    _announce(flags, manager)
    await stop.wait()
    _log.info("stopping: running requests get up to %g s", flags.drain_s)
    grpc_stopped = grpc_server.stop(flags.drain_s) if grpc_server else None
    if rest_server:
        rest_server.close()
    finished = await http.drain(flags.drain_s)
    if grpc_stopped:
        finished = await asyncio.to_thread(grpc_stopped.wait, _GRPC_END_S) and finished
    return workers.stop(0.1 if not finished else flags.drain_s + 1) and finished


def _limits(flags: Flags) -> Any:
    from .http_server import Limits

    return Limits(flags.rest_api_max_body_bytes, _connections(flags), flags.rest_api_idle_timeout_s)


def _connections(flags: Flags) -> int:
    """Return the connections requested, at most what leaves half of the file descriptors for the rest."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(soft, min(2 * flags.max_connections + _OTHER_FILES, hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return min(flags.max_connections, wanted // 2)


def _threads(threads_count: int, batching: BatchingParameters | None) -> int:
    if threads_count or batching is None:
        return threads_count or default_threads(len(os.sched_getaffinity(0)))
    return max(default_threads(len(os.sched_getaffinity(0))), batching.waiting_threads)


def _start_grpc(
    flags: Flags,
    batching: BatchingParameters | None,
    manager: ModelManager,
    budget: Budget,
    metrics: Metrics | None,
) -> Any:
    import grpc

    from .grpc_services import ModelService, PredictionService

    threads = _threads(flags.grpc_max_threads, batching)
    # A message is in memory before it can be counted, one per thread; the limit also holds for unpacked ones.
    largest = min(flags.request_memory_bytes, flags.total_memory_bytes // threads, _INT32_MAX)
    options = [
        ("grpc.max_receive_message_length", largest),
        ("grpc.max_send_message_length", _UNLIMITED),
        ("grpc.max_allowed_incoming_connections", flags.max_connections),
        ("grpc.max_concurrent_streams", flags.max_connections),
        ("grpc.so_reuseport", 0),
    ]
    server = grpc.server(
        ThreadPoolExecutor(threads), options=options, maximum_concurrent_rpcs=flags.max_connections
    )
    unavailable_labels_allowed = flags.allow_version_labels_for_unavailable_models
    model_service = ModelService(manager, flags.enable_reload_config, unavailable_labels_allowed)
    prediction_service = PredictionService(manager, budget, metrics)
    server.add_generic_rpc_handlers((prediction_service.handlers(), model_service.handlers()))
    try:
        server.add_insecure_port(f"{_bracketed(flags.host)}:{flags.port}")
    except RuntimeError:
        raise _port_error(flags.host, flags.port, "gRPC could not bind") from None
    server.start()
    return server


def _bracketed(host: str) -> str:
    """Write a host as it stands in front of a port."""
    return f"[{host}]" if ":" in host else host


def _announce(flags: Flags, manager: ModelManager) -> None:
    """Print one line that the server is listening, where, and with what."""
    import tensorflow as tf

    models = [f"{name} {versions}" for name, versions in manager.available().items()]
    waiting = [
        f"{name} (not available yet)" for name in manager.settings() if name not in manager.available()
    ]
    parts = [
        f"REST http://{_bracketed(flags.host)}:{flags.rest_api_port}" if flags.rest_api_port else "REST off",
        f"gRPC {_bracketed(flags.host)}:{flags.port}" if flags.port else "gRPC off",
        f"models {', '.join(models + waiting) or 'none'}",
        f"TensorFlow {tf.__version__}",
        f"Python {platform.python_version()}",
    ]
    sys.stdout.write(f"{SERVER_NAME} is listening: {', '.join(parts)}\n")
    sys.stdout.flush()
