"""The null target: a server that answers a constant. Its latency is what the harness itself costs."""

from pipelines.files.atomic import write_atomically
from pipelines.http import fetch
from pipelines.processes.children import python_module
from pipelines.record.implementation import GivenRecord, ImplementationRecord
from pipelines.targets.endpoint import Endpoint
from pipelines.targets.launch import Launch
from pipelines.targets.server_plan import ServeRequest, ServerPlan, choose_ports

HTTP_OK = 200


def plan(request: ServeRequest, body: bytes) -> ServerPlan:
    """A server that answers `body` to everything, whatever it is asked.

    Raises:
        MachineError: the port is taken.
    """
    (port,) = choose_ports(request, 1)
    answer = request.work / "answer.json"
    write_atomically(answer, body)
    base_url = request.url(port)
    return ServerPlan(
        target="null",
        implementation=ImplementationRecord(
            name="null server",
            version=request.spec.digest[:12],
            runner="local",
            preset="default",
            protocol="REST",
            stand_in=False,
            note="answers a constant: the floor of the harness, no model runs",
        ),
        given=GivenRecord(
            cores=request.cores,
            workers_count=None,
            threads_per_worker=1,
            batch_max_size=None,
            memory_limit_bytes=None,
        ),
        launch=Launch(
            argv=(
                *python_module("loadtests.servers.null"),
                *("--host", request.host, "--port", str(port), "--body-file", str(answer)),
            ),
            cwd=request.work,
            log=request.work / "server.log",
            cores=request.cores,
        ),
        endpoint=Endpoint(
            base_url=base_url,
            predict_path="/",
            model=request.spec.name,
            status=lambda: _status(base_url),
            addresses={"REST": base_url},
        ),
    )


def _status(base_url: str) -> str | None:
    status, _ = fetch(base_url + "/")
    return None if status == HTTP_OK else f"it answers {status}"
