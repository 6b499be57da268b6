"""Starting the plain server: FastAPI on uvicorn, from one module of ours that knows nothing of the rest."""

import sys
from importlib import metadata
from pathlib import Path

from pipelines.errors import MachineError
from pipelines.http import fetch, fetch_json
from pipelines.targets.endpoint import Configuration, Endpoint
from pipelines.targets.launch import Launch
from pipelines.targets.python.configuration import from_info, unready
from pipelines.targets.python.settings import PythonSettings
from pipelines.targets.python.timings import from_metrics
from pipelines.targets.server_plan import ServeRequest, ServerPlan, choose_ports

APP = Path(__file__).with_name("app.py")
NAME = "plain server (FastAPI, uvicorn)"
# A worker that cannot load the model ends and is started again, for ever.
WORKER_FAILURE = r"model not loaded: (.*)"
TELLING = ("fastapi", "uvicorn", "orjson", "torch")


def plan(request: ServeRequest) -> ServerPlan:
    """Plan a plain server for one TorchScript file.

    Raises:
        MachineError: FastAPI or uvicorn is not installed, or the port is taken.
    """
    versions = _versions()
    (port,) = choose_ports(request, 1)
    base_url = request.url(port)
    settings = request.preset.settings_as(PythonSettings)
    temporary = request.work / "tmp"
    temporary.mkdir(exist_ok=True)
    return ServerPlan(
        target="python",
        implementation=request.answered_by(
            "python",
            NAME,
            versions["fastapi"],
            ", ".join(f"{name} {version}" for name, version in versions.items() if name != "fastapi"),
        ),
        given=request.budget(settings.max_request_bytes(request.spec)),
        launch=Launch(
            argv=(
                *(sys.executable, "-P", str(APP), str(request.folder.resolve() / f"{request.spec.name}.pt")),
                *(f"--host={request.host}", f"--port={port}", *settings.flags()),
            ),
            env={"PYTHONPATH": "", "TMPDIR": str(temporary)},
            cwd=request.work,
            log=request.work / "server.log",
            cores=request.cores,
            failure_pattern=WORKER_FAILURE,
        ),
        endpoint=Endpoint(
            base_url=base_url,
            predict_path=request.asked_by("python").path_of(request.spec.name),
            model=request.spec.name,
            status=lambda: unready(*fetch_json(f"{base_url}/ready")),
            configuration=lambda: _configuration(base_url),
            timings=lambda: from_metrics(fetch(f"{base_url}/metrics")[1].decode(errors="replace")),
            addresses={"REST": base_url},
        ),
    )


def _versions() -> dict[str, str]:
    try:
        return {name: metadata.version(name) for name in TELLING}
    except metadata.PackageNotFoundError as error:
        raise MachineError(f"{error.name} is not installed; run `make setup`") from error


def _configuration(base_url: str) -> Configuration:
    _, answer = fetch_json(f"{base_url}/info")
    return from_info(answer)
