"""The serve stage: one server that stands until somebody ends it."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from models.spec import load_model
from pipelines import serving
from pipelines.exporting import export, target_folder
from pipelines.files import write_atomically
from pipelines.runners.local import LocalServer
from pipelines.serving import Ready
from pipelines.targets.registry import SERVED, find_target
from pipelines.targets.server_plan import ServeRequest, ServerPlan
from pipelines.verifying import ensure_verified
from pipelines.workers import Progress

LOOK_S = 0.5


@dataclass(frozen=True)
class StandingRequest:
    """What to serve, and where; `port` 0 picks a free one."""

    target: str
    model: str
    preset: str
    port: int
    host: str
    artifacts: Path


@dataclass(frozen=True)
class Standing:
    """A server that stands and has answered right; `example` is a file with one real request body."""

    plan: ServerPlan
    pid: int
    ready: Ready
    example: Path

    @property
    def predict_url(self) -> str:
        """Where to POST."""
        return self.plan.base_url + self.plan.predict_path


def serve(request: StandingRequest, progress: Progress, announce: Callable[[Standing], None]) -> None:
    """Serve until Ctrl-C, which is the normal end; calls `announce` once a real sample was answered right.

    Raises:
        RequestError, ModelError: something asked for does not exist.
        GateError: an artifact or the first answer is wrong.
        MachineError: the server died, or the port is taken.
    """
    spec = load_model(request.model)
    find_target(request.target, SERVED)
    export(request.model, request.artifacts, progress)
    verified = ensure_verified(request.model, request.artifacts, progress)
    folder = target_folder(request.artifacts, spec.name, request.target)
    with serving.work_folder() as work:
        plan = serving.plan_server(
            request.target,
            ServeRequest(spec, folder, work, request.preset, rest_port=request.port, host=request.host),
        )
        progress("serve", f"starting {plan.implementation.name} {plan.implementation.version}")
        pool = serving.payload_pool(spec, verified.expected, plan.predict_path)
        with LocalServer(plan) as server:
            ready = serving.wait_until_right(server, pool)
            # From the first right answer on, Ctrl-C is the normal end and no interruption.
            with suppress(KeyboardInterrupt):
                announce(Standing(plan, server.pid, ready, _example(folder.parent, pool.bodies[0])))
                _stand(server)


def _example(folder: Path, body: bytes) -> Path:
    """A real request body as a file, for trying the server by hand."""
    path = folder / "example-request.json"
    write_atomically(path, body)
    return path


def _stand(server: LocalServer) -> NoReturn:
    while True:
        server.require_alive("while it was serving")
        time.sleep(LOOK_S)
