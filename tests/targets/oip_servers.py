"""The real servers that speak the Open Inference Protocol, each started once for all that is asked of it."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from test_both_roads import SPEC

from loadtests.codecs import oip_json
from models.tensors import sample
from pipelines.environments.known import find
from pipelines.errors import MachineError
from pipelines.http import fetch
from pipelines.runners.local import LocalServer
from pipelines.serve import readiness
from pipelines.targets.mlserver.settings import MLServerSettings
from pipelines.targets.presets import Preset
from pipelines.targets.server_plan import ServeRequest, make_environments, plan_server
from pipelines.targets.triton.settings import TritonSettings

PRESETS = {
    "mlserver": MLServerSettings(parallel_workers=0, debug=False, torch_threads=1),
    "triton": TritonSettings(torch_threads=1, http_thread_count=2),
}


def require(name: str) -> None:
    """Make a server's environment, where this machine can have it.

    It is skipped for a Python that its packages do not know; what the system lacks is a failure under CI.
    """
    environment = find(name)
    if ".".join(map(str, sys.version_info[:2])) not in environment.pythons:
        pytest.skip(f"{name} is for Python {', '.join(environment.pythons)}")
    try:
        environment.require_system()
    except MachineError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))
    make_environments([name], lambda *_: None)


@contextmanager
def served(
    name: str, folder: Path, preset: Preset | None = None, spec=SPEC
) -> Iterator[tuple[LocalServer, Path]]:
    """A ready server of target `name`, and its working folder; ended afterwards."""
    require(name)
    with readiness.work_folder() as work:
        request = ServeRequest(spec, folder, work, preset=preset or Preset("one", PRESETS[name]))
        with LocalServer(plan_server(name, request)) as started:
            started.wait_ready()
            started.read_configuration()
            yield started, work


def tensors(**changes):
    """A right request as an object, with some of its tensors changed, or left out where None."""
    one = {name: np.asarray(array)[None] for name, array in sample(SPEC.samples().named, 0).items()}
    named = {
        name: {
            "name": name,
            "shape": list(array.shape),
            "datatype": oip_json.NAMES[array.dtype.name],
            "data": array.ravel().tolist(),
        }
        for name, array in one.items()
    }
    changed = {name: tensor | (changes.get(name, {}) or {}) for name, tensor in named.items()}
    return {"inputs": [tensor for name, tensor in changed.items() if changes.get(name, {}) is not None]}


def post(server, body, path=None, headers=None):
    """Status and parsed answer of an inference over REST; `body` is an object, or bytes as they are."""
    endpoint = server.plan.endpoint
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    status, answer = fetch(
        endpoint.addresses["REST"] + (path or f"/v2/models/{endpoint.model}/infer"), data, headers=headers
    )
    try:
        return status, json.loads(answer)
    except ValueError:
        return status, answer
