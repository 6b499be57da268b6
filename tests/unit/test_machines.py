"""From one core to 64: the split, what every target and container is given, and whether that is fair."""

from types import SimpleNamespace

import pytest

from models.digits_cnn import MODEL
from pipelines.errors import GateError
from pipelines.machine.cores import split_cores
from pipelines.measure.fairness import check, require_fair
from pipelines.measure.session import Measured
from pipelines.record.implementation import GivenRecord, ImageRecord
from pipelines.run import entries
from pipelines.runners import compose, docker_facts
from pipelines.runners import docker_containers as containers
from pipelines.runners.docker_containers import ContainerImage, DockerRunner
from pipelines.targets import null
from pipelines.targets.containers import CONTAINED
from pipelines.targets.protocols import Protocol
from pipelines.targets.registry import SERVED, find_target
from pipelines.targets.server_plan import ServeRequest, plan_server
from pipelines.targets.tfserving.configuration import from_flags
from pipelines.targets.torchserve import server as torchserve
from pipelines.targets.torchserve.configuration import from_description

# Those that need no environment of their own, which would have to be made.
PLANNED = tuple(name for name in SERVED if find_target(name).environment is None)
COUNTS = (1, 2, 3, 4, 16, 64)
MEMORY_BYTES = 2 * 2**30


def threaded(count):
    return lambda core: tuple(sorted({core % (count // 2 or 1), core % (count // 2 or 1) + count // 2}))


MACHINES = [
    *(pytest.param(split_cores(range(n), siblings=lambda core: (core,)), id=f"{n} cores") for n in COUNTS),
    *(
        pytest.param(split_cores(range(n), siblings=threaded(n)), id=f"{n} threads")
        for n in COUNTS
        if n % 2 == 0
    ),
]


@pytest.fixture(autouse=True)
def no_programs(monkeypatch, tmp_path):
    """Nothing is started: no Java is asked for its version, no binary is on PATH."""
    java = SimpleNamespace(executable="java", version="25")
    monkeypatch.setattr(torchserve, "find_java", lambda: java)
    monkeypatch.setenv("PATH", str(tmp_path))


def answer(workers, threads):
    """What TorchServe's management API says of a model."""
    return [
        {
            "minWorkers": workers,
            "maxWorkers": workers,
            "batchSize": 1,
            "maxBatchDelay": 100,
            "workers": [{"status": "READY"}] * workers,
            "jobQueueStatus": {"remainingCapacity": 98, "pendingRequests": 2},
            "customizedMetadata": f'{{"threads_per_worker": {threads}, "inter_op_threads_count": {threads}}}',
        }
    ]


def configured(plan, told):
    """The plan's record once the running server has told its configuration."""
    return GivenRecord.model_validate(plan.given.model_dump() | dict(told))


def fairness(plans, givens):
    """As a run checks it."""
    names = list(plans)
    pool = SimpleNamespace(bodies=(b"{}",), rows_counts=(1,))
    session = SimpleNamespace(
        sides=[SimpleNamespace(name=n, target=n, role="compared", pool=lambda _: pool) for n in names],
        measured={
            n: Measured(
                plan=SimpleNamespace(
                    given=givens[n],
                    implementation=plans[n].implementation,
                    endpoint=plans[n].endpoint,
                )
            )
            for n in names
        },
    )
    return check(entries.given(session, MODEL), allowed=())


@pytest.mark.parametrize("cores", MACHINES)
def test_local_servers_get_the_same_budget_and_are_compared_whatever_they_make_of_it(tmp_path, cores):
    plans = {
        name: plan_server(name, ServeRequest(MODEL, tmp_path, tmp_path, cores=cores.server))
        for name in PLANNED
    }
    assert {plan.given.cores for plan in plans.values()} == {cores.server}
    count = len(cores.server)
    givens = {name: plan.given for name, plan in plans.items()}
    assert givens["torchserve"].workers_count is None, "nobody has asked it yet"
    givens["torchserve"] = configured(plans["torchserve"], from_description(answer(count, count)))
    assert (givens["torchserve"].workers_count, givens["tfserving"].workers_count) == (count, 1)
    assert givens["tfserving"].threads_per_worker == count
    found = fairness(plans, givens)
    assert found.asymmetries == ()
    require_fair(found)


@pytest.mark.parametrize("cores", MACHINES)
def test_the_null_server_gets_the_same_cores(tmp_path, cores):
    assert (
        null.plan(ServeRequest(MODEL, tmp_path, tmp_path, cores=cores.server), Protocol(), b"{}").given.cores
        == cores.server
    )


class Container:
    """What the engine makes of the variables of the compose file."""

    def __init__(self, variables):
        host = {
            "CpusetCpus": variables["TANDEM_CPUSET"],
            "NanoCpus": round(float(variables["TANDEM_CPUS"]) * 1e9),
            "Memory": MEMORY_BYTES,
        }
        self.attrs = {"HostConfig": host}


@pytest.mark.parametrize("cores", MACHINES)
def test_containers_get_the_same_cpuset_limits_and_are_compared(tmp_path, monkeypatch, cores):
    made = []
    monkeypatch.setattr(compose, "create", lambda stack, _: made.append(stack))
    monkeypatch.setattr(containers.ownership, "remove_project", lambda *_: None)
    monkeypatch.setattr(containers, "_find", lambda *_: Container(made[-1].variables))
    image = ImageRecord(reference="x", id="sha256:1", size_bytes=1, compressed_bytes=None)
    images = {name: ContainerImage(name, name, "1", False, image) for name in CONTAINED}
    runner = DockerRunner(SimpleNamespace(), images, "compare")
    plans = {}
    for name in CONTAINED:
        with runner.prepare(name, ServeRequest(MODEL, tmp_path, tmp_path, cores=cores.server)) as prepared:
            plans[name] = prepared.plan
    count = len(cores.server)
    for stack in made:
        assert stack.variables["TANDEM_CPUSET"] == ",".join(map(str, cores.server))
        assert float(stack.variables["TANDEM_CPUS"]) == count
    for plan in plans.values():
        given = plan.given
        assert (given.cores, given.cpus, given.memory_limit_bytes) == (cores.server, count, MEMORY_BYTES)
    givens = {
        "torchserve": configured(plans["torchserve"], from_description(answer(count, 1))),
        "tfserving": configured(plans["tfserving"], from_flags([], count, embedded=False)),
    }
    assert (givens["torchserve"].workers_count, givens["tfserving"].workers_count) == (count, 1)
    assert fairness({name: plans[name] for name in givens}, givens).asymmetries == ()


@pytest.mark.parametrize(
    ("field", "value"),
    [("cores", (0, 1)), ("cpus", 1.0), ("memory_limit_bytes", 2**30)],
)
def test_another_budget_still_stops_a_comparison(tmp_path, field, value):
    plans = {
        name: plan_server(name, ServeRequest(MODEL, tmp_path, tmp_path, cores=(0, 1, 2))) for name in PLANNED
    }
    budget = {"cpus": 3.0, "memory_limit_bytes": MEMORY_BYTES}
    givens = {name: plan.given.model_copy(update=budget) for name, plan in plans.items()}
    givens["tfserving"] = givens["tfserving"].model_copy(update={field: value})
    found = fairness(plans, givens)
    assert [one.field for one in found.asymmetries] == [field]
    with pytest.raises(GateError, match=f"{field} differs"):
        require_fair(found)


def test_the_engine_writes_ranges():
    host = {"CpusetCpus": "0-2,5", "NanoCpus": 0, "Memory": 0}
    assert docker_facts.given({"HostConfig": host}).cores == (0, 1, 2, 5)
