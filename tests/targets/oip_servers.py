"""The real servers that speak the Open Inference Protocol, each started once for all that is asked of it."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from needs import needed
from oip_models import add_models, write_echoes, write_several
from test_both_roads import OUTPUTS, SPEC, expectations

from loadtests.codecs import find_codec, oip_json
from loadtests.codecs.oip_grpc import CONTENTS
from loadtests.payloads import PayloadPool
from loadtests.protos import message
from models.tensors import sample
from pipelines.environments.known import find
from pipelines.files import leftovers
from pipelines.http import fetch, fetch_json
from pipelines.processes.group import wait_until
from pipelines.runners.local import LocalServer
from pipelines.serve import readiness
from pipelines.targets import oip_grpc
from pipelines.targets.mlserver.settings import MLServerSettings
from pipelines.targets.presets import Preset
from pipelines.targets.protocols import Protocol
from pipelines.targets.registry import find_target
from pipelines.targets.server_plan import ServeRequest, ServerPlan, make_environments, plan_server
from pipelines.targets.triton.settings import TritonSettings

MARKS = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning"),
]
# Of gRPC's codes, as HTTP has them.
OK, INVALID, NOT_FOUND, FAULT = 200, 400, 404, 500
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
    needed(environment.require_system)
    make_environments([name], lambda *_: None)


@contextmanager
def served(
    name: str,
    folder: Path,
    preset: Preset | None = None,
    spec=SPEC,
    change: Callable[[ServerPlan, Path, Path], ServerPlan] = lambda plan, _work, _folder: plan,
) -> Iterator[tuple[LocalServer, Path]]:
    """A ready server of target `name`, and its working folder; ended afterwards."""
    require(name)
    with readiness.work_folder() as work:
        request = ServeRequest(spec, folder, work, preset=preset or Preset("one", PRESETS[name]))
        with LocalServer(change(plan_server(name, request), work, folder)) as started:
            started.wait_ready()
            started.read_configuration()
            yield started, work


@dataclass(frozen=True)
class OipServer:
    """A running server with the models of `oip_models`; `folder` has their files, `work` is its own."""

    started: LocalServer
    folder: Path
    work: Path

    @property
    def name(self) -> str:
        """The target."""
        return self.started.plan.target

    @property
    def version(self) -> str:
        """The server's."""
        return self.started.plan.implementation.version

    @property
    def rest(self) -> str:
        """The address for REST."""
        return self.started.plan.endpoint.addresses["REST"]

    @property
    def grpc(self) -> str:
        """The address for gRPC."""
        return f"grpc://{self.started.plan.endpoint.addresses['OIP gRPC']}"

    def protocol(self, codec: str) -> Protocol:
        """How Tandem asks it in this kind of body."""
        return next(one for one in find_target(self.name).protocols if one.codec == codec)

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body of a GET."""
        return fetch(self.rest + path)

    def get_json(self, path: str) -> tuple[int, Any]:
        """Status and parsed body of a GET."""
        return fetch_json(self.rest + path)

    def post(self, body: Any, path: str | None = None, headers: Mapping[str, str] | None = None) -> Any:
        """Status and parsed answer of an inference over REST."""
        return post(self.started, body, path, headers)

    def call(self, method: str, request: Any = None, **fields: Any) -> tuple[int, Any]:
        """Status and answer of a call, of bytes or a message; other than 200 answers with text."""
        data = request if request is not None else message(f"inference.{method}Request")(**fields)
        data = data if isinstance(data, bytes) else data.SerializeToString()
        status, body = fetch(f"{self.grpc}{oip_grpc.SERVICE}/{method}", data)
        if status != OK:
            return status, body.decode()
        return status, message(f"inference.{method}Response").FromString(body)

    def family(self) -> list[int]:
        """The processes that it consists of."""
        below = psutil.Process(self.started.pid).children(recursive=True)
        return [self.started.pid, *(process.pid for process in below)]


@contextmanager
def one_of_each(folder: Path) -> Iterator[Callable[[str], OipServer]]:
    """What gives the server of a target, started when it is first asked for.

    When all have ended, nothing of them is left.
    """
    with ExitStack() as stack:

        @cache
        def start(name: str) -> OipServer:
            return stack.enter_context(_of_all_models(name, folder))

        yield start
    assert not list(leftovers.shared_memory(leftovers.shared_memory_prefix()))


@contextmanager
def _of_all_models(name: str, folder: Path) -> Iterator[OipServer]:
    # Before anything is made: a skip ends this, and the next test asks again.
    require(name)
    own = folder / name
    own.mkdir()
    write_several(own)
    write_echoes(own)
    with served(name, own, change=add_models) as (started, work):
        server = OipServer(started, own, work)
        family = server.family()
        yield server
    assert wait_until(lambda: not any(map(psutil.pid_exists, family)), limit_s=30)
    assert not work.exists()


def pool(protocol: Protocol) -> PayloadPool:
    """The payloads of `several` that Tandem would send."""
    path = protocol.path_of(SPEC.name)
    return readiness.payload_pool(SPEC, expectations(), path, protocol=protocol)


def body_of(codec: str, samples: Any, model: str = SPEC.name) -> bytes:
    """Encode samples as Tandem would."""
    return find_codec(codec).encode(samples, model)


def typed(body: Any = None, **fields: Any) -> Any:
    """A ModelInferRequest with typed contents, of a request as REST has it."""
    request = message("inference.ModelInferRequest")(**({"model_name": SPEC.name} | fields))
    for one in (body or tensors())["inputs"]:
        added = request.inputs.add(name=one["name"], datatype=one["datatype"], shape=one["shape"])
        getattr(added.contents, CONTENTS.get(one["datatype"], "fp64_contents")).extend(one["data"])
    return request


def is_right(found: Mapping[str, np.ndarray], names=("scores", "double", "large")) -> None:
    """Check the outputs of `several` for its first sample."""
    assert set(found) == set(names)
    for output in names:
        np.testing.assert_allclose(found[output][0], OUTPUTS[0][output], rtol=1e-5)


def outputs(answer: Any) -> dict[str, np.ndarray]:
    """The outputs of an answer in JSON."""
    return {one["name"]: oip_json.tensor_of(one) for one in answer["outputs"]}


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
