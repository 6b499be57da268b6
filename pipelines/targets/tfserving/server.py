"""Starting `tensorflow_model_server` where there is one, else the embedded server with the same flags."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib import metadata

from pipelines.artifacts.manifest import tensorflow_package, versions
from pipelines.errors import MachineError
from pipelines.files.atomic import write_atomically
from pipelines.hosts import url_host
from pipelines.http import fetch, fetch_json
from pipelines.processes.children import python_module
from pipelines.record.implementation import GivenRecord
from pipelines.targets.endpoint import Endpoint
from pipelines.targets.launch import Launch
from pipelines.targets.prometheus import metric_sum
from pipelines.targets.server_plan import ServeRequest, ServerPlan, choose_ports
from pipelines.targets.tfserving.compiled import FLAG, NOTE, is_compiled
from pipelines.targets.tfserving.configuration import from_flags
from pipelines.targets.tfserving.settings import BATCHING, TFServingSettings
from pipelines.targets.tfserving.timings import PREFIX, from_metrics

BINARY = "tensorflow_model_server"
HTTP_OK = 200
MONITORING = "monitoring"
REQUESTS, RIGHT, RUNS = "request_count", "OK", "batching_session:wrapped_run_count"
BATCHING_FLAG = "enable_batching"
METRICS_PATH = "/monitoring/prometheus/metrics"
EMBEDDED_NAME = "tandem embedded server"
STAND_IN_NOTE = (
    "not TensorFlow Serving: Tandem's own server on the TensorFlow runtime, speaking the same API; "
    f"put {BINARY} on PATH to measure the real one"
)

OPEN_NOTE = "listens on all interfaces: the binary has no flag for it"


@dataclass(frozen=True)
class Implementation:
    """The command that starts it, and what it is called in every output."""

    command: tuple[str, ...]
    name: str
    version: str
    stand_in: bool


def find_implementation() -> Implementation:
    """Find the binary on PATH if it answers `--version`, else the embedded server."""
    binary = shutil.which(BINARY)
    version = _binary_version(binary) if binary else None
    if binary and version:
        return Implementation((binary,), BINARY, version, stand_in=False)
    module = tuple(python_module("pipelines.targets.tfserving.embedded"))
    runtime = versions([tensorflow_package()]).get(tensorflow_package(), "missing")
    return Implementation(
        module, EMBEDDED_NAME, f"{metadata.version('tandem-serving')} (TensorFlow {runtime})", stand_in=True
    )


def _binary_version(binary: str) -> str | None:
    try:
        answer = subprocess.run(
            [binary, "--version"], capture_output=True, text=True, timeout=30, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"ModelServer:\s*(\S+)", answer)
    return match.group(1) if match else None


def plan(request: ServeRequest) -> ServerPlan:
    """Plan a server for one SavedModel folder.

    Raises:
        MachineError: the port is taken.
    """
    implementation = find_implementation()
    rest_port, grpc_port = choose_ports(request, 2)
    base_url = request.url(rest_port)
    name = request.spec.name
    compiled = is_compiled(request.folder / name)
    # The embedded server compiles without a flag; the binary refuses such a model.
    xla = {FLAG: True} if compiled and not implementation.stand_in else {}
    flags = [*_flags(request, implementation, rest_port, grpc_port), *(f"--{flag}=true" for flag in xla)]
    protocol, grpc_address = request.asked_by("tfserving"), f"{url_host(request.host)}:{grpc_port}"
    return ServerPlan(
        target="tfserving",
        implementation=request.answered_by(
            "tfserving",
            implementation.name,
            implementation.version,
            "; ".join(
                [STAND_IN_NOTE if implementation.stand_in else OPEN_NOTE, *([NOTE] if compiled else [])]
            ),
            stand_in=implementation.stand_in,
            settings={**xla, **request.preset.settings_as(TFServingSettings).implied()},
        ),
        given=_given(request, implementation, flags),
        launch=Launch(
            argv=(*implementation.command, *flags),
            env={"TF_CPP_MIN_LOG_LEVEL": "1"},
            cwd=request.work,
            log=request.work / "server.log",
            cores=request.cores,
        ),
        endpoint=Endpoint(
            base_url=protocol.base_url(base_url, grpc_address),
            predict_path=protocol.path_of(name),
            model=name,
            status=lambda: model_status(base_url, name),
            timings=lambda: from_metrics(fetch(base_url + METRICS_PATH)[1].decode(errors="replace")),
            batching=(lambda: _batches(base_url)) if f"--{BATCHING_FLAG}=true" in flags else None,
            addresses={
                "REST": f"{base_url}/v1/models/{name}",
                "gRPC": grpc_address,
            },
        ),
    )


def _flags(
    request: ServeRequest, implementation: Implementation, rest_port: int, grpc_port: int
) -> list[str]:
    host = [f"--host={request.host}"] if implementation.stand_in else []
    settings = request.preset.settings_as(TFServingSettings)
    # Its counters say where the time goes, and how large batches really are.
    write_atomically(request.work / MONITORING, "prometheus_config { enable: true }\n")
    if settings.enable_batching:
        write_atomically(request.work / BATCHING, settings.batching())
    return [
        *host,
        f"--port={grpc_port}",
        f"--rest_api_port={rest_port}",
        f"--model_name={request.spec.name}",
        f"--model_base_path={(request.folder / request.spec.name).resolve()}",
        *settings.flags(str(request.work)),
        f"--monitoring_config_file={request.work / MONITORING}",
    ]


def _given(request: ServeRequest, implementation: Implementation, flags: list[str]) -> GivenRecord:
    unknown = {"workers_count": None, "threads_per_worker": None, "batch_max_size": None}
    configuration = from_flags(flags, request.cores_count, embedded=implementation.stand_in)
    return GivenRecord(cores=request.cores, memory_limit_bytes=None, **unknown | dict(configuration))


def _batches(base_url: str) -> tuple[int, int]:
    """Return answered requests and runs of the model, as its metrics count them."""
    _, body = fetch(base_url + METRICS_PATH)
    return metric_counts(body.decode(errors="replace"))


def metric_counts(text: str) -> tuple[int, int]:
    """Count correctly answered requests and runs of batches in metrics in Prometheus' text format."""
    requests, runs = metric_sum(text, PREFIX + REQUESTS, status=RIGHT), metric_sum(text, PREFIX + RUNS)
    return int(requests or 0), int(runs or 0)


def model_status(base_url: str, model: str) -> str | None:
    """Return None if a version is AVAILABLE, else the states of the versions.

    Raises:
        MachineError: it has given up every version: waiting longer would change nothing.
        OSError: nothing listens.
    """
    status, answer = fetch_json(f"{base_url}/v1/models/{model}")
    if status != HTTP_OK or not isinstance(answer, dict):
        return f"the model status API answers {status}"
    versions = answer.get("model_version_status", [])
    states = [version.get("state", "?") for version in versions]
    if states and set(states) == {"END"}:
        reason = versions[0].get("status", {}).get("error_message") or "it gave the version up"
        raise MachineError(f"tfserving cannot serve the model: {reason}")
    return None if "AVAILABLE" in states else f"versions: {', '.join(states) or 'none'}"
