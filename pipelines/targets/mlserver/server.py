"""Starting MLServer in its own environment, with our runtime for TorchScript."""

import json
import shutil
from pathlib import Path

from pipelines.environments.creation import ensure
from pipelines.environments.known import MLSERVER
from pipelines.environments.system import require_shared_memory
from pipelines.files.atomic import write_atomically
from pipelines.hosts import url_host
from pipelines.http import fetch
from pipelines.targets import oip
from pipelines.targets.endpoint import Configuration, Endpoint
from pipelines.targets.launch import Launch
from pipelines.targets.mlserver.settings import MLServerSettings, configuration
from pipelines.targets.mlserver.timings import from_metrics
from pipelines.targets.server_plan import ServeRequest, ServerPlan, choose_ports

RUNTIME = Path(__file__).with_name("model.py")
NAME = "mlserver"
START = "from mlserver.cli import main; main()"
# What a model that does not load, or a worker that dies, leaves in the log; the server runs on, never ready.
FAILURE = r"(?m)^((?:\w+\.)*\w*(?:Error|Exception): .*)"


def plan(request: ServeRequest) -> ServerPlan:
    """Plan an MLServer for one TorchScript file.

    Raises:
        MachineError: its environment cannot be made, the port is taken, or its workers lack shared memory.
    """
    settings = request.preset.settings_as(MLServerSettings)
    if settings.parallel_workers != 0:
        # Their queues are semaphores there.
        require_shared_memory("a worker process of MLServer", "take a preset with parallel_workers = 0")
    python = ensure(MLSERVER, lambda _: None)
    rest, grpc, metrics = choose_ports(request, 3)
    protocol = request.asked_by(NAME)
    folder = _write(request, settings, (rest, grpc, metrics))
    base_url, model = request.url(rest), request.spec.name
    metrics_url = f"{request.url(metrics)}/metrics"
    grpc_address = f"{url_host(request.host)}:{grpc}"
    return ServerPlan(
        target=NAME,
        implementation=request.answered_by(
            NAME,
            "mlserver",
            MLSERVER.pins["mlserver"],
            f"a runtime of ours for TorchScript, torch {MLSERVER.shared['torch']}",
        ),
        given=request.budget(),
        launch=Launch(
            argv=(str(python), "-c", START, "start", str(folder)),
            env={**MLSERVER.variables, "PYTHONPATH": str(folder), "TMPDIR": str(request.work)},
            cwd=folder,
            log=request.work / "server.log",
            cores=request.cores,
            failure_pattern=FAILURE,
        ),
        endpoint=Endpoint(
            base_url=protocol.base_url(base_url, grpc_address),
            predict_path=protocol.path_of(model),
            model=model,
            status=lambda: oip.status(base_url, model),
            configuration=lambda: _configuration(base_url, model, settings),
            timings=lambda: from_metrics(fetch(metrics_url)[1].decode(errors="replace")),
            addresses={"REST": base_url, "OIP gRPC": grpc_address, "metrics": metrics_url},
        ),
    )


def _write(request: ServeRequest, settings: MLServerSettings, ports: tuple[int, int, int]) -> Path:
    """Write the folder that MLServer is started on: its settings, the model's, and the runtime."""
    folder = request.work / "mlserver"
    folder.mkdir(exist_ok=True)
    rest, grpc, metrics = ports
    server = {
        "host": request.host,
        "http_port": rest,
        "grpc_port": grpc,
        "metrics_port": metrics,
        "metrics_dir": str(request.work / "metrics"),
        **settings.server(),
    }
    uri = str(request.folder.resolve() / f"{request.spec.name}.pt")
    write_atomically(folder / "settings.json", json.dumps(server, indent=2))
    write_atomically(folder / "model-settings.json", json.dumps(settings.model(request.spec, uri), indent=2))
    shutil.copyfile(RUNTIME, folder / RUNTIME.name)
    return folder


def _configuration(base_url: str, model: str, settings: MLServerSettings) -> Configuration:
    """Read what the running model reports, and what MLServer was started with."""
    return configuration(oip.metadata(base_url, model).get("parameters") or {}, settings)
