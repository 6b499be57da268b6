"""Starting the real TorchServe on ports, folders and settings of its own."""

import sys
from collections.abc import Callable, Sequence
from importlib import metadata, util
from pathlib import Path

from pipelines.errors import MachineError
from pipelines.files.atomic import write_atomically
from pipelines.hosts import url_host
from pipelines.http import fetch_json
from pipelines.machine.java import find_java
from pipelines.record.implementation import ImplementationRecord
from pipelines.targets.endpoint import Configuration, Endpoint
from pipelines.targets.launch import Launch
from pipelines.targets.server_plan import (
    ServeRequest,
    ServerPlan,
    choose_ports,
)
from pipelines.targets.torchserve.configuration import description_path, from_description, unready
from pipelines.targets.torchserve.settings import TorchServeSettings
from pipelines.targets.torchserve.timings import COUNTS, TorchServeTimings
from pipelines.targets.torchserve.workers import WorkerCounts

MAIN_CLASS = "org.pytorch.serve.ModelServer"
# A worker that cannot load the model dies and is started again, for ever, while the frontend looks healthy.
WORKER_FAILURE = r"MODEL_LOG - ((?:\w+\.)*\w*(?:Error|Exception)\b.*)"
IPV6_ALIAS = "tandem-host"
BATCH_COUNTS = ("requests_count", "passes_count")
PORT_NAMES = ("inference", "management", "metrics", "grpc_inference", "grpc_management")


def plan(request: ServeRequest) -> ServerPlan:
    """Plan a TorchServe for one model archive.

    The Java frontend is started the way `torchserve --start --foreground` starts it, without the Python
    wrapper in between: that wrapper keeps one pid file per machine, so a second server would be refused, and
    the frontend would outlive it.

    Raises:
        MachineError: TorchServe or Java is not installed, or the port is taken.
    """
    java = find_java()
    ports = dict(zip(PORT_NAMES, choose_ports(request, len(PORT_NAMES)), strict=True))
    settings = request.preset.settings_as(TorchServeSettings)
    config = _write_config(request, settings, ports)
    base_url = request.url(ports["inference"])
    management = f"http://127.0.0.1:{ports['management']}"
    protocol, grpc_address = (
        request.asked_by("torchserve"),
        f"{url_host(request.host)}:{ports['grpc_inference']}",
    )
    return ServerPlan(
        target="torchserve",
        implementation=_implementation(request, java.version),
        given=request.budget(settings.max_request_bytes(request.spec)),
        launch=Launch(
            argv=(str(java.executable), *_java_arguments(request, settings), *_arguments(request, config)),
            env={
                **{
                    "LOG_LOCATION": str(request.work / "logs"),
                    "METRICS_LOCATION": str(request.work / "logs"),
                },
                "PYTHONPATH": "",  # the workers run the archive alone, with nothing of ours
                **settings.variables(),
            },
            cwd=request.work,
            log=request.work / "server.log",
            cores=request.cores,
            failure_pattern=WORKER_FAILURE,
        ),
        endpoint=Endpoint(
            base_url=protocol.base_url(base_url, grpc_address),
            predict_path=protocol.path_of(request.spec.name),
            model=request.spec.name,
            status=lambda: _status(management, request.spec.name),
            batching=_batching(management, request.spec.name) if settings.batchSize else None,
            timings=_timings(request, settings, management, ports["metrics"]),
            configuration=lambda: _configuration(management, request.spec.name),
            addresses={
                "REST": base_url,
                "management": management,
                "gRPC": grpc_address,
            },
        ),
    )


def _home() -> Path:
    package_spec = util.find_spec("ts")
    if package_spec is None or package_spec.origin is None:
        raise MachineError("TorchServe is not installed; run `make setup`")
    return Path(package_spec.origin).parent.parent


def _write_config(request: ServeRequest, settings: TorchServeSettings, ports: dict[str, int]) -> Path:
    config = request.work / "config.properties"
    lines = [
        f"inference_address=http://{_java_host(request.host)}:{ports['inference']}",
        f"management_address=http://127.0.0.1:{ports['management']}",
        f"metrics_address=http://127.0.0.1:{ports['metrics']}",
        f"grpc_inference_address={request.host}",
        f"grpc_inference_port={ports['grpc_inference']}",
        f"grpc_management_port={ports['grpc_management']}",
        *settings.properties(request.spec),
    ]
    write_atomically(config, "\n".join(lines) + "\n")
    return config


def _java_host(host: str) -> str:
    """Write `host` as the server's configuration can hold it, which allows no colons."""
    return IPV6_ALIAS if ":" in host else host


def _look_up(request: ServeRequest) -> list[str]:
    """Return the option that makes Java find the address behind `IPV6_ALIAS`."""
    if ":" not in request.host:
        return []
    hosts = request.work / "hosts"
    write_atomically(hosts, f"{request.host} {IPV6_ALIAS}\n127.0.0.1 localhost\n")
    return [f"-Djdk.net.hosts.file={hosts}"]


def _java_arguments(request: ServeRequest, settings: TorchServeSettings) -> list[str]:
    home, temporary = _home(), request.work / "tmp"
    temporary.mkdir(exist_ok=True)
    for name, text in settings.logging().items():
        write_atomically(request.work / name, text)
    return [
        f"-Dmodel_server_home={home}",
        # Workers listen on Unix sockets named by number in here: of its own, or two servers would meet.
        f"-Djava.io.tmpdir={temporary}",
        *_look_up(request),
        *settings.java_options(str(request.work)),
        *("-cp", f".:{home}/ts/frontend/*", MAIN_CLASS),
    ]


def _arguments(request: ServeRequest, config: Path) -> list[str]:
    archive = f"{request.spec.name}.mar"
    return [
        *("--python", sys.executable, "-f", str(config), "-s", str(request.folder.resolve())),
        *("-ncs", "-m", f"{request.spec.name}={archive}"),
    ]


def _implementation(request: ServeRequest, java_version: str) -> ImplementationRecord:
    note = f"Java {java_version}; TorchServe is archived upstream since August 2025"
    return request.answered_by("torchserve", "torchserve", metadata.version("torchserve"), note)


def _configuration(management: str, model: str) -> Configuration:
    _, answer = fetch_json(management + description_path(model))
    return from_description(answer)


def _timings(
    request: ServeRequest, settings: TorchServeSettings, management: str, metrics_port: int
) -> TorchServeTimings:
    counts = settings.metrics_mode == "prometheus"
    return TorchServeTimings(
        _workers(management, request.spec.name, COUNTS),
        f"http://127.0.0.1:{metrics_port}" if counts else None,
        request.work / "logs" / "ts_metrics.log",
    )


def _workers(management: str, model: str, names: Sequence[str]) -> WorkerCounts:
    return WorkerCounts(lambda: fetch_json(management + description_path(model))[1], names)


def _batching(management: str, model: str) -> Callable[[], tuple[int, int]]:
    """Return a way to ask for requests answered and passes through the model, as our handler counts them."""
    counts = _workers(management, model, BATCH_COUNTS)

    def ask() -> tuple[int, int]:
        told = counts()
        if not told:
            raise OSError("the model's description does not tell of batches")
        requests, passes = (told[name] for name in BATCH_COUNTS)
        return requests, passes

    return ask


def _status(management: str, model: str) -> str | None:
    """Return None if every worker of the model is READY.

    `/ping` says Healthy while workers crash in a loop.
    """
    status, answer = fetch_json(f"{management}/models/{model}")
    if status != 200 or not isinstance(answer, list) or not answer:  # noqa: PLR2004
        return f"the management API answers {status}"
    return unready(answer)
