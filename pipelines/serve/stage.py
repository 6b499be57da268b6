"""The serve stage: one server that stands until the user ends it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from loadtests.payloads import PayloadPool
from models.spec import ModelSpec, load_model
from pipelines.export.stage import export, target_folder
from pipelines.files.atomic import write_atomically
from pipelines.runners.choice import Wanted, choose, runner_of
from pipelines.runners.server import Runner, Server
from pipelines.serve import readiness
from pipelines.serve.readiness import Ready
from pipelines.targets.presets import Preset
from pipelines.targets.registry import SERVED, find_target
from pipelines.targets.server_plan import ServeRequest, ServerPlan, make_environments
from pipelines.tasks.tasks import Progress
from pipelines.verify.stage import Verified, ensure_verified

LOOK_S = 0.5


@dataclass(frozen=True)
class StandingRequest:
    """What to serve, and where; `port` 0 picks a free one, `runner` is local, docker or auto.

    `cores` are the only ones the server may use; empty for as many as its runner gives.
    """

    target: str
    model: str
    preset: Preset
    port: int
    host: str
    artifacts: Path
    runner: str = "local"
    cores: tuple[int, ...] = ()
    road: str | None = None


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
        return self.plan.endpoint.predict_url


def serve(request: StandingRequest, progress: Progress, announce: Callable[[Standing], None]) -> None:
    """Serve until Ctrl-C, which is the normal end; calls `announce` once a real sample was answered right.

    Raises:
        RequestError, ModelError: something asked for does not exist.
        GateError: an artifact or the first answer is wrong.
        MachineError: the server died, the port is taken, or containers were asked for and are not available.
    """
    spec = load_model(request.model)
    find_target(request.target, SERVED)
    with _runner(request, progress) as runner:
        if runner.name == "local":
            make_environments([request.target], progress)
        export(request.model, request.artifacts, progress, targets=[request.target], road=request.road)
        verified = ensure_verified(request.model, request.artifacts, progress, [request.target])
        _start(request, spec, verified, runner, progress, announce)


def _start(
    request: StandingRequest,
    spec: ModelSpec,
    verified: Verified,
    runner: Runner,
    progress: Progress,
    announce: Callable[[Standing], None],
) -> None:
    folder = target_folder(request.artifacts, spec.name, request.target)
    with readiness.work_folder() as work:
        serve_request = ServeRequest(
            spec,
            folder,
            work,
            request.preset,
            request.cores,
            rest_port=request.port,
            host=request.host,
            proven=verified.manifests[request.target],
        )
        with runner.prepare(request.target, serve_request) as planned:
            implementation = planned.plan.implementation
            progress("serve", f"starting {implementation.name} {implementation.version}")
            pool = readiness.payload_pool(
                spec,
                verified.expected,
                planned.plan.endpoint.predict_path,
                protocol=serve_request.asked_by(request.target),
            )
            with planned as server:
                _serve(server, pool, folder, announce)


@contextmanager
def _runner(request: StandingRequest, progress: Progress) -> Iterator[Runner]:
    """Yield the runner; containers are asked at their published ports, and the engine checks their health."""
    wanted = Wanted((request.target,), request.model, request.artifacts)
    with choose(request.runner, wanted, progress) as choice:
        yield runner_of(choice, "serve", progress, direct=False, health_checks=True)


def _serve(server: Server, pool: PayloadPool, folder: Path, announce: Callable[[Standing], None]) -> None:
    ready = readiness.wait_until_right(server, pool)
    # From the first right answer on, Ctrl-C is the normal end and no interruption.
    with suppress(KeyboardInterrupt):
        announce(Standing(server.plan, server.pid, ready, _example(folder.parent, pool.bodies[0])))
        _stand(server)


def _example(folder: Path, body: bytes) -> Path:
    """Write a real request body to a file, for trying the server by hand."""
    path = folder / "example-request.json"
    write_atomically(path, body)
    return path


def _stand(server: Server) -> NoReturn:
    while True:
        server.require_alive("while it was serving")
        time.sleep(LOOK_S)
