"""The null target: a server that answers a constant. Its latency is what the harness itself costs."""

import socket

from pipelines.files.atomic import write_atomically
from pipelines.hosts import url_host
from pipelines.processes.children import python_module
from pipelines.record.implementation import GivenRecord, ImplementationRecord
from pipelines.targets.endpoint import Endpoint
from pipelines.targets.launch import Launch
from pipelines.targets.protocols import Protocol
from pipelines.targets.server_plan import ServeRequest, ServerPlan, choose_ports

CONNECT_LIMIT_S = 5.0


def plan(request: ServeRequest, protocol: Protocol, body: bytes) -> ServerPlan:
    """Plan a server that answers `body` to every request over `protocol`.

    Raises:
        MachineError: the port is taken.
    """
    (port,) = choose_ports(request, 1)
    answer = request.work / "answer.json"
    write_atomically(answer, body)
    address = f"{url_host(request.host)}:{port}"
    base_url = protocol.base_url(f"http://{address}", address)
    return ServerPlan(
        target="null",
        implementation=ImplementationRecord(
            name="null server",
            version=request.spec.digest[:12],
            runner="local",
            preset="default",
            protocol=protocol.name,
            body=protocol.codec,
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
                *(("--grpc",) if protocol.transport == "grpc" else ()),
            ),
            cwd=request.work,
            log=request.work / "server.log",
            cores=request.cores,
        ),
        endpoint=Endpoint(
            base_url=base_url,
            predict_path=protocol.path_of(request.spec.name),
            model=request.spec.name,
            status=lambda: _status(request.host, port),
            addresses={protocol.name: base_url},
        ),
    )


def _status(host: str, port: int) -> str | None:
    """Return None once the server takes connections; raise OSError before."""
    with socket.create_connection((host, port), timeout=CONNECT_LIMIT_S):
        return None
