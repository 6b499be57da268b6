"""What is MLServer's own: its defaults, its workers and presets; its protocol is in test_oip_*."""

from dataclasses import replace
from functools import partial

import pytest
from needs import needed
from oip_servers import post, require, served, tensors
from test_both_roads import SPEC, expectations
from test_python_server import folder  # noqa: F401 - a fixture
from told_times import told

from pipelines.environments import system
from pipelines.environments.system import require_shared_memory
from pipelines.errors import MachineError
from pipelines.http import fetch
from pipelines.runners.local import LocalServer
from pipelines.serve import readiness
from pipelines.targets.mlserver import server
from pipelines.targets.mlserver.settings import MLServerSettings
from pipelines.targets.presets import Preset, resolve
from pipelines.targets.registry import find_target
from pipelines.targets.server_plan import ServeRequest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning"),
]
PROTOCOL = find_target("mlserver").protocols[0]
# With as many tokens in every sample: what differs in shape is not batched.
FIXED = replace(
    SPEC,
    inputs=tuple(
        replace(
            tensor,
            shape=tuple(1 if size is None and place else size for place, size in enumerate(tensor.shape)),
        )
        for tensor in SPEC.inputs
    ),
)


@pytest.fixture
def shared_memory():
    """Where worker processes have their queues."""
    needed(partial(require_shared_memory, "a worker process"))


def test_workers_without_shared_memory_are_refused_before_anything_is_started(folder, monkeypatch, tmp_path):  # noqa: F811 - the fixture
    monkeypatch.setattr(system, "SHARED_MEMORY", str(tmp_path / "none"))
    with readiness.work_folder() as work, pytest.raises(MachineError, match="parallel_workers = 0"):
        server.plan(ServeRequest(SPEC, folder, work))


def test_as_the_vendor_ships_it_a_worker_process_answers_right(folder, shared_memory):  # noqa: F811 - the fixture
    require("mlserver")
    with (
        readiness.work_folder() as work,
        LocalServer(server.plan(ServeRequest(SPEC, folder, work))) as started,
    ):
        path = started.plan.endpoint.predict_path
        pool = readiness.payload_pool(SPEC, expectations(), path, protocol=PROTOCOL)
        readiness.wait_until_right(started, pool)
        given = started.plan.given
        assert (given.workers_count, given.sources["workers_count"]) == (1, "rule")
        assert given.threads_per_worker is not None


def test_the_counts_are_of_all_workers_and_of_whole_batches(folder, shared_memory):  # noqa: F811 - the fixture
    """Two workers in turn; a lone request waits for a batch, and a run of three rows counts three times."""
    asked = MLServerSettings(parallel_workers=2, torch_threads=1, max_batch_size=2, max_batch_time_ms=150)
    with served("mlserver", folder, Preset("batching", asked), FIXED) as (started, _):
        before = started.plan.endpoint.timings()
        found = told(started, [lambda: answer(started, 1)] * 4)
        assert set(found.counts.values()) == {4}
        assert found.parts.keys() == {"frontend", "inference", "codec"}
        assert found.parts["frontend"] >= 0.9 * asked.max_batch_time_ms
        assert sum(found.parts.values()) <= found.client_ms
        answer(started, 3)
        handled, whole = (
            total[1] - (earlier or (0, 0))[1]
            for total, earlier in zip(counts(started.plan.endpoint.timings()), counts(before), strict=True)
        )
        assert (handled, whole) == (7, 5)


def test_a_model_that_is_loaded_again_is_counted_on(folder):  # noqa: F811 - the fixture
    """MLServer imports the runtime's module anew for it, which must not count anew."""
    with served("mlserver", folder) as (started, _):
        answer(started, 1)
        before, _ = counts(started.plan.endpoint.timings())
        url = f"{started.plan.endpoint.addresses['REST']}/v2/repository/models/several"
        assert fetch(f"{url}/load", b"{}")[0] == 200
        answer(started, 1)
        after, _ = counts(started.plan.endpoint.timings())
        assert after[1] == before[1] + 1


def answer(started, rows):
    """Ask for some rows, all alike."""
    several = [
        tensor | {"shape": [rows, *tensor["shape"][1:]], "data": tensor["data"] * rows}
        for tensor in tensors()["inputs"]
    ]
    assert post(started, {"inputs": several})[0] == 200


def counts(timings):
    return timings.totals.get("inference"), timings.whole


def test_a_file_that_is_none_is_reported_with_the_reason(tmp_path):
    require("mlserver")
    (tmp_path / "several.pt").write_bytes(b"PK and no more")
    asked = Preset("one", MLServerSettings(parallel_workers=0))
    with readiness.work_folder() as work:
        plan = server.plan(ServeRequest(SPEC, tmp_path, work, preset=asked))
        with LocalServer(plan) as started, pytest.raises(MachineError, match=r"mlserver .*Error: "):
            started.wait_ready()


def test_presets_are_files_of_the_server():
    settings = {name: resolve(name, ["mlserver"])["mlserver"].settings for name in ("default", "tuned")}
    always = {"grpc_max_message_length": 2**31 - 1}
    assert settings["default"].server() == always
    assert settings["tuned"].server() == {**always, "parallel_workers": 0, "debug": False}
    model = MLServerSettings(max_batch_size=8, max_batch_time_ms=5).model(FIXED, "x.pt")
    assert (model["max_batch_size"], model["max_batch_time"]) == (8, 0.005)
