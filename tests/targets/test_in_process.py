"""What two frameworks' servers serve, timed in process on one core, as a comparison does it."""

from types import SimpleNamespace

import pytest

from models.digits_cnn import MODEL
from pipelines.errors import MachineError
from pipelines.measure import in_process
from pipelines.measure.session import Measured
from pipelines.record.in_process import InProcessRecord
from pipelines.verify.stage import ensure_verified

pytestmark = pytest.mark.slow
CORES = (0,)
ROWS = 3


def session_of(artifacts, *targets, runner="local"):
    """A session whose sides serve `targets`; the first side's server put two requests into a run."""
    verified = ensure_verified("digits_cnn", artifacts, lambda *_: None, ["torchserve", "tfserving"])
    plan = SimpleNamespace(implementation=SimpleNamespace(runner=runner))
    sides = [
        SimpleNamespace(
            name=f"{target}-{n}",
            target=target,
            role="compared",
            verified=verified,
            folder=artifacts / "digits_cnn" / target,
        )
        for n, target in enumerate(targets)
    ]
    measured = {side.name: Measured(plan=plan) for side in sides}
    measured[sides[0].name].rounds.append(SimpleNamespace(valid=True, requests_per_run=2.1))
    return SimpleNamespace(sides=sides, measured=measured)


def test_each_format_is_timed_on_the_servers_cores_in_the_servers_batches(artifacts):
    session = session_of(artifacts, "torchserve", "tfserving")
    assert in_process.time_sides(session, MODEL, ROWS, CORES, lambda *_: None) == []
    found = [session.measured[side.name].in_process for side in session.sides]
    assert [one.format for one in found] == ["torchscript", "saved-model"]
    assert [one.rows for one in found] == [6, 3]
    for one in found:
        assert (one.cores, one.threads_count) == (CORES, 1)
        assert one.elapsed_s >= in_process.MEASURED_S
        assert one.rows_per_s == pytest.approx(one.calls_count * one.rows / one.elapsed_s)
        assert len(one.stretches_rows_per_s) == in_process.STRETCHES


def test_one_file_in_equal_batches_is_timed_once_and_a_failure_fails_nothing_else(artifacts, monkeypatch):
    asked = []

    def fail(tasks, _):
        asked.extend(tasks)
        raise MachineError("no memory")

    session = session_of(artifacts, "torchserve", "tfserving", "tfserving")
    monkeypatch.setattr(in_process, "run_tasks", fail)
    failures = in_process.time_sides(session, MODEL, ROWS, CORES, lambda *_: None)
    assert [(one.code, one.figures["target"]) for one in failures] == [
        ("in_process_failed", side.name) for side in session.sides
    ]
    found = InProcessRecord(
        path="a", format="x", cores=CORES, threads_count=1, rows=3, **in_process.figures([10**6] * 20, 3)
    )
    asked.clear()
    monkeypatch.setattr(
        in_process, "run_tasks", lambda tasks, _: asked.extend(tasks) or [SimpleNamespace(result=found)]
    )
    assert in_process.time_sides(session, MODEL, ROWS, CORES, lambda *_: None) == []
    assert len(asked) == 2


def test_what_is_in_a_container_is_not_timed_here(artifacts, monkeypatch):
    monkeypatch.setattr(in_process, "run_tasks", lambda *_: pytest.fail("it was timed"))
    session = session_of(artifacts, "torchserve", runner="docker")
    assert in_process.time_sides(session, MODEL, ROWS, CORES, lambda *_: None) == []
    assert session.measured["torchserve-0"].in_process is None
