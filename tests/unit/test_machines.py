"""From one core to 64: the split, what every target and container is given, and whether that is fair."""

import sys
from types import SimpleNamespace

import pytest

from models.digits_cnn import MODEL
from pipelines.environments import system
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
from pipelines.targets.contained import CONTAINED
from pipelines.targets.mlserver import server as mlserver
from pipelines.targets.mlserver.settings import MLServerSettings
from pipelines.targets.mlserver.settings import configuration as mlserver_configuration
from pipelines.targets.protocols import Protocol
from pipelines.targets.python.configuration import from_info
from pipelines.targets.registry import COMPARED, SERVED
from pipelines.targets.server_plan import ServeRequest, plan_server
from pipelines.targets.tfserving.configuration import from_flags
from pipelines.targets.torchserve import server as torchserve
from pipelines.targets.torchserve.configuration import from_description
from pipelines.targets.triton import server as triton

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
def no_programs(monkeypatch, tmp_path_factory):
    """Nothing is started or made: no Java is asked for its version, no binary is on PATH."""
    java, empty = SimpleNamespace(executable="java", version="25"), tmp_path_factory.mktemp("path")
    monkeypatch.setattr(torchserve, "find_java", lambda: java)
    monkeypatch.setenv("PATH", str(empty))
    python = environment(tmp_path_factory.mktemp("environment"))
    for server in (mlserver, triton):
        monkeypatch.setattr(server, "ensure", lambda *_: python)
    # A plan for another machine does not depend on what this one allows.
    monkeypatch.setattr(system, "SHARED_MEMORY", str(empty))


def environment(folder):
    """An environment's interpreter, and of its packages what a plan looks at."""
    packages = folder / "lib" / "python3" / "site-packages"
    shipped = packages / "pytriton" / "tritonserver"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for made in ("backends/python", f"python_backend_stubs/{version}"):
        (shipped / made).mkdir(parents=True)
    (shipped / "python_backend_stubs" / version / triton.STUB).touch()
    return folder / "bin" / "python"


def plans_of(folder, cores):
    """What every served target is started from, on these cores."""
    plans = {}
    for name in SERVED:
        work = folder / name
        work.mkdir()
        plans[name] = plan_server(name, ServeRequest(MODEL, folder, work, cores=cores))
    return plans


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


def unequal(found):
    """What differs beside the bodies, which two of the servers have of a protocol of their own."""
    return [one.field for one in found.asymmetries if one.field != "body"]


@pytest.mark.parametrize("cores", MACHINES)
def test_local_servers_get_the_same_budget_and_are_compared_whatever_they_make_of_it(tmp_path, cores):
    plans = plans_of(tmp_path, cores.server)
    assert {"mlserver", "triton"} < set(plans), "also those with an environment of their own"
    assert {plan.given.cores for plan in plans.values()} == {cores.server}
    assert {plan.launch.cores for plan in plans.values()} == {cores.server}, "what it is pinned to"
    count = len(cores.server)
    givens = {name: plan.given for name, plan in plans.items()}
    assert givens["torchserve"].workers_count is None, "nobody has asked it yet"
    givens["torchserve"] = configured(plans["torchserve"], from_description(answer(count, count)))
    assert (givens["torchserve"].workers_count, givens["tfserving"].workers_count) == (count, 1)
    assert givens["tfserving"].threads_per_worker == count
    assert unequal(fairness(plans, givens)) == []
    usual = {name: plans[name] for name in COMPARED}
    require_fair(fairness(usual, givens))


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
    told = {
        "torchserve": from_description(answer(count, 1)),
        "tfserving": from_flags([], count, embedded=False),
        "python": from_info({"workers": count, "torch_threads": 1}),
        "mlserver": mlserver_configuration({}, MLServerSettings()),
    }
    givens = {name: configured(plan, told.get(name, {})) for name, plan in plans.items()}
    assert (givens["torchserve"].workers_count, givens["tfserving"].workers_count) == (count, 1)
    assert unequal(fairness(plans, givens)) == []
    require_fair(fairness({name: plans[name] for name in COMPARED}, givens))


@pytest.mark.parametrize(
    ("field", "value"),
    [("cores", (0, 1)), ("cpus", 1.0), ("memory_limit_bytes", 2**30)],
)
def test_another_budget_still_stops_a_comparison(tmp_path, field, value):
    plans = plans_of(tmp_path, (0, 1, 2))
    budget = {"cpus": 3.0, "memory_limit_bytes": MEMORY_BYTES}
    givens = {name: plan.given.model_copy(update=budget) for name, plan in plans.items()}
    givens["tfserving"] = givens["tfserving"].model_copy(update={field: value})
    assert unequal(fairness(plans, givens)) == [field]
    found = fairness({name: plans[name] for name in COMPARED}, givens)
    with pytest.raises(GateError, match=f"{field} differs"):
        require_fair(found)


def test_the_engine_writes_ranges():
    host = {"CpusetCpus": "0-2,5", "NanoCpus": 0, "Memory": 0}
    assert docker_facts.given({"HostConfig": host}).cores == (0, 1, 2, 5)
