"""How the toy server is started and talked to."""

import sys
from pathlib import Path

from pipelines.http import fetch
from pipelines.record.implementation import GivenRecord, ImplementationRecord
from pipelines.targets.endpoint import Endpoint
from pipelines.targets.launch import Launch
from pipelines.targets.server_plan import ServeRequest, ServerPlan, choose_ports

APP = Path(__file__).with_name("app.py")


def plan(request: ServeRequest) -> ServerPlan:
    (port,) = choose_ports(request, 1)
    base_url = request.url(port)
    return ServerPlan(
        target="toy",
        implementation=ImplementationRecord(
            name="toy server",
            version="1",
            runner="local",
            preset=request.preset.name,
            protocol="REST",
            stand_in=False,
            note=None,
        ),
        given=GivenRecord(
            cores=request.cores,
            workers_count=1,
            threads_per_worker=1,
            batch_max_size=1,
            memory_limit_bytes=None,
        ),
        launch=Launch(
            argv=(sys.executable, "-P", str(APP), str(request.folder / "matrix.npy"), str(port)),
            cwd=request.work,
            log=request.work / "server.log",
            cores=request.cores,
        ),
        endpoint=Endpoint(
            base_url=base_url,
            predict_path="/predict",
            model=request.spec.name,
            status=lambda: None if fetch(base_url)[0] == 200 else "not yet",
            addresses={"REST": base_url},
        ),
    )
