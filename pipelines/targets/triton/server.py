"""Starting the real Triton from its own environment: its Python backend with our runtime for TorchScript."""

import shutil
import sys
from pathlib import Path
from typing import Any

from pipelines.environments.creation import ensure
from pipelines.environments.known import TRITON
from pipelines.environments.system import python_library
from pipelines.errors import MachineError
from pipelines.files.atomic import write_atomically
from pipelines.files.leftovers import shared_memory_prefix
from pipelines.hosts import url_host
from pipelines.http import fetch, fetch_json
from pipelines.targets import oip
from pipelines.targets.endpoint import Configuration, Endpoint
from pipelines.targets.launch import Launch
from pipelines.targets.server_plan import ServeRequest, ServerPlan, choose_ports
from pipelines.targets.triton.configuration import batches, configuration
from pipelines.targets.triton.settings import TritonSettings, config
from pipelines.targets.triton.timings import from_stats

RUNTIME = Path(__file__).with_name("model.py")
NAME = "triton"
# What nvidia-pytriton 0.7.0 bundles.
SERVER_VERSION = "2.51.0"
STUB = "triton_python_backend_stub"
LIBRARIES = "nvidia_pytriton.libs"
# The server then ends by itself.
FAILURE = r"failed to load '[^']*' version \d+: (.*?)(?:\\n|\"?$)"


def plan(request: ServeRequest) -> ServerPlan:
    """Plan a Triton for one TorchScript file.

    Raises:
        MachineError: its environment cannot be made, a library is missing, or the port is taken.
        RequestError: batching was asked for a model that it cannot batch.
    """
    python = ensure(TRITON, lambda _: None)
    rest, grpc, metrics = choose_ports(request, 3)
    settings = request.preset.settings_as(TritonSettings)
    protocol = request.asked_by(NAME)
    packages = next(python.parent.parent.glob("lib/python*/site-packages"))
    models = _write_models(request, settings)
    backends, libraries = _write_backend(request.work / "backend", packages)
    base_url, model = request.url(rest), request.spec.name
    grpc_address = f"{url_host(request.host)}:{grpc}"
    return ServerPlan(
        target=NAME,
        implementation=request.answered_by(
            NAME,
            NAME,
            SERVER_VERSION,
            f"from nvidia-pytriton {TRITON.pins['nvidia-pytriton']}; Python backend with a runtime of "
            f"ours for TorchScript, torch {TRITON.shared['torch']}",
        ),
        given=request.budget(),
        launch=Launch(
            argv=(
                str(packages / "pytriton" / "tritonserver" / "bin" / "tritonserver"),
                *(f"--model-repository={models}", f"--backend-directory={backends}"),
                *_flags(request.host, (rest, grpc, metrics)),
                *settings.flags(),
            ),
            env={
                **TRITON.variables,
                # Its Python is embedded, heeds no PYTHONPATH and takes the first python3 on PATH for itself.
                "PATH": f"{python.parent}:/usr/bin:/bin",
                "LD_LIBRARY_PATH": str(libraries),
                "TMPDIR": str(request.work),
            },
            cwd=request.work,
            log=request.work / "server.log",
            cores=request.cores,
            failure_pattern=FAILURE,
        ),
        endpoint=Endpoint(
            base_url=protocol.base_url(base_url, grpc_address),
            predict_path=protocol.path_of(model),
            model=model,
            status=lambda: oip.status(base_url, model),
            configuration=lambda: _configuration(base_url, f"http://127.0.0.1:{metrics}", model),
            batching=(lambda: batches(_stats(base_url, model))) if settings.dynamic_batching else None,
            timings=lambda: from_stats(_stats(base_url, model)),
            addresses={
                "REST": base_url,
                "OIP gRPC": grpc_address,
                "metrics": f"http://127.0.0.1:{metrics}/metrics",
            },
        ),
    )


def _flags(host: str, ports: tuple[int, int, int]) -> tuple[str, ...]:
    """Return the flags of every start: where it listens, and that it takes the model's file as it is."""
    rest, grpc, metrics = ports
    return (
        *(f"--http-address={host}", f"--http-port={rest}"),
        *(f"--grpc-address={host}", f"--grpc-port={grpc}"),
        *("--metrics-address=127.0.0.1", f"--metrics-port={metrics}"),
        # Without these it starts the model once more, to ask what the file says anyway.
        *("--disable-auto-complete-config", "--model-control-mode=none"),
        f"--backend-config=python,shm-region-prefix-name={shared_memory_prefix()}",
    )


def _write_models(request: ServeRequest, settings: TritonSettings) -> Path:
    """Write the model repository: one model, version 1."""
    folder = request.work / "models" / request.spec.name
    (folder / "1").mkdir(parents=True, exist_ok=True)
    script = request.folder.resolve() / f"{request.spec.name}.pt"
    write_atomically(folder / "config.pbtxt", config(request.spec, settings, str(script)))
    shutil.copyfile(RUNTIME, folder / "1" / RUNTIME.name)
    return folder.parent


def _write_backend(folder: Path, packages: Path) -> tuple[Path, Path]:
    """Link the backends' folder, and one that holds libpython alone.

    The backend looks for a stub of this Python beside itself, where the package has none, and for libraries
    four folders further up: links in folders like the package's own leave the environment as pip made it.
    """
    shipped = packages / "pytriton" / "tritonserver"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = shipped / "python_backend_stubs" / version / STUB
    if not stub.exists():
        raise MachineError(
            f"nvidia-pytriton has no backend for Python {version}; remove {packages} to make it anew"
        )
    own = folder / "pytriton" / "tritonserver" / "backends" / "python"
    own.mkdir(parents=True, exist_ok=True)
    for path in (*(shipped / "backends" / "python").iterdir(), stub):
        (own / path.name).symlink_to(path)
    (folder / LIBRARIES).symlink_to(packages / LIBRARIES)
    libraries = folder / "lib"
    libraries.mkdir(exist_ok=True)
    library = python_library()
    if library is not None:
        (libraries / library.name).symlink_to(library)
    return own.parent, libraries


def _configuration(base_url: str, metrics_url: str, model: str) -> Configuration:
    """Read what the running server reports of the model, and our runtime's figures in its metrics."""
    _, answer = fetch_json(f"{base_url}/v2/models/{model}/config")
    _, metrics = fetch(f"{metrics_url}/metrics")
    return configuration(answer, metrics.decode(errors="replace"))


def _stats(base_url: str, model: str) -> Any:
    """Return what the running server has counted of the model."""
    return fetch_json(f"{base_url}/v2/models/{model}/stats")[1]
